//! A receiver of webhooks that does as it is told, and keeps what it got.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::lab_support::eventually;
use crate::rig::Rig;

/// A secret that the tests know.
pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Another one.
pub const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message that came.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub raw: String,
    pub body: Value,
}

impl Got {
    pub fn id(&self) -> String {
        self.headers["webhook-id"].to_str().unwrap().to_owned()
    }

    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub fn order(&self) -> &str {
        self.body["data"]["order"].as_str().unwrap_or_default()
    }

    pub fn version(&self) -> i64 {
        self.body["data"]["version"].as_i64().unwrap()
    }

    /// Whether the official library makes the same signature with this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let theirs = standardwebhooks::Webhook::new(secret).unwrap();
        let at: i64 = self.headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        let sum = theirs.sign(&self.id(), at, self.raw.as_bytes()).unwrap();
        self.headers["webhook-signature"].to_str().unwrap().split(' ').any(|one| one == sum)
    }
}

/// What the receiver answers.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// How long it thinks.
    pub after: Duration,
    pub trick: Trick,
}

/// What else it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    None,
    /// It hangs up without an answer.
    HangsUp,
    /// It says that more comes than it sends, and hangs up.
    BreaksOff,
    /// It never stops sending.
    Endless,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, head: Vec::new(), body: Vec::new(), after: Duration::ZERO, trick: Trick::None }
    }

    pub fn trick(trick: Trick) -> Self {
        Self { trick, ..Self::status(200) }
    }
}

type Manner = Arc<dyn Fn(&Got) -> Reply + Send + Sync>;

/// The receiver.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
    manner: Arc<Mutex<Manner>>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let taking: Manner = Arc::new(|_| Reply::status(204));
        let receiver = Self { url, got: Arc::default(), manner: Arc::new(Mutex::new(taking)) };
        let server = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.converse(stream).await.ok() });
            }
        });
        receiver
    }

    pub fn behaves(&self, manner: impl Fn(&Got) -> Reply + Send + Sync + 'static) {
        *self.manner.lock().unwrap() = Arc::new(manner);
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    /// The kinds that came, in order.
    pub fn kinds(&self) -> Vec<String> {
        self.got().iter().map(|got| got.kind().to_owned()).collect()
    }

    pub async fn has(&self, count: usize) {
        eventually(&format!("{count} messages came"), || self.count() >= count).await;
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let (got, used) = loop {
                if let Some(whole) = whole(&bytes) {
                    break whole;
                }
                let read = stream.read(&mut chunk).await?;
                if read == 0 {
                    return Ok(());
                }
                bytes.extend_from_slice(&chunk[..read]);
            };
            bytes.drain(..used);
            self.got.lock().unwrap().push(got.clone());
            let manner = Arc::clone(&self.manner.lock().unwrap());
            let reply = manner(&got);
            if !reply.after.is_zero() {
                crate::grpc_support::breathe(u64::try_from(reply.after.as_millis()).unwrap()).await;
            }
            let length = match reply.trick {
                Trick::HangsUp => return Ok(()),
                Trick::BreaksOff => reply.body.len() + 1_000,
                Trick::Endless => usize::MAX >> 8,
                Trick::None => reply.body.len(),
            };
            let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {length}\r\n", reply.status);
            for (name, value) in &reply.head {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&reply.body).await?;
            match reply.trick {
                Trick::BreaksOff => return Ok(()),
                Trick::Endless => loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                },
                _ => {}
            }
        }
    }
}

/// A request, if it is whole, and how many bytes it took.
fn whole(bytes: &[u8]) -> Option<(Got, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = text.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let name: hyper::http::HeaderName = name.to_lowercase().parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let body = bytes.get(end..end + length)?;
    let raw = String::from_utf8(body.to_vec()).unwrap();
    let body = serde_json::from_str(&raw).unwrap_or(Value::Null);
    Some((Got { path, headers, raw, body }, end + length))
}

/// Makes an endpoint of the platform `acme`; gives its id.
pub async fn endpoint(rig: &Rig, url: &str, more: Value) -> String {
    let mut body = json!({"url": url, "secret": SECRET});
    if let (Some(all), Value::Object(more)) = (body.as_object_mut(), more) {
        all.extend(more);
    }
    let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/webhooks", body).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// An endpoint as its platform sees it.
pub async fn look(rig: &Rig, id: &str) -> Value {
    let (status, seen) =
        rig.call(&rig.platform, Method::GET, &format!("/v1/webhooks/{id}"), Value::Null).await;
    assert_eq!(status, 200, "{seen}");
    seen
}

/// The deliveries of an endpoint, newest first.
pub async fn deliveries(rig: &Rig, id: &str, query: &str) -> Vec<Value> {
    let path = format!("/v1/webhooks/{id}/deliveries{query}");
    let (status, seen) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{seen}");
    seen["deliveries"].as_array().unwrap().clone()
}

/// Whether each order's messages came in the order of their versions; a message that came before may come again.
#[track_caller]
pub fn in_order(got: &[Got]) {
    let mut highest = std::collections::HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for one in got {
        let highest: &mut i64 = highest.entry(one.order().to_owned()).or_default();
        if seen.insert(one.id()) {
            assert!(one.version() > *highest, "{} came after version {highest}", one.id());
            *highest = one.version();
        }
    }
}
