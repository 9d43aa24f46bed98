//! Changes of a shipping address after the hand-over: the lab is asked, and says.
//!
//! Until an order is handed over, its address is whatever the platform says. From then on it is what the lab has, and
//! only the lab can change it: it is asked, under one id at every attempt, and until it has said that it took the new
//! address nobody is told that the parcel goes anywhere else. What came of a question that nobody answered is not
//! known; it is asked again, and a person finds out at the deadline.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batch::TransferPhase;
use super::ids::{AddressChangeId, LabId, OrderId};
use super::lab::{Answer, Profile};
use super::order::{OrderFacts, Stage};
use super::stop::StopState;
use super::words::words;

/// Whether a lab takes another shipping address for an order that it has, and until when it is worth asking. The lab
/// has the last word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressChanges {
    /// What it has received goes where it was to go then.
    #[default]
    No,
    /// Until it reports that it makes the order.
    UntilProduction,
    /// Until it reports that the order is printed.
    UntilPrinted,
    /// Until it reports that the order has left.
    UntilShipped,
}

impl AddressChanges {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::UntilProduction => "until_production",
            Self::UntilPrinted => "until_printed",
            Self::UntilShipped => "until_shipped",
        }
    }

    /// Whether the lab says no more than any lab says that is not asked.
    #[must_use]
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }

    /// Whether it is asked about an order that has come so far.
    #[must_use]
    pub fn asks_at(self, stage: Stage) -> bool {
        match self {
            Self::No => false,
            Self::UntilProduction => stage < Stage::InProduction,
            Self::UntilPrinted => stage < Stage::Printed,
            Self::UntilShipped => stage < Stage::Shipped,
        }
    }
}

/// How a change of an address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressState {
    /// The lab is asked, and has not answered. The address is the one before.
    Asked,
    /// The lab said that the parcel goes to the new address.
    Taken,
    /// It does not: the address is the one before.
    Refused,
    /// The lab has not answered in time; a person finds out. It is not known where the parcel goes.
    WithAPerson,
}

impl AddressState {
    const ALL: [Self; 4] = [Self::Asked, Self::Taken, Self::Refused, Self::WithAPerson];

    /// The number that the database keeps.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::WithAPerson => "with_a_person",
        }
    }

    /// Whether somebody has still to say what came of it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Asked | Self::WithAPerson)
    }
}

/// What the state of a change rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressEvidence {
    /// The lab said that it took the new address.
    LabTook,
    /// The lab said no.
    LabRefused,
    /// The lab makes the order, and takes no other address any more.
    InProduction,
    /// The order has left.
    Shipped,
    /// The order was stopped: nothing is sent anywhere.
    OrderStopped,
    /// A named person found out.
    PersonConfirmed,
    /// No answer came in time.
    NoAnswer,
}

words!(AddressEvidence {
    LabTook = "lab_took",
    LabRefused = "lab_refused",
    InProduction = "in_production",
    Shipped = "shipped",
    OrderStopped = "order_stopped",
    PersonConfirmed = "person_confirmed",
    NoAnswer = "no_answer",
});

impl AddressEvidence {
    fn of(stage: Stage) -> Self {
        match stage {
            Stage::Received => Self::LabRefused,
            Stage::InProduction | Stage::Printed => Self::InProduction,
            Stage::Shipped => Self::Shipped,
        }
    }
}

/// What is stored of a change of an address, but for the addresses themselves: they are with the order and the
/// question only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFacts {
    /// Its id; also the key of the question.
    pub id: AddressChangeId,
    /// The order.
    pub order: OrderId,
    /// The lab.
    pub lab: LabId,
    /// How it stands.
    pub state: AddressState,
    /// What the state rests on; `None` while the lab is asked.
    pub evidence: Option<AddressEvidence>,
    /// Why it was asked; may be empty.
    pub reason: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When an answer is due; then a person takes it.
    pub deadline_at: Timestamp,
    /// When the next step is due.
    pub next_at: Timestamp,
    /// How often the lab was asked.
    pub attempts: i64,
    /// How many of these attempts may have reached the lab, and have no end.
    pub unresolved: i64,
    /// The newest attempt whose end is counted: an end that is told again counts once.
    pub ended: i64,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// The lab's or the person's words.
    pub answer: Option<String>,
    /// When somebody said the opposite of what had been told.
    pub contradicted_at: Option<Timestamp>,
}

