//! Where everybody of a simulation waits for their turn: calls to the store, calls to labs, sleepers.
//!
//! Nothing goes on by itself. Whoever wants something enters it here and waits; the one who plays takes one of
//! them, lets it through, and looks again when nobody moves any more.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use stoppress::domain::ids::{AddressChangeId, OrderId};
use stoppress::lab::Reply;
use stoppress::store::{Result, Write, Written};
use tokio::sync::{oneshot, watch};

use super::cast::End;
use super::ledger::{Ledger, Request};

/// How many lines of a trace are kept to be shown.
const LINES: usize = 400;

/// How a call to the store goes on.
pub(crate) enum Pass {
    /// It is made.
    Go,
    /// It is made together with those of others, in one transaction.
    Lead(Vec<Follower>),
    /// Somebody else has made it: this came of it.
    Done(Result<Vec<Written>>),
    /// The database cannot be reached: it is not made.
    Fail(&'static str),
    /// It is made, and whoever asked is told that it failed.
    GoThenFail,
    /// It is made, and the gateway that asked for it dies before it hears of that.
    GoThenCrash,
}

/// A call that is made by another.
pub(crate) struct Follower {
    pub(crate) ticket: u64,
    pub(crate) writes: Vec<Write>,
    pub(crate) answer: oneshot::Sender<Pass>,
}

/// A call to the store that waits to be let through.
pub(crate) struct Gate {
    pub(crate) ticket: u64,
    pub(crate) replica: usize,
    pub(crate) what: String,
    /// What it writes; nothing of one that reads.
    pub(crate) writes: Option<Vec<Write>>,
    /// The instant of a claim: it may have to wait for stops that were asked before.
    pub(crate) claim: Option<i64>,
    pub(crate) answer: oneshot::Sender<Pass>,
}

impl Gate {
    /// Whether it writes that a lab knows nothing of an order.
    pub(crate) fn says_absent(&self) -> bool {
        let absent = |write: &Write| matches!(write, Write::Settle(settle) if settle.answer == stoppress::domain::lab::Answer::NotFound);
        self.writes.iter().flatten().any(absent)
    }
}

impl Gate {
    /// Of which change of an address it writes what a lab said, and to which attempt.
    pub(crate) fn says_where(&self) -> Option<(AddressChangeId, i64)> {
        self.writes.iter().flatten().find_map(|write| match write {
            Write::SettleAddress(settle) => Some((settle.change.clone(), settle.attempt)),
            _ => None,
        })
    }
}

/// A call that was let through.
struct Running {
    ticket: u64,
    replica: usize,
    claim: Option<i64>,
    /// Who waits to be told what the database has answered.
    back: Option<oneshot::Sender<()>>,
}

/// A call to a lab, on its way.
pub(crate) struct Call {
    pub(crate) lab: usize,
    pub(crate) request: Request,
    /// Copies of the request that have not arrived.
    pub(crate) copies: u32,
    /// When the last of them arrives or is lost.
    pub(crate) latest: i64,
    /// When the caller gives up.
    pub(crate) deadline: i64,
    /// What the lab said, if it was reached.
    pub(crate) said: Option<Reply>,
    /// The caller, unless it has its answer or is gone.
    pub(crate) caller: Option<oneshot::Sender<Reply>>,
    pub(crate) replica: usize,
}

impl Call {
    /// Whether anybody waits for its answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| !caller.is_closed())
    }
}

/// A sleeper: until when by its own clock.
struct Sleeper {
    replica: usize,
    until: i64,
    wake: Option<oneshot::Sender<()>>,
}

