//! What the customer's page sends: the form, the step between, and the one that acts.

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::super::{Shell, page as html, posted, read_but};
use super::lines::Choice;
use super::view::{Offer, State as Stands, When};
use super::words::{Words, fill};
use super::{Asks, Shut, come, open, session, to_page, with_session};
use crate::api::limits::Attempt;
use crate::api::problem::{Code, Problem};
use crate::api::stops::{self, Ask};
use crate::api::{Api, sessions};
use crate::domain::customer_link::{CustomerSession, LinkAction};
use crate::domain::event::hex;
use crate::domain::stop::AskedBy;
use crate::store::OrderRef;

/// The most characters of a comment.
const COMMENT_MAX: usize = 500;

#[derive(Template)]
#[template(path = "customer_confirm.html")]
struct ConfirmPage<'a> {
    shell: Shell,
    words: &'a Words,
    head: &'a str,
    shop: &'a str,
    order: String,
    form: &'a str,
    of: &'a str,
    what: &'a str,
    /// The lines that were chosen, if it is not the whole order.
    chosen: Vec<Choice>,
    /// The same in words.
    only: Option<String>,
    /// Until when that is certain.
    until: Option<When>,
    yes: &'a str,
    reason: Option<(String, String)>,
    comment: String,
    money: Vec<String>,
}

/// The forms of the page.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CustomerForm {
    /// What belongs to the session.
    csrf: String,
    /// The language of the page.
    lang: String,
    /// Why: one of the reasons that the page offers.
    reason: String,
    /// More, at most 500 characters.
    comment: String,
    /// The lines that were chosen: there may be several fields of that name. None is the whole order.
    #[serde(skip)]
    items: Vec<String>,
}

/// The field of a line that was chosen.
const ITEM: &str = "item";

async fn form(headers: &HeaderMap, body: Body) -> Option<CustomerForm> {
    let bytes = posted(headers, body).await.ok()?;
    let form: CustomerForm = read_but(&bytes, &[ITEM]).ok()?;
    let mut items: Vec<String> = Vec::new();
    for (_, id) in url::form_urlencoded::parse(&bytes).filter(|(name, _)| name == ITEM) {
        if !items.iter().any(|known| *known == id) {
            items.push(id.into_owned());
        }
    }
    Some(CustomerForm { comment: plain(&form.comment), items, ..form })
}

/// A comment without what could make a text look like another: control characters, and marks of direction.
fn plain(comment: &str) -> String {
    let marks = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = comment.chars().filter(|c| *c == '\n' || (!c.is_control() && !marks(*c))).collect();
    text.trim().chars().take(COMMENT_MAX).collect()
}

/// The step between: what is asked for, and what it brings with it.
///
/// It acts on nothing.
pub(in crate::api) async fn confirm(api: State<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut asks = Asks::of(&parts);
    match confirmed(&api, &parts.headers, body, &mut asks).await {
        Ok(response) => response,
        Err(shut) => shut.response(&asks, asks.language(None)),
    }
}

async fn confirmed(api: &Api, headers: &HeaderMap, body: Body, asks: &mut Asks) -> Result<Response, Shut> {
    let (door, now) = come(api, headers, asks).await?;
    let form = form(headers, body).await.ok_or(Shut::Again)?;
    asks.lang = Some(form.lang).filter(|lang| !lang.is_empty());
    if !sessions::same_origin(headers) || !api.customer_keys().is_form(&door.session, &form.csrf) {
        return Err(Shut::Again);
    }
    let language = door.language(asks);
    let response = door.seen(language, |seen| {
        let Ok(Some(offer)) = seen.offer() else { return to_page(asks) };
        // Lines that cannot be chosen any more: the page says how they stand.
        let Some(chosen) = seen.chosen(&form.items) else { return to_page(asks) };
        let (words, confirm) = (seen.words(), &seen.words().confirm);
        let part = !chosen.is_empty();
        let (what, yes) = match (offer, seen.state()) {
            (Offer::AtOnce, _) if part => (&confirm.lines_now, &confirm.yes_stop_lines),
            (Offer::AtOnce, Stands::Open) => (&confirm.open, &confirm.yes_stop),
            (Offer::AtOnce, Stands::Leaving) => (&confirm.leaving, &confirm.yes_stop),
            (Offer::AtOnce, _) => (&confirm.at_once, &confirm.yes_stop),
            (Offer::Lab, _) => (&confirm.lab, &confirm.yes_ask),
            (Offer::Person, _) => (&confirm.person, &confirm.yes_ask),
            (Offer::OnlyAbsent, _) => (&confirm.only_absent, &confirm.yes_ask),
            (Offer::Merchant, _) => (&confirm.merchant, &confirm.yes_ask),
        };
        let yes = if part && *yes == confirm.yes_ask { &confirm.yes_ask_lines } else { yes };
        let what = fill(what, &[("shop", &door.shop)]);
        let row: Vec<&str> = chosen.iter().map(|choice| choice.shown.as_str()).collect();
        let reason = seen.reasons().into_iter().find(|(kept, _)| *kept == form.reason);
        let page = ConfirmPage {
            shell: Shell { lang: language.code, ..Shell::public(now) },
            words,
            shop: &door.shop,
            order: seen.order(),
            form: &door.form,
            of: &door.of,
            until: seen.until(),
            what: &what,
            yes,
            reason,
            comment: form.comment,
            money: if part { seen.money_of(&chosen) } else { seen.money() },
            head: if part { &confirm.head_lines } else { &confirm.head },
            only: part.then(|| fill(&confirm.only, &[("items", &row.join(", "))])),
            chosen,
        };
        html(StatusCode::OK, &page)
    });
    Ok(with_session(api, &door.session, now, response))
}

