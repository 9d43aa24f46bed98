//! Somebody who has signed in at the pages of ops, as a browser without scripts; and the streams of pages.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use stoppress::clock::Clock as _;
use stoppress::store::{self, CloseDue, Write};
use tower::ServiceExt as _;

use crate::api::{Bench, Reply};

/// Somebody who has signed in.
pub(crate) struct Viewer<'a> {
    pub(crate) bench: &'a Bench,
    cookie: String,
}

impl<'a> Viewer<'a> {
    pub(crate) async fn new(bench: &'a Bench, key: &str) -> Self {
        let request = Request::post("/sign-in")
            .header("host", "localhost:8080")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        let reply = bench.raw(request.body(Body::from(format!("key={key}&next=/"))).unwrap()).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { bench, cookie }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8080")
            .header("cookie", &self.cookie)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.bench.raw(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    /// A page that is there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        assert!(!reply.text.contains(" style=") && !reply.text.contains(" onclick="), "{path}");
        reply.text
    }

    /// Presses a button of a page; gives where it leads.
    pub(crate) async fn press(&self, from: &str, path: &str, form: &[(&str, &str)]) -> Reply {
        let page = self.page(from).await;
        let token =
            page.split_once("name=\"csrf\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("csrf", &token)
            .extend_pairs(form)
            .finish();
        let request = self
            .request("POST", path)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        self.bench.raw(request.body(Body::from(body)).unwrap()).await
    }

    /// A stream, to be read frame by frame.
    pub(crate) async fn stream(&self, path: &str, last: Option<&str>) -> Stream {
        let mut request = self.request("GET", path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.bench.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let (send, frames) = tokio::sync::mpsc::channel(100);
        // Read all the time, as a browser does.
        tokio::spawn(read(response.into_body(), send));
        Stream { frames }
    }
}

pub(crate) type Frame = (String, Value);

pub(crate) struct Stream {
    frames: tokio::sync::mpsc::Receiver<Frame>,
}

/// Reads frames: their cursors and what they hold. Clocks are passed over.
async fn read(mut body: Body, send: tokio::sync::mpsc::Sender<Frame>) {
    let mut text = String::new();
    while let Some(Ok(part)) = body.frame().await {
        text.push_str(std::str::from_utf8(part.data_ref().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
            };
            if field("event").as_deref() == Some("frame") {
                let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                let _ = send.send((field("id").unwrap(), data)).await;
            }
            text = String::from(rest);
        }
    }
}

impl Stream {
    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Frame {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), self.frames.recv());
        next.await.expect("a frame comes").expect("the stream goes on")
    }
}

/// Closes what is due.
pub(crate) async fn close(bench: &Bench) {
    let close = CloseDue { now: bench.clock.now(), limit: 1000 };
    store::one(&*bench.store, Write::Close(close)).await.unwrap();
}
