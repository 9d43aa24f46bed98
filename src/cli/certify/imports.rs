//! Checks of the first phase, at labs that say that they have one.

use jiff::SignedDuration;

use super::probe::{Kind, Place, Probe, Test, told};
use super::report::Basis::{Believed, Proved};
use super::report::Finding;
use super::{Facts, Made, NO_ORDER};
use crate::domain::batch::{ahead, later};
use crate::domain::lab::Answer;
use crate::domain::{Fault, ids::OrderId};
use crate::lab::Import;

const NO_FIRST_PHASE: &str = "it does not say that it has two phases (two_phase in its description)";
const NOT_HELD: &str = "it holds nothing that is sent ahead, so there was nothing to check it with";

/// Sends a test order ahead.
async fn send_ahead(p: &Probe<'_>, test: &Test) -> Result<Answer, Fault> {
    let hold_until = later(p.now(), SignedDuration::from_mins(10));
    let body = ahead(&p.entry(test), hold_until).map_err(|error| Fault::new("", error.to_string()))?;
    let import = Import { order: test.order.clone(), body, hold_until };
    let sent = format!("{} ({}) sent ahead", test.reference, test.order);
    Ok(p.timed(Kind::Other, sent, p.doors.right.import(&import)).await)
}

/// Says that it is not coming.
async fn take_back(p: &Probe<'_>, order: &OrderId) -> Answer {
    p.timed(Kind::Other, format!("{order} taken back"), p.doors.right.discard(order)).await
}

/// What is seen of an order that is only held; `None` if that is nothing, as it must be.
async fn shown(p: &Probe<'_>, facts: &Facts, test: &Test) -> Option<Finding> {
    let place = if facts.lookup { p.find(test).await } else { Place::Absent };
    if place == Place::Absent {
        return None;
    }
    p.hold(std::slice::from_ref(test));
    Some(Finding::failed(format!(
        "a look-up says {} of an order that was only sent ahead. The gateway takes that for a sign that the hand-over \
         arrived, and it may be printed although nobody handed it over",
        place.words()
    )))
}

pub(super) async fn import(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.two_phase {
        facts.two_phase = p.doors.right.has_first_phase().await;
    }
    if !facts.two_phase {
        return Ok(Finding::not_seen(NO_FIRST_PHASE));
    }
    let test = p.test();
    let Answer::Accepted { lab_reference } = send_ahead(p, &test).await? else {
        return Ok(Finding::failed("it says that it has two phases, and does not hold what is sent ahead"));
    };
    if let Some(finding) = shown(p, facts, &test).await {
        return Ok(finding);
    }
    let stop = p.stop(&test).await;
    facts.imports = true;
    facts.ahead = Some((test.clone(), p.now()));
    Ok(match stop {
        Answer::NotFound | Answer::Refused { .. } if facts.lookup => Finding::passed(
            Proved,
            format!("held as {}, and no order yet", lab_reference.as_deref().unwrap_or("it is")),
        ),
        Answer::NotFound | Answer::Refused { .. } => Finding::passed(Believed, "held"),
        Answer::Removed { .. } => Finding::failed(
            "it says removed of an order that it only holds: a hand-over that is still on its way would be believed \
             stopped, and be printed",
        ),
        other => Finding::failed(format!("a stop of an order that it only holds: {}", told(&other))),
    })
}

pub(super) async fn again(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.imports {
        return Ok(Finding::not_seen(NOT_HELD));
    }
    let test = p.test();
    let (first, second) = (send_ahead(p, &test).await?, send_ahead(p, &test).await?);
    let there = shown(p, facts, &test).await;
    take_back(p, &test.order).await;
    Ok(match (first, second) {
        _ if there.is_some() => there.unwrap_or_else(|| Finding::not_seen(NOT_HELD)),
        (Answer::Accepted { lab_reference: one }, Answer::Accepted { lab_reference: two }) if one == two => {
            match one {
                Some(reference) => Finding::passed(Proved, format!("{reference} each time")),
                None => Finding::passed(Believed, "held each time; it gives no reference"),
            }
        }
        (Answer::Accepted { .. }, Answer::Accepted { lab_reference }) => Finding::failed(format!(
            "the same order has another reference the second time ({}): it holds two of it",
            lab_reference.as_deref().unwrap_or("none")
        )),
        (Answer::Accepted { .. }, other) => {
            Finding::failed(format!("the second time it is not held: {}", told(&other)))
        }
        (other, _) => Finding::failed(format!("it is not held: {}", told(&other))),
    })
}

