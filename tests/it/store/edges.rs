//! The verbs at their edges: what a mutation run changed, and no test of the verbs noticed.

use serde_json::json;
use stoppress::domain::address::AddressState;
use stoppress::domain::batch::TransferPhase;
use stoppress::domain::event::Event;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Profile, TakesStops};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{AskedBy, StopState};
use stoppress::store::{
    ApprovalOutcome, ChangeKind, Changed, Claimed, EscalationFilter, LabSwitch, OrderFilter, Put, Reported,
    Scope, SetLab, StopAsk, StopFilter, StopOutcome, Write, Written, one,
};

use super::approvals::outcome;
use super::{addresses, downloads, on_both};
use crate::common::world::{
    ANSWER, CUTOFF, Lab, World, able, accepted, at, deaf, ops, removed, unclear, unreachable, will_print,
};

on_both!(
    each_change_has_its_word_and_names_the_window,
    a_change_counts_as_one,
    what_was_so_before_is_told_from_what_is_not,
    an_agreed_stop_says_what_the_customer_said,
    about_downloads_beside_what_is_too_late_the_merchant_decides,
    a_word_about_a_decided_address_says_nothing_new,
    two_words_about_an_address_are_told_apart,
    a_state_is_found_behind_whole_pages_of_others,
    a_lab_sees_what_is_urgent_or_decided,
    rows_that_were_locked_and_are_not_there_commit_nothing,
    whoever_asked_is_who_asked,
    a_report_of_the_instant_of_the_decision_speaks_against_it,
    a_stop_that_shows_where_an_order_is_says_so_in_the_log,
    a_lab_is_paused_anew_for_another_reason,
);

async fn unpaid(lab: &Lab<'_>, reference: &str) -> OrderId {
    let mut admission = lab.admission(reference);
    (admission.paid, admission.join) = (false, None);
    let id = admission.id.clone();
    lab.admit_as(admission).await;
    id
}

async fn last(world: &World, order: &OrderId) -> Event {
    world.store.log(&[order.as_str()]).await.unwrap().pop().unwrap()
}

/// From the log it is read until when a verdict of that time said yes: so each entry says in which window the order was.
async fn each_change_has_its_word_and_names_the_window(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = unpaid(&lab, "A-1").await;
    let text = r#"{"items":[{"id":"9"}]}"#.to_owned();
    for (kind, word, joins) in [
        (ChangeKind::Pay, "order.paid", true),
        (ChangeKind::Hold, "order.held", false),
        (ChangeKind::Release, "order.released", true),
        (ChangeKind::Review, "order.in_review", false),
        (ChangeKind::Release, "order.released", true),
        (ChangeKind::Document(text), "order.changed", true),
    ] {
        let mut change = lab.changing(&order, kind, 10);
        change.join.as_mut().unwrap().until = Some(at(CUTOFF - 60));
        assert_eq!(lab.change_as(change).await, Changed::Done, "{word}");
        let batch = world.order(&order).await.batch.map(|batch| batch.id);
        assert_eq!(batch.is_some(), joins, "{word}");
        let entry = last(&world, &order).await;
        assert_eq!(entry.kind, word);
        assert_eq!(entry.detail["batch"], json!(batch), "{word}");
        assert_eq!(entry.detail.get("until"), joins.then(|| json!(at(CUTOFF - 60))).as_ref(), "{word}");
    }
    lab.stop(&order, 20).await;
    assert_eq!(lab.change(&order, ChangeKind::Reinstate).await, Changed::Done);
    assert_eq!(last(&world, &order).await.kind, "order.reinstated");
}

