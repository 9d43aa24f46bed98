//! Tells endpoints what happens. The log is the outbox: an endpoint has a cursor over it, and nothing is written
//! when an order is admitted.
//!
//! For each endpoint that something concerns, a courier ([`courier`]) takes it under a lease, writes down up to
//! where the log will be sent, sends, and writes down what came of it, many messages in one transaction. What was
//! not taken becomes a row with a time of its own, and what comes later about the same order waits behind it; all
//! else goes on. An endpoint that fails again and again is left alone for a while: then nothing is written for it,
//! and the log waits. Whoever dies in the middle has its stretch sent once more by the next: every message at least
//! once, and those about one order in the log's order.
//!
//! Endpoints wait for nobody but themselves: those that were slow or failed last share places of their own.

mod courier;
mod line;
mod pages;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use self::courier::Courier;
use self::pages::Pages;
use super::{Bench, Step};
use crate::domain::batch::later;
use crate::domain::ids::WebhookId;
use crate::lab::webhook::SharedPoster;
use crate::store::{Result, SkipWebhook, WebhookFilter, WebhookRow, Write, one};

/// The loop's name.
pub const NAME: &str = "tell";
/// How long a claim of an endpoint holds.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// Calls under way to endpoints that answer, and to those that were slow or failed last.
const QUICK: usize = 256;
/// See [`QUICK`].
const SLOW: usize = 64;
/// How soon the endpoints are read again, where other gateways may have changed them, and where none can.
const REFRESH: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(5), SignedDuration::from_hours(1));
/// How soon other gateways' entries are looked for: no commit of theirs is heard here.
const SHARED_POLL: SignedDuration = SignedDuration::from_millis(300);
/// How soon an endpoint is tried again that another gateway has.
const TAKEN: SignedDuration = SignedDuration::from_secs(5);
/// Pages that are looked through for an endpoint before a courier goes on with it.
const LOOK_MAX: usize = 4;
/// How far a cursor may be behind where it could be. Less than what ops are told is behind: an endpoint that nothing
/// concerns does well.
const SKIP_MIN: i64 = 512;
/// Endpoints that are read at a time.
const LIST: i64 = 1_000;
/// The least time between two looks at the log.
const REST: Duration = Duration::from_millis(5);

/// What is known here of an endpoint.
#[derive(Debug)]
struct Entry {
    row: Arc<WebhookRow>,
    /// Nothing up to here concerns it.
    scanned: i64,
    /// Whether a courier is under way.
    running: bool,
    /// Whether it was read anew while a courier was under way.
    missed: bool,
    /// Not to be taken before.
    not_before: Option<Timestamp>,
}

/// What all couriers share.
#[derive(Debug)]
struct Desk {
    bench: Bench,
    poster: SharedPoster,
    pages: Pages,
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    entries: Mutex<BTreeMap<WebhookId, Entry>>,
    /// When the endpoints are to be read again.
    read_at: Mutex<Timestamp>,
    /// Whether any endpoint is to be told anything.
    listens: AtomicBool,
}

/// The loop that tells endpoints what happens.
#[derive(Debug, Clone)]
pub struct Tell(Arc<Desk>);

