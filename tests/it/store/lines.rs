//! Stops that name lines: in house they are out for certain, elsewhere only if the lab says so.

use std::sync::Arc;

use serde_json::{Value, json};
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{Evidence, StopFacts, StopState};
use stoppress::store::{
    Admission, ChangeKind, Changed, Claimed, Outgoing, PersonDecision, Resolve, Resolved, StopAsk, StopDue,
    StopOutcome, StopRefused, StopSettled, Write, Written, one,
};

use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, LEASE, Lab, World, able, accepted, at, ops, removed, unclear, unreachable, will_print,
};

on_both!(
    in_house_lines_are_out_at_once_and_the_rest_goes_on,
    every_line_is_the_whole_order,
    lines_that_are_not_there_change_nothing,
    a_lab_that_stops_whole_orders_is_not_asked_for_lines,
    a_lab_that_stops_lines_is_asked_and_has_to_name_them,
    a_fall_back_takes_the_lines_out_and_sends_the_rest,
    a_stop_of_the_order_goes_beside_one_of_lines,
    without_an_answer_a_person_decides_on_lines,
    what_decides_the_order_decides_its_lines,
    a_contrary_word_about_lines_calls_a_person,
    lines_stay_stopped_when_the_order_is_changed_or_reinstated,
    a_stop_of_lines_and_a_claim_never_both_win,
);

/// A lab that stops lines.
pub(super) fn exact() -> Profile {
    Profile { stops_lines: true, ..able() }
}

/// An order of three lines: the first is made for one customer.
pub(super) fn three(lab: &Lab<'_>, reference: &str) -> Admission {
    let items = json!([
        {"id": "1", "kind": "print", "sku": "mug", "quantity": 2, "personalised": true},
        {"id": "2", "kind": "print", "sku": "frame", "quantity": 1, "personalised": false},
        {"id": "3", "kind": "print", "sku": "print", "quantity": 4, "personalised": false},
    ]);
    let document = json!({"reference": reference, "items": items}).to_string();
    Admission { document, ..lab.admission(reference) }
}

pub(super) async fn admitted(lab: &Lab<'_>, reference: &str) -> stoppress::domain::ids::OrderId {
    let admission = three(lab, reference);
    let id = admission.id.clone();
    lab.admit_as(admission).await;
    id
}

/// An order of three lines that the lab has.
pub(super) async fn handed(world: &World, lab: &Lab<'_>) -> stoppress::domain::ids::OrderId {
    let order = admitted(lab, &format!("H-{}", lab.id)).await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    order
}

