//! The lab kit is true: what it shows is what the gateway sends and a lab answers, byte for byte; its labs
//! are certified; its walk runs as it is written.

use std::cell::RefCell;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use stoppress::cli::certify::Target;
use stoppress::cli::certify::report::Status;
use stoppress::cli::simulate::SimulatorSettings;
use stoppress::domain::lab::Lasting;
use stoppress::lab::outbound::{Request, Response};
use stoppress::lab::sign::{Signer, Unverified};
use stoppress::lab::{Lab, Upload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::certify::{certified, shown, target};
use crate::lab_simulator::Set;
use crate::lab_support::{SECRET, eventually, held, lab, noon, sent_ahead, stop_call, upload};
use crate::openapi::Document;
use crate::readme::walk;

pub(crate) fn kit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/lab-kit").join(name)
}

/// The kit has these files, with these bytes. What it should have is written to `target/lab-kit`.
#[track_caller]
pub(crate) fn shows(files: &[(String, Vec<u8>)]) {
    let mut others = Vec::new();
    for (name, bytes) in files {
        if fs::read(kit(name)).is_ok_and(|there| there == *bytes) {
            continue;
        }
        let new = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab-kit").join(name);
        fs::create_dir_all(new.parent().unwrap()).unwrap();
        fs::write(&new, bytes).unwrap();
        others.push(name);
    }
    let mend = "cp -r target/lab-kit/. deploy/lab-kit/";
    assert!(others.is_empty(), "{others:?} of deploy/lab-kit are not what is sent; if that is meant: {mend}");
}

#[test]
fn the_protocol_files_are_those_that_are_compiled() {
    let files = ["proto/stoppress/v1/lab.proto", "proto/stoppress/v1/link.proto"];
    let compiled = |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    shows(&files.map(|name| (name.to_owned(), compiled(name))));
}

#[test]
fn the_example_labs_fit_on_a_page() {
    let lines = |name: &str| fs::read_to_string(kit(name)).unwrap().lines().count();
    assert!(lines("python/lab.py") <= 60 && lines("rust/lab.rs") <= 155 && lines("rust/link.rs") <= 130);
}

#[test]
fn the_vectors_of_signatures_hold() {
    let file: Value = serde_json::from_slice(&fs::read(kit("signature-vectors.json")).unwrap()).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 12);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or_else(|| panic!("{name}: {vector}"));
        let now = Timestamp::from_second(vector["now"].as_i64().unwrap()).unwrap();
        let ours = Signer::new(&SecretString::from(text("secret"))).unwrap();
        let (id, at, body) = (text("id"), text("timestamp"), text("body"));
        let verified = ours.verify(id, at, text("signature"), body.as_bytes(), now);
        let seconds: i64 = at.parse().unwrap();
        let fresh = now.as_second().abs_diff(seconds) <= file["tolerance_seconds"].as_u64().unwrap();
        let expected = match (vector["holds"].as_bool().unwrap(), fresh) {
            (true, _) => Ok(()),
            (false, true) => Err(Unverified::Signature),
            (false, false) => Err(Unverified::Time),
        };
        assert_eq!(verified, expected, "{vector}");
        // The reference library: what it signs is in the header of every vector that fits.
        let theirs = standardwebhooks::Webhook::new(text("secret")).unwrap();
        let signed = theirs.sign(id, seconds, body.as_bytes()).unwrap();
        let fits = text("signature").split(' ').any(|one| one == signed);
        assert_eq!(fits, verified != Err(Unverified::Signature), "{vector}");
    }
}

/// A request as it went over the wire.
#[derive(Clone)]
struct Sent {
    method: String,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    wire: Vec<u8>,
}

/// The real driver, and what it writes.
struct Wire {
    lab: Arc<dyn Lab>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    at: SocketAddr,
}

impl Wire {
    async fn new(set: &Set) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let sent: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let into = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let mut chunk = [0; 8192];
                while whole(&bytes).is_none() {
                    let read = stream.read(&mut chunk).await.unwrap();
                    assert!(read > 0, "the request broke off");
                    bytes.extend_from_slice(&chunk[..read]);
                }
                into.lock().unwrap().push(bytes);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
        let more = json!({ "base_url": format!("http://{at}/stoppress"), "secret": { "env": SECRET } });
        Self { lab: lab("http", at, more, &set.tools), sent, at }
    }

    /// What was sent last, with the address and the version that a test cannot know beforehand taken out.
    fn last(&self) -> Sent {
        let bytes = self.sent.lock().unwrap().pop().unwrap();
        let (head, body) = whole(&bytes).unwrap();
        let head = String::from_utf8(head.to_vec())
            .unwrap()
            .replace(&self.at.to_string(), "lab.example")
            .replace(concat!("stoppress/", env!("CARGO_PKG_VERSION")), "stoppress/VERSION");
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap().split(' ');
        let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let wire = [head.as_bytes(), b"\r\n\r\n", body].concat();
        Sent { method, path, headers, body: body.to_vec(), wire }
    }

    async fn upload(&self, upload: &Upload) -> Sent {
        self.lab.submit(upload).await;
        self.last()
    }
}

