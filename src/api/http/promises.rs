//! What a change of a lab's calendar, or of zone data, does to windows that are open: a cutoff that was
//! promised moves later or stays, never earlier. A window is compared with the cutoff that the calendar now has in
//! the place of its own; only where that has passed, with the next one. What ops have postponed beyond its window's
//! cutoff is never compared with the next one: that would be another day's.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::windows;
use crate::clock::Random;
use crate::domain::batch::{BatchFacts, later};
use crate::domain::calendar::{Calendar, Cutoff};
use crate::domain::event::Actor;
use crate::domain::ids::{BatchId, RegionId};
use crate::domain::lab::Lab;
use crate::store::{self, BatchMoved, MoveBatch, Store, Write, Written};

/// What became of an open batch whose calendar changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Kept {
    /// The batch.
    pub batch: BatchId,
    /// Its region.
    pub region: RegionId,
    /// When it closes now.
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Timestamp,
    /// When the new calendar would close it; null if it never would.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub calendar_says: Option<Timestamp>,
    /// What was done, and why.
    pub note: String,
}

/// Moves the open batches of a lab to the cutoffs of its calendars as they are now, where those are
/// later, and keeps what was promised elsewhere.
///
/// # Errors
/// If the store does not answer: what was moved stays moved, and it can be repeated.
pub async fn keep_promises(
    store: &dyn Store,
    lab: &Lab,
    (actor, reason): (&Actor, &str),
    random: &dyn Random,
    now: Timestamp,
) -> store::Result<Vec<Kept>> {
    let open = store.open_batches(&lab.spec.id).await?;
    let mut notes = Vec::new();
    for batch in open.iter().filter(|batch| !batch.direct && batch.closes_at > now) {
        let Some(moved) = candidate(lab, batch, random, now) else {
            notes.push(kept(batch, None, "It stays: the calendar has no cutoff for it any more."));
            continue;
        };
        let to = moved.closes_at;
        // Postponed by ops beyond the cutoff that its window still has: nothing about it has changed.
        if to == batch.closes_at || (to == batch.window_at && to < batch.closes_at) {
            continue;
        }
        let write = MoveBatch {
            batch: batch.id.clone(),
            to: Some((to, moved.closes_at_local.clone())),
            window: Some(moved),
            seen: None,
            reason: reason.to_owned(),
            at: now,
            actor: actor.clone(),
        };
        match store::one(store, Write::MoveBatch(Box::new(write))).await? {
            Written::BatchMoved(BatchMoved::Done) => {
                let batch = BatchFacts { closes_at: to, ..batch.clone() };
                notes.push(kept(&batch, Some(to), "It closes later, as the calendar says."));
            }
            // The store refuses it, and says so in the log.
            Written::BatchMoved(BatchMoved::Earlier(_)) => {
                notes.push(kept(batch, Some(to), "It stays: its cutoff was promised. Release it by name."));
            }
            // It closed meanwhile, at its own cutoff.
            _ => notes.push(kept(batch, Some(to), "It stays: it closed meanwhile.")),
        }
    }
    Ok(notes)
}

fn candidate(
    lab: &Lab,
    batch: &BatchFacts,
    random: &dyn Random,
    now: Timestamp,
) -> Option<crate::domain::batch::Joining> {
    let place = lab.place(&batch.region)?;
    let own = own_cutoff(&place.calendar, batch)?;
    let passed = own.at <= now && batch.closes_at == batch.window_at;
    let cutoff = if passed { place.calendar.next_cutoff(now)? } else { own };
    Some(windows::of(lab, place, batch.opens_at, cutoff, now, random))
}

/// The cutoff that a calendar has in the place of the one that a batch was opened for: one at the same instant; else
/// of that date the one of the same local time, the first that is not earlier, or the last; else the first after it.
fn own_cutoff(calendar: &Calendar, batch: &BatchFacts) -> Option<Cutoff> {
    let moment = SignedDuration::from_micros(1);
    let from = |at: Timestamp| calendar.next_cutoff(at.saturating_sub(moment).unwrap_or(at));
    if let Some(same) = from(batch.closes_at).filter(|cutoff| cutoff.at == batch.closes_at) {
        return Some(same);
    }
    let of_date = || {
        let date: Date = batch.production_date.parse().ok()?;
        let (begin, end) = (calendar.reading(date, 0)?, calendar.reading(date, 1440)?);
        let all = calendar.cutoffs(begin, later(end, moment)).filter(|cutoff| cutoff.production_date == date);
        let all: Vec<Cutoff> = all.collect();
        let time = batch.rule.rsplit(' ').next();
        let same = all.iter().position(|cutoff| Some(cutoff.time.as_str()) == time);
        let at = same.or_else(|| all.iter().position(|cutoff| cutoff.at >= batch.window_at));
        all.get(at.unwrap_or(all.len().saturating_sub(1))).cloned()
    };
    of_date().or_else(|| from(batch.window_at))
}

fn kept(batch: &BatchFacts, calendar_says: Option<Timestamp>, note: &str) -> Kept {
    Kept {
        batch: batch.id.clone(),
        region: batch.region.clone(),
        closes_at: batch.closes_at,
        calendar_says,
        note: note.to_owned(),
    }
}
