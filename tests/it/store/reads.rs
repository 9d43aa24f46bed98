//! Lists, cursors, what is due, numbers for metrics, and how stops of a lab ended.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use stoppress::domain::batch::BatchPhase;
use stoppress::domain::ids::{LabId, PlatformId};
use stoppress::domain::lab::Profile;
use stoppress::domain::order::OrderState;
use stoppress::domain::stop::StopState;
use stoppress::store::{
    Admission, BatchFilter, Concerned, EscalationFilter, OddsRow, OrderFilter, Scope, StopFilter,
};

use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, HORIZON, LEASE, World, able, at, deaf, forgetful, removed, shop, unclear, will_print,
};

on_both!(
    orders_are_listed_newest_first,
    orders_are_filtered,
    batches_are_listed,
    open_windows_are_those_of_all_labs,
    stops_are_listed,
    escalations_are_listed,
    what_is_due,
    numbers,
    odds,
    a_stretch_of_the_log_is_what_its_scope_may_see,
);

async fn orders_are_listed_newest_first(world: World) {
    let lab = world.lab("lumo", able()).await;
    let mut all = Vec::new();
    for nth in 0..7 {
        all.push(lab.admit(&format!("A-{nth}")).await);
    }
    all.reverse();
    for scope in [Scope::Ops, Scope::Platform(shop()), Scope::Lab(lab.id.clone())] {
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let filter = OrderFilter { before, limit: 3, ..OrderFilter::default() };
            let page = world.store.list_orders(&scope, &filter).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 3);
            seen.extend(page.iter().map(|order| order.id.clone()));
            before = seen.last().cloned();
        }
        assert_eq!(seen, all, "{scope:?}");
    }
    for scope in
        [Scope::Platform(PlatformId::parse("other").unwrap()), Scope::Lab(LabId::parse("other").unwrap())]
    {
        let filter = OrderFilter { limit: 3, ..OrderFilter::default() };
        assert!(world.store.list_orders(&scope, &filter).await.unwrap().is_empty());
        let other = OrderFilter { lab: Some(lab.id.clone()), limit: 3, ..OrderFilter::default() };
        assert!(world.store.list_orders(&scope, &other).await.unwrap().is_empty(), "a filter opens no door");
    }
}

async fn orders_are_filtered(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    let (one, two) = (lumo.admit("A-1").await, nova.admit("A-2").await);
    let three = lumo.admit("A-3").await;
    lumo.stop(&three, 5).await;
    let batch = world.order(&one).await.batch.unwrap().id;
    let list = async |filter: OrderFilter| {
        let filter = OrderFilter { limit: 10, ..filter };
        let page = world.store.list_orders(&Scope::Ops, &filter).await.unwrap();
        page.into_iter().map(|order| order.id).collect::<Vec<_>>()
    };
    let any = OrderFilter::default;
    assert_eq!(list(OrderFilter { lab: Some(nova.id.clone()), ..any() }).await, std::slice::from_ref(&two));
    assert_eq!(list(OrderFilter { batch: Some(batch), ..any() }).await, [three.clone(), one.clone()]);
    assert_eq!(
        list(OrderFilter { state: Some(OrderState::Stopped), ..any() }).await,
        std::slice::from_ref(&three)
    );
    assert_eq!(list(OrderFilter { state: Some(OrderState::InBatch), ..any() }).await, [two, one]);
    assert!(list(OrderFilter { state: Some(OrderState::Shipped), ..any() }).await.is_empty());
    let region = serde_json::from_str("\"us\"").unwrap();
    assert!(list(OrderFilter { region: Some(region), ..any() }).await.is_empty());
}