impl Desk {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<WebhookId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_at(&self) -> MutexGuard<'_, Timestamp> {
        self.read_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tell {
    /// The loop.
    #[must_use]
    pub fn new(bench: Bench, poster: SharedPoster) -> Self {
        let pages = Pages::new(Arc::clone(&bench.store));
        Self(Arc::new(Desk {
            bench,
            poster,
            pages,
            quick: Arc::new(Semaphore::new(QUICK)),
            slow: Arc::new(Semaphore::new(SLOW)),
            entries: Mutex::default(),
            read_at: Mutex::new(Timestamp::MIN),
            listens: AtomicBool::new(false),
        }))
    }

    /// Somebody changed an endpoint: they are read again at the next tick.
    pub fn stale(&self) {
        *self.0.read_at() = Timestamp::MIN;
    }

    /// Rings the loop whenever something is committed here, while any endpoint listens.
    pub async fn hear(self) {
        let desk = &self.0;
        let mut commits = desk.bench.store.commits();
        loop {
            tokio::select! {
                () = desk.bench.end.cancelled() => return,
                heard = commits.changed() => if heard.is_err() { return },
            }
            if desk.listens.load(Ordering::Relaxed) {
                desk.bench.bells.nudge(NAME);
                rest().await;
            }
        }
    }

    /// Reads the endpoints, if it is time.
    async fn refresh(&self, now: Timestamp) -> Result<()> {
        let desk = &self.0;
        if *desk.read_at() > now {
            return Ok(());
        }
        let every = if desk.bench.store.shared() { REFRESH.0 } else { REFRESH.1 };
        *desk.read_at() = later(now, every);
        let mut rows = Vec::new();
        loop {
            let after = rows.last().map(|row: &WebhookRow| row.id.clone());
            let filter = WebhookFilter { platform: None, after, limit: LIST };
            let read = desk.bench.store.webhooks(&filter).await.inspect_err(|_| self.stale())?;
            let whole = (read.len() as i64) < LIST;
            rows.extend(read);
            if whole {
                break;
            }
        }
        let mut entries = desk.entries();
        let mut before = std::mem::take(&mut *entries);
        let mut listens = false;
        for row in rows {
            listens |= row.enabled;
            let entry = match before.remove(&row.id) {
                Some(mut entry) if entry.running => {
                    entry.missed = true;
                    entry
                }
                Some(entry) if entry.row.version == row.version => Entry {
                    scanned: entry.scanned.max(row.cursor),
                    not_before: row.condition.rest_until.max(entry.not_before),
                    row: Arc::new(row),
                    ..entry
                },
                _ => Entry {
                    scanned: row.cursor,
                    running: false,
                    missed: false,
                    not_before: row.condition.rest_until,
                    row: Arc::new(row),
                },
            };
            entries.insert(entry.row.id.clone(), entry);
        }
        // What is gone stays until its courier is back.
        entries.extend(before.into_iter().filter(|(_, entry)| entry.running));
        desk.listens.store(listens, Ordering::Relaxed);
        Ok(())
    }

    /// What is to be done for an endpoint: nothing, or a courier who begins with a page that was found.
    async fn look(&self, id: &WebhookId, end: i64, now: Timestamp) -> Result<Look> {
        let (row, mut scanned, not_before) = {
            let entries = self.0.entries();
            let Some(entry) = entries.get(id).filter(|entry| !entry.running && entry.row.enabled) else {
                return Ok(Look::Nothing(None));
            };
            (Arc::clone(&entry.row), entry.scanned, entry.not_before)
        };
        let bench = &self.0.bench;
        let held = row.held.as_ref().filter(|(holder, _)| *holder != bench.holder);
        // Whoever had it is gone: what it had taken is sent once more, and not only when its time is over.
        let orphan = held.is_some_and(|(_, until)| !bench.store.shared() || *until <= now);
        let due = row.due_at.is_some_and(|due| due <= now) || row.replay.is_some() || orphan;
        let mut take = None;
        let mut fresh = false;
        for look in 0..=LOOK_MAX {
            if scanned >= end || due {
                break;
            }
            let page = if look == LOOK_MAX { None } else { self.0.pages.behind(scanned, 0).await? };
            let Some(page) = page else {
                fresh = look == LOOK_MAX;
                break;
            };
            if page.told.iter().any(|told| told.platform == row.platform && row.spec.takes(&told.kind)) {
                (fresh, take) = (true, Some((row.cursor, page.until)));
                break;
            }
            scanned = page.until;
        }
        if let Some(entry) = self.0.entries().get_mut(id).filter(|entry| entry.row.version == row.version) {
            entry.scanned = entry.scanned.max(scanned);
        }
        let wake = row.due_at.map(|due| not_before.map_or(due, |rest| rest.max(due)));
        Ok(match not_before.filter(|rest| *rest > now) {
            Some(rest) if fresh || due => Look::Nothing(Some(rest)),
            None if fresh || due => Look::Go(take),
            _ => Look::Nothing(wake.filter(|wake| *wake > now)),
        })
    }

    fn start(&self, id: &WebhookId, take: Option<(i64, i64)>) {
        if let Some(entry) = self.0.entries().get_mut(id) {
            entry.running = true;
        }
        let (tell, id, guard) = (self.clone(), id.clone(), self.0.bench.bells.call());
        let courier = Courier::new(Arc::clone(&tell.0), id.clone(), take);
        tokio::spawn(async move {
            // In a task of its own, so that a mistake of ours leaves no endpoint behind.
            let back = tokio::spawn(courier.run()).await;
            tell.back(&id, back);
            tell.0.bench.bells.nudge(NAME);
            drop(guard);
        });
    }

    /// A courier is back.
    fn back(&self, id: &WebhookId, back: std::result::Result<Result<courier::Left>, tokio::task::JoinError>) {
        let now = self.0.bench.clock.now();
        let left = match back {
            Ok(Ok(left)) => Some(left),
            Ok(Err(error)) => {
                tracing::warn!(webhook = %id, %error, "an endpoint could not be told; it goes on soon");
                None
            }
            Err(error) => {
                tracing::error!(webhook = %id, %error, "telling an endpoint ended by a mistake of ours; it goes on soon");
                metrics::counter!("stoppress_loop_failures_total", "loop" => NAME).increment(1);
                None
            }
        };
        let mut entries = self.0.entries();
        let Some(entry) = entries.get_mut(id) else { return };
        entry.running = false;
        let missed = std::mem::take(&mut entry.missed);
        match left {
            Some(left) => {
                let row = Arc::make_mut(&mut entry.row);
                (row.cursor, row.due_at, row.replay, row.held) =
                    (left.cursor, left.due_at, left.replay, None);
                entry.scanned = left.cursor;
                entry.not_before = left.not_before;
                if !missed && left.version == entry.row.version {
                    return;
                }
            }
            None => entry.not_before = Some(later(now, SignedDuration::from_secs(1))),
        }
        drop(entries);
        self.stale();
    }

    /// Writes down how far the cursors of those could be whom nothing concerns.
    async fn skip(&self, now: Timestamp) -> Result<()> {
        let skips: Vec<SkipWebhook> = {
            let entries = self.0.entries();
            let far = |entry: &&Entry| !entry.running && entry.scanned - entry.row.cursor >= SKIP_MIN;
            let skip = |entry: &Entry| SkipWebhook {
                id: entry.row.id.clone(),
                version: entry.row.version,
                from: entry.row.cursor,
                to: entry.scanned,
                now,
            };
            entries.values().filter(far).map(skip).collect()
        };
        if skips.is_empty() {
            return Ok(());
        }
        let moved: Vec<(WebhookId, i64)> = skips.iter().map(|skip| (skip.id.clone(), skip.to)).collect();
        one(&*self.0.bench.store, Write::SkipWebhooks(skips)).await?;
        let mut entries = self.0.entries();
        for (id, to) in moved {
            // If it was not moved there, because another gateway has it, the next claim says so.
            if let Some(entry) = entries.get_mut(&id).filter(|entry| !entry.running) {
                Arc::make_mut(&mut entry.row).cursor = to;
            }
        }
        Ok(())
    }
}

/// What is to be done for an endpoint.
enum Look {
    /// Nothing; perhaps at an instant.
    Nothing(Option<Timestamp>),
    /// A courier goes; of the log it takes what is between two numbers.
    Go(Option<(i64, i64)>),
}

impl Step for Tell {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.refresh(now).await?;
        let desk = &self.0;
        let shared = desk.bench.store.shared();
        let next = *desk.read_at();
        if !desk.listens.load(Ordering::Relaxed) || desk.bench.end.is_cancelled() {
            // Another gateway may be given an endpoint.
            return Ok(shared.then_some(next));
        }
        let end = desk.bench.store.log_end().await?;
        let ids: Vec<WebhookId> = desk.entries().keys().cloned().collect();
        let mut wake = Some(if shared { next.min(later(now, SHARED_POLL)) } else { next });
        for id in ids {
            match self.look(&id, end, now).await? {
                Look::Nothing(at) => wake = wake.into_iter().chain(at).min(),
                Look::Go(take) => self.start(&id, take),
            }
        }
        self.skip(now).await?;
        Ok(wake)
    }
}

#[expect(clippy::disallowed_methods, reason = "paces looking; no decision depends on it")]
async fn rest() {
    tokio::time::sleep(REST).await;
}
