//! Real concurrency: callers over one grouped store, and on PostgreSQL two stores as two replicas.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::lab::Profile;
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{
    Admitted, ChangeKind, Changed, Claimed, CloseDue, StopOutcome, Store, TakeOver, Write, Written, one,
};

use super::claim::named;
use super::on_both;
use crate::common::world::{CUTOFF, LEASE, World, able, accepted, at, refused, unclear};

on_both!(
    a_stop_and_a_claim_never_both_win,
    a_stop_and_a_fall_back_never_both_win,
    a_change_that_was_taken_is_what_is_sent,
    two_claimers_share_no_order,
    two_admitters_make_one_order,
    two_closers_close_once,
    two_rescuers_take_over_once,
    everything_at_once_ends_without_a_deadlock,
);

const ROUNDS: usize = 200;

async fn told_stopped(store: Arc<dyn Store>, ask: Write) -> bool {
    let Written::Stop(outcome) = one(&*store, ask).await.unwrap() else { panic!("not a stop") };
    let (StopOutcome::Asked(facts) | StopOutcome::Already(facts)) = *outcome else { panic!("not found") };
    if facts.state == StopState::Stopped {
        assert_eq!(facts.evidence, Some(Evidence::NeverHanded));
    }
    facts.state == StopState::Stopped
}

async fn claimed(store: Arc<dyn Store>, claim: Write) -> Vec<String> {
    let Written::Claimed(claimed) = one(&*store, claim).await.unwrap() else { panic!("not a claim") };
    let out = claimed.iter().filter_map(|claimed| match claimed {
        Claimed::Send(out) => Some(named(out)),
        _ => None,
    });
    out.flatten().collect()
}

async fn a_stop_and_a_claim_never_both_win(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", Profile { orders_per_call: 3, ..able() }).await;
    let (mut stopped, mut sent) = (0, 0);
    for round in 0..ROUNDS {
        let mut admission = lab.admission(&format!("A-{round}"));
        admission.join = Some(lab.window(CUTOFF + round as i64));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(CUTOFF + round as i64).await;
        let ask = Write::Stop(Box::new(lab.asking(&order, CUTOFF + 300)));
        let claim = Write::Claim(Box::new(lab.claiming(CUTOFF + 300, 4)));
        // Who is called first changes from round to round.
        let (asker, claimer) = if round % 2 == 0 { (&world.store, &other) } else { (&other, &world.store) };
        let ask = tokio::spawn(told_stopped(Arc::clone(asker), ask));
        let claim = tokio::spawn(claimed(Arc::clone(claimer), claim));
        let (told, manifest) = (ask.await.unwrap(), claim.await.unwrap());
        let contains = manifest.contains(&order.to_string());
        assert!(!(told && contains), "round {round}: told stopped, and on the wire");
        // Skipped for a moment is not lost.
        let left =
            claimed(Arc::clone(&world.store), Write::Claim(Box::new(lab.claiming(CUTOFF + 301, 4)))).await;
        let contains = contains || left.contains(&order.to_string());
        assert_ne!(told, contains, "round {round}: either stopped or handed over");
        stopped += i64::from(told);
        sent += i64::from(contains);
    }
    assert_eq!(stopped + sent, ROUNDS as i64);
    world.verify().await;
}

async fn a_stop_and_a_fall_back_never_both_win(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for round in 0..ROUNDS / 4 {
        let now = CUTOFF + round as i64;
        let mut admission = lab.admission(&format!("A-{round}"));
        admission.join = Some(lab.window(now));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(now).await;
        let out = lab.send(now).await;
        // The refusal, the stop and the next claim, all at the same time.
        let ask =
            tokio::spawn(told_stopped(Arc::clone(&other), Write::Stop(Box::new(lab.asking(&order, now)))));
        let settling = lab.settle(&out, refused(), now);
        let claim = Write::Claim(Box::new(lab.claiming(now + 10, 2)));
        let claim = tokio::spawn(claimed(Arc::clone(&other), claim));
        settling.await;
        let mut manifest = claim.await.unwrap();
        let mut told = ask.await.unwrap();
        manifest.extend(claimed(Arc::clone(&other), Write::Claim(Box::new(lab.claiming(now + 10, 2)))).await);
        let stop = world.stop_of(&order).await;
        told |= stop.state == StopState::Stopped;
        let sends = manifest.contains(&order.to_string());
        assert!(!(told && sends), "round {round}: told stopped, and on the wire again");
        assert!(told || stop.state == StopState::Pending, "{stop:?}");
        // Pending means on its way; then it is in the manifest.
        let phase = world.transfer_of(&order).await.phase;
        if stop.state == StopState::Pending {
            assert!(sends && phase == TransferPhase::Sending, "round {round}: {phase:?}");
            let out = world.transfer_of(&order).await;
            let source = stoppress::store::Source::Upload;
            lab.learn(&out, source, crate::common::world::accepted(), now + 11).await.unwrap();
        }
    }
    world.verify().await;
}

