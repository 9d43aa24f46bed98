//! The labs and what really happened there, and what the gateways have told of it: kept outside of the gateways,
//! and looked at after each step.

use std::collections::{BTreeMap, BTreeSet};

use stoppress::domain::ids::{OrderId, StopId};
use stoppress::domain::lab::{Answer, Dedupes};
use stoppress::domain::order::Stage;
use stoppress::lab::Upload;

use super::cast::lab_id;
use super::hooks::Received;
use super::hub::State;
use super::kinds::Kind;
use super::parcels::{Asked, Parcels};

/// What a gateway asks a lab, or a receiver of webhooks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Takes these orders, each with its lines.
    Submit {
        key: String,
        transfer: String,
        orders: Vec<(OrderId, Vec<String>)>,
        /// Where the parcel of each of them goes, if that is said.
        ship_to: Vec<String>,
        sha256: [u8; 32],
    },
    /// Stops an order, or lines of it.
    Stop { stop: StopId, order: OrderId, items: Vec<String> },
    /// Has the lab this order?
    LookUp(OrderId),
    /// Sends the parcel of an order elsewhere.
    Readdress(Asked),
    /// A webhook.
    Post { id: String },
}

/// The end of an id: enough to tell it from others.
pub(crate) fn short(id: &str) -> &str {
    &id[id.len().saturating_sub(6)..]
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Submit { key, orders, .. } => {
                write!(f, "take under {}:", short(key))?;
                orders.iter().try_for_each(|(id, lines)| write!(f, " {}{lines:?}", short(id.as_str())))
            }
            Self::Stop { order, items, .. } => write!(f, "stop {}{items:?}", short(order.as_str())),
            Self::LookUp(order) => write!(f, "look up {}", short(order.as_str())),
            Self::Readdress(asked) => asked.fmt(f),
            Self::Post { id } => write!(f, "webhook {id}"),
        }
    }
}

impl Request {
    /// An upload, as the lab reads it.
    pub(crate) fn submit(upload: &Upload) -> Self {
        #[derive(serde::Deserialize)]
        struct Body {
            orders: Vec<Order>,
        }
        #[derive(serde::Deserialize)]
        struct Order {
            id: OrderId,
            #[serde(default)]
            ship_to: Street,
            items: Vec<Item>,
        }
        #[derive(Default, serde::Deserialize)]
        struct Street {
            line1: String,
        }
        #[derive(serde::Deserialize)]
        struct Item {
            id: String,
        }
        let body: Body = serde_json::from_slice(&upload.body).expect("a manifest");
        let lines = |order: Order| (order.id, order.items.into_iter().map(|item| item.id).collect());
        let ship_to = body.orders.iter().map(|order| order.ship_to.line1.clone()).collect();
        Self::Submit {
            key: upload.key.clone(),
            ship_to,
            transfer: upload.transfer.to_string(),
            orders: body.orders.into_iter().map(lines).collect(),
            sha256: upload.sha256,
        }
    }
}

/// A job at a lab.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) order: OrderId,
    key: String,
    /// Its lines that will be printed.
    pub(crate) lines: BTreeSet<String>,
    /// Where its parcel goes, if that was said.
    pub(crate) ship_to: String,
    /// Whether it was taken out.
    pub(crate) out: bool,
    pub(crate) stage: Stage,
    /// How far the gateways were told that it is.
    pub(crate) reported: Option<Stage>,
}

/// One lab.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) kind: Kind,
    pub(crate) jobs: Vec<Job>,
    /// When it saw a key first.
    keys: BTreeMap<String, i64>,
    refused: BTreeSet<String>,
    /// Orders that its people were told not to print.
    pub(crate) barred: BTreeSet<OrderId>,
    /// Stops that its people will answer.
    pub(crate) tasks: Vec<(StopId, OrderId, Vec<String>)>,
}

/// What was told of an order.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) stopped: bool,
    pub(crate) lines_out: BTreeSet<String>,
    /// On what evidence the last stop that took something out, and its entry in the log.
    pub(crate) evidence: String,
    pub(crate) seq: i64,
}

/// All labs, and what the gateways have told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) houses: Vec<House>,
    pub(crate) told: BTreeMap<OrderId, Told>,
    /// What went out under a key.
    frozen: BTreeMap<String, [u8; 32]>,
    /// What the receiver of webhooks was told.
    pub(crate) received: Received,
    pub(crate) parcels: Parcels,
}

/// How a lab behaves in one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mood {
    /// It refuses an upload.
    pub(crate) refuses: bool,
    /// It does so at the door, whatever the key: that says nothing of other copies.
    pub(crate) at_the_door: bool,
    /// Its people answer a stop later.
    pub(crate) later: bool,
    /// It does the opposite of what it said of an address.
    pub(crate) wavers: bool,
}

