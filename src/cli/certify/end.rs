//! What is done at the end of a run: whether every call was answered, and that the test orders are out again.

use super::probe::{Place, Probe, Test};
use super::report::Basis::{Believed, Proved};
use super::report::{Finding, Left};
use super::stops::{rounded, watch};
use super::{Facts, Made};
use crate::domain::lab::Answer;

pub(super) fn answers(p: &Probe<'_>) -> Finding {
    let tally = p.tally();
    let slow = p.target.slow_after;
    let measured: Vec<String> = ["upload", "stop", "look-up"]
        .iter()
        .zip(tally.longest)
        .map(|(what, took)| {
            let took = jiff::SignedDuration::try_from(took).unwrap_or_default();
            format!("{what} {:#}", rounded(took))
        })
        .collect();
    let measured = format!("the longest answers: {}", measured.join(", "));
    match tally.silent.as_slice() {
        [] if tally.longest.iter().any(|took| *took > slow.0.unsigned_abs()) => Finding::warning(format!(
            "slow: {measured}. A customer waits for the answer to a stop; more than {slow} is long"
        )),
        [] => Finding::passed(Proved, format!("all {} calls; {measured}", tally.calls)),
        some => Finding::failed(format!(
            "{} of {} calls had no answer that says anything: {}{}",
            some.len(),
            tally.calls,
            some.iter().take(3).cloned().collect::<Vec<_>>().join("; "),
            if some.len() > 3 { "; …" } else { "" }
        )),
    }
}

/// What became of a test order.
enum Outcome {
    Out,
    Believed,
    AsAsked,
    Left(Left),
}

pub(super) async fn clean_up(p: &Probe<'_>, facts: &Facts) -> (Made, Vec<Left>) {
    let held = p.held();
    let began = p.now();
    let outcomes = p.sweep(&held, |test| async move { away(p, facts, &test).await }).await;
    let mut left = Vec::new();
    let (mut out, mut believed, mut printed) = (0_usize, 0_usize, 0_usize);
    for outcome in outcomes {
        match outcome {
            Outcome::Out => out += 1,
            Outcome::Believed => believed += 1,
            Outcome::AsAsked => printed += 1,
            Outcome::Left(order) => left.push(order),
        }
    }
    let count = held.len();
    p.note(
        format!(
            "look-ups, and stops where needed, of all {count} test orders that were or may have been taken"
        ),
        format!("{out} are out, {believed} are said to be, {printed} printed as asked, {} left", left.len()),
        began,
    );
    let asked = if printed > 0 { ", and one was printed as asked" } else { "" };
    let finding = if !left.is_empty() {
        let names: Vec<String> =
            left.iter().take(5).map(|order| format!("{} ({})", order.reference, order.place)).collect();
        let more = if left.len() > 5 { ", …" } else { "" };
        let text = format!(
            "{} of {count} test orders are left at the lab: {}{more}. Take them out by hand",
            left.len(),
            names.join(", ")
        );
        if facts.stops { Finding::failed(text) } else { Finding::warning(text) }
    } else if believed > 0 {
        Finding::passed(Believed, format!("all {count} are out by its word{asked}"))
    } else {
        Finding::passed(Proved, format!("all {out} are out, seen by look-up{asked}"))
    };
    (Ok(finding), left)
}

async fn away(p: &Probe<'_>, facts: &Facts, test: &Test) -> Outcome {
    let left = |place: String| {
        Outcome::Left(Left { order: test.order.clone(), reference: test.reference.clone(), place })
    };
    if facts.printed.as_ref() == Some(&test.order) {
        return Outcome::AsAsked;
    }
    if !facts.lookup {
        // The stop is the only word that can be had.
        return match p.stop(test).await {
            Answer::Removed { .. } | Answer::NotFound => Outcome::Believed,
            other => left(other.word().to_owned()),
        };
    }
    let mut place = p.peek(test).await;
    if place == Place::Taken {
        p.stop(test).await;
        place = p.peek(test).await;
        if place == Place::Taken && facts.answered_later.is_some() {
            watch(p, test, p.target.wait, |place| *place != Place::Taken).await;
            place = p.peek(test).await;
        }
    }
    match place {
        Place::Removed | Place::Absent => Outcome::Out,
        other => left(other.words()),
    }
}
