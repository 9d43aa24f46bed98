//! Labs: what one is, what it can do, and the closed list of what it may answer.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::calendar::Calendar;
use super::hours::{AnswerDue, Hours};
use super::ids::{LabId, RegionId, ServiceLevel};
use super::order::{Item, Stage};
use super::zones::Zones;
use super::{Fault, nearest};

pub use super::address::AddressChanges;
pub use super::contact::{Contact, StopChannel, StopsVia, Terms};
pub use super::measures::{Dedupes, Lasting, Rate};
pub use super::region::{GroupSpec, Mixed, Place, Promise, RegionSpec};

/// What a lab answered, or that it did not: the one list for all drivers. A driver classifies once;
/// everybody else only matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The lab has it.
    Accepted {
        /// The lab's own reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lab_reference: Option<String>,
    },
    /// Definitely not taken, and never will be under this key.
    Refused {
        /// Why, in the lab's words.
        reason: String,
    },
    /// Taken out: it will not be printed.
    Removed {
        /// More, in the lab's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The lines that were taken out, where the stop named lines: all that it named. Else none is named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        items: Vec<String>,
    },
    /// It is or will be printed.
    WillPrint {
        /// Why, in the lab's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How far it is.
        #[serde(default)]
        stage: Stage,
    },
    /// Heard; the answer comes later.
    AnswerLater,
    /// The lab does not have it now.
    NotFound,
    /// Definitely not delivered: no byte of the request has left.
    Unreachable {
        /// What went wrong.
        cause: String,
    },
    /// Everything else: nobody knows.
    Unclear {
        /// What was seen.
        cause: String,
    },
}

impl Answer {
    /// The word for metrics, logs and pages.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Refused { .. } => "refused",
            Self::Removed { .. } => "removed",
            Self::WillPrint { .. } => "will_print",
            Self::AnswerLater => "answer_later",
            Self::NotFound => "not_found",
            Self::Unreachable { .. } => "unreachable",
            Self::Unclear { .. } => "unclear",
        }
    }

    /// Whether the lab was there and spoke: what a breaker counts as well.
    #[must_use]
    pub fn spoke(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::Unclear { .. })
    }
}

/// Whether the lab takes stops after it has an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TakesStops {
    /// It can be asked by machine.
    Yes,
    /// It has no channel for stops: a person asks.
    #[default]
    No,
    /// What it has received is final, by contract.
    FinalOnReceipt,
}

/// What a lab can do. A `false` too many costs time; a `true` too many can cost a print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Whether it prints once what it gets twice under one key: `no`, `forever` or a duration.
    #[schema(value_type = String, example = "24h")]
    pub dedupes: Dedupes,
    /// Whether it can be asked if it has an order.
    pub lookup: bool,
    /// Whether it takes stops.
    pub stops: TakesStops,
    /// Whether a stop may name lines: it takes these out, says so, and makes the rest of the order.
    pub stops_lines: bool,
    /// Whether it has a first phase: it can be sent orders ahead of the hand-over, and holds them. It
    /// prints none before they are handed over.
    pub two_phase: bool,
    /// Whether it takes another shipping address after the hand-over, and until when it is asked.
    #[serde(skip_serializing_if = "AddressChanges::is_no")]
    pub address_changes: AddressChanges,
    /// Who answers stops. Unless told: the lab's people, if its driver is `person` and it has a contact
    /// e-mail; else its endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<StopChannel>,
    /// Orders that one call may carry, 1 to 1000.
    pub orders_per_call: u32,
    /// The longest that it may take to act on a request that it got.
    pub acts_within: Lasting,
    /// When the answer to a stop is due, after it was asked.
    pub answers_within: Lasting,
    /// Calls at the same time, 1 to 256.
    pub concurrency: u32,
    /// Calls per time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "50/s")]
    pub rate: Option<Rate>,
    /// Which window an order joins whose products belong to several groups of its region.
    #[serde(skip_serializing_if = "super::region::is_usual")]
    pub mixed: Mixed,
    /// Uploads of one transfer before a person takes it, 1 to 100.
    pub attempts_max: i64,
    /// How long the gateway may try to hand a transfer over, or to find out what came of it, before
    /// a person takes it.
    pub handover_within: Lasting,
}

