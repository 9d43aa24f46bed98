//! Claims of fresh orders: the durable intent before the first byte.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use stoppress::domain::batch::{BatchPhase, TransferPhase};
use stoppress::domain::lab::Profile;
use stoppress::store::{Claimed, Outgoing, Write, Written};

use super::on_both;
use crate::common::world::{CUTOFF, HANDOVER, HORIZON, LEASE, World, able, at, keeps};

on_both!(
    the_intent_is_durable_and_complete,
    a_batch_is_cut_into_what_one_call_carries,
    several_batches_stay_apart,
    ids_are_the_limit,
    two_claims_of_a_set_share_no_order,
    an_open_batch_is_left_alone,
    a_paused_lab_gets_nothing,
    a_manual_lab_is_for_a_person,
    the_batch_ends_when_nobody_waits,
);

fn sends(claimed: Vec<Claimed>) -> Vec<Outgoing> {
    let out = claimed.into_iter().map(|claimed| match claimed {
        Claimed::Send(out) => out,
        other => panic!("{other:?}"),
    });
    out.collect()
}

/// The orders that a body names.
pub(super) fn named(out: &Outgoing) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&out.body).unwrap();
    assert_eq!(body["transfer"], out.transfer.id.as_str());
    let orders = body["orders"].as_array().unwrap();
    orders.iter().map(|order| order["id"].as_str().unwrap().to_owned()).collect()
}

async fn the_intent_is_durable_and_complete(world: World) {
    let lab = world.lab("lumo", keeps(7200)).await;
    let (order, out) = lab.sent("A-1").await;
    let now = CUTOFF + 1;
    let facts = &out.transfer;
    assert_eq!(facts.phase, TransferPhase::Sending);
    assert_eq!((facts.fence, facts.attempts, facts.unresolved), (1, 1, 1));
    assert_eq!((facts.first_at, facts.horizon_at), (at(now), at(now + HORIZON)));
    assert_eq!((facts.key_until, facts.deadline_at), (Some(at(now + 7200)), at(now + HANDOVER)));
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&out.body)), out.sha256);
    assert_eq!(out.orders, 1);
    assert_eq!(named(&out), [order.to_string()]);
    // What is stored is what was told.
    assert_eq!(world.transfer_of(&order).await, *facts);
    let rows = world.store.transfers(&facts.batch).await.unwrap();
    assert_eq!((rows.len(), rows[0].key.as_str(), rows[0].orders), (1, out.key.as_str(), 1));
    assert_eq!(rows[0].sha256, stoppress::domain::event::hex(&out.sha256));
    // Nobody gets it a second time.
    assert!(lab.claim(now + 1).await.is_empty());
    world.verify().await;
}

async fn a_batch_is_cut_into_what_one_call_carries(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 3, ..able() }).await;
    let mut all = BTreeSet::new();
    for nth in 0..8 {
        all.insert(lab.admit(&format!("A-{nth}")).await.to_string());
    }
    world.close(CUTOFF).await;
    let out = sends(lab.claim(CUTOFF + 1).await);
    assert_eq!(out.iter().map(|out| out.orders).collect::<Vec<_>>(), [3, 3, 2]);
    let seen: Vec<String> = out.iter().flat_map(named).collect();
    assert_eq!(seen.len(), 8);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    let keys: BTreeSet<_> = out.iter().map(|out| &out.key).collect();
    assert_eq!(keys.len(), 3, "each has a key of its own");
}

async fn several_batches_stay_apart(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 10, ..able() }).await;
    for nth in 0..4 {
        let mut admission = lab.admission(&format!("A-{nth}"));
        admission.join = Some(lab.window(CUTOFF - nth % 2));
        lab.admit_as(admission).await;
    }
    world.close(CUTOFF).await;
    let out = sends(lab.claim(CUTOFF + 1).await);
    assert_eq!(out.iter().map(|out| out.orders).collect::<Vec<_>>(), [2, 2]);
    assert_ne!(out[0].transfer.batch, out[1].transfer.batch);
}

