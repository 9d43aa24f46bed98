//! The customer's page through the whole gateway: what it offers, what a press does, and what cannot press.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::customer_support::{Customer, allow, link};
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
    for (behaviour, head, text) in [
        (json!({"prints_after": "12h"}), "The order is stopped", "The print lab has taken it out"),
        (
            json!({"prints_after": "12h", "stops": "too_late"}),
            "The order could not be stopped",
            "the order will be printed",
        ),
        (
            json!({"prints_after": "1s"}),
            "It is too late to stop this order",
            "The print lab is already making it",
        ),
    ] {
        let rig = rig(behaviour.clone()).await;
        let order = rig.order("A-1").await;
        rig.go_to("2026-11-21T22:10:00Z").await;
        let customer = Customer::of(&rig, &order, "stop").await;
        let page = customer.get("/c").await;
        assert!(page.text.contains("Ask to stop it"), "{behaviour}: {}", page.text);
        customer.presses("", "").await;
        rig.settle().await;
        let page = customer.get("/c").await;
        assert!(page.text.contains(head) && page.text.contains(text), "{behaviour}: {}", page.text);
    }
}

#[tokio::test]
async fn what_does_not_come_from_the_page_does_nothing() {
    let rig = rig(json!({})).await;
    let (order, other) = (rig.order("A-1").await, rig.order("A-2").await);
    let customer = Customer::of(&rig, &order, "stop").await;
    let customer_form = customer.get("/c").await.form();
    let form = format!("csrf={customer_form}&lang=en");
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
        let page = customer.send(Method::POST, "/c/confirm", with, Some(form)).await;
        assert_eq!(page.status, 400, "{with:?} {form}: {}", page.text);
        assert!(page.text.contains("Nothing was changed") && page.text.contains("Back to the order"));
        // Another session for each: it is not the limit of attempts that refuses.
        let fresh = Customer::of(&rig, &order, "stop").await;
        let own = fresh.get("/c").await.form();
        let form = form.replace(&customer_form, &own);
        let page = fresh.send(Method::POST, "/c/stop", with, Some(&form)).await;
        assert_eq!(page.status, 400, "{with:?} {form}: {}", page.text);
        assert_eq!(rig.read(&order).await["state"], "in_batch", "{with:?} {form}");
    }
    // Looking never acts: whoever loads the address of a form again is led to the page.
    for path in ["/c/stop", "/c/confirm"] {
        let page = customer.get(path).await;
        let clean = format!("../c?of={}", customer.page());
        assert_eq!((page.status, page.header("location")), (303, clean.as_str()), "{path}");
    }
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
    assert!(
        page.text.contains("too many attempts") && page.text.contains("try again in 12 min"),
        "{}",
        page.text
    );
    rig.clock.advance(std::time::Duration::from_mins(12));
    assert_eq!(customer.post("/c/stop", &form).await.status, 303);
    assert_eq!(rig.read(&order).await["state"], "stopped");
}

#[tokio::test]
async fn nobody_else_uses_up_what_the_customer_may_attempt() {
    let rig = rig(json!({})).await;
    let order = rig.order("A-1").await;
    // One who may only look, in the customer's own session and in many others.
    let sees = Customer::of(&rig, &order, "see").await;
    for _ in 0..25 {
        let page = sees.post("/c/stop", "csrf=wrong").await;
        assert_eq!((page.status, page.header("location")), (303, &*format!("../c?of={}", sees.page())));
    }
    // One whose link was taken back: many sessions of it.
    let (old, _) = link(&rig, &order, "stop").await;
    let mut former = Vec::new();
    for _ in 0..5 {
        let customer = Customer::new(&rig);
        customer.opens(&old).await;
        former.push(customer);
    }
    let revoke = format!("/v1/orders/{order}/links");
    assert_eq!(rig.call(&rig.platform, Method::DELETE, &revoke, Value::Null).await.0, 204);
    for customer in &former {
        for _ in 0..5 {
            assert!([400, 429].contains(&customer.post("/c/stop", "csrf=wrong").await.status));
        }
        assert_eq!(customer.post("/c/stop", "csrf=wrong").await.status, 429);
    }
    let customer = Customer::of(&rig, &order, "stop").await;
    assert!(customer.presses("other", "").await.text.contains("The order is stopped"));
}

