//! Every state of a stop, with what it rests on, against everything that a lab can say of it afterwards: what
//! was told stays told, and what speaks against it calls a person, who sees both.

use stoppress::domain::lab::{Answer, TakesStops};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{EscalationRow, PersonDecision, Reported, Resolve, Scope, StopSettled, Write};

use super::on_both;
use crate::common::lab::Lab;
use crate::common::world::{
    ANSWER, CUTOFF, HORIZON, World, able, accepted, at, deaf, forgetful, ops, refused, removed, unclear,
};
use stoppress::domain::ids::{LabId, OrderId, PlatformId};
use stoppress::domain::stop::StopFacts;

on_both!(
    what_was_told_stays_told,
    only_the_lab_itself_answers,
    an_answer_that_differs_from_an_earlier_one,
    a_lab_that_has_what_was_proven_absent,
    a_contradiction_after_it_was_noted_calls_again,
    a_reinstated_order_may_be_printed,
    an_answer_says_how_far_the_order_is,
);

/// How a stop came to stand as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    NeverHanded,
    ProvenAbsent,
    LabRemoved,
    PersonStopped,
    Pending,
    NoAnswer,
    NoChannel,
    LabRefused,
    LabInProduction,
    Printed,
    Shipped,
    Final,
}

const ALL: [Told; 12] = [
    Told::NeverHanded,
    Told::ProvenAbsent,
    Told::LabRemoved,
    Told::PersonStopped,
    Told::Pending,
    Told::NoAnswer,
    Told::NoChannel,
    Told::LabRefused,
    Told::LabInProduction,
    Told::Printed,
    Told::Shipped,
    Told::Final,
];

fn will_print(stage: Stage) -> Answer {
    Answer::WillPrint { reason: None, stage }
}

async fn decide(world: &World, decision: PersonDecision) {
    let call = world.escalations().await.into_iter().find(|call| call.kind == "stop").unwrap();
    let reason = "called them".to_owned();
    let item = Resolve {
        escalation: call.id,
        next: world.escalation_id(),
        decision,
        reason,
        at: at(CUTOFF + 40),
        actor: ops(),
    };
    world.write(Write::Resolve(Box::new(item))).await;
}

/// An order at a lab of its own whose stop stands so.
async fn told<'a>(world: &'a World, name: &str, how: Told) -> (Lab<'a>, OrderId, StopFacts) {
    let profile = match how {
        Told::PersonStopped | Told::NoChannel => deaf(),
        Told::Final => stoppress::domain::lab::Profile { stops: TakesStops::FinalOnReceipt, ..able() },
        _ => able(),
    };
    let lab = world.lab(name, profile).await;
    let reference = format!("{name}-1");
    let (order, stop) = match how {
        Told::NeverHanded => {
            let order = lab.admit(&reference).await;
            let stop = lab.stop(&order, 5).await;
            (order, stop)
        }
        Told::ProvenAbsent => {
            let (order, out) = lab.sent(&reference).await;
            let stop = lab.stop(&order, CUTOFF + 2).await;
            lab.settle(&out, refused(), CUTOFF + 3).await.unwrap();
            (order, stop)
        }
        _ => {
            let (order, _) = lab.handed(&reference).await;
            let stop = lab.stop(&order, CUTOFF + 10).await;
            (order, stop)
        }
    };
    let seconds = CUTOFF + 20;
    match how {
        Told::LabRemoved => drop(lab.answer(&stop, removed(), seconds).await),
        Told::LabRefused => drop(lab.answer(&stop, will_print(Stage::Received), seconds).await),
        Told::LabInProduction => drop(lab.answer(&stop, will_print(Stage::InProduction), seconds).await),
        Told::Printed => assert_eq!(lab.report(&order, Stage::Printed, seconds).await, Reported::Done),
        Told::Shipped => assert_eq!(lab.report(&order, Stage::Shipped, seconds).await, Reported::Done),
        Told::NoAnswer => drop(lab.claim_stops(CUTOFF + 10 + ANSWER).await),
        Told::PersonStopped => decide(world, PersonDecision::Stopped).await,
        _ => {}
    }
    let stop = world.stop_of(&order).await;
    (lab, order, stop)
}

