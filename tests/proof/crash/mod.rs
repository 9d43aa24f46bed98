//! The crash matrix: a gateway's day, ended at every named point, at several hits, and again while it recovers; then
//! the labs' ledgers are held against every answer that was told.
//!
//! `STOPPRESS_CRASH_HITS` (3) is how many hits of a point are tried, `STOPPRESS_CRASH_PAIRS` (0) how many second
//! points are tried during the recovery of each (0: one for one hit of each), `STOPPRESS_CRASH_ONLY` a part of a name.

mod addresses;
mod clients;
mod day;
mod mistakes;
mod oracle;
mod paper;
mod script;
mod source;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use script::{CUTOFF, END};
use stoppress::config::variable;
use tempfile::TempDir;

/// How often each point is reached.
type Hits = BTreeMap<String, u64>;

/// How a life ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// At the end of the day, all as it must be.
    Well,
    /// Where it was told to.
    Crashed,
    /// With what is wrong.
    Wrong(String),
}

/// What a life is told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Life {
    pub crash: Option<String>,
    pub mistake: Option<&'static str>,
    pub until: Option<i64>,
}

impl Life {
    pub(crate) fn crashing(point: &str, hit: u64) -> Self {
        Self { crash: Some(format!("{point}@{hit}")), ..Self::default() }
    }

    /// Lives it, in a folder.
    pub(crate) fn live(&self, folder: &Path) -> Ended {
        let mut command = Command::new(std::env::current_exe().unwrap());
        // The test of that name is a life where the variable is set.
        command.args([A_LIFE, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(day::FOLDER, folder).stdin(Stdio::null());
        let until = self.until.map(|until| until.to_string());
        let told = [
            ("STOPPRESS_CRASH_AT", self.crash.as_deref()),
            ("STOPPRESS_PROOF_MISTAKE", self.mistake),
            ("STOPPRESS_PROOF_UNTIL", until.as_deref()),
        ];
        for (name, value) in told {
            command.env_remove(name);
            command.envs(value.map(|value| (name, value)));
        }
        ended(&command.output().unwrap())
    }
}

fn ended(output: &Output) -> Ended {
    use std::os::unix::process::ExitStatusExt as _;
    if output.status.success() {
        return Ended::Well;
    }
    let panicked = String::from_utf8_lossy(&output.stderr).contains("panicked at");
    if output.status.signal().is_some() && !panicked {
        return Ended::Crashed;
    }
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    Ended::Wrong(texts.concat())
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn hits(folder: &Path) -> Hits {
    serde_json::from_slice(&std::fs::read(folder.join("hits")).unwrap()).unwrap()
}

/// A part of the day: how it begins, and what is reached in it.
#[derive(Debug)]
struct Part {
    morning: TempDir,
    hits: Hits,
}

/// A day without a crash, in lives that end well: what a crash is about need not be lived through from the start.
#[derive(Debug)]
pub(crate) struct Whole(Vec<Part>);

impl Whole {
    /// Lives it.
    pub(crate) fn new() -> Self {
        let ends = [1, 1500, CUTOFF - 20, CUTOFF + 60, CUTOFF + 2500, END];
        let mut parts: Vec<Part> = Vec::new();
        let now = tempfile::tempdir().unwrap();
        for until in ends {
            let morning = tempfile::tempdir().unwrap();
            copy(now.path(), morning.path());
            match (Life { until: Some(until), ..Life::default() }).live(now.path()) {
                Ended::Well => {}
                other => panic!("a day without a crash, up to {until}: {other:?}"),
            }
            parts.push(Part { morning, hits: hits(now.path()) });
        }
        Self(parts)
    }

    /// A copy of how a part begins.
    fn begin(&self, part: usize) -> TempDir {
        let day = tempfile::tempdir().unwrap();
        copy(self.0[part].morning.path(), day.path());
        day
    }

    /// Every point with the part and the number of each of its hits.
    fn points(&self) -> BTreeMap<String, Vec<(usize, u64)>> {
        let mut points: BTreeMap<String, Vec<(usize, u64)>> = BTreeMap::new();
        for (nth, part) in self.0.iter().enumerate() {
            for (name, count) in &part.hits {
                points.entry(name.clone()).or_default().extend((1..=*count).map(|hit| (nth, hit)));
            }
        }
        points
    }
}

/// Runs cases on both cores; gives what is wrong.
fn all<T: Sync>(cases: &[T], run: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().unwrap().extend(run(case));
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

/// One crash, perhaps a second one while it recovers, and the rest of the day.
#[derive(Debug)]
struct Case {
    part: usize,
    point: String,
    hit: u64,
    second: Option<(String, u64)>,
}

impl Case {
    fn run(&self, whole: &Whole, missed: &AtomicUsize) -> Option<String> {
        let folder = whole.begin(self.part);
        match Life::crashing(&self.point, self.hit).live(folder.path()) {
            Ended::Crashed => {}
            // How often loops look differs a little from day to day: a late hit may not come.
            Ended::Well if self.hit > 1 => {
                missed.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            other => return Some(format!("{self:?} did not crash: {other:?}")),
        }
        if let Some((point, hit)) = &self.second {
            match Life::crashing(point, *hit).live(folder.path()) {
                Ended::Crashed => {}
                // It does not come to that point any more.
                Ended::Well => return None,
                Ended::Wrong(text) => return Some(format!("{self:?}: {text}")),
            }
        }
        match Life::default().live(folder.path()) {
            Ended::Well => None,
            other => {
                let kept = folder.keep();
                Some(format!("{self:?}, in {}: {other:?}", kept.display()))
            }
        }
    }
}

fn number(name: &str, usual: u64) -> u64 {
    variable(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// The test that is a life of a gateway in a process that was started for one.
const A_LIFE: &str = "crash::a_gateway_that_ends_at_any_point_keeps_its_promises";

#[test]
fn a_gateway_that_ends_at_any_point_keeps_its_promises() {
    if day::lives() {
        return;
    }
    let _turn = crate::turn();
    let whole = Whole::new();
    let (most, pairs) = (number("STOPPRESS_CRASH_HITS", 3), number("STOPPRESS_CRASH_PAIRS", 0));
    let only = variable("STOPPRESS_CRASH_ONLY").unwrap_or_default();
    let points = whole.points();
    let names: Vec<&String> = points.keys().collect();
    let mut cases = Vec::new();
    for (point, hits) in points.iter().filter(|(name, _)| name.contains(&only)) {
        let tried = most.min(hits.len() as u64);
        for nth in 0..tried {
            // From the first to the last, evenly.
            let (part, hit) = hits[(nth as usize * (hits.len() - 1)) / (tried as usize - 1).max(1)];
            // A few of them end once more while they recover; the long run tries more.
            let own = if pairs == 0 { u64::from(nth == 1) } else { pairs };
            for pair in 0..=own {
                let drawn = (cases.len() as u64 * 7919 + pair * 104_729) as usize;
                let second = (pair > 0).then(|| (names[drawn % names.len()].clone(), 1 + drawn as u64 % 3));
                cases.push(Case { part, point: point.clone(), hit, second });
            }
        }
    }
    let missed = AtomicUsize::new(0);
    let wrong = all(&cases, |case| case.run(&whole, &missed));
    let missed = missed.into_inner();
    println!("{} points, {} runs, {missed} of them without a crash", points.len(), cases.len());
    assert!(missed * 20 <= cases.len(), "{missed} of {} runs did not come to their point", cases.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(!only.is_empty() || (points.len() >= 40 && cases.len() >= 200), "{}", cases.len());
}
