//! Bounds of streams that do not end by themselves: how many a key may have, and when they end all the same.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::status::status;
use crate::api::Api;
use crate::api::auth::{Caller, unauthenticated};
use crate::api::problem::{Answer, Code, Problem};

/// So many watches a key may have open at a gateway.
pub(super) const WATCHES_MAX: usize = 32;
/// How long a caller without a key may keep a stream.
const OPEN_WITHIN: Duration = Duration::from_mins(5);

/// Why a stream ends with the gateway.
pub(super) fn draining() -> Problem {
    Problem::new(Code::Unavailable, "The gateway ends. Open the stream again, where you were.").retry_after(1)
}

/// The watches that are open, by key.
#[derive(Debug, Default)]
pub(in crate::api) struct Watches(Mutex<HashMap<Arc<str>, usize>>);

/// One watch of a key.
pub(super) struct Place {
    pub(super) api: Api,
    pub(super) caller: Caller,
}

impl Place {
    /// Takes one of the caller's places, given back when it is dropped.
    pub(super) fn take(api: &Api, caller: Caller) -> Answer<Self> {
        let mut open = api.watches.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(Arc::clone(&caller.key)).or_default();
        if *count >= WATCHES_MAX {
            let text = format!("The key has {WATCHES_MAX} watches open; it may have no more.");
            return Err(Problem::new(Code::RateLimited, text).retry_after(60));
        }
        *count += 1;
        drop(open);
        Ok(Self { api: api.clone(), caller })
    }

    /// Whether the watch may go on: not when the gateway ends, nor when the key does.
    pub(super) fn may_go_on(&self) -> Answer<Timestamp> {
        let now = self.api.clock.now();
        if self.api.end.is_cancelled() {
            return Err(draining());
        }
        if !self.api.keys.holds(&self.caller.key, now) {
            return Err(unauthenticated());
        }
        Ok(now)
    }

    /// Waits until an instant, or until the gateway ends.
    pub(super) async fn wait(&self, until: Timestamp) {
        tokio::select! {
            () = self.api.end.cancelled() => {}
            () = self.api.clock.sleep_until(until) => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.api.watches.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.caller.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller.key);
            }
        }
    }
}

/// Ends the streams of others' services.
#[derive(Clone)]
pub(super) struct Ending(Api);

impl Ending {
    pub(super) fn new(api: &Api) -> Self {
        Self(api.clone())
    }
}

/// Lets an answer go on until the gateway ends, or for so long.
pub(super) async fn end(State(Ending(api)): State<Ending>, request: Request, next: Next) -> Response {
    // The service may have a task that reads the request on and on: it ends with the answer.
    let gone = CancellationToken::new();
    let until = Box::pin(gone.clone().cancelled_owned());
    let request = request.map(|body| Body::new(Cut { body, gone: until }));
    let response = next.run(request).await;
    let gone = gone.drop_guard();
    let over = async move {
        if tokio::time::timeout(OPEN_WITHIN, api.end.cancelled()).await.is_ok() {
            return draining();
        }
        Problem::new(Code::TooSlow, "The stream was open for five minutes without a key.")
    };
    response.map(|body| Body::new(Ended { body, over: Some(Box::pin(over)), _gone: gone }))
}

/// An answer's body that ends with a status of its own when something is over.
struct Ended {
    body: Body,
    over: Option<Pin<Box<dyn Future<Output = Problem> + Send>>>,
    _gone: DropGuard,
}

/// A request's body that ends when nobody hears its answer any more.
struct Cut {
    body: Body,
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for Cut {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.gone.as_mut().poll(context).is_ready() {
            self.body = Body::empty();
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}

impl HttpBody for Ended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(over) = self.over.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(problem) = over.as_mut().poll(context) {
            self.over = None;
            self.body = Body::empty();
            let mut trailers = axum::http::HeaderMap::new();
            // What cannot be written as a header is left out; the stream ends all the same.
            let _ = status(problem).add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.over.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
