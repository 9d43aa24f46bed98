//! Keys, roles, limits, idempotency: what holds for every route.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use stoppress::api::limits::{Budget, Budgets};
use stoppress::domain::event::Actor;
use stoppress::store::{self, Write};

use crate::api::{Bench, order};

#[tokio::test]
async fn what_is_no_route_says_so() {
    let bench = Bench::new().await;
    bench.get("/v1/nothing", &bench.ops).await.problem(404, "no_such_route");
    bench.get("/nothing", "").await.problem(404, "no_such_route");
    let reply = bench.call("DELETE", "/v1/orders", &bench.ops, None, &[]).await;
    assert!(reply.header("allow").contains("POST"));
    reply.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn without_a_valid_key_nothing() {
    let bench = Bench::new().await;
    let missing = bench.get("/v1/orders", "").await;
    assert!(missing.header("www-authenticate").starts_with("Bearer"));
    let text = missing.text.clone();
    missing.problem(401, "unauthenticated");
    for key in ["x", "sp_aaaaaaaaaaaa_00", &bench.shop[..bench.shop.len() - 1]] {
        let reply = bench.get("/v1/orders", key).await;
        assert_eq!(reply.text, text, "one text for every way to be wrong");
        reply.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn keys_are_shown_once_and_end() {
    let bench = Bench::new().await;
    let ask =
        json!({"scope": "platform", "owner": "shop", "name": "till", "expires_at": "2026-11-21T13:00:00Z"});
    let made =
        bench.call("POST", "/v1/keys", &bench.ops, Some(&ask), &[("idempotency-key", "k1")]).await.is(201);
    let secret = made["secret"].as_str().unwrap();
    bench.get("/v1/orders", secret).await.is(200);
    // The repeat names the same key, and cannot show it again.
    let again = bench.call("POST", "/v1/keys", &bench.ops, Some(&ask), &[("idempotency-key", "k1")]).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    let again = again.is(201);
    assert_eq!((&again["id"], &again["secret"]), (&made["id"], &Value::Null));
    let list = bench.get("/v1/keys", &bench.ops).await;
    assert!(!list.text.contains(secret) && !list.text.contains("hash"), "{}", list.text);
    assert_eq!(list.is(200)["keys"].as_array().unwrap().len(), 5);
    let id = made["id"].as_str().unwrap();
    bench.pass(3600);
    bench.get("/v1/orders", secret).await.problem(401, "unauthenticated");
    // Revoked here: at once. Elsewhere: once it was read again.
    let revoke = |id: &str| format!("/v1/keys/{id}");
    let mine = &bench.shop[3..15];
    assert_eq!(bench.call("DELETE", &revoke(mine), &bench.ops, None, &[]).await.status, 204);
    bench.get("/v1/orders", &bench.shop).await.problem(401, "unauthenticated");
    assert_eq!(bench.call("DELETE", &revoke(id), &bench.ops, None, &[]).await.status, 204);
    bench.call("DELETE", &revoke("nothing"), &bench.ops, None, &[]).await.problem(404, "not_found");
    let write = Write::RevokeKey {
        id: bench.other[3..15].into(),
        at: made["created_at"].as_str().unwrap().parse().unwrap(),
        actor: Actor::gateway(),
    };
    store::one(&*bench.store, write).await.unwrap();
    let end = tokio_util::sync::CancellationToken::new();
    let (api, stop) = (bench.api.clone(), end.clone());
    let fresh = tokio::spawn(async move { api.keep_fresh(stop).await });
    for _ in 0..200 {
        bench.pass(1);
        tokio::task::yield_now().await;
        if bench.get("/v1/orders", &bench.other).await.status == 401 {
            break;
        }
    }
    bench.get("/v1/orders", &bench.other).await.problem(401, "unauthenticated");
    end.cancel();
    fresh.await.unwrap();

    for (body, field) in [
        (json!({"scope": "platform", "owner": "nobody", "name": "x"}), "owner"),
        (json!({"scope": "ops", "owner": "shop", "name": "x"}), "owner"),
        (json!({"scope": "lab", "owner": "nord", "name": ""}), "name"),
        (
            json!({"scope": "lab", "owner": "nord", "name": "x", "expires_at": "2020-01-01T00:00:00Z"}),
            "expires_at",
        ),
        (json!({"scope": "root", "name": "x"}), "scope"),
    ] {
        let refused = bench.post("/v1/keys", &bench.ops, &body).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_answer() {
    let bench = Bench::new().await;
    let send = async |path: &str, key: &str, body: &Value, name: &str| {
        bench.call("POST", path, key, Some(body), &[("idempotency-key", name)]).await
    };
    let first = send("/v1/orders", &bench.shop, &order("I-1"), "\"one\"").await;
    assert!(first.headers.get("idempotency-replayed").is_none());
    let first = first.is(201);
    let again = send("/v1/orders", &bench.shop, &order("I-1"), "one").await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.is(201), first, "the same status too, not the 200 of a known reference");
    send("/v1/orders", &bench.shop, &order("I-2"), "one").await.problem(422, "idempotency_key_reused");
    // Another caller's key, and another route's, are other keys.
    send("/v1/orders", &bench.other, &order("I-2"), "one").await.is(201);
    send("/v1/orders/@I-1/hold", &bench.shop, &json!({}), "one").await.is(200);
    // The same key for the same call on another order is another request.
    bench.admitted("I-3").await;
    send("/v1/orders/@I-3/hold", &bench.shop, &json!({}), "one").await.problem(422, "idempotency_key_reused");
    // What was refused is not remembered.
    let mut broken = order("I-4");
    broken["items"] = json!([]);
    send("/v1/orders", &bench.shop, &broken, "two").await.problem(422, "invalid");
    send("/v1/orders", &bench.shop, &order("I-4"), "two").await.is(201);
    for bad in ["", "\"\"", &"x".repeat(256)] {
        send("/v1/orders", &bench.shop, &order("I-5"), bad).await.problem(400, "idempotency_key_invalid");
    }
}

#[tokio::test]
async fn one_key_runs_once_at_a_time() {
    let bench = Bench::new().await;
    let send = async || {
        let headers = [("idempotency-key", "race")];
        bench.call("POST", "/v1/orders", &bench.shop, Some(&order("R-1")), &headers).await.status.as_u16()
    };
    let (a, b, c) = tokio::join!(send(), send(), send());
    let mut seen = [a, b, c];
    seen.sort_unstable();
    assert!(seen.contains(&201) && seen.iter().all(|status| [201, 409].contains(status)), "{seen:?}");
    assert_eq!(bench.get("/v1/orders", &bench.shop).await.is(200)["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn budgets_hold_and_stops_have_their_own() {
    let tight = Budget { per_second: 1, burst: 2 };
    let writes = Budget { per_second: 1, burst: 3 };
    let bench = Bench::with(Budgets { writes, stops: tight, reads: tight, ..Budgets::default() }).await;
    bench.admitted("L-0").await;
    bench.admitted("L-1").await;
    bench.admitted("L-2").await;
    let refused = bench.post("/v1/orders", &bench.shop, &order("L-3")).await;
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit"), "\"writes\";r=0;t=1");
    assert_eq!(refused.header("ratelimit-policy"), "\"writes\";q=3;w=3");
    refused.problem(429, "rate_limited");
    // Another key, and stops, are not touched by it.
    bench.post("/v1/orders", &bench.other, &order("L-3")).await.is(201);
    bench.post("/v1/orders/@L-1/stop", &bench.shop, &json!({})).await.is(200);
    bench.pass(1);
    bench.admitted("L-3").await;
}

#[tokio::test]
async fn bodies_have_bounds() {
    let bench = Bench::new().await;
    let mut large = order("X-1");
    large["metadata"] = json!({"a": "b".repeat(300 * 1024)});
    bench.post("/v1/orders", &bench.shop, &large).await.problem(413, "too_large");
    let id = bench.admitted("X-2").await;
    let comment = json!({"comment": "b".repeat(17 * 1024)});
    bench.post(&format!("/v1/orders/{id}/stop"), &bench.shop, &comment).await.problem(413, "too_large");
    let plain = Request::post("/v1/orders")
        .header("authorization", format!("Bearer {}", bench.shop))
        .header("content-type", "text/plain")
        .body(Body::from("{}"))
        .unwrap();
    bench.raw(plain).await.problem(415, "media_type");
    bench.call("POST", "/v1/orders", &bench.shop, None, &[]).await.problem(400, "malformed");
}

#[tokio::test]
async fn the_body_of_a_stop_must_come_soon() {
    let bench = Bench::new().await;
    let id = bench.admitted("S-1").await;
    let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
    let slow = Request::post(format!("/v1/orders/{id}/stop"))
        .header("authorization", format!("Bearer {}", bench.shop))
        .header("content-type", "application/json")
        .body(Body::from_stream(never))
        .unwrap();
    bench.raw(slow).await.problem(408, "too_slow");
}
