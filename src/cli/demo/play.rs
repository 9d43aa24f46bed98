//! The play: the clock moves from event to event, and stands still while anybody is at work.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use futures_util::StreamExt as _;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Error;
use super::check::{Account, Told};
use super::house::House;
use super::person::Desk;
use super::screen::Screen;
use super::script::{Act, Cancel, Deed, Script};
use super::wire::{Batch, Odd, Order, Reply, StopAnswer, Verdict};
use crate::cli::simulate::ledger::What;
use crate::clock::{Clock as _, HostClock, Random as _, SeededRandom};
use crate::domain::batch::later;
use crate::domain::ids::BatchId;
use crate::domain::order::ItemKind;
use crate::domain::stop::StopState;
use crate::domain::verdict::CanStop;
use crate::store::{Write, one};

/// Calls of shops at the same time.
const AT_ONCE: usize = 8;
/// So often a shop asks how a stop stands that is not decided.
const ASKS_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// The shortest step of the clock that is told.
const TICK: SignedDuration = SignedDuration::from_millis(1);
/// One of so many customers watches the clock.
const WATCHERS: u64 = 12;

/// What came of the play, as the shops know it.
#[derive(Debug, Default)]
pub struct Book {
    /// Every order that was accepted.
    pub accounts: Vec<Account>,
    by_reference: HashMap<(usize, String), usize>,
    by_id: HashMap<String, usize>,
    /// Orders that were refused, and why.
    pub refused: Vec<String>,
    /// Stops that were asked, of accepted orders.
    pub asked: usize,
    /// Of these, by customers who watch the clock.
    pub watching: usize,
    /// Stops of orders that the gateway does not know.
    pub unknown: usize,
    /// Calls to the API.
    pub calls: usize,
    /// Answers that should not have been.
    pub odd: Vec<String>,
    /// Prints that labs reported.
    pub reported: usize,
    /// Every window in which there was an order: its cutoff, batch and label.
    pub windows: BTreeMap<(Timestamp, BatchId), String>,
    shop_of: Vec<usize>,
    open: BTreeSet<usize>,
    asked_again: Option<Timestamp>,
}

/// What an act came to.
enum Done {
    Submitted(usize, String, bool, Result<Reply, Odd>),
    Cancelled(usize, Cancel, Result<(Option<Reply>, Reply), Odd>),
}

/// The play.
pub(super) struct Play<'a> {
    house: &'a mut House,
    acts: VecDeque<Act>,
    watchers: bool,
    dice: SeededRandom,
    hour: i64,
    announced: Option<(Timestamp, BatchId)>,
    book: Book,
    desk: Desk,
    screen: &'a mut Screen,
}

impl<'a> Play<'a> {
    /// A play that has not begun.
    pub(super) fn new(house: &'a mut House, script: &Script, seed: u64, screen: &'a mut Screen) -> Self {
        Self {
            house,
            acts: script.acts.iter().cloned().collect(),
            watchers: script.watchers,
            dice: SeededRandom::new(seed.wrapping_add(77)),
            hour: 0,
            announced: None,
            book: Book::default(),
            desk: Desk::default(),
            screen,
        }
    }

    /// Plays to the end: until nothing is due and the labs have printed all that they will.
    ///
    /// # Errors
    /// If the gateway does not answer.
    pub(super) async fn run(&mut self) -> Result<(), Error> {
        let mut wake = self.house.settled().await?;
        while let Some(next) = self.next(wake) {
            if next > self.house.now() {
                self.house.clock.set(next);
            }
            self.act().await;
            self.report().await?;
            self.house.settled().await?;
            self.look().await?;
            wake = self.house.settled().await?;
            for staff in &mut self.house.labs {
                let prints = || staff.lab.prints_between().map(|(next, _)| next);
                staff.prints = if staff.role.dials() { staff.lab.moves_at() } else { prints() };
            }
            self.screen.at(self.house.now(), &self.book);
        }
        let last =
            self.house.labs.iter().filter_map(|staff| staff.lab.prints_between()).map(|(_, last)| last).max();
        if let Some(last) = last.filter(|last| *last > self.house.now()) {
            self.house.clock.set(last);
            self.house.settled().await?;
        }
        Ok(self.read_all().await?)
    }

    /// What the shops know, and what the person did.
    pub(crate) fn end(self) -> (Book, Desk) {
        (self.book, self.desk)
    }

