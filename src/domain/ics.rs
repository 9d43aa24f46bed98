//! Cutoffs as iCalendar (RFC 5545), for the calendar that an ops team looks at anyway.

use jiff::Timestamp;

use super::calendar::{Cutoff, Shift};

/// How long before a cutoff the reminder comes, in minutes.
pub const ALARM_MINUTES: u32 = 30;

/// The longest line, in octets, without its end.
const LINE_MAX: usize = 75;

/// One cutoff of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose cutoff it is: `lab/region`. With the cutoff's date and time it makes the event's
    /// UID, so that an event moves, and is not doubled, when new zone data moves its instant.
    pub place: String,
    /// The cutoff.
    pub cutoff: Cutoff,
}

/// An iCalendar object called `name` with one event an entry, made at `stamp`.
#[must_use]
pub fn calendar(name: &str, entries: &[Entry], stamp: Timestamp) -> String {
    let mut lines = Lines(String::with_capacity(512 + entries.len() * 640));
    lines.put("BEGIN", "VCALENDAR");
    lines.put("VERSION", "2.0");
    lines.put("PRODID", "-//Stoppress//Cutoffs//EN");
    lines.put("CALSCALE", "GREGORIAN");
    lines.text("NAME", name);
    lines.text("X-WR-CALNAME", name);
    if entries.is_empty() {
        lines.utc();
    }
    for entry in entries {
        lines.event(entry, stamp);
    }
    lines.put("END", "VCALENDAR");
    lines.0
}

struct Lines(String);

impl Lines {
    fn event(&mut self, entry: &Entry, stamp: Timestamp) {
        let Entry { place, cutoff } = entry;
        let Cutoff { at, local, production_date, rule, shifted, time } = cutoff;
        self.put("BEGIN", "VEVENT");
        let time_digits = time.replace(':', "");
        self.text("UID", &format!("{production_date}-{time_digits}.{place}@stoppress"));
        self.put("DTSTAMP", &utc(stamp));
        self.put("DTSTART", &utc(*at));
        self.text("SUMMARY", &format!("Cutoff {place}"));
        let moved = match shifted {
            Shift::None => "",
            Shift::Gap => "\nThe clock skips this time: it closes when the clock jumps.",
            Shift::Overlap => "\nThe clock shows this time twice: it closes at the first.",
        };
        self.text("DESCRIPTION", &format!("{production_date} {time} ({rule})\nCloses at {local}{moved}"));
        self.put("TRANSP", "TRANSPARENT");
        self.put("BEGIN", "VALARM");
        self.put("ACTION", "DISPLAY");
        self.put("TRIGGER", &format!("-PT{ALARM_MINUTES}M"));
        self.text("DESCRIPTION", &format!("Cutoff {place} in {ALARM_MINUTES} minutes"));
        self.put("END", "VALARM");
        self.put("END", "VEVENT");
    }

    /// A definition of UTC, because a calendar object without any component is not valid.
    fn utc(&mut self) {
        self.put("BEGIN", "VTIMEZONE");
        self.put("TZID", "UTC");
        self.put("BEGIN", "STANDARD");
        self.put("DTSTART", "19700101T000000");
        self.put("TZOFFSETFROM", "+0000");
        self.put("TZOFFSETTO", "+0000");
        self.put("END", "STANDARD");
        self.put("END", "VTIMEZONE");
    }

    /// A property whose value is text: escaped, control characters left out.
    fn text(&mut self, name: &str, value: &str) {
        let mut escaped = String::with_capacity(value.len());
        for c in value.chars() {
            match c {
                '\n' => escaped.push_str("\\n"),
                '\\' | ';' | ',' => escaped.extend(['\\', c]),
                '\t' => escaped.push(c),
                _ if c.is_control() => {}
                _ => escaped.push(c),
            }
        }
        self.put(name, &escaped);
    }

    /// A content line, folded to at most [`LINE_MAX`] octets between characters.
    fn put(&mut self, name: &str, value: &str) {
        let mut octets = 0;
        for c in name.chars().chain([':']).chain(value.chars()) {
            if octets + c.len_utf8() > LINE_MAX {
                self.0.push_str("\r\n ");
                octets = 1;
            }
            self.0.push(c);
            octets += c.len_utf8();
        }
        self.0.push_str("\r\n");
    }
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}
