//! How often a key may call, and how much it may send.
//!
//! Three budgets a key: writes, stops and reads, so that nobody's reading keeps its own stops from
//! being heard. They are fed by our clock, of which only the forward steps count: a clock that is set
//! back stops no traffic.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderName;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use crate::clock::Clock;

/// The largest body of an ordinary request, and the longest line of a bulk request, in bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// The largest body of a bulk request, in bytes.
pub const BULK_MAX: usize = 64 * 1024 * 1024;
/// The largest body of a stop, in bytes.
pub const STOP_MAX: usize = 16 * 1024;
/// How long a body may take, and how long a bulk request may pause.
pub const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How long the body of a stop may take. While it is read, no hand-over that begins later goes ahead of
/// it, so it must be short.
pub const STOP_WITHIN: Duration = Duration::from_secs(2);

/// So many requests a second, and so many at once after a pause. 0 a second: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Requests a second, 0 to 100,000.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// The budgets of a key, and of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Everything that is neither a stop nor a read.
    pub writes: Budget,
    /// Asking for stops.
    pub stops: Budget,
    /// Reading.
    pub reads: Budget,
    /// Sign-ins with a wrong key from one address, a minute; more wait for their answer. 0: no limit.
    pub failed_sign_ins_a_minute: u32,
    /// Looks at pages behind links from one address, a minute. 0: no limit.
    pub link_pages_a_minute: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            writes: Budget { per_second: 50, burst: 100 },
            stops: Budget { per_second: 10, burst: 20 },
            reads: Budget { per_second: 100, burst: 200 },
            failed_sign_ins_a_minute: 10,
            link_pages_a_minute: 10,
        }
    }
}

impl Budgets {
    /// No limits: for measurements and the demo.
    #[must_use]
    pub fn off() -> Self {
        let off = Budget { per_second: 0, burst: 0 };
        Self { writes: off, stops: off, reads: off, failed_sign_ins_a_minute: 0, link_pages_a_minute: 0 }
    }
}

/// Which budget a route draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// [`Budgets::writes`].
    Write,
    /// [`Budgets::stops`].
    Stop,
    /// [`Budgets::reads`].
    Read,
}

/// Our clock as the limiter wants it: time that has passed, never less.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    clock: Arc<dyn Clock>,
    seen: Arc<Mutex<(i64, u64)>>,
}

impl Passed {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let seen = Arc::new(Mutex::new((clock.now().as_microsecond(), 0)));
        Self { clock, seen }
    }
}

impl governor::clock::Clock for Passed {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        let now = self.clock.now().as_microsecond();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let forward = u64::try_from(now.saturating_sub(seen.0)).unwrap_or(0);
        *seen = (now, seen.1.saturating_add(forward.saturating_mul(1_000)));
        Nanos::new(seen.1)
    }
}

type Limiter = RateLimiter<Arc<str>, DashMapStateStore<Arc<str>>, Passed, NoOpMiddleware<Nanos>>;

#[derive(Debug)]
struct Limit {
    limiter: Limiter,
    name: &'static str,
    budget: Budget,
}

/// The limits of all keys.
#[derive(Debug)]
pub struct Limits {
    writes: Option<Limit>,
    stops: Option<Limit>,
    reads: Option<Limit>,
    attempts: Limiter,
    clock: Passed,
}

/// So many attempts to stop an order by its customer are taken an hour.
const ATTEMPTS: std::num::NonZeroU32 = std::num::NonZeroU32::new(5).expect("five is not zero");
/// From so many orders on those are forgotten whose hour is over.
const ATTEMPTS_KEPT: usize = 10_000;

