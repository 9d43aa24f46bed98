//! One simulation from its seed to its end: who steps next, what goes wrong, and what must be true after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{AddressChangeId, ApprovalId, EscalationId, OrderId};
use stoppress::domain::lab::Lab;
use stoppress::domain::order::OrderFacts;
use stoppress::store::{OrderRef, PutLab, Scope, Store, Write, one};

use super::cast::{Ask, Desk, End, lab_id};
use super::dice::Dice;
use super::hub::Hub;
use super::ledger::Ledger;
use super::oracle::{Edges, Oracle};
use super::plan::Plan;
use super::replica::{Parts, Replica, Source};

/// An order, as its platform knows it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) id: OrderId,
    pub(crate) lab: usize,
}

/// A simulation.
pub(crate) struct Play {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    /// What is drawn for addresses.
    pub(crate) beside: Dice,
    /// Words of labs about addresses, each to an attempt, of which no gateway heard that they were written.
    pub(crate) unheard: BTreeSet<(AddressChangeId, i64)>,
    /// The address that was asked for last, by order.
    pub(crate) wanted: BTreeMap<OrderId, usize>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) oracle: Oracle,
    pub(crate) replicas: Vec<Option<Replica>>,
    /// The store as the one who knows better sees it.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) source: Source,
    /// Where its database lies, if it is a file.
    pub(crate) file: Option<PathBuf>,
    pub(crate) labs: Arc<Vec<Lab>>,
    pub(crate) orders: Vec<Known>,
    pub(crate) approvals: Vec<(ApprovalId, OrderId)>,
    pub(crate) references: usize,
    /// Escalations about which a person can know more only then.
    pub(crate) too_early: BTreeMap<EscalationId, i64>,
    /// What had not come to an end, and how often something had been written by then.
    pub(crate) open: Option<(u64, Vec<String>)>,
    life: u64,
    /// Until when the database fails, and whether only writes do.
    pub(crate) outage: Option<(i64, bool)>,
    /// A gateway whose host has stopped: until when nothing of it goes on.
    pub(crate) frozen: Option<(usize, i64)>,
    /// What it was about to write: it is not stopped twice by the same.
    pub(crate) thawed: u64,
    /// Whether the storm is over.
    pub(crate) calm: bool,
    /// Whether something was written since it was looked.
    pub(crate) wrote: bool,
    /// How often something had been written then: a claim that waited for a stop is, whenever that ends.
    seen_writes: u64,
}

/// What came of a simulation.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was wrong; nothing if all was well.
    pub(crate) faults: Vec<String>,
    pub(crate) sum: u64,
    pub(crate) edges: Edges,
    /// How many lines its trace had.
    pub(crate) told: u64,
    pub(crate) story: String,
    pub(crate) plan: String,
}

impl Play {
    /// Sets the stage.
    pub(crate) fn new(seed: u64, store: Arc<dyn Store>, source: Source) -> Self {
        let dice = Dice::new(seed);
        let shared = store.shared();
        let plan = Plan::of(seed, &dice, shared);
        let labs = super::zones::labs(&plan, super::zones());
        for (nth, kind) in plan.kinds.iter().enumerate() {
            let spec = kind.spec(nth, &plan.calendar);
            let actor = Actor("ops:one".to_owned());
            let put = PutLab { id: lab_id(nth), spec, if_version: None, at: plan.start, actor };
            super::stores().block_on(one(&*store, Write::PutLab(Box::new(put)))).expect("a lab that is put");
        }
        if plan.hooks {
            super::stores().block_on(one(&*store, super::hooks::endpoint(plan.start))).expect("an endpoint");
        }
        let hub = Hub::new(plan.start, plan.replicas, Ledger::of(&plan.kinds), !shared);
        let mut play = Self {
            dice,
            beside: super::addresses::dice(seed),
            unheard: BTreeSet::new(),
            wanted: BTreeMap::new(),
            hub,
            oracle: Oracle::default(),
            replicas: Vec::new(),
            store,
            source,
            file: None,
            labs,
            orders: Vec::new(),
            approvals: Vec::new(),
            references: 0,
            too_early: BTreeMap::new(),
            open: None,
            life: 0,
            outage: None,
            frozen: None,
            thawed: u64::MAX,
            calm: false,
            wrote: true,
            seen_writes: 0,
            plan,
        };
        for nth in 0..play.plan.replicas {
            let replica = play.begin(nth);
            play.replicas.push(Some(replica));
        }
        play
    }