pub(super) async fn taken_back(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.imports {
        return Ok(Finding::not_seen(NOT_HELD));
    }
    let test = p.test();
    send_ahead(p, &test).await?;
    for time in ["", " the second time"] {
        let answer = take_back(p, &test.order).await;
        if !matches!(answer, Answer::Accepted { .. }) {
            return Ok(Finding::failed(format!(
                "it does not forget an order that is not coming{time}: {}",
                told(&answer)
            )));
        }
    }
    if let Some(finding) = shown(p, facts, &test).await {
        return Ok(finding);
    }
    // Whoever asked for the stop took it back, or ops did: the order is handed over all the same.
    let parcel = p.parcel_of(vec![test], None)?;
    let answer = p.submit(&parcel).await;
    let place = if facts.lookup { p.find(parcel.first()).await } else { Place::Taken };
    p.put_away(parcel.first()).await;
    Ok(match (answer, place) {
        (Answer::Accepted { .. }, Place::Taken | Place::Made(_)) if facts.lookup => {
            Finding::passed(Proved, "forgotten; handed over all the same, it is taken")
        }
        (Answer::Accepted { .. }, Place::Taken) => Finding::passed(Believed, "forgotten, and taken later"),
        (Answer::Accepted { .. }, place) => Finding::failed(format!(
            "it was taken back, then handed over and accepted; a look-up says {}: it would never be printed",
            place.words()
        )),
        (other, _) => Finding::failed(format!(
            "an order that was taken back is handed over all the same, and not taken: {}",
            told(&other)
        )),
    })
}

pub(super) async fn handed_over(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.imports {
        return Ok(Finding::not_seen(NOT_HELD));
    }
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let test = p.test();
    let reference = match send_ahead(p, &test).await? {
        Answer::Accepted { lab_reference } => lab_reference,
        other => return Ok(Finding::failed(format!("it is not held: {}", told(&other)))),
    };
    let parcel = p.parcel_of(vec![test.clone()], reference)?;
    let answer = p.submit(&parcel).await;
    if !matches!(answer, Answer::Accepted { .. }) {
        p.put_away(&test).await;
        return Ok(Finding::failed(format!(
            "what it holds is handed over, and not taken: {}",
            told(&answer)
        )));
    }
    // What was on its way meanwhile comes late, and changes nothing.
    send_ahead(p, &test).await?;
    take_back(p, &test.order).await;
    let repeated = p.submit(&parcel).await;
    let place = if facts.lookup { Some(p.find(&test).await) } else { None };
    let prints = if facts.lookup { p.prints(&test).await } else { None };
    let stopped = p.stop(&test).await;
    let after = if facts.lookup && facts.stops { Some(p.find(&test).await) } else { None };
    Ok(match (repeated, prints, place) {
        (Answer::Accepted { .. }, Some(prints @ 2..), _) => Finding::failed(format!(
            "an order that was sent ahead, then handed over, is printed {prints} times"
        )),
        (Answer::Accepted { .. }, Some(0), _)
        | (Answer::Accepted { .. }, _, Some(Place::Absent | Place::Removed)) => Finding::failed(
            "it was handed over, then a late copy of what was sent ahead was taken back, and the order with it: it \
             would never be printed",
        ),
        (Answer::Accepted { .. }, ..)
            if matches!(stopped, Answer::Removed { .. }) && after.is_some_and(|at| at != Place::Removed) =>
        {
            Finding::failed("after a stop a copy of what was sent ahead is left")
        }
        (Answer::Accepted { .. }, Some(_), _) => Finding::passed(Proved, "prints: 1, by its own ledger"),
        (Answer::Accepted { .. }, None, _) => Finding::passed(
            Believed,
            "taken; it does not tell \"prints\", so a second print would not be seen",
        ),
        (other, ..) => Finding::failed(format!("the same upload again: {}", told(&other))),
    })
}

pub(super) async fn not_printed(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some((test, since)) = facts.ahead.take() else { return Ok(Finding::not_seen(NOT_HELD)) };
    let age = super::stops::rounded(p.now().duration_since(since));
    let there = shown(p, facts, &test).await;
    take_back(p, &test.order).await;
    Ok(match there {
        Some(finding) => finding,
        None if facts.printed.is_some() => Finding::passed(
            Proved,
            format!(
                "held for {age:#}; an order that was handed over was printed meanwhile, this one was not"
            ),
        ),
        None => Finding::passed(
            Believed,
            format!("held for {age:#}; --let-print would show that it is not printed when others are"),
        ),
    })
}
