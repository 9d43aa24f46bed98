//! Production regions of labs: what they make, in which groups, and where an order is collected.
//!
//! A region has a calendar. It may have groups of products with calendars of their own; then each group, and the
//! region for what is in none, is a [`Place`] where orders are collected: one batch a window and place. An order
//! whose products belong to several places is never divided. It joins the window of one of them, as the lab's
//! profile says ([`Mixed`]), and can be stopped for certain until the earliest of their cutoffs. Places that promise
//! nothing have no say in that where another one promises.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fault;
use super::calendar::{Calendar, CalendarSpec};
use super::ids::{GroupId, RegionId, ServiceLevel};
use super::measures::Lasting;
use super::order::{Item, ItemKind};
use super::zones::Zones;

/// The most groups of a region.
const GROUPS_MAX: usize = 20;
/// The most patterns of a list.
pub const PATTERNS_MAX: usize = 100;
/// The most orders that a size may name.
const SIZE_MAX: u32 = 1_000_000;

/// A pattern of product codes: `*` stands for any characters, also for none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "mug-*", min_length = 1, max_length = 200)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether a product code is one of those that it stands for.
    #[must_use]
    pub fn fits(&self, sku: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == sku };
        let Some(mut left) = sku.strip_prefix(first) else { return false };
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return left.ends_with(part);
            }
            // The first place where it fits leaves the most for what follows.
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        true
    }

    fn is_one(&self) -> bool {
        (1..=200).contains(&self.0.chars().count()) && !self.0.chars().any(char::is_control)
    }
}

/// Whether one of these patterns fits; where there is none, everything does.
#[must_use]
pub fn any_fits(patterns: &[Pattern], sku: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.fits(sku))
}

/// The faults of a list of patterns.
#[must_use]
pub fn pattern_faults(field: &str, patterns: &[Pattern]) -> Vec<Fault> {
    if patterns.len() > PATTERNS_MAX {
        let text = format!("has {} patterns; {PATTERNS_MAX} are allowed", patterns.len());
        return vec![Fault::new(field, text)];
    }
    let bad = patterns.iter().enumerate().filter(|(_, pattern)| !pattern.is_one());
    let allowed = "1 to 200 printable characters, in which * stands for any";
    bad.map(|(at, pattern)| Fault::not(format!("{field}[{at}]"), &pattern.0, allowed)).collect()
}

/// The faults of a list in which nothing may be twice.
#[must_use]
pub fn twice<T: Ord + ToString>(field: &str, list: &[T]) -> Vec<Fault> {
    let mut seen = BTreeSet::new();
    let again = list.iter().enumerate().filter(|(_, one)| !seen.insert(*one));
    again
        .map(|(at, one)| Fault::not(format!("{field}[{at}]"), one.to_string(), "unique: it is listed before"))
        .collect()
}

/// What is as it always was is not written: definitions that were stored before stay the same.
pub(super) fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What the orders of a window are promised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// That they can be stopped until the cutoff: the window never closes before it.
    #[default]
    Cutoff,
    /// Nothing: the window may close before its cutoff, when it is full. Verdicts say `yes` without `until`.
    None,
}

/// Which window an order joins whose products belong to several groups. It is never divided. If any of their windows
/// promises its cutoff, only those that do are chosen from, and the order can be stopped for certain until the earliest
/// of their cutoffs; if none does, nothing is promised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mixed {
    /// The one that closes first: it is handed over whole then.
    #[default]
    Earliest,
    /// The one that closes last: it is handed over whole then.
    Latest,
}

impl Mixed {
    /// Which of several cutoffs the order goes with, and until when it is promised that it can be stopped: the
    /// earliest of those that are promised. Of two that are the same the first.
    #[must_use]
    pub fn choose(self, cutoffs: &[(Timestamp, Promise)]) -> Option<(usize, Option<Timestamp>)> {
        let promised = cutoffs.iter().any(|(_, promise)| *promise == Promise::Cutoff);
        let all = cutoffs.iter().enumerate();
        let mut eligible = all.filter(|(_, (_, promise))| !promised || *promise == Promise::Cutoff);
        let (mut chosen, &(mut best, _)) = eligible.next()?;
        let mut earliest = best;
        for (at, (cutoff, _)) in eligible {
            let better = match self {
                Self::Earliest => *cutoff < best,
                Self::Latest => *cutoff > best,
            };
            (chosen, best) = if better { (at, *cutoff) } else { (chosen, best) };
            earliest = earliest.min(*cutoff);
        }
        Some((chosen, promised.then_some(earliest)))
    }
}

