//! When the answer to a stop is due: computed here, because the store knows no calendar.

use jiff::Timestamp;

use super::Api;
use crate::domain::hours::AnswerDue;
use crate::store::{OrderRef, Result, Scope};

impl Api {
    /// When the answer to a stop of this order is due that is asked now, where contact hours decide it.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn answer_due(
        &self,
        scope: &Scope,
        order: &OrderRef,
        at: Timestamp,
    ) -> Result<Option<AnswerDue>> {
        // Most gateways have no such lab: their stops are spared the look at the order.
        let counts =
            |entry: &super::registry::LabEntry| entry.lab.hours.is_some() && entry.lab.spec.people_answer();
        if !self.registry.snapshot().labs.values().any(|entry| counts(entry)) {
            return Ok(None);
        }
        let found = self.store.orders(scope, std::slice::from_ref(order)).await?.pop().flatten();
        // The lab and the region of an order never change.
        Ok(found.and_then(|facts| self.registry.lab(&facts.lab)?.lab.answer_due(&facts.region, at)))
    }
}
