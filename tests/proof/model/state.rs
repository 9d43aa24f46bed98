//! What the model remembers of the world: the rows of the store, the calls that are out, what is on the wire, and
//! the lab's own ledger.

use std::hash::{Hash, Hasher};

use stoppress::domain::batch::{BatchPhase, TransferPhase};
use stoppress::domain::stop::{Evidence, StopState};

/// The most orders, calls, copies on the wire and jobs at the lab.
pub(super) const ORDERS: usize = 2;
pub(super) const CALLS: usize = 4;
pub(super) const COPIES: usize = 3;
pub(super) const JOBS: usize = 4;
/// The replicas.
pub(super) const REPLICAS: [u8; 2] = [0, 1];

/// How far an order has come on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// The platform has not sent it.
    Not,
    /// Its row is durable, and the platform has no answer yet.
    Durable,
    /// The platform was told "accepted".
    Told,
    /// It was told so, and the row is not durable: only a mistake comes here.
    ToldFirst,
}

/// A request that an order be stopped, until it is a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Nobody will ask.
    Never,
    /// Somebody may ask.
    Open,
    /// It has arrived at a replica, before the end of its window or after it.
    Arrived { by: u8, before: bool },
    /// It was decided, and told, outside of the transaction: only a mistake comes here.
    Ahead { by: u8, state: StopState },
    /// It is a row.
    Done,
}

/// An order: its standing, its stop, and what was ever told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) intake: Intake,
    /// Which order of the platform it is: two rows may be one order, by mistake.
    pub(super) of: u8,
    /// Whether it is in the transfer.
    pub(super) joined: bool,
    /// Whether the lab reported that it printed it.
    pub(super) printed: bool,
    pub(super) stop: Option<StopState>,
    pub(super) evidence: Option<Evidence>,
    /// Whether the lab said that its answer comes later.
    pub(super) delivered: bool,
    /// Whether the deadline of its stop has passed.
    pub(super) over: bool,
    pub(super) ask: Ask,
    /// How often the lab may still be asked.
    pub(super) asks: u8,
    /// The states of its stop that anybody could have read: a bit each.
    pub(super) told: u8,
}

impl Order {
    /// An order that is not there.
    pub(super) const NONE: Self = Self {
        intake: Intake::Not,
        of: 0,
        joined: false,
        printed: false,
        stop: None,
        evidence: None,
        delivered: false,
        over: false,
        ask: Ask::Never,
        asks: 0,
        told: 0,
    };

    /// Whether its row is there.
    pub(super) fn is_row(&self) -> bool {
        matches!(self.intake, Intake::Durable | Intake::Told)
    }

    fn code(&self) -> u64 {
        let ask = match self.ask {
            Ask::Never => 0,
            Ask::Open => 1,
            Ask::Done => 2,
            Ask::Arrived { by, before } => 4 + u64::from(by) * 2 + u64::from(before),
            Ask::Ahead { by, state } => 8 + u64::from(by) * 8 + state.code() as u64,
        };
        let flags = [self.joined, self.printed, self.delivered, self.over];
        let flags = flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
        let stop = self.stop.map_or(0, StopState::code) as u64;
        let evidence = self.evidence.map_or(0, |evidence| evidence as u64 + 1);
        let small = (self.intake as u64) << 3 | u64::from(self.of) << 2 | u64::from(self.asks);
        (small << 32) | (u64::from(self.told) << 24) | (evidence << 20) | (stop << 16) | (flags << 8) | ask
    }
}

/// The transfer, as its row has it. Instants are kept as what has passed of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) phase: TransferPhase,
    pub(super) fence: u8,
    pub(super) attempts: u8,
    pub(super) unresolved: u8,
    /// The fence under which the present bytes were frozen: the key.
    pub(super) key: u8,
    /// The orders of the manifest.
    pub(super) manifest: u8,
    /// Whether the horizon of the newest attempt has passed.
    pub(super) horizon: bool,
    /// Whether the window of the key is open for another attempt.
    pub(super) key_open: bool,
    /// Whether the deadline has passed.
    pub(super) late: bool,
}

