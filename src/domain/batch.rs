//! Batches and transfers: what closes at a cutoff, and what is handed to a lab.
//!
//! The rules of `settle`, `after_lease` and `absence` below are the only places that decide how a
//! transfer leaves a phase. They are pure, and the store calls them inside the transaction that
//! locks the transfer's row.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::downloads;
use super::ids::{BatchId, LabId, OrderId, RegionId, TransferId};
use super::lab::{Answer, Profile};
use super::order::ItemKind;

/// The phase of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchPhase {
    /// Collecting orders.
    Open,
    /// The cutoff has passed; orders wait for their transfers.
    Closed,
    /// Every order that was not stopped is in a transfer.
    HandedOn,
    /// Every order was stopped before anything left the house.
    Empty,
}

impl BatchPhase {
    /// The number that the database keeps.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Open, Self::Closed, Self::HandedOn, Self::Empty].into_iter().find(|phase| phase.code() == code)
    }
}

/// A window to join: which batch an order belongs to, computed from the region's calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// A fresh id, used if the batch is not there yet.
    pub batch: BatchId,
    /// Who prints it.
    pub lab: LabId,
    /// Where it is printed.
    pub region: RegionId,
    /// True for an order that goes alone.
    pub direct: bool,
    /// When the window opened.
    pub opens_at: Timestamp,
    /// When it closes: the promise.
    pub closes_at: Timestamp,
    /// The cutoff as the region's clocks show it.
    pub closes_at_local: String,
    /// The production date, `YYYY-MM-DD`.
    pub production_date: String,
    /// The rule that gave the cutoff, and the configured time: `regular 24:00`.
    pub rule: String,
    /// The IANA name of the zone.
    pub time_zone: String,
    /// The version of the zone data that the instant was computed with.
    pub tzdata: String,
    /// Whether its orders are promised that it does not close before. It counts where the window is opened.
    pub promised: bool,
    /// Until when the order is promised that it can be stopped, where that is before the window closes.
    pub until: Option<Timestamp>,
}

/// What is stored of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFacts {
    /// Its id.
    pub id: BatchId,
    /// Who prints it.
    pub lab: LabId,
    /// Where it is printed.
    pub region: RegionId,
    /// Its phase.
    pub phase: BatchPhase,
    /// True for an order that goes alone.
    pub direct: bool,
    /// When the window opened.
    pub opens_at: Timestamp,
    /// The cutoff that the calendar gave: the batch's identity in its region.
    pub window_at: Timestamp,
    /// When it closes or closed. Later than `window_at` if ops postponed it.
    pub closes_at: Timestamp,
    /// `closes_at` as the region's clocks show it.
    pub closes_at_local: String,
    /// The production date.
    pub production_date: String,
    /// The rule and the configured time.
    pub rule: String,
    /// The IANA name of the zone.
    pub time_zone: String,
    /// The version of the zone data.
    pub tzdata: String,
    /// When it really closed.
    pub closed_at: Option<Timestamp>,
    /// Whether its orders are promised that it does not close before its cutoff; fixed when it was opened.
    pub promised: bool,
    /// Counts the changes of the batch.
    pub version: i64,
}

/// The phase of a transfer. See `docs` on each for who may move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferPhase {
    /// Nothing of it is with the lab, proven: it may be claimed anew, with a new key.
    Closed,
    /// A copy may be on the wire.
    Sending,
    /// A copy was on the wire, and nobody knows what came of it.
    Unknown,
    /// The lab is known to have it.
    AtLab,
    /// Every order in it was stopped before the lab had it.
    Empty,
    /// A person finds out.
    WithAPerson,
}

impl TransferPhase {
    /// The number that the database keeps.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Closed, Self::Sending, Self::Unknown, Self::AtLab, Self::Empty, Self::WithAPerson]
            .into_iter()
            .find(|phase| phase.code() == code)
    }

    /// The word that code, SQL, API and pages use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::AtLab => "at_lab",
            Self::Empty => "empty",
            Self::WithAPerson => "with_a_person",
        }
    }
}

/// What is stored of a transfer, as far as rules need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferFacts {
    /// Its id.
    pub id: TransferId,
    /// Who prints it.
    pub lab: LabId,
    /// The batch that it was cut from.
    pub batch: BatchId,
    /// Its phase.
    pub phase: TransferPhase,
    /// Raised by every claim, take-over and proof of absence.
    pub fence: i64,
    /// How often it was sent.
    pub attempts: i64,
    /// How many of these attempts have no proven end.
    pub unresolved: i64,
    /// When the first attempt began.
    pub first_at: Timestamp,
    /// From when on a negative answer of the lab can be believed.
    pub horizon_at: Timestamp,
    /// Until when the lab keeps the key, if it deduplicates for a time only.
    pub key_until: Option<Timestamp>,
    /// When a person takes it, if nothing is known by then.
    pub deadline_at: Timestamp,
    /// When the next step is due.
    pub next_at: Timestamp,
    /// When the lab was first known to have it.
    pub handed_at: Option<Timestamp>,
    /// Counts the changes of the transfer.
    pub version: i64,
}