/// A group of products of a region, with a calendar of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Its id, unique within the region.
    pub id: GroupId,
    /// The products that belong to it; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<Pattern>,
    /// The service levels for which it is; empty: whatever the region offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_levels: Vec<ServiceLevel>,
    /// What its orders are promised.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub promise: Promise,
    /// How many orders the lab wants in a batch at least. A smaller one is told as such, and handed over at the
    /// cutoff all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub batch_min: Option<u32>,
    /// With so many orders a batch closes before its cutoff. Only with `promise` `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub batch_max: Option<u32>,
    /// When its batches close.
    pub calendar: CalendarSpec,
}

/// A production region of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegionSpec {
    /// Its id, unique within the lab.
    #[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub id: RegionId,
    /// The countries (ISO 3166-1 alpha-2) that it prints for; empty: chosen only by name.
    #[serde(default)]
    pub countries: Vec<String>,
    /// The products that it makes; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<Pattern>,
    /// The service levels that it offers beside the usual one. Those of its groups count as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_levels: Vec<ServiceLevel>,
    /// Groups of products with calendars of their own: the first that fits takes an item, and what is in none
    /// follows `calendar`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub groups: Vec<GroupSpec>,
    /// What its orders are promised.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub promise: Promise,
    /// How many orders the lab wants in a batch at least. A smaller one is told as such, and handed over at the
    /// cutoff all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub batch_min: Option<u32>,
    /// With so many orders a batch closes before its cutoff. Only with `promise` `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub batch_max: Option<u32>,
    /// When its batches close.
    pub calendar: CalendarSpec,
    /// How long before a cutoff the platform is warned of orders that would miss it, because they are unpaid,
    /// held or in review; `0s`: not at all. It holds for its groups as well.
    #[serde(default = "warn_before")]
    #[schema(value_type = String, default = "1h", example = "1h")]
    pub warn_before: Lasting,
}

fn warn_before() -> Lasting {
    Lasting::seconds(3600)
}

/// Where orders are collected: a region, or a group of one.
#[derive(Debug, Clone)]
pub struct Place {
    /// The region, or with a dot the group: `fi`, `fi.mugs`.
    pub id: RegionId,
    /// When its batches close.
    pub calendar: Calendar,
    /// What its orders are promised.
    pub promise: Promise,
    /// How many orders the lab wants in a batch at least.
    pub batch_min: Option<u32>,
    /// With how many a batch closes before its cutoff.
    pub batch_max: Option<u32>,
    /// How long before a cutoff there are warnings of orders that would miss it.
    pub warn_before: Lasting,
}

fn size_faults(promise: Promise, min: Option<u32>, max: Option<u32>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (field, size) in [("batch_min", min), ("batch_max", max)] {
        if let Some(size) = size.filter(|size| !(1..=SIZE_MAX).contains(size)) {
            faults.push(Fault::not(field, size, "a whole number from 1 to 1000000"));
        }
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        faults.push(Fault::not("batch_min", min, &format!("at most batch_max, {max}")));
    }
    if max.is_some() && promise == Promise::Cutoff {
        let text = "would close a window before the cutoff that its orders are promised; it needs promise = \"none\"";
        faults.push(Fault::new("batch_max", text));
    }
    faults
}

impl GroupSpec {
    fn faults(&self) -> Vec<Fault> {
        let mut faults = pattern_faults("products", &self.products);
        faults.extend(twice("service_levels", &self.service_levels));
        if self.products.is_empty() && self.service_levels.is_empty() {
            faults.push(Fault::new(
                "products",
                "is empty, and so is service_levels: nothing tells what belongs to it",
            ));
        }
        faults.extend(size_faults(self.promise, self.batch_min, self.batch_max));
        faults
    }

    /// Whether an item belongs to it, in an order of this service level in a region that offers these.
    fn takes(&self, sku: &str, level: Option<&ServiceLevel>, offered: &[ServiceLevel]) -> bool {
        let levels = if self.service_levels.is_empty() { offered } else { &self.service_levels };
        let fits = match level {
            Some(level) => levels.contains(level),
            None => self.service_levels.is_empty(),
        };
        fits && any_fits(&self.products, sku)
    }
}

