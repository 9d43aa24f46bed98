//! What states, verdicts and entries of the log are called on the pages of ops.

use crate::domain::batch::{BatchPhase, TransferPhase};
use crate::domain::downloads::{DownloadState, DownloadVerdict};
use crate::domain::event::Event;
use crate::domain::lines::{self, LineReason, LineVerdict, StopTerms, Withdrawal};
use crate::domain::order::{OrderFacts, OrderState};
use crate::domain::platform::{Refund, ServiceFee};
use crate::domain::policy::PolicySource;
use crate::domain::stop::{Evidence, StopState};
use crate::domain::verdict::{CanStop, Reason, Verdict};

/// A badge: its class and its word.
pub(super) type Badge = (&'static str, &'static str);

/// How an order stands.
pub(super) fn order(state: OrderState) -> Badge {
    match state {
        OrderState::AwaitingPayment => ("", "awaiting payment"),
        OrderState::OnHold => ("warn", "on hold"),
        OrderState::InReview => ("warn", "in review"),
        OrderState::InBatch => ("ok", "in an open batch"),
        OrderState::Closed => ("", "waits for its hand-over"),
        OrderState::Sending => ("", "being handed over"),
        OrderState::Unknown => ("warn", "hand-over unclear"),
        OrderState::AtLab => ("ok", "at the lab"),
        OrderState::InProduction => ("", "in production"),
        OrderState::Printed => ("", "printed"),
        OrderState::Shipped => ("", "shipped"),
        OrderState::WithAPerson => ("bad", "with a person"),
        OrderState::Stopped => ("bad", "stopped"),
    }
}

/// How a batch stands.
pub(super) fn batch(phase: BatchPhase) -> Badge {
    match phase {
        BatchPhase::Open => ("ok", "open"),
        BatchPhase::Closed => ("warn", "closed"),
        BatchPhase::HandedOn => ("", "handed on"),
        BatchPhase::Empty => ("", "empty"),
    }
}

/// How a transfer stands.
pub(super) fn transfer(phase: TransferPhase) -> Badge {
    match phase {
        TransferPhase::Closed => ("", "to be sent again"),
        TransferPhase::Sending => ("", "under way"),
        TransferPhase::Unknown => ("warn", "unclear"),
        TransferPhase::AtLab => ("ok", "at the lab"),
        TransferPhase::Empty => ("", "empty"),
        TransferPhase::WithAPerson => ("bad", "with a person"),
    }
}

/// How a stop stands.
pub(super) fn stop(state: StopState) -> Badge {
    match state {
        StopState::Pending => ("warn", "waits for the lab"),
        StopState::Stopped => ("ok", "stopped"),
        StopState::StoppedInPart => ("warn", "stopped in part"),
        StopState::TooLate => ("bad", "too late"),
        StopState::WithAPerson => ("bad", "with a person"),
    }
}

/// What an answer rests on.
pub(super) fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::NeverHanded => "nothing of it ever left the house",
        Evidence::LabRemoved => "the lab took it out",
        Evidence::PersonConfirmed => "a person found out",
        Evidence::LabRefused => "the lab said that it prints it",
        Evidence::InProduction => "the lab makes it already",
        Evidence::Shipped => "it has left the lab",
        Evidence::FinalOnReceipt => "what the lab has is final by contract",
        Evidence::NoAnswer => "no answer came in time",
        Evidence::NoChannel => "the lab has no channel for stops",
    }
}

/// Whether it can be stopped, in a word, and why.
pub(super) fn verdict(verdict: &Verdict) -> (Badge, &'static str) {
    let badge = match verdict.can_stop {
        CanStop::No if verdict.reason == Reason::AlreadyStopped => ("ok", "stopped"),
        CanStop::Yes => ("ok", "can be stopped"),
        CanStop::AskLab => ("warn", "the lab decides"),
        CanStop::AskPerson => ("warn", "a person decides"),
        CanStop::NotYetKnown => ("warn", "not yet known"),
        CanStop::No => ("bad", "cannot be stopped"),
    };
    let why = match verdict.reason {
        Reason::AwaitingPayment => "It is not paid for, and in no batch.",
        Reason::OnHold => "It is held, and in no batch.",
        Reason::InReview => "It is in review, and in no batch.",
        Reason::InOpenBatch => "Its window is open: a stop before the cutoff succeeds, guaranteed.",
        Reason::WaitingForTransfer => {
            "Its window has closed, and nothing has left the house yet. It may leave at any moment."
        }
        Reason::BeingTransferred => "It is being handed over right now.",
        Reason::TransferUnclear => "It was sent, and whether the lab has it is being found out.",
        Reason::TransferWithAPerson => "It was sent, and a person finds out whether the lab has it.",
        Reason::AtLab => "The lab has it.",
        Reason::ImmediateProduction => "The lab has it, and produces at once.",
        Reason::LabNeverTakesStops => "The lab has it, and what it has is final by contract.",
        Reason::InProduction => "The lab makes it.",
        Reason::Shipped => "It has left the lab.",
        Reason::StopPending => "A stop was asked, and its answer is still to come.",
        Reason::StopWithAPerson => "A stop was asked, and a person decides on it.",
        Reason::AlreadyStopped => "It is stopped: nobody prints it because of us.",
        Reason::StoppedInPart => "Some of its lines are stopped.",
        Reason::RefusedByLab => "A stop was asked, and the lab said no.",
        Reason::TooLate => "A stop was asked, and it was too late.",
        Reason::StopAwaitsMerchant => "The customer asked for a stop, and the merchant decides.",
        Reason::Replacing => "It waits, in no batch, for the stop of the order that it replaces.",
    };
    (badge, why)
}

