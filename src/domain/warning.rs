//! Why an order misses a cutoff, which cutoff that is, and how those who can help are told.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extras::HoldKind;
use super::ids::{RegionId, ServiceLevel};
use super::lab::Lab;
use super::order::Item;
use super::region::RegionSpec;

/// The kind of the entry that warns of a cutoff.
pub const KIND: &str = "order.cutoff_near";

/// For so long after it was submitted, an unpaid order is warned about. Who has not paid by then does not wait
/// for a cutoff.
pub const UNPAID_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Why an order is in no batch. The order is that in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is not paid for.
    Unpaid,
    /// It is on hold.
    OnHold,
    /// It is back in the editor.
    InReview,
    /// The customer asked for a stop, and the merchant is still to decide.
    AwaitsMerchant,
    /// It waits for the stop of the order that it replaces.
    Replacing,
}

impl From<HoldKind> for Missing {
    fn from(kind: HoldKind) -> Self {
        match kind {
            HoldKind::Hold => Self::OnHold,
            HoldKind::Review => Self::InReview,
            HoldKind::Approval => Self::AwaitsMerchant,
            HoldKind::Replacing => Self::Replacing,
        }
    }
}

impl Missing {
    /// All reasons of an order that is in no batch, the first of them that by which it is counted.
    #[must_use]
    pub fn of(paid: bool, holds: impl IntoIterator<Item = HoldKind>) -> Vec<Self> {
        let holds = holds.into_iter().map(Self::from);
        let mut all: Vec<Self> = (!paid).then_some(Self::Unpaid).into_iter().chain(holds).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What people are told.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::OnHold => "on hold",
            Self::InReview => "in review",
            Self::AwaitsMerchant => "waiting for the merchant",
            Self::Replacing => "waiting for the order that it replaces",
        }
    }
}

/// Where the orders of a lab would be collected: whose cutoff they miss while they are in no batch. Only regions that
/// have groups are told of; an order of any other waits for its region's.
#[derive(Debug, Clone, Default)]
pub struct Collecting(Vec<(RegionSpec, Vec<RegionId>)>);

/// What of a submission says where its order is collected.
#[derive(Deserialize)]
struct Bought {
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    service_level: Option<ServiceLevel>,
}

impl Collecting {
    /// As the calendars of a lab stand at an instant.
    #[must_use]
    pub fn of(lab: &Lab, now: Timestamp) -> Self {
        let grouped = lab.spec.regions.iter().filter(|region| !region.groups.is_empty());
        let ranked = grouped.map(|region| {
            let of_groups = region.groups.iter().map(|group| region.id.of_group(&group.id));
            let own: Vec<RegionId> = std::iter::once(region.id.clone()).chain(of_groups).collect();
            let mut left: Vec<_> = own
                .iter()
                .filter_map(|id| lab.place(id))
                .filter_map(|place| Some((&place.id, (place.calendar.next_cutoff(now)?.at, place.promise))))
                .collect();
            let mut ranks = Vec::with_capacity(left.len());
            loop {
                let cutoffs: Vec<_> = left.iter().map(|(_, cutoff)| *cutoff).collect();
                let Some((first, _)) = lab.spec.profile.mixed.choose(&cutoffs) else { break };
                ranks.push(left.remove(first).0.clone());
            }
            (region.clone(), ranks)
        });
        Self(ranked.collect())
    }

    /// The place that collects an order of a region, of which this is the stored submission: where it is mixed, the one
    /// whose window it would join. What the region no longer makes waits for the region itself.
    #[must_use]
    pub fn place(&self, region: &RegionId, document: &str) -> RegionId {
        let found = || {
            let (spec, ranks) = self.0.iter().find(|(spec, _)| spec.id == *region)?;
            let bought: Bought = serde_json::from_str(document).ok()?;
            let places = spec.places_of(&bought.items, bought.service_level.as_ref()).ok()?;
            let rank = |place: &RegionId| ranks.iter().position(|ranked| ranked == place);
            places.into_iter().min_by_key(|place| rank(place).unwrap_or(usize::MAX))
        };
        found().unwrap_or_else(|| region.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::zones::Zones;
    use super::*;

    #[test]
    fn an_order_waits_for_the_place_that_it_would_join() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let calendar = |time: &str| json!({"time_zone": "Europe/Helsinki", "cutoffs": [time]});
        let lab = |mixed: &str| {
            let spec = json!({"id": "nord", "name": "Nord", "driver": {"kind": "person"}, "profile": {"mixed": mixed},
                "regions": [
                    {"id": "fi", "calendar": calendar("24:00"), "products": ["print", "mug", "book"], "groups": [
                        {"id": "mugs", "products": ["mug"], "calendar": calendar("18:00")},
                        {"id": "books", "products": ["book"], "promise": "none", "calendar": calendar("16:00")}]},
                    {"id": "se", "calendar": calendar("24:00")}]});
            Lab::build(serde_json::from_value(spec).unwrap(), &Zones::bundled(), now).unwrap()
        };
        let (earliest, latest) = (Collecting::of(&lab("earliest"), now), Collecting::of(&lab("latest"), now));
        for (region, skus, first, last) in [
            ("fi", vec!["print"], "fi", "fi"),
            ("fi", vec!["mug"], "fi.mugs", "fi.mugs"),
            ("fi", vec!["print", "mug"], "fi.mugs", "fi"),
            ("fi", vec!["book"], "fi.books", "fi.books"),
            // What promises nothing is not joined where another promises.
            ("fi", vec!["book", "print"], "fi", "fi"),
            ("fi", vec!["shirt"], "fi", "fi"),
            ("fi", vec![], "fi", "fi"),
            ("se", vec!["mug"], "se", "se"),
        ] {
            let item = |sku: &&str| json!({"id": sku, "sku": sku, "quantity": 1});
            let document = json!({"reference": "A-1", "items": skus.iter().map(item).collect::<Vec<_>>()});
            let region = RegionId::parse(region).unwrap();
            let place = |from: &Collecting| from.place(&region, &document.to_string()).to_string();
            assert_eq!((place(&earliest), place(&latest)), (first.to_owned(), last.to_owned()), "{skus:?}");
        }
        assert_eq!(earliest.place(&RegionId::parse("fi").unwrap(), "no document").as_str(), "fi");
    }

    #[test]
    fn an_order_has_every_reason_and_is_counted_by_the_first() {
        use HoldKind::{Approval, Hold, Review};
        use Missing::{AwaitsMerchant, InReview, OnHold, Replacing, Unpaid};
        for (paid, holds, reasons) in [
            (false, vec![], vec![Unpaid]),
            (false, vec![Hold], vec![Unpaid, OnHold]),
            (false, vec![Review], vec![Unpaid, InReview]),
            (true, vec![Hold], vec![OnHold]),
            (true, vec![Review], vec![InReview]),
            (true, vec![Approval], vec![AwaitsMerchant]),
            (true, vec![HoldKind::Replacing], vec![Replacing]),
            (true, vec![HoldKind::Replacing, Hold, Approval, Hold], vec![OnHold, AwaitsMerchant, Replacing]),
            (true, vec![], vec![]),
        ] {
            assert_eq!(Missing::of(paid, holds.iter().copied()), reasons, "{holds:?}");
        }
    }
}
