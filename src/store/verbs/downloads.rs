//! Downloads: asked to be revoked, forwarded to their platform, and what it says.
//!
//! Every step locks the order, as a stop and a claim do, and continues its log. Nothing here touches a transfer: a
//! download is in none.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::place::{Place, Places};
use super::stop::{self, Standing, micros};
use super::{About, Trail, callbacks, extras, ids, rows_fetch, rows_run_all};
use crate::domain::batch::later;
use crate::domain::downloads::{
    ANSWERS_WITHIN, DownloadEvidence, DownloadFacts, DownloadReply, DownloadState, DownloadWord, Heard,
    heard, is_download,
};
use crate::domain::event::Actor;
use crate::domain::ids::{DownloadId, EscalationId, OrderId, PlatformId};
use crate::domain::lines::{self, Line};
use crate::store::dialect::CALLBACK_COLUMNS;
use crate::store::session::{Arg, Row, Session};
use crate::store::types::{
    ClaimDownloads, DownloadAsk, DownloadDue, DownloadReported, ReportDownload, SettleDownload, StopAsk,
    Written,
};
use crate::store::{Error, Result};

/// Who asks that downloads be revoked, and why.
pub(super) struct Asking<'a> {
    pub(super) actor: &'a Actor,
    pub(super) at: Timestamp,
    pub(super) reason: &'a str,
    pub(super) requested_by: Option<&'a str>,
}

impl<'a> From<&'a StopAsk> for Asking<'a> {
    fn from(ask: &'a StopAsk) -> Self {
        Self { actor: &ask.actor, at: ask.at, reason: &ask.reason, requested_by: ask.requested_by.as_deref() }
    }
}

/// A download, in the order of the columns in `dialect`.
fn facts(row: &mut Row) -> Result<DownloadFacts> {
    Ok(DownloadFacts {
        order: row.parsed(OrderId::parse)?,
        item: row.text()?,
        id: row.parsed(DownloadId::parse)?,
        platform: row.parsed(PlatformId::parse)?,
        state: row.coded(DownloadState::from_code)?,
        evidence: row.opt_text()?.and_then(|word| DownloadEvidence::from_word(&word)),
        asked_at: row.opt_at()?,
        deadline_at: row.opt_at()?,
        next_at: row.at()?,
        attempts: row.int()?,
        decided_at: row.opt_at()?,
        answer: row.opt_text()?,
        contradicted_at: row.opt_at()?,
    })
}

/// The row that `download_put` takes.
fn row(facts: &DownloadFacts) -> Value {
    json!({
        "order": facts.order, "item": facts.item, "id": facts.id, "platform": facts.platform,
        "state": facts.state.code(), "evidence": facts.evidence.map(DownloadEvidence::word),
        "asked_at": facts.asked_at.map(micros), "deadline_at": facts.deadline_at.map(micros),
        "next_at": micros(facts.next_at), "attempts": facts.attempts, "decided_at": facts.decided_at.map(micros),
        "answer": facts.answer, "contradicted_at": facts.contradicted_at.map(micros),
    })
}

/// What is known of the downloads of orders.
pub(super) async fn of_orders<S: Session>(s: &mut S, orders: &[&str]) -> Result<Vec<DownloadFacts>> {
    let found = rows_fetch(s, s.sql().downloads.download_of_orders, &ids(orders.iter().copied())).await?;
    found.into_iter().map(|row| facts(&mut row.of("downloads"))).collect()
}

/// When the next platform is to be asked.
pub(in crate::store) async fn download_next<S: Session>(s: &mut S) -> Result<Option<Timestamp>> {
    match s.fetch(s.sql().downloads.download_next, &[]).await?.pop() {
        Some(mut row) => row.opt_at(),
        None => Ok(None),
    }
}

