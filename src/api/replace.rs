//! One order in the place of another, whatever it comes over.

use super::auth::Caller;
use super::changes::{joined, not_allowed};
use super::orders::{Outcome, find, judge, prepare};
use super::problem::{Answer, Code, Problem};
use super::{Api, routes, stops, words};
use crate::domain::Fault;
use crate::domain::ids::{EscalationId, HoldId, OrderId, StopId};
use crate::domain::order::{OrderFacts, Submission};
use crate::domain::stop::AskedBy;
use crate::domain::verdict::Verdict;
use crate::store::{self, OrderRef, Replace, Replaced, StopAsk, Write, Written};

/// Both orders as they are then.
pub(super) struct Both {
    /// The new order, and the verdict on it.
    pub(super) new: (OrderFacts, Verdict),
    /// The old one, and the verdict on it.
    pub(super) old: (OrderFacts, Verdict),
    /// False if the new one was there before.
    pub(super) created: bool,
}

/// Stops an order, and admits another in its place that waits for that.
pub(super) async fn replace(
    api: &Api,
    caller: &Caller,
    which: OrderRef,
    submission: &Submission,
    (reason, comment): (Option<String>, Option<String>),
) -> Answer<Both> {
    let reason = reason.filter(|reason| !reason.trim().is_empty()).unwrap_or_else(|| "replaced".to_owned());
    let texts = [
        words::text("reason", &reason, 200),
        words::text("comment", comment.as_deref().unwrap_or_default(), 2_000),
    ];
    let faults: Vec<Fault> = texts.into_iter().filter_map(Result::err).collect();
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let old = find(api, &caller.scope, which).await?;
    let order = OrderRef::Id(old.id.clone());
    // From here on no hand-over that begins later goes ahead of the stop.
    let asking = api.store.asking(&*api.clock);
    let at = asking.at;
    let prepared = match prepare(api, &old.platform, submission, &caller.actor, at) {
        Ok(prepared) => prepared,
        // No lab can take it now. If one took it before, nothing is left to do.
        Err(problem) if problem.code() == Code::NoRoute => {
            let outcome = routes::known(api, &old.platform, submission, problem).await?;
            return again(api, caller, &old, outcome).await;
        }
        Err(problem) => return Err(problem.under("order")),
    };
    let stop = StopAsk {
        id: StopId::new(at, &*api.random),
        due: api.answer_due(&caller.scope, &order, at).await?,
        order,
        scope: caller.scope.clone(),
        reason,
        comment,
        asked_by: AskedBy::Merchant,
        requested_by: None,
        items: Vec::new(),
        at,
        actor: caller.actor.clone(),
        escalation: EscalationId::new(at, &*api.random),
    };
    let join = prepared.admission.join.clone();
    let hold = HoldId::new(at, &*api.random);
    let replace = Replace { stop, admission: prepared.admission, join, hold };
    let Written::Replaced(replaced) = store::one(&*api.store, Write::Replace(Box::new(replace))).await?
    else {
        return Err(Problem::unexpected("not a replacement"));
    };
    let (new, created) = match replaced {
        Replaced::Done(new, created) => (new, created),
        Replaced::NotFound => return Err(Problem::not_found()),
        Replaced::Taken(known) => return Err(taken(&known)),
        Replaced::By(other) => {
            let text = format!("Order {other} stands in its place already, and may be printed.");
            return Err(Problem::new(Code::NotAllowed, text).with("state", old.state()).with("order", other));
        }
        Replaced::Waits(other) => {
            let text =
                format!("It waits itself for the stop of {other}: stop it, then replace {other} again.");
            return Err(Problem::new(Code::NotAllowed, text).with("state", old.state()).with("order", other));
        }
        Replaced::NotAllowed(state) => return Err(not_allowed(state)),
    };
    drop(asking);
    let old = find(api, &caller.scope, OrderRef::Id(old.id)).await?;
    let new = joined(api, caller, &new).await?;
    if let Some(stop) = &old.stop {
        stops::ring(api, &old, stop);
    }
    api.nudge.closes.ring();
    both(api, new, old, created).await
}

/// The reference of the new order is that of another one.
fn taken(known: &OrderId) -> Problem {
    let text = format!("The reference names order {known}, which is another.");
    Problem::new(Code::ReferenceTaken, text).with("order", known)
}

/// The answer to a repeat, where an order that was admitted before is all that is known of it.
async fn again(api: &Api, caller: &Caller, old: &OrderFacts, outcome: Outcome) -> Answer<Both> {
    let id = match outcome {
        Outcome::Same(id) => id,
        Outcome::New(facts) => facts.id,
        Outcome::Refused(problem) => return Err(problem.under("order")),
    };
    let new = find(api, &caller.scope, OrderRef::Id(id)).await?;
    if new.extras.replaces.as_ref().is_none_or(|link| link.order != old.id) {
        return Err(taken(&new.id));
    }
    let old = find(api, &caller.scope, OrderRef::Id(old.id.clone())).await?;
    both(api, new, old, false).await
}

async fn both(api: &Api, new: OrderFacts, old: OrderFacts, created: bool) -> Answer<Both> {
    let now = api.clock.now();
    let verdicts = (judge(api, &new, true, now).await?, judge(api, &old, true, now).await?);
    Ok(Both { new: (new, verdicts.0), old: (old, verdicts.1), created })
}
