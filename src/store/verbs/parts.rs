//! Stops that name lines.
//!
//! Such a stop is never the one stop of its order. What it takes out is kept in the order's standing, under the
//! lock that a claim takes: a claim either sees it, or the stop reads `sending` and waits for the lab.

use std::collections::HashMap;

use serde_json::json;

use super::place::{Decided, Place, Places, about};
use super::rows;
use super::stop::{self, Standing, kind, micros};
use super::{About, Trail, downloads, ids, rows_fetch, rows_run_all};
use crate::domain::batch::later;
use crate::domain::event::Actor;
use crate::domain::ids::{OrderId, TransferId};
use crate::domain::lines::{self, Line, Named, StopTerms};
use crate::domain::platform::PlatformPolicy;
use crate::domain::stop::{Evidence, StopFacts, StopState};
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{OrderRef, StopAsk, StopOutcome, StopRefused, Written};

/// The lines of an order, and the rules of its platform.
pub(super) type Known = (Vec<Line>, PlatformPolicy);

/// What says what stops of these orders bring.
pub(super) async fn known<S: Session>(s: &mut S, orders: &[&str]) -> Result<HashMap<String, Known>> {
    #[derive(serde::Deserialize)]
    struct Spec {
        #[serde(default)]
        policy: PlatformPolicy,
    }
    let mut found = HashMap::with_capacity(orders.len());
    for row in rows_fetch(s, s.sql().lines.line_terms, &ids(orders.iter().copied())).await? {
        let mut row = row.of("orders");
        let (id, document, spec) = (row.text()?, row.text()?, row.opt_text()?);
        // A rule that cannot be read must never keep a stop from being asked.
        let policy = spec.and_then(|text| serde_json::from_str::<Spec>(&text).ok()).map(|spec| spec.policy);
        found.insert(id, (lines::read(&document), policy.unwrap_or_default()));
    }
    Ok(found)
}

/// What a stop of an order, or of lines of it, brings.
pub(super) fn terms(
    known: Option<&Known>,
    standing: &Standing,
    named: Option<&[String]>,
    reason: &str,
) -> Option<StopTerms> {
    let (lines, policy) = known?;
    Some(StopTerms::of(lines, (&standing.lines_out, named), policy, reason, standing.stage))
}

/// The stops of an order that name lines, oldest first.
pub(in crate::store) async fn line_stops<S: Session>(s: &mut S, order: &OrderId) -> Result<Vec<StopFacts>> {
    let found = rows_fetch(s, s.sql().lines.line_stops, &ids([order.as_str()])).await?;
    found.into_iter().map(|row| rows::stop(&mut row.of("stops"))).collect()
}

/// The first answer to a stop that names lines.
pub(super) async fn ask<S: Session>(s: &mut S, trail: &mut Trail, item: &StopAsk) -> Result<Written> {
    let outcome = |outcome| Ok(Written::Stop(Box::new(outcome)));
    let id = stop::resolve(s, &[(0, item)]).await?.pop().flatten();
    let standing = match &id {
        Some(id) => stop::lock(s, &[id.as_str()]).await?.pop(),
        None => None,
    };
    let Some(standing) = standing.filter(|found| found.within(&item.scope)) else {
        return outcome(StopOutcome::NotFound);
    };
    let order = standing.id.as_str();
    let known = known(s, &[order]).await?;
    let known = known.get(order);
    let lines = known.map(|(lines, _)| lines.as_slice()).unwrap_or_default();
    let unknown = |id: &&String| lines.iter().all(|line| line.id != **id);
    let unknown: Vec<String> = item.items.iter().filter(unknown).cloned().collect();
    if !unknown.is_empty() {
        return outcome(StopOutcome::Refused(StopRefused::UnknownLines(unknown)));
    }
    // Downloads are none of the lab's business, whatever becomes of the rest.
    let (fetched, prints) = downloads::parted(lines, &item.items);
    let asked = if prints.is_empty() {
        StopOutcome::Downloads(standing.id.clone())
    } else {
        let item = StopAsk { items: prints, ..item.clone() };
        ask_printed(s, trail, &item, &standing, known).await?
    };
    if !matches!(asked, StopOutcome::Refused(_)) {
        downloads::ask(s, trail, (order, lines), Some(&fetched), &item.into()).await?;
    }
    outcome(asked)
}

