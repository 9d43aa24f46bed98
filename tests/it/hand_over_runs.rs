//! What reaches a hand-over that is running: a pause, another definition of the lab, the end of the gateway, a store
//! that is away, and questions that take longer than one turn. The lab is the scripted shelf.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use stoppress::domain::lab::Answer;

use crate::grpc_support::breathe;
use crate::lab_driver::{CUTOFF, becomes, rig, shelf};
use crate::lab_support::eventually;
use crate::rig::Rig;

/// How many orders wait.
const ORDERS: usize = 40;

/// Two hand-overs at a time, a third place for stops; nothing helps where the outcome is not known.
fn plain() -> Value {
    json!({"dedupes": "no", "lookup": false, "stops": "yes", "concurrency": 3})
}

async fn orders(rig: &Rig) -> Vec<String> {
    let mut orders = Vec::new();
    for nth in 0..ORDERS {
        orders.push(rig.order(&format!("A-{nth}")).await);
    }
    orders
}

/// How many of the orders stand so.
async fn standing(rig: &Rig, orders: &[String], state: &str) -> usize {
    let mut count = 0;
    for order in orders {
        count += usize::from(rig.read(order).await["state"] == state);
    }
    count
}

/// Lets four calls through, waits until two more hang, does something, and lets all through.
async fn amid<T>(name: &str, what: impl Future<Output = T>) -> T {
    let shelf = shelf(name);
    eventually("two calls hang", || shelf.lock().unwrap().calls.len() == 6).await;
    let done = what.await;
    shelf.lock().unwrap().comes_back = None;
    done
}

/// Every order once, each in a transfer of its own.
fn each_once(name: &str) {
    let shelf = shelf(name);
    let shelf = shelf.lock().unwrap();
    let keys: BTreeSet<&str> = shelf.uploads.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((shelf.uploads.len(), keys.len()), (ORDERS, ORDERS), "every transfer went out once");
}

#[tokio::test]
async fn after_a_pause_nothing_more_goes_out() {
    let rig = rig("paused", plain()).await;
    let orders = orders(&rig).await;
    shelf("paused").lock().unwrap().comes_back = Some(4);
    let pause = async {
        let body = json!({"reason": "the press burns"});
        let (status, answer) = rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/pause", body).await;
        assert_eq!(status, 200, "{answer}");
    };
    tokio::join!(rig.go_to(CUTOFF), amid("paused", pause));
    assert_eq!(shelf("paused").lock().unwrap().uploads.len(), 6, "what was claimed stays in the house");
    assert_eq!(standing(&rig, &orders, "at_lab").await, 6);
    let waits = orders.last().unwrap();
    assert_eq!(rig.read(waits).await["verdict"]["can_stop"], "yes", "nothing of it has left");
    assert_eq!(rig.ask(waits).await.1["evidence"], "never_handed");
    let (status, _) = rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/resume", json!({})).await;
    assert_eq!(status, 200);
    rig.go_to("2026-11-21T22:05:00Z").await;
    assert_eq!(standing(&rig, &orders, "at_lab").await, ORDERS - 1);
    let shelf = shelf("paused");
    let shelf = shelf.lock().unwrap();
    let keys: BTreeSet<&str> = shelf.uploads.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((shelf.uploads.len(), keys.len()), (ORDERS - 1, ORDERS - 1));
    assert!(!shelf.uploads.iter().any(|(_, body)| String::from_utf8_lossy(body).contains(waits.as_str())));
}

#[tokio::test]
async fn what_is_claimed_under_other_terms_is_not_sent_under_them() {
    let rig = rig("before", plain()).await;
    let orders = orders(&rig).await;
    shelf("before").lock().unwrap().comes_back = Some(4);
    let change = becomes(&rig, json!({"kind": "shelf", "name": "after"}), plain());
    tokio::join!(rig.go_to(CUTOFF), amid("before", change));
    rig.go_to("2026-11-21T22:05:00Z").await;
    assert_eq!(standing(&rig, &orders, "at_lab").await, ORDERS);
    let (before, after) = (shelf("before"), shelf("after"));
    let (before, after) = (before.lock().unwrap(), after.lock().unwrap());
    assert_eq!((before.uploads.len(), after.uploads.len()), (6, ORDERS - 6), "the rest went the new way");
    let keys: BTreeSet<&str> =
        before.uploads.iter().chain(&after.uploads).map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys.len(), ORDERS);
}

