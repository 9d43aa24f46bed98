//! A driver that is not in the crate: one value with three functions, through the same machinery as all.
//!
//! The lab behind it is a shelf in memory, found by the name in its settings; what it answers is scripted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::clock::ManualClock;
use stoppress::domain::Fault;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, LabSpec};
use stoppress::domain::order::Stage;
use stoppress::lab::{Built, Driver, Drivers, Lab, Pending, Reply, Settings, StopCall, Tools, Upload};

use crate::grpc_support::breathe;
use crate::rig::Rig;

/// The driver.
pub(crate) const DRIVER: Driver = Driver { kind: "shelf", manual: false, check, build };

#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// What the next calls are answered, whatever they are; then as an honest lab would.
    pub(crate) script: VecDeque<Answer>,
    /// Every upload that came: its key and its bytes.
    pub(crate) uploads: Vec<(String, Vec<u8>)>,
    pub(crate) calls: Vec<String>,
    removed: Vec<String>,
    now: usize,
    most: usize,
    /// How many calls come back; the others hang until there are more. All, unless it is said.
    pub(crate) comes_back: Option<usize>,
    /// How long a call takes on a clock.
    pub(crate) takes: Option<(ManualClock, Duration)>,
}

static SHELVES: LazyLock<Mutex<BTreeMap<String, Arc<Mutex<Shelf>>>>> = LazyLock::new(Mutex::default);

pub(crate) fn shelf(name: &str) -> Arc<Mutex<Shelf>> {
    let mut all = SHELVES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(name.to_owned()).or_default())
}

fn name(settings: &Settings) -> Result<&str, Fault> {
    settings.get("name").and_then(Value::as_str).ok_or_else(|| Fault::missing("name", "the shelf's name"))
}

fn check(settings: &Settings) -> Vec<Fault> {
    name(settings).err().into_iter().collect()
}

fn build(spec: &LabSpec, _: &Tools) -> Built {
    Ok(Arc::new(ShelfLab(shelf(name(&spec.driver.settings)?))))
}

#[derive(Debug)]
struct ShelfLab(Arc<Mutex<Shelf>>);

impl ShelfLab {
    fn with<T>(&self, change: impl FnOnce(&mut Shelf) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answer(&self, call: String, honest: impl FnOnce(&mut Shelf) -> Answer) -> Reply {
        let (nth, scripted) = self.with(|shelf| {
            shelf.calls.push(call);
            shelf.now += 1;
            shelf.most = shelf.most.max(shelf.now);
            if let Some((clock, long)) = &shelf.takes {
                clock.advance(*long);
            }
            (shelf.calls.len(), shelf.script.pop_front())
        });
        breathe(5).await;
        while self.with(|shelf| shelf.comes_back.is_some_and(|most| nth > most)) {
            breathe(5).await;
        }
        self.with(|shelf| {
            shelf.now -= 1;
            scripted.unwrap_or_else(|| honest(shelf)).into()
        })
    }
}

impl Lab for ShelfLab {
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply> {
        self.with(|shelf| shelf.uploads.push((upload.key.clone(), upload.body.clone())));
        Box::pin(self.answer(format!("submit {}", upload.key), |_| Answer::Accepted { lab_reference: None }))
    }

    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply> {
        let order = call.order.to_string();
        Box::pin(self.answer(format!("stop {order}"), |shelf| {
            shelf.removed.push(order);
            Answer::Removed { reason: None, items: Vec::new() }
        }))
    }

    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(self.answer(format!("look up {order}"), |_| Answer::NotFound))
    }
}

pub(crate) const EVENING: &str = "2026-11-21T20:00:00Z";
pub(crate) const CUTOFF: &str = "2026-11-21T22:00:00Z";

pub(crate) async fn rig(name: &str, profile: Value) -> Rig {
    let rig = Rig::new(EVENING, "http", json!({}), json!({})).await;
    becomes(&rig, json!({"kind": "shelf", "name": name}), profile).await;
    rig
}