impl Ledger {
    pub(crate) fn of(kinds: &[Kind]) -> Self {
        let house = |kind: &Kind| House {
            kind: *kind,
            jobs: Vec::new(),
            keys: BTreeMap::new(),
            refused: BTreeSet::new(),
            barred: BTreeSet::new(),
            tasks: Vec::new(),
        };
        Self { houses: kinds.iter().map(house).collect(), ..Self::default() }
    }

    /// How long a lab may take to answer, in microseconds.
    pub(crate) fn answers_within(&self, lab: &str) -> i64 {
        let nth = (0..self.houses.len()).find(|nth| lab_id(*nth).as_str() == lab);
        nth.map_or(i64::MAX / 2, |nth| self.houses[nth].kind.answers_within * 1_000_000)
    }

    /// What is wrong with a call that begins now, and the stopped orders that it may name if it was claimed before they
    /// were: a stop may be decided between a claim and its call, by what the lab says of the copy before, or by its
    /// people. A lab that still knows the key when this arrives then answers as it did, and what its people keep out is
    /// kept out. Anywhere else nothing may go out any more.
    fn begins(&mut self, lab: usize, request: &Request, latest: i64) -> (Vec<String>, Vec<OrderId>) {
        if let Request::Readdress(asked) = request {
            return (self.parcels.begins(asked).into_iter().collect(), Vec::new());
        }
        let (mut wrong, mut if_before) = (Vec::new(), Vec::new());
        let Request::Submit { key, orders, sha256, .. } = request else { return (wrong, if_before) };
        let first = *self.frozen.entry(key.clone()).or_insert(*sha256);
        if first != *sha256 {
            wrong.push(format!("other bytes go out under the key {key}"));
        }
        let house = self.houses.get(lab);
        let truly = |house: &House| house.kind.profile().dedupes.truly();
        let repeats = house.is_some_and(|house| truly(house) && house.knows(key, latest));
        for (order, lines) in orders {
            let Some(told) = self.told.get(order) else { continue };
            let line = lines.iter().find(|line| told.lines_out.contains(*line));
            let kept_out = told.evidence == "person_confirmed"
                && house.is_some_and(|house| house.barred.contains(order));
            if !told.stopped && line.is_none() {
                continue;
            }
            if repeats || kept_out {
                if_before.push(order.clone());
                continue;
            }
            if told.stopped {
                wrong.push(format!("an upload begins that names {order}, which was told stopped"));
            }
            if let Some(line) = line {
                wrong.push(format!("an upload begins with line {line} of {order}, which was told stopped"));
            }
        }
        (wrong, if_before)
    }

    /// The jobs of an order that were not taken out, wherever they are.
    pub(crate) fn live(&self, order: &OrderId) -> Vec<&Job> {
        let jobs = self.houses.iter().flat_map(|house| &house.jobs);
        jobs.filter(|job| job.order == *order && !job.out).collect()
    }

    /// Whether a lab has or had an order.
    pub(crate) fn knows(&self, order: &OrderId) -> bool {
        self.houses.iter().any(|house| house.jobs.iter().any(|job| job.order == *order))
    }

    /// What is wrong with what is printed of an order.
    pub(crate) fn wrong(&self, order: &OrderId) -> Option<String> {
        let live = self.live(order);
        let told = self.told.get(order);
        if live.len() > 1 {
            return Some(format!("{order} is printed {} times", live.len()));
        }
        let job = live.first()?;
        if told.is_some_and(|told| told.stopped) {
            return Some(format!("{order} was told stopped, and is printed"));
        }
        let line = job.lines.iter().find(|line| told.is_some_and(|told| told.lines_out.contains(*line)));
        line.map(|line| format!("line {line} of {order} was told stopped, and is printed"))
    }
}

impl House {
    /// Puts an order on the floor of the lab.
    pub(crate) fn put(&mut self, order: &OrderId, key: &str, lines: &[String], ship_to: &str) {
        self.jobs.push(Job {
            order: order.clone(),
            key: key.to_owned(),
            lines: lines.iter().cloned().collect(),
            ship_to: ship_to.to_owned(),
            out: self.barred.contains(order),
            stage: Stage::Received,
            reported: None,
        });
    }

    /// Whether it knows a key, and so prints nothing of what comes under it.
    fn knows(&self, key: &str, now: i64) -> bool {
        let seen = self.keys.get(key).copied();
        match self.kind.profile().dedupes {
            Dedupes::Forever => seen.is_some(),
            Dedupes::Window(window) => {
                seen.is_some_and(|seen| now < seen + i64::try_from(window.0.as_micros()).unwrap_or(i64::MAX))
            }
            // Some know live jobs only: not enough to be told so.
            Dedupes::No => {
                self.kind.knows_live_jobs() && self.jobs.iter().any(|job| job.key == key && !job.out)
            }
        }
    }

