//! `Idempotency-Key`: the same request again gets the stored answer.
//!
//! The effects are idempotent by themselves: an order by its reference, a stop because an order has
//! one, everything else by its version or state. So it is safe that an answer is remembered *after*
//! its effect: a crash in between means that the repeat runs again and finds the effect done. What
//! the key adds is the very same answer, and the refusal of a key that comes with another request.
//! For the same reason two replicas that run the same key at once do no harm.
//!
//! Remembered are the answers that are final: 200, 201, 204 and 409. A stop's 202 is not final, and
//! a failure changed nothing: both run again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::problem::{Answer, Code, Problem};
use crate::domain::event::hex;
use crate::store::{self, Remembered, Store, Write};

/// The request header.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Set on an answer that was stored before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What is remembered instead of the body, where the body shows a secret once.
#[derive(Debug, Clone)]
pub struct Keep(pub String);

/// The keys whose first request is still running in this process.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashSet<(String, String)>>);

/// The only request that runs under its key in this process, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    running: &'a Running,
    name: (String, String),
}

impl Running {
    fn begin(&self, scope: &str, key: &str) -> Option<Turn<'_>> {
        let name = (scope.to_owned(), key.to_owned());
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        // Lazily: a turn that is made is one that will be given back.
        first.then(|| Turn { running: self, name })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// The key of a request, quoted (a Structured Field string) or bare.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(&KEY) else { return Ok(None) };
    let bad =
        || Problem::new(Code::IdempotencyKeyInvalid, "The Idempotency-Key is empty, too long or not plain.");
    if headers.get_all(&KEY).iter().count() > 1 {
        return Err(Problem::new(Code::IdempotencyKeyInvalid, "There are two Idempotency-Key headers."));
    }
    let text = value.to_str().map_err(|_| bad())?.trim();
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"');
    if (1..=255).contains(&text.len()) && plain { Ok(Some(text.to_owned())) } else { Err(bad()) }
}

/// The fingerprint of a request: what it asks for, and of what.
#[must_use]
pub fn fingerprint(path: &str, body: &[u8]) -> String {
    let mut sum = Sha256::new();
    sum.update((path.len() as u64).to_be_bytes());
    sum.update(path.as_bytes());
    sum.update(body);
    hex(&sum.finalize())
}

/// A request under a key: whose key and on which route, the key, and the fingerprint.
pub type Named = (String, String, String);

/// What a key leads to.
#[derive(Debug)]
pub enum Led<'a> {
    /// It had an answer.
    Known(Remembered),
    /// It is new: run the request, and keep the turn until its answer is remembered.
    New(Turn<'a>),
}

/// Looks a key up.
///
/// # Errors
/// If it is in use, was used for another request, or the store does not answer.
pub async fn look_up<'a>(
    store: &dyn Store,
    running: &'a Running,
    (scope, key, fingerprint): &Named,
) -> Answer<Led<'a>> {
    let Some(turn) = running.begin(scope, key) else {
        let busy =
            Problem::new(Code::IdempotencyKeyInUse, "The first request with this key has no answer yet.");
        return Err(busy.retry_after(1));
    };
    match store.remembered(scope, key).await? {
        Some(known) if known.fingerprint == *fingerprint => Ok(Led::Known(known)),
        Some(_) => {
            Err(Problem::new(Code::IdempotencyKeyReused, "This key came with another request before."))
        }
        None => Ok(Led::New(turn)),
    }
}

/// Whether an answer with this status is final, and so remembered.
#[must_use]
pub fn is_final(status: StatusCode) -> bool {
    [StatusCode::OK, StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::CONFLICT].contains(&status)
}

/// Remembers the answer to a key.
pub async fn remember(
    store: &dyn Store,
    (scope, key, fingerprint): Named,
    status: StatusCode,
    body: String,
    at: Timestamp,
) {
    let status = i64::from(status.as_u16());
    let remember = Remembered { scope, key, fingerprint, status, body, at };
    if let Err(error) = store::one(store, Write::Remember(Box::new(remember))).await {
        // The effect is there and will be found by a repeat: the answer stands.
        tracing::warn!(%error, "an answer was not remembered");
    }
}

/// Gives the stored answer to a key, or runs the request and stores its answer.
pub async fn once(
    store: &dyn Store,
    running: &Running,
    name: Named,
    now: impl Fn() -> Timestamp,
    run: impl Future<Output = Response>,
) -> Response {
    let _turn = match look_up(store, running, &name).await {
        Ok(Led::Known(known)) => return replay(known),
        Ok(Led::New(turn)) => turn,
        Err(problem) => return problem.into_response(),
    };
    let (mut parts, body) = run.await.into_parts();
    let keep = parts.extensions.remove::<Keep>();
    if !is_final(parts.status) {
        return Response::from_parts(parts, body);
    }
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Problem::new(Code::Internal, "The answer could not be written.").into_response();
    };
    let text = keep.map_or_else(|| String::from_utf8_lossy(&bytes).into_owned(), |keep| keep.0);
    remember(store, name, parts.status, text, now()).await;
    Response::from_parts(parts, Body::from(bytes))
}

fn replay(known: Remembered) -> Response {
    let status = u16::try_from(known.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(StatusCode::OK);
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut response = Response::new(Body::from(known.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Option<String>, Code> {
        let headers = HeaderMap::from_iter([(KEY, HeaderValue::from_bytes(text.as_bytes()).unwrap())]);
        key_of(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn keys_are_quoted_or_bare() {
        assert_eq!(key_of(&HeaderMap::new()).unwrap(), None);
        assert_eq!(key("\"8e03978e\"").unwrap().as_deref(), Some("8e03978e"));
        assert_eq!(key("8e03978e").unwrap().as_deref(), Some("8e03978e"));
        assert!(key(&"a".repeat(255)).is_ok());
        for bad in ["", "\"\"", "a\"b", "é", &"a".repeat(256)] {
            assert_eq!(key(bad), Err(Code::IdempotencyKeyInvalid), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_tells_path_and_body_apart() {
        assert_ne!(fingerprint("/a", b"b"), fingerprint("/ab", b""));
        assert_eq!(fingerprint("/a", b"b"), fingerprint("/a", b"b"));
    }

    #[test]
    fn a_key_runs_once_at_a_time() {
        let running = Running::default();
        let first = running.begin("s", "k");
        assert!(first.is_some() && running.begin("t", "k").is_some());
        assert!(running.begin("s", "k").is_none() && running.begin("s", "k").is_none());
        drop(first);
        assert!(running.begin("s", "k").is_some());
    }
}
