//! Closes batches at their cutoffs: never early, late ones at once, in order.

use jiff::Timestamp;

use super::{Bench, Step, transfer};
use crate::points::point;
use crate::store::{CloseDue, Result, Write, Written, one};

/// The loop's name.
pub const NAME: &str = "close";
/// The most batches that close in one transaction.
const SET_MAX: i64 = 64;

/// The loop that closes.
#[derive(Debug, Clone)]
pub struct Close(pub Bench);

impl Step for Close {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.0;
        // One first, then twice as many: the first hand-over must not wait for a hundred closings.
        let mut limit = 1;
        loop {
            let due = bench.store.due(now).await?;
            if due.close_at.is_none_or(|at| at > now) {
                return Ok(due.close_at);
            }
            let written = one(&*bench.store, Write::Close(CloseDue { now, limit })).await?;
            let Written::Closed(closed) = written else { return Ok(due.close_at) };
            for batch in &closed {
                let late = now.duration_since(batch.closes_at);
                metrics::histogram!("stoppress_close_lag_seconds").record(late.as_secs_f64());
                tracing::info!(batch = %batch.id, lab = %batch.lab, region = %batch.region, closes_at = %batch.closes_at, late_ms = late.as_millis() as i64, "batch closed");
            }
            point!("work.close.closed");
            bench.bells.nudge(transfer::NAME);
            if closed.is_empty() {
                // Another replica holds them.
                return Ok(Some(crate::domain::batch::later(now, jiff::SignedDuration::from_millis(200))));
            }
            limit = (limit * 2).min(SET_MAX);
        }
    }
}
