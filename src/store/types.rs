//! What goes into the store and what comes out: writes, outcomes, filters, rows.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::batch::{BatchFacts, BatchPhase, Joining, Remedy, TransferFacts};
use crate::domain::event::Actor;
use crate::domain::ids::{BatchId, EscalationId, LabId, OrderId, PlatformId, RegionId, StopId, TransferId};
use crate::domain::lab::{Answer, Profile};
use crate::domain::order::{OrderFacts, OrderState, Stage};
use crate::domain::stop::{AskedBy, StopFacts, StopState};

/// Whose objects a call may see. There is no call without one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything.
    Ops,
    /// The orders of one platform.
    Platform(PlatformId),
    /// The orders of one lab.
    Lab(LabId),
}

/// Names an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderRef {
    /// By the gateway's id.
    Id(OrderId),
    /// By the platform's reference; needs [`Scope::Platform`].
    Reference(String),
}

/// A change that is to become durable. Each carries the instant at which it was asked.
#[derive(Debug, Clone)]
pub enum Write {
    /// Admits an order. → [`Written::Admitted`]
    Admit(Box<Admission>),
    /// Asks for a stop. → [`Written::Stop`]
    Stop(Box<StopAsk>),
    /// Changes an order. → [`Written::Changed`]
    Change(Box<Change>),
    /// Takes a lab's report on an order. → [`Written::Reported`]
    Report(Box<Report>),
    /// Closes the batches that are due, earliest first. → [`Written::Closed`]
    Close(CloseDue),
    /// Releases a batch before its cutoff, or postpones it. → [`Written::BatchMoved`]
    MoveBatch(Box<MoveBatch>),
    /// Takes transfers of a lab to send, and unknown ones to resolve. → [`Written::Claimed`]
    Claim(Box<Claim>),
    /// Says how a call about a transfer ended. → [`Written::Settled`]
    Settle(Box<Settle>),
    /// Takes over transfers whose sender is gone. → [`Written::TakenOver`]
    TakeOver(TakeOver),
    /// Takes stops of a lab to forward. → [`Written::StopsClaimed`]
    ClaimStops(Box<ClaimStops>),
    /// Says what came of asking a lab, or what a lab or a person answered. → [`Written::StopSettled`]
    SettleStop(Box<SettleStop>),
    /// A person's decision. → [`Written::Resolved`]
    Resolve(Box<Resolve>),
    /// Creates or replaces a lab. → [`Written::Put`]
    PutLab(Box<PutLab>),
    /// Pauses or resumes a lab, or deletes it. → [`Written::Put`]
    SetLab(Box<SetLab>),
    /// Creates or replaces a platform. → [`Written::Put`]
    PutPlatform(Box<PutPlatform>),
    /// Adds a key. → [`Written::Done`]
    PutKey(Box<KeyRow>, Actor),
    /// Revokes a key. → [`Written::Put`]
    RevokeKey {
        /// The key.
        id: String,
        /// When.
        at: Timestamp,
        /// Who.
        actor: Actor,
    },
    /// Remembers the answer to an idempotency key. → [`Written::Done`]
    Remember(Box<Remembered>),
    /// Forgets answers from before an instant. → [`Written::Done`]
    Forget {
        /// What is older goes.
        before: Timestamp,
    },
    /// Writes a checkpoint over the event log. → [`Written::Done`]
    Checkpoint {
        /// When.
        at: Timestamp,
    },
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub enum Written {
    /// Of [`Write::Admit`].
    Admitted(Admitted),
    /// Of [`Write::Stop`].
    Stop(Box<StopOutcome>),
    /// Of [`Write::Change`].
    Changed(Changed),
    /// Of [`Write::Report`].
    Reported(Reported),
    /// Of [`Write::Close`].
    Closed(Vec<ClosedBatch>),
    /// Of [`Write::MoveBatch`].
    BatchMoved(BatchMoved),
    /// Of [`Write::Claim`].
    Claimed(Vec<Claimed>),
    /// Of [`Write::Settle`]: how the transfer stands now, if the answer moved it.
    Settled(Option<TransferFacts>),
    /// Of [`Write::TakeOver`].
    TakenOver(Vec<TransferId>),
    /// Of [`Write::ClaimStops`].
    StopsClaimed(Vec<StopDue>),
    /// Of [`Write::SettleStop`].
    StopSettled(Box<StopSettled>),
    /// Of [`Write::Resolve`].
    Resolved(Resolved),
    /// Of the registry's writes.
    Put(Put),
    /// Of writes that cannot but succeed.
    Done,
}

/// An order to admit.
#[derive(Debug, Clone)]
pub struct Admission {
    /// A fresh id, used if the reference is new.
    pub id: OrderId,
    /// Whose it is.
    pub platform: PlatformId,
    /// Who prints it.
    pub lab: LabId,
    /// Where.
    pub region: RegionId,
    /// The platform's reference.
    pub reference: String,
    /// The submission as it is stored.
    pub document: String,
    /// SHA-256 of the document, hex.
    pub sha256: String,
    /// Whether it is paid for.
    pub paid: bool,
    /// The window to join, if it is paid for.
    pub join: Option<Joining>,
    /// Now.
    pub at: Timestamp,
    /// Who submits.
    pub actor: Actor,
}

/// Of an admission.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly every admission is of a new order")]
pub enum Admitted {
    /// It is durable.
    New {
        /// The batch that it joined.
        batch: Option<BatchFacts>,
    },
    /// The reference is known, with the same content: this is its order.
    Same(OrderId),
    /// The reference is known, with other content.
    Differs(OrderId),
    /// The window had closed before this could commit: compute the next one and try again.
    WindowClosed,
}

/// A stop that is asked for.
#[derive(Debug, Clone)]
pub struct StopAsk {
    /// A fresh id, used if no stop was asked before.
    pub id: StopId,
    /// The order.
    pub order: OrderRef,
    /// Who may see it.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// More.
    pub comment: Option<String>,
    /// Who asked.
    pub asked_by: AskedBy,
    /// Now.
    pub at: Timestamp,
    /// Who calls.
    pub actor: Actor,
    /// A fresh id for the escalation, if a person must take it at once.
    pub escalation: EscalationId,
}

/// Of a stop that was asked for.
#[derive(Debug, Clone)]
pub enum StopOutcome {
    /// No such order within the scope.
    NotFound,
    /// A stop had been asked for: this one.
    Already(StopFacts),
    /// It is decided, or pending with a lab.
    Asked(StopFacts),
}

/// A change of an order other than a stop.
#[derive(Debug, Clone)]
pub struct Change {
    /// The order.
    pub order: OrderId,
    /// Who may see it.
    pub scope: Scope,
    /// What to do.
    pub kind: ChangeKind,
    /// The window to join, for the changes that lead into one.
    pub join: Option<Joining>,
    /// Only if the order has this version.
    pub if_version: Option<i64>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
}

/// The changes of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is paid for: it joins the window of this instant.
    Pay,
    /// It leaves its window.
    Hold,
    /// It leaves its window and goes back to the editor.
    Review,
    /// It ends being held, and joins the window of this instant.
    Release,
    /// Stopped before it was handed over: back into the window of this instant.
    Reinstate,
    /// Replaces the stored submission (addresses; items in review).
    Document(String),
}

