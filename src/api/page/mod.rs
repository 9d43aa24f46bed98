//! Pages for people: plain, without scripts, pictures or cookies, escaped by their templates.

use std::sync::LazyLock;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use crate::domain::mail::Line;

/// How every page looks. The policy names its hash, so that no other style is used.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;margin:2rem auto;\
    max-width:40rem;padding:0 1rem;color:CanvasText;background:Canvas}h1{line-height:1.2}dt{font-weight:bold;\
    margin-top:.5rem}dd{margin:0;overflow-wrap:anywhere}ul{margin:0;padding-left:1.2rem}\
    textarea{box-sizing:border-box;width:100%;font:inherit}button{font:inherit;padding:.6rem 1rem;min-height:2.75rem;\
    width:100%;max-width:24rem;text-align:left}";

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// The page on which the people of a lab answer a stop.
#[derive(Template)]
#[template(path = "answer.html")]
pub(super) struct AnswerPage {
    pub(super) style: Style,
    /// The platform's reference of the order.
    pub(super) reference: String,
    /// Whose order it is.
    pub(super) platform: String,
    /// The lab's name.
    pub(super) lab: String,
    /// The lines.
    pub(super) items: Vec<Line>,
    /// Why the stop was asked.
    pub(super) reason: String,
    /// When it was asked, on the region's clocks.
    pub(super) asked: String,
    /// When an answer is due.
    pub(super) due: String,
    /// How it stands.
    pub(super) stands: String,
    /// What came of the answer that was just given.
    pub(super) said: Option<&'static str>,
    /// Whether an answer is still wanted.
    pub(super) open: bool,
    /// The link's token, for the form.
    pub(super) token: String,
    /// Where the form goes.
    pub(super) action: &'static str,
}

/// A page with nothing to do on it.
#[derive(Template)]
#[template(path = "gone.html")]
pub(super) struct PlainPage {
    pub(super) style: Style,
    pub(super) head: &'static str,
    pub(super) text: &'static str,
}

/// The style of the pages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style;

impl std::fmt::Display for Style {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(STYLE)
    }
}

/// A page as it is sent: never kept, never framed, telling nobody where it was reached from.
pub(super) fn page(status: StatusCode, page: &impl Template) -> Response {
    let text = match page.render() {
        Ok(text) => text,
        Err(error) => return Problem::unexpected(&error.to_string()).into_response(),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