/// Whether the lab of an order that was handed over is asked for another address, as the order stands.
#[must_use]
pub fn asks_lab(order: &OrderFacts, profile: &Profile) -> bool {
    let there = order.transfer.as_ref().is_some_and(|transfer| transfer.phase == TransferPhase::AtLab);
    let goes = order.stop.as_ref().is_none_or(|stop| goes_out(stop.state));
    there && goes && profile.address_changes.asks_at(order.stage)
}

/// Whether a parcel leaves in spite of a stop.
fn goes_out(stop: StopState) -> bool {
    matches!(stop, StopState::TooLate | StopState::StoppedInPart)
}

/// What a word about a change makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It stands so from now on.
    Now(AddressState, AddressEvidence),
    /// It stood so before.
    Same,
    /// It comes after the end, and concerns nobody any more: the order was stopped.
    Late,
    /// It is the opposite of what was told.
    Contradicts,
    /// It says nothing that decides.
    Nothing,
}

/// What an answer of the lab to attempt number `attempt` makes of a change.
///
/// [`Answer::Accepted`] is the word that the parcel goes to the new address, [`Answer::WillPrint`] that it goes to the
/// one before. A refusal of the call itself decides only if no other attempt may have reached the lab: about those it
/// says nothing.
#[must_use]
pub fn heard(facts: &AddressFacts, attempt: i64, answer: &Answer) -> Heard {
    match answer {
        Answer::Accepted { .. } => said(facts, AddressState::Taken, AddressEvidence::LabTook),
        Answer::WillPrint { stage, .. } => said(facts, AddressState::Refused, AddressEvidence::of(*stage)),
        Answer::Refused { .. }
            if facts.state.is_open() && facts.unresolved <= 1 && attempt == facts.attempts =>
        {
            Heard::Now(AddressState::Refused, AddressEvidence::LabRefused)
        }
        _ => Heard::Nothing,
    }
}

/// What somebody's word, that it is taken or refused, makes of a change.
#[must_use]
pub fn said(facts: &AddressFacts, state: AddressState, evidence: AddressEvidence) -> Heard {
    if facts.state.is_open() {
        Heard::Now(state, evidence)
    } else if facts.state == state {
        Heard::Same
    } else if facts.evidence == Some(AddressEvidence::OrderStopped) {
        Heard::Late
    } else {
        Heard::Contradicts
    }
}

