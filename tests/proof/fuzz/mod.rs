//! Bad input: what anybody may send is thrown at the functions that read it first.
//!
//! A target is a function of bytes that checks what must hold whatever the bytes are, see [`targets`]. Its corpus,
//! in `corpus/`, is replayed whole, and changed by lot: bits, pieces, words of the input's own language, and pieces of
//! other inputs. The lot is drawn from a seed, so that a run can be repeated. What ever broke a target is put into
//! the corpus, and stays there.
//!
//! `STOPPRESS_FUZZ_SECONDS=900 cargo test --release --test proof fuzz:: -- --nocapture` goes on for so long with each
//! target, from a seed of the clock; `STOPPRESS_FUZZ_SEED` repeats one.

mod mutate;
mod targets;

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use mutate::Mutator;

/// How many changed inputs every run tries of each target.
const TRIES: u64 = 4_000;

/// The text of a variable, as a number.
#[expect(
    clippy::disallowed_methods,
    reason = "a test says how long it goes on; no configuration of the gateway"
)]
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; it must be a whole number")))
}

/// The corpus of a target, by file name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file of the corpus").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file of the corpus"))
        })
        .collect();
    all.sort();
    assert!(!all.is_empty(), "{target} has no corpus");
    all
}

/// Runs one input; a target that panics names it, so that it can be put into the corpus.
#[expect(clippy::print_stderr, reason = "the input that broke a target is what a failure has to tell")]
fn run(target: fn(&[u8]), input: &[u8], what: &str) {
    if let Err(cause) = panic::catch_unwind(|| target(input)) {
        eprintln!("{what}: {:?}", String::from_utf8_lossy(input));
        eprintln!("as bytes: {input:?}");
        panic::resume_unwind(cause);
    }
}

/// Replays the corpus of a target and changes it by lot.
#[expect(clippy::print_stdout, reason = "a run tells its figures")]
fn fuzz(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    for (file, input) in &corpus {
        run(target, input, &format!("{name}/{file}"));
    }
    let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
    let seconds = number("STOPPRESS_FUZZ_SECONDS");
    let from_clock = || seconds.map(|_| std::process::id().into());
    let seed = number("STOPPRESS_FUZZ_SEED").or_else(from_clock).unwrap_or(1);
    let mut lot = Mutator::new(seed);
    let (since, mut tries) = (Instant::now(), 0_u64);
    loop {
        let goes_on = match seconds {
            Some(seconds) => tries % 256 != 0 || since.elapsed() < Duration::from_secs(seconds),
            None => tries < TRIES,
        };
        if !goes_on {
            break;
        }
        let input = lot.changed(&inputs);
        run(target, &input, &format!("{name}, seed {seed}, input {tries}"));
        tries += 1;
    }
    println!("{name}: {} inputs of the corpus, {tries} changed ones, seed {seed}", corpus.len());
}

macro_rules! tests {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            fuzz(stringify!($name), targets::$name);
        }
    )*};
}

tests! { orders bulk lab_answers protobuf calendars links signatures }
