//! The next cutoffs of every region, with the windows that were moved away from them, told again whenever they
//! change or one passes. Nothing is looked at before: changes of labs and of windows are told to this watch.
//!
//! What a region was told last is a small text that the caller gives back: a digest of what it knows, and as
//! of when. So a watch that is opened again, at any replica, tells what is new and every cutoff that has
//! passed meanwhile, by the calendar as it is now.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::gateway::Told;
use super::shapes;
use super::status::status;
use crate::api::problem::Answer;
use crate::api::registry::LabEntry;
use crate::api::tail::Listener;
use crate::api::watches::Place;
use crate::domain::Fault;
use crate::domain::batch::{BatchFacts, later};
use crate::domain::calendar::{Calendar, Cutoff};
use crate::domain::event::{Event, hex};
use crate::domain::ids::{LabId, RegionId};
use crate::proto;
use crate::store::Scope;

/// What of the log may move a window, or end one that was moved.
const MOVES: &[&str] = &["batch.postponed", "batch.promise_kept", "batch.released", "batch.closed"];
/// How many entries of the log are looked at in one go.
const STRETCH: i64 = 200;
/// The most cutoffs of a region that can be asked for.
const COUNT_MAX: u32 = 20;
/// How many cutoffs that have passed are told at most.
const PASSED_MAX: usize = 100;
/// How far back cutoffs that have passed are looked for.
const BACK: SignedDuration = SignedDuration::from_hours(24 * 400);
/// How far ahead cutoffs are looked for.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 800);

type Message = proto::GatewayServiceWatchCutoffsResponse;
type Where = (LabId, RegionId);

/// What the caller knows of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    digest: String,
    as_of: Timestamp,
}

/// What was computed of a region: good until then, while its lab stays the same.
struct Computed {
    entry: Arc<LabEntry>,
    until: Option<Timestamp>,
    moved: Vec<BatchFacts>,
}

struct Watch {
    place: Place,
    labs: BTreeSet<LabId>,
    count: usize,
    known: BTreeMap<Where, Known>,
    computed: BTreeMap<Where, Computed>,
    held: VecDeque<Message>,
    /// Moves when a lab changes.
    changes: watch::Receiver<u64>,
    /// Which change was looked at last.
    change: u64,
    /// Tells when a window is moved, or ends.
    listener: Listener,
    /// The open windows as they were when one was moved last; unknown before the first look.
    windows: Option<HashMap<Where, Vec<BatchFacts>>>,
    /// When the next cutoff passes.
    soon: Option<Timestamp>,
}

