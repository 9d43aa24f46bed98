//! Puts the loop that watches approvals and replacements together with the calendars of labs.

use std::sync::Arc;

use crate::api;
use crate::api::registry::Registry;
use crate::work::{self, Bench};

/// The loop that watches approvals and replacements.
pub(super) fn changes(bench: &Bench, registry: &Arc<Registry>) -> work::changes::Changes {
    let (registry, random) = (Arc::clone(registry), Arc::clone(&bench.random));
    let windows: work::changes::Windows = Arc::new(move |facts, at| {
        let window = api::changes::window(&registry, &*random, facts, at).ok()?;
        let size = registry.lab(&window.lab).and_then(|entry| entry.lab.place(&window.region)?.batch_max);
        Some((window, size))
    });
    work::changes::Changes::new(bench.clone(), windows)
}
