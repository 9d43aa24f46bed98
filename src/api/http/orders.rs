//! Orders: admitted, read, judged.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::answers::{self, OrderAnswer};
use super::extract::{self, Json, Order, Query, answer, raw, tagged};
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::registry::LabEntry;
use crate::api::{Api, windows};
use crate::domain::Fault;
use crate::domain::batch::Joining;
use crate::domain::event::{Actor, Event, hex};
use crate::domain::ids::{LabId, OrderId, PlatformId, RegionId};
use crate::domain::lab::Lab;
use crate::domain::order::{Handing, Held, OrderFacts, OrderState, Payment, Stage, Submission};
use crate::domain::verdict::Verdict;
use crate::domain::{ids, nearest};
use crate::store::{Admission, Admitted, OrderFilter, OrderRef, Scope, Write, Written};

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
    ))]
pub(super) async fn submit(
    api: State<Api>,
    caller: Caller,
    query: Query<OnBehalf>,
    body: Json<Submission>,
) -> Answer<Response> {
    let platform = platform_of(&api, &caller, query.0.platform)?;
    let now = api.clock.now();
    let admission = prepare(&api, &platform, &body.0, &caller.actor, now)?;
    let mut outcomes = admit(&api, vec![admission]).await?;
    match outcomes.pop().ok_or_else(|| Problem::unexpected("an order without an outcome"))? {
        Outcome::New(facts) => {
            let mut response = shown(&api, &facts, StatusCode::CREATED, false).await?;
            if let Ok(place) = HeaderValue::from_str(&format!("/v1/orders/{}", facts.id)) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            Ok(response)
        }
        Outcome::Same(id) => {
            let facts = find(&api, &Scope::Platform(platform), OrderRef::Id(id)).await?;
            shown(&api, &facts, StatusCode::OK, true).await
        }
        Outcome::Refused(problem) => Err(problem),
    }
}

/// The platform that a caller submits for.
pub(super) fn platform_of(api: &Api, caller: &Caller, named: Option<PlatformId>) -> Answer<PlatformId> {
    match (&caller.scope, named) {
        (Scope::Platform(own), None) => Ok(own.clone()),
        (Scope::Platform(own), Some(named)) if *own == named => Ok(named),
        (Scope::Ops, Some(named)) if api.registry.platform(&named).is_some() => Ok(named),
        (Scope::Ops, None) => Err(Fault::missing("platform", "named, when ops submit").into()),
        (_, Some(named)) => Err(Fault::not("platform", named.as_str(), "a known platform").into()),
        (Scope::Lab(_), None) => Err(Problem::not_found()),
    }
}

/// An order that was checked, with what it takes to find its next window.
pub(super) struct Prepared {
    admission: Arc<Admission>,
    entry: Arc<LabEntry>,
    direct: bool,
}

/// What became of an order.
pub(super) enum Outcome {
    /// It is durable.
    New(Box<OrderFacts>),
    /// It was there.
    Same(OrderId),
    /// It was not admitted.
    Refused(Problem),
}

/// Checks a submission and computes its window: nothing is stored yet.
pub(super) fn prepare(
    api: &Api,
    platform: &PlatformId,
    submission: &Submission,
    actor: &Actor,
    now: Timestamp,
) -> Answer<Prepared> {
    let mut faults = submission.faults();
    let Some(entry) = api.registry.lab(&submission.lab) else {
        faults.push(unknown(api, &submission.lab));
        return Err(faults.into());
    };
    let country = submission.ship_to.as_ref().map(|address| address.country.as_str());
    let region = match entry.lab.region(submission.region.as_ref(), country) {
        Ok((region, _)) => region.id.clone(),
        Err(fault) => {
            faults.push(fault);
            return Err(faults.into());
        }
    };
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let direct = windows::is_direct(&entry.lab.spec, submission.transfer == Handing::Direct);
    let paid = submission.payment == Payment::Paid;
    let join = paid.then(|| join(api, &entry.lab, &region, direct, now)).transpose()?;
    let (document, sha256) = submission.document();
    let admission = Admission {
        id: OrderId::new(now, &*api.random),
        platform: platform.clone(),
        lab: submission.lab.clone(),
        region,
        reference: submission.reference.clone(),
        document,
        sha256: hex(&sha256),
        paid,
        join,
        at: now,
        actor: actor.clone(),
    };
    Ok(Prepared { admission: Arc::new(admission), entry, direct })
}

fn unknown(api: &Api, lab: &LabId) -> Fault {
    let known = api.registry.snapshot();
    let hint = nearest(lab.as_str(), known.labs.keys().map(LabId::as_str));
    let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
    Fault::new("lab", format!("{:?} is not a known lab{hint}", lab.as_str()))
}

