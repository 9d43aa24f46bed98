//! Approvals of single lines: a customer names them, the order stays out of its window, the merchant decides on exactly
//! these, and the rest goes on.

use std::sync::Arc;

use serde_json::{Value, json};
use stoppress::domain::extras::{ApprovalFacts, ApprovalState, HoldKind};
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, Profile, TakesStops};
use stoppress::domain::order::OrderState;
use stoppress::domain::stop::{Evidence, StopFacts, StopState};
use stoppress::store::{
    ApprovalAsk, ApprovalOutcome, ChangeKind, Changed, Claimed, CloseDue, Decide, Decided, Overdue,
    StopOutcome, StopRefused, Write, Written, one,
};

use super::approvals::{DAY, outcome};
use super::lines::{admitted, exact, handed, ids, lines_of, three};
use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, at};

on_both!(
    asked_before_the_cutoff_these_lines_are_out_however_late_and_the_rest_goes_on,
    declined_all_of_it_joins_a_window_again,
    one_hold_keeps_it_out_until_the_last_is_decided,
    every_line_by_its_name_is_the_whole_order,
    the_whole_goes_before_its_lines,
    after_the_hand_over_a_lab_that_stops_lines_is_asked,
    where_lines_cannot_be_stopped_nothing_is_kept_out,
    what_cannot_be_stopped_any_more_is_not_agreed_to,
    a_window_that_closed_leaves_it_as_it_was,
    ops_are_called_about_each_once,
    downloads_keep_nothing_out,
    asking_about_a_line_against_the_claim,
    agreeing_against_a_stop_of_the_same_line,
    what_is_asked_already_is_agreed_to_whatever_the_lab_can_do_by_now,
);

impl Lab<'_> {
    fn line_approval(&self, order: &OrderId, items: &str, seconds: i64) -> ApprovalAsk {
        let mut ask = self.approval(order, seconds);
        ask.stop.items = ids(items);
        ask
    }

    async fn asks_about(&self, order: &OrderId, items: &str, seconds: i64) -> ApprovalFacts {
        match outcome(self.world, self.line_approval(order, items, seconds)).await {
            ApprovalOutcome::Asked(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    async fn agrees_to(&self, approval: &ApprovalFacts, seconds: i64, window: i64) -> StopFacts {
        match self.decide(self.deciding(approval, true, seconds, window)).await {
            Decided::Approved(facts, Some(stop)) => {
                assert_eq!((facts.state, &facts.items), (ApprovalState::Approved, &approval.items));
                *stop
            }
            other => panic!("{other:?}"),
        }
    }

    async fn declines(&self, approval: &ApprovalFacts, seconds: i64, window: i64) {
        let decided = self.decide(self.deciding(approval, false, seconds, window)).await;
        assert!(matches!(&decided, Decided::Declined(facts) if facts.id == approval.id), "{decided:?}");
    }
}

/// The lines of an order in what is handed over now, of those that are.
async fn sent(lab: &Lab<'_>, order: &OrderId, seconds: i64) -> Option<Vec<String>> {
    let mut found = None;
    for claimed in lab.claim(seconds).await {
        let Claimed::Send(out) = claimed else { continue };
        for (named, lines) in super::claim::named(&out).into_iter().zip(lines_of(&out)) {
            if named == order.to_string() {
                assert!(found.replace(lines).is_none(), "once");
            }
        }
    }
    found
}

/// Another order whose batch closes then, so that the window has closed for whoever comes later.
async fn closed_window(lab: &Lab<'_>, closes: i64) {
    let mut other = lab.admission("closes");
    other.join = Some(lab.window(closes));
    lab.admit_as(other).await;
    lab.world.close(closes).await;
}

async fn asked_before_the_cutoff_these_lines_are_out_however_late_and_the_rest_goes_on(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, other) = (admitted(&lab, "A-1").await, admitted(&lab, "A-2").await);
    let approval = lab.asks_about(&order, "2", CUTOFF - 1).await;
    assert_eq!((approval.held, &approval.items), (true, &Some(ids("2"))));
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.stop.is_some(), facts.lines_out.len()), (OrderState::OnHold, false, 0));
    assert_eq!(facts.extras.holds[0].kind, HoldKind::Approval);
    assert!(facts.extras.approval.is_none() && facts.extras.open_approval().is_none());
    assert_eq!(facts.extras.lines_awaiting(), ids("2"));
    // The same again is the same.
    let again = outcome(&world, lab.line_approval(&order, "2", CUTOFF - 1)).await;
    assert!(matches!(&again, ApprovalOutcome::Already(known) if *known == approval), "{again:?}");

    world.close(CUTOFF).await;
    assert_eq!(sent(&lab, &other, CUTOFF + 1).await, Some(ids("1 2 3")));
    assert!(world.order(&order).await.transfer.is_none(), "it stays out");
    let before = world.order(&order).await.version;
    let stop = lab.agrees_to(&approval, 3 * CUTOFF, 4 * CUTOFF).await;
    assert_eq!((stop.state, stop.evidence), (StopState::StoppedInPart, Some(Evidence::NeverHanded)));
    assert_eq!(stop.items, Some(ids("2")));
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::InBatch, 0));
    assert_eq!((&facts.lines_out, facts.stop.is_some()), (&ids("2"), false));
    assert!(facts.version > before && facts.extras.lines_awaiting().is_empty());
    assert_eq!(facts.extras.line_approvals[0].why.as_deref(), Some("so it is"));
    // Decided is decided, and a stop says how the line stands.
    let again = lab.decide(lab.deciding(&approval, false, 3 * CUTOFF + 1, 4 * CUTOFF)).await;
    assert!(matches!(again, Decided::Already(_)), "{again:?}");
    let told = outcome(&world, lab.line_approval(&order, "2", 3 * CUTOFF + 2)).await;
    assert!(
        matches!(&told, ApprovalOutcome::Stop(StopOutcome::Already(known)) if known.id == stop.id),
        "{told:?}"
    );
    world.close(4 * CUTOFF).await;
    assert_eq!(sent(&lab, &order, 4 * CUTOFF + 1).await, Some(ids("1 3")));
    let log = world.store.log(&[order.as_str()]).await.unwrap();
    for kind in ["approval.asked", "approval.approved"] {
        let told = log.iter().find(|event| event.kind == kind).unwrap_or_else(|| panic!("{kind}"));
        assert_eq!(told.detail["items"], json!(["2"]), "{kind}");
    }
    world.verify().await;
}