/// Whether asking for a stop would change anything.
pub(super) fn may_ask(verdict: &Verdict) -> bool {
    let asked = matches!(verdict.reason, Reason::StopPending | Reason::StopWithAPerson);
    verdict.can_stop != CanStop::No && !asked
}

/// What happens at once when a stop is asked now.
pub(super) fn would(verdict: &Verdict) -> &'static str {
    match verdict.can_stop {
        CanStop::Yes => "It is stopped at once, for certain: nothing of it has left the house.",
        CanStop::AskLab => "The lab is asked. It may say yes or no; an answer comes by the time below.",
        CanStop::AskPerson => "A person is asked. It may be too late; an answer comes by the time below.",
        CanStop::NotYetKnown => {
            "It is being handed over. Either it never arrives, and is stopped for certain, or the lab is asked."
        }
        CanStop::No => "Nothing: it cannot be stopped any more.",
    }
}

/// What a stop brings with it.
pub(super) fn consequences(verdict: &Verdict) -> Vec<String> {
    let it = &verdict.consequences;
    let mut list = vec![
        match it.refund {
            Refund::Automatic => "The platform refunds by itself.",
            Refund::ByMerchant => "The merchant refunds, as a step of its own.",
            Refund::Outside => "Nobody here refunds: that is arranged elsewhere.",
        }
        .to_owned(),
    ];
    list.push(match it.service_fee {
        ServiceFee::Kept => "The service fee is kept.".to_owned(),
        ServiceFee::Waived => "The service fee is waived.".to_owned(),
    });
    list.push(if it.restock { "Goods go back to stock." } else { "Nothing goes back to stock." }.to_owned());
    if it.personalised {
        list.push("An item is made for one customer: once made, there is no right of withdrawal.".to_owned());
    }
    let told: Vec<String> = (verdict.policy.iter())
        .filter(|known| matches!(&*known.rule, "refund" | "service_fee" | "restock"))
        .map(|known| format!("{} by {}", known.rule, source(known.source)))
        .collect();
    list.push(format!("These rules come from: {}.", told.join(", ")));
    list
}

/// What a stop that was asked brings, as it was told then.
pub(super) fn brings(terms: &StopTerms) -> Vec<String> {
    let mut list = vec![
        match terms.refund {
            Refund::Automatic => "The platform refunds by itself.",
            Refund::ByMerchant => "The merchant refunds, as a step of its own.",
            Refund::Outside => "Nobody here refunds: that is arranged elsewhere.",
        }
        .to_owned(),
    ];
    list.push(match terms.service_fee {
        ServiceFee::Kept => "The service fee is kept.".to_owned(),
        ServiceFee::Waived => "The service fee is waived.".to_owned(),
    });
    if !terms.restock.is_empty() {
        list.push(format!("Back to stock: line {}.", terms.restock.join(", ")));
    }
    if !terms.exempt.is_empty() {
        list.push(format!("Without a right of withdrawal: line {}.", terms.exempt.join(", ")));
    }
    if terms.reason_offered == Some(false) {
        list.push("The reason is none of those that the platform offers.".to_owned());
    }
    list
}

fn source(source: PolicySource) -> &'static str {
    match source {
        PolicySource::Default => "default",
        PolicySource::Platform => "the platform",
        PolicySource::Lab => "the lab",
        PolicySource::Calendar => "the calendar",
    }
}

