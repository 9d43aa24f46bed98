//! Stops, whatever they come over: asked, and how they stand.

use super::Api;
use super::auth::Caller;
use super::orders::{find, judge, line_stops};
use super::problem::{Answer, Code, Problem};
use super::{approvals, downloads, words};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::downloads::may_be_in;
use crate::domain::extras::{ApprovalFacts, ApprovalState};
use crate::domain::ids::{ApprovalId, EscalationId, HoldId, PlatformId, StopId};
use crate::domain::lines::UNSPECIFIED;
use crate::domain::measures::Lasting;
use crate::domain::order::{ITEMS_MAX, OrderFacts};
use crate::domain::platform::CustomerStops;
use crate::domain::stop::{AskedBy, StopFacts, StopState};
use crate::domain::verdict::Verdict;
use crate::store::{
    self, ApprovalAsk, ApprovalOutcome, EscalationRow, OrderRef, Scope, StopAsk, StopOutcome, StopRefused,
    Write, Written,
};

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
    /// Who that is, by a name or an id of the platform's own.
    pub(super) requested_by: Option<String>,
    /// The lines that it names; none: the whole order.
    pub(super) items: Vec<String>,
}

/// What came of asking for a stop.
pub(super) enum Outcome {
    /// A stop is asked.
    Stop(Asked),
    /// The merchant is to decide, or has declined.
    Merchant(Waiting),
    /// Only downloads were asked about.
    Downloads(Revoking),
}

impl Outcome {
    /// Whether anything of it is not decided yet.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Stop(asked) => is_open(&asked.stop) || downloads::is_open(&asked.verdict),
            Self::Merchant(waiting) => waiting.approval.state == ApprovalState::Open,
            Self::Downloads(revoking) => downloads::is_open(&revoking.verdict),
        }
    }
}

/// Downloads that are to be revoked, of an order of which nothing else was asked here.
pub(super) struct Revoking {
    /// All stops of the order that name lines, oldest first.
    pub(super) parts: Vec<StopFacts>,
    /// The verdict on the order, now.
    pub(super) verdict: Verdict,
}

/// A customer's stop that the merchant decides about.
pub(super) struct Waiting {
    /// The approval.
    pub(super) approval: ApprovalFacts,
    /// All stops of the order that name lines, oldest first.
    pub(super) parts: Vec<StopFacts>,
    /// The verdict on its order, now.
    pub(super) verdict: Verdict,
}

/// How a stop stands, and what can still be done.
pub(super) struct Asked {
    /// The stop.
    pub(super) stop: StopFacts,
    /// All stops of the order that name lines, oldest first.
    pub(super) parts: Vec<StopFacts>,
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
        let mut rows = contradictions(api, &self.facts).await?;
        for row in rows.iter_mut().filter(|row| row.order.is_none()) {
            // A transfer carries orders of others: what was told of them is theirs.
            row.evidence.retain(|piece| !piece.kind.starts_with("stop."));
        }
        Ok(rows)
    }
}

/// What labs said or did against what was told of an order or of the transfer that carries it, oldest first.
pub(super) async fn contradictions(api: &Api, facts: &OrderFacts) -> Answer<Vec<EscalationRow>> {
    let transfer = facts.transfer.as_ref().map(|transfer| transfer.id.to_string());
    let subjects: Vec<String> = std::iter::once(facts.id.to_string()).chain(transfer).collect();
    Ok(api.store.contradictions(&subjects).await?)
}

/// Whether a stop is not decided yet: its answer will be another one later.
pub(super) fn is_open(stop: &StopFacts) -> bool {
    matches!(stop.state, StopState::Pending | StopState::WithAPerson)
}

