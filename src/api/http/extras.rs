//! What of an order only a few have, as it is told.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::address::{AddressEvidence, AddressFacts, AddressState};
use crate::domain::extras::{HoldFacts, HoldKind, Link, LinkState};
use crate::domain::ids::{AddressChangeId, HoldId, OrderId};

/// A reason why the order is kept out of its window.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct HoldAnswer {
    /// Its id.
    id: HoldId,
    /// Why: `approval` and `replacing` end by what they wait for.
    kind: HoldKind,
    /// Whose it is, and who may release it: `platform`, `ops`, `customer`. Ops may release those of all.
    owner: String,
    /// The words of whoever put it.
    reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Who put it.
    put_by: String,
}

impl From<&HoldFacts> for HoldAnswer {
    fn from(facts: &HoldFacts) -> Self {
        Self {
            id: facts.id.clone(),
            kind: facts.kind,
            owner: facts.owner.clone(),
            reason: Some(facts.reason.clone()).filter(|reason| !reason.is_empty()),
            since: facts.put_at,
            put_by: facts.put_by.clone(),
        }
    }
}

/// The other order of a replacement.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ReplacementLink {
    /// The other order.
    order: OrderId,
    /// How it stands: `waiting` for the stop of the old order, `released` since it is stopped, `abandoned` since it
    /// is printed, `withdrawn` by a stop of the new order.
    state: LinkState,
}

impl From<&Link> for ReplacementLink {
    fn from(link: &Link) -> Self {
        Self { order: link.order.clone(), state: link.state }
    }
}

/// Another shipping address that the lab of an order was asked for. `ship_to` is that address once it is `taken`, and the
/// one before in every other state.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct AddressChangeAnswer {
    /// Its id.
    id: AddressChangeId,
    /// How it stands.
    state: AddressState,
    /// What the state rests on; null while the lab is asked.
    evidence: Option<AddressEvidence>,
    /// Why it was asked.
    reason: Option<String>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// By when the lab has answered, or a person takes it; null once it is decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    answer_due_at: Option<Timestamp>,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    /// The lab's or the person's words.
    answer: Option<String>,
    /// When the lab said the opposite of what had been told; a person was called.
    #[schema(value_type = Option<String>, format = DateTime)]
    contradicted_at: Option<Timestamp>,
}

impl From<&AddressFacts> for AddressChangeAnswer {
    fn from(facts: &AddressFacts) -> Self {
        Self {
            id: facts.id.clone(),
            state: facts.state,
            evidence: facts.evidence,
            reason: Some(facts.reason.clone()).filter(|reason| !reason.is_empty()),
            asked_at: facts.asked_at,
            answer_due_at: facts.state.is_open().then_some(facts.deadline_at),
            decided_at: facts.decided_at,
            answer: facts.answer.clone(),
            contradicted_at: facts.contradicted_at,
        }
    }
}
