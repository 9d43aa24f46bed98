//! One row of the board: what a lab region has open, and what somebody should do about it.
//!
//! Pure: the numbers come in, and `now`. [`Region::again_at`] says until when the same numbers give the same
//! row, so that a board on which nothing happens costs nothing.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::alerts::{self, ANSWER_SOON, CLOSES_WITHIN, HANDED_WITHIN};
use super::missing::WillMiss;
use crate::domain::batch::{TransferPhase, later};
use crate::domain::calendar::{Calendar, called_peak, season_of};
use crate::domain::health::{LabHealth, Reach};
use crate::domain::ids::{BatchId, LabId, RegionId};
use crate::domain::stop::StopState;
use crate::store::{BoardBatch, BoardBehind, BoardDirect, BoardStops, BoardTransfers, WarnedRow};

/// How urgent something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Somebody has to act.
    Act,
    /// It may get late: worth a look.
    Watch,
    /// All is as it should be.
    Fine,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A batch is open after its cutoff.
    NotClosed,
    /// Orders wait though their batch has closed.
    NotHandedOver,
    /// The lab does not take transfers: it refuses them, or cannot be reached. They are sent again.
    NotTaken,
    /// Orders that are in no batch will miss the next cutoff.
    WillMiss,
    /// The lab is paused.
    Paused,
    /// A person has to find out whether the lab has transfers.
    TransferWithAPerson,
    /// It is not known whether the lab has transfers.
    TransferUnclear,
    /// A person has to decide on stops.
    StopWithAPerson,
    /// The answer to a stop is overdue.
    StopOverdue,
    /// The answer to a stop is due soon.
    StopDueSoon,
    /// Something else waits for a person: what a lab said or did against what was told of an order.
    Escalated,
    /// The lab is not called, because it did not speak several times in a row.
    LabSilent,
    /// A lab that dials out is not connected to this gateway.
    LabAway,
    /// The lab cannot be called as it is defined.
    LabUnusable,
}

/// Something that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Alert {
    /// What.
    pub kind: AlertKind,
    /// How urgent.
    pub level: Level,
    /// How many orders, transfers or stops.
    pub count: i64,
    /// Of what is late: since when. Of what is to come: when it is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// The batch to look at, if it is about one.
    pub batch: Option<BatchId>,
    /// What to do.
    pub text: String,
}

/// An open batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Open {
    /// Its id.
    pub batch: BatchId,
    /// When it closes.
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Timestamp,
    /// Orders that wait in it.
    pub waiting: i64,
    /// Orders in it that were stopped.
    pub stopped: i64,
}

/// How the lab stands, as the gateway that answers sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// Whether it can be called.
    pub reach: Reach,
    /// The last answer of the lab, a word of the closed list.
    #[schema(value_type = Option<String>, example = "accepted")]
    pub last_answer: Option<&'static str>,
    /// When that was, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_answer_at: Option<Timestamp>,
    /// Of a lab that dials out: its connections to this gateway.
    pub connections: Option<u32>,
    /// While it is left alone: when it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_until: Option<Timestamp>,
    /// Why it cannot be used.
    pub cause: Option<String>,
}

impl From<LabHealth> for Health {
    fn from(health: LabHealth) -> Self {
        let lane = health.lane.as_ref();
        let heard = lane.and_then(|lane| lane.last_answer);
        // To the minute: a lab that is called all the time is no news each second.
        let minute = |at: Timestamp| Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap_or(at);
        Self {
            reach: health.reach,
            last_answer: heard.map(|heard| heard.answer),
            last_answer_at: heard.map(|heard| minute(heard.at)),
            connections: health.links.map(|links| links.connections),
            closed_until: lane.and_then(|lane| lane.closed_until),
            cause: health.cause,
        }
    }
}

/// Stops that wait for an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenStops {
    /// With the lab.
    pub pending: i64,
    /// With a person.
    pub with_a_person: i64,
    /// The earliest deadline of those with the lab.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
}

/// Transfers that are not at an end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenTransfers {
    /// Under way.
    pub under_way: i64,
    /// Not taken by the lab so far; sent again by itself.
    pub to_send_again: i64,
    /// When the first of these two was to be sent for the first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_at: Option<Timestamp>,
    /// Sent, and nobody knows yet what came of it.
    pub unclear: i64,
    /// A person finds out.
    pub with_a_person: i64,
    /// When the first of the unclear ones is given to a person.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline_at: Option<Timestamp>,
}

