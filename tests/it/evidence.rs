//! Evidence bundles, through a gateway that runs, and checked by three: the domain, the command, and a small
//! program in another language that knows nothing of ours. And the check of the log itself, by its command.

use std::fs;
use std::path::Path;
use std::process::Command;

use hyper::http::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use stoppress::clock::Clock as _;
use stoppress::domain::evidence::{Bundle, verify};
use stoppress::store::{Write, one};

use crate::cli::alone;
use crate::common::postgres;
use crate::grpc_support::{EVENING, other_platform};
use crate::rig::Rig;

async fn rig(database: Option<&str>) -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10});
    Rig::on(database, EVENING, "http", profile, json!({})).await
}

async fn checkpoint(rig: &Rig) {
    let write = Write::Checkpoint { at: rig.clock.now() };
    one(&*rig.running.as_ref().unwrap().bench.store, write).await.unwrap();
    rig.clock.advance(std::time::Duration::from_secs(1));
}

async fn read(rig: &Rig, key: &str, order: &str, accept: &str) -> (u16, String, String) {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("accept", accept)];
    let path = format!("/v1/orders/{order}/evidence");
    let (status, headers, text) = rig.browse_with(Method::GET, &path, &headers, None).await;
    (status, headers["content-type"].to_str().unwrap().to_owned(), text)
}

/// An order that was held and released, handed over with one of a rival, printed, and asked to be stopped.
async fn story(rig: &Rig) -> (String, String) {
    let rival = other_platform(rig).await;
    let order = rig.order("A-1").await;
    let theirs = json!({"reference": "RIVAL-REFERENCE", "lab": "nordprint",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 1}]});
    let (status, theirs) = rig.call(&rival, Method::POST, "/v1/orders", theirs).await;
    assert_eq!(status, 201, "{theirs}");
    checkpoint(rig).await;
    for what in ["hold", "release"] {
        let path = format!("/v1/orders/{order}/{what}");
        let body = json!({"reason": "Größe? \"10×15\"\n"});
        assert_eq!(rig.call(&rig.platform, Method::POST, &path, body).await.0, 200);
    }
    rig.go_to("2026-11-21T22:00:10Z").await;
    checkpoint(rig).await;
    let lab = rig.lab_key("nordprint").await;
    let report = json!({"stage": "printed", "at": "2026-11-21T22:00:05Z", "reference": "R-1"});
    let path = format!("/v1/lab/orders/{order}/status");
    let (status, said) = rig.call(&lab, Method::POST, &path, report).await;
    assert!(status < 300, "{said}");
    rig.ask(&order).await;
    rig.settle().await;
    checkpoint(rig).await;
    let path = format!("/v1/orders/{order}/links");
    assert_eq!(rig.call(&rig.platform, Method::DELETE, &path, Value::Null).await.0, 204);
    let theirs = theirs["id"].as_str().unwrap().to_owned();
    assert!(read(rig, &rival, &order, "*/*").await.0 == 404, "another's order is not there");
    assert_eq!(read(rig, &lab, &order, "*/*").await.0, 403);
    (order, theirs)
}

fn python(file: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/verify_evidence.py");
    let said = Command::new("python3").arg(script).arg(file).output();
    let said = said.expect("python3 is missing: on Debian, apt-get install python3");
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    (said.status.success(), text)
}

