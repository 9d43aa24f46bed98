//! Limits by the address that a request comes from: sign-ins that fail, and pages behind links.
//!
//! A good key is never refused for the address that it comes from: many may be behind one. Whoever comes with
//! wrong ones again and again only waits longer for the same answer.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::Semaphore;

use super::limits::{Budgets, Passed};
use super::problem::Problem;
use crate::clock::Clock;
use crate::domain::source::Source;

/// How long an answer is held back.
const HOLD: Duration = Duration::from_secs(1);
/// So many are held back at the same time; more are answered at once.
const HELD_MAX: usize = 256;

type Limiter = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, Passed, NoOpMiddleware<Nanos>>;

/// The limits of all sources.
#[derive(Debug)]
pub(super) struct Sources {
    sign_ins: Option<Limiter>,
    links: Option<Limiter>,
    clock: Passed,
    places: Semaphore,
}

impl Sources {
    pub(super) fn new(budgets: Budgets, clock: Arc<dyn Clock>) -> Self {
        let clock = Passed::new(clock);
        let limiter = |a_minute| {
            let quota = Quota::per_minute(NonZeroU32::new(a_minute)?);
            Some(RateLimiter::new(quota, DashMapStateStore::default(), clock.clone()))
        };
        Self {
            sign_ins: limiter(budgets.failed_sign_ins_a_minute),
            links: limiter(budgets.link_pages_a_minute),
            clock: clock.clone(),
            places: Semaphore::new(HELD_MAX),
        }
    }

    /// Counts a sign-in that failed, and gives its problem back: one to be held back, if there were too many.
    pub(super) fn failed(&self, source: Option<Source>, problem: Problem) -> Problem {
        let Some(source) = source else { return problem };
        metrics::counter!("stoppress_sign_ins_failed_total").increment(1);
        match self.wait(self.sign_ins.as_ref(), source) {
            None => {
                tracing::info!(%source, "a sign-in failed");
                problem
            }
            // Not in the log any more: it could be filled that way.
            Some(seconds) => problem.retry_after(seconds).held_back(),
        }
    }

    /// Counts a look at a page behind a link; in how many seconds to come again, if there were too many.
    pub(super) fn link_page(&self, source: Option<Source>) -> Option<u64> {
        self.wait(self.links.as_ref(), source?)
    }

    fn wait(&self, limiter: Option<&Limiter>, source: Source) -> Option<u64> {
        let until = limiter?.check_key(&source.network()).err()?;
        let wait = until.wait_time_from(self.clock.now());
        Some(u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(1).max(1))
    }

    /// Returns when a problem may be told. Nothing that others wait for may be held meanwhile.
    pub(super) async fn hold(&self, problem: &Problem) {
        if problem.is_held_back()
            && let Ok(_place) = self.places.try_acquire()
        {
            pause().await;
        }
    }

    /// Forgets sources that have not been heard of for a while.
    pub(super) fn forget(&self) {
        for limiter in self.sign_ins.iter().chain(&self.links) {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "slows a stranger down; no decision depends on it")]
async fn pause() {
    tokio::time::sleep(HOLD).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::auth::unauthenticated;
    use crate::clock::ManualClock;

    fn from(address: &str) -> Source {
        Source::of(address.parse().unwrap(), std::iter::empty(), &[])
    }

    #[test]
    fn a_flood_from_one_source_does_not_touch_another() {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_000_000).unwrap());
        let sources = Sources::new(Budgets::default(), Arc::new(clock.clone()));
        let at_once = |source| {
            (0..1_000).take_while(|_| !sources.failed(source, unauthenticated()).is_held_back()).count()
        };
        assert_eq!(at_once(Some(from("198.51.100.1"))), 10);
        assert_eq!(at_once(Some(from("198.51.100.1"))), 0);
        assert_eq!(at_once(Some(from("198.51.100.2"))), 10);
        assert_eq!(at_once(Some(from("2001:db8::1"))), 10);
        assert_eq!(at_once(Some(from("2001:db8::2"))), 0, "the same household");
        let pages = |source| (0..1_000).take_while(|_| sources.link_page(source).is_none()).count();
        assert_eq!(
            (pages(Some(from("198.51.100.1"))), pages(Some(from("198.51.100.2")))),
            (10, 10),
            "a budget of its own"
        );
        assert_eq!(sources.link_page(Some(from("198.51.100.1"))), Some(6));
        clock.advance(Duration::from_secs(30));
        sources.forget();
        assert_eq!((at_once(Some(from("198.51.100.1"))), pages(Some(from("198.51.100.1")))), (5, 5));
        clock.advance(Duration::from_mins(2));
        sources.forget();
        assert!(sources.sign_ins.as_ref().is_some_and(RateLimiter::is_empty), "all are forgotten");
        assert_eq!(at_once(Some(from("198.51.100.1"))), 10);
        assert_eq!(at_once(None), 1_000, "who comes from nowhere is ours");
    }
}
