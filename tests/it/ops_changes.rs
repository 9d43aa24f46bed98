//! What ops see of approvals, holds and replacements, and decide there.

use serde_json::{Value, json};

use crate::api::{Bench, order};
use crate::ops_support::Viewer;

async fn asked(bench: &Bench, reference: &str) -> (String, String) {
    let order = bench.admitted(reference).await;
    let spec = json!({"id": "shop", "name": "Shop", "policy": {"customer_stops": "ask_merchant"}});
    bench.put("/v1/platforms/shop", &spec).await.is(200);
    let ask = json!({"asked_by": "customer", "reason": "wrong size", "comment": "<b>please</b>"});
    let told = bench.post(&format!("/v1/orders/{order}/stop"), &bench.shop, &ask).await.is(202);
    (order, told["approval"]["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_open_approval_is_listed_shown_and_decided() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let (order, approval) = asked(&bench, "A-1").await;
    let page = format!("/ops/orders/{order}");
    let list = ops.page("/ops/stops").await;
    assert!(list.contains("1 customer waits for the merchant") && list.contains(&page), "{list}");
    assert!(!ops.page("/ops/stops?state=all").await.contains("waits for the merchant"));
    let shown = ops.page(&page).await;
    for part in [
        "The customer asked to stop it",
        "waits for the merchant",
        "The order is in no window until it is decided.",
        "&#60;b&#62;please",
        "until the merchant decides",
        "the merchant decides.",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let act = format!("/ops/approvals/{approval}");
    let bad = ops.press(&page, &act, &[("decision", "perhaps"), ("reason", "x")]).await;
    assert_eq!(bad.status, 422, "{}", bad.text);
    let done = ops.press(&page, &act, &[("decision", "approve"), ("reason", "they called")]).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, page.as_str()), "{}", done.text);
    let shown = ops.page(&page).await;
    assert!(shown.contains("the merchant agreed") && shown.contains("they called"), "{shown}");
    assert!(
        shown.contains("nothing of it ever left the house") && !shown.contains("Decide for the merchant")
    );
    assert!(!ops.page("/ops/stops").await.contains("waits for the merchant"));
}

#[tokio::test]
async fn both_ends_of_a_replacement_show_each_other() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let old = bench.admitted("A-1").await;
    bench.post(&format!("/v1/orders/{old}/hold"), &bench.shop, &json!({"reason": "address"})).await.is(200);
    let held = ops.page(&format!("/ops/orders/{old}")).await;
    assert!(held.contains("What holds it") && held.contains("by platform: address"), "{held}");
    let body = json!({"order": order("A-2")});
    let both = bench.post(&format!("/v1/orders/{old}/replace"), &bench.shop, &body).await.is(201);
    let new = both["order"]["id"].as_str().unwrap();
    assert_eq!(both["order"]["holds"], Value::Null);
    for (page, other, says) in [(old.as_str(), new, "It is replaced by"), (new, &old, "It replaces")] {
        let shown = ops.page(&format!("/ops/orders/{page}")).await;
        assert!(shown.contains(says) && shown.contains(&format!("/ops/orders/{other}")), "{shown}");
        assert!(shown.contains("The old order is stopped, and the new one was released."), "{shown}");
    }
}
