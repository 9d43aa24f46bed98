//! Hands transfers over, and finds out what became of those whose outcome is unknown.
//!
//! A claim commits before the first byte leaves; the call runs with no transaction open; what came back
//! is settled under the claim's fence. Whoever dies in between leaves a lease that runs out, and a
//! transfer that is `unknown`, never "not sent".

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::labs::Endpoint;
use super::{Bench, Step, insist, labs, stop, take_each};
use crate::domain::batch::{TransferFacts, WRITE_DEADLINE, later};
use crate::domain::event::Actor;
use crate::domain::ids::{EscalationId, LabId, OrderId, TransferId};
use crate::domain::lab::{Answer, Profile};
use crate::domain::order::Stage;
use crate::domain::retry;
use crate::lab::lane::{FULL, Kind, Permit};
use crate::lab::{Lab, Reply, Upload};
use crate::points::point;
use crate::store::{
    Claim, Claimed, Outgoing, Report, Result, Scope, Settle, Source, TakeOver, Write, Written, one,
};

/// The loop's name.
pub const NAME: &str = "transfer";
/// How long a claim is ours: longer than any call can take.
pub const LEASE: SignedDuration = SignedDuration::from_secs(90);
/// The most transfers of one lab that a claim takes.
const CLAIM_MAX: usize = 64;
/// How many transfers a place claims ahead. They bound what a crash leaves unknown.
const AHEAD: usize = 16;
/// How soon it is looked again at batches of which another gateway is not clear yet.
const BEHIND: SignedDuration = SignedDuration::from_millis(10);
/// How often it is looked again whether orders have waited too long for a lab that is not connected.
const AWAY: SignedDuration = SignedDuration::from_secs(30);
/// How long a place asks about one transfer: with the last call, less than the lease.
const LOOK_UP_MAX: SignedDuration = SignedDuration::from_secs(60);
/// By how much a clock may have been set back since a claim: how long a lab knows a key counts from the claim's instant.
const SET_BACK_MAX: SignedDuration = SignedDuration::from_mins(1);
/// Transfers taken over in one transaction.
const TAKE_OVER_MAX: i64 = 500;

/// The loop that hands over.
#[derive(Debug, Clone)]
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
        let mut away = false;
        for id in &due.labs {
            let Some(endpoint) = bench.labs.get(id) else {
                // Another gateway may be able to read what is stored of it.
                tracing::warn!(lab = %id, "orders wait for a lab that is not configured");
                away = true;
                claims.push(claim(bench, (id, &labs::unknown(), false), CLAIM_MAX, Way::Away, now));
                takers.push((id, None, Vec::new()));
                continue;
            };
            let (permits, limit, way) = if endpoint.paused {
                // Nothing is called: what waits too long still goes on.
                (Vec::new(), CLAIM_MAX, Way::Rests)
            } else if endpoint.lab.is_err() || endpoint.is_away() {
                // Another gateway may have the lab: only what is beyond its deadline is taken here.
                (Vec::new(), CLAIM_MAX, Way::Away)
            } else if endpoint.manual {
                (Vec::new(), CLAIM_MAX, Way::Sends)
            } else {
                let taken = endpoint.lane.take(now, CLAIM_MAX, Kind::Upload);
                if taken.permits.is_empty() {
                    let again = taken.wait_until.unwrap_or_else(|| later(now, FULL));
                    wake = wake.into_iter().chain([again]).min();
                    if taken.wait_until.is_none() {
                        continue;
                    }
                    // The lab rests, and does not answer perhaps for days: what is beyond its deadline goes to a person.
                    let [deadline, _] = bench.store.deadlines(now).await?;
                    let next = deadline.filter(|at| *at > now).unwrap_or(Timestamp::MAX);
                    wake = wake.into_iter().chain([next, later(now, AWAY)]).min();
                    if !endpoint.lane.looks(now, next, AWAY) {
                        continue;
                    }
                    (Vec::new(), CLAIM_MAX, Way::Away)
                } else {
                    let steady = endpoint.profile.rate.is_none() && !endpoint.lane.is_closed(now);
                    let ahead = if steady { endpoint.ahead(AHEAD) } else { 1 };
                    let limit = (taken.permits.len() * ahead).min(CLAIM_MAX.max(taken.permits.len()));
                    (taken.permits, limit, Way::Sends)
                }
            };
            away |= way == Way::Away;
            claims.push(claim(bench, endpoint.terms(), limit, way, now));
            takers.push((id, Some(endpoint), permits));
        }
        if away {
            let [transfer, _] = bench.store.deadlines(now).await?;
            wake = wake.into_iter().chain(transfer).chain([later(now, AWAY)]).min();
        }
        wake = wake.into_iter().chain(bench.linked_poll(now)).min();
        if claims.is_empty() {
            return Ok(wake);
        }
        let written = take_each(bench, claims).await?;
        point!("work.transfer.claimed");
        for ((id, endpoint, permits), written) in takers.into_iter().zip(written) {
            let Some(Written::Claimed(claimed)) = written else { continue };
            if claimed.iter().any(|step| matches!(step, Claimed::Behind)) {
                wake = wake.into_iter().chain([later(now, BEHIND)]).min();
            }
            self.start(id, endpoint, claimed, permits, now);
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

    /// Starts what was claimed: each permit works through its share, one call at a time.
    fn start(
        &self,
        id: &LabId,
        endpoint: Option<Endpoint>,
        claimed: Vec<Claimed>,
        permits: Vec<Permit>,
        now: Timestamp,
    ) {
        let jobs = jobs(&self.0, id, claimed);
        let Some((endpoint, Ok(lab))) = endpoint.as_ref().map(|endpoint| (endpoint, &endpoint.lab)) else {
            return;
        };
        let share = jobs.len().div_ceil(permits.len().max(1)).max(1);
        let mut jobs = jobs.into_iter().peekable();
        for permit in permits {
            if jobs.peek().is_none() {
                break;
            }
            let own: Vec<Job> = jobs.by_ref().take(share).collect();
            let sender = Sender { bench: self.0.clone(), lab: Arc::clone(lab), endpoint: endpoint.clone() };
            let guard = self.0.bells.call();
            tokio::spawn(async move {
                sender.work(own, permit, now).await;
                sender.bench.bells.nudge(NAME);
                drop(guard);
            });
        }
        // A durable intent without a place to send from cannot be; if it were, its lease would run out,
        // and it would be unknown then.
        debug_assert!(jobs.peek().is_none(), "a claim is at most as large as the permits allow");
    }
}