/// The lab is another from now on.
pub(crate) async fn becomes(rig: &Rig, driver: Value, profile: Value) {
    let mut lab = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await.1;
    for field in ["version", "paused_at", "pause_reason", "updated_at", "health"] {
        lab.as_object_mut().unwrap().remove(field);
    }
    lab["driver"] = driver;
    lab["profile"] = profile;
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", lab).await;
    assert_eq!(status, 200, "{answer}");
}

fn able() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "concurrency": 3})
}

#[tokio::test]
async fn its_orders_go_through_claims_lanes_and_stops() {
    let rig = rig("whole", able()).await;
    let shelf = shelf("whole");
    let mut orders = Vec::new();
    for nth in 0..20 {
        orders.push(rig.order(&format!("A-{nth}")).await);
    }
    rig.go_to(CUTOFF).await;
    for order in &orders {
        assert_eq!(rig.read(order).await["state"], "at_lab");
    }
    let (_, stop) = rig.ask(&orders[3]).await;
    assert_eq!(stop["state"], "pending");
    rig.settle().await;
    assert_eq!(rig.read(&orders[3]).await["stop"]["evidence"], "lab_removed");
    let shelf = shelf.lock().unwrap();
    assert_eq!(shelf.uploads.len(), 20);
    assert_eq!(shelf.removed, [orders[3].clone()]);
    assert!((1..=3).contains(&shelf.most), "{} calls at a time", shelf.most);
}

#[tokio::test]
async fn what_it_classifies_decides() {
    let unclear = || Answer::Unclear { cause: "the shelf wobbled".to_owned() };
    let refused = || Answer::Refused { reason: "no room".to_owned() };
    let unreachable = || Answer::Unreachable { cause: "no ladder".to_owned() };
    let printed = || Answer::WillPrint { reason: None, stage: Stage::Printed };
    // What the first calls are answered; how the order stands ten minutes later; how many keys were used.
    let cases: [(&str, Value, Vec<Answer>, &str, usize); 5] = [
        ("unclear", able(), vec![unclear()], "at_lab", 1),
        ("refused", able(), vec![refused()], "at_lab", 2),
        ("unreachable", able(), vec![unreachable()], "at_lab", 2),
        (
            "looked up",
            json!({"dedupes": "no", "lookup": true, "stops": "yes"}),
            vec![unclear(), printed()],
            "printed",
            1,
        ),
        ("deaf", json!({}), vec![unclear()], "unknown", 1),
    ];
    for (name, profile, script, state, keys) in cases {
        let rig = rig(name, profile).await;
        shelf(name).lock().unwrap().script = script.into();
        let order = rig.order("A-1").await;
        rig.go_to("2026-11-21T22:10:00Z").await;
        assert_eq!(rig.read(&order).await["state"], state, "{name}");
        let shelf = shelf(name);
        let shelf = shelf.lock().unwrap();
        let mut bytes: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for (key, body) in &shelf.uploads {
            assert_eq!(*bytes.entry(key).or_insert(body), &body[..], "{name}: one key, one content");
        }
        assert_eq!(bytes.len(), keys, "{name}: {:?}", shelf.calls);
    }
}

#[tokio::test]
async fn its_settings_and_its_name_are_checked() {
    let drivers = Drivers::default().with(DRIVER);
    let spec = |driver: Value| serde_json::from_value(driver).unwrap();
    let faults = drivers.check(&spec(json!({"kind": "shelf"})));
    assert_eq!(faults[0].field, "name");
    let faults = drivers.check(&spec(json!({"kind": "shelv", "name": "x"})));
    assert_eq!(faults[0].field, "kind");
    assert!(faults[0].message.contains("did you mean \"shelf\"?"), "{}", faults[0].message);
    assert!(stoppress::lab::driver("shelf").is_err(), "the crate itself does not know it");
    // Another one of the same name takes its place.
    let manual = drivers.with(Driver { manual: true, ..DRIVER });
    assert!(manual.find("shelf").unwrap().manual && !drivers.find("shelf").unwrap().manual);

    let rig = Rig::new(EVENING, "http", json!({}), json!({})).await;
    let lab = json!({"id": "shelves", "name": "Shelves", "driver": {"kind": "shelf"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/shelves", lab).await;
    assert_eq!((status, &answer["errors"][0]["field"]), (422, &json!("driver.name")), "{answer}");
}
