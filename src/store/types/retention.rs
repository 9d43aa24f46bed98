//! What is forgotten of orders.

use jiff::Timestamp;

use crate::domain::ids::OrderId;

/// Takes out what orders say of people that have been at an end since an instant.
#[derive(Debug, Clone)]
pub struct Purge {
    /// Nothing has happened about them since.
    pub before: Timestamp,
    /// The order after which to go on, and when it was admitted; none: from the first one on.
    pub after: Option<(Timestamp, OrderId)>,
    /// Looks at so many orders.
    pub limit: i64,
    /// Now.
    pub at: Timestamp,
}

/// Of a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// Of so many orders.
    pub orders: usize,
    /// Where to go on; none: it is done.
    pub next: Option<(Timestamp, OrderId)>,
}
