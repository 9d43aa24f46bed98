//! The rules, pure: no async, no I/O, no clock, no database.
//!
//! Whoever calls passes `now`. Whatever can go wrong with somebody's input is a [`Fault`] that
//! names the field, what was there and what is allowed.

pub mod address;
pub mod batch;
pub mod calendar;
pub mod calendar_link;
pub mod contact;
pub mod customer_link;
pub mod downloads;
pub mod event;
pub mod evidence;
pub mod extras;
pub mod health;
pub mod hours;
pub mod ics;
pub mod ids;
pub mod lab;
pub mod lines;
pub mod link;
pub mod mail;
pub mod measures;
pub mod order;
pub mod platform;
pub mod policy;
pub mod receipt;
pub mod region;
pub mod retention;
pub mod retry;
pub mod revisions;
pub mod route;
pub mod second_factor;
pub mod source;
pub mod stop;
pub mod verdict;
pub mod warning;
pub mod webhook;
mod words;
pub mod zones;

use serde::{Deserialize, Serialize};

/// One thing that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Fault {
    /// The path of the field, such as `items[0].quantity`; empty for the whole input.
    pub field: String,
    /// What was there and what is allowed.
    pub message: String,
}

impl Fault {
    /// A fault with a message of its own.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// `got` is not `allowed`.
    pub fn not(field: impl Into<String>, got: impl std::fmt::Debug, allowed: &str) -> Self {
        Self::new(field, format!("{got:?} is not {allowed}"))
    }

    /// A field that must be there is not.
    pub fn missing(field: impl Into<String>, allowed: &str) -> Self {
        Self::new(field, format!("is missing; it must be {allowed}"))
    }

    /// The same fault, seen from the object that contains the field.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.field = match (parent.is_empty(), self.field.is_empty()) {
            (true, _) => self.field,
            (_, true) => parent.to_owned(),
            _ if self.field.starts_with('[') => format!("{parent}{}", self.field),
            _ => format!("{parent}.{}", self.field),
        };
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl std::error::Error for Fault {}

/// The known word that `word` most likely means, if one is near enough to suggest.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}
