//! Answers to stops, from labs and from people.

use jiff::Timestamp;
use serde_json::json;

use super::place::{Decided, Place, stop_row};
use super::report::contradiction;
use super::rows::{self, Locked};
use super::settle::{Moving, move_transfers};
use super::stop::{Standing, lock, lock_transfer, profiles};
use super::{About, Trail, parts, rows_run_all};
use crate::domain::batch::{
    Next, TransferFacts, TransferPhase, absence, later, settle as settle_transfer, taken_out_by_a_person,
};
use crate::domain::lab::Answer;
use crate::domain::order::Stage;
use crate::domain::stop::{self, Evidence, StopFacts, StopState};
use crate::store::session::Session;
use crate::store::types::{Scope, SettleStop, StopSettled, Written};
use crate::store::{Error, Result};

/// What "not found" as the answer to a stop proves.
fn not_there(transfer: &TransferFacts, fence: i64, asked_at: Timestamp) -> Option<Next> {
    let next = absence(transfer, fence, asked_at);
    #[cfg(debug_assertions)]
    let next = super::mistakes::not_found(transfer, next);
    next
}

/// Whether somebody says that they took an order out which nobody knows to have arrived: they may only not have
/// found it, and it may still come. A program says so in another word. It decides nothing.
fn not_seen(item: &SettleStop, transfer: Option<&Locked>) -> bool {
    let arrived = |phase| matches!(phase, TransferPhase::AtLab | TransferPhase::WithAPerson);
    item.person
        && matches!(item.answer, Answer::Removed { .. })
        && !transfer.is_some_and(|transfer| arrived(transfer.facts.phase))
}

/// Takes an answer to a stop: from the lab's endpoint, its operator, or a person.
pub(super) async fn settle<S: Session>(s: &mut S, trail: &mut Trail, item: &SettleStop) -> Result<Written> {
    settle_by(s, trail, item, false).await
}

