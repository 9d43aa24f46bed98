//! What platforms, customers, labs and ops do in a storm, each when the seed says so.

use std::collections::BTreeSet;

use stoppress::domain::batch::BatchPhase;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::Answer;
use stoppress::domain::order::{OrderFacts, Stage};
use stoppress::domain::stop::StopState;
use stoppress::store::{
    BatchFilter, ChangeKind, EscalationFilter, EscalationRow, LabSwitch, PersonDecision, Scope, StopFilter,
};

use super::addresses::stored;
use super::cast::{Ask, lab_id};
use super::kinds::Skill;
use super::play::{Known, Play};

impl Play {
    /// Somebody does something.
    pub(crate) fn act(&mut self) {
        let busy = self.plan.busy;
        match self.dice.below(100) {
            0..45 if self.references < self.plan.orders => self.admit(),
            0..30 => self.stop(),
            30..62 => self.lab_works(),
            62..76 => self.people_look(),
            76..82 => self.change(),
            82..86 => {
                if let Some(order) = self.dice.pick(&self.orders).cloned() {
                    self.request(Ask::Look { order: order.id });
                }
            }
            86..92 if busy => self.merchant(),
            92..100 if busy => self.ops(),
            _ => self.stop(),
        }
    }

    fn admit(&mut self) {
        let again = self.references > 0 && self.dice.hits(150);
        let reference = if again { self.dice.below(self.references) } else { self.references };
        self.references += usize::from(!again);
        // What a reference stands for is the same each time.
        let lab = reference % self.plan.kinds.len();
        let lines = if self.plan.lines { 1 + reference % 3 } else { 1 };
        let paid = reference % 7 != 3;
        let direct = reference % 5 == 4;
        let other = again && self.dice.hits(100);
        self.request(Ask::Admit { reference, lab, lines, paid, direct, other });
    }

