//! The end that a lab dials when it is certified over links: the gateway's own server of links, with a desk
//! that knows one key, and a hand that cuts connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, Stream, StreamExt as _};
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::Target;
use super::way::LAB;
use crate::clock::{Clock, Random};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::ids::{LabId, StopId};
use crate::domain::lab::Lasting;
use crate::domain::source::Source;
use crate::lab::link::desk::{Desk, LateAnswer, No, Refusal, Seat, StageReport, Standing, Taken, Word};
use crate::lab::link::{Hub, Server};
use crate::lab::outbound::LAB_BODY_MAX;
use crate::lab::{Pending, Settings};
use crate::proto::lab_link_service_server::{LabLinkService, LabLinkServiceServer};
use crate::proto::{ConnectRequest, ConnectResponse};

/// How often it is looked whether the lab is there.
const LOOK: SignedDuration = SignedDuration::from_millis(10);

/// What the lab said to stops by itself.
type Heard = Arc<Mutex<HashMap<StopId, Word>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end that the lab dials. It is gone when this is dropped.
pub(super) struct Line {
    lab: LabId,
    gate: Gate,
    heard: Heard,
    end: CancellationToken,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end.cancel();
        let era = lock(&self.gate.0.era);
        era.end.cancel();
        era.cut.cancel();
    }
}

impl Line {
    /// Listens.
    ///
    /// # Errors
    /// If the address cannot be used, or there is no key.
    pub(super) async fn open(
        target: &Target,
        address: SocketAddr,
        (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
        hub: &Hub,
    ) -> Result<Self, Fault> {
        let key = target.secret.clone();
        let key = key.filter(|key| key.expose_secret().trim().len() >= 16).ok_or_else(|| {
            Fault::missing(
                "--secret-env, --secret-file",
                "the key that the lab shows when it connects, of at least 16 characters",
            )
        })?;
        let lab = LabId::parse(LAB).map_err(|fault| fault.under("lab"))?;
        let heard = Heard::default();
        let desk =
            Arc::new(Reception { key, beat: target.beat, heard: Arc::clone(&heard), lab: lab.clone() });
        let (hub, clock, random) = (hub.clone(), Arc::clone(clock), Arc::clone(random));
        let era = Mutex::new(Era::new(&hub, &desk, &clock, &random));
        let gate = Gate(Arc::new(Inner { hub, desk, clock, random, era, connects: AtomicUsize::new(0) }));
        let unusable = |error: std::io::Error| Fault::new("--link", format!("{address}: {error}"));
        let incoming = TcpIncoming::from(TcpListener::bind(address).await.map_err(unusable)?);
        let end = CancellationToken::new();
        let service = LabLinkServiceServer::new(gate.clone()).max_decoding_message_size(LAB_BODY_MAX);
        let serving = tonic::transport::Server::builder().add_service(service);
        let closing = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                _ = serving.serve_with_incoming(incoming) => {}
            }
        });
        Ok(Self { lab, gate, heard, end })
    }

    /// Waits until the lab takes calls; false if it did not come in time.
    pub(super) async fn ready(&self, clock: &dyn Clock, within: Lasting) -> bool {
        let until = later(clock.now(), within.0);
        while self.gate.0.hub.window(&self.lab) == 0 {
            if clock.now() >= until {
                return false;
            }
            clock.sleep_until(later(clock.now(), LOOK)).await;
        }
        true
    }

    /// Waits until all connections are newer than the first so many, and one of them takes calls; false if that was
    /// not so in time.
    pub(super) async fn back(&self, before: usize, clock: &dyn Clock, within: Lasting) -> bool {
        let until = later(clock.now(), within.0);
        loop {
            let (new, hub) = (self.connects() - before, &self.gate.0.hub);
            if new > 0 && hub.connections(&self.lab) <= new && hub.window(&self.lab) > 0 {
                return true;
            }
            if clock.now() >= until {
                return false;
            }
            clock.sleep_until(later(clock.now(), LOOK)).await;
        }
    }

    /// How often the lab has connected.
    pub(super) fn connects(&self) -> usize {
        self.gate.0.connects.load(Ordering::Relaxed)
    }

    /// Waits for what the lab says to a stop by itself; `None` if it did not come in time.
    pub(super) async fn hears(&self, stop: &StopId, clock: &dyn Clock, within: Lasting) -> Option<Word> {
        let until = later(clock.now(), within.0);
        loop {
            let heard = lock(&self.heard).get(stop).copied();
            if heard.is_some() || clock.now() >= until {
                return heard;
            }
            clock.sleep_until(later(clock.now(), LOOK)).await;
        }
    }

    /// Breaks all connections, as a firewall does: without a word.
    pub(super) fn cut(&self) {
        let cut = std::mem::take(&mut lock(&self.gate.0.era).cut);
        cut.cancel();
    }

    /// Says good-bye on all connections, as a gateway does that shuts down; another one is there at once.
    pub(super) fn say_goodbye(&self) {
        let Inner { hub, desk, clock, random, era, .. } = &*self.gate.0;
        let mut era = lock(era);
        let new = Era { cut: era.cut.clone(), ..Era::new(hub, desk, clock, random) };
        std::mem::replace(&mut *era, new).end.cancel();
    }
}

