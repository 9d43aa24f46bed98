//! Where the model meets the real rules: the pure functions of the crate's `domain` decide, on facts that are put
//! together from the model's rows. Instants are what has passed: what is due lies at [`NOW`], what is not far behind it.

use std::cell::RefCell;

use jiff::{SignedDuration, Timestamp};
use stoppress::domain::batch::{self, Next, Remedy, TransferFacts, TransferPhase};
use stoppress::domain::ids::{BatchId, LabId, TransferId};
use stoppress::domain::lab::{Answer, Dedupes, Lasting, Profile, StopChannel, TakesStops};
use stoppress::domain::order::Stage;
use stoppress::domain::stop::{self, Decision, StopState};

use super::state::{Order, Transfer, Word};

/// The instant at which every rule is asked.
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Beyond everything that a profile can say.
fn far() -> Timestamp {
    NOW + SignedDuration::from_hours(24 * 365)
}

/// The kinds of labs of the design, by what they can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lab {
    /// Deduplicates for ever, can be looked up, takes stops.
    A,
    /// Deduplicates for ever, nothing else.
    B,
    /// Deduplicates for ever, takes stops, cannot be looked up.
    C,
    /// Like A, for a time.
    D,
    /// Deduplicates jobs that live; what was removed, it takes anew. Its profile says that it does not.
    E,
    /// Can be looked up, takes stops, does not deduplicate.
    F,
    /// Takes stops, nothing else.
    G,
    /// Nothing.
    H,
}

impl Lab {
    /// What the lab can do, as its profile says.
    pub(super) fn profile(self, attempts: u8) -> Profile {
        let dedupes = match self {
            Self::A | Self::B | Self::C => Dedupes::Forever,
            Self::D => Dedupes::Window(Lasting::seconds(24 * 3600)),
            Self::E | Self::F | Self::G | Self::H => Dedupes::No,
        };
        let stops = if matches!(self, Self::B | Self::H) { TakesStops::No } else { TakesStops::Yes };
        Profile {
            dedupes,
            stops,
            lookup: matches!(self, Self::A | Self::D | Self::E | Self::F),
            orders_per_call: 2,
            attempts_max: i64::from(attempts),
            ..Profile::default()
        }
    }
}

/// The same lab, whose people answer stops.
pub(super) fn by_people(profile: Profile) -> Profile {
    Profile { channel: Some(StopChannel::Person), ..profile }
}

thread_local! {
    /// One set of facts a thread: they are asked millions of times.
    static FACTS: RefCell<TransferFacts> = RefCell::new(TransferFacts {
        id: TransferId::parse("trf_00000000000000000000000000000000").expect("an id"),
        lab: LabId::parse("lab").expect("an id"),
        batch: BatchId::parse("bat_00000000000000000000000000000000").expect("an id"),
        phase: TransferPhase::Closed,
        fence: 0,
        attempts: 0,
        unresolved: 0,
        first_at: NOW,
        horizon_at: NOW,
        key_until: None,
        deadline_at: NOW,
        next_at: NOW,
        handed_at: None,
        version: 1,
    });
}

/// Runs a rule on the transfer.
fn on<T>(transfer: &Transfer, profile: &Profile, rule: impl FnOnce(&TransferFacts) -> T) -> T {
    let at = |passed: bool| if passed { NOW } else { far() };
    FACTS.with_borrow_mut(|facts| {
        facts.phase = transfer.phase;
        facts.fence = transfer.fence.into();
        facts.attempts = transfer.attempts.into();
        facts.unresolved = transfer.unresolved.into();
        facts.horizon_at = at(transfer.horizon);
        facts.deadline_at = at(transfer.late);
        facts.key_until = matches!(profile.dedupes, Dedupes::Window(_)).then(|| at(!transfer.key_open));
        rule(facts)
    })
}

/// A word as the drivers hand it on.
pub(super) fn answer(word: Word) -> Answer {
    match word {
        Word::Accepted => Answer::Accepted { lab_reference: None },
        Word::Refused => Answer::Refused { reason: String::new() },
        Word::Removed => Answer::Removed { reason: None, items: Vec::new() },
        Word::Printed => Answer::WillPrint { reason: None, stage: Stage::Printed },
        Word::Later => Answer::AnswerLater,
        Word::NotFound => Answer::NotFound,
    }
}

/// No answer came.
pub(super) fn unclear() -> Answer {
    Answer::Unclear { cause: String::new() }
}

/// No byte has left.
pub(super) fn unreachable() -> Answer {
    Answer::Unreachable { cause: String::new() }
}

/// [`batch::settle`].
pub(super) fn settle(transfer: &Transfer, profile: &Profile, fence: u8, answer: &Answer) -> Option<Next> {
    on(transfer, profile, |facts| batch::settle(facts, fence.into(), answer))
}

/// [`batch::after_lease`].
pub(super) fn after_lease(transfer: &Transfer, profile: &Profile) -> Option<Next> {
    on(transfer, profile, batch::after_lease)
}

/// [`batch::absence`]. `after`: whether the lab was asked after the horizon.
pub(super) fn absence(transfer: &Transfer, profile: &Profile, fence: u8, after: bool) -> Option<Next> {
    let asked_at = if after { NOW } else { NOW - SignedDuration::from_secs(1) };
    on(transfer, profile, |facts| batch::absence(facts, fence.into(), asked_at))
}

/// [`batch::remedy`]; a look-up says whether its time has come.
pub(super) fn remedy(transfer: &Transfer, profile: &Profile) -> (Remedy, bool) {
    let remedy = on(transfer, profile, |facts| batch::remedy(facts, profile, NOW));
    (remedy, matches!(remedy, Remedy::LookUp(from) if NOW >= from))
}

/// [`stop::grant`].
pub(super) fn grant(order: &Order, transfer: Option<&Transfer>, profile: &Profile) -> Decision {
    let stage = if order.printed { Stage::Printed } else { Stage::Received };
    match transfer.filter(|_| order.joined) {
        Some(transfer) => on(transfer, profile, |facts| stop::grant(Some(facts), stage, profile)),
        None => stop::grant(None, stage, profile),
    }
}

/// [`stop::settle`] of a stop of a whole order.
pub(super) fn settle_stop(state: StopState, answer: &Answer, person: bool) -> Option<Decision> {
    stop::settle(state, answer, None, person)
}