    /// The database is this file: it can lose power.
    pub(crate) fn on(mut self, file: PathBuf) -> Self {
        self.file = Some(file);
        self
    }

    /// Plays it to the end.
    pub(crate) fn run(mut self) -> Outcome {
        for _ in 0..self.plan.steps {
            self.step();
            self.look();
            if self.has_faults() {
                break;
            }
        }
        if !self.has_faults() {
            self.settle();
        }
        let faults = std::mem::take(&mut self.hub.state().faults);
        let (sum, told) = (self.hub.sum(), self.hub.state().told);
        let story = if faults.is_empty() { String::new() } else { self.hub.story() };
        for replica in self.replicas.drain(..).flatten() {
            replica.die();
        }
        let plan = format!("{:?}", self.plan);
        super::stores().block_on(self.store.close());
        Outcome { faults, sum, edges: self.oracle.edges, told, story, plan }
    }

    pub(crate) fn has_faults(&self) -> bool {
        !self.hub.state().faults.is_empty()
    }

    pub(crate) fn fault(&self, text: String) {
        self.hub.state().faults.push(text);
    }

    /// Starts a gateway.
    pub(crate) fn begin(&mut self, nth: usize) -> Replica {
        self.life += 1;
        self.hub.state().tell(format!("gateway {nth} starts"));
        Replica::start(Parts {
            nth,
            hub: Arc::clone(&self.hub),
            store: self.source.clone(),
            labs: Arc::clone(&self.labs),
            seed: self.plan.seed,
            poll: SignedDuration::from_secs(self.plan.poll),
            alone: self.plan.replicas == 1 && matches!(self.source, Source::Shared(_)),
            life: self.life,
            hooks: self.plan.hooks,
            readdresses: self.plan.moves.is_some(),
        })
    }

    pub(crate) fn crash(&mut self, nth: usize) {
        if let Some(replica) = self.replicas[nth].take() {
            self.hub.state().tell(format!("gateway {nth} dies"));
            replica.die();
        }
    }

    /// Reads what nobody but the one who knows better reads.
    #[expect(clippy::unused_self, reason = "reads as a question to the one who plays")]
    pub(crate) fn ask<T>(&self, read: impl Future<Output = stoppress::store::Result<T>>) -> T {
        super::stores().block_on(read).expect("a store that can be read")
    }

    /// The same of what is read again and again: what nobody has written since gives what it gave.
    pub(crate) fn ask_again<T: Clone + Send + Sync + 'static>(
        &self,
        what: (&'static str, i64),
        read: impl Future<Output = stoppress::store::Result<T>>,
    ) -> T {
        self.hub.known(what).unwrap_or_else(|| {
            let out = self.ask(read);
            self.hub.learns(what, out.clone());
            out
        })
    }

    pub(crate) fn facts(&self, order: &OrderId) -> Option<OrderFacts> {
        self.ask(self.store.orders(&Scope::Ops, &[OrderRef::Id(order.clone())])).pop().flatten()
    }

    /// Moves a gateway, and whoever waits for what it lets go.
    pub(crate) fn go_on(&mut self, nth: usize) {
        if let Some(replica) = &self.replicas[nth] {
            replica.go_on();
        }
        while self.hub.state().holds_one() {
            let held = {
                let state = self.hub.state();
                (0..self.replicas.len()).any(|nth| state.is_busy(nth))
            };
            self.replicas.iter().flatten().for_each(Replica::go_on);
            if !held {
                break;
            }
        }
        self.bury();
    }

