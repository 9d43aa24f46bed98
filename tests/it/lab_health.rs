//! How a lab stands is shown to those who run the gateway and to the lab: its lane, and its connections.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::lab_support::eventually;
use crate::link_support::Link;
use crate::rig::{Rig, connections};

const EVENING: &str = "2026-11-21T20:00:00Z";

fn profile() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes"})
}

async fn health(rig: &Rig, key: &str) -> Value {
    let (status, lab) = rig.call(key, Method::GET, "/v1/labs/nordprint", json!({})).await;
    assert_eq!(status, 200, "{lab}");
    lab["health"].clone()
}

#[tokio::test]
async fn a_lab_that_dials_out_shows_its_connections_to_ops_and_to_itself() {
    let rig = Rig::new(EVENING, "link", profile(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    rig.settle().await;
    let told = health(&rig, &rig.ops).await;
    assert_eq!((&told["reach"], &told["links"]["connections"]), (&json!("away"), &json!(0)), "{told}");
    assert_eq!((&told["links"]["since"], &told["links"]["last_heard_at"]), (&Value::Null, &Value::Null));

    let link = Link::open(running, &key, 3).await;
    let more = Link::open(running, &key, 4).await;
    eventually("both are there", || connections(running) == 2).await;
    let told = health(&rig, &key).await;
    assert_eq!((&told["reach"], &told["gateway"]), (&json!("open"), &json!(running.bench.holder)), "{told}");
    let since = json!({"connections": 2, "window": 7, "since": EVENING, "last_heard_at": EVENING});
    assert_eq!(told["links"], since);
    assert_eq!(health(&rig, &rig.platform).await, Value::Null, "it is nothing to platforms");

    rig.clock.set("2026-11-21T20:10:00Z".parse().unwrap());
    drop(more);
    eventually("one is gone", || connections(running) == 1).await;
    assert_eq!(health(&rig, &rig.ops).await["links"]["since"], EVENING, "there was one all the time");
    drop(link);
    eventually("both are gone", || connections(running) == 0).await;
    let told = health(&rig, &rig.ops).await;
    assert_eq!((&told["reach"], &told["links"]["since"]), (&json!("away"), &json!("2026-11-21T20:10:00Z")));
    let (_, all) = rig.call(&rig.ops, Method::GET, "/v1/labs", json!({})).await;
    assert_eq!(all["labs"][0]["health"]["reach"], "away", "the list shows it too");
}

#[tokio::test]
async fn a_lab_that_is_called_shows_its_lane_and_what_it_last_said() {
    let rig = Rig::new(EVENING, "http", profile(), json!({})).await;
    rig.order("A-1").await;
    rig.settle().await;
    let told = health(&rig, &rig.ops).await;
    assert_eq!((&told["reach"], &told["links"]), (&json!("open"), &Value::Null), "{told}");
    let unused = json!({"in_flight": 0, "concurrency": 8, "since": null, "closed_until": null,
        "last_answer": null, "last_failure": null});
    assert_eq!(told["lane"], unused);
    rig.go_to("2026-11-21T22:00:05Z").await;
    let told = health(&rig, &rig.ops).await;
    assert_eq!(told["lane"]["last_answer"]["answer"], "accepted", "{told}");

    // Now it loses every answer, until it is left alone.
    rig.lab.set_behaviour(serde_json::from_value(json!({"loses_answers": 1.0})).unwrap());
    rig.order("A-2").await;
    rig.go_to("2026-11-22T22:10:00Z").await;
    let told = health(&rig, &rig.ops).await;
    assert_eq!(told["lane"]["last_failure"]["answer"], "unclear", "{told}");
    assert_eq!(told["reach"], "closed", "{told}");
    assert!(told["lane"]["since"].is_string() && told["lane"]["closed_until"].is_string(), "{told}");
}
