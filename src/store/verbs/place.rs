//! Where the log of an order stands within a transaction, and a stop that becomes final there.
//!
//! An order may have several stops that end at once: one of its own, and some of lines. Each continues the log
//! behind the one before, and the standing is written once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Trail;
use super::stop::{Standing, kind, micros};
use crate::domain::event::Actor;
use crate::domain::ids::OrderId;
use crate::domain::lines::in_part;
use crate::domain::stop::{Evidence, StopFacts, StopState};

/// The standing of an order while its stops move.
#[derive(Debug, Clone)]
pub(super) struct Place {
    order: OrderId,
    was: String,
    /// The newest entry of its log.
    pub(super) head: String,
    /// Its lines that are stopped.
    pub(super) lines_out: Vec<String>,
    /// How its own stop stands from now on; `None`: as before.
    pub(super) stop: Option<StopState>,
    changed: bool,
}

impl Place {
    pub(super) fn new(order: &OrderId, head: &str, lines_out: Vec<String>) -> Self {
        let (was, head) = (head.to_owned(), head.to_owned());
        Self { order: order.clone(), was, head, lines_out, stop: None, changed: false }
    }

    pub(super) fn of(standing: &Standing) -> Self {
        Self::new(&standing.id, &standing.head, standing.lines_out.clone())
    }

    /// The same, where its log has gone on to `head`.
    pub(super) fn moved(standing: &Standing, head: String) -> Self {
        Self { head, ..Self::of(standing) }
    }

    /// Takes lines out.
    pub(super) fn take_out(&mut self, items: &[String]) {
        let new: Vec<String> = items.iter().filter(|id| !self.lines_out.contains(id)).cloned().collect();
        self.changed |= !new.is_empty();
        self.lines_out.extend(new);
    }

    /// The row that `standing_stop` takes.
    pub(super) fn row(&self) -> Value {
        json!({
            "id": self.order, "was": self.was, "head": self.head, "stop": self.stop.map(StopState::code),
            "lines_out": self.changed.then(|| json!(self.lines_out).to_string()),
        })
    }
}

/// The places of several orders.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, Place>);

impl Places {
    /// The place of an order; the first who names it says how it was read.
    pub(super) fn at(&mut self, order: &OrderId, head: &str, lines_out: Vec<String>) -> &mut Place {
        self.0.entry(order.to_string()).or_insert_with(|| Place::new(order, head, lines_out))
    }

    /// The place of an order that was named before.
    pub(super) fn get(&mut self, order: &OrderId) -> Option<&mut Place> {
        self.0.get_mut(order.as_str())
    }

    /// The rows of those that moved.
    pub(super) fn rows(&self) -> Vec<Value> {
        self.0.values().filter(|place| place.head != place.was).map(Place::row).collect()
    }
}

/// The row that `stop_update` takes.
pub(super) fn stop_row(facts: &StopFacts, was: StopState) -> Value {
    json!({
        "id": facts.id, "was": was.code(), "state": facts.state.code(), "evidence": facts.evidence.map(Evidence::word),
        "decided_at": facts.decided_at.map(micros), "next_at": micros(facts.next_at), "attempts": facts.attempts,
        "delivered_at": facts.delivered_at.map(micros), "handed_at": facts.handed_at.map(micros), "answer": facts.answer,
        "terms": facts.terms.as_ref().map(|terms| json!(terms).to_string()),
    })
}

/// What the log says of a stop beside its state: whose lines, and what it brings.
pub(super) fn about(detail: &mut Value, facts: &StopFacts) {
    if let Some(items) = &facts.items {
        detail["items"] = json!(items);
    }
    if let Some(terms) = facts.brings().filter(|_| facts.state.is_decided()) {
        detail["consequences"] = json!(terms);
    }
}

/// A stop that becomes final.
pub(super) struct Decided<'a> {
    /// Of a whole order; of lines it is [`in_part`].
    pub(super) state: StopState,
    pub(super) evidence: Option<Evidence>,
    pub(super) answer: Option<&'a str>,
    pub(super) at: Timestamp,
    pub(super) actor: &'a Actor,
}

impl Decided<'_> {
    /// Changes the facts and the place, writes the entry, and gives the row for the stop.
    pub(super) fn apply(
        &self,
        trail: &mut Trail,
        facts: &mut StopFacts,
        lab: &str,
        place: &mut Place,
    ) -> Value {
        let was = facts.state;
        facts.state = in_part(self.state, facts.items.as_deref());
        facts.evidence = self.evidence;
        facts.answer = self.answer.map(str::to_owned).or(facts.answer.take());
        facts.decided_at = (self.state != StopState::WithAPerson).then_some(self.at);
        let mut detail = json!({"stop": facts.id, "evidence": self.evidence, "answer": self.answer});
        about(&mut detail, facts);
        place.head = trail.add(
            &place.head,
            self.at,
            (facts.order.as_str(), lab),
            kind(facts.state),
            self.actor,
            &detail,
        );
        match (&facts.items, facts.state) {
            (None, state) => place.stop = Some(state),
            (Some(items), StopState::StoppedInPart) => place.take_out(items),
            (Some(_), _) => {}
        }
        stop_row(facts, was)
    }
}
