//! A gateway that is killed in the middle of many deliveries: nothing is lost, nothing comes out of the order of its
//! versions, and the official library verifies all of it on the real clock.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use stoppress::lab::outbound::{Outbound, Request};

use crate::lab_support::eventually;
use crate::webhooks_support::{Receiver, Reply, SECRET, Trick, in_order};

struct Daemon {
    child: Child,
    url: String,
    ops: Option<String>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        let config = folder.join("gateway.toml");
        let first = !config.exists();
        let text = "[outbound]\nallow = [\"127.0.0.0/8\"]\n[limits]\nwrites_per_second = 0\nstops_per_second = 0\nreads_per_second = 0\n";
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
        command.current_dir(folder).env_clear().env("STOPPRESS_LOG", "error");
        command.args(["serve", "--config", "gateway.toml", "--listen", "127.0.0.1:0"]);
        command.args(["--database", "sqlite:gateway.db"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("the first line").unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        let mut keys = lines.map_while(Result::ok).map(|line| line.trim().to_owned());
        let ops = if first { keys.find(|line| line.starts_with("sp_")) } else { None };
        Self { child, url, ops }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn call(
        &self,
        client: &Outbound,
        key: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let request = Request {
            method,
            url: format!("{}{path}", self.url).parse().unwrap(),
            headers,
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            timeout: Duration::from_secs(20),
            body_max: 1 << 22,
        };
        let response = client.call(request).await.ok()?;
        Some((response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_nothing_is_lost_and_nothing_comes_out_of_order() {
    let folder = tempfile::tempdir().unwrap();
    let client = Outbound::trusted().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let ops = daemon.ops.clone().unwrap();
    let acme = json!({"id": "acme", "name": "Acme"});
    daemon.call(&client, &ops, Method::PUT, "/v1/platforms/acme", &acme).await.unwrap();
    let lab = json!({"id": "far", "name": "Far", "driver": {"kind": "person"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    daemon.call(&client, &ops, Method::PUT, "/v1/labs/far", &lab).await.unwrap();
    let made = json!({"scope": "platform", "owner": "acme", "name": "test"});
    let (_, made) = daemon.call(&client, &ops, Method::POST, "/v1/keys", &made).await.unwrap();
    let key = made["secret"].as_str().unwrap().to_owned();
    // One that takes everything, one that now and then does not, or hangs up after it has read it: each message
    // once at most, because what fails twice comes five minutes later. What a kill may have cut off counts as an
    // attempt, so it fails nothing from before a kill until the next orders are in.
    let (good, moody) = (Receiver::start().await, Receiver::start().await);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let calm = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let calms = Arc::clone(&calm);
    moody.behaves(move |got| {
        let first = seen.lock().unwrap().insert(got.id()) && !calms.load(std::sync::atomic::Ordering::SeqCst);
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 23 {
            7 if first => Reply::status(500),
            11 if first => Reply::trick(Trick::HangsUp),
            _ => Reply::status(200),
        }
    });
    // It takes its time, so that there is a middle.
    good.behaves(|_| Reply { after: Duration::from_millis(20), ..Reply::status(200) });
    let receivers = [good, moody];
    for receiver in &receivers {
        let body = json!({"url": receiver.url, "secret": SECRET, "events": ["order.*", "stop.*"]});
        let (status, made) = daemon.call(&client, &key, Method::POST, "/v1/webhooks", &body).await.unwrap();
        assert_eq!(status, 201, "{made}");
    }
    for round in 0..4 {
        let order = |nth: usize| {
            json!({"reference": format!("R{round}-{nth}"), "lab": "far",
                "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
                "items": [{"id": "1", "sku": "p", "quantity": 1}]})
        };
        // What comes meanwhile counts: on a machine that is busy, all of it can.
        let before = receivers[0].count();
        let orders = (0..150).fold(String::new(), |text, nth| text + &order(nth).to_string() + "\n");
        bulk(&daemon, &client, &key, orders).await;
        for nth in 0..10 {
            let path = format!("/v1/orders/@R{round}-{nth}/stop");
            let asked =
                daemon.call(&client, &key, Method::POST, &path, &json!({"asked_by": "merchant"})).await;
            assert_eq!(asked.unwrap().0, 200);
        }
        calm.store(false, std::sync::atomic::Ordering::SeqCst);
        // In the middle: at another place each round.
        eventually("deliveries are under way", || receivers[0].count() > before + 5 + 17 * round).await;
        calm.store(true, std::sync::atomic::Ordering::SeqCst);
        daemon.kill();
        daemon = Daemon::start(folder.path());
    }
    // What the log has about orders is what must have come.
    let mut wanted: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut after = 0;
    loop {
        let path = format!("/v1/events?after={after}&limit=200");
        let (_, page) = daemon.call(&client, &key, Method::GET, &path, &Value::Null).await.unwrap();
        let events = page["events"].as_array().unwrap();
        for event in events {
            let kind = event["kind"].as_str().unwrap();
            if kind.starts_with("order.") || kind.starts_with("stop.") {
                let order = event["orders"][0].as_str().unwrap().to_owned();
                wanted.entry(order).or_default().insert(event["seq"].as_i64().unwrap());
            }
        }
        let next = page["next"].as_i64().unwrap();
        if next == after {
            break;
        }
        after = next;
    }
    let total: usize = wanted.values().map(BTreeSet::len).sum();
    assert_eq!(total, 4 * 160);
    let ids = |receiver: &Receiver| {
        receiver.got().iter().map(|got| (got.order().to_owned(), got.version())).collect::<BTreeSet<_>>()
    };
    for receiver in &receivers {
        // The moody one gets what it did not take five seconds later, each of an order in its turn.
        for _ in 0..900 {
            if ids(receiver).len() == total {
                break;
            }
            crate::grpc_support::breathe(50).await;
        }
        let got = receiver.got();
        let came = ids(receiver);
        let lost: Vec<_> = wanted
            .iter()
            .flat_map(|(order, versions)| versions.iter().map(move |version| (order.clone(), *version)))
            .filter(|one| !came.contains(one))
            .collect();
        assert_eq!((lost.len(), came.len()), (0, total), "{lost:?}");
        in_order(&got);
        let theirs = standardwebhooks::Webhook::new(SECRET).unwrap();
        for one in &got {
            theirs
                .verify(one.raw.as_bytes(), &one.headers)
                .unwrap_or_else(|error| panic!("{error}: {}", one.raw));
        }
    }
    // Not everything came twice: what was taken and written down before a kill did not come again.
    assert!(receivers[0].count() < total + 4 * 256, "{} of {total}", receivers[0].count());
}

async fn bulk(daemon: &Daemon, client: &Outbound, key: &str, orders: String) {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    headers.insert("content-type", HeaderValue::from_static("application/x-ndjson"));
    let request = Request {
        method: Method::POST,
        url: format!("{}/v1/orders/bulk", daemon.url).parse().unwrap(),
        headers,
        body: orders.into_bytes(),
        timeout: Duration::from_secs(20),
        body_max: 1 << 22,
    };
    let answer = client.call(request).await.unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!((answer.status, text.lines().count()), (200, 150), "{text}");
}
