//! The band: all cutoffs of the coming 24 hours on one axis, gathered by the quarter of an hour in which they
//! fall, with the orders that wait for each.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::Row;
use super::region::Region;
use crate::domain::batch::later;
use crate::domain::ids::{LabId, RegionId};

/// How long the band is.
pub const LENGTH: SignedDuration = SignedDuration::from_hours(24);
/// What is gathered.
pub const SLOT: SignedDuration = SignedDuration::from_mins(15);
/// So many cutoffs of one quarter are told by name.
const NAMED_MAX: usize = 4;

/// The last full hour: where the band begins.
#[must_use]
pub fn begin(now: Timestamp) -> Timestamp {
    floor(now, 3600)
}

/// The quarter of an hour that an instant falls into.
#[must_use]
pub fn slot(at: Timestamp) -> Timestamp {
    floor(at, SLOT.as_secs())
}

fn floor(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(seconds) * seconds).unwrap_or(at)
}

/// A cutoff on the band.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mark {
    /// The lab.
    pub lab: LabId,
    /// The lab's name.
    pub name: String,
    /// The region.
    pub region: RegionId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Timestamp,
    /// Orders that wait for it.
    pub waiting: i64,
}

/// A quarter of an hour in which at least one batch closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Slot {
    /// When it begins.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How many cutoffs fall into it.
    pub cutoffs: usize,
    /// Orders that wait for them.
    pub waiting: i64,
    /// The first of them, those with the most orders before.
    pub marks: Vec<Mark>,
}

/// All cutoffs of 24 hours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Band {
    /// Where it begins: the last full hour.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The quarters of an hour in which batches close, in order.
    pub slots: Vec<Slot>,
}

/// All cutoffs of a region on a band, in order, with the orders that wait for each; of its calendar it has those
/// from the band's begin on.
pub(super) fn closes(from: Timestamp, region: &Region, calendar: &[Timestamp]) -> Vec<(Timestamp, i64)> {
    let until = later(from, LENGTH);
    let open = region.open.iter().map(|open| (open.closes_at, open.waiting));
    // A cutoff of the calendar without a batch has no order yet.
    let bare = calendar.iter().filter(|at| region.open.iter().all(|open| open.closes_at != **at));
    let next = region.closes_at;
    let coming = bare.filter(|at| next.is_none_or(|next| **at >= next)).map(|at| (*at, 0));
    let mut all: Vec<_> = open.chain(coming).filter(|(at, _)| *at >= from && *at < until).collect();
    all.sort_unstable();
    all
}

impl Mark {
    fn of((closes_at, waiting): (Timestamp, i64), region: &Region) -> Self {
        let (lab, name) = (region.lab.clone(), region.name.clone());
        Self { lab, name, region: region.region.clone(), closes_at, waiting }
    }

    /// All cutoffs of all regions on the band, by the quarter of an hour; in it those with the most orders before.
    pub fn all<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Self> {
        let mut all: Vec<Self> =
            rows.flat_map(|row| row.closes.iter().map(|closes| Self::of(*closes, &row.region))).collect();
        all.sort_by(|a, b| {
            let key = |mark: &Self| (slot(mark.closes_at), std::cmp::Reverse(mark.waiting));
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name)).then_with(|| a.region.cmp(&b.region))
        });
        all
    }
}

impl Band {
    /// The band of regions.
    pub(super) fn of<'a>(from: Timestamp, rows: impl Iterator<Item = &'a Row>) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for mark in Mark::all(rows) {
            let at = slot(mark.closes_at);
            if slots.last().is_none_or(|last| last.at != at) {
                slots.push(Slot { at, cutoffs: 0, waiting: 0, marks: Vec::new() });
            }
            let Some(slot) = slots.last_mut() else { continue };
            slot.cutoffs += 1;
            slot.waiting += mark.waiting;
            if slot.marks.len() < NAMED_MAX {
                slot.marks.push(mark);
            }
        }
        Self { from, slots }
    }
}
