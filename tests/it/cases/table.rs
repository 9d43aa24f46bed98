//! The table of the cases and the tests are the same list, sentence by sentence.

const TABLE: &str = include_str!("../../../src/cases.md");
/// The kinds of systems, as the table calls them; the tests of each, and how many sentences it has.
const KINDS: [(&str, &str, &str, usize); 5] = [
    ("A portal of photographers' shops", "portal", include_str!("portal.rs"), 10),
    ("A shop that produces at once", "immediate", include_str!("immediate.rs"), 4),
    ("A back office that speaks EDI", "back_office", include_str!("back_office.rs"), 6),
    ("A print-on-demand network", "network", include_str!("network.rs"), 4),
    ("Self-service cancellation", "self_service", include_str!("self_service.rs"), 4),
];

/// The name of a test that is called after a sentence.
fn name(sentence: &str) -> String {
    let lower = sentence.to_lowercase().replace('\'', "");
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

/// The tests of a file, in its order.
fn tests(text: &str) -> Vec<&str> {
    let bodies = text.split("#[tokio::test").skip(1);
    bodies.map(|part| part.split_once("async fn ").unwrap().1.split('(').next().unwrap()).collect()
}

/// The parts of the table: what each is called, and its sentences with what is named beside them.
fn parts() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let mut parts: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for line in TABLE.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            [kind, ""] | [kind] => parts.push((kind, Vec::new())),
            [sentence, test] => parts.last_mut().unwrap().1.push((sentence, test)),
            _ => panic!("not a line of the table: {line}"),
        }
    }
    parts
}

#[test]
fn each_sentence_of_the_table_is_the_name_of_its_test_and_there_are_no_others() {
    let parts = parts();
    let kinds: Vec<(&str, usize)> = parts.iter().map(|(kind, lines)| (*kind, lines.len())).collect();
    let expected: Vec<(&str, usize)> = KINDS.iter().map(|(kind, _, _, count)| (*kind, *count)).collect();
    assert_eq!(kinds, expected);
    assert_eq!(kinds.iter().map(|(_, count)| count).sum::<usize>(), 28);
    for ((_, lines), (kind, file, text, _)) in parts.iter().zip(KINDS) {
        let named: Vec<String> = lines.iter().map(|(sentence, _)| name(sentence)).collect();
        assert_eq!(named, tests(text), "{kind}: tests/it/cases/{file}.rs");
        for ((sentence, test), name) in lines.iter().zip(named) {
            assert_eq!(*test, format!("`cases::{file}::{name}`"), "{sentence}");
        }
    }
}

#[test]
fn a_name_is_the_words_of_its_sentence() {
    for (sentence, expected) in [
        ("Restock", "restock"),
        ("No stop; more photos: a new order", "no_stop_more_photos_a_new_order"),
        ("Ship-to, until \"EDI sent\"", "ship_to_until_edi_sent"),
        ("Without anybody's hands", "without_anybodys_hands"),
    ] {
        assert_eq!(name(sentence), expected);
    }
}
