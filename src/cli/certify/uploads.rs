//! Checks of uploads and their keys.

use futures_util::future::join_all;

use super::probe::{Parcel, Place, Probe, told};
use super::report::Basis::{Believed, Proved};
use super::report::Finding;
use super::stops::{rounded, taken, watch};
use super::{Facts, Made, NO_ORDER};
use crate::domain::batch::later;
use crate::domain::lab::Answer;

pub(super) async fn takes_an_order(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let parcel = p.parcel(1)?;
    let answer = p.submit(&parcel).await;
    let place = p.find(parcel.first()).await;
    p.put_away(parcel.first()).await;
    let there = matches!(place, Place::Taken | Place::Made(_));
    Ok(match answer {
        Answer::Accepted { .. } => {
            facts.takes = true;
            match place {
                Place::Taken | Place::Made(_) => Finding::passed(Proved, "accepted, and seen by look-up"),
                _ => Finding::passed(Believed, "accepted; not seen by look-up"),
            }
        }
        Answer::Refused { reason } if there => Finding::failed(format!(
            "it refused ({reason}), and has the order all the same: {}",
            place.words()
        )),
        Answer::Refused { reason } => Finding::failed(format!(
            "it refused a good test order: {reason}. If it does not know the region, the product or the country, \
             name ones that it knows with --region, --sku, --country"
        )),
        other if there => Finding::failed(format!(
            "the answer was lost after the order was taken ({}); a look-up finds it",
            told(&other)
        )),
        other => Finding::failed(format!("no answer: {}", told(&other))),
    })
}

/// What several answers to one upload, and a look-up, say about how often it is printed.
pub(super) async fn printed_once(
    p: &Probe<'_>,
    facts: &Facts,
    parcel: &Parcel,
    answers: &[Answer],
) -> Finding {
    let mut references: Vec<&str> = answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Accepted { lab_reference } => lab_reference.as_deref(),
            _ => None,
        })
        .collect();
    let named = references.len();
    references.sort_unstable();
    references.dedup();
    let prints = if facts.lookup { p.prints(parcel.first()).await } else { None };
    let stopped = p.stop(parcel.first()).await;
    let place = if facts.lookup { Some(p.find(parcel.first()).await) } else { None };
    let gone = matches!(stopped, Answer::Removed { .. });
    match (prints, place) {
        (Some(prints @ 2..), _) => Finding::failed(format!(
            "the upload was sent {} times under one key, and a look-up says that it is printed {prints} times",
            answers.len()
        )),
        (Some(0), _) => Finding::failed("it was accepted, and a look-up says that it is printed 0 times"),
        _ if references.len() > 1 => Finding::failed(format!(
            "one key, several references ({}): each was taken as an order of its own, and will be printed",
            references.join(", ")
        )),
        (_, Some(place)) if facts.stops && gone && place != Place::Removed => Finding::failed(format!(
            "after one stop a look-up says {}: a copy of the order was left",
            place.words()
        )),
        (Some(_), _) => Finding::passed(Proved, "prints: 1, by its own ledger"),
        (None, _) if named > 1 => Finding::warning(
            "the same reference each time: believed, not proved, because it does not tell \"prints\" in look-ups. \
             The profile says dedupes = \"no\"",
        ),
        (None, _) => Finding::warning(
            "accepted each time; it tells neither \"prints\" nor a reference, so that nothing is known. The profile \
             says dedupes = \"no\"",
        ),
    }
}

pub(super) async fn same_key(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let parcel = p.parcel(1)?;
    let mut answers = Vec::new();
    for nth in 0..3 {
        let answer = p.submit(&parcel).await;
        if !matches!(answer, Answer::Accepted { .. }) {
            p.put_away(parcel.first()).await;
            return Ok(if nth == 0 {
                Finding::failed(format!("a good test order was not taken: {}", told(&answer)))
            } else {
                Finding::failed(format!(
                    "the same upload again was not answered as before, but: {}. A refusal would be believed: that \
                     it has none of the orders",
                    told(&answer)
                ))
            });
        }
        answers.push(answer);
    }
    facts.old = Some((parcel.clone(), p.now()));
    Ok(printed_once(p, facts, &parcel, &answers).await)
}

