//! Hands transfers over, and finds out what became of those whose outcome is unknown.
//!
//! A claim commits before the first byte leaves; the call runs with no transaction open; what came back
//! is settled under the claim's fence. Whoever dies in between leaves a lease that runs out, and a
//! transfer that is `unknown`, never "not sent".

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::labs::Endpoint;
use super::{Bench, Step, stop};
use crate::domain::batch::{WRITE_DEADLINE, later};
use crate::domain::event::Actor;
use crate::domain::ids::{EscalationId, OrderId, TransferId};
use crate::domain::lab::Answer;
use crate::domain::retry;
use crate::lab::lane::{Kind, Permit};
use crate::lab::{Lab, Reply, Upload};
use crate::store::{Claim, Claimed, Outgoing, Result, Settle, Source, TakeOver, Write, Written, one};

/// The loop's name.
pub const NAME: &str = "transfer";
/// How long a claim is ours: longer than any call can take.
pub const LEASE: SignedDuration = SignedDuration::from_secs(90);
/// The most transfers of one lab that a claim takes.
const CLAIM_MAX: usize = 64;
/// Transfers taken over in one transaction.
const TAKE_OVER_MAX: i64 = 500;

/// The loop that hands over.
#[derive(Debug)]
pub struct Transfer(pub Bench);

impl Step for Transfer {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.0;
        bench.labs.refresh(&*bench.store, now).await?;
        let mut due = bench.store.due(now).await?;
        if due.lease_at.is_some_and(|at| at <= now) {
            self.take_over(now).await?;
            due = bench.store.due(now).await?;
        }
        let mut wake = due.transfer_at.into_iter().chain(due.lease_at).min();
        let mut claims = Vec::new();
        let mut takers = Vec::new();
        for id in &due.labs {
            let Some(endpoint) = bench.labs.get(id) else {
                tracing::warn!(lab = %id, "orders wait for a lab that is not configured");
                continue;
            };
            let want = CLAIM_MAX.min(endpoint.profile.concurrency as usize);
            let usable = !endpoint.paused && endpoint.lab.is_ok();
            let (permits, limit, sends) = if endpoint.manual || !usable {
                // Nothing is called: what a person must take, and what waits too long, still goes on.
                (Vec::new(), CLAIM_MAX, endpoint.manual && usable)
            } else {
                let taken = endpoint.lane.take(now, want, Kind::Upload);
                if taken.permits.is_empty() {
                    wake = wake.into_iter().chain(taken.wait_until).min();
                    if taken.wait_until.is_none() {
                        continue;
                    }
                    // The lab rests: deadlines keep running.
                    (Vec::new(), CLAIM_MAX, false)
                } else {
                    let limit = taken.permits.len();
                    (taken.permits, limit, true)
                }
            };
            claims.push(Write::Claim(Box::new(self.claim(&endpoint, limit, sends, now))));
            takers.push((endpoint, permits));
        }
        if claims.is_empty() {
            return Ok(wake);
        }
        let written = bench.store.apply(claims).await?;
        for ((endpoint, mut permits), written) in takers.into_iter().zip(written) {
            let Written::Claimed(claimed) = written else { continue };
            for step in claimed {
                self.start(&endpoint, step, &mut permits, now);
            }
        }
        let next = bench.store.due(now).await?;
        Ok(next.transfer_at.into_iter().chain(next.lease_at).chain(wake.filter(|at| *at > now)).min())
    }
}

impl Transfer {
    /// Takes over what dead senders left, at start and whenever a lease ends.
    pub async fn take_over(&self, now: Timestamp) -> Result<()> {
        loop {
            let write = Write::TakeOver(TakeOver { now, all_but: None, limit: TAKE_OVER_MAX });
            let Written::TakenOver(taken) = one(&*self.0.store, write).await? else { return Ok(()) };
            for id in &taken {
                tracing::warn!(transfer = %id, "its sender is gone: what came of it is not known");
            }
            if (taken.len() as i64) < TAKE_OVER_MAX {
                return Ok(());
            }
        }
    }

    fn claim(&self, endpoint: &Endpoint, limit: usize, sends: bool, now: Timestamp) -> Claim {
        let random = &*self.0.random;
        Claim {
            lab: endpoint.id.clone(),
            profile: Arc::clone(&endpoint.profile),
            manual: endpoint.manual,
            ids: (0..limit).map(|_| TransferId::new(now, random)).collect(),
            escalations: (0..limit).map(|_| EscalationId::new(now, random)).collect(),
            now,
            lease_until: later(now, LEASE),
            holder: self.0.holder.clone(),
            sends,
        }
    }

