//! Downloads: where a platform is asked to deactivate links, and what it says by itself. A secret is shown once.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Id, Json, Maybe, Order, answer};
use super::labs::version_of;
use super::webhooks::{RotateRequest, secret_and_end};
use crate::api::auth::Caller;
use crate::api::idempotency::Keep;
use crate::api::problem::{Answer, Document, Problem};
use crate::api::{Api, downloads};
use crate::domain::Fault;
use crate::domain::downloads::{ANSWERS_WITHIN, ANSWERS_WITHIN_MAX, DownloadVerdict, DownloadWord};
use crate::domain::ids::PlatformId;
use crate::domain::measures::Lasting;
use crate::domain::webhook::{WebhookSpec, check_secret, new_secret};
use crate::store::{self, CallbackChange, CallbackRow, ChangeCallback, Put, Scope, Write, Written};

/// Where a platform is to be asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallbackRequest {
    /// Where: an https URL.
    #[schema(format = "uri", max_length = 2000)]
    url: String,
    /// How long the platform has to answer before a person is called: `30m` unless told, at most `168h`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "30m")]
    answers_within: Option<Lasting>,
    /// What signs: `whsec_` and the base64 of 24 to 64 random bytes. Made here unless given; only while there is none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
}

/// Where a platform is asked to deactivate links of downloads.
#[derive(Serialize, ToSchema)]
pub(super) struct CallbackAnswer {
    /// Whose it is.
    platform: PlatformId,
    /// Where.
    url: String,
    /// How long the platform has to answer before a person is called.
    #[schema(value_type = String, example = "30m")]
    answers_within: Lasting,
    /// Counts its changes.
    version: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Until when the secret before this one signs as well.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    old_secret_until: Option<Timestamp>,
    /// What signs: only in the first answer to the request that made it, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl CallbackAnswer {
    fn of(row: CallbackRow, now: Timestamp) -> Self {
        Self {
            platform: row.platform,
            url: row.url,
            answers_within: row.answers_within,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            old_secret_until: row.secrets.before.map(|(_, until)| until).filter(|until| now < *until),
            secret: None,
        }
    }
}

/// What a platform says of a download.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DownloadReport {
    /// The platform's id of the line.
    item: String,
    /// What is so.
    said: DownloadWord,
    /// More, at most 500 characters. It becomes evidence.
    #[serde(default)]
    #[schema(max_length = 500)]
    comment: Option<String>,
}

/// A platform that the caller may change.
fn own(api: &Api, caller: &Caller, platform: &PlatformId) -> Answer<()> {
    let foreign = matches!(&caller.scope, Scope::Platform(own) if own != platform);
    if foreign || api.registry.platform(platform).is_none() {
        return Err(Problem::not_found());
    }
    Ok(())
}

async fn change(api: &Api, caller: &Caller, platform: &PlatformId, change: CallbackChange) -> Answer<Put> {
    let (platform, actor) = (platform.clone(), caller.actor.clone());
    let change = ChangeCallback { platform, change, at: api.clock.now(), actor };
    let Written::Put(put) = store::one(&*api.store, Write::ChangeCallback(Box::new(change))).await? else {
        return Err(Problem::unexpected("not a callback"));
    };
    api.nudge.downloads.ring();
    Ok(put)
}

/// Answers with the address and, once, its secret.
async fn show(
    api: &Api,
    platform: &PlatformId,
    status: StatusCode,
    secret: Option<&SecretString>,
) -> Answer<Response> {
    let row = api.store.download_callback(platform).await?.ok_or_else(Problem::not_found)?;
    let mut shown = CallbackAnswer::of(row, api.clock.now());
    let kept = serde_json::to_string(&shown).map_err(|error| Problem::unexpected(&error.to_string()))?;
    shown.secret = secret.map(|secret| secret.expose_secret().to_owned());
    let mut response = answer(status, &shown);
    if secret.is_some() {
        response.extensions_mut().insert(Keep(kept));
    }
    Ok(response)
}

