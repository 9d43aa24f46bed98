//! Changes other than stops: allowed only while nothing has left the house.

use stoppress::domain::ids::OrderId;
use stoppress::domain::order::OrderState;
use stoppress::domain::stop::StopState;
use stoppress::store::{ChangeKind, Changed};

use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, accepted, at};

on_both!(
    paying_joins_the_window_of_that_instant,
    holding_leaves_and_releasing_rejoins,
    a_closed_window_is_told,
    a_document_is_replaced,
    reinstating_needs_a_stop_that_never_left,
    after_the_hand_over_nothing_changes,
    another_version_is_told,
    versions_only_grow,
);

async fn unpaid(lab: &Lab<'_>, reference: &str) -> OrderId {
    let mut admission = lab.admission(reference);
    (admission.paid, admission.join) = (false, None);
    let id = admission.id.clone();
    lab.admit_as(admission).await;
    id
}

async fn paying_joins_the_window_of_that_instant(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = unpaid(&lab, "A-1").await;
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Unchanged);
    assert_eq!(lab.change(&order, ChangeKind::Pay).await, Changed::Done);
    let facts = world.order(&order).await;
    assert!(facts.paid);
    assert_eq!(facts.state(), OrderState::InBatch);
    assert_eq!(facts.batch.unwrap().closes_at, at(CUTOFF));
    assert_eq!(lab.change(&order, ChangeKind::Pay).await, Changed::Unchanged);

    // Paid while it is held: it joins when it is released.
    let order = unpaid(&lab, "A-2").await;
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::Done);
    assert_eq!(lab.change(&order, ChangeKind::Pay).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold);
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
    world.verify().await;
}

async fn holding_leaves_and_releasing_rejoins(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, other) = (lab.admit("A-1").await, lab.admit("A-2").await);
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::Done);
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::Unchanged);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold);
    assert_eq!(lab.change(&order, ChangeKind::Review).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InReview);
    // Also after the cutoff, as long as nobody claimed it.
    world.close(CUTOFF).await;
    assert_eq!(lab.change(&other, ChangeKind::Hold).await, Changed::Done);
    assert!(lab.claim(CUTOFF + 1).await.is_empty(), "who is held does not leave");
    let mut release = lab.changing(&order, ChangeKind::Release, CUTOFF + 5);
    release.join = Some(lab.window(2 * CUTOFF));
    assert_eq!(lab.change_as(release).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Unchanged);
    world.close(2 * CUTOFF).await;
    assert_eq!(lab.send(2 * CUTOFF + 1).await.orders, 1);
    world.verify().await;
}

async fn a_closed_window_is_told(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = (lab.admit("A-1").await, lab.admit("A-2").await);
    lab.change(&order, ChangeKind::Hold).await;
    let before = world.order(&order).await;
    world.close(CUTOFF).await;
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::WindowClosed);
    let after = world.order(&order).await;
    assert_eq!((after.state(), after.version), (before.state(), before.version), "nothing was written");
}

async fn a_document_is_replaced(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let text = r#"{"items":[{"id":"9"}]}"#.to_owned();
    assert_eq!(lab.change(&order, ChangeKind::Document(text.clone())).await, Changed::Done);
    assert_eq!(lab.change(&order, ChangeKind::Document(text.clone())).await, Changed::Unchanged);
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.document), (OrderState::InBatch, text));
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert!(String::from_utf8(out.body).unwrap().contains(r#""id":"9""#));
}

async fn reinstating_needs_a_stop_that_never_left(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    assert_eq!(lab.change(&order, ChangeKind::Reinstate).await, Changed::NotAllowed(OrderState::InBatch));
    let first = lab.stop(&order, 5).await;
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::NotAllowed(OrderState::Stopped));
    assert_eq!(lab.change(&order, ChangeKind::Pay).await, Changed::NotAllowed(OrderState::Stopped));
    assert_eq!(lab.change(&order, ChangeKind::Reinstate).await, Changed::Done);
    let facts = world.order(&order).await;
    assert_eq!(facts.state(), OrderState::InBatch);
    assert!(facts.stop.is_none());

    // An answer to the stop that was set aside is kept, and does not stop the order again.
    lab.answer(&first, crate::common::world::removed(), 7).await;
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
    let again = lab.stop(&order, 8).await;
    assert_ne!(again.id, first.id);
    assert_eq!(lab.change(&order, ChangeKind::Reinstate).await, Changed::Done);
    world.close(CUTOFF).await;
    assert_eq!(lab.send(CUTOFF + 1).await.orders, 1, "who was reinstated leaves");

    let nova = world.lab("nova", able()).await;
    let (order, _) = nova.handed("B-1").await;
    let stop = nova.stop(&order, CUTOFF + 10).await;
    nova.answer(&stop, crate::common::world::removed(), CUTOFF + 11).await;
    assert_eq!(world.stop_of(&order).await.state, StopState::Stopped);
    assert_eq!(nova.change(&order, ChangeKind::Reinstate).await, Changed::NotAllowed(OrderState::Stopped));
    world.verify().await;
}

async fn after_the_hand_over_nothing_changes(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.sent("A-1").await;
    let kinds = || {
        let document = ChangeKind::Document("{}".to_owned());
        [ChangeKind::Hold, ChangeKind::Review, ChangeKind::Release, ChangeKind::Reinstate, document]
    };
    for kind in kinds() {
        let allowed = lab.change(&order, kind.clone()).await;
        let released = kind == ChangeKind::Release;
        let expected = if released { Changed::Unchanged } else { Changed::NotAllowed(OrderState::Sending) };
        assert_eq!(allowed, expected, "{kind:?}");
    }
    lab.settle(&out, accepted(), CUTOFF + 2).await;
    for kind in [ChangeKind::Hold, ChangeKind::Review] {
        assert_eq!(lab.change(&order, kind).await, Changed::NotAllowed(OrderState::AtLab));
    }
}

async fn another_version_is_told(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let version = world.order(&order).await.version;
    let mut change = lab.changing(&order, ChangeKind::Hold, 5);
    change.if_version = Some(version + 1);
    assert_eq!(lab.change_as(change.clone()).await, Changed::Version(version));
    change.if_version = Some(version);
    assert_eq!(lab.change_as(change).await, Changed::Done);
}

async fn versions_only_grow(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let mut last = world.order(&order).await.version;
    let mut grown = async |what: &str| {
        let version = world.order(&order).await.version;
        assert!(version > last, "{what}: {last} → {version}");
        last = version;
    };
    for kind in [ChangeKind::Hold, ChangeKind::Release, ChangeKind::Review, ChangeKind::Release] {
        let name = format!("{kind:?}");
        lab.change(&order, kind).await;
        grown(&name).await;
    }
    world.close(CUTOFF).await;
    grown("closed").await;
    // From a batch with a high version into one with a low one.
    lab.change(&order, ChangeKind::Hold).await;
    grown("held").await;
    let mut release = lab.changing(&order, ChangeKind::Release, CUTOFF + 5);
    release.join = Some(lab.window(2 * CUTOFF));
    lab.change_as(release).await;
    grown("released into another window").await;
    world.close(2 * CUTOFF).await;
    grown("closed again").await;
    let out = lab.send(2 * CUTOFF + 1).await;
    grown("claimed").await;
    lab.settle(&out, accepted(), 2 * CUTOFF + 2).await;
    grown("handed over").await;
    lab.stop(&order, 2 * CUTOFF + 3).await;
    grown("stop asked").await;
    world.verify().await;
}
