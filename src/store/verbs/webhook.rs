//! Endpoints that are told what happens: made, changed, read. Each has its own chain in the log.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::stop::micros;
use super::{Trail, stretch};
use crate::domain::ids::{OrderId, PlatformId, WebhookId};
use crate::domain::webhook::{Condition, ENDPOINTS_MAX, MessageId, Secrets};
use crate::store::Result;
use crate::store::session::{Arg, Row, Session};
use crate::store::types::{
    ChangeWebhook, Delivery, DeliveryFilter, DeliveryState, Put, PutWebhook, WebhookChange, WebhookFilter,
    WebhookRow, Written,
};

/// How far the log may be from the order of its instants.
const LOG_SLACK: SignedDuration = SignedDuration::from_mins(2);

/// The order of a row; its place is empty where there is none.
pub(super) fn order_of(row: &mut Row) -> Result<Option<OrderId>> {
    let text = row.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    OrderId::parse(&text).map(Some).map_err(|error| row.corrupt(error.to_string()))
}

/// The same the other way.
pub(super) fn order_text(order: Option<&OrderId>) -> &str {
    order.map_or("", OrderId::as_str)
}

/// Both of two columns, or neither.
pub(super) fn both<A, B>(one: Option<A>, two: Option<B>) -> Option<(A, B)> {
    one.zip(two)
}

pub(super) fn row(row: &mut Row) -> Result<WebhookRow> {
    let (id, platform) = (row.parsed(WebhookId::parse)?, row.parsed(PlatformId::parse)?);
    let spec = row.parsed(|text| serde_json::from_str(text))?;
    let enabled = row.flag()?;
    let off = both(row.opt_at()?, row.opt_text()?);
    let now = SecretString::from(row.text()?);
    let before = both(row.opt_text()?.map(SecretString::from), row.opt_at()?);
    let mut read = WebhookRow {
        id,
        platform,
        spec,
        enabled,
        off,
        secrets: Secrets { now, before },
        version: row.int()?,
        created_at: row.at()?,
        updated_at: row.at()?,
        cursor: row.int()?,
        taken: row.int()?,
        held: {
            let (holder, until) = (row.text()?, row.at()?);
            (!holder.is_empty()).then_some((holder, until))
        },
        replay: both(row.opt_int()?, row.opt_int()?),
        condition: Condition {
            failures: row.int()?,
            failing_since: row.opt_at()?,
            rest_until: row.opt_at()?,
            failed_at: None,
        },
        due_at: row.opt_at()?,
        delivered: row.int()?,
        delivered_at: row.opt_at()?,
        failed_at: row.opt_at()?,
        failed_cause: row.opt_text()?,
    };
    read.condition.failed_at = read.failed_at;
    Ok(read)
}

/// One endpoint, locked.
pub(super) struct Locked {
    pub(super) row: WebhookRow,
    pub(super) fence: i64,
    pub(super) head: String,
}

pub(super) async fn lock<S: Session>(s: &mut S, id: &WebhookId) -> Result<Option<Locked>> {
    let Some(found) = s.fetch(s.sql().webhooks.webhook_lock, &[id.as_str().into()]).await?.pop() else {
        return Ok(None);
    };
    let mut found = found.of("webhooks");
    Ok(Some(Locked { row: row(&mut found)?, fence: found.int()?, head: found.text()? }))
}

fn spec_text(spec: &crate::domain::webhook::WebhookSpec) -> String {
    serde_json::to_string(spec).expect("a definition is texts under names")
}

/// Makes an endpoint.
pub(super) async fn put<S: Session>(s: &mut S, trail: &mut Trail, item: &PutWebhook) -> Result<Written> {
    let platform = item.platform.as_str();
    let there = match s.fetch(s.sql().webhooks.webhook_count, &[platform.into()]).await?.pop() {
        Some(mut row) => row.int()?,
        None => 0,
    };
    if there >= ENDPOINTS_MAX {
        return Ok(Written::Put(Put::InUse(there)));
    }
    let detail = json!({"platform": item.platform, "spec": item.spec, "enabled": item.enabled,
        "behind": item.cursor});
    let subject = (item.id.as_str(), "");
    let head = trail.add("", item.at, subject, "webhook.created", &item.actor, &detail);
    let text = spec_text(&item.spec);
    let args = [
        item.id.as_str().into(),
        platform.into(),
        (&text).into(),
        i64::from(item.enabled).into(),
        item.secret.expose_secret().into(),
        item.at.into(),
        (&head).into(),
        item.cursor.into(),
    ];
    s.run(s.sql().webhooks.webhook_insert, &args).await?;
    Ok(Written::Put(Put::Done(1)))
}

