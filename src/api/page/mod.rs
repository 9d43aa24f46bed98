//! Pages for people: readable without scripts, live with them, escaped by their templates.
//!
//! A page is a template in this folder that extends `frame.html` and has a [`Shell`]. What is live in it has an
//! id and a small template of its own, used by the whole page and by its stream; see [`live`].

mod answer;
mod assets;
pub(super) mod board;
pub(super) mod confirm;
pub(super) mod customer;
pub(super) mod inbox;
pub(super) mod live;
pub(super) mod ops;
pub(super) mod pictures;
pub(super) mod second_factor;
mod sign_in;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

pub(super) use self::answer::AnswerPage;
pub(super) use self::assets::{asset, serve as assets};
pub(super) use self::sign_in::{open, press, show, sign_in, sign_out};
use super::auth::{Caller, Role};
use super::limits::{STOP_MAX, STOP_WITHIN};
use super::problem::{Answer, Code, Problem};
use super::within;
use crate::store::Scope;

/// What pages may load and do: nothing but our own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'";

/// The headers of every page: never kept, never framed, nothing of others.
const HEADERS: [(HeaderName, HeaderValue); 9] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains")),
    // Forms say where they come from, and nobody else is told.
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow")),
];

/// What every page has around it.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    /// The language of the page.
    pub(super) lang: &'static str,
    /// When it was made: countdowns go by this clock.
    pub(super) now: Timestamp,
    /// Where its stream is, if it is live.
    pub(super) live: Option<String>,
    /// How far it knows, for its stream to begin there; empty: from the beginning.
    pub(super) cursor: String,
    /// Which of the links at the top is this page.
    pub(super) here: &'static str,
    /// Who looks.
    pub(super) viewer: Option<Viewer>,
}

/// Who looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    /// What the key is for, as whoever made it said.
    pub(super) name: String,
    /// Whether it is ops.
    pub(super) ops: bool,
    /// The lab, if it is one.
    pub(super) lab: Option<String>,
    /// What the page's forms carry.
    pub(super) csrf: String,
}

impl Shell {
    /// A page that anybody may see.
    pub(super) fn public(now: Timestamp) -> Self {
        Self { lang: "en", now, live: None, cursor: String::new(), here: "", viewer: None }
    }

    /// A page for whoever has signed in.
    pub(super) fn of(caller: &Caller, here: &'static str) -> Self {
        let lab = match &caller.scope {
            Scope::Lab(lab) => Some(lab.to_string()),
            _ => None,
        };
        let viewer = caller.session().map(|session| Viewer {
            name: caller.name.clone(),
            ops: caller.role() == Role::Ops,
            lab,
            csrf: session.csrf.clone(),
        });
        Self { here, viewer, ..Self::public(caller.at) }
    }

    /// The same, with a stream.
    pub(super) fn live(self, url: impl Into<String>) -> Self {
        Self { live: Some(url.into()), ..self }
    }

    /// The same, whose stream begins after this.
    pub(super) fn cursor(self, cursor: String) -> Self {
        Self { cursor, ..self }
    }

    /// Where an asset is.
    #[expect(clippy::unused_self, reason = "templates reach it through the shell")]
    pub(super) fn asset(&self, name: &str) -> String {
        asset(name)
    }

    /// What a form of the page carries; empty where nobody has signed in.
    pub(super) fn csrf(&self) -> &str {
        self.viewer.as_ref().map_or("", |viewer| &viewer.csrf)
    }
}

