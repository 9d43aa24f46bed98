//! The people of a lab: whom to ask, when they answer, and whether stops are tasks of theirs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::hours::Hours;
use super::lab::{LabPolicy, LabSpec, Lasting, Profile, TakesStops};
use super::{Fault, mail};

/// Who answers stops after the lab has an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopChannel {
    /// The lab's endpoint, where it takes stops.
    Machine,
    /// The lab's people: a stop is a task of theirs, and waits for them until its deadline.
    Person,
}

/// Whom to ask at a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// E-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Telephone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Whom else to ask by e-mail, when three quarters of the time for an answer have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_email: Option<String>,
    /// When somebody answers, such as `mon-fri 08:00-16:00` or `mon-thu 08:00-16:00, fri 08:00-12:00`, on the
    /// clocks of the region that prints. Where people answer, `answers_within` counts only within these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "mon-fri 08:00-16:00")]
    pub hours: Option<String>,
}

impl Contact {
    /// What is wrong with it, where answers are due within that.
    pub(super) fn faults(&self, answers_within: Lasting) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (field, email) in [("email", &self.email), ("second_email", &self.second_email)] {
            if let Some(email) = email.as_deref().filter(|email| !mail::is_address(email)) {
                faults.push(Fault::not(field, email, "an e-mail address such as \"orders@lab.example\""));
            }
        }
        if self.second_email.is_some() && self.email.is_none() {
            faults.push(Fault::missing("email", "there, because there is a second one"));
        }
        match self.hours.as_deref().map(Hours::parse) {
            Some(Ok(hours)) if hours.a_week() < answers_within.0 => {
                let week = Lasting(hours.a_week());
                let message =
                    format!("have only {week} a week; `profile.answers_within` is {answers_within}");
                faults.push(Fault::new("hours", message));
            }
            Some(Err(fault)) => faults.push(fault.under("hours")),
            _ => {}
        }
        faults
    }
}

/// Who may ask the lab for a stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopsVia {
    /// The gateway asks; the lab's contact may be shown too.
    #[default]
    Lab,
    /// Only through the gateway: contacts are hidden from everybody but ops.
    GatewayOnly,
    /// A person of the platform contacts the lab; the contact is shown, and must be given. After the
    /// hand-over no machine asks the lab.
    Contact,
}

/// What of a lab's definition decides about stops.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Terms {
    driver: Kind,
    profile: Profile,
    policy: LabPolicy,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Kind {
    kind: String,
}

impl Terms {
    /// What the lab can do, as its policy lets it, with the channel of its stops filled in.
    #[must_use]
    pub fn profile(self) -> Profile {
        in_force(self.profile, &self.driver.kind, &self.policy)
    }
}

/// The driver of labs that no machine can call: the one that the rules know by name.
const PERSON: &str = "person";

fn in_force(mut profile: Profile, driver: &str, policy: &LabPolicy) -> Profile {
    let mailed = policy.contact.as_ref().is_some_and(|contact| contact.email.is_some());
    let unless_told = if driver == PERSON && mailed { StopChannel::Person } else { StopChannel::Machine };
    profile.channel.get_or_insert(unless_told);
    policy.over(profile)
}

impl LabSpec {
    /// What the lab can do, as its policy lets it, with the channel of its stops filled in.
    #[must_use]
    pub fn profile_in_force(&self) -> Profile {
        in_force(self.profile.clone(), &self.driver.kind, &self.policy)
    }

    /// What is wrong with its word about changes of addresses.
    pub(super) fn address_changes_fault(&self) -> Option<Fault> {
        let takes = self.profile.address_changes;
        (self.driver.kind == PERSON && !takes.is_no()).then(|| {
            let allowed = "no where the driver is person: only an endpoint can be asked for another address";
            Fault::not("profile.address_changes", takes.word(), allowed)
        })
    }

    /// Whether people answer its stops: its own, as tasks; or ops, who ask them.
    #[must_use]
    pub fn people_answer(&self) -> bool {
        self.driver.kind == PERSON
            || self.profile.stops == TakesStops::No
            || self.profile_in_force().by_person()
    }
}