pub(super) async fn same_key_at_once(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let parcel = p.parcel(1)?;
    let answers = join_all((0..p.target.at_once).map(|_| p.submit(&parcel))).await;
    let (accepted, others): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| matches!(answer, Answer::Accepted { .. }));
    let finding = printed_once(p, facts, &parcel, &accepted).await;
    // One that is told to come back (409, 429) is no worse off: the gateway sends it again.
    let waiting = |answer: &&Answer| {
        let cause = told(answer);
        cause.starts_with("unclear: HTTP 409")
            || cause.starts_with("unclear: HTTP 429")
            || cause.starts_with("unclear: gRPC Aborted")
    };
    Ok(match others.iter().find(|answer| !waiting(answer)) {
        Some(refused @ Answer::Refused { .. }) => Finding::failed(format!(
            "{} of {} were refused ({}), although the lab has the order: that would be believed",
            others.len(),
            p.target.at_once,
            told(refused)
        )),
        Some(other) => Finding::failed(format!("{} had no answer: {}", others.len(), told(other))),
        None if accepted.is_empty() => Finding::failed("none of them was accepted"),
        None => finding,
    })
}

pub(super) async fn other_bytes(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some(first) = taken(p).await? else { return Ok(Finding::not_seen(NO_ORDER)) };
    let second = p.parcel_under(&first.upload.key, 1)?;
    let answer = p.submit(&second).await;
    let place = if facts.lookup { Some(p.find(second.first()).await) } else { None };
    let there = matches!(place, Some(Place::Taken | Place::Made(_)));
    if there || !matches!(answer, Answer::Refused { .. }) {
        p.put_away(second.first()).await;
    }
    p.put_away(first.first()).await;
    Ok(match answer {
        Answer::Accepted { .. } if there => Finding::failed("it took other orders under a key that it knows"),
        Answer::Accepted { .. } => Finding::failed(
            "it said yes to other orders under a key that it knows, and does not show them: they would be lost",
        ),
        Answer::Refused { .. } if there => {
            Finding::failed("it refused other bytes, and took them all the same")
        }
        Answer::Refused { .. } => Finding::passed(Proved, "refused, and nothing taken"),
        other if there => Finding::failed(format!("{}, and the orders were taken", told(&other))),
        other => Finding::warning(format!(
            "not taken, but the refusal is not definite: {}. The gateway would not know, and ask on",
            told(&other)
        )),
    })
}

pub(super) async fn upload_after_stop(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    if !facts.stops {
        return Ok(Finding::not_seen("no stop was seen to work: nothing can come back"));
    }
    let Some(parcel) = taken(p).await? else { return Ok(Finding::not_seen(NO_ORDER)) };
    let test = parcel.first();
    let stopped = p.stop(test).await;
    if facts.answered_later.is_some() || p.find(test).await != Place::Removed {
        p.put_away(test).await;
        return Ok(Finding::not_seen(format!("the order was not out when it was tried: {}", told(&stopped))));
    }
    let again = p.submit(&parcel).await;
    let place = p.find(test).await;
    let prints = p.prints(test).await;
    let back = matches!(place, Place::Taken | Place::Made(_)) || prints.is_some_and(|prints| prints > 0);
    if back {
        p.put_away(test).await;
        return Ok(Finding::failed(format!(
            "the same upload ({}) brought a stopped order back: a look-up says {}. It would be printed although \
             everybody was told that it is stopped",
            told(&again),
            place.words()
        )));
    }
    Ok(match (again, place) {
        (Answer::Accepted { .. } | Answer::Refused { .. }, Place::Removed) => {
            Finding::passed(Proved, "it stays removed, seen by look-up")
        }
        (again, place) => Finding::failed(format!("{}; a look-up says {}", told(&again), place.words())),
    })
}

pub(super) async fn at_once(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let count = p.target.at_once;
    let parcels = (0..count).map(|_| p.parcel(1)).collect::<Result<Vec<_>, _>>()?;
    let answers = join_all(parcels.iter().map(|parcel| p.submit(parcel))).await;
    let places = join_all(parcels.iter().map(|parcel| p.find(parcel.first()))).await;
    join_all(parcels.iter().map(|parcel| p.stop(parcel.first()))).await;
    let taken = answers.iter().filter(|answer| matches!(answer, Answer::Accepted { .. })).count();
    let seen = places.iter().filter(|place| matches!(place, Place::Taken | Place::Made(_))).count();
    let odd = answers.iter().find(|answer| !matches!(answer, Answer::Accepted { .. }));
    Ok(match odd {
        Some(odd) => Finding::failed(format!("{taken} of {count} were accepted; another: {}", told(odd))),
        None if facts.lookup && seen < count => {
            Finding::failed(format!("{count} were accepted, and look-ups find {seen} of them"))
        }
        None => {
            facts.at_once = count;
            Finding::passed(
                if facts.lookup { Proved } else { Believed },
                format!("{count} at once, all taken"),
            )
        }
    })
}

