//! What is told over gRPC about orders, windows, stops, verdicts and events: the same facts as over HTTP.

use jiff::Timestamp;

use crate::api::orders::Outcome;
use crate::api::problem::{Answer, Problem};
use crate::domain::address::{AddressEvidence, AddressFacts, AddressState};
use crate::domain::batch::BatchFacts;
use crate::domain::calendar;
use crate::domain::downloads::{DownloadEvidence, DownloadState, DownloadVerdict};
use crate::domain::extras::{ApprovalFacts, ApprovalState, HoldFacts, HoldKind, Link, LinkState};
use crate::domain::lab::Contact;
use crate::domain::lines::{LineReason, LineVerdict, Withdrawal};
use crate::domain::order::{self, Handing, ItemKind, OrderFacts, OrderState, Payment, Stage};
use crate::domain::platform::{Refund, ServiceFee};
use crate::domain::policy::{PolicySource, PolicyValue};
use crate::domain::stop::{AskedBy, Evidence, StopFacts, StopState};
use crate::domain::verdict::{self, CanStop, Changeable, Channel, DecidedBy, Reason};
use crate::proto;
use crate::store::{EscalationRow, Piece, ReportRow, Sighting};

/// An instant.
pub(super) fn at(at: Timestamp) -> prost_types::Timestamp {
    // Never negative: an instant before 1970 has its whole second below it.
    let micros = at.as_microsecond();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A text that may be left out.
fn text(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

/// Writes one enumeration of the house as that of the protocol. The compiler sees that none is missing.
macro_rules! same {
    ($(fn $name:ident($from:ident -> $to:ident) { $($word:ident)* })*) => {$(
        fn $name(word: $from) -> proto::$to {
            match word { $($from::$word => proto::$to::$word,)* }
        }
    )*};
}

same! {
    fn handing(Handing -> Handing) { Batch Direct }
    fn payment(Payment -> Payment) { Paid Awaiting }
    fn state(OrderState -> OrderState) {
        AwaitingPayment OnHold InReview InBatch Closed Sending Unknown AtLab InProduction Printed Shipped
        WithAPerson Stopped
    }
    fn asked_by(AskedBy -> AskedBy) { Customer Merchant Support System }
    fn stop_state(StopState -> StopState) { Pending Stopped StoppedInPart TooLate WithAPerson }
    fn evidence(Evidence -> Evidence) {
        NeverHanded LabRemoved PersonConfirmed LabRefused InProduction Shipped FinalOnReceipt NoAnswer NoChannel
    }
    fn can_stop(CanStop -> CanStop) { Yes AskLab AskPerson NotYetKnown No }
    fn reason(Reason -> VerdictReason) {
        AwaitingPayment OnHold InReview InOpenBatch WaitingForTransfer BeingTransferred TransferUnclear
        TransferWithAPerson AtLab ImmediateProduction LabNeverTakesStops InProduction Shipped StopPending
        StopWithAPerson AlreadyStopped StoppedInPart RefusedByLab TooLate StopAwaitsMerchant Replacing
    }
    fn decided_by(DecidedBy -> DecidedBy) { Gateway Lab Person Nobody }
    fn channel(Channel -> Channel) { Gateway Contact }
    fn refund(Refund -> Refund) { Automatic ByMerchant Outside }
    fn service_fee(ServiceFee -> ServiceFee) { Kept Waived }
    fn changeable(Changeable -> Changeable) { ShippingAddress BillingAddress Items }
    fn approval_state(ApprovalState -> ApprovalState) { Open Approved Declined Overtaken }
    fn link_state(LinkState -> LinkState) { Waiting Released Abandoned Withdrawn }
    fn hold_kind(HoldKind -> HoldKind) { Hold Review Approval Replacing }
    fn stage(Stage -> Stage) { Received InProduction Printed Shipped }
    fn line_reason(LineReason -> LineReason) { AsOrder AlreadyStopped StopPending WholeOrderOnly AwaitsMerchant }
    fn withdrawal(Withdrawal -> Withdrawal) { Applies UntilMade NonePersonalised UntilFetched NoneFetched }
    fn download_state(DownloadState -> DownloadState) { Live Revoking Revoked Fetched WithAPerson }
    fn download_evidence(DownloadEvidence -> DownloadEvidence) {
        PlatformAnswered PlatformReported PersonConfirmed NoAnswer NoCallback
    }
    fn address_state(AddressState -> AddressState) { Asked Taken Refused WithAPerson }
    fn address_evidence(AddressEvidence -> AddressEvidence) {
        LabTook LabRefused InProduction Shipped OrderStopped PersonConfirmed NoAnswer
    }
    fn policy_source(PolicySource -> PolicySource) { Default Platform Lab Calendar }
}

/// An order with the verdict on it, and what its lab reported where that is wanted.
pub(super) fn order(
    facts: &OrderFacts,
    verdict: &verdict::Verdict,
    reports: &[ReportRow],
) -> Answer<proto::Order> {
    let stored: order::Submission = serde_json::from_str(&facts.document)
        .map_err(|_| Problem::unexpected("a stored document is no order"))?;
    let (lab, region) = (facts.lab.to_string(), facts.region.to_string());
    let submission = proto::Submission { lab, region, ..submission(&stored) };
    Ok(proto::Order {
        id: facts.id.to_string(),
        platform: facts.platform.to_string(),
        state: state(facts.state()).into(),
        version: facts.version,
        admitted_at: Some(at(facts.admitted_at)),
        window: facts.batch.as_ref().map(window),
        verdict: Some(self::verdict(verdict)),
        stop: facts.stop.as_ref().map(stop),
        submission: Some(submission),
        reports: reports.iter().map(report).collect(),
        lines_out: facts.lines_out.clone(),
        holds: facts.extras.holds.iter().map(hold).collect(),
        approval: facts.extras.approval.as_ref().map(approval),
        line_approvals: facts.extras.line_approvals.iter().map(approval).collect(),
        replaces: facts.extras.replaces.as_ref().map(link),
        replaced_by: facts.extras.replaced_by.as_ref().map(link),
        address_change: facts.extras.address_change.as_ref().map(address_change),
    })
}

fn address_change(facts: &AddressFacts) -> proto::AddressChange {
    proto::AddressChange {
        id: facts.id.to_string(),
        state: address_state(facts.state).into(),
        evidence: facts.evidence.map_or(0, |evidence| address_evidence(evidence).into()),
        reason: facts.reason.clone(),
        asked_at: Some(at(facts.asked_at)),
        answer_due_at: facts.state.is_open().then(|| at(facts.deadline_at)),
        decided_at: facts.decided_at.map(at),
        answer: facts.answer.clone().unwrap_or_default(),
        contradicted_at: facts.contradicted_at.map(at),
    }
}

fn hold(hold: &HoldFacts) -> proto::Hold {
    proto::Hold {
        id: hold.id.to_string(),
        kind: hold_kind(hold.kind).into(),
        owner: hold.owner.clone(),
        reason: hold.reason.clone(),
        since: Some(at(hold.put_at)),
        put_by: hold.put_by.clone(),
    }
}

fn link(link: &Link) -> proto::Link {
    proto::Link { order: link.order.to_string(), state: link_state(link.state).into() }
}

/// A customer's stop that the merchant decides about.
pub(super) fn approval(approval: &ApprovalFacts) -> proto::Approval {
    let open = approval.state == ApprovalState::Open;
    proto::Approval {
        id: approval.id.to_string(),
        order: approval.order.to_string(),
        state: approval_state(approval.state).into(),
        keeps_order: approval.held,
        reason: approval.reason.clone(),
        comment: text(approval.comment.as_ref()),
        asked_at: Some(at(approval.asked_at)),
        due_at: open.then(|| at(approval.due_at)),
        decided_at: approval.decided_at.map(at),
        decided_by: text(approval.decided_by.as_ref()),
        decision_reason: text(approval.why.as_ref()),
        items: approval.items.clone().unwrap_or_default(),
    }
}

fn report(report: &ReportRow) -> proto::Report {
    proto::Report {
        stage: stage(report.stage).into(),
        reported_at: report.reported_at.map(at),
        received_at: Some(at(report.received_at)),
        reference: report.reference.clone(),
        contradicts: report.contrary,
    }
}

/// What contradicts what was told.
pub(super) fn contradiction(row: EscalationRow) -> proto::Contradiction {
    let piece = |piece: Piece| proto::Piece {
        at: Some(at(piece.at)),
        kind: piece.kind,
        actor: piece.actor,
        detail: piece.detail.to_string(),
    };
    proto::Contradiction {
        escalation: row.id.to_string(),
        kind: row.kind,
        cause: row.cause,
        opened_at: Some(at(row.opened_at)),
        resolved_at: row.resolved_at.map(at),
        evidence: row.evidence.into_iter().map(piece).collect(),
    }
}

/// A submission.
pub(super) fn submission(order: &order::Submission) -> proto::Submission {
    proto::Submission {
        reference: order.reference.clone(),
        lab: order.lab.as_ref().map(ToString::to_string).unwrap_or_default(),
        region: order.region.as_ref().map(ToString::to_string).unwrap_or_default(),
        need: order.need.as_ref().map(|need| proto::Need { country: text(need.country.as_ref()) }),
        service_level: order.service_level.as_ref().map(ToString::to_string).unwrap_or_default(),
        transfer: handing(order.transfer).into(),
        payment: payment(order.payment).into(),
        ship_to: order.ship_to.as_ref().map(address),
        bill_to: order.bill_to.as_ref().map(address),
        items: order.items.iter().map(item).collect(),
        customer: order.customer.as_ref().map(|customer| proto::Customer {
            email: text(customer.email.as_ref()),
            language: text(customer.language.as_ref()),
        }),
        metadata: order.metadata.clone(),
        thumbnails: order.thumbnails.iter().map(|(id, picture)| (id.clone(), picture.0.clone())).collect(),
    }
}

fn address(address: &order::Address) -> proto::Address {
    proto::Address {
        name: address.name.clone(),
        line1: address.line1.clone(),
        line2: text(address.line2.as_ref()),
        postal_code: text(address.postal_code.as_ref()),
        city: address.city.clone(),
        state: text(address.state.as_ref()),
        country: address.country.clone(),
        email: text(address.email.as_ref()),
        phone: text(address.phone.as_ref()),
    }
}

fn item(item: &order::Item) -> proto::Item {
    let file = |file: &order::File| proto::File { url: file.url.clone(), sha256: text(file.sha256.as_ref()) };
    proto::Item {
        id: item.id.clone(),
        sku: item.sku.clone(),
        quantity: item.quantity,
        personalised: item.personalised,
        files: item.files.iter().map(file).collect(),
        options: item.options.clone(),
        download: item.kind == ItemKind::Download,
    }
}

fn window(batch: &BatchFacts) -> proto::Window {
    proto::Window {
        batch: batch.id.to_string(),
        direct: batch.direct,
        opens_at: Some(at(batch.opens_at)),
        closes_at: Some(at(batch.closes_at)),
        closes_at_local: batch.closes_at_local.clone(),
        production_date: batch.production_date.clone(),
        rule: batch.rule.clone(),
        time_zone: batch.time_zone.clone(),
        tzdata: batch.tzdata.clone(),
    }
}

/// How a stop stands.
pub(super) fn stop(stop: &StopFacts) -> proto::Stop {
    let open = crate::api::stops::is_open(stop);
    let (answer_due_local, answer_due_rule) = stop.deadline_why.clone().filter(|_| open).unwrap_or_default();
    proto::Stop {
        id: stop.id.to_string(),
        order: stop.order.to_string(),
        state: stop_state(stop.state).into(),
        evidence: stop.evidence.map_or(proto::Evidence::Unspecified, evidence).into(),
        reason: stop.reason.clone(),
        comment: text(stop.comment.as_ref()),
        asked_by: asked_by(stop.asked_by).into(),
        asked_at: Some(at(stop.asked_at)),
        answer_due_at: open.then(|| at(stop.deadline_at)),
        answer_due_local,
        answer_due_rule,
        decided_at: stop.decided_at.map(at),
        delivered_at: stop.delivered_at.map(at),
        answer: text(stop.answer.as_ref()),
        items: stop.items.clone().unwrap_or_default(),
        requested_by: text(stop.requested_by.as_ref()),
        consequences: stop.brings().map(|terms| proto::StopTerms {
            refund: refund(terms.refund).into(),
            service_fee: service_fee(terms.service_fee).into(),
            restock: terms.restock.clone(),
            exempt: terms.exempt.clone(),
            reason_offered: terms.reason_offered,
        }),
    }
}

fn line(line: &LineVerdict) -> proto::LineVerdict {
    proto::LineVerdict {
        item: line.item.clone(),
        can_stop: can_stop(line.can_stop).into(),
        reason: line_reason(line.reason).into(),
        restock: line.restock,
        withdrawal: withdrawal(line.withdrawal).into(),
    }
}

/// How a download stands.
pub(super) fn download(download: &DownloadVerdict) -> proto::DownloadVerdict {
    proto::DownloadVerdict {
        item: download.item.clone(),
        state: download_state(download.state).into(),
        evidence: download.evidence.map_or(proto::DownloadEvidence::Unspecified, download_evidence).into(),
        can_revoke: download.can_revoke,
        withdrawal: withdrawal(download.withdrawal).into(),
        asked_at: download.asked_at.map(at),
        answer_due_at: download.answer_due_at.map(at),
        decided_at: download.decided_at.map(at),
        contradicted_at: download.contradicted_at.map(at),
    }
}

fn policy(value: &PolicyValue) -> proto::PolicyValue {
    proto::PolicyValue {
        rule: value.rule.to_string(),
        value: value.value.to_string(),
        source: policy_source(value.source).into(),
    }
}

/// A verdict.
pub(super) fn verdict(verdict: &verdict::Verdict) -> proto::Verdict {
    let contact = |contact: &Contact| proto::Contact {
        email: text(contact.email.as_ref()),
        phone: text(contact.phone.as_ref()),
        hours: text(contact.hours.as_ref()),
        second_email: text(contact.second_email.as_ref()),
    };
    proto::Verdict {
        order: verdict.order.to_string(),
        as_of: Some(at(verdict.as_of)),
        can_stop: can_stop(verdict.can_stop).into(),
        reason: reason(verdict.reason).into(),
        until: verdict.until.map(at),
        until_local: text(verdict.until_local.as_ref()),
        decided_by: decided_by(verdict.decided_by).into(),
        next: verdict.next.as_ref().map(|next| proto::NextStep {
            channel: channel(next.channel).into(),
            contact: next.contact.as_ref().map(contact),
            answer_due_at: Some(at(next.answer_due_at)),
            answer_due_local: text(next.answer_due_local.as_ref()),
            answer_due_rule: text(next.answer_due_rule.as_ref()),
        }),
        odds: verdict.odds.map(|odds| proto::Odds {
            asked: odds.asked,
            stopped: odds.stopped,
            low: odds.low,
            high: odds.high,
        }),
        consequences: Some(proto::Consequences {
            refund: refund(verdict.consequences.refund).into(),
            service_fee: service_fee(verdict.consequences.service_fee).into(),
            restock: verdict.consequences.restock,
            personalised: verdict.consequences.personalised,
        }),
        can_change: verdict.can_change.iter().map(|what| changeable(*what).into()).collect(),
        lines: verdict.lines.iter().map(line).collect(),
        downloads: verdict.downloads.iter().map(download).collect(),
        policy: verdict.policy.iter().map(policy).collect(),
    }
}

/// A cutoff.
pub(super) fn cutoff(cutoff: &calendar::Cutoff) -> proto::Cutoff {
    let shifted = match cutoff.shifted {
        calendar::Shift::None => proto::Shift::None,
        calendar::Shift::Gap => proto::Shift::Gap,
        calendar::Shift::Overlap => proto::Shift::Overlap,
    };
    proto::Cutoff {
        closes_at: Some(at(cutoff.at)),
        local: cutoff.local.clone(),
        production_date: cutoff.production_date.to_string(),
        rule: cutoff.rule.to_string(),
        shifted: shifted.into(),
    }
}

/// A window that closes at another instant than the calendar says.
pub(super) fn moved(batch: &BatchFacts) -> proto::MovedWindow {
    proto::MovedWindow {
        batch: batch.id.to_string(),
        closes_at: Some(at(batch.closes_at)),
        closes_at_local: batch.closes_at_local.clone(),
        production_date: batch.production_date.clone(),
        calendar_at: Some(at(batch.window_at)),
    }
}

/// An entry of the log.
pub(super) fn event(sighting: Sighting) -> proto::Event {
    let Sighting { event, orders } = sighting;
    proto::Event {
        seq: event.seq,
        at: Some(at(event.at)),
        subject: event.subject,
        lab: event.lab,
        kind: event.kind,
        actor: event.actor,
        detail: event.detail.to_string(),
        previous: event.previous,
        hash: event.hash,
        orders: orders.into_iter().map(|order| order.order.into()).collect(),
    }
}

/// What became of one order of many.
pub(super) fn outcome(outcome: Outcome) -> proto::gateway_service_submit_orders_response::Outcome {
    use proto::gateway_service_submit_orders_response::Outcome as Told;
    match outcome {
        Outcome::New(facts) => Told::Admitted(proto::Admitted {
            id: facts.id.to_string(),
            created: true,
            state: state(facts.state()).into(),
            closes_at: facts.batch.as_ref().map(|batch| at(batch.closes_at)),
        }),
        Outcome::Same(id) => Told::Admitted(proto::Admitted {
            id: id.into(),
            created: false,
            state: proto::OrderState::Unspecified.into(),
            closes_at: None,
        }),
        Outcome::Refused(problem) => {
            Told::Problem(super::status::problem(super::submission::placed(problem)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_their_microseconds_before_1970_too() {
        let told = |micros| {
            let told = at(Timestamp::from_microsecond(micros).unwrap());
            (told.seconds, told.nanos)
        };
        assert_eq!(told(1_700_000_000_123_456), (1_700_000_000, 123_456_000));
        assert_eq!(told(-1), (-1, 999_999_000));
        assert_eq!(told(0), (0, 0));
    }
}
