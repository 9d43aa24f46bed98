//! Stops of lines through a whole gateway, against the ledger of a lab: what is told stopped is never printed, and
//! the rest once.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use stoppress::cli::simulate::ledger::What;
use stoppress::lab::outbound::{Outbound, Request};

use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn profile(stops_lines: bool) -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "stops_lines": stops_lines, "answers_within": "30m"})
}

async fn three(rig: &Rig, reference: &str) -> String {
    let order = json!({"reference": reference, "lab": "nordprint",
    "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
    "items": [
        {"id": "1", "sku": "mug", "quantity": 2, "personalised": true},
        {"id": "2", "sku": "frame", "quantity": 1},
        {"id": "3", "sku": "print", "quantity": 4},
    ]});
    let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn ask(rig: &Rig, order: &str, body: Value) -> (u16, Value) {
    rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/stop"), body).await
}

async fn stop_of(rig: &Rig, order: &str) -> Value {
    rig.call(&rig.platform, Method::GET, &format!("/v1/orders/{order}/stop"), Value::Null).await.1
}

/// What the lab printed of an order, by line.
fn printed(rig: &Rig, order: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for entry in rig.lab.ledger().entries() {
        if let What::Printed { order: printed, lines, .. } = &entry.what
            && printed == order
        {
            for (line, copies) in lines {
                *all.entry(line.clone()).or_default() += copies;
            }
        }
    }
    all
}

fn lines(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(line, copies)| ((*line).to_owned(), *copies)).collect()
}

/// A receipt as text.
async fn text(rig: &Rig, path: &str) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", rig.platform)).unwrap());
    headers.insert("accept", HeaderValue::from_static("text/plain"));
    let request = Request {
        method: Method::GET,
        url: format!("{}{path}", rig.running.as_ref().unwrap().url()).parse().unwrap(),
        headers,
        body: Vec::new(),
        timeout: Duration::from_secs(20),
        body_max: 1 << 20,
    };
    let response = Outbound::trusted().unwrap().call(request).await.unwrap();
    assert_eq!(
        (response.status, &response.headers["content-type"]),
        (200, &HeaderValue::from_static("text/plain; charset=utf-8"))
    );
    String::from_utf8(response.body).unwrap()
}

