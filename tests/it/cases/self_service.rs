//! Self-service cancellation, as buyers know it: a button that is there only where it works.

use hyper::http::Method;
use serde_json::{Value, json};

use super::{act, order, policy, rig, sent};
use crate::customer_support::Customer;

/// The option shows only where it will work.
#[tokio::test]
async fn the_option_shows_only_where_it_will_work() {
    let rig = rig(json!({"prints_after": "1h", "ships_after": "2h"})).await;
    policy(&rig, json!({"customer_stops": "on"})).await;
    let open = sent(&rig, order("A-1")).await;
    let stopped = sent(&rig, order("A-2")).await;
    rig.ask(&stopped).await;
    let button =
        async |order: &str| Customer::of(&rig, order, "stop").await.get("/c").await.text.contains("<form");
    assert!(button(&open).await, "it waits for its cutoff");
    assert!(!button(&stopped).await, "there is nothing left to stop");
    rig.go_to("2026-11-21T22:01:00Z").await;
    assert!(button(&open).await, "the lab has it and can be asked");
    let lab = rig.lab_key("nordprint").await;
    let report = json!({"stage": "shipped"});
    let path = format!("/v1/lab/orders/{open}/status");
    let (status, answer) = rig.call(&lab, Method::POST, &path, report).await;
    assert!(status < 300, "{answer}");
    assert!(!button(&open).await, "it has left");
}

/// Customer or merchant asks with a reason and a comment.
#[tokio::test]
async fn customer_or_merchant_asks_with_a_reason_and_a_comment() {
    let rig = rig(json!({})).await;
    policy(&rig, json!({"customer_stops": "on", "reasons": ["ordered twice", "wrong size"]})).await;
    let (mine, theirs) = (sent(&rig, order("A-1")).await, sent(&rig, order("A-2")).await);
    let customer = Customer::of(&rig, &mine, "stop").await;
    assert!(customer.get("/c").await.text.contains("ordered twice"), "the reasons that the shop offers");
    customer.presses("ordered twice", "sorry!").await;
    act(&rig, &theirs, "stop", json!({"reason": "wrong size", "comment": "rang us", "asked_by": "merchant"}))
        .await;
    for (order, by, reason, comment) in
        [(&mine, "customer", "ordered twice", "sorry!"), (&theirs, "merchant", "wrong size", "rang us")]
    {
        let stop = &rig.read(order).await["stop"];
        assert_eq!(
            (&stop["state"], &stop["asked_by"], &stop["reason"], &stop["comment"]),
            (&json!("stopped"), &json!(by), &json!(reason), &json!(comment))
        );
    }
}

/// `cancellation requested`, then done without anybody's hands.
#[tokio::test]
async fn cancellation_requested_then_done_without_anybodys_hands() {
    let rig = rig(json!({"prints_after": "10h"})).await;
    policy(&rig, json!({"customer_stops": "on"})).await;
    let order = sent(&rig, order("A-1")).await;
    rig.go_to("2026-11-21T22:01:00Z").await;
    let page = Customer::of(&rig, &order, "stop").await.presses("mistake", "").await;
    assert!(!page.text.contains("will not be printed"), "not before the lab has said so: {}", page.text);
    rig.settle().await;
    let stop = &rig.read(&order).await["stop"];
    assert_eq!((&stop["state"], &stop["evidence"]), (&json!("stopped"), &json!("lab_removed")));
    let kinds = rig.kinds(&order).await;
    let place = |kind: &str| {
        kinds.iter().position(|known| known == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"))
    };
    assert!(place("stop.pending") < place("stop.stopped"));
    let (_, calls) = rig.call(&rig.ops, Method::GET, "/v1/escalations", Value::Null).await;
    assert_eq!(calls["escalations"], json!([]), "nobody's hands");
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 0);
}

/// Visible in list and detail.
#[tokio::test]
async fn visible_in_list_and_detail() {
    let rig = rig(json!({})).await;
    let (stopped, open) = (sent(&rig, order("A-1")).await, sent(&rig, order("A-2")).await);
    rig.ask(&stopped).await;
    let (_, list) = rig.call(&rig.platform, Method::GET, "/v1/orders", Value::Null).await;
    for (order, state) in [(&stopped, "stopped"), (&open, "in_batch")] {
        let row = list["orders"].as_array().unwrap().iter().find(|row| row["id"] == order.as_str()).unwrap();
        assert_eq!(row["state"], state);
        assert_eq!(rig.read(order).await["state"], state);
    }
    let (_, found) = rig.call(&rig.platform, Method::GET, "/v1/orders?state=stopped", Value::Null).await;
    assert_eq!(found["orders"].as_array().unwrap().len(), 1);
    let (_, stops) = rig.call(&rig.platform, Method::GET, "/v1/stops?state=stopped", Value::Null).await;
    assert_eq!(stops["stops"][0]["order"], stopped.as_str());
}
