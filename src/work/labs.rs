//! The labs' endpoints, as configured now: connected once a version, with one lane each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

use super::Bench;
use crate::domain::batch::{TransferFacts, WRITE_DEADLINE, later};
use crate::domain::health::{LabHealth, LaneHealth, Reach};
use crate::domain::ids::{EscalationId, LabId, TransferId};
use crate::domain::lab::{LabSpec, Profile, TakesStops};
use crate::lab::lane::{FULL, Kind, Lane, Permit, Taken};
use crate::lab::{Drivers, Lab, Tools};
use crate::store::{ClaimAsks, LabRow, Result, Store};

/// How old the picture may get before it is taken anew.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(2);

/// When it is tried again to ask a lab that cannot be reached as it is configured.
const UNUSABLE: SignedDuration = SignedDuration::from_secs(30);

/// Under which fence a transfer is asked about, since when, and which order is next.
type Asked = HashMap<TransferId, (i64, Timestamp, usize)>;

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
    /// Look-ups that did not come to their end.
    asked: Arc<Mutex<Asked>>,
    version: i64,
}

impl Endpoint {
    /// How many transfers a place claims ahead, of at most so many: none where the lab may hold several
    /// connections, because what waits behind a call on a slow one could go out on another; and no more than begin in
    /// time at the pace of the lab, each behind half as many of the claim before.
    pub(super) fn ahead(&self, most: usize) -> usize {
        let dials = self.lab.as_ref().is_ok_and(|lab| lab.window().is_some());
        let Some(pace) = self.lane.pace().filter(|_| !dials) else { return 1 };
        let in_time = (WRITE_DEADLINE / 3).as_millis() / pace.as_millis().max(1);
        usize::try_from(in_time).unwrap_or(most).clamp(1, most)
    }

    /// Notes up to which order of a transfer the lab was asked, all of them absent, and since when.
    pub(super) fn asked(&self, transfer: &TransferFacts, since: Timestamp, next: usize) {
        self.asked_of().insert(transfer.id.clone(), (transfer.fence, since, next));
    }

    /// Where to go on asking about a transfer, and since when it is asked: if nothing was sent since.
    pub(super) fn ask_from(&self, transfer: &TransferFacts, now: Timestamp) -> (Timestamp, usize) {
        let known = self.asked_of().remove(&transfer.id).filter(|(fence, ..)| *fence == transfer.fence);
        known.map_or((now, 0), |(_, since, next)| (since, next))
    }