/// A request's head and body, if they are there whole.
fn whole(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let text = String::from_utf8_lossy(head).to_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    (body.len() >= length).then_some((head, body))
}

/// Gives the simulated lab what was sent, and checks both against the description.
async fn through(set: &Set, document: &Document, sent: &Sent, status: u16) -> Response {
    let path = sent.path.strip_prefix("/stoppress").unwrap();
    let url = format!("http://{}{path}", set.sim.http_addr);
    let mut headers = sent.headers.clone();
    for name in ["host", "content-length"] {
        headers.remove(name);
    }
    let request = Request {
        method: sent.method.parse().unwrap(),
        url: url.parse().unwrap(),
        headers,
        body: sent.body.clone(),
        timeout: Duration::from_secs(10),
        body_max: 1024 * 1024,
    };
    let response = set.tools.outbound.call(request).await.unwrap();
    assert_eq!(
        response.status,
        status,
        "{} {path}: {}",
        sent.method,
        String::from_utf8_lossy(&response.body)
    );
    let kind = response.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
    let faults = document.answer(&sent.method, path, status, kind, &response.body);
    assert!(faults.is_empty(), "{} {path} {status}: {faults:?}", sent.method);
    response
}

fn faults_of(document: &Document, sent: &Sent) -> Vec<String> {
    let path = sent.path.strip_prefix("/stoppress").unwrap();
    document.request(&sent.method, path, &sent.headers, &sent.body)
}

fn answer(response: &Response) -> Vec<u8> {
    let status = hyper::StatusCode::from_u16(response.status).unwrap();
    let kind = response.headers.get("content-type").map(|kind| kind.to_str().unwrap());
    let kind = kind.map(|kind| format!("content-type: {kind}\r\n")).unwrap_or_default();
    let head = format!("HTTP/1.1 {status}\r\n{kind}\r\n");
    [head.as_bytes(), &response.body].concat()
}