/// Each line, and what a stop would bring for it.
pub(super) fn lines(order: &OrderFacts, verdict: &Verdict) -> Vec<(String, String)> {
    let known = lines::read(&order.document);
    let say = |line: &LineVerdict| {
        let stored = known.iter().find(|known| known.id == line.item);
        let name = stored.map(|known| format!("{} × {}", known.quantity, known.sku)).unwrap_or_default();
        let can = match (line.reason, line.can_stop) {
            (LineReason::AlreadyStopped, _) => "stopped",
            (LineReason::StopPending, _) => "asked for; the answer is still to come",
            (LineReason::AwaitsMerchant, _) => "the customer asked to stop it; the merchant decides",
            (LineReason::WholeOrderOnly, _) => "only with the whole order: its lab stops no single lines",
            (LineReason::AsOrder, CanStop::No) => "cannot be stopped",
            (LineReason::AsOrder, CanStop::Yes) => "can be stopped alone",
            (LineReason::AsOrder, _) => "can be asked for alone",
        };
        let stock = if line.restock { "; goes back to stock" } else { "" };
        let right = match line.withdrawal {
            Withdrawal::Applies => "",
            Withdrawal::UntilMade => "; made for one customer, no right of withdrawal",
            Withdrawal::NonePersonalised => "; made for one customer, in production, no right of withdrawal",
            Withdrawal::UntilFetched => "; a download, until it is fetched",
            Withdrawal::NoneFetched => "; a download that was fetched, no right of withdrawal",
        };
        (format!("Line {}: {name}", line.item), format!("{can}{stock}{right}"))
    };
    let download = |it: &DownloadVerdict| {
        let name = known.iter().find(|known| known.id == it.item).map(|known| known.sku.clone());
        (format!("Download {}: {}", it.item, name.unwrap_or_default()), download(it).1.to_owned())
    };
    verdict.lines.iter().map(say).chain(verdict.downloads.iter().map(download)).collect()
}

/// How a download stands: a badge and a sentence.
pub(super) fn download(it: &DownloadVerdict) -> (Badge, &'static str) {
    match it.state {
        DownloadState::Live => {
            (("", "not asked"), "can be asked for: the platform says whether it was fetched")
        }
        DownloadState::Revoking => {
            (("warn", "asked"), "the platform was asked to deactivate the link; its answer is still to come")
        }
        DownloadState::Revoked if it.contradicted_at.is_some() => {
            (("bad", "contradicted"), "told revoked, and since then said to have been fetched")
        }
        DownloadState::Revoked => (("ok", "revoked"), "the platform said that the link is deactivated"),
        DownloadState::Fetched => (("bad", "fetched"), "it was fetched, and cannot be revoked"),
        DownloadState::WithAPerson => {
            (("bad", "with a person"), "a person has to find out whether the link is deactivated")
        }
    }
}

/// The lines that can be stopped by themselves while others go on: their ids and how they are shown.
pub(super) fn alone(order: &OrderFacts, verdict: &Verdict) -> Vec<(String, String)> {
    let alive = verdict.lines.iter().filter(|line| line.reason != LineReason::AlreadyStopped).count();
    if alive < 2 {
        return Vec::new();
    }
    let shown = lines(order, verdict);
    let open = |(line, _): &(&LineVerdict, (String, String))| {
        matches!(line.reason, LineReason::AsOrder | LineReason::AwaitsMerchant)
            && line.can_stop != CanStop::No
    };
    let all = verdict.lines.iter().zip(shown).filter(open);
    all.map(|(line, (name, _))| (line.item.clone(), name)).collect()
}

