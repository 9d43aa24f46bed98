//! Filters, and rows as they are stored.

use jiff::Timestamp;

use crate::domain::batch::{BatchFacts, BatchPhase, TransferFacts};
use crate::domain::event::Event;
use crate::domain::ids::{BatchId, EscalationId, LabId, OrderId, PlatformId, RegionId, StopId, TransferId};
use crate::domain::order::{OrderState, Stage};
use crate::domain::stop::StopState;
use crate::store::types::Scope;

/// A lab as stored.
#[derive(Debug, Clone)]
pub struct LabRow {
    /// Its id.
    pub id: LabId,
    /// Its definition as JSON.
    pub spec: String,
    /// Its version.
    pub version: i64,
    /// Since when it is paused, and why.
    pub paused: Option<(Timestamp, String)>,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// A platform as stored.
#[derive(Debug, Clone)]
pub struct PlatformRow {
    /// Its id.
    pub id: PlatformId,
    /// Its definition as JSON.
    pub spec: String,
    /// Its version.
    pub version: i64,
}

/// A key as stored: never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id, the public part of the key.
    pub id: String,
    /// `ops`, `platform` or `lab`.
    pub scope: String,
    /// The platform or lab; empty for ops.
    pub owner: String,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the secret, hex.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Since when its second factor is in force; only read.
    pub second_factor_at: Option<Timestamp>,
}

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Whose key: caller and route.
    pub scope: String,
    /// The key.
    pub key: String,
    /// SHA-256 of the request, hex.
    pub fingerprint: String,
    /// The status of the answer.
    pub status: i64,
    /// The body of the answer.
    pub body: String,
    /// When.
    pub at: Timestamp,
}

/// Which orders to list.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    /// Of this lab.
    pub lab: Option<LabId>,
    /// Of this region.
    pub region: Option<RegionId>,
    /// Of this batch.
    pub batch: Option<BatchId>,
    /// In this state.
    pub state: Option<OrderState>,
    /// Older than this one.
    pub before: Option<OrderId>,
    /// At most so many.
    pub limit: i64,
}

/// Which batches to list.
#[derive(Debug, Clone, Default)]
pub struct BatchFilter {
    /// This one.
    pub id: Option<BatchId>,
    /// Of this lab.
    pub lab: Option<LabId>,
    /// In this phase.
    pub phase: Option<BatchPhase>,
    /// With an id below this one.
    pub before: Option<BatchId>,
    /// At most so many.
    pub limit: i64,
}

/// A batch with its numbers.
#[derive(Debug, Clone)]
pub struct BatchRow {
    /// The batch.
    pub batch: BatchFacts,
    /// Orders that joined and did not leave.
    pub orders: i64,
    /// Of these, stopped.
    pub stopped: i64,
    /// Of these, in no transfer yet and alive.
    pub waiting: i64,
}

/// A transfer with its key.
#[derive(Debug, Clone)]
pub struct TransferRow {
    /// The transfer.
    pub transfer: TransferFacts,
    /// The idempotency key.
    pub key: String,
    /// The hash of the bytes.
    pub sha256: String,
    /// How many orders its manifest has.
    pub orders: usize,
}

/// Some transfers of a batch.
#[derive(Debug, Clone, Default)]
pub struct TransferPage {
    /// The transfers, oldest first.
    pub rows: Vec<TransferRow>,
    /// How many the batch has.
    pub all: i64,
}

/// What a transfer carries, or carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferOrders {
    /// The transfer.
    pub transfer: TransferId,
    /// How many orders it has.
    pub all: i64,
    /// The first of them: ids and the platforms' references.
    pub first: Vec<(OrderId, String)>,
}

/// Which stops to list.
#[derive(Debug, Clone, Default)]
pub struct StopFilter {
    /// This one.
    pub id: Option<StopId>,
    /// In this state.
    pub state: Option<StopState>,
    /// Only those that wait for an answer, most urgent first, after this deadline and stop. Not of a
    /// platform.
    pub urgent_after: Option<(Timestamp, Option<StopId>)>,
    /// Only those that were decided, the last decision first. Only of a lab.
    pub decided: bool,
    /// Older than this one.
    pub before: Option<StopId>,
    /// At most so many.
    pub limit: i64,
}

/// Which escalations to list.
#[derive(Debug, Clone, Default)]
pub struct EscalationFilter {
    /// This one.
    pub id: Option<EscalationId>,
    /// Only open, or only resolved ones.
    pub open: Option<bool>,
    /// Only open ones, those first that are due first, after this instant and escalation: nothing else of the
    /// filter but `limit` counts then.
    pub due_after: Option<(Timestamp, Option<EscalationId>)>,
    /// Older than this one.
    pub before: Option<EscalationId>,
    /// At most so many.
    pub limit: i64,
}