    fn stop(&mut self) {
        let Some(order) = self.dice.pick(&self.orders).cloned() else { return };
        // Often one of those that are being handed over: whether they can be stopped is what is hard to say.
        let handed = self.hub.state().handed.clone();
        let order = match self.dice.pick(&handed).filter(|_| self.dice.hits(500)) {
            Some(id) => Known { id: id.clone(), lab: order.lab },
            None => order,
        };
        let Some(facts) = self.facts(&order.id) else { return };
        // Most wait until it gets narrow: what was never handed is stopped easily.
        if (facts.transfer.is_none() || self.is_about_addresses()) && !self.dice.hits(200) {
            return;
        }
        let promised = self.promise(&facts);
        let batch = facts.batch.as_ref().map(|batch| batch.id.clone());
        let items = if self.plan.lines && self.dice.hits(500) {
            vec![self.dice.below(3).to_string()]
        } else {
            Vec::new()
        };
        // Of lines, it is promised where the order has them.
        let promised =
            promised && items.iter().all(|item| facts.document.contains(&format!(r#""id":"{item}""#)));
        let looks = self.dice.hits(400);
        self.request(Ask::Stop { order: order.id, items, batch, promised, looks });
    }

    fn change(&mut self) {
        let Some(order) = self.dice.pick(&self.orders).cloned() else { return };
        let kind = match self.dice.below(10) {
            0..3 => ChangeKind::Pay,
            3..5 => ChangeKind::Hold,
            5 => ChangeKind::Review,
            6..9 => ChangeKind::Release,
            _ => ChangeKind::Reinstate,
        };
        self.request(Ask::Change { order: order.id, lab: order.lab, kind });
    }

    fn merchant(&mut self) {
        if let Some((approval, order)) = self.dice.pick(&self.approvals).cloned()
            && self.dice.hits(600)
        {
            let lab = self.orders.iter().find(|known| known.id == order).map_or(0, |known| known.lab);
            let agrees = self.dice.hits(500);
            self.request(Ask::Decide { approval, order, lab, agrees });
            return;
        }
        let Some(order) = self.dice.pick(&self.orders).cloned() else { return };
        if self.dice.hits(500) {
            self.request(Ask::Approval { order: order.id });
        } else {
            // The same replacement is asked for again and again.
            let at = self.orders.iter().position(|known| known.id == order.id).unwrap_or_default();
            self.request(Ask::Replace { order: order.id, reference: 1000 + at, lab: order.lab });
        }
    }

    fn ops(&mut self) {
        let lab = self.dice.below(self.plan.kinds.len());
        match self.dice.below(6) {
            0 => {
                self.request(Ask::Switch { lab, to: LabSwitch::Pause("it floods".to_owned()) });
            }
            1 | 2 => self.request(Ask::Switch { lab, to: LabSwitch::Resume }),
            roll => {
                let open = self.ask(self.store.open_batches(&lab_id(lab)));
                let Some(batch) = self.dice.pick(&open).cloned() else { return };
                // Released, postponed, or computed anew because the zone's law was changed.
                let by = [300, 600, 3600][self.dice.below(3)];
                let moved = if self.dice.hits(300) { -by } else { by };
                let moved = batch.closes_at + jiff::SignedDuration::from_secs(moved);
                let to = (roll > 3).then_some(moved);
                self.request(Ask::Move { batch: batch.id, to, window: roll == 5 });
            }
        }
    }

    /// A job goes on, and the lab may say so; or its people answer what they had put off.
    pub(crate) fn lab_works(&mut self) {
        let nth = self.dice.below(self.plan.kinds.len());
        if self.dice.hits(400) {
            return self.lab_answers(nth);
        }
        if self.plan.busy && self.dice.hits(100) {
            return self.lab_lies(nth);
        }
        let mut state = self.hub.state();
        let moves = self.dice.hits(self.lab_is_slow().unwrap_or(500));
        let house = &mut state.ledger.houses[nth];
        let live: Vec<usize> = (0..house.jobs.len()).filter(|at| !house.jobs[*at].out).collect();
        let Some(at) = self.dice.pick(&live).copied() else { return };
        let job = &mut house.jobs[at];
        if moves {
            job.stage = match job.stage {
                Stage::Received => Stage::InProduction,
                Stage::InProduction => Stage::Printed,
                _ => Stage::Shipped,
            };
        }
        let (order, stage) = (job.order.clone(), job.stage);
        job.reported = Some(stage);
        drop(state);
        if !moves || self.dice.hits(600) {
            self.request(Ask::Report { order, lab: nth, stage });
        }
    }

    /// A lab has printed what it said that it took out, and says so: nobody can keep it from that, but a person must be
    /// called.
    fn lab_lies(&mut self, nth: usize) {
        let state = self.hub.state();
        let stopped = |order: &OrderId| state.ledger.told.get(order).is_some_and(|told| told.stopped);
        let jobs = state.ledger.houses[nth].jobs.iter().filter(|job| job.out && stopped(&job.order));
        let orders: Vec<OrderId> = jobs.map(|job| job.order.clone()).collect();
        drop(state);
        if let Some(order) = self.dice.pick(&orders).cloned() {
            self.request(Ask::Report { order, lab: nth, stage: Stage::Printed });
        }
    }

    /// The people of a lab answer a stop: one that they had put off, or one that only people are asked.
    pub(crate) fn lab_answers(&mut self, nth: usize) {
        let filter = StopFilter { state: Some(StopState::Pending), limit: 50, ..StopFilter::default() };
        let pending = self.ask(self.store.stops(&Scope::Lab(lab_id(nth)), &filter));
        let by_people =
            self.plan.kinds[nth].profile().by_person() || self.plan.kinds[nth].skill == Skill::Manual;
        let mut state = self.hub.state();
        let house = &mut state.ledger.houses[nth];
        house.tasks.retain(|(stop, _, _)| pending.iter().any(|row| row.stop.id == *stop));
        let task = if by_people {
            let known = |order: &OrderId| house.jobs.iter().any(|job| job.order == *order);
            let rows: Vec<_> = pending.iter().filter(|row| known(&row.stop.order)).collect();
            self.dice.pick(&rows).map(|row| {
                (row.stop.id.clone(), row.stop.order.clone(), row.stop.items.clone().unwrap_or_default())
            })
        } else {
            self.dice.pick(&house.tasks).cloned()
        };
        let Some((stop, order, items)) = task else { return };
        let answer = house.stop(&order, &items);
        let person = by_people || self.dice.hits(300);
        drop(state);
        self.request(Ask::Answer { stop, lab: nth, answer, person });
    }

    /// The escalations that nobody has taken.
    pub(crate) fn open_escalations(&self) -> Vec<EscalationRow> {
        let filter = EscalationFilter { open: Some(true), limit: 50, ..EscalationFilter::default() };
        self.ask_again(("escalations", 0), self.store.escalations(&Scope::Ops, &filter))
    }

    /// A person takes an escalation, finds out what is true, and says so.
    pub(crate) fn people_look(&mut self) {
        let open = self.open_escalations();
        let Some(row) = self.dice.pick(&open).cloned() else { return };
        if let Some(decision) = self.find_out(&row) {
            self.request(Ask::Resolve { escalation: row.id, decision });
        }
    }

    /// What a person finds out at the lab; nothing while that cannot be known.
    pub(crate) fn find_out(&self, row: &EscalationRow) -> Option<PersonDecision> {
        let nth = (0..self.plan.kinds.len()).find(|nth| lab_id(*nth) == row.lab)?;
        match row.kind.as_str() {
            "stop" => self.find_out_stop(row, nth),
            "transfer" => self.find_out_transfer(row, nth),
            "address" => self.find_out_address(row),
            _ => Some(PersonDecision::Noted),
        }
    }

    fn find_out_stop(&self, row: &EscalationRow, nth: usize) -> Option<PersonDecision> {
        let order = row.order.clone()?;
        let parts = self.ask(self.store.line_stops(&order));
        let items =
            parts.iter().find(|stop| stop.id.as_str() == row.subject).and_then(|stop| stop.items.clone());
        let items = items.unwrap_or_default();
        let mut state = self.hub.state();
        let (knows, under_way) = (state.ledger.knows(&order), state.is_under_way(&order));
        if !knows {
            // Of lines, nothing can be said of an order that is not there yet.
            let stopped = state.ledger.told.get(&order).is_some_and(|told| told.stopped);
            if under_way || !(items.is_empty() || stopped) {
                return None;
            }
            state.ledger.houses[nth].barred.insert(order);
            return Some(PersonDecision::Stopped);
        }
        let house = &mut state.ledger.houses[nth];
        if let Answer::WillPrint { .. } = house.stop(&order, &items) {
            return Some(PersonDecision::TooLate);
        }
        if items.is_empty() {
            house.barred.insert(order);
        }
        Some(PersonDecision::Stopped)
    }

    fn find_out_transfer(&self, row: &EscalationRow, nth: usize) -> Option<PersonDecision> {
        let carried = self.ask(self.store.transfer_orders(&[row.subject.as_str()], 100)).pop()?;
        let facts: Vec<_> = carried.first.iter().filter_map(|(id, _)| self.facts(id)).collect();
        let mut state = self.hub.state();
        if self.plan.kinds[nth].skill == Skill::Manual {
            // Whoever hands over by hand leaves out what was told stopped, and does it once.
            for facts in facts {
                let told = state.ledger.told.get(&facts.id);
                let out = told.map(|told| (told.stopped, told.lines_out.clone())).unwrap_or_default();
                if out.0 || state.ledger.knows(&facts.id) {
                    continue;
                }
                let lines: Vec<String> =
                    facts.lines_submitted().into_iter().filter(|line| !out.1.contains(line)).collect();
                state.ledger.houses[nth].put(&facts.id, "by hand", &lines, &stored(&facts));
            }
            return Some(PersonDecision::HandedOver);
        }
        if carried.first.iter().any(|(id, _)| state.ledger.knows(id)) {
            return Some(PersonDecision::HandedOver);
        }
        let waits = carried.first.iter().any(|(id, _)| state.is_under_way(id));
        (!waits).then_some(PersonDecision::NotHanded)
    }

    /// Whether a stop of an order must succeed that is asked now.
    pub(crate) fn promise(&self, facts: &OrderFacts) -> bool {
        let (high, silent) = {
            let state = self.hub.state();
            let silent = state.said.iter().any(|said| state.now - said.max(&0) > 4_000_000);
            (state.high, silent && self.store.shared())
        };
        let open = |batch: &stoppress::domain::batch::BatchFacts| {
            batch.phase == BatchPhase::Open && batch.closes_at.as_microsecond() > high
        };
        !silent && facts.transfer.is_none() && facts.batch.as_ref().is_some_and(open)
    }

    /// The batches that should have closed and have not.
    pub(crate) fn left_open(&self, now: i64) -> BTreeSet<String> {
        let filter = BatchFilter { phase: Some(BatchPhase::Open), limit: 200, ..BatchFilter::default() };
        let open = self.ask(self.store.batches(&Scope::Ops, &filter));
        let due = open.into_iter().filter(|row| row.batch.closes_at.as_microsecond() <= now);
        due.map(|row| row.batch.id.to_string()).collect()
    }
}

/// The lines of an order as they were submitted.
trait Submitted {
    fn lines_submitted(&self) -> Vec<String>;
}

impl Submitted for OrderFacts {
    fn lines_submitted(&self) -> Vec<String> {
        stoppress::domain::lines::read(&self.document).into_iter().map(|line| line.id).collect()
    }
}