fn expected(how: Told) -> (StopState, Option<Evidence>) {
    use StopState::{Pending, Stopped, TooLate, WithAPerson};
    match how {
        Told::NeverHanded | Told::ProvenAbsent => (Stopped, Some(Evidence::NeverHanded)),
        Told::LabRemoved => (Stopped, Some(Evidence::LabRemoved)),
        Told::PersonStopped => (Stopped, Some(Evidence::PersonConfirmed)),
        Told::Pending => (Pending, None),
        Told::NoAnswer => (WithAPerson, Some(Evidence::NoAnswer)),
        Told::NoChannel => (WithAPerson, Some(Evidence::NoChannel)),
        Told::LabRefused => (TooLate, Some(Evidence::LabRefused)),
        Told::LabInProduction | Told::Printed => (TooLate, Some(Evidence::InProduction)),
        Told::Shipped => (TooLate, Some(Evidence::Shipped)),
        Told::Final => (TooLate, Some(Evidence::FinalOnReceipt)),
    }
}

/// What the lab says then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Removed,
    WillPrint(Stage),
    Later,
    NotFound,
    Reports(Stage),
}

fn everything() -> Vec<Says> {
    let stages = [Stage::Received, Stage::InProduction, Stage::Printed, Stage::Shipped];
    let answers = [Says::Removed, Says::Later, Says::NotFound];
    answers.into_iter().chain(stages.map(Says::WillPrint)).chain(stages.map(Says::Reports)).collect()
}

/// How the stop stands then, and the kind of the contradiction that is told of.
fn then(how: Told, says: Says) -> ((StopState, Option<Evidence>), Option<&'static str>) {
    use StopState::{Pending, Stopped, TooLate, WithAPerson};
    let now = expected(how);
    let open = matches!(now.0, Pending | WithAPerson);
    let by_stage = |stage| match stage {
        Stage::Received => Evidence::LabRefused,
        Stage::InProduction | Stage::Printed => Evidence::InProduction,
        Stage::Shipped => Evidence::Shipped,
    };
    match (now.0, says) {
        (_, Says::Removed) if open => ((Stopped, Some(Evidence::LabRemoved)), None),
        (_, Says::WillPrint(stage)) if open => ((TooLate, Some(by_stage(stage))), None),
        (_, Says::Reports(stage @ (Stage::Printed | Stage::Shipped))) if open => {
            ((TooLate, Some(by_stage(stage))), None)
        }
        (Stopped, Says::WillPrint(_)) => (now, Some("shipped_anyway")),
        (Stopped, Says::Reports(stage)) if stage > Stage::Received => (now, Some("shipped_anyway")),
        (TooLate, Says::Removed) => (now, Some("contradiction")),
        _ => (now, None),
    }
}

async fn contradictions(world: &World, order: &OrderId) -> Vec<EscalationRow> {
    world.store.contradictions(&[order.to_string()]).await.unwrap()
}

