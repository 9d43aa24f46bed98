//! Random calendars against a model that takes the rules one day at a time.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use stoppress::domain::calendar::{Calendar, CalendarSpec, Cutoff, SeasonSpec, UnknownKeys};
use stoppress::domain::zones::Zones;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "Asia/Beirut",
    "America/Havana",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Africa/Cairo",
    "Pacific/Chatham",
];

fn times() -> impl Strategy<Value = Vec<String>> {
    let quarter = (0..=96_u16).prop_map(|q| format!("{:02}:{:02}", q / 4, q % 4 * 15));
    btree_set(quarter, 0..4).prop_map(|times| times.into_iter().rev().collect())
}

fn weekdays() -> impl Strategy<Value = Vec<String>> {
    subsequence(DAYS.to_vec(), 1..=7).prop_map(|days| days.into_iter().map(str::to_owned).collect())
}

fn date() -> impl Strategy<Value = Date> {
    // 2027 to 2029, with the leap day of 2028 now and then.
    prop_oneof![
        9 => (0..1096).prop_map(|day: i32| jiff::civil::date(2027, 1, 1) + day.days()),
        1 => Just(jiff::civil::date(2028, 2, 29)),
    ]
}

fn month_day() -> impl Strategy<Value = String> {
    date().prop_map(|date| date.strftime("%m-%d").to_string())
}

fn seasons() -> impl Strategy<Value = Vec<SeasonSpec>> {
    vec((month_day(), month_day(), times(), option::of(weekdays())), 0..4).prop_map(|seasons| {
        let spec = |(index, (from, to, cutoffs, weekdays))| SeasonSpec {
            name: format!("s{index}"),
            from,
            to,
            cutoffs,
            weekdays,
            unknown: UnknownKeys::default(),
        };
        seasons.into_iter().enumerate().map(spec).collect()
    })
}

fn spec() -> impl Strategy<Value = CalendarSpec> {
    let closed = prop_oneof![date().prop_map(|date| date.to_string()), month_day()];
    (
        select(&ZONES[..]),
        times(),
        weekdays(),
        btree_set(closed, 0..6),
        btree_map(date().prop_map(|date| date.to_string()), times(), 0..6),
        seasons(),
    )
        .prop_map(|(time_zone, cutoffs, weekdays, closed, special, seasons)| CalendarSpec {
            time_zone: time_zone.to_owned(),
            cutoffs,
            weekdays,
            closed: closed.into_iter().collect(),
            special,
            seasons,
            unknown: UnknownKeys::default(),
        })
}

/// What the rules say of one date: the rule and its times.
fn model_day(spec: &CalendarSpec, date: Date) -> (String, Vec<String>) {
    let none = (String::new(), Vec::new());
    if let Some(times) = spec.special.get(&date.to_string()) {
        return ("special".to_owned(), times.clone());
    }
    let month_day = date.strftime("%m-%d").to_string();
    if spec.closed.contains(&date.to_string()) || spec.closed.contains(&month_day) {
        return none;
    }
    let weekday = DAYS[date.weekday().to_monday_zero_offset() as usize].to_owned();
    let contains = |season: &&SeasonSpec| {
        let mut from = season.from.as_str();
        let mut to = season.to.as_str();
        let wraps = from > to;
        if !date.in_leap_year() {
            from = if from == "02-29" { "03-01" } else { from };
            to = if to == "02-29" { "02-28" } else { to };
        }
        let here = month_day.as_str();
        if wraps { here >= from || here <= to } else { from <= here && here <= to }
    };
    let (rule, times, weekdays) = match spec.seasons.iter().find(contains) {
        Some(season) => {
            let weekdays = season.weekdays.as_ref().unwrap_or(&spec.weekdays);
            (format!("season:{}", season.name), &season.cutoffs, weekdays)
        }
        None => ("regular".to_owned(), &spec.cutoffs, &spec.weekdays),
    };
    if weekdays.contains(&weekday) { (rule, times.clone()) } else { none }
}

