//! Warnings before a cutoff, through a gateway that runs: in the feed, on the board and on the order's page.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::common::postgres;
use crate::rig::Rig;
use crate::webhooks_support::{Receiver, endpoint};

/// Helsinki closes at 22:00 UTC.
const EVENING: &str = "2026-11-21T20:30:00Z";

async fn rig(database: Option<&str>) -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    Rig::on(database, EVENING, "http", profile, json!({})).await
}

async fn unpaid(rig: &Rig, reference: &str) -> String {
    let order = json!({"reference": reference, "lab": "nordprint", "payment": "awaiting",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 1}]});
    let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn change(rig: &Rig, order: &str, what: &str) {
    let path = format!("/v1/orders/{order}/{what}");
    let (status, answer) = rig.call(&rig.platform, Method::POST, &path, json!({})).await;
    assert_eq!(status, 200, "{answer}");
}

/// The warnings in the feed as the platform sees it: the order, and the cutoff.
async fn warned(rig: &Rig) -> Vec<(String, Value)> {
    let (status, page) = rig.call(&rig.platform, Method::GET, "/v1/events?limit=200", Value::Null).await;
    assert_eq!(status, 200, "{page}");
    let events = page["events"].as_array().unwrap().iter();
    let warned = events.filter(|event| event["kind"] == "order.cutoff_near");
    warned
        .map(|event| {
            assert_eq!(event["orders"], json!([event["subject"]]));
            (event["subject"].as_str().unwrap().to_owned(), event["detail"].clone())
        })
        .collect()
}

