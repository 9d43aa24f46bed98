//! A calendar as people write it: plain data, the same in TOML, JSON and the API.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess};
use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::{Fault, nearest};

/// The names of the weekdays, Monday first.
pub(super) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The cutoff calendar of one production region, as it is written down.
///
/// Nothing in it is checked yet: [`Calendar::build`](super::Calendar::build) does that, and names
/// everything that is wrong at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CalendarSpec {
    /// The IANA name of the region's time zone.
    // Required: that it is missing is said by `Calendar::build`, beside the key it was mistaken for.
    #[serde(default)]
    #[schema(required = true, example = "Europe/Berlin")]
    pub time_zone: String,
    /// Local wall-clock times, `00:00` to `24:00`. `24:00` is the midnight that ends the date.
    /// May be empty if there are seasons or special dates.
    #[serde(default, deserialize_with = "texts")]
    #[schema(example = json!(["24:00"]))]
    pub cutoffs: Vec<String>,
    /// The weekdays that have cutoffs; all of them if left out.
    #[serde(default = "all_weekdays")]
    #[schema(example = json!(["mon", "tue", "wed", "thu", "fri"]))]
    pub weekdays: Vec<String>,
    /// Dates without a cutoff: one date (`2026-12-25`) or a month-day of every year (`01-01`).
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["2026-12-25", "01-01"]))]
    pub closed: Vec<String>,
    /// The cutoffs of single dates, instead of everything else; an empty list closes the date.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"2026-12-24": ["10:00"]}))]
    pub special: BTreeMap<String, Vec<String>>,
    /// Parts of the year with cutoffs of their own; the first that contains a date wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seasons: Vec<SeasonSpec>,
    /// Keys that nobody knows, kept so that they can be refused by name.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: UnknownKeys,
}

impl CalendarSpec {
    /// The keys of a calendar.
    pub(super) const KEYS: [&'static str; 6] =
        ["time_zone", "cutoffs", "weekdays", "closed", "special", "seasons"];
}

/// A part of the year with cutoffs of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SeasonSpec {
    /// What the season is called.
    #[schema(example = "peak")]
    pub name: String,
    /// Its first month-day. If it is later than `to`, the season runs over the year's end.
    #[schema(example = "10-01")]
    pub from: String,
    /// Its last month-day.
    #[schema(example = "12-31")]
    pub to: String,
    /// Its local wall-clock times; an empty list closes the season.
    #[serde(deserialize_with = "texts")]
    #[schema(example = json!(["12:00", "24:00"]))]
    pub cutoffs: Vec<String>,
    /// The weekdays that have cutoffs in the season; the calendar's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekdays: Option<Vec<String>>,
    /// Keys that nobody knows, kept so that they can be refused by name.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: UnknownKeys,
}

impl SeasonSpec {
    /// The keys of a season.
    pub(super) const KEYS: [&'static str; 5] = ["name", "from", "to", "cutoffs", "weekdays"];
}

/// The keys of an object that are none of its fields: flattened into it, so that all of them are
/// refused together with whatever else is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnknownKeys(BTreeSet<String>);

impl UnknownKeys {
    /// A fault for each of them, with the nearest of the keys that are known.
    pub fn faults(&self, known: &[&str]) -> impl Iterator<Item = Fault> {
        self.0.iter().map(|key| {
            let message = match nearest(key, known.iter().copied()) {
                Some(near) => format!("is not a known key; did you mean {near:?}?"),
                None => format!("is not a known key; known are {}", known.join(", ")),
            };
            Fault::new(key, message)
        })
    }
}

impl<'de> Deserialize<'de> for UnknownKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UnknownKeysVisitor)
    }
}

struct UnknownKeysVisitor;

impl<'de> de::Visitor<'de> for UnknownKeysVisitor {
    type Value = UnknownKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UnknownKeys, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, IgnoredAny)) = map.next_entry()? {
            keys.insert(key);
        }
        Ok(UnknownKeys(keys))
    }
}

fn all_weekdays() -> Vec<String> {
    WEEKDAYS.map(str::to_owned).to_vec()
}

/// A list of texts in which TOML's own dates and times may stand without quotes.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<Text>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|Text(text)| text).collect())
}

struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> de::Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    /// How the toml crate hands over `2026-12-25` and `17:30`: as a map of one key of its own.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        match map.next_entry::<String, String>()? {
            Some((key, text)) if key == "$__toml_private_datetime" => Ok(Text(text)),
            _ => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }
}
