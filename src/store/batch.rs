//! Group commit, without a timer: while a commit runs, callers queue; the next commit takes them all.
//!
//! If a set fails as a whole it is replayed caller by caller, so that one poisoned write hurts only
//! itself; where no connection can be had, all of them hear so at once. The same front keeps stops ahead
//! of hand-overs: a claim waits for every stop that was asked before the claim's instant (see
//! [`Store::asking`]).

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::session::Session;
use super::types::{
    ApprovalFilter, ApprovalRow, AskGuard, BatchFilter, BatchRow, BoardRows, CallbackRow, Delivery,
    DeliveryFilter, Due, EscalationFilter, EscalationRow, Evidenced, Gauges, KeyRow, LabRow, MailWanted,
    NearCutoff, OddsRow, OrderFilter, OrderRef, Place, PlatformRow, Remembered, ReportRow, RoutesRow, Scope,
    ScoreRow, SessionRow, StopFilter, Stretch, Touched, TransferOrders, TransferPage, TransferRow, Verified,
    WarnedOrder, WarnedRow, WebhookFilter, WebhookRow, Write, Written,
};
#[cfg(debug_assertions)]
use super::verbs::mistakes;
use super::verbs::{board, read, session, stretch, webhook};
use super::{AddressesDue, Error, Pending, Result, StopRow, Store};
use crate::clock::Clock;
#[cfg(debug_assertions)]
use crate::clock::HostClock;
use crate::domain::batch::BatchFacts;
use crate::domain::event::Event;
use crate::domain::extras::{ApprovalFacts, LinkState};
use crate::domain::ids::{ApprovalId, BatchId, LabId, OrderId, PlatformId, RegionId, TransferId, WebhookId};
use crate::domain::order::OrderFacts;
use crate::domain::stop::StopFacts;

/// The most writes in one transaction, unless one caller brings more.
const SET_MAX: usize = 512;
/// As many as are always taken together, if they wait.
const SET_MIN: usize = 32;
/// Callers that may wait in one lane before others wait to be let in.
const QUEUE_MAX: usize = 4096;
/// How long a claim waits at most for stops that were asked before it: a stop that takes longer is stuck,
/// and is decided by the stored phase like any other.
const ASKING_MAX: Duration = Duration::from_secs(5);

/// An engine: one set, one transaction; and connections to read on.
pub(super) trait Engine: Send + Sync + std::fmt::Debug + 'static {
    /// A connection to read on, given back when it is dropped.
    type Reader: DerefMut<Target: Session + Sized> + Send;
    /// Applies a set in one transaction.
    fn apply(&self, writes: &[Write]) -> impl Future<Output = Result<Vec<Written>>> + Send;
    /// What a set would give, and nothing of it done: for the planted mistake of who answers too soon.
    #[cfg(debug_assertions)]
    fn rehearse(&self, writes: &[Write]) -> impl Future<Output = Result<Vec<Written>>> + Send;
    /// Takes a connection to read on.
    fn reader(&self) -> impl Future<Output = Result<Self::Reader>> + Send;
    /// The number of the log below which no entry can appear any more.
    fn settled(&self, reader: &mut Self::Reader) -> impl Future<Output = Result<i64>> + Send {
        let _ = reader;
        async { Ok(i64::MAX) }
    }
    /// The same, and it waits until that is at least what was the last number when it was asked.
    fn settled_whole(&self, reader: &mut Self::Reader) -> impl Future<Output = Result<i64>> + Send {
        self.settled(reader)
    }
    /// The settings that make a commit durable.
    fn durability(&self) -> impl Future<Output = Result<Vec<(&'static str, String)>>> + Send;
    /// Flushes and lets go.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A caller's writes and where the outcomes go.
struct Unit {
    writes: Vec<Write>,
    reply: oneshot::Sender<Result<Vec<Written>>>,
}

/// An engine behind group commit.
#[derive(Debug)]
pub(super) struct Grouped<E> {
    engine: Arc<E>,
    lanes: Vec<mpsc::Sender<Unit>>,
    turn: AtomicUsize,
    gate: Arc<Gate>,
    commits: Arc<watch::Sender<u64>>,
}

impl<E: Engine> Grouped<E> {
    /// Puts group commit in front of an engine, with so many transactions side by side: 1 for SQLite, a few
    /// for PostgreSQL. Must be called within a runtime.
    ///
    /// Each lane has a thread of its own: a transaction takes a dozen turns with its connection, and as a
    /// task among others it would wait for a worker at each of them, behind every request that is ready.
    pub(super) fn new(engine: E, lanes: usize) -> Result<Self> {
        let engine = Arc::new(engine);
        let commits = Arc::new(watch::Sender::new(0));
        let lanes = (0..lanes.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::channel(QUEUE_MAX);
                let work = lane(Arc::clone(&engine), receiver, Arc::clone(&commits));
                let runtime = tokio::runtime::Handle::current();
                #[cfg(debug_assertions)]
                let planted = crate::points::Planted::here();
                std::thread::Builder::new()
                    .name("store-lane".to_owned())
                    .spawn(move || {
                        #[cfg(debug_assertions)]
                        planted.install();
                        runtime.block_on(work);
                    })
                    .map_err(|error| Error::Open(format!("cannot start a thread for the store: {error}")))?;
                Ok(sender)
            })
            .collect::<Result<_>>()?;
        Ok(Self { engine, lanes, turn: AtomicUsize::new(0), gate: Arc::default(), commits })
    }

    async fn queue(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        #[cfg(debug_assertions)]
        let writes = mistakes::on_entry(writes);
        let claim = writes.iter().find_map(|write| match write {
            Write::Claim(claim) => Some(claim.now),
            _ => None,
        });
        if let Some(now) = claim {
            self.gate.wait_for_earlier(now).await;
        }
        let (reply, answer) = oneshot::channel();
        let lane = self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let closed = |_| Error::Unavailable("the store is closed".to_owned());
        let Some(lane) = self.lanes.get(lane) else { return Err(Error::Unavailable("no lane".to_owned())) };
        lane.send(Unit { writes, reply }).await.map_err(closed)?;
        answer.await.map_err(|_| Error::Unavailable("the store is closed".to_owned()))?
    }
}

