//! What labs report, and what people decide.

use serde_json::json;

use super::rows;
use super::settle::{Detail, Moving, move_transfers};
use super::stop::{self, Decided, lock_transfer, shipped_anyway};
use super::{Trail, ids, rows_fetch, rows_run_all};
use crate::domain::batch::{Next, TransferPhase, later, settle};
use crate::domain::lab::Answer;
use crate::domain::order::Stage;
use crate::domain::stop::{Evidence, StopState};
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{
    PersonDecision, Report, Reported, Resolve, Resolved, Scope, SettleStop, StopSettled, Written,
};

/// Takes a lab's report on an order: it merges by rank and never goes back.
pub(super) async fn report<S: Session>(s: &mut S, trail: &mut Trail, item: &Report) -> Result<Written> {
    let reported = |reported| Ok(Written::Reported(reported));
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
    if let (None, Some(id)) = (&transfer, &standing.transfer) {
        // It was claimed between the look and the lock.
        transfer = lock_transfer(s, id).await?;
    }
    // What once was meant to leave can be with the lab, even if that was taken to be disproven.
    let handed = transfer.is_some();
    let news = transfer.as_ref().is_some_and(|t| t.facts.phase != TransferPhase::AtLab);
    let stopped = standing.stop == Some(StopState::Stopped);
    if item.stage <= standing.stage && !news && (handed || item.stage > Stage::Received) {
        return reported(Reported::Unchanged);
    }
    let contrary = stopped && item.stage > Stage::Received;
    let kind = match item.stage {
        Stage::Received => "order.received",
        Stage::InProduction => "order.in_production",
        Stage::Printed => "order.printed",
        Stage::Shipped => "order.shipped",
    };
    let detail = json!({"reported_at": item.reported_at, "reference": item.reference, "handed": handed});
    let head =
        trail.add(&standing.head, item.at, (standing.id.as_str(), &standing.lab), kind, &item.actor, &detail);
    let row = json!({
        "id": standing.id, "was": standing.head, "head": head, "batch": standing.batch, "transfer": standing.transfer,
        "paid": i64::from(standing.paid), "held": standing.held.code(),
        // What was told stopped stays told stopped; the report is kept beside it.
        "stage": if handed { item.stage.max(standing.stage).code() } else { standing.stage.code() },
        "stop": standing.stop.map_or(0, StopState::code), "version": standing.version + 1,
    });
    rows_run_all(s, s.sql().standing_update, &[row], "standings").await?;
    if contrary {
        shipped_anyway(
            trail,
            &item.escalation,
            &standing,
            "the lab reports that it makes an order that was told stopped",
            item.at,
        );
    }
    if let Some(transfer) = transfer.filter(|_| handed) {
        let answer = Answer::WillPrint { reason: None, stage: item.stage };
        if let Some(next) = settle(&transfer.facts, transfer.facts.fence, &answer) {
            let moving =
                Moving::answered(transfer, next, item.at, &item.actor, &answer, Some(&item.escalation));
            move_transfers(s, trail, vec![moving]).await?;
        }
    }
    if item.stage == Stage::Shipped
        && matches!(standing.stop, Some(StopState::Pending | StopState::WithAPerson))
    {
        let rows = rows_fetch(s, s.sql().stop_of_orders, &ids([standing.id.as_str()])).await?;
        for row in rows {
            let mut facts = rows::stop(&mut row.of("stops"))?;
            let decided = Decided {
                state: StopState::TooLate,
                evidence: Some(Evidence::Shipped),
                answer: None,
                at: item.at,
                actor: &item.actor,
            };
            let (stop, row) = decided.apply(trail, &mut facts, &standing.lab, &head);
            rows_run_all(s, s.sql().stop_update, &[stop], "stops").await?;
            rows_run_all(s, s.sql().standing_stop, &[row], "standings").await?;
            let args = [
                facts.id.as_str().into(),
                item.at.into(),
                facts.state.word().into(),
                "the lab reports that it was shipped".into(),
                item.actor.0.as_str().into(),
            ];
            s.run(s.sql().escalation_resolve_subject, &args).await?;
        }
    }
    reported(match (contrary, handed) {
        (true, _) => Reported::ShippedAnyway,
        (false, false) => Reported::NotHanded,
        (false, true) => Reported::Done,
    })
}

