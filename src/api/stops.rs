//! Stops, whatever they come over: asked, and how they stand.

use super::Api;
use super::auth::Caller;
use super::orders::{find, judge};
use super::problem::{Answer, Code, Problem};
use super::words;
use crate::domain::Fault;
use crate::domain::ids::{EscalationId, PlatformId, StopId};
use crate::domain::order::OrderFacts;
use crate::domain::platform::CustomerStops;
use crate::domain::stop::{AskedBy, StopFacts, StopState};
use crate::domain::verdict::Verdict;
use crate::store::{self, EscalationRow, OrderRef, Scope, StopAsk, StopOutcome, Write, Written};

/// A stop that is asked for, as it came.
pub(super) struct Ask {
    /// The order.
    pub(super) order: OrderRef,
    /// Why.
    pub(super) reason: Option<String>,
    /// More.
    pub(super) comment: Option<String>,
    /// Who asks.
    pub(super) asked_by: AskedBy,
}

/// How a stop stands, and what can still be done.
pub(super) struct Asked {
    /// The stop.
    pub(super) stop: StopFacts,
    /// The verdict on its order, now.
    pub(super) verdict: Verdict,
    /// Its order.
    pub(super) facts: Box<OrderFacts>,
    /// Whether it was there before.
    pub(super) again: bool,
}

impl Asked {
    /// What the lab said or did against what was told of the order, oldest first; nothing of a stop that was
    /// asked just now.
    pub(super) async fn contradictions(&self, api: &Api) -> Answer<Vec<EscalationRow>> {
        if !self.again {
            return Ok(Vec::new());
        }
        let transfer = self.facts.transfer.as_ref().map(|transfer| transfer.id.to_string());
        let subjects: Vec<String> = std::iter::once(self.facts.id.to_string()).chain(transfer).collect();
        let mut rows = api.store.contradictions(&subjects).await?;
        for row in rows.iter_mut().filter(|row| row.order.is_none()) {
            // A transfer carries orders of others: what was told of them is theirs.
            row.evidence.retain(|piece| !piece.kind.starts_with("stop."));
        }
        Ok(rows)
    }
}

/// Whether a stop is not decided yet: its answer will be another one later.
pub(super) fn is_open(stop: &StopFacts) -> bool {
    matches!(stop.state, StopState::Pending | StopState::WithAPerson)
}

/// Asks that an order not be printed, as of the instant at which the request's head arrived. The gate holds
/// claims of later instants back until the answer is there.
pub(super) async fn ask(api: &Api, caller: &Caller, ask: Ask) -> Answer<Asked> {
    let Ask { order, reason, comment, asked_by } = ask;
    let reason =
        reason.filter(|reason| !reason.trim().is_empty()).unwrap_or_else(|| "unspecified".to_owned());
    let faults: Vec<Fault> = [
        words::text("reason", &reason, 200),
        words::text("comment", comment.as_deref().unwrap_or_default(), 2_000),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    if !faults.is_empty() {
        return Err(faults.into());
    }
    if asked_by == AskedBy::Customer {
        let platform = match &caller.scope {
            Scope::Platform(own) => own.clone(),
            _ => find(api, &caller.scope, order.clone()).await?.platform,
        };
        customers(api, &platform)?;
    }
    if matches!((&order, &caller.scope), (OrderRef::Reference(_), Scope::Ops | Scope::Lab(_))) {
        return Err(Problem::not_found());
    }
    let due = api.answer_due(&caller.scope, &order, caller.at).await?;
    let ask = StopAsk {
        id: StopId::new(caller.at, &*api.random),
        order,
        scope: caller.scope.clone(),
        reason,
        comment,
        asked_by,
        due,
        at: caller.at,
        actor: caller.actor.clone(),
        escalation: EscalationId::new(caller.at, &*api.random),
    };
    let Written::Stop(outcome) = store::one(&*api.store, Write::Stop(Box::new(ask))).await? else {
        return Err(Problem::unexpected("not a stop"));
    };
    let (stop, again) = match *outcome {
        StopOutcome::NotFound => return Err(Problem::not_found()),
        StopOutcome::Already(stop) => (stop, true),
        StopOutcome::Asked(stop) => (stop, false),
    };
    if stop.state == StopState::Pending {
        api.nudge.stops.ring();
    }
    let mut facts = find(api, &caller.scope, OrderRef::Id(stop.order.clone())).await?;
    if is_open(&stop) && api.registry.lab(&facts.lab).is_some_and(|entry| entry.lab.spec.people_answer()) {
        api.nudge.mails.ring();
    }
    // What is told is what was decided, even if the row has moved on since.
    facts.stop = Some(stop.clone());
    let verdict = judge(api, &facts, false, api.clock.now()).await?;
    Ok(Asked { stop, verdict, facts: Box::new(facts), again })
}

/// Whether customers of a platform may ask.
fn customers(api: &Api, platform: &PlatformId) -> Answer<()> {
    let policy = api.registry.platform(platform).map(|entry| entry.spec.policy.customer_stops);
    match policy.unwrap_or_default() {
        CustomerStops::On => Ok(()),
        CustomerStops::Off => Err(Problem::new(
            Code::CustomerStopsOff,
            format!("`customer_stops` of platform {platform} is off."),
        )),
        CustomerStops::AskMerchant => Err(Problem::new(
            Code::MerchantDecides,
            format!("`customer_stops` of platform {platform} is ask_merchant."),
        )),
    }
}

/// How the stop of an order stands.
pub(super) async fn standing(api: &Api, caller: &Caller, order: OrderRef) -> Answer<Asked> {
    let facts = find(api, &caller.scope, order).await?;
    let stop = facts.stop.clone().ok_or_else(Problem::not_found)?;
    let verdict = judge(api, &facts, false, api.clock.now()).await?;
    Ok(Asked { stop, verdict, facts: Box::new(facts), again: true })
}
