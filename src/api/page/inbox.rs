//! The operator's inbox: what a lab is asked to stop, most urgent first, with two buttons each.
//!
//! Answers go through the same function as the lab's API. With a script, an answer is kept on the page for ten
//! seconds, in which it can be taken back, before it is sent; without one it is sent at once.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::live::{self, Drawn, Part};
use super::{Form, PlainPage, Shell, Shown, page, see};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::coming::{Coming, coming};
use crate::api::http::{By, StopReply, Word, take_answer};
use crate::api::problem::{Answer, Problem};
use crate::api::registry::LabEntry;
use crate::domain::batch::{TransferPhase, later};
use crate::domain::calendar::season_of;
use crate::domain::ids::{LabId, StopId};
use crate::domain::mail::{Line, readable};
use crate::domain::order::{OrderFacts, Stage};
use crate::domain::stop::{StopFacts, StopState};
use crate::store::{OrderRef, Scope, StopFilter, StopRow};

/// How many tasks are shown at once.
const TASKS: i64 = 50;
/// How many of those that were decided lately.
const DECIDED: i64 = 10;
/// For how long ahead windows are shown: what is today and tomorrow somewhere.
const AHEAD: SignedDuration = SignedDuration::from_hours(60);

/// A stop that waits for an answer.
#[derive(Template)]
#[template(path = "inbox_task.html")]
struct TaskPart {
    id: String,
    reference: String,
    platform: String,
    items: Vec<Line>,
    part: bool,
    more: usize,
    reason: String,
    comment: String,
    asked: String,
    due_at: Timestamp,
    due: String,
    with_a_person: bool,
    /// Whether the lab has the order, as far as anybody knows: before, nobody can say that it was taken out.
    there: bool,
    csrf: String,
    lab: String,
}

/// A stop that was decided.
#[derive(Template)]
#[template(path = "inbox_decided.html")]
struct DecidedPart {
    id: String,
    reference: String,
    platform: String,
    state: StopState,
    at: Option<Timestamp>,
    at_local: String,
}

/// A window of today or tomorrow.
#[derive(Template)]
#[template(path = "inbox_window.html")]
struct WindowPart {
    id: String,
    region: String,
    day: String,
    local: String,
    at: Timestamp,
    /// The season that it belongs to, and whether that is a peak.
    season: Option<(String, bool)>,
    postponed: bool,
    waiting: Option<i64>,
}

/// How many tasks there are.
#[derive(Template)]
#[template(path = "inbox_count.html")]
struct CountPart {
    count: usize,
    more: bool,
}

/// The whole page.
#[derive(Template)]
#[template(path = "inbox.html")]
struct InboxPage {
    shell: Shell,
    name: String,
    paused: Option<String>,
    count: Vec<Part>,
    tasks: Vec<Part>,
    windows: Vec<Part>,
    decided: Vec<Part>,
    said: Option<&'static str>,
}

/// The labs that ops can look at.
#[derive(Template)]
#[template(path = "inbox_labs.html")]
struct LabsPage {
    shell: Shell,
    labs: Vec<(String, String)>,
}

/// What the address says.
#[derive(Deserialize)]
pub(in crate::api) struct InboxQuery {
    /// The lab, when ops look.
    #[serde(default)]
    lab: Option<String>,
    /// What came of an answer.
    #[serde(default)]
    said: Option<String>,
}

/// Whose inbox is looked at.
fn whose(api: &Api, caller: &Caller, named: Option<&str>) -> Answer<Option<Arc<LabEntry>>> {
    let lab = match (&caller.scope, named) {
        (Scope::Lab(own), None) => own.clone(),
        (Scope::Lab(own), Some(named)) if own.as_str() == named => own.clone(),
        (Scope::Ops, Some(named)) => LabId::parse(named).map_err(|_| Problem::not_found())?,
        (Scope::Ops, None) => return Ok(None),
        _ => return Err(Problem::not_found()),
    };
    api.registry.lab(&lab).map(Some).ok_or_else(Problem::not_found)
}

