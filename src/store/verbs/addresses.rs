//! Changes of shipping addresses after the hand-over: asked for, forwarded to the lab, and what it says.
//!
//! Every step locks the order, as a stop does, and continues its log, which names no address. Nothing here touches a
//! transfer: it is at the lab, which is the end of it, and its bytes are never sent again. The address of the order is
//! another one only from the entry on that says that the lab has taken it.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::change::Changing;
use super::place::{Place, Places};
use super::stop::{self, Standing, micros};
use super::{About, Trail, answers, extras, ids, retention, rows, rows_fetch, rows_run, rows_run_all};
use crate::domain::address::{
    AddressEvidence, AddressFacts, AddressState, Heard, asks_lab, heard, over, said,
};
use crate::domain::batch::later;
use crate::domain::event::{Actor, hex};
use crate::domain::ids::{AddressChangeId, EscalationId, LabId, OrderId};
use crate::domain::lab::Answer;
use crate::domain::order::{Address, Stage, Submission};
use crate::domain::stop::StopState;
use crate::store::session::{Row, Session};
use crate::store::types::{
    AddressAsked, AddressDue, AddressesDue, AskAddress, ClaimAsks, Scope, SettleAddress, Written,
};
use crate::store::{Error, Result};

/// The kind of the escalation by which a person is to find out.
pub(super) const KIND: &str = "address";

/// A change, in the order of the columns in `dialect`.
fn facts(row: &mut Row) -> Result<AddressFacts> {
    Ok(AddressFacts {
        id: row.parsed(AddressChangeId::parse)?,
        order: row.parsed(OrderId::parse)?,
        lab: row.parsed(LabId::parse)?,
        state: row.coded(AddressState::from_code)?,
        evidence: row.opt_text()?.and_then(|word| AddressEvidence::from_word(&word)),
        reason: row.text()?,
        asked_at: row.at()?,
        deadline_at: row.at()?,
        next_at: row.at()?,
        attempts: row.int()?,
        unresolved: row.int()?,
        ended: row.int()?,
        decided_at: row.opt_at()?,
        answer: row.opt_text()?,
        contradicted_at: row.opt_at()?,
    })
}

/// The row that `address_update` takes.
fn row(facts: &AddressFacts) -> Value {
    json!({
        "id": facts.id, "state": facts.state.code(), "evidence": facts.evidence.map(AddressEvidence::word),
        "next_at": micros(facts.next_at), "attempts": facts.attempts, "unresolved": facts.unresolved,
        "ended": facts.ended, "decided_at": facts.decided_at.map(micros), "answer": facts.answer,
        "contradicted_at": facts.contradicted_at.map(micros),
    })
}

fn corrupt(error: &serde_json::Error) -> Error {
    // Where it is wrong, not what is there: that is an address.
    let what = format!("an address or a submission cannot be read, line {}", error.line());
    Error::Corrupt { table: "address_changes", what }
}

/// The changes of orders, oldest first; one that is open is the last, and the only one.
pub(super) async fn of_orders<S: Session>(s: &mut S, orders: &[&str]) -> Result<Vec<AddressFacts>> {
    let found = rows_fetch(s, s.sql().addresses.address_of_orders, &ids(orders.iter().copied())).await?;
    found.into_iter().map(|row| facts(&mut row.of("address_changes"))).collect()
}

/// The address that a change asks for.
async fn wanted<S: Session>(s: &mut S, id: &AddressChangeId) -> Result<Option<Address>> {
    let row = s.fetch(s.sql().addresses.address_wanted, &[id.as_str().into()]).await?.pop();
    let text = row.map(|mut row| row.opt_text()).transpose()?.flatten();
    text.map(|text| serde_json::from_str(&text).map_err(|error| corrupt(&error))).transpose()
}

/// Which labs are to be asked now, and when the next one is.
pub(in crate::store) async fn addresses_due<S: Session>(s: &mut S, now: Timestamp) -> Result<AddressesDue> {
    let mut due = AddressesDue::default();
    if let Some(mut row) = s.fetch(s.sql().addresses.address_next, &[now.into()]).await?.pop() {
        due.next_at = row.opt_at()?;
    }
    for row in s.fetch(s.sql().addresses.address_due, &[now.into()]).await? {
        due.labs.push(row.of("address_changes").parsed(LabId::parse)?);
    }
    if !due.labs.is_empty()
        && let Some(mut row) = s.fetch(s.sql().addresses.address_deadline, &[now.into()]).await?.pop()
    {
        due.deadline_at = row.opt_at()?;
    }
    Ok(due)
}

