//! The customer's page in a real browser: each state, by keyboard, without scripts, live, in every language.

use hyper::http::Method;
use serde_json::{Value, json};

use crate::common::browser::{Page, View};
use crate::customer_support::{allow, link};
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";
/// A first look has to come before somebody's patience ends, also on a bad line.
const FIRST_PAINT_MAX: u64 = 100_000;
const LANGUAGES: [&str; 6] = ["de", "en", "es", "fi", "fr", "pt"];

pub fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

pub async fn rig(profile: Value, behaviour: Value) -> Rig {
    let rig = Rig::new(EVENING, "http", profile, behaviour).await;
    allow(&rig, "on").await;
    rig
}

/// An order with something made for one customer in it.
pub async fn order(rig: &Rig, reference: &str) -> String {
    let order = json!({"reference": reference, "lab": "nordprint",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 3}, {"id": "2", "sku": "mug", "quantity": 1, "personalised": true}]});
    let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

pub fn url(rig: &Rig, path: &str) -> String {
    format!("{}{path}", rig.running.as_ref().unwrap().url())
}

/// A customer who opens the link of an order.
pub async fn opens(rig: &Rig, order: &str, view: View) -> Page {
    let page = Page::open(view).await;
    page.goto(&url(rig, &link(rig, order, "stop").await.0)).await;
    page
}

/// Presses the button, and the one behind it.
pub async fn asks(page: &Page, first: &str, second: &str) {
    let loads = page.loads();
    page.click(first).await;
    page.loaded_after(loads).await;
    let loads = page.loads();
    page.click(second).await;
    page.loaded_after(loads).await;
}

