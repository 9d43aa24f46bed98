//! Endpoints that are told what happens: made, listed, changed, tried. A secret is shown once.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Id, IfMatch, Json, Maybe, Page, Query, answer, tagged};
use super::labs::version_of;
use crate::api::auth::Caller;
use crate::api::idempotency::Keep;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::{Api, TestMessage};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::ids::{PlatformId, WebhookId};
use crate::domain::measures::Lasting;
use crate::domain::webhook::{
    KEEP_OLD, KEEP_OLD_MAX, Meaning, Message, MessageData, PING, WebhookSpec, check_secret, new_secret,
};
use crate::store::{
    self, ChangeWebhook, Put, PutWebhook, Scope, WebhookChange, WebhookFilter, WebhookRow, Write, Written,
};

/// An endpoint to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookRequest {
    /// Whose it is: needed with a key of scope `ops`, the key's own platform else.
    #[serde(default)]
    platform: Option<PlatformId>,
    /// Where messages are sent.
    #[schema(format = "uri", max_length = 2000)]
    url: String,
    /// Which events: kinds such as `stop.stopped`, families such as `stop.*`, or `*`. All unless told.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 50)]
    events: Option<Vec<String>>,
    /// What it is for, at most 200 characters.
    #[serde(default)]
    #[schema(max_length = 200)]
    description: String,
    /// What signs: `whsec_` and the base64 of 24 to 64 random bytes. Made here unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
    /// Whether it is told anything; yes unless told.
    #[serde(default)]
    enabled: Option<bool>,
}

/// What is to change of an endpoint; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookPatch {
    /// Where messages are sent.
    #[serde(default)]
    #[schema(format = "uri", max_length = 2000)]
    url: Option<String>,
    /// Which events.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 50)]
    events: Option<Vec<String>>,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 200)]
    description: Option<String>,
    /// Whether it is told anything. Switched on again, it goes on where it was: what happened meanwhile comes first.
    #[serde(default)]
    enabled: Option<bool>,
}

/// Another secret.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateRequest {
    /// What signs from now on. Made here unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
    /// How long the one before signs as well, at most `168h`; `24h` unless told.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "24h")]
    keep_old: Option<Lasting>,
}

/// Why and when the gateway switched an endpoint off.
#[derive(Serialize, ToSchema)]
struct SwitchedOff {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Why.
    cause: String,
}

/// A stretch of the log.
#[derive(Serialize, ToSchema)]
pub(super) struct LogStretch {
    /// Behind this number.
    pub(super) after: i64,
    /// Up to this one.
    pub(super) until: i64,
}

/// An endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookAnswer {
    /// Its id.
    id: WebhookId,
    /// Whose it is.
    platform: PlatformId,
    #[serde(flatten)]
    spec: WebhookSpec,
    /// Whether it is told anything.
    enabled: bool,
    /// If the gateway switched it off: when and why.
    #[schema(required = true)]
    switched_off: Option<SwitchedOff>,
    /// Counts the changes of its definition; also the `ETag`.
    version: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its definition changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Until when the secret before this one signs as well.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    old_secret_until: Option<Timestamp>,
    /// Up to this number of `GET /v1/events` it was told everything, or what it did not take is among its
    /// deliveries.
    cursor: i64,
    /// What is still to be sent once more.
    #[schema(required = true)]
    replaying: Option<LogStretch>,
    /// Attempts that failed in a row.
    failures: i64,
    /// Since when it was tried, each day or so, and has taken nothing; after five days of that it is switched off.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    failing_since: Option<Timestamp>,
    /// Until when it is left alone because it failed or asked for it.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    rests_until: Option<Timestamp>,
    /// When a message that failed is sent again next.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    retries_at: Option<Timestamp>,
    /// How many messages it has taken.
    delivered: i64,
    /// When it took one last.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    delivered_at: Option<Timestamp>,
    /// When an attempt failed last.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    failed_at: Option<Timestamp>,
    /// Why.
    #[schema(required = true)]
    failed_cause: Option<String>,
    /// What signs: only in the first answer to the request that made it, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl WebhookAnswer {
    fn of(row: WebhookRow, now: Timestamp) -> Self {
        Self {
            id: row.id,
            platform: row.platform,
            spec: row.spec,
            enabled: row.enabled,
            switched_off: row.off.map(|(at, cause)| SwitchedOff { at, cause }),
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            old_secret_until: row.secrets.before.map(|(_, until)| until).filter(|until| now < *until),
            cursor: row.cursor,
            replaying: row.replay.map(|(after, until)| LogStretch { after, until }),
            failures: row.condition.failures,
            failing_since: row.condition.failing_since,
            rests_until: row.condition.rest_until.filter(|until| now < *until),
            retries_at: row.due_at,
            delivered: row.delivered,
            delivered_at: row.delivered_at,
            failed_at: row.failed_at,
            failed_cause: row.failed_cause,
            secret: None,
        }
    }
}

