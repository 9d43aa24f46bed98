//! The log as messages: read once for all endpoints that are at the same place.
//!
//! A page says how each order stood when the page was made, so that what an endpoint is told of an order never
//! goes back in time: whoever has been told from a page takes no page that was made before it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize as _;

use crate::domain::ids::{OrderId, PlatformId};
use crate::domain::order::OrderFacts;
use crate::domain::stop::StopFacts;
use crate::domain::warning;
use crate::domain::webhook::{KINDS, Message, MessageData, MessageId, MessageStop, MessageWarning};
use crate::store::{OrderRef, Result, Scope, Sighting, Store};

/// Entries of the log on a page.
pub(super) const ENTRIES: i64 = 128;
/// Pages that are at hand.
const HELD: usize = 24;
/// Messages that are at hand: an entry about a transfer is one message an order.
const MESSAGES_MAX: usize = 8_192;

/// A message of one platform.
#[derive(Debug)]
pub(super) struct Told {
    /// Its id.
    pub(super) id: MessageId,
    /// Whose it is.
    pub(super) platform: PlatformId,
    /// Its kind.
    pub(super) kind: String,
    /// What is sent.
    pub(super) body: Arc<str>,
}

/// A stretch of the log.
#[derive(Debug)]
pub(super) struct Page {
    after: i64,
    /// The number of its last entry.
    pub(super) until: i64,
    /// When it was made, counted.
    pub(super) made: u64,
    /// What it says, in the log's order.
    pub(super) told: Vec<Arc<Told>>,
}

/// The pages.
#[derive(Debug)]
pub(super) struct Pages {
    store: Arc<dyn Store>,
    held: Mutex<VecDeque<Arc<Page>>>,
    made: AtomicU64,
    /// One reads at a time: the others find what they wanted when it is done.
    turn: tokio::sync::Mutex<()>,
}

impl Pages {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, held: Mutex::default(), made: AtomicU64::new(0), turn: tokio::sync::Mutex::default() }
    }

    /// The page behind a number, made no earlier than another one; nothing where nothing is new.
    pub(super) async fn behind(&self, after: i64, no_older: u64) -> Result<Option<Arc<Page>>> {
        if let Some(page) = self.at_hand(after, no_older) {
            return Ok(Some(page));
        }
        let _turn = self.turn.lock().await;
        if let Some(page) = self.at_hand(after, no_older) {
            return Ok(Some(page));
        }
        let made = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        // Pages end at the same numbers for everybody, wherever they begin.
        let end = (after / ENTRIES + 1) * ENTRIES;
        let stretch = self.store.stretch(&Scope::Ops, after, end - after).await?;
        if stretch.seen <= after {
            return Ok(None);
        }
        let until = stretch.seen.min(end);
        let entries: Vec<Sighting> =
            stretch.events.into_iter().filter(|entry| entry.event.seq <= until).collect();
        let told = self.written(entries).await?;
        let page = Arc::new(Page { after, until, made, told });
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|page| page.after != after);
        held.push_back(Arc::clone(&page));
        let mut messages: usize = held.iter().map(|page| page.told.len()).sum();
        while held.len() > HELD || (messages > MESSAGES_MAX && held.len() > 1) {
            messages -= held.pop_front().map_or(0, |page| page.told.len());
        }
        Ok(Some(page))
    }

    fn at_hand(&self, after: i64, no_older: u64) -> Option<Arc<Page>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().find(|page| page.after == after && page.made >= no_older).cloned()
    }

    async fn written(&self, entries: Vec<Sighting>) -> Result<Vec<Arc<Told>>> {
        let known = |entry: &Sighting| KINDS.contains(&entry.event.kind.as_str());
        let entries: Vec<Sighting> = entries.into_iter().filter(known).collect();
        let mut wanted: Vec<OrderId> =
            entries.iter().flat_map(|entry| entry.orders.iter().map(|one| one.order.clone())).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let which: Vec<OrderRef> = wanted.into_iter().map(OrderRef::Id).collect();
        let facts =
            if which.is_empty() { Vec::new() } else { self.store.orders(&Scope::Ops, &which).await? };
        let facts: HashMap<OrderId, OrderFacts> =
            facts.into_iter().flatten().map(|facts| (facts.id.clone(), facts)).collect();
        let mut of_lines: HashMap<&OrderId, Vec<StopFacts>> = HashMap::new();
        let mut told = Vec::new();
        for entry in &entries {
            let event = &entry.event;
            for one in &entry.orders {
                let Some(facts) = facts.get(&one.order) else { continue };
                let id = MessageId { seq: event.seq, order: Some(one.order.clone()) };
                let mut stop = None;
                if let Some(other) = other_stop(entry, facts) {
                    let known = match of_lines.entry(&one.order) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(place) => place.insert(self.store.line_stops(&one.order).await?),
                    };
                    stop = known.iter().find(|stop| stop.id.as_str() == other).map(MessageStop::from);
                }
                told.extend(write(entry, id, one.platform.clone(), Some(facts), stop));
            }
            let named = event.detail["platform"].as_str().and_then(|text| PlatformId::parse(text).ok());
            if let Some(platform) = named.filter(|_| event.kind.starts_with("webhook.")) {
                told.extend(write(entry, MessageId { seq: event.seq, order: None }, platform, None, None));
            }
        }
        Ok(told)
    }
}

/// The stop that an entry is about, if that is not the order's own. Only orders that have left, or of which a line is
/// out, have stops of lines.
fn other_stop<'a>(entry: &'a Sighting, facts: &OrderFacts) -> Option<&'a str> {
    let may = facts.transfer.is_some() || !facts.lines_out.is_empty();
    let about =
        entry.event.detail["stop"].as_str().filter(|_| may && entry.event.kind.starts_with("stop."))?;
    facts.stop.as_ref().is_none_or(|own| own.id.as_str() != about).then_some(about)
}

fn write(
    entry: &Sighting,
    id: MessageId,
    platform: PlatformId,
    facts: Option<&OrderFacts>,
    stop: Option<MessageStop>,
) -> Option<Arc<Told>> {
    let event = &entry.event;
    let data = MessageData {
        version: event.seq,
        subject: event.subject.clone(),
        actor: event.actor.clone(),
        stop,
        warning: (event.kind == warning::KIND)
            .then(|| MessageWarning::deserialize(&event.detail).ok())
            .flatten(),
        ..MessageData::default()
    };
    let data = match facts {
        Some(facts) => data.about(facts),
        None => data,
    };
    let message = Message { kind: event.kind.clone(), timestamp: event.at, data };
    // Texts and numbers under names: it can always be written.
    let body = serde_json::to_string(&message).ok()?;
    Some(Arc::new(Told { id, platform, kind: message.kind, body: body.into() }))
}
