//! What is live on the pages of ops, and their streams.
//!
//! A template marks its live parts: `<!--part-->` and `<!--/part-->` around one element that has an id and an empty
//! `data-mark`, and `<!--box NAME-->` and `<!--/box-->` around those that come and go within the element of that
//! id. A [`Sheet`] is a template so written; the page is sent whole, its stream sends the parts that changed.
//!
//! A page carries the digest of its parts, and a stream begins with a look: what the page has already is not sent
//! again. From then on it is drawn anew when the log speaks of what it shows, at most once a second.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::{FutureExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::page::live::{Drawn, Known, Part, Written, changes, happens, lasts, live, pause, resumes};
use crate::api::page::{Shown, written};
use crate::api::problem::{Answer, Problem};
use crate::api::registry::Followed;
use crate::api::tail::Listener;
use crate::domain::event::hex;
use crate::domain::ids::LabId;
use crate::store::{Scope, Sighting};

/// The boxes that templates name.
const BOXES: [&str; 2] = ["timeline", "escalations"];
/// How long what happens at once is gathered.
const GATHER: Duration = Duration::from_millis(200);
/// How long a page rests after it was drawn.
const REST: Duration = Duration::from_millis(800);
/// How long a store that does not answer is left alone.
const AGAIN: Duration = Duration::from_secs(1);
/// How long those who listen are told nothing more.
const QUIET: Duration = Duration::from_secs(5);

/// A page as it is written, with its live parts.
pub(super) struct Sheet {
    html: String,
    drawn: Drawn,
    digest: String,
}

impl Sheet {
    /// Writes a template.
    pub(super) fn of(template: &impl Template) -> Answer<Self> {
        let text = template.render().map_err(|error| Problem::unexpected(&error.to_string()))?;
        Ok(Self::cut(&text))
    }