/// An escalation.
#[derive(Debug, Clone)]
pub struct EscalationRow {
    /// Its id.
    pub id: EscalationId,
    /// `stop`, `transfer`, `shipped_anyway`, `contradiction`.
    pub kind: String,
    /// The stop or transfer.
    pub subject: String,
    /// The order, if it is about one.
    pub order: Option<OrderId>,
    /// The lab.
    pub lab: LabId,
    /// What happened.
    pub cause: String,
    /// When.
    pub opened_at: Timestamp,
    /// When a person should have decided.
    pub due_at: Timestamp,
    /// When it was decided.
    pub resolved_at: Option<Timestamp>,
    /// How.
    pub decision: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// By whom.
    pub resolved_by: Option<String>,
    /// Of a contradiction: what contradicts each other, the older first.
    pub evidence: Vec<Piece>,
}

/// A piece of evidence, as the changelog has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Piece {
    /// When it was told or learned.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened, as in the changelog: `stop.stopped`, `order.printed` …
    pub kind: String,
    /// Who said so.
    pub actor: String,
    /// The cause and the words.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// What a lab reported of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// How far the order was.
    pub stage: Stage,
    /// The lab's own time of it, if it told one.
    pub reported_at: Option<Timestamp>,
    /// When it came.
    pub received_at: Timestamp,
    /// The lab's reference, such as a tracking number; empty if it gave none.
    pub reference: String,
    /// Who reported.
    pub actor: String,
    /// Whether it contradicts a stop that had been granted.
    pub contrary: bool,
}

/// How comparable stops ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OddsRow {
    /// How many were asked.
    pub asked: i64,
    /// How many of them the lab removed.
    pub stopped: i64,
}

/// What is due.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// The next cutoff of an open batch.
    pub close_at: Option<Timestamp>,
    /// Labs with orders to hand over or transfers to resolve now.
    pub labs: Vec<LabId>,
    /// When the next transfer that waits is due.
    pub transfer_at: Option<Timestamp>,
    /// When the next lease ends.
    pub lease_at: Option<Timestamp>,
    /// Labs with stops to forward or to give to a person now.
    pub stop_labs: Vec<LabId>,
    /// When the next stop that waits is due.
    pub stop_at: Option<Timestamp>,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Orders in open batches, by lab.
    pub waiting: Vec<(String, i64)>,
    /// Transfers by phase.
    pub transfers: Vec<(i64, i64)>,
    /// Stops by state.
    pub stops: Vec<(i64, i64)>,
    /// Pending stops beyond their deadline. The allowed value is 0.
    pub stops_overdue: i64,
    /// Open escalations.
    pub escalations: i64,
}

/// What a check of the event log found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// Events read.
    pub events: i64,
    /// Checkpoints compared.
    pub checkpoints: i64,
    /// The first breaks, in words.
    pub breaks: Vec<String>,
}

/// An entry of the log that a scope may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The entry.
    pub event: Event,
    /// The orders within the scope that it concerns: the order itself, or those that the transfer carries
    /// when it is read.
    pub orders: Vec<Concerned>,
}

impl Sighting {
    /// Whether a scope sees it: ops everything; a platform the entries of its orders, of the transfers that carry
    /// them, and of its endpoints; a lab its own.
    #[must_use]
    pub fn is_within(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Ops => true,
            Scope::Lab(lab) => self.event.lab == lab.as_str(),
            Scope::Platform(platform) => {
                let own = self.event.kind.starts_with("webhook.")
                    && self.event.detail["platform"] == platform.as_str();
                own || self.orders.iter().any(|order| order.platform == *platform)
            }
        }
    }

    /// The same as a scope sees it, if it does.
    #[must_use]
    pub fn within(&self, scope: &Scope) -> Option<Self> {
        if !self.is_within(scope) {
            return None;
        }
        let own = |order: &&Concerned| match scope {
            Scope::Platform(platform) => order.platform == *platform,
            Scope::Ops | Scope::Lab(_) => true,
        };
        Some(Self { event: self.event.clone(), orders: self.orders.iter().filter(own).cloned().collect() })
    }
}

/// An order that an entry of the log concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concerned {
    /// The order.
    pub order: OrderId,
    /// Whose it is.
    pub platform: PlatformId,
}

/// A stretch of the log as a scope sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// What the scope may see, oldest first.
    pub events: Vec<Sighting>,
    /// The number of the last entry that was looked at, seen or not: where to go on.
    pub seen: i64,
}
