//! What may be done about a transfer of which nobody knows: send the same, look, wait, or call a person.

use stoppress::domain::batch::{Remedy, TransferPhase};
use stoppress::domain::lab::{Answer, Profile, TakesStops};
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{Claimed, SettleStop, Source, StopSettled};

use super::on_both;
use crate::common::world::{
    CUTOFF, HANDOVER, HORIZON, LEASE, World, able, accepted, at, deaf, forgetful, keeps, removed, unclear,
    will_print,
};

on_both!(
    a_lab_that_dedupes_gets_the_same_again,
    the_key_window_ends_it,
    the_attempts_end_it,
    a_look_up_waits_for_the_horizon,
    nobody_takes_out_what_is_not_known_to_be_there,
    absence_is_proven_only_behind_the_horizon_and_under_the_fence,
    a_look_up_that_finds_it_hands_it_over,
    nothing_to_be_done_waits_for_a_person,
);

async fn a_lab_that_dedupes_gets_the_same_again(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 5, ..able() }).await;
    for nth in 0..3 {
        lab.admit(&format!("A-{nth}")).await;
    }
    world.close(CUTOFF).await;
    let first = lab.send(CUTOFF + 1).await;
    lab.settle(&first, unclear(), CUTOFF + 2).await.unwrap();
    let orders = world.store.transfers(&first.transfer.batch).await.unwrap();
    assert_eq!(orders[0].orders, 3);
    let second = lab.send(CUTOFF + 30).await;
    assert_eq!((&second.key, &second.body, second.sha256), (&first.key, &first.body, first.sha256));
    assert_eq!((second.transfer.fence, second.transfer.attempts, second.transfer.unresolved), (2, 2, 2));
    assert_eq!(second.transfer.horizon_at, at(CUTOFF + 30 + HORIZON));
    lab.settle(&second, accepted(), CUTOFF + 31).await.unwrap();
    world.verify().await;
}

async fn the_key_window_ends_it(world: World) {
    // The key must still be known when the last byte may be acted on.
    let lab = world.lab("lumo", Profile { lookup: false, ..keeps(HORIZON + 100) }).await;
    let (order, first) = lab.lost("A-1").await;
    let second = lab.send(CUTOFF + 50).await;
    assert_eq!(second.key, first.key);
    assert_eq!(
        second.transfer.key_until, first.transfer.key_until,
        "the window is that of the first attempt"
    );
    lab.settle(&second, unclear(), CUTOFF + 51).await.unwrap();
    let claimed = lab.claim(CUTOFF + 101).await;
    assert!(matches!(&claimed[..], [Claimed::Waits(Remedy::Wait)]), "{claimed:?}");
    assert_eq!(world.transfer_of(&order).await.next_at, at(CUTOFF + 1 + HANDOVER));
}

async fn the_attempts_end_it(world: World) {
    let lab = world.lab("lumo", Profile { attempts_max: 2, lookup: false, ..able() }).await;
    let (_, _) = lab.lost("A-1").await;
    let second = lab.send(CUTOFF + 30).await;
    lab.settle(&second, unclear(), CUTOFF + 31).await.unwrap();
    let claimed = lab.claim(CUTOFF + 60).await;
    assert!(matches!(&claimed[..], [Claimed::Waits(Remedy::Wait)]), "{claimed:?}");
}

async fn a_look_up_waits_for_the_horizon(world: World) {
    let lab = world.lab("lumo", forgetful()).await;
    let (order, out) = lab.lost("A-1").await;
    let horizon = CUTOFF + 1 + HORIZON;
    let claimed = lab.claim(CUTOFF + 30).await;
    assert!(matches!(&claimed[..], [Claimed::Waits(Remedy::LookUp(from))] if *from == at(horizon)));
    assert!(lab.claim(horizon - 1).await.is_empty());
    let claimed = lab.claim(horizon).await;
    let [Claimed::LookUp { transfer, orders }] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!((&transfer.id, &orders[..]), (&out.transfer.id, &[order][..]));
    // While somebody looks, nobody else does.
    assert!(lab.claim(horizon + 1).await.is_empty());
    // What says nothing only costs time.
    let looked = Source::LookUp(at(horizon));
    assert!(lab.learn(transfer, looked, unclear(), horizon + 1).await.is_none());
    assert!(lab.claim(horizon + 5).await.is_empty());
    assert_eq!(lab.claim(horizon + 6).await.len(), 1);
    world.verify().await;
}