impl Transfer {
    fn code(&self) -> u64 {
        let flags = [self.horizon, self.key_open, self.late];
        let flags = flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
        let counts = [self.fence, self.attempts, self.unresolved, self.key, self.manifest];
        let counts = counts.iter().fold(0, |bits, count| bits << 6 | u64::from(*count));
        1 | (self.phase as u64) << 1 | flags << 4 | counts << 8
    }
}

/// What a lab says, in the words that travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Accepted,
    Refused,
    Removed,
    Printed,
    Later,
    NotFound,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Upload,
    LookUp,
    Stop,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The intent is durable; no byte has left.
    Intent,
    /// As before, and it is too late to begin.
    TooLate,
    /// On its way.
    Out,
    /// The lab has spoken; the word is not written down yet.
    Answered(Word),
}

/// A call of a replica to the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) by: u8,
    pub(super) kind: Kind,
    pub(super) step: Step,
    pub(super) fence: u8,
    pub(super) key: u8,
    /// The orders of an upload, or the one that a stop is about.
    pub(super) orders: u8,
    /// Whether it was begun after the horizon.
    pub(super) after: bool,
}

impl Call {
    fn code(self) -> u64 {
        let step = match self.step {
            Step::Intent => 0,
            Step::TooLate => 1,
            Step::Out => 2,
            Step::Answered(word) => 3 + word as u64,
        };
        let counts = [self.orders, self.fence, self.key];
        let counts = counts.iter().fold(0, |bits, count| bits << 4 | u64::from(*count));
        counts << 12
            | step << 8
            | (self.kind as u64) << 4
            | u64::from(self.after) << 2
            | u64::from(self.by) << 1
            | 1
    }
}

/// A copy of an upload on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wired {
    pub(super) key: u8,
    pub(super) fence: u8,
    pub(super) orders: u8,
}

impl Wired {
    fn code(self) -> u64 {
        1 | u64::from(self.key) << 2 | u64::from(self.fence) << 6 | u64::from(self.orders) << 10
    }
}

/// What the lab made of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) key: u8,
    pub(super) live: u8,
    pub(super) printed: u8,
    pub(super) removed: u8,
}

impl Job {
    fn code(self) -> u64 {
        1 | u64::from(self.key) << 2
            | u64::from(self.live) << 6
            | u64::from(self.printed) << 8
            | u64::from(self.removed) << 10
    }
}

/// The lab's own ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) jobs: [Option<Job>; JOBS],
    /// The keys that it knows, and those that it refused, a bit each.
    pub(super) known: u16,
    pub(super) refused: u16,
    /// The orders to whose stop it owes an answer, and those whose stop request is still on its way.
    pub(super) owes: u8,
    pub(super) late_stops: u8,
}

impl Ledger {
    /// The orders, of all jobs, that are in one state.
    pub(super) fn all(&self, of: impl Fn(&Job) -> u8) -> u8 {
        self.jobs.iter().flatten().fold(0, |bits, job| bits | of(job))
    }
}

/// How much may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) crashes: u8,
    pub(super) losses: u8,
    pub(super) copies: u8,
    pub(super) refusals: u8,
    pub(super) looks: u8,
    /// How often a person may say that nothing arrived.
    pub(super) anew: u8,
    /// How often a platform sends an order once more.
    pub(super) repeats: u8,
}

/// What is broken, a bit each.
pub(super) mod broken {
    pub(in super::super) const LIE: u8 = 1;
    pub(in super::super) const TWICE: u8 = 2;
    pub(in super::super) const BACK: u8 = 4;
    pub(in super::super) const CONTENT: u8 = 8;
    pub(in super::super) const LOST: u8 = 16;
    pub(in super::super) const PROMISE: u8 = 32;
    pub(in super::super) const ALARM: u8 = 64;
    pub(in super::super) const STUCK: u8 = 128;
}

/// The world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) batch: BatchPhase,
    /// Whether the end of the window has come.
    pub(super) ended: bool,
    /// Which replicas have said that they are clear of it.
    pub(super) clear: [bool; 2],
    pub(super) orders: [Order; ORDERS],
    pub(super) transfer: Option<Transfer>,
    pub(super) calls: [Option<Call>; CALLS],
    pub(super) wire: [Option<Wired>; COPIES],
    pub(super) lab: Ledger,
    pub(super) left: Left,
    pub(super) broken: u8,
    /// The rows as they were before the last commit: only where commits can vanish.
    pub(super) vanishing: Option<([Option<StopState>; ORDERS], Option<Transfer>)>,
}

