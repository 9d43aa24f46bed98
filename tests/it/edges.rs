//! The rules at their edges: each number at, below and above, each choice both ways.
//!
//! What these say was first said by nobody: a mutation run changed it, and no test near the rules noticed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stoppress::clock::Random;
use stoppress::domain::batch::{Entry, Next, TransferFacts, TransferPhase, ahead, settle};
use stoppress::domain::ids::{BatchId, LabId, OrderId, TransferId};
use stoppress::domain::lab::{Answer, LabPolicy, LabSpec, TakesStops};
use stoppress::domain::measures::Rate;
use stoppress::domain::platform::PlatformSpec;
use stoppress::domain::retry::{self, Breaker, FAILURES_MAX, Gate, OPEN_MAX, OPEN_MIN};
use stoppress::domain::zones::Zones;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

/// The same number for ever.
#[derive(Debug)]
struct Always(u64);

impl Random for Always {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0.to_le_bytes());
    }
}

#[test]
fn a_wait_is_drawn_up_to_a_ceiling_that_doubles() {
    let micros = 1_000_000;
    for (attempt, ceiling) in
        [(0, 1), (1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (33, 300), (i64::MAX, 300)]
    {
        let most = u64::try_from(ceiling).unwrap() * micros;
        for (drawn, waits) in
            [(0, 0), (1, 1), (most - 1, most - 1), (most, most), (most + 1, 0), (most + 5, 4)]
        {
            let wait = retry::delay(attempt, None, &Always(drawn));
            let waits = SignedDuration::from_micros(i64::try_from(waits).unwrap());
            assert_eq!(wait, waits, "attempt {attempt}, {drawn} was drawn");
        }
    }
    // What the other side asks for counts where it is more, and an hour at most.
    for (asked, waits) in [(3, 4), (4, 4), (5, 5), (3600, 3600), (3601, 3600)] {
        let wait = retry::delay(3, Some(Duration::from_secs(asked)), &Always(4 * micros));
        assert_eq!(wait, SignedDuration::from_secs(waits), "{asked} s were asked for");
    }
}

#[test]
fn a_breaker_opens_after_failures_in_a_row_and_one_call_tries() {
    let mut breaker = Breaker::default();
    let fail = |breaker: &mut Breaker, times: u32| (0..times).for_each(|_| breaker.after(at(0), false));
    // One answer between them, and they are not in a row.
    fail(&mut breaker, FAILURES_MAX - 1);
    assert_eq!((breaker.before(at(0)), breaker.open_until()), (Gate::Go, None));
    breaker.after(at(0), true);
    fail(&mut breaker, FAILURES_MAX - 1);
    assert_eq!(breaker.before(at(0)), Gate::Go);
    fail(&mut breaker, 1);
    let until = at(0) + OPEN_MIN;
    assert_eq!((breaker.open_until(), breaker.before(at(0))), (Some(until), Gate::Wait(until)));
    // The end of a call that had begun before says nothing new.
    breaker.after(at(20), false);
    assert_eq!(breaker.open_until(), Some(until));
    assert_eq!(breaker.before(until - SignedDuration::from_micros(1)), Gate::Wait(until));
    assert_eq!(breaker.before(until), Gate::Probe);
    assert_eq!(breaker.before(until), Gate::Probing);
    // A try that was not made leaves room for the next.
    breaker.not_tried();
    assert_eq!(breaker.before(until), Gate::Probe);
    // Each failed try doubles the rest, up to a limit.
    let (mut now, mut rest) = (until, OPEN_MIN);
    for _ in 0..6 {
        breaker.after(now, false);
        rest = OPEN_MAX.min(rest * 2);
        assert_eq!(breaker.open_until(), Some(now + rest));
        now += rest;
        assert_eq!(breaker.before(now), Gate::Probe);
    }
    assert_eq!(rest, OPEN_MAX);
    breaker.after(now, true);
    assert_eq!((breaker.before(now), breaker), (Gate::Go, Breaker::default()));
}

#[test]
fn an_answer_that_is_none_counts_as_silence() {
    let cause = || "the line went dead".to_owned();
    for (answer, word, spoke) in [
        (Answer::AnswerLater, "answer_later", true),
        (Answer::NotFound, "not_found", true),
        (Answer::Unreachable { cause: cause() }, "unreachable", false),
        (Answer::Unclear { cause: cause() }, "unclear", false),
    ] {
        assert_eq!((answer.word(), answer.spoke()), (word, spoke));
    }
}

#[test]
fn a_rate_is_so_many_calls_in_a_second_a_minute_or_an_hour() {
    for (text, seconds) in [("50/s", 1), ("600/m", 60), ("1000000/h", 3600)] {
        let rate = Rate::try_from(text.to_owned()).unwrap();
        assert_eq!(rate.seconds, seconds);
        assert_eq!(String::from(rate), text);
    }
    for text in ["", "50", "0/s", "1000001/s", "-1/s", "50/d", "50/", "/s"] {
        assert!(Rate::try_from(text.to_owned()).is_err(), "{text}");
    }
}

/// The fields that are wrong.
fn wrong<T: serde::de::DeserializeOwned>(
    spec: Value,
    faults: impl Fn(&T) -> Vec<stoppress::domain::Fault>,
) -> Vec<String> {
    let spec = serde_json::from_value(spec).unwrap();
    faults(&spec).into_iter().map(|fault| fault.field).collect()
}

#[test]
fn what_is_wrong_with_a_platform() {
    let long = |chars: usize| "ä".repeat(chars);
    for (name, policy, fields) in [
        ("Kiosk", json!({}), ""),
        (&long(200), json!({"reasons": [long(200)], "approval_within": "720h"}), ""),
        (&long(201), json!({}), "name"),
        ("  ", json!({}), "name"),
        ("a\nb", json!({}), "name"),
        ("Kiosk", json!({"reasons": ["too slow", " ", long(201)]}), "policy.reasons[1] policy.reasons[2]"),
        ("Kiosk", json!({"approval_within": "0s"}), "policy.approval_within"),
        ("Kiosk", json!({"approval_within": "1s"}), ""),
        ("Kiosk", json!({"approval_within": "721h"}), "policy.approval_within"),
    ] {
        let spec = json!({"id": "kiosk", "name": name, "policy": policy});
        assert_eq!(wrong::<PlatformSpec>(spec, PlatformSpec::faults).join(" "), fields, "{name} {policy}");
    }
    let unless_told: PlatformSpec = serde_json::from_value(json!({"id": "kiosk", "name": "Kiosk"})).unwrap();
    assert_eq!(unless_told.policy.approval_within().0, SignedDuration::from_hours(24));
}

fn lab(profile: Value, policy: Value) -> Value {
    json!({"id": "lumo", "name": "Lumo", "driver": {"kind": "http"}, "profile": profile, "policy": policy,
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]})
}

