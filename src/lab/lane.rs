//! The lane to one lab: how many calls at a time, how many in a time, and none to a lab that is down.
//!
//! A lane only says when; work that has to wait stays in the database. Stops come first: one call
//! of at least two is kept for them, and where a stop found the lane full, other work gives way
//! until it has been through.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};

use super::Reply;
use crate::domain::batch::later;
use crate::domain::health::{Heard, LaneHealth};
use crate::domain::lab::{Profile, Rate};
use crate::domain::retry::{Breaker, Gate, OPEN_MIN, lies_ahead};

/// The longest rest that a lab can ask for.
const REST_MAX: Duration = Duration::from_hours(1);
/// How long other work gives way to a stop that found the lane full and never came back.
const GIVE_WAY: SignedDuration = SignedDuration::from_secs(60);

/// How soon a full lane is worth asking again. Its permits may be with a claim that finds nothing to call for.
pub const FULL: SignedDuration = SignedDuration::from_millis(200);

/// How soon a question beside hand-overs is worth asking again while another call tries.
const PROBED: SignedDuration = SignedDuration::from_secs(1);

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Handing a transfer over.
    Upload,
    /// Asking for a stop.
    Stop,
    /// Sending an order ahead, or taking it back: only at a lab that answers.
    Ahead,
    /// Asking for something else about an order that it has. It may try a lab that did not speak, because perhaps nothing
    /// else is asked there any more; that it gets no answer says nothing of hand-overs, and for a while only they and stops
    /// try.
    Beside,
}

/// What a lane gave.
#[derive(Debug)]
pub struct Taken {
    /// One a call, at most as many as were wanted.
    pub permits: Vec<Permit>,
    /// If fewer than wanted: when it is worth asking again. `None` then means: when a permit of
    /// this lane comes back, which nobody is told; [`FULL`] is soon enough.
    pub wait_until: Option<Timestamp>,
}

/// The limiter's clock: it shows what the lane was told, as time since the lane was made.
#[derive(Debug, Clone, Default)]
struct Fed(Arc<AtomicU64>);

impl GovernorClock for Fed {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Fed, NoOpMiddleware<Nanos>>;

#[derive(Debug)]
struct State {
    in_flight: u32,
    in_flight_stops: u32,
    breaker: Breaker,
    resting_until: Option<Timestamp>,
    /// How long that was to take.
    rest: SignedDuration,
    /// Until when other work gives way, because a stop found no place.
    giving_way_until: Option<Timestamp>,
    /// When the lane last closed or opened.
    turned_at: Option<Timestamp>,
    last_answer: Option<Heard>,
    last_failure: Option<Heard>,
    /// How many calls at a time the lab itself allows now, if it says.
    window: Option<u32>,
    seen: Option<Timestamp>,
    /// Until when the limiter's clock pays for what was drawn, and how many of the draws made no call.
    drawn_until: Nanos,
    spare: u32,
    /// Until when it is not looked again for what has waited too long.
    looked_until: Option<Timestamp>,
    /// Until when no question beside hand-overs tries: the last one that did had no answer.
    beside_until: Option<Timestamp>,
    /// How long a hand-over takes here: the longest of late.
    pace: Option<SignedDuration>,
}

#[derive(Debug)]
struct Shared {
    concurrency: u32,
    limiter: Option<Limiter>,
    /// How far apart the limiter spreads calls.
    spread: Nanos,
    fed: Fed,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters stay whole whatever a panicking holder did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self, state: &State) -> u32 {
        state.window.map_or(self.concurrency, |window| self.concurrency.min(window))
    }
}

/// The lane to one lab. Clones share it.
#[derive(Debug, Clone)]
pub struct Lane(Arc<Shared>);

/// The right to make one call. Dropping it gives the place back.
#[derive(Debug)]
#[must_use = "a permit that is dropped makes no call"]
pub struct Permit {
    shared: Arc<Shared>,
    kind: Kind,
    /// Whether it is the one call that tries, and has not been told how that ended.
    tries: bool,
    /// Whether the call was made.
    made: bool,
}

impl Permit {
    /// Tells how the call ended, and gives the place back.
    pub fn done(mut self, now: Timestamp, reply: &Reply) {
        (self.tries, self.made) = (false, true);
        let mut state = self.shared.state();
        let (spoke, was) = (reply.answer.spoke(), state.is_closed(now));
        state.breaker.after(now, spoke);
        let heard = Some(Heard { answer: reply.answer.word(), at: now });
        state.last_answer = heard;
        if !spoke {
            state.last_failure = heard;
        }
        if let Some(rest) = reply.retry_after {
            let rest = SignedDuration::try_from(rest.min(REST_MAX)).unwrap_or_default();
            if state.rests_until(now).is_none_or(|until| until < later(now, rest)) {
                (state.resting_until, state.rest) = (Some(later(now, rest)), rest);
            }
        }
        state.turns(was, now);
    }

