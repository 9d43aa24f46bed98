//! Inward: the surface that platforms, labs and ops speak to, over HTTP and over gRPC.
//!
//! What a request does is one function for both faces: [`orders`], [`bulk`], [`stops`]. The faces
//! ([`http`], [`grpc`]) read and write.
//!
//! A handler reads the request, records the intent in the store, nudges whoever acts on it, and
//! answers from what was recorded. It never calls a lab. Every route is registered through
//! [`gate`], which is where callers are recognised; there is no other way in.

mod addresses;
mod approvals;
pub mod auth;
mod batches;
pub mod board;
mod bulk;
pub mod changes;
mod coming;
mod crowd;
mod customer_keys;
mod downloads;
mod due;
mod escalations;
mod event_filter;
mod fresh;
mod gate;
mod grpc;
pub mod http;
pub mod idempotency;
pub mod json;
pub mod lab_desk;
pub mod limits;
pub mod ndjson;
mod orders;
mod page;
pub mod problem;
pub mod registry;
mod replace;
mod routes;
pub mod serve;
pub mod sessions;
mod sources;
mod stops;
mod tail;
mod watches;
pub mod windows;
mod words;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use self::grpc::read_submission;
use self::problem::{Code, Problem};
use crate::clock::{Clock, Random};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::customer_link::CustomerKeys;
use crate::domain::event::Actor;
use crate::domain::health::LabHealth;
use crate::domain::ids::LabId;
use crate::domain::lab::{DriverSpec, Lab};
use crate::domain::link::LinkKey;
use crate::domain::second_factor::Wanted;
use crate::domain::webhook::Posted;
use crate::store::{self, Store};

/// How often keys are read again.
const KEYS_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// How often labs and platforms are read again.
const REGISTRY_EVERY: SignedDuration = SignedDuration::from_secs(5);
/// How often addresses and keys are forgotten that were not heard of for a while.
const FORGET_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// A bell of somebody else's room. The default one is not heard.
#[derive(Clone)]
pub struct Bell(Arc<dyn Fn() + Send + Sync>);

impl Bell {
    /// A bell that calls this.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ring))
    }

    /// Rings it.
    pub fn ring(&self) {
        (self.0)();
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new(|| {})
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

/// Wakes the loops when there is work for them. They would find it by themselves, later.
#[derive(Debug, Clone, Default)]
pub struct Nudge {
    /// The loop that hands over.
    pub transfers: Bell,
    /// The loop that forwards stops.
    pub stops: Bell,
    /// The loop that closes batches.
    pub closes: Bell,
    /// The loop that writes to the people of labs.
    pub mails: Bell,
    /// The loop that watches approvals and replacements.
    pub changes: Bell,
    /// The loop that asks labs for other addresses.
    pub addresses: Bell,
    /// The loop that asks platforms about downloads.
    pub downloads: Bell,
    /// The loop that tells endpoints what happens.
    pub webhooks: Bell,
}

/// Checks a driver's own settings; faults are named from the driver's root.
pub type CheckDriver = Arc<dyn Fn(&DriverSpec) -> Vec<Fault> + Send + Sync>;
/// Tells how a lab stands, as this gateway sees it; `None` if nobody has looked at it yet.
pub type Health = Arc<dyn Fn(&LabId) -> Option<LabHealth> + Send + Sync>;
/// Renders the metrics as text.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What customers' links are made with.
#[derive(Debug)]
pub struct Customers {
    /// The keys that sign them.
    pub keys: CustomerKeys,
    /// What they begin with, without a slash at its end; `None` where nobody told.
    pub base: Option<String>,
}

/// What there is to ask about an endpoint, without sending anything that happened.
#[derive(Clone)]
pub struct Endpoints {
    /// Why a URL can never be called; nothing where that has to be tried.
    pub refusal: Refusal,
    /// Sends a test message: the URL, the id, the body, and the secrets that sign it.
    pub ping: Ping,
}

/// Says why a URL can never be called, if it cannot.
pub type Refusal = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;
/// Sends a test message.
pub type Ping = Arc<dyn Fn(TestMessage) -> store::Pending<'static, Posted> + Send + Sync>;

/// A message that is sent to try an endpoint.
#[derive(Debug)]
pub struct TestMessage {
    /// Where to.
    pub url: String,
    /// Its id.
    pub id: String,
    /// What is sent.
    pub body: String,
    /// The secrets that sign it.
    pub secrets: Vec<secrecy::SecretString>,
}

/// What the surface is made of.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids and keys.
    pub random: Arc<dyn Random>,
    /// Labs and platforms; shared with the loops.
    pub registry: Arc<registry::Registry>,
    /// Whom to wake.
    pub nudge: Nudge,
    /// Checks drivers.
    pub check_driver: CheckDriver,
    /// Tells how labs stand.
    pub health: Health,
    /// Renders the metrics.
    pub metrics: RenderMetrics,
    /// How often a key may call.
    pub budgets: limits::Budgets,
    /// The key of the links in mails.
    pub links: Arc<LinkKey>,
    /// What customers' links are made with.
    pub customers: Arc<Customers>,
    /// What there is to ask about endpoints.
    pub endpoints: Endpoints,
    /// Whether people of ops need a second factor for what cannot be taken back.
    pub second_factor: Wanted,
    /// The name of this replica, for `/readyz`.
    pub replica: String,
    /// Cancelled when the gateway ends: what never ends by itself ends then.
    pub end: CancellationToken,
}

