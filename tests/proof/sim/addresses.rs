//! Other addresses for orders: who asks for them, how labs take that, what people find out, and whether in the end
//! every parcel goes where it was said.
//!
//! What is drawn for this comes from dice of its own, and a third of the seeds has it. The stories of the others are to
//! the letter what they were before.

use jiff::{SignedDuration, Timestamp};
use stoppress::api::windows;
use stoppress::domain::address::{AddressChanges, asks_lab};
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{AddressChangeId, HoldId, OrderId};
use stoppress::domain::order::{Address, OrderFacts, Submission};
use stoppress::domain::verdict::{Changeable, can_change};
use stoppress::store::{
    AddressAsked, AskAddress, Change, ChangeKind, Changed, EscalationFilter, EscalationRow, OrderRef,
    PersonDecision, Result, Scope, WebhookFilter, Write, Written,
};
use stoppress::work::address;

use super::cast::{Ask, Desk, End, shop};
use super::dice::Dice;
use super::kinds::{Kind, Skill};
use super::ledger::{Job, Mood};
use super::plan::{Plan, Rates};
use super::play::{Known, Play};

/// What the dice of addresses are drawn with beside the seed: a number with which the seeds that were listed before have
/// none of this, so that they show what they are listed for.
const BESIDE: u64 = 51 << 32;
/// What labs take by their profile.
const TAKES: [AddressChanges; 5] = [
    AddressChanges::No,
    AddressChanges::UntilProduction,
    AddressChanges::UntilPrinted,
    AddressChanges::UntilShipped,
    AddressChanges::UntilShipped,
];

/// How often something becomes of addresses, of a thousand.
#[derive(Debug, Clone)]
pub(crate) struct Moves {
    /// A platform asks for another one, of so many steps.
    asked: usize,
    /// The lab hears it, and does not decide yet.
    later: usize,
    /// The lab refuses the call.
    refuse: usize,
    /// The lab does the opposite of what it said when it is asked again.
    wavers: usize,
    /// A person finds out the opposite of what is so.
    errs: usize,
    /// The host of a gateway stops while it has a lab's word about an address to write.
    freeze: usize,
    /// A lab's word about an address is written, and the gateway does not hear that it is.
    unheard: usize,
    /// Its one kind of trouble, if it keeps to one.
    trouble: Option<Trouble>,
    /// How long before its first cutoff a story begins at most, in seconds.
    before: i64,
}

/// What a story keeps to, over and over: what takes several rare things in a row comes up there, and hardly ever where
/// everything is drawn.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// Words that are written late, by labs and people that say one thing and the other.
    Words,
    /// Calls that are refused or do not arrive, while older ones are under way or were taken unheard.
    Refusals,
}

/// The dice for addresses.
pub(crate) fn dice(seed: u64) -> Dice {
    Dice::new(seed ^ BESIDE)
}

/// The address with a number.
pub(crate) fn street(nth: usize) -> Address {
    Address {
        name: "Aino".to_owned(),
        line1: format!("Katu {nth}"),
        city: "Helsinki".to_owned(),
        country: "FI".to_owned(),
        ..Address::default()
    }
}

/// Where a stored submission says that the parcel goes.
pub(crate) fn stored(facts: &OrderFacts) -> String {
    let submission = serde_json::from_str::<Submission>(&facts.document).ok();
    submission.and_then(|submission| submission.ship_to).map(|to| to.line1).unwrap_or_default()
}

impl Moves {
    /// Draws what becomes of addresses, and what the labs take. A narrow seed keeps to its one kind of trouble.
    pub(crate) fn of(seed: u64, kinds: &mut [Kind]) -> Option<Self> {
        let dice = dice(seed);
        if !dice.hits(333) || matches!(seed % 20, 8 | 9 | 18) {
            return None;
        }
        for (nth, kind) in kinds.iter_mut().enumerate() {
            let takes = if nth == 0 { &TAKES[1..] } else { &TAKES };
            let takes = takes[dice.below(takes.len())];
            // Only an endpoint can be asked.
            kind.takes = if kind.skill == Skill::Manual { AddressChanges::No } else { takes };
            // What is asked of addresses and what is asked of stops go through one lane.
            kind.concurrency = [1, 2, 8][dice.below(3)];
        }
        let rate = |most: usize| if dice.hits(500) { dice.below(most) } else { 0 };
        Some(Self {
            asked: 60 + dice.below(140),
            later: rate(700),
            refuse: rate(250),
            wavers: rate(800),
            errs: rate(500),
            freeze: rate(700),
            before: [10, 60, 3600][dice.below(3)],
            unheard: 0,
            trouble: match dice.below(5) {
                0 => Some(Trouble::Words),
                1 | 2 => Some(Trouble::Refusals),
                _ => None,
            },
        })
    }