    /// The same for a question beside the hand-over. That the lab does not answer it says nothing of the rest, unless
    /// it was the call that tries for a hand-over or a stop.
    pub fn asked(self, now: Timestamp, reply: &Reply) {
        let beside = self.kind == Kind::Beside;
        if reply.answer.spoke() || reply.retry_after.is_some() || (self.tries && !beside) {
            self.done(now, reply);
            return;
        }
        if self.tries {
            // The next to try is a hand-over or a stop.
            self.shared.state().beside_until = Some(later(now, OPEN_MIN));
        }
        self.called();
    }

    /// The call was made, and says nothing of the lab. One that is dropped without a word was not made, and its share of
    /// the rate goes to another.
    pub fn called(mut self) {
        self.made = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if self.kind == Kind::Stop {
            state.in_flight_stops = state.in_flight_stops.saturating_sub(1);
        }
        if self.tries {
            state.breaker.not_tried();
        }
        if !self.made {
            state.spare += 1;
        }
    }
}

impl Lane {
    /// A lane that keeps to a lab's profile.
    #[must_use]
    pub fn new(profile: &Profile) -> Self {
        let fed = Fed::default();
        let quota = profile.rate.and_then(quota);
        let limiter = quota.map(|quota| RateLimiter::direct_with_clock(quota, fed.clone()));
        Self(Arc::new(Shared {
            concurrency: profile.concurrency.max(1),
            limiter,
            spread: quota.map_or(Nanos::new(0), |quota| quota.replenish_interval().into()),
            fed,
            state: Mutex::new(State {
                in_flight: 0,
                in_flight_stops: 0,
                breaker: Breaker::default(),
                resting_until: None,
                rest: SignedDuration::ZERO,
                giving_way_until: None,
                turned_at: None,
                last_answer: None,
                last_failure: None,
                window: None,
                seen: None,
                drawn_until: Nanos::new(0),
                spare: 0,
                looked_until: None,
                beside_until: None,
                pace: None,
            }),
        }))
    }

    /// Up to `want` permits for calls that begin at once.
    #[must_use]
    pub fn take(&self, now: Timestamp, want: usize, kind: Kind) -> Taken {
        let mut state = self.0.state();
        self.feed(&mut state, now);
        let none = |wait_until| Taken { permits: Vec::new(), wait_until };
        if want == 0 {
            return none(None);
        }
        if let Some(until) = state.breaker.waits_until(now).max(state.rests_until(now)) {
            return none(Some(until));
        }
        if kind != Kind::Stop && state.gives_way(now) {
            return none(None);
        }
        if kind == Kind::Ahead && state.breaker.open_until().is_some() {
            return none(Some(later(now, OPEN_MIN)));
        }
        if kind == Kind::Beside
            && state.breaker.open_until().is_some()
            && let Some(until) = state.beside_until.filter(|until| lies_ahead(now, *until, OPEN_MIN))
        {
            return none(Some(until));
        }
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        let mut room = want.min(self.room(&state, kind));
        if state.breaker.open_until().is_some() {
            // Its time is over: one call may try.
            room = room.min(1);
        }
        // The rate before the breaker: a probe that the breaker grants must be made.
        let (granted, mut wait_until) = self.within_rate(&mut state, now, room);
        let mut permits = Vec::with_capacity(granted as usize);
        if granted > 0 {
            let tries = match state.breaker.before(now) {
                Gate::Go => false,
                Gate::Probe => true,
                gate @ (Gate::Wait(_) | Gate::Probing) => {
                    state.spare += granted;
                    if kind == Kind::Stop {
                        state.giving_way_until = Some(later(now, GIVE_WAY));
                    }
                    return none(match gate {
                        Gate::Wait(until) => Some(until),
                        _ => (kind == Kind::Beside).then(|| later(now, PROBED)),
                    });
                }
            };
            for _ in 0..granted {
                state.in_flight += 1;
                state.in_flight_stops += u32::from(kind == Kind::Stop);
                permits.push(Permit { shared: Arc::clone(&self.0), kind, tries, made: false });
            }
        }
        if granted == want {
            wait_until = None;
        }
        if kind == Kind::Stop {
            let found = !permits.is_empty();
            state.giving_way_until = (!found).then(|| later(now, GIVE_WAY));
        }
        Taken { permits, wait_until }
    }

    /// Takes what the lab itself allows at a time, where it says: the lane keeps to the smaller number.
    pub fn keep_to(&self, window: Option<u32>) {
        self.0.state().window = window;
    }

    /// The lab has come by itself: it is there again, whatever calls said before. If it asked to be left
    /// alone, that still holds.
    pub fn is_back(&self, now: Timestamp) {
        let mut state = self.0.state();
        let was = state.is_closed(now);
        state.breaker = Breaker::default();
        state.turns(was, now);
    }