/// The version that everybody sees is a sum; a change counts as one, whatever its parts are.
async fn a_change_counts_as_one(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let mut nth = 0;
    let mut one_more = async |what: &str| {
        nth += 1;
        let before = world.order(&order).await.version;
        let text = format!(r#"{{"items":[{{"id":"{nth}"}}]}}"#);
        assert_eq!(lab.change(&order, ChangeKind::Document(text)).await, Changed::Done, "{what}");
        assert_eq!(world.order(&order).await.version, before + 1, "{what}");
    };
    one_more("in an open window").await;
    world.close(CUTOFF).await;
    one_more("in a closed window").await;
    let out = lab.send(CUTOFF + 1).await;
    lab.settle(&out, unreachable(), CUTOFF + 2).await.unwrap();
    assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::Closed);
    one_more("fallen back").await;
    // Proven to be with nobody, it can be changed, but not once it is stopped.
    assert_eq!(lab.stop(&order, CUTOFF + 3).await.state, StopState::Stopped);
    let text = r#"{"items":[{"id":"9"}]}"#.to_owned();
    let changed = lab.change(&order, ChangeKind::Document(text)).await;
    assert_eq!(changed, Changed::NotAllowed(OrderState::Stopped));
    world.verify().await;
}

async fn what_was_so_before_is_told_from_what_is_not(world: World) {
    let lab = world.lab("lumo", able()).await;
    // Held and unpaid: released, it still waits, for the money alone.
    let order = unpaid(&lab, "A-1").await;
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::Done);
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Done);
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::AwaitingPayment, 0));
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Unchanged);
    // A stopped order is not one that was released before.
    let stopped = lab.admit("A-2").await;
    lab.stop(&stopped, 5).await;
    let released = lab.change(&stopped, ChangeKind::Release).await;
    assert_eq!(released, Changed::NotAllowed(OrderState::Stopped));
    // What has its window, or a hold, or no money yet, or was stopped, joins none.
    let (joined, held) = (lab.admit("A-3").await, lab.admit("A-4").await);
    lab.change(&held, ChangeKind::Hold).await;
    for order in [&joined, &held, &order, &stopped] {
        let before = world.order(order).await;
        let changed = lab.change(order, ChangeKind::Rejoin).await;
        assert_eq!(changed, Changed::Unchanged, "{:?}", before.state());
        let after = world.order(order).await;
        assert_eq!((after.state(), after.version), (before.state(), before.version));
    }
    // The same hold again is the same; with another reason, or by somebody else, it is one more.
    let again = |scope: Option<Scope>, reason: Option<&str>| {
        let mut change = lab.changing(&held, ChangeKind::Hold, 11);
        change.reason = reason.map(str::to_owned);
        change.scope = scope.unwrap_or(change.scope);
        change
    };
    for (change, holds) in
        [(again(None, None), 1), (again(None, Some("why")), 2), (again(Some(Scope::Ops), Some("why")), 3)]
    {
        let before = world.order(&held).await.extras.holds.len();
        let changed = lab.change_as(change).await;
        assert_eq!(changed, if before == holds { Changed::Unchanged } else { Changed::Done });
        assert_eq!(world.order(&held).await.extras.holds.len(), holds);
    }
    // Nor is a hold a review.
    assert_eq!(lab.change(&held, ChangeKind::Review).await, Changed::Done);
    assert_eq!(world.order(&held).await.state(), OrderState::InReview);
}

async fn an_agreed_stop_says_what_the_customer_said(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let mut ask = lab.approval(&order, 5);
    "wrong_photo".clone_into(&mut ask.stop.reason);
    ask.stop.comment = Some("the other dog".to_owned());
    ask.stop.requested_by = Some("customer 17".to_owned());
    let asked = outcome(&world, ask).await;
    let ApprovalOutcome::Asked(approval) = asked else { panic!("{asked:?}") };
    let stop = lab.agrees(&approval, 6).await;
    assert_eq!(stop.reason, "wrong_photo");
    assert_eq!(stop.comment.as_deref(), Some("the other dog"));
    assert_eq!(stop.requested_by.as_deref(), Some("customer 17"));
}

