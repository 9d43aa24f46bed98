//! Endpoints over HTTP: who may see them, what is refused by name, and that a secret is shown once.

use serde_json::{Value, json};

use crate::api::Bench;

const URL: &str = "https://hooks.example/stoppress";

async fn made(bench: &Bench, key: &str, body: Value) -> Value {
    bench.post("/v1/webhooks", key, &body).await.is(201)
}

#[tokio::test]
async fn a_secret_is_shown_once_and_never_again() {
    let bench = Bench::new().await;
    let first = made(&bench, &bench.shop, json!({"url": URL})).await;
    let secret = first["secret"].as_str().unwrap().to_owned();
    assert!(standardwebhooks::Webhook::new(&secret).is_ok() && secret.starts_with("whsec_"), "{first}");
    let id = first["id"].as_str().unwrap();
    let path = format!("/v1/webhooks/{id}");
    let shown = bench.get(&path, &bench.shop).await;
    assert_eq!(shown.header("etag"), "\"1\"");
    let shown = shown.is(200);
    assert_eq!(shown["secret"], Value::Null);
    assert_eq!((shown["events"].clone(), shown["enabled"].as_bool()), (json!(["*"]), Some(true)));
    let list = bench.get("/v1/webhooks", &bench.shop).await.is(200);
    assert_eq!((list["webhooks"].as_array().unwrap().len(), &list["next"]), (1, &Value::Null));
    // Also not by a repeat of the same request.
    let key = [("idempotency-key", "once")];
    let body = json!({"url": URL});
    let one = bench.call("POST", "/v1/webhooks", &bench.shop, Some(&body), &key).await.is(201);
    let two = bench.call("POST", "/v1/webhooks", &bench.shop, Some(&body), &key).await.is(201);
    assert_eq!((one["id"] == two["id"], two["secret"].is_null()), (true, true), "{two}");
    let rotated = bench.post(&format!("{path}/rotate-secret"), &bench.shop, &json!({})).await.is(200);
    assert!(rotated["secret"].is_string() && rotated["secret"] != first["secret"].as_str().unwrap());
    for text in [list.to_string(), bench.get("/v1/events", &bench.ops).await.is(200).to_string()] {
        for secret in [&first["secret"], &rotated["secret"], &one["secret"]] {
            assert!(!text.contains(secret.as_str().unwrap()), "{text}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_is_its_platforms_and_of_ops() {
    let bench = Bench::new().await;
    let own = made(&bench, &bench.shop, json!({"url": URL})).await;
    let theirs = made(&bench, &bench.ops, json!({"url": URL, "platform": "other"})).await;
    let path = |one: &Value| format!("/v1/webhooks/{}", one["id"].as_str().unwrap());
    bench.get(&path(&own), &bench.shop).await.is(200);
    bench.get(&path(&own), &bench.ops).await.is(200);
    bench.get(&path(&theirs), &bench.other).await.is(200);
    for (call, body) in [
        ("GET ", None),
        ("PATCH ", Some(json!({"enabled": false}))),
        ("DELETE ", None),
        ("POST /ping", None),
        ("POST /rotate-secret", Some(json!({}))),
        ("GET /deliveries", None),
        ("POST /replay", Some(json!({"message": "msg_1"}))),
    ] {
        let (method, tail) = call.split_once(' ').unwrap();
        let body: Option<Value> = body;
        let at = format!("{}{tail}", path(&own));
        bench.call(method, &at, &bench.other, body.as_ref(), &[]).await.problem(404, "not_found");
        let nobody = at.replace(own["id"].as_str().unwrap(), &format!("whk_{}", "0".repeat(32)));
        bench.call(method, &nobody, &bench.other, body.as_ref(), &[]).await.problem(404, "not_found");
    }
    let list = |key: &str| {
        let (bench, key) = (&bench, key.to_owned());
        async move { bench.get("/v1/webhooks", &key).await.is(200)["webhooks"].as_array().unwrap().len() }
    };
    assert_eq!((list(&bench.shop).await, list(&bench.other).await, list(&bench.ops).await), (1, 1, 2));
    let of = bench.get("/v1/webhooks?platform=other", &bench.ops).await.is(200);
    assert_eq!(of["webhooks"][0]["id"], theirs["id"]);
    bench.get("/v1/webhooks?platform=other", &bench.shop).await.problem(422, "invalid");
    bench.get("/v1/webhooks", &bench.lab).await.problem(403, "forbidden");
    // Its platform sees in the feed what was done to it; others do not.
    let kinds = |page: Value| {
        let events = page["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let seen = kinds(bench.get("/v1/events?limit=200", &bench.shop).await.is(200));
    assert_eq!(seen.iter().filter(|kind| *kind == "webhook.created").count(), 1, "{seen:?}");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let bench = Bench::new().await;
    let long = "x".repeat(201);
    for (body, field) in [
        (json!({"url": URL, "events": []}), "events"),
        (json!({"url": URL, "events": ["stop.stoped"]}), "events[0]"),
        (json!({"url": URL, "events": ["*", "label.*"]}), "events[1]"),
        (json!({"url": URL, "events": ["stop"]}), "events[0]"),
        (json!({"url": URL, "events": vec!["*"; 51]}), "events"),
        (json!({"url": URL, "description": long}), "description"),
        (json!({"url": URL, "secret": "short"}), "secret"),
        (json!({"url": URL, "secret": "whsec_c2hvcnQ="}), "secret"),
        (json!({"url": URL, "platform": "other"}), "platform"),
        (json!({"url": "nonsense"}), "url"),
        (json!({"url": "https://refused.example/"}), "url"),
        (json!({"url": URL, "colour": 1}), "colour"),
        (json!({}), "url"),
    ] {
        let reply = bench.post("/v1/webhooks", &bench.shop, &body).await;
        let problem = reply.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
        assert!(!problem.to_string().contains("whsec_c2"), "{problem}");
    }
    let hint = bench.post("/v1/webhooks", &bench.shop, &json!({"url": URL, "events": ["stop.stoped"]})).await;
    assert!(hint.text.contains("did you mean \\\"stop.stopped\\\"?"), "{}", hint.text);
    bench.post("/v1/webhooks", &bench.ops, &json!({"url": URL})).await.problem(422, "invalid");
    bench
        .post("/v1/webhooks", &bench.ops, &json!({"url": URL, "platform": "nobody"}))
        .await
        .problem(422, "invalid");
    let own = made(&bench, &bench.shop, json!({"url": URL})).await;
    let path = format!("/v1/webhooks/{}", own["id"].as_str().unwrap());
    let keep = json!({"keep_old": "169h"});
    let reply = bench.post(&format!("{path}/rotate-secret"), &bench.shop, &keep).await;
    assert_eq!(reply.problem(422, "invalid")["errors"][0]["field"], "keep_old");
}

#[tokio::test]
async fn a_definition_is_changed_by_version_and_an_endpoint_deleted() {
    let bench = Bench::new().await;
    let own = made(&bench, &bench.shop, json!({"url": URL, "description": "first"})).await;
    let path = format!("/v1/webhooks/{}", own["id"].as_str().unwrap());
    let patch = |body: Value, version: Option<&'static str>| {
        let (bench, path) = (&bench, path.clone());
        async move {
            let head: Vec<(&'static str, &'static str)> =
                version.map(|version| ("if-match", version)).into_iter().collect();
            bench.call("PATCH", &path, &bench.shop, Some(&body), &head).await
        }
    };
    let changed = patch(json!({"events": ["stop.*", "order.shipped"]}), Some("\"1\"")).await.is(200);
    assert_eq!((changed["version"].as_i64(), changed["description"].as_str()), (Some(2), Some("first")));
    patch(json!({"enabled": false}), Some("\"1\"")).await.problem(412, "version_mismatch");
    let same = patch(json!({"description": "first"}), None).await.is(200);
    assert_eq!(same["version"], 2, "nothing changed");
    let off = patch(json!({"enabled": false}), None).await.is(200);
    assert_eq!((off["enabled"].as_bool(), off["switched_off"].is_null()), (Some(false), true));
    bench.call("DELETE", &path, &bench.shop, None, &[]).await.is(204);
    bench.get(&path, &bench.shop).await.problem(404, "not_found");
    bench.call("DELETE", &path, &bench.shop, None, &[]).await.problem(404, "not_found");
    // There is an end to how many a platform may have.
    for _ in 0..50 {
        made(&bench, &bench.shop, json!({"url": URL})).await;
    }
    bench.post("/v1/webhooks", &bench.shop, &json!({"url": URL})).await.problem(409, "too_many_webhooks");
    made(&bench, &bench.other, json!({"url": URL})).await;
    let page = bench.get("/v1/webhooks?limit=30", &bench.shop).await.is(200);
    let next = page["next"].as_str().unwrap();
    let rest = bench.get(&format!("/v1/webhooks?limit=30&cursor={next}"), &bench.shop).await.is(200);
    assert_eq!((rest["webhooks"].as_array().unwrap().len(), &rest["next"]), (20, &Value::Null));
}
