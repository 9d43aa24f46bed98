//! Warnings before a cutoff.

use std::sync::Arc;

use jiff::Timestamp;

use super::Place;
use crate::domain::extras::HoldKind;
use crate::domain::ids::{LabId, OrderId, RegionId};
use crate::domain::warning::Collecting;

/// A cutoff that comes near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearCutoff {
    /// The lab.
    pub lab: LabId,
    /// The region, or a group of one.
    pub region: RegionId,
    /// When.
    pub closes_at: Timestamp,
    /// The same on the region's clocks.
    pub closes_at_local: String,
}

/// Warns the orders of a region that are in no batch of a cutoff that they miss: each once.
#[derive(Debug, Clone)]
pub struct Warn {
    /// The cutoff.
    pub near: NearCutoff,
    /// Where the lab's orders are collected, for those that nobody has looked up.
    pub collecting: Arc<Collecting>,
    /// At most so many orders.
    pub limit: i64,
    /// Now.
    pub at: Timestamp,
}

/// Of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warned {
    /// So many orders were warned.
    pub orders: i64,
    /// There may be more.
    pub more: bool,
}

/// Orders of a region that were warned of a cutoff and are still in no batch, for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarnedRow {
    /// Where.
    pub place: Place,
    /// The cutoff.
    pub closes_at: Timestamp,
    /// Whether they are paid for.
    pub paid: bool,
    /// What holds them, the first of it.
    pub hold: Option<HoldKind>,
    /// How many.
    pub orders: i64,
}

/// An order that was warned of a cutoff and is still in no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarnedOrder {
    /// The order.
    pub order: OrderId,
    /// Where it would be collected.
    pub region: RegionId,
    /// The cutoff.
    pub closes_at: Timestamp,
}
