//! What a customer is told where the merchant decides.

use super::super::super::words::choose;
use super::*;
use crate::domain::ids::ApprovalId;

fn approval(seen: &Seen<'_>, state: ApprovalState) -> ApprovalFacts {
    ApprovalFacts {
        id: ApprovalId::parse(&format!("apr_{}", "1".repeat(32))).expect("an id"),
        order: seen.verdict.order.clone(),
        platform: "acme".into(),
        lab: "nord".into(),
        state,
        held: true,
        reason: "other".into(),
        comment: None,
        requested_by: None,
        items: None,
        asked_at: at("2026-11-21T20:00:00Z"),
        due_at: at("2026-11-22T20:00:00Z"),
        decided_at: Some(at("2026-11-21T20:01:00Z")),
        decided_by: Some("platform:acme".into()),
        why: Some("it is <on> the press".into()),
    }
}

#[test]
fn where_the_merchant_decides_the_merchant_is_asked_and_whom_it_declined_is_told_why() {
    for case in cases() {
        let asks = policy(CustomerStops::AskMerchant);
        with(case, choose(None, None, None), &asks, LinkAction::Stop, |seen| {
            assert_eq!(seen.offer(), Ok(case.5.map(|_| Offer::Merchant)), "{case:?}");
            let declined = approval(seen, ApprovalState::Declined);
            let seen = Seen { approval: Some(&declined), ..*seen };
            let ask = &seen.parts(at("2026-11-21T20:00:00Z")).expect("parts")[2];
            assert!(!ask.html.contains("<form"), "{case:?}: it is not asked twice");
            let told = ask.html.contains("it is &#60;on&#62; the press");
            assert_eq!(told, case.5.is_some(), "{case:?}: {}", ask.html);
        });
    }
}

/// Nobody is told that nothing is sent where the machine goes on trying to hand it over.
#[test]
fn what_is_not_kept_from_the_lab_is_not_told_to_be() {
    let language = choose(None, None, None);
    let asks = policy(CustomerStops::AskMerchant);
    let case = (CanStop::Yes, Reason::StopAwaitsMerchant, DecidedBy::Gateway, None, State::Merchant, None);
    with(case, language, &asks, LinkAction::Stop, |seen| {
        for (held, state) in [(true, State::Merchant), (false, State::MerchantLate)] {
            let open = ApprovalFacts { held, ..approval(seen, ApprovalState::Open) };
            assert_eq!(Seen { approval: Some(&open), ..*seen }.state(), state);
        }
    });
}
