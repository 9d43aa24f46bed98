//! The customer's page: whether the order can still be stopped, a button where that works, the outcome, and a
//! receipt.
//!
//! A link is looked at by programs that scan mail, so that nothing happens when it is opened: it is swapped for
//! a session of a quarter of an hour, in a cookie, and the address becomes clean. What acts is a form, sent by
//! the page itself, with a text that belongs to the session. A link that ended, was taken back or never was one
//! leads to one and the same page. What is shown of an order is its shop, how many items it has, and the last
//! four characters of its number.

pub(in crate::api) mod act;
mod view;
mod words;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;

use self::view::{Seen, over};
use self::words::{Language, Words, choose};
use super::live::{Drawn, Part, follow_some, live_within};
use super::{Shell, page as html, secret_page, see};
use crate::api::auth::{Caller, Identity};
use crate::api::limits::Class;
use crate::api::orders::judge;
use crate::api::problem::{Answer, Code, Problem};
use crate::api::registry::LabEntry;
use crate::api::watches::Place;
use crate::api::{Api, sessions};
use crate::domain::customer_link::{CustomerLink, CustomerSession};
use crate::domain::event::Actor;
use crate::domain::order::{OrderFacts, Submission};
use crate::domain::platform::PlatformPolicy;
use crate::domain::source::Source;
use crate::domain::stop::StopState;
use crate::domain::verdict::Verdict;
use crate::store::{OrderRef, Scope, Sighting};

/// The cookie of a session. With this prefix a browser takes it over a safe connection only, for this host and
/// all of its paths.
const COOKIE: &str = "__Host-stoppress-order";
/// How long a stream lasts: the browser begins another one, and keeps its session.
const STREAM_LASTS: Duration = Duration::from_mins(10);

/// What is behind a link that holds.
struct Door {
    session: CustomerSession,
    facts: OrderFacts,
    submission: Option<Submission>,
    verdict: Verdict,
    contradicted: bool,
    entry: Option<Arc<LabEntry>>,
    policy: PlatformPolicy,
    shop: String,
    form: String,
}

/// Why nothing is shown, or done.
enum Shut {
    /// It is no link, or none any more.
    Over,
    /// What came was not what the page sends.
    Again,
    /// Too often; come again after so many seconds.
    Often(Problem),
    /// The gateway cannot answer.
    Problem(Problem),
}

impl<E: Into<Problem>> From<E> for Shut {
    fn from(error: E) -> Self {
        let problem = error.into();
        if problem.code() == Code::RateLimited { Self::Often(problem) } else { Self::Problem(problem) }
    }
}

#[derive(Template)]
#[template(path = "customer_plain.html")]
struct PlainPage<'a> {
    shell: Shell,
    words: &'a Words,
    head: &'a str,
    text: &'a str,
    back: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "customer.html")]
struct OrderPage<'a> {
    shell: Shell,
    words: &'a Words,
    shop: &'a str,
    order: String,
    now: &'a Part,
    rest: &'a [Part],
    languages: &'static [Language],
}

impl Shut {
    /// The page that says so. It is the same for every link that opens nothing.
    fn response(&self, language: &'static Language) -> Response {
        let words = &language.words;
        let (status, head, text, back) = match &self {
            Self::Over => (StatusCode::NOT_FOUND, &words.over.head, &words.over.text, false),
            Self::Again => (StatusCode::BAD_REQUEST, &words.again.head, &words.again.text, true),
            Self::Often(_) => (StatusCode::TOO_MANY_REQUESTS, &words.again.head, &words.again.often, true),
            Self::Problem(problem) => (problem.code().status(), &words.again.head, &words.again.text, true),
        };
        let back = back.then_some(words.again.back.as_str());
        let shell = Shell { lang: language.code, ..Shell::public(Timestamp::UNIX_EPOCH) };
        // The address may be the link itself.
        let mut response = secret_page(status, &PlainPage { shell, words, head, text, back });
        if let Self::Often(problem) | Self::Problem(problem) = self
            && let Some(after) = problem.wait()
        {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        response
    }
}

/// What a request says about whom it is from and what they speak.
struct Asks {
    lang: Option<String>,
    accepted: Option<String>,
}

impl Asks {
    fn of(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let lang = url::form_urlencoded::parse(query).find(|(name, _)| name == "lang");
        let accepted = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self { lang: lang.map(|(_, lang)| lang.into_owned()), accepted: accepted.map(str::to_owned) }
    }

    fn language(&self, of_order: Option<&str>) -> &'static Language {
        choose(self.lang.as_deref(), of_order, self.accepted.as_deref())
    }

    /// What follows an address to keep the language that was asked for.
    fn suffix(&self) -> String {
        let asked = self.lang.as_deref().map(|lang| choose(Some(lang), None, self.accepted.as_deref()).code);
        asked.map(|code| format!("?lang={code}")).unwrap_or_default()
    }
}

/// The session that a request carries. This reads nothing but the request.
fn session(api: &Api, headers: &HeaderMap, now: Timestamp) -> Option<CustomerSession> {
    let session = api.customers.keys.read_session(sessions::cookie(headers, COOKIE)?)?;
    (now < session.until).then_some(session)
}

