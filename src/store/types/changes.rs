//! Changes of an order other than a stop: holds, a merchant's approval, replacements.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Admission, Scope, StopAsk, StopOutcome, StopRefused};
use crate::domain::batch::Joining;
use crate::domain::event::Actor;
use crate::domain::extras::ApprovalFacts;
use crate::domain::ids::{ApprovalId, EscalationId, HoldId, LabId, OrderId};
use crate::domain::order::OrderState;
use crate::domain::stop::StopFacts;

/// A change of an order other than a stop.
#[derive(Debug, Clone)]
pub struct Change {
    /// The order.
    pub order: OrderId,
    /// Who may see it.
    pub scope: Scope,
    /// What to do.
    pub kind: ChangeKind,
    /// A fresh id, for a change that puts a hold.
    pub hold: HoldId,
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
    /// It leaves its window. One of the same owner for the same reason is the same hold.
    Hold,
    /// It leaves its window and goes back to the editor.
    Review,
    /// All holds of the caller end; with the last of all, it joins the window of this instant.
    Release,
    /// One hold ends, of the caller, or, for ops, of anybody.
    ReleaseOne(HoldId),
    /// Nothing keeps it out of a window, and it is in none: it joins the one of this instant.
    Rejoin,
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
    /// There is no such hold, or it was released before.
    NoSuchHold,
    /// Nothing of the caller holds it, or the hold is somebody else's: of these owners, or of what ends it.
    HeldByOthers(Vec<String>),
    /// It replaces this order or is replaced by it, which is not stopped: only one of them may be printed.
    Replaced(OrderId),
    /// The order has another version.
    Version(i64),
    /// The window had closed before this could commit: compute the next one and try again.
    WindowClosed,
}

/// A customer's stop that the merchant is to decide about.
#[derive(Debug, Clone)]
pub struct ApprovalAsk {
    /// A fresh id.
    pub id: ApprovalId,
    /// A fresh id for the hold that keeps the order out of its window.
    pub hold: HoldId,
    /// When the merchant should have decided.
    pub due_at: Timestamp,
    /// The stop itself: the order, its lines if it names any, why, who; asked at once where it is too late for anybody.
    pub stop: StopAsk,
}

/// Of an approval that was asked for.
#[derive(Debug, Clone)]
pub enum ApprovalOutcome {
    /// A stop is asked or decided: there is nothing to approve.
    Stop(StopOutcome),
    /// One had been asked for: this one.
    Already(ApprovalFacts),
    /// The merchant is to decide.
    Asked(ApprovalFacts),
}

/// A merchant's decision.
#[derive(Debug, Clone)]
pub struct Decide {
    /// The approval.
    pub approval: ApprovalId,
    /// Whose orders: the platform's own, or ops.
    pub scope: Scope,
    /// The stop that is asked, if the merchant agrees; its order, lines and words are those of the approval.
    pub agrees: Option<Box<StopAsk>>,
    /// The window that the order, or what is left of it, joins: unless the merchant agrees to a stop of all of it.
    pub join: Option<Joining>,
    /// The merchant's words.
    pub why: Option<String>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Of a merchant's decision.
#[derive(Debug, Clone)]
pub enum Decided {
    /// No such approval within the scope.
    NotFound,
    /// It had been decided before.
    Already(ApprovalFacts),
    /// The merchant said no.
    Declined(ApprovalFacts),
    /// The merchant agreed: this is the stop; none where only downloads were asked about.
    Approved(ApprovalFacts, Option<Box<StopFacts>>),
    /// The merchant agrees, and no such stop can be asked any more: nothing was changed.
    Refused(StopRefused),
    /// The window had closed before this could commit: compute the next one and try again.
    WindowClosed,
}

/// Calls ops about merchants who have not decided in time.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// Now.
    pub now: Timestamp,
    /// Fresh ids: at most so many are called about.
    pub escalations: Vec<EscalationId>,
}

/// Stops an order, and admits another in its place that waits for that.
#[derive(Debug, Clone)]
pub struct Replace {
    /// The stop of the old order, by its id.
    pub stop: StopAsk,
    /// The new order. It joins no window by itself.
    pub admission: Arc<Admission>,
    /// The window that it joins if the old one is stopped at once and it is paid for.
    pub join: Option<Joining>,
    /// A fresh id for what keeps it out meanwhile.
    pub hold: HoldId,
}

/// Of a replacement.
#[derive(Debug, Clone)]
pub enum Replaced {
    /// No such order within the scope.
    NotFound,
    /// The new order is there, under this id; true if it is new.
    Done(OrderId, bool),
    /// The reference names another order, or the same with other content.
    Taken(OrderId),
    /// Another order that may be printed replaces it already.
    By(OrderId),
    /// The order waits itself for the stop of this one: that one is to be replaced.
    Waits(OrderId),
    /// It cannot be replaced as it stands.
    NotAllowed(OrderState),
}

/// Which approvals to list.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Only those that the merchant is to decide.
    pub open: bool,
    /// Of ops: those that are open, the first due first, whatever else is said but for the lab.
    pub due_first: bool,
    /// Of `due_first`: only of this lab.
    pub lab: Option<LabId>,
    /// Older than this one.
    pub before: Option<ApprovalId>,
    /// At most so many.
    pub limit: i64,
}

/// An approval with the platform's reference of its order.
#[derive(Debug, Clone)]
pub struct ApprovalRow {
    /// The approval.
    pub approval: ApprovalFacts,
    /// The platform's reference.
    pub reference: String,
}
