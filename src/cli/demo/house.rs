//! The house of the demo: a gateway in this process, labs, shops and their keys, all set up as anybody
//! would, through the public API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use super::Error;
use super::cast::{ROLES, Role};
use super::script::Shop;
use super::wire::{Caller, Odd};
use crate::app::{self, Ambient, Running};
use crate::cli::simulate::{Gateway, Simulator, SimulatorSettings};
use crate::clock::{Clock, HostClock, HostRandom, ManualClock, Random, SeededRandom};
use crate::config::{self, Config, LimitsConfig, OutboundConfig};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::event::hex;
use crate::domain::ids::LabId;
use crate::domain::zones::Zones;
use crate::lab::outbound::Outbound;

/// Loops look for others' work so rarely that the demo never sees it: all that is due has an instant.
const POLL: SignedDuration = SignedDuration::from_hours(365 * 24);
/// A loop that waits for longer than this has nothing to wait for.
pub(super) const NOTHING_DUE: SignedDuration = SignedDuration::from_hours(200 * 24);

/// The longest that anything may take in the host's time: above every time-out of a call.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long a lab may take to connect, and how often that is looked at.
const CONNECTS_WITHIN: SignedDuration = SignedDuration::from_secs(20);
const LOOKS_EVERY: SignedDuration = SignedDuration::from_millis(5);
/// Calls at a time that a lab takes that dials out.
const LINK_WINDOW: u32 = 8;

/// A lab with those who work there.
#[derive(Debug)]
pub struct Staff {
    /// What it plays.
    pub role: &'static Role,
    /// The lab.
    pub lab: Simulator,
    /// Its key to the gateway.
    pub caller: Caller,
    /// When it prints next, as of the last step; of one that dials out: when it has something to report.
    pub prints: Option<Timestamp>,
    /// Lines of its ledger that were reported.
    pub reported: usize,
}

/// Everything that runs.
#[derive(Debug)]
pub struct House {
    /// The time of the play.
    pub clock: ManualClock,
    /// The gateway.
    pub gateway: Running,
    /// Ops.
    pub ops: Caller,
    /// The shops, as in the script.
    pub shops: Vec<Caller>,
    /// The labs.
    pub labs: Vec<Staff>,
}

/// A folder that is removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Folder {
    /// Where.
    pub path: PathBuf,
    /// Whether it stays.
    pub keep: bool,
}

impl Folder {
    /// A new folder that only this user can enter.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn new(keep: bool) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut name = [0; 8];
        HostRandom.fill(&mut name);
        let path = config::temporary().join(format!("stoppress-demo-{}", hex(&name)));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed stays in the host's folder for temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// How to set up.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Where files go.
    pub folder: &'a Path,
    /// What the labs' misbehaviour and the gateway's jitter are drawn from.
    pub seed: u64,
    /// Whether the gateway outlives the play: then nobody may guess its keys.
    pub keep: bool,
    /// When the play begins.
    pub start: Timestamp,
    /// Its first date.
    pub first: Date,
    /// Who sends orders.
    pub shops: &'a [Shop],
    /// Zone data, for the labs' hours away.
    pub zones: &'a Zones,
}

async fn lab(
    role: &'static Role,
    nth: u64,
    plan: &Plan<'_>,
    clock: &ManualClock,
) -> Result<(Simulator, Option<PathBuf>), Error> {
    let mut secret = None;
    let mut secret_file = None;
    if role.signed {
        let mut bytes = [0; 32];
        HostRandom.fill(&mut bytes);
        let text = format!("whsec_{}", STANDARD.encode(bytes));
        let file = plan.folder.join(format!("{}.secret", role.id));
        std::fs::write(&file, &text).map_err(|error| Error::failed(&file.display(), &error))?;
        secret = Some(SecretString::from(text));
        secret_file = Some(file);
    }
    let settings = SimulatorSettings {
        ledger: Some(plan.folder.join(format!("{}.ndjson", role.id))),
        secret,
        behaviour: role.behaviour(plan.first, plan.zones)?,
        ..SimulatorSettings::default()
    };
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(plan.seed.wrapping_add(1_000 + nth)));
    let lab = Simulator::start(settings, Arc::new(clock.clone()), random).await?;
    Ok((lab, secret_file))
}

/// Waits until a lab that dials out is connected.
async fn connected(gateway: &Running, id: &str) -> Result<(), Error> {
    let lab = LabId::parse(id)?;
    let until = later(HostClock.now(), CONNECTS_WITHIN);
    while gateway.bench.labs.connections(&lab) == 0 {
        if HostClock.now() > until {
            return Err(Error::Failed(format!("{id} did not connect to the gateway in {CONNECTS_WITHIN:#}")));
        }
        HostClock.sleep_until(later(HostClock.now(), LOOKS_EVERY)).await;
    }
    Ok(())
}

