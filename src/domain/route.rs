//! Routes: rules, as data, that choose lab and region of an order that names none.
//!
//! The rules of a platform are tried in their order; each that fits the order names labs, the best first. The
//! first lab that can take the order whole is chosen. Labs that are paused are passed over; those that cannot be
//! reached just now as well, unless nobody else can take the order: it waits for its cutoff, and by then the lab
//! may be back. An order is never divided.
//!
//! The choice depends on nothing but what is given here, and says of every lab before it why it was passed over.

mod choice;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::choice::{Choice, Chosen, Considered, Explanation, LineRoute, Skipped, Why};
use super::ids::{LabId, PlatformId, RegionId, RuleId, ServiceLevel};
use super::lab::Lab;
use super::region::{Mixed, Pattern, RegionSpec, any_fits, pattern_faults, twice};
use super::{Fault, nearest};

/// The most rules of a platform, the most labs of a rule, and the most words of a list.
const RULES_MAX: usize = 100;
const TARGETS_MAX: usize = 20;
const LIST_MAX: usize = 300;
/// So many labs and regions that were considered are told.
const TOLD_MAX: usize = 40;
/// So many different products are looked at one by one, to tell who could make them.
const LINES_MAX: usize = 20;

/// What an order needs that names no lab. What it needs beside this follows from it: the products are those of
/// its items, the service level its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Need {
    /// The country (ISO 3166-1 alpha-2) that it is for; that of `ship_to` unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Z]{2}$", example = "FI")]
    pub country: Option<String>,
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase())
}

const COUNTRY: &str = "a country code of two capital letters (ISO 3166-1 alpha-2), such as \"FI\"";

impl Need {
    /// Checks it.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let bad = self.country.iter().filter(|country| !is_country(country));
        bad.map(|country| Fault::not("country", country, COUNTRY)).collect()
    }
}

/// A lab, and a region of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The lab.
    pub lab: LabId,
    /// The region; unless told, the first of the lab's that is for the country of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
}

/// A rule: for which orders it is, and who makes them. A condition that is left out fits every order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// Its id, unique among the rules.
    pub id: RuleId,
    /// Only orders of these platforms; for the rules of `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformId>,
    /// Only orders for these countries (ISO 3166-1 alpha-2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// Only orders of which every printed item is one of these products.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<Pattern>,
    /// Only orders of these service levels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_levels: Vec<ServiceLevel>,
    /// Who makes them, the best first: 1 to 20.
    #[schema(min_items = 1, max_items = 20)]
    pub to: Vec<Target>,
    /// True: an order that this rule is for is made by one of its labs or not at all. Unless told, the rules
    /// behind it are tried as well.
    #[serde(default, skip_serializing_if = "super::region::is_usual")]
    pub only: bool,
}

/// The routes of a platform, or of all that have none of their own (`default`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// The rules, in the order in which they are tried: 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    pub rules: Vec<RouteRule>,
}

impl RouteRule {
    fn faults<'a>(&self, lab: &impl Fn(&LabId) -> Option<&'a Lab>, known: &[&LabId]) -> Vec<Fault> {
        let mut faults = twice("platforms", &self.platforms);
        faults.extend(twice("countries", &self.countries));
        faults.extend(twice("service_levels", &self.service_levels));
        faults.extend(pattern_faults("products", &self.products));
        let sizes = [
            ("platforms", self.platforms.len()),
            ("countries", self.countries.len()),
            ("service_levels", self.service_levels.len()),
        ];
        for (field, length) in sizes.into_iter().filter(|(_, length)| *length > LIST_MAX) {
            faults.push(Fault::new(field, format!("has {length} entries; {LIST_MAX} are allowed")));
        }
        for (at, country) in self.countries.iter().enumerate().filter(|(_, country)| !is_country(country)) {
            faults.push(Fault::not(format!("countries[{at}]"), country, COUNTRY));
        }
        if self.to.is_empty() || self.to.len() > TARGETS_MAX {
            faults.push(Fault::new(
                "to",
                format!("has {} labs; 1 to {TARGETS_MAX} are allowed", self.to.len()),
            ));
        }
        for (at, target) in self.to.iter().enumerate() {
            let Some(lab) = lab(&target.lab) else {
                let hint = nearest(target.lab.as_str(), known.iter().map(|id| id.as_str()));
                let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
                let text = format!("{:?} is not a known lab{hint}", target.lab.as_str());
                faults.push(Fault::new(format!("to[{at}].lab"), text));
                continue;
            };
            if let Some(region) = &target.region
                && let Err(fault) = lab.region(Some(region), None)
            {
                faults.push(fault.under(&format!("to[{at}]")));
            }
        }
        faults
    }

    /// Why it is not for an order.
    fn misfit(&self, wanted: &Wanted<'_>) -> Option<Why> {
        let unmet = |list_empty: bool, fits: bool| !list_empty && !fits;
        if unmet(self.platforms.is_empty(), self.platforms.contains(wanted.platform)) {
            return Some(Why::Platform);
        }
        let country =
            wanted.country.is_some_and(|country| self.countries.iter().any(|known| known == country));
        if unmet(self.countries.is_empty(), country) {
            return Some(Why::Country);
        }
        let level = wanted.service_level.is_some_and(|level| self.service_levels.contains(level));
        if unmet(self.service_levels.is_empty(), level) {
            return Some(Why::ServiceLevel);
        }
        let products = wanted.lines.iter().all(|line| any_fits(&self.products, line.sku));
        (!products).then_some(Why::Products)
    }
}

