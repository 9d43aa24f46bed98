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
}

fn fresh(prefix: &str, now: Timestamp, random: &dyn Random) -> String {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid();
    format!("{prefix}_{}", id.simple())
}

macro_rules! slugs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
        pub struct $name(String);

        impl $name {
            /// Reads a slug.
            ///
            /// # Errors
            /// If the text is not 1 to 63 lower-case letters, digits and inner hyphens.
            pub fn parse(text: &str) -> Result<Self, Fault> {
                let fits = (1..=63).contains(&text.len())
                    && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
                    && !text.starts_with('-');
                if fits {
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
    LabId;
    /// A production region of a lab.
    RegionId;
    /// A platform: a photo portal or shop that sends orders.
    PlatformId;
}
