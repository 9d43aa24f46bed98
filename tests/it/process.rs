//! The real process: killed at any moment it loses nothing that it acknowledged, and it refuses to share
//! its file.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use stoppress::lab::outbound::{Outbound, Request};

/// A daemon on a file in a folder.
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

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
    command.current_dir(folder).env_clear().env("STOPPRESS_LOG", "error");
    command.args(["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:gateway.db"]);
    command
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        let mut child = command(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the first line").unwrap();
        let url = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        // The key follows at once, on the first start only.
        let marker = folder.join("started");
        let ops = if marker.exists() {
            None
        } else {
            std::fs::write(&marker, "").unwrap();
            lines
                .map_while(Result::ok)
                .map(|line| line.trim().to_owned())
                .find(|line| line.starts_with("sp_"))
        };
        Self { child, url, ops }
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn call(client: &Outbound, url: &str, key: &str, method: Method, body: &Value) -> Option<(u16, Value)> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let request = Request {
        method,
        url: url.parse().unwrap(),
        headers,
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        timeout: Duration::from_secs(10),
        body_max: 1 << 20,
    };
    let response = client.call(request).await.ok()?;
    Some((response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null)))
}

async fn set_up(client: &Outbound, daemon: &Daemon) -> String {
    let ops = daemon.ops.clone().expect("the first start prints a key");
    let url = &daemon.url;
    let acme = json!({"id": "acme", "name": "Acme"});
    call(client, &format!("{url}/v1/platforms/acme"), &ops, Method::PUT, &acme).await.unwrap();
    let lab = json!({"id": "far", "name": "Far", "driver": {"kind": "http", "base_url": "https://lab.example"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    assert_eq!(call(client, &format!("{url}/v1/labs/far"), &ops, Method::PUT, &lab).await.unwrap().0, 201);
    let key = json!({"scope": "platform", "owner": "acme", "name": "test"});
    let (_, made) = call(client, &format!("{url}/v1/keys"), &ops, Method::POST, &key).await.unwrap();
    made["secret"].as_str().unwrap().to_owned()
}

fn order(reference: &str) -> Value {
    json!({"reference": reference, "lab": "far",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "p", "quantity": 1}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let client = Outbound::trusted().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let key = set_up(&client, &daemon).await;
    let (mut acknowledged, mut stopped) = (Vec::new(), Vec::new());
    for round in 0..4_u64 {
        let over = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicUsize::new(0));
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..8 {
            let (client, url, key, over) =
                (client.clone(), daemon.url.clone(), key.clone(), Arc::clone(&over));
            let taken = Arc::clone(&taken);
            callers.spawn(async move {
                let (mut kept, mut ended) = (Vec::new(), Vec::new());
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let reference = format!("R{round}-{caller}-{n}");
                    let Some((201, answer)) =
                        call(&client, &format!("{url}/v1/orders"), &key, Method::POST, &order(&reference))
                            .await
                    else {
                        continue;
                    };
                    taken.fetch_add(1, Ordering::Relaxed);
                    let id = answer["id"].as_str().unwrap().to_owned();
                    if n % 3 == 0
                        && let Some((200, answer)) = call(
                            &client,
                            &format!("{url}/v1/orders/{id}/stop"),
                            &key,
                            Method::POST,
                            &json!({"asked_by": "merchant"}),
                        )
                        .await
                    {
                        assert_eq!(answer["stop"]["state"], "stopped");
                        ended.push(id.clone());
                    }
                    kept.push((id, reference));
                }
                (kept, ended)
            });
        }
        // Somewhere in the middle of the load, at another place each round, however slow the machine is.
        crate::lab_support::eventually("the load is real", || taken.load(Ordering::Relaxed) > 15).await;
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(10 + 17 * round)).await;
        daemon.kill();
        over.store(true, Ordering::Relaxed);
        while let Some(done) = callers.join_next().await {
            let (kept, ended) = done.unwrap();
            acknowledged.extend(kept);
            stopped.extend(ended);
        }
        daemon = Daemon::start(folder.path());
    }
    assert!(acknowledged.len() > 50, "the load was real: {}", acknowledged.len());
    let url = &daemon.url;
    for (id, reference) in &acknowledged {
        let mut answer =
            call(&client, &format!("{url}/v1/orders/@{reference}"), &key, Method::GET, &Value::Null)
                .await
                .unwrap();
        while answer.0 == 429 {
            tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(50)).await;
            answer = call(&client, &format!("{url}/v1/orders/@{reference}"), &key, Method::GET, &Value::Null)
                .await
                .unwrap();
        }
        assert_eq!(
            (answer.0, answer.1["id"].as_str()),
            (200, Some(id.as_str())),
            "{reference} was acknowledged"
        );
        let state = answer.1["state"].as_str().unwrap();
        if stopped.contains(id) {
            assert_eq!(state, "stopped", "{reference}: told so");
        } else {
            // A stop whose answer the kill swallowed may have been granted or not: both are true to their caller.
            assert!(["in_batch", "stopped"].contains(&state), "{reference}: {state}");
        }
    }
    // A repeat after all of that is still the same order.
    let (id, reference) = &acknowledged[0];
    let (status, answer) =
        call(&client, &format!("{url}/v1/orders"), &key, Method::POST, &order(reference)).await.unwrap();
    assert_eq!((status, answer["id"].as_str()), (200, Some(id.as_str())));
}

#[test]
fn a_second_process_on_the_same_file_is_refused_and_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = Daemon::start(folder.path());
    let second = command(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("process {}", first.child.id())), "{text}");
    assert!(text.contains("gateway.db"), "{text}");
}

#[test]
fn bad_settings_name_the_key() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("listn = \"127.0.0.1:0\"\n", "did you mean `listen`?"),
        ("[zones]\ndir = \"/does/not/exist\"\n", "zones.dir"),
        ("database = \"mysql://x\"\n", "database: \"mysql://…\" is not a URL that begins with sqlite:"),
        ("[outbound]\nallow = [\"everything\"]\n", "outbound.allow[0]"),
    ] {
        std::fs::write(folder.path().join("bad.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
        let output = command
            .current_dir(folder.path())
            .env_clear()
            .args(["serve", "--config", "bad.toml"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(expected), "{text} gave: {told}");
    }
}
