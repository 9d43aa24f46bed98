//! What the board shows of lab regions, and a lab's scorecard.

use jiff::Timestamp;

use crate::domain::batch::TransferPhase;
use crate::domain::ids::{BatchId, LabId, RegionId};
use crate::domain::stop::StopState;

/// A lab region.
pub type Place = (LabId, RegionId);

/// What some labs have open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardRows {
    /// Open batches of windows.
    pub open: Vec<BoardBatch>,
    /// Direct orders that wait out their grace.
    pub direct: Vec<BoardDirect>,
    /// Orders that wait though their batch has closed.
    pub behind: Vec<BoardBehind>,
    /// Transfers that are not at an end, by phase.
    pub transfers: Vec<BoardTransfers>,
    /// Stops that wait for an answer, by state.
    pub stops: Vec<BoardStops>,
    /// What waits for a person.
    pub escalations: Vec<BoardEscalations>,
}

/// An open batch of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardBatch {
    /// Where.
    pub place: Place,
    /// The batch.
    pub batch: BatchId,
    /// The cutoff of its window, which it closes at unless it was postponed.
    pub window_at: Timestamp,
    /// When it closes.
    pub closes_at: Timestamp,
    /// The same on the region's clocks.
    pub closes_at_local: String,
    /// The local date of its cutoff.
    pub production_date: String,
    /// The rule that gave the cutoff.
    pub rule: String,
    /// The version of the zone data that it was computed with.
    pub tzdata: String,
    /// Orders that wait in it.
    pub waiting: i64,
    /// Orders in it that were stopped.
    pub stopped: i64,
}

/// Direct orders of a region that wait out their grace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardDirect {
    /// Where.
    pub place: Place,
    /// How many.
    pub orders: i64,
    /// When the first of them goes.
    pub closes_at: Timestamp,
}

/// Orders of a region that wait though their batch has closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardBehind {
    /// Where.
    pub place: Place,
    /// How many.
    pub orders: i64,
    /// In how many batches.
    pub batches: i64,
    /// Since when the first of them waits.
    pub since: Timestamp,
    /// The oldest of these batches.
    pub batch: BatchId,
}

/// Transfers of a region in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardTransfers {
    /// Where.
    pub place: Place,
    /// The phase.
    pub phase: TransferPhase,
    /// How many.
    pub transfers: i64,
    /// When the first of them is given to a person.
    pub deadline_at: Timestamp,
    /// When the first of them was to be sent for the first time.
    pub first_at: Timestamp,
    /// The oldest batch of these.
    pub batch: BatchId,
}

/// Stops of a region in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardStops {
    /// Where.
    pub place: Place,
    /// The state: pending, or with a person.
    pub state: StopState,
    /// How many.
    pub stops: i64,
    /// The earliest deadline of these.
    pub deadline_at: Timestamp,
}

/// What of a lab waits for a person, besides stops and transfers: what was told of an order and what became of
/// it do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardEscalations {
    /// The lab.
    pub lab: LabId,
    /// The region, if one is known.
    pub region: Option<RegionId>,
    /// How many.
    pub escalations: i64,
    /// When the first of them should have been decided.
    pub due_at: Timestamp,
}

/// Which labs the log has spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// The labs; `None` if the log has grown by too much to look.
    pub labs: Option<Vec<LabId>>,
    /// The number of the last entry that was looked at: where to go on.
    pub seen: i64,
}

/// How a lab has done for some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScoreRow {
    /// Stops that were asked.
    pub asked: i64,
    /// Of these, stopped before anything left the house.
    pub before: i64,
    /// Of these, too late without a word of the lab: it had told before that it makes the order, or what it has
    /// is final by contract.
    pub at_once: i64,
    /// Of these, asked of the lab.
    pub of_lab: i64,
    /// Of these, decided by one of ours after the hand-over; the lab may have been asked or not.
    pub by_us: i64,
    /// Answered by the lab: stopped.
    pub stopped: i64,
    /// Answered by the lab: stopped in part.
    pub in_part: i64,
    /// Answered by the lab: too late.
    pub too_late: i64,
    /// Answered by the lab, in all.
    pub decided: i64,
    /// Of the answered, after their deadline.
    pub late: i64,
    /// How long half of the lab's answers took at most, in microseconds.
    pub answer_p50_us: Option<i64>,
    /// How long nine of ten answers took at most, in microseconds.
    pub answer_p90_us: Option<i64>,
    /// Transfers that were sent.
    pub transfers: i64,
    /// How often nobody knew what had become of one.
    pub unclear: i64,
    /// Of how many transfers.
    pub unclear_transfers: i64,
}
