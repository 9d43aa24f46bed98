//! Warnings before a cutoff: each order once a cutoff, whoever asks, and how often.
//!
//! What an order was warned of stands in its own row, and moves in the transaction that writes the entry: so
//! neither a restart nor another gateway warns again. An order that was never outside of a batch while a
//! cutoff was near costs nothing: where it is collected is looked up only then. It is looked up again after another
//! submission, and after another definition of its lab.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::stop::micros;
use super::{Trail, board, extras, rows_fetch, rows_run_all, to_json};
use crate::domain::event::Actor;
use crate::domain::extras::HoldKind;
use crate::domain::ids::{LabId, OrderId, RegionId};
use crate::domain::order::{Handing, Held};
use crate::domain::warning::{Collecting, KIND, Missing, UNPAID_FOR};
use crate::store::session::{Arg, Session};
use crate::store::types::{NearCutoff, Place, Warn, Warned, WarnedOrder, WarnedRow, Written};
use crate::store::{Error, Result};

/// What of a submission says whether the order waits for a cutoff at all.
#[derive(Deserialize)]
struct Handed {
    #[serde(default)]
    transfer: Handing,
}

/// Where the ids begin of unpaid orders that are still warned about.
fn unpaid_from(now: Timestamp) -> String {
    board::ids_since(OrderId::PREFIX, now.saturating_sub(UNPAID_FOR).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Where orders are in no batch that were not warned of these cutoffs.
pub(in crate::store) async fn warnings_due<S: Session>(s: &mut S, near: &[NearCutoff]) -> Result<Vec<Place>> {
    let rows: Vec<_> =
        near.iter().map(|near| json!([near.lab, near.region, micros(near.closes_at)])).collect();
    let found = rows_fetch(s, s.sql().warnings.warn_due, &rows).await?;
    let place = |row: crate::store::session::Row| {
        let mut row = row.of("standings");
        Ok((row.parsed(LabId::parse)?, row.parsed(RegionId::parse)?))
    };
    found.into_iter().map(place).collect()
}

/// Orders that were warned of a cutoff to come and are still in no batch.
pub(in crate::store) async fn warned<S: Session>(
    s: &mut S,
    labs: &[LabId],
    now: Timestamp,
) -> Result<Vec<WarnedRow>> {
    if labs.is_empty() {
        return Ok(Vec::new());
    }
    let labs = to_json(&super::ids(labs.iter().map(LabId::as_str)))?;
    let from = unpaid_from(now);
    let found = s.fetch(s.sql().warnings.warned, &[Arg::Text(&labs), now.into(), (&from).into()]).await?;
    found
        .into_iter()
        .map(|row| {
            let mut row = row.of("standings");
            Ok(WarnedRow {
                place: (row.parsed(LabId::parse)?, row.parsed(RegionId::parse)?),
                closes_at: row.at()?,
                paid: row.int()? == 1,
                hold: row.opt_int()?.and_then(HoldKind::from_code),
                orders: row.int()?,
            })
        })
        .collect()
}

/// The same orders of one lab by name, those that miss the first cutoff first.
pub(in crate::store) async fn warned_orders<S: Session>(
    s: &mut S,
    lab: &LabId,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<WarnedOrder>> {
    let from = unpaid_from(now);
    let args = [lab.as_str().into(), now.into(), (&from).into(), limit.into()];
    let found = s.fetch(s.sql().warnings.warned_orders, &args).await?;
    let order = |row: crate::store::session::Row| {
        let mut row = row.of("standings");
        Ok(WarnedOrder {
            order: row.parsed(OrderId::parse)?,
            region: row.parsed(RegionId::parse)?,
            closes_at: row.at()?,
        })
    };
    found.into_iter().map(order).collect()
}

/// Looks up where orders of a lab are collected that came to be in no batch. Gives how many there were.
async fn place<S: Session>(s: &mut S, lab: &LabId, collecting: &Collecting, limit: i64) -> Result<i64> {
    let found = s.fetch(s.sql().warnings.warn_unplaced, &[lab.as_str().into(), limit.into()]).await?;
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        let mut row = row.of("standings");
        let (id, region, document) = (row.text()?, row.parsed(RegionId::parse)?, row.text()?);
        let handed: Handed = serde_json::from_str(&document)
            .map_err(|error| Error::Corrupt { table: "orders", what: error.to_string() })?;
        // An order that goes alone makes its own window: it misses none.
        let alone = handed.transfer == Handing::Direct;
        let outside = if alone { String::new() } else { collecting.place(&region, &document).to_string() };
        rows.push([id, outside]);
    }
    rows_run_all(s, s.sql().warnings.warn_place, &rows, "standings").await?;
    Ok(rows.len() as i64)
}

/// Orders of a lab are looked up again, because it is defined anew.
pub(super) async fn look_again<S: Session>(s: &mut S, lab: &str) -> Result<()> {
    s.run(s.sql().warnings.warn_lab_anew, &[lab.into()]).await.map(drop)
}

/// An order is looked up again, because it is another one.
pub(super) async fn look_again_at<S: Session>(s: &mut S, order: &OrderId) -> Result<()> {
    s.run(s.sql().warnings.warn_order_anew, &[order.as_str().into()]).await.map(drop)
}

/// Warns orders of a region.
pub(super) async fn warn<S: Session>(s: &mut S, trail: &mut Trail, item: &Warn) -> Result<Written> {
    let NearCutoff { lab, region, closes_at, closes_at_local } = &item.near;
    let placed = place(s, lab, &item.collecting, item.limit).await?;
    let until = micros(*closes_at);
    let args = [lab.as_str().into(), region.as_str().into(), until.into(), item.limit.into()];
    let found = s.fetch(s.sql().warnings.warn_take, &args).await?;
    let taken = found.len() as i64;
    let unpaid_from = unpaid_from(item.at);
    let (mut rows, mut orders) = (Vec::with_capacity(found.len()), 0);
    let mut taken_out = Vec::with_capacity(found.len());
    for row in found {
        let mut row = row.of("standings");
        taken_out.push((row.text()?, row.int()? == 1, row.coded(Held::from_code)?, row.text()?));
    }
    let held = taken_out.iter().filter(|(_, _, held, _)| *held != Held::No);
    let holds = extras::holds_of(s, &held.map(|(id, ..)| id.as_str()).collect::<Vec<_>>()).await?;
    for (id, paid, _, was) in taken_out {
        let holds = holds.iter().filter(|(order, _)| *order == id).map(|(_, hold)| hold.kind);
        let mut head = was.clone();
        if paid || id >= unpaid_from {
            let detail = json!({
                "because": Missing::of(paid, holds), "closes_at": closes_at, "closes_at_local": closes_at_local,
            });
            head = trail.add(&was, item.at, (&id, lab.as_str()), KIND, &Actor::gateway(), &detail);
            orders += 1;
        }
        rows.push(json!({"id": id, "until": until, "head": head, "was": was}));
    }
    rows_run_all(s, s.sql().warnings.warn_mark, &rows, "standings").await?;
    Ok(Written::Warned(Warned { orders, more: taken == item.limit || placed == item.limit }))
}