/// How long a sender may take between its durable intent and the begin of the call.
pub const WRITE_DEADLINE: SignedDuration = SignedDuration::from_secs(30);
/// How long a sender waits at most for the answer to an upload that it has begun.
pub const REQUEST_DEADLINE: SignedDuration = SignedDuration::from_secs(30);
/// Added to every horizon: clocks, queues, and what nobody thought of.
pub const HORIZON_MARGIN: SignedDuration = SignedDuration::from_secs(120);

/// The instant from which on "not there" can be believed of an attempt claimed at `now`.
#[must_use]
pub fn horizon(now: Timestamp, profile: &Profile) -> Timestamp {
    later(now, WRITE_DEADLINE + REQUEST_DEADLINE + profile.acts_within.0 + HORIZON_MARGIN)
}

/// `at` and `by` after it; the end of time if that is beyond it.
#[must_use]
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// How a transfer stands after something was learned about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The phase now.
    pub phase: TransferPhase,
    /// The fence now.
    pub fence: i64,
    /// The attempts without a proven end now.
    pub unresolved: i64,
    /// The attempts that count now: one that did not reach the lab does not.
    pub attempts: i64,
}

/// The end of the attempt that was claimed under `fence`, as `answer` says. `None` if it changes
/// nothing.
///
/// A positive sign counts under any fence; everything else only under the attempt's own.
#[must_use]
pub fn settle(transfer: &TransferFacts, fence: i64, answer: &Answer) -> Option<Next> {
    use TransferPhase::{AtLab, Closed, Sending, Unknown};
    let open = transfer.phase != AtLab;
    let ours = transfer.phase == Sending && transfer.fence == fence;
    // An attempt of which no byte has left does not use up what the lab is given: it was not there.
    let attempts = transfer.attempts - i64::from(matches!(answer, Answer::Unreachable { .. }));
    let next = |phase, unresolved| Some(Next { phase, fence: transfer.fence, unresolved, attempts });
    match answer {
        Answer::Accepted { .. } | Answer::Removed { .. } | Answer::WillPrint { .. } if open => next(AtLab, 0),
        // Proves only the attempt that it answers: with an older one unresolved, nothing is known.
        Answer::Refused { .. } | Answer::Unreachable { .. } if ours && transfer.unresolved <= 1 => {
            next(Closed, 0)
        }
        // Not a byte of it has left: this attempt is as if it had not been.
        Answer::Unreachable { .. } if ours => next(Unknown, transfer.unresolved - 1),
        Answer::Refused { .. } | Answer::AnswerLater | Answer::NotFound | Answer::Unclear { .. } if ours => {
            next(Unknown, transfer.unresolved)
        }
        _ => None,
    }
}

/// Somebody says of one order that it was taken out, or is not there. That says nothing of the others of its
/// transfer; and while nobody knows what came of that, its bytes, which name the order, must not be sent again: a
/// person finds out. `None` if it changes nothing.
#[must_use]
pub fn taken_out_by_a_person(transfer: &TransferFacts) -> Option<Next> {
    matches!(transfer.phase, TransferPhase::Sending | TransferPhase::Unknown).then_some(Next {
        phase: TransferPhase::WithAPerson,
        fence: transfer.fence + 1,
        unresolved: transfer.unresolved,
        attempts: transfer.attempts,
    })
}

/// A sender whose lease ran out is dead or slow: what it sent is not known. The fence rises, so
/// that what it says later counts only if it is positive.
#[must_use]
pub fn after_lease(transfer: &TransferFacts) -> Option<Next> {
    (transfer.phase == TransferPhase::Sending).then_some(Next {
        phase: TransferPhase::Unknown,
        fence: transfer.fence + 1,
        unresolved: transfer.unresolved,
        attempts: transfer.attempts,
    })
}

/// The lab said "not there", asked at `asked_at` under `fence`. It is a proof of absence only if it
/// was asked after the horizon of the newest attempt, and nothing was sent since.
#[must_use]
pub fn absence(transfer: &TransferFacts, fence: i64, asked_at: Timestamp) -> Option<Next> {
    let proven = transfer.phase == TransferPhase::Unknown
        && transfer.fence == fence
        && asked_at >= transfer.horizon_at;
    proven.then_some(Next {
        phase: TransferPhase::Closed,
        fence: transfer.fence + 1,
        unresolved: 0,
        attempts: transfer.attempts,
    })
}

