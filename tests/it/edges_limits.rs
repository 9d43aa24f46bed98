//! What is taken of a definition, and no more: ids, labs and their regions, calendars, endpoints. The longest that is
//! allowed passes; one more is refused by its field, with what was there and what is allowed.

use jiff::Timestamp;
use serde_json::{Value, json};
use stoppress::domain::Fault;
use stoppress::domain::calendar::{Calendar, CalendarSpec};
use stoppress::domain::ids::{LabId, OrderId, RegionId};
use stoppress::domain::lab::{Lab, LabSpec};
use stoppress::domain::webhook::WebhookSpec;
use stoppress::domain::zones::Zones;

fn now() -> Timestamp {
    "2026-11-23T08:00:00Z".parse().unwrap()
}

/// The faults as they are told.
fn told(faults: Vec<Fault>) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_fault_is_named_from_the_whole() {
    for (field, parent, path) in [
        ("url", "", "url"),
        ("", "profile", "profile"),
        ("url", "files[0]", "files[0].url"),
        ("[3]", "files", "files[3]"),
        ("[3].url", "items[0].files", "items[0].files[3].url"),
        ("", "", ""),
    ] {
        assert_eq!(Fault::new(field, "").under(parent).field, path, "{field} {parent}");
    }
}

#[test]
fn names_of_what_people_configure() {
    let long = |count| "a".repeat(count);
    let both = |first: usize, second: usize| format!("{}.{}", long(first), long(second));
    // Whether it names a lab, and whether it names a region or a group of one.
    for (text, lab, place) in [
        ("a", true, true),
        ("a-1", true, true),
        ("a-", true, true),
        ("1", true, true),
        ("-a", false, false),
        ("A", false, false),
        ("a_b", false, false),
        ("ä", false, false),
        ("", false, false),
        (&long(63), true, true),
        (&long(64), false, false),
        ("fi.mugs", false, true),
        (&both(63, 63), false, true),
        (&both(64, 63), false, false),
        (&both(63, 64), false, false),
        ("fi.", false, false),
        (".mugs", false, false),
        (".", false, false),
        ("fi.mugs.red", false, false),
        ("fi.-mugs", false, false),
        ("FI.mugs", false, false),
    ] {
        assert_eq!(LabId::parse(text).is_ok(), lab, "{text}");
        assert_eq!(RegionId::parse(text).is_ok(), place, "{text}");
    }
    for (text, good) in [
        (format!("ord_{}", "0a".repeat(16)), true),
        (format!("ord_{}", "0a".repeat(15)), false),
        (format!("ord_{}0", "0a".repeat(16)), false),
        (format!("ord_{}", "0A".repeat(16)), false),
        (format!("bat_{}", "0a".repeat(16)), false),
        ("0a".repeat(16), false),
    ] {
        assert_eq!(OrderId::parse(&text).is_ok(), good, "{text}");
    }
}

fn region(id: &str, zone: &str, countries: &[&str]) -> Value {
    json!({"id": id, "countries": countries, "calendar": {"time_zone": zone, "cutoffs": ["24:00"]}})
}

fn lab(name: &str, regions: &[Value]) -> LabSpec {
    let spec = json!({"id": "lumo", "name": name, "driver": {"kind": "http"}, "regions": regions});
    serde_json::from_value(spec).unwrap()
}

#[test]
fn the_name_of_a_lab_and_its_countries() {
    let helsinki = |countries: &[&str]| region("fi", "Europe/Helsinki", countries);
    let printable = "1 to 200 printable characters";
    for (name, good) in [
        ("Lumo", true),
        (&"ä".repeat(200), true),
        (&format!(" {} ", "ä".repeat(200)), true),
        (&"ä".repeat(201), false),
        (&"ä".repeat(202), false),
        ("", false),
        (" \u{a0}", false),
        ("Lu\nmo", false),
    ] {
        let expected = if good { vec![] } else { vec![format!("name: {name:?} is not {printable}")] };
        assert_eq!(told(lab(name, &[helsinki(&["FI"])]).faults()), expected);
    }
    for (country, good) in
        [("FI", true), ("fi", false), ("Fi", false), ("FIN", false), ("F", false), ("", false), ("Ä", false)]
    {
        let text = "a country code of two capital letters, such as \"FI\"";
        let fault = format!("regions[0].countries[1]: {country:?} is not {text}");
        let expected = if good { vec![] } else { vec![fault] };
        assert_eq!(told(lab("Lumo", &[helsinki(&["SE", country])]).faults()), expected);
    }
    let twice = lab("Lumo", &[helsinki(&["FI"]), region("fi", "Europe/Helsinki", &["SE", "FI"])]);
    let unique = "unique: an earlier region of this lab has it";
    let expected = [
        format!("regions[1].id: \"fi\" is not {unique}"),
        format!("regions[1].countries[1]: \"FI\" is not {unique}"),
    ];
    assert_eq!(told(twice.faults()), expected);
    assert_eq!(told(lab("Lumo", &[]).faults()), ["regions: is empty; a lab has at least one region"]);
}

