//! The day the disk is gone: a copy that was made under load, brought up elsewhere, verified, and gone on from; with
//! the commands that `src/recovery.md` tells operators.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::http::Method;
use serde_json::{Value, json};

use crate::common::postgres;
use crate::grpc_support::breathe;
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

/// What a platform was told.
struct Told {
    order: String,
    stopped: bool,
    /// Before anybody began to copy.
    before: bool,
}

fn ran(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn stoppress() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
    command.current_dir(std::env::temp_dir());
    command
}

/// Every order.
async fn all(rig: &Rig) -> Vec<Value> {
    let (mut all, mut path) = (Vec::new(), "/v1/orders?limit=200".to_owned());
    loop {
        let (status, page) = rig.call(&rig.ops, Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{page}");
        all.extend(page["orders"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        path = format!("/v1/orders?limit=200&cursor={next}");
    }
}

/// Copies under load with `copy`, brings the copy up as a database of that URL, and goes on from it.
async fn drill(mut rig: Rig, copy: impl FnOnce() -> String + Send + 'static) {
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let told: Mutex<Vec<Told>> = Mutex::new(Vec::new());
    let shop = async |nth: u32| {
        for number in 0.. {
            if over.load(Ordering::Acquire) {
                break;
            }
            let order = rig.order(&format!("L{nth}-{number}")).await;
            let stopped = number % 3 == 0;
            if stopped {
                let (status, answer) = rig.ask(&order).await;
                assert_eq!((status, &answer["state"]), (200, &json!("stopped")), "{answer}");
            }
            let before = !begun.load(Ordering::Acquire);
            told.lock().unwrap().push(Told { order, stopped, before });
            breathe(10).await;
        }
    };
    let copier = async {
        let many = |count: usize| told.lock().unwrap().len() >= count;
        while !many(40) {
            breathe(5).await;
        }
        begun.store(true, Ordering::Release);
        let url = tokio::task::spawn_blocking(copy).await.unwrap();
        let after = told.lock().unwrap().len();
        while !many(after + 10) {
            breathe(5).await;
        }
        over.store(true, Ordering::Release);
        url
    };
    let (url, (), (), ()) = tokio::join!(copier, shop(0), shop(1), shop(2));
    let told = told.into_inner().unwrap();
    assert!(told.iter().any(|told| !told.before), "somebody was told something meanwhile");
    rig.stop().await;

    let verified = ran(stoppress().args(["doctor", "--database", &url, "--verify-events"]));
    let verified = String::from_utf8(verified.stdout).unwrap();
    assert!(!verified.contains("FAILED"), "{verified}");
    rig.config.database = url;
    // With other randomness than before: the clock stands still.
    rig.running = Some(rig.another(13).await);
    let listed = all(&rig).await;
    let store = &rig.running.as_ref().unwrap().bench.store;
    let log = store.stretch(&stoppress::store::Scope::Ops, 0, 100_000).await.unwrap();
    let admitted = log.events.iter().filter(|sighting| sighting.event.kind == "order.admitted").count();
    assert_eq!(listed.len(), admitted, "what is there is what the log says");
    assert!(store.verify_events().await.unwrap().breaks.is_empty());
    let there = |id: &str| listed.iter().find(|order| order["id"] == id);
    for told in told.iter().filter(|told| told.before) {
        let order = there(&told.order).expect("what was acknowledged before the copy began is in it");
        assert_eq!(order["state"] == "stopped", told.stopped, "{order}");
    }

    // It goes on: new orders come, the cutoff closes, and the lab prints what was not stopped, once.
    let new = rig.order("N-1").await;
    rig.go_to(CUTOFF).await;
    rig.go_to("2026-11-22T06:00:00Z").await;
    assert_eq!(rig.prints(&new), 1);
    for order in &listed {
        let id = order["id"].as_str().unwrap();
        let prints = u64::from(order["state"] != "stopped");
        assert_eq!(rig.prints(id), prints, "{order}");
    }
}

async fn rig(database: Option<&str>) -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10});
    let mut rig = Rig::on(database, EVENING, "http", profile, json!({})).await;
    // As fast as it goes.
    rig.stop().await;
    (rig.config.limits.writes_per_second, rig.config.limits.stops_per_second) = (0, 0);
    rig.running = Some(rig.another(12).await);
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_sqlite_under_load_is_whole_and_goes_on() {
    let rig = rig(None).await;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (rig.config.database.clone(), folder.path().join("copy.db"));
    let copy = move || {
        let backup = || {
            let mut command = stoppress();
            command.args(["backup", "--database", &from]).arg(&to);
            command
        };
        ran(&mut backup());
        let again = backup().output().unwrap();
        let said = String::from_utf8(again.stderr).unwrap();
        assert!(!again.status.success() && said.contains("is there already"), "{said}");
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&to.metadata().unwrap()) & 0o777, 0o600);
        format!("sqlite:{}", to.display())
    };
    drill(rig, copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_postgresql_under_load_is_whole_and_goes_on() {
    let database = postgres::database().await;
    let rig = rig(Some(&database.url)).await;
    let folder = tempfile::tempdir().unwrap();
    let (url, dump) = (database.url.clone(), folder.path().join("copy.dump"));
    let refused = stoppress().args(["backup", "--database", &url, "copy.db"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("pg_dump --format=custom"));
    let copy = move || {
        let programs = postgres::programs().unwrap();
        let run = |program: &str, args: &[&str]| ran(Command::new(programs.join(program)).args(args));
        let file = dump.to_str().unwrap();
        run("pg_dump", &["--format=custom", "--file", file, &url]);
        let (server, name) = (url.split('/').nth(3).unwrap().split('?').next().unwrap(), "restored");
        let elsewhere = url.replacen(server, name, 1);
        run("psql", &["--quiet", "--command", "create database restored", &url]);
        run("pg_restore", &["--exit-on-error", "--dbname", &elsewhere, file]);
        elsewhere
    };
    drill(rig, copy).await;
}

#[test]
fn what_cannot_be_copied_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = |database: &Path, to: &Path| {
        let url = format!("sqlite:{}", database.display());
        let output = stoppress().args(["backup", "--database", &url]).arg(to).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let (none, text) = (folder.path().join("none.db"), folder.path().join("text.db"));
    std::fs::write(&text, "this is no database, but a text that is long enough to be taken for one").unwrap();
    assert!(said(&none, &folder.path().join("a.db")).contains("there is no database"));
    let to = folder.path().join("b.db");
    assert!(said(&text, &to).contains("cannot copy"));
    assert!(!to.exists(), "nothing half done is left");
    assert!(said(&text, &folder.path().join("nowhere").join("c.db")).contains("cannot write"));
}
