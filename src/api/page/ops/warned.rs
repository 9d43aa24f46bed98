//! The orders of a lab that will miss the next cutoff: which, why, and until when that can be helped.

use jiff::Timestamp;

use crate::api::Api;
use crate::api::page::board::{iso, there, utc};
use crate::api::problem::Answer;
use crate::api::registry::LabEntry;
use crate::domain::ids::{OrderId, RegionId};
use crate::domain::warning::Missing;
use crate::store::{OrderRef, Scope, WarnedOrder};

/// How many are named.
const SHOWN: usize = 50;

/// An order that will miss a cutoff.
pub(super) struct WarnedShown {
    pub(super) order: OrderId,
    pub(super) reference: String,
    pub(super) platform: String,
    pub(super) region: RegionId,
    pub(super) why: String,
    /// The cutoff for programs, in UTC, and on the region's clocks.
    pub(super) closes: (String, String, String),
}

/// All that are named, and whether there are more.
#[derive(Default)]
pub(super) struct WarnedList {
    pub(super) rows: Vec<WarnedShown>,
    pub(super) more: bool,
}

impl WarnedList {
    /// Of a lab.
    pub(super) async fn of(api: &Api, entry: &LabEntry, now: Timestamp) -> Answer<Self> {
        let lab = &entry.lab.spec.id;
        let mut found = api.store.warned_orders(lab, now, SHOWN as i64 + 1).await?;
        let more = found.len() > SHOWN;
        found.truncate(SHOWN);
        let which: Vec<OrderRef> = found.iter().map(|it| OrderRef::Id(it.order.clone())).collect();
        let orders = api.store.orders(&Scope::Ops, &which).await?;
        let rows = found.into_iter().zip(orders).filter_map(|(it, order)| {
            let WarnedOrder { order: id, region, closes_at } = it;
            // It may have been helped between the two looks.
            let order = order.filter(|order| order.batch.is_none() && order.stop.is_none())?;
            let holds = order.extras.holds.iter().map(|hold| hold.kind);
            let why: Vec<&str> = Missing::of(order.paid, holds).into_iter().map(Missing::told).collect();
            let calendar = entry.lab.place(&region).map(|place| &place.calendar);
            let local = calendar.map(|calendar| there(&calendar.shown(closes_at).0)).unwrap_or_default();
            Some(WarnedShown {
                order: id,
                reference: order.reference.clone(),
                platform: order.platform.to_string(),
                region,
                why: why.join(" and "),
                closes: (iso(closes_at), utc(closes_at), local),
            })
        });
        Ok(Self { rows: rows.collect(), more })
    }
}
