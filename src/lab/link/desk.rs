//! What the server of links needs of the rest of the house: who may connect, and where reports go.
//!
//! This room knows no keys and no store. Whoever puts the rooms together gives it a [`Desk`], behind
//! which are the same checks as those of the lab's side over HTTP.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::{LabId, OrderId, StopId};
use crate::domain::order::Stage;
use crate::domain::source::Source;
use crate::lab::{Pending, Settings};

/// Receives labs.
pub trait Desk: Send + Sync {
    /// Recognises a lab by the text of its `authorization`. The answer to one that may not connect can take
    /// a while: whoever comes with wrong keys again and again is to wait.
    fn receive<'a>(
        &'a self,
        authorization: Option<&'a str>,
        source: Option<Source>,
    ) -> Pending<'a, Result<Arc<dyn Seat>, Refusal>>;
}

/// The place of one connection at the desk.
pub trait Seat: Send + Sync {
    /// Which lab it is.
    fn lab(&self) -> &LabId;
    /// The settings of its driver.
    fn settings(&self) -> Settings;
    /// Whether it may stay; asked every second.
    fn standing(&self) -> Standing;
    /// Takes a report about an order.
    fn report(&self, report: StageReport) -> Pending<'_, Result<Taken, Refusal>>;
    /// Takes the answer to a stop that comes by itself.
    fn answer(&self, answer: LateAnswer) -> Pending<'_, Result<Taken, Refusal>>;
}

/// Whether a connection may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Good,
    /// Its key was revoked or has expired.
    KeyEnded,
    /// Its lab is gone, or has another driver.
    NotLinked,
}

/// How far an order is.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// The order.
    pub order: OrderId,
    /// The stage that was reached.
    pub stage: Stage,
    /// The lab's own time of it.
    pub at: Option<Timestamp>,
    /// The lab's reference.
    pub reference: Option<String>,
}

/// What a lab can say to a stop by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It was taken out.
    Removed,
    /// It is or will be printed; so far it is.
    WillPrint(Stage),
    /// The answer comes later.
    Later,
}

/// An answer to a stop that comes by itself.
#[derive(Debug, Clone)]
pub struct LateAnswer {
    /// The stop.
    pub stop: StopId,
    /// The answer.
    pub word: Word,
    /// Why, in the lab's words.
    pub reason: Option<String>,
    /// Of a stop that named lines: those that were taken out.
    pub items: Vec<String>,
}

/// What came of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is durable.
    Taken,
    /// Nothing new.
    Unchanged,
    /// It contradicts a stop that was granted: a person was called.
    ShippedAnyway,
}

/// What kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// There is no valid key.
    Unauthenticated,
    /// The key is not a lab's.
    Forbidden,
    /// The lab's driver is another one.
    NotLinked,
    /// It is wrong, and stays so.
    Refused,
    /// Not now.
    TryAgain,
}

/// A no.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What kind.
    pub no: No,
    /// The stable code, as the HTTP API has it.
    pub code: &'static str,
    /// Why, for people.
    pub text: String,
    /// With [`No::TryAgain`]: how long to wait.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// One with these words.
    pub fn new(no: No, code: &'static str, text: impl Into<String>) -> Self {
        Self { no, code, text: text.into(), retry_after: None }
    }
}
