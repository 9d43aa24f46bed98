//! The checked form of a calendar: which cutoffs a local date has, and under which rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;

use super::spec::{CalendarSpec, SeasonSpec, WEEKDAYS};
use super::{DAYS_MAX_WITHOUT_CUTOFF, Rule};
use crate::domain::Fault;

/// Minutes from the midnight that begins the date, 0 to 1440, ascending.
pub(super) type Minutes = Box<[u16]>;

const MINUTES_A_DAY: u16 = 1440;
const TIME: &str = "a time from 00:00 to 24:00";
const DATE: &str = "a date such as 2026-12-24";
const MONTH_DAY: &str = "a month-day such as 12-31";
const SLOTS: usize = 366;
const SEASONS_MAX: usize = 100;
/// The table of slots: this one is closed every year, 0 is regular, n is season n - 1.
const CLOSED: u8 = u8::MAX;

/// What a date is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day<'a> {
    /// It has cutoffs: never an empty list.
    Open(RuleRef, &'a [u16]),
    /// It has none, and why.
    Shut(Why),
}

/// A rule without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleRef {
    Regular,
    Season(usize),
    Special,
}

/// Why a date has no cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    NoTimes,
    OffWeekday,
    Closed,
}

#[derive(Debug)]
pub(super) struct Plan {
    regular: Minutes,
    weekdays: Weekdays,
    seasons: Vec<Season>,
    /// What every month-day is, by [`slot`]. As 02-29 has a slot of its own, a season that begins
    /// there begins on 03-01 in a year without it, and one that ends there ends on 02-28.
    slots: Box<[u8; SLOTS]>,
    closed: Vec<Date>,
    special: Vec<(Date, Minutes)>,
    /// Whether any date is open without being special.
    recurs: bool,
}

#[derive(Debug)]
struct Season {
    name: Arc<str>,
    minutes: Minutes,
    weekdays: Weekdays,
}

/// A set of weekdays, one bit each, Monday the lowest.
#[derive(Debug, Clone, Copy)]
struct Weekdays(u8);

impl Weekdays {
    const ALL: Self = Self(0b111_1111);

    fn contain(self, date: Date) -> bool {
        self.0 & (1 << date.weekday().to_monday_zero_offset()) != 0
    }
}

impl Plan {
    /// Checks a calendar and adds all that is wrong with it to `faults`.
    pub(super) fn read(spec: &CalendarSpec, faults: &mut Vec<Fault>) -> Self {
        faults.extend(spec.unknown.faults(&CalendarSpec::KEYS));
        let regular = minutes("cutoffs", &spec.cutoffs, faults);
        let weekdays = weekdays("weekdays", &spec.weekdays, faults);
        let mut slots = Box::new([0; SLOTS]);
        let seasons = seasons(&spec.seasons, weekdays, &mut slots, faults);
        let closed = closed(&spec.closed, &mut slots, faults);
        let mut special = Vec::with_capacity(spec.special.len());
        for (date, times) in &spec.special {
            let field = format!("special.{date}");
            let minutes = minutes(&field, times, faults);
            match full_date(date) {
                Some(date) => special.push((date, minutes)),
                None => faults.push(Fault::not(field, date, DATE)),
            }
        }
        special.sort_unstable_by_key(|(date, _)| *date);
        let mut plan = Self { regular, weekdays, seasons, slots, closed, special, recurs: false };
        plan.recurs = plan.has_recurring_day();
        plan
    }