/// Continues the log of the order.
fn tell(
    trail: &mut Trail,
    facts: &AddressFacts,
    place: &mut Place,
    kind: &'static str,
    (actor, at): (&Actor, Timestamp),
    more: Value,
) {
    let mut detail = json!({"change": facts.id});
    if let (Some(all), Value::Object(more)) = (detail.as_object_mut(), more) {
        all.extend(more);
    }
    let subject = (facts.order.as_str(), facts.lab.as_str());
    place.head = trail.add(&place.head, at, subject, kind, actor, &detail);
}

/// Keeps how one change stands.
async fn keep<S: Session>(s: &mut S, facts: &AddressFacts, place: &Place) -> Result<()> {
    rows_run_all(s, s.sql().addresses.address_update, &[row(facts)], "address_changes").await?;
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await
}

/// Asks for another address. Until the lab has it, the order keeps the one that it has.
pub(super) async fn ask<S: Session>(s: &mut S, trail: &mut Trail, item: &AskAddress) -> Result<Written> {
    let asked = |asked| Ok(Written::AddressAsked(Box::new(asked)));
    let scope = Some(&item.scope).filter(|scope| !matches!(scope, Scope::Lab(_)));
    let found = match scope {
        Some(scope) => Changing::lock(s, &item.order, scope).await?,
        None => None,
    };
    let Some(it) = found else { return asked(AddressAsked::NotFound) };
    if item.if_version.is_some_and(|version| version != it.facts.version) {
        return asked(AddressAsked::Version(it.facts.version));
    }
    let all = of_orders(s, &[item.order.as_str()]).await?;
    // Where the lab has said both, what is stored may not be where the parcel goes: it is asked.
    let doubtful = all.iter().any(|change| change.contradicted_at.is_some());
    if let Some(open) = all.into_iter().next_back().filter(|last| last.state.is_open()) {
        let same = wanted(s, &open.id).await?.is_some_and(|wanted| wanted == item.ship_to);
        return asked(if same { AddressAsked::Asked(open) } else { AddressAsked::Open(open) });
    }
    let submission: Submission = serde_json::from_str(&it.facts.document).map_err(|error| corrupt(&error))?;
    if submission.ship_to.as_ref() == Some(&item.ship_to) && !doubtful {
        return asked(AddressAsked::Unchanged);
    }
    let profile = stop::profiles(s, &[it.facts.lab.as_str()]).await?.into_values().next().unwrap_or_default();
    // An order that was purged is over.
    if !asks_lab(&it.facts, &profile) || retention::is_purged(s, &item.order).await? {
        return asked(AddressAsked::NotAllowed(it.facts.state()));
    }
    // The country may have chosen lab, region and window: these do not change any more.
    match &submission.ship_to {
        Some(was) if was.country != item.ship_to.country => {
            return asked(AddressAsked::Country(was.country.clone()));
        }
        Some(_) => {}
        None => return asked(AddressAsked::NotAllowed(it.facts.state())),
    }
    let change = AddressFacts {
        id: item.id.clone(),
        order: item.order.clone(),
        lab: it.facts.lab.clone(),
        state: AddressState::Asked,
        evidence: None,
        reason: item.reason.clone(),
        asked_at: item.at,
        deadline_at: later(item.at, profile.answers_within.0),
        next_at: item.at,
        attempts: 0,
        unresolved: 0,
        ended: 0,
        decided_at: None,
        answer: None,
        contradicted_at: None,
    };
    let text = |address: &Address| serde_json::to_string(address).map_err(|error| corrupt(&error));
    let was = submission.ship_to.as_ref().map(text).transpose()?;
    let new = json!({
        "id": change.id, "order": change.order, "lab": change.lab, "reason": change.reason,
        "ship_to": text(&item.ship_to)?, "was": was, "asked_at": micros(change.asked_at),
        "deadline_at": micros(change.deadline_at), "next_at": micros(change.next_at),
    });
    extras::mark(s, &item.order).await?;
    rows_run(s, s.sql().addresses.address_insert, &[new]).await?;
    let mut place = Place::of(&it.standing);
    let more = json!({"reason": item.reason, "deadline_at": change.deadline_at});
    tell(trail, &change, &mut place, "address.asked", (&item.actor, item.at), more);
    rows_run_all(s, s.sql().standing_stop, &[place.row()], "standings").await?;
    asked(AddressAsked::Asked(change))
}

