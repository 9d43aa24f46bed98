//! Webhooks: endpoints, what is claimed of the log for them, and what became of each message.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::event::Actor;
use crate::domain::ids::{OrderId, PlatformId, WebhookId};
use crate::domain::webhook::{Condition, MessageId, Off, Secrets, WebhookSpec};

/// An endpoint. The log up to `cursor` is done with: taken by the receiver, or a row of its own.
#[derive(Debug, Clone)]
pub struct WebhookRow {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub platform: PlatformId,
    /// What its platform wants.
    pub spec: WebhookSpec,
    /// Whether it is told anything.
    pub enabled: bool,
    /// When and why the gateway switched it off, if it did.
    pub off: Option<(Timestamp, String)>,
    /// What signs.
    pub secrets: Secrets,
    /// Counts the changes of its definition.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its definition changed last.
    pub updated_at: Timestamp,
    /// Up to where the log is done with.
    pub cursor: i64,
    /// Up to where the log may have been sent.
    pub taken: i64,
    /// Who took it, and until when, where nobody has given it up.
    pub held: Option<(String, Timestamp)>,
    /// The stretch of the log that is still to be sent once more: behind the first number, up to the second.
    pub replay: Option<(i64, i64)>,
    /// How it has done lately.
    pub condition: Condition,
    /// When the next message that failed is due.
    pub due_at: Option<Timestamp>,
    /// How many messages it has taken.
    pub delivered: i64,
    /// When it took one last.
    pub delivered_at: Option<Timestamp>,
    /// When an attempt failed last.
    pub failed_at: Option<Timestamp>,
    /// Why.
    pub failed_cause: Option<String>,
}

/// Which endpoints, by id.
#[derive(Debug, Clone)]
pub struct WebhookFilter {
    /// Of this platform.
    pub platform: Option<PlatformId>,
    /// Behind this one.
    pub after: Option<WebhookId>,
    /// At most so many.
    pub limit: i64,
}

/// A new endpoint.
#[derive(Debug, Clone)]
pub struct PutWebhook {
    /// A fresh id.
    pub id: WebhookId,
    /// Whose it is.
    pub platform: PlatformId,
    /// What its platform wants.
    pub spec: WebhookSpec,
    /// Whether it is told anything.
    pub enabled: bool,
    /// What signs.
    pub secret: SecretString,
    /// It is told what comes behind this number of the log.
    pub cursor: i64,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// A change of an endpoint.
#[derive(Debug, Clone)]
pub struct ChangeWebhook {
    /// The endpoint.
    pub id: WebhookId,
    /// Only if it is this platform's.
    pub platform: Option<PlatformId>,
    /// What.
    pub change: WebhookChange,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// The changes of an endpoint.
#[derive(Debug, Clone)]
pub enum WebhookChange {
    /// Another definition, if it still has this version; switched on or off.
    Set {
        /// The definition.
        spec: WebhookSpec,
        /// Whether it is told anything.
        enabled: bool,
        /// The version that was read.
        version: i64,
    },
    /// Another secret; the one before signs as well until an instant.
    Rotate {
        /// The new one.
        secret: SecretString,
        /// Until when the one before holds.
        keep_until: Timestamp,
    },
    /// One message once more, as it was recorded.
    ReplayOne(MessageId),
    /// A stretch of the log once more: behind the first number, up to the second.
    Replay(i64, i64),
    /// It is told nothing any more, and forgotten.
    Delete,
}

/// Takes an endpoint: until the lease ends, nobody else sends to it.
#[derive(Debug, Clone)]
pub struct ClaimWebhook {
    /// The endpoint.
    pub id: WebhookId,
    /// This gateway.
    pub holder: String,
    /// Now.
    pub now: Timestamp,
    /// Until when.
    pub lease_until: Timestamp,
    /// If the cursor is the first number: the log up to the second one will be sent.
    pub take: Option<(i64, i64)>,
}

/// An endpoint that was taken.
#[derive(Debug, Clone)]
pub struct WebhookClaim {
    /// The endpoint.
    pub row: WebhookRow,
    /// The number of this claim: what is said under an older one does not count.
    pub fence: i64,
    /// Up to here the log may have been sent before by somebody who did not say what came of it.
    pub unsure_until: i64,
    /// Messages beyond the cursor of which is known what became of them.
    pub ahead: Vec<MessageId>,
    /// Orders of which a message waits, with the number of the first: what comes later waits behind it. `None` are
    /// messages about no order.
    pub open: Vec<(Option<OrderId>, i64)>,
}

/// How a message stands at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// An attempt failed; the next has its time.
    Waiting,
    /// It waits for an earlier message about the same order.
    Behind,
    /// It was taken.
    Delivered,
    /// Every attempt of the schedule failed.
    GivenUp,
}

impl DeliveryState {
    /// The number that the database keeps.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Waiting, Self::Behind, Self::Delivered, Self::GivenUp].into_iter().find(|at| at.code() == code)
    }

