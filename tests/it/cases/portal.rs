//! A portal of photographers: photographers' shops that hand paid orders to partner labs in batches.

use hyper::http::Method;
use serde_json::{Value, json};

use super::{act, can_stop, lab, order, policy, rig, sent, verdict, words};
use crate::customer_support::{Customer, link};
use crate::webhooks_support::{Receiver, Reply};

/// Unpaid orders are cancelled freely.
#[tokio::test]
async fn unpaid_orders_are_cancelled_freely() {
    let rig = rig(json!({})).await;
    let mut body = order("A-1");
    body["payment"] = json!("awaiting");
    let unpaid = sent(&rig, body).await;
    // Weeks later, past many cutoffs.
    rig.go_to("2026-12-12T20:00:00Z").await;
    let told = verdict(&rig, &unpaid).await;
    assert_eq!((&told["can_stop"], &told["reason"]), (&json!("yes"), &json!("awaiting_payment")));
    assert_eq!(told["until"], Value::Null, "no instant ends it");
    let (status, stop) = rig.ask(&unpaid).await;
    assert_eq!((status, &stop["state"], &stop["evidence"]), (200, &json!("stopped"), &json!("never_handed")));
    assert_eq!(act(&rig, &unpaid, "pay", json!(null)).await.0, 409, "what is cancelled is not paid for");
    rig.go_to("2026-12-14T20:00:00Z").await;
    assert_eq!(rig.prints(&unpaid), 0);
}

