//! Who may connect, and how connections end: keys, drivers, protocol, shutdown.

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::api::serve::Drained;
use stoppress::proto::connect_request::{Goodbye, Heartbeat, Hello, Kind};
use stoppress::proto::connect_response::Kind as Told;
use stoppress::proto::connect_response::goodbye::Cause;
use tonic::Code;

use crate::lab_support::eventually;
use crate::link_support::{Link, hello, stream};
use crate::rig::{Rig, connections};

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

async fn refused(rig: &Rig, key: &str, first: Kind) -> Code {
    let running = rig.running.as_ref().unwrap();
    match stream(running, key, first).await {
        Err(status) => status.code(),
        Ok((_say, mut said)) => said.message().await.expect_err("it is refused").code(),
    }
}

#[tokio::test]
async fn only_a_lab_that_is_linked_may_connect() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let other = json!({"id": "sudprint", "name": "Sud", "driver": {"kind": "person"},
        "regions": [{"id": "de", "calendar": {"time_zone": "Europe/Berlin", "cutoffs": ["24:00"]}}]});
    rig.call(&rig.ops, Method::PUT, "/v1/labs/sudprint", other).await;
    let (key, other) = (rig.lab_key("nordprint").await, rig.lab_key("sudprint").await);
    assert_eq!(refused(&rig, "sp_no_such_key", hello(1)).await, Code::Unauthenticated);
    assert_eq!(refused(&rig, &rig.platform, hello(1)).await, Code::PermissionDenied);
    assert_eq!(refused(&rig, &rig.ops, hello(1)).await, Code::PermissionDenied);
    assert_eq!(refused(&rig, &other, hello(1)).await, Code::FailedPrecondition);
    assert_eq!(refused(&rig, &key, Kind::Heartbeat(Heartbeat {})).await, Code::InvalidArgument);
    let unknown = Hello { contract: "stoppress/9".to_owned(), ..Hello::default() };
    assert_eq!(refused(&rig, &key, Kind::Hello(unknown)).await, Code::InvalidArgument);
    let link = Link::open(rig.running.as_ref().unwrap(), &key, 1).await;
    assert_eq!(link.welcome.lab, "nordprint");
    assert_eq!(link.welcome.beats_missed_max, 3);
    assert!(link.welcome.connection.starts_with("lnk-"));
    drop(link);
    eventually("it is gone", || connections(rig.running.as_ref().unwrap()) == 0).await;
}

#[tokio::test]
async fn a_second_hello_ends_the_connection() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let mut link = Link::open(rig.running.as_ref().unwrap(), &key, 1).await;
    link.say(hello(1)).await;
    let Ok(Some(Told::Goodbye(goodbye))) = link.next().await else { panic!("no good-bye") };
    assert_eq!(goodbye.cause(), Cause::Protocol);
    assert_eq!(link.next().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_revoked_key_ends_its_connections() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let (ends, stays) = (rig.lab_key("nordprint").await, rig.lab_key("nordprint").await);
    let running = rig.running.as_ref().unwrap();
    let (mut ended, _other) = (Link::open(running, &ends, 1).await, Link::open(running, &stays, 1).await);
    let id = ends.split('_').nth(1).unwrap();
    let (status, answer) = rig.call(&rig.ops, Method::DELETE, &format!("/v1/keys/{id}"), Value::Null).await;
    assert!(status < 300, "{answer}");
    let Ok(Some(Told::Goodbye(goodbye))) = ended.next().await else { panic!("no good-bye") };
    assert_eq!(goodbye.cause(), Cause::KeyEnded);
    assert_eq!(ended.next().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(connections(running), 1, "the other key's connection stays");
    assert_eq!(refused(&rig, &ends, hello(1)).await, Code::Unauthenticated);
}

#[tokio::test]
async fn another_driver_ends_the_connections() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let mut link = Link::open(rig.running.as_ref().unwrap(), &key, 1).await;
    let lab = json!({"id": "nordprint", "name": "Nordprint", "driver": {"kind": "person"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", lab).await;
    assert_eq!(status, 200, "{answer}");
    let Ok(Some(Told::Goodbye(goodbye))) = link.next().await else { panic!("no good-bye") };
    assert_eq!(goodbye.cause(), Cause::NotLinked);
}

#[tokio::test]
async fn a_shutdown_waits_for_the_answer_that_is_on_its_way() {
    let mut rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let order = rig.order("A-1").await;
    let mut link = Link::open(rig.running.as_ref().unwrap(), &key, 4).await;
    rig.clock.set(CUTOFF.parse().unwrap());
    let (call, _) = link.upload().await;
    let running = rig.running.take().unwrap();
    let stopping = tokio::spawn(running.stop());
    let Ok(Some(Told::Goodbye(goodbye))) = link.next().await else { panic!("no good-bye") };
    assert_eq!(goodbye.cause(), Cause::Shutdown);
    assert!(!stopping.is_finished(), "a call is out");
    link.accept(call).await;
    // The gateway ends the stream well, if the lab leaves its side open.
    assert_eq!(link.next().await.unwrap(), None);
    assert_eq!(stopping.await.unwrap(), Drained::Clean);
    rig.start().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab", "the answer was not lost");
}

#[tokio::test]
async fn a_lab_that_leaves_gets_nothing_more_and_is_heard_to_the_end() {
    let rig = Rig::new(EVENING, "link", json!({"dedupes": "forever"}), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    let orders = [rig.order("A-1").await, rig.order("A-2").await];
    let mut link = Link::open(running, &key, 1).await;
    rig.clock.set(CUTOFF.parse().unwrap());
    let (call, _) = link.upload().await;
    link.say(Kind::Goodbye(Goodbye { reason: "closing time".to_owned() })).await;
    link.say(Kind::Heartbeat(Heartbeat {})).await;
    link.accept(call).await;
    assert_eq!(link.next().await.unwrap(), None, "no other call comes");
    rig.settle().await;
    let mut states = Vec::new();
    for order in &orders {
        states.push(rig.read(order).await["state"].as_str().unwrap().to_owned());
    }
    states.sort();
    assert_eq!(states[0], "at_lab");
    assert_ne!(states[1], "unknown", "what was not sent is not in doubt: {states:?}");
}
