//! Where a lab has an order: who decides, whom to turn to, and what of its lines.

use jiff::SignedDuration;

use super::*;
use crate::domain::lines::LineReason;

/// Once the lab has it: what it takes, who answers, whether it is made, whether the lab makes everything at once.
#[test]
fn where_a_lab_has_an_order_its_rules_decide() {
    use CanStop::{AskLab, AskPerson, No};
    use Reason::{AtLab, ImmediateProduction, InProduction, LabNeverTakesStops};
    use TakesStops::{FinalOnReceipt, No as Never, Yes};
    let handed =
        |stage| OrderFacts { stage, transfer: Some(transfer(TransferPhase::AtLab)), ..orders().remove(0) };
    let (there, made) = (handed(Stage::Received), handed(Stage::InProduction));
    let by_person = |stops| {
        let mut lab = lab(stops, StopsVia::Lab, false);
        lab.profile.channel = Some(StopChannel::Person);
        lab
    };
    let hidden = |stops| lab(stops, StopsVia::GatewayOnly, true);
    let no = |reason| (No, reason, DecidedBy::Nobody);
    let person = |reason| (AskPerson, reason, DecidedBy::Person);
    for (order, lab, expected) in [
        (&there, lab(Yes, StopsVia::Lab, false), (AskLab, AtLab, DecidedBy::Lab)),
        (&made, lab(Yes, StopsVia::Lab, false), (AskLab, InProduction, DecidedBy::Lab)),
        (&there, by_person(Yes), person(AtLab)),
        (&made, by_person(Yes), person(InProduction)),
        (&there, by_person(Never), person(AtLab)),
        (&made, by_person(Never), no(InProduction)),
        (&there, lab(Yes, StopsVia::Contact, false), person(AtLab)),
        (&there, lab(Never, StopsVia::Lab, false), person(AtLab)),
        (&made, lab(Never, StopsVia::Lab, false), no(InProduction)),
        // What is made at once can be asked of a person only, and of nobody where no contact is shown.
        (&there, lab(Yes, StopsVia::Lab, true), person(ImmediateProduction)),
        (&there, lab(Never, StopsVia::Lab, true), person(ImmediateProduction)),
        (&there, hidden(Yes), no(ImmediateProduction)),
        (&there, hidden(Never), no(ImmediateProduction)),
        (&there, lab(FinalOnReceipt, StopsVia::Lab, false), no(LabNeverTakesStops)),
        (&there, lab(FinalOnReceipt, StopsVia::Lab, true), no(ImmediateProduction)),
        (&made, lab(FinalOnReceipt, StopsVia::Lab, false), no(InProduction)),
    ] {
        let now = verdict(order, &lab, None, None, at(0));
        assert_eq!((now.can_stop, now.reason, now.decided_by), expected, "{:?} {:?}", order.stage, lab);
        assert_eq!(wants_odds(order, &lab), expected.0 == AskLab, "{:?} {:?}", order.stage, lab);
    }
}

/// Whom to turn to, and until when an answer is due.
#[test]
fn what_is_next_names_the_one_who_answers_and_when() {
    let mut asked = lab(TakesStops::Yes, StopsVia::Lab, false);
    asked.profile.answers_within.0 = SignedDuration::from_secs(1_200);
    let in_phase = |phase| OrderFacts { transfer: Some(transfer(phase)), ..orders().remove(0) };
    let local = ("then".to_owned(), "contact_hours mon-fri".to_owned());
    let mut by_hours = in_phase(TransferPhase::AtLab);
    by_hours.stop = Some(StopFacts { deadline_why: Some(local.clone()), ..stop(StopState::Pending, None) });
    for (order, due, why) in [
        // Sent: by then it is known whether the lab has it. There: as long as it has to answer.
        (in_phase(TransferPhase::Sending), 6_000, None),
        (in_phase(TransferPhase::Unknown), 6_000, None),
        (in_phase(TransferPhase::WithAPerson), 1_200, None),
        (in_phase(TransferPhase::AtLab), 1_200, None),
        // Asked already: when that is due.
        (by_hours, 1_800, Some(local)),
    ] {
        let next = verdict(&order, &asked, None, None, at(0)).next.unwrap();
        assert_eq!(next.answer_due_at, at(due), "{:?}", order.transfer);
        assert_eq!(next.answer_due_local.zip(next.answer_due_rule), why);
    }
    let mut next = verdict(&in_phase(TransferPhase::AtLab), &asked, None, None, at(0)).next.unwrap();
    next.due(AnswerDue { at: at(7), local: "there".into(), rule: "contact_hours sat".into() });
    assert_eq!(next.answer_due_at, at(7));
    assert_eq!(next.answer_due_local.as_deref(), Some("there"));
    assert_eq!(next.answer_due_rule.as_deref(), Some("contact_hours sat"));
    for (via, known, channel) in [
        (StopsVia::Lab, true, Channel::Gateway),
        (StopsVia::GatewayOnly, true, Channel::Gateway),
        (StopsVia::Contact, true, Channel::Contact),
        (StopsVia::Contact, false, Channel::Gateway),
    ] {
        let mut lab = lab(TakesStops::Yes, via, false);
        lab.policy.contact = lab.policy.contact.filter(|_| known);
        let next = verdict(&in_phase(TransferPhase::AtLab), &lab, None, None, at(0)).next.unwrap();
        assert_eq!(next.channel, channel, "{via:?}, the contact is known: {known}");
    }
}

#[test]
fn each_line_is_judged_as_its_order_stands() {
    let mut order = orders().remove(0);
    order.document = r#"{"items":[{"id":"1","sku":"mug","quantity":1},{"id":"2","sku":"zip","quantity":1,
        "kind":"download"},{"id":"3","sku":"mug","quantity":1}]}"#
        .into();
    order.lines_out = vec!["3".into()];
    let mut able = lab(TakesStops::Yes, StopsVia::Lab, false);
    able.profile.stops_lines = true;
    let unable = lab(TakesStops::Yes, StopsVia::Lab, false);
    let judged = |order: &OrderFacts, lab: &LabSpec| {
        let can_stop = verdict(order, lab, None, None, at(0)).can_stop;
        let found = lines(order, lab, None, can_stop, &[]);
        assert_eq!(found.iter().map(|line| &*line.item).collect::<Vec<_>>(), ["1", "3"], "what is printed");
        found.into_iter().map(|line| (line.can_stop, line.reason)).collect::<Vec<_>>()
    };
    let out = (CanStop::No, LineReason::AlreadyStopped);
    let whole = (CanStop::No, LineReason::WholeOrderOnly);
    let there = OrderFacts { transfer: Some(transfer(TransferPhase::AtLab)), ..order.clone() };
    assert_eq!(judged(&there, &able), [(CanStop::AskLab, LineReason::AsOrder), out]);
    assert_eq!(judged(&there, &unable), [whole, out]);
    assert_eq!(judged(&order, &unable), [(CanStop::Yes, LineReason::AsOrder), out], "the gateway has it");
    // All of it was asked: no line is asked beside.
    for (state, first) in [
        (StopState::Pending, whole),
        (StopState::Stopped, out),
        (StopState::TooLate, (CanStop::No, LineReason::AsOrder)),
    ] {
        let order = OrderFacts { stop: Some(stop(state, None)), ..there.clone() };
        assert_eq!(judged(&order, &able), [first, out], "{state:?}");
    }
}
