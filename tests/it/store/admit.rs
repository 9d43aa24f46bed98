//! Admission: durable, once a reference, in the window that was promised.

use std::sync::Arc;

use stoppress::domain::batch::BatchPhase;
use stoppress::domain::order::OrderState;
use stoppress::store::{Admitted, BatchFilter, Scope, Write, Written};

use super::on_both;
use crate::common::world::{CUTOFF, World, able, at};
use crate::lab_support::eventually;

on_both!(
    a_new_order_is_in_its_batch,
    a_known_reference_is_the_same_order,
    a_reference_twice_in_a_set_is_one_order,
    a_closed_window_admits_nobody,
    a_set_may_open_several_windows,
    a_set_of_any_size_is_admitted_whole,
    an_order_that_awaits_payment_is_in_no_batch,
    a_direct_order_has_a_batch_of_its_own,
);

async fn a_new_order_is_in_its_batch(world: World) {
    let lab = world.lab("lumo", able()).await;
    let admission = lab.admission("A-1");
    let Admitted::New { batch: Some(batch) } = lab.admit_as(admission.clone()).await else {
        panic!("not new")
    };
    assert_eq!(batch.id, admission.join.unwrap().batch);
    let order = world.order(&admission.id).await;
    assert_eq!(order.state(), OrderState::InBatch);
    assert_eq!(order.document, admission.document);
    assert_eq!(order.batch.unwrap(), *batch);
    assert_eq!(batch.closes_at, at(CUTOFF));
    world.verify().await;
}

async fn a_known_reference_is_the_same_order(world: World) {
    let lab = world.lab("lumo", able()).await;
    let first = lab.admit("A-1").await;
    let again = lab.admit_as(lab.admission("A-1")).await;
    assert!(matches!(again, Admitted::Same(id) if id == first));
    let mut other = lab.admission("A-1");
    other.sha256 = "b".repeat(64);
    assert!(matches!(lab.admit_as(other).await, Admitted::Differs(id) if id == first));
    let mut direct = lab.admission("A-1");
    direct.join.as_mut().unwrap().direct = true;
    assert!(matches!(lab.admit_as(direct).await, Admitted::Same(_)));
    assert_eq!(world.number("select count(*) from orders").await, 1);
    assert_eq!(world.number("select count(*) from batches").await, 1, "a repeat opens no window");
}

async fn a_reference_twice_in_a_set_is_one_order(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut admissions = [lab.admission("A-1"), lab.admission("A-1"), lab.admission("A-1")];
    admissions[2].sha256 = "b".repeat(64);
    let first = admissions[0].id.clone();
    let writes = admissions.into_iter().map(|admission| Write::Admit(Arc::new(admission))).collect();
    let written = world.store.apply(writes).await.unwrap();
    assert!(matches!(written[0], Written::Admitted(Admitted::New { .. })));
    assert!(matches!(&written[1], Written::Admitted(Admitted::Same(id)) if *id == first));
    assert!(matches!(&written[2], Written::Admitted(Admitted::Differs(id)) if *id == first));
}

async fn a_closed_window_admits_nobody(world: World) {
    let lab = world.lab("lumo", able()).await;
    lab.admit("A-1").await;
    world.close(CUTOFF).await;
    let (late, twin) = (lab.admission("A-2"), lab.admission("A-2"));
    let (mut next, id) = (lab.admission("A-3"), late.id.clone());
    next.join = Some(lab.window(2 * CUTOFF));
    let writes = [late, twin, next].map(|admission| Write::Admit(Arc::new(admission))).into();
    let written = world.store.apply(writes).await.unwrap();
    assert!(matches!(written[0], Written::Admitted(Admitted::WindowClosed)));
    assert!(matches!(written[1], Written::Admitted(Admitted::WindowClosed)));
    assert!(matches!(written[2], Written::Admitted(Admitted::New { .. })));
    assert_eq!(world.number(&format!("select count(*) from orders where id = '{id}'")).await, 0);
    let mut again = lab.admission("A-2");
    again.join = Some(lab.window(2 * CUTOFF));
    assert!(matches!(lab.admit_as(again).await, Admitted::New { .. }));
    world.verify().await;
}

