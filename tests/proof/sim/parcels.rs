//! Where parcels go: what labs were asked of addresses and what they took, and what the log says of it. Kept outside of
//! the gateways, and held against each other at every step.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stoppress::domain::event::Event;
use stoppress::domain::ids::{AddressChangeId, OrderId};
use stoppress::domain::lab::Answer;
use stoppress::domain::order::Stage;
use stoppress::store::Write;

use super::hub::{Gate, Pass, State};
use super::ledger::{House, Ledger, Mood, Told, short};

/// How late a change may go to a person when nothing fails, in microseconds: as long as a gateway sleeps at most, and a
/// lease.
const LATE: i64 = 400_000_000;

/// A lab is asked to send a parcel elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) change: AddressChangeId,
    pub(crate) order: OrderId,
    pub(crate) to: String,
    /// After this instant it must not take it any more.
    pub(crate) answer_by: i64,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (order, change) = (short(self.order.as_str()), short(self.change.as_str()));
        write!(f, "send {order} to {} by {change}", self.to)
    }
}

/// The word of a lab about a change, which it keeps.
#[derive(Debug)]
struct Word {
    from: String,
    taken: bool,
    /// Whether it took it at any time.
    ever: bool,
}

/// What the log says of a change.
#[derive(Debug)]
struct Change {
    order: OrderId,
    /// Which one of its order it is.
    nth: usize,
    word: String,
    evidence: String,
    deadline: i64,
    forwarded: u64,
    begun: u64,
    /// Whether a gateway wrote that its lab took it, and whether that it did not.
    heard: [bool; 2],
    contradicted: bool,
}

impl Change {
    fn is_open(&self) -> bool {
        matches!(self.word.as_str(), "asked" | "with_a_person")
    }
}

/// Where parcels go.
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    /// What was asked under each id: the same each time.
    asked: BTreeMap<String, Asked>,
    words: BTreeMap<String, Word>,
    /// Changes that a lab refuses for ever.
    refused: BTreeSet<String>,
    changes: BTreeMap<String, Change>,
    /// Orders of whose address somebody outside has said what is not so, or one thing and the other.
    pub(crate) doubtful: BTreeSet<OrderId>,
    /// Calls that have begun and were not looked at.
    begun: Vec<String>,
    /// Since when nothing fails any more, as clocks show it.
    pub(crate) calm: Option<i64>,
}

impl Parcels {
    /// A call begins. Gives what is wrong with it.
    pub(crate) fn begins(&mut self, asked: &Asked) -> Option<String> {
        let id = asked.change.to_string();
        self.begun.push(id.clone());
        let first = self.asked.entry(id).or_insert_with(|| asked.clone());
        (first != asked).then(|| format!("under one id a lab is asked: {first:?}, and now {asked:?}"))
    }

    /// Whether its lab has said what it makes of a change.
    pub(crate) fn knows(&self, asked: &Asked) -> bool {
        self.words.contains_key(asked.change.as_str())
    }

    /// What came of a change at its lab; nothing while the lab may still take it, by its clock.
    pub(crate) fn outcome(&self, id: &str, now: i64) -> Option<bool> {
        match (self.words.get(id), self.asked.get(id)) {
            (Some(word), _) => Some(word.taken),
            (None, Some(asked)) => (now > asked.answer_by).then_some(false),
            (None, None) => Some(false),
        }
    }

    /// The changes of which nobody has said what came of them.
    pub(crate) fn open(&self) -> impl Iterator<Item = String> {
        let open = self.changes.iter().filter(|(_, change)| change.is_open());
        open.map(|(id, change)| format!("{id} is {}", change.word))
    }

    /// The changes of which somebody said both, as the log has it.
    pub(crate) fn contradicted(&self) -> impl Iterator<Item = &String> {
        let contradicted = |change: &Change| change.contradicted && change.evidence != "order_stopped";
        self.changes.iter().filter(move |(_, change)| contradicted(change)).map(|(id, _)| id)
    }

    /// How a change stands, as the log has it.
    pub(crate) fn stands(&self, id: &str) -> Option<&str> {
        self.changes.get(id).map(|change| change.word.as_str())
    }

    /// Whether somebody has said both of a change of an order, as the log has it.
    pub(crate) fn is_contradicted(&self, order: &OrderId) -> bool {
        self.contradicted().any(|id| self.changes[id].order == *order)
    }

