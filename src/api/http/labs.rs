//! Labs: configured, paused, asked for their cutoffs.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{self, Id, IfMatch, Json, Page, Query, answer, tagged, version_mismatch};
use super::promises::Kept;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::registry::LabEntry;
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::calendar::{Calendar, Cutoff};
use crate::domain::health::LabHealth;
use crate::domain::ids::{LabId, RegionId};
use crate::domain::lab::{DriverSpec, Lab, LabPolicy, LabSpec, Profile, RegionSpec, StopsVia};
use crate::store::{self, LabSwitch, Put, PutLab, Scope, SetLab, Write, Written};

/// So many cutoffs are listed at most.
const CUTOFFS_MAX: usize = 2_000;

/// A lab. Its driver is shown to ops only, its contact where its policy permits it.
#[derive(Serialize, ToSchema)]
pub(super) struct LabAnswer {
    /// Its id.
    id: LabId,
    /// Its name.
    name: String,
    /// How it is reached; ops only.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<DriverSpec>,
    /// What it can do.
    profile: Profile,
    /// Its rules about stops.
    policy: LabPolicy,
    /// Where it prints.
    regions: Vec<RegionSpec>,
    /// Counts the changes of its definition; also the `ETag`.
    version: i64,
    /// How it stands, as the gateway that answers sees it; ops and the lab itself only.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<LabHealth>,
    /// Since when nothing new is handed over.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// Why it is paused.
    pause_reason: Option<String>,
    /// When it was changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// After a change: what became of open batches whose cutoff the new calendar would move.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    kept_promises: Vec<Kept>,
}

impl LabAnswer {
    fn of(entry: &LabEntry, scope: &Scope) -> Self {
        let spec = entry.lab.spec.clone();
        let ops = *scope == Scope::Ops;
        let mut policy = spec.policy;
        if !ops && policy.stops_via == StopsVia::GatewayOnly {
            policy.contact = None;
        }
        let (paused_at, pause_reason) = entry.paused.clone().unzip();
        Self {
            id: spec.id,
            name: spec.name,
            driver: ops.then_some(spec.driver),
            profile: spec.profile,
            policy,
            regions: spec.regions,
            version: entry.version,
            health: None,
            paused_at,
            pause_reason: pause_reason.filter(|_| ops),
            updated_at: entry.updated_at,
            kept_promises: Vec::new(),
        }
    }

    /// The same, with how it stands, for whom that is.
    fn standing(entry: &LabEntry, api: &Api, scope: &Scope) -> Self {
        let mut shown = Self::of(entry, scope);
        let own = matches!(scope, Scope::Lab(own) if *own == shown.id);
        if own || *scope == Scope::Ops {
            shown.health = (api.health)(&shown.id);
        }
        if let Some(health) = shown.health.as_mut().filter(|_| own) {
            // It may name what only ops see of the definition.
            health.cause = None;
        }
        shown
    }
}

fn sees(scope: &Scope, lab: &LabId) -> bool {
    !matches!(scope, Scope::Lab(own) if own != lab)
}

pub(super) fn entry(api: &Api, caller: &Caller, lab: &LabId) -> Answer<std::sync::Arc<LabEntry>> {
    api.registry.lab(lab).filter(|_| sees(&caller.scope, lab)).ok_or_else(Problem::not_found)
}

/// How many, and from where.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// How many, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<i64>,
    /// The `next` of an earlier answer.
    pub(super) cursor: Option<String>,
}

/// A page of labs.
#[derive(Serialize, ToSchema)]
pub(super) struct Labs {
    /// The labs, by id.
    labs: Vec<LabAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists labs.
#[utoipa::path(get, path = "/v1/labs", tag = "labs", params(PageQuery),
    responses((status = 200, description = "A page of labs", body = Labs)))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<PageQuery>) -> Answer<Response> {
    let page: Page<LabId> = Page::asked(query.0.limit, query.0.cursor.as_deref())?;
    let known = api.registry.snapshot();
    let seen = known.labs.iter().filter(|(id, _)| sees(&caller.scope, id));
    let labs: Vec<LabAnswer> = seen
        .filter(|(id, _)| page.from.as_ref().is_none_or(|after| *id > after))
        .take(usize::try_from(page.limit).unwrap_or(0))
        .map(|(_, entry)| LabAnswer::standing(entry, &api, &caller.scope))
        .collect();
    let next = page.next(&labs, |lab| &lab.id);
    Ok(answer(StatusCode::OK, &Labs { labs, next }))
}

