//! What became of transfers: answers, look-ups, take-overs. The rules are in `domain::batch`; here
//! they meet the rows, under the transfer's lock.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::place::Places;
use super::report::known;
use super::rows::{self, Locked};
use super::stop::micros;
use super::{About, Trail, ids, parts, put_all, rows_fetch, rows_run, rows_run_all};
use crate::domain::batch::{Next, TransferPhase, absence, after_lease, settle as settled};
use crate::domain::event::Actor;
use crate::domain::ids::{EscalationId, OrderId, TransferId};
use crate::domain::lab::Answer;
use crate::points::mistake;
use crate::store::session::{Arg, Session};
use crate::store::types::{Settle, Source, TakeOver, Written};
use crate::store::{Error, Result};

/// A transfer that moves, and why.
pub(super) struct Moving<'a> {
    pub(super) was: Locked,
    pub(super) next: Next,
    pub(super) next_at: Timestamp,
    pub(super) at: Timestamp,
    pub(super) actor: &'a Actor,
    pub(super) detail: Detail<'a>,
    /// For the case that the answer contradicts what was taken for proven.
    pub(super) escalation: Option<&'a EscalationId>,
    /// Whether that is so for a reason beyond the phase: see [`is_about_older`].
    pub(super) contradicts: bool,
    /// Whether what waited for a person about the transfer is thereby decided.
    pub(super) decides: bool,
}

/// What the log says of a transfer that moved: a struct, because there are so many of them.
#[derive(Default, Serialize)]
pub(super) struct Detail<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<&'a Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'static str>,
    /// The fence and the phase that it had, set as it moves.
    pub(super) fence: i64,
    pub(super) was: &'static str,
}

/// Whether an answer to the attempt under `fence` is about bytes that were since proven absent: the key
/// carries the fence under which the present bytes were frozen.
fn is_about_older(was: &Locked, fence: i64) -> bool {
    let frozen = was.key.rsplit_once('.').and_then(|(_, frozen)| frozen.parse::<i64>().ok());
    frozen.is_some_and(|frozen| fence < frozen)
}

impl<'a> Moving<'a> {
    /// Moved by an answer.
    pub(super) fn answered(
        was: Locked,
        next: Next,
        at: Timestamp,
        actor: &'a Actor,
        answer: &'a Answer,
        escalation: Option<&'a EscalationId>,
    ) -> Self {
        let detail = Detail { answer: Some(answer), ..Detail::default() };
        Self { was, next, next_at: at, at, actor, detail, escalation, contradicts: false, decides: true }
    }
}

fn kind(phase: TransferPhase) -> &'static str {
    match phase {
        TransferPhase::Closed => "transfer.closed",
        TransferPhase::Sending => "transfer.sending",
        TransferPhase::Unknown => "transfer.unknown",
        TransferPhase::AtLab => "transfer.at_lab",
        TransferPhase::Empty => "transfer.empty",
        TransferPhase::WithAPerson => "transfer.with_a_person",
    }
}

/// The row that `transfer_update` takes, of a locked transfer whose facts were changed.
pub(super) fn transfer_row(
    now: &Locked,
    was: (TransferPhase, i64),
    lease_until: Timestamp,
    holder: &str,
    head: &str,
) -> Value {
    let facts = &now.facts;
    json!({
        "id": facts.id, "was": now.head, "was_phase": was.0.code(), "was_fence": was.1, "head": head,
        "phase": facts.phase.code(), "fence": facts.fence, "attempts": facts.attempts, "unresolved": facts.unresolved,
        "key": now.key, "sha256": now.sha256, "manifest": super::to_json(&now.manifest).unwrap_or_default(),
        "horizon_at": micros(facts.horizon_at), "key_until": facts.key_until.map(micros),
        "deadline_at": micros(facts.deadline_at), "next_at": micros(facts.next_at), "lease_until": micros(lease_until), "holder": holder,
        "handed_at": facts.handed_at.map(micros),
    })
}

