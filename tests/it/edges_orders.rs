//! What is checked of an order that is sent in, each rule on both sides of its edge, and who is told what happened.

use serde_json::{Value, json};
use stoppress::domain::event::fits;
use stoppress::domain::order::Submission;

fn order() -> Value {
    json!({
        "reference": "A-1", "lab": "lumo",
        "ship_to": {"name": "M. Virtanen", "line1": "Rantatie 1", "city": "Turku", "country": "FI"},
        "items": [{"id": "1", "sku": "print-10x15", "quantity": 1, "files": [{"url": "https://a.example/1.jpg"}]}],
    })
}

/// The fields that are wrong in the order with this in place of what a pointer names.
fn wrong(place: &str, value: Value) -> Vec<String> {
    let mut order = order();
    let (parent, name) = place.rsplit_once('/').unwrap();
    match order.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
        list => list[name.parse::<usize>().unwrap()] = value,
    }
    let submitted: Submission = serde_json::from_value(order).unwrap();
    submitted.faults().into_iter().map(|fault| fault.field).collect()
}

fn item(id: &str, kind: &str) -> Value {
    json!({"id": id, "kind": kind, "sku": "x", "quantity": 1})
}

#[test]
fn what_is_wrong_with_an_order() {
    let long = |count| json!("a".repeat(count));
    let items = |count: usize| (0..count).map(|nth| item(&nth.to_string(), "print")).collect::<Value>();
    let url = |tail: &str| json!(format!("https://a.example/{tail}"));
    let picture = "data:image/png;base64,iVBORw0KGgo=";
    let none: &[&str] = &[];
    for (place, value, fields) in [
        ("/reference", long(128), none),
        ("/reference", long(129), &["reference"]),
        ("/reference", json!("  "), &["reference"]),
        ("/reference", json!("A\n1"), &["reference"]),
        ("/lab", Value::Null, &["lab"]),
        ("/ship_to", Value::Null, &["ship_to"]),
        ("/ship_to/city", json!(""), &["ship_to.city"]),
        ("/ship_to/name", long(200), none),
        ("/ship_to/name", long(201), &["ship_to.name"]),
        ("/ship_to/line1", json!("\t"), &["ship_to.line1"]),
        ("/ship_to/line2", json!(""), none),
        ("/ship_to/line2", json!("a\nb"), &["ship_to.line2"]),
        ("/ship_to/postal_code", long(201), &["ship_to.postal_code"]),
        ("/ship_to/state", long(201), &["ship_to.state"]),
        ("/ship_to/email", long(201), &["ship_to.email"]),
        ("/ship_to/phone", long(201), &["ship_to.phone"]),
        ("/ship_to/country", json!("fi"), &["ship_to.country"]),
        ("/ship_to/country", json!("FIN"), &["ship_to.country"]),
        ("/ship_to/country", json!(""), &["ship_to.country"]),
        ("/customer", json!({"email": long(200), "language": ""}), none),
        (
            "/customer",
            json!({"email": long(201), "language": "f\ni"}),
            &["customer.email", "customer.language"],
        ),
        ("/need", json!({"country": "SE"}), none),
        ("/need", json!({"country": "se"}), &["need.country"]),
        ("/items", json!([]), &["items"]),
        ("/items", items(1000), none),
        ("/items", items(1001), &["items"]),
        ("/items", json!([item("1", "print"), item("1", "print")]), &["items[1].id"]),
        ("/items/0/id", json!(" "), &["items[0].id"]),
        ("/items/0/id", long(200), none),
        ("/items/0/id", long(201), &["items[0].id"]),
        ("/items/0/sku", json!(""), &["items[0].sku"]),
        ("/items/0/quantity", json!(0), &["items[0].quantity"]),
        ("/items/0/quantity", json!(1_000_000), none),
        ("/items/0/quantity", json!(1_000_001), &["items[0].quantity"]),
        ("/items/0/files/0/url", json!("http://a.example/1.jpg"), none),
        ("/items/0/files/0/url", json!("ftp://a.example/1.jpg"), &["items[0].files[0].url"]),
        ("/items/0/files/0/url", url(&"a".repeat(2000 - 18)), none),
        ("/items/0/files/0/url", url(&"a".repeat(2001 - 18)), &["items[0].files[0].url"]),
        ("/items/0/files/0/url", url("\u{7}"), &["items[0].files[0].url"]),
        ("/items/0/files/0/sha256", json!("0a".repeat(32)), none),
        ("/items/0/files/0/sha256", json!("0a".repeat(31)), &["items[0].files[0].sha256"]),
        ("/items/0/files/0/sha256", json!("0A".repeat(32)), &["items[0].files[0].sha256"]),
        ("/items/0/options", json!({"a".repeat(100): "a".repeat(1000)}), none),
        ("/items/0/options", json!({"paper": "a".repeat(1001)}), &["items[0].options.paper"]),
        (
            "/items/0/options",
            json!({"ä".repeat(101): ""}),
            &[&format!("items[0].options.{}", "ä".repeat(101))],
        ),
        ("/items/0/options", json!({"pa\tper": "matt"}), &["items[0].options.pa\tper"]),
        ("/metadata", json!({"ab": "c".repeat(10_000), "de": "f".repeat(6_380)}), none),
        ("/metadata", json!({"ab": "c".repeat(10_000), "de": "f".repeat(6_381)}), &["metadata"]),
        ("/thumbnails", json!({"1": picture}), none),
        ("/thumbnails", json!({"2": picture}), &["thumbnails.2"]),
        ("/thumbnails", json!({"1": "https://a.example/1.png"}), &["thumbnails.1"]),
    ] {
        let shown: String = value.to_string().chars().take(60).collect();
        assert_eq!(wrong(place, value), fields, "{place}: {shown}");
    }
}

