//! The streams that never end by themselves: events and cutoffs, resumed without gap or doubling, and their
//! end with the gateway or the key.

use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::api::serve::Drained;
use stoppress::proto;
use tokio_stream::{StreamExt as _, pending};
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_types::StatusExt as _;

use crate::common::postgres;
use crate::grpc_support::{
    breathe, channel, client, fields, key, next, of_many, other_platform, refused, rig, silent, stop, with,
};
use crate::rig::Rig;

type Told = proto::GatewayServiceWatchEventsResponse;

async fn events(rig: &Rig, key: &str, after: i64) -> Streaming<Told> {
    let ask = proto::GatewayServiceWatchEventsRequest { after, from_now: false, ..Default::default() };
    client(rig).await.watch_events(with(key, ask)).await.unwrap().into_inner()
}

/// The kinds and cursors of the next so many events.
async fn kinds(rig: &Rig, stream: &mut Streaming<Told>, count: usize) -> Vec<(String, i64)> {
    let mut kinds = Vec::new();
    while kinds.len() < count {
        let told = next(rig, stream).await.unwrap().unwrap();
        if let Some(event) = told.event {
            assert_eq!(event.seq, told.cursor);
            kinds.push((event.kind, told.cursor));
        }
    }
    kinds
}

#[tokio::test]
async fn a_watch_tells_what_was_asked_for() {
    let rig = rig().await;
    let (kept, stopped) = (rig.order("A-1").await, rig.order("A-2").await);
    rig.ask(&stopped).await;
    let ask = |kinds: &[&str], order: &str, lab: &str| {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let (order, lab) = (order.to_owned(), lab.to_owned());
        proto::GatewayServiceWatchEventsRequest { kinds, order, lab, ..Default::default() }
    };
    for (ask, subject) in [
        (ask(&["stop.*"], "", "nordprint"), "stop.stopped"),
        (ask(&[], &kept, ""), "order.admitted"),
        (ask(&["*"], &kept, ""), "order.admitted"),
    ] {
        let mut stream =
            client(&rig).await.watch_events(with(&rig.platform, ask)).await.unwrap().into_inner();
        assert_eq!(kinds(&rig, &mut stream, 1).await[0].0, subject);
        silent(&rig, &mut stream).await;
    }
    let wrong = client(&rig).await.watch_events(with(&rig.platform, ask(&["stop"], "", ""))).await;
    assert_eq!(wrong.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_platform_is_told_of_its_orders_and_resumes_anywhere() {
    let rig = rig().await;
    let rival = other_platform(&rig).await;
    let ours = rig.order("A-1").await;
    let order =
        proto::GatewayServiceSubmitOrderRequest { order: of_many("B-1").order, platform: String::new() };
    client(&rig).await.submit_order(with(&rival, order)).await.unwrap();
    let mut stream = events(&rig, &rig.platform, 0).await;
    let told = next(&rig, &mut stream).await.unwrap().unwrap();
    let event = told.event.unwrap();
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("order.admitted", ours.as_str()));
    assert_eq!((event.orders, event.actor.as_str()), (vec![ours.clone()], "platform:acme"));
    assert!(serde_json::from_str::<Value>(&event.detail).unwrap().is_object() && event.hash.len() == 64);
    silent(&rig, &mut stream).await;
    // What happens from here on is told as it happens.
    let second = rig.order("A-2").await;
    assert_eq!(next(&rig, &mut stream).await.unwrap().unwrap().event.unwrap().subject, second);
    client(&rig).await.request_stop(with(&rig.platform, stop(&second))).await.unwrap();
    assert_eq!(kinds(&rig, &mut stream, 1).await[0].0, "stop.stopped");
    // The hand-over: a transfer that carries our order, and a rival's that is not ours to see.
    rig.go_to("2026-11-21T22:00:10Z").await;
    let sending = next(&rig, &mut stream).await.unwrap().unwrap().event.unwrap();
    assert_eq!((sending.kind.as_str(), &sending.orders), ("transfer.sending", &vec![ours.clone()]));
    assert!(sending.subject.starts_with("trf_"));
    let rest = kinds(&rig, &mut stream, 1).await;
    assert_eq!(rest[0].0, "transfer.at_lab");

    // From anywhere the same follows: no gap, nothing twice.
    let mut whole = events(&rig, &rig.platform, 0).await;
    let all = kinds(&rig, &mut whole, 5).await;
    for at in 0..all.len() {
        let mut stream = events(&rig, &rig.platform, all[at].1).await;
        assert_eq!(kinds(&rig, &mut stream, all.len() - at - 1).await, all[at + 1..]);
        silent(&rig, &mut stream).await;
    }
    let mut theirs = events(&rig, &rival, 0).await;
    assert_ne!(next(&rig, &mut theirs).await.unwrap().unwrap().event.unwrap().subject, ours);
    // Ops see everything that the log has.
    let (_, log) = rig.call(&rig.ops, Method::GET, "/v1/events?limit=200", Value::Null).await;
    let log: Vec<i64> =
        log["events"].as_array().unwrap().iter().map(|e| e["seq"].as_i64().unwrap()).collect();
    let mut stream = events(&rig, &rig.ops, 0).await;
    let told = kinds(&rig, &mut stream, log.len()).await;
    assert_eq!(told.into_iter().map(|(_, seq)| seq).collect::<Vec<_>>(), log);
}

#[tokio::test]
async fn a_watch_from_now_can_be_resumed_before_anything_happens() {
    let rig = rig().await;
    rig.order("N-1").await;
    let ask = proto::GatewayServiceWatchEventsRequest { after: 0, from_now: true, ..Default::default() };
    let mut stream = client(&rig).await.watch_events(with(&rig.platform, ask)).await.unwrap().into_inner();
    let first = next(&rig, &mut stream).await.unwrap().unwrap();
    assert_eq!(first.event, None);
    drop(stream);
    let id = rig.order("N-2").await;
    let mut stream = events(&rig, &rig.platform, first.cursor).await;
    assert_eq!(next(&rig, &mut stream).await.unwrap().unwrap().event.unwrap().subject, id);
    for (after, from_now) in [(-1, false), (7, true)] {
        let ask = proto::GatewayServiceWatchEventsRequest { after, from_now, ..Default::default() };
        let said = client(&rig).await.watch_events(with(&rig.platform, ask)).await.unwrap_err();
        assert_eq!(fields(&said), ["after"]);
    }
}

#[tokio::test]
async fn what_happens_at_another_replica_is_told() {
    let database = postgres::database().await;
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    let mut rig =
        Rig::on(Some(&database.url), crate::grpc_support::EVENING, "http", profile, json!({})).await;
    let mut stream = events(&rig, &rig.platform, 0).await;
    let other = rig.another(23).await;
    let first = std::mem::replace(rig.running.as_mut().unwrap(), other);
    let id = rig.order("R-1").await;
    assert_eq!(next(&rig, &mut stream).await.unwrap().unwrap().event.unwrap().subject, id);
    drop(stream);
    first.stop().await;
    rig.stop().await;
}

type Cutoffs = proto::GatewayServiceWatchCutoffsResponse;

async fn cutoffs(rig: &Rig, key: &str, ask: proto::GatewayServiceWatchCutoffsRequest) -> Streaming<Cutoffs> {
    client(rig).await.watch_cutoffs(with(key, ask)).await.unwrap().into_inner()
}

fn local(cutoffs: &[proto::Cutoff]) -> Vec<&str> {
    cutoffs.iter().map(|cutoff| &cutoff.local[..16]).collect()
}

fn definition(cutoff: &str) -> Value {
    json!({"id": "nordprint", "name": "Nordprint", "driver": {"kind": "person"}, "profile": {},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": [cutoff]}}]})
}

#[tokio::test]
async fn cutoffs_are_told_again_when_they_pass_or_change() {
    let rig = rig().await;
    let ask = proto::GatewayServiceWatchCutoffsRequest { count: 2, ..Default::default() };
    let mut stream = cutoffs(&rig, &rig.platform, ask.clone()).await;
    let first = next(&rig, &mut stream).await.unwrap().unwrap();
    assert_eq!(
        (first.lab.as_str(), first.region.as_str(), first.time_zone.as_str()),
        ("nordprint", "fi", "Europe/Helsinki")
    );
    assert_eq!(local(&first.next), ["2026-11-22T00:00", "2026-11-23T00:00"]);
    assert!(first.passed.is_empty() && !first.gone && !first.tzdata.is_empty());
    assert_eq!(first.next[0].rule, "regular");
    assert_eq!(first.next[0].production_date, "2026-11-21");
    silent(&rig, &mut stream).await;
    // It passes: told at once, with what passed.
    rig.go_to("2026-11-21T22:00:00Z").await;
    let passed = next(&rig, &mut stream).await.unwrap().unwrap();
    assert_eq!(local(&passed.passed), ["2026-11-22T00:00"]);
    assert_eq!(local(&passed.next), ["2026-11-23T00:00", "2026-11-24T00:00"]);
    // The calendar changes.
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", definition("18:00")).await;
    assert_eq!(status, 200, "{answer}");
    let changed = next(&rig, &mut stream).await.unwrap().unwrap();
    assert_eq!(local(&changed.next), ["2026-11-22T18:00", "2026-11-23T18:00"]);
    assert!(changed.passed.is_empty());
    // Cut off, and opened again: nothing that is known, everything that is new.
    drop(stream);
    let resume = |resume: &str| proto::GatewayServiceWatchCutoffsRequest {
        resume: vec![resume.to_owned()],
        ..ask.clone()
    };
    let mut stream = cutoffs(&rig, &rig.platform, resume(&changed.resume)).await;
    silent(&rig, &mut stream).await;
    drop(stream);
    rig.go_to("2026-11-23T17:00:00Z").await;
    let mut stream = cutoffs(&rig, &rig.platform, resume(&changed.resume)).await;
    let missed = next(&rig, &mut stream).await.unwrap().unwrap();
    assert_eq!(local(&missed.passed), ["2026-11-22T18:00", "2026-11-23T18:00"]);
    assert_eq!(local(&missed.next), ["2026-11-24T18:00", "2026-11-25T18:00"]);
    // The lab goes, and comes back.
    assert_eq!(rig.call(&rig.ops, Method::DELETE, "/v1/labs/nordprint", Value::Null).await.0, 204);
    let gone = next(&rig, &mut stream).await.unwrap().unwrap();
    assert!(gone.gone && gone.next.is_empty());
    drop(stream);
    let mut stream = cutoffs(&rig, &rig.platform, resume(&gone.resume)).await;
    silent(&rig, &mut stream).await;
    rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", definition("18:00")).await;
    assert_eq!(next(&rig, &mut stream).await.unwrap().unwrap().next.len(), 2);
}

#[tokio::test]
async fn a_window_that_was_moved_is_told_until_it_closes() {
    let rig = rig().await;
    let order = rig.order("P-1").await;
    let ask = proto::GatewayServiceWatchCutoffsRequest::default();
    let mut stream = cutoffs(&rig, &rig.platform, ask.clone()).await;
    let first = next(&rig, &mut stream).await.unwrap().unwrap();
    assert!(first.moved.is_empty());
    let batch = rig.read(&order).await["window"]["batch"].as_str().unwrap().to_owned();
    let later = json!({"until": "2026-11-22T01:30:00Z", "reason": "the press is down"});
    let path = format!("/v1/batches/{batch}/postpone");
    assert_eq!(rig.call(&rig.ops, Method::POST, &path, later).await.0, 200);
    let moved = next(&rig, &mut stream).await.unwrap().unwrap();
    let [window] = moved.moved.as_slice() else { panic!("{moved:?}") };
    assert_eq!((&window.batch, window.production_date.as_str()), (&batch, "2026-11-21"));
    assert_eq!(&window.closes_at_local[..16], "2026-11-22T03:30");
    let seconds = |at: &Option<prost_types::Timestamp>| at.as_ref().unwrap().seconds;
    assert_eq!(seconds(&window.closes_at) - seconds(&window.calendar_at), 3 * 3600 + 1800);
    assert_eq!(local(&moved.next), ["2026-11-22T00:00"], "the calendar is as it was");
    silent(&rig, &mut stream).await;
    // Whoever comes later is told at once, and whoever knows it is not told again.
    let again =
        proto::GatewayServiceWatchCutoffsRequest { resume: vec![moved.resume.clone()], ..ask.clone() };
    silent(&rig, &mut cutoffs(&rig, &rig.platform, again).await).await;
    let mut fresh = cutoffs(&rig, &rig.platform, ask).await;
    assert_eq!(next(&rig, &mut fresh).await.unwrap().unwrap().moved, moved.moved);
    // The cutoff of the calendar passes, the window stays open; then it closes.
    rig.go_to("2026-11-21T22:00:00Z").await;
    let passed = next(&rig, &mut stream).await.unwrap().unwrap();
    assert_eq!((passed.passed.len(), passed.moved.len()), (1, 1));
    rig.go_to("2026-11-22T01:30:00Z").await;
    let closed = next(&rig, &mut stream).await.unwrap().unwrap();
    assert!(closed.moved.is_empty() && closed.passed.is_empty());
    silent(&rig, &mut stream).await;
}

#[tokio::test]
async fn a_watch_of_cutoffs_can_be_narrowed_and_says_what_it_cannot_read() {
    let rig = rig().await;
    let mut other = definition("12:00");
    other["id"] = json!("other");
    rig.call(&rig.ops, Method::PUT, "/v1/labs/other", other).await;
    let ask = proto::GatewayServiceWatchCutoffsRequest {
        labs: vec!["other".to_owned(), "later".to_owned()],
        ..Default::default()
    };
    let mut stream = cutoffs(&rig, &rig.platform, ask).await;
    let told = next(&rig, &mut stream).await.unwrap().unwrap();
    assert_eq!((told.lab.as_str(), told.next.len()), ("other", 1));
    silent(&rig, &mut stream).await;
    // A lab is told of itself only.
    let lab = key(&rig, "lab", "nordprint").await;
    let mut stream = cutoffs(&rig, &lab, proto::GatewayServiceWatchCutoffsRequest::default()).await;
    assert_eq!(next(&rig, &mut stream).await.unwrap().unwrap().lab, "nordprint");
    silent(&rig, &mut stream).await;
    let bad = proto::GatewayServiceWatchCutoffsRequest {
        labs: vec!["other".to_owned(), "Å".to_owned()],
        count: 21,
        resume: vec!["x".to_owned()],
    };
    let said = client(&rig).await.watch_cutoffs(with(&rig.platform, bad)).await.unwrap_err();
    refused(&said, Code::InvalidArgument, "invalid");
    assert_eq!(fields(&said), ["labs[1]", "count", "resume[0]"]);
}

#[tokio::test]
async fn a_watch_ends_with_its_key() {
    let rig = rig().await;
    let key = key(&rig, "platform", "acme").await;
    let mut stream = events(&rig, &key, 0).await;
    let path = format!("/v1/keys/{}", &key[3..15]);
    assert_eq!(rig.call(&rig.ops, Method::DELETE, &path, Value::Null).await.0, 204);
    let said = next(&rig, &mut stream).await.unwrap_err();
    refused(&said, Code::Unauthenticated, "unauthenticated");
}

#[tokio::test]
async fn a_key_may_have_so_many_watches_and_gets_them_back() {
    let rig = rig().await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(events(&rig, &rig.platform, 0).await);
    }
    let ask = proto::GatewayServiceWatchEventsRequest { after: 0, from_now: false, ..Default::default() };
    let mut client = client(&rig).await;
    let said = client.watch_events(with(&rig.platform, ask.clone())).await.unwrap_err();
    refused(&said, Code::ResourceExhausted, "rate_limited");
    assert!(said.get_details_retry_info().is_some());
    held.clear();
    for _ in 0..200 {
        if client.watch_events(with(&rig.platform, ask.clone())).await.is_ok() {
            return;
        }
        breathe(20).await;
        rig.clock.advance(Duration::from_millis(100));
    }
    panic!("the places do not come back");
}

#[tokio::test]
async fn a_drain_ends_every_stream_with_a_clear_word() {
    let mut rig = rig().await;
    rig.order("D-1").await;
    let mut told = events(&rig, &rig.platform, 0).await;
    let mut times = cutoffs(&rig, &rig.platform, proto::GatewayServiceWatchCutoffsRequest::default()).await;
    kinds(&rig, &mut told, 1).await;
    next(&rig, &mut times).await.unwrap();
    let ask = HealthCheckRequest { service: String::new() };
    let mut health = HealthClient::new(channel(&rig).await).watch(ask).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut reflection = ServerReflectionClient::new(channel(&rig).await);
    let mut reflection = reflection.server_reflection_info(pending()).await.unwrap().into_inner();
    let running = rig.running.take().unwrap();
    let stopped = tokio::spawn(running.stop());
    for said in [
        told.message().await.unwrap_err(),
        times.message().await.unwrap_err(),
        reflection.message().await.unwrap_err(),
    ] {
        refused(&said, Code::Unavailable, "unavailable");
        assert_eq!(said.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    }
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    refused(&health.next().await.unwrap().unwrap_err(), Code::Unavailable, "unavailable");
    assert_eq!(stopped.await.unwrap(), Drained::Clean, "nothing had to be cut off");
}