async fn absence_is_proven_only_behind_the_horizon_and_under_the_fence(world: World) {
    let lab = world.lab("lumo", forgetful()).await;
    let (order, out) = lab.lost("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 3).await;
    let horizon = CUTOFF + 1 + HORIZON;
    let not_there =
        |transfer, asked, seconds| lab.learn(transfer, Source::LookUp(at(asked)), Answer::NotFound, seconds);
    let now = world.transfer_of(&order).await;
    assert!(not_there(&now, horizon - 1, horizon + 9).await.is_none(), "asked too early");
    let mut old = now.clone();
    old.fence -= 1;
    assert!(not_there(&old, horizon, horizon + 9).await.is_none(), "of an older attempt");
    assert!(lab.settle(&out, Answer::NotFound, horizon + 9).await.is_none(), "not the answer to a look-up");
    assert_eq!(world.stop_of(&order).await.state, StopState::Pending);
    let facts = not_there(&now, horizon, horizon + 10).await.unwrap();
    assert_eq!((facts.phase, facts.fence, facts.unresolved), (TransferPhase::Closed, now.fence + 1, 0));
    let stop_now = world.stop_of(&order).await;
    assert_eq!((stop_now.id, stop_now.evidence), (stop.id, Some(Evidence::NeverHanded)));
    assert!(matches!(&lab.claim(horizon + 20).await[..], [Claimed::Empty(_)]));

    // Without a stop it goes again, under a new key.
    let nova = world.lab("nova", forgetful()).await;
    let (_, first) = nova.lost("B-1").await;
    let claimed = nova.claim(horizon).await;
    let [Claimed::LookUp { transfer, .. }] = &claimed[..] else { panic!("{claimed:?}") };
    nova.learn(transfer, Source::LookUp(at(horizon)), Answer::NotFound, horizon + 1).await.unwrap();
    let second = nova.send(horizon + 10).await;
    assert_ne!(second.key, first.key);
    assert_eq!((second.transfer.attempts, second.transfer.unresolved), (2, 1));
    world.verify().await;
}

async fn a_look_up_that_finds_it_hands_it_over(world: World) {
    for (nth, answer) in [accepted(), will_print()].into_iter().enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), forgetful()).await;
        let (order, _) = lab.lost(&format!("A-{nth}")).await;
        let transfer = world.transfer_of(&order).await;
        let looked = Source::LookUp(at(CUTOFF + 5));
        let facts = lab.learn(&transfer, looked, answer, CUTOFF + 6).await.unwrap();
        assert_eq!(facts.phase, TransferPhase::AtLab, "good news needs no horizon");
    }
}

async fn nothing_to_be_done_waits_for_a_person(world: World) {
    let lab = world.lab("lumo", Profile { stops: TakesStops::No, ..deaf() }).await;
    let (order, out) = lab.lost("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 5).await;
    let claimed = lab.claim(CUTOFF + 30).await;
    assert!(matches!(&claimed[..], [Claimed::Waits(Remedy::Wait)]), "{claimed:?}");
    let deadline = CUTOFF + 1 + HANDOVER;
    assert!(lab.claim(deadline - 1).await.is_empty());
    let claimed = lab.claim(deadline).await;
    assert!(matches!(&claimed[..], [Claimed::Person(id)] if *id == out.transfer.id), "{claimed:?}");
    assert_eq!(world.calls().await, ["transfer"]);
    assert!(lab.claim(deadline + LEASE).await.is_empty());
    // The stop goes to a person at its own deadline, and a late ack settles the transfer all the same.
    assert_eq!(stop.state, StopState::Pending);
    lab.claim_stops(deadline).await;
    assert_eq!(world.stop_of(&order).await.state, StopState::WithAPerson);
    lab.settle(&out, accepted(), deadline + 5).await.unwrap();
    assert_eq!(world.calls().await, ["stop"], "what became of the transfer is known");
    world.verify().await;
}

async fn nobody_takes_out_what_is_not_known_to_be_there(world: World) {
    let (lab, other) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    let (order, sending) = lab.sent("A-1").await;
    let (lost, _) = other.lost("A-2").await;
    let cases = [(&lab, &order, TransferPhase::Sending), (&other, &lost, TransferPhase::Unknown)];
    for (lab, order, phase) in cases {
        let stop = lab.stop(order, CUTOFF + 3).await;
        assert_eq!(stop.state, StopState::Pending);
        let before = world.transfer_of(order).await;
        assert_eq!(before.phase, phase);
        // Somebody did not find it, and says that it is stopped: the copy may still come.
        let pressed = SettleStop { person: true, ..lab.answering(&stop, removed(), CUTOFF + 4) };
        let StopSettled::Done(stands) = lab.answer_as(pressed).await else { panic!("not taken") };
        assert_eq!((stands.state, stands.evidence), (StopState::Pending, None), "{phase:?}");
        let after = world.transfer_of(order).await;
        assert_eq!((after.phase, after.unresolved, after.fence), (phase, before.unresolved, before.fence));
    }
    // What was said is kept; once the lab has it, the same word decides.
    assert_eq!(world.number("select count(*) from events where kind = 'stop.answer'").await, 2);
    lab.settle(&sending, accepted(), CUTOFF + 5).await.unwrap();
    let stop = world.stop_of(&order).await;
    let pressed = SettleStop { person: true, ..lab.answering(&stop, removed(), CUTOFF + 6) };
    let StopSettled::Done(stands) = lab.answer_as(pressed).await else { panic!("not taken") };
    assert_eq!((stands.state, stands.evidence), (StopState::Stopped, Some(Evidence::PersonConfirmed)));
    world.verify().await;
}
