//! Every state in every language.

use super::super::words::{all, choose};
use super::*;
use crate::domain::ids::{OrderId, StopId};
use crate::domain::platform::{Refund, ServiceFee};
use crate::domain::stop::StopState;
use crate::domain::verdict::{Channel, Consequences, Next};
use crate::store::EscalationRow;

#[path = "view_merchant_tests.rs"]
mod merchant;

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
        lines: Vec::new(),
        downloads: Vec::new(),
        policy: Vec::new(),
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
        items: None,
        requested_by: None,
        terms: None,
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
        (Yes, Reason::Replacing, Gateway, None, State::Waits, Some(Offer::AtOnce)),
        (Yes, Reason::StopAwaitsMerchant, Gateway, None, State::Merchant, None),
        (AskLab, Reason::StopAwaitsMerchant, Lab, None, State::MerchantLate, None),
        (NotYetKnown, Reason::StopAwaitsMerchant, Lab, None, State::MerchantLate, None),
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
        approval: None,
        contradiction: None,
        back_since: None,
        arrived: Arrived::Lab,
        paid: true,
        action,
        policy,
        shop: "Foto & <Söhne>",
        reference: "2026-1001",
        items: 2,
        lines: &[],
        out: &[],
        by_lines: &ByLines::default(),
        local: &|at| (at.as_second() > 0).then(|| "2026-11-22T00:00:00+02:00[Europe/Helsinki]".to_owned()),
        form: "f0f0",
        of: "0123456789abcdef",
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
            (CustomerStops::AskMerchant, LinkAction::See),
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

/// Seen anew, with something changed.
fn seen_as<R>(seen: &Seen<'_>, change: impl FnOnce(&mut Seen<'_>), then: impl FnOnce(&Seen<'_>) -> R) -> R {
    let mut other = Seen { ..*seen };
    change(&mut other);
    then(&other)
}

#[test]
fn money_is_told_by_policy_payment_and_what_came_of_the_stop() {
    let english = choose(None, None, None);
    let contradictions =
        [None, Some(Contradiction::Made), Some(Contradiction::There), Some(Contradiction::Removed)];
    for case in cases() {
        for (refund, fee, paid, contradiction) in every_policy(&contradictions) {
            let on = policy(CustomerStops::On);
            with(case, english, &on, LinkAction::Stop, |seen| {
                let mut verdict = seen.verdict.clone();
                (verdict.consequences.refund, verdict.consequences.service_fee) = (refund, fee);
                let change = |seen: &mut Seen<'_>| {
                    (seen.paid, seen.contradiction) = (paid, contradiction);
                };
                let seen = Seen { verdict: &verdict, ..*seen };
                seen_as(&seen, change, |seen| {
                    let (state, mut lines) = (seen.state(), seen.money());
                    let what = format!("{case:?} {refund:?} {fee:?} {paid} {contradiction:?}: {lines:?}");
                    let warned = lines.pop_if(|line| line.contains("no right of withdrawal")).is_some();
                    assert_eq!(warned, !state.is_stopped(), "{what}");
                    let shop = "Foto & <Söhne>";
                    let settles = format!("{shop} settles the refund with you.");
                    let kept = match fee {
                        ServiceFee::Kept => "The service fee is not refunded.",
                        ServiceFee::Waived => "The service fee is refunded too.",
                    };
                    let told = |text: &str| {
                        let how = if state.is_stopped() { "" } else { "If the order is stopped, " };
                        vec![format!("{how}{shop} {text}"), kept.to_owned()]
                    };
                    let expected = match (state, paid, refund) {
                        (
                            State::Making | State::Shipped | State::Keeps | State::Refused | State::TooLate,
                            ..,
                        ) => vec![],
                        (_, false, _) => vec!["Nothing has been paid yet.".to_owned()],
                        (State::InPart | State::Contradicted(_), ..) => vec![settles],
                        (.., Refund::Automatic) => told("refunds it automatically."),
                        (.., Refund::ByMerchant) => told("refunds you separately."),
                        (.., Refund::Outside) => {
                            vec![format!("A refund is not arranged here. Please settle it with {shop}.")]
                        }
                    };
                    assert_eq!(lines, expected, "{what}");
                });
            });
        }
    }
}