/// Shows the inbox.
pub(in crate::api) async fn show(api: State<Api>, caller: Caller, query: Query<InboxQuery>) -> Shown {
    let Some(entry) = whose(&api, &caller, query.lab.as_deref())? else {
        let snapshot = api.registry.snapshot();
        let labs =
            snapshot.labs.iter().map(|(id, entry)| (id.to_string(), entry.lab.spec.name.clone())).collect();
        return Ok(page(StatusCode::OK, &LabsPage { shell: Shell::of(&caller, "inbox"), labs }));
    };
    let lab = entry.lab.spec.id.to_string();
    let [count, tasks, windows, decided] = parts(&api, &caller, &entry).await?;
    let shown = InboxPage {
        shell: Shell::of(&caller, "inbox").live(format!("/lab/live?lab={lab}")),
        name: entry.lab.spec.name.clone(),
        paused: entry.paused.as_ref().map(|(_, reason)| reason.clone()),
        count,
        tasks,
        windows,
        decided,
        said: query.said.as_deref().and_then(said),
    };
    Ok(page(StatusCode::OK, &shown))
}

/// Follows the inbox.
pub(in crate::api) async fn live(api: State<Api>, caller: Caller, query: Query<InboxQuery>) -> Shown {
    let entry = whose(&api, &caller, query.lab.as_deref())?.ok_or_else(Problem::not_found)?;
    let (place, who, lab) = (api.0.clone(), caller.clone(), entry.lab.spec.id.clone());
    let draw = move || {
        let (api, who, lab) = (place.clone(), who.clone(), lab.clone());
        async move {
            let entry = api.registry.lab(&lab).ok_or_else(Problem::not_found)?;
            let [count, tasks, windows, decided] = parts(&api, &who, &entry).await?;
            let say = match tasks.len() {
                0 => "Nothing waits for an answer.".to_owned(),
                1 => "One stop waits for an answer.".to_owned(),
                many => format!("{many} stops wait for an answer."),
            };
            let boxes = vec![("count", count), ("tasks", tasks), ("windows", windows), ("decided", decided)];
            Ok(Drawn { boxes, say: Some(say) })
        }
    };
    let frames = live::follow(&api, &entry.lab.spec.id, draw);
    Ok(live::live(&api, Some(caller), frames)?)
}

/// What an answer led to, in words.
fn said(word: &str) -> Option<&'static str> {
    match word {
        "stopped" => Some("Thank you: it is stopped, and the platform has been told."),
        "too_late" => Some("Thank you: the platform has been told that it is too late."),
        "already" => Some("It had been answered before, in the same way."),
        _ => None,
    }
}

async fn parts(api: &Api, caller: &Caller, entry: &LabEntry) -> Answer<[Vec<Part>; 4]> {
    let now = api.clock.now();
    let lab = &entry.lab.spec.id;
    let scope = Scope::Lab(lab.clone());
    let waits =
        StopFilter { urgent_after: Some((Timestamp::MIN, None)), limit: TASKS, ..StopFilter::default() };
    let rows = api.store.stops(&scope, &waits).await?;
    let which: Vec<OrderRef> = rows.iter().map(|row| OrderRef::Id(row.stop.order.clone())).collect();
    let orders = api.store.orders(&scope, &which).await?;
    let shell = Shell::of(caller, "inbox");
    let tasks: Vec<Part> = rows
        .iter()
        .zip(orders)
        .map(|(row, order)| task(entry, row, order, shell.csrf()))
        .collect::<Answer<_>>()?;

    let lately = StopFilter { decided: true, limit: DECIDED, ..StopFilter::default() };
    let decided = api.store.stops(&scope, &lately).await?;
    let decided = decided.iter().map(decided_part).collect::<Answer<Vec<_>>>()?;
    let count = CountPart { count: tasks.len(), more: tasks.len() as i64 == TASKS };
    Ok([vec![Part::of("count-of-tasks", &count)?], tasks, windows(api, entry, now).await?, decided])
}

fn task(entry: &LabEntry, row: &StopRow, order: Option<OrderFacts>, csrf: &str) -> Answer<Part> {
    let StopFacts { id, deadline_at, asked_at, state, reason, comment, .. } = &row.stop;
    let calendar = order.as_ref().and_then(|order| entry.lab.calendar(&order.region));
    let local = |at: Timestamp| calendar.map_or_else(|| at.to_string(), |known| readable(&known.shown(at).0));
    let phase = order.as_ref().and_then(|order| order.transfer.as_ref()).map(|transfer| transfer.phase);
    let mut items = order.as_ref().map(|order| order.lines_of(&row.stop)).unwrap_or_default();
    let more = items.len().saturating_sub(ITEMS);
    items.truncate(ITEMS);
    let part = TaskPart {
        id: id.to_string(),
        reference: row.reference.clone(),
        platform: row.platform.clone(),
        items,
        part: row.stop.items.is_some(),
        more,
        reason: reason.clone(),
        comment: comment.clone().unwrap_or_default(),
        asked: local(*asked_at),
        due_at: *deadline_at,
        due: local(*deadline_at),
        with_a_person: *state == StopState::WithAPerson,
        there: matches!(phase, Some(TransferPhase::AtLab | TransferPhase::WithAPerson)),
        csrf: csrf.to_owned(),
        lab: row.lab.to_string(),
    };
    Part::of(format!("task-{id}"), &part)
}

