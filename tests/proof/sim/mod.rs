//! A simulation of the real code over real stores, from a seed and the same each time: gateways, platforms,
//! customers, labs of every kind, people and ops, one at a time, while everything that can fail does.
//!
//! `STOPPRESS_SIM_SEED=7` plays one seed and tells its story; `STOPPRESS_SIM_SEEDS=100000` plays so many, and
//! `=40000..100000` those: a run that was ended goes on. Whatever seed fails is printed, and goes into `seeds.txt` for good.

mod acts;
mod addresses;
mod cast;
mod clock;
mod dice;
mod edges;
mod hooks;
mod hub;
mod kinds;
mod ledger;
mod oracle;
mod parcels;
mod plan;
#[cfg(debug_assertions)]
mod planted;
mod play;
mod power;
mod replica;
mod settle;
mod tap;
mod time;
mod turns;
mod zones;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use stoppress::domain::zones::Zones;
use tokio::runtime::{Builder, Runtime};

use oracle::Edges;
use play::{Outcome, Play};
use replica::Source;

/// How many seeds are played unless it is told: as many as two cores play in a few minutes.
const SEEDS: u64 = 2000;
/// How many are on PostgreSQL.
const SEEDS_POSTGRES: u64 = 5;

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// How many tasks of this thread have panicked.
fn panics() -> u64 {
    PANICS.get()
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}

/// The runtime of all stores: unlike gateways, they are never held still.
fn stores() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let build = || Builder::new_multi_thread().worker_threads(1).enable_all().build();
    RUNTIME.get_or_init(|| build().expect("a runtime"))
}

/// The zone data of all simulations.
fn zones() -> &'static Zones {
    static ZONES: OnceLock<Zones> = OnceLock::new();
    ZONES.get_or_init(Zones::bundled)
}

/// A folder in memory, if the host has one: what a disk does to a commit is not what is looked at here.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = memory.is_dir().then(|| tempfile::tempdir_in(memory).ok()).flatten();
    made.unwrap_or_else(|| tempfile::tempdir().expect("a folder"))
}

/// A database that is migrated: every simulation begins with a copy of it.
fn template() -> &'static PathBuf {
    static FILE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, file) = FILE.get_or_init(|| {
        let folder = folder();
        let file = folder.path().join("template.db");
        stores().block_on(async {
            let url = format!("sqlite:{}", file.display());
            let store = stoppress::store::open(&url, Timestamp::UNIX_EPOCH).await.expect("a store");
            store.close().await;
        });
        (folder, file)
    });
    file
}

/// Plays one seed on SQLite.
fn play(seed: u64) -> Outcome {
    count_panics();
    PANICS.set(0);
    let folder = folder();
    let file = folder.path().join("store.db");
    std::fs::copy(template(), &file).expect("a copy");
    let url = format!("sqlite:{}", file.display());
    let store = stores().block_on(stoppress::store::open(&url, Timestamp::UNIX_EPOCH));
    let store = store.expect("a store that opens");
    Play::new(seed, store.clone(), Source::Shared(store)).on(file).run()
}

/// Whether the story is told while it happens.
fn talks() -> bool {
    static TALKS: OnceLock<bool> = OnceLock::new();
    *TALKS.get_or_init(|| std::env::var_os("STOPPRESS_SIM_TELL").is_some())
}

/// Plays one seed on PostgreSQL: each gateway has a store of its own over one database.
fn play_postgres(seed: u64) -> Outcome {
    count_panics();
    PANICS.set(0);
    let database = stores().block_on(crate::common::postgres::database());
    let store = stores().block_on(stoppress::store::open(&database.url, Timestamp::UNIX_EPOCH));
    Play::new(seed, store.expect("a store that opens"), Source::Url(database.url.clone())).run()
}

