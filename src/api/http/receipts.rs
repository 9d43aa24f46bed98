//! The receipt of a stop, as JSON or as text.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Order, Query, answer};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::orders::{find, line_stops};
use crate::api::problem::{Answer, Document, Problem};
use crate::domain::ids::StopId;
use crate::domain::receipt::Receipt;

/// Which stop.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptQuery {
    /// One of the order's stops, by its id; unless told the one that `GET …/stop` gives.
    stop: Option<StopId>,
}

/// The receipt of a stop.
///
/// What was asked when and by whom, what came of it and on what that rests, each line with what became of it, what
/// it brings, and the entry of the changelog that proves it. `Accept: text/plain` gives it for people.
#[utoipa::path(get, path = "/v1/orders/{order}/stop/receipt", tag = "stops",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference"), ReceiptQuery),
    responses(
        (status = 200, description = "The receipt", content((Receipt = "application/json"), (String = "text/plain"))),
        (status = 404, description = "`not_found`: no such order, or no such stop.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn get(
    api: State<Api>,
    caller: Caller,
    order: Order,
    query: Query<ReceiptQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let facts = find(&api, &caller.scope, order.0).await?;
    let parts = line_stops(&api, &facts).await?;
    let mut all = parts.iter().chain(&facts.stop);
    let stop = match &query.0.stop {
        None => all.next_back(),
        Some(id) => all.find(|stop| stop.id == *id),
    };
    let stop = stop.ok_or_else(Problem::not_found)?;
    let log = api.store.log(&[stop.order.as_str()]).await?;
    let receipt = Receipt::of(&facts, stop, &log, api.clock.now());
    if wants_text(&headers) {
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        return Ok((StatusCode::OK, kind, receipt.text()).into_response());
    }
    Ok(answer(StatusCode::OK, &receipt))
}

/// Whether text is asked for before JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.into_iter().find(|kind| matches!(*kind, "text/plain" | "application/json" | "*/*"))
        == Some("text/plain")
}
