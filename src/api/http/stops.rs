//! Stops: asked, read, listed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::{Contradiction, StopAnswer, contradictions, judge};
use super::extract::{self, Maybe, Order, Page, Query, answer};
use super::orders::find;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::domain::Fault;
use crate::domain::ids::{EscalationId, LabId, PlatformId, StopId};
use crate::domain::platform::CustomerStops;
use crate::domain::stop::{AskedBy, StopState};
use crate::domain::verdict::Verdict;
use crate::store::{self, OrderRef, Scope, StopAsk, StopFilter, StopOutcome, StopRow, Write, Written};

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
    let reason =
        reason.filter(|reason| !reason.trim().is_empty()).unwrap_or_else(|| "unspecified".to_owned());
    let faults: Vec<Fault> = [
        extract::text("reason", &reason, 200),
        extract::text("comment", comment.as_deref().unwrap_or_default(), 2_000),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    if !faults.is_empty() {
        return Err(faults.into());
    }
    if asked_by == AskedBy::Customer {
        let platform = match &caller.scope {
            Scope::Platform(own) => own.clone(),
            _ => find(&api, &caller.scope, order.0.clone()).await?.platform,
        };
        customers(&api, &platform)?;
    }
    if matches!((&order.0, &caller.scope), (OrderRef::Reference(_), Scope::Ops | Scope::Lab(_))) {
        return Err(Problem::not_found());
    }
    let due = api.answer_due(&caller.scope, &order.0, caller.at).await?;
    let ask = StopAsk {
        id: StopId::new(caller.at, &*api.random),
        order: order.0,
        scope: caller.scope.clone(),
        reason,
        comment,
        asked_by,
        due,
        at: caller.at,
        actor: caller.actor.clone(),
        escalation: EscalationId::new(caller.at, &*api.random),
    };
    let Written::Stop(outcome) = store::one(&*api.store, Write::Stop(Box::new(ask))).await? else {
        return Err(Problem::unexpected("not a stop"));
    };
    let (stop, known) = match *outcome {
        StopOutcome::NotFound => return Err(Problem::not_found()),
        StopOutcome::Already(stop) => (stop, true),
        StopOutcome::Asked(stop) => (stop, false),
    };
    if stop.state == StopState::Pending {
        api.nudge.stops.ring();
    }
    let mut facts = find(&api, &caller.scope, OrderRef::Id(stop.order.clone())).await?;
    let shown = StopAnswer::from(&stop);
    if shown.open() && api.registry.lab(&facts.lab).is_some_and(|entry| entry.lab.spec.people_answer()) {
        api.nudge.mails.ring();
    }
    // What is told is what was decided, even if the row has moved on since.
    facts.stop = Some(stop);
    let verdict = judge(&api, &facts, false, api.clock.now()).await?;
    let contradictions = if known { contradictions(&api, &facts).await? } else { Vec::new() };
    let status = if shown.open() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(answer(status, &StopWithVerdict { stop: shown, verdict, contradictions }))
}

/// Whether customers of a platform may ask.
fn customers(api: &Api, platform: &PlatformId) -> Answer<()> {
    let policy = api.registry.platform(platform).map(|entry| entry.spec.policy.customer_stops);
    match policy.unwrap_or_default() {
        CustomerStops::On => Ok(()),
        CustomerStops::Off => Err(Problem::new(
            Code::CustomerStopsOff,
            format!("`customer_stops` of platform {platform} is off."),
        )),
        CustomerStops::AskMerchant => Err(Problem::new(
            Code::MerchantDecides,
            format!("`customer_stops` of platform {platform} is ask_merchant."),
        )),
    }
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
    let facts = find(&api, &caller.scope, order.0).await?;
    let stop = facts.stop.as_ref().map(StopAnswer::from).ok_or_else(Problem::not_found)?;
    let verdict = judge(&api, &facts, false, api.clock.now()).await?;
    let contradictions = contradictions(&api, &facts).await?;
    Ok(answer(StatusCode::OK, &StopWithVerdict { stop, verdict, contradictions }))
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