/// Says where a platform is asked to deactivate links of downloads.
///
/// The question is a signed POST of a `DownloadQuestion`, with the id of the download as `webhook-id`, the same at every
/// attempt. A 200 with `{"answer": "deactivated"}` or `{"answer": "already_fetched"}` within 10 seconds is an answer;
/// whatever else comes, it is asked again until `answers_within` is over. Then a person finds out. The answer to this
/// shows the secret once.
#[utoipa::path(put, path = "/v1/platforms/{platform}/downloads", tag = "downloads", request_body = CallbackRequest,
    params(("platform" = PlatformId, Path)),
    responses(
        (status = 200, description = "Where it is asked now; the secret stays.", body = CallbackAnswer),
        (status = 201, description = "It is new: with its secret.", body = CallbackAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn put(
    api: State<Api>,
    caller: Caller,
    platform: Id<PlatformId>,
    body: Json<CallbackRequest>,
) -> Answer<Response> {
    let CallbackRequest { url, answers_within, secret } = body.0;
    own(&api, &caller, &platform.0)?;
    let spec = WebhookSpec { url, events: vec!["*".to_owned()], description: String::new() };
    let mut faults = spec.faults();
    if faults.is_empty()
        && let Some(why) = (api.endpoints.refusal)(&spec.url)
    {
        faults.push(Fault::new("url", format!("{:?} is not called: {why}", spec.url)));
    }
    let within = answers_within.unwrap_or(ANSWERS_WITHIN);
    if within.0.is_zero() || within > ANSWERS_WITHIN_MAX {
        let allowed = "a duration above 0s and of at most 168h";
        faults.push(Fault::not("answers_within", within.to_string(), allowed));
    }
    if let Some(given) = &secret {
        faults.extend(check_secret(given).err());
        if api.store.download_callback(&platform.0).await?.is_some() {
            let text = "is given, and there is one: `rotate-secret` replaces it";
            faults.push(Fault::new("secret", text));
        }
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let secret = secret.unwrap_or_else(|| new_secret(&*api.random));
    let set = CallbackChange::Set { url: spec.url, answers_within: within, secret: secret.clone() };
    let put = change(&api, &caller, &platform.0, set).await?;
    let new = put == Put::Done(1);
    version_of(put)?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    show(&api, &platform.0, status, new.then_some(&secret)).await
}

/// Reads where a platform is asked to deactivate links of downloads, never its secret.
#[utoipa::path(get, path = "/v1/platforms/{platform}/downloads", tag = "downloads",
    params(("platform" = PlatformId, Path)),
    responses(
        (status = 200, description = "Where it is asked", body = CallbackAnswer),
        (status = 404, description = "`not_found`: no such platform, or it gave no address.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, platform: Id<PlatformId>) -> Answer<Response> {
    own(&api, &caller, &platform.0)?;
    show(&api, &platform.0, StatusCode::OK, None).await
}

/// Forgets where a platform is asked, with its secrets.
///
/// What it has not answered yet is given to a person at once, and so is whatever is asked from then on.
#[utoipa::path(delete, path = "/v1/platforms/{platform}/downloads", tag = "downloads",
    params(("platform" = PlatformId, Path)),
    responses(
        (status = 204, description = "It is not asked any more."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn delete(api: State<Api>, caller: Caller, platform: Id<PlatformId>) -> Answer<StatusCode> {
    own(&api, &caller, &platform.0)?;
    version_of(change(&api, &caller, &platform.0, CallbackChange::Delete).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives the address at which a platform is asked another secret.
///
/// Until the one before ends, every question carries a signature by each. The answer shows the new secret once.
#[utoipa::path(post, path = "/v1/platforms/{platform}/downloads/rotate-secret", tag = "downloads",
    params(("platform" = PlatformId, Path)), request_body = inline(Option<RotateRequest>),
    responses(
        (status = 200, description = "Where it is asked, with the new secret", body = CallbackAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn rotate(
    api: State<Api>,
    caller: Caller,
    platform: Id<PlatformId>,
    body: Maybe<RotateRequest>,
) -> Answer<Response> {
    own(&api, &caller, &platform.0)?;
    let (secret, keep_until) = secret_and_end(&api, body.0)?;
    let rotate = CallbackChange::Rotate { secret: secret.clone(), keep_until };
    version_of(change(&api, &caller, &platform.0, rotate).await?)?;
    show(&api, &platform.0, StatusCode::OK, Some(&secret)).await
}

/// Says that a download was fetched, or that its link was deactivated.
///
/// What a platform reports by itself counts like its answer to a question. A download that was fetched can not be
/// revoked any more. The same again changes nothing; that one was fetched which was told revoked calls a person.
#[utoipa::path(post, path = "/v1/orders/{order}/downloads", tag = "downloads", request_body = DownloadReport,
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The download as it stands now", body = DownloadVerdict),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: `item` is no download of the order.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn report(
    api: State<Api>,
    caller: Caller,
    order: Order,
    body: Json<DownloadReport>,
) -> Answer<Response> {
    let DownloadReport { item, said, comment } = body.0;
    let told = downloads::report(&api, &caller, order.0, item, (said, comment)).await?;
    Ok(answer(StatusCode::OK, &told))
}
