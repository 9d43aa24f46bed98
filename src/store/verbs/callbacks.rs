//! Where platforms are asked to deactivate links of downloads. What is changed of it is told in the platform's log.

use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::Trail;
use super::stop::micros;
use super::webhook::both;
use crate::domain::ids::PlatformId;
use crate::domain::measures::Lasting;
use crate::domain::webhook::Secrets;
use crate::store::session::{Row, Session};
use crate::store::types::{CallbackChange, CallbackRow, ChangeCallback, Put, Written};
use crate::store::{Error, Result};

/// Where a platform is asked, in the order of the columns in `dialect`.
pub(super) fn read(row: &mut Row) -> Result<CallbackRow> {
    Ok(CallbackRow {
        platform: row.parsed(PlatformId::parse)?,
        url: row.text()?,
        answers_within: Lasting(SignedDuration::from_micros(row.int()?)),
        secrets: Secrets {
            now: SecretString::from(row.text()?),
            before: both(row.opt_text()?.map(SecretString::from), row.opt_at()?),
        },
        version: row.int()?,
        created_at: row.at()?,
        updated_at: row.at()?,
    })
}

/// Where a platform is asked.
pub(super) async fn of<S: Session>(s: &mut S, platform: &str) -> Result<Option<CallbackRow>> {
    let found = s.fetch(s.sql().downloads.callback_one, &[platform.into()]).await?.pop();
    found.map(|row| read(&mut row.of("download_callbacks"))).transpose()
}

/// The same, for reads.
pub(in crate::store) async fn download_callback<S: Session>(
    s: &mut S,
    platform: &PlatformId,
) -> Result<Option<CallbackRow>> {
    of(s, platform.as_str()).await
}

/// Changes where a platform is asked.
pub(super) async fn change<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &ChangeCallback,
) -> Result<Written> {
    let platform = item.platform.as_str();
    let Some(mut row) = s.fetch(s.sql().platform_lock, &[platform.into()]).await?.pop() else {
        return Ok(Written::Put(Put::NotFound));
    };
    let (_spec, _version, head) = (row.text()?, row.int()?, row.text()?);
    let known = of(s, platform).await?;
    let (kind, detail) = match (&item.change, &known) {
        (CallbackChange::Set { url, answers_within, .. }, Some(known))
            if *url == known.url && *answers_within == known.answers_within =>
        {
            return Ok(Written::Put(Put::Unchanged(known.version)));
        }
        (CallbackChange::Set { url, answers_within, secret }, _) => {
            let within = i64::try_from(answers_within.0.as_micros()).unwrap_or(i64::MAX);
            let args = [
                platform.into(),
                url.into(),
                within.into(),
                secret.expose_secret().into(),
                micros(item.at).into(),
            ];
            s.run(s.sql().downloads.callback_put, &args).await?;
            ("platform.downloads_set", json!({"url": url, "answers_within": answers_within}))
        }
        (_, None) => return Ok(Written::Put(Put::NotFound)),
        (CallbackChange::Rotate { secret, keep_until }, Some(_)) => {
            let args = [platform.into(), secret.expose_secret().into(), (*keep_until).into(), item.at.into()];
            s.run(s.sql().downloads.callback_rotate, &args).await?;
            ("platform.downloads_rotated", json!({"old_until": keep_until}))
        }
        (CallbackChange::Delete, Some(_)) => {
            s.run(s.sql().downloads.callback_delete, &[platform.into()]).await?;
            ("platform.downloads_deleted", json!({}))
        }
    };
    if !matches!(item.change, CallbackChange::Rotate { .. }) {
        // What waits for its next attempt is asked there now, or given to a person.
        s.run(s.sql().downloads.download_hasten, &[platform.into(), item.at.into()]).await?;
    }
    let next = trail.add(&head, item.at, (platform, ""), kind, &item.actor, &detail);
    let args = [platform.into(), next.as_str().into(), head.as_str().into()];
    if s.run(s.sql().downloads.platform_head, &args).await? == 0 {
        return Err(Error::met());
    }
    Ok(Written::Put(Put::Done(known.map_or(1, |known| known.version + 1))))
}
