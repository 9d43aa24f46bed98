//! The protocol through the whole gateway: real HTTP in, a real lab over HTTP or gRPC out, and a ledger
//! that tells what was printed. Each test is one way in which the promise could break.

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::domain::ids::LabId;
use stoppress::lab::lane::Kind;

use crate::rig::{Rig, at};

const EVENING: &str = "2026-11-21T20:00:00Z";
/// Midnight in Helsinki.
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

#[tokio::test]
async fn the_cutoff_closes_and_not_a_microsecond_before() {
    for driver in ["http", "grpc"] {
        let rig = Rig::new(EVENING, driver, good(), json!({})).await;
        let order = rig.order("A-1").await;
        rig.go_to("2026-11-21T21:59:59.999999Z").await;
        assert_eq!(rig.read(&order).await["state"], "in_batch");
        assert!(rig.lab.ledger().entries().is_empty(), "nothing has left the house");
        rig.go_to(CUTOFF).await;
        assert_eq!(rig.read(&order).await["state"], "at_lab");
        rig.go_to("2026-11-22T03:00:00Z").await;
        assert_eq!(rig.prints(&order), 1);
    }
}

#[tokio::test]
async fn a_stop_just_before_the_cutoff_succeeds_and_the_order_stays_out() {
    let rig = Rig::new(EVENING, "http", good(), json!({})).await;
    let (kept, stopped) = (rig.order("A-1").await, rig.order("A-2").await);
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    let (status, answer) = rig.ask(&stopped).await;
    assert_eq!(
        (status, answer["state"].as_str(), answer["evidence"].as_str()),
        (200, Some("stopped"), Some("never_handed")),
        "{answer}"
    );
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!((rig.prints(&kept), rig.prints(&stopped)), (1, 0));
    assert_eq!(rig.read(&stopped).await["state"], "stopped");
}

#[tokio::test]
async fn a_hand_over_that_finds_every_place_taken_comes_again_by_itself() {
    let rig = Rig::new(EVENING, "http", good(), json!({})).await;
    let order = rig.order("A-1").await;
    rig.settle().await;
    // As the loop of stops holds them while its claim runs, and drops them if that found nothing to ask.
    let lab = LabId::parse("nordprint").unwrap();
    let lane = rig.running.as_ref().unwrap().bench.labs.get(&lab).unwrap().lane;
    let places = lane.take(at(EVENING), usize::MAX, Kind::Stop);
    rig.go_to(CUTOFF).await;
    assert_ne!(rig.read(&order).await["state"], "at_lab");
    drop(places);
    rig.go_to("2026-11-21T22:00:01Z").await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
}

