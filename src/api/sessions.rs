//! People who have signed in at a page: a cookie that stands for a key.
//!
//! The cookie carries 256 random bits; the store has only their hash. A session ends after twelve hours, after
//! thirty minutes in which no page of it was open, when somebody signs out, and as soon as its key ends. It
//! opens pages, never `/v1`: there a key is shown with every request, and no other site can send it.
//!
//! What a page sends must come from our own pages: the browser says so ([`same_origin`]), and the form carries
//! [`Session::csrf`], which no other site can read.

use axum::http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Api;
use super::auth::{Caller, Role, permit, unauthenticated};
use super::problem::{Answer, Code, Problem};
use crate::clock::Random;
use crate::domain::batch::later;
use crate::domain::event::{Actor, hex};
use crate::store::{CodeSaid, Proof, SignIn, SignInLink, SignedIn, Write, Written, one};

/// The cookie of a session.
const COOKIE: &str = "__Host-stoppress";
/// How long a session lasts at most.
const LASTS: SignedDuration = SignedDuration::from_hours(12);
/// How long it lasts unused. A page that is open and live uses it.
const IDLE: SignedDuration = SignedDuration::from_mins(30);
/// How exactly the store knows when it was last used.
const SEEN_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How long a link signs in.
pub const LINK_LASTS: SignedDuration = SignedDuration::from_mins(15);

/// What a page knows of the session that looks at it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// SHA-256 of the cookie, hex.
    pub(super) id: String,
    /// What forms carry: made from the cookie, of no use without it.
    pub(super) csrf: String,
    /// When somebody signed in.
    pub(super) started_at: Timestamp,
    /// Whether it was with a code of a second factor.
    pub(super) with_code: bool,
}

/// Of a sign-in.
pub(super) enum Begun {
    /// The cookie of the session.
    Cookie(HeaderValue),
    /// The link, or the key, does not work any more.
    Gone,
    /// There has to be a code of the second factor, and this is what was said to the one that came.
    Code(CodeSaid),
}

/// A text of 256 random bits, and the hash by which it is known.
fn fresh(random: &dyn Random) -> (SecretString, String) {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let text = hex(&bytes);
    let id = known_as(&text);
    (SecretString::from(text), id)
}