/// The instant from which on an order's stage alone refuses a change: `Some` if the lab is not asked any more, and
/// nothing that was asked may still be taken. Where the lab has reported nothing, and its profile alone is another now, a
/// person finds out: nobody has said no.
#[must_use]
pub fn over(facts: &AddressFacts, stage: Stage, profile: &Profile) -> Option<AddressEvidence> {
    let past = stage > Stage::Received && !profile.address_changes.asks_at(stage);
    (facts.unresolved == 0 && past).then(|| AddressEvidence::of(stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(state: AddressState, attempts: i64, unresolved: i64) -> AddressFacts {
        AddressFacts {
            id: AddressChangeId::parse(&format!("adr_{:032x}", 7)).unwrap(),
            order: OrderId::parse(&format!("ord_{:032x}", 8)).unwrap(),
            lab: LabId::parse("nord").unwrap(),
            state,
            evidence: None,
            reason: String::new(),
            asked_at: Timestamp::UNIX_EPOCH,
            deadline_at: Timestamp::UNIX_EPOCH,
            next_at: Timestamp::UNIX_EPOCH,
            attempts,
            unresolved,
            ended: 0,
            decided_at: None,
            answer: None,
            contradicted_at: None,
        }
    }

    #[test]
    fn a_lab_is_asked_until_the_stage_that_its_profile_names() {
        use AddressChanges::{No, UntilPrinted, UntilProduction, UntilShipped};
        let stages = [Stage::Received, Stage::InProduction, Stage::Printed, Stage::Shipped];
        for (takes, asked) in [(No, 0), (UntilProduction, 1), (UntilPrinted, 2), (UntilShipped, 3)] {
            for (nth, stage) in stages.into_iter().enumerate() {
                assert_eq!(takes.asks_at(stage), nth < asked, "{takes:?} {stage:?}");
            }
            assert_eq!(serde_json::to_value(takes).unwrap(), takes.word());
        }
    }

    #[test]
    fn what_the_database_keeps_is_read_again() {
        for state in AddressState::ALL {
            assert_eq!(AddressState::from_code(state.code()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        assert_eq!(AddressState::from_code(4), None);
        for (evidence, word) in AddressEvidence::WORDS.iter().copied() {
            assert_eq!(AddressEvidence::from_word(word), Some(evidence));
            assert_eq!(serde_json::to_value(evidence).unwrap(), word);
        }
    }

    #[test]
    fn only_a_word_about_the_address_decides() {
        use AddressEvidence::{InProduction, LabRefused, LabTook, Shipped};
        use AddressState::{Asked, Refused, Taken, WithAPerson};
        let taken = Answer::Accepted { lab_reference: None };
        let late = |stage| Answer::WillPrint { reason: None, stage };
        let no = Answer::Refused { reason: "HTTP 405".to_owned() };
        let open = [Asked, WithAPerson];
        for state in open {
            for unresolved in [0, 1, 2] {
                let it = facts(state, 3, unresolved);
                assert_eq!(heard(&it, 3, &taken), Heard::Now(Taken, LabTook));
                for (stage, evidence) in
                    [(Stage::Received, LabRefused), (Stage::Printed, InProduction), (Stage::Shipped, Shipped)]
                {
                    assert_eq!(heard(&it, 1, &late(stage)), Heard::Now(Refused, evidence));
                }
                for nothing in [
                    Answer::AnswerLater,
                    Answer::NotFound,
                    Answer::Unclear { cause: String::new() },
                    Answer::Unreachable { cause: String::new() },
                    Answer::Removed { reason: None, items: Vec::new() },
                ] {
                    assert_eq!(heard(&it, 3, &nothing), Heard::Nothing, "{nothing:?}");
                }
                // A refusal of the last attempt is no word on an older one that nobody answered.
                let expected = if unresolved <= 1 { Heard::Now(Refused, LabRefused) } else { Heard::Nothing };
                assert_eq!(heard(&it, 3, &no), expected, "{unresolved}");
                assert_eq!(heard(&it, 2, &no), Heard::Nothing, "of an older attempt");
            }
        }
    }

    #[test]
    fn the_opposite_of_what_was_told_is_a_contradiction_unless_the_order_is_stopped() {
        use AddressState::{Refused, Taken};
        let (taken, late) = (
            Answer::Accepted { lab_reference: None },
            Answer::WillPrint { reason: None, stage: Stage::Shipped },
        );
        assert_eq!(heard(&facts(Taken, 2, 0), 1, &taken), Heard::Same);
        assert_eq!(heard(&facts(Taken, 2, 0), 1, &late), Heard::Contradicts);
        assert_eq!(heard(&facts(Refused, 2, 0), 1, &late), Heard::Same);
        assert_eq!(heard(&facts(Refused, 2, 0), 1, &taken), Heard::Contradicts);
        let stopped = AddressFacts { evidence: Some(AddressEvidence::OrderStopped), ..facts(Refused, 2, 0) };
        assert_eq!(heard(&stopped, 1, &taken), Heard::Late);
        assert_eq!(heard(&facts(Taken, 1, 0), 1, &Answer::Refused { reason: String::new() }), Heard::Nothing);
    }

    #[test]
    fn a_stage_refuses_only_what_never_reached_the_lab() {
        let profile = Profile { address_changes: AddressChanges::UntilPrinted, ..Profile::default() };
        let asked = |unresolved| facts(AddressState::Asked, 1, unresolved);
        assert_eq!(over(&asked(0), Stage::InProduction, &profile), None);
        assert_eq!(over(&asked(0), Stage::Printed, &profile), Some(AddressEvidence::InProduction));
        assert_eq!(over(&asked(0), Stage::Shipped, &profile), Some(AddressEvidence::Shipped));
        assert_eq!(over(&asked(1), Stage::Shipped, &profile), None, "the lab may have taken it before");
        assert_eq!(over(&asked(0), Stage::Received, &Profile::default()), None, "nobody has said no");
    }
}
