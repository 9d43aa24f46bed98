//! `stoppress lab simulate`: a lab that behaves, or misbehaves, as told.
//!
//! It is a real lab to the gateway: HTTP and gRPC, or a link that it dials itself; keys, signatures, stops, a
//! first phase. What it does to paper
//! is written to an honest [`Ledger`], so that promises can be checked against it.

pub mod addresses;
mod args;
pub mod behaviour;
mod entry;
pub mod flags;
mod grpc;
mod http;
pub mod imports;
pub mod ledger;
mod link;
mod port;
mod report;
mod tell;
mod verdict;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::clock::{Clock, HostClock, Random};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::lab::Lasting;
use crate::domain::order::Stage;
use crate::domain::retry;
use crate::lab::outbound::Outbound;
use crate::lab::sign::Signer;
pub use args::{SimulateArgs, run};
use behaviour::{Behaviour, DownBy, LooksUp};
use ledger::{Asked, Ledger, Said, Seen, Submitted, Taken};
use tell::tell;

/// How long a lab that races takes between looking and taking.
const BREATH: SignedDuration = SignedDuration::from_millis(200);

/// Where late answers go.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The gateway's address; `v1/lab/stops/…` is appended.
    pub url: Url,
    /// An API key with the scope of this lab.
    pub key: SecretString,
}

/// How to start a simulated lab.
#[derive(Debug, Clone)]
pub struct SimulatorSettings {
    /// Where to listen; HTTP and gRPC are both served. Port 0 chooses a free one.
    pub listen: SocketAddr,
    /// A second port, which is shown as the address for gRPC.
    pub grpc_listen: Option<SocketAddr>,
    /// Where the ledger is kept; in memory only if unset.
    pub ledger: Option<PathBuf>,
    /// The secret that calls must be signed with (HTTP) or carry (gRPC).
    pub secret: Option<SecretString>,
    /// Where late answers go.
    pub gateway: Option<Gateway>,
    /// How to behave.
    pub behaviour: Behaviour,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            grpc_listen: None,
            ledger: None,
            secret: None,
            gateway: None,
            behaviour: Behaviour::default(),
        }
    }
}

/// A simulated lab that runs until it is shut down or dropped.
#[derive(Debug)]
pub struct Simulator {
    /// Where it serves HTTP (and gRPC).
    pub http_addr: SocketAddr,
    /// Where it serves gRPC (and HTTP).
    pub grpc_addr: SocketAddr,
    house: Arc<House>,
}

