//! The planted mistakes of the verbs, each beside the place that would make it. Not in a release.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::Trail;
use super::claim::{self, Gathered};
use super::rows::Locked;
use crate::domain::address::{AddressEvidence, AddressFacts, AddressState, Heard};
use crate::domain::batch::{Next, Remedy, TransferFacts, TransferPhase};
use crate::domain::event::hex;
use crate::domain::lab::{Answer, Profile};
use crate::points::mistake;
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{Claim, Claimed, Settle, Source, Write};

/// Writes as they come in.
pub(in crate::store) fn on_entry(mut writes: Vec<Write>) -> Vec<Write> {
    if mistake!(IntakeWithoutUniqueKey) {
        for write in &mut writes {
            if let Write::Admit(admission) = write {
                let own = Arc::make_mut(admission);
                own.reference = format!("{}~{}", own.reference, own.id);
            }
        }
    }
    writes
}

/// Whether a set is answered before it commits.
pub(in crate::store) fn too_soon(writes: &[Write]) -> bool {
    let is = |claim: bool| writes.iter().any(|write| matches!(write, Write::Claim(_)) == claim);
    (mistake!(AnswerBeforeCommit) && is(false)) || (mistake!(SendBeforeIntent) && is(true))
}

/// The transfer on which a stop is decided.
pub(super) fn decided_on(transfer: Option<&TransferFacts>, asked_at: Timestamp) -> Option<&TransferFacts> {
    transfer.filter(|transfer| {
        let sending = mistake!(GrantWhileSending) && transfer.phase == TransferPhase::Sending;
        let before = mistake!(WallClockStop) && asked_at < transfer.first_at;
        !sending && !before
    })
}

fn closed(facts: &TransferFacts) -> Next {
    let (phase, fence) = (TransferPhase::Closed, facts.fence + 1);
    Next { phase, fence, unresolved: 0, attempts: facts.attempts }
}

/// What an answer to a call about a transfer makes of it.
pub(super) fn settled(facts: &TransferFacts, item: &Settle, next: Option<Next>) -> Option<Next> {
    let ours = facts.fence == item.fence;
    let sending = facts.phase == TransferPhase::Sending;
    let open = sending || facts.phase == TransferPhase::Unknown;
    let wrong = match (item.source, &item.answer) {
        (Source::Upload, Answer::Unclear { .. }) => {
            (mistake!(TimeoutMeansNotSent) && sending && ours) || (mistake!(UnfencedTimeout) && open)
        }
        (Source::Upload, Answer::Refused { .. }) => mistake!(RefusalClearsAll) && sending && ours,
        (Source::LookUp(_), Answer::NotFound) => {
            (mistake!(AbsentIsProof) && facts.phase == TransferPhase::Unknown && ours)
                || (mistake!(StaleAbsence) && facts.phase == TransferPhase::Unknown)
        }
        _ => false,
    };
    if wrong { Some(closed(facts)) } else { next }
}

/// What "not found" as the answer to a stop makes of the transfer.
pub(super) fn not_found(facts: &TransferFacts, next: Option<Next>) -> Option<Next> {
    if mistake!(CancelNotFoundIsProof) && facts.phase == TransferPhase::Unknown {
        Some(closed(facts))
    } else {
        next
    }
}

/// What is done about a transfer whose outcome is unknown.
pub(super) fn remedy_of(facts: &TransferFacts, item: &Claim, right: Remedy) -> Remedy {
    let profile: &Profile = &item.profile;
    let resends = facts.attempts < profile.attempts_max;
    match right {
        Remedy::Person if mistake!(NoEscalation) => Remedy::Wait,
        Remedy::Person => right,
        Remedy::LookUp(_) | Remedy::Wait if mistake!(BlindResend) && resends => Remedy::Resend,
        Remedy::LookUp(_) | Remedy::Wait
            if mistake!(ResendAfterKeyWindow) && profile.dedupes.truly() && resends =>
        {
            Remedy::Resend
        }
        Remedy::LookUp(_) if mistake!(AbsentIsProof) => Remedy::LookUp(item.now),
        right => right,
    }
}

/// Sends what is unknown once more, built anew from who is alive.
pub(super) async fn rebuilt<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    gathered: &mut Gathered,
    item: &Claim,
    was: &Locked,
) -> Result<Option<Claimed>> {
    let new_key = mistake!(RebuildContentNewKey);
    if !new_key && !mistake!(RebuildContentSameKey) {
        return Ok(None);
    }
    let alive = claim::alive(s, &was.facts.id).await?;
    if alive.is_empty() {
        return Ok(None);
    }
    let mut was = was.clone();
    let manifest = claim::build(&was.facts.id, &alive)?;
    if new_key {
        was.key = format!("{}.{}", was.facts.id, was.facts.fence + 1);
    }
    was.sha256 = hex(&manifest.sha256);
    was.manifest = alive.into_iter().map(|entry| entry.id).collect();
    let before = (was.facts.phase, was.facts.fence);
    Ok(Some(claim::send(trail, gathered, item, was, before, manifest)))
}

/// What an answer of a lab makes of a change of an address.
pub(super) fn heard(facts: &AddressFacts, answer: &Answer, right: Heard) -> Heard {
    match (right, answer) {
        (Heard::Contradicts, Answer::Accepted { .. }) if mistake!(AddressWordFlips) => {
            Heard::Now(AddressState::Taken, AddressEvidence::LabTook)
        }
        (Heard::Contradicts, Answer::WillPrint { .. }) if mistake!(AddressWordFlips) => {
            Heard::Now(AddressState::Refused, AddressEvidence::LabRefused)
        }
        (Heard::Nothing, Answer::Refused { .. })
            if mistake!(AddressRefusalClearsAll) && facts.state.is_open() =>
        {
            Heard::Now(AddressState::Refused, AddressEvidence::LabRefused)
        }
        _ => right,
    }
}

/// How many attempts about an address the stage of its order has to wait for.
pub(super) fn waited_for(facts: &AddressFacts) -> AddressFacts {
    let unresolved = if mistake!(AddressStageDecides) { 0 } else { facts.unresolved };
    AddressFacts { unresolved, ..facts.clone() }
}

/// A statement without its locks.
pub(super) fn unlocked(sql: &'static str) -> &'static str {
    static KNOWN: Mutex<Option<HashMap<&'static str, &'static str>>> = Mutex::new(None);
    if !mistake!(WriteSkew) {
        return sql;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().entry(sql).or_insert_with(|| {
        let end = sql.find(" for update").unwrap_or(sql.len());
        String::leak(sql[..end].to_owned())
    })
}
