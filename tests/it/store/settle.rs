//! The ends of uploads: which answer moves a transfer where, under which fence, with how many attempts open.

use serde_json::json;
use stoppress::domain::batch::TransferPhase::{self, AtLab, Closed, Sending, Unknown};
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::order::OrderState;
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{Claimed, Outgoing, Settle, Source, Write, Written};

use super::claim::named;
use super::on_both;
use crate::common::world::{
    CUTOFF, HORIZON, LEASE, Lab, World, able, accepted, at, refused, removed, unclear, unreachable,
    will_print,
};

on_both!(
    the_only_attempt,
    the_second_attempt,
    under_an_old_fence_only_good_news_counts,
    what_changes_nothing_is_kept,
    two_answers_of_a_set,
    falling_back_grants_the_stops_that_wait,
    what_falls_back_goes_again_under_a_new_key,
    the_dead_are_taken_over,
    the_log_says_what_was_heard_and_how,
);

fn answers() -> [Answer; 8] {
    let (later, not_found) = (Answer::AnswerLater, Answer::NotFound);
    [accepted(), removed(), will_print(), refused(), unreachable(), later, not_found, unclear()]
}

async fn the_only_attempt(world: World) {
    let expected = [AtLab, AtLab, AtLab, Closed, Closed, Unknown, Unknown, Unknown];
    for (nth, (answer, expected)) in answers().into_iter().zip(expected).enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), able()).await;
        let (order, out) = lab.sent(&format!("A-{nth}")).await;
        let facts = lab.settle(&out, answer.clone(), CUTOFF + 2).await.unwrap();
        assert_eq!(facts.phase, expected, "{answer:?}");
        assert_eq!(facts.unresolved, i64::from(expected == Unknown), "{answer:?}");
        assert_eq!(facts.handed_at, (expected == AtLab).then(|| at(CUTOFF + 2)));
        assert_eq!(world.transfer_of(&order).await, facts, "what was told is what is stored");
    }
    world.verify().await;
}

/// A transfer that was lost once and sent again.
async fn again(lab: &Lab<'_>, reference: &str) -> (OrderId, Outgoing, Outgoing) {
    let (order, first) = lab.lost(reference).await;
    let second = lab.send(CUTOFF + 30).await;
    (order, first, second)
}

async fn the_second_attempt(world: World) {
    let expected = [
        (AtLab, 0),
        (AtLab, 0),
        (AtLab, 0),
        (Unknown, 2),
        (Unknown, 1),
        (Unknown, 2),
        (Unknown, 2),
        (Unknown, 2),
    ];
    for (nth, (answer, (phase, unresolved))) in answers().into_iter().zip(expected).enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), able()).await;
        let (_, first, second) = again(&lab, &format!("A-{nth}")).await;
        assert_eq!(second.transfer.unresolved, 2);
        assert_eq!(second.transfer.fence, first.transfer.fence + 1);
        let facts = lab.settle(&second, answer.clone(), CUTOFF + 31).await.unwrap();
        assert_eq!((facts.phase, facts.unresolved), (phase, unresolved), "{answer:?}");
    }
}

async fn under_an_old_fence_only_good_news_counts(world: World) {
    for (nth, answer) in answers().into_iter().enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), able()).await;
        let (order, first, _) = again(&lab, &format!("A-{nth}")).await;
        let settled = lab.settle(&first, answer.clone(), CUTOFF + 31).await;
        let good = nth < 3;
        assert_eq!(settled.is_some(), good, "{answer:?}");
        let phase = world.transfer_of(&order).await.phase;
        assert_eq!(phase, if good { AtLab } else { Sending }, "{answer:?}");
    }
    assert!(world.calls().await.is_empty(), "the same bytes: no contradiction");
}

