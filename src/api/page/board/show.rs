//! The board as a page, and its stream: of the one picture that all share, each watcher gets the rows of its
//! view that it has not seen yet, as they were written when they changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures_util::stream::{self, Stream};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::iso;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::board::view::{PAGE, View};
use crate::api::board::{Row, Snapshot};
use crate::api::http::Query;
use crate::api::page::live::{Written, live, resumes};
use crate::api::page::{Shell, Shown, page, see};
use crate::api::problem::Problem;
use crate::domain::batch::later;
use crate::domain::ids::LabId;
use crate::store::Scope;

/// How often a watcher looks.
const EVERY: SignedDuration = SignedDuration::from_secs(1);
/// The id of the rows' element.
const ROWS: &str = "rows";

/// What stands in the address of the board.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Address {
    lab: Option<LabId>,
    find: Option<String>,
    level: Option<String>,
    at: Option<Timestamp>,
    /// From 1 on.
    page: Option<usize>,
    /// Of the stream: how far the page knows.
    after: Option<String>,
}

impl Address {
    fn view(&self) -> Result<View, Problem> {
        let view =
            View { lab: self.lab.clone(), find: self.find.clone(), level: self.level.clone(), at: self.at };
        let faults = view.faults();
        if faults.is_empty() { Ok(view) } else { Err(faults.into()) }
    }

    fn page(&self) -> usize {
        self.page.unwrap_or(1).max(1)
    }
}

#[derive(Template)]
#[template(path = "board/board.html")]
struct BoardPage<'a> {
    shell: Shell,
    totals: &'a str,
    band: &'a str,
    rows: Vec<&'a Arc<Row>>,
    find: &'a str,
    level: &'a str,
    lab: Option<&'a LabId>,
    at: Option<String>,
    whole: bool,
    around: Around,
    /// How many endpoints of platforms need a look, as it is when the page is made.
    ailing: usize,
}

/// What stands around the rows, and says how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Around {
    /// Before them: what to do where there is none.
    empty: String,
    /// Their caption.
    shown: String,
    /// After them: the way to more.
    pages: String,
}

#[derive(Template)]
#[template(path = "board/empty.html")]
struct EmptyPiece {
    regions: usize,
    fit: usize,
}

#[derive(Template)]
#[template(path = "board/more.html")]
struct MorePiece {
    page: usize,
    pages: Vec<(usize, String)>,
}

impl Around {
    /// Of a page of the rows that fit.
    fn of(view: &View, nth: usize, regions: usize, fit: usize) -> Self {
        let what = if view.is_whole() { "all" } else { "those that fit" };
        let first = (nth - 1) * PAGE;
        let shown = match (fit.saturating_sub(first).min(PAGE), fit) {
            (0, _) => "No region".to_owned(),
            (some, most) if some < most => format!(
                "Regions {} to {} of {most}, {what}: the most urgent first, then by their next cutoff",
                first + 1,
                first + some
            ),
            (1, _) => format!("1 region, {what}"),
            (some, _) => {
                format!("{some} regions, {what}: the most urgent first, then by their next cutoff")
            }
        };
        let pages = (1..=fit.div_ceil(PAGE).max(1)).map(|nth| (nth, query(view, nth))).collect();
        Self {
            empty: super::written(&EmptyPiece { regions, fit }),
            shown: format!("<caption id=\"shown\">{shown}</caption>"),
            pages: super::written(&MorePiece { page: nth, pages }),
        }
    }

    /// Those that are others than before, as members of a JSON object.
    fn news(&self, before: Option<&Self>) -> Vec<String> {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let of = |it: &Self| [it.empty.clone(), it.shown.clone(), it.pages.clone()];
        let old = before.map(of);
        let pairs = ["empty", "shown", "pages"].into_iter().zip(of(self)).enumerate();
        let fresh = pairs.filter(|(nth, (_, html))| old.as_ref().is_none_or(|old| old[*nth] != *html));
        fresh.map(|(_, (id, html))| format!("{}:{}", text(id), text(&html))).collect()
    }
}

fn query(view: &View, page: usize) -> String {
    let mut text = view.query();
    if page > 1 {
        let join = if text.is_empty() { "" } else { "&" };
        let _ = write!(text, "{join}page={page}");
    }
    text
}

/// The name of a picture: of this process, because another one numbers its own.
fn cursor(api: &Api, snapshot: &Snapshot) -> String {
    format!("{}.{}", api.board.name(), snapshot.serial)
}

/// The board.
pub(in crate::api) async fn board(
    api: State<Api>,
    caller: Caller,
    address: Result<Query<Address>, Problem>,
) -> Shown {
    if matches!(caller.scope, Scope::Lab(_)) {
        return Ok(see("/lab"));
    }
    let address = address?.0;
    let view = address.view()?;
    let snapshot = api.board.fresh(&api).await?;
    let all: Vec<&Arc<Row>> = view.rows(&snapshot).collect();
    let count = all.len().div_ceil(PAGE).max(1);
    let nth = address.page().min(count);
    let rows: Vec<&Arc<Row>> = all.iter().skip((nth - 1) * PAGE).take(PAGE).copied().collect();
    let regions = snapshot.rows.len();
    let stream = format!("/ops/board/live?{}", query(&view, nth));
    let shell =
        Shell::of(&caller, "board").live(stream.trim_end_matches('?')).cursor(cursor(&api, &snapshot));
    let shown = BoardPage {
        shell,
        totals: &snapshot.totals_piece.html,
        band: &snapshot.band_piece.html,
        rows,
        find: view.find.as_deref().unwrap_or_default(),
        level: view.level.as_deref().unwrap_or_default(),
        lab: view.lab.as_ref(),
        at: view.at.map(iso),
        whole: view.is_whole(),
        around: Around::of(&view, nth, regions, all.len()),
        ailing: crate::api::page::ops::ailing(&api).await?,
    };
    Ok(page(StatusCode::OK, &shown))
}