#[tokio::test]
async fn what_is_stopped_in_house_is_never_handed_over_and_the_rest_is_printed_once() {
    let rig = Rig::new(EVENING, "http", profile(false), json!({"prints_after": "1m"})).await;
    let policy = json!({"refund": "automatic", "restock": true, "reasons": ["wrong size"]});
    let platform = json!({"id": "acme", "name": "Acme", "policy": policy});
    rig.call(&rig.ops, Method::PUT, "/v1/platforms/acme", platform).await;
    let order = three(&rig, "A-1").await;

    // Shown before: each line, and where each rule comes from.
    let (_, verdict) =
        rig.call(&rig.platform, Method::GET, &format!("/v1/orders/{order}/verdict"), Value::Null).await;
    let line = |item: &str, restock: bool, withdrawal: &str| json!({"item": item, "can_stop": "yes", "reason": "as_order", "restock": restock, "withdrawal": withdrawal});
    let all = json!([line("1", false, "until_made"), line("2", true, "applies"), line("3", true, "applies")]);
    assert_eq!(verdict["lines"], all);
    let from = |rule: &str| {
        let rules = verdict["policy"].as_array().unwrap();
        let found = rules.iter().find(|known| known["rule"] == rule).unwrap_or_else(|| panic!("{rule}"));
        (found["value"].as_str().unwrap().to_owned(), found["source"].as_str().unwrap().to_owned())
    };
    for (rule, value, source) in [
        ("refund", "automatic", "platform"),
        ("service_fee", "kept", "default"),
        ("restock", "true", "platform"),
        ("reasons", "wrong size", "platform"),
        ("stops", "yes", "lab"),
        ("stops_lines", "false", "default"),
        ("stops_via", "lab", "default"),
        ("cutoff", "regular 24:00", "calendar"),
    ] {
        assert_eq!(from(rule), (value.to_owned(), source.to_owned()), "{rule}");
    }

    for (body, field) in [
        (json!({"items": []}), "items"),
        (json!({"items": ["1", "9"]}), "items[1]"),
        (json!({"items": ["1", "2", "1"]}), "items[2]"),
        (json!({"items": ["1"], "requested_by": "x".repeat(201)}), "requested_by"),
    ] {
        let (status, problem) = ask(&rig, &order, body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{problem}");
    }
    let body = json!({"items": ["2"], "reason": "the dog ate it", "requested_by": "m.virtanen", "asked_by": "merchant"});
    let (status, answer) = ask(&rig, &order, body.clone()).await;
    let stop = &answer["stop"];
    assert_eq!(
        (status, &stop["state"], &stop["evidence"]),
        (200, &json!("stopped_in_part"), &json!("never_handed"))
    );
    assert_eq!((&stop["items"], &stop["requested_by"]), (&json!(["2"]), &json!("m.virtanen")));
    let told = json!({"refund": "automatic", "service_fee": "kept", "restock": ["2"], "exempt": [], "reason_offered": false});
    assert_eq!(stop["consequences"], told);
    assert_eq!(answer["verdict"]["lines"][1]["reason"], "already_stopped");
    assert_eq!((&answer["verdict"]["can_stop"], &answer["parts"][0]["id"]), (&json!("yes"), &stop["id"]));
    let (status, again) = ask(&rig, &order, body).await;
    assert_eq!((status, &again["stop"]["id"]), (200, &stop["id"]));
    let read = rig.read(&order).await;
    assert_eq!(
        (&read["state"], &read["lines_out"], &read["stop"]),
        (&json!("in_batch"), &json!(["2"]), &Value::Null)
    );

    // Another policy since: what was told stays told.
    let platform = json!({"id": "acme", "name": "Acme", "policy": {"refund": "outside"}});
    rig.call(&rig.ops, Method::PUT, "/v1/platforms/acme", platform).await;
    assert_eq!(stop_of(&rig, &order).await["stop"]["consequences"], told);

    let path = format!("/v1/orders/{order}/stop/receipt");
    let (status, receipt) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{receipt}");
    let outcomes: Vec<_> =
        receipt["lines"].as_array().unwrap().iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["goes_on", "stopped", "goes_on"]);
    assert!(receipt["lines"][0]["exemption"].as_str().unwrap().contains("no right of withdrawal"));
    let (_, log) =
        rig.call(&rig.platform, Method::GET, &format!("/v1/orders/{order}/changelog"), Value::Null).await;
    let hashes: Vec<_> = log["events"].as_array().unwrap().iter().map(|event| &event["hash"]).collect();
    assert!(hashes.contains(&&receipt["proof"]["hash"]), "{receipt}");
    let text = text(&rig, &path).await;
    assert!(text.contains("Of the order, line 2 is stopped and will not be printed"), "{text}");
    assert!(text.contains(receipt["proof"]["hash"].as_str().unwrap()), "{text}");
    let other = format!("{path}?stop=stp_{}", "0".repeat(32));
    assert_eq!(rig.call(&rig.platform, Method::GET, &other, Value::Null).await.0, 404);

    rig.go_to("2026-11-21T22:10:00Z").await;
    assert_eq!(printed(&rig, &order), lines(&[("1", 2), ("3", 4)]));
    assert_eq!(rig.prints(&order), 1);
}

#[tokio::test]
async fn a_lab_that_stops_lines_takes_them_out_whatever_it_is_asked_over() {
    for (driver, behaviour) in [
        ("http", json!({"prints_after": "10m"})),
        ("grpc", json!({"prints_after": "10m"})),
        ("http", json!({"prints_after": "10m", "loses_answers": 0.5})),
    ] {
        let rig = Rig::new(EVENING, driver, profile(true), behaviour.clone()).await;
        let (order, other) = (three(&rig, "A-1").await, three(&rig, "A-2").await);
        rig.go_to("2026-11-21T22:01:00Z").await;
        let (status, answer) = ask(&rig, &order, json!({"items": ["3", "1"]})).await;
        assert!(matches!(status, 200 | 202), "{answer}");
        rig.go_to("2026-11-21T22:05:00Z").await;
        let stands = stop_of(&rig, &order).await;
        assert_eq!(
            (&stands["stop"]["state"], &stands["stop"]["evidence"]),
            (&json!("stopped_in_part"), &json!("lab_removed")),
            "{driver} {behaviour} {stands}"
        );
        assert_eq!(rig.read(&order).await["lines_out"], json!(["1", "3"]));
        rig.go_to("2026-11-21T22:30:00Z").await;
        assert_eq!(printed(&rig, &order), lines(&[("2", 1)]), "{driver}");
        assert_eq!(printed(&rig, &other), lines(&[("1", 2), ("2", 1), ("3", 4)]), "{driver}");
        assert_eq!((rig.prints(&order), rig.prints(&other)), (1, 1));
        // What was made is too late, and says so of every line.
        let (status, late) = ask(&rig, &other, json!({"items": ["2"]})).await;
        rig.go_to("2026-11-21T22:40:00Z").await;
        let state = stop_of(&rig, &other).await["stop"]["state"].clone();
        assert_eq!(state, "too_late", "{status} {late}");
    }
}

