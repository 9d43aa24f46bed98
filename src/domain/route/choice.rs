//! What was chosen by routes, and why: as it is told, and kept in the log of the order.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{LabId, PlatformId, RegionId, RuleId};

/// Why a rule is not for an order, or a lab was passed over. The list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The rule is for other platforms.
    Platform,
    /// It is for other countries.
    Country,
    /// It does not make all of the products, or the rule is for others.
    Products,
    /// It does not offer the service level, or the rule is for others.
    ServiceLevel,
    /// There is no such lab any more.
    UnknownLab,
    /// The lab has no such region any more.
    UnknownRegion,
    /// The lab is paused.
    Paused,
    /// The lab cannot be reached just now, as the gateway that chose sees it.
    Failing,
    /// The lab cannot be called as it is defined.
    Unusable,
    /// Its calendar has no cutoff any more.
    NoCutoff,
}

/// A lab and region that was considered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Considered {
    /// The rule that named it.
    pub rule: RuleId,
    /// The lab.
    pub lab: LabId,
    /// The region; null where none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// Why it was passed over; null where it can take the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// The same in words.
    pub text: String,
    /// When an order that joins it now is handed over, where it can take the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closes_at: Option<Timestamp>,
}

/// A rule that is not for the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Skipped {
    /// The rule.
    pub rule: RuleId,
    /// Why.
    pub why: Why,
}

/// The lab and region that were chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Chosen {
    /// The rule.
    pub rule: RuleId,
    /// The lab.
    pub lab: LabId,
    /// The region.
    pub region: RegionId,
    /// True if it could not be reached when it was chosen, and nobody else could take the order.
    pub last_resort: bool,
}

/// Who could make a line, if it were an order of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineRoute {
    /// The items of that product, by id.
    pub items: Vec<String>,
    /// The product.
    pub sku: String,
    /// The lab; null where none could.
    pub lab: Option<LabId>,
    /// The region; null where none could.
    pub region: Option<RegionId>,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// What was chosen; null where no lab can take the order.
    pub chosen: Option<Chosen>,
    /// Every lab that was considered, up to the one that was chosen, and why those before it were passed over.
    pub considered: Vec<Considered>,
    /// How many more were considered than are listed.
    #[serde(default, skip_serializing_if = "crate::domain::region::is_usual")]
    #[schema(required = false)]
    pub more: usize,
    /// The rules that are not for the order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub skipped: Vec<Skipped>,
    /// Where no lab can take the order whole: who could make its lines, if each were an order of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub lines: Vec<LineRoute>,
}

/// A choice, with whose rules made it and who looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Whose routes they are: the platform, or `default`.
    pub routes: PlatformId,
    /// The version of the routes.
    pub version: i64,
    /// The gateway that chose. Whether a lab can be reached, each gateway sees for itself.
    pub gateway: String,
    /// What was chosen, and why.
    #[serde(flatten)]
    pub choice: Choice,
}

impl Choice {
    /// Why no lab can take the order, in sentences.
    #[must_use]
    pub fn refusal(&self, whose: &str) -> String {
        let mut text = if self.considered.is_empty() {
            format!("No rule of the routes of {whose} is for this order.")
        } else {
            let of = |one: &Considered| {
                let region = one.region.as_ref().map(|region| format!(" {region}")).unwrap_or_default();
                format!("{}{region} {}", one.lab, one.text)
            };
            let told: Vec<String> = self.considered.iter().take(5).map(of).collect();
            let more = self.considered.len().saturating_sub(5) + self.more;
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("No lab of the routes of {whose} can take it: {}{more}.", told.join("; "))
        };
        if self.lines.is_empty() {
            return text;
        }
        let of = |route: &LineRoute| {
            let items = route.items.join(", ");
            match (&route.lab, &route.region) {
                (Some(lab), Some(region)) => format!("{} (item {items}) by {lab} {region}", route.sku),
                _ => format!("{} (item {items}) by nobody", route.sku),
            }
        };
        let lines: Vec<String> = self.lines.iter().map(of).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, " One lab makes an order whole; as orders of their own: {}.", lines.join("; "));
        text
    }
}
