//! What labs that only stay connected cost: a gateway of its own process, so many idle links, and the
//! memory that it holds before and after.
//!
//! `cargo bench --bench link -- [connections]`; 2,000 unless told. Each needs a file handle on both sides:
//! `ulimit -n` must be well above that.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on stops")]

mod gateway;

use hyper::http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock};
use stoppress::lab::outbound::{Outbound, install_tls};
use stoppress::proto::connect_request::{Heartbeat, Hello, Kind};
use stoppress::proto::lab_link_service_client::LabLinkServiceClient;
use stoppress::proto::{ConnectRequest, ConnectResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use gateway::Gateway;

/// Connections of one lab.
const A_LAB: usize = 100;

impl Gateway {
    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    async fn link(&self, key: &str) -> (mpsc::Sender<ConnectRequest>, Streaming<ConnectResponse>) {
        let channel =
            Endpoint::from_shared(format!("http://{}", self.addr)).unwrap().connect().await.unwrap();
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
    let gateway = Gateway::start(&format!("sqlite:{}", folder.path().join("link.db").display()));
    let client = Outbound::trusted().unwrap();
    rest(1).await;
    let mut keys = Vec::new();
    for nth in 0..count.div_ceil(A_LAB) {
        let id = format!("lab-{nth}");
        let lab = json!({"id": id, "name": id, "driver": {"kind": "link"},
            "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
        gateway.call(&client, Method::PUT, &format!("/v1/labs/{id}"), &gateway.ops, &lab).await;
        let key = json!({"scope": "lab", "owner": id, "name": "bench"});
        let made = gateway.call(&client, Method::POST, "/v1/keys", &gateway.ops, &key).await;
        let made: Value = serde_json::from_slice(&made).unwrap();
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
