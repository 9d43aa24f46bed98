//! What only a few orders have, read: holds, approvals, replacements, downloads.

use std::collections::HashMap;

use super::{addresses, downloads, ids, rows, rows_fetch, rows_run};
use crate::domain::extras::{ApprovalFacts, ApprovalState, Extras, HoldFacts, HoldKind, Link, LinkState};
use crate::domain::ids::{ApprovalId, HoldId, LabId, OrderId};
use crate::domain::order::{Held, OrderFacts};
use crate::store::Result;
use crate::store::session::{Row, Session};
use crate::store::types::{ApprovalFilter, ApprovalRow, Scope};

/// Behind every id.
const END: &str = "~";

/// Marks an order as one of which more is kept.
pub(super) async fn mark<S: Session>(s: &mut S, order: &OrderId) -> Result<()> {
    rows_run(s, s.sql().changes.extras_insert, &ids([order.as_str()])).await.map(drop)
}

/// Which of some orders are marked.
pub(super) async fn marked<S: Session>(s: &mut S, orders: &[&str]) -> Result<Vec<String>> {
    let found = rows_fetch(s, s.sql().changes.extras_of, &ids(orders.iter().copied())).await?;
    found.into_iter().map(|mut row| row.text()).collect()
}

fn hold(row: Row) -> Result<(String, HoldFacts)> {
    let mut row = row.of("holds");
    let order = row.text()?;
    let facts = HoldFacts {
        id: row.parsed(HoldId::parse)?,
        kind: row.coded(HoldKind::from_code)?,
        owner: row.text()?,
        reason: row.text()?,
        put_at: row.at()?,
        put_by: row.text()?,
    };
    Ok((order, facts))
}

/// An approval, in the order of the columns in `sql::changes`.
pub(super) fn approval(row: &mut Row) -> Result<ApprovalFacts> {
    Ok(ApprovalFacts {
        id: row.parsed(ApprovalId::parse)?,
        order: row.parsed(OrderId::parse)?,
        platform: row.text()?,
        lab: row.text()?,
        state: row.coded(ApprovalState::from_code)?,
        held: row.flag()?,
        reason: row.text()?,
        comment: row.opt_text()?,
        asked_at: row.at()?,
        due_at: row.at()?,
        decided_at: row.opt_at()?,
        decided_by: row.opt_text()?,
        why: row.opt_text()?,
        requested_by: row.opt_text()?,
        items: rows::json(row)?,
    })
}

/// The holds of an order that were not released.
pub(super) async fn holds<S: Session>(s: &mut S, order: &OrderId) -> Result<Vec<HoldFacts>> {
    Ok(holds_of(s, &[order.as_str()]).await?.into_iter().map(|(_, hold)| hold).collect())
}

/// The holds of orders that were not released, each with its order.
pub(super) async fn holds_of<S: Session>(s: &mut S, orders: &[&str]) -> Result<Vec<(String, HoldFacts)>> {
    let rows = rows_fetch(s, s.sql().changes.hold_open, &ids(orders.iter().copied())).await?;
    rows.into_iter().map(hold).collect()
}

/// The approvals of orders, whatever their state, oldest first.
pub(super) async fn approvals<S: Session>(s: &mut S, orders: &[&str]) -> Result<Vec<ApprovalFacts>> {
    let rows = rows_fetch(s, s.sql().changes.approval_of_orders, &ids(orders.iter().copied())).await?;
    rows.into_iter().map(|row| approval(&mut row.of("approvals"))).collect()
}

/// The replacements that orders are part of: the new order, the old one, and how it stands.
pub(super) async fn links<S: Session>(
    s: &mut S,
    orders: &[&str],
) -> Result<Vec<(OrderId, OrderId, LinkState)>> {
    let rows = rows_fetch(s, s.sql().changes.replacement_links, &ids(orders.iter().copied())).await?;
    rows.into_iter()
        .map(|row| {
            let mut row = row.of("replacements");
            Ok((row.parsed(OrderId::parse)?, row.parsed(OrderId::parse)?, row.coded(LinkState::from_code)?))
        })
        .collect()
}