#[test]
fn what_is_wrong_with_a_labs_profile_and_rules() {
    let month = "720h";
    for (profile, policy, fields) in [
        (json!({"orders_per_call": 1, "concurrency": 1, "attempts_max": 1}), json!({"grace": "24h"}), ""),
        (json!({"orders_per_call": 1000, "concurrency": 256, "attempts_max": 100}), json!({}), ""),
        (
            json!({"orders_per_call": 0, "concurrency": 0, "attempts_max": 0}),
            json!({"grace": "24h1s"}),
            "profile.orders_per_call profile.concurrency profile.attempts_max policy.grace",
        ),
        (
            json!({"orders_per_call": 1001, "concurrency": 257, "attempts_max": 101}),
            json!({}),
            "profile.orders_per_call profile.concurrency profile.attempts_max",
        ),
        (json!({"acts_within": month, "answers_within": month, "handover_within": month}), json!({}), ""),
        (
            json!({"acts_within": "721h", "answers_within": "721h", "handover_within": "721h"}),
            json!({}),
            "profile.acts_within profile.answers_within profile.handover_within",
        ),
        // Lines are taken out where stops are taken, or people read them.
        (json!({"stops": "yes", "stops_lines": true}), json!({}), ""),
        (json!({"stops": "no", "stops_lines": true, "channel": "person"}), json!({}), ""),
        (json!({"stops": "no", "stops_lines": true}), json!({}), "profile.stops_lines"),
        (json!({"stops": "final_on_receipt", "stops_lines": true}), json!({}), "profile.stops_lines"),
        // Whoever is told to ask the lab has to be told whom.
        (json!({}), json!({"stops_via": "contact"}), "policy.contact"),
        (json!({}), json!({"stops_via": "contact", "contact": {"phone": "+358 1"}}), ""),
        (json!({}), json!({"stops_via": "contact", "contact": {"email": "a@lumo.example"}}), ""),
        (json!({}), json!({"contact": {"phone": "1".repeat(200)}}), ""),
        (json!({}), json!({"contact": {"phone": "1".repeat(201)}}), "policy.contact.phone"),
        (json!({}), json!({"contact": {"phone": " "}}), "policy.contact.phone"),
        (json!({}), json!({"contact": {"phone": "1\t2"}}), "policy.contact.phone"),
    ] {
        let found = wrong::<LabSpec>(lab(profile.clone(), policy.clone()), LabSpec::faults).join(" ");
        assert_eq!(found, fields, "{profile} {policy}");
    }
}