/// Every refund, fee, payment and contradiction.
fn every_policy(
    contradictions: &[Option<Contradiction>],
) -> impl Iterator<Item = (Refund, ServiceFee, bool, Option<Contradiction>)> {
    [Refund::Automatic, Refund::ByMerchant, Refund::Outside].into_iter().flat_map(move |refund| {
        [ServiceFee::Kept, ServiceFee::Waived].into_iter().flat_map(move |fee| {
            [true, false].into_iter().flat_map(move |paid| {
                contradictions.iter().map(move |contradiction| (refund, fee, paid, *contradiction))
            })
        })
    })
}

#[test]
fn what_a_lab_says_against_what_was_told_is_told_and_does_not_pass_for_the_truth() {
    let told = |english: &'static Language, case: Case, contradiction| {
        with(case, english, &policy(CustomerStops::On), LinkAction::Stop, |seen| {
            seen_as(
                seen,
                |seen| seen.contradiction = Some(contradiction),
                |seen| {
                    let parts = seen.parts(at("2026-11-21T20:05:00Z")).expect("parts");
                    (seen.state(), parts[0].html.clone() + &seen.receipt_text(at("2026-11-21T20:05:00Z")))
                },
            )
        })
    };
    let english = choose(None, None, None);
    for case in cases().into_iter().filter(|case| case.3.is_some_and(|(state, _)| state.is_decided())) {
        for (contradiction, text) in [
            (Contradiction::Made, "it is making it, or has made it"),
            (Contradiction::There, "it has the order"),
            (Contradiction::Removed, "it has taken it out"),
        ] {
            let (state, said) = told(english, case, contradiction);
            assert_eq!(state, State::Contradicted(contradiction), "{case:?}");
            assert!(said.contains("does not add up") && said.contains(text), "{case:?}: {said}");
            assert!(!said.contains("will not be printed") && !said.contains("will be printed"), "{said}");
        }
    }
    let shipped = (CanStop::No, Reason::Shipped, DecidedBy::Nobody, None, State::Shipped, None);
    assert_eq!(told(english, shipped, Contradiction::Removed).0, State::Shipped);
}

#[test]
fn contradictions_count_from_when_the_stop_was_asked_and_by_what_was_told() {
    use crate::domain::ids::{EscalationId, LabId};
    let row = |kind: &str, of_order: bool, opened_at: &str| EscalationRow {
        id: EscalationId::parse(&format!("esc_{}", "0".repeat(32))).expect("an id"),
        kind: kind.to_owned(),
        subject: String::new(),
        order: of_order.then(|| OrderId::parse(&format!("ord_{}", "0".repeat(32))).expect("an id")),
        lab: LabId::parse("nordprint").expect("an id"),
        cause: String::new(),
        opened_at: at(opened_at),
        due_at: at(opened_at),
        resolved_at: None,
        decision: None,
        reason: None,
        resolved_by: None,
        evidence: Vec::new(),
    };
    let (before, after) = ("2026-11-21T20:01:02Z", "2026-11-21T20:01:02.5Z");
    let (made, there, other) = (("shipped_anyway", true), ("contradiction", false), ("contradiction", true));
    for (state, (kind, of_order), expected) in [
        (StopState::Stopped, made, Some(Contradiction::Made)),
        (StopState::Stopped, there, Some(Contradiction::There)),
        (StopState::Stopped, other, Some(Contradiction::There)),
        (StopState::StoppedInPart, made, Some(Contradiction::Made)),
        (StopState::StoppedInPart, there, None),
        (StopState::TooLate, other, Some(Contradiction::Removed)),
        (StopState::TooLate, there, None),
        (StopState::TooLate, made, None),
        (StopState::Pending, made, None),
        (StopState::WithAPerson, there, None),
    ] {
        let of = |when| Contradiction::of(&stop(state, None), &[row(kind, of_order, when)]);
        assert_eq!((of(after), of(before)), (expected, None), "{state:?} {kind} {of_order}");
    }
    let both = [row("contradiction", false, after), row("shipped_anyway", true, after)];
    assert_eq!(Contradiction::of(&stop(StopState::Stopped, None), &both), Some(Contradiction::Made));
}

