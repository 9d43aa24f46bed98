//! A store with a lab in it, and short words for what tests do to it.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use stoppress::clock::SeededRandom;
use stoppress::domain::batch::TransferFacts;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{
    ApprovalId, BatchId, EscalationId, HoldId, LabId, OrderId, PlatformId, StopId, TransferId,
};
use stoppress::domain::lab::{Answer, Dedupes, Lasting, Profile, TakesStops};
use stoppress::domain::order::{OrderFacts, Stage};
use stoppress::domain::stop::StopFacts;
use stoppress::store::{
    CloseDue, ClosedBatch, EscalationFilter, EscalationRow, OrderRef, PutLab, Scope, Store, TakeOver, Write,
    Written, one, open,
};

pub(crate) use super::lab::Lab;
use super::postgres::{self, Database};

/// So many seconds after the morning on which all tests play.
pub(crate) fn at(seconds: i64) -> Timestamp {
    "2026-06-17T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

/// When the usual window closes.
pub(crate) const CUTOFF: i64 = 3600;
/// How long the machine may try to hand a transfer over.
pub(crate) const HANDOVER: i64 = 6 * 3600;
/// How long after a claim "not there" proves nothing.
pub(crate) const HORIZON: i64 = 30 + 30 + 120 + 120;
/// When an answer to a stop is due.
pub(crate) const ANSWER: i64 = 30 * 60;
/// How long a claim holds.
pub(crate) const LEASE: i64 = 60;

/// A lab that can do everything.
pub(crate) fn able() -> Profile {
    Profile { dedupes: Dedupes::Forever, lookup: true, stops: TakesStops::Yes, ..Profile::default() }
}

/// A lab that does not deduplicate, but can be looked at.
pub(crate) fn forgetful() -> Profile {
    Profile { dedupes: Dedupes::No, ..able() }
}

/// A lab that only takes uploads.
pub(crate) fn deaf() -> Profile {
    Profile { dedupes: Dedupes::No, lookup: false, stops: TakesStops::No, ..able() }
}

/// A lab that keeps a key for so many seconds.
pub(crate) fn keeps(seconds: i64) -> Profile {
    Profile { dedupes: Dedupes::Window(Lasting::seconds(seconds)), ..able() }
}

pub(crate) fn accepted() -> Answer {
    Answer::Accepted { lab_reference: Some("L-1".to_owned()) }
}

pub(crate) fn refused() -> Answer {
    Answer::Refused { reason: "no such paper".to_owned() }
}

pub(crate) fn unclear() -> Answer {
    Answer::Unclear { cause: "timed out".to_owned() }
}

pub(crate) fn unreachable() -> Answer {
    Answer::Unreachable { cause: "connection refused".to_owned() }
}

pub(crate) fn removed() -> Answer {
    Answer::Removed { reason: None, items: Vec::new() }
}

pub(crate) fn will_print() -> Answer {
    Answer::WillPrint { reason: Some("on the press".to_owned()), stage: Stage::InProduction }
}

pub(crate) fn ops() -> Actor {
    Actor("ops:test".to_owned())
}

pub(crate) fn shop() -> PlatformId {
    PlatformId::parse("shop").unwrap()
}

/// Where the rows of a test are, until it ends.
enum Place {
    File { _folder: tempfile::TempDir },
    Server { _database: Database },
}

/// A store of its own.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) url: String,
    pub(crate) random: SeededRandom,
    ticks: AtomicI64,
    place: Place,
}

