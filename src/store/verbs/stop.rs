//! Stops: the first answer, the forwarding, and what comes back.
//!
//! A stop and a claim meet in the order's standing: both lock that row before they decide, and read
//! the transfer's phase afterwards, in a statement of its own, so that they see what has committed.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::report::contradiction;
use super::rows::{self, Locked};
use super::settle::{Moving, move_transfers};
use super::{About, Trail, ids, rows_fetch, rows_run_all};
use crate::domain::batch::{TransferFacts, TransferPhase, absence, settle as settle_transfer};
use crate::domain::event::Actor;
use crate::domain::ids::OrderId;
use crate::domain::lab::{Answer, Profile, Terms};
use crate::domain::order::{Held, Stage};
use crate::domain::stop::{self, Evidence, StopFacts, StopState};
use crate::store::session::Session;
use crate::store::types::{OrderRef, Scope, SettleStop, StopAsk, StopOutcome, StopSettled, Written};
use crate::store::{Error, Result};

/// An order's standing, read under its lock.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) id: OrderId,
    pub(super) lab: String,
    pub(super) batch: Option<String>,
    pub(super) transfer: Option<String>,
    pub(super) paid: bool,
    pub(super) held: Held,
    pub(super) stage: Stage,
    pub(super) stop: Option<StopState>,
    pub(super) version: i64,
    pub(super) head: String,
    pub(super) platform: String,
    pub(super) admitted_at: Timestamp,
}

impl Standing {
    pub(super) fn within(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Ops => true,
            Scope::Platform(id) => self.platform == id.as_str(),
            Scope::Lab(id) => self.lab == id.as_str(),
        }
    }

    /// The row that `standing_update` takes, with another stage.
    pub(super) fn at_stage(&self, stage: Stage, head: &str) -> Value {
        json!({
            "id": self.id, "was": self.head, "head": head, "batch": self.batch, "transfer": self.transfer,
            "paid": i64::from(self.paid), "held": self.held.code(), "stage": stage.code(),
            "stop": self.stop.map_or(0, StopState::code), "version": self.version + 1,
        })
    }
}

/// Locks the standings of orders.
pub(super) async fn lock<S: Session>(s: &mut S, orders: &[&str]) -> Result<Vec<Standing>> {
    let keys = ids(orders.iter().copied());
    rows_fetch(s, s.sql().standing_lock, &keys)
        .await?
        .into_iter()
        .map(|row| {
            let mut row = row.of("standings");
            Ok(Standing {
                id: row.parsed(OrderId::parse)?,
                lab: row.text()?,
                batch: row.opt_text()?,
                transfer: row.opt_text()?,
                paid: row.flag()?,
                held: row.coded(Held::from_code)?,
                stage: row.coded(Stage::from_code)?,
                stop: StopState::from_code(row.int()?),
                version: row.int()?,
                head: row.text()?,
                platform: row.text()?,
                admitted_at: row.at()?,
            })
        })
        .collect()
}

/// Locks one transfer.
pub(super) async fn lock_transfer<S: Session>(s: &mut S, id: &str) -> Result<Option<Locked>> {
    rows_fetch(s, s.sql().transfer_lock, &ids([id])).await?.pop().map(rows::locked).transpose()
}

/// Transfers as committed now.
pub(super) async fn transfers<S: Session>(
    s: &mut S,
    which: &[&str],
) -> Result<HashMap<String, TransferFacts>> {
    rows_fetch(s, s.sql().transfer_read, &ids(which.iter().copied()))
        .await?
        .into_iter()
        .map(|row| {
            let facts = rows::transfer(&mut row.of("transfers"))?;
            Ok((facts.id.to_string(), facts))
        })
        .collect()
}

/// The profiles of labs, as they are configured now.
pub(super) async fn profiles<S: Session>(s: &mut S, labs: &[&str]) -> Result<HashMap<String, Profile>> {
    let mut labs = labs.to_vec();
    labs.sort_unstable();
    labs.dedup();
    rows_fetch(s, s.sql().lab_specs, &ids(labs))
        .await?
        .into_iter()
        .map(|row| {
            let mut row = row.of("labs");
            let id = row.text()?;
            let terms: Terms = row.parsed(|text| serde_json::from_str(text))?;
            Ok((id, terms.profile()))
        })
        .collect()
}

