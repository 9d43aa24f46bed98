//! Replacements: whatever decides the old order's stop, and whenever, exactly one of the two may be printed.

use std::sync::Arc;

use stoppress::domain::extras::LinkState;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, Profile, TakesStops};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{
    ChangeKind, Changed, PersonDecision, Replace, Replaced, Resolve, Resolved, Scope, Source, Write, Written,
    one,
};

use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, HORIZON, Lab, World, able, accepted, at, forgetful, ops, refused, removed, shop,
    will_print,
};

on_both!(
    before_the_cutoff_the_new_one_takes_its_place_at_once,
    whatever_decides_the_old_ones_stop_decides_the_new_one,
    the_same_again_is_the_same,
    a_second_replacement_waits_until_the_first_is_gone,
    who_waits_cannot_be_replaced_and_is_stopped_at_once,
    reinstating_never_makes_two,
    an_order_that_was_stopped_before_is_replaced_at_once,
    an_unpaid_one_is_released_and_joins_when_it_is_paid_for,
    a_late_answer_after_the_replacement_changes_nothing,
    the_answer_and_the_replacement_at_once,
);

impl Lab<'_> {
    /// Replaces an order by one with that reference.
    pub(super) fn replacing(&self, old: &OrderId, reference: &str, seconds: i64) -> Replace {
        let mut stop = self.asking(old, seconds);
        stop.scope = Scope::Platform(shop());
        let mut admission = self.admission(reference);
        admission.at = at(seconds);
        let join = Some(self.window(if seconds < CUTOFF { CUTOFF } else { 10 * CUTOFF }));
        Replace { stop, admission: Arc::new(admission), join, hold: self.world.hold_id() }
    }

    pub(super) async fn replace_as(&self, item: Replace) -> Replaced {
        let Written::Replaced(replaced) = self.world.write(Write::Replace(Box::new(item))).await else {
            panic!("not a replacement")
        };
        replaced
    }

    pub(super) async fn replace(&self, old: &OrderId, reference: &str, seconds: i64) -> OrderId {
        match self.replace_as(self.replacing(old, reference, seconds)).await {
            Replaced::Done(new, true) => new,
            other => panic!("{other:?}"),
        }
    }
}

/// How the new order stands, and that the two know of each other.
async fn link(world: &World, old: &OrderId, new: &OrderId) -> LinkState {
    let (old_facts, new_facts) = (world.order(old).await, world.order(new).await);
    let (by, of) = (old_facts.extras.replaced_by.unwrap(), new_facts.extras.replaces.unwrap());
    assert_eq!((&by.order, &of.order, by.state), (new, old, of.state));
    let waits = of.state == LinkState::Waiting;
    assert_eq!(new_facts.extras.holds.len(), usize::from(waits), "{of:?}");
    by.state
}

/// May it be printed because of us, now or later?
async fn alive(world: &World, order: &OrderId) -> bool {
    world.order(order).await.stop.is_none_or(|stop| stop.state != StopState::Stopped)
}

async fn before_the_cutoff_the_new_one_takes_its_place_at_once(world: World) {
    let lab = world.lab("lumo", able()).await;
    let old = lab.admit("A-1").await;
    let new = lab.replace(&old, "A-2", 5).await;
    assert_eq!(link(&world, &old, &new).await, LinkState::Released);
    assert_eq!(world.order(&old).await.state(), OrderState::Stopped);
    assert_eq!(world.order(&new).await.state(), OrderState::InBatch, "in the same transaction");
    assert_eq!(world.store.to_join(None, 10).await.unwrap(), []);
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(super::claim::named(&out), [new.to_string()]);
    world.verify().await;
}

/// What ends the stop of an order that was sent, and how.
#[derive(Debug, Clone, Copy)]
enum End {
    Removed,
    WillPrint,
    Printed,
    ProofOfAbsence,
    Refused,
    PersonStopped,
    PersonTooLate,
    FinalOnReceipt,
}