#[test]
fn what_is_wrong_with_a_labs_contact() {
    let built = |answers_within: &str, contact: Value| {
        let spec = lab(json!({"answers_within": answers_within}), json!({"contact": contact}));
        let spec: LabSpec = serde_json::from_value(spec).unwrap();
        match stoppress::domain::lab::Lab::build(spec, &Zones::bundled(), at(1_780_000_000)) {
            Ok(_) => String::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>().join(" "),
        }
    };
    // Eight hours a week are enough for an answer within eight hours, not for more.
    let hours = json!({"hours": "mon 08:00-16:00"});
    assert_eq!(built("8h", hours.clone()), "");
    assert_eq!(built("7h", hours.clone()), "");
    assert_eq!(built("8h1s", hours), "policy.contact.hours");
    assert_eq!(built("1h", json!({"hours": "now and then"})), "policy.contact.hours");
    assert_eq!(built("1h", json!({"email": "nobody"})), "policy.contact.email");
    let (first, second) = ("a@lumo.example", "b@lumo.example");
    assert_eq!(built("1h", json!({"email": first, "second_email": second})), "");
    assert_eq!(built("1h", json!({"second_email": second})), "policy.contact.email");
    assert_eq!(built("1h", json!({"email": first, "second_email": "b"})), "policy.contact.second_email");
}

#[test]
fn who_takes_a_stop_after_the_hand_over() {
    use TakesStops::{FinalOnReceipt, No, Yes};
    let contact = json!({"phone": "+358 1"});
    for (policy, yes, no) in [
        (json!({}), Yes, No),
        (json!({"stops_via": "contact", "contact": contact}), No, No),
        (json!({"immediate_production": true}), FinalOnReceipt, FinalOnReceipt),
        (json!({"immediate_production": true, "contact": contact}), No, No),
        (
            json!({"immediate_production": true, "contact": contact, "stops_via": "gateway_only"}),
            FinalOnReceipt,
            FinalOnReceipt,
        ),
    ] {
        let rules: LabPolicy = serde_json::from_value(policy.clone()).unwrap();
        assert_eq!((rules.takes(Yes), rules.takes(No)), (yes, no), "{policy}");
        assert_eq!(rules.takes(FinalOnReceipt), FinalOnReceipt, "{policy}");
    }
    // People answer where the lab is one, where it takes no stops, and where its profile says so.
    for (driver, profile, people) in [
        ("http", json!({"stops": "yes"}), false),
        ("http", json!({"stops": "final_on_receipt"}), false),
        ("http", json!({"stops": "no"}), true),
        ("http", json!({"stops": "yes", "channel": "person"}), true),
        ("person", json!({"stops": "yes", "channel": "machine"}), true),
    ] {
        let mut spec = lab(profile.clone(), json!({}));
        spec["driver"]["kind"] = json!(driver);
        let spec: LabSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(spec.people_answer(), people, "{driver} {profile}");
    }
}

#[test]
fn a_release_of_zone_data_is_older_than_the_next() {
    for (release, than, older) in [
        ("2026a", "2026b", true),
        ("2026b", "2026a", false),
        ("2026a", "2026a", false),
        ("2025z", "2026a", true),
        ("unknown", "2026a", true),
        ("2026a", "unknown", false),
    ] {
        assert_eq!(Zones::is_older(release, than), older, "{release} {than}");
    }
}

