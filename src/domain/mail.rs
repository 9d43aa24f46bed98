//! Mail about stops: whom to write when, what it says, and what follows from how a sending ended.

use jiff::{SignedDuration, Timestamp};

use super::calendar::Calendar;
use super::hours::Hours;
use super::stop::StopFacts;

/// How long after its deadline a stop can be answered by the link of a mail.
const LINK_AFTER_DEADLINE: SignedDuration = SignedDuration::from_hours(24);
/// No link lives longer than that after its mail.
const LINK_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The delays after sendings of which it is certain that nobody got them.
const AGAIN: [SignedDuration; 3] =
    [SignedDuration::from_secs(5), SignedDuration::from_secs(30), SignedDuration::from_mins(2)];
/// The delay after a sending of which nobody knows.
const AGAIN_UNCLEAR: SignedDuration = SignedDuration::from_mins(1);
/// How many items a mail lists.
const ITEMS_MAX: usize = 30;

/// Whom of a lab a mail is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The contact.
    First,
    /// The second contact.
    Second,
}

impl Audience {
    /// The number in a link.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Reads the number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::First, Self::Second].into_iter().find(|audience| audience.code() == code)
    }
}

/// The mails about one stop, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// At once.
    Ask,
    /// When half of the time for an answer has passed.
    Remind,
    /// When three quarters have, to the second contact.
    Second,
}

impl Step {
    /// The number that the database keeps.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Ask, Self::Remind, Self::Second].into_iter().find(|step| step.code() == code)
    }

    /// The word in the changelog.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Remind => "remind",
            Self::Second => "second_contact",
        }
    }

    /// Whom it is for.
    #[must_use]
    pub fn audience(self) -> Audience {
        if self == Self::Second { Audience::Second } else { Audience::First }
    }
}

/// When which mail about a stop goes, of which none was sent so far.
///
/// Where contact hours made the deadline, the halves and quarters are of contact time; else they are of the
/// time by the clock, put off to the next contact hours if those begin before the deadline. A step whose time
/// had passed before the lab got the order is left out, but for the first, and the second contact.
#[must_use]
pub fn plan(
    stop: &StopFacts,
    hours: Option<(&Hours, &Calendar)>,
    second: bool,
    now: Timestamp,
) -> Vec<(Step, Timestamp)> {
    let (asked, deadline) = (stop.asked_at, stop.deadline_at);
    let at = |quarters: i32| {
        let by_clock = asked + deadline.duration_since(asked) / 4 * quarters;
        let Some((hours, calendar)) = hours else { return by_clock };
        if stop.deadline_why.is_some() {
            let time = hours.between(calendar, asked, deadline) / 4 * quarters;
            return hours.after(calendar, asked, time).unwrap_or(by_clock).min(deadline);
        }
        let open = hours.after(calendar, by_clock, SignedDuration::ZERO);
        open.filter(|open| *open < deadline).unwrap_or(by_clock)
    };
    let mut steps = vec![(Step::Ask, now)];
    if at(2) > now {
        steps.push((Step::Remind, at(2)));
    }
    if second && now < deadline {
        steps.push((Step::Second, at(3).max(now)));
    }
    steps
}

/// Until when the link in a mail can be used.
#[must_use]
pub fn link_until(deadline: Timestamp, now: Timestamp) -> Timestamp {
    let add = super::batch::later;
    add(deadline.max(now), LINK_AFTER_DEADLINE).min(add(now, LINK_MAX))
}

/// How a sending ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailOutcome {
    /// The server took it.
    Sent,
    /// Certainly not sent, and another try would not help.
    Refused(String),
    /// Certainly not sent; it may be tried again.
    Unreachable(String),
    /// Nobody knows whether it was sent.
    Unclear(String),
}

impl MailOutcome {
    /// What went wrong; `None` if nothing did.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Sent => None,
            Self::Refused(cause) | Self::Unreachable(cause) | Self::Unclear(cause) => Some(cause),
        }
    }

    /// The word for the changelog and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Unclear(_) => "unclear",
        }
    }
}

/// What follows from how a sending ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterMail {
    /// Nothing more.
    Done,
    /// It is sent again after so long.
    Again(SignedDuration),
    /// It is not sent any more: a person takes the stop now.
    GiveUp,
}

/// What follows. `attempts` counts this one; `unclear` the unclear ones with this one: such a mail is sent at
/// most once more, since somebody may get it twice.
#[must_use]
pub fn after(outcome: &MailOutcome, attempts: i64, unclear: i64) -> AfterMail {
    match outcome {
        MailOutcome::Sent => AfterMail::Done,
        MailOutcome::Refused(_) => AfterMail::GiveUp,
        MailOutcome::Unclear(_) if unclear > 1 => AfterMail::GiveUp,
        MailOutcome::Unclear(_) => AfterMail::Again(AGAIN_UNCLEAR),
        MailOutcome::Unreachable(_) => usize::try_from(attempts - 1)
            .ok()
            .and_then(|nth| AGAIN.get(nth))
            .map_or(AfterMail::GiveUp, |delay| AfterMail::Again(*delay)),
    }
}