/// The first answer to a stop that names lines that are printed.
async fn ask_printed<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &StopAsk,
    standing: &Standing,
    known: Option<&Known>,
) -> Result<StopOutcome> {
    let order = standing.id.as_str();
    let before = line_stops(s, &standing.id).await?;
    let open: Vec<String> = (before.iter().filter(|stop| !stop.state.is_decided()))
        .flat_map(|stop| stop.items.clone().unwrap_or_default())
        .collect();
    let all = downloads::printed(known.map(|(lines, _)| lines.as_slice()).unwrap_or_default());
    let named = match lines::name(&all, &standing.lines_out, &open, &item.items) {
        Named::Unknown(lines) => return Ok(StopOutcome::Refused(StopRefused::UnknownLines(lines))),
        Named::Asked if standing.stop.is_none() => {
            // The newest that is about any of them says how they stand.
            let about = |stop: &&StopFacts| {
                stop.state != StopState::TooLate
                    && stop.items.iter().flatten().any(|id| item.items.contains(id))
            };
            let Some(found) = before.iter().rev().find(about) else {
                return Ok(StopOutcome::Refused(StopRefused::UnknownLines(item.items.clone())));
            };
            return Ok(StopOutcome::Already(found.clone()));
        }
        Named::Lines(rest) if standing.stop.is_none() => rest,
        // Every line that is printed, or a stop of the order is there: it is the order's.
        _ => return whole(s, trail, item, &standing.id).await,
    };
    let same = |stop: &&StopFacts| stop.state == StopState::TooLate && stop.items.as_ref() == Some(&named);
    if let Some(found) = before.iter().rev().find(same) {
        return Ok(StopOutcome::Already(found.clone()));
    }
    let transfer = match &standing.transfer {
        Some(id) => stop::transfers(s, &[id.as_str()]).await?.remove(id),
        None => None,
    };
    let profile = stop::profiles(s, &[&standing.lab]).await?.remove(&standing.lab).unwrap_or_default();
    let Some((state, evidence)) = lines::grant(transfer.as_ref(), standing.stage, &profile) else {
        return Ok(StopOutcome::Refused(StopRefused::WholeOrderOnly));
    };
    let terms = terms(known, standing, Some(&named), &item.reason);
    let deadline_at =
        item.due.as_ref().map_or_else(|| later(item.at, profile.answers_within.0), |due| due.at);
    let facts = StopFacts {
        id: item.id.clone(),
        order: standing.id.clone(),
        state,
        evidence,
        reason: item.reason.clone(),
        comment: item.comment.clone(),
        asked_by: item.asked_by,
        asked_at: item.at,
        handed_at: transfer.as_ref().and_then(|transfer| transfer.handed_at),
        deadline_at,
        deadline_why: item.due.as_ref().map(|due| (due.local.clone(), due.rule.clone())),
        next_at: item.at,
        attempts: 0,
        delivered_at: None,
        decided_at: state.is_decided().then_some(item.at),
        answer: None,
        items: Some(named),
        requested_by: item.requested_by.clone(),
        terms,
    };
    let mut place = Place::of(standing);
    let mut detail = json!({"stop": facts.id, "reason": facts.reason, "asked_by": facts.asked_by, "evidence": evidence,
        "phase": transfer.map(|t| t.phase), "requested_by": facts.requested_by});
    about(&mut detail, &facts);
    place.head = trail.add(&place.head, item.at, (order, &standing.lab), kind(state), &item.actor, &detail);
    if state == StopState::StoppedInPart {
        place.take_out(facts.items.as_deref().unwrap_or_default());
    }
    if state == StopState::WithAPerson {
        let about = About { subject: facts.id.as_str(), order: Some(order), lab: &standing.lab };
        let cause = "a stop of lines was asked while a person finds out whether the lab has the order";
        trail.escalate(&item.escalation, "stop", &about, cause, item.at, deadline_at);
    }
    let mut row = stop::insert_row(&facts, standing);
    row["superseded_at"] = json!(micros(item.at));
    rows_run_all(s, s.sql().lines.stop_insert, &[row], "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await?;
    Ok(StopOutcome::Asked(facts))
}

/// The same request for all that is printed of the order; its downloads are not part of it.
async fn whole<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &StopAsk,
    order: &OrderId,
) -> Result<StopOutcome> {
    let ask = StopAsk { order: OrderRef::Id(order.clone()), items: Vec::new(), ..item.clone() };
    let mut out = [None];
    stop::ask_printed(s, trail, &[(0, &ask)], &mut out).await?;
    match out {
        [Some(Written::Stop(outcome))] => Ok(*outcome),
        _ => Ok(StopOutcome::NotFound),
    }
}

