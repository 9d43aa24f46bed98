//! What a lab says and how it works, through the whole gateway: contradictions, reports, customs.

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::cli::simulate::ledger::What;
use stoppress::proto;

use crate::grpc_support::{client, stop, with};
use crate::rig::{Rig, at};

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn able() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

/// A gateway whose lab has that policy and profile.
async fn rig(profile: Value, policy: Value) -> Rig {
    let rig = Rig::new(EVENING, "http", profile, json!({})).await;
    let mut lab = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await.1;
    for field in ["version", "paused_at", "pause_reason", "updated_at", "health"] {
        lab.as_object_mut().unwrap().remove(field);
    }
    lab["policy"] = policy;
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", lab).await;
    assert_eq!(status, 200, "{answer}");
    rig
}

async fn key(rig: &Rig, lab: &str) -> String {
    let body = json!({"scope": "lab", "owner": lab, "name": "test"});
    let (status, made) = rig.call(&rig.ops, Method::POST, "/v1/keys", body).await;
    assert_eq!(status, 201, "{made}");
    made["secret"].as_str().unwrap().to_owned()
}

async fn report(rig: &Rig, key: &str, order: &str, body: Value) -> (u16, Value) {
    rig.call(key, Method::POST, &format!("/v1/lab/orders/{order}/status"), body).await
}

async fn get(rig: &Rig, key: &str, path: &str) -> Value {
    let (status, answer) = rig.call(key, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn asked(rig: &Rig) -> bool {
    rig.lab.ledger().entries().iter().any(|entry| matches!(entry.what, What::StopAsked { .. }))
}

#[tokio::test]
async fn removed_and_then_printed_shows_both() {
    let rig = rig(able(), json!({})).await;
    let lab = key(&rig, "nordprint").await;
    let order = rig.order("A-1").await;
    rig.go_to(CUTOFF).await;
    let (status, _) = rig.ask(&order).await;
    assert_eq!(status, 202);
    rig.settle().await;
    let path = format!("/v1/orders/{order}/stop");
    let before = get(&rig, &rig.platform, &path).await;
    assert_eq!(before["stop"]["evidence"], "lab_removed");
    assert_eq!(before["contradictions"], json!([]));
    rig.go_to("2026-11-21T22:30:00Z").await;
    let body = json!({"stage": "printed", "at": "2026-11-21T22:20:00Z", "reference": "press 3"});
    let (status, answer) = report(&rig, &lab, &order, body.clone()).await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("shipped_anyway")), "{answer}");
    // The lab's program tries again: nothing more.
    assert_eq!(report(&rig, &lab, &order, body).await.1["outcome"], "unchanged");

    let after = get(&rig, &rig.platform, &path).await;
    assert_eq!(after["stop"], before["stop"], "what was told stays told");
    let shown = &after["contradictions"][0];
    assert_eq!(
        (&shown["kind"], &shown["opened_at"]),
        (&json!("shipped_anyway"), &json!("2026-11-21T22:30:00Z"))
    );
    let pieces = shown["evidence"].as_array().unwrap();
    assert_eq!(pieces.len(), 2);
    assert_eq!(
        (&pieces[0]["kind"], &pieces[0]["detail"]["evidence"]),
        (&json!("stop.stopped"), &json!("lab_removed"))
    );
    assert_eq!((&pieces[1]["kind"], &pieces[1]["actor"]), (&json!("order.printed"), &json!("lab:nordprint")));
    assert_eq!(pieces[1]["detail"]["reported_at"], "2026-11-21T22:20:00Z");
    let calls = get(&rig, &rig.ops, "/v1/escalations?open=true").await;
    assert_eq!(calls["escalations"].as_array().unwrap().len(), 1);
    assert_eq!(calls["escalations"][0]["evidence"], shown["evidence"]);
    let read = rig.read(&order).await;
    assert_eq!(read["state"], "stopped");
    assert_eq!(
        read["reports"],
        json!([{"stage": "printed", "reported_at": "2026-11-21T22:20:00Z",
            "received_at": "2026-11-21T22:30:00Z", "reference": "press 3", "contradicts": true}])
    );
    assert!(rig.kinds(&order).await.contains(&"order.printed".to_owned()));
    // A repeat of the stop shows it too.
    let (_, again) = rig.call(&rig.platform, Method::POST, &path, json!({"reason": "again"})).await;
    assert_eq!(again["contradictions"], after["contradictions"]);
    over_grpc(&rig, &order, shown).await;
}