pub(super) fn ids(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn asking(lab: &Lab<'_>, order: &stoppress::domain::ids::OrderId, items: &str, seconds: i64) -> StopAsk {
    StopAsk { items: ids(items), requested_by: Some("m.virtanen".to_owned()), ..lab.asking(order, seconds) }
}

pub(super) async fn ask(
    lab: &Lab<'_>,
    order: &stoppress::domain::ids::OrderId,
    items: &str,
    seconds: i64,
) -> StopFacts {
    match lab.ask_as(asking(lab, order, items, seconds)).await {
        StopOutcome::Asked(facts) => facts,
        other => panic!("{other:?}"),
    }
}

/// The items of each order in a manifest.
pub(super) fn lines_of(out: &Outgoing) -> Vec<Vec<String>> {
    let body: Value = serde_json::from_slice(&out.body).unwrap();
    let items = |order: &Value| -> Vec<String> {
        order["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    body["orders"].as_array().unwrap().iter().map(items).collect()
}

async fn in_house_lines_are_out_at_once_and_the_rest_goes_on(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let other = admitted(&lab, "A-2").await;
    let before = world.order(&order).await;
    let stop = ask(&lab, &order, "2", 20).await;
    assert_eq!((stop.state, stop.evidence), (StopState::StoppedInPart, Some(Evidence::NeverHanded)));
    assert_eq!((stop.items.clone(), stop.decided_at), (Some(ids("2")), Some(at(20))));
    assert_eq!(stop.requested_by.as_deref(), Some("m.virtanen"));
    // The same again is the same.
    assert!(
        matches!(lab.ask_as(asking(&lab, &order, "2", 21)).await, StopOutcome::Already(f) if f.id == stop.id)
    );
    let now = world.order(&order).await;
    assert_eq!((now.state(), now.lines_out.clone()), (OrderState::InBatch, ids("2")));
    // People who look for what a stop is about are shown that, and of a stop of the order what is left.
    let shown = |stop: &StopFacts| now.lines_of(stop).into_iter().map(|line| line.id).collect::<Vec<_>>();
    assert_eq!(shown(&stop), ids("2"));
    assert_eq!(shown(&StopFacts { items: None, ..stop.clone() }), ids("1 3"));
    assert!(now.version > before.version && now.stop.is_none());
    assert_eq!(now.batch.as_ref().map(|batch| &batch.id), before.batch.as_ref().map(|batch| &batch.id));

    world.close(CUTOFF).await;
    // After the cutoff as well, as long as nothing has left.
    let more = ask(&lab, &order, "2 3", CUTOFF + 1).await;
    assert_eq!((more.state, more.items), (StopState::StoppedInPart, Some(ids("3"))));
    let claimed = lab.claim(CUTOFF + 2).await;
    let mut sent = Vec::new();
    for step in &claimed {
        let Claimed::Send(out) = step else { panic!("{step:?}") };
        sent.extend(super::claim::named(out).into_iter().zip(lines_of(out)));
    }
    let of = |id: &stoppress::domain::ids::OrderId| {
        sent.iter()
            .filter(|(order, _)| *order == id.to_string())
            .map(|(_, lines)| lines.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!((of(&order), of(&other)), (vec![ids("1")], vec![ids("1 2 3")]));
    let log = world.store.log(&[order.as_str()]).await.unwrap();
    let told: Vec<_> = log.iter().filter(|event| event.kind == "stop.stopped_in_part").collect();
    assert_eq!(told.len(), 2);
    assert_eq!(
        (&told[0].detail["items"], &told[0].detail["requested_by"]),
        (&json!(["2"]), &json!("m.virtanen"))
    );
    let kept = world.store.line_stops(&order).await.unwrap();
    assert_eq!(kept.iter().map(|stop| stop.items.clone().unwrap()).collect::<Vec<_>>(), [ids("2"), ids("3")]);
    world.verify().await;
}

async fn every_line_is_the_whole_order(world: World) {
    let lab = world.lab("lumo", able()).await;
    for (nth, steps) in [vec!["1 2 3"], vec!["1", "2 3"], vec!["3", "1", "1 2 3"]].into_iter().enumerate() {
        let order = admitted(&lab, &format!("A-{nth}")).await;
        let (last, first) = steps.split_last().unwrap();
        for items in first {
            assert_eq!(ask(&lab, &order, items, 20).await.state, StopState::StoppedInPart);
        }
        let whole = ask(&lab, &order, last, 21).await;
        assert_eq!((whole.state, whole.items), (StopState::Stopped, None), "{steps:?}");
        assert_eq!(world.order(&order).await.state(), OrderState::Stopped);
        // Lines of it are answered by it.
        let again = lab.ask_as(asking(&lab, &order, "1", 22)).await;
        assert!(matches!(again, StopOutcome::Already(facts) if facts.id == whole.id));
    }
    world.close(CUTOFF).await;
    assert!(lab.claim(CUTOFF + 1).await.is_empty());
    world.verify().await;
}

async fn lines_that_are_not_there_change_nothing(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    let before = world.order(&order).await.version;
    let outcome = lab.ask_as(asking(&lab, &order, "1 9 x", 20)).await;
    assert!(
        matches!(&outcome, StopOutcome::Refused(StopRefused::UnknownLines(lines)) if *lines == ids("9 x"))
    );
    let nobody = StopAsk {
        scope: stoppress::store::Scope::Platform("other".to_owned().try_into().unwrap()),
        ..asking(&lab, &order, "1", 20)
    };
    assert!(matches!(lab.ask_as(nobody).await, StopOutcome::NotFound));
    assert_eq!(world.order(&order).await.version, before);
}

async fn a_lab_that_stops_whole_orders_is_not_asked_for_lines(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    let before = world.order(&order).await.version;
    for settled in [None, Some(accepted())] {
        if let Some(answer) = settled {
            lab.settle(&out, answer, CUTOFF + 2).await.unwrap();
        }
        let outcome = lab.ask_as(asking(&lab, &order, "2", CUTOFF + 3)).await;
        assert!(matches!(outcome, StopOutcome::Refused(StopRefused::WholeOrderOnly)), "{outcome:?}");
    }
    assert!(world.store.line_stops(&order).await.unwrap().is_empty());
    assert!(world.order(&order).await.version > before, "the lab has it");
    // The whole order can still be asked for.
    assert_eq!(lab.stop(&order, CUTOFF + 4).await.state, StopState::Pending);
    // What is made is too late in any case.
    let other = world.lab("muru", able()).await;
    let made = handed(&world, &other).await;
    other.report(&made, Stage::Printed, CUTOFF + 10).await;
    let late = ask(&other, &made, "2", CUTOFF + 11).await;
    assert_eq!((late.state, late.evidence), (StopState::TooLate, Some(Evidence::InProduction)));
    let again = other.ask_as(asking(&other, &made, "2", CUTOFF + 12)).await;
    assert!(matches!(again, StopOutcome::Already(facts) if facts.id == late.id));
    world.verify().await;
}

pub(super) fn named(items: &str) -> Answer {
    Answer::Removed { reason: None, items: ids(items) }
}

async fn a_lab_that_stops_lines_is_asked_and_has_to_name_them(world: World) {
    let lab = world.lab("lumo", exact()).await;
    let order = handed(&world, &lab).await;
    let stop = ask(&lab, &order, "2", CUTOFF + 10).await;
    assert_eq!((stop.state, stop.deadline_at), (StopState::Pending, at(CUTOFF + 10 + ANSWER)));
    let due = lab.claim_stops(CUTOFF + 10).await;
    assert!(matches!(&due[..], [StopDue::Ask { stop, .. }] if stop.items == Some(ids("2"))), "{due:?}");
    // What is not about these lines decides nothing, and takes nothing out.
    for answer in [removed(), named("1"), named("1 2")] {
        let StopSettled::Done(facts) = lab.answer(&stop, answer, CUTOFF + 11).await else { panic!() };
        assert_eq!(facts.state, StopState::Pending);
    }
    assert!(world.order(&order).await.lines_out.is_empty());
    let StopSettled::Done(facts) = lab.answer(&stop, named("2"), CUTOFF + 12).await else { panic!() };
    assert_eq!((facts.state, facts.evidence), (StopState::StoppedInPart, Some(Evidence::LabRemoved)));
    let now = world.order(&order).await;
    assert_eq!((now.state(), now.lines_out.clone()), (OrderState::AtLab, ids("2")));

    // Another line, refused; the same again is answered by that, and the whole order can still be asked for.
    let second = ask(&lab, &order, "3", CUTOFF + 20).await;
    assert!(
        matches!(lab.answer(&second, will_print(), CUTOFF + 21).await, StopSettled::Done(f) if f.state == StopState::TooLate)
    );
    let again = lab.ask_as(asking(&lab, &order, "3", CUTOFF + 22)).await;
    assert!(matches!(again, StopOutcome::Already(facts) if facts.id == second.id));
    let whole = lab.stop(&order, CUTOFF + 23).await;
    assert_eq!((whole.state, whole.items.clone()), (StopState::Pending, None));
    // That only some lines were taken out does not stop it.
    let StopSettled::Done(facts) = lab.answer(&whole, named("1"), CUTOFF + 24).await else { panic!() };
    assert_eq!(facts.state, StopState::Pending);
    let StopSettled::Done(facts) = lab.answer(&whole, removed(), CUTOFF + 25).await else { panic!() };
    assert_eq!(facts.state, StopState::Stopped);
    world.verify().await;
}

async fn a_fall_back_takes_the_lines_out_and_sends_the_rest(world: World) {
    let lab = world.lab("lumo", exact()).await;
    let order = admitted(&lab, "A-1").await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    let stop = ask(&lab, &order, "1 3", CUTOFF + 2).await;
    assert_eq!(stop.state, StopState::Pending);
    lab.settle(&out, unreachable(), CUTOFF + 3).await.unwrap();
    let kept = world.store.line_stops(&order).await.unwrap();
    assert_eq!((kept[0].state, kept[0].evidence), (StopState::StoppedInPart, Some(Evidence::NeverHanded)));
    let next = lab.send(CUTOFF + 20).await;
    assert_eq!(lines_of(&next), [ids("2")]);
    assert_ne!(next.key, out.key);
    // What nobody knows of stays asked; the same bytes go again, without a line less.
    let more = ask(&lab, &order, "2", CUTOFF + 21).await;
    assert_eq!((more.state, more.items.clone()), (StopState::Pending, None), "it is all that is left");
    lab.settle(&next, unclear(), CUTOFF + 22).await.unwrap();
    let again = lab.send(CUTOFF + 40).await;
    assert_eq!((again.key, again.body), (next.key, next.body));
    world.verify().await;
}

async fn a_stop_of_the_order_goes_beside_one_of_lines(world: World) {
    let lab = world.lab("lumo", exact()).await;
    let order = handed(&world, &lab).await;
    let part = ask(&lab, &order, "1", CUTOFF + 10).await;
    let whole = lab.stop(&order, CUTOFF + 11).await;
    assert_ne!(part.id, whole.id);
    // Both go to the lab in one claim; the log stays one chain.
    let due = lab.claim_stops(CUTOFF + 11).await;
    assert_eq!(due.iter().filter(|due| matches!(due, StopDue::Ask { .. })).count(), 2, "{due:?}");
    world.verify().await;
    assert!(
        matches!(lab.answer(&whole, removed(), CUTOFF + 12).await, StopSettled::Done(f) if f.state == StopState::Stopped)
    );
    // That the order is stopped answers for its lines, at once; nobody has to be called.
    let kept = world.store.line_stops(&order).await.unwrap();
    assert_eq!((&kept[0].id, kept[0].state), (&part.id, StopState::StoppedInPart));
    assert!(lab.claim_stops(CUTOFF + 11 + LEASE).await.is_empty());
    assert_eq!(world.calls().await, Vec::<String>::new());
    assert_eq!(world.order(&order).await.state(), OrderState::Stopped);

    // That the order is printed does not answer for a line: the lab may still leave that out.
    let nova = world.lab("nova", exact()).await;
    let order = handed(&world, &nova).await;
    let part = ask(&nova, &order, "1", CUTOFF + 10).await;
    let whole = nova.stop(&order, CUTOFF + 11).await;
    nova.answer(&whole, will_print(), CUTOFF + 12).await;
    assert_eq!(world.stop_of(&order).await.state, StopState::TooLate);
    let kept = world.store.line_stops(&order).await.unwrap();
    assert_eq!((&kept[0].id, kept[0].state), (&part.id, StopState::Pending));
    world.verify().await;
}

async fn without_an_answer_a_person_decides_on_lines(world: World) {
    let lab = world.lab("lumo", exact()).await;
    let order = handed(&world, &lab).await;
    let stop = ask(&lab, &order, "1 2", CUTOFF + 10).await;
    let due = lab.claim_stops(CUTOFF + 10 + ANSWER).await;
    assert!(matches!(&due[..], [StopDue::Decided(f)] if f.state == StopState::WithAPerson), "{due:?}");
    // The order itself has no stop: it can be asked for one.
    assert!(world.order(&order).await.stop.is_none());
    let call = world.escalations().await.remove(0);
    assert_eq!((call.kind.as_str(), call.subject.as_str()), ("stop", stop.id.as_str()));
    let resolve = Resolve {
        escalation: call.id,
        next: world.escalation_id(),
        decision: PersonDecision::Stopped,
        reason: "Aino took both out of the tray".to_owned(),
        at: at(CUTOFF + 20 + ANSWER),
        actor: ops(),
    };
    assert!(matches!(
        world.write(Write::Resolve(Box::new(resolve))).await,
        Written::Resolved(Resolved::Done)
    ));
    let kept = world.store.line_stops(&order).await.unwrap();
    assert_eq!(
        (kept[0].state, kept[0].evidence),
        (StopState::StoppedInPart, Some(Evidence::PersonConfirmed))
    );
    assert_eq!(world.order(&order).await.lines_out, ids("1 2"));
    world.verify().await;
}

async fn what_decides_the_order_decides_its_lines(world: World) {
    let end = CUTOFF + 10 + ANSWER;
    for (nth, (called, shipped, state, evidence)) in [
        (false, true, StopState::TooLate, Evidence::Shipped),
        (true, true, StopState::TooLate, Evidence::Shipped),
        (true, false, StopState::StoppedInPart, Evidence::LabRemoved),
    ]
    .into_iter()
    .enumerate()
    {
        let lab = world.lab(&format!("lumo-{nth}"), exact()).await;
        let order = handed(&world, &lab).await;
        ask(&lab, &order, "1", CUTOFF + 10).await;
        if called {
            lab.claim_stops(end).await;
            assert_eq!(world.calls().await, ["stop"]);
        }
        if shipped {
            lab.report(&order, Stage::Shipped, end + 1).await;
        } else {
            let whole = lab.stop(&order, end + 1).await;
            lab.answer(&whole, removed(), end + 2).await;
        }
        let kept = world.store.line_stops(&order).await.unwrap();
        assert_eq!((kept[0].state, kept[0].evidence), (state, Some(evidence)), "{nth}");
        assert_eq!(world.calls().await, Vec::<String>::new(), "{nth}: nobody has to decide any more");
        assert_eq!(lab.claim_stops(end + ANSWER).await.len(), 0, "{nth}: and no lab is asked");
    }
    world.verify().await;
}

async fn a_contrary_word_about_lines_calls_a_person(world: World) {
    let lab = world.lab("lumo", exact()).await;
    let order = handed(&world, &lab).await;
    let stop = ask(&lab, &order, "1", CUTOFF + 10).await;
    lab.answer(&stop, named("1"), CUTOFF + 11).await;
    assert!(matches!(lab.answer(&stop, will_print(), CUTOFF + 12).await, StopSettled::Late(_)));
    assert_eq!(world.calls().await, ["shipped_anyway"]);
    // Its evidence is what was told of these lines.
    let call = world.escalations().await.remove(0);
    assert_eq!(call.evidence[0].kind, "stop.stopped_in_part");
    world.verify().await;
}

async fn lines_stay_stopped_when_the_order_is_changed_or_reinstated(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    ask(&lab, &order, "2", 20).await;
    let changed = lab.change(&order, ChangeKind::Review).await;
    assert_eq!(changed, Changed::Done);
    let document = |items: &[&str]| {
        let items: Vec<_> = items.iter().map(|id| json!({"id": id, "sku": "new", "quantity": 1})).collect();
        ChangeKind::Document(json!({"reference": "A-1", "items": items}).to_string())
    };
    let only = lab.change(&order, document(&["2"])).await;
    assert_eq!(only, Changed::NotAllowed(OrderState::InReview), "nothing would be left");
    assert_eq!(lab.change(&order, document(&["2", "4"])).await, Changed::Done);
    assert_eq!(lab.change(&order, ChangeKind::Release).await, Changed::Done);
    assert_eq!(ask(&lab, &order, "4", 30).await.state, StopState::Stopped, "the rest of it is all of it");
    assert_eq!(lab.change(&order, ChangeKind::Reinstate).await, Changed::Done);
    world.close(CUTOFF).await;
    assert_eq!(lines_of(&lab.send(CUTOFF + 1).await), [ids("4")]);
    world.verify().await;
}

/// Forced by rounds: who comes first changes, and on PostgreSQL they are two replicas.
async fn a_stop_of_lines_and_a_claim_never_both_win(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", exact()).await;
    let (mut granted, mut waits) = (0, 0);
    for round in 0..120 {
        let now = CUTOFF + round;
        let mut admission = three(&lab, &format!("A-{round}"));
        admission.join = Some(lab.window(now));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(now).await;
        let (asker, claimer) = if round % 2 == 0 { (&world.store, &other) } else { (&other, &world.store) };
        let (asker, claimer) = (Arc::clone(asker), Arc::clone(claimer));
        let stop = Write::Stop(Box::new(asking(&lab, &order, "2", now + 300)));
        let claim = Write::Claim(Box::new(lab.claiming(now + 300, 4)));
        let stop = tokio::spawn(async move { one(&*asker, stop).await.unwrap() });
        let claim = tokio::spawn(async move { one(&*claimer, claim).await.unwrap() });
        let (stop, claim) = (stop.await.unwrap(), claim.await.unwrap());
        let Written::Stop(outcome) = stop else { panic!() };
        let StopOutcome::Asked(facts) = *outcome else { panic!("{outcome:?}") };
        let Written::Claimed(mut claimed) = claim else { panic!() };
        // Skipped for a moment is not lost.
        claimed.extend(lab.claim(now + 301).await);
        let sent: Vec<_> = claimed
            .iter()
            .filter_map(|step| if let Claimed::Send(out) = step { Some(lines_of(out)) } else { None })
            .flatten()
            .collect();
        assert_eq!(sent.len(), 1, "round {round}: {claimed:?}");
        match facts.state {
            StopState::StoppedInPart => {
                assert_eq!(sent[0], ids("1 3"), "round {round}: told stopped, and on the wire");
                granted += 1;
            }
            StopState::Pending => {
                assert_eq!(sent[0], ids("1 2 3"), "round {round}");
                waits += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(granted + waits, 120);
    world.verify().await;
}

/// The answer of a person needs no lines: what was asked was shown.
#[test]
fn a_person_need_not_name_what_was_asked() {
    use stoppress::domain::stop::settle;
    let asked = ids("1 2");
    for (items, person, decides) in [
        ("", true, true),
        ("", false, false),
        ("2 1", false, true),
        ("1", true, false),
        ("1 2 3", true, false),
    ] {
        let found = settle(StopState::Pending, &named(items), Some(&asked), person);
        assert_eq!(found.is_some(), decides, "{items:?} {person}");
        assert!(found.is_none_or(|(state, _)| state == StopState::StoppedInPart));
    }
    assert!(settle(StopState::Pending, &named("1"), None, true).is_none());
}
