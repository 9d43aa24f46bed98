//! Approvals: a customer asks, the order stays out of its window, the merchant decides, however late.

use std::sync::Arc;

use stoppress::domain::extras::{ApprovalFacts, ApprovalState, HoldKind};
use stoppress::domain::ids::{LabId, OrderId};
use stoppress::domain::order::OrderState;
use stoppress::domain::stop::{Evidence, StopFacts, StopState};
use stoppress::store::{
    ApprovalAsk, ApprovalFilter, ApprovalOutcome, ChangeKind, Changed, Claimed, Decide, Decided, LabSwitch,
    Overdue, Put, Scope, SetLab, StopOutcome, Write, Written, one,
};

use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, accepted, at, ops, removed, shop};

on_both!(
    asked_before_the_cutoff_and_agreed_long_after_always_succeeds,
    declined_it_joins_a_window_again,
    the_same_again_is_the_same,
    after_the_hand_over_the_merchants_word_goes_to_the_lab,
    a_stop_of_somebody_else_overtakes,
    other_holds_keep_it_out_still,
    it_stays_out_while_unpaid_too,
    ops_are_called_once_when_the_time_is_over,
    only_its_own_platform_decides,
    a_reinstated_order_can_be_asked_about_again,
    asking_against_the_claim,
    agreeing_against_the_cutoff,
    two_decisions_at_once_are_one,
    a_lab_with_an_open_approval_is_not_deleted,
);

pub(super) const DAY: i64 = 86_400;