    fn cut(text: &str) -> Self {
        let mut html = String::with_capacity(text.len());
        let mut boxes: Vec<(&'static str, Vec<Part>)> = vec![("", Vec::new())];
        boxes.extend(BOXES.iter().map(|name| (*name, Vec::new())));
        let mut there = vec![""];
        let mut digest = Sha256::new();
        let mut at = 0;
        let mut rest = text;
        // What others wrote is escaped: no mark of a template's can be among it.
        while let Some((before, after)) = rest.split_once("<!--") {
            html.push_str(before);
            let (word, after) = after.split_once("-->").unwrap_or((after, ""));
            rest = after;
            if word == "part" {
                let (element, after) = rest.split_once("<!--/part-->").unwrap_or((rest, ""));
                let element = element.trim();
                let id = element.split_once(" id=\"").and_then(|(_, id)| id.split_once('"'));
                let part = Part::drawn(id.map_or("", |(id, _)| id), element).marked();
                digest.update(part.html.as_bytes());
                html.push_str(&part.html);
                boxes[at].1.push(part);
                rest = after;
            } else if let Some(name) = word.strip_prefix("box ") {
                at = boxes.iter().position(|(known, _)| *known == name).unwrap_or(0);
                there.push(boxes[at].0);
                digest.update(name.as_bytes());
            } else {
                at = 0;
            }
        }
        html.push_str(rest);
        boxes.retain(|(name, _)| there.contains(name));
        let digest = hex(&digest.finalize()[..8]);
        Self { html, drawn: Drawn { boxes, say: None }, digest }
    }

    /// The same, with what those who listen rather than look are told when it changes.
    pub(super) fn say(mut self, say: Option<String>) -> Self {
        self.drawn.say = say;
        self
    }

    /// The page.
    pub(super) fn answer(self, status: StatusCode) -> Response {
        let cursor = format!("data-cursor=\"{}\"", self.digest);
        written(status, self.html.replacen("data-cursor=\"\"", &cursor, 1))
    }
}

/// Follows what a page shows; `after` is the digest of what the page itself has.
pub(super) async fn follow<F>(
    api: &Api,
    caller: Caller,
    from: (&HeaderMap, Option<&str>),
    concerns: impl Fn(&Sighting) -> bool + Send + Sync + 'static,
    make: impl Fn() -> F + Send + Sync + 'static,
) -> Shown
where
    F: Future<Output = Answer<Sheet>> + Send + 'static,
{
    follow_lab(api, caller, from, (concerns, None), make).await
}

/// The same for a page that shows a lab: when that has changed, too.
pub(super) async fn follow_lab<F>(
    api: &Api,
    caller: Caller,
    (headers, after): (&HeaderMap, Option<&str>),
    (concerns, lab): (impl Fn(&Sighting) -> bool + Send + Sync + 'static, Option<&LabId>),
    make: impl Fn() -> F + Send + Sync + 'static,
) -> Shown
where
    F: Future<Output = Answer<Sheet>> + Send + 'static,
{
    // Before the first look: what happens from here on draws it anew.
    let lab = lab.map(|lab| Followed::new(&api.registry, lab.clone()));
    let listener = api.tail.listen_from_now(Scope::Ops).await?;
    let first = make().await?;
    let mut known = Known::default();
    let has = resumes(headers, after).is_some_and(|has| has == first.digest);
    let mut frame = known.frame(first.drawn, first.digest, api.clock.now());
    if let Some(frame) = &mut frame {
        // How it stood at first is on the page, for those who listen as well.
        frame.say = None;
    }
    let begin = frame.filter(|_| !has).map(|frame| Written::from(&frame));
    let state =
        Following { api: api.clone(), listener, lab, concerns, make, known, owes: false, quiet: None };
    let frames = stream::unfold((state, begin), |(mut state, begin)| async move {
        if let Some(begin) = begin {
            return Some((begin, (state, None)));
        }
        let next = state.next().await?;
        Some((next, (state, None)))
    });
    Ok(live(api, Some(caller), frames)?)
}

struct Following<C, M> {
    api: Api,
    listener: Listener,
    lab: Option<Followed>,
    concerns: C,
    make: M,
    known: Known,
    /// Whether there is something that those who listen were not told yet.
    owes: bool,
    /// Until this is over, nothing is told to them.
    quiet: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<C, M, F> Following<C, M>
where
    C: Fn(&Sighting) -> bool + Sync,
    M: Fn() -> F,
    F: Future<Output = Answer<Sheet>>,
{
    /// What changed next; `None` if there is nothing to be followed any more.
    async fn next(&mut self) -> Option<Written> {
        let mut failed = false;
        loop {
            if failed {
                pause(AGAIN).await;
            } else {
                self.wait().await;
            }
            failed = false;
            match (self.make)().await {
                Ok(mut sheet) => {
                    let news = sheet.drawn.say.as_ref() != self.known.said();
                    self.owes = news && !self.may_tell();
                    if self.owes {
                        sheet.drawn.say = self.known.said().cloned();
                    }
                    let frame = self.known.frame(sheet.drawn, sheet.digest, self.api.clock.now());
                    let Some(frame) = frame else { continue };
                    if frame.say.is_some() {
                        self.quiet = Some(Box::pin(pause(QUIET)));
                    }
                    return Some(Written::from(&frame));
                }
                // Its lab was deleted, say: the page is told by the end of its stream.
                Err(problem) if lasts(&problem) => return None,
                Err(_) => failed = true,
            }
        }
    }

    /// Whether what was told last was told a while ago.
    fn may_tell(&mut self) -> bool {
        let over = self.quiet.as_mut().is_none_or(|quiet| quiet.now_or_never().is_some());
        if over {
            self.quiet = None;
        }
        over
    }

    /// Waits until it may look otherwise, or what is owed may be told.
    async fn wait(&mut self) {
        pause(REST).await;
        let happens = async {
            tokio::select! {
                () = happens(&mut self.listener, &self.concerns) => {}
                () = changes(&self.api, &mut self.lab) => {}
            }
        };
        match self.quiet.as_mut().filter(|_| self.owes) {
            Some(quiet) => tokio::select! {
                () = happens => {}
                () = quiet => self.quiet = None,
            },
            None => happens.await,
        }
        pause(GATHER).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<body data-cursor=\"\"><main><!--part--><h1 id=\"head\" data-mark=\"\">A</h1><!--/part-->\
        <ol id=\"timeline\"><!--box timeline-->\n<!--part--><li id=\"t-1\" data-mark=\"\">one</li><!--/part-->\
        <!--part-->\n<li id=\"t-2\" data-mark=\"\">two</li>\n<!--/part--><!--/box--></ol>\
        <!--part--><p id=\"end\" data-mark=\"\"></p><!--/part--></main>";

    #[test]
    fn a_sheet_is_cut_into_its_parts() {
        let sheet = Sheet::cut(TEXT);
        let parts: Vec<(&str, Vec<&str>)> = (sheet.drawn.boxes.iter())
            .map(|(name, parts)| (*name, parts.iter().map(|part| part.id.as_str()).collect()))
            .collect();
        assert_eq!(parts, [("", vec!["head", "end"]), ("timeline", vec!["t-1", "t-2"])]);
        assert!(!sheet.html.contains("<!--") && !sheet.html.contains("data-mark=\"\""), "{}", sheet.html);
        for (_, parts) in &sheet.drawn.boxes {
            assert!(parts.iter().all(|part| sheet.html.contains(&part.html)), "the page has what is sent");
        }
        let again = Sheet::cut(TEXT);
        assert_eq!((&again.digest, &again.html), (&sheet.digest, &sheet.html));
        for other in [TEXT.replace("two", "2"), TEXT.replace("A</h1>", "B</h1>")] {
            assert_ne!(Sheet::cut(&other).digest, sheet.digest);
        }
        let same = Sheet::cut(&TEXT.replace("<body ", "<body data-now=\"later\" "));
        assert_eq!(same.digest, sheet.digest, "only what is live counts");
    }
}
