//! The page behind the link of a mail: the people of a lab answer one stop there, without a key.
//!
//! Whoever has the link may answer; that is all it can do. Looking never acts: scanners of mail follow links.
//! The form carries the link itself, and there is no cookie, so that no other page can answer in somebody's name.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::limits::Class;
use crate::api::page::{AnswerPage, PlainPage, Shell, posted, read_form, secret_page as html};
use crate::api::problem::{Answer, Problem};
use crate::api::registry::LabEntry;
use crate::domain::event::Actor;
use crate::domain::ids::EscalationId;
use crate::domain::lab;
use crate::domain::link::Link;
use crate::domain::mail::{Audience, masked, readable};
use crate::domain::order::{OrderFacts, Stage};
use crate::domain::source::Source;
use crate::domain::stop::{Evidence, StopFacts, StopState};
use crate::store::{self, OrderRef, Scope, SettleStop, StopFilter, StopRow, StopSettled, Write, Written};

/// Where the form goes, seen from the page: the gateway may be behind a path of its own.
const ACTION: &str = "../a";

/// What is behind a link that holds.
struct Task {
    row: StopRow,
    order: OrderFacts,
    entry: Arc<LabEntry>,
    /// To whom it was mailed.
    address: String,
}

/// Why a link opens nothing.
enum Shut {
    /// It was never one, or it was taken back.
    NoLink,
    /// Its time is over.
    Over,
    /// Too many came from the same address; come again in so many seconds.
    Busy(u64),
    Problem(Problem),
}

impl<E: Into<Problem>> From<E> for Shut {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

impl Shut {
    fn response(self, now: Timestamp) -> Answer<Response> {
        let wait = if let Self::Busy(seconds) = self { Some(seconds) } else { None };
        let (status, head, text) = match self {
            Self::NoLink => (
                StatusCode::NOT_FOUND,
                "This link does not work",
                "It is not whole, or it was replaced. Please open the link of the newest mail.",
            ),
            Self::Over => (
                StatusCode::GONE,
                "This link has ended",
                "It can no longer be answered here. If there is news, please reply to whoever sent you the mail.",
            ),
            Self::Busy(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Please wait a moment",
                "Many pages were opened from your network just now. Please wait a minute, and load this one again.",
            ),
            Self::Problem(problem) => return Err(problem),
        };
        let mut response = html(status, &PlainPage::new(now, head, text));
        if let Some(seconds) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        Ok(response)
    }
}

/// Finds what a token opens.
async fn open(api: &Api, token: &str, now: Timestamp) -> Result<Task, Shut> {
    let link: Link = api.links.read(token).ok_or(Shut::NoLink)?;
    if now >= link.until {
        return Err(Shut::Over);
    }
    // From here on it is somebody who was mailed; even so nobody can ask the store without end.
    api.limits.take(&Arc::from(format!("link:{}", link.stop)), Class::Stop)?;
    let filter = StopFilter { id: Some(link.stop.clone()), limit: 1, ..StopFilter::default() };
    let row = api.store.stops(&Scope::Ops, &filter).await?.pop().ok_or(Shut::NoLink)?;
    let entry = api.registry.lab(&row.lab).ok_or(Shut::NoLink)?;
    let contact = entry.lab.spec.policy.contact.as_ref().ok_or(Shut::NoLink)?;
    let address = match link.audience {
        Audience::First => contact.email.clone(),
        Audience::Second => contact.second_email.clone(),
    };
    // Another contact since: what the former one was mailed opens nothing.
    let address = address.filter(|address| api.links.is_for(&link, address)).ok_or(Shut::NoLink)?;
    let orders = api.store.orders(&Scope::Ops, &[OrderRef::Id(row.stop.order.clone())]).await?;
    let order = orders.into_iter().next().flatten().ok_or(Shut::NoLink)?;
    Ok(Task { row, order, entry, address })
}

/// How a stop stands, for people.
fn stands(stop: &StopFacts) -> String {
    match (stop.state, stop.evidence) {
        (StopState::Pending, _) => "waiting for your answer".to_owned(),
        (StopState::WithAPerson, _) => {
            "waiting for your answer; a person on our side looks after it too".to_owned()
        }
        (StopState::Stopped, Some(Evidence::NeverHanded)) => "stopped: it was never handed over".to_owned(),
        (StopState::Stopped, _) => "stopped: it will not be printed".to_owned(),
        (StopState::StoppedInPart, _) => "stopped: these lines will not be printed".to_owned(),
        (StopState::TooLate, _) => "too late: it is or will be printed".to_owned(),
    }
}

fn shown(task: &Task, token: &str, said: Option<&'static str>, now: Timestamp) -> Response {
    let Task { row, order, entry, .. } = task;
    let stop = &row.stop;
    let calendar = entry.lab.calendar(&order.region);
    let local = |at: Timestamp| calendar.map_or_else(|| at.to_string(), |known| readable(&known.shown(at).0));
    html(
        StatusCode::OK,
        &AnswerPage {
            shell: Shell::public(now),
            reference: row.reference.clone(),
            platform: row.platform.clone(),
            lab: entry.lab.spec.name.clone(),
            items: order.lines_of(stop),
            part: stop.items.is_some(),
            reason: stop.reason.clone(),
            asked: local(stop.asked_at),
            due: local(stop.deadline_at),
            stands: stands(stop),
            said,
            open: !stop.state.is_decided(),
            token: token.to_owned(),
            action: ACTION,
        },
    )
}

/// The page on which the people of a lab answer a stop.
///
/// It is what the link in a mail opens. Looking at it changes nothing, however often.
#[utoipa::path(get, path = "/a/{token}", tag = "lab", params(("token" = String, Path, description = "The signed link")),
    responses(
        (status = 200, description = "What is to be stopped, with two buttons; or how it stands.", body = String,
            content_type = "text/html"),
        (status = 404, description = "Not a link of this gateway, or one that was replaced.", body = String,
            content_type = "text/html"),
        (status = 410, description = "The link has ended.", body = String, content_type = "text/html"),
        (status = 429, description = "Too many from the same address.", body = String, content_type = "text/html"),
    ))]
