//! Reports of labs: in whatever order they come, however often, with whatever clock.

use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::StopState;
use stoppress::store::{ReportRow, Reported};

use super::on_both;
use crate::common::world::{CUTOFF, World, able, at, removed};

on_both!(
    every_order_of_reports_ends_the_same,
    the_labs_own_time_is_kept_beside_ours,
    times_that_cannot_be_are_refused,
    what_was_made_before_it_was_taken_out,
    a_repeat_after_a_stop_is_not_the_same,
    what_was_never_handed_over_calls_a_person,
    many_reports_are_not_all_kept,
);

fn permutations(all: &[Stage]) -> Vec<Vec<Stage>> {
    if all.is_empty() {
        return vec![vec![]];
    }
    let mut out = Vec::new();
    for at in 0..all.len() {
        let mut rest = all.to_vec();
        let first = rest.remove(at);
        for mut tail in permutations(&rest) {
            tail.insert(0, first);
            out.push(tail);
        }
    }
    out
}

async fn every_order_of_reports_ends_the_same(world: World) {
    let stages = [Stage::Received, Stage::InProduction, Stage::Printed, Stage::Shipped];
    for (nth, turn) in permutations(&stages).into_iter().enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), able()).await;
        let (order, _) = lab.handed(&format!("A-{nth}")).await;
        let mut highest = Stage::Received;
        for stage in turn.iter().flat_map(|stage| [stage, stage]) {
            let rises = *stage > highest;
            let got = lab.report(&order, *stage, CUTOFF + 10).await;
            assert_eq!(got, if rises { Reported::Done } else { Reported::Unchanged }, "{turn:?} {stage:?}");
            highest = highest.max(*stage);
            assert_eq!(world.order(&order).await.stage, highest, "{turn:?}");
        }
        assert_eq!(world.order(&order).await.state(), OrderState::Shipped);
        let kept: Vec<_> =
            world.store.reports(&order).await.unwrap().into_iter().map(|row| row.stage).collect();
        assert_eq!(kept, turn, "each once, as it came");
    }
    world.verify().await;
}

async fn the_labs_own_time_is_kept_beside_ours(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let mut report = lab.reporting(&order, Stage::Shipped, CUTOFF + 90);
    report.reported_at = at(CUTOFF + 30);
    report.reference = Some("JJFI-1".to_owned());
    assert_eq!(lab.report_as(report.clone()).await, Reported::Done);
    // The same once more, later: the same.
    let mut again = report.clone();
    again.at = at(CUTOFF + 99);
    assert_eq!(lab.report_as(again).await, Reported::Unchanged);
    // What was before comes after.
    let mut before = report.clone();
    (before.stage, before.reported_at, before.reference) = (Stage::Printed, at(CUTOFF + 20), None);
    before.at = at(CUTOFF + 100);
    assert_eq!(lab.report_as(before).await, Reported::Unchanged);
    let row = |stage, told, received: i64, reference: &str| ReportRow {
        stage,
        reported_at: Some(at(told)),
        received_at: at(received),
        reference: reference.to_owned(),
        actor: "lab:lumo".to_owned(),
        contrary: false,
    };
    let expected = [
        row(Stage::Shipped, CUTOFF + 30, CUTOFF + 90, "JJFI-1"),
        row(Stage::Printed, CUTOFF + 20, CUTOFF + 100, ""),
    ];
    assert_eq!(world.store.reports(&order).await.unwrap(), expected);
    let log = world.store.changelog(&stoppress::store::Scope::Ops, &order).await.unwrap().unwrap();
    let shipped = log.iter().find(|event| event.kind == "order.shipped").unwrap();
    assert_eq!(shipped.at, at(CUTOFF + 90));
    assert_eq!(shipped.detail["reported_at"], at(CUTOFF + 30).to_string());
    assert_eq!(shipped.detail["reference"], "JJFI-1");
    assert!(log.iter().any(|event| event.kind == "order.report" && event.detail["stage"] == "printed"));
    world.verify().await;
}

