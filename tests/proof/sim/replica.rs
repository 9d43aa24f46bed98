//! One simulated gateway: the real loops on a runtime of its own, moved until nobody in it can go on. It dies by
//! dropping the runtime, and with it every future at the place where it waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, Waker};

use jiff::SignedDuration;
use stoppress::clock::{Clock as _, SeededRandom};
use stoppress::domain::lab::Lab;
use stoppress::lab::outbound::{Outbound, OutboundSettings, install_tls};
use stoppress::lab::{Drivers, Tools};
use stoppress::store::{Announce, Store, TakeOver, Write, one};
use stoppress::work::labs::Directory;
use stoppress::work::{Bells, Bench, address, changes, clear, close, run, stop, tell, transfer};
use stoppress::{api, lab, work};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::clock::SimClock;
use super::hooks::Mailbag;
use super::hub::Hub;
use super::kinds::DRIVER;
use super::tap::Tap;

thread_local! {
    static HERE: RefCell<Option<(Arc<Hub>, usize)>> = const { RefCell::new(None) };
}

/// The simulation and the gateway that is being moved on this thread.
pub(crate) fn here() -> (Arc<Hub>, usize) {
    HERE.with_borrow(Clone::clone).expect("labs are connected while a gateway is moved")
}

/// Whether everybody in a runtime waits, and who wants to know.
#[derive(Default)]
struct Still {
    still: bool,
    waker: Option<Waker>,
}

/// A gateway that is alive.
pub(crate) struct Replica {
    pub(crate) nth: usize,
    runtime: Runtime,
    still: Arc<Mutex<Still>>,
    hub: Arc<Hub>,
    pub(crate) bench: Bench,
    /// The labs by the zone data that it has.
    labs: Arc<Mutex<Arc<Vec<Lab>>>>,
    /// Its own store, where it has one.
    own: Option<Arc<dyn Store>>,
}

/// What a gateway is made of.
pub(crate) struct Parts {
    pub(crate) nth: usize,
    pub(crate) hub: Arc<Hub>,
    /// The store that all share, or where its own is.
    pub(crate) store: Source,
    pub(crate) labs: Arc<Vec<Lab>>,
    pub(crate) seed: u64,
    /// How often a loop looks again by itself.
    pub(crate) poll: SignedDuration,
    /// Whether it is the only one on its store.
    pub(crate) alone: bool,
    /// Which life of the gateway it is.
    pub(crate) life: u64,
    /// Whether it tells endpoints what happens.
    pub(crate) hooks: bool,
    /// Whether it asks labs for other addresses.
    pub(crate) readdresses: bool,
}

/// Where the store of a gateway comes from.
#[derive(Clone)]
pub(crate) enum Source {
    /// It is open.
    Shared(Arc<dyn Store>),
    /// It has to be opened.
    Url(String),
}

fn outbound() -> Outbound {
    static CLIENT: OnceLock<Outbound> = OnceLock::new();
    let client = CLIENT.get_or_init(|| {
        install_tls();
        Outbound::new(OutboundSettings::default()).expect("a client that nobody calls with")
    });
    client.clone()
}

impl Replica {
    /// Starts a gateway: its loops wait at their first call.
    pub(crate) fn start(parts: Parts) -> Self {
        let Parts { nth, hub, store, labs, seed, poll, alone, life, hooks, readdresses } = parts;
        let still: Arc<Mutex<Still>> = Arc::default();
        let runtime = {
            let (still, hub) = (Arc::clone(&still), Arc::clone(&hub));
            Builder::new_current_thread()
                .enable_time()
                .on_thread_park(move || {
                    if !hub.rests(nth) {
                        return;
                    }
                    let mut still = still.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(waker) = still.waker.take() {
                        still.still = true;
                        waker.wake();
                    }
                })
                .build()
                .expect("a runtime")
        };
        let clock = SimClock { hub: Arc::clone(&hub), replica: nth };
        let owns = matches!(store, Source::Url(_));
        let inner = match store {
            Source::Shared(store) => store,
            Source::Url(url) => {
                let opened = super::stores().block_on(stoppress::store::open(&url, clock.now()));
                opened.expect("a store that opens")
            }
        };
        let shared = inner.shared();
        let own = owns.then(|| Arc::clone(&inner));
        let tap: Arc<dyn Store> = Arc::new(Tap { inner, hub: Arc::clone(&hub), replica: nth });
        let random = Arc::new(SeededRandom::new(seed ^ (life << 32) ^ ((nth as u64 + 1) << 56)));
        let tools = Tools {
            clock: Arc::new(clock.clone()),
            random: Arc::clone(&random) as Arc<_>,
            outbound: outbound(),
            secrets: Arc::new(|_| Err(stoppress::domain::Fault::new("", "there are no secrets here"))),
            links: lab::link::Hub::default(),
        };
        let bench = Bench {
            store: tap,
            clock: Arc::new(clock.clone()),
            random,
            labs: Arc::new(Directory::driving(tools, Drivers::default().with(DRIVER))),
            bells: Arc::new(Bells::default()),
            holder: format!("gw-{nth}-{life}"),
            end: CancellationToken::new(),
        };
        let labs = Arc::new(Mutex::new(labs));
        let replica = Self { nth, runtime, still, hub, bench, labs, own };
        replica.spawn_loops(poll, (alone, shared, hooks), readdresses);
        replica.go_on();
        replica
    }

