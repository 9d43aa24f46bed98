//! What the board costs: 500 lab regions with 200,000 waiting orders, rendered whole, and 20 boards that stay
//! open, with nothing happening and with orders coming in. The gateway is a process of its own.
//!
//! `cargo bench --bench board -- [regions] [orders]`; 500 and 200,000 unless told. The goals: the whole board in
//! under 100 ms, and under 5 % of a core for all 20. It fails where one is missed. What the boards cost is told
//! from the same process with and without them, before and after, so that its age does not count.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on stops")]

mod gateway;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock, HostRandom};
use stoppress::domain::batch::Joining;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{BatchId, LabId, OrderId, PlatformId, RegionId};
use stoppress::lab::outbound::{Outbound, install_tls};
use stoppress::store::{Admission, PutLab, Store, Write, open};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use gateway::Gateway;

const BOARDS: usize = 20;
/// What all of them may take of a core.
const SHARE: f64 = 0.05;
/// How long the whole board may take.
const WHOLE: Duration = Duration::from_millis(100);
/// Regions of one page of the board: the last pages are open too.
const PAGE: usize = 25;
/// Regions of one lab.
const A_LAB: usize = 5;
/// How long the gateway is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Orders a second, while it is busy.
const COMING: u64 = 50;

fn lab(nth: usize, regions: usize) -> Value {
    let zones = ["Europe/Helsinki", "America/Chicago", "Asia/Tokyo", "Pacific/Chatham", "America/Sao_Paulo"];
    let region = |at: usize| {
        let hour = 6 + (nth * A_LAB + at) % 18;
        json!({"id": format!("r{at}"), "calendar": {"time_zone": zones[at % zones.len()],
            "cutoffs": [format!("{hour:02}:30"), "24:00"]}})
    };
    json!({"id": format!("lab-{nth}"), "name": format!("Print house number {nth}"), "driver": {"kind": "person"},
        "regions": (0..regions).map(region).collect::<Vec<_>>()})
}

/// Orders that wait for a cutoff in a few hours.
async fn fill(store: &Arc<dyn Store>, regions: usize, orders: usize) {
    let now = HostClock.now();
    for nth in 0..regions.div_ceil(A_LAB) {
        let id = LabId::parse(&format!("lab-{nth}")).unwrap();
        let put = PutLab {
            id,
            spec: lab(nth, A_LAB).to_string(),
            if_version: None,
            at: now,
            actor: Actor::gateway(),
        };
        stoppress::store::one(&**store, Write::PutLab(Box::new(put))).await.unwrap();
    }
    let closes =
        |nth: usize| now + SignedDuration::from_hours(2) + SignedDuration::from_mins((nth % 600) as i64);
    let mut writes = Vec::new();
    for nth in 0..orders {
        let place = nth % regions;
        let closes_at: Timestamp = closes(place);
        let region = RegionId::parse(&format!("r{}", place % A_LAB)).unwrap();
        let lab = LabId::parse(&format!("lab-{}", place / A_LAB)).unwrap();
        let join = Joining {
            batch: BatchId::new(now, &HostRandom),
            lab: lab.clone(),
            region: region.clone(),
            direct: false,
            opens_at: now,
            closes_at,
            closes_at_local: closes_at.to_string(),
            production_date: "2026-06-18".to_owned(),
            rule: "season:peak 24:00".to_owned(),
            time_zone: "Europe/Helsinki".to_owned(),
            tzdata: "2026a".to_owned(),
            promised: true,
            until: None,
        };
        writes.push(Write::Admit(Arc::new(Admission {
            id: OrderId::new(now, &HostRandom),
            platform: PlatformId::parse("shop").unwrap(),
            lab,
            region,
            reference: format!("A-{nth}"),
            document: format!(
                r#"{{"reference":"A-{nth}","items":[{{"id":"1","sku":"print","quantity":1}}]}}"#
            ),
            sha256: "a".repeat(64),
            paid: true,
            join: Some(join),
            route: None,
            at: now,
            actor: Actor("platform:shop".to_owned()),
        })));
        if writes.len() == 500 || nth + 1 == orders {
            store.apply(std::mem::take(&mut writes)).await.unwrap();
        }
    }
}