/// Everything that waits, the true time, and what the clocks show.
pub(crate) struct State {
    /// The true time, in microseconds.
    pub(crate) now: i64,
    /// By how much each gateway's clock is wrong.
    pub(crate) offsets: Vec<i64>,
    /// By how much all of them are wrong together.
    pub(crate) common: i64,
    /// The latest instant that any clock has ever shown.
    pub(crate) high: i64,
    pub(crate) gates: Vec<Gate>,
    pub(crate) calls: Vec<Call>,
    pub(crate) ledger: Ledger,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
    /// Uploads that have begun and were not looked at, by their transfers; and the orders that each names though they were
    /// told stopped.
    pub(crate) begun: Vec<(String, Vec<OrderId>)>,
    /// The orders of the upload that began last.
    pub(crate) handed: Vec<OrderId>,
    /// Requests that were answered, and not looked at.
    pub(crate) ends: Vec<End>,
    /// Gateways that are to die.
    pub(crate) dying: Option<usize>,
    /// Whether one gate keeps the claims of all gateways behind stops, because they share a store.
    pub(crate) one_gate: bool,
    /// When each gateway last said to the others until when it is clear, in true time.
    pub(crate) said: Vec<i64>,
    /// How often the database was written to.
    writes: watch::Sender<u64>,
    /// What it has said since it was written to last.
    looked: BTreeMap<(&'static str, i64), Arc<dyn Any + Send + Sync>>,
    running: Vec<Running>,
    asking: Vec<(u64, usize, i64)>,
    sleepers: BTreeMap<u64, Sleeper>,
    next: u64,
    sum: DefaultHasher,
    lines: VecDeque<String>,
    /// How many lines there were.
    pub(crate) told: u64,
}

/// The one place where everybody waits.
pub(crate) struct Hub(Mutex<State>);

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

impl State {
    pub(crate) fn ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn reading(&self, replica: usize) -> i64 {
        self.now + self.offsets.get(replica).copied().unwrap_or_default()
    }

    /// What clocks show that are as wrong as all of them.
    pub(crate) fn shown(&self) -> i64 {
        self.now + self.common
    }

    /// Writes a line of the trace.
    #[expect(clippy::print_stdout, reason = "whoever wants to hear the story while it happens")]
    pub(crate) fn tell(&mut self, line: String) {
        line.hash(&mut self.sum);
        self.told += 1;
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        let at = Timestamp::from_microsecond(self.now).unwrap_or_default();
        if super::talks() {
            println!("{at} {line}");
        }
        self.lines.push_back(format!("{at} {line}"));
    }

    /// The stops that are being asked at the gate of a gateway, by their instants.
    fn asked_at(&self, replica: usize) -> impl Iterator<Item = i64> {
        let ours = move |other: usize| self.one_gate || other == replica;
        self.asking.iter().filter(move |(_, by, _)| ours(*by)).map(|(_, _, at)| *at)
    }

    /// Whether a claim would have to wait for a stop if it were let through now: for each that is being asked
    /// already, whatever its instant.
    pub(crate) fn would_wait(&self, replica: usize, claim: Option<i64>) -> bool {
        claim.is_some() && self.asked_at(replica).next().is_some()
    }

    /// Whether a claim that was let through waits for a stop that was asked before its instant.
    fn is_held(&self, replica: usize, claim: Option<i64>) -> bool {
        claim.is_some_and(|now| self.asked_at(replica).any(|at| at < now))
    }

    /// Everybody in a gateway waits: whoever has been answered by the database goes on, one at a time and in the order
    /// of the calls. How fast it answers moves nothing. Whether all are still.
    pub(crate) fn rests(&mut self, replica: usize) -> bool {
        let waits = |call: &Running| {
            call.replica == replica && call.back.is_none() && !self.is_held(replica, call.claim)
        };
        if self.running.iter().any(waits) {
            return false;
        }
        let back = |at: &usize| self.running[*at].replica == replica && self.running[*at].back.is_some();
        let Some(at) = (0..self.running.len()).filter(back).min_by_key(|at| self.running[*at].ticket) else {
            return true;
        };
        let _ = self.running.remove(at).back.map(|back| back.send(()));
        false
    }

    /// Whether a gateway waits for the database itself.
    pub(crate) fn is_busy(&self, replica: usize) -> bool {
        self.running.iter().any(|call| call.replica == replica && !self.is_held(replica, call.claim))
    }

