//! Two gateways at one instant, forced: one is held in the middle of its transaction while the other commits. Only
//! PostgreSQL has two.

use std::sync::Arc;

use sqlx::{Connection as _, Executor as _, PgConnection};
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::Profile;
use stoppress::domain::stop::{Evidence, StopFacts, StopState};
use stoppress::store::{
    ChangeKind, Changed, Claimed, Outgoing, StopAsk, StopOutcome, Store, Write, Written, one, open,
};

use super::lines::{admitted, exact, ids, lines_of, three};
use crate::common::world::{CUTOFF, Lab, World, able, at, refused};

/// How many wait for a lock that somebody else has.
async fn waiting(world: &World, lock: &str) -> i64 {
    let own = "database = (select oid from pg_database where datname = current_database())";
    world.number(&format!("select count(*) from pg_locks where not granted and {lock} and {own}")).await
}

/// Asks for a stop at another gateway, which reads that the order is on the wire; before it has committed, the
/// transfer falls back. The stop waits then for a transfer of which nothing is with the lab.
async fn asked_beside_the_fall_back(world: &World, lab: &Lab<'_>, out: &Outgoing, ask: StopAsk) -> StopFacts {
    let other: Arc<dyn Store> = world.replica().await;
    let mut holds = PgConnection::connect(&world.url).await.unwrap();
    holds.execute("begin").await.unwrap();
    holds.execute("lock table stops in share mode").await.unwrap();
    let asked = tokio::spawn(async move { one(&*other, Write::Stop(Box::new(ask))).await.unwrap() });
    while waiting(world, "relation = 'stops'::regclass").await == 0 {
        assert!(!asked.is_finished(), "the stop did not wait");
    }
    lab.settle(out, refused(), CUTOFF + 3).await.unwrap();
    holds.execute("rollback").await.unwrap();
    let Written::Stop(outcome) = asked.await.unwrap() else { panic!("not a stop") };
    let StopOutcome::Asked(facts) = *outcome else { panic!("{outcome:?}") };
    assert_eq!(facts.state, StopState::Pending);
    facts
}

async fn on_the_wire(lab: &Lab<'_>) -> (OrderId, OrderId, Outgoing) {
    let (first, second) = (admitted(lab, "A-1").await, admitted(lab, "A-2").await);
    lab.world.close(CUTOFF).await;
    (first, second, lab.send(CUTOFF + 1).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_asked_beside_a_fall_back_are_not_sent_again() {
    let world = World::postgres().await;
    let lab = world.lab("lumo", Profile { orders_per_call: 2, ..exact() }).await;
    let (order, _, out) = on_the_wire(&lab).await;
    let ask = StopAsk { items: ids("2"), ..lab.asking(&order, CUTOFF + 2) };
    let stop = asked_beside_the_fall_back(&world, &lab, &out, ask).await;
    let again = lab.send(CUTOFF + 10).await;
    assert_eq!(lines_of(&again), [ids("1 3"), ids("1 2 3")]);
    let stops = world.store.line_stops(&order).await.unwrap();
    let stood = stops.iter().find(|known| known.id == stop.id).unwrap();
    assert_eq!((stood.state, stood.evidence), (StopState::StoppedInPart, Some(Evidence::NeverHanded)));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_asked_beside_a_fall_back_is_not_sent_again() {
    let world = World::postgres().await;
    let lab = world.lab("lumo", Profile { orders_per_call: 2, ..exact() }).await;
    let (order, other, out) = on_the_wire(&lab).await;
    asked_beside_the_fall_back(&world, &lab, &out, lab.asking(&order, CUTOFF + 2)).await;
    let claimed = lab.claim(CUTOFF + 10).await;
    let [Claimed::Send(again)] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!(super::claim::named(again), [other.to_string()]);
    let stop = world.stop_of(&order).await;
    assert_eq!((stop.state, stop.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    world.verify().await;
}

/// A gateway that stands still before each order that it reads, for as long as somebody has lock 7.
async fn slow(world: &World) -> Arc<dyn Store> {
    for sql in [
        "create role slow login",
        "grant create, usage on schema public to slow",
        "grant all on all tables in schema public to slow",
        "grant all on all sequences in schema public to slow",
        "create function stands_still() returns boolean language plpgsql as
            $$ begin perform pg_advisory_xact_lock_shared(7); return true; end $$",
        "alter table standings enable row level security",
        "create policy slow on standings to slow using (stands_still())",
    ] {
        world.run(sql).await;
    }
    open(&world.url.replace("//postgres@", "//slow@"), at(0)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_changed_beside_a_claim_leaves_as_it_was_changed() {
    let world = World::postgres().await;
    let lab = world.lab("lumo", able()).await;
    let order = admitted(&lab, "A-1").await;
    world.close(CUTOFF).await;
    let other = slow(&world).await;
    let mut holds = PgConnection::connect(&world.url).await.unwrap();
    holds.execute("select pg_advisory_lock(7)").await.unwrap();
    let claim = Write::Claim(Box::new(lab.claiming(CUTOFF + 1, 1)));
    let claim = tokio::spawn(async move { one(&*other, claim).await.unwrap() });
    while waiting(&world, "locktype = 'advisory'").await == 0 {
        assert!(!claim.is_finished(), "the claim did not wait");
    }
    // The claim's statement has begun, and has not locked the order yet.
    let document = three(&lab, "A-1").document.replace("mug", "vase");
    let change = lab.changing(&order, ChangeKind::Document(document), CUTOFF + 1);
    assert_eq!(lab.change_as(change).await, Changed::Done);
    holds.execute("select pg_advisory_unlock(7)").await.unwrap();
    let Written::Claimed(claimed) = claim.await.unwrap() else { panic!("not a claim") };
    let [Claimed::Send(out)] = &claimed[..] else { panic!("{claimed:?}") };
    assert!(
        String::from_utf8_lossy(&out.body).contains("vase"),
        "what was told to be changed is sent as it was"
    );
    world.verify().await;
}
