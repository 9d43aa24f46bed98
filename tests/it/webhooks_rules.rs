//! The rules of webhooks, pure: what is taken for success, when it is tried again, when an endpoint rests or ends,
//! what a message is called, and what a filter takes.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};
use stoppress::clock::{Random, SeededRandom};
use stoppress::domain::ids::OrderId;
use stoppress::domain::webhook::{
    Condition, FAILING_MAX, KINDS, Meaning, MessageId, Off, Posted, REST_MAX, SCHEDULE, Secrets, TRIED_EVERY,
    WebhookSpec, again, check_secret, new_secret, shown,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn posted(status: u16, retry_after: Option<u64>) -> Posted {
    Posted { status, retry_after: retry_after.map(Duration::from_secs), ..Posted::default() }
}

/// The same bytes for ever: the two ends of what chance can do.
#[derive(Debug)]
struct Always(u8);

impl Random for Always {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

#[test]
fn only_2xx_is_success() {
    for (status, wait, meaning) in [
        (200, None, Meaning::Delivered),
        (204, Some(60), Meaning::Delivered),
        (299, None, Meaning::Delivered),
        (0, None, Meaning::Failed),
        (100, None, Meaning::Failed),
        (301, None, Meaning::Failed),
        (302, None, Meaning::Failed),
        (308, None, Meaning::Failed),
        (400, None, Meaning::Failed),
        (404, Some(5), Meaning::Slow),
        (410, Some(5), Meaning::Gone),
        (429, None, Meaning::Slow),
        (500, None, Meaning::Failed),
        (502, None, Meaning::Slow),
        (503, None, Meaning::Slow),
        (504, None, Meaning::Slow),
    ] {
        assert_eq!(posted(status, wait).meaning(), meaning, "{status} {wait:?}");
    }
}

#[test]
fn the_schedule_is_the_specifications_and_jitter_only_adds() {
    let hours = |hours: i64| hours * 3600;
    let expected = [5, 300, 1800, hours(2), hours(5), hours(10), hours(14), hours(20), hours(24)];
    let sum: i64 = SCHEDULE.iter().map(SignedDuration::as_secs).sum();
    assert_eq!(sum, 75 * 3600 + 35 * 60 + 5);
    for (nth, seconds) in expected.into_iter().enumerate() {
        let attempts = i64::try_from(nth).unwrap() + 1;
        assert_eq!(again(attempts, None, &Always(0)), Some(SignedDuration::from_secs(seconds)));
        for seed in 0..50 {
            let wait = again(attempts, None, &SeededRandom::new(seed)).unwrap();
            assert!(wait >= SignedDuration::from_secs(seconds), "{wait:?}");
            assert!(wait <= SignedDuration::from_millis(seconds * 1100), "{wait:?}");
        }
    }
    assert_eq!(again(10, None, &Always(0)), None);
    assert_eq!(again(11, Some(Duration::from_secs(5)), &Always(0)), None, "a last attempt is the last");
    // The receiver can ask for longer, not for less, and not for ever.
    assert_eq!(again(1, Some(Duration::from_mins(1)), &Always(0)), Some(SignedDuration::from_mins(1)));
    assert_eq!(again(2, Some(Duration::from_secs(1)), &Always(0)), Some(SignedDuration::from_secs(300)));
    assert_eq!(
        again(1, Some(Duration::from_secs(u64::MAX)), &Always(0)),
        Some(SignedDuration::from_hours(24))
    );
}

/// The same number for ever.
#[derive(Debug)]
struct Drawn(u64);

impl Random for Drawn {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0.to_le_bytes());
    }
}

#[test]
fn jitter_is_a_tenth_at_most() {
    let tenth = 500_000;
    for (drawn, micros) in [(0, 0), (1, 1), (tenth - 1, tenth - 1), (tenth, tenth), (tenth + 1, 0)] {
        let wait = SignedDuration::from_secs(5) + SignedDuration::from_micros(i64::try_from(micros).unwrap());
        assert_eq!(again(1, None, &Drawn(drawn)), Some(wait), "{drawn} was drawn");
    }
}

#[test]
fn an_endpoint_rests_after_five_failures_or_when_it_asks_and_is_fresh_after_a_success() {
    let mut condition = Condition::default();
    for nth in 0..4 {
        assert_eq!(condition.after(&posted(500, None), at(nth), &Always(0)), None);
        assert!(!condition.rests(at(nth)) && !condition.probes());
    }
    assert_eq!(condition.failing_since, Some(at(0)));
    let mut rest = 30;
    for nth in 0..12 {
        let now = at(100 + nth * 10_000);
        condition.after(&posted(0, None), now, &Always(0));
        assert_eq!(condition.rest_until, Some(now + SignedDuration::from_secs(rest)), "{nth}");
        assert!(condition.probes());
        rest = (rest * 2).min(900);
    }
    assert_eq!(condition.after(&posted(200, None), at(0), &Always(0)), None);
    assert_eq!(condition, Condition::default());
    condition.after(&posted(429, Some(120)), at(0), &Always(0));
    assert_eq!(condition.rest_until, Some(at(120)));
    // A shorter wish of a call that ends later does not end a longer one.
    condition.after(&posted(429, Some(7)), at(1), &Always(0));
    assert_eq!(condition.rest_until, Some(at(120)));
    // It rests until then, and not at that instant.
    for (second, rests) in [(1, true), (119, true), (120, false), (121, false)] {
        assert_eq!(condition.rests(at(second)), rests, "{second}");
    }
    let mut busy = Condition::default();
    busy.after(&posted(503, None), at(0), &Always(0));
    assert_eq!(busy.rest_until, Some(at(5)));
}

