//! A lab that another gateway may have: its work is left alone, but not beyond its deadlines.

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::lab::Answer;
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{ClaimAsks, Claimed, StopDue, Write, Written};

use super::on_both;
use crate::common::lab::Lab;
use crate::common::world::{ANSWER, CUTOFF, HANDOVER, LEASE, World, able, at};

on_both!(
    what_waits_is_left_alone_until_its_time_is_over,
    what_fell_back_or_is_unknown_is_left_alone_until_its_deadline,
    a_stop_is_left_alone_until_its_deadline,
);

async fn claim_away(lab: &Lab<'_>, seconds: i64) -> Vec<Claimed> {
    let mut claim = lab.claiming(seconds, 10);
    (claim.sends, claim.away) = (false, true);
    lab.claim_as(claim).await
}

async fn what_waits_is_left_alone_until_its_time_is_over(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, stopped) = (lab.admit("A-1").await, lab.admit("A-2").await);
    world.close(CUTOFF).await;
    assert!(claim_away(&lab, CUTOFF + HANDOVER - 1).await.is_empty());
    // It is still in the house: a stop is granted, and a gateway that has the lab may send.
    assert_eq!(lab.stop(&stopped, CUTOFF + 5).await.evidence, Some(Evidence::NeverHanded));
    let claimed = claim_away(&lab, CUTOFF + HANDOVER).await;
    assert!(matches!(&claimed[..], [Claimed::Person(_)]), "{claimed:?}");
    let facts = world.transfer_of(&order).await;
    assert_eq!((facts.phase, facts.attempts, facts.unresolved), (TransferPhase::WithAPerson, 0, 0));
    assert_eq!(world.calls().await, ["transfer"]);
    assert!(claim_away(&lab, CUTOFF + HANDOVER + 1).await.is_empty(), "once");
    world.verify().await;
}

async fn what_fell_back_or_is_unknown_is_left_alone_until_its_deadline(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (_, unknown) = lab.lost("A-1").await;
    assert!(claim_away(&lab, CUTOFF + LEASE).await.is_empty());
    // It was not put off: whoever has the lab finds it due as it was.
    let again = lab.send(CUTOFF + LEASE).await;
    assert_eq!((&again.transfer.id, &again.key), (&unknown.transfer.id, &unknown.key));
    lab.settle(&again, Answer::Refused { reason: "no".into() }, CUTOFF + LEASE + 1).await.unwrap();
    let [deadline, _] = world.store.deadlines(at(CUTOFF + LEASE)).await.unwrap();
    assert_eq!(deadline, Some(unknown.transfer.deadline_at));
    let over = CUTOFF + 1 + HANDOVER;
    assert_eq!(deadline, Some(at(over)));
    assert!(claim_away(&lab, over - 1).await.is_empty());
    let claimed = claim_away(&lab, over).await;
    assert!(matches!(&claimed[..], [Claimed::Person(id)] if *id == unknown.transfer.id), "{claimed:?}");
    world.verify().await;
}

async fn a_stop_is_left_alone_until_its_deadline(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    assert_eq!(stop.state, StopState::Pending);
    let away = async |seconds: i64| {
        let item = ClaimAsks {
            lab: lab.id.clone(),
            profile: lab.profile.clone(),
            limit: 10,
            escalations: world.escalation_ids(10),
            not_before: None,
            away: true,
            now: at(seconds),
            lease_until: at(seconds + LEASE),
        };
        let Written::StopsClaimed(due) = world.write(Write::ClaimStops(Box::new(item))).await else {
            panic!("no stops")
        };
        due
    };
    let over = CUTOFF + 10 + ANSWER;
    assert!(away(over - 1).await.is_empty());
    assert_eq!(world.store.deadlines(at(over - 1)).await.unwrap()[1], Some(at(over)));
    let asked = lab.claim_stops(CUTOFF + 11).await;
    assert!(matches!(&asked[..], [StopDue::Ask { .. }]), "{asked:?}");
    let due = away(over).await;
    assert!(matches!(&due[..], [StopDue::Decided(stop)] if stop.state == StopState::WithAPerson), "{due:?}");
    assert_eq!(world.calls().await, ["stop"]);
    world.verify().await;
}
