//! Single lines on the customer's page: chosen by keyboard and without scripts, told in every language, and never more
//! stopped than was chosen.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::common::browser::{Page, View};
use crate::customer_support::{Customer, allow};
use crate::pages_customer::{asks, good, opens, order, rig};
use crate::rig::Rig;

/// A lab that stops single lines.
fn by_lines() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "stops_lines": true, "orders_per_call": 10,
        "answers_within": "30m"})
}

/// How a line stands by the verdict: whether it can be stopped, and why.
async fn stands(rig: &Rig, order: &str, line: &str) -> (String, String) {
    let path = format!("/v1/orders/{order}/verdict");
    let (_, verdict) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    let lines = verdict["lines"].as_array().unwrap();
    let found = lines.iter().find(|known| known["item"] == line).unwrap();
    let word = |field: &str| found[field].as_str().unwrap().to_owned();
    (word("can_stop"), word("reason"))
}

fn words(can_stop: &str, reason: &str) -> (String, String) {
    (can_stop.to_owned(), reason.to_owned())
}

/// Presses a button by keyboard.
async fn enter(page: &Page, button: &str) {
    page.tab_to(button).await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_chosen_by_keyboard_and_the_rest_goes_on() {
    let rig = rig(good(), json!({"prints_after": "1m"})).await;
    let order = order(&rig, "A-1").await;
    let page = opens(&rig, &order, View::DESKTOP).await;
    page.wait_text("#ask", "If you choose nothing here, the whole order is meant").await;
    page.looks("customer-lines").await;
    page.tab_to("#ask input[value='2']").await;
    page.press("Space").await;
    enter(&page, "text=Stop the order").await;
    assert_eq!(page.text("h1").await, "Stop part of this order?");
    assert_eq!(page.text("#only").await, "What should be stopped: 1 × mug. The rest stays as ordered.");
    // What it brings is that of a part: how much is refunded no rule says, and this line is made for one customer.
    page.wait_text("main", "Acme Photo settles the refund with you").await;
    page.wait_text("main", "Once they have been made, there is no right of withdrawal").await;
    page.looks("customer-lines-confirm").await;
    assert_eq!(stands(&rig, &order, "2").await, words("yes", "as_order"), "not yet");
    enter(&page, "text=Yes, stop this part").await;
    page.wait_text("#state", "This order can still be stopped").await;
    page.wait_text("#state", "Already stopped, and not printed: 1 × mug").await;
    assert!(!page.shows("#ask input[type=checkbox]").await, "one line is left, and so no choice");
    page.looks("customer-lines-stopped").await;
    assert_eq!(stands(&rig, &order, "2").await, words("no", "already_stopped"));
    assert_eq!(stands(&rig, &order, "1").await, words("yes", "as_order"));
    assert_eq!(rig.read(&order).await["stop"], Value::Null, "the order goes on");
    rig.go_to("2026-11-21T22:10:00Z").await;
    assert_eq!(rig.prints(&order), 1);
}

/// The lab takes whole orders only: what was entered about a line is not there when the whole order is what can be asked
/// about.
#[tokio::test(flavor = "multi_thread")]
async fn words_about_a_line_are_not_put_to_the_whole_order() {
    let rig = rig(good(), json!({"prints_after": "12h"})).await;
    let order = order(&rig, "A-1").await;
    let page = opens(&rig, &order, View::PHONE).await;
    page.tab_to("#ask input[value='2']").await;
    page.press("Space").await;
    page.fill("#comment", "only the mug").await;
    rig.go_to("2026-11-21T22:00:30Z").await;
    page.wait_text("#ask", "Ask to stop it").await;
    assert!(!page.shows("#ask input[type=checkbox]").await);
    assert_eq!(page.eval("document.querySelector('#comment').value").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_the_lines_are_the_order_and_none_is_as_well() {
    let rig = rig(good(), json!({})).await;
    for (reference, chosen) in [("A-1", &["1", "2"][..]), ("A-2", &[])] {
        let order = order(&rig, reference).await;
        let page = opens(&rig, &order, View::PHONE).await;
        for line in chosen {
            page.click(&format!("#ask input[value='{line}']")).await;
        }
        asks(&page, "text=Stop the order", "text=Yes, stop the order").await;
        page.wait_text("#state", "It was never handed over for printing").await;
        assert_eq!(rig.read(&order).await["stop"]["evidence"], "never_handed", "{reference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_that_stops_lines_is_asked_without_scripts() {
    for (answers, told, stood) in [
        ("yes", "Bereits gestoppt, wird nicht gedruckt: 1 × mug", words("no", "already_stopped")),
        (
            "too_late",
            "Diese Artikel konnten nicht mehr gestoppt werden: 1 × mug.",
            words("ask_lab", "as_order"),
        ),
    ] {
        let rig = rig(by_lines(), json!({"prints_after": "12h", "stops": answers})).await;
        let order = order(&rig, "A-1").await;
        rig.go_to("2026-11-21T22:00:30Z").await;
        let page = opens(&rig, &order, View::PHONE.without_script().language("de-DE")).await;
        page.wait_text("#state", "Das Fotolabor entscheidet").await;
        page.click("#ask input[value='2']").await;
        asks(&page, "#ask button", "text=Ja, Stopp dieses Teils anfragen").await;
        rig.settle().await;
        page.reload().await;
        page.wait_text("#state", told).await;
        assert_eq!(stands(&rig, &order, "2").await, stood, "{answers}");
        assert_eq!(rig.read(&order).await["stop"], Value::Null, "{answers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_merchant_decides_about_a_line_and_is_asked_once() {
    let rig = rig(good(), json!({})).await;
    allow(&rig, "ask_merchant").await;
    let submission = json!({"reference": "A-1", "lab": "nordprint",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "a", "sku": "print", "quantity": 1}, {"id": "b", "sku": "print", "quantity": 1},
            {"id": "c", "sku": "mug", "quantity": 1}]});
    let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", submission).await;
    assert_eq!(status, 201, "{made}");
    let order = made["id"].as_str().unwrap().to_owned();
    let page = opens(&rig, &order, View::PHONE).await;
    // Two lines that look the same are told apart.
    page.wait_text("#ask", "1 × print (b)").await;
    page.click("#ask input[value='b']").await;
    asks(&page, "text=Ask to stop it", "text=Yes, ask to stop this part").await;
    page.wait_text("#state", "Acme Photo decides whether these are stopped: 1 × print (b).").await;
    assert_eq!(stands(&rig, &order, "b").await.1, "awaits_merchant");
    let approval = rig.read(&order).await["line_approvals"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/approvals/{approval}/decline");
    let (status, answer) = rig.call(&rig.platform, Method::POST, &path, json!({"reason": "a gift"})).await;
    assert_eq!(status, 200, "{answer}");
    page.wait_text("#state", "has decided not to stop these: 1 × print (b). The reason given: a gift").await;
    page.wait_for("#ask input[value='c']").await;
    assert!(!page.shows("#ask input[value='b']").await, "it is not asked twice");
    page.looks("customer-lines-declined").await;
}

/// A form with these lines.
fn form(csrf: &str, lines: &[&str]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("csrf", csrf).append_pair("lang", "en").append_pair("reason", "other");
    for line in lines {
        form.append_pair("item", line);
    }
    form.finish()
}

#[tokio::test]
async fn no_form_that_names_lines_stops_more_than_these() {
    let rig = rig(good(), json!({"prints_after": "12h"})).await;
    let order = order(&rig, "A-1").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let csrf = customer.get("/c").await.form();
    for lines in [&["9"][..], &[""], &["1", "9"], &["1", ""], &["%"], &["1,2"]] {
        let page = customer.post("/c/confirm", &form(&csrf, lines)).await;
        assert_eq!(page.status, 303, "{lines:?}: {}", page.text);
        let page = customer.post("/c/stop", &form(&csrf, lines)).await;
        assert!(page.status >= 400, "{lines:?}: {} {}", page.status, page.text);
        assert_eq!(rig.read(&order).await["stop"], Value::Null, "{lines:?}");
        assert_eq!(stands(&rig, &order, "1").await, words("yes", "as_order"), "{lines:?}");
    }
    // What was chosen before the hand-over is asked after it: this lab stops whole orders only, and nothing is changed.
    rig.go_to("2026-11-21T22:00:30Z").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    let csrf = customer.get("/c").await.form();
    let page = customer.post("/c/stop", &form(&csrf, &["1"])).await;
    assert!(page.text.contains("Nothing was changed"), "{} {}", page.status, page.text);
    assert_eq!(rig.read(&order).await["stop"], Value::Null);
    assert!(!customer.get("/c").await.text.contains("type=\"checkbox\""), "and it is no choice any more");
    // Twice the same line is that line.
    let other = self::order(&rig, "A-2").await;
    let customer = Customer::of(&rig, &other, "stop").await;
    let csrf = customer.get("/c").await.form();
    let page = customer.post("/c/stop", &form(&csrf, &["2", "2"])).await;
    assert_eq!(page.status, 303, "{}", page.text);
    assert_eq!(stands(&rig, &other, "2").await, words("no", "already_stopped"));
    assert_eq!(stands(&rig, &other, "1").await, words("yes", "as_order"));
}

#[tokio::test]
async fn so_many_lines_are_a_choice_as_fit_in_what_is_read_of_a_form() {
    let rig = rig(good(), json!({})).await;
    for (count, long, choice) in
        [(1, 20, false), (2, 20, true), (50, 20, true), (51, 1, false), (50, 60, false)]
    {
        let ids: Vec<String> = (0..count).map(|nth| format!("{nth:0>3}/{}", "ä".repeat(long))).collect();
        let items: Vec<Value> =
            ids.iter().map(|id| json!({"id": id, "sku": "print", "quantity": 1})).collect();
        let submission = json!({"reference": format!("A-{count}-{long}"), "lab": "nordprint", "items": items,
            "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"}});
        let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", submission).await;
        assert_eq!(status, 201, "{made}");
        let customer = Customer::of(&rig, made["id"].as_str().unwrap(), "stop").await;
        let page = customer.get("/c").await;
        let shown = page.text.matches("type=\"checkbox\"").count();
        assert_eq!(shown, if choice { count } else { 0 }, "{count}");
        if choice {
            let but_one: Vec<&str> = ids[1..].iter().map(String::as_str).collect();
            let page = customer.post("/c/confirm", &form(&page.form(), &but_one)).await;
            assert_eq!(page.status, 200, "{count}: {}", page.text);
            assert_eq!(page.text.matches("name=\"item\"").count(), count - 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_choice_of_lines_fits_the_narrowest_screen_in_every_language() {
    let rig = rig(good(), json!({})).await;
    let order = order(&rig, "2026-1001").await;
    let page = opens(&rig, &order, View::NARROW).await;
    let clean = page.url().await;
    for lang in ["de", "en", "es", "fi", "fr", "pt"] {
        page.goto(&format!("{clean}&lang={lang}")).await;
        page.click("#ask input[value='2']").await;
        page.accessible().await;
        let loads = page.loads();
        page.click("#ask button").await;
        page.loaded_after(loads).await;
        page.wait_text("#only", "1 × mug").await;
        assert_eq!(page.wider_than(320).await, Vec::<String>::new(), "{lang}");
        page.accessible().await;
        page.shot(&format!("customer-lines-{lang}")).await;
    }
}
