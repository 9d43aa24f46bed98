//! Mail to the people of labs. A row is claimed before anything is sent, so that neither a restart nor another
//! gateway sends it a second time; how it ended is an entry in the order's changelog.

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;

use super::place::{Decided, Place};
use super::rows;
use super::stop::{lock, micros};
use super::{About, Trail, rows_run, rows_run_all};
use crate::domain::event::Actor;
use crate::domain::ids::{LabId, OrderId, RegionId, StopId};
use crate::domain::mail::{AfterMail, MailOutcome, Step, after};
use crate::domain::stop::{Evidence, StopState};
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{ClaimMails, MailDue, MailPlan, MailWanted, SettleMail, Written};

const WAITS: i64 = 0;
const SENDING: i64 = 1;
const SENT: i64 = 2;
const GIVEN_UP: i64 = 3;
const NOT_NEEDED: i64 = 4;

/// Open stops of these labs, with orders that they have, about which nobody was written yet.
pub(in crate::store) async fn mail_wanted<S: Session>(
    s: &mut S,
    labs: &[LabId],
    limit: i64,
) -> Result<Vec<MailWanted>> {
    if labs.is_empty() {
        return Ok(Vec::new());
    }
    let labs = super::to_json(&super::ids(labs.iter().map(LabId::as_str)))?;
    let rows = s.fetch(s.sql().mail_wanted, &[(&labs).into(), limit.into()]).await?;
    rows.into_iter()
        .map(|row| {
            let mut row = row.of("stops");
            let stop = rows::stop(&mut row)?;
            Ok(MailWanted { stop, lab: row.parsed(LabId::parse)?, region: row.parsed(RegionId::parse)? })
        })
        .collect()
}

/// When the next mail is due.
pub(in crate::store) async fn mail_next<S: Session>(s: &mut S) -> Result<Option<Timestamp>> {
    s.fetch(s.sql().mail_next, &[]).await?.pop().map_or(Ok(None), |row| row.of("mails").opt_at())
}

/// The key of links.
pub(in crate::store) async fn link_key<S: Session>(s: &mut S) -> Result<Option<SecretString>> {
    let row = s.fetch(s.sql().links.link_key, &[]).await?.pop();
    row.map(|row| row.of("link_keys").text().map(SecretString::from)).transpose()
}

/// Plans mails; what is planned stays as it is.
pub(super) async fn plan<S: Session>(s: &mut S, plans: &[MailPlan]) -> Result<Written> {
    let rows: Vec<_> = plans
        .iter()
        .map(|plan| {
            json!({"stop": plan.stop, "step": plan.step.code(), "order": plan.order, "lab": plan.lab,
                "at": micros(plan.at)})
        })
        .collect();
    rows_run(s, s.sql().mail_insert, &rows).await?;
    Ok(Written::Done)
}

/// Takes mails that are due; those about stops that are decided end here.
pub(super) async fn claim<S: Session>(s: &mut S, _: &mut Trail, item: &ClaimMails) -> Result<Written> {
    let rows = s.fetch(s.sql().mail_claim, &[item.now.into(), item.limit.into()]).await?;
    let (mut due, mut updates) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let mut row = row.of("mails");
        let stop = row.parsed(StopId::parse)?;
        let step = row.coded(Step::from_code)?;
        let (order, lab) = (row.parsed(OrderId::parse)?, row.parsed(LabId::parse)?);
        let (state, attempts, unclear) = (row.int()?, row.int()?, row.int()?);
        let open = !row.coded(StopState::from_code)?.is_decided();
        let lapsed = state == SENDING;
        let (to, attempt) = match (open, lapsed) {
            (false, false) => (NOT_NEEDED, attempts),
            // Also where the stop is decided by now: that nobody knows is written down.
            (_, true) => (SENDING, attempts),
            (true, false) => (SENDING, attempts + 1),
        };
        let ended_at = (to == NOT_NEEDED).then(|| micros(item.now));
        updates.push(json!({"stop": stop, "step": step.code(), "state": to, "attempts": attempt,
            "unclear": unclear, "next_at": micros(item.lease_until), "ended_at": ended_at}));
        if to == SENDING {
            due.push(MailDue { stop, order, lab, step, attempt, lapsed });
        }
    }
    rows_run_all(s, s.sql().mail_update, &updates, "mails").await?;
    Ok(Written::MailsClaimed(due))
}