    /// The next instant at which something happens.
    fn next(&self, wake: Option<Timestamp>) -> Option<Timestamp> {
        let now = self.house.now();
        let labs = self.house.labs.iter().flat_map(|staff| {
            let prints = staff.prints.filter(|_| staff.role.reports || staff.role.dials());
            [prints, staff.lab.behaviour().next_edge(now)]
        });
        let again = self.book.asked_again.filter(|_| !self.book.open.is_empty());
        let act = self.acts.front().map(|act| act.at);
        // What is due for the shops' own curiosity alone does not keep the play going.
        let next = labs.flatten().chain(act).chain(wake).chain(self.desk.next()).min();
        next.map(|next| again.map_or(next, |again| next.min(again.max(now))))
    }

    /// Does what the shops do now.
    async fn act(&mut self) {
        let now = self.house.now();
        let mut due = Vec::new();
        while let Some(act) = self.acts.pop_front_if(|act| act.at <= now) {
            due.push(act);
        }
        let racing = due.iter().any(|act| matches!(&act.deed, Deed::Cancel(cancel) if cancel.racing));
        let doing: Vec<_> = due.into_iter().map(|act| self.doing(act)).collect();
        let all = futures_util::stream::iter(doing).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let done = if racing {
            // The clock goes over the cutoff while these are on their way.
            let mut micros = [0; 2];
            self.dice.fill(&mut micros);
            let pause = SignedDuration::from_micros(i64::from(u16::from_le_bytes(micros) % 900));
            let all = tokio::spawn(all);
            let until = later(HostClock.now(), pause);
            while HostClock.now() < until {
                tokio::task::yield_now().await;
            }
            self.house.clock.set(later(now, TICK));
            all.await.unwrap_or_default()
        } else {
            all.await
        };
        for done in done {
            self.note(done);
        }
    }