/// What all parts share.
struct House {
    ledger: Arc<Mutex<Ledger>>,
    behaviour: watch::Sender<Behaviour>,
    /// Counts what was taken, so that the printer looks again.
    taken: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    signer: Option<Signer>,
    secret: Option<SecretString>,
    gateway: OnceLock<(Gateway, Outbound)>,
    /// The connections that the lab has dialled.
    lines: link::Lines,
    /// How many lines of the ledger the gateway was told of, once the lab reports; rings when it moves.
    reported: report::Reported,
    /// When late answers are due that the gateway has not heard.
    untold: Mutex<BTreeMap<Timestamp, usize>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("behaviour", &*self.behaviour.borrow()).finish_non_exhaustive()
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulator {
    /// Starts a lab: reads its ledger and listens.
    ///
    /// # Errors
    /// If the ledger, a port or the secret cannot be used.
    pub async fn start(
        settings: SimulatorSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, Fault> {
        let io = |field: &'static str| move |error: io::Error| Fault::new(field, error.to_string());
        let ledger = Ledger::open(settings.ledger.as_deref()).map_err(io("ledger"))?;
        let signer = settings.secret.as_ref().map(Signer::new).transpose();
        let gateway = OnceLock::new();
        if let Some(known) = settings.gateway {
            let _ = gateway.set((known, Outbound::trusted()?));
        }
        let owed = ledger.owed();
        let house = Arc::new(House {
            ledger: Arc::new(Mutex::new(ledger)),
            behaviour: watch::Sender::new(settings.behaviour),
            taken: watch::Sender::new(0),
            clock,
            random,
            signer: signer.map_err(|fault| fault.under("secret"))?,
            secret: settings.secret,
            gateway,
            lines: link::Lines::default(),
            reported: report::Reported::default(),
            untold: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        let counter = port::Counter {
            house: Arc::clone(&house),
            http: http::router(Arc::clone(&house)),
            grpc: grpc::service(Arc::clone(&house)),
            imports: grpc::imports(Arc::clone(&house)),
            addresses: grpc::addresses(Arc::clone(&house)),
        };
        let mut addresses = Vec::new();
        for (field, at) in [("listen", Some(settings.listen)), ("grpc_listen", settings.grpc_listen)] {
            let Some(at) = at else { continue };
            let listener = TcpListener::bind(at).await.map_err(io(field))?;
            let address = listener.local_addr().map_err(io(field))?;
            addresses.push(address);
            house.tasks.spawn(port::serve(counter.clone(), listener, address));
        }
        house.tasks.spawn(print(Arc::clone(&house)));
        for asked in owed {
            house.answer_late(asked);
        }
        let http_addr = addresses.first().copied().unwrap_or(settings.listen);
        Ok(Self { http_addr, grpc_addr: addresses.last().copied().unwrap_or(http_addr), house })
    }

    /// The ledger as it is now, with everything printed that is due.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = lock(&self.house.ledger);
        // If the file cannot be written the ledger shows what is on disk.
        let _ = ledger.catch_up(self.house.clock.now());
        ledger.snapshot()
    }

    /// Somebody at the lab takes an order out by hand, if it is not printed yet: what no call can do where
    /// the lab takes no stops.
    ///
    /// # Errors
    /// If the ledger cannot be written: nothing was taken out.
    pub fn take_out(&self, order: &str, stop: &str) -> io::Result<Said> {
        let by_hand = Behaviour { stops: behaviour::Stops::Yes, ..self.behaviour() };
        let ask = Asked { order: order.to_owned(), stop: stop.to_owned(), items: Vec::new() };
        let (order, stop, items) = (ask.order.clone(), ask.stop.clone(), Vec::new());
        let asked = ledger::What::StopAsked { order, stop, items };
        let decided = lock(&self.house.ledger).decide(self.house.clock.now(), &ask, &by_hand, Some(asked));
        decided.map(|(said, _)| said)
    }

    /// When the next order is printed, and the last of those that wait.
    #[must_use]
    pub fn prints_between(&self) -> Option<(Timestamp, Timestamp)> {
        let ledger = lock(&self.house.ledger);
        ledger.next_due().zip(ledger.last_due())
    }

    /// How the lab behaves.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.house.behaviour()
    }

    /// Makes the lab behave in another way from now on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.house.set_behaviour(behaviour);
    }

    /// Says where late answers go, if the settings did not: a lab may be there before its gateway.
    ///
    /// # Errors
    /// If calls cannot be made at all.
    pub fn answers_to(&self, gateway: Gateway) -> Result<(), Fault> {
        // The first one stays.
        let _ = self.house.gateway.set((gateway, Outbound::trusted()?));
        Ok(())
    }

    /// Dials a gateway, and keeps one connection to it: what the lab is asked comes over it, and late
    /// answers go back over it. Can be called several times; the connections share the work.
    ///
    /// # Errors
    /// If the address or the key cannot be used.
    pub fn dial(&self, gateway: &Gateway, window: u32) -> Result<(), Fault> {
        let line = link::Dial::new(gateway, window)?;
        self.house.lines.opened();
        self.house.tasks.spawn(line.keep(Arc::clone(&self.house)));
        Ok(())
    }

    /// From now on what the ledger shows of orders is reported over the lab's connections: in production,
    /// printed, shipped. What was there before is reported as well.
    pub fn reports(&self) {
        if self.house.reported.begins() {
            self.house.tasks.spawn(report::keep(Arc::clone(&self.house)));
        }
    }

    /// Whether the lab reports, and the gateway has not heard yet of something that is so by now.
    #[must_use]
    pub fn owes_reports(&self) -> bool {
        self.house.reported.owes(&mut lock(&self.house.ledger), self.house.clock.now())
    }

    /// When the ledger moves next by itself.
    #[must_use]
    pub fn moves_at(&self) -> Option<Timestamp> {
        lock(&self.house.ledger).moves_at()
    }

    /// When the next late answer is due. One that is due and that the gateway has not heard yet counts.
    #[must_use]
    pub fn next_answer(&self) -> Option<Timestamp> {
        self.house.untold().keys().next().copied()
    }

    /// Closes all connections, at once, and waits for the rest.
    pub async fn shutdown(self) {
        self.house.closing.cancel();
        self.house.tasks.close();
        self.house.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.house.closing.cancel();
    }
}

impl House {
    fn behaviour(&self) -> Behaviour {
        self.behaviour.borrow().clone()
    }

    fn set_behaviour(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    fn down(&self) -> Option<DownBy> {
        self.behaviour.borrow().down_at(self.clock.now())
    }

    /// Returns when the behaviour may be another one than it was when `seen` began: it was set, or
    /// its schedule says so.
    async fn next_change(&self, seen: &mut watch::Receiver<Behaviour>) {
        let edge = seen.borrow().next_edge(self.clock.now());
        let scheduled = async {
            match edge {
                Some(at) => self.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = seen.changed() => {}
            () = scheduled => {}
        }
    }

    /// Works on the ledger, off the runtime's threads: it waits for the disk.
    async fn on_ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger, Timestamp, &Behaviour) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (ledger, clock, behaviour) =
            (Arc::clone(&self.ledger), Arc::clone(&self.clock), self.behaviour());
        let working = tokio::task::spawn_blocking(move || {
            let mut ledger = lock(&ledger);
            let now = clock.now();
            ledger.catch_up(now)?;
            work(&mut ledger, now, &behaviour)
        });
        working.await.map_err(io::Error::other)?
    }

