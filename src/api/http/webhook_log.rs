//! What became of messages to an endpoint, and sending them once more.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Id, Json, Page, Query, answer};
use super::labs::version_of;
use super::webhooks::{LogStretch, change, find};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::ids::{OrderId, WebhookId};
use crate::domain::webhook::{MessageId, shown};
use crate::store::{Delivery, DeliveryFilter, DeliveryState, WebhookChange};

/// By how much the log is searched behind an instant up to which it is asked for.
const SLACK: SignedDuration = SignedDuration::from_mins(4);

/// Which messages.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesQuery {
    /// Only those that stand so.
    #[param(inline)]
    state: Option<DeliveryState>,
    /// The `next` of an earlier answer.
    cursor: Option<String>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

/// What became of a message.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryAnswer {
    /// The message: its `webhook-id`.
    message: String,
    /// What happened.
    #[serde(rename = "type")]
    kind: String,
    /// The order, if it is about one.
    #[schema(required = true)]
    order: Option<OrderId>,
    /// Its number in `GET /v1/events`.
    version: i64,
    /// How it stands.
    state: DeliveryState,
    /// How often it was sent, or may have been.
    attempts: i64,
    /// When it was first sent, or put behind another.
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    /// When it is sent next, if it waits for that.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    next_at: Option<Timestamp>,
    /// When it was taken or given up.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    ended_at: Option<Timestamp>,
    /// The status of the last answer; null where there was none.
    #[schema(required = true)]
    status: Option<u16>,
    /// How long the last attempt took, in milliseconds.
    took_ms: i64,
    /// Why the last attempt failed.
    #[schema(required = true)]
    cause: Option<String>,
    /// The beginning of what was sent, at most 1 KiB.
    request: String,
    /// The beginning of the last answer, at most 1 KiB, without what looks like a credential.
    answer: String,
}

impl From<Delivery> for DeliveryAnswer {
    fn from(delivery: Delivery) -> Self {
        Self {
            message: delivery.id.to_string(),
            kind: delivery.kind,
            version: delivery.id.seq,
            order: delivery.id.order,
            state: delivery.state,
            attempts: delivery.attempts,
            first_at: delivery.first_at,
            next_at: (delivery.state == DeliveryState::Waiting).then_some(delivery.next_at),
            ended_at: delivery.ended_at,
            status: (delivery.status > 0).then_some(delivery.status),
            took_ms: delivery.took_ms,
            cause: delivery.cause,
            request: shown(delivery.body.as_bytes()),
            answer: delivery.answer,
        }
    }
}

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
pub(super) struct Deliveries {
    /// The deliveries, newest first.
    deliveries: Vec<DeliveryAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// What is to be sent once more: one message, or a stretch of the log by numbers or by instants.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    /// One message among the deliveries.
    #[serde(default)]
    message: Option<String>,
    /// Everything behind this number of `GET /v1/events`.
    #[serde(default)]
    #[schema(minimum = 0)]
    after: Option<i64>,
    /// Up to this one; up to where the endpoint was told, unless told.
    #[serde(default)]
    until: Option<i64>,
    /// Everything since this instant, and perhaps a few minutes more.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Up to this one.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    before: Option<Timestamp>,
}

/// What will be sent once more.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayAnswer {
    /// The message.
    #[schema(required = true)]
    message: Option<String>,
    /// The stretch of the log.
    #[schema(required = true)]
    stretch: Option<LogStretch>,
}

/// Lists what became of messages to an endpoint.
///
/// Of what was taken or given up, the newest 10,000 are kept, for 14 days.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("webhook" = WebhookId, Path), DeliveriesQuery),
    responses(
        (status = 200, description = "A page of deliveries", body = Deliveries),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn deliveries(
    api: State<Api>,
    caller: Caller,
    webhook: Id<WebhookId>,
    query: Query<DeliveriesQuery>,
) -> Answer<Response> {
    let DeliveriesQuery { state, cursor, limit } = query.0;
    let page: Page<MessageId> = Page::asked(limit, cursor.as_deref())?;
    let row = find(&api, &caller, &webhook.0).await?;
    let filter = DeliveryFilter { state, before: page.from.clone(), limit: page.limit };
    let found = api.store.deliveries(&row.id, &filter).await?;
    let next = page.next(&found, |delivery| &delivery.id);
    let deliveries = found.into_iter().map(DeliveryAnswer::from).collect();
    Ok(answer(StatusCode::OK, &Deliveries { deliveries, next }))
}

/// Sends messages once more, under the ids that they had.
///
/// One message of the deliveries; or all that the endpoint takes in a stretch of the log, by numbers (`after`,
/// `until`) or by instants (`since`, `before`), also those that are not among the deliveries any more. What happens
/// meanwhile goes first. A receiver that remembers ids ignores what it has seen; one that compares `data.version`
/// ignores what is older than what it knows.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/replay", tag = "webhooks", request_body = ReplayRequest,
    params(("webhook" = WebhookId, Path)),
    responses(
        (status = 202, description = "It will be sent.", body = ReplayAnswer),
        (status = 404, description = "`not_found`: no such endpoint, or no such message among its deliveries.",
            body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn replay(
    api: State<Api>,
    caller: Caller,
    webhook: Id<WebhookId>,
    body: Json<ReplayRequest>,
) -> Answer<Response> {
    let row = find(&api, &caller, &webhook.0).await?;
    let ReplayRequest { message, after, until, since, before } = body.0;
    let (numbers, instants) = (after.is_some() || until.is_some(), since.is_some() || before.is_some());
    if usize::from(message.is_some()) + usize::from(numbers) + usize::from(instants) != 1 {
        let text = "name `message`, or `after` with or without `until`, or `since` with or without `before`";
        return Err(Fault::new("", text).into());
    }
    if let Some(message) = message {
        let id = MessageId::parse(&message).map_err(|fault| fault.under("message"))?;
        version_of(change(&api, &caller, &row.id, WebhookChange::ReplayOne(id)).await?)?;
        let told = ReplayAnswer { message: Some(message), stretch: None };
        return Ok(answer(StatusCode::ACCEPTED, &told));
    }
    let (field, after, until) = match (after, since) {
        (Some(after), _) => ("after", after, until.unwrap_or(i64::MAX)),
        (None, Some(since)) => {
            let until = match before {
                Some(before) => api.store.log_at(later(before, SLACK)).await?,
                None => i64::MAX,
            };
            ("since", api.store.log_at(since).await?, until)
        }
        (None, None) if numbers => return Err(Fault::missing("after", "a number of the log").into()),
        (None, None) => return Err(Fault::missing("since", "an instant").into()),
    };
    if after < 0 {
        return Err(Fault::not("after", after, "a whole number from 0").into());
    }
    // What comes behind is told anyhow.
    let until = until.min(row.cursor);
    if after >= until {
        let text = format!(
            "leaves nothing: the endpoint was told up to {} and what is asked for begins behind {after}",
            row.cursor
        );
        return Err(Fault::new(field, text).into());
    }
    version_of(change(&api, &caller, &row.id, WebhookChange::Replay(after, until)).await?)?;
    let told = ReplayAnswer { message: None, stretch: Some(LogStretch { after, until }) };
    Ok(answer(StatusCode::ACCEPTED, &told))
}
