//! One order in the place of another: never both are printed, and never neither.
//!
//! The new order is admitted with a hold, in the transaction that asks for the stop of the old one. Whatever decides
//! that stop, the new one is released or stopped in the very same transaction: see `follow`. Released, it joins a
//! window at once where one is known, or soon: it is kept as one that has to.

use serde_json::json;

use super::approval::{ask_stop, ask_stop_printed};
use super::change::{self, Changing, release};
use super::stop::micros;
use super::{Trail, admit, downloads, extras, follow, ids, rows_fetch, rows_run_all};
use crate::domain::Fault;
use crate::domain::event::Actor;
use crate::domain::extras::{HoldKind, LinkState, held};
use crate::domain::ids::{EscalationId, OrderId, StopId};
use crate::domain::stop::{AskedBy, StopState};
use crate::store::session::Session;
use crate::store::types::{
    Admission, Admitted, Change, ChangeKind, OrderRef, Replace, Replaced, Scope, StopAsk, StopOutcome,
    Written,
};
use crate::store::{Error, Result};

/// Stops an order and admits another in its place.
pub(super) async fn replace<S: Session>(s: &mut S, trail: &mut Trail, item: &Replace) -> Result<Written> {
    take(s, trail, item).await.map(Written::Replaced)
}

async fn take<S: Session>(s: &mut S, trail: &mut Trail, item: &Replace) -> Result<Replaced> {
    let (OrderRef::Id(old), admission) = (&item.stop.order, &item.admission) else {
        return Ok(Replaced::NotFound);
    };
    let Some(it) = Changing::lock(s, old, &item.stop.scope).await? else { return Ok(Replaced::NotFound) };
    if it.standing.platform != admission.platform.as_str() {
        return Ok(Replaced::NotFound);
    }
    let links = extras::links(s, &[old.as_str()]).await?;
    // The same again: the reference says so.
    let key = json!({"platform": admission.platform, "reference": admission.reference});
    if let Some(row) = rows_fetch(s, s.sql().order_of_references, &[key]).await?.pop() {
        let mut row = row.of("orders");
        let (found, _, _, sha256) = (row.parsed(OrderId::parse)?, row.text()?, row.text()?, row.text()?);
        let linked = links.iter().any(|(new, of, _)| *new == found && of == old);
        let same = linked && sha256 == admission.sha256;
        return Ok(if same { Replaced::Done(found, false) } else { Replaced::Taken(found) });
    }
    if let Some((_, first, _)) =
        links.iter().find(|(new, _, state)| new == old && *state == LinkState::Waiting)
    {
        return Ok(Replaced::Waits(first.clone()));
    }
    if let Some(other) = change::alive_beside(s, old).await? {
        return Ok(Replaced::By(other));
    }
    let (actor, at) = (&item.stop.actor, item.stop.at);
    let stands = match it.facts.stop.as_ref().map(|stop| stop.state) {
        Some(StopState::TooLate | StopState::StoppedInPart) => {
            return Ok(Replaced::NotAllowed(it.facts.state()));
        }
        Some(state) => state,
        // Its downloads go when it is stopped: if it is printed, it stays as it is, with them.
        None => match ask_stop_printed(s, trail, &item.stop).await? {
            StopOutcome::Asked(stop) | StopOutcome::Already(stop) => stop.state,
            StopOutcome::NotFound | StopOutcome::Refused(_) | StopOutcome::Downloads(_) => {
                return Ok(Replaced::NotFound);
            }
        },
    };

    let new = &admission.id;
    let bare = Admission { join: None, ..Admission::clone(admission) };
    let mut out = [None];
    admit::admit(s, trail, &[(0, &bare)], &mut out).await?;
    match out {
        [Some(Written::Admitted(Admitted::New { .. }))] => {}
        // Somebody else admitted the reference since it was looked for.
        [Some(Written::Admitted(Admitted::Same(found) | Admitted::Differs(found)))] => {
            return Err(Error::Unavailable(format!("{found} came first: look again")));
        }
        _ => return Err(Error::Unavailable("an admission without an outcome".to_owned())),
    }
    let args = [new.as_str().into(), old.as_str().into(), at.into()];
    s.run(s.sql().changes.replacement_insert, &args).await?;
    extras::mark(s, new).await?;
    extras::mark(s, old).await?;
    link(s, trail, item, (new, old)).await?;
    // The old order's own words, whatever came of its stop: the two tell of each other.
    if let Some(it) = Changing::lock(s, old, &Scope::Ops).await? {
        it.write(s, trail, "order.replaced", (actor, at), &json!({"by": new})).await?;
    }
    follow::follow(s, trail).await?;
    if stands == StopState::Stopped {
        // Decided before this, so that nothing was heard of it now.
        settled(s, trail, &[(old.as_str(), true)], (actor, at)).await?;
    }
    if let Some(join) = &item.join {
        let rejoin = Change {
            order: new.clone(),
            scope: Scope::Ops,
            kind: ChangeKind::Rejoin,
            hold: item.hold.clone(),
            join: Some(join.clone()),
            if_version: None,
            at,
            actor: actor.clone(),
            reason: None,
        };
        // If the window had closed, the loop finds another.
        change::changed(s, trail, &rejoin).await?;
    }
    Ok(Replaced::Done(new.clone(), true))
}

