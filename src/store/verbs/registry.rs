//! Labs, platforms, keys, remembered answers, checkpoints.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::stop::micros;
use super::{Trail, rows_run_all, warnings};
use crate::domain::event::{Actor, hex};
use crate::domain::ids::{LabId, RegionId};
use crate::store::session::Session;
use crate::store::types::{
    Announce, GONE_AFTER, KeyRow, LabSwitch, Put, PutLab, PutPlatform, Remembered, RevokeCalendarLinks,
    SetLab, Written,
};
use crate::store::{Error, Result};

struct LabNow {
    spec: String,
    version: i64,
    paused_at: Option<i64>,
    pause_reason: Option<String>,
    deleted: bool,
    head: String,
}

async fn lab<S: Session>(s: &mut S, id: &str) -> Result<Option<LabNow>> {
    let Some(row) = s.fetch(s.sql().lab_lock, &[id.into()]).await?.pop() else { return Ok(None) };
    let mut row = row.of("labs");
    let _id = row.text()?;
    let (spec, version, paused_at, pause_reason) = (row.text()?, row.int()?, row.opt_int()?, row.opt_text()?);
    let _updated_at = row.int()?;
    Ok(Some(LabNow {
        spec,
        version,
        paused_at,
        pause_reason,
        deleted: row.opt_int()?.is_some(),
        head: row.text()?,
    }))
}

/// What another definition changes, by its path: from what to what. A list that differs is told whole.
fn changes(was: &str, is: &Value) -> Value {
    fn walk(path: &str, was: &Value, is: &Value, found: &mut Vec<Value>) {
        if let (Value::Object(was), Value::Object(is)) = (was, is) {
            let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(
                    &path,
                    was.get(name).unwrap_or(&Value::Null),
                    is.get(name).unwrap_or(&Value::Null),
                    found,
                );
            }
        } else if was != is {
            found.push(json!({"field": path, "from": was, "to": is}));
        }
    }
    let mut found = Vec::new();
    walk("", &serde_json::from_str(was).unwrap_or_default(), is, &mut found);
    found.into()
}

/// Creates or replaces a lab.
pub(super) async fn put_lab<S: Session>(s: &mut S, trail: &mut Trail, item: &PutLab) -> Result<Written> {
    let id = item.id.as_str();
    let now = lab(s, id).await?;
    let version = now.as_ref().filter(|now| !now.deleted).map_or(0, |now| now.version);
    if item.if_version.is_some_and(|wanted| wanted != version) {
        return Ok(Written::Put(Put::Version(version)));
    }
    if let Some(now) = &now
        && now.spec == item.spec
        && !now.deleted
    {
        return Ok(Written::Put(Put::Unchanged(now.version)));
    }
    let previous = now.as_ref().map_or("", |now| now.head.as_str());
    let kind = if version == 0 { "lab.created" } else { "lab.changed" };
    let spec: serde_json::Value = serde_json::from_str(&item.spec).unwrap_or_default();
    let changes = now.as_ref().filter(|_| version != 0).map(|now| changes(&now.spec, &spec));
    let detail = json!({"spec": spec, "changes": changes});
    let head = trail.add(previous, item.at, (id, id), kind, &item.actor, &detail);
    let args = [id.into(), (&item.spec).into(), item.at.into(), (&head).into()];
    let sql = if now.is_some() { s.sql().lab_update } else { s.sql().lab_insert };
    if s.run(sql, &args).await? == 0 {
        return Err(Error::met());
    }
    if let Some(now) = &now {
        let was = serde_json::from_str(&now.spec).unwrap_or_default();
        if collects(&was) != collects(&spec) {
            warnings::look_again(s, id).await?;
        }
    }
    Ok(Written::Put(Put::Done(now.map_or(1, |now| now.version + 1))))
}

/// What of a lab's definition says where an order is collected.
fn collects(spec: &Value) -> Vec<Value> {
    let of = |it: &Value| json!([it["id"], it["products"], it["service_levels"]]);
    let list = |it: &Value| it.as_array().cloned().unwrap_or_default();
    let groups = |region: &Value| list(&region["groups"]).iter().map(of).collect::<Vec<_>>();
    list(&spec["regions"]).iter().map(|region| json!([of(region), groups(region)])).collect()
}

