//! An order for ops: how it stands, what happened, and the stop, whose consequences are shown before.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::extras::ExtrasShown;
use super::follow::Sheet;
use super::words::{self, Badge, Entry};
use super::{After, address, follow, named};
use crate::api::auth::Caller;
use crate::api::http::Query;
use crate::api::orders::{find, judge, line_stops};
use crate::api::page::board::{iso, there, utc};
use crate::api::page::{Form, Shell, Shown, see};
use crate::api::problem::{Answer, Problem};
use crate::api::stops::{self, Ask};
use crate::api::{Api, routes};
use crate::domain::event::Event;
use crate::domain::ids::OrderId;
use crate::domain::mail::Line;
use crate::domain::order::OrderFacts;
use crate::domain::route::Explanation;
use crate::domain::stop::{AskedBy, StopFacts, StopState};
use crate::domain::verdict::Verdict;
use crate::domain::warning::{self, Missing};
use crate::store::{OrderRef, Sighting};

struct StopShown {
    /// The lines that it names; none: the whole order.
    items: Option<String>,
    requested_by: Option<String>,
    brings: Vec<String>,
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
            items: stop.items.as_ref().map(|items| items.join(", ")),
            requested_by: stop.requested_by.clone(),
            brings: stop.brings().map(words::brings).unwrap_or_default(),
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

/// The cutoff that an order was warned of and would still miss.
fn near(facts: &OrderFacts, events: &[Event], now: Timestamp) -> Option<(String, String, String, String)> {
    let warned = events.iter().rev().find(|event| event.kind == warning::KIND)?;
    let at: Timestamp = warned.detail["closes_at"].as_str()?.parse().ok()?;
    let waits = facts.batch.is_none() && facts.stop.is_none() && at > now;
    let holds = facts.extras.holds.iter().map(|hold| hold.kind);
    let because: Vec<_> = Missing::of(facts.paid, holds).into_iter().map(Missing::told).collect();
    let local = warned.detail["closes_at_local"].as_str().map(there).unwrap_or_default();
    waits.then(|| (iso(at), utc(at), local, because.join(" and ")))
}

/// How its lab and region were chosen.
struct RouteShown {
    /// The rule, and whose it is: the platform's own, or `default`.
    rule: String,
    routes: String,
    version: i64,
    last_resort: bool,
    /// Those that were considered, and what was found of each.
    considered: Vec<(String, String)>,
    /// How many more were.
    more: usize,
}

impl RouteShown {
    fn of(it: Explanation) -> Option<Self> {
        let Explanation { routes, version, choice, .. } = it;
        let chosen = choice.chosen?;
        let considered = choice.considered.into_iter().map(|it| {
            let place = it.region.map_or_else(|| it.lab.to_string(), |region| format!("{} {region}", it.lab));
            (place, it.text)
        });
        Some(Self {
            rule: chosen.rule.to_string(),
            routes: routes.to_string(),
            version,
            last_resort: chosen.last_resort,
            considered: considered.collect(),
            more: choice.more,
        })
    }
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
    /// The cutoff that it would miss, for programs, in UTC and on the region's clocks, and why.
    near: Option<(String, String, String, String)>,
    admitted: (String, String),
    /// How its lab was chosen, if it named none.
    route: Option<RouteShown>,
    items: Vec<Line>,
    /// The lines that are stopped while the rest goes on.
    out: String,
    handed: Badge,
    stops: Vec<StopShown>,
    extras: ExtrasShown,
    entries: Vec<Entry>,
}

/// What a form before has led here with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Said {
    said: Option<String>,
    /// Of the stream: what the page has.
    after: Option<String>,
}

/// An order.
pub(in crate::api) async fn order(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<Said>, Problem>,
) -> Shown {
    let id = named(&path, OrderId::parse)?;
    Ok(sheet(&api, &caller, &id, query?.0.said.is_some()).await?.answer(StatusCode::OK))
}

