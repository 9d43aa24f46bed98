//! Canaries: texts that are nowhere else, as the secrets and the addresses of a bad day. A real gateway logs all that it
//! and its libraries ever log; the lab refuses, the endpoint fails, mail fails, requests are wrong; and each canary is
//! looked for in the log, in metrics, in events, in webhooks, in mails, in pages, in the answers to others.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::pages_secrets::{Caller, kept};
use crate::sink::{Manner, Sink};

/// What customers say of themselves. One is in requests that are wrong, and the last is where they moved to.
const PEOPLE: [&str; 11] = [
    "Kanarie Vogelsang",
    "Zwitscherweg 4711",
    "kanarie@vogelsang.example",
    "+49 555 0471100",
    "Pieps Rechnung",
    "customer-kanarie@post.example",
    "metadata-kanarie",
    "For-kanarie-with-love",
    "kanarie-photo.example",
    "Falsche-Kanarie 12",
    "Umzugskanarie 0815",
];
const LAB_SECRET: &str = "whsec_a2FuYXJpZS1pbi10aGUtbGFiLXNlY3JldC0hIQ==";
const HOOK_SECRET: &str = "whsec_a2FuYXJpZS1pbi10aGUtaG9vay1zZWNyZXQtIQ==";

/// Somebody outside who keeps every byte that comes: a lab and an endpoint at once.
#[derive(Clone, Default)]
struct Outside {
    heard: Arc<Mutex<Vec<String>>>,
}

impl Outside {
    /// Where it listens. It answers each path with the status that is said for it; else it hangs up.
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let it = Self::default();
        let server = it.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = Arc::clone(&server.heard);
                tokio::spawn(async move {
                    let mut all = Vec::new();
                    let mut some = [0; 16 * 1024];
                    while let Ok(count @ 1..) = stream.read(&mut some).await {
                        all.extend_from_slice(&some[..count]);
                        let text = String::from_utf8_lossy(&all).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length =
                            head.to_lowercase().split_once("content-length: ").map_or(0, |(_, rest)| {
                                rest.split("\r\n").next().unwrap_or_default().trim().parse().unwrap_or(0)
                            });
                        if body.len() < length {
                            continue;
                        }
                        let status = match () {
                            () if head.contains("/takes/") => "200 Yes",
                            () if head.contains("/refuses/") => "422 No",
                            () if head.contains("/fails/") => "500 Oh",
                            () => "503 Later",
                        };
                        heard.lock().unwrap().push(text);
                        let answer = r#"{"reason": "not today"}"#;
                        let answer = format!(
                            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                            answer.len()
                        );
                        let _ = stream.write_all(answer.as_bytes()).await;
                        break;
                    }
                });
            }
        });
        (it, url)
    }

    fn about(&self, path: &str) -> String {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|text| text.split("\r\n").next().unwrap().contains(path)).cloned().collect()
    }
}

