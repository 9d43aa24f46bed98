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
use crate::store::{Error, Result, Write, one};

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

type Chore = fn(Bench) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Starts the chores.
pub async fn start(bench: &Bench, extras: Vec<(&'static str, Extra)>) -> Result<Chores> {
    let scheduler = JobScheduler::new_with_channel_size(CHANNEL).await.map_err(failed)?;
    let own: [(&str, &str, Chore); 3] = [
        ("checkpoint", "0 * * * * *", |bench| Box::pin(async move { checkpoint(&bench).await })),
        ("gauges", "*/10 * * * * *", |bench| Box::pin(async move { gauges(&bench).await })),
        ("forget", "0 30 3 * * *", |bench| Box::pin(async move { forget(&bench).await })),
    ];
    for (name, cron, chore) in own {
        let bench = bench.clone();
        let job = Job::new_async(cron, move |_, _| {
            let work = chore(bench.clone());
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
