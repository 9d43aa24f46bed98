//! Everything that may happen next, and what it makes of the world: replicas, platforms, the wire, the lab, people,
//! time. Every delay and every order of events is in it; what goes wrong is bounded, see [`Left`](super::state::Left).

use stoppress::domain::batch::{BatchPhase, TransferPhase};
use stoppress::domain::lab::Dedupes;
use stoppress::domain::stop::StopState;

use super::Mistake::{
    AcceptBeforeCommit, AnswerBeforeCommit, CommitVanishes, ForgetfulNetwork, HorizonTooEarly, NoTakeOver,
    SendBeforeIntent, TwoRows, WriteSkew,
};
use super::World;
use super::state::{Ask, Call, Intake, Kind, ORDERS, REPLICAS, State, Step, Wired, Word, broken};
use super::verbs::Who;

/// A step, as counterexamples show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Submitted { order: usize },
    SubmittedAgain { order: usize },
    AcceptedTold { order: usize },
    WindowEnds,
    Closes,
    StopArrives { order: usize, by: u8 },
    StopRead { order: usize },
    StopDecided { order: usize },
    SaysClear { by: u8 },
    ClaimsBatch { by: u8 },
    ClaimsTransfer { by: u8 },
    TakesOver,
    SendsWithoutIntent,
    Sends { call: usize },
    CannotSend { call: usize },
    TimesOut { call: usize },
    LabTakes { copy: usize },
    LabRefuses { copy: usize },
    WireLoses { copy: usize },
    WireDoubles { copy: usize },
    LabHears { call: usize },
    LabWillAnswerLater { call: usize },
    LabHearsLateStop { order: usize },
    LabAnswersLate { order: usize },
    LabForgetsKeys,
    LabPrints { order: usize },
    Reported { order: usize },
    WordWritten { call: usize },
    StopForwarded { order: usize, by: u8 },
    HorizonPasses,
    KeyWindowCloses,
    TransferDeadline,
    StopDeadline { order: usize },
    Crashes { by: u8 },
    PersonOnTransfer,
    PersonOnStop { order: usize },
    NothingMore,
}

/// The steps out of a state, each with the state behind it.
pub(super) struct Steps<'a> {
    world: &'a World,
    was: &'a State,
    out: &'a mut Vec<(Act, State)>,
    /// Whether something goes on that nobody can leave undone for ever.
    must: bool,
}

impl Steps<'_> {
    pub(super) fn add(&mut self, act: Act, next: Option<State>) {
        let Some(mut next) = next else { return };
        if self.world.makes(CommitVanishes) {
            let rows = |s: &State| (s.orders.map(|order| order.stop), s.transfer);
            next.vanishing = (rows(self.was) != rows(&next)).then(|| rows(self.was)).or(next.vanishing);
        }
        next.broken |= self.world.seen_broken(&next);
        if self.world.mistake.is_some() {
            // What is to be seen is the harm, not the alarm before it.
            next.broken &= !broken::ALARM;
        }
        self.out.push((act, next.canonical()));
    }

    /// A step that happens sooner or later.
    pub(super) fn must(&mut self, act: Act, next: Option<State>) {
        self.must |= next.is_some();
        self.add(act, next);
    }
}

impl World {
    /// Everything that may happen next.
    pub(super) fn steps(&self, was: &State, out: &mut Vec<(Act, State)>) {
        let mut to = Steps { world: self, was, out, must: false };
        self.platforms(was, &mut to);
        self.store(was, &mut to);
        self.calls(was, &mut to);
        self.wire(was, &mut to);
        self.lab(was, &mut to);
        self.time(was, &mut to);
        self.people(was, &mut to);
        if !to.must && !Self::settled(was) {
            let stuck = State { broken: was.broken | broken::STUCK, ..*was };
            out.push((Act::NothingMore, stuck));
        }
    }

    /// Whether nothing is left for a machine to do.
    fn settled(s: &State) -> bool {
        use TransferPhase::{AtLab, Empty, WithAPerson};
        matches!(s.batch, BatchPhase::HandedOn | BatchPhase::Empty)
            && s.transfer.is_none_or(|transfer| matches!(transfer.phase, AtLab | Empty | WithAPerson))
            && s.orders.iter().all(|order| order.stop != Some(StopState::Pending))
    }

