//! Endpoints of platforms for ops: how each does, what it was sent last, and how many need a look.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;

use super::named;
use super::words::Badge;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::page::board::{iso, utc};
use crate::api::page::{Shell, Shown, page};
use crate::api::problem::Problem;
use crate::domain::ids::{OrderId, PlatformId, WebhookId};
use crate::store::{self, Delivery, DeliveryFilter, DeliveryState, WebhookFilter, WebhookRow};

/// How many endpoints the page has.
const SHOWN: usize = 200;
/// How many are read at a time.
const READ: i64 = 200;
/// How many messages of an endpoint are shown.
const DELIVERIES: i64 = 50;
/// So far behind the log an endpoint may be without anybody looking.
const BEHIND_MAX: i64 = 1_000;

/// How an endpoint does, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Does {
    SwitchedOff,
    Fails,
    Behind,
    Well,
    Off,
}

impl Does {
    fn of(row: &WebhookRow, end: i64) -> Self {
        if row.off.is_some() {
            Self::SwitchedOff
        } else if !row.enabled {
            Self::Off
        } else if row.condition.failing_since.is_some() {
            Self::Fails
        } else if behind(row, end) > BEHIND_MAX {
            Self::Behind
        } else {
            Self::Well
        }
    }

    fn badge(self) -> Badge {
        match self {
            Self::SwitchedOff => ("bad", "switched off by the gateway"),
            Self::Fails => ("warn", "takes nothing"),
            Self::Behind => ("warn", "is behind"),
            Self::Well => ("ok", "takes what it is sent"),
            Self::Off => ("", "off by its platform"),
        }
    }
}

/// Of how much of the log the endpoint is not yet done with.
fn behind(row: &WebhookRow, end: i64) -> i64 {
    (end - row.cursor).max(0)
}

/// An address without what may be a secret in it.
fn told(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(place, _)| format!("{place}?…"))
}

fn at(at: Timestamp) -> (String, String) {
    (iso(at), utc(at))
}

struct EndpointShown {
    id: WebhookId,
    platform: PlatformId,
    url: String,
    description: String,
    badge: Badge,
    off: bool,
    since: Option<(String, String)>,
    last: Option<(String, String)>,
    retries: Option<(String, String)>,
    delivered: i64,
    behind: i64,
    cause: Option<String>,
}

impl EndpointShown {
    fn of(row: WebhookRow, end: i64) -> Self {
        let does = Does::of(&row, end);
        let (since, cause) = match &row.off {
            Some((since, cause)) => (Some(*since), Some(cause.clone())),
            None => (row.condition.failing_since, row.failed_cause.clone()),
        };
        Self {
            behind: behind(&row, end),
            badge: does.badge(),
            off: does == Does::SwitchedOff,
            since: since.map(at),
            last: row.delivered_at.map(at),
            retries: row.due_at.map(at),
            delivered: row.delivered,
            cause,
            url: told(&row.spec.url),
            description: row.spec.description,
            id: row.id,
            platform: row.platform,
        }
    }
}

/// All endpoints.
async fn all(api: &Api) -> store::Result<Vec<WebhookRow>> {
    let mut all: Vec<WebhookRow> = Vec::new();
    loop {
        let after = all.last().map(|row| row.id.clone());
        let rows = api.store.webhooks(&WebhookFilter { platform: None, after, limit: READ }).await?;
        let last = (rows.len() as i64) < READ;
        all.extend(rows);
        if last {
            return Ok(all);
        }
    }
}

/// How many endpoints were switched off, take nothing, or are behind.
pub(in crate::api) async fn ailing(api: &Api) -> store::Result<usize> {
    let end = api.store.log_end().await?;
    Ok(all(api).await?.iter().filter(|row| Does::of(row, end) < Does::Well).count())
}

#[derive(Template)]
#[template(path = "ops/webhooks.html")]
struct WebhooksPage {
    shell: Shell,
    rows: Vec<EndpointShown>,
    all: usize,
}

/// The endpoints, the worst first.
pub(in crate::api) async fn webhooks(api: State<Api>, caller: Caller) -> Shown {
    let end = api.store.log_end().await?;
    let mut rows = all(&api).await?;
    rows.sort_by_key(|row| (Does::of(row, end), row.platform.to_string()));
    let all = rows.len();
    let rows = rows.into_iter().take(SHOWN).map(|row| EndpointShown::of(row, end)).collect();
    Ok(page(StatusCode::OK, &WebhooksPage { shell: Shell::of(&caller, "webhooks"), rows, all }))
}

struct DeliveryShown {
    kind: String,
    order: Option<OrderId>,
    badge: Badge,
    attempts: i64,
    first: (String, String),
    status: u16,
    cause: Option<String>,
}

impl From<Delivery> for DeliveryShown {
    fn from(it: Delivery) -> Self {
        Self {
            badge: match it.state {
                DeliveryState::Waiting => ("warn", "is sent again"),
                DeliveryState::Behind => ("", "waits behind another"),
                DeliveryState::Delivered => ("ok", "taken"),
                DeliveryState::GivenUp => ("bad", "given up"),
            },
            kind: it.kind,
            order: it.id.order,
            attempts: it.attempts,
            first: at(it.first_at),
            status: it.status,
            cause: it.cause,
        }
    }
}

#[derive(Template)]
#[template(path = "ops/webhook.html")]
struct WebhookPage {
    shell: Shell,
    row: EndpointShown,
    deliveries: Vec<DeliveryShown>,
}

/// An endpoint, and what it was sent last.
pub(in crate::api) async fn webhook(api: State<Api>, caller: Caller, path: Path<String>) -> Shown {
    let id = named(&path, WebhookId::parse)?;
    let row = api.store.webhook(&id, None).await?.ok_or_else(Problem::not_found)?;
    let filter = DeliveryFilter { state: None, before: None, limit: DELIVERIES };
    let deliveries = api.store.deliveries(&id, &filter).await?;
    let shown = WebhookPage {
        shell: Shell::of(&caller, "webhooks"),
        row: EndpointShown::of(row, api.store.log_end().await?),
        deliveries: deliveries.into_iter().map(DeliveryShown::from).collect(),
    };
    Ok(page(StatusCode::OK, &shown))
}