/// A page of endpoints.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookList {
    /// The endpoints, by id.
    webhooks: Vec<WebhookAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Which endpoints.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhooksQuery {
    /// Of this platform; all unless told. A platform sees its own.
    platform: Option<PlatformId>,
    /// The `next` of an earlier answer.
    cursor: Option<String>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

/// What came of a test message.
#[derive(Serialize, ToSchema)]
pub(super) struct PingAnswer {
    /// Whether it was taken.
    delivered: bool,
    /// The status; null where there was no answer.
    #[schema(required = true)]
    status: Option<u16>,
    /// What was wrong.
    #[schema(required = true)]
    cause: Option<String>,
    /// The beginning of the answer.
    answer: String,
    /// How long it took, in milliseconds.
    took_ms: i64,
}

/// The platform that a caller is bound to.
pub(super) fn bound(caller: &Caller) -> Option<&PlatformId> {
    match &caller.scope {
        Scope::Platform(own) => Some(own),
        Scope::Ops | Scope::Lab(_) => None,
    }
}

/// An endpoint that the caller may see.
pub(super) async fn find(api: &Api, caller: &Caller, id: &WebhookId) -> Answer<WebhookRow> {
    api.store.webhook(id, bound(caller)).await?.ok_or_else(Problem::not_found)
}

/// Everything that is wrong with a definition.
fn checked(api: &Api, spec: &WebhookSpec) -> Vec<Fault> {
    let mut faults = spec.faults();
    if !faults.iter().any(|fault| fault.field == "url")
        && let Some(why) = (api.endpoints.refusal)(&spec.url)
    {
        faults.push(Fault::new("url", format!("{:?} is not called: {why}", spec.url)));
    }
    faults
}

/// Answers with an endpoint and, once, its secret.
async fn show(
    api: &Api,
    caller: &Caller,
    id: &WebhookId,
    status: StatusCode,
    secret: Option<&SecretString>,
) -> Answer<Response> {
    let row = find(api, caller, id).await?;
    let version = row.version;
    let mut shown = WebhookAnswer::of(row, api.clock.now());
    let kept = serde_json::to_string(&shown).map_err(|error| Problem::unexpected(&error.to_string()))?;
    shown.secret = secret.map(|secret| secret.expose_secret().to_owned());
    let mut response = tagged(answer(status, &shown), version);
    if secret.is_some() {
        response.extensions_mut().insert(Keep(kept));
    }
    Ok(response)
}

/// Applies a change.
pub(super) async fn change(api: &Api, caller: &Caller, id: &WebhookId, change: WebhookChange) -> Answer<Put> {
    let change = ChangeWebhook {
        id: id.clone(),
        platform: bound(caller).cloned(),
        change,
        at: api.clock.now(),
        actor: caller.actor.clone(),
    };
    let Written::Put(put) = store::one(&*api.store, Write::ChangeWebhook(Box::new(change))).await? else {
        return Err(Problem::unexpected("not an endpoint"));
    };
    api.nudge.webhooks.ring();
    Ok(put)
}

/// Makes an endpoint.
///
/// It is told what happens from now on. The answer shows its secret once; with an `Idempotency-Key`, a repeat names
/// the same endpoint without it.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = WebhookRequest,
    responses(
        (status = 201, description = "The endpoint, with its secret", body = WebhookAnswer,
            headers(("ETag" = String))),
        (status = 409, description = "`too_many_webhooks`; `idempotency_key_in_use`.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn create(api: State<Api>, caller: Caller, body: Json<WebhookRequest>) -> Answer<Response> {
    let WebhookRequest { platform, url, events, description, secret, enabled } = body.0;
    let spec = WebhookSpec { url, events: events.unwrap_or_else(|| vec!["*".to_owned()]), description };
    let mut faults = checked(&api, &spec);
    let platform = match (bound(&caller), platform) {
        (Some(own), Some(named)) if *own != named => {
            faults.push(Fault::not("platform", named.as_str(), "the platform of the key"));
            None
        }
        (Some(own), _) => Some(own.clone()),
        (None, Some(named)) if api.registry.platform(&named).is_some() => Some(named),
        (None, Some(named)) => {
            faults.push(Fault::not("platform", named.as_str(), "a known platform"));
            None
        }
        (None, None) => {
            faults.push(Fault::missing("platform", "a known platform"));
            None
        }
    };
    if let Some(Err(fault)) = secret.as_ref().map(check_secret) {
        faults.push(fault);
    }
    let Some(platform) = platform.filter(|_| faults.is_empty()) else { return Err(faults.into()) };
    let now = api.clock.now();
    let secret = secret.unwrap_or_else(|| new_secret(&*api.random));
    let put = PutWebhook {
        id: WebhookId::new(now, &*api.random),
        platform,
        spec,
        enabled: enabled.unwrap_or(true),
        secret: secret.clone(),
        cursor: api.store.log_end().await?,
        at: now,
        actor: caller.actor.clone(),
    };
    let id = put.id.clone();
    match store::one(&*api.store, Write::PutWebhook(Box::new(put))).await? {
        Written::Put(Put::Done(_)) => {}
        Written::Put(Put::InUse(there)) => {
            return Err(Problem::new(Code::TooManyWebhooks, format!("It has {there}.")));
        }
        _ => return Err(Problem::unexpected("not an endpoint")),
    }
    api.nudge.webhooks.ring();
    show(&api, &caller, &id, StatusCode::CREATED, Some(&secret)).await
}

/// Lists endpoints, never their secrets.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(WebhooksQuery),
    responses((status = 200, description = "A page of endpoints", body = WebhookList)))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<WebhooksQuery>) -> Answer<Response> {
    let WebhooksQuery { platform, cursor, limit } = query.0;
    let page: Page<WebhookId> = Page::asked(limit, cursor.as_deref())?;
    let own = bound(&caller).cloned();
    if let (Some(own), Some(named)) = (&own, &platform)
        && own != named
    {
        return Err(Fault::not("platform", named.as_str(), "the platform of the key").into());
    }
    let filter = WebhookFilter { platform: own.or(platform), after: page.from.clone(), limit: page.limit };
    let rows = api.store.webhooks(&filter).await?;
    let next = page.next(&rows, |row| &row.id);
    let now = api.clock.now();
    let webhooks = rows.into_iter().map(|row| WebhookAnswer::of(row, now)).collect();
    Ok(answer(StatusCode::OK, &WebhookList { webhooks, next }))
}

