//! A batch for ops: its orders, its transfers with their attempts and evidence, and what may be done about it.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::follow::Sheet;
use super::words::{self, Badge, Entry};
use super::{address, follow, named};
use crate::api::auth::Caller;
use crate::api::batches::Moved;
use crate::api::http::{Query, cursor, next};
use crate::api::page::board::{iso, there, utc};
use crate::api::page::{Form, Shell, Shown, page, see};
use crate::api::problem::{Answer, Code, Problem};
use crate::api::{Api, batches};
use crate::domain::Fault;
use crate::domain::batch::{BatchPhase, TransferPhase, later};
use crate::domain::ids::{BatchId, OrderId, PlatformId, TransferId};
use crate::domain::order::OrderFacts;
use crate::store::{BatchRow, OrderFilter, SeenBatch, Sighting, TransferRow};

/// How many orders a page has.
const PAGE: i64 = 50;
/// How many transfers.
const TRANSFERS: i64 = 20;
/// A batch that is to be released may have grown by one part in so many since it was shown.
const GROWS_BY: i64 = 10;

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
    /// How many transfers there are.
    all: i64,
    /// Whether all of them are here.
    whole: bool,
    /// Where those begin that come after.
    more: Option<String>,
    orders: Vec<OrderShown>,
    next: Option<String>,
    entries: Vec<Entry>,
}

/// Which orders and transfers.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Part {
    cursor: Option<String>,
    transfers: Option<String>,
    /// Of the stream: what the page has.
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
    Ok(sheet(&api, &caller, &id, &query?.0).await?.answer(StatusCode::OK))
}

async fn sheet(api: &Api, caller: &Caller, id: &BatchId, part: &Part) -> Answer<Sheet> {
    let row = batches::find(api, &caller.scope, id).await?;
    let from: Option<TransferId> = cursor(part.transfers.as_deref())?;
    // Of as many transfers as somebody reads: a cutoff may cut thousands.
    let page = api.store.transfer_page(id, from.as_ref(), TRANSFERS).await?;
    let more = next(page.rows.len(), TRANSFERS, page.rows.last().map(|row| &row.transfer.id));
    let filter = OrderFilter {
        batch: Some(id.clone()),
        before: cursor(part.cursor.as_deref())?,
        limit: PAGE,
        ..OrderFilter::default()
    };
    let orders = api.store.list_orders(&caller.scope, &filter).await?;
    let mut subjects = vec![id.as_str()];
    subjects.extend(page.rows.iter().map(|row| row.transfer.id.as_str()));
    let mut events = api.store.log(&subjects).await?;
    events.sort_by_key(|event| event.seq);
    let batch = &row.batch;
    let name = api.registry.lab(&batch.lab).map(|entry| entry.lab.spec.name.clone());
    let places = [("cursor", part.cursor.as_deref()), ("transfers", part.transfers.as_deref())];
    let shown = BatchPage {
        shell: Shell::of(caller, "batch").live(address(&format!("/ops/batches/{id}/live"), &places)),
        it: &row,
        lab: name.unwrap_or_else(|| batch.lab.to_string()),
        phase: words::batch(batch.phase),
        open: batch.phase == BatchPhase::Open,
        closes: (iso(batch.closes_at), utc(batch.closes_at), there(&batch.closes_at_local)),
        closed: batch.closed_at.map(|at| (iso(at), utc(at))),
        postponed: batch.closes_at > batch.window_at,
        transfers: page.rows.iter().map(TransferShown::from).collect(),
        whole: i64::try_from(page.rows.len()).is_ok_and(|shown| shown == page.all),
        all: page.all,
        more: more.filter(|_| page.all > TRANSFERS),
        orders: orders.iter().map(OrderShown::from).collect(),
        next: next(orders.len(), PAGE, orders.last().map(|facts| &facts.id)),
        entries: events.iter().map(Entry::from).collect(),
    };
    Sheet::of(&shown)
}

/// A batch's stream.
pub(in crate::api) async fn batch_live(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<Part>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let id = named(&path, BatchId::parse)?;
    let part = query?.0;
    let after = part.after.clone();
    // Whose orders come and go is told by the entries of its lab.
    let lab = batches::find(&api, &caller.scope, &id).await?.batch.lab;
    let (own, who) = (api.clone(), caller.clone());
    let make = move || {
        let (own, who, id, part) = (own.clone(), who.clone(), id.clone(), part.clone());
        async move { sheet(&own, &who, &id, &part).await }
    };
    let concerns = move |it: &Sighting| it.event.lab == lab.as_str();
    follow::follow(&api, caller, (&headers, after.as_deref()), concerns, make).await
}

/// When a batch was to close, as the form says that it was shown.
fn seen(text: &str) -> Answer<Timestamp> {
    text.parse().map_err(|_| Fault::not("closes_at", text, "the instant that the page has shown").into())
}