/// The hash by which what a browser or a link carries is known.
pub(super) fn known_as(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn csrf_of(cookie: &str) -> String {
    known_as(&format!("stoppress form {cookie}"))
}

/// The cookies of a request: names and values.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookies(headers).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Recognises who has signed in.
///
/// # Errors
/// If nobody has, or not any more, or not in one of these roles.
pub(super) async fn recognise(
    api: &Api,
    headers: &HeaderMap,
    roles: &[Role],
    at: Timestamp,
) -> Answer<Caller> {
    let cookie = cookie(headers, COOKIE).ok_or_else(unauthenticated)?;
    let caller = of_id(api, known_as(cookie), csrf_of(cookie), at).await?.ok_or_else(unauthenticated)?;
    permit(&caller, roles)?;
    Ok(caller)
}

async fn of_id(api: &Api, id: String, csrf: String, at: Timestamp) -> Answer<Option<Caller>> {
    let Some(row) = api.store.session(&id).await? else { return Ok(None) };
    let over = row.ended_at.is_some() || at >= row.ends_at || at >= later(row.seen_at, IDLE);
    let Some(who) = api.keys.owner(&row.key, at).filter(|_| !over) else { return Ok(None) };
    if at.duration_since(row.seen_at) >= SEEN_EVERY {
        one(&*api.store, Write::SeeSession { id: id.clone(), at }).await?;
    }
    let session = Session { id, csrf, started_at: row.started_at, with_code: row.with_code };
    Ok(Some(Caller::signed_in(who, at, session)))
}

/// Whether a session that a page was opened with still holds; it counts as used.
pub(super) async fn still(api: &Api, session: &Session, at: Timestamp) -> Answer<bool> {
    Ok(of_id(api, session.id.clone(), session.csrf.clone(), at).await?.is_some())
}

/// Signs a browser in.
pub(super) async fn begin(
    api: &Api,
    proof: Proof,
    code: Option<SecretString>,
    at: Timestamp,
) -> Answer<Begun> {
    let (cookie, id) = fresh(&*api.random);
    let sign_in = SignIn { id, proof, code, at, ends_at: later(at, LASTS) };
    let key = match one(&*api.store, Write::SignIn(Box::new(sign_in))).await? {
        Written::SignedIn(SignedIn::Begun(key)) => key,
        Written::SignedIn(SignedIn::Gone) => return Ok(Begun::Gone),
        Written::SignedIn(SignedIn::Code(said)) => return Ok(Begun::Code(said)),
        _ => return Err(Problem::unexpected("not a session")),
    };
    if !api.keys.holds(&key, at) {
        return Ok(Begun::Gone);
    }
    set_cookie(COOKIE, cookie.expose_secret(), LASTS.as_secs(), "Strict").map(Begun::Cookie)
}

/// Ends a session, and gives the cookie that replaces it.
pub(super) async fn end(api: &Api, caller: &Caller) -> Answer<HeaderValue> {
    if let Some(session) = caller.session() {
        let actor = caller.actor.clone();
        one(&*api.store, Write::EndSession { id: session.id.clone(), at: caller.at, actor }).await?;
    }
    set_cookie(COOKIE, "", 0, "Strict")
}

/// Makes the text of a link that signs in once with a key.
///
/// # Errors
/// If the store is unavailable.
pub async fn offer(
    store: &dyn crate::store::Store,
    random: &dyn Random,
    key: &str,
    actor: Actor,
    at: Timestamp,
) -> crate::store::Result<(SecretString, Timestamp)> {
    let (text, link) = link(random, key, actor, at);
    let expires_at = link.expires_at;
    one(store, Write::OfferSignIn(Box::new(link))).await?;
    Ok((text, expires_at))
}

/// A link that signs in once with a key: what it carries, and what is to be stored.
pub fn link(random: &dyn Random, key: &str, actor: Actor, at: Timestamp) -> (SecretString, SignInLink) {
    let (text, id) = fresh(random);
    (text, SignInLink { id, key: key.to_owned(), at, expires_at: later(at, LINK_LASTS), actor })
}

/// A cookie of this host alone, which no script reads and which only goes over a safe connection.
pub(super) fn set_cookie(name: &str, value: &str, seconds: i64, same_site: &str) -> Answer<HeaderValue> {
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite={same_site}");
    HeaderValue::from_str(&text)
        .map(|mut value| {
            value.set_sensitive(true);
            value
        })
        .map_err(|error| Problem::unexpected(&error.to_string()))
}

/// Whether the browser says that a request comes from one of our own pages.
pub(super) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    // Over plain http, browsers do not say more than this.
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, origin)| text(header::HOST).is_some_and(|host| origin.eq_ignore_ascii_case(host)))
}

/// Refuses what does not come from our own pages.
pub(super) fn own_pages(headers: &HeaderMap) -> Answer<()> {
    if same_origin(headers) {
        return Ok(());
    }
    let text = "This must come from a page of the gateway, and the browser does not say that it does.";
    Err(Problem::new(Code::Forbidden, text))
}

/// Refuses a form that was not made for this session.
pub(super) fn own_form(caller: &Caller, headers: &HeaderMap, form: &[u8]) -> Answer<()> {
    own_pages(headers)?;
    let given = url::form_urlencoded::parse(form).find(|(name, _)| name == "csrf").map(|(_, value)| value);
    let fits = |session: &Session| {
        given.as_deref().is_some_and(|given| bool::from(given.as_bytes().ct_eq(session.csrf.as_bytes())))
    };
    if caller.session().is_some_and(fits) {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "The page is of an earlier sign-in. Open it again, and repeat."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_our_own_pages_send() {
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (
                &[("sec-fetch-site", "cross-site"), ("origin", "https://gw.example"), ("host", "gw.example")],
                false,
            ),
            (&[("origin", "https://gw.example"), ("host", "gw.example")], true),
            (&[("origin", "http://gw.example:8080"), ("host", "GW.example:8080")], true),
            (&[("origin", "https://gw.example:8443"), ("host", "gw.example")], false),
            (&[("origin", "https://evil.example"), ("host", "gw.example")], false),
            (&[("origin", "null"), ("host", "gw.example")], false),
            (&[("host", "gw.example")], false),
            (&[], false),
        ];
        for (given, expected) in cases {
            assert_eq!(same_origin(&headers(given)), *expected, "{given:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let given = headers(&[("cookie", "a=1; __Host-stoppress=abc=; __Host-stoppress2=no")]);
        assert_eq!(cookie(&given, COOKIE), Some("abc="));
        assert_eq!(cookie(&given, "stoppress"), None);
        assert_eq!(cookie(&headers(&[]), COOKIE), None);
    }
}