pub(super) async fn batch(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let asked = p.target.orders_per_call;
    let mut size = asked;
    let mut refusal = String::new();
    while size > 1 {
        let parcel = p.parcel(size)?;
        match p.submit(&parcel).await {
            Answer::Accepted { .. } => return Ok(whole(p, facts, &parcel, &refusal).await),
            Answer::Refused { reason } => {
                if facts.lookup && p.find(parcel.first()).await != Place::Absent {
                    p.sweep(&parcel.tests, |test| async move { p.put_away(&test).await }).await;
                    return Ok(Finding::failed(format!("{size} orders were refused, and some were taken")));
                }
                refusal = format!("; it refused {size} ({reason})");
                size /= 2;
            }
            other => {
                p.sweep(&parcel.tests, |test| async move { p.put_away(&test).await }).await;
                return Ok(Finding::failed(format!(
                    "{size} orders in one upload had no answer: {}",
                    told(&other)
                )));
            }
        }
    }
    Ok(if asked == 1 {
        Finding::not_seen("not asked for: --orders-per-call is 1")
    } else {
        Finding::warning(format!("it takes one order at a time{refusal}"))
    })
}

/// Whether all orders of an accepted parcel are there.
async fn whole(p: &Probe<'_>, facts: &mut Facts, parcel: &Parcel, refusal: &str) -> Finding {
    let size = parcel.tests.len();
    let began = p.now();
    let places = p.sweep(&parcel.tests, |test| async move { p.peek(&test).await }).await;
    let there = places.iter().filter(|place| matches!(place, Place::Taken | Place::Made(_))).count();
    p.note(format!("look-ups of all {size} orders"), format!("{there} are there"), began);
    let stops = p.sweep(&parcel.tests, |test| async move { p.stop(&test).await }).await;
    let out = stops.iter().filter(|answer| matches!(answer, Answer::Removed { .. })).count();
    if !facts.lookup {
        return Finding::warning(format!("{size} were accepted; believed, not proved: orders_per_call = 1"));
    }
    if there < size {
        return Finding::failed(format!(
            "it said yes to {size} orders, and look-ups find {there} of them: the others would never be printed"
        ));
    }
    facts.batch = size;
    Finding::passed(Proved, format!("{size} orders taken, all seen, {out} taken out{refusal}"))
}

pub(super) async fn keys_kept(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some((parcel, since)) = facts.old.clone() else { return Ok(Finding::not_seen(NO_ORDER)) };
    if !facts.lookup {
        return Ok(Finding::not_seen("it cannot be asked about orders: what a repeat does cannot be seen"));
    }
    let test = parcel.first();
    p.clock.sleep_until(later(since, p.target.again_after.0)).await;
    if facts.answered_later.is_some() {
        // Its stop is under way; what it does must not be taken for what the repeat does.
        watch(p, test, p.target.wait, |place| *place == Place::Removed).await;
    }
    let before = (p.find(test).await, p.prints(test).await);
    let again = p.submit(&parcel).await;
    let age = rounded(p.now().duration_since(since));
    let after = (p.find(test).await, p.prints(test).await);
    // An order that was left in may be printed meanwhile; one that was out must not come back.
    let out = |place: &Place| matches!(place, Place::Removed | Place::Absent);
    if before.1 != after.1 || out(&before.0) != out(&after.0) {
        p.put_away(test).await;
        return Ok(Finding::failed(format!(
            "the upload of {age:#} ago under the same key was taken anew: before a look-up said {}, now {}",
            before.0.words(),
            after.0.words()
        )));
    }
    if let Answer::Unclear { .. } | Answer::Unreachable { .. } = again {
        return Ok(Finding::failed(format!("no answer: {}", told(&again))));
    }
    facts.kept_for = Some(age.unsigned_abs());
    Ok(Finding::passed(Proved, format!("known after {age:#}; for longer is the lab's word")))
}