impl RouteSpec {
    /// Checks the rules; `lab` finds a lab, `known` are the ids of all.
    #[must_use]
    pub fn faults<'a>(&self, lab: &impl Fn(&LabId) -> Option<&'a Lab>, known: &[&LabId]) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            faults.push(Fault::new(
                "rules",
                format!("has {} rules; 1 to {RULES_MAX} are allowed", self.rules.len()),
            ));
        }
        let mut seen = BTreeSet::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let here = format!("rules[{at}]");
            if !seen.insert(&rule.id) {
                let allowed = "unique: an earlier rule has it";
                faults.push(Fault::not(format!("{here}.id"), rule.id.as_str(), allowed));
            }
            faults.extend(rule.faults(lab, known).into_iter().map(|fault| fault.under(&here)));
        }
        faults
    }
}

/// A printed item of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish<'a> {
    /// Its id in the order.
    pub id: &'a str,
    /// What it is.
    pub sku: &'a str,
}

/// What is to be routed.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Whose order it is.
    pub platform: &'a PlatformId,
    /// The country that it is for.
    pub country: Option<&'a str>,
    /// Its service level, if it is not the usual one.
    pub service_level: Option<&'a ServiceLevel>,
    /// Its printed items.
    pub lines: Vec<Wish<'a>>,
}

/// How a lab stands, for routes.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it is known not to work as it is defined.
    pub unusable: bool,
    /// Whether it cannot be reached just now, as far as it is seen from here.
    pub failing: bool,
}

fn passed(why: Why, text: String) -> (Option<Why>, String, Option<Timestamp>) {
    (Some(why), text, None)
}

/// The region of a lab for an order: the named one, else the first for its country.
fn region<'a>(lab: &'a Lab, target: &Target, wanted: &Wanted<'_>) -> Result<&'a RegionSpec, (Why, String)> {
    let serves = |region: &&RegionSpec| {
        wanted.country.is_some_and(|country| region.countries.iter().any(|known| known == country))
    };
    let whom = wanted
        .country
        .map_or_else(|| "an unknown country".to_owned(), |country| format!("country {country}"));
    if let Some(named) = &target.region {
        let region = lab.spec.regions.iter().find(|region| region.id == *named);
        let region = region.ok_or_else(|| (Why::UnknownRegion, format!("has no region {named} any more")))?;
        // One without countries is chosen by name, and here it is.
        return if region.countries.is_empty() || serves(&region) {
            Ok(region)
        } else {
            Err((Why::Country, format!("does not print for {whom}")))
        };
    }
    let only =
        lab.spec.regions.first().filter(|only| lab.spec.regions.len() == 1 && only.countries.is_empty());
    let region = lab.spec.regions.iter().find(serves).or(only);
    region.ok_or_else(|| (Why::Country, format!("has no region that prints for {whom}")))
}