async fn about_downloads_beside_what_is_too_late_the_merchant_decides(world: World) {
    let last = Profile { stops: TakesStops::FinalOnReceipt, ..able() };
    let lab = world.lab("lumo", last).await;
    downloads::platform(&world, true).await;
    let order = downloads::admitted(&lab, "A-1").await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    let asks = |items: &str| {
        let mut ask = lab.approval(&order, CUTOFF + 10);
        ask.stop.items = downloads::ids(items);
        ask
    };
    let asked = outcome(&world, asks("1 2")).await;
    let ApprovalOutcome::Asked(approval) = &asked else { panic!("{asked:?}") };
    assert_eq!((approval.held, &approval.items), (false, &Some(downloads::ids("1 2"))));
    assert_eq!(downloads::stands(&world, &order).await, [], "not before the merchant agrees");
    // About what is printed alone there is nothing left to decide.
    let told = outcome(&world, asks("3")).await;
    let late = |stop: &StopOutcome| matches!(stop, StopOutcome::Asked(it) if it.state == StopState::TooLate);
    assert!(matches!(&told, ApprovalOutcome::Stop(stop) if late(stop)), "{told:?}");
}

async fn a_word_about_a_decided_address_says_nothing_new(world: World) {
    let (lab, order) = addresses::handed_at(&world, "lumo").await;
    addresses::ask(&lab, &order, addresses::T).await;
    let (facts, _) = addresses::sent(&lab, addresses::T + 1).await;
    let asked = addresses::settle(&lab, &facts, unclear(), addresses::T + 2).await;
    assert_eq!((asked.state, asked.answer.as_deref()), (AddressState::Asked, Some("timed out")));
    assert_eq!(last(&world, &order).await.kind, "address.answer");
    let taken = addresses::settle(&lab, &facts, accepted(), addresses::T + 3).await;
    let entry = last(&world, &order).await;
    assert_eq!((taken.state, entry.kind.as_str()), (AddressState::Taken, "address.taken"));
    for (nth, answer) in [unclear(), unreachable(), removed(), accepted()].into_iter().enumerate() {
        let seconds = addresses::T + 4 + i64::try_from(nth).unwrap();
        let after = addresses::settle(&lab, &facts, answer, seconds).await;
        assert_eq!((after.state, &after.answer), (AddressState::Taken, &taken.answer));
        assert_eq!(last(&world, &order).await, entry, "the log goes on by what is news only");
    }
    // A word that comes after the order was stopped is written down once.
    let (lab, order) = addresses::handed_at(&world, "nova").await;
    addresses::ask(&lab, &order, addresses::T).await;
    let (facts, _) = addresses::sent(&lab, addresses::T + 1).await;
    let refused = addresses::settle(&lab, &facts, unreachable(), addresses::T + 2).await;
    assert_eq!(refused.answer.as_deref(), Some("connection refused"));
    let stop = lab.stop(&order, addresses::T + 3).await;
    lab.answer(&stop, removed(), addresses::T + 4).await;
    addresses::settle(&lab, &facts, accepted(), addresses::T + 5).await;
    let entry = last(&world, &order).await;
    assert_eq!(entry.kind, "address.late_answer");
    let after = addresses::settle(&lab, &facts, accepted(), addresses::T + 6).await;
    assert_eq!(after.contradicted_at, Some(at(addresses::T + 5)));
    assert_eq!(last(&world, &order).await, entry);
    world.verify().await;
}

/// Whoever is called is told what the lab said last, not the opposite.
async fn two_words_about_an_address_are_told_apart(world: World) {
    let first = [
        (accepted(), addresses::too_late(Stage::Received), "did not take"),
        (addresses::too_late(Stage::Received), accepted(), "it took"),
    ];
    for (nth, (one, other, cause)) in first.into_iter().enumerate() {
        let (lab, order) = addresses::handed_at(&world, &format!("lab-{nth}")).await;
        addresses::ask(&lab, &order, addresses::T).await;
        let (facts, _) = addresses::sent(&lab, addresses::T + 1).await;
        addresses::settle(&lab, &facts, one, addresses::T + 2).await;
        addresses::settle(&lab, &facts, other, addresses::T + 3).await;
        let call = world.escalations().await.into_iter().find(|call| call.order.as_ref() == Some(&order));
        let call = call.expect("a call");
        assert!(call.cause.contains(cause), "{}", call.cause);
        assert_eq!(call.due_at, at(addresses::T + 3 + ANSWER));
    }
}

