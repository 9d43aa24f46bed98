//! Violations that are made up, and that the check must find.

use std::collections::BTreeMap;

use super::*;
use crate::cli::simulate::ledger::{Said, Verdict};

fn at(text: &str) -> Timestamp {
    format!("2010-12-01T{text}:00Z").parse().unwrap()
}

/// An order that was promised until 12:00.
fn account(state: OrderState, told: &[(&str, StopState)]) -> Account {
    Account {
        id: "ord_1".to_owned(),
        reference: "A-1".to_owned(),
        lab: "thames/gb".to_owned(),
        promised: Some(at("12:00")),
        printed: true,
        told: told
            .iter()
            .map(|(asked, state)| Told {
                at: at("13:00"),
                asked_at: at(asked),
                state: *state,
                evidence: Some(Evidence::NeverHanded),
            })
            .collect(),
        state: Some(state),
    }
}

fn verdict(received: u64, prints: u64) -> Verdict {
    Verdict {
        order: "ord_1".to_owned(),
        received,
        prints,
        copies: prints,
        removed: received.saturating_sub(prints),
        waiting: 0,
        stops: BTreeMap::from([("stp_1".to_owned(), vec![Said::Removed])]),
    }
}

fn found(account: Account, verdict: Option<Verdict>) -> Vec<(Kind, String)> {
    let ledgers = BTreeMap::from([("thames".to_owned(), verdict.into_iter().collect())]);
    let found = check(&[account], &ledgers);
    assert_eq!(found.orders, 1);
    found.violations.into_iter().map(|violation| (violation.kind, violation.text)).collect()
}

fn kinds(account: Account, verdict: Option<Verdict>) -> Vec<Kind> {
    found(account, verdict).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn what_is_as_it_was_told_is_no_violation() {
    use StopState::{Pending, Stopped, TooLate, WithAPerson};
    assert_eq!(kinds(account(OrderState::AtLab, &[]), Some(verdict(1, 1))), []);
    assert_eq!(kinds(account(OrderState::Stopped, &[("11:59", Stopped)]), None), []);
    let told = [("12:00", Pending), ("12:00", WithAPerson), ("12:00", Stopped)];
    assert_eq!(kinds(account(OrderState::Stopped, &told), Some(verdict(1, 0))), []);
    let told = [("12:00", Pending), ("12:00", TooLate)];
    assert_eq!(kinds(account(OrderState::AtLab, &told), Some(verdict(1, 1))), []);
    // A person has it: nothing is told, nothing is lost.
    assert_eq!(kinds(account(OrderState::WithAPerson, &[]), None), []);
    assert_eq!(kinds(account(OrderState::AwaitingPayment, &[]), None), []);
}

#[test]
fn told_stopped_and_printed_is_a_broken_promise() {
    let text = found(account(OrderState::Stopped, &[("12:30", StopState::Stopped)]), Some(verdict(1, 1)));
    assert_eq!(text.len(), 1);
    assert_eq!(text[0].0, Kind::BrokenPromise);
    assert!(text[0].1.contains("A-1 (thames/gb): was told stopped"), "{}", text[0].1);
}

#[test]
fn asked_in_time_and_not_stopped_at_once_is_a_broken_promise() {
    use StopState::{Pending, Stopped, TooLate};
    let told = [("11:59", TooLate)];
    assert_eq!(kinds(account(OrderState::AtLab, &told), Some(verdict(1, 1))), [Kind::BrokenPromise]);
    // Even if it ends well: it was promised to succeed, not to be tried.
    let told = [("11:59", Pending), ("11:59", Stopped)];
    assert_eq!(kinds(account(OrderState::Stopped, &told), Some(verdict(1, 0))), [Kind::BrokenPromise]);
    // At the cutoff itself nothing is promised.
    let told = [("12:00", TooLate)];
    assert_eq!(kinds(account(OrderState::AtLab, &told), Some(verdict(1, 1))), []);
}

#[test]
fn a_final_answer_that_changes_is_a_broken_promise() {
    use StopState::{Stopped, TooLate};
    let told = [("12:30", TooLate), ("12:30", Stopped)];
    assert_eq!(kinds(account(OrderState::Stopped, &told), None), [Kind::BrokenPromise]);
    let told = [("12:30", Stopped), ("12:30", TooLate)];
    let kinds = kinds(account(OrderState::AtLab, &told), Some(verdict(1, 1)));
    assert!(kinds.len() >= 2 && kinds.iter().all(|kind| *kind == Kind::BrokenPromise), "{kinds:?}");
}

#[test]
fn a_stop_that_nobody_ever_answers_is_a_broken_promise() {
    let told = [("12:30", StopState::Pending)];
    assert_eq!(kinds(account(OrderState::AtLab, &told), Some(verdict(1, 1))), [Kind::BrokenPromise]);
}

#[test]
fn an_order_that_nobody_prints_is_lost() {
    assert_eq!(kinds(account(OrderState::AtLab, &[]), None), [Kind::Loss]);
    assert_eq!(kinds(account(OrderState::InBatch, &[]), None), [Kind::Loss]);
    // Told "too late", and taken out all the same: the customer waits for a parcel that never comes.
    let told = [("12:30", StopState::TooLate)];
    assert_eq!(kinds(account(OrderState::AtLab, &told), Some(verdict(1, 0))), [Kind::Loss]);
    let mut gone = account(OrderState::AtLab, &[]);
    gone.state = None;
    assert_eq!(kinds(gone, Some(verdict(1, 1))), [Kind::Loss]);
}

#[test]
fn printed_twice_is_found_in_one_lab_and_in_two() {
    assert_eq!(kinds(account(OrderState::AtLab, &[]), Some(verdict(2, 2))), [Kind::DoublePrint]);
    let both = BTreeMap::from([
        ("thames".to_owned(), vec![verdict(1, 1)]),
        ("hudson".to_owned(), vec![verdict(1, 1)]),
    ]);
    let found = check(&[account(OrderState::AtLab, &[])], &both);
    assert_eq!((found.count(Kind::DoublePrint), found.count(Kind::Fault)), (1, 1));
}

#[test]
fn what_nobody_sent_is_a_fault() {
    let ledgers = BTreeMap::from([("thames".to_owned(), vec![verdict(1, 1)])]);
    assert_eq!(check(&[], &ledgers).count(Kind::Fault), 1);
}

#[test]
fn prints_that_are_still_to_come_are_a_fault_of_the_play() {
    let mut early = verdict(1, 0);
    early.waiting = 1;
    assert!(kinds(account(OrderState::AtLab, &[]), Some(early)).contains(&Kind::Fault));
}

#[test]
fn what_a_lab_reported_must_be_shown() {
    let reached = |stage| BTreeMap::from([("ord_1".to_owned(), stage)]);
    let cases = [
        (OrderState::Shipped, Stage::Shipped, 0),
        (OrderState::AtLab, Stage::Shipped, 1),
        (OrderState::Shipped, Stage::Printed, 1),
        (OrderState::InProduction, Stage::InProduction, 0),
        (OrderState::AtLab, Stage::Received, 0),
    ];
    for (state, stage, faults) in cases {
        let found = heard(&[account(state, &[])], &reached(stage));
        assert_eq!(found.len(), faults, "{state:?} {stage:?}");
    }
    assert!(heard(&[account(OrderState::AtLab, &[])], &BTreeMap::new()).is_empty());
}