    /// What `date` is: special, else closed, else of the first season that contains it, else
    /// regular; and whether its weekday is one.
    pub(super) fn day(&self, date: Date) -> Day<'_> {
        if let Ok(index) = self.special.binary_search_by_key(&date, |(date, _)| *date) {
            let minutes = &*self.special[index].1;
            return if minutes.is_empty() {
                Day::Shut(Why::Closed)
            } else {
                Day::Open(RuleRef::Special, minutes)
            };
        }
        if self.closed.binary_search(&date).is_ok() {
            return Day::Shut(Why::Closed);
        }
        self.recurring(date)
    }

    /// What `date` is in every year.
    fn recurring(&self, date: Date) -> Day<'_> {
        let (rule, minutes, weekdays) = match self.slots[slot(date.month(), date.day())] {
            CLOSED => return Day::Shut(Why::Closed),
            0 => (RuleRef::Regular, &self.regular, self.weekdays),
            season => {
                let index = usize::from(season) - 1;
                let season = &self.seasons[index];
                (RuleRef::Season(index), &season.minutes, season.weekdays)
            }
        };
        if minutes.is_empty() {
            Day::Shut(Why::NoTimes)
        } else if weekdays.contain(date) {
            Day::Open(rule, minutes)
        } else {
            Day::Shut(Why::OffWeekday)
        }
    }

    /// 28 years without a skipped leap day hold every kind of year there is.
    fn has_recurring_day(&self) -> bool {
        let first = Date::constant(2000, 1, 1);
        let last = Date::constant(2027, 12, 31);
        let open = |date| matches!(self.recurring(date), Day::Open(..));
        std::iter::successors(Some(first), |date| date.tomorrow().ok()).take_while(|d| *d <= last).any(open)
    }

    /// The first date with cutoffs that is not before `date`.
    pub(super) fn open_from(&self, mut date: Date) -> Option<(Date, RuleRef, &[u16])> {
        if !self.recurs {
            let from = self.special.partition_point(|(special, _)| *special < date);
            let (date, minutes) = self.special[from..].iter().find(|(_, minutes)| !minutes.is_empty())?;
            return Some((*date, RuleRef::Special, minutes));
        }
        loop {
            if let Day::Open(rule, minutes) = self.day(date) {
                return Some((date, rule, minutes));
            }
            date = date.tomorrow().ok()?;
        }
    }

    /// The last date with cutoffs that is not after `date`.
    pub(super) fn open_until(&self, mut date: Date) -> Option<(Date, &[u16])> {
        if !self.recurs {
            let until = self.special.partition_point(|(special, _)| *special <= date);
            let (date, minutes) = self.special[..until].iter().rfind(|(_, minutes)| !minutes.is_empty())?;
            return Some((*date, minutes));
        }
        loop {
            if let Day::Open(_, minutes) = self.day(date) {
                return Some((date, minutes));
            }
            date = date.yesterday().ok()?;
        }
    }

    /// The rule with its name.
    pub(super) fn rule(&self, rule: RuleRef) -> Rule {
        match rule {
            RuleRef::Regular => Rule::Regular,
            RuleRef::Season(index) => Rule::Season(Arc::clone(&self.seasons[index].name)),
            RuleRef::Special => Rule::Special,
        }
    }

    /// Whether a season of this name has more cutoffs a day than there are outside of seasons.
    pub(super) fn is_busier(&self, season: &str) -> bool {
        let regular = self.regular.len();
        let mut named = self.seasons.iter().filter(|it| *it.name == *season);
        regular > 0 && named.any(|it| it.minutes.len() > regular)
    }

    /// Why the days that follow `date` have no cutoff, for people.
    pub(super) fn why_shut(&self, date: Date) -> String {
        let mut days = BTreeMap::<Why, u32>::new();
        let following = std::iter::successors(Some(date), |date| date.tomorrow().ok());
        for date in following.take(DAYS_MAX_WITHOUT_CUTOFF as usize) {
            if let Day::Shut(why) = self.day(date) {
                *days.entry(why).or_default() += 1;
            }
        }
        let reasons: Vec<_> = days
            .into_iter()
            .map(|(why, days)| match why {
                Why::NoTimes => format!("days without times: {days}"),
                Why::OffWeekday => format!("days that are none of its weekdays: {days}"),
                Why::Closed => format!("closed days: {days}"),
            })
            .collect();
        reasons.join(", ")
    }
}

/// The place of a month-day in a leap year, from 0.
fn slot(month: i8, day: i8) -> usize {
    const BEFORE: [usize; 12] = [0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335];
    BEFORE[month as usize - 1] + day as usize - 1
}

fn minutes(field: &str, times: &[String], faults: &mut Vec<Fault>) -> Minutes {
    let mut minutes = BTreeSet::new();
    for (index, time) in times.iter().enumerate() {
        match minute(time) {
            None => faults.push(Fault::not(format!("{field}[{index}]"), time, TIME)),
            Some(minute) if !minutes.insert(minute) => {
                faults.push(twice(format!("{field}[{index}]"), time));
            }
            Some(_) => {}
        }
    }
    minutes.into_iter().collect()
}

fn minute(time: &str) -> Option<u16> {
    let (hours, minutes) = time.split_once(':')?;
    let minute = u16::from(two_digits(hours)?) * 60 + u16::from(two_digits(minutes).filter(|m| *m < 60)?);
    (minute <= MINUTES_A_DAY).then_some(minute)
}

