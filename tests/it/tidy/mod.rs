//! The house rules that a compiler does not know: who may know whom, which crate lives where, how long a
//! file may be. Every rule is tried on something that breaks it, so that none passes by not looking.

mod code;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use code::{bare, paths};
use sha2::{Digest as _, Sha256};

/// The most lines of a file.
const LINES_MAX: usize = 500;

/// Who may know whom: the table of the map, as data. `proto` is generated, and knows nobody.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("main", &["cli", "clock"]),
    // Where tests of debug builds end the process or plant a mistake: not in a release.
    ("points", &[]),
    ("lib", &[]),
    ("cli", &["app", "api", "lab", "store", "config", "telemetry", "domain", "clock", "proto", "points"]),
    ("app", &["api", "work", "lab", "store", "config", "telemetry", "domain", "clock", "proto"]),
    ("api", &["store", "domain", "clock", "proto"]),
    ("work", &["store", "lab", "domain", "clock", "points"]),
    ("lab", &["domain", "clock", "proto"]),
    ("store", &["domain", "clock", "points"]),
    ("telemetry", &["config", "domain"]),
    ("config", &["domain"]),
    ("domain", &["clock"]),
    ("clock", &[]),
];

/// Which path may only be written where: a file, or a folder with `/` at its end, or a stem with `*`.
const FENCES: &[(&str, &[&str])] = &[
    ("sqlx", &["src/store/"]),
    ("reqwest", &["src/lab/outbound.rs"]),
    // Servers in api; the simulated lab is a server of its own, and a lab that dials out is certified by one.
    (
        "tonic",
        &[
            "src/lab/grpc*",
            "src/lab/link*",
            "src/api/",
            "src/cli/simulate/",
            "src/cli/certify/line.rs",
            "src/lib.rs",
        ],
    ),
    // The gateway calls labs in one place; the simulated lab dials the gateway.
    ("tonic::transport::Channel", &["src/lab/grpc.rs", "src/cli/simulate/link.rs"]),
    ("tonic::transport::Endpoint", &["src/lab/grpc.rs", "src/cli/simulate/link.rs"]),
    ("crate::proto::lab_service_client", &["src/lab/grpc.rs"]),
    ("crate::proto::lab_import_service_client", &["src/lab/grpc.rs"]),
    ("lettre", &["src/lab/mail.rs"]),
    // Codes come from one place, with the steps that were taken.
    ("totp_rs", &["src/domain/second_factor.rs"]),
    ("axum", &["src/api/", "src/cli/simulate/"]),
    ("jiff::tz", &["src/domain/zones*", "src/domain/calendar*"]),
    ("std::env", &["src/config.rs"]),
    ("tokio_cron_scheduler", &["src/work/chores.rs"]),
];

/// Macros and marks of unfinished work; put together here so that this file has none of them.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
    concat!("d", "bg!"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
];

/// Places of the machine that a file was written on, and of registries that one machine has.
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
const HOSTS: &[&str] =
    &[concat!("artif", "actory"), concat!("index.cra", "tes.io"), concat!("static.cra", "tes.io")];

/// What is kept as others publish it, with its SHA-256: long lines, no head, and nobody changes it here.
const KEPT: &[(&str, &str)] =
    &[("tests/axe/axe.min.js", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c")];

/// A file of the repository, named from its root.
struct File {
    name: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let here = path.file_name().unwrap().to_str().unwrap();
            if matches!(here, "target" | ".git") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                // What is not text (a database of somebody's trial) is nobody's code.
                found.push(File { name, text });
            }
        }
    }
    assert!(!found.is_empty(), "{under} has no files");
    found
}

fn rust(under: &[&str]) -> Vec<File> {
    let all = under.iter().flat_map(|folder| files(folder));
    all.filter(|file| Path::new(&file.name).extension().is_some_and(|kind| kind == "rs")).collect()
}

