//! Around every call: the time that its caller gives it, and what it answers if a handler runs into a mistake
//! of ours.
//!
//! A call whose time is over is answered at once; what it was doing is not cut off in the middle, so that a
//! write is done whole, with its answer remembered under its key, and a stop that was asked is decided. A
//! stream is cut between two messages. A repeat finds what was done.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures_util::FutureExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::status::status;
use crate::api::problem::{Answer, Code, Problem};

/// How a caller says how long a call may take.
const TIMEOUT: &str = "grpc-timeout";

/// Puts services behind the shield.
pub(super) fn shield<S: Clone + Send + Sync + 'static>(services: axum::Router<S>) -> axum::Router<S> {
    services.route_layer(from_fn(keep))
}

async fn keep(request: Request, next: Next) -> Response {
    let until = match within(request.headers()) {
        // Further ahead than any clock reaches is no limit.
        Ok(within) => within.and_then(|within| Instant::now().checked_add(within)),
        Err(problem) => return status(problem).into_http(),
    };
    let call = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answer = match until {
        None => call.await,
        // As a task of its own, which goes on when nobody waits for it any more.
        Some(until) => match timeout_at(until, tokio::spawn(call)).await {
            Ok(Ok(answer)) => answer,
            // The runtime ends.
            Ok(Err(gone)) => Err(Box::new(gone) as Box<dyn Any + Send>),
            Err(_) => return status(over()).into_http(),
        },
    };
    match answer {
        Ok(answer) => answer.map(|body| {
            let until = until.map(|until| Box::pin(sleep_until(until)));
            Body::new(Shielded { body: Some(body), until })
        }),
        Err(cause) => status(mistake(&*cause)).into_http(),
    }
}

/// Why a call ends whose time is over.
fn over() -> Problem {
    Problem::new(Code::DeadlinePassed, "The call's grpc-timeout is over.")
}

/// Why a call ends whose handler panicked.
fn mistake(cause: &(dyn Any + Send)) -> Problem {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    Problem::new(Code::Internal, "The call ran into a mistake of the gateway.")
}

/// How long the caller gives the call.
fn within(headers: &HeaderMap) -> Answer<Option<Duration>> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let read = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let fits = (1..=8).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| fits)?;
        Some(match unit {
            "H" => Duration::from_secs(number * 3_600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    read().map(Some).ok_or_else(|| {
        let text = format!("{TIMEOUT} is {text:?}; it must be 1 to 8 digits and one of H, M, S, m, u, n.");
        Problem::new(Code::Malformed, text)
    })
}

/// An answer that ends with a status of its own if its time is over or it runs into a mistake of ours.
struct Shielded {
    /// None once it has ended in one of these ways.
    body: Option<Body>,
    until: Option<Pin<Box<Sleep>>>,
}

impl Shielded {
    fn is_late(&self) -> bool {
        self.until.as_ref().is_some_and(|until| until.deadline() <= Instant::now())
    }
}

impl HttpBody for Shielded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        let why = match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(context))) {
            Ok(Poll::Pending) => {
                let late = this.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready());
                if !late {
                    return Poll::Pending;
                }
                over()
            }
            // Of a stream that has always something to say, the time counts as well.
            Ok(Poll::Ready(Some(Ok(frame)))) if frame.is_data() && this.is_late() => over(),
            Ok(told) => return told,
            Err(cause) => mistake(&*cause),
        };
        this.body = None;
        let mut trailers = HeaderMap::new();
        // What cannot be written as a header is left out; the answer ends all the same.
        let _ = status(why).add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;
    use tonic::Status;
    use tonic_types::StatusExt as _;
    use tower::ServiceExt as _;

    use super::*;

    fn timeout(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(TIMEOUT.parse().unwrap(), text.parse().unwrap())])
    }

    #[test]
    fn the_callers_time_is_read() {
        assert_eq!(within(&HeaderMap::new()).unwrap(), None);
        for (text, wanted) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(within(&timeout(text)).unwrap(), Some(wanted), "{text}");
        }
        for bad in ["", "S", "5", "123456789S", "-1S", "+1S", "1.5S", "1s", "1 S", "S1"] {
            let problem = within(&timeout(bad)).unwrap_err();
            assert_eq!(problem.code(), Code::Malformed, "{bad:?}");
        }
    }

    type Chunk = Result<&'static str, std::io::Error>;

    fn services() -> axum::Router {
        let panics = async || -> &'static str { panic!("on purpose") };
        let slow = async || std::future::pending::<&'static str>().await;
        let one_then = |rest: futures_util::stream::BoxStream<'static, Chunk>| {
            Body::from_stream(stream::once(async { Chunk::Ok("one") }).chain(rest))
        };
        let breaks = async move || {
            let rest = stream::poll_fn(|_| -> Poll<Option<Chunk>> { panic!("on purpose") });
            one_then(rest.boxed())
        };
        let waits = async move || one_then(stream::pending::<Chunk>().boxed());
        let talks = async || Body::from_stream(stream::repeat_with(|| Chunk::Ok("on and on")));
        shield(
            axum::Router::new()
                .route("/panics", post(panics))
                .route("/slow", post(slow))
                .route("/breaks", post(breaks))
                .route("/waits", post(waits))
                .route("/talks", post(talks)),
        )
    }

    /// What is said before the end, and the end.
    async fn called(path: &str, within: Option<&str>) -> (usize, Status) {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        if let Some(within) = within {
            *request.headers_mut() = timeout(within);
        }
        let answer = services().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200, "a failed call is no failed request");
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return (0, status);
        }
        let (mut said, mut body) = (0, answer.into_body());
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(20), body.frame());
            let frame = frame.await.expect("it ends").expect("it ends with a status").unwrap();
            match frame.into_trailers() {
                Ok(trailers) => {
                    assert!(body.is_end_stream() && body.frame().await.is_none());
                    return (said, Status::from_header_map(&trailers).unwrap());
                }
                Err(_) => said += 1,
            }
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_an_internal_error_with_details() {
        for (path, within, before) in [
            ("/panics", None, 0),
            ("/panics", Some("20S"), 0),
            ("/breaks", None, 1),
            ("/breaks", Some("20S"), 1),
        ] {
            let (said, status) = called(path, within).await;
            assert_eq!((said, status.code()), (before, tonic::Code::Internal), "{path}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), ("internal", "stoppress"));
            assert!(!status.message().contains("on purpose"), "{status:?}");
        }
    }

    #[tokio::test]
    async fn a_call_ends_at_its_callers_time() {
        for path in ["/slow", "/waits", "/talks"] {
            let (_, status) = called(path, Some("50m")).await;
            assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{path}");
            assert_eq!(status.get_details_error_info().unwrap().reason, "deadline_passed");
        }
    }
}
