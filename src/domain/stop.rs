//! Stops: the request that an order not be printed, and what may be answered to it.
//!
//! [`grant`] decides the first answer, on stored phases only: no clock grants a stop. [`settle`]
//! decides what a lab's or a person's word makes of a stop that waits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batch::{TransferFacts, TransferPhase};
use super::ids::{OrderId, StopId};
use super::lab::{Answer, Profile, TakesStops};
use super::lines::{StopTerms, in_part};
use super::order::Stage;
use super::words::words;

/// Who asked for a stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AskedBy {
    /// The customer.
    Customer,
    /// The merchant.
    Merchant,
    /// Support.
    Support,
    /// A program.
    #[default]
    System,
}

impl AskedBy {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Merchant => "merchant",
            Self::Support => "support",
            Self::System => "system",
        }
    }
}

/// How a stop stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopState {
    /// A lab, or the proof that it never had the order, decides.
    Pending,
    /// Nobody will print the order because of us.
    Stopped,
    /// Some of its lines are stopped.
    StoppedInPart,
    /// It is or will be printed.
    TooLate,
    /// The machine could not find out in time; a person decides.
    WithAPerson,
}

impl StopState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Stopped, Self::StoppedInPart, Self::TooLate, Self::WithAPerson];

    /// The number that the database keeps; 0 is kept for "no stop".
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64 + 1
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
            Self::Pending => "pending",
            Self::Stopped => "stopped",
            Self::StoppedInPart => "stopped_in_part",
            Self::TooLate => "too_late",
            Self::WithAPerson => "with_a_person",
        }
    }

    /// Whether nobody has anything more to do about it.
    #[must_use]
    pub fn is_decided(self) -> bool {
        !matches!(self, Self::Pending | Self::WithAPerson)
    }

    /// Whether a machine has nothing more to do about it.
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Self::Pending
    }
}

/// What a final answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// No byte that names the order has left, or it is proven that none arrived.
    NeverHanded,
    /// The lab said that it took the order out.
    LabRemoved,
    /// A named person found out.
    PersonConfirmed,
    /// The lab said that it prints the order.
    LabRefused,
    /// The lab had reported that it makes the order.
    InProduction,
    /// The lab had reported that the order left.
    Shipped,
    /// The lab has it, and what it has is final by contract.
    FinalOnReceipt,
    /// No answer came in time.
    NoAnswer,
    /// The lab has no channel for stops.
    NoChannel,
}

words!(Evidence {
    NeverHanded = "never_handed",
    LabRemoved = "lab_removed",
    PersonConfirmed = "person_confirmed",
    LabRefused = "lab_refused",
    InProduction = "in_production",
    Shipped = "shipped",
    FinalOnReceipt = "final_on_receipt",
    NoAnswer = "no_answer",
    NoChannel = "no_channel",
});

/// What is stored of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopFacts {
    /// Its id.
    pub id: StopId,
    /// The order.
    pub order: OrderId,
    /// How it stands.
    pub state: StopState,
    /// What a final state rests on.
    pub evidence: Option<Evidence>,
    /// Why it was asked.
    pub reason: String,
    /// A comment.
    pub comment: Option<String>,
    /// Who asked.
    pub asked_by: AskedBy,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When the lab had the order, if it had when the stop was asked.
    pub handed_at: Option<Timestamp>,
    /// When an answer is due; then a person takes it.
    pub deadline_at: Timestamp,
    /// The deadline on the region's clocks and the rule behind it, where contact hours decided it.
    pub deadline_why: Option<(String, String)>,
    /// When the next step is due.
    pub next_at: Timestamp,
    /// How often the lab was asked.
    pub attempts: i64,
    /// When the lab acknowledged that it heard.
    pub delivered_at: Option<Timestamp>,
    /// When the state became final.
    pub decided_at: Option<Timestamp>,
    /// The lab's or the person's words.
    pub answer: Option<String>,
    /// The lines that it names; `None`: the whole order.
    pub items: Option<Vec<String>>,
    /// Who asked, by a name or an id of the platform's own.
    pub requested_by: Option<String>,
    /// What it brings, as it was told when it was asked; `None` of one that was asked before this was kept.
    pub terms: Option<StopTerms>,
}

impl StopFacts {
    /// What it brings, unless it was too late: then nothing changes.
    #[must_use]
    pub fn brings(&self) -> Option<&StopTerms> {
        self.terms.as_ref().filter(|_| self.state != StopState::TooLate)
    }
}

/// A state and what it rests on.
pub type Decision = (StopState, Option<Evidence>);

/// The first answer to a stop, on the phase that is stored when its transaction holds the lock.
#[must_use]
pub fn grant(transfer: Option<&TransferFacts>, stage: Stage, profile: &Profile) -> Decision {
    match stage {
        Stage::Shipped => return (StopState::TooLate, Some(Evidence::Shipped)),
        // What is printed cannot be kept from being printed, whatever the lab takes.
        Stage::Printed => return (StopState::TooLate, Some(Evidence::InProduction)),
        Stage::InProduction if profile.stops != TakesStops::Yes => {
            return (StopState::TooLate, Some(Evidence::InProduction));
        }
        _ => {}
    }
    match transfer.map(|transfer| transfer.phase) {
        None | Some(TransferPhase::Closed | TransferPhase::Empty) => {
            (StopState::Stopped, Some(Evidence::NeverHanded))
        }
        Some(TransferPhase::Sending | TransferPhase::Unknown) => (StopState::Pending, None),
        Some(TransferPhase::AtLab) => at_lab(profile),
        Some(TransferPhase::WithAPerson) => (StopState::WithAPerson, None),
    }
}

/// What becomes of a stop when the lab is known to have the order.
#[must_use]
pub fn at_lab(profile: &Profile) -> Decision {
    match profile.stops {
        TakesStops::Yes => (StopState::Pending, None),
        // A task of the lab's people: they have until the deadline.
        TakesStops::No if profile.by_person() => (StopState::Pending, None),
        TakesStops::No => (StopState::WithAPerson, Some(Evidence::NoChannel)),
        TakesStops::FinalOnReceipt => (StopState::TooLate, Some(Evidence::FinalOnReceipt)),
    }
}

/// What the lab's word makes of a stop, of the whole order or of `lines`. `None` if it changes nothing: what is
/// final stays, and a late contrary word is kept as evidence only. "Removed" counts if it is about what was asked:
/// it names the same lines, or none of a whole order. A person was shown what is asked, and need not name it.
#[must_use]
pub fn settle(state: StopState, answer: &Answer, lines: Option<&[String]>, person: bool) -> Option<Decision> {
    if !matches!(state, StopState::Pending | StopState::WithAPerson) {
        return None;
    }
    match answer {
        Answer::Removed { items, .. } => {
            let mut named: Vec<&String> = items.iter().collect();
            let mut asked: Vec<&String> = lines.unwrap_or_default().iter().collect();
            named.sort_unstable();
            named.dedup();
            asked.sort_unstable();
            let about = named == asked || (person && named.is_empty());
            about.then_some((in_part(StopState::Stopped, lines), Some(Evidence::LabRemoved)))
        }
        Answer::WillPrint { stage, .. } => {
            let evidence = match stage {
                Stage::Received => Evidence::LabRefused,
                Stage::InProduction | Stage::Printed => Evidence::InProduction,
                Stage::Shipped => Evidence::Shipped,
            };
            Some((StopState::TooLate, Some(evidence)))
        }
        _ => None,
    }
}
