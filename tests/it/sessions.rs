//! Signing in at the pages: by a key, by a link that works once; what a session may, and when it ends.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::api::{Bench, Reply};

/// A form's mark, the headers that go with it, and the status that it gets.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);

/// A browser: what it was given, and where it says it comes from.
pub(crate) struct Browser<'a> {
    bench: &'a Bench,
    pub(crate) cookie: Option<String>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        Self { bench, cookie: None }
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        form: Option<&[(&str, &str)]>,
        more: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
        if form.is_some() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("__Host-stoppress={cookie}"));
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let body = form
            .map(|pairs| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish());
        let reply = self.bench.raw(request.body(body.map_or_else(Body::empty, Body::from)).unwrap()).await;
        if let Some(cookie) = reply.headers.get("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.starts_with("__Host-stoppress="), "{cookie}");
            for holds in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
                assert!(cookie.contains(holds), "{cookie}");
            }
            let value = cookie["__Host-stoppress=".len()..].split(';').next().unwrap();
            self.cookie = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        reply
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, None, &[]).await
    }

    /// As our own page would.
    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send("POST", path, Some(form), &[("sec-fetch-site", "same-origin")]).await
    }

    pub(crate) async fn signed_in(bench: &'a Bench, key: &str) -> Self {
        let mut browser = Self::new(bench);
        let reply = browser.post("/sign-in", &[("key", key), ("next", "/lab")]).await;
        assert_eq!((reply.status.as_u16(), reply.header("location")), (303, "/lab"), "{}", reply.text);
        browser
    }

    /// What the forms of a page carry.
    pub(crate) async fn csrf(&mut self, path: &str) -> String {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let from = page.text.split_once("name=\"csrf\" value=\"").unwrap().1;
        from.split_once('"').unwrap().0.to_owned()
    }
}

#[tokio::test]
async fn nobody_sees_a_page_without_signing_in() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let picture = browser.get("/lab/pictures/stp_00000000000000000000000000000000/0").await;
    assert!(picture.status == 303 && picture.header("location").starts_with("/sign-in?"), "{}", picture.text);
    let reply = browser.get("/lab?lab=nord").await;
    assert_eq!((reply.status.as_u16(), reply.header("location")), (303, "/sign-in?next=%2Flab%3Flab%3Dnord"));
    // The stream of a page says so to its script.
    let stream = browser.send("GET", "/lab/live?lab=nord", None, &[("accept", "text/event-stream")]).await;
    stream.problem(401, "unauthenticated");
    // A key opens the API, not a page; a cookie opens pages, not the API.
    assert_eq!(bench.get("/lab", &bench.ops).await.status, 303);
    let mut browser = Browser::signed_in(&bench, &bench.ops).await;
    browser.get("/v1/orders").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_key_signs_in_and_a_wrong_one_does_not() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let form = browser.get("/sign-in?next=//evil.example").await;
    assert!(form.text.contains("type=\"password\"") && !form.text.contains("evil"), "{}", form.text);
    let wrong = browser.post("/sign-in", &[("key", "sp_nope")]).await;
    assert_eq!(wrong.status, 403);
    assert!(
        wrong.text.contains("unknown, expired or revoked") && !wrong.text.contains("sp_nope"),
        "{}",
        wrong.text
    );
    assert!(browser.cookie.is_none());
    // From another site, and over plain http from another computer.
    let key = bench.lab.clone();
    let other =
        browser.send("POST", "/sign-in", Some(&[("key", &key)]), &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!((other.status.as_u16(), browser.cookie.is_none()), (403, true));
    let request = Request::builder().method("POST").uri("/sign-in").header("host", "10.0.0.5");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("origin", "http://10.0.0.5").body(Body::from(format!("key={key}"))).unwrap();
    let plain = bench.raw(request).await;
    assert!(plain.status == 400 && plain.text.contains("https"), "{}", plain.text);

    let mut browser = Browser::signed_in(&bench, &bench.lab).await;
    let page = browser.get("/lab").await;
    assert_eq!(page.status, 200);
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ] {
        assert_eq!(page.header(name), value);
    }
    let policy = page.header("content-security-policy");
    assert_eq!(
        policy,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    );
    assert!(!page.text.contains("<style") && !page.text.contains(" style="), "{}", page.text);
}