/// The gateway, as a process of its own.
struct Gateway {
    child: Child,
    caller: Caller,
    ops: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    async fn send(
        &self,
        method: Method,
        path: &str,
        with: &[(&'static str, &str)],
        body: String,
    ) -> (u16, String, String) {
        let (status, headers, text) = self.caller.send(method, path, with, body).await;
        (status, kept(&headers), text)
    }

    async fn api(&self, method: Method, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.say(method, path, key, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn say(&self, method: Method, path: &str, key: &str, body: String) -> (u16, String) {
        let bearer = format!("Bearer {key}");
        let with = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let (status, _, text) = self.send(method, path, &with, body).await;
        (status, text)
    }

    #[track_caller]
    fn good((status, value): (u16, Value)) -> Value {
        assert!(status < 300, "{status} {value}");
        value
    }

    async fn stop(&self, order: &str, key: &str) {
        let stop = json!({"reason": "changed my mind", "asked_by": "support"});
        Self::good(self.api(Method::POST, &format!("/v1/orders/{order}/stop"), key, &stop).await);
    }

    /// Waits until the log of an order has one of these.
    async fn until(&self, order: &str, ends: &[&str]) {
        let mut log = String::new();
        for _ in 0..200 {
            let path = format!("/v1/orders/{order}/changelog");
            log = self.api(Method::GET, &path, &self.ops, &Value::Null).await.1.to_string();
            if ends.iter().any(|end| log.contains(&format!("\"{end}\""))) {
                return;
            }
            HostClock.sleep_until(HostClock.now() + jiff::SignedDuration::from_millis(100)).await;
        }
        panic!("nothing comes of {order}: {log}");
    }
}

fn order(reference: &str, lab: &str) -> Value {
    json!({
        "reference": reference, "lab": lab, "transfer": "direct",
        "ship_to": {"name": PEOPLE[0], "line1": PEOPLE[1], "city": "Kiel", "country": "DE", "email": PEOPLE[2], "phone": PEOPLE[3]},
        "bill_to": {"name": PEOPLE[4], "line1": "x", "city": "Kiel", "country": "DE"},
        "customer": {"email": PEOPLE[5], "language": "de"},
        "metadata": {"note": PEOPLE[6]},
        "items": [{"id": "1", "sku": "mug", "quantity": 1, "options": {"text": PEOPLE[7]},
            "files": [{"url": format!("https://{}/1.jpg", PEOPLE[8])}]}],
    })
}

fn lab(id: &str, driver: &Value, profile: &Value) -> Value {
    json!({
        "id": id, "name": id, "driver": driver, "profile": profile,
        "policy": {"grace": "0s", "contact": {"email": "desk@lab.example"}},
        "regions": [{"id": "de", "calendar": {"time_zone": "Europe/Berlin", "cutoffs": ["24:00"]}}],
    })
}

fn start(folder: &std::path::Path, sink: &Sink) -> Gateway {
    let mail = sink.config();
    let config = format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"sqlite:gateway.db\"\n[outbound]\nallow = [\"127.0.0.0/8\"]\n[mail]\n\
        server = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"stops@gateway.example\"\n\
        public_url = \"https://gateway.example\"\n",
        mail.port.unwrap()
    );
    std::fs::write(folder.join("stoppress.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
    // Everything of ours, and what libraries say to whoever looks for a fault.
    command
        .current_dir(folder)
        .env_clear()
        .env("STOPPRESS_LOG", "debug,stoppress=trace")
        .env("LAB_SECRET", LAB_SECRET);
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut child = command.arg("serve").stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().expect("the first line");
    let url = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let ops = lines.find(|line| line.trim().starts_with("sp_")).unwrap().trim().to_owned();
    Gateway { child, caller: Caller::of(url), ops }
}

/// Fails if a canary is where it does not belong.
#[track_caller]
fn clean(place: &str, text: &str, canaries: &[(&str, String)]) {
    for (what, canary) in canaries {
        if let Some(at) = text.find(canary.as_str()) {
            let from = text[..at].char_indices().rev().nth(200).map_or(0, |(at, _)| at);
            let until = text[at..].char_indices().nth(200).map_or(text.len(), |(more, _)| at + more);
            panic!("{what} is in {place}: …{}…", &text[from..until]);
        }
    }
}

fn secret(key: &str) -> String {
    key.rsplit('_').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_canary_is_where_it_does_not_belong() {
    let folder = tempfile::tempdir().unwrap();
    let (outside, away) = Outside::start().await;
    let sink = Sink::start().await;
    let it = start(folder.path(), &sink);
    let ops = it.ops.clone();
    let mut secrets = vec![("a key of ops", secret(&ops))];
    let people: Vec<(&str, String)> =
        PEOPLE.iter().map(|text| ("a customer's", (*text).to_owned())).collect();

    // Two platforms, labs that refuse, fail and are people, an endpoint that fails.
    for platform in ["acme", "rival"] {
        let spec = json!({"id": platform, "name": platform, "policy": {"customer_stops": "on"}});
        Gateway::good(it.api(Method::PUT, &format!("/v1/platforms/{platform}"), &ops, &spec).await);
    }
    let good = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    for (id, path) in [("refuses", "refuses/lab"), ("fails", "fails/lab")] {
        let driver =
            json!({"kind": "http", "base_url": format!("{away}/{path}"), "secret": {"env": "LAB_SECRET"}});
        let path = format!("/v1/labs/{id}");
        Gateway::good(it.api(Method::PUT, &path, &ops, &lab(id, &driver, &good)).await);
    }
    let driver = json!({"kind": "http", "base_url": format!("{away}/takes/lab")});
    let answers = json!({"dedupes": "forever", "stops": "no", "channel": "person", "answers_within": "40m",
        "address_changes": "until_shipped"});
    Gateway::good(it.api(Method::PUT, "/v1/labs/takes", &ops, &lab("takes", &driver, &answers)).await);
    let person = lab("people", &json!({"kind": "person"}), &json!({"stops": "yes", "channel": "person"}));
    Gateway::good(it.api(Method::PUT, "/v1/labs/people", &ops, &person).await);
    let mut keys = Vec::new();
    for (scope, owner) in [("platform", "acme"), ("platform", "rival"), ("lab", "refuses")] {
        let ask = json!({"scope": scope, "owner": owner, "name": "canary"});
        let key = Gateway::good(it.api(Method::POST, "/v1/keys", &ops, &ask).await)["secret"]
            .as_str()
            .unwrap()
            .to_owned();
        secrets.push(("a key", secret(&key)));
        keys.push(key);
    }
    let (acme, rival, desk) = (keys[0].as_str(), keys[1].as_str(), keys[2].as_str());
    let hook = json!({"url": format!("{away}/hook"), "secret": HOOK_SECRET});
    let hook = Gateway::good(it.api(Method::POST, "/v1/webhooks", acme, &hook).await);
    let callback = Gateway::good(
        it.api(
            Method::PUT,
            "/v1/platforms/acme/downloads",
            acme,
            &json!({"url": format!("{away}/fails/downloads")}),
        )
        .await,
    );
    for made in [&hook["secret"], &callback["secret"]] {
        secrets.extend(made.as_str().map(|made| ("a secret that signs", made["whsec_".len()..].to_owned())));
    }
    secrets.push(("the lab's secret", LAB_SECRET["whsec_".len()..].to_owned()));
    secrets.push(("the endpoint's secret", HOOK_SECRET["whsec_".len()..].to_owned()));

    // A second factor, and somebody who has signed in.
    let id = ops.split('_').nth(1).unwrap().to_owned();
    let lab_id = desk.split('_').nth(1).unwrap();
    let factor = format!("/v1/keys/{lab_id}/second-factor");
    let made = Gateway::good(it.api(Method::POST, &factor, desk, &json!({})).await);
    secrets.push(("a second factor", made["secret"].as_str().unwrap().to_owned()));
    assert_eq!(
        it.api(Method::POST, &format!("{factor}/confirm"), desk, &json!({"code": "000000x"})).await.0,
        422
    );
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "localhost"),
        ("sec-fetch-site", "same-origin"),
    ];
    let (_, session, _) = it.send(Method::POST, "/sign-in", &form, format!("key={ops}&next=/")).await;
    secrets.push(("a session", session.split_once('=').unwrap().1.to_owned()));
    let link = Gateway::good(it.api(Method::POST, &format!("/v1/keys/{id}/links"), &ops, &json!({})).await);
    secrets.push(("a sign-in link", link["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()));

    // The day: hand-overs that are refused, fail, and go to people; stops of them.
    let mut orders = Vec::new();
    for (reference, lab) in [
        ("C-refuses", "refuses"),
        ("C-fails", "fails"),
        ("C-people", "people"),
        ("C-1", "takes"),
        ("C-2", "takes"),
    ] {
        let made = it.api(Method::POST, "/v1/orders", acme, &order(reference, lab)).await;
        orders.push(Gateway::good(made)["id"].as_str().unwrap().to_owned());
    }
    for order in &orders[..3] {
        let ends = ["transfer.answer", "transfer.closed", "transfer.unknown", "transfer.with_a_person"];
        it.until(order, &ends).await;
        it.stop(order, acme).await;
    }
    // Mail about a stop that comes, and one that does not.
    for (order, manner, end) in
        [(&orders[3], Manner::Takes, "stop.mailed"), (&orders[4], Manner::Refuses, "stop.mail_failed")]
    {
        it.until(order, &["transfer.at_lab"]).await;
        // The lab is asked for another address, and does not decide.
        let to = json!({"name": PEOPLE[0], "line1": PEOPLE[10], "city": "Kiel", "country": "DE"});
        let moved =
            it.api(Method::PATCH, &format!("/v1/orders/{order}"), acme, &json!({"ship_to": to})).await;
        assert_eq!(moved.0, 202, "{}", moved.1);
        it.until(order, &["address.answer"]).await;
        sink.behaves(manner);
        it.stop(order, acme).await;
        it.until(order, &[end]).await;
    }
    assert!(!sink.mails().is_empty(), "mail came");
    let made = it
        .api(Method::POST, &format!("/v1/orders/{}/links", orders[1]), acme, &json!({"action": "see"}))
        .await;
    let link: url::Url = Gateway::good(made)["url"].as_str().unwrap().parse().unwrap();
    let token = link.path().rsplit('/').next().unwrap().to_owned();
    secrets.push(("a customer's link", token));
    let (_, cookie, _) = it.send(Method::GET, link.path(), &[("host", "localhost")], String::new()).await;
    let of = cookie.split_once('=').unwrap().0.rsplit('-').next().unwrap().to_owned();
    let with = [("host", "localhost"), ("cookie", cookie.as_str())];
    let customer = it.send(Method::GET, &format!("/c?of={of}"), &with, String::new()).await;
    assert_eq!(customer.0, 200, "{}", customer.2);

    // Requests that are wrong, with what customers typed in them.
    let wrong = PEOPLE[9];
    let mut texts = Vec::new();
    let mut bad = order("C-bad", "refuses");
    bad["ship_to"]["line1"] = json!(format!("{wrong}\n"));
    bad["items"] = json!([]);
    for body in [
        bad.to_string(),
        format!("{{\"reference\": \"{wrong}"),
        format!("[\"{wrong}\"]"),
        format!("{{\"{wrong}\": 1}}"),
    ] {
        let (status, text) = it.say(Method::POST, "/v1/orders", acme, body.clone()).await;
        assert!((400..500).contains(&status), "{status} {text}");
        texts.push(text);
        let (status, text) = it.say(Method::PATCH, &format!("/v1/orders/{}", orders[0]), rival, body).await;
        assert!((400..500).contains(&status), "{status} {text}");
        texts.push(text);
    }
    for path in [
        "/v1/orders/@Falsche-Kanarie%2012",
        "/v1/orders?reference=Falsche-Kanarie%2012",
        "/nothing/Falsche-Kanarie%2012",
    ] {
        it.say(Method::GET, path, rival, String::new()).await;
    }
    let made_up = format!("sp_abcdefghijkm_{}", "c4".repeat(32));
    secrets.push(("a key that is wrong", "c4".repeat(32)));
    assert_eq!(it.say(Method::GET, "/v1/orders", &made_up, String::new()).await.0, 401);

    // What is told outside. The lab has to know where the parcel goes, and nothing else may know it.
    let at_labs = outside.about("/lab");
    assert!(at_labs.contains(PEOPLE[0]) && at_labs.contains(PEOPLE[1]), "the labs were asked: {at_labs}");
    clean("a call to a lab", &at_labs, &secrets);
    let hooks = outside.about("/hook");
    assert!(hooks.contains("C-refuses"), "the endpoint was told: {hooks}");
    clean("a webhook", &hooks, &secrets);
    clean("a webhook", &hooks, &people);
    for mail in sink.mails() {
        let text = format!("{}\n{}", mail.head, mail.text);
        clean("a mail", &text, &people);
        clean("a mail", &text, &secrets);
    }

    // What is read: by ops, by the lab, by another platform, by everybody, and what a customer sees.
    let cookie = [("host", "localhost"), ("cookie", session.as_str())];
    let mut places = Vec::new();
    let mut pages: Vec<String> = [
        "/",
        "/ops/cutoffs",
        "/ops/stops",
        "/ops/escalations",
        "/ops/webhooks",
        "/ops/search?q=C-refuses",
        "/ops/labs/refuses",
        "/lab?lab=people",
    ]
    .map(str::to_owned)
    .to_vec();
    pages.push(format!("/ops/webhooks/{}", hook["id"].as_str().unwrap()));
    pages.extend(
        orders.iter().flat_map(|order| [format!("/ops/orders/{order}"), format!("/ops/orders/{order}/stop")]),
    );
    for page in pages {
        let (status, _, text) = it.send(Method::GET, &page, &cookie, String::new()).await;
        assert!(status < 400, "{page}: {status} {text}");
        places.push((page, text));
    }
    let hook = hook["id"].as_str().unwrap();
    let mut reads: Vec<(String, &str)> = [
        "/v1/events?limit=200",
        "/v1/escalations",
        "/v1/stops",
        "/v1/board",
        "/v1/keys",
        "/v1/labs",
        "/v1/platforms",
        "/v1/batches",
        "/v1/webhooks",
        "/metrics",
        "/readyz",
        "/openapi.json",
    ]
    .map(|path| (path.to_owned(), ops.as_str()))
    .to_vec();
    reads.push((format!("/v1/webhooks/{hook}/deliveries"), acme));
    reads.push(("/v1/lab/stops".to_owned(), desk));
    reads.push(("/v1/lab/batches".to_owned(), desk));
    for order in &orders {
        for what in ["changelog", "verdict", "evidence", "route", "stop"] {
            reads.push((format!("/v1/orders/{order}/{what}"), acme));
        }
    }
    for (path, key) in reads {
        let (status, text) = it.say(Method::GET, &path, key, String::new()).await;
        assert_eq!(status, 200, "{path}: {text}");
        places.push((path, text));
    }
    places.push(("the customer's page".to_owned(), customer.2));
    for (place, text) in &places {
        clean(place, text, &secrets);
        // A bundle of evidence is for whoever has to prove what was ordered: it has the order.
        if !place.ends_with("/evidence") {
            clean(place, text, &people);
        }
    }
    for text in &texts {
        clean("an answer to a wrong request", text, &secrets);
        clean("an answer to a wrong request", text, &people[..9]);
    }
    let (_, read) = it.say(Method::GET, &format!("/v1/orders/{}", orders[0]), acme, String::new()).await;
    assert!(read.contains(PEOPLE[0]), "whose order it is reads it whole");

    // What is left behind: the log, and of keys not even the file of the database has more than a hash.
    let keys: Vec<_> = secrets
        .iter()
        .filter(|(what, _)| what.contains("key") || what.contains("session"))
        .cloned()
        .collect();
    drop(it);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains(" DEBUG ") && log.contains("stoppress"), "it is in the log");
    clean("the log", &log, &secrets);
    clean("the log", &log, &people);
    for name in ["gateway.db", "gateway.db-wal"] {
        let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
        clean(name, &String::from_utf8_lossy(&bytes), &keys);
    }
}
