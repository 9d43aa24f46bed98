//! Routes, and windows that are full.

use std::sync::Arc;

use serde_json::value::RawValue;
use stoppress::domain::batch::{BatchFacts, BatchPhase, Joining};
use stoppress::domain::ids::{BatchId, PlatformId};
use stoppress::store::{
    Admission, Admitted, BatchFilter, CloseFull, ClosedBatch, Put, PutRoutes, Scope, Write, Written,
};

use super::on_both;
use crate::common::lab::Lab;
use crate::common::world::{CUTOFF, World, able, at, ops};

on_both!(
    routes_have_versions,
    a_route_is_part_of_the_admission,
    a_full_batch_closes_and_another_takes_its_window,
    a_batch_that_promised_closes_at_its_cutoff_only,
    who_comes_while_it_closes_is_in_one_batch_or_the_next
);

async fn put(world: &World, spec: Option<&str>, if_version: Option<i64>) -> Put {
    let (id, spec) = (PlatformId::parse("shop").unwrap(), spec.map(str::to_owned));
    let item = PutRoutes { id, spec, if_version, at: at(0), actor: ops() };
    match world.write(Write::PutRoutes(Box::new(item))).await {
        Written::Put(put) => put,
        other => panic!("{other:?}"),
    }
}

async fn routes_have_versions(world: World) {
    let (one, two) = (Some(r#"{"rules":[]}"#), Some(r#"{"rules":[1]}"#));
    assert_eq!(put(&world, None, None).await, Put::NotFound);
    assert_eq!(put(&world, one, Some(1)).await, Put::Version(0));
    assert_eq!(put(&world, one, Some(0)).await, Put::Done(1));
    assert_eq!(put(&world, one, None).await, Put::Unchanged(1));
    assert_eq!(put(&world, two, Some(0)).await, Put::Version(1));
    assert_eq!(put(&world, two, None).await, Put::Done(2));
    let rows = world.store.routes().await.unwrap();
    assert_eq!((rows.len(), rows[0].id.as_str(), rows[0].version), (1, "shop", 2));
    assert_eq!(Some(rows[0].spec.as_str()), two);
    assert_eq!(put(&world, None, None).await, Put::Done(3));
    assert_eq!(put(&world, None, None).await, Put::NotFound);
    assert!(world.store.routes().await.unwrap().is_empty());
    assert_eq!(put(&world, two, Some(0)).await, Put::Done(4), "the same rules bring them back");
    let log = world.store.log(&["routes_shop"]).await.unwrap();
    let kinds: Vec<&str> = log.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["routes.created", "routes.changed", "routes.deleted", "routes.created"]);
    world.verify().await;
}

async fn a_route_is_part_of_the_admission(world: World) {
    let lab = world.lab("lumo", able()).await;
    let route = RawValue::from_string(r#"{"routes":"shop"}"#.to_owned()).unwrap();
    let until = Some(at(CUTOFF - 100));
    let join = Some(Joining { until, ..lab.window(CUTOFF) });
    let routed = Admission { route: Some(route), join, ..lab.admission("A-1") };
    let plain = lab.admission("A-2");
    for (admission, expected) in [(routed, Some("shop")), (plain, None)] {
        let id = admission.id.clone();
        assert!(matches!(lab.admit_as(admission).await, Admitted::New { .. }));
        let log = world.store.log(&[id.as_str()]).await.unwrap();
        let detail = &log[0].detail;
        assert_eq!(detail["route"]["routes"].as_str(), expected);
        assert_eq!(detail.get("route").is_some(), expected.is_some(), "no word of it where it named its lab");
        assert_eq!(detail.get("until").is_some(), expected.is_some());
    }
    world.verify().await;
}

/// A window that promises nothing.
fn open_ended(lab: &Lab<'_>) -> Joining {
    Joining { promised: false, ..lab.window(CUTOFF) }
}

async fn admit(lab: &Lab<'_>, reference: &str) -> Arc<BatchFacts> {
    let admission = Admission { join: Some(open_ended(lab)), ..lab.admission(reference) };
    match lab.admit_as(admission).await {
        Admitted::New { batch } => batch.unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn close(world: &World, batch: &BatchId, orders: i64, seconds: i64) -> Vec<ClosedBatch> {
    let item = CloseFull { batch: batch.clone(), orders, at: at(seconds) };
    match world.write(Write::CloseFull(Box::new(item))).await {
        Written::Closed(closed) => closed,
        other => panic!("{other:?}"),
    }
}

async fn batch(world: &World, id: &BatchId) -> BatchFacts {
    let filter = BatchFilter { id: Some(id.clone()), limit: 1, ..BatchFilter::default() };
    world.store.batches(&Scope::Ops, &filter).await.unwrap().remove(0).batch
}

async fn a_full_batch_closes_and_another_takes_its_window(world: World) {
    let lab = world.lab("lumo", able()).await;
    let first = admit(&lab, "A-1").await;
    assert!(!first.promised);
    assert!(close(&world, &first.id, 2, 10).await.is_empty(), "one is not two");
    assert_eq!(admit(&lab, "A-2").await.id, first.id);
    assert_eq!(close(&world, &first.id, 2, 10).await.len(), 1);
    assert!(close(&world, &first.id, 2, 10).await.is_empty(), "it is closed");
    let closed = batch(&world, &first.id).await;
    assert_eq!((closed.phase, closed.closed_at), (BatchPhase::Closed, Some(at(10))));
    // The same cutoff again, and full at the very same instant.
    let second = admit(&lab, "A-3").await;
    assert_ne!(second.id, first.id);
    assert_eq!((second.closes_at, second.phase), (at(CUTOFF), BatchPhase::Open));
    assert_eq!(close(&world, &second.id, 1, 10).await.len(), 1);
    let third = admit(&lab, "A-4").await;
    assert_eq!(third.window_at, at(CUTOFF));
    // Both are handed over before the cutoff; what is not full waits for it.
    let sent = lab.claim(11).await;
    assert_eq!(sent.len(), 3, "one order a call: {sent:?}");
    assert!(close(&world, &third.id, 1, CUTOFF).await.is_empty(), "at its cutoff it closes as any other");
    world.close(CUTOFF).await;
    assert_eq!(batch(&world, &third.id).await.closed_at, Some(at(CUTOFF)), "never later than the cutoff");
    assert!(close(&world, &third.id, 1, CUTOFF + 1).await.is_empty());
    let log = world.store.log(&[first.id.as_str()]).await.unwrap();
    let full = log.iter().find(|event| event.kind == "batch.closed").unwrap();
    assert_eq!((full.detail["full"].as_bool(), full.detail["orders"].as_i64()), (Some(true), Some(2)));
    world.verify().await;
}

async fn a_batch_that_promised_closes_at_its_cutoff_only(world: World) {
    let lab = world.lab("lumo", able()).await;
    let admission = lab.admission("A-1");
    let Admitted::New { batch: Some(promised) } = lab.admit_as(admission).await else {
        panic!("not admitted")
    };
    assert!(promised.promised);
    // A change of the lab does not take back what was promised: who joins now joins the same window.
    assert_eq!(admit(&lab, "A-2").await.id, promised.id);
    assert!(close(&world, &promised.id, 1, 10).await.is_empty());
    assert_eq!(batch(&world, &promised.id).await.phase, BatchPhase::Open);
    // What was stopped does not fill a window.
    let other = Admission {
        join: Some(Joining { promised: false, ..lab.window(CUTOFF + 60) }),
        ..lab.admission("A-3")
    };
    let id = other.id.clone();
    let Admitted::New { batch: Some(open) } = lab.admit_as(other).await else { panic!("not admitted") };
    lab.stop(&id, 5).await;
    assert!(close(&world, &open.id, 1, 10).await.is_empty());
    world.verify().await;
}

async fn who_comes_while_it_closes_is_in_one_batch_or_the_next(world: World) {
    let lab = world.lab("lumo", able()).await;
    let first = admit(&lab, "A-0").await;
    let mut coming = Vec::new();
    for nth in 1..40 {
        let admission = Admission { join: Some(open_ended(&lab)), ..lab.admission(&format!("A-{nth}")) };
        let mut writes = vec![Write::Admit(Arc::new(admission))];
        if nth % 8 == 0 {
            let full = CloseFull { batch: first.id.clone(), orders: 3, at: at(10) };
            writes.push(Write::CloseFull(Box::new(full)));
        }
        let store = Arc::clone(&world.store);
        coming.push(tokio::spawn(async move { store.apply(writes).await.unwrap() }));
    }
    let (mut joined, mut late) = (0, 0);
    for task in coming {
        for written in task.await.unwrap() {
            match written {
                Written::Admitted(Admitted::New { batch }) => joined += usize::from(batch.is_some()),
                Written::Admitted(Admitted::WindowClosed) => late += 1,
                _ => {}
            }
        }
    }
    assert_eq!(joined + late, 39);
    // Whoever of them looked may have looked too early.
    close(&world, &first.id, 3, 11).await;
    let rows = world
        .store
        .batches(&Scope::Ops, &BatchFilter { limit: 100, ..BatchFilter::default() })
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|row| row.orders).sum::<i64>(), joined as i64 + 1, "each is in one batch");
    let closed: Vec<_> = rows.iter().filter(|row| row.batch.phase != BatchPhase::Open).collect();
    assert_eq!((closed.len(), &closed[0].batch.id), (1, &first.id));
    assert!(closed[0].orders >= 3, "not before it was full");
    world.verify().await;
}
