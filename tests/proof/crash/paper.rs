//! The labs of the day, their people and the platform's endpoint: what they get and do is on disk before anybody hears
//! of it, so that it outlives the process in which they are tried.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::{Behaviour, Forgets, Stops};
use stoppress::cli::simulate::ledger::{Asked, Job, Ledger, Said, Submitted, Taken};
use stoppress::clock::{Clock as _, ManualClock};
use stoppress::domain::Fault;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, LabSpec, Lasting};
use stoppress::domain::mail::MailOutcome;
use stoppress::domain::webhook::Posted;
use stoppress::lab::mail::{Mail, Mailer};
use stoppress::lab::webhook::{Post, Poster};
use stoppress::lab::{
    AddressCall, Built, Driver, Import, Lab, Pending, Reply, Settings, StopCall, Tools, Upload,
};
use url::Url;

use super::addresses;

/// How long after receipt these labs print.
pub(crate) const PRINTS_AFTER: i64 = 1800;

/// What becomes of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done and answered.
    Ok,
    /// Done, and the answer is lost.
    AnswerLost,
    /// It never arrives, and nobody can tell.
    RequestLost,
    /// The answer is lost, and the lab acts so many seconds later.
    Late(i64),
    /// Definitely refused.
    Refused,
}

/// A lab of the day.
#[derive(Debug)]
pub(crate) struct House {
    pub id: &'static str,
    pub profile: fn() -> Value,
    /// The fates of its uploads in turn; then the last one, for ever.
    pub uploads: &'static [Fate],
    /// Whether the answers to its stops come later, from its operator; to other addresses it never gives any.
    pub answers_later: bool,
    /// Whether a customer asks for a stop of the first order while the first upload is on its way.
    pub asked_meanwhile: bool,
}

fn able() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 2, "concurrency": 1,
        "acts_within": "60s", "answers_within": "20m", "handover_within": "40m", "address_changes": "until_printed"})
}

fn with(changes: Value) -> Value {
    let mut profile = able();
    for (name, value) in changes.as_object().unwrap() {
        profile[name] = value.clone();
    }
    profile
}

/// All labs: one of each kind of the design.
pub(crate) const HOUSES: &[House] = &[
    House {
        id: "able",
        profile: able,
        uploads: &[Fate::AnswerLost, Fate::Ok],
        answers_later: false,
        asked_meanwhile: true,
    },
    House {
        id: "plain",
        profile: || with(json!({"dedupes": "no", "orders_per_call": 1})),
        uploads: &[Fate::RequestLost, Fate::Late(50), Fate::AnswerLost, Fate::Ok],
        answers_later: false,
        asked_meanwhile: false,
    },
    House {
        id: "window",
        profile: || with(json!({"dedupes": "10m", "orders_per_call": 1})),
        uploads: &[Fate::AnswerLost],
        answers_later: false,
        asked_meanwhile: false,
    },
    House {
        id: "probe",
        profile: || with(json!({"dedupes": "no", "lookup": false, "orders_per_call": 1})),
        uploads: &[Fate::AnswerLost, Fate::RequestLost, Fate::Late(50), Fate::Ok],
        answers_later: false,
        asked_meanwhile: false,
    },
    House {
        id: "deaf",
        profile: || {
            with(
                json!({"dedupes": "no", "lookup": false, "stops": "no", "channel": "person", "orders_per_call": 1}),
            )
        },
        uploads: &[Fate::Ok, Fate::AnswerLost, Fate::RequestLost, Fate::Ok],
        answers_later: false,
        asked_meanwhile: false,
    },
    House {
        id: "picky",
        profile: || with(json!({"orders_per_call": 1})),
        uploads: &[Fate::AnswerLost, Fate::Refused, Fate::Refused, Fate::Ok],
        answers_later: false,
        asked_meanwhile: false,
    },
    House {
        id: "refuser",
        profile: || with(json!({"orders_per_call": 2})),
        uploads: &[Fate::Refused, Fate::Refused, Fate::Ok],
        answers_later: false,
        asked_meanwhile: true,
    },
    House {
        id: "mute",
        profile: || with(json!({"stops": "no", "lookup": false})),
        uploads: &[Fate::AnswerLost, Fate::AnswerLost, Fate::Ok],
        answers_later: false,
        asked_meanwhile: true,
    },
    House {
        id: "ahead",
        profile: || with(json!({"two_phase": true, "concurrency": 2})),
        uploads: &[Fate::Ok],
        answers_later: true,
        asked_meanwhile: false,
    },
];

