//! The lines of a simulated lab's ledger.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::addresses::AddressSaid;
use crate::domain::order::Stage;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// An order in an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The order.
    pub order: String,
    /// Pieces to print, over all its items; 0 where nothing is printed.
    pub copies: u64,
    /// What the lab called it when it was sent ahead, as the upload says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_reference: Option<String>,
    /// The same pieces by the ids of their items.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lines: BTreeMap<String, u64>,
}

/// A stop as the lab was asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The order.
    pub order: String,
    /// The stop.
    pub stop: String,
    /// The items that are to be taken out; none: the whole order.
    pub items: Vec<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the calls")]
pub enum What {
    /// Orders were taken; each will be printed at `prints_at` unless it is taken out before.
    Received {
        transfer: String,
        key: String,
        sha256: String,
        orders: Vec<Job>,
        prints_at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begins_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ships_at: Option<Timestamp>,
    },
    /// An order was sent ahead: it is held, and printed only when an upload carries it.
    Held { order: String },
    /// An order that was sent ahead is not coming.
    Discarded { order: String },
    /// The same upload came again, and was taken as the same.
    Repeated { transfer: String, key: String },
    /// An upload was refused.
    Refused { transfer: String, key: String, reason: String },
    /// An order is in production: it is not taken out any more.
    Began { order: String },
    /// An order was printed once more: physically.
    Printed {
        order: String,
        copies: u64,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        lines: BTreeMap<String, u64>,
    },
    /// An order has left the lab.
    Shipped { order: String },
    /// An order was taken out before it was printed.
    Removed { order: String, stop: String },
    /// Items of an order were taken out before it was printed; the rest of it is made.
    LinesRemoved { order: String, stop: String, items: Vec<String> },
    /// A stop was asked.
    StopAsked {
        order: String,
        stop: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        items: Vec<String>,
    },
    /// A stop was answered, or is going to be: `answer_later`.
    StopAnswered { order: String, stop: String, answer: Said },
    /// A change of an address was answered; `to` is the street of the new one.
    AddressAnswered { order: String, change: String, to: String, answer: AddressSaid },
    /// A call was done, and its answer lost on the way.
    AnswerLost { call: String },
}

impl Entry {
    /// How far the line says that an order is, if it says so.
    #[must_use]
    pub fn stage(&self) -> Option<(&str, Stage)> {
        match &self.what {
            What::Began { order } => Some((order, Stage::InProduction)),
            What::Printed { order, .. } => Some((order, Stage::Printed)),
            What::Shipped { order } => Some((order, Stage::Shipped)),
            _ => None,
        }
    }
}

/// What the lab says to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It will not be printed.
    Removed,
    /// It is or will be printed.
    WillPrint,
    /// Wait for it.
    AnswerLater,
    /// There is no such order.
    NotFound,
    /// The lab has no such operation.
    NotTaken,
}
