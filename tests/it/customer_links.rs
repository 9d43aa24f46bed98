//! Links for customers: what opens one, what ends it, and that whatever is wrong looks the same.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hyper::http::Method;
use serde_json::{Value, json};

use crate::customer_support::{Customer, allow, link};
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";

async fn rig() -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10});
    let rig = Rig::new(EVENING, "http", profile, json!({"prints_after": "12h"})).await;
    allow(&rig, "on").await;
    rig
}

#[tokio::test]
async fn a_link_is_swapped_for_a_session_and_leaves_no_trace() {
    let rig = rig().await;
    let order = rig.order("2026-1001").await;
    let (path, made) = link(&rig, &order, "stop").await;
    assert_eq!(made["expires_at"], "2026-11-22T22:00:00Z", "a day after the cutoff");
    let token = path.rsplit('/').next().unwrap();
    let customer = Customer::new(&rig);
    for _ in 0..3 {
        let page = customer.get(&path).await;
        assert_eq!((page.status, page.header("location")), (303, "../c"));
        assert_eq!(
            (page.header("referrer-policy"), page.header("cache-control")),
            ("no-referrer", "no-store")
        );
        assert!(!page.text.contains(token) && !customer.cookie().contains(token));
    }
    let page = customer.get("/c?lang=en").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!((page.header("referrer-policy"), page.header("cache-control")), ("same-origin", "no-store"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(page.text.contains("Order ending in 1001 · 1 item"), "{}", page.text);
    // Neither an address nor the whole number, nor what it is at the lab or here.
    for secret in [token, "2026-1001", &order, "nordprint", "Nordprint", "ship_to", ">n<"] {
        assert!(!page.text.contains(secret), "{secret} is in {}", page.text);
    }
    let form = page.form();
    customer.get(&path).await;
    assert_eq!(customer.get("/c").await.form(), form, "opened twice in one browser: what is open stays good");
    assert_ne!(Customer::of(&rig, &order, "stop").await.get("/c").await.form(), form, "another browser");
    assert_eq!(rig.read(&order).await["state"], "in_batch", "looking changes nothing");
    assert_eq!(rig.kinds(&order).await, ["batch.opened", "order.admitted"]);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_link_the_page_is_the_same() {
    let rig = rig().await;
    let order = rig.order("A-1").await;
    let (path, _) = link(&rig, &order, "stop").await;
    let token = path.rsplit('/').next().unwrap();
    let over = Customer::new(&rig).get("/c/nothing").await;
    assert!(over.is_over(), "{over:?}");
    let mut wrong = vec![
        String::new(),
        "%ff".to_owned(),
        "x".repeat(300),
        token[1..].to_owned(),
        format!("{token}A"),
        token.to_uppercase(),
    ];
    let bytes = BASE64.decode(token).unwrap();
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1 << (at % 8);
        wrong.push(BASE64.encode(other));
    }
    for token in wrong {
        // The empty one is the clean address, without a session.
        let path = if token.is_empty() { "/c".to_owned() } else { format!("/c/{token}") };
        let page = Customer::new(&rig).get(&path).await;
        assert_eq!((page.status, &page.text), (404, &over.text), "{path}");
        assert_eq!(page.header("set-cookie"), "", "{path}");
    }
    // An order that is not there, under the right key, is no different either: nothing tells that it was.
    for (method, path) in
        [(Method::POST, "/c/stop"), (Method::POST, "/c/confirm"), (Method::GET, "/c/receipt.txt")]
    {
        let page = Customer::new(&rig)
            .send(method, path, &[("sec-fetch-site", "same-origin")], Some("csrf=1"))
            .await;
        assert_eq!((page.status, &page.text), (404, &over.text), "{path}");
    }
}

#[tokio::test]
async fn links_end_and_sessions_before_them() {
    let rig = rig().await;
    let order = rig.order("A-1").await;
    let (path, _) = link(&rig, &order, "stop").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let first = customer.cookie();
    rig.go_to("2026-11-21T20:10:00Z").await;
    assert_eq!(customer.get("/c").await.status, 200);
    let second = customer.cookie();
    assert_ne!(first, second, "each look renews it");
    rig.go_to("2026-11-21T20:15:00Z").await;
    customer.carry(&first);
    assert!(customer.get("/c").await.is_over(), "a quarter of an hour without a look");
    customer.carry(&second);
    assert_eq!(customer.get("/c").await.status, 200);
    // The last second of the link, and the one after.
    rig.go_to("2026-11-22T21:59:59Z").await;
    let page = customer.get(&path).await;
    assert_eq!(page.status, 303);
    assert!(page.header("set-cookie").contains("Max-Age=1;"), "not longer than the link");
    rig.go_to("2026-11-22T22:00:00Z").await;
    assert!(customer.get("/c").await.is_over() && customer.get(&path).await.is_over());
    // A link that is made now lasts a day: the lab may still be asked.
    assert_eq!(link(&rig, &order, "stop").await.1["expires_at"], "2026-11-23T22:00:00Z");
}

#[tokio::test]
async fn taking_back_ends_all_links_and_open_pages_at_every_gateway() {
    let mut rig = rig().await;
    let (order, other) = (rig.order("A-1").await, rig.order("A-2").await);
    let paths = [link(&rig, &order, "stop").await.0, link(&rig, &order, "see").await.0];
    let kept = link(&rig, &other, "stop").await.0;
    let customer = Customer::of(&rig, &order, "stop").await;
    let form = customer.get("/c").await.form();
    let cookie = customer.cookie();
    let revoke = format!("/v1/orders/{order}/links");
    assert_eq!(rig.call(&rig.platform, Method::DELETE, &revoke, Value::Null).await.0, 204);
    for path in &paths {
        assert!(Customer::new(&rig).get(path).await.is_over());
    }
    assert!(customer.get("/c").await.is_over());
    let page = customer.post("/c/stop", &format!("csrf={form}")).await;
    assert!(page.is_over(), "{page:?}");
    assert_eq!(rig.read(&order).await["state"], "in_batch");
    assert_eq!(rig.kinds(&order).await, ["batch.opened", "order.admitted", "order.links_revoked"]);
    assert_eq!(Customer::new(&rig).get(&kept).await.status, 303, "those of other orders hold");
    // New ones hold, also after a restart; the old ones do not.
    let new = link(&rig, &order, "stop").await.0;
    rig.stop().await;
    rig.start().await;
    assert_eq!(Customer::new(&rig).get(&new).await.status, 303);
    assert!(Customer::new(&rig).get(&paths[0]).await.is_over());
    let customer = Customer::new(&rig);
    customer.carry(&cookie);
    assert!(customer.get("/c").await.is_over());
    let checked = rig.running.as_ref().unwrap().bench.store.verify_events().await.unwrap();
    assert!(checked.breaks.is_empty(), "{:?}", checked.breaks);
}

#[tokio::test]
async fn only_its_own_platform_makes_links_of_an_order() {
    let rig = rig().await;
    let order = rig.order("A-1").await;
    rig.call(&rig.ops, Method::PUT, "/v1/platforms/other", json!({"id": "other", "name": "Other"})).await;
    let key = json!({"scope": "platform", "owner": "other", "name": "test"});
    let (_, made) = rig.call(&rig.ops, Method::POST, "/v1/keys", key).await;
    let (other, lab) = (made["secret"].as_str().unwrap().to_owned(), rig.lab_key("nordprint").await);
    let path = format!("/v1/orders/{order}/links");
    for method in [Method::POST, Method::DELETE] {
        assert_eq!(rig.call(&other, method.clone(), &path, Value::Null).await.0, 404);
        assert_eq!(rig.call(&lab, method.clone(), &path, Value::Null).await.0, 403);
        assert!(rig.call(&rig.ops, method.clone(), &path, Value::Null).await.0 < 300);
        let by_reference = "/v1/orders/@A-1/links";
        assert!(rig.call(&rig.platform, method, by_reference, Value::Null).await.0 < 300);
    }
    let (status, answer) = rig.call(&rig.platform, Method::POST, &path, json!({"action": "approve"})).await;
    assert_eq!((status, answer["errors"][0]["field"].as_str()), (422, Some("action")), "{answer}");
}

#[tokio::test]
async fn from_one_address_links_are_opened_ten_times_a_minute() {
    let mut rig = rig().await;
    rig.config.limits.link_pages_per_minute = 10;
    rig.stop().await;
    rig.start().await;
    let order = rig.order("A-1").await;
    let (path, _) = link(&rig, &order, "stop").await;
    let customer = Customer::new(&rig);
    for _ in 0..5 {
        assert_eq!(customer.get(&path).await.status, 303);
        assert!(Customer::new(&rig).get("/c/nothing").await.is_over());
    }
    for path in [path.as_str(), "/c/nothing"] {
        let page = Customer::new(&rig).get(path).await;
        assert_eq!((page.status, page.header("retry-after")), (429, "6"), "{}", page.text);
        assert_eq!(page.header("set-cookie"), "");
    }
    assert_eq!(customer.get("/c").await.status, 200, "whoever is in stays in");
    rig.clock.advance(std::time::Duration::from_secs(6));
    assert_eq!(customer.get(&path).await.status, 303);
}