/// Takes whatever waits, commits it together, answers each.
async fn lane<E: Engine>(
    engine: Arc<E>,
    mut receiver: mpsc::Receiver<Unit>,
    commits: Arc<watch::Sender<u64>>,
) {
    let mut units: Vec<Unit> = Vec::new();
    // Of many that wait, half: while the other half commits, those that were answered come back. All at once
    // would leave one side idle while the other works.
    while receiver.recv_many(&mut units, (receiver.len() / 2).clamp(SET_MIN, SET_MAX)).await > 0 {
        let mut replies = Vec::with_capacity(units.len());
        let mut set = Vec::with_capacity(units.len());
        for unit in units.drain(..) {
            replies.push((unit.reply, unit.writes.len()));
            set.extend(unit.writes);
        }
        #[cfg(debug_assertions)]
        if mistakes::too_soon(&set)
            && let Ok(written) = engine.rehearse(&set).await
        {
            answer(replies, written);
            // Whoever was answered has the time to rely on it.
            let soon = HostClock.now() + Duration::from_millis(10);
            HostClock.sleep_until(soon).await;
            let _ = engine.apply(&set).await;
            commits.send_modify(|commits| *commits += 1);
            continue;
        }
        let done = engine.apply(&set).await;
        // Whoever is answered finds that all who listen have heard of it.
        let heard = || commits.send_modify(|commits| *commits += 1);
        heard();
        match done {
            Ok(written) => answer(replies, written),
            Err(error) if replies.len() == 1 || error.is_not_reached() => {
                for (reply, _) in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, callers = replies.len(), "a set failed as a whole; it is replayed caller by caller");
                metrics::counter!("stoppress_store_replays_total").increment(1);
                let mut rest = set.as_slice();
                let mut unreached = None;
                for (reply, count) in replies {
                    let (own, after) = rest.split_at(count);
                    rest = after;
                    let done = match &unreached {
                        Some(error) => Err(Error::clone(error)),
                        None => engine.apply(own).await,
                    };
                    unreached =
                        unreached.or_else(|| done.as_ref().err().filter(|e| e.is_not_reached()).cloned());
                    heard();
                    let _ = reply.send(done);
                }
            }
        }
    }
}

/// Gives each caller the outcomes of its own writes.
fn answer(replies: Vec<(oneshot::Sender<Result<Vec<Written>>>, usize)>, written: Vec<Written>) {
    let mut written = written.into_iter();
    for (reply, count) in replies {
        // A caller that has gone away learns nothing; its writes stand.
        let _ = reply.send(Ok(written.by_ref().take(count).collect()));
    }
}

/// Stops that are being asked, by the instant at which they came.
#[derive(Debug, Default)]
struct Gate {
    asking: Mutex<BTreeMap<i64, usize>>,
    left: Notify,
}

struct Asking {
    gate: Arc<Gate>,
    at: i64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Ok(mut asking) = self.gate.asking.lock()
            && let Some(count) = asking.get_mut(&self.at)
        {
            *count -= 1;
            if *count == 0 {
                asking.remove(&self.at);
            }
        }
        self.gate.left.notify_waiters();
    }
}

