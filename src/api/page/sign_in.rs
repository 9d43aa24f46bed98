//! Signing in and out: by a key, or by a link that works once.
//!
//! A link does nothing when it is looked at, since programs look at links; its button signs in.

use std::borrow::Cow;

use askama::Template;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::{PlainPage, Shell, Shown, page, posted, read_form, second_factor, secret_page, see};
use crate::api::auth::{Caller, unauthenticated};
use crate::api::problem::{Answer, Code, Problem};
use crate::api::sessions::Begun;
use crate::api::{Api, sessions};
use crate::domain::source::Source;
use crate::store::Proof;

/// The page on which people sign in.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    shell: Shell,
    /// Where to go then.
    next: String,
    /// Why it did not work.
    refused: Option<String>,
}

/// The page behind a link that signs in once.
#[derive(Template)]
#[template(path = "sign_in_link.html")]
struct LinkPage {
    shell: Shell,
    /// What the key is for.
    name: String,
    /// Its scope, in words.
    scope: String,
    /// What the link carries.
    token: String,
    /// Whether the key has a second factor.
    with_code: bool,
    /// Why it did not work.
    refused: Option<String>,
}

/// Where to go after signing in.
#[derive(Deserialize)]
pub(in crate::api) struct Next {
    #[serde(default)]
    next: String,
}

/// A path of ours, whatever was asked for.
fn ours(next: &str) -> &str {
    let plain = next.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\');
    if plain && next.starts_with('/') && !next.starts_with("//") { next } else { "/" }
}

/// Shows the page on which people sign in.
pub(in crate::api) async fn show(api: State<Api>, next: Query<Next>) -> Response {
    let shell = Shell::public(api.clock.now());
    page(StatusCode::OK, &SignInPage { shell, next: ours(&next.0.next).to_owned(), refused: None })
}

/// What the page of signing in sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInForm {
    key: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    next: String,
}

/// Whether a browser that sent this keeps a cookie for safe connections.
fn keeps_cookies(headers: &HeaderMap) -> bool {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let host = url::Url::parse(&format!("http://{}", text(header::HOST))).ok();
    let here = host.as_ref().and_then(url::Url::host).is_some_and(|host| match host {
        url::Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
    });
    let proxied = text(header::HeaderName::from_static("x-forwarded-proto"));
    // Browsers say where a request comes from over safe connections only.
    let safe = headers.contains_key("sec-fetch-site");
    safe || here || text(header::ORIGIN).starts_with("https://") || proxied.eq_ignore_ascii_case("https")
}

fn begun(cookie: HeaderValue, next: &str) -> Response {
    let mut response = see(ours(next));
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// Where a request comes from.
fn source_of(request: &Request) -> Option<Source> {
    request.extensions().get::<Source>().copied()
}

/// Counts whoever did not get in; who comes again and again waits for the answer.
pub(super) async fn stranger(api: &Api, source: Option<Source>) {
    let problem = api.sources.failed(source, unauthenticated());
    api.sources.hold(&problem).await;
}

/// Signs in by a key.
pub(in crate::api) async fn sign_in(api: State<Api>, request: Request) -> Shown {
    let now = api.clock.now();
    let source = source_of(&request);
    let (Parts { headers, .. }, body) = request.into_parts();
    sessions::own_pages(&headers)?;
    let form: SignInForm = read_form(&posted(&headers, body).await?)?;
    let again = |status, refused: &str| {
        let shell = Shell::public(now);
        page(
            status,
            &SignInPage { shell, next: ours(&form.next).to_owned(), refused: Some(refused.to_owned()) },
        )
    };
    if !keeps_cookies(&headers) {
        let text = "This page was reached over plain http from another computer. Browsers keep a sign-in only over \
            https: put the gateway behind a proxy with a certificate, or open it on its own host.";
        return Ok(again(StatusCode::BAD_REQUEST, text));
    }
    let Ok(who) = api.keys.of(form.key.trim(), now) else {
        stranger(&api, source).await;
        let text = "This key is unknown, expired or revoked.";
        return Ok(again(StatusCode::FORBIDDEN, text));
    };
    let code = second_factor::typed(form.code.as_deref().map(Cow::Borrowed));
    let cookie = match sessions::begin(&api, Proof::Key(who.key.to_string()), code, now).await? {
        Begun::Cookie(cookie) => cookie,
        Begun::Gone => return Ok(again(StatusCode::FORBIDDEN, "This key was revoked just now.")),
        Begun::Code(said) => {
            second_factor::counts(&api, said, source).await;
            return Ok(again(StatusCode::FORBIDDEN, &second_factor::told(said, now)));
        }
    };
    tracing::info!(key = %who.key, "signed in");
    Ok(begun(cookie, &form.next))
}

/// The answer to a link that does not work: one text for every reason.
fn no_link(api: &Api) -> Response {
    let text = "It was used, or it is too old, or it is not whole. Ask whoever gave it to you for a new one: \
        `stoppress keys link`.";
    let shown = PlainPage::new(api.clock.now(), "This link does not sign in", text);
    secret_page(StatusCode::NOT_FOUND, &shown)
}

/// Shows who a link signs in; it signs nobody in.
pub(in crate::api) async fn open(
    api: State<Api>,
    source: Option<Extension<Source>>,
    token: Path<String>,
) -> Shown {
    if let Some(response) = link_page(&api, token.0, None, api.clock.now()).await? {
        return Ok(response);
    }
    stranger(&api, source.map(|source| source.0)).await;
    Ok(no_link(&api))
}

/// The page behind a link that still signs in.
async fn link_page(
    api: &Api,
    token: String,
    refused: Option<String>,
    now: Timestamp,
) -> Answer<Option<Response>> {
    let key = api.store.sign_in_key(&sessions::known_as(&token), now).await?;
    let Some(who) = key.and_then(|key| api.keys.owner(&key, now)) else { return Ok(None) };
    let scope = match &who.scope {
        crate::store::Scope::Ops => "ops".to_owned(),
        crate::store::Scope::Platform(platform) => format!("the platform {platform}"),
        crate::store::Scope::Lab(lab) => format!("the lab {lab}"),
    };
    let shell = Shell::public(now);
    let status = if refused.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let with_code = refused.is_some() || api.keys.second_factor(&who.key);
    let shown = LinkPage { shell, name: who.name.clone(), scope, token, with_code, refused };
    Ok(Some(page(status, &shown)))
}

/// What the button of a link sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pressed {
    token: String,
    #[serde(default)]
    code: Option<String>,
}

