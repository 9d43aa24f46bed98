//! A merchant's approvals, whatever they come over: read, and decided.

use super::auth::Caller;
use super::changes::{joined, window};
use super::http::Page;
use super::orders::{find, judge, line_stops};
use super::problem::{Answer, Code, Problem};
use super::{Api, stops, windows, words};
use crate::domain::extras::{ApprovalFacts, ApprovalState};
use crate::domain::ids::{ApprovalId, EscalationId, StopId};
use crate::domain::order::OrderFacts;
use crate::domain::stop::{AskedBy, StopFacts};
use crate::domain::verdict::Verdict;
use crate::store::{self, ApprovalFilter, ApprovalRow, Decide, Decided, OrderRef, StopAsk, Write, Written};

/// How an approval stands, and what came of it.
pub(super) struct Decision {
    /// The approval.
    pub(super) approval: ApprovalFacts,
    /// The order's stop.
    pub(super) stop: Option<StopFacts>,
    /// The verdict on the order, now.
    pub(super) verdict: Verdict,
}

/// An approval of an order that the caller may see.
pub(super) async fn read(api: &Api, caller: &Caller, id: &ApprovalId) -> Answer<(ApprovalFacts, OrderFacts)> {
    let approval = api.store.approval_of(id).await?.ok_or_else(Problem::not_found)?;
    let facts = find(api, &caller.scope, OrderRef::Id(approval.order.clone())).await?;
    Ok((approval, facts))
}

/// A page of the approvals within the caller's scope, newest first, and the cursor of the next.
pub(super) async fn list(
    api: &Api,
    caller: &Caller,
    open: bool,
    page: &Page<ApprovalId>,
) -> Answer<(Vec<ApprovalRow>, Option<String>)> {
    let filter =
        ApprovalFilter { open, before: page.from.clone(), limit: page.limit, ..ApprovalFilter::default() };
    let rows = api.store.list_approvals(&caller.scope, &filter).await?;
    let next = page.next(&rows, |row| &row.approval.id);
    Ok((rows, next))
}

/// A stop that the merchant asks decides on what a customer asked about the same lines: nothing keeps the rest of the
/// order out of its window any more. `parts` are the stops of the order that name lines.
pub(super) async fn agreed(api: &Api, caller: &Caller, facts: &OrderFacts, parts: &[StopFacts]) {
    let asked = |id: &String| parts.iter().any(|stop| stop.items.iter().flatten().any(|named| named == id));
    for approval in facts.extras.open_line_approvals() {
        if !approval.items.iter().flatten().all(asked) {
            continue;
        }
        if let Err(problem) = decide(api, caller, approval.id.clone(), true, None).await {
            // The stop is granted. What keeps the order out is seen by the merchant, and by ops when its time is over.
            let detail = problem.document().detail;
            tracing::warn!(approval = %approval.id, detail, "an approval was not closed by a stop of its lines");
        }
    }
}

/// Takes the merchant's decision. The same once more is no other.
pub(super) async fn decide(
    api: &Api,
    caller: &Caller,
    id: ApprovalId,
    agrees: bool,
    why: Option<String>,
) -> Answer<Decision> {
    let why = why.filter(|why| !why.trim().is_empty());
    match (&why, agrees) {
        // The customer is told why not.
        (None, false) => words::required("reason", "")?,
        (why, _) => words::text("reason", why.as_deref().unwrap_or_default(), 500)?,
    }
    let (approval, facts) = read(api, caller, &id).await?;
    let mut closed = None;
    for _ in 0..windows::TRIES {
        let at = api.clock.now();
        // What is left after a stop of lines goes on.
        let joins = (!agrees || approval.items.is_some()) && approval.held && facts.paid;
        let from = windows::after_closed(closed.as_ref(), at);
        let join = joins.then(|| window(&api.registry, &*api.random, &facts, from)).transpose()?;
        let order = OrderRef::Id(facts.id.clone());
        let stop = StopAsk {
            id: StopId::new(at, &*api.random),
            due: api.answer_due(&caller.scope, &order, at).await?,
            order,
            scope: caller.scope.clone(),
            reason: approval.reason.clone(),
            comment: approval.comment.clone(),
            asked_by: AskedBy::Customer,
            requested_by: approval.requested_by.clone(),
            items: Vec::new(),
            at,
            actor: caller.actor.clone(),
            escalation: EscalationId::new(at, &*api.random),
        };
        let decide = Decide {
            approval: id.clone(),
            scope: caller.scope.clone(),
            agrees: agrees.then(|| Box::new(stop)),
            join: join.clone(),
            why: why.clone(),
            at,
            actor: caller.actor.clone(),
        };
        let written = store::one(&*api.store, Write::Decide(Box::new(decide))).await?;
        let Written::Decided(decided) = written else { return Err(Problem::unexpected("not a decision")) };
        let approval = match *decided {
            Decided::NotFound => return Err(Problem::not_found()),
            Decided::WindowClosed => {
                closed = join;
                continue;
            }
            Decided::Already(known) => {
                let wanted = if agrees { ApprovalState::Approved } else { ApprovalState::Declined };
                if known.state != wanted {
                    let text = format!("It is {} already.", known.state.word());
                    return Err(Problem::new(Code::AlreadyDecided, text).with("approval", known.state));
                }
                known
            }
            Decided::Declined(known) => {
                api.nudge.closes.ring();
                known
            }
            Decided::Refused(why) => {
                return Err(stops::refused(approval.items.as_deref().unwrap_or_default(), why));
            }
            Decided::Approved(known, stop) => {
                match &stop {
                    Some(stop) => stops::ring(api, &facts, stop),
                    None => api.nudge.downloads.ring(),
                }
                if joins {
                    api.nudge.closes.ring();
                }
                known
            }
        };
        let facts = joined(api, caller, &facts.id).await?;
        let verdict = judge(api, &facts, true, api.clock.now()).await?;
        let stop = match (&approval.items, facts.stop.clone()) {
            (Some(items), None) if approval.state == ApprovalState::Approved => {
                let about = |stop: &StopFacts| stop.items.iter().flatten().any(|id| items.contains(id));
                line_stops(api, &facts).await?.into_iter().rev().find(about)
            }
            (_, stop) => stop,
        };
        return Ok(Decision { approval, stop, verdict });
    }
    Err(Problem::new(Code::Unavailable, "Its windows kept closing.").retry_after(1))
}
