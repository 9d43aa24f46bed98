//! A batch for ops: its orders, its transfers with their attempts and evidence, and what may be done about it.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::SignedDuration;
use serde::Deserialize;

use super::words::{self, Badge, Entry};
use super::{follow, named};
use crate::api::auth::Caller;
use crate::api::http::{Query, cursor, next};
use crate::api::page::board::{iso, there, utc};
use crate::api::page::{Form, Shell, Shown, page, see};
use crate::api::problem::Problem;
use crate::api::{Api, batches};
use crate::domain::Fault;
use crate::domain::batch::{BatchPhase, TransferPhase, later};
use crate::domain::ids::{BatchId, OrderId, PlatformId, TransferId};
use crate::domain::order::OrderFacts;
use crate::store::{BatchRow, OrderFilter, TransferRow};

/// How many orders a page has.
const PAGE: i64 = 50;

struct TransferShown {
    id: TransferId,
    badge: Badge,
    orders: usize,
    attempts: i64,
    unresolved: i64,
    first: (String, String),
    handed: Option<(String, String)>,
    due: Option<(String, String)>,
    key: String,
    sha256: String,
    short: String,
}

impl From<&TransferRow> for TransferShown {
    fn from(row: &TransferRow) -> Self {
        let it = &row.transfer;
        let waits = matches!(it.phase, TransferPhase::Closed | TransferPhase::Unknown);
        Self {
            id: it.id.clone(),
            badge: words::transfer(it.phase),
            orders: row.orders,
            attempts: it.attempts,
            unresolved: it.unresolved,
            first: (iso(it.first_at), utc(it.first_at)),
            handed: it.handed_at.map(|at| (iso(at), utc(at))),
            due: waits.then(|| (iso(it.deadline_at), utc(it.deadline_at))),
            key: row.key.clone(),
            sha256: row.sha256.clone(),
            short: row.sha256.chars().take(12).collect(),
        }
    }
}

struct OrderShown {
    id: OrderId,
    reference: String,
    platform: PlatformId,
    badge: Badge,
    admitted: (String, String),
}

impl From<&OrderFacts> for OrderShown {
    fn from(facts: &OrderFacts) -> Self {
        Self {
            id: facts.id.clone(),
            reference: facts.reference.clone(),
            platform: facts.platform.clone(),
            badge: words::order(facts.state()),
            admitted: (iso(facts.admitted_at), utc(facts.admitted_at)),
        }
    }
}

#[derive(Template)]
#[template(path = "ops/batch.html")]
struct BatchPage<'a> {
    shell: Shell,
    it: &'a BatchRow,
    lab: String,
    phase: Badge,
    open: bool,
    closes: (String, String, String),
    closed: Option<(String, String)>,
    postponed: bool,
    transfers: Vec<TransferShown>,
    orders: Vec<OrderShown>,
    next: Option<String>,
    entries: Vec<Entry>,
}

/// Which orders.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Part {
    cursor: Option<String>,
    /// Of the stream: how far the page knows.
    after: Option<String>,
}

/// A batch.
pub(in crate::api) async fn batch(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<Part>, Problem>,
) -> Shown {
    let id = named(&path, BatchId::parse)?;
    let part = query?.0;
    let known = follow::cursor(&api).await?;
    let more = part.cursor.as_ref().map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
    let stream = format!("/ops/batches/{id}/live{more}");
    let row = batches::find(&api, &caller.scope, &id).await?;
    let transfers = api.store.transfers(&id).await?;
    let filter = OrderFilter {
        batch: Some(id.clone()),
        before: cursor(part.cursor.as_deref())?,
        limit: PAGE,
        ..OrderFilter::default()
    };
    let orders = api.store.list_orders(&caller.scope, &filter).await?;
    // Of as many transfers as somebody reads: a cutoff may cut thousands.
    let mut subjects = vec![id.as_str()];
    subjects.extend(transfers.iter().take(20).map(|row| row.transfer.id.as_str()));
    let mut events = api.store.log(&subjects).await?;
    events.sort_by_key(|event| event.seq);
    let batch = &row.batch;
    let name = api.registry.lab(&batch.lab).map(|entry| entry.lab.spec.name.clone());
    let shown = BatchPage {
        shell: Shell::of(&caller, "batch").live(stream).cursor(known),
        it: &row,
        lab: name.unwrap_or_else(|| batch.lab.to_string()),
        phase: words::batch(batch.phase),
        open: batch.phase == BatchPhase::Open,
        closes: (iso(batch.closes_at), utc(batch.closes_at), there(&batch.closes_at_local)),
        closed: batch.closed_at.map(|at| (iso(at), utc(at))),
        postponed: batch.closes_at > batch.window_at,
        transfers: transfers.iter().map(TransferShown::from).collect(),
        orders: orders.iter().map(OrderShown::from).collect(),
        next: next(orders.len(), PAGE, orders.last().map(|facts| &facts.id)),
        entries: events.iter().map(Entry::from).collect(),
    };
    Ok(page(StatusCode::OK, &shown))
}

/// A batch's stream.
pub(in crate::api) async fn batch_live(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<Part>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let Part { cursor, after } = query?.0;
    let (own, who) = (api.clone(), caller.clone());
    let make = move || {
        let part = Part { cursor: cursor.clone(), after: None };
        batch(own.clone(), who.clone(), Path(path.0.clone()), Ok(Query(part)))
    };
    Ok(follow::follow(&api, caller, &headers, after.as_deref(), make)?)
}

/// The form that releases a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ReleaseForm {
    reason: String,
    #[serde(default)]
    sure: String,
}

/// Releases a batch before its cutoff, by the same function as the API does.
pub(in crate::api) async fn release(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<ReleaseForm>,
) -> Shown {
    let id = named(&path, BatchId::parse)?;
    if form.0.sure != "yes" {
        return Err(Problem::from(Fault::missing("sure", "ticked, because a promise is broken")).into());
    }
    batches::release(&api, &caller, id.clone(), form.0.reason).await?;
    Ok(see(&format!("/ops/batches/{id}")))
}

/// The form that postpones a cutoff.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PostponeForm {
    minutes: String,
    reason: String,
}

/// Postpones a cutoff, by the same function as the API does.
pub(in crate::api) async fn postpone(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<PostponeForm>,
) -> Shown {
    let id = named(&path, BatchId::parse)?;
    let minutes = form.0.minutes.parse::<i64>().ok().filter(|minutes| (1..=7 * 1440).contains(minutes));
    let minutes = minutes.ok_or_else(|| {
        Problem::from(Fault::not("minutes", &form.0.minutes, "a whole number from 1 to 10080"))
    })?;
    let row = batches::find(&api, &caller.scope, &id).await?;
    let until = later(row.batch.closes_at, SignedDuration::from_mins(minutes));
    batches::postpone(&api, &caller, id.clone(), until, form.0.reason).await?;
    Ok(see(&format!("/ops/batches/{id}")))
}