    fn asked_of(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What a claim of its transfers goes by.
    pub(super) fn terms(&self) -> (&LabId, &Arc<Profile>, bool) {
        (&self.id, &self.profile, self.manual)
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

/// How a lab can be asked now about what is due.
pub(super) struct Asking {
    pub(super) profile: Arc<Profile>,
    /// The way to it, if there is one from here.
    pub(super) lab: Option<Arc<dyn Lab>>,
    /// One a call.
    pub(super) permits: Vec<Permit>,
    /// How many are taken.
    pub(super) limit: usize,
    /// Until when nothing can be asked: what is due only for its deadline still goes to a person.
    pub(super) not_before: Option<Timestamp>,
    /// Another gateway may have the lab; or it was deleted, or nobody can read what is stored of it. Only what is beyond
    /// its deadline is taken here.
    pub(super) away: bool,
}

impl Asking {
    /// Takes what is due; what it takes is ours for so long.
    pub(super) fn claim(
        &self,
        bench: &Bench,
        lab: &LabId,
        lease: SignedDuration,
        now: Timestamp,
    ) -> ClaimAsks {
        ClaimAsks {
            lab: lab.clone(),
            profile: Arc::clone(&self.profile),
            limit: self.limit as i64,
            escalations: (0..self.limit).map(|_| EscalationId::new(now, &*bench.random)).collect(),
            not_before: self.not_before,
            away: self.away,
            now,
            lease_until: later(now, lease),
        }
    }
}

/// What is assumed of a lab that was deleted, or whose definition cannot be read here. Another gateway may be able to:
/// so what waits for it is left alone until its deadline, and nothing is decided then but that a person takes it.
pub(super) fn unknown() -> Arc<Profile> {
    Arc::new(Profile { stops: TakesStops::Yes, ..Profile::default() })
}

#[derive(Debug, Default)]
struct Picture {
    taken_at: Option<Timestamp>,
    /// How often it was called stale: a look that began before says nothing of what was changed since.
    stale: u64,
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
        let mut picture = self.locked();
        picture.taken_at = None;
        picture.stale += 1;
    }

    /// Reads the labs anew if the picture is old.
    pub async fn refresh(&self, store: &dyn Store, now: Timestamp) -> Result<()> {
        loop {
            let stale = {
                let picture = self.locked();
                if picture.taken_at.is_some_and(|at| now.duration_since(at).abs() < AGE_MAX) {
                    return Ok(());
                }
                picture.stale
            };
            let rows = store.labs().await?;
            let mut picture = self.locked();
            if picture.stale == stale {
                self.take(&mut picture, rows, now);
                return Ok(());
            }
        }
    }

    fn take(&self, picture: &mut Picture, rows: Vec<LabRow>, now: Timestamp) {
        let mut labs = HashMap::with_capacity(rows.len());
        for row in rows {
            let known = picture.labs.remove(&row.id);
            let id = row.id.clone();
            let endpoint = match known {
                Some(known) if known.version == row.version => Some(known),
                known => self.connect(row, known.as_ref(), now),
            };
            if let Some(endpoint) = endpoint {
                labs.insert(id, endpoint);
            }
        }
        picture.labs = labs;
        picture.taken_at = Some(now);
    }

    /// The endpoint of a lab. Calls to it that are under way count on, unless its limits are others now.
    fn connect(&self, row: LabRow, known: Option<&Endpoint>, now: Timestamp) -> Option<Endpoint> {
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
        let limits = |profile: &Profile| (profile.concurrency, profile.rate);
        let kept = known.filter(|known| limits(&known.profile) == limits(&spec.profile));
        let lane = kept.map_or_else(|| Lane::new(&spec.profile), |known| known.lane.clone());
        if kept.is_some_and(|known| known.spec.driver != spec.driver) {
            // Another way to it: what did not answer was the one before.
            lane.is_back(now);
        }
        Some(Endpoint {
            lane,
            asked: Arc::default(),
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

    /// How a lab can be asked now, at most `most` times.
    pub(super) fn asking(&self, id: &LabId, kind: Kind, most: usize, now: Timestamp) -> Asking {
        let endpoint = self.get(id);
        let profile = endpoint.as_ref().map_or_else(unknown, |lab| Arc::clone(&lab.profile));
        let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_away()) else {
            let (lab, permits) = (None, Vec::new());
            return Asking { profile, lab, permits, limit: most, not_before: None, away: true };
        };
        let Taken { permits, wait_until } = endpoint.lane.take(now, most, kind);
        let lab = endpoint.lab.ok();
        let not_before = match (&lab, permits.is_empty()) {
            (Some(_), false) => None,
            (Some(_), true) => Some(wait_until.unwrap_or_else(|| later(now, FULL))),
            (None, _) => Some(later(now, UNUSABLE)),
        };
        let limit = if not_before.is_some() { most } else { permits.len() };
        Asking { profile, lab, permits, limit, not_before, away: false }
    }

    /// One lab.
    #[must_use]
    pub fn get(&self, id: &LabId) -> Option<Endpoint> {
        self.locked().labs.get(id).cloned()
    }

    /// Whether a lab is as it was when this endpoint was made: not paused since, not changed, not deleted.
    #[must_use]
    pub fn is_still(&self, endpoint: &Endpoint) -> bool {
        self.locked().labs.get(&endpoint.id).is_some_and(|now| now.version == endpoint.version)
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
