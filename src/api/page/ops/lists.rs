//! The lists of ops: stops, and what waits for a person's decision.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::extras::ApprovalListed;
use super::follow::Sheet;
use super::place::{Place, after};
use super::words::{self, Badge};
use super::{address, follow, named};
use crate::api::auth::Caller;
use crate::api::http::{Query, cursor, next};
use crate::api::page::board::{iso, utc};
use crate::api::page::{Form, Shell, Shown, see};
use crate::api::problem::{Answer, Problem};
use crate::api::{Api, escalations as decisions};
use crate::domain::Fault;
use crate::domain::ids::{EscalationId, LabId, OrderId, StopId, TransferId};
use crate::store::{
    ApprovalFilter, EscalationFilter, EscalationRow, PersonDecision, Scope, Sighting, StopFilter, StopRow,
};

/// How many rows a page has.
const PAGE: i64 = 50;
/// How many open approvals are shown at most.
const APPROVALS: usize = 200;
/// How many orders of a transfer are named.
const CARRIED: i64 = 10;
/// How many entries of a transfer are told.
const KNOWN: usize = 20;

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
    id: StopId,
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
            id: stop.id.clone(),
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
    /// What customers asked for and merchants are to decide.
    approvals: Vec<ApprovalListed>,
    /// Whether there are more of them.
    more_approvals: bool,
    /// Whether others stand before these.
    from: bool,
    next: Option<String>,
}

/// The stops that wait, most urgent first; or all, newest first.
pub(in crate::api) async fn stops(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<WhichStops>, Problem>,
) -> Shown {
    Ok(stops_sheet(&api, &caller, &query?.0).await?.answer(StatusCode::OK))
}

async fn stops_sheet(api: &Api, caller: &Caller, which: &WhichStops) -> Answer<Sheet> {
    let open = match which.state.as_deref() {
        None | Some("" | "open") => true,
        Some("all") => false,
        Some(other) => return Err(Fault::not("state", other, "open or all").into()),
    };
    let lab = lab_of(which.lab.as_deref())?;
    let own = lab.as_ref().map(LabId::as_str);
    let from = which.cursor.as_deref();
    // Ops see everything: of one lab is no more than a look through its eyes.
    let scope = lab.clone().map_or(Scope::Ops, Scope::Lab);
    let (rows, next) = if open {
        let urgent_after = Some(after(cursor::<Place<StopId>>(from)?));
        let filter = StopFilter { urgent_after, limit: PAGE, ..StopFilter::default() };
        let rows = api.store.stops(&scope, &filter).await?;
        let last = rows.last().map(|row| Place(row.stop.deadline_at, row.stop.id.clone()));
        let next = next(rows.len(), PAGE, last);
        (rows, next)
    } else {
        let filter = StopFilter { before: cursor(from)?, limit: PAGE, ..StopFilter::default() };
        let rows = api.store.stops(&scope, &filter).await?;
        let next = next(rows.len(), PAGE, rows.last().map(|row| &row.stop.id));
        (rows, next)
    };
    let (mut approvals, mut more_approvals) = (Vec::new(), false);
    if open && from.is_none() {
        // One more than is shown tells that there are more.
        let filter = ApprovalFilter {
            due_first: true,
            lab: lab.clone(),
            limit: APPROVALS as i64 + 1,
            ..ApprovalFilter::default()
        };
        let waiting = api.store.list_approvals(&Scope::Ops, &filter).await?;
        more_approvals = waiting.len() > APPROVALS;
        approvals = waiting.iter().take(APPROVALS).map(ApprovalListed::from).collect();
    }
    let word = if open { "open" } else { "all" };
    let stream = address("/ops/stops/live", &[("state", Some(word)), ("lab", own), ("cursor", from)]);
    let say = (open && from.is_none()).then(|| match (rows.len(), &next) {
        (0, _) => "No stop waits for an answer.".to_owned(),
        (1, _) => "One stop waits for an answer.".to_owned(),
        (many, None) => format!("{many} stops wait for an answer."),
        (many, Some(_)) => format!("More than {many} stops wait for an answer."),
    });
    let shown = StopsPage {
        shell: Shell::of(caller, "stops").live(stream),
        state: word,
        lab: own.unwrap_or_default().to_owned(),
        labs: labs(api),
        rows: rows.iter().map(StopShown::from).collect(),
        from: from.is_some(),
        approvals,
        more_approvals,
        next,
    };
    Ok(Sheet::of(&shown)?.say(say))
}

