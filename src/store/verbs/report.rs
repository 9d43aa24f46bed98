//! What labs report of orders: it merges by rank, and contradicts nothing silently.
//!
//! Every report is kept with the lab's own time beside ours, unless it is the same as one before. A report
//! that speaks against what a platform was told changes nothing of that; it calls a person, and shows both.

use jiff::Timestamp;
use serde_json::json;

use super::place::{Decided, Place};
use super::rows;
use super::settle::{Moving, move_transfers};
use super::stop::{self, Standing, lock_transfer};
use super::{About, Trail, ids, parts, rows_fetch, rows_run_all};
use crate::domain::batch::{TransferPhase, later, settle};
use crate::domain::ids::{EscalationId, OrderId};
use crate::domain::lab::Answer;
use crate::domain::order::Stage;
use crate::domain::stop::{Evidence, StopFacts, StopState};
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{CLOCKS_DIFFER, EscalationRow, Piece, Report, ReportRow, Reported, Scope, Written};

/// So many reports of one order are kept.
const KEPT_MAX: usize = 50;

/// What a lab reported of an order, as it came.
pub(in crate::store) async fn reports<S: Session>(s: &mut S, order: &OrderId) -> Result<Vec<ReportRow>> {
    let found = s.fetch(s.sql().report_of_order, &[order.as_str().into()]).await?;
    found
        .into_iter()
        .map(|row| {
            let mut row = row.of("reports");
            Ok(ReportRow {
                stage: row.coded(Stage::from_code)?,
                reported_at: row.opt_at()?,
                received_at: row.at()?,
                reference: row.text()?,
                actor: row.text()?,
                contrary: row.flag()?,
            })
        })
        .collect()
}

/// The contradictions about orders, stops and transfers.
pub(in crate::store) async fn contradictions<S: Session>(
    s: &mut S,
    subjects: &[String],
) -> Result<Vec<EscalationRow>> {
    let rows = ids(subjects.iter().map(String::as_str));
    rows_fetch(s, s.sql().escalation_of_subjects, &rows).await?.into_iter().map(rows::escalation).collect()
}

fn kind(stage: Stage) -> &'static str {
    match stage {
        Stage::Received => "order.received",
        Stage::InProduction => "order.in_production",
        Stage::Printed => "order.printed",
        Stage::Shipped => "order.shipped",
    }
}

/// Whether a report speaks against a granted stop. That an order was in production *before* the lab took
/// it out, told late, does not.
fn contradicts(item: &Report, standing: &Standing, stop: Option<&StopFacts>) -> bool {
    if item.stage == Stage::Received || standing.stop != Some(StopState::Stopped) {
        return false;
    }
    let taken_out = stop.is_some_and(|stop| {
        matches!(stop.evidence, Some(Evidence::LabRemoved | Evidence::PersonConfirmed))
            && stop.decided_at.is_some_and(|decided| item.reported_at < decided)
    });
    item.stage > Stage::InProduction || !taken_out || item.reported_at == item.at
}

