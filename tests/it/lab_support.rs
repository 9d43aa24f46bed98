//! What the tests about labs share: tools, uploads, and servers that do as a script says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use stoppress::clock::{Clock, HostClock, ManualClock, SeededRandom};
use stoppress::domain::batch::{Entry, Manifest, ahead};
use stoppress::domain::ids::{OrderId, StopId, TransferId};
use stoppress::domain::lab::{LabSpec, SecretRef};
use stoppress::lab::outbound::{Outbound, OutboundSettings};
use stoppress::lab::{Import, Lab, StopCall, Tools, Upload, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

pub(crate) fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(noon())
}

pub(crate) fn settings() -> OutboundSettings {
    OutboundSettings { allow: vec!["127.0.0.0/8".parse().unwrap()], ..OutboundSettings::default() }
}

pub(crate) fn tools(clock: &ManualClock) -> Tools {
    Tools {
        clock: Arc::new(clock.clone()),
        random: Arc::new(SeededRandom::new(7)),
        outbound: Outbound::new(settings()).unwrap(),
        secrets: Arc::new(|named| match named {
            SecretRef::Env(name) => Ok(SecretString::from(name.clone())),
            SecretRef::File(_) => Err(stoppress::domain::Fault::new("", "no files here")),
        }),
        links: stoppress::lab::link::Hub::default(),
    }
}

pub(crate) fn spec(driver: Value) -> LabSpec {
    serde_json::from_value(json!({
        "id": "sim", "name": "Sim", "driver": driver,
        "regions": [{ "id": "fi", "calendar": { "time_zone": "Europe/Helsinki", "cutoffs": ["24:00"] } }],
    }))
    .unwrap()
}

/// The lab at `at`, through the driver `kind`; `more` is laid over its settings.
pub(crate) fn lab(kind: &str, at: SocketAddr, more: Value, tools: &Tools) -> Arc<dyn Lab> {
    let name = if kind == "grpc" { "endpoint" } else { "base_url" };
    let mut driver = json!({ "kind": kind, name: format!("http://{at}") });
    let (Value::Object(all), Value::Object(more)) = (&mut driver, more) else {
        panic!("settings are objects")
    };
    all.extend(more);
    connect(&spec(driver), tools).unwrap()
}

/// One order with two prints and one download; the number gives it its id.
fn entry(number: u64) -> (TransferId, Entry) {
    let random = SeededRandom::new(number);
    let transfer = TransferId::new(noon(), &random);
    let document = json!({
        "reference": "A-1", "lab": "sim",
        "ship_to": { "name": "Åsa", "line1": "Street 1", "city": "Helsinki", "country": "FI" },
        "items": [
            { "id": "1", "sku": "print-10x15", "quantity": 2, "files": [{ "url": "https://files.example/1.jpg" }] },
            { "id": "2", "sku": "download", "kind": "download", "quantity": 1 },
        ],
    });
    let entry = Entry {
        id: OrderId::new(noon(), &random),
        import_reference: None,
        lines_out: Vec::new(),
        platform: "shop".to_owned(),
        reference: "A-1".to_owned(),
        region: "fi".to_owned(),
        document: document.to_string(),
    };
    (transfer, entry)
}

fn packed(transfer: TransferId, entry: Entry) -> Upload {
    let manifest = Manifest::build(&transfer, &[entry]).unwrap();
    Upload {
        key: format!("{transfer}-1"),
        transfer,
        body: manifest.body,
        sha256: manifest.sha256,
        not_after: noon() + SignedDuration::from_secs(30),
    }
}

/// An upload of that order.
pub(crate) fn upload(number: u64) -> (Upload, OrderId) {
    let (transfer, entry) = entry(number);
    let order = entry.id.clone();
    (packed(transfer, entry), order)
}

/// An upload of that order, which the lab holds under this reference.
pub(crate) fn held(number: u64, reference: &str) -> Upload {
    let (transfer, entry) = entry(number);
    packed(transfer, Entry { import_reference: Some(reference.to_owned()), ..entry })
}

/// That order, sent ahead.
pub(crate) fn sent_ahead(number: u64) -> Import {
    let (_, entry) = entry(number);
    let hold_until = noon() + SignedDuration::from_mins(10);
    Import { body: ahead(&entry, hold_until).unwrap(), order: entry.id, hold_until }
}

pub(crate) fn stop_call(order: &OrderId) -> StopCall {
    StopCall {
        stop: StopId::new(noon(), &SeededRandom::new(99)),
        order: order.clone(),
        reason: "changed their mind".to_owned(),
        asked_at: noon(),
        answer_by: noon() + SignedDuration::from_mins(30),
        items: Vec::new(),
    }
}

/// What a scripted server does with the request number `n` (from 0) on its connection.
#[derive(Clone)]
pub(crate) enum Step {
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Never says anything.
    Silence,
}

/// A server that follows a script on every connection. It counts requests and connections.
pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Scripted {
    pub(crate) fn seen(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(crate) async fn scripted(steps: Vec<Step>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (requests, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, opened) = (Arc::clone(&requests), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            opened.fetch_add(1, Ordering::SeqCst);
            let (steps, seen) = (steps.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                for step in steps {
                    if !read_request(&mut stream).await {
                        return;
                    }
                    seen.fetch_add(1, Ordering::SeqCst);
                    match step {
                        Step::Write(bytes) => stream.write_all(&bytes).await.unwrap(),
                        Step::Close => return,
                        Step::Silence => std::future::pending().await,
                    }
                }
            });
        }
    });
    Scripted { addr, requests, connections }
}

async fn read_request(stream: &mut TcpStream) -> bool {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if text.len() >= end + 4 + length {
                return true;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return false,
            Ok(read) => text.extend_from_slice(&chunk[..read]),
        }
    }
}

/// A port at which nobody listens.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Waits in real time, for at most five seconds, until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        HostClock.sleep_until(HostClock.now() + SignedDuration::from_millis(10)).await;
    }
    panic!("it never came to be: {what}");
}
