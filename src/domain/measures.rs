//! Measures as people write them in a lab's definition: durations, rates, how long a key is kept.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fault;

/// A duration as people write it: `30s`, `2m`, `24h`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "30m")]
pub struct Lasting(pub SignedDuration);

impl Lasting {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(SignedDuration::from_secs(seconds))
    }
}

impl TryFrom<String> for Lasting {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        let allowed = "a duration such as \"30s\", \"2m\", \"24h\" or \"1h30m\"";
        let parsed: SignedDuration = text.parse().map_err(|_| Fault::not("", &text, allowed))?;
        if parsed.is_negative() { Err(Fault::not("", &text, allowed)) } else { Ok(Self(parsed)) }
    }
}

impl From<Lasting> for String {
    fn from(lasting: Lasting) -> Self {
        lasting.to_string()
    }
}

impl std::fmt::Display for Lasting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Whether the lab prints once what it gets twice under one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Dedupes {
    /// It does not, or it forgets the keys of jobs that ended.
    #[default]
    No,
    /// It keeps every key.
    Forever,
    /// It keeps a key for so long.
    Window(Lasting),
}

impl Dedupes {
    /// Whether sending the same again can be harmless.
    #[must_use]
    pub fn truly(self) -> bool {
        self != Self::No
    }
}

impl TryFrom<String> for Dedupes {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        match text.as_str() {
            "no" => Ok(Self::No),
            "forever" => Ok(Self::Forever),
            _ => Lasting::try_from(text.clone())
                .map(Self::Window)
                .map_err(|_| Fault::not("", &text, "\"no\", \"forever\" or a duration such as \"24h\"")),
        }
    }
}

impl From<Dedupes> for String {
    fn from(dedupes: Dedupes) -> Self {
        match dedupes {
            Dedupes::No => "no".to_owned(),
            Dedupes::Forever => "forever".to_owned(),
            Dedupes::Window(lasting) => lasting.to_string(),
        }
    }
}

/// How often a lab may be called: `50/s`, `600/m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// Calls.
    pub calls: u32,
    /// In so many seconds: 1, 60 or 3600.
    pub seconds: u32,
}

impl TryFrom<String> for Rate {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        let parts = text.split_once('/').and_then(|(calls, unit)| {
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                _ => return None,
            };
            calls
                .parse()
                .ok()
                .filter(|calls| (1..=1_000_000).contains(calls))
                .map(|calls| Self { calls, seconds })
        });
        parts.ok_or_else(|| Fault::not("", &text, "a rate such as \"50/s\", \"600/m\" or \"1000/h\""))
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        let unit = match rate.seconds {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        format!("{}/{unit}", rate.calls)
    }
}
