//! An order for ops: how it stands, what happened, and the stop, whose consequences are shown before.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::words::{self, Badge, Entry};
use super::{After, follow, named};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::http::Query;
use crate::api::orders::{find, judge};
use crate::api::page::board::{iso, there, utc};
use crate::api::page::{Form, Shell, Shown, page, see};
use crate::api::problem::Problem;
use crate::api::stops::{self, Ask, Asked};
use crate::domain::ids::OrderId;
use crate::domain::mail::Line;
use crate::domain::order::OrderFacts;
use crate::domain::stop::{AskedBy, StopFacts, StopState};
use crate::domain::verdict::Verdict;
use crate::store::OrderRef;

struct StopShown {
    badge: Badge,
    evidence: Option<&'static str>,
    reason: String,
    comment: Option<String>,
    asked: (String, String),
    asked_by: &'static str,
    due: Option<(String, String)>,
    decided: Option<(String, String)>,
    answer: Option<String>,
}

impl From<&StopFacts> for StopShown {
    fn from(stop: &StopFacts) -> Self {
        Self {
            badge: words::stop(stop.state),
            evidence: stop.evidence.map(words::evidence),
            reason: stop.reason.clone(),
            comment: stop.comment.clone(),
            asked: (iso(stop.asked_at), utc(stop.asked_at)),
            asked_by: stop.asked_by.word(),
            due: (!stop.state.is_decided()).then(|| (iso(stop.deadline_at), utc(stop.deadline_at))),
            decided: stop.decided_at.map(|at| (iso(at), utc(at))),
            answer: stop.answer.clone(),
        }
    }
}

/// Until when a stop is guaranteed: for programs, in UTC, and on the region's clocks.
fn until(verdict: &Verdict) -> Option<(String, String, String)> {
    let local = verdict.until_local.as_deref().map(there).unwrap_or_default();
    verdict.until.map(|at| (iso(at), utc(at), local))
}

fn lab_name(api: &Api, facts: &OrderFacts) -> String {
    api.registry.lab(&facts.lab).map_or_else(|| facts.lab.to_string(), |entry| entry.lab.spec.name.clone())
}

#[derive(Template)]
#[template(path = "ops/order.html")]
struct OrderPage<'a> {
    shell: Shell,
    it: &'a OrderFacts,
    lab: String,
    state: Badge,
    verdict: (Badge, &'static str),
    until: Option<(String, String, String)>,
    may_ask: bool,
    said: Option<&'static str>,
    admitted: (String, String),
    items: Vec<Line>,
    handed: Badge,
    stop: Option<StopShown>,
    entries: Vec<Entry>,
}

/// What a form before has led here with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Said {
    said: Option<String>,
}

/// An order.
pub(in crate::api) async fn order(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<Said>, Problem>,
) -> Shown {
    let id = named(&path, OrderId::parse)?;
    let cursor = follow::cursor(&api).await?;
    let facts = find(&api, &caller.scope, OrderRef::Id(id.clone())).await?;
    let verdict = judge(&api, &facts, true, api.clock.now()).await?;
    let events = api.store.changelog(&caller.scope, &id).await?.unwrap_or_default();
    let said = query?.0.said.and(facts.stop.as_ref()).map(|stop| match stop.state {
        StopState::Stopped => "It is stopped: nobody prints it because of us.",
        StopState::StoppedInPart => "It is stopped in part.",
        StopState::TooLate => "It was too late: it is or will be printed.",
        StopState::Pending => "The stop was asked; the answer is still to come.",
        StopState::WithAPerson => "The stop was asked; a person has to decide on it.",
    });
    let shown = OrderPage {
        shell: Shell::of(&caller, "order").live(format!("/ops/orders/{id}/live")).cursor(cursor),
        it: &facts,
        lab: lab_name(&api, &facts),
        state: words::order(facts.state()),
        verdict: words::verdict(&verdict),
        until: until(&verdict),
        may_ask: words::may_ask(&verdict),
        said,
        admitted: (iso(facts.admitted_at), utc(facts.admitted_at)),
        items: facts.lines(),
        handed: facts.transfer.as_ref().map_or(("", ""), |transfer| words::transfer(transfer.phase)),
        stop: facts.stop.as_ref().map(StopShown::from),
        entries: events.iter().map(Entry::from).collect(),
    };
    Ok(page(StatusCode::OK, &shown))
}

/// An order's stream.
pub(in crate::api) async fn order_live(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<After>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let after = query?.0.after;
    let (own, who) = (api.clone(), caller.clone());
    let make = move || order(own.clone(), who.clone(), Path(path.0.clone()), Ok(Query(Said::default())));
    Ok(follow::follow(&api, caller, &headers, after.as_deref(), make)?)
}

#[derive(Template)]
#[template(path = "ops/stop.html")]
struct StopPage {
    shell: Shell,
    order: OrderId,
    reference: String,
    verdict: (Badge, &'static str),
    would: &'static str,
    until: Option<(String, String, String)>,
    due: Option<(String, String)>,
    odds: Option<String>,
    consequences: Vec<&'static str>,
    may_ask: bool,
}

/// What a stop would bring, before it is asked.
pub(in crate::api) async fn stop(api: State<Api>, caller: Caller, path: Path<String>) -> Shown {
    let id = named(&path, OrderId::parse)?;
    let facts = find(&api, &caller.scope, OrderRef::Id(id.clone())).await?;
    let verdict = judge(&api, &facts, true, api.clock.now()).await?;
    let odds = verdict.odds.map(|odds| {
        let share = |x: f64| format!("{:.0}", x * 100.0);
        format!(
            "Of {} stops asked as long after the hand-over, the lab took {} out: the odds are {} to {} %.",
            odds.asked,
            odds.stopped,
            share(odds.low),
            share(odds.high)
        )
    });
    let shown = StopPage {
        shell: Shell::of(&caller, "order"),
        order: id,
        reference: facts.reference.clone(),
        would: words::would(&verdict),
        until: until(&verdict),
        due: verdict.next.as_ref().map(|next| (iso(next.answer_due_at), utc(next.answer_due_at))),
        odds,
        consequences: words::consequences(verdict.consequences),
        may_ask: words::may_ask(&verdict),
        verdict: words::verdict(&verdict),
    };
    Ok(page(StatusCode::OK, &shown))
}

/// The form of a stop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct StopForm {
    reason: String,
    #[serde(default)]
    comment: String,
}

/// Asks for the stop, by the same function as the API does.
pub(in crate::api) async fn stop_asked(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<StopForm>,
) -> Shown {
    let id = named(&path, OrderId::parse)?;
    let StopForm { reason, comment } = form.0;
    let comment = Some(comment).filter(|comment| !comment.trim().is_empty());
    let ask =
        Ask { order: OrderRef::Id(id.clone()), reason: Some(reason), comment, asked_by: AskedBy::Support };
    let Asked { .. } = stops::ask(&api, &caller, ask).await?;
    Ok(see(&format!("/ops/orders/{id}?said=stop")))
}