async fn what_was_told_stays_told(world: World) {
    let mut nth = 0;
    for how in ALL {
        for says in everything() {
            nth += 1;
            let case = format!("{how:?}, then {says:?}");
            let (lab, order, stop) = told(&world, &format!("lab-{nth}"), how).await;
            assert_eq!((stop.state, stop.evidence), expected(how), "{case}");
            let seconds = CUTOFF + 3 * ANSWER;
            match says {
                Says::Removed => drop(lab.answer(&stop, removed(), seconds).await),
                Says::WillPrint(stage) => drop(lab.answer(&stop, will_print(stage), seconds).await),
                Says::Later => drop(lab.answer(&stop, Answer::AnswerLater, seconds).await),
                Says::NotFound => drop(lab.answer(&stop, Answer::NotFound, seconds).await),
                Says::Reports(stage) => drop(lab.report(&order, stage, seconds).await),
            }
            let (state, kind) = then(how, says);
            let now = world.stop_of(&order).await;
            assert_eq!((now.state, now.evidence), state, "{case}");
            if state.0 == StopState::Stopped {
                assert_eq!(world.order(&order).await.state(), OrderState::Stopped, "{case}");
            }
            let found = contradictions(&world, &order).await;
            assert_eq!(found.first().map(|row| row.kind.as_str()), kind, "{case}");
            assert!(found.len() <= 1, "{case}");
            let log = world.store.changelog(&Scope::Ops, &order).await.unwrap().unwrap();
            for row in found {
                assert_eq!((row.opened_at, row.due_at), (at(seconds), at(seconds)), "{case}: at once");
                let [before, after] = &row.evidence[..] else { panic!("{case}: {:?}", row.evidence) };
                assert_eq!(Some(before.at), stop.decided_at, "{case}");
                assert_eq!(before.detail["stop"], stop.id.as_str(), "{case}: {before:?}");
                assert_eq!((after.at, &after.actor), (at(seconds), &format!("lab:{}", lab.id)), "{case}");
                for piece in [before, after] {
                    assert!(
                        log.iter().any(|entry| entry.kind == piece.kind
                            && entry.detail == piece.detail
                            && entry.at == piece.at),
                        "{case}: {piece:?} is in the changelog"
                    );
                }
            }
        }
    }
    world.verify().await;
}

async fn only_the_lab_itself_answers(world: World) {
    for (nth, how) in ALL.into_iter().enumerate() {
        let (lab, order, stop) = told(&world, &format!("lab-{nth}"), how).await;
        let before = world.number("select count(*) from events").await;
        for scope in
            [Scope::Lab(LabId::parse("other").unwrap()), Scope::Platform(PlatformId::parse("shop").unwrap())]
        {
            for answer in [removed(), will_print(Stage::Shipped), Answer::AnswerLater] {
                let mut item = lab.answering(&stop, answer, CUTOFF + 3 * ANSWER);
                item.scope = scope.clone();
                assert!(matches!(lab.answer_as(item).await, StopSettled::NotFound), "{how:?} {scope:?}");
            }
            let mut report = lab.reporting(&order, Stage::Shipped, CUTOFF + 3 * ANSWER);
            report.scope = scope.clone();
            assert_eq!(lab.report_as(report).await, Reported::NotFound, "{how:?} {scope:?}");
        }
        assert_eq!(world.number("select count(*) from events").await, before, "nothing of it is kept");
        assert_eq!(world.stop_of(&order).await, stop);
    }
}

async fn an_answer_that_differs_from_an_earlier_one(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    // Not final: the later word decides.
    lab.answer(&stop, Answer::AnswerLater, CUTOFF + 11).await;
    lab.answer(&stop, will_print(Stage::Received), CUTOFF + 12).await;
    // The other way round, and back: told once, and nothing turns.
    for (seconds, answer) in [(13, removed()), (14, will_print(Stage::Received)), (15, removed())] {
        assert!(matches!(lab.answer(&stop, answer, CUTOFF + seconds).await, StopSettled::Late(_)));
    }
    let found = contradictions(&world, &order).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, "contradiction");
    assert_eq!(found[0].evidence[0].kind, "stop.too_late");
    assert_eq!(found[0].evidence[1].kind, "stop.contradicted");
    let now = world.stop_of(&order).await;
    assert_eq!((now.state, now.evidence), (StopState::TooLate, Some(Evidence::LabRefused)));
    assert_eq!(now.decided_at, Some(at(CUTOFF + 12)));
    world.verify().await;
}