/// Whether an entry of the log is about what a list of one lab, or of all, shows.
fn of_lab(it: &Sighting, lab: Option<&LabId>) -> bool {
    lab.is_none_or(|lab| it.event.lab == lab.as_str())
}

/// The stream of stops.
pub(in crate::api) async fn stops_live(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<WhichStops>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let which = query?.0;
    let (after, lab) = (which.after.clone(), lab_of(which.lab.as_deref())?);
    let (own, who) = (api.clone(), caller.clone());
    let make = move || {
        let (own, who, which) = (own.clone(), who.clone(), which.clone());
        async move { stops_sheet(&own, &who, &which).await }
    };
    let concerns = move |it: &Sighting| {
        let waits = it.event.kind.starts_with("stop.") || it.event.kind.starts_with("approval.");
        waits && of_lab(it, lab.as_ref())
    };
    follow::follow(&api, caller, (&headers, after.as_deref()), concerns, make).await
}

/// Which escalations.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct WhichEscalations {
    /// Only this one, however it stands.
    id: Option<String>,
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
    /// Of a transfer: how many orders it carries, and the first of them.
    orders: Option<(i64, Vec<(OrderId, String)>)>,
    /// How many more.
    more: i64,
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
        "download" => &[
            ("revoked", "The platform says that its link is deactivated, and was not fetched"),
            ("fetched", "It was fetched: it cannot be revoked"),
        ],
        "address" => &[
            ("taken", "The lab says that the parcel goes to the new address"),
            ("refused", "It goes to the address before"),
        ],
        _ => &[("noted", "I have taken note, and done what was needed")],
    }
}

/// A piece of evidence.
fn shown(at: Timestamp, kind: &str, actor: &str, detail: &serde_json::Value) -> PieceShown {
    let full = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    (iso(at), full, words::happened(kind), words::who(actor), words::detail(detail))
}

/// Adds to escalations about transfers what is known of these, and whose orders they carry.
async fn carried(api: &Api, rows: &mut [EscalationShown]) -> Answer<()> {
    let about: Vec<String> =
        rows.iter().map(|row| row.subject.clone()).filter(|id| TransferId::parse(id).is_ok()).collect();
    let about: Vec<&str> = about.iter().map(String::as_str).collect();
    if about.is_empty() {
        return Ok(());
    }
    let events = api.store.log(&about).await?;
    for carried in api.store.transfer_orders(&about, CARRIED).await? {
        let own = rows.iter_mut().filter(|row| row.subject == carried.transfer.as_str());
        for row in own {
            let known = events.iter().filter(|event| event.subject == row.subject);
            let told = known.map(|it| shown(it.at, &it.kind, &it.actor, &it.detail));
            let all: Vec<PieceShown> = told.collect();
            // The first sending, and what came last.
            let last = all.len().saturating_sub(KNOWN).max(1);
            let few = all.iter().enumerate().filter(|(nth, _)| *nth == 0 || *nth >= last);
            row.evidence.splice(0..0, few.map(|(_, piece)| piece.clone()));
            row.more = carried.all - i64::try_from(carried.first.len()).unwrap_or(0);
            row.orders = Some((carried.all, carried.first.clone()));
        }
    }
    Ok(())
}

impl From<&EscalationRow> for EscalationShown {
    fn from(row: &EscalationRow) -> Self {
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
                "download" => "Is the download revoked?",
                "address" => "Did the lab take the new address?",
                "address_contradiction" => "The lab contradicts what was told of an address",
                "download_contradiction" => "A download that was told revoked was fetched",
                "shipped_anyway" => "Shipped anyway",
                "approval_overdue" => "The merchant has not decided",
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
                .map(|piece| shown(piece.at, &piece.kind, &piece.actor, &piece.detail))
                .collect(),
            orders: None,
            more: 0,
            choices: choices(&row.kind),
        }
    }
}

#[derive(Template)]
#[template(path = "ops/escalations.html")]
struct EscalationsPage {
    shell: Shell,
    /// The one that was looked for.
    one: Option<String>,
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
    Ok(escalations_sheet(&api, &caller, &query?.0).await?.answer(StatusCode::OK))
}

