//! Claims: the durable intent before the first byte.
//!
//! A claim locks the transfer, or the standings of orders that are in none yet, reads who is still
//! alive, freezes manifest, hash and key, and commits as `sending`. Only then may anybody send.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::cut::{NewTransfer, fresh};
use super::rows::{self, Locked};
use super::settle::{never_handed, transfer_row};
use super::stop::micros;
use super::{About, Trail, ids, import, put_all, rows_fetch, rows_run_all};
use crate::domain::batch::{
    BatchPhase, Entry, Manifest, Remedy, TransferFacts, TransferPhase, horizon, later, remedy,
};
use crate::domain::event::{Actor, hex};
use crate::domain::ids::{EscalationId, OrderId, TransferId};
use crate::domain::lab::Dedupes;
use crate::points::mistake;
use crate::store::session::{Arg, Row, Session, listed};
use crate::store::types::{Claim, Claimed, GONE_AFTER, Outgoing, Written};
use crate::store::{Error, Result};

/// How long a transfer of a paused lab is left alone.
const PAUSED: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// What the claims of a set write, collected so that each statement runs once.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) inserts: Vec<NewTransfer>,
    pub(super) joins: Vec<[String; 2]>,
    updates: Vec<Value>,
    waits: Vec<Value>,
}

impl Gathered {
    async fn flush<S: Session>(&mut self, s: &mut S) -> Result<()> {
        let Self { inserts, joins, updates, waits } = std::mem::take(self);
        let rows: Vec<_> = inserts.iter().map(NewTransfer::row).collect();
        put_all(s, s.sql().transfer_insert, &rows, "transfers").await?;
        let rows: Vec<_> =
            joins.iter().map(|[order, transfer]| [Arg::Text(order), Arg::Text(transfer)]).collect();
        put_all(s, s.sql().standing_join_transfer, &rows, "standings").await?;
        rows_run_all(s, s.sql().transfer_update, &updates, "transfers").await?;
        rows_run_all(s, s.sql().transfer_next, &waits, "transfers").await
    }
}

/// Takes work for labs.
pub(super) async fn claim<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &Claim)],
    out: &mut [Option<Written>],
) -> Result<()> {
    // One claim a lab and round: a second one must see what the first took.
    let mut rest: Vec<_> = items.to_vec();
    let mut drained: Vec<&Claim> = Vec::new();
    while !rest.is_empty() {
        let mut labs = HashSet::with_capacity(rest.len());
        let (turn, later): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(_, item)| labs.insert(item.lab.as_str()));
        drained.extend(round(s, trail, &turn, out).await?);
        rest = later;
    }
    for item in drained {
        super::batch::drained(s, trail, &item.lab, item.now).await?;
    }
    Ok(())
}

/// One claim of each lab. Gives those after which nobody is left waiting in the closed batches.
async fn round<'a, S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &'a Claim)],
    out: &mut [Option<Written>],
) -> Result<Vec<&'a Claim>> {
    let mut gathered = Gathered::default();
    let mut turns: Vec<Turn<'a>> = items.iter().map(|(at, item)| Turn::new(*at, item)).collect();
    let asked: Vec<_> = items.iter().map(|(_, item)| json!([item.lab, micros(item.now)])).collect();
    let mut due_labs = HashSet::new();
    for mut row in rows_fetch(s, s.sql().claim_due_labs, &asked).await? {
        due_labs.insert(row.text()?);
    }
    for turn in turns.iter_mut().filter(|turn| due_labs.contains(turn.item.lab.as_str())) {
        due(s, trail, &mut gathered, turn).await?;
    }
    let bound = if S::SHARED { clear_of_others(s, items, &mut turns).await? } else { i64::MAX };
    let mut by_limit: BTreeMap<(usize, i64), Vec<&mut Turn<'a>>> = BTreeMap::new();
    for turn in turns.iter_mut().filter(|turn| (turn.item.sends || turn.item.away) && turn.left() > 0) {
        let per_call = turn.item.profile.orders_per_call.max(1) as usize;
        let limit = turn.left().saturating_mul(per_call).min(ORDERS_MAX);
        let bound = if turn.item.away { bound.min(overdue(turn.item)) } else { bound };
        by_limit.entry((limit, bound)).or_default().push(turn);
    }
    for ((limit, bound), mut turns) in by_limit {
        let labs = super::to_json(&ids(turns.iter().map(|turn| turn.item.lab.as_str())))?;
        let limit_arg = i64::try_from(limit).unwrap_or(i64::MAX);
        for mut row in s.fetch(s.sql().claim_fresh, &[(&labs).into(), limit_arg.into(), bound.into()]).await?
        {
            let lab = row.text()?;
            let rows = listed(row.opt_text()?)?;
            let Some(turn) = turns.iter_mut().find(|turn| turn.item.lab.as_str() == lab) else { continue };
            let mut entries = rows.into_iter().map(entry).collect::<Result<Vec<_>>>()?;
            if S::SHARED {
                anew(s, &mut entries).await?;
            }
            if turn.item.profile.two_phase {
                import::recall(s, entries.iter_mut().map(|(_, entry)| entry)).await?;
            }
            fresh(trail, &mut gathered, turn, entries, limit)?;
        }
    }
    gathered.flush(s).await?;
    let mut drained = Vec::new();
    for turn in turns {
        if turn.drained {
            drained.push(turn.item);
        }
        out[turn.at] = Some(Written::Claimed(turn.claimed));
    }
    Ok(drained)
}

