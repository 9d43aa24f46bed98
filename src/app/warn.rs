//! Which cutoffs come next: the calendars of the registry, for the loop that warns.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::api::registry::Registry;
use crate::domain::lab::Place;
use crate::domain::warning::Collecting;
use crate::store::NearCutoff;
use crate::work::warn::{Coming, Cutoffs};

/// The next cutoff of every region that warns, of labs whose orders wait for cutoffs.
pub(super) fn near(registry: &Arc<Registry>) -> Cutoffs {
    let registry = Arc::clone(registry);
    Arc::new(move |now| {
        let known = registry.snapshot();
        let labs = known.labs.values().filter(|entry| !entry.lab.spec.policy.immediate_production);
        let mut coming = Vec::new();
        for entry in labs {
            let lab = &entry.lab;
            let collecting = Arc::new(Collecting::of(lab, now));
            let warns = |place: &&Place| place.warn_before.0 > SignedDuration::ZERO;
            coming.extend(lab.places.iter().filter(warns).filter_map(|place| {
                let next = place.calendar.next_cutoff(now)?;
                let from = next.at.saturating_sub(place.warn_before.0).unwrap_or(next.at);
                let near = NearCutoff {
                    lab: lab.spec.id.clone(),
                    region: place.id.clone(),
                    closes_at: next.at,
                    closes_at_local: next.local,
                };
                Some(Coming { near, from, collecting: Arc::clone(&collecting) })
            }));
        }
        coming
    })
}