    /// When the next sleeper of all wakes, in true time.
    pub(crate) fn next_wake(&self) -> Option<i64> {
        self.sleepers.values().map(|sleeper| sleeper.until - self.offsets[sleeper.replica]).min()
    }

    /// Wakes who is due.
    pub(crate) fn wake(&mut self) {
        for replica in 0..self.offsets.len() {
            self.high = self.high.max(self.reading(replica));
        }
        let (now, offsets) = (self.now, self.offsets.clone());
        for sleeper in self.sleepers.values_mut() {
            if now + offsets[sleeper.replica] >= sleeper.until
                && let Some(wake) = sleeper.wake.take()
            {
                let _ = wake.send(());
            }
        }
    }

    /// When the first of the stops was asked that are being asked, by the clock of its gateway.
    pub(crate) fn asking_since(&self) -> Option<i64> {
        self.asking.iter().map(|(_, _, at)| *at).min()
    }

    /// Whether a claim that was let through waits for stops.
    pub(crate) fn holds_one(&self) -> bool {
        self.running.iter().any(|call| call.claim.is_some())
    }

    /// Lets a call through.
    pub(crate) fn release(&mut self, gate: Gate, pass: Pass) {
        let made = !matches!(pass, Pass::Fail(_) | Pass::Done(_));
        if made {
            // As the gate of the store: what is being asked already counts as asked before.
            let last = self.asked_at(gate.replica).max().map_or(i64::MIN, |last| last + 1);
            let claim = gate.claim.map(|claim| claim.max(last));
            self.running.push(Running { ticket: gate.ticket, replica: gate.replica, claim, back: None });
        }
        let _ = gate.answer.send(pass);
    }

    /// Forgets what a dead gateway waited for. What it has sent to labs stays on its way.
    pub(crate) fn bury(&mut self, replica: usize) {
        self.gates.retain(|gate| gate.replica != replica);
        self.running.retain(|call| call.replica != replica);
        for call in self.calls.iter_mut().filter(|call| call.replica == replica) {
            call.caller = None;
        }
    }
}

impl Hub {
    pub(crate) fn new(now: Timestamp, replicas: usize, ledger: Ledger, one_gate: bool) -> Arc<Self> {
        let now = now.as_microsecond();
        Arc::new(Self(Mutex::new(State {
            now,
            offsets: vec![0; replicas],
            common: 0,
            high: now,
            gates: Vec::new(),
            calls: Vec::new(),
            ledger,
            faults: Vec::new(),
            begun: Vec::new(),
            handed: Vec::new(),
            ends: Vec::new(),
            dying: None,
            one_gate,
            said: vec![i64::MIN; replicas],
            writes: watch::Sender::default(),
            looked: BTreeMap::new(),
            running: Vec::new(),
            asking: Vec::new(),
            sleepers: BTreeMap::new(),
            next: 0,
            sum: DefaultHasher::new(),
            lines: VecDeque::new(),
            told: 0,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the clock of a gateway shows.
    pub(crate) fn reading(&self, replica: usize) -> Timestamp {
        Timestamp::from_microsecond(self.state().reading(replica)).unwrap_or_default()
    }

    /// Enters a call to the store.
    pub(crate) fn enter(
        &self,
        replica: usize,
        what: String,
        writes: Option<Vec<Write>>,
    ) -> (u64, oneshot::Receiver<Pass>) {
        let mut state = self.state();
        let ticket = state.ticket();
        let claim = writes.iter().flatten().find_map(|write| match write {
            Write::Claim(claim) => Some(claim.now.as_microsecond()),
            _ => None,
        });
        let (answer, pass) = oneshot::channel();
        state.gates.push(Gate { ticket, replica, what, writes, claim, answer });
        (ticket, pass)
    }

    /// A call that went with another one has come back.
    pub(crate) fn left(&self, ticket: u64) {
        self.state().running.retain(|call| call.ticket != ticket);
    }

    /// A call to the store has come back, and its caller waits for its turn.
    pub(crate) async fn comes_back(&self, ticket: u64) {
        let (back, turn) = oneshot::channel();
        if let Some(call) = self.state().running.iter_mut().find(|call| call.ticket == ticket) {
            call.back = Some(back);
        }
        let _ = turn.await;
    }

    /// What a read gave, if nothing was written since.
    pub(crate) fn known<T: Clone + 'static>(&self, what: (&'static str, i64)) -> Option<T> {
        self.state().looked.get(&what).and_then(|known| known.downcast_ref().cloned())
    }

    /// This is what a read gave.
    pub(crate) fn learns<T: Send + Sync + 'static>(&self, what: (&'static str, i64), known: T) {
        self.state().looked.insert(what, Arc::new(known));
    }

    /// How often something was written.
    pub(crate) fn writes(&self) -> u64 {
        *self.state().writes.borrow()
    }

    /// Hears that something was written.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.state().writes.subscribe()
    }