async fn declined_all_of_it_joins_a_window_again(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let approval = lab.asks_about(&order, "3 1", 5).await;
    lab.declines(&approval, CUTOFF + 20, 2 * CUTOFF).await;
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::InBatch, 0));
    assert_eq!((facts.lines_out.len(), facts.stop.is_some()), (0, false));
    // The merchant is asked once about a line; about another it may be asked.
    let again = outcome(&world, lab.line_approval(&order, "1", CUTOFF + 21)).await;
    assert!(
        matches!(&again, ApprovalOutcome::Already(known) if known.state == ApprovalState::Declined),
        "{again:?}"
    );
    let more = lab.asks_about(&order, "1 2", CUTOFF + 22).await;
    assert_eq!(more.items, Some(ids("2")), "what was declined is not asked again");
    lab.declines(&more, CUTOFF + 23, 2 * CUTOFF).await;
    world.close(2 * CUTOFF).await;
    assert_eq!(sent(&lab, &order, 2 * CUTOFF + 1).await, Some(ids("1 2 3")));
    world.verify().await;
}

async fn one_hold_keeps_it_out_until_the_last_is_decided(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let first = lab.asks_about(&order, "1", 5).await;
    let second = lab.asks_about(&order, "1 2", 6).await;
    assert_eq!(second.items, Some(ids("2")));
    assert_eq!(world.order(&order).await.extras.holds.len(), 1);
    let both = outcome(&world, lab.line_approval(&order, "1 2", 7)).await;
    assert!(matches!(&both, ApprovalOutcome::Already(known) if known.id == second.id), "{both:?}");
    let stop = lab.agrees_to(&first, 8, CUTOFF).await;
    assert_eq!((stop.state, stop.items), (StopState::StoppedInPart, Some(ids("1"))));
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::OnHold, 1));
    // What somebody else holds keeps it out after that.
    assert_eq!(lab.change(&order, ChangeKind::Hold).await, Changed::Done);
    lab.declines(&second, 12, CUTOFF).await;
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold);
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Done);
    world.close(CUTOFF).await;
    assert_eq!(sent(&lab, &order, CUTOFF + 1).await, Some(ids("2 3")));
    world.verify().await;
}