/// Moves transfers that this transaction has locked, with all that follows for their stops.
pub(super) async fn move_transfers<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    movings: Vec<Moving<'_>>,
) -> Result<Vec<Locked>> {
    let mut moved = Vec::with_capacity(movings.len());
    let (mut at_lab, mut others, mut fell_back) = (Vec::new(), Vec::new(), Vec::new());
    let mut wake = Vec::new();
    let mut decided = Vec::new();
    for moving in movings {
        let Moving { mut was, next, next_at, at, actor, mut detail, escalation, contradicts, decides } =
            moving;
        let before = (was.facts.phase, was.facts.fence);
        detail.fence = was.facts.fence;
        detail.was = was.facts.phase.word();
        let subject = was.facts.id.to_string();
        let head =
            trail.add(&was.head, at, (&subject, was.facts.lab.as_str()), kind(next.phase), actor, &detail);
        was.facts.phase = next.phase;
        was.facts.fence = next.fence;
        was.facts.unresolved = next.unresolved;
        was.facts.attempts = next.attempts;
        was.facts.version += 1;
        if next.phase == TransferPhase::AtLab {
            was.facts.handed_at = was.facts.handed_at.or(Some(at));
            let handed = was.facts.handed_at.unwrap_or(at);
            let was_head = std::mem::take(&mut was.head);
            at_lab.push((subject.clone(), handed, head.clone(), was_head, before));
            if (contradicts || matches!(before.0, TransferPhase::Closed | TransferPhase::Empty))
                && let Some(id) = escalation
            {
                let about = About { subject: &subject, order: None, lab: was.facts.lab.as_str() };
                let cause = "the lab says that it has a transfer that was taken to be absent; orders of it may have been told stopped";
                trail.escalate(id, "contradiction", &about, cause, at, at);
                let mut evidence = known(s, trail, &subject, kind(TransferPhase::Closed)).await?;
                evidence.extend(trail.pieces(&subject).pop());
                for mut row in s.fetch(s.sql().stopped_of_transfer, &[(&subject).into()]).await? {
                    evidence.extend(known(s, trail, &row.text()?, "stop.stopped").await?);
                }
                trail.show(&evidence);
            }
        } else {
            was.facts.next_at = next_at;
            others.push(transfer_row(&was, before, at, "", &head));
        }
        if next.phase == TransferPhase::Closed {
            fell_back.push((was.facts.id.clone(), at, actor.clone()));
        } else {
            // The lab can be asked now: it has the order, or a stop doubles as the probe.
            wake.push((was.facts.id.clone(), at));
        }
        if decides && before.0 == TransferPhase::WithAPerson {
            decided.push((was.facts.id.clone(), next.phase, at, actor.clone()));
        }
        was.head = head;
        moved.push(was);
    }
    let rows: Vec<_> = at_lab
        .iter()
        .map(|(id, at, head, was, (phase, fence))| {
            [
                Arg::Text(id),
                (*at).into(),
                Arg::Text(head),
                Arg::Text(was),
                phase.code().into(),
                (*fence).into(),
            ]
        })
        .collect();
    put_all(s, s.sql().transfer_at_lab, &rows, "transfers").await?;
    rows_run_all(s, s.sql().transfer_update, &others, "transfers").await?;
    for (id, at, actor) in fell_back {
        never_handed(s, trail, &[id], at, &actor).await?;
    }
    if let Some((_, at)) = wake.first() {
        let keys = super::to_json(&ids(wake.iter().map(|(id, _)| id.as_str())))?;
        s.run(s.sql().stop_wake, &[(&keys).into(), (*at).into()]).await?;
    }
    for (id, phase, at, actor) in decided {
        let args = [
            id.as_str().into(),
            at.into(),
            phase.word().into(),
            "it was found out without a person".into(),
            actor.0.as_str().into(),
        ];
        s.run(s.sql().escalation_resolve_subject, &args).await?;
    }
    Ok(moved)
}

/// The orders of these transfers did not leave the house, proven: the stops that wait for them are
/// granted, in the same transaction. Says whether some of them are about lines: the rest of their orders goes on.
pub(super) async fn never_handed<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    transfers: &[TransferId],
    at: Timestamp,
    actor: &Actor,
) -> Result<bool> {
    let mut places = Places::default();
    let mut asked = Vec::new();
    for row in
        rows_fetch(s, s.sql().standing_lock_asked, &ids(transfers.iter().map(TransferId::as_str))).await?
    {
        let mut row = row.of("standings");
        let (order, head) = (row.parsed(OrderId::parse)?, row.text()?);
        places.at(&order, &head, rows::lines(&mut row)?);
        asked.push(order);
    }
    let decided = parts::granted(at, actor);
    let mut stops = Vec::new();
    for row in rows_fetch(s, s.sql().stop_of_orders, &ids(asked.iter().map(OrderId::as_str))).await? {
        let mut facts = rows::stop(&mut row.of("stops"))?;
        let Some(place) = places.get(&facts.order.clone()) else { continue };
        stops.push(decided.apply(trail, &mut facts, "", place));
        parts::resolved(s, &facts, &decided, parts::NEVER_LEFT).await?;
    }
    let lines = parts::never_handed(s, trail, transfers, &mut places, &decided).await?;
    let freed = !lines.is_empty();
    stops.extend(lines);
    rows_run_all(s, s.sql().stop_update, &stops, "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &places.rows(), "standings").await?;
    Ok(freed)
}

/// Takes the ends of calls about transfers.
pub(super) async fn settle<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &Settle)],
    out: &mut [Option<Written>],
) -> Result<()> {
    // One answer a transfer and round: a second one must see what the first has made of it.
    let mut rest: Vec<_> = items.to_vec();
    while !rest.is_empty() {
        let mut round: Vec<(usize, &Settle)> = Vec::with_capacity(rest.len());
        let mut later = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (at, item) in rest {
            if seen.insert(item.transfer.as_str()) { round.push((at, item)) } else { later.push((at, item)) }
        }
        settle_round(s, trail, &round, out).await?;
        rest = later;
    }
    Ok(())
}

