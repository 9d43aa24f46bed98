//! A message: what an endpoint is told about one entry of the log and one order.
//!
//! It is thin: what happened, to which order, and the order's state; whoever needs more reads the order, or the
//! entry itself by its number.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Fault;
use crate::domain::ids::{LabId, OrderId, StopId};
use crate::domain::order::{OrderFacts, OrderState};
use crate::domain::stop::{Evidence, StopFacts, StopState};
use crate::domain::warning::Missing;

/// Every kind of entry that endpoints are told about. A test compares them with those that the store writes.
pub const KINDS: &[&str] = &[
    "address.answer",
    "address.asked",
    "address.contradicted",
    "address.forwarded",
    "address.late_answer",
    "address.refused",
    "address.taken",
    "address.with_a_person",
    "approval.approved",
    "approval.asked",
    "approval.declined",
    "approval.overdue",
    "approval.overtaken",
    "download.answer",
    "download.contradicted",
    "download.fetched",
    "download.forwarded",
    "download.late_answer",
    "download.revoked",
    "download.revoking",
    "download.with_a_person",
    "order.admitted",
    "order.ahead",
    "order.changed",
    "order.cutoff_near",
    "order.held",
    "order.in_production",
    "order.in_review",
    "order.links_revoked",
    "order.paid",
    "order.printed",
    "order.purged",
    "order.received",
    "order.reinstated",
    "order.released",
    "order.replaced",
    "order.replacement_abandoned",
    "order.replacement_released",
    "order.replacement_withdrawn",
    "order.replaces",
    "order.report",
    "order.sent_ahead",
    "order.shipped",
    "order.taken_back",
    "stop.answer",
    "stop.contradicted",
    "stop.forwarded",
    "stop.late_answer",
    "stop.mail_failed",
    "stop.mailed",
    "stop.pending",
    "stop.stopped",
    "stop.stopped_in_part",
    "stop.too_late",
    "stop.with_a_person",
    "transfer.answer",
    "transfer.at_lab",
    "transfer.closed",
    "transfer.empty",
    "transfer.sending",
    "transfer.unknown",
    "transfer.with_a_person",
    "webhook.switched_off",
];

/// The kind of a test message.
pub const PING: &str = "webhook.ping";

/// The id of a message: the same at every attempt, at every endpoint, and when it is replayed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The number of the entry.
    pub seq: i64,
    /// The order, if it is about one.
    pub order: Option<OrderId>,
}

impl MessageId {
    /// Reads one.
    ///
    /// # Errors
    /// If the text is none.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = || Fault::not("", text, "the id of a message, such as \"msg_17_…\"");
        let rest = text.strip_prefix("msg_").ok_or_else(wrong)?;
        let (seq, order) = rest.split_once('_').map_or((rest, None), |(seq, order)| (seq, Some(order)));
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq: i64 = seq.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        let order = order.map(|hex| OrderId::parse(&format!("{}_{hex}", OrderId::PREFIX)));
        Ok(Self { seq, order: order.transpose().map_err(|_| wrong())? })
    }
}

impl TryFrom<String> for MessageId {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        Self::parse(&text)
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without a full stop: the signature separates its parts by them.
        write!(f, "msg_{}", self.seq)?;
        let hex = self.order.as_ref().and_then(|order| order.as_str().split_once('_'));
        hex.map_or(Ok(()), |(_, hex)| write!(f, "_{hex}"))
    }
}

/// What an endpoint is sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WebhookMessage)]
pub struct Message {
    /// What happened, as in the changelog.
    #[serde(rename = "type")]
    #[schema(example = "stop.stopped")]
    pub kind: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// To what.
    pub data: MessageData,
}

/// To what it happened.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = WebhookMessageData)]
pub struct MessageData {
    /// The order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// The platform's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Who prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab: Option<LabId>,
    /// The order's state when the message was made: never older than what happened, perhaps newer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<OrderState>,
    /// The stop that the message is about, as it stood when the message was made. Where it is about none, the order's
    /// own. One with `items` stops only these, and says nothing of the rest of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<MessageStop>,
    /// Of `order.cutoff_near`: the cutoff that the order would miss, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<MessageWarning>,
    /// Rises with every message about the same order: whoever has seen a higher one may ignore this. It is the
    /// number of the entry in `GET /v1/events`.
    pub version: i64,
    /// What the entry of the log is about: the order, a transfer that carries it, or an endpoint.
    pub subject: String,
    /// Who did it.
    pub actor: String,
}

/// A cutoff that an order would miss.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookMessageWarning)]
pub struct MessageWarning {
    /// When that is.
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Timestamp,
    /// Why, all of it.
    pub because: Vec<Missing>,
}

/// A stop, in short.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WebhookMessageStop)]
pub struct MessageStop {
    /// Its id.
    pub id: StopId,
    /// How it stands.
    pub state: StopState,
    /// What a final state rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The items that it names; left out where it is about the whole order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<String>>,
}

impl From<&StopFacts> for MessageStop {
    fn from(stop: &StopFacts) -> Self {
        Self { id: stop.id.clone(), state: stop.state, evidence: stop.evidence, items: stop.items.clone() }
    }
}

impl MessageData {
    /// The same with what is known of the order; a stop that it names stays.
    #[must_use]
    pub fn about(self, facts: &OrderFacts) -> Self {
        Self {
            reference: Some(facts.reference.clone()),
            lab: Some(facts.lab.clone()),
            state: Some(facts.state()),
            stop: self.stop.or_else(|| facts.stop.as_ref().map(MessageStop::from)),
            order: Some(facts.id.clone()),
            ..self
        }
    }
}