    /// Reads an entry of the log about a lab that answers within so many microseconds: gives the step that was taken.
    pub(crate) fn read(
        &mut self,
        event: &Event,
        (word, within): (&str, i64),
        shown: i64,
        faults: &mut Vec<String>,
    ) -> Option<String> {
        let text = |field: &str| event.detail[field].as_str().unwrap_or_default().to_owned();
        let (id, evidence) = (text("change"), text("evidence"));
        if word == "asked" {
            let Ok(order) = OrderId::parse(&event.subject) else { return None };
            let others = || self.changes.values().filter(|change| change.order == order);
            if others().any(Change::is_open) {
                faults.push(format!("{id} is asked for while another change of {order} is open"));
            }
            let deadline =
                text("deadline_at").parse::<Timestamp>().map_or(i64::MAX, Timestamp::as_microsecond);
            if deadline > event.at.as_microsecond() + within {
                faults.push(format!("the lab has longer to say what comes of {id} than its profile says"));
            }
            let nth = others().count();
            let (word, forwarded, begun, heard, contradicted) = (word.to_owned(), 0, 0, [false; 2], false);
            let change =
                Change { order, nth, word, evidence, deadline, forwarded, begun, heard, contradicted };
            self.changes.insert(id, change);
            return Some("address none -> asked".to_owned());
        }
        let Some(change) = self.changes.get_mut(&id) else {
            faults.push(format!("{id} was never asked for, and is {word}"));
            return None;
        };
        let was = change.word.clone();
        let may = match word {
            "forwarded" | "with_a_person" => was == "asked",
            "answer" | "taken" | "refused" => change.is_open(),
            "contradicted" => !change.is_open() && change.evidence != "order_stopped" && !change.contradicted,
            "late_answer" => change.evidence == "order_stopped" && !change.contradicted,
            _ => false,
        };
        if !may {
            faults.push(format!("{id} was told {was}, and now {word}"));
        }
        match word {
            "forwarded" => change.forwarded += 1,
            "answer" => {}
            "contradicted" | "late_answer" => {
                change.contradicted = true;
                if word == "contradicted" && !self.doubtful.contains(&change.order) {
                    faults.push(format!("{id} is contradicted, and everybody said the same of it"));
                }
                return Some(format!("address {word}"));
            }
            _ => {
                (change.word, change.evidence) = (word.to_owned(), evidence.clone());
                let at = event.at.as_microsecond();
                if word == "with_a_person" && at < change.deadline {
                    faults.push(format!("a person has {id} before its deadline"));
                }
                // A loop may have read its clock before that was set back: it is no later than it is.
                let since = self.calm.map(|calm| at.min(shown) - change.deadline.max(calm));
                if word == "with_a_person" && since.is_some_and(|late| late > LATE) {
                    faults.push(format!("a person has {id} long after its deadline"));
                }
                faults.extend(self.untrue(&id, word, &evidence));
                return Some(format!("address {was} -> {word} {evidence}"));
            }
        }
        None
    }

    /// What is wrong with what is told of a change, as its lab knows it.
    fn untrue(&self, id: &str, told: &str, evidence: &str) -> Option<String> {
        let change = self.changes.get(id)?;
        let word = self.words.get(id);
        let (taken, ever) = (word.is_some_and(|word| word.taken), word.is_some_and(|word| word.ever));
        let sure = !self.doubtful.contains(&change.order);
        let wrong = match (told, evidence) {
            ("taken", "lab_took") => !ever,
            ("taken", _) => !taken && sure,
            ("refused", "order_stopped") => false,
            ("refused", _) => taken && sure,
            _ => false,
        };
        wrong.then(|| format!("{id} was told {told} by {evidence}; that the lab has taken it is {taken}"))
    }

    /// A gateway writes what a lab said.
    fn hears(&mut self, write: &Write) {
        let Write::SettleAddress(settle) = write else { return };
        let Some(change) = self.changes.get_mut(settle.change.as_str()) else { return };
        match settle.answer {
            Answer::Accepted { .. } => change.heard[0] = true,
            Answer::WillPrint { .. } => change.heard[1] = true,
            _ => {}
        }
    }

