//! Labs and platforms, kept ready: what the store has, with calendars built.
//!
//! Read again after every change made here, and every few seconds, so that changes at another replica
//! act too. A lab whose definition cannot be built any more (its zone has vanished from the data, say)
//! stays as it was, and the log says so.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::watch;

use super::fresh::Fresh;
use crate::domain::ids::{LabId, PlatformId};
use crate::domain::lab::{DriverSpec, Lab, LabPolicy, LabSpec, Profile, StopsVia};
use crate::domain::platform::PlatformSpec;
use crate::domain::route::RouteSpec;
use crate::domain::zones::Zones;
use crate::store::{self, LabRow, RoutesRow, Store};

/// Whose routes hold for a platform that has none of its own.
pub const DEFAULT_ROUTES: &str = "default";

/// A lab, ready to admit orders.
#[derive(Debug, Clone)]
pub struct LabEntry {
    /// The lab with its calendars.
    pub lab: Lab,
    /// The version of its definition.
    pub version: i64,
    /// Since when it is paused, and why.
    pub paused: Option<(Timestamp, String)>,
    /// When it was changed.
    pub updated_at: Timestamp,
    zones: u64,
}

/// A platform.
#[derive(Debug, Clone)]
pub struct PlatformEntry {
    /// Its definition.
    pub spec: PlatformSpec,
    /// The version of its definition.
    pub version: i64,
}

/// The routes of a platform, or of all that have none of their own.
#[derive(Debug, Clone)]
pub struct RoutesEntry {
    /// Whose they are: a platform, or `default`.
    pub id: PlatformId,
    /// The rules.
    pub spec: RouteSpec,
    /// Their version.
    pub version: i64,
    /// When they were changed.
    pub updated_at: Timestamp,
}

/// Everything at one instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The labs.
    pub labs: BTreeMap<LabId, Arc<LabEntry>>,
    /// The platforms.
    pub platforms: BTreeMap<PlatformId, Arc<PlatformEntry>>,
    /// The routes.
    pub routes: BTreeMap<PlatformId, Arc<RoutesEntry>>,
}

impl Snapshot {
    /// The routes that hold for a platform: its own, else those of `default`.
    #[must_use]
    pub fn routes_of(&self, platform: &PlatformId) -> Option<&Arc<RoutesEntry>> {
        let default =
            || self.routes.iter().find(|(id, _)| id.as_str() == DEFAULT_ROUTES).map(|(_, entry)| entry);
        self.routes.get(platform).or_else(default)
    }
}

/// The cache.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn Store>,
    zones: RwLock<(u64, Zones)>,
    snapshot: Fresh<Snapshot>,
    /// Moves when a lab changes.
    changes: watch::Sender<u64>,
}

impl Registry {
    /// Reads everything for the first time.
    pub async fn load(store: Arc<dyn Store>, zones: Zones, now: Timestamp) -> store::Result<Self> {
        let registry = Self {
            store,
            zones: RwLock::new((0, zones)),
            snapshot: Fresh::default(),
            changes: watch::Sender::new(0),
        };
        registry.refresh(now).await?;
        Ok(registry)
    }

    /// Reads everything again.
    pub async fn refresh(&self, now: Timestamp) -> store::Result<()> {
        let (old, fresh) = self.snapshot.renew(async |old| self.read(&old, now).await).await?;
        let same = old.labs.len() == fresh.labs.len()
            && old.labs.values().zip(fresh.labs.values()).all(|(old, fresh)| Arc::ptr_eq(old, fresh));
        if !same {
            self.changes.send_modify(|changes| *changes += 1);
        }
        Ok(())
    }

