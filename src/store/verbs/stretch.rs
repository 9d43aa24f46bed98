//! A stretch of the log as one scope sees it: what a watch reads, again and again.

use std::collections::HashMap;

use super::{ids, read, to_json};
use crate::domain::event::Event;
use crate::domain::ids::{OrderId, PlatformId, TransferId};
use crate::store::Result;
use crate::store::session::{Arg, Session};
use crate::store::types::{Concerned, Scope, Sighting, Stretch};

/// Reads at most `limit` entries after one number and up to another, and leaves out what is not within the
/// scope: so a stretch costs the same whoever reads it, also where next to nothing is the reader's.
pub(in crate::store) async fn stretch<S: Session>(
    s: &mut S,
    scope: &Scope,
    (after, until): (i64, i64),
    limit: i64,
) -> Result<Stretch> {
    let events = read::events(s, after, until, limit).await?;
    let seen = events.last().map_or(after, |event| event.seq);
    let platform = match scope {
        Scope::Platform(platform) => platform.as_str(),
        Scope::Ops | Scope::Lab(_) => "",
    };
    let of_kind = |prefix: &str| {
        let begins = |event: &&Event| event.subject.split('_').next() == Some(prefix);
        let mut subjects: Vec<&str> =
            events.iter().filter(begins).map(|event| event.subject.as_str()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    };
    let mut orders: HashMap<String, Vec<Concerned>> = HashMap::new();
    for (sql, subjects) in [
        (s.sql().event_orders, of_kind(OrderId::PREFIX)),
        (s.sql().event_orders_of_transfers, of_kind(TransferId::PREFIX)),
    ] {
        if subjects.is_empty() {
            continue;
        }
        let json = to_json(&ids(subjects))?;
        for row in s.fetch(sql, &[Arg::Text(&json), platform.into()]).await? {
            let mut row = row.of("orders");
            let (subject, order) = (row.text()?, row.parsed(OrderId::parse)?);
            let platform = row.parsed(PlatformId::parse)?;
            orders.entry(subject).or_default().push(Concerned { order, platform });
        }
    }
    let sighted = events.into_iter().filter_map(|event| {
        let orders = orders.get(&event.subject).cloned().unwrap_or_default();
        let sighting = Sighting { event, orders };
        sighting.is_within(scope).then_some(sighting)
    });
    Ok(Stretch { events: sighted.collect(), seen })
}

/// The last number of the log, up to one beyond which entries may still come in between.
pub(in crate::store) async fn last<S: Session>(s: &mut S, until: i64) -> Result<i64> {
    match s.fetch(s.sql().event_last, &[until.into()]).await?.pop() {
        Some(mut row) => row.int(),
        None => Ok(0),
    }
}
