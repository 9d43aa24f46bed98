//! Customers' links: their keys, and the serial of an order's links. A link itself has no row.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{Trail, rows, rows_run_all, stop, to_json};
use crate::domain::ids::OrderId;
use crate::store::session::{Row, Session};
use crate::store::types::{RevokeLinks, RotateLinks, Written};
use crate::store::{Error, Result};

/// How the log names the keys of customers' links.
const SUBJECT: &str = "customer_links";

/// The keys of customers' links, by number.
pub(in crate::store) async fn customer_keys<S: Session>(s: &mut S) -> Result<Vec<(i64, SecretString)>> {
    let rows = s.fetch(s.sql().links.customer_keys, &[]).await?;
    rows.into_iter()
        .map(|row| {
            let mut row = row.of("customer_keys");
            Ok((row.int()?, SecretString::from(row.text()?)))
        })
        .collect()
}

/// The serial of the links of an order that hold.
pub(in crate::store) async fn link_serial<S: Session>(s: &mut S, order: &OrderId) -> Result<u32> {
    let row: Option<Row> = s.fetch(s.sql().links.link_serial, &[order.as_str().into()]).await?.pop();
    let Some(row) = row else { return Ok(0) };
    u32::try_from(row.of("link_serials").int()?).map_err(|_| Error::Corrupt {
        table: "link_serials",
        what: "a serial is out of its range".to_owned(),
    })
}

/// Makes the first key; a second one is not taken.
pub(super) async fn put_key<S: Session>(
    s: &mut S,
    secret: &SecretString,
    at: jiff::Timestamp,
) -> Result<Written> {
    s.run(s.sql().links.customer_key_insert, &[secret.expose_secret().into(), at.into()]).await?;
    Ok(Written::Done)
}

/// Makes another key, and ends those before it where that is wanted.
pub(super) async fn rotate<S: Session>(s: &mut S, trail: &mut Trail, item: &RotateLinks) -> Result<Written> {
    let RotateLinks { secret, end_old, at, actor } = item;
    s.fetch(s.sql().links.customer_keys_lock, &[]).await?;
    // Read again, under the lock.
    let last = customer_keys(s).await?.last().map_or(0, |(number, _)| *number);
    let number = last + 1;
    if u16::try_from(number).is_err() {
        return Ok(Written::LinksRotated(None));
    }
    let args = [number.into(), secret.expose_secret().into(), (*at).into()];
    s.run(s.sql().links.customer_key_add, &args).await?;
    if *end_old {
        s.run(s.sql().links.customer_keys_end, &[number.into()]).await?;
    }
    trail.flush(s).await?;
    let log = s.fetch(s.sql().event_of_subjects, &[(&to_json(&[[SUBJECT]])?).into()]).await?.pop();
    let head = log.map(rows::event).transpose()?.map(|event| event.hash).unwrap_or_default();
    let detail = json!({"key": number, "ended_before": end_old});
    trail.add(&head, *at, (SUBJECT, ""), "customer_links.rotated", actor, &detail);
    Ok(Written::LinksRotated(Some(number)))
}

/// Takes back the links of an order.
pub(super) async fn revoke<S: Session>(s: &mut S, trail: &mut Trail, item: &RevokeLinks) -> Result<Written> {
    let Some(standing) =
        stop::lock(s, &[item.order.as_str()]).await?.pop().filter(|found| found.within(&item.scope))
    else {
        return Ok(Written::LinksRevoked(None));
    };
    s.run(s.sql().links.link_serial_raise, &[item.order.as_str().into()]).await?;
    let serial = link_serial(s, &item.order).await?;
    let subject = (standing.id.as_str(), standing.lab.as_str());
    let detail = json!({"serial": serial});
    let head = trail.add(&standing.head, item.at, subject, "order.links_revoked", &item.actor, &detail);
    let row = json!({"id": standing.id, "head": head, "was": standing.head});
    rows_run_all(s, s.sql().standing_head, &[row], "standings").await?;
    Ok(Written::LinksRevoked(Some(serial)))
}