fn count(lab: &LabId, outcome: &'static str) {
    metrics::counter!("stoppress_transfers_total", "lab" => lab.to_string(), "outcome" => outcome)
        .increment(1);
}

/// What a claim may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Send, and look up.
    Sends,
    /// Ops have paused the lab: nothing new is handed over; the deadlines of what was begun are kept.
    Rests,
    /// Nothing can be called from here now, another gateway perhaps can: only what is beyond its deadline.
    Away,
}

fn claim(
    bench: &Bench,
    (lab, profile, manual): (&LabId, &Arc<Profile>, bool),
    limit: usize,
    way: Way,
    now: Timestamp,
) -> Write {
    let random = &*bench.random;
    Write::Claim(Box::new(Claim {
        lab: lab.clone(),
        profile: Arc::clone(profile),
        manual,
        ids: (0..limit).map(|_| TransferId::new(now, random)).collect(),
        escalations: (0..limit).map(|_| EscalationId::new(now, random)).collect(),
        now,
        lease_until: later(now, LEASE),
        holder: bench.holder.clone(),
        sends: way == Way::Sends,
        away: way == Way::Away,
    }))
}

/// The calls that a claim asks for; what needs none is told.
fn jobs(bench: &Bench, lab: &LabId, claimed: Vec<Claimed>) -> Vec<Job> {
    let mut jobs = Vec::with_capacity(claimed.len());
    for step in claimed {
        match step {
            Claimed::Send(outgoing) => jobs.push(Job::Send(outgoing)),
            Claimed::LookUp { transfer, orders } => jobs.push(Job::LookUp(transfer, orders)),
            Claimed::Person(id) => {
                tracing::warn!(transfer = %id, %lab, "a person takes the transfer");
                count(lab, "with_a_person");
                bench.bells.nudge(stop::NAME);
            }
            Claimed::Empty(id) => tracing::info!(transfer = %id, "every order of the transfer was stopped"),
            Claimed::Waits(_) | Claimed::Behind => {}
        }
    }
    jobs
}

/// A call to make.
enum Job {
    Send(Outgoing),
    LookUp(TransferFacts, Vec<OrderId>),
}

/// Makes calls to one lab, one after the other, until nothing of it is due.
struct Sender {
    bench: Bench,
    lab: Arc<dyn Lab>,
    endpoint: Endpoint,
}

impl Sender {
    async fn work(&self, mut jobs: Vec<Job>, permit: Permit, mut claimed_at: Timestamp) {
        let mut permit = Some(permit);
        let mut settling = JoinSet::new();
        while !jobs.is_empty() {
            let most = self.endpoint.ahead(AHEAD);
            // The next ones are claimed while the second half of these goes out, so that neither the lab nor
            // the store waits for the other; unless nothing is to wait behind a call that is out.
            let half = jobs.split_off(if most > 1 { jobs.len() / 2 } else { 0 });
            self.calls(jobs, &mut permit, claimed_at, &mut settling).await;
            let now = self.bench.clock.now();
            let out = async {
                self.calls(half, &mut permit, claimed_at, &mut settling).await;
                // The place is kept for what is being claimed: nobody else would find work for it now.
                if permit.is_none() && self.steady() {
                    permit = self.place().0;
                }
            };
            (jobs, claimed_at) = if most > 1 {
                let (claimed, ()) = tokio::join!(self.ahead(most, now), out);
                (claimed, now)
            } else {
                out.await;
                let now = self.bench.clock.now();
                (self.ahead(most, now).await, now)
            };
            while settling.try_join_next().is_some() {}
        }
        settling.join_all().await;
    }

