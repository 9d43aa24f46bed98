//! What makes a page live: a stream of frames that its script puts into it.
//!
//! A frame names elements by their ids: what they are now, which ones are gone, and in which order those of a
//! container stand. A stream begins with everything, and the script leaves alone what it has already, by its mark;
//! or, where a page says by its cursor how far it knows, with what is new since.
//! Between frames the clock of the gateway is told, so that a page can tell
//! silence from the end, and counts down by it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::api::auth::Caller;
use crate::api::problem::{Answer, Code, Problem};
use crate::api::registry::Followed;
use crate::api::tail::Listener;
use crate::api::watches::Place;
use crate::api::{Api, sessions};
use crate::domain::ids::LabId;
use crate::store::{Scope, Sighting};

/// How often the clock is told.
const CLOCK_EVERY: Duration = Duration::from_secs(5);

/// What changes on a page.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub(in crate::api) struct Frame {
    /// How far whoever has put it in knows.
    #[serde(skip)]
    pub(in crate::api) cursor: String,
    /// When it was made.
    pub(in crate::api) now: Timestamp,
    /// Elements by id, as they are now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::api) put: BTreeMap<String, String>,
    /// Elements that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::api) gone: Vec<String>,
    /// The elements of containers, in order; new ones are in `put`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::api) order: BTreeMap<String, Vec<String>>,
    /// What those who listen rather than look are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::api) say: Option<String>,
}

/// A frame as it is sent: written out once, whoever gets it.
#[derive(Debug, Clone)]
pub(in crate::api) struct Written {
    cursor: String,
    text: std::sync::Arc<str>,
}

impl From<&Frame> for Written {
    fn from(frame: &Frame) -> Self {
        let text = serde_json::to_string(frame).unwrap_or_default();
        Self { cursor: frame.cursor.clone(), text: text.into() }
    }
}

impl Written {
    /// A frame whose text is put together of pieces that were written before: a JSON object as a [`Frame`] is.
    pub(in crate::api) fn new(cursor: String, text: String) -> Self {
        Self { cursor, text: text.into() }
    }

    fn event(&self) -> Event {
        Event::default().event("frame").id(&self.cursor).data(&*self.text)
    }
}

/// How far a page knows: from the browser, which remembers it, or from the page itself.
pub(in crate::api) fn resumes(headers: &HeaderMap, after: Option<&str>) -> Option<String> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    last.or(after).filter(|cursor| !cursor.is_empty()).map(str::to_owned)
}

/// A part of a page that may change: an element with an id, and a mark by which it is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Part {
    /// Its id.
    pub(in crate::api) id: String,
    /// The element.
    pub(in crate::api) html: String,
    mark: String,
}

/// Where a part's template leaves room for its mark.
const MARK: &str = "data-mark=\"\"";

impl Part {
    /// Draws a part. Its template is one element with this id and an empty `data-mark`.
    pub(in crate::api) fn of(id: impl Into<String>, template: &impl Template) -> Answer<Self> {
        let html = template.render().map_err(|error| Problem::unexpected(&error.to_string()))?;
        Ok(Self::drawn(id, html.trim()).marked())
    }

    /// The same with its mark in it, for which its element leaves room.
    pub(in crate::api) fn marked(self) -> Self {
        let html = self.html.replacen(MARK, &format!("data-mark=\"{}\"", self.mark), 1);
        Self { html, ..self }
    }

    /// A part that is drawn already: one element with this id.
    pub(in crate::api) fn drawn(id: impl Into<String>, html: &str) -> Self {
        let mark = crate::domain::event::hex(&Sha256::digest(html.as_bytes())[..6]);
        Self { id: id.into(), html: html.to_owned(), mark }
    }
}

/// What a page is made of: its boxes, each with its parts in order.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Drawn {
    /// The boxes by their ids; parts that are in none of them stand under the empty name.
    pub(in crate::api) boxes: Vec<(&'static str, Vec<Part>)>,
    /// What those who listen are told, if it is not what they were told last.
    pub(in crate::api) say: Option<String>,
}

/// What a page that is being followed shows.
#[derive(Debug, Default)]
pub(in crate::api) struct Known {
    marks: HashMap<String, String>,
    orders: HashMap<&'static str, Vec<String>>,
    said: Option<String>,
}

impl Known {
    /// What those who listen were told last.
    pub(in crate::api) fn said(&self) -> Option<&String> {
        self.said.as_ref()
    }

