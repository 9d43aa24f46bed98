//! What a browser keeps of a customer's links: a cookie for each page, so that the pages of two orders stand beside
//! each other and neither ever shows what is the other's.
//!
//! An address says by its `of` which page it belongs to. The name opens nothing: without the cookie of the same
//! name, signed for the same order, whoever has it sees what everybody sees who has no link.

use axum::http::{HeaderMap, header};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::{Asks, Shut};
use crate::api::{Api, sessions};
use crate::domain::batch::later;
use crate::domain::customer_link::CustomerSession;

/// What the cookies of sessions begin with; the page follows. With this prefix a browser takes them over a safe
/// connection only, for this host and all of its paths.
const COOKIE: &str = "__Host-stoppress-order-";
/// How long a browser keeps a session that is over, so that whoever comes back to it can be told that it is.
const KEPT: SignedDuration = SignedDuration::from_hours(12);
/// So many pages a browser keeps beside the newest one: requests have room for no more cookies.
const PAGES_MAX: usize = 8;

/// The session of the page that a request is for. This reads nothing but the request.
pub(super) fn session(
    api: &Api,
    headers: &HeaderMap,
    asks: &Asks,
    now: Timestamp,
) -> Result<CustomerSession, Shut> {
    let of = asks.of.as_deref().ok_or(Shut::Over)?;
    let Some(text) = sessions::cookie(headers, &format!("{COOKIE}{of}")) else {
        return Err(if asks.from_link { Shut::NoCookies } else { Shut::Over });
    };
    let session = api.customer_keys().read_session(text).ok_or(Shut::Over)?;
    if api.customer_keys().page(&session).as_deref() != Some(of) || now >= session.link.until {
        return Err(Shut::Over);
    }
    if now < session.until { Ok(session) } else { Err(Shut::Late) }
}

/// Gives the browser a session. It is kept for a while after its end; the end itself is signed.
pub(super) fn with_session(
    api: &Api,
    session: &CustomerSession,
    now: Timestamp,
    mut response: Response,
) -> Response {
    let kept = session.link.until.min(later(now, KEPT));
    let lasts = kept.as_second().saturating_sub(now.as_second()).max(0);
    let text = api.customer_keys().session(session).zip(api.customer_keys().page(session));
    // Lax: a strict one is not sent on a redirect that began in a program for mail.
    let cookie = text.map(|(text, of)| sessions::set_cookie(&format!("{COOKIE}{of}"), &text, lasts, "Lax"));
    if let Some(Ok(cookie)) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Takes from the browser what it has of other pages, if that is too much: what ends first, and what is nothing.
pub(super) fn make_room(api: &Api, headers: &HeaderMap, of: &str, mut response: Response) -> Response {
    let ours = sessions::cookies(headers).filter_map(|(name, text)| Some((name.strip_prefix(COOKIE)?, text)));
    let mut others: Vec<_> = ours
        .filter(|(page, _)| *page != of)
        .map(|(page, text)| (api.customer_keys().read_session(text).map(|session| session.until), page))
        .collect();
    others.sort_unstable();
    let many = others.len().saturating_sub(PAGES_MAX);
    for (_, page) in others.into_iter().take(many) {
        if let Ok(cookie) = sessions::set_cookie(&format!("{COOKIE}{page}"), "", 0, "Lax") {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}