    /// Something was written.
    pub(crate) fn forgets(&self) {
        let mut state = self.state();
        state.looked.clear();
        state.writes.send_modify(|writes| *writes += 1);
    }

    /// A gateway has said to the others until when it is clear.
    pub(crate) fn has_said(&self, replica: usize) {
        let mut state = self.state();
        state.said[replica] = state.now;
    }

    /// A gateway dies as soon as it is looked at.
    pub(crate) fn die(&self, replica: usize) {
        self.state().dying = Some(replica);
    }

    /// Everybody in a gateway waits; gives whether all are still.
    pub(crate) fn rests(&self, replica: usize) -> bool {
        self.state().rests(replica)
    }

    /// Sends a call to a lab, as a gateway.
    pub(crate) fn call(
        &self,
        replica: usize,
        lab: usize,
        request: Request,
        last: i64,
    ) -> oneshot::Receiver<Reply> {
        let (caller, reply) = oneshot::channel();
        let mut state = self.state();
        let now = state.now;
        state.starts(lab, &request, now + last);
        state.tell(format!("gateway {replica} calls lab {lab}: {request:?}"));
        state.calls.push(Call {
            lab,
            request,
            copies: 1,
            latest: now + last,
            deadline: now + 30_000_000,
            said: None,
            caller: Some(caller),
            replica,
        });
        reply
    }

    /// What is shown of a simulation that failed.
    pub(crate) fn story(&self) -> String {
        self.state().lines.iter().fold(String::new(), |story, line| story + "  " + line + "\n")
    }

    /// The hash of the whole trace.
    pub(crate) fn sum(&self) -> u64 {
        self.state().sum.finish()
    }
}

/// A stop that is being asked, for as long as this is there.
pub(crate) struct Asking {
    hub: Arc<Hub>,
    ticket: u64,
}

impl Asking {
    pub(crate) fn begin(hub: &Arc<Hub>, replica: usize, at: Timestamp) -> Self {
        let mut state = hub.state();
        let ticket = state.ticket();
        state.asking.push((ticket, replica, at.as_microsecond()));
        drop(state);
        Self { hub: Arc::clone(hub), ticket }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.hub.state().asking.retain(|(ticket, _, _)| *ticket != self.ticket);
    }
}

/// Somebody who sleeps, for as long as this is there.
pub(crate) struct Sleep {
    hub: Arc<Hub>,
    ticket: u64,
}

impl Sleep {
    pub(crate) fn begin(hub: &Arc<Hub>, replica: usize, until: Timestamp) -> (Self, oneshot::Receiver<()>) {
        let (wake, woken) = oneshot::channel();
        let mut state = hub.state();
        let ticket = state.ticket();
        let until = until.as_microsecond();
        state.sleepers.insert(ticket, Sleeper { replica, until, wake: Some(wake) });
        drop(state);
        (Self { hub: Arc::clone(hub), ticket }, woken)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.hub.state().sleepers.remove(&self.ticket);
    }
}
