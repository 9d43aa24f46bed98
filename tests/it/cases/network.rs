//! A print-on-demand network: orders are made where the customer is, and closed with the region's day.

use hyper::http::Method;
use serde_json::{Value, json};

use super::{AFTER, act, can_stop, good, lab, order, policy, rig, sent, verdict, words};
use crate::customer_support::Customer;
use crate::rig::Rig;

/// Stoppable until the upload at midnight of the production region.
#[tokio::test]
async fn stoppable_until_the_upload_at_midnight_of_the_production_region() {
    let rig = rig(json!({})).await;
    let (early, late) = (sent(&rig, order("A-1")).await, sent(&rig, order("A-2")).await);
    let told = verdict(&rig, &late).await;
    assert_eq!((&told["can_stop"], &told["until"]), (&json!("yes"), &json!("2026-11-21T22:00:00Z")));
    assert_eq!(told["until_local"], "2026-11-22T00:00:00+02:00[Europe/Helsinki]");
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    assert_eq!(rig.ask(&early).await.1["state"], "stopped");
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!((rig.prints(&early), rig.prints(&late)), (0, 1));
}

/// Twice a day from October to December.
#[tokio::test]
async fn twice_a_day_from_october_to_december() {
    let rig = Rig::new("2026-09-29T07:00:00Z", "http", good(), json!({})).await;
    lab(&rig, |lab| {
        lab["regions"][0]["calendar"] = json!({"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"],
            "seasons": [{"name": "peak", "from": "10-01", "to": "12-31", "cutoffs": ["12:00", "24:00"]}]});
    })
    .await;
    // The last day before, the first day of it, and the day on which clocks are set back.
    for (now, until) in [
        ("2026-09-29T07:00:00Z", "2026-09-29T21:00:00Z"),
        ("2026-10-01T07:00:00Z", "2026-10-01T09:00:00Z"),
        ("2026-10-01T09:00:01Z", "2026-10-01T21:00:00Z"),
        ("2026-10-25T08:00:00Z", "2026-10-25T10:00:00Z"),
        ("2026-10-25T10:00:01Z", "2026-10-25T22:00:00Z"),
        ("2027-01-01T08:00:00Z", "2027-01-01T22:00:00Z"),
    ] {
        rig.go_to(now).await;
        let order = sent(&rig, order(now)).await;
        assert_eq!(verdict(&rig, &order).await["until"], until, "asked at {now}");
    }
}

/// By API and by page.
#[tokio::test]
async fn by_api_and_by_page() {
    let rig = rig(json!({})).await;
    policy(&rig, json!({"customer_stops": "on"})).await;
    let (by_api, by_page) = (sent(&rig, order("A-1")).await, sent(&rig, order("A-2")).await);
    let (status, answer) =
        act(&rig, &by_api, "stop", json!({"reason": "mistake", "asked_by": "system"})).await;
    assert_eq!((status, &answer["stop"]["state"]), (200, &json!("stopped")));
    let page = Customer::of(&rig, &by_page, "stop").await.presses("mistake", "").await;
    assert!(page.text.contains("The order is stopped"), "{}", page.text);
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!((rig.prints(&by_api), rig.prints(&by_page)), (0, 0));
}

/// One order may be made in several places: the platform sends a part to each, and each has its own cutoff, its own
/// verdict and its own end.
#[tokio::test]
async fn one_order_may_be_made_in_several_places() {
    let rig = rig(json!({})).await;
    lab(&rig, |lab| {
        lab["regions"] = json!([
            {"id": "fi", "countries": ["FI"], "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}},
            {"id": "us", "countries": ["US"], "calendar": {"time_zone": "America/New_York", "cutoffs": ["24:00"]}},
        ]);
    })
    .await;
    let mut parts = Vec::new();
    for (part, region) in [("A-1/1", "fi"), ("A-1/2", "us")] {
        let mut body = order(part);
        body["region"] = json!(region);
        body["metadata"] = json!({"order": "A-1"});
        parts.push(sent(&rig, body).await);
    }
    assert_eq!(verdict(&rig, &parts[0]).await["until"], "2026-11-21T22:00:00Z");
    assert_eq!(verdict(&rig, &parts[1]).await["until"], "2026-11-22T05:00:00Z");
    rig.go_to(AFTER).await;
    assert_eq!(can_stop(&rig, &parts[0]).await, words("ask_lab", "at_lab"));
    assert_eq!(can_stop(&rig, &parts[1]).await, words("yes", "in_open_batch"));
    assert_eq!(rig.ask(&parts[1]).await.1["state"], "stopped");
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!((rig.prints(&parts[0]), rig.prints(&parts[1])), (1, 0));
    let (_, found) = rig.call(&rig.platform, Method::GET, "/v1/orders?reference=A-1/2", Value::Null).await;
    assert_eq!(found["orders"][0]["id"], parts[1].as_str());
}
