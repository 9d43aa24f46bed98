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

use super::behaviour::{Behaviour, Forgets, Stops};
pub use super::entry::{Asked, Entry, Job, Said, What};
pub use super::verdict::{Seen, Submitted, Taken, Verdict};
use crate::domain::batch::later;
use crate::domain::order::Stage;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Waiting,
    Printed,
    Removed,
}

/// What happens to a job by itself, beside that it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Begins,
    Ships,
}

#[derive(Debug, Clone, Default)]
struct OrderState {
    jobs: Vec<(u64, Timestamp, At)>,
    /// What each job prints, by its items.
    lines: Vec<BTreeMap<String, u64>>,
    /// The furthest that any of its jobs came.
    reached: Stage,
    stops: BTreeMap<String, Vec<Said>>,
    /// The items that stops named.
    named: BTreeMap<String, Vec<String>>,
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
    steps: BTreeSet<(Timestamp, Step, String, usize)>,
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
            steps: self.steps.clone(),
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

    /// The stops that were answered with "later", and nothing since.
    #[must_use]
    pub fn owed(&self) -> Vec<Asked> {
        let owes = |(order, state): (&String, &OrderState)| {
            let open = state.stops.iter().filter(|(_, said)| said.last() == Some(&Said::AnswerLater));
            let asked = |stop: &String| Asked {
                order: order.clone(),
                stop: stop.clone(),
                items: state.named.get(stop).cloned().unwrap_or_default(),
            };
            open.map(|(stop, _)| asked(stop)).collect::<Vec<_>>()
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

    /// When the ledger moves next by itself: an order is begun, printed or shipped.
    #[must_use]
    pub fn moves_at(&self) -> Option<Timestamp> {
        self.steps.first().map(|(at, ..)| *at).into_iter().chain(self.next_due()).min()
    }

    /// The orders of which something was begun, and how far they are.
    #[must_use]
    pub fn reached(&self) -> BTreeMap<String, Stage> {
        let begun = self.orders.iter().filter(|(_, state)| state.reached > Stage::Received);
        begun.map(|(order, state)| (order.clone(), state.reached)).collect()
    }

    /// Begins, prints and ships what is due.
    pub fn catch_up(&mut self, now: Timestamp) -> io::Result<()> {
        let due = self.due.iter().take_while(|(at, ..)| *at <= now);
        let printed = due.filter_map(|(at, order, job)| {
            let state = self.orders.get(order)?;
            let (copies, lines) = (state.jobs.get(*job)?.0, state.lines.get(*job)?.clone());
            Some(Entry { at: *at, what: What::Printed { order: order.clone(), copies, lines } })
        });
        let steps = self.steps.iter().take_while(|(at, ..)| *at <= now).map(|(at, step, order, _)| {
            let order = order.clone();
            let what = match step {
                Step::Begins => What::Began { order },
                Step::Ships => What::Shipped { order },
            };
            Entry { at: *at, what }
        });
        let mut lines: Vec<_> = printed.chain(steps).collect();
        lines.sort_by_key(|line| (line.at, line.stage().map(|(_, stage)| stage)));
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
                let begins_at =
                    behaviour.in_production_for.map(|lasting| later(prints_at, -lasting.0).max(now));
                let ships_at = behaviour.ships_after.map(|lasting| later(prints_at, lasting.0));
                let key_now = key.clone();
                let what =
                    What::Received { transfer, key: key_now, sha256, orders, prints_at, begins_at, ships_at };
                self.line(now, what)?;
                Ok(Taken::Accepted(reference_of(self.keys.get(&key))))
            }
        }
    }

    /// Answers a stop, or says that it will.
    pub fn stop(&mut self, now: Timestamp, ask: &Asked, behaviour: &Behaviour) -> io::Result<(Said, Stage)> {
        self.catch_up(now)?;
        let Asked { order, stop, items } = ask.clone();
        let asked = What::StopAsked { order: order.clone(), stop: stop.clone(), items };
        if behaviour.answers_late.is_some()
            && behaviour.stops != Stops::No
            && self.orders.contains_key(&ask.order)
        {
            let answered = What::StopAnswered { order, stop, answer: Said::AnswerLater };
            self.append(vec![Entry { at: now, what: asked }, Entry { at: now, what: answered }])?;
            return Ok((Said::AnswerLater, Stage::default()));
        }
        self.decide(now, ask, behaviour, Some(asked))
    }

