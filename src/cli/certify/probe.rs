//! The prober: test orders, calls through the gateway's own drivers, and what came back.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::Target;
use super::line::Line;
use super::way::{Doors, To};
use crate::clock::{Clock, Random};
use crate::domain::Fault;
use crate::domain::batch::{Entry, Manifest, REQUEST_DEADLINE, later};
use crate::domain::event::hex;
use crate::domain::ids::{OrderId, StopId, TransferId};
use crate::domain::lab::Answer;
use crate::domain::order::Stage;
use crate::lab::link::Hub;
use crate::lab::outbound::Outbound;
use crate::lab::{Lab, StopCall, Upload};

/// Calls of a sweep over many orders that run at the same time.
const SWEEP: usize = 8;

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// What was sent.
    pub sent: String,
    /// What came back.
    pub came_back: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What a call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Upload,
    Stop,
    LookUp,
    Other,
    /// One whose connection is cut on purpose.
    Cut,
}

/// What was seen over the whole run.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// All calls.
    pub(super) calls: usize,
    /// The longest answered upload, stop, look-up.
    pub(super) longest: [Duration; 3],
    /// Calls without an answer, or with a failure of the server.
    pub(super) silent: Vec<String>,
}

/// Where a look-up sees an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Taken,
    Made(Stage),
    Removed,
    Absent,
    /// The lab cannot be asked, or did not say.
    Unseen(String),
}

/// A test order.
#[derive(Debug, Clone)]
pub(super) struct Test {
    pub(super) order: OrderId,
    pub(super) reference: String,
    pub(super) stop: StopId,
    /// How many lines it has.
    pub(super) lines: usize,
}

/// An upload of test orders.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) upload: Upload,
    pub(super) tests: Vec<Test>,
}

impl Parcel {
    /// The first order.
    pub(super) fn first(&self) -> &Test {
        &self.tests[0]
    }
}