impl World {
    /// On SQLite.
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        Self::open(url, Place::File { _folder: folder }).await
    }

    /// On PostgreSQL.
    pub(crate) async fn postgres() -> Self {
        let database = postgres::database().await;
        Self::open(database.url.clone(), Place::Server { _database: database }).await
    }

    async fn open(url: String, place: Place) -> Self {
        let store = open(&url, at(0)).await.unwrap();
        Self { store, url, random: SeededRandom::new(7), ticks: AtomicI64::new(0), place }
    }

    /// Another one on the same engine.
    pub(crate) async fn another(&self) -> Self {
        if self.is_postgres() { Self::postgres().await } else { Self::sqlite().await }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.place, Place::Server { .. })
    }

    /// A second store over the same rows, as another replica. Only PostgreSQL allows one; on SQLite it is
    /// the same store again.
    pub(crate) async fn replica(&self) -> Arc<dyn Store> {
        match self.place {
            Place::File { .. } => Arc::clone(&self.store),
            Place::Server { .. } => open(&self.url, at(0)).await.unwrap(),
        }
    }

    /// An instant for ids, each later than the one before, so that they sort as they were made.
    fn tick(&self) -> Timestamp {
        at(0) + SignedDuration::from_millis(self.ticks.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn order_id(&self) -> OrderId {
        OrderId::new(self.tick(), &self.random)
    }

    pub(crate) fn batch_id(&self) -> BatchId {
        BatchId::new(self.tick(), &self.random)
    }

    pub(crate) fn transfer_ids(&self, count: usize) -> Vec<TransferId> {
        (0..count).map(|_| TransferId::new(self.tick(), &self.random)).collect()
    }

    pub(crate) fn stop_id(&self) -> StopId {
        StopId::new(self.tick(), &self.random)
    }

    pub(crate) fn hold_id(&self) -> HoldId {
        HoldId::new(self.tick(), &self.random)
    }

    pub(crate) fn approval_id(&self) -> ApprovalId {
        ApprovalId::new(self.tick(), &self.random)
    }

    pub(crate) fn escalation_id(&self) -> EscalationId {
        EscalationId::new(self.tick(), &self.random)
    }

    pub(crate) fn escalation_ids(&self, count: usize) -> Vec<EscalationId> {
        (0..count).map(|_| self.escalation_id()).collect()
    }

    pub(crate) async fn write(&self, write: Write) -> Written {
        one(&*self.store, write).await.unwrap()
    }

    /// Adds a lab of that profile.
    pub(crate) async fn lab(&self, id: &str, profile: Profile) -> Lab<'_> {
        let lab = LabId::parse(id).unwrap();
        let spec = serde_json::json!({"profile": profile}).to_string();
        let put = PutLab { id: lab.clone(), spec, if_version: None, at: at(0), actor: ops() };
        self.write(Write::PutLab(Box::new(put))).await;
        Lab { world: self, id: lab, profile: Arc::new(profile) }
    }

    pub(crate) async fn order(&self, id: &OrderId) -> OrderFacts {
        let which = [OrderRef::Id(id.clone())];
        self.store.orders(&Scope::Ops, &which).await.unwrap().remove(0).unwrap()
    }

    pub(crate) async fn stop_of(&self, id: &OrderId) -> StopFacts {
        self.order(id).await.stop.unwrap()
    }

    pub(crate) async fn transfer_of(&self, id: &OrderId) -> TransferFacts {
        self.order(id).await.transfer.unwrap()
    }

    pub(crate) async fn close(&self, seconds: i64) -> Vec<ClosedBatch> {
        self.close_some(seconds, 100).await
    }

    pub(crate) async fn close_some(&self, seconds: i64, limit: i64) -> Vec<ClosedBatch> {
        let Written::Closed(closed) = self.write(Write::Close(CloseDue { now: at(seconds), limit })).await
        else {
            panic!("not closed")
        };
        closed
    }

    pub(crate) async fn take_over(&self, seconds: i64) -> Vec<TransferId> {
        let item = TakeOver { now: at(seconds), all_but: None, limit: 100 };
        let Written::TakenOver(ids) = self.write(Write::TakeOver(item)).await else {
            panic!("not taken over")
        };
        ids
    }

    pub(crate) async fn escalations(&self) -> Vec<EscalationRow> {
        let filter = EscalationFilter { open: Some(true), limit: 100, ..EscalationFilter::default() };
        self.store.escalations(&Scope::Ops, &filter).await.unwrap()
    }

    /// The kinds of the open escalations, oldest first.
    pub(crate) async fn calls(&self) -> Vec<String> {
        self.escalations().await.into_iter().rev().map(|row| row.kind).collect()
    }

    /// Fails if the log does not verify.
    pub(crate) async fn verify(&self) {
        let found = self.store.verify_events().await.unwrap();
        assert_eq!(found.breaks, Vec::<String>::new());
    }

    /// Runs a statement on a connection of its own, beside the store.
    pub(crate) async fn run(&self, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut other = sqlx::PgConnection::connect(&self.url).await.unwrap();
            sqlx::query(sql).execute(&mut other).await.unwrap().rows_affected()
        } else {
            let mut other = self.file().connect().await.unwrap();
            sqlx::query(sql).execute(&mut other).await.unwrap().rows_affected()
        }
    }

    /// The first column of a statement's rows, all texts, on a connection of its own.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut other = sqlx::PgConnection::connect(&self.url).await.unwrap();
            let rows = sqlx::query(sql).fetch_all(&mut other).await.unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect()
        } else {
            let mut other = self.file().connect().await.unwrap();
            let rows = sqlx::query(sql).fetch_all(&mut other).await.unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect()
        }
    }

    /// The number that a statement gives, on a connection of its own.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let texts = self.texts(&format!("select cast(({sql}) as text)")).await;
        texts[0].parse().unwrap()
    }

    fn file(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::from_str(&self.url).unwrap()
    }
}