    /// Starts what was claimed.
    fn start(&self, endpoint: &Endpoint, step: Claimed, permits: &mut Vec<Permit>, now: Timestamp) {
        let permit = permits.pop();
        let lab = endpoint.lab.as_ref().ok().map(Arc::clone);
        match (step, lab, permit) {
            (Claimed::Send(outgoing), Some(lab), Some(permit)) => {
                let guard = self.0.bells.call();
                let bench = self.0.clone();
                tokio::spawn(async move {
                    send(&bench, &*lab, outgoing, permit, now).await;
                    bench.bells.nudge(NAME);
                    drop(guard);
                });
            }
            (Claimed::LookUp { transfer, orders }, Some(lab), Some(permit)) => {
                let guard = self.0.bells.call();
                let bench = self.0.clone();
                tokio::spawn(async move {
                    look_up(&bench, &*lab, (transfer.id, transfer.fence, transfer.attempts), &orders, permit)
                        .await;
                    bench.bells.nudge(NAME);
                    drop(guard);
                });
            }
            (Claimed::Person(id), ..) => {
                tracing::warn!(transfer = %id, lab = %endpoint.id, "a person takes the transfer");
                metrics::counter!("stoppress_transfers_total", "lab" => endpoint.id.to_string(), "outcome" => "with_a_person").increment(1);
                self.0.bells.nudge(stop::NAME);
            }
            (Claimed::Empty(id), ..) => {
                tracing::info!(transfer = %id, "every order of the transfer was stopped")
            }
            (Claimed::Waits(_), ..) => {}
            (Claimed::Send(outgoing), ..) => {
                // A durable intent without a place to send from: its lease runs out, and it is unknown then.
                tracing::error!(transfer = %outgoing.transfer.id, "a claimed transfer could not be sent");
            }
            (Claimed::LookUp { transfer, .. }, ..) => {
                tracing::error!(transfer = %transfer.id, "a look-up could not be made")
            }
        }
    }
}

/// Sends a transfer and settles what came back.
async fn send(bench: &Bench, lab: &dyn Lab, outgoing: Outgoing, permit: Permit, claimed_at: Timestamp) {
    let upload = Upload {
        transfer: outgoing.transfer.id.clone(),
        key: outgoing.key,
        body: outgoing.body,
        sha256: outgoing.sha256,
        not_after: later(claimed_at, WRITE_DEADLINE),
    };
    let reply = lab.submit(&upload).await;
    let now = bench.clock.now();
    permit.done(now, &reply);
    let facts = &outgoing.transfer;
    let name = facts.lab.to_string();
    metrics::counter!("stoppress_transfers_total", "lab" => name, "outcome" => reply.answer.word())
        .increment(1);
    if !matches!(reply.answer, Answer::Accepted { .. }) {
        tracing::warn!(transfer = %facts.id, lab = %facts.lab, attempt = facts.attempts, answer = ?reply.answer, "the lab did not take a transfer at once");
    }
    settle(bench, (facts.id.clone(), facts.fence, facts.attempts), Source::Upload, reply, now).await;
}

/// Asks the lab about the orders of an unknown transfer: one that is there is a positive sign for all;
/// only if all are absent is the transfer.
async fn look_up(
    bench: &Bench,
    lab: &dyn Lab,
    transfer: (TransferId, i64, i64),
    orders: &[OrderId],
    permit: Permit,
) {
    let asked_at = bench.clock.now();
    let mut reply = Reply::from(Answer::Unclear { cause: "the manifest names no order".to_owned() });
    for order in orders {
        reply = lab.look_up(order).await;
        if reply.answer != Answer::NotFound {
            break;
        }
    }
    let now = bench.clock.now();
    permit.done(now, &reply);
    settle(bench, transfer, Source::LookUp(asked_at), reply, now).await;
}

async fn settle(
    bench: &Bench,
    (transfer, fence, attempts): (TransferId, i64, i64),
    source: Source,
    reply: Reply,
    now: Timestamp,
) {
    let write = Write::Settle(Box::new(Settle {
        transfer: transfer.clone(),
        fence,
        source,
        answer: reply.answer,
        at: now,
        next_at: later(now, retry::delay(attempts, reply.retry_after, &*bench.random)),
        actor: Actor::gateway(),
        escalation: EscalationId::new(now, &*bench.random),
    }));
    match one(&*bench.store, write).await {
        Ok(Written::Settled(Some(_))) if bench.bells.stops_wait() => bench.bells.nudge(stop::NAME),
        Ok(_) => {}
        // Nothing is lost: the lease runs out, and the transfer is unknown.
        Err(error) => tracing::error!(%transfer, %error, "what a lab answered could not be written"),
    }
}