    /// Takes a request, and says what it answers.
    fn take(&mut self, request: &Request, mood: Mood, now: i64) -> Answer {
        match request {
            Request::Submit { .. } if mood.refuses && mood.at_the_door => {
                Answer::Refused { reason: "the key of the gateway is not valid now".to_owned() }
            }
            Request::Submit { key, orders, ship_to, .. } => {
                if self.refused.contains(key) || (mood.refuses && !self.knows(key, now)) {
                    self.refused.insert(key.clone());
                    return Answer::Refused { reason: "no such paper".to_owned() };
                }
                if !self.knows(key, now) {
                    self.keys.insert(key.clone(), now);
                    for ((order, lines), ship_to) in orders.iter().zip(ship_to) {
                        self.put(order, key, lines, ship_to);
                    }
                }
                Answer::Accepted { lab_reference: None }
            }
            Request::Stop { stop, order, items } => {
                let Some(job) = self.jobs.iter().rposition(|job| job.order == *order) else {
                    return Answer::NotFound;
                };
                if mood.later && !self.jobs[job].out {
                    if !self.tasks.iter().any(|(known, _, _)| known == stop) {
                        self.tasks.push((stop.clone(), order.clone(), items.clone()));
                    }
                    return Answer::AnswerLater;
                }
                self.stop(order, items)
            }
            Request::LookUp(order) => match self.jobs.iter().rev().find(|job| job.order == *order) {
                None => Answer::NotFound,
                Some(job) if job.out => Answer::Removed { reason: None, items: Vec::new() },
                Some(job) if job.stage == Stage::Received => Answer::Accepted { lab_reference: None },
                Some(job) => Answer::WillPrint { reason: None, stage: job.stage },
            },
            Request::Readdress(_) | Request::Post { .. } => Answer::Accepted { lab_reference: None },
        }
    }

    /// The job of an order: the one that is alive, or the last that was.
    pub(crate) fn job_of(&mut self, order: &OrderId) -> Option<&mut Job> {
        let of = |job: &Job| job.order == *order;
        let alive = self.jobs.iter().position(|job| of(job) && !job.out);
        let at = alive.or_else(|| self.jobs.iter().rposition(of))?;
        self.jobs.get_mut(at)
    }

    /// Takes an order out, or lines of it, if it is not too late.
    pub(crate) fn stop(&mut self, order: &OrderId, items: &[String]) -> Answer {
        let live = self.jobs.iter_mut().find(|job| job.order == *order && !job.out);
        match live {
            None => Answer::Removed { reason: None, items: items.to_vec() },
            Some(job) if job.stage > Stage::Received => Answer::WillPrint { reason: None, stage: job.stage },
            Some(job) => {
                if items.is_empty() {
                    job.out = true;
                } else {
                    job.lines.retain(|line| !items.contains(line));
                    job.out = job.lines.is_empty();
                }
                Answer::Removed { reason: None, items: items.to_vec() }
            }
        }
    }
}

impl State {
    /// Looks at a call that begins.
    pub(crate) fn starts(&mut self, lab: usize, request: &Request, latest: i64) {
        let (wrong, if_before) = self.ledger.begins(lab, request, latest);
        self.faults.extend(wrong);
        if let Request::Submit { transfer, orders, .. } = request {
            self.handed = orders.iter().map(|(order, _)| order.clone()).collect();
            self.begun.push((transfer.clone(), if_before));
        }
    }

    /// A copy of a call arrives at its lab.
    pub(crate) fn arrives(&mut self, at: usize, mood: Mood) {
        let now = self.now;
        let (lab, request) = (self.calls[at].lab, self.calls[at].request.clone());
        let answer = match (&request, self.ledger.houses.get_mut(lab)) {
            (Request::Post { id }, _) => {
                let wrong = self.ledger.received.takes(id);
                self.faults.extend(wrong);
                Answer::Accepted { lab_reference: None }
            }
            (Request::Readdress(asked), _) => {
                let shown = self.shown();
                let (answer, wrong) = self.ledger.readdress(lab, asked, mood, shown);
                self.faults.extend(wrong);
                answer
            }
            (_, Some(house)) => house.take(&request, mood, now),
            (_, None) => Answer::NotFound,
        };
        self.tell(format!("lab {lab} is reached: {request:?}: {}", answer.word()));
        let call = &mut self.calls[at];
        call.copies -= 1;
        if call.said.is_none() {
            call.said = Some(answer.into());
        }
        if let Request::Submit { orders, .. } = request {
            let wrong: Vec<String> =
                orders.iter().filter_map(|(order, _)| self.ledger.wrong(order)).collect();
            self.faults.extend(wrong);
        }
    }

    /// Whether a copy of an upload that names an order is still on its way.
    pub(crate) fn is_under_way(&self, order: &OrderId) -> bool {
        self.calls.iter().any(|call| {
            call.copies > 0
                && matches!(&call.request, Request::Submit { orders, .. } if orders.iter().any(|(id, _)| id == order))
        })
    }
}
