//! What is in force, rule by rule: what it says unless somebody says otherwise, what it says then, and who said it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::domain::batch::BatchPhase;
use crate::domain::verdict::tests::{batch, order};

/// Rule to value and source.
type Rules = BTreeMap<String, (String, PolicySource)>;

fn in_force_with(profile: &Value, lab: &Value, platform: Option<&Value>) -> Rules {
    let spec = json!({"id": "nordprint", "name": "Nordprint", "driver": {"kind": "http"}, "regions": [],
        "profile": profile, "policy": lab});
    let spec: LabSpec = serde_json::from_value(spec).unwrap();
    let platform: Option<PlatformPolicy> =
        platform.map(|policy| serde_json::from_value(policy.clone()).unwrap());
    let list = in_force(&order(), &spec, platform.as_ref());
    let count = list.len();
    let rules: Rules =
        list.into_iter().map(|one| (one.rule.into_owned(), (one.value.into_owned(), one.source))).collect();
    assert_eq!(rules.len(), count, "a rule is told twice");
    rules
}

#[test]
fn a_rule_says_what_holds_and_who_said_so() {
    let nothing = json!({});
    let usual = in_force_with(&nothing, &nothing, None);
    let said = usual.iter().map(|(rule, (value, source))| (rule.as_str(), value.as_str(), *source));
    let expected = [
        ("answers_within", "30m"),
        ("customer_stops", "off"),
        ("immediate_production", "false"),
        ("reasons", ""),
        ("refund", "by_merchant"),
        ("restock", "false"),
        ("service_fee", "kept"),
        ("stops", "no"),
        ("stops_lines", "false"),
        ("stops_via", "lab"),
    ];
    let expected = expected.map(|(rule, value)| (rule, value, PolicySource::Default));
    assert_eq!(said.collect::<Vec<_>>(), expected);
    // A platform that says nothing else says nothing.
    assert_eq!(in_force_with(&nothing, &nothing, Some(&nothing)), usual);

    for (rule, told, word) in [
        ("customer_stops", json!("on"), "on"),
        ("customer_stops", json!("ask_merchant"), "ask_merchant"),
        ("refund", json!("automatic"), "automatic"),
        ("refund", json!("outside"), "outside"),
        ("service_fee", json!("waived"), "waived"),
        ("restock", json!(true), "true"),
        ("reasons", json!(["too late", "wrong size"]), "too late, wrong size"),
    ] {
        let mut rules = usual.clone();
        rules.insert(rule.to_owned(), (word.to_owned(), PolicySource::Platform));
        assert_eq!(in_force_with(&nothing, &nothing, Some(&json!({ rule: told }))), rules, "{rule} {word}");
    }
    for (rule, told, word) in [
        ("stops", json!("yes"), "yes"),
        ("stops", json!("final_on_receipt"), "final_on_receipt"),
        ("stops_lines", json!(true), "true"),
        ("address_changes", json!("until_printed"), "until_printed"),
        ("answers_within", json!("1h"), "1h"),
    ] {
        let mut rules = usual.clone();
        rules.insert(rule.to_owned(), (word.to_owned(), PolicySource::Lab));
        assert_eq!(in_force_with(&json!({ rule: told }), &nothing, None), rules, "{rule} {word}");
    }
    let phone = json!({"phone": "+358 1"});
    for (rule, told, word) in [
        ("stops_via", json!("gateway_only"), "gateway_only"),
        ("stops_via", json!("contact"), "contact"),
        ("immediate_production", json!(true), "true"),
        ("grace", json!("10m"), "10m"),
    ] {
        let mut rules = usual.clone();
        rules.insert(rule.to_owned(), (word.to_owned(), PolicySource::Lab));
        assert_eq!(
            in_force_with(&nothing, &json!({ rule: told, "contact": phone }), None),
            rules,
            "{rule} {word}"
        );
    }
}

#[test]
fn stops_are_taken_as_the_policy_lets_them_be() {
    // A lab that produces at once, and shows nobody who could decide, takes none.
    let rules = in_force_with(&json!({"stops": "yes"}), &json!({"immediate_production": true}), None);
    assert_eq!(rules["stops"], ("final_on_receipt".to_owned(), PolicySource::Lab));
}

#[test]
fn the_cutoff_is_that_of_the_batch() {
    let mut order = order();
    let lab: LabSpec = serde_json::from_value(
        json!({"id": "nordprint", "name": "Nordprint", "driver": {"kind": "http"}, "regions": []}),
    )
    .unwrap();
    let cutoff =
        |order: &OrderFacts| in_force(order, &lab, None).into_iter().find(|one| one.rule == "cutoff");
    assert_eq!(cutoff(&order), None);
    order.batch = Some(batch(BatchPhase::Open, jiff::Timestamp::UNIX_EPOCH));
    let told = cutoff(&order).unwrap();
    assert_eq!((&*told.value, told.source), ("regular 24:00", PolicySource::Calendar));
}
