//! Stops at labs: asked, answered, answered late, contradicted, and never left hanging.

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::ids::LabId;
use stoppress::domain::lab::{Answer, Profile, TakesStops};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{Evidence, StopFacts, StopState};
use stoppress::store::{ClaimAsks, Scope, StopDue, StopSettled, Write, Written};

use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, HORIZON, LEASE, World, able, accepted, at, forgetful, refused, removed, shop, unclear,
    unreachable, will_print,
};

on_both!(
    a_lab_is_asked_once_at_a_time,
    each_answer,
    who_may_answer,
    what_is_final_stays,
    a_stop_waits_for_the_hand_over,
    a_stop_doubles_as_the_probe,
    a_deadline_calls_a_person,
    a_person_answers,
    a_lab_that_cannot_be_asked_now,
);

fn asked(due: &[StopDue]) -> &StopFacts {
    match due {
        [StopDue::Ask { stop, .. }] => stop,
        other => panic!("{other:?}"),
    }
}

async fn a_lab_is_asked_once_at_a_time(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    let nova = world.lab("nova", able()).await;
    assert!(nova.claim_stops(CUTOFF + 10).await.is_empty());
    let due = lab.claim_stops(CUTOFF + 10).await;
    let [StopDue::Ask { stop: facts, transfer, fence }] = &due[..] else { panic!("{due:?}") };
    assert_eq!((&facts.id, facts.attempts), (&stop.id, 1));
    assert_eq!((transfer, *fence), (&out.transfer.id, out.transfer.fence));
    assert!(lab.claim_stops(CUTOFF + 11).await.is_empty(), "somebody asks");
    // Nothing came of it: the next one asks again.
    assert_eq!(asked(&lab.claim_stops(CUTOFF + 10 + LEASE).await).attempts, 2);
    // Heard: nobody asks again, the answer is the lab's to give.
    lab.answer(&stop, Answer::AnswerLater, CUTOFF + 71).await;
    assert!(lab.claim_stops(CUTOFF + 71 + LEASE).await.is_empty());
    assert_eq!(world.stop_of(&order).await.delivered_at, Some(at(CUTOFF + 71)));
    world.verify().await;
}

async fn each_answer(world: World) {
    let late = Answer::WillPrint { reason: None, stage: Stage::Shipped };
    let early = Answer::WillPrint { reason: None, stage: Stage::Received };
    for (nth, (answer, state, evidence)) in [
        (removed(), StopState::Stopped, Some(Evidence::LabRemoved)),
        (will_print(), StopState::TooLate, Some(Evidence::InProduction)),
        (early, StopState::TooLate, Some(Evidence::LabRefused)),
        (late, StopState::TooLate, Some(Evidence::Shipped)),
        // These are no answers: delivery, doubt, or a lab that speaks of something else.
        (Answer::AnswerLater, StopState::Pending, None),
        (accepted(), StopState::Pending, None),
        (refused(), StopState::Pending, None),
        (Answer::NotFound, StopState::Pending, None),
        (unreachable(), StopState::Pending, None),
        (unclear(), StopState::Pending, None),
    ]
    .into_iter()
    .enumerate()
    {
        let lab = world.lab(&format!("lab-{nth}"), able()).await;
        let (order, _) = lab.handed(&format!("A-{nth}")).await;
        let stop = lab.stop(&order, CUTOFF + 10).await;
        let settled = lab.answer(&stop, answer.clone(), CUTOFF + 20).await;
        let StopSettled::Done(facts) = settled else { panic!("{settled:?}") };
        assert_eq!((facts.state, facts.evidence), (state, evidence), "{answer:?}");
        let stored = world.stop_of(&order).await;
        assert_eq!(stored, facts, "{answer:?}");
        assert_eq!(stored.decided_at.is_some(), state != StopState::Pending);
    }
    world.verify().await;
}

