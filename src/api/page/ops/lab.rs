//! A lab for ops: how it stands, how it has done, and when its batches close in the coming days.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::SignedDuration;
use serde::Deserialize;

use super::calendar::{Day, days};
use super::words::{self, Badge};
use super::{After, follow, named};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::http::{Query, switch_lab};
use crate::api::page::board::{iso, reach, there, utc};
use crate::api::page::{Form, Shell, Shown, page, see};
use crate::api::problem::Problem;
use crate::api::words::required;
use crate::domain::health::LabHealth;
use crate::domain::ids::{BatchId, LabId, RegionId};
use crate::domain::lab::{LabSpec, TakesStops};
use crate::domain::verdict::Odds;
use crate::store::{BatchFilter, BatchRow, LabSwitch, ScoreRow};

/// How far a scorecard looks back.
const SCORED: SignedDuration = SignedDuration::from_hours(30 * 24);

struct RegionShown {
    id: RegionId,
    zone: String,
    tzdata: String,
    next: Option<(String, String, String)>,
    open: Vec<(BatchId, i64)>,
    days: Vec<Day>,
}

struct BatchShown {
    id: BatchId,
    region: RegionId,
    badge: Badge,
    closes: (String, String),
    orders: i64,
    stopped: i64,
    waiting: i64,
}

impl From<&BatchRow> for BatchShown {
    fn from(row: &BatchRow) -> Self {
        Self {
            id: row.batch.id.clone(),
            region: row.batch.region.clone(),
            badge: words::batch(row.batch.phase),
            closes: (iso(row.batch.closes_at), utc(row.batch.closes_at)),
            orders: row.orders,
            stopped: row.stopped,
            waiting: row.waiting,
        }
    }
}

type HealthLine = (&'static str, String, Option<(String, String)>);

#[derive(Template)]
#[template(path = "ops/lab.html")]
struct LabPage {
    shell: Shell,
    id: LabId,
    name: String,
    driver: String,
    reach: Option<Badge>,
    cause: Option<String>,
    health: Vec<HealthLine>,
    stops: &'static str,
    paused: Option<(String, String, String)>,
    score: ScoreRow,
    odds: Option<String>,
    answers: Option<(String, String)>,
    regions: Vec<RegionShown>,
    batches: Vec<BatchShown>,
}

/// A length of time for people.
fn lasting(us: i64) -> String {
    let s = us / 1_000_000;
    match s {
        ..1 => format!("{} ms", us / 1000),
        1..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h", s / 3600),
        _ => format!("{} days", s / 86_400),
    }
}

fn stops(spec: &LabSpec) -> &'static str {
    match spec.policy.takes(spec.profile.stops) {
        TakesStops::Yes if spec.people_answer() => "its people answer",
        TakesStops::Yes => "it is asked by machine",
        TakesStops::No => "no channel: somebody of yours asks",
        TakesStops::FinalOnReceipt => "none: what it has is final",
    }
}

fn standing(health: &LabHealth) -> Vec<HealthLine> {
    let mut lines: Vec<HealthLine> = Vec::new();
    if let Some(lane) = &health.lane {
        lines.push(("Calls", format!("{} of {} under way", lane.in_flight, lane.concurrency), None));
        for (name, at) in [("As it is since", lane.since), ("Tried again", lane.closed_until)] {
            if let Some(at) = at {
                lines.push((name, String::new(), Some((iso(at), utc(at)))));
            }
        }
        for (name, heard) in [("Last answer", lane.last_answer), ("Last failure", lane.last_failure)] {
            if let Some(heard) = heard {
                lines.push((name, heard.answer.replace('_', " "), Some((iso(heard.at), utc(heard.at)))));
            }
        }
    }
    if let Some(links) = health.links {
        let text = format!("{} open, taking {} calls at a time", links.connections, links.window);
        lines.push(("Connections", text, None));
        if let Some(at) = links.last_heard_at {
            lines.push(("Last heard", String::new(), Some((iso(at), utc(at)))));
        }
    }
    lines
}

