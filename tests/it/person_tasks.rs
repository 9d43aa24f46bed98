//! Stops as tasks of a lab's people: the list, the answer, and the definition of who they are.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::api::Bench;
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn lab(id: &str, profile: &Value, policy: &Value) -> Value {
    json!({"id": id, "name": id, "driver": {"kind": "person"}, "profile": profile, "policy": policy,
        "regions": [{"id": "fi", "countries": ["FI"],
            "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]})
}

#[tokio::test]
async fn a_contact_is_checked_with_its_path() {
    let bench = Bench::new().await;
    let put = |policy: Value, profile: Value| {
        let (bench, body) = (&bench, lab("corner", &profile, &policy));
        async move { bench.put("/v1/labs/corner", &body).await }
    };
    let cases = [
        (json!({"hours": "mo-fr 8-16"}), "policy.contact.hours"),
        (json!({"hours": "mon 08:00-08:10"}), "policy.contact.hours"),
        (json!({"email": "at the counter"}), "policy.contact.email"),
        (json!({"email": "a@b.example", "second_email": "a b@c.example"}), "policy.contact.second_email"),
        (json!({"second_email": "a@b.example"}), "policy.contact.email"),
    ];
    for (contact, field) in cases {
        let body = put(json!({"contact": contact}), json!({})).await.problem(422, "invalid");
        let fields: Vec<&str> =
            body["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(fields, [field], "{contact}: {body}");
    }
    let unknown = put(json!({}), json!({"channel": "pigeon"})).await.problem(422, "invalid");
    assert_eq!(unknown["errors"][0]["field"], "profile.channel", "{unknown}");
    let good = json!({"contact": {"email": "a@b.example", "second_email": "c@b.example",
        "hours": "mon-thu 08:00-16:00, fri 08:00-12:00"}});
    put(good, json!({"channel": "person"})).await.is(201);
}

#[tokio::test]
async fn the_list_shows_what_is_most_urgent_first_with_items_and_time_left() {
    let profile = json!({"stops": "no", "channel": "person", "answers_within": "40m"});
    let rig = Rig::new(EVENING, "http", profile, json!({})).await;
    let key = json!({"scope": "lab", "owner": "nordprint", "name": "desk"});
    let (_, made) = rig.call(&rig.ops, Method::POST, "/v1/keys", key).await;
    let desk = made["secret"].as_str().unwrap().to_owned();
    let mut orders = Vec::new();
    for nth in 0..5 {
        orders.push(rig.order(&format!("A-{nth}")).await);
    }
    rig.go_to(CUTOFF).await;
    // Asked in another order than they were submitted in, one second after the other.
    let asked = [3, 0, 4, 1];
    for (second, nth) in asked.iter().enumerate() {
        rig.go_to(&format!("2026-11-21T22:00:0{second}Z")).await;
        assert_eq!(rig.ask(&orders[*nth]).await.0, 202);
    }
    rig.go_to("2026-11-21T22:00:10Z").await;
    let list = async |query: &str| {
        rig.call(&desk, Method::GET, &format!("/v1/lab/stops{query}"), Value::Null).await.1
    };
    let whole = list("").await;
    let references = |page: &Value| -> Vec<String> {
        page["stops"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["reference"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(references(&whole), ["A-3", "A-0", "A-4", "A-1"], "{whole}");
    let first = &whole["stops"][0];
    assert_eq!(first["ordered"], json!([{"id": "1", "sku": "print", "quantity": 1}]));
    assert_eq!((&first["seconds_left"], &first["region"]), (&json!(40 * 60 - 10), &json!("fi")));
    assert_eq!(
        (&first["state"], &first["answer_due_at"]),
        (&json!("pending"), &json!("2026-11-21T22:40:00Z"))
    );
    assert_eq!(first["order"], orders[3]);
    // Page by page it is the same list.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("?limit=3{cursor}")).await;
        paged.extend(references(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, references(&whole));
    let (status, _) = rig.call(&desk, Method::GET, "/v1/lab/stops?cursor=x", Value::Null).await;
    assert_eq!(status, 422);

    // One call answers; a person did.
    let path = format!("/v1/lab/stops/{}/answer", first["id"].as_str().unwrap());
    let (status, answer) =
        rig.call(&desk, Method::POST, &path, json!({"answer": "removed", "reason": "taken out"})).await;
    assert_eq!((status, &answer["stop"]["evidence"]), (200, &json!("person_confirmed")), "{answer}");
    assert_eq!(rig.read(&orders[3]).await["stop"]["state"], "stopped");
    assert_eq!(references(&list("").await), ["A-0", "A-4", "A-1"], "what is decided is no task");
    assert_eq!(references(&list("?state=stopped").await), ["A-3"]);
    // The machine was never asked, though it is there.
    rig.go_to("2026-11-21T22:40:02Z").await;
    assert_eq!(references(&list("?state=with_a_person").await), ["A-0", "A-4"]);
    assert_eq!(references(&list("?state=pending").await), ["A-1"]);
    assert!(!rig.kinds(&orders[0]).await.iter().any(|kind| kind == "stop.forwarded"));
    let late = list("").await;
    assert!(late["stops"][0]["seconds_left"].as_i64().unwrap() < 0, "{late}");
}

#[tokio::test]
async fn hours_that_were_stored_before_they_had_a_form_do_no_harm() {
    use stoppress::domain::lab::{Lab, LabSpec};
    use stoppress::domain::zones::Zones;
    let spec: LabSpec =
        serde_json::from_value(lab("old", &json!({}), &json!({"contact": {"hours": "office hours"}})))
            .unwrap();
    let now = crate::rig::at(EVENING);
    assert!(Lab::build(spec.clone(), &Zones::bundled(), now).is_err());
    let stored = Lab::build_stored(spec, &Zones::bundled(), now).unwrap();
    assert_eq!(stored.hours, None);
}
