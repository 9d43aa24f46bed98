//! Durable: what was decided, and nothing that was not.
//!
//! A [`Store`] takes [`Write`]s in sets; a set is one transaction, and each write gets its outcome.
//! Outcomes are values (admitted, same, too late); an [`Error`] is what a caller can only retry or
//! report. Every statement is in [`sql`], once, for both engines; the body that runs them is in
//! [`verbs`], once. [`batch`] puts callers that come at the same time into one commit.
//!
//! The room knows no calendar and no lab's endpoint: windows come in computed, answers classified.

mod batch;
mod copy;
mod dialect;
mod inspect;
mod migrations;
mod postgres;
mod session;
pub mod sql;
mod sqlite;
mod types;
mod verbs;
mod wal;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

pub use copy::copy;
pub use inspect::{Inspection, Standbys, inspect};
pub use types::*;

use crate::clock::Clock;
use crate::domain::batch::BatchFacts;
use crate::domain::event::Event;
use crate::domain::extras::{ApprovalFacts, LinkState};
use crate::domain::ids::{ApprovalId, BatchId, LabId, OrderId, PlatformId, RegionId, TransferId, WebhookId};
use crate::domain::order::OrderFacts;
use crate::domain::stop::StopFacts;

/// A boxed future, so that stores can be kept behind `dyn`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a caller can act on when the store could not do its work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Try again: the set was not applied.
    #[error("the store is busy or was cut off: {0}")]
    Unavailable(String),
    /// A row is not what the code wrote.
    #[error("corrupt row in {table}: {what}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
    /// It cannot be opened; the text says what to do.
    #[error("{0}")]
    Open(String),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Durable state behind either engine.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Applies a set of writes in one transaction, durable when this returns, and gives one outcome a
    /// write, in order. If it fails, none of them was applied, unless the connection broke during the
    /// commit; every write may be repeated without harm.
    fn apply(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<Written>>>;

    /// Says that a stop is being asked now: no claim as of a later instant begins until the returned guard
    /// is dropped, so that a stop asked before a cutoff is decided before the hand-over.
    fn asking(&self, clock: &dyn Clock) -> AskGuard {
        AskGuard { at: clock.now(), _asking: None }
    }

    /// Whether other gateways may be at work on the same database. Each then has to say, with
    /// [`Write::Announce`], until when it is clear.
    fn shared(&self) -> bool {
        false
    }

    /// Until when every stop that was asked here is decided.
    fn clear_until(&self, clock: &dyn Clock) -> Timestamp {
        clock.now()
    }

    /// Reads orders; `None` for what is not there or not within `scope`.
    fn orders<'a>(
        &'a self,
        scope: &'a Scope,
        which: &'a [OrderRef],
    ) -> Pending<'a, Result<Vec<Option<OrderFacts>>>>;
    /// Lists orders, newest first.
    fn list_orders<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a OrderFilter,
    ) -> Pending<'a, Result<Vec<OrderFacts>>>;
    /// The changelog of an order with that of its batch and transfer, oldest first.
    fn changelog<'a>(
        &'a self,
        scope: &'a Scope,
        order: &'a OrderId,
    ) -> Pending<'a, Result<Option<Vec<Event>>>>;
    /// The same as it was hashed, also of batches that the order has left, with the checkpoints that cover it.
    fn evidence<'a>(&'a self, scope: &'a Scope, order: &'a OrderId)
    -> Pending<'a, Result<Option<Evidenced>>>;
    /// Events after a number, in order, at most `limit`. What is given has no gaps that fill later: an
    /// entry waits until all that have a lower number have committed.
    fn events(&self, after: i64, limit: i64) -> Pending<'_, Result<Vec<Event>>>;
    /// The same as a scope sees it: of a platform, the entries of its orders and of the transfers that carry
    /// them; of a lab, its own. At most `limit` entries are looked at.
    fn stretch<'a>(&'a self, scope: &'a Scope, after: i64, limit: i64) -> Pending<'a, Result<Stretch>>;
    /// Moves with every set that is committed through this store: something may be new in the log. What
    /// another gateway commits moves nothing here.
    fn commits(&self) -> watch::Receiver<u64>;
    /// The number of the last entry that [`Store::events`] would give.
    fn log_end(&self) -> Pending<'_, Result<i64>>;
    /// The number before the first entry of the log that was made at an instant or later; the log is not quite in
    /// the order of its instants, so that the search begins a little before.
    fn log_at(&self, at: Timestamp) -> Pending<'_, Result<i64>>;
    /// Which labs the log has spoken of after a number: whose part of the board may be another now.
    fn touched(&self, after: i64) -> Pending<'_, Result<Touched>>;
    /// What these labs have open.
    fn board<'a>(&'a self, labs: &'a [LabId]) -> Pending<'a, Result<BoardRows>>;
    /// Where orders are in no batch that were not warned of these cutoffs.
    fn warnings_due<'a>(&'a self, near: &'a [NearCutoff]) -> Pending<'a, Result<Vec<Place>>>;
    /// Orders of these labs that were warned of a cutoff to come and are still in no batch.
    fn warned<'a>(&'a self, labs: &'a [LabId], now: Timestamp) -> Pending<'a, Result<Vec<WarnedRow>>>;
    /// The same orders of one lab by name, those that miss the first cutoff first.
    fn warned_orders<'a>(
        &'a self,
        lab: &'a LabId,
        now: Timestamp,
        limit: i64,
    ) -> Pending<'a, Result<Vec<WarnedOrder>>>;
    /// The log of some subjects, oldest first.
    fn log<'a>(&'a self, subjects: &'a [&'a str]) -> Pending<'a, Result<Vec<Event>>>;
    /// How a lab has done since an instant.
    fn scorecard<'a>(&'a self, lab: &'a LabId, since: Timestamp) -> Pending<'a, Result<ScoreRow>>;
    /// The orders that have a reference at any of these platforms, newest first.
    fn by_reference<'a>(
        &'a self,
        platforms: &'a [PlatformId],
        reference: &'a str,
        limit: i64,
    ) -> Pending<'a, Result<Vec<OrderFacts>>>;
    /// Batches, newest cutoff first.
    fn batches<'a>(&'a self, scope: &'a Scope, filter: &'a BatchFilter)
    -> Pending<'a, Result<Vec<BatchRow>>>;
    /// Open batches of a lab: what a change of its calendar may touch.
    fn open_batches<'a>(&'a self, lab: &'a LabId) -> Pending<'a, Result<Vec<BatchFacts>>>;
    /// The open batches of all labs but for those of orders that go alone, by their cutoff.
    fn open_windows(&self) -> Pending<'_, Result<Vec<BatchFacts>>>;
    /// The transfers of a batch.
    fn transfers<'a>(&'a self, batch: &'a BatchId) -> Pending<'a, Result<Vec<TransferRow>>>;
    /// So many transfers of a batch, after one, without their manifests; and how many it has.
    fn transfer_page<'a>(
        &'a self,
        batch: &'a BatchId,
        after: Option<&'a TransferId>,
        limit: i64,
    ) -> Pending<'a, Result<TransferPage>>;
    /// How many orders transfers have, and the first of them, at most `limit` of each.
    fn transfer_orders<'a>(
        &'a self,
        transfers: &'a [&'a str],
        limit: i64,
    ) -> Pending<'a, Result<Vec<TransferOrders>>>;
    /// Stops, newest first; or those that wait, by their deadline.
    fn stops<'a>(&'a self, scope: &'a Scope, filter: &'a StopFilter) -> Pending<'a, Result<Vec<StopRow>>>;
    /// Escalations, newest first; or open ones, by when they are due.
    fn escalations<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a EscalationFilter,
    ) -> Pending<'a, Result<Vec<EscalationRow>>>;
    /// The stops of an order that name lines, oldest first.
    fn line_stops<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Result<Vec<StopFacts>>>;
    /// What the lab reported of an order, as it came.
    fn reports<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Result<Vec<ReportRow>>>;
    /// The contradictions about orders, stops and transfers, oldest first.
    fn contradictions<'a>(&'a self, subjects: &'a [String]) -> Pending<'a, Result<Vec<EscalationRow>>>;
    /// Orders of an open batch that its lab was not sent ahead, with an id above `after`, by id.
    fn not_imported<'a>(
        &'a self,
        batch: &'a BatchId,
        after: &'a str,
        limit: i64,
    ) -> Pending<'a, Result<Vec<OrderId>>>;
    /// Orders that a lab was sent ahead and may hold, of batches that close after `since`, and that were
    /// stopped or left their batch.
    fn stray_imports<'a>(
        &'a self,
        lab: &'a LabId,
        since: Timestamp,
        limit: i64,
    ) -> Pending<'a, Result<Vec<OrderId>>>;
    /// Approvals within a scope, newest first.
    fn list_approvals<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a ApprovalFilter,
    ) -> Pending<'a, Result<Vec<ApprovalRow>>>;
    /// One approval.
    fn approval_of<'a>(&'a self, id: &'a ApprovalId) -> Pending<'a, Result<Option<ApprovalFacts>>>;
    /// When the next merchant should have decided, of whom ops were not told.
    fn approval_next(&self) -> Pending<'_, Result<Option<Timestamp>>>;
    /// Orders that replace others and have no window yet: those that were released first, by id and behind `after`;
    /// then those that wait.
    fn to_join<'a>(
        &'a self,
        after: Option<&'a OrderId>,
        limit: i64,
    ) -> Pending<'a, Result<Vec<(OrderId, LinkState)>>>;
    /// When the next platform is to be asked about a download.
    fn download_next(&self) -> Pending<'_, Result<Option<Timestamp>>>;
    /// Which labs are to be asked for another address now, and when the next one is.
    fn addresses_due(&self, now: Timestamp) -> Pending<'_, Result<AddressesDue>>;
    /// Where a platform is asked to deactivate links.
    fn download_callback<'a>(&'a self, platform: &'a PlatformId) -> Pending<'a, Result<Option<CallbackRow>>>;
    /// All labs that were not deleted.
    fn labs(&self) -> Pending<'_, Result<Vec<LabRow>>>;
    /// All platforms.
    fn platforms(&self) -> Pending<'_, Result<Vec<PlatformRow>>>;
    /// All routes.
    fn routes(&self) -> Pending<'_, Result<Vec<RoutesRow>>>;
    /// All keys.
    fn keys(&self) -> Pending<'_, Result<Vec<KeyRow>>>;
    /// A signed-in browser, by the hash of what it keeps.
    fn session<'a>(&'a self, id: &'a str) -> Pending<'a, Result<Option<SessionRow>>>;
    /// The key that a link signs in with at an instant; `None` if the link does not work.
    fn sign_in_key<'a>(&'a self, id: &'a str, at: Timestamp) -> Pending<'a, Result<Option<String>>>;
    /// The remembered answer to an idempotency key.
    fn remembered<'a>(&'a self, scope: &'a str, key: &'a str) -> Pending<'a, Result<Option<Remembered>>>;
    /// Open stops of these labs, with orders that they have, about which no mail is planned; at most `limit`.
    fn mail_wanted<'a>(&'a self, labs: &'a [LabId], limit: i64) -> Pending<'a, Result<Vec<MailWanted>>>;
    /// When the next mail is due.
    fn mail_next(&self) -> Pending<'_, Result<Option<Timestamp>>>;
    /// The key of links, hex; `None` before the first start has made it.
    fn link_key(&self) -> Pending<'_, Result<Option<secrecy::SecretString>>>;
    /// The keys of customers' links, by number; none before the first start has made one.
    fn customer_keys(&self) -> Pending<'_, Result<Vec<(i64, secrecy::SecretString)>>>;
    /// The serial of the links of an order that hold: 0 until they were taken back.
    fn link_serial<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Result<u32>>;
    /// The serial of the links to a region's calendar that hold: 0 until they were taken back.
    fn calendar_serial<'a>(&'a self, lab: &'a LabId, region: &'a RegionId) -> Pending<'a, Result<u32>>;
    /// How stops of a lab ended that were asked about as long after the hand-over.
    fn odds<'a>(&'a self, lab: &'a LabId, elapsed_us: i64) -> Pending<'a, Result<OddsRow>>;
    /// When each loop is due next, and which labs have work at `now`.
    fn due(&self, now: Timestamp) -> Pending<'_, Result<Due>>;
    /// The next deadline of a transfer, and of a stop: what a loop waits for where the lab is away.
    fn deadlines(&self, now: Timestamp) -> Pending<'_, Result<[Option<Timestamp>; 2]>>;
    /// Numbers for metrics.
    fn gauges(&self, now: Timestamp) -> Pending<'_, Result<Gauges>>;
    /// One endpoint that is told what happens, if it is there and this platform's.
    fn webhook<'a>(
        &'a self,
        id: &'a WebhookId,
        platform: Option<&'a PlatformId>,
    ) -> Pending<'a, Result<Option<WebhookRow>>>;
    /// Endpoints that are told what happens, by id.
    fn webhooks<'a>(&'a self, filter: &'a WebhookFilter) -> Pending<'a, Result<Vec<WebhookRow>>>;
    /// What became of messages of an endpoint, newest first.
    fn deliveries<'a>(
        &'a self,
        id: &'a WebhookId,
        filter: &'a DeliveryFilter,
    ) -> Pending<'a, Result<Vec<Delivery>>>;
    /// Whether the store answers.
    fn ping(&self) -> Pending<'_, Result<()>>;
    /// Checks the hash chain of every subject and every checkpoint; gives the first breaks found.
    fn verify_events(&self) -> Pending<'_, Result<Verified>>;
    /// The settings of the writing connection that make a commit durable, by name.
    fn durability(&self) -> Pending<'_, Result<Vec<(&'static str, String)>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Flushes and lets go of files and connections.
    fn close(&self) -> Pending<'_, ()>;
}

