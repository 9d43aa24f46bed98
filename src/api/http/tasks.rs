//! Stops as tasks of a lab: what is to be stopped, and how much time is left.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{self, answer};
use super::stops::{ListQuery, StopInList};
use crate::api::Api;
use crate::api::problem::Answer;
use crate::domain::Fault;
use crate::domain::ids::{RegionId, StopId};
use crate::domain::mail::Line;
use crate::domain::order::{OrderFacts, Thumbnail};
use crate::store::{OrderRef, Scope, StopFilter, StopRow};

/// A line of the order.
#[derive(Serialize, ToSchema)]
pub(super) struct TaskItem {
    /// The platform's id of the line.
    id: String,
    /// Product code.
    sku: String,
    /// Pieces.
    quantity: i64,
    /// A small picture, if the platform gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<Thumbnail>,
}

impl From<Line> for TaskItem {
    fn from(line: Line) -> Self {
        Self { id: line.id, sku: line.sku, quantity: line.quantity, thumbnail: line.thumbnail }
    }
}

/// A stop that the lab is asked for, with what it is about.
#[derive(Serialize, ToSchema)]
pub(super) struct Task {
    #[serde(flatten)]
    stop: StopInList,
    /// Where the order is printed.
    #[schema(required = true)]
    region: Option<RegionId>,
    /// What was ordered: `items` are the lines that the stop names.
    ordered: Vec<TaskItem>,
    /// How many seconds are left until an answer is due, below 0 afterwards; null once it is decided.
    #[schema(required = true)]
    seconds_left: Option<i64>,
}

/// A page of tasks.
#[derive(Serialize, ToSchema)]
pub(super) struct Tasks {
    /// The tasks: what waits most urgent first, what is decided newest first.
    stops: Vec<Task>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Where a page of what waits ended.
struct Place(Timestamp, StopId);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0.as_microsecond(), self.1)
    }
}

impl TryFrom<String> for Place {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        let not = || Fault::not("", &text, "the place of a task");
        let (at, id) = text.split_once('.').ok_or_else(not)?;
        let at = at.parse().ok().and_then(|at| Timestamp::from_microsecond(at).ok()).ok_or_else(not)?;
        Ok(Self(at, StopId::parse(id)?))
    }
}

/// A page of the tasks within a scope.
pub(super) async fn page(api: &Api, scope: &Scope, query: ListQuery) -> Answer<Response> {
    let limit = extract::limit(query.limit)?;
    let cursor = query.cursor.as_deref();
    // Ops who name no lab look at all stops, as in the list of stops.
    let waits = matches!(scope, Scope::Lab(_)) && query.state.is_none_or(|state| !state.is_decided());
    let mut filter = StopFilter { state: query.state, limit, ..StopFilter::default() };
    if waits {
        let place: Option<Place> = extract::cursor(cursor)?;
        filter.urgent_after = Some(place.map_or((Timestamp::MIN, None), |Place(at, id)| (at, Some(id))));
    } else {
        filter.before = extract::cursor(cursor)?;
    }
    let rows = api.store.stops(scope, &filter).await?;
    let next = if waits {
        extract::next(
            rows.len(),
            limit,
            rows.last().map(|row| Place(row.stop.deadline_at, row.stop.id.clone())),
        )
    } else {
        extract::next(rows.len(), limit, rows.last().map(|row| &row.stop.id))
    };
    let which: Vec<OrderRef> = rows.iter().map(|row| OrderRef::Id(row.stop.order.clone())).collect();
    let orders = api.store.orders(scope, &which).await?;
    let now = api.clock.now();
    let stops = rows.iter().zip(orders).map(|(row, order)| task(row, order, now)).collect();
    Ok(answer(StatusCode::OK, &Tasks { stops, next }))
}

fn task(row: &StopRow, order: Option<OrderFacts>, now: Timestamp) -> Task {
    let left = row.stop.deadline_at.duration_since(now).as_secs();
    let lines = order.as_ref().map(OrderFacts::lines).unwrap_or_default();
    Task {
        stop: StopInList::from(row),
        region: order.map(|order| order.region),
        ordered: lines.into_iter().map(TaskItem::from).collect(),
        seconds_left: (!row.stop.state.is_decided()).then_some(left),
    }
}