/// Of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// No such order within the scope.
    NotFound,
    /// Done.
    Done,
    /// It was so already.
    Unchanged,
    /// The order's state does not allow it.
    NotAllowed(OrderState),
    /// The order has another version.
    Version(i64),
    /// The window had closed before this could commit: compute the next one and try again.
    WindowClosed,
}

/// A lab's report on an order.
#[derive(Debug, Clone)]
pub struct Report {
    /// The order.
    pub order: OrderId,
    /// Who reports: only the order's own lab, or ops.
    pub scope: Scope,
    /// How far it is.
    pub stage: Stage,
    /// The lab's own time of it.
    pub reported_at: Timestamp,
    /// A reference such as a tracking number.
    pub reference: Option<String>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// A fresh id, if the report contradicts a stop.
    pub escalation: EscalationId,
}

/// Of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// No such order within the scope.
    NotFound,
    /// The order was not handed over: the lab cannot have made it. Kept as evidence.
    NotHanded,
    /// Taken.
    Done,
    /// An equal or later stage was known.
    Unchanged,
    /// It was taken, and contradicts a stop that had been granted: a person was called.
    ShippedAnyway,
}

/// Closes what is due.
#[derive(Debug, Clone, Copy)]
pub struct CloseDue {
    /// Now.
    pub now: Timestamp,
    /// At most so many batches.
    pub limit: i64,
}