async fn who_may_answer(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    for scope in [Scope::Lab(LabId::parse("other").unwrap()), Scope::Platform(shop())] {
        let mut item = lab.answering(&stop, removed(), CUTOFF + 20);
        item.scope = scope;
        assert!(matches!(lab.answer_as(item).await, StopSettled::NotFound));
    }
    let mut item = lab.answering(&stop, removed(), CUTOFF + 20);
    item.stop = world.stop_id();
    assert!(matches!(lab.answer_as(item).await, StopSettled::NotFound));
    assert_eq!(world.stop_of(&order).await.state, StopState::Pending);
}

async fn what_is_final_stays(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    lab.answer(&stop, removed(), CUTOFF + 20).await;
    for answer in [removed(), Answer::NotFound, unclear()] {
        assert!(matches!(lab.answer(&stop, answer, CUTOFF + 30).await, StopSettled::Late(_)));
    }
    assert!(world.calls().await.is_empty());
    let contrary = lab.answer(&stop, will_print(), CUTOFF + 40).await;
    assert!(matches!(contrary, StopSettled::Late(facts) if facts.state == StopState::Stopped));
    assert_eq!(world.calls().await, ["shipped_anyway"]);
    let kinds: Vec<_> = (world.store.changelog(&Scope::Ops, &order).await.unwrap().unwrap())
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "stop.late_answer").count(), 3);
    assert_eq!(kinds.iter().filter(|kind| *kind == "stop.contradicted").count(), 1);

    let nova = world.lab("nova", able()).await;
    let (order, _) = nova.handed("B-1").await;
    let stop = nova.stop(&order, CUTOFF + 10).await;
    nova.answer(&stop, will_print(), CUTOFF + 20).await;
    assert!(matches!(nova.answer(&stop, removed(), CUTOFF + 30).await, StopSettled::Late(_)));
    assert_eq!(world.stop_of(&order).await.state, StopState::TooLate);
    world.verify().await;
}

