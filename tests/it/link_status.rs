//! A simulated lab that dials out reports what it makes by itself, as its ledger moves, and again after a cut.

use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::{Behaviour, Down, DownBy};

use crate::lab_support::eventually;
use crate::rig::{Rig, connections};

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn profile() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes"})
}

/// A lab that begins half an hour before it prints, prints two hours after receipt, and ships an hour later.
async fn making() -> (Rig, String) {
    let habits = json!({"prints_after": "2h", "in_production_for": "30m", "ships_after": "1h"});
    let rig = Rig::new(EVENING, "link", profile(), habits).await;
    let key = rig.lab_key("nordprint").await;
    rig.dial(rig.running.as_ref().unwrap(), &key, 4).await;
    rig.lab.reports();
    let order = rig.order("A-1").await;
    rig.go_to(CUTOFF).await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    (rig, order)
}

async fn state_at(rig: &Rig, order: &str, now: &str) -> Value {
    rig.go_to(now).await;
    eventually("all is reported", || !rig.lab.owes_reports()).await;
    rig.settle().await;
    rig.read(order).await
}

#[tokio::test]
async fn what_is_made_is_reported_stage_by_stage_with_the_labs_own_time() {
    let (rig, order) = making().await;
    for (now, state) in [
        ("2026-11-21T23:29:59Z", "at_lab"),
        ("2026-11-21T23:30:00Z", "in_production"),
        ("2026-11-22T00:00:00Z", "printed"),
        ("2026-11-22T00:59:59Z", "printed"),
        ("2026-11-22T01:00:00Z", "shipped"),
    ] {
        let told = state_at(&rig, &order, now).await;
        assert_eq!(told["state"], state, "{now}");
    }
    let told = rig.read(&order).await;
    let reports: Vec<_> = told["reports"].as_array().unwrap().iter().collect();
    let stages: Vec<_> = reports.iter().map(|report| report["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["in_production", "printed", "shipped"]);
    assert_eq!(reports[0]["received_at"], "2026-11-21T23:30:00Z");
    let tracking = format!("SIM-{}", &order[order.len() - 8..]);
    assert_eq!(reports[2]["reference"], tracking);
    assert_eq!(told["verdict"]["can_stop"], "no");
    assert_eq!(rig.prints(&order), 1);
}

#[tokio::test]
async fn what_is_in_production_is_not_taken_out() {
    let (rig, order) = making().await;
    let told = state_at(&rig, &order, "2026-11-21T23:45:00Z").await;
    assert_eq!(
        (&told["state"], &told["verdict"]["reason"]),
        (&json!("in_production"), &json!("in_production"))
    );
    rig.ask(&order).await;
    rig.settle().await;
    let told = rig.read(&order).await;
    assert_eq!(told["stop"]["state"], "too_late", "{told}");
    assert_eq!(
        rig.lab.take_out(&order, "by hand").unwrap(),
        stoppress::cli::simulate::ledger::Said::WillPrint
    );
    state_at(&rig, &order, "2026-11-22T01:00:00Z").await;
    assert_eq!(rig.prints(&order), 1);
}

#[tokio::test]
async fn what_happened_while_the_link_was_cut_is_reported_when_it_stands_again() {
    let (rig, order) = making().await;
    let usual = rig.lab.behaviour();
    let down = Some(Down { by: DownBy::Close, ..Down::default() });
    rig.lab.set_behaviour(Behaviour { down, ..usual.clone() });
    let running = rig.running.as_ref().unwrap();
    eventually("the link is cut", || connections(running) == 0).await;
    rig.go_to("2026-11-22T00:30:00Z").await;
    assert!(rig.lab.owes_reports());
    assert_eq!(rig.read(&order).await["state"], "at_lab", "nothing was heard");
    rig.lab.set_behaviour(usual);
    let told = state_at(&rig, &order, "2026-11-22T00:31:00Z").await;
    assert_eq!(told["state"], "printed");
    assert_eq!(told["reports"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(told["reports"][1]["reported_at"], "2026-11-22T00:00:00Z");
}
