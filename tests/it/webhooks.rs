//! Endpoints that are told what happens, through the whole gateway, on a clock that the test moves.

use hyper::http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stoppress::clock::Clock as _;

use crate::lab_support::eventually;
use crate::rig::{Rig, at};
use crate::webhooks_support::{OTHER, Receiver, Reply, SECRET, deliveries, endpoint, in_order, look};

const EVENING: &str = "2026-11-21T20:00:00Z";

async fn rig() -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10});
    Rig::new(EVENING, "http", profile, json!({})).await
}

fn after(by: SignedDuration) -> String {
    (at(EVENING) + by).to_string()
}

#[tokio::test]
async fn an_endpoint_is_told_what_happens_to_orders_in_order_and_signed() {
    let rig = rig().await;
    let (all, stops) = (Receiver::start().await, Receiver::start().await);
    let before = rig.order("A-0").await;
    endpoint(&rig, &all.url, json!({})).await;
    endpoint(&rig, &stops.url, json!({"events": ["stop.*"]})).await;
    let (kept, stopped) = (rig.order("A-1").await, rig.order("A-2").await);
    rig.ask(&stopped).await;
    all.has(3).await;
    rig.go_to("2026-11-22T03:00:00Z").await;
    // Also what was there before the endpoint: what happens to it from now on.
    all.has(7).await;
    let got = all.got();
    in_order(&got);
    for one in &got {
        assert!(one.is_signed_with(SECRET) && !one.is_signed_with(OTHER));
        assert_eq!(one.headers["content-type"], "application/json");
        assert!(!one.id().contains('.'), "{}", one.id());
    }
    let of = |order: &str| {
        let own = got.iter().filter(|one| one.order() == order);
        own.map(|one| one.kind().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(&stopped), ["order.admitted", "stop.stopped"]);
    assert_eq!(of(&kept), ["order.admitted", "transfer.sending", "transfer.at_lab"]);
    assert_eq!(of(&before), ["transfer.sending", "transfer.at_lab"]);
    let last = got.iter().rfind(|one| one.order() == kept).unwrap();
    let data = &last.body["data"];
    assert_eq!((data["state"].as_str(), data["reference"].as_str()), (Some("at_lab"), Some("A-1")));
    assert_eq!((data["lab"].as_str(), data["actor"].as_str()), (Some("nordprint"), Some("gateway")));
    assert!(data["subject"].as_str().unwrap().starts_with("trf_"), "{data}");
    assert!(last.body["timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok());
    // What it says is in the log under its version.
    let path = format!("/v1/events?after={}&limit=1", last.version() - 1);
    let (_, page) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    assert_eq!(page["events"][0]["kind"], "transfer.at_lab", "{page}");
    assert_eq!(stops.kinds(), ["stop.stopped"]);
    let stop = &stops.got()[0].body["data"]["stop"];
    assert_eq!((stop["state"].as_str(), stop["evidence"].as_str()), (Some("stopped"), Some("never_handed")));
}

#[tokio::test]
async fn a_message_about_a_stop_of_lines_names_that_stop_and_its_lines() {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "stops_lines": true});
    let rig = Rig::new(EVENING, "http", profile, json!({"prints_after": "10m"})).await;
    let receiver = Receiver::start().await;
    let item = |id: &str| json!({"id": id, "sku": "print", "quantity": 1});
    let order = json!({"reference": "A-1", "lab": "nordprint", "items": [item("1"), item("2"), item("3"), item("4")],
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"}});
    let (_, order) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    let order = order["id"].as_str().unwrap().to_owned();
    endpoint(&rig, &receiver.url, json!({"events": ["stop.*"]})).await;
    let ask = async |body: Value| {
        let path = format!("/v1/orders/{order}/stop");
        let (status, answer) = rig.call(&rig.platform, Method::POST, &path, body).await;
        assert!(status < 300, "{answer}");
        answer["stop"]["id"].as_str().unwrap().to_owned()
    };
    // In the house, at the lab, and when the lab has printed the rest; and the whole order, too late as well.
    let house = ask(json!({"items": ["1"]})).await;
    rig.go_to("2026-11-21T22:01:00Z").await;
    let at_lab = ask(json!({"items": ["2"]})).await;
    rig.go_to("2026-11-21T22:20:00Z").await;
    let late = ask(json!({"items": ["3"]})).await;
    rig.go_to("2026-11-21T22:30:00Z").await;
    let whole = ask(json!({})).await;
    rig.go_to("2026-11-21T22:40:00Z").await;
    let ended = || receiver.kinds().iter().filter(|kind| *kind == "stop.too_late").count() == 2;
    eventually("both ends came", ended).await;
    let mut seen = std::collections::BTreeMap::<String, Vec<(String, Value)>>::new();
    for got in receiver.got() {
        let stop = &got.body["data"]["stop"];
        let told = (got.kind().to_owned(), stop["items"].clone());
        seen.entry(stop["id"].as_str().unwrap().to_owned()).or_default().push(told);
    }
    for (stop, items, last) in [
        (house, json!(["1"]), "stop.stopped_in_part"),
        (at_lab, json!(["2"]), "stop.stopped_in_part"),
        (late, json!(["3"]), "stop.too_late"),
        (whole, Value::Null, "stop.too_late"),
    ] {
        let told = &seen[&stop];
        assert!(told.iter().all(|(_, named)| *named == items), "{stop}: {told:?}");
        assert_eq!(told[told.len() - 1].0, last, "{stop}: {told:?}");
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[tokio::test]
async fn two_secrets_sign_until_the_old_one_ends() {
    let rig = rig().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&rig, &receiver.url, json!({})).await;
    let path = format!("/v1/webhooks/{id}/rotate-secret");
    let body = json!({"secret": OTHER, "keep_old": "1h"});
    let (status, rotated) = rig.call(&rig.platform, Method::POST, &path, body).await;
    assert_eq!((status, rotated["secret"].as_str()), (200, Some(OTHER)), "{rotated}");
    assert_eq!(rotated["old_secret_until"], "2026-11-21T21:00:00Z");
    rig.order("A-1").await;
    receiver.has(1).await;
    rig.settle().await;
    rig.go_to("2026-11-21T21:00:00Z").await;
    rig.order("A-2").await;
    receiver.has(2).await;
    let signed = |nth: usize| {
        let got = &receiver.got()[nth];
        (got.is_signed_with(SECRET), got.is_signed_with(OTHER))
    };
    assert_eq!((signed(0), signed(1)), ((true, true), (false, true)));
    assert_eq!(look(&rig, &id).await["old_secret_until"], Value::Null);
}

#[tokio::test]
async fn what_is_not_taken_waits_by_the_schedule_and_what_comes_later_of_its_order_waits_behind_it() {
    let rig = rig().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&rig, &receiver.url, json!({})).await;
    let bad = rig.order("BAD").await;
    receiver.has(1).await;
    rig.settle().await;
    let refused = bad.clone();
    receiver.behaves(move |got| Reply::status(if got.order() == refused { 500 } else { 200 }));
    rig.ask(&bad).await;
    receiver.has(2).await;
    rig.settle().await;
    // A later one about the same order, and others that go on.
    let (status, answer) = rig
        .call(&rig.ops, Method::POST, &format!("/v1/orders/{bad}/reinstate"), json!({"reason": "r"}))
        .await;
    assert_eq!(status, 200, "{answer}");
    for nth in 0..4 {
        rig.order(&format!("GOOD-{nth}")).await;
    }
    receiver.has(6).await;
    rig.settle().await;
    let open = deliveries(&rig, &id, "").await;
    let states: Vec<(&str, &str)> = open
        .iter()
        .filter(|one| one["order"] == bad.as_str())
        .map(|one| (one["type"].as_str().unwrap(), one["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        states,
        [("order.reinstated", "behind"), ("stop.stopped", "waiting"), ("order.admitted", "delivered")]
    );
    let waits = open.iter().find(|one| one["state"] == "waiting").unwrap();
    assert_eq!((waits["attempts"].as_i64(), waits["status"].as_i64()), (Some(1), Some(500)), "{waits}");
    let next = at(waits["next_at"].as_str().unwrap()).duration_since(at(EVENING));
    assert!(next >= SignedDuration::from_secs(5) && next <= SignedDuration::from_millis(5_500), "{next:?}");
    // It fails at each time of the schedule but the last.
    let times = |kind: &str| {
        let own = receiver.got();
        own.iter().filter(|one| one.order() == bad && one.kind() == kind).count()
    };
    rig.go_to(&after(SignedDuration::from_secs(6))).await;
    assert_eq!(times("stop.stopped"), 2);
    rig.go_to(&after(SignedDuration::from_mins(4))).await;
    assert_eq!(times("stop.stopped"), 2);
    rig.go_to(&after(SignedDuration::from_mins(6))).await;
    assert_eq!((times("stop.stopped"), times("order.reinstated")), (3, 0));
    receiver.behaves(|_| Reply::status(204));
    rig.go_to(&after(SignedDuration::from_mins(50))).await;
    assert_eq!((times("stop.stopped"), times("order.reinstated")), (4, 1));
    rig.settle().await;
    in_order(&receiver.got());
    // The same bytes each time.
    let own = receiver.got();
    let mut bodies: Vec<&str> =
        own.iter().filter(|one| one.kind() == "stop.stopped").map(|one| one.raw.as_str()).collect();
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    let all = deliveries(&rig, &id, "?state=delivered").await;
    assert_eq!(all.len(), 7, "{all:?}");
    assert!(deliveries(&rig, &id, "?state=waiting").await.is_empty());
}

#[tokio::test]
async fn after_the_whole_schedule_a_message_is_given_up_and_the_next_of_its_order_comes() {
    let rig = rig().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&rig, &receiver.url, json!({"events": ["order.*", "stop.*"]})).await;
    receiver.behaves(|got| {
        Reply::status(if got.kind() == "order.admitted" && got.body["data"]["reference"] == "BAD" {
            404
        } else {
            200
        })
    });
    let bad = rig.order("BAD").await;
    receiver.has(1).await;
    rig.ask(&bad).await;
    rig.settle().await;
    // Others are taken all the while, so that the endpoint is not at fault.
    for hour in 1..90 {
        rig.go_to(&after(SignedDuration::from_hours(hour))).await;
        rig.order(&format!("G-{hour}")).await;
        rig.settle().await;
    }
    let tries =
        receiver.got().iter().filter(|one| one.order() == bad && one.kind() == "order.admitted").count();
    assert_eq!(tries, 10);
    eventually("the next one came", || {
        receiver.got().iter().any(|one| one.order() == bad && one.kind() == "stop.stopped")
    })
    .await;
    rig.settle().await;
    let given_up = deliveries(&rig, &id, "?state=given_up").await;
    assert_eq!(given_up.len(), 1);
    assert_eq!(
        (given_up[0]["attempts"].as_i64(), given_up[0]["cause"].as_str()),
        (Some(10), Some("HTTP 404"))
    );
    assert_eq!(look(&rig, &id).await["enabled"], true);
    // By hand it can be sent again.
    receiver.behaves(|_| Reply::status(200));
    let message = given_up[0]["message"].clone();
    let path = format!("/v1/webhooks/{id}/replay");
    let (status, answer) = rig.call(&rig.platform, Method::POST, &path, json!({"message": message})).await;
    assert_eq!(status, 202, "{answer}");
    eventually("it came once more", || {
        receiver.got().iter().filter(|one| one.order() == bad && one.kind() == "order.admitted").count() == 11
    })
    .await;
    rig.settle().await;
    assert!(deliveries(&rig, &id, "?state=given_up").await.is_empty());
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_and_after_five_days_switched_off_with_notice() {
    let rig = rig().await;
    let (dead, alive) = (Receiver::start().await, Receiver::start().await);
    dead.behaves(|_| Reply::status(503));
    let id = endpoint(&rig, &dead.url, json!({"events": ["order.*"]})).await;
    endpoint(&rig, &alive.url, json!({"events": ["webhook.*"]})).await;
    for nth in 0..40 {
        rig.order(&format!("A-{nth}")).await;
    }
    rig.settle().await;
    let first = dead.count();
    assert!((1..=16).contains(&first), "{first} attempts at once");
    let seen = look(&rig, &id).await;
    assert!(seen["failing_since"].is_string() && seen["rests_until"].is_string(), "{seen}");
    assert!(seen["failed_cause"] == "HTTP 503", "{seen}");
    rig.go_to(&after(SignedDuration::from_hours(5 * 24 - 1))).await;
    assert_eq!(look(&rig, &id).await["enabled"], true);
    // A few an hour, not thousands; and no more rows than attempts.
    assert!(dead.count() < 700, "{} attempts", dead.count());
    rig.order("LATE").await;
    rig.go_to(&after(SignedDuration::from_hours(5 * 24 + 26))).await;
    let seen = look(&rig, &id).await;
    assert_eq!(
        (seen["enabled"].as_bool(), seen["switched_off"]["cause"].as_str()),
        (Some(false), Some("nothing was taken for five days")),
        "{seen}"
    );
    alive.has(1).await;
    let told = &alive.got()[0];
    assert_eq!(
        (told.kind(), told.body["data"]["subject"].as_str()),
        ("webhook.switched_off", Some(id.as_str()))
    );
    // In the feed of the platform as well.
    let path = format!("/v1/events?after={}&limit=1", told.version() - 1);
    let (_, page) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    assert_eq!(page["events"][0]["kind"], "webhook.switched_off", "{page}");
    // Switched on again, it goes on where it was: nothing is lost.
    let count = dead.count();
    dead.behaves(|_| Reply::status(200));
    rig.order("MEANWHILE").await;
    rig.settle().await;
    assert_eq!(dead.count(), count);
    let path = format!("/v1/webhooks/{id}");
    let (status, answer) = rig.call(&rig.platform, Method::PATCH, &path, json!({"enabled": true})).await;
    assert_eq!((status, answer["switched_off"].is_null()), (200, true), "{answer}");
    rig.settle().await;
    rig.go_to(&(rig.clock.now() + SignedDuration::from_hours(30)).to_string()).await;
    let mut admitted: Vec<String> = dead.got()[count..]
        .iter()
        .filter(|one| one.kind() == "order.admitted")
        .map(|one| one.body["data"]["reference"].as_str().unwrap().to_owned())
        .collect();
    admitted.sort();
    admitted.dedup();
    assert_eq!(admitted.len() + deliveries(&rig, &id, "?state=given_up&limit=200").await.len(), 42);
    let checked = rig.running.as_ref().unwrap().bench.store.verify_events().await.unwrap();
    assert!(checked.breaks.is_empty(), "{:?}", checked.breaks);
}

#[tokio::test]
async fn quiet_days_are_no_days_of_failure_also_over_a_restart_and_a_ping_is_no_delivery() {
    let mut rig = rig().await;
    let receiver = Receiver::start().await;
    receiver.behaves(|_| Reply::status(500));
    let id = endpoint(&rig, &receiver.url, json!({"events": ["order.admitted"]})).await;
    rig.order("A-1").await;
    receiver.has(1).await;
    rig.settle().await;
    // All attempts of the only message fail within four days; then nothing is to be told.
    rig.go_to(&after(SignedDuration::from_hours(4 * 24))).await;
    assert_eq!(deliveries(&rig, &id, "?state=given_up").await.len(), 1);
    assert_eq!(look(&rig, &id).await["failing_since"], EVENING);
    rig.go_to(&after(SignedDuration::from_hours(6 * 24))).await;
    rig.stop().await;
    rig.start().await;
    let seen = look(&rig, &id).await;
    let (status, pinged) =
        rig.call(&rig.platform, Method::POST, &format!("/v1/webhooks/{id}/ping"), Value::Null).await;
    assert_eq!((status, &pinged["delivered"]), (200, &json!(false)), "{pinged}");
    assert_eq!(look(&rig, &id).await, seen, "a ping that fails says nothing of messages");
    let count = receiver.count();
    rig.order("A-2").await;
    receiver.has(count + 1).await;
    rig.settle().await;
    let seen = look(&rig, &id).await;
    assert_eq!((&seen["enabled"], &seen["switched_off"]), (&json!(true), &Value::Null), "{seen}");
    let since = at(seen["failing_since"].as_str().unwrap());
    assert!(since.duration_since(at(EVENING)) >= SignedDuration::from_hours(6 * 24), "{since}");
    // Five days in which something is tried each day are.
    for day in 7..12 {
        rig.go_to(&after(SignedDuration::from_hours(day * 24))).await;
        assert_eq!(look(&rig, &id).await["enabled"], true, "on day {day}");
        rig.order(&format!("B-{day}")).await;
    }
    rig.go_to(&after(SignedDuration::from_hours(12 * 24))).await;
    let seen = look(&rig, &id).await;
    assert_eq!(seen["switched_off"]["cause"], "nothing was taken for five days", "{seen}");
}

#[tokio::test]
async fn gone_switches_off_at_once() {
    let rig = rig().await;
    let receiver = Receiver::start().await;
    receiver.behaves(|_| Reply::status(410));
    let id = endpoint(&rig, &receiver.url, json!({})).await;
    rig.order("A-1").await;
    receiver.has(1).await;
    rig.settle().await;
    let seen = look(&rig, &id).await;
    assert_eq!(
        (seen["enabled"].as_bool(), seen["switched_off"]["cause"].as_str()),
        (Some(false), Some("the endpoint answered 410 (gone)")),
        "{seen}"
    );
    rig.order("A-2").await;
    rig.go_to(&after(SignedDuration::from_hours(1))).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn whoever_asks_for_time_gets_it() {
    let rig = rig().await;
    let receiver = Receiver::start().await;
    receiver.behaves(|_| Reply { head: vec![("retry-after", "3600".to_owned())], ..Reply::status(429) });
    let id = endpoint(&rig, &receiver.url, json!({})).await;
    rig.order("A-1").await;
    receiver.has(1).await;
    rig.settle().await;
    rig.order("A-2").await;
    rig.settle().await;
    assert_eq!(look(&rig, &id).await["rests_until"], "2026-11-21T21:00:00Z");
    rig.go_to(&after(SignedDuration::from_mins(59))).await;
    assert_eq!(receiver.count(), 1, "also a second message waits");
    receiver.behaves(|_| Reply::status(200));
    rig.go_to(&after(SignedDuration::from_mins(61))).await;
    receiver.has(3).await;
    rig.settle().await;
    assert_eq!(deliveries(&rig, &id, "?state=delivered").await.len(), 2);
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let mut rig = rig().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&rig, &receiver.url, json!({})).await;
    rig.order("A-1").await;
    receiver.has(1).await;
    rig.settle().await;
    receiver.behaves(|_| Reply::status(500));
    rig.order("A-2").await;
    receiver.has(2).await;
    rig.stop().await;
    receiver.behaves(|_| Reply::status(200));
    rig.start().await;
    rig.order("A-3").await;
    receiver.has(3).await;
    rig.go_to(&after(SignedDuration::from_mins(1))).await;
    let references: Vec<String> =
        receiver.got().iter().map(|one| one.body["data"]["reference"].as_str().unwrap().to_owned()).collect();
    assert_eq!(references, ["A-1", "A-2", "A-3", "A-2"]);
    assert_eq!(look(&rig, &id).await["delivered"], 3);
}

#[tokio::test]
async fn a_stretch_of_the_log_is_sent_once_more_under_the_same_ids() {
    let rig = rig().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&rig, &receiver.url, json!({})).await;
    for nth in 0..6 {
        rig.order(&format!("A-{nth}")).await;
    }
    receiver.has(6).await;
    rig.settle().await;
    let first = receiver.got();
    let path = format!("/v1/webhooks/{id}/replay");
    // Behind the second, up to the fourth.
    let body = json!({"after": first[1].version(), "until": first[3].version()});
    let (status, answer) = rig.call(&rig.platform, Method::POST, &path, body).await;
    assert_eq!(status, 202, "{answer}");
    receiver.has(8).await;
    rig.settle().await;
    let ids: Vec<String> = receiver.got()[6..].iter().map(super::webhooks_support::Got::id).collect();
    let expected: Vec<String> = first[2..4].iter().map(super::webhooks_support::Got::id).collect();
    assert_eq!(sorted(ids), sorted(expected));
    // All since the beginning.
    let (status, answer) = rig.call(&rig.platform, Method::POST, &path, json!({"since": EVENING})).await;
    assert_eq!(status, 202, "{answer}");
    receiver.has(14).await;
    rig.settle().await;
    assert_eq!(receiver.count(), 14);
    assert_eq!(look(&rig, &id).await["replaying"], Value::Null);
    // What cannot be meant is refused by name.
    for (body, field) in [
        (json!({}), ""),
        (json!({"message": "msg_1", "after": 1}), ""),
        (json!({"message": "nonsense"}), "message"),
        (json!({"after": 1_000_000}), "after"),
        (json!({"after": -1}), "after"),
        (json!({"until": 5}), "after"),
        (json!({"since": "2027-01-01T00:00:00Z"}), "since"),
    ] {
        let (status, answer) = rig.call(&rig.platform, Method::POST, &path, body.clone()).await;
        assert_eq!((status, answer["errors"][0]["field"].as_str()), (422, Some(field)), "{body}: {answer}");
    }
    let (status, _) = rig.call(&rig.platform, Method::POST, &path, json!({"message": "msg_1"})).await;
    assert_eq!(status, 404);
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}
