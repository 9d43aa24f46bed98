//! Checks of look-ups and stops.

use jiff::SignedDuration;

use super::probe::{Parcel, Place, Probe, Test, told};
use super::report::Basis::{Believed, Proved};
use super::report::Finding;
use super::{Facts, Made, NO_ORDER};
use crate::domain::batch::later;
use crate::domain::lab::{Answer, Lasting};
use crate::domain::order::Stage;
use crate::lab::link::desk::Word;

/// How long between two looks at an order that something is to become of.
const BETWEEN: SignedDuration = SignedDuration::from_millis(200);

pub(super) async fn unknown_look_up(p: &Probe<'_>, facts: &mut Facts) -> Made {
    Ok(match p.find(&p.test()).await {
        Place::Absent => {
            facts.knows_absence = true;
            Finding::passed(Proved, "not found")
        }
        Place::Unseen(said) => Finding::warning(format!(
            "it cannot be asked about orders ({said}): the profile says lookup = false, and what only a look-up \
             can prove is not proved"
        )),
        other => Finding::failed(format!("it says {} of an order that it never had", other.words())),
    })
}

pub(super) async fn unknown_stop(p: &Probe<'_>) -> Made {
    let answer = p.stop(&p.test()).await;
    Ok(match &answer {
        Answer::NotFound => Finding::passed(Proved, "not found"),
        Answer::Refused { reason } => Finding::warning(format!("it takes no stops ({reason})")),
        Answer::Removed { .. } | Answer::WillPrint { .. } | Answer::AnswerLater => Finding::failed(format!(
            "it says {} of an order that it never had: an upload that is still on its way would be believed \
             stopped, and be printed",
            answer.word()
        )),
        other => Finding::failed(format!("no answer to the stop: {}", told(other))),
    })
}

pub(super) async fn looks_up(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some(parcel) = taken(p).await? else { return Ok(Finding::not_seen(NO_ORDER)) };
    let place = p.find(parcel.first()).await;
    p.put_away(parcel.first()).await;
    Ok(match place {
        Place::Taken | Place::Made(_) if facts.knows_absence => {
            facts.lookup = true;
            Finding::passed(Proved, format!("it says {}", place.words()))
        }
        Place::Taken | Place::Made(_) => Finding::warning(
            "it finds what it has, but what it says of unknown orders cannot be used: lookup = false",
        ),
        Place::Absent => Finding::failed(
            "it says \"not found\" of an order that it had just taken: the gateway would believe that, send the \
             order again, and it would be printed twice",
        ),
        Place::Removed => Finding::failed("it says \"removed\" of an order that nobody stopped"),
        Place::Unseen(said) => {
            Finding::warning(format!("it cannot be asked about orders ({said}): lookup = false"))
        }
    })
}

pub(super) async fn before_printing(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some(parcel) = taken(p).await? else { return Ok(Finding::not_seen(NO_ORDER)) };
    let test = parcel.first();
    match p.stop(test).await {
        Answer::Removed { items, .. } if items.is_empty() => {}
        Answer::Removed { items, .. } => {
            return Ok(Finding::failed(format!(
                "it says that it took out {} of a whole order: that is not believed, because the rest may be printed",
                items.join(", ")
            )));
        }
        Answer::Refused { reason } => {
            return Ok(Finding::warning(format!(
                "it takes no stops ({reason}): the profile says stops = \"no\", and a person asks for each"
            )));
        }
        Answer::WillPrint { .. } => {
            return Ok(Finding::warning(
                "too late at once: it says will_print of an order that it had just taken. The profile says stops = \
                 \"no\"; where the contract with the lab says that what it has is final, write \
                 \"final_on_receipt\"",
            ));
        }
        Answer::AnswerLater => return Ok(later_on(p, facts, test).await),
        Answer::NotFound => {
            return Ok(Finding::failed("it says \"not found\" of an order that it had just taken"));
        }
        other => return Ok(Finding::failed(format!("no answer to the stop: {}", told(&other)))),
    }
    let again = p.stop(test).await;
    if !matches!(again, Answer::Removed { .. }) {
        return Ok(Finding::failed(format!("the same stop again had another answer: {}", told(&again))));
    }
    if !facts.lookup {
        return Ok(Finding::warning(
            "it says \"removed\"; believed, not proved, because it cannot be asked about orders: the profile says \
             stops = \"no\"",
        ));
    }
    match p.find(test).await {
        Place::Removed => {}
        Place::Absent => return Ok(Finding::failed("after \"removed\" it says \"not found\": not the same")),
        other => {
            return Ok(Finding::failed(format!(
                "it answered \"removed\", and a look-up says {}: the order will be printed although everybody \
                 believes that it is stopped",
                other.words()
            )));
        }
    }
    if let Some(prints @ 1..) = p.prints(test).await {
        return Ok(Finding::failed(format!("after \"removed\" it still says prints: {prints}")));
    }
    facts.stops = true;
    Ok(Finding::passed(Proved, "removed, seen by look-up, and the same answer again"))
}

