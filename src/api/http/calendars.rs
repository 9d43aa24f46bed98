//! The cutoffs of a region for calendar programs: the calendar itself, and links to it, because such programs
//! can send no key.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Query, answer};
use super::labs;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::registry::LabEntry;
use crate::domain::Fault;
use crate::domain::batch::{BatchFacts, later};
use crate::domain::calendar::{Calendar, CalendarSpec};
use crate::domain::calendar_link::CalendarLink;
use crate::domain::event::{Event, hex};
use crate::domain::ics::{self, Feed};
use crate::domain::ids::{LabId, RegionId};
use crate::domain::lab::{Lasting, RegionSpec};
use crate::domain::revisions::{self, Version};
use crate::store::{self, RevokeCalendarLinks, Scope, Write, Written};

/// So many cutoffs are listed at most.
const CUTOFFS_MAX: usize = 2_000;
/// So many definitions of a lab are looked at, the newest.
const VERSIONS_MAX: usize = 50;
/// So many alarms an event may have.
const ALARMS_MAX: usize = 5;
/// For how long a program need not ask again.
const CACHE: HeaderValue = HeaderValue::from_static("private, max-age=900");

/// Which cutoffs, and when to be reminded of them.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IcsQuery {
    /// From this instant on; from the beginning of yesterday (UTC) unless told.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this instant; 62 days after `from` unless told, at most 400 days.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// How long before a cutoff to be reminded: up to five durations of whole minutes, at most 168h each, with
    /// commas between them; `none` for no reminder; `60m,10m` unless told.
    #[param(example = "60m,10m")]
    alarm: Option<String>,
}

/// The reminders that a query names.
fn alarms(text: Option<&str>) -> Answer<Vec<SignedDuration>> {
    let Some(text) = text else { return Ok(ics::ALARMS.to_vec()) };
    if text == "none" {
        return Ok(Vec::new());
    }
    let week = SignedDuration::from_hours(168);
    let whole = |before: &SignedDuration| {
        *before >= SignedDuration::ZERO && *before <= week && before.as_secs() % 60 == 0
    };
    let read: Option<Vec<SignedDuration>> = text
        .split(',')
        .map(|part| Lasting::try_from(part.trim().to_owned()).ok().map(|lasting| lasting.0).filter(whole))
        .collect();
    read.filter(|alarms| alarms.len() <= ALARMS_MAX).ok_or_else(|| {
        let allowed = "up to 5 durations of whole minutes up to 168h such as \"60m,10m\", or \"none\"";
        Fault::not("alarm", text, allowed).into()
    })
}

/// The calendars that a region had, by the log of its lab.
fn versions(api: &Api, log: &[Event], region: &RegionId, now: Timestamp) -> Vec<Version> {
    let zones = api.registry.zones();
    let release = revisions::release(zones.version());
    let kinds = ["lab.created", "lab.changed", "lab.deleted"];
    let changes = log.iter().filter(|event| kinds.contains(&event.kind.as_str())).enumerate();
    let changes: Vec<_> = changes.collect();
    let mut found: Vec<Version> = Vec::new();
    // A group stands under its region's id, a dot and its own.
    let (own, group) =
        region.as_str().split_once('.').map_or((region.as_str(), None), |(own, group)| (own, Some(group)));
    let mut last: Option<CalendarSpec> = None;
    for (nth, event) in &changes[changes.len().saturating_sub(VERSIONS_MAX)..] {
        let listed = event.detail.pointer("/spec/regions").and_then(|regions| regions.as_array());
        let spec = listed.into_iter().flatten().find(|known| known["id"] == own);
        let spec: Option<RegionSpec> = spec.and_then(|spec| serde_json::from_value(spec.clone()).ok());
        let spec = spec.and_then(|spec| match group {
            Some(group) => {
                spec.groups.into_iter().find(|known| known.id.as_str() == group).map(|known| known.calendar)
            }
            None => Some(spec.calendar),
        });
        if last == spec && !found.is_empty() {
            continue;
        }
        let calendar = spec.as_ref().and_then(|spec| Calendar::build(spec, &zones, now).ok());
        // Windows are moved less often than that: another definition is always a later form.
        let number = i64::try_from(*nth).unwrap_or(i64::MAX).saturating_mul(1_000).saturating_add(release);
        found.push(Version { since: event.at, number, calendar });
        last = spec;
    }
    found
}