    /// Whether it is not at an end.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Behind)
    }
}

/// What became of a message.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub id: MessageId,
    /// Its kind.
    pub kind: String,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was sent, or may have been.
    pub attempts: i64,
    /// When it is sent next, if it waits.
    pub next_at: Timestamp,
    /// When it was first sent or put behind another.
    pub first_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The status of the last answer; 0 where there was none.
    pub status: u16,
    /// How long the last attempt took, in milliseconds.
    pub took_ms: i64,
    /// Why the last attempt failed.
    pub cause: Option<String>,
    /// The beginning of the last answer.
    pub answer: String,
    /// What was sent, or is to be.
    pub body: Arc<str>,
}

/// A message that waits, taken to be sent.
#[derive(Debug, Clone)]
pub struct DeliveryDue {
    /// The message.
    pub id: MessageId,
    /// Its kind.
    pub kind: String,
    /// The number of this attempt.
    pub attempt: i64,
    /// When it was first sent.
    pub first_at: Timestamp,
    /// What is to be sent.
    pub body: Arc<str>,
}

/// Says what came of messages, and what will be sent next.
#[derive(Debug, Clone)]
pub struct SettleWebhook {
    /// The endpoint.
    pub id: WebhookId,
    /// This gateway.
    pub holder: String,
    /// The claim.
    pub fence: i64,
    /// Now.
    pub now: Timestamp,
    /// Until when the claim holds from now on; `None` gives it up.
    pub lease_until: Option<Timestamp>,
    /// What came of messages; each at most once.
    pub deliveries: Vec<Delivery>,
    /// Orders whose first open message ended: the next one is due.
    pub freed: Vec<Option<OrderId>>,
    /// How many were taken.
    pub delivered: i64,
    /// Why an attempt failed last, if one has.
    pub failed_cause: Option<String>,
    /// Up to where the log is done with.
    pub cursor: i64,
    /// Up to where it will be sent.
    pub taken: i64,
    /// Of a replay: its bounds as they were read, and where it goes on; `None` ends it.
    pub replayed: Option<((i64, i64), Option<i64>)>,
    /// How the endpoint does.
    pub condition: Condition,
    /// Whether it is back: what waits is due at once.
    pub hasten: bool,
    /// Why it is to be switched off.
    pub off: Option<Off>,
    /// At most so many messages that are due are taken to be sent.
    pub take_due: i64,
}

/// Of a settlement.
#[derive(Debug, Clone)]
pub struct WebhookSettled {
    /// The version of the endpoint's definition.
    pub version: i64,
    /// Whether it is told anything.
    pub enabled: bool,
    /// The stretch that is to be sent once more.
    pub replay: Option<(i64, i64)>,
    /// When the next message that failed is due.
    pub due_at: Option<Timestamp>,
    /// What was taken to be sent.
    pub due: Vec<DeliveryDue>,
    /// Of the orders that were freed: those of which nothing waits any more.
    pub cleared: Vec<Option<OrderId>>,
}

/// Moves the cursor of an endpoint that nobody has taken over what does not concern it.
#[derive(Debug, Clone)]
pub struct SkipWebhook {
    /// The endpoint.
    pub id: WebhookId,
    /// Only while its definition is this one.
    pub version: i64,
    /// From here.
    pub from: i64,
    /// To here.
    pub to: i64,
    /// Now.
    pub now: Timestamp,
}

/// Forgets what became of messages of an endpoint long ago. What waits stays.
#[derive(Debug, Clone)]
pub struct ForgetDeliveries {
    /// The endpoint.
    pub id: WebhookId,
    /// What ended before goes.
    pub before: Timestamp,
    /// And what is older than the newest so many.
    pub keep: i64,
}

/// Which messages of an endpoint, newest first.
#[derive(Debug, Clone)]
pub struct DeliveryFilter {
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Older than this one.
    pub before: Option<MessageId>,
    /// At most so many.
    pub limit: i64,
}
