//! The one body: what each write does, in terms of statements. Engines only open transactions.
//!
//! Within a set, what narrows comes before what hands over: stops first, claims last.

pub(super) mod addresses;
pub(super) mod admit;
mod answers;
mod approval;
mod approval_lines;
mod batch;
pub(super) mod board;
mod bundle;
mod callbacks;
mod change;
mod claim;
mod customer;
mod cut;
mod downloads;
mod evidence;
pub(super) mod extras;
mod factor;
mod follow;
mod forward;
pub(super) mod import;
mod mail;
#[cfg(debug_assertions)]
pub(super) mod mistakes;
pub(super) mod ops;
mod parts;
mod place;
pub(super) mod read;
mod registry;
mod replace;
pub(super) mod report;
mod retention;
pub(super) mod routes;
mod rows;
pub(super) mod session;
mod settle;
mod stop;
pub(super) mod stretch;
mod verify;
pub(super) mod warnings;
pub(super) mod webhook;
mod webhook_send;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::session::{Arg, Session};
use super::types::{Piece, Write, Written};
use super::{Error, Result};
use crate::domain::event::{self, Actor};
use crate::domain::ids::EscalationId;

/// What a transaction adds to the log, in order.
#[derive(Default)]
struct Trail {
    events: Vec<EventRow>,
    escalations: Vec<Value>,
    /// Stops that were asked or moved: see `follow`.
    heard: Vec<follow::Heard>,
}

struct EventRow {
    at: i64,
    subject: String,
    lab: String,
    kind: &'static str,
    actor: String,
    detail: String,
    previous: String,
    hash: String,
}

impl Trail {
    /// Chains an entry to `head` and gives the new head.
    fn add(
        &mut self,
        head: &str,
        at: Timestamp,
        (subject, lab): (&str, &str),
        kind: &'static str,
        actor: &Actor,
        detail: &impl Serialize,
    ) -> String {
        let detail = serde_json::to_string(detail).expect("a detail is texts and numbers under names");
        let hash = event::hash(head, at, subject, kind, &actor.0, &detail);
        self.heard.extend(follow::Heard::of(kind, subject, &detail, actor, at));
        self.events.push(EventRow {
            at: at.as_microsecond(),
            subject: subject.to_owned(),
            lab: lab.to_owned(),
            kind,
            actor: actor.0.clone(),
            detail,
            previous: head.to_owned(),
            hash: hash.clone(),
        });
        hash
    }

    /// Calls a person.
    fn escalate(
        &mut self,
        id: &EscalationId,
        kind: &str,
        about: &About<'_>,
        cause: &str,
        at: Timestamp,
        due_at: Timestamp,
    ) {
        self.escalations.push(json!({
            "id": id.as_str(), "kind": kind, "subject": about.subject, "order": about.order, "lab": about.lab,
            "cause": cause, "opened_at": at.as_microsecond(), "due_at": due_at.as_microsecond(),
        }));
    }

    /// Shows, on the escalation that was opened last, what contradicts each other.
    fn show(&mut self, evidence: &[Piece]) {
        let text = serde_json::to_string(evidence).ok();
        if let Some(last) = self.escalations.last_mut() {
            last["evidence"] = text.into();
        }
    }

    /// The entries of a subject that this transaction has added, as pieces of evidence.
    fn pieces(&self, subject: &str) -> Vec<Piece> {
        let own = self.events.iter().filter(|event| event.subject == subject);
        own.map(|event| Piece {
            at: Timestamp::from_microsecond(event.at).unwrap_or_default(),
            kind: event.kind.to_owned(),
            actor: event.actor.clone(),
            detail: serde_json::from_str(&event.detail).unwrap_or_default(),
        })
        .collect()
    }

    async fn flush<S: Session>(&mut self, s: &mut S) -> Result<()> {
        if !self.events.is_empty() {
            let rows: Vec<_> = self
                .events
                .iter()
                .map(|e| {
                    [
                        Arg::Text(&e.subject),
                        e.at.into(),
                        Arg::Text(&e.lab),
                        e.kind.into(),
                        Arg::Text(&e.actor),
                        Arg::Text(&e.detail),
                        Arg::Text(&e.previous),
                        Arg::Text(&e.hash),
                    ]
                })
                .collect();
            s.put(s.sql().event_insert, &rows).await?;
            self.events.clear();
        }
        if !self.escalations.is_empty() {
            rows_run(s, s.sql().escalation_insert, &self.escalations).await?;
            self.escalations.clear();
        }
        Ok(())
    }
}