/// Takes a lab's report on an order.
pub(super) async fn report<S: Session>(s: &mut S, trail: &mut Trail, item: &Report) -> Result<Written> {
    let reported = |reported| Ok(Written::Reported(reported));
    if matches!(item.scope, Scope::Platform(_)) {
        return reported(Reported::NotFound);
    }
    // A first look without a lock, because the transfer is locked before the order.
    let transfer = match s.fetch(s.sql().standing_peek, &[item.order.as_str().into()]).await?.pop() {
        Some(mut row) => row.opt_text()?,
        None => return reported(Reported::NotFound),
    };
    let mut transfer = match transfer {
        Some(id) => lock_transfer(s, &id).await?,
        None => None,
    };
    let Some(standing) =
        stop::lock(s, &[item.order.as_str()]).await?.pop().filter(|found| found.within(&item.scope))
    else {
        return reported(Reported::NotFound);
    };
    let earliest = standing.admitted_at.checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN);
    if !(earliest..=later(item.at, CLOCKS_DIFFER)).contains(&item.reported_at) {
        return reported(Reported::BadTime { from: standing.admitted_at, to: item.at });
    }
    if let (None, Some(id)) = (&transfer, &standing.transfer) {
        // It was claimed between the look and the lock.
        transfer = lock_transfer(s, id).await?;
    }
    let asked = match standing.stop {
        None => None,
        Some(_) => rows_fetch(s, s.sql().stop_of_orders, &ids([standing.id.as_str()]))
            .await?
            .pop()
            .map(|row| rows::stop(&mut row.of("stops")))
            .transpose()?,
    };
    // What once was meant to leave can be with the lab, even if that was taken to be disproven.
    let handed = transfer.is_some();
    let news = transfer.as_ref().is_some_and(|t| t.facts.phase != TransferPhase::AtLab);
    let rises = handed && item.stage > standing.stage;
    let contrary = contradicts(item, &standing, asked.as_ref());
    let outcome = match (contrary, handed, rises || news) {
        (true, ..) => Reported::ShippedAnyway,
        (false, false, _) => Reported::NotHanded,
        (false, true, true) => Reported::Done,
        (false, true, false) => Reported::Unchanged,
    };
    let known = reports(s, &standing.id).await?;
    let reference = item.reference.clone().unwrap_or_default();
    let told = (item.reported_at != item.at).then_some(item.reported_at);
    let same = known.iter().any(|row| {
        row.stage == item.stage
            && row.reported_at == told
            && row.reference == reference
            && row.contrary == contrary
    });
    let full = known.len() >= KEPT_MAX && (!contrary || known.iter().any(|row| row.contrary));
    if !rises && !news && (same || full) {
        return reported(if handed { Reported::Unchanged } else { Reported::NotHanded });
    }

    let detail = json!({"reported_at": item.reported_at, "reference": item.reference, "handed": handed,
        "stage": item.stage, "contradicts": asked.as_ref().filter(|_| contrary).map(|stop| &stop.id)});
    let moves = rises || !handed || contrary;
    let head = trail.add(
        &standing.head,
        item.at,
        (standing.id.as_str(), &standing.lab),
        if moves { kind(item.stage) } else { "order.report" },
        &item.actor,
        &detail,
    );
    let row = json!({"order": standing.id, "nth": known.len(), "stage": item.stage.code(),
        "reported_at": told.map(stop::micros), "received_at": stop::micros(item.at), "reference": reference,
        "actor": item.actor.0, "contrary": i64::from(contrary)});
    rows_run_all(s, s.sql().report_insert, &[row], "reports").await?;
    // What was told stopped stays told stopped; the report is kept beside it.
    let stage = if handed { item.stage.max(standing.stage) } else { standing.stage };
    rows_run_all(s, s.sql().standing_update, &[standing.at_stage(stage, &head)], "standings").await?;
    if contrary {
        let cause = "the lab reports that it makes an order that was told stopped";
        contradiction(s, trail, &item.escalation, &standing, ("shipped_anyway", cause), item.at).await?;
    } else if !handed && item.stage > Stage::Received {
        let cause = "the lab reports that it makes an order that was never handed over to it";
        contradiction(s, trail, &item.escalation, &standing, ("contradiction", cause), item.at).await?;
    }
    if let Some(transfer) = transfer {
        let answer = Answer::WillPrint { reason: None, stage: item.stage };
        if let Some(next) = settle(&transfer.facts, transfer.facts.fence, &answer) {
            let moving =
                Moving::answered(transfer, next, item.at, &item.actor, &answer, Some(&item.escalation));
            move_transfers(s, trail, vec![moving]).await?;
        }
    }
    ends(s, trail, item, asked, &standing, &head).await?;
    reported(outcome)
}

/// What is printed cannot be kept from being printed: the stops that wait for an answer have it.
async fn ends<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &Report,
    asked: Option<StopFacts>,
    standing: &Standing,
    head: &str,
) -> Result<()> {
    let (evidence, reason) = match item.stage {
        Stage::Received | Stage::InProduction => return Ok(()),
        Stage::Printed => (Evidence::InProduction, "the lab reports that it was printed"),
        Stage::Shipped => (Evidence::Shipped, "the lab reports that it was shipped"),
    };
    let decided = Decided {
        state: StopState::TooLate,
        evidence: Some(evidence),
        answer: None,
        at: item.at,
        actor: &item.actor,
    };
    let mut place = Place::new(&standing.id, head, standing.lines_out.clone());
    let mut stops = Vec::new();
    let open = |facts: &StopFacts| matches!(facts.state, StopState::Pending | StopState::WithAPerson);
    if let Some(mut facts) = asked.filter(open) {
        stops.push(decided.apply(trail, &mut facts, &standing.lab, &mut place));
        parts::resolved(s, &facts, &decided, reason).await?;
    }
    let of = (&standing.id, standing.lab.as_str());
    stops.extend(parts::with_the_order(s, trail, of, &mut place, &decided).await?);
    if stops.is_empty() {
        return Ok(());
    }
    rows_run_all(s, s.sql().stop_update, &stops, "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await
}

/// Calls a person because the last entry of an order contradicts what was told of it before, and shows both.
pub(super) async fn contradiction<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    id: &EscalationId,
    standing: &Standing,
    (kind, cause): (&str, &str),
    at: Timestamp,
) -> Result<()> {
    let told = standing.stop.map_or("order.admitted", stop::kind);
    let mut evidence = known(s, trail, standing.id.as_str(), told).await?;
    evidence.extend(trail.pieces(standing.id.as_str()).pop());
    let about =
        About { subject: standing.id.as_str(), order: Some(standing.id.as_str()), lab: &standing.lab };
    trail.escalate(id, kind, &about, cause, at, at);
    trail.show(&evidence);
    Ok(())
}

/// The last entry of a kind in the log of a subject, in this transaction or before it.
pub(super) async fn known<S: Session>(
    s: &mut S,
    trail: &Trail,
    subject: &str,
    kind: &str,
) -> Result<Vec<Piece>> {
    if let Some(piece) = trail.pieces(subject).into_iter().rfind(|piece| piece.kind == kind) {
        return Ok(vec![piece]);
    }
    let mut found = None;
    for row in rows_fetch(s, s.sql().event_of_subjects, &ids([subject])).await? {
        let event = rows::event(row)?;
        if event.kind == kind {
            found = Some(Piece { at: event.at, kind: event.kind, actor: event.actor, detail: event.detail });
        }
    }
    Ok(found.into_iter().collect())
}