/// The cutoffs of the dates of three years, by the rules: instant, date, time, rule.
fn model(spec: &CalendarSpec, zone: &TimeZone) -> Vec<(Timestamp, Date, String, String)> {
    let mut all: Vec<(Timestamp, Date, String, String)> = Vec::new();
    for day in 0..1096 {
        let date = jiff::civil::date(2027, 1, 1) + day.days();
        let (rule, mut times) = model_day(spec, date);
        times.sort();
        for time in times {
            let (hours, minutes) = time.split_once(':').unwrap();
            let minutes = hours.parse::<i64>().unwrap() * 60 + minutes.parse::<i64>().unwrap();
            let wanted = date.at(0, 0, 0, 0) + minutes.minutes();
            // From before the day on, minute by minute would do; by the library's own account of
            // gaps it is quicker, and no change here is followed by another within a day.
            let found = match zone.to_ambiguous_timestamp(wanted).offset() {
                jiff::tz::AmbiguousOffset::Gap { before, .. } => {
                    let around = before.to_timestamp(wanted).unwrap() - SignedDuration::from_hours(12);
                    zone.following(around).next().unwrap().timestamp()
                }
                jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wanted).unwrap(),
                jiff::tz::AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wanted).unwrap(),
            };
            if all.last().is_none_or(|last| last.0 < found) {
                all.push((found, date, time, rule.clone()));
            }
        }
    }
    all
}

fn tuple(cutoff: Cutoff) -> (Timestamp, Date, String, String) {
    (cutoff.at, cutoff.production_date, cutoff.time, cutoff.rule.to_string())
}

fn now() -> Timestamp {
    "2027-01-10T00:00:00Z".parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_calendar_is_what_the_rules_say(spec in spec(), offsets in vec(0..86_400 * 1000_i64, 16)) {
        let zones = Zones::bundled();
        let until: Timestamp = "2029-12-20T00:00:00Z".parse().unwrap();
        let expected: Vec<_> = model(&spec, &zones.get(&spec.time_zone).unwrap())
            .into_iter()
            .filter(|cutoff| (now()..until).contains(&cutoff.0))
            .collect();
        let soon = now() + SignedDuration::from_hours(370 * 24);
        match Calendar::build(&spec, &zones, now()) {
            Err(faults) => {
                prop_assert_eq!(faults.len(), 1);
                prop_assert!(faults[0].message.starts_with("has no cutoff in the 370 days"), "{}", faults[0]);
                prop_assert!(!expected.iter().any(|cutoff| cutoff.0 > now() && cutoff.0 <= soon));
            }
            Ok(calendar) => {
                let all: Vec<_> = calendar.cutoffs(now(), until).map(tuple).collect();
                prop_assert_eq!(&all, &expected);
                for offset in offsets {
                    let inside = now() + SignedDuration::from_secs(offset);
                    let next = expected.iter().find(|cutoff| cutoff.0 > inside).cloned();
                    let last = expected.iter().rev().find(|cutoff| cutoff.0 <= inside).map(|cutoff| cutoff.0);
                    let Some(window) = calendar.window(inside) else {
                        prop_assert_eq!(next, None);
                        continue;
                    };
                    if last.is_some() {
                        prop_assert_eq!(window.opens_at, last);
                    }
                    prop_assert_eq!(Some(window.cutoff.clone()), calendar.next_cutoff(inside));
                    if next.is_some() {
                        prop_assert_eq!(Some(tuple(window.cutoff)), next);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_written_back_reads_the_same(spec in spec()) {
        let json = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(&serde_json::from_str::<CalendarSpec>(&json).unwrap(), &spec);
        let toml = toml::to_string(&spec).unwrap();
        prop_assert_eq!(&toml::from_str::<CalendarSpec>(&toml).unwrap(), &spec);
    }

    #[test]
    fn no_text_makes_it_panic(
        zone in ".*", time in "[0-9:\\-+ é]{0,8}", date in "[0-9\\-é]{0,10}", month_day in "[0-9\\-é]{0,6}",
    ) {
        let spec = serde_json::json!({
            "time_zone": zone, "cutoffs": [time], "weekdays": [zone], "closed": [date, month_day],
            "special": { date: [time] },
            "seasons": [{ "name": zone, "from": month_day, "to": month_day, "cutoffs": [time] }],
        });
        let spec: CalendarSpec = serde_json::from_value(spec).unwrap();
        let _ = Calendar::build(&spec, &Zones::bundled(), now());
    }
}
