//! The store in memory: the same verbs over maps, with nothing to lock and nothing to commit.
//!
//! What an answer means is the domain's to say, here as in the store; what this checks is everything
//! around it: which rows a verb finds, in which order, what it changes and what it leaves alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use stoppress::domain::batch::{
    BatchPhase, Joining, Next, Remedy, TransferFacts, TransferPhase, absence, after_lease, horizon, later,
    remedy, settle,
};
use stoppress::domain::ids::{BatchId, LabId, OrderId, StopId, TransferId};
use stoppress::domain::lab::{Answer, Profile, TakesStops};
use stoppress::domain::order::Stage;
use stoppress::domain::stop::{self, Evidence, StopState};
use stoppress::store::{Claim, ClaimAsks, Report, Settle, SettleStop, Source};

pub(super) struct Batch {
    lab: LabId,
    pub(super) closes: Timestamp,
    pub(super) phase: BatchPhase,
}

pub(super) struct Stop {
    pub(super) id: StopId,
    pub(super) state: StopState,
    pub(super) evidence: Option<Evidence>,
    next: Timestamp,
    deadline: Timestamp,
    delivered: bool,
}

pub(super) struct Order {
    lab: LabId,
    pub(super) batch: Option<BatchId>,
    pub(super) transfer: Option<TransferId>,
    pub(super) held: bool,
    pub(super) stage: Stage,
    /// The stages that were reported, and whether each contradicted a stop.
    pub(super) reports: Vec<(Stage, bool)>,
    pub(super) stop: Option<Stop>,
}

pub(super) struct Transfer {
    pub(super) facts: TransferFacts,
    pub(super) manifest: Vec<OrderId>,
    pub(super) key: String,
    lease: Timestamp,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) profiles: BTreeMap<LabId, Arc<Profile>>,
    pub(super) references: BTreeMap<String, OrderId>,
    pub(super) orders: BTreeMap<OrderId, Order>,
    pub(super) batches: BTreeMap<BatchId, Batch>,
    pub(super) transfers: BTreeMap<TransferId, Transfer>,
}

fn decided(state: StopState, evidence: Option<Evidence>) -> String {
    format!("{} {}", state.word(), evidence.map_or("", Evidence::word))
}

impl Model {
    pub(super) fn lab_of(&self, order: &OrderId) -> &str {
        self.orders[order].lab.as_str()
    }

    fn join(&mut self, joining: &Joining) -> Option<BatchId> {
        let known = self
            .batches
            .iter()
            .find(|(_, batch)| batch.lab == joining.lab && batch.closes == joining.closes_at);
        if let Some((id, batch)) = known {
            return (batch.phase == BatchPhase::Open).then(|| id.clone());
        }
        let (lab, closes) = (joining.lab.clone(), joining.closes_at);
        self.batches.insert(joining.batch.clone(), Batch { lab, closes, phase: BatchPhase::Open });
        Some(joining.batch.clone())
    }

    pub(super) fn admit(&mut self, id: &OrderId, reference: &str, joining: &Joining) -> String {
        if let Some(known) = self.references.get(reference) {
            return format!("same {known}");
        }
        let Some(batch) = self.join(joining) else { return "window closed".to_owned() };
        self.references.insert(reference.to_owned(), id.clone());
        let said = format!("new {batch}");
        let (lab, batch) = (joining.lab.clone(), Some(batch));
        let (reports, stage) = (Vec::new(), Stage::Received);
        let order = Order { lab, batch, transfer: None, held: false, stage, reports, stop: None };
        self.orders.insert(id.clone(), order);
        said
    }

    pub(super) fn stop(&mut self, order: &OrderId, id: &StopId, at: Timestamp) -> String {
        let Some(found) = self.orders.get_mut(order) else { return "not found".to_owned() };
        if let Some(stop) = &found.stop {
            return format!("already {} {}", stop.id, decided(stop.state, stop.evidence));
        }
        let profile = &self.profiles[&found.lab];
        let transfer = found.transfer.as_ref().map(|id| &self.transfers[id].facts);
        let (state, evidence) = stop::grant(transfer, found.stage, profile);
        let deadline = later(at, profile.answers_within.0);
        found.stop = Some(Stop { id: id.clone(), state, evidence, next: at, deadline, delivered: false });
        format!("asked {}", decided(state, evidence))
    }

