//! The honest ledger of a simulated lab: what it received, printed, took out and answered, however
//! it misbehaves towards the gateway.
//!
//! One JSON object a line, only ever appended, and on disk before anything is answered; a restart
//! reads it again. A last line without an end was cut by a crash, and nothing was answered upon it:
//! it is taken off.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::behaviour::{Behaviour, Forgets, Stops};
pub use super::verdict::{Seen, Submitted, Taken, Verdict};
use crate::domain::batch::later;
use crate::domain::order::Stage;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// An order in an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The order.
    pub order: String,
    /// Pieces to print, over all its items; 0 where nothing is printed.
    pub copies: u64,
    /// What the lab called it when it was sent ahead, as the upload says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_reference: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the calls")]
pub enum What {
    /// Orders were taken; each will be printed at `prints_at` unless it is taken out before.
    Received { transfer: String, key: String, sha256: String, orders: Vec<Job>, prints_at: Timestamp },
    /// An order was sent ahead: it is held, and printed only when an upload carries it.
    Held { order: String },
    /// An order that was sent ahead is not coming.
    Discarded { order: String },
    /// The same upload came again, and was taken as the same.
    Repeated { transfer: String, key: String },
    /// An upload was refused.
    Refused { transfer: String, key: String, reason: String },
    /// An order was printed once more: physically.
    Printed { order: String, copies: u64 },
    /// An order was taken out before it was printed.
    Removed { order: String, stop: String },
    /// A stop was asked.
    StopAsked { order: String, stop: String },
    /// A stop was answered, or is going to be: `answer_later`.
    StopAnswered { order: String, stop: String, answer: Said },
    /// A call was done, and its answer lost on the way.
    AnswerLost { call: String },
}

/// What the lab says to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It will not be printed.
    Removed,
    /// It is or will be printed.
    WillPrint,
    /// Wait for it.
    AnswerLater,
    /// There is no such order.
    NotFound,
    /// The lab has no such operation.
    NotTaken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Waiting,
    Printed,
    Removed,
}

#[derive(Debug, Clone, Default)]
struct OrderState {
    jobs: Vec<(u64, Timestamp, At)>,
    stops: BTreeMap<String, Vec<Said>>,
}

#[derive(Debug, Clone)]
struct KeyState {
    sha256: String,
    received_at: Timestamp,
    orders: Vec<String>,
    number: usize,
}

/// The ledger: the lines, and what they come to.
#[derive(Debug, Default)]
pub struct Ledger {
    file: Option<File>,
    /// The bytes in the file that are whole lines.
    length: u64,
    entries: Vec<Entry>,
    orders: BTreeMap<String, OrderState>,
    keys: HashMap<String, KeyState>,
    refused: HashSet<String>,
    held: BTreeSet<String>,
    due: BTreeSet<(Timestamp, String, usize)>,
}