/// Signs in by a link, once.
pub(in crate::api) async fn press(api: State<Api>, request: Request) -> Shown {
    let source = source_of(&request);
    let (Parts { headers, .. }, body) = request.into_parts();
    sessions::own_pages(&headers)?;
    let Pressed { token, code } = read_form(&posted(&headers, body).await?)?;
    if !keeps_cookies(&headers) {
        let text =
            "Open the link over https, or on the host of the gateway: browsers keep a sign-in only there.";
        return Err(Problem::new(Code::Forbidden, text).into());
    }
    let (now, link) = (api.clock.now(), sessions::known_as(&token));
    let code = second_factor::typed(code.map(Cow::Owned));
    let cookie = match sessions::begin(&api, Proof::Link(link), code, now).await? {
        Begun::Cookie(cookie) => Some(cookie),
        Begun::Gone => None,
        Begun::Code(said) => {
            second_factor::counts(&api, said, source).await;
            // The link was not used up.
            if let Some(again) = link_page(&api, token, Some(second_factor::told(said, now)), now).await? {
                return Ok(again);
            }
            None
        }
    };
    let Some(cookie) = cookie else {
        stranger(&api, source).await;
        return Ok(no_link(&api));
    };
    tracing::info!("signed in by a link");
    Ok(begun(cookie, "/"))
}

/// Signs out.
pub(in crate::api) async fn sign_out(api: State<Api>, caller: Caller) -> Shown {
    let cookie = sessions::end(&api, &caller).await?;
    let mut response = see("/sign-in");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    // The browser need not keep anything of what was seen.
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\", \"storage\""));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        let cases = [
            ("/lab?open=1#x", "/lab?open=1#x"),
            ("/", "/"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("/a\r\nset-cookie: x", "/"),
            ("/ü", "/"),
        ];
        for (next, expected) in cases {
            assert_eq!(ours(next), expected, "{next:?}");
        }
    }

    #[test]
    fn browsers_keep_cookies_over_https_and_on_their_own_host() {
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[("host", "localhost:8080")], true),
            (&[("host", "127.0.0.1:8080")], true),
            (&[("host", "[::1]:8080")], true),
            (&[("host", "gw.example"), ("origin", "https://gw.example")], true),
            (&[("host", "gw.example"), ("x-forwarded-proto", "https")], true),
            (&[("host", "gw.example"), ("origin", "null"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "10.0.0.5:8080"), ("origin", "http://10.0.0.5:8080")], false),
            (&[("host", "localhost.evil.example")], false),
            (&[], false),
        ];
        for (given, expected) in cases {
            let headers = given
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(keeps_cookies(&headers), *expected, "{given:?}");
        }
    }
}
