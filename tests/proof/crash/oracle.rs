//! What must be so at the end of a day, whatever happened in it: read from the labs' ledgers, from what clients were
//! told, and from what the gateway says now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::order::OrderFacts;
use stoppress::domain::stop::StopState;
use stoppress::domain::webhook::{KINDS, MessageId};
use stoppress::store::{EscalationFilter, EscalationRow, Scope, WebhookFilter};

use super::addresses;
use super::clients;
use super::day::Day;
use super::paper::{Call, Got, notes};
use super::script::{SCRIPT, Step};

/// What is wrong; nothing if all is as it must be.
pub(crate) async fn check(day: &Day) -> Vec<String> {
    let mut wrong = Vec::new();
    let orders = clients::all(day).await;
    let filter = EscalationFilter { open: None, limit: 1000, ..EscalationFilter::default() };
    let escalations = day.store.escalations(&Scope::Ops, &filter).await.unwrap();
    for facts in &orders {
        wrong.extend(printed(day, facts).into_iter().chain(settled(facts, &escalations)));
    }
    wrong.extend(told(day, &orders));
    wrong.extend(intake(&orders));
    for row in
        escalations.iter().filter(|row| matches!(row.kind.as_str(), "shipped_anyway" | "contradiction"))
    {
        wrong.push(format!("{}: {} about {}", row.kind, row.cause, row.subject));
    }
    wrong.extend(addresses::check(day, &orders, &escalations).await);
    wrong.extend(keys(day));
    let verified = day.store.verify_events().await.unwrap();
    wrong.extend(verified.breaks.into_iter().map(|found| format!("the chain: {found}")));
    let gauges = day.store.gauges(stoppress::clock::Clock::now(&day.clock)).await.unwrap();
    if gauges.stops_overdue > 0 {
        wrong.push(format!("{} stops are overdue", gauges.stops_overdue));
    }
    wrong.extend(messages(day).await);
    wrong.extend(mails(day));
    wrong
}

fn name(facts: &OrderFacts) -> String {
    let stop = facts.stop.as_ref().map(|stop| (stop.state.word(), stop.evidence));
    let transfer = facts.transfer.as_ref().map(|transfer| transfer.phase.word());
    format!("{} at {} (transfer {transfer:?}, stop {stop:?})", facts.reference, facts.lab)
}

/// Nothing is printed twice, nothing that is told stopped at all, and nothing is lost.
fn printed(day: &Day, facts: &OrderFacts) -> Option<String> {
    let prints = day.paper.prints(facts.id.as_str());
    let state = facts.stop.as_ref().map(|stop| stop.state);
    let wanted = match state {
        Some(StopState::Stopped) => 0,
        Some(StopState::WithAPerson | StopState::Pending) => prints.min(1),
        _ => 1,
    };
    (prints != wanted).then(|| format!("{} was printed {prints} times, not {wanted}", name(facts)))
}

/// Nothing hangs: what is not decided is a task of a named person.
fn settled(facts: &OrderFacts, escalations: &[EscalationRow]) -> Vec<String> {
    let mut wrong = Vec::new();
    let person =
        |subject: &str| escalations.iter().any(|row| row.subject == subject && row.resolved_at.is_none());
    match &facts.transfer {
        None if facts.stop.as_ref().is_none_or(|stop| stop.state != StopState::Stopped) => {
            wrong.push(format!("{} was never handed over", name(facts)));
        }
        Some(transfer) => match transfer.phase {
            TransferPhase::AtLab | TransferPhase::Empty => {}
            TransferPhase::WithAPerson if person(transfer.id.as_str()) => {}
            _ => wrong.push(format!("the transfer of {} hangs", name(facts))),
        },
        None => {}
    }
    if let Some(stop) = &facts.stop {
        let hangs = match stop.state {
            StopState::Pending => true,
            StopState::WithAPerson => !person(stop.id.as_str()),
            _ => false,
        };
        if hangs {
            wrong.push(format!("the stop of {} hangs", name(facts)));
        }
    }
    wrong
}