/// A page of a list is filled from behind others, however many of these there are.
async fn a_state_is_found_behind_whole_pages_of_others(world: World) {
    let lab = world.lab("lumo", able()).await;
    let stopped = lab.admit("A-0").await;
    lab.stop(&stopped, 5).await;
    for nth in 1..=200 {
        lab.admit(&format!("A-{nth}")).await;
    }
    for state in [OrderState::Stopped, OrderState::Shipped] {
        let filter = OrderFilter { state: Some(state), limit: 3, ..OrderFilter::default() };
        let found = world.store.list_orders(&Scope::Ops, &filter).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|order| order.id).collect();
        assert_eq!(found, if state == OrderState::Stopped { vec![stopped.clone()] } else { vec![] });
    }
}

async fn a_lab_sees_what_is_urgent_or_decided(world: World) {
    let lab = world.lab("lumo", able()).await;
    let orders = [lab.admit("A-1").await, lab.admit("A-2").await, lab.admit("A-3").await];
    world.close(CUTOFF).await;
    for claimed in lab.claim(CUTOFF + 1).await {
        let Claimed::Send(out) = claimed else { panic!("{claimed:?}") };
        lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    }
    // The later it is asked, the sooner it is due.
    let mut stops = Vec::new();
    for (nth, order) in (0..).zip(&orders) {
        let due = at(CUTOFF + 1_000 - 100 * nth);
        let mut ask = lab.asking(order, CUTOFF + 10 + nth);
        ask.due =
            Some(stoppress::domain::hours::AnswerDue { at: due, local: "there".into(), rule: "by".into() });
        let asked = lab.ask_as(ask).await;
        let StopOutcome::Asked(stop) = asked else { panic!("{asked:?}") };
        stops.push(stop);
    }
    let own = Scope::Lab(lab.id.clone());
    let list = async |scope: &Scope, filter: StopFilter| {
        let found = world.store.stops(scope, &StopFilter { limit: 10, ..filter }).await.unwrap();
        found.into_iter().map(|row| row.stop.id).collect::<Vec<_>>()
    };
    let ids = |which: &[usize]| which.iter().map(|nth| stops[*nth].id.clone()).collect::<Vec<_>>();
    let urgent = || StopFilter { urgent_after: Some((jiff::Timestamp::MIN, None)), ..StopFilter::default() };
    for scope in [&own, &Scope::Ops] {
        assert_eq!(list(scope, urgent()).await, ids(&[2, 1, 0]), "{scope:?}");
        assert_eq!(list(scope, StopFilter::default()).await, ids(&[2, 1, 0]));
        let after = Some((stops[1].deadline_at, Some(stops[1].id.clone())));
        let rest = StopFilter { urgent_after: after, ..StopFilter::default() };
        assert_eq!(list(scope, rest).await, ids(&[0]), "{scope:?}");
        let one = StopFilter { id: Some(stops[0].id.clone()), ..urgent() };
        assert_eq!(list(scope, one).await, ids(&[0]), "by its name it is one");
    }
    // The last decision comes first, and what is open is none.
    for (nth, seconds) in [(2, 20), (0, 21)] {
        lab.answer(&stops[nth], will_print(), CUTOFF + seconds).await;
    }
    let decided = StopFilter { decided: true, ..StopFilter::default() };
    assert_eq!(list(&own, decided).await, ids(&[0, 2]));
    assert_eq!(list(&own, urgent()).await, ids(&[1]));

    // Calls that ended are listed unless only open ones are wanted.
    let silent = world.lab("nova", deaf()).await;
    let (order, _) = silent.handed("B-1").await;
    silent.stop(&order, CUTOFF + 10).await;
    let calls = async |open: Option<bool>| {
        let filter = EscalationFilter { open, limit: 10, ..EscalationFilter::default() };
        world.store.escalations(&Scope::Ops, &filter).await.unwrap().len()
    };
    let all = calls(None).await;
    assert_eq!((calls(Some(true)).await, calls(Some(false)).await), (all, 0));
    assert!(all > 0);
}

