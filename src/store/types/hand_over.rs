//! Closing, handing over, forwarding stops, and what people decide about them.

use std::sync::Arc;

use jiff::Timestamp;

use super::Scope;
use crate::domain::batch::{BatchPhase, Joining, Remedy, TransferFacts, TransferPhase};
use crate::domain::event::Actor;
use crate::domain::ids::{BatchId, EscalationId, LabId, OrderId, RegionId, StopId, TransferId};
use crate::domain::lab::{Answer, Profile};
use crate::domain::stop::StopFacts;

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
    /// How whoever decides saw it; it is compared under the batch's lock.
    pub seen: Option<SeenBatch>,
    /// Why.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// How a batch was shown to whoever decides on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBatch {
    /// When it was to close.
    pub closes_at: Timestamp,
    /// The most orders that may wait in it for the decision to be about the same batch.
    pub waiting_max: Option<i64>,
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
    /// It is not what was seen: when it closes, and how many orders wait in it.
    Otherwise {
        /// When it closes.
        closes_at: Timestamp,
        /// How many orders wait in it.
        waiting: i64,
    },
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
    /// True where the lab can be reached through another gateway only, or through none: its work is left
    /// alone, but what is beyond its deadline goes to a person. Then nothing is sent.
    pub away: bool,
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
    /// Batches have closed of which another gateway is not clear yet: it may have been asked for stops.
    Behind,
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

/// Takes what a lab is to be asked: stops to forward, or changes of addresses.
#[derive(Debug, Clone)]
pub struct ClaimAsks {
    /// The lab.
    pub lab: LabId,
    /// What it can do.
    pub profile: Arc<Profile>,
    /// At most so many.
    pub limit: i64,
    /// Fresh ids for escalations, as many.
    pub escalations: Vec<EscalationId>,
    /// If the lab cannot be asked now: when it may be. Deadlines are kept all the same.
    pub not_before: Option<Timestamp>,
    /// True where the lab can be reached through another gateway only, or through none: only what is beyond its
    /// deadline is taken.
    pub away: bool,
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
    /// Of a download: the platform says that its link is deactivated, and was not fetched.
    Revoked,
    /// Of a download: it was fetched.
    Fetched,
    /// Of a change of an address: the parcel goes to the new one.
    Taken,
    /// Of a change of an address: it goes to the one before.
    Refused,
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
    /// For what the decision leaves in doubt: the next escalation.
    pub next: EscalationId,
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
    /// What was sent may be on its way still: that the lab does not have it can be known only from then on.
    TooEarly {
        /// When.
        until: Timestamp,
    },
    /// The transfer stands otherwise by now: the decision is not taken.
    Stands {
        /// How.
        phase: TransferPhase,
    },
}