/// The prober.
pub(super) struct Probe<'a> {
    pub(super) target: &'a Target,
    pub(super) doors: Doors,
    /// Where a lab that dials out connects.
    pub(super) line: Option<Line>,
    pub(super) outbound: Outbound,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    run: String,
    numbers: AtomicUsize,
    calls: Mutex<Vec<Call>>,
    tally: Mutex<Tally>,
    /// Orders that the lab may have.
    held: Mutex<BTreeMap<OrderId, Test>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Probe<'a> {
    pub(super) async fn new(
        target: &'a Target,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
    ) -> Result<Self, Fault> {
        let outbound = target.outbound()?;
        let links = Hub::default();
        let doors = Doors::new(target, clock, random, &outbound, &links)?;
        let line = match target.to {
            To::Link(address) => Some(Line::open(target, address, (clock, random), &links).await?),
            To::Http(_) | To::Grpc(_) => None,
        };
        let mut run = [0; 4];
        random.fill(&mut run);
        Ok(Self {
            target,
            doors,
            line,
            outbound,
            clock: Arc::clone(clock),
            random: Arc::clone(random),
            run: hex(&run),
            numbers: AtomicUsize::new(1),
            calls: Mutex::default(),
            tally: Mutex::default(),
            held: Mutex::default(),
        })
    }

    /// The calls since this was asked last.
    pub(super) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.calls))
    }

    pub(super) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// The orders that the lab may have.
    pub(super) fn held(&self) -> Vec<Test> {
        lock(&self.held).values().cloned().collect()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) async fn wait(&self, lasting: SignedDuration) {
        self.clock.sleep_until(later(self.now(), lasting)).await;
    }

    /// A test order that nobody knows.
    pub(super) fn test(&self) -> Test {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        Test {
            order: OrderId::new(now, &*self.random),
            reference: format!("CERTIFY-{}-{number}", self.run),
            stop: StopId::new(now, &*self.random),
            lines: 1,
        }
    }

    /// A new upload of so many new orders, with half a minute left.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub(super) fn parcel(&self, orders: usize) -> Result<Parcel, Fault> {
        let transfer = TransferId::new(self.now(), &*self.random);
        self.parcel_under(&format!("{transfer}-1"), orders)
    }

    /// The same under a given key.
    pub(super) fn parcel_under(&self, key: &str, orders: usize) -> Result<Parcel, Fault> {
        self.packed(key.to_owned(), (0..orders).map(|_| self.test()).collect(), None)
    }

    /// A new upload of one new order with two lines.
    pub(super) fn two_lines(&self) -> Result<Parcel, Fault> {
        self.parcel_of(vec![Test { lines: 2, ..self.test() }], None)
    }

    /// A new upload of these orders, which the lab may hold under this reference.
    pub(super) fn parcel_of(&self, tests: Vec<Test>, reference: Option<String>) -> Result<Parcel, Fault> {
        let key = format!("{}-1", TransferId::new(self.now(), &*self.random));
        self.packed(key, tests, reference)
    }

    fn packed(&self, key: String, tests: Vec<Test>, reference: Option<String>) -> Result<Parcel, Fault> {
        let transfer = TransferId::new(self.now(), &*self.random);
        let entry = |test| Entry { import_reference: reference.clone(), ..self.entry(test) };
        let entries: Vec<Entry> = tests.iter().map(entry).collect();
        let manifest =
            Manifest::build(&transfer, &entries).map_err(|error| Fault::new("", error.to_string()))?;
        let not_after = later(self.now(), REQUEST_DEADLINE);
        let upload = Upload { transfer, key, body: manifest.body, sha256: manifest.sha256, not_after };
        Ok(Parcel { upload, tests })
    }

    /// A test order as it is stored.
    pub(super) fn entry(&self, test: &Test) -> Entry {
        let target = self.target;
        let mark = "test order of stoppress lab certify: do not print";
        let document = json!({
            "reference": test.reference, "lab": "certify",
            "ship_to": {
                "name": "CERTIFY (test, do not print)", "line1": "Test Street 1", "line2": mark,
                "postal_code": "00100", "city": "Testville", "country": target.country,
            },
            "items": (1..=test.lines).map(|nth| json!({
                "id": nth.to_string(), "kind": "print", "sku": target.sku, "quantity": 1, "personalised": false,
                "files": [{ "url": target.image }], "options": { "stoppress-certify": mark },
            })).collect::<Vec<_>>(),
        });
        Entry {
            id: test.order.clone(),
            platform: "stoppress-certify".to_owned(),
            reference: test.reference.clone(),
            region: target.region.clone(),
            document: document.to_string(),
            import_reference: None,
            lines_out: Vec::new(),
        }
    }

    /// Hands a parcel over. Each attempt has half a minute of its own, as in production.
    pub(super) async fn submit(&self, parcel: &Parcel) -> Answer {
        let not_after = later(self.now(), REQUEST_DEADLINE);
        let upload = Upload { not_after, ..parcel.upload.clone() };
        self.submit_by(&*self.doors.right, "", &Parcel { upload, tests: parcel.tests.clone() }).await
    }

    /// Hands a parcel over on a connection that is going to be cut: that nothing comes back is not the lab's fault.
    pub(super) async fn submit_to_be_cut(&self, parcel: &Parcel) -> Answer {
        self.hold(&parcel.tests);
        let sent = format!("upload of {} under key {:?}, cut", parcel.first().reference, parcel.upload.key);
        self.timed(Kind::Cut, sent, self.doors.right.submit(&parcel.upload)).await
    }

    /// Hands a parcel over through another door; `how` says what is odd about it.
    pub(super) async fn submit_by(&self, door: &dyn Lab, how: &str, parcel: &Parcel) -> Answer {
        let Parcel { upload, tests } = parcel;
        let orders = match tests.as_slice() {
            [] => "no order".to_owned(),
            [one] => format!("{} ({})", one.reference, one.order),
            [first, ..] => format!("{} orders, the first {} ({})", tests.len(), first.reference, first.order),
        };
        let sent = format!("upload of {orders} under key {:?}{how}", upload.key);
        let answer = self.timed(Kind::Upload, sent, door.submit(upload)).await;
        if !matches!(answer, Answer::Refused { .. } | Answer::Unreachable { .. }) {
            self.hold(tests);
        }
        answer
    }

    /// Asks for the stop of a test order; the same stop each time.
    pub(super) async fn stop(&self, test: &Test) -> Answer {
        self.stop_by(&*self.doors.right, "", test).await
    }

    pub(super) async fn stop_by(&self, door: &dyn Lab, how: &str, test: &Test) -> Answer {
        self.stop_call(door, how, (&test.stop, test), &[]).await
    }

    /// Asks for the stop of lines of a test order.
    pub(super) async fn stop_lines(&self, stop: &StopId, test: &Test, lines: &[&str]) -> Answer {
        let how = format!(", only line {}", lines.join(", "));
        self.stop_call(&*self.doors.right, &how, (stop, test), lines).await
    }

    async fn stop_call(
        &self,
        door: &dyn Lab,
        how: &str,
        (stop, test): (&StopId, &Test),
        lines: &[&str],
    ) -> Answer {
        let now = self.now();
        let call = StopCall {
            stop: stop.clone(),
            order: test.order.clone(),
            reason: "test of stoppress lab certify".to_owned(),
            asked_at: now,
            answer_by: later(now, SignedDuration::from_mins(30)),
            items: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let sent = format!("stop {} of {} ({}){how}", call.stop, test.reference, test.order);
        let answer = self.timed(Kind::Stop, sent, door.stop(&call)).await;
        if matches!(answer, Answer::NotFound) {
            lock(&self.held).remove(&test.order);
        }
        answer
    }

    /// Looks a test order up.
    pub(super) async fn find(&self, test: &Test) -> Place {
        self.find_by(&*self.doors.right, "", test).await
    }

    pub(super) async fn find_by(&self, door: &dyn Lab, how: &str, test: &Test) -> Place {
        let sent = format!("look-up of {} ({}){how}", test.reference, test.order);
        place(self.timed(Kind::LookUp, sent, door.look_up(&test.order)).await)
    }

    /// The same without a note: for looks that come many times.
    pub(super) async fn peek(&self, test: &Test) -> Place {
        place(self.doors.right.look_up(&test.order).await.answer)
    }

    /// Marks that the lab may have these orders.
    pub(super) fn hold(&self, tests: &[Test]) {
        lock(&self.held).extend(tests.iter().map(|test| (test.order.clone(), test.clone())));
    }

    /// How often the lab says that it prints a test order.
    pub(super) async fn prints(&self, test: &Test) -> Option<u64> {
        let began = self.now();
        let prints = self.doors.right.prints(&test.order).await;
        let came_back = prints.map_or_else(|| "it does not tell".to_owned(), |n| format!("prints: {n}"));
        self.note(format!("look-up of {}, how often it is printed", test.reference), came_back, began);
        prints
    }

    /// Asks the lab who it is.
    pub(super) async fn describe(&self) -> Answer {
        self.timed(Kind::Other, "who are you".to_owned(), self.doors.right.describe()).await
    }

    /// Stops an order that is not needed any more. What comes of it is seen at the end.
    pub(super) async fn put_away(&self, test: &Test) {
        self.stop(test).await;
    }

    /// Does the same with many orders, a few at a time.
    pub(super) async fn sweep<T, F: Future<Output = T>>(
        &self,
        tests: &[Test],
        each: impl Fn(Test) -> F,
    ) -> Vec<T> {
        stream::iter(tests.to_vec()).map(each).buffered(SWEEP).collect().await
    }

    /// Makes a call, and writes down what came back. A lab that dials out and is away is waited for, as its
    /// orders do.
    pub(super) async fn timed(
        &self,
        kind: Kind,
        sent: String,
        call: impl Future<Output = crate::lab::Reply>,
    ) -> Answer {
        if let Some(line) = &self.line {
            line.ready(&*self.clock, self.target.wait).await;
        }
        let began = self.now();
        let answer = call.await.answer;
        let took = self.now().duration_since(began).unsigned_abs();
        let came_back = told(&answer);
        let mut tally = lock(&self.tally);
        tally.calls += 1;
        if kind == Kind::Cut {
            // Whatever came back.
        } else if silent(&answer) {
            tally.silent.push(format!("{sent}: {came_back}"));
        } else if kind != Kind::Other {
            let longest = &mut tally.longest[kind as usize];
            *longest = took.max(*longest);
        }
        drop(tally);
        self.note(sent, came_back, began);
        answer
    }

    /// Writes a call down.
    pub(super) fn note(&self, sent: String, came_back: String, began: Timestamp) {
        let took = self.now().duration_since(began).as_millis();
        lock(&self.calls).push(Call { sent, came_back, took_ms: u64::try_from(took).unwrap_or(0) });
    }
}

