//! What the verbs do with their work, at its edges: windows of one set, lines, calls, endpoints, replacements. A mutation
//! run changed it, and no test of the verbs noticed.

use std::sync::Arc;

use stoppress::domain::batch::{Joining, TransferPhase};
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, Profile, TakesStops};
use stoppress::domain::order::Stage;
use stoppress::domain::stop::{StopFacts, StopState};
use stoppress::store::{
    Admission, Admitted, ChangeKind, Changed, Replaced, Reported, Source, StopAsk, StopDue, StopOutcome,
    Write, Written,
};

use super::lines::{admitted, exact, handed, ids};
use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, HORIZON, Lab, World, able, accepted, at, deaf, refused, unclear, unreachable,
};

on_both!(
    orders_of_one_set_join_each_its_own_window,
    a_window_says_that_it_promises_nothing_only_where_it_does,
    the_line_of_an_order_of_one_is_the_order,
    the_same_line_again_is_its_own_stop,
    what_is_too_late_for_one_line_says_nothing_of_another,
    whoever_is_called_about_a_stop_is_told_why,
    who_has_its_window_needs_none_any_more,
    a_look_up_that_brings_nothing_moves_nothing,
    an_older_attempt_says_nothing_about_when_to_go_on,
    a_report_on_what_was_never_handed_over_has_its_stage_in_the_log,
);

/// Two windows that nobody was in before, opened in one transaction.
async fn orders_of_one_set_join_each_its_own_window(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    let later = Admission { join: Some(lumo.window(2 * CUTOFF)), ..lumo.admission("A-2") };
    let all = [lumo.admission("A-1"), later, nova.admission("B-1"), lumo.admission("A-3")];
    let wanted = all.clone().map(|one| (one.lab, one.join.unwrap().closes_at));
    let writes = all.into_iter().map(|one| Write::Admit(Arc::new(one))).collect();
    let mut joined = Vec::new();
    for written in world.store.apply(writes).await.unwrap() {
        let Written::Admitted(Admitted::New { batch: Some(batch) }) = written else { panic!("{written:?}") };
        joined.push((batch.lab.clone(), batch.closes_at));
    }
    assert_eq!(joined, wanted);
    assert_eq!(world.store.open_batches(&lumo.id).await.unwrap().len(), 2);
    world.verify().await;
}

async fn a_window_says_that_it_promises_nothing_only_where_it_does(world: World) {
    let lab = world.lab("lumo", able()).await;
    for promised in [true, false] {
        let closes = if promised { CUTOFF } else { 2 * CUTOFF };
        let join = Some(Joining { promised, ..lab.window(closes) });
        let admission = Admission { join, ..lab.admission(&closes.to_string()) };
        let Admitted::New { batch: Some(batch) } = lab.admit_as(admission).await else { panic!("not new") };
        let opened = world.store.log(&[batch.id.as_str()]).await.unwrap().remove(0);
        assert_eq!(opened.kind, "batch.opened");
        let said = opened.detail.get("promised").map(ToString::to_string);
        assert_eq!(said, (!promised).then(|| "false".to_owned()));
    }
}

async fn asked(lab: &Lab<'_>, order: &OrderId, items: &str, seconds: i64) -> StopFacts {
    match lab.ask_as(StopAsk { items: ids(items), ..lab.asking(order, seconds) }).await {
        StopOutcome::Asked(stop) => stop,
        other => panic!("{other:?}"),
    }
}

async fn again(lab: &Lab<'_>, order: &OrderId, items: &str, seconds: i64) -> StopFacts {
    match lab.ask_as(StopAsk { items: ids(items), ..lab.asking(order, seconds) }).await {
        StopOutcome::Already(stop) => stop,
        other => panic!("{other:?}"),
    }
}

async fn the_line_of_an_order_of_one_is_the_order(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let stop = asked(&lab, &order, "1", 5).await;
    assert_eq!((stop.state, stop.items), (StopState::Stopped, None));
    assert_eq!(world.stop_of(&order).await.state, StopState::Stopped);
}

async fn the_same_line_again_is_its_own_stop(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let (one, two) = (asked(&lab, &order, "1", 5).await, asked(&lab, &order, "2", 6).await);
    let terms = one.terms.as_ref().expect("what it brings is kept with it");
    assert_eq!(terms.exempt, ids("1"), "the first line is made for one customer");
    assert_eq!(again(&lab, &order, "1", 7).await.id, one.id);
    assert_eq!(again(&lab, &order, "2", 8).await.id, two.id);
    assert_eq!(world.order(&order).await.lines_out, ids("1 2"));
}

async fn what_is_too_late_for_one_line_says_nothing_of_another(world: World) {
    let lab = world.lab("lumo", Profile { stops: TakesStops::FinalOnReceipt, ..exact() }).await;
    let order = handed(&world, &lab).await;
    let one = asked(&lab, &order, "1", CUTOFF + 10).await;
    let two = asked(&lab, &order, "2", CUTOFF + 11).await;
    for (stop, items) in [(&one, "1"), (&two, "2")] {
        assert_eq!((stop.state, &stop.items), (StopState::TooLate, &Some(ids(items))));
        assert_eq!(again(&lab, &order, items, CUTOFF + 12).await.id, stop.id);
    }
}

