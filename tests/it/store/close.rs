//! Closing at the instant, and what ops may do before it.

use stoppress::domain::batch::{BatchPhase, Joining};
use stoppress::domain::ids::BatchId;
use stoppress::store::{Admitted, BatchMoved, MoveBatch, Write, Written};

use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, at, ops};

on_both!(
    it_closes_what_is_due_and_nothing_else,
    the_earliest_goes_first,
    it_closes_once_and_says_how_late,
    ops_may_release_before_the_cutoff,
    ops_may_postpone_but_not_hurry,
    a_new_calendar_moves_a_window,
    an_earlier_calendar_does_not_break_a_promise,
);

async fn admit_until(lab: &Lab<'_>, reference: &str, closes: i64) -> BatchId {
    let mut admission = lab.admission(reference);
    admission.join = Some(lab.window(closes));
    match lab.admit_as(admission).await {
        Admitted::New { batch: Some(batch) } => batch.id.clone(),
        other => panic!("{other:?}"),
    }
}

async fn it_closes_what_is_due_and_nothing_else(world: World) {
    let lab = world.lab("lumo", able()).await;
    let due = admit_until(&lab, "A-1", CUTOFF).await;
    let later = admit_until(&lab, "A-2", CUTOFF + 1).await;
    assert!(world.close(CUTOFF - 1).await.is_empty(), "never before the promise");
    let closed = world.close(CUTOFF).await;
    assert_eq!(closed.len(), 1);
    assert_eq!((&closed[0].id, &closed[0].lab, closed[0].closes_at), (&due, &lab.id, at(CUTOFF)));
    assert_eq!(world.close(CUTOFF + 1).await[0].id, later);
}

