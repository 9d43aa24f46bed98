//! The rules about mail to people, one by one: addresses, the plan, what follows from a sending, the letter.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use stoppress::domain::batch::later;
use stoppress::domain::calendar::{Calendar, CalendarSpec};
use stoppress::domain::hours::{AnswerDue, Hours};
use stoppress::domain::ids::{OrderId, StopId};
use stoppress::domain::mail::{
    AfterMail, Audience, Letter, Line, MailOutcome, Step, after, is_address, link_until, masked, plan,
    readable,
};
use stoppress::domain::stop::{AskedBy, StopFacts, StopState};
use stoppress::domain::zones::Zones;

use crate::rig::at;

fn stop(asked: Timestamp, deadline: Timestamp) -> StopFacts {
    StopFacts {
        id: StopId::parse(&format!("stp_{}", "0".repeat(32))).unwrap(),
        order: OrderId::parse(&format!("ord_{}", "0".repeat(32))).unwrap(),
        state: StopState::Pending,
        evidence: None,
        reason: "test".to_owned(),
        comment: None,
        asked_by: AskedBy::System,
        asked_at: asked,
        handed_at: None,
        deadline_at: deadline,
        deadline_why: None,
        next_at: asked,
        attempts: 0,
        delivered_at: None,
        decided_at: None,
        answer: None,
        items: None,
        requested_by: None,
        terms: None,
    }
}