async fn batches_are_listed(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    let (one, two) = (lumo.admit("A-1").await, lumo.admit("A-2").await);
    nova.admit("B-1").await;
    let mut later = lumo.admission("A-3");
    later.join = Some(lumo.window(2 * CUTOFF));
    lumo.admit_as(later).await;
    lumo.stop(&two, 5).await;
    world.close(CUTOFF).await;
    let batch = world.order(&one).await.batch.unwrap();
    let list = async |scope: &Scope, filter: BatchFilter| {
        world.store.batches(scope, &BatchFilter { limit: 10, ..filter }).await.unwrap()
    };
    let any = BatchFilter::default;
    let one = list(&Scope::Ops, BatchFilter { id: Some(batch.id.clone()), ..any() }).await;
    assert_eq!(one.len(), 1);
    assert_eq!((one[0].orders, one[0].stopped, one[0].waiting), (2, 1, 1));
    assert_eq!(list(&Scope::Ops, any()).await.len(), 3);
    assert_eq!(list(&Scope::Ops, BatchFilter { phase: Some(BatchPhase::Open), ..any() }).await.len(), 1);
    assert_eq!(list(&Scope::Ops, BatchFilter { lab: Some(nova.id.clone()), ..any() }).await.len(), 1);
    let own = Scope::Lab(lumo.id.clone());
    assert_eq!(list(&own, any()).await.len(), 2);
    assert_eq!(list(&own, BatchFilter { lab: Some(nova.id.clone()), ..any() }).await.len(), 2);
    let other = Scope::Lab(nova.id.clone());
    assert!(list(&other, BatchFilter { id: Some(batch.id.clone()), ..any() }).await.is_empty());
    let all = list(&Scope::Ops, any()).await;
    let rest = BatchFilter { before: Some(all[0].batch.id.clone()), ..any() };
    assert_eq!(list(&Scope::Ops, rest).await.len(), 2);
    let open = world.store.open_batches(&lumo.id).await.unwrap();
    assert_eq!((open.len(), open[0].closes_at), (1, at(2 * CUTOFF)));
}

async fn open_windows_are_those_of_all_labs(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    assert_eq!(world.store.open_windows().await.unwrap(), []);
    let mut labs = Vec::new();
    for lab in [&lumo, &nova] {
        lab.admit(&format!("of {}", lab.id)).await;
        labs.extend(world.store.open_batches(&lab.id).await.unwrap());
    }
    assert_eq!(labs.len(), 2);
    let mut open = world.store.open_windows().await.unwrap();
    open.sort_by(|a, b| a.lab.cmp(&b.lab));
    assert_eq!(open, labs);
    world.close(CUTOFF).await;
    assert_eq!(world.store.open_windows().await.unwrap(), []);
}

async fn stops_are_listed(world: World) {
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", deaf()).await);
    let (granted, open) = (lumo.admit("A-1").await, lumo.admit("A-2").await);
    let first = lumo.stop(&granted, 5).await;
    nova.admit("B-1").await;
    world.close(CUTOFF).await;
    let out = lumo.send(CUTOFF + 1).await;
    lumo.settle(&out, will_print(), CUTOFF + 2).await.unwrap();
    let second = lumo.stop(&open, CUTOFF + 9).await;
    let list = async |scope: &Scope, filter: StopFilter| {
        let rows = world.store.stops(scope, &StopFilter { limit: 10, ..filter }).await.unwrap();
        rows.into_iter().map(|row| row.stop.id).collect::<Vec<_>>()
    };
    let any = StopFilter::default;
    let stranger = Scope::Platform(PlatformId::parse("other").unwrap());
    for scope in [Scope::Ops, Scope::Platform(shop()), Scope::Lab(lumo.id.clone())] {
        assert_eq!(list(&scope, any()).await, [second.id.clone(), first.id.clone()], "{scope:?}");
        let pending = StopFilter { state: Some(StopState::Pending), ..any() };
        assert_eq!(list(&scope, pending).await, std::slice::from_ref(&second.id));
        let one = StopFilter { id: Some(first.id.clone()), ..any() };
        assert_eq!(list(&scope, one).await, std::slice::from_ref(&first.id));
        let rest = StopFilter { before: Some(second.id.clone()), ..any() };
        assert_eq!(list(&scope, rest).await, std::slice::from_ref(&first.id));
    }
    for scope in [stranger, Scope::Lab(nova.id.clone())] {
        assert!(list(&scope, any()).await.is_empty());
        assert!(list(&scope, StopFilter { id: Some(first.id.clone()), ..any() }).await.is_empty());
    }
    let rows = world.store.stops(&Scope::Ops, &StopFilter { limit: 1, ..any() }).await.unwrap();
    assert_eq!((rows[0].platform.as_str(), rows[0].reference.as_str()), ("shop", "A-2"));
    assert_eq!(rows[0].lab, lumo.id);
}

