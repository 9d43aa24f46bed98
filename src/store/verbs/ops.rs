//! Reads of the lists that ops look at.

use jiff::Timestamp;

use super::{ids, rows, to_json};
use crate::domain::ids::{BatchId, EscalationId, OrderId, StopId, TransferId};
use crate::domain::stop::StopState;
use crate::store::session::{Arg, Row, Session, listed};
use crate::store::types::{EscalationRow, TransferOrders, TransferPage, TransferRow};
use crate::store::{Error, Result};

/// A place in a list that is sorted by when things are due: after this instant, and of those due then after this.
pub(super) type Place<'a, T> = (Timestamp, Option<&'a T>);

/// Stops of all labs that wait.
pub(super) async fn stops<S: Session>(
    s: &mut S,
    state: Option<StopState>,
    (at, last): Place<'_, StopId>,
    limit: i64,
) -> Result<Vec<Row>> {
    let state = state.map_or(0, StopState::code);
    let last = last.map_or("", StopId::as_str);
    s.fetch(s.sql().ops.stop_urgent, &[state.into(), at.into(), last.into(), limit.into()]).await
}

/// Open escalations of a lab, or of all.
pub(super) async fn escalations<S: Session>(
    s: &mut S,
    lab: &str,
    (at, last): Place<'_, EscalationId>,
    limit: i64,
) -> Result<Vec<EscalationRow>> {
    let last = last.map_or("", EscalationId::as_str);
    let args = [lab.into(), at.into(), last.into(), limit.into()];
    s.fetch(s.sql().ops.escalation_urgent, &args).await?.into_iter().map(rows::escalation).collect()
}

/// How many orders wait in a batch that is locked.
pub(super) async fn waiting<S: Session>(s: &mut S, batch: &BatchId) -> Result<i64> {
    match s.fetch(s.sql().ops.batch_waiting, &[batch.as_str().into()]).await?.pop() {
        Some(mut row) => row.int(),
        None => Ok(0),
    }
}

/// Some transfers of a batch, and how many it has.
pub(in crate::store) async fn transfer_page<S: Session>(
    s: &mut S,
    batch: &BatchId,
    after: Option<&TransferId>,
    limit: i64,
) -> Result<TransferPage> {
    let all = match s.fetch(s.sql().ops.transfer_count, &[batch.as_str().into()]).await?.pop() {
        Some(mut row) => row.int()?,
        None => 0,
    };
    let after = after.map_or("", TransferId::as_str);
    let args = [batch.as_str().into(), after.into(), limit.into()];
    let found = s.fetch(s.sql().ops.transfer_page, &args).await?.into_iter().map(|row| {
        let mut row = row.of("transfers");
        let transfer = rows::transfer(&mut row)?;
        let (key, sha256, orders) = (row.text()?, row.text()?, row.int()?);
        Ok(TransferRow { transfer, key, sha256, orders: usize::try_from(orders).unwrap_or(0) })
    });
    Ok(TransferPage { rows: found.collect::<Result<_>>()?, all })
}

/// How many orders transfers have, and the first of them.
pub(in crate::store) async fn transfer_orders<S: Session>(
    s: &mut S,
    transfers: &[&str],
    limit: i64,
) -> Result<Vec<TransferOrders>> {
    if transfers.is_empty() {
        return Ok(Vec::new());
    }
    let transfers = to_json(&ids(transfers.iter().copied()))?;
    let args = [Arg::Text(&transfers), limit.into()];
    let found = s.fetch(s.sql().ops.transfer_orders, &args).await?;
    found
        .into_iter()
        .map(|row| {
            let mut row = row.of("transfers");
            let (transfer, all) = (row.parsed(TransferId::parse)?, row.int()?);
            let first = listed(row.opt_text()?)?.into_iter().map(|row| {
                let mut row = row.of("orders");
                Ok::<_, Error>((row.parsed(OrderId::parse)?, row.text()?))
            });
            Ok(TransferOrders { transfer, all, first: first.collect::<Result<_>>()? })
        })
        .collect()
}