impl Gate {
    /// The clock is read while the list is held: whoever has read the list after the clock has seen every
    /// stop that came before.
    fn enter(self: &Arc<Self>, clock: &dyn Clock) -> AskGuard {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        let at = now.as_microsecond();
        *asking.entry(at).or_default() += 1;
        drop(asking);
        AskGuard { at: now, _asking: Some(Box::new(Asking { gate: Arc::clone(self), at })) }
    }

    fn clear_until(&self, clock: &dyn Clock) -> Timestamp {
        let now = clock.now();
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let first = asking.keys().next().and_then(|at| Timestamp::from_microsecond(*at).ok());
        first.map_or(now, |first| first.min(now))
    }

    fn clear_before(&self, now: i64) -> bool {
        self.asking.lock().map_or(true, |asking| asking.keys().next().is_none_or(|first| *first >= now))
    }

    /// Waits for the stops that are being asked and came before `now`; and for all that are being asked already: if the
    /// clock was set back since, they came before the claim all the same.
    async fn wait_for_earlier(&self, now: Timestamp) {
        let last = self.asking.lock().ok().and_then(|asking| asking.keys().next_back().copied());
        let now = now.as_microsecond().max(last.map_or(i64::MIN, |last| last.saturating_add(1)));
        let wait = async {
            loop {
                let left = self.left.notified();
                if self.clear_before(now) {
                    return;
                }
                left.await;
            }
        };
        if tokio::time::timeout(ASKING_MAX, wait).await.is_err() {
            tracing::warn!("a stop has been asked for longer than {ASKING_MAX:?}; hand-overs go on");
        }
    }
}

/// The reads, each on a connection of its own.
macro_rules! reads {
    ($name:ident<$life:lifetime>($($arg:ident: $type:ty),*) -> $out:ty; $($rest:tt)*) => {
        fn $name<$life>(&$life self, $($arg: $type),*) -> Pending<$life, Result<$out>> {
            Box::pin(async move { read::$name(&mut *self.engine.reader().await?, $($arg),*).await })
        }
        reads! { $($rest)* }
    };
    ($name:ident($($arg:ident: $type:ty),*) -> $out:ty; $($rest:tt)*) => {
        fn $name(&self, $($arg: $type),*) -> Pending<'_, Result<$out>> {
            Box::pin(async move { read::$name(&mut *self.engine.reader().await?, $($arg),*).await })
        }
        reads! { $($rest)* }
    };
    () => {};
}

