//! The customer's page in a real browser while things go on: two orders beside each other, a computer that sleeps,
//! forms that would do something else by now, and what the lab takes out.

use serde_json::json;

use crate::common::browser::{Page, View};
use crate::common::cable::Cable;
use crate::customer_support::link;
use crate::pages_customer::{asks, good, opens, order, report, rig, url};

#[tokio::test(flavor = "multi_thread")]
async fn two_orders_in_two_tabs_stay_apart_when_the_line_breaks() {
    let rig = rig(good(), json!({})).await;
    let (one, two) = (order(&rig, "A-1111").await, order(&rig, "B-2222").await);
    let cable = Cable::to(&url(&rig, "")).await;
    let first = Page::open(View::DESKTOP).await;
    first.forgive("net::ERR_");
    first.goto(&format!("{}{}", cable.url, link(&rig, &one, "stop").await.0)).await;
    first.wait("document.querySelector('#times [data-until]').textContent.includes(':')").await;
    let second = first.tab().await;
    second.forgive("net::ERR_");
    second.goto(&format!("{}{}", cable.url, link(&rig, &two, "stop").await.0)).await;
    second.wait_text("header", "2222").await;
    cable.cut();
    first.wait_text("#stale", "No news since").await;
    rig.ask(&one).await;
    cable.mend();
    first.wait_text("#state", "The order is stopped").await;
    first.wait("document.getElementById('stale').hidden").await;
    assert!(first.text("header").await.contains("1111"));
    assert!(!first.text("body").await.contains("2222"));
    second.wait("document.getElementById('stale').hidden").await;
    assert!(second.text("header").await.contains("2222"));
    assert!(second.text("#state").await.contains("This order can still be stopped"));
    // Loaded anew each is what it was.
    first.reload().await;
    assert!(first.text("header").await.contains("1111"));
    assert!(first.text("#state").await.contains("The order is stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_computer_that_slept_counts_on_by_the_time_that_has_passed() {
    let rig = rig(good(), json!({})).await;
    let order = order(&rig, "A-1").await;
    let cable = Cable::to(&url(&rig, "")).await;
    let page = Page::open(View::PHONE).await;
    page.forgive("net::ERR_");
    page.goto(&format!("{}{}", cable.url, link(&rig, &order, "stop").await.0)).await;
    page.wait("/^(2:00:00|1:59:)/.test(document.querySelector('#times [data-until]').textContent)").await;
    assert!(!page.shows("#stale").await);
    cable.silence();
    // What the gateway says now lies before the closed lid, and comes in when it is opened.
    page.pause(std::time::Duration::from_secs(6)).await;
    // The steady clock stands still, and the other one goes on for ten minutes; what is shown from then on is kept.
    page.eval(
        "(() => { const [still, later] = [performance.now(), Date.now() + 600000]; \
         performance.now = () => still; Date.now = () => later; window.shown = []; \
         new MutationObserver(() => window.shown.push(document.querySelector('#times [data-until]')?.textContent)) \
         .observe(document.querySelector('main'), { childList: true, subtree: true, characterData: true }); })()",
    )
    .await;
    page.wait("/^1:(50:00|49:)/.test(document.querySelector('#times [data-until]').textContent)").await;
    page.wait_text("#stale", "What you see may be out of date").await;
    page.looks("customer-stale").await;
    rig.clock.advance(std::time::Duration::from_mins(10));
    cable.mend();
    page.wait("document.getElementById('stale').hidden").await;
    page.pause(std::time::Duration::from_secs(2)).await;
    let promised = page.eval("window.shown.filter((it) => it && !/^1:(50:00|49:)/.test(it)).join()").await;
    assert_eq!(promised, "", "nobody is promised time that is over by what was said before the sleep");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_would_do_something_else_is_not_left_there() {
    let rig = rig(good(), json!({"prints_after": "12h"})).await;
    let order = order(&rig, "A-1").await;
    let page = opens(&rig, &order, View::PHONE).await;
    page.wait_text("#ask", "Stop the order").await;
    page.click("text=Wrong picture").await;
    page.fill("#comment", "half a sent").await;
    rig.go_to("2026-11-21T22:00:30Z").await;
    page.wait_text("#ask", "Ask to stop it").await;
    page.wait_text("#state", "The print lab decides").await;
    let entered = "document.querySelector('#ask input:checked').value + ': ' + document.querySelector('#comment').value";
    assert_eq!(page.eval(entered).await, "wrong_picture: half a sent", "what was entered is carried over");
    assert_eq!(page.eval("document.activeElement.id").await, "comment");
    page.looks("customer-ask-lab").await;
    report(&rig, &order, "in_production").await;
    page.wait_text("#state", "The print lab has started on the order").await;
    page.looks("customer-in-production").await;
    report(&rig, &order, "shipped").await;
    page.wait_text("#state", "It has already left the print lab").await;
    page.wait("!document.querySelector('#ask form')").await;
}

/// While an order is handed over there is nothing to ask; what was entered before is there when there is again.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_comes_back_is_as_it_was_left() {
    let rig = rig(good(), json!({"prints_after": "12h", "slow": "2s"})).await;
    let order = order(&rig, "A-1").await;
    let page = opens(&rig, &order, View::PHONE).await;
    page.click("text=Wrong picture").await;
    page.fill("#comment", "half a sent").await;
    page.eval(
        "(() => { new MutationObserver(() => { window.gone ||= !document.querySelector('#ask form'); }) \
         .observe(document.body, { childList: true, subtree: true }); })()",
    )
    .await;
    rig.go_to("2026-11-21T22:00:05Z").await;
    page.wait("window.gone").await;
    page.wait_text("#ask", "Ask to stop it").await;
    let entered = "document.querySelector('#ask input:checked')?.value + ': ' + document.querySelector('#comment').value";
    assert_eq!(page.eval(entered).await, "wrong_picture: half a sent");
    assert_eq!(page.eval("document.activeElement.id").await, "comment");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_lab_takes_out_is_stopped() {
    let rig = rig(good(), json!({"prints_after": "12h"})).await;
    let order = order(&rig, "A-1").await;
    rig.go_to("2026-11-21T22:01:00Z").await;
    let page = opens(&rig, &order, View::DESKTOP).await;
    asks(&page, "text=Ask to stop it", "text=Yes, ask to stop it").await;
    page.wait_text("#state", "The print lab has taken it out").await;
    page.wait_text("#money", "Acme Photo").await;
    page.looks("customer-stopped-by-lab").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_of_one_order_share_one_stream() {
    let rig = rig(good(), json!({})).await;
    let order = order(&rig, "A-1").await;
    let path = url(&rig, &link(&rig, &order, "stop").await.0);
    let first = Page::open(View::DESKTOP).await;
    first.goto(&path).await;
    first.wait_text("#state", "This order can still be stopped").await;
    // The second is made at another instant, and asks for nothing of its own.
    rig.clock.advance(std::time::Duration::from_secs(7));
    let second = first.tab().await;
    second.goto(&path).await;
    second.wait_text("#state", "This order can still be stopped").await;
    // How many tabs have the stream, how many wait for it, and how many streams there are.
    let locks = |expected: &str| {
        format!(
            "(() => {{ navigator.locks.query().then((it) => {{ window.seen = [it.held.length, it.pending.length, \
             new Set([...it.held, ...it.pending].map((one) => one.name)).size].join(); }}); \
             return window.seen === '{expected}'; }})()"
        )
    };
    second.wait(&locks("1,1,1")).await;
    rig.ask(&order).await;
    for page in [&first, &second] {
        page.wait_text("#state", "The order is stopped").await;
    }
    // The one that leads goes: the other takes over.
    first.goto("about:blank").await;
    second.wait(&locks("1,0,1")).await;
}
