//! Before what cannot be taken back, whoever signed in a while ago shows the key again: a page that was left open
//! must not be enough to release a batch, or to decide what was told of an order. A key with a second factor is shown
//! with a code, and so it is by whoever signed in before the key had one.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::sign_in::stranger;
use super::{GATES, Shell, page, second_factor};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::Answer;
use crate::api::sessions::Session;
use crate::domain::source::Source;
use crate::store::CodeSaid;

/// How long ago somebody may have shown who they are.
const SURE: SignedDuration = SignedDuration::from_mins(5);
/// The field of the key.
pub(in crate::api) const FIELD: &str = "confirm_key";
/// The field of the code.
pub(in crate::api) const CODE: &str = "confirm_code";

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    shell: Shell,
    action: String,
    /// What was sent, to be sent again.
    fields: Vec<(String, String)>,
    /// Whether the key has a second factor.
    with_code: bool,
    /// Why it was not enough.
    refused: Option<String>,
}

/// The page that asks for the key, unless the caller has just shown it: with this form, or by signing in.
pub(in crate::api) async fn unsure(
    api: &Api,
    caller: &Caller,
    action: &str,
    form: &[u8],
    source: Option<Source>,
    at: Timestamp,
) -> Answer<Option<Response>> {
    let with_code = api.keys.second_factor(&caller.key);
    let just_now = |session: &Session| at.duration_since(session.started_at) < SURE;
    if caller.session().is_some_and(|session| just_now(session) && (session.with_code || !with_code)) {
        return Ok(None);
    }
    let sent = || url::form_urlencoded::parse(form);
    let field = |named: &str| sent().find(|(name, _)| name == named).map(|(_, value)| value);
    let refused = match field(FIELD) {
        None => None,
        Some(key) if api.keys.of(key.trim(), at).is_ok_and(|who| who.key == caller.key) => {
            match second_factor::show(api, caller, field(CODE), at).await? {
                // Without one, the key is enough.
                CodeSaid::Good | CodeSaid::None => return Ok(None),
                said => {
                    second_factor::counts(api, said, source).await;
                    Some(second_factor::told(said, at))
                }
            }
        }
        Some(_) => {
            stranger(api, source).await;
            Some("This is not the key with which you signed in.".to_owned())
        }
    };
    let fields = sent().filter(|(name, _)| !GATES.contains(&&**name));
    let shown = ConfirmPage {
        shell: Shell::of(caller, "board"),
        action: action.to_owned(),
        fields: fields.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        with_code,
        refused,
    };
    Ok(Some(page(StatusCode::FORBIDDEN, &shown)))
}