/// A lab.
pub(in crate::api) async fn lab(api: State<Api>, caller: Caller, path: Path<String>) -> Shown {
    let id = named(&path, LabId::parse)?;
    let entry = api.registry.lab(&id).ok_or_else(Problem::not_found)?;
    let cursor = follow::cursor(&api).await?;
    let now = api.clock.now();
    let since = now.checked_sub(SCORED).unwrap_or(jiff::Timestamp::MIN);
    let score = api.store.scorecard(&id, since).await?;
    let filter = BatchFilter { lab: Some(id.clone()), limit: 20, ..BatchFilter::default() };
    let batches = api.store.batches(&caller.scope, &filter).await?;
    let open = api.store.board(std::slice::from_ref(&id)).await?.open;
    let spec = &entry.lab.spec;
    let regions = spec.regions.iter().zip(&entry.lab.calendars).map(|(region, calendar)| {
        let own = open.iter().filter(|batch| batch.place.1 == region.id);
        RegionShown {
            id: region.id.clone(),
            zone: calendar.time_zone().to_owned(),
            tzdata: calendar.tzdata().to_owned(),
            next: calendar.next_cutoff(now).map(|next| (iso(next.at), utc(next.at), there(&next.local))),
            open: own.map(|batch| (batch.batch.clone(), batch.waiting)).collect(),
            days: days(calendar, now),
        }
    });
    let health = (api.health)(&id);
    let odds = Odds::of(score.of_lab, score.stopped)
        .map(|odds| format!("{:.0} to {:.0} % are stopped", odds.low * 100.0, odds.high * 100.0));
    let shown = LabPage {
        shell: Shell::of(&caller, "lab").live(format!("/ops/labs/{id}/live")).cursor(cursor),
        name: spec.name.clone(),
        driver: spec.driver.kind.clone(),
        reach: health.as_ref().map(|health| reach(health.reach)),
        cause: health.as_ref().and_then(|health| health.cause.clone()),
        health: health.as_ref().map(standing).unwrap_or_default(),
        stops: stops(spec),
        paused: entry.paused.as_ref().map(|(at, reason)| (iso(*at), utc(*at), reason.clone())),
        odds,
        answers: score.answer_p50_us.zip(score.answer_p90_us).map(|(a, b)| (lasting(a), lasting(b))),
        score,
        regions: regions.collect(),
        batches: batches.iter().map(BatchShown::from).collect(),
        id,
    };
    Ok(page(StatusCode::OK, &shown))
}

/// A lab's stream.
pub(in crate::api) async fn lab_live(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<After>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let after = query?.0.after;
    let (own, who) = (api.clone(), caller.clone());
    let make = move || lab(own.clone(), who.clone(), Path(path.0.clone()));
    Ok(follow::follow(&api, caller, &headers, after.as_deref(), make)?)
}

/// The form that pauses a lab.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PauseForm {
    reason: String,
}

/// Pauses a lab, by the same function as the API does.
pub(in crate::api) async fn pause(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<PauseForm>,
) -> Shown {
    let id = named(&path, LabId::parse)?;
    required("reason", &form.0.reason)?;
    switch_lab(&api, &caller, &id, LabSwitch::Pause(form.0.reason)).await?;
    Ok(see(&format!("/ops/labs/{id}")))
}

/// Lets a lab go on, by the same function as the API does.
pub(in crate::api) async fn resume(api: State<Api>, caller: Caller, path: Path<String>) -> Shown {
    let id = named(&path, LabId::parse)?;
    switch_lab(&api, &caller, &id, LabSwitch::Resume).await?;
    Ok(see(&format!("/ops/labs/{id}")))
}

#[cfg(test)]
mod tests {
    use super::lasting;

    #[test]
    fn lengths_of_time_are_short() {
        for (us, text) in [
            (3_000, "3 ms"),
            (1_000_000, "1 s"),
            (119_000_000, "119 s"),
            (120_000_000, "2 min"),
            (7_200_000_000, "2 h"),
            (3 * 86_400_000_000, "3 days"),
        ] {
            assert_eq!(lasting(us), text);
        }
    }
}
