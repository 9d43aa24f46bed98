//! The loops: each is a step, `tick(now)`, that does what is due and says when to come again.
//!
//! One runner, [`run`], is the only one that sleeps: until the instant that the tick named, or until
//! somebody nudges. A nudge is never needed for correctness: what is due is in the store, and a poll
//! finds it. Calls to labs run beside the loops, at most as many as a lab's lane lets through.

pub mod address;
pub mod changes;
pub mod chores;
pub mod clear;
pub mod close;
pub mod import;
pub mod labs;
pub mod remind;
pub mod revoke;
pub mod stop;
pub mod tell;
pub mod transfer;
pub mod warn;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Random};
use crate::domain::batch::later;
use crate::store::{Error, Store, Write, Written};

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
    /// Whether an order waits for the stop of another.
    orders_wait: bool,
}

/// Wakes loops, and knows whether anybody is at work: who plays with the clock must wait until nobody is.
#[derive(Debug, Default)]
pub struct Bells {
    desk: Mutex<Desk>,
    address: Notify,
    changes: Notify,
    clear: Notify,
    close: Notify,
    import: Notify,
    remind: Notify,
    revoke: Notify,
    transfer: Notify,
    stop: Notify,
    tell: Notify,
    warn: Notify,
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
            address::NAME => &self.address,
            changes::NAME => &self.changes,
            clear::NAME => &self.clear,
            close::NAME => &self.close,
            import::NAME => &self.import,
            remind::NAME => &self.remind,
            revoke::NAME => &self.revoke,
            stop::NAME => &self.stop,
            tell::NAME => &self.tell,
            warn::NAME => &self.warn,
            _ => &self.transfer,
        }
    }

    /// Wakes a loop.
    pub fn nudge(&self, name: &'static str) {
        // A loop that has ended looks no more: nobody is to wait until it has.
        let orders_wait = self.with(|desk| {
            if desk.waits.contains_key(name) {
                desk.nudged.insert(name, true);
            }
            desk.orders_wait
        });
        self.bell(name).notify_one();
        // What wakes these may have decided a stop that an order waits for.
        if orders_wait && matches!(name, transfer::NAME | stop::NAME) {
            self.nudge(changes::NAME);
        }
        // With an order that another replaces, its downloads are revoked.
        if name == changes::NAME {
            self.nudge(revoke::NAME);
        }
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

    fn set_orders_wait(&self, wait: bool) {
        self.with(|desk| desk.orders_wait = wait);
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

/// Writes what somebody outside has said, and will not say again: while the store is away, it is tried again, until the
/// gateway ends. A positive answer counts however late it is written.
async fn insist(bench: &Bench, writes: Vec<Write>) -> crate::store::Result<Vec<Written>> {
    let mut failures = 0_u32;
    loop {
        match bench.store.apply(writes.clone()).await {
            Err(Error::Unavailable(cause)) if !bench.end.is_cancelled() => {
                failures = failures.saturating_add(1);
                tracing::error!(cause, failures, "an answer cannot be written; it is tried again");
                let wait = AFTER_FAILURE.saturating_mul(failures.min(20));
                let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO);
                tokio::select! {
                    () = bench.clock.sleep_until(later(bench.clock.now(), wait)) => {}
                    () = bench.end.cancelled() => {}
                }
            }
            done => return done,
        }
    }
}

/// Takes work for several labs in one transaction, and, if that cannot be, for each alone: what is wrong with one is no
/// reason for the others to wait. `None`: not taken.
async fn take_each(bench: &Bench, claims: Vec<Write>) -> crate::store::Result<Vec<Option<Written>>> {
    let each = claims.clone();
    match bench.store.apply(claims).await {
        Ok(written) => return Ok(written.into_iter().map(Some).collect()),
        Err(error) if each.len() < 2 => return Err(error),
        Err(error) => {
            tracing::error!(%error, labs = each.len(), "work could not be taken at once; it is for each lab");
        }
    }
    let (mut taken, mut last) = (Vec::with_capacity(each.len()), None);
    for claim in each {
        match bench.store.apply(vec![claim]).await {
            Ok(written) => taken.extend(written.into_iter().map(Some)),
            Err(error) => {
                tracing::error!(%error, "work of one lab cannot be taken");
                taken.push(None);
                last = Some(error);
            }
        }
    }
    // Whoever has nothing at all waits as after any failure.
    match last {
        Some(error) if taken.iter().all(Option::is_none) => Err(error),
        _ => Ok(taken),
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
        // In this order, not in one that is drawn: who plays with the clock sees the same each time.
        tokio::select! {
            biased;
            () = end.cancelled() => break,
            () = bell.notified() => {}
            () = clock.sleep_until(until) => {}
            // Whatever becomes of the clock: set back, it would let a loop sleep as much longer.
            () = crate::clock::passed(poll) => {}
        }
    }
    bells.with(|desk| {
        desk.waits.remove(name);
        desk.nudged.remove(name);
    });
    tracing::debug!(loop_name = name, "loop ended");
}
