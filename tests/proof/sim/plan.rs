//! What a seed stands for: who plays, where, when, and what goes wrong how often. Each seed has its own mix, so that
//! some storms are rare things in quiet and others everything at once.

use jiff::Timestamp;
use stoppress::domain::address::AddressChanges;
use stoppress::domain::lab::Profile;

use super::addresses::Moves;
use super::dice::Dice;
use super::kinds::{Kind, SKILLS, Skill};

/// Zones with cutoffs that are near each other, and when the first of them is: on dates on which most of these
/// zones put their clocks forward or back.
const PLACES: [(&str, [&str; 2], &str); 6] = [
    ("Europe/Helsinki", ["24:00", "00:20"], "2026-06-17T21:00:00Z"),
    ("Europe/Berlin", ["02:30", "03:20"], "2026-03-29T01:00:00Z"),
    ("Africa/Cairo", ["24:00", "01:20"], "2026-04-23T22:00:00Z"),
    ("Pacific/Chatham", ["03:00", "03:30"], "2026-04-04T13:15:00Z"),
    ("Asia/Beirut", ["23:30", "24:00"], "2026-10-24T20:30:00Z"),
    ("Atlantic/Azores", ["24:00", "00:30"], "2026-10-25T00:00:00Z"),
];

/// How often something goes wrong, of a thousand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates {
    /// A gateway dies before a call to the store, or after it.
    pub(crate) crash: usize,
    /// The database fails, before or after.
    pub(crate) database: usize,
    /// A request to a lab is lost.
    pub(crate) loss: usize,
    /// A lab cannot be reached at all.
    pub(crate) unreachable: usize,
    /// A request is late: whoever sent it gives up, and it is still on its way.
    pub(crate) late: usize,
    /// The lab's answer is lost.
    pub(crate) lost_answer: usize,
    /// The lab's answer to a question is slow: others overtake it.
    pub(crate) slow_answer: usize,
    /// A request arrives once more.
    pub(crate) twice: usize,
    /// The lab refuses an upload.
    pub(crate) refuse: usize,
    /// The lab's people answer a stop later.
    pub(crate) later: usize,
    /// A clock is set.
    pub(crate) clock: usize,
    /// The database is away for a while, or its disk is full.
    pub(crate) outage: usize,
    /// The power of all gateways and their database goes.
    pub(crate) power: usize,
    /// The host of a gateway gets newer zone data.
    pub(crate) zones: usize,
    /// The host of a gateway stops while it has something to write of which a lab knows nothing.
    pub(crate) freeze: usize,
}

/// What a seed stands for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) replicas: usize,
    pub(crate) kinds: Vec<Kind>,
    /// What becomes of addresses, if anything does.
    pub(crate) moves: Option<Moves>,
    pub(crate) calendar: serde_json::Value,
    pub(crate) start: Timestamp,
    /// How often a loop looks again by itself, in seconds.
    pub(crate) poll: i64,
    pub(crate) steps: usize,
    pub(crate) orders: usize,
    pub(crate) rates: Rates,
    /// Whether stops name lines.
    pub(crate) lines: bool,
    /// Whether ops and merchants do more than they have to.
    pub(crate) busy: bool,
    /// Whether the platform has an endpoint that is told what happens.
    pub(crate) hooks: bool,
    /// Whether all gateways start anew when the storm is over.
    pub(crate) restarts: bool,
    /// Whether time passes only while nobody can go on, and orders are all that is asked for: so that what takes many
    /// turns in a row is done before another thing begins.
    pub(crate) patient: bool,
}