/// How long the lab knows a key would count from an instant that is yet to come.
#[tokio::test]
async fn what_was_claimed_before_the_clock_was_set_back_is_claimed_anew() {
    let rig = rig("set-back", plain()).await;
    let orders = orders(&rig).await;
    shelf("set-back").lock().unwrap().comes_back = Some(4);
    rig.clock.set(CUTOFF.parse().unwrap());
    amid("set-back", async { rig.clock.set("2026-11-21T21:58:59Z".parse().unwrap()) }).await;
    rig.settle().await;
    assert_eq!(standing(&rig, &orders, "at_lab").await, ORDERS);
    each_once("set-back");
    let shelf = shelf("set-back");
    let shelf = shelf.lock().unwrap();
    let claimed_once = shelf.uploads.iter().filter(|(key, _)| key.ends_with(".1")).count();
    assert!(claimed_once < 30, "what lay ready was not sent: {claimed_once} of {ORDERS}");
}

#[tokio::test]
async fn a_gateway_that_ends_in_order_leaves_nothing_unknown() {
    let mut rig = rig("ends", plain()).await;
    let orders = orders(&rig).await;
    shelf("ends").lock().unwrap().comes_back = Some(4);
    rig.clock.set(CUTOFF.parse().unwrap());
    let running = rig.running.take().unwrap();
    amid("ends", async {}).await;
    // Some are out when the end is asked for, and come back while it waits for them.
    shelf("ends").lock().unwrap().comes_back = Some(10);
    eventually("more calls hang", || shelf("ends").lock().unwrap().calls.len() >= 12).await;
    let let_go = async {
        breathe(300).await;
        shelf("ends").lock().unwrap().comes_back = None;
    };
    tokio::join!(running.stop(), let_go);
    assert_eq!(
        shelf("ends").lock().unwrap().uploads.len(),
        12,
        "what was out came back, and nothing more went out"
    );
    rig.start().await;
    rig.settle().await;
    assert_eq!(standing(&rig, &orders, "at_lab").await, ORDERS, "and no lease had to run out for it");
    each_once("ends");
}

#[tokio::test]
async fn what_a_lab_answered_is_written_when_the_store_is_back() {
    let rig = rig("locked", plain()).await;
    let orders = orders(&rig).await;
    shelf("locked").lock().unwrap().comes_back = Some(4);
    let path = rig.config.database.strip_prefix("sqlite:").unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let pool = sqlx::sqlite::SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let mut other = pool.acquire().await.unwrap();
    let away = async {
        (&mut *other).execute("BEGIN IMMEDIATE").await.unwrap();
    };
    rig.clock.set(CUTOFF.parse().unwrap());
    amid("locked", away).await;
    // Longer than a write waits for its turn.
    breathe(12_000).await;
    let sent = shelf("locked").lock().unwrap().uploads.len();
    assert!(sent > 6, "what was claimed has gone out: {sent}");
    assert!(standing(&rig, &orders, "at_lab").await <= 4, "and nobody could write what came back");
    (&mut *other).execute("COMMIT").await.unwrap();
    // Loops wait by the gateway's clock.
    for _ in 0..20 {
        breathe(100).await;
        rig.clock.advance(Duration::from_secs(1));
    }
    rig.settle().await;
    assert_eq!(standing(&rig, &orders, "at_lab").await, ORDERS, "no answer was lost, and nothing is unknown");
    each_once("locked");
}

#[tokio::test]
async fn questions_about_many_orders_go_on_where_they_ended() {
    let profile = json!({"dedupes": "no", "lookup": true, "stops": "yes", "concurrency": 3,
        "orders_per_call": ORDERS});
    let rig = rig("asked", profile).await;
    let orders = orders(&rig).await;
    {
        let shelf = shelf("asked");
        let mut shelf = shelf.lock().unwrap();
        shelf.script = [Answer::Unclear { cause: "the line was cut".to_owned() }].into();
        // A turn of questions is a minute.
        shelf.takes = Some((rig.clock.clone(), Duration::from_secs(9)));
    }
    rig.go_to("2026-11-21T22:40:00Z").await;
    assert_eq!(standing(&rig, &orders, "at_lab").await, ORDERS);
    let shelf = shelf("asked");
    let shelf = shelf.lock().unwrap();
    assert_eq!(shelf.uploads.len(), 2, "once it was proven that the lab has none of them");
    let asked: Vec<&String> = shelf.calls.iter().filter(|call| call.starts_with("look up")).collect();
    let each: BTreeSet<&String> = asked.iter().copied().collect();
    assert_eq!((asked.len(), each.len()), (ORDERS, ORDERS), "nobody is asked about twice: {:?}", shelf.calls);
}
