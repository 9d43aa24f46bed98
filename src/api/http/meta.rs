//! The usual places: description, problems, health, metrics. Open to everybody who reaches the port.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{answer, raw};
use crate::api::problem::{self, Answer, Document, Problem};
use crate::api::{Api, http};

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "meta",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn openapi() -> Answer<Response> {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| serde_json::to_vec(&http::openapi()).unwrap_or_default().into());
    Ok(raw(StatusCode::OK, text.clone()))
}

/// Every code of a problem, and what to do.
#[utoipa::path(get, path = "/problems", tag = "meta",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(super) async fn problems() -> Html<String> {
    Html(problem::page())
}

/// Whether the process runs.
#[utoipa::path(get, path = "/healthz", tag = "meta",
    responses((status = 200, description = "It runs.", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// What the gateway stands on.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready`.
    status: &'static str,
    /// The name of this replica.
    replica: String,
    /// The version of the program.
    version: &'static str,
    /// The release of the zone data.
    tzdata: String,
    /// Where the zone data came from.
    tzdata_source: String,
    /// How many labs are known.
    labs: usize,
}

/// Whether it can answer: the store does, and which zone data is in use.
#[utoipa::path(get, path = "/readyz", tag = "meta",
    responses(
        (status = 200, description = "It can.", body = Ready),
        (status = 503, description = "`unavailable`: the store does not answer.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn readyz(api: State<Api>) -> Answer<Response> {
    api.store.ping().await.map_err(Problem::from)?;
    let zones = api.registry.zones();
    let ready = Ready {
        status: "ready",
        replica: api.replica.clone(),
        version: env!("CARGO_PKG_VERSION"),
        tzdata: zones.version().to_owned(),
        tzdata_source: zones.source().to_string(),
        labs: api.registry.snapshot().labs.len(),
    };
    Ok(answer(StatusCode::OK, &ready))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "meta",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(api: State<Api>) -> Response {
    let mut response = (api.metrics)().into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