impl<E: Engine> Store for Grouped<E> {
    fn apply(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<Written>>> {
        Box::pin(self.queue(writes))
    }

    fn asking(&self, clock: &dyn Clock) -> AskGuard {
        self.gate.enter(clock)
    }

    fn shared(&self) -> bool {
        <<E::Reader as Deref>::Target as Session>::SHARED
    }

    fn clear_until(&self, clock: &dyn Clock) -> Timestamp {
        self.gate.clear_until(clock)
    }

    reads! {
        orders<'a>(scope: &'a Scope, which: &'a [OrderRef]) -> Vec<Option<OrderFacts>>;
        list_orders<'a>(scope: &'a Scope, filter: &'a OrderFilter) -> Vec<OrderFacts>;
        changelog<'a>(scope: &'a Scope, order: &'a OrderId) -> Option<Vec<Event>>;
        evidence<'a>(scope: &'a Scope, order: &'a OrderId) -> Option<Evidenced>;
        batches<'a>(scope: &'a Scope, filter: &'a BatchFilter) -> Vec<BatchRow>;
        open_batches<'a>(lab: &'a LabId) -> Vec<BatchFacts>;
        open_windows() -> Vec<BatchFacts>;
        transfers<'a>(batch: &'a BatchId) -> Vec<TransferRow>;
        transfer_page<'a>(batch: &'a BatchId, after: Option<&'a TransferId>, limit: i64) -> TransferPage;
        transfer_orders<'a>(transfers: &'a [&'a str], limit: i64) -> Vec<TransferOrders>;
        stops<'a>(scope: &'a Scope, filter: &'a StopFilter) -> Vec<StopRow>;
        escalations<'a>(scope: &'a Scope, filter: &'a EscalationFilter) -> Vec<EscalationRow>;
        line_stops<'a>(order: &'a OrderId) -> Vec<StopFacts>;
        reports<'a>(order: &'a OrderId) -> Vec<ReportRow>;
        contradictions<'a>(subjects: &'a [String]) -> Vec<EscalationRow>;
        not_imported<'a>(batch: &'a BatchId, after: &'a str, limit: i64) -> Vec<OrderId>;
        stray_imports<'a>(lab: &'a LabId, since: Timestamp, limit: i64) -> Vec<OrderId>;
        list_approvals<'a>(scope: &'a Scope, filter: &'a ApprovalFilter) -> Vec<ApprovalRow>;
        approval_of<'a>(id: &'a ApprovalId) -> Option<ApprovalFacts>;
        approval_next() -> Option<Timestamp>;
        to_join<'a>(after: Option<&'a OrderId>, limit: i64) -> Vec<(OrderId, LinkState)>;
        download_next() -> Option<Timestamp>;
        addresses_due(now: Timestamp) -> AddressesDue;
        download_callback<'a>(platform: &'a PlatformId) -> Option<CallbackRow>;
        labs() -> Vec<LabRow>;
        platforms() -> Vec<PlatformRow>;
        routes() -> Vec<RoutesRow>;
        keys() -> Vec<KeyRow>;
        remembered<'a>(scope: &'a str, key: &'a str) -> Option<Remembered>;
        odds<'a>(lab: &'a LabId, elapsed_us: i64) -> OddsRow;
        mail_wanted<'a>(labs: &'a [LabId], limit: i64) -> Vec<MailWanted>;
        mail_next() -> Option<Timestamp>;
        link_key() -> Option<secrecy::SecretString>;
        customer_keys() -> Vec<(i64, secrecy::SecretString)>;
        link_serial<'a>(order: &'a OrderId) -> u32;
        calendar_serial<'a>(lab: &'a LabId, region: &'a RegionId) -> u32;
        due(now: Timestamp) -> Due;
        deadlines(now: Timestamp) -> [Option<Timestamp>; 2];
        gauges(now: Timestamp) -> Gauges;
        ping() -> ();
        board<'a>(labs: &'a [LabId]) -> BoardRows;
        warnings_due<'a>(near: &'a [NearCutoff]) -> Vec<Place>;
        warned<'a>(labs: &'a [LabId], now: Timestamp) -> Vec<WarnedRow>;
        warned_orders<'a>(lab: &'a LabId, now: Timestamp, limit: i64) -> Vec<WarnedOrder>;
        log<'a>(subjects: &'a [&'a str]) -> Vec<Event>;
        scorecard<'a>(lab: &'a LabId, since: Timestamp) -> ScoreRow;
        webhook<'a>(id: &'a WebhookId, platform: Option<&'a PlatformId>) -> Option<WebhookRow>;
        webhooks<'a>(filter: &'a WebhookFilter) -> Vec<WebhookRow>;
        deliveries<'a>(id: &'a WebhookId, filter: &'a DeliveryFilter) -> Vec<Delivery>;
        by_reference<'a>(platforms: &'a [PlatformId], reference: &'a str, limit: i64) -> Vec<OrderFacts>;
    }

    fn session<'a>(&'a self, id: &'a str) -> Pending<'a, Result<Option<SessionRow>>> {
        Box::pin(async move { session::session(&mut *self.engine.reader().await?, id).await })
    }

    fn sign_in_key<'a>(&'a self, id: &'a str, at: Timestamp) -> Pending<'a, Result<Option<String>>> {
        Box::pin(async move { session::sign_in_key(&mut *self.engine.reader().await?, id, at).await })
    }

    fn events(&self, after: i64, limit: i64) -> Pending<'_, Result<Vec<Event>>> {
        Box::pin(async move {
            let mut reader = self.engine.reader().await?;
            let until = self.engine.settled(&mut reader).await?;
            read::events(&mut *reader, after, until, limit).await
        })
    }

    fn stretch<'a>(&'a self, scope: &'a Scope, after: i64, limit: i64) -> Pending<'a, Result<Stretch>> {
        Box::pin(async move {
            let mut reader = self.engine.reader().await?;
            let until = self.engine.settled(&mut reader).await?;
            stretch::stretch(&mut *reader, scope, (after, until), limit).await
        })
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    fn log_end(&self) -> Pending<'_, Result<i64>> {
        Box::pin(async move {
            let mut reader = self.engine.reader().await?;
            let until = self.engine.settled(&mut reader).await?;
            stretch::last(&mut *reader, until).await
        })
    }

    fn log_at(&self, at: Timestamp) -> Pending<'_, Result<i64>> {
        Box::pin(async move {
            let mut reader = self.engine.reader().await?;
            let until = self.engine.settled(&mut reader).await?;
            webhook::log_at(&mut *reader, at, until).await
        })
    }

    fn touched(&self, after: i64) -> Pending<'_, Result<Touched>> {
        Box::pin(async move {
            let mut reader = self.engine.reader().await?;
            let until = self.engine.settled(&mut reader).await?;
            board::touched(&mut *reader, after, until).await
        })
    }

    fn verify_events(&self) -> Pending<'_, Result<Verified>> {
        Box::pin(async move {
            let mut reader = self.engine.reader().await?;
            let until = self.engine.settled_whole(&mut reader).await?;
            read::verify_events(&mut *reader, until).await
        })
    }

    fn durability(&self) -> Pending<'_, Result<Vec<(&'static str, String)>>> {
        Box::pin(self.engine.durability())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(self.engine.close())
    }
}
