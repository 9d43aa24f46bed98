//! The composition root: parse, build and bind, spawn, and drain with a deadline.
//!
//! Nobody else sees concrete engines or clients. The port is bound before anything is spawned, so that
//! a start that cannot serve does not begin to work.

mod changes;
mod customers;
mod hooks;
mod keys;
mod links;
mod port;
mod warn;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::limits::{Budget, Budgets};
use crate::api::registry::Registry;
use crate::api::serve::{self, Drained};
use crate::api::{self, Api, Bell, Nudge, Parts};
use crate::clock::{Clock, HostClock, HostRandom, Random};
use crate::config::{self, Config, LimitsConfig, MailTls};
use crate::domain::Fault;
use crate::domain::event::hex;
use crate::domain::link::LinkKey;
use crate::domain::zones::Zones;
use crate::lab::link::{self, Hub};
use crate::lab::mail::{NoMailer, Protection, SharedMailer, Smtp, SmtpSettings};
use crate::lab::outbound::{Outbound, OutboundSettings, install_tls};
use crate::lab::{Drivers, Tools};
use crate::store::{self, Announce, TakeOver, Write, one};
use crate::telemetry::Metrics;
use crate::work::labs::Directory;
use crate::work::{self, Bells, Bench, chores};

use self::changes::changes;
pub use self::keys::FirstKey;
use self::keys::{first_key, link_key};

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody's input: the configuration.
    #[error("{0}")]
    Input(#[from] Fault),
    /// The database.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// The port.
    #[error("cannot listen on {addr}: {cause}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
}

/// What surrounds the gateway: the time, randomness, and how often loops look for others' work.
#[derive(Debug, Clone)]
pub struct Ambient {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The longest sleep of a loop.
    pub poll: SignedDuration,
    /// Whether coarse chores run by themselves, on the host's clock.
    pub chores: bool,
}

impl Ambient {
    /// The host's own.
    #[must_use]
    pub fn host() -> Self {
        Self {
            clock: Arc::new(HostClock),
            random: Arc::new(HostRandom),
            poll: SignedDuration::from_secs(30),
            chores: true,
        }
    }
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The first start's ops key; it is shown once.
    pub ops_key: Option<SecretString>,
    /// Which zone data it uses, and from where.
    pub zones: String,
    /// What the loops work with.
    pub bench: Bench,
    end: CancellationToken,
    server: JoinHandle<Drained>,
    loops: Vec<JoinHandle<()>>,
    chores: Option<chores::Chores>,
    drain_within: Duration,
    /// Ends what must outlive the last request.
    leave: CancellationToken,
}

fn budgets(limits: &LimitsConfig) -> Budgets {
    let budget = |per_second, burst| Budget { per_second, burst };
    Budgets {
        writes: budget(limits.writes_per_second, limits.writes_burst),
        stops: budget(limits.stops_per_second, limits.stops_burst),
        reads: budget(limits.reads_per_second, limits.reads_burst),
        failed_sign_ins_a_minute: limits.failed_sign_ins_per_minute,
        link_pages_a_minute: limits.link_pages_per_minute,
    }
}

fn std_duration(lasting: crate::domain::lab::Lasting) -> Duration {
    Duration::try_from(lasting.0).unwrap_or_default()
}

/// The loop that writes to the people of labs.
fn remind(
    config: &Config,
    bench: &Bench,
    registry: &Arc<Registry>,
    key: Arc<LinkKey>,
) -> Result<work::remind::Remind, Fault> {
    let mail = &config.mail;
    let public_url = mail.server.as_ref().and(mail.public_url.as_ref()).and_then(|text| text.parse().ok());
    let mailer: SharedMailer = match (&mail.server, &mail.from) {
        (Some(server), Some(from)) => {
            let password = mail.password.as_ref().map(config::secret).transpose();
            let password = password.map_err(|fault| Fault::new("mail.password", fault.message))?;
            let files =
                [("mail.ca", mail.ca.as_ref()), ("outbound.extra_ca", config.outbound.extra_ca.as_ref())];
            let read =
                files.into_iter().filter_map(|(field, file)| Some((field, file?))).map(|(field, file)| {
                    let unreadable = |error| Fault::new(field, format!("{}: {error}", file.display()));
                    Ok((field, std::fs::read(file).map_err(unreadable)?))
                });
            let authorities = read.collect::<Result<Vec<_>, Fault>>()?;
            Arc::new(Smtp::new(SmtpSettings {
                server: server.clone(),
                port: mail.port(),
                protection: match mail.tls {
                    MailTls::Starttls => Protection::StartTls,
                    MailTls::Implicit => Protection::Tls,
                    MailTls::None => Protection::None,
                },
                login: mail.username.clone().zip(password),
                from: from.clone(),
                authorities,
                within: std_duration(mail.send_within),
            })?)
        }
        _ => Arc::new(NoMailer),
    };
    let registry = Arc::clone(registry);
    let calendars: work::remind::Calendars =
        Arc::new(move |lab, region| registry.lab(lab)?.lab.calendar(region).cloned());
    Ok(work::remind::Remind::new(bench.clone(), mailer, work::remind::Links { key, public_url }, calendars))
}

