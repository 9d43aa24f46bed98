//! What labs report and people decide: it merges by rank, contradicts nothing silently, and ends what waits.

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::ids::{EscalationId, LabId};
use stoppress::domain::lab::{Lasting, Profile};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{Claimed, PersonDecision, Report, Reported, Resolve, Resolved, Scope, Write, Written};

use super::claim::named;
use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, HANDOVER, World, able, accepted, at, deaf, ops, refused, removed, unclear, will_print,
};

on_both!(
    reports_merge_by_rank,
    a_report_is_a_sign_that_the_lab_has_it,
    a_report_of_a_stopped_order_calls_a_person,
    a_report_undoes_a_proof_of_absence,
    shipped_ends_a_stop_that_waits,
    others_reports_are_not_taken,
    a_person_ends_a_stop,
    a_person_ends_a_transfer,
    a_person_who_stops_one_order_leaves_the_others_open,
    what_was_found_out_is_not_undone_by_a_decision,
    a_person_cannot_know_before_the_horizon,
    what_was_refused_needs_no_horizon,
    a_decision_must_fit,
);

async fn reports_merge_by_rank(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    for (stage, reported, state) in [
        (Stage::Received, Reported::Unchanged, OrderState::AtLab),
        (Stage::Printed, Reported::Done, OrderState::Printed),
        (Stage::InProduction, Reported::Unchanged, OrderState::Printed),
        (Stage::Printed, Reported::Unchanged, OrderState::Printed),
        (Stage::Shipped, Reported::Done, OrderState::Shipped),
        (Stage::Received, Reported::Unchanged, OrderState::Shipped),
    ] {
        assert_eq!(lab.report(&order, stage, CUTOFF + 10).await, reported, "{stage:?}");
        assert_eq!(world.order(&order).await.state(), state);
    }
    world.verify().await;
}

async fn a_report_is_a_sign_that_the_lab_has_it(world: World) {
    for (nth, stage) in [Stage::Received, Stage::Printed].into_iter().enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), able()).await;
        let (order, _) = lab.lost(&format!("A-{nth}")).await;
        assert_eq!(lab.report(&order, stage, CUTOFF + 10).await, Reported::Done);
        assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::AtLab);
    }
    // What never left cannot have come: kept as evidence, nothing else.
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("B-1").await;
    assert_eq!(lab.report(&order, Stage::Printed, 5).await, Reported::NotHanded);
    assert_eq!(lab.report(&order, Stage::Received, 5).await, Reported::NotHanded);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
    world.verify().await;
}

async fn a_report_of_a_stopped_order_calls_a_person(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    lab.answer(&stop, removed(), CUTOFF + 20).await;
    assert_eq!(lab.report(&order, Stage::Received, CUTOFF + 29).await, Reported::Unchanged);
    assert_eq!(lab.report(&order, Stage::InProduction, CUTOFF + 30).await, Reported::ShippedAnyway);
    assert_eq!(lab.report(&order, Stage::Shipped, CUTOFF + 31).await, Reported::ShippedAnyway);
    let facts = world.order(&order).await;
    assert_eq!(facts.state(), OrderState::Stopped, "what was told is not taken back");
    assert_eq!(facts.stage, Stage::Shipped, "and what was seen is not hidden");
    let calls = world.escalations().await;
    assert_eq!((calls.len(), calls[0].kind.as_str()), (1, "shipped_anyway"));
    assert_eq!(calls[0].order.as_ref(), Some(&order));
    // Told stopped in the house, never handed over, and printed all the same.
    let nova = world.lab("nova", able()).await;
    let order = nova.admit("A-2").await;
    nova.stop(&order, 5).await;
    assert_eq!(nova.report(&order, Stage::Printed, CUTOFF + 30).await, Reported::ShippedAnyway);
    assert_eq!(world.calls().await.len(), 2);
    world.verify().await;
}

async fn a_report_undoes_a_proof_of_absence(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.sent("A-1").await;
    lab.settle(&out, refused(), CUTOFF + 2).await.unwrap();
    assert_eq!(lab.report(&order, Stage::InProduction, CUTOFF + 3).await, Reported::Done);
    assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::AtLab);
    assert!(lab.claim(CUTOFF + 60).await.is_empty(), "it is not sent again");
    assert_eq!(world.calls().await, ["contradiction"]);
    world.verify().await;
}

