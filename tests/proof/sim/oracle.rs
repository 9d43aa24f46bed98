//! Who knows better than the gateways: reads the log as it grows, holds it against the ledgers of the labs, and says
//! what must never be.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stoppress::domain::event::Event;
use stoppress::domain::ids::OrderId;
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::StopOutcome;

use super::addresses::Said;
use super::cast::End;
use super::hub::State;
use super::ledger::short;

/// How often each step of the protocol was taken.
pub(crate) type Edges = BTreeMap<String, u64>;

/// What the log has said so far.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// The last entry that was read.
    pub(crate) seen: i64,
    heads: BTreeMap<String, String>,
    phases: BTreeMap<String, String>,
    stops: BTreeMap<String, String>,
    /// Batches that have closed, and those that ops let go before their cutoff.
    closed: BTreeSet<String>,
    pub(crate) released: BTreeSet<String>,
    /// When each batch closes, as it was promised.
    promised: BTreeMap<String, Timestamp>,
    /// How often each transfer was to be sent by the log, and how often an upload of it began.
    sendings: BTreeMap<String, u64>,
    begun: BTreeMap<String, u64>,
    /// The entry by which each was claimed last.
    claimed: BTreeMap<String, i64>,
    references: BTreeMap<usize, OrderId>,
    pub(crate) edges: Edges,
    /// The kinds of entries that were seen.
    pub(crate) kinds: Edges,
}

fn text<'a>(event: &'a Event, field: &str) -> &'a str {
    event.detail[field].as_str().unwrap_or_default()
}

fn is_final(state: &str) -> bool {
    matches!(state, "stopped" | "stopped_in_part" | "too_late")
}

impl Oracle {
    fn edge(&mut self, edge: String) {
        *self.edges.entry(edge).or_default() += 1;
    }

    /// Reads an entry of the log.
    pub(crate) fn read(&mut self, state: &mut State, event: &Event) {
        self.seen = event.seq;
        *self.kinds.entry(event.kind.clone()).or_default() += 1;
        state.tell(format!("log: {} {} {}", event.kind, short(&event.subject), shown(event)));
        state.ledger.received.wants(event);
        let head = self.heads.insert(event.subject.clone(), event.hash.clone()).unwrap_or_default();
        if head != event.previous {
            state.faults.push(format!("entry {} does not continue the log of {}", event.seq, event.subject));
        }
        match event.kind.split_once('.') {
            Some(("transfer", phase)) => self.transfer(event, phase),
            Some(("stop", word)) => self.stop(state, event, word),
            Some(("batch", word)) => self.batch(state, event, word),
            Some(("address", word)) => {
                let shown = state.shown();
                let State { ledger, faults, .. } = state;
                let within = ledger.answers_within(&event.lab);
                if let Some(edge) = ledger.parcels.read(event, (word, within), shown, faults) {
                    self.edge(edge);
                }
            }
            Some(("escalation", "noted")) => self.edge(format!("person noted {}", text(event, "kind"))),
            Some(("order", "reinstated")) => {
                if let Ok(order) = OrderId::parse(&event.subject) {
                    state.ledger.told.entry(order).or_default().stopped = false;
                }
                self.edge("stop stopped -> none by ops".to_owned());
            }
            _ => {}
        }
    }

    fn transfer(&mut self, event: &Event, phase: &str) {
        if phase == "answer" {
            return;
        }
        let was = self.phases.insert(event.subject.clone(), phase.to_owned());
        let was = was.unwrap_or_else(|| "none".to_owned());
        let answer = event.detail["answer"]["answer"].as_str();
        let source = event.detail["source"].as_str();
        let by = match (answer, source) {
            (Some(answer), Some(source)) => format!("{source} {answer}"),
            (Some(answer), None) => format!("stop {answer}"),
            (None, _) if !text(event, "decision").is_empty() => format!("person {}", text(event, "decision")),
            (None, _) if text(event, "cause") == "its sender is gone" => "take-over".to_owned(),
            (None, _) if event.actor.starts_with("lab:") => "report".to_owned(),
            _ => "claim".to_owned(),
        };
        if phase == "sending" {
            *self.sendings.entry(event.subject.clone()).or_default() += 1;
            self.claimed.insert(event.subject.clone(), event.seq);
        }
        self.edge(format!("transfer {was} -> {phase} by {by}"));
    }

    fn stop(&mut self, state: &mut State, event: &Event, word: &str) {
        let known = StopState::ALL.iter().any(|state| state.word() == word);
        if word == "contradicted" {
            self.edge("stop contradicted".to_owned());
        }
        if !known {
            return;
        }
        let stop = text(event, "stop").to_owned();
        let was = self.stops.insert(stop.clone(), word.to_owned()).unwrap_or_else(|| "none".to_owned());
        let evidence = text(event, "evidence");
        if is_final(&was) || (was == "with_a_person" && word == "pending") {
            state.faults.push(format!("stop {stop} was told {was}, and now {word}"));
        }
        self.edge(format!("stop {was} -> {word} {evidence}").trim_end().to_owned());
        let Ok(order) = OrderId::parse(&event.subject) else { return };
        let told = state.ledger.told.entry(order.clone()).or_default();
        match word {
            "stopped" => told.stopped = true,
            "stopped_in_part" => {
                let items = event.detail["items"].as_array().into_iter().flatten();
                told.lines_out.extend(items.filter_map(|item| item.as_str().map(str::to_owned)));
            }
            _ => return,
        }
        (told.evidence, told.seq) = (evidence.to_owned(), event.seq);
        if evidence.is_empty() {
            state.faults.push(format!("stop {stop} was told {word} on no evidence"));
        }
        if let Some(wrong) = state.ledger.wrong(&order) {
            state.faults.push(wrong);
        }
    }