/// What whoever starts a gateway is told before its first answer.
#[derive(Debug)]
pub struct Greeting<'a> {
    /// Where it will serve.
    pub addr: SocketAddr,
    /// The zone data and where they come from.
    pub zones: &'a str,
    /// The first ops key, if the database had none.
    pub ops_key: Option<&'a FirstKey>,
}

/// Starts a gateway.
///
/// # Errors
/// If the configuration, the database or the port does not allow it; nothing is left running.
pub async fn start(config: &Config, ambient: Ambient) -> Result<Running, Error> {
    start_telling(config, ambient, |_| {}).await
}

/// Starts a gateway, and greets before it answers: whoever sees that it is ready can use the key.
///
/// # Errors
/// Like [`start`].
pub async fn start_telling(
    config: &Config,
    ambient: Ambient,
    tell: impl FnOnce(&Greeting<'_>),
) -> Result<Running, Error> {
    start_driving(config, ambient, Drivers::default(), tell).await
}

/// Starts a gateway that reaches labs with these drivers.
///
/// # Errors
/// Like [`start`].
pub async fn start_driving(
    config: &Config,
    ambient: Ambient,
    drivers: Drivers,
    tell: impl FnOnce(&Greeting<'_>),
) -> Result<Running, Error> {
    install_tls();
    let metrics = Metrics::start();
    let zones = Zones::of_host(config.zones.dir.as_deref())?;
    let zones_text = format!("{} from {}", zones.version(), zones.source());
    tracing::info!(version = zones.version(), source = %zones.source(), "zone data");

    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|cause| Error::Listen { addr: config.listen, cause })?;
    let addr = listener.local_addr().map_err(|cause| Error::Listen { addr: config.listen, cause })?;

    let now = ambient.clock.now();
    let store = store::open(&config.database, now).await?;
    let first = first_key(&*store, &ambient).await?;

    let mut name = [0; 6];
    ambient.random.fill(&mut name);
    let holder = format!("gw-{}", hex(&name));
    let hub = Hub::default();
    let tools = Tools {
        clock: Arc::clone(&ambient.clock),
        random: Arc::clone(&ambient.random),
        outbound: Outbound::new(OutboundSettings {
            allow: config.outbound.allow.clone(),
            extra_ca: config.outbound.extra_ca.clone(),
            ..OutboundSettings::default()
        })?,
        secrets: Arc::new(config::secret),
        links: hub.clone(),
    };
    let poster = hooks::poster(tools.outbound.clone(), &ambient.clock);
    let revoker = hooks::revoker(tools.outbound.clone(), &ambient.clock);
    let bells = Arc::new(Bells::default());
    let end = CancellationToken::new();
    let bench = Bench {
        store: Arc::clone(&store),
        clock: Arc::clone(&ambient.clock),
        random: Arc::clone(&ambient.random),
        labs: Arc::new(Directory::driving(tools, drivers.clone())),
        bells: Arc::clone(&bells),
        holder: holder.clone(),
        end: end.clone(),
    };
    hear_links(&hub, &bench);
    let registry = Arc::new(Registry::load(Arc::clone(&store), zones, now).await?);
    let link_key = Arc::new(link_key(&*store, &ambient).await?);
    let customers = Arc::new(customers::customers(&*store, &ambient, config, addr).await?);
    let teller = work::tell::Tell::new(bench.clone(), Arc::clone(&poster));
    let revoke = work::revoke::Revoke::new(bench.clone(), revoker);
    let rendered = metrics.clone();
    let surface = Api::open(Parts {
        store: Arc::clone(&store),
        clock: Arc::clone(&ambient.clock),
        random: Arc::clone(&ambient.random),
        registry: Arc::clone(&registry),
        nudge: nudge(&bench, &teller),
        check_driver: Arc::new(move |spec| drivers.check(spec)),
        health: health(&bench),
        metrics: Arc::new(move || rendered.render()),
        links: Arc::clone(&link_key),
        customers,
        endpoints: hooks::endpoints(&poster),
        second_factor: config.ops.second_factor,
        budgets: budgets(&config.limits),
        replica: holder.clone(),
        end: end.clone(),
    })
    .await?;

    let remind = remind(config, &bench, &registry, link_key)?;

    if !config.database.starts_with("postgres") {
        // The only process on this file: whoever else was sending is dead.
        one(&*store, Write::TakeOver(TakeOver { now, all_but: Some(holder.clone()), limit: i64::MAX }))
            .await?;
    }

    if store.shared() {
        // Before the first request: from now on the others wait for what is asked here.
        let said = Announce { replica: holder.clone(), clear_until: now, at: now };
        one(&*store, Write::Announce(said)).await?;
    }

    let leave = CancellationToken::new();
    let warn = work::warn::Warn::new(bench.clone(), warn::near(&registry));
    let steps = (remind, teller, warn, changes(&bench, &registry), revoke);
    let loops = spawn_loops(&bench, steps, ambient.poll, &surface, &end, &leave);
    let chores = if ambient.chores {
        let (metrics, registry) = (metrics.clone(), Arc::clone(&registry));
        let clock = Arc::clone(&ambient.clock);
        let upkeep: chores::Extra = Arc::new(move || {
            metrics.upkeep();
            Box::pin(async {})
        });
        let fresh = surface.clone();
        let zone_data: chores::Extra = Arc::new(move || {
            let (registry, clock, surface) = (Arc::clone(&registry), Arc::clone(&clock), fresh.clone());
            Box::pin(async move { renew_zones(&registry, &surface, &*clock).await })
        });
        let (days, more) =
            (config.retention.addresses_days, vec![("*/5 * * * * *", upkeep), ("30 * * * * *", zone_data)]);
        Some(chores::start(&bench, days, more).await?)
    } else {
        None
    };
    let settings = port::settings(&config.serve);
    tell(&Greeting { addr, zones: &zones_text, ops_key: first.as_ref() });
    let ops_key = first.map(|first| first.secret);
    let desk = Arc::new(links::Reception(surface.clone()));
    let link_server =
        link::Server::new(hub, desk, Arc::clone(&ambient.clock), Arc::clone(&ambient.random), end.clone());
    // The fallback is the API's: one answer for whatever is no route.
    let grpc = link::routes(link_server).into_axum_router().reset_fallback();
    let server =
        tokio::spawn(serve::serve(listener, api::router(&surface).merge(grpc), settings, end.clone()));
    tracing::info!(%addr, replica = %bench.holder, "serving");
    let drain_within = std_duration(config.serve.drain_within);
    Ok(Running { addr, ops_key, zones: zones_text, bench, end, server, loops, chores, drain_within, leave })
}

/// What waits for a lab goes out as soon as it connects.
fn hear_links(hub: &Hub, bench: &Bench) {
    let (bells, labs) = (Arc::clone(&bench.bells), Arc::clone(&bench.labs));
    hub.on_change(move |lab| {
        labs.link_changed(lab);
        bells.nudge(work::transfer::NAME);
        bells.nudge(work::stop::NAME);
    });
}

/// How labs stand, as this gateway sees them.
fn health(bench: &Bench) -> api::Health {
    let (labs, clock, gateway) = (Arc::clone(&bench.labs), Arc::clone(&bench.clock), bench.holder.clone());
    Arc::new(move |lab| labs.health(lab, &gateway, clock.now()))
}

fn nudge(bench: &Bench, tell: &work::tell::Tell) -> Nudge {
    let tell = tell.clone();
    let bell = |name: &'static str| {
        let (bells, labs) = (Arc::clone(&bench.bells), Arc::clone(&bench.labs));
        Bell::new(move || {
            if name == work::transfer::NAME {
                // A lab may have been changed: the bell does not say which.
                labs.stale();
                bells.nudge(work::warn::NAME);
            }
            bells.nudge(name);
            // What may change what is sent ahead: labs, and windows that open.
            if ![work::stop::NAME, work::changes::NAME, work::revoke::NAME].contains(&name) {
                bells.nudge(work::import::NAME);
            }
        })
    };
    Nudge {
        transfers: bell(work::transfer::NAME),
        stops: bell(work::stop::NAME),
        closes: bell(work::close::NAME),
        mails: bell(work::remind::NAME),
        changes: bell(work::changes::NAME),
        downloads: bell(work::revoke::NAME),
        addresses: bell(work::address::NAME),
        webhooks: hooks::bell(bench, tell),
    }
}