/// A change that ends, or that a person takes.
struct End<'a> {
    state: AddressState,
    evidence: AddressEvidence,
    /// In whose words, if in any; the log does not have them.
    words: Option<String>,
    at: Timestamp,
    actor: &'a Actor,
}

/// Ends a change whose order is locked.
async fn end<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    it: &mut AddressFacts,
    place: &mut Place,
    end: End<'_>,
) -> Result<()> {
    let mut more = json!({"evidence": end.evidence});
    if end.state == AddressState::Taken {
        more["sha256"] = json!(move_to(s, it).await?);
    }
    if it.state == AddressState::WithAPerson {
        let args = [
            it.id.as_str().into(),
            end.at.into(),
            end.state.word().into(),
            end.words.as_deref().unwrap_or_default().into(),
            end.actor.0.as_str().into(),
        ];
        s.run(s.sql().addresses.address_resolved, &args).await?;
    }
    (it.state, it.evidence, it.decided_at) = (end.state, Some(end.evidence), Some(end.at));
    it.answer = end.words.or(it.answer.take());
    let kind = if end.state == AddressState::Taken { "address.taken" } else { "address.refused" };
    tell(trail, it, place, kind, (end.actor, end.at), more);
    Ok(())
}

/// The order goes to the new address; gives the SHA-256 of the submission as it is from now on.
async fn move_to<S: Session>(s: &mut S, it: &AddressFacts) -> Result<String> {
    let gone =
        || Error::Corrupt { table: "address_changes", what: "an open change without its address".to_owned() };
    let to = wanted(s, &it.id).await?.ok_or_else(gone)?;
    let row = rows_fetch(s, s.sql().order_by_id, &ids([it.order.as_str()])).await?.pop();
    let (order, _) = rows::order(row.ok_or_else(gone)?)?;
    let mut submission: Submission =
        serde_json::from_str(&order.document).map_err(|error| corrupt(&error))?;
    submission.ship_to = Some(to);
    let document = submission.document().0;
    s.run(s.sql().order_document, &[it.order.as_str().into(), document.as_str().into()]).await?;
    Ok(hex(&Sha256::digest(document.as_bytes())))
}

/// Takes changes about which a lab is to be asked: the intent is durable before the call. Those that the stage of their
/// order refuses end here; those whose time is over are a person's.
pub(super) async fn claim<S: Session>(s: &mut S, trail: &mut Trail, item: &ClaimAsks) -> Result<Written> {
    let args = [item.lab.as_str().into(), item.now.into(), item.limit.into(), i64::from(item.away).into()];
    let mut escalations = item.escalations.iter();
    let (mut due, mut kept, mut places) = (Vec::new(), Vec::new(), Places::default());
    let actor = Actor::gateway();
    let by = (&actor, item.now);
    for found in s.fetch(s.sql().addresses.address_claim, &args).await? {
        let mut found = found.of("address_changes");
        let mut it = facts(&mut found)?;
        let ship_to = found.opt_text()?;
        let stage = found.coded(Stage::from_code)?;
        let stop = StopState::from_code(found.int()?);
        let head = found.text()?;
        let lines_out = rows::lines(&mut found)?;
        let place = places.at(&it.order.clone(), &head, lines_out);
        let refused = if stop == Some(StopState::Stopped) {
            Some(AddressEvidence::OrderStopped)
        } else if item.away {
            // What the lab takes is not known here.
            None
        } else {
            #[cfg(debug_assertions)]
            let it = super::mistakes::waited_for(&it);
            over(&it, stage, &item.profile)
        };
        if let Some(evidence) = refused {
            let now =
                End { state: AddressState::Refused, evidence, words: None, at: item.now, actor: &actor };
            end(s, trail, &mut it, place, now).await?;
            kept.push(row(&it));
            due.push(AddressDue::Decided(Box::new(it)));
        } else if item.now >= it.deadline_at {
            // No id is left to call a person with: the next round does.
            let Some(escalation) = escalations.next() else { continue };
            to_a_person(trail, (&mut it, escalation), place, item);
            kept.push(row(&it));
            due.push(AddressDue::Decided(Box::new(it)));
        } else if it.unresolved == 0 && !item.profile.address_changes.asks_at(stage) {
            // The lab does not take it any more, as ops say: a person finds out.
            it.next_at = it.deadline_at;
            kept.push(row(&it));
            due.push(AddressDue::Waits(it.id));
        } else if let Some(until) = item.not_before {
            it.next_at = until.min(it.deadline_at);
            kept.push(row(&it));
            due.push(AddressDue::Waits(it.id));
        } else {
            let gone =
                || Error::Corrupt { table: "address_changes", what: format!("{} has no address", it.id) };
            let to = serde_json::from_str(&ship_to.ok_or_else(gone)?).map_err(|error| corrupt(&error))?;
            it.attempts += 1;
            it.unresolved += 1;
            it.next_at = item.lease_until.min(it.deadline_at);
            tell(trail, &it, place, "address.forwarded", by, json!({"attempt": it.attempts}));
            kept.push(row(&it));
            due.push(AddressDue::Ask(Box::new(it), Box::new(to)));
        }
    }
    rows_run_all(s, s.sql().addresses.address_update, &kept, "address_changes").await?;
    rows_run_all(s, s.sql().standing_stop, &places.rows(), "standings").await?;
    Ok(Written::AddressesClaimed(due))
}