    fn batch(&mut self, state: &mut State, event: &Event, word: &str) {
        if word == "released" {
            self.released.insert(event.subject.clone());
        }
        let shown = text(event, if word == "postponed" { "to" } else { "closes_at" });
        if let Ok(at) = shown.parse::<Timestamp>() {
            let before = self.promised.insert(event.subject.clone(), at);
            if before.is_some_and(|before| at < before) {
                state
                    .faults
                    .push(format!("the cutoff of batch {} was promised, and is earlier", event.subject));
            }
        }
        if matches!(word, "closed" | "released") {
            if !self.closed.insert(event.subject.clone()) {
                state.faults.push(format!("batch {} closes twice", event.subject));
            }
            let closes_at = text(event, "closes_at").parse::<Timestamp>();
            let early = closes_at.is_ok_and(|at| event.at < at || state.high < at.as_microsecond());
            if word == "closed" && early {
                state.faults.push(format!("batch {} closes before its cutoff", event.subject));
            }
        }
        let late = event.detail["late_ms"].as_i64().is_some_and(|late| late > 60_000);
        self.edge(format!("batch {word}{}", if late { " late" } else { "" }));
    }

    /// Looks at an answer that somebody was given.
    pub(crate) fn hear(&mut self, state: &mut State, end: &End) {
        match end {
            End::Admitted { reference, id, .. } | End::Replaced { reference, id, .. } => {
                let first = self.references.entry(*reference).or_insert_with(|| id.clone());
                if first != id {
                    state.faults.push(format!("R-{reference} is {first}, and now {id}"));
                }
            }
            End::Stop { order, batch, promised, outcome } => {
                let (StopOutcome::Asked(facts) | StopOutcome::Already(facts)) = &**outcome else { return };
                let known = self.stops.get(facts.id.as_str()).map(String::as_str);
                // What is told is what the log says, or what it said before.
                if known.is_none_or(|known| is_final(facts.state.word()) && known != facts.state.word()) {
                    state.faults.push(format!(
                        "{} was told of stop {}, and the log says {known:?}",
                        facts.state.word(),
                        facts.id
                    ));
                }
                let released = batch.as_ref().is_some_and(|batch| self.released.contains(batch.as_str()));
                let never = matches!(facts.state, StopState::Stopped | StopState::StoppedInPart)
                    && facts.evidence == Some(Evidence::NeverHanded);
                if *promised && !released && matches!(**outcome, StopOutcome::Asked(_)) && !never {
                    state.faults.push(format!(
                        "a stop of {order} was asked before the promised cutoff, and is {} {:?}",
                        facts.state.word(),
                        facts.evidence
                    ));
                }
            }
            End::Readdressed { order, said, contradicted } => {
                self.edge(super::addresses::edge(said));
                if matches!(said, Said::Unchanged) && *contradicted {
                    state.faults.push(format!(
                        "the platform of {order} was told that its parcel goes there, and its lab says both"
                    ));
                }
                if let Said::Asked(id) | Said::Open(id) = said
                    && state.ledger.parcels.stands(id.as_str()).is_none()
                {
                    state
                        .faults
                        .push(format!("the platform of {order} was told of {id}, and the log was not"));
                }
            }
            _ => {}
        }
    }

    /// Whether the outcome of a hand-over is open.
    pub(crate) fn is_unsure(&self) -> bool {
        self.phases.values().any(|phase| matches!(phase.as_str(), "sending" | "unknown"))
    }

    /// An upload has begun: each of them must have been written down before, and before the stop of what it names though
    /// that was told stopped.
    pub(crate) fn begins(&mut self, state: &mut State, transfer: &str, stopped: &[OrderId]) {
        let begun = self.begun.entry(transfer.to_owned()).or_default();
        *begun += 1;
        if *begun > self.sendings.get(transfer).copied().unwrap_or_default() {
            state.faults.push(format!("an upload of {transfer} begins that is not in the log"));
        }
        let claimed = self.claimed.get(transfer).copied().unwrap_or_default();
        for order in stopped {
            if state.ledger.told.get(order).is_some_and(|told| told.seq < claimed) {
                state.faults.push(format!("{transfer} was claimed with {order}, which was told stopped"));
            }
        }
    }

    /// How a stop stands.
    pub(crate) fn stands(&self, stop: &str) -> Option<&str> {
        self.stops.get(stop).map(String::as_str)
    }
}

/// What an entry is shown with.
fn shown(event: &Event) -> String {
    let mut parts = Vec::new();
    for field in ["evidence", "fence", "attempt", "cause", "was", "source", "closes_at", "stop", "decision"] {
        match &event.detail[field] {
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => parts.push(format!("{field}={}", short_of(text))),
            other => parts.push(format!("{field}={other}")),
        }
    }
    if let Some(answer) = event.detail["answer"]["answer"].as_str() {
        parts.push(format!("answer={answer}"));
    }
    parts.join(" ")
}

fn short_of(text: &str) -> &str {
    if text.len() > 34 { short(text) } else { text }
}
