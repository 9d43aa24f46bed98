//! The board: every lab region with what it has open, kept for as long as somebody looks.
//!
//! One picture a process, at most one second old, shared by all who look: [`Board::fresh`] takes it anew for
//! the first who asks when it is older, and gives it to everybody else. Of the store it asks first which labs
//! the log has spoken of since, and counts only those again; so that a board on which nothing happens costs
//! one look at the end of the log, and one on which much happens as much as the labs that moved. Once a minute
//! everything is counted, so that nothing that was missed could stay.
//!
//! A row is rendered once when it changes, and carries the number of the picture in which it did: what a
//! watcher has not seen yet are the rows with a greater number.

mod alerts;
pub mod band;
pub mod missing;
pub mod region;
pub mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use self::band::Band;
use self::region::{Coming, Counts, Health, Known, Level, Region};
use super::Api;
use super::page::board as render;
use super::registry::LabEntry;
use crate::clock::Random;
use crate::domain::batch::later;
use crate::domain::calendar::Calendar;
use crate::domain::event::hex;
use crate::domain::ids::LabId;
use crate::store::{self, BoardEscalations, BoardRows, Place};

/// How old the picture may be.
const AGE: SignedDuration = SignedDuration::from_secs(1);
/// How often everything is counted.
const RECOUNT: SignedDuration = SignedDuration::from_secs(60);

/// A piece of the page, as it is written into it and into streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// The id of its element.
    pub id: String,
    /// The picture in which it changed last.
    pub serial: u64,
    /// The element.
    pub html: String,
    /// The same as a member of a JSON object: `"id":"element"`.
    pub put: String,
}

impl Piece {
    fn new(id: String, serial: u64, html: String) -> Self {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let put = format!("{}:{}", text(&id), text(&html));
        Self { id, serial, html, put }
    }
}

/// A row with what it was made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// What it shows.
    pub region: Region,
    /// All cutoffs on the band, in order, with the orders that wait for each.
    pub closes: Vec<(Timestamp, i64)>,
    /// How it looks.
    pub piece: Piece,
}

/// Numbers over all regions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Totals {
    /// Regions.
    pub regions: usize,
    /// Of these, where somebody has to act.
    pub act: usize,
    /// Of these, worth a look.
    pub watch: usize,
    /// Orders that wait in open batches, and direct ones.
    pub waiting: i64,
    /// Orders of open batches that were stopped.
    pub stopped: i64,
    /// Stops that wait for an answer.
    pub stops: i64,
    /// Transfers of which nobody knows what came of them, or that a person has.
    pub unclear: i64,
    /// The next cutoff.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closes_at: Option<Timestamp>,
    /// The release of the zone data in use.
    pub tzdata: String,
}

/// The board at one instant.
#[derive(Debug)]
pub struct Snapshot {
    /// When.
    pub at: Timestamp,
    /// Up to which number of the log it was counted.
    pub seen: i64,
    /// Its number; it grows with every change.
    pub serial: u64,
    /// The number of the picture in which rows came, went or changed their order last.
    pub order_serial: u64,
    /// The rows, the most urgent first, then by cutoff.
    pub rows: Vec<Arc<Row>>,
    /// The numbers over all.
    pub totals: Totals,
    /// The same, as it looks.
    pub totals_piece: Arc<Piece>,
    /// The cutoffs of the coming 24 hours.
    pub band: Band,
    /// The same, as it looks.
    pub band_piece: Arc<Piece>,
}

/// What is kept of a region between two pictures.
#[derive(Debug)]
struct Kept {
    row: Arc<Row>,
    entry: Option<Arc<LabEntry>>,
    health: Option<Health>,
    computed_at: Timestamp,
    again_at: Timestamp,
    coming: Option<Coming>,
    /// The calendar's cutoffs on the band, and where that begins.
    cutoffs: (Timestamp, Vec<Timestamp>),
}

/// How a region is configured, if it is.
type Configured = Option<(Arc<LabEntry>, Calendar)>;

#[derive(Debug, Default)]
struct State {
    seen: i64,
    counted_at: Option<Timestamp>,
    counts: HashMap<Place, Counts>,
    /// By lab, and by region where one is known.
    escalations: HashMap<LabId, Vec<BoardEscalations>>,
    kept: BTreeMap<Place, Kept>,
}

