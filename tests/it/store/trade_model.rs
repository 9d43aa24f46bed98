//! What a merchant, its customers and its labs may do with orders, in memory: what each request is answered, and how the
//! orders stand afterwards. Hand-overs end well or are proven to have failed; what is between is another model's.

use std::collections::{BTreeMap, BTreeSet};

use stoppress::domain::extras::{ApprovalState, LinkState};
use stoppress::domain::ids::{ApprovalId, OrderId, StopId};
use stoppress::domain::stop::StopState;
use stoppress::store::{ApprovalAsk, ChangeKind, Decide, Replace};

pub(super) const LINES: [&str; 3] = ["1", "2", "3"];

pub(super) type Lines = Vec<String>;

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    House,
    Sending,
    AtLab,
    /// It was sent, and is proven to be with nobody.
    Back,
}

#[derive(Debug, Clone)]
pub(super) struct LineStop {
    pub(super) id: StopId,
    pub(super) items: Lines,
    pub(super) state: StopState,
}

#[derive(Debug, Clone)]
pub(super) struct Approval {
    pub(super) id: ApprovalId,
    pub(super) items: Option<Lines>,
    pub(super) state: ApprovalState,
    pub(super) held: bool,
}

impl Approval {
    pub(super) fn open(&self) -> bool {
        self.state == ApprovalState::Open
    }

    pub(super) fn about(&self, id: &String) -> bool {
        self.items.as_ref().is_some_and(|items| items.contains(id))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) lab: usize,
    pub(super) phase: Phase,
    pub(super) in_batch: bool,
    pub(super) hold: bool,
    pub(super) out: BTreeSet<String>,
    pub(super) stop: Option<(StopId, StopState)>,
    pub(super) line_stops: Vec<LineStop>,
    pub(super) approvals: Vec<Approval>,
    /// The order that it replaces, and how that stands.
    pub(super) replaces: Option<(OrderId, LinkState)>,
}

impl Order {
    pub(super) fn new(lab: usize, replaces: Option<(OrderId, LinkState)>) -> Self {
        let (stop, line_stops, approvals) = (None, Vec::new(), Vec::new());
        let in_batch = replaces.is_none();
        let out = BTreeSet::new();
        Self { lab, phase: Phase::House, in_batch, hold: false, out, stop, line_stops, approvals, replaces }
    }

    pub(super) fn waits(&self) -> bool {
        self.replaces.as_ref().is_some_and(|(_, state)| *state == LinkState::Waiting)
    }

    pub(super) fn kept_out(&self) -> bool {
        self.hold || self.waits() || self.approvals.iter().any(|approval| approval.open() && approval.held)
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|(_, state)| *state == StopState::Stopped)
    }

    /// Nothing of it has left, and no stop was granted.
    pub(super) fn in_house(&self) -> bool {
        self.phase == Phase::House && self.stop.is_none()
    }

    pub(super) fn settled(&self, id: &String) -> bool {
        let open = |stop: &LineStop| stop.state == StopState::Pending && stop.items.contains(id);
        self.out.contains(id) || self.line_stops.iter().any(open)
    }

    pub(super) fn alive(&self) -> Lines {
        LINES.iter().map(|id| (*id).to_owned()).filter(|id| !self.settled(id)).collect()
    }

    /// What is printed of it if it goes out now.
    pub(super) fn printed(&self) -> Lines {
        LINES.iter().map(|id| (*id).to_owned()).filter(|id| !self.out.contains(id)).collect()
    }

    pub(super) fn grant(&self) -> StopState {
        match self.phase {
            Phase::House | Phase::Back => StopState::Stopped,
            Phase::Sending | Phase::AtLab => StopState::Pending,
        }
    }
}

/// All of it.
pub(super) struct Model {
    /// Which labs stop single lines.
    pub(super) by_lines: Vec<bool>,
    pub(super) orders: BTreeMap<OrderId, Order>,
}

impl Model {
    /// A stop of the order came to be, in this state.
    pub(super) fn asked(&mut self, order: &OrderId, id: StopId, state: StopState) {
        let found = self.orders.get_mut(order).unwrap();
        found.stop = Some((id, state));
        for approval in found.approvals.iter_mut().filter(|approval| approval.open()) {
            approval.state = ApprovalState::Overtaken;
        }
        self.decided(order);
    }

