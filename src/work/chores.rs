//! Coarse, recurring chores, in UTC: checkpoints, forgetting, gauges, zone data.
//!
//! They run under tokio-cron-scheduler, which may be late, early by a second or two, or skip: nothing
//! here decides a cutoff, and each chore can run twice or not at all without harm.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::SignedDuration;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use super::Bench;
use crate::store::{Error, ForgetDeliveries, Purge, Result, WebhookFilter, Write, Written, one};

/// How long the answer to an idempotency key is remembered: longer than the longest window.
pub const REMEMBER_DAYS: i64 = 30;
/// Far above what one poll of the scheduler can find due: at its default it drops jobs.
const CHANNEL: usize = 4_096;

/// A chore of somebody else's room, such as draining histograms.
pub type Extra = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Writes a checkpoint over the event log.
pub async fn checkpoint(bench: &Bench) -> Result<()> {
    one(&*bench.store, Write::Checkpoint { at: bench.clock.now() }).await.map(drop)
}

/// Forgets answers to idempotency keys that are older than [`REMEMBER_DAYS`].
pub async fn forget(bench: &Bench) -> Result<()> {
    let kept = SignedDuration::from_hours(REMEMBER_DAYS * 24);
    let Ok(before) = bench.clock.now().checked_sub(kept) else { return Ok(()) };
    one(&*bench.store, Write::Forget { before }).await.map(drop)
}

/// How long what became of messages to endpoints is kept, and of how many an endpoint.
const DELIVERIES_KEPT: (SignedDuration, i64) = (SignedDuration::from_hours(14 * 24), 10_000);

/// How many orders are looked at before others write.
const PURGED_AT_ONCE: i64 = 500;

/// So many days as a span; for ever is the longest that there is.
fn days(number: u32) -> SignedDuration {
    if number == 0 { SignedDuration::MAX } else { SignedDuration::from_hours(i64::from(number) * 24) }
}

/// Takes out what orders say of people that came to their end so many days ago; 0: never. Answers to idempotency keys
/// that are as old go with it.
pub async fn purge(bench: &Bench, addresses_days: u32) -> Result<usize> {
    let Ok(before) = bench.clock.now().checked_sub(days(addresses_days)) else { return Ok(0) };
    let (mut after, mut orders) = (None, 0);
    loop {
        let purge = Purge { before, after, limit: PURGED_AT_ONCE, at: bench.clock.now() };
        let Written::Purged(purged) = one(&*bench.store, Write::Purge(Box::new(purge))).await? else {
            return Err(Error::Unavailable("a purge without an outcome".to_owned()));
        };
        orders += purged.orders;
        after = purged.next;
        if after.is_none() {
            return Ok(orders);
        }
    }
}

/// Forgets what became of messages to endpoints long ago: what receivers answered is kept no longer than addresses.
pub async fn forget_deliveries(bench: &Bench, addresses_days: u32) -> Result<()> {
    let (kept, keep) = DELIVERIES_KEPT;
    let Ok(before) = bench.clock.now().checked_sub(kept.min(days(addresses_days))) else { return Ok(()) };
    let mut after = None;
    loop {
        let filter = WebhookFilter { platform: None, after: after.take(), limit: 200 };
        let rows = bench.store.webhooks(&filter).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.id.clone());
        for row in rows {
            // One after another: between them, others write.
            one(&*bench.store, Write::ForgetDeliveries(ForgetDeliveries { id: row.id, before, keep }))
                .await?;
        }
    }
}

/// Sets the gauges.
pub async fn gauges(bench: &Bench) -> Result<()> {
    let gauges = bench.store.gauges(bench.clock.now()).await?;
    for (lab, orders) in &gauges.waiting {
        metrics::gauge!("stoppress_orders_waiting", "lab" => lab.clone()).set(*orders as f64);
    }
    for (phase, count) in &gauges.transfers {
        let word = crate::domain::batch::TransferPhase::from_code(*phase).map_or("?", |phase| phase.word());
        metrics::gauge!("stoppress_transfers", "phase" => word).set(*count as f64);
    }
    for (state, count) in &gauges.stops {
        let word = crate::domain::stop::StopState::from_code(*state).map_or("?", |state| state.word());
        metrics::gauge!("stoppress_stops", "state" => word).set(*count as f64);
    }
    metrics::gauge!("stoppress_stops_overdue").set(gauges.stops_overdue as f64);
    metrics::gauge!("stoppress_escalations_open").set(gauges.escalations as f64);
    let now = bench.clock.now();
    for (lab, lane) in bench.labs.lanes(now) {
        metrics::gauge!("stoppress_lab_calls", "lab" => lab.to_string()).set(f64::from(lane.in_flight));
        let open = lane.closed_until.is_some_and(|until| until > now);
        metrics::gauge!("stoppress_lab_resting", "lab" => lab.to_string()).set(f64::from(u8::from(open)));
    }
    Ok(())
}

/// The running chores; they end when this is dropped or [`Chores::stop`]ped.
pub struct Chores(JobScheduler);

impl std::fmt::Debug for Chores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chores")
    }
}

fn failed(error: JobSchedulerError) -> Error {
    Error::Unavailable(format!("the chores cannot be scheduled: {error}"))
}

type Chore = fn(Bench, u32) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Starts the chores. What orders say of people is kept for so many days after their end; 0: for ever.
pub async fn start(bench: &Bench, addresses_days: u32, extras: Vec<(&'static str, Extra)>) -> Result<Chores> {
    let scheduler = JobScheduler::new_with_channel_size(CHANNEL).await.map_err(failed)?;
    let own: [(&str, &str, Chore); 5] = [
        ("checkpoint", "0 * * * * *", |bench, _| Box::pin(async move { checkpoint(&bench).await })),
        ("gauges", "*/10 * * * * *", |bench, _| Box::pin(async move { gauges(&bench).await })),
        ("forget deliveries", "15 7 * * * *", |bench, days| {
            Box::pin(async move { forget_deliveries(&bench, days).await })
        }),
        ("purge", "45 37 * * * *", |bench, days| {
            Box::pin(async move { purge(&bench, days).await.map(drop) })
        }),
        ("forget", "0 30 3 * * *", |bench, _| Box::pin(async move { forget(&bench).await })),
    ];
    for (name, cron, chore) in own {
        let bench = bench.clone();
        let job = Job::new_async(cron, move |_, _| {
            let work = chore(bench.clone(), addresses_days);
            Box::pin(async move {
                if let Err(error) = work.await {
                    tracing::warn!(chore = name, %error, "a chore failed; it comes again");
                }
            })
        });
        scheduler.add(job.map_err(failed)?).await.map_err(failed)?;
    }
    for (cron, extra) in extras {
        let job = Job::new_async(cron, move |_, _| extra());
        scheduler.add(job.map_err(failed)?).await.map_err(failed)?;
    }
    scheduler.start().await.map_err(failed)?;
    Ok(Chores(scheduler))
}

impl Chores {
    /// Ends the chores.
    pub async fn stop(mut self) {
        if let Err(error) = self.0.shutdown().await {
            tracing::debug!(%error, "the chores did not end cleanly");
        }
    }
}
