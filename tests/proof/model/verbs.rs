//! The verbs of the store as they are built, each one transaction: `store/verbs/{stop,claim,cut,settle,forward,report,
//! evidence,batch}.rs`. What decides is asked of the real rules; what is here is which rows they are asked about, and
//! what follows for the others.

use stoppress::domain::batch::{BatchPhase, Next, Remedy, TransferPhase};
use stoppress::domain::stop::{Evidence, StopState};

use super::Mistake::{
    AbsentIsProof, BlindResend, ForgetsPending, GrantWhileSending, HorizonTooEarly, LastRefusalClearsAll,
    NotFoundIsProof, OldAbsence, PersonTooEarly, RebuildNewKey, RebuildSameKey, ResendAfterWindow,
    TimeOutIsNotSent, UnfencedTimeOut, WallClock,
};
use super::World;
use super::rules;
use super::state::{Ask, Call, Kind, ORDERS, State, Step, Transfer, Word, broken};

impl World {
    /// The orders that are in the transfer and alive.
    fn alive(s: &State) -> u8 {
        (0..ORDERS)
            .filter(|at| s.orders[*at].joined && s.orders[*at].stop.is_none())
            .fold(0, |bits, at| bits | 1 << at)
    }

    /// Writes how a stop stands. What is final never changes.
    fn stand(s: &mut State, at: usize, state: StopState, evidence: Option<Evidence>) {
        let order = &mut s.orders[at];
        let allowed = match order.stop {
            None => true,
            Some(StopState::Pending) => state != StopState::Pending,
            Some(StopState::WithAPerson) => state.is_decided(),
            Some(_) => false,
        };
        let was_told = |state: StopState| order.told & 1 << state.code() != 0;
        let contrary = match state {
            StopState::Stopped => was_told(StopState::TooLate),
            _ => was_told(StopState::Stopped),
        };
        if !allowed || contrary {
            s.broken |= broken::BACK;
        }
        order.stop = Some(state);
        order.evidence = evidence;
        order.told |= 1 << state.code();
        if state == StopState::Stopped && Self::prints(s, s.orders[at].of) > 0 {
            s.broken |= broken::LIE;
        }
    }

    /// How often an order of the platform was printed.
    pub(super) fn prints(s: &State, of: u8) -> u32 {
        let rows = (0..ORDERS).filter(|at| s.orders[*at].of == of).fold(0, |bits, at| bits | 1_u8 << at);
        s.lab.jobs.iter().flatten().map(|job| (job.printed & rows).count_ones()).sum()
    }

    /// `stop::ask`: the first answer to a stop, on the phase that is stored.
    pub(super) fn decide(&self, s: &State, at: usize) -> Option<State> {
        let mut next = *s;
        let order = &s.orders[at];
        let state = match order.ask {
            Ask::Arrived { before, .. } => {
                let (state, evidence) = self.granted(s, at);
                Self::stand(&mut next, at, state, evidence);
                if before && state != StopState::Stopped {
                    next.broken |= broken::PROMISE;
                }
                state
            }
            // Read before, or told before: the write does not look again.
            Ask::Ahead { state, .. } => {
                Self::stand(&mut next, at, state, None);
                state
            }
            _ => return None,
        };
        debug_assert_eq!(next.orders[at].stop, Some(state), "a decision is written");
        next.orders[at].ask = Ask::Done;
        Some(next)
    }

    /// What a stop that is asked now is answered.
    pub(super) fn granted(&self, s: &State, at: usize) -> (StopState, Option<Evidence>) {
        let sending = s.transfer.filter(|transfer| transfer.phase == TransferPhase::Sending);
        if self.makes(WallClock) || (self.makes(GrantWhileSending) && sending.is_some()) {
            return (StopState::Stopped, Some(Evidence::NeverHanded));
        }
        rules::grant(&s.orders[at], s.transfer.as_ref(), &self.profile)
    }

    /// `batch::close`.
    pub(super) fn close(s: &State) -> Option<State> {
        (s.batch == BatchPhase::Open && s.ended).then_some(State { batch: BatchPhase::Closed, ..*s })
    }

    /// `claim` of a closed batch: who is alive is cut into a transfer, or nobody is left.
    pub(super) fn claim_fresh(&self, s: &State, by: u8) -> Option<State> {
        if s.batch != BatchPhase::Closed
            || (!Self::is_clear(s, by) && !self.makes(super::Mistake::ClaimAhead))
        {
            return None;
        }
        let mut next = *s;
        let waits = |at: &usize| s.orders[*at].is_row() && s.orders[*at].stop.is_none();
        let fresh = (0..ORDERS).filter(waits).fold(0, |bits, at| bits | 1 << at);
        if fresh == 0 {
            next.batch = BatchPhase::Empty;
            return Some(next);
        }
        next.batch = BatchPhase::HandedOn;
        for at in (0..ORDERS).filter(waits) {
            next.orders[at].joined = true;
        }
        let transfer = Transfer {
            phase: TransferPhase::Sending,
            fence: 1,
            attempts: 1,
            unresolved: 1,
            key: 1,
            manifest: fresh,
            horizon: false,
            key_open: true,
            late: false,
        };
        next.transfer = Some(transfer);
        Self::out(&mut next, by, Kind::Upload, Step::Intent, &transfer, fresh).then_some(next)
    }