    /// Keeps a story to its one kind of trouble.
    pub(crate) fn narrow(mut self, plan: &mut Plan) -> Self {
        self.trouble = self.trouble.filter(|_| !matches!(plan.seed % 20, 17 | 19));
        let Some(trouble) = self.trouble else { return self };
        let (moods, rates, answers_within) = match trouble {
            Trouble::Words => ([0, 0, 800, 300, 900, 100], Rates::default(), 600),
            // A refusal at the door proves nothing of copies, and the network makes none.
            Trouble::Refusals => (
                [0, 200, 0, 0, 900, 700],
                Rates { late: 150, lost_answer: 300, unreachable: 150, ..Rates::default() },
                1800,
            ),
        };
        [self.later, self.refuse, self.wavers, self.errs, self.freeze, self.unheard] = moods;
        (self.asked, self.before) = (180, 10);
        plan.busy = false;
        plan.rates = rates;
        plan.replicas = 2;
        plan.hooks = false;
        plan.kinds.truncate(1);
        for kind in &mut plan.kinds {
            *kind = Kind { skill: Skill::A, per_call: 1, acts_within: 120, answers_within, ..*kind };
            if matches!(trouble, Trouble::Words) {
                kind.takes = AddressChanges::UntilShipped;
            }
        }
        self
    }

    /// Whether it takes another gateway to show what comes of it: one that asks while a host stands still.
    pub(crate) fn needs_two(&self) -> bool {
        self.freeze > 0
    }

    /// How often a lab's work goes on, of a thousand; nothing of a story that is about other things too.
    fn works(&self) -> Option<usize> {
        self.trouble.map(|trouble| match trouble {
            Trouble::Words => 60,
            Trouble::Refusals => 150,
        })
    }

    /// When a story begins.
    pub(crate) fn start(&self, start: Timestamp, cutoff: Timestamp) -> Timestamp {
        start.max(cutoff - SignedDuration::from_secs(self.before))
    }
}

/// What a platform was told that asked for another address.
#[derive(Debug)]
pub(crate) enum Said {
    /// The lab is asked by this change.
    Asked(AddressChangeId),
    /// By this one it is asked for another.
    Open(AddressChangeId),
    /// That is the address.
    Unchanged,
    /// It is from now on: no lab has the order.
    InHouse,
    /// It cannot be changed now.
    NotAllowed,
}

impl Said {
    fn word(&self) -> &'static str {
        match self {
            Self::Asked(_) => "asked",
            Self::Open(_) => "another is open",
            Self::Unchanged => "that it is so",
            Self::InHouse => "changed in the house",
            Self::NotAllowed => "not allowed",
        }
    }
}

impl Desk {
    /// Another address, as the surface does it: in the house it is the platform's, at a lab it is a question.
    pub(crate) async fn readdress(&self, order: OrderId, lab: usize, to: usize) -> Result<End> {
        let profile = &self.labs[lab].spec.profile;
        let contradicted = self.hub.state().ledger.parcels.is_contradicted(&order);
        let told = |said, contradicted| Ok(End::Readdressed { order: order.clone(), said, contradicted });
        let said = |said| told(said, false);
        for _ in 0..windows::TRIES {
            let which = [OrderRef::Id(order.clone())];
            let read = self.bench.store.orders(&Scope::Platform(shop()), &which).await?;
            let Some(facts) = read.into_iter().next().flatten() else { return Ok(End::Done) };
            let open = facts.extras.address_change.as_ref().is_some_and(|change| change.state.is_open());
            if open || asks_lab(&facts, profile) {
                return told(self.ask_the_lab(&order, to).await?, contradicted);
            }
            if !can_change(&facts, profile).contains(&Changeable::ShippingAddress) {
                return said(Said::NotAllowed);
            }
            match self.move_in_house(&facts, to).await? {
                Changed::Version(_) => {}
                Changed::Done => return said(Said::InHouse),
                Changed::Unchanged => return said(Said::Unchanged),
                _ => return said(Said::NotAllowed),
            }
        }
        Ok(End::Done)
    }