fn behaviour(house: &House) -> Behaviour {
    let forgets = house.id == "window";
    Behaviour {
        prints_after: Lasting::seconds(PRINTS_AFTER),
        duplicates: (house.profile)()["dedupes"] == "no",
        forgets_keys: if forgets { Forgets::After(Lasting::seconds(600)) } else { Forgets::No },
        two_phase: house.id == "ahead",
        ..Behaviour::default()
    }
}

/// Appends a line to a file, whole.
pub(crate) fn note(folder: &Path, name: &str, line: &impl Serialize) {
    let mut text = serde_json::to_vec(line).unwrap();
    text.push(b'\n');
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join(name)).unwrap();
    file.write_all(&text).unwrap();
}

/// The lines of a file.
pub(crate) fn notes<T: for<'a> Deserialize<'a>>(folder: &Path, name: &str) -> Vec<T> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A call that a lab got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    pub lab: String,
    pub verb: String,
    pub key: String,
    pub sha256: String,
}

/// An upload on which a lab acts later.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    at: Timestamp,
    lab: String,
    transfer: String,
    key: String,
    sha256: String,
    orders: Vec<Job>,
}

/// A message that an endpoint got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Got {
    pub id: String,
    pub taken: bool,
}

type Asker = Box<dyn Fn(OrderId) -> Pending<'static, ()> + Send + Sync>;

/// All of them.
pub(crate) struct Paper {
    pub folder: PathBuf,
    clock: ManualClock,
    ledgers: Mutex<BTreeMap<&'static str, Ledger>>,
    calls: Mutex<Vec<Call>>,
    waiting: Mutex<Vec<Waiting>>,
    asker: OnceLock<Asker>,
}

impl std::fmt::Debug for Paper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Paper")
    }
}

static PAPER: OnceLock<Arc<Paper>> = OnceLock::new();

/// The driver that reaches them.
pub(crate) const DRIVER: Driver = Driver { kind: "paper", manual: false, check, build };

fn check(_: &Settings) -> Vec<Fault> {
    Vec::new()
}

#[expect(clippy::unnecessary_wraps, reason = "other drivers can fail to build")]
fn build(spec: &LabSpec, _: &Tools) -> Built {
    let house = HOUSES.iter().find(|house| house.id == spec.id.as_str()).unwrap();
    Ok(Arc::new(Desk { house, paper: Arc::clone(PAPER.get().unwrap()) }))
}

impl Paper {
    /// Reads what is on disk.
    pub(crate) fn open(folder: &Path, clock: &ManualClock) -> Arc<Self> {
        let ledger = |house: &House| {
            (house.id, Ledger::open(Some(&folder.join(format!("{}.ledger", house.id)))).unwrap())
        };
        let paper = Arc::new(Self {
            folder: folder.to_owned(),
            clock: clock.clone(),
            ledgers: Mutex::new(HOUSES.iter().map(|house| (house.id, ledger(house).1)).collect()),
            calls: Mutex::new(notes(folder, "calls")),
            waiting: Mutex::new(notes(folder, "waiting")),
            asker: OnceLock::new(),
        });
        PAPER.set(Arc::clone(&paper)).unwrap();
        paper
    }

    /// Who asks for a stop while an upload is on its way.
    pub(crate) fn asks(&self, asker: Asker) {
        assert!(self.asker.set(asker).is_ok());
    }

    /// Acts on what has waited, and prints what is due.
    pub(crate) fn catch_up(&self) {
        let now = self.clock.now();
        let mut ledgers = self.ledgers.lock().unwrap();
        let mut waiting = self.waiting.lock().unwrap();
        waiting.sort_by_key(|waiting| waiting.at);
        while let Some(first) = waiting.first().filter(|first| first.at <= now).cloned() {
            waiting.remove(0);
            let house = HOUSES.iter().find(|house| house.id == first.lab).unwrap();
            let ledger = ledgers.get_mut(house.id).unwrap();
            // After a restart it may be in the ledger already.
            if !ledger.knows(&first.key) {
                let Waiting { at, transfer, key, sha256, orders, .. } = first;
                let upload = Submitted { transfer, key, sha256, not_after: None, orders };
                ledger.submit(at, upload, &behaviour(house), false).unwrap();
            }
        }
        for ledger in ledgers.values_mut() {
            ledger.catch_up(now).unwrap();
        }
    }