/// When each of these windows was moved last.
async fn moved(api: &Api, open: &[&BatchFacts]) -> Answer<Vec<Timestamp>> {
    let subjects: Vec<&str> = open.iter().map(|batch| batch.id.as_str()).collect();
    let log = if subjects.is_empty() { Vec::new() } else { api.store.log(&subjects).await? };
    let last = |batch: &&BatchFacts| {
        let own = log.iter().filter(|event| event.subject == batch.id.as_str());
        let moves =
            own.filter(|event| matches!(event.kind.as_str(), "batch.postponed" | "batch.promise_kept"));
        moves.map(|event| event.at).max().unwrap_or(batch.opens_at)
    };
    Ok(open.iter().map(last).collect())
}

/// The calendar of a region, or that the caller has it already.
async fn feed(
    api: &Api,
    entry: &LabEntry,
    region: &RegionId,
    query: &IcsQuery,
    headers: &HeaderMap,
) -> Answer<Response> {
    let lab = &entry.lab.spec.id;
    let calendar = entry.lab.calendar(region).ok_or_else(Problem::not_found)?;
    let alarms = alarms(query.alarm.as_deref())?;
    let now = api.clock.now();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    // By the day: the same calendar all day long is the same text.
    let today = Timestamp::from_second(now.as_second().div_euclid(86_400) * 86_400).unwrap_or(now);
    let from = query.from.unwrap_or_else(|| today.saturating_sub(days(1)).unwrap_or(today));
    let to = query.to.unwrap_or_else(|| later(from, days(62)));
    if to < from || to.duration_since(from) > days(400) {
        return Err(Fault::not("to", to.to_string(), "from 0 to 400 days after `from`").into());
    }
    let log = api.store.log(&[lab.as_str()]).await?;
    let mut versions = versions(api, &log, region, now);
    if let Some(last) = versions.last_mut() {
        // What is in force is what this gateway closes by.
        last.calendar = Some(calendar.clone());
    } else {
        let (since, number) = (entry.updated_at, revisions::release(calendar.tzdata()));
        versions.push(Version { since, number, calendar: Some(calendar.clone()) });
    }
    let mut listed = revisions::revised(&versions, (from, to), CUTOFFS_MAX);
    let open = api.store.open_batches(lab).await?;
    let open: Vec<&BatchFacts> =
        open.iter().filter(|batch| batch.region == *region && !batch.direct).collect();
    for (batch, at) in open.iter().zip(moved(api, &open).await?) {
        revisions::hold(&mut listed, batch, at);
    }
    listed.sort_by_key(|(cutoff, _)| cutoff.at);
    let place = format!("{lab}/{region}");
    let entries: Vec<ics::Entry> = listed
        .into_iter()
        .map(|(cutoff, revision)| ics::Entry { place: place.clone(), cutoff, revision })
        .collect();
    let name = format!("Cutoffs {place}");
    let shown = Feed { name: &name, time_zone: Some(calendar.time_zone()), alarms: &alarms };
    Ok(cached(ics::calendar(shown, &entries), headers))
}

/// The text, unless the caller has it already.
fn cached(text: String, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", &hex(&Sha256::digest(text.as_bytes()))[..32]);
    let asked = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = asked.flat_map(|value| value.split(',')).map(str::trim);
    let known = tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { text.into_response() };
    let answered = response.headers_mut();
    if known {
        answered.remove(header::CONTENT_TYPE);
    } else {
        let kind = HeaderValue::from_static("text/calendar; charset=utf-8");
        answered.insert(header::CONTENT_TYPE, kind);
    }
    answered.insert(header::CACHE_CONTROL, CACHE);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answered.insert(header::ETAG, tag);
    }
    response
}

/// A lab that the caller may see, and a region of it.
fn place(
    api: &Api,
    caller: &Caller,
    (lab, region): &(String, String),
) -> Answer<(std::sync::Arc<LabEntry>, RegionId)> {
    let lab = LabId::parse(lab).map_err(|_| Problem::not_found())?;
    let region = RegionId::parse(region).map_err(|_| Problem::not_found())?;
    let entry = labs::entry(api, caller, &lab)?;
    entry.lab.calendar(&region).ok_or_else(Problem::not_found)?;
    Ok((entry, region))
}