async fn shipped_ends_a_stop_that_waits(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    lab.stop(&order, CUTOFF + 10).await;
    lab.claim_stops(CUTOFF + 10 + ANSWER).await;
    assert_eq!(world.calls().await, ["stop"]);
    assert_eq!(lab.report(&order, Stage::Shipped, CUTOFF + 20).await, Reported::Done);
    let stop = world.stop_of(&order).await;
    assert_eq!((stop.state, stop.evidence), (StopState::TooLate, Some(Evidence::Shipped)));
    assert!(world.calls().await.is_empty());
    world.verify().await;
}

async fn others_reports_are_not_taken(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    for (scope, order) in
        [(Scope::Lab(LabId::parse("other").unwrap()), order.clone()), (Scope::Ops, world.order_id())]
    {
        let item = Report {
            order,
            scope,
            stage: Stage::Shipped,
            reported_at: at(CUTOFF + 9),
            reference: None,
            at: at(CUTOFF + 9),
            actor: ops(),
            escalation: world.escalation_id(),
        };
        let written = world.write(Write::Report(Box::new(item))).await;
        assert!(matches!(written, Written::Reported(Reported::NotFound)));
    }
}

async fn resolve(world: &World, id: &EscalationId, decision: PersonDecision, seconds: i64) -> Resolved {
    let item = Resolve {
        escalation: id.clone(),
        next: world.escalation_id(),
        decision,
        reason: "called them".to_owned(),
        at: at(seconds),
        actor: ops(),
    };
    match world.write(Write::Resolve(Box::new(item))).await {
        Written::Resolved(resolved) => resolved,
        other => panic!("{other:?}"),
    }
}

async fn a_person_ends_a_stop(world: World) {
    for (nth, (decision, state, evidence)) in [
        (PersonDecision::Stopped, StopState::Stopped, Evidence::PersonConfirmed),
        (PersonDecision::TooLate, StopState::TooLate, Evidence::LabRefused),
    ]
    .into_iter()
    .enumerate()
    {
        let lab = world.lab(&format!("lab-{nth}"), deaf()).await;
        let (order, _) = lab.handed(&format!("A-{nth}")).await;
        lab.stop(&order, CUTOFF + 10).await;
        let call = world.escalations().await.remove(0);
        assert_eq!(resolve(&world, &call.id, decision, CUTOFF + 20).await, Resolved::Done);
        let stop = world.stop_of(&order).await;
        assert_eq!((stop.state, stop.evidence), (state, Some(evidence)));
        assert_eq!(resolve(&world, &call.id, decision, CUTOFF + 21).await, Resolved::Already);
    }
    assert!(world.calls().await.is_empty());
    world.verify().await;
}