#[test]
fn where_the_lab_is_never_asked_the_page_does_not_say_that_it_is() {
    use DecidedBy::{Lab, Person};
    let unclear = (CanStop::NotYetKnown, Reason::TransferUnclear, Lab);
    let taken = (CanStop::AskPerson, Reason::TransferWithAPerson, Person);
    let cases = [
        (unclear, Arrived::Lab, State::Unclear, Offer::Lab),
        (unclear, Arrived::Person, State::Unclear, Offer::Person),
        (unclear, Arrived::Nobody, State::UnclearFinal, Offer::OnlyAbsent),
        (taken, Arrived::Lab, State::Unclear, Offer::Person),
        (taken, Arrived::Person, State::Unclear, Offer::Person),
        (taken, Arrived::Nobody, State::UnclearFinal, Offer::OnlyAbsent),
    ];
    for language in all() {
        for ((can_stop, reason, decided_by), arrived, state, offer) in cases {
            let case = (can_stop, reason, decided_by, None, state, Some(offer));
            with(case, language, &policy(CustomerStops::On), LinkAction::Stop, |seen| {
                seen_as(
                    seen,
                    |seen| seen.arrived = arrived,
                    |seen| {
                        assert_eq!((seen.state(), seen.offer()), (state, Ok(Some(offer))), "{case:?}");
                        let ask = &seen.parts(at("2026-11-21T20:05:00Z")).expect("parts")[2];
                        assert!(
                            ask.html.contains(&format!("data-offer=\"{}\"", offer.word())),
                            "{}",
                            ask.html
                        );
                    },
                );
            });
        }
    }
}

#[test]
fn times_are_promised_only_to_whoever_can_use_them() {
    let english = choose(None, None, None);
    let times = |case: Case, stops, action| {
        with(case, english, &policy(stops), action, |seen| {
            seen.parts(at("2026-11-21T20:00:00Z")).expect("parts")[1].html.clone()
        })
    };
    let find = |state| cases().into_iter().find(|case| case.4 == state).expect("a case");
    let (open, person, pending) = (find(State::Open), find(State::AskPerson), find(State::Pending));
    let yes = times(open, CustomerStops::On, LinkAction::Stop);
    assert!(yes.contains("<dt>Can definitely be stopped until</dt>"), "{yes}");
    for (stops, action) in [(CustomerStops::Off, LinkAction::Stop), (CustomerStops::On, LinkAction::See)] {
        let no = times(open, stops, action);
        assert!(no.contains("<dt>Foto &#38; &#60;Söhne&#62; can stop it until</dt>"), "{no}");
    }
    let asks = times(person, CustomerStops::On, LinkAction::Stop);
    assert!(asks.contains("<dt>If you ask now, answer by</dt>") && !asks.contains("Answer due by"), "{asks}");
    let asked = times(pending, CustomerStops::On, LinkAction::Stop);
    assert!(asked.contains("<dt>Answer due by</dt>"), "{asked}");
}

#[test]
fn whoever_was_told_that_it_is_stopped_is_told_that_it_was_put_back() {
    for language in all() {
        for case in cases().into_iter().filter(|case| case.3.is_none()) {
            with(case, language, &policy(CustomerStops::On), LinkAction::Stop, |seen| {
                let text = |since| {
                    seen_as(
                        seen,
                        |seen| seen.back_since = since,
                        |seen| seen.parts(at("2026-11-21T20:00:00Z")).expect("parts")[0].html.clone(),
                    )
                };
                let (before, after) = (text(None), text(Some(at("2026-11-21T19:00:00Z"))));
                assert!(!before.contains("class=\"note\""), "{before}");
                assert!(after.contains("class=\"note\"") && !after.contains(['{', '}']), "{after}");
                if language.code == "en" {
                    let put_back = "It was stopped on 22 November 2026, 00:00, time at the print lab (Helsinki), \
                        and Foto &#38; &#60;Söhne&#62; has put it back.";
                    assert!(after.contains(put_back), "{after}");
                    let prints = after.contains("It will be printed unless it is stopped again.");
                    assert_eq!(prints, case.5.is_some(), "{after}");
                }
            });
        }
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
        "Bestellnummer endet auf 1001 · 2 Artikel",
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
            approval: None,
            contradiction: Some(Contradiction::Made),
            back_since: None,
            arrived: Arrived::Lab,
            paid: true,
            action: LinkAction::Stop,
            policy: &policy,
            shop: "Acme",
            reference: "7",
            items: 1,
            lines: &[],
            out: &[],
            by_lines: &ByLines::default(),
            local: &local,
            form: "",
            of: "",
        };
        let text = seen.receipt_text(at("2026-11-21T20:05:00Z"));
        assert_eq!(text.contains("Reason:"), shown.is_some(), "{text}");
        assert!(shown.is_none_or(|shown| text.contains(shown)) && !text.contains("fraud"), "{text}");
        assert!(text.contains("does not add up") && !text.contains("will not be printed"), "{text}");
    }
}
