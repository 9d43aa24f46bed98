//! Single lines of an order on the customer's page: which of them can be chosen, and what has become of those that
//! were.
//!
//! The verdict on each line says whether a stop may name it; here is only what a page with a form can hold, and in
//! which words it is told. Downloads are no choice: each is told of in a sentence of its own.

use super::money;
use super::view::{Offer, Seen};
use super::words::fill;
use crate::api::Api;
use crate::api::orders::line_stops;
use crate::api::problem::Answer;
use crate::api::registry::LabEntry;
use crate::domain::extras::{ApprovalFacts, ApprovalState};
use crate::domain::lines::{Line, LineReason};
use crate::domain::order::OrderFacts;
use crate::domain::platform::PlatformSpec;
use crate::domain::stop::{StopFacts, StopState};
use crate::domain::verdict::{self, CanStop, Verdict};

/// The most lines to choose from, and the most bytes that they may take in a form: what is read of one is short, and a
/// comment has its place in it.
const CHOICES_MAX: usize = 50;
/// See [`CHOICES_MAX`].
const FORM_MAX: usize = 9_000;

/// What was asked about single lines.
#[derive(Debug, Default)]
pub(super) struct ByLines {
    /// The stops that name lines, oldest first.
    stops: Vec<StopFacts>,
    /// What the merchant decides about lines, or has decided.
    approvals: Vec<ApprovalFacts>,
}

/// A line that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The platform's id of the line.
    pub(super) id: String,
    pub(super) shown: String,
}

impl ByLines {
    /// Of an order; the verdict on its lines becomes part of that on the order.
    pub(super) async fn read(
        api: &Api,
        facts: &OrderFacts,
        (entry, platform): (Option<&LabEntry>, Option<&PlatformSpec>),
        told: &mut Verdict,
    ) -> Answer<Self> {
        let stops = line_stops(api, facts).await?;
        let undecided = stops.iter().filter(|stop| !stop.state.is_decided());
        let open: Vec<String> = undecided.flat_map(|stop| stop.items.clone().unwrap_or_default()).collect();
        if let Some(entry) = entry {
            told.lines = verdict::lines(facts, &entry.lab.spec, platform, told.can_stop, &open);
        }
        Ok(Self { stops, approvals: facts.extras.line_approvals.clone() })
    }
}

fn names(items: Option<&Vec<String>>, id: &str) -> bool {
    items.is_some_and(|items| items.iter().any(|item| item == id))
}

impl Seen<'_> {
    /// A line as it is shown; where another looks the same, with its id.
    fn line(&self, line: &Line) -> String {
        let alike =
            self.lines.iter().filter(|other| (&other.sku, other.quantity) == (&line.sku, line.quantity));
        let shown = format!("{} × {}", line.quantity, line.sku);
        if alike.count() > 1 { format!("{shown} ({})", line.id) } else { shown }
    }

    /// The lines that can be chosen; none where there is nothing to choose.
    pub(super) fn choices(&self) -> Vec<Choice> {
        if !self.offer().is_ok_and(|offer| offer.is_some_and(|offer| offer != Offer::OnlyAbsent)) {
            return Vec::new();
        }
        // What the shop has declined it is not asked again.
        let declined = |id: &str| {
            let no = |it: &&ApprovalFacts| it.state == ApprovalState::Declined;
            self.by_lines.approvals.iter().filter(no).any(|it| names(it.items.as_ref(), id))
        };
        let mut choices = Vec::new();
        for line in &self.verdict.lines {
            let can =
                line.can_stop != CanStop::No && line.reason == LineReason::AsOrder && !declined(&line.item);
            let known = self.lines.iter().find(|known| known.id == line.item).filter(|_| can);
            choices.extend(known.map(|known| Choice { id: known.id.clone(), shown: self.line(known) }));
        }
        // Each byte may become three.
        let bytes: usize = choices.iter().map(|choice| "&item=".len() + 3 * choice.id.len()).sum();
        let fits = (2..=CHOICES_MAX).contains(&choices.len()) && bytes <= FORM_MAX;
        if fits { choices } else { Vec::new() }
    }

    /// The lines that a form names; `None` where one of them cannot be chosen (any more).
    ///
    /// All that is left of an order without downloads is the order.
    pub(super) fn chosen(&self, named: &[String]) -> Option<Vec<Choice>> {
        let choices = self.choices();
        if !named.iter().all(|id| choices.iter().any(|choice| choice.id == *id)) {
            return None;
        }
        let alive = |reason| !matches!(reason, LineReason::AlreadyStopped);
        let left = self.verdict.lines.iter().filter(|line| alive(line.reason)).count();
        let chosen: Vec<Choice> = choices.into_iter().filter(|choice| named.contains(&choice.id)).collect();
        let all = chosen.len() == left && self.verdict.downloads.is_empty();
        Some(if all { Vec::new() } else { chosen })
    }

    /// What happens with the money where these lines are stopped and others are not.
    pub(super) fn money_of(&self, chosen: &[Choice]) -> Vec<String> {
        let mut list = money::of_lines(self);
        let named = |line: &&Line| chosen.iter().any(|choice| choice.id == line.id);
        if self.lines.iter().filter(named).any(|line| line.personalised) {
            list.push(self.words().money.personalised.clone());
        }
        list
    }

    /// Lines in a row, of those that are not stopped with the whole order.
    fn row(&self, which: impl Fn(&Line) -> bool) -> Option<String> {
        let printed = |line: &&Line| !crate::domain::downloads::is_download(line);
        let shown: Vec<String> = self
            .lines
            .iter()
            .filter(printed)
            .filter(|line| which(line))
            .map(|line| self.line(line))
            .collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    }

    /// What is said of lines that were asked about by themselves, while the rest goes on.
    pub(super) fn told_of_lines(&self) -> Vec<String> {
        if self.state().is_stopped() {
            return Vec::new();
        }
        let page = &self.words().page;
        let out = |line: &Line| self.out.contains(&line.id);
        let asked = |line: &Line, is: &dyn Fn(&StopFacts) -> bool| {
            !out(line)
                && self.by_lines.stops.iter().any(|stop| is(stop) && names(stop.items.as_ref(), &line.id))
        };
        let pending = |line: &Line| asked(line, &|stop| !stop.state.is_decided());
        let late = |line: &Line| !pending(line) && asked(line, &|stop| stop.state == StopState::TooLate);
        let say = |text: &str, items: Option<String>, reason: &str| {
            let known =
                |items: &str| fill(text, &[("items", items), ("shop", self.shop), ("reason", reason)]);
            items.map(|items| known(&items))
        };
        let mut told: Vec<String> = [
            say(&page.part, self.row(out), ""),
            say(&page.part_pending, self.row(pending), ""),
            say(&page.part_late, self.row(late), ""),
        ]
        .into_iter()
        .flatten()
        .collect();
        for approval in &self.by_lines.approvals {
            let text = match approval.state {
                ApprovalState::Open => &page.part_merchant,
                ApprovalState::Declined => &page.part_declined,
                _ => continue,
            };
            let its = self.row(|line| !out(line) && names(approval.items.as_ref(), &line.id));
            told.extend(say(text, its, approval.why.as_deref().unwrap_or_default()));
        }
        told
    }
}
