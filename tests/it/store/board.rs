//! The board's numbers, which labs have moved, how a lab has done, and orders by reference.

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::ids::{LabId, PlatformId, RegionId};
use stoppress::domain::order::Stage;
use stoppress::domain::stop::StopState;
use stoppress::store::{BatchFilter, BoardRows, ChangeKind, Reported, Scope, ScoreRow, Touched};

use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, HANDOVER, World, able, at, deaf, removed, shop, unclear, will_print,
};

on_both!(
    open_batches_are_counted,
    what_is_late_or_unclear_is_counted,
    the_log_tells_which_labs_moved,
    a_scorecard,
    orders_are_found_by_reference,
);

async fn board(world: &World, labs: &[&LabId]) -> BoardRows {
    let labs: Vec<LabId> = labs.iter().map(|lab| (*lab).clone()).collect();
    world.store.board(&labs).await.unwrap()
}

async fn open_batches_are_counted(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    assert_eq!(board(&world, &[&lumo.id, &nova.id]).await, BoardRows::default());
    assert_eq!(board(&world, &[]).await, BoardRows::default());
    let mut orders = Vec::new();
    for nth in 0..5 {
        orders.push(lumo.admit(&format!("A-{nth}")).await);
    }
    nova.admit("B-1").await;
    lumo.stop(&orders[0], 5).await;
    lumo.change(&orders[1], ChangeKind::Hold).await;
    let mut later = lumo.admission("A-9");
    later.join = Some(lumo.window(2 * CUTOFF));
    lumo.admit_as(later).await;
    let mut direct = lumo.admission("D-1");
    let mut alone = lumo.window(60);
    alone.direct = true;
    direct.join = Some(alone);
    lumo.admit_as(direct).await;

    let seen = board(&world, &[&lumo.id]).await;
    let mut open: Vec<_> = seen.open.iter().map(|b| (b.closes_at, b.waiting, b.stopped)).collect();
    open.sort();
    assert_eq!(open, [(at(CUTOFF), 3, 1), (at(2 * CUTOFF), 1, 0)]);
    let first = seen.open.iter().find(|b| b.closes_at == at(CUTOFF)).unwrap();
    assert_eq!((first.place.0.as_str(), first.place.1.as_str()), ("lumo", "eu"));
    assert_eq!((first.rule.as_str(), first.tzdata.as_str()), ("regular 24:00", "2026a"));
    assert_eq!((seen.direct.len(), seen.direct[0].orders, seen.direct[0].closes_at), (1, 1, at(60)));
    assert!(seen.behind.is_empty() && seen.transfers.is_empty() && seen.stops.is_empty());
    // Both labs at once; the same numbers as the batches themselves have.
    let both = board(&world, &[&lumo.id, &nova.id]).await;
    let filter = BatchFilter { limit: 100, ..BatchFilter::default() };
    for row in world.store.batches(&Scope::Ops, &filter).await.unwrap() {
        let found = both.open.iter().find(|b| b.batch == row.batch.id);
        match found {
            Some(found) => assert_eq!((found.waiting, found.stopped), (row.waiting, row.stopped)),
            None => assert!(row.batch.direct),
        }
    }
    assert_eq!(both.open.len(), 3);
}

async fn what_is_late_or_unclear_is_counted(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", deaf()).await);
    let waits = lumo.admit("A-1").await;
    let (lost, out) = nova.sent("B-1").await;
    let labs = [&lumo.id, &nova.id];
    // Both batches have closed by now; only one has been handed on.
    let seen = board(&world, &labs).await;
    assert!(seen.open.is_empty());
    assert_eq!(seen.behind.len(), 1, "{:?}", seen.behind);
    let behind = &seen.behind[0];
    assert_eq!((&behind.place.0, behind.orders, behind.batches), (&lumo.id, 1, 1));
    assert_eq!((behind.since, &behind.batch), (at(CUTOFF), &world.order(&waits).await.batch.unwrap().id));
    let phases = |seen: &BoardRows| -> Vec<_> {
        seen.transfers.iter().map(|row| (row.place.0.clone(), row.phase, row.transfers)).collect()
    };
    assert_eq!(phases(&seen), [(nova.id.clone(), TransferPhase::Sending, 1)]);
    nova.settle(&out, unclear(), CUTOFF + 2).await.unwrap();
    let stop = nova.stop(&lost, CUTOFF + 3).await;
    let seen = board(&world, &labs).await;
    let transfer = world.transfer_of(&lost).await;
    assert_eq!(phases(&seen), [(nova.id.clone(), transfer.phase, 1)]);
    assert_eq!(seen.transfers[0].deadline_at, transfer.deadline_at);
    assert_eq!(seen.stops.len(), 1);
    let stops = &seen.stops[0];
    assert_eq!((&stops.place.0, stops.place.1.as_str()), (&nova.id, "eu"));
    assert_eq!((stops.state, stops.stops, stops.deadline_at), (stop.state, 1, stop.deadline_at));
    // Nothing can be learned of this lab: a person is called, and that is counted.
    nova.claim(CUTOFF + 2 + HANDOVER).await;
    let seen = board(&world, &labs).await;
    assert_eq!(phases(&seen), [(nova.id.clone(), TransferPhase::WithAPerson, 1)]);
    assert!(!world.escalations().await.is_empty(), "a deaf lab's unclear transfer waits for a person");
    assert_eq!(seen.escalations, [], "those about stops and transfers are counted as what they are");
    // The lab had it after all, after a stop had been told: neither a stop nor a transfer that waits.
    lumo.stop(&waits, CUTOFF + 4).await;
    assert_eq!(lumo.report(&waits, Stage::Printed, CUTOFF + 5).await, Reported::ShippedAnyway);
    let seen = board(&world, &labs).await;
    let [row] = &seen.escalations[..] else { panic!("{:?}", seen.escalations) };
    assert_eq!(
        (&row.lab, row.region.as_ref().map(RegionId::as_str), row.escalations),
        (&lumo.id, Some("eu"), 1)
    );
    assert_eq!(row.due_at, at(CUTOFF + 5));
}

