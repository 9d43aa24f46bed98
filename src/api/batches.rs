//! What may be done with batches, whatever it comes over: found, released, postponed.

use jiff::Timestamp;

use super::Api;
use super::auth::Caller;
use super::problem::{Answer, Code, Problem};
use super::words;
use crate::domain::Fault;
use crate::domain::ids::BatchId;
use crate::store::{self, BatchFilter, BatchMoved, BatchRow, MoveBatch, Scope, SeenBatch, Write, Written};

/// A batch within a scope, with its numbers.
pub(super) async fn find(api: &Api, scope: &Scope, batch: &BatchId) -> Answer<BatchRow> {
    let filter = BatchFilter { id: Some(batch.clone()), limit: 1, ..BatchFilter::default() };
    api.store.batches(scope, &filter).await?.pop().ok_or_else(Problem::not_found)
}

/// What came of a decision on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// It is done.
    Done,
    /// Nothing was done: the batch was not what whoever decided had seen.
    Otherwise {
        /// When it closes.
        closes_at: Timestamp,
        /// How many orders wait in it.
        waiting: i64,
    },
}

async fn moved(
    api: &Api,
    caller: &Caller,
    (batch, seen): (BatchId, Option<SeenBatch>),
    to: Option<(Timestamp, String)>,
    reason: String,
) -> Answer<Moved> {
    let (at, actor) = (api.clock.now(), caller.actor.clone());
    let write = MoveBatch { batch, to, window: None, seen, reason, at, actor };
    let Written::BatchMoved(moved) = store::one(&*api.store, Write::MoveBatch(Box::new(write))).await? else {
        return Err(Problem::unexpected("not a batch"));
    };
    match moved {
        BatchMoved::Done => {}
        BatchMoved::NotFound => return Err(Problem::not_found()),
        BatchMoved::NotOpen(phase) => {
            return Err(
                Problem::new(Code::BatchNotOpen, "Only an open batch can be moved.").with("phase", phase)
            );
        }
        BatchMoved::Earlier(closes_at) => {
            let text = format!("It was promised to close at {closes_at}.");
            return Err(Problem::new(Code::EarlierThanPromised, text).with("closes_at", closes_at));
        }
        BatchMoved::Otherwise { closes_at, waiting } => return Ok(Moved::Otherwise { closes_at, waiting }),
    }
    api.nudge.closes.ring();
    api.nudge.transfers.ring();
    Ok(Moved::Done)
}

/// Releases a batch before its cutoff; if `seen` is told, only if it still is so.
pub(super) async fn release(
    api: &Api,
    caller: &Caller,
    (batch, seen): (BatchId, Option<SeenBatch>),
    reason: String,
) -> Answer<Moved> {
    words::required("reason", &reason)?;
    moved(api, caller, (batch, seen), None, reason).await
}

/// Postpones the cutoff of an open batch; if `seen` is told, only if it still is so.
pub(super) async fn postpone(
    api: &Api,
    caller: &Caller,
    (batch, seen): (BatchId, Option<SeenBatch>),
    until: Timestamp,
    reason: String,
) -> Answer<Moved> {
    words::required("reason", &reason)?;
    let until = crate::clock::whole_micros(until);
    if until <= api.clock.now() {
        return Err(Fault::not("until", until.to_string(), "an instant in the future").into());
    }
    let row = find(api, &caller.scope, &batch).await?;
    let entry = api.registry.lab(&row.batch.lab).ok_or_else(Problem::not_found)?;
    // A region that is not configured any more has no clock to show: UTC, then.
    let local = entry.lab.calendar(&row.batch.region);
    let local = local.map_or_else(|| until.to_string(), |calendar| calendar.shown(until).0);
    moved(api, caller, (batch, seen), Some((until, local)), reason).await
}
