//! Mistakes planted in the real code: the simulation must find each of them within so many seeds.
//!
//! `planted.txt` keeps for each mistake the first seed that found it, and CI plays that one first: most of the time it
//! is enough. `STOPPRESS_SIM_MISTAKES=all` forgets the list and searches from the first seed, `=blind-resend` one
//! mistake, and prints the lines of the list anew.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stoppress::points::{Mistake, plant};

use super::play;

/// How many seeds a planted mistake may live through.
const FOUND_WITHIN: u64 = 500;

/// What a simulation on SQLite cannot show, or does not within so many seeds, and what shows it.
const ELSEWHERE: &[(Mistake, &str)] =
    &[(Mistake::WriteSkew, "SQLite has one writer: tests/proof/crash/mistakes.rs plants it on PostgreSQL")];

#[expect(clippy::print_stdout, reason = "whoever searches wants to know what was found")]
fn is_found(mistake: Mistake, seed: u64) -> bool {
    let _planted = plant(&[mistake]);
    let faults = play(seed).faults;
    if let Some(fault) = faults.first() {
        println!("seed {seed} finds {}: {fault}", mistake.word());
    }
    !faults.is_empty()
}

/// The mistakes and the seeds that found them.
fn listed() -> Vec<(Mistake, u64)> {
    let lines = include_str!("planted.txt").lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (word, seed) = line.split_once(' ').expect("a mistake and a seed");
        (Mistake::named(word).expect("the name of a mistake"), seed.trim().parse().expect("a seed"))
    };
    lines.filter(|line| !line.is_empty()).map(pair).collect()
}

/// The first seed that finds a mistake.
fn search(mistake: Mistake) -> Option<u64> {
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= FOUND_WITHIN.min(found.load(Ordering::Relaxed)) {
                        break;
                    }
                    if is_found(mistake, seed) {
                        found.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Some(found.into_inner()).filter(|seed| *seed < FOUND_WITHIN)
}

#[test]
fn every_planted_mistake_is_found() {
    let _turn = crate::turn();
    let wanted = std::env::var_os("STOPPRESS_SIM_MISTAKES");
    let wanted = wanted.as_deref().and_then(std::ffi::OsStr::to_str);
    let here = Mistake::ALL.iter().filter(|mistake| ELSEWHERE.iter().all(|(other, _)| other != *mistake));
    let is_named = |mistake: &&Mistake| wanted.is_none_or(|word| [mistake.word(), "all"].contains(&word));
    let named = here.filter(is_named);
    let named: Vec<Mistake> = named.copied().collect();
    assert!(!named.is_empty(), "{wanted:?} is no mistake that is looked for here: {ELSEWHERE:?}");
    let known = if wanted.is_some() { Vec::new() } else { listed() };
    // Side by side; what the list does not say any more is searched for, on all cores.
    let lost: Mutex<Vec<Mistake>> = Mutex::default();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(mistake) = named.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seed = known.iter().find(|(known, _)| known == mistake).map(|(_, seed)| *seed);
                    if !seed.is_some_and(|seed| is_found(*mistake, seed)) {
                        lost.lock().unwrap_or_else(PoisonError::into_inner).push(*mistake);
                    }
                }
            });
        }
    });
    let mut alive = Vec::new();
    for mistake in lost.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match search(mistake) {
            Some(seed) => println!("{} {seed}", mistake.word()),
            None => alive.push(mistake.word()),
        }
    }
    assert!(alive.is_empty(), "{FOUND_WITHIN} seeds do not find {alive:?}");
}
