//! The lists of ops: what waits stands by when it is due, of all labs; what transfers carry; and decisions on
//! batches hold for what was seen.

use std::collections::BTreeSet;

use stoppress::domain::ids::{EscalationId, OrderId, StopId};
use stoppress::domain::lab::{Lasting, Profile, TakesStops};
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{
    BatchMoved, Claimed, EscalationFilter, MoveBatch, PersonDecision, Resolve, Scope, SeenBatch, StopFilter,
    Write, Written,
};

use super::on_both;
use crate::common::world::{ANSWER, CUTOFF, Lab, World, able, accepted, at, deaf, ops, removed};

on_both!(
    what_waits_of_all_labs_stands_by_its_deadline,
    escalations_stand_by_when_they_are_due,
    transfers_come_in_pages_with_what_they_carry,
    a_decision_holds_for_the_batch_that_was_seen,
    a_scorecard_counts_answers_of_the_lab,
);

/// A lab whose answers to stops are due after so many seconds.
fn within(profile: Profile, seconds: i64) -> Profile {
    Profile { answers_within: Lasting::seconds(seconds), ..profile }
}

/// Orders that labs have: one of the slow, one of the quick, one of the slow again.
async fn at_the_labs<'a>(slow: &'a Lab<'a>, quick: &'a Lab<'a>) -> Vec<(&'a Lab<'a>, OrderId)> {
    let mut orders = Vec::new();
    for (lab, reference) in [(slow, "A-1"), (quick, "B-1"), (slow, "A-2")] {
        orders.push((lab, lab.admit(reference).await));
    }
    slow.world.close(CUTOFF).await;
    for lab in [slow, quick] {
        for claimed in lab.claim(CUTOFF + 1).await {
            let Claimed::Send(out) = claimed else { panic!("not fresh") };
            lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
        }
    }
    orders
}

async fn what_waits_of_all_labs_stands_by_its_deadline(world: World) {
    let slow = world.lab("lumo", within(able(), 7200)).await;
    let quick = world.lab("nova", within(able(), 60)).await;
    let mut expected = Vec::new();
    for (lab, order) in at_the_labs(&slow, &quick).await {
        let stop = lab.stop(&order, CUTOFF + 10).await;
        assert_eq!(stop.state, StopState::Pending);
        expected.push((stop.deadline_at, stop.id));
    }
    let mut early = quick.admission("B-2");
    early.join = Some(quick.window(2 * CUTOFF));
    let early_id = early.id.clone();
    quick.admit_as(early).await;
    assert_eq!(quick.stop(&early_id, 5).await.state, StopState::Stopped, "decided: it does not wait");
    expected.sort();
    let page = async |after: Option<&(jiff::Timestamp, StopId)>, state| {
        let place = after.map_or((jiff::Timestamp::MIN, None), |(at, id)| (*at, Some(id.clone())));
        let filter = StopFilter { urgent_after: Some(place), limit: 2, state, ..StopFilter::default() };
        let rows = world.store.stops(&Scope::Ops, &filter).await.unwrap();
        rows.into_iter().map(|row| (row.stop.deadline_at, row.stop.id)).collect::<Vec<_>>()
    };
    assert_eq!(page(None, None).await, expected[..2]);
    assert_eq!(page(Some(&expected[1]), None).await, expected[2..]);
    assert!(page(Some(&expected[2]), None).await.is_empty());
    assert_eq!(page(None, Some(StopState::Pending)).await, expected[..2]);
    assert!(page(None, Some(StopState::WithAPerson)).await.is_empty());
}

async fn escalations_stand_by_when_they_are_due(world: World) {
    let slow = world.lab("lumo", within(deaf(), 7200)).await;
    let quick = world.lab("nova", within(deaf(), 60)).await;
    for (lab, order) in at_the_labs(&slow, &quick).await {
        assert_eq!(lab.stop(&order, CUTOFF + 10).await.state, StopState::WithAPerson);
    }
    let mut expected: Vec<(jiff::Timestamp, EscalationId)> =
        world.escalations().await.into_iter().map(|row| (row.due_at, row.id)).collect();
    assert_eq!(expected.len(), 3);
    expected.sort();
    let page = async |scope: &Scope, after: Option<&(jiff::Timestamp, EscalationId)>| {
        let place = after.map_or((jiff::Timestamp::MIN, None), |(at, id)| (*at, Some(id.clone())));
        let filter = EscalationFilter { due_after: Some(place), limit: 2, ..EscalationFilter::default() };
        let rows = world.store.escalations(scope, &filter).await.unwrap();
        rows.into_iter().map(|row| (row.due_at, row.id)).collect::<Vec<_>>()
    };
    assert_eq!(page(&Scope::Ops, None).await, expected[..2], "the quick lab's is due first");
    assert_eq!(page(&Scope::Ops, Some(&expected[1])).await, expected[2..]);
    assert_eq!(page(&Scope::Lab(slow.id.clone()), None).await, expected[1..]);
    assert_eq!(page(&Scope::Lab(quick.id.clone()), None).await, expected[..1]);
    let resolve = Resolve {
        escalation: expected[0].1.clone(),
        next: world.escalation_id(),
        decision: PersonDecision::TooLate,
        reason: "on the press".to_owned(),
        at: at(CUTOFF + 20),
        actor: ops(),
    };
    world.write(Write::Resolve(Box::new(resolve))).await;
    assert_eq!(page(&Scope::Ops, None).await, expected[1..], "decided: it does not wait");
}

