//! A courier: one endpoint, from when it is taken until nothing is left for it or it wants to be left alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;
use url::Url;

use super::line::{Job, Lane, job, next, reach, record};
use super::pages::Told;
use super::{Desk, LEASE, NAME, TAKEN};
use crate::domain::batch::later;
use crate::domain::ids::{OrderId, WebhookId};
use crate::domain::webhook::{CALL_WITHIN, Condition, Meaning, MessageId, Off, Posted, again};
use crate::lab::sign::Signer;
use crate::lab::webhook::Post;
use crate::store::{
    ClaimWebhook, Delivery, DeliveryDue, DeliveryState, Error, Result, SettleWebhook, WebhookClaim,
    WebhookRow, WebhookSettled, Write, Written, one,
};

/// Calls under way to an endpoint; and to one that was slow or failed last.
const AT_ONCE: usize = 8;
/// See [`AT_ONCE`].
const AT_ONCE_SLOW: usize = 2;
/// What counts as slow.
const SLOW: SignedDuration = SignedDuration::from_secs(1);
/// How long is sent before what came of it is written down.
const ROUND: SignedDuration = SignedDuration::from_secs(2);
/// Messages that failed before and are taken at a time.
const DUE_MAX: i64 = 32;
/// Pages that are looked through for something to send before the claim is renewed.
const LOOK_MAX: usize = 64;
/// How an endpoint was left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) cursor: i64,
    pub(super) version: i64,
    pub(super) due_at: Option<Timestamp>,
    pub(super) replay: Option<(i64, i64)>,
    pub(super) not_before: Option<Timestamp>,
}

/// Who goes.
#[derive(Debug)]
pub(super) struct Courier {
    desk: Arc<Desk>,
    id: WebhookId,
    take: Option<(i64, i64)>,
}

impl Courier {
    pub(super) fn new(desk: Arc<Desk>, id: WebhookId, take: Option<(i64, i64)>) -> Self {
        Self { desk, id, take }
    }

    pub(super) async fn run(self) -> Result<Left> {
        let bench = &self.desk.bench;
        let now = bench.clock.now();
        let lease_until = later(now, LEASE);
        let claim = ClaimWebhook {
            id: self.id.clone(),
            holder: bench.holder.clone(),
            now,
            lease_until,
            take: self.take,
        };
        let written = one(&*bench.store, Write::ClaimWebhook(Box::new(claim))).await?;
        let Written::WebhookClaimed(Some(claim)) = written else {
            // Another gateway has it, or it is gone: what is known here is read again.
            let not_before = Some(later(now, TAKEN));
            let cursor = self.take.map_or(0, |(cursor, _)| cursor);
            return Ok(Left { cursor, version: -1, due_at: None, replay: None, not_before });
        };
        let mut round = Round::new(Arc::clone(&self.desk), *claim, self.take, lease_until)?;
        let result = round.go_on().await;
        // What was learned is written down also where the rest failed; but where something on its way was lost here,
        // the claim is left as it is: nothing says then how far it came, and the stretch is sent once more.
        let lost = matches!(result, Ok(false));
        if !lost && !round.torn {
            round.settle(None, 0).await?;
        }
        result?;
        Ok(round.left(lost))
    }
}

/// One claim, and what is done under it.
struct Round {
    desk: Arc<Desk>,
    row: WebhookRow,
    url: Url,
    signer: Arc<Signer>,
    fence: i64,
    lease_until: Timestamp,
    unsure_until: i64,
    /// Up to where the log was looked through.
    seen: i64,
    /// Up to where it is written down that it will be sent.
    taken: i64,
    window: VecDeque<Job>,
    lane: Lane,
    /// Up to where a replay was looked through.
    replayed: Option<i64>,
    ahead: HashSet<MessageId>,
    open: HashMap<Option<OrderId>, i64>,
    /// The newest page that was told from.
    made: u64,
    slow: bool,
    condition: Condition,
    off: Option<Off>,
    hasten: bool,
    deliveries: Vec<Delivery>,
    freed: Vec<Option<OrderId>>,
    delivered: i64,
    failed_cause: Option<String>,
    enabled: bool,
    due_at: Option<Timestamp>,
    /// Whether a mistake of ours lost what was under way.
    torn: bool,
}