#[tokio::test]
async fn requests_and_answers_are_as_described_and_as_shown() {
    let document = Document::read(&kit("lab-openapi.json"));
    let settings =
        SimulatorSettings { secret: Some(SecretString::from(SECRET)), ..SimulatorSettings::default() };
    let set = Set::with(settings).await;
    let wire = Wire::new(&set).await;
    let (first, order) = upload(1);
    let (second, printed) = upload(2);

    wire.lab.describe().await;
    let describe = wire.last();
    wire.lab.look_up(&order).await;
    let look_up = wire.last();
    wire.lab.stop(&stop_call(&order)).await;
    let stop = wire.last();
    let submit = wire.upload(&first).await;
    let files = RefCell::new(Vec::new());
    for (name, sent) in [("describe", &describe), ("upload", &submit), ("look-up", &look_up), ("stop", &stop)]
    {
        assert_eq!(faults_of(&document, sent), Vec::<String>::new(), "{name}");
        files.borrow_mut().push((format!("examples/{name}.request.http"), sent.wire.clone()));
    }

    let send = async |sent: &Sent, status| through(&set, &document, sent, status).await;
    let show = |name: &str, response: &Response| {
        files.borrow_mut().push((format!("examples/{name}.http"), answer(response)));
    };
    show("describe.answer", &send(&describe, 200).await);
    show("look-up.unknown", &send(&look_up, 404).await);
    send(&stop, 404).await;
    let (mut unsigned, mut unkeyed, mut late) = (submit.clone(), submit.clone(), submit.clone());
    unsigned.headers.remove("webhook-signature");
    show("upload.unsigned", &send(&unsigned, 401).await);
    unkeyed.headers.remove("idempotency-key");
    send(&unkeyed, 400).await;
    let past = (noon() - jiff::SignedDuration::from_secs(1)).to_string();
    late.headers.insert("stoppress-not-after", past.parse().unwrap());
    show("upload.too-late", &send(&late, 412).await);
    let other = wire.upload(&Upload { key: second.key.clone(), ..first.clone() }).await;
    let good = wire.upload(&second).await;
    show("upload.answer", &send(&good, 200).await);
    show("upload.other-bytes", &send(&other, 422).await);
    wire.lab.look_up(&printed).await;
    show("look-up.answer", &send(&wire.last(), 200).await);
    let third = wire.upload(&upload(3).0).await;
    send(&third, 200).await;
    let third = upload(3).1;
    wire.lab.stop(&stop_call(&third)).await;
    show("stop.removed", &send(&wire.last(), 200).await);
    wire.lab.look_up(&third).await;
    show("look-up.removed", &send(&wire.last(), 200).await);

    // A lab of two phases: held, and no order yet; taken back; held, and handed over.
    let (third, ahead) = (sent_ahead(4), sent_ahead(5));
    wire.lab.import(&ahead).await;
    let import = wire.last();
    show("import.answer", &send(&import, 200).await);
    wire.lab.look_up(&ahead.order).await;
    send(&wire.last(), 404).await;
    wire.lab.discard(&third.order).await;
    let discard = wire.last();
    show("discard.answer", &send(&discard, 204).await);
    let held = wire.upload(&held(5, "HELD-1")).await;
    send(&held, 200).await;
    for (name, sent) in [("import", &import), ("discard", &discard), ("upload.two-phase", &held)] {
        assert_eq!(faults_of(&document, sent), Vec::<String>::new(), "{name}");
        files.borrow_mut().push((format!("examples/{name}.request.http"), sent.wire.clone()));
    }

    set.pass(2 * 3600);
    wire.lab.stop(&stop_call(&printed)).await;
    show("stop.will-print", &send(&wire.last(), 200).await);
    wire.lab.look_up(&printed).await;
    show("look-up.printed", &send(&wire.last(), 200).await);

    shows(&files.into_inner());

    // The description would find what is wrong.
    for name in ["idempotency-key", "stoppress-not-after", "stoppress-manifest-sha256"] {
        let mut broken = submit.clone();
        broken.headers.remove(name);
        assert_eq!(faults_of(&document, &broken).len(), 1, "{name}");
    }
    let mut broken = import.clone();
    broken.body = String::from_utf8(broken.body).unwrap().replacen("hold_until", "until", 1).into_bytes();
    assert!(!faults_of(&document, &broken).is_empty());
    for (from, to) in [("\"sku\"", "\"skew\""), ("\"quantity\":2", "\"quantity\":0"), ("\"FI\"", "\"fi\"")] {
        let mut broken = submit.clone();
        broken.body = String::from_utf8(broken.body).unwrap().replacen(from, to, 1).into_bytes();
        assert_ne!(broken.body, submit.body, "{from}");
        assert!(!faults_of(&document, &broken).is_empty(), "{from} {to}");
    }
    let said = |body: &str| document.answer("GET", "/orders/x", 200, "application/json", body.as_bytes());
    assert!(said(r#"{"stage":"received","prints":1}"#).is_empty());
    for wrong in [r#"{"stage":"gone"}"#, r#"{"prints":1}"#, r#"{"stage":"printed","prints":-1}"#, "[]", "x"] {
        assert!(!said(wrong).is_empty(), "{wrong}");
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn passes_whole(target: &Target) {
    let report = certified(target).await;
    assert_eq!((report.count(Status::Passed), report.checks.len()), (19, 19), "{}", shown(&report));
    assert!(report.certified && report.left.is_empty(), "{}", shown(&report));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_lab_is_certified() {
    let folder = tempfile::tempdir().unwrap();
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spawned = Command::new("python3")
        .arg(kit("python/lab.py"))
        .args([&at.port().to_string(), "lab.db", "8"])
        .current_dir(folder.path())
        .env("LAB_SECRET", SECRET)
        .stdin(Stdio::null())
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn();
    let _lab = Running(spawned.expect("python3 is missing: on Debian, apt-get install python3"));
    eventually("the Python lab listens", || std::net::TcpStream::connect(at).is_ok()).await;
    passes_whole(&Target { let_print: Some(Lasting::seconds(60)), ..target("http", at) }).await;
}

#[test]
fn the_walk_of_the_guide_runs_as_written() {
    let guide = fs::read_to_string(kit("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("python")).unwrap();
    fs::copy(kit("python/lab.py"), folder.path().join("python/lab.py")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let out = walk(&guide, "## From nothing to certified", folder.path(), |text| text.replace("9100", &port));
    assert!(out.contains("CERTIFIED: 19 of 19 checks passed"), "{out}");
    let report: Value =
        serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["certified"], true);
    assert!(out.contains("[labs.profile]\ndedupes = \"forever\""), "{out}");
}