/// Whether a link holds, and its order.
async fn order_of(api: &Api, link: &CustomerLink, now: Timestamp) -> Result<OrderFacts, Shut> {
    if now >= link.until || api.store.link_serial(&link.order).await? != link.serial {
        return Err(Shut::Over);
    }
    let found = api.store.orders(&Scope::Ops, &[OrderRef::Id(link.order.clone())]).await?.pop().flatten();
    found.ok_or(Shut::Over)
}

/// Finds what a session opens.
async fn open(api: &Api, session: CustomerSession, now: Timestamp) -> Result<Door, Shut> {
    let facts = order_of(api, &session.link, now).await?;
    let verdict = judge(api, &facts, false, now).await?;
    let stopped = facts.stop.as_ref().is_some_and(|stop| stop.state == StopState::Stopped);
    let contradicted = stopped && {
        let rows = api.store.contradictions(&[facts.id.to_string()]).await?;
        // What was told before the order was reinstated and stopped again is another matter.
        let since = facts.stop.as_ref().map(|stop| stop.asked_at);
        rows.iter().any(|row| row.kind == "shipped_anyway" && Some(row.opened_at) >= since)
    };
    let platform = api.registry.platform(&facts.platform);
    let form = api.customers.keys.form(&session).ok_or(Shut::Over)?;
    Ok(Door {
        submission: serde_json::from_str(&facts.document).ok(),
        entry: api.registry.lab(&facts.lab),
        policy: platform.as_ref().map(|platform| platform.spec.policy.clone()).unwrap_or_default(),
        shop: platform.map_or_else(|| facts.platform.to_string(), |platform| platform.spec.name.clone()),
        session,
        facts,
        verdict,
        contradicted,
        form,
    })
}

impl Door {
    /// The customer, as others are told: with the rights of the platform, for this order.
    fn caller(&self, at: Timestamp) -> Caller {
        let platform = &self.facts.platform;
        let who = Identity {
            scope: Scope::Platform(platform.clone()),
            key: Arc::from(format!("customer of {}", self.facts.id)),
            name: String::new(),
            actor: Actor(format!("customer by link of platform:{platform}")),
            tenant: format!("platform:{platform}"),
        };
        Caller::new(Arc::new(who), at)
    }

    fn language(&self, asks: &Asks) -> &'static Language {
        let customer = self.submission.as_ref().and_then(|submission| submission.customer.as_ref());
        asks.language(customer.and_then(|customer| customer.language.as_deref()))
    }

    fn seen<R>(&self, language: &'static Language, with: impl FnOnce(&Seen<'_>) -> R) -> R {
        let calendar = self.entry.as_ref().and_then(|entry| entry.lab.calendar(&self.facts.region));
        with(&Seen {
            language,
            verdict: &self.verdict,
            stop: self.facts.stop.as_ref(),
            contradicted: self.contradicted,
            action: self.session.link.action,
            policy: &self.policy,
            shop: &self.shop,
            reference: &self.facts.reference,
            items: self.submission.as_ref().map_or(0, |submission| submission.items.len()),
            local: &|at| calendar.map(|known| known.shown(at).0),
            form: &self.form,
        })
    }
}

/// Sends the browser on to the clean address, and tells nobody from where.
fn to_page(asks: &Asks) -> Response {
    let mut response = see(&format!("../c{}", asks.suffix()));
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    response
}