#[test]
fn an_order_goes_to_the_region_it_names_else_the_only_one_else_that_of_its_country() {
    let of = |regions: &[Value]| Lab::build(lab("Lumo", regions), &Zones::bundled(), now()).unwrap();
    let mut grouped = region("fi", "Europe/Helsinki", &["FI", "EE"]);
    grouped["groups"] = json!([{"id": "mugs", "products": ["mug-*"],
        "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["12:00"]}}]);
    let several = of(&[grouped, region("us", "America/New_York", &["US"]), region("jp", "Asia/Tokyo", &[])]);
    let only = of(&[region("fi", "Europe/Helsinki", &["FI"])]);
    let (fi, us, jp) = (Some("Europe/Helsinki"), Some("America/New_York"), Some("Asia/Tokyo"));
    for (lab, named, country, zone) in [
        (&several, "fi", None, fi),
        (&several, "us", Some("FI"), us),
        (&several, "jp", None, jp),
        (&several, "", Some("FI"), fi),
        (&several, "", Some("EE"), fi),
        (&several, "", Some("US"), us),
        (&several, "", Some("JP"), None),
        (&several, "", None, None),
        (&several, "no", Some("FI"), None),
        // A group is no region.
        (&several, "fi.mugs", None, None),
        (&only, "", None, fi),
        (&only, "", Some("US"), fi),
        (&only, "fi", None, fi),
        (&only, "us", None, None),
    ] {
        let id = Some(named).filter(|named| !named.is_empty()).map(|named| RegionId::parse(named).unwrap());
        match lab.region(id.as_ref(), country) {
            Ok((region, calendar)) => {
                assert_eq!(Some(calendar.time_zone()), zone, "{named} {country:?}");
                assert_eq!(region.calendar.time_zone, calendar.time_zone());
            }
            Err(fault) => {
                assert_eq!((fault.field.as_str(), zone), ("region", None), "{named} {country:?}: {fault}");
            }
        }
    }
    // Each place has its own calendar, and is named by none but its id.
    for (place, cutoff) in
        [("fi", "2026-11-23T22:00:00Z"), ("fi.mugs", "2026-11-23T10:00:00Z"), ("us", "2026-11-24T05:00:00Z")]
    {
        let calendar = several.calendar(&RegionId::parse(place).unwrap()).unwrap();
        assert_eq!(calendar.next_cutoff(now()).unwrap().at, cutoff.parse().unwrap(), "{place}");
        assert_eq!(calendar.tzdata(), Zones::bundled().version());
    }
    assert!(several.calendar(&RegionId::parse("us.mugs").unwrap()).is_none());
    let mugs = serde_json::from_value(json!([{"id": "1", "sku": "mug-1", "quantity": 1}])).unwrap();
    let places = |region: &str, items: &Vec<_>| -> Vec<String> {
        let places = several.places_of(&RegionId::parse(region).unwrap(), items, None).unwrap();
        places.iter().map(|place| place.id.to_string()).collect()
    };
    assert_eq!((places("fi", &mugs), places("us", &mugs)), (vec!["fi.mugs".into()], vec!["us".into()]));
}

#[test]
fn an_answer_is_due_in_contact_hours_where_people_answer() {
    // 2026-11-23 is a Monday; it is 10:00 in Helsinki.
    for (driver, hours, due) in [
        ("person", Some("mon-fri 08:00-16:00"), Some("2026-11-23T08:30:00Z")),
        ("person", Some("tue 08:00-16:00"), Some("2026-11-24T06:30:00Z")),
        ("person", None, None),
        ("http", Some("mon-fri 08:00-16:00"), None),
    ] {
        let mut spec = lab("Lumo", &[region("fi", "Europe/Helsinki", &["FI"])]);
        driver.clone_into(&mut spec.driver.kind);
        spec.profile = serde_json::from_value(json!({"stops": "yes", "answers_within": "30m"})).unwrap();
        spec.policy = serde_json::from_value(json!({"contact": {"hours": hours}})).unwrap();
        let lab = Lab::build(spec, &Zones::bundled(), now()).unwrap();
        let answer = lab.answer_due(&RegionId::parse("fi").unwrap(), now());
        assert_eq!(
            answer.as_ref().map(|due| due.at),
            due.map(|due| due.parse().unwrap()),
            "{driver} {hours:?}"
        );
        if let (Some(answer), Some(hours)) = (answer, hours) {
            assert_eq!(answer.rule, format!("contact_hours {hours}"));
            assert!(answer.local.ends_with("+02:00[Europe/Helsinki]"), "{}", answer.local);
        }
    }
}

#[test]
fn the_seasons_of_a_calendar() {
    let season = |nth: usize, name: &str| json!({"name": format!("{name}{nth}"), "from": "06-01", "to": "06-30", "cutoffs": ["12:00"]});
    let faults = |seasons: Vec<Value>| {
        let spec = json!({"time_zone": "UTC", "cutoffs": ["24:00"], "seasons": seasons});
        let spec: CalendarSpec = serde_json::from_value(spec).unwrap();
        told(Calendar::build(&spec, &Zones::bundled(), now()).err().unwrap_or_default())
    };
    let many = |count: usize| faults((0..count).map(|nth| season(nth, "s")).collect());
    assert_eq!(many(100), [""; 0]);
    for count in [101, 102, 300] {
        assert_eq!(many(count), [format!("seasons: has {count} entries; at most 100")]);
    }
    assert_eq!(faults(vec![season(0, &"ä".repeat(62))]), [""; 0]);
    let long = "ä".repeat(63);
    let fault = format!("seasons[0].name: \"{long}0\" is not a name of 1 to 63 characters");
    assert_eq!(faults(vec![season(0, &long)]), [fault]);
}

/// What is wrong with an endpoint, by field.
fn wrong(spec: &Value) -> String {
    let spec: WebhookSpec = serde_json::from_value(spec.clone()).unwrap();
    spec.faults().iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_wrong_with_an_endpoint() {
    let url = "https://hooks.example/";
    let with = |field: &str, value: Value| {
        let mut spec = json!({ "url": url });
        spec[field] = value;
        spec
    };
    let long = |bytes: usize| format!("{url}{}", "a".repeat(bytes - url.len()));
    for (text, good) in [
        (url.to_owned(), true),
        (long(2000), true),
        (long(2001), false),
        (long(2002), false),
        // Characters are counted.
        (format!("{url}{}", "ä".repeat(1900)), true),
        ("https://hooks.example/a#b".to_owned(), false),
        ("https://hooks.example/a\tb".to_owned(), false),
        ("https://hooks.example/a\n".to_owned(), false),
        ("https://10.0.0.7:8443/".to_owned(), true),
        // In the clear only to an address, which can be seen to be in a network of ops.
        ("http://10.0.0.7/".to_owned(), true),
        ("http://[fd00::7]/".to_owned(), true),
        ("http://localhost:8080/".to_owned(), true),
        ("http://hooks.example/".to_owned(), false),
        ("http://localhost.example/".to_owned(), false),
        ("ftp://hooks.example/".to_owned(), false),
        ("file:///etc/passwd".to_owned(), false),
        ("mailto:a@b.example".to_owned(), false),
        ("hooks.example".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(wrong(&json!({ "url": text })), if good { "" } else { "url" }, "{text}");
    }
    let kinds = |count: usize| vec!["stop.stopped"; count];
    for (events, fields) in [
        (json!(["*"]), ""),
        (json!([]), "events"),
        (json!(kinds(50)), ""),
        (json!(kinds(51)), "events"),
        (json!(kinds(52)), "events"),
        (
            json!(["stop.*", "stop.stoped", "stop.", "sto.*", "*.stopped"]),
            "events[1] events[2] events[3] events[4]",
        ),
    ] {
        assert_eq!(wrong(&with("events", events.clone())), fields, "{events}");
    }
    for (description, fields) in [
        ("ä".repeat(200), ""),
        ("ä".repeat(201), "description"),
        ("ä".repeat(202), "description"),
        ("a\nb".to_owned(), "description"),
        (String::new(), ""),
    ] {
        assert_eq!(wrong(&with("description", json!(description))), fields, "{description}");
    }
    // Unless told, it is told everything.
    let unless_told: WebhookSpec = serde_json::from_value(json!({ "url": url })).unwrap();
    assert!(unless_told.takes("stop.stopped") && unless_told.takes("order.admitted"));
    assert_eq!(wrong(&json!({ "url": url })), "");
}
