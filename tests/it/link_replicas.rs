//! Several gateways on one database, and a lab that is connected to one of them.

use std::time::Duration;

use hyper::http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::clock::Clock as _;

use crate::common::postgres;
use crate::lab_support::eventually;
use crate::rig::{Rig, connections};

const EVENING: &str = "2026-11-21T21:59:30Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

/// Lets the clock run, in steps that the loops can follow.
#[expect(clippy::disallowed_methods, reason = "gives tasks on other threads their turn")]
async fn run(rig: &Rig, steps: usize) {
    for _ in 0..steps {
        rig.clock.advance(Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets the clock run until an order is so; gives how long that took on it.
async fn runs_until(rig: &Rig, order: &str, what: impl Fn(&Value) -> bool) -> SignedDuration {
    let from = rig.clock.now();
    loop {
        let seen = rig.read(order).await;
        if what(&seen) {
            return rig.clock.now().duration_since(from);
        }
        assert!(rig.clock.now().duration_since(from) < SignedDuration::from_secs(30), "{seen}");
        run(rig, 1).await;
    }
}

fn profile() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "handover_within": "10m", "answers_within": "5m"})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_at_one_gateway_reaches_the_lab_at_another_within_a_second() {
    let database = postgres::database().await;
    let mut rig =
        Rig::on(Some(&database.url), EVENING, "link", profile(), json!({"prints_after": "4h"})).await;
    let other = rig.another(13).await;
    let key = rig.lab_key("nordprint").await;
    // The other gateway reads keys and labs anew every second or so.
    run(&rig, 300).await;
    rig.dial(&other, &key, 8).await;
    assert_eq!((connections(rig.running.as_ref().unwrap()), connections(&other)), (0, 1));

    let order = rig.order("A-1").await;
    rig.clock.set(CUTOFF.parse().unwrap());
    runs_until(&rig, &order, |order| order["state"] == "at_lab").await;

    let (status, answer) = rig.ask(&order).await;
    assert_eq!((status, answer["state"].as_str()), (202, Some("pending")));
    let took = runs_until(&rig, &order, |order| order["stop"]["state"] == "stopped").await;
    assert!(took < SignedDuration::from_secs(1), "{took:#}");

    // A direct order waits for every gateway to be clear of its window, like all that is handed over.
    let order = json!({"reference": "A-2", "lab": "nordprint", "transfer": "direct",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 1}]});
    let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{made}");
    let direct = made["id"].as_str().unwrap().to_owned();
    runs_until(&rig, &direct, |order| order["state"] == "at_lab").await;
    other.stop().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_moves_from_gateway_to_gateway_and_nobody_else_takes_its_work() {
    let database = postgres::database().await;
    let mut rig =
        Rig::on(Some(&database.url), EVENING, "link", profile(), json!({"prints_after": "40h"})).await;
    let other = rig.another(13).await;
    let key = rig.lab_key("nordprint").await;
    run(&rig, 300).await;
    rig.dial(&other, &key, 8).await;
    let order = rig.order("A-1").await;
    rig.clock.set(CUTOFF.parse().unwrap());
    runs_until(&rig, &order, |order| order["state"] == "at_lab").await;
    other.stop().await;
    eventually("the lab is nowhere", || connections(rig.running.as_ref().unwrap()) == 0).await;

    // Nowhere: the stop waits, undamaged, for a gateway that has the lab.
    rig.ask(&order).await;
    run(&rig, 100).await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "pending");
    rig.dial(rig.running.as_ref().unwrap(), &key, 8).await;
    let took = runs_until(&rig, &order, |order| order["stop"]["state"] == "stopped").await;
    assert!(took < SignedDuration::from_secs(1), "{took:#}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_to_no_gateway_a_person_takes_it_at_the_deadline() {
    let database = postgres::database().await;
    let mut rig = Rig::on(Some(&database.url), EVENING, "link", profile(), json!({})).await;
    let other = rig.another(13).await;
    let order = rig.order("A-1").await;
    rig.clock.set(CUTOFF.parse().unwrap());
    run(&rig, 100).await;
    assert_eq!(rig.read(&order).await["state"], "closed");
    rig.clock.set("2026-11-21T22:09:55Z".parse().unwrap());
    run(&rig, 100).await;
    assert_eq!(rig.read(&order).await["state"], "closed");
    rig.clock.set("2026-11-21T22:10:31Z".parse().unwrap());
    runs_until(&rig, &order, |order| order["state"] == "with_a_person").await;
    let (_, list) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    assert_eq!(list["escalations"].as_array().map(Vec::len), Some(1), "one gateway calls, once: {list}");
    other.stop().await;
    rig.stop().await;
}
