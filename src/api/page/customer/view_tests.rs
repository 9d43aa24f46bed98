//! Every state in every language.

use jiff::Timestamp;

use super::super::words::{all, choose};
use super::*;
use crate::domain::ids::{OrderId, StopId};
use crate::domain::stop::StopState;
use crate::domain::verdict::{Channel, Consequences, Next};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn verdict(can_stop: CanStop, reason: Reason, decided_by: DecidedBy) -> Verdict {
    Verdict {
        order: OrderId::parse(&format!("ord_{}", "0".repeat(32))).expect("an id"),
        as_of: at("2026-11-21T20:00:00Z"),
        can_stop,
        reason,
        until: (reason == Reason::InOpenBatch).then(|| at("2026-11-21T22:00:00Z")),
        until_local: None,
        decided_by,
        next: (can_stop != CanStop::Yes && can_stop != CanStop::No).then(|| Next {
            channel: Channel::Gateway,
            contact: None,
            answer_due_at: at("2026-11-22T08:00:00Z"),
            answer_due_local: None,
            answer_due_rule: None,
        }),
        odds: None,
        consequences: Consequences {
            refund: Refund::ByMerchant,
            service_fee: ServiceFee::Kept,
            restock: false,
            personalised: true,
        },
        can_change: Vec::new(),
    }
}

fn stop(state: StopState, evidence: Option<Evidence>) -> StopFacts {
    StopFacts {
        id: StopId::parse(&format!("stp_{}", "1".repeat(32))).expect("an id"),
        order: OrderId::parse(&format!("ord_{}", "0".repeat(32))).expect("an id"),
        state,
        evidence,
        reason: "wrong_picture".to_owned(),
        comment: None,
        asked_by: AskedBy::Customer,
        asked_at: at("2026-11-21T20:01:02.5Z"),
        handed_at: None,
        deadline_at: at("2026-11-22T08:00:00Z"),
        deadline_why: None,
        next_at: at("2026-11-22T08:00:00Z"),
        attempts: 0,
        delivered_at: None,
        decided_at: state.is_decided().then(|| at("2026-11-21T20:01:03Z")),
        answer: None,
    }
}

type Case = (CanStop, Reason, DecidedBy, Option<(StopState, Option<Evidence>)>, State, Option<Offer>);

/// Every reason that a verdict can have.
#[rustfmt::skip]
fn cases() -> Vec<Case> {
    use CanStop::{AskLab, AskPerson, No, NotYetKnown, Yes};
    use DecidedBy::{Gateway, Lab, Nobody, Person};
    let asked = |state, evidence| Some((state, evidence));
    vec![
        (Yes, Reason::AwaitingPayment, Gateway, None, State::Waits, Some(Offer::AtOnce)),
        (Yes, Reason::OnHold, Gateway, None, State::Waits, Some(Offer::AtOnce)),
        (Yes, Reason::InReview, Gateway, None, State::Waits, Some(Offer::AtOnce)),
        (Yes, Reason::InOpenBatch, Gateway, None, State::Open, Some(Offer::AtOnce)),
        (Yes, Reason::WaitingForTransfer, Gateway, None, State::Leaving, Some(Offer::AtOnce)),
        (NotYetKnown, Reason::BeingTransferred, Lab, None, State::Sending, None),
        (NotYetKnown, Reason::TransferUnclear, Lab, None, State::Unclear, Some(Offer::Lab)),
        (AskPerson, Reason::TransferWithAPerson, Person, None, State::Unclear, Some(Offer::Person)),
        (AskLab, Reason::AtLab, Lab, None, State::AskLab, Some(Offer::Lab)),
        (AskPerson, Reason::AtLab, Person, None, State::AskPerson, Some(Offer::Person)),
        (AskPerson, Reason::ImmediateProduction, Person, None, State::AskPerson, Some(Offer::Person)),
        (No, Reason::ImmediateProduction, Nobody, None, State::Keeps, None),
        (No, Reason::LabNeverTakesStops, Nobody, None, State::Keeps, None),
        (AskLab, Reason::InProduction, Lab, None, State::AskLabMaking, Some(Offer::Lab)),
        (AskPerson, Reason::InProduction, Person, None, State::AskLabMaking, Some(Offer::Person)),
        (No, Reason::InProduction, Nobody, None, State::Making, None),
        (No, Reason::Shipped, Nobody, None, State::Shipped, None),
        (NotYetKnown, Reason::StopPending, Lab, asked(StopState::Pending, None), State::Pending, None),
        (AskPerson, Reason::StopPending, Person, asked(StopState::Pending, None), State::Pending, None),
        (AskPerson, Reason::StopWithAPerson, Person, asked(StopState::WithAPerson, None), State::WithAPerson, None),
        (No, Reason::AlreadyStopped, Nobody, asked(StopState::Stopped, Some(Evidence::NeverHanded)), State::StoppedHere, None),
        (No, Reason::AlreadyStopped, Nobody, asked(StopState::Stopped, Some(Evidence::LabRemoved)), State::StoppedByLab, None),
        (No, Reason::AlreadyStopped, Nobody, asked(StopState::Stopped, Some(Evidence::PersonConfirmed)), State::StoppedByPerson, None),
        (No, Reason::StoppedInPart, Nobody, asked(StopState::StoppedInPart, None), State::InPart, None),
        (No, Reason::RefusedByLab, Nobody, asked(StopState::TooLate, Some(Evidence::LabRefused)), State::Refused, None),
        (No, Reason::TooLate, Nobody, asked(StopState::TooLate, Some(Evidence::NoAnswer)), State::TooLate, None),
        (No, Reason::LabNeverTakesStops, Nobody, asked(StopState::TooLate, Some(Evidence::FinalOnReceipt)), State::Keeps, None),
    ]
}