/// The board's stream.
pub(in crate::api) async fn board_live(
    api: State<Api>,
    caller: Caller,
    address: Result<Query<Address>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let address = address?.0;
    let view = address.view()?;
    let nth = address.page();
    let known = resumes(&headers, address.after.as_deref());
    let watch = Watch { view, page: nth, sent: None, known };
    Ok(live(&api, Some(caller), frames(api.0.clone(), watch))?)
}

/// What one watcher has been sent.
struct Watch {
    view: View,
    page: usize,
    /// The rows that it has, with the numbers that they had, and how the rest stood.
    sent: Option<Sent>,
    /// Until something was sent: how far the page itself knew.
    known: Option<String>,
}

struct Sent {
    around: Around,
    serial: u64,
    order_serial: u64,
    rows: HashMap<String, u64>,
}

impl Watch {
    /// What is new for this watcher.
    fn frame(&mut self, name: &str, snapshot: &Snapshot) -> Option<String> {
        let known = self.known.take();
        if let Some(sent) = &self.sent
            && sent.serial == snapshot.serial
        {
            return None;
        }
        let all: Vec<&Arc<Row>> = self.view.rows(snapshot).collect();
        let around = Around::of(&self.view, self.page, snapshot.rows.len(), all.len());
        let rows: Vec<&Arc<Row>> = all.into_iter().skip((self.page - 1) * PAGE).take(PAGE).collect();
        let news = around.news(self.sent.as_ref().map(|sent| &sent.around));
        let mut puts: Vec<&str> = Vec::new();
        let table;
        let mut gone: Vec<&str> = Vec::new();
        let mut order: Vec<&str> = Vec::new();
        // A page that was made by this process, and whose rows are the same ones still.
        let since = known
            .and_then(|known| known.strip_prefix(name)?.strip_prefix('.')?.parse::<u64>().ok())
            .filter(|since| *since >= snapshot.order_serial && *since <= snapshot.serial)
            .filter(|_| self.view.is_steady());
        let seen: Option<&Sent> = self.sent.as_ref();
        let piece_since = seen.map(|sent| sent.serial).or(since);
        for piece in [&snapshot.totals_piece, &snapshot.band_piece] {
            if piece_since.is_none_or(|since| piece.serial > since) {
                puts.push(&piece.put);
            }
        }
        // What a page says by itself that was made by this process is what it would be sent.
        if seen.is_some() || since.is_none() {
            puts.extend(news.iter().map(String::as_str));
        }
        let ids: HashSet<&str> = rows.iter().map(|row| row.piece.id.as_str()).collect();
        match (seen, since) {
            (Some(sent), _) => {
                for row in &rows {
                    if sent.rows.get(&row.piece.id).is_none_or(|had| *had != row.piece.serial) {
                        puts.push(&row.piece.put);
                    }
                }
                gone = sent.rows.keys().map(String::as_str).filter(|id| !ids.contains(id)).collect();
                if !gone.is_empty()
                    || sent.rows.len() != rows.len()
                    || sent.order_serial != snapshot.order_serial
                {
                    order = rows.iter().map(|row| row.piece.id.as_str()).collect();
                }
            }
            (None, Some(since)) => {
                puts.extend(rows.iter().filter(|row| row.piece.serial > since).map(|row| &*row.piece.put));
            }
            (None, None) => {
                let html: String = rows.iter().map(|row| row.piece.html.as_str()).collect();
                let text = serde_json::Value::from(format!("<tbody id=\"{ROWS}\">{html}</tbody>"));
                table = format!("\"{ROWS}\":{text}");
                puts.push(&table);
            }
        }
        let frame = written(snapshot.at, &puts, &gone, &order);
        let nothing = puts.is_empty() && gone.is_empty() && order.is_empty();
        self.sent = Some(Sent {
            around,
            serial: snapshot.serial,
            order_serial: snapshot.order_serial,
            rows: rows.iter().map(|row| (row.piece.id.clone(), row.piece.serial)).collect(),
        });
        (!nothing).then_some(frame)
    }
}

/// A frame, of pieces that were written before.
fn written(now: Timestamp, puts: &[&str], gone: &[&str], order: &[&str]) -> String {
    let mut text = format!("{{\"now\":\"{now}\"");
    if !puts.is_empty() {
        let _ = write!(text, ",\"put\":{{{}}}", puts.join(","));
    }
    if !gone.is_empty() {
        let _ = write!(text, ",\"gone\":{}", serde_json::Value::from(gone.to_vec()));
    }
    if !order.is_empty() {
        let order = BTreeMap::from([(ROWS, order)]);
        let _ = write!(text, ",\"order\":{}", serde_json::to_string(&order).unwrap_or_default());
    }
    text.push('}');
    text
}

fn frames(api: Api, watch: Watch) -> impl Stream<Item = Written> + Send + 'static {
    stream::unfold((api, watch, false), |(api, mut watch, began)| async move {
        let mut wait = began;
        loop {
            if wait {
                api.clock.sleep_until(later(api.clock.now(), EVERY)).await;
            }
            wait = true;
            // A board that cannot be read is told to nobody: the stream ends, and the page says since when.
            let snapshot = api.board.fresh(&api).await.ok()?;
            if let Some(text) = watch.frame(api.board.name(), &snapshot) {
                return Some((Written::new(cursor(&api, &snapshot), text), (api, watch, true)));
            }
        }
    })
}