    /// When something happens by itself next.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let waiting = self.waiting.lock().unwrap().iter().map(|waiting| waiting.at).min();
        let ledgers = self.ledgers.lock().unwrap();
        ledgers.values().filter_map(Ledger::moves_at).chain(waiting).min()
    }

    /// How often an order was printed, over all labs.
    pub(crate) fn prints(&self, order: &str) -> u64 {
        self.ledgers.lock().unwrap().values().map(|ledger| ledger.prints(order)).sum()
    }

    /// Whether any lab has or had an order.
    pub(crate) fn has(&self, order: &str) -> bool {
        self.ledgers.lock().unwrap().values().any(|ledger| ledger.has(order))
    }

    /// What is in the ledger of a lab.
    pub(crate) fn read<T>(&self, lab: &str, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.ledgers.lock().unwrap()[lab])
    }

    /// A person at the lab takes an order out, or finds that it is too late.
    pub(crate) fn take_out(&self, lab: &str, order: &str, stop: &str) -> Said {
        let house = HOUSES.iter().find(|house| house.id == lab).unwrap();
        let how = Behaviour { stops: Stops::Yes, ..behaviour(house) };
        let ask = Asked { order: order.to_owned(), stop: stop.to_owned(), items: Vec::new() };
        let mut ledgers = self.ledgers.lock().unwrap();
        ledgers.get_mut(house.id).unwrap().decide(self.clock.now(), &ask, &how, None).unwrap().0
    }

    fn call(&self, lab: &str, verb: &str, key: &str, sha256: &str) -> usize {
        let call = Call { lab: lab.into(), verb: verb.into(), key: key.into(), sha256: sha256.into() };
        note(&self.folder, "calls", &call);
        let mut calls = self.calls.lock().unwrap();
        calls.push(call);
        calls.iter().filter(|call| call.lab == lab && call.verb == verb).count()
    }
}

/// A lab as the gateway sees it.
#[derive(Debug)]
struct Desk {
    house: &'static House,
    paper: Arc<Paper>,
}

impl Desk {
    fn with<T>(&self, work: impl FnOnce(&mut Ledger, Timestamp) -> T) -> T {
        let mut ledgers = self.paper.ledgers.lock().unwrap();
        work(ledgers.get_mut(self.house.id).unwrap(), self.paper.clock.now())
    }

    async fn take(&self, upload: &Upload) -> Answer {
        let sha256 = stoppress::lab::http::hex(&upload.sha256);
        let nth = self.paper.call(self.house.id, "submit", &upload.key, &sha256);
        let fates = self.house.uploads;
        let fate = fates[(nth - 1).min(fates.len() - 1)];
        let body: Value = serde_json::from_slice(&upload.body).unwrap();
        let orders: Vec<Job> = body["orders"].as_array().unwrap().iter().map(job).collect();
        let first = OrderId::parse(&orders[0].order).unwrap();
        let (transfer, key) = (upload.transfer.to_string(), upload.key.clone());
        let unclear = Answer::Unclear { cause: "timed out".to_owned() };
        let answer = match fate {
            Fate::RequestLost => unclear,
            Fate::Refused => Answer::Refused { reason: "not today".to_owned() },
            Fate::Late(seconds) => {
                let at = self.paper.clock.now() + SignedDuration::from_secs(seconds);
                let waiting = Waiting { at, lab: self.house.id.into(), transfer, key, sha256, orders };
                note(&self.paper.folder, "waiting", &waiting);
                self.paper.waiting.lock().unwrap().push(waiting);
                unclear
            }
            Fate::Ok | Fate::AnswerLost => {
                let submitted =
                    Submitted { transfer, key, sha256, not_after: Some(upload.not_after), orders };
                let taken =
                    self.with(|ledger, now| ledger.submit(now, submitted, &behaviour(self.house), false));
                match taken.unwrap() {
                    _ if fate == Fate::AnswerLost => unclear,
                    Taken::Accepted(reference) => Answer::Accepted { lab_reference: Some(reference) },
                    Taken::Refused(reason) | Taken::TooLate(reason) => Answer::Refused { reason },
                }
            }
        };
        if self.house.asked_meanwhile
            && nth == 1
            && let Some(asker) = self.paper.asker.get()
        {
            asker(first).await;
        }
        answer
    }
}

