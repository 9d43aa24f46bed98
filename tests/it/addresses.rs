//! Another address for an order that its lab has, through a whole gateway and over every way to a lab: the platform is
//! told what the lab has said, and nothing before.

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::cli::simulate::addresses::AddressSaid;
use stoppress::cli::simulate::ledger::What;

use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";
const NIGHT: &str = "2026-11-21T22:05:00Z";

fn profile() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "address_changes": "until_printed",
        "answers_within": "30m"})
}

fn street(line1: &str) -> Value {
    json!({"name": "Aino", "line1": line1, "city": "Helsinki", "country": "FI"})
}

async fn admit(rig: &Rig, reference: &str) -> String {
    let order = json!({"reference": reference, "lab": "nordprint", "ship_to": street("Katu 1"),
        "items": [{"id": "1", "sku": "print", "quantity": 2}]});
    let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn patch(rig: &Rig, order: &str, body: Value) -> (u16, Value) {
    rig.call(&rig.platform, Method::PATCH, &format!("/v1/orders/{order}"), body).await
}

async fn moves(rig: &Rig, order: &str, line1: &str) -> (u16, Value) {
    patch(rig, order, json!({"ship_to": street(line1), "reason": "the customer moved"})).await
}

/// What the lab said of addresses of an order, and of which.
fn said(rig: &Rig, order: &str) -> Vec<(String, AddressSaid)> {
    let ledger = rig.lab.ledger();
    let of = |what: &What| match what {
        What::AddressAnswered { order: of, to, answer, .. } if of == order => Some((to.clone(), *answer)),
        _ => None,
    };
    ledger.entries().iter().filter_map(|entry| of(&entry.what)).collect()
}

async fn address_kinds(rig: &Rig, order: &str) -> Vec<String> {
    let mut kinds = rig.kinds(order).await;
    kinds.retain(|kind| kind.starts_with("address."));
    kinds
}

/// A gateway whose lab is reached so.
async fn rig(driver: &str, behaviour: Value) -> Rig {
    let rig = Rig::new(EVENING, driver, profile(), behaviour).await;
    if driver == "link" {
        let key = rig.lab_key("nordprint").await;
        rig.dial(rig.running.as_ref().unwrap(), &key, 4).await;
    }
    rig
}

#[tokio::test]
async fn a_lab_that_takes_another_address_is_asked_over_each_way() {
    for driver in ["http", "grpc", "link"] {
        let rig = rig(driver, json!({"prints_after": "1h"})).await;
        let order = admit(&rig, "A-1").await;
        // In the house it is the platform's.
        let (status, changed) = moves(&rig, &order, "Katu 2").await;
        assert_eq!((status, &changed["ship_to"]["line1"]), (200, &json!("Katu 2")), "{driver}: {changed}");
        assert_eq!(changed["address_change"], Value::Null);
        rig.go_to(NIGHT).await;
        let there = rig.read(&order).await;
        assert_eq!(
            (&there["state"], &there["verdict"]["can_change"]),
            (&json!("at_lab"), &json!(["shipping_address"]))
        );
        let rules = there["verdict"]["policy"].as_array().unwrap();
        assert!(
            rules.iter().any(|rule| rule["rule"] == "address_changes" && rule["value"] == "until_printed")
        );

        let (status, asked) = moves(&rig, &order, "Kanavakatu 99").await;
        assert_eq!((status, &asked["address_change"]["state"]), (202, &json!("asked")), "{driver}: {asked}");
        assert_eq!(asked["ship_to"]["line1"], "Katu 2", "the lab has not said so");
        assert_eq!(asked["address_change"]["answer_due_at"], "2026-11-21T22:35:00Z");
        assert_eq!(asked["verdict"]["can_change"], json!([]));
        rig.settle().await;
        let now = rig.read(&order).await;
        let change = &now["address_change"];
        assert_eq!(
            (&change["state"], &change["evidence"]),
            (&json!("taken"), &json!("lab_took")),
            "{driver}: {now}"
        );
        assert_eq!((&change["id"], &change["answer_due_at"]), (&asked["address_change"]["id"], &Value::Null));
        assert_eq!(now["ship_to"]["line1"], "Kanavakatu 99");
        assert_eq!(said(&rig, &order), [("Kanavakatu 99".to_owned(), AddressSaid::Taken)]);
        assert_eq!(
            address_kinds(&rig, &order).await,
            ["address.asked", "address.forwarded", "address.taken"]
        );
        // The same again is so already; and the log has no address.
        let (status, again) = moves(&rig, &order, "Kanavakatu 99").await;
        assert_eq!((status, &again["address_change"]["id"]), (200, &change["id"]), "{again}");
        let path = format!("/v1/orders/{order}/changelog");
        let (_, log) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
        assert!(!log.to_string().contains("Kanavakatu"), "{log}");
        // Once more: another question.
        let (status, asked) = moves(&rig, &order, "Toinen katu 5").await;
        assert_eq!(status, 202, "{asked}");
        assert_ne!(asked["address_change"]["id"], change["id"]);
        rig.settle().await;
        assert_eq!(rig.read(&order).await["ship_to"]["line1"], "Toinen katu 5");
        assert_eq!(rig.prints(&order), 0);
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_the_address_changes_once() {
    for driver in ["http", "grpc", "link"] {
        let mut rig = rig(driver, json!({"prints_after": "2h"})).await;
        let order = admit(&rig, "A-1").await;
        rig.go_to(NIGHT).await;
        rig.lab.set_behaviour(
            serde_json::from_value(json!({"prints_after": "2h", "loses_answers": 1.0})).unwrap(),
        );
        moves(&rig, &order, "Kanavakatu 99").await;
        rig.settle().await;
        let lost = rig.read(&order).await;
        assert_eq!(
            (&lost["address_change"]["state"], &lost["ship_to"]["line1"]),
            (&json!("asked"), &json!("Katu 1")),
            "{driver}: the lab has taken it, and nobody here knows: {lost}"
        );
        assert_eq!(said(&rig, &order)[0].1, AddressSaid::Taken);
        // The gateway ends in the middle; the next start asks again, under the same id.
        rig.stop().await;
        rig.lab.set_behaviour(serde_json::from_value(json!({"prints_after": "2h"})).unwrap());
        rig.start().await;
        if driver == "link" {
            let key = rig.lab_key("nordprint").await;
            rig.dial(rig.running.as_ref().unwrap(), &key, 4).await;
        }
        rig.go_to("2026-11-21T22:20:00Z").await;
        let now = rig.read(&order).await;
        assert_eq!(
            (&now["address_change"]["state"], &now["ship_to"]["line1"]),
            (&json!("taken"), &json!("Kanavakatu 99")),
            "{driver}: {now}"
        );
        assert!(said(&rig, &order).len() >= 2);
        assert!(
            said(&rig, &order).iter().all(|said| *said == ("Kanavakatu 99".to_owned(), AddressSaid::Taken))
        );
        let kinds = address_kinds(&rig, &order).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "address.taken").count(), 1, "{kinds:?}");
    }
}

/// Its lane closed over the hand-over, and nothing else is asked there for the rest of the night.
#[tokio::test]
async fn a_lab_that_did_not_answer_is_asked_again_though_nothing_else_is() {
    let rig = rig("http", json!({"prints_after": "4h", "loses_answers": 1.0})).await;
    let order = admit(&rig, "A-1").await;
    rig.go_to("2026-11-21T22:15:00Z").await;
    let (_, lab) = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await;
    assert!(lab["health"]["lane"]["closed_until"].is_string(), "{lab}");
    // The lab says by itself that it has the order.
    let key = rig.lab_key("nordprint").await;
    let path = format!("/v1/lab/orders/{order}/status");
    let (status, answer) = rig.call(&key, Method::POST, &path, json!({"stage": "received"})).await;
    assert_eq!(status, 200, "{answer}");
    rig.lab.set_behaviour(serde_json::from_value(json!({"prints_after": "4h"})).unwrap());
    rig.go_to("2026-11-21T22:40:00Z").await;
    assert_eq!(moves(&rig, &order, "Kanavakatu 99").await.0, 202);
    rig.go_to("2026-11-21T22:46:00Z").await;
    let now = rig.read(&order).await;
    assert_eq!(now["address_change"]["state"], "taken", "{now}");
    assert_eq!(said(&rig, &order), [("Kanavakatu 99".to_owned(), AddressSaid::Taken)]);
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_with_its_reason() {
    let rig = rig("http", json!({"prints_after": "30m", "addresses": "later"})).await;
    let order = admit(&rig, "A-1").await;
    rig.go_to(NIGHT).await;
    let abroad = json!({"name": "Aino", "line1": "Gata 1", "city": "Umeå", "country": "SE"});
    let (status, problem) = patch(&rig, &order, json!({"ship_to": abroad})).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("ship_to.country")), "{problem}");
    assert!(problem["errors"][0]["message"].as_str().unwrap().contains("FI"), "{problem}");
    let (status, problem) = moves(&rig, &order, "").await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("ship_to.line1")), "{problem}");
    let both = json!({"ship_to": street("Katu 3"), "bill_to": null});
    let (status, problem) = patch(&rig, &order, both).await;
    assert_eq!((status, &problem["code"]), (409, &json!("not_allowed")), "{problem}");
    assert_eq!(problem["can_change"], json!(["shipping_address"]));

    // One at a time: the lab hears, and does not decide.
    let (status, asked) = moves(&rig, &order, "Katu 3").await;
    assert_eq!(status, 202, "{asked}");
    let (status, same) = moves(&rig, &order, "Katu 3").await;
    assert_eq!((status, &same["address_change"]["id"]), (202, &asked["address_change"]["id"]));
    let (status, problem) = moves(&rig, &order, "Katu 4").await;
    assert_eq!((status, &problem["code"]), (409, &json!("address_change_open")), "{problem}");
    assert_eq!(problem["change"], asked["address_change"]["id"]);

    // The lab never decides: a person does, and tells how they know.
    rig.go_to("2026-11-21T22:40:00Z").await;
    let now = rig.read(&order).await;
    assert_eq!(
        (&now["address_change"]["state"], &now["address_change"]["evidence"]),
        (&json!("with_a_person"), &json!("no_answer")),
        "{now}"
    );
    let (_, open) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    let escalation = &open["escalations"][0];
    assert_eq!((&escalation["kind"], &escalation["order"]), (&json!("address"), &json!(order)));
    let path = format!("/v1/escalations/{}/resolve", escalation["id"].as_str().unwrap());
    let decision =
        json!({"decision": "refused", "reason": "the lab's front desk says that the label was printed"});
    let (status, resolved) = rig.call(&rig.ops, Method::POST, &path, decision).await;
    assert_eq!((status, &resolved["decision"]), (200, &json!("refused")), "{resolved}");
    let now = rig.read(&order).await;
    assert_eq!(
        (&now["address_change"]["state"], &now["address_change"]["evidence"], &now["ship_to"]["line1"]),
        (&json!("refused"), &json!("person_confirmed"), &json!("Katu 1"))
    );
}

