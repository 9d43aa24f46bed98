//! The end of streams of others' services, which would not end by themselves.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::status::status;
use crate::api::Api;
use crate::api::problem::{Code, Problem};
use crate::api::watches::draining;

/// How long a caller without a key may keep a stream.
const OPEN_WITHIN: Duration = Duration::from_mins(5);

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
