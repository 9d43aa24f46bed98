//! The customer's page: whether the order can still be stopped, a button where that works, the outcome, and a
//! receipt.
//!
//! A link is looked at by programs that scan mail, so that nothing happens when it is opened: it is swapped for
//! a session of a quarter of an hour, in a cookie, and the address becomes clean. What acts is a form, sent by
//! the page itself, with a text that belongs to the session. A link that ended, was taken back or never was one
//! leads to one and the same page. Every address of a page says which one it is, so that two orders in one browser
//! are never mixed up. What is shown of an order is its shop, how many items it has and what they are where single ones
//! can be or are stopped, and the last four characters of its number.

pub(in crate::api) mod act;
mod browser;
mod downloads;
mod lines;
mod money;
mod parts;
mod shut;
mod told;
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

use self::browser::{make_room, session, with_session};
use self::lines::ByLines;
use self::shut::Shut;
use self::told::{Arrived, Contradiction, back_since};
use self::view::{Seen, over};
use self::words::{Language, Words, choose};
use super::live::{Drawn, Part, follow_some, live_within};
use super::{Shell, page as html, see};
use crate::api::Api;
use crate::api::auth::{Caller, Identity};
use crate::api::limits::Class;
use crate::api::orders::judge;
use crate::api::problem::{Answer, Code, Problem};
use crate::api::registry::LabEntry;
use crate::api::watches::Place;
use crate::domain;
use crate::domain::batch::later;
use crate::domain::customer_link::{BELIEVED_MAX, CustomerLink, CustomerSession, LinkAction, may_be_page};
use crate::domain::event::Actor;
use crate::domain::order::{OrderFacts, Submission};
use crate::domain::platform::PlatformPolicy;
use crate::domain::source::Source;
use crate::domain::verdict::Verdict;
use crate::store::{OrderRef, Scope, Sighting};

/// How long a stream lasts: the browser begins another one, and keeps its session.
const STREAM_LASTS: Duration = Duration::from_mins(10);

/// What is behind a link that holds.
struct Door {
    session: CustomerSession,
    facts: OrderFacts,
    submission: Option<Submission>,
    verdict: Verdict,
    contradiction: Option<Contradiction>,
    /// When it was told stopped, if it was put back since.
    back_since: Option<Timestamp>,
    entry: Option<Arc<LabEntry>>,
    by_lines: ByLines,
    policy: PlatformPolicy,
    shop: String,
    form: String,
    /// The name of the page.
    of: String,
}

#[derive(Template)]
#[template(path = "customer.html")]
struct OrderPage<'a> {
    shell: Shell,
    words: &'a Words,
    shop: &'a str,
    of: &'a str,
    heading: &'a Part,
    now: &'a Part,
    rest: &'a [Part],
    languages: &'static [Language],
}

/// What a request says about whom it is from and what they speak.
struct Asks {
    lang: Option<String>,
    accepted: Option<String>,
    /// The page that the request is for.
    of: Option<String>,
    /// Whether it comes from the link, and so brings a cookie, if the browser keeps any.
    from_link: bool,
    /// Where the page is, seen from the address that was asked for.
    page: &'static str,
}

