//! What telling costs: 20,000 events to 20 endpoints, at a receiver that answers at once. The gateway is a process of
//! its own; the receiver is here.
//!
//! `cargo bench --bench webhooks -- [events] [endpoints] [kill]`; 20,000 and 20 unless told. The goals, of which each
//! that is missed ends it with an error: 3,000 deliveries a second on two cores with SQLite, in under 200 MB, nothing
//! lost, and what is new about an order always newer than all that came about it before. Each order has two or three
//! events, so that they can overtake each other.
//!
//! With `kill` the gateway is ended in the middle by force and started again. At least once means: what it had under way
//! comes once more, under the same id, also where something newer about the same order has come meanwhile. So a
//! receiver passes over ids that it has seen, and what remains is in order: this is what is counted here.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on stops")]

mod gateway;

use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::http::{HeaderMap, HeaderValue, Method};
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock};
use stoppress::lab::outbound::{Outbound, Request, install_tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use gateway::{Gateway, serve};

/// Orders in one call.
const A_CALL: usize = 200;

/// In a folder of its own.
const DATABASE: &str = "sqlite:webhooks.db";

/// Deliveries a second, at least.
const RATE: f64 = 3_000.0;

/// What the gateway may take of memory, in kilobytes.
const MEMORY: u64 = 200_000;

/// Calls under way while orders are made.
const AT_ONCE: usize = 32;

/// Counts what comes, and answers at once.
#[derive(Default)]
struct Receiver {
    /// Whatever came.
    came: AtomicUsize,
    seen: Mutex<Seen>,
}

/// What came, each message counted once.
#[derive(Default)]
struct Seen {
    /// By endpoint and order: the ids of the messages, by their versions.
    orders: HashMap<(u8, String), BTreeMap<i64, String>>,
    /// Different messages.
    different: usize,
    /// New ones that were older than what had come about their order.
    backwards: usize,
}

/// Ends it in the middle of whatever it does, and starts it once more. Gives what it had taken of memory.
fn kill_and_start(gateway: &mut Gateway) -> u64 {
    let most = memory(gateway.child.id(), "VmHWM");
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    gateway.child = serve(&gateway.addr, DATABASE).stdout(Stdio::null()).spawn().unwrap();
    most
}

impl Seen {
    fn take(&mut self, endpoint: u8, order: &str, version: i64, id: &str) {
        let known = self.orders.entry((endpoint, order.to_owned())).or_default();
        let newest = known.last_key_value().map(|(newest, _)| *newest);
        if let Some(same) = known.get(&version) {
            assert_eq!(same, id, "two messages about an order have the same version");
            return;
        }
        assert!(!known.values().any(|other| other == id), "{id} came with two versions");
        self.backwards += usize::from(newest.is_some_and(|newest| newest > version));
        self.different += 1;
        known.insert(version, id.to_owned());
    }
}

impl Receiver {
    /// Messages that came, each counted once.
    fn different(&self) -> usize {
        self.seen.lock().unwrap().different
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(8192);
        let mut chunk = vec![0; 8192];
        loop {
            let Some((head, body)) = whole(&bytes) else {
                let read = stream.read(&mut chunk).await?;
                if read == 0 {
                    return Ok(());
                }
                bytes.extend_from_slice(&chunk[..read]);
                continue;
            };
            self.take(&bytes[..head], &bytes[head..head + body]);
            bytes.drain(..head + body);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
    }

    fn take(&self, head: &[u8], body: &[u8]) {
        // `POST /NUMBER HTTP/1.1`
        let end = head.iter().skip(6).position(|byte| *byte == b' ').unwrap();
        let endpoint: u8 = std::str::from_utf8(&head[6..6 + end]).unwrap().parse().unwrap();
        let (order, version) = (field(body, "\"order\":\""), field(body, "\"version\":"));
        let id = field(head, "webhook-id: ");
        self.seen.lock().unwrap().take(endpoint, order, version.parse().unwrap(), id);
        self.came.fetch_add(1, Ordering::Relaxed);
    }
}

/// A field of the body or the head, found without reading all of it.
fn field<'a>(body: &'a [u8], begins: &str) -> &'a str {
    let text = std::str::from_utf8(body).unwrap();
    let at = text.find(begins).unwrap() + begins.len();
    text[at..].split(['"', ',', '}', '\r']).next().unwrap()
}

/// How long the head and the body of a request are, if it is whole.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let length = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    (bytes.len() >= head + length).then_some((head, length))
}