/// What is told of a batch that was not what its page had shown, with what was typed, to be sent for what it is now.
#[derive(Template)]
#[template(path = "ops/moved.html")]
struct MovedPage {
    shell: Shell,
    batch: BatchId,
    head: &'static str,
    text: String,
    /// When it closes now, for the form and for people.
    closes_at: Timestamp,
    closes: String,
    /// Of a release: how many wait in it now.
    waiting: Option<i64>,
    reason: String,
    /// Of a postponement: by how many minutes.
    minutes: String,
}

/// What was sent: for which batch, what it had shown, and what was typed.
struct Sent<'a> {
    id: &'a BatchId,
    closes_at: Timestamp,
    waiting: Option<i64>,
    reason: String,
    minutes: String,
}

fn otherwise(caller: &Caller, sent: Sent<'_>, now: (Timestamp, i64)) -> Response {
    let full = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let same = sent.closes_at == now.0;
    let text = if same {
        format!(
            "Nothing was done. {} wait in it now; the page that you acted on said {}.",
            now.1,
            sent.waiting.unwrap_or_default()
        )
    } else {
        format!(
            "Nothing was done. The page that you acted on said that it closes at {}; it closes at {}. If that was you, \
             it is done.",
            full(sent.closes_at),
            full(now.0)
        )
    };
    let shown = MovedPage {
        shell: Shell::of(caller, "batch"),
        batch: sent.id.clone(),
        head: if same { "More orders have come" } else { "Somebody moved it" },
        text,
        closes_at: now.0,
        closes: full(now.0),
        waiting: sent.waiting.map(|_| now.1),
        reason: sent.reason,
        minutes: sent.minutes,
    };
    page(StatusCode::CONFLICT, &shown)
}

/// The form that releases a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ReleaseForm {
    reason: String,
    #[serde(default)]
    sure: String,
    /// As they were shown.
    closes_at: String,
    waiting: String,
}

/// Releases a batch before its cutoff, by the same function as the API does: if it is what was shown.
pub(in crate::api) async fn release(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<ReleaseForm>,
) -> Shown {
    let id = named(&path, BatchId::parse)?;
    let ReleaseForm { reason, sure, closes_at, waiting } = form.0;
    if sure != "yes" {
        return Err(Problem::from(Fault::missing("sure", "ticked, because a promise is broken")).into());
    }
    let closes_at = seen(&closes_at)?;
    let many = waiting.parse::<i64>().ok().filter(|many| *many >= 0);
    let many =
        many.ok_or_else(|| Problem::from(Fault::not("waiting", &waiting, "the number that was shown")))?;
    // Orders come all the time: it is still the same batch with a few more.
    let waiting_max = Some(many.saturating_add(many / GROWS_BY));
    let seen = SeenBatch { closes_at, waiting_max };
    match batches::release(&api, &caller, (id.clone(), Some(seen)), reason.clone()).await {
        Ok(Moved::Done) => Ok(see(&format!("/ops/batches/{id}"))),
        Ok(Moved::Otherwise { closes_at: now, waiting }) => {
            let sent = Sent { id: &id, closes_at, waiting: Some(many), reason, minutes: String::new() };
            Ok(otherwise(&caller, sent, (now, waiting)))
        }
        Err(problem) if problem.code() == Code::BatchNotOpen => {
            // A second press of the button finds it released: that is what was wanted.
            let batch = batches::find(&api, &caller.scope, &id).await?.batch;
            let released = batch.closed_at.is_some_and(|at| at < batch.closes_at);
            if released { Ok(see(&format!("/ops/batches/{id}"))) } else { Err(problem.into()) }
        }
        Err(problem) => Err(problem.into()),
    }
}

/// The form that postpones a cutoff.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PostponeForm {
    minutes: String,
    reason: String,
    /// As it was shown.
    closes_at: String,
}

/// Postpones a cutoff, by the same function as the API does: counted from what was shown, if that still holds.
pub(in crate::api) async fn postpone(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<PostponeForm>,
) -> Shown {
    let id = named(&path, BatchId::parse)?;
    let PostponeForm { minutes, reason, closes_at } = form.0;
    let by = minutes.parse::<i64>().ok().filter(|minutes| (1..=7 * 1440).contains(minutes));
    let by =
        by.ok_or_else(|| Problem::from(Fault::not("minutes", &minutes, "a whole number from 1 to 10080")))?;
    let closes_at = seen(&closes_at)?;
    let until = later(closes_at, SignedDuration::from_mins(by));
    let seen = SeenBatch { closes_at, waiting_max: None };
    match batches::postpone(&api, &caller, (id.clone(), Some(seen)), until, reason.clone()).await? {
        Moved::Done => Ok(see(&format!("/ops/batches/{id}"))),
        Moved::Otherwise { closes_at: now, waiting } => Ok(otherwise(
            &caller,
            Sent { id: &id, closes_at, waiting: None, reason, minutes },
            (now, waiting),
        )),
    }
}