#[tokio::test]
async fn a_lab_sees_its_own_inbox_and_a_platform_none() {
    let bench = Bench::new().await;
    let mut lab = Browser::signed_in(&bench, &bench.lab).await;
    assert!(lab.get("/lab").await.text.contains("Stops for Nordprint"));
    assert!(lab.get("/lab?lab=nord").await.text.contains("Stops for Nordprint"));
    assert_eq!(lab.get("/lab?lab=other").await.status, 404);
    let mut ops = Browser::signed_in(&bench, &bench.ops).await;
    assert!(ops.get("/lab").await.text.contains("Inboxes of labs"));
    assert!(ops.get("/lab?lab=nord").await.text.contains("Stops for Nordprint"));
    assert_eq!(ops.get("/lab?lab=none").await.status, 404);
    let mut shop = Browser::signed_in(&bench, &bench.shop).await;
    assert_eq!(shop.get("/lab").await.status, 403);
}

#[tokio::test]
async fn only_our_own_forms_are_taken() {
    let bench = Bench::new().await;
    let mut browser = Browser::signed_in(&bench, &bench.lab).await;
    let csrf = browser.csrf("/lab").await;
    let path = format!("/lab/stops/stp_{}", "0".repeat(32));
    let form = |csrf| [("csrf", csrf), ("answer", "stopped")];
    let own = [("sec-fetch-site", "same-origin")];
    let cases: &[Case<'_>] = &[
        (&csrf, &own, 404),
        (&csrf, &[("sec-fetch-site", "cross-site")], 403),
        (&csrf, &[("origin", "https://evil.example")], 403),
        (&csrf, &[], 403),
        ("", &own, 403),
        ("0123", &own, 403),
    ];
    for (csrf, headers, expected) in cases {
        let reply = browser.send("POST", &path, Some(&form(csrf)), headers).await;
        assert_eq!(reply.status.as_u16(), *expected, "{csrf:?} {headers:?} {}", reply.text);
    }
    // Of another session of the same key.
    let mut other = Browser::signed_in(&bench, &bench.lab).await;
    assert_ne!(other.csrf("/lab").await, csrf);
    assert_eq!(other.send("POST", &path, Some(&form(&csrf)), &own).await.status, 403);
    // A field too many is named.
    let reply = browser.post(&path, &[("csrf", &csrf), ("answer", "stopped"), ("extra", "1")]).await;
    assert!(reply.status == 400 && reply.text.contains("extra"), "{}", reply.text);
}

