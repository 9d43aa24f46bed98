//! The log as it grows, read once for everybody who listens at this gateway.
//!
//! One reader looks while anybody listens: as soon as something was committed here, and every quarter of a
//! second for what other gateways commit. It keeps the newest entries at hand, without gaps and in the order
//! of the log. Every [`Listener`] has a cursor of its own, takes what its scope may see, and is never waited for:
//! one that falls behind what is at hand reads from the store, from its cursor on, until it has caught up.
//! So 200 who listen to nothing cost one look at the log, and not 200.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::batch::later;
use crate::store::{Error, Result, Scope, Sighting, Store, Stretch};

/// How often the log is looked at while nothing is committed here.
const EVERY: SignedDuration = SignedDuration::from_millis(250);
/// How long the reader rests between two looks, however much is committed.
const REST: Duration = Duration::from_millis(20);
/// How many entries are read in one go.
const STRETCH: i64 = 200;
/// How many entries are kept at hand, at most.
const HELD_MAX: usize = 1_024;
/// How many orders the entries at hand may name together: a transfer carries hundreds.
const ORDERS_MAX: usize = 16_384;

/// Counts looks at the log for those who listen.
pub(super) const READS: &str = "stoppress_log_reads_total";

/// The log as it grows. Clones are the same one.
#[derive(Debug, Clone)]
pub(in crate::api) struct Tail(Arc<Inner>);

/// See [`Tail`].
#[derive(Debug)]
pub(in crate::api) struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    end: CancellationToken,
    desk: Mutex<Desk>,
    /// Moves whenever those who listen have something to look at.
    turns: watch::Sender<u64>,
    reads: AtomicU64,
}

impl Deref for Tail {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

#[derive(Debug, Default)]
struct Desk {
    listeners: usize,
    /// The number of the reader that runs.
    reader: Option<u64>,
    readers: u64,
    held: Held,
}

/// The newest entries.
#[derive(Debug, Default)]
struct Held {
    /// They are those behind this number, up to that one; none while no reader has begun.
    span: Option<(i64, i64)>,
    entries: VecDeque<Arc<Sighting>>,
    /// How many orders they name.
    orders: usize,
    /// Why the reader's last look failed.
    failed: Option<Error>,
}

impl Held {
    fn take(&mut self, stretch: Stretch) {
        let (mut from, _) = self.span.unwrap_or((stretch.seen, stretch.seen));
        for sighting in stretch.events {
            self.orders += sighting.orders.len();
            self.entries.push_back(Arc::new(sighting));
            while self.entries.len() > HELD_MAX || (self.orders > ORDERS_MAX && self.entries.len() > 1) {
                let Some(oldest) = self.entries.pop_front() else { break };
                self.orders -= oldest.orders.len();
                from = oldest.event.seq;
            }
        }
        self.span = Some((from, stretch.seen));
    }
}

impl Tail {
    pub(in crate::api) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, end: CancellationToken) -> Self {
        let (desk, turns, reads) = (Mutex::default(), watch::Sender::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { store, clock, end, desk, turns, reads }))
    }

    /// Listens to what a scope may see behind a number of the log: 0 is before its beginning.
    pub(in crate::api) fn listen(&self, scope: Scope, after: i64) -> Listener {
        let turns = self.turns.subscribe();
        self.desk().listeners += 1;
        self.read();
        let filter = Filter { scope, kinds: &[] };
        Listener { tail: self.clone(), filter, cursor: after, turns }
    }

    /// Listens to what happens from now on.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(in crate::api) async fn listen_from_now(&self, scope: Scope) -> Result<Listener> {
        let end = self.store.log_end().await?;
        Ok(self.listen(scope, end))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a reader at work, if there is none and somebody listens.
    fn read(&self) {
        let mut desk = self.desk();
        if desk.reader.is_some() || desk.listeners == 0 || self.end.is_cancelled() {
            return;
        }
        desk.readers += 1;
        let number = desk.readers;
        desk.reader = Some(number);
        drop(desk);
        let reader = Reader { tail: self.clone(), number };
        tokio::spawn(async move { reader.read_on().await });
    }

    /// What is at hand behind a cursor, if the cursor is near enough.
    fn at_hand(&self, filter: &Filter, cursor: i64, limit: i64) -> Result<Option<Stretch>> {
        let desk = self.desk();
        let Some((_, until)) = desk.held.span.filter(|(from, _)| *from <= cursor) else { return Ok(None) };
        let first = desk.held.entries.partition_point(|entry| entry.event.seq <= cursor);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let entries: Vec<Arc<Sighting>> = desk.held.entries.iter().skip(first).take(limit).cloned().collect();
        if entries.is_empty()
            && let Some(error) = &desk.held.failed
        {
            return Err(error.clone());
        }
        let all = first + entries.len() == desk.held.entries.len();
        drop(desk);
        let seen = if all { Some(until) } else { entries.last().map(|entry| entry.event.seq) };
        let events = entries.iter().filter_map(|entry| filter.of(entry)).collect();
        Ok(Some(Stretch { events, seen: seen.unwrap_or(cursor).max(cursor) }))
    }
}