fn helsinki() -> Calendar {
    let spec: CalendarSpec =
        serde_json::from_value(json!({"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]})).unwrap();
    Calendar::build(&spec, &Zones::bundled(), at("2026-01-01T00:00:00Z")).unwrap()
}

#[test]
fn addresses_are_told_from_other_texts_and_masked() {
    for good in ["a@b.example", "first.last+tag@sub.lab-1.example", "o'neil@localhost"] {
        assert!(is_address(good), "{good}");
    }
    let long = format!("{}@b.example", "a".repeat(65));
    for bad in [
        "",
        "a",
        "@b.example",
        "a@",
        "a b@c.example",
        "a@b..example",
        "a@-b.example",
        ".a@b.example",
        "a.@b.example",
        "a@b@c.example",
        "a\r\nBcc: x@y.example",
        "a@b.example\n",
        "A <a@b.example>",
        "a..b@c.example",
        "ä@b.example",
        &long,
    ] {
        assert!(!is_address(bad), "{bad:?}");
    }
    assert_eq!(masked("maija@lab.example"), "m…@lab.example");
    assert_eq!(masked("no address"), "…");
}

#[test]
fn the_plan_is_at_once_half_and_three_quarters() {
    let (asked, deadline) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T10:40:00Z"));
    let facts = stop(asked, deadline);
    let half = (Step::Remind, at("2026-11-20T10:20:00Z"));
    let second = (Step::Second, at("2026-11-20T10:30:00Z"));
    // (now, whether there is a second contact, the steps after the first)
    let cases = [
        ("2026-11-20T10:00:00Z", true, vec![half, second]),
        ("2026-11-20T10:00:00Z", false, vec![half]),
        // The lab got the order late: half of the time is over, the second contact still has its turn.
        ("2026-11-20T10:19:59Z", false, vec![half]),
        ("2026-11-20T10:20:00Z", false, vec![]),
        ("2026-11-20T10:25:00Z", true, vec![second]),
        ("2026-11-20T10:35:00Z", true, vec![(Step::Second, at("2026-11-20T10:35:00Z"))]),
        ("2026-11-20T10:35:00Z", false, vec![]),
        ("2026-11-20T10:40:00Z", true, vec![]),
        ("2026-11-20T11:00:00Z", true, vec![]),
    ];
    for (now, has_second, rest) in cases {
        let mut expected = vec![(Step::Ask, at(now))];
        expected.extend(rest);
        assert_eq!(plan(&facts, None, has_second, at(now)), expected, "{now}");
    }
}

/// Reminders by the clock wait for contact hours that begin in time: at the deadline itself it is too late.
#[test]
fn a_reminder_is_not_put_off_to_the_deadline() {
    let (calendar, hours) = (helsinki(), Hours::parse("mon-fri 08:00-16:00").unwrap());
    let asked = at("2026-11-20T02:00:00Z");
    for (deadline, reminded) in
        [("2026-11-20T06:00:00Z", "2026-11-20T04:00:00Z"), ("2026-11-20T06:00:02Z", "2026-11-20T06:00:00Z")]
    {
        let steps = plan(&stop(asked, at(deadline)), Some((&hours, &calendar)), false, asked);
        assert_eq!(steps, [(Step::Ask, asked), (Step::Remind, at(reminded))], "due at {deadline}");
    }
}

#[test]
fn what_follows_from_a_sending() {
    let (no, maybe) = (|| MailOutcome::Unreachable(String::new()), || MailOutcome::Unclear(String::new()));
    let again = |seconds| AfterMail::Again(SignedDuration::from_secs(seconds));
    let cases = [
        (MailOutcome::Sent, 1, 0, AfterMail::Done),
        (MailOutcome::Refused(String::new()), 1, 0, AfterMail::GiveUp),
        (no(), 1, 0, again(5)),
        (no(), 2, 0, again(30)),
        (no(), 3, 1, again(120)),
        (no(), 4, 0, AfterMail::GiveUp),
        (maybe(), 1, 1, again(60)),
        (maybe(), 2, 2, AfterMail::GiveUp),
        (maybe(), 3, 1, again(60)),
    ];
    for (outcome, attempts, unclear, expected) in cases {
        assert_eq!(after(&outcome, attempts, unclear), expected, "{outcome:?} {attempts} {unclear}");
    }
}

#[test]
fn links_end_a_day_after_the_deadline_and_never_live_long() {
    let now = at("2026-11-20T10:00:00Z");
    for (deadline, until) in [
        ("2026-11-20T10:40:00Z", "2026-11-21T10:40:00Z"),
        ("2026-11-20T09:00:00Z", "2026-11-21T10:00:00Z"),
        ("2027-11-20T10:40:00Z", "2026-12-20T10:00:00Z"),
    ] {
        assert_eq!(link_until(at(deadline), now), at(until));
    }
}

#[test]
fn a_letter_is_plain_lines_whatever_platforms_write() {
    let items: Vec<Line> = (0..35)
        .map(|nth| Line { quantity: nth, sku: format!("s{nth}\r\nBcc: x"), id: "1".into(), thumbnail: None })
        .collect();
    let letter = Letter {
        step: Step::Remind,
        lab: "Lab",
        reference: "A-1\nSubject: other",
        lab_reference: Some("L\u{202e}9"),
        platform: "shop",
        items: &items,
        part: false,
        reason: "wrong\r\n.\r\nQUIT",
        asked_local: "2026-11-20T12:00:00+02:00[Europe/Helsinki]",
        due_local: "not a reading",
        link: "https://gateway.example/a/x",
        link_until_local: "2026-11-21T12:40:00+02:00[Europe/Helsinki]",
    };
    assert!(!letter.subject().contains('\n'));
    let text = letter.text();
    assert!(text.lines().all(|line| line != "." && !line.starts_with("Bcc")), "{text}");
    assert!(text.contains("and 5 more") && text.contains("L9") && !text.contains('\r'), "{text}");
    assert!(text.contains("Asked at      2026-11-20 12:00 (Europe/Helsinki)"), "{text}");
    assert_eq!(readable("not a reading"), "not a reading");
}

/// Whoever is to stop two lines is not asked to stop the order, by any of the three mails.
#[test]
fn a_letter_says_whether_it_is_about_all_of_the_order() {
    let items: Vec<Line> = (1..=30)
        .map(|nth| Line { quantity: 1, sku: "MUG".into(), id: nth.to_string(), thumbnail: None })
        .collect();
    for (step, begins, opens) in [
        (Step::Ask, "please", "Please do not print"),
        (Step::Remind, "Reminder: ", "We have asked you"),
        (Step::Second, "No answer yet: ", "Your colleagues were asked"),
    ] {
        for part in [false, true] {
            let letter = Letter {
                step,
                lab: "Lab",
                reference: "A-1",
                lab_reference: None,
                platform: "shop",
                items: &items,
                part,
                reason: "wrong size",
                asked_local: "then",
                due_local: "soon",
                link: "https://gateway.example/a/x",
                link_until_local: "later",
            };
            let subject = letter.subject();
            assert!(subject.starts_with(begins) && subject.ends_with("please stop order A-1"), "{subject}");
            let text = letter.text();
            let ask = text.lines().nth(2).unwrap();
            assert!(ask.starts_with(opens), "{ask}");
            assert_eq!(
                (ask.contains("these lines of an order"), ask.contains("this order")),
                (part, !part),
                "{ask}"
            );
            let (first, other) = if part { ("Only these", "Items") } else { ("Items", "Only these") };
            assert!(text.contains(&format!("  {first:<13} 1 x MUG (line 1)\n")), "{text}");
            assert!(!text.contains(other), "{text}");
            assert!(text.contains(&format!("  {:<13} 1 x MUG (line 30)\n", "")), "{text}");
            assert!(!text.contains("more"), "all 30 of them: {text}");
        }
    }
    let audiences = [Step::Ask, Step::Remind, Step::Second].map(Step::audience);
    assert_eq!(audiences, [Audience::First, Audience::First, Audience::Second]);
}

proptest! {
    /// By contact hours, every reminder falls into them, before the deadline, and in order.
    #[test]
    fn reminders_fall_into_contact_hours(asked in 1_767_225_600_i64..1_798_761_600, minutes in 1_i64..2_400) {
        let (calendar, hours) = (helsinki(), Hours::parse("mon-fri 08:00-16:00, sat 09:00-12:00").unwrap());
        let asked = Timestamp::from_second(asked).unwrap();
        let due = AnswerDue::of(&hours, &calendar, asked, SignedDuration::from_mins(minutes)).unwrap();
        let mut facts = stop(asked, due.at);
        facts.deadline_why = Some((due.local, due.rule));
        let steps = plan(&facts, Some((&hours, &calendar)), true, asked);
        prop_assert_eq!(steps.len(), 3);
        for (step, at) in &steps[1..] {
            let just_before = *at - SignedDuration::from_micros(1);
            prop_assert!(hours.open(&calendar, *at) || hours.open(&calendar, just_before), "{:?} {}", step, at);
            prop_assert!(asked < *at && *at < due.at);
        }
        prop_assert!(steps[1].1 < steps[2].1);
        // By the clock, they are put off to contact hours where these begin in time.
        let facts = stop(asked, later(asked, SignedDuration::from_hours(24 * 8)));
        for (step, at) in &plan(&facts, Some((&hours, &calendar)), true, asked)[1..] {
            prop_assert!(hours.open(&calendar, *at), "{:?} {}", step, at);
        }
    }
}