async fn whatever_decides_the_old_ones_stop_decides_the_new_one(world: World) {
    let ends = [
        (End::Removed, true),
        (End::WillPrint, false),
        (End::Printed, false),
        (End::ProofOfAbsence, true),
        (End::Refused, true),
        (End::PersonStopped, true),
        (End::PersonTooLate, false),
        (End::FinalOnReceipt, false),
    ];
    for (nth, (end, stopped)) in ends.into_iter().enumerate() {
        let profile = match end {
            End::FinalOnReceipt => Profile { stops: TakesStops::FinalOnReceipt, ..able() },
            End::ProofOfAbsence => forgetful(),
            _ => able(),
        };
        let lab = world.lab(&format!("lab-{nth}"), profile).await;
        let (old, out) = match end {
            End::ProofOfAbsence => lab.lost(&format!("O-{nth}")).await,
            End::Refused => lab.sent(&format!("O-{nth}")).await,
            _ => lab.handed(&format!("O-{nth}")).await,
        };
        let new = lab.replace(&old, &format!("N-{nth}"), CUTOFF + 10).await;
        if !matches!(end, End::FinalOnReceipt) {
            assert_eq!(link(&world, &old, &new).await, LinkState::Waiting, "{end:?}");
            assert_eq!(world.order(&new).await.state(), OrderState::OnHold, "{end:?}");
            // It cannot be let go by hand.
            for (scope, kind) in [
                (Scope::Platform(shop()), ChangeKind::Release),
                (Scope::Ops, ChangeKind::ReleaseOne(world.order(&new).await.extras.holds[0].id.clone())),
            ] {
                let mut change = lab.changing(&new, kind, CUTOFF + 11);
                change.scope = scope;
                let held = Changed::HeldByOthers(vec!["replacing".to_owned()]);
                assert_eq!(lab.change_as(change).await, held, "{end:?}");
            }
        }
        let stop = world.stop_of(&old).await;
        let later = CUTOFF + 20;
        match end {
            End::Removed => drop(lab.answer(&stop, removed(), later).await),
            End::WillPrint => drop(lab.answer(&stop, will_print(), later).await),
            End::Printed => drop(lab.report(&old, Stage::Printed, later).await),
            End::ProofOfAbsence => {
                let later = CUTOFF + 2 + 2 * HORIZON;
                let transfer = world.transfer_of(&old).await;
                lab.learn(&transfer, Source::LookUp(at(later)), Answer::NotFound, later).await.unwrap();
            }
            End::Refused => drop(lab.settle(&out, refused(), later).await),
            End::PersonStopped | End::PersonTooLate => {
                // Nobody answers: a person takes it, and until then the new one waits.
                lab.claim_stops(CUTOFF + 10 + ANSWER).await;
                assert_eq!(world.stop_of(&old).await.state, StopState::WithAPerson);
                assert_eq!(link(&world, &old, &new).await, LinkState::Waiting, "{end:?}");
                let decision = if stopped { PersonDecision::Stopped } else { PersonDecision::TooLate };
                let escalation = world
                    .escalations()
                    .await
                    .into_iter()
                    .find(|row| row.subject == stop.id.as_str())
                    .unwrap();
                let item = Resolve {
                    escalation: escalation.id,
                    next: world.escalation_id(),
                    decision,
                    reason: "called them".to_owned(),
                    at: at(CUTOFF + 20 + ANSWER),
                    actor: ops(),
                };
                let Written::Resolved(resolved) = world.write(Write::Resolve(Box::new(item))).await else {
                    panic!("not resolved")
                };
                assert_eq!(resolved, Resolved::Done);
            }
            End::FinalOnReceipt => {}
        }
        let (old_lives, new_lives) = (alive(&world, &old).await, alive(&world, &new).await);
        assert_ne!(old_lives, new_lives, "{end:?}: one of the two, and not both");
        assert_eq!(new_lives, stopped, "{end:?}");
        let expected = if stopped { LinkState::Released } else { LinkState::Abandoned };
        assert_eq!(link(&world, &old, &new).await, expected, "{end:?}");
        if stopped {
            // The store knows no calendar: somebody gives it its window.
            let open = world.store.to_join(None, 10).await.unwrap();
            assert_eq!(open, [(new.clone(), LinkState::Released)], "{end:?}");
            let mut join = lab.changing(&new, ChangeKind::Rejoin, CUTOFF + 30 + ANSWER);
            (join.scope, join.join) = (Scope::Ops, Some(lab.window(20 * CUTOFF)));
            assert_eq!(lab.change_as(join.clone()).await, Changed::Done, "{end:?}");
            assert_eq!(lab.change_as(join).await, Changed::Unchanged, "{end:?}");
            assert_eq!(world.order(&new).await.state(), OrderState::InBatch, "{end:?}");
        } else {
            let stop = world.stop_of(&new).await;
            assert_eq!(stop.evidence, Some(Evidence::NeverHanded), "{end:?}");
            assert_eq!(stop.reason, "replacement_abandoned", "{end:?}");
        }
        assert_eq!(world.store.to_join(None, 10).await.unwrap(), [], "{end:?}");
    }
    world.verify().await;
}

