//! Holds: several at once, each released by its owner; the order rejoins a window with the last.

use std::sync::Arc;

use stoppress::domain::extras::HoldKind;
use stoppress::domain::ids::{HoldId, OrderId};
use stoppress::domain::order::OrderState;
use stoppress::store::{ChangeKind, Changed, Scope, Write, Written, one};

use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, shop, unclear};

on_both!(
    each_hold_ends_by_its_owner_and_the_last_one_frees,
    the_same_hold_again_is_the_same,
    a_review_shows_through_and_is_released_by_itself,
    two_releases_at_once_join_once,
    a_hold_against_the_claim,
    what_was_held_before_holds_had_rows_is_released,
    a_document_changes_while_a_transfer_has_fallen_back,
);

/// Holds an order for a reason; gives the hold.
async fn hold(lab: &Lab<'_>, order: &OrderId, scope: Scope, reason: &str) -> HoldId {
    let mut change = lab.changing(order, ChangeKind::Hold, 10);
    (change.scope, change.reason) = (scope, Some(reason.to_owned()));
    let id = change.hold.clone();
    assert_eq!(lab.change_as(change).await, Changed::Done);
    id
}

async fn ends(lab: &Lab<'_>, order: &OrderId, scope: Scope, kind: ChangeKind) -> Changed {
    let mut change = lab.changing(order, kind, 20);
    change.scope = scope;
    lab.change_as(change).await
}

async fn each_hold_ends_by_its_owner_and_the_last_one_frees(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let platform = || Scope::Platform(shop());
    let address = hold(&lab, &order, platform(), "address").await;
    let fraud = hold(&lab, &order, platform(), "fraud").await;
    let paper = hold(&lab, &order, Scope::Ops, "paper").await;
    let facts = world.order(&order).await;
    assert_eq!(facts.state(), OrderState::OnHold);
    let told: Vec<_> = facts.extras.holds.iter().map(|h| (h.owner.as_str(), h.reason.as_str())).collect();
    assert_eq!(told, [("platform", "address"), ("platform", "fraud"), ("ops", "paper")]);

    // One of them, by its owner; somebody else's, by nobody but ops; one that is not there.
    assert_eq!(ends(&lab, &order, platform(), ChangeKind::ReleaseOne(address.clone())).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold);
    let not = Changed::HeldByOthers(vec!["ops".to_owned()]);
    assert_eq!(ends(&lab, &order, platform(), ChangeKind::ReleaseOne(paper.clone())).await, not);
    assert_eq!(ends(&lab, &order, platform(), ChangeKind::ReleaseOne(address)).await, Changed::NoSuchHold);
    // All of its own: what is left is ops'.
    assert_eq!(ends(&lab, &order, platform(), ChangeKind::Release).await, Changed::Done);
    assert_eq!(world.order(&order).await.extras.holds.len(), 1);
    assert_eq!(ends(&lab, &order, platform(), ChangeKind::Release).await, not);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold);
    // The last one: it joins.
    assert_eq!(ends(&lab, &order, Scope::Ops, ChangeKind::ReleaseOne(paper)).await, Changed::Done);
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::InBatch, 0));
    // Ops may release what is somebody else's, by its name.
    let fraud_again = hold(&lab, &order, platform(), "fraud").await;
    assert_ne!(fraud_again, fraud);
    let none = Changed::HeldByOthers(vec!["platform".to_owned()]);
    assert_eq!(ends(&lab, &order, Scope::Ops, ChangeKind::Release).await, none);
    assert_eq!(ends(&lab, &order, Scope::Ops, ChangeKind::ReleaseOne(fraud_again)).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
    world.verify().await;
}

async fn the_same_hold_again_is_the_same(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    hold(&lab, &order, Scope::Ops, "paper").await;
    let mut again = lab.changing(&order, ChangeKind::Hold, 11);
    (again.scope, again.reason) = (Scope::Ops, Some("paper".to_owned()));
    assert_eq!(lab.change_as(again.clone()).await, Changed::Unchanged);
    again.reason = None;
    assert_eq!(lab.change_as(again).await, Changed::Done, "another reason is another hold");
    assert_eq!(world.order(&order).await.extras.holds.len(), 2);
}

