//! What is played: orders and cancellations with their instants, wherever they come from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ids::PlatformId;
use crate::domain::order::{Address, Handing, Item, ItemKind, Payment, Submission};

use super::cast;

/// A play from beginning to end.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Where it comes from, in a sentence.
    pub origin: String,
    /// Who sends orders.
    pub shops: Vec<Shop>,
    /// What happens, by its instant.
    pub acts: Vec<Act>,
    /// What was left out or changed, and why, with how many times.
    pub notes: BTreeMap<String, usize>,
    /// Lines that cannot be read, by their number.
    pub broken: Vec<String>,
    /// Whether some customers watch the clock, beside those in the script.
    pub watchers: bool,
}

/// A shop that sends orders: a platform of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shop {
    /// Its id.
    pub id: PlatformId,
    /// Its name.
    pub name: String,
}

/// Something that a shop does.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Which of the shops.
    pub shop: usize,
    /// What.
    pub deed: Deed,
}

/// What a shop does.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// It sends an order.
    Submit(Box<Submission>),
    /// It asks that an order be stopped.
    Cancel(Cancel),
}

/// A cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cancel {
    /// The order, as the shop names it.
    pub reference: String,
    /// Why.
    pub reason: String,
    /// Asked while the clock passes on: the answer may come after the cutoff.
    pub racing: bool,
}

impl Script {
    /// Counts something that was left out or changed.
    pub fn note(&mut self, what: &str, times: usize) {
        if times > 0 {
            *self.notes.entry(what.to_owned()).or_default() += times;
        }
    }

    /// Puts everything in the order in which it happens; what is at the same instant keeps its order.
    pub fn sort(&mut self) {
        self.acts.sort_by_key(|act| act.at);
    }

    /// How many orders it has.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.acts.iter().filter(|act| matches!(act.deed, Deed::Submit(_))).count()
    }

    /// How many cancellations it has.
    #[must_use]
    pub fn cancels(&self) -> usize {
        self.acts.len() - self.orders()
    }
}

/// An order for the lab that prints for the customer's country.
#[must_use]
pub(super) fn submission(
    reference: &str,
    country: &str,
    customer: &str,
    lines: &[(String, u32)],
) -> Submission {
    let (lab, region) = cast::route(country);
    let items = lines.iter().enumerate().map(|(nth, (sku, quantity))| Item {
        id: (nth + 1).to_string(),
        kind: ItemKind::Print,
        sku: sku.clone(),
        quantity: *quantity,
        personalised: true,
        files: Vec::new(),
        options: BTreeMap::new(),
    });
    Submission {
        reference: reference.to_owned(),
        lab: Some(lab),
        region: Some(region),
        need: None,
        service_level: None,
        transfer: Handing::Batch,
        payment: Payment::Paid,
        ship_to: Some(Address {
            name: customer.to_owned(),
            line1: "1 Example Street".to_owned(),
            city: "Example".to_owned(),
            country: country.to_owned(),
            ..Address::default()
        }),
        bill_to: None,
        items: items.collect(),
        customer: None,
        metadata: BTreeMap::new(),
        thumbnails: BTreeMap::new(),
    }
}