async fn every_line_by_its_name_is_the_whole_order(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let approval = lab.asks_about(&order, "1 2 3", 5).await;
    let stop = lab.agrees_to(&approval, CUTOFF + 5, 2 * CUTOFF).await;
    assert_eq!(
        (stop.state, stop.evidence, &stop.items),
        (StopState::Stopped, Some(Evidence::NeverHanded), &None)
    );
    assert_eq!(world.order(&order).await.state(), OrderState::Stopped);
    // So are all that are left.
    let order = admitted(&lab, "A-2").await;
    let approval = lab.asks_about(&order, "3", 5).await;
    let mut own = lab.asking(&order, 6);
    own.items = ids("1 2");
    assert!(matches!(lab.ask_as(own).await, StopOutcome::Asked(_)));
    let stop = lab.agrees_to(&approval, CUTOFF + 5, 2 * CUTOFF).await;
    assert_eq!((stop.state, &stop.items), (StopState::Stopped, &None));
    world.close(2 * CUTOFF).await;
    assert_eq!(sent(&lab, &order, 2 * CUTOFF + 1).await, None);
    // Reinstated, both can be asked about again.
    let mut again = lab.changing(&order, ChangeKind::Reinstate, 2 * CUTOFF + 10);
    again.join = Some(lab.window(3 * CUTOFF));
    assert_eq!(lab.change_as(again).await, Changed::Done);
    assert!(world.order(&order).await.extras.line_approvals.is_empty());
    lab.asks_about(&order, "3", 2 * CUTOFF + 20).await;
    world.verify().await;
}

async fn the_whole_goes_before_its_lines(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let line = lab.asks_about(&order, "2", 5).await;
    let whole = lab.asks(&order, 6).await;
    assert_eq!((whole.items.as_ref(), whole.held), (None, true));
    assert_eq!(world.order(&order).await.extras.holds.len(), 1);
    let told = outcome(&world, lab.line_approval(&order, "3", 7)).await;
    assert!(matches!(&told, ApprovalOutcome::Already(known) if known.id == whole.id), "{told:?}");
    // Declined, the line is to be decided still; agreed, nothing is.
    lab.declines(&whole, 8, CUTOFF).await;
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold);
    let told = outcome(&world, lab.approval(&order, 9)).await;
    assert!(matches!(&told, ApprovalOutcome::Already(known) if known.id == whole.id), "{told:?}");
    lab.agrees_to(&line, 10, CUTOFF).await;
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch);

    let order = admitted(&lab, "A-2").await;
    let line = lab.asks_about(&order, "2", 5).await;
    let whole = lab.asks(&order, 6).await;
    assert_eq!(lab.agrees(&whole, 7).await.state, StopState::Stopped);
    let facts = world.order(&order).await;
    assert_eq!((facts.state(), facts.extras.holds.len()), (OrderState::Stopped, 0));
    assert_eq!(facts.extras.line_approvals[0].state, ApprovalState::Overtaken);
    let decided = lab.decide(lab.deciding(&line, true, 8, CUTOFF)).await;
    assert!(matches!(decided, Decided::Already(_)), "{decided:?}");
    // And once there is a stop, that is what is told about its lines.
    let told = outcome(&world, lab.line_approval(&order, "1", 9)).await;
    assert!(matches!(&told, ApprovalOutcome::Stop(StopOutcome::Already(_))), "{told:?}");
    world.verify().await;
}

async fn after_the_hand_over_a_lab_that_stops_lines_is_asked(world: World) {
    let lab = world.lab("lumo", exact()).await;
    let order = handed(&world, &lab).await;
    let approval = lab.asks_about(&order, "3 1", CUTOFF + 10).await;
    assert!(!approval.held, "there is nothing to keep out");
    assert_eq!(world.order(&order).await.state(), OrderState::AtLab);
    let stop = lab.agrees_to(&approval, CUTOFF + 20, 2 * CUTOFF).await;
    assert_eq!((stop.state, &stop.items), (StopState::Pending, &Some(ids("1 3"))));
    let removed = Answer::Removed { reason: None, items: ids("1 3") };
    lab.answer(&stop, removed, CUTOFF + 21).await;
    assert_eq!(world.order(&order).await.lines_out, ids("1 3"));
    let other = lab.asks_about(&order, "2", CUTOFF + 22).await;
    lab.declines(&other, CUTOFF + 23, 2 * CUTOFF).await;
    assert_eq!(world.order(&order).await.state(), OrderState::AtLab);
    world.verify().await;
}