/// A region of a lab, as the board shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Region {
    /// The lab.
    pub lab: LabId,
    /// The lab's name.
    pub name: String,
    /// The region.
    pub region: RegionId,
    /// The IANA name of the region's zone.
    pub time_zone: String,
    /// The release of the zone data that the cutoff was computed with.
    pub tzdata: String,
    /// How far its clocks are from UTC now, such as `+02:00`.
    pub offset: String,
    /// The next cutoff; null if there is none ever again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closes_at: Option<Timestamp>,
    /// The same on the region's clocks.
    pub closes_at_local: Option<String>,
    /// The calendar's rule and the configured time.
    pub rule: Option<String>,
    /// The season that the cutoff belongs to, if any.
    pub season: Option<String>,
    /// Whether that season is a peak: it is called so, or has more cutoffs a day than the regular calendar.
    pub peak: bool,
    /// Open batches, the next one first.
    pub open: Vec<Open>,
    /// Direct orders that wait out their grace.
    pub direct: i64,
    /// Orders that were warned of the next cutoff and are still in no batch; null while there are none.
    pub will_miss: Option<WillMiss>,
    /// Stops that wait for an answer.
    pub stops: OpenStops,
    /// Transfers that are not at an end.
    pub transfers: OpenTransfers,
    /// Orders that wait though their batch has closed.
    pub behind: i64,
    /// What waits for a person besides stops and transfers: what was told of an order and what became of it do
    /// not agree. What is about no region is at the lab's first.
    pub escalations: i64,
    /// Since when the lab is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paused_at: Option<Timestamp>,
    /// How the lab stands, as the gateway that answers sees it; null if it has not looked yet.
    pub health: Option<Health>,
    /// The most urgent of `alerts`.
    pub level: Level,
    /// What is wrong, and what to do; the most urgent first.
    pub alerts: Vec<Alert>,
}

/// The numbers of a region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) open: Vec<BoardBatch>,
    pub(super) direct: Option<BoardDirect>,
    pub(super) behind: Option<BoardBehind>,
    pub(super) warned: Vec<WarnedRow>,
    pub(super) transfers: Vec<BoardTransfers>,
    pub(super) stops: Vec<BoardStops>,
    pub(super) escalations: Option<(i64, Timestamp)>,
}

impl Counts {
    /// The windows whose batches were postponed, by when the calendar would close them.
    pub(super) fn moved(&self) -> impl Iterator<Item = Timestamp> {
        self.open.iter().filter(|batch| batch.closes_at > batch.window_at).map(|batch| batch.window_at)
    }
}

/// The next cutoff that the calendar has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coming {
    pub(super) at: Timestamp,
    pub(super) local: String,
    pub(super) rule: String,
}

/// What is known of a region besides its numbers.
pub(super) struct Known<'a> {
    pub(super) place: (&'a LabId, &'a RegionId),
    pub(super) name: &'a str,
    pub(super) time_zone: &'a str,
    pub(super) tzdata: &'a str,
    pub(super) offset: String,
    pub(super) paused_at: Option<Timestamp>,
    pub(super) health: Option<&'a Health>,
    /// The calendar, if the region is configured.
    pub(super) calendar: Option<&'a Calendar>,
    /// The next cutoff of a window that was not postponed.
    pub(super) coming: Option<&'a Coming>,
}

