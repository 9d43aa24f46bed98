//! One day of a gateway on a clock of its own, in a process that may end at any point: the real store, the real loops,
//! stepped one after another until nothing is left to do; then on to the next instant at which anybody wants something.
//! Whatever a client was told is on disk, and what it was not told it asks again after the restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stoppress::clock::{Clock as _, ManualClock, SeededRandom};
use stoppress::domain::batch::Joining;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{BatchId, EscalationId, LabId, OrderId, PlatformId, StopId, WebhookId};
use stoppress::domain::link::LinkKey;
use stoppress::domain::order::OrderFacts;
use stoppress::domain::stop::AskedBy;
use stoppress::domain::webhook::WebhookSpec;
use stoppress::lab::outbound::{Outbound, install_tls};
use stoppress::lab::{Drivers, Tools, link};
use stoppress::points;
use stoppress::store::{
    OrderRef, PutLab, PutPlatform, PutWebhook, Scope, StopAsk, StopOutcome, Store, TakeOver, Write, Written,
    one, open,
};
use stoppress::work::labs::Directory;
use stoppress::work::remind::Links;
use stoppress::work::{
    Bells, Bench, Step as _, address, changes, close, import, remind, stop, tell, transfer,
};
use tokio_util::sync::CancellationToken;

use super::paper::{self, HOUSES, House, Paper, note, notes};
use super::script::{END, SCRIPT, Step};
use super::{clients, oracle};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// So many seconds into the day.
pub(crate) fn at(seconds: i64) -> Timestamp {
    "2026-06-17T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

pub(crate) fn shop() -> PlatformId {
    PlatformId::parse("shop").unwrap()
}

/// What a client was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The step of the script; none for what happens within a call.
    pub step: Option<usize>,
    pub reference: String,
    /// The order that was acknowledged.
    pub order: Option<String>,
    /// How a stop stands.
    pub stop: Option<String>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// Up to when it was promised that a stop succeeds.
    pub promised: Option<Timestamp>,
}

/// The day.
pub(crate) struct Day {
    pub folder: PathBuf,
    pub clock: ManualClock,
    pub random: Arc<SeededRandom>,
    pub store: Arc<dyn Store>,
    pub paper: Arc<Paper>,
    pub bench: Bench,
    pub told: Arc<Mutex<Vec<Told>>>,
    pub orders: Arc<Mutex<BTreeMap<String, OrderId>>>,
}

/// The next full hour: the window of an order that comes now.
pub(crate) fn window(lab: &str, now: Timestamp, random: &SeededRandom) -> Joining {
    let hour = now.duration_since(at(0)).as_secs().div_euclid(3600) + 1;
    let closes_at = at(hour * 3600);
    Joining {
        batch: BatchId::new(now, random),
        lab: LabId::parse(lab).unwrap(),
        region: serde_json::from_str("\"eu\"").unwrap(),
        direct: false,
        opens_at: at((hour - 1) * 3600),
        closes_at,
        closes_at_local: closes_at.to_string(),
        production_date: "2026-06-18".to_owned(),
        rule: "regular 24:00".to_owned(),
        time_zone: "Europe/Helsinki".to_owned(),
        tzdata: "2026a".to_owned(),
        promised: true,
        until: None,
    }
}

/// Asks for a stop of an order as its platform, and notes what was told.
pub(crate) async fn ask(day: &Asks, order: OrderRef, reference: &str, step: Option<usize>) {
    // What is asked while an upload is on its way comes by a gateway whose clock is behind.
    let behind = if step.is_none() { -2_000_000 } else { 0 };
    let guard = day.store.asking(&day.clock.skewed(behind));
    let asked = stop_ask(order, guard.at, &day.random);
    let written = one(&*day.store, Write::Stop(Box::new(asked))).await.unwrap();
    let asked_at = day.clock.now();
    drop(guard);
    let Written::Stop(outcome) = written else { panic!("not a stop") };
    let (StopOutcome::Asked(facts) | StopOutcome::Already(facts)) = *outcome else { panic!("{outcome:?}") };
    let promised = day
        .told
        .lock()
        .unwrap()
        .iter()
        .find(|told| told.reference == reference)
        .and_then(|told| told.promised);
    let told = Told {
        step,
        reference: reference.to_owned(),
        order: None,
        stop: Some(facts.state.word().to_owned()),
        asked_at,
        promised,
    };
    note(&day.folder, "told", &told);
    day.told.lock().unwrap().push(told);
}

