//! The evidence about one order, as a bundle that stands on its own.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::answers;
use super::escalations::EscalationAnswer;
use super::extract::{Order, answer};
use super::orders::{find, judge, reports};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document, Problem};
use crate::domain::evidence::Bundle;
use crate::domain::ids::TransferId;

fn json(value: &impl serde::Serialize) -> Answer<Value> {
    serde_json::to_value(value).map_err(|error| Problem::unexpected(&error.to_string()))
}

/// Whether a caller would rather have text than JSON: it is named, and before JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = accepted.split(',').filter_map(|part| part.split(';').next()).map(str::trim);
    kinds.into_iter().find(|kind| matches!(*kind, "text/plain" | "application/json" | "*/*"))
        == Some("text/plain")
}

/// The evidence about an order.
///
/// It stands on its own: the order, everything that happened to it, its batches and its transfer, as it was
/// hashed, the checkpoints that cover it, and how to check all of it, in words. `stoppress doctor
/// --verify-evidence FILE` checks it without the gateway. With `Accept: text/plain`, for people.
#[utoipa::path(get, path = "/v1/orders/{order}/evidence", tag = "orders",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The evidence", content(
            (Bundle = "application/json"), (String = "text/plain"))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(
    api: State<Api>,
    caller: Caller,
    order: Order,
    headers: HeaderMap,
) -> Answer<Response> {
    let facts = find(&api, &caller.scope, order.0).await?;
    let now = api.clock.now();
    let verdict = judge(&api, &facts, false, now).await?;
    let reports = reports(&api, &facts).await?;
    let shown = answers::order_with(&facts, &verdict, &reports)?;
    let shown = serde_json::from_str(&shown).map_err(|error| Problem::unexpected(&error.to_string()))?;
    let mut subjects = vec![facts.id.to_string()];
    subjects.extend(facts.stop.as_ref().map(|stop| stop.id.to_string()));
    subjects.extend(facts.transfer.as_ref().map(|transfer| transfer.id.to_string()));
    let mut contradictions = Vec::new();
    for mut row in api.store.contradictions(&subjects).await? {
        if TransferId::parse(&row.subject).is_ok() {
            // It may name orders of others that the same transfer carries.
            row.evidence.clear();
        }
        contradictions.push(json(&EscalationAnswer::from(row))?);
    }
    let found = api.store.evidence(&caller.scope, &facts.id).await?.ok_or_else(Problem::not_found)?;
    let made_by = format!("stoppress {}", env!("CARGO_PKG_VERSION"));
    let bundle = Bundle::new((now, made_by), shown, contradictions, found.entries, found.checkpoints);
    let bundle = bundle.map_err(|error| Problem::unexpected(&error.to_string()))?;
    if wants_text(&headers) {
        let mut response = bundle.text().into_response();
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return Ok(response);
    }
    Ok(answer(StatusCode::OK, &bundle))
}
