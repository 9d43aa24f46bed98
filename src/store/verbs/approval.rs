//! A merchant's approval: a customer asks for a stop, the order is kept out of its window, the merchant decides.
//!
//! The hold is put under the same lock as a stop would be. So whatever the merchant decides later, and however much
//! later: a stop that was asked for before the cutoff is granted once it is approved.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::approval_lines::{self, Request};
use super::change::{Changing, release};
use super::stop::{self, micros};
use super::{About, Trail, downloads, extras, parts, rows_run_all};
use crate::domain::event::Actor;
use crate::domain::extras::{ApprovalFacts, ApprovalState, HoldFacts, HoldKind, held};
use crate::domain::ids::{ApprovalId, LabId, OrderId};
use crate::domain::stop::{StopState, grant};
use crate::store::session::Session;
use crate::store::types::{
    ApprovalAsk, ApprovalOutcome, Decide, Decided, OrderRef, Overdue, Scope, StopAsk, StopOutcome, Written,
};
use crate::store::{Error, Result};

/// Whose hold a customer's request is.
const CUSTOMER: &str = "customer";

/// Asks one stop of a whole order, as any other is asked.
pub(super) async fn ask_stop<S: Session>(s: &mut S, trail: &mut Trail, ask: &StopAsk) -> Result<StopOutcome> {
    let mut out = [None];
    stop::ask(s, trail, &[(0, ask)], &mut out).await?;
    outcome(out)
}

/// The same, where its downloads stay as they are for now.
pub(super) async fn ask_stop_printed<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    ask: &StopAsk,
) -> Result<StopOutcome> {
    let mut out = [None];
    stop::ask_printed(s, trail, &[(0, ask)], &mut out).await?;
    outcome(out)
}

/// Asks a stop of a whole order or of lines of it, whichever it names.
async fn ask_named<S: Session>(s: &mut S, trail: &mut Trail, ask: &StopAsk) -> Result<StopOutcome> {
    if ask.items.is_empty() {
        return ask_stop(s, trail, ask).await;
    }
    outcome([Some(parts::ask(s, trail, ask).await?)])
}

fn outcome(out: [Option<Written>; 1]) -> Result<StopOutcome> {
    match out {
        [Some(Written::Stop(outcome))] => Ok(*outcome),
        _ => Err(Error::Unavailable("a stop without an outcome".to_owned())),
    }
}

/// Takes a customer's request for a stop about which the merchant decides.
pub(super) async fn ask<S: Session>(s: &mut S, trail: &mut Trail, item: &ApprovalAsk) -> Result<Written> {
    let outcome = |outcome| Ok(Written::Approval(Box::new(outcome)));
    let not_found = || outcome(ApprovalOutcome::Stop(StopOutcome::NotFound));
    let Some(order) = stop::resolve(s, &[(0, &item.stop)]).await?.pop().flatten() else {
        return not_found();
    };
    let order = OrderId::parse(&order)
        .map_err(|fault| Error::Corrupt { table: "orders", what: fault.to_string() })?;
    let Some(mut it) = Changing::lock(s, &order, &item.stop.scope).await? else { return not_found() };
    let own = StopAsk { order: OrderRef::Id(order.clone()), ..item.stop.clone() };
    let known = extras::approvals(s, &[order.as_str()]).await?;
    let lab = it.standing.lab.clone();
    let profile = stop::profiles(s, &[&lab]).await?.remove(&lab).unwrap_or_default();
    let (items, printed) = if own.items.is_empty() {
        let whole = known.iter().find(|known| known.items.is_none());
        if let Some(whole) = whole.filter(|_| it.standing.stop.is_none()) {
            return outcome(ApprovalOutcome::Already(whole.clone()));
        }
        // What is asked is asked; and where it is too late for anybody, there is nothing to decide but about
        // downloads, which may not be fetched yet. None of them goes without the merchant's word.
        let (state, _) = grant(it.facts.transfer.as_ref(), it.standing.stage, &profile);
        let late = state == StopState::TooLate && !downloads::any_left(s, order.as_str()).await?;
        if it.standing.stop.is_some() || late {
            return outcome(ApprovalOutcome::Stop(ask_stop_printed(s, trail, &own).await?));
        }
        (None, true)
    } else {
        match approval_lines::read(s, &it, &known, &own, &profile).await? {
            Request::New(items, printed) => (Some(items), printed),
            Request::Stop(items) => {
                let own = StopAsk { items, ..own };
                return outcome(ApprovalOutcome::Stop(ask_named(s, trail, &own).await?));
            }
            Request::Told(told) => return outcome(*told),
        }
    };

    let by = (&own.actor, own.at);
    // A download is in no manifest: for it nothing has to be kept out.
    let held = printed && it.in_house();
    let facts = ApprovalFacts {
        id: item.id.clone(),
        order: order.clone(),
        platform: it.standing.platform.clone(),
        lab,
        state: ApprovalState::Open,
        held,
        reason: own.reason.clone(),
        comment: own.comment.clone(),
        requested_by: own.requested_by.clone(),
        items,
        asked_at: own.at,
        due_at: item.due_at,
        decided_at: None,
        decided_by: None,
        why: None,
    };
    let row = json!({"id": facts.id, "order": order, "lab": facts.lab, "platform": facts.platform,
        "held": i64::from(held), "reason": facts.reason, "comment": facts.comment,
        "requested_by": facts.requested_by, "asked_at": micros(own.at),
        "due_at": micros(item.due_at), "items": facts.items.as_ref().map(|items| json!(items).to_string())});
    rows_run_all(s, s.sql().changes.approval_insert, &[row], "approvals").await?;
    extras::mark(s, &order).await?;
    // One hold keeps it out, however many are to be decided.
    if held && !known.iter().any(keeps) {
        it.hold(s, (&item.hold, HoldKind::Approval), (CUSTOMER, &own.reason), by).await?;
    }
    let mut detail = json!({"approval": facts.id, "reason": facts.reason, "comment": facts.comment,
        "requested_by": facts.requested_by, "held": held,
        "due_at": facts.due_at});
    about(&mut detail, &facts);
    it.write(s, trail, "approval.asked", by, &detail).await?;
    outcome(ApprovalOutcome::Asked(facts))
}

