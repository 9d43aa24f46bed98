//! The line of messages that a courier has to send.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::pages::Told;
use crate::domain::ids::OrderId;
use crate::domain::webhook::MessageId;
use crate::store::{Delivery, DeliveryDue, DeliveryState};

/// How many messages are looked at for one about an order of which none is under way.
const REACH: usize = 64;

/// Where the messages come from that are not rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What is new in the log.
    Log,
    /// What is told once more.
    Replay,
}

/// A message to send.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: MessageId,
    pub(super) kind: String,
    pub(super) body: Arc<str>,
    pub(super) attempt: i64,
    pub(super) first_at: Option<Timestamp>,
    /// Whether it failed before and has a row.
    pub(super) kept: bool,
}

impl From<DeliveryDue> for Job {
    fn from(due: DeliveryDue) -> Self {
        let DeliveryDue { id, kind, attempt, first_at, body } = due;
        Self { id, kind, body, attempt, first_at: Some(first_at), kept: true }
    }
}

/// A message of the log.
pub(super) fn job(told: &Told, attempt: i64) -> Job {
    let (id, kind, body) = (told.id.clone(), told.kind.clone(), Arc::clone(&told.body));
    Job { id, kind, body, attempt, first_at: None, kept: false }
}

/// What is known of it now.
pub(super) fn record(
    job: Job,
    state: DeliveryState,
    attempts: i64,
    next_at: Timestamp,
    now: Timestamp,
) -> Delivery {
    Delivery {
        id: job.id,
        kind: job.kind,
        state,
        attempts,
        next_at,
        first_at: job.first_at.unwrap_or(now),
        ended_at: None,
        status: 0,
        took_ms: 0,
        cause: None,
        answer: String::new(),
        body: job.body,
    }
}

/// How many of those that wait are taken into the line, beside those that were kept: one in all to an endpoint that
/// is tried, if there is one. What was kept may have been taken by others meanwhile, and nothing else be there.
pub(super) fn reach(probes: bool, kept: usize, waiting: usize) -> usize {
    if probes { 1_usize.saturating_sub(kept).min(waiting) } else { waiting }
}

/// The first message in the line about an order of which none is under way.
pub(super) fn next(line: &mut VecDeque<Job>, busy: &HashSet<Option<OrderId>>) -> Option<Job> {
    let mut passed: Vec<&Option<OrderId>> = Vec::new();
    let mut found = None;
    for (at, job) in line.iter().take(REACH).enumerate() {
        if !busy.contains(&job.id.order) && !passed.contains(&&job.id.order) {
            found = Some(at);
            break;
        }
        passed.push(&job.id.order);
    }
    line.remove(found?)
}

#[cfg(test)]
mod tests {
    use super::reach;

    #[test]
    fn never_more_is_taken_than_waits_and_one_is_enough_to_try_an_endpoint() {
        for (probes, kept, waiting, taken) in [
            (true, 0, 0, 0),
            (true, 0, 5, 1),
            (true, 1, 5, 0),
            (true, 1, 0, 0),
            (false, 0, 0, 0),
            (false, 3, 5, 5),
        ] {
            assert_eq!(reach(probes, kept, waiting), taken, "{probes} {kept} {waiting}");
        }
    }
}