pub(super) async fn page(
    api: State<Api>,
    source: Option<Extension<Source>>,
    token: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Answer<Response> {
    let now = api.clock.now();
    // A good link has a limit of its own: nobody else behind the same address can shut it.
    let good = token.as_ref().is_ok_and(|token| api.links.read(&token.0).is_some());
    if !good && let Some(seconds) = api.sources.link_page(source.map(|source| source.0)) {
        return Shut::Busy(seconds).response(now);
    }
    let Ok(Path(token)) = token else { return Shut::NoLink.response(now) };
    match open(&api, &token, now).await {
        Ok(task) => Ok(shown(&task, &token, None, now)),
        Err(shut) => shut.response(now),
    }
}

/// What the buttons say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Button {
    /// It will not be printed.
    Stopped,
    /// It is or will be printed.
    TooLate,
}

/// The form of the page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailedAnswer)]
pub(super) struct LinkAnswer {
    /// The signed link.
    token: String,
    /// The answer.
    answer: Button,
    /// Why, at most 500 characters.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: String,
    /// The name of whoever answers, as typed, at most 100 characters.
    #[serde(default)]
    #[schema(max_length = 100)]
    name: String,
}

/// Takes the answer of a lab's people.
///
/// The first deciding answer counts; another one is kept as evidence and changes nothing.
#[utoipa::path(post, path = "/a", tag = "lab",
    request_body(content = LinkAnswer, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "How it stands now.", body = String, content_type = "text/html"),
        (status = 400, description = "Not the form of the page.", body = String, content_type = "text/html"),
        (status = 404, description = "Not a link of this gateway, or one that was replaced.", body = String,
            content_type = "text/html"),
        (status = 410, description = "The link has ended.", body = String, content_type = "text/html"),
        (status = 429, description = "Too many from the same address.", body = String, content_type = "text/html"),
    ))]