async fn a_review_shows_through_and_is_released_by_itself(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    hold(&lab, &order, Scope::Ops, "paper").await;
    assert_eq!(lab.change(&order, ChangeKind::Review).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InReview);
    let kinds: Vec<_> = world.order(&order).await.extras.holds.iter().map(|hold| hold.kind).collect();
    assert_eq!(kinds, [HoldKind::Hold, HoldKind::Review]);
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold, "ops hold it still");
    assert_eq!(ends(&lab, &order, Scope::Ops, ChangeKind::Release).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
}

async fn two_releases_at_once_join_once(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for round in 0..40 {
        let order = lab.admit(&format!("A-{round}")).await;
        hold(&lab, &order, Scope::Platform(shop()), "address").await;
        hold(&lab, &order, Scope::Ops, "paper").await;
        let mut writes = Vec::new();
        for (nth, scope) in [Scope::Platform(shop()), Scope::Ops].into_iter().enumerate() {
            let mut change = lab.changing(&order, ChangeKind::Release, 20);
            change.scope = scope;
            let store = Arc::clone(if (nth + round) % 2 == 0 { &world.store } else { &other });
            writes.push(tokio::spawn(async move { one(&*store, Write::Change(Box::new(change))).await }));
        }
        for write in writes {
            let Written::Changed(changed) = write.await.unwrap().unwrap() else { panic!("not a change") };
            assert_eq!(changed, Changed::Done, "round {round}");
        }
        let facts = world.order(&order).await;
        assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::InBatch, 0), "round {round}");
    }
    world.verify().await;
}

async fn a_hold_against_the_claim(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for round in 0..40 {
        let now = CUTOFF + round;
        let mut admission = lab.admission(&format!("A-{round}"));
        admission.join = Some(lab.window(now));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(now).await;
        let hold = Write::Change(Box::new(lab.changing(&order, ChangeKind::Hold, now)));
        let claim = Write::Claim(Box::new(lab.claiming(now, 4)));
        let (a, b) = if round % 2 == 0 { (&world.store, &other) } else { (&other, &world.store) };
        let (a, b) = (Arc::clone(a), Arc::clone(b));
        let hold = tokio::spawn(async move { one(&*a, hold).await.unwrap() });
        let claim = tokio::spawn(async move { one(&*b, claim).await.unwrap() });
        let Written::Changed(held) = hold.await.unwrap() else { panic!("not a change") };
        claim.await.unwrap();
        let facts = world.order(&order).await;
        assert_eq!(facts.transfer.is_some(), held != Changed::Done, "round {round}: {held:?}");
        if facts.transfer.is_none() {
            assert_eq!(facts.state(), OrderState::OnHold);
        }
    }
    world.verify().await;
}

async fn what_was_held_before_holds_had_rows_is_released(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    lab.change(&order, ChangeKind::Review).await;
    // As the migration makes it of a standing.
    world.run("delete from holds").await;
    let text = include_str!("../../../migrations/sqlite/0013_changes.sql");
    let from = text.find("insert into holds").unwrap();
    world.run(text[from..].split(';').next().unwrap()).await;
    let facts = world.order(&order).await;
    assert_eq!(facts.extras.holds[0].kind, HoldKind::Review);
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
}

async fn a_document_changes_while_a_transfer_has_fallen_back(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.sent("A-1").await;
    let text = r#"{"items":[{"id":"9"}]}"#.to_owned();
    let document = || ChangeKind::Document(text.clone());
    assert_eq!(lab.change(&order, document()).await, Changed::NotAllowed(OrderState::Sending));
    lab.settle(&out, crate::common::world::refused(), CUTOFF + 2).await;
    assert_eq!(world.order(&order).await.state(), OrderState::Closed);
    assert_eq!(lab.change(&order, document()).await, Changed::Done);
    let again = lab.send(CUTOFF + 60).await;
    assert!(String::from_utf8(again.body.clone()).unwrap().contains(r#""id":"9""#));
    assert_ne!(again.key, out.key, "other bytes under another key");
    lab.settle(&again, unclear(), CUTOFF + 61).await;
    assert_eq!(
        lab.change(&order, ChangeKind::Document("{}".to_owned())).await,
        Changed::NotAllowed(OrderState::Unknown)
    );
}
