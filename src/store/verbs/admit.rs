//! Admission: durable before the answer, one order a reference, in the window that was promised.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::rows;
use super::{Trail, ids, put_all, rows_fetch, rows_run_all};
use crate::domain::batch::{BatchFacts, BatchPhase, Joining};
use crate::domain::event::Actor;
use crate::domain::ids::OrderId;
use crate::store::session::{Arg, Session};
use crate::store::types::{Admission, Admitted, Written};
use crate::store::{Error, Result};

#[derive(Serialize)]
struct WindowRow<'a> {
    id: &'a str,
    lab: &'a str,
    region: &'a str,
    direct: i64,
    opens_at: i64,
    window_at: i64,
    closes_at_local: &'a str,
    production_date: &'a str,
    rule: &'a str,
    time_zone: &'a str,
    tzdata: &'a str,
    promised: i64,
    head: String,
}

/// Finds or opens the batches of windows, and keeps them from closing until the commit. One answer a
/// joining, in order.
pub(super) async fn join<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    at: Timestamp,
    joinings: &[&Joining],
) -> Result<Vec<Arc<BatchFacts>>> {
    // Sorted, so that two replicas that open the same windows do not wait for each other in a ring.
    let mut wanted: BTreeMap<Window<'_>, &Joining> = BTreeMap::new();
    for joining in joinings.iter().filter(|joining| !joining.direct) {
        wanted.entry(window(joining)).or_insert(joining);
    }
    let mut found: HashMap<Window<'_>, Arc<BatchFacts>> = HashMap::with_capacity(wanted.len());
    // Twice, because another replica may open the same window between the look and the insert.
    let mut missing: Vec<&Joining> = wanted.values().copied().collect();
    for _ in 0..2 {
        if missing.is_empty() {
            break;
        }
        let keys: Vec<_> = missing
            .iter()
            .map(|j| json!({"lab": j.lab, "region": j.region, "window_at": j.closes_at.as_microsecond()}))
            .collect();
        for row in rows_fetch(s, s.sql().batch_of_windows, &keys).await? {
            let facts = rows::batch(&mut row.of("batches"))?;
            let is = |j: &&Joining| {
                (j.closes_at, &j.region, &j.lab) == (facts.window_at, &facts.region, &facts.lab)
            };
            if let Some(at) = missing.iter().position(is) {
                found.insert(window(missing.remove(at)), Arc::new(facts));
            }
        }
        for facts in open(s, trail, at, &missing).await? {
            if let Some(at) = missing.iter().position(|j| j.batch == facts.id) {
                found.insert(window(missing.remove(at)), Arc::new(facts));
            }
        }
    }
    let direct: Vec<&Joining> = joinings.iter().copied().filter(|joining| joining.direct).collect();
    let mut direct = open(s, trail, at, &direct).await?.into_iter();
    joinings
        .iter()
        .map(|joining| {
            let batch = if joining.direct {
                direct.next().map(Arc::new)
            } else {
                found.get(&window(joining)).cloned()
            };
            batch.ok_or_else(|| Error::Unavailable("a window was opened and is not there".to_owned()))
        })
        .collect()
}

/// A window's identity: lab, region, instant.
type Window<'a> = (&'a str, &'a str, i64);

fn window(joining: &Joining) -> Window<'_> {
    (joining.lab.as_str(), joining.region.as_str(), joining.closes_at.as_microsecond())
}

/// Opens batches; gives those that this transaction opened.
async fn open<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    at: Timestamp,
    joinings: &[&Joining],
) -> Result<Vec<BatchFacts>> {
    if joinings.is_empty() {
        return Ok(Vec::new());
    }
    // The entry of the log is built first, because the row carries its hash; it is kept only if the row
    // was inserted.
    let mut entries = Vec::with_capacity(joinings.len());
    let mut new = Vec::with_capacity(joinings.len());
    for joining in joinings {
        let mut own = Trail::default();
        let mut detail = json!({"region": joining.region, "closes_at": joining.closes_at, "closes_at_local": joining.closes_at_local,
            "rule": joining.rule, "time_zone": joining.time_zone, "tzdata": joining.tzdata, "direct": joining.direct});
        if !joining.promised {
            detail["promised"] = false.into();
        }
        let subject = (joining.batch.as_str(), joining.lab.as_str());
        let head = own.add("", at, subject, "batch.opened", &Actor::gateway(), &detail);
        new.push(WindowRow {
            id: joining.batch.as_str(),
            lab: joining.lab.as_str(),
            region: joining.region.as_str(),
            direct: joining.direct.into(),
            opens_at: joining.opens_at.as_microsecond(),
            window_at: joining.closes_at.as_microsecond(),
            closes_at_local: &joining.closes_at_local,
            production_date: &joining.production_date,
            rule: &joining.rule,
            time_zone: &joining.time_zone,
            tzdata: &joining.tzdata,
            promised: joining.promised.into(),
            head,
        });
        entries.push(own);
    }
    let mut inserted = Vec::new();
    for mut row in rows_fetch(s, s.sql().batch_insert, &new).await? {
        inserted.push(row.text()?);
    }
    let mut opened = Vec::with_capacity(inserted.len());
    for (joining, own) in joinings.iter().zip(entries) {
        if !inserted.iter().any(|id| id == joining.batch.as_str()) {
            continue;
        }
        trail.events.extend(own.events);
        opened.push(BatchFacts {
            id: joining.batch.clone(),
            lab: joining.lab.clone(),
            region: joining.region.clone(),
            phase: BatchPhase::Open,
            direct: joining.direct,
            opens_at: joining.opens_at,
            window_at: joining.closes_at,
            closes_at: joining.closes_at,
            closes_at_local: joining.closes_at_local.clone(),
            production_date: joining.production_date.clone(),
            rule: joining.rule.clone(),
            time_zone: joining.time_zone.clone(),
            tzdata: joining.tzdata.clone(),
            closed_at: None,
            promised: joining.promised,
            version: 1,
        });
    }
    Ok(opened)
}

