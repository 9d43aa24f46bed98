//! Second factors in the store: a code is taken once, by whichever gateway; whoever guesses waits, at all of them.

use secrecy::SecretString;
use stoppress::domain::event::Actor;
use stoppress::domain::second_factor::{code_at, secret};
use stoppress::store::{
    CodeSaid, KeyRow, Proof, Put, ShowCode, SignIn, SignInLink, SignedIn, StartFactor, Write, Written,
};

use super::on_both;
use crate::common::world::{World, at, ops};

on_both!(
    a_factor_is_in_force_from_its_first_code_until_it_is_removed,
    a_code_is_taken_once_by_two_gateways,
    whoever_guesses_waits_also_at_the_first_code,
    a_link_is_not_used_up_by_a_wrong_code,
);

fn key(id: &str) -> Write {
    let row = KeyRow {
        id: id.to_owned(),
        scope: "ops".to_owned(),
        owner: String::new(),
        name: "Aino".to_owned(),
        hash: id.repeat(32),
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        second_factor_at: None,
    };
    Write::PutKey(Box::new(row), ops())
}

fn known(byte: u8) -> SecretString {
    secret([byte; 20])
}

fn start(key: &str, byte: u8, seconds: i64) -> Write {
    let item = StartFactor { key: key.to_owned(), secret: known(byte), at: at(seconds), actor: ops() };
    Write::StartFactor(Box::new(item))
}

/// The code of an instant, shown at another.
fn show(key: &str, code: Option<String>, first: bool, seconds: i64) -> Write {
    let actor = Actor(format!("ops:{key}"));
    let code = code.map(SecretString::from);
    Write::ShowCode(Box::new(ShowCode { key: key.to_owned(), code, first, at: at(seconds), actor }))
}

fn code(byte: u8, seconds: i64) -> Option<String> {
    code_at(&known(byte), at(seconds))
}

/// A code that fits at no step near an instant.
fn wrong(byte: u8, seconds: i64) -> Option<String> {
    let near: Vec<_> = (-2..=2).filter_map(|step| code(byte, seconds + step * 30)).collect();
    (0..10).map(|nth| format!("{nth}{nth}{nth}{nth}{nth}{nth}")).find(|code| !near.contains(code))
}

fn sign_in(id: &str, proof: Proof, code: Option<String>, seconds: i64) -> Write {
    let (at, ends_at, code) = (at(seconds), at(seconds + 1000), code.map(SecretString::from));
    Write::SignIn(Box::new(SignIn { id: id.repeat(8), proof, code, at, ends_at }))
}

fn by_key() -> Proof {
    Proof::Key("k1".into())
}

async fn said(world: &World, write: Write) -> CodeSaid {
    match world.write(write).await {
        Written::Code(said) | Written::SignedIn(SignedIn::Code(said)) => said,
        other => panic!("{other:?}"),
    }
}

async fn began(world: &World, write: Write) -> bool {
    match world.write(write).await {
        Written::SignedIn(SignedIn::Begun(key)) => key == "k1",
        other => panic!("{other:?}"),
    }
}

/// A key whose factor is in force since second 0.
async fn in_force(world: &World) {
    world.write(key("k1")).await;
    assert_eq!(said(world, start("k1", 1, 0)).await, CodeSaid::Good);
    assert_eq!(said(world, show("k1", code(1, 0), true, 0)).await, CodeSaid::Good);
}

async fn a_factor_is_in_force_from_its_first_code_until_it_is_removed(world: World) {
    let since = async || world.store.keys().await.unwrap()[0].second_factor_at;
    assert_eq!(said(&world, start("k1", 1, 0)).await, CodeSaid::None, "no such key");
    world.write(key("k1")).await;
    assert_eq!(said(&world, show("k1", code(1, 0), true, 0)).await, CodeSaid::None, "none was started");
    // Started, and started again: the first secret is of no use any more, and nobody is asked for a code yet.
    for byte in [1, 2] {
        assert_eq!(said(&world, start("k1", byte, 0)).await, CodeSaid::Good);
    }
    assert!(began(&world, sign_in("aaaa", by_key(), None, 1)).await);
    assert_eq!(said(&world, show("k1", code(1, 0), true, 0)).await, CodeSaid::Wrong);
    assert_eq!((said(&world, show("k1", None, true, 0)).await, since().await), (CodeSaid::Missing, None));
    assert_eq!(said(&world, show("k1", code(2, 100), true, 100)).await, CodeSaid::Good);
    assert_eq!(since().await, Some(at(100)));
    // Neither made anew nor put in force again.
    assert_eq!(said(&world, start("k1", 3, 110)).await, CodeSaid::InForce);
    assert_eq!(said(&world, show("k1", code(2, 160), true, 160)).await, CodeSaid::InForce);
    // Every sign-in needs a code now, and the first one was taken.
    assert_eq!(said(&world, sign_in("bbbb", by_key(), None, 110)).await, CodeSaid::Missing);
    assert_eq!(said(&world, sign_in("bbbb", by_key(), Some(" ".into()), 110)).await, CodeSaid::Missing);
    assert_eq!(said(&world, sign_in("bbbb", by_key(), code(2, 100), 110)).await, CodeSaid::Used);
    assert!(began(&world, sign_in("bbbb", by_key(), code(2, 160), 160)).await);
    let session = async |id: &str| world.store.session(&id.repeat(8)).await.unwrap().unwrap().with_code;
    assert_eq!((session("aaaa").await, session("bbbb").await), (false, true));
    let remove = || Write::RemoveFactor { key: "k1".into(), at: at(200), actor: Actor("ops:other".into()) };
    assert!(matches!(world.write(remove()).await, Written::Put(Put::Done(_))));
    assert!(matches!(world.write(remove()).await, Written::Put(Put::NotFound)));
    assert!(began(&world, sign_in("cccc", by_key(), None, 201)).await);
    assert_eq!(since().await, None);
    // The log of the key says who, and neither a secret nor a code.
    let log = world.store.log(&["key_k1"]).await.unwrap();
    let told: Vec<_> = log.iter().map(|entry| (entry.kind.as_str(), entry.actor.as_str())).collect();
    let by = ops().0;
    assert_eq!(
        told,
        [
            ("key.created", by.as_str()),
            ("key.second_factor_started", by.as_str()),
            ("key.second_factor_started", by.as_str()),
            ("key.second_factor_added", "ops:k1"),
            ("key.second_factor_removed", "ops:other"),
        ]
    );
    for hidden in ["secret", "AEAQ", "AIBA", &code(2, 100).unwrap(), &code(2, 160).unwrap()] {
        let clear = format!("detail like '%{hidden}%'");
        assert_eq!(world.number(&format!("select count(*) from events where {clear}")).await, 0, "{hidden}");
    }
    world.verify().await;
}

