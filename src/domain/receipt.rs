//! The receipt of a stop: what was asked, what came of it, and what proves it, line by line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::downloads::{self, DownloadState};
use super::event::Event;
use super::ids::{OrderId, PlatformId, StopId};
use super::lines::{self, Line, StopTerms};
use super::order::{ItemKind, OrderFacts};
use super::platform::{Refund, ServiceFee};
use super::stop::{AskedBy, Evidence, StopFacts, StopState};

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineOutcome {
    /// It is stopped: nobody prints it because of us.
    Stopped,
    /// A stop was asked for it, and is not decided.
    Open,
    /// It was too late: it is or will be printed.
    TooLate,
    /// No stop was asked for it here: it goes on with the order.
    GoesOn,
}

/// A line on the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptLine {
    /// The platform's id of the line.
    pub item: String,
    /// Product code.
    pub sku: String,
    /// Pieces.
    pub quantity: u32,
    /// What became of it.
    pub outcome: LineOutcome,
    /// Whether it goes back to stock.
    pub restock: bool,
    /// Why there is no right of withdrawal for it; null where the law's own stays.
    #[schema(required = true)]
    pub exemption: Option<String>,
}

/// A download on the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptDownload {
    /// The platform's id of the line.
    pub item: String,
    /// Product code.
    pub sku: String,
    /// How it stands.
    pub state: DownloadState,
}

impl ReceiptDownload {
    fn statement(&self) -> &'static str {
        match self.state {
            DownloadState::Live => "was not asked to be revoked, and can be fetched",
            DownloadState::Revoking => "not decided yet: its platform was asked to deactivate the link",
            DownloadState::Revoked => "revoked: its platform said that the link is deactivated",
            DownloadState::Fetched => "had been fetched: it could not be revoked",
            DownloadState::WithAPerson => "not decided yet: a person finds out",
        }
    }
}

/// The entry of the changelog that proves how the stop stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// Its number in the log.
    pub seq: i64,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it says happened.
    #[schema(example = "stop.stopped")]
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// Its hash, which continues the hashes of all entries of the order before it.
    pub hash: String,
}

/// The receipt of a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The stop.
    pub stop: StopId,
    /// The order.
    pub order: OrderId,
    /// Whose order it is.
    pub platform: PlatformId,
    /// The platform's reference of the order.
    pub reference: String,
    /// When this receipt was written.
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Timestamp,
    /// When the stop was asked.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// Who asked.
    pub asked_by: AskedBy,
    /// By a name or an id of the platform's own.
    #[schema(required = true)]
    pub requested_by: Option<String>,
    /// Why.
    pub reason: String,
    /// How it stands.
    pub state: StopState,
    /// What that rests on.
    #[schema(required = true)]
    pub evidence: Option<Evidence>,
    /// When it was decided; null while it is not.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub decided_at: Option<Timestamp>,
    /// When an answer is due; null once it is decided.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub answer_due_at: Option<Timestamp>,
    /// The same in a sentence.
    pub statement: String,
    /// Every line of the order that is printed.
    pub lines: Vec<ReceiptLine>,
    /// Its downloads; left out where it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub downloads: Vec<ReceiptDownload>,
    /// What it brings, as it was told when it was asked; null if it was too late.
    #[schema(required = true)]
    pub consequences: Option<StopTerms>,
    /// What proves it; null only of stops from before the log was kept.
    #[schema(required = true)]
    pub proof: Option<Proof>,
}

fn exemption(line: &Line, terms: Option<&StopTerms>) -> Option<String> {
    // As it was told with the stop, even if the order was changed since.
    let exempt =
        terms.map_or(line.personalised, |terms| terms.exempt.contains(&line.id) || line.personalised);
    (exempt && line.kind == ItemKind::Print).then(|| {
        format!(
            "Line {} ({} x {}) is made to the wishes of one customer: there is no right of withdrawal for it \
             (in the European Union: Directive 2011/83/EU, Article 16, letter c).",
            line.id, line.quantity, line.sku
        )
    })
}

fn evidence(evidence: Option<Evidence>) -> &'static str {
    match evidence {
        None => "",
        Some(Evidence::NeverHanded) => "nothing of it has left for the lab",
        Some(Evidence::LabRemoved) => "the lab took it out and said so",
        Some(Evidence::PersonConfirmed) => "a named person found out",
        Some(Evidence::LabRefused) => "the lab said that it prints it",
        Some(Evidence::InProduction) => "the lab makes it",
        Some(Evidence::Shipped) => "it has left the lab",
        Some(Evidence::FinalOnReceipt) => "what the lab has is final by contract",
        Some(Evidence::NoAnswer) => "no answer came in time",
        Some(Evidence::NoChannel) => "the lab cannot be asked by a machine",
    }
}

fn statement(stop: &StopFacts) -> String {
    let what = match &stop.items {
        Some(items) => format!("Of the order, line {}", items.join(", line ")),
        None => "The order".to_owned(),
    };
    let many = stop.items.as_ref().is_some_and(|items| items.len() > 1);
    let (is, will) = if many { ("are", "are or will be") } else { ("is", "is or will be") };
    let because = evidence(stop.evidence);
    let because = if because.is_empty() { String::new() } else { format!(": {because}") };
    match stop.state {
        StopState::Stopped | StopState::StoppedInPart => {
            format!("{what} {is} stopped and will not be printed{because}.")
        }
        StopState::TooLate => format!("It was too late. {what} {will} printed{because}."),
        StopState::Pending => format!("{what} {is} not stopped yet: the answer is still to come."),
        StopState::WithAPerson => format!("{what} {is} not stopped yet: a person finds out{because}."),
    }
}

