//! Cutoff calendars: when the open batch of a lab region closes.
//!
//! A calendar is written as a [`CalendarSpec`], checked and made usable by [`Calendar::build`],
//! and then asked for the [`Window`] of an instant. It belongs to the region where the order is
//! printed, so every reading in it is one of that region's wall clock.
//!
//! Everything rests on one definition: a cutoff is the *earliest instant at which the region's
//! clock shows the wanted reading or has jumped past it*. From it follow the rules for gaps (the
//! first instant after), overlaps (the first occurrence) and vanished days (the first instant
//! after, once), and that cutoffs never come in another order than their readings.

mod instant;
mod plan;
mod spec;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use self::plan::{Plan, RuleRef};
pub use self::spec::{CalendarSpec, SeasonSpec, UnknownKeys};
use super::Fault;
use super::zones::Zones;

/// A calendar that has no cutoff for that many days is a mistake.
pub const DAYS_MAX_WITHOUT_CUTOFF: u32 = 370;

/// No zone's clock was ever set back by more, in seconds: from the largest offset to the smallest.
const SET_BACK_MAX_S: i64 = 2 * instant::OFFSET_MAX_S;
/// The dates that so many seconds reach into.
const SET_BACK_MAX_DAYS: i64 = SET_BACK_MAX_S / 86_400 + 1;

/// A checked calendar, ready to be asked. Clones share everything.
#[derive(Debug, Clone)]
pub struct Calendar(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    zone: TimeZone,
    zone_name: String,
    tzdata: String,
    plan: Plan,
}

/// The instant at which a batch closes, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Cutoff {
    /// The instant.
    #[serde(rename = "closes_at")]
    #[schema(value_type = String, format = DateTime, example = "2026-03-28T22:00:00Z")]
    pub at: Timestamp,
    /// The same in the region's time zone.
    #[schema(example = "2026-03-29T01:00:00+03:00[Asia/Beirut]")]
    pub local: String,
    /// The local date whose rule it is; `24:00` belongs to the date it ends.
    #[schema(value_type = String, format = Date, example = "2026-03-28")]
    pub production_date: Date,
    /// The rule that the date follows.
    #[schema(value_type = String, example = "season:peak")]
    pub rule: Rule,
    /// What a clock change did to it.
    pub shifted: Shift,
    /// The local time as configured, such as `24:00`. Together with `production_date` it names
    /// the cutoff, even when new zone data moves its instant.
    #[serde(skip)]
    pub time: String,
}

/// An upload window: an order accepted in `[opens_at, cutoff.at)` goes with the cutoff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The cutoff before; `None` if there never was one.
    pub opens_at: Option<Timestamp>,
    /// The cutoff that closes the window.
    pub cutoff: Cutoff,
}

/// The rule that a date follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The calendar's regular cutoffs.
    Regular,
    /// Those of the season of that name.
    Season(Arc<str>),
    /// Those of that one date.
    Special,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regular => f.write_str("regular"),
            Self::Season(name) => write!(f, "season:{name}"),
            Self::Special => f.write_str("special"),
        }
    }
}

impl FromStr for Rule {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match (text, text.strip_prefix("season:")) {
            ("regular", _) => Ok(Self::Regular),
            ("special", _) => Ok(Self::Special),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Season(name.into())),
            _ => Err(Fault::not("", text, "regular, season:NAME or special")),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a clock change did to a cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shift {
    /// Nothing.
    None,
    /// The clock never showed the time; the cutoff is the first instant after it was put forward.
    Gap,
    /// The clock showed the time twice; the cutoff is the first.
    Overlap,
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gap => "gap",
            Self::Overlap => "overlap",
        })
    }
}

impl Calendar {
    /// Checks a calendar as written and makes it usable from `now` on.
    ///
    /// # Errors
    /// Everything that is wrong with it, each by the path of its field.
    pub fn build(spec: &CalendarSpec, zones: &Zones, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let zone = if spec.time_zone.is_empty() {
            Err(Fault::missing("", "an IANA time zone such as \"Europe/Berlin\""))
        } else {
            zones.get(&spec.time_zone)
        };
        let zone = zone.map_err(|fault| faults.push(fault.under("time_zone"))).ok();
        let plan = Plan::read(spec, &mut faults);
        let (Some(zone), []) = (zone, faults.as_slice()) else {
            return Err(faults);
        };
        let (zone_name, tzdata) = (spec.time_zone.clone(), zones.version().to_owned());
        let calendar = Self(Arc::new(Inner { zone, zone_name, tzdata, plan }));
        calendar.closes_soon(now).map_err(|fault| vec![fault])?;
        Ok(calendar)
    }

