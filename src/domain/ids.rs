//! Typed, prefixed ids.
//!
//! An id that the gateway gives is `prefix_` and the 32 hex digits of a `UUIDv7`: it sorts by the
//! time of its making within a process, and 74 of its bits are random, so that nobody guesses
//! one. Slugs name what people configure: labs, regions, platforms.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fault;
use crate::clock::Random;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, made at `now` from random bytes.
            #[must_use]
            pub fn new(now: Timestamp, random: &dyn Random) -> Self {
                Self(fresh($prefix, now, random))
            }

            /// Reads an id.
            ///
            /// # Errors
            /// If the text is not an id of this kind.
            pub fn parse(text: &str) -> Result<Self, Fault> {
                text.strip_prefix($prefix)
                    .and_then(|rest| rest.strip_prefix('_'))
                    .filter(|rest| rest.len() == 32 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .map(|_| Self(text.to_owned()))
                    .ok_or_else(|| Fault::not("", text, concat!("an id of the form ", $prefix, "_ and 32 hex digits")))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Fault;
            fn try_from(text: String) -> Result<Self, Fault> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// An order.
    OrderId = "ord";
    /// A batch: the orders of one window of one lab region.
    BatchId = "bat";
    /// A transfer: what one call to a lab carries.
    TransferId = "trf";
    /// A stop: the request that an order not be printed.
    StopId = "stp";
    /// An escalation: a decision that waits for a person.
    EscalationId = "esc";
    /// An endpoint that is told what happens.
    WebhookId = "whk";
    /// A hold: a reason why an order is kept out of its window.
    HoldId = "hld";
    /// An approval: a customer's stop that the merchant decides about.
    ApprovalId = "apr";
    /// A download of an order: what its platform is asked about under one id.
    DownloadId = "dwl";
    /// A change of a shipping address that a lab is asked for.
    AddressChangeId = "adr";
}

fn fresh(prefix: &str, now: Timestamp, random: &dyn Random) -> String {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid();
    format!("{prefix}_{}", id.simple())
}

/// 1 to 63 lower-case letters, digits and hyphens, the first of them no hyphen.
fn is_slug(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
}

/// One slug, or two with a dot between them.
fn is_place(text: &str) -> bool {
    text.split_once('.').map_or_else(|| is_slug(text), |(region, group)| is_slug(region) && is_slug(group))
}

macro_rules! slugs {
    ($($(#[$doc:meta])* $name:ident = $fits:ident $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, pattern = $pattern)]
        pub struct $name(String);

        impl $name {
            /// Reads a slug.
            ///
            /// # Errors
            /// If the text is not 1 to 63 lower-case letters, digits and hyphens, the first of them no hyphen.
            pub fn parse(text: &str) -> Result<Self, Fault> {
                if $fits(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Fault::not("", text, "1 to 63 lower-case letters, digits and hyphens that do not begin with a hyphen"))
                }
            }

            /// The slug as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Fault;
            fn try_from(text: String) -> Result<Self, Fault> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(slug: $name) -> Self {
                slug.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

slugs! {
    /// A lab.
    LabId = is_slug "^[a-z0-9][a-z0-9-]{0,62}$";
    /// A production region of a lab; with a dot and the id of a product group behind it, the place where the
    /// orders of that group are collected.
    RegionId = is_place "^[a-z0-9][a-z0-9-]{0,62}([.][a-z0-9][a-z0-9-]{0,62})?$";
    /// A product group of a region.
    GroupId = is_slug "^[a-z0-9][a-z0-9-]{0,62}$";
    /// A service level, such as `express`.
    ServiceLevel = is_slug "^[a-z0-9][a-z0-9-]{0,62}$";
    /// A rule of routes.
    RuleId = is_slug "^[a-z0-9][a-z0-9-]{0,62}$";
    /// A platform: a photo portal or shop that sends orders.
    PlatformId = is_slug "^[a-z0-9][a-z0-9-]{0,62}$";
}

impl RegionId {
    /// The place where the orders of a group of this region are collected.
    #[must_use]
    pub fn of_group(&self, group: &GroupId) -> Self {
        Self(format!("{}.{group}", self.0))
    }

    /// Whether it names a group of a region, and not a region.
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.0.contains('.')
    }
}