async fn where_lines_cannot_be_stopped_nothing_is_kept_out(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = handed(&world, &lab).await;
    let before = world.order(&order).await.version;
    for (items, why) in [("2", StopRefused::WholeOrderOnly), ("2 9", StopRefused::UnknownLines(ids("9")))] {
        let told = outcome(&world, lab.line_approval(&order, items, CUTOFF + 10)).await;
        assert!(
            matches!(&told, ApprovalOutcome::Stop(StopOutcome::Refused(said)) if *said == why),
            "{items}: {told:?}"
        );
    }
    assert_eq!(world.order(&order).await.version, before);
    // All of them are the whole order, which its lab stops.
    assert!(!lab.asks_about(&order, "1 2 3", CUTOFF + 11).await.held);
    // Where it is too late for anybody, there is nothing to decide.
    let kodak = world.lab("kodak", Profile { stops: TakesStops::FinalOnReceipt, ..able() }).await;
    let order = handed(&world, &kodak).await;
    let told = outcome(&world, kodak.line_approval(&order, "2", CUTOFF + 10)).await;
    assert!(
        matches!(&told, ApprovalOutcome::Stop(StopOutcome::Asked(stop))
            if stop.state == StopState::TooLate && stop.items == Some(ids("2"))),
        "{told:?}"
    );
    world.verify().await;
}

async fn what_cannot_be_stopped_any_more_is_not_agreed_to(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let approval = lab.asks_about(&order, "2", 5).await;
    assert_eq!(lab.change(&order, ChangeKind::Review).await, Changed::Done);
    let mut document: Value = serde_json::from_str(&three(&lab, "A-1").document).unwrap();
    document["items"].as_array_mut().unwrap().remove(1);
    let changed = lab.change(&order, ChangeKind::Document(document.to_string())).await;
    assert_eq!(changed, Changed::Done);
    let before = world.order(&order).await.version;
    let decided = lab.decide(lab.deciding(&approval, true, 20, CUTOFF)).await;
    let gone = StopRefused::UnknownLines(ids("2"));
    assert!(matches!(&decided, Decided::Refused(why) if *why == gone), "{decided:?}");
    let facts = world.order(&order).await;
    assert_eq!(
        (facts.version, facts.extras.open_line_approvals().count()),
        (before, 1),
        "nothing was changed"
    );
    lab.declines(&approval, 21, CUTOFF).await;

    let lab = world.lab("nova", exact()).await;
    let order = handed(&world, &lab).await;
    let approval = lab.asks_about(&order, "2", CUTOFF + 5).await;
    let lab = world.lab("nova", able()).await;
    let decided = lab.decide(lab.deciding(&approval, true, CUTOFF + 6, 2 * CUTOFF)).await;
    assert!(matches!(&decided, Decided::Refused(StopRefused::WholeOrderOnly)), "{decided:?}");
    assert_eq!(world.order(&order).await.extras.open_line_approvals().count(), 1);
    world.verify().await;
}

async fn a_window_that_closed_leaves_it_as_it_was(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let approval = lab.asks_about(&order, "2", 5).await;
    let before = world.order(&order).await.version;
    closed_window(&lab, CUTOFF + 10).await;
    for agrees in [true, false] {
        let decided = lab.decide(lab.deciding(&approval, agrees, CUTOFF + 20, CUTOFF + 10)).await;
        assert!(matches!(decided, Decided::WindowClosed), "{decided:?}");
    }
    let facts = world.order(&order).await;
    assert_eq!((facts.version, facts.lines_out.len()), (before, 0));
    assert_eq!((facts.extras.open_line_approvals().count(), facts.extras.holds.len()), (1, 1));
    let stop = lab.agrees_to(&approval, CUTOFF + 30, 2 * CUTOFF).await;
    assert_eq!(stop.state, StopState::StoppedInPart);
    world.verify().await;
}

async fn ops_are_called_about_each_once(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let (one, two) = (lab.asks_about(&order, "1", 5).await, lab.asks_about(&order, "2", 6).await);
    for seconds in [5 + DAY, 6 + DAY, 7 + DAY] {
        let item = Overdue { now: at(seconds), escalations: world.escalation_ids(3) };
        world.write(Write::Overdue(item)).await;
    }
    let mut subjects: Vec<_> = world.escalations().await.into_iter().map(|row| row.subject).collect();
    subjects.sort();
    let mut ids = [one.id.to_string(), two.id.to_string()];
    ids.sort();
    assert_eq!(subjects, ids);
    assert_eq!(world.order(&order).await.state(), OrderState::OnHold, "it stays out until it is decided");
    lab.agrees_to(&one, 8 + DAY, 9 + DAY).await;
    assert_eq!(world.calls().await.len(), 1);
    lab.declines(&two, 8 + DAY, 9 + DAY).await;
    assert_eq!(world.calls().await, Vec::<String>::new());
    world.verify().await;
}