#[tokio::test]
async fn orders_that_a_dead_lab_never_got_go_to_a_person_by_their_deadline_all_of_them() {
    let mut profile = good();
    (profile["orders_per_call"], profile["handover_within"]) = (json!(1), json!("1h"));
    let rig = Rig::new(EVENING, "http", profile.clone(), json!({})).await;
    let mut orders = Vec::new();
    for nth in 0..80 {
        orders.push(rig.order(&format!("A-{nth}")).await);
    }
    // More than a claim takes, at a port on which nobody listens.
    let spec = json!({"id": "nordprint", "name": "Nordprint", "profile": profile,
        "driver": {"kind": "http", "base_url": "http://127.0.0.1:9"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", spec).await;
    assert_eq!(status, 200, "{answer}");
    rig.go_to("2026-11-21T23:10:00Z").await;
    for order in &orders {
        assert_eq!(rig.read(order).await["state"], "with_a_person");
    }
}

#[tokio::test]
async fn a_lost_answer_is_sent_again_under_the_same_key_and_printed_once() {
    for driver in ["http", "grpc"] {
        let rig = Rig::new(EVENING, driver, good(), json!({"loses_answers": 1.0})).await;
        let order = rig.order("A-1").await;
        rig.go_to("2026-11-21T22:00:20Z").await;
        assert_ne!(rig.read(&order).await["state"], "at_lab", "no answer has come");
        rig.lab.set_behaviour(Behaviour::default());
        rig.go_to("2026-11-22T06:00:00Z").await;
        assert_eq!(rig.read(&order).await["state"], "at_lab");
        assert_eq!(rig.prints(&order), 1);
        let kinds = rig.kinds(&order).await;
        assert!(kinds.iter().filter(|kind| *kind == "transfer.sending").count() >= 2, "{kinds:?}");
    }
}

#[tokio::test]
async fn without_deduplication_an_unknown_outcome_waits_for_the_horizon_and_a_look_up() {
    let profile = json!({"dedupes": "no", "lookup": true, "stops": "yes"});
    let rig = Rig::new(EVENING, "http", profile, json!({"loses_answers": 1.0})).await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T22:04:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "unknown");
    let (status, answer) = rig.ask(&order).await;
    assert_eq!(status, 202, "{answer}");
    rig.lab.set_behaviour(Behaviour::default());
    rig.go_to("2026-11-22T06:00:00Z").await;
    let received = rig.lab.ledger().verdicts().into_iter().map(|verdict| verdict.received).sum::<u64>();
    assert_eq!(received, 1, "the upload was not repeated");
    let order = rig.read(&order).await;
    assert_eq!(order["stop"]["state"], "stopped", "the lab was asked and took it out: {order}");
    assert_eq!(rig.prints(order["id"].as_str().unwrap()), 0);
}

#[tokio::test]
async fn where_nothing_can_be_found_out_a_person_takes_it_before_the_deadline() {
    let profile = json!({"dedupes": "no", "lookup": false, "stops": "no", "handover_within": "2h"});
    let rig = Rig::new(EVENING, "http", profile, json!({"loses_answers": 1.0})).await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T23:59:59Z").await;
    assert_eq!(rig.read(&order).await["state"], "unknown");
    rig.go_to("2026-11-22T00:00:30Z").await;
    assert_eq!(rig.read(&order).await["state"], "with_a_person");
    let (_, list) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    let escalation = list["escalations"][0]["id"].as_str().expect("an escalation").to_owned();
    let resolve = json!({"decision": "handed_over", "reason": "they have it in their list"});
    let (status, answer) =
        rig.call(&rig.ops, Method::POST, &format!("/v1/escalations/{escalation}/resolve"), resolve).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    assert_eq!(rig.prints(&order), 1, "one upload, one print");
}

#[tokio::test]
async fn a_lab_that_is_down_gets_its_orders_when_it_is_back() {
    let behaviour = json!({"down": {"by": "refuse", "until": "2026-11-21T23:30:00Z"}});
    let rig = Rig::new(EVENING, "http", good(), behaviour).await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T23:00:00Z").await;
    let state = rig.read(&order).await["state"].as_str().unwrap().to_owned();
    assert_eq!(state, "closed", "definitely not delivered: it is still in the house");
    let (status, answer) = rig.ask(&rig.order("A-2").await).await;
    assert_eq!(
        (status, answer["state"].as_str()),
        (200, Some("stopped")),
        "pausing or failing labs keep stops working"
    );
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    assert_eq!(rig.prints(&order), 1);
}

#[tokio::test]
async fn a_refused_transfer_comes_back_and_goes_out_under_a_new_key_without_who_was_stopped() {
    let rig = Rig::new(EVENING, "http", good(), json!({"refuses": 1.0})).await;
    let (kept, stopped) = (rig.order("A-1").await, rig.order("A-2").await);
    rig.go_to("2026-11-21T22:00:10Z").await;
    assert_eq!(rig.read(&kept).await["state"], "closed");
    let (status, answer) = rig.ask(&stopped).await;
    assert_eq!((status, answer["evidence"].as_str()), (200, Some("never_handed")), "{answer}");
    rig.lab.set_behaviour(Behaviour::default());
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!((rig.prints(&kept), rig.prints(&stopped)), (1, 0));
}

#[tokio::test]
async fn the_lab_decides_when_it_has_the_order() {
    for driver in ["http", "grpc"] {
        goes_the_whole_way(Rig::new(EVENING, driver, good(), json!({"prints_after": "2h"})).await).await;
    }
}

/// Two orders, handed over at the cutoff and not before; one stop in time for the lab, one too late. The same
/// over every driver.
pub async fn goes_the_whole_way(rig: Rig) {
    let (early, late) = (rig.order("A-1").await, rig.order("A-2").await);
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    assert!(rig.lab.ledger().entries().is_empty(), "nothing has left the house");
    rig.go_to(CUTOFF).await;
    assert_eq!(rig.read(&early).await["state"], "at_lab");
    assert_eq!(rig.read(&early).await["verdict"]["can_stop"], "ask_lab");
    rig.ask(&early).await;
    rig.settle().await;
    let stop = &rig.read(&early).await["stop"];
    assert_eq!((stop["state"].as_str(), stop["evidence"].as_str()), (Some("stopped"), Some("lab_removed")));
    rig.go_to("2026-11-22T01:00:00Z").await;
    rig.ask(&late).await;
    rig.settle().await;
    assert_eq!(rig.read(&late).await["stop"]["state"], "too_late");
    assert_eq!((rig.prints(&early), rig.prints(&late)), (0, 1));
}

#[tokio::test]
async fn at_the_cutoff_all_go_out_at_once_each_with_one_call() {
    const ALL: usize = 90;
    for driver in ["http", "grpc"] {
        let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "concurrency": 2});
        let rig = Rig::new(EVENING, driver, profile, json!({})).await;
        for nth in 0..ALL {
            rig.order(&format!("A-{nth}")).await;
        }
        rig.clock.set(at(CUTOFF));
        // The clock stands still: what had to be tried again would wait for ever.
        rig.settle().await;
        let log = rig.running.as_ref().unwrap().bench.store.events(0, 10_000).await.unwrap();
        let count = |kind: &str| log.iter().filter(|event| event.kind == kind).count();
        assert_eq!(
            (count("transfer.sending"), count("transfer.at_lab"), count("transfer.closed")),
            (ALL, ALL, 0)
        );
    }
}

