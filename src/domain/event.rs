//! Events: one row for every change, chained by hash within its subject.
//!
//! The chain of a subject (an order, a batch, a transfer, a lab …) makes a changed or vanished entry
//! visible; a checkpoint over all of the log makes a vanished subject visible.

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

/// Who did something: `gateway`, `ops:KEY`, `platform:ID`, `lab:ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub String);

impl Actor {
    /// The gateway itself: a loop, a deadline.
    #[must_use]
    pub fn gateway() -> Self {
        Self("gateway".to_owned())
    }

    /// A lab, through its endpoint.
    #[must_use]
    pub fn lab(lab: &super::ids::LabId) -> Self {
        Self(format!("lab:{lab}"))
    }
}

/// An entry of the changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// Its number in the log.
    pub seq: i64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it happened to: an id.
    pub subject: String,
    /// The lab concerned; empty where none is.
    pub lab: String,
    /// What happened: `order.admitted`, `stop.stopped` …
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// The cause and the evidence.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// The hash of this subject's entry before; empty for its first.
    pub previous: String,
    /// The hash of this entry.
    pub hash: String,
}

/// Whether a kind of event is what a pattern names: itself, a family such as `stop.*`, or everything, `*`.
#[must_use]
pub fn fits(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(family) => kind.starts_with(family),
        None => kind == pattern,
    }
}

/// The hash of an entry: SHA-256 over every field, each with its length before it.
#[must_use]
pub fn hash(previous: &str, at: Timestamp, subject: &str, kind: &str, actor: &str, detail: &str) -> String {
    let mut sum = Sha256::new();
    let at = at.as_microsecond().to_string();
    for field in [previous, &at, subject, kind, actor, detail] {
        sum.update((field.len() as u64).to_be_bytes());
        sum.update(field.as_bytes());
    }
    hex(&sum.finalize())
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
