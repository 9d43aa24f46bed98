//! Stops: asked, read, listed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::{Contradiction, StopAnswer};
use super::extract::{Maybe, Order, Page, Query, answer};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document};
use crate::api::stops::{self, Ask, Asked};
use crate::domain::ids::LabId;
use crate::domain::stop::{AskedBy, StopState};
use crate::domain::verdict::Verdict;
use crate::store::{Scope, StopFilter, StopRow};

/// Why an order is to be stopped. Everything may be left out, the body too.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StopRequest {
    /// Why, in a word or two, at most 200 characters; `unspecified` unless told.
    #[schema(max_length = 200, example = "wrong size")]
    reason: Option<String>,
    /// More, at most 2,000 characters.
    #[schema(max_length = 2000)]
    comment: Option<String>,
    /// Who asks.
    asked_by: AskedBy,
}

/// How a stop stands, and what can still be done.
#[derive(Serialize, ToSchema)]
pub(super) struct StopWithVerdict {
    /// The stop.
    stop: StopAnswer,
    /// The verdict on its order, now.
    verdict: Verdict,
    /// What the lab said or did against what was told of it, oldest first; nearly always nothing.
    contradictions: Vec<Contradiction>,
}

/// Asks that an order not be printed.
///
/// While the gateway has the order, it is stopped at once. Otherwise the lab is asked, or a person,
/// and an answer comes by `answer_due_at`. An order has one stop: a repeat gives that one, as it stands.
/// A stop whose request arrived before the cutoff always succeeds.
#[utoipa::path(post, path = "/v1/orders/{order}/stop", tag = "stops",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    request_body = inline(Option<StopRequest>),
    responses(
        (status = 200, description = "It is decided: see `state` and `evidence`.", body = StopWithVerdict),
        (status = 202, description = "A lab or a person decides by `answer_due_at`.", body = StopWithVerdict),
        (status = 403, description = "`customer_stops_off`, `merchant_decides`: the platform's policy for \
            customers; `forbidden`.", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn ask(
    api: State<Api>,
    caller: Caller,
    order: Order,
    body: Maybe<StopRequest>,
) -> Answer<Response> {
    let StopRequest { reason, comment, asked_by } = body.0;
    let ask = Ask { order: order.0, reason, comment, asked_by };
    let asked = stops::ask(&api, &caller, ask).await?;
    let status = if stops::is_open(&asked.stop) { StatusCode::ACCEPTED } else { StatusCode::OK };
    shown(&api, status, asked).await
}

/// Reads the stop of an order.
#[utoipa::path(get, path = "/v1/orders/{order}/stop", tag = "stops",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The stop", body = StopWithVerdict),
        (status = 404, description = "`not_found`: no such order, or no stop was asked.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, order: Order) -> Answer<Response> {
    let asked = stops::standing(&api, &caller, order.0).await?;
    shown(&api, StatusCode::OK, asked).await
}

async fn shown(api: &Api, status: StatusCode, asked: Asked) -> Answer<Response> {
    let contradictions = asked.contradictions(api).await?.into_iter().map(Contradiction::from).collect();
    let Asked { stop, verdict, .. } = asked;
    Ok(answer(status, &StopWithVerdict { stop: StopAnswer::from(&stop), verdict, contradictions }))
}

/// Which stops to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only in this state.
    pub(super) state: Option<StopState>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<i64>,
    /// The `next` of an earlier answer.
    pub(super) cursor: Option<String>,
}

/// A stop in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct StopInList {
    #[serde(flatten)]
    stop: StopAnswer,
    /// Whose order it is.
    platform: String,
    /// The lab.
    lab: LabId,
    /// The platform's reference of the order.
    reference: String,
}

impl From<&StopRow> for StopInList {
    fn from(row: &StopRow) -> Self {
        Self {
            stop: StopAnswer::from(&row.stop),
            platform: row.platform.clone(),
            lab: row.lab.clone(),
            reference: row.reference.clone(),
        }
    }
}

/// A page of stops.
#[derive(Serialize, ToSchema)]
pub(super) struct Stops {
    /// The stops, newest first.
    stops: Vec<StopInList>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists stops, newest first.
#[utoipa::path(get, path = "/v1/stops", tag = "stops", params(ListQuery),
    responses(
        (status = 200, description = "A page of stops", body = Stops),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<ListQuery>) -> Answer<Response> {
    page(&api, &caller.scope, query.0).await
}

/// A page of the stops within a scope.
pub(super) async fn page(api: &Api, scope: &Scope, query: ListQuery) -> Answer<Response> {
    let page = Page::asked(query.limit, query.cursor.as_deref())?;
    let filter = StopFilter {
        state: query.state,
        before: page.from.clone(),
        limit: page.limit,
        ..StopFilter::default()
    };
    let rows = api.store.stops(scope, &filter).await?;
    let next = page.next(&rows, |row| &row.stop.id);
    Ok(answer(StatusCode::OK, &Stops { stops: rows.iter().map(StopInList::from).collect(), next }))
}