/// What asking for a stop needs.
#[derive(Clone)]
pub(crate) struct Asks {
    pub folder: PathBuf,
    pub clock: ManualClock,
    pub random: Arc<SeededRandom>,
    pub store: Arc<dyn Store>,
    pub told: Arc<Mutex<Vec<Told>>>,
    pub orders: Arc<Mutex<BTreeMap<String, OrderId>>>,
}

/// A stop as the platform asks for it.
pub(crate) fn stop_ask(order: OrderRef, at: Timestamp, random: &SeededRandom) -> StopAsk {
    StopAsk {
        id: StopId::new(at, random),
        order,
        scope: Scope::Platform(shop()),
        reason: "changed their mind".to_owned(),
        comment: None,
        asked_by: AskedBy::Customer,
        requested_by: None,
        items: Vec::new(),
        due: None,
        at,
        actor: Actor("platform:shop".to_owned()),
        escalation: EscalationId::new(at, random),
    }
}

fn spec(house: &House) -> String {
    let contact = json!({"email": "press@lab.example", "second_email": "boss@lab.example"});
    let policy = if house.id == "deaf" { json!({"contact": contact}) } else { json!({}) };
    json!({"id": house.id, "name": house.id, "driver": {"kind": "paper"}, "profile": (house.profile)(), "policy": policy,
        "regions": [{"id": "eu", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]})
    .to_string()
}

impl Day {
    /// Opens what is in a folder, as a gateway that starts.
    async fn open(folder: &Path) -> Self {
        let run = notes::<u64>(folder, "starts").len() as u64;
        note(folder, "starts", &run);
        let last = std::fs::read_to_string(folder.join("clock")).ok();
        // It takes a while until it is back.
        let back = |last: String| last.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(7);
        let now = last.map_or(at(0), back);
        let clock = ManualClock::at(now);
        let random = Arc::new(SeededRandom::new(1000 * (run + 1) + 7));
        let store = open(&format!("sqlite:{}", folder.join("store.db").display()), now).await.unwrap();
        let paper = Paper::open(folder, &clock);
        let holder = format!("gw-{run}");
        let gone = TakeOver { now, all_but: Some(holder.clone()), limit: i64::MAX };
        one(&*store, Write::TakeOver(gone)).await.unwrap();
        install_tls();
        let tools = Tools {
            clock: Arc::new(clock.clone()),
            random: random.clone(),
            outbound: Outbound::trusted().unwrap(),
            secrets: Arc::new(stoppress::config::secret),
            links: link::Hub::default(),
        };
        let drivers = Drivers::default().with(paper::DRIVER);
        let bench = Bench {
            store: Arc::clone(&store),
            clock: Arc::new(clock.clone()),
            random: random.clone(),
            labs: Arc::new(Directory::driving(tools, drivers)),
            bells: Arc::new(Bells::default()),
            holder,
            end: CancellationToken::new(),
        };
        let told: Vec<Told> = notes(folder, "told");
        let orders = told
            .iter()
            .filter_map(|told| Some((told.reference.clone(), OrderId::parse(told.order.as_ref()?).unwrap())));
        let orders = Arc::new(Mutex::new(orders.collect()));
        let told = Arc::new(Mutex::new(told));
        let day = Self { folder: folder.to_owned(), clock, random, store, paper, bench, told, orders };
        let asks = day.asks();
        day.paper.asks(Box::new(move |order| {
            let asks = asks.clone();
            Box::pin(async move {
                let reference = {
                    let known = asks.orders.lock().unwrap();
                    known.iter().find(|(_, id)| **id == order).map(|(reference, _)| reference.clone())
                };
                if let Some(reference) = reference {
                    ask(&asks, OrderRef::Id(order), &reference, None).await;
                }
            })
        }));
        day
    }

    pub(crate) fn asks(&self) -> Asks {
        Asks {
            folder: self.folder.clone(),
            clock: self.clock.clone(),
            random: Arc::clone(&self.random),
            store: Arc::clone(&self.store),
            told: Arc::clone(&self.told),
            orders: Arc::clone(&self.orders),
        }
    }

    /// Platform, labs, endpoint. Every write may be repeated.
    pub(crate) async fn set_up(&self) {
        let (at, actor) = (self.clock.now(), Actor("ops:test".to_owned()));
        let mut writes = vec![Write::PutPlatform(Box::new(PutPlatform {
            id: shop(),
            spec: json!({"id": "shop", "name": "Shop"}).to_string(),
            at,
            actor: actor.clone(),
        }))];
        writes.extend(HOUSES.iter().map(|house| {
            let id = LabId::parse(house.id).unwrap();
            Write::PutLab(Box::new(PutLab {
                id,
                spec: spec(house),
                if_version: None,
                at,
                actor: actor.clone(),
            }))
        }));
        writes.push(Write::PutLinkKey { secret: "0f".repeat(32).into(), at });
        self.store.apply(writes).await.unwrap();
        let id = WebhookId::new(super::day::at(0), &SeededRandom::new(1));
        if self.store.webhook(&id, None).await.unwrap().is_none() {
            let put = PutWebhook {
                id,
                platform: shop(),
                spec: WebhookSpec {
                    url: "https://shop.example/hook".to_owned(),
                    events: vec!["*".to_owned()],
                    description: String::new(),
                },
                enabled: true,
                secret: SECRET.to_owned().into(),
                cursor: 0,
                at,
                actor,
            };
            one(&*self.store, Write::PutWebhook(Box::new(put))).await.unwrap();
        }
    }

    /// Goes on from where the folder says, to an instant.
    async fn play(&self, until: i64) {
        let mut loops = Loops::new(self);
        loop {
            while let Some((step, (_, what))) = self.due() {
                clients::step(self, step, *what).await;
            }
            let wake = loops.rest(self).await;
            let now = self.clock.now();
            let script = self.ahead().map(|(_, (seconds, _))| at(*seconds));
            let next =
                wake.into_iter().chain(script).chain(self.paper.next()).chain([at(until)]).min().unwrap();
            if now >= at(until) {
                return;
            }
            // What is late is done at once, and time goes on.
            let next = next.max(now + SignedDuration::from_millis(50));
            self.clock.set(next);
            std::fs::write(self.folder.join("clock"), next.to_string()).unwrap();
        }
    }

    /// The first step of the script that nobody was told the end of.
    fn ahead(&self) -> Option<(usize, &'static (i64, Step))> {
        let told = self.told.lock().unwrap();
        SCRIPT.iter().enumerate().find(|(step, _)| !told.iter().any(|told| told.step == Some(*step)))
    }

    fn due(&self) -> Option<(usize, &'static (i64, Step))> {
        self.ahead().filter(|(_, (seconds, _))| at(*seconds) <= self.clock.now())
    }
}

/// The loops, as the gateway has them.
struct Loops {
    close: close::Close,
    transfer: transfer::Transfer,
    stop: stop::Forward,
    import: import::SendAhead,
    changes: changes::Changes,
    remind: remind::Remind,
    address: address::Readdress,
    tell: tell::Tell,
    /// When each wants to come again, and after how many commits it looked.
    looked: [(Option<Timestamp>, Option<u64>); 8],
    /// When the endpoint is told again.
    told_at: Option<Timestamp>,
}

impl Loops {
    fn new(day: &Day) -> Self {
        let bench = &day.bench;
        let random = Arc::clone(&day.random);
        let windows: changes::Windows =
            Arc::new(move |facts: &OrderFacts, at| Some((window(facts.lab.as_str(), at, &random), None)));
        let links = Links {
            key: Arc::new(LinkKey::parse(&"0f".repeat(32)).unwrap()),
            public_url: "https://gateway.example".parse().ok(),
        };
        let paper = Arc::clone(&day.paper);
        Self {
            close: close::Close(bench.clone()),
            transfer: transfer::Transfer(bench.clone()),
            stop: stop::Forward(bench.clone()),
            import: import::SendAhead::new(bench.clone()),
            changes: changes::Changes::new(bench.clone(), windows),
            remind: remind::Remind::new(bench.clone(), paper.clone(), links, Arc::new(|_, _| None)),
            address: address::Readdress(bench.clone()),
            tell: tell::Tell::new(bench.clone(), paper),
            looked: [(None, None); 8],
            told_at: None,
        }
    }

    /// Steps them until nothing more is written; gives when the first of them wants to come again.
    ///
    /// A loop is stepped when its time has come, or when something was written since it looked last. The endpoint is
    /// told every ten minutes: it has no part in what the others do.
    async fn rest(&mut self, day: &Day) -> Option<Timestamp> {
        let commits = || *day.store.commits().borrow();
        let told_at = *self.told_at.get_or_insert(day.clock.now());
        for _ in 0..200 {
            day.paper.catch_up();
            let now = day.clock.now();
            let mut stepped = false;
            macro_rules! tick {
                ($($nth:literal $name:ident)*) => {$(
                    let (wake, seen) = self.looked[$nth];
                    if seen != Some(commits()) || wake.is_some_and(|wake| wake <= now) {
                        let seen = commits();
                        let wake = self.$name.tick(now).await.unwrap();
                        let quiet = day.bench.bells.settled(now);
                        tokio::time::timeout(Duration::from_secs(20), quiet).await.expect("calls end");
                        stepped |= seen != commits();
                        self.looked[$nth] = (wake, Some(seen));
                    }
                )*};
            }
            tick!(0 close 1 transfer 2 stop 3 import 4 changes 5 remind 6 address);
            if stepped {
                continue;
            }
            if now >= told_at {
                tick!(7 tell);
                if stepped {
                    continue;
                }
                self.told_at = Some(now + SignedDuration::from_secs(600));
            }
            let wakes = self.looked[..7].iter().filter_map(|(wake, _)| *wake);
            return wakes.chain(self.told_at).min();
        }
        panic!("at {} it does not come to rest", day.clock.now());
    }
}

/// The variable that makes a process one life of a gateway, in the folder that it names.
pub(super) const FOLDER: &str = "STOPPRESS_PROOF_FOLDER";

/// Lives one life of a gateway, if that is what this process was started for.
pub(super) fn lives() -> bool {
    let Some(folder) = stoppress::config::variable(FOLDER) else { return false };
    life(&PathBuf::from(folder));
    true
}

fn life(folder: &Path) {
    let say = |name: &str| stoppress::config::variable(name);
    let until = say("STOPPRESS_PROOF_UNTIL").map_or(END, |text| text.parse().unwrap());
    let crash = say("STOPPRESS_CRASH_AT").map(|text| text.parse().unwrap());
    let mistakes: Vec<points::Mistake> = say("STOPPRESS_PROOF_MISTAKE")
        .map(|word| points::Mistake::named(&word).unwrap())
        .into_iter()
        .collect();
    let _planted = points::plant(&mistakes);
    points::watch(crash);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let day = Day::open(folder).await;
        day.play(until).await;
        if until == END {
            let wrong = oracle::check(&day).await;
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
        day.store.close().await;
    });
    std::fs::write(folder.join("hits"), serde_json::to_vec(&points::hits()).unwrap()).unwrap();
}
