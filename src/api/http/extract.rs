//! What handlers are given: bodies, queries, path ids, versions, pages.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::gate::Whole;
use crate::api::problem::{Answer, Code, Problem};
pub(super) use crate::api::words::{required, text};
use crate::api::{json, orders};
use crate::domain::Fault;
use crate::store::OrderRef;

/// How many objects a page has unless told.
const PAGE: i64 = 50;
/// How many it has at most.
const PAGE_MAX: i64 = 200;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Json<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.remove::<Whole>() {
            Some(Whole(bytes)) if !bytes.is_empty() => json::read(&bytes).map(Self),
            _ => Err(Problem::new(Code::Malformed, "The body is empty; it must be a JSON object.")),
        }
    }
}

/// A JSON body that may be left out.
pub(super) struct Maybe<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequestParts<S> for Maybe<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.remove::<Whole>() {
            Some(Whole(bytes)) if !bytes.trim_ascii().is_empty() => json::read(&bytes).map(Self),
            _ => Ok(Self(T::default())),
        }
    }
}

/// A query string.
pub(in crate::api) struct Query<T>(pub(in crate::api) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        read.map(|query| Self(query.0)).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, why)| why);
            // What has no field of its own begins with a word of serde's, not with a path.
            let split = text.split_once(": ").filter(|(path, _)| !path.contains(' '));
            let (path, message) = split.unwrap_or(("", text));
            Problem::from(json::fault(path, message))
        })
    }
}

/// An id in the path. What is no id names no object.
pub(super) struct Id<T>(pub(super) T);

impl<T: TryFrom<String>, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        T::try_from(segment(parts, state).await?).map(Self).map_err(|_| Problem::not_found())
    }
}

/// An order in the path: its id, or `@` and the platform's reference.
pub(super) struct Order(pub(super) OrderRef);

impl<S: Send + Sync> FromRequestParts<S> for Order {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await?;
        orders::named(&text).map(Self)
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Answer<String> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|path| path.0).map_err(|_| Problem::not_found())
}

/// The version that `If-Match` asks for.
pub(super) struct IfMatch(pub(super) Option<i64>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        version.and_then(|version| version.parse().ok()).map(|version| Self(Some(version))).ok_or_else(|| {
            let text =
                format!("If-Match is {text:?}; it must be one ETag of an answer, such as \"3\", or *.");
            Problem::new(Code::Malformed, text)
        })
    }
}

/// The refusal of a version.
pub(in crate::api) fn version_mismatch(version: i64) -> Problem {
    Problem::new(Code::VersionMismatch, format!("It has version {version} now.")).with("version", version)
}

/// Checks how many are asked for.
pub(super) fn limit(limit: Option<i64>) -> Answer<i64> {
    match limit {
        None => Ok(PAGE),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(other) => Err(Fault::not("limit", other, "a whole number from 1 to 200").into()),
    }
}

/// Reads a cursor.
pub(in crate::api) fn cursor<T: TryFrom<String>>(cursor: Option<&str>) -> Answer<Option<T>> {
    let Some(text) = cursor else { return Ok(None) };
    let read = BASE64.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let read = read.and_then(|text| T::try_from(text).ok());
    read.map(Some).ok_or_else(|| Fault::not("cursor", text, "the `next` of an earlier answer").into())
}

/// The cursor for the page after this one, if there may be one.
pub(in crate::api) fn next<T: std::fmt::Display>(
    count: usize,
    limit: i64,
    last: Option<T>,
) -> Option<String> {
    let full = i64::try_from(count).is_ok_and(|count| count >= limit);
    last.filter(|_| full).map(|last| BASE64.encode(last.to_string()))
}

/// The page of a list that was asked for.
pub(in crate::api) struct Page<T> {
    /// How many.
    pub(in crate::api) limit: i64,
    /// Behind which one.
    pub(in crate::api) from: Option<T>,
}

impl<T: TryFrom<String> + std::fmt::Display> Page<T> {
    /// Checks what was asked for.
    pub(in crate::api) fn asked(how_many: Option<i64>, from: Option<&str>) -> Answer<Self> {
        Ok(Self { limit: limit(how_many)?, from: cursor(from)? })
    }

    /// The cursor for the page after this one, if there may be one.
    pub(in crate::api) fn next<'a, R>(&self, rows: &'a [R], id: impl Fn(&'a R) -> &'a T) -> Option<String>
    where
        T: 'a,
    {
        next(rows.len(), self.limit, rows.last().map(id))
    }
}

/// An answer in JSON.
pub(super) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => raw(status, bytes),
        Err(error) => Problem::unexpected(&error.to_string()).into_response(),
    }
}

/// An answer whose JSON is written already.
pub(super) fn raw(status: StatusCode, bytes: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Adds the version as `ETag`.
pub(super) fn tagged(mut response: Response, version: i64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