async fn transfers_come_in_pages_with_what_they_carry(world: World) {
    let lab = world.lab("lumo", Profile { orders_per_call: 3, ..able() }).await;
    let mut orders = BTreeSet::new();
    for nth in 0..7 {
        orders.insert(lab.admit(&format!("A-{nth}")).await);
    }
    world.close(CUTOFF).await;
    assert_eq!(lab.claim(CUTOFF + 1).await.len(), 3);
    let batch = world.order(orders.first().unwrap()).await.batch.unwrap().id;
    let all = world.store.transfers(&batch).await.unwrap();
    let first = world.store.transfer_page(&batch, None, 2).await.unwrap();
    let rest = world.store.transfer_page(&batch, Some(&first.rows[1].transfer.id), 2).await.unwrap();
    assert_eq!((first.all, first.rows.len(), rest.all, rest.rows.len()), (3, 2, 3, 1));
    for (page, whole) in first.rows.iter().chain(&rest.rows).zip(&all) {
        assert_eq!((&page.transfer, &page.key, &page.sha256), (&whole.transfer, &whole.key, &whole.sha256));
        assert_eq!(page.orders, whole.orders);
    }
    let ids: Vec<&str> = all.iter().map(|row| row.transfer.id.as_str()).collect();
    let carried = world.store.transfer_orders(&ids, 2).await.unwrap();
    let mut counts: Vec<(i64, usize)> = carried.iter().map(|it| (it.all, it.first.len())).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(1, 1), (3, 2), (3, 2)]);
    for it in &carried {
        let (order, reference) = &it.first[0];
        let facts = world.order(order).await;
        assert_eq!((&facts.reference, facts.transfer.map(|t| t.id)), (reference, Some(it.transfer.clone())));
    }
    assert!(world.store.transfer_orders(&[], 2).await.unwrap().is_empty());
    let none = world.store.transfer_page(&world.batch_id(), None, 2).await.unwrap();
    assert_eq!((none.all, none.rows.len()), (0, 0));
}

async fn a_decision_holds_for_the_batch_that_was_seen(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    lab.admit("A-2").await;
    let batch = world.order(&order).await.batch.unwrap().id;
    let decide = async |to: Option<i64>, closes: i64, waiting_max: Option<i64>| {
        let item = MoveBatch {
            batch: batch.clone(),
            to: to.map(|seconds| (at(seconds), "then".to_owned())),
            window: None,
            seen: Some(SeenBatch { closes_at: at(closes), waiting_max }),
            reason: "the press is down".to_owned(),
            at: at(5),
            actor: ops(),
        };
        match world.write(Write::MoveBatch(Box::new(item))).await {
            Written::BatchMoved(moved) => moved,
            other => panic!("{other:?}"),
        }
    };
    let otherwise = |closes, waiting| BatchMoved::Otherwise { closes_at: at(closes), waiting };
    assert_eq!(decide(Some(2 * CUTOFF), CUTOFF, None).await, BatchMoved::Done);
    assert_eq!(decide(Some(2 * CUTOFF), CUTOFF, None).await, otherwise(2 * CUTOFF, 2), "the same again");
    assert_eq!(decide(None, CUTOFF, Some(2)).await, otherwise(2 * CUTOFF, 2));
    assert_eq!(decide(None, 2 * CUTOFF, Some(1)).await, otherwise(2 * CUTOFF, 2));
    lab.stop(&order, 5).await;
    assert_eq!(decide(None, 2 * CUTOFF, Some(1)).await, BatchMoved::Done, "one was stopped: fewer wait");
    world.verify().await;
}

async fn a_scorecard_counts_answers_of_the_lab(world: World) {
    // What it has is final: told at once, and no answer.
    let last = world.lab("lumo", Profile { stops: TakesStops::FinalOnReceipt, ..able() }).await;
    let (order, _) = last.handed("A-1").await;
    assert_eq!(last.stop(&order, CUTOFF + 10).await.evidence, Some(Evidence::FinalOnReceipt));
    let score = world.store.scorecard(&last.id, at(0)).await.unwrap();
    assert_eq!((score.asked, score.at_once, score.of_lab, score.decided), (1, 1, 0, 0));
    assert_eq!((score.too_late, score.answer_p50_us), (0, None));

    // One is answered by the lab after 4 s; one by nobody, so that one of ours decides, after an hour.
    let lab = world.lab("nova", able()).await;
    let (first, _) = lab.handed("B-1").await;
    let stop = lab.stop(&first, CUTOFF + 10).await;
    lab.answer(&stop, removed(), CUTOFF + 14).await;
    let mut later = lab.admission("B-2");
    later.join = Some(lab.window(2 * CUTOFF));
    let second = later.id.clone();
    lab.admit_as(later).await;
    world.close(2 * CUTOFF).await;
    let out = lab.send(2 * CUTOFF + 1).await;
    lab.settle(&out, accepted(), 2 * CUTOFF + 2).await.unwrap();
    lab.stop(&second, 2 * CUTOFF + 10).await;
    lab.claim_stops(2 * CUTOFF + 11).await;
    lab.claim_stops(2 * CUTOFF + 10 + ANSWER).await;
    let call =
        world.escalations().await.into_iter().find(|row| row.lab == lab.id).expect("a person is called");
    let resolve = Resolve {
        escalation: call.id,
        next: world.escalation_id(),
        decision: PersonDecision::TooLate,
        reason: "on the press".to_owned(),
        at: at(2 * CUTOFF + 3600),
        actor: ops(),
    };
    world.write(Write::Resolve(Box::new(resolve))).await;
    let score = world.store.scorecard(&lab.id, at(0)).await.unwrap();
    assert_eq!((score.asked, score.before, score.at_once), (2, 0, 0));
    assert_eq!((score.of_lab, score.by_us, score.decided), (2, 1, 1), "asked of it twice, answered once");
    assert_eq!((score.stopped, score.too_late, score.late), (1, 0, 0));
    assert_eq!((score.answer_p50_us, score.answer_p90_us), (Some(4_000_000), Some(4_000_000)));
}
