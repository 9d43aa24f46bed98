//! Routes, whatever they come over: where an order goes that names no lab, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::Api;
use super::orders::{Content, Outcome, Prepared, prepared};
use super::problem::{Answer, Code, Problem};
use super::registry::{DEFAULT_ROUTES, LabEntry, RoutesEntry, Snapshot};
use crate::domain::Fault;
use crate::domain::event::{Actor, Event, hex};
use crate::domain::health::Reach;
use crate::domain::ids::{LabId, PlatformId, ServiceLevel};
use crate::domain::order::{ItemKind, OrderFacts, Submission};
use crate::domain::route::{self, Choice, Chosen, Explanation, Standing, Wanted, Wish};
use crate::store::{OrderRef, Scope};

/// The routes that hold for a platform.
fn rules(known: &Snapshot, platform: &PlatformId) -> Answer<Arc<RoutesEntry>> {
    known.routes_of(platform).cloned().ok_or_else(|| {
        let text = format!(
            "The order names no lab, and there are no routes: neither of platform {platform} nor `{DEFAULT_ROUTES}`."
        );
        Problem::new(Code::NoRoute, text)
    })
}

/// How the labs of these routes stand, as this gateway sees it.
fn standings<'a>(api: &Api, known: &'a Snapshot, routes: &RoutesEntry) -> BTreeMap<LabId, Standing<'a>> {
    let standing = |entry: &'a LabEntry| {
        let reach = (api.health)(&entry.lab.spec.id).map(|health| health.reach);
        // A lab that dials out may be connected to another gateway.
        let away = reach == Some(Reach::Away) && !api.store.shared();
        Standing {
            lab: &entry.lab,
            paused: entry.paused.is_some(),
            unusable: reach == Some(Reach::Unusable),
            failing: reach == Some(Reach::Closed) || away,
        }
    };
    let named: Vec<&LabId> =
        routes.spec.rules.iter().flat_map(|rule| &rule.to).map(|target| &target.lab).collect();
    let labs = known.labs.iter().filter(|(id, _)| named.contains(id));
    labs.map(|(id, entry)| (id.clone(), standing(entry))).collect()
}

/// Chooses lab and region for what is wanted.
pub(super) fn explain(api: &Api, wanted: &Wanted<'_>, now: Timestamp) -> Answer<Explanation> {
    let known = api.registry.snapshot();
    let routes = rules(&known, wanted.platform)?;
    let standings = standings(api, &known, &routes);
    let choice = route::choose(&routes.spec, wanted, &|lab: &LabId| standings.get(lab).copied(), now);
    Ok(Explanation {
        routes: routes.id.clone(),
        version: routes.version,
        gateway: api.replica.clone(),
        choice,
    })
}

/// What is wanted of a submission.
fn wanted<'a>(platform: &'a PlatformId, submission: &'a Submission) -> Wanted<'a> {
    let asked = submission.need.as_ref().and_then(|need| need.country.as_deref());
    let country = asked.or_else(|| submission.ship_to.as_ref().map(|address| address.country.as_str()));
    let printed = submission.items.iter().filter(|item| item.kind == ItemKind::Print);
    Wanted {
        platform,
        country,
        service_level: submission.service_level.as_ref(),
        lines: printed.map(|item| Wish { id: &item.id, sku: &item.sku }).collect(),
    }
}

/// Chooses lab and region of an order that names none, and prepares it. What was asked is what counts as its
/// content: the same order is the same, wherever it would go now.
pub(super) fn prepare(
    api: &Api,
    platform: &PlatformId,
    submission: &Submission,
    actor: &Actor,
    now: Timestamp,
) -> Answer<Prepared> {
    if let Some(region) = &submission.region {
        let text =
            format!("{:?} is given beside `need`: with the lab, its region is chosen", region.as_str());
        return Err(Fault::new("region", text).into());
    }
    let explanation = explain(api, &wanted(platform, submission), now)?;
    let Some(Chosen { lab, region, .. }) = explanation.choice.chosen.clone() else {
        return Err(refused(&explanation));
    };
    let entry = api.registry.lab(&lab).ok_or_else(|| refused(&explanation))?;
    let (_, sha256) = submission.document();
    let placed = Submission { lab: Some(lab), region: Some(region.clone()), ..submission.clone() };
    let text =
        serde_json::to_string(&explanation).map_err(|error| Problem::unexpected(&error.to_string()))?;
    let route = RawValue::from_string(text).map_err(|error| Problem::unexpected(&error.to_string()))?;
    let content = Content { document: placed.document().0, sha256: hex(&sha256), route: Some(route) };
    prepared(api, platform, &placed, (entry, region), content, actor, now)
}

fn refused(explanation: &Explanation) -> Problem {
    let Explanation { routes, version, choice, .. } = explanation;
    let Choice { considered, skipped, lines, .. } = choice;
    let mut problem = Problem::new(Code::NoRoute, choice.refusal(routes.as_str()))
        .with("routes", routes)
        .with("version", version)
        .with("considered", considered)
        .with("skipped", skipped);
    if !lines.is_empty() {
        problem = problem.with("lines", lines);
    }
    problem
}

/// What became of an order that no lab can take now: one that was taken before is the same order still.
///
/// # Errors
/// If the store does not answer.
pub(super) async fn known(
    api: &Api,
    platform: &PlatformId,
    submission: &Submission,
    problem: Problem,
) -> Answer<Outcome> {
    let which = OrderRef::Reference(submission.reference.clone());
    let scope = Scope::Platform(platform.clone());
    let Some(facts) = api.store.orders(&scope, &[which]).await?.pop().flatten() else {
        return Ok(Outcome::Refused(problem));
    };
    let log = api.store.log(&[facts.id.as_str()]).await?;
    let sha256 = hex(&submission.document().1);
    if log.first().is_some_and(|event| event.detail["sha256"] == sha256) {
        return Ok(Outcome::Same(facts.id));
    }
    Ok(Outcome::Refused(super::orders::taken(&facts.id)))
}

/// How lab and region of an order were chosen; `None` where it named its lab.
///
/// # Errors
/// If the store does not answer.
pub(super) async fn taken(api: &Api, facts: &OrderFacts) -> Answer<Option<Explanation>> {
    recorded(&api.store.log(&[facts.id.as_str()]).await?)
}

/// The same, of the log of an order.
pub(super) fn recorded(log: &[Event]) -> Answer<Option<Explanation>> {
    // The entry of its admission has it; with an order's log may come that of its batch.
    let Some(route) = log.iter().find_map(|event| event.detail.get("route")) else { return Ok(None) };
    let read = serde_json::from_value(route.clone());
    read.map(Some).map_err(|_| Problem::unexpected("a stored route cannot be read"))
}

/// What is wanted of an order that is not submitted.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// Whose order it would be.
    pub(super) platform: PlatformId,
    /// The country.
    pub(super) country: Option<String>,
    /// The service level.
    pub(super) service_level: Option<ServiceLevel>,
    /// The printed items: id and product.
    pub(super) items: Vec<(String, String)>,
}

impl Question {
    /// Where it would go now.
    ///
    /// # Errors
    /// If there are no routes.
    pub(super) fn ask(&self, api: &Api) -> Answer<Explanation> {
        let wanted = Wanted {
            platform: &self.platform,
            country: self.country.as_deref(),
            service_level: self.service_level.as_ref(),
            lines: self.items.iter().map(|(id, sku)| Wish { id, sku }).collect(),
        };
        explain(api, &wanted, api.clock.now())
    }
}