fn job(order: &Value) -> Job {
    let quantity = |item: &Value| item["quantity"].as_u64().unwrap_or(1);
    let items = order["items"].as_array().unwrap();
    Job {
        order: order["id"].as_str().unwrap().to_owned(),
        copies: items.iter().map(quantity).sum(),
        import_reference: order["import_reference"].as_str().map(str::to_owned),
        lines: BTreeMap::new(),
    }
}

impl Lab for Desk {
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply> {
        Box::pin(async move { self.take(upload).await.into() })
    }

    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let nth = self.paper.call(self.house.id, "stop", call.stop.as_str(), "");
            let how = Behaviour {
                answers_late: self.house.answers_later.then(|| Lasting::seconds(300)),
                ..behaviour(self.house)
            };
            let ask = Asked { order: call.order.to_string(), stop: call.stop.to_string(), items: Vec::new() };
            let (said, stage) = self.with(|ledger, now| ledger.stop(now, &ask, &how)).unwrap();
            if nth == 1 && self.house.id == "able" {
                return Answer::Unclear { cause: "the answer was lost".to_owned() }.into();
            }
            match said {
                Said::Removed => Answer::Removed { reason: None, items: Vec::new() },
                Said::WillPrint => Answer::WillPrint { reason: None, stage },
                Said::AnswerLater => Answer::AnswerLater,
                Said::NotFound => Answer::NotFound,
                Said::NotTaken => Answer::Refused { reason: "no stops here".to_owned() },
            }
            .into()
        })
    }

    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(async move {
            self.paper.call(self.house.id, "look_up", order.as_str(), "");
            let seen = self.with(|ledger, now| ledger.look_up(now, order.as_str())).unwrap();
            match seen.map(|seen| seen.stage) {
                None => Answer::NotFound,
                Some(None) => Answer::Removed { reason: None, items: Vec::new() },
                Some(Some(stage)) if stage > stoppress::domain::order::Stage::Received => {
                    Answer::WillPrint { reason: None, stage }
                }
                Some(Some(_)) => Answer::Accepted { lab_reference: None },
            }
            .into()
        })
    }

    fn change_address<'a>(&'a self, call: &'a AddressCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let nth = self.paper.call(self.house.id, "address", call.change.as_str(), "");
            let answer = self.with(|ledger, now| addresses::take(ledger, now, call, self.house));
            let lost = nth == 1 && self.house.id == "able";
            if lost { Answer::Unclear { cause: "the answer was lost".to_owned() } } else { answer }.into()
        })
    }

    fn import<'a>(&'a self, import: &'a Import) -> Pending<'a, Reply> {
        Box::pin(async move {
            self.paper.call(self.house.id, "import", import.order.as_str(), "");
            Answer::Accepted { lab_reference: Some("held".to_owned()) }.into()
        })
    }

    fn discard<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(async move {
            self.paper.call(self.house.id, "discard", order.as_str(), "");
            Answer::Accepted { lab_reference: None }.into()
        })
    }
}

impl Mailer for Paper {
    fn send<'a>(&'a self, mail: &'a Mail) -> Pending<'a, MailOutcome> {
        Box::pin(async move {
            let nth = self.call("mail", "mail", &mail.id, "");
            if nth == 1 { MailOutcome::Unclear("no answer".to_owned()) } else { MailOutcome::Sent }
        })
    }
}

impl Poster for Paper {
    fn post<'a>(&'a self, post: &'a Post) -> Pending<'a, Posted> {
        Box::pin(async move {
            let nth = self.call("post", "post", &post.id, "");
            // Each message at most once: after four failures it would come when the day is over.
            let again = notes::<Got>(&self.folder, "posts").iter().any(|got| got.id == post.id && !got.taken);
            let taken = again || nth % 9 != 4;
            note(&self.folder, "posts", &Got { id: post.id.clone(), taken });
            let cause = (!taken).then(|| "HTTP 503".to_owned());
            Posted { status: if taken { 204 } else { 503 }, cause, ..Posted::default() }
        })
    }

    fn refusal(&self, _: &Url) -> Option<String> {
        None
    }
}
