//! The log over HTTP: pages that wait, and the stream that resumes, beats and says why it ends.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::api::serve::Drained;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;

use crate::api::{Bench, Reply};
use crate::common::world::World;
use crate::grpc_support::{breathe, rig};

fn seqs(page: &Value) -> Vec<i64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_page_has_what_the_caller_may_see_and_goes_on() {
    let bench = Bench::new().await;
    let (first, second) = (bench.admitted("A-1").await, bench.admitted("A-2").await);
    let all = bench.get("/v1/events?limit=200", &bench.ops).await.is(200);
    let own = bench.get("/v1/events?limit=200", &bench.shop).await.is(200);
    let subjects: Vec<&str> =
        own["events"].as_array().unwrap().iter().map(|event| event["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, [first.as_str(), second.as_str()]);
    assert_eq!(own["events"][0]["orders"], json!([first]));
    assert_eq!(own["next"], all["next"], "what is others' was looked at as well");
    // Of another platform: nothing, and yet it goes on.
    let none = bench.get("/v1/events?limit=200", &bench.other).await.is(200);
    assert_eq!((seqs(&none), &none["next"]), (vec![], &all["next"]));
    // Page by page it is the same.
    let mut told = Vec::new();
    let mut after = 0;
    loop {
        let page = bench.get(&format!("/v1/events?limit=2&after={after}"), &bench.ops).await.is(200);
        told.extend(seqs(&page));
        if page["next"] == after {
            break;
        }
        after = page["next"].as_i64().unwrap();
    }
    assert_eq!(told, seqs(&all));
    bench.get("/v1/events", &bench.lab).await.problem(403, "forbidden");
    for (query, field) in [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("limit=0", "limit"),
        ("wait=61s", "wait"),
        ("wait=soon", "wait"),
    ] {
        let said = bench.get(&format!("/v1/events?{query}"), &bench.ops).await.problem(422, "invalid");
        assert_eq!(said["errors"][0]["field"], field, "{said}");
    }
}

/// A request that waits, as a task of its own.
fn waiting(bench: &Bench, key: &str, query: &str) -> tokio::task::JoinHandle<Value> {
    let router = bench.router.clone();
    let request =
        Request::get(format!("/v1/events?{query}")).header("authorization", format!("Bearer {key}"));
    let request = request.body(Body::empty()).unwrap();
    tokio::spawn(async move {
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert_eq!(response.status(), 200);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    })
}

async fn in_time<T>(task: tokio::task::JoinHandle<T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), task).await.expect("it answers").unwrap()
}

#[tokio::test]
async fn a_page_waits_for_what_is_the_callers() {
    for world in [World::sqlite().await, World::postgres().await] {
        let bench = Bench::over(world).await;
        bench.admitted("A-1").await;
        let end = bench.get("/v1/events?limit=200", &bench.ops).await.is(200)["next"].as_i64().unwrap();
        let ours = waiting(&bench, &bench.shop, &format!("after={end}&wait=30s"));
        let theirs = waiting(&bench, &bench.other, &format!("after={end}&wait=30s"));
        breathe(100).await;
        assert!(!ours.is_finished());
        let id = bench.admitted("A-2").await;
        // On PostgreSQL a commit beside it may put it off until the next tick.
        bench.pass(1);
        let page = in_time(ours).await;
        assert_eq!(page["events"][0]["subject"], id.as_str());
        // Nothing of the other's happened: it is told so when its time is over, and not before.
        breathe(50).await;
        assert!(!theirs.is_finished());
        bench.pass(30);
        let page = in_time(theirs).await;
        assert_eq!(seqs(&page), Vec::<i64>::new());
        assert!(page["next"].as_i64().unwrap() > end);
        // What is there already is not waited for.
        let page = in_time(waiting(&bench, &bench.shop, "after=0&wait=30s&limit=200")).await;
        assert_eq!(page["events"].as_array().unwrap().len(), 2);
    }
}

/// A stream of server-sent events.
struct Stream {
    body: BodyDataStream,
    text: String,
}

/// What stands between two blank lines.
#[derive(Debug, Default, PartialEq)]
struct Block {
    id: Option<i64>,
    event: String,
    data: Value,
    comment: String,
    retry: Option<u64>,
}

