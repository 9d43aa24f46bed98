//! Which lab is chosen: every way in which three labs can stand, against a plain list of who could take the
//! order; and the conditions of rules, one by one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::domain::zones::Zones;

const NOW: &str = "2026-11-21T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn lab(id: &str, regions: &Value) -> Lab {
    let spec = json!({"id": id, "name": id, "driver": {"kind": "person"}, "regions": regions});
    Lab::build(serde_json::from_value(spec).unwrap(), &Zones::bundled(), now()).unwrap()
}

fn region(id: &str, countries: &[&str], more: &Value) -> Value {
    let calendar = json!({"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]});
    let mut region = json!({"id": id, "countries": countries, "calendar": calendar});
    for (name, value) in more.as_object().unwrap() {
        region[name] = value.clone();
    }
    region
}

/// How a lab can stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    Paused,
    Failing,
    Unusable,
    Unknown,
    OtherCountry,
    OtherProducts,
    OtherLevel,
}

const STATES: [State; 8] = [
    State::Fine,
    State::Paused,
    State::Failing,
    State::Unusable,
    State::Unknown,
    State::OtherCountry,
    State::OtherProducts,
    State::OtherLevel,
];

impl State {
    fn why(self) -> Option<Why> {
        match self {
            Self::Fine => None,
            Self::Paused => Some(Why::Paused),
            Self::Failing => Some(Why::Failing),
            Self::Unusable => Some(Why::Unusable),
            Self::Unknown => Some(Why::UnknownLab),
            Self::OtherCountry => Some(Why::Country),
            Self::OtherProducts => Some(Why::Products),
            Self::OtherLevel => Some(Why::ServiceLevel),
        }
    }

    fn lab(self, id: &str) -> Lab {
        let countries: &[&str] = if self == Self::OtherCountry { &["SE"] } else { &["FI"] };
        let products = if self == Self::OtherProducts { json!(["mug-*"]) } else { json!(["print-*"]) };
        let levels = if self == Self::OtherLevel { json!(["slow"]) } else { json!(["express"]) };
        lab(id, &json!([region("r", countries, &json!({"products": products, "service_levels": levels}))]))
    }
}

fn spec(rules: &Value) -> RouteSpec {
    serde_json::from_value(json!({ "rules": rules })).unwrap()
}

#[test]
fn the_first_that_can_take_it_is_chosen_and_nobody_who_is_paused() {
    let shop = PlatformId::parse("shop").unwrap();
    let level = ServiceLevel::parse("express").unwrap();
    let lines = vec![Wish { id: "1", sku: "print-1" }, Wish { id: "2", sku: "print-2" }];
    let wanted = Wanted { platform: &shop, country: Some("FI"), service_level: Some(&level), lines };
    let ids = ["a", "b", "c"];
    let labs: Vec<Vec<Lab>> = ids.map(|id| STATES.map(|state| state.lab(id)).into()).into();
    // In one rule, in two, and behind one that is not for this order.
    let rules = [
        json!([{"id": "all", "to": [{"lab": "a"}, {"lab": "b"}, {"lab": "c"}]}]),
        json!([{"id": "one", "to": [{"lab": "a"}]},
            {"id": "not", "countries": ["SE"], "to": [{"lab": "c"}]},
            {"id": "two", "countries": ["FI"], "to": [{"lab": "b"}, {"lab": "c", "region": "r"}]}]),
    ];
    for rules in rules {
        let rules = spec(&rules);
        for nth in 0..STATES.len().pow(3) {
            let states = [nth % 8, nth / 8 % 8, nth / 64];
            let standing = |id: &LabId| {
                let at = ids.iter().position(|known| *known == id.as_str()).unwrap();
                let state = STATES[states[at]];
                (state != State::Unknown).then(|| Standing {
                    lab: &labs[at][states[at]],
                    paused: state == State::Paused,
                    unusable: state == State::Unusable,
                    failing: state == State::Failing,
                })
            };
            let choice = choose(&rules, &wanted, &standing, now());
            let states = states.map(|at| STATES[at]);
            let first = |wanted: State| states.iter().position(|state| *state == wanted);
            let expected =
                first(State::Fine).map(|at| (at, false)).or(first(State::Failing).map(|at| (at, true)));
            let chosen = choice.chosen.as_ref();
            assert_eq!(
                chosen.map(|chosen| (chosen.lab.as_str(), chosen.last_resort)),
                expected.map(|(at, last)| (ids[at], last)),
                "{states:?}"
            );
            // Each one before says why not, and the one that is chosen comes last.
            let told: Vec<Option<Why>> = choice.considered.iter().map(|one| one.why).collect();
            let until = first(State::Fine).map_or(3, |at| at + 1);
            assert_eq!(told, states[..until].iter().map(|state| state.why()).collect::<Vec<_>>());
            assert!(choice.considered.iter().all(|one| !one.text.is_empty()));
            assert_eq!(choose(&rules, &wanted, &standing, now()), choice, "the same again");
            let text = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<Choice>(&text).unwrap(), choice, "what is kept is read again");
            if let Some(chosen) = chosen {
                assert_eq!(chosen.region.as_str(), "r");
            } else {
                assert!(choice.refusal("shop").contains("No lab of the routes of shop can take it: a"));
            }
        }
    }
}