/// What is known of an attempt that ended, by the answer, whether it was the newest, and how many others are open.
#[test]
fn what_an_answer_makes_of_a_transfer() {
    use TransferPhase::{AtLab, Closed, Sending, Unknown, WithAPerson};
    let facts = |phase, unresolved| TransferFacts {
        id: TransferId::parse(&format!("trf_{}", "0".repeat(32))).unwrap(),
        lab: LabId::parse("lumo").unwrap(),
        batch: BatchId::parse(&format!("bat_{}", "0".repeat(32))).unwrap(),
        phase,
        fence: 7,
        attempts: 5,
        unresolved,
        first_at: at(0),
        horizon_at: at(300),
        key_until: None,
        deadline_at: at(6000),
        next_at: at(0),
        handed_at: None,
        version: 1,
    };
    let accepted = || Answer::Accepted { lab_reference: None };
    let refused = || Answer::Refused { reason: "no such paper".to_owned() };
    let unreachable = || Answer::Unreachable { cause: "refused".to_owned() };
    let unclear = || Answer::Unclear { cause: "reset".to_owned() };
    for (phase, unresolved, fence, answer, next) in [
        // A positive sign counts under any fence, once.
        (Sending, 1, 7, accepted(), Some((AtLab, 0, 5))),
        (Unknown, 2, 6, accepted(), Some((AtLab, 0, 5))),
        (WithAPerson, 2, 1, accepted(), Some((AtLab, 0, 5))),
        (AtLab, 0, 7, accepted(), None),
        // A refusal proves its own attempt, and that one only.
        (Sending, 1, 7, refused(), Some((Closed, 0, 5))),
        (Sending, 2, 7, refused(), Some((Unknown, 2, 5))),
        (Sending, 1, 6, refused(), None),
        (Unknown, 1, 7, refused(), None),
        // An attempt of which nothing left is as if it had not been.
        (Sending, 1, 7, unreachable(), Some((Closed, 0, 4))),
        (Sending, 2, 7, unreachable(), Some((Unknown, 1, 4))),
        (Sending, 3, 7, unreachable(), Some((Unknown, 2, 4))),
        (Sending, 1, 6, unreachable(), None),
        (Unknown, 1, 7, unreachable(), None),
        // Nothing else says anything.
        (Sending, 1, 7, unclear(), Some((Unknown, 1, 5))),
        (Sending, 2, 7, Answer::NotFound, Some((Unknown, 2, 5))),
        (Sending, 1, 7, Answer::AnswerLater, Some((Unknown, 1, 5))),
        (Sending, 1, 8, unclear(), None),
        (AtLab, 0, 7, unclear(), None),
    ] {
        let next = next.map(|(phase, unresolved, attempts)| Next { phase, fence: 7, unresolved, attempts });
        let was = format!("{phase:?}, {unresolved} open, {answer:?} under {fence}");
        assert_eq!(settle(&facts(phase, unresolved), fence, &answer), next, "{was}");
    }
}

#[test]
fn the_words_of_phases_are_those_of_the_api() {
    use TransferPhase::{AtLab, Closed, Empty, Sending, Unknown, WithAPerson};
    for phase in [Closed, Sending, Unknown, AtLab, Empty, WithAPerson] {
        assert_eq!(json!(phase), phase.word());
    }
}

#[test]
fn what_is_sent_ahead_is_the_order_as_it_would_be_handed_over_and_until_when_it_is_held() {
    let id = format!("ord_{}", "0".repeat(32));
    let line = |nth: &str, kind: &str| json!({"id": nth, "kind": kind, "sku": "print-10x15"});
    let items = [line("1", "print"), line("2", "print"), line("3", "download")];
    let entry = Entry {
        id: OrderId::parse(&id).unwrap(),
        platform: "shop".to_owned(),
        reference: "A-1".to_owned(),
        region: "eu".to_owned(),
        document: json!({"reference": "A-1", "ship_to": {"name": "M"}, "items": items}).to_string(),
        import_reference: None,
        lines_out: vec!["2".to_owned()],
    };
    let sent: Value = serde_json::from_slice(&ahead(&entry, at(60)).unwrap()).unwrap();
    let order = json!({"id": id, "platform": "shop", "reference": "A-1", "region": "eu", "ship_to": {"name": "M"},
        "items": [line("1", "print")]});
    assert_eq!(sent, json!({"order": order, "hold_until": "1970-01-01T00:01:00Z"}));
}
