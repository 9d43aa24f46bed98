//! What goes into the store and what comes out: writes about orders, and the outcome of every write.

mod addresses;
mod ahead;
mod board;
mod changes;
mod customer;
mod downloads;
mod evidence;
mod factor;
mod hand_over;
#[cfg(debug_assertions)]
mod kind;
mod mail;
mod registry;
mod retention;
mod routes;
mod rows;
mod session;
mod warnings;
mod webhook;

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::address::AddressFacts;
use crate::domain::batch::{BatchFacts, Joining, TransferFacts};
use crate::domain::downloads::DownloadFacts;
use crate::domain::event::Actor;
use crate::domain::hours::AnswerDue;
use crate::domain::ids::{EscalationId, LabId, OrderId, PlatformId, RegionId, StopId, TransferId};
use crate::domain::order::Stage;
use crate::domain::stop::{AskedBy, StopFacts};

pub use addresses::*;
pub use ahead::*;
pub use board::*;
pub use changes::*;
pub use customer::*;
pub use downloads::*;
pub use evidence::*;
pub use factor::*;
pub use hand_over::*;
pub use mail::*;
pub use registry::*;
pub use retention::*;
pub use routes::*;
pub use rows::*;
pub use session::*;
pub use warnings::*;
pub use webhook::*;

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
    /// Asks for a stop about which the merchant decides. → [`Written::Approval`]
    AskApproval(Box<ApprovalAsk>),
    /// Takes the merchant's decision. → [`Written::Decided`]
    Decide(Box<Decide>),
    /// Calls ops about merchants who have not decided in time. → [`Written::Done`]
    Overdue(Overdue),
    /// Changes an order. → [`Written::Changed`]
    Change(Box<Change>),
    /// Stops an order, and admits another in its place. → [`Written::Replaced`]
    Replace(Box<Replace>),
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
    ClaimStops(Box<ClaimAsks>),
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
    /// Creates, replaces or deletes routes. → [`Written::Put`]
    PutRoutes(Box<PutRoutes>),
    /// Closes a batch that promised nothing, if it is full. → [`Written::Closed`]
    CloseFull(Box<CloseFull>),
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
    /// Makes a second factor of a key, which is not yet in force. → [`Written::Code`]
    StartFactor(Box<StartFactor>),
    /// Shows a code of a second factor: the first one puts it in force. → [`Written::Code`]
    ShowCode(Box<ShowCode>),
    /// Takes a second factor away. → [`Written::Put`]
    RemoveFactor {
        /// The key.
        key: String,
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
    /// Makes another key of customers' links. → [`Written::LinksRotated`]
    RotateLinks(Box<RotateLinks>),
    /// Takes back all links of an order. → [`Written::LinksRevoked`]
    RevokeLinks(Box<RevokeLinks>),
    /// Makes an endpoint that is told what happens. → [`Written::Put`]
    PutWebhook(Box<PutWebhook>),
    /// Changes it. → [`Written::Put`]
    ChangeWebhook(Box<ChangeWebhook>),
    /// Takes it, to send to it. → [`Written::WebhookClaimed`]
    ClaimWebhook(Box<ClaimWebhook>),
    /// Says what came of messages, and takes more. → [`Written::WebhookSettled`]
    SettleWebhook(Box<SettleWebhook>),
    /// Moves cursors over what concerns nobody. → [`Written::Done`]
    SkipWebhooks(Vec<SkipWebhook>),
    /// Forgets what became of messages long ago. → [`Written::Done`]
    ForgetDeliveries(ForgetDeliveries),
    /// Takes out what orders say of people that are at an end. → [`Written::Purged`]
    Purge(Box<Purge>),
    /// Warns of a cutoff that comes near. → [`Written::Warned`]
    Warn(Box<Warn>),
    /// Takes back all links to the calendar of a region. → [`Written::LinksRevoked`]
    RevokeCalendarLinks(Box<RevokeCalendarLinks>),
    /// Changes where a platform is asked about downloads. → [`Written::Put`]
    ChangeCallback(Box<ChangeCallback>),
    /// Takes downloads about which platforms are to be asked. → [`Written::DownloadsClaimed`]
    ClaimDownloads(ClaimDownloads),
    /// Says what a platform answered. → [`Written::DownloadSettled`]
    SettleDownload(Box<SettleDownload>),
    /// Takes what somebody says of a download without being asked. → [`Written::DownloadReported`]
    ReportDownload(Box<ReportDownload>),
    /// Asks for another shipping address of an order that was handed over. → [`Written::AddressAsked`]
    AskAddress(Box<AskAddress>),
    /// Takes such changes about which a lab is to be asked. → [`Written::AddressesClaimed`]
    ClaimAddresses(Box<ClaimAsks>),
    /// Says what a lab answered. → [`Written::AddressSettled`]
    SettleAddress(Box<SettleAddress>),
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
    /// Of [`Write::AskApproval`].
    Approval(Box<ApprovalOutcome>),
    /// Of [`Write::Decide`].
    Decided(Box<Decided>),
    /// Of [`Write::Change`].
    Changed(Changed),
    /// Of [`Write::Replace`].
    Replaced(Replaced),
    /// Of [`Write::Report`].
    Reported(Reported),
    /// Of [`Write::Close`] and [`Write::CloseFull`].
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
    /// Of [`Write::SignIn`].
    SignedIn(SignedIn),
    /// Of [`Write::StartFactor`] and [`Write::ShowCode`].
    Code(CodeSaid),
    /// Of [`Write::RotateLinks`]: the number of the new key; `None` if there is no number left.
    LinksRotated(Option<i64>),
    /// Of [`Write::RevokeLinks`] and [`Write::RevokeCalendarLinks`]: the serial of the links that hold from now on; `None` for what is not there.
    LinksRevoked(Option<u32>),
    /// Of [`Write::ClaimWebhook`]: nothing if another gateway has it, or it is not there.
    WebhookClaimed(Option<Box<WebhookClaim>>),
    /// Of [`Write::SettleWebhook`]: nothing if another gateway has it by now, or it is not there any more.
    WebhookSettled(Option<Box<WebhookSettled>>),
    /// Of [`Write::Purge`].
    Purged(Purged),
    /// Of [`Write::Warn`].
    Warned(Warned),
    /// Of [`Write::ClaimDownloads`].
    DownloadsClaimed(Vec<DownloadDue>),
    /// Of [`Write::SettleDownload`]: how it stands now; `None` for one that is not there.
    DownloadSettled(Option<Box<DownloadFacts>>),
    /// Of [`Write::ReportDownload`].
    DownloadReported(DownloadReported),
    /// Of [`Write::AskAddress`].
    AddressAsked(Box<AddressAsked>),
    /// Of [`Write::ClaimAddresses`].
    AddressesClaimed(Vec<AddressDue>),
    /// Of [`Write::SettleAddress`]: how it stands now; `None` for one that is not there or not this lab's.
    AddressSettled(Option<Box<AddressFacts>>),
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
    /// How lab and region were chosen, as JSON, where the order named none: kept in its log.
    pub route: Option<Box<serde_json::value::RawValue>>,
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
    /// Who that is, by a name or an id of the platform's own.
    pub requested_by: Option<String>,
    /// The lines that it names; none: the whole order, with all of its downloads.
    pub items: Vec<String>,
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
    /// A stop of lines that cannot be asked: nothing was changed.
    Refused(StopRefused),
    /// It names only downloads, of this order: nothing that is printed is asked about.
    Downloads(OrderId),
}

/// Why a stop that names lines was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopRefused {
    /// The order has no such lines.
    UnknownLines(Vec<String>),
    /// It has left the house, and its lab stops whole orders only.
    WholeOrderOnly,
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