/// A download of which nothing is kept yet.
fn fresh(standing: &Standing, item: &str, at: Timestamp) -> Result<DownloadFacts> {
    let corrupt = |what: String| Error::Corrupt { table: "orders", what };
    Ok(DownloadFacts {
        id: DownloadId::of(&standing.id, item),
        order: standing.id.clone(),
        item: item.to_owned(),
        platform: PlatformId::parse(&standing.platform).map_err(|fault| corrupt(fault.to_string()))?,
        state: DownloadState::Live,
        evidence: None,
        asked_at: None,
        deadline_at: None,
        next_at: at,
        attempts: 0,
        decided_at: None,
        answer: None,
        contradicted_at: None,
    })
}

/// An id for an escalation about a download: of each kind there is one at most.
fn escalation(facts: &DownloadFacts, kind: &str, at: Timestamp) -> Result<EscalationId> {
    let own = DownloadId::of(&facts.order, &format!("{kind}\0{}", facts.item));
    // It sorts by when it was opened, as those do that are drawn.
    let number = own.as_str().rsplit('_').next().unwrap_or_default();
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0) & 0xffff_ffff_ffff;
    let rest = number.get(12..).unwrap_or_default();
    EscalationId::parse(&format!("{}_{millis:012x}{rest}", EscalationId::PREFIX))
        .map_err(|fault| Error::Corrupt { table: "downloads", what: fault.to_string() })
}

/// Continues the log of the order.
fn tell(
    trail: &mut Trail,
    (facts, lab): (&DownloadFacts, &str),
    place: &mut Place,
    kind: &'static str,
    (actor, at): (&Actor, Timestamp),
    more: Value,
) {
    let mut detail = json!({"download": facts.id, "item": facts.item});
    if let (Some(all), Value::Object(more)) = (detail.as_object_mut(), more) {
        all.extend(more);
    }
    place.head = trail.add(&place.head, at, (facts.order.as_str(), lab), kind, actor, &detail);
}

/// No machine finds out: a person does.
fn to_a_person(
    trail: &mut Trail,
    (facts, lab): (&mut DownloadFacts, &str),
    place: &mut Place,
    because: DownloadEvidence,
    at: Timestamp,
) -> Result<()> {
    let cause = if because == DownloadEvidence::NoCallback {
        "a download is to be revoked, and its platform has given no address at which it can be asked"
    } else {
        "the platform has not said in time whether it deactivated the link of a download"
    };
    facts.state = DownloadState::WithAPerson;
    facts.evidence = Some(because);
    let due = facts.deadline_at.unwrap_or(at);
    let within = due.duration_since(facts.asked_at.unwrap_or(at));
    let due = if due > at { due } else { later(at, within) };
    let about = About { subject: facts.id.as_str(), order: Some(facts.order.as_str()), lab };
    trail.escalate(&escalation(facts, "download", at)?, "download", &about, cause, at, due);
    let more =
        json!({"evidence": because, "cause": cause, "attempts": facts.attempts, "answer": facts.answer});
    tell(trail, (facts, lab), place, "download.with_a_person", (&Actor::gateway(), at), more);
    Ok(())
}

/// Keeps how downloads of one order stand.
async fn keep<S: Session>(s: &mut S, rows: &[Value], place: &Place) -> Result<()> {
    rows_run_all(s, s.sql().downloads.download_put, rows, "downloads").await?;
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await
}

/// The downloads that are named, or all, of which nothing is known yet.
fn new_ones<'a>(lines: &'a [Line], named: Option<&[String]>, known: &[DownloadFacts]) -> Vec<&'a Line> {
    let wanted = |line: &&Line| is_download(line) && named.is_none_or(|named| named.contains(&line.id));
    let unknown = |line: &&Line| known.iter().all(|known| known.item != line.id);
    lines.iter().filter(wanted).filter(unknown).collect()
}

