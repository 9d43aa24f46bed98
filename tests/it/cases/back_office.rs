//! A back office that speaks EDI: pre-orders, validated orders, and everything on paper.

use hyper::http::Method;
use serde_json::{Value, json};

use super::{AFTER, act, order, policy, rig, sent, verdict};

fn address(city: &str) -> Value {
    json!({"name": "Aino", "line1": "Katu 2", "city": city, "country": "FI"})
}

/// Pre-orders: addresses editable, can be abandoned with a comment.
#[tokio::test]
async fn pre_orders_addresses_editable_can_be_abandoned_with_a_comment() {
    let rig = rig(json!({})).await;
    let mut body = order("A-1");
    body["payment"] = json!("awaiting");
    let order = sent(&rig, body).await;
    let path = format!("/v1/orders/{order}");
    let change = json!({"ship_to": address("Turku"), "bill_to": address("Tampere")});
    let (status, shown) = rig.call(&rig.platform, Method::PATCH, &path, change).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!((&shown["ship_to"]["city"], &shown["bill_to"]["city"]), (&json!("Turku"), &json!("Tampere")));
    let stop = json!({"reason": "abandoned", "comment": "the school has closed", "asked_by": "merchant"});
    let (status, answer) = act(&rig, &order, "stop", stop).await;
    assert_eq!((status, &answer["stop"]["state"]), (200, &json!("stopped")), "{answer}");
    assert_eq!(rig.read(&order).await["stop"]["comment"], "the school has closed");
}

/// Validated orders stop until "EDI sent".
#[tokio::test]
async fn validated_orders_stop_until_edi_sent() {
    let rig = rig(json!({"prints_after": "1s"})).await;
    let (early, late) = (sent(&rig, order("A-1")).await, sent(&rig, order("A-2")).await);
    rig.go_to("2026-11-21T21:59:59Z").await;
    assert_eq!(rig.ask(&early).await.1["evidence"], "never_handed");
    rig.go_to("2026-11-21T22:01:00Z").await;
    rig.ask(&late).await;
    rig.settle().await;
    assert_eq!(rig.read(&late).await["stop"]["state"], "too_late");
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!((rig.prints(&early), rig.prints(&late)), (0, 1));
}

/// Ship-to editable until then, bill-to not.
#[tokio::test]
async fn ship_to_editable_until_then_bill_to_not() {
    let rig = rig(json!({})).await;
    let order = sent(&rig, order("A-1")).await;
    let path = format!("/v1/orders/{order}");
    let patch = async |body: Value| rig.call(&rig.platform, Method::PATCH, &path, body).await;
    assert_eq!(verdict(&rig, &order).await["can_change"], json!(["shipping_address"]));
    let (status, refused) = patch(json!({"bill_to": address("Tampere")})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("not_allowed")), "{refused}");
    assert_eq!(patch(json!({"ship_to": address("Turku")})).await.0, 200);
    rig.go_to(AFTER).await;
    assert_eq!(patch(json!({"ship_to": address("Oulu")})).await.0, 409);
    assert_eq!(rig.read(&order).await["ship_to"]["city"], "Turku");
}

/// No line changes.
#[tokio::test]
async fn no_line_changes() {
    let rig = rig(json!({})).await;
    let order = sent(&rig, order("A-1")).await;
    let items = json!([{"id": "1", "sku": "print-10x15", "quantity": 3}]);
    let path = format!("/v1/orders/{order}");
    let (status, refused) = rig.call(&rig.platform, Method::PATCH, &path, json!({"items": items})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("not_allowed")), "{refused}");
    assert_eq!(rig.read(&order).await["items"][0]["quantity"], 2);
}

/// Restock.
#[tokio::test]
async fn restock() {
    let rig = rig(json!({})).await;
    policy(&rig, json!({"restock": true})).await;
    let order = sent(&rig, order("A-1")).await;
    assert_eq!(verdict(&rig, &order).await["consequences"]["restock"], true);
    rig.ask(&order).await;
    assert_eq!(rig.read(&order).await["stop"]["consequences"]["restock"], json!(["1"]), "line by line");
}

/// Every step in the changelog.
#[tokio::test]
async fn every_step_in_the_changelog() {
    let rig = rig(json!({"prints_after": "10h"})).await;
    let mut body = order("A-1");
    body["payment"] = json!("awaiting");
    let order = sent(&rig, body).await;
    for (what, body) in [
        ("pay", json!(null)),
        ("hold", json!({"reason": "credit check"})),
        ("release", json!({"reason": "cleared"})),
        ("review", json!({"reason": "new crops"})),
        ("release", json!(null)),
    ] {
        let (status, answer) = act(&rig, &order, what, body).await;
        assert_eq!(status, 200, "{what}: {answer}");
    }
    let path = format!("/v1/orders/{order}");
    rig.call(&rig.platform, Method::PATCH, &path, json!({"ship_to": address("Turku")})).await;
    rig.go_to("2026-11-21T22:01:00Z").await;
    rig.ask(&order).await;
    rig.settle().await;
    let kinds = rig.kinds(&order).await;
    let steps = [
        "order.admitted",
        "order.paid",
        "order.held",
        "order.released",
        "order.in_review",
        "order.released",
        "order.changed",
        "batch.closed",
        "transfer.sending",
        "transfer.at_lab",
        "stop.pending",
        "stop.stopped",
    ];
    let mut rest = kinds.iter();
    for step in steps {
        assert!(rest.any(|kind| kind == step), "{step} is not where it should be in {kinds:?}");
    }
    let (_, log) = rig.call(&rig.platform, Method::GET, &format!("{path}/changelog"), Value::Null).await;
    for event in log["events"].as_array().unwrap() {
        assert!(event["actor"].as_str().is_some_and(|actor| !actor.is_empty()), "{event}");
        assert!(event["hash"].is_string() && event["at"].is_string(), "{event}");
    }
}
