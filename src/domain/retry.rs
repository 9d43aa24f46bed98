//! When to try again: back-off with full jitter, and a breaker that delays and never drops.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};

use crate::clock::Random;

/// The first delay, and the shortest ceiling.
pub const DELAY_MIN: Duration = Duration::from_secs(1);
/// The longest delay.
pub const DELAY_MAX: Duration = Duration::from_mins(5);

/// How long to wait after failure number `attempt` (1 is the first): a random time up to
/// 1 s, 2 s, 4 s … 5 min ("full jitter"), but not less than what the other side asked for.
#[must_use]
pub fn delay(attempt: i64, asked: Option<Duration>, random: &dyn Random) -> SignedDuration {
    let nth = usize::try_from(attempt.clamp(1, 32) - 1).unwrap_or(0);
    let ceiling = ExponentialBuilder::default()
        .with_min_delay(DELAY_MIN)
        .with_max_delay(DELAY_MAX)
        .with_factor(2.0)
        .without_max_times()
        .build()
        .nth(nth)
        .unwrap_or(DELAY_MAX);
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(1);
    let drawn = Duration::from_micros(u64::from_le_bytes(bytes) % (micros + 1));
    let longest = Duration::from_hours(1);
    let wait = drawn.max(asked.unwrap_or_default().min(longest));
    SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)
}

/// Whether a lab may be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Go,
    /// One call may try whether the lab is back.
    Probe,
    /// Not before this instant.
    Wait(Timestamp),
    /// Not before the end of the call that tries.
    Probing,
}

/// Failures in a row that open the breaker.
pub const FAILURES_MAX: u32 = 5;
/// How long it stays open at first; doubled at each failed probe.
pub const OPEN_MIN: SignedDuration = SignedDuration::from_secs(30);
/// How long it stays open at most.
pub const OPEN_MAX: SignedDuration = SignedDuration::from_mins(5);

/// How old the `now` of a loop can be that has been waiting for the database since it read its clock.
const STALE_MAX: SignedDuration = SignedDuration::from_mins(1);

/// Whether a wait that was to take so long is not over at `now`. What lies further ahead than it can was set by a clock
/// that has been set back since: it would last longer by as much, and is over.
#[must_use]
pub fn lies_ahead(now: Timestamp, until: Timestamp, long: SignedDuration) -> bool {
    now < until && until.duration_since(now) <= long + STALE_MAX
}

/// Stops calling a lab that does not speak, for a while. Nothing is dropped: work waits in the
/// database, and its deadlines keep running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    open_until: Option<Timestamp>,
    open_for: SignedDuration,
    probing: bool,
}

impl Breaker {
    /// Whether a call may be made at `now`. A [`Gate::Probe`] must be answered with
    /// [`Breaker::after`], or with [`Breaker::not_tried`].
    pub fn before(&mut self, now: Timestamp) -> Gate {
        match (self.open_until, self.waits_until(now)) {
            (None, _) => Gate::Go,
            (_, Some(until)) => Gate::Wait(until),
            _ if self.probing => Gate::Probing,
            _ => {
                self.probing = true;
                Gate::Probe
            }
        }
    }

    /// Takes the end of a call into account.
    pub fn after(&mut self, now: Timestamp, spoke: bool) {
        if spoke {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX && self.open_until.is_none() {
            return;
        }
        if self.open_until.is_none() {
            self.open_for = OPEN_MIN;
        } else if self.probing {
            self.open_for = OPEN_MAX.min(self.open_for * 2);
        } else {
            // The end of a call that had begun before the breaker opened.
            return;
        }
        self.probing = false;
        self.open_until = now.checked_add(self.open_for).ok();
    }

    /// The call that was to try was not made: the next may.
    pub fn not_tried(&mut self) {
        self.probing = false;
    }

    /// Until when no call may be made, if none may. A clock that was set back makes it no longer.
    #[must_use]
    pub fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.open_until.filter(|until| lies_ahead(now, *until, self.open_for))
    }

    /// Until when it is open, if it is.
    #[must_use]
    pub fn open_until(&self) -> Option<Timestamp> {
        self.open_until
    }
}