/// The loops that need more than the bench.
type Steps =
    (work::remind::Remind, work::tell::Tell, work::warn::Warn, work::changes::Changes, work::revoke::Revoke);

fn spawn_loops(
    bench: &Bench,
    (remind, tell, warn, changes, revoke): Steps,
    poll: SignedDuration,
    surface: &Api,
    end: &CancellationToken,
    leave: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let (clock, bells) = (&bench.clock, &bench.bells);
    let names = [
        work::address::NAME,
        work::changes::NAME,
        work::close::NAME,
        work::transfer::NAME,
        work::stop::NAME,
        work::import::NAME,
        work::remind::NAME,
        work::revoke::NAME,
        work::tell::NAME,
        work::warn::NAME,
    ];
    for name in names {
        bells.starts(name);
    }
    let fresh = surface.clone();
    let token = end.clone();
    macro_rules! supervise {
        ($step:expr) => {
            tokio::spawn(work::supervise($step, Arc::clone(clock), Arc::clone(bells), poll, end.clone()))
        };
    }
    let mut loops = vec![
        supervise!(work::close::Close(bench.clone())),
        supervise!(work::transfer::Transfer(bench.clone())),
        supervise!(work::stop::Forward(bench.clone())),
        supervise!(work::import::SendAhead::new(bench.clone())),
        supervise!(work::address::Readdress(bench.clone())),
        supervise!(changes),
        supervise!(revoke),
        supervise!(remind),
        tokio::spawn(tell.clone().hear()),
        supervise!(tell),
        supervise!(warn),
        tokio::spawn(async move { fresh.keep_fresh(token).await }),
    ];
    if bench.store.shared() {
        bells.starts(work::clear::NAME);
        let clear = work::clear::Clear(bench.clone());
        loops.push(tokio::spawn(work::supervise(
            clear,
            Arc::clone(clock),
            Arc::clone(bells),
            poll,
            leave.clone(),
        )));
    }
    loops
}

