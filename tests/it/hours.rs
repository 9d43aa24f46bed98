//! Contact hours: what may be written, and how time counts within them, across clock changes too.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stoppress::domain::calendar::{Calendar, CalendarSpec};
use stoppress::domain::hours::Hours;
use stoppress::domain::zones::Zones;

use crate::rig::at;

/// A calendar of a zone, built once: the tests ask for it thousands of times.
fn calendar(zone: &str) -> Calendar {
    static BUILT: Mutex<BTreeMap<String, Calendar>> = Mutex::new(BTreeMap::new());
    BUILT.lock().unwrap().entry(zone.to_owned()).or_insert_with(|| built(zone)).clone()
}

fn built(zone: &str) -> Calendar {
    let spec: CalendarSpec =
        serde_json::from_value(serde_json::json!({"time_zone": zone, "cutoffs": ["24:00"]})).unwrap();
    Calendar::build(&spec, &Zones::bundled(), at("2026-01-01T00:00:00Z")).unwrap()
}

#[test]
fn the_allowed_forms_are_read() {
    let cases: &[(&str, i64)] = &[
        ("mon-fri 08:00-16:00", 40 * 60),
        ("  mon-fri   08:00-16:00 ,sat 09:00-12:00", 43 * 60),
        ("mon 08:00-12:00, mon 13:00-17:00", 8 * 60),
        ("mon 08:00-12:00, mon 11:00-13:00, mon 13:00-14:00", 6 * 60),
        ("sat-mon 10:00-11:00", 3 * 60),
        ("daily 00:00-24:00", 7 * 24 * 60),
        ("sun 23:59-24:00", 1),
        ("wed-tue 00:00-00:01", 7),
    ];
    for (text, minutes) in cases {
        let hours = Hours::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(hours.a_week(), SignedDuration::from_mins(*minutes), "{text}");
        assert_eq!(hours.text(), text.trim());
    }
}

#[test]
fn anything_else_is_refused_with_what_is_allowed() {
    let long = "mon 08:00-09:00,".repeat(30);
    for text in [
        "",
        "mon-fri",
        "08:00-16:00",
        "mon-fri 8:00-16:00",
        "mon-fri 08:00-25:00",
        "mon-fri 08:60-16:00",
        "mon-fri 24:01-24:00",
        // The end of the day is its last minute.
        "mon-fri 08:00-24:01",
        "mon-fri 16:00-08:00",
        "mon-fri 08:00-08:00",
        "Mon-Fri 08:00-16:00",
        "mo-fr 08:00-16:00",
        "mon-fri-sat 08:00-16:00",
        "mon-fri 08:00-16:00 or so",
        "mon-fri 08:00-16:00,",
        "mon-fri 08:00",
        "mon-fri +8:00-16:00",
        "mon-fri 08:00–16:00",
        "weekdays",
        &long,
    ] {
        let fault = Hours::parse(text).expect_err(text);
        assert!(fault.message.contains("mon-fri 08:00-16:00"), "{text}: {fault}");
    }
    // What is too long is told how long it is, and how long it may be.
    let of = |bytes: usize| format!("mon 08:00-09:00{}", " ".repeat(bytes - 15));
    assert!(Hours::parse(&of(300)).is_ok());
    for bytes in [301, 302] {
        let fault = Hours::parse(&of(bytes)).unwrap_err();
        assert!(fault.message.starts_with(&format!("has {bytes} bytes; it must be at most 300,")), "{fault}");
    }
}

#[test]
fn contact_time_is_from_the_first_minute_to_before_the_last() {
    let hours = Hours::parse("mon 08:00-12:00, mon 13:00-17:00").unwrap();
    let helsinki = calendar("Europe/Helsinki");
    for (instant, open) in [
        ("2026-11-23T05:59:59.999999Z", false),
        ("2026-11-23T06:00:00Z", true),
        ("2026-11-23T09:59:59.999999Z", true),
        ("2026-11-23T10:00:00Z", false),
        ("2026-11-23T11:00:00Z", true),
        ("2026-11-23T15:00:00Z", false),
        ("2026-11-24T07:00:00Z", false),
    ] {
        assert_eq!(hours.open(&helsinki, at(instant)), open, "{instant}");
    }
}

