//! Which events a reader of the log wants: over HTTP and gRPC alike.

use crate::domain::Fault;
use crate::domain::event::fits;
use crate::domain::ids::{LabId, OrderId};
use crate::store::Sighting;

/// The most patterns.
const KINDS_MAX: usize = 50;
const KINDS: &str = "1 to 50 of `*`, a family such as `stop.*`, or a kind such as `stop.stopped`";

/// Everything that fits all of it. What does not is looked at and passed over: a reader goes on behind it.
#[derive(Debug, Clone, Default)]
pub(super) struct EventFilter {
    kinds: Vec<String>,
    order: Option<OrderId>,
    lab: Option<LabId>,
}

impl EventFilter {
    /// A filter of texts: kinds or families, an order, a lab; what is empty asks for nothing.
    ///
    /// # Errors
    /// What is wrong, by the name of the field.
    pub(super) fn checked(kinds: Vec<String>, order: &str, lab: &str) -> Result<Self, Fault> {
        if kinds.len() > KINDS_MAX {
            return Err(Fault::not("kind", kinds.len(), KINDS));
        }
        if let Some(wrong) = kinds.iter().find(|kind| !is_pattern(kind)) {
            return Err(Fault::not("kind", wrong, KINDS));
        }
        let order = (!order.is_empty()).then(|| OrderId::parse(order)).transpose();
        let lab = (!lab.is_empty()).then(|| LabId::parse(lab)).transpose();
        let named = |field: &'static str| move |fault: Fault| Fault::new(field, fault.message);
        Ok(Self { kinds, order: order.map_err(named("order"))?, lab: lab.map_err(named("lab"))? })
    }

    /// Whether it is wanted.
    pub(super) fn takes(&self, sighting: &Sighting) -> bool {
        let Self { kinds, order, lab } = self;
        let event = &sighting.event;
        (kinds.is_empty() || kinds.iter().any(|pattern| fits(pattern, &event.kind)))
            && lab.as_ref().is_none_or(|lab| event.lab == lab.as_str())
            && order.as_ref().is_none_or(|order| {
                event.subject == order.as_str() || sighting.orders.iter().any(|one| one.order == *order)
            })
    }
}

fn is_pattern(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.len() <= 40 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    text == "*"
        || text.split_once('.').is_some_and(|(family, kind)| word(family) && (kind == "*" || word(kind)))
}
