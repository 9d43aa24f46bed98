//! Changes of shipping addresses that labs are asked for.

use jiff::Timestamp;

use super::Scope;
use crate::domain::address::AddressFacts;
use crate::domain::event::Actor;
use crate::domain::ids::{AddressChangeId, EscalationId, LabId, OrderId};
use crate::domain::lab::Answer;
use crate::domain::order::{Address, OrderState};

/// Asks for another shipping address of an order that was handed over: the intent, before the lab hears of it.
#[derive(Debug, Clone)]
pub struct AskAddress {
    /// A fresh id, used if it is a new change.
    pub id: AddressChangeId,
    /// The order.
    pub order: OrderId,
    /// Who may see it.
    pub scope: Scope,
    /// The new address.
    pub ship_to: Address,
    /// Why; may be empty.
    pub reason: String,
    /// Only if the order has this version.
    pub if_version: Option<i64>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Of a change that was asked for.
#[derive(Debug, Clone)]
pub enum AddressAsked {
    /// No such order within the scope.
    NotFound,
    /// The order has another version.
    Version(i64),
    /// The lab is not asked as the order stands.
    NotAllowed(OrderState),
    /// Another address was asked for, and it is not known what came of that.
    Open(AddressFacts),
    /// The country may not change any more: this is what it is.
    Country(String),
    /// That is its address.
    Unchanged,
    /// The lab is asked, or was before for the same address.
    Asked(AddressFacts),
}

/// What was claimed.
#[derive(Debug, Clone)]
pub enum AddressDue {
    /// Ask for this address: the intent is durable.
    Ask(Box<AddressFacts>, Box<Address>),
    /// It ended, or a person takes it.
    Decided(Box<AddressFacts>),
    /// It waits on.
    Waits(AddressChangeId),
}

/// What a lab answered, or that it did not.
#[derive(Debug, Clone)]
pub struct SettleAddress {
    /// The change.
    pub change: AddressChangeId,
    /// Whose endpoint speaks.
    pub lab: LabId,
    /// Which attempt it was.
    pub attempt: i64,
    /// The answer.
    pub answer: Answer,
    /// Now.
    pub at: Timestamp,
    /// When to ask again, if that is what follows.
    pub next_at: Timestamp,
    /// A fresh id, for an answer that contradicts what was told.
    pub escalation: EscalationId,
}

/// When and where the next change is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressesDue {
    /// Labs that are to be asked now.
    pub labs: Vec<LabId>,
    /// When the next one is due after now.
    pub next_at: Option<Timestamp>,
    /// When the time of the next one is over.
    pub deadline_at: Option<Timestamp>,
}
