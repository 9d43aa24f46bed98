//! Orders that are sent ahead to labs of two phases: once, only while they wait, and in nobody's way.

use stoppress::domain::batch::Entry;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::stop::Evidence;
use stoppress::store::{ChangeKind, Import, Imported, Scope, Write, Written};

use super::on_both;
use crate::common::lab::Lab;
use crate::common::world::{CUTOFF, World, able, accepted, at, refused, unclear};

on_both!(
    each_order_is_sent_ahead_once,
    only_what_waits_is_sent_ahead,
    what_is_not_coming_is_taken_back,
    the_hand_over_carries_the_whole_order,
    a_changed_order_is_handed_over_as_it_is,
    the_hand_over_names_what_the_lab_called_it,
    the_same_bytes_go_again_whatever_is_heard_late,
);

fn two_phase() -> Profile {
    Profile { two_phase: true, ..able() }
}

async fn ahead(lab: &Lab<'_>, item: Import) -> (Vec<Entry>, Vec<OrderId>) {
    let Written::Importing(ahead, back) = lab.world.write(Write::Import(Box::new(item))).await else {
        panic!("no import")
    };
    assert!(ahead.iter().all(|order| order.hold_until == at(CUTOFF)));
    (ahead.into_iter().map(|order| order.entry).collect(), back)
}

async fn item(lab: &Lab<'_>, orders: &[OrderId], seconds: i64) -> Import {
    let mut send = Vec::new();
    for order in orders {
        let batch = lab.world.order(order).await.batch.map(|batch| batch.id);
        send.push((order.clone(), batch.unwrap_or_else(|| lab.world.batch_id())));
    }
    Import { lab: lab.id.clone(), send, discard: vec![], closes_at: at(CUTOFF), at: at(seconds) }
}

async fn sends(lab: &Lab<'_>, orders: &[OrderId], seconds: i64) -> Vec<OrderId> {
    let item = item(lab, orders, seconds).await;
    ahead(lab, item).await.0.into_iter().map(|entry| entry.id).collect()
}

async fn takes_back(lab: &Lab<'_>, orders: &[OrderId], seconds: i64) -> Vec<OrderId> {
    let item = Import { discard: orders.to_vec(), ..item(lab, &[], seconds).await };
    ahead(lab, item).await.1
}

async fn answered(lab: &Lab<'_>, order: &OrderId, answer: Answer, seconds: i64) {
    let item = Imported { order: order.clone(), answer, at: at(seconds) };
    lab.world.write(Write::Imported(Box::new(item))).await;
}

async fn stray(lab: &Lab<'_>) -> Vec<OrderId> {
    lab.world.store.stray_imports(&lab.id, at(0), 10).await.unwrap()
}

async fn each_order_is_sent_ahead_once(world: World) {
    let lab = world.lab("lumo", two_phase()).await;
    let orders = [lab.admit("A-1").await, lab.admit("A-2").await, lab.admit("A-3").await];
    let batch = world.order(&orders[0]).await.batch.unwrap().id;
    let fresh = async |after: &str, limit| world.store.not_imported(&batch, after, limit).await.unwrap();
    assert_eq!(fresh("", 2).await, orders[..2]);
    assert_eq!(fresh(orders[1].as_str(), 2).await, orders[2..]);
    let version = world.order(&orders[0]).await.version;
    assert_eq!(sends(&lab, &orders[..2], 100).await, orders[..2]);
    assert_eq!(fresh("", 9).await, orders[2..]);
    // Whatever came of it, also a crash.
    answered(&lab, &orders[0], unclear(), 101).await;
    assert_eq!(sends(&lab, &orders, 102).await, orders[2..]);
    answered(&lab, &orders[2], accepted(), 103).await;
    answered(&lab, &orders[1], refused(), 103).await;
    assert_eq!(sends(&lab, &orders, 104).await, []);
    assert_eq!(world.order(&orders[0]).await.version, version, "nobody's ETag changes");
    let log = world.store.changelog(&Scope::Ops, &orders[2]).await.unwrap().unwrap();
    let kinds: Vec<_> =
        log.iter().map(|event| event.kind.as_str()).filter(|kind| kind.contains("ahead")).collect();
    assert_eq!(kinds, ["order.sent_ahead", "order.ahead"]);
    world.verify().await;
}

async fn only_what_waits_is_sent_ahead(world: World) {
    let (lab, other) = (world.lab("lumo", two_phase()).await, world.lab("nova", two_phase()).await);
    let (stopped, held, waits) = (lab.admit("A-1").await, lab.admit("A-2").await, lab.admit("A-3").await);
    let foreign = other.admit("B-1").await;
    // Read while they waited, claimed when they did not any more.
    let all = [stopped.clone(), held.clone(), waits.clone(), foreign];
    let item = item(&lab, &all, 50).await;
    lab.stop(&stopped, 40).await;
    lab.change(&held, ChangeKind::Hold).await;
    let sent: Vec<_> = ahead(&lab, item).await.0.into_iter().map(|entry| entry.id).collect();
    assert_eq!(sent, std::slice::from_ref(&waits));
    world.close(CUTOFF).await;
    let late = lab.admit_as(lab.admission("A-4")).await;
    assert!(matches!(late, stoppress::store::Admitted::WindowClosed));
    lab.send(CUTOFF + 1).await;
    assert_eq!(sends(&lab, &[waits], CUTOFF + 2).await, []);
    world.verify().await;
}