/// What one listens to.
#[derive(Debug)]
struct Filter {
    scope: Scope,
    /// Kinds of entries; all where there are none.
    kinds: &'static [&'static str],
}

impl Filter {
    fn takes(&self, entry: &Sighting) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&entry.event.kind.as_str())
    }

    fn of(&self, entry: &Sighting) -> Option<Sighting> {
        if self.takes(entry) { entry.within(&self.scope) } else { None }
    }
}

/// One who listens.
#[derive(Debug)]
pub(in crate::api) struct Listener {
    tail: Tail,
    filter: Filter,
    cursor: i64,
    turns: watch::Receiver<u64>,
}

impl Listener {
    /// Listens to entries of these kinds only.
    pub(in crate::api) fn only(mut self, kinds: &'static [&'static str]) -> Self {
        self.filter.kinds = kinds;
        self
    }

    /// Up to which number of the log was listened: whoever listens behind it goes on here.
    pub(in crate::api) fn cursor(&self) -> i64 {
        self.cursor
    }

    /// What there is behind the cursor, which moves on by it. Nothing new: an empty stretch, at once. At most
    /// `limit` entries are looked at, seen or not.
    ///
    /// # Errors
    /// If the store does not answer; the cursor has not moved.
    pub(in crate::api) async fn take(&mut self, limit: i64) -> Result<Stretch> {
        // Before the look: what is told from here on ends the next wait.
        self.turns.borrow_and_update();
        let stretch = if let Some(stretch) = self.tail.at_hand(&self.filter, self.cursor, limit)? {
            stretch
        } else {
            let mut read = self.tail.store.stretch(&self.filter.scope, self.cursor, limit).await?;
            read.events.retain(|entry| self.filter.takes(entry));
            read
        };
        self.cursor = stretch.seen;
        Ok(stretch)
    }

    /// Goes to the end of the log if what comes next is not at hand, without reading what is between; gives
    /// whether it did.
    ///
    /// # Errors
    /// If the store does not answer; the cursor has not moved.
    pub(in crate::api) async fn leap(&mut self) -> Result<bool> {
        if self.tail.desk().held.span.is_some_and(|(from, _)| from <= self.cursor) {
            return Ok(false);
        }
        self.cursor = self.tail.store.log_end().await?.max(self.cursor);
        Ok(true)
    }

    /// Waits until there may be something new since the last [`Listener::take`].
    pub(in crate::api) async fn more(&mut self) {
        self.tail.read();
        // The sender is part of the tail, which is held here.
        let _ = self.turns.changed().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tail.desk().listeners -= 1;
    }
}

/// The one who looks.
struct Reader {
    tail: Tail,
    number: u64,
}

impl Reader {
    async fn read_on(self) {
        let tail = &self.tail;
        let mut commits = tail.store.commits();
        let mut cursor = None;
        loop {
            commits.borrow_and_update();
            tail.reads.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(READS).increment(1);
            let read = match cursor {
                Some(cursor) => tail.store.stretch(&Scope::Ops, cursor, STRETCH).await,
                None => tail.store.log_end().await.map(|seen| Stretch { events: Vec::new(), seen }),
            };
            let begins = cursor.is_none();
            let full = read.as_ref().is_ok_and(|stretch| stretch.events.len() >= STRETCH as usize);
            cursor = read.as_ref().map_or(cursor, |stretch| Some(stretch.seen));
            if !self.tell(read, begins) {
                return;
            }
            if full {
                continue;
            }
            let next = later(tail.clock.now(), EVERY);
            tokio::select! {
                () = tail.end.cancelled() => return,
                () = async {
                    rest().await;
                    let _ = commits.changed().await;
                } => {}
                () = tail.clock.sleep_until(next) => {}
            }
        }
    }

    /// Puts what was read where it is at hand. False if nobody listens any more: the reader has ended.
    fn tell(&self, read: Result<Stretch>, begins: bool) -> bool {
        let mut desk = self.tail.desk();
        if desk.listeners == 0 || desk.reader != Some(self.number) {
            return false;
        }
        let before = desk.held.span.map(|(_, until)| until);
        let failed = desk.held.failed.take().is_some();
        match read {
            Ok(stretch) => desk.held.take(stretch),
            Err(error) => desk.held.failed = Some(error),
        }
        let news = begins
            || failed
            || desk.held.failed.is_some()
            || desk.held.span.map(|(_, until)| until) != before;
        drop(desk);
        if news {
            self.tail.turns.send_modify(|turns| *turns += 1);
        }
        true
    }
}

impl Drop for Reader {
    /// However it ended: what is at hand ages from here on, and whoever listens begins another.
    fn drop(&mut self) {
        let mut desk = self.tail.desk();
        if desk.reader == Some(self.number) {
            desk.reader = None;
            desk.held = Held::default();
        }
        drop(desk);
        self.tail.turns.send_modify(|turns| *turns += 1);
    }
}

#[expect(clippy::disallowed_methods, reason = "paces reading; no decision depends on it")]
async fn rest() {
    tokio::time::sleep(REST).await;
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
