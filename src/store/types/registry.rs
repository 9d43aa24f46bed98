//! Writes of the registry: labs and platforms.

use jiff::Timestamp;

use crate::domain::event::Actor;
use crate::domain::ids::{LabId, PlatformId, RegionId};

/// A lab to create or replace.
#[derive(Debug, Clone)]
pub struct PutLab {
    /// The lab.
    pub id: LabId,
    /// Its definition as JSON.
    pub spec: String,
    /// Only if it has this version (0: only if it is new).
    pub if_version: Option<i64>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// A switch of a lab.
#[derive(Debug, Clone)]
pub struct SetLab {
    /// The lab.
    pub id: LabId,
    /// What to do.
    pub to: LabSwitch,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// The switches of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabSwitch {
    /// Nothing new is handed over.
    Pause(String),
    /// It goes on.
    Resume,
    /// It takes no orders any more; refused while orders wait.
    Delete,
}

/// A platform to create or replace.
#[derive(Debug, Clone)]
pub struct PutPlatform {
    /// The platform.
    pub id: PlatformId,
    /// Its definition as JSON.
    pub spec: String,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Of a write to the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// No such object.
    NotFound,
    /// Done; its version now.
    Done(i64),
    /// Nothing changed; its version.
    Unchanged(i64),
    /// It has another version.
    Version(i64),
    /// Orders wait for it.
    InUse(i64),
}

/// Takes back all links to the calendar of a region.
#[derive(Debug, Clone)]
pub struct RevokeCalendarLinks {
    /// The lab.
    pub lab: LabId,
    /// The region.
    pub region: RegionId,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}