/// What was answered to a change is what the lab gets, the first time and after a fall-back.
async fn a_change_that_was_taken_is_what_is_sent(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", Profile { orders_per_call: 3, ..able() }).await;
    let mut taken = 0;
    for round in 0..ROUNDS {
        let mut admission = lab.admission(&format!("A-{round}"));
        admission.join = Some(lab.window(CUTOFF + round as i64));
        let order = admission.id.clone();
        let document = admission.document.replace("10x15", "20x30");
        lab.admit_as(admission).await;
        world.close(CUTOFF + round as i64).await;
        let mut now = CUTOFF + 300;
        if round % 2 == 1 {
            let out = lab.send(now).await;
            lab.settle(&out, refused(), now + 1).await.unwrap();
            now += 200;
        }
        let change = lab.changing(&order, ChangeKind::Document(document), now);
        let claim = Write::Claim(Box::new(lab.claiming(now, 4)));
        let (changer, claimer) = (Arc::clone(&world.store), Arc::clone(&other));
        let change =
            tokio::spawn(async move { one(&*changer, Write::Change(Box::new(change))).await.unwrap() });
        let claim = tokio::spawn(async move { one(&*claimer, claim).await.unwrap() });
        let (change, claim) = (change.await.unwrap(), claim.await.unwrap());
        let Written::Changed(changed) = change else { panic!("not a change") };
        let Written::Claimed(claimed) = claim else { panic!("not a claim") };
        let sent = match claimed.into_iter().next() {
            Some(Claimed::Send(out)) => out,
            // It was locked just then.
            None => lab.send(now + 1).await,
            other => panic!("{other:?}"),
        };
        let told = String::from_utf8(sent.body.clone()).unwrap().contains("20x30");
        assert_eq!(told, changed == Changed::Done, "round {round}: {changed:?}");
        taken += usize::from(told);
        lab.settle(&sent, accepted(), now + 2).await.unwrap();
    }
    assert!(taken > 0 && world.is_postgres() <= (taken < ROUNDS), "{taken} of {ROUNDS}: not a race");
    world.verify().await;
}

async fn two_claimers_share_no_order(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", Profile { orders_per_call: 7, ..able() }).await;
    let admissions = (0..400).map(|nth| Write::Admit(Arc::new(lab.admission(&format!("A-{nth}")))));
    world.store.apply(admissions.collect()).await.unwrap();
    world.close(CUTOFF).await;
    let mut all = Vec::new();
    while all.len() < 400 {
        let mut tasks = Vec::new();
        for nth in 0..8 {
            let store = Arc::clone(if nth % 2 == 0 { &world.store } else { &other });
            tasks.push(tokio::spawn(claimed(store, Write::Claim(Box::new(lab.claiming(CUTOFF + 1, 3))))));
        }
        let before = all.len();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        assert!(all.len() > before, "nobody got anything, and {before} of 400 are gone");
    }
    assert_eq!(all.len(), 400);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 400);
    world.verify().await;
}

async fn two_admitters_make_one_order(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    let mut tasks = Vec::new();
    for round in 0..100 {
        for store in [&world.store, &other, &world.store] {
            let store = Arc::clone(store);
            // Sets in opposite orders, in fresh windows: two replicas that wait for each other.
            let mut pair = [lab.admission(&format!("A-{round}")), lab.admission(&format!("B-{round}"))];
            pair[0].join = Some(lab.window(CUTOFF + round));
            pair[1].join = Some(lab.window(CUTOFF + 1000 + round));
            if tasks.len() % 2 == 0 {
                pair.reverse();
            }
            tasks.push(tokio::spawn(async move {
                let writes = pair.clone().map(|admission| Write::Admit(Arc::new(admission))).into();
                let written = store.apply(writes).await.unwrap();
                pair.into_iter()
                    .zip(written)
                    .map(|(asked, written)| (asked.reference, asked.id, written))
                    .collect::<Vec<_>>()
            }));
        }
    }
    let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
    let mut new = 0;
    for task in tasks {
        for (reference, id, written) in task.await.unwrap() {
            let id = match written {
                Written::Admitted(Admitted::New { .. }) => {
                    new += 1;
                    id
                }
                Written::Admitted(Admitted::Same(id)) => id,
                other => panic!("{other:?}"),
            };
            ids.entry(reference).or_default().insert(id.to_string());
        }
    }
    assert_eq!((ids.len(), new), (200, 200));
    assert!(ids.values().all(|ids| ids.len() == 1), "a reference has one order");
    assert_eq!(world.number("select count(*) from orders").await, 200);
    assert_eq!(world.number("select count(*) from batches").await, 200);
    world.verify().await;
}

