//! The coming days of a region, to be drawn: each local date with its cutoffs, closed days and clock changes.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::api::page::board::utc;
use crate::domain::batch::later;
use crate::domain::calendar::{Calendar, Shift};

/// How many days are drawn.
const DAYS: usize = 14;

/// A cutoff of a day.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// As configured, such as `24:00`.
    pub(super) time: String,
    pub(super) at: Timestamp,
    /// The instant for people, in UTC.
    pub(super) utc: String,
    /// What a clock change did to it, in words.
    pub(super) shifted: Option<&'static str>,
}

/// A local date.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Day {
    /// Such as `2026-11-22`.
    pub(super) date: String,
    /// Such as `Sun 22 Nov`.
    pub(super) shown: String,
    pub(super) today: bool,
    pub(super) cutoffs: Vec<Moment>,
    /// The season, or `special`, that the date follows.
    pub(super) rule: Option<String>,
    /// What the region's clocks do on it, in words.
    pub(super) clocks: Option<String>,
}

/// How far a region's clocks are from UTC, in seconds.
fn offset_s(calendar: &Calendar, at: Timestamp) -> Option<i64> {
    let shown = calendar.shown(at).0;
    let local: jiff::civil::DateTime = shown.get(..19)?.parse().ok()?;
    let utc: jiff::civil::DateTime = at.strftime("%Y-%m-%dT%H:%M:%S").to_string().parse().ok()?;
    Some(local.duration_since(utc).as_secs())
}

/// What the clocks do on a date: forward, back, or nothing.
fn clocks(calendar: &Calendar, date: Date) -> Option<String> {
    let (from, to) = (calendar.reading(date, 0)?, calendar.reading(date, 1440)?);
    let before = later_by(from, -1);
    let by = offset_s(calendar, to)? - offset_s(calendar, before)?;
    // Where the change is at midnight itself, both days touch it: it belongs to the one that begins with it.
    let at_end = offset_s(calendar, to)? - offset_s(calendar, later_by(to, -1))?;
    let by = by - at_end;
    if by == 0 {
        return None;
    }
    let minutes = by.abs() / 60;
    let long = if minutes % 60 == 0 { format!("{} h", minutes / 60) } else { format!("{minutes} min") };
    Some(format!("clocks {} {long}", if by > 0 { "forward" } else { "back" }))
}

fn later_by(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

/// The coming days of a region, today first.
pub(super) fn days(calendar: &Calendar, now: Timestamp) -> Vec<Day> {
    let mut date = calendar.shown(now).1;
    let begin = calendar.reading(date, 0).unwrap_or(now);
    let end = later(begin, SignedDuration::from_hours(24 * (DAYS as i64 + 2)));
    // From the second before: a date's `24:00` may be the instant at which the next one begins.
    let cutoffs: Vec<_> = calendar.cutoffs(later_by(begin, -1), end).collect();
    let mut days = Vec::with_capacity(DAYS);
    for nth in 0..DAYS {
        let own = cutoffs.iter().filter(|cutoff| cutoff.production_date == date);
        let rule = own.clone().map(|cutoff| cutoff.rule.to_string()).find(|rule| rule != "regular");
        let moments = own.map(|cutoff| Moment {
            time: cutoff.time.clone(),
            at: cutoff.at,
            utc: utc(cutoff.at),
            shifted: match cutoff.shifted {
                Shift::None => None,
                Shift::Gap => Some("the clock jumps over it: the first instant after"),
                Shift::Overlap => Some("the clock shows it twice: the first time"),
            },
        });
        days.push(Day {
            date: date.to_string(),
            shown: date.strftime("%a %-d %b").to_string(),
            today: nth == 0,
            cutoffs: moments.collect(),
            rule: rule.map(|rule| rule.trim_start_matches("season:").to_owned()),
            clocks: clocks(calendar, date),
        });
        match date.tomorrow() {
            Ok(next) => date = next,
            Err(_) => break,
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::CalendarSpec;
    use crate::domain::zones::Zones;

    fn drawn(spec: &str, now: &str) -> Vec<Day> {
        let now = now.parse().unwrap();
        let spec: CalendarSpec = serde_json::from_str(spec).unwrap();
        days(&Calendar::build(&spec, &Zones::bundled(), now).unwrap(), now)
    }

    #[test]
    fn days_show_their_cutoffs_and_closed_ones_none() {
        let spec = r#"{"time_zone":"Europe/Helsinki","cutoffs":["12:00","24:00"],
            "weekdays":["mon","tue","wed","thu","fri"],"closed":["2026-11-24"],
            "special":{"2026-11-26":["10:00"]},
            "seasons":[{"name":"peak","from":"11-27","to":"12-31","cutoffs":["06:00"]}]}"#;
        let days = drawn(spec, "2026-11-22T10:00:00Z");
        assert_eq!(days.len(), 14);
        let times = |nth: usize| -> Vec<&str> {
            days[nth].cutoffs.iter().map(|cutoff| cutoff.time.as_str()).collect()
        };
        assert_eq!((days[0].shown.as_str(), days[0].today), ("Sun 22 Nov", true));
        assert!(times(0).is_empty() && times(2).is_empty());
        assert_eq!(times(1), ["12:00", "24:00"]);
        assert_eq!(days[1].cutoffs[1].at.to_string(), "2026-11-23T22:00:00Z");
        assert_eq!((times(4), days[4].rule.as_deref()), (vec!["10:00"], Some("special")));
        assert_eq!((times(5), days[5].rule.as_deref()), (vec!["06:00"], Some("peak")));
        assert!(days.iter().all(|day| day.clocks.is_none()));
    }

    #[test]
    fn clock_changes_are_marked_on_their_day() {
        let marked = |zone: &str, now: &str| -> Vec<(String, String)> {
            let spec = format!(r#"{{"time_zone":"{zone}","cutoffs":["02:30","24:00"]}}"#);
            let days = drawn(&spec, now);
            days.into_iter().filter_map(|day| Some((day.date, day.clocks?))).collect()
        };
        let one = |date: &str, text: &str| vec![(date.to_owned(), text.to_owned())];
        assert_eq!(marked("Europe/Berlin", "2026-10-20T10:00:00Z"), one("2026-10-25", "clocks back 1 h"));
        assert_eq!(marked("Europe/Berlin", "2027-03-20T10:00:00Z"), one("2027-03-28", "clocks forward 1 h"));
        // Half an hour; and a change at midnight itself.
        assert_eq!(
            marked("Australia/Lord_Howe", "2026-10-01T10:00:00Z"),
            one("2026-10-04", "clocks forward 30 min")
        );
        assert_eq!(marked("Asia/Beirut", "2027-03-20T10:00:00Z"), one("2027-03-28", "clocks forward 1 h"));
        let spec = r#"{"time_zone":"Europe/Berlin","cutoffs":["02:30"]}"#;
        let gap = drawn(spec, "2027-03-27T10:00:00Z");
        assert_eq!(gap[1].cutoffs[0].shifted, Some("the clock jumps over it: the first instant after"));
    }
}
