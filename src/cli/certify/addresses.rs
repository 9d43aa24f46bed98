//! The check of changes of addresses, for labs that say that they take them.

use jiff::SignedDuration;

use super::probe::{Kind, Probe, Test, told};
use super::report::Basis::Believed;
use super::report::Finding;
use super::{Facts, Made, NO_ORDER};
use crate::domain::batch::later;
use crate::domain::ids::AddressChangeId;
use crate::domain::lab::Answer;
use crate::domain::order::Address;
use crate::lab::AddressCall;

/// Asks for another address of a test order. `late`: after the instant until which it may be taken.
async fn ask(p: &Probe<'_>, change: &AddressChangeId, test: &Test, late: bool) -> Answer {
    let now = p.clock.now();
    let (asked_at, answer_by) = if late {
        (later(now, SignedDuration::from_hours(-1)), later(now, SignedDuration::from_mins(-5)))
    } else {
        (now, later(now, SignedDuration::from_mins(30)))
    };
    let ship_to = Address {
        name: "CERTIFY (test, do not print)".to_owned(),
        line1: "Another street 2".to_owned(),
        line2: None,
        postal_code: Some("00100".to_owned()),
        city: "Helsinki".to_owned(),
        state: None,
        country: p.target.country.clone(),
        email: None,
        phone: None,
    };
    let call = AddressCall {
        change: change.clone(),
        order: test.order.clone(),
        ship_to,
        reason: "test of stoppress lab certify".to_owned(),
        asked_at,
        answer_by,
    };
    let how = if late { ", after its answer_by" } else { "" };
    let sent = format!("change of address {change} of {} ({}){how}", test.reference, test.order);
    p.timed(Kind::Other, sent, p.doors.right.change_address(&call)).await
}

fn fresh(p: &Probe<'_>) -> AddressChangeId {
    AddressChangeId::new(p.clock.now(), &*p.random)
}

pub(super) async fn changes_address(p: &Probe<'_>, facts: &mut Facts) -> Made {
    // One that the lab never had.
    let stranger = p.test();
    if let Answer::Accepted { .. } = ask(p, &fresh(p), &stranger, false).await {
        return Ok(Finding::failed(
            "it says that it took another address for an order that it never had: its word about an address is worth \
             nothing",
        ));
    }
    let parcel = p.parcel(1)?;
    if !matches!(p.submit(&parcel).await, Answer::Accepted { .. }) {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let test = parcel.first();
    let found = asked(p, facts, test).await;
    p.put_away(test).await;
    Ok(found)
}

async fn asked(p: &Probe<'_>, facts: &mut Facts, test: &Test) -> Finding {
    if let Answer::Accepted { .. } = ask(p, &fresh(p), test, true).await {
        return Finding::failed(
            "it took a change after its answer_by: by then a person may have told the platform that nothing changes",
        );
    }
    let change = fresh(p);
    match ask(p, &change, test, false).await {
        Answer::Accepted { .. } => {}
        Answer::Refused { reason } => {
            return Finding::warning(format!(
                "it takes no changes of addresses ({reason}): the profile says nothing of them, and none is asked for"
            ));
        }
        Answer::WillPrint { .. } => {
            return Finding::warning(
                "too late at once: it takes no other address for an order that it had just taken",
            );
        }
        Answer::AnswerLater => {
            return Finding::not_seen("it answers later: whether it takes the address is not seen from here");
        }
        Answer::NotFound => {
            return Finding::failed("it says \"not found\" of an order that it had just taken");
        }
        other => return Finding::failed(format!("no answer to the change: {}", told(&other))),
    }
    let again = ask(p, &change, test, false).await;
    if !matches!(again, Answer::Accepted { .. }) {
        return Finding::failed(format!("the same change again had another answer: {}", told(&again)));
    }
    facts.addresses = true;
    Finding::passed(
        Believed,
        "it took another address for an order that it had just taken, and said the same again; that the parcel goes \
         there is its word",
    )
}
