//! The first answer to a stop: in every phase, stage and kind of lab.

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::ids::{LabId, PlatformId};
use stoppress::domain::lab::{Profile, TakesStops};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{AskedBy, Evidence, StopState};
use stoppress::store::{ChangeKind, Claimed, OrderRef, Scope, StopAsk, StopOutcome, Write, Written};

use super::on_both;
use crate::common::world::{
    CUTOFF, HANDOVER, World, able, accepted, at, deaf, refused, shop, unclear, unreachable,
};

on_both!(
    before_the_hand_over_it_is_granted,
    on_the_way_it_waits,
    at_the_lab_the_profile_decides,
    with_a_person_it_joins_that_person,
    the_stage_can_be_too_late,
    a_repeat_is_the_same_stop,
    others_see_nothing,
    a_reference_names_the_order,
    stopped_orders_do_not_leave,
    who_asked_is_kept,
    whoever_is_called_is_told_why,
);

fn stops(stops: TakesStops) -> Profile {
    Profile { stops, ..able() }
}

async fn before_the_hand_over_it_is_granted(world: World) {
    let lab = world.lab("lumo", able()).await;
    let granted = Some(Evidence::NeverHanded);
    let mut unpaid = lab.admission("unpaid");
    (unpaid.paid, unpaid.join) = (false, None);
    lab.admit_as(unpaid.clone()).await;
    let unpaid = unpaid.id;
    let (held, open, closed) = (lab.admit("held").await, lab.admit("open").await, lab.admit("closed").await);
    lab.change(&held, ChangeKind::Hold).await;
    for (order, state) in
        [(unpaid, OrderState::AwaitingPayment), (held, OrderState::OnHold), (open, OrderState::InBatch)]
    {
        assert_eq!(world.order(&order).await.state(), state);
        let facts = lab.stop(&order, 5).await;
        assert_eq!((facts.state, facts.evidence), (StopState::Stopped, granted));
        assert_eq!(facts.decided_at, Some(at(5)));
        assert_eq!(world.order(&order).await.state(), OrderState::Stopped);
    }
    // After the cutoff, long after, as long as nothing was claimed: no clock decides.
    world.close(CUTOFF).await;
    let facts = lab.stop(&closed, 50 * CUTOFF).await;
    assert_eq!((facts.state, facts.evidence), (StopState::Stopped, granted));

    // Fallen back, proven: nothing is with the lab.
    let nova = world.lab("nova", able()).await;
    let (order, out) = nova.sent("B-1").await;
    nova.settle(&out, refused(), CUTOFF + 2).await.unwrap();
    let facts = nova.stop(&order, CUTOFF + 3).await;
    assert_eq!((facts.state, facts.evidence), (StopState::Stopped, granted));
    world.verify().await;
}

async fn on_the_way_it_waits(world: World) {
    for takes in [TakesStops::Yes, TakesStops::No, TakesStops::FinalOnReceipt] {
        let lab = world.lab(&format!("lab-{}", takes as u8), stops(takes)).await;
        let (order, out) = lab.sent(&format!("A-{}", takes as u8)).await;
        let facts = lab.stop(&order, CUTOFF + 2).await;
        assert_eq!((facts.state, facts.evidence, facts.decided_at), (StopState::Pending, None, None));
        assert_eq!(facts.deadline_at, at(CUTOFF + 2) + lab.profile.answers_within.0);
        assert_eq!(out.transfer.phase, TransferPhase::Sending);

        let lab = world.lab(&format!("lost-{}", takes as u8), stops(takes)).await;
        let (order, _) = lab.lost(&format!("B-{}", takes as u8)).await;
        let facts = lab.stop(&order, CUTOFF + 3).await;
        assert_eq!((facts.state, facts.evidence), (StopState::Pending, None));
    }
    assert_eq!(world.calls().await, Vec::<String>::new());
}