/// The board's picture, and what it was made of.
#[derive(Debug)]
pub struct Board {
    /// Whose pictures these are: another process numbers its own.
    name: String,
    state: tokio::sync::Mutex<State>,
    shown: RwLock<Option<Arc<Snapshot>>>,
}

impl Board {
    /// A board at which nobody has looked yet.
    pub(super) fn new(random: &dyn Random) -> Self {
        let mut bytes = [0; 6];
        random.fill(&mut bytes);
        Self { name: hex(&bytes), state: tokio::sync::Mutex::default(), shown: RwLock::default() }
    }

    /// What the numbers of its pictures are to be told with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn young(&self, now: Timestamp) -> Option<Arc<Snapshot>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner).clone();
        shown.filter(|shown| shown.at <= now && later(shown.at, AGE) > now)
    }

    /// The picture, at most a second old.
    ///
    /// # Errors
    /// If the store does not answer: an old picture is given to nobody.
    pub(super) async fn fresh(&self, api: &Api) -> store::Result<Arc<Snapshot>> {
        if let Some(young) = self.young(api.clock.now()) {
            return Ok(young);
        }
        let mut state = self.state.lock().await;
        let now = api.clock.now();
        // Somebody else may have taken it while we waited.
        if let Some(young) = self.young(now) {
            return Ok(young);
        }
        let before = self.shown.read().unwrap_or_else(PoisonError::into_inner).clone();
        let taken = Arc::new(state.take(api, before.as_deref(), now).await?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&taken));
        Ok(taken)
    }
}