/// A lab that answers stops later, to the gateway: what becomes of the order can be watched.
async fn later_on(p: &Probe<'_>, facts: &mut Facts, test: &Test) -> Finding {
    let began = p.now();
    let within = p.target.wait;
    if !facts.lookup {
        return Finding::not_seen("it answers later, and cannot be asked: what it does is not known");
    }
    if watch(p, test, within, |place| *place == Place::Removed).await {
        let took = p.now().duration_since(began);
        facts.stops = true;
        facts.answered_later = Some(took.unsigned_abs());
        if let Some(line) = &p.line {
            return match line.hears(&test.stop, &*p.clock, p.target.wait).await {
                Some(Word::Removed) => Finding::passed(
                    Proved,
                    format!(
                        "it answers later; \"removed\" came over the link within {:#}, seen by look-up",
                        rounded(took)
                    ),
                ),
                Some(_) => Finding::failed("it took the order out, and told over the link that it did not"),
                None => Finding::failed(
                    "it took the order out, and does not tell: no StopAnswer came over the link. The stop would be \
                     given to a person",
                ),
            };
        }
        Finding::warning(format!(
            "it answers later; a look-up said \"removed\" after {:#}. Whether its answer reaches the gateway (POST \
             /v1/lab/stops/{{stop}}/answer) is not seen from here",
            rounded(took)
        ))
    } else {
        Finding::not_seen(format!("it answers later, and nothing was seen of it within {within} (--wait)"))
    }
}

pub(super) async fn after_printing(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some(within) = p.target.let_print else {
        return Ok(Finding::not_seen(
            "not asked for: --let-print 10m leaves one test order in, to be printed, and watches it for so long",
        ));
    };
    if !facts.lookup {
        return Ok(Finding::not_seen("it cannot be asked about orders: no print can be seen"));
    }
    let Some(parcel) = taken(p).await? else { return Ok(Finding::not_seen(NO_ORDER)) };
    let test = parcel.first();
    let printed = |place: &Place| matches!(place, Place::Made(Stage::Printed | Stage::Shipped));
    if !watch(p, test, within, printed).await {
        let place = p.find(test).await;
        p.put_away(test).await;
        let said = format!("not printed within {within}: a look-up says {}", place.words());
        return Ok(match place {
            Place::Absent | Place::Removed => Finding::failed(format!("{said}; nobody stopped it")),
            _ => Finding::not_seen(said),
        });
    }
    facts.printed = Some(test.order.clone());
    let stop = p.stop(test).await;
    let after = p.find(test).await;
    let again = p.submit(&parcel).await;
    let at_last = p.find(test).await;
    let prints = p.prints(test).await;
    Ok(match stop {
        Answer::Removed { .. } => Finding::failed(
            "it says \"removed\" of an order that it has printed: the customer would get the money and the prints",
        ),
        Answer::NotFound => Finding::failed("it says \"not found\" of an order that it has printed"),
        Answer::Accepted { .. } | Answer::Unreachable { .. } | Answer::Unclear { .. } => {
            Finding::failed(format!("no answer to the stop: {}", told(&stop)))
        }
        _ if !printed(&after) => {
            Finding::failed(format!("after the stop a look-up says {}: it was printed", after.words()))
        }
        _ if !printed(&at_last) || prints.is_some_and(|prints| prints > 1) => Finding::failed(format!(
            "the same upload after the print ({}) was taken anew: a look-up says {}, prints: {}",
            told(&again),
            at_last.words(),
            prints.unwrap_or_default()
        )),
        Answer::Refused { .. } => Finding::warning("printed, but it takes no stops"),
        Answer::AnswerLater => {
            Finding::warning("it answers later, although it knows that the order is printed")
        }
        Answer::WillPrint { .. } if prints == Some(1) => {
            Finding::passed(Proved, "will_print; the same upload again printed nothing")
        }
        Answer::WillPrint { .. } => Finding::passed(
            Believed,
            "will_print; it does not tell \"prints\", so a second print would not be seen",
        ),
    })
}

/// Looks until something is so; false if it did not come in time.
pub(super) async fn watch(
    p: &Probe<'_>,
    test: &Test,
    within: Lasting,
    is_so: impl Fn(&Place) -> bool,
) -> bool {
    let until = later(p.now(), within.0);
    loop {
        if is_so(&p.peek(test).await) {
            let began = p.now();
            p.note(format!("look-ups of {}", test.reference), "at last as expected".to_owned(), began);
            return true;
        }
        if p.now() >= until {
            return false;
        }
        p.wait(BETWEEN).await;
    }
}

/// A parcel of one order that the lab took.
pub(super) async fn taken(p: &Probe<'_>) -> Result<Option<Parcel>, crate::domain::Fault> {
    let parcel = p.parcel(1)?;
    let taken = matches!(p.submit(&parcel).await, Answer::Accepted { .. });
    Ok(taken.then_some(parcel))
}

/// A measured time as people read it.
pub(super) fn rounded(took: SignedDuration) -> SignedDuration {
    let millis = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    SignedDuration::from_millis(if millis > 10_000 { millis / 1000 * 1000 } else { millis })
}