async fn sheet(api: &Api, caller: &Caller, id: &OrderId, said: bool) -> Answer<Sheet> {
    let facts = find(api, &caller.scope, OrderRef::Id(id.clone())).await?;
    let verdict = judge(api, &facts, true, api.clock.now()).await?;
    let events = api.store.changelog(&caller.scope, id).await?.unwrap_or_default();
    let parts = line_stops(api, &facts).await?;
    let told = facts.stop.as_ref().or(parts.last()).map(|stop| match stop.state {
        StopState::Stopped => "It is stopped: nobody prints it because of us.",
        StopState::StoppedInPart => "These lines are stopped; the rest of the order goes on.",
        StopState::TooLate => "It was too late: it is or will be printed.",
        StopState::Pending => "The stop was asked; the answer is still to come.",
        StopState::WithAPerson => "The stop was asked; a person has to decide on it.",
    });
    let stream = address(&format!("/ops/orders/{id}/live"), &[("said", said.then_some("stop"))]);
    let shown = OrderPage {
        shell: Shell::of(caller, "order").live(stream),
        it: &facts,
        lab: lab_name(api, &facts),
        state: words::order(facts.state()),
        verdict: words::verdict(&verdict),
        until: until(&verdict),
        may_ask: words::may_ask(&verdict),
        said: told.filter(|_| said),
        near: near(&facts, &events, api.clock.now()),
        admitted: (iso(facts.admitted_at), utc(facts.admitted_at)),
        route: routes::recorded(&events)?.and_then(RouteShown::of),
        items: facts.lines(),
        out: facts.lines_out.join(", "),
        handed: facts.transfer.as_ref().map_or(("", ""), |transfer| words::transfer(transfer.phase)),
        stops: facts.stop.iter().chain(parts.iter().rev()).map(StopShown::from).collect(),
        extras: ExtrasShown::of(&facts, &verdict),
        entries: events.iter().map(Entry::from).collect(),
    };
    Ok(Sheet::of(&shown)?.say(told.map(str::to_owned)))
}

/// What is told of an order is changed by what happens to it, to the transfer that carries it, and to batches of
/// its lab.
async fn concerns(api: &Api, caller: &Caller, id: &OrderId) -> Answer<impl Fn(&Sighting) -> bool + use<>> {
    let lab = find(api, &caller.scope, OrderRef::Id(id.clone())).await?.lab;
    let id = id.clone();
    Ok(move |it: &Sighting| {
        let of_batch = it.event.kind.starts_with("batch.") && it.event.lab == lab.as_str();
        of_batch || it.event.subject == id.as_str() || it.orders.iter().any(|order| order.order == id)
    })
}

/// An order's stream.
pub(in crate::api) async fn order_live(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<Said>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let id = named(&path, OrderId::parse)?;
    let Said { said, after } = query?.0;
    let said = said.is_some();
    let concerns = concerns(&api, &caller, &id).await?;
    let (own, who) = (api.clone(), caller.clone());
    let make = move || {
        let (own, who, id) = (own.clone(), who.clone(), id.clone());
        async move { sheet(&own, &who, &id, said).await }
    };
    follow::follow(&api, caller, (&headers, after.as_deref()), concerns, make).await
}

#[derive(Template)]
#[template(path = "ops/stop.html")]
struct StopPage {
    shell: Shell,
    /// Whether it was pressed when it was shown otherwise.
    changed: bool,
    order: OrderId,
    reference: String,
    verdict: (Badge, &'static str),
    would: &'static str,
    until: Option<(String, String, String)>,
    due: Option<(String, String)>,
    odds: Option<String>,
    consequences: Vec<String>,
    /// The lines, and what is said of each.
    lines: Vec<(String, String)>,
    /// Those that can be stopped by themselves.
    only: Vec<(String, String)>,
    may_ask: bool,
    can_stop: String,
    /// What was typed before.
    reason: String,
    comment: String,
}

/// What somebody has typed into the form of a stop that has changed.
struct Typed<'a> {
    reason: &'a str,
    comment: &'a str,
}