/// Whether a text is an e-mail address, as far as that can be said without writing to it.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    (1..=64).contains(&name.len())
        && name.chars().all(word)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && host.len() <= 253
        && host.split('.').all(label)
}

/// An address as it may be shown: `m…@lab.example`.
#[must_use]
pub fn masked(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((name, host)) => format!("{}…@{host}", name.chars().next().unwrap_or('…')),
        None => "…".to_owned(),
    }
}

/// A line of an order, as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How many.
    pub quantity: i64,
    /// What.
    pub sku: String,
    /// The platform's id of it.
    pub id: String,
    /// A small picture, if the platform gave one.
    pub thumbnail: Option<super::order::Thumbnail>,
}

/// What a mail about a stop says.
#[derive(Debug, Clone)]
pub struct Letter<'a> {
    /// Which mail it is.
    pub step: Step,
    /// The lab's name.
    pub lab: &'a str,
    /// The platform's reference of the order.
    pub reference: &'a str,
    /// The lab's own, if it gave one.
    pub lab_reference: Option<&'a str>,
    /// Whose order it is.
    pub platform: &'a str,
    /// The lines.
    pub items: &'a [Line],
    /// Whether only these are to be stopped.
    pub part: bool,
    /// Why.
    pub reason: &'a str,
    /// When the stop was asked, on the region's clocks.
    pub asked_local: &'a str,
    /// When an answer is due, on the region's clocks.
    pub due_local: &'a str,
    /// Where to answer.
    pub link: &'a str,
    /// Until when the link can be used, on the region's clocks.
    pub link_until_local: &'a str,
}

impl Letter<'_> {
    /// The subject: one line.
    #[must_use]
    pub fn subject(&self) -> String {
        let again = match self.step {
            Step::Ask => "",
            Step::Remind => "Reminder: ",
            Step::Second => "No answer yet: ",
        };
        one_line(&format!("{again}please stop order {}", self.reference))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: &str| {
            out.push_str(&one_line(text));
            out.push('\n');
        };
        line(&format!("To {}", self.lab));
        line("");
        line(match self.step {
            Step::Ask if self.part => {
                "Please do not print these lines of an order, if you still can, and make the rest of it:"
            }
            Step::Remind if self.part => {
                "We have asked you to stop these lines of an order, and to make the rest; we have no answer yet:"
            }
            Step::Second if self.part => {
                "Your colleagues were asked to stop these lines of an order, and to make the rest; they have not answered yet:"
            }
            Step::Ask => "Please do not print this order, if you still can:",
            Step::Remind => "We have asked you to stop this order, and have no answer yet:",
            Step::Second => "Your colleagues were asked to stop this order, and have not answered yet:",
        });
        line("");
        line(&format!("  Order         {} of {}", self.reference, self.platform));
        if let Some(own) = self.lab_reference {
            line(&format!("  Your number   {own}"));
        }
        for (at, item) in self.items.iter().take(ITEMS_MAX).enumerate() {
            let label = match at {
                0 if self.part => "Only these",
                0 => "Items",
                _ => "",
            };
            line(&format!("  {label:<13} {} x {} (line {})", item.quantity, item.sku, item.id));
        }
        if let Some(more) = self.items.len().checked_sub(ITEMS_MAX).filter(|more| *more > 0) {
            line(&format!("  {:<13} and {more} more", ""));
        }
        line(&format!("  Why           {}", self.reason));
        line(&format!("  Asked at      {}", readable(self.asked_local)));
        line(&format!("  Answer due    {}", readable(self.due_local)));
        line("");
        line(
            "Is it stopped, or is it too late? Please answer here; nothing is changed until you press a button:",
        );
        line("");
        line(self.link);
        line("");
        line(&format!(
            "The link is for you: whoever has it can answer. It works until {}.",
            readable(self.link_until_local)
        ));
        out
    }
}

/// `2026-11-23T08:30:00+02:00[Europe/Helsinki]` for people: `2026-11-23 08:30 (Europe/Helsinki)`.
#[must_use]
pub fn readable(local: &str) -> String {
    let read = || {
        let (reading, zone) = local.strip_suffix(']')?.split_once('[')?;
        let (date, time) = reading.split_once('T')?;
        Some(format!("{date} {} ({zone})", time.get(..5)?))
    };
    read().unwrap_or_else(|| local.to_owned())
}

/// Text from outside on one line, without what turns or hides text.
fn one_line(text: &str) -> String {
    let hides = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    text.chars().filter(|c| !hides(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
