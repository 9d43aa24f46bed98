//! Sending orders ahead to labs of two phases.

use jiff::Timestamp;

use crate::domain::batch::Entry;
use crate::domain::ids::{BatchId, LabId, OrderId};
use crate::domain::lab::Answer;

/// Records the intent to send orders ahead, or to take them back.
#[derive(Debug, Clone)]
pub struct Import {
    /// The lab.
    pub lab: LabId,
    /// Orders to send ahead, each with its open batch.
    pub send: Vec<(OrderId, BatchId)>,
    /// Orders to take back: they were stopped, or left their batch.
    pub discard: Vec<OrderId>,
    /// When their batches close.
    pub closes_at: Timestamp,
    /// Now.
    pub at: Timestamp,
}

/// An order to send ahead: the intent is durable.
#[derive(Debug, Clone)]
pub struct Ahead {
    /// The order.
    pub entry: Entry,
    /// Until when the lab is to hold it: the cutoff of its batch.
    pub hold_until: Timestamp,
}

/// What a lab answered to an order that was sent ahead.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The order.
    pub order: OrderId,
    /// The lab's word.
    pub answer: Answer,
    /// Now.
    pub at: Timestamp,
}