    /// What follows for others from how the stop of an order stands.
    pub(super) fn decided(&mut self, order: &OrderId) {
        let state = self.orders[order].stop.as_ref().unwrap().1;
        if state == StopState::Pending {
            return;
        }
        let found = self.orders.get_mut(order).unwrap();
        if let Some((_, link)) = found.replaces.as_mut().filter(|(_, link)| *link == LinkState::Waiting) {
            *link = LinkState::Withdrawn;
        }
        let heirs = self.orders.iter().filter(|(_, heir)| {
            heir.replaces.as_ref().is_some_and(|(old, link)| old == order && *link == LinkState::Waiting)
        });
        for heir in heirs.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let link = if state == StopState::Stopped { LinkState::Released } else { LinkState::Abandoned };
            self.orders.get_mut(&heir).unwrap().replaces.as_mut().unwrap().1 = link;
            if link == LinkState::Abandoned {
                let number = heir.as_str().split_once('_').unwrap().1;
                let id = StopId::parse(&format!("{}_{number}", StopId::PREFIX)).unwrap();
                self.asked(&heir, id, StopState::Stopped);
            }
        }
    }

    /// What a stop of a whole order is answered; a new one stands in the model then.
    pub(super) fn stops(&mut self, order: &OrderId, id: &StopId) -> String {
        let found = &self.orders[order];
        if let Some((id, state)) = &found.stop {
            return format!("already {id} {}", state.word());
        }
        let state = found.grant();
        self.asked(order, id.clone(), state);
        format!("asked {}", state.word())
    }

    pub(super) fn stops_lines(&mut self, order: &OrderId, id: &StopId, items: &[String]) -> String {
        let found = &self.orders[order];
        let alive = found.alive();
        let rest: Lines = alive.iter().filter(|id| items.contains(id)).cloned().collect();
        if found.stop.is_some() || (!rest.is_empty() && rest.len() == alive.len()) {
            return self.stops(order, id);
        }
        let about = |stop: &&LineStop| {
            stop.state != StopState::TooLate && stop.items.iter().any(|id| items.contains(id))
        };
        let same = |stop: &&LineStop| stop.state == StopState::TooLate && stop.items == rest;
        let mut stops = found.line_stops.iter().rev();
        let known = if rest.is_empty() { stops.find(about) } else { stops.find(same) };
        if let Some(known) = known {
            return format!("already {} {}", known.id, known.state.word());
        }
        let state = match found.grant() {
            StopState::Stopped => StopState::StoppedInPart,
            _ if !self.by_lines[found.lab] => return "refused".to_owned(),
            state => state,
        };
        let found = self.orders.get_mut(order).unwrap();
        if state == StopState::StoppedInPart {
            found.out.extend(rest.iter().cloned());
        }
        found.line_stops.push(LineStop { id: id.clone(), items: rest, state });
        format!("asked {}", state.word())
    }

    pub(super) fn asks(&mut self, ask: &ApprovalAsk, order: &OrderId) -> String {
        let found = &self.orders[order];
        let id = &ask.stop.id;
        let whole = found.approvals.iter().find(|approval| approval.items.is_none());
        if ask.stop.items.is_empty() {
            if let Some(known) = whole.filter(|_| found.stop.is_none()) {
                return format!("known {} {}", known.id, known.state.word());
            }
            if found.stop.is_some() {
                return format!("stop {}", self.stops(order, id));
            }
            return self.opens(ask, order, None);
        }
        let items = &ask.stop.items;
        if let Some(known) = whole.filter(|known| known.open()) {
            return format!("known {} {}", known.id, known.state.word());
        }
        let alive = |id: &String| found.stop.is_none() && !found.settled(id);
        if !items.iter().any(alive) {
            return format!("stop {}", self.stops_lines(order, id, &items.clone()));
        }
        let new = |id: &&String| !found.approvals.iter().any(|approval| approval.about(id));
        let rest: Lines = items.iter().filter(|id| alive(id)).filter(new).cloned().collect();
        if rest.is_empty() {
            let about = |approval: &&Approval| items.iter().any(|id| approval.about(id));
            let known = found.approvals.iter().rev().find(about).unwrap();
            return format!("known {} {}", known.id, known.state.word());
        }
        let whole = rest.len() == found.alive().len();
        let by_lines = self.by_lines[found.lab] || found.grant() == StopState::Stopped;
        if !whole && !by_lines {
            return "stop refused".to_owned();
        }
        self.opens(ask, order, Some(rest))
    }

    pub(super) fn opens(&mut self, ask: &ApprovalAsk, order: &OrderId, items: Option<Lines>) -> String {
        let found = self.orders.get_mut(order).unwrap();
        let held = found.in_house();
        if held {
            found.in_batch = false;
        }
        let said = format!("new {held} {items:?}");
        found.approvals.push(Approval { id: ask.id.clone(), items, state: ApprovalState::Open, held });
        said
    }

    pub(super) fn decides(&mut self, order: &OrderId, item: &Decide) -> String {
        let found = &self.orders[order];
        let at = found.approvals.iter().position(|approval| approval.id == item.approval).unwrap();
        let approval = found.approvals[at].clone();
        if !approval.open() {
            return format!("already {}", approval.state.word());
        }
        let lines = approval.items.clone().unwrap_or_default();
        let rest: Lines = lines.iter().filter(|id| !found.settled(id)).cloned().collect();
        let by_lines = self.by_lines[found.lab] || found.grant() == StopState::Stopped;
        let whole = rest.len() == found.alive().len();
        if item.agrees.is_some() && found.stop.is_none() && !rest.is_empty() && !whole && !by_lines {
            return "refused".to_owned();
        }
        let found = self.orders.get_mut(order).unwrap();
        let state = if item.agrees.is_some() { ApprovalState::Approved } else { ApprovalState::Declined };
        found.approvals[at].state = state;
        if (item.agrees.is_none() || !lines.is_empty()) && approval.held && found.in_house() {
            found.in_batch = !found.kept_out();
        }
        match &item.agrees {
            None => "declined".to_owned(),
            Some(stop) if lines.is_empty() => format!("approved {}", self.stops(order, &stop.id)),
            Some(stop) => format!("approved {}", self.stops_lines(order, &stop.id, &lines)),
        }
    }

    /// An order that is linked to this one, over however many, and may be printed.
    pub(super) fn alive_beside(&self, order: &OrderId) -> bool {
        let mut known = BTreeSet::from([order.clone()]);
        loop {
            let before = known.len();
            for (new, old) in self.orders.iter().filter_map(|(id, it)| Some((id, &it.replaces.as_ref()?.0))) {
                if known.contains(new) || known.contains(old) {
                    known.extend([new.clone(), old.clone()]);
                }
            }
            if known.len() == before {
                break;
            }
        }
        known.iter().any(|id| id != order && !self.orders[id].stopped())
    }

    pub(super) fn replaces(&mut self, old: &OrderId, item: &Replace) -> String {
        let found = &self.orders[old];
        if found.waits() {
            return "waits".to_owned();
        }
        if self.alive_beside(old) {
            return "by another".to_owned();
        }
        match found.stop.as_ref().map(|(_, state)| *state) {
            Some(StopState::TooLate) => return "not allowed".to_owned(),
            Some(_) => {}
            None => {
                self.stops(old, &item.stop.id);
            }
        }
        let stopped = self.orders[old].stopped();
        let link = if stopped { LinkState::Released } else { LinkState::Waiting };
        let mut new = Order::new(self.orders[old].lab, Some((old.clone(), link)));
        new.in_batch = stopped;
        self.orders.insert(item.admission.id.clone(), new);
        "done".to_owned()
    }

    /// What a change is answered.
    pub(super) fn changes(&mut self, order: &OrderId, kind: &ChangeKind) -> &'static str {
        let beside = self.alive_beside(order);
        let it = self.orders.get_mut(order).unwrap();
        let kept_out = it.kept_out();
        match kind {
            ChangeKind::Hold if it.hold => "Unchanged",
            ChangeKind::Hold if !it.in_house() => "NotAllowed",
            ChangeKind::Hold => {
                (it.hold, it.in_batch) = (true, false);
                "Done"
            }
            ChangeKind::Release if !kept_out && it.stop.is_none() && it.in_batch => "Unchanged",
            ChangeKind::Release if !it.in_house() || it.in_batch => "NotAllowed",
            ChangeKind::Release if kept_out && !it.hold => "HeldByOthers",
            ChangeKind::Release => {
                it.hold = false;
                it.in_batch = !it.kept_out();
                "Done"
            }
            ChangeKind::Rejoin if it.in_batch || kept_out || !it.in_house() => "Unchanged",
            ChangeKind::Rejoin => {
                it.in_batch = true;
                "Done"
            }
            ChangeKind::Reinstate if !it.stopped() || it.phase != Phase::House => "NotAllowed",
            ChangeKind::Reinstate if beside => "Replaced",
            ChangeKind::Reinstate => {
                (it.stop, it.hold, it.in_batch) = (None, false, true);
                it.approvals.clear();
                "Done"
            }
            other => panic!("{other:?}"),
        }
    }
}
