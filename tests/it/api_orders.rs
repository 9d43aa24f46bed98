//! Orders and stops over HTTP.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::api::{Bench, lab, order};

#[tokio::test]
async fn an_order_is_admitted_read_and_stopped() {
    let bench = Bench::new().await;
    let reply = bench.post("/v1/orders", &bench.shop, &order("A-1")).await;
    assert_eq!(reply.header("content-type"), "application/json");
    let (tag, place) = (reply.header("etag").to_owned(), reply.header("location").to_owned());
    let new = reply.is(201);
    let id = new["id"].as_str().unwrap();
    assert_eq!(place, format!("/v1/orders/{id}"));
    assert_eq!(tag, format!("\"{}\"", new["version"]));
    assert_eq!(new["state"], "in_batch");
    assert_eq!(
        (&new["region"], &new["lab"], &new["platform"]),
        (&json!("fi"), &json!("nord"), &json!("shop"))
    );
    assert_eq!(new["items"][0]["sku"], "print-10x15");
    let window = &new["window"];
    assert_eq!(window["opens_at"], "2026-11-20T22:00:00Z");
    assert_eq!(window["closes_at"], "2026-11-21T22:00:00Z");
    assert_eq!(window["closes_at_local"], "2026-11-22T00:00:00+02:00[Europe/Helsinki]");
    assert_eq!((&window["rule"], &window["time_zone"]), (&json!("regular 24:00"), &json!("Europe/Helsinki")));
    let verdict = &new["verdict"];
    assert_eq!((&verdict["can_stop"], &verdict["reason"]), (&json!("yes"), &json!("in_open_batch")));
    assert_eq!(verdict["until"], "2026-11-21T22:00:00Z");
    assert_eq!(verdict["consequences"]["personalised"], true);

    // What was answered from what was admitted is what is stored.
    let read = bench.get(&format!("/v1/orders/{id}"), &bench.shop).await;
    assert_eq!(read.header("etag"), tag);
    // Each line is judged where one order is read.
    let judged = |verdict: &mut Value| {
        let lines = verdict.as_object_mut().unwrap().remove("lines").unwrap();
        assert_eq!((&lines[0]["can_stop"], &lines[0]["withdrawal"]), (&json!("yes"), &json!("until_made")));
    };
    let (mut read, mut named) = (read.is(200), bench.get("/v1/orders/@A-1", &bench.shop).await.is(200));
    judged(&mut read["verdict"]);
    judged(&mut named["verdict"]);
    assert_eq!((&read, &named), (&new, &new));
    let mut verdict = bench.get("/v1/orders/@A-1/verdict", &bench.shop).await.is(200);
    judged(&mut verdict);
    assert_eq!(verdict, new["verdict"]);
    assert_eq!(bench.get("/v1/orders?reference=A-1", &bench.shop).await.is(200)["orders"], json!([new]));

    bench.pass(60);
    let said = json!({"reason": "wrong size", "asked_by": "support", "comment": "called"});
    let stop = bench.post("/v1/orders/@A-1/stop", &bench.shop, &said).await.is(200);
    assert_eq!(
        (&stop["stop"]["state"], &stop["stop"]["evidence"]),
        (&json!("stopped"), &json!("never_handed"))
    );
    assert_eq!(stop["stop"]["asked_at"], "2026-11-21T12:01:00Z");
    assert_eq!(stop["stop"]["answer_due_at"], Value::Null);
    assert_eq!(stop["verdict"]["reason"], "already_stopped");
    // A repeat is the same stop, without a body too.
    let again = bench.call("POST", &format!("/v1/orders/{id}/stop"), &bench.shop, None, &[]).await.is(200);
    assert_eq!(again, stop);
    assert_eq!(bench.get(&format!("/v1/orders/{id}/stop"), &bench.shop).await.is(200), stop);
    let stops = bench.get("/v1/stops?state=stopped", &bench.shop).await.is(200);
    assert_eq!(stops["stops"][0]["reference"], "A-1");
    let log = bench.get("/v1/orders/@A-1/changelog", &bench.shop).await.is(200);
    let kinds: Vec<&str> =
        log["events"].as_array().unwrap().iter().filter_map(|e| e["kind"].as_str()).collect();
    assert!(kinds.contains(&"order.admitted"), "{kinds:?}");
    // Only ops take a stop back.
    let path = format!("/v1/orders/{id}/reinstate");
    bench.post(&path, &bench.shop, &json!({})).await.problem(403, "forbidden");
    let back = bench.post(&path, &bench.ops, &json!({"reason": "asked again"})).await.is(200);
    assert_eq!((&back["state"], &back["stop"]), (&json!("in_batch"), &Value::Null));
    let log = bench.get("/v1/events?limit=200", &bench.ops).await.is(200);
    assert_eq!(log["next"], log["events"].as_array().unwrap().last().unwrap()["seq"]);
}