async fn escalations_sheet(api: &Api, caller: &Caller, which: &WhichEscalations) -> Answer<Sheet> {
    let open = match which.open.as_deref() {
        None | Some("" | "yes") => true,
        Some("no") => false,
        Some(other) => return Err(Fault::not("open", other, "yes or no").into()),
    };
    let one = which.id.as_deref().filter(|id| !id.is_empty());
    let one = one.map(|id| EscalationId::parse(id).map_err(|_| Problem::not_found())).transpose()?;
    let lab = lab_of(which.lab.as_deref())?;
    let own = lab.as_ref().map(LabId::as_str);
    let scope = lab.clone().map_or(Scope::Ops, Scope::Lab);
    let from = which.cursor.as_deref();
    let filter = EscalationFilter { limit: PAGE, ..EscalationFilter::default() };
    let (rows, next) = if let Some(id) = &one {
        let filter = EscalationFilter { id: Some(id.clone()), ..filter };
        let rows = api.store.escalations(&scope, &filter).await?;
        if rows.is_empty() {
            return Err(Problem::not_found());
        }
        (rows, None)
    } else if open {
        let due_after = Some(after(cursor::<Place<EscalationId>>(from)?));
        let filter = EscalationFilter { due_after, ..filter };
        let rows = api.store.escalations(&scope, &filter).await?;
        let next = next(rows.len(), PAGE, rows.last().map(|row| Place(row.due_at, row.id.clone())));
        (rows, next)
    } else {
        let filter = EscalationFilter { open: Some(false), before: cursor(from)?, ..filter };
        let rows = api.store.escalations(&scope, &filter).await?;
        let next = next(rows.len(), PAGE, rows.last().map(|row| &row.id));
        (rows, next)
    };
    let word = if open { "yes" } else { "no" };
    let stream = address(
        "/ops/escalations/live",
        &[("id", which.id.as_deref()), ("open", Some(word)), ("lab", own), ("cursor", from)],
    );
    let say = (open && one.is_none() && from.is_none()).then(|| match (rows.len(), &next) {
        (0, _) => "Nothing waits for a decision.".to_owned(),
        (1, _) => "One escalation waits for a decision.".to_owned(),
        (many, None) => format!("{many} escalations wait for a decision."),
        (many, Some(_)) => format!("More than {many} escalations wait for a decision."),
    });
    let mut rows: Vec<EscalationShown> = rows.iter().map(EscalationShown::from).collect();
    carried(api, &mut rows).await?;
    let shown = EscalationsPage {
        shell: Shell::of(caller, "escalations").live(stream),
        one: one.map(|id| id.to_string()),
        open,
        lab: own.unwrap_or_default().to_owned(),
        labs: labs(api),
        rows,
        next,
    };
    Ok(Sheet::of(&shown)?.say(say))
}

/// Whether an entry of the log may open or end an escalation, or add to what is known of one.
fn escalates(kind: &str) -> bool {
    let order = ["order.received", "order.in_production", "order.printed", "order.shipped", "order.report"];
    ["stop.", "transfer.", "download.", "address.", "approval.", "escalation."]
        .iter()
        .any(|begin| kind.starts_with(begin))
        || order.contains(&kind)
}

/// The stream of escalations.
pub(in crate::api) async fn escalations_live(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<WhichEscalations>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let which = query?.0;
    let (after, lab) = (which.after.clone(), lab_of(which.lab.as_deref())?);
    let (own, who) = (api.clone(), caller.clone());
    let make = move || {
        let (own, who, which) = (own.clone(), who.clone(), which.clone());
        async move { escalations_sheet(&own, &who, &which).await }
    };
    let concerns = move |it: &Sighting| escalates(&it.event.kind) && of_lab(it, lab.as_ref());
    follow::follow(&api, caller, (&headers, after.as_deref()), concerns, make).await
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

#[cfg(test)]
mod tests {
    use super::escalates;

    #[test]
    fn whatever_opens_or_ends_an_escalation_draws_the_list_anew() {
        for (kind, does) in [
            ("stop.with_a_person", true),
            ("transfer.unknown", true),
            ("download.overdue", true),
            ("address.with_a_person", true),
            // One is opened when a merchant is late, and ends when they decide.
            ("approval.overdue", true),
            ("approval.approved", true),
            ("approval.declined", true),
            ("escalation.noted", true),
            ("order.shipped", true),
            ("order.admitted", false),
            ("batch.closed", false),
        ] {
            assert_eq!(escalates(kind), does, "{kind}");
        }
    }
}