async fn a_person_ends_a_transfer(world: World) {
    let deadline = CUTOFF + 1 + HANDOVER;
    let lab = world.lab("lumo", deaf()).await;
    let (order, _) = lab.lost("A-1").await;
    lab.claim(deadline).await;
    let call = world.escalations().await.remove(0);
    assert_eq!(resolve(&world, &call.id, PersonDecision::HandedOver, deadline + 9).await, Resolved::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::AtLab);
    let log = world.store.changelog(&Scope::Ops, &order).await.unwrap().unwrap();
    let told = log.iter().find(|event| event.detail["decision"] == "handed_over").expect("the decision");
    assert_eq!(told.detail["reason"], "called them");

    // Not there: it goes again, with a new key and all the time that a new one has.
    let nova = world.lab("nova", deaf()).await;
    let (order, first) = nova.lost("B-1").await;
    let stopped = world.lab("vega", deaf()).await;
    let (stopped_order, _) = stopped.lost("C-1").await;
    nova.claim(deadline).await;
    stopped.claim(deadline).await;
    let stop = stopped.stop(&stopped_order, deadline + 1).await;
    assert_eq!(stop.state, StopState::WithAPerson);
    for call in world.escalations().await {
        if call.kind == "transfer" {
            let done = resolve(&world, &call.id, PersonDecision::NotHanded, deadline + 9).await;
            assert_eq!(done, Resolved::Done);
        }
    }
    let again = nova.send(deadline + 10).await;
    assert_ne!(again.key, first.key);
    assert_eq!((again.transfer.attempts, again.transfer.unresolved), (1, 1));
    assert_eq!(again.transfer.deadline_at, at(deadline + 9 + HANDOVER));
    nova.settle(&again, accepted(), deadline + 11).await.unwrap();
    assert_eq!(world.order(&order).await.state(), OrderState::AtLab);
    // And the stop that waited for it is granted, its own call with it.
    let stop = world.stop_of(&stopped_order).await;
    assert_eq!((stop.state, stop.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    assert!(matches!(&stopped.claim(deadline + 10).await[..], [Claimed::Empty(_)]));
    assert!(world.calls().await.is_empty());
    world.verify().await;
}

/// Somebody finds out of one order that nobody prints it. That says nothing of the order beside it.
async fn a_person_who_stops_one_order_leaves_the_others_open(world: World) {
    let profile = |profile: Profile| Profile { orders_per_call: 10, ..profile };
    let deadline = CUTOFF + 1 + HANDOVER;
    // Once while the transfer is with a person already, once while the machine would still send it again.
    for (name, profile, with_a_person) in [("lumo", profile(deaf()), true), ("nova", profile(able()), false)]
    {
        let lab = world.lab(name, profile).await;
        let (one, other) = (lab.admit(&format!("{name}-1")).await, lab.admit(&format!("{name}-2")).await);
        world.close(CUTOFF).await;
        let out = lab.send(CUTOFF + 1).await;
        let stop = lab.stop(&one, CUTOFF + 2).await;
        lab.settle(&out, unclear(), CUTOFF + 3).await;
        if with_a_person {
            lab.claim(deadline).await;
        }
        lab.claim_stops(CUTOFF + 2 + ANSWER.max(HANDOVER)).await;
        assert_eq!(world.stop_of(&one).await.state, StopState::WithAPerson, "{name}");
        let calls = world.escalations().await;
        let call = calls.iter().find(|call| call.subject == stop.id.as_str()).unwrap();
        assert_eq!(resolve(&world, &call.id, PersonDecision::Stopped, deadline + 5).await, Resolved::Done);
        assert_eq!(world.order(&one).await.state(), OrderState::Stopped);
        // Nothing sends the bytes again that name it, and somebody is asked about the other one.
        let transfer = world.transfer_of(&other).await;
        assert_eq!(transfer.phase, TransferPhase::WithAPerson, "{name}");
        // Nor does what the sender still hears count as heard since.
        assert_eq!(transfer.fence, out.transfer.fence + i64::from(!with_a_person), "{name}");
        assert!(lab.claim(deadline + 6).await.is_empty(), "{name}");
        assert_eq!(world.calls().await, ["transfer"], "{name}");
        let call = world.escalations().await.remove(0);
        assert_eq!(resolve(&world, &call.id, PersonDecision::NotHanded, deadline + 7).await, Resolved::Done);
        let again = lab.send(deadline + 8).await;
        assert_eq!((again.orders, named(&again)), (1, vec![other.to_string()]), "{name}");
        lab.settle(&again, accepted(), deadline + 9).await.unwrap();
        assert_eq!(world.order(&other).await.state(), OrderState::AtLab, "{name}");
        assert!(world.calls().await.is_empty(), "{name}");
    }
    world.verify().await;
}

/// A decision of somebody who does not know what was found out since is not taken, and says so.
async fn what_was_found_out_is_not_undone_by_a_decision(world: World) {
    let lab = world.lab("lumo", deaf()).await;
    let (order, _) = lab.lost("A-1").await;
    lab.claim(CUTOFF + 1 + HANDOVER).await;
    let after = CUTOFF + 2 + HANDOVER;
    let stop = lab.stop(&order, after).await;
    let calls = world.escalations().await;
    let call = |subject: &str| calls.iter().find(|call| call.subject == subject).unwrap().id.clone();
    // It will be printed: then the lab has it.
    let (about_stop, about_transfer) =
        (call(stop.id.as_str()), call(world.transfer_of(&order).await.id.as_str()));
    resolve(&world, &about_stop, PersonDecision::TooLate, after + 1).await;
    let stands = Resolved::Stands { phase: TransferPhase::AtLab };
    assert_eq!(resolve(&world, &about_transfer, PersonDecision::NotHanded, after + 2).await, stands);
    assert_eq!(world.calls().await, ["transfer"], "it is open still");
    assert_eq!(resolve(&world, &about_transfer, PersonDecision::HandedOver, after + 3).await, Resolved::Done);
    assert!(world.calls().await.is_empty());
    world.verify().await;
}

/// What may still be on its way can come: nobody can have found out that it did not.
async fn a_person_cannot_know_before_the_horizon(world: World) {
    let soon = Profile { handover_within: Lasting::seconds(60), ..deaf() };
    let lab = world.lab("lumo", soon).await;
    let (order, out) = lab.lost("A-1").await;
    lab.claim(CUTOFF + 70).await;
    let call = world.escalations().await.remove(0);
    let until = out.transfer.horizon_at;
    let early = resolve(&world, &call.id, PersonDecision::NotHanded, CUTOFF + 80).await;
    assert_eq!(early, Resolved::TooEarly { until });
    assert_eq!(world.calls().await, ["transfer"], "it is open still");
    let after = CUTOFF + until.duration_since(at(CUTOFF)).as_secs();
    assert_eq!(resolve(&world, &call.id, PersonDecision::NotHanded, after).await, Resolved::Done);
    assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::Closed);
    world.verify().await;
}

/// Where each attempt was refused there is nothing on its way, and nothing to wait for.
async fn what_was_refused_needs_no_horizon(world: World) {
    let lab = world.lab("lumo", Profile { attempts_max: 1, ..deaf() }).await;
    let (order, out) = lab.sent("A-1").await;
    lab.settle(&out, refused(), CUTOFF + 2).await.unwrap();
    lab.claim(CUTOFF + 60).await;
    assert!(out.transfer.horizon_at > at(CUTOFF + 61));
    let call = world.escalations().await.remove(0);
    let was = world.transfer_of(&order).await.fence;
    assert_eq!(resolve(&world, &call.id, PersonDecision::NotHanded, CUTOFF + 61).await, Resolved::Done);
    let transfer = world.transfer_of(&order).await;
    assert_eq!((transfer.phase, transfer.fence), (TransferPhase::Closed, was + 1));
    world.verify().await;
}

async fn a_decision_must_fit(world: World) {
    use PersonDecision::{HandedOver, NotHanded, Noted, Stopped, TooLate};
    let lab = world.lab("lumo", deaf()).await;
    let (order, out) = lab.handed("A-1").await;
    lab.stop(&order, CUTOFF + 10).await;
    let call = world.escalations().await.remove(0);
    for decision in [HandedOver, NotHanded, Noted] {
        let got = resolve(&world, &call.id, decision, CUTOFF + 20).await;
        assert_eq!(got, Resolved::DoesNotFit { kind: "stop".to_owned() });
    }
    let nobody = world.escalation_id();
    assert_eq!(resolve(&world, &nobody, Noted, CUTOFF + 20).await, Resolved::NotFound);
    resolve(&world, &call.id, Stopped, CUTOFF + 20).await;
    lab.report(&order, Stage::Printed, CUTOFF + 30).await;
    let call = world.escalations().await.remove(0);
    assert_eq!(call.kind, "shipped_anyway");
    for decision in [HandedOver, NotHanded, Stopped, TooLate] {
        let got = resolve(&world, &call.id, decision, CUTOFF + 40).await;
        assert_eq!(got, Resolved::DoesNotFit { kind: "shipped_anyway".to_owned() });
    }
    assert_eq!(resolve(&world, &call.id, Noted, CUTOFF + 40).await, Resolved::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::Stopped);
    for answer in [unclear(), will_print()] {
        assert!(lab.settle(&out, answer, CUTOFF + 50).await.is_none());
    }
    world.verify().await;
}
