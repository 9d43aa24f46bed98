//! The rules that are in force for an order, each with where it comes from.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::lab::{LabPolicy, LabSpec, Profile, StopsVia, TakesStops};
use super::order::OrderFacts;
use super::platform::{CustomerStops, PlatformPolicy, Refund, ServiceFee};

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// What holds unless somebody says otherwise: nobody did.
    Default,
    /// The platform's policy.
    Platform,
    /// The lab's profile or policy.
    Lab,
    /// The calendar of the lab's region.
    Calendar,
}

/// A rule that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyValue {
    /// The rule: `customer_stops`, `refund`, `service_fee`, `restock`, `reasons` of the platform; `stops_via`,
    /// `immediate_production`, `stops`, `stops_lines`, `address_changes`, `answers_within`, `grace` of the lab; `cutoff` of the
    /// calendar.
    #[schema(value_type = String, example = "refund")]
    pub rule: Cow<'static, str>,
    /// What it says: a word, `true` or `false`, a duration, a list with commas.
    #[schema(value_type = String, example = "by_merchant")]
    pub value: Cow<'static, str>,
    /// Where it comes from.
    pub source: PolicySource,
}

fn truth(value: bool) -> Cow<'static, str> {
    if value { "true".into() } else { "false".into() }
}

fn customers(value: CustomerStops) -> &'static str {
    match value {
        CustomerStops::Off => "off",
        CustomerStops::AskMerchant => "ask_merchant",
        CustomerStops::On => "on",
    }
}

/// The word for who refunds.
#[must_use]
pub fn refund(value: Refund) -> &'static str {
    match value {
        Refund::Automatic => "automatic",
        Refund::ByMerchant => "by_merchant",
        Refund::Outside => "outside",
    }
}

/// The word for what happens to the service fee.
#[must_use]
pub fn service_fee(value: ServiceFee) -> &'static str {
    match value {
        ServiceFee::Kept => "kept",
        ServiceFee::Waived => "waived",
    }
}

fn via(value: StopsVia) -> &'static str {
    match value {
        StopsVia::Lab => "lab",
        StopsVia::GatewayOnly => "gateway_only",
        StopsVia::Contact => "contact",
    }
}

fn takes(value: TakesStops) -> &'static str {
    match value {
        TakesStops::Yes => "yes",
        TakesStops::No => "no",
        TakesStops::FinalOnReceipt => "final_on_receipt",
    }
}

/// The rules in force for an order. A rule that says what holds anyway has the source `default`.
#[must_use]
pub fn in_force(order: &OrderFacts, lab: &LabSpec, platform: Option<&PlatformPolicy>) -> Vec<PolicyValue> {
    let unless_told = PlatformPolicy::default();
    let policy = platform.unwrap_or(&unless_told);
    let (no_rules, no_profile) = (LabPolicy::default(), Profile::default());
    let (rules, profile) = (&lab.policy, &lab.profile);
    let effective = rules.takes(profile.stops);
    let mut list = Vec::with_capacity(12);
    let mut add = |rule: &'static str, value: Cow<'static, str>, told: bool, by: PolicySource| {
        let source = if told { by } else { PolicySource::Default };
        list.push(PolicyValue { rule: rule.into(), value, source });
    };
    let by = PolicySource::Platform;
    let told = policy.customer_stops != unless_told.customer_stops;
    add("customer_stops", customers(policy.customer_stops).into(), told, by);
    add("refund", refund(policy.refund).into(), policy.refund != unless_told.refund, by);
    let told = policy.service_fee != unless_told.service_fee;
    add("service_fee", service_fee(policy.service_fee).into(), told, by);
    add("restock", truth(policy.restock), policy.restock != unless_told.restock, by);
    let reasons = policy.reasons.join(", ");
    add("reasons", reasons.into(), policy.reasons != unless_told.reasons, by);
    let by = PolicySource::Lab;
    add("stops_via", via(rules.stops_via).into(), rules.stops_via != no_rules.stops_via, by);
    let told = rules.immediate_production != no_rules.immediate_production;
    add("immediate_production", truth(rules.immediate_production), told, by);
    add("stops", takes(effective).into(), effective != no_profile.stops, by);
    add("stops_lines", truth(profile.stops_lines), profile.stops_lines != no_profile.stops_lines, by);
    if !profile.address_changes.is_no() {
        add("address_changes", profile.address_changes.word().into(), true, by);
    }
    let told = profile.answers_within != no_profile.answers_within;
    add("answers_within", profile.answers_within.to_string().into(), told, by);
    if let Some(grace) = rules.grace {
        add("grace", grace.to_string().into(), true, by);
    }
    if let Some(batch) = &order.batch {
        add("cutoff", batch.rule.clone().into(), true, PolicySource::Calendar);
    }
    list
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
