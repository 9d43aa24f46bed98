//! Retention: what orders say of people is taken out of them once they are at an end.
//!
//! It is taken out under the lock of the order's standing, which a stop and a claim take as well, and after another
//! look: whoever reinstates the order first keeps it whole, and whoever comes later is refused. The entry of the log
//! has the hash of what was there; nothing that the chain covers is changed.

use serde_json::json;

use super::stop::{self, micros};
use super::{Trail, addresses, ids, rows_run_all};
use crate::domain::event::Actor;
use crate::domain::ids::OrderId;
use crate::domain::retention::without_people;
use crate::store::session::{Arg, Session};
use crate::store::types::{Purge, Purged, Written};
use crate::store::{Error, Result};

/// Whether an order says no more where it goes. To be asked under the lock of its standing.
pub(super) async fn is_purged<S: Session>(s: &mut S, order: &OrderId) -> Result<bool> {
    let row = s.fetch(s.sql().retention.purged_at, &[order.as_str().into()]).await?.pop();
    Ok(row.map(|mut row| row.opt_at()).transpose()?.flatten().is_some())
}

/// Of some orders those that are ready, with their submissions.
async fn ready<'a, S: Session>(
    s: &mut S,
    orders: impl IntoIterator<Item = &'a str>,
    item: &Purge,
) -> Result<Vec<(String, String)>> {
    let rows = super::to_json(&ids(orders))?;
    let found = s.fetch(s.sql().retention.purge_ready, &[Arg::Text(&rows), item.before.into()]).await?;
    found.into_iter().map(|mut row| Ok((row.text()?, row.text()?))).collect()
}

/// Takes out what is due of a page of orders, and forgets answers to idempotency keys that are as old: they may repeat
/// what an order said.
pub(super) async fn purge<S: Session>(s: &mut S, trail: &mut Trail, item: &Purge) -> Result<Written> {
    s.run(s.sql().forget, &[item.before.into()]).await?;
    let (from, id) = item.after.as_ref().map_or((0, ""), |(at, id)| (micros(*at), id.as_str()));
    let args = [item.before.into(), from.into(), id.into(), item.limit.into()];
    let mut page = Vec::new();
    for row in s.fetch(s.sql().retention.purge_page, &args).await? {
        let mut row = row.of("orders");
        page.push((row.parsed(OrderId::parse)?, row.at()?));
    }
    let next =
        (page.len() as i64 == item.limit).then(|| page.last().cloned()).flatten().map(|(id, at)| (at, id));
    let first = ready(s, page.iter().map(|(id, _)| id.as_str()), item).await?;
    let standings = stop::lock(s, &first.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>()).await?;
    let (mut rows, mut heads) = (Vec::new(), Vec::new());
    for (id, document) in ready(s, standings.iter().map(|found| found.id.as_str()), item).await? {
        let Some(found) = standings.iter().find(|found| found.id.as_str() == id) else { continue };
        let (left, sha256) = without_people(&document)
            .ok_or_else(|| Error::Corrupt { table: "orders", what: format!("{id} is no submission") })?;
        rows.push(json!([id, left, micros(item.at)]));
        let detail = json!({ "sha256": sha256 });
        let subject = (found.id.as_str(), found.lab.as_str());
        let head = trail.add(&found.head, item.at, subject, "order.purged", &Actor::gateway(), &detail);
        heads.push(json!({"id": found.id, "was": found.head, "head": head}));
    }
    rows_run_all(s, s.sql().retention.purge_write, &rows, "orders").await?;
    let purged: Vec<&str> = heads.iter().filter_map(|head| head["id"].as_str()).collect();
    addresses::purge(s, &purged).await?;
    rows_run_all(s, s.sql().standing_head, &heads, "standings").await?;
    Ok(Written::Purged(Purged { orders: rows.len(), next }))
}
