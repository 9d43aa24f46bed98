//! What goes into a simulated lab's ledger, and what can be read from it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::ledger::{Job, Said};
use crate::domain::order::Stage;

/// An upload as it came, over HTTP or gRPC.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The transfer.
    pub transfer: String,
    /// The idempotency key.
    pub key: String,
    /// The hash of the manifest, in hex.
    pub sha256: String,
    /// When it is too late to take it.
    pub not_after: Option<Timestamp>,
    /// The orders.
    pub orders: Vec<Job>,
}

/// What came of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The lab has it, under this reference of its own.
    Accepted(String),
    /// It came too late.
    TooLate(String),
    /// Refused.
    Refused(String),
}

/// What a look-up sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How far the order is; `None` if it was taken out.
    pub stage: Option<Stage>,
    /// How often it was and will be printed.
    pub prints: u64,
}

/// What became of one order, to check promises against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The order.
    pub order: String,
    /// How often it was taken.
    pub received: u64,
    /// How often it was printed.
    pub prints: u64,
    /// The pieces that came out, over all prints.
    pub copies: u64,
    /// How often it was taken out.
    pub removed: u64,
    /// Prints that are still to come.
    pub waiting: u64,
    /// The stops, and what the lab said to each in turn.
    pub stops: BTreeMap<String, Vec<Said>>,
}

impl Verdict {
    /// Whether the lab said "removed" of an order that it printed: a lie, or a print too many.
    #[must_use]
    pub fn printed_after_removal(&self) -> bool {
        self.prints > 0 && self.stops.values().flatten().any(|said| *said == Said::Removed)
    }
}
