//! Second factors at the pages and over the API: asked for at every sign-in and before what cannot be taken back,
//! needed where ops say so, removed by somebody else when a phone is lost.

use hyper::http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use stoppress::clock::Clock as _;
use stoppress::domain::second_factor::code_at;

use crate::api::Bench;
use crate::common::browser::{Page, View};
use crate::ops_support::field;
use crate::rig::Rig;
use crate::sessions::{Browser, link};

/// The public part of a key.
fn id(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

/// What is posted about the factor of a key.
fn path(key: &str, more: &str) -> String {
    format!("/v1/keys/{}/second-factor{more}", id(key))
}

/// An app for codes.
struct Phone(SecretString);

impl Phone {
    fn code(&self, bench: &Bench) -> String {
        code_at(&self.0, bench.clock.now()).unwrap()
    }

    /// One that no step near now has.
    fn wrong(&self, bench: &Bench) -> String {
        let now = bench.clock.now();
        let near: Vec<_> = (-2..=2)
            .map(|step| code_at(&self.0, now + jiff::SignedDuration::from_secs(30 * step)).unwrap())
            .collect();
        (0..10).map(|nth| format!("{nth}").repeat(6)).find(|code| !near.contains(code)).unwrap()
    }

    /// The factor of a key, in force; its first code was taken a step ago.
    async fn of(bench: &Bench, key: &str) -> Self {
        let made = bench.post(&path(key, ""), key, &json!({})).await.is(201);
        let phone = Self(SecretString::from(made["secret"].as_str().unwrap().to_owned()));
        let code = json!({"code": phone.code(bench)});
        let confirmed = bench.post(&path(key, "/confirm"), key, &code).await;
        assert_eq!(confirmed.status, 204, "{}", confirmed.text);
        bench.pass(30);
        phone
    }
}

#[tokio::test]
async fn a_sign_in_needs_the_code_and_takes_it_once() {
    let bench = Bench::new().await;
    let ops = bench.ops.clone();
    let phone = Phone::of(&bench, &ops).await;
    let mut browser = Browser::new(&bench);
    let code = phone.code(&bench);
    for (typed, status, says) in [
        (String::new(), 403, "This key has a second factor"),
        (phone.wrong(&bench), 403, "not the code that your app shows now"),
        (format!("{} {}", &code[..3], &code[3..]), 303, ""),
    ] {
        let reply = browser.post("/sign-in", &[("key", &ops), ("code", &typed), ("next", "/")]).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(reply.text.contains(says), "{}", reply.text);
        assert!(!reply.text.contains(&ops) && !reply.text.contains(&code), "nothing typed comes back");
        assert_eq!(browser.cookie.is_some(), status == 303);
    }
    assert_eq!(browser.get("/").await.status, 200);
    let again = Browser::new(&bench).post("/sign-in", &[("key", &ops), ("code", &code)]).await;
    assert!(again.status == 403 && again.text.contains("taken before"), "{}", again.text);
    // Whoever holds the key and guesses is not looked at any more, with the right code neither.
    for _ in 0..5 {
        let wrong = phone.wrong(&bench);
        let reply = Browser::new(&bench).post("/sign-in", &[("key", &ops), ("code", &wrong)]).await;
        assert_eq!(reply.status, 403);
    }
    bench.pass(30);
    let code = phone.code(&bench);
    let rests = Browser::new(&bench).post("/sign-in", &[("key", &ops), ("code", &code)]).await;
    assert!(rests.text.contains("looked at in 30 s"), "{}", rests.text);
    // A key without one signs in as before, whatever is typed into the field.
    let lab = bench.lab.clone();
    let reply = Browser::new(&bench).post("/sign-in", &[("key", &lab), ("code", "123456")]).await;
    assert_eq!(reply.status, 303);
    // The API asks nobody for a code.
    bench.get("/v1/keys", &ops).await.is(200);
}

#[tokio::test]
async fn a_link_alone_does_not_sign_in() {
    let bench = Bench::new().await;
    let ops = bench.ops.clone();
    let phone = Phone::of(&bench, &ops).await;
    let path = link(&bench, id(&ops)).await;
    let token = path.strip_prefix("/sign-in/").unwrap();
    let mut browser = Browser::new(&bench);
    assert!(browser.get(&path).await.text.contains("name=\"code\""));
    let wrong = phone.wrong(&bench);
    for form in [vec![("token", token)], vec![("token", token), ("code", &wrong)]] {
        let reply = browser.post("/sign-in/link", &form).await;
        assert_eq!(reply.status, 403);
        assert!(reply.text.contains("role=\"alert\"") && reply.text.contains(token), "{}", reply.text);
    }
    let code = phone.code(&bench);
    let reply = browser.post("/sign-in/link", &[("token", token), ("code", &code)]).await;
    assert_eq!((reply.status.as_u16(), browser.cookie.is_some()), (303, true), "{}", reply.text);
    // Of a key without one, the page asks for nothing.
    let path = link(&bench, id(&bench.lab)).await;
    assert!(!browser.get(&path).await.text.contains("name=\"code\""));
}

/// A batch with an order; its release as its page offers it.
async fn release(bench: &Bench, ops: &mut Browser<'_>) -> (String, Vec<(&'static str, String)>) {
    let order = bench.admitted("A-1").await;
    let read = bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    let page = format!("/ops/batches/{}", read["window"]["batch"].as_str().unwrap());
    let shown = ops.get(&page).await.text;
    let path = format!("{page}/release");
    let form = vec![
        ("csrf", ops.csrf(&page).await),
        ("reason", "holiday & more".to_owned()),
        ("sure", "yes".to_owned()),
        ("closes_at", field(&shown, &path, "closes_at")),
        ("waiting", field(&shown, &path, "waiting")),
    ];
    (path, form)
}