/// What the log says of an admission: a struct, because there are so many of them.
#[derive(Serialize)]
struct AdmittedDetail<'a> {
    batch: Option<&'a str>,
    closes_at: Option<Timestamp>,
    platform: &'a str,
    reference: &'a str,
    /// Only of an order that named no lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a RawValue>,
    sha256: &'a str,
    /// Only where the order is promised less than its batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

#[derive(Serialize)]
struct ReferenceRow<'a> {
    platform: &'a str,
    reference: &'a str,
}

/// Admits a set of orders.
pub(super) async fn admit<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &Admission)],
    out: &mut [Option<Written>],
) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    // The orders first: whose reference is known opens no window. Sorted, so that two replicas that get
    // the same references do not wait for each other in a ring; the first of a set stays the first.
    let mut sorted: Vec<&Admission> = items.iter().map(|(_, item)| *item).collect();
    sorted.sort_by_key(|item| (&item.platform, &item.reference));
    let orders: Vec<_> = sorted
        .iter()
        .map(|item| {
            [
                Arg::Text(item.id.as_str()),
                item.platform.as_str().into(),
                item.lab.as_str().into(),
                item.region.as_str().into(),
                Arg::Text(&item.reference),
                Arg::Text(&item.document),
                Arg::Text(&item.sha256),
                item.at.into(),
            ]
        })
        .collect();
    let inserted = s.put(s.sql().order_insert, &orders).await?;
    // Nearly always all; else the orders of the references say which: a new one has the id drawn for it.
    let first = if inserted == orders.len() as u64 { HashMap::new() } else { first(s, items).await? };
    let (new, known): (Vec<_>, Vec<_>) = items.iter().copied().partition(|(_, item)| {
        first.get(&(item.platform.as_str(), item.reference.as_str())).is_none_or(|(id, _)| *id == item.id)
    });

    let joinings: Vec<&Joining> = new.iter().filter_map(|(_, item)| item.join.as_ref()).collect();
    let mut batches = join(s, trail, items[0].1.at, &joinings).await?.into_iter();
    let mut standings = Vec::with_capacity(new.len());
    let mut withdrawn = Vec::new();
    for (at, item) in new {
        let batch = if item.join.is_some() { batches.next() } else { None };
        if batch.as_ref().is_some_and(|batch| batch.phase != BatchPhase::Open) {
            withdrawn.push(item.id.as_str());
            out[at] = Some(Written::Admitted(Admitted::WindowClosed));
            continue;
        }
        let promised = batch.as_ref().is_some_and(|batch| batch.promised);
        let head = trail.add(
            "",
            item.at,
            (item.id.as_str(), item.lab.as_str()),
            "order.admitted",
            &item.actor,
            &AdmittedDetail {
                batch: batch.as_ref().map(|batch| batch.id.as_str()),
                closes_at: batch.as_ref().map(|batch| batch.closes_at),
                platform: item.platform.as_str(),
                reference: &item.reference,
                route: item.route.as_deref(),
                sha256: &item.sha256,
                until: item.join.as_ref().and_then(|join| join.until).filter(|_| promised),
            },
        );
        standings.push((item, batch.clone(), head));
        out[at] = Some(Written::Admitted(Admitted::New { batch }));
    }
    rows_run_all(s, s.sql().order_withdraw, &ids(withdrawn.iter().copied()), "orders").await?;
    let standings: Vec<_> = standings
        .iter()
        .map(|(item, batch, head)| {
            [
                Arg::Text(item.id.as_str()),
                item.lab.as_str().into(),
                batch.as_ref().map(|batch| batch.id.as_str()).into(),
                i64::from(item.paid).into(),
                Arg::Text(head),
            ]
        })
        .collect();
    put_all(s, s.sql().standing_insert, &standings, "standings").await?;

    for (at, item) in known {
        let admitted = match first.get(&(item.platform.as_str(), item.reference.as_str())) {
            // It is behind one of the same reference in this set, which found its window closed.
            Some((id, _)) if withdrawn.contains(&id.as_str()) => Admitted::WindowClosed,
            Some((id, sha256)) if *sha256 == item.sha256 => Admitted::Same(id.clone()),
            Some((id, _)) => Admitted::Differs(id.clone()),
            None => Admitted::WindowClosed,
        };
        out[at] = Some(Written::Admitted(admitted));
    }
    Ok(())
}

/// The orders that are there under the references of a set, with the hashes of their content.
async fn first<'a, S: Session>(
    s: &mut S,
    items: &[(usize, &'a Admission)],
) -> Result<HashMap<(&'a str, &'a str), (OrderId, String)>> {
    let own: HashMap<(&str, &str), &'a Admission> =
        items.iter().map(|(_, item)| ((item.platform.as_str(), item.reference.as_str()), *item)).collect();
    let references: Vec<ReferenceRow<'_>> =
        own.keys().map(|(platform, reference)| ReferenceRow { platform, reference }).collect();
    let mut first = HashMap::with_capacity(references.len());
    for row in rows_fetch(s, s.sql().order_of_references, &references).await? {
        let mut row = row.of("orders");
        let id = row.parsed(OrderId::parse)?;
        let (platform, reference) = (row.text()?, row.text()?);
        if let Some(item) = own.get(&(platform.as_str(), reference.as_str())) {
            first.insert((item.platform.as_str(), item.reference.as_str()), (id, row.text()?));
        }
    }
    Ok(first)
}