/// Takes newer zone data of the host, if there is some.
async fn renew_zones(registry: &Registry, surface: &Api, clock: &dyn Clock) {
    let Some(zones) = registry.zones().refreshed() else { return };
    tracing::info!(version = zones.version(), source = %zones.source(), "newer zone data");
    registry.set_zones(zones);
    let now = clock.now();
    if let Err(error) = registry.refresh(now).await {
        tracing::warn!(%error, "the calendars could not be built again");
        return;
    }
    if let Err(error) = surface.keep_promises().await {
        tracing::warn!(%error, "open windows could not be compared with the newer zone data");
    }
}

impl Running {
    /// The base URL of this gateway.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends it: no new work, requests and calls under way get until the deadline.
    pub async fn stop(self) -> Drained {
        self.end.cancel();
        let drained = self.server.await.unwrap_or(Drained::Cut(0));
        // Until here this gateway may have been asked for stops, and said so.
        self.leave.cancel();
        for handle in self.loops {
            let _ = handle.await;
        }
        // Nobody asks here any more: the others need not wait for the calls that are still under way.
        if self.bench.store.shared() {
            let gone = Write::Leave { replica: self.bench.holder.clone(), at: self.bench.clock.now() };
            if let Err(error) = one(&*self.bench.store, gone).await {
                tracing::warn!(%error, "the other gateways could not be told that this one ends");
            }
        }
        if let Some(chores) = self.chores {
            chores.stop().await;
        }
        // Calls that are under way settle what they learn; what does not make it is taken over.
        let now = self.bench.clock.now();
        let calls = self.bench.bells.settled(now);
        if tokio::time::timeout(self.drain_within, calls).await.is_err() {
            tracing::warn!(
                "calls to labs were still under way at the deadline: what came of them is unknown"
            );
        }
        self.bench.store.close().await;
        drained
    }
}