async fn the_log_tells_which_labs_moved(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    let touched = async |after| -> Touched { world.store.touched(after).await.unwrap() };
    let start = touched(0).await;
    let mut labs = start.labs.unwrap();
    labs.sort();
    assert_eq!(labs, [lumo.id.clone(), nova.id.clone()]);
    assert_eq!(touched(start.seen).await, Touched { labs: Some(vec![]), seen: start.seen });
    let order = lumo.admit("A-1").await;
    let next = touched(start.seen).await;
    assert_eq!(next.labs.as_deref(), Some(std::slice::from_ref(&lumo.id)));
    assert!(next.seen > start.seen);
    lumo.stop(&order, 5).await;
    nova.admit("B-1").await;
    let last = touched(next.seen).await;
    let mut labs = last.labs.unwrap();
    labs.sort();
    assert_eq!(labs, [lumo.id.clone(), nova.id.clone()]);
    // So much that reading it costs as much as counting everything.
    let many = |numbers: &str| {
        format!(
            "insert into events (at, subject, lab, kind, actor, detail, previous, hash)
                select 0, 's', 'lumo', 'k', 'a', '{{}}', '', '' from {numbers}"
        )
    };
    let sql = if world.is_postgres() {
        many("generate_series(1, 20001)")
    } else {
        many(
            "(with recursive n(x) as (select 1 union all select x + 1 from n where x < 20001) select x from n)",
        )
    };
    world.run(&sql).await;
    let many = touched(last.seen).await;
    assert_eq!((many.labs, many.seen), (None, last.seen + 20_001));
}

async fn a_scorecard(world: World) {
    let lab = world.lab("lumo", able()).await;
    let score = async |since| world.store.scorecard(&lab.id, at(since)).await.unwrap();
    assert_eq!(score(0).await, ScoreRow::default());
    let early = lab.admit("A-0").await;
    lab.stop(&early, 5).await;
    let mut orders = Vec::new();
    for nth in 1..=10 {
        orders.push(lab.admit(&format!("A-{nth}")).await);
    }
    world.close(CUTOFF).await;
    for claimed in lab.claim(CUTOFF + 1).await {
        let stoppress::store::Claimed::Send(out) = claimed else { panic!("not fresh") };
        lab.settle(&out, crate::common::world::accepted(), CUTOFF + 2).await;
    }
    // The answers take 1, 2, … 9 seconds; one takes longer than it may; and one stop stays open.
    for (nth, order) in (1_i64..).zip(&orders[..9]) {
        let stop = lab.stop(order, CUTOFF + 10).await;
        assert_eq!(stop.state, StopState::Pending);
        let took = if nth == 9 { ANSWER + 60 } else { nth };
        let answer = if nth % 3 == 0 { will_print() } else { removed() };
        lab.answer(&stop, answer, CUTOFF + 10 + took).await;
    }
    lab.stop(&orders[9], CUTOFF + 10).await;
    let (_, out) = world.lab("nova", able()).await.sent("B-1").await;
    world.lab("nova", able()).await.settle(&out, unclear(), CUTOFF + 2).await;
    let seen = score(0).await;
    let expected = ScoreRow {
        asked: 11,
        before: 1,
        at_once: 0,
        of_lab: 10,
        by_us: 0,
        stopped: 6,
        in_part: 0,
        too_late: 3,
        decided: 9,
        late: 1,
        answer_p50_us: Some(5_000_000),
        answer_p90_us: Some((ANSWER + 60) * 1_000_000),
        transfers: 10,
        unclear: 0,
        unclear_transfers: 0,
    };
    assert_eq!(seen, expected);
    let nova = LabId::parse("nova").unwrap();
    let other = world.store.scorecard(&nova, at(0)).await.unwrap();
    assert_eq!((other.transfers, other.unclear, other.unclear_transfers), (1, 1, 1));
    // What is older than the time that is looked at counts for nothing.
    let later = world.store.scorecard(&nova, at(CUTOFF + 100)).await.unwrap();
    assert_eq!(later, ScoreRow::default());
}

async fn orders_are_found_by_reference(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let other = PlatformId::parse("other").unwrap();
    let mut second = lab.admission("A-1");
    second.platform = other.clone();
    let second = {
        let id = second.id.clone();
        lab.admit_as(second).await;
        id
    };
    let find = async |platforms: &[PlatformId], reference: &str| {
        let found = world.store.by_reference(platforms, reference, 10).await.unwrap();
        found.into_iter().map(|order| order.id).collect::<Vec<_>>()
    };
    assert_eq!(find(&[shop(), other.clone()], "A-1").await, [second.clone(), order]);
    assert_eq!(find(&[other], "A-1").await, [second]);
    assert!(find(&[shop()], "A-2").await.is_empty());
    assert!(find(&[], "A-1").await.is_empty());
}
