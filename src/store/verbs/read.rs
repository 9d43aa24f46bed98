//! Reads. They run outside transactions, each on one statement where it can.

use jiff::Timestamp;

pub(in crate::store) use super::addresses::addresses_due;
pub(in crate::store) use super::board::{board, by_reference, scorecard};
pub(in crate::store) use super::bundle::evidence;
pub(in crate::store) use super::callbacks::download_callback;
pub(in crate::store) use super::customer::{customer_keys, link_serial};
pub(in crate::store) use super::downloads::download_next;
pub(in crate::store) use super::mail::{link_key, mail_next, mail_wanted};
pub(in crate::store) use super::ops::{transfer_orders, transfer_page};
use super::{extras, ids, ops, rows, rows_fetch};
use crate::domain::batch::{BatchFacts, BatchPhase};
use crate::domain::event::Event;
use crate::domain::ids::{BatchId, LabId, OrderId, PlatformId, StopId};
use crate::domain::order::{OrderFacts, OrderState};
use crate::domain::stop::StopState;
use crate::store::session::{Arg, Row, Session};
use crate::store::types::{
    BatchFilter, BatchRow, Due, EscalationFilter, EscalationRow, Gauges, KeyRow, LabRow, OddsRow,
    OrderFilter, OrderRef, PlatformRow, Remembered, Scope, StopFilter, TransferRow,
};
use crate::store::{Result, StopRow};

pub(in crate::store) use super::extras::{approval_next, approval_of, list_approvals, to_join};
pub(in crate::store) use super::import::{not_imported, stray_imports};
pub(in crate::store) use super::parts::line_stops;
pub(in crate::store) use super::registry::calendar_serial;
pub(in crate::store) use super::report::{contradictions, reports};
pub(in crate::store) use super::routes::routes;
pub(in crate::store) use super::verify::verify_events;
pub(in crate::store) use super::warnings::{warned, warned_orders, warnings_due};
pub(in crate::store) use super::webhook::{deliveries, webhook, webhooks};

fn within(scope: &Scope, facts: &OrderFacts) -> bool {
    match scope {
        Scope::Ops => true,
        Scope::Platform(id) => facts.platform == *id,
        Scope::Lab(id) => facts.lab == *id,
    }
}

/// The lab that a scope is bound to, or nothing.
fn lab_of(scope: &Scope) -> &str {
    match scope {
        Scope::Lab(id) => id.as_str(),
        _ => "",
    }
}

pub(in crate::store) async fn orders<S: Session>(
    s: &mut S,
    scope: &Scope,
    which: &[OrderRef],
) -> Result<Vec<Option<OrderFacts>>> {
    let mut found = Vec::with_capacity(which.len());
    for order in which {
        let rows = match (order, scope) {
            (OrderRef::Id(id), _) => s.fetch(s.sql().order_one, &[id.as_str().into()]).await?,
            (OrderRef::Reference(reference), Scope::Platform(platform)) => {
                s.fetch(s.sql().order_one_reference, &[platform.as_str().into(), reference.into()]).await?
            }
            (OrderRef::Reference(_), _) => Vec::new(),
        };
        let facts = rows.into_iter().next().map(rows::order).transpose()?;
        let Some((mut facts, more)) = facts.filter(|(facts, _)| within(scope, facts)) else {
            found.push(None);
            continue;
        };
        extras::fill(s, std::slice::from_mut(&mut facts), &[more]).await?;
        found.push(Some(facts));
    }
    Ok(found)
}

pub(in crate::store) async fn list_orders<S: Session>(
    s: &mut S,
    scope: &Scope,
    filter: &OrderFilter,
) -> Result<Vec<OrderFacts>> {
    let mut before = filter.before.as_ref().map_or_else(|| END.to_owned(), OrderId::to_string);
    let lab = filter.lab.as_ref().map_or("", LabId::as_str);
    let lab = if lab.is_empty() { lab_of(scope) } else { lab };
    let region = filter.region.as_ref().map_or("", |region| region.as_str());
    let wanted = usize::try_from(filter.limit.max(1)).unwrap_or(1);
    let page = filter.limit.clamp(1, 200).max(if filter.state.is_some() { 200 } else { 1 });
    let (mut found, mut more) = (Vec::new(), Vec::new());
    'pages: loop {
        let mut args: Vec<Arg<'_>> = vec![(&before).into(), lab.into(), region.into(), page.into()];
        let sql = match (scope, &filter.batch) {
            (_, Some(batch)) => {
                args.push(batch.as_str().into());
                s.sql().order_list_batch
            }
            (Scope::Platform(platform), None) => {
                args.push(platform.as_str().into());
                s.sql().order_list_platform
            }
            _ => s.sql().order_list,
        };
        let rows = s.fetch(sql, &args).await?;
        let count = rows.len() as i64;
        let mut last = None;
        for row in rows {
            let (facts, flagged) = rows::order(row)?;
            last = Some(facts.id.to_string());
            let fits = |state: OrderState| facts.state() == state;
            if within(scope, &facts) && filter.state.is_none_or(fits) {
                found.push(facts);
                more.push(flagged);
                if found.len() == wanted {
                    break 'pages;
                }
            }
        }
        match last {
            Some(last) if count == page => before = last,
            _ => break,
        }
    }
    extras::fill(s, &mut found, &more).await?;
    Ok(found)
}

