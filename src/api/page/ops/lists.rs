//! The lists of ops: stops, and what waits for a person's decision.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::words::{self, Badge};
use super::{follow, named};
use crate::api::auth::Caller;
use crate::api::http::{Query, cursor, next};
use crate::api::page::board::{iso, utc};
use crate::api::page::{Form, Shell, Shown, page, see};
use crate::api::problem::{Answer, Problem};
use crate::api::{Api, escalations as decisions};
use crate::domain::Fault;
use crate::domain::ids::{EscalationId, LabId, OrderId};
use crate::domain::stop::StopState;
use crate::store::{EscalationFilter, EscalationRow, PersonDecision, Scope, StopFilter, StopRow};

/// How many rows a page has.
const PAGE: i64 = 50;
/// How many open ones are shown at most.
const OPEN_MAX: i64 = 200;

/// The labs to choose from, by name.
fn labs(api: &Api) -> Vec<(String, String)> {
    let known = api.registry.snapshot();
    let mut labs: Vec<(String, String)> =
        known.labs.iter().map(|(id, entry)| (id.to_string(), entry.lab.spec.name.clone())).collect();
    labs.sort_by(|a, b| a.1.cmp(&b.1));
    labs
}

/// A lab of an address; empty is all.
fn lab_of(text: Option<&str>) -> Answer<Option<LabId>> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| LabId::parse(text).map_err(|fault| fault.under("lab").into())).transpose()
}

/// An address with those of its parameters that there are.
fn address(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut out = url::form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    for (name, value) in parameters {
        if let Some(value) = value {
            out.append_pair(name, value);
        }
    }
    out.finish()
}

/// Which stops.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct WhichStops {
    state: Option<String>,
    lab: Option<String>,
    cursor: Option<String>,
    /// Of the stream: how far the page knows.
    after: Option<String>,
}

struct StopShown {
    order: OrderId,
    reference: String,
    platform: String,
    badge: Badge,
    due: Option<(String, String)>,
    lab: LabId,
    reason: String,
    asked: (String, String),
}

impl From<&StopRow> for StopShown {
    fn from(row: &StopRow) -> Self {
        let stop = &row.stop;
        Self {
            order: stop.order.clone(),
            reference: row.reference.clone(),
            platform: row.platform.clone(),
            badge: words::stop(stop.state),
            due: (!stop.state.is_decided()).then(|| (iso(stop.deadline_at), utc(stop.deadline_at))),
            lab: row.lab.clone(),
            reason: stop.reason.clone(),
            asked: (iso(stop.asked_at), utc(stop.asked_at)),
        }
    }
}

#[derive(Template)]
#[template(path = "ops/stops.html")]
struct StopsPage {
    shell: Shell,
    state: &'static str,
    lab: String,
    labs: Vec<(String, String)>,
    rows: Vec<StopShown>,
    next: Option<String>,
}

/// The stops that wait, most urgent first; or all, newest first.
pub(in crate::api) async fn stops(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<WhichStops>, Problem>,
) -> Shown {
    let WhichStops { state, lab, cursor: from, .. } = query?.0;
    let known = follow::cursor(&api).await?;
    let open = match state.as_deref() {
        None | Some("" | "open") => true,
        Some("all") => false,
        Some(other) => return Err(Problem::from(Fault::not("state", other, "open or all")).into()),
    };
    let lab = lab_of(lab.as_deref())?;
    let own = lab.as_ref().map(LabId::as_str);
    // Ops see everything: of one lab is no more than a look through its eyes.
    let scope = lab.clone().map_or(Scope::Ops, Scope::Lab);
    let (rows, next) = if open {
        let mut rows = Vec::new();
        if lab.is_some() {
            let urgent_after = Some((Timestamp::MIN, None));
            let filter = StopFilter { urgent_after, limit: OPEN_MAX, ..StopFilter::default() };
            rows = api.store.stops(&scope, &filter).await?;
        } else {
            for state in [StopState::Pending, StopState::WithAPerson] {
                let filter = StopFilter { state: Some(state), limit: OPEN_MAX, ..StopFilter::default() };
                rows.extend(api.store.stops(&scope, &filter).await?);
            }
        }
        rows.sort_by_key(|row| (row.stop.deadline_at, row.stop.id.clone()));
        (rows, None)
    } else {
        let before = cursor(from.as_deref())?;
        let filter = StopFilter { before, limit: PAGE, ..StopFilter::default() };
        let rows = api.store.stops(&scope, &filter).await?;
        let next = next(rows.len(), PAGE, rows.last().map(|row| &row.stop.id));
        (rows, next)
    };
    let word = if open { "open" } else { "all" };
    let stream =
        address("/ops/stops/live", &[("state", Some(word)), ("lab", own), ("cursor", from.as_deref())]);
    let shown = StopsPage {
        shell: Shell::of(&caller, "stops").live(stream).cursor(known),
        state: word,
        lab: own.unwrap_or_default().to_owned(),
        labs: labs(&api),
        rows: rows.iter().map(StopShown::from).collect(),
        next,
    };
    Ok(page(StatusCode::OK, &shown))
}

