//! The only place that reads the host's clock and its randomness.
//!
//! Everybody else is given `now` as an argument, or one of the two traits here. Instants are
//! [`jiff::Timestamp`]s cut to whole microseconds, because that is what both databases keep.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// A clock that tells the time and can be waited on.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current instant, in whole microseconds.
    fn now(&self) -> Timestamp;
    /// Returns when [`Clock::now`] is at or past `until`. It never returns early.
    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Returns when so much time has passed on the host, whatever its clock shows.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub(crate) async fn passed(long: SignedDuration) {
    tokio::time::sleep(Duration::try_from(long).unwrap_or_default()).await;
}

/// A source of random bytes.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// Fills `bytes` with random bytes that nobody can guess.
    fn fill(&self, bytes: &mut [u8]);
}

/// Cuts an instant to whole microseconds, downwards.
#[must_use]
pub fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// The host's own clock. It sleeps in steps of at most a second, so that a step of the wall
/// clock (suspend, NTP) is noticed within one.
#[derive(Debug, Default, Clone, Copy)]
pub struct HostClock;

impl Clock for HostClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the host's clock")]
    fn now(&self) -> Timestamp {
        whole_micros(Timestamp::now())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps on the wall clock")]
    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let left = until.as_microsecond() - self.now().as_microsecond();
                let Ok(left) = u64::try_from(left) else { return };
                if left == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_micros(left).min(Duration::from_secs(1))).await;
            }
        })
    }
}

/// A generator for secrets, a thread its own, seeded and seeded again by the operating system: a call to
/// the system for each id would cost more than the rest of making it.
#[derive(Debug, Default, Clone, Copy)]
pub struct HostRandom;

impl Random for HostRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::Rng::fill_bytes(&mut rand::rng(), bytes);
    }
}

/// A clock that stands still until it is set: for the demo and for tests.
///
/// Clones share the same time. A clone made by [`ManualClock::skewed`] shows it with an offset,
/// as a replica whose host clock is wrong.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<i64>>,
    sleepers: Arc<Mutex<BTreeMap<i64, usize>>>,
    skew_us: i64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: Arc::new(watch::Sender::new(now.as_microsecond())), sleepers: Arc::default(), skew_us: 0 }
    }

    /// Sets the clock, forwards or backwards, and wakes whoever is due.
    pub fn set(&self, now: Timestamp) {
        self.now.send_replace(now.as_microsecond());
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now.send_modify(|now| *now = now.saturating_add(by));
    }

    /// The same clock, read with an offset in microseconds.
    #[must_use]
    pub fn skewed(&self, skew_us: i64) -> Self {
        Self { skew_us, ..self.clone() }
    }

    /// The earliest instant at which somebody who sleeps on this clock wants to wake.
    ///
    /// # Panics
    /// If a thread panicked while it held the list of sleepers.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let sleepers = self.sleepers.lock().expect("no panic while held");
        sleepers.keys().next().and_then(|at| Timestamp::from_microsecond(*at).ok())
    }
}

/// Takes a sleeper off the list when its future ends or is dropped.
struct Sleeper {
    list: Arc<Mutex<BTreeMap<i64, usize>>>,
    at: i64,
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Ok(mut list) = self.list.lock()
            && let Some(count) = list.get_mut(&self.at)
        {
            *count -= 1;
            if *count == 0 {
                list.remove(&self.at);
            }
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let shown = self.now.borrow().saturating_add(self.skew_us);
        Timestamp::from_microsecond(shown).unwrap_or(Timestamp::MAX)
    }

    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let at = until.as_microsecond().saturating_sub(self.skew_us);
        Box::pin(async move {
            let mut seen = self.now.subscribe();
            if *seen.borrow() >= at {
                return;
            }
            let _sleeper = {
                let mut list = self.sleepers.lock().expect("no panic while held");
                *list.entry(at).or_default() += 1;
                Sleeper { list: Arc::clone(&self.sleepers), at }
            };
            // The sender lives in self, so waiting cannot fail while we are polled.
            let _ = seen.wait_for(|now| *now >= at).await;
        })
    }
}

/// Random bytes from a seed, the same in every run: for the demo and for tests only.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// A source that always gives the same bytes for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().expect("no panic while held");
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64 (Steele, Lea, Flood 2014).
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}
