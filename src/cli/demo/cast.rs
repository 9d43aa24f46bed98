//! The labs of the demo: seven regions on six clocks, each with a manner of its own.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use crate::cli::simulate::behaviour::{Behaviour, Down, DownBy, LosesBy, Share, Stops};
use crate::domain::Fault;
use crate::domain::ids::{LabId, RegionId};
use crate::domain::lab::{LabSpec, Lasting};
use crate::domain::zones::Zones;

/// A lab of the demo.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its id.
    pub id: &'static str,
    /// Its region.
    pub region: &'static str,
    /// The region's zone.
    pub zone: &'static str,
    /// What it is known for, in a few words.
    pub manner: &'static str,
    /// The driver.
    pub driver: &'static str,
    /// Whether calls to it are signed.
    pub signed: bool,
    /// Whether it reports what it has printed, by calls to the API. A lab that dials out reports by itself.
    pub reports: bool,
    countries: &'static [&'static str],
}

/// All labs. The last one prints for whatever country no other does.
pub(super) const ROLES: [Role; 7] = [
    Role {
        id: "nordprint",
        region: "fi",
        zone: "Europe/Helsinki",
        manner: "HTTP; loses answers; same key, one print",
        driver: "http",
        signed: false,
        reports: false,
        countries: &["FI", "EE", "LV", "LT", "SE", "NO", "DK", "PL"],
    },
    Role {
        id: "thames",
        region: "gb",
        zone: "Europe/London",
        manner: "HTTP, signed; twice a day; stops answered 20 min later; away for an hour",
        driver: "http",
        signed: true,
        reports: true,
        countries: &["GB", "IE", "JE", "GG", "IM"],
    },
    Role {
        id: "hudson",
        region: "us-east",
        zone: "America/New_York",
        manner: "gRPC; well-behaved",
        driver: "grpc",
        signed: false,
        reports: true,
        countries: &["US", "CA"],
    },
    Role {
        id: "rheinbild",
        region: "de",
        zone: "Europe/Berlin",
        manner: "HTTP; takes no stops, no same key, no look-up; loses answers",
        driver: "http",
        signed: false,
        reports: false,
        countries: &["DE", "AT", "CH", "FR", "NL", "BE", "LU", "CZ"],
    },
    Role {
        id: "harbour",
        region: "au",
        zone: "Australia/Sydney",
        manner: "HTTP; prints twice what comes twice; look-up; fails, loses answers",
        driver: "http",
        signed: false,
        reports: false,
        countries: &["AU", "NZ", "JP", "SG", "HK"],
    },
    Role {
        id: "levante",
        region: "es",
        zone: "Europe/Madrid",
        manner: "dials out (LabLink); stops answered 10 min later; reports all that it makes",
        driver: "link",
        signed: false,
        reports: false,
        countries: &["ES", "PT", "IT", "GR", "MT", "CY"],
    },
    Role {
        id: "atlantico",
        region: "rest",
        zone: "Atlantic/Azores",
        manner: "gRPC; refuses and fails now and then; final on receipt",
        driver: "grpc",
        signed: false,
        reports: true,
        countries: &[],
    },
];

/// The lab and region that print for a country.
///
/// # Panics
/// Never: the ids above are slugs, and a test reads them.
#[must_use]
pub(super) fn route(country: &str) -> (LabId, RegionId) {
    let role = ROLES.iter().find(|role| role.countries.contains(&country)).unwrap_or(&ROLES[ROLES.len() - 1]);
    let lab = LabId::parse(role.id).expect("a slug");
    (lab, RegionId::parse(role.region).expect("a slug"))
}

fn share(of: f64) -> Share {
    Share::try_from(of).unwrap_or_default()
}

fn at(date: Date, time: &str, zone: &str, zones: &Zones) -> Result<Timestamp, Fault> {
    let time = time.parse().map_err(|error: jiff::Error| Fault::new("", error.to_string()))?;
    let found = zones.get(zone)?.to_ambiguous_timestamp(date.to_datetime(time)).compatible();
    found.map_err(|error| Fault::new("", error.to_string()))
}

impl Role {
    /// Whether it dials the gateway, instead of being called.
    #[must_use]
    pub fn dials(&self) -> bool {
        self.driver == "link"
    }