/// The stream of stops.
pub(in crate::api) async fn stops_live(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<WhichStops>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let which = query?.0;
    let after = which.after.clone();
    let (own, who) = (api.clone(), caller.clone());
    let make = move || stops(own.clone(), who.clone(), Ok(Query(which.clone())));
    Ok(follow::follow(&api, caller, &headers, after.as_deref(), make)?)
}

/// Which escalations.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct WhichEscalations {
    open: Option<String>,
    lab: Option<String>,
    cursor: Option<String>,
    /// Of the stream: how far the page knows.
    after: Option<String>,
}

type PieceShown = (String, String, String, String, Vec<(String, String)>);

struct EscalationShown {
    id: EscalationId,
    head: &'static str,
    lab: LabId,
    cause: String,
    subject: String,
    order: Option<OrderId>,
    opened: (String, String),
    due: Option<(String, String)>,
    resolved: Option<(String, String, String, String, String)>,
    evidence: Vec<PieceShown>,
    choices: &'static [(&'static str, &'static str)],
}

/// What can be decided, by kind.
fn choices(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "stop" => &[
            ("stopped", "The order will not be printed: it is stopped"),
            ("too_late", "It is or will be printed: too late"),
        ],
        "transfer" => &[
            ("handed_over", "The lab has it"),
            ("not_handed", "The lab does not have it, and nothing is on its way: it may be sent again"),
        ],
        _ => &[("noted", "I have taken note, and done what was needed")],
    }
}

impl From<&EscalationRow> for EscalationShown {
    fn from(row: &EscalationRow) -> Self {
        let full = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let resolved = row.resolved_at.map(|at| {
            let word = row.decision.clone().unwrap_or_default().replace('_', " ");
            let by = words::who(row.resolved_by.as_deref().unwrap_or_default());
            (word, by, row.reason.clone().unwrap_or_default(), iso(at), utc(at))
        });
        Self {
            id: row.id.clone(),
            head: match row.kind.as_str() {
                "stop" => "Is the order stopped?",
                "transfer" => "Does the lab have the transfer?",
                "shipped_anyway" => "Shipped anyway",
                _ => "A contradiction",
            },
            lab: row.lab.clone(),
            cause: row.cause.clone(),
            subject: row.subject.clone(),
            order: row.order.clone(),
            opened: (iso(row.opened_at), utc(row.opened_at)),
            due: resolved.is_none().then(|| (iso(row.due_at), utc(row.due_at))),
            resolved,
            evidence: row
                .evidence
                .iter()
                .map(|piece| {
                    let what = words::happened(&piece.kind);
                    let detail = words::detail(&piece.detail);
                    (iso(piece.at), full(piece.at), what, words::who(&piece.actor), detail)
                })
                .collect(),
            choices: choices(&row.kind),
        }
    }
}

#[derive(Template)]
#[template(path = "ops/escalations.html")]
struct EscalationsPage {
    shell: Shell,
    open: bool,
    lab: String,
    labs: Vec<(String, String)>,
    rows: Vec<EscalationShown>,
    next: Option<String>,
}

/// What waits for a person's decision, or was decided.
pub(in crate::api) async fn escalations(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<WhichEscalations>, Problem>,
) -> Shown {
    let WhichEscalations { open, lab, cursor: from, .. } = query?.0;
    let known = follow::cursor(&api).await?;
    let open = match open.as_deref() {
        None | Some("" | "yes") => true,
        Some("no") => false,
        Some(other) => return Err(Problem::from(Fault::not("open", other, "yes or no")).into()),
    };
    let lab = lab_of(lab.as_deref())?;
    let own = lab.as_ref().map(LabId::as_str);
    let scope = lab.clone().map_or(Scope::Ops, Scope::Lab);
    let before = cursor(from.as_deref())?;
    let filter = EscalationFilter { id: None, open: Some(open), before, limit: PAGE };
    let mut rows = api.store.escalations(&scope, &filter).await?;
    let next = next(rows.len(), PAGE, rows.last().map(|row| &row.id));
    if open {
        rows.sort_by_key(|row| row.due_at);
    }
    let word = if open { "yes" } else { "no" };
    let stream =
        address("/ops/escalations/live", &[("open", Some(word)), ("lab", own), ("cursor", from.as_deref())]);
    let shown = EscalationsPage {
        shell: Shell::of(&caller, "escalations").live(stream).cursor(known),
        open,
        lab: own.unwrap_or_default().to_owned(),
        labs: labs(&api),
        rows: rows.iter().map(EscalationShown::from).collect(),
        next,
    };
    Ok(page(StatusCode::OK, &shown))
}

/// The stream of escalations.
pub(in crate::api) async fn escalations_live(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<WhichEscalations>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let which = query?.0;
    let after = which.after.clone();
    let (own, who) = (api.clone(), caller.clone());
    let make = move || escalations(own.clone(), who.clone(), Ok(Query(which.clone())));
    Ok(follow::follow(&api, caller, &headers, after.as_deref(), make)?)
}

/// The form of a decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct DecisionForm {
    decision: PersonDecision,
    reason: String,
}

/// Decides, by the same function as the API does.
pub(in crate::api) async fn resolve(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<DecisionForm>,
) -> Shown {
    let id = named(&path, EscalationId::parse)?;
    decisions::resolve(&api, &caller, id, form.0.decision, form.0.reason).await?;
    Ok(see("/ops/escalations"))
}