fn none(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

/// The room of a file, and how many modules deep it is.
fn room(name: &str) -> (&str, usize) {
    let inner = name.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    (inner.split('/').next().unwrap(), inner.split('/').count())
}

/// The rooms that a path leads to, seen from a module so deep.
fn target(path: &str, depth: usize) -> Option<&str> {
    let mut steps = path.split("::").peekable();
    if matches!(steps.peek(), Some(&"crate" | &"stoppress")) {
        return steps.nth(1);
    }
    let mut up = 0;
    while steps.next_if_eq(&"super").is_some() {
        up += 1;
    }
    if up > 0 && up == depth { steps.next() } else { None }
}

fn wrong_acquaintances(file: &File) -> Vec<String> {
    let (own, depth) = room(&file.name);
    let Some((_, may)) = MAY_KNOW.iter().find(|(room, _)| *room == own) else {
        return vec![format!("{}: no room of that name is on the map", file.name)];
    };
    let code = bare(&file.text);
    // In a module of tests `super` is the file itself.
    let tests_from = code.find("#[cfg(test)]").map_or(usize::MAX, |at| code[..at].matches('\n').count() + 1);
    let rooms: BTreeSet<&str> = MAY_KNOW.iter().map(|(room, _)| *room).chain(["proto"]).collect();
    let wrong = paths(&code).into_iter().filter_map(|(line, path)| {
        let depth = if line > tests_from { depth + 1 } else { depth };
        let other = target(&path, depth).filter(|other| rooms.contains(other))?;
        let ok = other == own || may.contains(&other);
        (!ok).then(|| format!("{}:{line}: {own} may not know {other} ({path})", file.name))
    });
    wrong.collect()
}

fn over_fences(file: &File) -> Vec<String> {
    let within = |place: &str| match place.strip_suffix('*') {
        Some(stem) => file.name.starts_with(stem),
        None if place.ends_with('/') => file.name.starts_with(place),
        None => file.name == place,
    };
    let found = paths(&bare(&file.text));
    let over = FENCES.iter().filter(|(_, places)| !places.iter().any(|place| within(place))).flat_map(
        |(fence, places)| {
            found
                .iter()
                .filter(move |(_, path)| path == fence || path.starts_with(&format!("{fence}::")))
                .map(move |(line, path)| {
                    format!("{}:{line}: {path} belongs to {}", file.name, places.join(", "))
                })
        },
    );
    over.collect()
}

fn without_head(file: &File) -> Vec<String> {
    if file.text.starts_with("//! ") {
        vec![]
    } else {
        vec![format!("{}: does not begin with //!", file.name)]
    }
}

fn too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines <= LINES_MAX {
        vec![]
    } else {
        vec![format!("{}: {lines} lines; at most {LINES_MAX}", file.name)]
    }
}

fn unfinished(file: &File) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    lines
        .flat_map(|(at, line)| {
            UNFINISHED.iter().filter(|word| line.contains(**word)).map(move |word| (at, word))
        })
        .map(|(at, word)| format!("{}:{}: {word}", file.name, at + 1))
        .collect()
}

fn of_one_machine(file: &File) -> Vec<String> {
    let absolute = |line: &str, place: &str| {
        // `src/work/…` is a folder of ours; a place of a machine begins the path.
        line.match_indices(place).any(|(at, _)| {
            !line[..at]
                .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}' | '*'))
        })
    };
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let place = PLACES.iter().find(|place| absolute(line, place));
        if let Some(word) = place.or_else(|| HOSTS.iter().find(|host| line.contains(**host))) {
            found.push(format!("{}:{}: {word}", file.name, at + 1));
        }
    }
    found
}

