//! What the customer's page sends: the form, the step between, and the one that acts.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;

use super::super::{Shell, page as html};
use super::view::Offer;
use super::words::Words;
use super::{Asks, Shut, come, open, session, to_page, with_session};
use crate::api::limits::{STOP_MAX, STOP_WITHIN};
use crate::api::problem::Code;
use crate::api::stops::{self, Ask};
use crate::api::{Api, sessions, within};
use crate::domain::customer_link::LinkAction;
use crate::domain::stop::AskedBy;
use crate::store::OrderRef;

/// The most characters of a comment.
const COMMENT_MAX: usize = 500;

#[derive(Template)]
#[template(path = "customer_confirm.html")]
struct ConfirmPage<'a> {
    shell: Shell,
    words: &'a Words,
    shop: &'a str,
    order: String,
    form: &'a str,
    what: &'a str,
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
}

async fn form(headers: &HeaderMap, body: Body) -> Option<CustomerForm> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    if kind.split(';').next()?.trim() != "application/x-www-form-urlencoded" {
        return None;
    }
    let body = within(STOP_WITHIN, Limited::new(body, STOP_MAX).collect()).await.ok()?.ok()?;
    let pairs: serde_json::Map<String, serde_json::Value> = url::form_urlencoded::parse(&body.to_bytes())
        .map(|(name, value)| (name.into_owned(), value.into()))
        .collect();
    let form: CustomerForm = serde_json::from_value(pairs.into()).ok()?;
    Some(CustomerForm { comment: plain(&form.comment), ..form })
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
        Err(shut) => shut.response(asks.language(None)),
    }
}

async fn confirmed(api: &Api, headers: &HeaderMap, body: Body, asks: &mut Asks) -> Result<Response, Shut> {
    let (door, now) = come(api, headers).await?;
    let form = form(headers, body).await.ok_or(Shut::Again)?;
    asks.lang = Some(form.lang).filter(|lang| !lang.is_empty());
    if !sessions::same_origin(headers) || !api.customers.keys.is_form(&door.session, &form.csrf) {
        return Err(Shut::Again);
    }
    let language = door.language(asks);
    let response = door.seen(language, |seen| {
        let Ok(Some(offer)) = seen.offer() else { return to_page(asks) };
        let (words, confirm) = (seen.words(), &seen.words().confirm);
        let (what, yes) = match offer {
            Offer::AtOnce => (&confirm.at_once, &confirm.yes_stop),
            Offer::Lab => (&confirm.lab, &confirm.yes_ask),
            Offer::Person => (&confirm.person, &confirm.yes_ask),
        };
        let reason = seen.reasons().into_iter().find(|(kept, _)| *kept == form.reason);
        let page = ConfirmPage {
            shell: Shell { lang: language.code, ..Shell::public(now) },
            words,
            shop: &door.shop,
            order: seen.order(),
            form: &door.form,
            what,
            yes,
            reason,
            comment: form.comment,
            money: seen.money(),
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
    match asked(&api, &parts.headers, body, &mut asks).await {
        Ok(response) => response,
        Err(shut) => shut.response(asks.language(None)),
    }
}

async fn asked(api: &Api, headers: &HeaderMap, body: Body, asks: &mut Asks) -> Result<Response, Shut> {
    // Whoever has no session, or uses it up, must not keep hand-overs waiting: both are known from the head alone.
    let session = session(api, headers, api.clock.now()).ok_or(Shut::Over)?;
    if !sessions::same_origin(headers) {
        return Err(Shut::Again);
    }
    api.limits.attempt(&Arc::from(session.link.order.as_str()))?;
    // From here on no hand-over that begins later goes ahead of this stop.
    let asking = api.store.asking(&*api.clock);
    let form = form(headers, body).await.ok_or(Shut::Again)?;
    asks.lang = Some(form.lang).filter(|lang| !lang.is_empty());
    if !api.customers.keys.is_form(&session, &form.csrf) {
        return Err(Shut::Again);
    }
    let door = open(api, session.renewed(asking.at), asking.at).await?;
    if door.session.link.action == LinkAction::Stop {
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
        };
        match stops::ask(api, &door.caller(asking.at), ask).await {
            // The page says what came of it, or that the shop decides.
            Ok(_) => {}
            Err(problem) if matches!(problem.code(), Code::CustomerStopsOff | Code::MerchantDecides) => {}
            Err(problem) => return Err(problem.into()),
        }
    }
    Ok(with_session(api, &door.session, asking.at, to_page(asks)))
}