/// How many lines of an order are shown.
const ITEMS: usize = 8;

fn decided_part(row: &StopRow) -> Answer<Part> {
    let id = row.stop.id.to_string();
    let at = row.stop.decided_at;
    let part = DecidedPart {
        id: id.clone(),
        reference: row.reference.clone(),
        platform: row.platform.clone(),
        state: row.stop.state,
        at,
        at_local: at.map(|at| at.strftime("%H:%M UTC").to_string()).unwrap_or_default(),
    };
    Part::of(format!("decided-{id}"), &part)
}

/// The windows that close today and tomorrow on the clocks of their regions, and later those that orders wait in:
/// open batches stand where they close, which may not be where their cutoff was.
async fn windows(api: &Api, entry: &LabEntry, now: Timestamp) -> Answer<Vec<Part>> {
    let lab = entry.lab.spec.id.clone();
    let open = api.store.board(&[lab]).await?.open;
    let mut all = Vec::new();
    for region in &entry.lab.places {
        let calendar = &region.calendar;
        let today = calendar.shown(now).1;
        let here = open.iter().filter(|batch| batch.place.1 == region.id);
        for window in coming(here, Some(calendar), (now, later(now, AHEAD))) {
            let Some((day, local)) = when(&window, today) else { continue };
            // By its own instant: two may close at the same one.
            let id = format!("window-{}-{}", region.id, window.window_at.as_second());
            let season = season_of(&window.rule).map(|name| (name.to_owned(), calendar.is_peak(name)));
            let part = WindowPart {
                id: id.clone(),
                region: region.id.to_string(),
                day,
                local,
                at: window.closes_at,
                season,
                postponed: window.postponed,
                waiting: window.batch.as_ref().map(|(_, waiting, _)| *waiting),
            };
            all.push((window.closes_at, Part::of(id, &part)?));
        }
    }
    all.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.id.cmp(&b.id)));
    Ok(all.into_iter().map(|(_, part)| part).collect())
}

/// On which day and at which time a window closes on its region's clocks; nothing if that is neither today nor
/// tomorrow, and no order waits for it.
fn when(window: &Coming, today: Date) -> Option<(String, String)> {
    let clock = window.local.get(11..16).unwrap_or_default().to_owned();
    // The end of a day is not the beginning of the next one, where it was written as its end.
    let (date, time) = if window.rule.ends_with(" 24:00") && !window.postponed {
        (window.production_date.as_str(), "24:00".to_owned())
    } else {
        (window.local.get(..10).unwrap_or_default(), clock)
    };
    let day: Option<Date> = date.parse().ok();
    let named = if day == Some(today) {
        "today"
    } else if day.is_some() && day == today.tomorrow().ok() {
        "tomorrow"
    } else if window.batch.is_some() {
        date
    } else {
        return None;
    };
    Some((named.to_owned(), time))
}

/// What the buttons say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Button {
    Stopped,
    TooLate,
}

/// The form of a task.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct AnswerForm {
    answer: Button,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    lab: String,
}

