//! The lab's own side: what it is asked, what it answers, what it reports.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::StopAnswer;
use super::extract::{self, Id, Json, Query, answer};
use super::{batches, stops, tasks};
use crate::api::Api;
use crate::api::auth::{Caller, Identity};
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::event::Actor;
use crate::domain::ids::{EscalationId, LabId, OrderId, StopId};
use crate::domain::lab::{self, Profile};
use crate::domain::order::Stage;
use crate::domain::stop::{StopFacts, StopState};
use crate::store::{self, Report, Reported, Scope, SettleStop, StopSettled, Write, Written};

/// Which stops to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StopsQuery {
    /// The lab, when ops look.
    lab: Option<LabId>,
    /// Only in this state. Unless told: what waits for an answer, `pending` and `with_a_person`.
    state: Option<StopState>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next` of an earlier answer.
    cursor: Option<String>,
}

/// What a caller sees of the lab's side: its own lab, or for ops the one that is named.
fn seen(caller: &Caller, named: Option<LabId>) -> Answer<Scope> {
    match (&caller.scope, named) {
        (Scope::Ops, Some(lab)) => Ok(Scope::Lab(lab)),
        (Scope::Lab(own), Some(named)) if *own != named => Err(Problem::not_found()),
        (scope, _) => Ok(scope.clone()),
    }
}

/// Lists the stops that the lab is asked for: its tasks.
///
/// What waits for an answer comes most urgent first; what is decided, newest first.
#[utoipa::path(get, path = "/v1/lab/stops", tag = "lab", params(StopsQuery),
    responses(
        (status = 200, description = "A page of tasks", body = tasks::Tasks),
        (status = 404, description = "`not_found`: another lab was named.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn stops(api: State<Api>, caller: Caller, query: Query<StopsQuery>) -> Answer<Response> {
    let StopsQuery { lab, state, limit, cursor } = query.0;
    let scope = seen(&caller, lab)?;
    tasks::page(&api, &scope, stops::ListQuery { state, limit, cursor }).await
}

/// Lists the lab's batches.
#[utoipa::path(get, path = "/v1/lab/batches", tag = "lab", params(batches::ListQuery),
    responses(
        (status = 200, description = "A page of batches", body = batches::Batches),
        (status = 404, description = "`not_found`: another lab was named.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn batches(
    api: State<Api>,
    caller: Caller,
    query: Query<batches::ListQuery>,
) -> Answer<Response> {
    let mut query = query.0;
    let scope = seen(&caller, query.lab.take())?;
    batches::page(&api, &scope, query).await
}

/// What a lab says to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It was taken out: it will not be printed.
    Removed,
    /// It is or will be printed.
    WillPrint,
    /// Heard; the answer comes later.
    AnswerLater,
}

/// The lab's answer to a stop.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopReply {
    /// The answer.
    pub answer: Word,
    /// Why, at most 500 characters; the platform sees it.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub reason: Option<String>,
    /// With `will_print`: how far the order is.
    #[serde(default)]
    pub stage: Stage,
    /// With `removed`, where the stop named lines: those that were taken out, all that it named. People who answer
    /// need not name them.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub items: Vec<String>,
}

/// How the stop stands after the answer.
#[derive(Serialize, ToSchema)]
pub(super) struct StopOnly {
    /// The stop.
    stop: StopAnswer,
}

/// Answers a stop.
///
/// `removed` and `will_print` decide it, `removed` if it names the lines that the stop names, or none of a stop of
/// the whole order; a repeat of the deciding answer is taken as such. A contrary
/// answer after it was decided is kept as evidence and answers `already_decided`.
#[utoipa::path(post, path = "/v1/lab/stops/{stop}/answer", tag = "lab", request_body = StopReply,
    params(("stop" = StopId, Path)),
    responses(
        (status = 200, description = "How it stands now", body = StopOnly),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`already_decided`: `stop` is how it was decided.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn answer_stop(
    api: State<Api>,
    caller: Caller,
    stop: Id<StopId>,
    body: Json<StopReply>,
) -> Answer<Response> {
    let (stop, _) = take_answer(&api, &caller, By::Program, stop.0, body.0).await?;
    Ok(answer(StatusCode::OK, &StopOnly { stop: StopAnswer::from(&stop) }))
}

/// By what an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A program of the lab.
    Program,
    /// Somebody who has signed in and pressed a button.
    Person,
}

/// Takes a lab's answer to a stop, however it came. Gives the stop, and whether anything changed.
///
/// # Errors
/// If it is not the lab's stop, was decided otherwise before, or the answer has faults.
pub async fn take_answer(
    api: &Api,
    caller: &Identity,
    by: By,
    stop: StopId,
    reply: StopReply,
) -> Answer<(StopFacts, bool)> {
    let StopReply { answer: word, reason, stage, items } = reply;
    extract::text("reason", reason.as_deref().unwrap_or_default(), 500)?;
    let now = api.clock.now();
    let said = match word {
        Word::Removed => lab::Answer::Removed { reason, items },
        Word::WillPrint => lab::Answer::WillPrint { reason, stage },
        Word::AnswerLater => lab::Answer::AnswerLater,
    };
    // A lab that will answer by itself is asked again when the answer would be due.
    let profile = match &caller.scope {
        Scope::Lab(own) => api.registry.lab(own).map(|entry| entry.lab.spec.profile_in_force()),
        _ => None,
    };
    let profile = profile.unwrap_or_else(Profile::default);
    let again = profile.answers_within;
    // Who pressed the button, not only for whom.
    let actor = match by {
        By::Program => caller.actor.clone(),
        By::Person => Actor(format!("{}, {:?} by key {}", caller.actor.0, caller.name, caller.key)),
    };
    let settle = SettleStop {
        stop,
        scope: caller.scope.clone(),
        answer: said,
        // Where stops are tasks of people, a person has looked.
        person: by == By::Person || profile.by_person(),
        asked: None,
        at: now,
        next_at: later(now, again.0),
        actor,
        escalation: EscalationId::new(now, &*api.random),
    };
    let Written::StopSettled(settled) = store::one(&*api.store, Write::SettleStop(Box::new(settle))).await?
    else {
        return Err(Problem::unexpected("not a stop"));
    };
    match *settled {
        StopSettled::NotFound => Err(Problem::not_found()),
        StopSettled::Done(stop) => {
            api.nudge.transfers.ring();
            Ok((stop, true))
        }
        StopSettled::Late(stop) => {
            let agrees = matches!(
                (word, stop.state),
                (Word::Removed, StopState::Stopped | StopState::StoppedInPart)
                    | (Word::WillPrint, StopState::TooLate)
            );
            let shown = StopAnswer::from(&stop);
            if agrees {
                return Ok((stop, false));
            }
            let text = "The stop was decided before; this answer was kept as evidence.";
            Err(Problem::new(Code::AlreadyDecided, text).with("stop", shown))
        }
    }
}

/// How far an order is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusReport {
    /// The stage that was reached. It never goes back.
    pub stage: Stage,
    /// The lab's own time of it; now unless told. Refused if it is more than two minutes ahead, or before
    /// the order was admitted.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// A reference such as a tracking number, at most 200 characters.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub reference: Option<String>,
}

/// What came of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportOutcome {
    /// It was taken.
    Taken,
    /// An equal or later stage was known; the report is kept as evidence, unless it came before.
    Unchanged,
    /// It was taken, and contradicts a stop that had been granted: a person was called.
    ShippedAnyway,
}

/// What came of a report.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusAnswer {
    /// The order.
    order: OrderId,
    /// What came of it.
    outcome: ReportOutcome,
}

/// Reports how far an order is.
///
/// Reports merge by rank, in whatever order they come, and never go back; a repeat is harmless. One that
/// says that an order is made which was told stopped calls a person, and is shown with the stop.
#[utoipa::path(post, path = "/v1/lab/orders/{order}/status", tag = "lab", request_body = StatusReport,
    params(("order" = OrderId, Path)),
    responses(
        (status = 200, description = "What came of it", body = StatusAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`not_handed_over`: the lab was never given this order; the report is \
            kept as evidence.", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: `at` cannot be, or `reference` is too long", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn status(
    api: State<Api>,
    caller: Caller,
    order: Id<OrderId>,
    body: Json<StatusReport>,
) -> Answer<Response> {
    let outcome = take_report(&api, &caller, &order.0, body.0).await?;
    Ok(answer(StatusCode::OK, &StatusAnswer { order: order.0, outcome }))
}

/// Takes a lab's report about an order, however it came.
///
/// # Errors
/// If the lab was never given the order, or the report has faults.
pub async fn take_report(
    api: &Api,
    caller: &Identity,
    order: &OrderId,
    report: StatusReport,
) -> Answer<ReportOutcome> {
    let StatusReport { stage, at, reference } = report;
    extract::text("reference", reference.as_deref().unwrap_or_default(), 200)?;
    let now = api.clock.now();
    let report = Report {
        order: order.clone(),
        scope: caller.scope.clone(),
        stage,
        reported_at: at.map_or(now, crate::clock::whole_micros),
        reference,
        at: now,
        actor: caller.actor.clone(),
        escalation: EscalationId::new(now, &*api.random),
    };
    let Written::Reported(reported) = store::one(&*api.store, Write::Report(Box::new(report))).await? else {
        return Err(Problem::unexpected("not a report"));
    };
    let outcome = match reported {
        Reported::Done => ReportOutcome::Taken,
        Reported::Unchanged => ReportOutcome::Unchanged,
        Reported::ShippedAnyway => ReportOutcome::ShippedAnyway,
        Reported::NotFound => return Err(Problem::not_found()),
        Reported::BadTime { from, to } => {
            let told = at.map(|at| at.to_string()).unwrap_or_default();
            let allowed = format!("an instant from {from}, when the order was admitted, to {to}, now");
            return Err(Fault::not("at", told, &allowed).into());
        }
        Reported::NotHanded => {
            return Err(Problem::new(Code::NotHandedOver, "The gateway never handed this order to the lab."));
        }
    };
    Ok(outcome)
}
