//! Limits by the address that a request comes from: wrong keys wait, good ones never, and nobody is touched by
//! what comes from elsewhere.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use hyper::http::Method;
use jiff::SignedDuration;
use stoppress::api::limits::Budgets;
use stoppress::clock::{Clock as _, HostClock};
use stoppress::domain::source::Source;
use stoppress::proto::GatewayServiceGetOrderRequest;
use tonic::Code;

use crate::api::{Bench, Reply};
use crate::grpc_support::{client, rig, with};
use crate::link_support::Link;
use crate::sink::Sink;

const HELD: Duration = Duration::from_millis(900);
const WRONG: &str = "sp_aaaaaaaaaaaa_0000000000000000000000000000000000000000000000000000000000000000";

/// A request with this key from this address; how long the answer took.
async fn asks(bench: &Bench, (method, path): (&str, &str), key: &str, from: &str) -> (Reply, Duration) {
    let mut request = Request::builder().method(method).uri(path);
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Source::of(from.parse().unwrap(), std::iter::empty(), &[]));
    let began = Instant::now();
    (bench.raw(request).await, began.elapsed())
}

#[tokio::test]
async fn wrong_keys_of_one_address_wait_and_nothing_else_does() {
    let bench = Bench::with(Budgets::default()).await;
    let (here, there) = ("198.51.100.1", "198.51.100.2");
    let read = ("GET", "/v1/orders");
    for nth in 0..10 {
        let (reply, took) = asks(&bench, read, WRONG, here).await;
        reply.problem(401, "unauthenticated");
        assert!(took < HELD, "{nth}: {took:?}");
    }
    // Whoever says no key at all has not tried one.
    let (reply, took) = asks(&bench, read, "", here).await;
    reply.problem(401, "unauthenticated");
    assert!(took < HELD, "{took:?}");
    let stop = ("POST", "/v1/orders/@A/stop");
    for what in [read, stop] {
        let (reply, took) = asks(&bench, what, WRONG, here).await;
        assert_eq!(reply.header("retry-after"), "6");
        reply.problem(401, "unauthenticated");
        assert!(took >= HELD, "{took:?}");
    }
    let (reply, took) = asks(&bench, read, &bench.shop, here).await;
    reply.is(200);
    assert!(took < HELD, "a good key does not wait: {took:?}");
    let (reply, took) = asks(&bench, read, WRONG, there).await;
    reply.problem(401, "unauthenticated");
    assert!(took < HELD, "nor does another address: {took:?}");
    bench.pass(60);
    let (_, took) = asks(&bench, read, WRONG, here).await;
    assert!(took < HELD, "a minute later it may try again: {took:?}");
}

#[tokio::test]
async fn who_waits_for_a_refusal_keeps_no_hand_over_back() {
    let bench = Bench::with(Budgets::default()).await;
    let from = "198.51.100.1";
    for _ in 0..10 {
        asks(&bench, ("GET", "/v1/orders"), WRONG, from).await;
    }
    // This is how it shows when a stop is asked: no later time is clear.
    let guard = bench.store.asking(&bench.clock);
    bench.pass(1);
    assert!(bench.store.clear_until(&bench.clock) < bench.clock.now());
    drop(guard);
    let waits = asks(&bench, ("POST", "/v1/orders/@A/stop"), WRONG, from);
    let looks = async {
        HostClock.sleep_until(HostClock.now() + SignedDuration::from_millis(300)).await;
        bench.pass(1);
        bench.store.clear_until(&bench.clock)
    };
    let ((_, took), clear) = tokio::join!(waits, looks);
    assert!(took >= HELD, "{took:?}");
    assert_eq!(clear, bench.clock.now(), "nobody counts as asking for a stop");
}

#[tokio::test]
async fn pages_behind_links_are_opened_ten_times_a_minute_from_one_address() {
    let bench = Bench::with(Budgets::default()).await;
    let page = ("GET", "/a/nothing");
    for _ in 0..10 {
        assert_eq!(asks(&bench, page, "", "198.51.100.1").await.0.status, 404);
    }
    for what in [page, ("POST", "/a")] {
        let (reply, _) = asks(&bench, what, "", "198.51.100.1").await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "6"), "{what:?}");
        assert!(reply.text.contains("Please wait a moment"), "{}", reply.text);
    }
    assert_eq!(asks(&bench, page, "", "198.51.100.2").await.0.status, 404);
    assert_eq!(asks(&bench, page, "", "2001:db8::1").await.0.status, 404);
    // Nobody's calls with a key count with it.
    asks(&bench, ("GET", "/v1/orders"), &bench.shop, "198.51.100.1").await.0.is(200);
    bench.pass(60);
    assert_eq!(asks(&bench, page, "", "198.51.100.1").await.0.status, 404);
}

#[tokio::test]
async fn grpc_and_links_count_with_the_same_address() {
    let rig = rig().await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    let mut grpc = client(&rig).await;
    let mut ask = async |key: &str| {
        let began = Instant::now();
        let message = GatewayServiceGetOrderRequest { order: "@A".to_owned() };
        (grpc.get_order(with(key, message)).await.unwrap_err().code(), began.elapsed())
    };
    for _ in 0..9 {
        assert_eq!(ask(WRONG).await.0, Code::Unauthenticated);
    }
    let began = Instant::now();
    assert_eq!(Link::connect(running, WRONG, 1, true).await.err().unwrap().code(), Code::Unauthenticated);
    assert!(began.elapsed() < HELD, "the tenth");
    let (code, took) = ask(WRONG).await;
    assert!(code == Code::Unauthenticated && took >= HELD, "{code:?} {took:?}");
    let began = Instant::now();
    assert_eq!(Link::connect(running, WRONG, 1, true).await.err().unwrap().code(), Code::Unauthenticated);
    assert!(began.elapsed() >= HELD, "{:?}", began.elapsed());
    let (code, took) = ask(&rig.platform).await;
    assert!(code == Code::NotFound && took < HELD, "{code:?} {took:?}");
    // The lab is called, not linked: its key is good, and it is told so at once.
    let began = Instant::now();
    assert_eq!(Link::connect(running, &key, 1, true).await.err().unwrap().code(), Code::FailedPrecondition);
    assert!(began.elapsed() < HELD);
}

#[tokio::test]
async fn an_answer_by_a_good_link_is_heard_however_many_pages_were_opened() {
    let sink = Sink::start().await;
    let mut rig = crate::person_tls::rig(sink.config()).await;
    rig.stop().await;
    rig.config.limits.link_pages_per_minute = 10;
    rig.start().await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-20T22:00:00Z").await;
    rig.ask(&order).await;
    rig.settle().await;
    let mail = sink.mails().remove(0);
    let mut seen = Vec::new();
    for _ in 0..12 {
        seen.push(rig.browse(Method::GET, "/a/nothing", None).await.0);
    }
    assert_eq!((seen[9], seen[10], seen[11]), (404, 429, 429), "{seen:?}");
    assert_eq!(rig.browse(Method::GET, &mail.link(), None).await.0, 200);
    let form = format!("token={}&answer=stopped", mail.token());
    let (status, _, page) = rig.browse(Method::POST, "/a", Some(&form)).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(rig.read(&order).await["stop"]["state"], "stopped");
}
