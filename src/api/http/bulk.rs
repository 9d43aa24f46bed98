//! Many orders at once: NDJSON in, one result a line out, both streamed.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Query;
use super::orders::{OnBehalf, Outcome, platform_of};
use crate::api::auth::Caller;
use crate::api::bulk::{self, Done, Source};
use crate::api::limits::BODY_WITHIN;
use crate::api::ndjson::{Cutter, Line};
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::{Api, json, within};
use crate::domain::ids::{OrderId, PlatformId};
use crate::domain::order::{OrderState, Submission};

/// What became of one line.
#[derive(Serialize, ToSchema)]
pub(super) struct LineResult {
    /// The number of the line in the request, from 1.
    line: u64,
    /// 201 for a new order, 200 for one that was there, else the status of `problem`.
    status: u16,
    /// The order.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<OrderId>,
    /// The platform's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    /// Its state, where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<OrderState>,
    /// The cutoff of its window, where it is new and has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<Timestamp>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document>,
}

/// Admits many orders: one order a line.
///
/// Results come one a line, in the order of the lines, while the request is still being sent: read while
/// you write. A broken line refuses that line and no other; empty lines are passed over. Each line is
/// idempotent by its reference, so the whole request can be repeated, and an `Idempotency-Key` is not
/// needed. At most 64 MiB, and 256 KiB a line. A request that breaks off ends with a line whose
/// problem says so; lines before it are admitted.
#[utoipa::path(post, path = "/v1/orders/bulk", tag = "orders", params(OnBehalf),
    request_body(content = Submission, content_type = "application/x-ndjson"),
    responses(
        (status = 200, description = "One result a line", body = LineResult, content_type = "application/x-ndjson"),
        (status = 415, description = "`media_type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: the query", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn submit(
    api: State<Api>,
    caller: Caller,
    query: Query<OnBehalf>,
    request: Request,
) -> Answer<Response> {
    let platform = platform_of(&api, &caller, query.0.platform)?;
    if !is_ndjson(request.headers()) {
        return Err(Problem::new(Code::MediaType, "The Content-Type is not application/x-ndjson."));
    }
    let lines =
        Lines { platform, body: request.into_body().into_data_stream().boxed(), cut: Cutter::default() };
    let sets = bulk::read_ahead(api.0.clone(), caller.actor.clone(), lines);
    let results = stream::unfold((api.0, sets), |(api, mut sets)| async move {
        let results = written(sets.recv().await?.admit(&api).await);
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(results)), (api, sets)))
    });
    let mut response = Body::from_stream(results).into_response();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/json"].contains(&kind)
}

type Chunks = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// Cuts the body into lines.
struct Lines {
    platform: PlatformId,
    body: Chunks,
    cut: Cutter,
}

impl Source for Lines {
    type Raw = Vec<u8>;

    fn held(&mut self, set: &mut Vec<Line>) {
        self.cut.lines(set);
    }

    async fn more(&mut self, set: &mut Vec<Line>) {
        match within(BODY_WITHIN, self.body.next()).await {
            Ok(Some(Ok(bytes))) => self.cut.take(&bytes, set),
            Ok(Some(Err(_))) => {
                let text = "The request broke off; later lines were not read.";
                self.cut.end(set, Some(Problem::new(Code::Malformed, text)));
            }
            Ok(None) => self.cut.end(set, None),
            Err(slow) => self.cut.end(set, Some(slow)),
        }
    }

    fn ended(&self) -> bool {
        self.cut.ended()
    }

    fn read(&self, raw: Vec<u8>) -> Answer<(Cow<'_, PlatformId>, Submission)> {
        Ok((Cow::Borrowed(&self.platform), json::read::<Submission>(&raw)?))
    }
}

/// A line for each result.
fn written(results: Vec<Done>) -> Vec<u8> {
    let mut text = Vec::with_capacity(results.len() * 160);
    for result in results {
        // Writing JSON to memory cannot fail: every key is a string.
        let _ = serde_json::to_writer(&mut text, &LineResult::from(result));
        text.push(b'\n');
    }
    text
}

impl From<Done> for LineResult {
    fn from(done: Done) -> Self {
        let Done { line, reference, outcome } = done;
        let mut result =
            Self { line, status: 0, id: None, reference, state: None, closes_at: None, problem: None };
        match outcome {
            Outcome::New(facts) => {
                result.status = StatusCode::CREATED.as_u16();
                result.state = Some(facts.state());
                result.closes_at = facts.batch.as_ref().map(|batch| batch.closes_at);
                result.id = Some(facts.id);
            }
            Outcome::Same(id) => {
                result.status = StatusCode::OK.as_u16();
                result.id = Some(id);
            }
            Outcome::Refused(problem) => {
                result.status = problem.code().status().as_u16();
                result.problem = Some(problem.document());
            }
        }
        result
    }
}