async fn escalations_are_listed(world: World) {
    let lab = world.lab("lumo", deaf()).await;
    let (order, _) = lab.handed("A-1").await;
    lab.stop(&order, CUTOFF + 9).await;
    let list = async |scope: &Scope, open: Option<bool>| {
        let filter = EscalationFilter { open, limit: 10, ..EscalationFilter::default() };
        world.store.escalations(scope, &filter).await.unwrap().len()
    };
    assert_eq!(list(&Scope::Ops, None).await, 1);
    assert_eq!(list(&Scope::Ops, Some(true)).await, 1);
    assert_eq!(list(&Scope::Ops, Some(false)).await, 0);
    assert_eq!(list(&Scope::Lab(lab.id.clone()), None).await, 1);
    assert_eq!(list(&Scope::Lab(LabId::parse("other").unwrap()), None).await, 0);
    assert_eq!(list(&Scope::Platform(shop()), None).await, 0);
}

async fn what_is_due(world: World) {
    let lab = world.lab("lumo", forgetful()).await;
    let due = async |seconds| world.store.due(at(seconds)).await.unwrap();
    assert_eq!(due(0).await.close_at, None);
    let order = lab.admit("A-1").await;
    assert_eq!(due(0).await.close_at, Some(at(CUTOFF)));
    assert!(due(CUTOFF).await.labs.is_empty());
    world.close(CUTOFF).await;
    let now = due(CUTOFF).await;
    assert_eq!((now.close_at, &now.labs[..]), (None, std::slice::from_ref(&lab.id)));
    let out = lab.send(CUTOFF + 1).await;
    let now = due(CUTOFF + 1).await;
    assert_eq!((now.lease_at, now.transfer_at), (Some(at(CUTOFF + 1 + LEASE)), None));
    assert!(now.labs.is_empty());
    lab.stop(&order, CUTOFF + 2).await;
    assert_eq!(due(CUTOFF + 2).await.stop_labs, std::slice::from_ref(&lab.id));
    lab.settle(&out, unclear(), CUTOFF + 3).await.unwrap();
    let now = due(CUTOFF + 3).await;
    assert_eq!((now.lease_at, now.transfer_at), (None, Some(at(CUTOFF + 8))));
    assert_eq!(due(CUTOFF + 8).await.labs, std::slice::from_ref(&lab.id));
    lab.claim(CUTOFF + 8).await;
    let now = due(CUTOFF + 8).await;
    assert!(now.labs.is_empty());
    assert_eq!(now.transfer_at, Some(at(CUTOFF + 1 + HORIZON)));
}

async fn numbers(world: World) {
    let lab = world.lab("lumo", able()).await;
    let waits = lab.admit("A-1").await;
    let gauges = world.store.gauges(at(0)).await.unwrap();
    assert_eq!(gauges.waiting, [("lumo".to_owned(), 1)]);
    lab.stop(&waits, 1).await;
    let (order, _) = lab.lost("A-2").await;
    lab.stop(&order, CUTOFF + 9).await;
    let gauges = world.store.gauges(at(CUTOFF + 10)).await.unwrap();
    assert!(gauges.waiting.is_empty());
    assert_eq!(gauges.transfers, [(2, 1)]);
    assert_eq!(gauges.stops, [(1, 1)]);
    assert_eq!((gauges.stops_overdue, gauges.escalations), (0, 0));
    let late = world.store.gauges(at(CUTOFF + 10 + ANSWER)).await.unwrap();
    assert_eq!(late.stops_overdue, 1);
    lab.claim_stops(CUTOFF + 10 + ANSWER).await;
    let gauges = world.store.gauges(at(CUTOFF + 10 + ANSWER)).await.unwrap();
    assert_eq!((gauges.stops_overdue, gauges.escalations), (0, 1));
    world.store.ping().await.unwrap();
}

