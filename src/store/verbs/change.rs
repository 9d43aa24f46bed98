//! Changes of an order other than stopping it: all of them only while nothing has left the house.

use serde_json::{Value, json};

use super::admit::join;
use super::stop::{self, Standing};
use super::{Trail, ids, rows, rows_fetch, rows_run_all};
use crate::domain::batch::BatchPhase;
use crate::domain::order::{Held, OrderFacts, OrderState};
use crate::domain::stop::{Evidence, StopState};
use crate::store::session::Session;
use crate::store::types::{Change, ChangeKind, Changed, Written};
use crate::store::{Error, Result};

/// The row that `standing_update` takes.
fn standing_row(now: &Standing, was: &str, head: &str) -> Value {
    json!({
        "id": now.id, "was": was, "head": head, "batch": now.batch, "transfer": now.transfer,
        "paid": i64::from(now.paid), "held": now.held.code(), "stage": now.stage.code(),
        "stop": now.stop.map_or(0, StopState::code), "version": now.version,
    })
}

/// Whether the change is allowed in a state. The states are those of `stops.md`.
fn allowed(kind: &ChangeKind, facts: &OrderFacts) -> bool {
    use OrderState::{AwaitingPayment, InBatch, InReview, OnHold, Stopped};
    let state = facts.state();
    let in_house = matches!(state, AwaitingPayment | OnHold | InReview | InBatch)
        || (state == OrderState::Closed && facts.transfer.is_none());
    match kind {
        ChangeKind::Pay => matches!(state, AwaitingPayment | OnHold | InReview),
        ChangeKind::Hold | ChangeKind::Review | ChangeKind::Document(_) => in_house,
        ChangeKind::Release => matches!(state, OnHold | InReview | AwaitingPayment),
        ChangeKind::Reinstate => {
            state == Stopped
                && facts.transfer.is_none()
                && facts.stop.as_ref().is_some_and(|stop| stop.evidence == Some(Evidence::NeverHanded))
        }
    }
}

/// Changes one order.
pub(super) async fn change<S: Session>(s: &mut S, trail: &mut Trail, item: &Change) -> Result<Written> {
    let changed = |changed| Ok(Written::Changed(changed));
    let Some(mut standing) =
        stop::lock(s, &[item.order.as_str()]).await?.pop().filter(|found| found.within(&item.scope))
    else {
        return changed(Changed::NotFound);
    };
    let row = rows_fetch(s, s.sql().order_by_id, &ids([item.order.as_str()])).await?.pop();
    let facts = rows::order(row.ok_or_else(|| Error::Corrupt {
        table: "orders",
        what: "a standing without its order".to_owned(),
    })?)?;
    if item.if_version.is_some_and(|version| version != facts.version) {
        return changed(Changed::Version(facts.version));
    }
    let done_before = match &item.kind {
        ChangeKind::Pay => standing.paid && standing.stop.is_none(),
        ChangeKind::Hold => standing.held == Held::Hold,
        ChangeKind::Review => standing.held == Held::Review,
        ChangeKind::Release => {
            let waits = standing.batch.is_some() || !standing.paid;
            standing.held == Held::No && standing.stop.is_none() && waits
        }
        ChangeKind::Document(document) => *document == facts.document,
        ChangeKind::Reinstate => false,
    };
    if done_before {
        return changed(Changed::Unchanged);
    }
    if !allowed(&item.kind, &facts) {
        return changed(Changed::NotAllowed(facts.state()));
    }
    let was = standing.head.clone();
    match &item.kind {
        ChangeKind::Pay => standing.paid = true,
        ChangeKind::Hold => standing.held = Held::Hold,
        ChangeKind::Review => standing.held = Held::Review,
        ChangeKind::Release => standing.held = Held::No,
        ChangeKind::Reinstate => {
            standing.held = Held::No;
            standing.stop = None;
        }
        ChangeKind::Document(_) => {}
    }
    let mut batch_version = facts.batch.as_ref().map_or(0, |batch| batch.version);
    let joins = matches!(item.kind, ChangeKind::Pay | ChangeKind::Release | ChangeKind::Reinstate);
    if matches!(item.kind, ChangeKind::Hold | ChangeKind::Review) {
        standing.batch = None;
        batch_version = 0;
    } else if joins && standing.paid && standing.held == Held::No {
        let joining = item
            .join
            .as_ref()
            .ok_or_else(|| Error::Unavailable("a change that joins came without a window".to_owned()))?;
        let batch = join(s, trail, item.at, &[joining]).await?.pop();
        let Some(batch) = batch.filter(|batch| batch.phase == BatchPhase::Open) else {
            return changed(Changed::WindowClosed);
        };
        batch_version = batch.version;
        standing.batch = Some(batch.id.to_string());
    } else if joins {
        standing.batch = None;
        batch_version = 0;
    }
    // Nothing was written before here: a window that had closed leaves the order as it was.
    match &item.kind {
        ChangeKind::Reinstate => {
            s.run(s.sql().stop_supersede, &[item.order.as_str().into(), item.at.into()]).await?;
        }
        ChangeKind::Document(document) => {
            s.run(s.sql().order_document, &[item.order.as_str().into(), document.into()]).await?;
        }
        _ => {}
    }
    // What everybody sees as the version is the sum with the batch's and the transfer's: it must only grow.
    let transfer_version = facts.transfer.as_ref().map_or(0, |transfer| transfer.version);
    standing.version = facts.version + 1 - batch_version - transfer_version;
    let kind = match item.kind {
        ChangeKind::Pay => "order.paid",
        ChangeKind::Hold => "order.held",
        ChangeKind::Review => "order.in_review",
        ChangeKind::Release => "order.released",
        ChangeKind::Reinstate => "order.reinstated",
        ChangeKind::Document(_) => "order.changed",
    };
    let detail = json!({"reason": item.reason, "batch": standing.batch});
    let head = trail.add(&was, item.at, (item.order.as_str(), &standing.lab), kind, &item.actor, &detail);
    rows_run_all(s, s.sql().standing_update, &[standing_row(&standing, &was, &head)], "standings").await?;
    changed(Changed::Done)
}