    /// Whether there is a cutoff in the [`DAYS_MAX_WITHOUT_CUTOFF`] days after `now`.
    fn closes_soon(&self, now: Timestamp) -> Result<(), Fault> {
        let reach = SignedDuration::from_hours(24 * i64::from(DAYS_MAX_WITHOUT_CUTOFF));
        let until = now.saturating_add(reach).unwrap_or(Timestamp::MAX);
        if self.next_cutoff(now).is_some_and(|cutoff| cutoff.at <= until) {
            return Ok(());
        }
        let today = self.0.zone.to_datetime(now).date();
        let why = self.0.plan.why_shut(today);
        let message = format!("has no cutoff in the {DAYS_MAX_WITHOUT_CUTOFF} days from {today} on: {why}");
        Err(Fault::new("", message))
    }

    /// The IANA name of its time zone.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        &self.0.zone_name
    }

    /// The tzdata release that its instants are computed from.
    #[must_use]
    pub fn tzdata(&self) -> &str {
        &self.0.tzdata
    }

    /// Whether a season is a peak: it is called so, or it has more cutoffs a day than there are outside of seasons.
    #[must_use]
    pub fn is_peak(&self, season: &str) -> bool {
        called_peak(season) || self.0.plan.is_busier(season)
    }

    /// An instant as the region's clocks show it, with the zone, and its local date.
    #[must_use]
    pub fn shown(&self, at: Timestamp) -> (String, Date) {
        let zoned = at.to_zoned(self.0.zone.clone());
        (zoned.to_string(), zoned.date())
    }

    /// The first instant at which the region's clock shows a minute of a date (`1440` is its end) or has jumped
    /// past it; `None` after all timestamps.
    #[must_use]
    pub fn reading(&self, date: Date, minute: u16) -> Option<Timestamp> {
        instant::of_reading(&self.0.zone, wanted_s(date, minute)).map(|found| found.at)
    }

    /// The first cutoff strictly after an instant; `None` if there is none ever again.
    #[must_use]
    pub fn next_cutoff(&self, after: Timestamp) -> Option<Cutoff> {
        let Inner { zone, plan, .. } = &*self.0;
        let (mut date, shown_s) = shown(zone, after);
        loop {
            let (open, rule, minutes) = plan.open_from(date)?;
            for &minute in minutes {
                let wanted_s = wanted_s(open, minute);
                // The clock shows a later time already, so the cutoff has passed.
                if wanted_s < shown_s {
                    continue;
                }
                let found = instant::of_reading(zone, wanted_s)?;
                // It may still have passed, if the clock was set back since.
                if found.at > after {
                    return Some(self.cutoff(open, minute, rule, found));
                }
            }
            date = open.tomorrow().ok()?;
        }
    }

    /// The upload window that contains an instant; `None` if no cutoff ever closes it.
    #[must_use]
    pub fn window(&self, at: Timestamp) -> Option<Window> {
        Some(Window { opens_at: self.last_cutoff(at), cutoff: self.next_cutoff(at)? })
    }

    /// All cutoffs with `from <= at < to`, in order.
    pub fn cutoffs(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Cutoff> + use<> {
        let calendar = self.clone();
        let before = from.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MIN);
        let following = move |after| calendar.next_cutoff(after).filter(|cutoff| cutoff.at < to);
        std::iter::successors(following(before), move |cutoff| following(cutoff.at))
    }

    /// The last cutoff that is not after an instant.
    fn last_cutoff(&self, at: Timestamp) -> Option<Timestamp> {
        let Inner { zone, plan, .. } = &*self.0;
        let (mut date, mut latest_s) = shown(zone, at);
        // Where the clock was set back lately, it has shown later times than it shows now.
        let back = SignedDuration::from_secs(SET_BACK_MAX_S);
        let lately = at.saturating_sub(back).unwrap_or(Timestamp::MIN);
        let just_after = at.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        let changed = zone.preceding(just_after).next().is_some_and(|change| change.timestamp() > lately);
        if changed {
            latest_s += SET_BACK_MAX_S;
            date = date.saturating_add(SET_BACK_MAX_DAYS.days());
        }
        loop {
            let (open, minutes) = plan.open_until(date)?;
            for &minute in minutes.iter().rev() {
                let wanted_s = wanted_s(open, minute);
                if wanted_s <= latest_s {
                    let found = instant::of_reading(zone, wanted_s)?;
                    if found.at <= at {
                        return Some(found.at);
                    }
                }
            }
            date = open.yesterday().ok()?;
        }
    }

    fn cutoff(&self, date: Date, minute: u16, rule: RuleRef, found: instant::Found) -> Cutoff {
        Cutoff {
            at: found.at,
            local: found.at.to_zoned(self.0.zone.clone()).to_string(),
            production_date: date,
            rule: self.0.plan.rule(rule),
            shifted: found.shifted,
            time: format!("{:02}:{:02}", minute / 60, minute % 60),
        }
    }
}

