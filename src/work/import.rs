//! Sends orders ahead to labs of two phases, before the cutoff, to be held; takes back what is not coming.
//!
//! Nothing depends on it. A stop is granted as if no order had been sent ahead, and the hand-over at the
//! cutoff carries whole orders to a lab that holds them, or does not. So each order is sent ahead once,
//! whatever comes of it, at an easy pace, and none from a minute before a cutoff to a minute after it: nothing of
//! this is under way, and the lab's rate is full again, when the hand-over begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::labs::Endpoint;
use super::{Bench, Step};
use crate::domain::batch::{BatchFacts, ahead, later};
use crate::domain::ids::{BatchId, LabId, OrderId};
use crate::domain::lab::Answer;
use crate::lab::lane::{Kind, Permit};
use crate::lab::{self, Lab, Reply};
use crate::points::point;
use crate::store::{Ahead, Import, Imported, Result, Write, Written, one};

/// The loop's name.
pub const NAME: &str = "import";
/// How long before its cutoff a batch begins to be sent ahead.
pub const LEAD: SignedDuration = SignedDuration::from_mins(10);
/// How long before its cutoff that ends: longer than any call takes.
pub const QUIET: SignedDuration = SignedDuration::from_secs(60);
/// How often it is looked for orders that came or went.
const EVERY: SignedDuration = SignedDuration::from_secs(15);
/// How long after its cutoff a batch's orders are still taken back.
const AFTER: SignedDuration = SignedDuration::from_hours(1);

/// The loop that sends ahead.
#[derive(Debug, Clone)]
pub struct SendAhead {
    bench: Bench,
    /// How far it has looked. Only to look at little; it can be lost.
    looked: Arc<Mutex<Looked>>,
}

#[derive(Debug, Default)]
struct Looked {
    /// Up to which order of a batch, and until when it is not begun anew.
    batches: HashMap<BatchId, (String, Timestamp)>,
    /// Until when it is not looked for what is not coming, by lab.
    strays: HashMap<LabId, Timestamp>,
    /// Until when a lab is left to its hand-over.
    quiet: HashMap<LabId, Timestamp>,
    /// Until when a lab that did not take them is left alone: its hand-over and its stops are not.
    rests: HashMap<LabId, Timestamp>,
}

fn limit(left: usize) -> i64 {
    i64::try_from(left).unwrap_or(1)
}

fn before(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(at)
}

impl Step for SendAhead {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.bench;
        bench.labs.refresh(&*bench.store, now).await?;
        let mut wake: Option<Timestamp> = None;
        for endpoint in bench.labs.all() {
            // A rate that is counted over longer stretches is left to the hand-over.
            let slow = endpoint.profile.rate.is_some_and(|rate| i64::from(rate.seconds) > QUIET.as_secs());
            let Ok(lab) = &endpoint.lab else { continue };
            if !endpoint.profile.two_phase || endpoint.manual || endpoint.paused || slow {
                continue;
            }
            let next = self.lab(&endpoint, lab, now).await?;
            wake = wake.into_iter().chain(next).min();
        }
        Ok(wake)
    }
}

