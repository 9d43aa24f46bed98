//! Lines, as a table: what a stop names, what it brings, what is said of each line.

use super::*;
use crate::domain::batch::TransferPhase;
use crate::domain::lab::TakesStops;
use crate::domain::stop::Evidence;

const DOCUMENT: &str = r#"{"reference":"A-1","items":[
    {"id":"1","kind":"print","sku":"MUG","quantity":2,"personalised":true},
    {"id":"2","kind":"print","sku":"FRAME","quantity":1,"personalised":false},
    {"id":"3","kind":"download","sku":"ZIP","quantity":1,"personalised":false}]}"#;

fn ids(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn lines(text: &str) -> Named {
    Named::Lines(ids(text))
}

#[test]
fn what_a_stop_names() {
    let order = read(DOCUMENT);
    assert_eq!(order.len(), 3);
    for (out, open, asked, comes_to) in [
        ("", "", "1", lines("1")),
        ("", "", "3 1", lines("1 3")),
        ("", "", "1 2 3", Named::Whole),
        ("", "", "4 1 5", Named::Unknown(ids("4 5"))),
        ("1", "", "1", Named::Asked),
        ("1", "", "1 2", lines("2")),
        ("1 2", "", "3", Named::Whole),
        ("1", "", "2 3", Named::Whole),
        ("", "1", "1", Named::Asked),
        ("", "1", "2", lines("2")),
        ("", "1", "2 3", Named::Whole),
        ("1", "2", "3", Named::Whole),
        ("1", "2", "2 1", Named::Asked),
        ("1 2 3", "", "1", Named::Asked),
    ] {
        let found = name(&order, &ids(out), &ids(open), &ids(asked));
        assert_eq!(found, comes_to, "out {out:?}, open {open:?}, asked {asked:?}");
    }
    assert_eq!(read("not an order"), vec![]);
}

#[test]
fn what_it_brings_is_for_its_lines_alone() {
    let order = read(DOCUMENT);
    let policy = PlatformPolicy {
        restock: true,
        refund: Refund::Automatic,
        service_fee: ServiceFee::Waived,
        reasons: vec!["wrong size".to_owned(), "found cheaper".to_owned()],
        ..PlatformPolicy::default()
    };
    for (out, named, stage, restock, exempt) in [
        ("", None, Stage::Received, "2", "1"),
        ("2", None, Stage::Received, "", "1"),
        ("", Some("2"), Stage::Received, "2", ""),
        ("", Some("1 3"), Stage::Received, "", "1"),
        ("", None, Stage::InProduction, "", "1"),
    ] {
        let named = named.map(ids);
        let terms = StopTerms::of(&order, (&ids(out), named.as_deref()), &policy, "wrong size", stage);
        assert_eq!((terms.restock, terms.exempt), (ids(restock), ids(exempt)), "{out:?} {named:?} {stage:?}");
        assert_eq!((terms.refund, terms.service_fee), (Refund::Automatic, ServiceFee::Waived));
    }
    let without = PlatformPolicy { restock: false, reasons: Vec::new(), ..policy.clone() };
    for (policy, reason, offered) in [
        (&policy, "wrong size", Some(true)),
        (&policy, " wrong size ", Some(true)),
        (&policy, "the dog ate it", Some(false)),
        (&policy, UNSPECIFIED, None),
        (&without, "wrong size", None),
    ] {
        let terms = StopTerms::of(&order, (&[], None), policy, reason, Stage::Received);
        assert_eq!(terms.reason_offered, offered, "{reason}");
        assert_eq!(terms.restock.is_empty(), !policy.restock);
    }
}

#[test]
fn a_stop_of_lines_is_granted_where_a_stop_is_and_asked_only_where_the_lab_can() {
    let transfer = |phase| crate::domain::verdict::tests::transfer(phase);
    for stops_lines in [false, true] {
        let profile = Profile { stops: TakesStops::Yes, stops_lines, ..Profile::default() };
        let part = Some((StopState::StoppedInPart, Some(Evidence::NeverHanded)));
        assert_eq!(grant(None, Stage::Received, &profile), part);
        for phase in (0..=5).filter_map(TransferPhase::from_code) {
            for stage in (0..=3).filter_map(Stage::from_code) {
                let transfer = transfer(phase);
                let whole = stop::grant(Some(&transfer), stage, &profile);
                let found = grant(Some(&transfer), stage, &profile);
                let expected = match whole {
                    (StopState::Stopped, evidence) => Some((StopState::StoppedInPart, evidence)),
                    (StopState::TooLate, evidence) => Some((StopState::TooLate, evidence)),
                    other if stops_lines => Some(other),
                    _ => None,
                };
                assert_eq!(found, expected, "{phase:?} {stage:?} {stops_lines}");
                assert!(found.is_none_or(|(state, _)| state != StopState::Stopped));
            }
        }
    }
}

#[test]
fn each_line_has_its_own_word() {
    use CanStop::{AskLab, No, NotYetKnown, Yes};
    use LineReason::{AlreadyStopped, AsOrder, AwaitsMerchant, StopPending, WholeOrderOnly};
    use Withdrawal::{Applies, NonePersonalised, UntilFetched, UntilMade};
    let order = read(DOCUMENT);
    let policy = PlatformPolicy { restock: true, ..PlatformPolicy::default() };
    let base = Standing {
        can_stop: Yes,
        stopped: false,
        by_lines: false,
        stage: Stage::Received,
        out: &[],
        open: &[],
        awaiting: &[],
    };
    let (one, two) = (ids("1"), ids("2"));
    for (standing, words) in [
        (base, [(Yes, AsOrder); 3]),
        (Standing { out: &two, ..base }, [(Yes, AsOrder), (No, AlreadyStopped), (Yes, AsOrder)]),
        (Standing { stopped: true, can_stop: No, ..base }, [(No, AlreadyStopped); 3]),
        (Standing { can_stop: AskLab, ..base }, [(No, WholeOrderOnly); 3]),
        (Standing { can_stop: No, ..base }, [(No, AsOrder); 3]),
        (
            Standing { can_stop: AskLab, by_lines: true, open: &one, ..base },
            [(NotYetKnown, StopPending), (AskLab, AsOrder), (AskLab, AsOrder)],
        ),
        (Standing { awaiting: &two, ..base }, [(Yes, AsOrder), (Yes, AwaitsMerchant), (Yes, AsOrder)]),
        (
            Standing { awaiting: &two, out: &two, ..base },
            [(Yes, AsOrder), (No, AlreadyStopped), (Yes, AsOrder)],
        ),
        (Standing { awaiting: &two, can_stop: No, ..base }, [(No, AsOrder); 3]),
    ] {
        let found = judge(&order, &standing, &policy);
        let told: Vec<_> = found.iter().map(|line| (line.can_stop, line.reason)).collect();
        assert_eq!(told, words, "{standing:?}");
        assert!(found.iter().all(|line| !line.restock || line.item == "2" && line.can_stop != No));
    }
    let rights = |stage| order.iter().map(|line| withdrawal(line, stage)).collect::<Vec<_>>();
    assert_eq!(rights(Stage::Received), [UntilMade, Applies, UntilFetched]);
    assert_eq!(rights(Stage::InProduction), [NonePersonalised, Applies, UntilFetched]);
}

/// Whoever looks for an order to stop it sees what is printed of it, and what he is asked for.
#[test]
fn people_are_shown_the_lines_that_are_printed_or_asked_for() {
    use crate::domain::order::OrderFacts;
    use crate::domain::stop::{StopFacts, StopState};
    use crate::domain::verdict::tests::{order, stop};
    let picture = "data:image/png;base64,iVBORw0KGgo=";
    let document = DOCUMENT.replacen('{', &format!(r#"{{"thumbnails":{{"2":"{picture}"}},"#), 1);
    let with = |out: &str| OrderFacts { document: document.clone(), lines_out: ids(out), ..order() };
    let shown = |lines: Vec<crate::domain::mail::Line>| -> String {
        lines.iter().map(|line| line.id.as_str()).collect::<Vec<_>>().join(" ")
    };
    // What is stopped, what a stop names, what is shown of the order, and for the stop.
    for (out, named, of_order, of_stop) in [
        ("", None, "1 2", "1 2"),
        ("1", None, "2", "2"),
        ("1 2", None, "", ""),
        ("", Some("2"), "1 2", "2"),
        ("2", Some("2"), "1", "2"),
        ("1", Some("2 3"), "2", "2"),
    ] {
        let order = with(out);
        let stop = StopFacts { items: named.map(ids), ..stop(StopState::Pending, None) };
        let found = (shown(order.lines()), shown(order.lines_of(&stop)));
        assert_eq!(found, (of_order.to_owned(), of_stop.to_owned()), "{out:?} {named:?}");
    }
    let lines = with("1").lines();
    let line = &lines[0];
    let thumbnail = line.thumbnail.as_ref().map(|picture| picture.0.as_str());
    assert_eq!((line.quantity, line.sku.as_str(), thumbnail), (1, "FRAME", Some(picture)));
}