/// What all three say about a bundle.
fn agree(folder: &Path, text: &str, good: bool) -> String {
    let file = folder.join("evidence.json");
    fs::write(&file, text).unwrap();
    let (code, out, err) = alone(folder, &["doctor", "--verify-evidence", file.to_str().unwrap()]);
    assert_eq!(code == 0, good, "{out}{err}");
    let (fine, said) = python(&file);
    assert_eq!(fine, good, "{said}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_stands_on_its_own() {
    let database = postgres::database().await;
    for database in [None, Some(database.url.as_str())] {
        let mut rig = rig(database).await;
        let (order, theirs) = story(&rig).await;
        let (status, kind, text) = read(&rig, &rig.platform, &order, "application/json").await;
        assert_eq!((status, kind.as_str()), (200, "application/json"), "{text}");
        let found = verify(&text).unwrap();
        assert_eq!(found.faults, Vec::<String>::new());
        assert_eq!((found.covered, found.not_computed), (found.entries - 1, 0), "all but the last: {text}");
        let bundle: Bundle = serde_json::from_str(&text).unwrap();
        let kinds: Vec<&str> = bundle.entries.iter().map(|entry| entry.hashed[3].as_str()).collect();
        for kind in [
            "order.admitted",
            "batch.opened",
            "order.held",
            "order.released",
            "batch.closed",
            "transfer.sending",
            "transfer.at_lab",
            "order.printed",
            "order.links_revoked",
        ] {
            assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
        }
        assert_eq!(bundle.chains.len(), 3, "the order, its batch, its transfer");
        assert_eq!(bundle.order["reports"][0]["stage"], "printed");
        assert!(bundle.order["stop"].is_object() && bundle.order["verdict"].is_object());
        // What the other platform has in the same batch and the same transfer is not in it, nor is a secret.
        assert!(!text.contains("RIVAL") && !text.contains(&theirs) && !text.contains("sp_"), "{text}");
        let (status, kind, shown) = read(&rig, &rig.platform, "@A-1", "text/plain, application/json").await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
        for part in
            ["Evidence about order A-1", "order.held", "transfer.at_lab", "How to verify", "Lab reported"]
        {
            assert!(shown.contains(part), "{part}\n{shown}");
        }

        let folder = tempfile::tempdir().unwrap();
        let said = agree(folder.path(), &text, true);
        assert!(said.contains("entries hang together"), "{said}");
        // Written otherwise, it is the same; with one letter changed, or an entry taken out, it is not.
        let value: Value = serde_json::from_str(&text).unwrap();
        agree(folder.path(), &serde_json::to_string_pretty(&value).unwrap(), true);
        agree(folder.path(), &text.replacen("10×15", "10×16", 1), false);
        agree(folder.path(), &text.replacen("\"printed\"", "\"shipped\"", 1), false);
        for at in [0, bundle.entries.len() - 1] {
            let mut fewer = value.clone();
            fewer["entries"].as_array_mut().unwrap().remove(at);
            agree(folder.path(), &fewer.to_string(), false);
        }

        // The command prints the same.
        let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
        command.args(["orders", "evidence", &order]).env("STOPPRESS_KEY", &rig.platform);
        command.env("STOPPRESS_SERVER", rig.running.as_ref().unwrap().url());
        let printed = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let printed: Bundle = serde_json::from_slice(&printed.stdout).unwrap();
        assert_eq!(printed.entries, bundle.entries);
        rig.stop().await;
    }
}

/// Runs a statement beside the gateway, which has ended.
async fn run(url: &str, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("postgres") {
        sqlx::PgConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    } else {
        sqlx::SqliteConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_a_changed_row_of_the_log() {
    let database = postgres::database().await;
    for database in [None, Some(database.url.as_str())] {
        let mut rig = rig(database).await;
        story(&rig).await;
        rig.stop().await;
        let url = rig.config.database.clone();
        let folder = tempfile::tempdir().unwrap();
        let doctor = async |url: &str| {
            let (folder, url) = (folder.path().to_owned(), url.to_owned());
            let look = move || alone(&folder, &["doctor", "--database", &url, "--verify-events"]);
            tokio::task::spawn_blocking(look).await.unwrap()
        };
        let (code, out, _) = doctor(&url).await;
        assert_eq!(code, 0, "{out}");
        assert!(out.contains("3 checkpoints agree"), "{out}");
        run(&url, "update events set actor = 'somebody' where kind = 'order.held'").await;
        let (code, out, _) = doctor(&url).await;
        assert_eq!(code, 1, "{out}");
        assert!(out.contains("its content was changed"), "{out}");
    }
}
