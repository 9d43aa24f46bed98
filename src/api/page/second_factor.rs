//! Codes of second factors at pages: what is said to one, and to whom has none where one is needed.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use secrecy::SecretString;

use super::sign_in::stranger;
use super::{PlainPage, Shell, page};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Problem};
use crate::domain::second_factor::Wanted;
use crate::domain::source::Source;
use crate::store::{CodeSaid, ShowCode, Write, Written, one};

/// What is said to a code that was not taken.
pub(super) fn told(said: CodeSaid, at: Timestamp) -> String {
    let text = match said {
        CodeSaid::Missing => {
            "This key has a second factor: type the code that your app shows, beside the key."
        }
        CodeSaid::Used => "This code was taken before. Wait until your app shows the next one.",
        CodeSaid::Rests(until) => {
            let seconds = until.duration_since(at).as_secs().max(1);
            return format!("Too many codes were wrong. The next one is looked at in {seconds} s.");
        }
        _ => "This is not the code that your app shows now. If it is, the clock of one of the two is wrong.",
    };
    text.to_owned()
}

/// A code as it was typed.
pub(super) fn typed(code: Option<Cow<'_, str>>) -> Option<SecretString> {
    code.map(|code| SecretString::from(code.into_owned())).filter(|code| {
        use secrecy::ExposeSecret as _;
        !code.expose_secret().trim().is_empty()
    })
}

/// Counts whoever guesses as a stranger; who only forgot the code is none.
pub(super) async fn counts(api: &Api, said: CodeSaid, source: Option<Source>) {
    if matches!(said, CodeSaid::Wrong | CodeSaid::Used | CodeSaid::Rests(_)) {
        stranger(api, source).await;
    }
}

/// Shows a code of the caller's key, if it has a second factor.
pub(super) async fn show(
    api: &Api,
    caller: &Caller,
    code: Option<Cow<'_, str>>,
    at: Timestamp,
) -> Answer<CodeSaid> {
    let key = caller.key.to_string();
    let show = ShowCode { key, code: typed(code), first: false, at, actor: caller.actor.clone() };
    match one(&*api.store, Write::ShowCode(Box::new(show))).await? {
        Written::Code(said) => Ok(said),
        _ => Err(Problem::unexpected("not a code")),
    }
}

/// The page that says what is missing, where a second factor is needed and the caller has none, or signed in before
/// it had one. `asks_again`: the form will ask for the code itself.
pub(in crate::api) fn missing(api: &Api, caller: &Caller, asks_again: bool) -> Option<Response> {
    if api.second_factor != Wanted::Required {
        return None;
    }
    let there = api.keys.second_factor(&caller.key);
    let (text, next) = if !there {
        let key = &caller.key;
        let text = format!(
            "Nothing was done. Whoever runs this gateway has set ops.second_factor to \"required\": what cannot be \
             taken back is only done by somebody whose key has a second factor, and yours has none. To get one, run \
             `stoppress keys second-factor {key}` with an app for codes at hand, then sign in again."
        );
        (text, None)
    } else if asks_again || caller.session().is_some_and(|session| session.with_code) {
        return None;
    } else {
        let text = "Nothing was done. You signed in before your key had a second factor: sign in again, with a code.";
        (text.to_owned(), Some(("Sign in again", "/sign-in".to_owned())))
    };
    let shell = Shell::of(caller, "board");
    let next = next.or_else(|| Some(("Go back to the start", "/".to_owned())));
    let shown = PlainPage { shell, head: "A second factor is needed for this".to_owned(), text, next };
    Some(page(StatusCode::FORBIDDEN, &shown))
}
