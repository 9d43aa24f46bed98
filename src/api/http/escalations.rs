//! Escalations: what waits for a person, and the person's decision.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Id, Json, Page, Query, answer};
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document};
use crate::api::{Api, escalations};
use crate::domain::ids::{EscalationId, LabId, OrderId};
use crate::store::{EscalationFilter, EscalationRow, PersonDecision, Piece};

/// A decision that waits for a person, or that a person made.
#[derive(Serialize, ToSchema)]
pub(super) struct EscalationAnswer {
    /// Its id.
    id: EscalationId,
    /// `stop`, `transfer`, `download`, `address`, `shipped_anyway`, `contradiction`, `download_contradiction`,
    /// `address_contradiction` or `approval_overdue`.
    kind: String,
    /// The stop, transfer, download, change of an address, order or approval that it is about.
    subject: String,
    /// The order, if it is about one.
    order: Option<OrderId>,
    /// The lab.
    lab: LabId,
    /// What happened.
    cause: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    /// When a person should have decided.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
    /// How.
    decision: Option<String>,
    /// Why.
    reason: Option<String>,
    /// By whom.
    resolved_by: Option<String>,
    /// Of `shipped_anyway` and `contradiction`: what was told and what contradicts it, as the changelog has
    /// them; of a transfer also the orders that were told stopped.
    evidence: Vec<Piece>,
}

impl From<EscalationRow> for EscalationAnswer {
    fn from(row: EscalationRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            subject: row.subject,
            order: row.order,
            lab: row.lab,
            cause: row.cause,
            opened_at: row.opened_at,
            due_at: row.due_at,
            resolved_at: row.resolved_at,
            decision: row.decision,
            reason: row.reason,
            resolved_by: row.resolved_by,
            evidence: row.evidence,
        }
    }
}

/// Which escalations to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those that wait, or only those that were decided.
    open: Option<bool>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next` of an earlier answer.
    cursor: Option<String>,
}

/// A page of escalations.
#[derive(Serialize, ToSchema)]
pub(super) struct Escalations {
    /// The escalations, newest first.
    escalations: Vec<EscalationAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists escalations, newest first.
#[utoipa::path(get, path = "/v1/escalations", tag = "ops", params(ListQuery),
    responses((status = 200, description = "A page of escalations", body = Escalations)))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<ListQuery>) -> Answer<Response> {
    let page = Page::asked(query.0.limit, query.0.cursor.as_deref())?;
    let (before, limit) = (page.from.clone(), page.limit);
    let filter = EscalationFilter { open: query.0.open, before, limit, ..EscalationFilter::default() };
    let rows = api.store.escalations(&caller.scope, &filter).await?;
    let next = page.next(&rows, |row| &row.id);
    let escalations = rows.into_iter().map(EscalationAnswer::from).collect();
    Ok(answer(StatusCode::OK, &Escalations { escalations, next }))
}

/// A person's decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionRequest {
    /// The decision: `stopped` or `too_late` of a stop, `handed_over` or `not_handed` of a transfer, `revoked` or
    /// `fetched` of a download, `taken` or `refused` of a change of an address, `noted` of the rest.
    decision: PersonDecision,
    /// Why, with what was seen, at most 500 characters. It becomes evidence.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Decides an escalation.
///
/// `not_handed` lets the gateway send the orders again: decide so only if nothing is on its way.
#[utoipa::path(post, path = "/v1/escalations/{escalation}/resolve", tag = "ops", request_body = DecisionRequest,
    params(("escalation" = EscalationId, Path)),
    responses(
        (status = 200, description = "The escalation as it is now", body = EscalationAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`already_decided`; `decision_does_not_fit`: `kind` is its kind.",
            body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn resolve(
    api: State<Api>,
    caller: Caller,
    escalation: Id<EscalationId>,
    body: Json<DecisionRequest>,
) -> Answer<Response> {
    let DecisionRequest { decision, reason } = body.0;
    let row = escalations::resolve(&api, &caller, escalation.0, decision, reason).await?;
    Ok(answer(StatusCode::OK, &EscalationAnswer::from(row)))
}