/// The cutoffs of a region as an iCalendar (RFC 5545).
///
/// An event keeps its UID when its instant moves: `SEQUENCE` and `LAST-MODIFIED` grow. A window that was postponed
/// shows the time at which it closes, and a cutoff that a new calendar has no more is `CANCELLED`. Instants are in
/// UTC. Calendar programs cannot send a key: make them a link.
#[utoipa::path(get, path = "/v1/labs/{lab}/regions/{region}/cutoffs.ics", tag = "labs",
    params(("lab" = LabId, Path), ("region" = RegionId, Path), IcsQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the calendar that is known")),
    responses(
        (status = 200, description = "The calendar", body = String, content_type = "text/calendar",
            headers(("ETag" = String), ("Cache-Control" = String))),
        (status = 304, description = "It is as it was."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn cutoffs_ics(
    api: State<Api>,
    caller: Caller,
    path: Path<(String, String)>,
    query: Query<IcsQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let (entry, region) = place(&api, &caller, &path.0)?;
    feed(&api, &entry, &region, &query.0, &headers).await
}

/// A link to a calendar.
#[derive(Serialize, ToSchema)]
pub(super) struct CalendarLinkAnswer {
    /// The link: give it to a calendar program to subscribe to. Whoever has it sees the cutoffs of the region.
    #[schema(format = "uri")]
    url: String,
}

/// Makes a link to the calendar of a region.
///
/// It holds for as long as the key that asked for it, and until the links of the region are taken back. It takes
/// the `alarm` of the calendar as a query.
#[utoipa::path(post, path = "/v1/labs/{lab}/regions/{region}/cutoffs/links", tag = "labs",
    params(("lab" = LabId, Path), ("region" = RegionId, Path)),
    responses(
        (status = 201, description = "The link", body = CalendarLinkAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`no_public_url`: the gateway was not told the address that others reach; \
            `idempotency_key_in_use`.", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn link(api: State<Api>, caller: Caller, path: Path<(String, String)>) -> Answer<Response> {
    let (entry, region) = place(&api, &caller, &path.0)?;
    let Some(base) = &api.customers.base else {
        let text = "Neither `serve.public_url` nor `mail.public_url` is set, and the gateway does not listen on \
            this host alone.";
        return Err(Problem::new(Code::NoPublicUrl, text));
    };
    let lab = entry.lab.spec.id.clone();
    let serial = api.store.calendar_serial(&lab, &region).await?;
    let link = CalendarLink { lab, region, key: caller.key.to_string(), serial };
    let token = link.token(&api.links).ok_or_else(|| Problem::unexpected("a link was not signed"))?;
    Ok(answer(StatusCode::CREATED, &CalendarLinkAnswer { url: format!("{base}/cal/{token}.ics") }))
}

/// Takes back all links to the calendar of a region.
#[utoipa::path(delete, path = "/v1/labs/{lab}/regions/{region}/cutoffs/links", tag = "labs",
    params(("lab" = LabId, Path), ("region" = RegionId, Path)),
    responses(
        (status = 204, description = "None of its links holds any more."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn revoke(
    api: State<Api>,
    caller: Caller,
    path: Path<(String, String)>,
) -> Answer<StatusCode> {
    let (entry, region) = place(&api, &caller, &path.0)?;
    let lab = entry.lab.spec.id.clone();
    let revoke = RevokeCalendarLinks { lab, region, at: caller.at, actor: caller.actor.clone() };
    match store::one(&*api.store, Write::RevokeCalendarLinks(Box::new(revoke))).await? {
        Written::LinksRevoked(Some(_)) => Ok(StatusCode::NO_CONTENT),
        Written::LinksRevoked(None) => Err(Problem::not_found()),
        _ => Err(Problem::unexpected("not links")),
    }
}

/// The calendar behind a link. What opens nothing is not there, whatever is wrong with it.
pub(super) async fn subscribed(
    api: State<Api>,
    path: Path<String>,
    query: Query<IcsQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let token = path.strip_suffix(".ics").unwrap_or(&path.0);
    let link = CalendarLink::read(token, &api.links).ok_or_else(Problem::not_found)?;
    let owner = api.keys.owner(&link.key, api.clock.now()).ok_or_else(Problem::not_found)?;
    if matches!(&owner.scope, Scope::Lab(own) if *own != link.lab)
        || api.store.calendar_serial(&link.lab, &link.region).await? != link.serial
    {
        return Err(Problem::not_found());
    }
    let entry = api.registry.lab(&link.lab).ok_or_else(Problem::not_found)?;
    feed(&api, &entry, &link.region, &query.0, &headers).await
}