/// The same; a person who resolves an escalation has found out whether the order is there.
pub(super) async fn settle_by<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &SettleStop,
    resolves: bool,
) -> Result<Written> {
    let Some(row) = s.fetch(s.sql().stop_peek, &[item.stop.as_str().into()]).await?.pop() else {
        return Ok(Written::StopSettled(Box::new(StopSettled::NotFound)));
    };
    let mut row = row.of("stops");
    let (order, lab, transfer) = (row.text()?, row.text()?, row.opt_text()?);
    // Transfer, then order, then stop: the order in which everybody locks.
    let mut transfer = match &transfer {
        Some(id) => lock_transfer(s, id).await?,
        None => None,
    };
    let standing = lock(s, &[&order]).await?.pop();
    if let (None, Some(id)) = (&transfer, standing.as_ref().and_then(|standing| standing.transfer.as_ref())) {
        // It was claimed between the look and the lock.
        transfer = lock_transfer(s, id).await?;
    }
    let row = s.fetch(s.sql().stop_lock, &[item.stop.as_str().into()]).await?.pop();
    let (Some(standing), Some(row)) = (standing, row) else {
        return Ok(Written::StopSettled(Box::new(StopSettled::NotFound)));
    };
    if !standing.within(&item.scope) || matches!(item.scope, Scope::Platform(_)) {
        return Ok(Written::StopSettled(Box::new(StopSettled::NotFound)));
    }
    let mut facts = rows::stop(&mut row.of("stops"))?;
    let word = serde_json::to_string(&item.answer).unwrap_or_default();

    let decision = stop::settle(facts.state, &item.answer, facts.items.as_deref(), item.person)
        .filter(|_| resolves || !not_seen(item, transfer.as_ref()));
    let Some((state, mut evidence)) = decision else {
        return unsettled(s, trail, item, facts, &standing, transfer, &lab).await;
    };
    if item.person && matches!(state, StopState::Stopped | StopState::StoppedInPart) {
        evidence = Some(Evidence::PersonConfirmed);
    }
    let decided = Decided { state, evidence, answer: Some(&word), at: item.at, actor: &item.actor };
    if let Some(terms) = facts.terms.as_mut().filter(|_| standing.stage > Stage::Received) {
        terms.restock.clear();
    }
    let mut place = Place::of(&standing);
    let mut stops = vec![decided.apply(trail, &mut facts, &lab, &mut place)];
    if facts.items.is_none() && state == StopState::Stopped {
        let of = (&facts.order, lab.as_str());
        stops.extend(parts::with_the_order(s, trail, of, &mut place, &decided).await?);
    }
    rows_run_all(s, s.sql().stop_update, &stops, "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await?;
    reaches(s, &standing, &item.answer).await?;
    s.run(
        s.sql().escalation_resolve_subject,
        &[
            item.stop.as_str().into(),
            item.at.into(),
            state.word().into(),
            word.as_str().into(),
            item.actor.0.as_str().into(),
        ],
    )
    .await?;
    let taken_out = item.person && matches!(item.answer, Answer::Removed { .. });
    let next = transfer.as_ref().and_then(|transfer| {
        if taken_out {
            taken_out_by_a_person(&transfer.facts)
        } else {
            settle_transfer(&transfer.facts, transfer.facts.fence, &item.answer)
        }
    });
    if let (Some(transfer), Some(next)) = (transfer, next) {
        if taken_out {
            let within = profiles(s, &[&lab]).await?.remove(&lab).unwrap_or_default().answers_within.0;
            let about = About { subject: transfer.facts.id.as_str(), order: None, lab: &lab };
            let cause = "an order of it was taken out by a person, and it is not known whether the lab has the others";
            trail.escalate(&item.escalation, "transfer", &about, cause, item.at, later(item.at, within));
        }
        let moving = Moving {
            // A person spoke of this order: what waits about the others of its transfer still waits.
            decides: !item.person,
            ..Moving::answered(transfer, next, item.at, &item.actor, &item.answer, Some(&item.escalation))
        };
        move_transfers(s, trail, vec![moving]).await?;
    }
    Ok(Written::StopSettled(Box::new(StopSettled::Done(facts))))
}

/// How far an order is, as an answer to its stop says: it never goes back.
pub(super) async fn reaches<S: Session>(s: &mut S, standing: &Standing, answer: &Answer) -> Result<()> {
    match answer {
        Answer::WillPrint { stage, .. } if *stage > standing.stage && standing.transfer.is_some() => {
            let row = json!([standing.id, stage.code()]);
            rows_run_all(s, s.sql().standing_stage, &[row], "standings").await
        }
        _ => Ok(()),
    }
}

/// An answer that does not decide the stop by itself.
async fn unsettled<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &SettleStop,
    mut facts: StopFacts,
    standing: &Standing,
    transfer: Option<Locked>,
    lab: &str,
) -> Result<Written> {
    let was = facts.state;
    if !matches!(was, StopState::Pending | StopState::WithAPerson) {
        // Final before: kept as evidence. A lab that says the opposite is told on at once. What counts is
        // what its order was told last, not this stop: the order may have been reinstated since.
        // Of lines, what counts is what was told of them.
        let told = if facts.items.is_some() { Some(was) } else { standing.stop };
        let contrary = match (&item.answer, told) {
            (Answer::WillPrint { .. }, Some(StopState::Stopped | StopState::StoppedInPart)) => {
                Some(("shipped_anyway", "the lab says that it prints an order that was told stopped"))
            }
            (Answer::Removed { .. }, Some(StopState::TooLate)) => Some((
                "contradiction",
                "the lab says that it took out an order of which it was told that it is too late",
            )),
            _ => None,
        };
        let head = trail.add(
            &standing.head,
            item.at,
            (standing.id.as_str(), lab),
            if contrary.is_some() { "stop.contradicted" } else { "stop.late_answer" },
            &item.actor,
            &json!({"stop": facts.id, "answer": item.answer, "stood": was}),
        );
        let place = Place::moved(standing, head);
        rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await?;
        reaches(s, standing, &item.answer).await?;
        if let Some(contrary) = contrary {
            let standing = Standing { stop: told, ..standing.clone() };
            contradiction(s, trail, &item.escalation, &standing, contrary, item.at).await?;
        }
        return Ok(Written::StopSettled(Box::new(StopSettled::Late(facts))));
    }
    if let (Answer::NotFound, Some((fence, asked_at)), Some(transfer)) = (&item.answer, item.asked, transfer)
        && let Some(next) = not_there(&transfer.facts, fence, asked_at)
    {
        let moving = Moving {
            next_at: item.next_at,
            ..Moving::answered(transfer, next, item.at, &item.actor, &item.answer, None)
        };
        move_transfers(s, trail, vec![moving]).await?;
        let row = s.fetch(s.sql().stop_lock, &[item.stop.as_str().into()]).await?.pop();
        let Some(row) = row else { return Err(Error::Unavailable("a stop vanished".to_owned())) };
        return Ok(Written::StopSettled(Box::new(StopSettled::Done(rows::stop(&mut row.of("stops"))?))));
    }
    if was == StopState::Pending {
        if matches!(item.answer, Answer::AnswerLater) {
            facts.delivered_at = facts.delivered_at.or(Some(item.at));
            facts.next_at = facts.deadline_at;
        } else {
            facts.next_at = item.next_at.min(facts.deadline_at);
        }
        facts.answer = serde_json::to_string(&item.answer).ok();
        rows_run_all(s, s.sql().stop_update, &[stop_row(&facts, was)], "stops").await?;
    }
    let head = trail.add(
        &standing.head,
        item.at,
        (standing.id.as_str(), lab),
        "stop.answer",
        &item.actor,
        &json!({"stop": facts.id, "answer": item.answer}),
    );
    let place = Place::moved(standing, head);
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await?;
    Ok(Written::StopSettled(Box::new(StopSettled::Done(facts))))
}
