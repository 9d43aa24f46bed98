//! The streams of ops' pages: they send what changed and no more, cost little where nothing of theirs happens, and
//! end where there is nothing to follow.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::api::{Bench, lab, order};
use crate::common::world::World;
use crate::ops_support::{Viewer, many};

fn digest(page: &str) -> String {
    page.split_once("data-cursor=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
}

fn keys(frame: &serde_json::Value) -> Vec<String> {
    frame["put"].as_object().map(|put| put.keys().cloned().collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_sent_its_parts_that_changed() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let order = bench.admitted("A-1").await;
    let path = format!("/ops/orders/{order}");
    let page = ops.page(&path).await;
    let mut stream = ops.stream(&format!("{path}/live?after={}", digest(&page)), None).await;
    // Whoever has nothing gets everything, as the page has it.
    let mut bare = ops.stream(&format!("{path}/live"), None).await;
    let (first, whole) = bare.frame().await;
    assert_eq!(first, digest(&page));
    for (id, html) in whole["put"].as_object().unwrap() {
        assert!(page.contains(html.as_str().unwrap()), "{id} is on the page as it is sent");
    }
    assert!(keys(&whole).iter().any(|id| id == "verdict-card") && whole["say"].is_null(), "{whole}");
    // What the page has is not sent again: the first frame is about what is new.
    bench.admitted("A-2").await;
    bench.post(&format!("{}/stop", path.replace("/ops", "/v1")), &bench.shop, &json!({})).await.is(200);
    let (second, news) = stream.frame().await;
    let ids = keys(&news);
    assert_eq!(ids.iter().filter(|id| id.starts_with("t-")).count(), 1, "one entry is new: {ids:?}");
    for id in ["head", "verdict-card", "stop-card"] {
        assert!(ids.iter().any(|known| known == id), "{id}: {ids:?}");
    }
    assert!(!ids.iter().any(|id| id == "facts-card" || id == "crumbs"), "{ids:?}");
    assert!(news["put"]["stop-card"].as_str().unwrap().contains("nothing of it ever left"), "{news}");
    assert!(news["say"].as_str().unwrap().contains("It is stopped"), "{news}");
    assert_eq!(news["order"]["timeline"].as_array().unwrap().len(), 3, "{news}");
    assert_eq!(digest(&ops.page(&path).await), second);
    // A browser that was away says what it has.
    let mut back = ops.stream(&format!("{path}/live"), Some(&first)).await;
    assert_eq!(back.frame().await.0, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_what_was_deleted_is_told_so() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let mut other = lab(&json!(["24:00"]));
    other["id"] = json!("abel");
    bench.put("/v1/labs/abel", &other).await.is(201);
    let page = ops.page("/ops/labs/abel").await;
    let mut gone = ops.stream(&format!("/ops/labs/abel/live?after={}", digest(&page)), None).await;
    let mut inbox = ops.stream("/lab/live?lab=abel", None).await;
    inbox.frame().await;
    bench.call("DELETE", "/v1/labs/abel", &bench.ops, None, &[]).await.is(204);
    gone.ends().await;
    inbox.ends().await;
    assert_eq!(ops.get("/ops/labs/abel/live").await.status, 404, "and whoever asks again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_others_is_not_drawn_and_much_at_once_is_drawn_once() {
    let world = World::sqlite().await;
    let others = "insert into events (at, subject, lab, kind, actor, detail, previous, hash)
        select 0, 's', 'lumo', 'stop.pending', 'a', '{}', '', '' from
        (with recursive n(x) as (select 1 union all select x + 1 from n where x < 10000) select x from n)";
    world.run(others).await;
    let bench = Bench::over(world).await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let looks = || bench.looks.load(Ordering::Relaxed);
    let before = looks();
    // A page that knows nothing, before a long log: one look.
    let mut stream = ops.stream("/ops/labs/nord/live?after=0", None).await;
    stream.frame().await;
    assert_eq!(looks(), before + 1);
    let mut other = lab(&json!(["24:00"]));
    other["id"] = json!("abel");
    bench.put("/v1/labs/abel", &other).await.is(201);
    let of = |lab: &'static str| {
        (0..500).map(move |nth| {
            let mut made = order(&format!("{lab}-{nth}"));
            made["lab"] = json!(lab);
            made
        })
    };
    let before = looks();
    many(&bench, of("abel")).await;
    pause(2).await;
    assert_eq!(looks(), before, "orders of another lab are nothing to it");
    many(&bench, of("nord")).await;
    let mut frames = 0;
    loop {
        let (_, frame) = stream.frame().await;
        frames += 1;
        if frame["put"]["r-1"].as_str().is_some_and(|html| html.contains("500 waiting")) {
            break;
        }
    }
    assert!(frames <= 4 && looks() - before <= 5, "{frames} frames, {} looks", looks() - before);
}

#[expect(clippy::disallowed_methods, reason = "what does not happen shows in time only")]
async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
