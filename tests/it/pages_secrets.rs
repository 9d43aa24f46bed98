//! What opens doors is in no log: links of customers, sign-in links, sessions, second factors, keys. A real gateway
//! logs everything that it ever logs, and what was used of it is looked for in there.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use stoppress::lab::outbound::{Outbound, Request};

/// A browser, and whatever else calls a gateway.
pub(crate) struct Caller {
    client: Outbound,
    url: String,
}

impl Caller {
    pub(crate) fn of(url: String) -> Self {
        Self { client: Outbound::trusted().unwrap(), url }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        with: &[(&'static str, &str)],
        body: String,
    ) -> (u16, HeaderMap, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in with {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let request = Request {
            method,
            url: format!("{}{path}", self.url).parse().unwrap(),
            headers,
            body: body.into_bytes(),
            timeout: Duration::from_secs(20),
            body_max: 4 << 20,
        };
        let response = self.client.call(request).await.unwrap();
        (response.status, response.headers, String::from_utf8_lossy(&response.body).into_owned())
    }

    async fn api(&self, method: Method, path: &str, key: &str, body: Value) -> Value {
        let bearer = format!("Bearer {key}");
        let with = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let (status, _, text) = self.send(method, path, &with, body.to_string()).await;
        assert!(status < 300, "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Looks at a page, with what the browser keeps; gives what it is given to keep.
    async fn page(&self, path: &str, cookie: &str) -> (u16, String, String) {
        let (status, headers, text) =
            self.send(Method::GET, path, &[("cookie", cookie), ("host", "localhost")], String::new()).await;
        (status, kept(&headers), text)
    }

    async fn form(&self, path: &str, cookie: &str, form: &[(&str, &str)]) -> (u16, String, String) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let with = [
            ("cookie", cookie),
            ("host", "localhost"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let (status, headers, text) = self.send(Method::POST, path, &with, body).await;
        (status, kept(&headers), text)
    }
}

/// The cookie of an answer, as it is sent back.
pub(crate) fn kept(headers: &HeaderMap) -> String {
    let set = headers.get("set-cookie").map(|it| it.to_str().unwrap()).unwrap_or_default();
    set.split(';').next().unwrap_or_default().to_owned()
}

fn csrf(page: &str) -> String {
    page.split_once("name=\"csrf\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opens_doors_is_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
    command.current_dir(folder.path()).env_clear().env("STOPPRESS_LOG", "trace");
    command.args(["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:gateway.db"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().expect("the first line");
    let url = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let ops = lines.find(|line| line.trim().starts_with("sp_")).unwrap().trim().to_owned();
    let it = Caller::of(url);
    let mut hidden: Vec<(&str, String)> = Vec::new();
    let secret = |key: &str| key.rsplit('_').next().unwrap().to_owned();
    hidden.push(("the first key", secret(&ops)));

    // Signing in: by the key, by a link, wrongly; and a page with its stream's address.
    let (status, session, _) = it.form("/sign-in", "", &[("key", &ops), ("next", "/")]).await;
    assert_eq!(status, 303);
    hidden.push(("a session", session.split_once('=').unwrap().1.to_owned()));
    let (status, _, page) = it.page("/", &session).await;
    assert_eq!(status, 200);
    hidden.push(("a form", csrf(&page)));
    let wrong = format!("sp_abcdefghijkm_{}", "5e".repeat(32));
    assert_eq!(it.form("/sign-in", "", &[("key", &wrong)]).await.0, 403);
    hidden.push(("a wrong key", "5e".repeat(32)));
    let id = ops.split('_').nth(1).unwrap();
    let link = it.api(Method::POST, &format!("/v1/keys/{id}/links"), &ops, json!({})).await;
    let path = link["path"].as_str().unwrap();
    let token = path.strip_prefix("/sign-in/").unwrap();
    hidden.push(("a sign-in link", token.to_owned()));
    assert_eq!(it.page(path, "").await.0, 200);
    let (status, session, _) = it.form("/sign-in/link", "", &[("token", token)]).await;
    assert_eq!(status, 303);
    hidden.push(("a session by a link", session.split_once('=').unwrap().1.to_owned()));
    assert_eq!(it.page(path, "").await.0, 404, "used");

    // A second factor, with a wrong code.
    let factor = format!("/v1/keys/{id}/second-factor");
    let made = it.api(Method::POST, &factor, &ops, json!({})).await;
    hidden.push(("a second factor", made["secret"].as_str().unwrap().to_owned()));
    let bearer = format!("Bearer {ops}");
    let with = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let code = json!({"code": "834927 no code"}).to_string();
    assert_eq!(it.send(Method::POST, &format!("{factor}/confirm"), &with, code).await.0, 422);
    hidden.push(("a code", "834927".to_owned()));

    // A customer's link, its cookie, its page, its stop.
    it.api(
        Method::PUT,
        "/v1/platforms/acme",
        &ops,
        json!({"id": "acme", "name": "Acme", "policy": {"customer_stops": "on"}}),
    )
    .await;
    let lab = json!({"id": "far", "name": "Far", "driver": {"kind": "person"},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    it.api(Method::PUT, "/v1/labs/far", &ops, lab).await;
    let key = json!({"scope": "platform", "owner": "acme", "name": "test"});
    let key = it.api(Method::POST, "/v1/keys", &ops, key).await["secret"].as_str().unwrap().to_owned();
    hidden.push(("a platform's key", secret(&key)));
    let order = json!({"reference": "A-1", "lab": "far",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "d", "quantity": 1}]});
    let order = it.api(Method::POST, "/v1/orders", &key, order).await;
    let links = format!("/v1/orders/{}/links", order["id"].as_str().unwrap());
    let link = it.api(Method::POST, &links, &key, json!({"action": "stop"})).await;
    let link: url::Url = link["url"].as_str().unwrap().parse().unwrap();
    hidden.push(("a customer's link", link.path().rsplit('/').next().unwrap().to_owned()));
    let (status, headers, _) =
        it.send(Method::GET, link.path(), &[("host", "localhost")], String::new()).await;
    assert_eq!(status, 303);
    let cookie = kept(&headers);
    hidden.push(("a customer's session", cookie.split_once('=').unwrap().1.to_owned()));
    let of = cookie.split_once('=').unwrap().0.rsplit('-').next().unwrap().to_owned();
    let (status, _, page) = it.page(&format!("/c?of={of}"), &cookie).await;
    assert_eq!(status, 200, "{page}");
    hidden.push(("a customer's form", csrf(&page)));
    let form = [("csrf", csrf(&page)), ("lang", "en".to_owned()), ("reason", "other".to_owned())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(it.form(&format!("/c/confirm?of={of}"), &cookie, &form).await.0, 200);
    assert_eq!(it.form(&format!("/c/stop?of={of}"), &cookie, &form).await.0, 303);
    // What is cut off or made up is no door, and is logged no more than others.
    assert_eq!(it.page(&format!("{}x", link.path()), "").await.0, 404);
    let calendar = it.api(Method::POST, "/v1/labs/far/regions/fi/cutoffs/links", &ops, json!({})).await;
    let calendar: url::Url = calendar["url"].as_str().unwrap().parse().unwrap();
    hidden.push(("a calendar's link", calendar.path().rsplit('/').next().unwrap().to_owned()));
    assert_eq!(it.page(calendar.path(), "").await.0, 200);

    child.kill().unwrap();
    child.wait().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("signed in by a link") && text.contains("a sign-in failed"),
        "it is in the log: {text}"
    );
    for (what, hidden) in hidden {
        assert!(hidden.len() >= 6, "{what}: {hidden:?}");
        if let Some(line) = text.lines().find(|line| line.contains(&hidden)) {
            panic!("{what} is in the log: {line}");
        }
    }
}
