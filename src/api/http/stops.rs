//! Stops: asked, read, listed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::{Contradiction, StopAnswer};
use super::approvals::ApprovalAnswer;
use super::extract::{Maybe, Order, Page, Query, answer};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document};
use crate::api::stops::{self, Ask, Asked, Outcome};
use crate::domain::Fault;
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
    /// Who that is, by a name or an id of the platform's own, at most 200 characters. It is kept and shown.
    #[schema(max_length = 200, example = "m.virtanen")]
    requested_by: Option<String>,
    /// Only these lines, by the ids of their items, each named once. Left out: the whole order. All that are left
    /// are the whole order too.
    #[schema(min_items = 1, max_items = 1000)]
    items: Option<Vec<String>>,
}

/// How a stop stands, and what can still be done.
#[derive(Serialize, ToSchema)]
pub(super) struct StopWithVerdict {
    /// The stop; null while the merchant decides on what a customer asked, or if the merchant declined, and where
    /// only downloads were asked about.
    #[schema(required = true)]
    stop: Option<StopAnswer>,
    /// Of what a customer asked where the merchant decides: how that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ApprovalAnswer>,
    /// The verdict on its order, now. How its downloads stand is said there, apart from what is printed.
    verdict: Verdict,
    /// All stops of the order that name lines, oldest first.
    parts: Vec<StopAnswer>,
    /// What the lab said or did against what was told of it, oldest first; nearly always nothing.
    contradictions: Vec<Contradiction>,
}

/// Asks that an order not be printed.
///
/// While the gateway has the order, it is stopped at once. Otherwise the lab is asked, or a person,
/// and an answer comes by `answer_due_at`. An order has one stop: a repeat gives that one, as it stands.
/// A stop whose request arrived before the cutoff always succeeds. Where customers ask and the merchant decides
/// (`customer_stops` is `ask_merchant`), the order is kept out of its window until that is decided.
///
/// A stop may name lines (`items`). While the gateway has the order these are out at once, `stopped_in_part`, and
/// the rest goes on; other lines, or the whole order, can be stopped as before. After the hand-over the lab is asked
/// if its profile has `stops_lines`; else nothing is done, and the answer is `not_allowed`. Where the merchant decides
/// on what a customer asks, it decides on exactly the lines that the customer names: see `items` of `approval`.
///
/// Downloads are asked about beside it: with the whole order all of them, with `items` those that it names. Their
/// platform is called, and `verdict.downloads` says how each stands, whatever became of what is printed: one may be
/// stopped and the other fetched. A stop of all lines that are printed leaves the downloads as they are.
#[utoipa::path(post, path = "/v1/orders/{order}/stop", tag = "stops",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    request_body = inline(Option<StopRequest>),
    responses(
        (status = 200, description = "It is decided: see `state` and `evidence`.", body = StopWithVerdict),
        (status = 202, description = "A lab or a person decides by `answer_due_at`, or the merchant: see \
            `approval`; or the platform has not answered about a download yet.", body = StopWithVerdict),
        (status = 403, description = "`customer_stops_off`: the platform's policy for customers; `forbidden`.",
            body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`not_allowed`: the order has left, and its lab stops whole orders only.",
            body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: `items` names what is no item of the order, or one twice.",
            body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn ask(
    api: State<Api>,
    caller: Caller,
    order: Order,
    body: Maybe<StopRequest>,
) -> Answer<Response> {
    let StopRequest { reason, comment, asked_by, requested_by, items } = body.0;
    if items.as_ref().is_some_and(Vec::is_empty) {
        let text = "names no item; leave it out for the whole order";
        return Err(Fault::new("items", text).into());
    }
    let items = items.unwrap_or_default();
    let ask = Ask { order: order.0, reason, comment, asked_by, requested_by, items };
    let outcome = stops::ask(&api, &caller, ask).await?;
    shown(&api, if outcome.is_open() { StatusCode::ACCEPTED } else { StatusCode::OK }, outcome).await
}

/// Reads the stop of an order.
#[utoipa::path(get, path = "/v1/orders/{order}/stop", tag = "stops",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The stop", body = StopWithVerdict),
        (status = 404, description = "`not_found`: no such order, or nobody asked for a stop.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, order: Order) -> Answer<Response> {
    let outcome = stops::standing(&api, &caller, order.0).await?;
    shown(&api, StatusCode::OK, outcome).await
}

async fn shown(api: &Api, status: StatusCode, outcome: Outcome) -> Answer<Response> {
    let shown = match outcome {
        Outcome::Stop(asked) => {
            let contradictions =
                asked.contradictions(api).await?.into_iter().map(Contradiction::from).collect();
            let Asked { stop, parts, verdict, facts, .. } = asked;
            let approval = facts.extras.approval.as_ref().map(ApprovalAnswer::from);
            let (stop, parts) = (Some(StopAnswer::from(&stop)), parts.iter().map(StopAnswer::from).collect());
            StopWithVerdict { stop, approval, verdict, parts, contradictions }
        }
        Outcome::Merchant(waiting) => StopWithVerdict {
            stop: None,
            approval: Some(ApprovalAnswer::from(&waiting.approval)),
            verdict: waiting.verdict,
            parts: waiting.parts.iter().map(StopAnswer::from).collect(),
            contradictions: Vec::new(),
        },
        Outcome::Downloads(revoking) => StopWithVerdict {
            stop: None,
            approval: None,
            verdict: revoking.verdict,
            parts: revoking.parts.iter().map(StopAnswer::from).collect(),
            contradictions: Vec::new(),
        },
    };
    Ok(answer(status, &shown))
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