#[tokio::test]
async fn the_same_reference_is_the_same_order() {
    let bench = Bench::new().await;
    let id = bench.admitted("A-1").await;
    assert_eq!(bench.post("/v1/orders", &bench.shop, &order("A-1")).await.is(200)["id"], id.as_str());
    let mut other = order("A-1");
    other["items"][0]["quantity"] = json!(3);
    let taken = bench.post("/v1/orders", &bench.shop, &other).await.problem(409, "reference_taken");
    assert_eq!(taken["order"], id.as_str());
    // Of another platform it is another order.
    assert_ne!(bench.post("/v1/orders", &bench.other, &order("A-1")).await.is(201)["id"], id.as_str());
    // Ops name the platform.
    let missing = bench.post("/v1/orders", &bench.ops, &order("A-2")).await.problem(422, "invalid");
    assert_eq!(missing["errors"][0]["field"], "platform");
    bench.post("/v1/orders?platform=shop", &bench.ops, &order("A-2")).await.is(201);
    bench.get("/v1/orders/@A-2", &bench.shop).await.is(200);
}

#[tokio::test]
async fn every_refusal_names_its_field() {
    let bench = Bench::new().await;
    let with = |field: &str, value: Value| {
        let mut order = order("B-1");
        order[field] = value;
        order
    };
    let item = |value: Value| with("items", json!([value]));
    let cases = [
        (with("reference", json!("")), "reference"),
        (with("refrence", json!("x")), "refrence"),
        (with("lab", json!("nort")), "lab"),
        (with("lab", json!("Nord!")), "lab"),
        (with("region", json!("se")), "region"),
        (with("transfer", json!("now")), "transfer"),
        (with("payment", json!(1)), "payment"),
        (with("ship_to", Value::Null), "ship_to"),
        (
            with("ship_to", json!({"name": "A", "line1": "B", "city": "C", "country": "fi"})),
            "ship_to.country",
        ),
        (with("items", json!([])), "items"),
        (item(json!({"id": "1", "sku": "s", "quantity": 0})), "items[0].quantity"),
        (item(json!({"id": "1", "sku": "s"})), "items[0].quantity"),
        (
            item(json!({"id": "1", "sku": "s", "quantity": 1, "files": [{"url": "x"}]})),
            "items[0].files[0].url",
        ),
        (with("metadata", json!({"a": "b".repeat(20_000)})), "metadata"),
    ];
    for (body, field) in cases {
        let refused = bench.post("/v1/orders", &bench.shop, &body).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
        assert!(!refused["errors"][0]["message"].as_str().unwrap().is_empty());
    }
    let unknown = bench.post("/v1/orders", &bench.shop, &with("lab", json!("nort"))).await.json();
    assert!(unknown["errors"][0]["message"].as_str().unwrap().contains("did you mean \"nord\"?"));
    for (path, field) in [
        ("/v1/orders?limit=0", "limit"),
        ("/v1/orders?limit=x", "limit"),
        ("/v1/orders?stat=open", "stat"),
        ("/v1/orders?state=opem", "state"),
        ("/v1/orders?cursor=%20", "cursor"),
        ("/v1/orders?lab=Nord", "lab"),
    ] {
        let refused = bench.get(path, &bench.shop).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["field"], field, "{path} {refused}");
    }
    let stop = json!({"reason": "x".repeat(201), "comment": "y".repeat(2001)});
    let id = bench.admitted("B-2").await;
    let refused =
        bench.post(&format!("/v1/orders/{id}/stop"), &bench.shop, &stop).await.problem(422, "invalid");
    assert_eq!(refused["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn objects_of_others_look_like_none() {
    let bench = Bench::new().await;
    let id = bench.admitted("A-1").await;
    let none = format!("ord_{}", "0".repeat(32));
    for (method, tail) in [
        ("GET", ""),
        ("GET", "/verdict"),
        ("GET", "/changelog"),
        ("GET", "/stop"),
        ("POST", "/stop"),
        ("POST", "/hold"),
        ("POST", "/release"),
        ("POST", "/pay"),
        ("POST", "/review"),
    ] {
        let ask = async |order: &str| {
            bench.call(method, &format!("/v1/orders/{order}{tail}"), &bench.other, None, &[]).await
        };
        let foreign = ask(&id).await;
        let (foreign, unknown) = (foreign.text.clone(), ask(&none).await);
        assert_eq!(foreign, unknown.text, "{method} {tail}");
        unknown.problem(404, "not_found");
        ask("ord_1").await.problem(404, "not_found");
        ask("@A-1").await.problem(404, "not_found");
    }
    let patch = json!({"ship_to": {"name": "A", "line1": "B", "city": "C", "country": "FI"}});
    let path = format!("/v1/orders/{id}");
    bench.call("PATCH", &path, &bench.other, Some(&patch), &[]).await.problem(404, "not_found");
    assert_eq!(bench.get("/v1/orders", &bench.other).await.is(200)["orders"], json!([]));
    bench.get(&format!("/v1/orders/{id}"), &bench.ops).await.is(200);
}

#[tokio::test]
async fn orders_change_as_their_state_allows() {
    let bench = Bench::new().await;
    let mut unpaid = order("P-1");
    unpaid["payment"] = json!("awaiting");
    let new = bench.post("/v1/orders", &bench.shop, &unpaid).await.is(201);
    assert_eq!((&new["state"], &new["window"]), (&json!("awaiting_payment"), &Value::Null));
    let address = json!({"name": "B", "line1": "Katu 2", "city": "Turku", "country": "FI"});
    let patch = async |body: Value, headers: &[(&str, &str)]| {
        bench.call("PATCH", "/v1/orders/@P-1", &bench.shop, Some(&body), headers).await
    };
    let billed = patch(json!({"bill_to": address}), &[]).await.is(200);
    assert_eq!(billed["bill_to"]["city"], "Turku");
    let unbilled = patch(json!({"bill_to": null}), &[]).await.is(200);
    assert_eq!(unbilled["bill_to"], Value::Null);
    let items = json!({"items": [{"id": "9", "sku": "mug", "quantity": 1}]});
    let refused = patch(items.clone(), &[]).await.problem(409, "not_allowed");
    assert_eq!(refused["state"], "awaiting_payment");
    patch(json!({}), &[]).await.problem(422, "invalid");

    let paid = bench.post("/v1/orders/@P-1/pay", &bench.shop, &json!({})).await.is(200);
    assert_eq!(paid["state"], "in_batch");
    patch(json!({"bill_to": address}), &[]).await.problem(409, "not_allowed");
    // Held orders leave their window; review lets items be replaced.
    bench.post("/v1/orders/@P-1/hold", &bench.shop, &json!({"reason": "wait"})).await.is(200);
    assert_eq!(bench.get("/v1/orders/@P-1", &bench.shop).await.is(200)["state"], "on_hold");
    bench.post("/v1/orders/@P-1/release", &bench.shop, &json!({})).await.is(200);
    let review = bench.call("POST", "/v1/orders/@P-1/review", &bench.shop, None, &[]).await;
    let tag = review.header("etag").to_owned();
    assert_eq!(review.is(200)["state"], "in_review");
    let old = [("if-match", "\"1\"")];
    let mismatch = patch(items.clone(), &old).await.problem(412, "version_mismatch");
    assert_eq!(format!("\"{}\"", mismatch["version"]), tag);
    bench
        .call("POST", "/v1/orders/@P-1/release", &bench.shop, None, &old)
        .await
        .problem(412, "version_mismatch");
    patch(items.clone(), &[("if-match", "3")]).await.problem(400, "malformed");
    let new_items = patch(items, &[("if-match", &tag)]).await.is(200);
    assert_eq!(new_items["items"][0]["sku"], "mug");
    let back = bench.post("/v1/orders/@P-1/release", &bench.shop, &json!({})).await.is(200);
    assert_eq!(back["state"], "in_batch");
}

#[tokio::test]
async fn direct_orders_wait_for_the_grace() {
    let bench = Bench::new().await;
    let mut direct = order("D-1");
    direct["transfer"] = json!("direct");
    let new = bench.post("/v1/orders", &bench.shop, &direct).await.is(201);
    assert_eq!(new["window"]["closes_at"], "2026-11-21T12:01:00Z");
    assert_eq!((&new["window"]["rule"], &new["window"]["direct"]), (&json!("direct"), &json!(true)));
    // Past the cutoff, while the batch is stored as open: yes, but nothing is promised.
    bench.pass(61);
    let verdict = bench.get("/v1/orders/@D-1/verdict", &bench.shop).await.is(200);
    assert_eq!((&verdict["can_stop"], &verdict["until"]), (&json!("yes"), &Value::Null));
    bench.post("/v1/orders/@D-1/stop", &bench.shop, &json!({})).await.is(200);
}

#[tokio::test]
async fn customers_stop_where_the_platform_lets_them() {
    let bench = Bench::new().await;
    bench.admitted("C-1").await;
    let ask =
        async || bench.post("/v1/orders/@C-1/stop", &bench.shop, &json!({"asked_by": "customer"})).await;
    let set = async |word: &str| {
        let spec = json!({"id": "shop", "name": "Shop", "policy": {"customer_stops": word}});
        bench.put("/v1/platforms/shop", &spec).await.is(200);
    };
    ask().await.problem(403, "customer_stops_off");
    set("ask_merchant").await;
    let asked = ask().await.is(202);
    assert_eq!((&asked["stop"], &asked["approval"]["state"]), (&Value::Null, &json!("open")));
    assert_eq!(asked["approval"]["due_at"], "2026-11-22T12:00:00Z", "a day, unless told");
    assert_eq!(asked["verdict"]["reason"], "stop_awaits_merchant");
    assert_eq!(ask().await.is(202)["approval"]["id"], asked["approval"]["id"]);
    // What customers may do from now on changes nothing about what the merchant was asked before.
    set("on").await;
    assert_eq!(ask().await.is(200)["stop"]["state"], "stopped");
    let order = bench.get("/v1/orders/@C-1", &bench.shop).await.is(200);
    assert_eq!(order["approval"]["state"], "overtaken");
}

#[tokio::test]
async fn lists_are_paged() {
    let bench = Bench::new().await;
    for n in 0..5 {
        bench.pass(1);
        bench.admitted(&format!("L-{n}")).await;
    }
    let (mut path, mut seen) = ("/v1/orders?limit=2".to_owned(), Vec::new());
    loop {
        let page = bench.get(&path, &bench.shop).await.is(200);
        let orders = page["orders"].as_array().unwrap();
        seen.extend(orders.iter().map(|order| order["reference"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/orders?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["L-4", "L-3", "L-2", "L-1", "L-0"]);
}

fn bulk(key: &str, lines: &str) -> Request<Body> {
    Request::post("/v1/orders/bulk")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/x-ndjson")
        .body(Body::from(lines.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn a_broken_line_refuses_that_line_and_no_other() {
    let bench = Bench::new().await;
    let mut differs = order("K-1");
    differs["items"][0]["quantity"] = json!(7);
    let lines = [
        order("K-1").to_string(),
        "{\"reference\":".to_owned(),
        String::new(),
        order("K-1").to_string(),
        differs.to_string(),
        json!({"reference": "K-2", "lab": "nord", "items": []}).to_string(),
        order("K-3").to_string(),
        format!("{{\"reference\":\"{}\"}}", "x".repeat(300 * 1024)),
        order("K-4").to_string(),
    ];
    let reply = bench.raw(bulk(&bench.shop, &lines.join("\n"))).await;
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    let results: Vec<Value> = reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<(u64, u64)> = results
        .iter()
        .map(|result| (result["line"].as_u64().unwrap(), result["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(seen, [(1, 201), (2, 400), (4, 200), (5, 409), (6, 422), (7, 201), (8, 413), (9, 201)]);
    assert_eq!(results[0]["closes_at"], "2026-11-21T22:00:00Z");
    assert_eq!(results[0]["id"], results[2]["id"]);
    assert_eq!(results[3]["problem"]["order"], results[0]["id"]);
    assert_eq!(results[4]["problem"]["errors"][0]["field"], "items");
    // More than one set.
    let many: Vec<String> = (0..700).map(|n| order(&format!("M-{n}")).to_string()).collect();
    let reply = bench.raw(bulk(&bench.shop, &many.join("\n"))).await;
    let results: Vec<Value> = reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), 700);
    assert!(results.iter().enumerate().all(|(n, result)| {
        result["line"] == n + 1 && result["status"] == 201 && result["reference"] == format!("M-{n}")
    }));
    let wrong = Request::post("/v1/orders/bulk").header("authorization", format!("Bearer {}", bench.shop));
    bench.raw(wrong.body(Body::empty()).unwrap()).await.problem(415, "media_type");
}

#[tokio::test]
async fn an_order_at_the_cutoff_goes_into_the_next_window() {
    let bench = Bench::new().await;
    bench.put("/v1/labs/nord", &lab(&json!(["14:30", "24:00"]))).await.is(200);
    bench.pass(30 * 60 - 1);
    let last = bench.post("/v1/orders", &bench.shop, &order("W-1")).await.is(201);
    assert_eq!(last["window"]["closes_at"], "2026-11-21T12:30:00Z");
    bench.pass(1);
    let next = bench.post("/v1/orders", &bench.shop, &order("W-2")).await.is(201);
    assert_eq!(next["window"]["closes_at"], "2026-11-21T22:00:00Z");
    // Ops release the window of W-2 while it is open: the next order finds it closed, and waits for tomorrow.
    let batch = next["window"]["batch"].as_str().unwrap();
    let path = format!("/v1/batches/{batch}/release");
    bench.post(&path, &bench.ops, &json!({"reason": "the courier is early"})).await.is(200);
    let after = bench.post("/v1/orders", &bench.shop, &order("W-3")).await.is(201);
    assert_eq!(after["window"]["closes_at"], "2026-11-22T12:30:00Z");
}