async fn what_is_not_coming_is_taken_back(world: World) {
    let lab = world.lab("lumo", two_phase()).await;
    let (stopped, held, kept) = (lab.admit("A-1").await, lab.admit("A-2").await, lab.admit("A-3").await);
    let all = [stopped.clone(), held.clone(), kept.clone()];
    sends(&lab, &all, 100).await;
    answered(&lab, &stopped, accepted(), 101).await;
    assert_eq!(stray(&lab).await, []);
    // At once, though the lab holds it: nothing was handed over.
    let stop = lab.stop(&stopped, 200).await;
    assert_eq!((stop.evidence, stop.decided_at), (Some(Evidence::NeverHanded), Some(at(200))));
    lab.change(&held, ChangeKind::Hold).await;
    let mut gone = stray(&lab).await;
    gone.sort();
    assert_eq!(gone, [stopped.clone(), held.clone()]);
    let mut back = takes_back(&lab, &all, 201).await;
    back.sort();
    assert_eq!(back, gone, "and not the one that waits");
    assert_eq!(stray(&lab).await, []);
    // What the lab refused to hold it does not have: there is nothing to take back.
    let refuses = lab.admit("A-4").await;
    sends(&lab, std::slice::from_ref(&refuses), 202).await;
    answered(&lab, &refuses, refused(), 203).await;
    lab.stop(&refuses, 204).await;
    assert_eq!(stray(&lab).await, []);
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(out.orders, 1);
    assert_eq!(stray(&lab).await, []);
    world.verify().await;
}

async fn the_hand_over_carries_the_whole_order(world: World) {
    let (lab, plain) = (world.lab("lumo", two_phase()).await, world.lab("nova", able()).await);
    let (order, same) = (lab.admit("A-1").await, plain.admit("A-2").await);
    sends(&lab, std::slice::from_ref(&order), 100).await;
    world.close(CUTOFF).await;
    let (one, two) = (lab.send(CUTOFF + 1).await, plain.send(CUTOFF + 1).await);
    let body = |out: &stoppress::store::Outgoing, order: &OrderId, reference: &str| {
        let text = String::from_utf8(out.body.clone()).unwrap();
        text.replace(out.transfer.id.as_str(), "T").replace(order.as_str(), "O").replace(reference, "R")
    };
    assert_eq!(body(&one, &order, "A-1"), body(&two, &same, "A-2"));
    // The protocol is the same: what was sent ahead is no sign of anything.
    answered(&lab, &order, accepted(), CUTOFF + 2).await;
    lab.settle(&one, refused(), CUTOFF + 3).await.unwrap();
    assert_eq!(lab.stop(&order, CUTOFF + 4).await.evidence, Some(Evidence::NeverHanded));
    world.verify().await;
}

async fn a_changed_order_is_handed_over_as_it_is(world: World) {
    let lab = world.lab("lumo", two_phase()).await;
    let order = lab.admit("A-1").await;
    sends(&lab, std::slice::from_ref(&order), 100).await;
    let changed = r#"{"reference":"A-1","items":[{"id":"1","sku":"canvas"}]}"#.to_owned();
    lab.change(&order, ChangeKind::Document(changed)).await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert!(String::from_utf8(out.body).unwrap().contains("canvas"));
}

fn held_as(reference: &str) -> Answer {
    Answer::Accepted { lab_reference: Some(reference.to_owned()) }
}

/// What an upload calls its orders, by their ids.
fn named(out: &stoppress::store::Outgoing) -> Vec<(String, Option<String>)> {
    let body: serde_json::Value = serde_json::from_slice(&out.body).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let orders = body["orders"].as_array().unwrap().iter();
    orders.map(|order| (text(&order["id"]).unwrap(), text(&order["import_reference"]))).collect()
}

async fn the_hand_over_names_what_the_lab_called_it(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 10, ..two_phase() }).await;
    let mut orders = Vec::new();
    for nth in 0..6 {
        orders.push(lab.admit(&format!("A-{nth}")).await);
    }
    sends(&lab, &orders[..5], 100).await;
    for (order, answer) in orders.iter().zip([held_as("L-0"), refused(), unclear(), accepted()]) {
        answered(&lab, order, answer, 101).await;
    }
    // Held back, and so taken back; then released: the lab does not hold it any more.
    answered(&lab, &orders[4], held_as("L-4"), 101).await;
    lab.change(&orders[4], ChangeKind::Hold).await;
    assert_eq!(takes_back(&lab, &orders[4..5], 102).await, orders[4..5]);
    lab.change(&orders[4], ChangeKind::Release).await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    let Answer::Accepted { lab_reference } = accepted() else { panic!("it is accepted") };
    let expected = [Some("L-0".to_owned()), None, None, lab_reference, None, None];
    let mut all: Vec<_> = orders.iter().map(ToString::to_string).zip(expected).collect();
    all.sort();
    let mut told = named(&out);
    told.sort();
    assert_eq!(told, all);
    world.verify().await;
}

async fn the_same_bytes_go_again_whatever_is_heard_late(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 10, ..two_phase() }).await;
    let orders = [lab.admit("A-1").await, lab.admit("A-2").await];
    sends(&lab, &orders, 100).await;
    answered(&lab, &orders[0], held_as("L-1"), 101).await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    let names = [Some("L-1".to_owned()), None];
    assert_eq!(named(&out).into_iter().map(|(_, name)| name).collect::<Vec<_>>(), names);
    // The answer to the other one comes when it is on its way, and an answer to the first once more.
    answered(&lab, &orders[1], held_as("L-2"), CUTOFF + 2).await;
    answered(&lab, &orders[0], held_as("L-9"), CUTOFF + 2).await;
    lab.settle(&out, unclear(), CUTOFF + 3).await.unwrap();
    let again = lab.send(CUTOFF + 60).await;
    assert_eq!((&again.key, &again.body, again.sha256), (&out.key, &out.body, out.sha256));
    world.verify().await;
}
