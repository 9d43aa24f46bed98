//! Links for customers: what opens one, what ends it, and that whatever is wrong looks the same.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hyper::http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use stoppress::clock::Clock as _;

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
        let clean = format!("../c?of={}&from=link", customer.page());
        assert_eq!((page.status, page.header("location")), (303, clean.as_str()));
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
    for secret in [
        token,
        customer.cookie().split_once('=').unwrap().1,
        "2026-1001",
        &order,
        "nordprint",
        "Nordprint",
        "ship_to",
        ">n<",
    ] {
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
    assert!(customer.get("/c").await.is_late(), "a quarter of an hour without a look");
    for (method, path) in [(Method::POST, "/c/stop"), (Method::POST, "/c/confirm"), (Method::GET, "/c/live")]
    {
        assert!(customer.send(method, path, &[], Some("")).await.is_late(), "{path}");
    }
    customer.carry(&second);
    assert_eq!(customer.get("/c").await.status, 200);
    // The last second of the link, and the one after.
    rig.go_to("2026-11-22T21:59:59Z").await;
    let page = customer.get(&path).await;
    assert_eq!(page.status, 303);
    assert!(page.header("set-cookie").contains("Max-Age=1;"), "not longer than the link");
    let ends = Customer::of(&rig, &order, "stop").await;
    rig.go_to("2026-11-22T22:00:00Z").await;
    assert!(customer.get("/c").await.is_over() && customer.get(&path).await.is_over());
    assert_eq!(ends.get("/c").await.status, 200, "another link, made a second later");
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
async fn from_one_address_ten_links_a_minute_are_tried_that_are_none() {
    let mut rig = rig().await;
    rig.config.limits.link_pages_per_minute = 10;
    rig.stop().await;
    rig.start().await;
    let order = rig.order("A-1").await;
    let (path, _) = link(&rig, &order, "stop").await;
    let customer = Customer::new(&rig);
    for _ in 0..10 {
        assert!(Customer::new(&rig).get("/c/nothing").await.is_over());
    }
    for _ in 0..40 {
        let page = Customer::new(&rig).get("/c/nothing").await;
        assert_eq!((page.status, page.header("retry-after")), (429, "6"), "{}", page.text);
        assert_eq!(page.header("set-cookie"), "");
        assert!(
            page.text.contains("try again in 6 s") && !page.text.contains("Back to the order"),
            "{}",
            page.text
        );
    }
    // A good link is opened whoever else is behind the same address.
    customer.opens(&path).await;
    assert_eq!(customer.get("/c").await.status, 200);
    rig.clock.advance(std::time::Duration::from_secs(6));
    assert!(Customer::new(&rig).get("/c/nothing").await.is_over());
}

#[tokio::test]
async fn two_orders_in_one_browser_are_never_mixed_up() {
    let rig = rig().await;
    let (one, two) = (rig.order("A-1111").await, rig.order("B-2222").await);
    let customer = Customer::new(&rig);
    customer.opens(&link(&rig, &one, "stop").await.0).await;
    let (first, page) = (customer.page(), customer.get("/c?lang=en").await);
    customer.opens(&link(&rig, &two, "stop").await.0).await;
    let (second, other) = (customer.page(), customer.get("/c?lang=en").await);
    assert_ne!(first, second);
    assert!(page.text.contains("ending in 1111") && other.text.contains("ending in 2222"));
    // Each address of a page says which one it is.
    for address in page.text.split('"').filter(|text| text.starts_with("c/") || text.starts_with("c?")) {
        assert!(address.contains(&format!("of={first}")), "{address}");
    }
    // The first tab still has its own order, whatever was opened since.
    customer.turns_to(&first);
    let again = customer.get("/c?lang=en").await;
    assert!(again.text.contains("ending in 1111") && !again.text.contains("2222"), "{}", again.text);
    assert_eq!(again.form(), page.form());
    let stopped = customer.presses("other", "").await;
    assert!(stopped.text.contains("ending in 1111") && stopped.text.contains("The order is stopped"));
    assert_eq!(
        (&rig.read(&one).await["state"], &rig.read(&two).await["state"]),
        (&json!("stopped"), &json!("in_batch"))
    );
    let receipt = customer.get("/c/receipt.txt?lang=en").await;
    assert!(receipt.text.contains("ending in 1111") && !receipt.text.contains("2222"), "{}", receipt.text);
    // Without its own cookie a page has nothing, least of all what is the other's; nor does another name help.
    let jar = customer.cookie();
    let kept = jar.split("; ").find(|pair| pair.contains(&second)).expect("the second cookie").to_owned();
    customer.carry(&kept);
    customer.turns_to(&first);
    let misnamed = kept.replace(&second, &first);
    for cookies in [&kept, &misnamed] {
        customer.carry(cookies);
        customer.turns_to(&first);
        for path in [page.live().as_str(), "/c", "/c?lang=de", "/c/receipt.txt"] {
            let none = customer.get(path).await;
            assert_eq!(none.status, 404, "{path}: {}", none.text);
            assert!(!none.text.contains("2222") && !none.text.contains("Acme"), "{path}: {}", none.text);
        }
        let form = format!("csrf={}", other.form());
        for path in ["/c/confirm", "/c/stop"] {
            assert_eq!(customer.post(path, &form).await.status, 404, "{path}");
        }
    }
    // An address that does not say which page it is of opens none.
    customer.carry(&kept);
    for path in ["/c?of=", "/c?of=0", "/c?of=..%2f..%2f..%2fxxxxxxx", "/c/live?of=ZZZZZZZZZZZZZZZZ"] {
        assert_eq!(customer.get(path).await.status, 404, "{path}");
    }
    assert_eq!(rig.read(&two).await["state"], "in_batch");
}

#[tokio::test]
async fn a_browser_keeps_the_pages_of_nine_orders() {
    let rig = rig().await;
    let customer = Customer::new(&rig);
    let mut pages = Vec::new();
    for nth in 0..11 {
        rig.clock.advance(std::time::Duration::from_secs(1));
        let order = rig.order(&format!("A-{nth}")).await;
        customer.opens(&link(&rig, &order, "see").await.0).await;
        pages.push(customer.page());
    }
    assert_eq!(customer.cookie().split("; ").count(), 9);
    for (nth, page) in pages.iter().enumerate() {
        customer.turns_to(page);
        assert_eq!(customer.get("/c").await.status == 200, nth >= 2, "{nth}: the oldest make room");
    }
}

#[tokio::test]
async fn a_browser_that_keeps_no_cookies_is_told_so() {
    let rig = rig().await;
    let order = rig.order("A-1").await;
    let (path, _) = link(&rig, &order, "stop").await;
    let customer = Customer::new(&rig);
    let to = customer.get(&path).await.header("location").replace("..", "");
    customer.forgets();
    let page = customer.get(&to).await;
    assert_eq!(page.status, 400);
    assert!(page.text.contains("<h1>Your browser does not keep cookies</h1>"), "{}", page.text);
    // Where nothing says that a cookie should be there, the link may just be an old one.
    assert!(customer.get(&to.replace("&from=link", "")).await.is_over());
}

#[tokio::test]
async fn nobody_looks_without_end_and_nobody_else_is_kept_from_looking() {
    let rig = rig().await;
    let (one, two) = (rig.order("A-1").await, rig.order("A-2").await);
    let customer = Customer::of(&rig, &one, "stop").await;
    let old = Customer::of(&rig, &one, "stop").await;
    let mut refused = None;
    for nth in 0..300 {
        let page = customer.get(["/c", "/c/receipt.txt", "/c/confirm"][nth % 2]).await;
        if page.status == 429 {
            refused = Some(page);
            break;
        }
    }
    let refused = refused.expect("hundreds of looks at once");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.text.contains("Back to the order"), "{}", refused.text);
    assert_eq!(customer.get(&link(&rig, &one, "stop").await.0).await.status, 429, "the same order");
    assert_eq!(Customer::of(&rig, &two, "stop").await.get("/c").await.status, 200);
    // Whoever's link was taken back cannot keep the holder of a newer one from looking.
    let revoke = format!("/v1/orders/{one}/links");
    assert_eq!(rig.call(&rig.platform, Method::DELETE, &revoke, Value::Null).await.0, 204);
    assert_eq!(old.get("/c").await.status, 429);
    assert_eq!(Customer::of(&rig, &one, "stop").await.get("/c").await.status, 200);
}

