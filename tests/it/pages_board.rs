//! The board and the pages of ops in a real browser: what moves before the eyes, what a cut does, what can be
//! done by keyboard alone and without scripts, and how it all looks.

use std::time::Duration;

use hyper::http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock};

use crate::common::browser::{Page, View};
use crate::common::cable::Cable;
use crate::rig::Rig;

/// A first look has to come before somebody's patience ends, also on a bad line.
const FIRST_PAINT_MAX: u64 = 100_000;

fn profile() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes"})
}

async fn rig(now: &str) -> Rig {
    Rig::new(now, "http", profile(), json!({})).await
}

fn url(rig: &Rig) -> String {
    rig.running.as_ref().unwrap().url()
}

/// Signs in as people do.
async fn signed_in(page: &Page, at: &str, key: &str, next: &str) {
    page.goto(&format!("{at}/sign-in?next={}", next.replace('/', "%2F").replace('?', "%3F"))).await;
    page.fill("#key", key).await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
}

/// Moves the gateway's clock as fast as time goes.
fn runs(rig: &Rig) -> tokio::task::JoinHandle<()> {
    let clock = rig.clock.clone();
    tokio::spawn(async move {
        loop {
            HostClock.sleep_until(HostClock.now() + SignedDuration::from_millis(100)).await;
            clock.advance(Duration::from_millis(100));
        }
    })
}