/// What was told is true, and stays so.
fn told(day: &Day, orders: &[OrderFacts]) -> Vec<String> {
    let by_reference: HashMap<&str, &OrderFacts> =
        orders.iter().map(|facts| (facts.reference.as_str(), facts)).collect();
    let mut wrong = Vec::new();
    let notes = day.told.lock().unwrap();
    for told in notes.iter() {
        if told.reference.is_empty() {
            continue;
        }
        let Some(facts) = by_reference.get(told.reference.as_str()) else {
            wrong.push(format!("{} was acknowledged and is not there", told.reference));
            continue;
        };
        if told.order.as_ref().is_some_and(|order| *order != facts.id.as_str()) {
            wrong.push(format!("{} was acknowledged under another id", told.reference));
        }
        let Some(word) = &told.stop else { continue };
        let now = facts.stop.as_ref().map(|stop| stop.state.word());
        let stays = matches!(word.as_str(), "stopped" | "too_late");
        if now.is_none() || (stays && now != Some(word)) {
            wrong.push(format!("{} was told {word}", name(facts)));
        }
        if told.promised.is_some_and(|until| told.asked_at < until) && word != "stopped" {
            wrong.push(format!("{} was asked before the cutoff and told {word}", name(facts)));
        }
    }
    wrong
}

/// A reference has one order, and those of the script are all there.
fn intake(orders: &[OrderFacts]) -> Vec<String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for facts in orders {
        // The reference as the platform knows it.
        *count.entry(facts.reference.split('~').next().unwrap()).or_default() += 1;
    }
    let wanted = SCRIPT.iter().filter_map(|(_, step)| match step {
        Step::Admit(reference, ..) | Step::Replace(_, reference) => Some(*reference),
        _ => None,
    });
    wanted
        .filter_map(|reference| {
            let found = count.get(reference).copied().unwrap_or_default();
            (found != 1).then(|| format!("{reference} has {found} orders"))
        })
        .collect()
}

/// What went out under a key never changes.
fn keys(day: &Day) -> Vec<String> {
    let mut seen: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for call in notes::<Call>(&day.folder, "calls").into_iter().filter(|call| call.verb == "submit") {
        seen.entry((call.lab, call.key)).or_default().insert(call.sha256);
    }
    let two = seen.into_iter().filter(|(_, bytes)| bytes.len() > 1);
    two.map(|((lab, key), _)| format!("{lab} got other bytes under {key}")).collect()
}

/// The endpoint got every message at least once, those about one order in the log's order.
async fn messages(day: &Day) -> Vec<String> {
    let mut wrong = Vec::new();
    let got: Vec<MessageId> = notes::<Got>(&day.folder, "posts")
        .into_iter()
        .filter(|got| got.taken)
        .map(|got| MessageId::parse(&got.id).unwrap())
        .collect();
    let mut first: HashMap<String, Vec<i64>> = HashMap::new();
    let mut known = BTreeSet::new();
    for id in &got {
        if known.insert(id.to_string()) {
            first
                .entry(id.order.as_ref().map(ToString::to_string).unwrap_or_default())
                .or_default()
                .push(id.seq);
        }
    }
    for (order, numbers) in first {
        if !numbers.is_sorted() {
            wrong.push(format!("the endpoint was told about {order} in this order: {numbers:?}"));
        }
    }
    let filter = WebhookFilter { platform: None, after: None, limit: 10 };
    let row = day.store.webhooks(&filter).await.unwrap().remove(0);
    let seen = day.store.stretch(&Scope::Ops, 0, 1_000_000).await.unwrap();
    for sighting in seen.events.iter().filter(|sighting| KINDS.contains(&sighting.event.kind.as_str())) {
        for one in &sighting.orders {
            let id = MessageId { seq: sighting.event.seq, order: Some(one.order.clone()) }.to_string();
            // Of what a transfer went through before the order was in it, nothing is owed.
            if sighting.event.seq <= row.cursor
                && !known.contains(&id)
                && sighting.event.kind != "transfer.empty"
            {
                wrong.push(format!("the endpoint was never told {} ({id})", sighting.event.kind));
            }
        }
    }
    if row.cursor < day.store.log_end().await.unwrap() - 1 || row.due_at.is_some() {
        wrong.push(format!("the endpoint is behind: {} of {}, next {:?}", row.cursor, seen.seen, row.due_at));
    }
    wrong
}

/// A mail goes once, and once more only where nobody knows what came of it.
fn mails(day: &Day) -> Vec<String> {
    let starts = notes::<u64>(&day.folder, "starts").len();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for call in notes::<Call>(&day.folder, "calls").into_iter().filter(|call| call.verb == "mail") {
        *count.entry(call.key).or_default() += 1;
    }
    // One unclear answer is in the script, and each restart may leave another one.
    let most = 1 + starts.min(2);
    count
        .into_iter()
        .filter(|(_, sent)| *sent > most)
        .map(|(id, sent)| format!("{id} was sent {sent} times"))
        .collect()
}
