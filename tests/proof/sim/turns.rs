//! Whose turn it is: how a call to the store goes on, and what happens to a call on its way to a lab.

use stoppress::domain::lab::Answer;

use super::hub::{Follower, Pass, State};
use super::ledger::{Mood, Request};
use super::play::Play;

impl Play {
    /// The calls to the store that can be let through: in a story about addresses, none of a host that stands still. In the
    /// others these are drawn too, and wait.
    pub(crate) fn gates(&self, state: &State) -> Vec<usize> {
        let still = self.frozen.filter(|(_, until)| self.is_about_addresses() && state.now < *until);
        let moves = |at: &usize| still.is_none_or(|(nth, _)| state.gates[*at].replica != nth);
        (0..state.gates.len()).filter(moves).collect()
    }

    /// Lets a call to the store through, in one of the ways in which that can end.
    pub(crate) fn let_through(&mut self) {
        let gates = self.gates(&self.hub.state());
        let Some(at) = self.dice.pick(&gates).copied() else { return };
        let rates = self.plan.rates.clone();
        let (crash, database) = if self.calm { (0, 0) } else { (rates.crash, rates.database) };
        let mut state = self.hub.state();
        let held = state.would_wait(state.gates[at].replica, state.gates[at].claim);
        if held && (state.holds_one() || !self.dice.hits(300)) {
            return;
        }
        let nth = state.gates[at].replica;
        let (now, writes) = (state.now, state.gates[at].writes.is_some());
        let frozen = self.frozen.filter(|(_, until)| now < *until);
        if frozen.is_some_and(|(who, _)| who == nth) {
            return;
        }
        let ticket = state.gates[at].ticket;
        let word = state.gates[at].says_where().filter(|_| !self.calm);
        if !self.calm
            && frozen.is_none()
            && ticket != self.thawed
            && ((rates.freeze > 0 && state.gates[at].says_absent() && self.dice.hits(rates.freeze))
                || word.as_ref().is_some_and(|word| self.freezes(word)))
        {
            self.thawed = ticket;
            // Just as it would write what it was answered: longer than a lease.
            self.frozen = Some((nth, now + 60_000_000 + self.dice.long(400_000_000)));
            state.tell(format!("the host of gateway {nth} stops for a while"));
            return;
        }
        let away = self.outage.filter(|(until, only)| now < *until && (writes || !only));
        let pass = if away.is_some() {
            Pass::Fail("the database is away, or its disk is full")
        } else if held {
            Pass::Go
        } else if self.dice.hits(crash) {
            if self.dice.hits(500) {
                drop(state);
                return self.crash(nth);
            }
            Pass::GoThenCrash
        } else if let Some(word) = word.filter(|word| self.goes_unheard(word)) {
            self.unheard.insert(word);
            Pass::GoThenFail
        } else if self.dice.hits(database) {
            if writes && self.dice.hits(400) { Pass::GoThenFail } else { Pass::Fail("the connection broke") }
        } else {
            Pass::Go
        };
        let gate = state.gates.remove(at);
        let pass = match pass {
            Pass::Go if writes && !held && self.dice.hits(300) => {
                let mut followers = Vec::new();
                while followers.len() < 3 {
                    let other = state.gates.iter().position(|other| {
                        other.replica == nth && other.writes.is_some() && !state.would_wait(nth, other.claim)
                    });
                    let Some(other) = other.map(|at| state.gates.remove(at)) else { break };
                    state.tell(format!("  with {}", other.what));
                    let writes = other.writes.unwrap_or_default();
                    followers.push(Follower { ticket: other.ticket, writes, answer: other.answer });
                }
                if followers.is_empty() { Pass::Go } else { Pass::Lead(followers) }
            }
            pass => pass,
        };
        let how = match &pass {
            Pass::Fail(_) => " fails",
            Pass::GoThenFail => " is made and fails",
            Pass::GoThenCrash => " is its last",
            _ => "",
        };
        self.wrote |= writes;
        state.hears(&gate, &pass);
        let line = format!("gateway {nth}: {}{how}", gate.what);
        state.tell(line);
        state.release(gate, pass);
        drop(state);
        self.go_on(nth);
    }

    /// Something happens to a call on its way.
    pub(crate) fn network(&mut self) {
        let at = self.dice.below(self.hub.state().calls.len());
        let rates = if self.calm { super::plan::Rates::default() } else { self.plan.rates.clone() };
        // A refusal that does not stick to the key proves nothing if the network makes copies: no gateway survives
        // both.
        let at_the_door = rates.twice == 0;
        let mood = Mood {
            refuses: self.dice.hits(rates.refuse),
            at_the_door,
            later: self.dice.hits(rates.later),
            wavers: false,
        };
        let unclear = |cause: &str| Answer::Unclear { cause: cause.to_owned() };
        let mut state = self.hub.state();
        let call = &state.calls[at];
        let (nth, awaited, reached) = (call.replica, call.is_awaited(), call.said.is_some());
        let (elsewhere, mood) = match &call.request {
            Request::Readdress(asked) => {
                (true, self.address_mood(at_the_door, state.ledger.parcels.knows(asked)))
            }
            _ => (false, mood),
        };
        let dedupes =
            state.ledger.houses.get(call.lab).is_some_and(|house| house.kind.profile().dedupes.truly());
        let mut reply = None;
        if call.copies > 0 && !awaited && !self.calm && self.dice.hits(850) {
            // Late is late.
            return;
        }
        if call.copies > 0 && !(reached && awaited) {
            if awaited && !reached && self.dice.hits(rates.unreachable) {
                state.calls[at].copies = 0;
                reply = Some(Answer::Unreachable { cause: "connection refused".to_owned() });
            } else if awaited && !reached && self.dice.hits(rates.late) {
                reply = Some(unclear("the connection broke"));
            } else if self.dice.hits(rates.loss) {
                let line = format!("lost: {:?}", state.calls[at].request);
                state.tell(line);
                state.calls[at].copies -= 1;
            } else {
                // Of addresses every lab knows again what it was asked.
                if (dedupes || elsewhere) && call.copies < 3 && self.dice.hits(rates.twice) {
                    state.calls[at].copies += 1;
                }
                state.arrives(at, mood);
            }
        } else if awaited
            && reached
            && !matches!(call.request, Request::Submit { .. })
            && self.dice.hits(rates.slow_answer)
        {
            return;
        } else if awaited && reached && !self.dice.hits(rates.lost_answer) {
            let said = state.calls[at].said.clone();
            reply = said.map(|said| said.answer);
        } else if awaited {
            reply = Some(unclear("the connection broke"));
        }
        if let Some(answer) = reply {
            Self::reply(&mut state, at, answer);
            drop(state);
            self.go_on(nth);
        }
    }

    pub(crate) fn reply(state: &mut State, at: usize, answer: Answer) {
        let line =
            format!("gateway {} hears {answer:?} to: {:?}", state.calls[at].replica, state.calls[at].request);
        state.tell(line);
        if let Some(caller) = state.calls[at].caller.take() {
            let _ = caller.send(answer.into());
        }
    }
}
