//! Routes, and windows that close because they are full.

use serde_json::json;

use super::Trail;
use super::batch::shut;
use super::rows;
use crate::domain::batch::BatchPhase;
use crate::domain::ids::PlatformId;
use crate::store::session::Session;
use crate::store::types::{CloseFull, Put, PutRoutes, RoutesRow, Written};
use crate::store::{Error, Result};

/// Creates, replaces or deletes routes.
pub(super) async fn put<S: Session>(s: &mut S, trail: &mut Trail, item: &PutRoutes) -> Result<Written> {
    let id = item.id.as_str();
    let now = match s.fetch(s.sql().routes.routes_lock, &[id.into()]).await?.pop() {
        Some(row) => {
            let mut row = row.of("routes");
            Some((row.text()?, row.int()?, row.opt_int()?.is_some(), row.text()?))
        }
        None => None,
    };
    let there = now.as_ref().filter(|(_, _, deleted, _)| !deleted);
    let version = there.map_or(0, |(_, version, ..)| *version);
    if item.if_version.is_some_and(|wanted| wanted != version) {
        return Ok(Written::Put(Put::Version(version)));
    }
    let was = now.as_ref().map_or("", |(.., head)| head.as_str());
    let subject = format!("routes_{id}");
    let subject = (subject.as_str(), "");
    let changed = if let Some(spec) = &item.spec {
        if there.is_some_and(|(stored, ..)| stored == spec) {
            return Ok(Written::Put(Put::Unchanged(version)));
        }
        let kind = if there.is_none() { "routes.created" } else { "routes.changed" };
        let new: serde_json::Value = serde_json::from_str(spec).unwrap_or_default();
        let head = trail.add(was, item.at, subject, kind, &item.actor, &json!({"spec": new}));
        let args = [id.into(), spec.into(), item.at.into(), (&head).into(), was.into()];
        s.run(s.sql().routes.routes_put, &args).await?
    } else {
        if there.is_none() {
            return Ok(Written::Put(Put::NotFound));
        }
        let head = trail.add(was, item.at, subject, "routes.deleted", &item.actor, &json!({}));
        let args = [id.into(), item.at.into(), (&head).into(), was.into()];
        s.run(s.sql().routes.routes_delete, &args).await?
    };
    if changed == 0 {
        return Err(Error::met());
    }
    Ok(Written::Put(Put::Done(now.map_or(1, |(_, version, ..)| version + 1))))
}

/// All routes.
pub(in crate::store) async fn routes<S: Session>(s: &mut S) -> Result<Vec<RoutesRow>> {
    let mut found = Vec::new();
    for row in s.fetch(s.sql().routes.routes_list, &[]).await? {
        let mut row = row.of("routes");
        let (id, spec) = (row.parsed(PlatformId::parse)?, row.text()?);
        found.push(RoutesRow { id, spec, version: row.int()?, updated_at: row.at()? });
    }
    Ok(found)
}

/// Closes a batch before its cutoff, if it promised nothing and is full. Whoever comes after opens another one
/// for the same cutoff: the closed one takes the instant at which it closed as the name of its window.
pub(super) async fn close_full<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &CloseFull,
) -> Result<Written> {
    let id = item.batch.as_str();
    let Some(row) = s.fetch(s.sql().batch_lock, &[id.into()]).await?.pop() else {
        return Ok(Written::Closed(Vec::new()));
    };
    let mut row = row.of("batches");
    let mut facts = rows::batch(&mut row)?;
    let was = row.text()?;
    if facts.phase != BatchPhase::Open || facts.promised || facts.direct || item.at >= facts.closes_at {
        return Ok(Written::Closed(Vec::new()));
    }
    let alive = match s.fetch(s.sql().routes.batch_alive, &[id.into()]).await?.pop() {
        Some(mut row) => row.int()?,
        None => 0,
    };
    if alive < item.orders {
        return Ok(Written::Closed(Vec::new()));
    }
    let mut window_at = crate::clock::whole_micros(item.at);
    loop {
        let args = [facts.lab.as_str().into(), facts.region.as_str().into(), window_at.into(), id.into()];
        let taken = s.fetch(s.sql().batch_window_taken, &args).await?.pop();
        let taken = taken.map(|mut row| row.int()).transpose()?.unwrap_or_default();
        if taken == 0 {
            break;
        }
        // Two that were full at the same instant.
        window_at = crate::domain::batch::later(window_at, jiff::SignedDuration::from_micros(1));
    }
    facts.window_at = window_at;
    let detail =
        json!({"closes_at": facts.closes_at, "full": true, "orders": alive, "batch_max": item.orders});
    let closed = shut(s, trail, facts, &was, item.at, &detail).await?;
    Ok(Written::Closed(vec![closed]))
}