/// Which seeds are played: one, so many from the first, or those between two.
fn asked(usual: u64, share: u64) -> Vec<u64> {
    let told = |name| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    let number = |text: &str| {
        text.parse::<u64>().unwrap_or_else(|why| panic!("{text:?} is no number of seeds: {why}"))
    };
    if let Some(one) = told("STOPPRESS_SIM_SEED") {
        return vec![number(&one)];
    }
    let Some(many) = told("STOPPRESS_SIM_SEEDS") else { return (0..usual).collect() };
    let (from, to) = many.split_once("..").unwrap_or(("0", &many));
    (number(from) / share..number(to) / share).collect()
}

fn tell(seed: u64, outcome: &Outcome) -> String {
    format!(
        "seed {seed} (again: STOPPRESS_SIM_SEED={seed}):\n{}{}\n{:#?}",
        outcome.story, outcome.plan, outcome.faults
    )
}

/// After how many seeds it is told how far it is.
const PROGRESS: u64 = 1000;

/// Plays seeds on all cores, and gives how often each step was taken.
#[expect(clippy::print_stdout, reason = "whoever plays many wants to know how far it is")]
fn play_all(seeds: &[u64], play: impl Fn(u64) -> Outcome + Sync) -> (Edges, u64) {
    let begun = Instant::now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed: Mutex<Vec<(u64, String)>> = Mutex::default();
    let edges: Mutex<Edges> = Mutex::default();
    let told = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let outcome = play(*seed);
                    told.fetch_add(outcome.told, Ordering::Relaxed);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(PROGRESS) {
                        println!("{done} of {} seeds, {:?}", seeds.len(), begun.elapsed());
                    }
                    let mut sum = edges.lock().unwrap_or_else(PoisonError::into_inner);
                    for (edge, count) in &outcome.edges {
                        *sum.entry(edge.clone()).or_default() += count;
                    }
                    drop(sum);
                    if !outcome.faults.is_empty() {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push((*seed, tell(*seed, &outcome)));
                        // The first few are enough.
                        if failed.len() >= 5 {
                            next.store(u64::MAX / 2, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(seed, _)| *seed);
    let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    assert!(failed.is_empty(), "{}\nseeds that failed: {seeds:?}", failed[0].1);
    (edges.into_inner().unwrap_or_else(PoisonError::into_inner), told.into_inner())
}

#[test]
fn the_promise_holds_whatever_the_seed() {
    let _turn = crate::turn();
    let seeds = asked(SEEDS, 1);
    let begun = Instant::now();
    let (edges, told) = play_all(&seeds, play);
    for (edge, count) in &edges {
        println!("{count:>8}  {edge}");
    }
    println!("{} seeds, {told} lines, {:?}", seeds.len(), begun.elapsed());
    if seeds.len() >= edges::ENOUGH {
        let missing = edges::missing(&edges);
        assert!(missing.is_empty(), "steps of the protocol that no seed has taken: {missing:#?}");
    }
}

/// The seeds of the list: the first word of a line that is no comment.
fn listed() -> Vec<u64> {
    let lines = include_str!("seeds.txt").lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let first = lines.filter_map(|line| line.split_whitespace().next());
    first.map(|seed| seed.parse().expect("a line begins with a seed")).collect()
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    let _turn = crate::turn();
    play_all(&listed(), play);
}

#[test]
fn the_same_seed_is_the_same_story() {
    let _turn = crate::turn();
    let seeds: Vec<u64> = (0..40).collect();
    let alone: Vec<_> = seeds.iter().map(|seed| play(*seed)).map(|it| (it.sum, it.told)).collect();
    let other = Mutex::new(Vec::new());
    // And beside any other.
    for _ in 0..2 {
        play_all(&seeds, |seed| {
            let outcome = play(seed);
            if alone[seed as usize] != (outcome.sum, outcome.told) {
                other.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
            }
            outcome
        });
    }
    let other = other.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(other.is_empty(), "another story: {other:?}");
}

#[test]
fn the_promise_holds_on_postgres() {
    let _turn = crate::turn();
    let seeds = asked(SEEDS_POSTGRES, 50);
    let begun = Instant::now();
    let (_, told) = play_all(&seeds, play_postgres);
    println!("{} seeds on PostgreSQL, {told} lines, {:?}", seeds.len(), begun.elapsed());
}
