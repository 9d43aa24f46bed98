//! Contact hours: when the people of a lab answer, in the clock of the region where it prints.
//!
//! Written as `mon-fri 08:00-16:00`, several spans separated by commas. A span of a date goes from the
//! instant of its first reading to the instant of its last, each found as a cutoff is (see
//! [`calendar`](super::calendar)): the first instant at which the clock shows the reading or has jumped past
//! it. So spans never overlap, whatever the clock does, and a span that falls into a gap is empty.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::Fault;
use super::batch::later;
use super::calendar::Calendar;

/// The forms that are taken, for messages.
const ALLOWED: &str = "contact hours such as \"mon-fri 08:00-16:00\" or \"mon-thu 08:00-16:00, fri 08:00-12:00\": \
    days are mon, tue, wed, thu, fri, sat, sun, a range of them, or daily; times are 00:00 to 24:00, \
    the later one after";
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// The most that may be written: more is no week.
const TEXT_MAX: usize = 300;
/// How many days in a row are looked at for contact time before there is none: no zone ever lost a whole week.
const IDLE_DAYS_MAX: u32 = 60;

/// The contact hours of a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// As it was written.
    text: String,
    /// Of each day from Monday on: spans in minutes since midnight, in order, none touching another.
    week: [Vec<(u16, u16)>; 7],
}

impl Hours {
    /// Reads contact hours.
    ///
    /// # Errors
    /// If the text has none of the allowed forms.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let not = || Fault::not("", text, ALLOWED);
        if text.len() > TEXT_MAX {
            let text = format!("has {} bytes; it must be at most {TEXT_MAX}, and {ALLOWED}", text.len());
            return Err(Fault::new("", text));
        }
        let mut week: [Vec<(u16, u16)>; 7] = std::array::from_fn(|_| Vec::new());
        for part in text.split(',') {
            let mut words = part.split_whitespace();
            let (Some(days), Some(times), None) = (words.next(), words.next(), words.next()) else {
                return Err(not());
            };
            let (from, to) = times.split_once('-').ok_or_else(not)?;
            let span = (minute(from).ok_or_else(not)?, minute(to).ok_or_else(not)?);
            if span.0 >= span.1 {
                return Err(not());
            }
            for day in these(days).ok_or_else(not)? {
                week[day].push(span);
            }
        }
        for spans in &mut week {
            spans.sort_unstable();
            let mut joined: Vec<(u16, u16)> = Vec::with_capacity(spans.len());
            for &(from, to) in spans.iter() {
                match joined.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    _ => joined.push((from, to)),
                }
            }
            *spans = joined;
        }
        Ok(Self { text: text.trim().to_owned(), week })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The contact time of a week without a clock change.
    #[must_use]
    pub fn a_week(&self) -> SignedDuration {
        let minutes: i64 = self.week.iter().flatten().map(|(from, to)| i64::from(to - from)).sum();
        SignedDuration::from_mins(minutes)
    }

    /// The spans that end after an instant, in order: `[from, to)`.
    fn spans(&self, calendar: &Calendar, after: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        // The evening of the day before may still be going on where the clock was set back over midnight.
        let first = calendar.shown(after).1.yesterday().ok();
        let days = std::iter::successors(first, |date: &Date| date.tomorrow().ok());
        days.flat_map(move |date| {
            let day = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
            self.week[day].iter().map(move |&(from, to)| (date, from, to))
        })
        .map_while(|(date, from, to)| Some((calendar.reading(date, from)?, calendar.reading(date, to)?)))
        .filter(move |(from, to)| from < to && *to > after)
    }

    /// The instant at which so much contact time has passed since `from`; without any left to pass, the first
    /// contact instant from then on. `None` if there is no contact time any more.
    #[must_use]
    pub fn after(&self, calendar: &Calendar, from: Timestamp, time: SignedDuration) -> Option<Timestamp> {
        let mut left = time.max(SignedDuration::ZERO);
        let mut seen = from;
        for (opens, closes) in self.spans(calendar, from) {
            let idle = opens.duration_since(seen);
            if idle > SignedDuration::from_hours(24 * i64::from(IDLE_DAYS_MAX)) {
                return None;
            }
            let opens = opens.max(from);
            let here = closes.duration_since(opens);
            if left <= here {
                return Some(later(opens, left));
            }
            left -= here;
            seen = closes;
        }
        None
    }

    /// How much contact time there is between two instants.
    #[must_use]
    pub fn between(&self, calendar: &Calendar, from: Timestamp, to: Timestamp) -> SignedDuration {
        let spans = self.spans(calendar, from).take_while(|(opens, _)| *opens < to);
        spans.map(|(opens, closes)| closes.min(to).duration_since(opens.max(from))).sum()
    }

    /// Whether an instant is in contact hours.
    #[must_use]
    pub fn open(&self, calendar: &Calendar, at: Timestamp) -> bool {
        self.spans(calendar, at).next().is_some_and(|(from, _)| from <= at)
    }
}

/// A time of day in minutes.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(hour * 60 + minute)
}

/// The days of a word: `mon`, `mon-fri`, `sat-mon`, `daily`.
fn these(word: &str) -> Option<Vec<usize>> {
    let day = |word: &str| DAYS.iter().position(|known| *known == word);
    if word == "daily" {
        return Some((0..7).collect());
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (day(first)?, day(last)?);
    let count = (last + 7 - first) % 7 + 1;
    Some((first..first + count).map(|day| day % 7).collect())
}

/// When an answer is due, and why then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerDue {
    /// The instant.
    pub at: Timestamp,
    /// The same on the clocks of the region, with the zone.
    pub local: String,
    /// Why: `contact_hours` and the hours.
    pub rule: String,
}

impl AnswerDue {
    /// The first instant at which `time` of contact time has passed since `asked`.
    #[must_use]
    pub fn of(hours: &Hours, calendar: &Calendar, asked: Timestamp, time: SignedDuration) -> Option<Self> {
        let at = hours.after(calendar, asked, time)?;
        let rule = format!("contact_hours {}", hours.text());
        Some(Self { at, local: calendar.shown(at).0, rule })
    }
}
