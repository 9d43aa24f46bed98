//! What goes into the store and what comes out: writes about orders, and the outcome of every write.

mod ahead;
mod board;
mod customer;
mod hand_over;
mod mail;
mod registry;
mod rows;
mod session;

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::batch::{BatchFacts, Joining, TransferFacts};
use crate::domain::event::Actor;
use crate::domain::hours::AnswerDue;
use crate::domain::ids::{EscalationId, LabId, OrderId, PlatformId, RegionId, StopId, TransferId};
use crate::domain::order::{OrderState, Stage};
use crate::domain::stop::{AskedBy, StopFacts};

pub use ahead::*;
pub use board::*;
pub use customer::*;
pub use hand_over::*;
pub use mail::*;
pub use registry::*;
pub use rows::*;
pub use session::*;

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
    Admit(Arc<Admission>),
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
    /// Records the intent to send orders ahead to a lab of two phases, or to take them back. →
    /// [`Written::Importing`]
    Import(Box<Import>),
    /// Says what a lab answered to an order that was sent ahead. → [`Written::Done`]
    Imported(Box<Imported>),
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
    /// Makes a link that signs in once. → [`Written::Done`]
    OfferSignIn(Box<SignInLink>),
    /// Signs a browser in. → [`Written::SignedIn`]
    SignIn(Box<SignIn>),
    /// Says that a session was used. → [`Written::Done`]
    SeeSession {
        /// The session.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// Ends a session. → [`Written::Done`]
    EndSession {
        /// The session.
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
    /// Says until when this gateway has every stop that it was asked in the store. → [`Written::Announced`]
    Announce(Announce),
    /// Says that this gateway has ended. → [`Written::Done`]
    Leave {
        /// The gateway.
        replica: String,
        /// When.
        at: Timestamp,
    },
    /// Plans mails about stops. → [`Written::Done`]
    PlanMails(Vec<MailPlan>),
    /// Takes mails to send. → [`Written::MailsClaimed`]
    ClaimMails(ClaimMails),
    /// Says how a sending ended. → [`Written::Done`]
    SettleMail(Box<SettleMail>),
    /// Makes the key of links, if there is none. → [`Written::Done`]
    PutLinkKey {
        /// Its bytes, hex.
        secret: secrecy::SecretString,
        /// When.
        at: Timestamp,
    },
    /// Makes the first key of customers' links, if there is none. → [`Written::Done`]
    PutCustomerKey {
        /// Its bytes, hex.
        secret: secrecy::SecretString,
        /// When.
        at: Timestamp,
    },
    /// Takes back all links of an order. → [`Written::LinksRevoked`]
    RevokeLinks(Box<RevokeLinks>),
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
    /// Of [`Write::Import`]: what may be sent, and what taken back.
    Importing(Vec<Ahead>, Vec<OrderId>),
    /// Of [`Write::ClaimMails`].
    MailsClaimed(Vec<MailDue>),
    /// Of [`Write::Resolve`].
    Resolved(Resolved),
    /// Of [`Write::Announce`]: how many other gateways are alive.
    Announced(i64),
    /// Of [`Write::SignIn`]: the key that the session stands for, unless the link does not work any more.
    SignedIn(Option<String>),
    /// Of [`Write::RevokeLinks`]: the serial of the links that hold from now on; `None` for what is not there.
    LinksRevoked(Option<u32>),
    /// Of the registry's writes.
    Put(Put),
    /// Of writes that cannot but succeed.
    Done,
}

/// What a gateway says to the others on its database.
#[derive(Debug, Clone)]
pub struct Announce {
    /// The gateway.
    pub replica: String,
    /// Every stop that it was asked before is in the store.
    pub clear_until: Timestamp,
    /// Now.
    pub at: Timestamp,
}

/// How long a gateway that says nothing counts as alive: hand-overs wait for it no longer.
pub const GONE_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_secs(15);

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
pub enum Admitted {
    /// It is durable.
    New {
        /// The batch that it joined.
        batch: Option<Arc<BatchFacts>>,
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
    /// When an answer is due, where contact hours decide it; else `answers_within` of the lab's profile.
    pub due: Option<AnswerDue>,
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
    /// The lab's time of it cannot be: nothing was taken.
    BadTime {
        /// When the order was admitted.
        from: Timestamp,
        /// Now.
        to: Timestamp,
    },
}

/// How far the clock of a lab may be from ours before the time of a report is refused.
pub const CLOCKS_DIFFER: jiff::SignedDuration = jiff::SignedDuration::from_secs(120);

/// Keeps claims of later instants waiting while a stop is being asked; see
/// [`Store::asking`](super::Store::asking).
pub struct AskGuard {
    /// When it was asked.
    pub at: Timestamp,
    pub(super) _asking: Option<Box<dyn Send + Sync>>,
}

impl std::fmt::Debug for AskGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AskGuard").field("at", &self.at).finish_non_exhaustive()
    }
}