/// Pauses, resumes or deletes a lab.
pub(super) async fn set_lab<S: Session>(s: &mut S, trail: &mut Trail, item: &SetLab) -> Result<Written> {
    let id = item.id.as_str();
    let Some(now) = lab(s, id).await?.filter(|now| !now.deleted) else {
        return Ok(Written::Put(Put::NotFound));
    };
    let (paused_at, pause_reason, deleted_at, kind, detail) = match &item.to {
        LabSwitch::Pause(reason) => {
            if now.paused_at.is_some() && now.pause_reason.as_ref() == Some(reason) {
                return Ok(Written::Put(Put::Unchanged(now.version)));
            }
            (Some(micros(item.at)), Some(reason.clone()), None, "lab.paused", json!({"reason": reason}))
        }
        LabSwitch::Resume => {
            if now.paused_at.is_none() {
                return Ok(Written::Put(Put::Unchanged(now.version)));
            }
            (None, None, None, "lab.resumed", json!({}))
        }
        LabSwitch::Delete => {
            let waiting = match s.fetch(s.sql().lab_waiting, &[id.into()]).await?.pop() {
                Some(mut row) => row.int()?,
                None => 0,
            };
            if waiting > 0 {
                return Ok(Written::Put(Put::InUse(waiting)));
            }
            (now.paused_at, now.pause_reason.clone(), Some(micros(item.at)), "lab.deleted", json!({}))
        }
    };
    let head = trail.add(&now.head, item.at, (id, id), kind, &item.actor, &detail);
    let row = json!({"id": id, "paused_at": paused_at, "pause_reason": pause_reason, "deleted_at": deleted_at,
        "head": head, "at": micros(item.at)});
    rows_run_all(s, s.sql().lab_set, &[row], "labs").await?;
    Ok(Written::Put(Put::Done(now.version + 1)))
}

/// Creates or replaces a platform.
pub(super) async fn put_platform<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &PutPlatform,
) -> Result<Written> {
    let id = item.id.as_str();
    let (spec, version, head) = match s.fetch(s.sql().platform_lock, &[id.into()]).await?.pop() {
        Some(row) => {
            let mut row = row.of("platforms");
            (row.text()?, row.int()?, row.text()?)
        }
        None => (String::new(), 0, String::new()),
    };
    if spec == item.spec {
        return Ok(Written::Put(Put::Unchanged(version)));
    }
    let kind = if version == 0 { "platform.created" } else { "platform.changed" };
    let new: serde_json::Value = serde_json::from_str(&item.spec).unwrap_or_default();
    let was = head;
    let changes = (version != 0).then(|| changes(&spec, &new));
    let detail = json!({"spec": new, "changes": changes});
    let head = trail.add(&was, item.at, (id, ""), kind, &item.actor, &detail);
    let args = [id.into(), (&item.spec).into(), item.at.into(), (&head).into(), (&was).into()];
    if s.run(s.sql().platform_put, &args).await? == 0 {
        return Err(Error::met());
    }
    Ok(Written::Put(Put::Done(version + 1)))
}

/// Adds a key.
pub(super) async fn put_key<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    key: &KeyRow,
    actor: &Actor,
) -> Result<Written> {
    let row = json!({"id": key.id, "scope": key.scope, "owner": key.owner, "name": key.name, "hash": key.hash,
        "created_at": micros(key.created_at), "expires_at": key.expires_at.map(micros)});
    rows_run_all(s, s.sql().keys.key_insert, &[row], "keys").await?;
    let detail =
        json!({"scope": key.scope, "owner": key.owner, "name": key.name, "expires_at": key.expires_at});
    trail.add("", key.created_at, (&format!("key_{}", key.id), ""), "key.created", actor, &detail);
    Ok(Written::Done)
}

/// Ends a key.
pub(super) async fn revoke_key<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    id: &str,
    at: Timestamp,
    actor: &Actor,
) -> Result<Written> {
    let there = match s.fetch(s.sql().keys.key_count, &[id.into()]).await?.pop() {
        Some(mut row) => row.int()? > 0,
        None => false,
    };
    if !there {
        return Ok(Written::Put(Put::NotFound));
    }
    if s.run(s.sql().keys.key_revoke, &[id.into(), at.into()]).await? == 0 {
        return Ok(Written::Put(Put::Unchanged(2)));
    }
    let subject = format!("key_{id}");
    // The key may have been added by this very set.
    trail.flush(s).await?;
    let first = s.fetch(s.sql().event_of_subjects, &[(&super::to_json(&[[&subject]])?).into()]).await?.pop();
    let previous = first.map(super::rows::event).transpose()?.map(|event| event.hash).unwrap_or_default();
    trail.add(&previous, at, (&subject, ""), "key.revoked", actor, &json!({}));
    Ok(Written::Put(Put::Done(2)))
}

