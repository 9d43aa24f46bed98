//! Orders, whatever they come over: admitted, found, judged.

use std::sync::Arc;

use jiff::Timestamp;

use super::auth::Caller;
use super::problem::{Answer, Code, Problem};
use super::registry::{LabEntry, unknown_lab};
use super::{Api, windows};
use crate::domain::batch::{BatchFacts, Joining};
use crate::domain::event::{Actor, hex};
use crate::domain::ids::{LabId, OrderId, PlatformId, RegionId};
use crate::domain::lab::Lab;
use crate::domain::order::{Handing, Held, OrderFacts, Payment, Stage, Submission};
use crate::domain::verdict::{CanStop, Verdict, verdict, wants_odds};
use crate::domain::{Fault, nearest};
use crate::store::{Admission, Admitted, OrderRef, ReportRow, Scope, Write, Written};

/// The platform that a caller submits for.
pub(super) fn platform_of(api: &Api, caller: &Caller, named: Option<PlatformId>) -> Answer<PlatformId> {
    match (&caller.scope, named) {
        (Scope::Platform(own), None) => Ok(own.clone()),
        (Scope::Platform(own), Some(named)) if *own == named => Ok(named),
        (Scope::Ops, Some(named)) if api.registry.platform(&named).is_some() => Ok(named),
        (Scope::Ops, None) => Err(Fault::missing("platform", "named, when ops submit").into()),
        (_, Some(named)) => Err(Fault::not("platform", named.as_str(), "a known platform").into()),
        (Scope::Lab(_), None) => Err(Problem::not_found()),
    }
}

/// An order that was submitted, as it stands now.
pub(super) struct Submitted {
    /// The order.
    pub(super) facts: Box<OrderFacts>,
    /// Whether it can be stopped.
    pub(super) verdict: Verdict,
    /// False for one that was there.
    pub(super) new: bool,
}

/// Admits one order, or finds the one that was there.
pub(super) async fn submit(
    api: &Api,
    platform: PlatformId,
    submission: &Submission,
    actor: &Actor,
) -> Answer<Submitted> {
    let now = api.clock.now();
    let admission = prepare(api, &platform, submission, actor, now)?;
    let mut outcomes = admit(api, vec![admission]).await?;
    let (facts, new) =
        match outcomes.pop().ok_or_else(|| Problem::unexpected("an order without an outcome"))? {
            Outcome::New(facts) => (facts, true),
            Outcome::Same(id) => {
                (Box::new(find(api, &Scope::Platform(platform), OrderRef::Id(id)).await?), false)
            }
            Outcome::Refused(problem) => return Err(problem),
        };
    let verdict = judge(api, &facts, !new, api.clock.now()).await?;
    Ok(Submitted { facts, verdict, new })
}

/// An order that was checked, with what it takes to find its next window.
pub(super) struct Prepared {
    admission: Arc<Admission>,
    entry: Arc<LabEntry>,
    direct: bool,
}

/// What became of an order.
pub(super) enum Outcome {
    /// It is durable.
    New(Box<OrderFacts>),
    /// It was there.
    Same(OrderId),
    /// It was not admitted.
    Refused(Problem),
}

/// Checks a submission and computes its window: nothing is stored yet.
pub(super) fn prepare(
    api: &Api,
    platform: &PlatformId,
    submission: &Submission,
    actor: &Actor,
    now: Timestamp,
) -> Answer<Prepared> {
    let mut faults = submission.faults();
    let Some(entry) = api.registry.lab(&submission.lab) else {
        faults.push(unknown(api, &submission.lab));
        return Err(faults.into());
    };
    let country = submission.ship_to.as_ref().map(|address| address.country.as_str());
    let region = match entry.lab.region(submission.region.as_ref(), country) {
        Ok((region, _)) => region.id.clone(),
        Err(fault) => {
            faults.push(fault);
            return Err(faults.into());
        }
    };
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let direct = windows::is_direct(&entry.lab.spec, submission.transfer == Handing::Direct);
    let paid = submission.payment == Payment::Paid;
    let join = paid.then(|| join(api, &entry.lab, &region, direct, now)).transpose()?;
    let (document, sha256) = submission.document();
    let admission = Admission {
        id: OrderId::new(now, &*api.random),
        platform: platform.clone(),
        lab: submission.lab.clone(),
        region,
        reference: submission.reference.clone(),
        document,
        sha256: hex(&sha256),
        paid,
        join,
        at: now,
        actor: actor.clone(),
    };
    Ok(Prepared { admission: Arc::new(admission), entry, direct })
}

fn unknown(api: &Api, lab: &LabId) -> Fault {
    let known = api.registry.snapshot();
    let hint = nearest(lab.as_str(), known.labs.keys().map(LabId::as_str));
    let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
    Fault::new("lab", format!("{:?} is not a known lab{hint}", lab.as_str()))
}

/// The window of a region as of an instant.
pub(super) fn join(
    api: &Api,
    lab: &Lab,
    region: &RegionId,
    direct: bool,
    at: Timestamp,
) -> Result<Joining, Fault> {
    let (region, calendar) = lab.region(Some(region), None)?;
    windows::joining(lab, (&region.id, calendar), direct, at, &*api.random)
}

