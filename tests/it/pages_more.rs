//! The pages in a real browser where more than one looks: tabs that nobody sees, a key that many share, an operator
//! and a customer; and how the rarer pages look.

use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::browser::{Page, View};
use crate::customer_support::allow;
use crate::pages_customer::{asks, opens};
use crate::pages_inbox::{at_the_inbox, handed_over, hide, sign_in, state};
use crate::rig::Rig;
use crate::webhooks_support::{Receiver, SECRET};

const EVENING: &str = "2026-11-21T20:00:00Z";
/// Each badge says in words what its colour says.
const WORDLESS: &str = "[...document.querySelectorAll('.badge')].filter((it) => !/\\p{L}{2}/u.test(it.textContent)) \
    .map((it) => it.outerHTML)";

async fn rig(now: &str) -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "stops_lines": true});
    Rig::new(now, "http", profile, json!({"prints_after": "10h"})).await
}

fn url(rig: &Rig, path: &str) -> String {
    format!("{}{path}", rig.running.as_ref().unwrap().url())
}

async fn ops_at(rig: &Rig, path: &str, view: View) -> Page {
    let page = Page::open(view).await;
    sign_in(&page, &url(rig, ""), &rig.ops, path).await;
    page
}

async fn made(rig: &Rig, order: Value) -> String {
    let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

fn order(reference: &str, items: &Value) -> Value {
    json!({"reference": reference, "lab": "nordprint", "items": items,
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"}})
}

/// A browser has six connections to one host: tabs that were opened behind another take none of them.
#[tokio::test(flavor = "multi_thread")]
async fn tabs_that_nobody_has_seen_starve_nobody() {
    let rig = rig(EVENING).await;
    let id = rig.order("A-1").await;
    let batch = rig.read(&id).await["window"]["batch"].as_str().unwrap().to_owned();
    let first = ops_at(&rig, "/ops/search", View::DESKTOP).await;
    let mut behind = Vec::new();
    for path in [
        "/".to_owned(),
        "/ops/stops".to_owned(),
        "/ops/escalations".to_owned(),
        "/ops/labs/nordprint".to_owned(),
        format!("/ops/batches/{batch}"),
        "/lab?lab=nordprint".to_owned(),
    ] {
        let tab = first.tab().await;
        tab.born_hidden().await;
        tab.goto(&url(&rig, &path)).await;
        behind.push(tab);
    }
    first.goto(&url(&rig, &format!("/ops/orders/{id}"))).await;
    first.wait_text("h1", "A-1").await;
    for tab in &behind {
        let streams: Vec<_> = tab.transfers().into_iter().filter(|it| it.url.contains("/live?")).collect();
        assert!(streams.is_empty(), "{streams:?}");
    }
    // Whoever is looked at is live, and shows what it missed.
    rig.order("A-2").await;
    hide(&behind[4], false).await;
    behind[4].wait_text("#window-card", "2 waiting").await;
}

/// Somebody who reads a stream and says nothing.
async fn watcher(rig: &Rig) -> TcpStream {
    let running = rig.running.as_ref().unwrap();
    let place = running.url().replace("http://", "");
    let mut stream = TcpStream::connect(&place).await.unwrap();
    let head = format!(
        "GET /v1/events/stream HTTP/1.1\r\nHost: {place}\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n\r\n",
        rig.ops
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_for_which_its_key_has_no_place_says_so() {
    let rig = rig(EVENING).await;
    let mut watchers = Vec::new();
    for _ in 0..32 {
        watchers.push(watcher(&rig).await);
    }
    let page = Page::open(View::DESKTOP).await;
    page.forgive("status of 429");
    sign_in(&page, &url(&rig, ""), &rig.ops, "/ops/stops").await;
    page.wait_text("#stale", "too many pages are open with your key").await;
    assert!(!page.text("#stale").await.contains("does not answer"), "it does answer");
    page.accessible().await;
    drop(watchers);
    page.wait("document.getElementById('stale').hidden").await;
}

/// An operator answers, thinks about it for ten seconds, and the customer's page changes by itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_answers_and_the_page_of_the_customer_changes() {
    let rig = crate::pages_inbox::rig().await;
    allow(&rig, "on").await;
    let [order] = handed_over(&rig, ["A-1"]).await;
    let operator = at_the_inbox(&rig, View::DESKTOP).await;
    operator.wait_text("#count", "Nothing waits for you").await;
    let customer = opens(&rig, &order, View::PHONE).await;
    asks(&customer, "text=Ask to stop it", "text=Yes, ask to stop it").await;
    customer.wait_text("#state", "The answer is still to come").await;
    customer.shot("customer-waits").await;
    operator.wait_for(".task button[value=stopped]").await;
    operator
        .eval(
            "(() => { window.told = []; const line = document.querySelector('.sending'); \
             new MutationObserver(() => told.push(line.textContent)) \
                 .observe(line, { childList: true, subtree: true, characterData: true }); })()",
        )
        .await;
    let sent = || operator.transfers().iter().filter(|it| it.url.contains("/lab/stops/")).count();
    operator.click("button[value=stopped]").await;
    // Eight seconds later it can still be taken back, and nothing has left the page.
    operator.wait_text(".sending", "in 2 s.").await;
    assert_eq!((sent(), state(&rig, &order).await.as_str()), (0, "pending"));
    assert!(customer.text("#state").await.contains("The answer is still to come"));
    assert_eq!(operator.eval("told.some((it) => it.includes('in 10 s.'))").await, true);
    customer.wait_text("#state", "The order is stopped").await;
    assert_eq!((sent(), state(&rig, &order).await.as_str()), (1, "stopped"));
    assert_eq!(operator.eval("told.filter((it) => / in \\d+ s\\./.test(it)).length >= 10").await, true);
    operator.wait_text("#decided", "stopped").await;
    customer.shot("customer-told").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_band_is_told_on_the_clocks_of_whoever_looks() {
    let rig = rig(EVENING).await;
    rig.order("A-1").await;
    // What is a quarter past ten in Helsinki is three in the afternoon in New York, and half past one in Delhi.
    for (zone, begins, closes) in [
        ("America/New_York", "03:00", "05:00"),
        ("Asia/Kolkata", "01:30", "03:30"),
        ("UTC", "08:00", "10:00"),
    ] {
        let page = ops_at(&rig, "/", View::DESKTOP.zone(zone)).await;
        page.wait("document.querySelector('.band .bar > title')?.dataset.shown").await;
        let title = page.eval("document.querySelector('.band .bar > title').textContent").await;
        let title = title.as_str().unwrap();
        assert!(title.contains(closes) && title.contains("1 cutoff, 1 order"), "{zone}: {title}");
        let hours = page.texts(".band .hours time").await;
        assert!(hours[0].contains(begins) && hours.len() == 8, "{zone}: {hours:?}");
        page.goto(&url(&rig, "/ops/cutoffs")).await;
        page.wait(&format!("document.querySelector('h2 time').textContent.includes('{closes}')")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_miss_the_cutoff_is_said_with_what_to_do_and_which_orders() {
    let rig = rig("2026-11-21T20:30:00Z").await;
    for (reference, items) in [("A-1", 1), ("A-2", 2)] {
        let mut unpaid = order(reference, &json!([{"id": "1", "sku": "print", "quantity": items}]));
        unpaid["payment"] = json!("awaiting");
        made(&rig, unpaid).await;
    }
    let held = rig.order("A-3").await;
    let path = format!("/v1/orders/{held}/hold");
    assert_eq!(rig.call(&rig.platform, Method::POST, &path, json!({"reason": "address"})).await.0, 200);
    rig.go_to("2026-11-21T21:10:00Z").await;
    let page = ops_at(&rig, "/", View::DESKTOP).await;
    let row = page.text("#r\\:nordprint\\:fi").await;
    for part in ["3 orders will miss it: 2 unpaid, 1 on hold.", "ask the platform for the payment"] {
        assert!(row.contains(part), "{part}: {row}");
    }
    page.looks("board-warned").await;
    let loads = page.loads();
    page.click("text=See which").await;
    page.loaded_after(loads).await;
    page.wait("document.querySelectorAll('#warned tbody tr').length === 3").await;
    let rows = page.texts("#warned tbody tr").await;
    for (reference, why) in [("A-1", "unpaid"), ("A-2", "unpaid"), ("A-3", "on hold")] {
        let row = rows.iter().find(|row| row.contains(reference)).unwrap();
        assert!(row.contains(why) && row.contains("0:") && row.contains("Sun 00:00 there"), "{row}");
    }
    page.looks("lab-warned").await;
    assert_eq!(page.eval(WORDLESS).await, json!([]));
    // Who is helped is gone from the list before the eyes.
    let path = format!("/v1/orders/{held}/release");
    assert_eq!(rig.call(&rig.platform, Method::POST, &path, json!({})).await.0, 200);
    page.wait("document.querySelectorAll('#warned tbody tr').length === 2").await;
    let loads = page.loads();
    page.click("#warned tbody a").await;
    page.loaded_after(loads).await;
    page.wait_text("h1", "A-").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rarer_pages_look_as_they_should() {
    let rig = rig(EVENING).await;
    allow(&rig, "ask_merchant").await;
    let receiver = Receiver::start().await;
    let callback = json!({"url": receiver.url, "secret": SECRET});
    let (status, answer) =
        rig.call(&rig.platform, Method::PUT, "/v1/platforms/acme/downloads", callback).await;
    assert_eq!(status, 201, "{answer}");
    let print = json!({"id": "1", "sku": "print-10x15", "quantity": 2});
    let mug = json!({"id": "2", "sku": "mug", "quantity": 1});
    let files = json!({"id": "2", "kind": "download", "sku": "gallery-zip", "quantity": 1});
    let asked = made(&rig, order("A-1", &json!([print, files]))).await;
    let lines = made(&rig, order("A-2", &json!([print, mug]))).await;
    let old = made(&rig, order("A-3", &json!([print]))).await;
    let post = async |path: &str, body: Value| {
        let (status, answer) = rig.call(&rig.platform, Method::POST, path, body).await;
        assert!(status < 300, "{path}: {answer}");
        answer
    };
    let ask = json!({"asked_by": "customer", "reason": "wrong size", "comment": "the other one, please"});
    post(&format!("/v1/orders/{asked}/stop"), ask).await;
    post(&format!("/v1/orders/{lines}/stop"), json!({"items": ["1"], "reason": "ordered twice"})).await;
    let new = json!({"order": order("A-4", &json!([mug])), "reason": "wrong picture"});
    let both = post(&format!("/v1/orders/{old}/replace"), new).await;
    let new = both["order"]["id"].as_str().unwrap().to_owned();
    let page = ops_at(&rig, "/", View::DESKTOP).await;
    for (name, path, part) in [
        ("cutoffs", "/ops/cutoffs".to_owned(), "Cutoffs of 24 hours"),
        ("inbox-of-ops", "/lab".to_owned(), "Inboxes of labs"),
        ("inbox-by-ops", "/lab?lab=nordprint".to_owned(), "Stops for Nordprint"),
        ("order-approval", format!("/ops/orders/{asked}"), "waits for the merchant"),
        ("order-lines", format!("/ops/orders/{lines}"), "ordered twice"),
        ("order-replaced", format!("/ops/orders/{old}"), "It is replaced by"),
        ("order-replacing", format!("/ops/orders/{new}"), "It replaces"),
        ("stops-approvals", "/ops/stops".to_owned(), "1 customer waits for the merchant"),
    ] {
        page.goto(&url(&rig, &path)).await;
        page.wait_text("main", part).await;
        page.looks(name).await;
        assert_eq!(page.eval(WORDLESS).await, json!([]), "{name}");
    }
    // Somebody else moves the batch while a form about it is filled in.
    let batch = rig.read(&lines).await["window"]["batch"].as_str().unwrap().to_owned();
    page.goto(&url(&rig, &format!("/ops/batches/{batch}"))).await;
    page.click("text=Postpone its cutoff").await;
    page.fill("#why-later", "the truck").await;
    let other = json!({"until": "2026-11-21T22:20:00Z", "reason": "somebody else was quicker"});
    let path = format!("/v1/batches/{batch}/postpone");
    assert_eq!(rig.call(&rig.ops, Method::POST, &path, other).await.0, 200);
    page.wait_text("#postponing .late", "This has changed since").await;
    page.forgive("409");
    let loads = page.loads();
    page.click("#postponing button[type=submit]").await;
    page.loaded_after(loads).await;
    page.wait_text("h1", "Somebody moved it").await;
    page.looks("moved").await;
}

/// For whom nothing may move, nothing moves, also where something changes.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_for_whom_nothing_may_move() {
    let rig = rig(EVENING).await;
    for (view, moves) in [(View::DESKTOP.still(), false), (View::DESKTOP, true)] {
        let page = ops_at(&rig, "/", view).await;
        page.wait("document.querySelector('.count').textContent.includes(':')").await;
        // An animation that starts is told of, however few frames are drawn of it.
        page.eval(
            "(() => { window.started = []; addEventListener('animationstart', (it) => started.push(it.animationName)); \
             for (const it of document.querySelectorAll('.changed')) it.classList.remove('changed'); })()",
        )
        .await;
        rig.order(if moves { "A-2" } else { "A-1" }).await;
        rig.clock.advance(Duration::from_secs(2));
        page.wait("document.querySelector('tr.changed')").await;
        let name = page.eval("getComputedStyle(document.querySelector('tr.changed')).animationName").await;
        assert_eq!(name, if moves { "changed" } else { "none" });
        if moves {
            page.wait("started.includes('changed')").await;
        } else {
            page.eval("(() => { requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = true; })); })()").await;
            page.wait("window.drawn").await;
            assert_eq!(page.eval("started").await, json!([]));
        }
    }
}
