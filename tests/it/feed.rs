//! The feed on PostgreSQL under many writers: whoever reads it, by whatever way and from wherever they go on,
//! sees every entry once and in the order of the log.
//!
//! Entries get their numbers before their transactions commit, and here these commit in any order: a trigger
//! keeps them open after they wrote, one is held open for long by hand, and some are rolled back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use stoppress::clock::ManualClock;
use stoppress::config::LimitsConfig;
use stoppress::domain::event::{self, Actor};
use stoppress::domain::ids::PlatformId;
use stoppress::proto;
use stoppress::proto::gateway_service_client::GatewayServiceClient;
use stoppress::store::{self, PutPlatform, Store, Write};
use tonic::transport::Endpoint;

use crate::common::postgres;
use crate::grpc_support::{EVENING, breathe, with};
use crate::rig::Rig;

/// Orders that each writer submits.
const ORDERS: usize = 20;

/// Half of the transactions stay open for a while after they got their numbers.
const LINGER: &str = "create function linger() returns trigger language plpgsql as
    $$ begin if random() < 0.5 then perform pg_sleep(random() * 0.08); end if; return null; end $$;
    create trigger linger after insert on events for each statement execute function linger();";

/// Small numbers that nobody can foretell, and that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most + 1
    }
}

/// What readers know of the writers.
#[derive(Default)]
struct Writers {
    ended: AtomicBool,
    /// The last number of the log, once they have ended.
    last: AtomicI64,
    /// Whether the readers have ended as well.
    done: AtomicBool,
}

impl Writers {
    fn seen_all(&self, seen: i64) -> bool {
        self.ended.load(Ordering::SeqCst) && seen >= self.last.load(Ordering::SeqCst)
    }
}

/// One who reads: at both gateways, in turn.
#[derive(Clone)]
struct Reader {
    gateways: Vec<String>,
    key: String,
    writers: Arc<Writers>,
    seed: u64,
}

#[expect(clippy::disallowed_methods, reason = "the client of the gateways that the test itself started")]
fn client() -> reqwest::Client {
    reqwest::Client::new()
}

fn seq(event: &Value) -> i64 {
    event["seq"].as_i64().unwrap()
}

impl Reader {
    fn gateway(&self, dice: &mut Dice) -> &str {
        &self.gateways[usize::try_from(dice.roll(self.gateways.len() as u64)).unwrap() - 1]
    }

    /// Page by page.
    async fn poll(self) -> Vec<i64> {
        let (client, mut dice) = (client(), Dice(self.seed));
        let (mut told, mut after) = (Vec::new(), 0);
        while !self.writers.seen_all(after) {
            let (limit, wait) = (dice.roll(40), if dice.roll(2) == 1 { "0s" } else { "1s" });
            let url =
                format!("{}/v1/events?after={after}&limit={limit}&wait={wait}", self.gateway(&mut dice));
            let response = client.get(url).bearer_auth(&self.key).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let page: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            told.extend(page["events"].as_array().unwrap().iter().map(seq));
            let next = page["next"].as_i64().unwrap();
            assert!(next >= after);
            after = next;
        }
        told
    }

    /// By server-sent events, cut off again and again.
    async fn stream(self) -> Vec<i64> {
        let (client, mut dice) = (client(), Dice(self.seed));
        let (mut told, mut after) = (Vec::new(), 0);
        while !self.writers.seen_all(after) {
            let url = format!("{}/v1/events/stream?after=0", self.gateway(&mut dice));
            let request = client.get(url).bearer_auth(&self.key).header("last-event-id", after.to_string());
            let mut response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            let (mut text, mut left) = (String::new(), dice.roll(30));
            while left > 0 && !self.writers.seen_all(after) {
                let chunk = tokio::time::timeout(Duration::from_millis(300), response.chunk()).await;
                let Ok(chunk) = chunk else { break };
                text.push_str(std::str::from_utf8(&chunk.unwrap().expect("it never ends")).unwrap());
                while let Some((block, rest)) = text.split_once("\n\n") {
                    let line = |name: &str| {
                        block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                    };
                    if let Some(data) = line("data: ").filter(|_| left > 0) {
                        told.push(seq(&serde_json::from_str(&data).unwrap()));
                        left -= 1;
                        after = line("id: ").unwrap().parse().unwrap();
                    } else if let Some(id) = line("id: ").filter(|_| left > 0) {
                        after = id.parse().unwrap();
                    }
                    text = rest.to_owned();
                }
            }
        }
        told
    }

