//! The operator's inbox in a real browser: answered by touch, by keyboard and without scripts; live, and honest
//! about it when it is not.

use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::app::Running;

use crate::common::browser::{Page, View};
use crate::common::cable::Cable;
use crate::rig::Rig;

/// Friday, 10:00 in Helsinki.
const FRIDAY: &str = "2026-11-20T08:00:00Z";
/// Midnight in Helsinki.
const CUTOFF: &str = "2026-11-20T22:00:00Z";

/// A gateway with a lab whose people answer stops.
pub(crate) async fn rig() -> Rig {
    let profile = json!({"dedupes": "forever", "stops": "no", "channel": "person", "answers_within": "40m", "lookup": true});
    Rig::new(FRIDAY, "http", profile, json!({"stops": "yes"})).await
}

fn url(running: Option<&Running>) -> String {
    running.unwrap().url()
}

/// A key for somebody of the lab.
async fn key(rig: &Rig, name: &str) -> Value {
    let new = json!({"scope": "lab", "owner": "nordprint", "name": name});
    rig.call(&rig.ops, Method::POST, "/v1/keys", new).await.1
}

/// Signs in as people do.
pub(crate) async fn sign_in(page: &Page, base: &str, key: &str, next: &str) {
    page.goto(&format!("{base}{next}")).await;
    page.wait_for("#key").await;
    let loads = page.loads();
    page.fill("#key", key).await;
    page.click("text=Sign in").await;
    page.loaded_after(loads).await;
}

pub(crate) async fn at_the_inbox(rig: &Rig, view: View) -> Page {
    let page = Page::open(view.zone("Europe/Helsinki")).await;
    let key = key(rig, "Aino").await;
    sign_in(&page, &url(rig.running.as_ref()), key["secret"].as_str().unwrap(), "/lab").await;
    page.wait_text("h1", "Stops for Nordprint").await;
    page
}

/// Orders that the lab has.
pub(crate) async fn handed_over<const N: usize>(rig: &Rig, references: [&str; N]) -> [String; N] {
    let mut orders = Vec::new();
    for reference in references {
        orders.push(rig.order(reference).await);
    }
    rig.go_to(CUTOFF).await;
    orders.try_into().unwrap()
}

async fn asked(rig: &Rig, order: &str) -> Value {
    let (status, stop) = rig.ask(order).await;
    assert_eq!((status, stop["state"].as_str()), (202, Some("pending")), "{stop}");
    rig.settle().await;
    stop
}