    pub(crate) fn go_on_all(&mut self) {
        self.replicas.iter().flatten().for_each(Replica::go_on);
        self.bury();
    }

    fn bury(&mut self) {
        let dying = self.hub.state().dying.take();
        if let Some(nth) = dying {
            self.crash(nth);
        }
    }

    /// One step of the storm.
    fn step(&mut self) {
        if self.readdress() {
            return;
        }
        let (gates, calls) = {
            let mut state = self.hub.state();
            state.calls.retain(|call| call.copies > 0 || call.is_awaited());
            (self.gates(&state).len(), state.calls.len())
        };
        let weights = if self.plan.patient {
            [
                if gates > 0 { 60 } else { 0 },
                if calls > 0 { 24 } else { 0 },
                if self.references < self.plan.orders { 11 } else { 0 },
                if gates == 0 && calls == 0 { 24 } else { 2 },
                1,
            ]
        } else {
            [
                if gates > 0 { 60 } else { 0 },
                if calls > 0 { 24 } else { 0 },
                if gates < 12 { 11 } else { 2 },
                if gates == 0 { 24 } else { 7 },
                3,
            ]
        };
        let mut roll = self.dice.below(weights.iter().sum());
        let mut chosen = 0;
        while roll >= weights[chosen] {
            roll -= weights[chosen];
            chosen += 1;
        }
        match chosen {
            0 => self.let_through(),
            1 => self.network(),
            2 => self.act(),
            3 => {
                let to = self.instant();
                self.advance(to);
            }
            _ => self.disturb(),
        }
    }

    /// Looks at what has become of it.
    pub(crate) fn look(&mut self) {
        let writes = self.hub.writes();
        let more = std::mem::replace(&mut self.seen_writes, writes) != writes;
        if std::mem::take(&mut self.wrote) || more {
            loop {
                let events = self.ask(self.store.events(self.oracle.seen, 200));
                let mut state = self.hub.state();
                for event in &events {
                    self.oracle.read(&mut state, event);
                }
                if events.len() < 200 {
                    break;
                }
            }
        }
        let mut state = self.hub.state();
        for (transfer, stopped) in std::mem::take(&mut state.begun) {
            self.oracle.begins(&mut state, &transfer, &stopped);
        }
        for end in std::mem::take(&mut state.ends) {
            self.oracle.hear(&mut state, &end);
            match end {
                End::Admitted { id, lab, .. } | End::Replaced { id, lab, .. }
                    if self.orders.iter().all(|known| known.id != id) =>
                {
                    self.orders.push(Known { id, lab });
                }
                End::Approval(approval, order) => self.approvals.push((approval, order)),
                End::TooEarly(escalation, until) => {
                    self.too_early.insert(escalation, until.as_microsecond());
                }
                _ => {}
            }
        }
        let wrong = {
            let Ledger { parcels, told, .. } = &mut state.ledger;
            parcels.check(told)
        };
        state.faults.extend(wrong);
        if super::panics() > 0 {
            state.faults.push("a task panicked: see above".to_owned());
        }
    }

    /// Asks a gateway that is alive for something.
    pub(crate) fn request(&mut self, ask: Ask) {
        let alive: Vec<&Replica> = self.replicas.iter().flatten().collect();
        let Some(replica) = self.dice.pick(&alive) else { return };
        let desk = Desk {
            bench: replica.bench.clone(),
            hub: Arc::clone(&self.hub),
            labs: replica.labs(),
            nth: replica.nth,
            streets: self.plan.moves.is_some(),
        };
        self.hub.state().tell(format!("gateway {} is asked: {}", replica.nth, shown(&ask)));
        let nth = replica.nth;
        replica.spawn(desk.answer(ask));
        self.go_on(nth);
    }
}

fn shown(ask: &Ask) -> String {
    let text = format!("{ask:?}");
    text.chars().take(160).collect()
}
