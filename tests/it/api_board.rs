//! The board for machines: what it counts, what rises, and that counting bit by bit is counting.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use hyper::http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::api::limits::Budgets;
use stoppress::api::registry::Registry;
use stoppress::api::{Api, Nudge, Parts, router};
use stoppress::clock::{Clock as _, HostRandom, Random as _, SeededRandom};
use stoppress::domain::customer_link::CustomerKeys;
use stoppress::domain::link::LinkKey;
use stoppress::domain::zones::Zones;
use stoppress::store::{self, CloseDue, Write};
use tower::ServiceExt as _;

use crate::api::{Bench, lab, order};
use crate::rig::Rig;

async fn board(bench: &Bench, query: &str) -> Value {
    bench.get(&format!("/v1/board{query}"), &bench.ops).await.is(200)
}

async fn close(bench: &Bench) {
    let close = CloseDue { now: bench.clock.now(), limit: 1000 };
    store::one(&*bench.store, Write::Close(close)).await.unwrap();
}

#[tokio::test]
async fn it_shows_what_waits_until_when() {
    let bench = Bench::new().await;
    let empty = board(&bench, "").await;
    let row = &empty["regions"][0];
    assert_eq!(
        (&row["lab"], &row["region"], &row["name"]),
        (&json!("nord"), &json!("fi"), &json!("Nordprint"))
    );
    assert_eq!(row["closes_at"], "2026-11-21T22:00:00Z");
    assert_eq!(row["closes_at_local"], "2026-11-22T00:00:00+02:00[Europe/Helsinki]");
    assert_eq!((&row["offset"], &row["time_zone"]), (&json!("+02:00"), &json!("Europe/Helsinki")));
    assert_eq!((&row["level"], &row["alerts"], &row["open"]), (&json!("fine"), &json!([]), &json!([])));
    assert_eq!(empty["totals"]["tzdata"], row["tzdata"]);
    assert_eq!(empty["band"]["from"], "2026-11-21T12:00:00Z");
    let slots = empty["band"]["slots"].as_array().unwrap();
    assert_eq!((slots.len(), &slots[0]["at"]), (1, &json!("2026-11-21T22:00:00Z")));
    assert_eq!(slots[0]["marks"][0]["waiting"], 0);

    bench.admitted("A-1").await;
    let second = bench.admitted("A-2").await;
    bench.admitted("A-3").await;
    bench.post(&format!("/v1/orders/{second}/stop"), &bench.shop, &json!({})).await.is(200);
    // The picture is a second old at most, and the same for all who ask within it.
    assert_eq!(board(&bench, "").await, empty);
    bench.pass(1);
    let seen = board(&bench, "").await;
    let row = &seen["regions"][0];
    assert_eq!(row["open"].as_array().unwrap().len(), 1);
    assert_eq!((&row["open"][0]["waiting"], &row["open"][0]["stopped"]), (&json!(2), &json!(1)));
    assert_eq!(row["open"][0]["closes_at"], row["closes_at"]);
    assert_eq!((&seen["totals"]["waiting"], &seen["totals"]["stopped"]), (&json!(2), &json!(1)));
    assert_eq!(seen["band"]["slots"][0]["marks"][0]["waiting"], 2);
    assert_eq!(seen["as_of"], "2026-11-21T12:00:01Z");
}