    /// Whether this place may go on by itself. A lab that rests, has a rate of its own, or is another now, is asked
    /// for places one by one, by the tick.
    fn steady(&self) -> bool {
        let (now, lane) = (self.bench.clock.now(), &self.endpoint.lane);
        self.endpoint.profile.rate.is_none()
            && !lane.is_closed(now)
            && !lane.gives_way(now)
            && self.bench.labs.is_still(&self.endpoint)
            && !self.bench.end.is_cancelled()
            && self.lab.window() != Some(0)
    }

    /// Why what was claimed at an instant is not to be sent any more. A pause counts from its answer on.
    async fn hindrance(&self, claimed_at: Timestamp, now: Timestamp) -> Option<&'static str> {
        let seen = self.bench.labs.refresh(&*self.bench.store, now).await;
        if self.bench.end.is_cancelled() {
            Some("the gateway ends")
        } else if seen.is_err() {
            Some("how the lab is configured cannot be read")
        } else if !self.bench.labs.is_still(&self.endpoint) {
            Some("the lab was paused, changed or deleted meanwhile")
        } else {
            let passed = self.bench.clock.now().duration_since(claimed_at);
            let late = (passed >= WRITE_DEADLINE).then_some("it waited too long behind others");
            late.or((-passed > SET_BACK_MAX).then_some("the clock was set back meanwhile"))
        }
    }

    /// Claims what this place sends next.
    async fn ahead(&self, most: usize, now: Timestamp) -> Vec<Job> {
        if let Err(error) = self.bench.labs.refresh(&*self.bench.store, now).await {
            tracing::error!(lab = %self.endpoint.id, %error, "the labs cannot be read; the loop comes again");
            return Vec::new();
        }
        if !self.steady() {
            return Vec::new();
        }
        match one(&*self.bench.store, claim(&self.bench, self.endpoint.terms(), most, Way::Sends, now)).await
        {
            Ok(Written::Claimed(claimed)) => self::jobs(&self.bench, &self.endpoint.id, claimed),
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::error!(lab = %self.endpoint.id, %error, "a claim failed; the loop comes again");
                Vec::new()
            }
        }
    }

    fn place(&self) -> (Option<Permit>, Option<Timestamp>) {
        let mut taken = self.endpoint.lane.take(self.bench.clock.now(), 1, Kind::Upload);
        (taken.permits.pop(), taken.wait_until)
    }

    /// Makes the calls; what came back is being written when this returns.
    async fn calls(
        &self,
        jobs: Vec<Job>,
        permit: &mut Option<Permit>,
        claimed_at: Timestamp,
        settling: &mut JoinSet<()>,
    ) {
        for job in jobs {
            let (own, rest) = match permit.take() {
                Some(permit) => (Some(permit), None),
                None => self.place(),
            };
            let now = self.bench.clock.now();
            match (job, own) {
                (Job::Send(outgoing), own) => {
                    let attempt = Attempt::of(&outgoing.transfer, Source::Upload);
                    let (reply, rest) = match (self.hindrance(claimed_at, now).await, own) {
                        (None, Some(permit)) => (self.send(outgoing, permit, claimed_at).await, None),
                        (Some(why), own) => {
                            *permit = own;
                            // Its clock may have been set back since.
                            (uncalled(why), Some(self.bench.clock.now()))
                        }
                        // Claimed ahead, and the lane is full or closed by now.
                        (None, None) => {
                            (uncalled("no place is free, or the lab rests"), rest.or(Some(later(now, FULL))))
                        }
                    };
                    settling.spawn(settle(self.bench.clone(), attempt, reply, rest));
                }
                (Job::LookUp(transfer, orders), Some(permit)) => {
                    let (asked_at, reply, seen) = self.look_up(&transfer, &orders, permit).await;
                    let attempt = Attempt { seen, ..Attempt::of(&transfer, Source::LookUp(asked_at)) };
                    settling.spawn(settle(self.bench.clone(), attempt, reply, None));
                }
                // It is due again when its lease ends.
                (Job::LookUp(..), None) => {}
            }
        }
    }

    async fn send(&self, outgoing: Outgoing, permit: Permit, claimed_at: Timestamp) -> Reply {
        let facts = &outgoing.transfer;
        let upload = Upload {
            transfer: facts.id.clone(),
            key: outgoing.key,
            body: outgoing.body,
            sha256: outgoing.sha256,
            not_after: later(claimed_at, WRITE_DEADLINE),
        };
        point!("work.submit.before");
        let begun = self.bench.clock.now();
        let reply = self.lab.submit(&upload).await;
        point!("work.submit.after");
        let now = self.bench.clock.now();
        self.endpoint.lane.took(now.duration_since(begun));
        permit.done(now, &reply);
        count(&self.endpoint.id, reply.answer.word());
        if !matches!(reply.answer, Answer::Accepted { .. }) {
            tracing::warn!(transfer = %facts.id, lab = %facts.lab, attempt = facts.attempts, answer = ?reply.answer, "the lab did not take a transfer at once");
        }
        reply
    }

    /// Asks the lab about the orders of an unknown transfer: one that is there is a positive sign for
    /// all; only if all are absent is the transfer. With many orders that takes several times: the next goes on where
    /// this one ends, as long as nothing was sent in between. Gives since when it is asked, too.
    async fn look_up(
        &self,
        transfer: &TransferFacts,
        orders: &[OrderId],
        permit: Permit,
    ) -> (Timestamp, Reply, Option<(OrderId, Stage)>) {
        let begun = self.bench.clock.now();
        let (since, from) = self.endpoint.ask_from(transfer, begun);
        let mut reply = Reply::from(Answer::Unclear { cause: "the manifest names no order".to_owned() });
        let mut permit = Some(permit);
        for (nth, order) in orders.iter().enumerate().skip(from) {
            let now = self.bench.clock.now();
            let goes_on = now < later(begun, LOOK_UP_MAX) && !self.bench.end.is_cancelled();
            // A place a call, so that others get theirs in between.
            let place = permit.take().or_else(|| goes_on.then(|| self.place().0).flatten());
            let Some(place) = place else {
                self.endpoint.asked(transfer, since, nth);
                let cause = format!("{nth} of {} orders were asked about: all absent so far", orders.len());
                return (since, Answer::Unclear { cause }.into(), None);
            };
            point!("work.look_up.before");
            reply = self.lab.look_up(order).await;
            point!("work.look_up.after");
            place.asked(self.bench.clock.now(), &reply);
            if let Answer::WillPrint { stage, .. } = &reply.answer {
                let seen = Some((order.clone(), *stage));
                return (since, reply, seen);
            }
            if reply.answer != Answer::NotFound {
                self.endpoint.asked(transfer, since, nth);
                break;
            }
        }
        (since, reply, None)
    }
}

