//! A lab for ops: how it stands, how it has done, and when its batches close in the coming days.

use std::sync::{Arc, Mutex, PoisonError};

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::calendar::{Day, days};
use super::follow::Sheet;
use super::warned::WarnedList;
use super::words::{self, Badge};
use super::{After, follow, named};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::coming::{Coming, coming};
use crate::api::http::{Query, switch_lab};
use crate::api::page::board::{iso, reach, there, utc};
use crate::api::page::{Form, Shell, Shown, see};
use crate::api::problem::{Answer, Problem};
use crate::api::words::required;
use crate::domain::batch::later;
use crate::domain::health::LabHealth;
use crate::domain::ids::{BatchId, LabId, RegionId};
use crate::domain::lab::{LabSpec, TakesStops};
use crate::domain::verdict::Odds;
use crate::store::{BatchFilter, BatchRow, LabSwitch, ScoreRow, Sighting};

/// How far a scorecard looks back.
const SCORED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How far ahead the next cutoff is looked for.
const AHEAD: SignedDuration = SignedDuration::from_hours(31 * 24);
/// For how long a scorecard holds on a page that is followed.
const SCORED_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// A window that is to close.
struct Closing {
    closes: (String, String, String),
    postponed: bool,
    batch: Option<(BatchId, i64)>,
}

impl From<Coming> for Closing {
    fn from(it: Coming) -> Self {
        Self {
            closes: (iso(it.closes_at), utc(it.closes_at), there(&it.local)),
            postponed: it.postponed,
            batch: it.batch.map(|(batch, waiting, _)| (batch, waiting)),
        }
    }
}

struct RegionShown {
    id: RegionId,
    zone: String,
    tzdata: String,
    /// The next one, and all others in which there are orders.
    coming: Vec<Closing>,
    /// Orders that go alone: how many wait out their grace, and when the first goes.
    direct: Option<(i64, String, String)>,
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
    warned: WarnedList,
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

/// A scorecard that was made a while ago.
#[derive(Default)]
struct Scored(Mutex<Option<(Timestamp, ScoreRow)>>);

impl Scored {
    async fn of(&self, api: &Api, lab: &LabId, now: Timestamp) -> Answer<ScoreRow> {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, score)) = made
            && at <= now
            && now < later(at, SCORED_EVERY)
        {
            return Ok(score);
        }
        let since = now.checked_sub(SCORED).unwrap_or(Timestamp::MIN);
        let score = api.store.scorecard(lab, since).await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, score.clone()));
        Ok(score)
    }
}

/// A lab.
pub(in crate::api) async fn lab(api: State<Api>, caller: Caller, path: Path<String>) -> Shown {
    let id = named(&path, LabId::parse)?;
    Ok(sheet(&api, &caller, id, &Scored::default()).await?.answer(StatusCode::OK))
}

async fn sheet(api: &Api, caller: &Caller, id: LabId, scored: &Scored) -> Answer<Sheet> {
    let entry = api.registry.lab(&id).ok_or_else(Problem::not_found)?;
    let now = api.clock.now();
    let score = scored.of(api, &id, now).await?;
    let filter = BatchFilter { lab: Some(id.clone()), limit: 20, ..BatchFilter::default() };
    let batches = api.store.batches(&caller.scope, &filter).await?;
    let board = api.store.board(std::slice::from_ref(&id)).await?;
    let spec = &entry.lab.spec;
    let regions = entry.lab.places.iter().map(|region| {
        let calendar = &region.calendar;
        let open = board.open.iter().filter(|batch| batch.place.1 == region.id);
        let all = coming(open, Some(calendar), (now, later(now, AHEAD))).into_iter().enumerate();
        let direct = board.direct.iter().find(|direct| direct.place.1 == region.id);
        RegionShown {
            id: region.id.clone(),
            zone: calendar.time_zone().to_owned(),
            tzdata: calendar.tzdata().to_owned(),
            coming: all
                .filter(|(nth, it)| *nth == 0 || it.batch.is_some())
                .map(|(_, it)| Closing::from(it))
                .collect(),
            direct: direct.map(|it| (it.orders, iso(it.closes_at), utc(it.closes_at))),
            days: days(calendar, now),
        }
    });
    let health = (api.health)(&id);
    let odds = Odds::of(score.decided, score.stopped)
        .map(|odds| format!("{:.0} to {:.0} % are stopped", odds.low * 100.0, odds.high * 100.0));
    let shown = LabPage {
        shell: Shell::of(caller, "lab").live(format!("/ops/labs/{id}/live")),
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
        warned: WarnedList::of(api, &entry, now).await?,
        regions: regions.collect(),
        batches: batches.iter().map(BatchShown::from).collect(),
        id,
    };
    Sheet::of(&shown)
}

/// A lab's stream.
pub(in crate::api) async fn lab_live(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    query: Result<Query<After>, Problem>,
    headers: HeaderMap,
) -> Shown {
    let id = named(&path, LabId::parse)?;
    let after = query?.0.after;
    let (own, who, scored, lab) = (api.clone(), caller.clone(), Arc::new(Scored::default()), id.clone());
    let make = move || {
        let (own, who, scored, id) = (own.clone(), who.clone(), Arc::clone(&scored), id.clone());
        async move { sheet(&own, &who, id, &scored).await }
    };
    let of = lab.clone();
    let concerns = move |it: &Sighting| it.event.lab == of.as_str();
    follow::follow_lab(&api, caller, (&headers, after.as_deref()), (concerns, Some(&lab)), make).await
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