async fn key(ops: &Caller, scope: &str, owner: &str) -> Result<Caller, Odd> {
    let body = json!({ "scope": scope, "owner": owner, "name": "demo" });
    let made: Value = ops.post(&["keys"], &body).await?.read("POST keys")?;
    Ok(ops.with(SecretString::from(made["secret"].as_str().unwrap_or_default().to_owned())))
}

impl House {
    /// Starts everything.
    ///
    /// # Errors
    /// If something does not start, or the gateway refuses its set-up.
    pub async fn open(plan: &Plan<'_>) -> Result<Self, Error> {
        let clock = ManualClock::at(plan.start);
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database: format!("sqlite:{}", plan.folder.join("stoppress.db").display()),
            outbound: OutboundConfig { allow: vec![loopback()?], extra_ca: None },
            limits: LimitsConfig {
                writes_per_second: 0,
                stops_per_second: 0,
                reads_per_second: 0,
                ..LimitsConfig::default()
            },
            ..Config::default()
        };
        let random: Arc<dyn Random> =
            if plan.keep { Arc::new(HostRandom) } else { Arc::new(SeededRandom::new(plan.seed)) };
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let ambient = Ambient { clock: shared, random, poll: POLL, chores: false };
        let gateway = app::start(&config, ambient).await?;
        let base =
            Url::parse(&gateway.url()).map_err(|error| Error::failed(&"the gateway's address", &error))?;
        let outbound = Outbound::trusted()?;
        let first = gateway.ops_key.clone().unwrap_or_else(|| SecretString::from(String::new()));
        let ops = Caller::new(&base, first, &outbound);

        let mut shops = Vec::with_capacity(plan.shops.len());
        for shop in plan.shops {
            let id = shop.id.as_str();
            let policy = json!({ "customer_stops": "on" });
            ops.put(&["platforms", id], &json!({ "id": id, "name": shop.name, "policy": policy })).await?;
            shops.push(key(&ops, "platform", id).await?);
        }
        let mut labs = Vec::with_capacity(ROLES.len());
        for (nth, role) in (0_u64..).zip(&ROLES) {
            let (lab, secret) = lab(role, nth, plan, &clock).await?;
            let address = if role.driver == "grpc" { lab.grpc_addr } else { lab.http_addr };
            let spec = serde_json::to_value(role.spec(address, secret.as_deref())?)
                .map_err(|error| Error::failed(&role.id, &error))?;
            ops.put(&["labs", role.id], &spec).await?;
            let caller = key(&ops, "lab", role.id).await?;
            let answers = Gateway { url: base.clone(), key: SecretString::from(caller.key().to_owned()) };
            if role.dials() {
                lab.dial(&answers, LINK_WINDOW)?;
                lab.reports();
                connected(&gateway, role.id).await?;
            } else {
                lab.answers_to(answers)?;
            }
            labs.push(Staff { role, lab, caller, prints: None, reported: 0 });
        }
        Ok(Self { clock, gateway, ops, shops, labs })
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits until nobody is at work as of now: no loop, no call, no lab that owes an answer or a report. Gives
    /// the next instant at which somebody wants to wake.
    ///
    /// # Errors
    /// If that does not come about in [`PATIENCE`] of the host's time.
    pub async fn settled(&self) -> Result<Option<Timestamp>, Error> {
        let stuck =
            || Error::Failed(format!("at {} somebody was still at work after {PATIENCE:?}", self.now()));
        tokio::time::timeout(PATIENCE, self.settling()).await.map_err(|_| stuck())
    }

    async fn settling(&self) -> Option<Timestamp> {
        let now = self.now();
        loop {
            // Looked at first: a report that was heard may give the loops something to do.
            let owes = self.labs.iter().any(|staff| staff.lab.owes_reports());
            let wake = self.gateway.bench.bells.settled(now).await;
            let answer = self.labs.iter().filter_map(|staff| staff.lab.next_answer()).min();
            if !owes && answer.is_none_or(|at| at > now) {
                let wake = wake.filter(|at| at.duration_since(now) < NOTHING_DUE);
                return wake.into_iter().chain(answer).min();
            }
            // It is on its way: the gateway hears in a moment.
            tokio::task::yield_now().await;
        }
    }

    /// The lab of that id.
    #[must_use]
    pub fn lab(&self, id: &str) -> Option<&Staff> {
        self.labs.iter().find(|staff| staff.role.id == id)
    }

    /// Ends everything.
    pub async fn close(self) {
        self.gateway.stop().await;
        for staff in self.labs {
            staff.lab.shutdown().await;
        }
    }
}

fn loopback() -> Result<ipnet::IpNet, Fault> {
    "127.0.0.0/8".parse().map_err(|_| Fault::new("", "no network"))
}
