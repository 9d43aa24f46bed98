//! API keys: made, listed, revoked. The secret is shown once.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{self, Json, Query, answer};
use super::labs::{PageQuery, version_of};
use crate::api::auth::{Caller, Grant, mint};
use crate::api::idempotency::Keep;
use crate::api::problem::{Answer, Document, Problem};
use crate::api::{Api, sessions};
use crate::domain::Fault;
use crate::domain::ids::{LabId, PlatformId};
use crate::store::{self, KeyRow, Scope, Write, Written};

/// What a key may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KeyScope {
    /// Everything.
    Ops,
    /// One platform's orders.
    Platform,
    /// What one lab was given.
    Lab,
}

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    /// What it may see.
    scope: KeyScope,
    /// The platform or lab that it is for; none for `ops`.
    #[serde(default)]
    owner: Option<String>,
    /// What it is for, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// When it ends; never unless told.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A key.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    /// Its public part.
    id: String,
    /// `ops`, `platform` or `lab`.
    scope: String,
    /// The platform or lab; empty for ops.
    owner: String,
    /// What it is for.
    name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Since when its second factor is in force; null: it has none.
    #[schema(value_type = Option<String>, format = DateTime)]
    second_factor_at: Option<Timestamp>,
    /// The whole key: only in the first answer to `POST /v1/keys`, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<KeyRow> for KeyAnswer {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            scope: row.scope,
            owner: row.owner,
            name: row.name,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            second_factor_at: row.second_factor_at,
            secret: None,
        }
    }
}

fn granted(api: &Api, request: KeyRequest, now: Timestamp) -> Result<Grant, Vec<Fault>> {
    let KeyRequest { scope, owner, name, expires_at } = request;
    let mut faults = Vec::new();
    if name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        faults.push(Fault::not("name", &name, "1 to 100 printable characters"));
    }
    if let Some(at) = expires_at.filter(|at| *at <= now) {
        faults.push(Fault::not("expires_at", at.to_string(), "an instant in the future"));
    }
    let owner = owner.unwrap_or_default();
    let known = |kind| Fault::not("owner", &owner, kind);
    let scope = match scope {
        KeyScope::Ops if owner.is_empty() => Ok(Scope::Ops),
        KeyScope::Ops => Err(known("left out: a key of scope ops has no owner")),
        KeyScope::Platform => PlatformId::parse(&owner)
            .ok()
            .filter(|id| api.registry.platform(id).is_some())
            .map(Scope::Platform)
            .ok_or_else(|| known("a known platform")),
        KeyScope::Lab => LabId::parse(&owner)
            .ok()
            .filter(|id| api.registry.lab(id).is_some())
            .map(Scope::Lab)
            .ok_or_else(|| known("a known lab")),
    };
    match scope {
        Ok(scope) if faults.is_empty() => {
            Ok(Grant { scope, name, expires_at: expires_at.map(crate::clock::whole_micros) })
        }
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault);
            Err(faults)
        }
    }
}

/// Makes a key.
///
/// The answer shows it once. With an `Idempotency-Key`, a repeat names the same key without its secret.
#[utoipa::path(post, path = "/v1/keys", tag = "registry", request_body = KeyRequest,
    responses((status = 201, description = "The key, with its secret", body = KeyAnswer)))]
pub(super) async fn create(api: State<Api>, caller: Caller, body: Json<KeyRequest>) -> Answer<Response> {
    let now = api.clock.now();
    let (row, secret) = mint(granted(&api, body.0, now)?, now, &*api.random);
    store::one(&*api.store, Write::PutKey(Box::new(row.clone()), caller.actor.clone())).await?;
    api.keys.refresh().await?;
    let mut shown = KeyAnswer::from(row);
    let kept = serde_json::to_string(&shown).map_err(|error| Problem::unexpected(&error.to_string()))?;
    shown.secret = Some(secret.expose_secret().to_owned());
    let mut response = answer(StatusCode::CREATED, &shown);
    response.extensions_mut().insert(Keep(kept));
    Ok(response)
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyList {
    /// The keys, by id, also those that ended.
    keys: Vec<KeyAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists keys, never their secrets.
#[utoipa::path(get, path = "/v1/keys", tag = "registry", params(PageQuery),
    responses((status = 200, description = "A page of keys", body = KeyList)))]
pub(super) async fn list(api: State<Api>, _caller: Caller, query: Query<PageQuery>) -> Answer<Response> {
    let limit = extract::limit(query.0.limit)?;
    let after: Option<String> = extract::cursor(query.0.cursor.as_deref())?;
    let mut rows = api.store.keys().await?;
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    let keys: Vec<KeyAnswer> = rows
        .into_iter()
        .filter(|row| after.as_ref().is_none_or(|after| row.id > *after))
        .take(usize::try_from(limit).unwrap_or(0))
        .map(KeyAnswer::from)
        .collect();
    let next = extract::next(keys.len(), limit, keys.last().map(|key| &key.id));
    Ok(answer(StatusCode::OK, &KeyList { keys, next }))
}

/// Revokes a key: at once here, within a second at other replicas.
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "registry",
    params(("key" = String, Path, description = "Its public part")),
    responses(
        (status = 204, description = "It is revoked."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn revoke(api: State<Api>, caller: Caller, key: Path<String>) -> Answer<Response> {
    let write = Write::RevokeKey { id: key.0, at: api.clock.now(), actor: caller.actor.clone() };
    let Written::Put(put) = store::one(&*api.store, write).await? else {
        return Err(Problem::unexpected("not a key"));
    };
    version_of(put)?;
    api.keys.refresh().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A link that signs in at the pages, once.
#[derive(Serialize, ToSchema)]
pub(super) struct SignInLinkAnswer {
    /// Where to open it, seen from the gateway's address: the link is shown only now.
    path: String,
    /// When it stops working.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Makes a link that signs in at the pages with a key, once, within 15 minutes.
///
/// For people who shall not handle the key itself. The session ends with the key.
#[utoipa::path(post, path = "/v1/keys/{key}/links", tag = "registry",
    params(("key" = String, Path, description = "Its public part")),
    responses(
        (status = 201, description = "The link", body = SignInLinkAnswer),
        (status = 404, description = "`not_found`: unknown, expired or revoked.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn link(api: State<Api>, caller: Caller, key: Path<String>) -> Answer<Response> {
    let now = api.clock.now();
    if !api.keys.holds(&key.0, now) {
        return Err(Problem::not_found());
    }
    let (text, expires_at) =
        sessions::offer(&*api.store, &*api.random, &key.0, caller.actor.clone(), now).await?;
    let path = format!("/sign-in/{}", text.expose_secret());
    let mut response = answer(StatusCode::CREATED, &SignInLinkAnswer { path, expires_at });
    // What is remembered for repeats has no secret.
    let kept = SignInLinkAnswer { path: "/sign-in/".to_owned(), expires_at };
    let kept = serde_json::to_string(&kept).map_err(|error| Problem::unexpected(&error.to_string()))?;
    response.extensions_mut().insert(Keep(kept));
    Ok(response)
}
