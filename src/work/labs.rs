//! The labs' endpoints, as configured now: connected once a version, with one lane each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

use crate::domain::health::{LabHealth, LaneHealth, Reach};
use crate::domain::ids::LabId;
use crate::domain::lab::{LabSpec, Profile};
use crate::lab::lane::Lane;
use crate::lab::{Drivers, Lab, Tools};
use crate::store::{LabRow, Result, Store};

/// How old the picture may get before it is taken anew.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(2);

/// A lab as the loops see it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its id.
    pub id: LabId,
    /// What it can do.
    pub profile: Arc<Profile>,
    /// Its definition.
    pub spec: Arc<LabSpec>,
    /// True where a person hands over and asks.
    pub manual: bool,
    /// Whether ops have paused it.
    pub paused: bool,
    /// The way to it; the reason if it cannot be used.
    pub lab: std::result::Result<Arc<dyn Lab>, String>,
    /// Its limits.
    pub lane: Lane,
    version: i64,
}

impl Endpoint {
    /// How many transfers a place claims ahead, of at most so many: none where the lab may hold several
    /// connections, because what waits behind a call on a slow one could go out on another.
    pub(super) fn ahead(&self, most: usize) -> usize {
        let dials = self.lab.as_ref().is_ok_and(|lab| lab.window().is_some());
        if dials { 1 } else { most }
    }

    /// Whether the lab dials out and is not connected to this gateway, or takes no calls over its
    /// connections now. Keeps its lane to what it takes.
    pub(super) fn is_away(&self) -> bool {
        let Ok(lab) = &self.lab else { return false };
        let window = lab.window();
        self.lane.keep_to(window);
        window == Some(0)
    }
}

#[derive(Debug, Default)]
struct Picture {
    taken_at: Option<Timestamp>,
    labs: HashMap<LabId, Endpoint>,
}

/// All labs.
#[derive(Debug)]
pub struct Directory {
    tools: Tools,
    drivers: Drivers,
    picture: Mutex<Picture>,
}

impl Directory {
    /// An empty directory; the first look fills it.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self::driving(tools, Drivers::default())
    }

    /// The same, with these drivers.
    #[must_use]
    pub fn driving(tools: Tools, drivers: Drivers) -> Self {
        Self { tools, drivers, picture: Mutex::default() }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says that a lab was changed: the next look reads again.
    pub fn stale(&self) {
        self.locked().taken_at = None;
    }

    /// Reads the labs anew if the picture is old.
    pub async fn refresh(&self, store: &dyn Store, now: Timestamp) -> Result<()> {
        let fresh = self.locked().taken_at.is_some_and(|at| now >= at && now.duration_since(at) < AGE_MAX);
        if fresh {
            return Ok(());
        }
        let rows = store.labs().await?;
        let mut picture = self.locked();
        let mut labs = HashMap::with_capacity(rows.len());
        for row in rows {
            let known = picture.labs.remove(&row.id).filter(|known| known.version == row.version);
            let id = row.id.clone();
            if let Some(endpoint) = known.or_else(|| self.connect(row)) {
                labs.insert(id, endpoint);
            }
        }
        picture.labs = labs;
        picture.taken_at = Some(now);
        Ok(())
    }

    fn connect(&self, row: LabRow) -> Option<Endpoint> {
        let spec: LabSpec = match serde_json::from_str(&row.spec) {
            Ok(spec) => spec,
            Err(error) => {
                tracing::error!(lab = %row.id, %error, "the stored definition of a lab cannot be read; nothing is handed to it");
                return None;
            }
        };
        let connected = self.drivers.connect(&spec, &self.tools).map_err(|fault| fault.to_string());
        if let Err(reason) = &connected {
            tracing::error!(lab = %row.id, reason, "a lab cannot be reached as it is configured; its orders wait");
        }
        Some(Endpoint {
            lane: Lane::new(&spec.profile),
            manual: self.drivers.find(&spec.driver.kind).is_ok_and(|driver| driver.manual),
            paused: row.paused.is_some(),
            profile: Arc::new(spec.profile_in_force()),
            spec: Arc::new(spec),
            lab: connected,
            version: row.version,
            id: row.id,
        })
    }

    /// Whether labs that dial out are connected to this gateway.
    #[must_use]
    pub fn linked(&self) -> bool {
        !self.tools.links.is_empty()
    }

    /// How many connections a lab that dials out has to this gateway.
    #[must_use]
    pub fn connections(&self, id: &LabId) -> usize {
        self.tools.links.connections(id)
    }

    /// A lab that dials out came, went, or takes more calls.
    pub fn link_changed(&self, id: &LabId) {
        if let Some(endpoint) = self.get(id)
            && endpoint.lab.as_ref().is_ok_and(|lab| lab.window() != Some(0))
        {
            endpoint.lane.is_back(self.tools.clock.now());
        }
    }

    /// One lab.
    #[must_use]
    pub fn get(&self, id: &LabId) -> Option<Endpoint> {
        self.locked().labs.get(id).cloned()
    }

    /// All labs, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Endpoint> {
        let mut all: Vec<_> = self.locked().labs.values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// How a lab stands, as this gateway sees it; `None` if no loop has looked at it yet.
    #[must_use]
    pub fn health(&self, id: &LabId, gateway: &str, now: Timestamp) -> Option<LabHealth> {
        let endpoint = self.get(id)?;
        let dials = endpoint.lab.as_ref().is_ok_and(|lab| lab.window().is_some());
        let away = endpoint.is_away();
        let lane = endpoint.lane.health(now);
        let reach = match &endpoint.lab {
            Err(_) => Reach::Unusable,
            Ok(_) if endpoint.manual => Reach::ByHand,
            Ok(_) if away => Reach::Away,
            Ok(_) if lane.closed_until.is_some() => Reach::Closed,
            Ok(_) => Reach::Open,
        };
        Some(LabHealth {
            gateway: gateway.to_owned(),
            reach,
            cause: endpoint.lab.err(),
            lane: (!endpoint.manual).then_some(lane),
            links: dials.then(|| self.tools.links.health(id)),
        })
    }

    /// How the lanes stand.
    #[must_use]
    pub fn lanes(&self, now: Timestamp) -> Vec<(LabId, LaneHealth)> {
        let mut all: Vec<_> =
            self.locked().labs.values().map(|lab| (lab.id.clone(), lab.lane.health(now))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
