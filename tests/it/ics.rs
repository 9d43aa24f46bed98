//! iCalendar output, held against RFC 5545.

use serde_json::json;
use stoppress::domain::calendar::{Calendar, Cutoff};
use stoppress::domain::ics::{self, Entry, Feed, Revision, Standing};
use stoppress::domain::zones::Zones;

fn cutoffs(season: &str) -> Vec<Cutoff> {
    let spec = json!({
        "time_zone": "Asia/Beirut", "cutoffs": ["24:00"],
        "seasons": [{ "name": season, "from": "03-27", "to": "03-28", "cutoffs": ["12:00", "24:00"] }],
    });
    let from = "2026-03-27T22:00:00Z".parse().unwrap();
    let calendar = Calendar::build(&serde_json::from_value(spec).unwrap(), &Zones::bundled(), from).unwrap();
    calendar.cutoffs(from, "2026-03-29T00:00:00Z".parse().unwrap()).collect()
}

fn entries(place: &str, season: &str) -> Vec<Entry> {
    let revision = Revision::first("2026-03-01T12:00:00.5Z".parse().unwrap());
    let entry = |cutoff| Entry { place: place.to_owned(), cutoff, revision };
    cutoffs(season).into_iter().map(entry).collect()
}

fn made(name: &str, entries: &[Entry]) -> String {
    ics::calendar(Feed { name, time_zone: Some("Asia/Beirut"), alarms: &ics::ALARMS }, entries)
}

fn unfolded(text: &str) -> Vec<String> {
    text.replace("\r\n ", "").split_terminator("\r\n").map(str::to_owned).collect()
}