impl Plan {
    /// Draws the plan of a seed.
    pub(crate) fn of(seed: u64, dice: &Dice, shared: bool) -> Self {
        let (zone, cutoffs, first) = PLACES[dice.below(PLACES.len())];
        let first: Timestamp = first.parse().expect("an instant");
        let before = [5, 60, 300, 1500][dice.below(4)];
        let before = jiff::SignedDuration::from_secs(2 + dice.long(before));
        let lines = dice.hits(300);
        let kind = |_| Kind {
            // Most often those that can do all, and those where only a look-up proves that nothing came.
            skill: match dice.below(100) {
                0..25 => Skill::A,
                25..45 => Skill::F,
                _ => SKILLS[dice.below(SKILLS.len())],
            },
            per_call: [1, 1, 2, 5][dice.below(4)],
            acts_within: [10, 60, 120][dice.below(3)],
            answers_within: [120, 600, 1800][dice.below(3)],
            handover_within: [420, 1200, 3600][dice.below(3)],
            attempts_max: [2, 4, 20][dice.below(3)],
            key_window: [420, 1200][dice.below(2)],
            lines,
            takes: AddressChanges::No,
            concurrency: Profile::default().concurrency,
        };
        let labs = 1 + dice.below(2);
        let kinds = (0..labs).map(kind).collect();
        // About half of all kinds of faults are drawn, each with a rate of its own.
        let rate = |most: usize| if dice.hits(500) { dice.below(most) } else { 0 };
        let rates = Rates {
            crash: rate(25),
            database: rate(30),
            loss: rate(300),
            unreachable: rate(200),
            late: rate(400),
            lost_answer: rate(400),
            slow_answer: rate(950),
            twice: rate(400),
            refuse: rate(200),
            later: rate(500),
            clock: rate(120),
            outage: if dice.hits(60) { 6 } else { 0 },
            freeze: 0,
            power: 0,
            zones: 0,
        };
        let replicas = if shared { 2 + dice.below(2) } else { 1 + dice.below(3) };
        let mut plan = Self {
            seed,
            replicas,
            // One process a file: beside others, each would take what the others have for given up.
            hooks: !shared && replicas == 1 && dice.hits(500),
            kinds,
            moves: None,
            calendar: serde_json::json!({"time_zone": zone, "cutoffs": cutoffs}),
            start: first - before,
            poll: [20, 60, 300][dice.below(3)],
            steps: 120 + dice.below(240),
            orders: 2 + dice.below(7),
            rates,
            lines,
            busy: dice.hits(400),
            restarts: dice.hits(500),
            patient: false,
        };
        plan.narrow();
        if let Some(moves) = Moves::of(seed, &mut plan.kinds) {
            let moves = moves.narrow(&mut plan);
            // What is asked of a lab that has the order is asked late: the first cutoff comes soon, and much follows.
            plan.start = moves.start(plan.start, first);
            plan.steps += 600;
            if moves.needs_two() && !plan.hooks {
                plan.replicas = plan.replicas.max(2);
            }
            plan.moves = Some(moves);
        }
        plan
    }

    /// Three seeds in twenty are narrow: one lab and one kind of trouble, over and over. What takes several rare things in a
    /// row comes up there, and hardly ever where everything is drawn.
    fn narrow(&mut self) {
        let (skill, rates) = match self.seed % 20 {
            // Copies that are under way for long, and refusals meanwhile.
            8 => (Skill::A, Rates { late: 500, refuse: 500, later: 200, ..Rates::default() }),
            // Whatever the lab answers is lost, and gateways die: attempts take as long as a lease.
            18 => (Skill::D, Rates { lost_answer: 950, crash: 80, ..Rates::default() }),
            // Hosts that stop, so that an answer is written long after it was given: after a proof of another gateway
            // and another whole attempt.
            9 => {
                self.replicas = 2;
                self.hooks = false;
                self.patient = true;
                self.poll = 300;
                self.steps = 800;
                (Skill::F, Rates { loss: 300, lost_answer: 300, freeze: 900, ..Rates::default() })
            }
            // The power goes, whatever else does.
            19 => {
                self.rates.power = 400;
                return;
            }
            // Zone data changes, whatever else does.
            17 => {
                self.rates.zones = 500;
                return;
            }
            _ => return,
        };
        self.kinds.truncate(1);
        for kind in &mut self.kinds {
            *kind = Kind {
                skill,
                per_call: 1,
                acts_within: 120,
                handover_within: 3600,
                attempts_max: 20,
                key_window: 420,
                ..*kind
            };
        }
        self.rates = rates;
    }
}