/// Somebody is called in the middle of the night: the cause is the one that there is.
async fn whoever_is_called_about_a_stop_is_told_why(world: World) {
    let silent = world.lab("silent", able()).await;
    let (order, _) = silent.handed("A-1").await;
    silent.stop(&order, CUTOFF + 10).await;
    let due = silent.claim_stops(CUTOFF + 10 + ANSWER).await;
    assert!(matches!(&due[..], [StopDue::Decided(it)] if it.state == StopState::WithAPerson), "{due:?}");
    // Asked while its order was on the wire, to a lab that no machine can ask.
    let deaf = world.lab("deaf", deaf()).await;
    let (other, out) = deaf.sent("B-1").await;
    deaf.stop(&other, CUTOFF + 10).await;
    deaf.settle(&out, accepted(), CUTOFF + 11).await.unwrap();
    deaf.claim_stops(CUTOFF + 12).await;
    let calls = world.escalations().await;
    for (order, words) in [(&order, "before its deadline"), (&other, "no channel for stops")] {
        let call = calls.iter().find(|call| call.order.as_ref() == Some(order)).expect("a call");
        assert!(call.cause.contains(words), "{}", call.cause);
    }
}

/// What was released to take another's place is looked for until it has a window, or needs none.
async fn who_has_its_window_needs_none_any_more(world: World) {
    let lab = world.lab("lumo", able()).await;
    let released = async |reference: &str| {
        let old = lab.admit(&format!("OLD-{reference}")).await;
        lab.stop(&old, 4).await;
        let mut item = lab.replacing(&old, reference, 5);
        item.admission = Arc::new(Admission { join: None, ..Admission::clone(&item.admission) });
        item.join = None;
        match lab.replace_as(item).await {
            Replaced::Done(new, true) => new,
            other => panic!("{other:?}"),
        }
    };
    let listed = async || {
        let page = world.store.to_join(None, 10).await.unwrap();
        page.into_iter().map(|(order, _)| order).collect::<Vec<_>>()
    };
    let (one, two) = (released("A-1").await, released("A-2").await);
    assert_eq!(listed().await, [one.clone(), two.clone()]);
    // It is held: whoever holds it releases it into a window.
    assert_eq!(lab.change(&one, ChangeKind::Hold).await, Changed::Done);
    assert_eq!(lab.change(&one, ChangeKind::Hold).await, Changed::Unchanged);
    assert_eq!(listed().await, [one.clone(), two.clone()], "to say so twice is not to look for a window");
    assert_eq!(lab.change(&one, ChangeKind::Rejoin).await, Changed::Unchanged);
    assert_eq!(listed().await, std::slice::from_ref(&two));
    assert_eq!(lab.change(&two, ChangeKind::Rejoin).await, Changed::Done);
    assert_eq!(listed().await, []);
    // Stopped before it had one: there is none to find.
    let three = released("A-3").await;
    assert_eq!(lab.stop(&three, 6).await.state, StopState::Stopped);
    assert_eq!(lab.change(&three, ChangeKind::Rejoin).await, Changed::Unchanged);
}

/// The lab refuses the question, not the order: what it was sent may be there all the same.
async fn a_look_up_that_brings_nothing_moves_nothing(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.lost("A-1").await;
    for (nth, answer) in (0..).zip([refused(), unreachable(), unclear(), Answer::AnswerLater]) {
        let seconds = CUTOFF + 20 + nth;
        let moved = lab.learn(&out.transfer, Source::LookUp(at(seconds)), answer.clone(), seconds).await;
        assert!(moved.is_none(), "{answer:?}: {moved:?}");
        let now = world.transfer_of(&order).await;
        let stands = (now.phase, now.fence, now.unresolved, now.next_at);
        assert_eq!(stands, (TransferPhase::Unknown, 1, 1, at(seconds + 5)), "{answer:?}");
    }
    world.verify().await;
}

async fn an_older_attempt_says_nothing_about_when_to_go_on(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, first) = lab.lost("A-1").await;
    let proven = CUTOFF + HORIZON + 10;
    lab.learn(&first.transfer, Source::LookUp(at(proven)), Answer::NotFound, proven).await.unwrap();
    let second = lab.send(proven + 60).await;
    lab.settle(&second, unclear(), proven + 61).await.unwrap();
    let before = world.transfer_of(&order).await;
    assert_eq!((before.phase, before.next_at), (TransferPhase::Unknown, at(proven + 66)));
    assert!(before.fence > first.transfer.fence);
    for source in [Source::Upload, Source::LookUp(at(proven + 62))] {
        for answer in [unclear(), refused(), Answer::AnswerLater] {
            assert!(lab.learn(&first.transfer, source, answer, proven + 70).await.is_none());
            assert_eq!(world.transfer_of(&order).await.next_at, before.next_at);
        }
    }
    // A look-up finds the orders, whichever attempt brought them: that is no word against what was taken to be absent.
    lab.learn(&first.transfer, Source::LookUp(at(proven + 71)), accepted(), proven + 72).await.unwrap();
    assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::AtLab);
    assert_eq!(world.calls().await, Vec::<String>::new());
    world.verify().await;
}

async fn a_report_on_what_was_never_handed_over_has_its_stage_in_the_log(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    assert_eq!(lab.report(&order, Stage::Received, 5).await, Reported::NotHanded);
    assert_eq!(world.store.log(&[order.as_str()]).await.unwrap().pop().unwrap().kind, "order.received");
}