    async fn ask_the_lab(&self, order: &OrderId, to: usize) -> Result<Said> {
        let at = self.now();
        let write = AskAddress {
            id: AddressChangeId::new(at, &*self.bench.random),
            order: order.clone(),
            scope: Scope::Platform(shop()),
            ship_to: street(to),
            reason: "they moved".to_owned(),
            if_version: None,
            at,
            actor: Actor("platform:shop".to_owned()),
        };
        let Written::AddressAsked(asked) = self.one(Write::AskAddress(Box::new(write))).await? else {
            return Ok(Said::NotAllowed);
        };
        self.bench.bells.nudge(address::NAME);
        Ok(match *asked {
            AddressAsked::Asked(facts) => Said::Asked(facts.id),
            AddressAsked::Open(facts) => Said::Open(facts.id),
            AddressAsked::Unchanged => Said::Unchanged,
            _ => Said::NotAllowed,
        })
    }

    async fn move_in_house(&self, facts: &OrderFacts, to: usize) -> Result<Changed> {
        let mut submission: Submission = serde_json::from_str(&facts.document).expect("a submission");
        submission.ship_to = Some(street(to));
        let at = self.now();
        let change = Change {
            order: facts.id.clone(),
            scope: Scope::Platform(shop()),
            kind: ChangeKind::Document(submission.document().0),
            hold: HoldId::new(at, &*self.bench.random),
            join: None,
            if_version: Some(facts.version),
            at,
            actor: Actor("platform:shop".to_owned()),
            reason: Some("they moved".to_owned()),
        };
        match self.one(Write::Change(Box::new(change))).await? {
            Written::Changed(changed) => Ok(changed),
            _ => Ok(Changed::NotFound),
        }
    }
}

impl Play {
    /// Whether a platform asks for another address now.
    pub(crate) fn readdress(&mut self) -> bool {
        let asks = self.plan.moves.as_ref().is_some_and(|moves| self.beside.hits(moves.asked));
        if !asks {
            return false;
        }
        if self.plan.busy && self.beside.hits(50) {
            return self.define();
        }
        // Most often of one that a lab has, and may change.
        let which: Vec<OrderRef> = self.orders.iter().map(|known| OrderRef::Id(known.id.clone())).collect();
        let facts = self.ask(self.store.orders(&Scope::Ops, &which));
        let asked = |facts: &Option<OrderFacts>, lab: usize| {
            facts.as_ref().is_some_and(|facts| {
                let open = facts.extras.address_change.as_ref().is_some_and(|change| change.state.is_open());
                asks_lab(facts, &self.plan.kinds[lab].profile()) && (!open || self.beside.hits(100))
            })
        };
        let there: Vec<Known> = self
            .orders
            .iter()
            .zip(&facts)
            .filter(|(known, facts)| asked(facts, known.lab))
            .map(|(known, _)| known.clone())
            .collect();
        let any = self.beside.hits(100);
        let Some(order) = self.beside.pick(if any { &self.orders } else { &there }).cloned() else {
            return false;
        };
        // Often the one that was asked for before.
        let before = self.wanted.get(&order.id).copied().filter(|_| self.beside.hits(250));
        let to = before.unwrap_or_else(|| 1 + self.beside.below(1_000_000));
        self.wanted.insert(order.id.clone(), to);
        self.request(Ask::Readdress { order: order.id, lab: order.lab, to });
        true
    }

    /// Ops say that a lab takes other addresses than it does, or none.
    fn define(&mut self) -> bool {
        let lab = self.beside.below(self.plan.kinds.len());
        let takes = TAKES[self.beside.below(TAKES.len())];
        let kind = self.plan.kinds[lab];
        if kind.skill == Skill::Manual {
            return false;
        }
        let spec = Kind { takes, ..kind }.spec(lab, &self.plan.calendar);
        self.request(Ask::Define { lab, spec });
        true
    }

    /// How a lab takes a change of an address that arrives, of which it may have said a word before.
    pub(crate) fn address_mood(&self, at_the_door: bool, known: bool) -> Mood {
        let Some(moves) = self.plan.moves.as_ref().filter(|_| !self.calm) else { return Mood::default() };
        Mood {
            refuses: self.beside.hits(match moves.trouble {
                // What it has taken is what a refusal must not be believed about.
                Some(Trouble::Refusals) if known => 800,
                _ => moves.refuse,
            }),
            at_the_door,
            later: self.beside.hits(moves.later),
            wavers: self.beside.hits(moves.wavers),
        }
    }