/// What a stop would bring, before it is asked.
pub(in crate::api) async fn stop(api: State<Api>, caller: Caller, path: Path<String>) -> Shown {
    let id = named(&path, OrderId::parse)?;
    Ok(stop_sheet(&api, &caller, &id).await?.answer(StatusCode::OK))
}

async fn stop_sheet(api: &Api, caller: &Caller, id: &OrderId) -> Answer<Sheet> {
    let facts = find(api, &caller.scope, OrderRef::Id(id.clone())).await?;
    let verdict = judge(api, &facts, true, api.clock.now()).await?;
    let shell = Shell::of(caller, "order").live(format!("/ops/orders/{id}/stop/live"));
    Sheet::of(&consequences(shell, &facts, &verdict, None))
}

fn consequences(shell: Shell, facts: &OrderFacts, verdict: &Verdict, typed: Option<Typed<'_>>) -> StopPage {
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
    StopPage {
        shell,
        changed: typed.is_some(),
        order: facts.id.clone(),
        reference: facts.reference.clone(),
        would: words::would(verdict),
        until: until(verdict),
        due: verdict.next.as_ref().map(|next| (iso(next.answer_due_at), utc(next.answer_due_at))),
        odds,
        consequences: words::consequences(verdict),
        lines: words::lines(facts, verdict),
        only: words::alone(facts, verdict),
        may_ask: words::may_ask(verdict),
        verdict: words::verdict(verdict),
        can_stop: can_stop(verdict),
        reason: typed.as_ref().map(|typed| typed.reason.to_owned()).unwrap_or_default(),
        comment: typed.map(|typed| typed.comment.to_owned()).unwrap_or_default(),
    }
}

/// What a form carries of the verdict that it was shown with.
fn can_stop(verdict: &Verdict) -> String {
    let word = serde_json::to_value(verdict.can_stop).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

/// The stream of the page that shows what a stop would bring.
pub(in crate::api) async fn stop_live(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<After>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let id = named(&path, OrderId::parse)?;
    let after = query?.0.after;
    let concerns = concerns(&api, &caller, &id).await?;
    let (own, who) = (api.clone(), caller.clone());
    let make = move || {
        let (own, who, id) = (own.clone(), who.clone(), id.clone());
        async move { stop_sheet(&own, &who, &id).await }
    };
    follow::follow(&api, caller, (&headers, after.as_deref()), concerns, make).await
}

/// The form of a stop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct StopForm {
    reason: String,
    #[serde(default)]
    comment: String,
    /// As it was shown.
    can_stop: String,
    /// One line, or empty: the whole order.
    #[serde(default)]
    only: String,
}

/// Asks for the stop, by the same function as the API does: if it would bring what was shown.
pub(in crate::api) async fn stop_asked(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<StopForm>,
) -> Shown {
    let id = named(&path, OrderId::parse)?;
    let StopForm { reason, comment, can_stop: shown, only } = form.0;
    let facts = find(&api, &caller.scope, OrderRef::Id(id.clone())).await?;
    if facts.stop.is_none() {
        // From the arrival of the form on no hand-over begins that would make it another one.
        let verdict = judge(&api, &facts, true, caller.at).await?;
        if shown != can_stop(&verdict) || !words::may_ask(&verdict) {
            let typed = Some(Typed { reason: &reason, comment: &comment });
            let anew = consequences(Shell::of(&caller, "order"), &facts, &verdict, typed);
            return Ok(Sheet::of(&anew)?.answer(StatusCode::CONFLICT));
        }
        let comment = Some(comment).filter(|comment| !comment.trim().is_empty());
        let order = OrderRef::Id(id.clone());
        let ask = Ask {
            order,
            reason: Some(reason),
            comment,
            asked_by: AskedBy::Support,
            requested_by: None,
            items: Some(only).filter(|only| !only.is_empty()).into_iter().collect(),
        };
        stops::ask(&api, &caller, ask).await?;
    }
    // A second press of the button finds the stop of the first.
    Ok(see(&format!("/ops/orders/{id}?said=stop")))
}
