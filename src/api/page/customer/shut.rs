//! Why a customer's page does not come, or does nothing, and the pages that say so.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;

use super::Asks;
use super::words::{Language, Words, fill};
use crate::api::page::{Shell, secret_page};
use crate::api::problem::{Code, Problem};

/// Why nothing is shown, or done.
pub(super) enum Shut {
    /// It is no link, or none any more.
    Over,
    /// It was left for too long; the link still holds.
    Late,
    /// The browser did not bring back what it was given a moment ago.
    NoCookies,
    /// What came was not what the page sends.
    Again,
    /// Too often; come again after so many seconds.
    Often(Problem),
    /// The gateway cannot answer. Nothing was changed.
    Problem(Problem),
    /// The gateway cannot answer, and whether something was changed is not known.
    Unsure(Problem),
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
    /// Where to go back to, and what that is called.
    back: Option<(&'a str, &'a str)>,
}

impl Shut {
    /// The page that says so. It is the same for every link that opens nothing.
    pub(super) fn response(&self, asks: &Asks, language: &'static Language) -> Response {
        let words = &language.words;
        let again = &words.again;
        let often;
        let (status, head, text) = match &self {
            Self::Over => (StatusCode::NOT_FOUND, &words.over.head, &words.over.text),
            Self::Late => (StatusCode::GONE, &words.late.head, &words.late.text),
            Self::NoCookies => (StatusCode::BAD_REQUEST, &words.cookies.head, &words.cookies.text),
            Self::Again => (StatusCode::BAD_REQUEST, &again.head, &again.text),
            Self::Often(problem) => {
                often = fill(&again.often, &[("wait", &wait(problem.wait().unwrap_or(1)))]);
                (StatusCode::TOO_MANY_REQUESTS, &again.head, &often)
            }
            Self::Problem(problem) => (problem.code().status(), &again.head, &again.text),
            Self::Unsure(problem) => (problem.code().status(), &again.head, &again.unsure),
        };
        let back = match &self {
            Self::Over | Self::Late | Self::NoCookies => None,
            // There is none to go back to before a link was opened.
            _ => asks.of.is_some().then(|| format!("{}{}", asks.page, asks.query(Some(language.code)))),
        };
        let back = back.as_deref().map(|to| (to, again.back.as_str()));
        let shell = Shell { lang: language.code, ..Shell::public(Timestamp::UNIX_EPOCH) };
        // The address may be the link itself.
        let mut response = secret_page(status, &PlainPage { shell, words, head, text, back });
        if let Self::Often(problem) | Self::Problem(problem) | Self::Unsure(problem) = self
            && let Some(after) = problem.wait()
        {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        response
    }
}

/// So many seconds, or minutes, as every language writes them.
fn wait(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}