fn policy(customer_stops: CustomerStops) -> PlatformPolicy {
    PlatformPolicy { customer_stops, ..PlatformPolicy::default() }
}

fn with<R>(
    case: Case,
    language: &'static Language,
    policy: &PlatformPolicy,
    action: LinkAction,
    then: impl FnOnce(&Seen<'_>) -> R,
) -> R {
    let (can_stop, reason, decided_by, asked, ..) = case;
    let asked = asked.map(|(state, evidence)| stop(state, evidence));
    then(&Seen {
        language,
        verdict: &verdict(can_stop, reason, decided_by),
        stop: asked.as_ref(),
        contradicted: false,
        action,
        policy,
        shop: "Foto & <Söhne>",
        reference: "2026-1001",
        items: 2,
        local: &|at| (at.as_second() > 0).then(|| "2026-11-22T00:00:00+02:00[Europe/Helsinki]".to_owned()),
        form: "f0f0",
    })
}

#[test]
fn each_verdict_has_its_state_and_the_button_is_there_only_where_it_does_something() {
    let on = policy(CustomerStops::On);
    for case in cases() {
        with(case, choose(None, None, None), &on, LinkAction::Stop, |seen| {
            assert_eq!(seen.state(), case.4, "{case:?}");
            assert_eq!(seen.offer(), Ok(case.5), "{case:?}");
            let ask = &seen.parts(at("2026-11-21T20:00:00Z")).expect("parts")[2];
            assert_eq!(ask.html.contains("<form"), case.5.is_some(), "{case:?}");
        });
    }
}

#[test]
fn the_policy_and_the_link_decide_who_may_press_it() {
    for case in cases() {
        for (stops, action) in [
            (CustomerStops::Off, LinkAction::Stop),
            (CustomerStops::AskMerchant, LinkAction::Stop),
            (CustomerStops::On, LinkAction::See),
        ] {
            with(case, choose(None, None, None), &policy(stops), action, |seen| {
                assert_eq!(seen.offer().is_err(), case.5.is_some(), "{case:?}");
                let ask = &seen.parts(at("2026-11-21T20:00:00Z")).expect("parts")[2];
                assert!(!ask.html.contains("<form"), "{case:?}");
                assert_eq!(ask.html.contains("Foto &#38; &#60;Söhne&#62;"), case.5.is_some(), "{}", ask.html);
            });
        }
    }
}

#[test]
fn every_state_is_said_whole_in_every_language() {
    let mut said = std::collections::BTreeSet::new();
    for language in all() {
        for case in cases() {
            let page = with(case, language, &policy(CustomerStops::On), LinkAction::Stop, |seen| {
                let parts = seen.parts(at("2026-11-21T20:05:00Z")).expect("parts");
                let all: String = parts.iter().map(|part| part.html.as_str()).collect();
                said.insert((language.code, parts[0].html.clone()));
                all + &seen.receipt_text(at("2026-11-21T20:05:00Z")) + &seen.order()
            });
            // What is left of a place to fill; the browser's own has its place in an attribute.
            let left = page.replace("{when}", "");
            assert!(!left.contains(['{', '}']), "{}: {case:?}\n{page}", language.code);
            assert!(!page.contains("<Söhne>") || page.contains("&#60;Söhne&#62;"), "escaped: {page}");
            assert!(
                !page.contains("2026-1001") && page.contains("1001"),
                "only the end of the number: {page}"
            );
        }
    }
    assert!(said.len() >= 6 * 18, "{} texts: no two languages say the same", said.len());
}

#[test]
fn money_is_told_while_it_is_a_question_and_what_is_personalised_until_nobody_makes_it() {
    let english = choose(None, None, None);
    for case in cases() {
        with(case, english, &policy(CustomerStops::On), LinkAction::Stop, |seen| {
            let lines = seen.money();
            let warned = lines.last().is_some_and(|line| line.contains("no right of withdrawal"));
            assert_eq!(warned, !case.4.is_stopped(), "{case:?}: {lines:?}");
            let told = lines.len() - usize::from(warned);
            assert_eq!(told, if case.4.spends() { 2 } else { 0 }, "{case:?}: {lines:?}");
        });
    }
}

#[test]
fn the_receipt_says_what_was_asked_when_and_what_came_of_it() {
    let stopped = cases().into_iter().find(|case| case.4 == State::StoppedHere).expect("a case");
    let text =
        with(stopped, choose(Some("de"), None, None), &policy(CustomerStops::On), LinkAction::Stop, |seen| {
            seen.receipt_text(at("2026-11-21T20:05:00Z"))
        });
    for part in [
        "Beleg",
        "Foto & <Söhne>",
        "Bestellung mit der Endung 1001 · 2 Artikel",
        "stp_11111111111111111111111111111111",
        "2026-11-21T20:01:02Z",
        "22. November 2026, 00:00 Uhr, Ortszeit des Labors (Helsinki)",
        "Falsches Bild",
        "Die Bestellung ist gestoppt. Sie wurde nicht zum Druck übergeben",
        "2026-11-21T20:05:00Z",
        "Die Servicegebühr wird nicht erstattet.",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let open = cases().into_iter().find(|case| case.4 == State::Open).expect("a case");
    with(open, choose(None, None, None), &policy(CustomerStops::On), LinkAction::Stop, |seen| {
        assert!(seen.receipt(at("2026-11-21T20:05:00Z")).is_empty(), "nothing was asked");
    });
}

#[test]
fn what_a_shop_or_a_program_gave_as_a_reason_is_not_shown() {
    let english = choose(None, None, None);
    let verdict = verdict(CanStop::No, Reason::AlreadyStopped, DecidedBy::Nobody);
    for (asked_by, reason, shown) in [
        (AskedBy::Customer, "wrong_address", Some("Wrong address")),
        (AskedBy::Customer, "their own words", Some("their own words")),
        (AskedBy::Customer, "unspecified", None),
        (AskedBy::Merchant, "suspected fraud", None),
        (AskedBy::System, "wrong_address", None),
    ] {
        let facts = StopFacts {
            asked_by,
            reason: reason.to_owned(),
            ..stop(StopState::Stopped, Some(Evidence::NeverHanded))
        };
        let (policy, local) = (policy(CustomerStops::On), |_: Timestamp| None);
        let seen = Seen {
            language: english,
            verdict: &verdict,
            stop: Some(&facts),
            contradicted: true,
            action: LinkAction::Stop,
            policy: &policy,
            shop: "Acme",
            reference: "7",
            items: 1,
            local: &local,
            form: "",
        };
        let text = seen.receipt_text(at("2026-11-21T20:05:00Z"));
        assert_eq!(text.contains("Reason:"), shown.is_some(), "{text}");
        assert!(shown.is_none_or(|shown| text.contains(shown)) && !text.contains("fraud"), "{text}");
        assert!(text.contains("does not add up") && !text.contains("will not be printed"), "{text}");
    }
}
