//! How a lab stands, as one gateway sees it: for those who run the gateway, and for the lab. Nothing is decided
//! by it. Another gateway on the same database may see the same lab otherwise, because each has its own
//! calls and connections.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a lab can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It is called.
    Open,
    /// It is left alone for a while: it did not speak several times in a row, or asked for it.
    Closed,
    /// It dials out, and is not connected to this gateway, or takes no calls over its connections now.
    Away,
    /// No machine is called: people hand over and ask.
    ByHand,
    /// As it is defined, it cannot be called; its orders wait.
    Unusable,
}

/// What a lab's call ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Heard {
    /// The word of the closed list of answers: `accepted`, `refused`, `unreachable`, `unclear` …
    #[schema(value_type = String, example = "accepted")]
    pub answer: &'static str,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// The lane to a lab: the calls to it, and whether any are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LaneHealth {
    /// Calls under way.
    pub in_flight: u32,
    /// Calls that may be under way at a time: by the lab's profile, and by its own window if it dials out.
    pub concurrency: u32,
    /// Since when it is as it is: closed, or open again. Null if it never was otherwise since this gateway
    /// began, or since the lab's definition was changed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// While it is closed: until when no call is made. One call then tries.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_until: Option<Timestamp>,
    /// The last call that ended.
    pub last_answer: Option<Heard>,
    /// The last one to which the lab did not speak: `unreachable` or `unclear`.
    pub last_failure: Option<Heard>,
}

/// The connections of a lab that dials out, to this gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LinksHealth {
    /// How many are open.
    pub connections: u32,
    /// How many calls the lab takes at a time over them.
    pub window: u32,
    /// Since when there is at least one without a break; or, while there is none, since when. Null if there
    /// never was one since this gateway began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// When the lab last said something, be it a beat.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_heard_at: Option<Timestamp>,
}

/// How a lab stands, as one gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LabHealth {
    /// The gateway that sees it so. Others on the same database have their own calls and connections.
    pub gateway: String,
    /// Whether it can be called.
    pub reach: Reach,
    /// With `unusable`: what is wrong with its definition; ops only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The lane to it; absent where no machine is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneHealth>,
    /// Its connections, if it dials out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<LinksHealth>,
}