impl SendAhead {
    /// The loop at this bench.
    #[must_use]
    pub fn new(bench: Bench) -> Self {
        Self { bench, looked: Arc::default() }
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due at one lab; gives when to come again.
    async fn lab(
        &self,
        endpoint: &Endpoint,
        lab: &Arc<dyn Lab>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let open = self.bench.store.open_batches(&endpoint.id).await?;
        self.looked().batches.retain(|id, _| open.iter().any(|batch| batch.id == *id));
        let begins = |batch: &BatchFacts| before(batch.closes_at, LEAD);
        let quiet = |batch: &BatchFacts| before(batch.closes_at, QUIET);
        let soon = open.iter().map(begins).filter(|at| *at > now).min();
        let and_soon = |at: Timestamp| Ok(Some(soon.map_or(at, |soon| soon.min(at))));
        // A hand-over that is near, or has begun, has the lane to itself.
        let near = open.iter().filter(|batch| !batch.direct && now >= quiet(batch));
        if let Some(near) = near.map(|batch| later(batch.closes_at, QUIET)).max() {
            self.looked().quiet.insert(endpoint.id.clone(), near);
        }
        let quiet_until = self.looked().quiet.get(&endpoint.id).copied();
        if let Some(until) = quiet_until.filter(|until| *until > now) {
            return and_soon(until);
        }
        let rests_until = self.looked().rests.get(&endpoint.id).copied();
        if let Some(until) = rests_until.filter(|until| *until > now) {
            return and_soon(until);
        }
        let due: Vec<&BatchFacts> =
            open.iter().filter(|batch| begins(batch) <= now && now < quiet(batch)).collect();
        let strays = self.looked().strays.get(&endpoint.id).is_none_or(|until| *until <= now);
        if due.is_empty() && !strays {
            return Ok(soon);
        }
        // At most half of the lane.
        let want = (endpoint.profile.concurrency as usize / 2).max(1);
        let taken = endpoint.lane.take(now, want, Kind::Ahead);
        let again = later(now, EVERY);
        let mut permits = taken.permits;
        let mut left = permits.len();
        if left == 0 {
            return and_soon(taken.wait_until.map_or(again, |at| at.min(again)));
        }
        let mut some = !due.is_empty();
        if strays {
            let discard =
                self.bench.store.stray_imports(&endpoint.id, before(now, AFTER), limit(left)).await?;
            if discard.len() < left {
                self.looked().strays.insert(endpoint.id.clone(), again);
            }
            left -= discard.len();
            some |= !discard.is_empty();
            let item = Import { lab: endpoint.id.clone(), send: vec![], discard, closes_at: now, at: now };
            self.start(lab, item, &mut permits).await?;
        }
        for batch in due {
            let known = self.looked().batches.get(&batch.id).cloned();
            let (from, rests) = known.unwrap_or_else(|| (String::new(), now));
            if left == 0 || rests > now {
                continue;
            }
            let ids = self.bench.store.not_imported(&batch.id, &from, limit(left)).await?;
            let next = match ids.last() {
                Some(last) if ids.len() == left => (last.to_string(), now),
                // What has come since, with a lower id too, is found from the beginning.
                _ => (String::new(), again),
            };
            self.looked().batches.insert(batch.id.clone(), next);
            left -= ids.len();
            let send = ids.into_iter().map(|id| (id, batch.id.clone())).collect();
            let closes_at = batch.closes_at;
            let item = Import { lab: endpoint.id.clone(), send, discard: vec![], closes_at, at: now };
            self.start(lab, item, &mut permits).await?;
        }
        if some { and_soon(again) } else { Ok(soon) }
    }

    /// Makes the intent durable, then the calls, one a permit.
    async fn start(&self, lab: &Arc<dyn Lab>, item: Import, permits: &mut Vec<Permit>) -> Result<()> {
        if item.send.is_empty() && item.discard.is_empty() {
            return Ok(());
        }
        let item_lab = item.lab.clone();
        let Written::Importing(ahead, back) = one(&*self.bench.store, Write::Import(Box::new(item))).await?
        else {
            return Ok(());
        };
        let calls = ahead.into_iter().map(Call::Send).chain(back.into_iter().map(Call::TakeBack));
        for call in calls {
            let Some(permit) = permits.pop() else { break };
            let (bench, lab, looked) = (self.bench.clone(), Arc::clone(lab), Arc::clone(&self.looked));
            let (id, guard) = (item_lab.clone(), self.bench.bells.call());
            tokio::spawn(async move {
                if let Some(rests) = make(&bench, &*lab, call, permit).await {
                    looked.lock().unwrap_or_else(PoisonError::into_inner).rests.insert(id, rests);
                }
                bench.bells.nudge(NAME);
                drop(guard);
            });
        }
        Ok(())
    }
}

enum Call {
    Send(Ahead),
    TakeBack(OrderId),
}

/// Makes one; gives until when the lab is left alone, if it did not take it.
async fn make(bench: &Bench, lab: &dyn Lab, call: Call, permit: Permit) -> Option<Timestamp> {
    let (order, reply) = match call {
        Call::Send(order) => {
            let reply = match ahead(&order.entry, order.hold_until) {
                Ok(body) => {
                    let (id, hold_until) = (order.entry.id.clone(), order.hold_until);
                    point!("work.import.before");
                    let reply = lab.import(&lab::Import { order: id, body, hold_until }).await;
                    point!("work.import.after");
                    reply
                }
                Err(error) => Reply::from(Answer::Unreachable { cause: error.to_string() }),
            };
            (Some(order.entry.id), reply)
        }
        Call::TakeBack(order) => {
            point!("work.discard.before");
            let reply = lab.discard(&order).await;
            point!("work.discard.after");
            tracing::debug!(%order, answer = reply.answer.word(), "an order that was sent ahead was taken back");
            (None, reply)
        }
    };
    let now = bench.clock.now();
    permit.called();
    let rest = reply.retry_after.and_then(|rest| SignedDuration::try_from(rest).ok());
    let rests = rest.or((!reply.answer.spoke()).then_some(EVERY)).map(|rest| later(now, rest));
    let Some(order) = order else { return rests };
    metrics::counter!("stoppress_imports_total", "answer" => reply.answer.word()).increment(1);
    let write = Write::Imported(Box::new(Imported { order: order.clone(), answer: reply.answer, at: now }));
    if let Err(error) = one(&*bench.store, write).await {
        tracing::warn!(%order, %error, "what a lab said to an order that was sent ahead could not be kept");
    }
    rests
}