/// The same is told over gRPC.
async fn over_grpc(rig: &Rig, order: &str, shown: &Value) {
    let mut client = client(rig).await;
    let ask = proto::GatewayServiceGetStopRequest { order: order.to_owned() };
    let told = client.get_stop(with(&rig.platform, ask)).await.unwrap().into_inner();
    let [contradiction] = told.contradictions.as_slice() else { panic!("{told:?}") };
    assert_eq!(shown["escalation"], contradiction.escalation);
    assert_eq!((contradiction.kind.as_str(), &contradiction.resolved_at), ("shipped_anyway", &None));
    assert_eq!(contradiction.opened_at.as_ref().unwrap().seconds, at("2026-11-21T22:30:00Z").as_second());
    assert_eq!(shown["cause"], contradiction.cause);
    let pieces = shown["evidence"].as_array().unwrap();
    assert_eq!(contradiction.evidence.len(), pieces.len());
    for (piece, shown) in contradiction.evidence.iter().zip(pieces) {
        assert_eq!((&shown["kind"], &shown["actor"]), (&json!(piece.kind), &json!(piece.actor)));
        assert_eq!(shown["detail"], serde_json::from_str::<Value>(&piece.detail).unwrap());
    }
    let again = client.request_stop(with(&rig.platform, stop(order))).await.unwrap().into_inner();
    assert_eq!(again.contradictions, told.contradictions);
    let ask = proto::GatewayServiceGetOrderRequest { order: order.to_owned() };
    let read = client.get_order(with(&rig.platform, ask)).await.unwrap().into_inner().order.unwrap();
    let [report] = read.reports.as_slice() else { panic!("{read:?}") };
    assert_eq!((report.stage(), report.contradicts), (proto::Stage::Printed, true));
    assert_eq!(report.reference, "press 3");
    let seconds = |at: &Option<prost_types::Timestamp>| at.as_ref().unwrap().seconds;
    assert_eq!(seconds(&report.received_at) - seconds(&report.reported_at), 600);
}