    /// How often a lab's work goes on, of a thousand, in a story about addresses alone: there must long be something to
    /// ask about.
    pub(crate) fn lab_is_slow(&self) -> Option<usize> {
        self.plan.moves.as_ref().and_then(Moves::works)
    }

    /// Whether a story is about addresses alone.
    pub(crate) fn is_about_addresses(&self) -> bool {
        self.lab_is_slow().is_some()
    }

    /// Whether a host stops now that has a lab's word about an address to write, to this attempt. Where it is about
    /// refusals, most often as it writes once more what was written unheard: other attempts begin and end meanwhile.
    pub(crate) fn freezes(&self, word: &(AddressChangeId, i64)) -> bool {
        self.plan.moves.as_ref().is_some_and(|moves| {
            let seldom = matches!(moves.trouble, Some(Trouble::Refusals)) && !self.unheard.contains(word);
            self.beside.hits(if seldom { 50 } else { moves.freeze })
        })
    }

    /// Whether such a word is written now, and the gateway does not hear that it is: once of each.
    pub(crate) fn goes_unheard(&self, word: &(AddressChangeId, i64)) -> bool {
        let rate = self.plan.moves.as_ref().map_or(0, |moves| moves.unheard);
        rate > 0 && self.beside.hits(rate) && !self.unheard.contains(word)
    }

    /// What a person hears at the lab of a change; nothing while it may still take it.
    pub(crate) fn find_out_address(&self, row: &EscalationRow) -> Option<PersonDecision> {
        let errs = self.plan.moves.as_ref().is_some_and(|moves| self.beside.hits(moves.errs));
        let mut state = self.hub.state();
        let shown = state.shown();
        let taken = state.ledger.parcels.outcome(&row.subject, shown)?;
        if errs {
            state.ledger.parcels.doubtful.extend(row.order.clone());
        }
        Some(if taken == errs { PersonDecision::Refused } else { PersonDecision::Taken })
    }

    /// Whether a change can be asked for now, and when the next one is due. Such stories are long: messages that were lost
    /// again and again come hours later, and until then nobody has to be woken for nothing.
    pub(crate) fn address_due(&self, at: Timestamp) -> (bool, Option<Timestamp>) {
        if self.plan.moves.is_none() {
            return (false, None);
        }
        let due = self.ask_again(("addresses", at.as_microsecond()), self.store.addresses_due(at));
        let filter = WebhookFilter { platform: None, after: None, limit: 1 };
        let hooks = self.ask_again(("hooks", 0), self.store.webhooks(&filter));
        // One that is overdue waits for its endpoint, or for the others of its order.
        let message = hooks.iter().filter_map(|row| row.due_at).filter(|due| *due > at).min();
        (!due.labs.is_empty(), due.next_at.into_iter().chain(message).min())
    }

    /// Whether the parcel of an order goes where the gateways say.
    pub(crate) fn check_parcel(&self, facts: &OrderFacts, live: &[Job]) {
        if self.plan.moves.is_none() {
            return;
        }
        let state = self.hub.state();
        let parcels = &state.ledger.parcels;
        let sure = !parcels.doubtful.contains(&facts.id);
        let change = facts.extras.address_change.as_ref();
        let stands =
            change.map(|change| (parcels.stands(change.id.as_str()).map(str::to_owned), change.state.word()));
        drop(state);
        let to = stored(facts);
        for job in live.iter().filter(|job| sure && job.ship_to != to) {
            self.fault(format!(
                "{} goes to {}, and the gateway says {to}: {change:?}",
                facts.id, job.ship_to
            ));
        }
        if let Some((log, row)) = stands
            && log.as_deref() != Some(row)
        {
            self.fault(format!(
                "{}: the log says {log:?} of the change of its address, the row {row}",
                facts.id
            ));
        }
    }

    /// Whether a person was called about each change of which a lab said both.
    pub(crate) fn check_contradictions(&self) {
        if self.plan.moves.is_none() {
            return;
        }
        let filter = EscalationFilter { limit: 1000, ..EscalationFilter::default() };
        let rows = self.ask(self.store.escalations(&Scope::Ops, &filter));
        let ids: Vec<String> = self.hub.state().ledger.parcels.contradicted().cloned().collect();
        for id in ids {
            if !rows.iter().any(|row| row.kind == "address_contradiction" && row.subject == id) {
                self.fault(format!("{id} is contradicted, and nobody was called"));
            }
        }
    }
}

/// Counts what was told.
pub(crate) fn edge(said: &Said) -> String {
    format!("address told: {}", said.word())
}