    /// How it behaves in a play that begins on `first`.
    ///
    /// # Errors
    /// If the zone data lacks its zone.
    pub fn behaviour(&self, first: Date, zones: &Zones) -> Result<Behaviour, Fault> {
        let hours = |hours: i64| Lasting::seconds(hours * 3600);
        let usual = Behaviour { loses_by: LosesBy::Close, ..Behaviour::default() };
        Ok(match self.id {
            "nordprint" => Behaviour { loses_answers: share(0.3), prints_after: hours(9), ..usual },
            "thames" => {
                let second = first.tomorrow().unwrap_or(first);
                let away = |time| at(second, time, self.zone, zones);
                Behaviour {
                    answers_late: Some(Lasting::seconds(20 * 60)),
                    prints_after: hours(16),
                    down: Some(Down {
                        by: DownBy::Close,
                        from: Some(away("11:45")?),
                        until: Some(away("12:45")?),
                    }),
                    ..usual
                }
            }
            "rheinbild" => Behaviour {
                loses_answers: share(0.25),
                prints_after: hours(20),
                stops: Stops::No,
                duplicates: true,
                ..usual
            },
            "harbour" => Behaviour {
                loses_answers: share(0.3),
                fails: share(0.1),
                prints_after: hours(10),
                duplicates: true,
                ..usual
            },
            "levante" => Behaviour {
                answers_late: Some(Lasting::seconds(10 * 60)),
                prints_after: hours(7),
                in_production_for: Some(hours(1)),
                ships_after: Some(hours(5)),
                ..usual
            },
            "atlantico" => Behaviour {
                refuses: share(0.2),
                fails: share(0.1),
                prints_after: hours(6),
                stops: Stops::TooLate,
                ..usual
            },
            _ => Behaviour { prints_after: hours(8), ..usual },
        })
    }

    /// Its definition, as somebody would `PUT` it.
    ///
    /// # Errors
    /// If it is not a lab: a test asks for all of them.
    pub fn spec(&self, address: std::net::SocketAddr, secret: Option<&Path>) -> Result<LabSpec, Fault> {
        let mut driver = Map::new();
        driver.insert("kind".to_owned(), self.driver.into());
        if !self.dials() {
            let field = if self.driver == "grpc" { "endpoint" } else { "base_url" };
            driver.insert(field.to_owned(), format!("http://{address}").into());
        }
        if let Some(file) = secret {
            driver.insert("secret".to_owned(), json!({ "file": file }));
        }
        let (profile, calendar) = self.habits();
        let policy = json!({ "contact": { "email": format!("stops@{}.example", self.id) } });
        // The play ends when nobody waits for anything: who warns always waits for the next cutoff.
        let region = json!({
            "id": self.region, "countries": self.countries, "calendar": calendar, "warn_before": "0s",
        });
        let spec = json!({
            "id": self.id, "name": format!("{} ({})", self.id, self.zone), "driver": driver,
            "profile": profile, "policy": policy,
            "regions": [region],
        });
        serde_json::from_value(spec).map_err(|error| Fault::new(self.id, error.to_string()))
    }

    fn habits(&self) -> (Value, Value) {
        match self.id {
            "nordprint" => (
                json!({ "dedupes": "forever", "stops": "yes", "orders_per_call": 10, "acts_within": "1m" }),
                json!({ "time_zone": self.zone, "cutoffs": ["24:00"] }),
            ),
            "thames" => (
                json!({ "dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 25,
                    "answers_within": "45m" }),
                json!({ "time_zone": self.zone, "cutoffs": ["24:00"], "seasons": [
                    { "name": "peak", "from": "10-01", "to": "12-31", "cutoffs": ["12:00", "24:00"] }] }),
            ),
            "hudson" => (
                json!({ "dedupes": "24h", "lookup": true, "stops": "yes", "orders_per_call": 50 }),
                json!({ "time_zone": self.zone, "cutoffs": ["23:00"] }),
            ),
            "rheinbild" => (
                json!({ "dedupes": "no", "stops": "no", "orders_per_call": 2, "handover_within": "1h",
                    "answers_within": "4h" }),
                json!({ "time_zone": self.zone, "cutoffs": ["17:30"],
                    "weekdays": ["mon", "tue", "wed", "thu", "fri"] }),
            ),
            "harbour" => (
                json!({ "dedupes": "no", "lookup": true, "stops": "yes", "orders_per_call": 5 }),
                json!({ "time_zone": self.zone, "cutoffs": ["18:00"] }),
            ),
            "levante" => (
                json!({ "dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 20 }),
                json!({ "time_zone": self.zone, "cutoffs": ["20:00"] }),
            ),
            _ => (
                json!({ "dedupes": "forever", "stops": "final_on_receipt", "orders_per_call": 1 }),
                json!({ "time_zone": self.zone, "cutoffs": ["24:00"] }),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lab::Lab;

    #[test]
    fn every_role_is_a_lab() {
        let zones = Zones::bundled();
        let now: Timestamp = "2010-12-01T00:00:00Z".parse().unwrap();
        for role in &ROLES {
            let spec = role.spec(([127, 0, 0, 1], 9).into(), None).unwrap();
            let lab = Lab::build(spec, &zones, now).unwrap();
            assert_eq!(lab.places[0].calendar.time_zone(), role.zone);
            role.behaviour(Date::constant(2010, 12, 1), &zones).unwrap();
        }
    }

    #[test]
    fn a_country_has_one_lab_and_the_rest_has_the_last() {
        assert_eq!(route("GB").0.as_str(), "thames");
        assert_eq!(route("JP").1.as_str(), "au");
        assert_eq!(route("BR").0.as_str(), "atlantico");
        let mut all: Vec<_> = ROLES.iter().flat_map(|role| role.countries).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