#[test]
fn an_endpoint_ends_when_it_is_gone_and_after_five_days() {
    let mut condition = Condition::default();
    assert_eq!(condition.after(&posted(410, None), at(0), &Always(0)), Some(Off::Gone));
    let mut condition = Condition::default();
    let days = FAILING_MAX.as_secs();
    let day = 24 * 3600;
    for before in (0..days).step_by(usize::try_from(day).unwrap()) {
        assert_eq!(condition.after(&posted(500, None), at(before), &Always(0)), None, "{before}");
    }
    assert_eq!(condition.after(&posted(500, None), at(days - 1), &Always(0)), None);
    assert_eq!(condition.after(&posted(500, None), at(days), &Always(0)), Some(Off::Failing));
    // A success in between begins anew.
    let mut condition = Condition::default();
    condition.after(&posted(500, None), at(0), &Always(0));
    condition.after(&posted(200, None), at(days - 1), &Always(0));
    assert_eq!(condition.after(&posted(500, None), at(days), &Always(0)), None);
}

#[test]
fn days_in_which_nobody_tried_are_no_days_of_failure() {
    // As far apart as the schedule lets two attempts be: they belong together. Further apart, nobody tried.
    let waits = (0..50).filter_map(|seed| again(9, None, &SeededRandom::new(seed)));
    let rest = SignedDuration::try_from(REST_MAX).unwrap();
    assert!(
        waits.max().unwrap() + rest <= TRIED_EVERY && again(9, None, &Always(255)).unwrap() <= TRIED_EVERY
    );
    assert!(TRIED_EVERY < SignedDuration::from_hours(27), "{TRIED_EVERY:?}");
    let every = TRIED_EVERY.as_secs();
    for (step, times, off) in
        [(every, 5, Some(Off::Failing)), (every + 1, 50, None), (FAILING_MAX.as_secs(), 50, None)]
    {
        let mut condition = Condition::default();
        let ends: Vec<Option<Off>> =
            (0..=times).map(|nth| condition.after(&posted(500, None), at(nth * step), &Always(0))).collect();
        assert_eq!(ends.iter().flatten().next().copied(), off, "every {step} s: {ends:?}");
        let since = if off.is_some() { at(0) } else { at(times * step) };
        assert_eq!(condition.failing_since, Some(since), "every {step} s");
    }
    // It stays one that fails: what tries it goes one at a time.
    let mut condition = Condition::default();
    for nth in 0..5 {
        condition.after(&posted(500, None), at(nth), &Always(0));
    }
    condition.after(&posted(500, None), at(9 * every), &Always(0));
    assert!(condition.probes() && condition.failing_since == Some(at(9 * every)));
}

fn spec(events: &[&str]) -> WebhookSpec {
    WebhookSpec {
        url: "https://hooks.example/".to_owned(),
        events: events.iter().map(|text| (*text).to_owned()).collect(),
        description: String::new(),
    }
}

#[test]
fn a_filter_takes_kinds_and_families() {
    for (events, kind, takes) in [
        (&["*"][..], "order.admitted", true),
        (&["stop.*"], "stop.stopped", true),
        (&["stop.*"], "order.admitted", false),
        (&["stop.stopped"], "stop.stopped", true),
        (&["stop.stopped"], "stop.stopped_in_part", false),
        (&["order.shipped", "stop.*"], "stop.pending", true),
        (&["order.shipped", "stop.*"], "order.printed", false),
    ] {
        assert_eq!(spec(events).takes(kind), takes, "{events:?} {kind}");
    }
    for kind in KINDS {
        assert!(spec(&[kind]).faults().is_empty(), "{kind}");
    }
    for wrong in ["", ".*", "order", "order.", "order.*.*", "orders.*", "Order.paid", "**", "*.*"] {
        assert!(!spec(&[wrong]).faults().is_empty(), "{wrong}");
    }
}