/// What an escalation is about.
struct About<'a> {
    subject: &'a str,
    order: Option<&'a str>,
    lab: &'a str,
}

fn to_json<T: Serialize>(rows: &T) -> Result<String> {
    serde_json::to_string(rows)
        .map_err(|error| Error::Corrupt { table: "(parameter)", what: error.to_string() })
}

/// Runs a statement over a set of rows.
async fn rows_run<S: Session, T: Serialize>(s: &mut S, sql: &'static str, rows: &[T]) -> Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let json = to_json(&rows)?;
    s.run(sql, &[Arg::Text(&json)]).await
}

/// Runs a guarded statement over a set of rows: every row must have been changed.
async fn rows_run_all<S: Session, T: Serialize>(
    s: &mut S,
    sql: &'static str,
    rows: &[T],
    table: &'static str,
) -> Result<()> {
    let changed = rows_run(s, sql, rows).await?;
    guarded(changed, rows.len(), table)
}

/// The same, with a bound set.
async fn put_all<S: Session, const N: usize>(
    s: &mut S,
    sql: &'static str,
    rows: &[[Arg<'_>; N]],
    table: &'static str,
) -> Result<()> {
    let changed = s.put(sql, rows).await?;
    guarded(changed, rows.len(), table)
}

/// The rows were read under a lock in this transaction: somebody else's change is impossible, so the
/// transaction must not commit.
fn guarded(changed: u64, rows: usize, table: &'static str) -> Result<()> {
    if changed == rows as u64 {
        Ok(())
    } else {
        Err(Error::Corrupt { table, what: format!("{changed} of {rows} guarded rows changed") })
    }
}

/// Fetches with a set of rows.
async fn rows_fetch<S: Session, T: Serialize>(
    s: &mut S,
    sql: &'static str,
    rows: &[T],
) -> Result<Vec<super::session::Row>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let json = to_json(&rows)?;
    s.fetch(sql, &[Arg::Text(&json)]).await
}

/// Ids as the one-column rows that `r.value ->> 0` reads.
fn ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<[&'a str; 1]> {
    ids.into_iter().map(|id| [id]).collect()
}

/// Applies a set within the open transaction, and gives one outcome a write, in order.
pub(super) async fn apply<S: Session>(s: &mut S, writes: &[Write]) -> Result<Vec<Written>> {
    let mut out: Vec<Option<Written>> = writes.iter().map(|_| None).collect();
    let mut trail = Trail::default();

    /// Collects the writes of one kind with their places.
    macro_rules! each {
        ($kind:ident) => {
            writes.iter().enumerate().filter_map(|(at, write)| match write {
                Write::$kind(item) => Some((at, item)),
                _ => None,
            })
        };
    }
    macro_rules! one_by_one {
        ($($kind:ident => $verb:path;)*) => {$(
            for (at, item) in each!($kind) {
                out[at] = Some($verb(s, &mut trail, item).await?);
            }
        )*};
    }

    let (parts, stops): (Vec<_>, Vec<_>) =
        each!(Stop).map(|(at, ask)| (at, &**ask)).partition(|(_, ask)| !ask.items.is_empty());
    stop::ask(s, &mut trail, &stops, &mut out).await?;
    for (at, ask) in parts {
        out[at] = Some(parts::ask(s, &mut trail, ask).await?);
    }
    one_by_one! {
        AskApproval => approval::ask;
        Decide => approval::decide;
    }
    let settles: Vec<_> = each!(Settle).map(|(at, item)| (at, &**item)).collect();
    settle::settle(s, &mut trail, &settles, &mut out).await?;
    one_by_one! {
        SettleStop => answers::settle;
        SettleDownload => downloads::settle;
        ReportDownload => downloads::report;
        Change => change::change;
        AskAddress => addresses::ask;
        SettleAddress => addresses::settle;
        Report => report::report;
        RevokeLinks => customer::revoke;
        Resolve => evidence::resolve;
        MoveBatch => batch::move_batch;
        Replace => replace::replace;
        CloseFull => routes::close_full;
    }
    let admissions: Vec<_> = each!(Admit).map(|(at, item)| (at, &**item)).collect();
    admit::admit(s, &mut trail, &admissions, &mut out).await?;
    one_by_one! {
        Close => batch::close;
        TakeOver => settle::take_over;
    }
    let claims: Vec<_> = each!(Claim).map(|(at, item)| (at, &**item)).collect();
    claim::claim(s, &mut trail, &claims, &mut out).await?;
    one_by_one! {
        ClaimStops => forward::claim;
        ClaimDownloads => downloads::claim;
        ClaimAddresses => addresses::claim;
        Import => import::claim;
        Imported => import::settle;
        SettleMail => mail::settle;
        ClaimMails => mail::claim;
        Warn => warnings::warn;
        RevokeCalendarLinks => registry::revoke_calendar_links;
        PutLab => registry::put_lab;
        SetLab => registry::set_lab;
        PutPlatform => registry::put_platform;
        ChangeCallback => callbacks::change;
        PutRoutes => routes::put;
        Overdue => approval::overdue;
    }
    one_by_one! {
        PutWebhook => webhook::put;
        ChangeWebhook => webhook::change;
    }
    let told: Vec<_> = each!(SettleWebhook).map(|(at, item)| (at, &**item)).collect();
    webhook_send::settle(s, &mut trail, &told, &mut out).await?;
    one_by_one! {
        ClaimWebhook => webhook_send::claim;
    }
    follow::follow(s, &mut trail).await?;
    for (at, write) in writes.iter().enumerate() {
        let written = match write {
            Write::PutKey(key, actor) => registry::put_key(s, &mut trail, key, actor).await?,
            Write::RevokeKey { id, at, actor } => registry::revoke_key(s, &mut trail, id, *at, actor).await?,
            Write::StartFactor(item) => factor::start(s, &mut trail, item).await?,
            Write::ShowCode(item) => factor::show(s, &mut trail, item).await?,
            Write::RemoveFactor { key, at, actor } => factor::remove(s, &mut trail, key, *at, actor).await?,
            Write::OfferSignIn(link) => session::offer(s, &mut trail, link).await?,
            Write::SignIn(item) => session::sign_in(s, &mut trail, item).await?,
            Write::SeeSession { id, at } => session::see(s, id, *at).await?,
            Write::EndSession { id, at, actor } => session::end(s, &mut trail, id, *at, actor).await?,
            Write::Remember(answer) => registry::remember(s, answer).await?,
            Write::Forget { before } => {
                s.run(s.sql().forget, &[(*before).into()]).await?;
                s.run(s.sql().import_forget, &[(*before).into()]).await?;
                session::forget(s, *before).await?;
                Written::Done
            }
            Write::SkipWebhooks(skips) => webhook_send::skip(s, skips).await?,
            Write::ForgetDeliveries(old) => webhook_send::forget(s, old).await?,
            Write::Purge(item) => retention::purge(s, &mut trail, item).await?,
            Write::PlanMails(plans) => mail::plan(s, plans).await?,
            Write::PutLinkKey { secret, at } => registry::put_link_key(s, secret, *at).await?,
            Write::RotateLinks(item) => customer::rotate(s, &mut trail, item).await?,
            Write::PutCustomerKey { secret, at } => customer::put_key(s, secret, *at).await?,
            Write::Announce(said) => registry::announce(s, said).await?,
            Write::Leave { replica, at } => registry::leave(s, replica, *at).await?,
            Write::Checkpoint { at } => {
                // What this set logs is part of what the checkpoint covers.
                trail.flush(s).await?;
                registry::checkpoint(s, *at).await?
            }
            _ => continue,
        };
        out[at] = Some(written);
    }
    trail.flush(s).await?;
    out.into_iter()
        .map(|written| written.ok_or_else(|| Error::Unavailable("a write without an outcome".to_owned())))
        .collect()
}