async fn at_the_lab_the_profile_decides(world: World) {
    for (takes, state, evidence) in [
        (TakesStops::Yes, StopState::Pending, None),
        (TakesStops::No, StopState::WithAPerson, Some(Evidence::NoChannel)),
        (TakesStops::FinalOnReceipt, StopState::TooLate, Some(Evidence::FinalOnReceipt)),
    ] {
        let lab = world.lab(&format!("lab-{}", takes as u8), stops(takes)).await;
        let (order, _) = lab.handed(&format!("A-{}", takes as u8)).await;
        let facts = lab.stop(&order, CUTOFF + 60).await;
        assert_eq!((facts.state, facts.evidence), (state, evidence));
        assert_eq!(facts.handed_at, Some(at(CUTOFF + 2)));
        assert_eq!(facts.decided_at.is_some(), state == StopState::TooLate);
    }
    let escalations = world.escalations().await;
    assert_eq!(escalations.len(), 1);
    assert_eq!(escalations[0].kind, "stop");
    assert!(escalations[0].due_at > escalations[0].opened_at);
}

async fn with_a_person_it_joins_that_person(world: World) {
    let lab = world.lab("lumo", deaf()).await;
    let (order, _) = lab.lost("A-1").await;
    lab.claim(CUTOFF + 1 + HANDOVER).await;
    assert_eq!(world.order(&order).await.state(), OrderState::WithAPerson);
    let facts = lab.stop(&order, 8 * 3600).await;
    assert_eq!((facts.state, facts.evidence), (StopState::WithAPerson, None));
    assert_eq!(world.calls().await, ["transfer", "stop"]);
}

async fn the_stage_can_be_too_late(world: World) {
    for (nth, (stage, takes, state, evidence)) in [
        (Stage::InProduction, TakesStops::Yes, StopState::Pending, None),
        (Stage::InProduction, TakesStops::No, StopState::TooLate, Some(Evidence::InProduction)),
        (Stage::Printed, TakesStops::FinalOnReceipt, StopState::TooLate, Some(Evidence::InProduction)),
        (Stage::Shipped, TakesStops::Yes, StopState::TooLate, Some(Evidence::Shipped)),
    ]
    .into_iter()
    .enumerate()
    {
        let lab = world.lab(&format!("lab-{nth}"), stops(takes)).await;
        let (order, _) = lab.handed(&format!("A-{nth}")).await;
        lab.report(&order, stage, CUTOFF + 10).await;
        let facts = lab.stop(&order, CUTOFF + 60).await;
        assert_eq!((facts.state, facts.evidence), (state, evidence), "{stage:?} {takes:?}");
    }
}

async fn a_repeat_is_the_same_stop(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let (first, second, third) = (lab.asking(&order, 1), lab.asking(&order, 2), lab.asking(&order, 3));
    let id = first.id.clone();
    let writes = vec![Write::Stop(Box::new(first)), Write::Stop(Box::new(second))];
    let written = world.store.apply(writes).await.unwrap();
    assert!(matches!(&written[0], Written::Stop(o) if matches!(&**o, StopOutcome::Asked(f) if f.id == id)));
    assert!(matches!(&written[1], Written::Stop(o) if matches!(&**o, StopOutcome::Already(f) if f.id == id)));
    assert!(matches!(lab.ask_as(third).await, StopOutcome::Already(facts) if facts.id == id));
    assert_eq!(world.number("select count(*) from stops").await, 1);
}

async fn others_see_nothing(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    for scope in
        [Scope::Platform(PlatformId::parse("other").unwrap()), Scope::Lab(LabId::parse("other").unwrap())]
    {
        let mut ask = lab.asking(&order, 1);
        ask.scope = scope.clone();
        assert!(matches!(lab.ask_as(ask).await, StopOutcome::NotFound));
        let mut change = lab.changing(&order, ChangeKind::Hold, 1);
        change.scope = scope.clone();
        assert_eq!(lab.change_as(change).await, stoppress::store::Changed::NotFound);
        let which = [OrderRef::Id(order.clone())];
        assert!(world.store.orders(&scope, &which).await.unwrap()[0].is_none());
        assert!(world.store.changelog(&scope, &order).await.unwrap().is_none());
    }
    let mut nobody = lab.asking(&world.order_id(), 1);
    nobody.scope = Scope::Ops;
    assert!(matches!(lab.ask_as(nobody).await, StopOutcome::NotFound));
    for scope in [Scope::Platform(shop()), Scope::Lab(lab.id.clone()), Scope::Ops] {
        let which = [OrderRef::Id(order.clone())];
        assert!(world.store.orders(&scope, &which).await.unwrap()[0].is_some());
    }
    let mut ask = lab.asking(&order, 1);
    ask.scope = Scope::Platform(shop());
    assert!(matches!(lab.ask_as(ask).await, StopOutcome::Asked(_)));
}