/// The server that takes connections now.
struct Era {
    server: Server,
    end: CancellationToken,
    cut: CancellationToken,
}

impl Era {
    fn new(hub: &Hub, desk: &Arc<Reception>, clock: &Arc<dyn Clock>, random: &Arc<dyn Random>) -> Self {
        let end = CancellationToken::new();
        let desk: Arc<dyn Desk> = Arc::<Reception>::clone(desk);
        let server = Server::new(hub.clone(), desk, Arc::clone(clock), Arc::clone(random), end.clone());
        Self { server, end, cut: CancellationToken::new() }
    }
}

struct Inner {
    hub: Hub,
    desk: Arc<Reception>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    era: Mutex<Era>,
    connects: AtomicUsize,
}

/// The gateway's server of links, whose connections can be cut.
#[derive(Clone)]
struct Gate(Arc<Inner>);

#[tonic::async_trait]
impl LabLinkService for Gate {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<ConnectResponse, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (server, cut) = {
            let era = lock(&self.0.era);
            (era.server.clone(), era.cut.clone())
        };
        let said = server.connect(request).await?.into_inner();
        self.0.connects.fetch_add(1, Ordering::Relaxed);
        let broken = cut.clone();
        let end = stream::once(async move {
            broken.is_cancelled().then(|| Err(Status::unavailable("the connection was cut")))
        });
        let said = said.take_until(cut.cancelled_owned()).chain(end.filter_map(std::future::ready));
        Ok(Response::new(Box::pin(said)))
    }
}

/// A desk that knows one key.
struct Reception {
    key: SecretString,
    beat: Lasting,
    heard: Heard,
    lab: LabId,
}

impl Desk for Reception {
    fn receive<'a>(
        &'a self,
        authorization: Option<&'a str>,
        _: Option<Source>,
    ) -> Pending<'a, Result<Arc<dyn Seat>, Refusal>> {
        let given = authorization.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        let known = bool::from(given.as_bytes().ct_eq(self.key.expose_secret().trim().as_bytes()));
        let seat = || -> Arc<dyn Seat> {
            let Self { beat, heard, lab, .. } = self;
            Arc::new(Chair { beat: *beat, heard: Arc::clone(heard), lab: lab.clone() })
        };
        let refusal = || Refusal::new(No::Unauthenticated, "unauthenticated", "the key is not this lab's");
        let received = if known { Ok(seat()) } else { Err(refusal()) };
        Box::pin(std::future::ready(received))
    }
}

struct Chair {
    beat: Lasting,
    heard: Heard,
    lab: LabId,
}

impl Seat for Chair {
    fn lab(&self) -> &LabId {
        &self.lab
    }

    fn settings(&self) -> Settings {
        Settings::from_iter([("heartbeat".to_owned(), self.beat.to_string().into())])
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }

    fn report(&self, _: StageReport) -> Pending<'_, Result<Taken, Refusal>> {
        Box::pin(std::future::ready(Ok(Taken::Taken)))
    }

    fn answer(&self, answer: LateAnswer) -> Pending<'_, Result<Taken, Refusal>> {
        let known = lock(&self.heard).insert(answer.stop, answer.word);
        let taken = if known == Some(answer.word) { Taken::Unchanged } else { Taken::Taken };
        Box::pin(std::future::ready(Ok(taken)))
    }
}