impl Profile {
    /// Whether stops are tasks of the lab's people.
    #[must_use]
    pub fn by_person(&self) -> bool {
        self.channel == Some(StopChannel::Person)
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            dedupes: Dedupes::No,
            lookup: false,
            stops: TakesStops::No,
            stops_lines: false,
            two_phase: false,
            address_changes: AddressChanges::No,
            channel: None,
            orders_per_call: 1,
            acts_within: Lasting::seconds(120),
            answers_within: Lasting::seconds(30 * 60),
            concurrency: 8,
            rate: None,
            mixed: Mixed::Earliest,
            attempts_max: 20,
            handover_within: Lasting::seconds(6 * 3600),
        }
    }
}

/// The lab's own rules about stops, as data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabPolicy {
    /// Who may ask.
    pub stops_via: StopsVia,
    /// Whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
    /// Every order is direct: paid means producing. After the hand-over nothing is stopped, or only by a
    /// person, where a contact is shown.
    pub immediate_production: bool,
    /// How long a direct order waits before it goes: until then it can be stopped for certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Lasting>,
}

impl LabPolicy {
    fn faults(&self) -> Vec<Fault> {
        let contact = self.contact.clone().unwrap_or_default();
        let mut faults = Vec::new();
        if self.stops_via == StopsVia::Contact && contact.email.is_none() && contact.phone.is_none() {
            let allowed = "an e-mail address or a telephone number, because stops_via is contact";
            faults.push(Fault::missing("contact", allowed));
        }
        if let Some(phone) = &contact.phone
            && (phone.trim().is_empty() || phone.chars().count() > 200 || phone.chars().any(char::is_control))
        {
            faults.push(Fault::not("contact.phone", phone, "1 to 200 printable characters"));
        }
        faults
    }

    /// The contact, where platforms may see it.
    #[must_use]
    pub fn contact_shown(&self) -> Option<&Contact> {
        self.contact.as_ref().filter(|_| self.stops_via != StopsVia::GatewayOnly)
    }

    /// Whether stops reach the lab after it has an order, as its policy has it. A lab whose platforms
    /// contact it themselves is asked by no machine. One that produces at once takes none, unless a
    /// contact is shown who may decide case by case.
    #[must_use]
    pub fn takes(&self, stops: TakesStops) -> TakesStops {
        match stops {
            TakesStops::FinalOnReceipt => stops,
            _ if self.immediate_production && self.contact_shown().is_none() => TakesStops::FinalOnReceipt,
            _ if self.immediate_production || self.stops_via == StopsVia::Contact => TakesStops::No,
            _ => stops,
        }
    }

    /// A profile as this policy lets it act.
    #[must_use]
    pub fn over(&self, profile: Profile) -> Profile {
        Profile { stops: self.takes(profile.stops), ..profile }
    }
}

/// A secret that is named here and kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// In this variable of the daemon's environment.
    Env(String),
    /// In this file.
    File(String),
}

/// How the lab is reached. `kind` chooses the driver; the driver checks its own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DriverSpec {
    /// The driver: `http`, `grpc`, `link`, `person`.
    pub kind: String,
    /// The driver's settings, such as `base_url`.
    #[serde(flatten)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// A lab, as `PUT /v1/labs/{id}` and `stoppress labs import` take it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabSpec {
    /// Its id.
    pub id: LabId,
    /// Its name, for people.
    pub name: String,
    /// How it is reached.
    pub driver: DriverSpec,
    /// What it can do.
    #[serde(default)]
    pub profile: Profile,
    /// Its rules about stops.
    #[serde(default)]
    pub policy: LabPolicy,
    /// Where it prints: at least one region.
    #[schema(min_items = 1)]
    pub regions: Vec<RegionSpec>,
}

