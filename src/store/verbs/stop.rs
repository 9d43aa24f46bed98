//! Stops: the first answer, and what all verbs about stops need.
//!
//! A stop and a claim meet in the order's standing: both lock that row before they decide, and read
//! the transfer's phase afterwards, in a statement of its own, so that they see what has committed.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::place::about;
use super::rows::{self, Locked};
use super::{About, Trail, downloads, ids, parts, rows_fetch, rows_run_all};
use crate::domain::batch::{TransferFacts, later};
use crate::domain::ids::OrderId;
use crate::domain::lab::{Profile, Terms};
use crate::domain::order::{Held, Stage};
use crate::domain::stop::{self, Evidence, StopFacts, StopState};
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{OrderRef, Scope, StopAsk, StopOutcome, Written};

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
    pub(super) lines_out: Vec<String>,
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
    let sql = s.sql().standing_lock;
    #[cfg(debug_assertions)]
    let sql = super::mistakes::unlocked(sql);
    rows_fetch(s, sql, &keys)
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
                lines_out: rows::lines(&mut row)?,
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

/// The first answers to a set of stops of whole orders, with their downloads.
pub(super) async fn ask<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &StopAsk)],
    out: &mut [Option<Written>],
) -> Result<()> {
    let found = ask_printed(s, trail, items, out).await?;
    downloads::ask_with(s, trail, items, &found).await
}

/// The same, where nothing is asked about downloads. Gives for each which order it is, with its lines.
pub(super) async fn ask_printed<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &StopAsk)],
    out: &mut [Option<Written>],
) -> Result<Vec<Option<downloads::Lines>>> {
    if items.is_empty() {
        return Ok(Vec::new());
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

    let all: Vec<&str> = standings.values().map(|standing| standing.id.as_str()).collect();
    let mut brings = parts::known(s, &all).await?;

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
        #[cfg(debug_assertions)]
        let transfer = super::mistakes::decided_on(transfer, item.at);
        let (state, evidence) = stop::grant(transfer, standing.stage, &profile);
        let by_clock = || later(item.at, profile.answers_within.0);
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
            items: None,
            requested_by: item.requested_by.clone(),
            terms: parts::terms(brings.get(standing.id.as_str()), standing, None, &item.reason),
        };
        let was = standing.head.clone();
        let mut detail = json!({"stop": facts.id, "reason": facts.reason, "asked_by": facts.asked_by,
            "evidence": evidence, "phase": transfer.map(|t| t.phase), "requested_by": facts.requested_by});
        about(&mut detail, &facts);
        standing.head = trail.add(
            &standing.head,
            item.at,
            (standing.id.as_str(), &standing.lab),
            kind(state),
            &item.actor,
            &detail,
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
        inserts.push(insert_row(&facts, standing));
        known.insert(standing.id.to_string(), facts.clone());
        out[*at] = Some(Written::Stop(Box::new(StopOutcome::Asked(facts))));
    }
    rows_run_all(s, s.sql().lines.stop_insert, &inserts, "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &updates, "standings").await?;
    let mut lines = |id: &String| brings.remove(id).map(|(lines, _)| (id.clone(), lines));
    let within = |(_, item): &(usize, &StopAsk), id: &String| {
        standings.get(id).is_some_and(|standing| standing.within(&item.scope))
    };
    let found = items.iter().zip(&named);
    Ok(found.map(|(item, id)| id.as_ref().filter(|id| within(item, id)).and_then(&mut lines)).collect())
}

/// The ids that the asks name, in order.
pub(super) async fn resolve<S: Session>(
    s: &mut S,
    items: &[(usize, &StopAsk)],
) -> Result<Vec<Option<String>>> {
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

/// The row that `stop_insert` takes.
pub(super) fn insert_row(facts: &StopFacts, standing: &Standing) -> Value {
    json!({
        "id": facts.id, "order": facts.order, "lab": standing.lab, "platform": standing.platform,
        "state": facts.state.code(), "evidence": facts.evidence, "reason": facts.reason, "comment": facts.comment,
        "asked_by": facts.asked_by.word(), "asked_at": micros(facts.asked_at), "handed_at": facts.handed_at.map(micros),
        "deadline_at": micros(facts.deadline_at), "next_at": micros(facts.next_at),
        "decided_at": facts.decided_at.map(micros), "requested_by": facts.requested_by,
        "deadline_local": facts.deadline_why.as_ref().map(|why| &why.0),
        "deadline_rule": facts.deadline_why.as_ref().map(|why| &why.1),
        "items": facts.items.as_ref().map(|items| json!(items).to_string()),
        "terms": facts.terms.as_ref().map(|terms| json!(terms).to_string()),
    })
}