    /// What can be seen to be broken in a state.
    fn seen_broken(&self, s: &State) -> u8 {
        let mut seen = 0;
        for (at, order) in s.orders.iter().enumerate() {
            let prints = Self::prints(s, order.of);
            if prints > 1 {
                seen |= broken::TWICE;
            }
            if prints > 0 && order.told & 1 << StopState::Stopped.code() != 0 {
                seen |= broken::LIE;
            }
            // Told stopped, and something sends it all the same.
            let lost = order.is_row()
                && matches!(order.stop, None | Some(StopState::TooLate))
                && !Self::may_come(s, at, order.joined);
            if lost || (order.intake == Intake::ToldFirst && s.left.crashes < self.left.crashes) {
                seen |= broken::LOST;
            }
        }
        let bodies = s.wire.iter().flatten();
        if bodies.clone().any(|a| bodies.clone().any(|b| a.key == b.key && a.orders != b.orders)) {
            seen |= broken::CONTENT;
        }
        seen
    }

    /// Whether an order that is not stopped is at the lab, or may still come there.
    fn may_come(s: &State, at: usize, joined: bool) -> bool {
        let bit = 1 << at;
        match (joined, s.transfer) {
            (false, _) => matches!(s.batch, BatchPhase::Open | BatchPhase::Closed),
            (true, None) => true,
            (true, Some(transfer)) => match transfer.phase {
                TransferPhase::AtLab => s.lab.all(|job| job.live | job.printed) & bit != 0,
                TransferPhase::Empty => false,
                _ => transfer.manifest & bit != 0,
            },
        }
    }

    fn platforms(&self, was: &State, to: &mut Steps<'_>) {
        for at in 0..ORDERS {
            let order = &was.orders[at];
            let with = |intake: Intake| {
                let mut next = *was;
                next.orders[at].intake = intake;
                Some(next)
            };
            let submits = self.orders & 1 << at != 0 && was.batch == BatchPhase::Open;
            match order.intake {
                Intake::Not if submits => {
                    let first =
                        if self.makes(AcceptBeforeCommit) { Intake::ToldFirst } else { Intake::Durable };
                    to.add(Act::Submitted { order: at }, with(first));
                }
                Intake::ToldFirst => to.must(Act::AcceptedTold { order: at }, with(Intake::Told)),
                Intake::Durable => {
                    to.must(Act::AcceptedTold { order: at }, with(Intake::Told));
                    if was.left.repeats > 0 && was.batch == BatchPhase::Open {
                        to.add(Act::SubmittedAgain { order: at }, Some(self.again(was, at)));
                    }
                }
                _ => {}
            }
            if order.ask == Ask::Open && order.is_row() {
                for by in REPLICAS {
                    let mut next = *was;
                    next.orders[at].ask = Ask::Arrived { by, before: !was.ended };
                    to.add(Act::StopArrives { order: at, by }, Some(next));
                }
            }
            if let Ask::Arrived { by, .. } = order.ask
                && (self.makes(WriteSkew) || self.makes(AnswerBeforeCommit))
            {
                let mut next = *was;
                let (state, _) = self.granted(was, at);
                next.orders[at].ask = Ask::Ahead { by, state };
                next.orders[at].told |= if self.makes(AnswerBeforeCommit) { 1 << state.code() } else { 0 };
                to.must(Act::StopRead { order: at }, Some(next));
            } else {
                to.must(Act::StopDecided { order: at }, self.decide(was, at));
            }
        }
    }

    /// The platform had no answer, and sends its order again: it is the same order.
    fn again(&self, was: &State, at: usize) -> State {
        let mut next = *was;
        next.left.repeats -= 1;
        if self.makes(TwoRows)
            && let Some(free) = next.orders.iter().position(|order| !order.is_row())
        {
            next.orders[free] = super::Order { of: was.orders[at].of, ..was.orders[at] };
        }
        next
    }

