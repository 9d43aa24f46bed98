//! Small things of the surface that a lab or a platform can get wrong, on both engines.

use serde_json::{Value, json};

use crate::api::{Bench, lab};
use crate::common::world::World;

async fn benches() -> [Bench; 2] {
    [Bench::new().await, Bench::over(World::postgres().await).await]
}

#[tokio::test]
async fn a_reference_that_cannot_be_names_no_order() {
    for bench in benches().await {
        bench.admitted("A-1").await;
        let long = "x".repeat(129);
        for reference in ["%00", "A-1%00", "%0A", long.as_str(), "A-2"] {
            for (method, rest) in [
                ("GET", ""),
                ("GET", "/verdict"),
                ("GET", "/changelog"),
                ("GET", "/stop"),
                ("POST", "/stop"),
                ("POST", "/pay"),
                ("POST", "/hold"),
                ("PATCH", ""),
            ] {
                let path = format!("/v1/orders/@{reference}{rest}");
                let to = json!({"name": "n", "line1": "l", "city": "c", "country": "FI"});
                let body = match method {
                    "GET" => None,
                    "PATCH" => Some(json!({"ship_to": to})),
                    _ => Some(json!({})),
                };
                let reply = bench.call(method, &path, &bench.shop, body.as_ref(), &[]).await;
                reply.problem(404, "not_found");
            }
        }
        let refused = bench.get("/v1/orders?reference=%00", &bench.shop).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["field"], "reference");
        bench.get("/v1/orders/%00", &bench.shop).await.problem(404, "not_found");
        bench.get("/v1/labs/%00", &bench.shop).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_text_with_a_nul_is_refused_by_name() {
    for bench in benches().await {
        bench.admitted("A-1").await;
        let named = |body: Value| body["errors"][0]["field"].clone();
        for field in ["reason", "comment"] {
            let refused = bench.post("/v1/orders/@A-1/stop", &bench.shop, &json!({field: "a\0b"})).await;
            assert_eq!(named(refused.problem(422, "invalid")), field);
        }
        let stop = bench.post("/v1/orders/@A-1/stop", &bench.shop, &json!({})).await.is(200)["stop"].clone();
        let path = format!("/v1/lab/stops/{}/answer", stop["id"].as_str().unwrap());
        let refused = bench.post(&path, &bench.lab, &json!({"answer": "removed", "reason": "\0"})).await;
        assert_eq!(named(refused.problem(422, "invalid")), "reason");
        let paused = bench.post("/v1/labs/nord/pause", &bench.ops, &json!({"reason": "\0"})).await;
        assert_eq!(named(paused.problem(422, "invalid")), "reason");
        // What a NUL may stand in, it stands in: metadata is the platform's own.
        let mut order = crate::api::order("A-2");
        order["metadata"] = json!({"note": "a\0b"});
        bench.post("/v1/orders", &bench.shop, &order).await.is(201);
        assert_eq!(bench.get("/v1/orders/@A-2", &bench.shop).await.is(200)["metadata"]["note"], "a\0b");
    }
}

#[tokio::test]
async fn a_contact_that_is_promised_is_there() {
    let bench = Bench::new().await;
    let mut spec = lab(&json!(["24:00"]));
    spec["policy"] = json!({"stops_via": "contact"});
    let refused = bench.put("/v1/labs/nord", &spec).await.problem(422, "invalid");
    assert_eq!(refused["errors"][0]["field"], "policy.contact");
    spec["policy"]["contact"] = json!({"hours": "always", "phone": " "});
    let refused = bench.put("/v1/labs/nord", &spec).await.problem(422, "invalid");
    assert_eq!(refused["errors"][0]["field"], "policy.contact.phone");
    spec["policy"]["contact"] = json!({"phone": "+358 1"});
    bench.put("/v1/labs/nord", &spec).await.is(200);
}

#[test]
fn a_secret_that_is_missing_is_named_once() {
    let clock = crate::lab_support::clock();
    let mut tools = crate::lab_support::tools(&clock);
    tools.secrets = std::sync::Arc::new(stoppress::config::secret);
    for (kind, field, at) in [("http", "base_url", "/stoppress"), ("grpc", "endpoint", "")] {
        for named in ["env", "file"] {
            let driver = json!({"kind": kind, field: format!("https://lab.example{at}"),
                "secret": {named: "/nothing/has/this/name"}});
            let fault = stoppress::lab::connect(&crate::lab_support::spec(driver), &tools).unwrap_err();
            assert_eq!(fault.field, format!("driver.secret.{named}"), "{fault}");
        }
    }
}