/// A batch that closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedBatch {
    /// The batch.
    pub id: BatchId,
    /// The lab.
    pub lab: LabId,
    /// The region.
    pub region: RegionId,
    /// The cutoff.
    pub closes_at: Timestamp,
}

/// A decision of ops on an open batch.
#[derive(Debug, Clone)]
pub struct MoveBatch {
    /// The batch.
    pub batch: BatchId,
    /// `None`: release now. Else: the later instant at which it closes.
    pub to: Option<(Timestamp, String)>,
    /// For a change of the calendar: the new identity of its window.
    pub window: Option<Joining>,
    /// Why.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Of a decision on a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchMoved {
    /// No such batch.
    NotFound,
    /// Done.
    Done,
    /// It is not open any more.
    NotOpen(BatchPhase),
    /// That would be earlier than promised.
    Earlier(Timestamp),
}

/// Takes work for a lab: fresh transfers out of closed batches, transfers that fell back, and unknown
/// ones that need a step.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The lab.
    pub lab: LabId,
    /// What it can do.
    pub profile: Arc<Profile>,
    /// True where no machine hands over: the transfers go straight to a person.
    pub manual: bool,
    /// Fresh ids: at most so many transfers are claimed.
    pub ids: Vec<TransferId>,
    /// Fresh ids for escalations, as many.
    pub escalations: Vec<EscalationId>,
    /// Now.
    pub now: Timestamp,
    /// Until when the claim is ours.
    pub lease_until: Timestamp,
    /// Who claims: this process.
    pub holder: String,
    /// False while ops have paused the lab: nothing new leaves, but deadlines keep running.
    pub sends: bool,
}

/// What was claimed.
#[derive(Debug, Clone)]
pub enum Claimed {
    /// Send this.
    Send(Outgoing),
    /// Ask the lab whether it has these.
    LookUp {
        /// The transfer.
        transfer: TransferFacts,
        /// The orders of its manifest.
        orders: Vec<OrderId>,
    },
    /// A person takes it: its time was used up, or no machine hands over to this lab.
    Person(TransferId),
    /// Nobody in it is left.
    Empty(TransferId),
    /// It waits; nothing can be done now.
    Waits(Remedy),
}

/// A durable intent to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The transfer, `sending` under `fence`.
    pub transfer: TransferFacts,
    /// The idempotency key.
    pub key: String,
    /// The frozen bytes.
    pub body: Vec<u8>,
    /// Their hash.
    pub sha256: [u8; 32],
    /// How many orders they carry.
    pub orders: usize,
}

/// What was learned about a transfer.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The transfer.
    pub transfer: TransferId,
    /// The fence of the attempt or look-up.
    pub fence: i64,
    /// What kind of call it was.
    pub source: Source,
    /// The lab's word.
    pub answer: Answer,
    /// Now.
    pub at: Timestamp,
    /// When to try again, if that is what follows.
    pub next_at: Timestamp,
    /// Who says so.
    pub actor: Actor,
    /// A fresh id, if a person must take it.
    pub escalation: EscalationId,
}

/// Which call an answer is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upload.
    Upload,
    /// A look-up that was begun at this instant.
    LookUp(Timestamp),
}

