//! Warns before a cutoff: of orders that are in no batch, because they are unpaid, held or in review.
//!
//! The store forces that an order is warned once a cutoff; the loop only finds out which cutoffs are near, and
//! looks again while they are, because an order may be held at any time.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Bench, Step};
use crate::domain::batch::later;
use crate::domain::warning::Collecting;
use crate::store::{self, NearCutoff, Result, Write, Written, one};

/// The loop's name.
pub const NAME: &str = "warn";
/// How often it is looked while a cutoff is near.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// Orders that are warned in one transaction: a stop that is asked meanwhile waits for no more.
const SET_MAX: i64 = 256;

/// The next cutoff of a region, and from when on to warn of it.
#[derive(Debug, Clone)]
pub struct Coming {
    /// The cutoff.
    pub near: NearCutoff,
    /// From when on.
    pub from: Timestamp,
    /// Where the lab's orders are collected.
    pub collecting: Arc<Collecting>,
}

/// Gives the next cutoff of every region that warns, as of an instant.
pub type Cutoffs = Arc<dyn Fn(Timestamp) -> Vec<Coming> + Send + Sync>;

/// The loop that warns.
#[derive(Clone)]
pub struct Warn {
    bench: Bench,
    cutoffs: Cutoffs,
}

impl std::fmt::Debug for Warn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warn").finish_non_exhaustive()
    }
}

impl Warn {
    /// The loop.
    #[must_use]
    pub fn new(bench: Bench, cutoffs: Cutoffs) -> Self {
        Self { bench, cutoffs }
    }

    /// Warns all orders of a region that were not.
    async fn region(&self, coming: &Coming, now: Timestamp) -> Result<i64> {
        let mut orders = 0;
        loop {
            let (near, collecting) = (coming.near.clone(), Arc::clone(&coming.collecting));
            let warn = store::Warn { near, collecting, limit: SET_MAX, at: now };
            let Written::Warned(warned) = one(&*self.bench.store, Write::Warn(Box::new(warn))).await? else {
                return Ok(orders);
            };
            orders += warned.orders;
            if !warned.more || self.bench.end.is_cancelled() {
                return Ok(orders);
            }
        }
    }
}

impl Step for Warn {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let mut wake: Option<Timestamp> = None;
        let mut near = Vec::new();
        for coming in (self.cutoffs)(now) {
            let at = if coming.from > now {
                coming.from
            } else {
                let until = coming.near.closes_at;
                near.push(coming);
                // At the cutoff itself the next one comes into sight.
                later(now, AGAIN).min(until)
            };
            wake = Some(wake.map_or(at, |wake| wake.min(at)));
        }
        if near.is_empty() {
            return Ok(wake);
        }
        let cutoffs: Vec<NearCutoff> = near.iter().map(|coming| coming.near.clone()).collect();
        let due = self.bench.store.warnings_due(&cutoffs).await?;
        for coming in near {
            let near = &coming.near;
            if due.iter().all(|(lab, region)| (lab, region) != (&near.lab, &near.region)) {
                continue;
            }
            let orders = self.region(&coming, now).await?;
            if orders > 0 {
                metrics::counter!("stoppress_cutoff_warnings_total").increment(orders.unsigned_abs());
                tracing::info!(lab = %near.lab, region = %near.region, closes_at = %near.closes_at, orders, "orders would miss the cutoff");
            }
        }
        Ok(wake)
    }
}
