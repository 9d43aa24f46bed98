//! Warnings before a cutoff: each order once a cutoff, whoever asks and however often.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use stoppress::domain::extras::HoldKind;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::Lab as Configured;
use stoppress::domain::warning::Collecting;
use stoppress::domain::zones::Zones;
use stoppress::store::sql::Dialect;
use stoppress::store::{
    Admission, ApprovalAsk, ChangeKind, NearCutoff, PutLab, Replace, Scope, Store, Warn, Warned, WarnedRow,
    Write, Written, one,
};

use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, at, ops, shop};

on_both!(
    an_order_is_warned_once_a_cutoff,
    who_waits_for_others_is_told_by_name,
    two_gateways_warn_once,
    who_never_pays_is_left_in_peace,
    an_order_that_goes_alone_misses_nothing,
    many_orders_are_warned_in_small_sets,
    an_order_of_a_group_is_warned_of_the_cutoff_of_its_group,
    what_is_looked_for_has_an_index,
);

const DAY: i64 = 86_400;

fn near(lab: &Lab<'_>, region: &str, closes: i64) -> NearCutoff {
    let (lab, region) = (lab.id.clone(), serde_json::from_str(&format!("{region:?}")).unwrap());
    NearCutoff { lab, region, closes_at: at(closes), closes_at_local: "there".to_owned() }
}

async fn warn_by(store: &dyn Store, near: &NearCutoff, limit: i64, now: i64) -> Warned {
    warn_as(store, near, Arc::default(), limit, now).await
}

async fn warn_as(
    store: &dyn Store,
    near: &NearCutoff,
    collecting: Arc<Collecting>,
    limit: i64,
    now: i64,
) -> Warned {
    let warn = Warn { near: near.clone(), collecting, limit, at: at(now) };
    let Written::Warned(warned) = one(store, Write::Warn(Box::new(warn))).await.unwrap() else {
        panic!("not a warning")
    };
    warned
}

async fn warn(world: &World, near: &NearCutoff, now: i64) -> i64 {
    let warned = warn_by(&*world.store, near, 100, now).await;
    assert!(!warned.more);
    warned.orders
}

async fn due(world: &World, near: &[NearCutoff]) -> usize {
    world.store.warnings_due(near).await.unwrap().len()
}

async fn unpaid(lab: &Lab<'_>, reference: &str) -> OrderId {
    let mut admission = lab.admission(reference);
    (admission.paid, admission.join) = (false, None);
    let id = admission.id.clone();
    lab.admit_as(admission).await;
    id
}

async fn held(lab: &Lab<'_>, reference: &str, kind: ChangeKind) -> OrderId {
    let order = lab.admit(reference).await;
    lab.change(&order, kind).await;
    order
}

/// Why each order was warned, in the order of the log.
async fn told(world: &World) -> Vec<(String, String)> {
    let log = world.store.events(0, 10_000).await.unwrap();
    let warned = log.into_iter().filter(|event| event.kind == "order.cutoff_near");
    warned.map(|event| (event.subject, event.detail["because"].to_string())).collect()
}

async fn rows(world: &World, lab: &Lab<'_>, now: i64) -> Vec<WarnedRow> {
    world.store.warned(std::slice::from_ref(&lab.id), at(now)).await.unwrap()
}