/// Admits orders in one commit, and those whose window closed meanwhile in the next.
pub(super) async fn admit(api: &Api, mut prepared: Vec<Prepared>) -> Answer<Vec<Outcome>> {
    let mut outcomes: Vec<Option<Outcome>> = prepared.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..prepared.len()).collect();
    for _ in 0..windows::TRIES {
        let writes = open.iter().map(|at| Write::Admit(Arc::clone(&prepared[*at].admission))).collect();
        let written = api.store.apply(writes).await?;
        let mut again = Vec::new();
        for (at, written) in std::mem::take(&mut open).into_iter().zip(written) {
            let Written::Admitted(admitted) = written else {
                return Err(Problem::unexpected("not an admission"));
            };
            outcomes[at] = Some(match admitted {
                Admitted::New { batch } => {
                    let admission = &prepared[at].admission;
                    // A batch with our fresh id was not there before: its cutoff is news.
                    if batch
                        .as_ref()
                        .is_some_and(|b| admission.join.as_ref().is_some_and(|j| j.batch == b.id))
                    {
                        api.nudge.closes.ring();
                    }
                    Outcome::New(Box::new(facts(admission, batch.map(Arc::unwrap_or_clone))))
                }
                Admitted::Same(id) => Outcome::Same(id),
                Admitted::Differs(id) => {
                    let text = format!("The reference names order {id}, which has other content.");
                    Outcome::Refused(Problem::new(Code::ReferenceTaken, text).with("order", id))
                }
                Admitted::WindowClosed => {
                    again.push(at);
                    continue;
                }
            });
        }
        if again.is_empty() {
            break;
        }
        let now = api.clock.now();
        for at in again {
            let Prepared { admission, entry, direct } = &mut prepared[at];
            let from = windows::after_closed(admission.join.as_ref(), now);
            match join(api, &entry.lab, &admission.region, *direct, from) {
                Ok(joining) => {
                    let moved = Admission { join: Some(joining), at: now, ..Admission::clone(admission) };
                    *admission = Arc::new(moved);
                    open.push(at);
                }
                Err(fault) => outcomes[at] = Some(Outcome::Refused(fault.into())),
            }
        }
    }
    let closing = || Problem::new(Code::Unavailable, "Its windows kept closing.").retry_after(1);
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Outcome::Refused(closing()))).collect())
}

/// What is stored of an order that was just admitted.
fn facts(admission: &Admission, batch: Option<BatchFacts>) -> OrderFacts {
    OrderFacts {
        id: admission.id.clone(),
        platform: admission.platform.clone(),
        lab: admission.lab.clone(),
        region: admission.region.clone(),
        reference: admission.reference.clone(),
        document: admission.document.clone(),
        admitted_at: admission.at,
        paid: admission.paid,
        held: Held::No,
        stage: Stage::Received,
        // As the store counts: the order's own changes and its batch's.
        version: 1 + batch.as_ref().map_or(0, |batch| batch.version),
        batch,
        transfer: None,
        stop: None,
    }
}

/// An order within a scope.
pub(super) async fn find(api: &Api, scope: &Scope, which: OrderRef) -> Answer<OrderFacts> {
    if matches!((&which, scope), (OrderRef::Reference(_), Scope::Ops | Scope::Lab(_))) {
        let text = "References are a platform's own: they need its key. Name the order by its id.";
        return Err(Problem::new(Code::NotFound, text));
    }
    let mut found = api.store.orders(scope, std::slice::from_ref(&which)).await?;
    found.pop().flatten().ok_or_else(Problem::not_found)
}

/// What the lab reported of an order, as it came.
pub(super) async fn reports(api: &Api, facts: &OrderFacts) -> Answer<Vec<ReportRow>> {
    if facts.stage == Stage::Received {
        return Ok(Vec::new());
    }
    Ok(api.store.reports(&facts.id).await?)
}

/// Reads how a caller names an order: its id, or `@` and the platform's reference.
pub(super) fn named(text: &str) -> Answer<OrderRef> {
    match text.strip_prefix('@') {
        Some(reference) if !may_name(reference) => Err(Problem::not_found()),
        Some(reference) => Ok(OrderRef::Reference(reference.to_owned())),
        None => OrderId::parse(text).map(OrderRef::Id).map_err(|_| Problem::not_found()),
    }
}

/// Whether an order can have this reference: no other reaches the database.
pub(super) fn may_name(reference: &str) -> bool {
    reference.chars().count() <= 128 && !reference.chars().any(char::is_control)
}

/// The verdict on an order, with the lab's history where it decides and `history` is wanted.
pub(super) async fn judge(api: &Api, facts: &OrderFacts, history: bool, now: Timestamp) -> Answer<Verdict> {
    let entry = api.registry.lab(&facts.lab);
    let unknown = entry.is_none().then(|| unknown_lab(facts.lab.clone()));
    let Some(lab) = entry.as_ref().map(|entry| &entry.lab.spec).or(unknown.as_ref()) else {
        return Err(Problem::unexpected("a lab is neither known nor unknown"));
    };
    let platform = api.registry.platform(&facts.platform);
    let handed_at = facts.transfer.as_ref().and_then(|transfer| transfer.handed_at);
    let odds = match handed_at {
        Some(handed_at) if history && wants_odds(facts, lab) => {
            let elapsed_us = now.as_microsecond() - handed_at.as_microsecond();
            let row = api.store.odds(&facts.lab, elapsed_us.max(0)).await?;
            Some((row.asked, row.stopped))
        }
        _ => None,
    };
    let mut verdict = verdict(facts, lab, platform.as_ref().map(|platform| &platform.spec), odds, now);
    if let (Some(next), None, CanStop::AskPerson) = (&mut verdict.next, &facts.stop, verdict.can_stop)
        && let Some(due) = entry.and_then(|entry| entry.lab.answer_due(&facts.region, now))
    {
        next.due(due);
    }
    Ok(verdict)
}
