//! Watches: answers that do not end by themselves, over gRPC and HTTP. How many a key may have, when they
//! end all the same, and what is told to those that follow the log.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::Api;
use super::auth::{Caller, unauthenticated};
use super::event_filter::EventFilter;
use super::problem::{Answer, Code, Problem};
use super::tail::Listener;
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::store::Sighting;

/// So many watches a key may have open at a gateway.
const WATCHES_MAX: usize = 32;
/// How often a watch to which nothing happens looks whether its key still holds.
const HOLDS_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// How many entries are looked at in one go.
const STRETCH: i64 = 200;
/// After how many entries of others the caller is told how far it was looked.
const TELL_AFTER: i64 = 1_000;

/// Why a stream ends with the gateway.
pub(super) fn draining() -> Problem {
    Problem::new(Code::Unavailable, "The gateway ends. Open the stream again, where you were.").retry_after(1)
}

/// The watches that are open, by key.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<Arc<str>, usize>>);

/// One watch of a key.
pub(super) struct Place {
    pub(super) api: Api,
    pub(super) caller: Caller,
}

impl Place {
    /// Takes one of the caller's places, given back when it is dropped.
    ///
    /// # Errors
    /// If the caller has no more.
    pub(super) fn take(api: &Api, caller: Caller) -> Answer<Self> {
        let mut open = api.watches.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(Arc::clone(&caller.key)).or_default();
        if *count >= WATCHES_MAX {
            let text = format!("The key has {WATCHES_MAX} watches open; it may have no more.");
            return Err(Problem::new(Code::RateLimited, text).retry_after(60));
        }
        *count += 1;
        drop(open);
        Ok(Self { api: api.clone(), caller })
    }

    /// Whether the watch may go on: not when the gateway ends, nor when the key does.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_go_on(&self) -> Answer<Timestamp> {
        let now = self.api.clock.now();
        if self.api.end.is_cancelled() {
            return Err(draining());
        }
        if !self.api.keys.holds(&self.caller.key, now) {
            return Err(unauthenticated());
        }
        Ok(now)
    }

    /// Waits for something, or until an instant, or until [`Place::may_go_on`] is to be asked again.
    pub(super) async fn wait(&self, until: Option<Timestamp>, something: impl Future<Output = ()>) {
        let ask = later(self.api.clock.now(), HOLDS_EVERY);
        let until = until.map_or(ask, |until| until.min(ask));
        tokio::select! {
            () = self.api.end.cancelled() => {}
            () = something => {}
            () = self.api.clock.sleep_until(until) => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.api.watches.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.caller.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller.key);
            }
        }
    }
}

/// Where a watch of the log begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begin {
    /// Behind this number; 0 is before the beginning.
    Behind(i64),
    /// Now. It is told at once where that is, so that it can be resumed even if nothing happens.
    Now,
}

/// What is told to one who watches the log: something that happened, or only how far was looked.
pub(super) struct Told {
    /// What happened, as the caller may see it.
    pub(super) sighting: Option<Sighting>,
    /// Where to go on.
    pub(super) cursor: i64,
}

/// The log, watched by one caller: in order and without gaps.
///
/// The log itself is what is resumed from, so a watch keeps nothing: whoever opens it again at any replica goes
/// on behind the last number.
pub(super) struct Watch {
    place: Place,
    filter: EventFilter,
    listener: Listener,
    /// How far the caller knows.
    told: i64,
    held: VecDeque<Told>,
}

impl Watch {
    /// Opens one.
    ///
    /// # Errors
    /// If the number is none, or the store does not answer.
    pub(super) async fn open(place: Place, from: Begin, filter: EventFilter) -> Answer<Self> {
        let (scope, tail) = (place.caller.scope.clone(), &place.api.tail);
        let mut held = VecDeque::new();
        let listener = match from {
            Begin::Behind(after) => tail.listen(scope, checked(after)?),
            Begin::Now => {
                let listener = tail.listen_from_now(scope).await?;
                held.push_back(Told { sighting: None, cursor: listener.cursor() });
                listener
            }
        };
        Ok(Self { told: listener.cursor(), place, filter, listener, held })
    }

    /// Waits so long.
    pub(super) fn later(&self, wait: SignedDuration) -> impl Future<Output = ()> + use<> {
        let clock = Arc::clone(&self.place.api.clock);
        async move { clock.sleep_until(later(clock.now(), wait)).await }
    }

    /// What is told next. It waits until there is something; whoever does not wait for it to the end loses
    /// nothing.
    ///
    /// # Errors
    /// Why the watch ends.
    pub(super) async fn next(&mut self) -> Answer<Told> {
        loop {
            self.place.may_go_on()?;
            if let Some(told) = self.held.pop_front() {
                self.told = told.cursor;
                return Ok(told);
            }
            let before = self.listener.cursor();
            let stretch = self.listener.take(STRETCH).await?;
            let wanted = stretch.events.into_iter().filter(|sighting| self.filter.takes(sighting));
            self.held.extend(wanted.map(|sighting| {
                let cursor = sighting.event.seq;
                Told { sighting: Some(sighting), cursor }
            }));
            if self.held.is_empty() && stretch.seen - self.told >= TELL_AFTER {
                self.held.push_back(Told { sighting: None, cursor: stretch.seen });
            }
            if stretch.seen == before {
                self.place.wait(None, self.listener.more()).await;
            }
        }
    }
}

/// A number of the log that was named by a caller.
///
/// # Errors
/// If it is negative.
pub(super) fn checked(after: i64) -> Answer<i64> {
    if after < 0 { Err(Fault::not("after", after, "a whole number from 0").into()) } else { Ok(after) }
}
