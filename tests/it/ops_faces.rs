//! What the pages of ops show of rarer things: addresses typed by hand, batches that were postponed, what was typed
//! into a form that came too late, routes, endpoints.

use serde_json::json;

use crate::api::{Bench, lab, order};
use crate::ops_support::{Viewer, field, many};

#[tokio::test]
async fn an_instant_in_the_address_finds_its_rows_or_is_refused_by_name() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let path = |value: &str| {
        let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        format!("/?at={value}")
    };
    for (at, rows) in [
        ("2026-11-21T22:00:00Z", 1),
        ("2026-11-21T22:00:00.000001Z", 1),
        ("2026-11-21T22:14:59.999Z", 1),
        ("2026-11-22T00:00:00+02:00", 1),
        ("2026-11-21 22:00:00Z", 1),
        ("2026-11-21T22:15:00Z", 0),
        ("2026-11-21T21:59:59Z", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("-009999-01-02T01:59:59Z", 0),
        ("9999-12-30T22:00:00Z", 0),
    ] {
        let page = ops.page(&path(at)).await;
        assert_eq!(page.matches("<tr id=\"r:").count(), rows, "{at}");
        assert_eq!(page.contains("No region fits"), rows == 0, "{at}");
        // The form beside it keeps the instant, and the stream is of the same rows.
        assert!(page.contains("type=\"hidden\" name=\"at\"") && page.contains("live?at="), "{at}");
    }
    for at in ["", "now", "22:00", "2026-11-21", "2026-11-21T22:00:00", "2026-02-30T22:00:00Z", "1764", "<b>"]
    {
        let reply = ops.get(&path(at)).await;
        assert_eq!(reply.status, 422, "{at:?}: {}", reply.text);
        assert!(reply.text.contains("at:") && !reply.text.contains("<b>"), "{at:?}: {}", reply.text);
    }
    // The list of cutoffs has pages, and no instant.
    for (query, status) in
        [("", 200), ("?page=1", 200), ("?page=0", 200), ("?page=999", 200), ("?page=x", 422), ("?at=x", 422)]
    {
        assert_eq!(ops.get(&format!("/ops/cutoffs{query}")).await.status, status, "{query}");
    }
}

/// The row of the region on the board.
async fn row(bench: &Bench) -> serde_json::Value {
    bench.pass(1);
    bench.get("/v1/board", &bench.ops).await.is(200)["regions"][0].clone()
}

#[tokio::test]
async fn a_window_that_was_postponed_closes_when_its_batch_does() {
    let bench = Bench::new().await;
    bench.put("/v1/labs/nord", &lab(&json!(["16:00", "24:00"]))).await.is(200);
    let postponed = async |reference: &str, until: &str| {
        let id = bench.admitted(reference).await;
        let read = bench.get(&format!("/v1/orders/{id}"), &bench.shop).await.is(200);
        let batch = read["window"]["batch"].as_str().unwrap().to_owned();
        let body = json!({"until": until, "reason": "late truck"});
        bench.post(&format!("/v1/batches/{batch}/postpone"), &bench.ops, &body).await.is(200);
        batch
    };
    assert_eq!(row(&bench).await["closes_at"], "2026-11-21T14:00:00Z");
    let batch = postponed("A-1", "2026-11-21T14:30:00Z").await;
    let later = row(&bench).await;
    assert_eq!(later["closes_at"], "2026-11-21T14:30:00Z", "{later}");
    assert_eq!((&later["open"][0]["batch"], &later["open"][0]["waiting"]), (&json!(batch), &json!(1)));
    let ops = Viewer::new(&bench, &bench.ops).await;
    let list = ops.page("/ops/cutoffs").await;
    let links: Vec<&str> =
        list.split("href=\"/?at=").skip(1).map(|it| it.split('"').next().unwrap()).collect();
    assert_eq!(links, ["2026-11-21T14:30:00Z", "2026-11-21T22:00:00Z"], "nothing closes at 14:00");
    // Beyond the next cutoff: that one comes first, and the row says so.
    let body = json!({"until": "2026-11-21T22:30:00Z", "reason": "no truck"});
    bench.post(&format!("/v1/batches/{batch}/postpone"), &bench.ops, &body).await.is(200);
    let beyond = row(&bench).await;
    assert_eq!(beyond["closes_at"], "2026-11-21T22:00:00Z", "{beyond}");
    assert_eq!(beyond["open"][0]["closes_at"], "2026-11-21T22:30:00Z");
    // One that is counted anew shows the same.
    bench.pass(3 * 3600);
    assert_eq!(row(&bench).await["closes_at"], "2026-11-21T22:00:00Z");
}

