//! The check of stops of single lines, for labs that say that they take them.

use super::probe::{Place, Probe, told};
use super::report::Basis::Believed;
use super::report::Finding;
use super::{Facts, Made, NO_ORDER};
use crate::domain::lab::Answer;

/// The line that is asked for; the other one is to go on.
const LINE: &str = "2";

pub(super) async fn stops_lines(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let parcel = p.two_lines()?;
    if !matches!(p.submit(&parcel).await, Answer::Accepted { .. }) {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let test = parcel.first();
    let stop = p.test().stop;
    let found = asked(p, facts, &stop, test).await;
    p.put_away(test).await;
    Ok(found)
}

async fn asked(
    p: &Probe<'_>,
    facts: &mut Facts,
    stop: &crate::domain::ids::StopId,
    test: &super::probe::Test,
) -> Finding {
    let first = p.stop_lines(stop, test, &[LINE]).await;
    match &first {
        Answer::Removed { items, .. } if *items == [LINE] => {}
        Answer::Removed { items, .. } if items.is_empty() => {
            return Finding::failed(
                "asked for line 2, it says \"removed\" and names no line: that is not believed, because it may be the \
                 whole order or nothing. The stop would be given to a person",
            );
        }
        Answer::Removed { items, .. } => {
            return Finding::failed(format!(
                "asked for line 2, it says that it took out {}: what was not asked for is missed by the customer",
                items.join(", ")
            ));
        }
        Answer::Refused { reason } => {
            return Finding::warning(format!(
                "it takes no stops of lines ({reason}): the profile says stops_lines = false, and only whole orders \
                 are stopped"
            ));
        }
        Answer::WillPrint { .. } => {
            return Finding::warning(
                "too late at once: it says will_print of a line that it had just taken: stops_lines = false",
            );
        }
        Answer::AnswerLater => {
            return Finding::not_seen("it answers later: whether it names the line is not seen from here");
        }
        Answer::NotFound => {
            return Finding::failed("it says \"not found\" of an order that it had just taken");
        }
        other => return Finding::failed(format!("no answer to the stop: {}", told(other))),
    }
    let again = p.stop_lines(stop, test, &[LINE]).await;
    if !matches!(&again, Answer::Removed { items, .. } if *items == [LINE]) {
        return Finding::failed(format!("the same stop again had another answer: {}", told(&again)));
    }
    if facts.lookup {
        match p.find(test).await {
            Place::Taken | Place::Made(_) => {}
            Place::Removed | Place::Absent => {
                return Finding::failed(
                    "after a stop of one line a look-up says that the whole order is gone: the rest would not be printed",
                );
            }
            Place::Unseen(said) => {
                return Finding::failed(format!("it cannot be asked about the rest ({said})"));
            }
        }
    }
    facts.stops_lines = true;
    Finding::passed(
        Believed,
        "it took out the line that it was asked for, named it, and said the same again; that the rest goes on and the \
         line is not printed is its word",
    )
}
