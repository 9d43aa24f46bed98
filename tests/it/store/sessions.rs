//! Sessions in the store: a link is taken once, a session that ended stays ended.

use stoppress::store::{Proof, SignIn, SignInLink, SignedIn, Write, Written};

use super::on_both;
use crate::common::world::{World, at, ops};

on_both!(a_link_is_taken_once, a_session_is_seen_and_ends, what_is_old_is_forgotten,);

fn sign_in(id: &str, proof: Proof, seconds: i64) -> Write {
    let (at, ends_at) = (at(seconds), at(seconds + 1000));
    Write::SignIn(Box::new(SignIn { id: id.repeat(8), proof, code: None, at, ends_at }))
}

fn link(id: &str, seconds: i64) -> Write {
    let expires_at = at(seconds + 100);
    Write::OfferSignIn(Box::new(SignInLink {
        id: id.repeat(8),
        key: "k1".into(),
        at: at(seconds),
        expires_at,
        actor: ops(),
    }))
}

async fn key(world: &World, write: Write) -> Option<String> {
    match world.write(write).await {
        Written::SignedIn(SignedIn::Begun(key)) => Some(key),
        Written::SignedIn(SignedIn::Gone) => None,
        other => panic!("{other:?}"),
    }
}

async fn a_link_is_taken_once(world: World) {
    world.write(link("abcd", 0)).await;
    assert_eq!(world.store.sign_in_key(&"abcd".repeat(8), at(1)).await.unwrap().as_deref(), Some("k1"));
    // Two browsers at the same time, through two gateways where there may be two.
    let other = if world.is_postgres() { world.replica().await } else { world.store.clone() };
    let by = || Proof::Link("abcd".repeat(8));
    let (one, two) = tokio::join!(
        world.store.apply(vec![sign_in("aaaa", by(), 1)]),
        other.apply(vec![sign_in("bbbb", by(), 1)]),
    );
    let taken = [one.unwrap(), two.unwrap()].concat();
    let taken = taken
        .iter()
        .filter(|it| matches!(it, Written::SignedIn(SignedIn::Begun(key)) if key == "k1"))
        .count();
    assert_eq!(taken, 1);
    assert_eq!(world.number("select count(*) from sessions").await, 1);
    assert_eq!(world.store.sign_in_key(&"abcd".repeat(8), at(1)).await.unwrap(), None);
    // One that expires now does not work.
    world.write(link("beef", 0)).await;
    assert_eq!(key(&world, sign_in("cccc", Proof::Link("beef".repeat(8)), 100)).await, None);
    world.verify().await;
}

async fn a_session_is_seen_and_ends(world: World) {
    assert_eq!(key(&world, sign_in("aaaa", Proof::Key("k1".into()), 0)).await.as_deref(), Some("k1"));
    let id = "aaaa".repeat(8);
    let row = world.store.session(&id).await.unwrap().unwrap();
    assert_eq!(
        (row.key.as_str(), row.started_at, row.seen_at, row.ends_at, row.ended_at),
        ("k1", at(0), at(0), at(1000), None)
    );
    for (seconds, seen) in [(60, 60), (30, 60)] {
        world.write(Write::SeeSession { id: id.clone(), at: at(seconds) }).await;
        assert_eq!(world.store.session(&id).await.unwrap().unwrap().seen_at, at(seen), "never back");
    }
    for _ in 0..2 {
        world.write(Write::EndSession { id: id.clone(), at: at(70), actor: ops() }).await;
    }
    world.write(Write::SeeSession { id: id.clone(), at: at(80) }).await;
    let row = world.store.session(&id).await.unwrap().unwrap();
    assert_eq!((row.seen_at, row.ended_at), (at(60), Some(at(70))));
    world.write(Write::EndSession { id: "none".into(), at: at(70), actor: ops() }).await;
    assert_eq!(world.number("select count(*) from events where kind = 'session.ended'").await, 1);
    world.verify().await;
}

async fn what_is_old_is_forgotten(world: World) {
    world.write(link("abcd", 0)).await;
    key(&world, sign_in("aaaa", Proof::Key("k1".into()), 0)).await;
    key(&world, sign_in("bbbb", Proof::Key("k1".into()), 5000)).await;
    world.write(Write::Forget { before: at(2000) }).await;
    assert_eq!(world.number("select count(*) from sessions").await, 1);
    assert_eq!(world.number("select count(*) from sign_ins").await, 0);
    world.verify().await;
}