#[tokio::test]
async fn a_link_of_more_than_thirty_days_is_none() {
    use stoppress::domain::customer_link::{BEYOND, CustomerKeys, CustomerLink, LASTS_MAX, LinkAction};
    use stoppress::domain::ids::OrderId;
    let rig = rig().await;
    let order = rig.order("A-1").await;
    let keys = rig.running.as_ref().unwrap().bench.store.customer_keys().await.unwrap();
    let keys = CustomerKeys::parse(keys.iter().map(|(number, key)| (*number, key.expose_secret()))).unwrap();
    for (more, status) in [(jiff::SignedDuration::ZERO, 303), (BEYOND, 404)] {
        let until = rig.clock.now() + LASTS_MAX + more;
        let link = CustomerLink {
            order: OrderId::parse(&order).unwrap(),
            action: LinkAction::See,
            until,
            serial: 0,
        };
        let page = Customer::new(&rig).get(&format!("/c/{}", keys.link(&link).unwrap())).await;
        assert_eq!(page.status, status, "{until}");
    }
}

#[tokio::test]
async fn another_key_signs_and_old_links_go_on_until_they_are_ended() {
    let rig = rig().await;
    let order = rig.order("A-1").await;
    let old = link(&rig, &order, "stop").await.0;
    let opens = async |path: &str| Customer::new(&rig).get(path).await.status;
    let rotate = async |body: Value| {
        let (status, made) = rig.call(&rig.ops, Method::POST, "/v1/customer-links/rotate", body).await;
        assert_eq!(status, 200, "{made}");
        made
    };
    // The same order and the same end: another token is another key.
    let made = rotate(json!({})).await;
    assert_eq!(made["key"], 2);
    assert_eq!(link(&rig, &order, "stop").await.0, old, "not before every gateway knows it");
    let from: jiff::Timestamp = made["signs_from"].as_str().unwrap().parse().unwrap();
    rig.clock.set(from);
    let mut new = old.clone();
    for _ in 0..100 {
        new = link(&rig, &order, "stop").await.0;
        if new != old {
            break;
        }
        crate::grpc_support::breathe(50).await;
    }
    assert_ne!(new, old, "the new key signs");
    assert_eq!((opens(&old).await, opens(&new).await), (303, 303));
    let customer = Customer::new(&rig);
    customer.opens(&old).await;
    assert_eq!(customer.get("/c").await.status, 200);
    // A key may have been seen: nothing that was made before opens anything, and what is open ends.
    assert_eq!(rotate(json!({"end_old": true})).await["key"], 3);
    assert_eq!((opens(&old).await, opens(&new).await, customer.get("/c").await.status), (404, 404, 404));
    assert_eq!(opens(&link(&rig, &order, "stop").await.0).await, 303);
    for key in [&rig.platform, &rig.lab_key("nordprint").await] {
        let path = "/v1/customer-links/rotate";
        assert_eq!(rig.call(key, Method::POST, path, json!({})).await.0, 403);
    }
}

#[tokio::test]
async fn the_page_of_an_order_whose_lab_is_gone_still_says_how_it_stands() {
    let rig = rig().await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T22:05:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    // What the registry does not have any more is not there for the page.
    let lab = "/v1/labs/nordprint";
    let (status, answer) = rig.call(&rig.ops, Method::DELETE, lab, Value::Null).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(rig.call(&rig.ops, Method::GET, lab, Value::Null).await.0, 404);
    let customer = Customer::of(&rig, &order, "stop").await;
    let page = customer.get("/c?lang=en").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains("data-live") && !page.text.contains("nordprint"), "{}", page.text);
    // A stop can still be asked; nobody says "stopped" for a lab that nobody can ask.
    let page = customer.presses("other", "").await;
    assert_eq!(page.status, 200);
    rig.settle().await;
    let stop = rig.read(&order).await["stop"].clone();
    assert_ne!(stop["state"], "stopped", "{stop}");
    assert_eq!(customer.get("/c").await.status, 200);
}
