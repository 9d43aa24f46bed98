//! How often a key may call, and how much it may send.
//!
//! Three budgets a key: writes, stops and reads, so that nobody's reading keeps its own stops from
//! being heard. They are fed by our clock, of which only the forward steps count: a clock that is set
//! back stops no traffic.

use std::collections::HashMap;
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
    of_orders: Limiter,
    /// Attempts that our own failure used up: how many, and when the last one did.
    pardons: Mutex<HashMap<Arc<str>, (u32, u64)>>,
    clock: Passed,
}

/// So many attempts to stop an order are taken an hour from one session.
const ATTEMPTS: std::num::NonZeroU32 = std::num::NonZeroU32::new(5).expect("five is not zero");
/// So many an hour from all sessions of an order, whose links were not taken back.
const ATTEMPTS_OF_ORDER: std::num::NonZeroU32 = std::num::NonZeroU32::new(20).expect("twenty is not zero");
/// How long a pardon is kept, in nanoseconds: until its attempt would count no more.
const PARDONED_FOR: u64 = 3_600_000_000_000;

/// Who attempts to stop an order: a session, and the order with the serial of its links.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// One session.
    pub session: Arc<str>,
    /// All sessions whose links hold if this one's does.
    pub order: Arc<str>,
}

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
        let hourly =
            |most| RateLimiter::new(Quota::per_hour(most), DashMapStateStore::default(), clock.clone());
        Self {
            writes: limit("writes", budgets.writes),
            stops: limit("stops", budgets.stops),
            reads: limit("reads", budgets.reads),
            attempts: hourly(ATTEMPTS),
            of_orders: hourly(ATTEMPTS_OF_ORDER),
            pardons: Mutex::default(),
            clock,
        }
    }

    /// Counts an attempt of a customer to stop an order: five an hour, whatever the other limits are. An order
    /// has one stop, so that more are of no use to anybody. Whoever opened a link that was taken back counts by
    /// themselves: they cannot use up what the holder of a newer one has.
    pub fn attempt(&self, who: &Attempt) -> Result<(), Problem> {
        let limits =
            [(&self.attempts, &who.session, ATTEMPTS), (&self.of_orders, &who.order, ATTEMPTS_OF_ORDER)];
        for (limiter, key, most) in limits {
            if self.pardoned(key) {
                continue;
            }
            let Err(until) = limiter.check_key(key) else { continue };
            let wait = until.wait_time_from(self.clock.now());
            let text = format!("There were {most} attempts to stop the order within the hour.");
            return Err(Problem::new(Code::RateLimited, text).retry_after(wait.as_secs().max(1)));
        }
        Ok(())
    }

    /// Takes an attempt back: it failed, and not for anything that was sent.
    pub fn pardon(&self, who: &Attempt) {
        let now = self.clock.now().as_u64();
        let mut pardons = self.pardons.lock().unwrap_or_else(PoisonError::into_inner);
        for key in [&who.session, &who.order] {
            let (many, at) = pardons.entry(Arc::clone(key)).or_default();
            (*many, *at) = (many.saturating_add(1), now);
        }
    }

    fn pardoned(&self, key: &Arc<str>) -> bool {
        let mut pardons = self.pardons.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((many, _)) = pardons.get_mut(key) else { return false };
        *many -= 1;
        if *many == 0 {
            pardons.remove(key);
        }
        true
    }

    /// Forgets whose budgets are whole again.
    pub(super) fn forget(&self) {
        let limits =
            [&self.writes, &self.stops, &self.reads].into_iter().flatten().map(|limit| &limit.limiter);
        for limiter in limits.chain([&self.attempts, &self.of_orders]) {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        let now = self.clock.now().as_u64();
        let mut pardons = self.pardons.lock().unwrap_or_else(PoisonError::into_inner);
        pardons.retain(|_, (_, at)| now.saturating_sub(*at) < PARDONED_FOR);
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

    fn attempt(order: &str, serial: u32, session: &str) -> Attempt {
        let order = format!("{order} {serial}");
        Attempt { session: format!("{order} {session}").into(), order: order.into() }
    }

    #[test]
    fn an_order_is_attempted_five_times_an_hour() {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_000_000).unwrap());
        let limits = Limits::new(Budgets::off(), Arc::new(clock.clone()));
        let taken = |who: &Attempt| (0..100).take_while(|_| limits.attempt(who).is_ok()).count();
        let (one, two) = (attempt("one", 0, "a"), attempt("two", 0, "a"));
        assert_eq!((taken(&one), taken(&two)), (5, 5));
        clock.advance(Duration::from_secs(719));
        assert_eq!(taken(&one), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(taken(&one), 1);
        clock.advance(Duration::from_hours(1));
        assert_eq!(taken(&one), 5);
    }

    #[test]
    fn a_session_uses_up_its_own_attempts_and_no_more_than_four_those_of_the_order() {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_000_000).unwrap());
        let limits = Limits::new(Budgets::off(), Arc::new(clock));
        let taken = |who: &Attempt| (0..100).take_while(|_| limits.attempt(who).is_ok()).count();
        let sessions = ["a", "b", "c", "d", "e"].map(|session| taken(&attempt("one", 0, session)));
        assert_eq!(sessions, [5, 5, 5, 5, 0]);
        assert_eq!(taken(&attempt("one", 1, "f")), 5, "the links of the others were taken back");
    }

    #[test]
    fn an_attempt_that_fails_for_us_is_given_back_and_what_is_over_is_forgotten() {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_000_000).unwrap());
        let limits = Limits::new(Budgets::default(), Arc::new(clock.clone()));
        let who = attempt("one", 0, "a");
        for _ in 0..100 {
            assert!(limits.attempt(&who).is_ok());
            limits.pardon(&who);
        }
        assert_eq!((0..100).take_while(|_| limits.attempt(&who).is_ok()).count(), 5);
        limits.pardon(&who);
        for class in [Class::Read, Class::Write, Class::Stop] {
            limits.take(&"one".into(), class).unwrap();
        }
        limits.forget();
        let kept = || {
            let limits_kept = [&limits.reads, &limits.writes, &limits.stops]
                .map(|limit| limit.as_ref().unwrap().limiter.len());
            (limits_kept, limits.attempts.len(), limits.of_orders.len(), limits.pardons.lock().unwrap().len())
        };
        assert_eq!(kept(), ([1, 1, 1], 1, 1, 2));
        clock.advance(Duration::from_hours(3));
        limits.forget();
        assert_eq!(kept(), ([0, 0, 0], 0, 0, 0));
    }

    #[test]
    fn zero_is_no_limit() {
        let clock = ManualClock::at(jiff::Timestamp::UNIX_EPOCH);
        let limits = Limits::new(Budgets::off(), Arc::new(clock));
        assert!((0..10_000).all(|_| limits.take(&"one".into(), Class::Stop).is_ok()));
    }
}
