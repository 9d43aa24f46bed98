//! Sending to endpoints: who may, up to where, and what came of it. One settlement covers many messages, and one
//! transaction many settlements, in a few statements.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::stop::micros;
use super::webhook::{both, due_again, lock, order_of, order_text};
use super::{Trail, ids, rows_fetch, rows_run};
use crate::domain::event::Actor;
use crate::domain::ids::OrderId;
use crate::domain::webhook::MessageId;
use crate::store::Result;
use crate::store::session::{Arg, Session};
use crate::store::types::{
    ClaimWebhook, Delivery, DeliveryDue, ForgetDeliveries, SettleWebhook, SkipWebhook, WebhookClaim,
    WebhookSettled, Written,
};

/// Takes an endpoint, if nobody else has it.
pub(super) async fn claim<S: Session>(s: &mut S, _: &mut Trail, item: &ClaimWebhook) -> Result<Written> {
    let Some(locked) = lock(s, &item.id).await? else { return Ok(Written::WebhookClaimed(None)) };
    let held = locked.row.held.clone();
    let others = held.as_ref().is_some_and(|(who, until)| *who != item.holder && *until > item.now);
    // Where only one gateway can be at work, whoever else held it is gone.
    if !locked.row.enabled || (S::SHARED && others) {
        return Ok(Written::WebhookClaimed(None));
    }
    let mut row = locked.row;
    let taken = match item.take {
        Some((cursor, until)) if cursor == row.cursor => row.taken.max(until),
        _ => row.taken,
    };
    let args = [item.id.as_str().into(), (&item.holder).into(), item.lease_until.into(), taken.into()];
    s.run(s.sql().webhooks.webhook_claim, &args).await?;
    let id: Arg<'_> = item.id.as_str().into();
    if let Some((_, until)) = held {
        // What it had taken has the end of its lease as its time.
        s.run(s.sql().webhooks.delivery_orphans, &[id, item.now.into(), until.into()]).await?;
        row.due_at = due_again(s, &item.id).await?;
    }
    let ahead = s.fetch(s.sql().webhooks.delivery_ahead, &[id, row.cursor.into()]).await?;
    let ahead = ahead.into_iter().map(|found| {
        let mut found = found.of("deliveries");
        Ok(MessageId { seq: found.int()?, order: order_of(&mut found)? })
    });
    let ahead = ahead.collect::<Result<_>>()?;
    let open = s.fetch(s.sql().webhooks.delivery_open, &[id]).await?;
    let open = open.into_iter().map(|found| {
        let mut found = found.of("deliveries");
        Ok((order_of(&mut found)?, found.int()?))
    });
    let open = open.collect::<Result<_>>()?;
    let unsure_until = if row.taken > row.cursor { row.taken } else { row.cursor };
    let claim = WebhookClaim { fence: locked.fence + 1, unsure_until, ahead, open, row };
    Ok(Written::WebhookClaimed(Some(Box::new(claim))))
}