async fn a_reference_names_the_order(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let by = |scope: Scope| {
        let mut ask = lab.asking(&order, 1);
        (ask.order, ask.scope) = (OrderRef::Reference("A-1".to_owned()), scope);
        lab.ask_as(ask)
    };
    // References belong to a platform: without one they name nothing.
    assert!(matches!(by(Scope::Ops).await, StopOutcome::NotFound));
    assert!(matches!(by(Scope::Platform(PlatformId::parse("other").unwrap())).await, StopOutcome::NotFound));
    assert!(matches!(by(Scope::Platform(shop())).await, StopOutcome::Asked(facts) if facts.order == order));
    let which = [OrderRef::Reference("A-1".to_owned()), OrderRef::Reference("A-2".to_owned())];
    let found = world.store.orders(&Scope::Platform(shop()), &which).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().id, order);
    assert!(found[1].is_none());
}

async fn stopped_orders_do_not_leave(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 10, ..able() }).await;
    let (one, two) = (lab.admit("A-1").await, lab.admit("A-2").await);
    lab.stop(&one, 5).await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    let body = String::from_utf8(out.body.clone()).unwrap();
    assert!(!body.contains(one.as_str()) && body.contains(two.as_str()));
    // A lab that never had an order cannot have removed it: the sign is about another one.
    lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    assert_eq!(world.stop_of(&one).await.evidence, Some(Evidence::NeverHanded));

    let nova = world.lab("nova", able()).await;
    let order = nova.admit("B-1").await;
    nova.stop(&order, 5).await;
    world.close(CUTOFF).await;
    assert!(nova.claim(CUTOFF + 1).await.is_empty());
    assert_eq!(world.order(&order).await.batch.unwrap().phase, stoppress::domain::batch::BatchPhase::Empty);

    // Everybody in a transfer that fell back was stopped: it ends empty.
    let vega = world.lab("vega", able()).await;
    let (order, out) = vega.sent("C-1").await;
    vega.stop(&order, CUTOFF + 2).await;
    vega.settle(&out, unreachable(), CUTOFF + 3).await.unwrap();
    assert_eq!(world.stop_of(&order).await.state, StopState::Stopped);
    let claimed = vega.claim(CUTOFF + 30).await;
    assert!(matches!(&claimed[..], [Claimed::Empty(id)] if *id == out.transfer.id), "{claimed:?}");
    // Late signs of it are told.
    vega.settle(&out, unclear(), CUTOFF + 31).await;
    assert!(world.calls().await.is_empty());
    vega.settle(&out, accepted(), CUTOFF + 32).await.unwrap();
    assert_eq!(world.calls().await, ["contradiction"]);
    world.verify().await;
}

async fn who_asked_is_kept(world: World) {
    let lab = world.lab("lumo", able()).await;
    for asked_by in [AskedBy::Customer, AskedBy::Merchant, AskedBy::Support, AskedBy::System] {
        let order = lab.admit(&format!("{asked_by:?}")).await;
        let ask = StopAsk { asked_by, ..lab.asking(&order, 5) };
        assert!(matches!(lab.ask_as(ask).await, StopOutcome::Asked(stop) if stop.asked_by == asked_by));
        assert_eq!(world.order(&order).await.stop.unwrap().asked_by, asked_by);
    }
}

async fn whoever_is_called_is_told_why(world: World) {
    let mute = world.lab("lumo", stops(TakesStops::No)).await;
    let (order, _) = mute.handed("A-1").await;
    mute.stop(&order, CUTOFF + 3).await;
    let lost = world.lab("nova", deaf()).await;
    let (order, _) = lost.lost("B-1").await;
    lost.claim(CUTOFF + 1 + HANDOVER).await;
    lost.stop(&order, CUTOFF + 2 + HANDOVER).await;
    let calls = world.escalations().await;
    let why = |lab: &str| {
        let of = |call: &&stoppress::store::EscalationRow| call.kind == "stop" && call.lab.as_str() == lab;
        calls.iter().find(of).map(|call| call.cause.as_str()).unwrap()
    };
    assert_eq!(why("lumo"), "the lab has the order and no channel for stops: somebody must ask it");
    assert_eq!(why("nova"), "a stop was asked while a person finds out whether the lab has the order");
}