    /// By the watch of gRPC, cut off again and again.
    async fn watch(self) -> Vec<i64> {
        let mut dice = Dice(self.seed);
        let (mut told, mut after) = (Vec::new(), 0);
        while !self.writers.seen_all(after) {
            let url = self.gateway(&mut dice).to_owned();
            let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
            let mut client = GatewayServiceClient::new(channel);
            let ask =
                proto::GatewayServiceWatchEventsRequest { after, from_now: false, ..Default::default() };
            let mut stream = client.watch_events(with(&self.key, ask)).await.unwrap().into_inner();
            for _ in 0..dice.roll(30) {
                let next = tokio::time::timeout(Duration::from_millis(300), stream.message()).await;
                let Ok(next) = next else { break };
                let message = next.unwrap().expect("it never ends");
                told.extend(message.event.map(|event| event.seq));
                after = message.cursor;
            }
        }
        told
    }
}

/// Submits orders to a gateway.
async fn submit(gateway: String, key: String, name: String) {
    let client = client();
    for nth in 0..ORDERS {
        let order = json!({"reference": format!("{name}-{nth}"), "lab": "nordprint",
            "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
            "items": [{"id": "1", "sku": "print", "quantity": 1}]});
        let request = client.post(format!("{gateway}/v1/orders")).bearer_auth(&key);
        let request = request.header("content-type", "application/json").body(order.to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    }
}

/// Writes what no platform sees, through a store of its own: as yet another gateway would.
async fn register(store: Arc<dyn Store>, name: String) {
    let now: Timestamp = EVENING.parse().unwrap();
    for nth in 0..ORDERS {
        let put = PutPlatform {
            id: PlatformId::parse(&name).unwrap(),
            spec: format!("{{\"id\":\"{name}\",\"name\":\"{nth}\"}}"),
            at: now,
            actor: Actor::gateway(),
        };
        store.apply(vec![Write::PutPlatform(Box::new(put))]).await.unwrap();
    }
    store.close().await;
}

/// Writes one entry by hand, holds its transaction open for long, and ends it.
async fn hold(url: String, name: String, open: u64, end: &'static str) {
    let mut other = PgConnection::connect(&url).await.unwrap();
    let at: Timestamp = EVENING.parse().unwrap();
    let (subject, micros) = (format!("key_{name}"), at.as_microsecond());
    let hash = event::hash("", at, &subject, "key.created", "gateway", "{}");
    let sql = format!(
        "insert into events (at, subject, lab, kind, actor, detail, previous, hash)
            values ({micros}, '{subject}', '', 'key.created', 'gateway', '{{}}', '', '{hash}')"
    );
    other.execute("begin").await.unwrap();
    other.execute(AssertSqlSafe(sql)).await.unwrap();
    breathe(open).await;
    other.execute(end).await.unwrap();
}

async fn numbers(url: &str, sql: &str) -> Vec<i64> {
    let mut other = PgConnection::connect(url).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut other).await.unwrap();
    rows.iter().map(|row| sqlx::Row::get(row, 0)).collect()
}