/// More labs, so that there is something to look at.
async fn labs(rig: &Rig) {
    for (id, name, zone, cutoffs, region) in [
        ("fotolabor-sued", "Fotolabor Süd", "Europe/Berlin", json!(["12:00", "24:00"]), "de"),
        ("prints-austin", "Prints Austin", "America/Chicago", json!(["15:00"]), "us-tx"),
        ("chatham", "Chatham Islands Photo & Frame", "Pacific/Chatham", json!(["09:45", "24:00"]), "nz"),
        ("osaka", "大阪プリント", "Asia/Tokyo", json!(["18:00"]), "jp"),
    ] {
        let lab = json!({
            "id": id, "name": name, "driver": {"kind": "http", "base_url": format!("http://{}", rig.lab.http_addr)},
            "profile": profile(),
            "regions": [{"id": region, "calendar": {"time_zone": zone, "cutoffs": cutoffs,
                "seasons": [{"name": "peak", "from": "11-15", "to": "12-24", "cutoffs": cutoffs}]}}],
        });
        let (status, answer) = rig.call(&rig.ops, Method::PUT, &format!("/v1/labs/{id}"), lab).await;
        assert_eq!(status, 201, "{answer}");
        for nth in 0..3 {
            rig.order_of(id, &format!("{id}-{nth}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_countdown_reaches_zero_and_the_batch_closes_before_the_eyes() {
    let rig = rig("2026-11-21T21:59:45Z").await;
    let order = rig.order("A-1").await;
    let batch = rig.read(&order).await["window"]["batch"].as_str().unwrap().to_owned();
    let ops = rig.ops.clone();
    let page = Page::open(View::DESKTOP.clock_off(SignedDuration::from_hours(-5))).await;
    signed_in(&page, &url(&rig), &ops, "/").await;
    page.wait_text("h1", "Board").await;
    let other = page.tab().await;
    other.goto(&format!("{}/ops/batches/{batch}", url(&rig))).await;
    other.wait_text("h1 .badge", "open").await;
    // The gateway's clock, not the browser's, which is five hours behind.
    page.wait("/^0:00:1[0-5]$/.test(document.querySelector('#r\\\\:nordprint\\\\:fi .count').textContent)")
        .await;
    assert_eq!(page.text("#r\\:nordprint\\:fi td[data-label=Waiting] a").await, "1");
    let clock = runs(&rig);
    page.wait("/^0:00:0[1-5]$/.test(document.querySelector('#r\\\\:nordprint\\\\:fi .count').textContent)")
        .await;
    page.shot("board-at-the-cutoff").await;
    // Tomorrow's window stands there now, and the other tab shows that the batch has gone.
    page.wait("/^2[34]:/.test(document.querySelector('#r\\\\:nordprint\\\\:fi .count').textContent)").await;
    page.wait("!document.querySelector('#r\\\\:nordprint\\\\:fi td[data-label=Waiting] a')").await;
    other.wait_text("h1 .badge", "handed on").await;
    other.wait_text("table", "at the lab").await;
    clock.abort();
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_gateway_falls_silent_the_board_says_since_when() {
    let rig = rig("2026-11-21T20:00:00Z").await;
    let clock = runs(&rig);
    let cable = Cable::to(&url(&rig)).await;
    let page = Page::open(View::DESKTOP).await;
    page.forgive("net::ERR_");
    signed_in(&page, &cable.url, &rig.ops, "/").await;
    page.wait_text("h1", "Board").await;
    page.wait("window.EventSource && document.querySelector('.count').textContent.includes(':')").await;
    assert!(!page.shows("#stale").await);
    cable.silence();
    page.wait_text("#stale", "No news since").await;
    page.looks("board-stale").await;
    cable.mend();
    page.wait("document.getElementById('stale').hidden").await;
    // What happened meanwhile is there.
    rig.order("A-1").await;
    page.wait_text("#r\\:nordprint\\:fi td[data-label=Waiting]", "1").await;
    clock.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_found_and_stopped_by_keyboard_alone() {
    let rig = rig("2026-11-21T20:00:00Z").await;
    let order = rig.order("A-1").await;
    let page = Page::open(View::DESKTOP).await;
    signed_in(&page, &url(&rig), &rig.ops, "/ops/search").await;
    page.tab_to("#q").await;
    page.write("A-1").await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    for link in ["text=A-1", "text=Stop this order"] {
        page.tab_to(link).await;
        let loads = page.loads();
        page.press("Enter").await;
        page.loaded_after(loads).await;
    }
    page.wait_text("h1", "Stop order A-1?").await;
    page.looks("stop-consequences").await;
    assert_eq!(rig.read(&order).await["state"], "in_batch", "looking changes nothing");
    page.tab_to("#reason").await;
    page.write("ordered twice").await;
    page.tab_to("button.bad").await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    page.wait_text("[role=status]", "nobody prints it because of us").await;
    page.looks("order-stopped").await;
    assert_eq!(rig.read(&order).await["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_everything_can_be_read_and_done() {
    let rig = rig("2026-11-21T20:00:00Z").await;
    let order = rig.order("A-1").await;
    let page = Page::open(View::PHONE.without_script()).await;
    signed_in(&page, &url(&rig), &rig.ops, "/").await;
    let row = page.text("#r\\:nordprint\\:fi").await;
    assert!(row.contains("Sat 22:00 UTC") && row.contains("Sun 00:00 there"), "{row}");
    let go = async |selector: &str| {
        let loads = page.loads();
        page.click(selector).await;
        page.loaded_after(loads).await;
    };
    go("#r\\:nordprint\\:fi td[data-label=Waiting] a").await;
    page.click("text=Postpone its cutoff").await;
    page.choose("#minutes", "60").await;
    page.fill("#why-later", "the truck is late").await;
    go("text=Postpone").await;
    assert_eq!(rig.read(&order).await["window"]["closes_at"], "2026-11-21T23:00:00Z");
    page.click("text=Release it before").await;
    page.fill("#why-now", "the truck is here").await;
    page.click("#sure").await;
    go("text=Release now").await;
    assert_ne!(rig.read(&order).await["state"], "in_batch");
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
}

/// An endpoint that nobody can reach.
async fn endpoint(rig: &Rig) -> String {
    let body =
        json!({"url": "https://hooks.invalid/in", "platform": "acme", "description": "the shop's own"});
    let (status, made) = rig.call(&rig.ops, Method::POST, "/v1/webhooks", body).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// An order that rules sent to its lab, held for two reasons, with a download.
async fn routed(rig: &Rig) -> String {
    let rules = json!({"rules": [{"id": "near-first", "to": [{"lab": "chatham"}, {"lab": "nordprint"}]}]});
    let (status, made) = rig.call(&rig.ops, Method::PUT, "/v1/routes/default", rules).await;
    assert_eq!(status, 201, "{made}");
    let body = json!({"reference": "A-routed", "need": {},
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 1}]});
    let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", body).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    for reason in ["the address is in doubt", "the paper is short"] {
        let hold = json!({"reason": reason});
        let (status, held) = rig.call(&rig.ops, Method::POST, &format!("/v1/orders/{id}/hold"), hold).await;
        assert_eq!(status, 200, "{held}");
    }
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_look_as_they_should() {
    let rig = rig("2026-11-21T13:20:00Z").await;
    labs(&rig).await;
    let order = rig.order("A-1").await;
    let at = url(&rig);
    // One lab stays silent, one is paused, a stop waits, and somebody has to decide.
    rig.lab.set_behaviour(serde_json::from_value(json!({"loses_answers": 1.0})).unwrap());
    rig.go_to("2026-11-21T15:05:00Z").await;
    let pause = json!({"reason": "the press is being repaired"});
    rig.call(&rig.ops, Method::POST, "/v1/labs/chatham/pause", pause).await;
    rig.go_to("2026-11-22T06:10:00Z").await;
    let stop = json!({"reason": "wrong size", "asked_by": "merchant"});
    rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/stop"), stop).await;
    rig.settle().await;
    let endpoint = endpoint(&rig).await;
    let routed = routed(&rig).await;
    let page = Page::open(View::DESKTOP).await;
    signed_in(&page, &at, &rig.ops, "/").await;
    page.wait_text("h1", "Board").await;
    assert!(page.transferred() < FIRST_PAINT_MAX, "{:?}", page.transfers());
    page.wait("document.querySelector('.band .now').getAttribute('visibility') === 'visible'").await;
    assert_eq!(page.text("#r\\:osaka\\:jp [data-zone]").await, "Sun 15:10");
    page.looks("board").await;
    page.look(View::PHONE.dark().still()).await;
    page.shot("board-still").await;
    page.look(View::DESKTOP).await;
    let batch = rig.read(&order).await["window"]["batch"].as_str().unwrap().to_owned();
    for (name, path) in [
        ("board-filtered", "/?level=act".to_owned()),
        ("board-nothing-fits", "/?find=nowhere".to_owned()),
        ("lab", "/ops/labs/fotolabor-sued".to_owned()),
        ("batch", format!("/ops/batches/{batch}")),
        ("order", format!("/ops/orders/{order}")),
        ("stops", "/ops/stops".to_owned()),
        ("stops-all", "/ops/stops?state=all".to_owned()),
        ("escalations", "/ops/escalations".to_owned()),
        ("search", "/ops/search?q=A-1".to_owned()),
        ("webhooks", "/ops/webhooks".to_owned()),
        ("webhook", format!("/ops/webhooks/{endpoint}")),
        ("order-routed-and-held", format!("/ops/orders/{routed}")),
    ] {
        page.goto(&format!("{at}{path}")).await;
        page.looks(name).await;
    }
    assert_eq!(rig.clock.now().to_string(), "2026-11-22T06:10:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_board_teaches_what_to_do_first() {
    let rig = rig("2026-11-21T20:00:00Z").await;
    rig.call(&rig.ops, Method::DELETE, "/v1/labs/nordprint", Value::Null).await;
    let page = Page::open(View::DESKTOP).await;
    signed_in(&page, &url(&rig), &rig.ops, "/").await;
    page.wait_text("h2", "No lab yet").await;
    page.looks("board-empty").await;
}
