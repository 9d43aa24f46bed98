//! Time, and what goes wrong with it and with hosts: it passes, clocks are set, gateways start again, the database is
//! away.

use jiff::Timestamp;
use stoppress::domain::lab::{Answer, Dedupes};

use super::hub::Call;
use super::kinds::Kind;
use super::ledger::{Mood, Request};
use super::play::Play;

impl Play {
    /// An instant to go on to.
    pub(crate) fn instant(&self) -> i64 {
        let (now, wake) = {
            let state = self.hub.state();
            (state.now, state.next_wake())
        };
        let later = |by: i64| now + by;
        match self.dice.below(if self.plan.patient { 5 } else { 10 }) {
            0..4 => wake.map_or(later(1_000_000), |wake| wake.max(now)),
            4..6 => later(self.dice.long(2_000_000)),
            6..8 => later(self.dice.long(120_000_000)),
            _ => {
                let common = self.hub.state().common;
                let at = Timestamp::from_microsecond(now + common).unwrap_or_default();
                let lab = &self.labs[self.dice.below(self.labs.len())];
                let next = lab.places[0].calendar.next_cutoff(at);
                let next = next.map_or(now, |next| next.at.as_microsecond() - common);
                // Close to a cutoff is where it gets narrow.
                if next - now > 3_600_000_000 {
                    later(self.dice.long(120_000_000))
                } else {
                    (next + self.dice.long(2_000_001) - 1_500_000).max(now)
                }
            }
        }
    }

    /// How long a stop may take until it is decided, where several hosts share a database: whoever says nothing for
    /// longer than [`stoppress::store::GONE_AFTER`] counts as gone.
    fn patience(&self, to: i64) -> i64 {
        let state = self.hub.state();
        match state.asking_since().filter(|_| self.store.shared()) {
            Some(since) => to.min(since + 6_000_000).max(state.now),
            None => to,
        }
    }

    /// Lets time pass; what is due meanwhile happens at its time.
    pub(crate) fn advance(&mut self, to: i64) {
        let to = self.patience(to);
        loop {
            let mut state = self.hub.state();
            let due = |call: &Call| {
                let deadline = call.is_awaited().then_some(call.deadline);
                let latest = (call.copies > 0).then_some(call.latest);
                deadline.into_iter().chain(latest).min()
            };
            let next = state.calls.iter().enumerate().filter_map(|(at, call)| Some((due(call)?, at))).min();
            let Some((when, at)) = next.filter(|(when, _)| *when <= to) else {
                state.now = to.max(state.now);
                break;
            };
            state.now = when.max(state.now);
            if state.calls[at].is_awaited() && state.calls[at].deadline <= when {
                let nth = state.calls[at].replica;
                Self::reply(&mut state, at, Answer::Unclear { cause: "timed out".to_owned() });
                drop(state);
                self.go_on(nth);
            } else if self.dice.hits(700) {
                // As late as it can be.
                state.arrives(at, Mood::default());
            } else {
                state.calls[at].copies = 0;
            }
        }
        let mut state = self.hub.state();
        let line = format!("it is {}", Timestamp::from_microsecond(state.now).unwrap_or_default());
        state.tell(line);
        state.wake();
        drop(state);
        self.go_on_all();
    }

    /// A clock is set, a gateway starts again, the database goes away.
    pub(crate) fn disturb(&mut self) {
        let down: Vec<usize> = (0..self.replicas.len()).filter(|nth| self.replicas[*nth].is_none()).collect();
        if let Some(nth) = self.dice.pick(&down).copied()
            && self.dice.hits(700)
        {
            let replica = self.begin(nth);
            self.replicas[nth] = Some(replica);
            return;
        }
        let rates = self.plan.rates.clone();
        if rates.power > 0 && self.dice.hits(rates.power) {
            self.lose_power();
        } else if rates.zones > 0 && self.dice.hits(rates.zones) {
            self.renew_zones();
        } else if rates.outage > 0 && self.dice.hits(rates.outage * 10) {
            let mut state = self.hub.state();
            let until = state.now + self.dice.long(40_000_000);
            self.outage = Some((until, self.dice.hits(500)));
            state.tell("the database goes away".to_owned());
        } else if rates.clock > 0 {
            self.set_clocks();
            self.go_on_all();
        }
    }

    fn set_clocks(&self) {
        let mut state = self.hub.state();
        let count = state.offsets.len();
        let counts = |request: &Request| matches!(request, Request::Submit { .. } | Request::Readdress(_));
        let under_way = state.calls.iter().any(|call| call.copies > 0 && counts(&call.request));
        if self.dice.hits(250) && !under_way && !self.store.shared() {
            // A step of all hosts, as when their common source of time was wrong. What a horizon counts on is
            // that no copy is under way meanwhile; what is sent again under a key that expires, that clocks are not
            // set back while the outcome is unknown by more than the margin of a horizon.
            let mut step: i64 = [300, -300, 3600, -3600, 900][self.dice.below(5)] * 1_000_000;
            let expires = |kind: &Kind| matches!(kind.profile().dedupes, Dedupes::Window(_));
            if self.plan.kinds.iter().any(expires) && self.oracle.is_unsure() {
                step = step.abs();
            }
            state.common += step;
            state.offsets.iter_mut().for_each(|offset| *offset += step);
            state.tell(format!("all clocks are set by {} s", step / 1_000_000));
        } else {
            let nth = self.dice.below(count);
            let most = if self.store.shared() { 3_000_000 } else { 25_000_000 };
            let to = state.common + self.dice.long(most);
            let by = to - state.offsets[nth];
            state.offsets[nth] = to;
            state.tell(format!("the clock of gateway {nth} is set by {} ms", by / 1000));
        }
        state.wake();
    }
}