/// Takes what came of messages, for all settlements of a set at once.
pub(super) async fn settle<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    items: &[(usize, &SettleWebhook)],
    out: &mut [Option<Written>],
) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let mut settled = held(s, items).await?;
    let ours: Vec<(usize, &SettleWebhook)> =
        items.iter().filter(|(_, item)| settled.contains_key(item.id.as_str())).copied().collect();
    record(s, &ours).await?;
    for (_, item) in &ours {
        if let Some((was, to)) = item.replayed {
            let id: Arg<'_> = item.id.as_str().into();
            let args = [id, was.0.into(), was.1.into(), to.into(), to.map(|_| was.1).into()];
            s.run(s.sql().webhooks.webhook_replayed, &args).await?;
            let now = settled.get_mut(item.id.as_str()).filter(|now| now.replay == Some(was));
            if let Some(now) = now {
                now.replay = to.map(|to| (to, was.1));
            }
        }
        if item.hasten {
            let args = [item.id.as_str().into(), item.now.into()];
            s.run(s.sql().webhooks.delivery_hasten, &args).await?;
        }
    }
    free(s, &ours, &mut settled).await?;
    for (_, item) in &ours {
        let Some(now) = settled.get_mut(item.id.as_str()) else { continue };
        if let Some(off) = item.off.filter(|_| now.enabled)
            && let Some(locked) = lock(s, &item.id).await?
        {
            let detail = json!({"platform": locked.row.platform, "cause": off.cause(), "url": locked.row.spec.url,
                "failing_since": item.condition.failing_since, "last": item.failed_cause});
            let subject = (item.id.as_str(), "");
            let kind = "webhook.switched_off";
            let head = trail.add(&locked.head, item.now, subject, kind, &Actor::gateway(), &detail);
            let args = [item.id.as_str().into(), item.now.into(), off.cause().into(), (&head).into()];
            s.run(s.sql().webhooks.webhook_off, &args).await?;
            (now.enabled, now.version) = (false, now.version + 1);
        }
        if item.take_due > 0 && item.lease_until.is_some() {
            now.due = take(s, item).await?;
        }
    }
    let moved: Vec<&str> = ours
        .iter()
        .filter(|(_, item)| {
            let taken = settled.get(item.id.as_str()).is_some_and(|now| !now.due.is_empty());
            let waits = item.deliveries.iter().any(|delivery| delivery.state.is_open());
            taken || waits || item.hasten || item.take_due > 0 || !item.freed.is_empty()
        })
        .map(|(_, item)| item.id.as_str())
        .collect();
    for found in rows_fetch(s, s.sql().webhooks.webhook_due, &ids(moved)).await? {
        let mut found = found.of("webhooks");
        let id = found.text()?;
        let due_at = found.opt_at()?;
        if let Some(now) = settled.get_mut(&id) {
            now.due_at = due_at;
        }
    }
    for (at, item) in items {
        out[*at] = Some(Written::WebhookSettled(settled.remove(item.id.as_str()).map(Box::new)));
    }
    Ok(())
}

/// Moves the cursors of those that are still held as they were claimed.
async fn held<S: Session>(
    s: &mut S,
    items: &[(usize, &SettleWebhook)],
) -> Result<HashMap<String, WebhookSettled>> {
    let mut rows: Vec<_> = items
        .iter()
        .map(|(_, item)| {
            let keeps = if item.lease_until.is_some() { item.holder.as_str() } else { "" };
            let condition = item.condition;
            json!({"id": item.id, "holder": item.holder, "fence": item.fence, "keeps": keeps,
                "lease_until": micros(item.lease_until.unwrap_or(item.now)), "cursor": item.cursor,
                "taken": item.taken.max(item.cursor), "failures": condition.failures,
                "failing_since": condition.failing_since.map(micros),
                "rest_until": condition.rest_until.map(micros), "delivered": item.delivered,
                "delivered_at": (item.delivered > 0).then(|| micros(item.now)),
                "failed_at": item.failed_cause.as_ref().map(|_| micros(item.now)),
                "failed_cause": item.failed_cause})
        })
        .collect();
    // Two transactions side by side lock in the same order.
    rows.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    let found = rows_fetch(s, s.sql().webhooks.webhook_settle, &rows).await?;
    found
        .into_iter()
        .map(|found| {
            let mut found = found.of("webhooks");
            let id = found.text()?;
            let now = WebhookSettled {
                version: found.int()?,
                enabled: found.flag()?,
                replay: both(found.opt_int()?, found.opt_int()?),
                due_at: found.opt_at()?,
                due: Vec::new(),
                cleared: Vec::new(),
            };
            Ok((id, now))
        })
        .collect()
}

async fn record<S: Session>(s: &mut S, items: &[(usize, &SettleWebhook)]) -> Result<()> {
    let all = || items.iter().flat_map(|(_, item)| item.deliveries.iter().map(move |one| (&item.id, one)));
    let rows: Vec<_> = all()
        .map(|(webhook, one): (_, &Delivery)| {
            [
                Arg::Text(webhook.as_str()),
                one.id.seq.into(),
                order_text(one.id.order.as_ref()).into(),
                (&one.kind).into(),
                one.state.code().into(),
                one.attempts.into(),
                one.next_at.into(),
                one.first_at.into(),
                one.ended_at.map(micros).into(),
                i64::from(one.status).into(),
                one.took_ms.into(),
                one.cause.as_deref().into(),
                (&one.answer).into(),
                Arg::Text(&one.body),
            ]
        })
        .collect();
    if !rows.is_empty() {
        s.put(s.sql().webhooks.delivery_put, &rows).await?;
    }
    Ok(())
}

