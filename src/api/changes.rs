//! Changes of an order other than a stop, whatever they come over.

use jiff::Timestamp;

use super::auth::Caller;
use super::orders::{self, find};
use super::problem::{Answer, Code, Problem};
use super::registry::Registry;
use super::{Api, windows, words};
use crate::clock::Random;
use crate::domain::Fault;
use crate::domain::batch::Joining;
use crate::domain::ids::{HoldId, OrderId};
use crate::domain::order::{OrderFacts, OrderState, Submission};
use crate::store::{self, Change, ChangeKind, Changed, OrderRef, Write, Written};

/// The window that an order would join as of an instant.
///
/// # Errors
/// If its lab takes no orders any more, or its region's calendar has no cutoff any more.
pub fn window(
    registry: &Registry,
    random: &dyn Random,
    facts: &OrderFacts,
    at: Timestamp,
) -> Answer<Joining> {
    let entry = registry.lab(&facts.lab).ok_or_else(|| {
        Problem::from(Fault::new("lab", format!("lab {} takes no orders any more", facts.lab)))
    })?;
    orders::window(random, &entry.lab, &facts.region, &submission(facts)?, at)
}

/// What was submitted, of an order that is stored.
pub(super) fn submission(facts: &OrderFacts) -> Answer<Submission> {
    serde_json::from_str(&facts.document).map_err(|_| Problem::unexpected("a stored document is no order"))
}

/// Writes one change.
pub(super) async fn apply(api: &Api, change: Change) -> Answer<Changed> {
    match store::one(&*api.store, Write::Change(Box::new(change))).await? {
        Written::Changed(changed) => Ok(changed),
        _ => Err(Problem::unexpected("not a change")),
    }
}

/// Refuses whatever was not done.
pub(super) fn done(changed: Changed) -> Answer<()> {
    match changed {
        Changed::Done | Changed::Unchanged => Ok(()),
        Changed::NotFound => Err(Problem::not_found()),
        Changed::NoSuchHold => {
            Err(Problem::new(Code::NotFound, "The order has no such hold: it was released, or never was."))
        }
        Changed::HeldByOthers(owners) => {
            let text = format!("It is held by {}.", owners.join(", "));
            Err(Problem::new(Code::HeldByOthers, text).with("held_by", owners))
        }
        Changed::Replaced(other) => {
            let text =
                format!("Order {other} stands in its place, and may be printed: only one of them may be.");
            Err(Problem::new(Code::NotAllowed, text).with("order", other))
        }
        Changed::NotAllowed(state) => Err(not_allowed(state)),
        Changed::Version(version) => Err(super::http::version_mismatch(version)),
        Changed::WindowClosed => {
            Err(Problem::new(Code::Unavailable, "Its window closed meanwhile.").retry_after(1))
        }
    }
}

/// The refusal of a state.
pub(super) fn not_allowed(state: OrderState) -> Problem {
    let word = serde_json::to_value(state).unwrap_or_default();
    let text = format!("The order is {}.", word.as_str().unwrap_or("in another state"));
    Problem::new(Code::NotAllowed, text).with("state", state)
}

/// An order that may have joined a window, as it is then: the window closes early if it promised nothing and is full.
pub(super) async fn joined(api: &Api, caller: &Caller, order: &OrderId) -> Answer<OrderFacts> {
    let facts = find(api, &caller.scope, OrderRef::Id(order.clone())).await?;
    let Some(batch) = facts.batch.as_ref().filter(|batch| !batch.promised) else { return Ok(facts) };
    orders::close_if_full(api, batch).await?;
    find(api, &caller.scope, OrderRef::Id(order.clone())).await
}

/// Changes an order, and gives it as it is then.
pub(super) async fn change(
    api: &Api,
    caller: &Caller,
    which: OrderRef,
    if_version: Option<i64>,
    kind: ChangeKind,
    reason: Option<String>,
) -> Answer<OrderFacts> {
    words::text("reason", reason.as_deref().unwrap_or_default(), 500)?;
    let facts = find(api, &caller.scope, which).await?;
    let joins = matches!(
        kind,
        ChangeKind::Pay | ChangeKind::Release | ChangeKind::ReleaseOne(_) | ChangeKind::Reinstate
    );
    let mut closed: Option<Joining> = None;
    for _ in 0..windows::TRIES {
        let now = api.clock.now();
        let from = windows::after_closed(closed.as_ref(), now);
        let joining = if joins { Some(window(&api.registry, &*api.random, &facts, from)?) } else { None };
        let change = Change {
            order: facts.id.clone(),
            scope: caller.scope.clone(),
            kind: kind.clone(),
            hold: HoldId::new(now, &*api.random),
            join: joining.clone(),
            if_version,
            at: now,
            actor: caller.actor.clone(),
            reason: reason.clone(),
        };
        match apply(api, change).await? {
            Changed::WindowClosed => closed = joining,
            outcome => {
                done(outcome)?;
                if joins {
                    api.nudge.closes.ring();
                }
                return joined(api, caller, &facts.id).await;
            }
        }
    }
    Err(Problem::new(Code::Unavailable, "Its windows kept closing.").retry_after(1))
}