async fn a_set_may_open_several_windows(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    let mut admissions = vec![lumo.admission("A-1"), nova.admission("A-2"), lumo.admission("A-3")];
    admissions.push(lumo.admission("A-4"));
    admissions[3].join = Some(lumo.window(2 * CUTOFF));
    let writes = admissions.into_iter().map(|admission| Write::Admit(Arc::new(admission))).collect();
    let written = world.store.apply(writes).await.unwrap();
    let batches: Vec<_> = written
        .into_iter()
        .map(|written| match written {
            Written::Admitted(Admitted::New { batch: Some(batch) }) => batch.id.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(batches[0], batches[2]);
    assert_ne!(batches[0], batches[1]);
    assert_ne!(batches[0], batches[3]);
    let filter = BatchFilter { lab: Some(lumo.id.clone()), limit: 10, ..BatchFilter::default() };
    let rows = world.store.batches(&Scope::Ops, &filter).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.orders).sum::<i64>(), 3);
    assert!(rows.iter().all(|row| row.batch.phase == BatchPhase::Open && row.orders == row.waiting));
}

async fn an_order_that_awaits_payment_is_in_no_batch(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut admission = lab.admission("A-1");
    (admission.paid, admission.join) = (false, None);
    let id = admission.id.clone();
    assert!(matches!(lab.admit_as(admission).await, Admitted::New { batch: None }));
    assert_eq!(world.order(&id).await.state(), OrderState::AwaitingPayment);
}

async fn a_direct_order_has_a_batch_of_its_own(world: World) {
    let lab = world.lab("lumo", able()).await;
    let admit = |reference: &str| {
        let mut admission = lab.admission(reference);
        admission.join.as_mut().unwrap().direct = true;
        lab.admit_as(admission)
    };
    let (Admitted::New { batch: Some(one) }, Admitted::New { batch: Some(two) }) =
        (admit("A-1").await, admit("A-2").await)
    else {
        panic!("not new")
    };
    assert_ne!(one.id, two.id);
    assert!(one.direct && one.closes_at == two.closes_at);
}

async fn a_set_of_any_size_is_admitted_whole(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut all = 0;
    // Around the sizes for which statements with a bound set are prepared, and beyond the largest.
    for size in (1..=20).chain([31, 32, 33, 127, 191, 255, 256, 257, 600]) {
        let admissions: Vec<_> = (0..size).map(|nth| lab.admission(&format!("A-{size}-{nth}"))).collect();
        let ids: Vec<_> = admissions.iter().map(|admission| admission.id.clone()).collect();
        let writes = admissions.into_iter().map(|admission| Write::Admit(Arc::new(admission))).collect();
        let written = world.store.apply(writes).await.unwrap();
        assert_eq!(written.len(), size);
        assert!(written.iter().all(|it| matches!(it, Written::Admitted(Admitted::New { .. }))), "{size}");
        let (first, last) = (world.order(&ids[0]).await, world.order(&ids[size - 1]).await);
        assert_eq!(
            (first.reference, last.reference),
            (format!("A-{size}-0"), format!("A-{size}-{}", size - 1))
        );
        all += size as i64;
    }
    assert_eq!(world.number("select count(*) from orders").await, all);
    assert_eq!(world.number("select count(*) from standings").await, all);
    assert_eq!(world.number("select count(*) from events where kind = 'order.admitted'").await, all);
    world.verify().await;
}

#[tokio::test]
async fn the_log_of_sqlite_is_moved_beside_the_writer() {
    let world = World::sqlite().await;
    let lab = world.lab("lumo", able()).await;
    let file = world.url.strip_prefix("sqlite:").unwrap().to_owned();
    let size = || std::fs::metadata(&file).unwrap().len();
    let before = size();
    // Far fewer pages than make the writer do it.
    for set in 0..12 {
        let writes =
            (0..100).map(|nth| Write::Admit(Arc::new(lab.admission(&format!("A-{set}-{nth}"))))).collect();
        world.store.apply(writes).await.unwrap();
    }
    let log = std::fs::metadata(format!("{file}-wal")).unwrap().len();
    assert!(log < 4000 * 4096, "the writer would have done it: {log}");
    eventually("the file grows", || size() > before).await;
}