/// Batches that closed until then have waited for a lab that is away as long as a hand-over may take.
fn overdue(item: &Claim) -> i64 {
    micros(item.now.saturating_sub(item.profile.handover_within.0).unwrap_or(item.now))
}

/// Until when the other gateways have their stops in here: what closed later is left alone, and the labs
/// that have such batches are told so.
async fn clear_of_others<S: Session>(
    s: &mut S,
    items: &[(usize, &Claim)],
    turns: &mut [Turn<'_>],
) -> Result<i64> {
    let Some((_, first)) = items.first() else { return Ok(i64::MAX) };
    let alive = (&first.holder, first.now.saturating_sub(GONE_AFTER).unwrap_or(first.now));
    let clear = s.fetch(s.sql().replica_clear, &[alive.0.into(), alive.1.into()]).await?.pop();
    let Some(clear) = clear.map(|mut row| row.opt_int()).transpose()?.flatten() else { return Ok(i64::MAX) };
    let labs = super::to_json(&ids(items.iter().map(|(_, item)| item.lab.as_str())))?;
    for mut row in s.fetch(s.sql().claim_behind, &[(&labs).into(), clear.into()]).await? {
        let lab = row.text()?;
        let behind = turns.iter_mut().filter(|turn| turn.item.lab.as_str() == lab && turn.item.sends);
        behind.for_each(|turn| turn.claimed.push(Claimed::Behind));
    }
    Ok(clear)
}

/// The most orders that a claim reads.
const ORDERS_MAX: usize = 4_000;

/// A claim while it is worked on.
pub(super) struct Turn<'a> {
    at: usize,
    pub(super) item: &'a Claim,
    pub(super) ids: std::slice::Iter<'a, TransferId>,
    pub(super) escalations: std::slice::Iter<'a, EscalationId>,
    pub(super) claimed: Vec<Claimed>,
    /// Whether nobody of the lab is left waiting.
    pub(super) drained: bool,
}

impl<'a> Turn<'a> {
    fn new(at: usize, item: &'a Claim) -> Self {
        let (ids, escalations) = (item.ids.iter(), item.escalations.iter());
        Self { at, item, ids, escalations, claimed: Vec::new(), drained: false }
    }

    /// How many transfers it may still take.
    fn left(&self) -> usize {
        self.item.ids.len().saturating_sub(self.claimed.len())
    }
}

pub(super) fn entry(row: Row) -> Result<(Option<String>, Entry)> {
    let mut row = row.of("orders");
    let id = row.parsed(OrderId::parse)?;
    let batch = row.opt_text()?;
    Ok((
        batch,
        Entry {
            id,
            platform: row.text()?,
            reference: row.text()?,
            region: row.text()?,
            document: row.text()?,
            import_reference: None,
            lines_out: rows::lines(&mut row)?,
        },
    ))
}

pub(super) fn build(transfer: &TransferId, entries: &[Entry]) -> Result<Manifest> {
    Manifest::build(transfer, entries)
        .map_err(|error| Error::Corrupt { table: "orders", what: error.to_string() })
}

/// From when on "not there" can be believed of an attempt that is claimed now.
pub(super) fn horizon_of(item: &Claim) -> jiff::Timestamp {
    if mistake!(HorizonTooEarly) { item.now } else { horizon(item.now, &item.profile) }
}

pub(super) fn key_until(item: &Claim) -> Option<jiff::Timestamp> {
    match item.profile.dedupes {
        Dedupes::Window(window) => Some(later(item.now, window.0)),
        _ => None,
    }
}