async fn region(rig: &Rig) -> Value {
    rig.clock.advance(std::time::Duration::from_secs(1));
    let (status, board) = rig.call(&rig.ops, Method::GET, "/v1/board", Value::Null).await;
    assert_eq!(status, 200, "{board}");
    board["regions"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_would_miss_a_cutoff_are_told_everywhere() {
    let database = postgres::database().await;
    for database in [None, Some(database.url.as_str())] {
        let mut rig = rig(database).await;
        // With replicas the log is looked at three times a second: too often for a clock that leaps.
        let receiver = Receiver::start().await;
        let mut told_at = None;
        if database.is_none() {
            told_at = Some(endpoint(&rig, &receiver.url, json!({"events": ["order.cutoff_near"]})).await);
        }
        let (first, held) = (unpaid(&rig, "A-1").await, rig.order("A-2").await);
        let fine = rig.order("A-3").await;
        change(&rig, &held, "review").await;
        // The board is asked a second later.
        rig.go_to("2026-11-21T20:59:50Z").await;
        assert_eq!(warned(&rig).await, []);
        assert_eq!(region(&rig).await["will_miss"], Value::Null);
        rig.go_to("2026-11-21T21:00:01Z").await;
        let mut told = warned(&rig).await;
        told.sort_by(|a, b| a.0.cmp(&b.0));
        let detail = |because: &str| {
            json!({"because": [because], "closes_at": "2026-11-21T22:00:00Z",
                "closes_at_local": "2026-11-22T00:00:00+02:00[Europe/Helsinki]"})
        };
        let mut expected = [(first.clone(), detail("unpaid")), (held.clone(), detail("in_review"))];
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(told, expected);
        receiver.has(if database.is_none() { 2 } else { 0 }).await;
        for one in receiver.got() {
            let because = if one.order() == first { "unpaid" } else { "in_review" };
            let warning = json!({"closes_at": "2026-11-21T22:00:00Z", "because": [because]});
            assert_eq!((one.kind(), &one.body["data"]["warning"]), ("order.cutoff_near", &warning));
        }
        if let Some(endpoint) = told_at {
            let path = format!("/v1/webhooks/{endpoint}");
            assert_eq!(rig.call(&rig.platform, Method::DELETE, &path, Value::Null).await.0, 204);
        }
        let row = region(&rig).await;
        let missed = json!({"closes_at": "2026-11-21T22:00:00Z", "orders": 2, "because": {"unpaid": 1, "in_review": 1}});
        assert_eq!((&row["will_miss"], &row["level"]), (&missed, &json!("watch")));
        let alert = &row["alerts"][0];
        assert_eq!((&alert["kind"], &alert["count"]), (&json!("will_miss"), &json!(2)));
        assert_eq!(
            alert["text"],
            "2 orders will miss it: 1 unpaid, 1 in review. To have them in it: ask the platform for the payment; \
             have the review ended."
        );

        // What is paid for is in time; what is held in the last hour is told soon.
        change(&rig, &first, "pay").await;
        change(&rig, &fine, "hold").await;
        rig.go_to("2026-11-21T21:00:40Z").await;
        assert_eq!(warned(&rig).await.len(), 3);
        let row = region(&rig).await;
        assert_eq!(row["will_miss"]["because"], json!({"on_hold": 1, "in_review": 1}));
        // A restart tells nobody twice, nor does the rest of the hour.
        rig.stop().await;
        rig.start().await;
        rig.go_to("2026-11-21T21:59:59Z").await;
        assert_eq!(warned(&rig).await.len(), 3);
        // The cutoff passes, with what was paid for. The next evening it begins anew.
        rig.go_to("2026-11-21T22:00:10Z").await;
        assert_eq!(rig.read(&first).await["state"], "at_lab");
        assert_eq!(region(&rig).await["will_miss"], Value::Null);
        rig.go_to("2026-11-22T20:59:50Z").await;
        assert_eq!(warned(&rig).await.len(), 3);
        rig.go_to("2026-11-22T21:00:01Z").await;
        let told = warned(&rig).await;
        assert_eq!(told.len(), 5);
        assert!(told[3..].iter().all(|(_, detail)| detail["closes_at"] == "2026-11-22T22:00:00Z"));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gateways_one_warns() {
    let database = postgres::database().await;
    let mut rig = rig(Some(&database.url)).await;
    let mut orders = Vec::new();
    for nth in 0..20 {
        orders.push(unpaid(&rig, &format!("A-{nth}")).await);
    }
    let other = rig.another(23).await;
    rig.go_to("2026-11-21T21:30:00Z").await;
    tokio::time::timeout(std::time::Duration::from_secs(30), other.bench.bells.settled(at_now(&rig)))
        .await
        .expect("it settles");
    let mut told: Vec<String> = warned(&rig).await.into_iter().map(|(order, _)| order).collect();
    told.sort();
    orders.sort();
    assert_eq!(told, orders, "each once");
    other.stop().await;
    rig.stop().await;
}

fn at_now(rig: &Rig) -> jiff::Timestamp {
    stoppress::clock::Clock::now(&rig.clock)
}

#[tokio::test]
async fn an_order_of_a_group_is_warned_of_its_own_cutoff() {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    let rig = Rig::new("2026-11-21T14:00:00Z", "http", profile, json!({})).await;
    let calendar = |time: &str| json!({"time_zone": "Europe/Helsinki", "cutoffs": [time]});
    let mut spec = json!({"id": "nordprint", "name": "Nordprint", "regions": [{"id": "fi",
        "calendar": calendar("24:00"),
        "groups": [{"id": "mugs", "products": ["mug"], "calendar": calendar("18:00")}]}]});
    for field in ["driver", "profile"] {
        spec[field] = lab(&rig).await[field].clone();
    }
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", spec).await;
    assert_eq!(status, 200, "{answer}");
    let print = unpaid(&rig, "A-1").await;
    let mut mugs = Vec::new();
    for (reference, skus) in [("A-2", vec!["mug"]), ("A-3", vec!["print", "mug"])] {
        let item = |sku: &&str| json!({"id": sku, "sku": sku, "quantity": 1});
        let order = json!({"reference": reference, "lab": "nordprint", "payment": "awaiting",
            "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
            "items": skus.iter().map(item).collect::<Vec<_>>()});
        let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
        assert_eq!(status, 201, "{answer}");
        mugs.push(answer["id"].as_str().unwrap().to_owned());
    }
    let told = async |from: usize| {
        let told = warned(&rig).await.split_off(from).into_iter();
        let mut told: Vec<(String, Value)> =
            told.map(|(order, detail)| (order, detail["closes_at"].clone())).collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        told
    };
    rig.go_to("2026-11-21T15:00:01Z").await;
    // The mixed one as well: paid for now, it would go with the mugs.
    mugs.sort();
    let evening = mugs.iter().map(|order| (order.clone(), json!("2026-11-21T16:00:00Z"))).collect::<Vec<_>>();
    assert_eq!(told(0).await, evening);
    let (_, board) = rig.call(&rig.ops, Method::GET, "/v1/board", Value::Null).await;
    let row = board["regions"].as_array().unwrap().iter().find(|row| row["region"] == "fi.mugs").unwrap();
    assert_eq!(row["will_miss"]["orders"], 2, "{row}");
    rig.go_to("2026-11-21T21:00:01Z").await;
    assert_eq!(told(2).await, [(print, json!("2026-11-21T22:00:00Z"))]);
}

#[tokio::test]
async fn a_region_says_how_long_before() {
    let rig = rig(None).await;
    let (_, lab) = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await;
    assert_eq!(lab["regions"][0]["warn_before"], "1h");
    let put = async |warn_before: &str| {
        let mut lab = json!({"id": "nordprint", "name": "Nordprint"});
        for field in ["driver", "profile"] {
            lab[field] = self::lab(&rig).await[field].clone();
        }
        lab["regions"] = json!([{"id": "fi", "warn_before": warn_before,
            "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]);
        rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", lab).await
    };
    let (status, said) = put("25h").await;
    assert_eq!((status, &said["errors"][0]["field"]), (422, &json!("regions[0].warn_before")), "{said}");
    unpaid(&rig, "A-1").await;
    assert_eq!(put("0s").await.0, 200);
    rig.go_to("2026-11-21T21:50:00Z").await;
    assert_eq!(warned(&rig).await, [], "not at all");
    // Another time is taken as soon as it is looked at again.
    assert_eq!(put("5m").await.0, 200);
    rig.go_to("2026-11-21T21:54:59Z").await;
    assert_eq!(warned(&rig).await, []);
    rig.go_to("2026-11-21T21:55:00Z").await;
    assert_eq!(warned(&rig).await.len(), 1);
}

async fn lab(rig: &Rig) -> Value {
    rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await.1
}
