//! Orders that were released to take the place of others, and their windows: those that find none hold up nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use stoppress::clock::{Clock as _, ManualClock};
use stoppress::domain::extras::LinkState;
use stoppress::domain::ids::{BatchId, OrderId};
use stoppress::domain::order::OrderState;
use stoppress::store::{Admission, Replaced};
use stoppress::work::changes::{Changes, Windows};
use stoppress::work::labs::Directory;
use stoppress::work::{Bells, Bench, Step as _};
use tokio_util::sync::CancellationToken;

use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, at};
use crate::lab_support::tools;

on_both!(who_finds_no_window_holds_up_nobody_however_many_they_are);

/// More than three steps take.
const STUCK: usize = 170;

/// An order that was stopped.
async fn stopped(lab: &Lab<'_>, reference: &str) -> OrderId {
    let old = lab.admit(&format!("OLD-{reference}")).await;
    lab.stop(&old, 4).await;
    old
}

/// One in its place, which is released at once, without a window.
async fn replaced(lab: &Lab<'_>, old: &OrderId, reference: &str, seconds: i64) -> OrderId {
    let mut item = lab.replacing(old, reference, seconds);
    item.admission = Arc::new(Admission { join: None, ..Admission::clone(&item.admission) });
    item.join = None;
    match lab.replace_as(item).await {
        Replaced::Done(new, true) => new,
        other => panic!("{other:?}"),
    }
}

async fn released(lab: &Lab<'_>, reference: &str) -> OrderId {
    let old = stopped(lab, reference).await;
    replaced(lab, &old, reference, 5).await
}

async fn who_finds_no_window_holds_up_nobody_however_many_they_are(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut stuck = Vec::with_capacity(STUCK);
    for nth in 0..STUCK {
        stuck.push(released(&lab, &format!("NONE-{nth}")).await);
    }
    // Of these, more than one step joins.
    let mut free = Vec::new();
    for nth in 0..60 {
        free.push(released(&lab, &format!("SOME-{nth}")).await);
    }
    let old = stopped(&lab, "SOME-LATE").await;
    let (sent, _) = lab.handed("SENT").await;
    let waits = lab.replace(&sent, "WAITS", CUTOFF + 3).await;
    // By pages, in order, nobody twice and nobody left out; who waits is on each.
    let (mut after, mut paged) = (None, Vec::new());
    loop {
        let page = world.store.to_join(after.as_ref(), 40).await.unwrap();
        let (released, waiting): (Vec<_>, Vec<_>) =
            page.iter().cloned().partition(|(_, state)| *state == LinkState::Released);
        paged.extend(released.iter().map(|(order, _)| order.clone()));
        after = paged.last().cloned();
        if !waiting.is_empty() {
            assert_eq!(waiting, [(waits.clone(), LinkState::Waiting)]);
            break;
        }
    }
    let mut all: Vec<OrderId> = stuck.iter().chain(&free).cloned().collect();
    all.sort();
    assert_eq!(paged, all);

    let clock = ManualClock::at(at(CUTOFF + 10));
    let tools = tools(&clock);
    let bench = Bench {
        store: Arc::clone(&world.store),
        clock: Arc::new(clock.clone()),
        random: Arc::clone(&tools.random),
        labs: Arc::new(Directory::new(tools)),
        bells: Arc::new(Bells::default()),
        holder: "here".to_owned(),
        end: CancellationToken::new(),
    };
    let opens = Arc::new(AtomicBool::new(false));
    let (later, window) = (Arc::clone(&opens), lab.window(20 * CUTOFF));
    let random = Arc::clone(&bench.random);
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let windows: Windows = Arc::new(move |facts, now| {
        *counted.lock().unwrap() += 1;
        let finds = later.load(Ordering::Relaxed) || !facts.reference.starts_with("NONE");
        let batch = BatchId::new(now, &*random);
        finds.then(|| (stoppress::domain::batch::Joining { batch, ..window.clone() }, None))
    });
    let changes = Changes::new(bench, windows);
    let joined = async |orders: &[OrderId]| {
        let mut joined = 0;
        for order in orders {
            joined += usize::from(world.order(order).await.state() == OrderState::InBatch);
        }
        joined
    };
    // Whatever it does in one go, it wants to go on with the rest at once, and with those that found none later.
    for _ in 0..4 {
        let again =
            changes.tick(clock.now()).await.unwrap().expect("those without a window are looked at again");
        if again.duration_since(clock.now()) > SignedDuration::from_secs(1) {
            break;
        }
        clock.set(again);
    }
    assert_eq!(joined(&free).await, free.len());
    assert_eq!(joined(&stuck).await, 0);
    let again = changes.tick(clock.now()).await.unwrap().unwrap();
    let wait = again.duration_since(clock.now());
    assert!(wait >= SignedDuration::from_secs(10), "not again and again without a rest: {wait:?}");
    assert!(*asked.lock().unwrap() <= STUCK * 6 + free.len());
    // One that is released from now on is not held up either.
    let late = replaced(&lab, &old, "SOME-LATE", CUTOFF + 15).await;
    changes.tick(clock.now()).await.unwrap();
    assert_eq!(joined(std::slice::from_ref(&late)).await, 1);
    // Once there is a window for the others, they get it.
    opens.store(true, Ordering::Relaxed);
    for _ in 0..8 {
        changes.tick(clock.now()).await.unwrap();
    }
    assert_eq!(joined(&stuck).await, stuck.len());
    assert_eq!(
        world.store.to_join(None, 10).await.unwrap(),
        [(waits, LinkState::Waiting)],
        "and who waits goes on waiting"
    );
    world.verify().await;
}