impl Lab<'_> {
    pub(super) fn approval(&self, order: &OrderId, seconds: i64) -> ApprovalAsk {
        let mut stop = self.asking(order, seconds);
        stop.scope = Scope::Platform(shop());
        let world = self.world;
        ApprovalAsk { id: world.approval_id(), hold: world.hold_id(), due_at: at(seconds + DAY), stop }
    }

    pub(super) async fn asks(&self, order: &OrderId, seconds: i64) -> ApprovalFacts {
        match outcome(self.world, self.approval(order, seconds)).await {
            ApprovalOutcome::Asked(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn deciding(
        &self,
        approval: &ApprovalFacts,
        agrees: bool,
        seconds: i64,
        window: i64,
    ) -> Decide {
        // Which order is stopped is the approval's to say, whatever the ask beside it names.
        let stop = self.asking(&self.world.order_id(), seconds);
        Decide {
            approval: approval.id.clone(),
            scope: Scope::Platform(shop()),
            agrees: agrees.then(|| Box::new(stop)),
            join: Some(self.window(window)),
            why: Some("so it is".to_owned()),
            at: at(seconds),
            actor: ops(),
        }
    }

    pub(super) async fn decide(&self, item: Decide) -> Decided {
        let Written::Decided(decided) = self.world.write(Write::Decide(Box::new(item))).await else {
            panic!("not a decision")
        };
        *decided
    }

    pub(super) async fn agrees(&self, approval: &ApprovalFacts, seconds: i64) -> StopFacts {
        match self.decide(self.deciding(approval, true, seconds, CUTOFF)).await {
            Decided::Approved(facts, stop) => {
                assert_eq!(facts.state, ApprovalState::Approved);
                *stop.expect("a stop")
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn outcome(world: &World, ask: ApprovalAsk) -> ApprovalOutcome {
    let Written::Approval(outcome) = world.write(Write::AskApproval(Box::new(ask))).await else {
        panic!("not an approval")
    };
    *outcome
}

async fn asked_before_the_cutoff_and_agreed_long_after_always_succeeds(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, other) = (lab.admit("A-1").await, lab.admit("A-2").await);
    let approval = lab.asks(&order, CUTOFF - 1).await;
    assert!(approval.held);
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.stop.is_some()), (OrderState::OnHold, false), "not yet a stop");
    assert_eq!(facts.extras.holds[0].kind, HoldKind::Approval);
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(out.orders, 1, "only the other leaves");
    lab.settle(&out, accepted(), CUTOFF + 2).await;
    assert!(world.order(&other).await.transfer.is_some());
    let stop = lab.agrees(&approval, 3 * DAY).await;
    assert_eq!((stop.state, stop.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    assert_eq!((stop.reason.as_str(), stop.asked_at), ("changed_mind", at(3 * DAY)));
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::Stopped, 0));
    assert_eq!(facts.extras.approval.unwrap().why.as_deref(), Some("so it is"));
    world.verify().await;
}

async fn declined_it_joins_a_window_again(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let approval = lab.asks(&order, 5).await;
    let before = world.order(&order).await.version;
    world.close(CUTOFF).await;
    lab.admit_as({
        let mut other = lab.admission("A-2");
        other.join = Some(lab.window(CUTOFF + 10));
        other
    })
    .await;
    world.close(CUTOFF + 10).await;
    // Its window has closed: nothing is decided, nothing is written.
    let decided = lab.decide(lab.deciding(&approval, false, CUTOFF + 20, CUTOFF + 10)).await;
    assert!(matches!(decided, Decided::WindowClosed), "{decided:?}");
    let open = world.order(&order).await;
    assert_eq!((open.version, open.extras.open_approval().is_some()), (before, true));
    let decided = lab.decide(lab.deciding(&approval, false, CUTOFF + 20, 2 * CUTOFF)).await;
    let Decided::Declined(facts) = decided else { panic!("{decided:?}") };
    assert_eq!((facts.state, facts.why.as_deref()), (ApprovalState::Declined, Some("so it is")));
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::InBatch, 0));
    assert!(facts.version > before && facts.stop.is_none());
    // Decided is decided.
    let again = lab.decide(lab.deciding(&approval, true, CUTOFF + 30, 2 * CUTOFF)).await;
    assert!(matches!(&again, Decided::Already(known) if known.state == ApprovalState::Declined), "{again:?}");
    assert!(matches!(outcome(&world, lab.approval(&order, CUTOFF + 31)).await, ApprovalOutcome::Already(_)));
    world.close(2 * CUTOFF).await;
    // The other's batch, and then that of this one.
    let claimed = lab.claim(2 * CUTOFF + 1).await;
    let sent = claimed.iter().filter(|claimed| matches!(claimed, Claimed::Send(_)));
    assert_eq!((claimed.len(), sent.count()), (2, 2), "{claimed:?}");
    assert!(world.order(&order).await.transfer.is_some());
    world.verify().await;
}

async fn the_same_again_is_the_same(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let first = lab.asks(&order, 5).await;
    let again = outcome(&world, lab.approval(&order, 6)).await;
    assert!(matches!(&again, ApprovalOutcome::Already(known) if *known == first), "{again:?}");
    assert_eq!(world.order(&order).await.extras.holds.len(), 1);
    let nobody = outcome(&world, lab.approval(&world.order_id(), 6)).await;
    assert!(matches!(nobody, ApprovalOutcome::Stop(StopOutcome::NotFound)), "{nobody:?}");
    // Once there is a stop, that is what is told.
    let stop = lab.agrees(&first, 7).await;
    let told = outcome(&world, lab.approval(&order, 8)).await;
    assert!(matches!(&told, ApprovalOutcome::Stop(StopOutcome::Already(known)) if known.id == stop.id));
}

async fn after_the_hand_over_the_merchants_word_goes_to_the_lab(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let approval = lab.asks(&order, CUTOFF + 10).await;
    assert!(!approval.held, "there is nothing to keep out");
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::AtLab, 0));
    let stop = lab.agrees(&approval, CUTOFF + 20).await;
    assert_eq!(stop.state, StopState::Pending);
    assert_eq!(stop.handed_at, Some(at(CUTOFF + 2)));
    lab.answer(&stop, removed(), CUTOFF + 21).await;
    assert_eq!(world.stop_of(&order).await.state, StopState::Stopped);

    // Declined, it stays where it is.
    let nova = world.lab("nova", able()).await;
    let (order, _) = nova.handed("B-1").await;
    let approval = nova.asks(&order, CUTOFF + 10).await;
    let decided = nova.decide(nova.deciding(&approval, false, CUTOFF + 20, 2 * CUTOFF)).await;
    assert!(matches!(decided, Decided::Declined(_)), "{decided:?}");
    assert_eq!(world.order(&order).await.state(), OrderState::AtLab);

    // Where it is too late for anybody, there is nothing to decide.
    let kodak = world
        .lab(
            "kodak",
            stoppress::domain::lab::Profile {
                stops: stoppress::domain::lab::TakesStops::FinalOnReceipt,
                ..able()
            },
        )
        .await;
    let (order, _) = kodak.handed("C-1").await;
    let told = outcome(&world, kodak.approval(&order, CUTOFF + 10)).await;
    assert!(
        matches!(&told, ApprovalOutcome::Stop(StopOutcome::Asked(stop)) if stop.state == StopState::TooLate),
        "{told:?}"
    );
    world.verify().await;
}

async fn a_stop_of_somebody_else_overtakes(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let approval = lab.asks(&order, 5).await;
    let stop = lab.stop(&order, 6).await;
    assert_eq!(stop.state, StopState::Stopped);
    let facts = world.order(&order).await;
    assert_eq!(facts.extras.approval.as_ref().unwrap().state, ApprovalState::Overtaken);
    assert!(facts.extras.holds.is_empty());
    let decided = lab.decide(lab.deciding(&approval, false, 7, CUTOFF)).await;
    assert!(matches!(decided, Decided::Already(_)), "{decided:?}");
    assert_eq!(world.order(&order).await.state(), OrderState::Stopped, "it does not come back");
    world.verify().await;
}

