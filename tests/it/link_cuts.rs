//! A connection that ends while something is out on it: nothing is lost, nothing is printed twice, and
//! "not sent" is said only of what was not sent.

use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::cli::simulate::ledger::What;
use stoppress::proto::connect_response::Kind as Told;
use stoppress::proto::connect_response::goodbye::Cause;

use crate::lab_support::eventually;
use crate::link_support::Link;
use crate::rig::{Rig, connections};

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

#[tokio::test]
async fn a_cut_before_the_lab_saw_the_transfer_sends_the_same_again() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    let order = rig.order("A-1").await;
    let mut link = Link::open(running, &key, 4).await;
    rig.clock.set(CUTOFF.parse().unwrap());
    let (_, first) = link.upload().await;
    // The lab dies with the message in its hands.
    drop(link);
    eventually("the connection is gone", || connections(running) == 0).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "unknown", "never \"not sent\"");
    let (status, answer) = rig.ask(&order).await;
    assert_eq!((status, answer["state"].as_str()), (202, Some("pending")), "and so no stop is granted");

    let mut link = Link::open(running, &key, 4).await;
    rig.clock.set("2026-11-21T22:00:20Z".parse().unwrap());
    let mut seen = Vec::new();
    while seen.is_empty() {
        let call = link.call().await;
        match call.ask.unwrap() {
            stoppress::proto::connect_response::call::Ask::SubmitOrders(upload) => {
                link.accept(call.call).await;
                seen.push(upload);
            }
            // The stop doubles as a question; this lab does not have the order.
            _ => link.answer(call.call, stoppress::proto::stop_order_response::Answer::NotFound).await,
        }
    }
    assert_eq!((&first.key, &first.orders), (&seen[0].key, &seen[0].orders), "the same bytes, the same key");
    assert_eq!(first.manifest_sha256, seen[0].manifest_sha256);
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
}

#[tokio::test]
async fn a_cut_after_the_lab_took_it_prints_once() {
    // The simulated lab does what it is asked, and cuts the connection instead of answering.
    let rig = Rig::new(EVENING, "link", good(), json!({"loses_answers": 1.0})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    rig.dial(running, &key, 4).await;
    let order = rig.order("A-1").await;
    rig.clock.set(CUTOFF.parse().unwrap());
    let lost =
        |entry: &stoppress::cli::simulate::ledger::Entry| matches!(entry.what, What::AnswerLost { .. });
    eventually("an answer is lost", || rig.lab.ledger().entries().iter().any(lost)).await;
    rig.settle().await;
    assert_ne!(rig.read(&order).await["state"], "at_lab", "no answer has come");
    assert_ne!(rig.read(&order).await["state"], "closed", "never \"not sent\"");
    rig.lab.set_behaviour(Behaviour::default());
    eventually("the lab is back", || connections(running) == 1).await;
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    assert_eq!(rig.prints(&order), 1);
    let repeated =
        rig.lab.ledger().entries().iter().filter(|e| matches!(e.what, What::Repeated { .. })).count();
    assert!(repeated >= 1, "the same came again, and was taken as the same");
}

#[tokio::test]
async fn without_deduplication_a_cut_is_looked_up_after_the_horizon() {
    let profile = json!({"dedupes": "no", "lookup": true, "stops": "yes"});
    let rig = Rig::new(EVENING, "link", profile, json!({"loses_answers": 1.0, "prints_after": "1h"})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    rig.dial(running, &key, 4).await;
    let order = rig.order("A-1").await;
    rig.clock.set(CUTOFF.parse().unwrap());
    eventually("the lab has it", || !rig.lab.ledger().verdicts().is_empty()).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "unknown");
    rig.lab.set_behaviour(serde_json::from_value(json!({"prints_after": "1h"})).unwrap());
    eventually("the lab is back", || connections(running) == 1).await;
    rig.go_to("2026-11-21T22:04:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "unknown", "the horizon is not over");
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    let received: u64 = rig.lab.ledger().verdicts().into_iter().map(|verdict| verdict.received).sum();
    assert_eq!((received, rig.prints(&order)), (1, 1), "the upload was not repeated");
}

#[tokio::test]
async fn a_silent_connection_is_cut_and_what_was_out_on_it_is_unknown() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    let order = rig.order("A-1").await;
    let mut link = Link::connect(running, &key, 4, false).await.unwrap();
    rig.clock.set(CUTOFF.parse().unwrap());
    link.upload().await;
    assert_eq!(rig.read(&order).await["state"], "sending");
    let Ok(Some(Told::Goodbye(goodbye))) = link.next().await else { panic!("no good-bye") };
    assert_eq!(goodbye.cause(), Cause::Silent);
    assert_eq!(link.next().await.unwrap_err().code(), tonic::Code::Unavailable);
    rig.settle().await;
    assert_eq!(connections(running), 0);
    assert_eq!(rig.read(&order).await["state"], "unknown");
}

#[tokio::test]
async fn the_second_connection_goes_on_when_the_first_is_cut() {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let running = rig.running.as_ref().unwrap();
    let order = rig.order("A-1").await;
    let first = Link::open(running, &key, 4).await;
    let mut second = Link::open(running, &key, 4).await;
    drop(first);
    eventually("one is gone", || connections(running) == 1).await;
    rig.clock.set(CUTOFF.parse().unwrap());
    let (call, _) = second.upload().await;
    second.accept(call).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
}