/// Where an order goes, or who is told to be passed over, by a lab of two regions, one of mugs, one paused.
struct House {
    labs: BTreeMap<&'static str, Lab>,
}

impl House {
    fn new() -> Self {
        let two = json!([
            region("fi", &["FI"], &json!({"products": ["print-*"]})),
            region("se", &["SE"], &json!({}))
        ]);
        let labs = BTreeMap::from([
            ("two", lab("two", &two)),
            ("mugs", lab("mugs", &json!([region("pl", &[], &json!({"products": ["mug-*"]}))]))),
            ("paused", lab("paused", &json!([region("x", &[], &json!({}))]))),
        ]);
        Self { labs }
    }

    fn choose(&self, rules: &RouteSpec, country: &str, skus: &[&str], level: &str) -> Choice {
        let platform = PlatformId::parse("shop").unwrap();
        let level =
            Some(level).filter(|level| !level.is_empty()).map(|level| ServiceLevel::parse(level).unwrap());
        let lines = skus.iter().map(|sku| Wish { id: sku, sku }).collect();
        let country = Some(country).filter(|country| !country.is_empty());
        let wanted = Wanted { platform: &platform, country, service_level: level.as_ref(), lines };
        let standing = |id: &LabId| {
            let lab = self.labs.get(id.as_str())?;
            Some(Standing { lab, paused: id.as_str() == "paused", unusable: false, failing: false })
        };
        choose(rules, &wanted, &standing, now())
    }
}