/// Applies one write and gives its outcome.
///
/// # Errors
/// If the store is unavailable: nothing was applied.
pub async fn one(store: &dyn Store, write: Write) -> Result<Written> {
    let mut written = store.apply(vec![write]).await?;
    written.pop().ok_or_else(|| Error::Unavailable("no outcome for a write".to_owned()))
}

/// Opens the store that the URL names: `sqlite:FILE` (or a bare path), or `postgres://…`.
///
/// # Errors
/// If it cannot be opened; the text says why and what to do.
pub async fn open(url: &str, now: Timestamp) -> Result<Arc<dyn Store>> {
    if let Some(file) = inspect::file_of(url) {
        let engine = sqlite::Sqlite::open(file, now).await?;
        Ok(Arc::new(batch::Grouped::new(engine, 1)?))
    } else {
        let engine = postgres::Postgres::open(url).await?;
        Ok(Arc::new(batch::Grouped::new(engine, 2)?))
    }
}

/// The stops that wait, as the forwarding loop and the lab's inbox see them.
#[derive(Debug, Clone)]
pub struct StopRow {
    /// The stop.
    pub stop: StopFacts,
    /// Whose order it is.
    pub platform: String,
    /// The lab.
    pub lab: LabId,
    /// The platform's reference.
    pub reference: String,
}
