//! The browser of the tests itself: it does what people do, and it finds what it is there to find. Each mistake is
//! planted, so that no test of a page passes by not looking.

use std::fmt::Write as _;

use jiff::SignedDuration;
use serde_json::json;
use stoppress::clock::{Clock as _, HostClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::common::browser::{Page, View};
use crate::common::cable::Cable;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src * data:; connect-src 'self'; \
    form-action 'self'";

/// A page without fault, but for what is put into it.
fn html(more: &str) -> String {
    format!(
        "<!doctype html><html lang=en><head><title>Trial</title><meta name=viewport content=\"width=device-width\">\
         <link rel=icon href=\"data:,\"><link rel=stylesheet href=/style.css><script src=/script.js defer></script>\
         </head><body><main><h1>Trial</h1>{more}</main></body></html>"
    )
}

/// What there is at a path, and with which headers.
fn site(path: &str, head: &str) -> (u16, &'static str, String, &'static str) {
    let page = |more: &str| (200, "text/html; charset=utf-8", html(more), "");
    match path {
        "/fine" => page(
            "<p id=said>nothing</p><p><button id=do>Do it</button></p><form action=/went><p><label>Text \
             <input name=text value=before></label></p><p><label>Kind <select name=kind><option value=a>A</option>\
             <option value=b>B</option></select></label></p><p><button>Go on</button></p></form>",
        ),
        "/live" => page("<p id=live>nothing yet</p>"),
        // It goes on without end: whoever serves this adds nothing and does not hang up.
        "/events" => (200, "text/event-stream", "data: first\n\n".to_owned(), ""),
        "/went" => page("<p id=there>there</p>"),
        "/session" => {
            let (status, kind, page, _) = page(if head.contains("__Host-x=1") { "known" } else { "unknown" });
            (status, kind, page, "Set-Cookie: __Host-x=1; Path=/; Secure; HttpOnly; SameSite=Strict\r\n")
        }
        "/inline" => page("<p style=\"color:red\">inline</p><script>1</script>"),
        "/throws" => page("<p id=throws>x</p>"),
        "/warns" => page("<p id=warns>x</p>"),
        "/asks" => page("<p id=asks>x</p>"),
        "/elsewhere" => page("<p><img alt=\"\" src=\"http://127.0.0.2:9/x.png\"></p>"),
        "/broken" => page("<p><img alt=broken src=/nothing.png></p>"),
        "/pale" => page("<p class=pale>hardly to be read</p><p><img src=\"data:,\"></p>"),
        "/bright" => page("<p class=bright>the same in the dark</p>"),
        "/wide" => page("<p class=wide>wide</p>"),
        "/unseen" => page("<p><button class=unseen>Unseen</button></p>"),
        "/covered" => page("<p><button>Covered</button></p><div class=cover></div>"),
        "/style.css" => (
            200,
            "text/css",
            ".pale{color:#ddd;background:#fff}body:has(.bright){color:#000!important;background:#fff!important}.wide{width:2000px}.unseen:focus{outline:none}\
             .cover{position:fixed;inset:0}@media(prefers-color-scheme:dark){body{background:#000;color:#fff}}\
             button{min-height:44px;min-width:44px}"
                .to_owned(),
            "",
        ),
        "/script.js" => (
            200,
            "text/javascript",
            "const $ = (s) => document.querySelector(s);\
             $('#do')?.addEventListener('click', () => { $('#said').textContent = 'done'; });\
             if ($('#live')) {\
                 const events = new EventSource('/events');\
                 events.onmessage = (e) => { $('#live').textContent = e.data; };\
                 events.onerror = () => { $('#live').textContent = 'cut'; events.close(); };\
             }\
             if ($('#throws')) throw new Error('planted');\
             if ($('#warns')) console.warn('planted', 1);\
             if ($('#asks')) alert('planted');"
                .to_owned(),
            "",
        ),
        _ => (404, "text/plain", String::new(), ""),
    }
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split([' ', '?']).nth(1).unwrap_or_default();
                let (status, kind, body, more) = site(path, &head);
                let mut answer =
                    format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n");
                write!(answer, "Content-Security-Policy: {POLICY}\r\n{more}").unwrap();
                if path == "/events" {
                    write!(answer, "\r\n{body}").unwrap();
                    stream.write_all(answer.as_bytes()).await?;
                    // Until the other side has had enough, or the test is over.
                    return stream.read_u8().await.map(drop);
                }
                write!(answer, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn people_use_a_page_by_mouse_and_keyboard() {
    let site = serve().await;
    let page = Page::open(View::DESKTOP).await;
    page.goto(&format!("{site}/fine")).await;
    assert_eq!(page.texts("h1, #said").await, ["Trial", "nothing"]);
    page.click("text=Do it").await;
    page.wait_text("#said", "done").await;
    page.reload().await;
    page.wait_text("#said", "nothing").await;
    page.tab_to("#do").await;
    page.press("Space").await;
    page.wait_text("#said", "done").await;

    page.fill("input", "after").await;
    page.press("Control+a").await;
    page.write("at last").await;
    page.press("ArrowLeft").await;
    page.press("x").await;
    page.choose("select", "b").await;
    page.tab_to("text=Go on").await;
    page.press("Shift+Tab").await;
    assert_eq!(page.eval("document.activeElement.name").await, "kind");
    page.press("Tab").await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    page.wait_for("#there").await;
    assert!(page.url().await.ends_with("/went?text=at+lasxt&kind=b"), "{}", page.url().await);
    assert!(!page.shows("#said").await);
    assert_eq!(page.attribute("link[rel=icon]", "href").await.as_deref(), Some("data:,"));
    assert!(page.print("harness").await > 1_000);
    page.looks("harness").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_where_and_on_what_they_are_said_to_be() {
    let site = serve().await;
    let hour = SignedDuration::from_hours(1);
    let view = View::NARROW.dark().still().zone("Asia/Tokyo").language("de-DE").clock_off(hour);
    let page = Page::open(view).await;
    page.goto(&format!("{site}/fine")).await;
    let seen = page
        .eval(
            "[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches,
                matchMedia('(prefers-reduced-motion: reduce)').matches, matchMedia('(pointer: coarse)').matches,
                Intl.DateTimeFormat().resolvedOptions().timeZone, navigator.language, (1.5).toLocaleString()]",
        )
        .await;
    assert_eq!(seen, json!([320, true, true, true, "Asia/Tokyo", "de-DE", "1,5"]));
    let ahead = page.eval("[Date.now(), new Date().getTime()]").await;
    for ahead in ahead.as_array().unwrap() {
        let ahead = ahead.as_i64().unwrap() - HostClock.now().as_millisecond();
        assert!((3_590_000..3_610_000).contains(&ahead), "{ahead} ms");
    }
    assert_eq!(page.eval("new Date(0).getTime()").await, 0);

    let plain = Page::open(View::DESKTOP.without_script()).await;
    plain.goto(&format!("{site}/throws")).await;
    assert_eq!(plain.text("#throws").await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_have_their_own_cookies_and_tabs_share_them() {
    let site = serve().await;
    let url = format!("{site}/session");
    let page = Page::open(View::DESKTOP).await;
    page.goto(&url).await;
    page.wait_text("main", "unknown").await;
    let again = page.tab().await;
    again.goto(&url).await;
    assert!(
        again.text("main").await.ends_with("\nknown"),
        "a cookie that is Secure is kept for this machine"
    );
    let cookies = again.cookies(&url).await;
    assert_eq!((&cookies[0]["httpOnly"], &cookies[0]["sameSite"]), (&json!(true), &json!("Strict")));
    let other = Page::open(View::DESKTOP).await;
    other.goto(&url).await;
    other.wait_text("main", "unknown").await;
    let told = Page::open(View::DESKTOP).await;
    told.set_cookie(&url, "__Host-x", "1").await;
    told.goto(&url).await;
    assert!(told.text("main").await.ends_with("\nknown"));

    let paths: Vec<(String, u16)> =
        told.transfers().into_iter().map(|t| (t.url.replace(&site, ""), t.status)).collect();
    assert_eq!(paths, [("/session".into(), 200), ("/style.css".into(), 200), ("/script.js".into(), 200)]);
    assert!((1_200..5_000).contains(&told.transferred()), "{:?}", told.transfers());
    told.offline(true).await;
    told.forgive("net::ERR_INTERNET_DISCONNECTED");
    assert_eq!(told.eval("fetch('/fine').then(() => 'there', () => 'cut off')").await, "cut off");
    told.offline(false).await;
    assert_eq!(told.eval("fetch('/fine').then(() => 'there', () => 'cut off')").await, "there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_live_is_loaded_and_its_cable_is_made_silent_and_cut() {
    const TRY: &str = "Promise.race([fetch('/fine').then(() => 'there', () => 'cut'),
        new Promise((done) => setTimeout(() => done('silence'), 500))])";
    let cable = Cable::to(&serve().await).await;
    let page = Page::open(View::DESKTOP).await;
    page.goto(&format!("{}/live", cable.url)).await;
    page.wait_text("#live", "first").await;
    let events = page.transfers().pop().unwrap();
    assert!(events.url.ends_with("/events") && events.status == 200 && events.bytes > 100, "{events:?}");
    cable.silence();
    assert_eq!(page.eval(TRY).await, "silence");
    assert_eq!(page.text("#live").await, "first", "nobody was told");
    page.forgive("net::ERR_");
    cable.cut();
    page.wait_text("#live", "cut").await;
    assert_eq!(page.eval(TRY).await, "cut");
    cable.mend();
    assert_eq!(page.eval(TRY).await, "there");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_found() {
    let site = serve().await;
    for (path, trouble) in [
        ("/inline", "Content Security Policy"),
        ("/throws", "an exception: Error: planted"),
        ("/warns", "the console: planted 1"),
        ("/asks", "a dialog opened: planted"),
        ("/elsewhere", "a request to elsewhere: http://127.0.0.2:9/x.png"),
        ("/broken", "status of 404"),
    ] {
        let page = Page::open(View::DESKTOP).await;
        page.goto(&format!("{site}{path}")).await;
        let found = page.troubles();
        assert!(found.iter().any(|found| found.contains(trouble)), "{path}: {found:#?}");
        page.forgive("nothing of that kind");
        // The end of a page with troubles is the end of its test.
        let ended = tokio::spawn(async move { drop(page) }).await;
        assert!(ended.unwrap_err().is_panic(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_cannot_use_is_found() {
    let site = serve().await;
    let page = Page::open(View::PHONE).await;
    page.goto(&format!("{site}/pale")).await;
    let found = page.axe().await.join("\n");
    assert!(found.contains("color-contrast") && found.contains("image-alt"), "{found}");
    page.goto(&format!("{site}/wide")).await;
    assert!(page.wider_than(390).await.join("\n").contains("class=\"wide\""));
    drop(page);

    for (path, how) in [("/unseen", "tab"), ("/covered", "click"), ("/pale", "axe"), ("/bright", "looks")] {
        let page = Page::open(View::DESKTOP).await;
        page.goto(&format!("{site}{path}")).await;
        let ended = tokio::spawn(async move {
            match how {
                "tab" => page.tab_to("button").await,
                "click" => page.click("button").await,
                "looks" => page.looks("harness-bright").await,
                _ => page.accessible().await,
            }
        });
        assert!(ended.await.unwrap_err().is_panic(), "{path}");
    }
}
