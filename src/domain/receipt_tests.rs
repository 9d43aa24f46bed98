//! What a receipt says of each way in which a stop can end.

use super::*;
use crate::domain::extras::Extras;
use crate::domain::ids::{LabId, RegionId};
use crate::domain::order::{Held, Stage};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn ids(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn order(out: &str) -> OrderFacts {
    OrderFacts {
        id: OrderId::parse(&format!("ord_{}", "0".repeat(32))).unwrap(),
        platform: PlatformId::parse("shop").unwrap(),
        lab: LabId::parse("nordprint").unwrap(),
        region: RegionId::parse("fi").unwrap(),
        reference: "A-1".into(),
        document: r#"{"items":[{"id":"1","sku":"MUG","quantity":2,"personalised":true},
            {"id":"2","sku":"FRAME","quantity":1},{"id":"3","kind":"download","sku":"ZIP","quantity":1}]}"#
            .into(),
        admitted_at: at(-50),
        paid: true,
        held: Held::No,
        stage: Stage::Received,
        version: 1,
        batch: None,
        transfer: None,
        stop: None,
        lines_out: ids(out),
        extras: Extras::default(),
    }
}

fn stop(state: StopState, evidence: Option<Evidence>, items: Option<&str>) -> StopFacts {
    StopFacts {
        id: StopId::parse(&format!("stp_{}", "1".repeat(32))).unwrap(),
        order: order("").id,
        state,
        evidence,
        reason: "wrong\nsize".into(),
        comment: None,
        asked_by: AskedBy::Merchant,
        asked_at: at(0),
        handed_at: None,
        deadline_at: at(1800),
        deadline_why: None,
        next_at: at(0),
        attempts: 0,
        delivered_at: None,
        decided_at: state.is_decided().then(|| at(5)),
        answer: None,
        items: items.map(ids),
        requested_by: Some("m.virtanen".into()),
        terms: Some(StopTerms {
            refund: Refund::Automatic,
            service_fee: ServiceFee::Waived,
            restock: ids("2"),
            exempt: ids("1"),
            reason_offered: None,
        }),
    }
}

#[test]
fn every_line_has_its_outcome() {
    use LineOutcome::{GoesOn, Open, Stopped, TooLate};
    for (state, items, out, outcomes) in [
        (StopState::Stopped, None, "", [Stopped; 2]),
        (StopState::Stopped, None, "2", [Stopped; 2]),
        (StopState::StoppedInPart, Some("2"), "2", [GoesOn, Stopped]),
        (StopState::StoppedInPart, Some("2"), "2 1", [Stopped, Stopped]),
        (StopState::Pending, Some("1 2"), "", [Open, Open]),
        (StopState::WithAPerson, None, "", [Open; 2]),
        (StopState::TooLate, None, "1", [Stopped, TooLate]),
    ] {
        let receipt = Receipt::of(&order(out), &stop(state, None, items), &[], at(9));
        let found: Vec<_> = receipt.lines.iter().map(|line| line.outcome).collect();
        assert_eq!(found, outcomes, "{state:?} {items:?} {out:?}");
        // Stock moves only for what is stopped by this very stop.
        let own = items.is_none_or(|items| items.contains('2')) && !(items.is_none() && out.contains('2'));
        let moved = own && matches!(state, StopState::Stopped | StopState::StoppedInPart);
        let stocked: Vec<_> =
            receipt.lines.iter().filter(|line| line.restock).map(|line| &line.item).collect();
        assert_eq!(stocked, if moved { vec!["2"] } else { vec![] }, "{state:?} {items:?} {out:?}");
        assert_eq!(receipt.consequences.is_some(), state != StopState::TooLate);
        assert_eq!(receipt.decided_at.is_some(), receipt.answer_due_at.is_none());
        let downloads: Vec<_> = receipt.downloads.iter().map(|it| (it.item.as_str(), it.state)).collect();
        assert_eq!(downloads, [("3", DownloadState::Live)], "told apart from what is printed");
        let exempt: Vec<_> = receipt.lines.iter().filter(|line| line.exemption.is_some()).collect();
        assert!(exempt.len() == 1 && exempt[0].item == "1");
    }
}

/// What was told with the stop holds, also if the order was changed since; what is personalised now is, too.
#[test]
fn a_line_is_exempt_as_it_was_told_or_as_it_is() {
    for (told, exempt) in
        [(None, "1"), (Some(""), "1"), (Some("1"), "1"), (Some("2"), "1 2"), (Some("3"), "1")]
    {
        let mut asked = stop(StopState::Stopped, None, None);
        let terms = asked.terms.take();
        asked.terms = told.map(|told| StopTerms { exempt: ids(told), ..terms.unwrap() });
        let receipt = Receipt::of(&order(""), &asked, &[], at(9));
        let found = receipt.lines.iter().filter(|line| line.exemption.is_some()).map(|line| &line.item);
        assert!(found.eq(&ids(exempt)), "told {told:?}: {:?}", receipt.lines);
    }
}

#[test]
fn a_download_stands_as_it_is_known() {
    let mut known = crate::domain::downloads::tests::known("3", DownloadState::Fetched);
    for (item, state) in [("3", DownloadState::Fetched), ("2", DownloadState::Live)] {
        known.item = item.to_owned();
        let extras = Extras { downloads: vec![known.clone()], ..Extras::default() };
        let facts = OrderFacts { extras, ..order("") };
        let receipt = Receipt::of(&facts, &stop(StopState::Stopped, None, None), &[], at(9));
        let found: Vec<_> = receipt.downloads.iter().map(|it| (it.item.as_str(), it.state)).collect();
        assert_eq!(found, [("3", state)], "{item} is known");
    }
}

#[test]
fn one_line_is_one_and_two_are_many() {
    for (items, words) in [
        (None, "The order is stopped and"),
        (Some("1"), "Of the order, line 1 is stopped and"),
        (Some("1 2"), "Of the order, line 1, line 2 are stopped and"),
    ] {
        let said = statement(&stop(StopState::Stopped, None, items));
        assert!(said.starts_with(words), "{said}");
    }
}

#[test]
fn the_text_says_the_same_and_no_line_of_another() {
    let event = |seq, kind: &str| Event {
        seq,
        at: at(seq),
        subject: order("").id.to_string(),
        lab: "nordprint".into(),
        kind: kind.into(),
        actor: "ops:one".into(),
        detail: serde_json::json!({"stop": stop(StopState::Stopped, None, None).id}),
        previous: String::new(),
        hash: format!("hash-{seq}"),
    };
    let log = [event(1, "stop.pending"), event(2, "stop.stopped_in_part"), event(3, "order.changed")];
    let part = stop(StopState::StoppedInPart, Some(Evidence::NeverHanded), Some("1 2"));
    let receipt = Receipt::of(&order("1 2"), &part, &log, at(9));
    assert_eq!(receipt.proof.as_ref().map(|proof| proof.hash.as_str()), Some("hash-2"));
    let text = receipt.text();
    for part in [
        "Of the order, line 1, line 2 are stopped and will not be printed: nothing of it has left for the lab.",
        "by the merchant, m.virtanen",
        "Why          wrong size",
        "  2: 1 x FRAME: stopped, goes back to stock",
        "Downloads\n  3: ZIP: was not asked to be revoked",
        "The platform refunds by itself.",
        "Line 1 (2 x MUG) is made to the wishes of one customer",
        "SHA-256 hash-2",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}