async fn times_that_cannot_be_are_refused(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let events = world.number("select count(*) from events").await;
    let now = CUTOFF + 1000;
    for (told, taken) in [
        (now + 120, true),
        (now + 121, false),
        (now + 86_400, false),
        (-120, true),
        (-121, false),
        (-10 * 365 * 86_400, false),
    ] {
        let mut report = lab.reporting(&order, Stage::Printed, now);
        report.reported_at = at(told);
        let got = lab.report_as(report).await;
        if taken {
            assert!(matches!(got, Reported::Done | Reported::Unchanged), "{told}: {got:?}");
        } else {
            assert_eq!(got, Reported::BadTime { from: at(0), to: at(now) }, "{told}");
        }
    }
    assert_eq!(world.number("select count(*) from events").await, events + 2, "nothing of the rest is kept");
}

async fn what_was_made_before_it_was_taken_out(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    lab.answer(&stop, removed(), CUTOFF + 20).await;
    // It was begun, and taken out: told late, that is no contradiction.
    let mut report = lab.reporting(&order, Stage::InProduction, CUTOFF + 30);
    report.reported_at = at(CUTOFF + 15);
    assert_eq!(lab.report_as(report).await, Reported::Done);
    assert_eq!(world.calls().await, Vec::<String>::new());
    // Begun after it was taken out: it is. And what is printed is printed, whenever that was.
    let mut report = lab.reporting(&order, Stage::InProduction, CUTOFF + 31);
    report.reported_at = at(CUTOFF + 25);
    assert_eq!(lab.report_as(report).await, Reported::ShippedAnyway);
    let nova = world.lab("nova", able()).await;
    let (order, _) = nova.handed("B-1").await;
    let stop = nova.stop(&order, CUTOFF + 10).await;
    nova.answer(&stop, removed(), CUTOFF + 20).await;
    let mut report = nova.reporting(&order, Stage::Printed, CUTOFF + 30);
    report.reported_at = at(CUTOFF + 15);
    assert_eq!(nova.report_as(report).await, Reported::ShippedAnyway);
    assert_eq!(world.stop_of(&order).await.state, StopState::Stopped);
    world.verify().await;
}

async fn a_repeat_after_a_stop_is_not_the_same(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    assert_eq!(lab.report(&order, Stage::InProduction, CUTOFF + 5).await, Reported::Done);
    let stop = lab.stop(&order, CUTOFF + 10).await;
    lab.answer(&stop, removed(), CUTOFF + 20).await;
    // The stage is known, and says something new all the same.
    assert_eq!(lab.report(&order, Stage::InProduction, CUTOFF + 30).await, Reported::ShippedAnyway);
    assert_eq!(lab.report(&order, Stage::InProduction, CUTOFF + 31).await, Reported::Unchanged);
    assert_eq!(world.calls().await, ["shipped_anyway"]);
    world.verify().await;
}

async fn what_was_never_handed_over_calls_a_person(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    assert_eq!(lab.report(&order, Stage::Received, 5).await, Reported::NotHanded);
    assert_eq!(world.calls().await, Vec::<String>::new());
    assert_eq!(lab.report(&order, Stage::Printed, 6).await, Reported::NotHanded);
    assert_eq!(lab.report(&order, Stage::Printed, 7).await, Reported::NotHanded);
    assert_eq!(world.calls().await, ["contradiction"]);
    assert_eq!(world.store.reports(&order).await.unwrap().len(), 2);
    // It was known before it was sent: it still counts as a sign when it comes again afterwards.
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    lab.settle(&out, crate::common::world::unclear(), CUTOFF + 2).await.unwrap();
    assert_eq!(lab.report(&order, Stage::Printed, CUTOFF + 3).await, Reported::Done);
    assert_eq!(world.order(&order).await.state(), OrderState::Printed);
    world.verify().await;
}

async fn many_reports_are_not_all_kept(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.handed("A-1").await;
    for nth in 0..60 {
        let mut report = lab.reporting(&order, Stage::InProduction, CUTOFF + 100 + nth);
        report.reported_at = at(CUTOFF + 10 + nth);
        let got = lab.report_as(report).await;
        assert_eq!(got, if nth == 0 { Reported::Done } else { Reported::Unchanged });
    }
    assert_eq!(world.store.reports(&order).await.unwrap().len(), 50);
    // What moves the order is, whatever came before.
    assert_eq!(lab.report(&order, Stage::Shipped, CUTOFF + 500).await, Reported::Done);
    assert_eq!(world.store.reports(&order).await.unwrap().len(), 51);
    world.verify().await;
}
