//! Second factors of keys: codes that an app makes. Started, put in force by a first code, removed.
//!
//! They protect the pages, where people sign in. Whoever shows a key with a request to `/v1` is asked for no code.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, answer};
use super::labs::version_of;
use crate::api::Api;
use crate::api::auth::{Caller, Role};
use crate::api::idempotency::Keep;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::domain::Fault;
use crate::domain::second_factor::{self, SECRET_BYTES};
use crate::store::{self, CodeSaid, ShowCode, StartFactor, Write, Written};

/// A second factor that is not yet in force.
#[derive(Serialize, ToSchema)]
pub(super) struct SecondFactorAnswer {
    /// What is typed into an app for codes, in base32: shown only now.
    secret: String,
    /// The same for apps that read pictures or addresses, with what it is for.
    uri: String,
}

/// The first code of a second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstCode {
    /// The six digits that the app shows now.
    #[schema(example = "123456")]
    code: String,
}

/// Ops for every key, others for their own; whose it is not sees none.
fn concerns(api: &Api, caller: &Caller, key: &str) -> Answer<()> {
    let own = *caller.key == *key;
    let ours = caller.role() == Role::Ops && api.keys.holds(key, caller.at);
    if own || ours { Ok(()) } else { Err(Problem::not_found()) }
}

async fn said(api: &Api, write: Write) -> Answer<CodeSaid> {
    match store::one(&*api.store, write).await? {
        Written::Code(said) => Ok(said),
        _ => Err(Problem::unexpected("not a second factor")),
    }
}

fn refused(said: CodeSaid, at: Timestamp) -> Problem {
    let fault = |text: &str| Problem::from(Fault::new("code", text));
    match said {
        CodeSaid::None | CodeSaid::Good => Problem::not_found(),
        CodeSaid::InForce => {
            Problem::new(Code::SecondFactorInForce, "Its second factor is in force already.")
        }
        CodeSaid::Missing => fault("is empty; it must be the six digits that the app shows now"),
        CodeSaid::Wrong => {
            fault("is not what the app shows now; if it is, the clock of one of the two is wrong")
        }
        CodeSaid::Used => fault("was taken before; wait for the next one"),
        CodeSaid::Rests(until) => {
            let seconds = u64::try_from(until.duration_since(at).as_secs()).unwrap_or(1).max(1);
            Problem::new(Code::RateLimited, "Too many codes were wrong.").retry_after(seconds)
        }
    }
}

/// Starts a second factor of a key.
///
/// The answer shows its secret once; a repeat with the same `Idempotency-Key` does not. It is in force from its first
/// code on (`/confirm`); until then it can be started again. Ops may for every key, others for their own.
#[utoipa::path(post, path = "/v1/keys/{key}/second-factor", tag = "registry",
    params(("key" = String, Path, description = "Its public part")),
    responses(
        (status = 201, description = "What to put into an app", body = SecondFactorAnswer),
        (status = 404, description = "`not_found`: unknown, expired or revoked.", body = Document,
            content_type = "application/problem+json"),
        (status = 409, description = "`second_factor_in_force`", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn start(api: State<Api>, caller: Caller, key: Path<String>) -> Answer<Response> {
    concerns(&api, &caller, &key.0)?;
    let at = api.clock.now();
    let name = api.keys.owner(&key.0, at).map(|who| who.name.clone()).unwrap_or_default();
    let mut bytes = [0; SECRET_BYTES];
    api.random.fill(&mut bytes);
    let secret = second_factor::secret(bytes);
    let uri = second_factor::uri(&secret, &format!("{name} ({})", key.0));
    let item = StartFactor { key: key.0, secret: secret.clone(), at, actor: caller.actor.clone() };
    match said(&api, Write::StartFactor(Box::new(item))).await? {
        CodeSaid::Good => {}
        other => return Err(refused(other, at)),
    }
    let shown = |secret: &SecretString, uri: &SecretString| SecondFactorAnswer {
        secret: secret.expose_secret().to_owned(),
        uri: uri.expose_secret().to_owned(),
    };
    let mut response = answer(StatusCode::CREATED, &shown(&secret, &uri));
    // What is remembered for repeats has no secret.
    let none = SecretString::default();
    let kept = serde_json::to_string(&shown(&none, &none));
    response.extensions_mut().insert(Keep(kept.map_err(|error| Problem::unexpected(&error.to_string()))?));
    Ok(response)
}

/// Puts a second factor in force, by its first code.
///
/// From then on the pages ask for a code at every sign-in with the key, also by a link. Each code is taken once; after
/// five wrong ones in a row none is looked at for a minute, then for two, up to an hour.
#[utoipa::path(post, path = "/v1/keys/{key}/second-factor/confirm", tag = "registry", request_body = FirstCode,
    params(("key" = String, Path, description = "Its public part")),
    responses(
        (status = 204, description = "It is in force."),
        (status = 404, description = "`not_found`: no such key, or none was started.", body = Document,
            content_type = "application/problem+json"),
        (status = 409, description = "`second_factor_in_force`", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn confirm(
    api: State<Api>,
    caller: Caller,
    key: Path<String>,
    body: Json<FirstCode>,
) -> Answer<Response> {
    concerns(&api, &caller, &key.0)?;
    let at = api.clock.now();
    let code = Some(SecretString::from(body.0.code));
    let show = ShowCode { key: key.0, code, first: true, at, actor: caller.actor.clone() };
    match said(&api, Write::ShowCode(Box::new(show))).await? {
        CodeSaid::Good => {}
        other => return Err(refused(other, at)),
    }
    api.keys.refresh().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Removes the second factor of a key, for whoever lost their phone.
///
/// Another key of scope ops has to ask for it: whoever holds only this key, and not the phone, must not. Without
/// another, `stoppress keys second-factor --remove --database` does it.
#[utoipa::path(delete, path = "/v1/keys/{key}/second-factor", tag = "registry",
    params(("key" = String, Path, description = "Its public part")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "`not_found`: it has none.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn remove(api: State<Api>, caller: Caller, key: Path<String>) -> Answer<Response> {
    if *caller.key == *key.0 && api.keys.second_factor(&key.0) {
        let text = "A key cannot take its own second factor away: use another key of scope ops, or \
            `stoppress keys second-factor --remove --database`.";
        return Err(Problem::new(Code::Forbidden, text));
    }
    let write = Write::RemoveFactor { key: key.0, at: api.clock.now(), actor: caller.actor.clone() };
    let Written::Put(put) = store::one(&*api.store, write).await? else {
        return Err(Problem::unexpected("not a second factor"));
    };
    version_of(put)?;
    api.keys.refresh().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
