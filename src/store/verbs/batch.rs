//! Batches: closing at the instant, and what ops may do before it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::claim::after_waiting;
use super::stop::micros;
use super::{Trail, rows_run_all};
use super::{ops, rows};
use crate::domain::batch::{BatchFacts, BatchPhase};
use crate::domain::event::Actor;
use crate::domain::ids::LabId;
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{BatchMoved, CloseDue, ClosedBatch, MoveBatch, Written};

fn batch_row(now: &BatchFacts, was: &str, head: &str) -> Value {
    json!({
        "id": now.id, "was": was, "head": head, "phase": now.phase.code(), "closes_at": micros(now.closes_at),
        "closes_at_local": now.closes_at_local, "window_at": micros(now.window_at),
        "production_date": now.production_date, "rule": now.rule, "tzdata": now.tzdata, "time_zone": now.time_zone,
        "closed_at": now.closed_at.map(micros),
    })
}

/// Closes what is due, earliest cutoff first. Late ones say how late.
pub(super) async fn close<S: Session>(s: &mut S, trail: &mut Trail, item: &CloseDue) -> Result<Written> {
    let rows = s.fetch(s.sql().batch_due, &[item.now.into(), item.limit.into()]).await?;
    let (mut closed, mut updates) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let mut row = row.of("batches");
        let mut facts = rows::batch(&mut row)?;
        let was = row.text()?;
        facts.phase = BatchPhase::Closed;
        facts.closed_at = Some(item.now);
        let late_us = micros(item.now) - micros(facts.closes_at);
        let head = trail.add(
            &was,
            item.now,
            (facts.id.as_str(), facts.lab.as_str()),
            "batch.closed",
            &Actor::gateway(),
            &json!({"closes_at": facts.closes_at, "late_ms": late_us / 1000, "tzdata": facts.tzdata}),
        );
        updates.push(batch_row(&facts, &was, &head));
        closed.push(ClosedBatch {
            id: facts.id,
            lab: facts.lab,
            region: facts.region,
            closes_at: facts.closes_at,
        });
    }
    rows_run_all(s, s.sql().batch_update, &updates, "batches").await?;
    Ok(Written::Closed(closed))
}

/// Closes a batch that was read under its lock.
pub(super) async fn shut<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    mut facts: BatchFacts,
    was: &str,
    at: Timestamp,
    detail: &Value,
) -> Result<ClosedBatch> {
    facts.phase = BatchPhase::Closed;
    facts.closed_at = Some(at);
    let subject = (facts.id.as_str(), facts.lab.as_str());
    let head = trail.add(was, at, subject, "batch.closed", &Actor::gateway(), detail);
    rows_run_all(s, s.sql().batch_update, &[batch_row(&facts, was, &head)], "batches").await?;
    Ok(ClosedBatch { id: facts.id, lab: facts.lab, region: facts.region, closes_at: facts.closes_at })
}

/// Ends the closed batches of a lab in which nobody waits any more.
pub(super) async fn drained<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    lab: &LabId,
    now: Timestamp,
) -> Result<()> {
    let rows = s.fetch(s.sql().batch_drained, &[lab.as_str().into(), 500.into()]).await?;
    let mut updates = Vec::with_capacity(rows.len());
    for row in rows {
        let mut row = row.of("batches");
        let mut facts = rows::batch(&mut row)?;
        let was = row.text()?;
        let transfers = row.int()?;
        facts.phase = after_waiting(transfers);
        let kind = if facts.phase == BatchPhase::Empty { "batch.empty" } else { "batch.handed_on" };
        let subject = (facts.id.as_str(), facts.lab.as_str());
        let head = trail.add(&was, now, subject, kind, &Actor::gateway(), &json!({"transfers": transfers}));
        updates.push(batch_row(&facts, &was, &head));
    }
    rows_run_all(s, s.sql().batch_update, &updates, "batches").await
}

/// Releases a batch before its cutoff, or moves its cutoff to a later instant.
pub(super) async fn move_batch<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &MoveBatch,
) -> Result<Written> {
    let Some(row) = s.fetch(s.sql().batch_lock, &[item.batch.as_str().into()]).await?.pop() else {
        return Ok(Written::BatchMoved(BatchMoved::NotFound));
    };
    let mut row = row.of("batches");
    let mut facts = rows::batch(&mut row)?;
    let was = row.text()?;
    if facts.phase != BatchPhase::Open {
        return Ok(Written::BatchMoved(BatchMoved::NotOpen(facts.phase)));
    }
    if let Some(seen) = &item.seen {
        let waiting = ops::waiting(s, &facts.id).await?;
        let grown = seen.waiting_max.is_some_and(|most| waiting > most);
        if seen.closes_at != facts.closes_at || grown {
            return Ok(Written::BatchMoved(BatchMoved::Otherwise { closes_at: facts.closes_at, waiting }));
        }
    }
    let (kind, detail) = if let Some((to, local)) = &item.to {
        if *to <= facts.closes_at {
            if item.window.is_some() && *to < facts.closes_at {
                // The calendar would have it earlier: the promise stays, and the log says so.
                let detail =
                    json!({"closes_at": facts.closes_at, "calendar_says": to, "reason": item.reason});
                let subject = (facts.id.as_str(), facts.lab.as_str());
                let head = trail.add(&was, item.at, subject, "batch.promise_kept", &item.actor, &detail);
                rows_run_all(s, s.sql().batch_update, &[batch_row(&facts, &was, &head)], "batches").await?;
            }
            return Ok(Written::BatchMoved(BatchMoved::Earlier(facts.closes_at)));
        }
        let detail = json!({"from": facts.closes_at, "to": to, "reason": item.reason});
        facts.closes_at = *to;
        facts.closes_at_local.clone_from(local);
        if let Some(window) = &item.window {
            let args = [
                facts.lab.as_str().into(),
                facts.region.as_str().into(),
                window.closes_at.into(),
                facts.id.as_str().into(),
            ];
            let taken = match s.fetch(s.sql().batch_window_taken, &args).await?.pop() {
                Some(mut row) => row.int()? > 0,
                None => false,
            };
            // Two batches of one cutoff stay two: the later one keeps the name of the window.
            if !taken {
                facts.window_at = window.closes_at;
            }
            facts.production_date.clone_from(&window.production_date);
            facts.rule.clone_from(&window.rule);
            facts.time_zone.clone_from(&window.time_zone);
            facts.tzdata.clone_from(&window.tzdata);
        }
        ("batch.postponed", detail)
    } else {
        facts.phase = BatchPhase::Closed;
        facts.closed_at = Some(item.at);
        ("batch.released", json!({"closes_at": facts.closes_at, "reason": item.reason}))
    };
    let head = trail.add(&was, item.at, (facts.id.as_str(), facts.lab.as_str()), kind, &item.actor, &detail);
    rows_run_all(s, s.sql().batch_update, &[batch_row(&facts, &was, &head)], "batches").await?;
    Ok(Written::BatchMoved(BatchMoved::Done))
}
