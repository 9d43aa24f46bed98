//! Somebody who has signed in at the pages of ops, as a browser without scripts; and the streams of pages.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use stoppress::clock::{Clock as _, HostRandom};
use stoppress::domain::ids::{EscalationId, LabId, TransferId};
use stoppress::domain::lab::Profile;
use stoppress::store::{self, Claim, CloseDue, Write};
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
    /// The next frame of a stream that looks once a second: the clock goes on until it has looked.
    pub(crate) async fn frame_in_time(&mut self, bench: &Bench) -> Frame {
        for _ in 0..40 {
            bench.pass(1);
            let next = tokio::time::timeout(std::time::Duration::from_millis(500), self.frames.recv());
            if let Ok(frame) = next.await {
                return frame.expect("the stream goes on");
            }
        }
        panic!("no frame comes");
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Frame {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), self.frames.recv());
        next.await.expect("a frame comes").expect("the stream goes on")
    }

    /// Fails unless the stream ends, whatever it still sends before.
    pub(crate) async fn ends(&mut self) {
        let end = async { while self.frames.recv().await.is_some() {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), end).await.expect("the stream ends");
    }
}

/// What a hidden field of the form holds that is sent to `path`.
pub(crate) fn field(page: &str, path: &str, name: &str) -> String {
    let form = page.split_once(&format!("action=\"{path}\"")).expect("the form is there").1;
    let form = form.split_once("</form>").unwrap().0;
    let value = form.split_once(&format!("name=\"{name}\" value=\"")).expect("the field is there").1;
    value.split_once('"').unwrap().0.to_owned()
}

/// Admits many orders of the shop at once; gives their ids.
pub(crate) async fn many(bench: &Bench, orders: impl Iterator<Item = Value>) -> Vec<String> {
    let lines: Vec<String> = orders.map(|order| order.to_string()).collect();
    let request = Request::post("/v1/orders/bulk")
        .header("authorization", format!("Bearer {}", bench.shop))
        .header("content-type", "application/x-ndjson");
    let reply = bench.raw(request.body(Body::from(lines.join("\n"))).unwrap()).await;
    let id = |line: &str| -> String {
        let result: Value = serde_json::from_str(line).unwrap();
        result["id"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
    };
    reply.text.lines().map(id).collect()
}

/// Gives what waits in closed batches to a person, in transfers of so many orders.
pub(crate) async fn by_hand(bench: &Bench, transfers: usize, orders_per_call: u32) {
    let (now, random) = (bench.clock.now(), HostRandom);
    let claim = Claim {
        lab: LabId::parse("nord").unwrap(),
        profile: Arc::new(Profile { orders_per_call, ..Profile::default() }),
        manual: true,
        ids: (0..transfers).map(|_| TransferId::new(now, &random)).collect(),
        escalations: (0..transfers).map(|_| EscalationId::new(now, &random)).collect(),
        now,
        lease_until: now,
        holder: "test".to_owned(),
        sends: true,
        away: false,
    };
    store::one(&*bench.store, Write::Claim(Box::new(claim))).await.unwrap();
}

/// Closes what is due.
pub(crate) async fn close(bench: &Bench) {
    let close = CloseDue { now: bench.clock.now(), limit: 1000 };
    store::one(&*bench.store, Write::Close(close)).await.unwrap();
}
