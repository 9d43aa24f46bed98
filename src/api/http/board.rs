//! The board, for machines: what the ops page shows.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Query, answer};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::board::Totals;
use crate::api::board::band::Band;
use crate::api::board::region::Region;
use crate::api::board::view::View;
use crate::api::problem::{Answer, Document};

/// The board.
#[derive(Serialize, ToSchema)]
pub(super) struct BoardAnswer<'a> {
    /// As of when: at most a second old.
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
    /// Numbers over all regions, whatever was asked for.
    totals: &'a Totals,
    /// The cutoffs of the coming 24 hours.
    band: &'a Band,
    /// The regions that were asked for: those where somebody has to act before, then by their next cutoff.
    regions: Vec<&'a Region>,
}

/// What every lab region has open, and what somebody should do about it.
///
/// It is counted at most once a second, whoever asks.
#[utoipa::path(get, path = "/v1/board", tag = "ops", params(View),
    responses(
        (status = 200, description = "The board", body = BoardAnswer<'_>),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, _caller: Caller, query: Query<View>) -> Answer<Response> {
    let faults = query.0.faults();
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let snapshot = api.board.fresh(&api).await?;
    let regions = query.0.rows(&snapshot).map(|row| &row.region).collect();
    let shown = BoardAnswer { as_of: snapshot.at, totals: &snapshot.totals, band: &snapshot.band, regions };
    Ok(answer(StatusCode::OK, &shown))
}