/// A row that somebody else changed under a lock cannot be: should it be all the same, nothing is committed.
async fn rows_that_were_locked_and_are_not_there_commit_nothing(world: World) {
    if world.is_postgres() {
        return; // What counts the rows is one for both.
    }
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let now = async || (world.order(&order).await.version, last(&world, &order).await);
    let before = now().await;
    world.run("create trigger gone before update on standings begin select raise(ignore); end").await;
    let hold = lab.changing(&order, ChangeKind::Hold, 10);
    let written = one(&*world.store, Write::Change(Box::new(hold))).await;
    assert!(written.is_err(), "{written:?}");
    world.run("drop trigger gone").await;
    assert_eq!(now().await, before);
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::Done);
    world.verify().await;
}

async fn whoever_asked_is_who_asked(world: World) {
    let lab = world.lab("lumo", able()).await;
    for by in [AskedBy::Customer, AskedBy::Merchant, AskedBy::Support, AskedBy::System] {
        let order = lab.admit(by.word()).await;
        lab.ask_as(StopAsk { asked_by: by, ..lab.asking(&order, 5) }).await;
        assert_eq!(world.stop_of(&order).await.asked_by, by);
    }
}

/// What was made before the lab took it out, and told late, does not. That it is made since, does.
async fn a_report_of_the_instant_of_the_decision_speaks_against_it(world: World) {
    let decided = CUTOFF + 11;
    for (before, expected) in [(1, Reported::Done), (0, Reported::ShippedAnyway)] {
        let lab = world.lab(&format!("lab-{before}"), able()).await;
        let (order, _) = lab.handed(&format!("A-{before}")).await;
        let stop = lab.stop(&order, CUTOFF + 10).await;
        lab.answer(&stop, removed(), decided).await;
        let mut report = lab.reporting(&order, Stage::InProduction, decided + 20);
        report.reported_at = at(decided) - jiff::SignedDuration::from_micros(before);
        assert_eq!(lab.report_as(report).await, expected, "{before} µs before");
        assert_eq!(world.order(&order).await.state(), OrderState::Stopped, "what was told stays told");
        assert_eq!(world.calls().await.len(), usize::from(before == 0));
    }
}

async fn a_stop_that_shows_where_an_order_is_says_so_in_the_log(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.lost("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    lab.answer(&stop, will_print(), CUTOFF + 11).await;
    assert_eq!(world.transfer_of(&order).await.phase, TransferPhase::AtLab);
    let log = world.store.log(&[out.transfer.id.as_str()]).await.unwrap();
    let entry = log.iter().find(|event| event.kind == "transfer.at_lab").expect("it is at the lab");
    assert_eq!(entry.detail["answer"], serde_json::to_value(will_print()).unwrap(), "by which word");
}

async fn a_lab_is_paused_anew_for_another_reason(world: World) {
    let lab = world.lab("lumo", able()).await;
    let switch = async |to: LabSwitch, seconds: i64| {
        let item = SetLab { id: lab.id.clone(), to, at: at(seconds), actor: ops() };
        let Written::Put(put) = world.write(Write::SetLab(Box::new(item))).await else { panic!("not put") };
        matches!(put, Put::Done(_))
    };
    let pause = |why: &str| LabSwitch::Pause(why.to_owned());
    for (to, done) in [
        (LabSwitch::Resume, false),
        (pause("a strike"), true),
        (pause("a strike"), false),
        (pause("a flood"), true),
        (LabSwitch::Resume, true),
        (pause("a flood"), true),
    ] {
        assert_eq!(switch(to.clone(), 5).await, done, "{to:?}");
    }
    world.lab("lumo", deaf()).await;
    let log = world.store.log(&["lumo"]).await.unwrap();
    let kinds: Vec<&str> = log.iter().map(|event| event.kind.as_str()).collect();
    let told = ["lab.created", "lab.paused", "lab.paused", "lab.resumed", "lab.paused", "lab.changed"];
    assert_eq!(kinds, told);
}