/// Takes an answer.
pub(in crate::api) async fn answer(
    api: State<Api>,
    caller: Caller,
    stop: Path<String>,
    headers: HeaderMap,
    form: Form<AnswerForm>,
) -> Shown {
    let AnswerForm { answer, reason, lab } = form.0;
    let stop = StopId::parse(&stop.0).map_err(|_| Problem::not_found())?;
    let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let (word, told) = match answer {
        Button::Stopped => (Word::Removed, "stopped"),
        Button::TooLate => (Word::WillPrint, "too_late"),
    };
    let reply = StopReply { answer: word, reason, stage: Stage::Received, items: Vec::new() };
    let scripted = headers.get(header::ACCEPT).is_some_and(|kinds| kinds == "application/json");
    let (_, changed) = match take_answer(&api, &caller, By::Person, stop, reply).await {
        Ok(taken) => taken,
        Err(problem) if scripted => return Ok(problem.into_response()),
        Err(problem) => return Ok(refused(&api, &caller, problem, &lab)),
    };
    if scripted {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let lab = url::form_urlencoded::byte_serialize(lab.as_bytes()).collect::<String>();
    Ok(see(&format!("/lab?lab={lab}&said={}", if changed { told } else { "already" })))
}

/// An answer that was not taken, with the way back.
fn refused(api: &Api, caller: &Caller, problem: Problem, lab: &str) -> Response {
    let document = problem.document();
    let status = StatusCode::from_u16(document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let lab = url::form_urlencoded::byte_serialize(lab.as_bytes()).collect::<String>();
    let shown = PlainPage {
        shell: Shell::of(caller, "inbox"),
        next: Some(("Back to the inbox", format!("/lab?lab={lab}"))),
        ..PlainPage::new(api.clock.now(), document.title, &document.detail)
    };
    page(status, &shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::Calendar;
    use crate::domain::ids::BatchId;
    use crate::domain::zones::Zones;

    /// What is shown of a calendar's windows at an instant.
    fn shown(cutoffs: &str, zone: &str, now: &str) -> Vec<String> {
        let spec = format!(r#"{{"time_zone":"{zone}","cutoffs":{cutoffs}}}"#);
        let now = now.parse().unwrap();
        let calendar =
            Calendar::build(&serde_json::from_str(&spec).unwrap(), &Zones::bundled(), now).unwrap();
        let all = coming([], Some(&calendar), (now, later(now, AHEAD)));
        let today = calendar.shown(now).1;
        all.iter().filter_map(|it| when(it, today)).map(|(day, time)| format!("{day} {time}")).collect()
    }

    #[test]
    fn a_midnight_belongs_to_the_day_that_it_was_written_for() {
        for (cutoffs, zone, now, expected) in [
            // The one that begins a day, and the one that ends it: the same instant, told as it was written.
            (r#"["00:00"]"#, "Europe/Helsinki", "2026-11-21T18:00:00Z", vec!["tomorrow 00:00"]),
            (
                r#"["24:00"]"#,
                "Europe/Helsinki",
                "2026-11-21T18:00:00Z",
                vec!["today 24:00", "tomorrow 24:00"],
            ),
            (
                r#"["00:00","12:00"]"#,
                "Europe/Helsinki",
                "2026-11-20T22:00:01Z",
                vec!["today 12:00", "tomorrow 00:00", "tomorrow 12:00"],
            ),
            (
                r#"["12:00","24:00"]"#,
                "Europe/Helsinki",
                "2026-11-21T18:00:00Z",
                vec!["today 24:00", "tomorrow 12:00", "tomorrow 24:00"],
            ),
            // The clock jumps over midnight: it is still the end of its day.
            (r#"["24:00"]"#, "Asia/Beirut", "2027-03-27T10:00:00Z", vec!["today 24:00", "tomorrow 24:00"]),
            (r#"["00:00"]"#, "Asia/Beirut", "2027-03-27T10:00:00Z", vec!["tomorrow 01:00"]),
        ] {
            assert_eq!(shown(cutoffs, zone, now), expected, "{cutoffs} in {zone} at {now}");
        }
    }

    #[test]
    fn a_postponed_window_stands_on_the_day_on_which_it_closes() {
        let window = |local: &str, postponed, batch: bool| Coming {
            window_at: Timestamp::UNIX_EPOCH,
            closes_at: Timestamp::UNIX_EPOCH,
            local: local.to_owned(),
            production_date: "2026-11-21".to_owned(),
            rule: "regular 24:00".to_owned(),
            batch: batch.then(|| (BatchId::parse(&format!("bat_{:032x}", 1)).unwrap(), 2, 0)),
            postponed,
        };
        let today: Date = "2026-11-21".parse().unwrap();
        let told = |it: Coming| when(&it, today).map(|(day, time)| format!("{day} {time}"));
        let is = |text: &str| Some(text.to_owned());
        let (midnight, later) = ("2026-11-22T00:00:00+02:00[Europe/Helsinki]", "2026-11-22T00:30:00+02:00");
        assert_eq!(told(window(midnight, false, true)), is("today 24:00"));
        assert_eq!(told(window(later, true, true)), is("tomorrow 00:30"));
        assert_eq!(told(window("2026-11-24T09:00:00+02:00", true, true)), is("2026-11-24 09:00"));
        assert_eq!(told(window("2026-11-24T09:00:00+02:00", true, false)), None);
    }
}