async fn the_same_again_is_the_same(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (old, other) = (lab.admit("A-1").await, lab.admit("A-9").await);
    let item = lab.replacing(&old, "A-2", 5);
    let Replaced::Done(new, true) = lab.replace_as(item.clone()).await else { panic!("not new") };
    assert!(matches!(lab.replace_as(item).await, Replaced::Done(same, false) if same == new));
    // The reference of another order, or of this one with other content, or the old one's own.
    for (old, reference, sha256) in [(&old, "A-2", "b"), (&old, "A-1", "a"), (&other, "A-2", "a")] {
        let mut item = lab.replacing(old, reference, 6);
        let mut admission = stoppress::store::Admission::clone(&item.admission);
        admission.sha256 = sha256.repeat(64);
        item.admission = Arc::new(admission);
        assert!(matches!(lab.replace_as(item).await, Replaced::Taken(_)), "{reference} {sha256}");
    }
    assert!(alive(&world, &other).await, "nothing was asked of it");
    let mut foreign = lab.replacing(&other, "A-3", 6);
    foreign.stop.scope = Scope::Platform("other".to_owned().try_into().unwrap());
    assert!(matches!(lab.replace_as(foreign).await, Replaced::NotFound));
    assert_eq!(world.number("select count(*) from orders").await, 3);
}

async fn a_second_replacement_waits_until_the_first_is_gone(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (old, _) = lab.handed("A-1").await;
    let first = lab.replace(&old, "A-2", CUTOFF + 10).await;
    let second = lab.replace_as(lab.replacing(&old, "A-3", CUTOFF + 11)).await;
    assert!(matches!(second, Replaced::By(by) if by == first));
    // Taken back by its own stop, it makes room.
    lab.stop(&first, CUTOFF + 12).await;
    assert_eq!(link(&world, &old, &first).await, LinkState::Withdrawn);
    let second = lab.replace(&old, "A-3", CUTOFF + 13).await;
    lab.answer(&world.stop_of(&old).await, removed(), CUTOFF + 14).await;
    assert_eq!(link(&world, &old, &second).await, LinkState::Released);
    assert!(!alive(&world, &first).await && alive(&world, &second).await);
    // One that is printed has none.
    let nova = world.lab("nova", able()).await;
    let (old, _) = nova.handed("B-1").await;
    let stop = nova.stop(&old, CUTOFF + 10).await;
    nova.answer(&stop, will_print(), CUTOFF + 11).await;
    let refused = nova.replace_as(nova.replacing(&old, "B-2", CUTOFF + 12)).await;
    assert!(matches!(refused, Replaced::NotAllowed(_)), "{refused:?}");
    world.verify().await;
}

