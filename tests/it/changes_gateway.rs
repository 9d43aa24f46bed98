//! Replacements, approvals and holds through a whole gateway, with a lab that keeps a ledger of what it prints.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::customer_support::Customer;
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

async fn rig(behaviour: Value) -> Rig {
    Rig::new(EVENING, "http", good(), behaviour).await
}

fn submission(reference: &str) -> Value {
    json!({"reference": reference, "lab": "nordprint",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 1}]})
}

/// Replaces an order; gives the status and both orders.
async fn replace(rig: &Rig, order: &str, reference: &str) -> (u16, Value) {
    let body = json!({"order": submission(reference), "reason": "wrong picture"});
    rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/replace"), body).await
}

async fn platform(rig: &Rig, policy: Value) {
    let spec = json!({"id": "acme", "name": "Acme Photo", "policy": policy});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/platforms/acme", spec).await;
    assert!(status < 300, "{answer}");
}

#[tokio::test]
async fn a_replacement_never_prints_both_nor_neither() {
    // How the lab behaves at the hand-over, and afterwards; and who is printed in the end.
    let cases = [
        ("removes", json!({"prints_after": "12h"}), json!({"prints_after": "12h"}), Some(false)),
        (
            "too late",
            json!({"prints_after": "12h"}),
            json!({"prints_after": "12h", "stops": "too_late"}),
            Some(true),
        ),
        ("printed", json!({"prints_after": "1s"}), json!({"prints_after": "1s"}), Some(true)),
        (
            "unclear hand-over",
            json!({"prints_after": "12h", "loses_answers": 1.0}),
            json!({"prints_after": "12h"}),
            None,
        ),
        ("fails", json!({"prints_after": "12h", "fails": 1.0}), json!({"prints_after": "12h"}), None),
        ("refuses", json!({"prints_after": "12h", "refuses": 1.0}), json!({"prints_after": "12h"}), None),
    ];
    for (name, at_first, then, old_prints) in cases {
        let rig = rig(at_first).await;
        let old = rig.order("A-1").await;
        rig.go_to("2026-11-21T22:00:05Z").await;
        // Before it: the lab may be asked at once.
        rig.lab.set_behaviour(serde_json::from_value(then).unwrap());
        let (status, both) = replace(&rig, &old, "A-2").await;
        assert_eq!(status, 201, "{name}: {both}");
        let new = both["order"]["id"].as_str().unwrap().to_owned();
        assert_eq!(both["order"]["replaces"]["order"], old.as_str(), "{name}");
        assert_eq!(both["replaced"]["replaced_by"]["order"], new.as_str(), "{name}");
        rig.go_to("2026-11-22T21:00:00Z").await;
        let (old_now, new_now) = (rig.read(&old).await, rig.read(&new).await);
        assert_ne!(old_now["stop"]["state"], "pending", "{name}: {old_now}");
        if old_now["stop"]["state"] == "with_a_person" {
            // Nobody could find out: the new one waits for a person's word.
            assert_eq!(new_now["replaces"]["state"], "waiting", "{name}");
            let (_, list) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
            let stop = old_now["stop"]["id"].as_str().unwrap();
            let waiting = list["escalations"].as_array().unwrap().iter().find(|row| row["subject"] == stop);
            let path = format!("/v1/escalations/{}/resolve", waiting.unwrap()["id"].as_str().unwrap());
            let decision = if rig.prints(&old) > 0 { "too_late" } else { "stopped" };
            let body = json!({"decision": decision, "reason": "looked at the press"});
            let (status, answer) = rig.call(&rig.ops, Method::POST, &path, body).await;
            assert_eq!(status, 200, "{name}: {answer}");
        }
        rig.settle().await;
        rig.go_to("2026-11-24T12:00:00Z").await;
        let (of_old, of_new) = (rig.prints(&old), rig.prints(&new));
        assert_eq!(of_old + of_new, 1, "{name}: {of_old} and {of_new}; {}", rig.read(&new).await);
        if let Some(expected) = old_prints {
            assert_eq!(of_old == 1, expected, "{name}");
        }
        let state = rig.read(&new).await["replaces"]["state"].clone();
        assert_eq!(state, if of_new == 1 { "released" } else { "abandoned" }, "{name}");
        let kinds = rig.kinds(&new).await;
        let told = if of_new == 1 { "order.replacement_released" } else { "order.replacement_abandoned" };
        assert!(kinds.contains(&told.to_owned()), "{name}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_replacement_before_the_cutoff_goes_with_the_batch() {
    let rig = rig(json!({})).await;
    let old = rig.order("A-1").await;
    let (status, both) = replace(&rig, &old, "A-2").await;
    assert_eq!(status, 201, "{both}");
    assert_eq!(
        (&both["order"]["state"], &both["replaced"]["state"]),
        (&json!("in_batch"), &json!("stopped"))
    );
    assert_eq!(both["order"]["verdict"]["until"], "2026-11-21T22:00:00Z");
    let (status, again) = replace(&rig, &old, "A-2").await;
    assert_eq!((status, &again["order"]["id"]), (200, &both["order"]["id"]), "{again}");
    let (status, problem) = replace(&rig, &old, "A-3").await;
    assert_eq!((status, &problem["code"]), (409, &json!("not_allowed")), "{problem}");
    let (status, problem) = replace(&rig, &old, "A-1").await;
    assert_eq!((status, &problem["code"]), (409, &json!("reference_taken")), "{problem}");
    let mut wrong = submission("A-4");
    wrong["items"] = json!([]);
    let path = format!("/v1/orders/{old}/replace");
    let (status, problem) = rig.call(&rig.platform, Method::POST, &path, json!({"order": wrong})).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("order.items")), "{problem}");
    let (status, problem) =
        rig.call(&rig.ops, Method::POST, &format!("/v1/orders/{old}/reinstate"), Value::Null).await;
    assert_eq!((status, &problem["order"]), (409, &both["order"]["id"]), "{problem}");
    let new = both["order"]["id"].as_str().unwrap().to_owned();
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!((rig.prints(&old), rig.prints(&new)), (0, 1));
}