impl Region {
    /// The row of a region.
    pub(super) fn of(known: &Known<'_>, counts: &Counts, now: Timestamp) -> Self {
        let mut batches: Vec<&BoardBatch> = counts.open.iter().collect();
        batches.sort_by_key(|batch| (batch.closes_at, &batch.batch));
        let first =
            batches.first().filter(|batch| known.coming.is_none_or(|next| batch.closes_at <= next.at));
        let (closes_at, local, rule) = match (first, known.coming) {
            (Some(batch), _) => {
                (Some(batch.closes_at), Some(batch.closes_at_local.clone()), Some(batch.rule.clone()))
            }
            (None, Some(next)) => (Some(next.at), Some(next.local.clone()), Some(next.rule.clone())),
            (None, None) => (None, None, None),
        };
        let season = rule.as_deref().and_then(season_of);
        let mut region = Self {
            lab: known.place.0.clone(),
            name: known.name.to_owned(),
            region: known.place.1.clone(),
            time_zone: known.time_zone.to_owned(),
            tzdata: first.map_or_else(|| known.tzdata.to_owned(), |batch| batch.tzdata.clone()),
            offset: known.offset.clone(),
            closes_at,
            closes_at_local: local,
            peak: season.is_some_and(|season| {
                known.calendar.map_or_else(|| called_peak(season), |calendar| calendar.is_peak(season))
            }),
            season: season.map(str::to_owned),
            rule,
            open: batches
                .iter()
                .map(|batch| Open {
                    batch: batch.batch.clone(),
                    closes_at: batch.closes_at,
                    waiting: batch.waiting,
                    stopped: batch.stopped,
                })
                .collect(),
            direct: counts.direct.as_ref().map_or(0, |direct| direct.orders),
            will_miss: WillMiss::of(&counts.warned, now),
            stops: stops(&counts.stops),
            transfers: transfers(&counts.transfers),
            behind: counts.behind.as_ref().map_or(0, |behind| behind.orders),
            escalations: counts.escalations.map_or(0, |(open, _)| open),
            paused_at: known.paused_at,
            health: known.health.cloned(),
            level: Level::Fine,
            alerts: Vec::new(),
        };
        region.alerts = alerts::of(&region, counts, now);
        region.alerts.sort_by_key(|alert| alert.level);
        region.level = region.alerts.first().map_or(Level::Fine, |alert| alert.level);
        region
    }

    /// Orders that wait in the next window.
    #[must_use]
    pub fn waiting(&self) -> i64 {
        self.next().map_or(0, |open| open.waiting)
    }

    /// Orders of the next window that were stopped.
    #[must_use]
    pub fn stopped(&self) -> i64 {
        self.next().map_or(0, |open| open.stopped)
    }

    /// The open batch of the next window, if an order is in it.
    #[must_use]
    pub fn next(&self) -> Option<&Open> {
        self.open.first().filter(|open| Some(open.closes_at) == self.closes_at)
    }

    /// Until when the same numbers give the same row.
    pub(super) fn again_at(&self, counts: &Counts, now: Timestamp) -> Timestamp {
        let quarter = 15 * 60;
        let next = (now.as_second().div_euclid(quarter) + 1) * quarter;
        let next = Timestamp::from_second(next).unwrap_or(Timestamp::MAX);
        let before = |at: Timestamp| at.checked_sub(ANSWER_SOON).unwrap_or(Timestamp::MIN);
        let marks = [
            self.closes_at,
            self.closes_at.map(|at| later(at, CLOSES_WITHIN)),
            counts.behind.as_ref().map(|behind| later(behind.since, HANDED_WITHIN)),
            self.transfers.first_at.map(|at| later(at, HANDED_WITHIN)),
            self.stops.due_at.map(before),
            self.stops.due_at,
            self.will_miss.as_ref().map(|missed| missed.closes_at),
            self.health.as_ref().and_then(|health| health.closed_until),
        ];
        marks.into_iter().flatten().filter(|at| *at > now).min().map_or(next, |at| at.min(next))
    }
}

fn stops(rows: &[BoardStops]) -> OpenStops {
    let mut stops = OpenStops::default();
    for row in rows {
        if row.state == StopState::Pending {
            stops.pending += row.stops;
            stops.due_at = Some(stops.due_at.map_or(row.deadline_at, |at| at.min(row.deadline_at)));
        } else {
            stops.with_a_person += row.stops;
        }
    }
    stops
}

fn transfers(rows: &[BoardTransfers]) -> OpenTransfers {
    let mut transfers = OpenTransfers::default();
    for row in rows {
        match row.phase {
            TransferPhase::Unknown => {
                transfers.unclear += row.transfers;
                transfers.deadline_at = Some(row.deadline_at);
            }
            TransferPhase::WithAPerson => transfers.with_a_person += row.transfers,
            phase => {
                let count = match phase {
                    TransferPhase::Closed => &mut transfers.to_send_again,
                    _ => &mut transfers.under_way,
                };
                *count += row.transfers;
                transfers.first_at = Some(transfers.first_at.map_or(row.first_at, |at| at.min(row.first_at)));
            }
        }
    }
    transfers
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