    /// Whether all stops that arrived before the end of the window are in, here and at the other replica.
    fn is_clear(s: &State, by: u8) -> bool {
        let own = s
            .orders
            .iter()
            .all(|order| !matches!(order.ask, Ask::Arrived { before: true, by: at } if at == by));
        own && s.clear[usize::from(1 - by)]
    }

    /// `claim` of a transfer that fell back, or is unknown.
    pub(super) fn claim_due(&self, s: &State, by: u8) -> Option<State> {
        let was = s.transfer?;
        match was.phase {
            TransferPhase::Closed => self.fallen_back(s, was, by),
            TransferPhase::Unknown => self.unknown(s, was, by),
            _ => None,
        }
    }

    fn fallen_back(&self, s: &State, was: Transfer, by: u8) -> Option<State> {
        let mut next = *s;
        self.never_handed(&mut next);
        let mut alive = Self::alive(&next);
        if self.makes(ForgetsPending) {
            alive = was.manifest;
        }
        if alive == 0 {
            next.transfer = Some(Transfer { phase: TransferPhase::Empty, ..was });
            return Some(next);
        }
        if i64::from(was.attempts) >= self.profile.attempts_max || was.late {
            return self.person(next, was);
        }
        let anew = Transfer { key: was.fence + 1, manifest: alive, unresolved: 0, key_open: true, ..was };
        Self::send(next, anew, by)
    }

    fn unknown(&self, s: &State, was: Transfer, by: u8) -> Option<State> {
        if self.makes(RebuildSameKey) || self.makes(RebuildNewKey) {
            return self.rebuilt(s, was, by);
        }
        let seen = Transfer {
            horizon: was.horizon || self.makes(AbsentIsProof),
            key_open: was.key_open || self.makes(ResendAfterWindow),
            ..was
        };
        match rules::remedy(&seen, &self.profile) {
            (Remedy::Person, _) => self.person(*s, was),
            _ if self.makes(BlindResend) && was.attempts < self.attempts => Self::send(*s, was, by),
            (Remedy::Resend, _) => Self::send(*s, was, by),
            (Remedy::LookUp(_), true) if s.left.looks > 0 => {
                let mut next = *s;
                next.left.looks -= 1;
                Self::out(&mut next, by, Kind::LookUp, Step::Out, &was, was.manifest).then_some(next)
            }
            (Remedy::LookUp(_) | Remedy::Wait, _) => None,
        }
    }

    /// What must not be: what is unknown is frozen anew, without those who want to be stopped.
    fn rebuilt(&self, s: &State, was: Transfer, by: u8) -> Option<State> {
        if i64::from(was.attempts) >= self.profile.attempts_max {
            return None;
        }
        let mut next = *s;
        self.never_handed(&mut next);
        let alive = Self::alive(&next);
        if alive == 0 {
            next.transfer = Some(Transfer { phase: TransferPhase::Empty, ..was });
            return Some(next);
        }
        let key = if self.makes(RebuildNewKey) { was.fence + 1 } else { was.key };
        Self::send(next, Transfer { key, manifest: alive, ..was }, by)
    }

    /// The intent to send, under the next fence.
    fn send(mut s: State, was: Transfer, by: u8) -> Option<State> {
        let sending = Transfer {
            phase: TransferPhase::Sending,
            fence: was.fence + 1,
            attempts: was.attempts + 1,
            unresolved: was.unresolved + 1,
            horizon: false,
            ..was
        };
        s.transfer = Some(sending);
        Self::out(&mut s, by, Kind::Upload, Step::Intent, &sending, sending.manifest).then_some(s)
    }

    fn person(&self, mut s: State, was: Transfer) -> Option<State> {
        if self.makes(super::Mistake::NoEscalation) {
            return None;
        }
        s.transfer = Some(Transfer { phase: TransferPhase::WithAPerson, ..was });
        Some(s)
    }

    /// Puts a call out. False if all places are taken: then it waits.
    fn out(s: &mut State, by: u8, kind: Kind, step: Step, of: &Transfer, orders: u8) -> bool {
        let after = kind != Kind::Upload && of.horizon;
        let call = Call { by, kind, step, fence: of.fence, key: of.key, orders, after };
        State::put(&mut s.calls, call)
    }