/// Opens a watch.
pub(super) async fn cutoffs(
    place: Place,
    request: &proto::GatewayServiceWatchCutoffsRequest,
) -> Answer<Told<Message>> {
    let mut faults = Vec::new();
    let mut labs = BTreeSet::new();
    for (at, lab) in request.labs.iter().enumerate() {
        match LabId::parse(lab) {
            Ok(lab) => drop(labs.insert(lab)),
            Err(fault) => faults.push(fault.under(&format!("labs[{at}]"))),
        }
    }
    if request.count > COUNT_MAX {
        faults.push(Fault::not("count", request.count, "a whole number from 1 to 20"));
    }
    let mut known = BTreeMap::new();
    for (at, text) in request.resume.iter().enumerate() {
        match resumed(text) {
            Some((region, what)) => drop(known.insert(region, what)),
            None => {
                faults.push(Fault::not(format!("resume[{at}]"), text, "the `resume` of an earlier message"));
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let count = usize::try_from(request.count.max(1)).unwrap_or(1);
    let (computed, held) = (BTreeMap::new(), VecDeque::new());
    let changes = place.api.registry.changes();
    let change = *changes.borrow();
    // Windows are everybody's whose labs are: no order is told of.
    let listener = place.api.tail.listen_from_now(Scope::Ops).await?.only(MOVES);
    let (windows, soon) = (None, None);
    let watch = Watch { place, labs, count, known, computed, held, changes, change, listener, windows, soon };
    Ok(Box::pin(stream::try_unfold(watch, |mut watch| async move {
        let message = watch.next().await.map_err(status)?;
        Ok(Some((message, watch)))
    })))
}

fn resume((lab, region): &Where, known: &Known) -> String {
    BASE64.encode(format!("{lab}/{region}/{}/{}", known.as_of.as_microsecond(), known.digest))
}

fn resumed(text: &str) -> Option<(Where, Known)> {
    let text = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
    let [lab, region, as_of, digest] = text.split('/').collect::<Vec<_>>().try_into().ok()?;
    let as_of = Timestamp::from_microsecond(as_of.parse().ok()?).ok()?;
    let region = (LabId::parse(lab).ok()?, RegionId::parse(region).ok()?);
    Some((region, Known { digest: digest.to_owned(), as_of }))
}

/// The first instant that is after this one.
fn after(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(at)
}

fn digest(calendar: &Calendar, next: &[Cutoff], moved: &[&BatchFacts]) -> String {
    let mut sum = Sha256::new();
    let mut add = |text: &str| {
        sum.update((text.len() as u64).to_be_bytes());
        sum.update(text.as_bytes());
    };
    add(calendar.time_zone());
    add(calendar.tzdata());
    for cutoff in next {
        add(&cutoff.local);
        add(&cutoff.at.as_microsecond().to_string());
        add(&cutoff.rule.to_string());
    }
    for batch in moved {
        add(batch.id.as_str());
        add(&batch.closes_at.as_microsecond().to_string());
    }
    hex(&sum.finalize()[..8])
}

/// Whether a window closes at another instant than the calendar says.
fn is_moved(batch: &BatchFacts, calendar: &Calendar) -> bool {
    let says = || calendar.cutoffs(batch.closes_at, after(batch.closes_at)).next().is_some();
    batch.closes_at != batch.window_at || !says()
}

impl Watch {
    async fn next(&mut self) -> Answer<Message> {
        loop {
            let now = self.place.may_go_on()?;
            if let Some(message) = self.held.pop_front() {
                return Ok(message);
            }
            let before = self.listener.cursor();
            let stretch = self.listener.take(STRETCH).await?;
            let change = *self.changes.borrow_and_update();
            let changed = std::mem::replace(&mut self.change, change) != change;
            let moves = stretch.events.iter().any(|entry| self.moves(&entry.event));
            if moves || changed || self.windows.is_none() {
                self.windows = Some(self.open().await?);
            }
            if moves || changed || self.soon.is_none_or(|soon| soon <= now) {
                self.soon = self.look(now);
            }
            if self.held.is_empty() && stretch.seen == before {
                let (changes, listener) = (&mut self.changes, &mut self.listener);
                let something = async {
                    tokio::select! {
                        // The sender is part of the registry, which is held here.
                        _ = changes.changed() => {}
                        () = listener.more() => {}
                    }
                };
                self.place.wait(self.soon, something).await;
            }
        }
    }

    /// Whether an entry of the log may change what is known of windows.
    fn moves(&self, event: &Event) -> bool {
        let known = |windows: &HashMap<Where, Vec<BatchFacts>>| {
            windows.values().flatten().any(|batch| batch.id.as_str() == event.subject)
        };
        event.kind != "batch.closed" || self.windows.as_ref().is_none_or(known)
    }

    /// The open windows: one or two of each region. Which of them were moved, the calendars tell.
    async fn open(&self) -> Answer<HashMap<Where, Vec<BatchFacts>>> {
        let mut windows: HashMap<Where, Vec<BatchFacts>> = HashMap::new();
        for batch in self.place.api.store.open_windows().await? {
            if self.watches(&batch.lab) {
                windows.entry((batch.lab.clone(), batch.region.clone())).or_default().push(batch);
            }
        }
        Ok(windows)
    }

    fn watches(&self, lab: &LabId) -> bool {
        let sees = !matches!(&self.place.caller.scope, Scope::Lab(own) if own != lab);
        sees && (self.labs.is_empty() || self.labs.contains(lab))
    }

    /// Looks for what is new, and says when the next cutoff passes.
    fn look(&mut self, now: Timestamp) -> Option<Timestamp> {
        let labs = self.place.api.registry.snapshot();
        let mut there = BTreeSet::new();
        for (id, entry) in &labs.labs {
            if !self.watches(id) {
                continue;
            }
            for collected in &entry.lab.places {
                let place = (id.clone(), collected.id.clone());
                there.insert(place.clone());
                let open = self.windows.as_ref().and_then(|windows| windows.get(&place));
                let open = open.map(Vec::as_slice).unwrap_or_default();
                let same = |computed: &Computed| {
                    Arc::ptr_eq(&computed.entry, entry)
                        && computed.until.is_none_or(|until| now < until)
                        && computed.moved == open
                };
                if self.computed.get(&place).is_some_and(same) {
                    continue;
                }
                let moved = open.to_vec();
                let until = self.tell(&place, &collected.calendar, &moved, now);
                self.computed.insert(place, Computed { entry: Arc::clone(entry), until, moved });
            }
        }
        let gone: Vec<Where> = self.known.keys().filter(|place| !there.contains(*place)).cloned().collect();
        for place in gone {
            // One that was told as gone before has no digest.
            let news = self.known.remove(&place).is_some_and(|known| !known.digest.is_empty());
            self.computed.remove(&place);
            if news && self.watches(&place.0) {
                let known = Known { digest: String::new(), as_of: now };
                let (lab, region) = (place.0.to_string(), place.1.to_string());
                let (as_of, resume) = (Some(shapes::at(now)), resume(&place, &known));
                self.held.push_back(Message { lab, region, gone: true, as_of, resume, ..Message::default() });
            }
        }
        self.computed.values().filter_map(|computed| computed.until).min()
    }

    /// Tells of a region, if there is something new; says when its next cutoff passes.
    fn tell(
        &mut self,
        place: &Where,
        calendar: &Calendar,
        open: &[BatchFacts],
        now: Timestamp,
    ) -> Option<Timestamp> {
        let next: Vec<Cutoff> = calendar.cutoffs(after(now), later(now, AHEAD)).take(self.count).collect();
        let until = next.first().map(|cutoff| cutoff.at);
        let moved: Vec<&BatchFacts> = open.iter().filter(|batch| is_moved(batch, calendar)).collect();
        let new = Known { digest: digest(calendar, &next, &moved), as_of: now };
        let old = self.known.insert(place.clone(), new.clone());
        let mut passed: VecDeque<Cutoff> = VecDeque::new();
        if let Some(old) = &old {
            let from = after(old.as_of.max(now.saturating_sub(BACK).unwrap_or(now)));
            for cutoff in calendar.cutoffs(from, after(now)) {
                passed.push_back(cutoff);
                if passed.len() > PASSED_MAX {
                    passed.pop_front();
                }
            }
        }
        if passed.is_empty() && old.is_some_and(|old| old.digest == new.digest) {
            return until;
        }
        self.held.push_back(Message {
            lab: place.0.to_string(),
            region: place.1.to_string(),
            time_zone: calendar.time_zone().to_owned(),
            tzdata: calendar.tzdata().to_owned(),
            next: next.iter().map(shapes::cutoff).collect(),
            passed: passed.iter().map(shapes::cutoff).collect(),
            gone: false,
            as_of: Some(shapes::at(now)),
            resume: resume(place, &new),
            moved: moved.into_iter().map(shapes::moved).collect(),
        });
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_read_again() {
        let place = (LabId::parse("nord").unwrap(), RegionId::parse("fi").unwrap());
        let known = Known { digest: "0a".to_owned(), as_of: "2026-11-21T12:00:00.000001Z".parse().unwrap() };
        assert_eq!(resumed(&resume(&place, &known)), Some((place, known)));
        for bad in ["", "!", "bm9yZA", &BASE64.encode("nord/fi/x/0a"), &BASE64.encode("nord/FI!/1/0a")] {
            assert_eq!(resumed(bad), None, "{bad}");
        }
    }
}