/// Transfers that fell back or are unknown, and whose time has come.
async fn due<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    gathered: &mut Gathered,
    turn: &mut Turn<'_>,
) -> Result<()> {
    let item = turn.item;
    let limit = i64::try_from(item.ids.len()).unwrap_or(i64::MAX);
    let args = [item.lab.as_str().into(), item.now.into(), limit.into(), i64::from(item.away).into()];
    let rows = s.fetch(s.sql().claim_due, &args).await?;
    for row in rows {
        let was = rows::locked(row)?;
        let step = if was.facts.phase == TransferPhase::Closed {
            fallen_back(s, trail, gathered, item, was, &mut turn.escalations).await?
        } else {
            unknown(s, trail, gathered, item, was, &mut turn.escalations).await?
        };
        turn.claimed.push(step);
    }
    Ok(())
}

/// The orders of a transfer that are alive, locked.
pub(super) async fn alive<S: Session>(s: &mut S, transfer: &TransferId) -> Result<Vec<Entry>> {
    let rows = s.fetch(s.sql().standing_alive, &[transfer.as_str().into()]).await?;
    let locked = rows.into_iter().map(|mut row| row.text()).collect::<Result<Vec<_>>>()?;
    entries(s, locked.iter().map(String::as_str)).await
}

/// What is frozen of orders, in this order.
async fn entries<S: Session>(s: &mut S, orders: impl Iterator<Item = &str>) -> Result<Vec<Entry>> {
    let rows = rows_fetch(s, s.sql().order_entries, &ids(orders)).await?;
    rows.into_iter().map(|row| Ok(entry(row)?.1)).collect()
}

/// The same orders as they are now that they are locked: another gateway may have changed one after the statement
/// that locked it had begun.
async fn anew<S: Session>(s: &mut S, entries: &mut [(Option<String>, Entry)]) -> Result<()> {
    let now = self::entries(s, entries.iter().map(|(_, entry)| entry.id.as_str())).await?;
    for ((_, entry), now) in entries.iter_mut().zip(now) {
        *entry = now;
    }
    Ok(())
}

/// A transfer of which nothing is with the lab, proven: anew, with who is still alive, under a new key.
async fn fallen_back<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    gathered: &mut Gathered,
    item: &Claim,
    mut was: Locked,
    escalations: &mut std::slice::Iter<'_, EscalationId>,
) -> Result<Claimed> {
    let mut alive = alive(s, &was.facts.id).await?;
    // A stop that was asked while the fall-back committed on another replica is granted here: after
    // the lock above, which waits for those that are being asked.
    if never_handed(s, trail, std::slice::from_ref(&was.facts.id), item.now, &Actor::gateway()).await? {
        alive = self::alive(s, &was.facts.id).await?;
    }
    let before = (was.facts.phase, was.facts.fence);
    if alive.is_empty() {
        was.facts.phase = TransferPhase::Empty;
        return Ok(end(trail, gathered, item, was, before, "transfer.empty", json!({})));
    }
    if item.manual || was.facts.attempts >= item.profile.attempts_max || item.now >= was.facts.deadline_at {
        let cause = if item.manual {
            "no machine hands over to this lab: somebody must"
        } else {
            "the lab did not take the transfer within the attempts and the time it has"
        };
        return Ok(person(trail, gathered, item, was, escalations, cause));
    }
    if !item.sends {
        gathered
            .waits
            .push(json!([was.facts.id, micros(later(item.now, PAUSED).min(was.facts.deadline_at))]));
        return Ok(Claimed::Waits(Remedy::Wait));
    }
    if item.profile.two_phase {
        import::recall(s, alive.iter_mut()).await?;
    }
    let manifest = build(&was.facts.id, &alive)?;
    was.key = format!("{}.{}", was.facts.id, was.facts.fence + 1);
    was.sha256 = hex(&manifest.sha256);
    was.manifest = alive.into_iter().map(|entry| entry.id).collect();
    was.facts.key_until = key_until(item);
    was.facts.unresolved = 0;
    Ok(send(trail, gathered, item, was, before, manifest))
}