/// Asks that an order not be printed, as of the instant at which the request's head arrived. The gate holds
/// claims of later instants back until the answer is there.
pub(super) async fn ask(api: &Api, caller: &Caller, ask: Ask) -> Answer<Outcome> {
    let Ask { order, reason, comment, asked_by, requested_by, items } = ask;
    let reason = reason.filter(|reason| !reason.trim().is_empty()).unwrap_or_else(|| UNSPECIFIED.to_owned());
    let requested_by = requested_by.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let mut faults: Vec<Fault> = [
        words::text("reason", &reason, 200),
        words::text("requested_by", requested_by.as_deref().unwrap_or_default(), 200),
        words::text("comment", comment.as_deref().unwrap_or_default(), 2_000),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    faults.extend(named_twice(&items));
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let mut merchant = None;
    if asked_by == AskedBy::Customer {
        let platform = match &caller.scope {
            Scope::Platform(own) => own.clone(),
            _ => find(api, &caller.scope, order.clone()).await?.platform,
        };
        merchant = customers(api, &platform)?;
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
        requested_by,
        items: items.clone(),
        due,
        at: caller.at,
        actor: caller.actor.clone(),
        escalation: EscalationId::new(caller.at, &*api.random),
    };
    let outcome = match merchant {
        None => {
            let Written::Stop(outcome) = store::one(&*api.store, Write::Stop(Box::new(ask))).await? else {
                return Err(Problem::unexpected("not a stop"));
            };
            *outcome
        }
        Some(within) => {
            let ask = ApprovalAsk {
                id: ApprovalId::new(caller.at, &*api.random),
                hold: HoldId::new(caller.at, &*api.random),
                due_at: later(caller.at, within.0),
                stop: ask,
            };
            let written = store::one(&*api.store, Write::AskApproval(Box::new(ask))).await?;
            let Written::Approval(outcome) = written else {
                return Err(Problem::unexpected("not an approval"));
            };
            match *outcome {
                ApprovalOutcome::Stop(outcome) => outcome,
                ApprovalOutcome::Asked(approval) | ApprovalOutcome::Already(approval) => {
                    api.nudge.changes.ring();
                    let facts = find(api, &caller.scope, OrderRef::Id(approval.order.clone())).await?;
                    let parts = line_stops(api, &facts).await?;
                    let verdict = judge(api, &facts, true, api.clock.now()).await?;
                    return Ok(Outcome::Merchant(Waiting { approval, parts, verdict }));
                }
            }
        }
    };
    let (stop, again) = match outcome {
        StopOutcome::NotFound => return Err(Problem::not_found()),
        StopOutcome::Already(stop) => (stop, true),
        StopOutcome::Asked(stop) => (stop, false),
        StopOutcome::Refused(why) => return Err(refused(&items, why)),
        StopOutcome::Downloads(order) => {
            api.nudge.downloads.ring();
            let facts = find(api, &caller.scope, OrderRef::Id(order)).await?;
            return Ok(Outcome::Downloads(revoking(api, &facts).await?));
        }
    };
    let mut facts = find(api, &caller.scope, OrderRef::Id(stop.order.clone())).await?;
    ring(api, &facts, &stop);
    let parts = line_stops(api, &facts).await?;
    if facts.extras.open_line_approvals().next().is_some() {
        approvals::agreed(api, caller, &facts, &parts).await;
        facts = find(api, &caller.scope, OrderRef::Id(stop.order.clone())).await?;
    }
    if stop.items.is_none() {
        // What is told is what was decided, even if the row has moved on since.
        facts.stop = Some(stop.clone());
    }
    let verdict = judge(api, &facts, true, api.clock.now()).await?;
    Ok(Outcome::Stop(Asked { stop, parts, verdict, facts: Box::new(facts), again }))
}

/// What is said where nothing but downloads was asked about.
async fn revoking(api: &Api, facts: &OrderFacts) -> Answer<Revoking> {
    let parts = line_stops(api, facts).await?;
    Ok(Revoking { parts, verdict: judge(api, facts, true, api.clock.now()).await? })
}

/// Wakes whoever has something to do about a stop that was asked.
pub(super) fn ring(api: &Api, facts: &OrderFacts, stop: &StopFacts) {
    if may_be_in(&facts.document) {
        api.nudge.downloads.ring();
    }
    if stop.state == StopState::Pending {
        api.nudge.stops.ring();
    }
    if is_open(stop) && api.registry.lab(&facts.lab).is_some_and(|entry| entry.lab.spec.people_answer()) {
        api.nudge.mails.ring();
    }
    if facts.extras.replaced_by.is_some() {
        api.nudge.changes.ring();
    }
}

/// What is wrong with the lines that a stop names, before the order is known.
fn named_twice(items: &[String]) -> Vec<Fault> {
    if items.len() > ITEMS_MAX {
        return vec![Fault::new("items", format!("names {} items; at most 1000 are allowed", items.len()))];
    }
    let again = |(at, id): (usize, &String)| {
        let allowed = "unique: it is named before";
        items[..at].contains(id).then(|| Fault::not(format!("items[{at}]"), id, allowed))
    };
    items.iter().enumerate().filter_map(again).collect()
}

/// Why a stop of lines was not taken, for whoever asked.
pub(super) fn refused(items: &[String], why: StopRefused) -> Problem {
    match why {
        StopRefused::UnknownLines(unknown) => {
            let at = |id: &String| items.iter().position(|named| named == id).unwrap_or_default();
            let fault = |id: &String| {
                Fault::not(format!("items[{}]", at(id)), id, "the id of an item of this order")
            };
            unknown.iter().map(fault).collect::<Vec<_>>().into()
        }
        StopRefused::WholeOrderOnly => Problem::new(
            Code::NotAllowed,
            "The order has left, and its lab stops whole orders only (`stops_lines` of its profile is false). \
             Nothing was changed: ask without `items` for a stop of the whole order.",
        )
        .with("items", items),
    }
}

/// Whether customers of a platform may ask; how long the merchant has to decide, if that is so.
fn customers(api: &Api, platform: &PlatformId) -> Answer<Option<Lasting>> {
    let policy = api.registry.platform(platform).map(|entry| entry.spec.policy.clone()).unwrap_or_default();
    match policy.customer_stops {
        CustomerStops::On => Ok(None),
        CustomerStops::Off => Err(Problem::new(
            Code::CustomerStopsOff,
            format!("`customer_stops` of platform {platform} is off."),
        )),
        CustomerStops::AskMerchant => Ok(Some(policy.approval_within())),
    }
}

/// How the stop of an order stands, or the merchant's approval of one.
pub(super) async fn standing(api: &Api, caller: &Caller, order: OrderRef) -> Answer<Outcome> {
    let facts = find(api, &caller.scope, order).await?;
    let parts = line_stops(api, &facts).await?;
    let verdict = judge(api, &facts, true, api.clock.now()).await?;
    let stop = facts.stop.clone().or_else(|| parts.last().cloned());
    let extras = &facts.extras;
    // What is to be decided goes before what is, and the whole before its lines.
    let open = extras.open_approval().or_else(|| extras.open_line_approvals().next_back());
    let approval = open.or(extras.approval.as_ref()).cloned();
    match (stop, approval) {
        // A stop of the order, or of lines of it while nobody was asked about the whole, and nobody has to decide.
        (Some(stop), approval) if stop.items.is_none() || approval.is_none() => {
            Ok(Outcome::Stop(Asked { stop, parts, verdict, facts: Box::new(facts), again: true }))
        }
        (_, Some(approval)) => Ok(Outcome::Merchant(Waiting { approval, parts, verdict })),
        (None, None) if !facts.extras.line_approvals.is_empty() => {
            let approval = facts.extras.line_approvals.last().cloned().ok_or_else(Problem::not_found)?;
            Ok(Outcome::Merchant(Waiting { approval, parts, verdict }))
        }
        _ if facts.extras.downloads.iter().any(|download| download.asked_at.is_some()) => {
            Ok(Outcome::Downloads(Revoking { parts, verdict }))
        }
        _ => Err(Problem::not_found()),
    }
}
