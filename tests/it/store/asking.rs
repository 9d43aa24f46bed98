//! A stop that is being asked, and a hand-over that begins meanwhile: the hand-over waits, whatever the clock was set
//! to in between.

use std::sync::Arc;
use std::time::Duration;

use stoppress::clock::ManualClock;
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{Claimed, Write, Written, one};

use super::on_both;
use crate::common::world::{CUTOFF, World, able, at};

on_both!(a_claim_waits_for_a_stop_that_is_being_asked, a_clock_that_is_set_back_lets_no_claim_pass);

/// A stop that is asked a second before the cutoff, and a claim as of `claimed`: which of them was first?
async fn meet(world: &World, claimed: i64) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let clock = ManualClock::at(at(CUTOFF - 1));
    let guard = world.store.asking(&clock);
    assert_eq!(world.close(CUTOFF).await.len(), 1);
    let (store, claim) = (Arc::clone(&world.store), lab.claiming(claimed, 1));
    let mut claim = tokio::spawn(async move { one(&*store, Write::Claim(Box::new(claim))).await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut claim).await;
    assert!(early.is_err(), "the claim did not wait: {early:?}");
    let stop = lab.stop(&order, CUTOFF - 1).await;
    drop(guard);
    assert_eq!((stop.state, stop.evidence), (StopState::Stopped, Some(Evidence::NeverHanded)));
    let Written::Claimed(claimed) = claim.await.unwrap().unwrap() else { panic!("not a claim") };
    assert!(!claimed.iter().any(|step| matches!(step, Claimed::Send(_))), "{claimed:?}");
}

async fn a_claim_waits_for_a_stop_that_is_being_asked(world: World) {
    meet(&world, CUTOFF).await;
}

async fn a_clock_that_is_set_back_lets_no_claim_pass(world: World) {
    meet(&world, CUTOFF - 30).await;
}