#[tokio::test]
async fn what_was_typed_is_kept_when_the_batch_is_another_by_now() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let id = bench.admitted("A-1").await;
    let read = bench.get(&format!("/v1/orders/{id}"), &bench.shop).await.is(200);
    let batch = format!("/ops/batches/{}", read["window"]["batch"].as_str().unwrap());
    let (postpone, release) = (format!("{batch}/postpone"), format!("{batch}/release"));
    let shown = ops.page(&batch).await;
    let (closes, waiting) = (field(&shown, &release, "closes_at"), field(&shown, &release, "waiting"));
    let form = [("minutes", "30"), ("reason", "late \"truck\" & snow"), ("closes_at", closes.as_str())];
    assert_eq!(ops.press(&batch, &postpone, &form).await.status, 303);
    // Somebody else had the same idea: what they typed is there, to be sent for what the batch is now.
    let typed = [("minutes", "45"), ("reason", "ice <b> \"3\""), ("closes_at", closes.as_str())];
    let late = ops.press(&batch, &postpone, &typed).await;
    assert_eq!(late.status, 409);
    for part in ["value=\"45\"", "value=\"ice &#60;b&#62; &#34;3&#34;\"", "Nothing was done"] {
        assert!(late.text.contains(part), "{part}: {}", late.text);
    }
    let now = field(&late.text, &postpone, "closes_at");
    assert_eq!(now, "2026-11-21T22:30:00Z");
    let again = [("minutes", "45"), ("reason", "ice"), ("closes_at", now.as_str())];
    assert_eq!(ops.press(&batch, &postpone, &again).await.status, 303);
    // A release keeps its reason as well, but not that somebody is sure.
    let form =
        [("reason", "holiday"), ("sure", "yes"), ("closes_at", now.as_str()), ("waiting", waiting.as_str())];
    let late = ops.press(&batch, &release, &form).await;
    assert_eq!(late.status, 409);
    assert!(late.text.contains("value=\"holiday\"") && !late.text.contains("checked"), "{}", late.text);
    let now = field(&late.text, &release, "closes_at");
    assert_eq!(now, "2026-11-21T23:15:00Z");
    let form = [("reason", "holiday"), ("sure", "yes"), ("closes_at", now.as_str()), ("waiting", "1")];
    assert_eq!(ops.press(&batch, &release, &form).await.status, 303);
}

#[tokio::test]
async fn an_order_says_why_it_is_made_where_it_is() {
    let bench = Bench::new().await;
    let mut other = lab(&json!(["24:00"]));
    other["id"] = json!("abel");
    other["name"] = json!("Abel");
    bench.put("/v1/labs/abel", &other).await.is(201);
    let rules = json!({"rules": [{"id": "near-first", "to": [{"lab": "abel"}, {"lab": "nord"}]}]});
    bench.put("/v1/routes/default", &rules).await.is(201);
    bench.post("/v1/labs/abel/pause", &bench.ops, &json!({"reason": "flood"})).await.is(200);
    let mut asked = order("A-1");
    asked.as_object_mut().unwrap().remove("lab");
    asked["need"] = json!({});
    let routed = bench.post("/v1/orders", &bench.shop, &asked).await.is(201);
    let ops = Viewer::new(&bench, &bench.ops).await;
    let page = ops.page(&format!("/ops/orders/{}", routed["id"].as_str().unwrap())).await;
    for part in ["Why there", "<b>near-first</b>", "default", "<b>abel fi</b>", "paused", "<b>nord fi</b>"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // One that named its lab says nothing of the kind.
    let named = bench.admitted("A-2").await;
    assert!(!ops.page(&format!("/ops/orders/{named}")).await.contains("Why there"));
}

#[tokio::test]
async fn endpoints_are_listed_the_worst_first_and_the_board_leads_there() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    assert!(ops.page("/ops/webhooks").await.contains("No endpoint is told anything"));
    let made = async |platform: &str, url: &str| {
        let body = json!({"url": url, "platform": platform, "description": "for <tests>"});
        bench.post("/v1/webhooks", &bench.ops, &body).await.is(201)
    };
    let good = made("shop", "https://hooks.example/in?token=hush").await;
    let off = made("other", "https://hooks.example/other").await;
    assert!(!ops.page("/").await.contains("switched off, or behind"));
    let page = ops.page("/ops/webhooks").await;
    for part in ["https://hooks.example/in?…", "for &#60;tests&#62;", "takes what it is sent", "never"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("hush"), "what may be a secret is not shown");
    // A platform that switches its own off is no trouble of ours.
    let id = |it: &serde_json::Value| it["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/webhooks/{}", id(&off));
    bench.call("PATCH", &path, &bench.ops, Some(&json!({"enabled": false})), &[]).await.is(200);
    assert!(!ops.page("/").await.contains("switched off, or behind"));
    let page = ops.page("/ops/webhooks").await;
    assert!(page.contains("off by its platform"), "{page}");
    // One that was not told of 1,001 orders of its own platform is behind: nobody tells anything here.
    many(&bench, (0..1_001).map(|nth| order(&format!("M-{nth}")))).await;
    let board = ops.page("/").await;
    assert!(board.contains("1 endpoint of a platform is switched off, or behind"), "{board}");
    let page = ops.page("/ops/webhooks").await;
    assert!(page.contains("is behind"), "{page}");
    let place = |it: &serde_json::Value| page.find(&id(it)).unwrap();
    assert!(place(&good) < place(&off), "the worst first");
    let one = ops.page(&format!("/ops/webhooks/{}", id(&good))).await;
    for part in ["How it does", "is behind", "entries of everything", "Nothing yet"] {
        assert!(one.contains(part), "{part}: {one}");
    }
    assert_eq!(ops.get(&format!("/ops/webhooks/whk_{}", "0".repeat(32))).await.status, 404);
    let lab = Viewer::new(&bench, &bench.lab).await;
    assert_eq!(lab.get("/ops/webhooks").await.status, 403);
}
