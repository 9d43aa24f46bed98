//! What is answered about orders, windows and stops: explicit shapes, never rows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::approvals::ApprovalAnswer;
use super::extras::{AddressChangeAnswer, HoldAnswer, ReplacementLink};
use crate::api::problem::{Answer, Problem};
use crate::domain::batch::BatchFacts;
use crate::domain::ids::{BatchId, EscalationId, OrderId, PlatformId, StopId};
use crate::domain::lines::StopTerms;
use crate::domain::order::{OrderFacts, OrderState, Stage, Submission};
use crate::domain::stop::{AskedBy, Evidence, StopFacts, StopState};
use crate::domain::verdict::Verdict;
use crate::store::{EscalationRow, Piece, ReportRow};

/// The window that an order joined.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct WindowAnswer {
    /// The batch of the window.
    batch: BatchId,
    /// True for an order that goes alone.
    direct: bool,
    /// When the window opened.
    #[schema(value_type = String, format = DateTime)]
    opens_at: Timestamp,
    /// The cutoff. Until when an order can be stopped for certain, its verdict says: nearly always until then,
    /// but a window that promises nothing may close before, when it is full.
    #[schema(value_type = String, format = DateTime)]
    closes_at: Timestamp,
    /// The cutoff as the production region's clocks show it.
    #[schema(example = "2026-11-22T00:00:00+02:00[Europe/Helsinki]")]
    closes_at_local: String,
    /// The local date of production.
    #[schema(format = Date)]
    production_date: String,
    /// The calendar's rule and the configured time.
    #[schema(example = "regular 24:00")]
    rule: String,
    /// The IANA name of the region's zone.
    time_zone: String,
    /// The release of the zone data that the instant was computed with.
    #[schema(example = "2026f")]
    tzdata: String,
}

impl From<&BatchFacts> for WindowAnswer {
    fn from(batch: &BatchFacts) -> Self {
        Self {
            batch: batch.id.clone(),
            direct: batch.direct,
            opens_at: batch.opens_at,
            closes_at: batch.closes_at,
            closes_at_local: batch.closes_at_local.clone(),
            production_date: batch.production_date.clone(),
            rule: batch.rule.clone(),
            time_zone: batch.time_zone.clone(),
            tzdata: batch.tzdata.clone(),
        }
    }
}

/// How a stop stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct StopAnswer {
    /// Its id.
    id: StopId,
    /// The order.
    order: OrderId,
    /// How it stands.
    state: StopState,
    /// What the state rests on; null while it is pending.
    evidence: Option<Evidence>,
    /// Why it was asked.
    reason: String,
    /// More about why.
    comment: Option<String>,
    /// Who asked.
    asked_by: AskedBy,
    /// When the request's head arrived.
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// When an answer is due: by then it is decided, or a person takes it. Null once it is decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    answer_due_at: Option<Timestamp>,
    /// The same on the clocks of the region that prints, where the lab's contact hours decide it.
    #[schema(example = "2026-11-23T08:30:00+02:00[Europe/Helsinki]")]
    answer_due_local: Option<String>,
    /// Why it is due then: `contact_hours` and the hours; null where `answers_within` counts by the clock.
    #[schema(example = "contact_hours mon-fri 08:00-16:00")]
    answer_due_rule: Option<String>,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    /// When the lab acknowledged that it heard.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
    /// The lab's or the person's words.
    answer: Option<String>,
    /// The lines that it names; null: the whole order.
    #[schema(required = true)]
    items: Option<Vec<String>>,
    /// Who asked, by a name or an id of the platform's own.
    #[schema(required = true)]
    requested_by: Option<String>,
    /// What it brings, as it was told when it was asked: a later change of policy does not change it. Null if it was
    /// too late, because then nothing changes.
    #[schema(required = true)]
    consequences: Option<StopTerms>,
}

impl From<&StopFacts> for StopAnswer {
    fn from(stop: &StopFacts) -> Self {
        let open = !stop.state.is_decided();
        let (answer_due_local, answer_due_rule) = stop.deadline_why.clone().filter(|_| open).unzip();
        Self {
            answer_due_local,
            answer_due_rule,
            id: stop.id.clone(),
            order: stop.order.clone(),
            state: stop.state,
            evidence: stop.evidence,
            reason: stop.reason.clone(),
            comment: stop.comment.clone(),
            asked_by: stop.asked_by,
            asked_at: stop.asked_at,
            answer_due_at: open.then_some(stop.deadline_at),
            decided_at: stop.decided_at,
            delivered_at: stop.delivered_at,
            answer: stop.answer.clone(),
            items: stop.items.clone(),
            requested_by: stop.requested_by.clone(),
            consequences: stop.brings().cloned(),
        }
    }
}

/// What the lab reported.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ReportAnswer {
    /// How far the order was.
    stage: Stage,
    /// The lab's own time of it; null if it told none.
    #[schema(value_type = Option<String>, format = DateTime)]
    reported_at: Option<Timestamp>,
    /// When the report came.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// The lab's reference, such as a tracking number.
    reference: Option<String>,
    /// True if it contradicts a stop that had been granted.
    contradicts: bool,
}

