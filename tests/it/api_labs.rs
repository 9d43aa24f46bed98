//! Labs, batches, the lab's own side, escalations.

use serde_json::{Value, json};

use crate::api::{Bench, lab, order};

#[tokio::test]
async fn a_promised_cutoff_moves_later_or_stays() {
    let bench = Bench::new().await;
    bench.admitted("A-1").await;
    let closes =
        async || bench.get("/v1/orders/@A-1", &bench.shop).await.is(200)["window"]["closes_at"].clone();
    // Earlier: it stays, and the answer says so.
    let put = bench.put("/v1/labs/nord", &lab(&json!(["20:00"]))).await.is(200);
    let kept = &put["kept_promises"][0];
    assert_eq!(
        (&kept["closes_at"], &kept["calendar_says"]),
        (&json!("2026-11-21T22:00:00Z"), &json!("2026-11-21T18:00:00Z"))
    );
    assert_eq!(closes().await, "2026-11-21T22:00:00Z");
    // A new order joins the new window.
    let new = bench.post("/v1/orders", &bench.shop, &order("A-2")).await.is(201);
    assert_eq!(new["window"]["closes_at"], "2026-11-21T18:00:00Z");
    bench.post("/v1/orders/@A-2/hold", &bench.shop, &json!({})).await.is(200);
    // Later: it moves, and the verdict promises the later instant.
    let mut spec = lab(&json!(["10:00"]));
    spec["name"] = json!("Nord");
    let put = bench.put("/v1/labs/nord", &spec).await.is(200);
    // Both windows that were open moved to it.
    let closing: Vec<&str> = put["kept_promises"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|kept| kept["closes_at"].as_str())
        .collect();
    assert_eq!(closing, ["2026-11-22T08:00:00Z"; 2], "{put}");
    let now = closes().await;
    assert_eq!(now, closing[0]);
    let again = bench.put("/v1/labs/nord", &spec).await.is(200);
    assert_eq!(again["kept_promises"], Value::Null, "nothing is left to do");
    // A region that is gone leaves its window as it was.
    let mut gone = lab(&json!(["24:00"]));
    gone["regions"][0]["id"] = json!("se");
    let put = bench.put("/v1/labs/nord", &gone).await.is(200);
    assert_eq!(put["kept_promises"][0]["calendar_says"], Value::Null);
    assert_eq!(closes().await, now);
}

/// The path of the batch of an order.
async fn batch_of(bench: &Bench, order: &str) -> String {
    let order = bench.get(&format!("/v1/orders/@{order}"), &bench.shop).await.is(200);
    format!("/v1/batches/{}", order["window"]["batch"].as_str().unwrap())
}

