//! Orders: admitted, read, judged.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::answers::{self, OrderAnswer};
use super::extract::{self, Json, Order, Query, answer, raw, tagged};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::orders::{self, Submitted, may_name};
pub(super) use crate::api::orders::{Outcome, find, judge, platform_of, reports};
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::domain::Fault;
use crate::domain::event::Event;
use crate::domain::ids::{self, LabId, OrderId, PlatformId, RegionId};
use crate::domain::order::{OrderFacts, OrderState, Submission};
use crate::domain::verdict::Verdict;
use crate::store::{OrderFilter, OrderRef};

/// For whom ops act.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OnBehalf {
    /// The platform, when ops submit for it; a platform's own key needs none.
    pub(super) platform: Option<PlatformId>,
}

/// Admits an order.
///
/// It is durable before the answer. The same reference of the same platform is the same order for
/// ever: a repeat gives the order that is there, with 200.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", params(OnBehalf), request_body = Submission,
    responses(
        (status = 201, description = "It is admitted.", body = OrderAnswer,
            headers(("ETag" = String, description = "Its version"), ("Location" = String))),
        (status = 200, description = "It was admitted before: this is how it stands now.", body = OrderAnswer),
        (status = 409, description = "`reference_taken`: the reference names an order with other content, \
            `order`; `idempotency_key_in_use`.", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`; `no_route`: it names no lab, and none of its routes can take \
            it: `considered` says why, `lines` who could make what.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn submit(
    api: State<Api>,
    caller: Caller,
    query: Query<OnBehalf>,
    body: Json<Submission>,
) -> Answer<Response> {
    let platform = platform_of(&api, &caller, query.0.platform)?;
    let Submitted { facts, verdict, new } = orders::submit(&api, platform, &body.0, &caller.actor).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = tagged(raw(status, answers::order(&facts, &verdict)?), facts.version);
    if new && let Ok(place) = HeaderValue::from_str(&format!("/v1/orders/{}", facts.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// The answer that shows an order.
pub(super) async fn shown(
    api: &Api,
    facts: &OrderFacts,
    status: StatusCode,
    history: bool,
) -> Answer<Response> {
    let verdict = judge(api, facts, history, api.clock.now()).await?;
    let reports = reports(api, facts).await?;
    Ok(tagged(raw(status, answers::order_with(facts, &verdict, &reports)?), facts.version))
}

/// Reads an order.
#[utoipa::path(get, path = "/v1/orders/{order}", tag = "orders",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The order", body = OrderAnswer, headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, order: Order) -> Answer<Response> {
    let facts = find(&api, &caller.scope, order.0).await?;
    shown(&api, &facts, StatusCode::OK, true).await
}

/// Can it still be stopped?
///
/// A verdict is advice as of its `as_of`; what holds is decided when a stop is asked. `yes` until
/// `until` is guaranteed.
#[utoipa::path(get, path = "/v1/orders/{order}/verdict", tag = "orders",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The verdict", body = Verdict),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn verdict(api: State<Api>, caller: Caller, order: Order) -> Answer<Response> {
    let facts = find(&api, &caller.scope, order.0).await?;
    let verdict = judge(&api, &facts, true, api.clock.now()).await?;
    Ok(answer(StatusCode::OK, &verdict))
}

/// A changelog.
#[derive(Serialize, ToSchema)]
pub(super) struct Changelog {
    /// The order.
    order: OrderId,
    /// What happened to it, its batch and its transfer, oldest first. Each entry carries the hash of
    /// its subject's entry before.
    events: Vec<Event>,
}

/// Who did what when, and the evidence.
#[utoipa::path(get, path = "/v1/orders/{order}/changelog", tag = "orders",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The changelog", body = Changelog),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn changelog(api: State<Api>, caller: Caller, order: Order) -> Answer<Response> {
    let order = match order.0 {
        OrderRef::Id(id) => id,
        by_reference @ OrderRef::Reference(_) => find(&api, &caller.scope, by_reference).await?.id,
    };
    let events = api.store.changelog(&caller.scope, &order).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(StatusCode::OK, &Changelog { order, events }))
}

/// Which orders to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only the one with this reference; needs a platform's key.
    reference: Option<String>,
    /// Only of this lab.
    lab: Option<LabId>,
    /// Only of this region.
    region: Option<RegionId>,
    /// Only of this batch.
    batch: Option<ids::BatchId>,
    /// Only in this state.
    state: Option<OrderState>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next` of an earlier answer.
    cursor: Option<String>,
}

/// A page of orders.
#[derive(Serialize, ToSchema)]
pub(super) struct Orders {
    /// The orders, newest first. Their verdicts carry no odds.
    #[schema(value_type = Vec<OrderAnswer>)]
    orders: Vec<Box<RawValue>>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists orders, newest first.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", params(ListQuery),
    responses(
        (status = 200, description = "A page of orders", body = Orders),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<ListQuery>) -> Answer<Response> {
    let Query(query) = query;
    let limit = extract::limit(query.limit)?;
    let found = if let Some(reference) = query.reference {
        if !may_name(&reference) {
            let allowed = "1 to 128 printable characters";
            return Err(Fault::not("reference", reference, allowed).into());
        }
        match find(&api, &caller.scope, OrderRef::Reference(reference)).await {
            Ok(facts) => vec![facts],
            Err(problem) if problem.code() == Code::NotFound => vec![],
            Err(problem) => return Err(problem),
        }
    } else {
        let filter = OrderFilter {
            lab: query.lab,
            region: query.region,
            batch: query.batch,
            state: query.state,
            before: extract::cursor(query.cursor.as_deref())?,
            limit,
        };
        api.store.list_orders(&caller.scope, &filter).await?
    };
    let next = extract::next(found.len(), limit, found.last().map(|facts| &facts.id));
    let mut orders = Vec::with_capacity(found.len());
    for facts in &found {
        let verdict = judge(&api, facts, false, api.clock.now()).await?;
        let text = answers::order(facts, &verdict)?;
        orders.push(RawValue::from_string(text).map_err(|e| Problem::unexpected(&e.to_string()))?);
    }
    Ok(answer(StatusCode::OK, &Orders { orders, next }).into_response())
}