    fn doing(&self, act: Act) -> impl Future<Output = Done> + Send + 'static {
        let caller = self.house.shops[act.shop].clone();
        let known = match &act.deed {
            Deed::Submit(_) => None,
            Deed::Cancel(cancel) => {
                self.book.by_reference.get(&(act.shop, cancel.reference.clone())).copied()
            }
        };
        let id = known.map(|nth| self.book.accounts[nth].id.clone());
        async move {
            match act.deed {
                Deed::Submit(order) => {
                    let printed = order.items.iter().any(|item| item.kind == ItemKind::Print);
                    let body = serde_json::to_value(&*order).unwrap_or_default();
                    Done::Submitted(act.shop, order.reference, printed, caller.post(&["orders"], &body).await)
                }
                Deed::Cancel(cancel) => {
                    // Half of the shops name orders by their own reference.
                    let name = match id {
                        Some(id) if act.shop % 2 == 1 => id,
                        _ => format!("@{}", cancel.reference),
                    };
                    let body = json!({ "reason": cancel.reason, "asked_by": "customer" });
                    let both = async {
                        // Who is in a hurry does not ask first whether it is of use.
                        let verdict = if cancel.racing {
                            None
                        } else {
                            Some(caller.call(Method::GET, &["orders", &name, "verdict"], "", None).await?)
                        };
                        Ok((verdict, caller.post(&["orders", &name, "stop"], &body).await?))
                    };
                    let both = both.await;
                    Done::Cancelled(act.shop, cancel, both)
                }
            }
        }
    }

    fn note(&mut self, done: Done) {
        self.book.calls += 1;
        match done {
            Done::Submitted(shop, reference, printed, reply) => match reply {
                Ok(reply) if reply.status < 300 => match reply.read::<Order>("POST orders") {
                    Ok(order) => self.accepted(shop, order, printed),
                    Err(odd) => self.book.odd.push(odd.to_string()),
                },
                Ok(reply) if reply.status == 422 => {
                    self.book.refused.push(format!("{reference}: {}", faults(&reply)));
                }
                Ok(reply) => self.book.odd.push(format!("{reference}: {} {}", reply.status, reply.body)),
                Err(odd) => self.book.odd.push(odd.to_string()),
            },
            Done::Cancelled(shop, cancel, both) => {
                self.book.calls += 1;
                let known = self.book.by_reference.get(&(shop, cancel.reference.clone())).copied();
                match (both, known) {
                    (Ok((_, reply)), None) if reply.status == 404 => self.book.unknown += 1,
                    (Ok((verdict, reply)), Some(nth)) => {
                        // The clock stood still since it was asked, unless it was a race.
                        let race = if cancel.racing { TICK } else { SignedDuration::ZERO };
                        self.stopped(nth, later(self.house.now(), -race), verdict.as_ref(), &reply);
                    }
                    (Ok((_, reply)), None) => {
                        let text = format!(
                            "a stop of {}, which nobody submitted: {}",
                            cancel.reference, reply.status
                        );
                        self.book.odd.push(text);
                    }
                    (Err(odd), _) => self.book.odd.push(odd.to_string()),
                }
            }
        }
    }

    fn accepted(&mut self, shop: usize, order: Order, printed: bool) {
        let id = order.id.to_string();
        if self.book.by_id.contains_key(&id) {
            return;
        }
        let nth = self.book.accounts.len();
        let label = format!("{}/{}", order.lab, order.region);
        if let Some(window) = &order.window {
            self.book
                .windows
                .insert((window.closes_at, window.batch.clone()), window.closes_at_local.clone());
            if self.watchers {
                self.watch(shop, &order.reference, window.closes_at);
            }
        }
        let window = order.window.as_ref().map(|window| window.closes_at);
        self.book.by_reference.insert((shop, order.reference.clone()), nth);
        self.book.by_id.insert(id.clone(), nth);
        self.book.shop_of.push(shop);
        self.book.accounts.push(Account {
            id,
            reference: order.reference,
            lab: label,
            promised: window.max(order.verdict.until),
            printed,
            told: Vec::new(),
            state: None,
        });
    }

    /// Some customers stop their order around the cutoff: that is where mistakes would be.
    fn watch(&mut self, shop: usize, reference: &str, cutoff: Timestamp) {
        let mut drawn = [0; 2];
        self.dice.fill(&mut drawn);
        let drawn = u64::from(u16::from_le_bytes(drawn));
        let cancels = |act: &Act| matches!(&act.deed, Deed::Cancel(cancel) if act.shop == shop && cancel.reference == reference);
        if drawn % WATCHERS != 0 || self.acts.iter().any(cancels) {
            return;
        }
        let second = SignedDuration::from_secs(1);
        let (after, racing) = match drawn / WATCHERS % 6 {
            0 => (-second * 60, false),
            1 | 2 => (-TICK, true),
            3 => (SignedDuration::ZERO, false),
            4 => (second, false),
            _ => (second * 90, false),
        };
        let at = later(cutoff, after).max(self.house.now());
        let reason = "changed my mind at the last moment".to_owned();
        let cancel = Cancel { reference: reference.to_owned(), reason, racing };
        let place = self.acts.partition_point(|act| act.at <= at);
        self.acts.insert(place, Act { at, shop, deed: Deed::Cancel(cancel) });
        self.book.watching += 1;
    }

    fn stopped(&mut self, nth: usize, sent: Timestamp, verdict: Option<&Reply>, reply: &Reply) {
        let at = self.house.now();
        let verdict = verdict.map(|verdict| verdict.read::<Verdict>("GET verdict")).transpose();
        match (verdict, reply.read::<StopAnswer>("POST stop")) {
            (Ok(verdict), Ok(answer)) => {
                let account = &mut self.book.accounts[nth];
                if let Some(verdict) = verdict.filter(|verdict| verdict.can_stop == CanStop::Yes) {
                    account.promised = account.promised.max(verdict.until);
                }
                if account.told.is_empty() {
                    self.book.asked += 1;
                    let stamped = answer.stop.asked_at;
                    if stamped < sent || stamped > at {
                        let text = format!(
                            "{}: asked at {sent}, and taken as asked at {stamped}",
                            account.reference
                        );
                        self.book.odd.push(text);
                    }
                }
                self.told(nth, at, &answer);
            }
            (verdict, answer) => {
                let odd = [verdict.err(), answer.err()];
                self.book.odd.extend(odd.into_iter().flatten().map(|odd| odd.to_string()));
            }
        }
    }

    fn told(&mut self, nth: usize, at: Timestamp, answer: &StopAnswer) {
        let stop = &answer.stop;
        if matches!(stop.state, StopState::Pending | StopState::WithAPerson) {
            self.book.open.insert(nth);
        } else {
            self.book.open.remove(&nth);
        }
        let account = &mut self.book.accounts[nth];
        if account.id != stop.order.as_str() {
            let text = format!("{}: the stop of {} was shown for {}", stop.id, stop.order, account.id);
            self.book.odd.push(text);
            return;
        }
        account.told.push(Told { at, asked_at: stop.asked_at, state: stop.state, evidence: stop.evidence });
    }

    /// The labs report what they have printed.
    async fn report(&mut self) -> Result<(), Odd> {
        let mut calls = Vec::new();
        let now = self.house.now();
        for staff in self.house.labs.iter_mut().filter(|staff| staff.role.reports) {
            // What was taken in at the last step is printed later than that.
            let due = staff.prints.is_some_and(|at| at <= now);
            if !due {
                continue;
            }
            let ledger = staff.lab.ledger();
            let entries = ledger.entries();
            for entry in &entries[staff.reported.min(entries.len())..] {
                if let What::Printed { order, .. } = &entry.what {
                    let (caller, order) = (staff.caller.clone(), order.clone());
                    calls.push(async move {
                        let body = json!({ "stage": "printed" });
                        caller.post(&["lab", "orders", &order, "status"], &body).await
                    });
                }
            }
            staff.reported = entries.len();
        }
        for reply in futures_util::stream::iter(calls).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            self.book.calls += 1;
            self.book.reported += 1;
            let reply = reply?;
            if reply.status != 200 {
                self.book.odd.push(format!("a lab's report of a print: {} {}", reply.status, reply.body));
            }
        }
        Ok(())
    }

    /// Looks at what came of it: windows that closed, stops that were decided, cases for the person.
    async fn look(&mut self) -> Result<(), Error> {
        let now = self.house.now();
        for staff in &self.house.labs {
            self.screen.lab(staff, now);
        }
        let closed: Vec<_> = self
            .book
            .windows
            .range((
                self.announced.as_ref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
                std::ops::Bound::Unbounded,
            ))
            .map(|(key, _)| key.clone())
            .take_while(|(closes_at, _)| *closes_at <= now)
            .collect();
        for key in closed {
            let batch: Batch = self.house.ops.get(&["batches", key.1.as_str()], "").await?;
            self.book.calls += 1;
            self.screen.closed(&batch);
            self.announced = Some(key);
        }
        let mut ask = false;
        if !self.book.open.is_empty() && self.book.asked_again.is_none_or(|at| at <= now) {
            self.book.asked_again = Some(later(now, ASKS_AGAIN));
            ask = true;
        }
        if self.desk.next().is_some_and(|at| at <= now) {
            self.desk.decide(self.house).await?;
            self.house.settled().await?;
            ask = true;
        }
        if ask {
            for nth in self.book.open.clone() {
                self.read(nth).await?;
            }
        }
        let hour = now.as_second() / 3600;
        let hourly = hour != self.hour;
        if hourly {
            self.hour = hour;
            if let Err(error) = one(&*self.house.gateway.bench.store, Write::Checkpoint { at: now }).await {
                self.book.odd.push(format!("a checkpoint: {error}"));
            }
        }
        if hourly || ask {
            self.desk.look(self.house).await?;
        }
        let waits = |nth: &usize| {
            self.book.accounts[*nth].last().is_some_and(|told| told.state == StopState::Pending)
        };
        if !self.book.open.iter().any(waits) {
            self.book.asked_again = None;
        }
        Ok(())
    }

    async fn read(&mut self, nth: usize) -> Result<(), Odd> {
        let id = self.book.accounts[nth].id.clone();
        let answer: StopAnswer =
            self.house.shops[self.book.shop_of[nth]].get(&["orders", &id, "stop"], "").await?;
        self.book.calls += 1;
        self.told(nth, self.house.now(), &answer);
        Ok(())
    }

    /// The shops read all their orders once more.
    async fn read_all(&mut self) -> Result<(), Odd> {
        let at = self.house.now();
        for caller in self.house.shops.clone() {
            let orders: Vec<Order> = caller.all(&["orders"], "orders", "").await?;
            self.book.calls += orders.len().div_ceil(200);
            for order in orders {
                let Some(nth) = self.book.by_id.get(order.id.as_str()).copied() else {
                    self.book.odd.push(format!("{} is listed, and was never accepted", order.id));
                    continue;
                };
                self.book.accounts[nth].state = Some(order.state);
                if let Some(stop) = order.stop {
                    self.told(nth, at, &StopAnswer { stop });
                }
            }
        }
        Ok(())
    }
}

fn faults(reply: &Reply) -> String {
    let faults = reply.body["errors"].as_array();
    let texts = faults.into_iter().flatten().map(|fault| {
        let (field, message) = (fault["field"].as_str(), fault["message"].as_str());
        format!("{}: {}", field.unwrap_or_default(), message.unwrap_or_default())
    });
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() { reply.body.to_string() } else { texts.join("; ") }
}