/// A file for `stoppress labs import`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabsFile {
    /// The labs.
    pub labs: Vec<LabSpec>,
}

/// A lab with its calendars built: ready to admit orders.
#[derive(Debug, Clone)]
pub struct Lab {
    /// What was configured.
    pub spec: LabSpec,
    /// Where its orders are collected: each region in the order of `spec.regions`, its groups behind it.
    pub places: Vec<Place>,
    /// When its people answer, where that is told.
    pub hours: Option<Hours>,
}

impl Lab {
    /// Checks a lab and builds its calendars; all faults at once, named from the lab's root.
    pub fn build(spec: LabSpec, zones: &Zones, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let contact = spec.policy.contact.iter().flat_map(|it| it.faults(spec.profile.answers_within));
        let contact: Vec<_> = contact.map(|fault| fault.under("policy.contact")).collect();
        match Self::build_stored(spec, zones, now) {
            Ok(lab) if contact.is_empty() => Ok(lab),
            Ok(_) => Err(contact),
            Err(mut faults) => {
                faults.extend(contact);
                Err(faults)
            }
        }
    }

    /// The same of a definition that was taken before contacts had a form: hours that cannot be read
    /// count as none, and an address that is none gets no mail.
    pub fn build_stored(spec: LabSpec, zones: &Zones, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let mut faults = spec.faults();
        let mut places = Vec::with_capacity(spec.regions.len());
        for (at, region) in spec.regions.iter().enumerate() {
            match region.places(zones, now) {
                Ok(own) => places.extend(own),
                Err(inner) => {
                    faults.extend(inner.into_iter().map(|fault| fault.under(&format!("regions[{at}]"))));
                }
            }
        }
        let hours = spec.policy.contact.as_ref().and_then(|contact| contact.hours.as_deref());
        let hours = hours.and_then(|text| Hours::parse(text).ok());
        if faults.is_empty() { Ok(Self { spec, places, hours }) } else { Err(faults) }
    }

    /// Where orders are collected: a region, or a group of one.
    #[must_use]
    pub fn place(&self, id: &RegionId) -> Option<&Place> {
        self.places.iter().find(|place| place.id == *id)
    }

    /// The calendar of a region, or of a group of one.
    #[must_use]
    pub fn calendar(&self, region: &RegionId) -> Option<&Calendar> {
        self.place(region).map(|place| &place.calendar)
    }

    /// The places of a region to which the items of an order belong: see [`RegionSpec::places_of`].
    ///
    /// # Errors
    /// What the region does not make or offer, by field.
    pub fn places_of(
        &self,
        region: &RegionId,
        items: &[Item],
        level: Option<&ServiceLevel>,
    ) -> Result<Vec<&Place>, Vec<Fault>> {
        let (region, _) = self.region(Some(region), None).map_err(|fault| vec![fault])?;
        let places = region.places_of(items, level)?;
        Ok(places.iter().filter_map(|place| self.place(place)).collect())
    }

    /// When the answer to a stop is due that is asked now, where contact hours decide it: people answer, and
    /// the lab says when.
    #[must_use]
    pub fn answer_due(&self, region: &RegionId, asked: Timestamp) -> Option<AnswerDue> {
        let hours = self.hours.as_ref().filter(|_| self.spec.people_answer())?;
        AnswerDue::of(hours, self.calendar(region)?, asked, self.spec.profile.answers_within.0)
    }