/// Orders in a pending batch go back to review and out again.
#[tokio::test]
async fn orders_in_a_pending_batch_go_back_to_review_and_out_again() {
    let rig = rig(json!({})).await;
    let order = sent(&rig, order("A-1")).await;
    let (status, shown) = act(&rig, &order, "review", json!({"reason": "new crops"})).await;
    assert_eq!((status, &shown["state"]), (200, &json!("in_review")), "{shown}");
    // It misses this cutoff; its files are replaced; it takes the next one.
    rig.go_to("2026-11-22T06:00:00Z").await;
    let items = json!([{"id": "1", "kind": "print", "sku": "print-10x15", "quantity": 2, "personalised": false,
        "files": [{"url": "https://files.example/cropped.jpg"}], "options": {"crop": "0,0,600,400"}}]);
    let path = format!("/v1/orders/{order}");
    let (status, shown) = rig.call(&rig.platform, Method::PATCH, &path, json!({"items": items})).await;
    assert_eq!((status, &shown["items"]), (200, &items), "{shown}");
    let (status, shown) = act(&rig, &order, "release", json!(null)).await;
    assert_eq!((status, &shown["state"]), (200, &json!("in_batch")), "{shown}");
    assert_eq!(shown["window"]["closes_at"], "2026-11-22T22:00:00Z");
    rig.go_to("2026-11-23T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 1);
}

/// Batches and direct orders.
#[tokio::test]
async fn batches_and_direct_orders() {
    let rig = rig(json!({})).await;
    lab(&rig, |lab| lab["policy"] = json!({"grace": "10m"})).await;
    let batched = sent(&rig, order("A-1")).await;
    let mut body = order("A-2");
    body["transfer"] = json!("direct");
    let direct = sent(&rig, body.clone()).await;
    body["reference"] = json!("A-3");
    let stopped = sent(&rig, body).await;
    assert_eq!(verdict(&rig, &direct).await["until"], "2026-11-21T20:10:00Z");
    assert_eq!(verdict(&rig, &batched).await["until"], "2026-11-21T22:00:00Z");
    rig.go_to("2026-11-21T20:09:59.999999Z").await;
    assert_eq!(rig.ask(&stopped).await.1["state"], "stopped");
    rig.go_to("2026-11-21T20:10:01Z").await;
    let states = [rig.read(&direct).await, rig.read(&batched).await, rig.read(&stopped).await];
    assert_eq!(
        states.map(|order| order["state"].as_str().unwrap().to_owned()),
        ["at_lab", "in_batch", "stopped"]
    );
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!([&direct, &batched, &stopped].map(|order| rig.prints(order)), [1, 1, 0]);
}

/// A paid order at the lab can only be *asked* for.
#[tokio::test]
async fn a_paid_order_at_the_lab_can_only_be_asked_for() {
    // One lab has not begun; one has.
    for (prints_after, state, evidence, prints) in
        [("10h", "stopped", "lab_removed", 0), ("1s", "too_late", "in_production", 1)]
    {
        let rig = rig(json!({"prints_after": prints_after})).await;
        let order = sent(&rig, order("A-1")).await;
        rig.go_to("2026-11-21T22:01:00Z").await;
        let told = verdict(&rig, &order).await;
        assert_eq!((&told["can_stop"], &told["decided_by"]), (&json!("ask_lab"), &json!("lab")), "{told}");
        assert!(told["next"]["answer_due_at"].is_string());
        let (status, stop) = rig.ask(&order).await;
        assert_eq!(
            (status, &stop["state"]),
            (202, &json!("pending")),
            "nobody says stopped before the lab has"
        );
        rig.settle().await;
        let stop = &rig.read(&order).await["stop"];
        assert_eq!((&stop["state"], &stop["evidence"]), (&json!(state), &json!(evidence)), "{stop}");
        rig.go_to("2026-11-22T12:00:00Z").await;
        assert_eq!(rig.prints(&order), prints);
    }
}

/// One lab takes stops only through the platform, others may be contacted directly.
#[tokio::test]
async fn one_lab_takes_stops_only_through_the_platform_others_may_be_contacted_directly() {
    let rig = rig(json!({"prints_after": "10h"})).await;
    let contact = json!({"email": "help@nordprint.example", "phone": "+358 9 123"});
    for (via, shown, channel, state) in [
        ("gateway_only", Value::Null, "gateway", "pending"),
        ("contact", contact.clone(), "contact", "with_a_person"),
    ] {
        lab(&rig, |lab| lab["policy"] = json!({"stops_via": via, "contact": contact})).await;
        let mut body = order(via);
        body["transfer"] = json!("direct");
        let order = sent(&rig, body).await;
        rig.settle().await;
        let told = verdict(&rig, &order).await;
        assert_eq!(told["next"]["channel"], channel, "{told}");
        assert_eq!(told["next"]["contact"]["phone"], shown["phone"], "{told}");
        assert_eq!(rig.ask(&order).await.1["state"], state);
        rig.settle().await;
    }
}

/// A stop button that is switched on per account.
#[tokio::test]
async fn a_stop_button_that_is_switched_on_per_account() {
    let rig = rig(json!({})).await;
    let order = sent(&rig, order("A-1")).await;
    let button = async || {
        let page = Customer::of(&rig, &order, "stop").await.get("/c").await;
        assert_eq!(page.status, 200);
        page.text.contains("<form")
    };
    policy(&rig, json!({"customer_stops": "off"})).await;
    assert!(!button().await);
    policy(&rig, json!({"customer_stops": "on"})).await;
    assert!(button().await);
    // A link that was given out while it was on does not outlive the switch.
    let (path, _) = link(&rig, &order, "stop").await;
    let customer = Customer::new(&rig);
    assert_eq!(customer.get(&path).await.status, 303);
    let form = customer.get("/c").await.form();
    policy(&rig, json!({"customer_stops": "off"})).await;
    let body = format!("csrf={form}&lang=en&reason=mistake&comment=");
    let page = customer.post("/c/stop", &body).await;
    assert!(page.status >= 300, "{page:?}");
    assert_eq!(can_stop(&rig, &order).await, words("yes", "in_open_batch"), "nothing was stopped");
}

/// Refunding is a separate step, the service fee is kept.
#[tokio::test]
async fn refunding_is_a_separate_step_the_service_fee_is_kept() {
    let rig = rig(json!({})).await;
    policy(&rig, json!({"refund": "by_merchant", "service_fee": "kept"})).await;
    let order = sent(&rig, order("A-1")).await;
    let told = &verdict(&rig, &order).await["consequences"];
    assert_eq!((&told["refund"], &told["service_fee"]), (&json!("by_merchant"), &json!("kept")));
    let (_, answer) = act(&rig, &order, "stop", json!({"reason": "mistake"})).await;
    // Another policy later rewrites nothing that was told.
    policy(&rig, json!({"refund": "automatic", "service_fee": "waived"})).await;
    let kept = &rig.read(&order).await["stop"]["consequences"];
    assert_eq!((&kept["refund"], &kept["service_fee"]), (&json!("by_merchant"), &json!("kept")), "{answer}");
}

/// Downloads can be revoked until they are fetched.
#[tokio::test]
async fn downloads_can_be_revoked_until_they_are_fetched() {
    for (fetched, state, told) in [(false, "revoked", "deactivated"), (true, "fetched", "already_fetched")] {
        let rig = rig(json!({})).await;
        let portal = Receiver::start().await;
        portal.behaves(move |_| Reply {
            body: json!({"answer": told}).to_string().into_bytes(),
            ..Reply::status(200)
        });
        let path = "/v1/platforms/acme/downloads";
        let (status, made) = rig.call(&rig.platform, Method::PUT, path, json!({"url": portal.url})).await;
        assert_eq!(status, 201, "{made}");
        let mut body = order("A-1");
        let download = json!({"id": "2", "kind": "download", "sku": "gallery-zip", "quantity": 1});
        body["items"].as_array_mut().unwrap().push(download);
        let order = sent(&rig, body).await;
        // Weeks after the print has left: no cutoff concerns a download, only whether it was fetched.
        rig.go_to("2026-12-12T20:00:00Z").await;
        assert_eq!(rig.prints(&order), 1);
        if fetched {
            let report = json!({"item": "2", "said": "fetched"});
            assert_eq!(act(&rig, &order, "downloads", report).await.0, 200);
        }
        let before = &verdict(&rig, &order).await["downloads"][0];
        assert_eq!(before["can_revoke"], !fetched, "{before}");
        let (status, asked) = act(&rig, &order, "stop", json!({"items": ["2"]})).await;
        assert!(status < 300, "{asked}");
        rig.settle().await;
        assert_eq!(verdict(&rig, &order).await["downloads"][0]["state"], state);
        assert_eq!(portal.count(), usize::from(!fetched), "what was fetched is not asked about");
    }
}

/// A wrong product is a stop and a replacement: whatever the lab says of the first, one of the two is printed.
#[tokio::test]
async fn a_wrong_product_is_a_stop_and_a_replacement() {
    for (prints_after, of_old, of_new) in [("10h", 0, 1), ("1s", 1, 0)] {
        let rig = rig(json!({"prints_after": prints_after})).await;
        let old = sent(&rig, order("A-1")).await;
        rig.go_to("2026-11-21T22:01:00Z").await;
        let mut right = order("A-2");
        right["items"][0]["sku"] = json!("print-13x18");
        let (status, both) =
            act(&rig, &old, "replace", json!({"order": right, "reason": "wrong size"})).await;
        assert!(status < 300, "{both}");
        let new = both["order"]["id"].as_str().unwrap().to_owned();
        assert_eq!(rig.read(&new).await["replaces"]["order"], old.as_str());
        rig.settle().await;
        rig.go_to("2026-11-24T12:00:00Z").await;
        assert_eq!((rig.prints(&old), rig.prints(&new)), (of_old, of_new), "{prints_after}");
    }
}

/// Reverting is for staff.
#[tokio::test]
async fn reverting_is_for_staff() {
    let rig = rig(json!({})).await;
    let order = sent(&rig, order("A-1")).await;
    rig.ask(&order).await;
    let path = format!("/v1/orders/{order}/reinstate");
    let why = json!({"reason": "the customer rang"});
    assert_eq!(rig.call(&rig.platform, Method::POST, &path, why.clone()).await.0, 403);
    let (status, shown) = rig.call(&rig.ops, Method::POST, &path, why).await;
    assert_eq!((status, &shown["state"]), (200, &json!("in_batch")), "{shown}");
    assert!(rig.kinds(&order).await.contains(&"order.reinstated".to_owned()));
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 1);
}
