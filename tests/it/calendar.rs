//! The rules of cutoff calendars, one by one, with the nasty cases that are known.

use jiff::Timestamp;
use serde_json::{Value, json};
use stoppress::domain::calendar::{Calendar, CalendarSpec, Cutoff, Rule, SeasonSpec, Shift};
use stoppress::domain::zones::Zones;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spec(value: Value) -> CalendarSpec {
    serde_json::from_value(value).unwrap()
}

/// A calendar looked at in 2026, when it is in use.
fn calendar(value: Value) -> Calendar {
    Calendar::build(&spec(value), &Zones::bundled(), at("2026-01-01T00:00:00Z")).unwrap()
}

/// What is wrong with a calendar, one fault a line.
fn faults(value: Value) -> Vec<String> {
    let built = Calendar::build(&spec(value), &Zones::bundled(), at("2026-01-01T00:00:00Z"));
    built.unwrap_err().iter().map(ToString::to_string).collect()
}

fn daily(zone: &str, cutoffs: &[&str]) -> Calendar {
    calendar(json!({ "time_zone": zone, "cutoffs": cutoffs }))
}

/// `date time rule shifted` of the cutoffs of a range.
fn named(calendar: &Calendar, from: &str, to: &str) -> Vec<String> {
    calendar.cutoffs(at(from), at(to)).map(|c| name(&c)).collect()
}

fn name(c: &Cutoff) -> String {
    format!("{} {} {} {}", c.production_date, c.time, c.rule, c.shifted)
}

/// The dates of a range that have a cutoff, for calendars with one a day at noon UTC.
fn dates(calendar: &Calendar, from: &str, to: &str) -> Vec<String> {
    let (from, to) = (format!("{from}T00:00:00Z"), format!("{to}T00:00:00Z"));
    calendar.cutoffs(at(&from), at(&to)).map(|c| c.production_date.to_string()).collect()
}