async fn odds(world: World) {
    for (nth, (asked, answer)) in
        [(60, removed()), (100, removed()), (110, will_print()), (5000, removed())].into_iter().enumerate()
    {
        let lab = world.lab("lumo", able()).await;
        let mut admission = lab.admission(&format!("A-{nth}"));
        admission.join = Some(lab.window(CUTOFF + nth as i64));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(CUTOFF + nth as i64).await;
        let out = lab.send(CUTOFF + 10).await;
        lab.settle(&out, crate::common::world::accepted(), CUTOFF + 10).await.unwrap();
        let stop = lab.stop(&order, CUTOFF + 10 + asked).await;
        lab.answer(&stop, answer, CUTOFF + 20 + asked).await;
    }
    let lab = LabId::parse("lumo").unwrap();
    let odds = async |seconds: i64| world.store.odds(&lab, seconds * 1_000_000).await.unwrap();
    assert_eq!(odds(100).await, OddsRow { asked: 3, stopped: 2 });
    assert_eq!(odds(4000).await, OddsRow { asked: 1, stopped: 1 });
    assert_eq!(odds(1).await, OddsRow::default());
}

async fn a_stretch_of_the_log_is_what_its_scope_may_see(world: World) {
    let together = Profile { orders_per_call: 10, ..able() };
    let (lumo, nova) = (world.lab("lumo", together).await, world.lab("nova", able()).await);
    let rival = PlatformId::parse("rival").unwrap();
    let theirs = Admission { platform: rival.clone(), ..lumo.admission("T-1") };
    let their_order = theirs.id.clone();
    lumo.admit_as(theirs).await;
    let (ours, out) = lumo.handed("A-1").await;
    let elsewhere = nova.admit("A-2").await;
    let whole = world.store.events(0, 200).await.unwrap();
    assert_eq!(world.store.log_end().await.unwrap(), whole.last().unwrap().seq);
    // Everything, by stretches of every length: the same entries, none twice, none left out.
    for limit in [1, 2, 3, 7, 200] {
        let mut after = 0;
        let mut seen = Vec::new();
        loop {
            let stretch = world.store.stretch(&Scope::Ops, after, limit).await.unwrap();
            seen.extend(stretch.events.into_iter().map(|sighting| sighting.event));
            if stretch.seen == after {
                break;
            }
            after = stretch.seen;
        }
        assert_eq!(seen, whole, "{limit}");
    }
    let told = async |scope: Scope| {
        let stretch = world.store.stretch(&scope, 0, 200).await.unwrap();
        assert_eq!(stretch.seen, whole.last().unwrap().seq, "also what is not told was looked at");
        stretch.events
    };
    let transfer = out.transfer.id.to_string();
    let mine = told(Scope::Platform(shop())).await;
    assert!(mine.iter().all(|sighting| !sighting.orders.is_empty()));
    assert!(mine.iter().flat_map(|sighting| &sighting.orders).all(|concerned| concerned.platform == shop()));
    let of = |subject: &str| mine.iter().filter(|sighting| sighting.event.subject == subject).count();
    assert_eq!((of(ours.as_str()), of(elsewhere.as_str()), of(their_order.as_str())), (1, 1, 0));
    assert!(of(&transfer) >= 2, "sent, and at the lab: {mine:?}");
    let carried = mine.iter().find(|sighting| sighting.event.subject == transfer).unwrap();
    assert_eq!(
        carried.orders,
        [Concerned { order: ours, platform: shop() }],
        "the rival's order went along, and is nobody's business"
    );
    let subjects: Vec<String> =
        told(Scope::Platform(rival)).await.into_iter().map(|sighting| sighting.event.subject).collect();
    assert!(subjects.contains(&transfer) && subjects.contains(&their_order.to_string()));
    assert!(told(Scope::Platform(PlatformId::parse("other").unwrap())).await.is_empty());
    let at_nova = told(Scope::Lab(nova.id.clone())).await;
    assert!(at_nova.iter().all(|sighting| sighting.event.lab == "nova") && !at_nova.is_empty());
}

/// A connection that was there says nothing of it: nobody has looked since.
#[tokio::test]
async fn that_the_database_answers_is_what_it_says_itself() {
    let world = World::postgres().await;
    world.store.ping().await.unwrap();
    let name = world.texts("select cast(current_database() as text)").await.remove(0);
    let mut other = PgConnection::connect(&world.url.replace(&name, "postgres")).await.unwrap();
    let nobody = format!("alter database {name} with allow_connections false");
    other.execute(AssertSqlSafe(nobody)).await.unwrap();
    let close = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    let ended = other.execute(AssertSqlSafe(close)).await.unwrap().rows_affected();
    assert!(ended > 0, "the store had connections");
    assert!(world.store.ping().await.is_err());
}