async fn a_stop_waits_for_the_hand_over(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.sent("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 2).await;
    let due = lab.claim_stops(CUTOFF + 3).await;
    assert!(matches!(&due[..], [StopDue::Waits(id)] if *id == stop.id), "{due:?}");
    assert!(lab.claim_stops(CUTOFF + 4).await.is_empty());
    lab.settle(&out, accepted(), CUTOFF + 5).await.unwrap();
    asked(&lab.claim_stops(CUTOFF + 5).await);

    for (nth, (takes, state, evidence)) in [
        (TakesStops::No, StopState::WithAPerson, Evidence::NoChannel),
        (TakesStops::FinalOnReceipt, StopState::TooLate, Evidence::FinalOnReceipt),
    ]
    .into_iter()
    .enumerate()
    {
        let lab = world.lab(&format!("lab-{nth}"), Profile { stops: takes, ..able() }).await;
        let (order, out) = lab.sent(&format!("B-{nth}")).await;
        lab.stop(&order, CUTOFF + 2).await;
        lab.settle(&out, accepted(), CUTOFF + 5).await.unwrap();
        let due = lab.claim_stops(CUTOFF + 5).await;
        let [StopDue::Decided(facts)] = &due[..] else { panic!("{due:?}") };
        assert_eq!((facts.state, facts.evidence), (state, Some(evidence)));
        assert_eq!(facts.handed_at, Some(at(CUTOFF + 5)));
    }
    assert_eq!(world.calls().await, ["stop"]);
    world.verify().await;
}

async fn a_stop_doubles_as_the_probe(world: World) {
    let lab = world.lab("lumo", Profile { lookup: false, ..forgetful() }).await;
    let (order, out) = lab.sent("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 2).await;
    assert!(matches!(&lab.claim_stops(CUTOFF + 2).await[..], [StopDue::Waits(_)]));
    lab.settle(&out, unclear(), CUTOFF + 5).await.unwrap();
    asked(&lab.claim_stops(CUTOFF + 5).await);
    let horizon = CUTOFF + 1 + HORIZON;
    let not_there = |fence, seconds: i64| {
        let mut item = lab.answering(&stop, Answer::NotFound, seconds);
        item.asked = Some((fence, at(seconds)));
        lab.answer_as(item)
    };
    assert!(matches!(not_there(1, horizon - 1).await, StopSettled::Done(f) if f.state == StopState::Pending));
    assert!(matches!(not_there(0, horizon).await, StopSettled::Done(f) if f.state == StopState::Pending));
    let settled = not_there(1, horizon).await;
    let StopSettled::Done(facts) = settled else { panic!("{settled:?}") };
    assert_eq!((facts.state, facts.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    let transfer = world.transfer_of(&order).await;
    assert_eq!((transfer.phase, transfer.next_at), (TransferPhase::Closed, at(horizon + 5)), "not at once");

    // Removed: the lab had it, and so it has the transfer.
    let nova = world.lab("nova", forgetful()).await;
    let (order, _) = nova.lost("B-1").await;
    let stop = nova.stop(&order, CUTOFF + 10).await;
    nova.answer(&stop, removed(), CUTOFF + 20).await;
    assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::AtLab);
    assert_eq!(world.order(&order).await.state(), OrderState::Stopped);
    world.verify().await;
}

async fn a_deadline_calls_a_person(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    lab.claim_stops(CUTOFF + 10).await;
    lab.answer(&stop, Answer::AnswerLater, CUTOFF + 11).await;
    let deadline = CUTOFF + 10 + ANSWER;
    assert!(lab.claim_stops(deadline - 1).await.is_empty());
    assert_eq!(world.store.due(at(deadline - 1)).await.unwrap().stop_at, Some(at(deadline)));
    assert_eq!(world.store.due(at(deadline)).await.unwrap().stop_labs, std::slice::from_ref(&lab.id));
    let due = lab.claim_stops(deadline).await;
    let [StopDue::Decided(facts)] = &due[..] else { panic!("{due:?}") };
    assert_eq!((facts.state, facts.evidence), (StopState::WithAPerson, Some(Evidence::NoAnswer)));
    assert_eq!(world.calls().await, ["stop"]);
    assert!(lab.claim_stops(deadline + 100).await.is_empty());
    // The machine's answer still counts, and sends the person home.
    lab.answer(&stop, removed(), deadline + 200).await;
    assert_eq!(world.stop_of(&order).await.evidence, Some(Evidence::LabRemoved));
    assert!(world.calls().await.is_empty());
    world.verify().await;
}

async fn a_person_answers(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    let mut item = lab.answering(&stop, removed(), CUTOFF + 20);
    (item.person, item.scope) = (true, Scope::Ops);
    lab.answer_as(item).await;
    assert_eq!(world.stop_of(&order).await.evidence, Some(Evidence::PersonConfirmed));
}

async fn a_lab_that_cannot_be_asked_now(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    lab.stop(&order, CUTOFF + 10).await;
    let claim = |seconds: i64, until: i64| {
        Write::ClaimStops(Box::new(ClaimAsks {
            lab: lab.id.clone(),
            profile: lab.profile.clone(),
            limit: 10,
            escalations: world.escalation_ids(10),
            not_before: Some(at(until)),
            away: false,
            now: at(seconds),
            lease_until: at(seconds + LEASE),
        }))
    };
    let Written::StopsClaimed(due) = world.write(claim(CUTOFF + 11, CUTOFF + 40)).await else { panic!() };
    assert!(matches!(&due[..], [StopDue::Waits(_)]), "{due:?}");
    assert!(lab.claim_stops(CUTOFF + 39).await.is_empty());
    asked(&lab.claim_stops(CUTOFF + 40).await);
    // Its deadline is kept all the same.
    let deadline = CUTOFF + 10 + ANSWER;
    let Written::StopsClaimed(due) = world.write(claim(deadline, deadline + 40)).await else { panic!() };
    assert!(matches!(&due[..], [StopDue::Decided(_)]), "{due:?}");
}