#[test]
fn what_is_printed_is_sent_somewhere() {
    for (kinds, fields) in [
        (&["download"][..], &["items"][..]),
        (&["print"], &["ship_to"]),
        (&["download", "print"], &["ship_to"]),
    ] {
        let mut order = order();
        order.as_object_mut().unwrap().remove("ship_to");
        order["items"] = kinds.iter().enumerate().map(|(nth, kind)| item(&nth.to_string(), kind)).collect();
        let submitted: Submission = serde_json::from_value(order).unwrap();
        let found: Vec<String> = submitted.faults().into_iter().map(|fault| fault.field).collect();
        assert_eq!(found, fields, "{kinds:?}");
    }
}

#[test]
fn the_pictures_of_an_order_have_a_size_together() {
    let mut order = order();
    order["items"] = (0..9).map(|nth| item(&nth.to_string(), "print")).collect();
    let begin = "data:image/png;base64,";
    let picture = |size: usize| format!("{begin}{}", "A".repeat(size - begin.len()));
    // Eight of 16 KiB are all that there may be.
    for (last, fields) in [(None, &[][..]), (Some(picture(64)), &["thumbnails"])] {
        let mut pictures: serde_json::Map<String, Value> =
            (0..8).map(|nth| (nth.to_string(), json!(picture(16 * 1024)))).collect();
        pictures.extend(last.map(|last| ("8".to_owned(), json!(last))));
        order["thumbnails"] = pictures.into();
        let submitted: Submission = serde_json::from_value(order.clone()).unwrap();
        let found: Vec<String> = submitted.faults().into_iter().map(|fault| fault.field).collect();
        assert_eq!(found, fields);
    }
}

#[test]
fn a_pattern_names_one_kind_a_family_or_all() {
    for (pattern, kind, expected) in [
        ("stop.*", "stop.stopped", true),
        ("stop.*", "order.admitted", false),
        ("*", "order.admitted", true),
        ("stop.stopped", "stop.stopped", true),
        ("stop.stopped", "stop.stopped_in_part", false),
        ("stop.stopped", "order.admitted", false),
    ] {
        assert_eq!(fits(pattern, kind), expected, "{pattern} {kind}");
    }
}