/// Whether a lab can take an order, and when that would be handed over.
fn consider(
    standing: Option<Standing<'_>>,
    target: &Target,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> (Option<RegionId>, (Option<Why>, String, Option<Timestamp>)) {
    let Some(Standing { lab, paused, unusable, failing }) = standing else {
        return (target.region.clone(), passed(Why::UnknownLab, "is not a known lab any more".to_owned()));
    };
    let region = match region(lab, target, wanted) {
        Ok(region) => region,
        Err((why, text)) => return (target.region.clone(), passed(why, text)),
    };
    let found = || {
        let foreign: Vec<&str> =
            wanted.lines.iter().filter(|line| !region.makes(line.sku)).map(|line| line.sku).collect();
        if let Some(first) = foreign.first() {
            let more = if foreign.len() > 1 {
                format!(" and {} more items", foreign.len() - 1)
            } else {
                String::new()
            };
            return passed(Why::Products, format!("does not make {first}{more}"));
        }
        let level = wanted.service_level;
        let mut places = Vec::new();
        for line in &wanted.lines {
            match region.place_of(line.sku, level) {
                Some(place) if places.contains(&place) => {}
                Some(place) => places.push(place),
                None => {
                    let level = level.map_or("", |level| level.as_str());
                    return passed(Why::ServiceLevel, format!("does not offer {level} for {}", line.sku));
                }
            }
        }
        if let Some(level) = level.filter(|level| wanted.lines.is_empty() && !region.offers().contains(level))
        {
            return passed(Why::ServiceLevel, format!("does not offer {level}"));
        }
        if places.is_empty() {
            places.push(region.id.clone());
        }
        let next = |id: &RegionId| {
            let place = lab.place(id)?;
            Some((place.calendar.next_cutoff(now)?.at, place.promise))
        };
        let cutoffs: Option<Vec<_>> = places.iter().map(next).collect();
        let mixed: Mixed = lab.spec.profile.mixed;
        let Some((at, _)) = cutoffs.as_ref().and_then(|cutoffs| mixed.choose(cutoffs)) else {
            return passed(Why::NoCutoff, "has no cutoff any more".to_owned());
        };
        let closes_at = cutoffs.and_then(|cutoffs| cutoffs.get(at).map(|(at, _)| *at));
        if paused {
            return passed(Why::Paused, "is paused".to_owned());
        }
        if unusable {
            return passed(Why::Unusable, "cannot be called as it is defined".to_owned());
        }
        if failing {
            return (Some(Why::Failing), "cannot be reached just now".to_owned(), closes_at);
        }
        (None, "can take it".to_owned(), closes_at)
    };
    (Some(region.id.clone()), found())
}

/// Chooses lab and region for an order; `standing` tells how a lab stands, `None` for one that is not known.
#[must_use]
pub fn choose<'a>(
    spec: &RouteSpec,
    wanted: &Wanted<'_>,
    standing: &impl Fn(&LabId) -> Option<Standing<'a>>,
    now: Timestamp,
) -> Choice {
    let mut choice = walk(spec, wanted, standing, now);
    if choice.chosen.is_none() && wanted.lines.len() > 1 {
        choice.lines = lines(spec, wanted, standing, now);
    }
    choice
}

fn walk<'a>(
    spec: &RouteSpec,
    wanted: &Wanted<'_>,
    standing: &impl Fn(&LabId) -> Option<Standing<'a>>,
    now: Timestamp,
) -> Choice {
    let mut choice = Choice { chosen: None, considered: vec![], more: 0, skipped: vec![], lines: vec![] };
    let mut resort: Option<Chosen> = None;
    'rules: for rule in &spec.rules {
        if let Some(why) = rule.misfit(wanted) {
            choice.skipped.push(Skipped { rule: rule.id.clone(), why });
            continue;
        }
        for target in &rule.to {
            let (region, (why, text, closes_at)) = consider(standing(&target.lab), target, wanted, now);
            let chosen = |region: RegionId, last_resort| Chosen {
                rule: rule.id.clone(),
                lab: target.lab.clone(),
                region,
                last_resort,
            };
            match (&region, why) {
                (Some(region), None) => choice.chosen = Some(chosen(region.clone(), false)),
                (Some(region), Some(Why::Failing)) => resort = resort.or(Some(chosen(region.clone(), true))),
                _ => {}
            }
            // The one that is chosen is always told.
            if choice.considered.len() < TOLD_MAX || choice.chosen.is_some() {
                let (rule, lab) = (rule.id.clone(), target.lab.clone());
                choice.considered.push(Considered { rule, lab, region, why, text, closes_at });
            } else {
                choice.more += 1;
            }
            if choice.chosen.is_some() {
                break 'rules;
            }
        }
        if rule.only {
            break;
        }
    }
    choice.chosen = choice.chosen.or(resort);
    choice
}

/// Who could make each line, if it were an order of its own.
fn lines<'a>(
    spec: &RouteSpec,
    wanted: &Wanted<'_>,
    standing: &impl Fn(&LabId) -> Option<Standing<'a>>,
    now: Timestamp,
) -> Vec<LineRoute> {
    let mut routes: Vec<LineRoute> = Vec::new();
    for line in &wanted.lines {
        if let Some(known) = routes.iter_mut().find(|route| route.sku == line.sku) {
            known.items.push(line.id.to_owned());
        } else if routes.len() < LINES_MAX {
            let alone = Wanted { lines: vec![*line], ..wanted.clone() };
            let chosen = walk(spec, &alone, standing, now).chosen;
            let (lab, region) = chosen.map(|chosen| (chosen.lab, chosen.region)).unzip();
            routes.push(LineRoute { items: vec![line.id.to_owned()], sku: line.sku.to_owned(), lab, region });
        }
    }
    // One product that nobody makes: what was said of the labs says it all.
    if routes.iter().all(|route| route.lab.is_none()) { Vec::new() } else { routes }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