/// Gives the browser a session, to be kept until it ends.
fn with_session(api: &Api, session: &CustomerSession, now: Timestamp, mut response: Response) -> Response {
    let lasts = session.until.as_second().saturating_sub(now.as_second()).max(0);
    let text = api.customers.keys.session(session);
    // Lax: a strict one is not sent on a redirect that began in a program for mail.
    if let Some(cookie) = text.and_then(|text| sessions::set_cookie(COOKIE, &text, lasts, "Lax").ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// What the link of a customer opens.
///
/// It acts on nothing, however often it is opened: it gives the browser a session of 15 minutes and leads to
/// `/c`. Whatever is wrong with a link, the page is the same.
pub(in crate::api) async fn enter(
    api: State<Api>,
    token: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let asks = Asks::of(&parts);
    // Before the token is read: whoever guesses is slowed down, and learns nothing by it.
    if let Some(seconds) = api.sources.link_page(parts.extensions.get::<Source>().copied()) {
        let problem = Problem::new(Code::RateLimited, "Too many links were opened from one address.");
        return Shut::Often(problem.retry_after(seconds)).response(asks.language(None));
    }
    let token = token.map(|Path(token)| token).unwrap_or_default();
    match entered(&api, &parts.headers, &token, &asks).await {
        Ok(response) => response,
        Err(shut) => shut.response(asks.language(None)),
    }
}

async fn entered(api: &Api, headers: &HeaderMap, token: &str, asks: &Asks) -> Result<Response, Shut> {
    let now = api.clock.now();
    let link = api.customers.keys.read_link(token).ok_or(Shut::Over)?;
    api.limits.take(&Arc::from(format!("customer:{}", link.order)), Class::Read)?;
    order_of(api, &link, now).await?;
    // Opened once more in the same browser: the pages that are open there stay good.
    let before = session(api, headers, now).filter(|session| session.link == link);
    let fresh = || {
        let mut nonce = [0; 16];
        api.random.fill(&mut nonce);
        nonce
    };
    let nonce = before.map_or_else(fresh, |session| session.nonce);
    let session = CustomerSession::begin(link, nonce, now);
    Ok(with_session(api, &session, now, to_page(asks)))
}

/// Opens the door that a request has a session for.
async fn come(api: &Api, headers: &HeaderMap) -> Result<(Door, Timestamp), Shut> {
    let now = api.clock.now();
    let session = session(api, headers, now).ok_or(Shut::Over)?;
    Ok((open(api, session.renewed(now), now).await?, now))
}

/// The customer's page of an order.
pub(in crate::api) async fn show(api: State<Api>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asks = Asks::of(&parts);
    let (door, now) = match come(&api, &parts.headers).await {
        Ok(found) => found,
        Err(shut) => return shut.response(asks.language(None)),
    };
    let language = door.language(&asks);
    door.seen(language, |seen| {
        let parts = match seen.parts(now) {
            Ok(parts) => parts,
            Err(problem) => return Shut::Problem(problem).response(language),
        };
        let Some((first, rest)) = parts.split_first() else { return Shut::Over.response(language) };
        let live = format!("c/live?lang={}&at={}", language.code, now.as_second());
        let page = OrderPage {
            shell: Shell { lang: language.code, ..Shell::public(now) }.live(live),
            words: seen.words(),
            shop: &door.shop,
            order: seen.order(),
            now: first,
            rest,
            languages: words::all(),
        };
        with_session(&api, &door.session, now, html(StatusCode::OK, &page))
    })
}

/// What changes on the page, as it happens.
pub(in crate::api) async fn live(api: State<Api>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asks = Asks::of(&parts);
    let (door, now) = match come(&api, &parts.headers).await {
        Ok(found) => found,
        Err(shut) => return shut.response(asks.language(None)),
    };
    let language = door.language(&asks);
    // So many at the same time, and no more; it is given back when the stream ends.
    let place = match Place::take(&api, door.caller(now)) {
        Ok(place) => place,
        Err(problem) => return Shut::Often(problem).response(language),
    };
    let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let at = query.into_iter().find(|(name, _)| name == "at").and_then(|(_, at)| at.parse().ok());
    let at = at.and_then(|at| Timestamp::from_second(at).ok()).filter(|at| *at <= now).unwrap_or(now);
    let session = door.session.clone();
    // The receipt is of the instant at which what it says was first shown.
    let issued = Arc::new(Mutex::new((String::new(), at)));
    let (drawer, whose) = (api.0.clone(), session.clone());
    // What of its lab's news may change what is said of an order.
    let order = door.facts.id.clone();
    let concerns = move |seen: &Sighting| {
        let named = seen.event.subject == order.as_str() || seen.event.kind.starts_with("batch.");
        named || seen.orders.iter().any(|concerned| concerned.order == order)
    };
    let frames = follow_some(&api, Scope::Lab(door.facts.lab.clone()), concerns, move || {
        let _held = &place;
        draw(drawer.clone(), whose.clone(), language, Arc::clone(&issued))
    });
    // It ends before the session does: the browser asks again at once, and the session is renewed.
    with_session(&api, &session, now, live_within(&api, frames, STREAM_LASTS))
}

type Issued = Arc<Mutex<(String, Timestamp)>>;

/// The page as it is now; once its link holds no more, it says only that.
async fn draw(
    api: Api,
    session: CustomerSession,
    language: &'static Language,
    issued: Issued,
) -> Answer<Drawn> {
    let now = api.clock.now();
    let door = match open(&api, session, now).await {
        Ok(door) => door,
        Err(Shut::Over) => {
            let boxes = vec![("now", vec![over(&language.words)?]), ("rest", Vec::new())];
            return Ok(Drawn { boxes, say: None });
        }
        Err(Shut::Problem(problem) | Shut::Often(problem)) => return Err(problem),
        Err(Shut::Again) => return Err(Problem::unexpected("looking is no form")),
    };
    let mut parts = door.seen(language, |seen| {
        let mut issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
        let said = seen.receipt_said();
        if issued.0 != said {
            let first = issued.0.is_empty();
            let at = if first { issued.1 } else { now };
            *issued = (said, at);
        }
        seen.parts(issued.1)
    })?;
    let rest = parts.split_off(1);
    Ok(Drawn { boxes: vec![("now", parts), ("rest", rest)], say: None })
}

/// The receipt of the stop, as a text to keep.
pub(in crate::api) async fn receipt(api: State<Api>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asks = Asks::of(&parts);
    let (door, now) = match come(&api, &parts.headers).await {
        Ok(found) => found,
        Err(shut) => return shut.response(asks.language(None)),
    };
    if door.facts.stop.is_none() {
        return to_page(&asks);
    }
    let text = door.seen(door.language(&asks), |seen| seen.receipt_text(now));
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"receipt.txt\""),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
