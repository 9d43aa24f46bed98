//! The commands, against a gateway that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use secrecy::ExposeSecret as _;
use stoppress::app::{self, Ambient, Running};
use stoppress::config::Config;
use tempfile::TempDir;

/// A gateway in a folder of its own, and the commands that speak to it.
struct Bench {
    folder: TempDir,
    running: Running,
    ops: String,
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            database: format!("sqlite:{}", folder.path().join("gateway.db").display()),
            ..Config::default()
        };
        let running = app::start(&config, Ambient { chores: false, ..Ambient::host() }).await.unwrap();
        let ops = running.ops_key.as_ref().unwrap().expose_secret().to_owned();
        Self { folder, running, ops }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command with a key; gives its exit code, what it printed and what it said.
    async fn run(&self, key: &str, args: &[&str]) -> (i32, String, String) {
        let mut command = program(self.folder.path());
        command.env("STOPPRESS_SERVER", self.running.url()).env("STOPPRESS_KEY", key).args(args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        told(&output)
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
    for name in ["STOPPRESS_SERVER", "STOPPRESS_KEY", "STOPPRESS_CONFIG", "STOPPRESS_DATABASE"] {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

pub(crate) fn alone(folder: &Path, args: &[&str]) -> (i32, String, String) {
    told(&program(folder).args(args).output().unwrap())
}

const LABS: &str = r#"
[[labs]]
id = "corner"
name = "Corner"
driver = { kind = "person" }
[[labs.regions]]
id = "fi"
calendar = { time_zone = "Europe/Helsinki", cutoffs = ["24:00"] }
"#;

fn order(reference: &str, quantity: u32) -> String {
    let address = r#"{"name":"A","line1":"B 1","city":"C","country":"FI"}"#;
    format!(
        r#"{{"reference":"{reference}","lab":"corner","ship_to":{address},"items":[{{"id":"1","sku":"p","quantity":{quantity}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_lab_to_a_stop() {
    let bench = Bench::start().await;
    let labs = bench.file("labs.toml", LABS);
    let (code, out, err) = bench.run(&bench.ops, &["labs", "import", labs.to_str().unwrap()]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("corner  new"), "{out}");
    let (_, out, _) = bench.run(&bench.ops, &["labs", "list", "--format", "json"]).await;
    let lab: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&lab["id"], &lab["driver"]["kind"]), (&"corner".into(), &"person".into()));

    let unknown = ["keys", "create", "--scope", "platform:shop", "--name", "till"];
    let (code, out, err) = bench.run(&bench.ops, &unknown).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("\n  owner: \"shop\" is not a known platform\n"), "{err}");

    let key = bench.file("ops.key", &format!("{}\n", bench.ops));
    let of_lab =
        ["keys", "create", "--scope", "lab:corner", "--name", "desk", "--key-file", key.to_str().unwrap()];
    let (code, secret, err) = bench.run("sp_wrong", &of_lab).await;
    assert_eq!(code, 0, "{err}");
    assert!(secret.starts_with("sp_") && secret.lines().count() == 1, "only the key is printed");
    assert!(!err.contains(secret.trim()), "the key is printed once");

    let lines = [order("A-1", 1), String::new(), order("A-2", 0), "{".to_owned(), order("A-3", 3)];
    let file = bench.file("orders.ndjson", &lines.join("\n"));
    let import = ["orders", "import", file.to_str().unwrap(), "--platform", "shop"];
    let (code, _, err) = bench.run(&bench.ops, &import).await;
    assert_eq!(code, 1);
    assert!(err.contains("platform: \"shop\" is not a known platform"), "{err}");
    put_platform(&bench).await;
    let (code, out, err) = bench.run(&bench.ops, &import).await;
    assert_eq!(code, 1);
    assert!(out.contains("line 3: A-2: items[0].quantity: 0 is not"), "{out}");
    assert!(out.contains("line 4: ") && out.lines().count() == 2, "{out}");
    assert_eq!(err, "5 lines: 2 new, 0 known before, 2 refused.\n");
    let (_, out, err) = bench.run(&bench.ops, &[&import[..], &["--format", "json"]].concat()).await;
    assert!(err.contains("0 new, 2 known before"), "{err}");
    let numbers: Vec<u64> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 3, 4, 5]);

    let (_, shop, _) = bench.run(&bench.ops, &unknown).await;
    let shop = shop.trim();
    let (_, out, _) = bench.run(shop, &["orders", "list", "--state", "in_batch", "--limit", "1"]).await;
    assert_eq!(out.lines().count(), 2, "{out}");
    let (code, out, _) = bench.run(shop, &["verdict", "@A-1"]).await;
    assert_eq!(code, 0);
    assert!(out.starts_with("Yes, it can be stopped") && out.contains("in_open_batch"), "{out}");
    let stop = ["stop", "@A-1", "--reason", "wrong size", "--asked-by", "merchant", "--wait", "5s"];
    let (code, out, err) = bench.run(shop, &stop).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("Stopped: it will not be printed.") && out.contains("never_handed"), "{out}");
    let (_, out, _) = bench.run(shop, &["orders", "show", "@A-1"]).await;
    assert!(out.contains("state:       stopped"), "{out}");
    let (_, out, _) = bench.run(shop, &["orders", "show", "@A-1", "--changelog"]).await;
    assert!(out.contains("order.admitted") && out.contains("stop.stopped"), "{out}");
    let (code, out, err) = bench.run(shop, &["verdict", "@A-9"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("stoppress: There is no such object (404 not_found)\n  "), "{err}");

    let (_, out, _) = bench.run(&bench.ops, &["keys", "list", "--format", "json"]).await;
    assert!(!out.contains("secret") && !out.contains("hash"), "{out}");
    let id = secret.split('_').nth(1).unwrap();
    a_link_signs_somebody_in(&bench, id, secret.trim()).await;
    let (code, _, err) = bench.run(&bench.ops, &["keys", "revoke", id]).await;
    assert_eq!((code, err), (0, format!("Key {id} is revoked.\n")));
    let (code, _, err) = bench.run(secret.trim(), &["labs", "list"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("401 unauthenticated"), "{err}");

    let database = format!("sqlite:{}", bench.folder.path().join("gateway.db").display());
    let (code, out, _) = bench.run("", &["doctor", "--database", &database, "--labs"]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("held by process") && out.contains("lab corner"), "{out}");
    let (code, _, err) = bench.run("", &["keys", "list", "--database", &database]).await;
    assert_eq!(code, 1);
    assert!(err.contains("is held by process"), "{err}");
    bench.running.stop().await;

    // Nobody runs any more: the database itself gives a new key, and vouches for its log.
    let lost = ["keys", "create", "--scope", "ops", "--name", "lost", "--database", &database];
    let (code, secret, err) = alone(bench.folder.path(), &lost);
    assert_eq!(code, 0, "{err}");
    assert!(secret.starts_with("sp_"));
    let (code, out, _) = alone(bench.folder.path(), &["doctor", "--database", &database, "--verify-events"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("no gateway works with it") && out.contains("checkpoints agree"), "{out}");
}

/// The link stands alone on the output, and is the page that signs in; only ops make one, and only for a key there is.
async fn a_link_signs_somebody_in(bench: &Bench, id: &str, secret: &str) {
    let (code, out, err) = bench.run(&bench.ops, &["keys", "link", id]).await;
    assert_eq!(code, 0, "{err}");
    let begin = format!("{}/sign-in/", bench.running.url());
    assert!(out.starts_with(&begin) && out.ends_with('\n') && out.lines().count() == 1, "{out}");
    let token = out.trim().strip_prefix(&begin).unwrap();
    assert!(err.starts_with("It works once, until 20") && err.lines().count() == 1, "{err}");
    assert!(!err.contains(token) && !out.contains(secret) && !out.contains(&bench.ops), "{err}");
    let (status, page) = page(bench, &format!("/sign-in/{token}")).await;
    assert!(status == 200 && page.contains("desk") && page.contains("/sign-in/link"), "{status} {page}");
    for (key, id, says) in [
        (bench.ops.as_str(), "nobody", "404 not_found"),
        (secret, id, "403 forbidden"),
        ("sp_no", id, "401 unauth"),
    ] {
        let (code, out, err) = bench.run(key, &["keys", "link", id]).await;
        assert!((code, out.as_str()) == (1, "") && err.contains(says), "{says}: {code} {out} {err}");
    }
}

/// What a browser gets at a path.
async fn page(bench: &Bench, path: &str) -> (u16, String) {
    use stoppress::lab::outbound::{Outbound, Request};
    let request = Request {
        method: hyper::Method::GET,
        url: format!("{}{path}", bench.running.url()).parse().unwrap(),
        headers: hyper::HeaderMap::new(),
        body: Vec::new(),
        timeout: std::time::Duration::from_secs(20),
        body_max: 1 << 20,
    };
    let answer = Outbound::trusted().unwrap().call(request).await.unwrap();
    (answer.status, String::from_utf8(answer.body).unwrap())
}

async fn put_platform(bench: &Bench) {
    use stoppress::domain::event::Actor;
    use stoppress::domain::ids::PlatformId;
    use stoppress::store::{PutPlatform, Write, one};
    let put = PutPlatform {
        id: PlatformId::parse("shop").unwrap(),
        spec: r#"{"id":"shop","name":"Shop"}"#.to_owned(),
        at: bench.running.bench.clock.now(),
        actor: Actor::gateway(),
    };
    one(&*bench.running.bench.store, Write::PutPlatform(Box::new(put))).await.unwrap();
    // The gateway reads platforms again by itself, every five seconds.
    let until = bench.running.bench.clock.now() + jiff::SignedDuration::from_secs(6);
    bench.running.bench.clock.sleep_until(until).await;
}

#[test]
fn without_a_gateway_commands_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = alone(folder.path(), &["labs", "list"]);
    assert_eq!(code, 2);
    assert!(err.starts_with("stoppress: --key-file: is missing"), "{err}");
    fs::write(folder.path().join("key"), "sp_a_b").unwrap();
    let nobody = ["labs", "list", "--key-file", "key", "--server", "http://127.0.0.1:1"];
    let (code, _, err) = alone(folder.path(), &nobody);
    assert_eq!(code, 1);
    assert!(
        err.contains("no gateway answers at http://127.0.0.1:1: ") && err.contains("stoppress serve"),
        "{err}"
    );
    let (code, _, err) = alone(folder.path(), &["keys", "list", "--database", "sqlite:none.db"]);
    assert_eq!(code, 1);
    assert!(err.contains("there is no database none.db"), "{err}");
    assert!(!folder.path().join("none.db").exists());
    let (code, out, _) = alone(folder.path(), &["doctor"]);
    assert_eq!(code, 1);
    assert!(out.contains("FAILED   database"), "{out}");
}

#[test]
fn a_file_of_labs_is_checked_whole() {
    let folder = tempfile::tempdir().unwrap();
    let twice = LABS.replace("Europe/Helsinki", "Europe/Helsinky").replace("person", "persn");
    let text = format!("{LABS}{twice}\n[labs.profile]\nlookup = \"yes\"\nstopps = \"yes\"\n");
    fs::write(folder.path().join("labs.toml"), text).unwrap();
    let (code, out, err) = alone(folder.path(), &["labs", "check", "labs.toml"]);
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err, @r###"
    stoppress: labs[1].driver.kind: "persn" is not a driver; the drivers are http, grpc, link, person; did you mean "person"?
    labs[1].profile.lookup: invalid type: string "yes", expected a boolean
    labs[1].profile.stopps: is not a known field; did you mean "stops"?
    labs[1].regions[0].calendar.time_zone: "Europe/Helsinky" is not an IANA time zone; did you mean "Europe/Helsinki"?
    labs[1].id: "corner" is not unique: labs[0] has it
    "###);
    fs::write(folder.path().join("labs.toml"), LABS).unwrap();
    let (code, out, err) = alone(folder.path(), &["labs", "check", "labs.toml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("corner  fi") && out.contains("[Europe/Helsinki]"), "{out}");
}

#[test]
fn every_command_has_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let mut left = vec![vec![]];
    let mut seen = 0;
    while let Some(command) = left.pop() {
        let help = [&command[..], &["--help".to_owned()]].concat();
        let help: Vec<&str> = help.iter().map(String::as_str).collect();
        let (code, out, _) = alone(folder.path(), &help);
        assert_eq!(code, 0, "{command:?}");
        let inner =
            out.split("\nCommands:\n").nth(1).unwrap_or_default().lines().take_while(|line| !line.is_empty());
        let names: Vec<&str> =
            inner.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
        if names.is_empty() {
            assert!(out.contains("Example"), "{command:?} shows no example:\n{out}");
            seen += 1;
        }
        left.extend(names.iter().map(|name| [&command[..], &[(*name).to_owned()]].concat()));
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn documents_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = alone(folder.path(), &["openapi"]);
    assert_eq!(code, 0);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(document["paths"]["/v1/orders"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = alone(folder.path(), &["completions", shell]);
        assert_eq!(code, 0);
        assert!(out.contains("verdict"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_told_before_anybody_is_answered() {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: format!("sqlite:{}", folder.path().join("gateway.db").display()),
        ..Config::default()
    };
    let mut early = None;
    let ambient = Ambient { chores: false, ..Ambient::host() };
    let running = app::start_telling(&config, ambient, |greeting| {
        assert!(greeting.ops_key.is_some());
        let mut stream = std::net::TcpStream::connect(greeting.addr).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err(), "it answered before it had told the key");
        early = Some(stream);
    })
    .await
    .unwrap();
    let mut answer = String::new();
    let mut stream = early.unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_given_and_taken_away() {
    let code_of = |shown: &str, at| {
        let secret: String = shown.lines().next().unwrap().split(' ').collect();
        let code = stoppress::domain::second_factor::code_at(&secret.clone().into(), at).unwrap();
        (secret, code)
    };
    let bench = Bench::start().await;
    let (clock, ops) = (bench.running.bench.clock.clone(), bench.ops.clone());
    let id = ops.split('_').nth(1).unwrap().to_owned();
    let factor = ["keys", "second-factor", id.as_str()];
    let (code, shown, err) = bench.run(&ops, &factor).await;
    assert_eq!(code, 0, "{err}");
    let (secret, first) = code_of(&shown, clock.now());
    assert!(shown.contains(&format!("otpauth://totp/Stoppress:first%20start%20%28{id}%29?secret={secret}")));
    assert!(err.contains("not in force yet") && !err.contains(&secret), "{err}");
    let with = |code: &'static str| async {
        bench.run(&ops, &[factor.as_slice(), &["--code", code]].concat()).await
    };
    let (code, _, err) = with("nope").await;
    assert!(code == 1 && err.contains("422 invalid") && err.contains("code"), "{err}");
    let (code, _, err) = bench.run(&ops, &[factor.as_slice(), &["--code", &first]].concat()).await;
    assert!(code == 0 && err.contains("is in force"), "{err}");
    let (code, _, err) = bench.run(&ops, &[factor.as_slice(), &["--remove"]].concat()).await;
    assert!(code == 1 && err.contains("another key of scope ops"), "{err}");
    let (code, out, _) = bench.run(&ops, &["keys", "list", "--format", "json"]).await;
    assert!(code == 0 && out.contains("\"second_factor_at\":\"20") && !out.contains(&secret), "{out}");
    let database = format!("sqlite:{}", bench.folder.path().join("gateway.db").display());
    bench.running.stop().await;

    // The phone is lost, and so is every other key: whoever has the database takes it away, or gives another.
    let at = ["--database", database.as_str()];
    let here = |more: &[&str]| alone(bench.folder.path(), &[factor.as_slice(), &at, more].concat());
    let (code, _, err) = here(&[]);
    assert!(code == 1 && err.contains("in force already; --remove"), "{err}");
    assert_eq!(here(&["--remove"]).0, 0);
    let (code, _, err) = here(&["--remove"]);
    assert!(code == 1 && err.contains("has no second factor"), "{err}");
    let (code, shown, _) = here(&[]);
    assert_eq!(code, 0);
    let (code, _, err) = here(&["--code", "nope"]);
    assert!(code == 2 && err.contains("--code: is not what the app shows now"), "{err}");
    assert_eq!(here(&["--code", &code_of(&shown, clock.now()).1]).0, 0);
    let (code, _, err) =
        alone(bench.folder.path(), &["keys", "second-factor", "nobody", "--database", &database]);
    assert!(code == 1 && err.contains("there is no key nobody"), "{err}");
}