/// Whether the merchant is still to decide, and the order is kept out meanwhile.
fn keeps(approval: &ApprovalFacts) -> bool {
    approval.state == ApprovalState::Open && approval.held
}

/// Says in an entry of the log which lines an approval names, if it names any.
fn about(detail: &mut Value, facts: &ApprovalFacts) {
    if let Some(items) = &facts.items {
        detail["items"] = json!(items);
    }
}

/// The row that `approval_decide` takes.
fn decided_row(facts: &ApprovalFacts) -> Value {
    json!({"id": facts.id, "state": facts.state.code(), "at": facts.decided_at.map(micros),
        "by": facts.decided_by, "why": facts.why})
}

/// Writes how an approval was decided; nobody has to hurry the merchant any more.
async fn write<S: Session>(s: &mut S, facts: &ApprovalFacts) -> Result<()> {
    rows_run_all(s, s.sql().changes.approval_decide, &[decided_row(facts)], "approvals").await?;
    let args = [
        facts.id.as_str().into(),
        facts.decided_at.map(micros).into(),
        facts.state.word().into(),
        facts.why.as_deref().unwrap_or_default().into(),
        facts.decided_by.as_deref().unwrap_or_default().into(),
    ];
    s.run(s.sql().changes.approval_resolved, &args).await.map(drop)
}

/// Ends the hold of an approval: what is left keeps the order out still.
fn freed<'a>(it: &mut Changing, holds: &'a [HoldFacts]) -> Vec<&'a HoldFacts> {
    let (own, left): (Vec<_>, Vec<_>) = holds.iter().partition(|hold| hold.kind == HoldKind::Approval);
    it.standing.held = held(left.into_iter().map(|hold| hold.kind));
    own
}

