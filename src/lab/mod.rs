//! Outward: the only room that speaks to labs.
//!
//! A [`Lab`] is one lab's endpoint behind one driver. Whatever comes back is classified here, once,
//! into [`Answer`]; nobody outside looks at status codes. To add a driver: one file with a
//! [`Driver`] constant, and one line in [`DRIVERS`].

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::{OrderId, StopId, TransferId};
use crate::domain::lab::Answer;

/// A boxed future, so that labs can be kept behind `dyn`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A transfer on its way: frozen bytes under a key.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The transfer.
    pub transfer: TransferId,
    /// The idempotency key. The same key always carries the same bytes.
    pub key: String,
    /// The bytes: `{"transfer": …, "orders": […]}`.
    pub body: Vec<u8>,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// After this instant the lab must refuse the call, and the driver must not start it.
    pub not_after: Timestamp,
}

/// A stop on its way to a lab.
#[derive(Debug, Clone)]
pub struct StopCall {
    /// The stop; also the idempotency key.
    pub stop: StopId,
    /// The order.
    pub order: OrderId,
    /// Why.
    pub reason: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When the answer is due.
    pub answer_by: Timestamp,
}

/// What came back, classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it means.
    pub answer: Answer,
    /// How long the lab asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, retry_after: None }
    }
}

/// One lab's endpoint. Every call ends by itself within its deadline, and none is repeated inside:
/// each attempt is the caller's, and recorded.
pub trait Lab: Send + Sync + std::fmt::Debug {
    /// Hands a transfer over.
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply>;
    /// Asks for a stop.
    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply>;
    /// Asks whether the lab has an order: [`Answer::Accepted`], [`Answer::WillPrint`] with a stage,
    /// [`Answer::Removed`] or [`Answer::NotFound`].
    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply>;
}