    async fn read(&self, old: &Snapshot, now: Timestamp) -> store::Result<Snapshot> {
        let (labs, platforms) = (self.store.labs().await?, self.store.platforms().await?);
        let routes = self.store.routes().await?;
        let (generation, zones) = self.zones.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut fresh = Snapshot::default();
        for row in labs {
            let before = old.labs.get(&row.id);
            if let Some(entry) = lab(&row, before, generation, &zones, now) {
                fresh.labs.insert(row.id, entry);
            }
        }
        for row in platforms {
            match serde_json::from_str(&row.spec) {
                Ok(spec) => {
                    let entry = PlatformEntry { spec, version: row.version };
                    fresh.platforms.insert(row.id, Arc::new(entry));
                }
                Err(error) => tracing::error!(platform = %row.id, %error, "a stored platform cannot be read"),
            }
        }
        for row in routes {
            match serde_json::from_str(&row.spec) {
                Ok(spec) => {
                    let RoutesRow { id, version, updated_at, .. } = row;
                    let entry = RoutesEntry { id: id.clone(), spec, version, updated_at };
                    fresh.routes.insert(id, Arc::new(entry));
                }
                Err(error) => tracing::error!(routes = %row.id, %error, "stored routes cannot be read"),
            }
        }
        Ok(fresh)
    }

    /// Moves whenever a lab comes, changes or goes, as far as it was read here.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Everything as it was read last.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.get()
    }

    /// A lab.
    #[must_use]
    pub fn lab(&self, id: &LabId) -> Option<Arc<LabEntry>> {
        self.snapshot.get().labs.get(id).cloned()
    }

    /// A platform.
    #[must_use]
    pub fn platform(&self, id: &PlatformId) -> Option<Arc<PlatformEntry>> {
        self.snapshot.get().platforms.get(id).cloned()
    }

    /// The zone data in use.
    #[must_use]
    pub fn zones(&self) -> Zones {
        self.zones.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes newer zone data; every calendar is built again at the next [`Registry::refresh`].
    pub fn set_zones(&self, zones: Zones) {
        let mut held = self.zones.write().unwrap_or_else(PoisonError::into_inner);
        *held = (held.0 + 1, zones);
    }
}

/// One lab, as somebody who follows it has seen it last. The log may tell of its change before it is known here.
#[derive(Debug)]
pub struct Followed {
    id: LabId,
    seen: Option<Arc<LabEntry>>,
    changes: watch::Receiver<u64>,
}

impl Followed {
    /// Follows a lab, from how it is known now.
    #[must_use]
    pub fn new(registry: &Registry, id: LabId) -> Self {
        let changes = registry.changes();
        Self { seen: registry.lab(&id), id, changes }
    }

    /// Waits until the lab is known otherwise, or not any more.
    pub async fn changed(&mut self, registry: &Registry) {
        // The sender is part of the registry.
        while self.changes.changed().await.is_ok() {
            let now = registry.lab(&self.id);
            let same = match (&self.seen, &now) {
                (Some(seen), Some(now)) => Arc::ptr_eq(seen, now),
                (seen, now) => seen.is_none() && now.is_none(),
            };
            if !same {
                self.seen = now;
                return;
            }
        }
    }
}

fn lab(
    row: &LabRow,
    before: Option<&Arc<LabEntry>>,
    generation: u64,
    zones: &Zones,
    now: Timestamp,
) -> Option<Arc<LabEntry>> {
    let same = |entry: &&Arc<LabEntry>| entry.version == row.version && entry.zones == generation;
    if let Some(entry) = before.filter(same) {
        if entry.paused == row.paused {
            return Some(Arc::clone(entry));
        }
        return Some(Arc::new(LabEntry { paused: row.paused.clone(), ..LabEntry::clone(entry) }));
    }
    let built = serde_json::from_str(&row.spec)
        .map_err(|error| error.to_string())
        .and_then(|spec| {
            Lab::build_stored(spec, zones, now)
                .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })
        .map_err(
            |error| tracing::error!(lab = %row.id, error, "a stored lab cannot be built; it stays as it was"),
        );
    let Ok(lab) = built else { return before.cloned() };
    Some(Arc::new(LabEntry {
        lab,
        version: row.version,
        paused: row.paused.clone(),
        updated_at: row.updated_at,
        zones: generation,
    }))
}

/// What is assumed of a lab that was deleted, of which old orders still speak: nothing.
#[must_use]
pub fn unknown_lab(id: LabId) -> LabSpec {
    LabSpec {
        name: id.to_string(),
        id,
        driver: DriverSpec { kind: "person".to_owned(), settings: serde_json::Map::new() },
        profile: Profile::default(),
        policy: LabPolicy { stops_via: StopsVia::GatewayOnly, ..LabPolicy::default() },
        regions: Vec::new(),
    }
}