#[tokio::test]
async fn too_late_and_then_removed_shows_both() {
    let rig = rig(able(), json!({})).await;
    let lab = key(&rig, "nordprint").await;
    rig.lab.set_behaviour(serde_json::from_value::<Behaviour>(json!({"stops": "too_late"})).unwrap());
    let order = rig.order("A-1").await;
    rig.go_to(CUTOFF).await;
    let (_, stop) = rig.ask(&order).await;
    rig.settle().await;
    let path = format!("/v1/lab/stops/{}/answer", stop["id"].as_str().unwrap());
    let other = rig
        .call(
            &rig.ops,
            Method::PUT,
            "/v1/labs/other",
            json!({"id": "other", "name": "Other",
            "driver": {"kind": "person"}, "regions": [{"id": "fi",
                "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]}),
        )
        .await;
    assert_eq!(other.0, 201);
    let stranger = key(&rig, "other").await;
    for answer in ["removed", "will_print", "answer_later"] {
        let (status, problem) = rig.call(&stranger, Method::POST, &path, json!({"answer": answer})).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{problem}");
    }
    assert_eq!(report(&rig, &stranger, &order, json!({"stage": "shipped"})).await.0, 404);
    let (status, problem) = rig.call(&lab, Method::POST, &path, json!({"answer": "removed"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("already_decided")), "{problem}");
    assert_eq!(problem["stop"]["state"], "too_late");
    let shown = get(&rig, &rig.platform, &format!("/v1/orders/{order}/stop")).await;
    assert_eq!(shown["stop"]["state"], "too_late");
    assert_eq!(shown["contradictions"][0]["kind"], "contradiction");
    let kinds: Vec<_> = (shown["contradictions"][0]["evidence"].as_array().unwrap().iter())
        .map(|piece| piece["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["stop.too_late", "stop.contradicted"]);
}

#[tokio::test]
async fn reports_move_the_verdict_and_never_back() {
    let rig = rig(able(), json!({})).await;
    let lab = key(&rig, "nordprint").await;
    let order = rig.order("A-1").await;
    rig.go_to(CUTOFF).await;
    assert_eq!(rig.read(&order).await["verdict"]["can_stop"], "ask_lab");
    for (stage, state, can_stop, reason) in [
        ("received", "at_lab", "ask_lab", "at_lab"),
        ("in_production", "in_production", "ask_lab", "in_production"),
        ("printed", "printed", "no", "in_production"),
        ("in_production", "printed", "no", "in_production"),
        ("shipped", "shipped", "no", "shipped"),
        ("printed", "shipped", "no", "shipped"),
    ] {
        assert_eq!(report(&rig, &lab, &order, json!({"stage": stage})).await.0, 200, "{stage}");
        let read = rig.read(&order).await;
        assert_eq!(
            (&read["state"], &read["verdict"]["can_stop"], &read["verdict"]["reason"]),
            (&json!(state), &json!(can_stop), &json!(reason)),
            "{stage}"
        );
    }
    for at in ["2036-11-21T22:00:00Z", "2026-11-21T22:03:00Z", "1999-01-01T00:00:00Z"] {
        let (status, problem) = report(&rig, &lab, &order, json!({"stage": "shipped", "at": at})).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("at")), "{problem}");
    }
    for (field, value) in [("at", json!("yesterday")), ("stage", json!("lost")), ("reference", json!("\0"))] {
        let mut body = json!({"stage": "shipped"});
        body[field] = value;
        let (status, problem) = report(&rig, &lab, &order, body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{problem}");
    }
    let stop = rig.ask(&order).await;
    assert_eq!((stop.0, &stop.1["evidence"]), (200, &json!("shipped")));
    assert!(!asked(&rig), "nobody asks for what has left");
}

#[tokio::test]
async fn a_look_up_tells_how_far_an_order_is() {
    for driver in ["http", "grpc"] {
        let profile = json!({"dedupes": "no", "lookup": true, "stops": "yes"});
        let rig =
            Rig::new(EVENING, driver, profile, json!({"loses_answers": 1.0, "prints_after": "1m"})).await;
        let order = rig.order("A-1").await;
        rig.go_to(CUTOFF).await;
        rig.lab.set_behaviour(serde_json::from_value::<Behaviour>(json!({"prints_after": "1m"})).unwrap());
        rig.go_to("2026-11-21T22:15:00Z").await;
        let read = rig.read(&order).await;
        assert_eq!((&read["state"], rig.prints(&order)), (&json!("printed"), 1));
        assert_eq!(read["reports"][0]["stage"], "printed");
        assert_eq!(read["verdict"]["can_stop"], "no");
    }
}

#[tokio::test]
async fn a_lab_that_is_contacted_is_asked_by_nobody_else() {
    let contact = json!({"email": "press@nord.example", "phone": "+358 1", "hours": "mon-fri 08:00-16:00"});
    let rig = rig(able(), json!({"stops_via": "contact", "contact": contact})).await;
    let order = rig.order("A-1").await;
    assert_eq!(rig.read(&order).await["verdict"]["can_stop"], "yes");
    rig.go_to(CUTOFF).await;
    let verdict = rig.read(&order).await["verdict"].clone();
    assert_eq!((&verdict["can_stop"], &verdict["decided_by"]), (&json!("ask_person"), &json!("person")));
    assert_eq!(verdict["next"]["channel"], "contact");
    assert_eq!(verdict["next"]["contact"], contact);
    let (status, stop) = rig.ask(&order).await;
    assert_eq!(
        (status, &stop["state"], &stop["evidence"]),
        (202, &json!("with_a_person"), &json!("no_channel"))
    );
    rig.go_to("2026-11-21T23:00:00Z").await;
    assert!(!asked(&rig));
    let calls = get(&rig, &rig.ops, "/v1/escalations?open=true").await;
    assert_eq!(calls["escalations"][0]["kind"], "stop");
}

#[tokio::test]
async fn a_lab_behind_the_gateway_shows_no_contact_anywhere() {
    let secrets = ["press@nord.example", "+358 40 7654321", "mon-fri 08:12-16:34"];
    let contact = json!({"email": secrets[0], "phone": secrets[1], "hours": secrets[2]});
    let rig = rig(able(), json!({"stops_via": "gateway_only", "contact": contact})).await;
    rig.lab.set_behaviour(serde_json::from_value::<Behaviour>(json!({"answers_late": "1h"})).unwrap());
    let (waiting, order) = (rig.order("A-0").await, rig.order("A-1").await);
    let look = async |when: &str| {
        for path in [
            "/v1/labs".to_owned(),
            "/v1/labs/nordprint".to_owned(),
            "/v1/orders".to_owned(),
            "/v1/stops".to_owned(),
            "/openapi.json".to_owned(),
            format!("/v1/orders/{order}"),
            format!("/v1/orders/{order}/verdict"),
            format!("/v1/orders/{order}/changelog"),
            format!("/v1/orders/{waiting}/verdict"),
        ] {
            let text = get(&rig, &rig.platform, &path).await.to_string();
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "{when}: {path}");
        }
    };
    look("in the house").await;
    rig.go_to(CUTOFF).await;
    look("at the lab").await;
    let (status, _) = rig.ask(&order).await;
    assert_eq!(status, 202);
    rig.settle().await;
    look("asked").await;
    let (_, stop) =
        rig.call(&rig.platform, Method::GET, &format!("/v1/orders/{order}/stop"), Value::Null).await;
    assert_eq!(
        (&stop["verdict"]["next"]["channel"], &stop["verdict"]["next"]["contact"]),
        (&json!("gateway"), &Value::Null)
    );
    // Errors neither: an order that the lab's definition does not allow.
    let bad = json!({"reference": "B-1", "lab": "nordprint", "region": "xx", "items": []});
    let (status, problem) = rig.call(&rig.platform, Method::POST, "/v1/orders", bad).await;
    assert_eq!(status, 422);
    assert!(secrets.iter().all(|secret| !problem.to_string().contains(secret)), "{problem}");
    // Nobody but ops, to whom it is theirs to set.
    let seen = get(&rig, &rig.ops, "/v1/labs/nordprint").await;
    assert_eq!(seen["policy"]["contact"]["email"], secrets[0]);
    let lab = key(&rig, "nordprint").await;
    let list = get(&rig, &lab, "/v1/lab/stops").await.to_string();
    assert!(secrets.iter().all(|secret| !list.contains(secret)));
}

#[tokio::test]
async fn final_on_receipt_needs_a_receipt() {
    let profile = json!({"dedupes": "no", "lookup": true, "stops": "final_on_receipt"});
    let rig = Rig::new(EVENING, "http", profile, json!({"loses_answers": 1.0})).await;
    let (lost, fine) = (rig.order("A-1").await, rig.order("A-2").await);
    let (status, stop) = rig.ask(&fine).await;
    assert_eq!(
        (status, &stop["evidence"]),
        (200, &json!("never_handed")),
        "before the cutoff it is not there"
    );
    rig.go_to("2026-11-21T22:01:00Z").await;
    // Sent, and no word of it: nothing is final yet.
    assert_eq!(rig.read(&lost).await["verdict"]["can_stop"], "not_yet_known");
    let (status, stop) = rig.ask(&lost).await;
    assert_eq!((status, &stop["state"]), (202, &json!("pending")));
    rig.lab.set_behaviour(Behaviour::default());
    rig.go_to("2026-11-21T22:15:00Z").await;
    let read = rig.read(&lost).await;
    assert_eq!((&read["state"], &read["stop"]["state"]), (&json!("at_lab"), &json!("too_late")));
    assert_eq!(read["stop"]["evidence"], "final_on_receipt");
    assert_eq!(
        (&read["verdict"]["can_stop"], &read["verdict"]["reason"]),
        (&json!("no"), &json!("lab_never_takes_stops"))
    );
    assert!(!asked(&rig));
}

#[tokio::test]
async fn immediate_production_keeps_the_grace_and_nothing_more() {
    let contact = json!({"phone": "+358 1"});
    for (policy, can_stop, status, state, evidence) in [
        (json!({}), "no", 200, "too_late", "final_on_receipt"),
        (json!({"stops_via": "gateway_only", "contact": contact}), "no", 200, "too_late", "final_on_receipt"),
        (json!({"contact": contact}), "ask_person", 202, "with_a_person", "no_channel"),
    ] {
        let mut policy = policy;
        policy["immediate_production"] = json!(true);
        policy["grace"] = json!("90s");
        let rig = rig(able(), policy.clone()).await;
        let (stopped, made) = (rig.order("A-1").await, rig.order("A-2").await);
        let window = rig.read(&made).await["window"].clone();
        assert_eq!((&window["direct"], &window["closes_at"]), (&json!(true), &json!("2026-11-21T20:01:30Z")));
        rig.go_to("2026-11-21T20:01:29.999999Z").await;
        assert_eq!(rig.read(&made).await["verdict"]["can_stop"], "yes");
        let (granted, stop) = rig.ask(&stopped).await;
        assert_eq!((granted, &stop["evidence"]), (200, &json!("never_handed")));
        rig.go_to("2026-11-21T20:01:30Z").await;
        let verdict = rig.read(&made).await["verdict"].clone();
        assert_eq!(
            (&verdict["can_stop"], &verdict["reason"]),
            (&json!(can_stop), &json!("immediate_production")),
            "{policy}"
        );
        let asks = rig.ask(&made).await;
        assert_eq!(
            (asks.0, &asks.1["state"], &asks.1["evidence"]),
            (status, &json!(state), &json!(evidence)),
            "{policy}"
        );
        rig.go_to("2026-11-21T23:30:00Z").await;
        assert!(!asked(&rig));
        assert_eq!((rig.prints(&made), rig.prints(&stopped)), (1, 0));
    }
}