    /// The region and calendar for an order: by name, else the only one, else by country.
    pub fn region(
        &self,
        named: Option<&RegionId>,
        country: Option<&str>,
    ) -> Result<(&RegionSpec, &Calendar), Fault> {
        let own = |region: &RegionSpec| self.places.iter().find(|place| place.id == region.id);
        let all = || self.spec.regions.iter().filter_map(|region| Some((region, &own(region)?.calendar)));
        if let Some(named) = named {
            return all().find(|(region, _)| region.id == *named).ok_or_else(|| {
                let known: Vec<&str> = self.spec.regions.iter().map(|region| region.id.as_str()).collect();
                let hint = nearest(named.as_str(), known.iter().copied());
                let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
                Fault::new(
                    "region",
                    format!(
                        "{:?} is not a region of lab {}: {}{hint}",
                        named.as_str(),
                        self.spec.id,
                        known.join(", ")
                    ),
                )
            });
        }
        if let Some(only) = all().next().filter(|_| self.spec.regions.len() == 1) {
            return Ok(only);
        }
        let serves =
            |region: &RegionSpec| country.is_some_and(|c| region.countries.iter().any(|known| known == c));
        all().find(|(region, _)| serves(region)).ok_or_else(|| {
            Fault::missing(
                "region",
                &format!(
                    "named, because lab {} has several and none of them is for country {}",
                    self.spec.id,
                    country.unwrap_or("(none given)")
                ),
            )
        })
    }
}

impl LabSpec {
    /// Checks everything but the calendars and the driver's own settings.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            faults.push(Fault::not("name", &self.name, "1 to 200 printable characters"));
        }
        let profile = &self.profile;
        if !(1..=1000).contains(&profile.orders_per_call) {
            faults.push(Fault::not(
                "profile.orders_per_call",
                profile.orders_per_call,
                "a whole number from 1 to 1000",
            ));
        }
        if !(1..=256).contains(&profile.concurrency) {
            faults.push(Fault::not(
                "profile.concurrency",
                profile.concurrency,
                "a whole number from 1 to 256",
            ));
        }
        if !(1..=100).contains(&profile.attempts_max) {
            faults.push(Fault::not(
                "profile.attempts_max",
                profile.attempts_max,
                "a whole number from 1 to 100",
            ));
        }
        if profile.stops_lines && !self.profile_in_force().by_person() && profile.stops != TakesStops::Yes {
            let allowed = "true only where `profile.stops` is yes, or the lab's people answer stops";
            faults.push(Fault::not("profile.stops_lines", true, allowed));
        }
        faults.extend(self.address_changes_fault());
        let day = Lasting::seconds(24 * 3600);
        for (field, value) in [
            ("profile.acts_within", profile.acts_within),
            ("profile.answers_within", profile.answers_within),
            ("profile.handover_within", profile.handover_within),
        ] {
            if value > Lasting::seconds(30 * 24 * 3600) {
                faults.push(Fault::not(field, value.to_string(), "a duration of at most 720h"));
            }
        }
        if let Some(grace) = self.policy.grace.filter(|grace| *grace > day) {
            faults.push(Fault::not("policy.grace", grace.to_string(), "a duration of at most 24h"));
        }
        faults.extend(self.policy.faults().into_iter().map(|fault| fault.under("policy")));
        if self.regions.is_empty() {
            faults.push(Fault::new("regions", "is empty; a lab has at least one region"));
        }
        let mut seen = BTreeSet::new();
        let mut countries = BTreeSet::new();
        for (at, region) in self.regions.iter().enumerate() {
            if !seen.insert(&region.id) {
                faults.push(Fault::not(
                    format!("regions[{at}].id"),
                    region.id.as_str(),
                    "unique: an earlier region of this lab has it",
                ));
            }
            let inside = region.faults().into_iter();
            faults.extend(inside.map(|fault| fault.under(&format!("regions[{at}]"))));
            for (country_at, country) in region.countries.iter().enumerate() {
                let field = format!("regions[{at}].countries[{country_at}]");
                if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
                    faults.push(Fault::not(
                        field,
                        country,
                        "a country code of two capital letters, such as \"FI\"",
                    ));
                } else if !countries.insert(country) {
                    faults.push(Fault::not(field, country, "unique: an earlier region of this lab has it"));
                }
            }
        }
        faults
    }
}
