//! Mail to the people of labs: planned, claimed before it is sent, settled.

use jiff::Timestamp;

use crate::domain::ids::{EscalationId, LabId, OrderId, RegionId, StopId};
use crate::domain::mail::{MailOutcome, Step};
use crate::domain::stop::StopFacts;

/// A stop about which nobody was written yet.
#[derive(Debug, Clone)]
pub struct MailWanted {
    /// The stop.
    pub stop: StopFacts,
    /// The lab.
    pub lab: LabId,
    /// Where the order is printed.
    pub region: RegionId,
}

/// A mail that is to be sent.
#[derive(Debug, Clone)]
pub struct MailPlan {
    /// The stop.
    pub stop: StopId,
    /// Its order.
    pub order: OrderId,
    /// The lab.
    pub lab: LabId,
    /// Which mail it is; one each a stop.
    pub step: Step,
    /// When.
    pub at: Timestamp,
}

/// Takes mails to send.
#[derive(Debug, Clone)]
pub struct ClaimMails {
    /// At most so many.
    pub limit: i64,
    /// Now.
    pub now: Timestamp,
    /// Until when nobody else takes them.
    pub lease_until: Timestamp,
}

/// A mail to send now.
#[derive(Debug, Clone)]
pub struct MailDue {
    /// The stop.
    pub stop: StopId,
    /// Its order.
    pub order: OrderId,
    /// The lab.
    pub lab: LabId,
    /// Which mail it is.
    pub step: Step,
    /// Its number among the attempts.
    pub attempt: i64,
    /// True if it is not to be sent: whoever began this attempt is gone, and nobody knows what came of it.
    pub lapsed: bool,
}

/// How a sending ended.
#[derive(Debug, Clone)]
pub struct SettleMail {
    /// The stop.
    pub stop: StopId,
    /// Which mail it is.
    pub step: Step,
    /// The attempt.
    pub attempt: i64,
    /// How it ended.
    pub outcome: MailOutcome,
    /// To whom, masked.
    pub to: String,
    /// Now.
    pub at: Timestamp,
    /// A fresh id, if a person has to take the stop for it.
    pub escalation: EscalationId,
}