/// Reads a lab.
#[utoipa::path(get, path = "/v1/labs/{lab}", tag = "labs", params(("lab" = LabId, Path)),
    responses(
        (status = 200, description = "The lab", body = LabAnswer, headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, lab: Id<LabId>) -> Answer<Response> {
    let entry = entry(&api, &caller, &lab.0)?;
    Ok(tagged(answer(StatusCode::OK, &LabAnswer::standing(&entry, &api, &caller.scope)), entry.version))
}

/// Creates or replaces a lab.
///
/// A cutoff that was promised to orders in an open window never moves earlier: where the new calendar
/// has a later one, the window moves to it, else it stays; `kept_promises` lists both.
#[utoipa::path(put, path = "/v1/labs/{lab}", tag = "labs", request_body = LabSpec,
    params(
        ("lab" = LabId, Path),
        ("If-Match" = Option<String>, Header, description = "Only if the lab has this `ETag`; \"0\": only if it is new"),
    ),
    responses(
        (status = 200, description = "The lab as it is now", body = LabAnswer, headers(("ETag" = String))),
        (status = 201, description = "It is new.", body = LabAnswer, headers(("ETag" = String))),
        (status = 412, description = "`version_mismatch`: `version` is the version now.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn put(
    api: State<Api>,
    caller: Caller,
    lab: Id<LabId>,
    version: IfMatch,
    body: Json<LabSpec>,
) -> Answer<Response> {
    let spec = body.0;
    let now = api.clock.now();
    let mut faults: Vec<Fault> =
        (api.check_driver)(&spec.driver).into_iter().map(|fault| fault.under("driver")).collect();
    if spec.id != lab.0 {
        faults.push(Fault::not("id", spec.id.as_str(), "the id in the path"));
    }
    let text = serde_json::to_string(&spec).map_err(|error| Problem::unexpected(&error.to_string()))?;
    if let Err(more) = Lab::build(spec, &api.registry.zones(), now) {
        faults.extend(more);
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let was_there = api.registry.lab(&lab.0).is_some();
    let write =
        PutLab { id: lab.0.clone(), spec: text, if_version: version.0, at: now, actor: caller.actor.clone() };
    let Written::Put(put) = store::one(&*api.store, Write::PutLab(Box::new(write))).await? else {
        return Err(Problem::unexpected("not a lab"));
    };
    let version = version_of(put)?;
    api.registry.refresh(now).await?;
    let entry = entry(&api, &caller, &lab.0)?;
    let mut shown = LabAnswer::of(&entry, &caller.scope);
    // Also when nothing changed: a repeat finishes what a crash left undone.
    let by = (&caller.actor, "the lab's calendar changed");
    shown.kept_promises = api.keep_promises_of(&entry.lab, by).await?;
    api.nudge.transfers.ring();
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok(tagged(answer(status, &shown), version))
}

/// The version after a write to the registry.
pub(super) fn version_of(put: Put) -> Answer<i64> {
    match put {
        Put::Done(version) | Put::Unchanged(version) => Ok(version),
        Put::NotFound => Err(Problem::not_found()),
        Put::Version(version) => Err(version_mismatch(version)),
        Put::InUse(orders) => {
            Err(Problem::new(Code::LabInUse, format!("{orders} orders wait for it.")).with("orders", orders))
        }
    }
}

/// Pauses or resumes a lab, or deletes it.
pub(in crate::api) async fn switch(api: &Api, caller: &Caller, lab: &LabId, to: LabSwitch) -> Answer<()> {
    let at = api.clock.now();
    let write = SetLab { id: lab.clone(), to, at, actor: caller.actor.clone() };
    let Written::Put(put) = store::one(&*api.store, Write::SetLab(Box::new(write))).await? else {
        return Err(Problem::unexpected("not a lab"));
    };
    version_of(put)?;
    api.registry.refresh(at).await?;
    api.nudge.transfers.ring();
    Ok(())
}

/// Deletes a lab.
///
/// Refused while orders wait for it. Its orders, stops and changelog stay readable.
#[utoipa::path(delete, path = "/v1/labs/{lab}", tag = "labs", params(("lab" = LabId, Path)),
    responses(
        (status = 204, description = "It takes no orders any more."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`lab_in_use`: `orders` wait for it.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn delete(api: State<Api>, caller: Caller, lab: Id<LabId>) -> Answer<Response> {
    switch(&api, &caller, &lab.0, LabSwitch::Delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    /// Why, at most 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub(super) reason: String,
}

/// Pauses a lab: nothing new is handed over.
///
/// Orders are still admitted, windows still close at their cutoffs, and stops go on working.
#[utoipa::path(post, path = "/v1/labs/{lab}/pause", tag = "labs", request_body = Because,
    params(("lab" = LabId, Path)),
    responses(
        (status = 200, description = "The lab as it is now", body = LabAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn pause(
    api: State<Api>,
    caller: Caller,
    lab: Id<LabId>,
    body: Json<Because>,
) -> Answer<Response> {
    extract::required("reason", &body.0.reason)?;
    switch(&api, &caller, &lab.0, LabSwitch::Pause(body.0.reason)).await?;
    get(api, caller, lab).await
}

/// Lets a lab go on.
#[utoipa::path(post, path = "/v1/labs/{lab}/resume", tag = "labs", params(("lab" = LabId, Path)),
    responses(
        (status = 200, description = "The lab as it is now", body = LabAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn resume(api: State<Api>, caller: Caller, lab: Id<LabId>) -> Answer<Response> {
    switch(&api, &caller, &lab.0, LabSwitch::Resume).await?;
    get(api, caller, lab).await
}

/// Which cutoffs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    /// From this instant on; now unless told.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this instant; 14 days after `from` unless told, at most 400 days.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

/// The cutoffs of a region.
#[derive(Serialize, ToSchema)]
pub(super) struct RegionCutoffs {
    /// The lab.
    lab: LabId,
    /// The region.
    region: RegionId,
    /// The IANA name of its zone.
    time_zone: String,
    /// The release of the zone data.
    tzdata: String,
    /// The cutoffs, earliest first, at most 2,000.
    cutoffs: Vec<Cutoff>,
}

/// The cutoffs of a region in a path within a range, with the region and the calendar that gave them.
fn listed(
    api: &Api,
    caller: &Caller,
    (lab, region): &(String, String),
    range: &Range,
    days: i64,
) -> Answer<(RegionId, LabId, Calendar, Vec<Cutoff>)> {
    let lab = LabId::parse(lab).map_err(|_| Problem::not_found())?;
    let region = RegionId::parse(region).map_err(|_| Problem::not_found())?;
    let entry = entry(api, caller, &lab)?;
    let calendar = entry.lab.calendar(&region).ok_or_else(Problem::not_found)?;
    let from = range.from.unwrap_or_else(|| api.clock.now());
    let day = |days: i64| SignedDuration::from_hours(24 * days);
    let to = range.to.unwrap_or_else(|| later(from, day(days)));
    if to < from || to.duration_since(from) > day(400) {
        return Err(Fault::not("to", to.to_string(), "from 0 to 400 days after `from`").into());
    }
    let cutoffs = calendar.cutoffs(from, to).take(CUTOFFS_MAX).collect();
    Ok((region, lab, calendar.clone(), cutoffs))
}

/// Lists the cutoffs of a region: `from <= closes_at < to`.
///
/// Those of a product group of it under the region's id, a dot and the group's: `fi.mugs`.
#[utoipa::path(get, path = "/v1/labs/{lab}/regions/{region}/cutoffs", tag = "labs",
    params(("lab" = LabId, Path), ("region" = RegionId, Path), Range),
    responses(
        (status = 200, description = "The cutoffs", body = RegionCutoffs),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn cutoffs(
    api: State<Api>,
    caller: Caller,
    path: Path<(String, String)>,
    query: Query<Range>,
) -> Answer<Response> {
    let (region, lab, calendar, cutoffs) = listed(&api, &caller, &path.0, &query.0, 14)?;
    let shown = RegionCutoffs {
        lab,
        region,
        time_zone: calendar.time_zone().to_owned(),
        tzdata: calendar.tzdata().to_owned(),
        cutoffs,
    };
    Ok(answer(StatusCode::OK, &shown))
}
