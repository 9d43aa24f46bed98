//! Everything that happened, in order.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{self, Query, answer};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document};
use crate::domain::Fault;
use crate::domain::event::Event;

/// From where.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Only events with a higher number; 0, the beginning, unless told.
    #[serde(default)]
    #[param(minimum = 0)]
    after: i64,
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(super) struct Events {
    /// The events, oldest first.
    events: Vec<Event>,
    /// What to pass as `after` next time. With no new events it stays where it was.
    next: i64,
}

/// Reads events in order.
#[utoipa::path(get, path = "/v1/events", tag = "ops", params(EventsQuery),
    responses(
        (status = 200, description = "A page of events", body = Events),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(api: State<Api>, _caller: Caller, query: Query<EventsQuery>) -> Answer<Response> {
    let limit = extract::limit(query.0.limit)?;
    let after = query.0.after;
    if after < 0 {
        return Err(Fault::not("after", after, "a whole number from 0").into());
    }
    let events = api.store.events(after, limit).await?;
    let next = events.last().map_or(after, |event| event.seq);
    Ok(answer(StatusCode::OK, &Events { events, next }))
}