async fn settle_round<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &Settle)],
    out: &mut [Option<Written>],
) -> Result<()> {
    let keys = ids(items.iter().map(|(_, item)| item.transfer.as_str()));
    let mut found = std::collections::HashMap::with_capacity(items.len());
    for row in rows_fetch(s, s.sql().transfer_lock, &keys).await? {
        let locked = rows::locked(row)?;
        found.insert(locked.facts.id.to_string(), locked);
    }
    let mut movings = Vec::with_capacity(items.len());
    let mut places = Vec::with_capacity(items.len());
    let (mut kept, mut waits) = (Vec::new(), Vec::new());
    for (at, item) in items {
        let Some(was) = found.remove(item.transfer.as_str()) else {
            out[*at] = Some(Written::Settled(None));
            continue;
        };
        let next = match (item.source, &item.answer) {
            (Source::LookUp(asked_at), Answer::NotFound) => absence(&was.facts, item.fence, asked_at),
            // A look-up that says nothing changes nothing but the time of the next one.
            (Source::LookUp(_), answer) if !positive(answer) => None,
            (_, answer) => settled(&was.facts, item.fence, answer),
        };
        #[cfg(debug_assertions)]
        let next = super::mistakes::settled(&was.facts, item, next);
        if let Some(next) = next {
            let detail = Detail {
                answer: Some(&item.answer),
                attempt: Some(item.fence),
                source: Some(source(item.source)),
                ..Detail::default()
            };
            let escalation = Some(&item.escalation);
            // Only an upload names its key: a look-up finds the orders, whichever attempt brought them.
            let upload = matches!(item.source, Source::Upload);
            let contradicts = upload && positive(&item.answer) && is_about_older(&was, item.fence);
            movings.push(Moving {
                contradicts,
                decides: true,
                was,
                next,
                next_at: item.next_at,
                at: item.at,
                actor: &item.actor,
                detail,
                escalation,
            });
            places.push(*at);
        } else {
            out[*at] = Some(Written::Settled(None));
            if was.facts.phase == TransferPhase::Unknown && was.facts.fence == item.fence {
                waits.push(json!([was.facts.id, micros(item.next_at.min(was.facts.deadline_at))]));
            }
            if !matches!(item.answer, Answer::Unclear { .. } | Answer::Unreachable { .. }) {
                kept.push((was, *item));
            }
        }
    }
    let moved = move_transfers(s, trail, movings).await?;
    for (at, locked) in places.into_iter().zip(moved) {
        out[at] = Some(Written::Settled(Some(locked.facts)));
    }
    rows_run(s, s.sql().transfer_next, &waits).await?;
    // An answer that changes nothing is kept as evidence all the same.
    let mut rows = Vec::with_capacity(kept.len());
    for (was, item) in kept {
        let facts = &was.facts;
        let head = trail.add(
            &was.head,
            item.at,
            (facts.id.as_str(), facts.lab.as_str()),
            "transfer.answer",
            &item.actor,
            &json!({"answer": item.answer, "source": source(item.source), "attempt": item.fence, "fence": facts.fence}),
        );
        let before = (facts.phase, facts.fence);
        let mut now = was.clone();
        if now.facts.phase == TransferPhase::Unknown && now.facts.fence == item.fence {
            now.facts.next_at = item.next_at.min(now.facts.deadline_at);
        }
        rows.push(transfer_row(&now, before, item.at, "", &head));
    }
    rows_run_all(s, s.sql().transfer_update, &rows, "transfers").await
}

fn positive(answer: &Answer) -> bool {
    matches!(answer, Answer::Accepted { .. } | Answer::Removed { .. } | Answer::WillPrint { .. })
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Upload => "upload",
        Source::LookUp(_) => "look_up",
    }
}

/// Takes over what dead senders left: what they sent is not known.
pub(super) async fn take_over<S: Session>(s: &mut S, trail: &mut Trail, item: &TakeOver) -> Result<Written> {
    if mistake!(NoTakeover) {
        return Ok(Written::TakenOver(Vec::new()));
    }
    let rows = match &item.all_but {
        Some(holder) => s.fetch(s.sql().transfer_orphans, &[holder.into(), item.limit.into()]).await?,
        None => s.fetch(s.sql().transfer_lease_over, &[item.now.into(), item.limit.into()]).await?,
    };
    let actor = Actor::gateway();
    let mut movings = Vec::with_capacity(rows.len());
    for row in rows {
        let was = rows::locked(row)?;
        let next = after_lease(&was.facts).ok_or_else(|| Error::Corrupt {
            table: "transfers",
            what: "a transfer that was read as sending is not".to_owned(),
        })?;
        movings.push(Moving {
            was,
            next,
            next_at: item.now,
            at: item.now,
            actor: &actor,
            detail: Detail { cause: Some("its sender is gone"), ..Detail::default() },
            escalation: None,
            contradicts: false,
            decides: false,
        });
    }
    let moved = move_transfers(s, trail, movings).await?;
    Ok(Written::TakenOver(moved.into_iter().map(|locked| locked.facts.id).collect()))
}