/// The gateways' clock, on which they look for what the other wrote.
fn tick(clock: ManualClock, writers: Arc<Writers>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while !writers.done.load(Ordering::SeqCst) {
            clock.advance(Duration::from_millis(250));
            breathe(25).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_entry_is_read_once_and_in_order_whoever_writes() {
    let database = postgres::database().await;
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    let mut rig = Rig::on(Some(&database.url), EVENING, "http", profile, json!({})).await;
    rig.stop().await;
    let off = LimitsConfig::default();
    rig.config.limits =
        LimitsConfig { writes_per_second: 0, stops_per_second: 0, reads_per_second: 0, ..off };
    rig.start().await;
    let other = rig.another(23).await;
    let mut admin = PgConnection::connect(&database.url).await.unwrap();
    admin.execute(LINGER).await.unwrap();

    let gateways = vec![rig.running.as_ref().unwrap().url(), other.url()];
    let writers = Arc::new(Writers::default());
    let ticking = tick(rig.clock.clone(), Arc::clone(&writers));
    let reader = |key: &str, seed| Reader {
        gateways: gateways.clone(),
        key: key.to_owned(),
        writers: Arc::clone(&writers),
        seed,
    };
    let all = [
        tokio::spawn(reader(&rig.ops, 1).poll()),
        tokio::spawn(reader(&rig.ops, 2).poll()),
        tokio::spawn(reader(&rig.ops, 3).stream()),
        tokio::spawn(reader(&rig.ops, 4).stream()),
        tokio::spawn(reader(&rig.ops, 5).watch()),
        tokio::spawn(reader(&rig.ops, 6).watch()),
    ];
    let own = [
        tokio::spawn(reader(&rig.platform, 7).poll()),
        tokio::spawn(reader(&rig.platform, 8).stream()),
        tokio::spawn(reader(&rig.platform, 9).watch()),
    ];

    let mut writing = vec![
        tokio::spawn(hold(database.url.clone(), "long".to_owned(), 1_500, "commit")),
        tokio::spawn(hold(database.url.clone(), "undone".to_owned(), 700, "rollback")),
    ];
    // What was held open has the lowest numbers of all.
    breathe(100).await;
    for nth in 0..3 {
        for (at, gateway) in gateways.iter().enumerate() {
            let name = format!("W{at}-{nth}");
            writing.push(tokio::spawn(submit(gateway.clone(), rig.platform.clone(), name)));
        }
        let store = store::open(&database.url, EVENING.parse().unwrap()).await.unwrap();
        writing.push(tokio::spawn(register(store, format!("writer-{nth}"))));
        let (open, end) = (100 * nth + 50, if nth == 1 { "rollback" } else { "commit" });
        writing.push(tokio::spawn(hold(database.url.clone(), format!("short-{nth}"), open, end)));
    }
    for writing in writing {
        writing.await.unwrap();
    }
    let log = numbers(&database.url, "select seq from events order by seq").await;
    let gaps = log.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(gaps >= 2, "what was rolled back has left gaps");
    assert!(log.len() > 6 * ORDERS + 3 * ORDERS);
    writers.last.store(*log.last().unwrap(), Ordering::SeqCst);
    writers.ended.store(true, Ordering::SeqCst);

    for (nth, reader) in all.into_iter().enumerate() {
        let told = tokio::time::timeout(Duration::from_mins(1), reader).await.expect("it has read all");
        assert_eq!(told.unwrap(), log, "reader {nth}");
    }
    let ours = "select e.seq from events e join orders o on o.id = e.subject where o.platform = 'acme' order by e.seq";
    let ours = numbers(&database.url, ours).await;
    for (nth, reader) in own.into_iter().enumerate() {
        let told = tokio::time::timeout(Duration::from_mins(1), reader).await.expect("it has read all");
        assert_eq!(told.unwrap(), ours, "the platform's reader {nth}");
    }
    writers.done.store(true, Ordering::SeqCst);
    ticking.await.unwrap();
    let checked = rig.running.as_ref().unwrap().bench.store.verify_events().await.unwrap();
    assert_eq!(checked.breaks, Vec::<String>::new());
    other.stop().await;
    rig.stop().await;
}
