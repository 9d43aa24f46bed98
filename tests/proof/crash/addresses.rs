//! Other addresses in the day: who asks for them, what labs make of it, and that the gateway says where parcels go.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stoppress::cli::simulate::addresses::AddressSaid;
use stoppress::cli::simulate::ledger::{Ledger, What};
use stoppress::clock::Clock as _;
use stoppress::domain::address::AddressState;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{AddressChangeId, OrderId};
use stoppress::domain::lab::Answer;
use stoppress::domain::order::{Address, OrderFacts, Stage, Submission};
use stoppress::lab::AddressCall;
use stoppress::store::{AddressAsked, AskAddress, EscalationRow, PersonDecision, Scope, Write, Written, one};

use super::clients;
use super::day::{Day, shop};
use super::paper::House;
use super::script::{SCRIPT, Step};

/// Where all parcels were to go first.
pub(crate) const HOME: &str = "Katu 1";

pub(crate) fn street(line1: &str) -> Address {
    Address {
        name: "Aino".to_owned(),
        line1: line1.to_owned(),
        city: "Helsinki".to_owned(),
        country: "FI".to_owned(),
        ..Address::default()
    }
}

/// The platform asks for another address of an order that a lab has.
pub(crate) async fn ask(day: &Day, order: &OrderId, to: &str) {
    let at = day.clock.now();
    let item = AskAddress {
        id: AddressChangeId::new(at, &*day.random),
        order: order.clone(),
        scope: Scope::Platform(shop()),
        ship_to: street(to),
        reason: "they moved".to_owned(),
        if_version: None,
        at,
        actor: Actor("platform:shop".to_owned()),
    };
    let Written::AddressAsked(asked) = one(&*day.store, Write::AskAddress(Box::new(item))).await.unwrap()
    else {
        panic!("not a change of an address")
    };
    assert!(matches!(*asked, AddressAsked::Asked(_)), "{to}: {asked:?}");
}

/// What a lab said of addresses of orders, in turn: order, change, street, answer.
fn said(ledger: &Ledger) -> Vec<(String, String, String, AddressSaid)> {
    let of = |what: &What| match what {
        What::AddressAnswered { order, change, to, answer } => {
            Some((order.clone(), change.clone(), to.clone(), *answer))
        }
        _ => None,
    };
    ledger.entries().iter().filter_map(|entry| of(&entry.what)).collect()
}

/// A lab is asked, and answers as the contract wants it; what it has said, it says again.
pub(super) fn take(ledger: &mut Ledger, now: Timestamp, call: &AddressCall, house: &House) -> Answer {
    let (order, change) = (call.order.to_string(), call.change.to_string());
    let before =
        said(ledger).into_iter().rev().find(|(_, known, ..)| *known == change).map(|(.., said)| said);
    let seen = ledger.look_up(now, &order).unwrap();
    let stage = seen.as_ref().and_then(|seen| seen.stage).unwrap_or_default();
    let answer = match (before, &seen) {
        (Some(said @ (AddressSaid::Taken | AddressSaid::TooLate)), _) => said,
        (_, None) => AddressSaid::NotFound,
        _ if now > call.answer_by => AddressSaid::Expired,
        _ if house.answers_later || house.id == "mute" => AddressSaid::AnswerLater,
        (_, Some(seen)) if seen.stage == Some(Stage::Received) => AddressSaid::Taken,
        _ => AddressSaid::TooLate,
    };
    let to = call.ship_to.line1.clone();
    ledger.line(now, What::AddressAnswered { order, change, to, answer }).unwrap();
    match answer {
        AddressSaid::Taken => Answer::Accepted { lab_reference: None },
        AddressSaid::TooLate => Answer::WillPrint { reason: None, stage },
        AddressSaid::AnswerLater => Answer::AnswerLater,
        AddressSaid::NotFound => Answer::NotFound,
        AddressSaid::Expired | AddressSaid::NotTaken => Answer::Refused { reason: "too late".to_owned() },
    }
}

