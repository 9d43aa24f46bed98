//! Routes, and windows that are full.

use jiff::Timestamp;

use crate::domain::event::Actor;
use crate::domain::ids::{BatchId, PlatformId};

/// Routes to create, replace or delete.
#[derive(Debug, Clone)]
pub struct PutRoutes {
    /// Whose: a platform, or `default`.
    pub id: PlatformId,
    /// The rules as JSON; `None` deletes them.
    pub spec: Option<String>,
    /// Only if they have this version (0: only if there are none).
    pub if_version: Option<i64>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Routes as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutesRow {
    /// Whose: a platform, or `default`.
    pub id: PlatformId,
    /// The rules as JSON.
    pub spec: String,
    /// Counts the changes.
    pub version: i64,
    /// When they were changed.
    pub updated_at: Timestamp,
}

/// A batch that may be full.
#[derive(Debug, Clone)]
pub struct CloseFull {
    /// The batch.
    pub batch: BatchId,
    /// With so many orders it is full.
    pub orders: i64,
    /// Now.
    pub at: Timestamp,
}