/// What is claimed, and not a byte of it has left.
fn uncalled(why: &str) -> Reply {
    Answer::Unreachable { cause: format!("{why}; it was not called") }.into()
}

/// Which call an answer belongs to.
struct Attempt {
    transfer: TransferId,
    lab: LabId,
    /// How far the lab said that an order is, by the way.
    seen: Option<(OrderId, Stage)>,
    fence: i64,
    number: i64,
    source: Source,
}

impl Attempt {
    fn of(facts: &TransferFacts, source: Source) -> Self {
        let (transfer, lab) = (facts.id.clone(), facts.lab.clone());
        Self { transfer, lab, seen: None, fence: facts.fence, number: facts.attempts, source }
    }
}

/// Settles what came back. `rest`: until when the lab is not to be called.
async fn settle(bench: Bench, attempt: Attempt, reply: Reply, rest: Option<Timestamp>) {
    let Attempt { transfer, lab, seen, fence, number, source } = attempt;
    let now = bench.clock.now();
    let again = later(now, retry::delay(number, reply.retry_after, &*bench.random));
    let write = Write::Settle(Box::new(Settle {
        transfer: transfer.clone(),
        fence,
        source,
        answer: reply.answer,
        at: now,
        next_at: rest.unwrap_or(again),
        actor: Actor::gateway(),
        escalation: EscalationId::new(now, &*bench.random),
    }));
    let report = seen.map(|(order, stage)| {
        Write::Report(Box::new(Report {
            order,
            scope: Scope::Lab(lab.clone()),
            stage,
            reported_at: now,
            reference: None,
            at: now,
            actor: Actor::lab(&lab),
            escalation: EscalationId::new(now, &*bench.random),
        }))
    });
    let written = insist(&bench, [write].into_iter().chain(report).collect()).await;
    match written.map(|written| written.into_iter().next()) {
        Ok(Some(Written::Settled(Some(_)))) if bench.bells.stops_wait() => bench.bells.nudge(stop::NAME),
        Ok(_) => {}
        // The lease runs out, and the transfer is unknown.
        Err(error) => tracing::error!(%transfer, %error, "what a lab answered could not be written"),
    }
}
