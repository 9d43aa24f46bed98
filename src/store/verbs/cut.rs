//! Fresh transfers: cut out of closed batches at the very claim, because until then a stop is granted.

use std::collections::HashMap;

use serde::Serialize;

use super::claim::{Gathered, Turn, build, horizon_of, key_until};
use super::stop::micros;
use super::{About, Trail, to_json};
use crate::domain::batch::{Entry, TransferFacts, TransferPhase, later};
use crate::domain::event::{Actor, hex};
use crate::domain::ids::{BatchId, EscalationId, LabId, OrderId, TransferId};
use crate::store::session::Arg;
use crate::store::types::{Claim, Claimed, Outgoing};
use crate::store::{Error, Result};

/// A row of `transfer_insert`.
pub(super) struct NewTransfer {
    id: TransferId,
    lab: LabId,
    batch: BatchId,
    phase: i64,
    attempts: i64,
    unresolved: i64,
    key: String,
    sha256: String,
    manifest: String,
    first_at: i64,
    horizon_at: i64,
    key_until: Option<i64>,
    deadline_at: i64,
    next_at: i64,
    lease_until: i64,
    holder: String,
    head: String,
}

impl NewTransfer {
    pub(super) fn row(&self) -> [Arg<'_>; 17] {
        [
            self.id.as_str().into(),
            self.lab.as_str().into(),
            self.batch.as_str().into(),
            self.phase.into(),
            self.attempts.into(),
            self.unresolved.into(),
            Arg::Text(&self.key),
            Arg::Text(&self.sha256),
            Arg::Text(&self.manifest),
            self.first_at.into(),
            self.horizon_at.into(),
            self.key_until.into(),
            self.deadline_at.into(),
            self.next_at.into(),
            self.lease_until.into(),
            Arg::Text(&self.holder),
            Arg::Text(&self.head),
        ]
    }
}

/// What the log says of a transfer that is sent for the first time.
#[derive(Serialize)]
struct FirstSending<'a> {
    attempt: i64,
    batch: &'a BatchId,
    fence: i64,
    key: &'a str,
    orders: usize,
    sha256: &'a str,
    unresolved: i64,
}

/// Cuts fresh transfers out of the lab's closed batches.
pub(super) fn fresh(
    trail: &mut Trail,
    gathered: &mut Gathered,
    turn: &mut Turn<'_>,
    entries: Vec<(Option<String>, Entry)>,
    limit: usize,
) -> Result<()> {
    let item = turn.item;
    let per_call = item.profile.orders_per_call.max(1) as usize;
    let all = entries.len() < limit;
    let mut by_batch: Vec<(String, Vec<Entry>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (batch, entry) in entries {
        let batch = batch.unwrap_or_default();
        let place = *places.entry(batch.clone()).or_insert_with(|| {
            by_batch.push((batch, Vec::new()));
            by_batch.len() - 1
        });
        by_batch[place].1.push(entry);
    }
    let mut cut_all = true;
    for (batch, entries) in by_batch {
        let batch = BatchId::parse(&batch)
            .map_err(|fault| Error::Corrupt { table: "standings", what: fault.to_string() })?;
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let Some(id) = turn.ids.next() else {
                cut_all = false;
                break;
            };
            let chunk: Vec<Entry> = entries.by_ref().take(per_call).collect();
            let step = cut(trail, gathered, item, id, &batch, chunk, &mut turn.escalations)?;
            turn.claimed.push(step);
        }
    }
    turn.drained = all && cut_all;
    Ok(())
}

/// One fresh transfer.
fn cut(
    trail: &mut Trail,
    gathered: &mut Gathered,
    item: &Claim,
    id: &TransferId,
    batch: &BatchId,
    entries: Vec<Entry>,
    escalations: &mut std::slice::Iter<'_, EscalationId>,
) -> Result<Claimed> {
    let manifest = build(id, &entries)?;
    let key = format!("{id}.1");
    let orders = entries.len();
    let by_hand = item.manual || item.away;
    let (phase, sent) = if by_hand { (TransferPhase::WithAPerson, 0) } else { (TransferPhase::Sending, 1) };
    let deadline_at = later(item.now, item.profile.handover_within.0);
    let facts = TransferFacts {
        id: id.clone(),
        lab: item.lab.clone(),
        batch: batch.clone(),
        phase,
        fence: 1,
        attempts: sent,
        unresolved: sent,
        first_at: item.now,
        horizon_at: horizon_of(item),
        key_until: key_until(item),
        deadline_at,
        next_at: item.lease_until,
        handed_at: None,
        version: 1,
    };
    let cause = if item.manual {
        "no machine hands over to this lab: somebody must"
    } else {
        "the lab could not be reached within the time that a hand-over has"
    };
    if by_hand && let Some(escalation) = escalations.next() {
        let about = About { subject: id.as_str(), order: None, lab: item.lab.as_str() };
        trail.escalate(escalation, "transfer", &about, cause, item.now, deadline_at);
    }
    let sha256 = hex(&manifest.sha256);
    let kind = if by_hand { "transfer.with_a_person" } else { "transfer.sending" };
    let head = trail.add(
        "",
        item.now,
        (id.as_str(), item.lab.as_str()),
        kind,
        &Actor::gateway(),
        &FirstSending {
            attempt: sent,
            batch,
            fence: 1,
            key: &key,
            orders,
            sha256: &sha256,
            unresolved: sent,
        },
    );
    let manifest_ids: Vec<&OrderId> = entries.iter().map(|entry| &entry.id).collect();
    gathered.inserts.push(NewTransfer {
        id: id.clone(),
        lab: item.lab.clone(),
        batch: batch.clone(),
        phase: phase.code(),
        attempts: sent,
        unresolved: sent,
        key: key.clone(),
        sha256,
        manifest: to_json(&manifest_ids)?,
        first_at: micros(item.now),
        horizon_at: micros(facts.horizon_at),
        key_until: facts.key_until.map(micros),
        deadline_at: micros(deadline_at),
        next_at: micros(item.lease_until),
        lease_until: micros(item.lease_until),
        holder: item.holder.clone(),
        head,
    });
    gathered.joins.extend(entries.iter().map(|entry| [entry.id.to_string(), id.to_string()]));
    if by_hand {
        return Ok(Claimed::Person(id.clone()));
    }
    Ok(Claimed::Send(Outgoing { transfer: facts, key, body: manifest.body, sha256: manifest.sha256, orders }))
}