/// The name of the season in a rule with or without its time, such as `season:peak 12:00`.
#[must_use]
pub fn season_of(rule: &str) -> Option<&str> {
    let rest = rule.strip_prefix("season:")?;
    Some(match rest.rsplit_once(' ') {
        Some((name, time)) if time.contains(':') => name,
        _ => rest,
    })
}

/// Whether a season is called a peak: by that word, and not as what is off it. That is all that can be said of the
/// season of a region whose calendar is not there any more.
#[must_use]
pub fn called_peak(season: &str) -> bool {
    let lower = season.to_lowercase();
    let words: Vec<&str> = lower.split(|it: char| !it.is_alphanumeric()).collect();
    words.contains(&"peak") && !words.contains(&"off")
}

/// What the local clock shows at an instant: the date, and the whole reading as [`wanted_s`] has
/// it, at most a second too late where the instant has a fraction.
fn shown(zone: &TimeZone, at: Timestamp) -> (Date, i64) {
    (zone.to_datetime(at).date(), at.as_second() + i64::from(zone.to_offset(at).seconds()))
}

/// The reading of a local clock as if it were UTC, in seconds.
fn wanted_s(date: Date, minute: u16) -> i64 {
    date.duration_since(Date::constant(1970, 1, 1)).as_secs() + i64::from(minute) * 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_is_a_peak_by_its_name_or_by_its_cutoffs() {
        let spec = r#"{"time_zone":"Europe/Helsinki","cutoffs":["24:00"],"seasons":[
            {"name":"winter","from":"10-01","to":"12-31","cutoffs":["12:00","24:00"]},
            {"name":"summer","from":"06-01","to":"08-31","cutoffs":["18:00"]}]}"#;
        let bare = r#"{"time_zone":"Europe/Helsinki","cutoffs":[],"seasons":[
            {"name":"winter","from":"10-01","to":"12-31","cutoffs":["12:00","24:00"]}]}"#;
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let calendar = |spec: &str| {
            Calendar::build(&serde_json::from_str(spec).unwrap(), &Zones::bundled(), now).unwrap()
        };
        let (whole, bare) = (calendar(spec), calendar(bare));
        for (season, peak) in [
            ("winter", true),
            ("summer", false),
            ("none", false),
            ("Peak", true),
            ("autumn peak 2026", true),
            ("off-peak", false),
            ("speaking", false),
        ] {
            assert_eq!(whole.is_peak(season), peak, "{season}");
        }
        assert!(!bare.is_peak("winter"), "there is nothing that it is more than");
    }

    #[test]
    fn a_rule_names_its_season() {
        for (rule, season) in [
            ("season:peak 12:00", Some("peak")),
            ("season:peak", Some("peak")),
            ("season:old town 24:00", Some("old town")),
            ("season:old town", Some("old town")),
            ("regular 24:00", None),
            ("special 10:00", None),
        ] {
            assert_eq!(season_of(rule), season, "{rule}");
        }
    }
}