impl Receipt {
    /// The receipt of a stop as it stands. `log` is the order's, oldest first.
    #[must_use]
    pub fn of(order: &OrderFacts, stop: &StopFacts, log: &[Event], now: Timestamp) -> Self {
        let terms = stop.terms.as_ref();
        let line = |line: Line| {
            let about = match &stop.items {
                Some(items) => items.contains(&line.id),
                None => !order.lines_out.contains(&line.id),
            };
            let outcome = match stop.state {
                _ if !about && order.lines_out.contains(&line.id) => LineOutcome::Stopped,
                _ if !about => LineOutcome::GoesOn,
                StopState::Stopped | StopState::StoppedInPart => LineOutcome::Stopped,
                StopState::TooLate => LineOutcome::TooLate,
                StopState::Pending | StopState::WithAPerson => LineOutcome::Open,
            };
            let stocked = stop.brings().is_some_and(|terms| terms.restock.contains(&line.id));
            let restock = about && outcome == LineOutcome::Stopped && stocked;
            let exemption = exemption(&line, terms);
            ReceiptLine { item: line.id, sku: line.sku, quantity: line.quantity, outcome, restock, exemption }
        };
        let (fetched, printed): (Vec<Line>, Vec<Line>) =
            lines::read(&order.document).into_iter().partition(downloads::is_download);
        let state = |item: &str| {
            let known = order.extras.downloads.iter().find(|known| known.item == item);
            known.map_or(DownloadState::Live, |known| known.state)
        };
        let downloads = (fetched.into_iter())
            .map(|line| ReceiptDownload { state: state(&line.id), item: line.id, sku: line.sku })
            .collect();
        let own = |event: &&Event| {
            event.subject == stop.order.as_str()
                && event.kind == format!("stop.{}", stop.state.word())
                && event.detail["stop"] == stop.id.as_str()
        };
        let proof = |event: &Event| Proof {
            seq: event.seq,
            at: event.at,
            kind: event.kind.clone(),
            actor: event.actor.clone(),
            hash: event.hash.clone(),
        };
        Self {
            stop: stop.id.clone(),
            order: stop.order.clone(),
            platform: order.platform.clone(),
            reference: order.reference.clone(),
            issued_at: now,
            asked_at: stop.asked_at,
            asked_by: stop.asked_by,
            requested_by: stop.requested_by.clone(),
            reason: stop.reason.clone(),
            state: stop.state,
            evidence: stop.evidence,
            decided_at: stop.decided_at,
            answer_due_at: (!stop.state.is_decided()).then_some(stop.deadline_at),
            statement: statement(stop),
            lines: printed.into_iter().map(line).collect(),
            downloads,
            consequences: stop.brings().cloned(),
            proof: log.iter().rfind(own).map(proof),
        }
    }

    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: &str| {
            // Names and reasons come from outside: a line of theirs must not look like one of ours.
            out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
            out.push('\n');
        };
        line("Receipt of a stop");
        line("");
        line(&format!("Order        {} of {} ({})", self.reference, self.platform, self.order));
        line(&format!("Stop         {}", self.stop));
        let by = self.requested_by.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
        line(&format!("Asked        {} by the {}{by}", self.asked_at, self.asked_by.word()));
        line(&format!("Why          {}", self.reason));
        line(&format!("Result       {}", self.statement));
        if let Some(at) = self.decided_at {
            line(&format!("Decided      {at}"));
        }
        if let Some(at) = self.answer_due_at {
            line(&format!("Answer due   {at}"));
        }
        line("");
        line("Lines");
        for item in &self.lines {
            let outcome = match item.outcome {
                LineOutcome::Stopped => "stopped",
                LineOutcome::Open => "not decided yet",
                LineOutcome::TooLate => "too late",
                LineOutcome::GoesOn => "goes on with the order",
            };
            let stock = if item.restock { ", goes back to stock" } else { "" };
            line(&format!("  {}: {} x {}: {outcome}{stock}", item.item, item.quantity, item.sku));
        }
        if !self.downloads.is_empty() {
            line("");
            line("Downloads");
        }
        for item in &self.downloads {
            line(&format!("  {}: {}: {}", item.item, item.sku, item.statement()));
        }
        if let Some(terms) = &self.consequences {
            line("");
            line("What it brings, as it was told when the stop was asked");
            line(match terms.refund {
                Refund::Automatic => "  The platform refunds by itself.",
                Refund::ByMerchant => "  The merchant refunds, as a step of its own.",
                Refund::Outside => "  A refund is arranged elsewhere.",
            });
            line(match terms.service_fee {
                ServiceFee::Kept => "  The service fee is kept.",
                ServiceFee::Waived => "  The service fee is waived.",
            });
        }
        let exempt: Vec<&String> = self.lines.iter().filter_map(|line| line.exemption.as_ref()).collect();
        if !exempt.is_empty() {
            line("");
            for text in exempt {
                line(text);
            }
        }
        line("");
        if let Some(proof) = &self.proof {
            line(&format!(
                "Proof        entry {} of the changelog, {} at {}",
                proof.seq, proof.kind, proof.at
            ));
            line(&format!("             SHA-256 {}", proof.hash));
        }
        line(&format!("Issued       {}", self.issued_at));
        out
    }
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