/// The first answers to a set of stops.
pub(super) async fn ask<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &StopAsk)],
    out: &mut [Option<Written>],
) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let named = resolve(s, items).await?;
    let wanted: Vec<&str> = named.iter().flatten().map(String::as_str).collect();
    let mut standings: HashMap<String, Standing> =
        lock(s, &wanted).await?.into_iter().map(|standing| (standing.id.to_string(), standing)).collect();
    let in_transfer: Vec<&str> =
        standings.values().filter_map(|standing| standing.transfer.as_deref()).collect();
    let in_transfer = transfers(s, &in_transfer).await?;
    let labs: Vec<&str> = standings.values().map(|standing| standing.lab.as_str()).collect();
    let profiles = profiles(s, &labs).await?;
    let asked: Vec<&str> = standings.values().filter(|s| s.stop.is_some()).map(|s| s.id.as_str()).collect();
    let mut known: HashMap<String, StopFacts> = HashMap::new();
    for row in rows_fetch(s, s.sql().stop_of_orders, &ids(asked)).await? {
        let facts = rows::stop(&mut row.of("stops"))?;
        known.insert(facts.order.to_string(), facts);
    }

    let mut inserts = Vec::new();
    let mut updates = Vec::new();
    for ((at, item), id) in items.iter().zip(&named) {
        let standing =
            id.as_ref().and_then(|id| standings.get_mut(id)).filter(|found| found.within(&item.scope));
        let Some(standing) = standing else {
            out[*at] = Some(Written::Stop(Box::new(StopOutcome::NotFound)));
            continue;
        };
        if let Some(facts) = known.get(standing.id.as_str()) {
            out[*at] = Some(Written::Stop(Box::new(StopOutcome::Already(facts.clone()))));
            continue;
        }
        let profile = profiles.get(&standing.lab).cloned().unwrap_or_default();
        let transfer = standing.transfer.as_ref().and_then(|id| in_transfer.get(id));
        let (state, evidence) = stop::grant(transfer, standing.stage, &profile);
        let by_clock = || crate::domain::batch::later(item.at, profile.answers_within.0);
        let deadline_at = item.due.as_ref().map_or_else(by_clock, |due| due.at);
        let deadline_why = item.due.as_ref().map(|due| (due.local.clone(), due.rule.clone()));
        let facts = StopFacts {
            id: item.id.clone(),
            order: standing.id.clone(),
            state,
            evidence,
            reason: item.reason.clone(),
            comment: item.comment.clone(),
            asked_by: item.asked_by,
            asked_at: item.at,
            handed_at: transfer.and_then(|transfer| transfer.handed_at),
            deadline_at,
            deadline_why,
            next_at: item.at,
            attempts: 0,
            delivered_at: None,
            decided_at: (state.is_final() && state != StopState::WithAPerson).then_some(item.at),
            answer: None,
        };
        let was = standing.head.clone();
        standing.head = trail.add(
            &standing.head,
            item.at,
            (standing.id.as_str(), &standing.lab),
            kind(state),
            &item.actor,
            &json!({"stop": facts.id, "reason": facts.reason, "asked_by": facts.asked_by, "evidence": evidence,
                "phase": transfer.map(|t| t.phase)}),
        );
        if state == StopState::WithAPerson {
            let about =
                About { subject: facts.id.as_str(), order: Some(standing.id.as_str()), lab: &standing.lab };
            let cause = match evidence {
                Some(Evidence::NoChannel) => {
                    "the lab has the order and no channel for stops: somebody must ask it"
                }
                _ => "a stop was asked while a person finds out whether the lab has the order",
            };
            trail.escalate(&item.escalation, "stop", &about, cause, item.at, deadline_at);
        }
        updates.push(json!({"id": standing.id, "stop": state.code(), "head": standing.head, "was": was}));
        inserts.push(json!({
            "id": facts.id, "order": facts.order, "lab": standing.lab, "platform": standing.platform,
            "state": state.code(), "evidence": evidence, "reason": facts.reason, "comment": facts.comment,
            "asked_by": facts.asked_by.word(), "asked_at": micros(item.at), "handed_at": facts.handed_at.map(micros),
            "deadline_at": micros(deadline_at), "next_at": micros(item.at), "decided_at": facts.decided_at.map(micros),
            "deadline_local": facts.deadline_why.as_ref().map(|why| &why.0),
            "deadline_rule": facts.deadline_why.as_ref().map(|why| &why.1),
        }));
        known.insert(standing.id.to_string(), facts.clone());
        out[*at] = Some(Written::Stop(Box::new(StopOutcome::Asked(facts))));
    }
    rows_run_all(s, s.sql().stop_insert, &inserts, "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &updates, "standings").await
}