    fn store(&self, was: &State, to: &mut Steps<'_>) {
        to.must(Act::Closes, Self::close(was));
        for by in REPLICAS {
            let waits = was
                .orders
                .iter()
                .any(|order| matches!(order.ask, Ask::Arrived { by: at, before: true } if at == by));
            if was.ended && was.batch != BatchPhase::HandedOn && !was.clear[usize::from(by)] && !waits {
                let mut next = *was;
                next.clear[usize::from(by)] = true;
                to.must(Act::SaysClear { by }, Some(next));
            }
            let busy = |order: usize| {
                let own = |call: &Call| call.kind == Kind::Stop && call.orders == 1 << order;
                was.calls.iter().flatten().any(own)
            };
            to.must(Act::ClaimsBatch { by }, self.claim_fresh(was, by));
            to.must(Act::ClaimsTransfer { by }, self.claim_due(was, by));
            for order in 0..ORDERS {
                // While its lease runs nobody else asks, unless the one who asks is taken for dead.
                if !busy(order) || was.left.crashes > 0 {
                    to.must(Act::StopForwarded { order, by }, self.forward(was, order, by));
                }
            }
        }
        if !self.makes(NoTakeOver) {
            to.must(Act::TakesOver, self.take_over(was));
        }
        if self.makes(SendBeforeIntent) && was.batch == BatchPhase::Closed && was.wire[0].is_none() {
            let mut next = *was;
            State::put(&mut next.wire, Wired { key: 1, fence: 1, orders: self.orders });
            to.add(Act::SendsWithoutIntent, Some(next));
        }
        for by in REPLICAS {
            if was.left.crashes > 0 {
                to.add(Act::Crashes { by }, self.crash(was, by));
            }
        }
    }

    /// A replica dies: what it held in its hands is gone, what it had sent is not. Nothing changes if it held nothing.
    fn crash(&self, was: &State, by: u8) -> Option<State> {
        let mut next = *was;
        next.left.crashes -= 1;
        let mut held =
            self.makes(CommitVanishes) || was.orders.iter().any(|it| it.intake == Intake::ToldFirst);
        for call in &mut next.calls {
            if let Some(gone) = call.filter(|call| call.by == by) {
                held = true;
                // Its request may still be on its way.
                if gone.kind == Kind::Stop && gone.step == Step::Out {
                    next.lab.late_stops |= gone.orders;
                }
                *call = None;
            }
        }
        for order in &mut next.orders {
            if matches!(order.ask, Ask::Arrived { by: at, .. } | Ask::Ahead { by: at, .. } if at == by) {
                held = true;
                // Whoever asked has no answer. They may ask again.
                order.ask = Ask::Open;
            }
        }
        if let Some((stops, transfer)) = next.vanishing.take() {
            for (order, stop) in next.orders.iter_mut().zip(stops) {
                order.stop = stop;
                order.joined = transfer.is_some_and(|_| order.joined);
            }
            next.transfer = transfer;
            if transfer.is_none() && matches!(next.batch, BatchPhase::HandedOn | BatchPhase::Empty) {
                next.batch = BatchPhase::Closed;
            }
        }
        held.then_some(next)
    }

    fn calls(&self, was: &State, to: &mut Steps<'_>) {
        for at in 0..was.calls.len() {
            let Some(call) = was.calls[at] else { continue };
            let mut gone = *was;
            gone.calls[at] = None;
            match call.step {
                Step::Intent | Step::TooLate => {
                    if call.step == Step::Intent {
                        let mut next = *was;
                        if let Some(call) = &mut next.calls[at] {
                            call.step = Step::Out;
                        }
                        let copy = Wired { key: call.key, fence: call.fence, orders: call.orders };
                        let sent = State::put(&mut next.wire, copy).then_some(next);
                        to.must(Act::Sends { call: at }, sent);
                    }
                    // The connection is refused; or the time to begin is over.
                    let free = call.step == Step::TooLate;
                    if free || was.left.losses > 0 {
                        gone.left.losses -= u8::from(!free);
                        to.must(Act::CannotSend { call: at }, Some(self.settle(&gone, call, None, true)));
                    }
                }
                Step::Out => {
                    if call.kind == Kind::Stop {
                        gone.lab.late_stops |= call.orders;
                    }
                    let next = self.written(&gone, call, None);
                    to.must(Act::TimesOut { call: at }, Some(next));
                }
                Step::Answered(word) => {
                    to.must(Act::WordWritten { call: at }, Some(self.written(&gone, call, Some(word))));
                    if was.left.losses > 0 {
                        gone.left.losses -= 1;
                        to.add(Act::TimesOut { call: at }, Some(self.written(&gone, call, None)));
                    }
                }
            }
        }
    }