async fn a_lab_that_has_what_was_proven_absent(world: World) {
    let lab = world.lab("lumo", forgetful()).await;
    let (order, out) = lab.sent("A-1").await;
    lab.settle(&out, unclear(), CUTOFF + 2).await.unwrap();
    let stop = lab.stop(&order, CUTOFF + 3).await;
    lab.claim_stops(CUTOFF + 1 + HORIZON + 1).await;
    let mut item = lab.answering(&stop, Answer::NotFound, CUTOFF + 1 + HORIZON + 2);
    item.asked = Some((out.transfer.fence, at(CUTOFF + 1 + HORIZON + 1)));
    lab.answer_as(item).await;
    assert_eq!(world.stop_of(&order).await.evidence, Some(Evidence::NeverHanded));
    // And then the first acknowledgement comes.
    lab.settle(&out, accepted(), CUTOFF + 1 + HORIZON + 9).await.unwrap();
    let found = world.store.contradictions(&[out.transfer.id.to_string()]).await.unwrap();
    assert_eq!(found.len(), 1);
    let kinds: Vec<_> = found[0].evidence.iter().map(|piece| piece.kind.as_str()).collect();
    assert_eq!(kinds, ["transfer.closed", "transfer.at_lab", "stop.stopped"]);
    assert_eq!(found[0].evidence[2].detail["stop"], stop.id.as_str());
    world.verify().await;
}

async fn a_contradiction_after_it_was_noted_calls_again(world: World) {
    let (lab, order, _) = told(&world, "lumo", Told::LabRemoved).await;
    assert_eq!(lab.report(&order, Stage::Printed, CUTOFF + 50).await, Reported::ShippedAnyway);
    // The same again is the same.
    assert_eq!(lab.report(&order, Stage::Printed, CUTOFF + 51).await, Reported::Unchanged);
    let call = contradictions(&world, &order).await.remove(0);
    let reason = "seen".to_owned();
    let decision = PersonDecision::Noted;
    let item = Resolve {
        escalation: call.id,
        next: world.escalation_id(),
        decision,
        reason,
        at: at(CUTOFF + 60),
        actor: ops(),
    };
    world.write(Write::Resolve(Box::new(item))).await;
    assert_eq!(lab.report(&order, Stage::Printed, CUTOFF + 61).await, Reported::Unchanged);
    assert_eq!(world.calls().await, Vec::<String>::new());
    assert_eq!(lab.report(&order, Stage::Shipped, CUTOFF + 62).await, Reported::ShippedAnyway);
    assert_eq!(world.calls().await, ["shipped_anyway"]);
    assert_eq!(contradictions(&world, &order).await.len(), 2);
}

async fn a_reinstated_order_may_be_printed(world: World) {
    use stoppress::store::{ChangeKind, Changed};
    let (lab, order, stop) = told(&world, "lumo", Told::NeverHanded).await;
    assert_eq!(lab.change(&order, ChangeKind::Reinstate).await, Changed::Done);
    // The answer to the stop that was set aside says nothing against the order as it stands.
    assert!(matches!(
        lab.answer(&stop, will_print(Stage::Received), CUTOFF + 50).await,
        StopSettled::Late(_)
    ));
    assert_eq!(world.calls().await, Vec::<String>::new());
}

async fn an_answer_says_how_far_the_order_is(world: World) {
    for (nth, stage) in [Stage::InProduction, Stage::Printed, Stage::Shipped].into_iter().enumerate() {
        let (lab, order, stop) = told(&world, &format!("lab-{nth}"), Told::Pending).await;
        lab.answer(&stop, will_print(stage), CUTOFF + 30).await;
        assert_eq!(world.order(&order).await.stage, stage);
        // Late, and lower: it never goes back.
        lab.answer(&stop, will_print(Stage::Received), CUTOFF + 31).await;
        lab.report(&order, Stage::Received, CUTOFF + 32).await;
        assert_eq!(world.order(&order).await.stage, stage);
        lab.answer(&stop, will_print(Stage::Shipped), CUTOFF + 33).await;
        assert_eq!(world.order(&order).await.stage, Stage::Shipped);
    }
    world.verify().await;
}