/// The ids that the asks name, in order.
async fn resolve<S: Session>(s: &mut S, items: &[(usize, &StopAsk)]) -> Result<Vec<Option<String>>> {
    let keys: Vec<Value> = items
        .iter()
        .filter_map(|(_, item)| match (&item.order, &item.scope) {
            (OrderRef::Reference(reference), Scope::Platform(platform)) => {
                Some(json!({"platform": platform, "reference": reference}))
            }
            _ => None,
        })
        .collect();
    let mut found = HashMap::new();
    for row in rows_fetch(s, s.sql().order_of_references, &keys).await? {
        let mut row = row.of("orders");
        let id = row.text()?;
        found.insert((row.text()?, row.text()?), id);
    }
    Ok(items
        .iter()
        .map(|(_, item)| match (&item.order, &item.scope) {
            (OrderRef::Id(id), _) => Some(id.to_string()),
            (OrderRef::Reference(reference), Scope::Platform(platform)) => {
                found.get(&(platform.to_string(), reference.clone())).cloned()
            }
            (OrderRef::Reference(_), _) => None,
        })
        .collect())
}

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(super) fn kind(state: StopState) -> &'static str {
    match state {
        StopState::Pending => "stop.pending",
        StopState::Stopped => "stop.stopped",
        StopState::StoppedInPart => "stop.stopped_in_part",
        StopState::TooLate => "stop.too_late",
        StopState::WithAPerson => "stop.with_a_person",
    }
}

/// The row that `stop_update` takes.
pub(super) fn stop_row(facts: &StopFacts, was: StopState) -> Value {
    json!({
        "id": facts.id, "was": was.code(), "state": facts.state.code(), "evidence": facts.evidence.map(Evidence::word),
        "decided_at": facts.decided_at.map(micros), "next_at": micros(facts.next_at), "attempts": facts.attempts,
        "delivered_at": facts.delivered_at.map(micros), "handed_at": facts.handed_at.map(micros), "answer": facts.answer,
    })
}

/// A stop that becomes final.
pub(super) struct Decided<'a> {
    pub(super) state: StopState,
    pub(super) evidence: Option<Evidence>,
    pub(super) answer: Option<&'a str>,
    pub(super) at: Timestamp,
    pub(super) actor: &'a Actor,
}

impl Decided<'_> {
    /// Changes the facts, writes the entry, and gives the rows for the stop and the standing.
    pub(super) fn apply(
        &self,
        trail: &mut Trail,
        facts: &mut StopFacts,
        lab: &str,
        head: &str,
    ) -> (Value, Value) {
        let was = facts.state;
        facts.state = self.state;
        facts.evidence = self.evidence;
        facts.answer = self.answer.map(str::to_owned).or(facts.answer.take());
        facts.decided_at = (self.state != StopState::WithAPerson).then_some(self.at);
        let new = trail.add(
            head,
            self.at,
            (facts.order.as_str(), lab),
            kind(self.state),
            self.actor,
            &json!({"stop": facts.id, "evidence": self.evidence, "answer": self.answer}),
        );
        let standing = json!({"id": facts.order, "stop": self.state.code(), "head": new, "was": head});
        (stop_row(facts, was), standing)
    }
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

    let decision =
        stop::settle(facts.state, &item.answer).filter(|_| resolves || !not_seen(item, transfer.as_ref()));
    let Some((state, mut evidence)) = decision else {
        return unsettled(s, trail, item, facts, &standing, transfer, &lab).await;
    };
    if item.person && state == StopState::Stopped {
        evidence = Some(Evidence::PersonConfirmed);
    }
    let decided = Decided { state, evidence, answer: Some(&word), at: item.at, actor: &item.actor };
    let (stop, row) = decided.apply(trail, &mut facts, &lab, &standing.head);
    rows_run_all(s, s.sql().stop_update, &[stop], "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &[row], "standings").await?;
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
    if let Some(transfer) = transfer
        && let Some(next) = settle_transfer(&transfer.facts, transfer.facts.fence, &item.answer)
    {
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
async fn reaches<S: Session>(s: &mut S, standing: &Standing, answer: &Answer) -> Result<()> {
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
        let contrary = match (&item.answer, standing.stop) {
            (Answer::WillPrint { .. }, Some(StopState::Stopped)) => {
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
        // The order's own state, not this stop's: the order may have been reinstated since.
        let stands = standing.stop.map_or(0, StopState::code);
        let row = json!({"id": standing.id, "stop": stands, "head": head, "was": standing.head});
        rows_run_all(s, s.sql().standing_stop, &[row], "standings").await?;
        reaches(s, standing, &item.answer).await?;
        if let Some(contrary) = contrary {
            contradiction(s, trail, &item.escalation, standing, contrary, item.at).await?;
        }
        return Ok(Written::StopSettled(Box::new(StopSettled::Late(facts))));
    }
    if let (Answer::NotFound, Some((fence, asked_at)), Some(transfer)) = (&item.answer, item.asked, transfer)
        && let Some(next) = absence(&transfer.facts, fence, asked_at)
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
    let row = json!({"id": standing.id, "stop": was.code(), "head": head, "was": standing.head});
    rows_run_all(s, s.sql().standing_stop, &[row], "standings").await?;
    Ok(Written::StopSettled(Box::new(StopSettled::Done(facts))))
}