/// The state behind every handler. Clones share everything.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

/// See [`Parts`].
pub struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) registry: Arc<registry::Registry>,
    pub(super) keys: auth::Keys,
    pub(super) nudge: Nudge,
    check_driver: CheckDriver,
    /// How labs stand, for the API and for pages.
    pub(super) health: Health,
    metrics: RenderMetrics,
    limits: limits::Limits,
    sources: sources::Sources,
    running: idempotency::Running,
    pub(super) links: Arc<LinkKey>,
    pub(super) customers: Arc<Customers>,
    /// The keys of customers' links as they are now.
    customer_ring: customer_keys::Ring,
    endpoints: Endpoints,
    second_factor: Wanted,
    replica: String,
    end: CancellationToken,
    /// Whether the store answered when it was last asked.
    ready: watch::Sender<bool>,
    watches: watches::Watches,
    tail: tail::Tail,
    /// What the ops board shows, while anybody looks.
    pub(super) board: board::Board,
}

impl std::ops::Deref for Api {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl Api {
    /// Puts the parts together and reads the keys.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn open(parts: Parts) -> store::Result<Self> {
        let Parts {
            store,
            clock,
            random,
            registry,
            nudge,
            check_driver,
            health,
            metrics,
            budgets,
            links,
            customers,
            endpoints,
            second_factor,
            replica,
            end,
        } = parts;
        let keys = auth::Keys::load(Arc::clone(&store)).await?;
        let limits = limits::Limits::new(budgets, Arc::clone(&clock));
        let sources = sources::Sources::new(budgets, Arc::clone(&clock));
        let running = idempotency::Running::default();
        let tail = tail::Tail::new(Arc::clone(&store), Arc::clone(&clock), end.clone());
        let board = board::Board::new(&*random);
        let inner = Inner {
            store,
            clock,
            random,
            registry,
            keys,
            nudge,
            check_driver,
            health,
            metrics,
            limits,
            sources,
            running,
            links,
            customer_ring: customer_keys::Ring::new(customers.keys.clone()),
            customers,
            endpoints,
            second_factor,
            replica,
            end,
            ready: watch::Sender::new(true),
            watches: watches::Watches::default(),
            tail,
            board,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Reads keys every second, and labs and platforms every five, until told to end: what other
    /// replicas changed.
    pub async fn keep_fresh(&self, end: CancellationToken) {
        let keys = every(&*self.clock, KEYS_EVERY, &end, |now| async move {
            let read = self.keys.refresh().await;
            self.ready.send_if_modified(|ready| std::mem::replace(ready, read.is_ok()) != read.is_ok());
            read?;
            self.customer_ring.refresh(&*self.store, now).await
        });
        let registry = every(&*self.clock, REGISTRY_EVERY, &end, |now| self.registry.refresh(now));
        let sources = every(&*self.clock, FORGET_EVERY, &end, |_| async {
            self.sources.forget();
            self.limits.forget();
            Ok(())
        });
        tokio::join!(keys, registry, sources);
    }
}

impl Api {
    /// Compares all open windows with the calendars as they are now, after newer zone data came.
    ///
    /// # Errors
    /// If the store does not answer; it can be repeated.
    pub async fn keep_promises(&self) -> store::Result<()> {
        let by = (&Actor::gateway(), "newer zone data");
        for entry in self.registry.snapshot().labs.values() {
            let notes = self.keep_promises_of(&entry.lab, by).await?;
            for kept in notes {
                tracing::warn!(batch = %kept.batch, closes_at = %kept.closes_at, note = kept.note, "newer zone data");
            }
        }
        Ok(())
    }

    async fn keep_promises_of(&self, lab: &Lab, by: (&Actor, &str)) -> store::Result<Vec<http::Kept>> {
        let notes = http::keep_promises(&*self.store, lab, by, &*self.random, self.clock.now()).await;
        self.nudge.closes.ring();
        notes
    }
}

async fn every<F: Future<Output = store::Result<()>>>(
    clock: &dyn Clock,
    pause: SignedDuration,
    end: &CancellationToken,
    work: impl Fn(Timestamp) -> F,
) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = clock.sleep_until(later(clock.now(), pause)) => {}
        }
        if let Err(error) = work(clock.now()).await {
            tracing::warn!(%error, "what other replicas changed was not read");
        }
    }
}

/// The routes with everything around them. Merge other services in before serving it.
pub fn router(api: &Api) -> axum::Router {
    let (router, _) = http::routes(Some(api)).0.split_for_parts();
    router
        .merge(grpc::routes(api))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(api.clone())
}

async fn no_route(request: Request) -> Response {
    let text = format!("{} is not a route of the gateway.", request.uri().path());
    Problem::new(Code::NoSuchRoute, text).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let text = format!("{} does not take {}.", request.uri().path(), request.method());
    Problem::new(Code::MethodNotAllowed, text).into_response()
}

fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    Problem::new(Code::Internal, "The request ran into a mistake of the gateway.").into_response()
}

/// Waits at most so long for something from outside.
pub(super) async fn within<F: Future>(limit: Duration, work: F) -> Result<F::Output, Problem> {
    let text = || format!("The body did not come within {} s.", limit.as_secs());
    tokio::time::timeout(limit, work).await.map_err(|_| Problem::new(Code::TooSlow, text()))
}
