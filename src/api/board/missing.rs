//! Orders that will miss the next cutoff, counted by what keeps them from it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::warning::Missing;
use crate::store::WarnedRow;

/// Orders that are in no batch though a cutoff is near.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WillMiss {
    /// The cutoff.
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Timestamp,
    /// How many orders.
    pub orders: i64,
    /// The same by their reasons, each order once: an order that is unpaid and held counts as unpaid.
    #[schema(value_type = BTreeMap<String, i64>, example = json!({"unpaid": 5, "on_hold": 2}))]
    pub because: BTreeMap<Missing, i64>,
}

impl WillMiss {
    /// Of the rows of one region; `None` if no cutoff is near, or nobody misses it.
    pub(super) fn of(rows: &[WarnedRow], now: Timestamp) -> Option<Self> {
        let coming = || rows.iter().filter(|row| row.closes_at > now);
        let closes_at = coming().map(|row| row.closes_at).min()?;
        let mut because = BTreeMap::new();
        for row in coming() {
            if let Some(first) = Missing::of(row.paid, row.hold).first() {
                *because.entry(*first).or_default() += row.orders;
            }
        }
        let orders = because.values().sum();
        (orders > 0).then_some(Self { closes_at, orders, because })
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        let because: Vec<String> =
            self.because.iter().map(|(why, count)| format!("{count} {}", why.told())).collect();
        let many = if self.orders == 1 { "1 order".to_owned() } else { format!("{} orders", self.orders) };
        format!("{many} will miss it: {}.", because.join(", "))
    }

    /// What somebody should do about it.
    pub(super) fn todo(&self) -> String {
        let steps: Vec<&str> = self.because.keys().map(|why| todo(*why)).collect();
        format!("To have them in it: {}.", steps.join("; "))
    }
}

/// What takes away what keeps an order from its cutoff.
fn todo(why: Missing) -> &'static str {
    match why {
        Missing::Unpaid => "ask the platform for the payment",
        Missing::OnHold => "ask who holds them to release them",
        Missing::InReview => "have the review ended",
        Missing::AwaitsMerchant => "have the merchant decide",
        Missing::Replacing => "have the stop of the old order decided",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::extras::HoldKind::{self, Approval, Hold, Replacing, Review};
    use crate::domain::ids::{LabId, RegionId};

    fn row(closes: i64, paid: bool, hold: Option<HoldKind>, orders: i64) -> WarnedRow {
        WarnedRow {
            place: (LabId::parse("nord").unwrap(), RegionId::parse("fi").unwrap()),
            closes_at: Timestamp::from_second(closes).unwrap(),
            paid,
            hold,
            orders,
        }
    }

    #[test]
    fn orders_are_counted_by_what_keeps_them() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let rows = [
            row(100, false, None, 4),
            row(100, false, Some(Review), 1),
            row(100, true, Some(Hold), 2),
            row(50, true, Some(Review), 9),
        ];
        let missed = WillMiss::of(&rows, at(50)).unwrap();
        assert_eq!((missed.closes_at, missed.orders), (at(100), 7));
        assert_eq!(missed.text(), "7 orders will miss it: 5 unpaid, 2 on hold.");
        assert_eq!(
            missed.todo(),
            "To have them in it: ask the platform for the payment; ask who holds them to release them."
        );
        let all = WillMiss::of(&rows, at(49)).unwrap();
        assert_eq!((all.closes_at, all.orders), (at(50), 16));
        assert_eq!(WillMiss::of(&rows, at(100)), None);
        assert_eq!(WillMiss::of(&rows[3..], at(0)).unwrap().text(), "9 orders will miss it: 9 in review.");
        assert_eq!(
            WillMiss::of(&[row(100, true, Some(Hold), 1)], at(0)).unwrap().text(),
            "1 order will miss it: 1 on hold."
        );
        let others = [row(100, true, Some(Approval), 2), row(100, true, Some(Replacing), 1)];
        assert_eq!(
            WillMiss::of(&others, at(0)).unwrap().text(),
            "3 orders will miss it: 2 waiting for the merchant, 1 waiting for the order that it replaces."
        );
    }
}
