//! The lab: what it does with what it gets. It keeps its word: what it removed it does not print, what it refused
//! under a key it does not take, unless the kind of lab or a mistake says otherwise.

use super::World;
use super::rules::Lab;
use super::state::{Call, Job, Kind, ORDERS, State, Step, Wired, Word};
use super::steps::{Act, Steps};
use super::verbs::Who;

impl World {
    /// A copy arrives.
    pub(super) fn lab_takes(&self, gone: &State, copy: Wired) -> Option<State> {
        let mut next = *gone;
        let bit = 1 << copy.key;
        if next.lab.refused & bit != 0 {
            Self::says(&mut next, copy.fence, Word::Refused);
            return Some(next);
        }
        let known = match self.lab {
            Lab::A | Lab::B | Lab::C | Lab::D => next.lab.known & bit != 0,
            // Jobs that live are known; what was removed is forgotten.
            Lab::E => {
                next.lab.jobs.iter().flatten().any(|job| job.key == copy.key && job.live | job.printed != 0)
            }
            Lab::F | Lab::G | Lab::H => false,
        };
        if !known {
            next.lab.known |= bit;
            let job = Job { key: copy.key, live: copy.orders, printed: 0, removed: 0 };
            if !State::put(&mut next.lab.jobs, job) {
                return None;
            }
        }
        Self::says(&mut next, copy.fence, Word::Accepted);
        Some(next)
    }

    /// The lab's word to an upload, if somebody still listens.
    pub(super) fn says(s: &mut State, fence: u8, word: Word) {
        let waits =
            |call: &&mut Call| call.kind == Kind::Upload && call.fence == fence && call.step == Step::Out;
        if let Some(call) = s.calls.iter_mut().flatten().find(waits) {
            call.step = Step::Answered(word);
        }
    }

    /// What the lab says of an order; a stop takes it out, if it can.
    fn heard(s: &mut State, at: usize, stops: bool) -> Word {
        let bit = 1 << at;
        if s.lab.all(|job| job.printed) & bit != 0 {
            return Word::Printed;
        }
        if s.lab.all(|job| job.live) & bit != 0 {
            if !stops {
                return Word::Accepted;
            }
            for job in s.lab.jobs.iter_mut().flatten().filter(|job| job.live & bit != 0) {
                job.live &= !bit;
                job.removed |= bit;
            }
            return Word::Removed;
        }
        if s.lab.all(|job| job.removed) & bit != 0 { Word::Removed } else { Word::NotFound }
    }

    /// A look-up: the first order that is there speaks for all; absent is only the transfer of which all are.
    fn looked_up(s: &mut State, orders: u8) -> Word {
        let named = (0..ORDERS).filter(|at| orders & 1 << at != 0);
        named
            .map(|at| Self::heard(s, at, false))
            .find(|word| *word != Word::NotFound)
            .unwrap_or(Word::NotFound)
    }

    /// What the lab may do next.
    pub(super) fn lab(&self, was: &State, to: &mut Steps<'_>) {
        for at in 0..was.calls.len() {
            let Some(call) = was.calls[at].filter(|call| call.step == Step::Out && call.kind != Kind::Upload)
            else {
                continue;
            };
            let mut next = *was;
            let order = call.orders.trailing_zeros() as usize;
            let word = match call.kind {
                Kind::LookUp => Self::looked_up(&mut next, call.orders),
                _ => Self::heard(&mut next, order, true),
            };
            next.calls[at] = Some(Call { step: Step::Answered(word), ..call });
            to.must(Act::LabHears { call: at }, Some(next));
            if self.later && call.kind == Kind::Stop {
                let mut next = *was;
                next.calls[at] = Some(Call { step: Step::Answered(Word::Later), ..call });
                next.lab.owes |= call.orders;
                to.add(Act::LabWillAnswerLater { call: at }, Some(next));
            }
        }
        for order in 0..ORDERS {
            let bit = 1 << order;
            if was.lab.late_stops & bit != 0 {
                let mut next = *was;
                next.lab.late_stops &= !bit;
                Self::heard(&mut next, order, true);
                to.add(Act::LabHearsLateStop { order }, Some(next));
            }
            if was.lab.owes & bit != 0 {
                let mut next = *was;
                next.lab.owes &= !bit;
                let word = Self::heard(&mut next, order, true);
                let next = self.settle_stop(&next, order, Some(word), None, Who::Machine);
                to.add(Act::LabAnswersLate { order }, Some(next));
            }
            for job in 0..was.lab.jobs.len() {
                if was.lab.jobs[job].is_some_and(|job| job.live & bit != 0) {
                    let mut next = *was;
                    if let Some(job) = &mut next.lab.jobs[job] {
                        job.live &= !bit;
                        job.printed |= bit;
                    }
                    to.add(Act::LabPrints { order }, Some(next));
                }
            }
            to.add(Act::Reported { order }, self.report(was, order));
        }
    }

    /// A person at the lab takes an order out, or says that it is printed. Where it is not to be seen, they wait.
    pub(super) fn person_stops(&self, was: &State, at: usize, who: Who) -> Option<State> {
        let mut next = *was;
        let word = Self::heard(&mut next, at, true);
        (word != Word::NotFound).then(|| self.settle_stop(&next, at, Some(word), None, who))
    }
}
