//! The band: all cutoffs of the coming 24 hours on one axis, gathered by the quarter of an hour in which they
//! fall, with the orders that wait for each.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

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

impl Band {
    /// The band of regions, each with the cutoffs that its calendar has from `from` on.
    pub(super) fn of<'a>(
        from: Timestamp,
        regions: impl Iterator<Item = (&'a Region, &'a [Timestamp])>,
    ) -> Self {
        let until = later(from, LENGTH);
        let mut slots: BTreeMap<Timestamp, Slot> = BTreeMap::new();
        for (region, cutoffs) in regions {
            let open = region.open.iter().map(|open| (open.closes_at, open.waiting));
            // A cutoff of the calendar without a batch has no order yet.
            let bare = cutoffs.iter().filter(|at| region.open.iter().all(|open| open.closes_at != **at));
            let next = region.closes_at;
            let coming = bare.filter(|at| next.is_none_or(|next| **at >= next)).map(|at| (*at, 0));
            for (at, waiting) in open.chain(coming).filter(|(at, _)| *at >= from && *at < until) {
                let begin = slot(at);
                let slot = slots.entry(begin).or_insert_with(|| Slot {
                    at: begin,
                    cutoffs: 0,
                    waiting: 0,
                    marks: Vec::new(),
                });
                slot.cutoffs += 1;
                slot.waiting += waiting;
                let (lab, name) = (region.lab.clone(), region.name.clone());
                slot.marks.push(Mark { lab, name, region: region.region.clone(), closes_at: at, waiting });
            }
        }
        let slots = slots.into_values().map(|mut slot| {
            slot.marks.sort_by(|a, b| b.waiting.cmp(&a.waiting).then_with(|| a.name.cmp(&b.name)));
            slot.marks.truncate(NAMED_MAX);
            slot
        });
        Self { from, slots: slots.collect() }
    }
}