/// Fills in what more is kept of orders that were read: `more` says of which there is any. Nearly always of none.
pub(super) async fn fill<S: Session>(s: &mut S, orders: &mut [OrderFacts], more: &[bool]) -> Result<()> {
    let held: Vec<&str> =
        orders.iter().filter(|facts| facts.held != Held::No).map(|facts| facts.id.as_str()).collect();
    let marked: Vec<&str> =
        (orders.iter().zip(more)).filter(|(_, more)| **more).map(|(facts, _)| facts.id.as_str()).collect();
    if held.is_empty() && marked.is_empty() {
        return Ok(());
    }
    let mut extras: HashMap<String, Extras> = HashMap::new();
    for (order, facts) in holds_of(s, &held).await? {
        extras.entry(order).or_default().holds.push(facts);
    }
    for facts in approvals(s, &marked).await? {
        let order = facts.order.to_string();
        let extras = extras.entry(order).or_default();
        if facts.items.is_none() {
            extras.approval = Some(facts);
        } else {
            extras.line_approvals.push(facts);
        }
    }
    for (new, old, state) in links(s, &marked).await? {
        let link = |order: &OrderId| Some(Link { order: order.clone(), state });
        extras.entry(new.to_string()).or_default().replaces = link(&old);
        extras.entry(old.to_string()).or_default().replaced_by = link(&new);
    }
    for facts in downloads::of_orders(s, &marked).await? {
        let order = facts.order.to_string();
        extras.entry(order).or_default().downloads.push(facts);
    }
    for facts in addresses::of_orders(s, &marked).await? {
        // Oldest first: the last one stays.
        let order = facts.order.to_string();
        extras.entry(order).or_default().address_change = Some(facts);
    }
    for facts in orders {
        facts.extras = extras.remove(facts.id.as_str()).unwrap_or_default();
    }
    Ok(())
}

/// Approvals within a scope, newest first.
pub(in crate::store) async fn list_approvals<S: Session>(
    s: &mut S,
    scope: &Scope,
    filter: &ApprovalFilter,
) -> Result<Vec<ApprovalRow>> {
    if filter.due_first && *scope == Scope::Ops {
        let args = [filter.lab.as_ref().map_or("", LabId::as_str).into(), filter.limit.into()];
        let rows = s.fetch(s.sql().changes.approval_list_due, &args).await?;
        return rows.into_iter().map(approval_row).collect();
    }
    let platform = match scope {
        Scope::Ops => "",
        Scope::Platform(platform) => platform.as_str(),
        Scope::Lab(_) => return Ok(Vec::new()),
    };
    let before = filter.before.as_ref().map_or(END, ApprovalId::as_str);
    let args = [before.into(), filter.limit.into(), platform.into()];
    let rows = match (filter.open, platform) {
        (true, _) => s.fetch(s.sql().changes.approval_list_open, &args).await?,
        (false, "") => s.fetch(s.sql().changes.approval_list, &args[..2]).await?,
        (false, _) => s.fetch(s.sql().changes.approval_list_platform, &args).await?,
    };
    rows.into_iter().map(approval_row).collect()
}

fn approval_row(row: Row) -> Result<ApprovalRow> {
    let mut row = row.of("approvals");
    Ok(ApprovalRow { approval: approval(&mut row)?, reference: row.text()? })
}

/// One approval.
pub(in crate::store) async fn approval_of<S: Session>(
    s: &mut S,
    id: &ApprovalId,
) -> Result<Option<ApprovalFacts>> {
    let row = s.fetch(s.sql().changes.approval_one, &[id.as_str().into()]).await?.pop();
    row.map(|row| approval(&mut row.of("approvals"))).transpose()
}

/// When the time of the next approval is over.
pub(in crate::store) async fn approval_next<S: Session>(s: &mut S) -> Result<Option<jiff::Timestamp>> {
    match s.fetch(s.sql().changes.approval_next, &[]).await?.pop() {
        Some(mut row) => row.opt_at(),
        None => Ok(None),
    }
}

/// Orders that replace others and have no window yet: those behind one that were released first, then those that wait.
pub(in crate::store) async fn to_join<S: Session>(
    s: &mut S,
    after: Option<&OrderId>,
    limit: i64,
) -> Result<Vec<(OrderId, LinkState)>> {
    let after = after.map_or("", OrderId::as_str);
    let rows = s.fetch(s.sql().changes.replacement_to_join, &[after.into(), limit.into()]).await?;
    rows.into_iter()
        .map(|row| {
            let mut row = row.of("replacements");
            Ok((row.parsed(OrderId::parse)?, row.coded(LinkState::from_code)?))
        })
        .collect()
}
