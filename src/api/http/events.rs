//! Everything that happened, in order: read page by page, waited for, and told as it happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event as Frame, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{self, Query, answer};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::event_filter::EventFilter;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::watches::{Begin, Place, Told, Watch, checked};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::event::Event;
use crate::domain::ids::OrderId;
use crate::domain::measures::Lasting;
use crate::store::{Sighting, Stretch};

/// How long a caller may wait for the next event.
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(60);
/// How often a stream to which nothing happens says that it is still there.
const BEAT: SignedDuration = SignedDuration::from_secs(15);
/// How soon a client is to open a stream again that broke off.
const AGAIN: Duration = Duration::from_secs(1);
/// Where a client that opens a stream again says where it was.
const LAST: &str = "last-event-id";

/// From where, and how long to wait.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Only events with a higher number: the `next` of an earlier answer; 0, the beginning, unless told.
    #[serde(default)]
    #[param(minimum = 0)]
    after: i64,
    /// How many entries of the log are looked at, 1 to 200; 50 unless told. A platform sees fewer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Where there is nothing yet, waits so long for something, at most `60s`; not at all unless told.
    #[param(value_type = Option<String>, example = "30s")]
    wait: Option<Lasting>,
    /// Only events of these kinds, such as `stop.stopped`, or families, such as `stop.*`: at most 50, with commas between
    /// them. All unless told.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "stop.*,order.admitted")]
    kind: String,
    /// Only what concerns this order, by its id.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    order: String,
    /// Only what concerns this lab.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    lab: String,
}

/// The filter that a query asks for.
fn filter(kind: &str, order: &str, lab: &str) -> Answer<EventFilter> {
    let kinds = kind.split(',').map(str::trim).filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
    Ok(EventFilter::checked(kinds, order, lab)?)
}

/// An entry of the log.
#[derive(Serialize, ToSchema)]
pub(super) struct EventAnswer {
    #[serde(flatten)]
    event: Event,
    /// The caller's orders that it concerns: the order itself, or those that the transfer carries now.
    orders: Vec<OrderId>,
}

