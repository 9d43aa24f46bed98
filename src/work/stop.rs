//! Forwards stops to labs, and gives those without an answer to a person by their deadline.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Bench, Step, insist, remind, take_each, transfer};
use crate::domain::batch::later;
use crate::domain::event::Actor;
use crate::domain::ids::{EscalationId, LabId, TransferId};
use crate::domain::retry;
use crate::domain::stop::StopFacts;
use crate::lab::lane::{Kind, Permit};
use crate::lab::{Lab, StopCall};
use crate::points::point;
use crate::store::{Result, Scope, SettleStop, StopDue, Write, Written};

/// The loop's name.
pub const NAME: &str = "stop";
/// How long a stop that was taken is ours: longer than a call can take.
const LEASE: SignedDuration = SignedDuration::from_secs(45);
/// The most stops of one lab that are taken at once.
const CLAIM_MAX: usize = 64;

/// The loop that forwards stops.
#[derive(Debug, Clone)]
pub struct Forward(pub Bench);

impl Step for Forward {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.0;
        bench.labs.refresh(&*bench.store, now).await?;
        let mut wake = None;
        let due = bench.store.due(now).await?;
        let mut claims = Vec::new();
        let mut takers = Vec::new();
        let mut away = 0;
        for id in &due.stop_labs {
            let asking = bench.labs.asking(id, Kind::Stop, CLAIM_MAX, now);
            away += usize::from(asking.away);
            wake = wake.into_iter().chain(asking.not_before).min();
            if !asking.away && asking.profile.by_person() {
                bench.bells.nudge(remind::NAME);
            }
            claims.push(Write::ClaimStops(Box::new(asking.claim(bench, id, LEASE, now))));
            takers.push((id, asking));
        }
        if !claims.is_empty() {
            let written = take_each(bench, claims).await?;
            point!("work.stop.claimed");
            for ((id, mut asking), written) in takers.into_iter().zip(written) {
                let Some(Written::StopsClaimed(stops)) = written else { continue };
                for due in stops {
                    self.start(id, asking.lab.as_ref(), due, &mut asking.permits);
                }
            }
        }
        let next = bench.store.due(now).await?;
        // What is left of labs that are away waits for their gateway, or for its deadline.
        let more = (next.stop_labs.len() > away).then(|| later(now, SignedDuration::from_millis(20)));
        bench.bells.set_stops_wait(next.stop_at.is_some() || more.is_some());
        let deadline = if away > 0 { bench.store.deadlines(now).await?[1] } else { None };
        let wake = wake.filter(|at| *at > now).into_iter().chain(deadline).chain(bench.linked_poll(now));
        Ok(next.stop_at.into_iter().chain(more).chain(wake).min())
    }
}

impl Forward {
    fn start(&self, id: &LabId, lab: Option<&Arc<dyn Lab>>, due: StopDue, permits: &mut Vec<Permit>) {
        match due {
            StopDue::Ask { stop, transfer, fence } => {
                let (Some(lab), Some(permit)) = (lab, permits.pop()) else {
                    tracing::error!(stop = %stop.id, "a stop that was taken could not be asked");
                    return;
                };
                let (id, lab, bench) = (id.clone(), Arc::clone(lab), self.0.clone());
                let guard = bench.bells.call();
                tokio::spawn(async move {
                    ask(&bench, (id, &*lab), stop, transfer, fence, permit).await;
                    bench.bells.nudge(NAME);
                    drop(guard);
                });
            }
            StopDue::Decided(stop) => {
                tracing::info!(stop = %stop.id, order = %stop.order, state = stop.state.word(), "stop decided");
                metrics::counter!("stoppress_stops_total", "outcome" => stop.state.word()).increment(1);
                // The transfer's loop has nothing to do with it; whoever waits for this stop is woken with it.
                self.0.bells.nudge(super::changes::NAME);
            }
            StopDue::Waits(_) => {}
        }
    }
}

async fn ask(
    bench: &Bench,
    (lab_id, lab): (LabId, &dyn Lab),
    stop: StopFacts,
    transfer: TransferId,
    fence: i64,
    permit: Permit,
) {
    let call = StopCall {
        stop: stop.id.clone(),
        order: stop.order.clone(),
        reason: stop.reason.clone(),
        asked_at: stop.asked_at,
        answer_by: stop.deadline_at,
        items: stop.items.clone().unwrap_or_default(),
    };
    let asked_at = bench.clock.now();
    point!("work.stop.before");
    let reply = lab.stop(&call).await;
    point!("work.stop.after");
    let now = bench.clock.now();
    permit.done(now, &reply);
    tracing::info!(stop = %stop.id, order = %stop.order, %transfer, attempt = stop.attempts, answer = reply.answer.word(), "lab answered a stop");
    metrics::counter!("stoppress_stop_answers_total", "answer" => reply.answer.word()).increment(1);
    let write = Write::SettleStop(Box::new(SettleStop {
        stop: stop.id.clone(),
        // A lab's endpoint speaks for that lab's orders only.
        scope: Scope::Lab(lab_id),
        answer: reply.answer,
        person: false,
        asked: Some((fence, asked_at)),
        at: now,
        next_at: later(now, retry::delay(stop.attempts, reply.retry_after, &*bench.random)),
        actor: Actor::gateway(),
        escalation: EscalationId::new(now, &*bench.random),
    }));
    match insist(bench, vec![write]).await {
        // It may have moved the transfer, too.
        Ok(_) => bench.bells.nudge(transfer::NAME),
        Err(error) => {
            tracing::error!(stop = %stop.id, %error, "what a lab answered could not be written; it is asked again");
        }
    }
}