async fn open(bench: &Bench, key: &str, query: &str, headers: &[(&str, &str)]) -> Result<Stream, Reply> {
    let mut request =
        Request::get(format!("/v1/events/stream{query}")).header("authorization", format!("Bearer {key}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(bench.router.clone(), request).await.unwrap();
    let (parts, body) = response.into_parts();
    if parts.status != 200 {
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        return Err(Reply { status: parts.status, headers: parts.headers, text });
    }
    assert_eq!(parts.headers["content-type"], "text/event-stream");
    assert_eq!(parts.headers["cache-control"], "no-store");
    Ok(Stream { body: body.into_data_stream(), text: String::new() })
}

impl Stream {
    /// The next block, or nothing at the end.
    async fn next(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut read = Block::default();
                for line in block.lines() {
                    match line.split_once(": ").unwrap_or((line, "")) {
                        ("id", id) => read.id = Some(id.parse().unwrap()),
                        ("event", event) => event.clone_into(&mut read.event),
                        ("data", data) => read.data = serde_json::from_str(data).unwrap(),
                        ("retry", retry) => read.retry = Some(retry.parse().unwrap()),
                        ("", comment) => comment.clone_into(&mut read.comment),
                        other => panic!("{other:?}"),
                    }
                }
                self.text = String::from(rest);
                return Some(read);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.body.next());
            let chunk = chunk.await.expect("something comes")?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// So many entries: their cursors and kinds.
    async fn events(&mut self, count: usize) -> Vec<(i64, String)> {
        let mut told = Vec::new();
        while told.len() < count {
            let block = self.next().await.unwrap();
            if !block.data.is_null() {
                assert_eq!(block.data["seq"].as_i64(), block.id);
                told.push((block.id.unwrap(), block.data["kind"].as_str().unwrap().to_owned()));
            }
        }
        told
    }
}

#[tokio::test]
async fn the_stream_tells_as_it_happens_and_resumes_anywhere() {
    let bench = Bench::new().await;
    bench.admitted("A-1").await;
    let mut live = open(&bench, &bench.shop, "", &[]).await.ok().unwrap();
    let first = live.next().await.unwrap();
    // From now on, and told where that is.
    assert_eq!((first.data, first.retry), (Value::Null, Some(1_000)));
    let from = first.id.unwrap();
    let id = bench.admitted("A-2").await;
    let told = live.next().await.unwrap();
    assert_eq!((&told.data["kind"], &told.data["orders"]), (&json!("order.admitted"), &json!([id])));
    bench.post(&format!("/v1/orders/{id}/stop"), &bench.shop, &json!({})).await.is(200);
    assert_eq!(live.events(1).await[0].1, "stop.stopped");
    drop(live);
    // From anywhere the same follows, whether the number comes in the header or in the query.
    let all = open(&bench, &bench.shop, "?after=0", &[]).await.ok().unwrap().events(3).await;
    assert!(all[0].0 <= from && all[1].0 > from);
    for at in 0..all.len() {
        bench.admitted(&format!("B-{at}")).await;
        let number = all[at].0.to_string();
        let headers = [("last-event-id", number.as_str())];
        let mut by_header = open(&bench, &bench.shop, "?after=0", &headers).await.ok().unwrap();
        let mut by_query = open(&bench, &bench.shop, &format!("?after={number}"), &[]).await.ok().unwrap();
        let rest = by_header.events(all.len() - at).await;
        assert_eq!(rest, by_query.events(all.len() - at).await);
        assert_eq!(rest[..all.len() - at - 1], all[at + 1..]);
    }
    for (query, headers) in [
        ("?after=-1", vec![]),
        ("?after=x", vec![]),
        ("", vec![("last-event-id", "-1")]),
        ("", vec![("last-event-id", "seven")]),
        ("?from=7", vec![]),
    ] {
        let said = open(&bench, &bench.shop, query, &headers).await.err().unwrap();
        said.problem(422, "invalid");
    }
    open(&bench, &bench.lab, "", &[]).await.err().unwrap().problem(403, "forbidden");
}

#[tokio::test]
async fn the_stream_beats_while_nothing_happens_and_ends_with_its_key() {
    let bench = Bench::new().await;
    let mut live = open(&bench, &bench.other, "", &[]).await.ok().unwrap();
    live.next().await.unwrap();
    let beating = tokio::spawn(async move {
        let block = live.next().await.unwrap();
        (live, block)
    });
    // What is others' is no reason to speak.
    bench.admitted("A-1").await;
    breathe(100).await;
    assert!(!beating.is_finished());
    bench.pass(15);
    let (mut live, block) = in_time(beating).await;
    assert_eq!((block.comment.as_str(), block.id, block.data), ("still here", None, Value::Null));
    let path = format!("/v1/keys/{}", &bench.other[3..15]);
    assert_eq!(bench.call("DELETE", &path, &bench.ops, None, &[]).await.status, 204);
    let last = tokio::spawn(async move { (live.next().await, live.next().await) });
    breathe(50).await;
    bench.pass(1);
    let (last, end) = in_time(last).await;
    let last = last.unwrap();
    assert_eq!((last.event.as_str(), &last.data["code"]), ("problem", &json!("unauthenticated")));
    assert_eq!(end, None);
}

#[tokio::test]
async fn a_key_has_so_many_streams() {
    let bench = Bench::new().await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(open(&bench, &bench.shop, "", &[]).await.ok().unwrap());
    }
    let said = open(&bench, &bench.shop, "", &[]).await.err().unwrap();
    assert_eq!(said.header("retry-after"), "60");
    said.problem(429, "rate_limited");
    bench.get("/v1/events?wait=1s", &bench.shop).await.problem(429, "rate_limited");
    bench.get("/v1/events", &bench.shop).await.is(200);
    open(&bench, &bench.other, "", &[]).await.ok().unwrap();
    held.pop();
    open(&bench, &bench.shop, "", &[]).await.ok().unwrap();
}

#[tokio::test]
async fn a_drain_ends_streams_and_answers_who_waits() {
    let mut rig = rig().await;
    let asked = async |path: &str| {
        let mut socket = tokio::net::TcpStream::connect(rig.running.as_ref().unwrap().addr).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            rig.platform
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    };
    let (_, log) = rig.call(&rig.ops, Method::GET, "/v1/events?limit=200", Value::Null).await;
    let next = log["next"].as_i64().unwrap();
    let mut stream = asked("/v1/events/stream").await;
    let mut page = asked(&format!("/v1/events?after={next}&wait=60s")).await;
    let mut begun = [0; 64];
    assert!(stream.read(&mut begun).await.unwrap() > 0, "the stream has begun");
    breathe(100).await;
    let stopped = tokio::spawn(rig.running.take().unwrap().stop());
    let (mut of_stream, mut of_page) = (String::new(), String::new());
    stream.read_to_string(&mut of_stream).await.unwrap();
    page.read_to_string(&mut of_page).await.unwrap();
    assert!(
        of_stream.contains("event: problem") && of_stream.contains("\"code\":\"unavailable\""),
        "{of_stream}"
    );
    assert!(of_page.starts_with("HTTP/1.1 200"), "{of_page}");
    assert!(of_page.contains(&format!("{{\"events\":[],\"next\":{next}}}")), "{of_page}");
    assert_eq!(stopped.await.unwrap(), Drained::Clean, "nothing had to be cut off");
}

#[tokio::test]
async fn a_reader_asks_for_what_it_wants_and_goes_on_behind_the_rest() {
    let bench = Bench::new().await;
    let (first, second) = (bench.admitted("A-1").await, bench.admitted("A-2").await);
    bench.post(&format!("/v1/orders/{second}/stop"), &bench.shop, &json!({"reason": "no"})).await.is(200);
    let end = bench.get("/v1/events?limit=200", &bench.ops).await.is(200)["next"].clone();
    let cases = [
        ("kind=stop.*", vec![("stop.stopped", &second)]),
        ("kind=order.admitted", vec![("order.admitted", &first), ("order.admitted", &second)]),
        ("kind=order.held,%20stop.stopped", vec![("stop.stopped", &second)]),
        (&format!("order={first}"), vec![("order.admitted", &first)]),
        (&format!("order={second}&kind=*"), vec![("order.admitted", &second), ("stop.stopped", &second)]),
        ("lab=nord&kind=stop.stopped", vec![("stop.stopped", &second)]),
        ("lab=elsewhere", vec![]),
    ];
    for (query, wanted) in cases {
        let page = bench.get(&format!("/v1/events?limit=200&{query}"), &bench.shop).await.is(200);
        let found: Vec<_> = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| (event["kind"].as_str().unwrap(), event["orders"][0].as_str().unwrap()))
            .collect();
        let wanted: Vec<_> = wanted.iter().map(|(kind, order)| (*kind, order.as_str())).collect();
        assert_eq!((&found, &page["next"]), (&wanted, &end), "{query}");
    }
    // One that waits is not woken by what it did not ask for.
    let waits = waiting(&bench, &bench.shop, &format!("after={end}&wait=30s&kind=stop.*"));
    bench.admitted("A-3").await;
    bench.post(&format!("/v1/orders/{first}/stop"), &bench.shop, &json!({"reason": "no"})).await.is(200);
    let page = in_time(waits).await;
    assert_eq!(page["events"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["events"][0]["orders"], json!([first]));
    let mut stream = open(&bench, &bench.shop, "?after=0&kind=stop.stopped", &[]).await.ok().unwrap();
    let told = stream.events(2).await;
    assert!(told.iter().all(|(_, kind)| kind == "stop.stopped"), "{told:?}");
    for (query, field) in [
        ("kind=Stop.*", "kind"),
        ("kind=stop", "kind"),
        ("kind=*.stopped", "kind"),
        ("order=A-1", "order"),
        ("lab=No+lab", "lab"),
    ] {
        for path in ["/v1/events", "/v1/events/stream"] {
            let said = bench.get(&format!("{path}?{query}"), &bench.ops).await.problem(422, "invalid");
            assert_eq!(said["errors"][0]["field"], field, "{said}");
        }
    }
}