/// Asks for the stop, as the customer.
///
/// The same as any other stop: see `POST /v1/orders/{order}/stop`.
pub(in crate::api) async fn stop(api: State<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut asks = Asks::of(&parts);
    match Box::pin(asked(&api, &parts.headers, body, &mut asks)).await {
        Ok(response) => response,
        Err(shut) => shut.response(&asks, asks.language(None)),
    }
}

/// Who attempts, as a session says.
fn attempt(session: &CustomerSession) -> Attempt {
    let order = format!("{} {}", session.link.order, session.link.serial);
    Attempt { session: format!("{order} {}", hex(&session.nonce)).into(), order: order.into() }
}

/// What a stop that was not answered comes to: only what is refused before anything is written has changed nothing.
fn unsure(problem: Problem) -> Shut {
    match problem.code() {
        Code::RateLimited => Shut::Often(problem),
        Code::NotFound => Shut::Over,
        Code::Invalid => Shut::Problem(problem),
        // Lines were named, and by now its lab stops whole orders only.
        Code::NotAllowed => Shut::Again,
        _ => Shut::Unsure(problem),
    }
}

async fn asked(api: &Api, headers: &HeaderMap, body: Body, asks: &mut Asks) -> Result<Response, Shut> {
    // Whoever has no session, may only look, or uses it up, must not keep hand-overs waiting, nor use up what the
    // customer has: all is known from the head alone.
    let session = session(api, headers, asks, api.clock.now())?;
    if !sessions::same_origin(headers) {
        return Err(Shut::Again);
    }
    if session.link.action == LinkAction::See {
        return Ok(to_page(asks));
    }
    let attempt = attempt(&session);
    api.limits.attempt(&attempt)?;
    let asked = asked_by(api, headers, body, asks, session).await;
    if let Err(Shut::Problem(problem) | Shut::Unsure(problem)) = &asked
        && problem.code().status().is_server_error()
    {
        api.limits.pardon(&attempt);
    }
    asked
}

async fn asked_by(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
    asks: &mut Asks,
    session: CustomerSession,
) -> Result<Response, Shut> {
    // From here on no hand-over that begins later goes ahead of this stop.
    let asking = api.store.asking(&*api.clock);
    let form = form(headers, body).await.ok_or(Shut::Again)?;
    asks.lang = Some(form.lang).filter(|lang| !lang.is_empty());
    if !api.customer_keys().is_form(&session, &form.csrf) {
        return Err(Shut::Again);
    }
    let door = open(api, session.renewed(asking.at), asking.at).await?;
    // One that is not offered is not told: nobody's stop fails for it.
    let reason = door.seen(door.language(asks), |seen| {
        let mut offered = seen.reasons().into_iter().map(|(kept, _)| kept);
        offered.find(|kept| *kept == form.reason)
    });
    let ask = Ask {
        order: OrderRef::Id(door.facts.id.clone()),
        reason,
        comment: Some(form.comment).filter(|comment| !comment.is_empty()),
        asked_by: AskedBy::Customer,
        requested_by: None,
        items: form.items,
    };
    match stops::ask(api, &door.caller(asking.at), ask).await {
        // The page says what came of it, or that the shop decides.
        Ok(_) => {}
        Err(problem) if problem.code() == Code::CustomerStopsOff => {}
        Err(problem) => return Err(unsure(problem)),
    }
    Ok(with_session(api, &door.session, asking.at, to_page(asks)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn nothing_was_changed_is_said_only_where_nothing_was() {
        let broke: Problem = store::Error::Unavailable("in the commit".to_owned()).into();
        let corrupt: Problem = store::Error::Corrupt { table: "stops", what: "a word".to_owned() }.into();
        for problem in [broke, corrupt, Problem::unexpected("not a stop"), Problem::new(Code::TooSlow, "")] {
            let code = problem.code();
            assert!(matches!(unsure(problem), Shut::Unsure(_)), "{code:?}");
        }
        assert!(matches!(unsure(Problem::not_found()), Shut::Over));
        assert!(matches!(unsure(Problem::new(Code::Invalid, "")), Shut::Problem(_)));
        assert!(matches!(unsure(Problem::new(Code::NotAllowed, "")), Shut::Again));
        assert!(matches!(unsure(Problem::new(Code::RateLimited, "")), Shut::Often(_)));
    }
}
