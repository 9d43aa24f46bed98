//! Platforms with their policies.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{self, Id, Json, Query, answer, tagged};
use super::labs::{PageQuery, version_of};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document, Problem};
use crate::api::registry::PlatformEntry;
use crate::domain::Fault;
use crate::domain::ids::PlatformId;
use crate::domain::platform::PlatformSpec;
use crate::store::{self, PutPlatform, Scope, Write, Written};

/// A platform.
#[derive(Serialize, ToSchema)]
pub(super) struct PlatformAnswer {
    #[serde(flatten)]
    spec: PlatformSpec,
    /// Counts the changes of its definition; also the `ETag`.
    version: i64,
}

impl From<&PlatformEntry> for PlatformAnswer {
    fn from(entry: &PlatformEntry) -> Self {
        Self { spec: entry.spec.clone(), version: entry.version }
    }
}

/// A page of platforms.
#[derive(Serialize, ToSchema)]
pub(super) struct Platforms {
    /// The platforms, by id.
    platforms: Vec<PlatformAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists platforms.
#[utoipa::path(get, path = "/v1/platforms", tag = "registry", params(PageQuery),
    responses((status = 200, description = "A page of platforms", body = Platforms)))]
pub(super) async fn list(api: State<Api>, _caller: Caller, query: Query<PageQuery>) -> Answer<Response> {
    let limit = extract::limit(query.0.limit)?;
    let after: Option<PlatformId> = extract::cursor(query.0.cursor.as_deref())?;
    let known = api.registry.snapshot();
    let platforms: Vec<PlatformAnswer> = known
        .platforms
        .iter()
        .filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after))
        .take(usize::try_from(limit).unwrap_or(0))
        .map(|(_, entry)| PlatformAnswer::from(&**entry))
        .collect();
    let next = extract::next(platforms.len(), limit, platforms.last().map(|platform| &platform.spec.id));
    Ok(answer(StatusCode::OK, &Platforms { platforms, next }))
}

/// Reads a platform: ops any, a platform itself.
#[utoipa::path(get, path = "/v1/platforms/{platform}", tag = "registry", params(("platform" = PlatformId, Path)),
    responses(
        (status = 200, description = "The platform", body = PlatformAnswer, headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, platform: Id<PlatformId>) -> Answer<Response> {
    let foreign = matches!(&caller.scope, Scope::Platform(own) if *own != platform.0);
    let entry = api.registry.platform(&platform.0).filter(|_| !foreign).ok_or_else(Problem::not_found)?;
    Ok(tagged(answer(StatusCode::OK, &PlatformAnswer::from(&*entry)), entry.version))
}

/// Creates or replaces a platform.
#[utoipa::path(put, path = "/v1/platforms/{platform}", tag = "registry", request_body = PlatformSpec,
    params(("platform" = PlatformId, Path)),
    responses(
        (status = 200, description = "The platform as it is now", body = PlatformAnswer,
            headers(("ETag" = String))),
        (status = 201, description = "It is new.", body = PlatformAnswer, headers(("ETag" = String))),
    ))]
pub(super) async fn put(
    api: State<Api>,
    caller: Caller,
    platform: Id<PlatformId>,
    body: Json<PlatformSpec>,
) -> Answer<Response> {
    let spec = body.0;
    let mut faults = spec.faults();
    if spec.id != platform.0 {
        faults.push(Fault::not("id", spec.id.as_str(), "the id in the path"));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let was_there = api.registry.platform(&platform.0).is_some();
    let now = api.clock.now();
    let text = serde_json::to_string(&spec).map_err(|error| Problem::unexpected(&error.to_string()))?;
    let write = PutPlatform { id: platform.0, spec: text, at: now, actor: caller.actor.clone() };
    let Written::Put(put) = store::one(&*api.store, Write::PutPlatform(Box::new(write))).await? else {
        return Err(Problem::unexpected("not a platform"));
    };
    let version = version_of(put)?;
    api.registry.refresh(now).await?;
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok(tagged(answer(status, &PlatformAnswer { spec, version }), version))
}
