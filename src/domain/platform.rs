//! Platforms: who sends orders, and their rules about stops, as data.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fault;
use super::ids::PlatformId;
use super::measures::Lasting;

/// Whether customers may ask for stops themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CustomerStops {
    /// They may not.
    #[default]
    Off,
    /// They ask, and the merchant decides.
    AskMerchant,
    /// They may.
    On,
}

/// What happens to the service fee after a stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceFee {
    /// It is kept.
    #[default]
    Kept,
    /// It is waived.
    Waived,
}

/// Who refunds after a stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refund {
    /// The platform, by itself.
    Automatic,
    /// The merchant, as a step of its own.
    #[default]
    ByMerchant,
    /// Nobody here: outside of the platform.
    Outside,
}

/// A platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlatformSpec {
    /// Its id.
    pub id: PlatformId,
    /// Its name, for people.
    pub name: String,
    /// Its rules.
    #[serde(default)]
    pub policy: PlatformPolicy,
}

/// A platform's rules about stops.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PlatformPolicy {
    /// Whether customers may ask.
    pub customer_stops: CustomerStops,
    /// The service fee.
    pub service_fee: ServiceFee,
    /// The refund.
    pub refund: Refund,
    /// Whether stopped goods go back to stock.
    pub restock: bool,
    /// The reasons that are offered.
    pub reasons: Vec<String>,
    /// How long the merchant has to decide on a customer's stop, with `customer_stops` at `ask_merchant`, before
    /// ops are called: 24h unless told, at most 720h. The order stays out of its window until it is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "24h")]
    pub approval_within: Option<Lasting>,
}

/// How long a merchant has to decide, unless told.
const APPROVAL_WITHIN: Lasting = Lasting::seconds(24 * 3600);

impl PlatformPolicy {
    /// How long the merchant has to decide on a customer's stop.
    #[must_use]
    pub fn approval_within(&self) -> Lasting {
        self.approval_within.unwrap_or(APPROVAL_WITHIN)
    }
}

impl PlatformSpec {
    /// Checks the platform.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            faults.push(Fault::not("name", &self.name, "1 to 200 printable characters"));
        }
        for (at, reason) in self.policy.reasons.iter().enumerate() {
            if reason.trim().is_empty() || reason.chars().count() > 200 {
                faults.push(Fault::not(format!("policy.reasons[{at}]"), reason, "1 to 200 characters"));
            }
        }
        let most = Lasting::seconds(30 * 24 * 3600);
        if let Some(within) =
            self.policy.approval_within.filter(|within| within.0.is_zero() || *within > most)
        {
            let allowed = "a duration above 0s and of at most 720h";
            faults.push(Fault::not("policy.approval_within", within.to_string(), allowed));
        }
        faults
    }
}