impl Gateway {
    /// What the process has used of the processor.
    fn used(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after = stat.rsplit_once(')').unwrap().1;
        let ticks: u64 =
            after.split_whitespace().skip(11).take(2).map(|text| text.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The share of a core that it uses for a while.
    async fn share(&self) -> f64 {
        let before = self.used();
        let began = Instant::now();
        rest(WATCHED).await;
        self.used().saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64()
    }

    async fn send(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.addr).await.unwrap();
        let text = format!("{head}\r\nhost: {}\r\ncontent-length: {}\r\n\r\n{body}", self.addr, body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Signs in; gives the cookie.
    async fn cookie(&self) -> String {
        let head = "POST /sign-in HTTP/1.1\r\nconnection: close\r\nsec-fetch-site: same-origin\r\n\
            content-type: application/x-www-form-urlencoded";
        let mut stream = self.send(head, &format!("key={}&next=/", self.ops)).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let from = text.to_lowercase().find("set-cookie: ").expect("signed in") + "set-cookie: ".len();
        text[from..].split(';').next().unwrap().to_owned()
    }

    /// A page, and how long it took.
    async fn page(&self, path: &str, cookie: &str) -> (usize, Duration) {
        let began = Instant::now();
        let head = format!("GET {path} HTTP/1.1\r\nconnection: close\r\ncookie: {cookie}");
        let mut stream = self.send(&head, "").await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert!(
            bytes.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&bytes[..200.min(bytes.len())])
        );
        (bytes.len(), began.elapsed())
    }

    /// A board that stays open, and is read.
    async fn watch(&self, page: usize, cookie: &str) -> JoinHandle<()> {
        let head = format!(
            "GET /ops/board/live?page={page} HTTP/1.1\r\naccept: text/event-stream\r\ncookie: {cookie}"
        );
        let mut stream = self.send(&head, "").await;
        let mut buffer = vec![0; 1 << 16];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200"), "page {page} is not live");
        tokio::spawn(async move { while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} })
    }
}

async fn rest(time: Duration) {
    HostClock.sleep_until(HostClock.now() + SignedDuration::try_from(time).unwrap()).await;
}

/// Orders that come in for a while, each for another region; what share of a core the gateway uses.
async fn busy(
    gateway: &Arc<Gateway>,
    client: &Arc<Outbound>,
    key: &str,
    regions: usize,
    from: &mut usize,
) -> f64 {
    let pause = Duration::from_millis(1000 / COMING);
    let begun = *from;
    let coming = tokio::spawn({
        let (gateway, client, key) = (Arc::clone(gateway), Arc::clone(client), key.to_owned());
        async move {
            for nth in begun.. {
                let place = nth * 7 % regions;
                let order = json!({"reference": format!("B-{nth}"), "lab": format!("lab-{}", place / A_LAB),
                    "region": format!("r{}", place % A_LAB),
                    "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
                    "items": [{"id": "1", "sku": "print", "quantity": 1}]});
                gateway.call(&client, Method::POST, "/v1/orders", &key, &order).await;
                rest(pause).await;
            }
        }
    });
    rest(Duration::from_secs(2)).await;
    let share = gateway.share().await;
    coming.abort();
    // Whatever its own pace was, no reference comes twice.
    *from += 1_000_000;
    share
}

#[tokio::main]
async fn main() {
    install_tls();
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let (regions, orders) = (numbers.next().unwrap_or(500), numbers.next().unwrap_or(200_000));
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("board.db").display());
    let store = open(&database, HostClock.now()).await.unwrap();
    let began = Instant::now();
    fill(&store, regions, orders).await;
    println!("{orders} orders wait in {regions} regions (written in {:.1} s)", began.elapsed().as_secs_f64());
    let labs: Vec<LabId> =
        (0..regions.div_ceil(A_LAB)).map(|nth| LabId::parse(&format!("lab-{nth}")).unwrap()).collect();
    let began = Instant::now();
    let counted = store.board(&labs).await.unwrap();
    let waiting: i64 = counted.open.iter().map(|batch| batch.waiting).sum();
    assert_eq!(usize::try_from(waiting).unwrap(), orders);
    println!("counted whole          {:>8.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    let end = store.touched(0).await.unwrap().seen;
    let began = Instant::now();
    for _ in 0..100 {
        store.touched(end).await.unwrap();
    }
    println!("nothing has moved      {:>8.2} ms", began.elapsed().as_secs_f64() * 10.0);
    let began = Instant::now();
    store.board(&labs[..1]).await.unwrap();
    println!("one lab has moved      {:>8.2} ms", began.elapsed().as_secs_f64() * 1000.0);
    store.close().await;

    let gateway = Arc::new(Gateway::start(&database));
    let client = Arc::new(Outbound::trusted().unwrap());
    let shop = json!({"id": "shop", "name": "Shop"});
    gateway.call(&client, Method::PUT, "/v1/platforms/shop", &gateway.ops, &shop).await;
    let key = json!({"scope": "platform", "owner": "shop", "name": "bench"});
    let made = gateway.call(&client, Method::POST, "/v1/keys", &gateway.ops, &key).await;
    let key = serde_json::from_slice::<Value>(&made).unwrap()["secret"].as_str().unwrap().to_owned();
    let cookie = gateway.cookie().await;
    rest(Duration::from_secs(2)).await;
    for name in ["first", "second"] {
        let began = Instant::now();
        let body = gateway.call(&client, Method::GET, "/v1/board", &gateway.ops, &Value::Null).await;
        let took = began.elapsed();
        println!("all regions as JSON, {name:<6} {:>6.1} ms, {} KB", millis(took), body.len() / 1000);
        assert!(took < WHOLE, "the whole board took {took:?}");
        let (bytes, took) = gateway.page("/", &cookie).await;
        println!("the page, {name:<6} {:>17.1} ms, {} KB", millis(took), bytes / 1000);
        assert!(took < WHOLE, "the page took {took:?}");
        rest(Duration::from_millis(1100)).await;
    }
    // What a start and a first look bring is over by then.
    rest(Duration::from_secs(30)).await;
    let mut from = 0;
    let still = gateway.share().await;
    let before = busy(&gateway, &client, &key, regions, &mut from).await;
    let pages = regions.div_ceil(PAGE);
    let mut boards = Vec::new();
    for nth in 0..BOARDS {
        boards.push(gateway.watch(1 + nth % pages, &cookie).await);
    }
    rest(Duration::from_secs(2)).await;
    let watched = gateway.share().await;
    let with = busy(&gateway, &client, &key, regions, &mut from).await;
    assert!(boards.iter().all(|board| !board.is_finished()), "a board was closed");
    for board in boards {
        board.abort();
    }
    rest(Duration::from_secs(2)).await;
    let still_after = gateway.share().await;
    let after = busy(&gateway, &client, &key, regions, &mut from).await;
    let told = [
        (format!("{BOARDS} boards, quiet"), watched, still, still_after),
        (format!("{BOARDS} boards, {COMING} orders/s"), with, before, after),
    ];
    for (name, with, before, after) in &told {
        println!(
            "{name:<22} {:>8.2} % of a core ({:.2} % with them, {:.2} % before, {:.2} % after)",
            (with - before.midpoint(*after)) * 100.0,
            with * 100.0,
            before * 100.0,
            after * 100.0
        );
    }
    for (name, with, before, after) in told {
        assert!(with - before.midpoint(after) < SHARE, "{name}: more than {SHARE} of a core");
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