impl State {
    async fn take(
        &mut self,
        api: &Api,
        before: Option<&Snapshot>,
        now: Timestamp,
    ) -> store::Result<Snapshot> {
        let known = api.registry.snapshot();
        let mut places: BTreeMap<Place, (Arc<LabEntry>, Calendar)> = BTreeMap::new();
        for (lab, entry) in &known.labs {
            for collected in &entry.lab.places {
                let place = (lab.clone(), collected.id.clone());
                places.insert(place, (Arc::clone(entry), collected.calendar.clone()));
            }
        }
        let dirty = self.count(api, known.labs.keys(), now).await?;
        let serial = before.map_or(1, |before| before.serial + 1);
        let tzdata = api.registry.zones().version().to_owned();
        let from = band::begin(now);
        let mut changed = before.is_none();
        let healths: HashMap<&LabId, Option<Health>> =
            known.labs.keys().map(|lab| (lab, (api.health)(lab).map(Health::from))).collect();
        // Regions that are not configured any more, while something of them is open.
        let gone: Vec<Place> =
            self.counts.keys().filter(|place| !places.contains_key(*place)).cloned().collect();
        let all: Vec<(Place, Configured)> = places
            .into_iter()
            .map(|(place, there)| (place, Some(there)))
            .chain(gone.into_iter().map(|place| (place, None)))
            .collect();
        let there_too: HashSet<Place> = all.iter().map(|(place, _)| place.clone()).collect();
        let length = self.kept.len();
        self.kept.retain(|place, _| there_too.contains(place));
        changed |= self.kept.len() != length;
        let mut last: Option<LabId> = None;
        for (place, there) in all {
            let health = healths.get(&place.0).cloned().flatten();
            let first = last.as_ref() != Some(&place.0);
            last = Some(place.0.clone());
            let entry = there.as_ref().map(|(entry, _)| entry);
            let kept = self.kept.get(&place);
            let same_entry = kept.is_some_and(|kept| match (&kept.entry, entry) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            });
            let holds = kept.is_some_and(|kept| {
                same_entry
                    && !dirty.contains(&place.0)
                    && kept.health == health
                    && kept.computed_at <= now
                    && kept.again_at > now
                    && kept.cutoffs.0 == from
            });
            if holds {
                continue;
            }
            let calendar = there.as_ref().map(|(_, calendar)| calendar);
            let coming = kept.and_then(|kept| kept.coming.clone()).filter(|it| same_entry && it.at > now);
            let coming = coming.or_else(|| calendar.and_then(|calendar| coming_of(calendar, now)));
            let cutoffs = kept.map(|kept| &kept.cutoffs).filter(|(at, _)| same_entry && *at == from).cloned();
            let cutoffs = cutoffs.unwrap_or_else(|| {
                let listed = calendar.map(|it| it.cutoffs(from, later(from, band::LENGTH)).map(|it| it.at));
                (from, listed.into_iter().flatten().collect())
            });
            let mut counts = self.counts.get(&place).cloned().unwrap_or_default();
            // A window whose batch was postponed closes with it, not when the calendar says.
            let moved: Vec<Timestamp> = counts.moved().collect();
            let bare: Vec<_> = cutoffs.1.iter().copied().filter(|at| !moved.contains(at)).collect();
            let mut next = coming.clone();
            while let Some(it) = next.take_if(|it| moved.contains(&it.at)) {
                next = calendar.and_then(|calendar| coming_of(calendar, it.at));
            }
            counts.escalations = self.escalated(&place, first, &there_too);
            let region = Region::of(
                &Known {
                    place: (&place.0, &place.1),
                    name: entry.map_or(place.0.as_str(), |entry| &entry.lab.spec.name),
                    time_zone: calendar.map_or("UTC", Calendar::time_zone),
                    tzdata: calendar.map_or(&tzdata, Calendar::tzdata),
                    offset: calendar.map(|calendar| offset(calendar, now)).unwrap_or_default(),
                    paused_at: entry.and_then(|entry| entry.paused.as_ref()).map(|(since, _)| *since),
                    health: health.as_ref(),
                    calendar,
                    coming: next.as_ref(),
                },
                &counts,
                now,
            );
            let again_at = region.again_at(&counts, now);
            let closes = band::closes(from, &region, &bare);
            let same = kept.map(|kept| &kept.row).filter(|row| row.region == region);
            let row = if let Some(row) = same.filter(|row| row.closes == closes) {
                Arc::clone(row)
            } else {
                changed = true;
                let piece = same.map(|row| row.piece.clone());
                let piece = piece.unwrap_or_else(|| {
                    let id = format!("r:{}:{}", place.0, place.1);
                    Piece::new(id, serial, render::row(&region))
                });
                Arc::new(Row { region, closes, piece })
            };
            let entry = entry.cloned();
            let kept = Kept { row, entry, health, computed_at: now, again_at, coming, cutoffs };
            self.kept.insert(place, kept);
        }
        Ok(self.picture(before, changed, serial, now, tzdata))
    }

    /// What waits for a person at a region; at the first of a lab also what is about none that has a row.
    fn escalated(&self, place: &Place, first: bool, there: &HashSet<Place>) -> Option<(i64, Timestamp)> {
        let of_lab = self.escalations.get(&place.0)?;
        let here = of_lab.iter().filter(|it| match &it.region {
            Some(region) if *region == place.1 => true,
            Some(region) => first && !there.contains(&(place.0.clone(), region.clone())),
            None => first,
        });
        here.map(|it| (it.escalations, it.due_at)).reduce(|a, b| (a.0 + b.0, a.1.min(b.1)))
    }

    /// Counts the labs that have moved anew; gives them.
    async fn count(
        &mut self,
        api: &Api,
        known: impl Iterator<Item = &LabId>,
        now: Timestamp,
    ) -> store::Result<HashSet<LabId>> {
        let all = self.counted_at.is_none_or(|at| now < at || later(at, RECOUNT) <= now);
        // Before counting: what commits in between is counted again the next time.
        let touched = api.store.touched(self.seen).await?;
        let labs: HashSet<LabId> = match touched.labs {
            Some(labs) if !all => labs.into_iter().collect(),
            _ => self.counts.keys().map(|(lab, _)| lab.clone()).chain(known.cloned()).collect(),
        };
        let list: Vec<LabId> = labs.iter().cloned().collect();
        let rows = api.store.board(&list).await?;
        let warned = api.store.warned(&list, now).await?;
        self.counts.retain(|(lab, _), _| !labs.contains(lab));
        self.escalations.retain(|lab, _| !labs.contains(lab));
        self.add(rows);
        for row in warned {
            self.counts.entry(row.place.clone()).or_default().warned.push(row);
        }
        self.seen = touched.seen;
        if all {
            self.counted_at = Some(now);
        }
        Ok(labs)
    }

    fn add(&mut self, rows: BoardRows) {
        let counts = &mut self.counts;
        for row in rows.open {
            counts.entry(row.place.clone()).or_default().open.push(row);
        }
        for row in rows.direct {
            let place = row.place.clone();
            counts.entry(place).or_default().direct = Some(row);
        }
        for row in rows.behind {
            let place = row.place.clone();
            counts.entry(place).or_default().behind = Some(row);
        }
        for row in rows.transfers {
            counts.entry(row.place.clone()).or_default().transfers.push(row);
        }
        for row in rows.stops {
            counts.entry(row.place.clone()).or_default().stops.push(row);
        }
        for row in rows.escalations {
            self.escalations.entry(row.lab.clone()).or_default().push(row);
        }
    }

    /// The picture of what is kept.
    fn picture(
        &self,
        before: Option<&Snapshot>,
        changed: bool,
        serial: u64,
        now: Timestamp,
        tzdata: String,
    ) -> Snapshot {
        let from = band::begin(now);
        if let Some(before) =
            before.filter(|it| !changed && it.band.from == from && it.totals.tzdata == tzdata)
        {
            return Snapshot {
                at: now,
                seen: self.seen,
                serial: before.serial,
                order_serial: before.order_serial,
                rows: before.rows.clone(),
                totals: before.totals.clone(),
                totals_piece: Arc::clone(&before.totals_piece),
                band: before.band.clone(),
                band_piece: Arc::clone(&before.band_piece),
            };
        }
        let mut rows: Vec<Arc<Row>> = self.kept.values().map(|kept| Arc::clone(&kept.row)).collect();
        rows.sort_by(|a, b| {
            let key = |row: &Row| (row.region.level, row.region.closes_at.unwrap_or(Timestamp::MAX));
            key(a).cmp(&key(b)).then_with(|| a.piece.id.cmp(&b.piece.id))
        });
        let same_order = before.is_some_and(|before| {
            before.rows.len() == rows.len()
                && before.rows.iter().zip(&rows).all(|(old, new)| old.piece.id == new.piece.id)
        });
        let order_serial = before.filter(|_| same_order).map_or(serial, |before| before.order_serial);
        let totals = totals(&rows, tzdata);
        let band = Band::of(from, self.kept.values().map(|kept| &*kept.row));
        let piece = |id: &str, same: Option<&Arc<Piece>>, html: &dyn Fn() -> String| {
            same.cloned().unwrap_or_else(|| Arc::new(Piece::new(id.to_owned(), serial, html())))
        };
        let old_totals = before.filter(|it| it.totals == totals).map(|it| &it.totals_piece);
        let old_band = before.filter(|it| it.band == band).map(|it| &it.band_piece);
        Snapshot {
            at: now,
            seen: self.seen,
            serial,
            order_serial,
            totals_piece: piece("totals", old_totals, &|| render::totals(&totals)),
            band_piece: piece("band", old_band, &|| render::band(&band)),
            rows,
            totals,
            band,
        }
    }
}