/// Takes the merchant's decision.
pub(super) async fn decide<S: Session>(s: &mut S, trail: &mut Trail, item: &Decide) -> Result<Written> {
    let decided = |decided| Ok(Written::Decided(Box::new(decided)));
    let Some(seen) = extras::approval_of(s, &item.approval).await? else { return decided(Decided::NotFound) };
    if matches!(item.scope, Scope::Lab(_)) {
        return decided(Decided::NotFound);
    }
    let Some(mut it) = Changing::lock(s, &seen.order, &item.scope).await? else {
        return decided(Decided::NotFound);
    };
    // Once more, under the lock.
    let Some(mut facts) = extras::approval_of(s, &item.approval).await? else {
        return decided(Decided::NotFound);
    };
    if facts.state != ApprovalState::Open {
        return decided(Decided::Already(facts));
    }
    let agrees = item.agrees.is_some();
    let lines = facts.items.clone().unwrap_or_default();
    if agrees
        && !lines.is_empty()
        && let Some(why) = approval_lines::refusal(s, &it, &lines).await?
    {
        return decided(Decided::Refused(why));
    }
    let holds = extras::holds(s, &facts.order).await?;
    let known = extras::approvals(s, &[facts.order.as_str()]).await?;
    // What else the merchant is to decide keeps it out still.
    let others = known.iter().any(|other| other.id != facts.id && keeps(other));
    let own = if others { Vec::new() } else { freed(&mut it, &holds) };
    facts.state = if agrees { ApprovalState::Approved } else { ApprovalState::Declined };
    (facts.decided_at, facts.decided_by, facts.why) =
        (Some(item.at), Some(item.actor.0.clone()), item.why.clone());
    // What is left after a stop of lines goes on.
    let goes_on = !agrees || !lines.is_empty();
    if goes_on && facts.held && it.in_house() && !it.rejoin(s, trail, item.join.as_ref(), item.at).await? {
        return decided(Decided::WindowClosed);
    }
    release(s, &own, &item.actor, item.at).await?;
    write(s, &facts).await?;
    let kind = if agrees { "approval.approved" } else { "approval.declined" };
    let mut detail = json!({"approval": facts.id, "reason": facts.why});
    about(&mut detail, &facts);
    it.placed(item.join.as_ref(), &mut detail);
    it.write(s, trail, kind, (&item.actor, item.at), &detail).await?;
    let Some(agrees) = &item.agrees else { return decided(Decided::Declined(facts)) };
    let ask = StopAsk {
        order: OrderRef::Id(facts.order.clone()),
        reason: facts.reason.clone(),
        comment: facts.comment.clone(),
        requested_by: facts.requested_by.clone(),
        items: lines,
        ..(**agrees).clone()
    };
    match ask_named(s, trail, &ask).await? {
        StopOutcome::Asked(stop) | StopOutcome::Already(stop) => {
            decided(Decided::Approved(facts, Some(Box::new(stop))))
        }
        StopOutcome::Downloads(_) => decided(Decided::Approved(facts, None)),
        StopOutcome::NotFound | StopOutcome::Refused(_) => {
            Err(Error::Unavailable("an order vanished under its lock".to_owned()))
        }
    }
}

/// Stops were asked of these orders: what the merchant was still to decide about them is decided.
pub(super) async fn overtaken<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    stops: &HashMap<String, (Actor, jiff::Timestamp)>,
    marked: &[&str],
) -> Result<()> {
    for mut facts in extras::approvals(s, marked).await? {
        let Some((actor, at)) = stops.get(facts.order.as_str()) else { continue };
        if facts.state != ApprovalState::Open {
            continue;
        }
        let Some(mut it) = Changing::lock(s, &facts.order, &Scope::Ops).await? else { continue };
        let holds = extras::holds(s, &facts.order).await?;
        let own = freed(&mut it, &holds);
        facts.state = ApprovalState::Overtaken;
        (facts.decided_at, facts.decided_by) = (Some(*at), Some(actor.0.clone()));
        release(s, &own, actor, *at).await?;
        write(s, &facts).await?;
        it.write(s, trail, "approval.overtaken", (actor, *at), &json!({"approval": facts.id})).await?;
    }
    Ok(())
}

/// Calls ops about merchants who have not decided in time. Their orders stay out of their windows.
pub(super) async fn overdue<S: Session>(s: &mut S, trail: &mut Trail, item: &Overdue) -> Result<Written> {
    let limit = i64::try_from(item.escalations.len()).unwrap_or(i64::MAX);
    let rows = s.fetch(s.sql().changes.approval_overdue, &[item.now.into(), limit.into()]).await?;
    let mut told = Vec::with_capacity(rows.len());
    for (row, escalation) in rows.into_iter().zip(&item.escalations) {
        let mut row = row.of("approvals");
        let (id, order) = (row.parsed(ApprovalId::parse)?, row.parsed(OrderId::parse)?);
        let (lab, due_at) = (row.parsed(LabId::parse)?, row.at()?);
        let Some(it) = Changing::lock(s, &order, &Scope::Ops).await? else { continue };
        let about = About { subject: id.as_str(), order: Some(order.as_str()), lab: lab.as_str() };
        let cause = "the merchant has not decided in time about a stop that a customer asked for";
        trail.escalate(escalation, "approval_overdue", &about, cause, item.now, item.now);
        let detail = json!({"approval": id, "due_at": due_at});
        it.write(s, trail, "approval.overdue", (&Actor::gateway(), item.now), &detail).await?;
        told.push(json!([id, micros(item.now)]));
    }
    rows_run_all(s, s.sql().changes.approval_escalated, &told, "approvals").await?;
    Ok(Written::Done)
}