/// Changes an endpoint.
pub(super) async fn change<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &ChangeWebhook,
) -> Result<Written> {
    let foreign = |row: &WebhookRow| item.platform.as_ref().is_some_and(|own| *own != row.platform);
    let Some(locked) = lock(s, &item.id).await?.filter(|locked| !foreign(&locked.row)) else {
        return Ok(Written::Put(Put::NotFound));
    };
    let row = &locked.row;
    let id: Arg<'_> = item.id.as_str().into();
    let platform = &row.platform;
    let mut add = |kind: &'static str, more: Value| {
        let mut detail = json!({"platform": platform});
        if let (Some(all), Value::Object(more)) = (detail.as_object_mut(), more) {
            all.extend(more);
        }
        trail.add(&locked.head, item.at, (item.id.as_str(), ""), kind, &item.actor, &detail)
    };
    match &item.change {
        WebhookChange::Set { version, .. } if *version != row.version => {
            return Ok(Written::Put(Put::Version(row.version)));
        }
        WebhookChange::Set { spec, enabled, .. } if *spec == row.spec && *enabled == row.enabled => {
            return Ok(Written::Put(Put::Unchanged(row.version)));
        }
        WebhookChange::Set { spec, enabled, .. } => {
            let head = add("webhook.changed", json!({"spec": spec, "enabled": enabled}));
            let text = spec_text(spec);
            let args = [id, (&text).into(), i64::from(*enabled).into(), item.at.into(), (&head).into()];
            s.run(s.sql().webhooks.webhook_set, &args).await?;
            if *enabled && !row.enabled {
                // It goes on where it was, and does not wait for what it did not take before.
                s.run(s.sql().webhooks.delivery_hasten, &[id, item.at.into()]).await?;
                due_again(s, &item.id).await?;
            }
        }
        WebhookChange::Rotate { secret, keep_until } => {
            let head = add("webhook.rotated", json!({"old_until": keep_until}));
            let args =
                [id, secret.expose_secret().into(), (*keep_until).into(), item.at.into(), (&head).into()];
            s.run(s.sql().webhooks.webhook_rotate, &args).await?;
        }
        WebhookChange::Replay(after, until) => {
            // One stretch at a time: what is still to be sent of an earlier one is part of the next.
            let (after, until) = match row.replay {
                Some((from, to)) => (from.min(*after), to.max(*until)),
                None => (*after, *until),
            };
            let head = add("webhook.replayed", json!({"after": after, "until": until}));
            s.run(s.sql().webhooks.webhook_replay, &[id, after.into(), until.into()]).await?;
            s.run(s.sql().webhooks.webhook_head, &[id, (&head).into()]).await?;
            return Ok(Written::Put(Put::Done(row.version)));
        }
        WebhookChange::ReplayOne(message) => {
            let order = order_text(message.order.as_ref());
            let args = [id, message.seq.into(), order.into()];
            let Some(found) = s.fetch(s.sql().webhooks.delivery_ended, &args).await?.pop() else {
                return Ok(Written::Put(Put::NotFound));
            };
            let state = found.of("deliveries").coded(DeliveryState::from_code)?;
            if !state.is_open() {
                let open = super::to_json(&[[item.id.as_str(), order]])?;
                let behind = !s.fetch(s.sql().webhooks.delivery_still, &[(&open).into()]).await?.is_empty();
                let state = if behind { DeliveryState::Behind } else { DeliveryState::Waiting };
                let args = [id, message.seq.into(), order.into(), state.code().into(), item.at.into()];
                s.run(s.sql().webhooks.delivery_reopen, &args).await?;
            }
            let head = add("webhook.replayed", json!({"message": message.to_string()}));
            s.run(s.sql().webhooks.webhook_head, &[id, (&head).into()]).await?;
            due_again(s, &item.id).await?;
            return Ok(Written::Put(Put::Done(row.version)));
        }
        WebhookChange::Delete => {
            let head = add("webhook.deleted", json!({}));
            s.run(s.sql().webhooks.webhook_delete, &[id, item.at.into(), (&head).into()]).await?;
            s.run(s.sql().webhooks.delivery_delete, &[id]).await?;
        }
    }
    Ok(Written::Put(Put::Done(row.version + 1)))
}

