//! Customers' links: what of them is stored.

use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::event::Actor;
use crate::domain::ids::OrderId;
use crate::store::Scope;

/// Takes back all links of an order that were made until now.
#[derive(Debug, Clone)]
pub struct RevokeLinks {
    /// The order.
    pub order: OrderId,
    /// Who may see it.
    pub scope: Scope,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Makes another key of customers' links, which signs from now on.
#[derive(Debug, Clone)]
pub struct RotateLinks {
    /// Its bytes, hex.
    pub secret: SecretString,
    /// Whether the keys before it go, and all links under them.
    pub end_old: bool,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}