#[test]
fn time_counts_only_within_contact_hours() {
    let office = "mon-fri 08:00-16:00";
    // 2026-11-20 is a Friday. Helsinki is two hours ahead of UTC in winter, three in summer.
    let cases: &[(&str, &str, &str, i64, &str)] = &[
        // Asked on Friday at 18:00: half an hour of Monday.
        ("Europe/Helsinki", office, "2026-11-20T16:00:00Z", 30, "2026-11-23T06:30:00Z"),
        ("Europe/Helsinki", office, "2026-11-20T10:00:00Z", 30, "2026-11-20T10:30:00Z"),
        ("Europe/Helsinki", office, "2026-11-20T13:45:00Z", 30, "2026-11-23T06:15:00Z"),
        // To the last minute of the day is in time, and not a minute of the next.
        ("Europe/Helsinki", office, "2026-11-20T13:30:00Z", 30, "2026-11-20T14:00:00Z"),
        ("Europe/Helsinki", office, "2026-11-20T14:00:00Z", 0, "2026-11-23T06:00:00Z"),
        ("Europe/Helsinki", office, "2026-11-20T10:00:00Z", 0, "2026-11-20T10:00:00Z"),
        (
            "Europe/Helsinki",
            "mon 08:00-12:00, mon 13:00-17:00",
            "2026-11-23T09:45:00Z",
            30,
            "2026-11-23T11:15:00Z",
        ),
        // A week, over and over: ten hours of one-hour Mondays.
        ("Europe/Helsinki", "mon 08:00-09:00", "2026-11-20T16:00:00Z", 600, "2027-01-25T07:00:00Z"),
        // The clock goes forward at 03:00 local on 2026-03-29: the gap is no contact time.
        ("Europe/Helsinki", "sun 02:00-05:00", "2026-03-28T12:00:00Z", 90, "2026-03-29T01:30:00Z"),
        // A span within the gap is empty: the next Sunday's counts.
        ("Europe/Helsinki", "sun 03:10-03:50", "2026-03-28T12:00:00Z", 30, "2026-04-05T00:40:00Z"),
        // Also for what needs no time: it waits for the first contact instant, and there is none in a gap.
        ("Europe/Helsinki", "sun 03:10-03:50", "2026-03-28T12:00:00Z", 0, "2026-04-05T00:10:00Z"),
        // It goes back at 04:00 local on 2026-10-25: 03:00 to 05:00 lasts three hours.
        ("Europe/Helsinki", "sun 03:00-05:00", "2026-10-24T12:00:00Z", 170, "2026-10-25T02:50:00Z"),
        // Ends and begins at the first occurrence of a reading that comes twice.
        ("Europe/Helsinki", "sun 02:00-03:30", "2026-10-24T12:00:00Z", 90, "2026-10-25T00:30:00Z"),
        // Midnight to midnight joins.
        ("America/New_York", "daily 00:00-24:00", "2026-11-20T16:00:00Z", 3000, "2026-11-22T18:00:00Z"),
        ("Pacific/Apia", "fri-sat 08:00-09:00", "2011-12-30T09:00:00Z", 30, "2011-12-30T18:30:00Z"),
    ];
    for (zone, hours, from, minutes, expected) in cases {
        let hours = Hours::parse(hours).unwrap();
        let due = hours.after(&calendar(zone), at(from), SignedDuration::from_mins(*minutes));
        assert_eq!(due, Some(at(expected)), "{zone} {} from {from} + {minutes} min", hours.text());
    }
}