async fn an_order_is_warned_once_a_cutoff(world: World) {
    let (lab, other) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    let tonight = near(&lab, "eu", CUTOFF);
    assert_eq!(due(&world, std::slice::from_ref(&tonight)).await, 0);
    let first = unpaid(&lab, "A-1").await;
    let second = held(&lab, "A-2", ChangeKind::Hold).await;
    let third = held(&lab, "A-3", ChangeKind::Review).await;
    let both = unpaid(&lab, "A-4").await;
    lab.change(&both, ChangeKind::Hold).await;
    lab.admit("A-5").await;
    let stopped = held(&lab, "A-6", ChangeKind::Hold).await;
    lab.stop(&stopped, 5).await;
    unpaid(&other, "B-1").await;
    assert_eq!(due(&world, &[tonight.clone(), near(&other, "eu", CUTOFF)]).await, 2);

    assert_eq!(warn(&world, &tonight, 10).await, 4);
    let mut why = told(&world).await;
    why.sort();
    let mut expected = vec![
        (first.to_string(), r#"["unpaid"]"#.to_owned()),
        (second.to_string(), r#"["on_hold"]"#.to_owned()),
        (third.to_string(), r#"["in_review"]"#.to_owned()),
        (both.to_string(), r#"["unpaid","on_hold"]"#.to_owned()),
    ];
    expected.sort();
    assert_eq!(why, expected);
    // Again, of an earlier cutoff, and of another region: nobody.
    assert_eq!(due(&world, std::slice::from_ref(&tonight)).await, 0);
    assert_eq!(warn(&world, &tonight, 11).await, 0);
    assert_eq!(warn(&world, &near(&lab, "eu", CUTOFF - 60), 11).await, 0);
    assert_eq!(warn(&world, &near(&lab, "us", 2 * CUTOFF), 11).await, 0);
    // What is counted: who is still out, by what keeps them.
    let mut counted: Vec<_> = rows(&world, &lab, 11).await;
    counted.sort_by_key(|row| (row.paid, row.hold.map(HoldKind::code)));
    let place = (lab.id.clone(), serde_json::from_str("\"eu\"").unwrap());
    let row = |paid, hold| WarnedRow { place: place.clone(), closes_at: at(CUTOFF), paid, hold, orders: 1 };
    assert_eq!(
        counted,
        [
            row(false, None),
            row(false, Some(HoldKind::Hold)),
            row(true, Some(HoldKind::Hold)),
            row(true, Some(HoldKind::Review))
        ]
    );
    // The same by name, and no more than are wanted.
    let named = async |lab: &Lab<'_>, now: i64, limit: i64| -> Vec<OrderId> {
        let found = world.store.warned_orders(&lab.id, at(now), limit).await.unwrap();
        assert!(found.iter().all(|it| it.region.as_str() == "eu" && it.closes_at == at(CUTOFF)));
        found.into_iter().map(|it| it.order).collect()
    };
    let mut all = vec![first.clone(), second.clone(), third.clone(), both.clone()];
    all.sort();
    assert_eq!(named(&lab, 11, 10).await, all);
    assert_eq!(named(&lab, 11, 2).await, all[..2]);
    assert_eq!(named(&other, 11, 10).await, []);
    assert_eq!(named(&lab, CUTOFF, 10).await, []);
    lab.change(&first, ChangeKind::Pay).await;
    lab.stop(&second, 12).await;
    lab.change(&third, ChangeKind::Release).await;
    assert_eq!(rows(&world, &lab, 12).await, [row(false, Some(HoldKind::Hold))]);
    assert_eq!(rows(&world, &lab, CUTOFF).await, []);
    // Held again for the same cutoff: it was told. For the next one it is told again.
    lab.change(&third, ChangeKind::Hold).await;
    assert_eq!(warn(&world, &tonight, 13).await, 0);
    assert_eq!(rows(&world, &lab, 13).await.len(), 2);
    assert_eq!(warn(&world, &near(&lab, "eu", CUTOFF + DAY), DAY).await, 2);
    let of_third = told(&world).await.iter().filter(|(id, _)| *id == third.to_string()).count();
    assert_eq!(of_third, 2);
    assert_eq!(lab.change(&third, ChangeKind::Release).await, stoppress::store::Changed::Done);
    world.verify().await;
}

/// On SQLite there is one writer: nobody can hold a row while another writes.
#[tokio::test]
async fn who_is_locked_is_passed_over_and_warned_later() {
    let world = World::postgres().await;
    let lab = world.lab("lumo", able()).await;
    let (first, _) = (unpaid(&lab, "A-1").await, unpaid(&lab, "A-2").await);
    let tonight = near(&lab, "eu", CUTOFF);
    let mut other = PgConnection::connect(&world.url).await.unwrap();
    other.execute("begin").await.unwrap();
    let lock = format!("select 1 from standings where id = '{first}' for update");
    other.execute(AssertSqlSafe(lock)).await.unwrap();
    assert_eq!(warn(&world, &tonight, 10).await, 1, "nobody waits for a row that somebody has");
    other.execute("rollback").await.unwrap();
    assert_eq!(warn(&world, &tonight, 11).await, 1);
    assert_eq!(told(&world).await.len(), 2);
    world.verify().await;
}

async fn who_waits_for_others_is_told_by_name(world: World) {
    let lab = world.lab("lumo", able()).await;
    // The lab has the old one, and is asked: the new one waits.
    let (old, _) = lab.handed("A-1").await;
    let admission = Arc::new(Admission { at: at(CUTOFF + 5), ..lab.admission("A-2") });
    let new = admission.id.clone();
    let mut stop = lab.asking(&old, CUTOFF + 5);
    stop.scope = Scope::Platform(shop());
    let replace = Replace { stop, admission, join: Some(lab.window(CUTOFF + DAY)), hold: world.hold_id() };
    world.write(Write::Replace(Box::new(replace))).await;
    // A merchant is to decide.
    let asked = lab.admission("A-3");
    let asked = Admission { join: Some(lab.window(CUTOFF + DAY)), at: at(CUTOFF + 5), ..asked };
    let order = asked.id.clone();
    lab.admit_as(asked).await;
    let mut stop = lab.asking(&order, CUTOFF + 6);
    stop.scope = Scope::Platform(shop());
    let (id, hold) = (world.approval_id(), world.hold_id());
    let ask = ApprovalAsk { id, hold, due_at: at(CUTOFF + 2 * DAY), stop };
    world.write(Write::AskApproval(Box::new(ask))).await;
    assert_eq!(warn(&world, &near(&lab, "eu", CUTOFF + DAY), CUTOFF + 7).await, 2);
    let mut why = told(&world).await;
    why.sort();
    let mut expected = vec![
        (new.to_string(), r#"["replacing"]"#.to_owned()),
        (order.to_string(), r#"["awaits_merchant"]"#.to_owned()),
    ];
    expected.sort();
    assert_eq!(why, expected);
    let mut holds: Vec<_> = rows(&world, &lab, CUTOFF + 8).await.into_iter().map(|row| row.hold).collect();
    holds.sort_by_key(|hold| hold.map(HoldKind::code));
    assert_eq!(holds, [Some(HoldKind::Approval), Some(HoldKind::Replacing)]);
    // Held by somebody beside: that is counted, and both are told.
    lab.change(&order, ChangeKind::Hold).await;
    assert_eq!(warn(&world, &near(&lab, "eu", CUTOFF + 2 * DAY), CUTOFF + 9).await, 2);
    assert!(told(&world).await.contains(&(order.to_string(), r#"["on_hold","awaits_merchant"]"#.to_owned())));
    assert!(rows(&world, &lab, CUTOFF + 10).await.iter().any(|row| row.hold == Some(HoldKind::Hold)));
}

async fn two_gateways_warn_once(world: World) {
    let lab = world.lab("lumo", able()).await;
    for nth in 0..60 {
        unpaid(&lab, &format!("A-{nth}")).await;
    }
    let replica = world.replica().await;
    let mut warned = 0;
    for night in 1..=3 {
        let near = near(&lab, "eu", CUTOFF + night * DAY);
        let now = night * DAY;
        loop {
            let (one, two) =
                tokio::join!(warn_by(&*world.store, &near, 7, now), warn_by(&*replica, &near, 7, now));
            warned += one.orders + two.orders;
            if due(&world, std::slice::from_ref(&near)).await == 0 {
                break;
            }
        }
    }
    assert_eq!(warned, 180);
    let mut told: Vec<_> = told(&world).await;
    assert_eq!(told.len(), 180);
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 60);
    world.verify().await;
}

async fn who_never_pays_is_left_in_peace(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (never, waits) = (unpaid(&lab, "A-1").await, held(&lab, "A-2", ChangeKind::Hold).await);
    let within = near(&lab, "eu", 13 * DAY + CUTOFF);
    assert_eq!(warn(&world, &within, 13 * DAY).await, 2);
    let beyond = near(&lab, "eu", 15 * DAY + CUTOFF);
    assert_eq!(warn(&world, &beyond, 15 * DAY).await, 1);
    let last = told(&world).await.pop().unwrap();
    assert_eq!(last, (waits.to_string(), r#"["on_hold"]"#.to_owned()));
    let counted: i64 = rows(&world, &lab, 15 * DAY).await.iter().map(|row| row.orders).sum();
    assert_eq!(counted, 1);
    assert_eq!(due(&world, std::slice::from_ref(&beyond)).await, 0, "nobody is looked at twice");
    // Once it is paid for, it waits for a cutoff like any other.
    lab.change(&never, ChangeKind::Hold).await;
    let mut pay = lab.changing(&never, ChangeKind::Pay, 15 * DAY);
    pay.join = None;
    lab.change_as(pay).await;
    assert_eq!(warn(&world, &near(&lab, "eu", 16 * DAY + CUTOFF), 16 * DAY).await, 2);
    world.verify().await;
}

async fn an_order_that_goes_alone_misses_nothing(world: World) {
    let lab = world.lab("lumo", able()).await;
    for (reference, more) in
        [("D-1", r#""transfer":"direct""#), ("A-1", r#""metadata":{"transfer":"direct"}"#)]
    {
        let mut admission = lab.admission(reference);
        (admission.paid, admission.join) = (false, None);
        admission.document = format!(r#"{{"reference":"{reference}",{more}}}"#);
        lab.admit_as(admission).await;
    }
    let tonight = near(&lab, "eu", CUTOFF);
    assert_eq!(warn(&world, &tonight, 10).await, 1, "only the one whose platform calls something so");
    assert_eq!(due(&world, std::slice::from_ref(&tonight)).await, 0);
    assert_eq!(rows(&world, &lab, 10).await.len(), 1);
}

async fn many_orders_are_warned_in_small_sets(world: World) {
    let lab = world.lab("lumo", able()).await;
    for nth in 0..25 {
        unpaid(&lab, &format!("A-{nth}")).await;
    }
    let tonight = near(&lab, "eu", CUTOFF);
    let mut sets = Vec::new();
    loop {
        let warned = warn_by(&*world.store, &tonight, 10, 10).await;
        sets.push(warned.orders);
        if !warned.more {
            break;
        }
    }
    assert_eq!(sets, [10, 10, 5]);
    world.verify().await;
}

/// A region that makes mugs in a group of its own, or not.
fn grouped(products: &[&str]) -> Value {
    let calendar = json!({"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]});
    let groups = json!([{"id": "mugs", "products": products, "calendar": calendar}]);
    json!({"id": "lumo", "name": "Lumo", "driver": {"kind": "person"}, "profile": {},
        "regions": [{"id": "eu", "calendar": calendar, "groups": groups}]})
}

async fn an_order_of_a_group_is_warned_of_the_cutoff_of_its_group(world: World) {
    let lab = world.lab("lumo", able()).await;
    let put = async |spec: &Value| {
        let put =
            PutLab { id: lab.id.clone(), spec: spec.to_string(), if_version: None, at: at(5), actor: ops() };
        world.write(Write::PutLab(Box::new(put))).await;
        let spec = serde_json::from_value(spec.clone()).unwrap();
        Arc::new(Collecting::of(&Configured::build(spec, &Zones::bundled(), at(5)).unwrap(), at(5)))
    };
    let document = |reference: &str, sku: &str| {
        json!({"reference": reference, "items": [{"id": "1", "sku": sku, "quantity": 1}]}).to_string()
    };
    let mut ids = Vec::new();
    for (reference, sku) in [("A-1", "mug"), ("A-2", "print")] {
        let mut admission = lab.admission(reference);
        (admission.paid, admission.join, admission.document) = (false, None, document(reference, sku));
        ids.push(admission.id.clone());
        lab.admit_as(admission).await;
    }
    let [mug, print] = &ids[..] else { panic!("two orders") };
    let places = put(&grouped(&["mug"])).await;
    let warn = async |places: &Arc<Collecting>, region: &str, closes: i64| {
        let near = near(&lab, region, closes);
        let before = told(&world).await.len();
        warn_as(&*world.store, &near, Arc::clone(places), 100, closes - 60).await;
        told(&world).await.split_off(before).into_iter().map(|(order, _)| order).collect::<Vec<_>>()
    };
    assert_eq!(warn(&places, "eu.mugs", CUTOFF).await, [mug.to_string()]);
    let counted = rows(&world, &lab, CUTOFF - 60).await;
    assert_eq!((counted.len(), counted[0].place.1.as_str(), counted[0].orders), (1, "eu.mugs", 1));
    assert_eq!(warn(&places, "eu", 2 * CUTOFF).await, [print.to_string()]);
    // What is bought now is something else.
    assert_eq!(lab.change(print, ChangeKind::Review).await, stoppress::store::Changed::Done);
    let mut other = lab.changing(print, ChangeKind::Document(document("A-2", "mug")), 20);
    other.join = None;
    assert_eq!(lab.change_as(other).await, stoppress::store::Changed::Done);
    assert_eq!(warn(&places, "eu.mugs", 3 * CUTOFF).await.len(), 2);
    assert_eq!(warn(&places, "eu", 4 * CUTOFF).await, Vec::<String>::new());
    // The lab makes mugs with everything else: nobody waits for a group that takes none.
    let places = put(&grouped(&["cup"])).await;
    assert_eq!(warn(&places, "eu.mugs", 5 * CUTOFF).await, Vec::<String>::new());
    assert_eq!(warn(&places, "eu", 6 * CUTOFF).await.len(), 2);
    world.verify().await;
}

/// A million orders that wait must not be read to find the few that were not warned.
async fn what_is_looked_for_has_an_index(world: World) {
    let statements = if world.is_postgres() { Dialect::Postgres } else { Dialect::Sqlite }.statements();
    let wanted = [
        (statements.warnings.warn_due, "standings_outside", 1),
        (statements.warnings.warn_unplaced, "standings_outside", 2),
        (statements.warnings.warn_take, "standings_outside", 4),
        (statements.warnings.warned, "standings_warned", 3),
    ];
    for (sql, index, places) in wanted {
        let plan = if world.is_postgres() {
            let mut other = PgConnection::connect(&world.url).await.unwrap();
            let settings = "set enable_seqscan = off; set plan_cache_mode = force_generic_plan";
            other.execute(settings).await.unwrap();
            other.execute(AssertSqlSafe(format!("prepare it as {sql}"))).await.unwrap();
            let call = format!("explain execute it({})", vec!["null"; places].join(", "));
            let rows = sqlx::query(AssertSqlSafe(call)).fetch_all(&mut other).await.unwrap();
            rows.iter().map(|row| sqlx::Row::get::<String, _>(row, 0)).collect::<Vec<_>>().join("\n")
        } else {
            let plan = format!("explain query plan {sql}");
            let mut other = sqlx::SqliteConnection::connect(&world.url).await.unwrap();
            let rows = sqlx::query(AssertSqlSafe(plan)).fetch_all(&mut other).await.unwrap();
            rows.iter().map(|row| sqlx::Row::get::<String, _>(row, "detail")).collect::<Vec<_>>().join("\n")
        };
        // What PostgreSQL takes of the two is open while the table is empty; that it takes one is not.
        let index = if world.is_postgres() { "using standings_" } else { index };
        assert!(plan.contains(index) && !plan.contains("Seq Scan on standings"), "{sql}\n{plan}");
    }
}