/// A page with nothing to do on it.
#[derive(Template)]
#[template(path = "plain.html")]
pub(super) struct PlainPage {
    pub(super) shell: Shell,
    pub(super) head: String,
    pub(super) text: String,
    /// What can be done, and where.
    pub(super) next: Option<(&'static str, String)>,
}

impl PlainPage {
    /// A page that only says something.
    pub(super) fn new(now: Timestamp, head: &str, text: &str) -> Self {
        Self { shell: Shell::public(now), head: head.to_owned(), text: text.to_owned(), next: None }
    }
}

/// A page as it is sent.
pub(super) fn page(status: StatusCode, page: &impl Template) -> Response {
    let text = match page.render() {
        Ok(text) => text,
        Err(error) => return Problem::unexpected(&error.to_string()).into_response(),
    };
    written(status, text)
}

/// The same, written before.
fn written(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().extend(HeaderMap::from_iter(HEADERS));
    response
}

/// The same, for pages behind a link that must not be told to anybody.
pub(super) fn secret_page(status: StatusCode, template: &impl Template) -> Response {
    let mut response = page(status, template);
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Leads on to another page of ours.
pub(super) fn see(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(header::LOCATION, to);
    }
    response
}

/// What went wrong, as a page.
#[derive(Debug)]
pub(super) struct Faced(pub(super) Problem);

impl<E: Into<Problem>> From<E> for Faced {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// What a page's handler gives.
pub(super) type Shown = Result<Response, Faced>;

impl IntoResponse for Faced {
    fn into_response(self) -> Response {
        let headers = self.0.headers().clone();
        let document = self.0.document();
        let status = StatusCode::from_u16(document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = format!("{} {}", document.detail, page_advice(document.code).unwrap_or_default());
        let plain = PlainPage {
            next: Some(("Go back to the start", "/".to_owned())),
            ..PlainPage::new(Timestamp::UNIX_EPOCH, document.title, text.trim())
        };
        let mut response = page(status, &plain);
        for (name, value) in &headers {
            if *name != header::WWW_AUTHENTICATE {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// What somebody at a page can do; the problem's own advice is for programs.
fn page_advice(code: Code) -> Option<&'static str> {
    match code {
        Code::RateLimited | Code::Unavailable => Some("Please try again in a few seconds."),
        Code::Internal => Some("Please try again later, and tell whoever runs the gateway if it stays."),
        Code::VersionMismatch => Some("Somebody else changed it in the meantime. Please look again."),
        _ => None,
    }
}

/// The body of a small form, of a page for which nobody has signed in.
pub(super) async fn posted(headers: &HeaderMap, body: Body) -> Answer<Bytes> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::new(Code::MediaType, "The Content-Type is not that of a form."));
    }
    let read = within(STOP_WITHIN, Limited::new(body, STOP_MAX).collect()).await?;
    let read = read.map_err(|_| Problem::new(Code::Malformed, "The form did not come whole."))?;
    Ok(read.to_bytes())
}

/// Reads a form that came whole. Line ends become one character, as they were typed.
pub(super) fn read_form<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    read_but(bytes, &[])
}

/// The fields at which the gate looks: they are no form's own.
pub(super) const GATES: [&str; 3] = ["csrf", confirm::FIELD, confirm::CODE];

fn read_but<T: DeserializeOwned>(bytes: &[u8], but: &[&str]) -> Answer<T> {
    let pairs = url::form_urlencoded::parse(bytes).filter(|(name, _)| !but.contains(&&**name));
    let pairs: serde_json::Map<String, serde_json::Value> =
        pairs.map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n").into())).collect();
    serde_json::from_value(pairs.into()).map_err(|error| {
        Problem::new(Code::Malformed, format!("The form of the page was not understood: {error}."))
    })
}

/// The form of a page, read whole by the gate.
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> axum::extract::FromRequestParts<S> for Form<T> {
    type Rejection = Faced;
    async fn from_request_parts(parts: &mut axum::http::request::Parts, _: &S) -> Result<Self, Faced> {
        let bytes = parts.extensions.remove::<super::gate::Whole>().map(|whole| whole.0).unwrap_or_default();
        Ok(Self(read_but(&bytes, &GATES)?))
    }
}

/// What was asked for, to come back to it after signing in.
pub(super) struct Asked {
    path: Option<String>,
    scripted: bool,
}

impl Asked {
    /// Of a request.
    pub(super) fn of(request: &Request) -> Self {
        let looks = request.method() == Method::GET || request.method() == Method::HEAD;
        let path = request.uri().path_and_query().filter(|_| looks).map(ToString::to_string);
        let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let scripted = |kinds: &str| kinds.starts_with("text/event-stream") || kinds == "application/json";
        Self { path, scripted: accepts.is_some_and(scripted) }
    }

    /// The answer to somebody who was refused: to the door, if that is what is missing.
    pub(super) fn refused(self, faced: Faced) -> Response {
        // The script of a live page tells its reader itself.
        if self.scripted {
            return faced.0.into_response();
        }
        if faced.0.code() != Code::Unauthenticated {
            return faced.into_response();
        }
        let next = self.path.as_deref().unwrap_or("/");
        let mut to = url::form_urlencoded::Serializer::for_suffix("/sign-in?".to_owned(), "/sign-in?".len());
        to.append_pair("next", next);
        see(&to.finish())
    }
}