    /// What changes on the page; `None` if nothing does.
    pub(in crate::api) fn frame(&mut self, drawn: Drawn, cursor: String, now: Timestamp) -> Option<Frame> {
        let mut frame = Frame { cursor, now, ..Frame::default() };
        let mut marks = HashMap::new();
        for (name, parts) in drawn.boxes {
            let order: Vec<String> = parts.iter().map(|part| part.id.clone()).collect();
            for part in parts {
                if self.marks.get(&part.id) != Some(&part.mark) {
                    frame.put.insert(part.id.clone(), part.html);
                }
                marks.insert(part.id, part.mark);
            }
            if !name.is_empty() && self.orders.get(name) != Some(&order) {
                frame.order.insert(name.to_owned(), order.clone());
                self.orders.insert(name, order);
            }
        }
        frame.gone = self.marks.keys().filter(|id| !marks.contains_key(*id)).cloned().collect();
        frame.gone.sort();
        self.marks = marks;
        if drawn.say != self.said {
            frame.say.clone_from(&drawn.say);
            self.said = drawn.say;
        }
        let still =
            frame.put.is_empty() && frame.gone.is_empty() && frame.order.is_empty() && frame.say.is_none();
        (!still).then_some(frame)
    }
}

/// How long a page that nothing happened to is left as it is.
const REDRAW_EVERY: Duration = Duration::from_secs(30);
/// How long a store that does not answer is left alone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a page rests between two frames: much may happen at once.
const REST: Duration = Duration::from_millis(200);
/// How many entries of the log are looked at in one go.
const LOOK_AT: i64 = 200;

/// Draws a lab's page again whenever something happened there, or the lab itself has changed, and gives what changed on
/// the page.
pub(in crate::api) fn follow<D, F>(
    api: &Api,
    lab: &LabId,
    draw: D,
) -> impl Stream<Item = Written> + Send + use<D, F>
where
    D: Fn() -> F + Send + 'static,
    F: Future<Output = Answer<Drawn>> + Send,
{
    let followed = Followed::new(&api.registry, lab.clone());
    follow_from(api, (Scope::Lab(lab.clone()), None), (|_: &Sighting| true, Some(followed)), draw)
}

/// The same for any page: of what concerns it, and for a page that says how far it knows, from there on.
pub(in crate::api) fn follow_some<C, D, F>(
    api: &Api,
    from: (Scope, Option<i64>),
    concerns: C,
    draw: D,
) -> impl Stream<Item = Written> + Send + use<C, D, F>
where
    C: Fn(&Sighting) -> bool + Send + Sync + 'static,
    D: Fn() -> F + Send + 'static,
    F: Future<Output = Answer<Drawn>> + Send,
{
    follow_from(api, from, (concerns, None), draw)
}

fn follow_from<C, D, F>(
    api: &Api,
    (scope, after): (Scope, Option<i64>),
    (concerns, lab): (C, Option<Followed>),
    draw: D,
) -> impl Stream<Item = Written> + Send + use<C, D, F>
where
    C: Fn(&Sighting) -> bool + Send + Sync + 'static,
    D: Fn() -> F + Send + 'static,
    F: Future<Output = Answer<Drawn>> + Send,
{
    // Unless the page says how far it knows, everything is drawn first: what happened before is in it.
    let listener = after.map(|after| api.tail.listen(scope.clone(), after));
    let first = (api.clone(), (draw, concerns, lab), Known::default(), listener);
    stream::unfold(first, move |(api, (draw, concerns, mut lab), mut known, mut listener)| {
        let scope = scope.clone();
        async move {
            let mut failed = false;
            loop {
                if failed {
                    pause(LOOK_EVERY).await;
                } else if let Some(listener) = &mut listener {
                    tokio::select! {
                        () = happens(listener, &concerns) => {}
                        () = changes(&api, &mut lab) => {}
                    }
                    pause(REST).await;
                } else if let Ok(now) = api.tail.listen_from_now(scope.clone()).await {
                    listener = Some(now);
                } else {
                    // The store does not answer: the reader is told by the silence.
                    pause(LOOK_EVERY).await;
                    continue;
                }
                let drawn = match draw().await {
                    Ok(drawn) => drawn,
                    // There is nothing to show any more: the end of its stream tells the page.
                    Err(problem) if lasts(&problem) => return None,
                    // What happened is not lost: it is drawn as soon as that can be done.
                    Err(_) => {
                        failed = true;
                        continue;
                    }
                };
                failed = false;
                let cursor = listener.as_ref().map_or(0, Listener::cursor).to_string();
                if let Some(frame) = known.frame(drawn, cursor, api.clock.now()) {
                    return Some((Written::from(&frame), (api, (draw, concerns, lab), known, listener)));
                }
            }
        }
    })
}

/// Whether drawing again gives the same problem: what was shown is gone, or is not for its reader any more.
pub(in crate::api) fn lasts(problem: &Problem) -> bool {
    let code = problem.code();
    code.status().is_client_error() && code != Code::RateLimited
}

/// Waits until the lab that a page follows has changed; where it follows none, for ever.
pub(in crate::api) async fn changes(api: &Api, lab: &mut Option<Followed>) {
    match lab {
        Some(lab) => lab.changed(&api.registry).await,
        None => std::future::pending().await,
    }
}