/// Takes a person's decision.
pub(super) async fn resolve<S: Session>(s: &mut S, trail: &mut Trail, item: &Resolve) -> Result<Written> {
    use PersonDecision::{HandedOver, NotHanded, Noted, Stopped, TooLate};
    let resolved = |resolved| Ok(Written::Resolved(resolved));
    let Some(row) = s.fetch(s.sql().escalation_lock, &[item.escalation.as_str().into()]).await?.pop() else {
        return resolved(Resolved::NotFound);
    };
    let escalation = rows::escalation(row)?;
    if escalation.resolved_at.is_some() {
        return resolved(Resolved::Already);
    }
    let fits = match escalation.kind.as_str() {
        "stop" => matches!(item.decision, Stopped | TooLate),
        "transfer" => matches!(item.decision, HandedOver | NotHanded),
        _ => item.decision == Noted,
    };
    if !fits {
        return resolved(Resolved::DoesNotFit { kind: escalation.kind });
    }
    let word = serde_json::to_value(item.decision).unwrap_or_default();
    let word = word.as_str().unwrap_or_default().to_owned();
    let args = [
        item.escalation.as_str().into(),
        item.at.into(),
        (&word).into(),
        (&item.reason).into(),
        (&item.actor.0).into(),
    ];
    s.run(s.sql().escalation_resolve, &args).await?;
    match item.decision {
        Stopped | TooLate => {
            let stop = crate::domain::ids::StopId::parse(&escalation.subject).map_err(|fault| {
                crate::store::Error::Corrupt { table: "escalations", what: fault.to_string() }
            })?;
            let reason = Some(item.reason.clone());
            let answer = if item.decision == Stopped {
                Answer::Removed { reason }
            } else {
                Answer::WillPrint { reason, stage: Stage::Received }
            };
            let settle = SettleStop {
                stop,
                scope: Scope::Ops,
                answer,
                person: true,
                asked: None,
                at: item.at,
                next_at: item.at,
                actor: item.actor.clone(),
                escalation: item.escalation.clone(),
            };
            if let Written::StopSettled(settled) = stop::settle(s, trail, &settle).await?
                && matches!(*settled, StopSettled::Late(_))
            {
                return resolved(Resolved::Already);
            }
        }
        HandedOver | NotHanded => {
            if let Some(mut was) = lock_transfer(s, &escalation.subject).await? {
                let next = if item.decision == HandedOver {
                    Next {
                        phase: TransferPhase::AtLab,
                        fence: was.facts.fence,
                        unresolved: 0,
                        attempts: was.facts.attempts,
                    }
                } else {
                    // A person lets it go again: with all the time and all the attempts of a new one.
                    let profiles = stop::profiles(s, &[was.facts.lab.as_str()]).await?;
                    let profile = profiles.into_values().next().unwrap_or_default();
                    was.facts.deadline_at = later(item.at, profile.handover_within.0);
                    was.facts.attempts = 0;
                    Next {
                        phase: TransferPhase::Closed,
                        fence: was.facts.fence + 1,
                        unresolved: 0,
                        attempts: was.facts.attempts,
                    }
                };
                if was.facts.phase == TransferPhase::WithAPerson {
                    let detail = Detail {
                        decision: Some(&word),
                        reason: Some(item.reason.as_str()),
                        ..Detail::default()
                    };
                    let (actor, at) = (&item.actor, item.at);
                    let moving = Moving {
                        was,
                        next,
                        next_at: at,
                        at,
                        actor,
                        detail,
                        escalation: None,
                        contradicts: false,
                        decides: false,
                    };
                    move_transfers(s, trail, vec![moving]).await?;
                }
            }
        }
        Noted => {
            // The chain of what it is about is not continued here: the note stands on the escalation's id.
            trail.add(
                "",
                item.at,
                (item.escalation.as_str(), escalation.lab.as_str()),
                "escalation.noted",
                &item.actor,
                &json!({"subject": escalation.subject, "kind": escalation.kind, "reason": item.reason}),
            );
        }
    }
    resolved(Resolved::Done)
}