    /// `settle::take_over`, of whoever sends, dead or alive.
    pub(super) fn take_over(&self, s: &State) -> Option<State> {
        let was = s.transfer?;
        let moved = rules::after_lease(&was, &self.profile)?;
        let mut next = *s;
        self.moved(&mut next, moved, false);
        Some(next)
    }

    /// `settle::settle`: the end of an upload or of a look-up. `None`: the word is only kept.
    pub(super) fn settle(&self, s: &State, call: Call, word: Option<Word>, gone: bool) -> State {
        let mut next = *s;
        let Some(was) = s.transfer else { return next };
        let profile = &self.profile;
        let answer = match word {
            Some(word) => rules::answer(word),
            None if gone => rules::unreachable(),
            None => rules::unclear(),
        };
        let time_out = call.kind == Kind::Upload && word.is_none() && !gone;
        let positive = matches!(word, Some(Word::Accepted | Word::Removed | Word::Printed));
        let moved = match (call.kind, word) {
            (Kind::LookUp, Some(Word::NotFound)) => self.absent(&was, call),
            (Kind::LookUp, _) if !positive => None,
            // Taken for a call that never began, under its own fence or under any.
            _ if time_out && self.makes(UnfencedTimeOut) => Some(closed(&was, was.fence)),
            _ if time_out && self.makes(TimeOutIsNotSent) => {
                rules::settle(&was, profile, call.fence, &rules::unreachable())
            }
            (_, Some(Word::Refused)) if self.makes(LastRefusalClearsAll) => {
                rules::settle(&Transfer { unresolved: 1, ..was }, profile, call.fence, &answer)
            }
            _ => rules::settle(&was, profile, call.fence, &answer),
        };
        if let Some(moved) = moved {
            // A look-up names orders, not attempts: that it calls a person here as well is caution, not a contradiction.
            self.moved(&mut next, moved, positive && call.kind == Kind::Upload && call.fence < was.key);
        }
        next
    }

    /// What "not there" makes of a transfer.
    fn absent(&self, was: &Transfer, call: Call) -> Option<Next> {
        let seen = Transfer { horizon: true, ..*was };
        if self.makes(OldAbsence) {
            // As of when it was asked, and about whichever attempt.
            return rules::absence(&seen, &self.profile, was.fence, call.after);
        }
        let believed = match call.kind {
            Kind::Stop => self.makes(NotFoundIsProof),
            _ => self.makes(AbsentIsProof),
        };
        if believed {
            return rules::absence(&seen, &self.profile, call.fence, true);
        }
        rules::absence(was, &self.profile, call.fence, call.after)
    }

    /// `settle::move_transfers`: the transfer moves, with all that follows for its stops.
    fn moved(&self, s: &mut State, next: Next, contradicts: bool) {
        let Some(was) = s.transfer else { return };
        let at_lab = next.phase == TransferPhase::AtLab;
        if at_lab && (contradicts || matches!(was.phase, TransferPhase::Closed | TransferPhase::Empty)) {
            s.broken |= broken::ALARM;
        }
        s.transfer = Some(Transfer {
            phase: next.phase,
            fence: next.fence as u8,
            attempts: next.attempts as u8,
            unresolved: next.unresolved as u8,
            ..was
        });
        if next.phase == TransferPhase::Closed {
            self.never_handed(s);
        }
    }

    /// `settle::never_handed`: the stops of what is proven to be with nobody are granted.
    fn never_handed(&self, s: &mut State) {
        if self.makes(ForgetsPending) {
            return;
        }
        for at in 0..ORDERS {
            let order = &s.orders[at];
            if order.joined && order.stop.is_some_and(|stop| !stop.is_decided()) {
                Self::stand(s, at, StopState::Stopped, Some(Evidence::NeverHanded));
            }
        }
    }

    /// `forward::claim`: a stop that waits is asked of the lab, decided, or left waiting.
    pub(super) fn forward(&self, s: &State, at: usize, by: u8) -> Option<State> {
        let order = &s.orders[at];
        if order.stop != Some(StopState::Pending) {
            return None;
        }
        let mut next = *s;
        let (state, evidence) = rules::grant(order, s.transfer.as_ref(), &self.profile);
        let (state, evidence) = match state {
            StopState::Pending if order.over => (StopState::WithAPerson, Some(Evidence::NoAnswer)),
            _ => (state, evidence),
        };
        if state != StopState::Pending {
            if state == StopState::WithAPerson && self.makes(super::Mistake::NoEscalation) {
                return None;
            }
            Self::stand(&mut next, at, state, evidence);
            return Some(next);
        }
        let transfer = s.transfer?;
        let at_lab = transfer.phase == TransferPhase::AtLab;
        let takes = self.profile.stops == stoppress::domain::lab::TakesStops::Yes;
        let asks = if self.profile.by_person() {
            false
        } else {
            at_lab || (transfer.phase == TransferPhase::Unknown && takes)
        };
        if !asks || order.delivered || order.asks == 0 {
            return None;
        }
        next.orders[at].asks -= 1;
        Self::out(&mut next, by, Kind::Stop, Step::Out, &transfer, 1 << at).then_some(next)
    }

