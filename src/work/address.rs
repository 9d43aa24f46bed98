//! Asks labs for other shipping addresses of orders that they have, and gives those without an answer to a person by
//! their deadline.
//!
//! The intent is durable before a call, under a lease: whoever dies in the middle, another gateway or the next start
//! asks again, under the same id. An answer counts whenever it comes. Such questions keep to the lab's lane and give
//! way to stops.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Bench, Step, insist, take_each};
use crate::domain::address::AddressFacts;
use crate::domain::batch::later;
use crate::domain::ids::{EscalationId, LabId};
use crate::domain::order::Address;
use crate::domain::retry;
use crate::lab::lane::{Kind, Permit};
use crate::lab::{AddressCall, Lab};
use crate::points::point;
use crate::store::{AddressDue, Result, SettleAddress, Write, Written};

/// The loop's name.
pub const NAME: &str = "address";
/// How long a change that was taken is ours: longer than a call can take.
const LEASE: SignedDuration = SignedDuration::from_secs(45);
/// The most of one lab that are taken at once: few, because what the lane allows in a time is used up by asking it.
const CLAIM_MAX: usize = 4;
/// When it is looked again for what could not be taken now.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The loop that asks labs for other addresses.
#[derive(Debug, Clone)]
pub struct Readdress(pub Bench);

impl Step for Readdress {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.0;
        let due = bench.store.addresses_due(now).await?;
        if due.labs.is_empty() {
            // Nearly always.
            return Ok(due.next_at.into_iter().chain(bench.linked_poll(now)).min());
        }
        bench.labs.refresh(&*bench.store, now).await?;
        let (mut claims, mut takers, mut away) = (Vec::new(), Vec::new(), 0);
        for id in &due.labs {
            let asking = bench.labs.asking(id, Kind::Beside, CLAIM_MAX, now);
            away += usize::from(asking.away);
            claims.push(Write::ClaimAddresses(Box::new(asking.claim(bench, id, LEASE, now))));
            takers.push((id, asking));
        }
        let written = take_each(bench, claims).await?;
        point!("work.address.claimed");
        for ((id, mut asking), written) in takers.into_iter().zip(written) {
            let Some(Written::AddressesClaimed(taken)) = written else { continue };
            for due in taken {
                self.start(id, asking.lab.as_ref(), due, &mut asking.permits);
            }
        }
        let next = bench.store.addresses_due(now).await?;
        // What is left is another gateway's, or more than the lane took; of labs that are away it waits for its gateway,
        // or for its deadline.
        let again = (next.labs.len() > away).then(|| later(now, AGAIN));
        let deadline = next.deadline_at.filter(|_| away > 0);
        Ok(next.next_at.into_iter().chain(again).chain(deadline).chain(bench.linked_poll(now)).min())
    }
}

impl Readdress {
    fn start(&self, id: &LabId, lab: Option<&Arc<dyn Lab>>, due: AddressDue, permits: &mut Vec<Permit>) {
        match due {
            AddressDue::Ask(facts, ship_to) => {
                let (Some(lab), Some(permit)) = (lab, permits.pop()) else {
                    tracing::error!(change = %facts.id, "a change of an address that was taken could not be asked");
                    return;
                };
                let (id, lab, bench) = (id.clone(), Arc::clone(lab), self.0.clone());
                let guard = bench.bells.call();
                tokio::spawn(async move {
                    ask(&bench, (id, &*lab), &facts, *ship_to, permit).await;
                    bench.bells.nudge(NAME);
                    drop(guard);
                });
            }
            AddressDue::Decided(facts) => {
                tracing::info!(change = %facts.id, order = %facts.order, state = facts.state.word(), "a change of an address was decided");
                metrics::counter!("stoppress_address_changes_total", "outcome" => facts.state.word())
                    .increment(1);
            }
            AddressDue::Waits(_) => {}
        }
    }
}

async fn ask(
    bench: &Bench,
    (lab_id, lab): (LabId, &dyn Lab),
    facts: &AddressFacts,
    ship_to: Address,
    permit: Permit,
) {
    let call = AddressCall {
        change: facts.id.clone(),
        order: facts.order.clone(),
        ship_to,
        reason: facts.reason.clone(),
        asked_at: facts.asked_at,
        answer_by: facts.deadline_at,
    };
    point!("work.address.before");
    let reply = lab.change_address(&call).await;
    point!("work.address.after");
    let now = bench.clock.now();
    // That a lab does not answer this says nothing of its hand-overs.
    permit.asked(now, &reply);
    tracing::info!(change = %facts.id, order = %facts.order, attempt = facts.attempts, answer = reply.answer.word(), "lab answered a change of an address");
    metrics::counter!("stoppress_address_answers_total", "answer" => reply.answer.word()).increment(1);
    let write = Write::SettleAddress(Box::new(SettleAddress {
        change: facts.id.clone(),
        // A lab's endpoint speaks for that lab's orders only.
        lab: lab_id,
        attempt: facts.attempts,
        answer: reply.answer,
        at: now,
        next_at: later(now, retry::delay(facts.attempts, reply.retry_after, &*bench.random)),
        escalation: EscalationId::new(now, &*bench.random),
    }));
    match insist(bench, vec![write]).await {
        Ok(written) => {
            if let Some(Written::AddressSettled(Some(facts))) = written.first()
                && !facts.state.is_open()
            {
                metrics::counter!("stoppress_address_changes_total", "outcome" => facts.state.word())
                    .increment(1);
            }
        }
        Err(error) => {
            tracing::error!(change = %facts.id, %error, "what a lab answered could not be written; it is asked again");
        }
    }
}