/// Asks that downloads of an order be revoked: those that are `named`, or all. What was asked or said of them before
/// stays.
pub(super) async fn ask<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    (order, lines): (&str, &[Line]),
    named: Option<&[String]>,
    by: &Asking<'_>,
) -> Result<()> {
    if new_ones(lines, named, &[]).is_empty() {
        return Ok(());
    }
    let Some(standing) = stop::lock(s, &[order]).await?.pop() else { return Ok(()) };
    let known = of_orders(s, &[order]).await?;
    let new = new_ones(lines, named, &known);
    if new.is_empty() {
        return Ok(());
    }
    let callback = callbacks::of(s, &standing.platform).await?;
    let within = callback.as_ref().map_or(ANSWERS_WITHIN, |callback| callback.answers_within);
    extras::mark(s, &standing.id).await?;
    let (mut place, mut rows) = (Place::of(&standing), Vec::new());
    for line in new {
        let mut it = fresh(&standing, &line.id, by.at)?;
        it.state = DownloadState::Revoking;
        (it.asked_at, it.deadline_at) = (Some(by.at), Some(later(by.at, within.0)));
        let more =
            json!({"reason": by.reason, "requested_by": by.requested_by, "deadline_at": it.deadline_at});
        tell(trail, (&it, &standing.lab), &mut place, "download.revoking", (by.actor, by.at), more);
        if callback.is_none() {
            to_a_person(trail, (&mut it, &standing.lab), &mut place, DownloadEvidence::NoCallback, by.at)?;
        }
        rows.push(row(&it));
    }
    keep(s, &rows, &place).await
}

/// Whether an order has a download about which nobody was asked yet, and of which nothing was said.
pub(super) async fn any_left<S: Session>(s: &mut S, order: &str) -> Result<bool> {
    let lines = super::parts::known(s, &[order]).await?.remove(order).map(|(lines, _)| lines);
    let lines = lines.unwrap_or_default();
    if new_ones(&lines, None, &[]).is_empty() {
        return Ok(false);
    }
    let known = of_orders(s, &[order]).await?;
    Ok(!new_ones(&lines, None, &known).is_empty())
}

/// Of an order: its id and its lines.
pub(super) type Lines = (String, Vec<Line>);

/// Asks about all downloads of orders of which stops are asked.
pub(super) async fn ask_with<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    stops: &[(usize, &StopAsk)],
    orders: &[Option<Lines>],
) -> Result<()> {
    for ((_, stop), order) in stops.iter().zip(orders) {
        if let Some((order, lines)) = order {
            ask(s, trail, (order, lines), None, &(*stop).into()).await?;
        }
    }
    Ok(())
}

/// Takes downloads about which platforms are to be asked: the intent is durable before the call.
pub(super) async fn claim<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &ClaimDownloads,
) -> Result<Written> {
    let busy = super::to_json(&ids(item.busy.iter().map(PlatformId::as_str)))?;
    let args = [Arg::Text(&busy), item.now.into(), item.limit.into()];
    let (mut due, mut rows, mut places) = (Vec::new(), Vec::new(), Places::default());
    for found in s.fetch(s.sql().downloads.download_claim, &args).await? {
        let mut found = found.of("downloads");
        let mut it = facts(&mut found)?;
        let (lab, head) = (found.text()?, found.text()?);
        let (lines_out, reference) = (super::rows::lines(&mut found)?, found.text()?);
        let callback = if found.absent(CALLBACK_COLUMNS) { None } else { Some(callbacks::read(&mut found)?) };
        let place = places.at(&it.order.clone(), &head, lines_out);
        let deadline = it.deadline_at.unwrap_or(item.now);
        match callback {
            Some(callback) if deadline > item.now => {
                it.attempts += 1;
                it.next_at = item.lease_until.min(deadline);
                let more = json!({"attempt": it.attempts});
                let by = (&Actor::gateway(), item.now);
                tell(trail, (&it, &lab), place, "download.forwarded", by, more);
                rows.push(row(&it));
                due.push(DownloadDue::Ask(Box::new(DownloadAsk { facts: it, reference, callback })));
            }
            callback => {
                let because = match callback {
                    Some(_) => DownloadEvidence::NoAnswer,
                    None => DownloadEvidence::NoCallback,
                };
                to_a_person(trail, (&mut it, &lab), place, because, item.now)?;
                rows.push(row(&it));
                due.push(DownloadDue::Person(Box::new(it)));
            }
        }
    }
    rows_run_all(s, s.sql().downloads.download_put, &rows, "downloads").await?;
    rows_run_all(s, s.sql().standing_stop, &places.rows(), "standings").await?;
    Ok(Written::DownloadsClaimed(due))
}

