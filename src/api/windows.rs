//! Which window an order joins: the one place of the surface that reads a lab's calendars.

use jiff::Timestamp;

use crate::clock::Random;
use crate::domain::Fault;
use crate::domain::batch::{Joining, later};
use crate::domain::calendar::Cutoff;
use crate::domain::ids::{BatchId, RegionId};
use crate::domain::lab::{Lab, LabSpec, Place, Promise};

/// How often an admission may find its window closed before it is given up.
pub const TRIES: usize = 5;

/// The rule that a window of a direct order shows.
pub const DIRECT: &str = "direct";

/// Whether an order goes alone.
#[must_use]
pub fn is_direct(lab: &LabSpec, asked: bool) -> bool {
    asked || lab.policy.immediate_production
}

/// The window of an order as of `at`, whose items belong to these places of one region.
///
/// It joins the window of one of them, as the lab's profile says, and is promised the earliest of the cutoffs that
/// they promise.
///
/// # Errors
/// If a calendar has no cutoff any more.
pub fn joining(
    lab: &Lab,
    places: &[&Place],
    direct: bool,
    at: Timestamp,
    random: &dyn Random,
) -> Result<Joining, Fault> {
    let closed = |place: &RegionId| {
        Fault::new("lab", format!("region {place} of lab {} has no cutoff any more", lab.spec.id))
    };
    let first = *places.first().ok_or_else(|| Fault::new("lab", format!("{} has no region", lab.spec.id)))?;
    if direct {
        let grace = lab.spec.policy.grace.map(|grace| grace.0).unwrap_or_default();
        let closes_at = crate::clock::whole_micros(later(at, grace));
        let (local, date) = first.calendar.shown(closes_at);
        return Ok(Joining {
            batch: BatchId::new(at, random),
            lab: lab.spec.id.clone(),
            region: first.id.clone(),
            direct: true,
            opens_at: at,
            closes_at,
            closes_at_local: local,
            production_date: date.to_string(),
            rule: DIRECT.to_owned(),
            time_zone: first.calendar.time_zone().to_owned(),
            tzdata: first.calendar.tzdata().to_owned(),
            promised: true,
            until: None,
        });
    }
    let mut windows = Vec::with_capacity(places.len());
    for place in places {
        windows.push(place.calendar.window(at).ok_or_else(|| closed(&place.id))?);
    }
    let cutoffs: Vec<_> =
        windows.iter().zip(places).map(|(window, place)| (window.cutoff.at, place.promise)).collect();
    let (chosen, until) = lab.spec.profile.mixed.choose(&cutoffs).ok_or_else(|| closed(&first.id))?;
    let window = windows.swap_remove(chosen);
    let opens_at = window.opens_at.unwrap_or(at);
    let joining = of(lab, places[chosen], opens_at, window.cutoff, at, random);
    Ok(Joining { until: until.filter(|until| *until < joining.closes_at), ..joining })
}

/// The window that a cutoff closes.
#[must_use]
pub fn of(
    lab: &Lab,
    place: &Place,
    opens_at: Timestamp,
    cutoff: Cutoff,
    now: Timestamp,
    random: &dyn Random,
) -> Joining {
    Joining {
        batch: BatchId::new(now, random),
        lab: lab.spec.id.clone(),
        region: place.id.clone(),
        direct: false,
        opens_at,
        closes_at: cutoff.at,
        closes_at_local: cutoff.local,
        production_date: cutoff.production_date.to_string(),
        rule: format!("{} {}", cutoff.rule, cutoff.time),
        time_zone: place.calendar.time_zone().to_owned(),
        tzdata: place.calendar.tzdata().to_owned(),
        promised: place.promise == Promise::Cutoff,
        until: None,
    }
}

/// As of when to look for the next window, after one was found closed: another replica's clock, or
/// ops, may have closed it before our clock is there.
#[must_use]
pub fn after_closed(closed: Option<&Joining>, now: Timestamp) -> Timestamp {
    closed.filter(|closed| !closed.direct).map_or(now, |closed| closed.closes_at.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;
    use crate::domain::zones::Zones;

    fn lab(more: &str) -> Lab {
        let text = format!(
            r#"{{"id":"nord","name":"Nord","driver":{{"kind":"person"}},"policy":{{{more}}},
               "regions":[{{"id":"fi","calendar":{{"time_zone":"Europe/Helsinki","cutoffs":["24:00"]}}}}]}}"#
        );
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        Lab::build(serde_json::from_str(&text).unwrap(), &Zones::bundled(), now).unwrap()
    }

    fn join(lab: &Lab, direct: bool, at: &str) -> Joining {
        joining(lab, &[&lab.places[0]], direct, at.parse().unwrap(), &SeededRandom::new(1)).unwrap()
    }

    #[test]
    fn a_window_is_that_of_the_calendar() {
        let lab = lab("");
        let window = join(&lab, false, "2026-11-21T12:00:00Z");
        assert_eq!(window.opens_at.to_string(), "2026-11-20T22:00:00Z");
        assert_eq!(window.closes_at.to_string(), "2026-11-21T22:00:00Z");
        assert_eq!(window.closes_at_local, "2026-11-22T00:00:00+02:00[Europe/Helsinki]");
        assert_eq!((window.rule.as_str(), window.production_date.as_str()), ("regular 24:00", "2026-11-21"));
        // At the cutoff itself, the next window; also if the store closed it before our clock says so.
        assert_eq!(join(&lab, false, "2026-11-21T22:00:00Z").opens_at, window.closes_at);
        let early = "2026-11-21T21:59:59Z".parse().unwrap();
        assert_eq!(after_closed(Some(&window), early), window.closes_at);
        assert_eq!(after_closed(None, early), early);
    }

    #[test]
    fn a_direct_order_has_a_window_of_its_own() {
        let window = join(&lab(r#""grace":"90s""#), true, "2026-11-21T21:59:00Z");
        assert_eq!(window.closes_at.to_string(), "2026-11-21T22:00:30Z");
        assert_eq!(window.closes_at_local, "2026-11-22T00:00:30+02:00[Europe/Helsinki]");
        assert_eq!((window.production_date.as_str(), window.rule.as_str()), ("2026-11-22", "direct"));
        let none = join(&lab(""), true, "2026-11-21T21:59:00Z");
        assert_eq!(none.closes_at, none.opens_at);
        assert!(is_direct(&lab(r#""immediate_production":true"#).spec, false));
    }
}