impl Asks {
    fn of(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let said = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query);
            pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
        };
        let accepted = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self {
            lang: said("lang"),
            accepted: accepted.map(str::to_owned),
            of: said("of").filter(|of| may_be_page(of)),
            from_link: said("from").as_deref() == Some("link"),
            page: if parts.uri.path().ends_with("/c") { "c" } else { "../c" },
        }
    }

    fn language(&self, of_order: Option<&str>) -> &'static Language {
        choose(self.lang.as_deref(), of_order, self.accepted.as_deref())
    }

    /// What follows an address to stay on the page, in this language or else in the one that was asked for.
    fn query(&self, lang: Option<&str>) -> String {
        let asked =
            || self.lang.as_deref().map(|lang| choose(Some(lang), None, self.accepted.as_deref()).code);
        let lang = lang.or_else(asked).map(|code| format!("lang={code}"));
        let of = self.of.as_ref().map(|of| format!("of={of}"));
        let pairs: Vec<String> = lang.into_iter().chain(of).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

/// Whether a link holds, and its order.
async fn order_of(api: &Api, link: &CustomerLink, now: Timestamp) -> Result<OrderFacts, Shut> {
    let believed = now < link.until && link.until <= later(now, BELIEVED_MAX);
    if !believed || api.store.link_serial(&link.order).await? != link.serial {
        return Err(Shut::Over);
    }
    let found = api.store.orders(&Scope::Ops, &[OrderRef::Id(link.order.clone())]).await?.pop().flatten();
    found.ok_or(Shut::Over)
}

/// Finds what a session opens.
async fn open(api: &Api, session: CustomerSession, now: Timestamp) -> Result<Door, Shut> {
    let facts = order_of(api, &session.link, now).await?;
    let mut verdict = judge(api, &facts, false, now).await?;
    let platform = api.registry.platform(&facts.platform);
    let entry = api.registry.lab(&facts.lab);
    let specs = (entry.as_deref(), platform.as_ref().map(|platform| &platform.spec));
    let keys = api.customer_keys();
    Ok(Door {
        contradiction: Contradiction::find(api, &facts).await?,
        back_since: back_since(api, &facts).await?,
        form: keys.form(&session).ok_or(Shut::Over)?,
        of: keys.page(&session).ok_or(Shut::Over)?,
        submission: serde_json::from_str(&facts.document).ok(),
        by_lines: ByLines::read(api, &facts, specs, &mut verdict).await?,
        entry,
        policy: platform.as_ref().map(|platform| platform.spec.policy.clone()).unwrap_or_default(),
        shop: platform.map_or_else(|| facts.platform.to_string(), |platform| platform.spec.name.clone()),
        session,
        facts,
        verdict,
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
        let items = self.submission.iter().flat_map(|submission| &submission.items);
        with(&Seen {
            language,
            verdict: &self.verdict,
            stop: self.facts.stop.as_ref(),
            contradiction: self.contradiction,
            back_since: self.back_since,
            arrived: Arrived::at(self.entry.as_ref().map(|entry| &entry.lab.spec)),
            paid: self.facts.paid,
            approval: self.facts.extras.approval.as_ref(),
            action: self.session.link.action,
            policy: &self.policy,
            shop: &self.shop,
            reference: &self.facts.reference,
            items: items.map(|item| u64::from(item.quantity)).sum(),
            lines: &domain::lines::read(&self.facts.document),
            out: &self.facts.lines_out,
            by_lines: &self.by_lines,
            local: &|at| calendar.map(|known| known.shown(at).0),
            form: &self.form,
            of: &self.of,
        })
    }
}

/// Sends the browser on to the clean address of the page, and tells nobody from where.
fn to_page(asks: &Asks) -> Response {
    on(&format!("{}{}", asks.page, asks.query(None)))
}

fn on(to: &str) -> Response {
    let mut response = see(to);
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
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
    let mut asks = Asks { of: None, from_link: false, ..Asks::of(&parts) };
    let language = asks.language(None);
    let link = token.ok().and_then(|Path(token)| api.customer_keys().read_link(&token));
    let Some(link) = link else {
        // Whoever guesses is slowed down. A good link has a limit of its own: nobody else behind the same
        // address can shut it.
        let source = parts.extensions.get::<Source>().copied();
        let problem = |seconds| {
            let problem = Problem::new(Code::RateLimited, "Too many links were opened from one address.");
            Shut::Often(problem.retry_after(seconds))
        };
        return api.sources.link_page(source).map_or(Shut::Over, problem).response(&asks, language);
    };
    match entered(&api, &parts.headers, link, &mut asks).await {
        Ok(response) => response,
        Err(shut) => shut.response(&asks, language),
    }
}

async fn entered(
    api: &Api,
    headers: &HeaderMap,
    link: (CustomerLink, u16),
    asks: &mut Asks,
) -> Result<Response, Shut> {
    let now = api.clock.now();
    take(api, &link.0)?;
    order_of(api, &link.0, now).await?;
    let mut nonce = [0; 16];
    api.random.fill(&mut nonce);
    let fresh = CustomerSession::begin(link, nonce, now);
    asks.of = api.customer_keys().page(&fresh);
    // Opened once more in the same browser: the pages that are open there stay good.
    let before = session(api, headers, asks, now).ok().filter(|before| before.link == fresh.link);
    let session = before.map_or(fresh, |before| before.renewed(now));
    let of = asks.of.as_deref().unwrap_or_default();
    let query = asks.query(None);
    let response = make_room(api, headers, of, on(&format!("../c{query}&from=link")));
    Ok(with_session(api, &session, now, response))
}

/// Draws on the budget of an order's pages: those behind links that were taken back have one of their own.
fn take(api: &Api, link: &CustomerLink) -> Result<(), Shut> {
    let action = if link.action == LinkAction::Stop { "stop" } else { "see" };
    let key = format!("customer:{}:{}:{action}", link.order, link.serial);
    Ok(api.limits.take(&Arc::from(key), Class::Read)?)
}

/// Opens the door that a request has a session for.
async fn come(api: &Api, headers: &HeaderMap, asks: &Asks) -> Result<(Door, Timestamp), Shut> {
    let now = api.clock.now();
    let session = session(api, headers, asks, now)?;
    take(api, &session.link)?;
    Ok((open(api, session.renewed(now), now).await?, now))
}

/// Leads whoever asks for a form by its address to the page.
pub(in crate::api) async fn back(request: Request) -> Response {
    to_page(&Asks::of(&request.into_parts().0))
}

/// The customer's page of an order.
pub(in crate::api) async fn show(api: State<Api>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asks = Asks::of(&parts);
    let (door, now) = match come(&api, &parts.headers, &asks).await {
        Ok(found) => found,
        Err(shut) => return shut.response(&asks, asks.language(None)),
    };
    if asks.from_link {
        // The browser keeps cookies: the address need not say any more where it comes from.
        return with_session(&api, &door.session, now, to_page(&asks));
    }
    let language = door.language(&asks);
    door.seen(language, |seen| {
        let parts = match seen.heading().and_then(|heading| Ok((heading, seen.parts(now)?))) {
            Ok(parts) => parts,
            Err(problem) => return Shut::Problem(problem).response(&asks, language),
        };
        let (heading, parts) = parts;
        let Some((first, rest)) = parts.split_first() else { return Shut::Over.response(&asks, language) };
        let live = format!("c/live?lang={}&of={}&at={}", language.code, door.of, now.as_second());
        let page = OrderPage {
            shell: Shell { lang: language.code, ..Shell::public(now) }.live(live),
            words: seen.words(),
            shop: &door.shop,
            of: &door.of,
            heading: &heading,
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
    let (door, now) = match come(&api, &parts.headers, &asks).await {
        Ok(found) => found,
        Err(shut) => return shut.response(&asks, asks.language(None)),
    };
    let language = door.language(&asks);
    // So many at the same time, and no more; it is given back when the stream ends.
    let place = match Place::take(&api, door.caller(now)) {
        Ok(place) => place,
        Err(problem) => return Shut::Often(problem).response(&asks, language),
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
    let frames = follow_some(&api, (Scope::Lab(door.facts.lab.clone()), None), concerns, move || {
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
            let (heading, now) = over(&language.words)?;
            let boxes = vec![("", vec![heading]), ("now", vec![now]), ("rest", Vec::new())];
            return Ok(Drawn { boxes, say: None });
        }
        Err(Shut::Problem(problem) | Shut::Often(problem) | Shut::Unsure(problem)) => return Err(problem),
        Err(Shut::Again | Shut::Late | Shut::NoCookies) => {
            return Err(Problem::unexpected("an open page is no form and has its session"));
        }
    };
    let (heading, mut parts) = door.seen(language, |seen| {
        let mut issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
        let said = seen.receipt_said();
        if issued.0 != said {
            let first = issued.0.is_empty();
            let at = if first { issued.1 } else { now };
            *issued = (said, at);
        }
        Answer::Ok((seen.heading()?, seen.parts(issued.1)?))
    })?;
    let rest = parts.split_off(1);
    Ok(Drawn { boxes: vec![("", vec![heading]), ("now", parts), ("rest", rest)], say: None })
}

/// The receipt of the stop, as a text to keep.
pub(in crate::api) async fn receipt(api: State<Api>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asks = Asks::of(&parts);
    let (door, now) = match come(&api, &parts.headers, &asks).await {
        Ok(found) => found,
        Err(shut) => return shut.response(&asks, asks.language(None)),
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