#[test]
fn nasty_cases_have_the_instant_that_three_other_libraries_agree_on() {
    #[rustfmt::skip]
    let cases = [
        ("Africa/Cairo", "2026-04-24 00:00", Shift::Gap, "2026-04-23T22:00:00Z", "2026-04-24T01:00:00+03:00[Africa/Cairo]"),
        ("America/Havana", "2025-11-02 00:00", Shift::Overlap, "2025-11-02T04:00:00Z", "2025-11-02T00:00:00-04:00[America/Havana]"),
        ("Asia/Beirut", "2026-10-24 23:30", Shift::Overlap, "2026-10-24T20:30:00Z", "2026-10-24T23:30:00+03:00[Asia/Beirut]"),
        ("America/Asuncion", "2025-03-23 00:00", Shift::None, "2025-03-23T03:00:00Z", "2025-03-23T00:00:00-03:00[America/Asuncion]"),
        ("America/Sao_Paulo", "2019-02-16 23:30", Shift::Overlap, "2019-02-17T01:30:00Z", "2019-02-16T23:30:00-02:00[America/Sao_Paulo]"),
        ("Asia/Gaza", "2026-03-28 02:30", Shift::Gap, "2026-03-28T00:00:00Z", "2026-03-28T03:00:00+03:00[Asia/Gaza]"),
        ("Pacific/Apia", "2011-12-30 00:00", Shift::Gap, "2011-12-30T10:00:00Z", "2011-12-31T00:00:00+14:00[Pacific/Apia]"),
        ("Pacific/Apia", "2011-12-30 12:00", Shift::Gap, "2011-12-30T10:00:00Z", "2011-12-31T00:00:00+14:00[Pacific/Apia]"),
        ("Pacific/Kwajalein", "1993-08-22 00:00", Shift::None, "1993-08-21T12:00:00Z", "1993-08-22T00:00:00+12:00[Pacific/Kwajalein]"),
        ("Pacific/Chatham", "2026-04-05 03:00", Shift::Overlap, "2026-04-04T13:15:00Z", "2026-04-05T03:00:00+13:45[Pacific/Chatham]"),
        ("Africa/Casablanca", "2026-03-22 02:30", Shift::Gap, "2026-03-22T02:00:00Z", "2026-03-22T03:00:00+01:00[Africa/Casablanca]"),
        ("Asia/Amman", "2022-02-25 00:00", Shift::Gap, "2022-02-24T22:00:00Z", "2022-02-25T01:00:00+03:00[Asia/Amman]"),
        ("America/Nuuk", "2024-03-30 23:30", Shift::Gap, "2024-03-31T01:00:00Z", "2024-03-31T00:00:00-01:00[America/Nuuk]"),
        ("Europe/Berlin", "2026-03-29 02:30", Shift::Gap, "2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00[Europe/Berlin]"),
        ("Europe/Berlin", "2026-10-25 02:30", Shift::Overlap, "2026-10-25T00:30:00Z", "2026-10-25T02:30:00+02:00[Europe/Berlin]"),
        ("Asia/Beirut", "2026-03-28 24:00", Shift::Gap, "2026-03-28T22:00:00Z", "2026-03-29T01:00:00+03:00[Asia/Beirut]"),
        ("Atlantic/Azores", "2026-03-28 24:00", Shift::Gap, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00+00:00[Atlantic/Azores]"),
        ("Atlantic/Azores", "2026-10-24 24:00", Shift::Overlap, "2026-10-25T00:00:00Z", "2026-10-25T00:00:00+00:00[Atlantic/Azores]"),
        ("America/Santiago", "2026-09-05 24:00", Shift::Gap, "2026-09-06T04:00:00Z", "2026-09-06T01:00:00-03:00[America/Santiago]"),
        ("Asia/Almaty", "2024-02-29 23:30", Shift::Overlap, "2024-02-29T17:30:00Z", "2024-02-29T23:30:00+06:00[Asia/Almaty]"),
        ("Asia/Kathmandu", "2026-05-01 00:00", Shift::None, "2026-04-30T18:15:00Z", "2026-05-01T00:00:00+05:45[Asia/Kathmandu]"),
        ("Australia/Lord_Howe", "2026-10-04 02:15", Shift::Gap, "2026-10-03T15:30:00Z", "2026-10-04T02:30:00+11:00[Australia/Lord_Howe]"),
        ("Australia/Lord_Howe", "2026-04-05 01:45", Shift::Overlap, "2026-04-04T14:45:00Z", "2026-04-05T01:45:00+11:00[Australia/Lord_Howe]"),
        ("Antarctica/Troll", "2026-03-29 02:30", Shift::Gap, "2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00[Antarctica/Troll]"),
        ("Asia/Tehran", "2026-03-22 24:00", Shift::None, "2026-03-22T20:30:00Z", "2026-03-23T00:00:00+03:30[Asia/Tehran]"),
    ];
    for (zone, wanted, shifted, instant, local) in cases {
        let (date, time) = wanted.split_once(' ').unwrap();
        // On that date only, so that no neighbour has the same instant.
        let spec = json!({ "time_zone": zone, "cutoffs": [], "special": { date: [time] } });
        let built = Calendar::build(
            &self::spec(spec),
            &Zones::bundled(),
            at(&format!("{date}T00:00:00Z")) - TWO_DAYS,
        );
        let cutoff = built.unwrap().next_cutoff(Timestamp::MIN).unwrap();
        assert_eq!(cutoff.at, at(instant), "{zone} {wanted}");
        assert_eq!((cutoff.shifted, &*cutoff.local), (shifted, local), "{zone} {wanted}");
        assert_eq!((cutoff.production_date.to_string(), &*cutoff.time), (date.to_owned(), time));
    }
}

const TWO_DAYS: jiff::SignedDuration = jiff::SignedDuration::from_hours(48);

#[test]
fn rules_of_2026_are_known_where_older_data_is_an_hour_wrong() {
    // British Columbia and its neighbours stay on summer time, so no autumn change.
    for (zone, instant) in
        [("America/Vancouver", "2026-11-22T07:00:00Z"), ("America/Edmonton", "2026-11-22T06:00:00Z")]
    {
        let cutoff = daily(zone, &["24:00"]).next_cutoff(at("2026-11-21T12:00:00Z")).unwrap();
        assert_eq!(cutoff.at, at(instant), "{zone}");
    }
}

#[test]
fn midnight_at_the_end_belongs_to_the_day_it_ends() {
    let calendar = daily("Europe/Berlin", &["24:00"]);
    assert_eq!(
        named(&calendar, "2026-06-01T22:00:00Z", "2026-06-02T22:00:00Z"),
        ["2026-06-01 24:00 regular none"]
    );
    let calendar = daily("Europe/Berlin", &["00:00"]);
    assert_eq!(
        named(&calendar, "2026-06-01T22:00:00Z", "2026-06-02T22:00:00Z"),
        ["2026-06-02 00:00 regular none"]
    );
}

#[test]
fn the_evening_of_a_holiday_has_no_midnight_but_the_evening_before_has() {
    let calendar = calendar(json!({ "time_zone": "UTC", "cutoffs": ["24:00"], "closed": ["2026-12-25"] }));
    let cutoffs: Vec<_> = calendar
        .cutoffs(at("2026-12-24T12:00:00Z"), at("2026-12-27T12:00:00Z"))
        .map(|c| c.at.to_string())
        .collect();
    assert_eq!(cutoffs, ["2026-12-25T00:00:00Z", "2026-12-27T00:00:00Z"]);
}

#[test]
fn equal_instants_are_one_cutoff_named_by_the_earlier_date_and_time() {
    // The end of a day and the beginning of the next.
    let both = daily("UTC", &["00:00", "24:00"]);
    assert_eq!(
        named(&both, "2026-06-02T00:00:00Z", "2026-06-03T00:00:01Z"),
        ["2026-06-01 24:00 regular none", "2026-06-02 24:00 regular none"]
    );
    // Two times in one gap.
    let gap = daily("Europe/Berlin", &["02:45", "02:15", "03:00"]);
    assert_eq!(
        named(&gap, "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z"),
        ["2026-03-29 02:15 regular gap"],
        "03:00 is what the clock shows right after the gap"
    );
    // Across rules.
    let rules = calendar(json!({
        "time_zone": "UTC", "cutoffs": ["00:00"], "special": { "2026-06-01": ["24:00"] }
    }));
    assert_eq!(
        named(&rules, "2026-06-02T00:00:00Z", "2026-06-02T00:00:01Z"),
        ["2026-06-01 24:00 special none"]
    );
}

#[test]
fn a_vanished_day_closes_once() {
    let calendar = daily("Pacific/Apia", &["00:00", "12:00", "24:00"]);
    let cutoffs: Vec<_> = calendar
        .cutoffs(at("2011-12-30T00:00:00Z"), at("2011-12-31T12:00:00Z"))
        .map(|c| (c.at.to_string(), name(&c)))
        .collect();
    let expected = [
        // 29 December at its end is where the clock jumps, so it names the instant.
        ("2011-12-30T10:00:00Z", "2011-12-29 24:00 regular gap"),
        ("2011-12-30T22:00:00Z", "2011-12-31 12:00 regular none"),
        ("2011-12-31T10:00:00Z", "2011-12-31 24:00 regular none"),
    ];
    assert_eq!(cutoffs, expected.map(|(at, name)| (at.to_owned(), name.to_owned())));
}

#[test]
fn a_repeated_evening_does_not_close_twice() {
    // Beirut shows 23:00 to 24:00 of 24 October 2026 twice.
    let calendar = daily("Asia/Beirut", &["23:00", "23:30", "24:00"]);
    let second_2330 = at("2026-10-24T21:30:00Z");
    assert_eq!(name(&calendar.next_cutoff(second_2330).unwrap()), "2026-10-24 24:00 regular none");
    let window = calendar.window(second_2330).unwrap();
    assert_eq!(window.opens_at, Some(at("2026-10-24T20:30:00Z")));
    assert_eq!(window.cutoff.at, at("2026-10-24T22:00:00Z"));
    // Between the two 23:00 the first 23:30 has passed already, though the clock shows less.
    let second_2310 = at("2026-10-24T21:10:00Z");
    assert_eq!(calendar.window(second_2310).unwrap(), window);
}

#[test]
fn special_comes_before_closed_before_seasons_before_regular() {
    let calendar = calendar(json!({
        "time_zone": "UTC",
        "cutoffs": ["12:00"],
        "weekdays": ["mon", "tue", "wed", "thu", "fri"],
        "closed": ["12-24", "12-26", "2026-12-29", "2026-12-30"],
        "special": { "2026-12-24": ["10:00"], "2026-12-27": ["11:00"], "2026-12-28": [], "2026-12-30": ["09:00"] },
        "seasons": [
            { "name": "eve", "from": "12-24", "to": "12-25", "cutoffs": ["13:00"] },
            { "name": "peak", "from": "12-22", "to": "12-31", "cutoffs": ["14:00"], "weekdays": ["tue", "wed", "thu", "fri", "sat", "sun"] },
        ],
    }));
    assert_eq!(
        named(&calendar, "2026-12-21T00:00:00Z", "2027-01-05T00:00:00Z"),
        [
            "2026-12-21 12:00 regular none",
            "2026-12-22 14:00 season:peak none",
            "2026-12-23 14:00 season:peak none",
            "2026-12-24 10:00 special none", // closed every year, in two seasons
            "2026-12-25 13:00 season:eve none", // the first season wins
            "2026-12-27 11:00 special none", // the 26th is closed; a Sunday, but special
            "2026-12-30 09:00 special none", // the 28th is special and empty, the 29th closed
            "2026-12-31 14:00 season:peak none",
            "2027-01-01 12:00 regular none", // then a weekend
            "2027-01-04 12:00 regular none",
        ]
    );
}

#[test]
fn a_season_has_its_own_weekdays_or_the_calendars() {
    let season = |weekdays: Value| {
        let mut season = json!({ "name": "s", "from": "06-01", "to": "06-30", "cutoffs": ["12:00"] });
        if !weekdays.is_null() {
            season["weekdays"] = weekdays;
        }
        calendar(
            json!({ "time_zone": "UTC", "cutoffs": ["12:00"], "weekdays": ["mon"], "seasons": [season] }),
        )
    };
    let june = |calendar: &Calendar| dates(calendar, "2026-06-01", "2026-06-09");
    assert_eq!(june(&season(Value::Null)), ["2026-06-01", "2026-06-08"]);
    assert_eq!(june(&season(json!(["sat", "sun"]))), ["2026-06-06", "2026-06-07"]);
}

#[test]
fn a_season_may_run_over_the_years_end_and_includes_both_edges() {
    let calendar = calendar(json!({
        "time_zone": "UTC", "cutoffs": [],
        "seasons": [{ "name": "winter", "from": "12-30", "to": "01-02", "cutoffs": ["12:00"] }],
    }));
    assert_eq!(
        dates(&calendar, "2026-01-10", "2027-12-01"),
        ["2026-12-30", "2026-12-31", "2027-01-01", "2027-01-02"]
    );
}

#[test]
fn the_leap_day_as_an_edge_means_its_neighbour_in_a_year_without_it() {
    let season = |from: &str, to: &str| {
        calendar(json!({
            "time_zone": "UTC", "cutoffs": [],
            "special": { "2026-06-01": ["12:00"] },
            "seasons": [{ "name": "leap", "from": from, "to": to, "cutoffs": ["12:00"] }],
        }))
    };
    let from = season("02-29", "03-02");
    assert_eq!(dates(&from, "2027-01-01", "2027-12-01"), ["2027-03-01", "2027-03-02"]);
    assert_eq!(dates(&from, "2028-01-01", "2028-12-01"), ["2028-02-29", "2028-03-01", "2028-03-02"]);
    let to = season("02-27", "02-29");
    assert_eq!(dates(&to, "2027-01-01", "2027-12-01"), ["2027-02-27", "2027-02-28"]);
    assert_eq!(dates(&to, "2028-01-01", "2028-12-01"), ["2028-02-27", "2028-02-28", "2028-02-29"]);
    let only = season("02-29", "02-29");
    assert_eq!(dates(&only, "2027-01-01", "2033-01-01"), ["2028-02-29", "2032-02-29"]);
    // 2100 has no leap day.
    assert_eq!(dates(&only, "2096-03-01", "2105-01-01"), ["2104-02-29"]);
}

#[test]
fn a_window_begins_with_its_first_instant_and_ends_before_its_last() {
    let calendar = daily("Europe/Berlin", &["12:00", "24:00"]);
    let noon = at("2026-06-01T10:00:00Z");
    let nano = jiff::SignedDuration::from_nanos(1);
    let before = calendar.window(noon - nano).unwrap();
    assert_eq!((before.opens_at, before.cutoff.at), (Some(at("2026-05-31T22:00:00Z")), noon));
    let after = calendar.window(noon).unwrap();
    assert_eq!((after.opens_at, after.cutoff.at), (Some(noon), at("2026-06-01T22:00:00Z")));
    assert_eq!(calendar.cutoffs(noon, noon).count(), 0);
    assert_eq!(calendar.cutoffs(noon, noon + nano).count(), 1, "from is inside, to is not");
    assert_eq!(calendar.cutoffs(noon + nano, after.cutoff.at).count(), 0);
    // Fractions before the epoch round the right way, too.
    let before_epoch = daily("UTC", &["24:00"]);
    assert_eq!(before_epoch.next_cutoff(Timestamp::UNIX_EPOCH - nano).unwrap().at, Timestamp::UNIX_EPOCH);
    // So do readings, in summer and after the clock was set back.
    let new_york = daily("America/New_York", &["12:00"]);
    for (instant, opens, closes) in [
        ("1965-07-04T12:00:00Z", "1965-07-03T16:00:00Z", "1965-07-04T16:00:00Z"),
        ("1965-10-31T20:00:00Z", "1965-10-31T17:00:00Z", "1965-11-01T17:00:00Z"),
    ] {
        let window = new_york.window(at(instant)).unwrap();
        assert_eq!((window.opens_at, window.cutoff.at), (Some(at(opens)), at(closes)), "{instant}");
    }
}

#[test]
fn a_calendar_of_single_dates_begins_and_ends() {
    let calendar = calendar(json!({
        "time_zone": "UTC", "cutoffs": [],
        "special": { "2026-06-01": ["12:00"], "2026-06-02": [], "2026-06-03": ["12:00"] },
    }));
    let first = calendar.window(at("2000-01-01T00:00:00Z")).unwrap();
    assert_eq!((first.opens_at, first.cutoff.at), (None, at("2026-06-01T12:00:00Z")));
    // On the morning of a date it is that date.
    let morning = calendar.window(at("2026-06-01T11:59:59Z")).unwrap();
    assert_eq!(morning, first);
    let second = calendar.window(first.cutoff.at).unwrap();
    assert_eq!((second.opens_at, second.cutoff.at), (Some(first.cutoff.at), at("2026-06-03T12:00:00Z")));
    assert_eq!(calendar.next_cutoff(second.cutoff.at), None);
    assert_eq!(calendar.window(second.cutoff.at), None);
    assert_eq!(calendar.cutoffs(Timestamp::MIN, Timestamp::MAX).count(), 2);
}

#[test]
fn the_edges_of_time_do_not_panic() {
    let calendar = daily("Europe/Berlin", &["00:00", "24:00"]);
    for edge in [Timestamp::MIN, Timestamp::MAX] {
        let _ = calendar.next_cutoff(edge);
        let _ = calendar.window(edge);
        let _ = calendar.cutoffs(edge, edge).count();
        let _ = Calendar::build(
            &spec(json!({ "time_zone": "UTC", "cutoffs": ["24:00"] })),
            &Zones::bundled(),
            edge,
        );
    }
}

#[test]
fn what_is_wrong_is_named_by_its_path_all_at_once() {
    let found = faults(json!({
        "time_zone": "Europe/Helsinky",
        "cutofs": 1,
        "cutoffs": ["24:00", "25:00", "24:01", "7:00", "12:60", "noon", "24:00", "+1:00"],
        "weekdays": ["mon", "Tue", "mon", "sun", "sun"],
        "closed": ["2026-12-25", "2026-02-29", "02-29", "02-30", "13-01", "2026-12-25", "26-12-25", "01-01", "01-01", "2026-1-1"],
        "special": { "12-24": ["10:00"], "2026-12-24": ["10:00", "9"] },
        "seasons": [
            { "name": "peak", "from": "10-01", "to": "31-12", "cutoffs": ["a"], "weekdays": [], "form": "10-01" },
            { "name": "peak", "from": "2026-10-01", "to": "02-29", "cutoffs": [] },
            { "name": "", "from": "10-01", "to": "12-31", "cutoffs": [], "zzzzzzzzzz": 1 },
        ],
    }));
    insta::assert_snapshot!(found.join("\n"), @r###"
    time_zone: "Europe/Helsinky" is not an IANA time zone; did you mean "Europe/Helsinki"?
    cutofs: is not a known key; did you mean "cutoffs"?
    cutoffs[1]: "25:00" is not a time from 00:00 to 24:00
    cutoffs[2]: "24:01" is not a time from 00:00 to 24:00
    cutoffs[3]: "7:00" is not a time from 00:00 to 24:00
    cutoffs[4]: "12:60" is not a time from 00:00 to 24:00
    cutoffs[5]: "noon" is not a time from 00:00 to 24:00
    cutoffs[6]: "24:00" is there twice
    cutoffs[7]: "+1:00" is not a time from 00:00 to 24:00
    weekdays[1]: "Tue" is not one of mon, tue, wed, thu, fri, sat, sun
    weekdays[2]: "mon" is there twice
    weekdays[4]: "sun" is there twice
    seasons[0].form: is not a known key; did you mean "from"?
    seasons[0].to: "31-12" is not a month-day such as 12-31
    seasons[0].cutoffs[0]: "a" is not a time from 00:00 to 24:00
    seasons[0].weekdays: is empty; leave it out for all weekdays, or empty `cutoffs` to have none
    seasons[1].name: "peak" is there twice
    seasons[1].from: "2026-10-01" is not a month-day such as 12-31
    seasons[2].zzzzzzzzzz: is not a known key; known are name, from, to, cutoffs, weekdays
    seasons[2].name: "" is not a name of 1 to 63 characters
    closed[1]: "2026-02-29" is not a date such as 2026-12-25 or a month-day such as 01-01
    closed[3]: "02-30" is not a date such as 2026-12-25 or a month-day such as 01-01
    closed[4]: "13-01" is not a date such as 2026-12-25 or a month-day such as 01-01
    closed[5]: "2026-12-25" is there twice
    closed[6]: "26-12-25" is not a date such as 2026-12-25 or a month-day such as 01-01
    closed[8]: "01-01" is there twice
    closed[9]: "2026-1-1" is not a date such as 2026-12-25 or a month-day such as 01-01
    special.12-24: "12-24" is not a date such as 2026-12-24
    special.2026-12-24[1]: "9" is not a time from 00:00 to 24:00
    "###);
}

#[test]
fn a_key_with_a_slip_is_named_beside_the_one_that_is_missing() {
    let found = faults(json!({ "timezone": "UTC", "cutofs": ["24:00"] }));
    let expected = [
        r#"time_zone: is missing; it must be an IANA time zone such as "Europe/Berlin""#,
        r#"cutofs: is not a known key; did you mean "cutoffs"?"#,
        r#"timezone: is not a known key; did you mean "time_zone"?"#,
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_calendar_that_never_closes_says_why() {
    let never = |value: Value| faults(value).join("\n");
    let seldom = json!({ "time_zone": "UTC", "cutoffs": [], "special": { "2027-01-07": ["12:00"] } });
    assert_eq!(
        never(json!({ "time_zone": "UTC", "cutoffs": [] })),
        "has no cutoff in the 370 days from 2026-01-01 on: days without times: 370"
    );
    assert_eq!(
        never(json!({
            "time_zone": "UTC", "cutoffs": [], "closed": ["12-25"], "weekdays": ["mon"],
            "seasons": [{ "name": "leap", "from": "02-29", "to": "02-29", "cutoffs": ["12:00"] },
                        { "name": "day", "from": "06-02", "to": "06-03", "cutoffs": ["12:00"] }],
        })),
        "has no cutoff in the 370 days from 2026-01-01 on: days without times: 367, \
         days that are none of its weekdays: 2, closed days: 1"
    );
    // 370 days to the second, and not a second more.
    let build = |now: &str| Calendar::build(&spec(seldom.clone()), &Zones::bundled(), at(now));
    assert!(build("2026-01-02T12:00:00Z").is_ok());
    assert!(build("2026-01-02T11:59:59Z").is_err());
    assert!(build("2027-01-07T12:00:00Z").is_err());
}

#[test]
fn unknown_keys_do_not_hide_in_what_is_written_back() {
    let written = json!({ "time_zone": "UTC", "cutoffs": ["24:00"], "weekdays": ["mon"] });
    let mut read = written.clone();
    read["colour"] = json!({ "deep": [1, 2] });
    assert_eq!(serde_json::to_value(spec(read)).unwrap(), written);
}

#[test]
fn toml_and_json_are_the_same_data() {
    let toml = r#"
        time_zone = "Europe/Berlin"
        cutoffs   = ["24:00"]
        weekdays  = ["mon","tue","wed","thu","fri","sat","sun"]
        closed    = [2026-12-25, "01-01"]
        special   = { 2026-12-24 = ["10:00"] }

        [[seasons]]
        name = "peak"
        from = "10-01"
        to   = "12-31"
        cutoffs  = ["12:00", "24:00"]
    "#;
    let json = json!({
        "time_zone": "Europe/Berlin",
        "cutoffs": ["24:00"],
        "closed": ["2026-12-25", "01-01"],
        "special": { "2026-12-24": ["10:00"] },
        "seasons": [{ "name": "peak", "from": "10-01", "to": "12-31", "cutoffs": ["12:00", "24:00"] }],
    });
    let from_toml: CalendarSpec = toml::from_str(toml).unwrap();
    assert_eq!(from_toml, spec(json));
    let round: CalendarSpec = toml::from_str(&toml::to_string(&from_toml).unwrap()).unwrap();
    assert_eq!(from_toml, round);
    // An object of one text is none of TOML's dates.
    let odd = json!({ "time_zone": "UTC", "cutoffs": [{ "at": "24:00" }] });
    assert!(serde_json::from_value::<CalendarSpec>(odd).is_err());
}

#[test]
fn a_cutoff_is_written_as_the_contract_says() {
    let calendar = daily("Asia/Beirut", &["24:00"]);
    let cutoff = calendar.next_cutoff(at("2026-03-28T12:00:00Z")).unwrap();
    assert_eq!(
        serde_json::to_string(&cutoff).unwrap(),
        r#"{"closes_at":"2026-03-28T22:00:00Z","local":"2026-03-29T01:00:00+03:00[Asia/Beirut]","production_date":"2026-03-28","rule":"regular","shifted":"gap"}"#
    );
    for rule in [Rule::Regular, Rule::Special, Rule::Season("peak".into())] {
        assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(json, format!("\"{rule}\""));
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
    }
    assert!("season:".parse::<Rule>().is_err());
}

#[test]
fn the_schema_shows_the_keys_that_there_are() {
    use utoipa::PartialSchema;
    let keys = |schema: Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let calendar = serde_json::to_value(CalendarSpec::schema()).unwrap();
    assert_eq!(calendar["required"], json!(["time_zone"]));
    assert_eq!(keys(calendar), ["closed", "cutoffs", "seasons", "special", "time_zone", "weekdays"]);
    let season = serde_json::to_value(SeasonSpec::schema()).unwrap();
    assert_eq!(season["required"], json!(["name", "from", "to", "cutoffs"]));
    assert_eq!(keys(season), ["cutoffs", "from", "name", "to", "weekdays"]);
    let cutoff = serde_json::to_value(Cutoff::schema()).unwrap();
    assert_eq!(keys(cutoff), ["closes_at", "local", "production_date", "rule", "shifted"]);
}