/// Waits until something happened that concerns a page, at most for a while.
pub(in crate::api) async fn happens(listener: &mut Listener, concerns: &(impl Fn(&Sighting) -> bool + Sync)) {
    let something = async {
        loop {
            let before = listener.cursor();
            match listener.take(LOOK_AT).await {
                Ok(stretch) if stretch.events.iter().any(concerns) => return,
                // Far behind: one look at the page costs less than reading what happened to others.
                Ok(stretch) if stretch.seen - before >= LOOK_AT => match listener.leap().await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(_) => pause(LOOK_EVERY).await,
                },
                // Others' news; there may be more at hand.
                Ok(stretch) if stretch.seen > before => {}
                Ok(_) => listener.more().await,
                Err(_) => pause(LOOK_EVERY).await,
            }
        }
    };
    tokio::select! {
        () = something => {}
        () = pause(REDRAW_EVERY) => {}
    }
}

/// Waits by the host's steady clock: it is about the connection, whatever time the gateway has.
#[expect(
    clippy::disallowed_methods,
    reason = "a heartbeat shows that the connection lives, not what time it is"
)]
pub(in crate::api) async fn pause(long: Duration) {
    tokio::time::sleep(long).await;
}

/// Sends frames until the session or the gateway ends.
///
/// # Errors
/// If the caller's key has as many watches open as it may.
pub(in crate::api) fn live(
    api: &Api,
    caller: Option<Caller>,
    frames: impl Stream<Item = Written> + Send + 'static,
) -> Answer<Response> {
    // Like every watch: a key has so many places. The stream gives it back.
    let place = caller.clone().map(|caller| Place::take(api, caller)).transpose()?;
    let frames = frames.inspect(move |_| {
        let _held = &place;
    });
    Ok(live_until(api, caller, frames, std::future::pending()))
}

/// The same, at most for so long: then the browser asks again, and its session is looked at and renewed.
pub(in crate::api) fn live_within(
    api: &Api,
    frames: impl Stream<Item = Written> + Send + 'static,
    lasts: Duration,
) -> Response {
    live_until(api, None, frames, pause(lasts))
}

fn live_until(
    api: &Api,
    caller: Option<Caller>,
    frames: impl Stream<Item = Written> + Send + 'static,
    over: impl Future<Output = ()> + Send + 'static,
) -> Response {
    // Where the frames end, everything does: a page that only heard the clock would look live.
    let frames = frames.map(|frame| Some(frame.event())).chain(stream::once(async { None }));
    let clock = stream::unfold((api.clone(), caller, false), |(api, caller, begun)| async move {
        if begun {
            pause(CLOCK_EVERY).await;
        }
        // While the store does not answer, nothing is told: what is shown may be old.
        loop {
            let session = caller.as_ref().and_then(Caller::session);
            let holds = match session {
                Some(session) => sessions::still(&api, session, api.clock.now()).await,
                None => Ok(true),
            };
            match holds {
                Ok(true) if *api.ready.borrow() => break,
                Ok(false) => return Some((None, (api, caller, true))),
                _ => pause(LOOK_EVERY).await,
            }
        }
        let now = api.clock.now();
        let event = Event::default().event("clock").data(format!("{{\"now\":\"{now}\"}}"));
        Some((Some(event), (api, caller, true)))
    });
    let end = api.end.clone().cancelled_owned();
    let first = stream::once(async { Some(Event::default().retry(Duration::from_secs(1)).comment("begin")) });
    let all = first
        .chain(stream::select(frames, clock))
        .take_while(|event| std::future::ready(event.is_some()))
        .filter_map(std::future::ready)
        .map(Ok::<_, Infallible>)
        .take_until(end)
        .take_until(Box::pin(over));
    let mut response = Sse::new(all).into_response();
    let headers = response.headers_mut();
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    // Proxies that gather answers would hold it back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, mark: &str) -> Part {
        Part { id: id.into(), html: format!("<p id={id}>{mark}</p>"), mark: mark.into() }
    }

    fn drawn(parts: &[(&str, &str)]) -> Drawn {
        Drawn { boxes: vec![("box", parts.iter().map(|(id, mark)| part(id, mark)).collect())], say: None }
    }

    #[test]
    fn a_frame_says_what_changed_and_no_more() {
        let mut known = Known::default();
        let mut next = |parts: &[(&str, &str)]| {
            known.frame(drawn(parts), "7".into(), Timestamp::UNIX_EPOCH).map(|frame| {
                let put: Vec<_> = frame.put.into_keys().collect();
                (put.join(","), frame.gone.join(","), frame.order.get("box").map(|order| order.join(",")))
            })
        };
        let told = |put: &str, gone: &str, order: Option<&str>| {
            Some((put.to_owned(), gone.to_owned(), order.map(str::to_owned)))
        };
        assert_eq!(next(&[("a", "1"), ("b", "1")]), told("a,b", "", Some("a,b")));
        assert_eq!(next(&[("a", "1"), ("b", "1")]), None);
        assert_eq!(next(&[("a", "1"), ("b", "2")]), told("b", "", None));
        assert_eq!(next(&[("b", "2"), ("a", "1")]), told("", "", Some("b,a")));
        assert_eq!(next(&[("c", "1"), ("a", "1")]), told("c", "b", Some("c,a")));
        assert_eq!(next(&[]), told("", "a,c", Some("")));
    }
}