    /// Still in the house, and not stopped.
    fn in_house(order: &Order) -> bool {
        let stopped = order.stop.as_ref().is_some_and(|stop| stop.state == StopState::Stopped);
        order.transfer.is_none() && order.stage == Stage::Received && !stopped
    }

    pub(super) fn hold(&mut self, order: &OrderId) -> String {
        let Some(found) = self.orders.get_mut(order) else { return "NotFound".to_owned() };
        if found.held {
            return "Unchanged".to_owned();
        }
        if !Self::in_house(found) {
            return "NotAllowed".to_owned();
        }
        (found.held, found.batch) = (true, None);
        "Done".to_owned()
    }

    pub(super) fn release(&mut self, order: &OrderId, joining: &Joining) -> String {
        let Some(found) = self.orders.get(order) else { return "NotFound".to_owned() };
        if !found.held && found.stop.is_none() && found.batch.is_some() {
            return "Unchanged".to_owned();
        }
        if !Self::in_house(found) || found.batch.is_some() {
            return "NotAllowed".to_owned();
        }
        let Some(batch) = self.join(joining) else { return "WindowClosed".to_owned() };
        let found = self.orders.get_mut(order).unwrap();
        (found.held, found.batch) = (false, Some(batch));
        "Done".to_owned()
    }

    pub(super) fn reinstate(&mut self, order: &OrderId, joining: &Joining) -> String {
        let Some(found) = self.orders.get(order) else { return "NotFound".to_owned() };
        let never = found.stop.as_ref().is_some_and(|stop| stop.evidence == Some(Evidence::NeverHanded));
        if !never || found.transfer.is_some() {
            return "NotAllowed".to_owned();
        }
        let Some(batch) = self.join(joining) else { return "WindowClosed".to_owned() };
        let found = self.orders.get_mut(order).unwrap();
        (found.held, found.batch, found.stop) = (false, Some(batch), None);
        "Done".to_owned()
    }