/// No answer at all, or a failure of the server. What a lab says about a call (401, 405) is an answer.
fn silent(answer: &Answer) -> bool {
    match answer {
        Answer::Unreachable { .. } => true,
        Answer::Unclear { cause } => {
            let spoken = [
                "HTTP 4",
                "gRPC Unauthenticated",
                "gRPC Unimplemented",
                "gRPC PermissionDenied",
                "gRPC Already",
            ];
            !spoken.iter().any(|begins| cause.starts_with(begins))
        }
        _ => false,
    }
}

/// Where an answer to a look-up sees the order.
fn place(answer: Answer) -> Place {
    match answer {
        Answer::Accepted { .. } => Place::Taken,
        Answer::WillPrint { stage, .. } => Place::Made(stage),
        Answer::Removed { .. } => Place::Removed,
        Answer::NotFound => Place::Absent,
        other => Place::Unseen(told(&other)),
    }
}

/// An answer in words.
pub(super) fn told(answer: &Answer) -> String {
    let more = match answer {
        Answer::Accepted { lab_reference } => lab_reference.clone(),
        Answer::Refused { reason } => Some(reason.clone()),
        Answer::Removed { reason, .. } => reason.clone(),
        Answer::WillPrint { reason, stage } => {
            Some(reason.clone().unwrap_or_else(|| format!("{stage:?}").to_lowercase()))
        }
        Answer::Unreachable { cause } | Answer::Unclear { cause } => Some(cause.clone()),
        Answer::AnswerLater | Answer::NotFound => None,
    };
    match more {
        Some(more) => format!("{}: {more}", answer.word()),
        None => answer.word().to_owned(),
    }
}

impl Place {
    /// In words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Taken => "that it has it".to_owned(),
            Self::Made(stage) => format!("{stage:?}").to_lowercase(),
            Self::Removed => "\"removed\"".to_owned(),
            Self::Absent => "\"not found\"".to_owned(),
            Self::Unseen(said) => format!("nothing ({said})"),
        }
    }
}