/// No machine finds out: a person does.
fn to_a_person(
    trail: &mut Trail,
    (it, escalation): (&mut AddressFacts, &EscalationId),
    place: &mut Place,
    item: &ClaimAsks,
) {
    let cause = "the lab has not said in time whether it took another shipping address for an order";
    (it.state, it.evidence) = (AddressState::WithAPerson, Some(AddressEvidence::NoAnswer));
    let about = About { subject: it.id.as_str(), order: Some(it.order.as_str()), lab: it.lab.as_str() };
    let due = later(item.now, item.profile.answers_within.0);
    trail.escalate(escalation, KIND, &about, cause, item.now, due);
    let more = json!({"evidence": it.evidence, "cause": cause, "attempts": it.attempts});
    tell(trail, it, place, "address.with_a_person", (&Actor::gateway(), item.now), more);
}

/// A change with its order, locked.
async fn locked<S: Session>(s: &mut S, id: &AddressChangeId) -> Result<Option<(Standing, AddressFacts)>> {
    let Some(mut found) = s.fetch(s.sql().addresses.address_peek, &[id.as_str().into()]).await?.pop() else {
        return Ok(None);
    };
    let order = found.text()?;
    let Some(standing) = stop::lock(s, &[&order]).await?.pop() else { return Ok(None) };
    let known = of_orders(s, &[&order]).await?.into_iter().find(|known| known.id == *id);
    Ok(known.map(|known| (standing, known)))
}

/// The words of an answer, for whoever may read the order.
fn words(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Refused { reason } => Some(reason.clone()),
        Answer::WillPrint { reason, .. } => reason.clone(),
        Answer::Unreachable { cause } | Answer::Unclear { cause } => Some(cause.clone()),
        _ => None,
    }
}

/// Takes what a lab answered, or that it did not.
pub(super) async fn settle<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    item: &SettleAddress,
) -> Result<Written> {
    let found = locked(s, &item.change).await?.filter(|(_, it)| it.lab == item.lab);
    let Some((standing, mut it)) = found else { return Ok(Written::AddressSettled(None)) };
    let was = it.clone();
    let actor = Actor::gateway();
    let newest = it.attempts == item.attempt;
    // An attempt has one end. A commit of which nobody heard is made again: counted twice, the end of this attempt would
    // be taken for that of an older one, which may have reached the lab.
    let ended = matches!(item.answer, Answer::Unreachable { .. } | Answer::Refused { .. });
    if ended && it.ended >= item.attempt {
        return Ok(Written::AddressSettled(Some(Box::new(it))));
    }
    let heard = heard(&it, item.attempt, &item.answer);
    #[cfg(debug_assertions)]
    let heard = super::mistakes::heard(&it, &item.answer, heard);
    if ended && newest {
        // The lab has taken nothing by it.
        (it.unresolved, it.ended) = ((it.unresolved - 1).max(0), item.attempt);
    }
    let told = Told {
        heard,
        attempt: Some(item.attempt),
        word: item.answer.word(),
        words: words(&item.answer),
        at: item.at,
        actor: &actor,
        escalation: &item.escalation,
    };
    let mut place = Place::of(&standing);
    if heard == Heard::Nothing && newest {
        it.next_at = item.next_at.min(it.deadline_at);
    }
    let head = place.head.clone();
    take(s, trail, &mut it, &mut place, told).await?;
    // Also where nothing but the log goes on.
    if it != was || place.head != head {
        keep(s, &it, &place).await?;
    }
    if matches!(heard, Heard::Now(..)) {
        answers::reaches(s, &standing, &item.answer).await?;
    }
    Ok(Written::AddressSettled(Some(Box::new(it))))
}