#[tokio::test]
async fn a_session_ends() {
    let bench = Bench::new().await;
    // Used every twenty minutes, it lasts twelve hours.
    let mut browser = Browser::signed_in(&bench, &bench.ops).await;
    for _ in 0..35 {
        bench.pass(20 * 60);
        assert_eq!(browser.get("/lab").await.status, 200);
    }
    bench.pass(20 * 60);
    assert_eq!(browser.get("/lab").await.status, 303);
    // Left alone, thirty minutes.
    let mut browser = Browser::signed_in(&bench, &bench.ops).await;
    bench.pass(30 * 60 - 1);
    assert_eq!(browser.get("/lab").await.status, 200);
    bench.pass(30 * 60);
    assert_eq!(browser.get("/lab").await.status, 303);
    // Signed out: the cookie is of no use any more, wherever it was copied to.
    let mut browser = Browser::signed_in(&bench, &bench.ops).await;
    let copy = browser.cookie.clone();
    let csrf = browser.csrf("/lab").await;
    let out = browser.post("/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (303, "/sign-in"));
    assert!(browser.cookie.is_none());
    browser.cookie = copy;
    assert_eq!(browser.get("/lab").await.status, 303);
    // With its key.
    let key = bench
        .post("/v1/keys", &bench.ops, &json!({"scope": "lab", "owner": "nord", "name": "Aino"}))
        .await
        .is(201);
    let mut browser = Browser::signed_in(&bench, key["secret"].as_str().unwrap()).await;
    assert!(browser.get("/lab").await.text.contains("Aino"));
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    bench.call("DELETE", &path, &bench.ops, None, &[]).await.is(204);
    assert_eq!(browser.get("/lab").await.status, 303);
    assert!(bench.store.verify_events().await.unwrap().breaks.is_empty());
}

pub(crate) async fn link(bench: &Bench, key: &str) -> String {
    let link = bench.post(&format!("/v1/keys/{key}/links"), &bench.ops, &json!({})).await.is(201);
    link["path"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_signs_in_once_and_looking_at_it_does_not() {
    let bench = Bench::new().await;
    let new = json!({"scope": "lab", "owner": "nord", "name": "Aino & <friends>"});
    let key: Value = bench.post("/v1/keys", &bench.ops, &new).await.is(201);
    let id = key["id"].as_str().unwrap();
    let path = link(&bench, id).await;
    let token = path.strip_prefix("/sign-in/").unwrap();
    let mut browser = Browser::new(&bench);
    for _ in 0..3 {
        let page = browser.get(&path).await;
        assert!(page.status == 200 && page.text.contains("Aino &#38; &#60;friends&#62;"), "{}", page.text);
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert!(browser.cookie.is_none());
    }
    let elsewhere = [("sec-fetch-site", "cross-site")];
    let foreign = browser.send("POST", "/sign-in/link", Some(&[("token", token)]), &elsewhere).await;
    assert_eq!((foreign.status.as_u16(), browser.cookie.is_none()), (403, true));
    let reply = browser.post("/sign-in/link", &[("token", token)]).await;
    assert_eq!((reply.status.as_u16(), browser.cookie.is_some()), (303, true));
    assert_eq!(browser.get("/lab").await.status, 200);
    // Once; and what never was, was used, is old, or whose key ended looks the same.
    let used = browser.post("/sign-in/link", &[("token", token)]).await;
    let never = browser.post("/sign-in/link", &[("token", "00")]).await;
    assert_eq!((used.status.as_u16(), &used.text), (404, &never.text));
    assert_eq!(browser.get(&path).await.status, 404);
    let old = link(&bench, id).await;
    bench.pass(15 * 60);
    assert_eq!(Browser::new(&bench).get(&old).await.status, 404);
    let last = link(&bench, id).await;
    bench.call("DELETE", &format!("/v1/keys/{id}"), &bench.ops, None, &[]).await.is(204);
    let mut late = Browser::new(&bench);
    assert_eq!(late.get(&last).await.status, 404);
    let token = last.strip_prefix("/sign-in/").unwrap();
    assert_eq!(late.post("/sign-in/link", &[("token", token)]).await.status, 404);
    assert!(late.cookie.is_none());
    bench.post(&format!("/v1/keys/{id}/links"), &bench.ops, &json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn assets_are_kept_for_good_under_the_name_of_their_content() {
    let bench = Bench::new().await;
    let page = bench.get("/sign-in", "").await;
    let paths: Vec<&str> = page.text.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(paths.len() >= 3, "{paths:?}");
    let mut bytes = page.text.len();
    for path in paths {
        let asset = bench.get(path, "").await;
        assert_eq!(asset.status, 200, "{path}");
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
        bytes += asset.text.len();
    }
    assert!(bytes < 100_000, "{bytes}");
    assert_eq!(bench.get("/assets/stoppress-000000000000.css", "").await.status, 404);
}
