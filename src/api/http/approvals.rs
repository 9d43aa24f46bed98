//! Approvals: what customers asked for, and the merchant decides.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::StopAnswer;
use super::extract::{Id, Json, Maybe, Page, Query, answer};
use crate::api::approvals::{Decision, decide};
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document};
use crate::api::{Api, approvals};
use crate::domain::Fault;
use crate::domain::extras::{ApprovalFacts, ApprovalState};
use crate::domain::ids::{ApprovalId, OrderId};
use crate::domain::verdict::Verdict;
use crate::store::ApprovalRow;

/// A customer's stop that the merchant decides about.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ApprovalAnswer {
    /// Its id.
    id: ApprovalId,
    /// The order.
    order: OrderId,
    /// How it stands.
    state: ApprovalState,
    /// Whether the order is kept out of its window until it is decided: then a stop that is approved is granted
    /// for certain, however late. False if its hand-over had begun when it was asked.
    keeps_order: bool,
    /// The lines that the customer asks about; null: the whole order.
    #[schema(required = true)]
    items: Option<Vec<String>>,
    /// Why the customer asks.
    reason: String,
    /// More.
    comment: Option<String>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// When the merchant should have decided; then ops are called. Null once it is decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    /// By whom.
    decided_by: Option<String>,
    /// In which words; of one that was declined, what the customer is told.
    decision_reason: Option<String>,
}

impl From<&ApprovalFacts> for ApprovalAnswer {
    fn from(facts: &ApprovalFacts) -> Self {
        let open = facts.state == ApprovalState::Open;
        Self {
            id: facts.id.clone(),
            order: facts.order.clone(),
            state: facts.state,
            keeps_order: facts.held,
            items: facts.items.clone(),
            reason: facts.reason.clone(),
            comment: facts.comment.clone(),
            asked_at: facts.asked_at,
            due_at: open.then_some(facts.due_at),
            decided_at: facts.decided_at,
            decided_by: facts.decided_by.clone(),
            decision_reason: facts.why.clone(),
        }
    }
}

/// An approval in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalInList {
    #[serde(flatten)]
    approval: ApprovalAnswer,
    /// Whose order it is.
    platform: String,
    /// The lab.
    lab: String,
    /// The platform's reference of the order.
    reference: String,
}

impl From<&ApprovalRow> for ApprovalInList {
    fn from(row: &ApprovalRow) -> Self {
        Self {
            approval: ApprovalAnswer::from(&row.approval),
            platform: row.approval.platform.clone(),
            lab: row.approval.lab.clone(),
            reference: row.reference.clone(),
        }
    }
}

/// Which approvals to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// `open`: only those that the merchant is to decide; `all` unless told.
    state: Option<String>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next` of an earlier answer.
    cursor: Option<String>,
}

/// A page of approvals.
#[derive(Serialize, ToSchema)]
pub(super) struct Approvals {
    /// The approvals, newest first.
    approvals: Vec<ApprovalInList>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists the stops that customers asked for and the merchant decides about, newest first.
#[utoipa::path(get, path = "/v1/approvals", tag = "stops", params(ListQuery),
    responses(
        (status = 200, description = "A page of approvals", body = Approvals),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<ListQuery>) -> Answer<Response> {
    let page = Page::asked(query.0.limit, query.0.cursor.as_deref())?;
    let open = match query.0.state.as_deref() {
        None | Some("all") => false,
        Some("open") => true,
        Some(other) => return Err(Fault::not("state", other, "open or all").into()),
    };
    let (rows, next) = approvals::list(&api, &caller, open, &page).await?;
    Ok(answer(
        StatusCode::OK,
        &Approvals { approvals: rows.iter().map(ApprovalInList::from).collect(), next },
    ))
}

/// Reads an approval.
#[utoipa::path(get, path = "/v1/approvals/{approval}", tag = "stops", params(("approval" = ApprovalId, Path)),
    responses(
        (status = 200, description = "The approval", body = ApprovalAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, approval: Id<ApprovalId>) -> Answer<Response> {
    let (approval, _) = approvals::read(&api, &caller, &approval.0).await?;
    Ok(answer(StatusCode::OK, &ApprovalAnswer::from(&approval)))
}

/// Why the merchant agrees. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Agreement {
    /// Why, at most 500 characters.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// Why the merchant does not agree.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    /// Why not, at most 500 characters. The customer is told.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// How an approval stands, and what came of it.
#[derive(Serialize, ToSchema)]
pub(super) struct DecisionAnswer {
    /// The approval.
    approval: ApprovalAnswer,
    /// The order's stop; null unless the merchant agreed, or somebody asked for one.
    #[schema(required = true)]
    stop: Option<StopAnswer>,
    /// The verdict on the order, now.
    verdict: Verdict,
}

impl From<Decision> for DecisionAnswer {
    fn from(decision: Decision) -> Self {
        Self {
            approval: ApprovalAnswer::from(&decision.approval),
            stop: decision.stop.as_ref().map(StopAnswer::from),
            verdict: decision.verdict,
        }
    }
}

/// Agrees to a customer's stop.
///
/// The stop is asked in the same moment. If the order was kept out of its window until now, it is stopped for
/// certain; if it had been handed over, the lab decides. Where the customer asked about lines (`items`), these are
/// stopped, and the rest joins the window of this instant unless something else holds it. A repeat gives the same.
#[utoipa::path(post, path = "/v1/approvals/{approval}/approve", tag = "stops", request_body = inline(Option<Agreement>),
    params(("approval" = ApprovalId, Path)),
    responses(
        (status = 200, description = "The stop was asked: see `stop`.", body = DecisionAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`already_decided`: otherwise; `approval` says how. `not_allowed`: the lab \
            stops no lines any more.", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: the order has no such lines any more.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn approve(
    api: State<Api>,
    caller: Caller,
    approval: Id<ApprovalId>,
    body: Maybe<Agreement>,
) -> Answer<Response> {
    let decision = decide(&api, &caller, approval.0, true, body.0.reason).await?;
    Ok(answer(StatusCode::OK, &DecisionAnswer::from(decision)))
}

/// Declines a customer's stop.
///
/// The order joins the window of this instant, unless something else holds it. The customer's page tells the
/// reason. A repeat gives the same.
#[utoipa::path(post, path = "/v1/approvals/{approval}/decline", tag = "stops", request_body = Refusal,
    params(("approval" = ApprovalId, Path)),
    responses(
        (status = 200, description = "It is declined.", body = DecisionAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`already_decided`: otherwise; `approval` says how.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn decline(
    api: State<Api>,
    caller: Caller,
    approval: Id<ApprovalId>,
    body: Json<Refusal>,
) -> Answer<Response> {
    let decision = decide(&api, &caller, approval.0, false, Some(body.0.reason)).await?;
    Ok(answer(StatusCode::OK, &DecisionAnswer::from(decision)))
}
