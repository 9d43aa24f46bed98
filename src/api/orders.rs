//! Orders, whatever they come over: admitted, found, judged.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::auth::Caller;
use super::problem::{Answer, Code, Problem};
use super::registry::{LabEntry, unknown_lab};
use super::{Api, routes, windows};
use crate::clock::Random;
use crate::domain::batch::{BatchFacts, Joining};
use crate::domain::downloads;
use crate::domain::event::{Actor, hex};
use crate::domain::extras::Extras;
use crate::domain::ids::{LabId, OrderId, PlatformId, RegionId};
use crate::domain::lab::{Lab, Place};
use crate::domain::lines;
use crate::domain::order::{Handing, Held, OrderFacts, Payment, Stage, Submission};
use crate::domain::stop::StopFacts;
use crate::domain::verdict::{self, CanStop, Verdict, verdict, wants_odds};
use crate::domain::{Fault, nearest};
use crate::store::{self, Admission, Admitted, CloseFull, OrderRef, ReportRow, Scope, Write, Written};

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
    let outcome = match prepare(api, &platform, submission, actor, now) {
        Ok(admission) => admit(api, vec![admission]).await?.pop(),
        Err(problem) if problem.code() == Code::NoRoute => {
            Some(routes::known(api, &platform, submission, problem).await?)
        }
        Err(problem) => return Err(problem),
    };
    let (facts, new) = match outcome.ok_or_else(|| Problem::unexpected("an order without an outcome"))? {
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
    pub(super) admission: Arc<Admission>,
    entry: Arc<LabEntry>,
    direct: bool,
    /// The places that its items belong to.
    places: Vec<RegionId>,
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
    let lab = match (&submission.lab, &submission.need) {
        (Some(lab), None) => lab,
        (None, Some(_)) if faults.is_empty() => {
            return routes::prepare(api, platform, submission, actor, now);
        }
        (Some(_), Some(_)) => {
            faults
                .push(Fault::new("need", "is given beside `lab`; an order names its lab, or what it needs"));
            return Err(faults.into());
        }
        _ => return Err(faults.into()),
    };
    let Some(entry) = api.registry.lab(lab) else {
        faults.push(unknown(api, lab));
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
    let (document, sha256) = submission.document();
    let content = Content { document, sha256: hex(&sha256), route: None };
    prepared(api, platform, submission, (entry, region), content, actor, now)
}

/// What is stored of a submission.
pub(super) struct Content {
    /// The document.
    pub(super) document: String,
    /// The hash of what was submitted, hex.
    pub(super) sha256: String,
    /// How lab and region were chosen, if they were.
    pub(super) route: Option<Box<RawValue>>,
}

/// The rest of the preparation, once lab and region are known.
pub(super) fn prepared(
    api: &Api,
    platform: &PlatformId,
    submission: &Submission,
    (entry, region): (Arc<LabEntry>, RegionId),
    content: Content,
    actor: &Actor,
    now: Timestamp,
) -> Answer<Prepared> {
    let places = entry.lab.places_of(&region, &submission.items, submission.service_level.as_ref())?;
    let places: Vec<RegionId> = places.iter().map(|place| place.id.clone()).collect();
    let direct = windows::is_direct(&entry.lab.spec, submission.transfer == Handing::Direct);
    let paid = submission.payment == Payment::Paid;
    let join = paid.then(|| join(&*api.random, &entry.lab, &places, direct, now)).transpose()?;
    let admission = Admission {
        id: OrderId::new(now, &*api.random),
        platform: platform.clone(),
        lab: entry.lab.spec.id.clone(),
        region,
        reference: submission.reference.clone(),
        document: content.document,
        sha256: content.sha256,
        paid,
        join,
        route: content.route,
        at: now,
        actor: actor.clone(),
    };
    Ok(Prepared { admission: Arc::new(admission), entry, direct, places })
}

fn unknown(api: &Api, lab: &LabId) -> Fault {
    let known = api.registry.snapshot();
    let hint = nearest(lab.as_str(), known.labs.keys().map(LabId::as_str));
    let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
    Fault::new("lab", format!("{:?} is not a known lab{hint}", lab.as_str()))
}

/// The window, as of an instant, of an order whose items belong to these places of one region.
fn join(
    random: &dyn Random,
    lab: &Lab,
    places: &[RegionId],
    direct: bool,
    at: Timestamp,
) -> Result<Joining, Fault> {
    let places: Vec<&Place> = places.iter().filter_map(|place| lab.place(place)).collect();
    windows::joining(lab, &places, direct, at, random)
}

/// The window that an order of a region, of which this is the content, would join as of an instant.
pub(super) fn window(
    random: &dyn Random,
    lab: &Lab,
    region: &RegionId,
    submission: &Submission,
    at: Timestamp,
) -> Answer<Joining> {
    let direct = windows::is_direct(&lab.spec, submission.transfer == Handing::Direct);
    let places = lab.places_of(region, &submission.items, submission.service_level.as_ref());
    let places: Vec<RegionId> = match places {
        Ok(places) => places.iter().map(|place| place.id.clone()).collect(),
        // The lab has changed since the order was taken: it is taken still, as what is in no group.
        Err(_) => vec![region.clone()],
    };
    Ok(join(random, lab, &places, direct, at)?)
}

/// The reference of an order is that of another one.
pub(super) fn taken(order: &OrderId) -> Problem {
    let text = format!("The reference names order {order}, which has other content.");
    Problem::new(Code::ReferenceTaken, text).with("order", order)
}

/// Closes a batch before its cutoff, if it promised nothing and is full.
pub(super) async fn close_if_full(api: &Api, batch: &BatchFacts) -> Answer<()> {
    if batch.promised || batch.direct {
        return Ok(());
    }
    let size = api.registry.lab(&batch.lab).and_then(|entry| entry.lab.place(&batch.region)?.batch_max);
    let Some(size) = size else { return Ok(()) };
    let full = CloseFull { batch: batch.id.clone(), orders: size.into(), at: api.clock.now() };
    if let Written::Closed(closed) = store::one(&*api.store, Write::CloseFull(Box::new(full))).await?
        && let Some(closed) = closed.first()
    {
        tracing::info!(batch = %closed.id, lab = %closed.lab, region = %closed.region, orders = size, "batch closed: full");
        api.nudge.transfers.ring();
    }
    Ok(())
}

/// Admits orders in one commit, and those whose window closed meanwhile in the next.
pub(super) async fn admit(api: &Api, mut prepared: Vec<Prepared>) -> Answer<Vec<Outcome>> {
    let mut outcomes: Vec<Option<Outcome>> = prepared.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..prepared.len()).collect();
    // Batches that promised nothing, to which orders came.
    let mut filling: Vec<BatchFacts> = Vec::new();
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
                    if let Some(batch) = batch.as_ref().filter(|batch| !batch.promised)
                        && filling.iter().all(|known| known.id != batch.id)
                    {
                        filling.push(BatchFacts::clone(batch));
                    }
                    Outcome::New(Box::new(facts(admission, batch.map(Arc::unwrap_or_clone))))
                }
                Admitted::Same(id) => Outcome::Same(id),
                Admitted::Differs(id) => Outcome::Refused(taken(&id)),
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
            let Prepared { admission, entry, direct, places } = &mut prepared[at];
            let from = windows::after_closed(admission.join.as_ref(), now);
            match join(&*api.random, &entry.lab, places, *direct, from) {
                Ok(joining) => {
                    let moved = Admission { join: Some(joining), at: now, ..Admission::clone(admission) };
                    *admission = Arc::new(moved);
                    open.push(at);
                }
                Err(fault) => outcomes[at] = Some(Outcome::Refused(fault.into())),
            }
        }
    }
    for batch in &filling {
        // The orders are in: what cannot be closed early now closes with the next one, or at the cutoff.
        if let Err(problem) = close_if_full(api, batch).await {
            tracing::warn!(batch = %batch.id, detail = problem.document().detail, "a full batch was not closed early");
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
        lines_out: Vec::new(),
        extras: Extras::default(),
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

/// The stops of an order that name lines, oldest first. There can be none of one that has not left and of which no
/// line is out.
pub(super) async fn line_stops(api: &Api, facts: &OrderFacts) -> Answer<Vec<StopFacts>> {
    if facts.transfer.is_none() && facts.lines_out.is_empty() {
        return Ok(Vec::new());
    }
    Ok(api.store.line_stops(&facts.id).await?)
}

/// The lines that were asked about, and are not decided.
async fn open_lines(api: &Api, facts: &OrderFacts) -> Answer<Vec<String>> {
    let stops = line_stops(api, facts).await?.into_iter().filter(|stop| !stop.state.is_decided());
    Ok(stops.flat_map(|stop| stop.items.unwrap_or_default()).collect())
}

/// The verdict on an order; where one order is asked about (`history`), with each line, and with the lab's history
/// where it decides.
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
    let platform = platform.as_ref().map(|platform| &platform.spec);
    let mut verdict = verdict(facts, lab, platform, odds, now);
    if history {
        let open = open_lines(api, facts).await?;
        verdict.lines = verdict::lines(facts, lab, platform, verdict.can_stop, &open);
    }
    if downloads::may_be_in(&facts.document) || !facts.extras.downloads.is_empty() {
        verdict.downloads = downloads::judge(&lines::read(&facts.document), &facts.extras.downloads);
    }
    if verdict.until.is_some()
        && let Some(entry) = &entry
    {
        promised_less(api, facts, entry, &mut verdict).await?;
    }
    if let (Some(next), None, CanStop::AskPerson) = (&mut verdict.next, &facts.stop, verdict.can_stop)
        && let Some(due) = entry.and_then(|entry| entry.lab.answer_due(&facts.region, now))
    {
        next.due(due);
    }
    Ok(verdict)
}

/// Where an order of several groups waits for the last of their cutoffs, it was promised no more than the first:
/// the log says which. Few orders are such ones, and only for these is it read.
async fn promised_less(api: &Api, facts: &OrderFacts, entry: &LabEntry, verdict: &mut Verdict) -> Answer<()> {
    let Some(batch) = facts.batch.as_ref().filter(|batch| !batch.direct) else { return Ok(()) };
    let of_groups = entry.lab.spec.regions.iter().any(|it| it.id == facts.region && !it.groups.is_empty());
    let Some(order) = of_groups.then(|| serde_json::from_str::<Submission>(&facts.document).ok()).flatten()
    else {
        return Ok(());
    };
    let places = entry.lab.places_of(&facts.region, &order.items, order.service_level.as_ref());
    if places.is_ok_and(|places| places.len() < 2) {
        return Ok(());
    }
    let log = api.store.log(&[facts.id.as_str()]).await?;
    let joined = log.iter().rev().filter(|event| event.detail["batch"] == batch.id.as_str());
    let mut untils = joined.filter_map(|event| event.detail["until"].as_str()?.parse::<Timestamp>().ok());
    let until = untils.next();
    if let Some(until) = until.filter(|until| *until < batch.closes_at) {
        let passed = until <= verdict.as_of;
        let local = entry.lab.calendar(&batch.region).map(|calendar| calendar.shown(until).0);
        verdict.until = Some(until).filter(|_| !passed);
        verdict.until_local = local.filter(|_| !passed);
    }
    Ok(())
}