/// What happened, of an entry of the log.
pub(super) fn happened(kind: &str) -> String {
    let known = match kind {
        "order.admitted" => "The order was admitted",
        "order.paid" => "It was paid for",
        "order.held" => "It was put on hold",
        "order.in_review" => "It went back to the editor",
        "order.released" => "It was released",
        "order.reinstated" => "Its stop was taken back",
        "order.cutoff_near" => "A cutoff came near that it would miss",
        "order.changed" => "It was changed",
        "order.purged" => "What it said of people was taken out of it",
        "order.replaced" => "Another order is to take its place",
        "order.replaces" => "It is to take the place of another order, and waits for its stop",
        "order.replacement_released" => "The order that it replaces is stopped: it was released",
        "order.replacement_abandoned" => "The order that it replaces is printed: it is stopped",
        "order.replacement_withdrawn" => "It was stopped while it waited to take another's place",
        "approval.asked" => "The customer asked for a stop; the merchant decides",
        "approval.approved" => "The merchant agreed to the stop",
        "approval.declined" => "The merchant declined the stop",
        "approval.overtaken" => "A stop was asked before the merchant had decided",
        "approval.overdue" => "The merchant has not decided in time; ops were called",
        "order.received" => "The lab confirmed that it has it",
        "order.in_production" => "The lab makes it",
        "order.printed" => "The lab has printed it",
        "order.shipped" => "It has left the lab",
        "order.report" => "The lab reported on it",
        "order.sent_ahead" => "It was sent ahead to the lab, to hold",
        "order.taken_back" => "What was sent ahead was taken back",
        "order.ahead" => "The lab answered to what was sent ahead",
        "batch.opened" => "The batch was opened",
        "batch.closed" => "The batch closed",
        "batch.released" => "The batch was released before its cutoff",
        "batch.postponed" => "The cutoff was postponed",
        "batch.promise_kept" => "The promised cutoff was kept, against a changed calendar",
        "batch.handed_on" => "All orders of the batch are in transfers",
        "batch.empty" => "All orders of the batch were stopped",
        "transfer.sending" => "It was sent to the lab",
        "transfer.answer" => "The lab answered",
        "transfer.unknown" => "Nobody knows whether the lab has it",
        "transfer.closed" => "It is proven that the lab does not have it",
        "transfer.at_lab" => "The lab has it",
        "transfer.empty" => "Nothing of it was left to send",
        "transfer.with_a_person" => "A person has to find out whether the lab has it",
        "download.revoking" => "A download was asked to be revoked",
        "download.forwarded" => "The platform was asked to deactivate a download's link",
        "download.answer" => "The platform gave no clear answer about a download",
        "download.revoked" => "The link of a download is deactivated",
        "download.fetched" => "A download was fetched",
        "download.with_a_person" => "A person has to find out about a download",
        "download.late_answer" => "The link of a download that was fetched is deactivated",
        "download.contradicted" => "A download that was told revoked was fetched",
        "address.asked" => "Another shipping address was asked for; the lab decides",
        "address.forwarded" => "The lab was asked for another shipping address",
        "address.answer" => "The lab has not decided on another shipping address",
        "address.taken" => "The lab took another shipping address",
        "address.refused" => "The shipping address stays",
        "address.with_a_person" => "A person has to find out where the parcel goes",
        "address.late_answer" => "The lab took another shipping address after the order was stopped",
        "address.contradicted" => "The lab contradicted what was told of a shipping address",
        "stop.pending" => "A stop was asked; the lab decides",
        "stop.stopped" => "It was stopped",
        "stop.stopped_in_part" => "It was stopped in part",
        "stop.too_late" => "The stop was too late",
        "stop.with_a_person" => "A person has to decide on the stop",
        "stop.forwarded" => "The lab was asked to stop it",
        "stop.answer" => "The lab answered to the stop",
        "stop.late_answer" => "The lab answered late to the stop",
        "stop.contradicted" => "The lab contradicted what was told of the stop",
        "stop.mailed" => "The lab's people were written to",
        "stop.mail_failed" => "A mail to the lab's people failed",
        "escalation.noted" => "A person took note",
        _ => return kind.replace(['.', '_'], " "),
    };
    known.to_owned()
}

/// Who did it.
pub(super) fn who(actor: &str) -> String {
    match actor.split_once(':') {
        Some(("ops", key)) => format!("ops, key {key}"),
        Some(("platform", id)) => format!("platform {id}"),
        Some(("lab", id)) => format!("lab {id}"),
        _ => actor.to_owned(),
    }
}

/// The evidence of an entry, as names and texts; nothing of what is null.
pub(super) fn detail(event: &serde_json::Value) -> Vec<(String, String)> {
    let Some(map) = event.as_object() else { return Vec::new() };
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    map.iter()
        .filter(|(_, value)| !value.is_null() && value.as_str() != Some(""))
        .map(|(name, value)| (name.replace('_', " "), text(value)))
        .collect()
}

/// An entry of a time line.
pub(super) struct Entry {
    pub(super) seq: i64,
    pub(super) iso: String,
    pub(super) utc: String,
    pub(super) what: String,
    pub(super) who: String,
    pub(super) about: String,
    /// What is told at once: the reason or the cause.
    pub(super) note: Option<String>,
    pub(super) detail: Vec<(String, String)>,
    pub(super) hash: String,
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        Self {
            seq: event.seq,
            iso: event.at.to_string(),
            utc: event.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            what: happened(&event.kind),
            who: who(&event.actor),
            about: event.subject.clone(),
            note: ["reason", "cause"].iter().find_map(|name| event.detail[*name].as_str().map(str::to_owned)),
            detail: detail(&event.detail),
            hash: event.hash.chars().take(12).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_told_in_words() {
        assert_eq!(happened("order.admitted"), "The order was admitted");
        assert_eq!(happened("lab.gone_away"), "lab gone away");
        assert_eq!(who("ops:abc"), "ops, key abc");
        assert_eq!(who("gateway"), "gateway");
        let told = detail(&json!({"reason": "late", "lab_reference": null, "late_ms": 3, "note": ""}));
        let told: Vec<(&str, &str)> =
            told.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(told, [("late ms", "3"), ("reason", "late")]);
    }
}