#[tokio::test]
async fn a_lab_that_dials_out_is_asked_for_lines_and_may_answer_later() {
    for behaviour in [json!({"prints_after": "20m"}), json!({"prints_after": "20m", "answers_late": "1m"})] {
        let rig = Rig::new(EVENING, "link", profile(true), behaviour.clone()).await;
        let key = rig.lab_key("nordprint").await;
        rig.dial(rig.running.as_ref().unwrap(), &key, 8).await;
        let order = three(&rig, "A-1").await;
        rig.go_to("2026-11-21T22:01:00Z").await;
        ask(&rig, &order, json!({"items": ["2"]})).await;
        rig.go_to("2026-11-21T22:05:00Z").await;
        let mut state = Value::Null;
        for _ in 0..200 {
            state = stop_of(&rig, &order).await["stop"]["state"].clone();
            if state == "stopped_in_part" {
                break;
            }
            crate::grpc_support::breathe(50).await;
        }
        assert_eq!(state, "stopped_in_part", "{behaviour}");
        rig.go_to("2026-11-21T22:30:00Z").await;
        assert_eq!(printed(&rig, &order), lines(&[("1", 2), ("3", 4)]), "{behaviour}");
    }
}

#[tokio::test]
async fn a_lab_that_takes_out_more_than_it_was_asked_is_not_believed() {
    let rig = Rig::new(EVENING, "http", profile(true), json!({"prints_after": "1h", "stops": "whole"})).await;
    let order = three(&rig, "A-1").await;
    rig.go_to("2026-11-21T22:01:00Z").await;
    ask(&rig, &order, json!({"items": ["2"]})).await;
    rig.go_to("2026-11-21T22:10:00Z").await;
    assert_eq!(stop_of(&rig, &order).await["stop"]["state"], "pending");
    // By the deadline a person finds out.
    rig.go_to("2026-11-21T22:35:00Z").await;
    let stands = stop_of(&rig, &order).await;
    assert_eq!(stands["stop"]["state"], "with_a_person", "{stands}");
    assert_eq!(rig.read(&order).await["lines_out"], Value::Null);
}

#[tokio::test]
async fn where_a_lab_stops_whole_orders_the_refusal_says_what_can_be_done() {
    let rig = Rig::new(EVENING, "http", profile(false), json!({"prints_after": "1h"})).await;
    let order = three(&rig, "A-1").await;
    rig.go_to(CUTOFF).await;
    rig.go_to("2026-11-21T22:01:00Z").await;
    let before = rig.kinds(&order).await;
    let (status, problem) = ask(&rig, &order, json!({"items": ["2"]})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("not_allowed")));
    assert!(problem["detail"].as_str().unwrap().contains("whole order"), "{problem}");
    assert_eq!(rig.kinds(&order).await, before, "nothing was changed");
    let read = rig.read(&order).await;
    assert_eq!(read["verdict"]["lines"][0]["reason"], "whole_order_only");
    let (status, answer) = ask(&rig, &order, json!({})).await;
    assert!(matches!(status, 200 | 202), "{answer}");
    rig.go_to("2026-11-21T22:02:00Z").await;
    assert_eq!(stop_of(&rig, &order).await["stop"]["state"], "stopped");
    assert_eq!(printed(&rig, &order), BTreeMap::new());
    // A profile must not say that it can what nobody answers.
    let lab = json!({"id": "other", "name": "Other", "driver": {"kind": "http", "base_url": "http://127.0.0.1:9"},
        "profile": {"stops": "final_on_receipt", "stops_lines": true},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    let (status, problem) = rig.call(&rig.ops, Method::PUT, "/v1/labs/other", lab).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("profile.stops_lines")), "{problem}");
}