const ZONES: [&str; 8] = [
    "Europe/Helsinki",
    "America/Havana",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Atlantic/Azores",
];

fn written() -> impl Strategy<Value = Hours> {
    let span = (0_usize..7, 0_usize..7, 0_u16..1439, 1_u16..=1440);
    proptest::collection::vec(span, 1..4).prop_map(|spans| {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let parts: Vec<String> = spans
            .into_iter()
            .map(|(first, last, from, length)| {
                let to = (from + length).min(1440);
                format!("{}-{} {}-{}", DAYS[first], DAYS[last], time(from), time(to))
            })
            .collect();
        Hours::parse(&parts.join(", ")).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// In any zone, at any instant, over clock changes: what was counted has passed, the end is within contact
    /// hours or at their end, and counting in two parts comes to the same.
    #[test]
    fn counting_is_exact(
        hours in written(),
        zone in 0_usize..ZONES.len(),
        from in 1_577_836_800_i64..1_893_456_000,
        first in 0_i64..5_000,
        second in 0_i64..5_000,
    ) {
        let calendar = calendar(ZONES[zone]);
        let from = Timestamp::from_second(from).unwrap();
        let minutes = SignedDuration::from_mins;
        let one = hours.after(&calendar, from, minutes(first)).unwrap();
        let both = hours.after(&calendar, from, minutes(first + second)).unwrap();
        prop_assert!(from <= one && one <= both);
        prop_assert_eq!(hours.between(&calendar, from, one), minutes(first));
        prop_assert_eq!(hours.between(&calendar, from, both), minutes(first + second));
        if first > 0 && second > 0 {
            prop_assert_eq!(hours.after(&calendar, one, minutes(second)), Some(both));
            // Not an instant later than needed: just before, it was contact time.
            let before = both - SignedDuration::from_micros(1);
            prop_assert!(hours.open(&calendar, before));
        }
    }

    /// Against a clock that is read minute by minute, where no clock changes in between.
    #[test]
    fn it_is_what_a_clock_on_the_wall_says(
        hours in written(),
        zone in 0_usize..ZONES.len(),
        from in 26_297_280_i64..31_557_600,
        count in 1_i64..2_000,
    ) {
        let zones = Zones::bundled();
        let clock = zones.get(ZONES[zone]).unwrap();
        let calendar = calendar(ZONES[zone]);
        let from = Timestamp::from_second(from * 60).unwrap();
        let due = hours.after(&calendar, from, SignedDuration::from_mins(count)).unwrap();
        prop_assume!(due.duration_since(from) < SignedDuration::from_hours(24 * 40));
        let day = SignedDuration::from_hours(48);
        let offset = |at: Timestamp| clock.to_offset(at);
        let calm = clock.following(from - day).next().is_none_or(|change| change.timestamp() > due + day);
        prop_assume!(calm && offset(from) == offset(due));
        let open = |at: Timestamp| {
            let local = clock.to_datetime(at);
            let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
            hours.text().split(", ").any(|part| {
                let (days, times) = part.split_once(' ').unwrap();
                let (first, last) = days.split_once('-').unwrap();
                let number = |day: &str| {
                    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().position(|known| *known == day).unwrap()
                };
                let today = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap();
                let in_days = (today + 7 - number(first)) % 7 <= (number(last) + 7 - number(first)) % 7;
                let of = |time: &str| {
                    let (hour, minute) = time.split_once(':').unwrap();
                    hour.parse::<i64>().unwrap() * 60 + minute.parse::<i64>().unwrap()
                };
                let (opens, closes) = times.split_once('-').unwrap();
                in_days && (of(opens)..of(closes)).contains(&minute)
            })
        };
        let minutes = due.duration_since(from).as_mins();
        let counted = (0..minutes).filter(|at| open(from + SignedDuration::from_mins(*at))).count();
        prop_assert_eq!(i64::try_from(counted).unwrap(), count);
    }
}
