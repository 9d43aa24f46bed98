//! What one question to a calendar costs.

use divan::{Bencher, black_box};
use jiff::Timestamp;
use stoppress::domain::calendar::{Calendar, CalendarSpec};
use stoppress::domain::zones::Zones;

/// An ordinary day, the day of a clock change, and a day that zone files leave to a rule.
const INSTANTS: [&str; 3] = ["2026-06-17T10:00:00Z", "2026-03-28T21:30:00Z", "2044-03-27T00:30:00Z"];

const CALENDARS: [(&str, &str); 3] = [
    ("midnight", r#"{"time_zone": "Europe/Berlin", "cutoffs": ["24:00"]}"#),
    (
        "seasons",
        r#"{"time_zone": "Asia/Beirut", "cutoffs": ["12:00", "24:00"], "weekdays": ["mon", "wed", "fri"],
            "closed": ["01-01", "2026-12-25"], "special": {"2026-12-24": ["10:00"]},
            "seasons": [{"name": "peak", "from": "10-01", "to": "12-31", "cutoffs": ["06:00", "12:00"]}]}"#,
    ),
    (
        "once a year",
        r#"{"time_zone": "Europe/Berlin", "cutoffs": [],
            "seasons": [{"name": "day", "from": "03-01", "to": "03-01", "cutoffs": ["24:00"]}]}"#,
    ),
];

fn main() {
    divan::main();
}

fn cases() -> impl Iterator<Item = String> {
    CALENDARS.iter().flat_map(|(name, _)| INSTANTS.iter().map(move |at| format!("{name}@{at}")))
}

fn case(case: &str) -> (Calendar, Timestamp) {
    let (name, at) = case.split_once('@').expect("a case is name@instant");
    let (_, spec) = CALENDARS.iter().find(|(known, _)| *known == name).expect("a known calendar");
    let spec: CalendarSpec = serde_json::from_str(spec).expect("a calendar");
    let at = at.parse().expect("an instant");
    (Calendar::build(&spec, &Zones::bundled(), at).expect("a good calendar"), at)
}

#[divan::bench(args = cases())]
fn next_cutoff(bencher: Bencher<'_, '_>, name: &str) {
    let (calendar, at) = case(name);
    bencher.bench(|| calendar.next_cutoff(black_box(at)));
}

#[divan::bench(args = cases())]
fn window(bencher: Bencher<'_, '_>, name: &str) {
    let (calendar, at) = case(name);
    bencher.bench(|| calendar.window(black_box(at)));
}

#[divan::bench]
fn build(bencher: Bencher<'_, '_>) {
    let zones = Zones::bundled();
    let spec: CalendarSpec = serde_json::from_str(CALENDARS[1].1).expect("a calendar");
    let now = INSTANTS[0].parse().expect("an instant");
    bencher.bench(|| Calendar::build(black_box(&spec), &zones, now));
}
