//! The evidence about one order: the entries as they were hashed, and the checkpoints that cover them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::read;
use super::{ids, rows_fetch};
use crate::domain::evidence::{Checkpoint, Covered, Entry, HASHES_MAX};
use crate::domain::ids::{BatchId, OrderId};
use crate::store::Result;
use crate::store::session::{Row, Session};
use crate::store::types::{Evidenced, OrderRef, Scope};

fn entry(row: Row) -> Result<Entry> {
    let mut row = row.of("events");
    let (seq, at, subject, lab) = (row.int()?, row.at()?, row.text()?, row.text()?);
    let (kind, actor, detail) = (row.text()?, row.text()?, row.text()?);
    let (previous, hash) = (row.text()?, row.text()?);
    let hashed = [previous, at.as_microsecond().to_string(), subject, kind, actor, detail];
    Ok(Entry { seq, at, lab, hashed, hash, checkpoint: None })
}

async fn entries<S: Session>(s: &mut S, subjects: &BTreeSet<String>) -> Result<Vec<Entry>> {
    let rows = rows_fetch(s, s.sql().event_of_subjects, &ids(subjects.iter().map(String::as_str))).await?;
    rows.into_iter().map(entry).collect()
}

/// The batches that an entry of the order names: it may have left one for another.
fn batches(entry: &Entry) -> Option<String> {
    let detail: Value = serde_json::from_str(&entry.hashed[5]).ok()?;
    let named = detail.get("batch")?.as_str()?;
    BatchId::parse(named).ok().map(|batch| batch.to_string())
}

/// What the log has about an order, as a scope may see it.
pub(in crate::store) async fn evidence<S: Session>(
    s: &mut S,
    scope: &Scope,
    order: &OrderId,
) -> Result<Option<Evidenced>> {
    let Some(facts) = read::orders(s, scope, &[OrderRef::Id(order.clone())]).await?.pop().flatten() else {
        return Ok(None);
    };
    let mut found = entries(s, &BTreeSet::from([order.to_string()])).await?;
    let mut others: BTreeSet<String> = found.iter().filter_map(batches).collect();
    others.extend(facts.batch.as_ref().map(|batch| batch.id.to_string()));
    others.extend(facts.transfer.as_ref().map(|transfer| transfer.id.to_string()));
    found.extend(entries(s, &others).await?);
    found.sort_by_key(|entry| entry.seq);
    let mut checkpoints = Vec::new();
    let mut hashes_left = HASHES_MAX;
    let mut covered_until = 0;
    for entry in &mut found {
        if entry.seq > covered_until {
            let Some(point) = checkpoint(s, entry.seq, &mut hashes_left).await? else { break };
            covered_until = point.seq;
            checkpoints.push(point);
        }
        entry.checkpoint = Some(covered_until);
    }
    Ok(Some(Evidenced { entries: found, checkpoints }))
}

/// The checkpoint that covers an entry, with the hashes that it was made of while there are not too many.
async fn checkpoint<S: Session>(s: &mut S, seq: i64, hashes_left: &mut usize) -> Result<Option<Checkpoint>> {
    let sql = &s.sql().warnings;
    let Some(row) = s.fetch(sql.checkpoint_from, &[seq.into()]).await?.pop() else { return Ok(None) };
    let mut row = row.of("checkpoints");
    let (at, last, hash) = (row.at()?, row.int()?, row.text()?);
    let (first, previous) = match s.fetch(sql.checkpoint_before, &[last.into()]).await?.pop() {
        Some(row) => {
            let mut row = row.of("checkpoints");
            let _at = row.at()?;
            (row.int()?, row.text()?)
        }
        None => (0, String::new()),
    };
    let limit = i64::try_from(*hashes_left).unwrap_or(i64::MAX).saturating_add(1);
    let rows = s.fetch(sql.hashes_between, &[first.into(), last.into(), limit.into()]).await?;
    let entries = if rows.len() > *hashes_left {
        None
    } else {
        *hashes_left -= rows.len();
        let pair = |row: Row| {
            let mut row = row.of("events");
            Ok(Covered { seq: row.int()?, hash: row.text()? })
        };
        Some(rows.into_iter().map(pair).collect::<Result<Vec<_>>>()?)
    };
    Ok(Some(Checkpoint { at, seq: last, previous, entries, hash }))
}