/// A number of a process, in kilobytes.
fn memory(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn rest(millis: i64) {
    HostClock.sleep_until(HostClock.now() + SignedDuration::from_millis(millis)).await;
}

/// Makes orders that have so many events in all, two or three each, as evenly as can be.
async fn fill(gateway: &Arc<Gateway>, client: &Outbound, key: &str, events: usize) -> usize {
    let orders = (events * 2 / 5).max(1);
    let mut ids = Vec::with_capacity(orders);
    for call in 0..orders.div_ceil(A_CALL) {
        let mut lines = String::new();
        for nth in call * A_CALL..((call + 1) * A_CALL).min(orders) {
            let order = json!({"reference": format!("A-{nth}"), "lab": "far",
                "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
                "items": [{"id": "1", "sku": "d", "quantity": 1}]});
            lines.push_str(&order.to_string());
            lines.push('\n');
        }
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/x-ndjson"));
        let request = Request {
            method: Method::POST,
            url: format!("http://{}/v1/orders/bulk", gateway.addr).parse().unwrap(),
            headers,
            body: lines.into_bytes(),
            timeout: Duration::from_mins(1),
            body_max: 1 << 24,
        };
        let answer = client.call(request).await.unwrap();
        assert_eq!(answer.status, 200);
        for line in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).unwrap();
            ids.push(line["id"].as_str().unwrap().to_owned());
        }
    }
    let mut more = events - orders;
    for change in ["hold", "release"] {
        let mut calls = JoinSet::new();
        for id in ids.iter().take(more) {
            if calls.len() >= AT_ONCE {
                calls.join_next().await.unwrap().unwrap();
            }
            let (path, key) = (format!("/v1/orders/{id}/{change}"), key.to_owned());
            let (gateway, client) = (Arc::clone(gateway), client.clone());
            calls.spawn(async move { gateway.call(&client, Method::POST, &path, &key, &json!({})).await });
        }
        calls.join_all().await;
        more -= more.min(orders);
    }
    orders
}

#[tokio::main]
async fn main() {
    install_tls();
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let (events, endpoints) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(20));
    let folder = tempfile::tempdir().unwrap();
    // The gateway reads this where it is started.
    let config = "[outbound]\nallow = [\"127.0.0.0/8\"]\n[limits]\nwrites_per_second = 0\n";
    std::fs::write(folder.path().join("stoppress.toml"), config).unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    let receiver = Arc::new(Receiver::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = Arc::clone(&receiver);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.converse(stream).await.ok() });
        }
    });

    let kill = std::env::args().any(|word| word == "kill");
    let gateway = Gateway::start(DATABASE);
    let client = Outbound::trusted().unwrap();
    let shop = json!({"id": "shop", "name": "Shop"});
    gateway.call(&client, Method::PUT, "/v1/platforms/shop", &gateway.ops, &shop).await;
    // No cutoff comes while it is measured.
    let hour = (HostClock.now().as_second() / 3_600 + 12) % 24;
    let lab = json!({"id": "far", "name": "Far", "driver": {"kind": "person"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "UTC", "cutoffs": [format!("{hour:02}:00")]}}]});
    gateway.call(&client, Method::PUT, "/v1/labs/far", &gateway.ops, &lab).await;
    let key = json!({"scope": "platform", "owner": "shop", "name": "bench"});
    let made = gateway.call(&client, Method::POST, "/v1/keys", &gateway.ops, &key).await;
    let key = serde_json::from_slice::<Value>(&made).unwrap()["secret"].as_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for nth in 0..endpoints {
        let body = json!({"url": format!("http://{at}/{nth}"), "enabled": false});
        let made = gateway.call(&client, Method::POST, "/v1/webhooks", &key, &body).await;
        let made: Value = serde_json::from_slice(&made).unwrap();
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let began = Instant::now();
    let shared = Arc::new(gateway);
    let orders = fill(&shared, &client, &key, events).await;
    let mut gateway = Arc::into_inner(shared).unwrap();
    println!("{orders} orders with {events} events made in {:.1} s", began.elapsed().as_secs_f64());
    println!("memory before          {:>8} MB", memory(gateway.child.id(), "VmRSS") / 1000);

    let began = Instant::now();
    for id in &ids {
        let path = format!("/v1/webhooks/{id}");
        gateway.call(&client, Method::PATCH, &path, &key, &json!({"enabled": true})).await;
    }
    let wanted = events * endpoints;
    let mut last = (0, Instant::now());
    let mut most = 0;
    let mut to_kill = kill;
    while receiver.different() < wanted {
        rest(20).await;
        let came = receiver.different();
        if came > last.0 {
            last = (came, Instant::now());
        }
        if to_kill && came > wanted / 2 {
            println!("killed when            {came:>8} had come");
            most = kill_and_start(&mut gateway);
            to_kill = false;
        }
        assert!(last.1.elapsed() < Duration::from_mins(2), "nothing more came after {came} of {wanted}");
    }
    let rate = wanted as f64 / began.elapsed().as_secs_f64();
    // What was still to come would be there by now.
    rest(2_000).await;
    let came = receiver.came.load(Ordering::Relaxed);
    let most = most.max(memory(gateway.child.id(), "VmHWM"));
    let (different, backwards) = {
        let seen = receiver.seen.lock().unwrap();
        (seen.different, seen.backwards)
    };
    println!("deliveries             {came:>8} in {:.1} s", wanted as f64 / rate);
    println!("a second               {rate:>8.0}");
    println!("memory at most         {:>8} MB", most / 1000);
    println!("more than once         {:>8}", came - different);
    println!("lost                   {:>8}", wanted.saturating_sub(different));
    println!("out of version order   {backwards:>8}");
    assert_eq!(different, wanted, "each message came, and no other");
    assert_eq!(backwards, 0, "nothing new is older than what came before about its order");
    assert!(kill || came == different, "without a crash each comes once");
    assert!(most < MEMORY, "{most} kB are more than {MEMORY}");
    assert!(rate >= RATE, "{rate:.0} deliveries a second are fewer than {RATE}");
}