impl Limits {
    /// Limits by these budgets.
    #[must_use]
    pub fn new(budgets: Budgets, clock: Arc<dyn Clock>) -> Self {
        let clock = Passed::new(clock);
        let limit = |name, budget: Budget| {
            let rate = std::num::NonZeroU32::new(budget.per_second)?;
            let burst = std::num::NonZeroU32::new(budget.burst).unwrap_or(rate);
            let quota = Quota::per_second(rate).allow_burst(burst);
            let limiter = RateLimiter::new(quota, DashMapStateStore::default(), clock.clone());
            Some(Limit { limiter, name, budget: Budget { burst: burst.get(), ..budget } })
        };
        Self {
            writes: limit("writes", budgets.writes),
            stops: limit("stops", budgets.stops),
            reads: limit("reads", budgets.reads),
            attempts: RateLimiter::new(
                Quota::per_hour(ATTEMPTS),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            clock,
        }
    }

    /// Counts an attempt of a customer to stop an order: five an hour, whatever the other limits are. An order
    /// has one stop, so that more are of no use to anybody.
    pub fn attempt(&self, order: &Arc<str>) -> Result<(), Problem> {
        if self.attempts.len() > ATTEMPTS_KEPT {
            self.attempts.retain_recent();
        }
        let Err(until) = self.attempts.check_key(order) else { return Ok(()) };
        let wait = until.wait_time_from(self.clock.now());
        let text = format!("There were {ATTEMPTS} attempts to stop the order within the hour.");
        Err(Problem::new(Code::RateLimited, text).retry_after(wait.as_secs().max(1)))
    }

    /// Takes one from a key's budget.
    pub fn take(&self, key: &Arc<str>, class: Class) -> Result<(), Problem> {
        let limit = match class {
            Class::Write => &self.writes,
            Class::Stop => &self.stops,
            Class::Read => &self.reads,
        };
        let Some(limit) = limit else { return Ok(()) };
        let Err(until) = limit.limiter.check_key(key) else { return Ok(()) };
        let wait = until.wait_time_from(self.clock.now());
        let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(1).max(1);
        let Limit { name, budget: Budget { per_second, burst }, .. } = limit;
        let text = format!(
            "The key has used up its budget for {name}: {per_second} a second, {burst} at once after a pause."
        );
        let window = burst.div_ceil(*per_second);
        Err(Problem::new(Code::RateLimited, text)
            .retry_after(seconds)
            .header(HeaderName::from_static("ratelimit-policy"), &format!("\"{name}\";q={burst};w={window}"))
            .header(HeaderName::from_static("ratelimit"), &format!("\"{name}\";r=0;t={seconds}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_budget_refills_with_our_clock_and_no_step_back_empties_it() {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_000_000).unwrap());
        let limits = Limits::new(Budgets::default(), Arc::new(clock.clone()));
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let taken = |key, class| (0..1000).take_while(|_| limits.take(key, class).is_ok()).count();
        assert_eq!(taken(&one, Class::Stop), 20);
        assert_eq!(taken(&one, Class::Write), 100);
        assert_eq!(taken(&one, Class::Read), 200);
        assert_eq!(taken(&two, Class::Stop), 20);
        clock.advance(Duration::from_secs(1));
        assert_eq!(taken(&one, Class::Stop), 10);
        clock.set(jiff::Timestamp::from_second(900_000).unwrap());
        clock.advance(Duration::from_millis(500));
        assert!(taken(&one, Class::Stop) <= 5);
        clock.advance(Duration::from_secs(5));
        assert_eq!(taken(&one, Class::Stop), 20);
        assert_eq!(limits.take(&one, Class::Stop).unwrap_err().code(), Code::RateLimited);
    }

    #[test]
    fn an_order_is_attempted_five_times_an_hour() {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_000_000).unwrap());
        let limits = Limits::new(Budgets::off(), Arc::new(clock.clone()));
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let taken = |order| (0..100).take_while(|_| limits.attempt(order).is_ok()).count();
        assert_eq!((taken(&one), taken(&two)), (5, 5));
        clock.advance(Duration::from_secs(719));
        assert_eq!(taken(&one), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(taken(&one), 1);
        clock.advance(Duration::from_hours(1));
        assert_eq!(taken(&one), 5);
    }

    #[test]
    fn zero_is_no_limit() {
        let clock = ManualClock::at(jiff::Timestamp::UNIX_EPOCH);
        let limits = Limits::new(Budgets::off(), Arc::new(clock));
        assert!((0..10_000).all(|_| limits.take(&"one".into(), Class::Stop).is_ok()));
    }
}
