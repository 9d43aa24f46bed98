//! Work over a link: orders, stops and look-ups go out as over any driver, no faster than the lab takes
//! them, and several connections share them.

use serde_json::{Value, json};
use stoppress::proto::connect_request::{Kind, Window};
use stoppress::proto::connect_response::call::Ask;
use stoppress::proto::stop_order_response::Answer;
use tonic::Code;

use crate::gateway::goes_the_whole_way;
use crate::lab_support::eventually;
use crate::link_support::Link;
use crate::rig::{Rig, connections};

const EVENING: &str = "2026-11-21T20:00:00Z";
/// Midnight in Helsinki.
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

fn single() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes"})
}

async fn linked(profile: Value, behaviour: Value, window: u32) -> Rig {
    let rig = Rig::new(EVENING, "link", profile, behaviour).await;
    let key = rig.lab_key("nordprint").await;
    rig.dial(rig.running.as_ref().unwrap(), &key, window).await;
    rig
}

#[tokio::test]
async fn orders_and_stops_go_the_whole_way() {
    goes_the_whole_way(linked(good(), json!({"prints_after": "2h"}), 8).await).await;
}

#[tokio::test]
async fn what_waits_goes_out_as_soon_as_the_lab_connects() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let (order, stopped) = (rig.order("A-1").await, rig.order("A-2").await);
    rig.go_to("2026-11-21T23:00:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "closed", "it waits, and has not left the house");
    assert_eq!(rig.ask(&stopped).await.1["evidence"], "never_handed");
    let key = rig.lab_key("nordprint").await;
    rig.dial(rig.running.as_ref().unwrap(), &key, 8).await;
    // The clock stands still: nothing but the connection has set the loops going.
    rig.settle().await;
    eventually("the lab has it", || !rig.lab.ledger().verdicts().is_empty()).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    assert_eq!(rig.kinds(&order).await.iter().filter(|kind| *kind == "transfer.sending").count(), 1);
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!((rig.prints(&order), rig.prints(&stopped)), (1, 0));
}

#[tokio::test]
async fn a_lab_that_is_connected_nowhere_leaves_its_work_to_a_person_at_the_deadline() {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "handover_within": "10m",
        "answers_within": "5m", "orders_per_call": 10});
    let rig = Rig::new(EVENING, "link", profile, json!({"prints_after": "12h"})).await;
    let never = rig.order("A-1").await;
    rig.go_to("2026-11-21T22:09:00Z").await;
    assert_eq!(rig.read(&never).await["state"], "closed");
    rig.go_to("2026-11-21T22:10:31Z").await;
    assert_eq!(rig.read(&never).await["state"], "with_a_person");

    // An order that the lab has, and a stop that nobody can bring to it.
    let had = rig.order("A-2").await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    rig.dial(running, &key, 8).await;
    rig.go_to("2026-11-22T22:00:00Z").await;
    assert_eq!(rig.read(&had).await["state"], "at_lab");
    let away = json!({"down": {"by": "close"}, "prints_after": "48h"});
    rig.lab.set_behaviour(serde_json::from_value(away).unwrap());
    eventually("the lab is gone", || connections(running) == 0).await;
    rig.ask(&had).await;
    rig.go_to("2026-11-22T22:04:59.999Z").await;
    assert_eq!(rig.read(&had).await["stop"]["state"], "pending");
    rig.go_to("2026-11-22T22:05:00Z").await;
    assert_eq!(rig.read(&had).await["stop"]["state"], "with_a_person");
}