/// The orders of these transfers did not leave the house, proven: their lines that were asked for are out.
/// Gives the rows of the stops.
pub(super) async fn never_handed<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    transfers: &[TransferId],
    places: &mut Places,
    decided: &Decided<'_>,
) -> Result<Vec<serde_json::Value>> {
    let keys = ids(transfers.iter().map(TransferId::as_str));
    // Locked first and read afterwards: what committed meanwhile is seen, of the stops too.
    rows_fetch(s, s.sql().lines.line_stops_lock, &keys).await?;
    let mut stops = Vec::new();
    for row in rows_fetch(s, s.sql().lines.line_stops_open, &keys).await? {
        let mut row = row.of("stops");
        let mut facts = rows::stop(&mut row)?;
        let head = row.text()?;
        let lines_out = rows::lines(&mut row)?;
        let place = places.at(&facts.order.clone(), &head, lines_out);
        stops.push(decided.apply(trail, &mut facts, "", place));
        resolved(s, &facts, decided, NEVER_LEFT).await?;
    }
    Ok(stops)
}

/// What decides a whole order decides its stops of lines that are open, those that are with a person too. Gives the
/// rows of the stops.
pub(super) async fn with_the_order<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    (order, lab): (&OrderId, &str),
    place: &mut Place,
    decided: &Decided<'_>,
) -> Result<Vec<serde_json::Value>> {
    let mut stops = Vec::new();
    for mut facts in line_stops(s, order).await? {
        if facts.state.is_decided() {
            continue;
        }
        stops.push(decided.apply(trail, &mut facts, lab, place));
        resolved(s, &facts, decided, "the whole order is decided").await?;
    }
    Ok(stops)
}

/// Nobody has to decide any more on a stop that was decided otherwise.
pub(super) async fn resolved<S: Session>(
    s: &mut S,
    facts: &StopFacts,
    by: &Decided<'_>,
    why: &str,
) -> Result<()> {
    let args = [
        facts.id.as_str().into(),
        by.at.into(),
        facts.state.word().into(),
        why.into(),
        by.actor.0.as_str().into(),
    ];
    s.run(s.sql().escalation_resolve_subject, &args).await?;
    Ok(())
}

/// Why nobody has to decide on what never left.
pub(super) const NEVER_LEFT: &str = "it never left the house";

/// What a stop of lines is decided by, once the whole order is stopped: what the order's stop rests on.
pub(super) async fn by_the_order<S: Session>(s: &mut S, facts: &StopFacts) -> Result<Option<Evidence>> {
    let found = rows_fetch(s, s.sql().stop_of_orders, &ids([facts.order.as_str()])).await?.pop();
    Ok(found.map(|row| rows::stop(&mut row.of("stops"))).transpose()?.and_then(|stop| stop.evidence))
}

/// Keeps the signature of callers short.
pub(super) fn granted<'a>(at: jiff::Timestamp, actor: &'a Actor) -> Decided<'a> {
    let evidence = Some(Evidence::NeverHanded);
    Decided { state: StopState::Stopped, evidence, answer: None, at, actor }
}
