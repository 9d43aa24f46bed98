//! What may be done with batches, whatever it comes over: found, released, postponed.

use jiff::Timestamp;

use super::Api;
use super::auth::Caller;
use super::problem::{Answer, Code, Problem};
use super::words;
use crate::domain::Fault;
use crate::domain::ids::BatchId;
use crate::store::{self, BatchFilter, BatchMoved, BatchRow, MoveBatch, Scope, Write, Written};

/// A batch within a scope, with its numbers.
pub(super) async fn find(api: &Api, scope: &Scope, batch: &BatchId) -> Answer<BatchRow> {
    let filter = BatchFilter { id: Some(batch.clone()), limit: 1, ..BatchFilter::default() };
    api.store.batches(scope, &filter).await?.pop().ok_or_else(Problem::not_found)
}

async fn moved(
    api: &Api,
    caller: &Caller,
    batch: BatchId,
    to: Option<(Timestamp, String)>,
    reason: String,
) -> Answer<()> {
    let write =
        MoveBatch { batch, to, window: None, reason, at: api.clock.now(), actor: caller.actor.clone() };
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
    }
    api.nudge.closes.ring();
    api.nudge.transfers.ring();
    Ok(())
}

/// Releases a batch before its cutoff.
pub(super) async fn release(api: &Api, caller: &Caller, batch: BatchId, reason: String) -> Answer<()> {
    words::required("reason", &reason)?;
    moved(api, caller, batch, None, reason).await
}

/// Postpones the cutoff of an open batch.
pub(super) async fn postpone(
    api: &Api,
    caller: &Caller,
    batch: BatchId,
    until: Timestamp,
    reason: String,
) -> Answer<()> {
    words::required("reason", &reason)?;
    let until = crate::clock::whole_micros(until);
    if until <= api.clock.now() {
        return Err(Fault::not("until", until.to_string(), "an instant in the future").into());
    }
    let row = find(api, &caller.scope, &batch).await?;
    let entry = api.registry.lab(&row.batch.lab).ok_or_else(Problem::not_found)?;
    // A region that is not configured any more has no clock to show: UTC, then.
    let local = entry.lab.region(Some(&row.batch.region), None);
    let local = local.map_or_else(|_| until.to_string(), |(_, calendar)| calendar.shown(until).0);
    moved(api, caller, batch, Some((until, local)), reason).await
}