/// Where the first open message of an order ended, the next is due.
async fn free<S: Session>(
    s: &mut S,
    items: &[(usize, &SettleWebhook)],
    settled: &mut HashMap<String, WebhookSettled>,
) -> Result<()> {
    let freed = |item: &SettleWebhook| {
        item.freed
            .iter()
            .map(|order| (order_text(order.as_ref()).to_owned(), order.clone()))
            .collect::<Vec<_>>()
    };
    let mut rows = Vec::new();
    for (_, item) in items {
        rows.extend(freed(item).into_iter().map(|(order, _)| (item.id.as_str(), order, micros(item.now))));
    }
    if rows.is_empty() {
        return Ok(());
    }
    rows_run(s, s.sql().webhooks.delivery_next, &rows).await?;
    let mut still = HashSet::new();
    for found in rows_fetch(s, s.sql().webhooks.delivery_still, &rows).await? {
        let mut found = found.of("deliveries");
        still.insert((found.text()?, found.text()?));
    }
    for (_, item) in items {
        let id = item.id.as_str();
        let cleared: Vec<Option<OrderId>> = freed(item)
            .into_iter()
            .filter(|(order, _)| !still.contains(&(id.to_owned(), order.clone())))
            .map(|(_, order)| order)
            .collect();
        if let Some(now) = settled.get_mut(id) {
            now.cleared = cleared;
        }
    }
    Ok(())
}

/// Takes messages that are due to be sent: the attempt counts from here on.
async fn take<S: Session>(s: &mut S, item: &SettleWebhook) -> Result<Vec<DeliveryDue>> {
    let id: Arg<'_> = item.id.as_str().into();
    let args = [id, item.now.into(), item.take_due.into()];
    let found = s.fetch(s.sql().webhooks.delivery_due, &args).await?;
    let mut due: Vec<DeliveryDue> = Vec::with_capacity(found.len());
    for found in found {
        let mut row = found.of("deliveries");
        due.push(DeliveryDue {
            id: MessageId { seq: row.int()?, order: order_of(&mut row)? },
            kind: row.text()?,
            attempt: row.int()? + 1,
            first_at: row.at()?,
            body: Arc::from(row.text()?),
        });
    }
    // If whoever sends them dies, they are due again when its lease is over.
    let again = micros(item.lease_until.unwrap_or(Timestamp::MAX));
    let rows: Vec<_> = due
        .iter()
        .map(|one| (item.id.as_str(), one.id.seq, order_text(one.id.order.as_ref()), again))
        .collect();
    rows_run(s, s.sql().webhooks.delivery_take, &rows).await?;
    Ok(due)
}

/// Moves cursors over what concerns nobody.
pub(super) async fn skip<S: Session>(s: &mut S, skips: &[SkipWebhook]) -> Result<Written> {
    let mut rows: Vec<_> = skips
        .iter()
        .map(|skip| {
            json!({"id": skip.id, "version": skip.version, "from": skip.from, "to": skip.to,
                "now": micros(skip.now)})
        })
        .collect();
    rows.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    rows_run(s, s.sql().webhooks.webhook_skip, &rows).await?;
    Ok(Written::Done)
}

/// Forgets what became of messages long ago.
pub(super) async fn forget<S: Session>(s: &mut S, item: &ForgetDeliveries) -> Result<Written> {
    let id: Arg<'_> = item.id.as_str().into();
    let sql = s.sql().webhooks.delivery_newest;
    let oldest = match s.fetch(sql, &[id, (item.keep.max(1) - 1).into()]).await?.pop() {
        Some(mut row) => row.int()?,
        None => 0,
    };
    let sql = s.sql().webhooks.delivery_forget;
    s.run(sql, &[id, item.before.into(), oldest.into()]).await?;
    Ok(Written::Done)
}
