//! What people decide.

use serde_json::json;

use super::rows;
use super::settle::{Detail, Moving, move_transfers};
use super::stop::{self, lock_transfer};
use super::{Trail, addresses, answers, downloads};
use crate::domain::address::AddressState;
use crate::domain::batch::{Next, TransferPhase, later};
use crate::domain::downloads::DownloadWord;
use crate::domain::lab::Answer;
use crate::domain::order::Stage;
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{PersonDecision, Resolve, Resolved, Scope, SettleStop, StopSettled, Written};

/// Takes a person's decision.
pub(super) async fn resolve<S: Session>(s: &mut S, trail: &mut Trail, item: &Resolve) -> Result<Written> {
    use PersonDecision::{Fetched, HandedOver, NotHanded, Noted, Refused, Revoked, Stopped, Taken, TooLate};
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
        "download" => matches!(item.decision, Revoked | Fetched),
        addresses::KIND => matches!(item.decision, Taken | Refused),
        _ => item.decision == Noted,
    };
    if !fits {
        return resolved(Resolved::DoesNotFit { kind: escalation.kind });
    }
    let mut transfer = match item.decision {
        HandedOver | NotHanded => lock_transfer(s, &escalation.subject).await?,
        _ => None,
    };
    // What was found out since is not undone by a decision that knew nothing of it.
    if let Some(phase) = transfer.as_ref().map(|was| was.facts.phase)
        && phase != TransferPhase::WithAPerson
        && !(phase == TransferPhase::AtLab && item.decision == HandedOver)
    {
        return resolved(Resolved::Stands { phase });
    }
    // What may be on its way still can come: nobody can know yet that it did not.
    if let Some(facts) = transfer.as_ref().map(|was| &was.facts)
        && item.decision == NotHanded
        && facts.unresolved > 0
        && item.at < facts.horizon_at
    {
        return resolved(Resolved::TooEarly { until: facts.horizon_at });
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
                Answer::Removed { reason, items: Vec::new() }
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
                escalation: item.next.clone(),
            };
            if let Written::StopSettled(settled) = answers::settle_by(s, trail, &settle, true).await?
                && matches!(*settled, StopSettled::Late(_))
            {
                return resolved(Resolved::Already);
            }
        }
        HandedOver | NotHanded => {
            if let Some(mut was) = transfer.take().filter(|was| was.facts.phase == TransferPhase::WithAPerson)
            {
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
                let detail =
                    Detail { decision: Some(&word), reason: Some(item.reason.as_str()), ..Detail::default() };
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
        Revoked | Fetched => {
            let word =
                if item.decision == Revoked { DownloadWord::Deactivated } else { DownloadWord::Fetched };
            let by = (&item.actor, item.at);
            if !downloads::found_out(s, trail, (&escalation.subject, word, &item.reason), by).await? {
                return resolved(Resolved::Already);
            }
        }
        Taken | Refused => {
            let state = if item.decision == Taken { AddressState::Taken } else { AddressState::Refused };
            let by = (&item.actor, item.at, &item.next);
            if !addresses::found_out(s, trail, (&escalation.subject, state, &item.reason), by).await? {
                return resolved(Resolved::Already);
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