fn with<'a>(form: &'a [(&'a str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    form.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_confirmed_by_key_and_code() {
    let bench = Bench::new().await;
    let ops = bench.ops.clone();
    // Signed in before the key had a factor: the code is asked for at once.
    let mut browser = Browser::signed_in(&bench, &ops).await;
    let phone = Phone::of(&bench, &ops).await;
    let (path, form) = release(&bench, &mut browser).await;
    let asked = browser.post(&path, &with(&form, &[])).await;
    assert_eq!(asked.status, 403);
    for part in ["Show your key again", "name=\"confirm_key\"", "name=\"confirm_code\"", "holiday &#38; more"]
    {
        assert!(asked.text.contains(part), "{part}: {}", asked.text);
    }
    let (code, wrong) = (phone.code(&bench), phone.wrong(&bench));
    for (key, code, says) in [
        (ops.as_str(), "", "This key has a second factor"),
        (ops.as_str(), wrong.as_str(), "not the code that your app shows now"),
        (bench.lab.as_str(), code.as_str(), "not the key with which you signed in"),
    ] {
        let more = [("confirm_key", key), ("confirm_code", code)];
        let refused = browser.post(&path, &with(&form, &more)).await;
        assert!(refused.status == 403 && refused.text.contains(says), "{says}: {}", refused.text);
        assert!(!refused.text.contains(key), "{}", refused.text);
    }
    // The wrong key did not use the code up.
    let more = [("confirm_key", ops.as_str()), ("confirm_code", code.as_str())];
    let done = browser.post(&path, &with(&form, &more)).await;
    assert_eq!(done.status, 303, "{}", done.text);
    let again = browser.post(&path, &with(&form, &more)).await;
    assert!(again.status == 403 && again.text.contains("taken before"), "{}", again.text);
    // Whoever has just signed in with a code is not asked again, and after five minutes is.
    bench.pass(30);
    let mut browser = Browser::new(&bench);
    let code = phone.code(&bench);
    browser.post("/sign-in", &[("key", &ops), ("code", &code)]).await;
    let csrf = browser.csrf("/ops/escalations").await;
    let none = format!("/ops/escalations/esc_{}", "0".repeat(32));
    let form = [("csrf", csrf.as_str()), ("decision", "handed_over"), ("reason", "asked")];
    assert_eq!(browser.post(&none, &form).await.status, 404);
    bench.pass(5 * 60);
    assert_eq!(browser.post(&none, &form).await.status, 403);
}

#[tokio::test]
async fn where_it_is_required_nothing_is_released_without_one() {
    let bench = Bench::guarded().await;
    let ops = bench.ops.clone();
    let mut browser = Browser::signed_in(&bench, &ops).await;
    let (path, form) = release(&bench, &mut browser).await;
    let csrf = form[0].1.clone();
    let batch = path.strip_suffix("/release").unwrap();
    let (none, postpone) = ("0".repeat(32), format!("{batch}/postpone"));
    let how = format!("stoppress keys second-factor {}", id(&ops));
    let guarded = [
        (path.clone(), with(&form, &[])),
        (postpone.clone(), vec![("csrf", csrf.as_str())]),
        (format!("/ops/escalations/esc_{none}"), vec![("csrf", csrf.as_str())]),
        (format!("/ops/approvals/apr_{none}"), vec![("csrf", csrf.as_str())]),
    ];
    for (path, form) in &guarded {
        let refused = browser.post(path, form).await;
        assert_eq!(refused.status, 403, "{path}");
        for part in ["Nothing was done", how.as_str(), "ops.second_factor"] {
            assert!(refused.text.contains(part), "{path}: {part}: {}", refused.text);
        }
    }
    // Everything else goes on: to look, to stop an order, to pause a lab.
    assert_eq!(browser.get(batch).await.status, 200);
    let pause = [("csrf", csrf.as_str()), ("reason", "flood")];
    assert_eq!(browser.post("/ops/labs/nord/pause", &pause).await.status, 303);
    // With a factor, but signed in without: again.
    let phone = Phone::of(&bench, &ops).await;
    let refused = browser.post(&postpone, &[("csrf", &csrf)]).await;
    assert!(refused.status == 403 && refused.text.contains("Sign in again"), "{}", refused.text);
    let mut browser = Browser::new(&bench);
    let code = phone.code(&bench);
    browser.post("/sign-in", &[("key", &ops), ("code", &code)]).await;
    let csrf = browser.csrf(batch).await;
    let closes_at = form.iter().find(|(name, _)| *name == "closes_at").unwrap().1.as_str();
    let later = [("csrf", csrf.as_str()), ("minutes", "15"), ("reason", "truck"), ("closes_at", closes_at)];
    let done = browser.post(&postpone, &later).await;
    assert_eq!(done.status, 303, "{}", done.text);
    // A lab's people decide nothing of the kind, and are not asked.
    let mut lab = Browser::signed_in(&bench, &bench.lab).await;
    assert_eq!(lab.get("/lab").await.status, 200);
}

#[tokio::test]
async fn a_lost_phone_is_a_matter_for_somebody_else() {
    let bench = Bench::new().await;
    let ops = bench.ops.clone();
    let new = json!({"scope": "ops", "name": "Ville"});
    let made = bench.post("/v1/keys", &ops, &new).await.is(201);
    let ville = made["secret"].as_str().unwrap().to_owned();
    let phone = Phone::of(&bench, &ville).await;
    let delete = async |by: &str, of: &str| bench.call("DELETE", &path(of, ""), by, None, &[]).await;
    let refused = delete(&ville, &ville).await.problem(403, "forbidden");
    assert!(refused["detail"].as_str().unwrap().contains("another key of scope ops"), "{refused}");
    delete(&bench.lab, &ville).await.problem(403, "forbidden");
    let since = async || {
        let list = bench.get("/v1/keys", &ops).await.is(200);
        let keys = list["keys"].as_array().unwrap();
        keys.iter().find(|key| key["id"] == id(&ville)).unwrap()["second_factor_at"].clone()
    };
    assert!(since().await.is_string());
    bench.post(&path(&ville, ""), &ville, &json!({})).await.problem(409, "second_factor_in_force");
    assert_eq!(delete(&ops, &ville).await.status, 204);
    delete(&ops, &ville).await.problem(404, "not_found");
    assert_eq!(since().await, Value::Null);
    Browser::signed_in(&bench, &ville).await;
    // Who did it is in the log, the secret is nowhere.
    let log = bench.store.log(&[&format!("key_{}", id(&ville))]).await.unwrap();
    let told: Vec<_> = log.iter().map(|it| format!("{} {}", it.kind, it.actor)).collect();
    let (by, own) = (format!("ops:{}", id(&ops)), format!("ops:{}", id(&ville)));
    assert_eq!(
        told,
        [
            format!("key.created {by}"),
            format!("key.second_factor_started {own}"),
            format!("key.second_factor_added {own}"),
            format!("key.second_factor_removed {by}"),
        ]
    );
    let secret = secrecy::ExposeSecret::expose_secret(&phone.0);
    let events = bench.get("/v1/events?limit=200", &ops).await;
    let keys = bench.get("/v1/keys", &ops).await;
    assert!(!events.text.contains(secret) && !keys.text.contains(secret));
    assert!(bench.store.verify_events().await.unwrap().breaks.is_empty());
}

#[tokio::test]
async fn everybody_has_their_own_and_a_repeat_shows_no_secret() {
    let bench = Bench::new().await;
    let (ops, lab) = (bench.ops.clone(), bench.lab.clone());
    // A lab's person may have one; for another key only ops may start one.
    let phone = Phone::of(&bench, &lab).await;
    bench.post(&path(&ops, ""), &lab, &json!({})).await.problem(404, "not_found");
    bench.post(&path(&bench.shop, "/confirm"), &lab, &json!({"code": "1"})).await.problem(404, "not_found");
    bench.post("/v1/keys/none/second-factor", &ops, &json!({})).await.problem(404, "not_found");
    let refused = Browser::new(&bench).post("/sign-in", &[("key", &lab)]).await;
    assert_eq!(refused.status, 403);
    let code = phone.code(&bench);
    let done = Browser::new(&bench).post("/sign-in", &[("key", &lab), ("code", &code)]).await;
    assert_eq!(done.status, 303);
    let once = [("idempotency-key", "once")];
    let shop = bench.shop.clone();
    let first = bench.call("POST", &path(&shop, ""), &ops, Some(&json!({})), &once).await.is(201);
    let secret = first["secret"].as_str().unwrap();
    assert!(secret.len() == 32 && first["uri"].as_str().unwrap().contains(secret), "{first}");
    let again = bench.call("POST", &path(&shop, ""), &ops, Some(&json!({})), &once).await.is(201);
    assert_eq!((again["secret"].as_str(), again["uri"].as_str()), (Some(""), Some("")));
    // The first code is refused by the field.
    let confirm = path(&shop, "/confirm");
    for code in ["", "12345", "000000 "] {
        let refused = bench.post(&confirm, &ops, &json!({"code": code})).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["field"], "code", "{refused}");
    }
    for _ in 0..3 {
        bench.post(&confirm, &ops, &json!({"code": "nope"})).await.problem(422, "invalid");
    }
    let rests = bench.post(&confirm, &ops, &json!({"code": "nope"})).await;
    assert_eq!((rests.status.as_u16(), rests.header("retry-after")), (429, "60"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_can_be_typed_on_a_phone_and_by_keyboard() {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    let rig = Rig::new("2026-11-21T20:00:00Z", "http", profile, json!({})).await;
    let base = rig.running.as_ref().unwrap().url();
    let (_, made) = rig.call(&rig.ops, Method::POST, &path(&rig.ops, ""), json!({})).await;
    let secret = SecretString::from(made["secret"].as_str().unwrap().to_owned());
    let code = || code_at(&secret, rig.clock.now()).unwrap();
    let confirm = path(&rig.ops, "/confirm");
    let (status, _) = rig.call(&rig.ops, Method::POST, &confirm, json!({"code": code()})).await;
    assert_eq!(status, 204);
    let order = rig.order("A-1").await;
    let batch = rig.read(&order).await["window"]["batch"].as_str().unwrap().to_owned();
    let page = Page::open(View::DESKTOP).await;
    page.forgive("status of 403");
    page.goto(&format!("{base}/sign-in?next=%2Fops%2Fbatches%2F{batch}")).await;
    page.fill("#key", &rig.ops).await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    page.wait_text(".note[role=alert]", "second factor").await;
    page.looks("sign-in-code").await;
    rig.go_to("2026-11-21T20:00:30Z").await;
    page.fill("#key", &rig.ops).await;
    page.press("Tab").await;
    page.write(&code()).await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    page.wait_text("#window-card", "1 waiting").await;
    // Later, the release asks for both again.
    rig.go_to("2026-11-21T20:06:00Z").await;
    page.click("#release-open").await;
    page.fill("#why-now", "holiday").await;
    page.click("#releasing input[name=sure]").await;
    let loads = page.loads();
    page.click("#releasing button[type=submit]").await;
    page.loaded_after(loads).await;
    page.wait_text("h1", "Show your key again").await;
    page.looks("confirm-code").await;
    page.fill("#key", &rig.ops).await;
    page.press("Tab").await;
    page.write(&code()).await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    rig.settle().await;
    page.wait_text("#window-card", "Closed").await;
}
