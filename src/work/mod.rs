//! The loops: each is a step, `tick(now)`, that does what is due and says when to come again.
//!
//! One runner, [`run`], is the only one that sleeps: until the instant that the tick named, or until
//! somebody nudges. A nudge is never needed for correctness: what is due is in the store, and a poll
//! finds it. Calls to labs run beside the loops, at most as many as a lab's lane lets through.

pub mod chores;
pub mod clear;
pub mod close;
pub mod import;
pub mod labs;
pub mod remind;
pub mod stop;
pub mod transfer;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Random};
use crate::domain::batch::later;
use crate::store::Store;

/// What all loops work with.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The durable state.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The labs' endpoints.
    pub labs: Arc<labs::Directory>,
    /// The bells.
    pub bells: Arc<Bells>,
    /// This process, in leases.
    pub holder: String,
    /// Ends everything.
    pub end: CancellationToken,
}

/// How soon a gateway to which labs are connected looks again for what other gateways have for them.
const LINKED_POLL: SignedDuration = SignedDuration::from_millis(300);

impl Bench {
    /// When to look again for work that another gateway has for a lab that is connected to this one: no
    /// nudge of that gateway is heard here.
    fn linked_poll(&self, now: Timestamp) -> Option<Timestamp> {
        (self.store.shared() && self.labs.linked()).then(|| later(now, LINKED_POLL))
    }
}

/// One step of a loop. Gives when to come again, if nothing nudges before.
pub trait Step: Send + Sync {
    /// The loop's name: `close`, `transfer`, `stop`.
    fn name(&self) -> &'static str;
    /// Does what is due at `now`.
    fn tick(&self, now: Timestamp) -> impl Future<Output = crate::store::Result<Option<Timestamp>>> + Send;
}

#[derive(Debug, Default)]
struct Desk {
    /// What each loop waits for: `None` while it works.
    waits: BTreeMap<&'static str, Option<Timestamp>>,
    /// Loops that were nudged and have not looked yet.
    nudged: BTreeMap<&'static str, bool>,
    /// Calls under way.
    calls: usize,
    /// Whether a stop waits for the end of a transfer.
    stops_wait: bool,
}

/// Wakes loops, and knows whether anybody is at work: who plays with the clock must wait until nobody is.
#[derive(Debug, Default)]
pub struct Bells {
    desk: Mutex<Desk>,
    clear: Notify,
    close: Notify,
    import: Notify,
    remind: Notify,
    transfer: Notify,
    stop: Notify,
    changed: Notify,
}

/// Counts a call that is under way until it is dropped.
#[derive(Debug)]
pub struct CallGuard(Arc<Bells>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.with(|desk| desk.calls -= 1);
    }
}

impl Bells {
    fn with<T>(&self, change: impl FnOnce(&mut Desk) -> T) -> T {
        let out = change(&mut self.desk.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.changed.notify_waiters();
        out
    }

    fn bell(&self, name: &str) -> &Notify {
        match name {
            clear::NAME => &self.clear,
            close::NAME => &self.close,
            import::NAME => &self.import,
            remind::NAME => &self.remind,
            stop::NAME => &self.stop,
            _ => &self.transfer,
        }
    }

    /// Wakes a loop.
    pub fn nudge(&self, name: &'static str) {
        // A loop that has ended looks no more: nobody is to wait until it has.
        self.with(|desk| {
            if desk.waits.contains_key(name) {
                desk.nudged.insert(name, true);
            }
        });
        self.bell(name).notify_one();
    }

    /// Counts a loop as at work from now on, before its task has begun.
    pub fn starts(&self, name: &'static str) {
        self.with(|desk| desk.waits.insert(name, None));
    }

    /// Whether a stop was waiting when the stop loop last looked: only then does the end of a transfer
    /// concern it.
    #[must_use]
    pub fn stops_wait(&self) -> bool {
        self.desk.lock().unwrap_or_else(std::sync::PoisonError::into_inner).stops_wait
    }

    fn set_stops_wait(&self, wait: bool) {
        self.with(|desk| desk.stops_wait = wait);
    }

    /// Counts a call as under way.
    pub fn call(self: &Arc<Self>) -> CallGuard {
        self.with(|desk| desk.calls += 1);
        CallGuard(Arc::clone(self))
    }

    /// Whether every loop sleeps beyond `now`, nobody was nudged, and no call is under way.
    #[must_use]
    pub fn idle(&self, now: Timestamp) -> bool {
        let desk = self.desk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        desk.calls == 0
            && desk.nudged.values().all(|nudged| !nudged)
            && desk.waits.values().all(|wait| wait.is_some_and(|until| until > now))
    }

    /// Waits until [`Bells::idle`], and gives the first instant for which a loop waits.
    pub async fn settled(&self, now: Timestamp) -> Option<Timestamp> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.idle(now) {
                let desk = self.desk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                return desk.waits.values().flatten().min().copied();
            }
            changed.await;
        }
    }
}

/// How long a loop waits after a store that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Runs a loop, and starts it again if it panics: a gateway that serves while nothing closes would break
/// its promise in silence.
pub async fn supervise<S: Step + Clone + 'static>(
    step: S,
    clock: Arc<dyn Clock>,
    bells: Arc<Bells>,
    poll: SignedDuration,
    end: CancellationToken,
) {
    loop {
        let task = tokio::spawn(run(step.clone(), Arc::clone(&clock), Arc::clone(&bells), poll, end.clone()));
        let Err(error) = task.await else { return };
        let name = step.name();
        tracing::error!(loop_name = name, %error, "a loop ended by a mistake of ours; it starts again");
        metrics::counter!("stoppress_loop_failures_total", "loop" => name).increment(1);
        let again = later(clock.now(), SignedDuration::from_secs(1));
        bells.with(|desk| desk.waits.insert(name, Some(again)));
        tokio::select! {
            () = clock.sleep_until(again) => {}
            () = end.cancelled() => return,
        }
    }
}

/// Runs a loop until it is told to stop: ticks, then sleeps until the instant that the tick gave, but not
/// longer than `poll` (other replicas' work is found so), or until it is nudged.
pub async fn run<S: Step>(
    step: S,
    clock: Arc<dyn Clock>,
    bells: Arc<Bells>,
    poll: SignedDuration,
    end: CancellationToken,
) {
    let name = step.name();
    let bell = bells.bell(name);
    bells.with(|desk| desk.waits.insert(name, None));
    let mut failures = 0_u32;
    loop {
        bells.with(|desk| {
            desk.waits.insert(name, None);
            desk.nudged.insert(name, false);
        });
        let now = clock.now();
        let until = match step.tick(now).await {
            Ok(wake) => {
                failures = 0;
                wake.unwrap_or(Timestamp::MAX).min(later(now, poll))
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::error!(loop_name = name, %error, failures, "a step failed; it is done again soon");
                metrics::counter!("stoppress_loop_failures_total", "loop" => name).increment(1);
                let wait = AFTER_FAILURE.saturating_mul(failures.min(20));
                later(now, SignedDuration::try_from(wait).unwrap_or(poll))
            }
        };
        bells.with(|desk| desk.waits.insert(name, Some(until)));
        tokio::select! {
            () = clock.sleep_until(until) => {}
            () = bell.notified() => {}
            () = end.cancelled() => break,
        }
    }
    bells.with(|desk| {
        desk.waits.remove(name);
        desk.nudged.remove(name);
    });
    tracing::debug!(loop_name = name, "loop ended");
}
