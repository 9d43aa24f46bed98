//! What a customer was told before and what has become of it since: contradictions, stops that were set aside, and
//! who would be asked if the lab turned out to have the order.

use jiff::Timestamp;

use crate::api::Api;
use crate::api::problem::Answer;
use crate::api::stops;
use crate::domain::lab::{LabSpec, TakesStops};
use crate::domain::order::OrderFacts;
use crate::domain::stop::{StopFacts, StopState};
use crate::store::EscalationRow;

/// What the lab has said or done against what was told of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contradiction {
    /// Told stopped; it makes it, or has made it.
    Made,
    /// Told stopped; it says that it has it.
    There,
    /// Told too late; it says that it took it out.
    Removed,
}

impl Contradiction {
    /// Of the contradictions about an order and its transfer.
    pub(super) fn of(stop: &StopFacts, rows: &[EscalationRow]) -> Option<Self> {
        // What was told before the order was reinstated and stopped again is another matter.
        let mut since = rows.iter().filter(|row| row.opened_at >= stop.asked_at);
        match stop.state {
            StopState::Stopped if since.clone().any(|row| row.kind == "shipped_anyway") => Some(Self::Made),
            StopState::Stopped => since.next().map(|_| Self::There),
            StopState::StoppedInPart => since.any(|row| row.kind == "shipped_anyway").then_some(Self::Made),
            // That it has the order is what was told.
            StopState::TooLate => {
                since.any(|row| row.kind == "contradiction" && row.order.is_some()).then_some(Self::Removed)
            }
            StopState::Pending | StopState::WithAPerson => None,
        }
    }

    /// Of an order.
    pub(super) async fn find(api: &Api, facts: &OrderFacts) -> Answer<Option<Self>> {
        let Some(stop) = facts.stop.as_ref().filter(|stop| stop.state.is_decided()) else { return Ok(None) };
        Ok(Self::of(stop, &stops::contradictions(api, facts).await?))
    }
}

/// When an order was told stopped that was reinstated since, and for which no stop was asked again.
pub(super) async fn back_since(api: &Api, facts: &OrderFacts) -> Answer<Option<Timestamp>> {
    let others = facts.batch.as_ref().map_or(0, |batch| batch.version)
        + facts.transfer.as_ref().map_or(0, |transfer| transfer.version);
    // Nothing was ever changed on most orders.
    if facts.stop.is_some() || facts.version - others <= 1 {
        return Ok(None);
    }
    let log = api.store.log(&[facts.id.as_str()]).await?;
    let back = log.iter().rposition(|event| event.kind == "order.reinstated");
    let before = log.get(..back.unwrap_or_default()).unwrap_or_default();
    Ok(before.iter().rev().find(|event| event.kind == "stop.stopped").map(|event| event.at))
}

/// Who decides on a stop if the lab turns out to have the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    /// The lab is asked.
    Lab,
    /// A person is.
    Person,
    /// Nobody: what it has is final.
    Nobody,
}

impl Arrived {
    /// At a lab; of one that is not known any more a person decides.
    pub(super) fn at(lab: Option<&LabSpec>) -> Self {
        let Some(lab) = lab else { return Self::Person };
        match lab.policy.takes(lab.profile.stops) {
            TakesStops::FinalOnReceipt => Self::Nobody,
            TakesStops::Yes if !lab.profile_in_force().by_person() => Self::Lab,
            TakesStops::Yes | TakesStops::No => Self::Person,
        }
    }
}