/// A transfer whose outcome nobody knows.
async fn unknown<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    gathered: &mut Gathered,
    item: &Claim,
    was: Locked,
    escalations: &mut std::slice::Iter<'_, EscalationId>,
) -> Result<Claimed> {
    if item.manual {
        let cause =
            "what came of the transfer is not known, and no machine asks this lab any more: somebody must";
        return Ok(person(trail, gathered, item, was, escalations, cause));
    }
    let remedy = remedy(&was.facts, &item.profile, item.now);
    #[cfg(debug_assertions)]
    let remedy = super::mistakes::remedy_of(&was.facts, item, remedy);
    let wait = |gathered: &mut Gathered, until: jiff::Timestamp, facts: &TransferFacts| {
        gathered.waits.push(json!([facts.id, micros(until.min(facts.deadline_at))]));
    };
    match remedy {
        Remedy::Person => Ok(person(
            trail,
            gathered,
            item,
            was,
            escalations,
            "the transfer was sent, and what came of it could not be found out in time",
        )),
        Remedy::LookUp(from) if item.now >= from && item.sends => {
            wait(gathered, item.lease_until, &was.facts);
            Ok(Claimed::LookUp { transfer: was.facts, orders: was.manifest })
        }
        Remedy::LookUp(from) => {
            let rested = if item.sends { from } else { from.max(later(item.now, PAUSED)) };
            wait(gathered, rested, &was.facts);
            Ok(Claimed::Waits(remedy))
        }
        Remedy::Wait => {
            wait(gathered, was.facts.deadline_at, &was.facts);
            Ok(Claimed::Waits(remedy))
        }
        // No call can be made now, a look-up neither.
        Remedy::Resend if !item.sends => {
            wait(gathered, later(item.now, PAUSED), &was.facts);
            Ok(Claimed::Waits(remedy))
        }
        Remedy::Resend => {
            #[cfg(debug_assertions)]
            if let Some(step) = super::mistakes::rebuilt(s, trail, gathered, item, &was).await? {
                return Ok(step);
            }
            let mut entries = entries(s, was.manifest.iter().map(OrderId::as_str)).await?;
            let mut manifest = build(&was.facts.id, &entries)?;
            if hex(&manifest.sha256) != was.sha256 {
                // Whatever the profile says by now: it may have been sent with what the lab called its orders.
                import::recall(s, entries.iter_mut()).await?;
                manifest = build(&was.facts.id, &entries)?;
            }
            if hex(&manifest.sha256) != was.sha256 {
                let cause = "the bytes that were sent cannot be built again: they must not be sent under the same key";
                return Ok(person(trail, gathered, item, was, escalations, cause));
            }
            let before = (was.facts.phase, was.facts.fence);
            Ok(send(trail, gathered, item, was, before, manifest))
        }
    }
}

/// Records the intent to send a known transfer.
pub(super) fn send(
    trail: &mut Trail,
    gathered: &mut Gathered,
    item: &Claim,
    mut was: Locked,
    before: (TransferPhase, i64),
    manifest: Manifest,
) -> Claimed {
    was.facts.phase = TransferPhase::Sending;
    was.facts.fence += 1;
    was.facts.attempts += 1;
    was.facts.unresolved += 1;
    was.facts.horizon_at = horizon_of(item);
    was.facts.next_at = item.lease_until;
    was.facts.version += 1;
    let head = trail.add(
        &was.head,
        item.now,
        (was.facts.id.as_str(), item.lab.as_str()),
        "transfer.sending",
        &Actor::gateway(),
        &json!({"fence": was.facts.fence, "attempt": was.facts.attempts, "unresolved": was.facts.unresolved, "key": was.key,
            "sha256": was.sha256, "orders": was.manifest.len()}),
    );
    gathered.updates.push(transfer_row(&was, before, item.lease_until, &item.holder, &head));
    let orders = was.manifest.len();
    Claimed::Send(Outgoing {
        transfer: was.facts,
        key: was.key,
        body: manifest.body,
        sha256: manifest.sha256,
        orders,
    })
}

/// Ends a transfer's way through machines.
fn end(
    trail: &mut Trail,
    gathered: &mut Gathered,
    item: &Claim,
    was: Locked,
    before: (TransferPhase, i64),
    kind: &'static str,
    detail: Value,
) -> Claimed {
    let subject = was.facts.id.clone();
    let head = trail.add(
        &was.head,
        item.now,
        (subject.as_str(), item.lab.as_str()),
        kind,
        &Actor::gateway(),
        &detail,
    );
    gathered.updates.push(transfer_row(&was, before, item.now, "", &head));
    if was.facts.phase == TransferPhase::Empty { Claimed::Empty(subject) } else { Claimed::Person(subject) }
}

fn person(
    trail: &mut Trail,
    gathered: &mut Gathered,
    item: &Claim,
    mut was: Locked,
    escalations: &mut std::slice::Iter<'_, EscalationId>,
    cause: &str,
) -> Claimed {
    let before = (was.facts.phase, was.facts.fence);
    if let Some(id) = escalations.next() {
        let about = About { subject: was.facts.id.as_str(), order: None, lab: item.lab.as_str() };
        trail.escalate(
            id,
            "transfer",
            &about,
            cause,
            item.now,
            later(item.now, item.profile.answers_within.0),
        );
    }
    was.facts.phase = TransferPhase::WithAPerson;
    end(trail, gathered, item, was, before, "transfer.with_a_person", json!({"cause": cause}))
}

/// The end of a batch's waiting: named here so that both rooms of the word agree.
pub(super) fn after_waiting(transfers: i64) -> BatchPhase {
    if transfers == 0 { BatchPhase::Empty } else { BatchPhase::HandedOn }
}