async fn a_code_is_taken_once_by_two_gateways(world: World) {
    in_force(&world).await;
    let other = world.replica().await;
    for nth in 1..=10 {
        let seconds = nth * 60;
        let ids = [format!("{nth:04}"), format!("{:04}", nth + 100)];
        let write = |id: &str| vec![sign_in(id, by_key(), code(1, seconds), seconds)];
        let (one, two) = tokio::join!(world.store.apply(write(&ids[0])), other.apply(write(&ids[1])));
        let both = [one.unwrap(), two.unwrap()].concat();
        let begun = both.iter().filter(|it| matches!(it, Written::SignedIn(SignedIn::Begun(_)))).count();
        let used =
            both.iter().filter(|it| matches!(it, Written::SignedIn(SignedIn::Code(CodeSaid::Used)))).count();
        assert_eq!((begun, used), (1, 1), "{both:?}");
    }
    assert_eq!(world.number("select count(*) from sessions").await, 10);
    // A step that is over does not come back: the clock of one gateway is behind.
    assert_eq!(said(&world, show("k1", code(1, 600), false, 590)).await, CodeSaid::Used);
    assert_eq!(said(&world, show("k1", code(1, 630), false, 600)).await, CodeSaid::Good, "a step early");
    world.verify().await;
}

async fn whoever_guesses_waits_also_at_the_first_code(world: World) {
    in_force(&world).await;
    let other = world.replica().await;
    for nth in 0..5 {
        // At both in turn: they count together.
        let write = sign_in("aaaa", by_key(), wrong(1, 100), 100);
        let store = if nth % 2 == 0 { &world.store } else { &other };
        let written = store.apply(vec![write]).await.unwrap();
        assert!(
            matches!(written[..], [Written::SignedIn(SignedIn::Code(CodeSaid::Wrong))]),
            "{nth}: {written:?}"
        );
    }
    // Not even the right one is looked at.
    for (seconds, expected) in
        [(100, CodeSaid::Rests(at(160))), (159, CodeSaid::Rests(at(160))), (160, CodeSaid::Good)]
    {
        assert_eq!(said(&world, show("k1", code(1, seconds), false, seconds)).await, expected, "{seconds}");
    }
    // A right one starts the count anew; after that the rests grow.
    let mut now = 1000;
    for (nth, rest) in [0, 0, 0, 0, 60, 120, 240].into_iter().enumerate() {
        assert_eq!(said(&world, show("k1", wrong(1, now), false, now)).await, CodeSaid::Wrong, "{nth}");
        if rest > 0 {
            let until = CodeSaid::Rests(at(now + rest));
            assert_eq!(said(&world, show("k1", code(1, now), false, now + rest - 1)).await, until);
        }
        now += rest;
    }
    assert_eq!(world.number("select count(*) from events where kind = 'key.second_factor_rests'").await, 4);
    // One that is not in force yet cannot be guessed either.
    world.write(key("k2")).await;
    world.write(start("k2", 7, 0)).await;
    for _ in 0..5 {
        assert_eq!(said(&world, show("k2", wrong(7, 0), true, 0)).await, CodeSaid::Wrong);
    }
    assert_eq!(said(&world, show("k2", code(7, 0), true, 0)).await, CodeSaid::Rests(at(60)));
    world.verify().await;
}

async fn a_link_is_not_used_up_by_a_wrong_code(world: World) {
    in_force(&world).await;
    let id = "abcd".repeat(8);
    let link = SignInLink { id: id.clone(), key: "k1".into(), at: at(50), expires_at: at(900), actor: ops() };
    world.write(Write::OfferSignIn(Box::new(link))).await;
    let by = || Proof::Link(id.clone());
    assert_eq!(said(&world, sign_in("aaaa", by(), None, 100)).await, CodeSaid::Missing);
    assert_eq!(said(&world, sign_in("aaaa", by(), wrong(1, 100), 100)).await, CodeSaid::Wrong);
    assert_eq!(world.store.sign_in_key(&id, at(100)).await.unwrap().as_deref(), Some("k1"));
    assert!(began(&world, sign_in("aaaa", by(), code(1, 100), 100)).await);
    let again = world.write(sign_in("bbbb", by(), code(1, 130), 130)).await;
    assert!(matches!(again, Written::SignedIn(SignedIn::Gone)), "{again:?}");
    world.verify().await;
}
