//! The customer's page through the whole gateway: what it offers, what a press does, and what cannot press.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::customer_support::{Customer, allow};
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

async fn rig(behaviour: Value) -> Rig {
    let rig = Rig::new(EVENING, "http", good(), behaviour).await;
    allow(&rig, "on").await;
    rig
}

#[tokio::test]
async fn a_customer_stops_an_order_a_microsecond_before_the_cutoff() {
    let rig = rig(json!({})).await;
    let order = rig.order("A-1001").await;
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let page = customer.presses("wrong_picture", "the other one,\r\nplease\u{202e}").await;
    assert!(page.text.contains("The order is stopped"), "{}", page.text);
    assert!(!page.text.contains("<form"), "there is nothing left to press");
    let read = rig.read(&order).await;
    let stop = &read["stop"];
    assert_eq!(
        (&stop["state"], &stop["asked_by"], &stop["reason"], &stop["comment"]),
        (&json!("stopped"), &json!("customer"), &json!("wrong_picture"), &json!("the other one,\nplease"))
    );
    assert_eq!(stop["asked_at"], "2026-11-21T21:59:59.999999Z");
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!(rig.prints(&order), 0);
    let path = format!("/v1/orders/{order}/changelog");
    let (_, log) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    let actor =
        log["events"].as_array().unwrap().iter().find(|event| event["kind"] == "stop.stopped").unwrap();
    assert_eq!(actor["actor"], "customer by link of platform:acme");
    // The receipt, as it can be kept.
    let customer = Customer::of(&rig, &order, "see").await;
    let kept = customer.get("/c/receipt.txt?lang=de").await;
    assert_eq!((kept.status, kept.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(kept.header("content-disposition").starts_with("attachment"));
    for part in ["Beleg", "Falsches Bild", "Die Bestellung ist gestoppt.", stop["id"].as_str().unwrap()] {
        assert!(kept.text.contains(part), "{part}: {}", kept.text);
    }
}

#[tokio::test]
async fn the_lab_is_asked_and_its_answer_is_shown() {
    for (behaviour, head) in [
        (json!({"prints_after": "12h"}), "The print lab has taken it out"),
        (json!({"prints_after": "1s"}), "It is too late"),
    ] {
        let rig = rig(behaviour).await;
        let order = rig.order("A-1").await;
        rig.go_to("2026-11-21T22:10:00Z").await;
        let customer = Customer::of(&rig, &order, "stop").await;
        let page = customer.get("/c").await;
        if page.text.contains("<form") {
            assert!(page.text.contains("Ask to stop it"), "{}", page.text);
            customer.presses("", "").await;
        }
        rig.settle().await;
        let page = customer.get("/c").await;
        let stop = rig.read(&order).await;
        assert!(
            page.text.contains(head) || page.text.contains("could not be stopped"),
            "{head}: {stop}\n{}",
            page.text
        );
    }
}

#[tokio::test]
async fn what_does_not_come_from_the_page_does_nothing() {
    let rig = rig(json!({})).await;
    let (order, other) = (rig.order("A-1").await, rig.order("A-2").await);
    let customer = Customer::of(&rig, &order, "stop").await;
    let form = format!("csrf={}&lang=en", customer.get("/c").await.form());
    let foreign = format!("csrf={}&lang=en", Customer::of(&rig, &other, "stop").await.get("/c").await.form());
    let own = [("sec-fetch-site", "same-origin")];
    for (with, form) in [
        (&[("sec-fetch-site", "cross-site")][..], form.as_str()),
        (&[("sec-fetch-site", "same-site")], &form),
        (&[("sec-fetch-site", "none")], &form),
        (&[("origin", "https://elsewhere.example")], &form),
        (&[], &form),
        (&own, ""),
        (&own, "csrf=00000000000000000000000000000000"),
        (&own, &foreign),
        (&own, &format!("{form}&more=1")),
        (&[("sec-fetch-site", "same-origin"), ("content-type", "text/plain")], &form),
    ] {
        // Another session for each, so that the limit of attempts is not what refuses: that is by order.
        let page = customer.send(Method::POST, "/c/confirm", with, Some(form)).await;
        assert_eq!(page.status, 400, "{with:?} {form}: {}", page.text);
        let page = customer.send(Method::POST, "/c/stop", with, Some(form)).await;
        assert!([400, 429].contains(&page.status), "{with:?} {form}: {}", page.text);
        assert_eq!(rig.read(&order).await["state"], "in_batch", "{with:?} {form}");
    }
    // The address of another order's page in the same browser does not make its form ours.
    let (_, headers, _) = rig.browse(Method::GET, "/c/stop", None).await;
    assert!(headers.get("allow").is_some(), "a GET never acts");
    assert_eq!(rig.kinds(&other).await, ["batch.opened", "order.admitted"]);
}

#[tokio::test]
async fn five_attempts_an_hour() {
    let rig = rig(json!({})).await;
    let order = rig.order("A-1").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let form = format!("csrf={}", customer.get("/c").await.form());
    for _ in 0..5 {
        assert_eq!(customer.post("/c/stop", "csrf=wrong").await.status, 400);
    }
    let page = customer.post("/c/stop", &form).await;
    assert_eq!((page.status, page.header("retry-after")), (429, "720"), "{}", page.text);
    assert!(page.text.contains("too many attempts"), "{}", page.text);
    rig.clock.advance(std::time::Duration::from_mins(12));
    assert_eq!(customer.post("/c/stop", &form).await.status, 303);
    assert_eq!(rig.read(&order).await["state"], "stopped");
}

#[tokio::test]
async fn the_platforms_policy_and_the_links_action_decide() {
    let rig = rig(json!({})).await;
    let order = rig.order("A-1").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let form = format!("csrf={}", customer.get("/c").await.form());
    for (stops, text) in [
        ("off", "Orders of Acme Photo cannot be stopped on this page"),
        ("ask_merchant", "At Acme Photo, a person decides"),
    ] {
        allow(&rig, stops).await;
        let page = customer.get("/c").await;
        assert!(page.text.contains(text) && !page.text.contains("<form"), "{}", page.text);
        assert!(page.text.contains("This order can still be stopped"), "it is still true");
        assert_eq!(customer.post("/c/confirm", &form).await.status, 303);
        assert_eq!(customer.post("/c/stop", &form).await.status, 303);
        assert_eq!(rig.read(&order).await["state"], "in_batch", "{stops}");
    }
    allow(&rig, "on").await;
    let sees = Customer::of(&rig, &order, "see").await;
    let page = sees.get("/c").await;
    assert!(
        page.text.contains("only shows how the order stands") && !page.text.contains("<form"),
        "{}",
        page.text
    );
    // A form of the other link, in the session that may only see.
    assert_eq!(sees.post("/c/stop", &form).await.status, 400);
    assert_eq!(rig.read(&order).await["state"], "in_batch");
    assert!(customer.presses("other", "").await.text.contains("The order is stopped"));
}

#[tokio::test]
async fn the_page_speaks_the_customers_language() {
    let rig = rig(json!({})).await;
    let submit = json!({"reference": "L-1", "lab": "nordprint", "customer": {"language": "fi-FI"},
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "mug", "quantity": 1, "personalised": true}]});
    let (_, order) = rig.call(&rig.platform, Method::POST, "/v1/orders", submit).await;
    let customer = Customer::of(&rig, order["id"].as_str().unwrap(), "stop").await;
    let german = [("accept-language", "de-AT, en;q=0.5")];
    let page = customer.send(Method::GET, "/c", &german, None).await;
    assert!(page.text.contains("Tilaus voidaan vielä peruuttaa"), "the order's own: {}", page.text);
    assert!(page.text.contains("22. marraskuuta 2026 klo 0.00"), "the lab's clocks: {}", page.text);
    assert!(page.text.contains("21. marraskuuta 2026 klo 22.00 UTC"), "{}", page.text);
    assert!(page.text.contains("peruuttamisoikeutta"), "made for one customer: {}", page.text);
    let page = customer.send(Method::GET, "/c?lang=pt", &german, None).await;
    assert!(page.text.contains("Esta encomenda ainda pode ser cancelada"), "the address: {}", page.text);
    let order = rig.order("L-2").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let page = customer.send(Method::GET, "/c", &german, None).await;
    assert!(page.text.contains("Diese Bestellung lässt sich noch stoppen"), "the browser's: {}", page.text);
    let page = Customer::new(&rig).send(Method::GET, "/c/x", &german, None).await;
    assert!(page.text.contains("Dieser Link funktioniert nicht (mehr)"), "{}", page.text);
}

#[tokio::test]
async fn a_sign_of_printing_after_stopped_is_told() {
    let rig = rig(json!({"prints_after": "12h"})).await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T22:10:00Z").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    customer.presses("other", "").await;
    rig.settle().await;
    assert!(customer.get("/c").await.text.contains("The order is stopped"));
    let lab = rig.lab_key("nordprint").await;
    let report = json!({"stage": "printed"});
    let (status, answer) =
        rig.call(&lab, Method::POST, &format!("/v1/lab/orders/{order}/status"), report).await;
    assert!(status < 300, "{answer}");
    let page = customer.get("/c").await;
    assert!(page.text.contains("Something does not add up"), "{}", page.text);
    assert!(!page.text.contains("It will not be printed"), "{}", page.text);
}