fn unequal(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Vec<String> {
    one.symmetric_difference(other).map(|name| format!("{name} is only in one tree")).collect()
}

fn migrations(engine: &str) -> BTreeSet<String> {
    let all = files(&format!("migrations/{engine}"));
    all.into_iter().map(|file| file.name.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn rooms_know_only_whom_they_may() {
    none(rust(&["src"]).iter().flat_map(wrong_acquaintances).collect());
}

#[test]
fn crates_stay_behind_their_fences() {
    none(rust(&["src"]).iter().flat_map(over_fences).collect());
}

#[test]
fn every_file_says_what_it_is_for() {
    none(rust(&["src", "tests", "benches"]).iter().flat_map(without_head).collect());
}

#[test]
fn no_file_is_too_long() {
    none(rust(&["src", "tests", "benches"]).iter().flat_map(too_long).collect());
}

#[test]
fn nothing_is_unfinished() {
    none(rust(&["src", "tests", "benches"]).iter().flat_map(unfinished).collect());
}

#[test]
fn nothing_names_one_machine() {
    none(files(".").iter().flat_map(of_one_machine).collect());
}

#[test]
fn both_engines_have_the_same_migrations() {
    none(unequal(&migrations("sqlite"), &migrations("postgres")));
}

#[test]
fn the_map_is_whole() {
    let there: BTreeSet<String> = rust(&["src"]).iter().map(|file| room(&file.name).0.to_owned()).collect();
    let map: BTreeSet<String> = MAY_KNOW.iter().map(|(room, _)| (*room).to_owned()).collect();
    none(unequal(&there, &map));
}

/// Of the work of others only what is listed is here, as it came, beside its licence.
#[test]
fn what_others_made_is_as_they_made_it() {
    let long = |file: &File| file.text.lines().any(|line| line.len() > 10_000);
    let there: BTreeSet<String> = files("tests")
        .iter()
        .chain(&files("src"))
        .filter(|file| long(file))
        .map(|file| file.name.clone())
        .collect();
    none(unequal(&there, &KEPT.iter().map(|(name, _)| (*name).to_owned()).collect()));
    for (name, sum) in KEPT {
        let path = root().join(name);
        let sum_of = Sha256::digest(fs::read(&path).unwrap());
        let found = sum_of.iter().fold(String::new(), |sum, byte| format!("{sum}{byte:02x}"));
        assert_eq!(found, *sum, "{name} was changed");
        assert!(path.with_file_name("LICENSE").is_file(), "{name} is without its licence");
    }
}

/// The rules, each on something that breaks it and on something near it that does not.
#[test]
fn every_rule_finds_what_breaks_it() {
    let file = |name: &str, text: &str| File { name: name.to_owned(), text: text.to_owned() };
    let acquaintance = |name, text| wrong_acquaintances(&file(name, text)).len();
    assert_eq!(acquaintance("src/domain/order.rs", "use crate::store::Store;"), 1);
    assert_eq!(acquaintance("src/domain/order.rs", "use crate::{clock::Clock, domain::ids, lab};"), 1);
    assert_eq!(acquaintance("src/domain/order.rs", "fn f() { crate::work::run() }"), 1);
    assert_eq!(acquaintance("src/domain/order.rs", "use super::super::lab;"), 1);
    assert_eq!(acquaintance("src/domain/order.rs", "use super::lab::Profile; // crate::store"), 0);
    assert_eq!(
        acquaintance("src/domain/order.rs", "#[cfg(test)]\nmod tests {\n use super::super::lab;\n}"),
        0
    );
    assert_eq!(acquaintance("src/api/mod.rs", "use super::lab;"), 1);
    assert_eq!(acquaintance("src/api/http/stops.rs", "use crate::lab::Lab;"), 1);
    assert_eq!(acquaintance("src/work/mod.rs", "use crate::api::Api;"), 1);
    assert_eq!(acquaintance("src/main.rs", "use stoppress::store::open;"), 1);
    assert_eq!(acquaintance("src/attic.rs", ""), 1);

    let fence = |name, text| over_fences(&file(name, text)).len();
    assert_eq!(fence("src/work/mod.rs", "use sqlx::Row;"), 1);
    assert_eq!(fence("src/store/sql.rs", "use sqlx::Row;"), 0);
    assert_eq!(fence("src/cli/client.rs", "fn f(c: reqwest::Client) {}"), 1);
    assert_eq!(fence("src/work/close.rs", "use jiff::{Timestamp, tz::TimeZone};"), 1);
    assert_eq!(fence("src/domain/zones/folder.rs", "use jiff::tz::TimeZone;"), 0);
    assert_eq!(fence("src/cli/doctor.rs", "use std::{env, fs};"), 1);
    assert_eq!(fence("src/cli/doctor.rs", "/// `std::env`\nconst A: &str = env!(\"X\");"), 0);
    assert_eq!(fence("src/api/grpc.rs", "use tonic::transport::{Channel, Server};"), 1);
    assert_eq!(fence("src/cli/simulate/http.rs", "use axum::Router;"), 0);
    assert_eq!(fence("src/cli/labs.rs", "use axum::Router;"), 1);

    assert_eq!(without_head(&file("src/a.rs", "// a\n//! b")).len(), 1);
    assert_eq!(too_long(&file("src/a.rs", &"\n".repeat(LINES_MAX + 1))).len(), 1);
    assert_eq!(too_long(&file("src/a.rs", &"\n".repeat(LINES_MAX))).len(), 0);
    for word in UNFINISHED {
        assert_eq!(unfinished(&file("src/a.rs", &format!("a\n// {word}"))).len(), 1, "{word}");
    }
    let machine = |text: &str| of_one_machine(&file("README.md", text)).len();
    for place in PLACES {
        assert_eq!(machine(&format!("cd {place}x")), 1, "{place}");
        assert_eq!(machine(&format!("src{place}x")), 0, "{place}");
    }
    for host in HOSTS {
        assert_eq!(machine(&format!("https://{host}/")), 1, "{host}");
    }
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(unequal(&set(&["0001_a.sql", "0002_b.sql"]), &set(&["0001_a.sql"])).len(), 1);
}