async fn downloads_keep_nothing_out(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut admission = three(&lab, "A-1");
    let mut document: Value = serde_json::from_str(&admission.document).unwrap();
    document["items"][2]["kind"] = json!("download");
    admission.document = document.to_string();
    let order = admission.id.clone();
    lab.admit_as(admission).await;
    let approval = lab.asks_about(&order, "3", 5).await;
    assert!(!approval.held);
    assert_eq!(world.order(&order).await.state(), OrderState::InBatch, "it goes on");
    assert!(world.order(&order).await.extras.downloads.is_empty(), "nobody was asked");
    let decided = lab.decide(lab.deciding(&approval, true, 6, CUTOFF)).await;
    assert!(matches!(&decided, Decided::Approved(_, None)), "{decided:?}");
    let facts = world.order(&order).await;
    assert_eq!(
        (facts.state(), facts.lines_out.len(), facts.extras.downloads.len()),
        (OrderState::InBatch, 0, 1)
    );
    world.verify().await;
}

async fn asking_about_a_line_against_the_claim(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", exact()).await;
    let mut kept = 0;
    for round in 0..40 {
        let now = CUTOFF + round;
        let mut admission = three(&lab, &format!("A-{round}"));
        admission.join = Some(lab.window(now));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(now).await;
        let ask = Write::AskApproval(Box::new(lab.line_approval(&order, "2", now)));
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
        let stop = lab.agrees_to(&approval, now + 1, 2 * CUTOFF).await;
        assert_eq!(stop.state == StopState::StoppedInPart, approval.held, "round {round}: {stop:?}");
        kept += i64::from(approval.held);
    }
    assert!(kept > 0, "never in time");
    world.verify().await;
}

async fn agreeing_against_a_stop_of_the_same_line(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for round in 0..40 {
        let order = admitted(&lab, &format!("A-{round}")).await;
        let approval = lab.asks_about(&order, "2", 5).await;
        let yes: Decide = lab.deciding(&approval, true, 6, CUTOFF);
        let mut own = lab.asking(&order, 6);
        own.items = ids("2");
        let (a, b) = (Write::Decide(Box::new(yes)), Write::Stop(Box::new(own)));
        let (a, b) = if round % 2 == 0 { (a, b) } else { (b, a) };
        let (near, far) = (Arc::clone(&world.store), Arc::clone(&other));
        let a = tokio::spawn(async move { one(&*near, a).await.unwrap() });
        let b = tokio::spawn(async move { one(&*far, b).await.unwrap() });
        for task in [a, b] {
            match task.await.unwrap() {
                Written::Decided(decided) => {
                    let Decided::Approved(_, Some(stop)) = *decided else { panic!("{decided:?}") };
                    assert_eq!(stop.state, StopState::StoppedInPart, "round {round}");
                }
                Written::Stop(outcome) => {
                    assert!(matches!(*outcome, StopOutcome::Asked(_) | StopOutcome::Already(_)));
                }
                other => panic!("{other:?}"),
            }
        }
        let facts = world.order(&order).await;
        assert_eq!((facts.state(), facts.lines_out), (OrderState::InBatch, ids("2")), "round {round}");
        assert_eq!(world.store.line_stops(&order).await.unwrap().len(), 1, "round {round}: one stop");
    }
    let close = Write::Close(CloseDue { now: at(CUTOFF), limit: 10 });
    one(&*world.store, close).await.unwrap();
    world.verify().await;
}

async fn what_is_asked_already_is_agreed_to_whatever_the_lab_can_do_by_now(world: World) {
    let lab = world.lab("lumo", exact()).await;
    let order = handed(&world, &lab).await;
    let approval = lab.asks_about(&order, "2", CUTOFF + 10).await;
    let stop = super::lines::ask(&lab, &order, "2", CUTOFF + 11).await;
    assert_eq!(stop.state, StopState::Pending);
    // Since then the lab stops whole orders only: it has been asked about the line all the same.
    let lab = world.lab("lumo", able()).await;
    assert_eq!(lab.agrees_to(&approval, CUTOFF + 20, 2 * CUTOFF).await.id, stop.id);
    world.verify().await;
}