fn codes<T: Copy, const N: usize>(of: &[Option<T>; N], code: impl Fn(&T) -> u64) -> [u64; N] {
    of.each_ref().map(|one| one.as_ref().map_or(0, &code))
}

fn sort<T: Copy, const N: usize>(of: &mut [Option<T>; N], code: impl Fn(&T) -> u64) {
    let mut at = codes(of, code);
    for end in 1..N {
        let mut place = end;
        while place > 0 && at[place] > at[place - 1] {
            at.swap(place, place - 1);
            of.swap(place, place - 1);
            place -= 1;
        }
    }
}

impl State {
    /// Everything in a few words: for the hash, and to compare.
    fn words(&self) -> [u64; 11] {
        let Self { batch, ended, clear, orders, transfer, calls, wire, lab, left, broken, vanishing } = self;
        let flags = [*ended, clear[0], clear[1]].iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
        let Left { crashes, losses, copies, refusals, looks, anew, repeats } = *left;
        let budgets = [crashes, losses, copies, refusals, looks, anew, repeats];
        let budgets = budgets.iter().fold(0, |bits, count| bits << 3 | u64::from(*count));
        let Ledger { jobs, known, refused, owes, late_stops } = lab;
        let [job_a, job_b, job_c, job_d] = codes(jobs, |job| job.code());
        let [call_a, call_b, call_c, call_d] = codes(calls, |call| call.code());
        let [copy_a, copy_b, copy_c] = codes(wire, |copy| copy.code());
        let keys = u64::from(*known) << 32
            | u64::from(*refused) << 16
            | u64::from(*owes) << 8
            | u64::from(*late_stops);
        let before = vanishing.map_or([0; 2], |(stops, transfer)| {
            let stops = stops.iter().fold(1, |bits, stop| bits << 4 | stop.map_or(0, StopState::code) as u64);
            [stops, transfer.map_or(0, |transfer| transfer.code())]
        });
        [
            budgets << 24 | u64::from(*broken) << 8 | (*batch as u64) << 4 | flags,
            orders[0].code(),
            orders[1].code(),
            transfer.map_or(0, |transfer| transfer.code()),
            call_a << 32 | call_b,
            call_c << 32 | call_d,
            copy_a << 40 | copy_b << 20 | copy_c,
            job_a << 48 | job_b << 32 | job_c << 16 | job_d,
            keys,
            before[0],
            before[1],
        ]
    }

    fn swapped(&self) -> Self {
        let mut other = *self;
        other.clear.swap(0, 1);
        for call in other.calls.iter_mut().flatten() {
            call.by = 1 - call.by;
        }
        for order in &mut other.orders {
            order.ask = match order.ask {
                Ask::Arrived { by, before } => Ask::Arrived { by: 1 - by, before },
                Ask::Ahead { by, state } => Ask::Ahead { by: 1 - by, state },
                ask => ask,
            };
        }
        sort(&mut other.calls, |call| call.code());
        other
    }

    /// The same world, written in the one way: the order of what has none is set, and it does not matter which
    /// replica is which.
    pub(super) fn canonical(mut self) -> Self {
        sort(&mut self.calls, |call| call.code());
        sort(&mut self.wire, |copy| copy.code());
        sort(&mut self.lab.jobs, |job| job.code());
        let named = self.clear[0] != self.clear[1]
            || self.calls[0].is_some()
            || self.orders.iter().any(|order| matches!(order.ask, Ask::Arrived { .. } | Ask::Ahead { .. }));
        if named {
            let other = self.swapped();
            if other.words() < self.words() {
                return other;
            }
        }
        self
    }

    /// Puts a call, a copy or a job into a free place. False if there is none.
    pub(super) fn put<T, const N: usize>(places: &mut [Option<T>; N], one: T) -> bool {
        let Some(free) = places.iter_mut().find(|place| place.is_none()) else { return false };
        *free = Some(one);
        true
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words().hash(state);
    }
}