    /// Whether it is time to look for what has waited too long for a lab that rests; the next time at `next`, which is at
    /// most so far away.
    #[must_use]
    pub fn looks(&self, now: Timestamp, next: Timestamp, most: SignedDuration) -> bool {
        let mut state = self.0.state();
        let looked = state.looked_until.is_some_and(|until| lies_ahead(now, until, most));
        if !looked {
            state.looked_until = Some(next.min(later(now, most)));
        }
        !looked
    }

    /// Notes how long a hand-over took.
    pub fn took(&self, long: SignedDuration) {
        let mut state = self.0.state();
        let known = state.pace.unwrap_or(long);
        state.pace = Some(if long >= known { long } else { known - (known - long) / 8 });
    }

    /// How long a hand-over takes here, `None` before the first.
    #[must_use]
    pub fn pace(&self) -> Option<SignedDuration> {
        self.0.state().pace
    }

    /// Whether hand-overs wait for a stop.
    #[must_use]
    pub fn gives_way(&self, now: Timestamp) -> bool {
        self.0.state().gives_way(now)
    }

    /// How the lane stands.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> LaneHealth {
        let state = self.0.state();
        let closed = state.is_closed(now);
        // A rest ends by itself: nobody was there to note it.
        let rested = state.resting_until.filter(|until| !closed && *until <= now);
        LaneHealth {
            in_flight: state.in_flight,
            concurrency: self.0.places(&state),
            since: state.turned_at.max(rested),
            closed_until: state.breaker.open_until().max(state.rests_until(now)).filter(|_| closed),
            last_answer: state.last_answer,
            last_failure: state.last_failure,
        }
    }

    /// Whether no call is made now, or only one that tries.
    #[must_use]
    pub fn is_closed(&self, now: Timestamp) -> bool {
        self.0.state().is_closed(now)
    }

    /// How many of `room` calls the rate allows now, and when it allows the next.
    fn within_rate(&self, state: &mut State, now: Timestamp, room: u32) -> (u32, Option<Timestamp>) {
        let Some(limiter) = &self.0.limiter else { return (room, None) };
        let fed = self.0.fed.now();
        // A draw that made no call is worth what the limiter still waits for because of it, and no more: as if it had
        // never been.
        let unpaid = state.drawn_until.saturating_sub(fed).as_u64() / self.0.spread.as_u64().max(1);
        state.spare = state.spare.min(u32::try_from(unpaid).unwrap_or(u32::MAX));
        let again = room.min(state.spare);
        state.spare -= again;
        for granted in again..room {
            if let Err(not_until) = limiter.check() {
                // Whole microseconds, upwards: asking again then must succeed.
                let wait = not_until.wait_time_from(fed);
                let wait = i64::try_from(wait.as_nanos().div_ceil(1000)).unwrap_or(i64::MAX);
                return (granted, Some(later(now, SignedDuration::from_micros(wait))));
            }
            state.drawn_until = state.drawn_until.max(fed) + self.0.spread;
        }
        (room, None)
    }

    /// How many more calls of a kind fit. Of two or more places, one is only for stops.
    fn room(&self, state: &State, kind: Kind) -> u32 {
        let places = self.0.places(state);
        let free = places.saturating_sub(state.in_flight);
        let kept = u32::from(places >= 2 && state.in_flight_stops == 0);
        if kind == Kind::Stop { free } else { free.saturating_sub(kept) }
    }

    /// Moves the limiter's clock by what has passed since the last call. A clock that was set back
    /// stands still for once, instead of stopping the lane until it has caught up.
    fn feed(&self, state: &mut State, now: Timestamp) {
        if let Some(passed) =
            state.seen.map(|seen| now.duration_since(seen)).filter(SignedDuration::is_positive)
        {
            let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX / 4);
            self.0.fed.0.fetch_add(nanos, Ordering::Relaxed);
        }
        state.seen = Some(now);
    }
}

impl State {
    /// Until when the lab asked to be left alone, if that is not over.
    fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.resting_until.filter(|until| lies_ahead(now, *until, self.rest))
    }

    fn gives_way(&self, now: Timestamp) -> bool {
        self.giving_way_until.is_some_and(|until| lies_ahead(now, until, GIVE_WAY))
    }

    /// Whether no call is made, or only one that tries.
    fn is_closed(&self, now: Timestamp) -> bool {
        self.breaker.open_until().is_some() || self.rests_until(now).is_some()
    }

    /// Notes that the lane closed or opened, if it did.
    fn turns(&mut self, was_closed: bool, now: Timestamp) {
        if self.is_closed(now) != was_closed {
            self.turned_at = Some(now);
        }
    }
}

/// The quota that keeps a rate strictly: in no stretch of its length more calls than it says. A
/// tenth may come at once; the rest is spread, so that bursts and refill together stay inside.
fn quota(rate: Rate) -> Option<Quota> {
    let burst = (rate.calls / 10).max(1);
    let spread = rate.calls - burst + 1;
    let nanos = (u64::from(rate.seconds) * 1_000_000_000).div_ceil(u64::from(spread));
    Quota::with_period(Duration::from_nanos(nanos))
        .map(|quota| quota.allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN)))
}