pub(super) async fn answer(api: State<Api>, request: Request) -> Answer<Response> {
    let now = api.clock.now();
    let source = request.extensions().get::<Source>().copied();
    let form = form(request).await;
    // An answer by a good link is heard whoever else is behind the same address; its own limit holds.
    let good = form.as_ref().is_some_and(|form| api.links.read(&form.token).is_some());
    if !good && let Some(seconds) = api.sources.link_page(source) {
        return Shut::Busy(seconds).response(now);
    }
    let Some(form) = form else {
        let text =
            "Please go back to the page, choose one of the two answers, and write at most 500 characters.";
        let page = PlainPage::new(now, "This answer was not understood", text);
        return Ok(html(StatusCode::BAD_REQUEST, &page));
    };
    match answered(&api, form, now).await {
        Ok(response) => Ok(response),
        Err(shut) => shut.response(now),
    }
}

async fn form(request: Request) -> Option<LinkAnswer> {
    let (parts, body) = request.into_parts();
    let form: LinkAnswer = read_form(&posted(&parts.headers, body).await.ok()?).ok()?;
    let reason = form.reason.trim().to_owned();
    super::extract::text("reason", &reason, 500).ok()?;
    let name = form.name.trim().to_owned();
    super::extract::text("name", &name, 100).ok()?;
    if name.chars().any(|c| c == '\n' || c == '\t') {
        return None;
    }
    Some(LinkAnswer { reason, name, ..form })
}

/// Who answers: to whom the link was mailed, and how that person is called, if that was told. Nobody proves
/// the name; it stands in quotes.
fn answering(task: &Task, name: &str) -> Actor {
    let by = format!("lab:{} by link, mailed to {}", task.row.lab, masked(&task.address));
    if name.is_empty() { Actor(by) } else { Actor(format!("{by}, as {}", quoted(name))) }
}

/// A name in quotes, which it cannot end, without marks that turn the text around it.
fn quoted(name: &str) -> String {
    let turns =
        |c: &char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let plain = name.chars().filter(|c| !turns(c)).map(|c| if c == '"' { '\'' } else { c });
    format!("\"{}\"", plain.collect::<String>())
}

async fn answered(api: &Api, form: LinkAnswer, now: Timestamp) -> Result<Response, Shut> {
    let LinkAnswer { token, answer, reason, name } = form;
    let mut task = open(api, &token, now).await?;
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    let said = match answer {
        Button::Stopped => lab::Answer::Removed { reason, items: Vec::new() },
        Button::TooLate => lab::Answer::WillPrint { reason, stage: Stage::Received },
    };
    let agrees = |stop: &StopFacts| {
        matches!(
            (answer, stop.state),
            (Button::Stopped, StopState::Stopped | StopState::StoppedInPart)
                | (Button::TooLate, StopState::TooLate)
        )
    };
    if agrees(&task.row.stop) {
        // Said before: pressed twice, or by both contacts.
        return Ok(shown(&task, &token, Some("This was answered before, in the same way. Thank you."), now));
    }
    let settle = SettleStop {
        stop: task.row.stop.id.clone(),
        scope: Scope::Lab(task.row.lab.clone()),
        answer: said,
        person: true,
        asked: None,
        at: now,
        next_at: now,
        actor: answering(&task, &name),
        escalation: EscalationId::new(now, &*api.random),
    };
    let Written::StopSettled(settled) = store::one(&*api.store, Write::SettleStop(Box::new(settle))).await?
    else {
        return Err(Problem::unexpected("not a stop").into());
    };
    let (stop, text) = match *settled {
        StopSettled::NotFound => return Err(Shut::NoLink),
        StopSettled::Done(stop) => (stop, "Thank you: your answer is recorded."),
        StopSettled::Late(stop) => (
            stop,
            "It had been decided before, in another way. What you say is kept, and does not change it.",
        ),
    };
    api.nudge.transfers.ring();
    task.row.stop = stop;
    Ok(shown(&task, &token, Some(text), now))
}