#[tokio::test]
async fn the_page_between_promises_no_more_than_holds() {
    let rig = rig(json!({"prints_after": "12h"})).await;
    let order = rig.order("A-1").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    rig.go_to("2026-11-21T21:50:00Z").await;
    customer.opens(&link(&rig, &order, "stop").await.0).await;
    let form = format!("csrf={}&lang=en", customer.get("/c").await.form());
    let page = customer.post("/c/confirm", &form).await;
    assert!(page.text.contains("data-until datetime=\"2026-11-21T22:00:00Z\""), "{}", page.text);
    assert!(page.text.contains("22 November 2026, 00:00, time at the print lab (Helsinki)"), "{}", page.text);
    assert!(page.text.contains("before the time shown here"), "{}", page.text);
    // Confirmed after the cutoff: nobody is told more than that it was asked.
    rig.go_to("2026-11-21T22:01:00Z").await;
    assert_eq!(customer.post("/c/stop", &form).await.status, 303);
    let page = customer.get("/c?lang=en").await;
    assert!(page.text.contains("A request to stop this order has been made"), "{}", page.text);
    assert!(!page.text.contains("will not be printed"), "{}", page.text);
}

#[tokio::test]
async fn the_page_between_promises_nothing_once_the_cutoff_is_over() {
    let mut rig = rig(json!({"prints_after": "12h"})).await;
    let order = rig.order("A-1").await;
    let (path, _) = link(&rig, &order, "stop").await;
    let customer = Customer::new(&rig);
    customer.opens(&path).await;
    // Closed, and nothing is handed over: its lab is paused.
    let pause = json!({"reason": "test"});
    let (status, answer) = rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/pause", pause).await;
    assert!(status < 300, "{answer}");
    rig.go_to("2026-11-21T22:05:00Z").await;
    customer.opens(&path).await;
    let page = customer.get("/c?lang=en").await;
    assert!(page.text.contains("can still be stopped, but not for long"), "{}", page.text);
    let page = customer.post("/c/confirm", &format!("csrf={}&lang=en", page.form())).await;
    assert!(page.text.contains("it may be too late") && !page.text.contains("data-until"), "{}", page.text);
    assert!(!page.text.contains("will not be printed"), "{}", page.text);
    rig.stop().await;
}

#[tokio::test]
async fn the_platforms_policy_and_the_links_action_decide() {
    let rig = rig(json!({})).await;
    let order = rig.order("A-1").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let form = format!("csrf={}", customer.get("/c").await.form());
    allow(&rig, "off").await;
    let page = customer.get("/c").await;
    let text = "Orders from Acme Photo cannot be stopped on this page";
    assert!(page.text.contains(text) && !page.text.contains("<form"), "{}", page.text);
    assert!(page.text.contains("This order can still be stopped"), "it is still true");
    assert!(page.text.contains("<dt>Acme Photo can stop it until</dt>"), "{}", page.text);
    assert_eq!(customer.post("/c/confirm", &form).await.status, 303);
    assert_eq!(customer.post("/c/stop", &form).await.status, 303);
    assert_eq!(rig.read(&order).await["state"], "in_batch");
    // Whom a link lets only look asks nobody, whoever decides.
    allow(&rig, "ask_merchant").await;
    let sees = Customer::of(&rig, &order, "see").await;
    let page = sees.get("/c").await;
    assert!(
        page.text.contains("At Acme Photo, a person decides") && !page.text.contains("<form"),
        "{}",
        page.text
    );
    assert_eq!(sees.post("/c/stop", &form).await.status, 303);
    assert_eq!(rig.read(&order).await["approval"], Value::Null);
    allow(&rig, "on").await;
    let page = sees.get("/c").await;
    assert!(
        page.text.contains("only shows the status of the order") && !page.text.contains("<form"),
        "{}",
        page.text
    );
    // A form of the other link, and the right one, in the session that may only see.
    assert_eq!(sees.post("/c/confirm", &form).await.status, 400);
    for form in [form.clone(), format!("csrf={}", rig_form(&rig, &sees).await)] {
        assert_eq!(sees.post("/c/stop", &form).await.status, 303);
        assert_eq!(rig.read(&order).await["state"], "in_batch");
    }
    assert_eq!(sees.post("/c/confirm", &format!("csrf={}", rig_form(&rig, &sees).await)).await.status, 303);
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
    assert!(page.text.contains("peruuttamisoikeus"), "made for one customer: {}", page.text);
    let page = customer.send(Method::GET, "/c?lang=pt", &german, None).await;
    assert!(page.text.contains("Esta encomenda ainda pode ser cancelada"), "the address: {}", page.text);
    let order = rig.order("L-2").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let page = customer.send(Method::GET, "/c", &german, None).await;
    assert!(page.text.contains("Diese Bestellung lässt sich noch stoppen"), "the browser's: {}", page.text);
    let page = Customer::new(&rig).send(Method::GET, "/c/x", &german, None).await;
    assert!(page.text.contains("Dieser Link funktioniert nicht (mehr)"), "{}", page.text);
}

