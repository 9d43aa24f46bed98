//! What ops are told of what waits for others: approvals where there are more than a screen holds, endpoints that
//! nothing concerns.

use hyper::http::Method;
use serde_json::json;
use stoppress::clock::Clock as _;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::WebhookId;
use stoppress::store::{ChangeWebhook, WebhookChange, Write};

use crate::api::{Bench, lab, order};
use crate::grpc_support::breathe;
use crate::ops_support::{Viewer, many};
use crate::rig::Rig;
use crate::webhooks_support::{Receiver, endpoint};

#[tokio::test]
async fn of_many_approvals_the_most_overdue_stands_first_and_none_of_another_lab_hides_it() {
    const ALL: usize = 201;
    let bench = Bench::new().await;
    let spec = json!({"id": "shop", "name": "Shop", "policy": {"customer_stops": "ask_merchant"}});
    bench.put("/v1/platforms/shop", &spec).await.is(200);
    let mut other = lab(&json!(["24:00"]));
    other["id"] = json!("abel");
    bench.put("/v1/labs/abel", &other).await.is(201);
    let mut elsewhere = order("B-1");
    elsewhere["lab"] = json!("abel");
    let orders = (0..ALL).map(|nth| order(&format!("A-{nth}")));
    let orders = many(&bench, std::iter::once(elsewhere).chain(orders)).await;
    let ask = json!({"asked_by": "customer", "reason": "wrong size"});
    for order in &orders {
        bench.pass(1);
        bench.post(&format!("/v1/orders/{order}/stop"), &bench.shop, &ask).await.is(202);
    }
    let ops = Viewer::new(&bench, &bench.ops).await;
    let shown = async |path: &str| -> Vec<String> {
        let page = ops.page(path).await;
        let approvals = page.split_once("id=\"approvals\"").unwrap().1.split_once("id=\"list\"").unwrap().0;
        let rows = approvals.split("data-label=\"Order\">").skip(1);
        rows.map(|row| row.split("\">").nth(1).unwrap().split_once("</a>").unwrap().0.to_owned()).collect()
    };
    let all = shown("/ops/stops").await;
    assert_eq!((all.len(), all[0].as_str(), all[1].as_str()), (200, "B-1", "A-0"));
    let page = ops.page("/ops/stops").await;
    assert!(page.contains("More than 200 customers wait for the merchant, the most urgent first"), "{page}");
    assert_eq!(shown("/ops/stops?lab=abel").await, ["B-1"]);
    assert!(ops.page("/ops/stops?lab=abel").await.contains("1 customer waits for the merchant"));
    let own = shown("/ops/stops?lab=nord").await;
    assert_eq!((own.len(), own[0].as_str(), own[199].as_str()), (200, "A-0", "A-199"));
    // One less, and nobody says that there are more.
    bench.post(&format!("/v1/orders/{}/stop", orders[1]), &bench.shop, &json!({})).await.is(200);
    let page = ops.page("/ops/stops?lab=nord").await;
    assert!(page.contains("<caption>200 customers wait for the merchant"), "{page}");
}

/// The real loop: of 2,000 entries that concern nobody, an endpoint is not told that it is behind.
#[tokio::test]
async fn an_endpoint_that_nothing_concerns_does_well() {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    let rig = Rig::new("2026-11-21T20:00:00Z", "http", profile, json!({})).await;
    let receiver = Receiver::start().await;
    endpoint(&rig, &receiver.url, json!({"events": ["order.shipped"]})).await;
    let busy = endpoint(&rig, &receiver.url, json!({"events": ["order.shipped"]})).await;
    // Only so that there is something to write about: nobody tells it anything.
    let off = format!("/v1/webhooks/{busy}");
    assert_eq!(rig.call(&rig.platform, Method::PATCH, &off, json!({"enabled": false})).await.0, 200);
    let form = format!("key={}&next=/", rig.ops);
    let (status, headers, _) =
        rig.browse_with(Method::POST, "/sign-in", &[("sec-fetch-site", "same-origin")], Some(&form)).await;
    assert_eq!(status, 303);
    let cookie = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let looks = async || {
        let page = rig.browse_with(Method::GET, "/ops/webhooks", &[("cookie", &cookie)], None).await.2;
        (page.matches("takes what it is sent").count(), page.matches("is behind").count())
    };
    assert_eq!(looks().await, (1, 0));
    let store = &rig.running.as_ref().unwrap().bench.store;
    for set in 0..20 {
        let rotated = (0..100).map(|nth| {
            let secret = format!("whsec_{set}_{nth}").into();
            let change = WebhookChange::Rotate { secret, keep_until: rig.clock.now() };
            let (id, actor) = (WebhookId::parse(&busy).unwrap(), Actor("ops:test".into()));
            let at = rig.clock.now();
            Write::ChangeWebhook(Box::new(ChangeWebhook { id, platform: None, change, at, actor }))
        });
        store.apply(rotated.collect()).await.unwrap();
        // The loop hears of it, and has a look.
        breathe(30).await;
        rig.settle().await;
    }
    assert_eq!(looks().await, (1, 0), "nothing concerns it, and so it is not behind");
    assert_eq!(receiver.count(), 0);
}