    /// The labs by the zone data that it has.
    pub(crate) fn labs(&self) -> Arc<Vec<Lab>> {
        Arc::clone(&self.labs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It has other zone data now.
    pub(crate) fn knows(&self, labs: &Arc<Vec<Lab>>) {
        *self.labs.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(labs);
    }

    fn spawn_loops(
        &self,
        poll: SignedDuration,
        (alone, shared, hooks): (bool, bool, bool),
        readdresses: bool,
    ) {
        let (bench, labs) = (self.bench.clone(), Arc::clone(&self.labs));
        let random = Arc::clone(&bench.random);
        let windows: changes::Windows = Arc::new(move |facts, at| {
            let labs = Arc::clone(&labs.lock().unwrap_or_else(PoisonError::into_inner));
            let lab = labs.iter().find(|lab| lab.spec.id == facts.lab)?;
            let place = lab.places.first()?;
            Some((api::windows::joining(lab, &[place], false, at, &*random).ok()?, None))
        });
        let poster = Arc::new(Mailbag { hub: Arc::clone(&self.hub), replica: self.nth });
        self.runtime.spawn(async move {
            let now = bench.clock.now();
            // What a gateway does first is done until it works: it would not start otherwise.
            if alone {
                let orphans = TakeOver { now, all_but: Some(bench.holder.clone()), limit: i64::MAX };
                while one(&*bench.store, Write::TakeOver(orphans.clone())).await.is_err() {}
            }
            if shared {
                let said = Announce { replica: bench.holder.clone(), clear_until: now, at: now };
                while one(&*bench.store, Write::Announce(said.clone())).await.is_err() {}
            }
            macro_rules! spawn {
                ($step:expr) => {
                    let (clock, bells) = (Arc::clone(&bench.clock), Arc::clone(&bench.bells));
                    tokio::spawn(run($step, clock, bells, poll, bench.end.clone()));
                };
            }
            for name in [close::NAME, transfer::NAME, stop::NAME, changes::NAME] {
                bench.bells.starts(name);
            }
            spawn!(close::Close(bench.clone()));
            spawn!(transfer::Transfer(bench.clone()));
            spawn!(stop::Forward(bench.clone()));
            spawn!(work::changes::Changes::new(bench.clone(), windows));
            if readdresses {
                bench.bells.starts(address::NAME);
                spawn!(address::Readdress(bench.clone()));
            }
            if hooks {
                bench.bells.starts(tell::NAME);
                spawn!(tell::Tell::new(bench.clone(), poster));
            }
            if shared {
                bench.bells.starts(clear::NAME);
                spawn!(clear::Clear(bench.clone()));
            }
        });
    }

    /// Moves everybody in it until all wait.
    pub(crate) fn go_on(&self) {
        HERE.set(Some((Arc::clone(&self.hub), self.nth)));
        {
            let mut still = self.still.lock().unwrap_or_else(PoisonError::into_inner);
            *still = Still::default();
        }
        self.runtime.block_on(poll_fn(|context| {
            let mut still = self.still.lock().unwrap_or_else(PoisonError::into_inner);
            if still.still {
                return Poll::Ready(());
            }
            still.waker = Some(context.waker().clone());
            Poll::Pending
        }));
        HERE.set(None);
    }

    /// Begins something in it, such as a request.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Dies: whatever it was doing ends where it stands.
    pub(crate) fn die(self) {
        let hub = Arc::clone(&self.hub);
        let (nth, own) = (self.nth, self.own.clone());
        drop(self);
        hub.state().bury(nth);
        if let Some(own) = own {
            super::stores().block_on(own.close());
        }
    }
}