    /// Looks at what was read, and at the calls that have begun.
    pub(crate) fn check(&mut self, told: &BTreeMap<OrderId, Told>) -> Vec<String> {
        let mut wrong = Vec::new();
        for id in std::mem::take(&mut self.begun) {
            let Some(change) = self.changes.get_mut(&id) else {
                wrong.push(format!("a lab is asked about {id}, which nobody asked for"));
                continue;
            };
            if self.asked.get(&id).is_some_and(|asked| asked.answer_by != change.deadline) {
                wrong.push(format!("a lab may take {id} until another instant than its deadline"));
            }
            change.begun += 1;
            if change.begun > change.forwarded {
                wrong.push(format!("a lab is asked about {id}, and the log does not say so"));
            }
        }
        let stopped = |order: &OrderId| told.get(order).is_some_and(|told| told.stopped);
        for (id, change) in &self.changes {
            if change.is_open() && stopped(&change.order) {
                wrong.push(format!("{} is stopped, and {id} is {}", change.order, change.word));
            }
            let [taken, not] = change.heard;
            let contrary = (change.word == "taken" && not) || (change.word == "refused" && taken);
            if contrary && !change.contradicted {
                wrong.push(format!(
                    "{id} was told {}, its lab said the opposite, and nobody is told so",
                    change.word
                ));
            }
            if change.evidence == "order_stopped" && !stopped(&change.order) {
                wrong.push(format!("{id} ends by a stop of {}, which is not stopped", change.order));
            }
        }
        wrong
    }

    /// A copy of a call arrives at its lab, which keeps to the contract, or wavers.
    fn arrives(&mut self, house: &mut House, asked: &Asked, mood: Mood, now: i64) -> (Answer, Vec<String>) {
        let id = asked.change.to_string();
        let kind = house.kind;
        let job = house.job_of(&asked.order);
        let late = |stage| Answer::WillPrint { reason: None, stage };
        let taken = || Answer::Accepted { lab_reference: None };
        let only = |answer| (answer, Vec::new());
        let refused = |reason: &str| only(Answer::Refused { reason: reason.to_owned() });
        if mood.refuses && mood.at_the_door {
            // Also what it has taken before: that says nothing of it.
            return refused("the key of the gateway is not valid now");
        }
        if let Some(word) = self.words.get_mut(&id) {
            if mood.wavers {
                word.taken = !word.taken;
                word.ever |= word.taken;
                self.doubtful.insert(asked.order.clone());
                if let Some(job) = job {
                    job.ship_to = if word.taken { asked.to.clone() } else { word.from.clone() };
                }
            }
            return only(if word.taken { taken() } else { late(Stage::Received) });
        }
        if mood.refuses || self.refused.contains(&id) {
            self.refused.insert(id);
            return refused("no such street");
        }
        let Some(job) = job else { return only(Answer::NotFound) };
        if now > asked.answer_by {
            return refused("it came too late to be taken");
        }
        if mood.later {
            return only(Answer::AnswerLater);
        }
        let takes = !job.out && kind.takes.asks_at(job.stage);
        let from = job.ship_to.clone();
        self.words.insert(id.clone(), Word { from, taken: takes, ever: takes });
        if !takes {
            return only(late(job.stage));
        }
        job.ship_to.clone_from(&asked.to);
        (taken(), self.wrongly_taken(&id))
    }

    /// What is wrong with what a lab takes now.
    fn wrongly_taken(&self, id: &str) -> Vec<String> {
        let Some(change) = self.changes.get(id).filter(|it| !self.doubtful.contains(&it.order)) else {
            return Vec::new();
        };
        let mut wrong = Vec::new();
        if change.word == "refused" && change.evidence != "order_stopped" {
            wrong.push(format!("{id} was told refused, and the lab takes it"));
        }
        let newer = |(other, it): &(&String, &Change)| {
            let taken = self.words.get(*other).is_some_and(|word| word.taken);
            it.order == change.order && it.nth > change.nth && taken
        };
        if let Some((newer, _)) = self.changes.iter().find(newer) {
            wrong.push(format!("a lab takes {id} after {newer}, which was asked for later"));
        }
        wrong
    }
}

impl State {
    /// Writes are let through: what gateways have heard of addresses.
    pub(crate) fn hears(&mut self, gate: &Gate, pass: &Pass) {
        let others = match pass {
            Pass::Fail(_) => return,
            Pass::Lead(followers) => &followers[..],
            _ => &[],
        };
        let others = others.iter().flat_map(|other| &other.writes);
        for write in gate.writes.iter().flatten().chain(others) {
            self.ledger.parcels.hears(write);
        }
    }
}

impl Ledger {
    /// A lab is reached by a change of an address; `now` is what its clock shows.
    pub(crate) fn readdress(
        &mut self,
        lab: usize,
        asked: &Asked,
        mood: Mood,
        now: i64,
    ) -> (Answer, Vec<String>) {
        let Some(house) = self.houses.get_mut(lab) else { return (Answer::NotFound, Vec::new()) };
        self.parcels.arrives(house, asked, mood, now)
    }
}