/// What somebody says of a download.
struct Told<'a> {
    word: DownloadWord,
    evidence: DownloadEvidence,
    words: Option<&'a str>,
    at: Timestamp,
    actor: &'a Actor,
}

/// A download with its order, locked.
async fn locked<S: Session>(s: &mut S, id: &DownloadId) -> Result<Option<(Standing, DownloadFacts)>> {
    let Some(mut found) = s.fetch(s.sql().downloads.download_peek, &[id.as_str().into()]).await?.pop() else {
        return Ok(None);
    };
    let order = found.text()?;
    let Some(standing) = stop::lock(s, &[&order]).await?.pop() else { return Ok(None) };
    let known = of_orders(s, &[&order]).await?.into_iter().find(|known| known.id == *id);
    Ok(known.map(|known| (standing, known)))
}

/// Takes a word about a download whose order is locked; false if it had nothing new to say.
async fn said<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    standing: &Standing,
    it: &mut DownloadFacts,
    told: &Told<'_>,
) -> Result<bool> {
    let mut place = Place::of(standing);
    let by = (told.actor, told.at);
    let more = json!({"evidence": told.evidence, "answer": told.words});
    let kind = match heard(it.state, told.word) {
        Heard::Same => return Ok(false),
        Heard::Contradicts if it.contradicted_at.is_some() => return Ok(false),
        Heard::Now(state) => {
            (it.state, it.evidence, it.decided_at) = (state, Some(told.evidence), Some(told.at));
            it.answer = told.words.map(str::to_owned).or(it.answer.take());
            let decision = if state == DownloadState::Revoked { "revoked" } else { "fetched" };
            let args = [
                it.id.as_str().into(),
                told.at.into(),
                decision.into(),
                told.words.unwrap_or_default().into(),
                told.actor.0.as_str().into(),
            ];
            s.run(s.sql().downloads.download_resolved, &args).await?;
            if state == DownloadState::Revoked { "download.revoked" } else { "download.fetched" }
        }
        Heard::Late => "download.late_answer",
        Heard::Contradicts => {
            it.contradicted_at = Some(told.at);
            let about = About { subject: it.id.as_str(), order: Some(it.order.as_str()), lab: &standing.lab };
            let cause = "a download that was told revoked is said to have been fetched";
            let id = escalation(it, "download_contradiction", told.at)?;
            let due = later(told.at, ANSWERS_WITHIN.0);
            trail.escalate(&id, "download_contradiction", &about, cause, told.at, due);
            "download.contradicted"
        }
    };
    tell(trail, (it, &standing.lab), &mut place, kind, by, more);
    keep(s, &[row(it)], &place).await?;
    Ok(true)
}