#[tokio::test]
async fn a_customer_asks_and_the_merchant_agrees_long_after_the_cutoff() {
    let rig = rig(json!({})).await;
    platform(&rig, json!({"customer_stops": "ask_merchant", "approval_within": "3h"})).await;
    let (order, other) = (rig.order("A-1001").await, rig.order("A-1002").await);
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let page = customer.get("/c").await;
    assert!(page.text.contains("<form") && page.text.contains("Ask to stop it"), "{}", page.text);
    let page = customer.presses("wrong_picture", "the other one").await;
    assert!(
        page.text.contains("The shop decides") && page.text.contains("is not sent to the print lab"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("<form"), "it is asked once");
    let read = rig.read(&order).await;
    assert_eq!((&read["state"], &read["stop"]), (&json!("on_hold"), &Value::Null));
    assert_eq!(
        (&read["verdict"]["reason"], &read["verdict"]["can_stop"]),
        (&json!("stop_awaits_merchant"), &json!("yes"))
    );
    assert_eq!(read["approval"]["comment"], "the other one");
    let (_, list) = rig.call(&rig.platform, Method::GET, "/v1/approvals?state=open", Value::Null).await;
    assert_eq!(
        (&list["approvals"][0]["reference"], list["approvals"].as_array().unwrap().len()),
        (&json!("A-1001"), 1)
    );
    let approval = list["approvals"][0]["id"].as_str().unwrap().to_owned();
    rig.go_to("2026-11-22T00:30:00Z").await;
    assert_eq!(rig.read(&other).await["state"], "at_lab");
    // Its time is over: ops are called, and it stays out.
    rig.go_to("2026-11-22T03:00:00Z").await;
    let (_, calls) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    assert_eq!(
        (&calls["escalations"][0]["kind"], &calls["escalations"][0]["subject"]),
        (&json!("approval_overdue"), &json!(approval))
    );
    rig.go_to("2026-11-23T12:00:00Z").await;
    let path = format!("/v1/approvals/{approval}/approve");
    let (status, decided) = rig.call(&rig.platform, Method::POST, &path, Value::Null).await;
    assert_eq!(
        (status, &decided["stop"]["state"], &decided["stop"]["evidence"]),
        (200, &json!("stopped"), &json!("never_handed")),
        "{decided}"
    );
    let (status, again) = rig.call(&rig.platform, Method::POST, &path, Value::Null).await;
    assert_eq!((status, &again["stop"]["id"]), (200, &decided["stop"]["id"]), "the same once more");
    let decline = format!("/v1/approvals/{approval}/decline");
    let (status, problem) = rig.call(&rig.platform, Method::POST, &decline, json!({"reason": "no"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("already_decided")), "{problem}");
    let (_, calls) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    assert_eq!(calls["escalations"], json!([]));
    let customer = Customer::of(&rig, &order, "stop").await;
    assert!(customer.get("/c").await.text.contains("The order is stopped"));
    rig.go_to("2026-11-25T12:00:00Z").await;
    assert_eq!((rig.prints(&order), rig.prints(&other)), (0, 1));
}

#[tokio::test]
async fn a_customer_asks_and_the_merchant_declines() {
    let rig = rig(json!({})).await;
    platform(&rig, json!({"customer_stops": "ask_merchant"})).await;
    let order = rig.order("A-1001").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    customer.presses("other", "").await;
    let approval = rig.read(&order).await["approval"]["id"].as_str().unwrap().to_owned();
    let decline = format!("/v1/approvals/{approval}/decline");
    let (status, problem) = rig.call(&rig.platform, Method::POST, &decline, json!({"reason": " "})).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &json!("reason")),
        "the customer is told why: {problem}"
    );
    let body = json!({"reason": "it is a gift for <you>"});
    let (status, decided) = rig.call(&rig.platform, Method::POST, &decline, body).await;
    assert_eq!((status, &decided["stop"]), (200, &Value::Null), "{decided}");
    let read = rig.read(&order).await;
    assert_eq!((&read["state"], &read["approval"]["state"]), (&json!("in_batch"), &json!("declined")));
    let page = customer.get("/c").await;
    assert!(page.text.contains("Acme Photo has decided not to stop this order"), "{}", page.text);
    assert!(
        page.text.contains("it is a gift for &#60;you&#62;") && !page.text.contains("<form"),
        "{}",
        page.text
    );
    let (_, told) =
        rig.call(&rig.platform, Method::GET, &format!("/v1/orders/{order}/stop"), Value::Null).await;
    assert_eq!((&told["stop"], &told["approval"]["state"]), (&Value::Null, &json!("declined")));
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 1);
    let kinds = rig.kinds(&order).await;
    assert!(
        kinds.contains(&"approval.asked".to_owned()) && kinds.contains(&"approval.declined".to_owned()),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn after_the_hand_over_the_merchants_yes_is_forwarded() {
    let rig = rig(json!({"prints_after": "12h"})).await;
    platform(&rig, json!({"customer_stops": "ask_merchant"})).await;
    let order = rig.order("A-1001").await;
    rig.go_to("2026-11-21T22:10:00Z").await;
    let body = json!({"asked_by": "customer", "reason": "other"});
    let (status, told) =
        rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/stop"), body).await;
    assert_eq!((status, &told["approval"]["keeps_order"]), (202, &json!(false)), "{told}");
    let customer = Customer::of(&rig, &order, "stop").await;
    assert!(customer.get("/c").await.text.contains("it may be too late"), "plain words");
    let path = format!("/v1/approvals/{}/approve", told["approval"]["id"].as_str().unwrap());
    let (status, decided) = rig.call(&rig.ops, Method::POST, &path, json!({"reason": "they called"})).await;
    assert_eq!((status, &decided["stop"]["state"]), (200, &json!("pending")), "{decided}");
    rig.settle().await;
    assert_eq!(rig.read(&order).await["stop"]["evidence"], "lab_removed");
    rig.go_to("2026-11-23T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 0);
}

#[tokio::test]
async fn holds_have_owners_and_the_order_leaves_only_without_any() {
    let rig = rig(json!({})).await;
    let order = rig.order("A-1").await;
    let post = async |key: &str, what: &str, body: Value| {
        rig.call(key, Method::POST, &format!("/v1/orders/{order}/{what}"), body).await
    };
    let (_, held) = post(&rig.platform, "hold", json!({"reason": "address"})).await;
    assert_eq!(
        (&held["holds"][0]["owner"], &held["holds"][0]["reason"]),
        (&json!("platform"), &json!("address"))
    );
    let (_, held) = post(&rig.ops, "hold", json!({"reason": "paper is out"})).await;
    let paper = held["holds"][1]["id"].as_str().unwrap().to_owned();
    let (status, problem) = post(&rig.platform, "release", json!({"hold": paper})).await;
    assert_eq!(
        (status, &problem["code"], &problem["held_by"]),
        (409, &json!("held_by_others"), &json!(["ops"]))
    );
    let (status, left) = post(&rig.platform, "release", Value::Null).await;
    assert_eq!(
        (status, &left["state"], left["holds"].as_array().unwrap().len()),
        (200, &json!("on_hold"), 1)
    );
    let (status, problem) =
        post(&rig.ops, "release", json!({"hold": format!("hld_{}", "0".repeat(32))})).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{problem}");
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 0, "held over the cutoff");
    let (status, free) = post(&rig.ops, "release", json!({"hold": paper})).await;
    assert_eq!((status, &free["state"], &free["holds"]), (200, &json!("in_batch"), &Value::Null), "{free}");
    rig.go_to("2026-11-23T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 1);
}
