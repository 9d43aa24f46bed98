//! A shop that produces at once: what is paid for is being made.

use serde_json::json;

use super::{act, can_stop, lab, order, policy, rig, sent, verdict, words};
use crate::rig::Rig;

/// The shop's lab takes every order at once, and what it has is final.
async fn shop() -> Rig {
    let rig = rig(json!({"prints_after": "1s"})).await;
    lab(&rig, |lab| {
        lab["policy"] = json!({"immediate_production": true, "grace": "0s"});
    })
    .await;
    rig
}

/// Paid means producing; no stop, no change, more photos are a new order.
#[tokio::test]
async fn paid_means_producing_no_stop_no_change_more_photos_are_a_new_order() {
    let rig = shop().await;
    let mut body = order("A-1");
    body["payment"] = json!("awaiting");
    let paid = sent(&rig, body).await;
    assert_eq!(can_stop(&rig, &paid).await, words("yes", "awaiting_payment"));
    assert_eq!(act(&rig, &paid, "pay", json!(null)).await.0, 200);
    rig.settle().await;
    assert_eq!(can_stop(&rig, &paid).await, words("no", "immediate_production"));
    let (_, stop) = rig.ask(&paid).await;
    assert_eq!((&stop["state"], &stop["evidence"]), (&json!("too_late"), &json!("final_on_receipt")));
    assert_eq!(act(&rig, &paid, "review", json!(null)).await.0, 409);
    assert_eq!(verdict(&rig, &paid).await["can_change"], json!([]));
    // The same reference is the same order; more photos have one of their own.
    let mut more = order("A-1");
    more["items"][0]["quantity"] = json!(9);
    let path = "/v1/orders";
    let (status, refused) = rig.call(&rig.platform, hyper::http::Method::POST, path, more.clone()).await;
    assert_eq!(status, 409, "{refused}");
    more["reference"] = json!("A-1-more");
    let more = sent(&rig, more).await;
    rig.settle().await;
    assert_eq!((rig.prints(&paid), rig.read(&more).await["state"].as_str()), (0, Some("at_lab")));
    rig.go_to("2026-11-21T20:01:00Z").await;
    assert_eq!((rig.prints(&paid), rig.prints(&more)), (1, 1));
}

/// Refund outside, commission kept.
#[tokio::test]
async fn refund_outside_commission_kept() {
    let rig = shop().await;
    policy(&rig, json!({"refund": "outside", "service_fee": "kept"})).await;
    let order = sent(&rig, order("A-1")).await;
    let told = &verdict(&rig, &order).await["consequences"];
    assert_eq!((&told["refund"], &told["service_fee"]), (&json!("outside"), &json!("kept")));
}

/// Personalised goods have no right of withdrawal: the verdict says so.
#[tokio::test]
async fn personalised_goods_have_no_right_of_withdrawal() {
    let rig = shop().await;
    let mut body = order("A-1");
    body["items"][0]["personalised"] = json!(true);
    let personalised = sent(&rig, body).await;
    assert_eq!(verdict(&rig, &personalised).await["consequences"]["personalised"], true);
    let plain = sent(&rig, order("A-2")).await;
    assert_eq!(verdict(&rig, &plain).await["consequences"]["personalised"], false);
}

/// With a partner lab: case by case, by a person.
#[tokio::test]
async fn with_a_partner_lab_case_by_case_by_a_person() {
    let rig = rig(json!({"prints_after": "2h"})).await;
    lab(&rig, |lab| {
        lab["policy"] = json!({"immediate_production": true, "grace": "0s", "stops_via": "contact",
            "contact": {"email": "help@nordprint.example", "phone": "+358 9 123"}});
    })
    .await;
    let order = sent(&rig, order("A-1")).await;
    rig.settle().await;
    let told = verdict(&rig, &order).await;
    assert_eq!((&told["can_stop"], &told["reason"]), (&json!("ask_person"), &json!("immediate_production")));
    assert_eq!((&told["decided_by"], &told["next"]["channel"]), (&json!("person"), &json!("contact")));
    assert_eq!(told["next"]["contact"]["phone"], "+358 9 123");
    let (status, stop) = rig.ask(&order).await;
    assert_eq!((status, &stop["state"]), (202, &json!("with_a_person")), "{stop}");
    // The person called the lab.
    let (_, calls) =
        rig.call(&rig.ops, hyper::http::Method::GET, "/v1/escalations", serde_json::Value::Null).await;
    let call = calls["escalations"][0]["id"].as_str().unwrap().to_owned();
    let decision = json!({"decision": "stopped", "reason": "Maija at the lab took it out"});
    let path = format!("/v1/escalations/{call}/resolve");
    let (status, answer) = rig.call(&rig.ops, hyper::http::Method::POST, &path, decision).await;
    assert_eq!(status, 200, "{answer}");
    let stop = &rig.read(&order).await["stop"];
    assert_eq!((&stop["state"], &stop["evidence"]), (&json!("stopped"), &json!("person_confirmed")));
}