/// Remembers the answer to an idempotency key.
pub(super) async fn remember<S: Session>(s: &mut S, answer: &Remembered) -> Result<Written> {
    let Remembered { scope, key, fingerprint, status, body, at } = answer;
    let args = [scope.into(), key.into(), fingerprint.into(), (*status).into(), body.into(), (*at).into()];
    s.run(s.sql().remember, &args).await?;
    Ok(Written::Done)
}

/// Says until when a gateway is clear, and tells how many others there are.
pub(super) async fn announce<S: Session>(s: &mut S, said: &Announce) -> Result<Written> {
    let Announce { replica, clear_until, at } = said;
    s.run(s.sql().replica_put, &[replica.into(), (*clear_until).into(), (*at).into()]).await?;
    let alive = at.saturating_sub(GONE_AFTER).unwrap_or(*at);
    let others = s.fetch(s.sql().replica_others, &[replica.into(), alive.into()]).await?.pop();
    Ok(Written::Announced(others.map(|mut row| row.int()).transpose()?.unwrap_or_default()))
}

/// Takes a gateway off the list, with those that have long been gone.
pub(super) async fn leave<S: Session>(s: &mut S, replica: &str, at: Timestamp) -> Result<Written> {
    let gone = at.saturating_sub(GONE_AFTER).unwrap_or(at);
    s.run(s.sql().replica_forget, &[replica.into(), gone.into()]).await?;
    Ok(Written::Done)
}

/// How many entries a checkpoint reads at a time.
const PAGE: i64 = 5_000;

/// Writes a checkpoint: a hash over the last checkpoint and the hashes of all entries since, so that no
/// entry, and no subject, can vanish whole.
pub(super) async fn checkpoint<S: Session>(s: &mut S, at: Timestamp) -> Result<Written> {
    s.run(s.sql().checkpoint_lock, &[]).await?;
    let (mut seq, last) = match s.fetch(s.sql().checkpoint_last, &[]).await?.pop() {
        Some(row) => {
            let mut row = row.of("checkpoints");
            let _at = row.int()?;
            (row.int()?, row.text()?)
        }
        None => (0, String::new()),
    };
    let mut sum = Sha256::new();
    sum.update(last.as_bytes());
    let first = seq;
    loop {
        let rows = s.fetch(s.sql().event_hashes, &[seq.into(), PAGE.into()]).await?;
        let count = rows.len() as i64;
        for mut row in rows {
            seq = row.int()?;
            sum.update(row.text()?.as_bytes());
        }
        if count < PAGE {
            break;
        }
    }
    if seq > first {
        let hash = hex(&sum.finalize());
        s.run(s.sql().checkpoint_insert, &[at.into(), seq.into(), (&hash).into()]).await?;
    }
    Ok(Written::Done)
}

/// Makes the key of links; a second one is not taken.
pub(super) async fn put_link_key<S: Session>(
    s: &mut S,
    secret: &secrecy::SecretString,
    at: Timestamp,
) -> Result<Written> {
    use secrecy::ExposeSecret as _;
    s.run(s.sql().links.link_key_insert, &[secret.expose_secret().into(), at.into()]).await?;
    Ok(Written::Done)
}

/// The serial of the links to a region's calendar that hold.
pub(in crate::store) async fn calendar_serial<S: Session>(
    s: &mut S,
    lab: &LabId,
    region: &RegionId,
) -> Result<u32> {
    let args = [lab.as_str().into(), region.as_str().into()];
    let Some(row) = s.fetch(s.sql().warnings.calendar_serial, &args).await?.pop() else { return Ok(0) };
    u32::try_from(row.of("calendar_serials").int()?).map_err(|_| Error::Corrupt {
        table: "calendar_serials",
        what: "a serial is out of its range".to_owned(),
    })
}

/// Takes back the links to a region's calendar.
pub(super) async fn revoke_calendar_links<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &RevokeCalendarLinks,
) -> Result<Written> {
    let id = item.lab.as_str();
    let Some(now) = lab(s, id).await? else { return Ok(Written::LinksRevoked(None)) };
    let args = [id.into(), item.region.as_str().into()];
    s.run(s.sql().warnings.calendar_serial_raise, &args).await?;
    let serial = calendar_serial(s, &item.lab, &item.region).await?;
    let detail = json!({"region": item.region, "serial": serial});
    let head = trail.add(&now.head, item.at, (id, id), "lab.calendar_links_revoked", &item.actor, &detail);
    let args = [id.into(), (&head).into(), (&now.head).into()];
    if s.run(s.sql().warnings.lab_head, &args).await? == 0 {
        return Err(Error::met());
    }
    Ok(Written::LinksRevoked(Some(serial)))
}
