//! The profile that follows from what was seen: a capability that is not proved is `no`.

use std::fmt::Write as _;
use std::time::Duration;

use super::probe::Probe;
use super::report::{Check, Status};
use super::rules::{Group, Name, RULES};
use super::{Facts, Target};
use crate::domain::lab::{AddressChanges, Dedupes, Lasting, Profile, TakesStops};

/// Measured times are multiplied by this: a test is not a day in December.
const MARGIN: u32 = 10;

/// The profile, and what is to be said about each of its lines.
#[derive(Debug, Clone)]
pub(super) struct Derived {
    pub(super) profile: Profile,
    why: Why,
}

#[derive(Debug, Clone, Default)]
struct Why {
    dedupes: String,
    stops: String,
    orders_per_call: String,
    acts_within: String,
    answers_within: String,
    concurrency: String,
    two_phase: Option<String>,
    stops_lines: Option<String>,
    address_changes: Option<String>,
}

fn good(checks: &[Check], name: Name) -> bool {
    checks.iter().any(|check| check.name == name && check.status == Status::Passed)
}

fn failed(checks: &[Check], name: Name) -> bool {
    checks.iter().any(|check| check.name == name && check.status == Status::Failed)
}

pub(super) fn derive(p: &Probe<'_>, facts: &Facts, checks: &[Check]) -> Derived {
    let mut why = Why::default();
    let dedupes = dedupes(p.target, facts, checks, &mut why.dedupes);
    let stops =
        if facts.stops && !failed(checks, Name::StopAfterPrinting) && !failed(checks, Name::UnknownStop) {
            TakesStops::Yes
        } else {
            why.stops = String::from("not proved: a person asks for each stop");
            TakesStops::No
        };
    let tally = p.tally();
    let [upload, stop, _] = tally.longest;
    let longest = format!("the longest upload took {upload:.1?}, times {MARGIN}, and no less than 2m");
    let acts_within = margin(upload, 120);
    why.acts_within = longest;
    let answered = facts.answered_later.unwrap_or_default().max(stop);
    let answers_within = margin(answered, 60);
    why.answers_within = format!("the longest took {answered:.1?}, times {MARGIN}, and no less than 1m");
    if facts.batch == 0 {
        why.orders_per_call = String::from("more was not proved");
    }
    if facts.at_once == 0 {
        why.concurrency = String::from("more was not proved");
    }
    let phases = RULES.iter().map(|rule| rule.name).filter(|name| name.group() == Group::TwoPhase);
    let missing: Vec<_> = phases.filter(|name| !good(checks, *name)).map(Name::word).collect();
    if facts.two_phase {
        let why_not = format!("not proved: {}", missing.join(", "));
        why.two_phase = Some(if missing.is_empty() { String::new() } else { why_not });
    }
    if p.target.stops_lines {
        let proved = facts.stops_lines && stops == TakesStops::Yes;
        let word = Name::StopLines.word();
        why.stops_lines = Some(if proved { String::new() } else { format!("not proved: {word}") });
    }
    let mut address_changes = AddressChanges::No;
    if p.target.address_changes {
        let word = Name::ChangesAddress.word();
        why.address_changes = Some(if facts.addresses {
            // More than an order that is not begun was not tried.
            address_changes = AddressChanges::UntilProduction;
            String::new()
        } else {
            format!("not proved: {word}")
        });
    }
    let profile = Profile {
        address_changes,
        stops_lines: facts.stops_lines && stops == TakesStops::Yes,
        two_phase: facts.two_phase && missing.is_empty(),
        dedupes,
        lookup: facts.lookup,
        stops,
        orders_per_call: u32::try_from(facts.batch.clamp(1, 1000)).unwrap_or(1),
        acts_within,
        answers_within,
        concurrency: u32::try_from(facts.at_once.clamp(1, 256)).unwrap_or(1),
        ..Profile::default()
    };
    Derived { profile, why }
}

/// The mechanism can be proved in a minute; how long keys are kept is the lab's word.
fn dedupes(target: &Target, facts: &Facts, checks: &[Check], why: &mut String) -> Dedupes {
    let needed =
        [Name::SameKey, Name::OtherBytes, Name::UploadAfterStop, Name::SameKeyAtOnce, Name::KeysKept];
    let missing: Vec<String> = needed
        .iter()
        .filter(|name| !good(checks, **name))
        .map(|name| name.word())
        .chain(failed(checks, Name::StopAfterPrinting).then(|| Name::StopAfterPrinting.word()))
        .collect();
    if !missing.is_empty() {
        *why = format!("not proved: {}", missing.join(", "));
        return Dedupes::No;
    }
    let seen = facts.kept_for.unwrap_or_default();
    match target.keeps_keys {
        Dedupes::No => {
            *why = format!(
                "proved for {seen:.0?}; say how long keys are kept (--keeps-keys forever), and this says so"
            );
            Dedupes::No
        }
        told => {
            *why = format!("proved for {seen:.0?}; how long keys are kept is the lab's word (--keeps-keys)");
            told
        }
    }
}

/// A measured time with its margin, in whole half minutes.
fn margin(measured: Duration, least_seconds: u64) -> Lasting {
    let seconds = (measured * MARGIN).as_secs().div_ceil(30) * 30;
    let seconds = seconds.clamp(least_seconds, 30 * 24 * 3600);
    Lasting::seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl Derived {
    /// As it is pasted into the lab's definition, after `[[labs]]`.
    pub(super) fn toml(&self) -> String {
        let Self { profile, why } = self;
        let stops = match profile.stops {
            TakesStops::Yes => "yes",
            TakesStops::No => "no",
            TakesStops::FinalOnReceipt => "final_on_receipt",
        };
        let mut lines = vec![
            ("dedupes", format!("{:?}", String::from(profile.dedupes)), why.dedupes.as_str()),
            ("lookup", profile.lookup.to_string(), ""),
            ("stops", format!("{stops:?}"), why.stops.as_str()),
            ("orders_per_call", profile.orders_per_call.to_string(), why.orders_per_call.as_str()),
            ("acts_within", format!("{:?}", profile.acts_within.to_string()), why.acts_within.as_str()),
            (
                "answers_within",
                format!("{:?}", profile.answers_within.to_string()),
                why.answers_within.as_str(),
            ),
            ("concurrency", profile.concurrency.to_string(), why.concurrency.as_str()),
        ];
        if let Some(why) = &why.two_phase {
            lines.push(("two_phase", profile.two_phase.to_string(), why));
        }
        if let Some(why) = &why.stops_lines {
            lines.push(("stops_lines", profile.stops_lines.to_string(), why));
        }
        if let Some(why) = &why.address_changes {
            lines.push(("address_changes", format!("{:?}", profile.address_changes.word()), why));
        }
        lines.iter().fold("[labs.profile]\n".to_owned(), |mut text, (key, value, why)| {
            // Writing to a string cannot fail.
            let _ = if why.is_empty() {
                writeln!(text, "{key} = {value}")
            } else {
                writeln!(text, "{key} = {value}  # {why}")
            };
            text
        })
    }
}
