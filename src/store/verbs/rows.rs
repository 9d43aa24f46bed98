//! Rows to facts, in the order of the column lists in `sql`.

use crate::domain::batch::{BatchFacts, BatchPhase, TransferFacts, TransferPhase};
use crate::domain::event::Event;
use crate::domain::extras::Extras;
use crate::domain::ids::{BatchId, EscalationId, LabId, OrderId, PlatformId, RegionId, StopId, TransferId};
use crate::domain::order::{Held, OrderFacts, Stage};
use crate::domain::stop::{AskedBy, Evidence, StopFacts, StopState};
use crate::store::Result;
use crate::store::dialect::{BATCH_COLUMNS, STOP_COLUMNS, TRANSFER_COLUMNS};
use crate::store::session::Row;
use crate::store::types::EscalationRow;

pub(super) fn batch(row: &mut Row) -> Result<BatchFacts> {
    Ok(BatchFacts {
        id: row.parsed(BatchId::parse)?,
        lab: row.parsed(LabId::parse)?,
        region: row.parsed(RegionId::parse)?,
        phase: row.coded(BatchPhase::from_code)?,
        direct: row.flag()?,
        opens_at: row.at()?,
        window_at: row.at()?,
        closes_at: row.at()?,
        closes_at_local: row.text()?,
        production_date: row.text()?,
        rule: row.text()?,
        time_zone: row.text()?,
        tzdata: row.text()?,
        closed_at: row.opt_at()?,
        promised: row.flag()?,
        version: row.int()?,
    })
}

pub(super) fn transfer(row: &mut Row) -> Result<TransferFacts> {
    Ok(TransferFacts {
        id: row.parsed(TransferId::parse)?,
        lab: row.parsed(LabId::parse)?,
        batch: row.parsed(BatchId::parse)?,
        phase: row.coded(TransferPhase::from_code)?,
        fence: row.int()?,
        attempts: row.int()?,
        unresolved: row.int()?,
        first_at: row.at()?,
        horizon_at: row.at()?,
        key_until: row.opt_at()?,
        deadline_at: row.at()?,
        next_at: row.at()?,
        handed_at: row.opt_at()?,
        version: row.int()?,
    })
}

/// A transfer that was read to be changed.
#[derive(Debug, Clone)]
pub(super) struct Locked {
    pub(super) facts: TransferFacts,
    pub(super) key: String,
    pub(super) sha256: String,
    pub(super) manifest: Vec<OrderId>,
    pub(super) head: String,
}

pub(super) fn locked(row: Row) -> Result<Locked> {
    let mut row = row.of("transfers");
    let facts = transfer(&mut row)?;
    let key = row.text()?;
    let sha256 = row.text()?;
    let manifest = row.parsed(|text| serde_json::from_str(text))?;
    Ok(Locked { facts, key, sha256, manifest, head: row.text()? })
}

pub(super) fn stop(row: &mut Row) -> Result<StopFacts> {
    Ok(StopFacts {
        id: row.parsed(StopId::parse)?,
        order: row.parsed(OrderId::parse)?,
        state: row.coded(StopState::from_code)?,
        evidence: row.opt_text()?.and_then(|word| Evidence::from_word(&word)),
        reason: row.text()?,
        comment: row.opt_text()?,
        asked_by: match row.text()?.as_str() {
            "customer" => AskedBy::Customer,
            "merchant" => AskedBy::Merchant,
            "support" => AskedBy::Support,
            _ => AskedBy::System,
        },
        asked_at: row.at()?,
        handed_at: row.opt_at()?,
        deadline_at: row.at()?,
        deadline_why: row.opt_text()?.zip(row.opt_text()?),
        next_at: row.at()?,
        attempts: row.int()?,
        delivered_at: row.opt_at()?,
        decided_at: row.opt_at()?,
        answer: row.opt_text()?,
        items: json(row)?,
        requested_by: row.opt_text()?,
        terms: json(row)?,
    })
}

/// A value that may be left out, kept as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &mut Row) -> Result<Option<T>> {
    let Some(text) = row.opt_text()? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| row.corrupt(error.to_string()))
}

/// The lines of an order that are stopped.
pub(super) fn lines(row: &mut Row) -> Result<Vec<String>> {
    Ok(json(row)?.unwrap_or_default())
}

/// An order, and whether more is kept of it: see `extras::fill`.
pub(super) fn order(row: Row) -> Result<(OrderFacts, bool)> {
    let mut row = row.of("orders");
    let mut facts = OrderFacts {
        id: row.parsed(OrderId::parse)?,
        platform: row.parsed(PlatformId::parse)?,
        lab: row.parsed(LabId::parse)?,
        region: row.parsed(RegionId::parse)?,
        reference: row.text()?,
        document: row.text()?,
        admitted_at: row.at()?,
        paid: row.flag()?,
        held: row.coded(Held::from_code)?,
        stage: row.coded(Stage::from_code)?,
        version: row.int()?,
        lines_out: lines(&mut row)?,
        batch: None,
        transfer: None,
        stop: None,
        extras: Extras::default(),
    };
    let more = row.flag()?;
    facts.batch = if row.absent(BATCH_COLUMNS) { None } else { Some(batch(&mut row)?) };
    facts.transfer = if row.absent(TRANSFER_COLUMNS) { None } else { Some(transfer(&mut row)?) };
    facts.stop = if row.absent(STOP_COLUMNS) { None } else { Some(stop(&mut row)?) };
    Ok((facts, more))
}

pub(super) fn event(row: Row) -> Result<Event> {
    let mut row = row.of("events");
    Ok(Event {
        seq: row.int()?,
        at: row.at()?,
        subject: row.text()?,
        lab: row.text()?,
        kind: row.text()?,
        actor: row.text()?,
        detail: row.parsed(|text| serde_json::from_str(text))?,
        previous: row.text()?,
        hash: row.text()?,
    })
}

pub(super) fn escalation(row: Row) -> Result<EscalationRow> {
    let mut row = row.of("escalations");
    Ok(EscalationRow {
        id: row.parsed(EscalationId::parse)?,
        kind: row.text()?,
        subject: row.text()?,
        order: row
            .opt_text()?
            .map(|id| OrderId::parse(&id))
            .transpose()
            .map_err(|fault| row.corrupt(fault.to_string()))?,
        lab: row.parsed(LabId::parse)?,
        cause: row.text()?,
        opened_at: row.at()?,
        due_at: row.at()?,
        resolved_at: row.opt_at()?,
        decision: row.opt_text()?,
        reason: row.opt_text()?,
        resolved_by: row.opt_text()?,
        evidence: row
            .opt_text()?
            .map_or_else(|| Ok(Vec::new()), |text| serde_json::from_str(&text))
            .map_err(|error| row.corrupt(error.to_string()))?,
    })
}
