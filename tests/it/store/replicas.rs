//! Several gateways on one database: none hands over before the others are clear of the cutoff.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stoppress::clock::Clock as _;
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{Announce, Claim, Claimed, GONE_AFTER, StopOutcome, Store, Write, Written, one};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::on_both;
use crate::common::postgres;
use crate::common::world::{CUTOFF, World, able, at};
use crate::rig::Rig;

on_both!(
    a_claim_waits_until_the_others_are_clear,
    a_gateway_that_is_gone_is_not_waited_for,
    a_gateway_does_not_wait_for_itself,
);

async fn says(store: &dyn Store, replica: &str, clear_until: i64, seconds: i64) -> i64 {
    let said = Announce { replica: replica.to_owned(), clear_until: at(clear_until), at: at(seconds) };
    let Written::Announced(others) = one(store, Write::Announce(said)).await.unwrap() else {
        panic!("not announced")
    };
    others
}

async fn a_claim_waits_until_the_others_are_clear(world: World) {
    let other = world.replica().await;
    let lab = world.lab("lumo", able()).await;
    let (first, _) = (lab.admit("A-1").await, lab.admit("A-2").await);
    world.close(CUTOFF).await;
    assert_eq!(says(&*other, "two", CUTOFF - 1, CUTOFF).await, 0);
    assert_eq!(says(&*world.store, "one", CUTOFF, CUTOFF).await, 1);
    if !world.is_postgres() {
        // One process a file: there is nobody else.
        assert_eq!(lab.claim(CUTOFF + 1).await.len(), 2);
        return;
    }
    assert!(matches!(&lab.claim(CUTOFF + 1).await[..], [Claimed::Behind]));
    // What the other gateway was asked for meanwhile.
    let ask = Write::Stop(Box::new(lab.asking(&first, CUTOFF - 1)));
    let Written::Stop(outcome) = one(&*other, ask).await.unwrap() else { panic!("not a stop") };
    let StopOutcome::Asked(facts) = *outcome else { panic!("{outcome:?}") };
    assert_eq!((facts.state, facts.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    says(&*other, "two", CUTOFF, CUTOFF + 2).await;
    let claimed = lab.claim(CUTOFF + 3).await;
    assert!(matches!(&claimed[..], [Claimed::Send(out)] if out.orders == 1), "{claimed:?}");
}

async fn a_gateway_that_is_gone_is_not_waited_for(world: World) {
    let lab = world.lab("lumo", able()).await;
    lab.admit("A-1").await;
    world.close(CUTOFF).await;
    says(&*world.store, "two", CUTOFF - 5, CUTOFF).await;
    says(&*world.store, "three", CUTOFF - 5, CUTOFF).await;
    let gone = CUTOFF + GONE_AFTER.as_secs();
    if world.is_postgres() {
        assert!(matches!(&lab.claim(gone - 1).await[..], [Claimed::Behind]));
    }
    let leave = Write::Leave { replica: "three".to_owned(), at: at(CUTOFF + 1) };
    one(&*world.store, leave).await.unwrap();
    assert_eq!(says(&*world.store, "one", gone, gone - 1).await, 1, "two is still alive, three has left");
    assert_eq!(says(&*world.store, "one", gone, gone).await, 0);
    assert!(matches!(&lab.claim(gone).await[..], [Claimed::Send(_)]));
}

async fn a_gateway_does_not_wait_for_itself(world: World) {
    let lab = world.lab("lumo", able()).await;
    lab.admit("A-1").await;
    world.close(CUTOFF).await;
    says(&*world.store, "one", CUTOFF - 5, CUTOFF).await;
    assert!(matches!(&lab.claim(CUTOFF + 1).await[..], [Claimed::Send(_)]));
}

#[tokio::test]
async fn only_who_would_hand_over_is_told_that_the_others_are_behind() {
    let world = World::postgres().await;
    let (lumo, nova) = (world.lab("lumo", able()).await, world.lab("nova", able()).await);
    lumo.admit("A-1").await;
    world.close(CUTOFF).await;
    says(&*world.store, "two", CUTOFF - 5, CUTOFF).await;
    let paused = Claim { sends: false, ..lumo.claiming(CUTOFF + 1, 1) };
    for claims in [vec![paused], vec![lumo.claiming(CUTOFF + 1, 1), nova.claiming(CUTOFF + 1, 1)]] {
        let sends = claims[0].sends;
        let claims = claims.into_iter().map(|claim| Write::Claim(Box::new(claim)));
        let told = world.store.apply(claims.collect()).await.unwrap();
        let behind = |written: &Written| matches!(written, Written::Claimed(steps) if matches!(&steps[..], [Claimed::Behind]));
        assert_eq!(behind(&told[0]), sends, "{told:?}");
        assert!(
            told[1..].iter().all(|written| matches!(written, Written::Claimed(none) if none.is_empty())),
            "{told:?}"
        );
    }
}

/// Lets the clock run, in steps that the loops can follow.
#[expect(clippy::disallowed_methods, reason = "gives tasks on other threads their turn")]
async fn run(rig: &Rig, steps: usize) {
    for _ in 0..steps {
        rig.clock.advance(Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Which of the orders have left the house.
async fn left(rig: &Rig, orders: &[&str]) -> Vec<bool> {
    let mut left = Vec::new();
    for order in orders {
        left.push(rig.kinds(order).await.iter().any(|kind| kind == "transfer.sending"));
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_asked_at_one_gateway_comes_before_the_hand_over_of_another() {
    let database = postgres::database().await;
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    let mut rig = Rig::on(Some(&database.url), "2026-11-21T21:59:50Z", "http", profile, json!({})).await;
    let other = rig.another(13).await;
    let (stopped, printed) = (rig.order("A-1").await, rig.order("A-2").await);
    run(&rig, 5).await;

    // Half of a stop arrives at the other gateway half a second before the cutoff.
    rig.clock.set("2026-11-21T21:59:59.5Z".parse().unwrap());
    let body = json!({"reason": "test", "asked_by": "merchant"}).to_string();
    let head = format!(
        "POST /v1/orders/{stopped}/stop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        rig.platform,
        body.len()
    );
    let mut stream = TcpStream::connect(other.addr).await.unwrap();
    stream.write_all(format!("{head}{}", &body[..10]).as_bytes()).await.unwrap();
    let clock = Arc::new(rig.clock.clone());
    while other.bench.store.clear_until(&*clock) >= clock.now() {
        run(&rig, 1).await;
        assert!(clock.now() < "2026-11-21T22:00:00Z".parse().unwrap(), "the stop did not arrive");
    }

    // The cutoff passes. Nothing of the batch leaves, because the other gateway is not clear of it.
    rig.clock.set("2026-11-21T22:00:00Z".parse().unwrap());
    run(&rig, 40).await;
    assert_eq!(left(&rig, &[&stopped, &printed]).await, [false, false]);
    stream.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""state":"stopped""#), "{answer}");

    run(&rig, 100).await;
    assert_eq!(left(&rig, &[&stopped, &printed]).await, [false, true]);
    other.stop().await;
    // Whoever has ended is not waited for: only the first gateway is still alive.
    let now = rig.clock.now().as_microsecond() / 1_000_000 - at(0).as_microsecond() / 1_000_000;
    let store = Arc::clone(&rig.running.as_ref().unwrap().bench.store);
    assert_eq!(says(&*store, "observer", now, now).await, 1);
    rig.stop().await;
}