    pub(super) fn close(&mut self, now: Timestamp, limit: usize) -> String {
        let mut due: Vec<_> = (self.batches.iter_mut())
            .filter(|(_, batch)| batch.phase == BatchPhase::Open && batch.closes <= now)
            .collect();
        due.sort_by_key(|(id, batch)| (batch.closes, (*id).clone()));
        due.truncate(limit);
        for (_, batch) in &mut due {
            batch.phase = BatchPhase::Closed;
        }
        due.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn never_handed(&mut self, transfer: &TransferId) {
        for order in self.orders.values_mut().filter(|order| order.transfer.as_ref() == Some(transfer)) {
            let waits = |stop: &&mut Stop| matches!(stop.state, StopState::Pending | StopState::WithAPerson);
            if let Some(stop) = order.stop.as_mut().filter(waits) {
                (stop.state, stop.evidence) = (StopState::Stopped, Some(Evidence::NeverHanded));
            }
        }
    }

    fn move_to(&mut self, id: &TransferId, next: Next, at: Timestamp, next_at: Timestamp) {
        let facts = &mut self.transfers.get_mut(id).unwrap().facts;
        (facts.phase, facts.fence, facts.unresolved) = (next.phase, next.fence, next.unresolved);
        facts.attempts = next.attempts;
        if next.phase == TransferPhase::AtLab {
            facts.handed_at = facts.handed_at.or(Some(at));
        } else {
            facts.next_at = next_at;
        }
        if next.phase == TransferPhase::Closed {
            self.never_handed(id);
            return;
        }
        for order in self.orders.values_mut().filter(|order| order.transfer.as_ref() == Some(id)) {
            if let Some(stop) = order.stop.as_mut().filter(|stop| stop.state == StopState::Pending) {
                stop.next = stop.next.min(at);
            }
        }
    }

    pub(super) fn claim(&mut self, item: &Claim) -> String {
        let mut due: Vec<_> = (self.transfers.iter())
            .filter(|(_, t)| t.facts.lab == item.lab && t.facts.next_at <= item.now)
            .filter(|(_, t)| matches!(t.facts.phase, TransferPhase::Closed | TransferPhase::Unknown))
            .map(|(id, t)| (t.facts.next_at, id.clone()))
            .collect();
        due.sort();
        due.truncate(item.ids.len());
        let mut said: Vec<String> = due.into_iter().map(|(_, id)| self.claim_due(item, &id)).collect();
        let left = item.ids.len() - said.len();
        if left > 0 {
            self.claim_fresh(item, left, &mut said);
        }
        said.join("; ")
    }

    fn send(&mut self, item: &Claim, id: &TransferId) -> String {
        let transfer = self.transfers.get_mut(id).unwrap();
        let facts = &mut transfer.facts;
        facts.phase = TransferPhase::Sending;
        (facts.fence, facts.attempts, facts.unresolved) =
            (facts.fence + 1, facts.attempts + 1, facts.unresolved + 1);
        (facts.horizon_at, facts.next_at) = (horizon(item.now, &item.profile), item.lease_until);
        transfer.lease = item.lease_until;
        let orders: Vec<_> = transfer.manifest.iter().map(OrderId::to_string).collect();
        format!("send {id} {} {} {} {}", facts.fence, facts.unresolved, transfer.key, orders.join(","))
    }

    fn claim_due(&mut self, item: &Claim, id: &TransferId) -> String {
        let facts = self.transfers[id].facts.clone();
        if facts.phase == TransferPhase::Closed {
            self.never_handed(id);
            let alive =
                self.orders.iter().filter(|(_, o)| o.transfer.as_ref() == Some(id) && o.stop.is_none());
            let alive: Vec<OrderId> = alive.map(|(id, _)| id.clone()).collect();
            let transfer = self.transfers.get_mut(id).unwrap();
            if alive.is_empty() {
                transfer.facts.phase = TransferPhase::Empty;
                return format!("empty {id}");
            }
            if facts.attempts >= item.profile.attempts_max || item.now >= facts.deadline_at {
                transfer.facts.phase = TransferPhase::WithAPerson;
                return format!("person {id}");
            }
            transfer.key = format!("{id}.{}", facts.fence + 1);
            (transfer.manifest, transfer.facts.unresolved) = (alive, 0);
            return self.send(item, id);
        }
        let what = remedy(&facts, &item.profile, item.now);
        let until = match what {
            Remedy::Person => {
                self.transfers.get_mut(id).unwrap().facts.phase = TransferPhase::WithAPerson;
                return format!("person {id}");
            }
            Remedy::Resend => return self.send(item, id),
            Remedy::LookUp(from) if item.now >= from => item.lease_until,
            Remedy::LookUp(from) => from,
            Remedy::Wait => facts.deadline_at,
        };
        self.transfers.get_mut(id).unwrap().facts.next_at = until.min(facts.deadline_at);
        let looks = matches!(what, Remedy::LookUp(from) if item.now >= from);
        if looks { format!("look up {id}") } else { "waits".to_owned() }
    }

    fn waiting(&self, batch: &BatchId) -> impl Iterator<Item = &OrderId> {
        let waits = move |order: &Order| {
            order.batch.as_ref() == Some(batch) && order.transfer.is_none() && order.stop.is_none()
        };
        self.orders.iter().filter(move |(_, order)| waits(order)).map(|(id, _)| id)
    }

    fn claim_fresh(&mut self, item: &Claim, left: usize, said: &mut Vec<String>) {
        let per_call = item.profile.orders_per_call as usize;
        let mut closed: Vec<_> = (self.batches.iter())
            .filter(|(_, batch)| batch.lab == item.lab && batch.phase == BatchPhase::Closed)
            .map(|(id, batch)| (batch.closes, id.clone()))
            .collect();
        closed.sort();
        let found: Vec<(BatchId, OrderId)> = closed
            .iter()
            .flat_map(|(_, batch)| self.waiting(batch).map(|order| (batch.clone(), order.clone())))
            .take(left * per_call)
            .collect();
        let mut all = found.len() < left * per_call;
        let mut ids = item.ids.iter();
        for run in found.chunk_by(|one, two| one.0 == two.0) {
            for chunk in run.chunks(per_call) {
                let Some(id) = ids.next() else {
                    all = false;
                    break;
                };
                let manifest: Vec<OrderId> = chunk.iter().map(|(_, order)| order.clone()).collect();
                for order in &manifest {
                    self.orders.get_mut(order).unwrap().transfer = Some(id.clone());
                }
                let facts = TransferFacts {
                    id: id.clone(),
                    lab: item.lab.clone(),
                    batch: chunk[0].0.clone(),
                    phase: TransferPhase::Sending,
                    fence: 0,
                    attempts: 0,
                    unresolved: 0,
                    first_at: item.now,
                    horizon_at: item.now,
                    key_until: None,
                    deadline_at: later(item.now, item.profile.handover_within.0),
                    next_at: item.now,
                    handed_at: None,
                    version: 1,
                };
                let transfer = Transfer { facts, manifest, key: format!("{id}.1"), lease: item.now };
                self.transfers.insert(id.clone(), transfer);
                said.push(self.send(item, id));
            }
        }
        if all {
            for (_, id) in closed {
                if self.waiting(&id).next().is_none() {
                    let some = self.transfers.values().any(|transfer| transfer.facts.batch == id);
                    let phase = if some { BatchPhase::HandedOn } else { BatchPhase::Empty };
                    self.batches.get_mut(&id).unwrap().phase = phase;
                }
            }
        }
    }

    pub(super) fn settle(&mut self, item: &Settle) -> String {
        let Some(transfer) = self.transfers.get_mut(&item.transfer) else { return "nothing".to_owned() };
        let facts = &mut transfer.facts;
        let good = matches!(
            item.answer,
            Answer::Accepted { .. } | Answer::Removed { .. } | Answer::WillPrint { .. }
        );
        let next = match (item.source, &item.answer) {
            (Source::LookUp(asked), Answer::NotFound) => absence(facts, item.fence, asked),
            (Source::LookUp(_), _) if !good => None,
            (_, answer) => settle(facts, item.fence, answer),
        };
        let Some(next) = next else {
            if facts.phase == TransferPhase::Unknown && facts.fence == item.fence {
                facts.next_at = item.next_at.min(facts.deadline_at);
            }
            return "nothing".to_owned();
        };
        self.move_to(&item.transfer, next, item.at, item.next_at);
        format!("{} {} {}", next.phase.word(), next.fence, next.unresolved)
    }

    pub(super) fn take_over(&mut self, now: Timestamp) -> String {
        let late = |t: &Transfer| t.facts.phase == TransferPhase::Sending && t.lease <= now;
        let ids: Vec<TransferId> =
            self.transfers.iter().filter(|(_, t)| late(t)).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            let next = after_lease(&self.transfers[id].facts).unwrap();
            self.move_to(id, next, now, now);
        }
        ids.iter().map(TransferId::to_string).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn claim_stops(&mut self, item: &ClaimAsks) -> String {
        let mut due: Vec<_> = (self.orders.iter())
            .filter(|(_, order)| order.lab == item.lab)
            .filter_map(|(id, order)| Some((order.stop.as_ref()?, id.clone())))
            .filter(|(stop, _)| stop.state == StopState::Pending && stop.next <= item.now)
            .map(|(stop, order)| (stop.next, stop.id.clone(), order))
            .collect();
        due.sort();
        due.truncate(item.limit as usize);
        let mut said = Vec::new();
        for (_, id, order) in due {
            let order = self.orders.get_mut(&order).unwrap();
            let facts = order.transfer.as_ref().map(|id| &self.transfers[id].facts);
            let stop = order.stop.as_mut().unwrap();
            let (mut state, mut evidence) = stop::grant(facts, order.stage, &item.profile);
            if state == StopState::Pending && item.now >= stop.deadline {
                (state, evidence) = (StopState::WithAPerson, Some(Evidence::NoAnswer));
            }
            if state != StopState::Pending {
                (stop.state, stop.evidence) = (state, evidence);
                said.push(format!("decided {id} {}", decided(state, evidence)));
                continue;
            }
            let asks = facts.is_some_and(|facts| {
                facts.phase == TransferPhase::AtLab
                    || facts.phase == TransferPhase::Unknown && item.profile.stops == TakesStops::Yes
            });
            stop.next =
                if asks && stop.delivered { stop.deadline } else { item.lease_until.min(stop.deadline) };
            said.push(format!("{} {id}", if asks && !stop.delivered { "ask" } else { "waits" }));
        }
        said.join("; ")
    }

    pub(super) fn settle_stop(&mut self, item: &SettleStop) -> String {
        let is = |order: &&mut Order| order.stop.as_ref().is_some_and(|stop| stop.id == item.stop);
        let Some(order) = self.orders.values_mut().find(is) else { return "not found".to_owned() };
        let transfer = order.transfer.clone();
        if let (Answer::WillPrint { stage, .. }, true) = (&item.answer, transfer.is_some()) {
            order.stage = order.stage.max(*stage);
        }
        let stop = order.stop.as_mut().unwrap();
        let next = transfer.as_ref().and_then(|id| {
            let facts = &self.transfers[id].facts;
            settle(facts, facts.fence, &item.answer).filter(|next| next.phase == TransferPhase::AtLab)
        });
        if let Some((state, evidence)) = stop::settle(stop.state, &item.answer, None, item.person) {
            (stop.state, stop.evidence) = (state, evidence);
            if let (Some(id), Some(next)) = (transfer, next) {
                self.move_to(&id, next, item.at, item.at);
            }
            return format!("done {}", decided(state, evidence));
        }
        if !matches!(stop.state, StopState::Pending | StopState::WithAPerson) {
            return format!("late {}", decided(stop.state, stop.evidence));
        }
        if let (Answer::NotFound, Some((fence, asked)), Some(id)) = (&item.answer, item.asked, &transfer)
            && let Some(next) = absence(&self.transfers[id].facts, fence, asked)
        {
            self.move_to(id, next, item.at, item.next_at);
            return format!("done {}", decided(StopState::Stopped, Some(Evidence::NeverHanded)));
        }
        if stop.state == StopState::Pending {
            let later = matches!(item.answer, Answer::AnswerLater);
            stop.delivered |= later;
            stop.next = if later { stop.deadline } else { item.next_at.min(stop.deadline) };
        }
        format!("done {}", decided(stop.state, stop.evidence))
    }

    pub(super) fn report(&mut self, item: &Report) -> String {
        let Some(order) = self.orders.get_mut(&item.order) else { return "NotFound".to_owned() };
        let transfer = order.transfer.clone();
        let handed = transfer.is_some();
        let phase = transfer.as_ref().map(|id| self.transfers[id].facts.phase);
        let news = phase.is_some_and(|phase| phase != TransferPhase::AtLab);
        let contrary = item.stage > Stage::Received
            && order.stop.as_ref().is_some_and(|stop| stop.state == StopState::Stopped);
        let rises = handed && item.stage > order.stage;
        // All come with the same time and reference: a repeat is one of the same stage.
        let known = order.reports.contains(&(item.stage, contrary));
        let full = order.reports.len() >= 50 && (!contrary || order.reports.iter().any(|report| report.1));
        if !rises && !news && (known || full) {
            return if handed { "Unchanged".to_owned() } else { "NotHanded".to_owned() };
        }
        order.reports.push((item.stage, contrary));
        if handed {
            order.stage = order.stage.max(item.stage);
        }
        if let Some(stop) = &mut order.stop
            && item.stage >= Stage::Printed
            && matches!(stop.state, StopState::Pending | StopState::WithAPerson)
        {
            let shipped = item.stage == Stage::Shipped;
            let evidence = if shipped { Evidence::Shipped } else { Evidence::InProduction };
            (stop.state, stop.evidence) = (StopState::TooLate, Some(evidence));
        }
        if let (Some(id), true) = (transfer, news) {
            let (fence, attempts) = (self.transfers[&id].facts.fence, self.transfers[&id].facts.attempts);
            let next = Next { phase: TransferPhase::AtLab, fence, unresolved: 0, attempts };
            self.move_to(&id, next, item.at, item.at);
        }
        match (contrary, handed, rises || news) {
            (true, ..) => "ShippedAnyway".to_owned(),
            (false, false, _) => "NotHanded".to_owned(),
            (false, true, true) => "Done".to_owned(),
            (false, true, false) => "Unchanged".to_owned(),
        }
    }
}