/// The window of a region as of an instant.
pub(super) fn join(
    api: &Api,
    lab: &Lab,
    region: &RegionId,
    direct: bool,
    at: Timestamp,
) -> Result<Joining, Fault> {
    let (region, calendar) = lab.region(Some(region), None)?;
    windows::joining(lab, (&region.id, calendar), direct, at, &*api.random)
}

/// Admits orders in one commit, and those whose window closed meanwhile in the next.
pub(super) async fn admit(api: &Api, mut prepared: Vec<Prepared>) -> Answer<Vec<Outcome>> {
    let mut outcomes: Vec<Option<Outcome>> = prepared.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..prepared.len()).collect();
    for _ in 0..windows::TRIES {
        let writes = open.iter().map(|at| Write::Admit(Arc::clone(&prepared[*at].admission))).collect();
        let written = api.store.apply(writes).await?;
        let mut again = Vec::new();
        for (at, written) in std::mem::take(&mut open).into_iter().zip(written) {
            let Written::Admitted(admitted) = written else {
                return Err(Problem::unexpected("not an admission"));
            };
            outcomes[at] = Some(match admitted {
                Admitted::New { batch } => {
                    let admission = &prepared[at].admission;
                    // A batch with our fresh id was not there before: its cutoff is news.
                    if batch
                        .as_ref()
                        .is_some_and(|b| admission.join.as_ref().is_some_and(|j| j.batch == b.id))
                    {
                        api.nudge.closes.ring();
                    }
                    Outcome::New(Box::new(facts(admission, batch.map(Arc::unwrap_or_clone))))
                }
                Admitted::Same(id) => Outcome::Same(id),
                Admitted::Differs(id) => {
                    let text = format!("The reference names order {id}, which has other content.");
                    Outcome::Refused(Problem::new(Code::ReferenceTaken, text).with("order", id))
                }
                Admitted::WindowClosed => {
                    again.push(at);
                    continue;
                }
            });
        }
        if again.is_empty() {
            break;
        }
        let now = api.clock.now();
        for at in again {
            let Prepared { admission, entry, direct } = &mut prepared[at];
            let from = windows::after_closed(admission.join.as_ref(), now);
            match join(api, &entry.lab, &admission.region, *direct, from) {
                Ok(joining) => {
                    let moved = Admission { join: Some(joining), at: now, ..Admission::clone(admission) };
                    *admission = Arc::new(moved);
                    open.push(at);
                }
                Err(fault) => outcomes[at] = Some(Outcome::Refused(fault.into())),
            }
        }
    }
    let closing = || Problem::new(Code::Unavailable, "Its windows kept closing.").retry_after(1);
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Outcome::Refused(closing()))).collect())
}

/// What is stored of an order that was just admitted.
fn facts(admission: &Admission, batch: Option<crate::domain::batch::BatchFacts>) -> OrderFacts {
    OrderFacts {
        id: admission.id.clone(),
        platform: admission.platform.clone(),
        lab: admission.lab.clone(),
        region: admission.region.clone(),
        reference: admission.reference.clone(),
        document: admission.document.clone(),
        admitted_at: admission.at,
        paid: admission.paid,
        held: Held::No,
        stage: Stage::Received,
        // As the store counts: the order's own changes and its batch's.
        version: 1 + batch.as_ref().map_or(0, |batch| batch.version),
        batch,
        transfer: None,
        stop: None,
    }
}

/// An order within a scope.
pub(super) async fn find(api: &Api, scope: &Scope, which: OrderRef) -> Answer<OrderFacts> {
    if matches!((&which, scope), (OrderRef::Reference(_), Scope::Ops | Scope::Lab(_))) {
        let text = "References are a platform's own: they need its key. Name the order by its id.";
        return Err(Problem::new(Code::NotFound, text));
    }
    let mut found = api.store.orders(scope, std::slice::from_ref(&which)).await?;
    found.pop().flatten().ok_or_else(Problem::not_found)
}

/// The answer that shows an order.
pub(super) async fn shown(
    api: &Api,
    facts: &OrderFacts,
    status: StatusCode,
    history: bool,
) -> Answer<Response> {
    let verdict = answers::judge(api, facts, history, api.clock.now()).await?;
    let reports = if facts.stage == Stage::Received { vec![] } else { api.store.reports(&facts.id).await? };
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
    let verdict = answers::judge(&api, &facts, true, api.clock.now()).await?;
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
        if !extract::may_name(&reference) {
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
        let verdict = answers::judge(&api, facts, false, api.clock.now()).await?;
        let text = answers::order(facts, &verdict)?;
        orders.push(RawValue::from_string(text).map_err(|e| Problem::unexpected(&e.to_string()))?);
    }
    Ok(answer(StatusCode::OK, &Orders { orders, next }).into_response())
}