/// What the store writes about orders, stops and transfers is what endpoints can be told: a kind that is added there
/// is added to the list, with which it is documented and can be filtered.
#[test]
fn every_kind_that_the_store_writes_is_known() {
    let mut written = BTreeSet::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/verbs");
    let mut files = 0;
    for file in std::fs::read_dir(root).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        files += 1;
        for quoted in text.split('"').skip(1).step_by(2) {
            let families = ["address.", "approval.", "download.", "order.", "stop.", "transfer."];
            let family = families.iter().find(|family| quoted.starts_with(**family));
            let Some(family) = family else { continue };
            let word = &quoted[family.len()..];
            if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                written.insert(quoted.to_owned());
            }
        }
    }
    assert!(files > 20);
    written.insert("webhook.switched_off".to_owned());
    written.insert(stoppress::domain::warning::KIND.to_owned());
    let known: BTreeSet<String> = KINDS.iter().map(|kind| (*kind).to_owned()).collect();
    assert_eq!(known.len(), KINDS.len(), "one is named twice");
    assert_eq!(known, written, "KINDS in src/domain/webhook/message.rs");
    let families = known
        .iter()
        .all(|kind| kind.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_')));
    assert!(families, "the specification allows letters, digits and underscores, parted by full stops");
}

#[test]
fn secrets_are_checked_and_sign_as_long_as_they_hold() {
    for seed in 0..20 {
        let made = new_secret(&SeededRandom::new(seed));
        assert!(check_secret(&made).is_ok());
    }
    for (text, ok) in [
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", true),
        ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD", false),
        ("whsec_", false),
        ("whsec_AAAA", false),
        ("whsec_not base64 at all, but long enough for it", false),
    ] {
        let checked = check_secret(&SecretString::from(text));
        assert_eq!(checked.is_ok(), ok, "{text}");
        assert!(
            checked.is_ok()
                || !checked.unwrap_err().to_string().contains(&text[6.min(text.len())..])
                || text.len() <= 6
        );
    }
    let secrets = Secrets { now: "new".to_owned().into(), before: Some(("old".to_owned().into(), at(10))) };
    let signing = |now| secrets.at(now).map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (signing(at(9)), signing(at(10))),
        (vec!["new".to_owned(), "old".to_owned()], vec!["new".to_owned()])
    );
    assert!(!format!("{secrets:?}").contains("old\""));
}

#[test]
fn what_is_shown_of_an_answer_has_no_secrets() {
    for (text, expected) in [
        ("thanks, got it", "thanks, got it"),
        ("two  blanks ", "two  blanks "),
        ("a\nb\tc\u{1b}[31m", "a\nb c [31m"),
        ("bad secret whsec_MfKQ9r8G here", "bad secret whsec_… here"),
        ("\"whsec_MfKQ9r8G\",sp_live", "\"whsec_…"),
        ("key=sp_lumo_123 refused", "key=sp_… refused"),
        ("v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= is wrong", "v1,… is wrong"),
        ("token eyJhbGciOi.J9 expired", "token eyJ… expired"),
        ("Authorization: Bearer abc def", "Authorization: Bearer …"),
        ("BEARER abc\nmore", "BEARER …"),
        ("bearer", "bearer"),
        ("", ""),
    ] {
        assert_eq!(shown(text.as_bytes()), expected, "{text:?}");
    }
    // A kilobyte is kept, and half a character at its end is none.
    let long = |count: usize| "a".repeat(count);
    assert_eq!(shown(long(1024).as_bytes()), long(1024));
    assert_eq!(shown(long(1025).as_bytes()), long(1024));
    assert_eq!(shown(format!("{}ä", long(1023)).as_bytes()), format!("{}\u{fffd}", long(1023)));
    let half = [b"a".as_slice(), &[0xff; 1023]].concat();
    assert_eq!(shown(&half), format!("a{}", "\u{fffd}".repeat(342)));
}

#[test]
fn an_id_of_a_message_has_digits_only() {
    let hex = "0a".repeat(16);
    for (text, good) in [
        ("msg_17".to_owned(), true),
        (format!("msg_17_{hex}"), true),
        (format!("msg_{}", i64::MAX), true),
        (format!("msg_{}0", i64::MAX), false),
        ("msg_+17".to_owned(), false),
        ("msg_-17".to_owned(), false),
        (format!("msg_-17_{hex}"), false),
        ("msg_".to_owned(), false),
        (format!("msg__{hex}"), false),
        (format!("msg_17_{}", &hex[1..]), false),
        ("17".to_owned(), false),
    ] {
        assert_eq!(MessageId::parse(&text).is_ok(), good, "{text}");
    }
}

proptest! {
    #[test]
    fn ids_of_messages_are_read_as_they_are_written(seq in 0..i64::MAX, seed: u64, about in any::<bool>()) {
        let order = about.then(|| OrderId::new(at(0), &SeededRandom::new(seed)));
        let id = MessageId { seq, order };
        let text = id.to_string();
        prop_assert!(!text.contains('.'));
        prop_assert_eq!(MessageId::parse(&text).unwrap(), id);
    }

    #[test]
    fn no_text_is_taken_for_an_id_that_is_none(text in "(msg_)?[-+0-9a-f_ ]{0,45}") {
        if let Ok(id) = MessageId::parse(&text) {
            // A number may have been written with zeros before it.
            prop_assert_eq!(MessageId::parse(&id.to_string()).unwrap(), id);
        }
    }

    #[test]
    fn what_is_shown_of_an_answer_is_short_and_plain(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let text = shown(&bytes);
        prop_assert!(text.len() <= 1024 + 3);
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }
}
