//! What orders say of people goes when they are at an end: not before, not while anybody may still need it, and the
//! log stays whole.

use serde_json::{Value, json};
use stoppress::domain::ids::OrderId;
use stoppress::domain::order::Stage;
use stoppress::store::{ChangeKind, Changed, Purge, Purged, Scope, Write, Written};

use super::on_both;
use crate::common::lab::Lab;
use crate::common::world::{CUTOFF, World, able, accepted, at, removed, unclear};

on_both!(
    an_order_that_is_over_loses_its_address_and_keeps_its_log,
    who_may_still_need_it_keeps_it,
    what_was_purged_is_not_made_any_more,
    many_are_purged_a_page_at_a_time,
    it_is_purged_once_however_many_purge,
);

const DAY: i64 = 86_400;

/// An order with somebody's address.
async fn admit(lab: &Lab<'_>, reference: &str) -> OrderId {
    let mut admission = lab.admission(reference);
    admission.document = json!({"reference": reference, "lab": lab.id, "items":
        [{"id": "1", "sku": "print", "quantity": 1, "files": [{"url": "https://photos.example/aino"}]}],
        "ship_to": {"name": "Aino", "line1": "Katu 1", "city": "Helsinki", "country": "FI"}})
    .to_string();
    let id = admission.id.clone();
    lab.admit_as(admission).await;
    id
}

/// A purge of what was over at that second, by a gateway whose clock says another.
async fn purge(world: &World, before: i64, limit: i64) -> Vec<Purged> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let item = Purge { before: at(before), after, limit, at: at(before + 30 * DAY) };
        let Written::Purged(purged) = world.write(Write::Purge(Box::new(item))).await else {
            panic!("no purge")
        };
        let next = purged.next.clone();
        all.push(purged);
        if next.is_none() {
            return all;
        }
        after = next;
    }
}

async fn purged(world: &World, before: i64) -> usize {
    purge(world, before, 100).await.iter().map(|page| page.orders).sum()
}

async fn says(world: &World, order: &OrderId) -> bool {
    world.order(order).await.document.contains("Aino")
}

async fn kinds(world: &World, order: &OrderId) -> Vec<String> {
    let log = world.store.changelog(&Scope::Ops, order).await.unwrap().unwrap();
    log.into_iter().filter(|event| event.subject == order.as_str()).map(|event| event.kind).collect()
}

async fn an_order_that_is_over_loses_its_address_and_keeps_its_log(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admit(&lab, "A-1").await;
    let was = world.order(&order).await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    assert_eq!(purged(&world, CUTOFF + 1).await, 0, "it was handed over later");
    lab.report(&order, Stage::Shipped, CUTOFF + 100).await;
    assert_eq!(purged(&world, CUTOFF + 99).await, 0, "something was heard of it later");
    let version = world.order(&order).await.version;
    assert_eq!(purged(&world, CUTOFF + 100).await, 1);
    assert_eq!(purged(&world, CUTOFF + 100).await, 0, "once");
    let now = world.order(&order).await;
    assert!(!now.document.contains("Aino") && !now.document.contains("photos.example"), "{}", now.document);
    let shipped = stoppress::domain::order::OrderState::Shipped;
    assert_eq!((&now.reference, now.state(), now.version), (&was.reference, shipped, version));
    let left: Value = serde_json::from_str(&now.document).unwrap();
    assert_eq!(left["items"], json!([{"id": "1", "sku": "print", "quantity": 1}]));
    assert_eq!(kinds(&world, &order).await.last().unwrap(), "order.purged");
    let log = world.store.changelog(&Scope::Ops, &order).await.unwrap().unwrap();
    let hash = log.iter().find(|event| event.kind == "order.purged").unwrap().detail["sha256"].clone();
    let expected = stoppress::domain::retention::without_people(&was.document).unwrap().1;
    assert_eq!(hash, json!(expected), "whoever has it still can show that it was that");
    world.verify().await;
    // Who sends it again is told that it is there.
    let mut again = lab.admission("A-1");
    again.document = was.document;
    let told = lab.admit_as(again).await;
    assert!(matches!(told, stoppress::store::Admitted::Same(id) if id == order));
}