/// Takes how a sending ended.
pub(super) async fn settle<S: Session>(s: &mut S, trail: &mut Trail, item: &SettleMail) -> Result<Written> {
    let Some(row) = s.fetch(s.sql().stop_peek, &[item.stop.as_str().into()]).await?.pop() else {
        return Ok(Written::Done);
    };
    let order = row.of("stops").text()?;
    // Order, then stop, then mail: the order in which everybody locks.
    let standing = lock(s, &[&order]).await?.pop();
    let stop = s.fetch(s.sql().stop_lock, &[item.stop.as_str().into()]).await?.pop();
    let mail = s.fetch(s.sql().mail_lock, &[item.stop.as_str().into(), item.step.code().into()]).await?.pop();
    let (Some(standing), Some(stop), Some(mail)) = (standing, stop, mail) else {
        return Ok(Written::Done);
    };
    let mut facts = rows::stop(&mut stop.of("stops"))?;
    let mut mail = mail.of("mails");
    let (state, attempts, mut unclear) = (mail.int()?, mail.int()?, mail.int()?);
    let ours = state == SENDING && attempts == item.attempt;
    // That it was sent is true whoever says so; all else only counts of the attempt that is under way.
    if !ours && (item.outcome != MailOutcome::Sent || state == SENT) {
        return Ok(Written::Done);
    }
    unclear += i64::from(matches!(item.outcome, MailOutcome::Unclear(_)));
    let follows = after(&item.outcome, attempts, unclear);
    let (state, next_at) = match follows {
        AfterMail::Done => (SENT, item.at),
        AfterMail::Again(delay) => (WAITS, crate::domain::batch::later(item.at, delay)),
        AfterMail::GiveUp => (GIVEN_UP, item.at),
    };
    let row = json!({"stop": item.stop, "step": item.step.code(), "state": state, "attempts": attempts,
        "unclear": unclear, "next_at": micros(next_at), "ended_at": (state != WAITS).then(|| micros(item.at))});
    rows_run_all(s, s.sql().mail_update, &[row], "mails").await?;
    let kind = if item.outcome == MailOutcome::Sent { "stop.mailed" } else { "stop.mail_failed" };
    let mut detail =
        json!({"stop": item.stop, "mail": item.step.word(), "to": item.to, "attempt": item.attempt});
    if let Some(cause) = item.outcome.cause() {
        detail["outcome"] = item.outcome.word().into();
        detail["cause"] = cause.into();
        detail["again_at"] = json!((state == WAITS).then_some(next_at));
    }
    let subject = (standing.id.as_str(), standing.lab.as_str());
    let head = trail.add(&standing.head, item.at, subject, kind, &Actor::gateway(), &detail);
    let mut place = Place::moved(&standing, head);
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await?;
    if follows != AfterMail::GiveUp || facts.state.is_decided() {
        return Ok(Written::Done);
    }
    let about = About { subject: facts.id.as_str(), order: Some(standing.id.as_str()), lab: &standing.lab };
    let cause = format!(
        "the mail to {} about the stop could not be sent ({}): somebody must ask the lab in another way",
        item.to,
        item.outcome.word()
    );
    trail.escalate(&item.escalation, "stop", &about, &cause, item.at, facts.deadline_at);
    if facts.state == StopState::Pending {
        let decided = Decided {
            state: StopState::WithAPerson,
            evidence: Some(Evidence::NoChannel),
            answer: None,
            at: item.at,
            actor: &Actor::gateway(),
        };
        place = Place::new(&standing.id, &place.head, place.lines_out);
        let stop = decided.apply(trail, &mut facts, &standing.lab, &mut place);
        rows_run_all(s, s.sql().stop_update, &[stop], "stops").await?;
        rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await?;
    }
    Ok(Written::Done)
}
