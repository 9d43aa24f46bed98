//! What labs that only stay connected cost: a gateway of its own process, so many idle links, and the
//! memory that it holds before and after.
//!
//! `cargo bench --bench link -- [connections]`; 2,000 unless told. Each needs a file handle on both sides:
//! `ulimit -n` must be well above that.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on stops")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock};
use stoppress::lab::outbound::{Outbound, Request as Call, install_tls};
use stoppress::proto::connect_request::{Heartbeat, Hello, Kind};
use stoppress::proto::lab_link_service_client::LabLinkServiceClient;
use stoppress::proto::{ConnectRequest, ConnectResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

/// Connections of one lab.
const A_LAB: usize = 100;

struct Gateway {
    child: Child,
    url: String,
    ops: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(folder: &std::path::Path) -> Self {
        // A port that is free now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let database = format!("sqlite:{}", folder.join("link.db").display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoppress"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--database", &database])
            .args(["--log-level", "error"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ops = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some(at) = line.find("sp_") {
                break line[at..].split_whitespace().next().unwrap().to_owned();
            }
        };
        Self { child, url: format!("http://127.0.0.1:{port}"), ops }
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    async fn call(&self, client: &Outbound, method: Method, path: &str, body: Value) -> Value {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", self.ops)).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let call = Call {
            method,
            url: format!("{}{path}", self.url).parse().unwrap(),
            headers,
            body: body.to_string().into_bytes(),
            timeout: Duration::from_secs(20),
            body_max: 1 << 20,
        };
        let answer = client.call(call).await.unwrap();
        assert!(answer.status < 300, "{path}: {}", answer.status);
        serde_json::from_slice(&answer.body).unwrap()
    }

    async fn link(&self, key: &str) -> (mpsc::Sender<ConnectRequest>, Streaming<ConnectResponse>) {
        let channel = Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap();
        let (say, outgoing) = mpsc::channel(4);
        let (contract, name) = ("stoppress/1".to_owned(), "bench".to_owned());
        let hello = Kind::Hello(Hello { contract, name, version: "1".to_owned(), window: 8 });
        say.send(ConnectRequest { kind: Some(hello) }).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        let mut said = LabLinkServiceClient::new(channel).connect(request).await.unwrap().into_inner();
        said.message().await.unwrap().expect("a welcome");
        (say, said)
    }
}

async fn rest(seconds: i64) {
    HostClock.sleep_until(HostClock.now() + SignedDuration::from_secs(seconds)).await;
}

#[tokio::main]
async fn main() {
    install_tls();
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(2_000_usize);
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    let client = Outbound::trusted().unwrap();
    rest(1).await;
    let mut keys = Vec::new();
    for nth in 0..count.div_ceil(A_LAB) {
        let id = format!("lab-{nth}");
        let lab = json!({"id": id, "name": id, "driver": {"kind": "link"},
            "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
        gateway.call(&client, Method::PUT, &format!("/v1/labs/{id}"), lab).await;
        let key = json!({"scope": "lab", "owner": id, "name": "bench"});
        let made = gateway.call(&client, Method::POST, "/v1/keys", key).await;
        keys.push(made["secret"].as_str().unwrap().to_owned());
    }
    rest(1).await;
    let before = gateway.memory();
    let mut links = Vec::with_capacity(count);
    for nth in 0..count {
        links.push(gateway.link(&keys[nth / A_LAB]).await);
    }
    let opened = gateway.memory();
    // Two beats each, and what the first seconds needed is given back.
    for _ in 0..2 {
        rest(10).await;
        for (say, _) in &links {
            let beat = ConnectRequest { kind: Some(Kind::Heartbeat(Heartbeat {})) };
            say.send(beat).await.unwrap();
        }
    }
    rest(2).await;
    let after = gateway.memory();
    println!("links        {count}");
    println!("before       {before:>8} KiB");
    println!("just opened  {opened:>8} KiB");
    println!(
        "idle         {after:>8} KiB, {:.1} KiB a link",
        (after.saturating_sub(before)) as f64 / count as f64
    );
}