#[test]
fn an_event_says_when_where_and_why() {
    let text = made("Cutoffs of luma/beirut", &entries("luma/beirut", "peak"));
    insta::assert_snapshot!(unfolded(&text).join("\n"), @r###"
    BEGIN:VCALENDAR
    VERSION:2.0
    PRODID:-//Stoppress//Cutoffs//EN
    CALSCALE:GREGORIAN
    NAME:Cutoffs of luma/beirut
    X-WR-CALNAME:Cutoffs of luma/beirut
    X-WR-TIMEZONE:Asia/Beirut
    REFRESH-INTERVAL;VALUE=DURATION:PT1H
    X-PUBLISHED-TTL:PT1H
    BEGIN:VEVENT
    UID:2026-03-27-2400.luma/beirut@stoppress
    DTSTAMP:20260301T120000Z
    LAST-MODIFIED:20260301T120000Z
    SEQUENCE:0
    STATUS:CONFIRMED
    DTSTART:20260327T220000Z
    SUMMARY:Cutoff luma/beirut
    DESCRIPTION:2026-03-27 24:00 (season:peak)\nCloses at 2026-03-28T00:00:00+02:00[Asia/Beirut]
    TRANSP:TRANSPARENT
    BEGIN:VALARM
    ACTION:DISPLAY
    TRIGGER:-PT60M
    DESCRIPTION:Cutoff luma/beirut in 60 minutes
    END:VALARM
    BEGIN:VALARM
    ACTION:DISPLAY
    TRIGGER:-PT10M
    DESCRIPTION:Cutoff luma/beirut in 10 minutes
    END:VALARM
    END:VEVENT
    BEGIN:VEVENT
    UID:2026-03-28-1200.luma/beirut@stoppress
    DTSTAMP:20260301T120000Z
    LAST-MODIFIED:20260301T120000Z
    SEQUENCE:0
    STATUS:CONFIRMED
    DTSTART:20260328T100000Z
    SUMMARY:Cutoff luma/beirut
    DESCRIPTION:2026-03-28 12:00 (season:peak)\nCloses at 2026-03-28T12:00:00+02:00[Asia/Beirut]
    TRANSP:TRANSPARENT
    BEGIN:VALARM
    ACTION:DISPLAY
    TRIGGER:-PT60M
    DESCRIPTION:Cutoff luma/beirut in 60 minutes
    END:VALARM
    BEGIN:VALARM
    ACTION:DISPLAY
    TRIGGER:-PT10M
    DESCRIPTION:Cutoff luma/beirut in 10 minutes
    END:VALARM
    END:VEVENT
    BEGIN:VEVENT
    UID:2026-03-28-2400.luma/beirut@stoppress
    DTSTAMP:20260301T120000Z
    LAST-MODIFIED:20260301T120000Z
    SEQUENCE:0
    STATUS:CONFIRMED
    DTSTART:20260328T220000Z
    SUMMARY:Cutoff luma/beirut
    DESCRIPTION:2026-03-28 24:00 (season:peak)\nCloses at 2026-03-29T01:00:00+03:00[Asia/Beirut]\nThe clock skips this time: it closes when the clock jumps.
    TRANSP:TRANSPARENT
    BEGIN:VALARM
    ACTION:DISPLAY
    TRIGGER:-PT60M
    DESCRIPTION:Cutoff luma/beirut in 60 minutes
    END:VALARM
    BEGIN:VALARM
    ACTION:DISPLAY
    TRIGGER:-PT10M
    DESCRIPTION:Cutoff luma/beirut in 10 minutes
    END:VALARM
    END:VEVENT
    END:VCALENDAR
    "###);
}

#[test]
fn lines_are_short_and_end_as_they_must() {
    let long = "Größe, Länge; Breite\\Höhe – ".repeat(2);
    let name = "ä".repeat(200);
    let text = made(&name, &entries("lab/region", &long));
    assert!(text.ends_with("END:VCALENDAR\r\n"));
    let lines: Vec<_> = text.split_terminator("\r\n").collect();
    assert!(lines.iter().any(|line| line.starts_with(' ')), "something was folded");
    for line in &lines {
        assert!(line.len() <= 75, "{line}");
        assert!(!line.contains(['\r', '\n']), "{line}");
    }
    assert!(unfolded(&text).contains(&format!("NAME:{name}")));
    let escaped = long.replace('\\', "\\\\").replace(',', "\\,").replace(';', "\\;");
    assert!(unfolded(&text).iter().any(|line| line.contains(&format!("(season:{escaped})"))));
}

/// RFC 5545, 3.1: a line has at most 75 octets, and a character is not divided.
#[test]
fn a_line_is_folded_where_it_would_be_too_long_and_not_before() {
    for letter in ["a", "ä", "€", "𝄞"] {
        for before in 0..4 {
            for count in 60 / letter.len()..240 / letter.len() {
                let name = format!("{}{}", "x".repeat(before), letter.repeat(count));
                let text = made(&name, &[]);
                let from = text.find("\r\nNAME:").unwrap() + 2;
                let to = text[from..].find("\r\nX-WR-CALNAME").unwrap() + from;
                let lines: Vec<&str> = text[from..to].split("\r\n").collect();
                for (nth, line) in lines.iter().enumerate() {
                    let more = lines.get(nth + 1).and_then(|next| next[1..].chars().next());
                    assert!(line.len() <= 75, "{line}");
                    assert!(more.is_none_or(|more| line.len() + more.len_utf8() > 75), "{line} {more:?}");
                }
                assert!(unfolded(&text).contains(&format!("NAME:{name}")));
            }
        }
    }
}

#[test]
fn components_nest_and_every_event_has_what_it_must() {
    for text in [made("some", &entries("lab/region", "peak")), made("none", &[])] {
        let mut open = Vec::new();
        let mut components = 0;
        for line in unfolded(&text) {
            match line.split_once(':').unwrap() {
                ("BEGIN", component) => open.push(component.to_owned()),
                ("END", component) => {
                    assert_eq!(open.pop().unwrap(), component);
                    components += usize::from(open.len() == 1);
                }
                _ => assert!(!open.is_empty()),
            }
        }
        assert!(open.is_empty());
        assert!(components > 0, "a calendar object has at least one component");
    }
}

#[test]
fn an_event_keeps_its_uid_when_its_instant_moves() {
    let uids = |entries: &[Entry]| -> Vec<String> {
        unfolded(&made("x", entries)).into_iter().filter(|line| line.starts_with("UID:")).collect()
    };
    let before = entries("lab/region", "peak");
    let mut after = before.clone();
    after[0].cutoff.at += jiff::SignedDuration::from_hours(1);
    assert_eq!(uids(&before), uids(&after));
    let mut all = [uids(&before), uids(&entries("lab/other", "peak"))].concat();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "unique");
}

#[test]
fn text_cannot_break_out_of_its_line() {
    let text = made("a\r\nBEGIN:VEVENT\u{7}\nb", &[]);
    assert!(unfolded(&text).contains(&"NAME:a\\nBEGIN:VEVENT\\nb".to_owned()));
    // A tab is the one control character that text may have.
    assert!(unfolded(&made("a\tb", &[])).contains(&"NAME:a\tb".to_owned()));
}

#[test]
fn what_is_gone_is_cancelled_and_reminds_nobody() {
    let mut gone = entries("lab/region", "peak");
    gone.truncate(1);
    gone[0].revision = Revision { sequence: 7, standing: Standing::Cancelled, ..gone[0].revision };
    let lines = unfolded(&made("x", &gone));
    for line in ["STATUS:CANCELLED", "SEQUENCE:7"] {
        assert!(lines.iter().any(|known| known == line), "{line}");
    }
    assert!(!lines.iter().any(|line| line == "BEGIN:VALARM"));
    let feed = Feed { name: "x", time_zone: None, alarms: &[jiff::SignedDuration::ZERO] };
    let now = unfolded(&ics::calendar(feed, &entries("lab/region", "peak")));
    assert!(now.iter().any(|line| line == "TRIGGER:PT0S"));
}