/// Keeps the new order out until the old one's stop is decided.
async fn link<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &Replace,
    (new, old): (&OrderId, &OrderId),
) -> Result<()> {
    let by = (&item.stop.actor, item.stop.at);
    let Some(mut it) = Changing::lock(s, new, &Scope::Ops).await? else {
        return Err(Error::Unavailable("an order that was admitted is not there".to_owned()));
    };
    let reason = format!("replaces {old}");
    let owner = change::owner(&item.stop.scope);
    it.hold(s, (&item.hold, HoldKind::Replacing), (owner, &reason), by).await?;
    it.write(s, trail, "order.replaces", by, &json!({"order": old, "hold": item.hold})).await
}

/// The stops of these orders are decided: who waits to replace one that is stopped is released, who waits to replace
/// one that is printed is stopped itself.
pub(super) async fn settled<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    old: &[(&str, bool)],
    (actor, at): (&Actor, jiff::Timestamp),
) -> Result<()> {
    for row in rows_fetch(s, s.sql().changes.replacement_of_old, &ids(old.iter().map(|(id, _)| *id))).await? {
        let mut row = row.of("replacements");
        let (new, of) = (row.parsed(OrderId::parse)?, row.text()?);
        let Some((_, stopped)) = old.iter().find(|(id, _)| *id == of) else { continue };
        let state = if *stopped { LinkState::Released } else { LinkState::Abandoned };
        decide(s, &new, state, at).await?;
        let Some(mut it) = Changing::lock(s, &new, &Scope::Ops).await? else { continue };
        free(s, &mut it, (actor, at)).await?;
        let kind = if *stopped { "order.replacement_released" } else { "order.replacement_abandoned" };
        it.write(s, trail, kind, (actor, at), &json!({"replaces": of})).await?;
        if *stopped {
            downloads::with_the_order(s, trail, &of, (actor, at)).await?;
        } else {
            ask_stop(s, trail, &abandoning(&new, (actor, at))?).await?;
        }
    }
    Ok(())
}

/// The stop of an order that was to replace one that is printed. It was never handed over: it is granted at once.
fn abandoning(new: &OrderId, (actor, at): (&Actor, jiff::Timestamp)) -> Result<StopAsk> {
    // The order's own number under other names: it is drawn as theirs are, and an order is abandoned once.
    let number = new.as_str().split_once('_').map_or("", |(_, number)| number);
    let corrupt = |fault: Fault| Error::Corrupt { table: "replacements", what: fault.to_string() };
    Ok(StopAsk {
        id: StopId::parse(&format!("{}_{number}", StopId::PREFIX)).map_err(corrupt)?,
        order: OrderRef::Id(new.clone()),
        scope: Scope::Ops,
        reason: "replacement_abandoned".to_owned(),
        comment: None,
        asked_by: AskedBy::System,
        requested_by: None,
        items: Vec::new(),
        due: None,
        at,
        actor: actor.clone(),
        escalation: EscalationId::parse(&format!("{}_{number}", EscalationId::PREFIX)).map_err(corrupt)?,
    })
}

async fn decide<S: Session>(s: &mut S, new: &OrderId, state: LinkState, at: jiff::Timestamp) -> Result<()> {
    let row = json!([new, state.code(), micros(at)]);
    rows_run_all(s, s.sql().changes.replacement_decide, &[row], "replacements").await
}

/// Ends the hold that kept an order waiting for another.
async fn free<S: Session>(
    s: &mut S,
    it: &mut Changing,
    (actor, at): (&Actor, jiff::Timestamp),
) -> Result<()> {
    let holds = extras::holds(s, &it.standing.id).await?;
    let (own, left): (Vec<_>, Vec<_>) = holds.iter().partition(|hold| hold.kind == HoldKind::Replacing);
    it.standing.held = held(left.into_iter().map(|hold| hold.kind));
    release(s, &own, actor, at).await
}

/// Orders that were stopped while they waited to replace others: they wait no more.
pub(super) async fn withdrawn<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    stopped: &[&str],
    (actor, at): (&Actor, jiff::Timestamp),
) -> Result<()> {
    for row in rows_fetch(s, s.sql().changes.replacement_of_new, &ids(stopped.iter().copied())).await? {
        let new = row.of("replacements").parsed(OrderId::parse)?;
        decide(s, &new, LinkState::Withdrawn, at).await?;
        let Some(mut it) = Changing::lock(s, &new, &Scope::Ops).await? else { continue };
        free(s, &mut it, (actor, at)).await?;
        it.write(s, trail, "order.replacement_withdrawn", (actor, at), &json!({})).await?;
    }
    Ok(())
}