    /// The lab's final word on a stop, done and written down.
    pub fn decide(
        &mut self,
        now: Timestamp,
        ask: &Asked,
        behaviour: &Behaviour,
        asked: Option<What>,
    ) -> io::Result<(Said, Stage)> {
        self.catch_up(now)?;
        let mut lines: Vec<_> = asked.into_iter().collect();
        let Asked { order, stop, items } = ask.clone();
        let (answer, stage) = match self.orders.get(&order) {
            _ if behaviour.stops == Stops::No => (Said::NotTaken, Stage::Received),
            _ if behaviour.stops == Stops::Lies => (Said::Removed, Stage::Received),
            None => (Said::NotFound, Stage::Received),
            Some(state) if state.reached > Stage::Received => (Said::WillPrint, state.reached),
            Some(_) if behaviour.stops == Stops::TooLate => (Said::WillPrint, Stage::Received),
            Some(_) if !items.is_empty() && behaviour.stops != Stops::Whole => {
                lines.push(What::LinesRemoved { order: order.clone(), stop: stop.clone(), items });
                (Said::Removed, Stage::Received)
            }
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
                _ => Some(state.reached),
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
            What::Received { key, sha256, orders, prints_at, begins_at, ships_at, .. } => {
                for job in orders {
                    self.held.remove(&job.order);
                    let state = self.orders.entry(job.order.clone()).or_default();
                    if job.copies > 0 {
                        self.due.insert((*prints_at, job.order.clone(), state.jobs.len()));
                        let steps = [(begins_at, Step::Begins), (ships_at, Step::Ships)];
                        let steps = steps.into_iter().filter_map(|(at, step)| Some(((*at)?, step)));
                        let step = |(at, step)| (at, step, job.order.clone(), state.jobs.len());
                        self.steps.extend(steps.map(step));
                    }
                    state.jobs.push((job.copies, *prints_at, At::Waiting));
                    state.lines.push(job.lines.clone());
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
            What::Began { order } => self.step(order, Step::Begins, Stage::InProduction),
            What::Shipped { order } => self.step(order, Step::Ships, Stage::Shipped),
            What::Removed { order, .. } => self.finish(order, At::Removed),
            What::StopAnswered { order, stop, answer } => {
                // Only of orders that are or were here.
                if let Some(state) = self.orders.get_mut(order) {
                    state.stops.entry(stop.clone()).or_default().push(*answer);
                }
            }
            What::LinesRemoved { order, items, .. } => self.take_lines(order, items),
            What::StopAsked { order, stop, items } => {
                if let Some(state) = self.orders.get_mut(order).filter(|_| !items.is_empty()) {
                    state.named.insert(stop.clone(), items.clone());
                }
            }
            What::Repeated { .. } | What::AddressAnswered { .. } | What::AnswerLost { .. } => {}
        }
        self.entries.push(entry);
    }

    /// Takes items out of the jobs of an order that wait.
    fn take_lines(&mut self, order: &str, items: &[String]) {
        let Some(state) = self.orders.get_mut(order) else { return };
        let waiting = state.jobs.iter_mut().zip(&mut state.lines).filter(|(job, _)| job.2 == At::Waiting);
        for (job, lines) in waiting {
            let taken: u64 = items.iter().filter_map(|id| lines.remove(id)).sum();
            job.0 = job.0.saturating_sub(taken);
        }
    }

    /// Ends the first job of an order that waits.
    fn finish(&mut self, order: &str, end: At) {
        let Some(state) = self.orders.get_mut(order) else { return };
        let waiting = state.jobs.iter_mut().enumerate().filter(|(_, job)| job.2 == At::Waiting);
        if let Some((nth, job)) = waiting.min_by_key(|(nth, job)| (job.1, *nth)) {
            job.2 = end;
            self.due.remove(&(job.1, order.to_owned(), nth));
            if end == At::Printed {
                state.reached = state.reached.max(Stage::Printed);
            } else {
                self.steps.retain(|(_, _, of, job)| (of.as_str(), *job) != (order, nth));
            }
        }
    }

    /// Takes the first such step of an order as done.
    fn step(&mut self, order: &str, step: Step, stage: Stage) {
        let done = self.steps.iter().find(|(_, what, of, _)| (*what, of.as_str()) == (step, order)).cloned();
        if let Some(done) = done {
            self.steps.remove(&done);
        }
        if let Some(state) = self.orders.get_mut(order) {
            state.reached = state.reached.max(stage);
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