/// Takes what a platform answered, or that it did not.
pub(super) async fn settle<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &SettleDownload,
) -> Result<Written> {
    let Some((standing, mut it)) = locked(s, &item.download).await? else {
        return Ok(Written::DownloadSettled(None));
    };
    match &item.reply {
        DownloadReply::Said(word) => {
            let (evidence, actor) = (DownloadEvidence::PlatformAnswered, &Actor::gateway());
            let told = Told { word: *word, evidence, words: None, at: item.at, actor };
            said(s, trail, &standing, &mut it, &told).await?;
        }
        // Of an attempt before the last it says nothing about when to ask again.
        DownloadReply::Unclear { cause } if it.state == DownloadState::Revoking => {
            if it.attempts == item.attempt {
                it.next_at = item.next_at.min(it.deadline_at.unwrap_or(item.next_at));
            }
            it.answer = Some(cause.clone());
            let mut place = Place::of(&standing);
            let more = json!({"attempt": item.attempt, "cause": cause});
            tell(
                trail,
                (&it, &standing.lab),
                &mut place,
                "download.answer",
                (&Actor::gateway(), item.at),
                more,
            );
            keep(s, &[row(&it)], &place).await?;
        }
        DownloadReply::Unclear { .. } => {}
    }
    Ok(Written::DownloadSettled(Some(Box::new(it))))
}

/// Takes what somebody says of a download without being asked.
pub(super) async fn report<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &ReportDownload,
) -> Result<Written> {
    let reported = |reported| Ok(Written::DownloadReported(reported));
    let order = item.order.as_str();
    let found = stop::lock(s, &[order]).await?.pop().filter(|found| found.within(&item.scope));
    let Some(standing) = found else { return reported(DownloadReported::NotFound) };
    let known = of_orders(s, &[order]).await?.into_iter().find(|known| known.item == item.item);
    let mut it = if let Some(known) = known {
        known
    } else {
        let lines = super::parts::known(s, &[order]).await?.remove(order).map(|(lines, _)| lines);
        let has = |line: &Line| is_download(line) && line.id == item.item;
        if !lines.unwrap_or_default().iter().any(has) {
            return reported(DownloadReported::NoSuchItem);
        }
        extras::mark(s, &standing.id).await?;
        fresh(&standing, &item.item, item.at)?
    };
    let told = Told {
        word: item.word,
        evidence: DownloadEvidence::PlatformReported,
        words: item.comment.as_deref(),
        at: item.at,
        actor: &item.actor,
    };
    said(s, trail, &standing, &mut it, &told).await?;
    reported(DownloadReported::Done(Box::new(it)))
}

/// Takes what a person found out; false if it was decided before.
pub(super) async fn found_out<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    (subject, word, words): (&str, DownloadWord, &str),
    (actor, at): (&Actor, Timestamp),
) -> Result<bool> {
    let id = DownloadId::parse(subject)
        .map_err(|fault| Error::Corrupt { table: "escalations", what: fault.to_string() })?;
    let Some((standing, mut it)) = locked(s, &id).await? else { return Ok(false) };
    let told = Told { word, evidence: DownloadEvidence::PersonConfirmed, words: Some(words), at, actor };
    said(s, trail, &standing, &mut it, &told).await
}

/// An order is stopped for good, and another takes its place: its downloads are revoked with it.
pub(super) async fn with_the_order<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    order: &str,
    (actor, at): (&Actor, Timestamp),
) -> Result<()> {
    let lines = super::parts::known(s, &[order]).await?.remove(order).map(|(lines, _)| lines);
    let by = Asking { actor, at, reason: "replaced", requested_by: None };
    ask(s, trail, (order, &lines.unwrap_or_default()), None, &by).await
}

/// Which of the lines that a stop names are downloads, and which are printed.
pub(super) fn parted(all: &[Line], named: &[String]) -> (Vec<String>, Vec<String>) {
    let download = |id: &&String| all.iter().any(|line| line.id == **id && is_download(line));
    let (downloads, prints): (Vec<&String>, Vec<&String>) = named.iter().partition(download);
    let own = |ids: Vec<&String>| ids.into_iter().cloned().collect();
    (own(downloads), own(prints))
}

/// The lines of an order that are printed.
pub(super) fn printed(all: &[Line]) -> Vec<Line> {
    all.iter().filter(|line| !is_download(line)).cloned().collect()
}

/// The lines of a stored order that are printed.
pub(super) fn printed_of(document: &str) -> Vec<Line> {
    printed(&lines::read(document))
}