/// Reads an endpoint.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}", tag = "webhooks", params(("webhook" = WebhookId, Path)),
    responses(
        (status = 200, description = "The endpoint", body = WebhookAnswer, headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, webhook: Id<WebhookId>) -> Answer<Response> {
    show(&api, &caller, &webhook.0, StatusCode::OK, None).await
}

/// Changes an endpoint, or switches it on or off.
#[utoipa::path(patch, path = "/v1/webhooks/{webhook}", tag = "webhooks", request_body = WebhookPatch,
    params(("webhook" = WebhookId, Path), ("If-Match" = Option<String>, Header, description = "An `ETag`")),
    responses(
        (status = 200, description = "The endpoint as it is now", body = WebhookAnswer,
            headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 412, description = "`version_mismatch`", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn patch(
    api: State<Api>,
    caller: Caller,
    webhook: Id<WebhookId>,
    if_match: IfMatch,
    body: Json<WebhookPatch>,
) -> Answer<Response> {
    let WebhookPatch { url, events, description, enabled } = body.0;
    let row = find(&api, &caller, &webhook.0).await?;
    let version = if_match.0.unwrap_or(row.version);
    let spec = WebhookSpec {
        url: url.unwrap_or(row.spec.url),
        events: events.unwrap_or(row.spec.events),
        description: description.unwrap_or(row.spec.description),
    };
    let faults = checked(&api, &spec);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let set = WebhookChange::Set { spec, enabled: enabled.unwrap_or(row.enabled), version };
    version_of(change(&api, &caller, &webhook.0, set).await?)?;
    show(&api, &caller, &webhook.0, StatusCode::OK, None).await
}

/// Deletes an endpoint with its secrets and its deliveries.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook}", tag = "webhooks", params(("webhook" = WebhookId, Path)),
    responses(
        (status = 204, description = "It is told nothing any more."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn delete(api: State<Api>, caller: Caller, webhook: Id<WebhookId>) -> Answer<StatusCode> {
    version_of(change(&api, &caller, &webhook.0, WebhookChange::Delete).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives an endpoint another secret.
///
/// Until the one before ends, every message carries a signature by each. A third one ends the first at once. The
/// answer shows the new secret once.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/rotate-secret", tag = "webhooks",
    params(("webhook" = WebhookId, Path)), request_body = inline(Option<RotateRequest>),
    responses(
        (status = 200, description = "The endpoint, with its new secret", body = WebhookAnswer,
            headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn rotate(
    api: State<Api>,
    caller: Caller,
    webhook: Id<WebhookId>,
    body: Maybe<RotateRequest>,
) -> Answer<Response> {
    let (secret, keep_until) = secret_and_end(&api, body.0)?;
    let rotate = WebhookChange::Rotate { secret: secret.clone(), keep_until };
    version_of(change(&api, &caller, &webhook.0, rotate).await?)?;
    show(&api, &caller, &webhook.0, StatusCode::OK, Some(&secret)).await
}

/// The secret that signs from now on, and until when the one before does as well.
pub(super) fn secret_and_end(api: &Api, request: RotateRequest) -> Answer<(SecretString, Timestamp)> {
    let RotateRequest { secret, keep_old } = request;
    let keep = keep_old.map_or(KEEP_OLD, |keep| keep.0);
    let mut faults: Vec<Fault> = secret.iter().filter_map(|secret| check_secret(secret).err()).collect();
    if keep > KEEP_OLD_MAX {
        faults.push(Fault::not("keep_old", Lasting(keep).to_string(), "a duration up to 168h"));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    Ok((secret.unwrap_or_else(|| new_secret(&*api.random)), later(api.clock.now(), keep)))
}

/// Sends a test message now, and says what came of it.
///
/// Its type is `webhook.ping`. It is signed like any other, also where the endpoint is switched off; it is sent once
/// and is not among the deliveries.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/ping", tag = "webhooks",
    params(("webhook" = WebhookId, Path)),
    responses(
        (status = 200, description = "What came of it", body = PingAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn ping(api: State<Api>, caller: Caller, webhook: Id<WebhookId>) -> Answer<Response> {
    let row = find(&api, &caller, &webhook.0).await?;
    let now = api.clock.now();
    let data =
        MessageData { subject: row.id.to_string(), actor: caller.actor.0.clone(), ..MessageData::default() };
    let message = Message { kind: PING.to_owned(), timestamp: now, data };
    let body = serde_json::to_string(&message).map_err(|error| Problem::unexpected(&error.to_string()))?;
    let fresh = WebhookId::new(now, &*api.random).to_string();
    let test = TestMessage {
        url: row.spec.url.clone(),
        id: fresh.replace(WebhookId::PREFIX, "ping"),
        body,
        secrets: row.secrets.at(now).cloned().collect(),
    };
    let posted = (api.endpoints.ping)(test).await;
    let took = api.clock.now().duration_since(now).as_millis();
    let told = PingAnswer {
        delivered: posted.meaning() == Meaning::Delivered,
        status: (posted.status > 0).then_some(posted.status),
        cause: posted.cause,
        answer: posted.answer,
        took_ms: i64::try_from(took).unwrap_or(i64::MAX),
    };
    Ok(answer(StatusCode::OK, &told))
}
