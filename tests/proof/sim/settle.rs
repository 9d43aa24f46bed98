//! When the storm is over: nothing fails any more, and everything must come to an end in simulated time, and be true.

use stoppress::domain::batch::{BatchPhase, TransferPhase};
use stoppress::domain::order::OrderFacts;
use stoppress::domain::stop::StopState;
use stoppress::store::{BatchFilter, BatchRow, LabSwitch, Scope, StopFilter};

use super::cast::{Ask, lab_id};
use super::play::Play;

/// The most rounds until all is settled.
const ROUNDS: usize = 6_000;
/// The most simulated time until all is settled, in microseconds: the next cutoff may be a day away.
const TIME: i64 = 3 * 24 * 3600 * 1_000_000;

impl Play {
    /// Lets everything come to its end, and looks whether it is the right one.
    pub(crate) fn settle(&mut self) {
        self.calm();
        let until = self.hub.state().now + TIME;
        for _ in 0..ROUNDS {
            self.look();
            if self.has_faults() {
                return;
            }
            let (gates, calls) = {
                let mut state = self.hub.state();
                state.calls.retain(|call| call.copies > 0 || call.is_awaited());
                (state.gates.len(), state.calls.len())
            };
            if gates > 0 {
                self.let_through();
            } else if calls > 0 {
                self.network();
            } else if self.resume() || self.people_decide() {
                // Their requests come first.
            } else {
                let (now, shown) = self.now();
                let writes = self.hub.writes();
                // What is open stays open until something is written.
                let known = self.open.take().filter(|(then, open)| *then == writes && !open.is_empty());
                let (_, open) = known.unwrap_or_else(|| (writes, self.unsettled(shown)));
                if open.is_empty() {
                    return self.check(shown);
                }
                if now > until {
                    self.fault(format!("it does not settle: {}", open.join("; ")));
                    return;
                }
                self.open = Some((writes, open));
                let next = self.next(now);
                self.advance(next);
            }
        }
        let (_, shown) = self.now();
        self.fault(format!("it goes on for ever: {}", self.unsettled(shown).join("; ")));
    }

    /// The true time, and what the clocks show.
    fn now(&self) -> (i64, i64) {
        let state = self.hub.state();
        (state.now, state.shown())
    }

    /// The storm is over: clocks agree, though what they show may be wrong, and gateways are there.
    fn calm(&mut self) {
        self.calm = true;
        {
            let mut state = self.hub.state();
            state.tell("the storm is over".to_owned());
            let common = state.common;
            state.ledger.parcels.calm = Some(state.now + common);
            state.offsets.iter_mut().for_each(|offset| *offset = common);
        }
        self.outage = None;
        self.frozen = None;
        if self.plan.restarts {
            // The others never come back.
            (0..self.replicas.len()).for_each(|nth| self.crash(nth));
            let replica = self.begin(0);
            self.replicas[0] = Some(replica);
        } else {
            for nth in 0..self.replicas.len() {
                if self.replicas[nth].is_none() {
                    let replica = self.begin(nth);
                    self.replicas[nth] = Some(replica);
                }
            }
        }
        let now = self.hub.state().now;
        self.advance(now);
    }

    /// Labs that were paused go on, once nobody is about to pause one. False if none is paused.
    fn resume(&mut self) -> bool {
        let labs = self.ask_again(("labs", 0), self.store.labs());
        let paused = |nth: &usize| labs.iter().any(|row| row.id == lab_id(*nth) && row.paused.is_some());
        let paused: Vec<usize> = (0..self.plan.kinds.len()).filter(paused).collect();
        for lab in &paused {
            self.request(Ask::Switch { lab: *lab, to: LabSwitch::Resume });
        }
        !paused.is_empty()
    }

    /// Lets people answer what waits for them. False if there is nothing that they can say.
    fn people_decide(&mut self) -> bool {
        let mut any = false;
        let (_, shown) = self.now();
        self.too_early.retain(|_, until| *until > shown);
        for row in self.open_escalations() {
            if self.too_early.contains_key(&row.id) {
                continue;
            }
            if let Some(decision) = self.find_out(&row) {
                self.request(Ask::Resolve { escalation: row.id, decision });
                any = true;
            }
        }
        any
    }