/// Where the window of an order ends, and what its log says of its calendar.
async fn window(bench: &Bench, order: &str) -> (String, Vec<String>) {
    let path = format!("/v1/orders/@{order}");
    let order = bench.get(&path, &bench.shop).await.is(200);
    let log = bench.get(&format!("{path}/changelog"), &bench.shop).await.is(200);
    let kinds = log["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str());
    let moves = kinds.filter(|kind| ["batch.postponed", "batch.promise_kept"].contains(kind));
    (order["window"]["closes_at"].as_str().unwrap().to_owned(), moves.map(str::to_owned).collect())
}

#[tokio::test]
async fn what_ops_have_postponed_stays_whatever_is_changed_of_its_lab() {
    let bench = Bench::new().await;
    bench.admitted("A-1").await;
    let batch = batch_of(&bench, "A-1").await;
    let late = json!({"until": "2026-11-22T00:00:00Z", "reason": "late truck"});
    bench.post(&format!("{batch}/postpone"), &bench.ops, &late).await.is(200);
    let postponed = ("2026-11-22T00:00:00Z".to_owned(), vec!["batch.postponed".to_owned()]);
    let mut spec = lab(&json!(["24:00"]));
    // Before the cutoff that it had, and after it.
    for (now, name) in [("2026-11-21T21:00:00Z", "Nord 1"), ("2026-11-21T22:30:00Z", "Nord 2")] {
        bench.clock.set(now.parse().unwrap());
        spec["name"] = json!(name);
        let put = bench.put("/v1/labs/nord", &spec).await.is(200);
        assert_eq!(put["kept_promises"], Value::Null, "nothing was changed about it: {now}");
        assert_eq!(window(&bench, "A-1").await, postponed, "{now}");
    }
    // Another calendar: earlier it stays, and later than it was postponed to it moves.
    let put = bench.put("/v1/labs/nord", &lab(&json!(["23:00"]))).await.is(200);
    assert_eq!(put["kept_promises"][0]["calendar_says"], "2026-11-21T21:00:00Z", "{put}");
    assert_eq!(window(&bench, "A-1").await.0, postponed.0);
    bench.clock.set("2026-11-21T22:31:00Z".parse().unwrap());
    bench.put("/v1/labs/nord", &lab(&json!(["01:00"]))).await.is(200);
    assert_eq!(window(&bench, "A-1").await.0, postponed.0);
}

#[tokio::test]
async fn a_window_is_compared_with_its_own_cutoff_not_with_the_next() {
    let bench = Bench::new().await;
    bench.admitted("A-1").await;
    let batch = batch_of(&bench, "A-1").await;
    bench.post(&format!("{batch}/release"), &bench.ops, &json!({"reason": "full truck"})).await.is(200);
    // Tonight's has gone: this one waits for tomorrow's.
    bench.admitted("A-2").await;
    let tomorrow = ("2026-11-22T22:00:00Z".to_owned(), Vec::new());
    assert_eq!(window(&bench, "A-2").await, tomorrow);
    let mut spec = lab(&json!(["24:00"]));
    spec["name"] = json!("Nord");
    let put = bench.put("/v1/labs/nord", &spec).await.is(200);
    assert_eq!((&put["kept_promises"], window(&bench, "A-2").await), (&Value::Null, tomorrow));
    // Of two cutoffs a day each window goes with its own.
    let put = bench.put("/v1/labs/nord", &lab(&json!(["12:00", "24:00"]))).await.is(200);
    assert_eq!(put["kept_promises"], Value::Null, "{put}");
    bench.clock.set("2026-11-22T08:00:00Z".parse().unwrap());
    bench.admitted("A-3").await;
    assert_eq!(window(&bench, "A-3").await.0, "2026-11-22T10:00:00Z");
    bench.put("/v1/labs/nord", &lab(&json!(["13:00", "24:00"]))).await.is(200);
    assert_eq!(window(&bench, "A-3").await.0, "2026-11-22T11:00:00Z", "the first that is not earlier");
    assert_eq!(window(&bench, "A-2").await.0, "2026-11-22T22:00:00Z");
}

#[tokio::test]
async fn labs_are_checked_versioned_and_shown_as_far_as_they_may() {
    let bench = Bench::new().await;
    let mut bad = lab(&json!(["25:00"]));
    bad["driver"]["kind"] = json!("fax");
    bad["profile"]["concurrency"] = json!(0);
    let refused = bench.put("/v1/labs/nord", &bad).await.problem(422, "invalid");
    let fields: Vec<&str> =
        refused["errors"].as_array().unwrap().iter().filter_map(|e| e["field"].as_str()).collect();
    assert_eq!(fields, ["driver.kind", "profile.concurrency", "regions[0].calendar.cutoffs[0]"]);
    let refused = bench.put("/v1/labs/sued", &lab(&json!(["24:00"]))).await.problem(422, "invalid");
    assert_eq!(refused["errors"][0]["field"], "id");

    let seen = bench.get("/v1/labs/nord", &bench.ops).await;
    let tag = seen.header("etag").to_owned();
    assert_eq!(seen.is(200)["driver"]["kind"], "person");
    let put = async |tag: &str| {
        bench
            .call("PUT", "/v1/labs/nord", &bench.ops, Some(&lab(&json!(["23:00"]))), &[("if-match", tag)])
            .await
    };
    put("\"99\"").await.problem(412, "version_mismatch");
    put("\"0\"").await.problem(412, "version_mismatch");
    assert_ne!(put(&tag).await.header("etag"), tag);

    let shop = bench.get("/v1/labs/nord", &bench.shop).await.is(200);
    assert_eq!(
        (&shop["driver"], &shop["policy"]["contact"]["email"]),
        (&Value::Null, &json!("help@nord.example"))
    );
    let mut hidden = lab(&json!(["23:00"]));
    hidden["policy"]["stops_via"] = json!("gateway_only");
    bench.put("/v1/labs/nord", &hidden).await.is(200);
    assert_eq!(bench.get("/v1/labs", &bench.shop).await.is(200)["labs"][0]["policy"]["contact"], Value::Null);
    assert_eq!(bench.get("/v1/labs", &bench.lab).await.is(200)["labs"].as_array().unwrap().len(), 1);
    hidden["id"] = json!("sued");
    bench.put("/v1/labs/sued", &hidden).await.is(201);
    bench.get("/v1/labs/sued", &bench.lab).await.problem(404, "not_found");
    assert_eq!(bench.get("/v1/labs?limit=1", &bench.ops).await.is(200)["labs"].as_array().unwrap().len(), 1);
    bench.put("/v1/labs/nord", &lab(&json!(["23:00"]))).await.is(200);
    let paused =
        bench.post("/v1/labs/nord/pause", &bench.ops, &json!({"reason": "fire drill"})).await.is(200);
    assert_eq!(paused["pause_reason"], "fire drill");
    bench.admitted("A-1").await;
    bench.call("DELETE", "/v1/labs/nord", &bench.ops, None, &[]).await.problem(409, "lab_in_use");
    assert_eq!(
        bench.post("/v1/labs/nord/resume", &bench.ops, &json!({})).await.is(200)["paused_at"],
        Value::Null
    );
    assert_eq!(bench.call("DELETE", "/v1/labs/sued", &bench.ops, None, &[]).await.status, 204);
    bench.get("/v1/labs/sued", &bench.ops).await.problem(404, "not_found");
    bench.post("/v1/labs/nord/pause", &bench.ops, &json!({"reason": " "})).await.problem(422, "invalid");
}

#[tokio::test]
async fn cutoffs_are_listed() {
    let bench = Bench::new().await;
    let path = "/v1/labs/nord/regions/fi/cutoffs";
    let list = bench.get(path, &bench.shop).await.is(200);
    assert_eq!(list["cutoffs"].as_array().unwrap().len(), 14);
    assert_eq!(list["cutoffs"][0]["closes_at"], "2026-11-21T22:00:00Z");
    assert_eq!(list["time_zone"], "Europe/Helsinki");
    let ics = bench.get(&format!("{path}.ics"), &bench.shop).await;
    assert_eq!(ics.header("content-type"), "text/calendar; charset=utf-8");
    assert_eq!(ics.text.matches("BEGIN:VEVENT").count(), 62);
    bench.get("/v1/labs/nord/regions/xx/cutoffs", &bench.shop).await.problem(404, "not_found");
    let long = format!("{path}?from=2026-01-01T00:00:00Z&to=2028-01-01T00:00:00Z");
    assert_eq!(bench.get(&long, &bench.shop).await.problem(422, "invalid")["errors"][0]["field"], "to");
}

#[tokio::test]
async fn batches_are_postponed_and_released() {
    let bench = Bench::new().await;
    let new = bench.post("/v1/orders", &bench.shop, &order("A-1")).await.is(201);
    let batch = format!("/v1/batches/{}", new["window"]["batch"].as_str().unwrap());
    let seen = bench.get(&batch, &bench.ops).await.is(200);
    assert_eq!(
        (&seen["orders"], &seen["phase"], &seen["transfers"]),
        (&json!(1), &json!("open"), &json!([]))
    );
    bench.get(&batch, &bench.lab).await.is(200);
    assert_eq!(bench.get("/v1/batches?phase=open", &bench.ops).await.is(200)["batches"][0]["id"], seen["id"]);
    assert_eq!(bench.get("/v1/lab/batches", &bench.lab).await.is(200)["batches"][0]["id"], seen["id"]);
    let postpone = async |until: &str| {
        bench
            .post(&format!("{batch}/postpone"), &bench.ops, &json!({"until": until, "reason": "late truck"}))
            .await
    };
    postpone("2026-11-21T20:00:00Z").await.problem(409, "earlier_than_promised");
    postpone("2026-11-21T11:00:00Z").await.problem(422, "invalid");
    let later = postpone("2026-11-21T23:30:00Z").await.is(200);
    assert_eq!(later["window"]["closes_at_local"], "2026-11-22T01:30:00+02:00[Europe/Helsinki]");
    let path = format!("{batch}/release");
    bench.post(&path, &bench.ops, &json!({"reason": ""})).await.problem(422, "invalid");
    assert_ne!(bench.post(&path, &bench.ops, &json!({"reason": "now"})).await.is(200)["phase"], "open");
    bench.post(&path, &bench.ops, &json!({"reason": "now"})).await.problem(409, "batch_not_open");
}

#[tokio::test]
async fn a_lab_cannot_report_what_it_was_never_given() {
    let bench = Bench::new().await;
    let id = bench.admitted("A-1").await;
    let path = format!("/v1/lab/orders/{id}/status");
    bench.post(&path, &bench.lab, &json!({"stage": "shipped"})).await.problem(409, "not_handed_over");
    bench.post(&path, &bench.shop, &json!({"stage": "shipped"})).await.problem(403, "forbidden");
    bench.post(&path, &bench.lab, &json!({"stage": "lost"})).await.problem(422, "invalid");
    let stop = bench.post("/v1/orders/@A-1/stop", &bench.shop, &json!({})).await.is(200)["stop"].clone();
    let path = format!("/v1/lab/stops/{}/answer", stop["id"].as_str().unwrap());
    // It was decided before: the same word is taken, the contrary one is evidence.
    assert_eq!(
        bench.post(&path, &bench.lab, &json!({"answer": "removed"})).await.is(200)["stop"]["state"],
        "stopped"
    );
    bench.post(&path, &bench.lab, &json!({"answer": "will_print"})).await.problem(409, "already_decided");
    bench.get("/v1/lab/stops?lab=sued", &bench.lab).await.problem(404, "not_found");
    assert_eq!(
        bench.get("/v1/lab/stops?state=stopped", &bench.lab).await.is(200)["stops"][0]["id"],
        stop["id"]
    );
    let none = format!("/v1/escalations/esc_{}/resolve", "0".repeat(32));
    let decision = json!({"decision": "noted", "reason": "seen"});
    bench.post(&none, &bench.ops, &decision).await.problem(404, "not_found");
    bench.get("/v1/escalations?open=true", &bench.ops).await.is(200);
}

#[tokio::test]
async fn the_usual_places_are_open() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/healthz", "").await.text, "ok\n");
    let ready = bench.get("/readyz", "").await.is(200);
    assert_eq!((&ready["status"], &ready["replica"]), (&json!("ready"), &json!("test")));
    assert!(ready["tzdata"].as_str().unwrap().starts_with("20"));
    assert_eq!(bench.get("/metrics", "").await.text, "up 1\n");
    assert!(bench.get("/problems", "").await.text.contains("id=\"reference_taken\""));
}