/// Ops telephone with labs about addresses.
pub(crate) async fn find_out(day: &Day) {
    for row in clients::calls(day, "address").await {
        let said = day.paper.read(row.lab.as_str(), said);
        let taken =
            said.iter().any(|(_, change, _, said)| *change == row.subject && *said == AddressSaid::Taken);
        let decision = if taken { PersonDecision::Taken } else { PersonDecision::Refused };
        clients::resolve(day, &row, decision).await;
    }
}

/// What is wrong with addresses at the end of the day.
pub(super) async fn check(day: &Day, orders: &[OrderFacts], escalations: &[EscalationRow]) -> Vec<String> {
    let mut wrong = Vec::new();
    // Of each change, what the log told last.
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for sighting in day.store.stretch(&Scope::Ops, 0, 1_000_000).await.unwrap().events {
        let event = sighting.event;
        let (Some(word), Some(change)) =
            (event.kind.strip_prefix("address."), event.detail["change"].as_str())
        else {
            continue;
        };
        if matches!(word, "asked" | "with_a_person" | "taken" | "refused") {
            let was = told.insert(change.to_owned(), word.to_owned());
            if was.as_deref().is_some_and(|was| matches!(was, "taken" | "refused")) {
                wrong.push(format!("{change} was told {was:?}, and then {word}"));
            }
        }
    }
    for row in escalations.iter().filter(|row| row.kind == "address_contradiction") {
        wrong.push(format!("{}: {} about {}", row.kind, row.cause, row.subject));
    }
    let mut asked: BTreeSet<String> = BTreeSet::new();
    for facts in orders {
        let said: Vec<_> = day.paper.read(facts.lab.as_str(), said);
        let of: Vec<_> = said.into_iter().filter(|(order, ..)| order == facts.id.as_str()).collect();
        let mut taken = of.iter().filter(|(.., said)| *said == AddressSaid::Taken);
        let goes_to = taken.next_back().map_or(HOME, |(_, _, to, _)| to.as_str());
        let submission: Submission = serde_json::from_str(&facts.document).unwrap();
        let stored = submission.ship_to.unwrap().line1;
        if stored != goes_to {
            wrong.push(format!("{} goes to {goes_to}, and the gateway says {stored}", facts.reference));
        }
        // A step of the platform is one change, however often it is asked.
        let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (_, change, to, said) in &of {
            ids.entry(to).or_default().insert(change);
            let word = told.get(change).map(String::as_str);
            if *said == AddressSaid::Taken && word != Some("taken") {
                wrong.push(format!("{change} of {} was taken, and is told {word:?}", facts.reference));
            }
        }
        wrong.extend(
            ids.iter()
                .filter(|(_, ids)| ids.len() > 1)
                .map(|(to, ids)| format!("{} was asked for {to} under {ids:?}", facts.reference)),
        );
        if let Some(change) = &facts.extras.address_change {
            asked.insert(facts.reference.clone());
            let person = |row: &EscalationRow| row.subject == change.id.as_str() && row.resolved_at.is_none();
            let hangs = match change.state {
                AddressState::Asked => true,
                AddressState::WithAPerson => !escalations.iter().any(person),
                AddressState::Taken | AddressState::Refused => false,
            };
            if hangs || told.get(change.id.as_str()).map(String::as_str) != Some(change.state.word()) {
                wrong.push(format!("the change of {} hangs: {change:?}", facts.reference));
            }
            let took =
                of.iter().any(|(_, id, _, said)| id == change.id.as_str() && *said == AddressSaid::Taken);
            if change.state == AddressState::Taken && !took {
                wrong.push(format!("{} was told taken, and the lab has not", facts.reference));
            }
        }
    }
    for (_, step) in SCRIPT {
        if let Step::Readdress(reference, _) = step
            && !asked.contains(*reference)
        {
            wrong.push(format!("of {reference} no other address was asked for"));
        }
    }
    wrong
}
