//! The person at the desk: takes what the machine could not decide, telephones the lab, and answers
//! through the API. Some cases stay on the desk, as they do.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::house::{House, Staff};
use super::wire::{Escalation, Odd};
use crate::cli::simulate::ledger::{Said, What};
use crate::domain::batch::later;
use crate::domain::ids::EscalationId;

/// So long a case waits for somebody to take it up, if it is not due before.
const TAKES_UP: SignedDuration = SignedDuration::from_mins(25);
/// Every so many stops, one is left open.
const LEFT_OPEN: usize = 6;

/// The desk.
#[derive(Debug, Default)]
pub(super) struct Desk {
    cases: BTreeMap<EscalationId, Case>,
    stops: usize,
    /// Decisions made, by kind and decision.
    pub decided: BTreeMap<String, usize>,
    /// Cases that are left open on purpose.
    pub left: usize,
}

#[derive(Debug)]
struct Case {
    escalation: Escalation,
    /// When it is decided; never, if it is left open.
    at: Option<Timestamp>,
}

impl Desk {
    /// Looks at what is open.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub(super) async fn look(&mut self, house: &House) -> Result<(), Odd> {
        let now = house.now();
        let open: Vec<Escalation> = house.ops.all(&["escalations"], "escalations", "open=true").await?;
        self.cases.retain(|id, _| open.iter().any(|escalation| escalation.id == *id));
        for escalation in open.into_iter().rev() {
            if self.cases.contains_key(&escalation.id) {
                continue;
            }
            let mut at = later(escalation.opened_at, TAKES_UP);
            if escalation.due_at > now {
                at = at.min(escalation.due_at);
            }
            let mut at = Some(at.max(now));
            if escalation.kind == "stop" {
                self.stops += 1;
                if self.stops.is_multiple_of(LEFT_OPEN) {
                    self.left += 1;
                    at = None;
                }
            }
            self.cases.insert(escalation.id.clone(), Case { escalation, at });
        }
        Ok(())
    }

    /// When the next case is decided.
    #[must_use]
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.cases.values().filter_map(|case| case.at).min()
    }

    /// Decides what is due.
    ///
    /// # Errors
    /// If the gateway does not answer.
    pub(super) async fn decide(&mut self, house: &House) -> Result<(), Odd> {
        let now = house.now();
        let due: Vec<_> = self
            .cases
            .values()
            .filter(|case| case.at.is_some_and(|at| at <= now))
            .map(|case| case.escalation.clone())
            .collect();
        for case in due {
            let Some(staff) = house.lab(case.lab.as_str()) else { continue };
            let Some((decision, reason)) = judge(staff, &case) else {
                // Nobody can say yet: they telephone again.
                if let Some(case) = self.cases.get_mut(&case.id) {
                    case.at = Some(later(now, TAKES_UP));
                }
                continue;
            };
            let body = json!({ "decision": decision, "reason": reason });
            let reply = house.ops.post(&["escalations", case.id.as_str(), "resolve"], &body).await?;
            // 409: the lab's own answer was quicker.
            if reply.status != 409 {
                reply.read::<serde_json::Value>("POST escalations/…/resolve")?;
                *self.decided.entry(format!("{} {}", case.kind, decision.replace('_', " "))).or_default() +=
                    1;
            }
            self.cases.remove(&case.id);
        }
        Ok(())
    }
}

/// What the lab says on the telephone. Where an order can still be taken out by hand, it is.
///
/// `None` if the lab has never got an order: it may be on its way again, so that "they do not have it"
/// is no reason to tell anybody that it is stopped. What became of its transfer decides.
fn judge(staff: &Staff, case: &Escalation) -> Option<(&'static str, &'static str)> {
    match (case.kind.as_str(), &case.order) {
        ("stop", Some(order)) => match staff.lab.take_out(order.as_str(), &case.subject) {
            Ok(Said::WillPrint) => Some(("too_late", "by telephone: it is printed")),
            Ok(Said::Removed) => Some(("stopped", "by telephone: taken out of the pile")),
            _ => None,
        },
        ("transfer", _) => {
            let ledger = staff.lab.ledger();
            let there = ledger.entries().iter().any(
                |entry| matches!(&entry.what, What::Received { transfer, .. } if *transfer == case.subject),
            );
            Some(if there {
                ("handed_over", "by telephone: they have it")
            } else {
                ("not_handed", "by telephone: they do not have it, and nothing is on its way")
            })
        }
        _ => Some(("noted", "seen")),
    }
}