/// The text that the forms of a session carry, which its page shows only where there is one.
async fn rig_form(rig: &Rig, customer: &Customer<'_>) -> String {
    use secrecy::ExposeSecret as _;
    use stoppress::domain::customer_link::CustomerKeys;
    let keys = rig.running.as_ref().unwrap().bench.store.customer_keys().await.unwrap();
    let keys = CustomerKeys::parse(keys.iter().map(|(number, key)| (*number, key.expose_secret()))).unwrap();
    let session = keys.read_session(customer.cookie().split_once('=').unwrap().1).expect("a session");
    keys.form(&session).expect("a form")
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

#[tokio::test]
async fn a_transfer_that_turns_up_after_it_was_proven_absent_is_told() {
    // The lab took it and says nothing; asked about it, it does not find it; at last it says that it has it.
    let profile = json!({"dedupes": "no", "lookup": true, "stops": "no", "orders_per_call": 10});
    let rig = Rig::new(EVENING, "http", profile, json!({"loses_answers": 1.0})).await;
    allow(&rig, "on").await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T22:00:30Z").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let page = customer.get("/c").await;
    assert!(page.text.contains("not yet clear whether the print lab has the order"), "{}", page.text);
    // Before the press, which has the lab asked at once.
    rig.lab.set_behaviour(serde_json::from_value(json!({"looks_up": "blind"})).unwrap());
    customer.presses("other", "").await;
    rig.go_to("2026-11-21T22:30:00Z").await;
    customer.opens(&link(&rig, &order, "stop").await.0).await;
    let page = customer.get("/c").await;
    assert!(page.text.contains("It was never handed over for printing"), "{}", page.text);
    let store = &rig.running.as_ref().unwrap().bench.store;
    late_ack(&rig, &order).await;
    let page = customer.get("/c").await;
    assert!(page.text.contains("Something does not add up"), "{}", page.text);
    assert!(page.text.contains("has reported that it has the order"), "{}", page.text);
    assert!(!page.text.contains("will not be printed"), "{}", page.text);
    let checked = store.verify_events().await.unwrap();
    assert!(checked.breaks.is_empty(), "{:?}", checked.breaks);
}

/// The acknowledgement of the first attempt comes at last, as the loop that hands over settles it.
async fn late_ack(rig: &Rig, order: &str) {
    use stoppress::clock::Clock as _;
    use stoppress::domain::event::Actor;
    use stoppress::domain::ids::{EscalationId, OrderId};
    use stoppress::domain::lab::Answer;
    use stoppress::store::{OrderRef, Scope, Settle, Source, Write, one};
    let store = &rig.running.as_ref().unwrap().bench.store;
    let which = [OrderRef::Id(OrderId::parse(order).unwrap())];
    let facts = store.orders(&Scope::Ops, &which).await.unwrap().pop().flatten().unwrap();
    let now = rig.clock.now();
    let settle = Settle {
        transfer: facts.transfer.expect("a transfer").id,
        fence: 1,
        answer: Answer::Accepted { lab_reference: None },
        source: Source::Upload,
        next_at: now,
        at: now,
        actor: Actor::gateway(),
        escalation: EscalationId::new(now, &stoppress::clock::SeededRandom::new(99)),
    };
    one(&**store, Write::Settle(Box::new(settle))).await.unwrap();
}

#[tokio::test]
async fn a_lab_that_takes_out_what_was_too_late_is_told() {
    let rig = rig(json!({"prints_after": "12h", "stops": "too_late"})).await;
    let order = rig.order("A-1").await;
    let lab = rig.lab_key("nordprint").await;
    rig.go_to("2026-11-21T22:10:00Z").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    customer.presses("other", "").await;
    rig.settle().await;
    let page = customer.get("/c").await;
    assert!(page.text.contains("The order could not be stopped"), "{}", page.text);
    let stop = rig.read(&order).await["stop"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/lab/stops/{stop}/answer");
    let (status, answer) = rig.call(&lab, Method::POST, &path, json!({"answer": "removed"})).await;
    assert_eq!(status, 409, "decided before, and kept as evidence: {answer}");
    let page = customer.get("/c").await;
    assert!(page.text.contains("Something does not add up"), "{}", page.text);
    assert!(page.text.contains("it has taken it out"), "{}", page.text);
    assert!(!page.text.contains("will be printed"), "{}", page.text);
}

#[tokio::test]
async fn an_order_that_was_put_back_says_so() {
    let rig = rig(json!({})).await;
    let order = rig.order("A-1").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    assert!(!customer.get("/c").await.text.contains("has put it back"));
    customer.presses("other", "").await;
    let path = format!("/v1/orders/{order}/reinstate");
    let (status, answer) = rig.call(&rig.ops, Method::POST, &path, json!({"reason": "asked to"})).await;
    assert!(status < 300, "{answer}");
    let page = customer.get("/c").await;
    let told = "It was stopped on 21 November 2026, 22:00, time at the print lab (Helsinki), and Acme Photo has \
        put it back. It will be printed unless it is stopped again.";
    assert!(page.text.contains(told) && page.text.contains("<form"), "{}", page.text);
    let page = customer.presses("other", "").await;
    assert!(
        page.text.contains("The order is stopped") && !page.text.contains("put it back"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn money_reasons_and_numbers_are_the_orders_own() {
    let rig = rig(json!({})).await;
    let spec = json!({"id": "acme", "name": "Acme Photo", "policy": {"customer_stops": "on",
        "reasons": ["Blurred", "Too dear"], "refund": "automatic", "service_fee": "waived"}});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/platforms/acme", spec).await;
    assert!(status < 300, "{answer}");
    let submit = json!({"reference": "U-1", "lab": "nordprint", "payment": "awaiting",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 30}, {"id": "2", "sku": "mug", "quantity": 2}]});
    let (status, order) = rig.call(&rig.platform, Method::POST, "/v1/orders", submit).await;
    assert_eq!(status, 201, "{order}");
    let order = order["id"].as_str().unwrap();
    let customer = Customer::of(&rig, order, "stop").await;
    let page = customer.get("/c").await;
    assert!(page.text.contains("It is waiting and has not been sent"), "{}", page.text);
    assert!(page.text.contains("· 32 items"), "pieces, not lines: {}", page.text);
    assert!(
        page.text.contains("Nothing has been paid yet.") && !page.text.contains("refund"),
        "{}",
        page.text
    );
    assert!(
        page.text.contains("value=\"Blurred\"") && !page.text.contains("Ordered by mistake"),
        "{}",
        page.text
    );
    // A reason that is not offered is left out, and fails nothing.
    let page = customer.presses("ordered_by_mistake", "").await;
    assert!(page.text.contains("The order is stopped"), "{}", page.text);
    assert_eq!(rig.read(order).await["stop"]["reason"], "unspecified");
    let order = rig.order("U-2").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    assert!(
        customer
            .get("/c")
            .await
            .text
            .contains("If the order is stopped, Acme Photo refunds it automatically.")
    );
    let page = customer.presses("Too dear", "").await;
    assert!(page.text.contains("Acme Photo refunds it automatically."), "{}", page.text);
    assert!(!page.text.contains("If the order is stopped"), "{}", page.text);
    assert_eq!(rig.read(&order).await["stop"]["reason"], "Too dear");
}