async fn what_changes_nothing_is_kept(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.handed("A-1").await;
    for answer in [refused(), Answer::NotFound, accepted(), unclear()] {
        assert!(lab.settle(&out, answer, CUTOFF + 9).await.is_none());
    }
    let mut gone = out.clone();
    gone.transfer.id = world.transfer_ids(1).remove(0);
    assert!(lab.settle(&gone, accepted(), CUTOFF + 9).await.is_none(), "no such transfer");
    let log = world.store.changelog(&stoppress::store::Scope::Ops, &order).await.unwrap().unwrap();
    let kept = log.iter().filter(|event| event.kind == "transfer.answer");
    let words: Vec<_> = kept.map(|event| event.detail["answer"]["answer"].as_str().unwrap()).collect();
    assert_eq!(words, ["refused", "not_found", "accepted"], "a time-out says nothing");
    world.verify().await;
}

async fn two_answers_of_a_set(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (_, first, second) = again(&lab, "A-1").await;
    let settle = |out: &Outgoing, answer| {
        Write::Settle(Box::new(Settle {
            transfer: out.transfer.id.clone(),
            fence: out.transfer.fence,
            source: Source::Upload,
            answer,
            at: at(CUTOFF + 40),
            next_at: at(CUTOFF + 45),
            actor: crate::common::world::ops(),
            escalation: world.escalation_id(),
        }))
    };
    let writes = vec![settle(&second, unclear()), settle(&first, accepted()), settle(&second, refused())];
    let phases: Vec<Option<TransferPhase>> = world
        .store
        .apply(writes)
        .await
        .unwrap()
        .into_iter()
        .map(|written| match written {
            Written::Settled(facts) => facts.map(|facts| facts.phase),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(phases, [Some(Unknown), Some(AtLab), None]);
    world.verify().await;
}

async fn falling_back_grants_the_stops_that_wait(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 10, ..able() }).await;
    let (stopped, kept) = (lab.admit("A-1").await, lab.admit("A-2").await);
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(out.orders, 2);
    let pending = lab.stop(&stopped, CUTOFF + 2).await;
    assert_eq!(pending.state, StopState::Pending);
    let facts = lab.settle(&out, refused(), CUTOFF + 3).await.unwrap();
    assert_eq!((facts.phase, facts.unresolved), (Closed, 0));
    let stop = world.stop_of(&stopped).await;
    assert_eq!((stop.state, stop.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    assert_eq!(stop.decided_at, Some(at(CUTOFF + 3)), "in the same transaction");

    let next = lab.send(CUTOFF + 30).await;
    assert_eq!(next.transfer.id, out.transfer.id);
    assert_eq!(named(&next), [kept.to_string()], "who was stopped is left out");
    assert_ne!(next.key, out.key);
    assert_ne!(next.sha256, out.sha256);
    lab.settle(&next, accepted(), CUTOFF + 31).await.unwrap();
    assert_eq!(world.order(&stopped).await.state(), OrderState::Stopped);
    assert_eq!(world.order(&kept).await.state(), OrderState::AtLab);

    // The bytes that were proven absent turn up after all: nothing is hidden.
    let nova = world.lab("nova", able()).await;
    let (_, first) = nova.sent("B-1").await;
    nova.settle(&first, refused(), CUTOFF + 2).await.unwrap();
    nova.send(CUTOFF + 30).await;
    nova.settle(&first, accepted(), CUTOFF + 31).await.unwrap();
    assert_eq!(world.calls().await, ["contradiction"]);
    world.verify().await;
}

async fn what_falls_back_goes_again_under_a_new_key(world: World) {
    let lab = world.lab("lumo", Profile { attempts_max: 3, ..able() }).await;
    let (order, mut out) = lab.sent("A-1").await;
    for attempt in 1..=2 {
        lab.settle(&out, refused(), CUTOFF + 100 * attempt).await.unwrap();
        assert!(lab.claim(CUTOFF + 100 * attempt + 4).await.is_empty(), "not before its time");
        let next = lab.send(CUTOFF + 100 * attempt + 5).await;
        assert_ne!(next.key, out.key);
        assert_eq!(next.sha256, out.sha256, "the same order makes the same bytes");
        assert_eq!((next.transfer.attempts, next.transfer.unresolved), (attempt + 1, 1));
        assert_eq!(world.transfer_of(&order).await, next.transfer, "what is stored is what was told");
        out = next;
    }
    lab.settle(&out, refused(), CUTOFF + 300).await.unwrap();
    let claimed = lab.claim(CUTOFF + 310).await;
    assert!(matches!(&claimed[..], [Claimed::Person(_)]), "the attempts are used up: {claimed:?}");
    assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::WithAPerson);
    assert_eq!(world.calls().await, ["transfer"]);
    world.verify().await;
}

async fn the_dead_are_taken_over(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.sent("A-1").await;
    lab.stop(&order, CUTOFF + 2).await;
    assert!(world.take_over(CUTOFF + LEASE).await.is_empty(), "its lease holds");
    assert_eq!(world.take_over(CUTOFF + 1 + LEASE).await, std::slice::from_ref(&out.transfer.id));
    assert!(world.take_over(CUTOFF + 2 + LEASE).await.is_empty());
    let facts = world.transfer_of(&order).await;
    assert_eq!((facts.phase, facts.fence, facts.unresolved), (Unknown, out.transfer.fence + 1, 1));
    // The sender was only slow: its bad news is nobody's, its good news everybody's.
    assert!(lab.settle(&out, unreachable(), CUTOFF + 2 + LEASE).await.is_none());
    assert_eq!(lab.settle(&out, accepted(), CUTOFF + 3 + LEASE).await.unwrap().phase, AtLab);

    // At the start of the only process, whoever else holds something is dead, whatever its lease says.
    let nova = world.lab("nova", able()).await;
    let (order, out) = nova.sent("B-1").await;
    let orphans = |holder: &str| stoppress::store::TakeOver {
        now: at(CUTOFF + 3),
        all_but: Some(holder.to_owned()),
        limit: 10,
    };
    let Written::TakenOver(none) = world.write(Write::TakeOver(orphans("one"))).await else { panic!() };
    assert!(none.is_empty(), "its own");
    let Written::TakenOver(ids) = world.write(Write::TakeOver(orphans("two"))).await else { panic!() };
    assert_eq!(ids, [out.transfer.id]);
    assert_eq!(world.order(&order).await.state(), OrderState::Unknown);
    assert_eq!(world.transfer_of(&order).await.horizon_at, at(CUTOFF + 1 + HORIZON));
    world.verify().await;
}

async fn the_log_says_what_was_heard_and_how(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (_, out) = lab.lost("A-1").await;
    let source = Source::LookUp(at(CUTOFF + 3));
    lab.learn(&out.transfer, source, accepted(), CUTOFF + 3).await.unwrap();
    let nova = world.lab("nova", able()).await;
    let (_, dead) = nova.sent("B-1").await;
    assert_eq!(world.take_over(CUTOFF + 1 + LEASE).await.len(), 1);
    let log = world.store.log(&[out.transfer.id.as_str(), dead.transfer.id.as_str()]).await.unwrap();
    let said = |out: &Outgoing, kind: &str| {
        let found = log.iter().find(|event| event.subject == out.transfer.id.as_str() && event.kind == kind);
        found.unwrap_or_else(|| panic!("{kind}")).detail.clone()
    };
    for (kind, answer, source) in
        [("transfer.unknown", unclear(), "upload"), ("transfer.at_lab", accepted(), "look_up")]
    {
        let detail = said(&out, kind);
        let told = (&detail["answer"], &detail["attempt"], &detail["source"]);
        assert_eq!(told, (&json!(answer), &json!(out.transfer.fence), &json!(source)), "{kind}");
    }
    assert_eq!(said(&dead, "transfer.unknown")["cause"], "its sender is gone");
}