async fn ids_are_the_limit(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 2, ..able() }).await;
    for nth in 0..7 {
        lab.admit(&format!("A-{nth}")).await;
    }
    world.close(CUTOFF).await;
    let mut got = Vec::new();
    for _ in 0..4 {
        let out = sends(lab.claim_as(lab.claiming(CUTOFF + 1, 1)).await);
        assert_eq!(out.len(), 1);
        got.push(out[0].orders);
    }
    assert_eq!(got, [2, 2, 2, 1]);
    assert!(lab.claim(CUTOFF + 1).await.is_empty());
}

async fn two_claims_of_a_set_share_no_order(world: World) {
    let lab = world.lab("lumo", able()).await;
    for nth in 0..4 {
        lab.admit(&format!("A-{nth}")).await;
    }
    world.close(CUTOFF).await;
    let claims = [lab.claiming(CUTOFF + 1, 2), lab.claiming(CUTOFF + 1, 3)];
    let writes = claims.map(|claim| Write::Claim(Box::new(claim))).into();
    let mut seen = Vec::new();
    for written in world.store.apply(writes).await.unwrap() {
        let Written::Claimed(claimed) = written else { panic!("not a claim") };
        seen.extend(sends(claimed).iter().flat_map(named));
    }
    assert_eq!(seen.len(), 4);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 4);
}

async fn an_open_batch_is_left_alone(world: World) {
    let lab = world.lab("lumo", able()).await;
    lab.admit("A-1").await;
    assert!(lab.claim(CUTOFF + 1000).await.is_empty(), "the closer closes, not the clock of a claim");
    let nova = world.lab("nova", able()).await;
    world.close(CUTOFF).await;
    assert!(nova.claim(CUTOFF + 1).await.is_empty(), "another lab's orders");
}

async fn a_paused_lab_gets_nothing(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (_, out) = lab.lost("A-1").await;
    lab.admit_as({
        let mut next = lab.admission("A-2");
        next.join = Some(lab.window(CUTOFF + 10));
        next
    })
    .await;
    world.close(CUTOFF + 10).await;
    let mut claim = lab.claiming(CUTOFF + 20, 10);
    claim.sends = false;
    let claimed = lab.claim_as(claim).await;
    assert!(matches!(&claimed[..], [Claimed::Waits(_)]), "{claimed:?}");
    // Its deadline runs all the same.
    let mut claim = lab.claiming(CUTOFF + 1 + HANDOVER, 10);
    claim.sends = false;
    let claimed = lab.claim_as(claim).await;
    assert!(matches!(&claimed[..], [Claimed::Person(id)] if *id == out.transfer.id), "{claimed:?}");
    assert_eq!(lab.claim(CUTOFF + 2 + HANDOVER).await.len(), 1, "and it goes on where it was");
}

async fn a_manual_lab_is_for_a_person(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 5, ..able() }).await;
    let order = lab.admit("A-1").await;
    world.close(CUTOFF).await;
    let mut claim = lab.claiming(CUTOFF + 1, 10);
    claim.manual = true;
    let claimed = lab.claim_as(claim).await;
    assert!(matches!(&claimed[..], [Claimed::Person(_)]), "{claimed:?}");
    let facts = world.transfer_of(&order).await;
    assert_eq!((facts.phase, facts.attempts, facts.unresolved), (TransferPhase::WithAPerson, 0, 0));
    assert_eq!(world.calls().await, ["transfer"]);
    assert!(lab.claim(CUTOFF + LEASE + 9).await.is_empty());
}

async fn the_batch_ends_when_nobody_waits(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (one, two) = (lab.admit("A-1").await, lab.admit("A-2").await);
    world.close(CUTOFF).await;
    lab.claim_as(lab.claiming(CUTOFF + 1, 1)).await;
    assert_eq!(world.order(&one).await.batch.unwrap().phase, BatchPhase::Closed);
    lab.stop(&two, CUTOFF + 2).await;
    assert!(lab.claim(CUTOFF + 3).await.is_empty());
    assert_eq!(world.order(&one).await.batch.unwrap().phase, BatchPhase::HandedOn);
    let due = world.store.due(at(CUTOFF + 4)).await.unwrap();
    assert!(due.labs.is_empty());
    world.verify().await;
}
