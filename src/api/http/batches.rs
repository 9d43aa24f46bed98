//! Batches: listed, read with their transfers, released, postponed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::WindowAnswer;
use super::extract::{Id, Json, Page, Query, answer};
use super::labs::Because;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document};
use crate::api::{Api, batches};
use crate::domain::batch::{BatchPhase, TransferPhase};
use crate::domain::ids::{BatchId, LabId, RegionId, TransferId};
use crate::store::{BatchFilter, BatchRow, Scope, TransferRow};

/// A batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// Its id.
    id: BatchId,
    /// The lab.
    lab: LabId,
    /// The region; with a dot and a group's id behind it, the product group: `fi.mugs`.
    region: RegionId,
    /// Its phase.
    phase: BatchPhase,
    /// Its window.
    window: WindowAnswer,
    /// When it really closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    /// Orders that joined and did not leave.
    orders: i64,
    /// Of these, stopped.
    stopped: i64,
    /// Of these, in no transfer yet and alive.
    waiting: i64,
    /// How many orders the lab wants in a batch of this place at least; null where it does not say.
    batch_min: Option<u32>,
    /// Whether it has fewer that are not stopped. It is handed over at its cutoff all the same.
    below_min: Option<bool>,
    /// Counts its changes.
    version: i64,
}

impl BatchAnswer {
    fn of(api: &Api, row: &BatchRow) -> Self {
        let batch = &row.batch;
        let min = api.registry.lab(&batch.lab).and_then(|entry| entry.lab.place(&batch.region)?.batch_min);
        Self {
            batch_min: min,
            below_min: min.map(|min| row.orders - row.stopped < i64::from(min)),
            id: batch.id.clone(),
            lab: batch.lab.clone(),
            region: batch.region.clone(),
            phase: batch.phase,
            window: WindowAnswer::from(batch),
            closed_at: batch.closed_at,
            orders: row.orders,
            stopped: row.stopped,
            waiting: row.waiting,
            version: batch.version,
        }
    }
}

/// A transfer: what one call to the lab carries.
#[derive(Serialize, ToSchema)]
pub(super) struct TransferAnswer {
    /// Its id.
    id: TransferId,
    /// Its phase.
    phase: TransferPhase,
    /// The idempotency key that the lab got.
    key: String,
    /// SHA-256 of the bytes that the lab got, hex.
    sha256: String,
    /// How many orders it carries.
    orders: usize,
    /// How often it was sent.
    attempts: i64,
    /// How many of these attempts have no proven end.
    unresolved: i64,
    /// When the first attempt began.
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    /// When the lab was first known to have it.
    #[schema(value_type = Option<String>, format = DateTime)]
    handed_at: Option<Timestamp>,
    /// When a person takes it, if nothing is known by then.
    #[schema(value_type = String, format = DateTime)]
    deadline_at: Timestamp,
}

impl From<&TransferRow> for TransferAnswer {
    fn from(row: &TransferRow) -> Self {
        let transfer = &row.transfer;
        Self {
            id: transfer.id.clone(),
            phase: transfer.phase,
            key: row.key.clone(),
            sha256: row.sha256.clone(),
            orders: row.orders,
            attempts: transfer.attempts,
            unresolved: transfer.unresolved,
            first_at: transfer.first_at,
            handed_at: transfer.handed_at,
            deadline_at: transfer.deadline_at,
        }
    }
}

/// A batch with its transfers.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchWithTransfers {
    #[serde(flatten)]
    batch: BatchAnswer,
    /// Its transfers.
    transfers: Vec<TransferAnswer>,
}

/// Which batches to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only of this lab.
    pub(super) lab: Option<LabId>,
    /// Only in this phase.
    pub(super) phase: Option<BatchPhase>,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<i64>,
    /// The `next` of an earlier answer.
    pub(super) cursor: Option<String>,
}

/// A page of batches.
#[derive(Serialize, ToSchema)]
pub(super) struct Batches {
    /// The batches, newest first.
    batches: Vec<BatchAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists batches, newest first.
#[utoipa::path(get, path = "/v1/batches", tag = "labs", params(ListQuery),
    responses(
        (status = 200, description = "A page of batches", body = Batches),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<ListQuery>) -> Answer<Response> {
    page(&api, &caller.scope, query.0).await
}

/// A page of the batches within a scope.
pub(super) async fn page(api: &Api, scope: &Scope, query: ListQuery) -> Answer<Response> {
    let page = Page::asked(query.limit, query.cursor.as_deref())?;
    let (before, limit) = (page.from.clone(), page.limit);
    let filter = BatchFilter { id: None, lab: query.lab, phase: query.phase, before, limit };
    let rows = api.store.batches(scope, &filter).await?;
    let next = page.next(&rows, |row| &row.batch.id);
    Ok(answer(
        StatusCode::OK,
        &Batches { batches: rows.iter().map(|row| BatchAnswer::of(api, row)).collect(), next },
    ))
}

async fn shown(api: &Api, scope: &Scope, batch: &BatchId) -> Answer<Response> {
    let row = batches::find(api, scope, batch).await?;
    let transfers = api.store.transfers(batch).await?;
    let transfers = transfers.iter().map(TransferAnswer::from).collect();
    Ok(answer(StatusCode::OK, &BatchWithTransfers { batch: BatchAnswer::of(api, &row), transfers }))
}

/// Reads a batch with its transfers.
#[utoipa::path(get, path = "/v1/batches/{batch}", tag = "labs", params(("batch" = BatchId, Path)),
    responses(
        (status = 200, description = "The batch", body = BatchWithTransfers),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, batch: Id<BatchId>) -> Answer<Response> {
    shown(&api, &caller.scope, &batch.0).await
}

/// Releases a batch before its cutoff.
///
/// It closes now, and its orders are handed over. This breaks what was promised to its orders: it needs
/// a reason, and the changelog keeps it.
#[utoipa::path(post, path = "/v1/batches/{batch}/release", tag = "labs", request_body = Because,
    params(("batch" = BatchId, Path)),
    responses(
        (status = 200, description = "The batch as it is now", body = BatchWithTransfers),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`batch_not_open`", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn release(
    api: State<Api>,
    caller: Caller,
    batch: Id<BatchId>,
    body: Json<Because>,
) -> Answer<Response> {
    batches::release(&api, &caller, (batch.0.clone(), None), body.0.reason).await?;
    shown(&api, &caller.scope, &batch.0).await
}

/// Until when, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Postponement {
    /// The later cutoff.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// Why, at most 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Postpones the cutoff of an open batch.
#[utoipa::path(post, path = "/v1/batches/{batch}/postpone", tag = "labs", request_body = Postponement,
    params(("batch" = BatchId, Path)),
    responses(
        (status = 200, description = "The batch as it is now", body = BatchWithTransfers),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`batch_not_open`; `earlier_than_promised`", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn postpone(
    api: State<Api>,
    caller: Caller,
    batch: Id<BatchId>,
    body: Json<Postponement>,
) -> Answer<Response> {
    batches::postpone(&api, &caller, (batch.0.clone(), None), body.0.until, body.0.reason).await?;
    shown(&api, &caller.scope, &batch.0).await
}