    async fn submit(&self, mut upload: Submitted, refuse: bool) -> io::Result<Taken> {
        let mut new = false;
        if self.behaviour().races {
            let key = upload.key.clone();
            new = self.on_ledger(move |ledger, _, _| Ok(!ledger.knows(&key))).await?;
            HostClock.sleep_until(later(HostClock.now(), BREATH)).await;
        }
        let taken = self
            .on_ledger(move |ledger, now, how| {
                let how = Behaviour { duplicates: how.duplicates || new, ..how.clone() };
                let refuse = refuse || imports::unwanted(ledger, &upload, how.imports);
                upload.orders.extend(imports::copies(ledger, &upload, how.imports));
                ledger.submit(now, upload, &how, refuse)
            })
            .await;
        self.taken.send_modify(|count| *count += 1);
        taken
    }

    async fn stop(self: &Arc<Self>, asked: Asked) -> io::Result<(Said, Stage)> {
        let ask = asked.clone();
        let (said, first) = self
            .on_ledger(move |ledger, now, how| {
                let owed = ledger.owed();
                let first = !owed.iter().any(|owed| (&owed.order, &owed.stop) == (&ask.order, &ask.stop));
                Ok((ledger.stop(now, &ask, how)?, first))
            })
            .await?;
        if said.0 == Said::AnswerLater && first {
            self.answer_late(asked);
        }
        Ok(said)
    }

    /// The items that an answer names: a lab that ignores what a stop names tells none.
    fn names(&self, said: Said, items: Vec<String>) -> Vec<String> {
        Some(items)
            .filter(|_| said == Said::Removed && self.behaviour().stops != behaviour::Stops::Whole)
            .unwrap_or_default()
    }

    /// Answers a stop after a while, and tells the gateway until it has heard.
    fn answer_late(self: &Arc<Self>, asked: Asked) {
        let after = self.behaviour().answers_late.unwrap_or(Lasting::seconds(0));
        let due = later(self.clock.now(), after.0);
        *self.untold().entry(due).or_default() += 1;
        self.tasks.spawn(answer_late(Arc::clone(self), asked, due));
    }

    fn untold(&self) -> MutexGuard<'_, BTreeMap<Timestamp, usize>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up(&self, order: String) -> io::Result<Option<Seen>> {
        let blind = self.behaviour().looks_up == LooksUp::Blind;
        let seen = self.on_ledger(move |ledger, now, _| ledger.look_up(now, &order)).await?;
        Ok(seen.filter(|_| !blind))
    }
}

/// The printer: writes down what is begun, printed and shipped when it is due.
async fn print(house: Arc<House>) {
    let mut taken = house.taken.subscribe();
    loop {
        taken.mark_unchanged();
        let due = house.on_ledger(|ledger, _, _| Ok(ledger.moves_at())).await.ok().flatten();
        house.reported.ring();
        let next = async {
            match due {
                Some(at) => house.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = house.closing.cancelled() => return,
            _ = taken.changed() => {}
            () = next => {}
        }
    }
}

/// Answers a stop when that is due, and tells the gateway until it has heard.
async fn answer_late(house: Arc<House>, asked: Asked, due: Timestamp) {
    let Asked { stop, items, .. } = asked.clone();
    let answering = async {
        house.clock.sleep_until(due).await;
        let decided = house.on_ledger(move |ledger, now, how| ledger.decide(now, &asked, how, None));
        let Ok((said, stage)) = decided.await else { return };
        let items = house.names(said, items);
        for attempt in 1..=20 {
            let told = match house.gateway.get() {
                Some((gateway, outbound)) => tell(gateway, outbound, &stop, (said, stage), &items).await,
                None if house.lines.any() => house.lines.tell(&stop, said, stage, &items).await,
                None => true,
            };
            if told {
                return;
            }
            let wait = retry::delay(attempt, None, &*house.random);
            HostClock.sleep_until(later(HostClock.now(), wait)).await;
        }
    };
    tokio::select! {
        () = house.closing.cancelled() => {}
        () = answering => {}
    }
    let mut untold = house.untold();
    if let Some(count) = untold.get_mut(&due) {
        *count -= 1;
        if *count == 0 {
            untold.remove(&due);
        }
    }
}