pub(crate) async fn state(rig: &Rig, order: &str) -> String {
    rig.read(order).await["stop"]["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_ten_seconds_in_which_it_can_be_taken_back() {
    let rig = rig().await;
    let picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR4nGM4EGAARwzEcQARUhQB0xocygAAAABJRU5ErkJggg==";
    let order = json!({"reference": "A-1", "lab": "nordprint", "thumbnails": {"1": picture},
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print-10x15", "quantity": 1}, {"id": "2", "sku": "mug", "quantity": 2}]});
    let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{made}");
    let first = made["id"].as_str().unwrap().to_owned();
    let [second] = handed_over(&rig, ["A-2"]).await;
    asked(&rig, &first).await;
    rig.go_to("2026-11-20T22:00:01Z").await;
    asked(&rig, &second).await;
    let page = at_the_inbox(&rig, View::PHONE).await;
    page.wait("document.querySelectorAll('.task').length === 2").await;
    page.wait("document.querySelector('.task img').naturalWidth === 4").await;
    let source = page.attribute(".task img", "src").await.unwrap();
    assert!(source.starts_with("/lab/pictures/stp_") && source.ends_with("/0"), "{source}");
    assert!(page.transferred() < 100_000, "{:?}", page.transfers());
    page.looks("inbox").await;

    page.click(".task:first-child button[value=stopped]").await;
    page.wait_text(".task:first-child .sending", "goes out in").await;
    page.shot("inbox-undo").await;
    page.click("text=Undo").await;
    assert!(page.shows(".task:first-child button[value=stopped]").await);
    assert_eq!(state(&rig, &first).await, "pending", "nothing was sent");

    page.click(".task:first-child button[value=too_late]").await;
    page.wait_text(".task:first-child .sending", "goes out in").await;
    page.wait("document.querySelectorAll('.task').length === 1").await;
    page.wait_text("#decided", "too late").await;
    // Both are due at the same instant: either may have stood first.
    let mut stand = [state(&rig, &first).await, state(&rig, &second).await];
    stand.sort();
    assert_eq!(stand, ["pending", "too_late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_the_page_meant_what_they_pressed() {
    let rig = rig().await;
    let [order] = handed_over(&rig, ["A-1"]).await;
    asked(&rig, &order).await;
    let page = at_the_inbox(&rig, View::DESKTOP).await;
    page.click("button[value=stopped]").await;
    page.wait_text(".sending", "goes out in").await;
    page.goto(&format!("{}/sign-in", url(rig.running.as_ref()))).await;
    rig.eventually_state(&order, "stopped").await;
    let stop = &rig.read(&order).await["stop"];
    assert_eq!(stop["evidence"], "person_confirmed");
    // Who it was is kept, not only for which lab.
    let path = format!("/v1/orders/{order}/changelog");
    let (_, log) = rig.call(&rig.ops, Method::GET, &path, Value::Null).await;
    let last =
        log["events"].as_array().unwrap().iter().rfind(|event| event["kind"] == "stop.stopped").unwrap();
    let actor = last["actor"].as_str().unwrap();
    assert!(actor.starts_with("lab:nordprint, \"Aino\" by key "), "{actor}");
}

/// A phone that is put away counts no seconds: what was pressed goes out at once.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_puts_the_phone_away_meant_what_they_pressed() {
    let rig = rig().await;
    let [order] = handed_over(&rig, ["A-1"]).await;
    asked(&rig, &order).await;
    let page = at_the_inbox(&rig, View::PHONE).await;
    page.click("button[value=stopped]").await;
    page.wait_text(".sending", "goes out in").await;
    // From now on no timer of the page runs.
    page.eval("(() => { const last = setTimeout(() => {}); for (let id = 0; id <= last; id++) clearTimeout(id); })()").await;
    assert_eq!(state(&rig, &order).await, "pending");
    hide(&page, true).await;
    rig.eventually_state(&order, "stopped").await;
}

/// Makes the page believe that nobody sees it, or that somebody does again.
pub(crate) async fn hide(page: &Page, hidden: bool) {
    let state = if hidden { "hidden" } else { "visible" };
    page.eval(&format!(
        "(() => {{ for (const [name, value] of [['hidden', {hidden}], ['visibilityState', '{state}']]) \
         Object.defineProperty(document, name, {{ configurable: true, get: () => value }}); \
         document.dispatchEvent(new Event('visibilitychange')); }})()"
    ))
    .await;
}

/// A page that nobody sees gives its connection back after a while, and is told all that it missed when it is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_sees_takes_no_connection() {
    let rig = rig().await;
    let [order] = handed_over(&rig, ["A-1"]).await;
    let page = at_the_inbox(&rig, View::DESKTOP).await;
    // It has one to give back.
    page.eval(
        "(async () => { while (!(await navigator.locks.query()).held.length) \
         await new Promise((go) => setTimeout(go, 20)); })()",
    )
    .await;
    page.eval(
        "(() => { const [real, close] = [setTimeout, EventSource.prototype.close]; \
         window.setTimeout = (run, ms) => real(run, ms === 30000 ? 10 : ms); \
         EventSource.prototype.close = function () { window.gaveBack = true; return close.call(this); }; })()",
    )
    .await;
    hide(&page, true).await;
    page.wait("window.gaveBack").await;
    asked(&rig, &order).await;
    page.pause(Duration::from_millis(1500)).await;
    assert_eq!(page.texts(".task").await.len(), 0, "it heard what a page that is seen hears at once");
    hide(&page, false).await;
    page.wait("document.querySelectorAll('.task').length === 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_thanked_for_what_was_not_taken() {
    let rig = rig().await;
    let [order] = handed_over(&rig, ["A-1"]).await;
    asked(&rig, &order).await;
    let page = Page::open(View::DESKTOP.zone("Europe/Helsinki")).await;
    let key = key(&rig, "Aino").await;
    sign_in(&page, &url(rig.running.as_ref()), key["secret"].as_str().unwrap(), "/lab").await;
    page.click("button[value=stopped]").await;
    page.wait_text(".sending", "goes out in").await;
    // The key ends while the answer waits.
    page.forgive("status of 401");
    rig.call(&rig.ops, Method::DELETE, &format!("/v1/keys/{}", key["id"].as_str().unwrap()), Value::Null)
        .await;
    page.wait_text(".sending", "Not taken").await;
    assert!(page.shows("button[value=stopped]").await);
    assert_eq!(state(&rig, &order).await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_moves_by_itself_and_tabs_share_one_stream() {
    let rig = rig().await;
    let [order] = handed_over(&rig, ["A-1"]).await;
    let page = at_the_inbox(&rig, View::DESKTOP).await;
    page.wait_text("#count", "Nothing waits for you").await;
    // It is midnight there: today's window ends with the day that begins.
    let windows = page.texts("#windows li strong").await;
    assert_eq!(windows, ["fi", "fi"]);
    page.wait_text("#windows", "today 24:00").await;
    page.looks("inbox-empty").await;
    let other = page.tab().await;
    other.goto(&format!("{}/lab", url(rig.running.as_ref()))).await;
    asked(&rig, &order).await;
    for tab in [&page, &other] {
        tab.wait_for(".task").await;
        tab.wait_text("#count", "One stop waits").await;
    }
    let streams = |tab: &Page| tab.transfers().iter().filter(|it| it.url.contains("/lab/live")).count();
    assert_eq!((streams(&page), streams(&other)), (1, 0), "one stream for both tabs");
    // Somebody else answers; it is gone from both.
    let stop = rig.read(&order).await["stop"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/lab/stops/{stop}/answer");
    let (status, answer) = rig.call(&rig.ops, Method::POST, &path, json!({"answer": "removed"})).await;
    assert_eq!(status, 200, "{answer}");
    for tab in [&page, &other] {
        tab.wait("document.querySelectorAll('.task').length === 0").await;
        tab.wait_text("#decided", "stopped").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_stays_while_the_page_moves() {
    let rig = rig().await;
    let [first, second] = handed_over(&rig, ["A-1", "A-2"]).await;
    asked(&rig, &first).await;
    let page = at_the_inbox(&rig, View::DESKTOP).await;
    page.click("text=Add a reason").await;
    page.fill(".task:first-child textarea", "already cut").await;
    rig.go_to("2026-11-20T22:00:01Z").await;
    asked(&rig, &second).await;
    page.wait("document.querySelectorAll('.task').length === 2").await;
    assert_eq!(page.eval("document.querySelector('.task textarea').value").await, json!("already cut"));
    page.tab_to(".task:first-child button[value=too_late]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_keyboard_and_without_scripts() {
    let rig = rig().await;
    let [first, second] = handed_over(&rig, ["A-1", "A-2"]).await;
    asked(&rig, &first).await;
    let page = at_the_inbox(&rig, View::DESKTOP).await;
    page.tab_to("button[value=stopped]").await;
    page.press("Enter").await;
    page.wait_text(".sending", "goes out in").await;
    // The focus is where it can be taken back.
    assert_eq!(page.eval("document.activeElement.textContent").await, json!("Undo"));
    rig.eventually_state(&first, "stopped").await;

    asked(&rig, &second).await;
    let page = at_the_inbox(&rig, View::PHONE.dark().without_script()).await;
    let loads = page.loads();
    page.click("button[value=too_late]").await;
    page.loaded_after(loads).await;
    page.wait_text("[role=status]", "too late").await;
    assert_eq!(state(&rig, &second).await, "too_late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_hears_nothing_says_since_when() {
    let rig = rig().await;
    let cable = Cable::to(&url(rig.running.as_ref())).await;
    let page = Page::open(View::DESKTOP.zone("Europe/Helsinki")).await;
    page.forgive("net::ERR_");
    let key = key(&rig, "Aino").await;
    sign_in(&page, &cable.url, key["secret"].as_str().unwrap(), "/lab").await;
    page.wait_text("h1", "Stops for Nordprint").await;
    assert!(!page.shows("#stale").await);
    cable.silence();
    page.wait_text("#stale", "No news since").await;
    page.shot("inbox-stale").await;
    page.accessible().await;
    cable.mend();
    page.wait("document.querySelector('#stale').hidden").await;
    // A key that ends takes its sessions along, and the page says so.
    rig.call(&rig.ops, Method::DELETE, &format!("/v1/keys/{}", key["id"].as_str().unwrap()), Value::Null)
        .await;
    page.forgive("status of 401");
    page.wait_text("#stale", "You are signed out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_can_be_read_and_used() {
    let rig = rig().await;
    let base = url(rig.running.as_ref());
    let page = Page::open(View::DESKTOP).await;
    page.goto(&format!("{base}/sign-in")).await;
    page.looks("sign-in").await;
    page.forgive("status of 403");
    sign_in(&page, &base, "sp_wrong", "/sign-in").await;
    page.wait_text(".note[role=alert]", "unknown, expired or revoked").await;
    // By a link, once.
    let key = key(&rig, "Aino").await;
    let path = format!("/v1/keys/{}/links", key["id"].as_str().unwrap());
    let (_, link) = rig.call(&rig.ops, Method::POST, &path, json!({})).await;
    page.goto(&format!("{base}{}", link["path"].as_str().unwrap())).await;
    page.wait_text("main", "Aino").await;
    page.looks("sign-in-link").await;
    let loads = page.loads();
    page.tab_to("text=Sign in").await;
    page.press("Enter").await;
    page.loaded_after(loads).await;
    page.forgive("status of 4");
    page.goto(&format!("{base}/lab")).await;
    page.wait_text("h1", "Stops for Nordprint").await;
    let loads = page.loads();
    page.click("text=Sign out").await;
    page.loaded_after(loads).await;
    page.goto(&format!("{base}/lab")).await;
    page.wait_text("h1", "Sign in").await;
}
