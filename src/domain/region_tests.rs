//! Patterns, places, and what is refused.

use serde_json::{Value, json};

use super::*;

fn region(more: &Value) -> RegionSpec {
    let mut spec = json!({"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn group(id: &str, more: &Value) -> Value {
    let mut group = json!({"id": id, "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["12:00"]}});
    for (name, value) in more.as_object().unwrap() {
        group[name] = value.clone();
    }
    group
}

fn items(skus: &[&str]) -> Vec<Item> {
    let item = |(at, sku): (usize, &&str)| {
        let kind = if sku.starts_with("dl-") { "download" } else { "print" };
        json!({"id": at.to_string(), "sku": sku, "quantity": 1, "kind": kind})
    };
    skus.iter().enumerate().map(item).map(|item| serde_json::from_value(item).unwrap()).collect()
}

#[test]
fn a_star_stands_for_any_characters() {
    let cases = [
        ("mug-*", "mug-11oz", true),
        ("mug-*", "mug-", true),
        ("mug-*", "smug-1", false),
        ("*", "", true),
        ("*", "anything", true),
        ("print", "print", true),
        ("print", "print-10x15", false),
        ("*-xl", "shirt-xl", true),
        ("*-xl", "shirt-xl-red", false),
        ("a*b*c", "abc", true),
        ("a*b*c", "a--b--b--c", true),
        ("a*b*c", "acb", false),
        // The end is not the same text as the beginning.
        ("ab*b", "ab", false),
        ("ab*ba", "aba", false),
        ("a**b", "ab", true),
        ("ä*ö", "äxö", true),
        ("*a*", "bab", true),
        ("MUG-*", "mug-1", false),
        // What stands for one part does not stand for the next as well.
        ("*ab*ab", "ab", false),
        ("*ab*ab", "abab", true),
        ("*ab*", "xab", true),
    ];
    for (pattern, sku, fits) in cases {
        assert_eq!(Pattern(pattern.to_owned()).fits(sku), fits, "{pattern} {sku}");
    }
    assert!(any_fits(&[], "x") && !any_fits(&[Pattern("y".to_owned())], "x"));
}

#[test]
fn a_pattern_fits_as_its_definition_says() {
    fn fits(pattern: &[u8], sku: &[u8]) -> bool {
        match (pattern.split_first(), sku.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((b'*', after)), None) => fits(after, sku),
            (Some((b'*', after)), Some((_, rest))) => fits(after, sku) || fits(pattern, rest),
            (Some((one, after)), Some((other, rest))) => one == other && fits(after, rest),
            (Some(_), None) => false,
        }
    }
    // Every text of so many letters at most.
    let texts = |letters: &str, most: usize| {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..most {
            let longer: Vec<String> = all[from..]
                .iter()
                .flat_map(|text| letters.chars().map(move |c| format!("{text}{c}")))
                .collect();
            from = all.len();
            all.extend(longer);
        }
        all
    };
    for pattern in texts("ab*", 6) {
        for sku in texts("ab", 5) {
            let expected = fits(pattern.as_bytes(), sku.as_bytes());
            assert_eq!(Pattern(pattern.clone()).fits(&sku), expected, "{pattern} {sku}");
        }
    }
}

#[test]
fn items_belong_to_the_first_group_that_fits() {
    let spec = region(&json!({
        "products": ["print-*", "mug-*", "book-*"], "service_levels": ["express"],
        "groups": [
            group("mugs", &json!({"products": ["mug-*"]})),
            group("fast", &json!({"service_levels": ["overnight"], "products": ["print-*"]})),
        ],
    }));
    // Products, service level, the places or the fields at fault.
    let cases: [(&[&str], &str, &[&str]); 15] = [
        (&["print-1"], "", &["fi"]),
        (&["mug-1"], "", &["fi.mugs"]),
        (&["mug-1", "print-1", "mug-2"], "", &["fi", "fi.mugs"]),
        // Whatever the items' order is.
        (&["print-1", "mug-1"], "", &["fi", "fi.mugs"]),
        (&["print-1"], "overnight", &["fi.fast"]),
        // A group without levels of its own has those of the region.
        (&["mug-1", "print-1"], "express", &["fi", "fi.mugs"]),
        (&["mug-1"], "overnight", &["!service_level"]),
        (&["print-1", "book-1"], "overnight", &["!service_level"]),
        (&["shirt-1", "print-1", "cap-1"], "", &["!items[0].sku", "!items[2].sku"]),
        // What is not printed is in no group, and made by nobody.
        (&["dl-1", "mug-1"], "", &["fi.mugs"]),
        (&["dl-1"], "", &["fi"]),
        (&["dl-1"], "tomorrow", &["!service_level"]),
        (&["dl-1"], "express", &["fi"]),
        (&["dl-1"], "overnight", &["fi"]),
        // Of what nobody makes it is not asked how fast.
        (&["shirt-1"], "tomorrow", &["!items[0].sku"]),
    ];
    for (skus, level, expected) in cases {
        let level =
            Some(level).filter(|level| !level.is_empty()).map(|level| ServiceLevel::parse(level).unwrap());
        let found: Vec<String> = match spec.places_of(&items(skus), level.as_ref()) {
            Ok(places) => places.iter().map(ToString::to_string).collect(),
            Err(faults) => faults.iter().map(|fault| format!("!{}", fault.field)).collect(),
        };
        assert_eq!(found, expected, "{skus:?} {level:?}");
    }
    let level = ServiceLevel::parse("overnight").unwrap();
    let told = spec.places_of(&items(&["book-1"]), Some(&level)).unwrap_err()[0].to_string();
    assert!(told.contains("express, overnight") && told.contains("book-1"), "{told}");
}

#[test]
fn places_come_as_they_are_configured_whatever_comes_first_in_the_order() {
    let of = |id: &str| group(id, &json!({"products": [format!("{id}-*")]}));
    let spec = region(&json!({"groups": [of("c"), of("a"), of("b")]}));
    let skus = ["a-1", "b-1", "c-1", "other"];
    for nth in 0..4_usize.pow(4) {
        let order = [nth % 4, nth / 4 % 4, nth / 16 % 4, nth / 64].map(|at| skus[at]);
        let places: Vec<String> =
            spec.places_of(&items(&order), None).unwrap().iter().map(ToString::to_string).collect();
        let expected = [("other", "fi"), ("c-1", "fi.c"), ("a-1", "fi.a"), ("b-1", "fi.b")];
        let expected = expected.into_iter().filter(|(sku, _)| order.contains(sku)).map(|(_, place)| place);
        assert_eq!(places, expected.collect::<Vec<_>>(), "{order:?}");
    }
}

#[test]
fn what_is_not_as_usual_is_kept() {
    let group = group("m", &json!({"products": ["m"], "promise": "none", "batch_min": 2, "batch_max": 5}));
    let spec = json!({"id": "fi", "countries": ["FI"], "products": ["m", "n"], "service_levels": ["express"],
        "groups": [group], "promise": "none", "batch_min": 3, "batch_max": 7, "warn_before": "2h",
        "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}});
    let told: RegionSpec = serde_json::from_value(spec).unwrap();
    let kept = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<RegionSpec>(&kept).unwrap(), told);
}

#[test]
fn what_is_wrong_is_named() {
    let groups = |count: usize| {
        let groups = (0..count).map(|nth| group(&format!("g{nth}"), &json!({"products": ["m"]})));
        json!({ "groups": groups.collect::<Vec<_>>() })
    };
    let cases = [
        (json!({"id": "fi.mugs"}), "id"),
        (json!({"products": [""]}), "products[0]"),
        (json!({"products": ["a", "b\u{7}"]}), "products[1]"),
        (json!({"service_levels": ["express", "express"]}), "service_levels[1]"),
        (json!({"batch_max": 100}), "batch_max"),
        (json!({"batch_max": 0, "promise": "none"}), "batch_max"),
        (json!({"batch_min": 0}), "batch_min"),
        (json!({"batch_min": 9, "batch_max": 8, "promise": "none"}), "batch_min"),
        (json!({"groups": [group("mugs", &json!({}))]}), "groups[0].products"),
        (
            json!({"groups": [group("m", &json!({"products": ["m"]})), group("m", &json!({"products": ["n"]}))]}),
            "groups[1].id",
        ),
        (json!({"groups": [group("m", &json!({"products": ["m"], "batch_max": 5}))]}), "groups[0].batch_max"),
        (json!({"warn_before": "24h1s"}), "warn_before"),
        (json!({"warn_before": "48h"}), "warn_before"),
        (json!({"products": vec!["a"; 101]}), "products"),
        (json!({"products": ["a".repeat(201)]}), "products[0]"),
        (groups(21), "groups"),
        (json!({"batch_max": 1_000_001, "promise": "none"}), "batch_max"),
    ];
    for (more, field) in cases {
        let faults = region(&more).faults();
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, [field], "{more}");
    }
    let right = region(&json!({
        "batch_min": 1, "batch_max": 1, "promise": "none",
        "groups": [group("m", &json!({"products": ["m"], "promise": "none", "batch_max": 5}))],
    }));
    assert!(right.faults().is_empty());
    // As much as is allowed.
    for more in [
        json!({"warn_before": "24h"}),
        json!({"warn_before": "0s"}),
        json!({"products": vec!["a"; 100]}),
        json!({"products": ["ä".repeat(200)]}),
        groups(20),
        json!({"batch_min": 1_000_000, "batch_max": 1_000_000, "promise": "none"}),
    ] {
        assert_eq!(region(&more).faults(), [], "{more}");
    }
    // What was stored before groups were is stored the same.
    let plain = region(&json!({}));
    let text = serde_json::to_string(&plain).unwrap();
    assert_eq!(text.split("\"calendar\"").next().unwrap(), r#"{"id":"fi","countries":[],"#);
}

#[test]
fn the_earliest_and_the_latest_are_chosen() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    for (cutoffs, earliest, latest) in
        [(vec![5], 0, 0), (vec![7, 5, 6], 1, 0), (vec![5, 5], 0, 0), (vec![5, 9, 9, 5], 0, 1)]
    {
        let first = at(*cutoffs.iter().min().unwrap());
        for (promise, until) in [(Promise::Cutoff, Some(first)), (Promise::None, None)] {
            let all: Vec<_> = cutoffs.iter().map(|second| (at(*second), promise)).collect();
            assert_eq!(Mixed::Earliest.choose(&all), Some((earliest, until)), "{cutoffs:?}");
            assert_eq!(Mixed::Latest.choose(&all), Some((latest, until)), "{cutoffs:?}");
        }
    }
    assert_eq!(Mixed::Latest.choose(&[]), None);
}

#[test]
fn what_promises_nothing_is_not_chosen_beside_what_does() {
    use Promise::{Cutoff, None as Nothing};
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    // The earliest, the latest, and what is promised.
    for (cutoffs, earliest, latest, until) in [
        (vec![(12, Cutoff), (18, Nothing)], 0, 0, 12),
        (vec![(12, Nothing), (18, Cutoff)], 1, 1, 18),
        (vec![(12, Nothing), (18, Cutoff), (15, Cutoff), (24, Nothing)], 2, 1, 15),
    ] {
        let all: Vec<_> = cutoffs.iter().map(|(second, promise)| (at(*second), *promise)).collect();
        assert_eq!(Mixed::Earliest.choose(&all), Some((earliest, Some(at(until)))), "{cutoffs:?}");
        assert_eq!(Mixed::Latest.choose(&all), Some((latest, Some(at(until)))), "{cutoffs:?}");
    }
}