/// Finds out again when the next message of an endpoint is due.
pub(super) async fn due_again<S: Session>(s: &mut S, id: &WebhookId) -> Result<Option<Timestamp>> {
    let found = super::rows_fetch(s, s.sql().webhooks.webhook_due, &super::ids([id.as_str()])).await?.pop();
    let Some(mut found) = found else { return Ok(None) };
    found.text()?;
    found.opt_at()
}

/// One endpoint.
pub(in crate::store) async fn webhook<S: Session>(
    s: &mut S,
    id: &WebhookId,
    platform: Option<&PlatformId>,
) -> Result<Option<WebhookRow>> {
    let args = [id.as_str().into(), platform.map_or("", PlatformId::as_str).into()];
    let found = s.fetch(s.sql().webhooks.webhook_one, &args).await?.pop();
    found.map(|found| row(&mut found.of("webhooks"))).transpose()
}

/// Endpoints, by id.
pub(in crate::store) async fn webhooks<S: Session>(
    s: &mut S,
    filter: &WebhookFilter,
) -> Result<Vec<WebhookRow>> {
    let platform = filter.platform.as_ref().map_or("", PlatformId::as_str);
    let after = filter.after.as_ref().map_or("", WebhookId::as_str);
    let args = [platform.into(), after.into(), filter.limit.into()];
    let found = s.fetch(s.sql().webhooks.webhook_list, &args).await?;
    found.into_iter().map(|found| row(&mut found.of("webhooks"))).collect()
}

/// What became of messages of an endpoint, newest first.
pub(in crate::store) async fn deliveries<S: Session>(
    s: &mut S,
    id: &WebhookId,
    filter: &DeliveryFilter,
) -> Result<Vec<Delivery>> {
    let state = filter.state.map_or(-1, DeliveryState::code);
    let (seq, order) = filter
        .before
        .as_ref()
        .map_or((i64::MAX, ""), |before| (before.seq, order_text(before.order.as_ref())));
    let args = [id.as_str().into(), state.into(), seq.into(), order.into(), filter.limit.into()];
    let found = s.fetch(s.sql().webhooks.delivery_list, &args).await?;
    found
        .into_iter()
        .map(|found| {
            let mut row = found.of("deliveries");
            let seq = row.int()?;
            Ok(Delivery {
                id: MessageId { seq, order: order_of(&mut row)? },
                kind: row.text()?,
                state: row.coded(DeliveryState::from_code)?,
                attempts: row.int()?,
                next_at: row.at()?,
                first_at: row.at()?,
                ended_at: row.opt_at()?,
                status: row.coded(|code| u16::try_from(code).ok())?,
                took_ms: row.int()?,
                cause: row.opt_text()?,
                answer: row.text()?,
                body: row.text()?.into(),
            })
        })
        .collect()
}

/// Where the log was at an instant: found by halving, as instants rise with numbers but for a little.
pub(in crate::store) async fn log_at<S: Session>(s: &mut S, at: Timestamp, until: i64) -> Result<i64> {
    let wanted = micros(at.checked_sub(LOG_SLACK).unwrap_or(Timestamp::MIN));
    let (mut before, mut from) = (0, stretch::last(s, until).await? + 1);
    // All up to `before` are older; from `from` on none is.
    while before + 1 < from {
        let middle = before + (from - before) / 2;
        let found = s.fetch(s.sql().webhooks.event_from, &[middle.into()]).await?.pop();
        let Some(mut row) = found else {
            from = middle;
            continue;
        };
        let (seq, at) = (row.int()?, row.int()?);
        if at < wanted {
            before = seq.min(from - 1);
        } else {
            from = middle;
        }
    }
    Ok(before)
}