    /// `stop::settle`: what the lab, or a person there, said to a stop.
    pub(super) fn settle_stop(
        &self,
        s: &State,
        at: usize,
        word: Option<Word>,
        asked: Option<&Call>,
        who: Who,
    ) -> State {
        let mut next = *s;
        let answer = word.map_or_else(rules::unclear, rules::answer);
        let Some(state) = s.orders[at].stop else { return next };
        let person = who != Who::Machine;
        let arrived = s.transfer.is_some_and(|transfer| {
            matches!(transfer.phase, TransferPhase::AtLab | TransferPhase::WithAPerson)
        });
        let not_seen = who == Who::Person && word == Some(Word::Removed) && !arrived;
        if let Some((state, evidence)) = rules::settle_stop(state, &answer, person).filter(|_| !not_seen) {
            let stopped = person && state == StopState::Stopped;
            let evidence = if stopped { Some(Evidence::PersonConfirmed) } else { evidence };
            Self::stand(&mut next, at, state, evidence);
            next.orders[at].printed |= word == Some(Word::Printed) && next.orders[at].joined;
            if let Some(was) = next.transfer
                && let Some(moved) = rules::settle(&was, &self.profile, was.fence, &answer)
            {
                self.moved(&mut next, moved, false);
            }
            return next;
        }
        if state.is_decided() {
            let contrary = matches!(
                (word, state),
                (Some(Word::Printed), StopState::Stopped) | (Some(Word::Removed), StopState::TooLate)
            );
            next.broken |= if contrary { broken::ALARM } else { 0 };
            next.orders[at].printed |= word == Some(Word::Printed) && next.orders[at].joined;
            return next;
        }
        if let (Some(Word::NotFound), Some(call), Some(was)) = (word, asked, s.transfer)
            && let Some(moved) = self.absent(&was, *call)
        {
            self.moved(&mut next, moved, false);
        }
        if word == Some(Word::Later) && state == StopState::Pending {
            next.orders[at].delivered = true;
        }
        next
    }

    /// `report::report`: the lab says that it printed an order.
    pub(super) fn report(&self, s: &State, at: usize) -> Option<State> {
        let order = &s.orders[at];
        if order.printed || s.lab.all(|job| job.printed) & 1 << at == 0 {
            return None;
        }
        let mut next = *s;
        let stop = order.stop;
        if stop == Some(StopState::Stopped) || !order.joined {
            next.broken |= broken::ALARM;
        }
        next.orders[at].printed = order.joined;
        if let Some(was) = s.transfer
            && let Some(moved) = rules::settle(&was, &self.profile, was.fence, &rules::answer(Word::Printed))
        {
            self.moved(&mut next, moved, false);
        }
        if stop.is_some_and(|stop| !stop.is_decided()) && next.orders[at].stop == stop {
            Self::stand(&mut next, at, StopState::TooLate, Some(Evidence::InProduction));
        }
        Some(next)
    }

    /// `evidence::resolve` of a transfer. People are taken at their word, and speak the truth: that it is there when it
    /// is, and that it is not, and nothing on its way, once nothing can be on its way.
    pub(super) fn person_decides(&self, s: &State) -> Option<State> {
        let was = s.transfer.filter(|transfer| transfer.phase == TransferPhase::WithAPerson)?;
        let mut next = *s;
        let there = s.lab.all(|job| job.live | job.printed | job.removed) != 0;
        let quiet = was.horizon || self.makes(PersonTooEarly) || self.makes(HorizonTooEarly);
        let decision = if there {
            Next {
                phase: TransferPhase::AtLab,
                fence: was.fence.into(),
                unresolved: 0,
                attempts: was.attempts.into(),
            }
        } else if quiet && s.left.anew > 0 {
            next.left.anew -= 1;
            next.transfer = Some(Transfer { late: false, ..was });
            Next { attempts: 0, ..closed(&was, was.fence + 1) }
        } else {
            return None;
        };
        self.moved(&mut next, decision, false);
        Some(next)
    }
}

/// Who speaks about a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The lab's endpoint.
    Machine,
    /// The lab's people, about what was asked of them.
    Person,
    /// A person who took what the machines could not find out.
    Resolver,
}

fn closed(was: &Transfer, fence: u8) -> Next {
    Next { phase: TransferPhase::Closed, fence: fence.into(), unresolved: 0, attempts: was.attempts.into() }
}