pub async fn report(rig: &Rig, order: &str, stage: &str) {
    let lab = rig.lab_key("nordprint").await;
    let path = format!("/v1/lab/orders/{order}/status");
    let (status, answer) = rig.call(&lab, Method::POST, &path, json!({"stage": stage})).await;
    assert!(status < 300, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_stopped_by_keyboard_alone() {
    let rig = rig(good(), json!({})).await;
    let order = order(&rig, "2026-1001").await;
    let page = opens(&rig, &order, View::DESKTOP.zone("America/New_York")).await;
    assert!(page.transferred() > 0 && page.transferred() < FIRST_PAINT_MAX, "{:?}", page.transfers());
    let address = page.url().await;
    let (_, name) = address.split_once("/c?of=").expect("which page, and nothing else");
    assert!(name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{address}");
    assert_eq!(page.text("#state h2").await, "This order can still be stopped");
    // The lab's clocks, and the customer's own.
    page.wait_text("#times", "22 November 2026, 00:00, time at the print lab (Helsinki)").await;
    page.wait_text("#times", "November 21, 2026 at 5:00 PM, your time").await;
    page.wait("document.querySelector('#times [data-until]').textContent.includes('59')").await;
    page.looks("customer-open").await;

    page.tab_to("#ask input[type=radio]").await;
    page.press("ArrowDown").await;
    page.tab_to("#comment").await;
    page.write("the other one, please").await;
    page.tab_to("text=Stop the order").await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    assert_eq!(page.text("h1").await, "Stop this order?");
    assert_eq!(rig.read(&order).await["state"], "in_batch", "not yet");
    page.looks("customer-confirm").await;
    page.tab_to("text=Yes, stop the order").await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    page.wait_text("#state", "It was never handed over for printing").await;
    page.wait_text("#receipt", "Wrong product, size or number").await;
    page.looks("customer-stopped").await;
    assert!(page.print("customer-receipt").await > 1_000);
    let stop = rig.read(&order).await["stop"].clone();
    assert_eq!(
        (&stop["state"], &stop["reason"], &stop["comment"]),
        (&json!("stopped"), &json!("wrong_product"), &json!("the other one, please"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_stopped_on_a_phone_without_scripts() {
    let rig = rig(good(), json!({})).await;
    let order = order(&rig, "A-1").await;
    let page = opens(&rig, &order, View::PHONE.dark().without_script().language("fi-FI")).await;
    page.wait_text("#state", "Tilaus voidaan vielä peruuttaa").await;
    page.wait_text("#times", "22. marraskuuta 2026 klo 0.00, kuvalaboratorion aikaa (Helsinki)").await;
    page.wait_text("#times", "21. marraskuuta 2026 klo 22.00 UTC").await;
    page.wait_text("main", "kun sivu ladataan uudelleen").await;
    assert!(!page.shows(".left").await, "nothing counts down that stands still");
    page.click("text=Väärä kuva").await;
    asks(&page, "text=Peruuta tilaus", "text=Kyllä, peruuta tilaus").await;
    page.wait_text("#state", "Tilaus on peruutettu").await;
    page.wait_text("#receipt", "Väärä kuva").await;
    assert!(!page.shows("form").await && !page.shows("[data-print]").await);
    assert_eq!(rig.read(&order).await["stop"]["reason"], "wrong_picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_at_the_lab_is_seen_at_once() {
    // Its people answer: a stop waits until they have.
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "no", "channel": "person",
        "answers_within": "4h", "orders_per_call": 10});
    let rig = rig(profile, json!({"prints_after": "12h"})).await;
    let (first, second) = (order(&rig, "A-1").await, order(&rig, "A-2").await);
    let page = opens(&rig, &first, View::PHONE).await;
    page.wait_text("#state", "This order can still be stopped").await;
    // What is half written stays until its writer leaves it.
    page.fill("#comment", "half a sent").await;
    rig.go_to("2026-11-21T22:00:30Z").await;
    page.wait_text("#state", "A person at the print lab decides").await;
    assert_eq!(page.eval("document.querySelector('#comment').value").await, "half a sent");
    page.fill("#comment", "").await;
    page.press("Tab").await;
    page.wait_text("#ask", "Ask to stop it").await;
    page.looks("customer-ask-person").await;
    // By its clock the gateway has not heard of this browser for two hours: it is a session of a quarter of an hour.
    page.goto(&url(&rig, &link(&rig, &first, "stop").await.0)).await;
    asks(&page, "text=Ask to stop it", "text=Yes, ask to stop it").await;
    page.wait_text("#state", "A request to stop this order has been made").await;
    page.wait_text("#times", "Answer due by").await;
    page.looks("customer-pending").await;

    let answer = async |order: &str, word: &str| {
        let stop = rig.read(order).await["stop"]["id"].as_str().unwrap().to_owned();
        let lab = rig.lab_key("nordprint").await;
        let path = format!("/v1/lab/stops/{stop}/answer");
        let (status, said) = rig.call(&lab, Method::POST, &path, json!({"answer": word})).await;
        assert!(status < 300, "{said}");
    };
    answer(&first, "removed").await;
    page.wait_text("#state", "A person has confirmed that it will not be printed").await;
    page.wait_text("#receipt", "Decided").await;
    page.looks("customer-stopped-by-a-person").await;
    report(&rig, &first, "shipped").await;
    page.wait_text("#state", "Something does not add up").await;
    page.looks("customer-contradicted").await;

    let page = opens(&rig, &second, View::DESKTOP).await;
    asks(&page, "text=Ask to stop it", "text=Yes, ask to stop it").await;
    page.wait_text("#state", "A request to stop this order has been made").await;
    answer(&second, "will_print").await;
    page.wait_text("#state", "The order could not be stopped").await;
    page.looks("customer-refused").await;
    // Taken back while it is open.
    let path = format!("/v1/orders/{second}/links");
    assert_eq!(rig.call(&rig.platform, Method::DELETE, &path, Value::Null).await.0, 204);
    page.wait_text("#state", "This link does not work (any more)").await;
    page.wait("!document.querySelector('#receipt')").await;
    page.forgive("status of 404");
    page.reload().await;
    page.looks("customer-over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_in_which_nothing_can_be_pressed_say_why() {
    let profile =
        json!({"dedupes": "forever", "lookup": true, "stops": "final_on_receipt", "orders_per_call": 10});
    let rig = rig(profile, json!({"prints_after": "12h"})).await;
    let (kept, made) = (order(&rig, "A-1").await, order(&rig, "A-2").await);
    allow(&rig, "off").await;
    let page = opens(&rig, &kept, View::DESKTOP).await;
    page.wait_text("#ask", "Orders from Acme Photo cannot be stopped on this page").await;
    page.looks("customer-off").await;
    allow(&rig, "on").await;
    rig.go_to("2026-11-21T22:00:30Z").await;
    page.wait_text("#state", "It takes nothing back").await;
    assert!(!page.shows("form").await);
    page.looks("customer-keeps").await;
    report(&rig, &made, "shipped").await;
    let page = opens(&rig, &made, View::PHONE).await;
    page.wait_text("#state", "It has already left the print lab").await;
    assert!(!page.shows("form").await);
    page.looks("customer-shipped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_merchant_decides_the_page_waits_for_the_word() {
    let rig = rig(good(), json!({})).await;
    allow(&rig, "ask_merchant").await;
    let order = order(&rig, "A-1").await;
    let page = opens(&rig, &order, View::PHONE).await;
    asks(&page, "text=Ask to stop it", "text=Yes, ask to stop it").await;
    page.wait_text("#state", "The shop decides").await;
    assert!(!page.shows("form").await);
    page.looks("customer-merchant").await;
    let approval = rig.read(&order).await["approval"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/approvals/{approval}/decline");
    let (status, answer) =
        rig.call(&rig.platform, Method::POST, &path, json!({"reason": "it is a gift"})).await;
    assert_eq!(status, 200, "{answer}");
    // Without a look at it: the page hears of it.
    page.wait_text("#ask", "The reason given: it is a gift").await;
    page.looks("customer-declined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_knows_the_page_says_so() {
    let profile = json!({"dedupes": "no", "lookup": true, "stops": "yes", "answers_within": "30m"});
    let rig = rig(profile, json!({"loses_answers": 1.0})).await;
    let order = order(&rig, "A-1").await;
    rig.go_to("2026-11-21T22:04:00Z").await;
    let page = opens(&rig, &order, View::PHONE).await;
    page.wait_text("#state", "not yet clear whether the print lab has the order").await;
    page.looks("customer-unclear").await;
    asks(&page, "text=Ask to stop it", "text=Yes, ask to stop it").await;
    rig.lab.set_behaviour(serde_json::from_value(json!({"fails": 1.0, "prints_after": "12h"})).unwrap());
    rig.go_to("2026-11-21T22:40:00Z").await;
    page.wait_text("#state", "A person is looking into it").await;
    assert!(!page.text("#times").await.contains("due"), "that time is over");
    page.looks("customer-with-a-person").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_fits_the_narrowest_screen() {
    let rig = rig(good(), json!({})).await;
    let (open, stopped) = (order(&rig, "2026-1001").await, order(&rig, "2026-1002").await);
    rig.ask(&stopped).await;
    let page = opens(&rig, &open, View::NARROW).await;
    page.forgive("status of 404");
    let clean = page.url().await;
    for lang in LANGUAGES {
        let fits = async |what: &str| {
            assert_eq!(page.wider_than(320).await, Vec::<String>::new(), "{what}, {lang}");
            assert_eq!(page.attribute("html", "lang").await.as_deref(), Some(lang));
            page.shot(&format!("customer-{what}-{lang}")).await;
        };
        page.goto(&format!("{clean}&lang={lang}")).await;
        page.wait("document.querySelector('#times .yours')").await;
        fits("open").await;
        page.accessible().await;
        let loads = page.loads();
        page.click("#ask button").await;
        page.loaded_after(loads).await;
        fits("confirm").await;
        page.goto(&url(&rig, &format!("/c/nothing?lang={lang}"))).await;
        fits("over").await;
    }
    let page = opens(&rig, &stopped, View::NARROW).await;
    let clean = page.url().await;
    for lang in LANGUAGES {
        page.goto(&format!("{clean}&lang={lang}")).await;
        assert_eq!(page.wider_than(320).await, Vec::<String>::new(), "stopped, {lang}");
        page.shot(&format!("customer-stopped-{lang}")).await;
    }
}
