//! How the cutoffs of a region came to be as they are: every definition that its lab had, one after the other,
//! and the windows that were moved. A calendar program that subscribes is told what changed, and what is gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;

use super::batch::BatchFacts;
use super::calendar::{Calendar, Cutoff};
use super::ics::{Revision, Standing};

/// The calendar of a region from an instant on.
#[derive(Debug, Clone)]
pub struct Version {
    /// Since when.
    pub since: Timestamp,
    /// Its number; later ones are greater.
    pub number: i64,
    /// The calendar; `None` while the lab or the region was not there.
    pub calendar: Option<Calendar>,
}

/// What names a cutoff: its date of production and its configured time.
type Name = (Date, String);

fn name(cutoff: &Cutoff) -> Name {
    (cutoff.production_date, cutoff.time.clone())
}

/// The cutoffs with `from <= closes_at < to`, each as the last version has it, and those that it has no more.
#[must_use]
pub fn revised(
    versions: &[Version],
    (from, to): (Timestamp, Timestamp),
    most: usize,
) -> Vec<(Cutoff, Revision)> {
    let mut known: BTreeMap<Name, (Cutoff, Revision)> = BTreeMap::new();
    for version in versions {
        let listed = version.calendar.iter().flat_map(|calendar| calendar.cutoffs(from, to).take(most));
        let listed: BTreeMap<Name, Cutoff> = listed.map(|cutoff| (name(&cutoff), cutoff)).collect();
        let change = |standing| Revision { sequence: version.number, modified: version.since, standing };
        for (name, (cutoff, revision)) in &mut known {
            // What had passed by then took place.
            let gone = !listed.contains_key(name) && cutoff.at > version.since;
            if gone && revision.standing != Standing::Cancelled {
                *revision = change(Standing::Cancelled);
            }
        }
        for (name, cutoff) in listed {
            let same = known.get(&name).is_some_and(|(old, revision)| {
                revision.standing != Standing::Cancelled && (old.at, &old.rule) == (cutoff.at, &cutoff.rule)
            });
            if !same {
                known.insert(name, (cutoff, change(Standing::Planned)));
            }
        }
    }
    let mut all: Vec<_> = known.into_values().collect();
    all.sort_by_key(|(cutoff, _)| cutoff.at);
    all
}

/// Puts an open window at the time at which it closes, if that is not the calendar's.
pub fn hold(all: &mut [(Cutoff, Revision)], batch: &BatchFacts, modified: Timestamp) {
    // The rule of a batch ends with the configured time.
    let time = batch.rule.rsplit(' ').next().unwrap_or_default();
    let Ok(date) = batch.production_date.parse::<Date>() else { return };
    let Some((cutoff, revision)) =
        all.iter_mut().find(|(cutoff, _)| cutoff.production_date == date && cutoff.time == time)
    else {
        return;
    };
    if cutoff.at == batch.closes_at && revision.standing != Standing::Cancelled {
        return;
    }
    cutoff.at = batch.closes_at;
    cutoff.local.clone_from(&batch.closes_at_local);
    let modified = modified.max(revision.modified);
    *revision = Revision { sequence: revision.sequence + batch.version, modified, standing: Standing::Moved };
}

