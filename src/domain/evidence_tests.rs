//! A bundle proves itself, and every change of it shows.

use serde_json::json;

use super::*;

fn entry(seq: i64, previous: &str, subject: &str, detail: &str) -> Entry {
    let at = Timestamp::from_microsecond(1_800_000_000_000_000 + seq).unwrap();
    let hash = event::hash(previous, at, subject, "kind", "gateway", detail);
    let hashed = [previous, &at.as_microsecond().to_string(), subject, "kind", "gateway", detail];
    Entry { seq, at, lab: "nord".to_owned(), hashed: hashed.map(str::to_owned), hash, checkpoint: None }
}

/// Three entries of the order, one of its batch; a checkpoint over the first three of these and two of others.
fn bundle() -> Bundle {
    let first = entry(3, "", "ord_1", "{\"name\":\"Ä\"}");
    let batch = entry(4, "", "bat_1", "{}");
    let second = entry(6, &first.hash, "ord_1", "{}");
    let third = entry(9, &second.hash, "ord_1", "{\"reason\":\"a\\nb\"}");
    let mut entries = vec![first, batch, second, third];
    let others = [(2, "a".repeat(64)), (5, "b".repeat(64))];
    let own = entries[..3].iter().map(|entry| (entry.seq, entry.hash.clone()));
    let mut covered: Vec<Covered> = own.chain(others).map(|(seq, hash)| Covered { seq, hash }).collect();
    covered.sort_by_key(|covered| covered.seq);
    let previous = "c".repeat(64);
    let mut sum = Sha256::new_with_prefix(&previous);
    for covered in &covered {
        sum.update(&covered.hash);
    }
    let hash = hex(&sum.finalize());
    let point = Checkpoint { at: entries[3].at, seq: 6, previous, entries: Some(covered), hash };
    for entry in &mut entries[..3] {
        entry.checkpoint = Some(6);
    }
    let order = json!({"id": "ord_1", "reference": "Ä-1", "share": 0.25, "note": "tab\there \u{7f}",
        "state": "at_lab", "lab": null});
    Bundle::new((entries[3].at, "stoppress".to_owned()), order, vec![], entries, vec![point]).unwrap()
}

fn faults(value: &Value) -> Vec<String> {
    verify(&value.to_string()).map_or_else(|why| vec![why], |found| found.faults)
}

/// The same bundle, sealed again by whoever changed it.
fn sealed(mut value: Value) -> Value {
    value["seal"] = seal(&value).into();
    value
}

#[test]
fn a_bundle_proves_itself() {
    let bundle = bundle();
    let text = serde_json::to_string_pretty(&bundle).unwrap();
    let found = verify(&text).unwrap();
    assert_eq!(found, Verified { entries: 4, covered: 3, not_computed: 0, faults: vec![] });
    assert_eq!(bundle.order["share"], "0.25");
    let chain = |subject: &str, entries, at: usize| Chain {
        subject: subject.to_owned(),
        entries,
        head: bundle.entries[at].hash.clone(),
    };
    assert_eq!(bundle.chains, [chain("ord_1", 3, 3), chain("bat_1", 1, 1)]);
    let shown = bundle.text();
    for part in [
        "order Ä-1 (ord_1)",
        "#9 ",
        "covered by the checkpoint at #6",
        "no checkpoint covers it yet",
        "\nState           at_lab\n",
        &bundle.seal,
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(
        !shown.contains("\nLab") && !shown.contains("\nPlatform"),
        "nothing is said of what is not known: {shown}"
    );
}

/// Every byte of the text, changed one at a time: it is no bundle any more, or it is found.
#[test]
fn a_changed_byte_is_found() {
    let text = serde_json::to_string(&bundle()).unwrap();
    let mut tried = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
        let other = if c == '1' { '2' } else { '1' };
        let mut changed = text.clone();
        changed.replace_range(at..at + c.len_utf8(), &other.to_string());
        let found = verify(&changed).map_or_else(|why| vec![why], |found| found.faults);
        assert!(!found.is_empty(), "at {at}: {c} became {other}");
        tried += 1;
    }
    assert!(tried > 1_000);
}

/// Also if whoever changed it seals it again, what the chains and the checkpoint hold together is found.
#[test]
fn what_was_changed_or_left_out_is_named() {
    let whole = serde_json::to_value(bundle()).unwrap();
    let without = |at: usize| {
        let mut value = whole.clone();
        value["entries"].as_array_mut().unwrap().remove(at);
        sealed(value)
    };
    assert!(faults(&without(2)).iter().any(|fault| fault.contains("before it is missing")));
    assert!(faults(&without(3)).iter().any(|fault| fault.starts_with("ord_1: 2 of 3 entries")));
    assert!(faults(&without(1)).iter().any(|fault| fault.starts_with("bat_1: 0 of 1")));
    let with = |path: &str, to: Value| {
        let mut value = whole.clone();
        *value.pointer_mut(path).unwrap() = to;
        sealed(value)
    };
    for (path, to, expected) in [
        ("/entries/0/hashed/5", json!("{}"), "entry #3: its content was changed"),
        ("/entries/0/hashed/3", json!("order.admitted"), "entry #3: its content was changed"),
        ("/entries/0/at", json!("2027-01-15T08:00:00Z"), "entry #3: its time was changed"),
        ("/entries/3/seq", json!(5), "entry #5: is not in the order of the log"),
        ("/entries/0/seq", json!(1), "entry #1: checkpoint #6 does not cover it"),
        ("/entries/3/checkpoint", json!(6), "entry #9: checkpoint #6 does not cover it"),
        ("/entries/3/checkpoint", json!(8), "entry #9: its checkpoint #8 is missing"),
        (
            "/checkpoints/0/entries/0/hash",
            json!("d"),
            "checkpoint #6: entries before it are missing or were changed",
        ),
        (
            "/checkpoints/0/previous",
            json!(""),
            "checkpoint #6: entries before it are missing or were changed",
        ),
        ("/chains/1/subject", json!("bat_2"), "bat_1: its chain is not among those of the bundle"),
        ("/order/id", json!("ord_2"), "the order's own entries are missing"),
    ] {
        let found = faults(&with(path, to));
        assert!(found.iter().any(|fault| fault == expected), "{path}: {found:?}");
    }
    let mut left = whole.clone();
    left["checkpoints"][0]["entries"] = Value::Null;
    let found = verify(&sealed(left).to_string()).unwrap();
    assert_eq!((found.not_computed, found.covered, found.faults), (3, 0, vec![]));
    for text in ["", "[]", "{}", "{\"format\":\"x\"}"] {
        assert!(verify(text).is_err(), "{text}");
    }
}

/// Somebody else's program makes the same text of the description, or the seal is worth nothing.
#[test]
fn what_is_sealed_is_the_json_that_is_described() {
    let value = json!({"b": [1, -2, 0.5, u64::MAX, "x\n\"Ä"], "a": {"d": true, "c": null}});
    let mut text = String::new();
    canonical(&whole(value), &mut text);
    assert_eq!(text, r#"{"a":{"c":null,"d":true},"b":[1,-2,"0.5",18446744073709551615,"x\n\"Ä"]}"#);
}