    /// The next instant at which something is due.
    fn next(&mut self, now: i64) -> i64 {
        // Labs' people have time until the deadline; half of them use it.
        if self.dice.hits(500) {
            let nth = self.dice.below(self.plan.kinds.len());
            self.lab_answers(nth);
        }
        let common = self.hub.state().common;
        let at = jiff::Timestamp::from_microsecond(now + common).unwrap_or_default();
        let due = self.ask_again(("due", at.as_microsecond()), self.store.due(at));
        let (addresses, address_at) = self.address_due(at);
        let first = [due.close_at, due.transfer_at, due.lease_at, due.stop_at, address_at];
        let first = first.into_iter().flatten().map(jiff::Timestamp::as_microsecond);
        let first = first.chain(self.too_early.values().copied()).map(|at| at - common);
        let first = first.filter(|at| *at > now).min();
        let works = !due.labs.is_empty()
            || !due.stop_labs.is_empty()
            || addresses
            || due.close_at.is_some_and(|close| close <= at);
        let wake = self.hub.state().next_wake().map(|wake| wake.max(now + 1));
        match (works, first, wake) {
            // Somebody must come for it by himself.
            (true, _, Some(wake)) => wake,
            // What nothing is due for is looked at when somebody wakes: most of these looks are for nothing.
            (false, Some(first), Some(wake)) => first.max(wake),
            (_, Some(first), None) => first,
            (_, None, Some(wake)) => wake,
            (_, None, None) => now + 60_000_000,
        }
    }

    fn batches(&self) -> Vec<BatchRow> {
        let filter = BatchFilter { limit: 200, ..BatchFilter::default() };
        self.ask(self.store.batches(&Scope::Ops, &filter))
    }

    /// What has not come to an end.
    fn unsettled(&self, now: i64) -> Vec<String> {
        let mut open = Vec::new();
        for row in self.batches() {
            let waits = row.waiting > 0 || row.batch.closes_at.as_microsecond() <= now;
            match row.batch.phase {
                BatchPhase::Open if waits => open.push(format!("{} is open", row.batch.id)),
                BatchPhase::Closed => open.push(format!("{} is closed", row.batch.id)),
                _ => {}
            }
            for transfer in self.ask(self.store.transfers(&row.batch.id)) {
                let phase = transfer.transfer.phase;
                if !matches!(phase, TransferPhase::AtLab | TransferPhase::Empty) {
                    open.push(format!("{} is {}", transfer.transfer.id, phase.word()));
                }
            }
        }
        for state in [StopState::Pending, StopState::WithAPerson] {
            let filter = StopFilter { state: Some(state), limit: 50, ..StopFilter::default() };
            for row in self.ask(self.store.stops(&Scope::Ops, &filter)) {
                open.push(format!("{} is {}", row.stop.id, row.stop.state.word()));
            }
        }
        open.extend(self.hub.state().ledger.parcels.open());
        let missing = self.hub.state().ledger.received.missing();
        if self.plan.hooks && missing > 0 {
            open.push(format!("{missing} messages have not arrived"));
        }
        open.extend(self.open_escalations().into_iter().map(|row| format!("{} is open", row.id)));
        open
    }

    /// Looks whether the end is the right one.
    fn check(&mut self, now: i64) {
        let left = self.left_open(now);
        if !left.is_empty() {
            self.fault(format!("never closed: {left:?}"));
        }
        let at = jiff::Timestamp::from_microsecond(now).unwrap_or_default();
        let gauges = self.ask(self.store.gauges(at));
        if gauges.stops_overdue != 0 {
            self.fault(format!("{} stops are overdue", gauges.stops_overdue));
        }
        for known in self.orders.clone() {
            match self.facts(&known.id) {
                None => self.fault(format!("{} was admitted, and is gone", known.id)),
                Some(facts) => self.check_order(&facts),
            }
        }
        self.check_contradictions();
        let found = self.ask(self.store.verify_events());
        if !found.breaks.is_empty() {
            self.fault(format!("the log is broken: {:?}", found.breaks));
        }
    }

    fn check_order(&self, facts: &OrderFacts) {
        let state = self.hub.state();
        let live: Vec<_> = state.ledger.live(&facts.id).into_iter().cloned().collect();
        let told = state.ledger.told.get(&facts.id);
        let stopped = told.is_some_and(|told| told.stopped);
        let gone = told.is_some_and(|told| {
            let lines = stoppress::domain::lines::read(&facts.document);
            lines.iter().all(|line| told.lines_out.contains(&line.id))
        });
        drop(state);
        self.check_parcel(facts, &live);
        let wanted = facts.batch.is_some() && !stopped && !gone;
        if wanted && live.len() != 1 {
            self.fault(format!(
                "{} is to be printed, and is printed {} times: {facts:?}",
                facts.id,
                live.len()
            ));
        }
        if !wanted && !live.is_empty() {
            self.fault(format!("{} is not to be printed, and is: {facts:?}", facts.id));
        }
        let stands =
            facts.stop.as_ref().map(|stop| (self.oracle.stands(stop.id.as_str()), stop.state.word()));
        if stands.is_some_and(|(log, row)| log != Some(row)) {
            self.fault(format!("{}: the log says {stands:?} of its stop", facts.id));
        }
        if facts.stop.as_ref().is_some_and(|stop| stop.state == StopState::Stopped) != stopped {
            self.fault(format!("{}: what was told is not what is stored", facts.id));
        }
    }
}
