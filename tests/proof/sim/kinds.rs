//! The labs of a simulation: every kind that the design knows, as data.

use std::sync::Arc;

use stoppress::domain::Fault;
use stoppress::domain::address::AddressChanges;
use stoppress::domain::contact::StopChannel;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, Dedupes, LabSpec, Lasting, Profile, TakesStops};
use stoppress::lab::{AddressCall, Built, Driver, Lab, Pending, Reply, Settings, StopCall, Tools, Upload};

use super::hub::Hub;
use super::ledger::Request;
use super::parcels::Asked;
use super::replica::here;

/// What a lab can do, and how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skill {
    /// Deduplicates, can be looked at, takes stops.
    A,
    /// Deduplicates only.
    B,
    /// Deduplicates and takes stops.
    C,
    /// As A, but its keys expire.
    D,
    /// As F; it knows live jobs only.
    E,
    /// Can be looked at and takes stops.
    F,
    /// Takes stops only.
    G,
    /// Takes uploads only.
    H,
    /// As A, and what it has is final.
    Final,
    /// As A, and its people answer stops.
    People,
    /// Nothing can be called: people do it all.
    Manual,
}

/// All of them.
pub(crate) const SKILLS: [Skill; 11] = [
    Skill::A,
    Skill::B,
    Skill::C,
    Skill::D,
    Skill::E,
    Skill::F,
    Skill::G,
    Skill::H,
    Skill::Final,
    Skill::People,
    Skill::Manual,
];

/// A lab of a simulation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) skill: Skill,
    pub(crate) per_call: u32,
    pub(crate) acts_within: i64,
    pub(crate) answers_within: i64,
    pub(crate) handover_within: i64,
    pub(crate) attempts_max: i64,
    pub(crate) key_window: i64,
    pub(crate) lines: bool,
    /// Until when it takes other addresses.
    pub(crate) takes: AddressChanges,
    pub(crate) concurrency: u32,
}

impl Kind {
    /// Whether it deduplicates jobs that it has, and no others: it must not say that it deduplicates.
    pub(crate) fn knows_live_jobs(self) -> bool {
        self.skill == Skill::E
    }

    pub(crate) fn profile(self) -> Profile {
        use Skill::{A, B, C, D, E, F, Final, G, H, Manual, People};
        let skill = self.skill;
        let stops = match skill {
            A | C | D | E | F | G => TakesStops::Yes,
            Final => TakesStops::FinalOnReceipt,
            B | H | People | Manual => TakesStops::No,
        };
        Profile {
            dedupes: match skill {
                A | B | C | Final | People => Dedupes::Forever,
                D => Dedupes::Window(Lasting::seconds(self.key_window)),
                E | F | G | H | Manual => Dedupes::No,
            },
            lookup: matches!(skill, A | D | E | F | Final | People),
            stops,
            stops_lines: self.lines && (stops == TakesStops::Yes || skill == People),
            channel: (skill == People).then_some(StopChannel::Person),
            orders_per_call: self.per_call,
            acts_within: Lasting::seconds(self.acts_within),
            answers_within: Lasting::seconds(self.answers_within),
            attempts_max: self.attempts_max,
            handover_within: Lasting::seconds(self.handover_within),
            address_changes: self.takes,
            concurrency: self.concurrency,
            ..Profile::default()
        }
    }

    /// Its definition, as it is stored.
    pub(crate) fn spec(self, nth: usize, calendar: &serde_json::Value) -> String {
        let driver = match self.skill {
            Skill::Manual => serde_json::json!({"kind": "person"}),
            _ => serde_json::json!({"kind": DRIVER.kind, "nth": nth}),
        };
        serde_json::json!({
            "id": format!("lab-{nth}"), "name": format!("Lab {nth}"), "driver": driver, "profile": self.profile(),
            "policy": {"contact": {"email": "people@lab.example"}, "grace": "90s"},
            "regions": [{"id": "one", "calendar": calendar}],
        })
        .to_string()
    }
}

/// The driver of simulated labs: what it sends waits in the hub.
pub(crate) const DRIVER: Driver = Driver { kind: "sim", manual: false, check, build };

fn check(_: &Settings) -> Vec<Fault> {
    Vec::new()
}

fn build(spec: &LabSpec, _: &Tools) -> Built {
    let nth = spec.driver.settings.get("nth").and_then(serde_json::Value::as_u64);
    let nth = nth.ok_or_else(|| Fault::missing("nth", "which lab it is"))?;
    let (hub, replica) = here();
    let last = (30 + spec.profile.acts_within.0.as_secs()) * 1_000_000;
    Ok(Arc::new(SimLab { hub, replica, nth: usize::try_from(nth).unwrap_or_default(), last }))
}

#[derive(Debug)]
struct SimLab {
    hub: Arc<Hub>,
    replica: usize,
    nth: usize,
    /// How long a request can be on its way, in microseconds.
    last: i64,
}

impl SimLab {
    async fn call(&self, request: Request) -> Reply {
        let reply = self.hub.call(self.replica, self.nth, request, self.last);
        reply.await.unwrap_or_else(|_| Answer::Unclear { cause: "the simulation is over".to_owned() }.into())
    }
}

impl Lab for SimLab {
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply> {
        Box::pin(async move {
            // As every driver: an upload does not begin after its time.
            if self.hub.reading(self.replica) >= upload.not_after {
                return Answer::Unreachable { cause: "not started: too late".to_owned() }.into();
            }
            self.call(Request::submit(upload)).await
        })
    }

    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply> {
        let (stop, order, items) = (call.stop.clone(), call.order.clone(), call.items.clone());
        Box::pin(self.call(Request::Stop { stop, order, items }))
    }

    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(self.call(Request::LookUp(order.clone())))
    }

    fn change_address<'a>(&'a self, call: &'a AddressCall) -> Pending<'a, Reply> {
        Box::pin(self.call(Request::Readdress(Asked {
            change: call.change.clone(),
            order: call.order.clone(),
            to: call.ship_to.line1.clone(),
            answer_by: call.answer_by.as_microsecond(),
        })))
    }
}
