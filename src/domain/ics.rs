//! Cutoffs as iCalendar (RFC 5545, RFC 7986), for the calendar that an ops team looks at anyway.
//!
//! Instants are in UTC: they were computed with the zone data that the gateway has, and a calendar program
//! with older data shows them right all the same. The region's own clocks are in the description.

use jiff::{SignedDuration, Timestamp};

use super::calendar::{Cutoff, Shift};

/// How long before a cutoff the reminders come, unless told.
pub const ALARMS: [SignedDuration; 2] = [SignedDuration::from_mins(60), SignedDuration::from_mins(10)];
/// How often a program that subscribes should look again.
const LOOK_AGAIN: &str = "PT1H";

/// The longest line, in octets, without its end.
const LINE_MAX: usize = 75;

/// What all events of a calendar have in common.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The zone in which its people live, if that is one.
    pub time_zone: Option<&'a str>,
    /// How long before a cutoff the reminders come.
    pub alarms: &'a [SignedDuration],
}

/// One cutoff of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose cutoff it is: `lab/region`. With the cutoff's date and time it makes the event's
    /// UID, so that an event moves, and is not doubled, when new zone data moves its instant.
    pub place: String,
    /// The cutoff.
    pub cutoff: Cutoff,
    /// How it came to be so.
    pub revision: Revision,
}

/// Which form of an event this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Grows whenever the event changes.
    pub sequence: i64,
    /// When it changed last.
    pub modified: Timestamp,
    /// Whether it takes place.
    pub standing: Standing,
}

impl Revision {
    /// The first form of an event, made at an instant.
    #[must_use]
    pub fn first(modified: Timestamp) -> Self {
        Self { sequence: 0, modified, standing: Standing::Planned }
    }
}

/// Whether an event takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As its calendar has it.
    Planned,
    /// At another time than its calendar has it: somebody moved it, or a promise was kept.
    Moved,
    /// No more.
    Cancelled,
}

/// An iCalendar object with one event an entry.
#[must_use]
pub fn calendar(feed: Feed<'_>, entries: &[Entry]) -> String {
    let mut lines = Lines(String::with_capacity(512 + entries.len() * 900));
    lines.put("BEGIN", "VCALENDAR");
    lines.put("VERSION", "2.0");
    lines.put("PRODID", "-//Stoppress//Cutoffs//EN");
    lines.put("CALSCALE", "GREGORIAN");
    lines.text("NAME", feed.name);
    lines.text("X-WR-CALNAME", feed.name);
    if let Some(zone) = feed.time_zone {
        lines.text("X-WR-TIMEZONE", zone);
    }
    lines.put("REFRESH-INTERVAL;VALUE=DURATION", LOOK_AGAIN);
    lines.put("X-PUBLISHED-TTL", LOOK_AGAIN);
    if entries.is_empty() {
        lines.utc();
    }
    for entry in entries {
        lines.event(entry, feed.alarms);
    }
    lines.put("END", "VCALENDAR");
    lines.0
}

struct Lines(String);

impl Lines {
    fn event(&mut self, entry: &Entry, alarms: &[SignedDuration]) {
        let Entry { place, cutoff, revision } = entry;
        let Cutoff { at, local, production_date, rule, shifted, time } = cutoff;
        self.put("BEGIN", "VEVENT");
        let time_digits = time.replace(':', "");
        self.text("UID", &format!("{production_date}-{time_digits}.{place}@stoppress"));
        // Of an object without a METHOD it is the time of the last change (RFC 5545, 3.8.7.2).
        self.put("DTSTAMP", &utc(revision.modified));
        self.put("LAST-MODIFIED", &utc(revision.modified));
        self.put("SEQUENCE", &revision.sequence.to_string());
        let gone = revision.standing == Standing::Cancelled;
        self.put("STATUS", if gone { "CANCELLED" } else { "CONFIRMED" });
        self.put("DTSTART", &utc(*at));
        self.text("SUMMARY", &format!("Cutoff {place}"));
        let moved = match (revision.standing, shifted) {
            (Standing::Cancelled, _) => "\nThe calendar has this cutoff no more.",
            (Standing::Moved, _) => "\nThe open window closes at another time than the calendar has.",
            (Standing::Planned, Shift::None) => "",
            (Standing::Planned, Shift::Gap) => "\nThe clock skips this time: it closes when the clock jumps.",
            (Standing::Planned, Shift::Overlap) => {
                "\nThe clock shows this time twice: it closes at the first."
            }
        };
        self.text("DESCRIPTION", &format!("{production_date} {time} ({rule})\nCloses at {local}{moved}"));
        self.put("TRANSP", "TRANSPARENT");
        for before in alarms.iter().filter(|_| !gone) {
            self.alarm(place, *before);
        }
        self.put("END", "VEVENT");
    }

    fn alarm(&mut self, place: &str, before: SignedDuration) {
        let minutes = before.as_mins();
        self.put("BEGIN", "VALARM");
        self.put("ACTION", "DISPLAY");
        if minutes == 0 {
            self.put("TRIGGER", "PT0S");
            self.text("DESCRIPTION", &format!("Cutoff {place} now"));
        } else {
            self.put("TRIGGER", &format!("-PT{minutes}M"));
            self.text("DESCRIPTION", &format!("Cutoff {place} in {minutes} minutes"));
        }
        self.put("END", "VALARM");
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