impl Round {
    fn new(
        desk: Arc<Desk>,
        claim: WebhookClaim,
        take: Option<(i64, i64)>,
        lease_until: Timestamp,
    ) -> Result<Self> {
        let row = claim.row;
        let corrupt = |what: String| Error::Corrupt { table: "webhooks", what };
        let url = row.spec.url.parse().map_err(|_| corrupt(format!("the URL of {}", row.id)))?;
        let now = desk.bench.clock.now();
        let secrets: Vec<&str> = row.secrets.at(now).map(ExposeSecret::expose_secret).collect();
        let signer = Signer::new(&SecretString::from(secrets.join(" ")))
            .map_err(|_| corrupt(format!("the secret of {}", row.id)))?;
        let taken =
            take.filter(|(cursor, _)| *cursor == row.cursor).map_or(row.taken, |(_, to)| to.max(row.taken));
        Ok(Self {
            url,
            signer: Arc::new(signer),
            fence: claim.fence,
            lease_until,
            unsure_until: claim.unsure_until,
            seen: row.cursor,
            taken,
            window: VecDeque::new(),
            lane: Lane::Log,
            replayed: None,
            ahead: claim.ahead.into_iter().collect(),
            open: claim.open.into_iter().collect(),
            made: 0,
            slow: row.condition.failures > 0,
            condition: row.condition,
            off: None,
            hasten: false,
            deliveries: Vec::new(),
            freed: Vec::new(),
            delivered: 0,
            failed_cause: None,
            enabled: row.enabled,
            due_at: row.due_at,
            torn: false,
            desk,
            row,
        })
    }

    fn now(&self) -> Timestamp {
        self.desk.bench.clock.now()
    }

    /// Whether it goes on: the gateway does not end, and the endpoint does not want to be left alone.
    fn may(&self, now: Timestamp) -> bool {
        self.off.is_none() && !self.condition.rests(now) && !self.desk.bench.end.is_cancelled()
    }

    /// Sends until nothing is left. False if the endpoint was lost to another gateway.
    async fn go_on(&mut self) -> Result<bool> {
        loop {
            let now = self.now();
            if !self.may(now) {
                return Ok(true);
            }
            let more = self.plan(now).await?;
            let due = self.due_at.is_some_and(|due| due <= now) || self.hasten || !self.freed.is_empty();
            let unsaid = self.seen > self.taken || self.replayed.is_some() || !self.deliveries.is_empty();
            if !more && !due && !unsaid && self.window.is_empty() {
                return Ok(true);
            }
            let probes = self.condition.probes();
            let mut kept = Vec::new();
            if due || unsaid || now > later(self.lease_until, -(LEASE / 2)) {
                let limit = match (due, probes) {
                    (false, _) => 0,
                    (true, false) => DUE_MAX,
                    (true, true) => i64::from(self.window.is_empty()),
                };
                let Some(settled) = self.settle(Some(later(now, LEASE)), limit).await? else {
                    return Ok(false);
                };
                kept = settled.due;
                if !self.enabled || settled.version != self.row.version {
                    self.give_back(kept, now);
                    return Ok(true);
                }
            }
            self.send(kept, probes).await?;
        }
    }

