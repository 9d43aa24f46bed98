//! The band as a list: every cutoff of the coming 24 hours, by name.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::{count, iso, of_slot, thousands, utc};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::board::band::{Mark, slot};
use crate::api::http::Query;
use crate::api::page::{Shell, Shown, page};
use crate::api::problem::Problem;

/// How many cutoffs a page has.
const PAGE: usize = 300;

/// What stands in the address.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Address {
    /// From 1 on.
    page: Option<usize>,
}

/// A quarter of an hour with its cutoffs.
struct SlotLines {
    iso: String,
    utc: String,
    many: String,
    /// The lab, its name with the region, and what waits.
    marks: Vec<(String, String, Option<String>)>,
}

#[derive(Template)]
#[template(path = "board/cutoffs.html")]
struct CutoffsPage {
    shell: Shell,
    as_of: String,
    from: String,
    summary: String,
    slots: Vec<SlotLines>,
    page: usize,
    pages: usize,
}

/// The list.
pub(in crate::api) async fn cutoffs(
    api: State<Api>,
    caller: Caller,
    address: Result<Query<Address>, Problem>,
) -> Shown {
    let asked = address?.0.page.unwrap_or(1).max(1);
    let snapshot = api.board.fresh(&api).await?;
    let marks = Mark::all(snapshot.rows.iter().map(|row| &**row));
    let pages = marks.len().div_ceil(PAGE).max(1);
    let nth = asked.min(pages);
    let mut slots: Vec<SlotLines> = Vec::new();
    for mark in marks.iter().skip((nth - 1) * PAGE).take(PAGE) {
        let at = slot(mark.closes_at);
        let iso = iso(at);
        if slots.last().is_none_or(|last| last.iso != iso) {
            // What the whole quarter has, also where the page ends within it.
            let whole = snapshot.band.slots.iter().find(|slot| slot.at == at);
            let many = whole.map(|slot| of_slot(slot.cutoffs, slot.waiting)).unwrap_or_default();
            slots.push(SlotLines { iso, utc: utc(at), many, marks: Vec::new() });
        }
        let waiting = (mark.waiting > 0).then(|| thousands(mark.waiting));
        let line = (mark.lab.to_string(), format!("{} {}", mark.name, mark.region), waiting);
        if let Some(last) = slots.last_mut() {
            last.marks.push(line);
        }
    }
    let total = i64::try_from(marks.len()).unwrap_or(i64::MAX);
    let shown = CutoffsPage {
        shell: Shell::of(&caller, "board"),
        as_of: iso(snapshot.at),
        from: iso(snapshot.band.from),
        summary: count(total, "cutoff", "cutoffs"),
        slots,
        page: nth,
        pages,
    };
    Ok(page(StatusCode::OK, &shown))
}
