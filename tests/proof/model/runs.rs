//! The spaces that are looked at whole: the small ones by every run of the tests, the others when they are asked for.

use std::time::Instant;

use stateright::{Checker, Model as _};

use super::rules::Lab;
use super::{HOLDS, PROMISE, World};

/// Looks at every state that can be reached. Gives how many they are, and by how many steps.
#[expect(clippy::print_stdout, reason = "a run tells its figures")]
fn explore(name: &str, world: World) -> (usize, usize) {
    let since = Instant::now();
    let told: Vec<_> = world.tells();
    let checker = world.checker().threads(2).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps, {:.1} s", since.elapsed().as_secs_f64());
    if let Some(path) = checker.discovery(HOLDS) {
        let broken = path.last_state().broken;
        let broken: Vec<_> =
            PROMISE.iter().filter(|(bit, _)| broken & bit != 0).map(|(_, words)| *words).collect();
        let steps: Vec<_> = path.clone().into_actions().into_iter().map(|(act, _)| act).collect();
        panic!("{name}: {broken:?} is broken by {steps:#?}, at {:#?}", path.last_state());
    }
    let never: Vec<_> = told.iter().filter(|told| checker.discovery(told.name()).is_none()).collect();
    assert!(never.is_empty(), "{name}: never told: {never:?}");
    (states, steps)
}

/// Every kind of lab, each with what is hardest for it: small enough for a build without optimisation.
fn small() -> Vec<(&'static str, World)> {
    let of = |lab| World::of(lab).never_anew().asks(1).looks(1).attempts(1);
    vec![
        ("H", of(Lab::H)),
        ("H, sent twice", of(Lab::H).attempts(2).faults(0, 0, 0, 1)),
        ("B", of(Lab::B)),
        ("F, final on receipt", of(Lab::F).final_on_receipt()),
        ("F, by people", of(Lab::F).by_people()),
        ("G", of(Lab::G)),
        ("G, submitted", of(Lab::G).intake()),
        ("G, answers later", of(Lab::G).later()),
        ("G, asked twice", of(Lab::G).asks(2)),
        ("C", of(Lab::C)),
        ("E", of(Lab::E)),
        ("F", of(Lab::F)),
        ("A", of(Lab::A)),
        ("D", of(Lab::D)),
        ("F, a loss", of(Lab::F).faults(0, 1, 0, 0)),
        ("G, a crash", of(Lab::G).faults(1, 0, 0, 0)),
        ("B, sent twice", of(Lab::B).attempts(2)),
    ]
}

/// The larger ones, for a build with optimisation: each fits into the memory of a desk, and with more of anything it
/// would not.
fn full() -> Vec<(&'static str, World)> {
    let of = World::of;
    let less = |lab| World::of(lab).looks(1).asks(1);
    vec![
        ("A", less(Lab::A).never_anew()),
        ("A, a crash", less(Lab::A).never_anew().faults(1, 0, 0, 0)),
        ("A, a loss", less(Lab::A).never_anew().faults(0, 1, 0, 0)),
        ("A, a copy", less(Lab::A).never_anew().faults(0, 0, 1, 0)),
        ("A, a refusal", less(Lab::A).never_anew().faults(0, 0, 0, 1)),
        ("A, a copy and a refusal", less(Lab::A).never_anew().faults(0, 0, 1, 1)),
        ("A, three attempts", less(Lab::A).never_anew().attempts(3)),
        ("A, two orders", less(Lab::A).never_anew().two(1)),
        ("B", of(Lab::B).faults(1, 1, 0, 0)),
        ("B, a copy", of(Lab::B).faults(0, 0, 1, 1)),
        ("C", of(Lab::C)),
        ("C, a loss", of(Lab::C).never_anew().faults(0, 1, 0, 0)),
        ("D", less(Lab::D).never_anew()),
        ("D, a crash", less(Lab::D).never_anew().faults(1, 0, 0, 0)),
        ("E", less(Lab::E).faults(0, 1, 0, 0)),
        ("F", less(Lab::F).faults(1, 0, 0, 0)),
        ("F, a loss and a refusal", less(Lab::F).never_anew().faults(0, 1, 0, 1)),
        ("F, two orders", less(Lab::F).never_anew().two(1)),
        ("F, three attempts", less(Lab::F).never_anew().attempts(3)),
        ("G", of(Lab::G).never_anew().faults(1, 1, 0, 0)),
        ("G, a refusal", less(Lab::G).faults(0, 1, 0, 1)),
        ("G, two orders", of(Lab::G).two(3).asks(1)),
        ("G, answers later", of(Lab::G).later().faults(1, 1, 0, 0)),
        ("H", of(Lab::H).faults(2, 2, 0, 1)),
        ("F, by people", less(Lab::F).never_anew().by_people().faults(1, 1, 0, 0)),
        ("F, final on receipt", less(Lab::F).never_anew().final_on_receipt().faults(1, 1, 0, 1)),
        ("F, submitted", less(Lab::F).never_anew().intake().faults(1, 0, 0, 0)),
    ]
}

#[expect(clippy::print_stdout, reason = "a run tells its figures")]
fn explore_all(worlds: Vec<(&'static str, World)>) -> (usize, usize) {
    let since = Instant::now();
    let found = worlds.into_iter().map(|(name, world)| explore(name, world));
    let (states, steps) = found.fold((0, 0), |(states, steps), (some, more)| (states + some, steps + more));
    println!("{states} states, {steps} steps, {:.0} s", since.elapsed().as_secs_f64());
    (states, steps)
}

#[test]
fn the_promise_holds_in_every_state() {
    let _turn = crate::turn();
    explore_all(small());
}

/// By default it is passed over: it takes minutes of both processors, and gigabytes.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test says how much it looks at; no configuration of the gateway"
)]
fn the_promise_holds_in_every_state_of_the_larger_spaces() {
    if std::env::var("STOPPRESS_MODEL").is_ok_and(|set| set == "full") {
        let _turn = crate::turn();
        let (states, _) = explore_all(full());
        assert!(states > 40_000_000, "only {states} states: the spaces have shrunk");
    }
}
