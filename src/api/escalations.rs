//! What waits for a person, and the person's decision, whatever it comes over.

use super::Api;
use super::auth::Caller;
use super::problem::{Answer, Code, Problem};
use super::words;
use crate::domain::ids::EscalationId;
use crate::store::{
    self, EscalationFilter, EscalationRow, PersonDecision, Resolve, Resolved, Write, Written,
};

/// Decides an escalation, and gives it as it is then.
pub(super) async fn resolve(
    api: &Api,
    caller: &Caller,
    escalation: EscalationId,
    decision: PersonDecision,
    reason: String,
) -> Answer<EscalationRow> {
    words::required("reason", &reason)?;
    let at = api.clock.now();
    let resolve = Resolve {
        escalation: escalation.clone(),
        next: EscalationId::new(at, &*api.random),
        decision,
        reason,
        at,
        actor: caller.actor.clone(),
    };
    let Written::Resolved(resolved) = store::one(&*api.store, Write::Resolve(Box::new(resolve))).await?
    else {
        return Err(Problem::unexpected("not an escalation"));
    };
    match resolved {
        Resolved::Done => {}
        Resolved::NotFound => return Err(Problem::not_found()),
        Resolved::Already => {
            return Err(Problem::new(Code::AlreadyDecided, "A person decided it before."));
        }
        Resolved::DoesNotFit { kind } => {
            let text = format!("An escalation of kind {kind} cannot be decided so.");
            return Err(Problem::new(Code::DecisionDoesNotFit, text).with("kind", kind));
        }
        Resolved::TooEarly { until } => {
            let text =
                format!("What was sent may still be on its way: it can be decided so from {until} on.");
            return Err(Problem::new(Code::DecisionDoesNotFit, text).with("until", until.to_string()));
        }
        Resolved::Stands { phase } => {
            let phase = phase.word();
            let text = format!("The transfer is {phase} by now, which was found out since.");
            return Err(Problem::new(Code::DecisionDoesNotFit, text).with("phase", phase));
        }
    }
    api.nudge.transfers.ring();
    api.nudge.stops.ring();
    let filter = EscalationFilter { id: Some(escalation), limit: 1, ..EscalationFilter::default() };
    api.store.escalations(&caller.scope, &filter).await?.pop().ok_or_else(Problem::not_found)
}
