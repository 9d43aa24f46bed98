//! Checks of a lab that dials out: beats, cuts, good-byes.

use super::line::Line;
use super::probe::{Probe, told};
use super::report::Basis::Proved;
use super::report::{Finding, Status};
use super::stops::rounded;
use super::uploads::printed_once;
use super::{Facts, Made, NO_ORDER};
use crate::domain::lab::Answer;
use jiff::SignedDuration;

/// For so many beats a connection on which nothing is asked is watched: more than may be missed.
const BEATS: i32 = 6;
/// How long after an upload went out the connection is cut, in turn: before, while and after it is answered.
const CUTS_MS: [i64; 3] = [0, 3, 20];

const NO_LINK: &str = "the lab is called; it does not dial";

pub(super) async fn beats(p: &Probe<'_>) -> Made {
    let Some(line) = &p.line else { return Ok(Finding::not_seen(NO_LINK)) };
    line.ready(&*p.clock, p.target.wait).await;
    let (before, began) = (line.connects(), p.now());
    p.wait(p.target.beat.0 * BEATS).await;
    let kept = line.connects() == before && line.ready(&*p.clock, p.target.beat).await;
    let came_back = if kept { "the connection stands" } else { "it was cut: nothing was heard" };
    p.note(format!("nothing, for {BEATS} beats of {}", p.target.beat), came_back.to_owned(), began);
    Ok(if kept {
        Finding::passed(Proved, format!("its connection stood for {BEATS} beats on which nothing was asked"))
    } else {
        Finding::failed(format!(
            "nothing was heard of it for more than three beats of {}, so that its connection was cut: what is out \
             on it then is unknown",
            p.target.beat
        ))
    })
}

/// Waits until the lab is there again; says how long that took, or what is wrong.
async fn comes_back(p: &Probe<'_>, line: &Line, before: usize) -> Result<SignedDuration, Finding> {
    let began = p.now();
    let there = line.back(before, &*p.clock, p.target.wait).await;
    let took = rounded(p.now().duration_since(began));
    let came_back = if there { "it is there again" } else { "it does not come" };
    p.note("nothing: it is waited for".to_owned(), came_back.to_owned(), began);
    let away = || {
        Finding::failed(format!(
            "it did not connect again within {} (--wait): no order reaches it until somebody starts it anew",
            p.target.wait
        ))
    };
    there.then_some(took).ok_or_else(away)
}

pub(super) async fn cut(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some(line) = &p.line else { return Ok(Finding::not_seen(NO_LINK)) };
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let mut longest = SignedDuration::ZERO;
    let mut last = Finding::not_seen(NO_ORDER);
    for after in CUTS_MS {
        let parcel = p.parcel(1)?;
        line.ready(&*p.clock, p.target.wait).await;
        let before = line.connects();
        let (first, ()) = tokio::join!(p.submit_to_be_cut(&parcel), async {
            p.wait(SignedDuration::from_millis(after)).await;
            line.cut();
        });
        longest = match comes_back(p, line, before).await {
            Ok(took) => longest.max(took),
            Err(finding) => return Ok(finding),
        };
        let again = p.submit(&parcel).await;
        if !matches!(again, Answer::Accepted { .. }) {
            p.put_away(parcel.first()).await;
            return Ok(Finding::failed(format!(
                "an upload whose connection was cut ({}) came again on the next one, and was not taken: {}",
                told(&first),
                told(&again)
            )));
        }
        last = printed_once(p, facts, &parcel, &[first, again]).await;
        if last.status != Status::Passed {
            return Ok(last);
        }
    }
    last.text = format!("{}, on whichever connection it comes; back within {longest:#}", last.text);
    Ok(last)
}

pub(super) async fn goodbye(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let Some(line) = &p.line else { return Ok(Finding::not_seen(NO_LINK)) };
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let parcel = p.parcel(1)?;
    line.ready(&*p.clock, p.target.wait).await;
    let before = line.connects();
    let (answer, ()) = tokio::join!(p.submit(&parcel), async { line.say_goodbye() });
    let back = comes_back(p, line, before).await;
    p.put_away(parcel.first()).await;
    Ok(match (answer, back) {
        (Answer::Accepted { .. }, Ok(took)) => {
            Finding::passed(Proved, format!("it answered what was out, and was there again within {took:#}"))
        }
        (Answer::Accepted { .. }, Err(finding)) => finding,
        (other, _) => Finding::failed(format!(
            "a call that was out when the gateway said good-bye had no answer: {}. Whenever a gateway is updated, \
             somebody would have to find out",
            told(&other)
        )),
    })
}