async fn who_waits_cannot_be_replaced_and_is_stopped_at_once(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (old, _) = lab.handed("A-1").await;
    let new = lab.replace(&old, "A-2", CUTOFF + 10).await;
    let chained = lab.replace_as(lab.replacing(&new, "A-3", CUTOFF + 11)).await;
    assert!(matches!(chained, Replaced::Waits(first) if first == old));
    let stop = lab.stop(&new, CUTOFF + 12).await;
    assert_eq!((stop.state, stop.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    assert_eq!(link(&world, &old, &new).await, LinkState::Withdrawn);
    // The old one's stop goes on, and moves nobody.
    lab.answer(&world.stop_of(&old).await, removed(), CUTOFF + 13).await;
    assert!(!alive(&world, &old).await && !alive(&world, &new).await, "both were asked to be stopped");
    // Its place could be taken again only while nobody who may be printed has it.
    let third = lab.replace(&new, "A-3", CUTOFF + 14).await;
    assert_eq!(world.order(&third).await.state(), OrderState::InBatch);
    world.verify().await;
}

async fn reinstating_never_makes_two(world: World) {
    let lab = world.lab("lumo", able()).await;
    let old = lab.admit("A-1").await;
    let new = lab.replace(&old, "A-2", 5).await;
    assert_eq!(lab.change(&old, ChangeKind::Reinstate).await, Changed::Replaced(new.clone()));
    // Over three: the first may come back only when neither of the others lives.
    let third = lab.replace(&new, "A-3", 6).await;
    assert_eq!(lab.change(&old, ChangeKind::Reinstate).await, Changed::Replaced(third.clone()));
    assert_eq!(lab.change(&new, ChangeKind::Reinstate).await, Changed::Replaced(third.clone()));
    lab.stop(&third, 7).await;
    assert_eq!(lab.change(&old, ChangeKind::Reinstate).await, Changed::Done);
    for order in [&new, &third] {
        assert_eq!(lab.change(order, ChangeKind::Reinstate).await, Changed::Replaced(old.clone()));
    }
    world.close(CUTOFF).await;
    assert_eq!(super::claim::named(&lab.send(CUTOFF + 1).await), [old.to_string()]);

    // One that was abandoned stays away: the old one is printed.
    let nova = world.lab("nova", able()).await;
    let (old, _) = nova.handed("B-1").await;
    let new = nova.replace(&old, "B-2", CUTOFF + 10).await;
    nova.answer(&world.stop_of(&old).await, will_print(), CUTOFF + 11).await;
    assert_eq!(link(&world, &old, &new).await, LinkState::Abandoned);
    assert_eq!(nova.change(&new, ChangeKind::Reinstate).await, Changed::Replaced(old));
    world.verify().await;
}

async fn an_order_that_was_stopped_before_is_replaced_at_once(world: World) {
    let lab = world.lab("lumo", able()).await;
    let old = lab.admit("A-1").await;
    let stop = lab.stop(&old, 4).await;
    let new = lab.replace(&old, "A-2", 5).await;
    assert_eq!(link(&world, &old, &new).await, LinkState::Released);
    assert_eq!(world.order(&new).await.state(), OrderState::InBatch);
    assert_eq!(world.stop_of(&old).await.id, stop.id);
}

async fn an_unpaid_one_is_released_and_joins_when_it_is_paid_for(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (old, _) = lab.handed("A-1").await;
    let mut item = lab.replacing(&old, "A-2", CUTOFF + 10);
    let mut admission = stoppress::store::Admission::clone(&item.admission);
    (admission.paid, admission.join) = (false, None);
    (item.admission, item.join) = (Arc::new(admission), None);
    let Replaced::Done(new, true) = lab.replace_as(item).await else { panic!("not new") };
    // Paid for while it waits: it waits on.
    let mut pay = lab.changing(&new, ChangeKind::Pay, CUTOFF + 11);
    pay.join = Some(lab.window(10 * CUTOFF));
    assert_eq!(lab.change_as(pay).await, Changed::Done);
    assert_eq!(world.order(&new).await.state(), OrderState::OnHold);
    lab.answer(&world.stop_of(&old).await, removed(), CUTOFF + 12).await;
    assert_eq!(link(&world, &old, &new).await, LinkState::Released);
    assert_eq!(world.store.to_join(None, 10).await.unwrap().len(), 1);
    let mut join = lab.changing(&new, ChangeKind::Rejoin, CUTOFF + 13);
    join.join = Some(lab.window(10 * CUTOFF));
    assert_eq!(lab.change_as(join).await, Changed::Done);
    assert_eq!(world.order(&new).await.state(), OrderState::InBatch);
    world.verify().await;
}

async fn a_late_answer_after_the_replacement_changes_nothing(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (old, _) = lab.handed("A-1").await;
    let new = lab.replace(&old, "A-2", CUTOFF + 10).await;
    let stop = world.stop_of(&old).await;
    lab.answer(&stop, removed(), CUTOFF + 11).await;
    assert_eq!(link(&world, &old, &new).await, LinkState::Released);
    // The lab changes its mind: told to a person, and nothing else.
    lab.answer(&stop, will_print(), CUTOFF + 12).await;
    assert_eq!(world.calls().await, ["shipped_anyway"]);
    assert_eq!(link(&world, &old, &new).await, LinkState::Released);
    assert!(alive(&world, &new).await && !alive(&world, &old).await, "what was told stays told");
    world.verify().await;
}

async fn the_answer_and_the_replacement_at_once(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for round in 0..40_usize {
        let mut admission = lab.admission(&format!("O-{round}"));
        let closes = CUTOFF + round as i64;
        admission.join = Some(lab.window(closes));
        let old = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(closes).await;
        let out = lab.send(closes + 1).await;
        lab.settle(&out, accepted(), closes + 2).await;
        let stop = lab.stop(&old, closes + 3).await;
        // The lab's answer and the platform's replacement meet.
        let says = if round % 2 == 0 { removed() } else { will_print() };
        let answer = lab.answering(&stop, says, closes + 4);
        let answer = Write::SettleStop(Box::new(answer));
        let replace = Write::Replace(Box::new(lab.replacing(&old, &format!("N-{round}"), closes + 4)));
        let (a, b) = if round % 4 < 2 { (&world.store, &other) } else { (&other, &world.store) };
        let (a, b) = (Arc::clone(a), Arc::clone(b));
        let answer = tokio::spawn(async move { one(&*a, answer).await.unwrap() });
        let replace = tokio::spawn(async move { one(&*b, replace).await.unwrap() });
        answer.await.unwrap();
        let Written::Replaced(replaced) = replace.await.unwrap() else { panic!("not a replacement") };
        let old_lives = alive(&world, &old).await;
        match replaced {
            Replaced::Done(new, true) => {
                assert_ne!(alive(&world, &new).await, old_lives, "round {round}: one, and not both");
                assert_ne!(
                    link(&world, &old, &new).await,
                    LinkState::Waiting,
                    "round {round}: it is decided"
                );
            }
            // It came too late to be replaced at all.
            Replaced::NotAllowed(_) => assert!(old_lives, "round {round}"),
            other => panic!("round {round}: {other:?}"),
        }
    }
    world.verify().await;
}