async fn the_earliest_goes_first(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut expected = Vec::new();
    for closes in [50, 10, 40, 20, 30] {
        expected.push((closes, admit_until(&lab, &format!("A-{closes}"), closes).await));
    }
    expected.sort();
    let mut got = world.close_some(100, 3).await;
    assert_eq!(got.len(), 3, "at most the limit");
    got.extend(world.close_some(100, 3).await);
    let got: Vec<_> = got.into_iter().map(|batch| batch.id).collect();
    assert_eq!(got, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}

async fn it_closes_once_and_says_how_late(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    assert_eq!(world.close(CUTOFF + 90).await.len(), 1);
    assert!(world.close(CUTOFF + 91).await.is_empty());
    let batch = world.order(&order).await.batch.unwrap();
    assert_eq!((batch.phase, batch.closed_at), (BatchPhase::Closed, Some(at(CUTOFF + 90))));
    let log = world.store.changelog(&stoppress::store::Scope::Ops, &order).await.unwrap().unwrap();
    let closed = log.iter().find(|event| event.kind == "batch.closed").unwrap();
    assert_eq!(closed.detail["late_ms"], 90_000);
    world.verify().await;
}

async fn moved(
    world: &World,
    batch: &BatchId,
    to: Option<(i64, Option<Joining>)>,
    seconds: i64,
) -> BatchMoved {
    let window = to.as_ref().and_then(|(_, window)| window.clone());
    let item = MoveBatch {
        batch: batch.clone(),
        to: to.map(|(closes, _)| (at(closes), format!("local {closes}"))),
        window,
        seen: None,
        reason: "the press is down".to_owned(),
        at: at(seconds),
        actor: ops(),
    };
    match world.write(Write::MoveBatch(Box::new(item))).await {
        Written::BatchMoved(moved) => moved,
        other => panic!("{other:?}"),
    }
}

async fn ops_may_release_before_the_cutoff(world: World) {
    let lab = world.lab("lumo", able()).await;
    let batch = admit_until(&lab, "A-1", CUTOFF).await;
    assert_eq!(moved(&world, &world.batch_id(), None, 5).await, BatchMoved::NotFound);
    assert_eq!(moved(&world, &batch, None, 5).await, BatchMoved::Done);
    assert_eq!(moved(&world, &batch, None, 6).await, BatchMoved::NotOpen(BatchPhase::Closed));
    assert!(matches!(lab.admit_as(lab.admission("A-2")).await, Admitted::WindowClosed));
    assert_eq!(lab.send(7).await.orders, 1);
    let later = moved(&world, &batch, Some((2 * CUTOFF, None)), 8).await;
    assert_eq!(later, BatchMoved::NotOpen(BatchPhase::HandedOn));
    world.verify().await;
}

async fn ops_may_postpone_but_not_hurry(world: World) {
    let lab = world.lab("lumo", able()).await;
    let batch = admit_until(&lab, "A-1", CUTOFF).await;
    for early in [CUTOFF - 1, CUTOFF] {
        let got = moved(&world, &batch, Some((early, None)), 5).await;
        assert_eq!(got, BatchMoved::Earlier(at(CUTOFF)));
    }
    assert_eq!(moved(&world, &batch, Some((2 * CUTOFF, None)), 5).await, BatchMoved::Done);
    assert!(world.close(CUTOFF).await.is_empty());
    // Whoever still computes the old window joins it.
    assert_eq!(admit_until(&lab, "A-2", CUTOFF).await, batch);
    let closed = world.close(2 * CUTOFF).await;
    assert_eq!((&closed[0].id, closed[0].closes_at), (&batch, at(2 * CUTOFF)));
    world.verify().await;
}

async fn a_new_calendar_moves_a_window(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (batch, other) = (admit_until(&lab, "A-1", CUTOFF).await, admit_until(&lab, "A-2", 3 * CUTOFF).await);
    let free = lab.window(2 * CUTOFF);
    assert_eq!(moved(&world, &batch, Some((2 * CUTOFF, Some(free))), 5).await, BatchMoved::Done);
    assert_eq!(admit_until(&lab, "A-3", 2 * CUTOFF).await, batch);
    // A window that another batch has: the batches stay two, and close at the same instant.
    let taken = lab.window(3 * CUTOFF);
    assert_eq!(moved(&world, &batch, Some((3 * CUTOFF, Some(taken))), 6).await, BatchMoved::Done);
    assert_eq!(admit_until(&lab, "A-4", 3 * CUTOFF).await, other);
    assert_eq!(world.close(3 * CUTOFF).await.len(), 2);
}

async fn an_earlier_calendar_does_not_break_a_promise(world: World) {
    let lab = world.lab("lumo", able()).await;
    let batch = admit_until(&lab, "A-1", CUTOFF).await;
    let kept = async || {
        let log = world.store.log(&[batch.as_str()]).await.unwrap();
        log.into_iter().filter(|event| event.kind == "batch.promise_kept").collect::<Vec<_>>()
    };
    // The same instant is no news, and ops who hurry are no calendar.
    let same = Some((CUTOFF, Some(lab.window(CUTOFF))));
    assert_eq!(moved(&world, &batch, same, 5).await, BatchMoved::Earlier(at(CUTOFF)));
    assert_eq!(moved(&world, &batch, Some((CUTOFF - 1, None)), 6).await, BatchMoved::Earlier(at(CUTOFF)));
    assert_eq!(kept().await.len(), 0);
    let earlier = Some((CUTOFF - 1, Some(lab.window(CUTOFF - 1))));
    assert_eq!(moved(&world, &batch, earlier, 7).await, BatchMoved::Earlier(at(CUTOFF)));
    let [told] = &kept().await[..] else { panic!("it is told once") };
    let said = serde_json::json!({
        "closes_at": at(CUTOFF), "calendar_says": at(CUTOFF - 1), "reason": "the press is down"});
    assert_eq!(told.detail, said);
    assert!(world.close(CUTOFF - 1).await.is_empty());
    assert_eq!(world.close(CUTOFF).await.len(), 1);
    world.verify().await;
}
