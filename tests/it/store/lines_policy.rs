//! What a stop brings is told by the policy of its time, and a change of policy is told too.

use serde_json::{Value, json};
use stoppress::domain::order::Stage;
use stoppress::domain::platform::{Refund, ServiceFee};
use stoppress::store::{PutPlatform, Write};

use super::lines::{ask, exact, handed, ids, named};
use super::on_both;
use crate::common::world::{CUTOFF, World, able, at, ops, removed, shop};

on_both!(what_was_told_is_kept_whatever_the_policy_says_later, a_change_of_policy_says_from_what_to_what,);

async fn put_platform(world: &World, policy: &Value, seconds: i64) {
    let spec = json!({"id": "shop", "name": "Shop", "policy": policy}).to_string();
    let put = PutPlatform { id: shop(), spec, at: at(seconds), actor: ops() };
    world.write(Write::PutPlatform(Box::new(put))).await;
}

async fn what_was_told_is_kept_whatever_the_policy_says_later(world: World) {
    let lab = world.lab("lumo", exact()).await;
    put_platform(&world, &json!({"refund": "automatic", "restock": true, "reasons": ["changed_mind"]}), 1)
        .await;
    let order = handed(&world, &lab).await;
    let part = ask(&lab, &order, "1 2", CUTOFF + 10).await;
    let whole = lab.stop(&order, CUTOFF + 11).await;
    put_platform(&world, &json!({"refund": "outside", "service_fee": "waived"}), CUTOFF + 12).await;
    lab.answer(&part, named("2 1"), CUTOFF + 13).await;
    // Production has begun when the rest is taken out: nothing of that goes back to stock.
    lab.report(&order, Stage::InProduction, CUTOFF + 14).await;
    lab.answer(&whole, removed(), CUTOFF + 15).await;
    let part = world.store.line_stops(&order).await.unwrap().remove(0);
    let terms = part.brings().unwrap();
    assert_eq!((terms.refund, terms.service_fee), (Refund::Automatic, ServiceFee::Kept));
    assert_eq!((&terms.restock, &terms.exempt, terms.reason_offered), (&ids("2"), &ids("1"), Some(true)));
    let whole = world.stop_of(&order).await;
    let terms = whole.brings().unwrap();
    assert_eq!((terms.refund, &terms.restock), (Refund::Automatic, &vec![]));
    let log = world.store.log(&[order.as_str()]).await.unwrap();
    let told =
        |kind: &str| log.iter().rfind(|event| event.kind == kind).unwrap().detail["consequences"].clone();
    assert_eq!(told("stop.stopped_in_part")["restock"], json!(["2"]));
    assert_eq!(told("stop.stopped"), json!(terms));
    world.verify().await;
}

async fn a_change_of_policy_says_from_what_to_what(world: World) {
    put_platform(&world, &json!({"refund": "automatic"}), 1).await;
    put_platform(&world, &json!({"refund": "outside", "reasons": ["late"]}), 2).await;
    let log = world.store.log(&["shop"]).await.unwrap();
    assert_eq!(
        log.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["platform.created", "platform.changed"]
    );
    assert_eq!(log[0].detail["changes"], Value::Null);
    assert_eq!(
        log[1].detail["changes"],
        json!([
            {"field": "policy.reasons", "from": null, "to": ["late"]},
            {"field": "policy.refund", "from": "automatic", "to": "outside"},
        ])
    );
    let lab = world.lab("lumo", able()).await;
    world.lab("lumo", exact()).await;
    let log = world.store.log(&[lab.id.as_str()]).await.unwrap();
    assert_eq!(
        log[1].detail["changes"],
        json!([{"field": "profile.stops_lines", "from": false, "to": true}])
    );
    world.verify().await;
}
