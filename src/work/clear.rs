//! Says to the other gateways on the same database until when every stop that was asked here is in it.
//!
//! A stop that was asked at one gateway before the cutoff must not lose to a hand-over that another begins
//! at the cutoff. Within one process the store keeps them in order; between processes a claim leaves batches
//! alone until every gateway that is alive has said that it is clear of their cutoff. A gateway that has
//! been silent for [`GONE_AFTER`](crate::store::GONE_AFTER) counts as gone: whoever asked it for a stop has
//! no answer yet, and gets the true one if it comes back. Hosts' clocks must agree to less than that.

use jiff::{SignedDuration, Timestamp};

use super::{Bench, Step};
use crate::domain::batch::later;
use crate::store::{Announce, Result, Write, Written, one};

/// The loop's name.
pub const NAME: &str = "clear";
/// How often it is said while another gateway is alive, and while none is.
const EVERY: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_secs(5));
/// How soon it is looked again while a stop is being asked.
const SOON: SignedDuration = SignedDuration::from_millis(5);

/// The loop that says it.
#[derive(Debug, Clone)]
pub struct Clear(pub Bench);

impl Step for Clear {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.0;
        let clear_until = bench.store.clear_until(&*bench.clock);
        let said = Announce { replica: bench.holder.clone(), clear_until, at: now };
        let written = one(&*bench.store, Write::Announce(said)).await?;
        if clear_until < now {
            return Ok(Some(later(now, SOON)));
        }
        let alone = matches!(written, Written::Announced(0));
        let next = later(now, if alone { EVERY.1 } else { EVERY.0 });
        let cutoff = bench.store.due(now).await?.close_at.filter(|at| *at > now);
        Ok(Some(cutoff.map_or(next, |at| at.min(next))))
    }
}