/// A batch that was postponed may close with the next window: both are shown, and each is known again.
#[tokio::test]
async fn two_windows_that_close_at_one_instant_are_two_in_the_inbox() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let order_id = bench.admitted("A-1").await;
    let read = bench.get(&format!("/v1/orders/{order_id}"), &bench.shop).await.is(200);
    let batch = read["window"]["batch"].as_str().unwrap().to_owned();
    let body = json!({"until": "2026-11-22T22:00:00Z", "reason": "no truck"});
    bench.post(&format!("/v1/batches/{batch}/postpone"), &bench.ops, &body).await.is(200);
    let windows = async |ops: &Viewer<'_>| -> Vec<(String, String)> {
        let page = ops.page("/lab?lab=nord").await;
        let list = page.split_once("id=\"windows\"").unwrap().1.split_once("</ul>").unwrap().0.to_owned();
        let items = list.split("<li id=\"").skip(1);
        items
            .map(|item| {
                let (id, rest) = item.split_once('"').unwrap();
                (id.to_owned(), rest.split_once("</time>").unwrap().0.to_owned())
            })
            .collect()
    };
    let both = windows(&ops).await;
    assert_eq!(both.len(), 2, "{both:?}");
    assert_ne!(both[0].0, both[1].0);
    for (_, text) in &both {
        assert!(text.contains("datetime=\"2026-11-22T22:00:00Z\""), "{text}");
    }
    let postponed = both.iter().filter(|(_, text)| text.contains("postponed") && text.contains("1 order"));
    assert_eq!(postponed.count(), 1, "{both:?}");
    // Somebody joins the other one: it stays the same element.
    bench.pass(11 * 3600);
    bench.admitted("A-2").await;
    // The sign-in of the evening is over.
    let ops = Viewer::new(&bench, &bench.ops).await;
    let later = windows(&ops).await;
    // Tomorrow's is there as well by now.
    assert!(both.iter().all(|(id, _)| later.iter().any(|(known, _)| known == id)), "{both:?} {later:?}");
}

/// Inbox and board call the same seasons a peak: those with more cutoffs a day, or that are called so.
#[tokio::test]
async fn inbox_and_board_agree_on_what_a_peak_is() {
    for (name, cutoffs, peak) in [
        ("winter", json!(["12:00", "24:00"]), true),
        ("quiet weeks", json!(["18:00"]), false),
        ("peak", json!(["24:00"]), true),
    ] {
        let bench = Bench::new().await;
        let ops = Viewer::new(&bench, &bench.ops).await;
        let mut seasonal = lab(&json!(["24:00"]));
        seasonal["regions"][0]["calendar"]["seasons"] =
            json!([{"name": name, "from": "11-01", "to": "12-31", "cutoffs": cutoffs}]);
        bench.put("/v1/labs/nord", &seasonal).await.is(200);
        bench.pass(2);
        let marked = format!(">▲ {name}</span>");
        let plain = format!("\"badge\">{name}</span>");
        for path in ["/", "/lab?lab=nord"] {
            let page = ops.page(path).await;
            assert_eq!(
                (page.contains(&marked), page.contains(&plain)),
                (peak, !peak),
                "{name} {path}: {page}"
            );
        }
        let row = bench.get("/v1/board", &bench.ops).await.is(200)["regions"][0].clone();
        assert_eq!((&row["season"], &row["peak"]), (&json!(name), &json!(peak)), "{row}");
    }
}
