//! What a change of a lab's calendar, or of zone data, does to windows that are open: a cutoff that was
//! promised moves later or stays, never earlier.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::registry::LabEntry;
use crate::api::{Api, windows};
use crate::domain::batch::BatchFacts;
use crate::domain::event::Actor;
use crate::domain::ids::{BatchId, RegionId};
use crate::store::{self, BatchMoved, MoveBatch, Write, Written};

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
    api: &Api,
    entry: &LabEntry,
    actor: &Actor,
    reason: &str,
) -> store::Result<Vec<Kept>> {
    let now = api.clock.now();
    let open = api.store.open_batches(&entry.lab.spec.id).await?;
    let mut notes = Vec::new();
    for batch in open.iter().filter(|batch| !batch.direct && batch.closes_at > now) {
        let Some(moved) = candidate(api, entry, batch, now) else {
            notes.push(kept(batch, None, "It stays: the calendar has no cutoff for it any more."));
            continue;
        };
        if moved.closes_at == batch.closes_at {
            continue;
        }
        let to = moved.closes_at;
        let write = MoveBatch {
            batch: batch.id.clone(),
            to: Some((to, moved.closes_at_local.clone())),
            window: Some(moved),
            reason: reason.to_owned(),
            at: now,
            actor: actor.clone(),
        };
        match store::one(&*api.store, Write::MoveBatch(Box::new(write))).await? {
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
    api.nudge.closes.ring();
    Ok(notes)
}

fn candidate(
    api: &Api,
    entry: &LabEntry,
    batch: &BatchFacts,
    now: Timestamp,
) -> Option<crate::domain::batch::Joining> {
    let (region, calendar) = entry.lab.region(Some(&batch.region), None).ok()?;
    let cutoff = calendar.next_cutoff(now)?;
    Some(windows::of(&entry.lab, (&region.id, calendar), batch.opens_at, cutoff, now, &*api.random))
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