/// The log of some subjects, oldest first.
pub(in crate::store) async fn log<S: Session>(s: &mut S, subjects: &[&str]) -> Result<Vec<Event>> {
    rows_fetch(s, s.sql().event_of_subjects, &ids(subjects.iter().copied()))
        .await?
        .into_iter()
        .map(rows::event)
        .collect()
}

pub(in crate::store) async fn changelog<S: Session>(
    s: &mut S,
    scope: &Scope,
    order: &OrderId,
) -> Result<Option<Vec<Event>>> {
    let Some(facts) = orders(s, scope, &[OrderRef::Id(order.clone())]).await?.pop().flatten() else {
        return Ok(None);
    };
    let mut subjects = vec![order.as_str()];
    subjects.extend(facts.batch.as_ref().map(|batch| batch.id.as_str()));
    subjects.extend(facts.transfer.as_ref().map(|transfer| transfer.id.as_str()));
    let mut events = log(s, &subjects).await?;
    events.sort_by_key(|event| event.seq);
    Ok(Some(events))
}

/// Entries after one number and up to another, beyond which entries may still come in between.
pub(in crate::store) async fn events<S: Session>(
    s: &mut S,
    after: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<Event>> {
    let args = [after.into(), until.into(), limit.into()];
    s.fetch(s.sql().event_after, &args).await?.into_iter().map(rows::event).collect()
}

/// Where a list begins that was given no cursor: behind every id, all of which are ASCII below `~`.
const END: &str = "~";

pub(in crate::store) async fn batches<S: Session>(
    s: &mut S,
    scope: &Scope,
    filter: &BatchFilter,
) -> Result<Vec<BatchRow>> {
    let lab = match scope {
        Scope::Lab(id) => Some(id),
        _ => filter.lab.as_ref(),
    };
    let before = filter.before.as_ref().map_or(END, BatchId::as_str);
    let phase = filter.phase.map_or(-1, BatchPhase::code);
    let mut args: Vec<Arg<'_>> = vec![before.into(), phase.into(), filter.limit.into()];
    let sql = match (&filter.id, lab) {
        (Some(id), _) => {
            args = vec![id.as_str().into()];
            s.sql().ops.batch_one
        }
        (None, Some(lab)) => {
            args.push(lab.as_str().into());
            s.sql().ops.batch_list_lab
        }
        (None, None) => s.sql().ops.batch_list,
    };
    let fits = |batch: &BatchFacts| {
        lab.is_none_or(|lab| batch.lab == *lab) && filter.phase.is_none_or(|phase| batch.phase == phase)
    };
    s.fetch(sql, &args)
        .await?
        .into_iter()
        .map(|row| {
            let mut row = row.of("batches");
            let batch = rows::batch(&mut row)?;
            Ok(BatchRow { batch, orders: row.int()?, stopped: row.int()?, waiting: row.int()? })
        })
        .filter(|row| row.as_ref().map_or(true, |row| fits(&row.batch)))
        .collect()
}

pub(in crate::store) async fn open_batches<S: Session>(s: &mut S, lab: &LabId) -> Result<Vec<BatchFacts>> {
    let rows = s.fetch(s.sql().batch_open_of_lab, &[lab.as_str().into()]).await?;
    rows.into_iter().map(|row| rows::batch(&mut row.of("batches"))).collect()
}

pub(in crate::store) async fn open_windows<S: Session>(s: &mut S) -> Result<Vec<BatchFacts>> {
    let rows = s.fetch(s.sql().batch_open, &[]).await?;
    rows.into_iter().map(|row| rows::batch(&mut row.of("batches"))).collect()
}

pub(in crate::store) async fn transfers<S: Session>(s: &mut S, batch: &BatchId) -> Result<Vec<TransferRow>> {
    let rows = s.fetch(s.sql().transfer_of_batch, &[batch.as_str().into()]).await?;
    rows.into_iter()
        .map(|row| {
            let locked = rows::locked(row)?;
            Ok(TransferRow {
                orders: locked.manifest.len(),
                transfer: locked.facts,
                key: locked.key,
                sha256: locked.sha256,
            })
        })
        .collect()
}

pub(in crate::store) async fn stops<S: Session>(
    s: &mut S,
    scope: &Scope,
    filter: &StopFilter,
) -> Result<Vec<StopRow>> {
    let before = filter.before.as_ref().map_or(END, StopId::as_str);
    let mut args: Vec<Arg<'_>> = vec![before.into(), filter.limit.into()];
    let urgent = filter.urgent_after.as_ref().map(|(at, id)| (*at, id.as_ref()));
    let sql = match (&filter.id, scope, filter.state) {
        (Some(id), ..) => {
            args = vec![id.as_str().into()];
            s.sql().stop_one
        }
        (None, Scope::Lab(lab), state) if urgent.is_some() => {
            let (after, last) = urgent.unwrap_or((Timestamp::MIN, None));
            let state = state.map_or(0, StopState::code);
            let last = last.map_or("", StopId::as_str);
            args = vec![lab.as_str().into(), state.into(), after.into(), last.into(), filter.limit.into()];
            s.sql().stop_list_urgent
        }
        (None, Scope::Lab(lab), None) if filter.decided => {
            args = vec![lab.as_str().into(), filter.limit.into()];
            s.sql().board.stop_list_decided
        }
        (None, Scope::Platform(platform), state) => {
            args.push(platform.as_str().into());
            args.push(state.map_or(0, StopState::code).into());
            s.sql().stop_list_platform
        }
        (None, Scope::Lab(lab), Some(state)) => {
            args.push(lab.as_str().into());
            args.push(state.code().into());
            s.sql().stop_list_lab_state
        }
        (None, Scope::Lab(lab), None) => {
            args.push(lab.as_str().into());
            s.sql().stop_list_lab
        }
        (None, Scope::Ops, Some(state)) => {
            args.push(state.code().into());
            s.sql().stop_list_state
        }
        (None, Scope::Ops, None) => s.sql().stop_list,
    };
    let fits = |row: &StopRow| {
        let seen = match scope {
            Scope::Ops => true,
            Scope::Platform(id) => row.platform == id.as_str(),
            Scope::Lab(id) => row.lab == *id,
        };
        seen && filter.state.is_none_or(|state| row.stop.state == state)
    };
    let found = match urgent {
        Some(place) if filter.id.is_none() && *scope == Scope::Ops => {
            ops::stops(s, filter.state, place, filter.limit).await?
        }
        _ => s.fetch(sql, &args).await?,
    };
    found
        .into_iter()
        .map(|row| {
            let mut row = row.of("stops");
            let stop = rows::stop(&mut row)?;
            Ok(StopRow {
                stop,
                platform: row.text()?,
                lab: row.parsed(LabId::parse)?,
                reference: row.text()?,
            })
        })
        .filter(|row| row.as_ref().map_or(true, fits))
        .collect()
}

pub(in crate::store) async fn escalations<S: Session>(
    s: &mut S,
    scope: &Scope,
    filter: &EscalationFilter,
) -> Result<Vec<EscalationRow>> {
    if matches!(scope, Scope::Platform(_)) {
        return Ok(Vec::new());
    }
    if let Some((at, last)) = &filter.due_after {
        return ops::escalations(s, lab_of(scope), (*at, last.as_ref()), filter.limit).await;
    }
    let id = filter.id.as_ref().map_or("", |id| id.as_str());
    let before = filter.before.as_ref().map_or("", |id| id.as_str());
    let open = filter.open.map_or(-1, i64::from);
    let args = [lab_of(scope).into(), id.into(), before.into(), open.into(), filter.limit.into()];
    s.fetch(s.sql().escalation_list, &args).await?.into_iter().map(rows::escalation).collect()
}

pub(in crate::store) async fn labs<S: Session>(s: &mut S) -> Result<Vec<LabRow>> {
    s.fetch(s.sql().lab_list, &[])
        .await?
        .into_iter()
        .map(|row| {
            let mut row = row.of("labs");
            let (id, spec, version) = (row.parsed(LabId::parse)?, row.text()?, row.int()?);
            let (paused_at, reason) = (row.opt_at()?, row.opt_text()?);
            let paused = paused_at.map(|at| (at, reason.unwrap_or_default()));
            Ok(LabRow { id, spec, version, paused, updated_at: row.at()? })
        })
        .collect()
}

pub(in crate::store) async fn platforms<S: Session>(s: &mut S) -> Result<Vec<PlatformRow>> {
    s.fetch(s.sql().platform_list, &[])
        .await?
        .into_iter()
        .map(|row| {
            let mut row = row.of("platforms");
            Ok(PlatformRow { id: row.parsed(PlatformId::parse)?, spec: row.text()?, version: row.int()? })
        })
        .collect()
}

pub(in crate::store) async fn keys<S: Session>(s: &mut S) -> Result<Vec<KeyRow>> {
    s.fetch(s.sql().keys.key_list, &[])
        .await?
        .into_iter()
        .map(|row| {
            let mut row = row.of("keys");
            Ok(KeyRow {
                id: row.text()?,
                scope: row.text()?,
                owner: row.text()?,
                name: row.text()?,
                hash: row.text()?,
                created_at: row.at()?,
                expires_at: row.opt_at()?,
                revoked_at: row.opt_at()?,
                second_factor_at: row.opt_at()?,
            })
        })
        .collect()
}

pub(in crate::store) async fn remembered<S: Session>(
    s: &mut S,
    scope: &str,
    key: &str,
) -> Result<Option<Remembered>> {
    s.fetch(s.sql().remembered, &[scope.into(), key.into()])
        .await?
        .pop()
        .map(|row| {
            let mut row = row.of("remembered");
            Ok(Remembered {
                scope: row.text()?,
                key: row.text()?,
                fingerprint: row.text()?,
                status: row.int()?,
                body: row.text()?,
                at: row.at()?,
            })
        })
        .transpose()
}

/// Stops asked between half and twice as long after the hand-over are comparable.
pub(in crate::store) async fn odds<S: Session>(s: &mut S, lab: &LabId, elapsed_us: i64) -> Result<OddsRow> {
    let elapsed = elapsed_us.max(0);
    let args = [lab.as_str().into(), (elapsed / 2).into(), elapsed.saturating_mul(2).into()];
    match s.fetch(s.sql().odds, &args).await?.pop() {
        Some(mut row) => Ok(OddsRow { asked: row.int()?, stopped: row.int()? }),
        None => Ok(OddsRow::default()),
    }
}

async fn instant<S: Session>(s: &mut S, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Timestamp>> {
    match s.fetch(sql, args).await?.pop() {
        Some(mut row) => row.opt_at(),
        None => Ok(None),
    }
}

pub(in crate::store) async fn due<S: Session>(s: &mut S, now: Timestamp) -> Result<Due> {
    let lab = |mut row: Row| row.parsed(LabId::parse);
    let fresh = s.fetch(s.sql().due_fresh, &[]).await?;
    let transfers = s.fetch(s.sql().due_transfers, &[now.into()]).await?;
    let mut labs = fresh.into_iter().chain(transfers).map(lab).collect::<Result<Vec<_>>>()?;
    labs.sort();
    labs.dedup();
    let stops = s.fetch(s.sql().due_stops, &[now.into()]).await?;
    let stop_labs = stops.into_iter().map(lab).collect::<Result<Vec<_>>>()?;
    let mut at = s.fetch(s.sql().due_at, &[now.into()]).await?.pop();
    let mut next = || at.as_mut().map_or(Ok(None), Row::opt_at);
    let (close_at, transfer_at, lease_at, stop_at) = (next()?, next()?, next()?, next()?);
    Ok(Due { close_at, labs, transfer_at, lease_at, stop_labs, stop_at })
}

pub(in crate::store) async fn deadlines<S: Session>(
    s: &mut S,
    now: Timestamp,
) -> Result<[Option<Timestamp>; 2]> {
    let (transfer, stop) = (s.sql().deadline_transfer, s.sql().deadline_stop);
    Ok([instant(s, transfer, &[now.into()]).await?, instant(s, stop, &[now.into()]).await?])
}

async fn number<S: Session>(s: &mut S, sql: &'static str, args: &[Arg<'_>]) -> Result<i64> {
    match s.fetch(sql, args).await?.pop() {
        Some(mut row) => row.int(),
        None => Ok(0),
    }
}

pub(in crate::store) async fn gauges<S: Session>(s: &mut S, now: Timestamp) -> Result<Gauges> {
    let pair = |mut row: Row| Ok((row.int()?, row.int()?));
    Ok(Gauges {
        waiting: s
            .fetch(s.sql().board.gauge_waiting, &[])
            .await?
            .into_iter()
            .map(|mut row| Ok((row.text()?, row.int()?)))
            .collect::<Result<_>>()?,
        transfers: s
            .fetch(s.sql().board.gauge_transfers, &[])
            .await?
            .into_iter()
            .map(pair)
            .collect::<Result<_>>()?,
        stops: s.fetch(s.sql().board.gauge_stops, &[]).await?.into_iter().map(pair).collect::<Result<_>>()?,
        stops_overdue: number(s, s.sql().board.gauge_overdue, &[now.into()]).await?,
        escalations: number(s, s.sql().board.gauge_escalations, &[]).await?,
    })
}

pub(in crate::store) async fn ping<S: Session>(s: &mut S) -> Result<()> {
    s.fetch(s.sql().ping, &[]).await.map(drop)
}