async fn who_may_still_need_it_keeps_it(world: World) {
    let lab = world.lab("lumo", able()).await;
    // It waits for its cutoff; it is on the wire; nobody knows; its stop is pending.
    let waits = admit(&lab, "A-1").await;
    assert_eq!(purged(&world, 10 * DAY).await, 0);
    assert!(says(&world, &waits).await);
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(purged(&world, 10 * DAY).await, 0, "its bytes may have to be built again");
    lab.settle(&out, unclear(), CUTOFF + 2).await.unwrap();
    assert_eq!(purged(&world, 10 * DAY).await, 0);
    // Stopped by whatever way: while its transfer is unclear, the same bytes may go again.
    let stop = lab.stop(&waits, CUTOFF + 3).await;
    assert_eq!(purged(&world, 10 * DAY).await, 0);
    lab.answer(&stop, removed(), CUTOFF + 4).await;
    assert_eq!(purged(&world, CUTOFF + 3).await, 0);
    let facts = world.order(&waits).await;
    let after = purged(&world, 10 * DAY).await;
    // The answer is a sign that the lab had the transfer: nothing is sent any more.
    assert_eq!(
        after,
        usize::from(facts.transfer.unwrap().phase == stoppress::domain::batch::TransferPhase::AtLab)
    );
    world.verify().await;
    // Not handed over and not stopped: for as long as it takes.
    let held = {
        let mut admission = lab.admission("A-2");
        (admission.paid, admission.join) = (false, None);
        admission.document =
            json!({"reference": "A-2", "ship_to": {"name": "Aino"}, "items": []}).to_string();
        let id = admission.id.clone();
        lab.admit_as(admission).await;
        id
    };
    assert_eq!(purged(&world, 400 * DAY).await, 0);
    assert!(says(&world, &held).await);
    lab.stop(&held, 401 * DAY).await;
    assert_eq!(purged(&world, 400 * DAY).await, 0);
    assert_eq!(purged(&world, 401 * DAY).await, 1, "stopped in the house: nobody needs it");
}

async fn what_was_purged_is_not_made_any_more(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (gone, kept) = (admit(&lab, "A-1").await, admit(&lab, "A-2").await);
    lab.stop(&gone, 1).await;
    lab.stop(&kept, 5).await;
    assert_eq!(purged(&world, 4).await, 1);
    let told = lab.change_as(lab.changing(&gone, ChangeKind::Reinstate, 10)).await;
    assert!(matches!(told, Changed::NotAllowed(_)), "{told:?}");
    assert!(matches!(lab.change_as(lab.changing(&kept, ChangeKind::Reinstate, 10)).await, Changed::Done));
    assert_eq!(purged(&world, 20).await, 0, "it waits again");
    assert!(says(&world, &kept).await);
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(out.orders, 1, "only the one that is whole");
}

async fn many_are_purged_a_page_at_a_time(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut orders = Vec::new();
    for nth in 0..7 {
        orders.push(admit(&lab, &format!("A-{nth}")).await);
    }
    // Every other one is over; those that are not are passed over, not looked at for ever.
    for order in orders.iter().step_by(2) {
        lab.stop(order, 1).await;
    }
    let pages = purge(&world, 10, 3).await;
    assert_eq!(pages.iter().map(|page| page.orders).collect::<Vec<_>>(), [2, 1, 1]);
    for (nth, order) in orders.iter().enumerate() {
        assert_eq!(says(&world, order).await, nth % 2 == 1, "{nth}");
    }
    world.verify().await;
}

async fn it_is_purged_once_however_many_purge(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut orders = Vec::new();
    for nth in 0..6 {
        let order = admit(&lab, &format!("A-{nth}")).await;
        lab.stop(&order, 1).await;
        orders.push(order);
    }
    let other = world.replica().await;
    let item = |before| {
        Write::Purge(Box::new(Purge { before: at(before), after: None, limit: 100, at: at(before) }))
    };
    let (one, two) = tokio::join!(
        stoppress::store::one(&*world.store, item(10)),
        stoppress::store::one(&*other, item(10))
    );
    let count = |written| match written {
        Written::Purged(purged) => purged.orders,
        other => panic!("{other:?}"),
    };
    assert_eq!(count(one.unwrap()) + count(two.unwrap()), 6);
    for order in &orders {
        assert_eq!(kinds(&world, order).await.iter().filter(|kind| *kind == "order.purged").count(), 1);
    }
    world.verify().await;
}