/// Takes over what dead senders left.
#[derive(Debug, Clone)]
pub struct TakeOver {
    /// Now.
    pub now: Timestamp,
    /// True at the start of the only process: every sender but this holder is dead for certain.
    pub all_but: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// Takes stops to forward.
#[derive(Debug, Clone)]
pub struct ClaimStops {
    /// The lab.
    pub lab: LabId,
    /// What it can do.
    pub profile: Arc<Profile>,
    /// At most so many to forward.
    pub limit: i64,
    /// Fresh ids for escalations, as many.
    pub escalations: Vec<EscalationId>,
    /// If the lab cannot be asked now: when it may be. Deadlines are kept all the same.
    pub not_before: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
    /// Until when nobody else takes them.
    pub lease_until: Timestamp,
}

/// A stop that is due.
#[derive(Debug, Clone)]
pub enum StopDue {
    /// Ask the lab.
    Ask {
        /// The stop.
        stop: StopFacts,
        /// The transfer of its order, and its fence.
        transfer: TransferId,
        /// The fence when it was claimed.
        fence: i64,
    },
    /// Its order is being handed over: not yet.
    Waits(StopId),
    /// It became final here: never handed, or its deadline has passed.
    Decided(StopFacts),
}

/// What was answered to a stop.
#[derive(Debug, Clone)]
pub struct SettleStop {
    /// The stop.
    pub stop: StopId,
    /// Who may answer: the lab's own scope, or ops.
    pub scope: Scope,
    /// The lab's word.
    pub answer: Answer,
    /// True if a person says so after looking.
    pub person: bool,
    /// The fence of the transfer when the lab was asked, and when that was: only then can "not found"
    /// prove anything.
    pub asked: Option<(i64, Timestamp)>,
    /// Now.
    pub at: Timestamp,
    /// When to ask again, if that is what follows.
    pub next_at: Timestamp,
    /// Who says so.
    pub actor: Actor,
    /// A fresh id, if the answer contradicts one that was told.
    pub escalation: EscalationId,
}

/// Of an answer to a stop.
#[derive(Debug, Clone)]
pub enum StopSettled {
    /// No such stop within the scope.
    NotFound,
    /// This is how it stands now.
    Done(StopFacts),
    /// It was final before; the answer was kept as evidence.
    Late(StopFacts),
}

/// What a person decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersonDecision {
    /// Of a stop: a person at the lab says that the order will not be printed.
    Stopped,
    /// Of a stop: it is or will be printed.
    TooLate,
    /// Of a transfer: the lab has it.
    HandedOver,
    /// Of a transfer: the lab does not have it, and nothing is on its way; it may be sent again.
    NotHanded,
    /// Taken note of; nothing else changes.
    Noted,
}

/// A person's decision on an escalation.
#[derive(Debug, Clone)]
pub struct Resolve {
    /// The escalation.
    pub escalation: EscalationId,
    /// The decision.
    pub decision: PersonDecision,
    /// Why, with what was seen.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Of a person's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// No such escalation.
    NotFound,
    /// Done.
    Done,
    /// It had been resolved before.
    Already,
    /// This decision does not fit this kind of escalation.
    DoesNotFit {
        /// Its kind.
        kind: String,
    },
}

/// A lab to create or replace.
#[derive(Debug, Clone)]
pub struct PutLab {
    /// The lab.
    pub id: LabId,
    /// Its definition as JSON.
    pub spec: String,
    /// Only if it has this version (0: only if it is new).
    pub if_version: Option<i64>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// A switch of a lab.
#[derive(Debug, Clone)]
pub struct SetLab {
    /// The lab.
    pub id: LabId,
    /// What to do.
    pub to: LabSwitch,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// The switches of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabSwitch {
    /// Nothing new is handed over.
    Pause(String),
    /// It goes on.
    Resume,
    /// It takes no orders any more; refused while orders wait.
    Delete,
}

/// A platform to create or replace.
#[derive(Debug, Clone)]
pub struct PutPlatform {
    /// The platform.
    pub id: PlatformId,
    /// Its definition as JSON.
    pub spec: String,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Of a write to the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// No such object.
    NotFound,
    /// Done; its version now.
    Done(i64),
    /// Nothing changed; its version.
    Unchanged(i64),
    /// It has another version.
    Version(i64),
    /// Orders wait for it.
    InUse(i64),
}

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

/// Which stops to list.
#[derive(Debug, Clone, Default)]
pub struct StopFilter {
    /// This one.
    pub id: Option<StopId>,
    /// In this state.
    pub state: Option<StopState>,
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

/// Keeps claims of later instants waiting while a stop is being asked; see
/// [`Store::asking`](super::Store::asking).
#[derive(Default)]
pub struct AskGuard(pub(super) Option<Box<dyn Send + Sync>>);

impl std::fmt::Debug for AskGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AskGuard").field(&self.0.is_some()).finish()
    }
}

/// An order's facts with JSON that nobody parsed yet; used by lists.
pub type OrderPage = Vec<OrderFacts>;

/// JSON detail of an event.
pub type Detail = Value;