impl From<Sighting> for EventAnswer {
    fn from(sighting: Sighting) -> Self {
        let orders = sighting.orders.into_iter().map(|concerned| concerned.order).collect();
        Self { event: sighting.event, orders }
    }
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(super) struct Events {
    /// The events, oldest first.
    events: Vec<EventAnswer>,
    /// What to pass as `after` next time. With nothing new it stays where it was.
    next: i64,
}

/// Reads what happened, in order.
///
/// A platform sees the events of its orders, of the transfers that carry them, and of its endpoints; ops see
/// all. Nothing ever comes in between later: whoever goes on with `next` misses nothing. A page may be empty and
/// `next` have moved: what was looked at was others'. With `wait`, the answer comes as soon as something happens.
#[utoipa::path(get, path = "/v1/events", tag = "ops", params(EventsQuery),
    responses(
        (status = 200, description = "A page of events", body = Events),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(api: State<Api>, caller: Caller, query: Query<EventsQuery>) -> Answer<Response> {
    let EventsQuery { after, limit, wait, kind, order, lab } = query.0;
    let (limit, after, filter) = (extract::limit(limit)?, checked(after)?, filter(&kind, &order, &lab)?);
    let stretch = match wait {
        None => wanted(api.store.stretch(&caller.scope, after, limit).await?, &filter),
        Some(wait) if wait.0 <= WAIT_MAX => waited(&api, caller, (after, limit), &filter, wait.0).await?,
        Some(wait) => return Err(Fault::not("wait", wait, "a duration up to 60s").into()),
    };
    let events = stretch.events.into_iter().map(EventAnswer::from).collect();
    Ok(answer(StatusCode::OK, &Events { events, next: stretch.seen }))
}

/// What of it is wanted.
fn wanted(mut stretch: Stretch, filter: &EventFilter) -> Stretch {
    stretch.events.retain(|sighting| filter.takes(sighting));
    stretch
}

/// What there is behind a number, as soon as there is something for the caller.
async fn waited(
    api: &Api,
    caller: Caller,
    (after, limit): (i64, i64),
    filter: &EventFilter,
    wait: SignedDuration,
) -> Answer<Stretch> {
    let until = later(api.clock.now(), wait);
    let place = Place::take(api, caller)?;
    let mut listener = api.tail.listen(place.caller.scope.clone(), after);
    loop {
        let before = listener.cursor();
        let stretch = wanted(listener.take(limit).await?, filter);
        let now = match place.may_go_on() {
            Ok(now) => now,
            // The gateway ends: what is known so far is an answer.
            Err(why) if why.code() == Code::Unavailable => return Ok(stretch),
            Err(why) => return Err(why),
        };
        if !stretch.events.is_empty() || now >= until {
            return Ok(stretch);
        }
        if stretch.seen == before {
            place.wait(Some(until), listener.more()).await;
        }
    }
}

/// From where a stream begins.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// Only events with a higher number; from now on unless told. `Last-Event-ID` goes before it.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Only events of these kinds, such as `stop.stopped`, or families, such as `stop.*`: at most 50, with commas between
    /// them. All unless told.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "stop.*,order.admitted")]
    kind: String,
    /// Only what concerns this order, by its id.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    order: String,
    /// Only what concerns this lab.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    lab: String,
}

/// Tells what happens, as it happens.
///
/// Server-sent events, each with an entry of the log as `GET /v1/events` shows it in `data`, and in `id` where to
/// go on: a client that opens the stream again with that as `Last-Event-ID`, at any replica, misses nothing and
/// sees nothing twice. An `id` without `data` says only how far was looked. A comment every 15 seconds says that the
/// stream is still there. It never ends by itself; before it ends with the gateway or with the key, an event
/// `problem` says why.
#[utoipa::path(get, path = "/v1/events/stream", tag = "ops",
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header, description = "The last `id` that was seen")),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 422, description = "`invalid`", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`: the key has 32 watches open.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn stream(
    api: State<Api>,
    caller: Caller,
    query: Query<StreamQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let from = match (last(&headers)?, query.0.after) {
        (Some(last), _) => Begin::Behind(last),
        (None, Some(after)) => Begin::Behind(after),
        (None, None) => Begin::Now,
    };
    let filter = filter(&query.0.kind, &query.0.order, &query.0.lab)?;
    let watch = Watch::open(Place::take(&api, caller)?, from, filter).await?;
    let frames = stream::unfold(Some((watch, true)), |state| async move {
        let (mut watch, first) = state?;
        let beat = watch.later(BEAT);
        let told = tokio::select! {
            told = watch.next() => told.and_then(|told| frame(told, first)),
            () = beat => Ok(Frame::default().comment("still here")),
        };
        let (frame, rest) = match told {
            Ok(frame) => (frame, Some((watch, false))),
            Err(why) => (farewell(why), None),
        };
        Some((Ok::<_, Infallible>(frame), rest))
    });
    let mut response = Sse::new(frames).into_response();
    // What stands in between is not to collect it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The number that a client names that was here before.
fn last(headers: &HeaderMap) -> Answer<Option<i64>> {
    let Some(value) = headers.get(LAST).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.map(Some).ok_or_else(|| {
        Fault::not("Last-Event-ID", text, "the `id` of an event of this stream, a whole number from 0").into()
    })
}

fn frame(told: Told, first: bool) -> Answer<Frame> {
    let mut frame = Frame::default().id(told.cursor.to_string());
    if first {
        frame = frame.retry(AGAIN);
    }
    match told.sighting {
        None => Ok(frame),
        Some(sighting) => data(frame, &EventAnswer::from(sighting)),
    }
}

fn data(frame: Frame, value: &impl Serialize) -> Answer<Frame> {
    frame.json_data(value).map_err(|_| Problem::unexpected("an event cannot be written"))
}

/// Why the stream ends.
fn farewell(why: Problem) -> Frame {
    let frame = Frame::default().event("problem");
    data(frame, &why.document()).unwrap_or_default()
}
