//! What the systems of this field do, one test a sentence: through the public API, against a whole gateway with
//! simulated labs. `src/cases.md` is the table of them; [`table`] keeps it whole.

mod back_office;
mod immediate;
mod network;
mod portal;
mod self_service;
mod table;

use hyper::http::Method;
use serde_json::{Value, json};

use crate::rig::Rig;

/// The evening before a cutoff of the rig's lab in Helsinki, which is at 22:00 UTC.
const EVENING: &str = "2026-11-21T20:00:00Z";
/// Just after that cutoff.
const AFTER: &str = "2026-11-21T22:00:05Z";

/// What a good lab can do.
fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

/// A gateway with a lab that behaves like this.
async fn rig(behaviour: Value) -> Rig {
    Rig::new(EVENING, "http", good(), behaviour).await
}

/// The platform's rules from now on.
async fn policy(rig: &Rig, policy: Value) {
    let spec = json!({"id": "acme", "name": "Acme Photo", "policy": policy});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/platforms/acme", spec).await;
    assert!(status < 300, "{answer}");
}

/// Changes the definition of the lab.
async fn lab(rig: &Rig, change: impl FnOnce(&mut Value)) {
    let (_, mut spec) = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await;
    for shown in ["version", "paused_at", "pause_reason", "updated_at", "health"] {
        spec.as_object_mut().unwrap().remove(shown);
    }
    change(&mut spec);
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", spec).await;
    assert_eq!(status, 200, "{answer}");
}

/// An order of a platform.
fn order(reference: &str) -> Value {
    json!({"reference": reference, "lab": "nordprint",
        "ship_to": {"name": "Aino", "line1": "Katu 1", "postal_code": "00100", "city": "Helsinki", "country": "FI"},
        "items": [{"id": "1", "sku": "print-10x15", "quantity": 2}]})
}

/// Sends an order; gives its id.
async fn sent(rig: &Rig, order: Value) -> String {
    let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// Does something with an order as the platform; gives the status and the answer.
async fn act(rig: &Rig, order: &str, what: &str, body: Value) -> (u16, Value) {
    rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/{what}"), body).await
}

/// The verdict on an order.
async fn verdict(rig: &Rig, order: &str) -> Value {
    let path = format!("/v1/orders/{order}/verdict");
    let (status, verdict) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{verdict}");
    verdict
}

/// Whether it can be stopped, and why.
async fn can_stop(rig: &Rig, order: &str) -> (String, String) {
    let verdict = verdict(rig, order).await;
    let word = |field: &str| verdict[field].as_str().unwrap().to_owned();
    (word("can_stop"), word("reason"))
}

/// A pair of words.
fn words(can_stop: &str, reason: &str) -> (String, String) {
    (can_stop.to_owned(), reason.to_owned())
}