    /// Writes down what came of a call that was begun.
    fn written(&self, gone: &State, call: Call, word: Option<Word>) -> State {
        match call.kind {
            Kind::Upload | Kind::LookUp => self.settle(gone, call, word, false),
            Kind::Stop => {
                let at = call.orders.trailing_zeros() as usize;
                self.settle_stop(gone, at, word, Some(&call), Who::Machine)
            }
        }
    }

    fn wire(&self, was: &State, to: &mut Steps<'_>) {
        for at in 0..was.wire.len() {
            let Some(copy) = was.wire[at] else { continue };
            let mut gone = *was;
            gone.wire[at] = None;
            to.must(Act::LabTakes { copy: at }, self.lab_takes(&gone, copy));
            if was.left.refusals > 0 {
                let mut next = gone;
                next.left.refusals -= 1;
                // With a network that doubles, a refusal must stick to its key.
                if self.left.copies > 0 && !self.makes(ForgetfulNetwork) {
                    next.lab.refused |= 1 << copy.key;
                }
                Self::says(&mut next, copy.fence, Word::Refused);
                to.add(Act::LabRefuses { copy: at }, Some(next));
            }
            if was.left.losses > 0 {
                let mut next = gone;
                next.left.losses -= 1;
                to.add(Act::WireLoses { copy: at }, Some(next));
            }
            if was.left.copies > 0 {
                let mut next = *was;
                next.left.copies -= 1;
                let doubled = State::put(&mut next.wire, copy).then_some(next);
                to.add(Act::WireDoubles { copy: at }, doubled);
            }
        }
    }

    fn time(&self, was: &State, to: &mut Steps<'_>) {
        if was.batch == BatchPhase::Open && !was.ended {
            to.must(Act::WindowEnds, Some(State { ended: true, ..*was }));
        }
        for at in 0..ORDERS {
            if was.orders[at].stop == Some(StopState::Pending) && !was.orders[at].over {
                let mut next = *was;
                next.orders[at].over = true;
                to.must(Act::StopDeadline { order: at }, Some(next));
            }
        }
        let Some(transfer) = was.transfer else { return };
        let with = |change: &dyn Fn(&mut super::state::Transfer)| {
            let mut next = *was;
            next.transfer.iter_mut().for_each(change);
            next
        };
        let open = !matches!(transfer.phase, TransferPhase::AtLab | TransferPhase::Empty);
        let quiet = was.wire.iter().all(Option::is_none);
        // An attempt that did not begin in time does not count, and is made again until the deadline: a few are enough.
        let intent = |call: &Call| call.step == Step::Intent && call.fence == transfer.fence;
        let again = transfer.fence < 3 || !was.calls.iter().flatten().any(intent);
        if !transfer.horizon && open && again && (quiet || self.makes(HorizonTooEarly)) {
            let mut next = with(&|transfer| transfer.horizon = true);
            for call in next.calls.iter_mut().flatten().filter(|call| call.step == Step::Intent) {
                call.step = Step::TooLate;
            }
            to.must(Act::HorizonPasses, Some(next));
        }
        if !transfer.late && matches!(transfer.phase, TransferPhase::Closed | TransferPhase::Unknown) {
            to.must(Act::TransferDeadline, Some(with(&|transfer| transfer.late = true)));
        }
        let windowed = matches!(self.profile.dedupes, Dedupes::Window(_));
        if windowed && transfer.key_open && open {
            to.add(Act::KeyWindowCloses, Some(with(&|transfer| transfer.key_open = false)));
        }
        let begun =
            was.calls.iter().flatten().any(|call| call.kind == Kind::Upload && call.step == Step::Intent);
        if windowed && !transfer.key_open && quiet && !begun && was.lab.known != 0 {
            let mut next = *was;
            next.lab.known = 0;
            to.add(Act::LabForgetsKeys, Some(next));
        }
    }

    fn people(&self, was: &State, to: &mut Steps<'_>) {
        to.add(Act::PersonOnTransfer, self.person_decides(was));
        for at in 0..ORDERS {
            let Some(transfer) = was.transfer else { continue };
            let who = match was.orders[at].stop {
                Some(StopState::WithAPerson) => Who::Resolver,
                Some(StopState::Pending)
                    if self.profile.by_person() && transfer.phase == TransferPhase::AtLab =>
                {
                    Who::Person
                }
                _ => continue,
            };
            to.add(Act::PersonOnStop { order: at }, self.person_stops(was, at, who));
        }
    }
}