#[tokio::test]
async fn connections_share_the_work_and_a_slow_one_holds_nothing_up() {
    let rig = Rig::new(EVENING, "link", single(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    let (mut slow, mut quick) = (Link::open(running, &key, 2).await, Link::open(running, &key, 2).await);
    assert_eq!(connections(running), 2);
    for nth in 0..7 {
        rig.order(&format!("A-{nth}")).await;
    }
    rig.clock.set(CUTOFF.parse().unwrap());
    // Four places, of which one is kept for stops: three are out at first.
    let (_, first) = slow.upload().await;
    let mut seen = vec![first.transfer];
    let (call, upload) = quick.upload().await;
    quick.accept(call).await;
    seen.push(upload.transfer);
    // However long the slow one takes, the quick one gets what is left.
    while seen.len() < 6 {
        let (call, upload) = quick.upload().await;
        quick.accept(call).await;
        seen.push(upload.transfer);
    }
    let (call, upload) =
        if let Ok(got) = tokio::time::timeout(std::time::Duration::from_millis(300), quick.upload()).await {
            quick.accept(got.0).await;
            got
        } else {
            // The third place was on the slow one.
            let got = slow.upload().await;
            slow.accept(got.0).await;
            got
        };
    assert!(call > 0);
    seen.push(upload.transfer);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7, "each transfer went out once");
    slow.accept(1).await;
    rig.settle().await;
    let states =
        rig.call(&rig.platform, hyper::http::Method::GET, "/v1/orders?state=at_lab", Value::Null).await;
    assert_eq!(states.1["orders"].as_array().map(Vec::len), Some(7), "{states:?}");
}

#[tokio::test]
async fn no_more_calls_are_out_than_the_lab_takes() {
    let rig = Rig::new(EVENING, "link", single(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    let mut link = Link::open(running, &key, 1).await;
    let orders = [rig.order("A-1").await, rig.order("A-2").await, rig.order("A-3").await];
    rig.clock.set(CUTOFF.parse().unwrap());
    let (call, upload) = link.upload().await;
    // Which of them is the first depends on their ids.
    let first = &upload.orders[0].id;
    assert!(link.is_quiet(300).await, "one at a time");
    // Nothing new is wanted: what is out is answered, and then nothing comes.
    link.say(Kind::Window(Window { calls: 0 })).await;
    link.accept(call).await;
    assert!(link.is_quiet(300).await, "the window is closed");
    link.say(Kind::Window(Window { calls: 3 })).await;
    // Three places, one of them for a stop.
    let (second, _) = link.upload().await;
    let (third, _) = link.upload().await;
    rig.ask(first).await;
    let stop = link.call().await;
    assert!(matches!(&stop.ask, Some(Ask::StopOrder(ask)) if ask.order == *first), "{stop:?}");
    link.answer(stop.call, Answer::Removed).await;
    link.accept(second).await;
    link.accept(third).await;
    rig.settle().await;
    assert_eq!(rig.read(first).await["stop"]["evidence"], "lab_removed");
    for order in orders.iter().filter(|order| *order != first) {
        assert_eq!(rig.read(order).await["state"], "at_lab");
    }
}

#[tokio::test]
async fn the_profile_bounds_what_is_out_as_well() {
    let mut profile = single();
    profile["concurrency"] = json!(1);
    let rig = Rig::new(EVENING, "link", profile, json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let mut link = Link::open(rig.running.as_ref().unwrap(), &key, 100).await;
    let orders = [rig.order("A-1").await, rig.order("A-2").await];
    rig.clock.set(CUTOFF.parse().unwrap());
    for _ in &orders {
        let (call, _) = link.upload().await;
        assert!(link.is_quiet(200).await);
        link.accept(call).await;
    }
    rig.settle().await;
    assert_eq!(rig.read(&orders[1]).await["state"], "at_lab");
}

#[tokio::test]
async fn a_refusal_means_what_it_means_over_grpc() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let mut link = Link::open(rig.running.as_ref().unwrap(), &key, 4).await;
    let order = rig.order("A-1").await;
    rig.clock.set(CUTOFF.parse().unwrap());
    let (call, first) = link.upload().await;
    // Definite: none of it is there, and the next one comes under another key.
    link.refuse(call, Code::InvalidArgument).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "closed");
    rig.clock.set("2026-11-21T22:00:02Z".parse().unwrap());
    let (call, second) = link.upload().await;
    assert_ne!(first.key, second.key);
    // Not definite: nobody knows, and the same comes again.
    link.refuse(call, Code::Unavailable).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "unknown");
    rig.clock.set("2026-11-21T22:00:30Z".parse().unwrap());
    let (call, third) = link.upload().await;
    assert_eq!((&second.key, &second.orders), (&third.key, &third.orders));
    link.accept(call).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
}