async fn other_holds_keep_it_out_still(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let approval = lab.asks(&order, 5).await;
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::Done);
    // Nobody releases what the merchant decides, not even ops.
    let approving = world.order(&order).await.extras.holds[0].id.clone();
    let mut release = lab.changing(&order, ChangeKind::ReleaseOne(approving), 11);
    release.scope = Scope::Ops;
    assert_eq!(lab.change_as(release).await, Changed::HeldByOthers(vec!["approval".to_owned()]));
    lab.decide(lab.deciding(&approval, false, 12, CUTOFF)).await;
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold, "the platform holds it");
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
    world.verify().await;
}

async fn it_stays_out_while_unpaid_too(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut admission = lab.admission("A-1");
    (admission.paid, admission.join) = (false, None);
    let order = admission.id.clone();
    lab.admit_as(admission).await;
    let approval = lab.asks(&order, 5).await;
    assert_eq!(lab.change(&order, ChangeKind::Pay).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold, "paid, and not in a batch");
    lab.decide(lab.deciding(&approval, false, 12, CUTOFF)).await;
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
}

async fn ops_are_called_once_when_the_time_is_over(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let approval = lab.asks(&order, 5).await;
    assert_eq!(world.store.approval_next().await.unwrap(), Some(at(5 + DAY)));
    let overdue = async |seconds| {
        let item = Overdue { now: at(seconds), escalations: world.escalation_ids(3) };
        world.write(Write::Overdue(item)).await;
    };
    overdue(4 + DAY).await;
    assert_eq!(world.calls().await, Vec::<String>::new());
    overdue(5 + DAY).await;
    overdue(6 + DAY).await;
    assert_eq!(world.calls().await, ["approval_overdue"]);
    assert_eq!(world.escalations().await[0].subject, approval.id.to_string());
    assert_eq!(world.store.approval_next().await.unwrap(), None);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold, "it stays out until it is decided");
    lab.agrees(&approval, 7 + DAY).await;
    assert_eq!(world.calls().await, Vec::<String>::new(), "nobody is to be hurried any more");
    world.verify().await;
}

async fn only_its_own_platform_decides(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let approval = lab.asks(&order, 5).await;
    let other = Scope::Platform("other".to_owned().try_into().unwrap());
    for scope in [other.clone(), Scope::Lab(lab.id.clone())] {
        let mut item = lab.deciding(&approval, true, 6, CUTOFF);
        item.scope = scope;
        assert!(matches!(lab.decide(item).await, Decided::NotFound));
    }
    let list = async |scope: &Scope, open| {
        let filter = ApprovalFilter { open, limit: 10, ..ApprovalFilter::default() };
        world.store.list_approvals(scope, &filter).await.unwrap().len()
    };
    for open in [true, false] {
        assert_eq!(list(&Scope::Ops, open).await, 1);
        assert_eq!(list(&Scope::Platform(shop()), open).await, 1);
        assert_eq!(list(&other, open).await, 0);
        assert_eq!(list(&Scope::Lab(lab.id.clone()), open).await, 0);
    }
    // The first due first is for ops, of one lab or of all.
    let due = async |scope: &Scope, lab: Option<&str>| {
        let lab = lab.map(|id| LabId::parse(id).unwrap());
        let filter = ApprovalFilter { due_first: true, lab, limit: 10, ..ApprovalFilter::default() };
        world.store.list_approvals(scope, &filter).await.unwrap().len()
    };
    let own = lab.id.to_string();
    for (scope, lab, count) in [
        (&Scope::Ops, None, 1),
        (&Scope::Ops, Some(own.as_str()), 1),
        (&Scope::Ops, Some("nova"), 0),
        (&other, None, 0),
        (&Scope::Lab(lab.id.clone()), None, 0),
    ] {
        assert_eq!(due(scope, lab).await, count, "{scope:?} {lab:?}");
    }
    let mut item = lab.deciding(&approval, true, 7, CUTOFF);
    item.scope = Scope::Ops;
    assert!(matches!(lab.decide(item).await, Decided::Approved(..)));
    assert_eq!((list(&Scope::Ops, true).await, list(&Scope::Ops, false).await), (0, 1));
}

async fn a_reinstated_order_can_be_asked_about_again(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let first = lab.asks(&order, 5).await;
    lab.agrees(&first, 6).await;
    assert_eq!(lab.change(&order, ChangeKind::Reinstate).await, Changed::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);
    assert!(world.order(&order).await.extras.approval.is_none());
    let second = lab.asks(&order, 12).await;
    assert_ne!(second.id, first.id);
    assert_eq!(lab.agrees(&second, 13).await.state, StopState::Stopped);
    world.verify().await;
}