/// The number of a release of zone data, such as `2026b`: a later one is greater.
#[must_use]
pub fn release(name: &str) -> i64 {
    let Some(year) = name.get(..4).and_then(|year| year.parse::<i64>().ok()) else { return 0 };
    let letter = name
        .as_bytes()
        .get(4)
        .copied()
        .filter(u8::is_ascii_lowercase)
        .map_or(0, |letter| i64::from(letter - b'a'));
    (year - 2000).max(0) * 26 + letter
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::batch::BatchPhase;
    use crate::domain::ids::{BatchId, LabId, RegionId};
    use crate::domain::zones::Zones;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn version(number: i64, since: &str, cutoffs: &[&str]) -> Version {
        let build = || {
            let spec = json!({"time_zone": "UTC", "cutoffs": cutoffs});
            let spec = serde_json::from_value(spec).unwrap();
            Calendar::build(&spec, &Zones::bundled(), at(since)).unwrap()
        };
        Version { since: at(since), number, calendar: (!cutoffs.is_empty()).then(build) }
    }

    fn shown(all: &[(Cutoff, Revision)]) -> Vec<(String, i64, Standing)> {
        let one = |(cutoff, revision): &(Cutoff, Revision)| {
            (format!("{} {}", cutoff.production_date, cutoff.time), revision.sequence, revision.standing)
        };
        all.iter().map(one).collect()
    }

    const RANGE: (&str, &str) = ("2026-11-20T00:00:00Z", "2026-11-22T00:00:00Z");

    fn of(versions: &[Version]) -> Vec<(Cutoff, Revision)> {
        revised(versions, (at(RANGE.0), at(RANGE.1)), 100)
    }

    #[test]
    fn what_changed_and_what_is_gone_is_told() {
        use Standing::{Cancelled, Planned};
        let row = |name: &str, sequence, standing| (name.to_owned(), sequence, standing);
        let first = version(1, "2026-11-01T00:00:00Z", &["12:00"]);
        let both = [row("2026-11-20 12:00", 1, Planned), row("2026-11-21 12:00", 1, Planned)];
        assert_eq!(shown(&of(std::slice::from_ref(&first))), both);
        // The same again changes nothing.
        let same = version(2, "2026-11-02T00:00:00Z", &["12:00"]);
        assert_eq!(shown(&of(&[first.clone(), same])), both);
        // Another time: what has not passed yet is gone, and the new one is new.
        let other = version(3, "2026-11-20T13:00:00Z", &["18:00"]);
        let changed = of(&[first.clone(), other.clone()]);
        assert_eq!(
            shown(&changed),
            [
                row("2026-11-20 12:00", 1, Planned),
                row("2026-11-20 18:00", 3, Planned),
                row("2026-11-21 12:00", 3, Cancelled),
                row("2026-11-21 18:00", 3, Planned),
            ]
        );
        assert_eq!(changed[2].1.modified, at("2026-11-20T13:00:00Z"));
        // And back: the event with that name stands again, as a later form of itself.
        let back = version(4, "2026-11-20T14:00:00Z", &["12:00"]);
        let again = of(&[first.clone(), other, back]);
        assert_eq!(
            shown(&again),
            [
                row("2026-11-20 12:00", 1, Planned),
                row("2026-11-20 18:00", 4, Cancelled),
                row("2026-11-21 12:00", 4, Planned),
                row("2026-11-21 18:00", 4, Cancelled),
            ]
        );
        // A cutoff at the very instant of the change took place.
        let then = version(6, "2026-11-20T12:00:00Z", &["18:00"]);
        assert_eq!(shown(&of(&[first.clone(), then]))[0], row("2026-11-20 12:00", 1, Planned));
        // A lab that is gone has none.
        let gone = version(5, "2026-11-20T00:00:01Z", &[]);
        assert!(of(&[first, gone]).iter().all(|(_, revision)| revision.standing == Cancelled));
    }

    #[test]
    fn an_open_window_stands_where_it_closes() {
        let batch = |closes: &str, rule: &str, version| BatchFacts {
            id: BatchId::parse(&format!("bat_{:032x}", 1)).unwrap(),
            lab: LabId::parse("nord").unwrap(),
            region: RegionId::parse("fi").unwrap(),
            phase: BatchPhase::Open,
            direct: false,
            opens_at: at(RANGE.0),
            window_at: at(closes),
            closes_at: at(closes),
            closes_at_local: "there".to_owned(),
            production_date: "2026-11-20".to_owned(),
            rule: rule.to_owned(),
            time_zone: "UTC".to_owned(),
            tzdata: "2026a".to_owned(),
            promised: true,
            closed_at: None,
            version,
        };
        let first = version(1, "2026-11-01T00:00:00Z", &["12:00"]);
        let later = at("2026-11-20T08:00:00Z");
        // As the calendar has it, or of a window that is not listed: nothing happens.
        let mut all = of(std::slice::from_ref(&first));
        let before = all.clone();
        hold(&mut all, &batch("2026-11-20T12:00:00Z", "regular 12:00", 1), later);
        hold(&mut all, &batch("2026-11-20T13:00:00Z", "regular 11:00", 2), later);
        assert_eq!(all, before);
        // Postponed.
        hold(&mut all, &batch("2026-11-20T13:00:00Z", "regular 12:00", 2), later);
        let moved = Revision { sequence: 3, modified: later, standing: Standing::Moved };
        assert_eq!((all[0].0.at, all[0].1), (at("2026-11-20T13:00:00Z"), moved));
        assert_eq!(all[1], before[1]);
        // The calendar has it no more, and its promise is kept.
        let mut all = of(&[first, version(1_000, "2026-11-20T07:00:00Z", &["11:00"])]);
        assert_eq!(all[1].1.standing, Standing::Cancelled);
        hold(&mut all, &batch("2026-11-20T12:00:00Z", "regular 12:00", 3), later);
        assert_eq!((all[1].1.standing, all[1].1.sequence), (Standing::Moved, 1_003));
    }

    #[test]
    fn later_releases_are_greater() {
        let names = ["2019z", "2025b", "2026a", "2026b", "2027"];
        let numbers: Vec<i64> = names.iter().map(|name| release(name)).collect();
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
        // No two releases have one number, as long as a year has no more of them than letters.
        let letters = |year: i64| ('a'..='z').map(move |letter| release(&format!("{year}{letter}")));
        let all: Vec<i64> = (2000..2100).flat_map(letters).collect();
        assert!(all.iter().copied().eq(0..2600), "{all:?}");
        assert_eq!(release("unknown"), 0);
    }
}