    /// Looks for something to send. True if there may be more than was found.
    async fn plan(&mut self, now: Timestamp) -> Result<bool> {
        if !self.window.is_empty() {
            return Ok(true);
        }
        let desk = Arc::clone(&self.desk);
        for _ in 0..LOOK_MAX {
            let Some(page) = desk.pages.behind(self.seen, self.made).await? else {
                return self.plan_replay(now).await;
            };
            (self.made, self.seen, self.lane) = (self.made.max(page.made), page.until, Lane::Log);
            for told in &page.told {
                if self.concerns(told) && !self.ahead.remove(&told.id) {
                    let unsure = told.id.seq <= self.unsure_until;
                    self.enqueue(told, 1 + i64::from(unsure), now);
                }
            }
            if !self.window.is_empty() || !self.deliveries.is_empty() {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Looks for something to send once more.
    async fn plan_replay(&mut self, now: Timestamp) -> Result<bool> {
        if self.replayed.is_some() {
            // How far it came is written down first.
            return Ok(true);
        }
        let Some((mut after, until)) = self.row.replay else { return Ok(false) };
        let desk = Arc::clone(&self.desk);
        while after < until {
            let Some(page) = desk.pages.behind(after, self.made).await? else { break };
            (self.made, self.lane) = (self.made.max(page.made), Lane::Replay);
            after = page.until;
            for told in &page.told {
                if told.id.seq <= until && self.concerns(told) {
                    self.enqueue(told, 1, now);
                }
            }
            if !self.window.is_empty() {
                break;
            }
        }
        let ends = after >= until || self.window.is_empty();
        self.replayed = Some(if ends { until } else { after });
        Ok(true)
    }

    fn concerns(&self, told: &Told) -> bool {
        told.platform == self.row.platform && self.row.spec.takes(&told.kind)
    }

    /// Puts a message of the log in the line; behind what waits about the same order.
    fn enqueue(&mut self, told: &Told, attempt: i64, now: Timestamp) {
        let job = job(told, attempt);
        if self.open.get(&job.id.order).is_some_and(|first| *first <= job.id.seq) {
            self.behind(job, now);
        } else {
            self.window.push_back(job);
        }
    }

    fn behind(&mut self, job: Job, now: Timestamp) {
        self.deliveries.push(record(job, DeliveryState::Behind, 0, now, now));
    }

    /// Messages that were taken to be sent and were not.
    fn give_back(&mut self, kept: Vec<DeliveryDue>, now: Timestamp) {
        for due in kept {
            let job = Job::from(due);
            self.not_sent(job, now);
        }
    }

    fn not_sent(&mut self, job: Job, now: Timestamp) {
        let attempts = job.attempt - 1;
        self.deliveries.push(record(job, DeliveryState::Waiting, attempts, now, now));
    }

    /// Sends what is in the line, several at a time, those about one order one after another.
    async fn send(&mut self, kept: Vec<DeliveryDue>, probes: bool) -> Result<()> {
        let began = self.now();
        let mut line: VecDeque<Job> = kept.into_iter().map(Job::from).collect();
        let reach = reach(probes, line.len(), self.window.len());
        line.extend(self.window.drain(..reach));
        let halt = Arc::new(AtomicBool::new(false));
        let mut calls = JoinSet::new();
        let mut busy: HashSet<Option<OrderId>> = HashSet::new();
        loop {
            let most = if probes { 1 } else { [AT_ONCE, AT_ONCE_SLOW][usize::from(self.slow)] };
            let now = self.now();
            let goes_on = self.may(now) && now < later(began, ROUND) && !halt.load(Ordering::Relaxed);
            while goes_on && calls.len() < most {
                let Some(job) = next(&mut line, &busy) else { break };
                busy.insert(job.id.order.clone());
                calls.spawn(self.call(job, Arc::clone(&halt)));
            }
            let Some(called) = calls.join_next().await else { break };
            let (job, posted, took) = called.map_err(|error| {
                self.torn = true;
                Error::Unavailable(format!("a call ended by a mistake: {error}"))
            })?;
            busy.remove(&job.id.order);
            match posted {
                Some(posted) => self.learn(job, posted, took, &mut line),
                // Nobody may begin any more.
                None => line.push_front(job),
            }
        }
        let now = self.now();
        let (kept, rest): (Vec<Job>, Vec<Job>) = line.into_iter().partition(|job| job.kept);
        for job in kept {
            self.not_sent(job, now);
        }
        let after = std::mem::take(&mut self.window);
        self.window.extend(rest);
        self.window.make_contiguous().sort_by_key(|job| job.id.seq);
        self.window.extend(after);
        Ok(())
    }

    /// One call, once there is a place for it.
    fn call(
        &self,
        job: Job,
        halt: Arc<AtomicBool>,
    ) -> impl Future<Output = (Job, Option<Posted>, SignedDuration)> + Send + 'static {
        let desk = Arc::clone(&self.desk);
        let places = Arc::clone(if self.slow { &desk.slow } else { &desk.quick });
        let within = SignedDuration::try_from(CALL_WITHIN).unwrap_or_default();
        // Whatever begins under the lease ends under it.
        let not_after = later(self.lease_until, -(within + SignedDuration::from_secs(2)));
        let (url, signer) = (self.url.clone(), Arc::clone(&self.signer));
        async move {
            let place = places.acquire_owned().await;
            let began = desk.bench.clock.now();
            let stop = halt.load(Ordering::Relaxed) || desk.bench.end.is_cancelled() || began > not_after;
            if stop || place.is_err() {
                halt.store(true, Ordering::Relaxed);
                return (job, None, SignedDuration::ZERO);
            }
            let post = Post { url, id: job.id.to_string(), body: Arc::clone(&job.body), signer };
            crate::points::point!("work.post.before");
            let posted = desk.poster.post(&post).await;
            crate::points::point!("work.post.after");
            if posted.meaning() == Meaning::Gone {
                halt.store(true, Ordering::Relaxed);
            }
            (job, Some(posted), desk.bench.clock.now().duration_since(began))
        }
    }

    /// Takes in how an attempt ended.
    fn learn(&mut self, job: Job, posted: Posted, took: SignedDuration, line: &mut VecDeque<Job>) {
        let now = self.now();
        let random = Arc::clone(&self.desk.bench.random);
        let probed = self.condition.probes();
        let off = self.condition.after(&posted, now, &*random);
        let delivered = posted.meaning() == Meaning::Delivered;
        self.slow = !delivered || took > SLOW;
        let order = job.id.order.clone();
        let (state, next_at) = if delivered {
            (DeliveryState::Delivered, now)
        } else {
            match again(job.attempt, posted.retry_after, &*random) {
                Some(wait) => (DeliveryState::Waiting, later(now, wait)),
                None => (DeliveryState::GivenUp, now),
            }
        };
        let outcome = match state {
            DeliveryState::Delivered => "delivered",
            DeliveryState::GivenUp => "given_up",
            DeliveryState::Waiting | DeliveryState::Behind => "failed",
        };
        metrics::counter!("stoppress_webhook_deliveries_total", "outcome" => outcome).increment(1);
        if delivered {
            self.delivered += 1;
            self.hasten |= probed;
        } else {
            let cause = posted.cause.clone().unwrap_or_default();
            tracing::debug!(loop_name = NAME, webhook = %self.row.id, message = %job.id, attempt = job.attempt, cause, "a message was not taken");
            self.failed_cause = Some(cause);
            if self.off.is_none()
                && let Some(off) = off
            {
                tracing::warn!(webhook = %self.row.id, platform = %self.row.platform, cause = off.cause(), "an endpoint is switched off");
                self.off = Some(off);
            }
        }
        if state == DeliveryState::Waiting {
            let first = self.open.entry(order.clone()).or_insert(job.id.seq);
            *first = job.id.seq.min(*first);
            let (after, rest): (Vec<Job>, Vec<Job>) =
                line.drain(..).partition(|other| !other.kept && other.id.order == order);
            line.extend(rest);
            for job in after {
                self.behind(job, now);
            }
        } else if job.kept {
            self.freed.push(order);
        }
        let attempt = job.attempt;
        let mut kept = record(job, state, attempt, next_at, now);
        kept.ended_at = (!state.is_open()).then_some(now);
        kept.status = posted.status;
        kept.took_ms = took.as_millis().try_into().unwrap_or(i64::MAX);
        kept.cause = posted.cause;
        kept.answer = posted.answer;
        self.deliveries.push(kept);
    }

    /// Writes down what came of messages, and takes more; or gives the endpoint up. Nothing if another gateway has
    /// it.
    async fn settle(
        &mut self,
        lease_until: Option<Timestamp>,
        take_due: i64,
    ) -> Result<Option<WebhookSettled>> {
        let first = self.window.front().filter(|_| self.lane == Lane::Log);
        let cursor = first.map_or(self.seen, |job| job.id.seq - 1);
        let replayed = match (self.row.replay, self.replayed) {
            (Some(was), Some(to)) => {
                let first = self.window.front().filter(|_| self.lane == Lane::Replay);
                let to = first.map_or(to, |job| (job.id.seq - 1).max(was.0));
                Some((was, (to < was.1).then_some(to)))
            }
            _ => None,
        };
        let bench = &self.desk.bench;
        let now = bench.clock.now();
        let settle = SettleWebhook {
            id: self.row.id.clone(),
            holder: bench.holder.clone(),
            fence: self.fence,
            now,
            lease_until,
            // Kept until they are written down: a store that fails may be there again a moment later.
            deliveries: self.deliveries.clone(),
            freed: self.freed.clone(),
            delivered: self.delivered,
            failed_cause: self.failed_cause.clone(),
            cursor,
            // Whoever gives it up has nothing under way.
            taken: if lease_until.is_some() { self.seen.max(cursor) } else { cursor },
            replayed,
            condition: self.condition,
            hasten: self.hasten,
            off: self.off,
            take_due,
        };
        let taken = settle.taken;
        let written = one(&*bench.store, Write::SettleWebhook(Box::new(settle))).await?;
        let Written::WebhookSettled(Some(settled)) = written else { return Ok(None) };
        (self.deliveries, self.freed) = (Vec::new(), Vec::new());
        (self.delivered, self.failed_cause, self.hasten) = (0, None, false);
        self.taken = taken;
        self.row.cursor = cursor;
        self.row.replay = settled.replay;
        let expected = replayed.map(|(was, to)| to.map(|to| (to, was.1)));
        if self.window.is_empty() || expected.is_some_and(|expected| expected != settled.replay) {
            // It is written down; or another stretch was asked for meanwhile, which begins where it says.
            self.replayed = None;
        }
        self.enabled = settled.enabled;
        self.due_at = settled.due_at;
        self.lease_until = lease_until.unwrap_or(now);
        for order in &settled.cleared {
            self.open.remove(order);
        }
        Ok(Some(*settled))
    }

    fn left(&self, lost: bool) -> Left {
        let now = self.now();
        let rest = self.condition.rest_until.filter(|until| *until > now);
        Left {
            cursor: self.row.cursor,
            version: if lost || !self.enabled { -1 } else { self.row.version },
            due_at: self.due_at,
            replay: self.row.replay,
            not_before: if lost { Some(later(now, TAKEN)) } else { rest },
        }
    }
}