async fn two_closers_close_once(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for nth in 0..60 {
        let mut admission = lab.admission(&format!("A-{nth}"));
        admission.join = Some(lab.window(CUTOFF + nth));
        lab.admit_as(admission).await;
    }
    let mut tasks = Vec::new();
    for nth in 0..24 {
        let store = Arc::clone(if nth % 2 == 0 { &world.store } else { &other });
        let close = Write::Close(CloseDue { now: at(CUTOFF + 100), limit: 7 });
        tasks.push(tokio::spawn(async move { one(&*store, close).await.unwrap() }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        let Written::Closed(closed) = task.await.unwrap() else { panic!("not closed") };
        seen.extend(closed.into_iter().map(|batch| batch.id));
    }
    seen.extend(world.close(CUTOFF + 101).await.into_iter().map(|batch| batch.id));
    assert_eq!(seen.len(), 60);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 60);
    assert_eq!(world.number("select count(*) from events where kind = 'batch.closed'").await, 60);
    world.verify().await;
}

async fn two_rescuers_take_over_once(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    for nth in 0..40 {
        lab.admit(&format!("A-{nth}")).await;
    }
    world.close(CUTOFF).await;
    lab.claim_as(lab.claiming(CUTOFF + 1, 40)).await;
    let mut tasks = Vec::new();
    for nth in 0..10 {
        let store = Arc::clone(if nth % 2 == 0 { &world.store } else { &other });
        let item = TakeOver { now: at(CUTOFF + 1 + LEASE), all_but: None, limit: 9 };
        tasks.push(tokio::spawn(async move { one(&*store, Write::TakeOver(item)).await.unwrap() }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        let Written::TakenOver(ids) = task.await.unwrap() else { panic!("not taken over") };
        seen.extend(ids);
    }
    seen.extend(world.take_over(CUTOFF + 1 + LEASE).await);
    assert_eq!(seen.len(), 40);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 40);
    assert_eq!(world.number("select count(*) from transfers where fence = 2").await, 40);
}

async fn everything_at_once_ends_without_a_deadlock(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", Profile { orders_per_call: 5, ..able() }).await;
    let mut orders = Vec::new();
    for nth in 0..60 {
        orders.push(lab.admit(&format!("A-{nth}")).await);
    }
    world.close(CUTOFF).await;
    let mut out = Vec::new();
    for claimed in lab.claim_as(lab.claiming(CUTOFF + 1, 12)).await {
        let Claimed::Send(sent) = claimed else { panic!("{claimed:?}") };
        out.push(sent);
    }
    // Sets that hold orders and want transfers, beside sets that hold transfers and want orders.
    let mut tasks = Vec::new();
    for (nth, sent) in out.iter().enumerate() {
        for (answer, store) in [(refused(), &world.store), (unclear(), &other)] {
            let settle = Write::Settle(Box::new(stoppress::store::Settle {
                transfer: sent.transfer.id.clone(),
                fence: sent.transfer.fence,
                source: stoppress::store::Source::Upload,
                answer,
                at: at(CUTOFF + 2),
                next_at: at(CUTOFF + 3),
                actor: crate::common::world::ops(),
                escalation: world.escalation_id(),
            }));
            let mut writes = vec![settle];
            for order in &orders[nth * 5..nth * 5 + 5] {
                writes.push(Write::Stop(Box::new(lab.asking(order, CUTOFF + 2))));
            }
            let store = Arc::clone(store);
            tasks.push(tokio::spawn(async move { store.apply(writes).await.map(|_| ()) }));
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for order in &orders {
        let facts = world.order(order).await;
        let (stop, phase) = (facts.stop.unwrap().state, facts.transfer.unwrap().phase);
        let fits = matches!(
            (stop, phase),
            (StopState::Stopped, TransferPhase::Closed) | (StopState::Pending, TransferPhase::Unknown)
        );
        assert!(fits || stop == StopState::Pending && phase == TransferPhase::Closed, "{stop:?} {phase:?}");
    }
    world.verify().await;
}