impl RegionSpec {
    /// Checks everything but the calendars and what other regions have; named from the region.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.id.is_group() {
            faults.push(Fault::not(
                "id",
                self.id.as_str(),
                "an id without a dot: groups are listed under `groups`",
            ));
        }
        faults.extend(pattern_faults("products", &self.products));
        faults.extend(twice("service_levels", &self.service_levels));
        faults.extend(size_faults(self.promise, self.batch_min, self.batch_max));
        if self.warn_before > Lasting::seconds(24 * 3600) {
            let got = self.warn_before.to_string();
            faults.push(Fault::not("warn_before", got, "a duration of at most 24h"));
        }
        if self.groups.len() > GROUPS_MAX {
            faults.push(Fault::new(
                "groups",
                format!("has {} groups; {GROUPS_MAX} are allowed", self.groups.len()),
            ));
        }
        let mut seen = BTreeSet::new();
        for (at, group) in self.groups.iter().enumerate() {
            let here = format!("groups[{at}]");
            if !seen.insert(&group.id) {
                let allowed = "unique: an earlier group of this region has it";
                faults.push(Fault::not(format!("{here}.id"), group.id.as_str(), allowed));
            }
            faults.extend(group.faults().into_iter().map(|fault| fault.under(&here)));
        }
        faults
    }

    /// Builds the places of the region: itself first, then its groups.
    ///
    /// # Errors
    /// What is wrong with its calendars, named from the region.
    pub fn places(&self, zones: &Zones, now: Timestamp) -> Result<Vec<Place>, Vec<Fault>> {
        let own = ("calendar".to_owned(), &self.calendar, self.id.clone());
        let (mut places, mut faults) = (Vec::new(), Vec::new());
        let sizes = std::iter::once((self.promise, self.batch_min, self.batch_max))
            .chain(self.groups.iter().map(|group| (group.promise, group.batch_min, group.batch_max)));
        let all = std::iter::once(own).chain(self.groups.iter().enumerate().map(|(at, group)| {
            (format!("groups[{at}].calendar"), &group.calendar, self.id.of_group(&group.id))
        }));
        for ((field, spec, id), (promise, batch_min, batch_max)) in all.zip(sizes) {
            match Calendar::build(spec, zones, now) {
                Ok(calendar) => {
                    let warn_before = self.warn_before;
                    places.push(Place { id, calendar, promise, batch_min, batch_max, warn_before });
                }
                Err(inner) => faults.extend(inner.into_iter().map(|fault| fault.under(&field))),
            }
        }
        if faults.is_empty() { Ok(places) } else { Err(faults) }
    }

    /// All service levels that it offers, in their order.
    #[must_use]
    pub fn offers(&self) -> Vec<&ServiceLevel> {
        let of_groups = self.groups.iter().flat_map(|group| &group.service_levels);
        let all: BTreeSet<&ServiceLevel> = self.service_levels.iter().chain(of_groups).collect();
        all.into_iter().collect()
    }

    /// Whether it makes a product.
    #[must_use]
    pub fn makes(&self, sku: &str) -> bool {
        any_fits(&self.products, sku)
    }

    /// Which place collects a product at a service level; `None` where the region has none for it.
    #[must_use]
    pub fn place_of(&self, sku: &str, level: Option<&ServiceLevel>) -> Option<RegionId> {
        if let Some(group) = self.groups.iter().find(|group| group.takes(sku, level, &self.service_levels)) {
            return Some(self.id.of_group(&group.id));
        }
        level.is_none_or(|level| self.service_levels.contains(level)).then(|| self.id.clone())
    }

    /// The places to which the items of an order belong, each once. What is not printed belongs to none; if
    /// nothing is, the region itself.
    ///
    /// # Errors
    /// The items that it does not make, and a service level that it does not offer for them, by field.
    pub fn places_of(
        &self,
        items: &[Item],
        level: Option<&ServiceLevel>,
    ) -> Result<Vec<RegionId>, Vec<Fault>> {
        let (mut places, mut faults) = (Vec::new(), Vec::new());
        let mut lacking = None;
        for (at, item) in items.iter().enumerate().filter(|(_, item)| item.kind == ItemKind::Print) {
            if !self.makes(&item.sku) {
                let made: Vec<&str> = self.products.iter().map(|pattern| pattern.0.as_str()).collect();
                let allowed = format!("made by region {}: {}", self.id, made.join(", "));
                faults.push(Fault::not(format!("items[{at}].sku"), &item.sku, &allowed));
                continue;
            }
            match self.place_of(&item.sku, level) {
                Some(place) if places.contains(&place) => {}
                Some(place) => places.push(place),
                None => lacking = lacking.or(Some(&item.sku)),
            }
        }
        if let (Some(level), true) = (level, lacking.is_some() || places.is_empty() && faults.is_empty()) {
            let offers: Vec<&str> = self.offers().iter().map(|level| level.as_str()).collect();
            let offers =
                if offers.is_empty() { "none but the usual one".to_owned() } else { offers.join(", ") };
            match lacking {
                Some(sku) => {
                    let allowed =
                        format!("offered by region {} for {sku:?}; its service levels: {offers}", self.id);
                    faults.push(Fault::not("service_level", level.as_str(), &allowed));
                }
                None if !self.offers().contains(&level) => {
                    let allowed = format!("offered by region {}; its service levels: {offers}", self.id);
                    faults.push(Fault::not("service_level", level.as_str(), &allowed));
                }
                None => {}
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if places.is_empty() {
            places.push(self.id.clone());
        }
        // As they are configured, not as the items come: what is decided does not depend on the items' order.
        let rank = |place: &RegionId| {
            self.groups.iter().position(|group| self.id.of_group(&group.id) == *place).map_or(0, |at| at + 1)
        };
        places.sort_by_key(rank);
        Ok(places)
    }
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