fn weekdays(field: &str, names: &[String], faults: &mut Vec<Fault>) -> Weekdays {
    let mut bits = 0;
    for (index, name) in names.iter().enumerate() {
        match WEEKDAYS.iter().position(|weekday| weekday == name) {
            None => {
                let allowed = format!("one of {}", WEEKDAYS.join(", "));
                faults.push(Fault::not(format!("{field}[{index}]"), name, &allowed));
            }
            Some(day) if bits & (1 << day) != 0 => faults.push(twice(format!("{field}[{index}]"), name)),
            Some(day) => bits |= 1 << day,
        }
    }
    if names.is_empty() {
        let message = "is empty; leave it out for all weekdays, or empty `cutoffs` to have none";
        faults.push(Fault::new(field, message));
        return Weekdays::ALL;
    }
    Weekdays(bits)
}

fn seasons(
    specs: &[SeasonSpec],
    regular: Weekdays,
    slots: &mut [u8; SLOTS],
    faults: &mut Vec<Fault>,
) -> Vec<Season> {
    if specs.len() > SEASONS_MAX {
        faults.push(Fault::new("seasons", format!("has {} entries; at most {SEASONS_MAX}", specs.len())));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let mut seasons = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let parent = format!("seasons[{index}]");
        faults.extend(spec.unknown.faults(&SeasonSpec::KEYS).map(|fault| fault.under(&parent)));
        if !(1..=63).contains(&spec.name.chars().count()) || spec.name.chars().any(char::is_control) {
            faults.push(Fault::not("name", &spec.name, "a name of 1 to 63 characters").under(&parent));
        } else if !names.insert(&spec.name) {
            faults.push(twice("name".to_owned(), &spec.name).under(&parent));
        }
        let mut edge = |field: &str, text: &str| {
            let slot = month_day(text);
            if slot.is_none() {
                faults.push(Fault::not(field, text, MONTH_DAY).under(&parent));
            }
            slot
        };
        if let (Some(from), Some(to)) = (edge("from", &spec.from), edge("to", &spec.to)) {
            for (slot, taken) in slots.iter_mut().enumerate() {
                let inside =
                    if from <= to { (from..=to).contains(&slot) } else { slot >= from || slot <= to };
                if inside && *taken == 0 {
                    *taken = index as u8 + 1;
                }
            }
        }
        let minutes = minutes(&format!("{parent}.cutoffs"), &spec.cutoffs, faults);
        let own = spec.weekdays.as_deref();
        let weekdays = own.map_or(regular, |own| weekdays(&format!("{parent}.weekdays"), own, faults));
        seasons.push(Season { name: spec.name.as_str().into(), minutes, weekdays });
    }
    seasons
}

/// Marks the month-days in the table and returns the single dates.
fn closed(texts: &[String], slots: &mut [u8; SLOTS], faults: &mut Vec<Fault>) -> Vec<Date> {
    let mut dates = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        let fresh = match (full_date(text), month_day(text)) {
            (Some(date), _) => dates.insert(date),
            (None, Some(slot)) => std::mem::replace(&mut slots[slot], CLOSED) != CLOSED,
            (None, None) => {
                let allowed = "a date such as 2026-12-25 or a month-day such as 01-01";
                faults.push(Fault::not(format!("closed[{index}]"), text, allowed));
                continue;
            }
        };
        if !fresh {
            faults.push(twice(format!("closed[{index}]"), text));
        }
    }
    dates.into_iter().collect()
}

fn twice(field: String, text: &str) -> Fault {
    Fault::new(field, format!("{text:?} is there twice"))
}

/// `YYYY-MM-DD`, and nothing else that a date could be written as.
fn full_date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_at_checked(4)?;
    let (month, day) = rest.strip_prefix('-')?.split_once('-')?;
    let year = year.bytes().all(|b| b.is_ascii_digit()).then(|| year.parse().ok())??;
    Date::new(year, two_digits(month)?.cast_signed(), two_digits(day)?.cast_signed()).ok()
}

/// `MM-DD`, as its place in the table.
fn month_day(text: &str) -> Option<usize> {
    let (month, day) = text.split_once('-')?;
    let date = Date::new(2000, two_digits(month)?.cast_signed(), two_digits(day)?.cast_signed()).ok()?;
    Some(slot(date.month(), date.day()))
}

fn two_digits(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + ones - b'0'),
        _ => None,
    }
}