async fn asking_against_the_claim(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    let mut kept = 0;
    for round in 0..60 {
        let now = CUTOFF + round;
        let mut admission = lab.admission(&format!("A-{round}"));
        admission.join = Some(lab.window(now));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(now).await;
        let ask = Write::AskApproval(Box::new(lab.approval(&order, now)));
        let claim = Write::Claim(Box::new(lab.claiming(now, 4)));
        let (a, b) = if round % 2 == 0 { (&world.store, &other) } else { (&other, &world.store) };
        let (a, b) = (Arc::clone(a), Arc::clone(b));
        let ask = tokio::spawn(async move { one(&*a, ask).await.unwrap() });
        let claim = tokio::spawn(async move { one(&*b, claim).await.unwrap() });
        let Written::Approval(asked) = ask.await.unwrap() else { panic!("not an approval") };
        claim.await.unwrap();
        let ApprovalOutcome::Asked(approval) = *asked else { panic!("{asked:?}") };
        let facts = world.order(&order).await;
        assert_eq!(facts.transfer.is_none(), approval.held, "round {round}: kept out, or gone");
        // Whatever was said is true when the merchant agrees.
        let stop = lab.agrees(&approval, now + 1).await;
        assert_eq!(stop.state == StopState::Stopped, approval.held, "round {round}: {stop:?}");
        kept += i64::from(approval.held);
    }
    assert!(kept > 0, "never in time");
    world.verify().await;
}

async fn agreeing_against_the_cutoff(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for round in 0..60 {
        let now = CUTOFF + round;
        let mut admission = lab.admission(&format!("A-{round}"));
        admission.join = Some(lab.window(now));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        let approval = lab.asks(&order, now - 1).await;
        // The merchant, the closing and the hand-over, all at the same time.
        let agree = Write::Decide(Box::new(lab.deciding(&approval, true, now, now)));
        let close = Write::Close(stoppress::store::CloseDue { now: at(now), limit: 10 });
        let claim = Write::Claim(Box::new(lab.claiming(now, 4)));
        let (a, b) = if round % 2 == 0 { (&world.store, &other) } else { (&other, &world.store) };
        let (a, b) = (Arc::clone(a), Arc::clone(b));
        let agree = tokio::spawn(async move { one(&*a, agree).await.unwrap() });
        let rest = tokio::spawn(async move { b.apply(vec![close, claim]).await.unwrap() });
        let Written::Decided(decided) = agree.await.unwrap() else { panic!("not a decision") };
        rest.await.unwrap();
        let Decided::Approved(_, Some(stop)) = *decided else { panic!("{decided:?}") };
        assert_eq!(stop.state, StopState::Stopped, "round {round}");
        assert!(world.order(&order).await.transfer.is_none(), "round {round}");
    }
    world.verify().await;
}

async fn two_decisions_at_once_are_one(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for round in 0..40 {
        let order = lab.admit(&format!("A-{round}")).await;
        let approval = lab.asks(&order, 5).await;
        let yes = Write::Decide(Box::new(lab.deciding(&approval, true, 6, CUTOFF)));
        let no = Write::Decide(Box::new(lab.deciding(&approval, false, 6, CUTOFF)));
        let (a, b) = if round % 2 == 0 { (yes, no) } else { (no, yes) };
        let (one_store, two_store) = (Arc::clone(&world.store), Arc::clone(&other));
        let a = tokio::spawn(async move { one(&*one_store, a).await.unwrap() });
        let b = tokio::spawn(async move { one(&*two_store, b).await.unwrap() });
        let mut decided = 0;
        for task in [a, b] {
            let Written::Decided(outcome) = task.await.unwrap() else { panic!("not a decision") };
            decided += usize::from(!matches!(*outcome, Decided::Already(_)));
        }
        assert_eq!(decided, 1, "round {round}");
        let facts = world.order(&order).await;
        let agreed = facts.extras.approval.as_ref().unwrap().state == ApprovalState::Approved;
        let expected = if agreed { OrderState::Stopped } else { OrderState::InBatch };
        assert_eq!(facts.state(), expected, "round {round}");
    }
    world.verify().await;
}

async fn a_lab_with_an_open_approval_is_not_deleted(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let approval = lab.asks(&order, CUTOFF + 10).await;
    assert!(!approval.held);
    let delete = async |seconds: i64| {
        let set = SetLab { id: lab.id.clone(), to: LabSwitch::Delete, at: at(seconds), actor: ops() };
        let Written::Put(put) = world.write(Write::SetLab(Box::new(set))).await else {
            panic!("not a change")
        };
        put
    };
    assert_eq!(delete(CUTOFF + 11).await, Put::InUse(1), "the merchant may still agree");
    let declined = lab.deciding(&approval, false, CUTOFF + 12, 2 * CUTOFF);
    assert!(matches!(lab.decide(declined).await, Decided::Declined(..)));
    assert_eq!(delete(CUTOFF + 13).await, Put::Done(2));
    world.verify().await;
}
