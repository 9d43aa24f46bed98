//! Orders that a lab of two phases is sent ahead, to hold.
//!
//! Nothing here decides anything: a stop is granted as if no order had been sent ahead, and a hand-over
//! carries whole orders. What is kept is who was sent what, so that it can be taken back, and seen.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::claim::entry;
use super::stop::{self, Standing};
use super::{Trail, ids, rows_fetch, rows_run, rows_run_all};
use crate::domain::batch::Entry;
use crate::domain::event::Actor;
use crate::domain::ids::{BatchId, LabId, OrderId};
use crate::domain::lab::Answer;
use crate::domain::stop::StopState;
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{Ahead, Import, Imported, Written};

/// Marks, in the log, an answer that came when the order was in a transfer already.
const LATE: &str = "late";

/// Orders of an open batch that its lab was not sent ahead, behind `after`.
pub(in crate::store) async fn not_imported<S: Session>(
    s: &mut S,
    batch: &BatchId,
    after: &str,
    limit: i64,
) -> Result<Vec<OrderId>> {
    let rows = s.fetch(s.sql().import_fresh, &[batch.as_str().into(), after.into(), limit.into()]).await?;
    rows.into_iter().map(|row| row.of("standings").parsed(OrderId::parse)).collect()
}

/// Orders that a lab may hold and that are not handed over as they stand, of batches that close after
/// `since`.
pub(in crate::store) async fn stray_imports<S: Session>(
    s: &mut S,
    lab: &LabId,
    since: jiff::Timestamp,
    limit: i64,
) -> Result<Vec<OrderId>> {
    let rows = s.fetch(s.sql().import_stray, &[lab.as_str().into(), since.into(), limit.into()]).await?;
    rows.into_iter().map(|row| row.of("imports").parsed(OrderId::parse)).collect()
}

/// Continues the log of an order; gives the row that keeps its new head.
fn log(
    trail: &mut Trail,
    standing: &Standing,
    at: jiff::Timestamp,
    kind: &'static str,
    detail: &Value,
) -> Value {
    let subject = (standing.id.as_str(), standing.lab.as_str());
    let head = trail.add(&standing.head, at, subject, kind, &Actor::gateway(), detail);
    json!({"id": standing.id, "was": standing.head, "head": head})
}

/// Records what is going to be sent ahead and taken back: of what was read before, what still holds.
pub(super) async fn claim<S: Session>(s: &mut S, trail: &mut Trail, item: &Import) -> Result<Written> {
    let named: Vec<&str> =
        item.send.iter().map(|(id, _)| id.as_str()).chain(item.discard.iter().map(OrderId::as_str)).collect();
    let standings: HashMap<String, Standing> =
        stop::lock(s, &named).await?.into_iter().map(|found| (found.id.to_string(), found)).collect();
    let mine = |id: &OrderId| standings.get(id.as_str()).filter(|found| found.lab == item.lab.as_str());
    let waits = |found: &&Standing| found.stop.is_none() && found.transfer.is_none();
    let rows: Vec<Value> = (item.send.iter())
        .filter_map(|(id, batch)| {
            mine(id).filter(waits).filter(|found| found.batch.as_deref() == Some(batch.as_str()))
        })
        .map(|found| {
            json!({"order": found.id, "lab": item.lab, "closes_at": stop::micros(item.closes_at),
                "at": stop::micros(item.at)})
        })
        .collect();
    let (mut sent, mut heads) = (Vec::new(), Vec::new());
    for mut row in rows_fetch(s, s.sql().import_insert, &rows).await? {
        let id = row.text()?;
        let Some(found) = standings.get(&id) else { continue };
        heads.push(log(trail, found, item.at, "order.sent_ahead", &json!({"hold_until": item.closes_at})));
        sent.push(id);
    }
    let mut ahead = Vec::with_capacity(sent.len());
    for row in rows_fetch(s, s.sql().order_entries, &ids(sent.iter().map(String::as_str))).await? {
        ahead.push(Ahead { entry: entry(row)?.1, hold_until: item.closes_at });
    }
    let stray: Vec<&Standing> = (item.discard.iter().filter_map(mine))
        .filter(|found| found.transfer.is_none())
        .filter(|found| {
            // What it holds of an order of which lines are stopped since is not what it is going to be handed.
            found.stop == Some(StopState::Stopped) || found.batch.is_none() || !found.lines_out.is_empty()
        })
        .collect();
    let states: Vec<Value> = stray.iter().map(|found| json!([found.id, 3])).collect();
    rows_run(s, s.sql().import_state, &states).await?;
    for found in &stray {
        heads.push(log(trail, found, item.at, "order.taken_back", &json!({})));
    }
    rows_run_all(s, s.sql().standing_head, &heads, "standings").await?;
    Ok(Written::Importing(ahead, stray.into_iter().map(|found| found.id.clone()).collect()))
}

/// Keeps what a lab answered to an order that was sent ahead.
pub(super) async fn settle<S: Session>(s: &mut S, trail: &mut Trail, item: &Imported) -> Result<Written> {
    let state = match &item.answer {
        Answer::Accepted { .. } => 1,
        Answer::Refused { .. } => 2,
        // It may hold the order, or not: no harm in either.
        _ => 0,
    };
    let Some(standing) = stop::lock(s, &[item.order.as_str()]).await?.pop() else { return Ok(Written::Done) };
    let moved = rows_run(s, s.sql().import_state, &[json!([item.order, state])]).await?;
    let mut detail = json!({"answer": item.answer});
    if standing.transfer.is_some() || moved == 0 {
        // What is on its way does not change any more, and what was taken back is not there: see `recall`.
        detail[LATE] = json!(true);
    }
    let head = log(trail, &standing, item.at, "order.ahead", &detail);
    rows_run_all(s, s.sql().standing_head, &[head], "standings").await?;
    Ok(Written::Done)
}

/// Fills in what the lab called these orders when they were sent ahead to it, unless they were taken back since.
///
/// It is read from the log, under the lock of the orders' standings: what is heard once an order is in a transfer
/// is marked as late, and does not count. So the bytes of a transfer can be built again at any time.
pub(super) async fn recall<'a, S: Session>(
    s: &mut S,
    entries: impl Iterator<Item = &'a mut Entry>,
) -> Result<()> {
    // Nor is it named where lines were stopped since: it has them still.
    let mut entries: HashMap<String, &mut Entry> = entries
        .filter(|entry| entry.lines_out.is_empty())
        .map(|entry| (entry.id.to_string(), entry))
        .collect();
    let of: Vec<String> = entries.keys().cloned().collect();
    for row in rows_fetch(s, s.sql().import_told, &ids(of.iter().map(String::as_str))).await? {
        let mut row = row.of("events");
        let (order, kind) = (row.text()?, row.text()?);
        let detail: Value = row.parsed(|text| serde_json::from_str(text))?;
        let Some(entry) = entries.get_mut(&order).filter(|_| detail.get(LATE).is_none()) else { continue };
        let told = detail.pointer("/answer/lab_reference").filter(|_| kind == "order.ahead");
        entry.import_reference = told.and_then(Value::as_str).map(str::to_owned);
    }
    Ok(())
}