impl Ledger {
    /// Opens the ledger in `path`, or makes it; without a path it is kept in memory only.
    ///
    /// # Errors
    /// If the file cannot be used, or a line other than the last cannot be read.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let mut ledger = Self::default();
        let Some(path) = path else { return Ok(ledger) };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for (nth, line) in
            text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate()
        {
            let entry: Entry = serde_json::from_slice(line).map_err(|error| {
                let what = format!("{}: line {}: {error}", path.display(), nth + 1);
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?;
            ledger.apply(entry);
        }
        if whole < text.len() {
            file.set_len(whole as u64)?;
        }
        file.sync_all()?;
        ledger.length = whole as u64;
        ledger.file = Some(file);
        Ok(ledger)
    }

    /// The ledger as it is now, in memory only.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self {
            file: None,
            length: 0,
            entries: self.entries.clone(),
            orders: self.orders.clone(),
            keys: self.keys.clone(),
            refused: self.refused.clone(),
            held: self.held.clone(),
            due: self.due.clone(),
        }
    }

    /// All lines.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The orders that were sent ahead and that no upload has carried yet.
    #[must_use]
    pub fn held(&self) -> &BTreeSet<String> {
        &self.held
    }

    /// How often an order was printed.
    #[must_use]
    pub fn prints(&self, order: &str) -> u64 {
        self.orders.get(order).map_or(0, |state| count(state, At::Printed))
    }

    /// What became of each order.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let verdict = |(order, state): (&String, &OrderState)| Verdict {
            order: order.clone(),
            received: state.jobs.len() as u64,
            prints: count(state, At::Printed),
            copies: state.jobs.iter().filter(|job| job.2 == At::Printed).map(|job| job.0).sum(),
            removed: count(state, At::Removed),
            waiting: count(state, At::Waiting),
            stops: state.stops.clone(),
        };
        self.orders.iter().map(verdict).collect()
    }

    /// The stops that were answered with "later", and nothing since: order and stop.
    #[must_use]
    pub fn owed(&self) -> Vec<(String, String)> {
        let owes = |(order, state): (&String, &OrderState)| {
            let open = state.stops.iter().filter(|(_, said)| said.last() == Some(&Said::AnswerLater));
            open.map(|(stop, _)| (order.clone(), stop.clone())).collect::<Vec<_>>()
        };
        self.orders.iter().flat_map(owes).collect()
    }

    /// When the next order is printed.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// When the last order that waits is printed.
    #[must_use]
    pub fn last_due(&self) -> Option<Timestamp> {
        self.due.last().map(|(at, ..)| *at)
    }

    /// Prints what is due.
    pub fn catch_up(&mut self, now: Timestamp) -> io::Result<()> {
        let due = self.due.iter().take_while(|(at, ..)| *at <= now);
        let lines = due
            .filter_map(|(at, order, job)| {
                let copies = self.orders.get(order)?.jobs.get(*job)?.0;
                Some(Entry { at: *at, what: What::Printed { order: order.clone(), copies } })
            })
            .collect();
        self.append(lines)
    }

    /// Takes an upload, or not.
    pub fn submit(
        &mut self,
        now: Timestamp,
        upload: Submitted,
        behaviour: &Behaviour,
        refuse: bool,
    ) -> io::Result<Taken> {
        self.catch_up(now)?;
        let Submitted { transfer, key, sha256, not_after, mut orders } = upload;
        let most = behaviour.takes_at_most.map_or(usize::MAX, |most| most as usize);
        let known = self.keys.get(&key).filter(|known| self.remembers(known, now, behaviour.forgets_keys));
        let same = known.is_some_and(|known| known.sha256 == sha256);
        let reference = known.filter(|_| same).map(|known| reference(known.number));
        let refusal = if known.is_some() {
            let other = !same && !behaviour.takes_other_bytes;
            other.then(|| "the same key came with another manifest".to_owned())
        } else if refuse || self.refused.contains(&key) {
            Some("the lab does not take this upload".to_owned())
        } else if orders.len() > most && !behaviour.drops_the_rest {
            Some(format!("the lab takes {most} orders at a time"))
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.line(now, What::Refused { transfer, key, reason: reason.clone() })?;
            return Ok(Taken::Refused(reason));
        }
        // What the lab has, it has, however late it is asked again.
        if known.is_none()
            && let Some(until) = not_after.filter(|until| now > *until && !behaviour.ignores_not_after)
        {
            let reason = format!("it came after {until}");
            self.line(now, What::Refused { transfer, key, reason: reason.clone() })?;
            return Ok(Taken::TooLate(reason));
        }
        match reference {
            Some(reference) if !behaviour.duplicates => {
                self.line(now, What::Repeated { transfer, key })?;
                Ok(Taken::Accepted(reference))
            }
            _ => {
                orders.truncate(most);
                let prints_at = later(now, behaviour.prints_after.0);
                self.line(now, What::Received { transfer, key: key.clone(), sha256, orders, prints_at })?;
                Ok(Taken::Accepted(reference_of(self.keys.get(&key))))
            }
        }
    }

    /// Answers a stop, or says that it will.
    pub fn stop(
        &mut self,
        now: Timestamp,
        order: &str,
        stop: &str,
        behaviour: &Behaviour,
    ) -> io::Result<(Said, Stage)> {
        self.catch_up(now)?;
        let asked = What::StopAsked { order: order.to_owned(), stop: stop.to_owned() };
        if behaviour.answers_late.is_some() && behaviour.stops != Stops::No && self.orders.contains_key(order)
        {
            let answered = What::StopAnswered {
                order: order.to_owned(),
                stop: stop.to_owned(),
                answer: Said::AnswerLater,
            };
            self.append(vec![Entry { at: now, what: asked }, Entry { at: now, what: answered }])?;
            return Ok((Said::AnswerLater, Stage::default()));
        }
        self.decide(now, order, stop, behaviour, Some(asked))
    }

    /// The lab's final word on a stop, done and written down.
    pub fn decide(
        &mut self,
        now: Timestamp,
        order: &str,
        stop: &str,
        behaviour: &Behaviour,
        asked: Option<What>,
    ) -> io::Result<(Said, Stage)> {
        self.catch_up(now)?;
        let mut lines: Vec<_> = asked.into_iter().collect();
        let (order, stop) = (order.to_owned(), stop.to_owned());
        let (answer, stage) = match self.orders.get(&order) {
            _ if behaviour.stops == Stops::No => (Said::NotTaken, Stage::Received),
            _ if behaviour.stops == Stops::Lies => (Said::Removed, Stage::Received),
            None => (Said::NotFound, Stage::Received),
            Some(state) if count(state, At::Printed) > 0 => (Said::WillPrint, Stage::Printed),
            Some(_) if behaviour.stops == Stops::TooLate => (Said::WillPrint, Stage::Received),
            Some(state) => {
                let waiting = usize::try_from(count(state, At::Waiting)).unwrap_or_default();
                let removed = What::Removed { order: order.clone(), stop: stop.clone() };
                lines.extend(std::iter::repeat_n(removed, waiting));
                (Said::Removed, Stage::Received)
            }
        };
        lines.push(What::StopAnswered { order, stop, answer });
        self.append(lines.into_iter().map(|what| Entry { at: now, what }).collect())?;
        Ok((answer, stage))
    }

    /// How far an order is: `None` if there is none.
    pub fn look_up(&mut self, now: Timestamp, order: &str) -> io::Result<Option<Seen>> {
        self.catch_up(now)?;
        Ok(self.orders.get(order).filter(|state| !state.jobs.is_empty()).map(|state| {
            let (printed, waiting) = (count(state, At::Printed), count(state, At::Waiting));
            let stage = match (printed, waiting) {
                (0, 0) => None,
                (0, _) => Some(Stage::Received),
                _ => Some(Stage::Printed),
            };
            Seen { stage, prints: printed + waiting }
        }))
    }

    /// Whether the lab has or had an order.
    #[must_use]
    pub fn has(&self, order: &str) -> bool {
        self.orders.contains_key(order)
    }

    /// Whether an upload came under this key.
    #[must_use]
    pub fn knows(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Writes one line.
    pub fn line(&mut self, at: Timestamp, what: What) -> io::Result<()> {
        self.append(vec![Entry { at, what }])
    }

    fn append(&mut self, lines: Vec<Entry>) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(file) = &mut self.file {
            let mut text = Vec::new();
            for line in &lines {
                serde_json::to_writer(&mut text, line)?;
                text.push(b'\n');
            }
            let written = file.write_all(&text).and_then(|()| file.sync_data());
            if let Err(error) = written {
                // Half a line would spoil the next one.
                let _ = file.set_len(self.length);
                return Err(error);
            }
            self.length += text.len() as u64;
        }
        for line in lines {
            self.apply(line);
        }
        Ok(())
    }

    fn remembers(&self, key: &KeyState, now: Timestamp, forgets: Forgets) -> bool {
        match forgets {
            Forgets::No => true,
            Forgets::After(lasting) => now < later(key.received_at, lasting.0),
            Forgets::AfterRemoval => {
                let gone = |order: &String| {
                    self.orders.get(order).is_some_and(|state| count(state, At::Removed) > 0)
                };
                !key.orders.iter().any(gone)
            }
        }
    }

    fn apply(&mut self, entry: Entry) {
        match &entry.what {
            What::Held { order } => {
                self.held.insert(order.clone());
            }
            What::Discarded { order } => {
                self.held.remove(order);
            }
            What::Received { key, sha256, orders, prints_at, .. } => {
                for job in orders {
                    self.held.remove(&job.order);
                    let state = self.orders.entry(job.order.clone()).or_default();
                    if job.copies > 0 {
                        self.due.insert((*prints_at, job.order.clone(), state.jobs.len()));
                    }
                    state.jobs.push((job.copies, *prints_at, At::Waiting));
                }
                let orders = orders.iter().map(|job| job.order.clone()).collect();
                let number = self.entries.len() + 1;
                let state = KeyState { sha256: sha256.clone(), received_at: entry.at, orders, number };
                self.keys.insert(key.clone(), state);
            }
            What::Refused { key, .. } => {
                self.refused.insert(key.clone());
            }
            What::Printed { order, .. } => self.finish(order, At::Printed),
            What::Removed { order, .. } => self.finish(order, At::Removed),
            What::StopAnswered { order, stop, answer } => {
                // Only of orders that are or were here.
                if let Some(state) = self.orders.get_mut(order) {
                    state.stops.entry(stop.clone()).or_default().push(*answer);
                }
            }
            What::Repeated { .. } | What::StopAsked { .. } | What::AnswerLost { .. } => {}
        }
        self.entries.push(entry);
    }

    /// Ends the first job of an order that waits.
    fn finish(&mut self, order: &str, end: At) {
        let Some(state) = self.orders.get_mut(order) else { return };
        let waiting = state.jobs.iter_mut().enumerate().filter(|(_, job)| job.2 == At::Waiting);
        if let Some((nth, job)) = waiting.min_by_key(|(nth, job)| (job.1, *nth)) {
            job.2 = end;
            self.due.remove(&(job.1, order.to_owned(), nth));
        }
    }
}

fn count(state: &OrderState, end: At) -> u64 {
    state.jobs.iter().filter(|job| job.2 == end).count() as u64
}

fn reference(number: usize) -> String {
    format!("SIM-{number:06}")
}

fn reference_of(key: Option<&KeyState>) -> String {
    key.map(|key| reference(key.number)).unwrap_or_default()
}
