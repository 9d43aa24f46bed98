//! A store with a lab in it, and short words for what tests do to it.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use stoppress::clock::SeededRandom;
use stoppress::domain::batch::{Joining, TransferFacts};
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{BatchId, EscalationId, LabId, OrderId, PlatformId, StopId, TransferId};
use stoppress::domain::lab::{Answer, Dedupes, Lasting, Profile, TakesStops};
use stoppress::domain::order::{OrderFacts, Stage};
use stoppress::domain::stop::{AskedBy, StopFacts};
use stoppress::store::{
    Admission, Admitted, Change, ChangeKind, Changed, Claim, ClaimStops, Claimed, CloseDue, ClosedBatch,
    EscalationFilter, EscalationRow, OrderRef, Outgoing, PutLab, Report, Reported, Scope, Settle, SettleStop,
    Source, StopAsk, StopDue, StopOutcome, StopSettled, Store, TakeOver, Write, Written, one, open,
};

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
    Answer::Removed { reason: None }
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

/// Where the rows of a test are.
enum Place {
    File(tempfile::TempDir),
    Server(Database),
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
        Self::open(url, Place::File(folder)).await
    }

    /// On PostgreSQL.
    pub(crate) async fn postgres() -> Self {
        let database = postgres::database().await;
        Self::open(database.url.clone(), Place::Server(database)).await
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
        matches!(self.place, Place::Server(_))
    }

    /// A second store over the same rows, as another replica. Only PostgreSQL allows one; on SQLite it is
    /// the same store again.
    pub(crate) async fn replica(&self) -> Arc<dyn Store> {
        match self.place {
            Place::File(_) => Arc::clone(&self.store),
            Place::Server(_) => open(&self.url, at(0)).await.unwrap(),
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

/// A lab in a world.
pub(crate) struct Lab<'a> {
    pub(crate) world: &'a World,
    pub(crate) id: LabId,
    pub(crate) profile: Arc<Profile>,
}

impl Lab<'_> {
    /// The window that closes so many seconds into the day.
    pub(crate) fn window(&self, closes: i64) -> Joining {
        Joining {
            batch: self.world.batch_id(),
            lab: self.id.clone(),
            region: serde_json::from_str("\"eu\"").unwrap(),
            direct: false,
            opens_at: at(closes - 86_400),
            closes_at: at(closes),
            closes_at_local: at(closes).to_string(),
            production_date: "2026-06-18".to_owned(),
            rule: "regular 24:00".to_owned(),
            time_zone: "Europe/Helsinki".to_owned(),
            tzdata: "2026a".to_owned(),
        }
    }

    /// An order that is paid for, for the usual window.
    pub(crate) fn admission(&self, reference: &str) -> Admission {
        let join = self.window(CUTOFF);
        Admission {
            id: self.world.order_id(),
            platform: shop(),
            lab: self.id.clone(),
            region: join.region.clone(),
            reference: reference.to_owned(),
            document: format!(r#"{{"reference":"{reference}","items":[{{"id":"1","sku":"print-10x15"}}]}}"#),
            sha256: "a".repeat(64),
            paid: true,
            join: Some(join),
            at: at(0),
            actor: Actor("platform:shop".to_owned()),
        }
    }

    pub(crate) async fn admit_as(&self, admission: Admission) -> Admitted {
        let Written::Admitted(admitted) = self.world.write(Write::Admit(Box::new(admission))).await else {
            panic!("not an admission")
        };
        admitted
    }

    pub(crate) async fn admit(&self, reference: &str) -> OrderId {
        let admission = self.admission(reference);
        let id = admission.id.clone();
        let admitted = self.admit_as(admission).await;
        assert!(matches!(admitted, Admitted::New { .. }), "{admitted:?}");
        id
    }

    /// A claim for one transfer.
    pub(crate) fn claiming(&self, seconds: i64, count: usize) -> Claim {
        Claim {
            lab: self.id.clone(),
            profile: Arc::clone(&self.profile),
            manual: false,
            ids: self.world.transfer_ids(count),
            escalations: self.world.escalation_ids(count),
            now: at(seconds),
            lease_until: at(seconds + LEASE),
            holder: "one".to_owned(),
            sends: true,
        }
    }

    pub(crate) async fn claim_as(&self, claim: Claim) -> Vec<Claimed> {
        let Written::Claimed(claimed) = self.world.write(Write::Claim(Box::new(claim))).await else {
            panic!("not a claim")
        };
        claimed
    }

    pub(crate) async fn claim(&self, seconds: i64) -> Vec<Claimed> {
        self.claim_as(self.claiming(seconds, 10)).await
    }

    /// A claim that gives exactly one transfer to send.
    pub(crate) async fn send(&self, seconds: i64) -> Outgoing {
        let mut claimed = self.claim(seconds).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        match claimed.remove(0) {
            Claimed::Send(outgoing) => outgoing,
            other => panic!("{other:?}"),
        }
    }

    /// One order, admitted, closed and claimed a second after the cutoff.
    pub(crate) async fn sent(&self, reference: &str) -> (OrderId, Outgoing) {
        let order = self.admit(reference).await;
        self.world.close(CUTOFF).await;
        (order, self.send(CUTOFF + 1).await)
    }

    /// One order that the lab has.
    pub(crate) async fn handed(&self, reference: &str) -> (OrderId, Outgoing) {
        let (order, out) = self.sent(reference).await;
        self.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
        (order, out)
    }

    /// One order of which nobody knows.
    pub(crate) async fn lost(&self, reference: &str) -> (OrderId, Outgoing) {
        let (order, out) = self.sent(reference).await;
        self.settle(&out, unclear(), CUTOFF + 2).await.unwrap();
        (order, out)
    }

    /// The end of an upload, under the fence that it was claimed with.
    pub(crate) async fn settle(&self, out: &Outgoing, answer: Answer, seconds: i64) -> Option<TransferFacts> {
        self.learn(&out.transfer, Source::Upload, answer, seconds).await
    }

    pub(crate) async fn learn(
        &self,
        transfer: &TransferFacts,
        source: Source,
        answer: Answer,
        seconds: i64,
    ) -> Option<TransferFacts> {
        let item = Settle {
            transfer: transfer.id.clone(),
            fence: transfer.fence,
            source,
            answer,
            at: at(seconds),
            next_at: at(seconds + 5),
            actor: Actor::gateway(),
            escalation: self.world.escalation_id(),
        };
        let Written::Settled(settled) = self.world.write(Write::Settle(Box::new(item))).await else {
            panic!("not settled")
        };
        settled
    }

    pub(crate) fn asking(&self, order: &OrderId, seconds: i64) -> StopAsk {
        StopAsk {
            id: self.world.stop_id(),
            order: OrderRef::Id(order.clone()),
            scope: Scope::Ops,
            reason: "changed_mind".to_owned(),
            comment: None,
            asked_by: AskedBy::Customer,
            at: at(seconds),
            actor: ops(),
            escalation: self.world.escalation_id(),
        }
    }

    pub(crate) async fn ask_as(&self, ask: StopAsk) -> StopOutcome {
        let Written::Stop(outcome) = self.world.write(Write::Stop(Box::new(ask))).await else {
            panic!("not a stop")
        };
        *outcome
    }

    /// A first stop.
    pub(crate) async fn stop(&self, order: &OrderId, seconds: i64) -> StopFacts {
        match self.ask_as(self.asking(order, seconds)).await {
            StopOutcome::Asked(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn claim_stops(&self, seconds: i64) -> Vec<StopDue> {
        let item = ClaimStops {
            lab: self.id.clone(),
            profile: Arc::clone(&self.profile),
            limit: 10,
            escalations: self.world.escalation_ids(10),
            not_before: None,
            now: at(seconds),
            lease_until: at(seconds + LEASE),
        };
        let Written::StopsClaimed(due) = self.world.write(Write::ClaimStops(Box::new(item))).await else {
            panic!("no stops")
        };
        due
    }

    pub(crate) fn answering(&self, stop: &StopFacts, answer: Answer, seconds: i64) -> SettleStop {
        SettleStop {
            stop: stop.id.clone(),
            scope: Scope::Lab(self.id.clone()),
            answer,
            person: false,
            asked: None,
            at: at(seconds),
            next_at: at(seconds + 5),
            actor: Actor::lab(&self.id),
            escalation: self.world.escalation_id(),
        }
    }

    pub(crate) async fn answer_as(&self, item: SettleStop) -> StopSettled {
        let Written::StopSettled(settled) = self.world.write(Write::SettleStop(Box::new(item))).await else {
            panic!("not settled")
        };
        *settled
    }

    pub(crate) async fn answer(&self, stop: &StopFacts, answer: Answer, seconds: i64) -> StopSettled {
        self.answer_as(self.answering(stop, answer, seconds)).await
    }

    pub(crate) async fn report(&self, order: &OrderId, stage: Stage, seconds: i64) -> Reported {
        let item = Report {
            order: order.clone(),
            scope: Scope::Lab(self.id.clone()),
            stage,
            reported_at: at(seconds),
            reference: None,
            at: at(seconds),
            actor: Actor::lab(&self.id),
            escalation: self.world.escalation_id(),
        };
        let Written::Reported(reported) = self.world.write(Write::Report(Box::new(item))).await else {
            panic!("not reported")
        };
        reported
    }

    pub(crate) fn changing(&self, order: &OrderId, kind: ChangeKind, seconds: i64) -> Change {
        Change {
            order: order.clone(),
            scope: Scope::Platform(shop()),
            kind,
            join: Some(self.window(CUTOFF)),
            if_version: None,
            at: at(seconds),
            actor: ops(),
            reason: None,
        }
    }

    pub(crate) async fn change_as(&self, change: Change) -> Changed {
        let Written::Changed(changed) = self.world.write(Write::Change(Box::new(change))).await else {
            panic!("not changed")
        };
        changed
    }

    pub(crate) async fn change(&self, order: &OrderId, kind: ChangeKind) -> Changed {
        self.change_as(self.changing(order, kind, 10)).await
    }
}