/// The rule, the lab and the region.
type Chosen = Option<(&'static str, &'static str, &'static str)>;

#[test]
fn rules_and_regions_fit_as_they_say() {
    let house = House::new();
    let rules = spec(&json!([
        {"id": "others", "platforms": ["other"], "to": [{"lab": "two"}]},
        {"id": "fast", "service_levels": ["express"], "to": [{"lab": "paused"}], "only": true},
        {"id": "mugs", "products": ["mug-*", "cup-*"], "to": [{"lab": "mugs"}]},
        {"id": "north", "countries": ["FI", "SE"], "to": [{"lab": "paused"}, {"lab": "two"}]},
        {"id": "gone", "countries": ["DE"], "to": [{"lab": "gone"}, {"lab": "two", "region": "no"},
            {"lab": "two", "region": "se"}]},
    ]));
    let cases: [(&str, &[&str], &str, Chosen); 8] = [
        ("FI", &["print-1"], "", Some(("north", "two", "fi"))),
        ("SE", &["print-1", "mug-1"], "", Some(("north", "two", "se"))),
        ("SE", &["mug-1"], "", Some(("mugs", "mugs", "pl"))),
        ("", &["mug-1"], "", Some(("mugs", "mugs", "pl"))),
        // In Finland no lab makes both.
        ("FI", &["print-1", "mug-1"], "", None),
        ("DE", &["print-1"], "", None),
        ("", &["print-1"], "", None),
        // A rule that is the only one keeps the others out.
        ("FI", &["print-1"], "express", None),
    ];
    for (country, skus, level, expected) in cases {
        let choice = house.choose(&rules, country, skus, level);
        let chosen = choice.chosen.as_ref();
        let found = chosen.map(|chosen| (chosen.rule.as_str(), chosen.lab.as_str(), chosen.region.as_str()));
        assert_eq!(found, expected, "{country} {skus:?} {level}");
    }
    let choice = house.choose(&rules, "DE", &["print-1"], "");
    let told: Vec<Option<Why>> = choice.considered.iter().map(|one| one.why).collect();
    assert_eq!(told, [Some(Why::UnknownLab), Some(Why::UnknownRegion), Some(Why::Country)]);
    let skipped: Vec<(&str, Why)> = choice.skipped.iter().map(|one| (one.rule.as_str(), one.why)).collect();
    let expected = [
        ("others", Why::Platform),
        ("fast", Why::ServiceLevel),
        ("mugs", Why::Products),
        ("north", Why::Country),
    ];
    assert_eq!(skipped, expected);
    assert_eq!(house.choose(&rules, "FI", &["print-1"], "express").considered.len(), 1);
}

#[test]
fn an_order_that_needs_several_labs_is_told_who_makes_what() {
    let house = House::new();
    let rules = spec(&json!([
        {"id": "mugs", "products": ["mug-*"], "to": [{"lab": "mugs"}]},
        {"id": "all", "to": [{"lab": "two"}, {"lab": "mugs"}]},
    ]));
    let choice = house.choose(&rules, "FI", &["print-1", "mug-1", "print-2", "cap"], "");
    assert_eq!(choice.chosen, None);
    let lines: Vec<(&str, Option<&str>)> =
        choice.lines.iter().map(|line| (line.sku.as_str(), line.lab.as_ref().map(LabId::as_str))).collect();
    let expected =
        [("print-1", Some("two")), ("mug-1", Some("mugs")), ("print-2", Some("two")), ("cap", None)];
    assert_eq!(lines, expected);
    let text = choice.refusal("shop");
    for part in [
        "two fi does not make mug-1 and 1 more items",
        "mug-1 (item mug-1) by mugs pl",
        "cap (item cap) by nobody",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Where nobody makes anything of it, there is nothing to tell but why.
    assert!(house.choose(&rules, "FI", &["cap", "shirt"], "").lines.is_empty());
    assert!(
        house
            .choose(
                &spec(&json!([{"id": "x", "countries": ["NO"], "to": [{"lab": "two"}]}])),
                "FI",
                &["p"],
                ""
            )
            .refusal("default")
            .starts_with("No rule of the routes of default is for this order.")
    );
}

#[test]
fn what_is_wrong_with_rules_is_named_all_at_once() {
    let house = House::new();
    let known: Vec<LabId> = house.labs.keys().map(|id| LabId::parse(id).unwrap()).collect();
    let known: Vec<&LabId> = known.iter().collect();
    let faults = |rules: &Value| -> Vec<String> {
        let find = |id: &LabId| house.labs.get(id.as_str());
        spec(rules).faults(&find, &known).iter().map(ToString::to_string).collect()
    };
    assert!(faults(&json!([{"id": "a", "to": [{"lab": "two", "region": "se"}]}])).is_empty());
    let bad = faults(&json!([
        {"id": "a", "countries": ["fi", "SE", "SE"], "products": [""], "to": []},
        {"id": "a", "service_levels": ["x", "x"], "to": [{"lab": "tow"}, {"lab": "two", "region": "sf"}]},
    ]));
    let fields: Vec<&str> = bad.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
    let expected = [
        "rules[0].countries[2]",
        "rules[0].products[0]",
        "rules[0].countries[0]",
        "rules[0].to",
        "rules[1].id",
        "rules[1].service_levels[1]",
        "rules[1].to[0].lab",
        "rules[1].to[1].region",
    ];
    assert_eq!(fields, expected, "{bad:?}");
    assert!(bad[6].contains("did you mean \"two\"?"), "{}", bad[6]);
    assert!(faults(&json!([]))[0].starts_with("rules: has 0 rules"));
}

#[test]
fn so_many_and_no_more_are_allowed() {
    let house = House::new();
    let faults = |rules: &RouteSpec| -> Vec<String> {
        let find = |id: &LabId| house.labs.get(id.as_str());
        rules.faults(&find, &[]).iter().map(ToString::to_string).collect()
    };
    let code = |nth: usize| {
        let letter = |nth: usize| char::from(b'A' + u8::try_from(nth).unwrap());
        String::from_iter([letter(nth / 26), letter(nth % 26)])
    };
    let rule = |field: &str, list: Vec<Value>| {
        let mut rule = json!({"id": "a", "to": [{"lab": "two"}]});
        rule[field] = list.into();
        spec(&json!([rule]))
    };
    let slugs = |count: usize| (0..count).map(|nth| json!(format!("s{nth}"))).collect::<Vec<_>>();
    let countries = |count: usize| (0..count).map(|nth| json!(code(nth))).collect::<Vec<_>>();
    let targets = |count: usize| vec![json!({"lab": "two"}); count];
    let rules = |count: usize| {
        let rules = (0..count).map(|nth| json!({"id": format!("r{nth}"), "to": [{"lab": "two"}]}));
        spec(&rules.collect::<Vec<_>>().into())
    };
    for (most, more, fault) in [
        (
            rule("platforms", slugs(300)),
            rule("platforms", slugs(301)),
            "rules[0].platforms: has 301 entries; 300 are allowed",
        ),
        (
            rule("countries", countries(300)),
            rule("countries", countries(301)),
            "rules[0].countries: has 301 entries; 300 are allowed",
        ),
        (
            rule("service_levels", slugs(300)),
            rule("service_levels", slugs(301)),
            "rules[0].service_levels: has 301 entries; 300 are allowed",
        ),
        (
            rule("products", slugs(100)),
            rule("products", slugs(101)),
            "rules[0].products: has 101 patterns; 100 are allowed",
        ),
        (rule("to", targets(20)), rule("to", targets(21)), "rules[0].to: has 21 labs; 1 to 20 are allowed"),
        (rules(100), rules(101), "rules: has 101 rules; 1 to 100 are allowed"),
    ] {
        assert_eq!(faults(&most), [""; 0]);
        assert_eq!(faults(&more), [fault]);
    }
    // The country that an order is for.
    for (country, good) in
        [("FI", true), ("fi", false), ("FIN", false), ("F", false), ("", false), ("F1", false)]
    {
        let faults = Need { country: Some(country.to_owned()) }.faults();
        assert_eq!(faults.is_empty(), good, "{country:?}");
        assert!(faults.iter().all(|fault| fault.field == "country" && fault.message.contains(country)));
    }
    assert!(Need::default().faults().is_empty());
}

/// A lab that prints and makes mugs, each in a window of its own, and offers `express` for both.
fn groups() -> Lab {
    let calendar = |cutoff: &str| json!({"time_zone": "Europe/Helsinki", "cutoffs": [cutoff]});
    let mugs = json!({"id": "mugs", "products": ["mug-*"], "calendar": calendar("18:00")});
    let fast = json!({"id": "fast", "service_levels": ["overnight"], "products": ["mug-*"], "calendar": calendar("16:00")});
    let more = json!({"groups": [mugs, fast], "service_levels": ["express"], "calendar": calendar("24:00")});
    lab("both", &json!([region("fi", &["FI"], &more)]))
}

#[test]
fn what_is_told_of_a_lab_is_when_it_would_hand_the_order_over() {
    let lab = groups();
    let rules = spec(&json!([{"id": "all", "to": [{"lab": "both"}]}]));
    let platform = PlatformId::parse("shop").unwrap();
    // It is 14:00 in Helsinki. What is not printed is in no window of its own, at any level that is offered.
    for (skus, level, told) in [
        (&["print-1"][..], "", Ok("2026-11-21T22:00:00Z")),
        (&["mug-1"], "", Ok("2026-11-21T16:00:00Z")),
        (&["print-1", "mug-1"], "", Ok("2026-11-21T16:00:00Z")),
        (&["mug-1", "mug-2", "print-1"], "express", Ok("2026-11-21T16:00:00Z")),
        (&["mug-1"], "overnight", Ok("2026-11-21T14:00:00Z")),
        (&["mug-1", "print-1"], "overnight", Err("does not offer overnight for print-1")),
        (&["mug-1"], "tomorrow", Err("does not offer tomorrow for mug-1")),
        (&[], "", Ok("2026-11-21T22:00:00Z")),
        (&[], "express", Ok("2026-11-21T22:00:00Z")),
        (&[], "overnight", Ok("2026-11-21T22:00:00Z")),
        (&[], "tomorrow", Err("does not offer tomorrow")),
    ] {
        let level =
            Some(level).filter(|level| !level.is_empty()).map(|level| ServiceLevel::parse(level).unwrap());
        let lines = skus.iter().map(|sku| Wish { id: sku, sku }).collect();
        let wanted =
            Wanted { platform: &platform, country: Some("FI"), service_level: level.as_ref(), lines };
        let standing =
            |_: &LabId| Some(Standing { lab: &lab, paused: false, unusable: false, failing: false });
        let choice = choose(&rules, &wanted, &standing, now());
        let one = &choice.considered[0];
        match told {
            Ok(at) => {
                assert_eq!(one.closes_at, Some(at.parse().unwrap()), "{skus:?} {level:?}");
                assert!(choice.chosen.is_some() && choice.lines.is_empty(), "{skus:?} {level:?}");
            }
            Err(text) => {
                assert_eq!(
                    (one.text.as_str(), one.why),
                    (text, Some(Why::ServiceLevel)),
                    "{skus:?} {level:?}"
                );
                assert_eq!(choice.chosen, None);
            }
        }
    }
}

/// So many labs that are paused, and one behind them where told.
fn behind(paused: usize, last: &str) -> RouteSpec {
    let mut rules: Vec<Value> = (0..paused.div_ceil(TARGETS_MAX))
        .map(|nth| {
            let here = TARGETS_MAX.min(paused - nth * TARGETS_MAX);
            json!({"id": format!("r{nth}"), "to": vec![json!({"lab": "paused"}); here]})
        })
        .collect();
    if !last.is_empty() {
        rules.push(json!({"id": "last", "to": [{"lab": last}]}));
    }
    spec(&rules.into())
}

#[test]
fn what_was_considered_is_told_up_to_a_number_and_the_one_that_is_chosen_always() {
    let house = House::new();
    // How many there are, who is behind them, how many are told, how many more there were, what is said of it.
    for (paused, last, told, more, text) in [
        (1, "", 1, 0, "it: paused x is paused."),
        (5, "", 5, 0, "paused x is paused; paused x is paused."),
        (6, "", 6, 0, "paused x is paused; and 1 more."),
        (7, "", 7, 0, "; and 2 more."),
        (40, "", 40, 0, "; and 35 more."),
        (41, "", 40, 1, "; and 36 more."),
        (60, "", 40, 20, "; and 55 more."),
        (39, "two", 40, 0, ""),
        (40, "two", 41, 0, ""),
        (50, "two", 41, 10, ""),
    ] {
        let choice = house.choose(&behind(paused, last), "FI", &["print-1", "print-2"], "");
        assert_eq!((choice.considered.len(), choice.more), (told, more), "{paused} {last}");
        assert_eq!(choice.chosen.is_some(), !last.is_empty());
        // Who makes what is told where nobody makes it all.
        assert!(choice.lines.is_empty());
        if last.is_empty() {
            let refusal = choice.refusal("shop");
            assert!(refusal.ends_with(text), "{paused}: {refusal}");
            assert_eq!(refusal.contains("more"), paused > 5, "{refusal}");
        } else {
            assert_eq!(choice.considered.last().unwrap().lab.as_str(), last);
        }
    }
}

#[test]
fn so_many_products_are_looked_at_one_by_one() {
    let house = House::new();
    let rules = spec(&json!([{"id": "all", "to": [{"lab": "mugs"}]}]));
    let skus: Vec<String> = (0..21).map(|nth| format!("mug-{nth}")).collect();
    for (count, told) in [(1, 2), (19, 20), (20, 20), (21, 20)] {
        // One that it does not make; and the first of the others once more.
        let mut order: Vec<&str> = vec!["frame"];
        order.extend(skus[..count].iter().map(String::as_str));
        order.push(&skus[0]);
        let choice = house.choose(&rules, "FI", &order, "");
        assert_eq!(choice.lines.len(), told, "{count}");
        assert_eq!(choice.lines[1].items, ["mug-0", "mug-0"]);
        assert!(choice.considered[0].text == "does not make frame", "{}", choice.considered[0].text);
    }
}