#[tokio::test]
async fn late_and_failing_things_come_first_and_say_what_to_do() {
    let bench = Bench::new().await;
    let mut other = lab(&json!(["12:30"]));
    other["id"] = json!("abel");
    other["name"] = json!("Abel & Söhne <Berlin>");
    other["regions"] =
        json!([{"id": "de", "calendar": {"time_zone": "Europe/Berlin", "cutoffs": ["13:30"]}}]);
    bench.put("/v1/labs/abel", &other).await.is(201);
    bench.admitted("A-1").await;
    let seen = board(&bench, "").await;
    let labs = |seen: &Value| -> Vec<String> {
        let rows = seen["regions"].as_array().unwrap();
        rows.iter().map(|row| row["lab"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(labs(&seen), ["abel", "nord"], "by the next cutoff");
    // The closing loop does not run here: ten seconds after its cutoff the batch rises.
    bench.pass(10 * 3600 + 9);
    let quiet = board(&bench, "").await;
    let nord = quiet["regions"].as_array().unwrap().iter().find(|row| row["lab"] == "nord").unwrap();
    assert_eq!(nord["level"], "fine", "{nord}");
    bench.pass(1);
    let late = board(&bench, "").await;
    assert_eq!(labs(&late), ["nord", "abel"]);
    let alert = &late["regions"][0]["alerts"][0];
    assert_eq!((&alert["kind"], &alert["level"]), (&json!("not_closed"), &json!("act")));
    assert_eq!((&alert["at"], &alert["count"]), (&json!("2026-11-21T22:00:00Z"), &json!(1)));
    assert_eq!(late["totals"]["act"], 1);
    close(&bench).await;
    bench.pass(60);
    let behind = board(&bench, "?level=act").await;
    assert_eq!(labs(&behind), ["nord"]);
    let alert = &behind["regions"][0]["alerts"][0];
    assert_eq!((&alert["kind"], &alert["count"]), (&json!("not_handed_over"), &json!(1)));
    assert!(alert["batch"].as_str().unwrap().starts_with("bat_"));
    // A lab that is paused says so, and what waits for it.
    bench.post("/v1/labs/nord/pause", &bench.ops, &json!({"reason": "press broken"})).await.is(200);
    bench.post("/v1/labs/abel/pause", &bench.ops, &json!({"reason": "press broken"})).await.is(200);
    bench.pass(1);
    let paused = board(&bench, "").await;
    assert_eq!(labs(&paused), ["nord", "abel"]);
    assert!(paused["regions"][0]["alerts"][0]["text"].as_str().unwrap().contains("paused"));
    assert_eq!(paused["regions"][1]["alerts"][0]["kind"], "paused");
    assert_eq!(paused["regions"][1]["level"], "watch");
}

#[tokio::test]
async fn filters_are_refused_or_kept() {
    let bench = Bench::new().await;
    let mut other = lab(&json!(["24:00"]));
    other["id"] = json!("abel");
    other["name"] = json!("Abel");
    other["regions"] =
        json!([{"id": "de", "calendar": {"time_zone": "Europe/Berlin", "cutoffs": ["13:30"]}}]);
    bench.put("/v1/labs/abel", &other).await.is(201);
    let count = async |query: &str| board(&bench, query).await["regions"].as_array().unwrap().len();
    for (query, rows) in [
        ("", 2),
        ("?lab=nord", 1),
        ("?lab=none", 0),
        ("?find=BERLIN", 1),
        ("?find=%20", 2),
        ("?find=abel&lab=nord", 0),
        ("?level=act", 0),
        ("?level=", 2),
        ("?at=2026-11-21T22:00:00Z", 1),
        ("?at=2026-11-21T22:14:59Z", 1),
        ("?at=2026-11-21T22:15:00Z", 0),
        ("?at=2026-11-22T12:30:00Z", 0),
    ] {
        assert_eq!(count(query).await, rows, "{query}");
    }
    for (query, field) in
        [("?level=red", "level"), ("?at=now", "at"), ("?lab=A!", "lab"), ("?colour=red", "colour")]
    {
        let problem = bench.get(&format!("/v1/board{query}"), &bench.ops).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    for key in [&bench.shop, &bench.lab] {
        bench.get("/v1/board", key).await.problem(403, "forbidden");
    }
}

/// What a lab does not take is late a minute after its cutoff, whether it refuses or cannot be reached, long before a
/// person has to find out.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lab_does_not_take_is_late() {
    for behaviour in [json!({"refuses": 1.0}), json!({"down": {"by": "refuse"}})] {
        let profile = json!({"dedupes": "forever", "stops": "yes", "lookup": true});
        let rig = Rig::new("2026-11-20T20:00:00Z", "http", profile, json!({})).await;
        rig.lab.set_behaviour(serde_json::from_value(behaviour.clone()).unwrap());
        rig.order("A-1").await;
        rig.go_to("2026-11-20T22:00:05Z").await;
        let look = async || {
            let (status, seen) = rig.call(&rig.ops, Method::GET, "/v1/board", Value::Null).await;
            assert_eq!(status, 200, "{seen}");
            seen["regions"][0].clone()
        };
        assert_eq!(
            look().await["alerts"].as_array().unwrap().iter().filter(|it| it["level"] == "act").count(),
            0
        );
        rig.go_to("2026-11-20T22:01:10Z").await;
        let row = look().await;
        assert_eq!(row["level"], "act", "{behaviour}: {row}");
        let kinds: Vec<&str> =
            row["alerts"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
        assert!(kinds.contains(&"not_taken"), "{behaviour}: {row}");
        assert!(row["alerts"][0]["batch"].is_string(), "{row}");
    }
}

/// What another gateway, which begins to look only now, shows.
async fn anew(bench: &Bench) -> Value {
    let registry =
        Registry::load(Arc::clone(&bench.store), Zones::bundled(), bench.clock.now()).await.unwrap();
    let parts = Parts {
        store: Arc::clone(&bench.store),
        clock: Arc::new(bench.clock.clone()),
        random: Arc::new(HostRandom),
        registry: Arc::new(registry),
        nudge: Nudge::default(),
        check_driver: Arc::new(|_| vec![]),
        health: Arc::new(|_| None),
        metrics: Arc::new(String::new),
        budgets: Budgets::off(),
        links: Arc::new(LinkKey::parse(&"5a".repeat(32)).unwrap()),
        customers: Arc::new(stoppress::api::Customers {
            keys: CustomerKeys::parse([(1, "5b".repeat(32).as_str())]).unwrap(),
            base: Some("https://gw.example".to_owned()),
        }),
        endpoints: crate::api::endpoints(),
        second_factor: stoppress::domain::second_factor::Wanted::Offered,
        replica: "another".into(),
        end: tokio_util::sync::CancellationToken::new(),
    };
    let api = Api::open(parts).await.unwrap();
    let request = Request::get("/v1/board").header("authorization", format!("Bearer {}", bench.ops));
    let response = router(&api).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// A board that has counted only what moved shows the same as one that has counted everything.
#[tokio::test]
async fn counting_what_moved_is_counting() {
    let bench = Bench::new().await;
    for (id, zone) in [("abel", "Europe/Berlin"), ("cebu", "Asia/Manila"), ("nuku", "Pacific/Chatham")] {
        let mut other = lab(&json!(["06:00", "18:30", "24:00"]));
        other["id"] = json!(id);
        other["regions"] = json!([
            {"id": "one", "calendar": {"time_zone": zone, "cutoffs": ["06:00", "18:30"]}},
            {"id": "two", "calendar": {"time_zone": zone, "cutoffs": ["24:00"]}},
        ]);
        bench.put(&format!("/v1/labs/{id}"), &other).await.is(201);
    }
    let dice = SeededRandom::new(20_261_121);
    let roll = |sides: u64| {
        let mut bytes = [0; 8];
        dice.fill(&mut bytes);
        u64::from_le_bytes(bytes) % sides
    };
    let labs = ["abel", "cebu", "nuku"];
    let mut orders: Vec<String> = Vec::new();
    for step in 0..120 {
        let lab = labs[roll(3) as usize];
        let known = (!orders.is_empty()).then(|| orders[roll(orders.len().max(1) as u64) as usize].clone());
        match (roll(12), known) {
            (0..=4, _) | (_, None) => {
                let mut body = order(&format!("A-{step}"));
                body["lab"] = json!(lab);
                body["region"] = json!(["one", "two"][roll(2) as usize]);
                body["transfer"] = json!(["batch", "batch", "direct"][roll(3) as usize]);
                let made = bench.post("/v1/orders", &bench.shop, &body).await.is(201);
                orders.push(made["id"].as_str().unwrap().to_owned());
            }
            (5, Some(order)) => {
                drop(bench.post(&format!("/v1/orders/{order}/stop"), &bench.shop, &json!({})).await);
            }
            (6, Some(order)) => {
                drop(bench.post(&format!("/v1/orders/{order}/hold"), &bench.shop, &json!({})).await);
            }
            (7, Some(order)) => {
                drop(bench.post(&format!("/v1/orders/{order}/release"), &bench.shop, &json!({})).await);
            }
            (8, Some(order)) => {
                let shown = bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
                if let Some(batch) = shown["window"]["batch"].as_str() {
                    let until = (bench.clock.now() + SignedDuration::from_hours(40)).to_string();
                    let body = json!({"until": until, "reason": "late truck"});
                    drop(bench.post(&format!("/v1/batches/{batch}/postpone"), &bench.ops, &body).await);
                }
            }
            (9, _) => {
                let word = ["pause", "resume"][roll(2) as usize];
                let body = json!({"reason": "a press"});
                let body = if word == "pause" { body } else { json!({}) };
                let path = format!("/v1/labs/{lab}/{word}");
                bench.post(&path, &bench.ops, &body).await;
            }
            (10, _) => bench.pass(roll(5 * 3600)),
            _ => close(&bench).await,
        }
        bench.pass(1 + roll(3));
        if roll(2) > 0 {
            let seen = board(&bench, "").await;
            let fresh = anew(&bench).await;
            assert_eq!(seen, fresh, "after step {step}");
        }
    }
    let last = board(&bench, "").await;
    assert!(last["totals"]["waiting"].as_i64().unwrap() > 0, "{}", last["totals"]);
}