#[tokio::test]
async fn a_lab_whose_profile_does_not_say_so_is_never_asked() {
    let plain = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    let rig = Rig::new(EVENING, "http", plain, json!({"prints_after": "1h"})).await;
    let order = admit(&rig, "A-1").await;
    rig.go_to(NIGHT).await;
    assert_eq!(rig.read(&order).await["verdict"]["can_change"], json!([]));
    let (status, problem) = moves(&rig, &order, "Katu 3").await;
    assert_eq!((status, &problem["code"], &problem["state"]), (409, &json!("not_allowed"), &json!("at_lab")));
    rig.settle().await;
    assert_eq!(said(&rig, &order), []);
    // A person is no endpoint.
    let lab = json!({"id": "atelier", "name": "Atelier", "driver": {"kind": "person"},
        "profile": {"address_changes": "until_shipped"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    let (status, problem) = rig.call(&rig.ops, Method::PUT, "/v1/labs/atelier", lab).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &json!("profile.address_changes")),
        "{problem}"
    );
}

#[tokio::test]
async fn what_the_lab_says_is_what_the_platform_is_told() {
    for (driver, addresses, evidence) in [
        ("http", "too_late", "lab_refused"),
        ("grpc", "too_late", "lab_refused"),
        ("link", "too_late", "lab_refused"),
        // It says that it does, and has no such call: refused at once, because nothing of it may have been taken.
        ("http", "no", "lab_refused"),
        ("grpc", "no", "lab_refused"),
        ("link", "no", "lab_refused"),
    ] {
        let rig = rig(driver, json!({"prints_after": "2h", "addresses": addresses})).await;
        let order = admit(&rig, "A-1").await;
        rig.go_to(NIGHT).await;
        assert_eq!(moves(&rig, &order, "Kanavakatu 99").await.0, 202);
        rig.settle().await;
        let now = rig.read(&order).await;
        let change = &now["address_change"];
        assert_eq!(
            (&change["state"], &change["evidence"], &now["ship_to"]["line1"]),
            (&json!("refused"), &json!(evidence), &json!("Katu 1")),
            "{driver} {addresses}: {now}"
        );
    }
    // In production it is too late, and the order is known to be so far.
    let rig = rig("http", json!({"prints_after": "1h", "in_production_for": "59m"})).await;
    let order = admit(&rig, "A-1").await;
    rig.go_to(NIGHT).await;
    assert_eq!(rig.read(&order).await["state"], "at_lab", "the lab has reported nothing");
    assert_eq!(moves(&rig, &order, "Kanavakatu 99").await.0, 202);
    rig.settle().await;
    let now = rig.read(&order).await;
    assert_eq!(
        (&now["address_change"]["state"], &now["address_change"]["evidence"], &now["state"]),
        (&json!("refused"), &json!("in_production"), &json!("in_production")),
        "{now}"
    );
}

#[tokio::test]
async fn an_order_that_is_stopped_goes_nowhere() {
    let rig = rig("http", json!({"prints_after": "2h", "addresses": "later"})).await;
    let order = admit(&rig, "A-1").await;
    rig.go_to(CUTOFF).await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    assert_eq!(moves(&rig, &order, "Kanavakatu 99").await.0, 202);
    rig.ask(&order).await;
    rig.settle().await;
    let now = rig.read(&order).await;
    assert_eq!(
        (&now["state"], &now["address_change"]["state"]),
        (&json!("stopped"), &json!("refused")),
        "{now}"
    );
    assert_eq!(now["address_change"]["evidence"], "order_stopped");
    let (status, problem) = moves(&rig, &order, "Katu 3").await;
    assert_eq!((status, &problem["state"]), (409, &json!("stopped")), "{problem}");
}