fn coming_of(calendar: &Calendar, now: Timestamp) -> Option<Coming> {
    let next = calendar.next_cutoff(now)?;
    Some(Coming { at: next.at, local: next.local, rule: format!("{} {}", next.rule, next.time) })
}

/// How far a region's clocks are from UTC, such as `+02:00`.
fn offset(calendar: &Calendar, now: Timestamp) -> String {
    let shown = calendar.shown(now).0;
    let shown = shown.split('[').next().unwrap_or_default();
    let at = shown.rfind(['+', '-']).unwrap_or(shown.len());
    shown[at..].to_owned()
}

fn totals(rows: &[Arc<Row>], tzdata: String) -> Totals {
    let mut totals = Totals { regions: rows.len(), tzdata, ..Totals::default() };
    for region in rows.iter().map(|row| &row.region) {
        totals.act += usize::from(region.level == Level::Act);
        totals.watch += usize::from(region.level == Level::Watch);
        totals.waiting += region.open.iter().map(|open| open.waiting).sum::<i64>() + region.direct;
        totals.stopped += region.open.iter().map(|open| open.stopped).sum::<i64>();
        totals.stops += region.stops.pending + region.stops.with_a_person;
        totals.unclear += region.transfers.unclear + region.transfers.with_a_person;
        totals.closes_at = match (totals.closes_at, region.closes_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    totals
}