#[tokio::test]
async fn a_stop_without_an_answer_goes_to_a_person_at_its_deadline() {
    let mut profile = good();
    profile["answers_within"] = json!("30m");
    let rig = Rig::new(EVENING, "http", profile, json!({"prints_after": "12h"})).await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T22:30:00Z").await;
    rig.lab.set_behaviour(serde_json::from_value(json!({"fails": 1.0, "prints_after": "12h"})).unwrap());
    let (status, answer) = rig.ask(&order).await;
    assert_eq!(status, 202);
    assert_eq!(answer["answer_due_at"].as_str().map(at), Some(at("2026-11-21T23:00:00Z")), "{answer}");
    rig.go_to("2026-11-21T22:59:59Z").await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "pending");
    rig.go_to("2026-11-21T23:00:01Z").await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "with_a_person");
}

#[tokio::test]
async fn a_restart_finds_everything_and_takes_over_what_was_being_sent() {
    let mut rig = Rig::new(EVENING, "http", good(), json!({"loses_answers": 1.0})).await;
    let (waits, sent) = (rig.order("A-1").await, rig.order("A-2").await);
    rig.ask(&waits).await;
    rig.go_to("2026-11-21T22:00:05Z").await;
    rig.stop().await;
    rig.lab.set_behaviour(Behaviour::default());
    rig.start().await;
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!(rig.read(&waits).await["state"], "stopped");
    let kinds = rig.kinds(&sent).await;
    assert_eq!(rig.read(&sent).await["state"], "at_lab", "{kinds:?}");
    assert_eq!((rig.prints(&waits), rig.prints(&sent)), (0, 1));
    let checked = rig.running.as_ref().unwrap().bench.store.verify_events().await.unwrap();
    assert!(checked.breaks.is_empty(), "{:?}", checked.breaks);
}
