//! What a lab says by itself over its link: the checks are those of the HTTP API.

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::proto::connect_request::{Kind, StatusReport, StopAnswer};
use stoppress::proto::connect_response::receipt::Outcome;
use stoppress::proto::get_order_response::Stage;
use stoppress::proto::stop_order_response::Answer;

use crate::lab_support::eventually;
use crate::link_support::Link;
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

fn status(report: u64, order: &str, stage: Stage) -> Kind {
    let (order, reference) = (order.to_owned(), "TRACK-1".to_owned());
    Kind::StatusReport(StatusReport { report, order, stage: stage.into(), at: None, reference })
}

fn answer(report: u64, stop: &str, answer: Answer) -> Kind {
    let (stop, reason) = (stop.to_owned(), "in time".to_owned());
    Kind::StopAnswer(StopAnswer { report, stop, answer: answer.into(), reason, stage: 0, items: Vec::new() })
}

/// A gateway with an order that the lab has.
async fn handed() -> (Rig, Link, String) {
    let rig = Rig::new(EVENING, "link", good(), json!({})).await;
    let key = rig.lab_key("nordprint").await;
    let order = rig.order("A-1").await;
    let mut link = Link::open(rig.running.as_ref().unwrap(), &key, 4).await;
    rig.clock.set(CUTOFF.parse().unwrap());
    let (call, _) = link.upload().await;
    link.accept(call).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    (rig, link, order)
}

#[tokio::test]
async fn a_report_moves_the_order_and_never_back() {
    let (rig, mut link, order) = handed().await;
    link.say(status(7, &order, Stage::InProduction)).await;
    let receipt = link.receipt().await;
    assert_eq!((receipt.report, receipt.outcome()), (7, Outcome::Taken));
    assert_eq!(rig.read(&order).await["state"], "in_production");
    link.say(status(8, &order, Stage::Shipped)).await;
    assert_eq!(link.receipt().await.outcome(), Outcome::Taken);
    link.say(status(9, &order, Stage::Printed)).await;
    assert_eq!(link.receipt().await.outcome(), Outcome::Unchanged);
    assert_eq!(rig.read(&order).await["state"], "shipped");
    // What the protocol does not have is refused, and the connection stays.
    for (report, kind) in
        [(10, status(10, &order, Stage::Removed)), (11, status(11, "ord_1", Stage::Printed))]
    {
        link.say(kind).await;
        let receipt = link.receipt().await;
        let seen = (receipt.report, receipt.outcome(), receipt.code.as_str());
        assert_eq!(seen, (report, Outcome::Refused, "invalid"));
    }
}

#[tokio::test]
async fn a_stop_can_be_answered_later() {
    let (rig, mut link, order) = handed().await;
    let (_, asked) = rig.ask(&order).await;
    let stop = asked["id"].as_str().unwrap().to_owned();
    let call = link.call().await;
    link.answer(call.call, Answer::Later).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "pending");
    link.say(answer(1, &stop, Answer::Removed)).await;
    assert_eq!(link.receipt().await.outcome(), Outcome::Taken);
    let decided = &rig.read(&order).await["stop"];
    assert_eq!(
        (decided["state"].as_str(), decided["evidence"].as_str()),
        (Some("stopped"), Some("lab_removed"))
    );
    // A repeat changes nothing; the contrary is kept, and turns nothing round.
    link.say(answer(2, &stop, Answer::Removed)).await;
    assert_eq!(link.receipt().await.outcome(), Outcome::Unchanged);
    link.say(answer(3, &stop, Answer::WillPrint)).await;
    let receipt = link.receipt().await;
    assert_eq!((receipt.outcome(), receipt.code.as_str()), (Outcome::Refused, "already_decided"));
    assert_eq!(rig.read(&order).await["stop"]["state"], "stopped");
    // Printed all the same: somebody is called.
    link.say(status(4, &order, Stage::Shipped)).await;
    assert_eq!(link.receipt().await.outcome(), Outcome::ShippedAnyway);
}

#[tokio::test]
async fn a_lab_speaks_only_of_its_own() {
    let (rig, mut link, order) = handed().await;
    let lab = json!({"id": "sudprint", "name": "Sud", "driver": {"kind": "link"},
        "regions": [{"id": "de", "calendar": {"time_zone": "Europe/Berlin", "cutoffs": ["24:00"]}}]});
    rig.call(&rig.ops, Method::PUT, "/v1/labs/sudprint", lab).await;
    let key = rig.lab_key("sudprint").await;
    let mut other = Link::open(rig.running.as_ref().unwrap(), &key, 4).await;
    let (_, asked) = rig.ask(&order).await;
    let stop = asked["id"].as_str().unwrap().to_owned();
    let call = link.call().await;
    for kind in [answer(1, &stop, Answer::Removed), status(2, &order, Stage::Shipped)] {
        other.say(kind).await;
        let receipt = other.receipt().await;
        assert_eq!((receipt.outcome(), receipt.code.as_str()), (Outcome::Refused, "not_found"));
    }
    assert_eq!(rig.read(&order).await["stop"]["state"], "pending", "nothing of that counts");
    link.answer(call.call, Answer::WillPrint).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "too_late");
}

#[tokio::test]
async fn the_simulated_lab_answers_late_over_its_link() {
    let rig = Rig::new(EVENING, "link", good(), json!({"answers_late": "1m", "prints_after": "4h"})).await;
    let key = rig.lab_key("nordprint").await;
    rig.dial(rig.running.as_ref().unwrap(), &key, 4).await;
    let order = rig.order("A-1").await;
    rig.go_to(CUTOFF).await;
    rig.ask(&order).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "pending");
    rig.clock.set("2026-11-21T22:01:01Z".parse().unwrap());
    eventually("the answer was told", || rig.lab.next_answer().is_none()).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["stop"]["evidence"], "lab_removed");
    rig.lab.set_behaviour(Behaviour::default());
}
