//! The report of a run: for people, and as JSON.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::probe::Call;
use super::rules::Name;
use crate::domain::ids::OrderId;
use crate::domain::lab::Profile;

/// Calls that are kept of one check.
const CALLS_MAX: usize = 40;
/// Calls that people are shown of one check.
const CALLS_SHOWN: usize = 8;

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The lab keeps this part of the contract.
    Passed,
    /// It does not.
    Failed,
    /// It could not be seen: nothing is claimed.
    NotSeen,
    /// It may be so, but it costs the lab something: a capability, or trust.
    Warning,
    /// There is nothing of this at a lab that is reached in this way.
    NotApplicable,
}

impl Status {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotSeen => "not seen",
            Self::Warning => "warning",
            Self::NotApplicable => "not applicable",
        }
    }
}

/// What a pass rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Seen from two sides: an answer, and a look-up or a ledger that agrees.
    Proved,
    /// The lab's answer only.
    Believed,
}

/// What a check found.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) basis: Option<Basis>,
    pub(super) text: String,
}

impl Finding {
    pub(super) fn passed(basis: Basis, text: impl Into<String>) -> Self {
        Self { status: Status::Passed, basis: Some(basis), text: text.into() }
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { status: Status::Failed, basis: None, text: text.into() }
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self { status: Status::Warning, basis: None, text: text.into() }
    }

    pub(super) fn not_applicable(text: impl Into<String>) -> Self {
        Self { status: Status::NotApplicable, basis: None, text: text.into() }
    }

    pub(super) fn not_seen(text: impl Into<String>) -> Self {
        Self { status: Status::NotSeen, basis: None, text: text.into() }
    }
}

/// A check that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Which.
    pub name: Name,
    /// In a few words.
    pub title: &'static str,
    /// What came of it.
    pub status: Status,
    /// What a pass rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// What was found.
    pub found: String,
    /// What the contract says.
    pub contract: &'static str,
    /// How to mend it, where something is to be mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<&'static str>,
    /// What was sent, and what came back.
    pub calls: Vec<Call>,
    /// Calls beyond those.
    pub calls_left_out: usize,
}

impl Check {
    pub(super) fn new(name: Name, finding: Finding, mut calls: Vec<Call>) -> Self {
        let rule = name.rule();
        let calls_left_out = calls.len().saturating_sub(CALLS_MAX);
        calls.truncate(CALLS_MAX);
        let mend = matches!(finding.status, Status::Failed | Status::Warning).then_some(rule.mend);
        Self {
            name,
            title: rule.title,
            status: finding.status,
            basis: finding.basis,
            found: finding.text,
            contract: rule.contract,
            mend,
            calls,
            calls_left_out,
        }
    }

    /// The check in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let basis = match self.basis {
            Some(Basis::Proved) => "proved",
            Some(Basis::Believed) => "believed",
            None => "",
        };
        format!("{:<14} {:<51} {basis:<9} {}", self.status.word(), self.title, first(&self.found))
    }
}

/// What fits into a line.
fn first(text: &str) -> String {
    const MOST: usize = 90;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let cut: String = text.chars().take(MOST - 2).collect();
    format!("{} …", cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words))
}

/// A test order that is left at the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The order.
    pub order: OrderId,
    /// Its reference.
    pub reference: String,
    /// Where it is, as far as is known.
    pub place: String,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was called; for a lab that dials out, what it dialled.
    pub url: String,
    /// By which driver.
    pub driver: &'static str,
    /// Who the lab says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab: Option<String>,
    /// The program that certified.
    pub by: &'static str,
    /// When the run began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// All checks were made, and none failed.
    pub certified: bool,
    /// The checks.
    pub checks: Vec<Check>,
    /// Test orders that are left at the lab.
    pub left: Vec<Left>,
    /// The profile that follows.
    pub profile: Profile,
    /// The same, to paste into the lab's definition.
    pub profile_toml: String,
}

impl Report {
    /// How many checks ended so.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }

    /// The verdict in one line.
    #[must_use]
    pub fn verdict(&self) -> String {
        let counts = [
            (Status::Warning, "with a warning"),
            (Status::NotSeen, "not seen"),
            (Status::Failed, "failed"),
            (Status::NotApplicable, "not applicable"),
        ];
        let tail: Vec<String> = counts
            .iter()
            .filter(|(status, _)| self.count(*status) > 0)
            .map(|(status, word)| format!(", {} {word}", self.count(*status)))
            .collect();
        let word = match (self.certified, self.count(Status::Failed)) {
            (true, _) => "CERTIFIED",
            (false, 0) => "NOT CERTIFIED, because only some checks were made",
            (false, _) => "NOT CERTIFIED",
        };
        format!(
            "{word}: {} of {} checks passed{}",
            self.count(Status::Passed),
            self.checks.len() - self.count(Status::NotApplicable),
            tail.concat()
        )
    }

    /// Prints the report for people.
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let who = self.lab.as_deref().unwrap_or("a lab that does not say who it is");
        writeln!(out, "{who} at {} over {}, {}\n", self.url, self.driver, self.began_at)?;
        for check in &self.checks {
            writeln!(out, "{}", check.line())?;
        }
        for check in self.checks.iter().filter(|check| check.status != Status::Passed) {
            writeln!(out, "\n{}: {} ({})", check.status.word(), check.title, check.name.word())?;
            writeln!(out, "  found:     {}", check.found)?;
            let unseen = matches!(check.status, Status::NotSeen | Status::NotApplicable);
            if unseen && check.calls.is_empty() {
                continue;
            }
            let mut label = "calls:";
            for call in check.calls.iter().take(CALLS_SHOWN) {
                writeln!(out, "  {label:<10} {} → {} ({} ms)", call.sent, call.came_back, call.took_ms)?;
                label = "";
            }
            let more = check.calls.len().saturating_sub(CALLS_SHOWN) + check.calls_left_out;
            if more > 0 {
                writeln!(
                    out,
                    "             … and {more} more; --report FILE keeps {CALLS_MAX} of each check"
                )?;
            }
            writeln!(out, "  contract:  {}", check.contract)?;
            if let Some(mend) = check.mend {
                writeln!(out, "  to mend:   {mend}")?;
            }
        }
        writeln!(out, "\nThe profile, for the lab's definition (what is not proved is \"no\"):\n")?;
        out.write_all(self.profile_toml.as_bytes())?;
        writeln!(out, "\n{}", self.verdict())
    }
}