/// What somebody said of a change.
struct Told<'a> {
    heard: Heard,
    attempt: Option<i64>,
    word: &'static str,
    words: Option<String>,
    at: Timestamp,
    actor: &'a Actor,
    escalation: &'a EscalationId,
}

/// Takes a word about a change whose order is locked.
async fn take<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    it: &mut AddressFacts,
    place: &mut Place,
    told: Told<'_>,
) -> Result<()> {
    let by = (told.actor, told.at);
    let more = json!({"attempt": told.attempt, "answer": told.word});
    match told.heard {
        Heard::Now(state, evidence) => {
            let now = End { state, evidence, words: told.words, at: told.at, actor: told.actor };
            end(s, trail, it, place, now).await?;
        }
        Heard::Nothing if it.state.is_open() => {
            it.answer = told.words.or(it.answer.take());
            tell(trail, it, place, "address.answer", by, more);
        }
        Heard::Late if it.contradicted_at.is_none() => {
            it.contradicted_at = Some(told.at);
            tell(trail, it, place, "address.late_answer", by, more);
        }
        Heard::Contradicts if it.contradicted_at.is_none() => {
            it.contradicted_at = Some(told.at);
            let cause = if it.state == AddressState::Taken {
                "the lab says that it did not take an address of which it was told that it had"
            } else {
                "the lab says that it took an address of which it was told that it had not"
            };
            let about =
                About { subject: it.id.as_str(), order: Some(it.order.as_str()), lab: it.lab.as_str() };
            let within = it.deadline_at.duration_since(it.asked_at);
            let due = later(told.at, within);
            trail.escalate(told.escalation, "address_contradiction", &about, cause, told.at, due);
            tell(trail, it, place, "address.contradicted", by, more);
        }
        Heard::Nothing | Heard::Late | Heard::Contradicts | Heard::Same => {}
    }
    Ok(())
}

/// Takes what a person found out; false if it was decided before.
pub(super) async fn found_out<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    (subject, state, reason): (&str, AddressState, &str),
    (actor, at, escalation): (&Actor, Timestamp, &EscalationId),
) -> Result<bool> {
    let id = AddressChangeId::parse(subject)
        .map_err(|fault| Error::Corrupt { table: "escalations", what: fault.to_string() })?;
    let Some((standing, mut it)) = locked(s, &id).await?.filter(|(_, it)| it.state.is_open()) else {
        return Ok(false);
    };
    let heard = said(&it, state, AddressEvidence::PersonConfirmed);
    let words = Some(reason.to_owned());
    let told = Told { heard, attempt: None, word: state.word(), words, at, actor, escalation };
    let mut place = Place::of(&standing);
    take(s, trail, &mut it, &mut place, told).await?;
    keep(s, &it, &place).await?;
    Ok(true)
}

/// An order is stopped: nothing of it goes anywhere, and nobody has to find out any more where.
pub(super) async fn with_the_order<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    order: &str,
    (actor, at): (&Actor, Timestamp),
) -> Result<()> {
    let Some(mut it) = of_orders(s, &[order]).await?.pop().filter(|it| it.state.is_open()) else {
        return Ok(());
    };
    let Some(standing) = stop::lock(s, &[order]).await?.pop() else { return Ok(()) };
    let mut place = Place::of(&standing);
    let evidence = AddressEvidence::OrderStopped;
    let now = End { state: AddressState::Refused, evidence, words: None, at, actor };
    end(s, trail, &mut it, &mut place, now).await?;
    keep(s, &it, &place).await
}

/// Takes the addresses of orders out that are purged.
pub(super) async fn purge<S: Session>(s: &mut S, orders: &[&str]) -> Result<()> {
    let orders = ids(orders.iter().copied());
    rows_run(s, s.sql().addresses.address_words_purge, &orders).await?;
    rows_run(s, s.sql().addresses.address_purge, &orders).await.map(drop)
}