impl From<&ReportRow> for ReportAnswer {
    fn from(row: &ReportRow) -> Self {
        Self {
            stage: row.stage,
            reported_at: row.reported_at,
            received_at: row.received_at,
            reference: Some(row.reference.clone()).filter(|text| !text.is_empty()),
            contradicts: row.contrary,
        }
    }
}

/// Two pieces of evidence that contradict each other. What was told stays told; a person was called.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Contradiction {
    /// The escalation.
    escalation: EscalationId,
    /// `shipped_anyway`: it was told stopped, and the lab makes it; `contradiction`: anything else.
    kind: String,
    /// What happened.
    cause: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    /// When a person took note of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
    /// What was told, and what contradicts it, as the changelog has them.
    evidence: Vec<Piece>,
}

impl From<EscalationRow> for Contradiction {
    fn from(row: EscalationRow) -> Self {
        Self {
            escalation: row.id,
            kind: row.kind,
            cause: row.cause,
            opened_at: row.opened_at,
            resolved_at: row.resolved_at,
            evidence: row.evidence,
        }
    }
}

/// What the gateway adds to a submission.
#[derive(Serialize)]
struct Added<'a> {
    id: &'a OrderId,
    platform: &'a PlatformId,
    state: OrderState,
    version: i64,
    admitted_at: Timestamp,
    window: Option<WindowAnswer>,
    verdict: &'a Verdict,
    stop: Option<StopAnswer>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    lines_out: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holds: Vec<HoldAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ApprovalAnswer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    line_approvals: Vec<ApprovalAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<ReplacementLink>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<ReplacementLink>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_change: Option<AddressChangeAnswer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reports: Vec<ReportAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
}

/// An order: what was submitted, and what the gateway adds.
// Only described by this; written by `order` below, which leaves the stored document as it is.
#[derive(Serialize, ToSchema)]
pub(super) struct OrderAnswer {
    /// Its id.
    id: OrderId,
    /// Whose it is.
    platform: PlatformId,
    /// Its state.
    state: OrderState,
    /// Counts every visible change; also the `ETag`.
    version: i64,
    /// When it was admitted.
    #[schema(value_type = String, format = DateTime)]
    admitted_at: Timestamp,
    /// The window that it joined; null while it is in none.
    #[schema(required = true)]
    window: Option<WindowAnswer>,
    /// Whether it can still be stopped.
    verdict: Verdict,
    /// The stop, if one was asked.
    #[schema(required = true)]
    stop: Option<StopAnswer>,
    /// The lines that are stopped while the rest of the order goes on; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    lines_out: Vec<String>,
    /// What keeps it out of its window, oldest first; left out where nothing does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    holds: Vec<HoldAnswer>,
    /// The customer's stop that the merchant decides about, or has decided; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ApprovalAnswer>,
    /// The same of stops that name lines, oldest first; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    line_approvals: Vec<ApprovalAnswer>,
    /// The order that this one replaces; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<ReplacementLink>,
    /// The order that replaces this one; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<ReplacementLink>,
    /// The last other shipping address that its lab was asked for, once the lab had it; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    address_change: Option<AddressChangeAnswer>,
    /// What the lab reported, as it came; only where one order is read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    reports: Vec<ReportAnswer>,
    /// What was submitted. `region` is always there.
    #[serde(flatten)]
    submission: Submission,
}

/// Writes an order as JSON: the stored document as it is, with what the gateway adds in front.
pub(super) fn order(facts: &OrderFacts, verdict: &Verdict) -> Answer<String> {
    order_with(facts, verdict, &[])
}

/// The same, with what the lab reported.
pub(super) fn order_with(facts: &OrderFacts, verdict: &Verdict, reports: &[ReportRow]) -> Answer<String> {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow, default)]
        region: Option<&'a RawValue>,
    }
    let corrupt = |_| Problem::unexpected("a stored document is no order");
    let peek: Peek<'_> = serde_json::from_str(&facts.document).map_err(corrupt)?;
    let added = Added {
        id: &facts.id,
        platform: &facts.platform,
        state: facts.state(),
        version: facts.version,
        admitted_at: facts.admitted_at,
        window: facts.batch.as_ref().map(WindowAnswer::from),
        verdict,
        stop: facts.stop.as_ref().map(StopAnswer::from),
        lines_out: &facts.lines_out,
        holds: facts.extras.holds.iter().map(HoldAnswer::from).collect(),
        approval: facts.extras.approval.as_ref().map(ApprovalAnswer::from),
        line_approvals: facts.extras.line_approvals.iter().map(ApprovalAnswer::from).collect(),
        replaces: facts.extras.replaces.as_ref().map(ReplacementLink::from),
        replaced_by: facts.extras.replaced_by.as_ref().map(ReplacementLink::from),
        address_change: facts.extras.address_change.as_ref().map(AddressChangeAnswer::from),
        reports: reports.iter().map(ReportAnswer::from).collect(),
        region: peek.region.is_none().then(|| facts.region.as_str()),
    };
    let mut text = serde_json::to_string(&added).map_err(corrupt)?;
    // Both are objects with at least one member: `{…}` and `{…}` become `{…,…}`.
    text.pop();
    text.push(',');
    text.push_str(facts.document.trim_start().trim_start_matches('{'));
    Ok(text)
}
