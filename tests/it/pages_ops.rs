//! The pages of ops in a real browser, while things happen: nobody loses what they are at, and what is shown late or
//! not at all says so.

use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};

use crate::common::browser::{Page, View};
use crate::common::postgres;
use crate::pages_inbox::sign_in;
use crate::rig::Rig;

async fn at(rig: &Rig, path: &str) -> Page {
    let page = Page::open(View::DESKTOP).await;
    sign_in(&page, &rig.running.as_ref().unwrap().url(), &rig.ops, path).await;
    page
}

async fn rig(now: &str) -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    Rig::new(now, "http", profile, json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_is_at_stays_while_a_page_changes() {
    let rig = rig("2026-11-21T20:00:00Z").await;
    let order = rig.order("A-1").await;
    let batch = rig.read(&order).await["window"]["batch"].as_str().unwrap().to_owned();
    let page = at(&rig, &format!("/ops/batches/{batch}")).await;
    page.wait_text("#window-card", "1 waiting").await;
    page.click("#timeline summary").await;
    page.tab_to("#postpone-open").await;
    for nth in 2..5 {
        rig.order(&format!("A-{nth}")).await;
    }
    page.wait_text("#window-card", "4 waiting").await;
    page.wait("document.querySelector('#releasing input[name=waiting]').value === '4'").await;
    assert_eq!(page.eval("document.activeElement.id").await, "postpone-open");
    assert_eq!(page.eval("document.querySelector('#timeline details').open").await, true);
    // Opened by keyboard: it stays open, and what is typed is neither lost nor in the way of the rest.
    page.press("Enter").await;
    page.wait("document.querySelector('#postpone').open").await;
    page.fill("#why-later", "the truck").await;
    let postpone = json!({"until": "2026-11-21T22:20:00Z", "reason": "somebody else was quicker"});
    let path = format!("/v1/batches/{batch}/postpone");
    let (status, answer) = rig.call(&rig.ops, Method::POST, &path, postpone).await;
    assert_eq!(status, 200, "{answer}");
    page.wait_text("#window-card", "postponed").await;
    page.wait_text("#postponing .late", "This has changed since").await;
    assert_eq!(page.eval("document.querySelector('#why-later').value").await, "the truck");
    page.looks("batch-changed-since").await;
    page.click("text=Show").await;
    page.wait("!document.querySelector('.late')").await;
    let shown = page.attribute("#postponing input[name=closes_at]", "value").await;
    assert_eq!(shown.as_deref(), Some("2026-11-21T22:20:00Z"));
    assert_eq!(page.eval("document.querySelector('#postpone').open").await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn consequences_change_before_the_eyes_and_the_press_is_for_what_is_shown() {
    let rig = rig("2026-11-21T21:55:00Z").await;
    let order = rig.order("A-1").await;
    let page = at(&rig, &format!("/ops/orders/{order}/stop")).await;
    page.wait_text("#would-card", "at once, for certain").await;
    page.fill("#reason", "wrong size").await;
    rig.go_to("2026-11-21T22:00:05Z").await;
    page.wait_text("#would-card", "The lab is asked").await;
    page.wait_text("#ask .late", "This has changed since").await;
    let loads = page.loads();
    page.forgive("409");
    page.click("button.bad").await;
    page.loaded_after(loads).await;
    page.wait_text("[role=alert].note", "nothing was done").await;
    assert_eq!(rig.read(&order).await["stop"], Value::Null);
    assert_eq!(page.eval("document.querySelector('#reason').value").await, "wrong size");
    page.looks("stop-changed").await;
    let loads = page.loads();
    page.click("button.bad").await;
    page.loaded_after(loads).await;
    page.wait_text("#stop-card", "wrong size").await;
    rig.settle().await;
    page.wait_text("#stop-card", "the lab took it out").await;
    page.wait_text("#said", "It is stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_lab_that_was_deleted_says_so() {
    let rig = rig("2026-11-21T20:00:00Z").await;
    let page = at(&rig, "/ops/labs/nordprint").await;
    page.wait_text("h1", "Nordprint").await;
    page.forgive("404");
    let (status, answer) = rig.call(&rig.ops, Method::DELETE, "/v1/labs/nordprint", Value::Null).await;
    assert_eq!(status, 204, "{answer}");
    page.wait_text("#stale", "not there any more").await;
}

/// The log tells of it before the other gateway has read its labs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_gateway_says_so_as_soon_as_that_knows() {
    let database = postgres::database().await;
    let rig = Rig::on(Some(&database.url), "2026-11-21T20:00:00Z", "http", json!({}), json!({})).await;
    let other = rig.another(12).await;
    let page = Page::open(View::DESKTOP).await;
    sign_in(&page, &other.url(), &rig.ops, "/ops/labs/nordprint").await;
    page.wait_text("h1", "Nordprint").await;
    page.forgive("404");
    let (status, answer) = rig.call(&rig.ops, Method::DELETE, "/v1/labs/nordprint", Value::Null).await;
    assert_eq!(status, 204, "{answer}");
    rig.go_to("2026-11-21T20:00:01Z").await;
    // The other one reads the log, and draws what it still has.
    page.pause(Duration::from_secs(2)).await;
    rig.go_to("2026-11-21T20:00:07Z").await;
    page.wait_text("#stale", "not there any more").await;
    drop(page);
    other.stop().await;
}