/// What the machine may do about a transfer whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Send the same bytes under the same key: the lab truly deduplicates, and still knows the key.
    Resend,
    /// Ask the lab whether it has the orders, not before this instant.
    LookUp(Timestamp),
    /// Nothing but waiting for a positive sign, until the deadline.
    Wait,
    /// The deadline has passed: a person.
    Person,
}

/// After so many attempts a lab that can be asked is asked, once its answer can be believed, before it is sent more.
pub const ASK_FROM: i64 = 6;

/// Chooses what to do about an unknown outcome.
#[must_use]
pub fn remedy(transfer: &TransferFacts, profile: &Profile, now: Timestamp) -> Remedy {
    if now >= transfer.deadline_at {
        return Remedy::Person;
    }
    let key_open = transfer.key_until.is_none_or(|until| horizon(now, profile) < until);
    // It was sent often, and what the lab says to that decides nothing: as one that lost its own answer, and refuses
    // the key ever since. By now it can be believed what it has.
    if profile.lookup && transfer.attempts >= ASK_FROM && now >= transfer.horizon_at {
        return Remedy::LookUp(transfer.horizon_at);
    }
    if profile.dedupes.truly() && key_open && transfer.attempts < profile.attempts_max {
        Remedy::Resend
    } else if profile.lookup {
        Remedy::LookUp(transfer.horizon_at)
    } else {
        Remedy::Wait
    }
}

/// One order as it goes into a manifest.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The order.
    pub id: OrderId,
    /// Whose it is.
    pub platform: String,
    /// The platform's name for it.
    pub reference: String,
    /// Where it is printed.
    pub region: String,
    /// The stored submission.
    pub document: String,
    /// What the lab called it when it was sent ahead, if it holds it.
    pub import_reference: Option<String>,
    /// The lines that are stopped: they are not handed over.
    pub lines_out: Vec<String>,
}

/// The bytes that a transfer carries, frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The body of the call over HTTP; what goes over gRPC is read from it.
    pub body: Vec<u8>,
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
}

#[derive(Deserialize)]
struct Printed<'a> {
    #[serde(borrow, default)]
    ship_to: Option<&'a RawValue>,
    #[serde(borrow)]
    items: &'a RawValue,
}

#[derive(Serialize)]
struct LabOrder<'a> {
    id: &'a OrderId,
    platform: &'a str,
    reference: &'a str,
    region: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    import_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ship_to: Option<&'a RawValue>,
    items: Lines<'a>,
}

/// The lines that are handed over, each as it was submitted: without what is stopped, and without downloads.
#[derive(Serialize)]
#[serde(untagged)]
enum Lines<'a> {
    All(&'a RawValue),
    Alive(Vec<&'a RawValue>),
}

impl<'a> Lines<'a> {
    fn of(all: &'a RawValue, out: &[String]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
            #[serde(default)]
            kind: ItemKind,
        }
        if out.is_empty() && !downloads::may_be_in(all.get()) {
            return Ok(Self::All(all));
        }
        let mut alive = Vec::new();
        for line in serde_json::from_str::<Vec<&'a RawValue>>(all.get())? {
            let Named { id, kind } = serde_json::from_str(line.get())?;
            if kind == ItemKind::Print && !out.contains(&id) {
                alive.push(line);
            }
        }
        Ok(Self::Alive(alive))
    }
}

impl<'a> LabOrder<'a> {
    fn of(entry: &'a Entry) -> Result<Self, serde_json::Error> {
        let printed: Printed<'a> = serde_json::from_str(&entry.document)?;
        Ok(Self {
            id: &entry.id,
            platform: &entry.platform,
            reference: &entry.reference,
            region: &entry.region,
            import_reference: entry.import_reference.as_deref(),
            ship_to: printed.ship_to,
            items: Lines::of(printed.items, &entry.lines_out)?,
        })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    transfer: &'a TransferId,
    orders: Vec<LabOrder<'a>>,
}

/// The bytes that send one order ahead to a lab of two phases.
///
/// # Errors
/// If a stored document is not an order: the row is corrupt.
pub fn ahead(entry: &Entry, hold_until: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        order: LabOrder<'a>,
        hold_until: Timestamp,
    }
    serde_json::to_vec(&Body { order: LabOrder::of(entry)?, hold_until })
}

impl Manifest {
    /// Builds the body of a transfer: a pure function of the transfer's id and the stored orders, so
    /// that the same bytes can be built again, and compared by their hash.
    ///
    /// # Errors
    /// If a stored document is not an order: the row is corrupt.
    pub fn build(transfer: &TransferId, entries: &[Entry]) -> Result<Self, serde_json::Error> {
        let orders = entries.iter().map(LabOrder::of).collect::<Result<Vec<_>, serde_json::Error>>()?;
        let body = serde_json::to_vec(&Body { transfer, orders })?;
        let sha256 = Sha256::digest(&body).into();
        Ok(Self { body, sha256 })
    }
}
