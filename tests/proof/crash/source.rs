//! The list of points is what the source has, and a day reaches each of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stoppress::store::Write;

use super::Whole;

/// Kinds of writes that no loop makes, and that no order, batch, transfer or stop depends on: keys, sessions, links,
/// routes, what old rows are forgotten, and what several gateways say to each other (see the real processes). Downloads,
/// which no lab prints, have no crash tried here yet.
const NOT_IN_THE_DAY: &[&str] = &[
    "announce",
    "change_callback",
    "change_webhook",
    "claim_downloads",
    "close_full",
    "end_session",
    "forget",
    "forget_deliveries",
    "leave",
    "offer_sign_in",
    "put_customer_key",
    "put_key",
    "purge",
    "put_routes",
    "remove_factor",
    "report_download",
    "revoke_calendar_links",
    "revoke_key",
    "revoke_links",
    "rotate_links",
    "see_session",
    "set_lab",
    "settle_download",
    "show_code",
    "sign_in",
    "skip_webhooks",
    "start_factor",
    "warn",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn source() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found.retain(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let name = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
    found.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The points that the source has: those with a name of their own, and two a kind of write.
fn points() -> BTreeSet<String> {
    let mut points = BTreeSet::new();
    for (_, text) in source().into_iter().filter(|(name, _)| !name.starts_with("points")) {
        for (at, _) in text.match_indices("point!(\"") {
            let name = text[at + "point!(\"".len()..].split('"').next().unwrap();
            points.insert(name.to_owned());
        }
    }
    for kind in Write::KINDS.iter().filter(|kind| !NOT_IN_THE_DAY.contains(kind)) {
        points.extend(["before", "after"].map(|edge| format!("store.{kind}.{edge}_commit")));
    }
    points
}

#[test]
fn a_day_reaches_every_point_that_the_source_has() {
    let _turn = crate::turn();
    let reached: BTreeSet<String> = Whole::new().points().into_keys().collect();
    let wanted = points();
    let missed: Vec<_> = wanted.difference(&reached).collect();
    let unknown: Vec<_> = reached.difference(&wanted).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    assert!(unknown.is_empty(), "not in the source: {unknown:?}");
    assert!(wanted.len() >= 40);
}

/// What is armed exists only with debug assertions, and whoever names it is compiled only with them: a release in
/// which it were named would not compile.
#[test]
fn a_release_has_no_points_and_no_mistakes() {
    for (name, text) in source() {
        let lines: Vec<&str> = text.lines().collect();
        if name == "points/mod.rs" {
            assert!(text.contains("#[cfg(debug_assertions)]\nmod armed;"), "{name}");
            assert!(text.contains("#[cfg(debug_assertions)]\npub use armed::*;"), "{name}");
        }
        if name == "lib.rs" || name.starts_with("points") {
            continue;
        }
        for (at, line) in lines.iter().enumerate() {
            let words = ["use crate::points::", "points::point!(", "points::mistake!("];
            let armed = line.contains("points::") && !words.iter().any(|word| line.contains(word));
            // The attribute is on the statement: at most a few lines above, at its beginning.
            let guarded =
                lines[at.saturating_sub(3)..at].iter().any(|line| line.trim() == "#[cfg(debug_assertions)]");
            assert!(!armed || guarded, "{name}:{}: {line}", at + 1);
        }
    }
}
