//! Downloads through a whole gateway and a platform that answers as it likes: what is told is what the platform said,
//! and apart from what is printed.

use std::time::Duration;

use hyper::http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::clock::Clock as _;

use crate::api::{Bench, order as plain};
use crate::common::postgres;
use crate::customer_support::{Customer, allow};
use crate::lab_support::eventually;
use crate::ops_support::Viewer;
use crate::rig::{Rig, at};
use crate::webhooks_support::{Got, OTHER, Receiver, Reply, SECRET, Trick};

const EVENING: &str = "2026-11-21T20:00:00Z";
/// Half an hour later, when an answer was due.
const DUE: &str = "2026-11-21T20:30:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

/// What a platform answers.
fn answers(word: &str) -> Reply {
    Reply { body: json!({"answer": word}).to_string().into_bytes(), ..Reply::status(200) }
}

/// An order of a print and two downloads.
fn mixed(reference: &str) -> Value {
    let mut order = plain(reference);
    order["lab"] = json!("nordprint");
    order["items"] = json!([
        {"id": "1", "sku": "print-10x15", "quantity": 2},
        {"id": "2", "kind": "download", "sku": "gallery-zip", "quantity": 1},
        {"id": "3", "kind": "download", "sku": "raw-zip", "quantity": 1},
    ]);
    order
}

async fn sent(rig: &Rig, reference: &str) -> String {
    let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", mixed(reference)).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// The platform says where it is asked.
async fn callback(rig: &Rig, url: &str) {
    let body = json!({"url": url, "secret": SECRET});
    let (status, made) = rig.call(&rig.platform, Method::PUT, "/v1/platforms/acme/downloads", body).await;
    assert_eq!(
        (status, &made["secret"], &made["answers_within"]),
        (201, &json!(SECRET), &json!("30m")),
        "{made}"
    );
}

async fn rig() -> (Rig, Receiver) {
    let rig = Rig::new(EVENING, "http", good(), json!({"prints_after": "10h"})).await;
    let receiver = Receiver::start().await;
    callback(&rig, &receiver.url).await;
    (rig, receiver)
}

async fn stop(rig: &Rig, order: &str, items: &[&str]) -> (u16, Value) {
    let body = if items.is_empty() { json!({}) } else { json!({"items": items}) };
    rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/stop"), body).await
}

/// How a download of an order stands.
async fn download(rig: &Rig, order: &str, item: &str) -> Value {
    let path = format!("/v1/orders/{order}/verdict");
    let (status, verdict) = rig.call(&rig.platform, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{verdict}");
    let all = verdict["downloads"].as_array().unwrap();
    all.iter().find(|it| it["item"] == item).unwrap_or_else(|| panic!("{item}: {verdict}")).clone()
}

async fn state(rig: &Rig, order: &str, item: &str) -> String {
    download(rig, order, item).await["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_answer_of_a_platform_is_told_as_it_is() {
    let (rig, receiver) = rig().await;
    for (nth, (reply, then)) in [
        (answers("deactivated"), "revoked"),
        (answers("already_fetched"), "fetched"),
        (Reply { status: 204, ..answers("") }, "revoking"),
        (Reply::status(200), "revoking"),
        (answers("perhaps"), "revoking"),
        (Reply { body: b"deactivated".to_vec(), ..Reply::status(200) }, "revoking"),
        (Reply::status(404), "revoking"),
        (Reply::status(410), "revoking"),
        (Reply { status: 500, ..answers("deactivated") }, "revoking"),
        (
            Reply {
                status: 302,
                head: vec![("location", "http://127.0.0.1:1/".to_owned())],
                ..answers("deactivated")
            },
            "revoking",
        ),
        (Reply { trick: Trick::BreaksOff, ..answers("deactivated") }, "revoking"),
        (Reply::trick(Trick::HangsUp), "revoking"),
    ]
    .into_iter()
    .enumerate()
    {
        let order = sent(&rig, &format!("A-{nth}")).await;
        receiver.behaves(move |_| reply.clone());
        let (status, told) = stop(&rig, &order, &["2"]).await;
        assert_eq!((status, &told["stop"]), (202, &Value::Null), "{told}");
        rig.settle().await;
        assert_eq!(state(&rig, &order, "2").await, then, "{nth}");
        let other = download(&rig, &order, "3").await;
        assert_eq!((&other["state"], &other["can_revoke"]), (&json!("live"), &json!(true)), "{other}");
        assert_eq!(rig.read(&order).await["state"], "in_batch", "what is printed goes on");
        // From now on it says yes: what was no answer is asked again, under the same id.
        receiver.behaves(|_| answers("deactivated"));
        let until = rig.clock.now() + SignedDuration::from_mins(1);
        rig.go_to(&until.to_string()).await;
        let then = if then == "revoking" { "revoked" } else { then };
        let found = download(&rig, &order, "2").await;
        assert_eq!(
            (&found["state"], &found["evidence"]),
            (&json!(then), &json!("platform_answered")),
            "{nth}"
        );
        assert_eq!((&found["can_revoke"], &found["answer_due_at"]), (&json!(false), &Value::Null));
        let right = if then == "fetched" { "none_fetched" } else { "until_fetched" };
        assert_eq!(found["withdrawal"], right);
        let (status, again) = stop(&rig, &order, &["2"]).await;
        assert_eq!(status, 200, "decided: {again}");
    }
    let got = receiver.got();
    let first = &got[0];
    assert!(got.iter().all(|one| one.is_signed_with(SECRET)));
    assert_eq!((first.kind(), &first.body["data"]["reference"]), ("download.deactivate", &json!("A-0")));
    assert_eq!(first.body["data"]["download"], first.id());
    assert_eq!(first.body["data"]["answer_due_at"], DUE);
    let of = |reference: &str| -> Vec<&Got> {
        got.iter().filter(|one| one.body["data"]["reference"] == reference).collect()
    };
    assert_eq!(of("A-0").len(), 1);
    assert!(of("A-5").len() > 1 && of("A-5").iter().all(|one| one.id() == of("A-5")[0].id()));
}

#[tokio::test]
async fn a_stop_tells_what_is_printed_and_what_is_downloaded_apart() {
    let (rig, receiver) = rig().await;
    allow(&rig, "on").await;
    receiver.behaves(|got| {
        answers(if got.body["data"]["item"] == "2" { "already_fetched" } else { "deactivated" })
    });
    let order = sent(&rig, "A-1").await;
    let customer = Customer::of(&rig, &order, "stop").await;
    assert!(customer.get("/c").await.text.contains("gallery-zip can be withdrawn until"));
    let (status, told) = stop(&rig, &order, &[]).await;
    assert_eq!((status, &told["stop"]["state"]), (202, &json!("stopped")), "the platform is still to answer");
    let states = |told: &Value| -> Vec<String> {
        let all = told["verdict"]["downloads"].as_array().unwrap().iter();
        all.map(|it| it["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&told), ["revoking", "revoking"]);
    let lines = told["verdict"]["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "what is downloaded is no line of the lab's: {told}");
    rig.settle().await;
    let (status, told) = stop(&rig, &order, &[]).await;
    assert_eq!((status, states(&told)), (200, vec!["fetched".to_owned(), "revoked".to_owned()]), "{told}");
    let page = customer.get("/c").await.text;
    for part in
        ["The order is stopped", "gallery-zip has already been downloaded", "raw-zip has been withdrawn"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let receipt = format!("/v1/orders/{order}/stop/receipt");
    let (_, receipt) = rig.call(&rig.platform, Method::GET, &receipt, Value::Null).await;
    let downloads: Vec<_> = receipt["downloads"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert_eq!(downloads, ["fetched", "revoked"], "{receipt}");
    assert_eq!(receipt["lines"].as_array().unwrap().len(), 1);
    let kinds = rig.kinds(&order).await;
    for kind in
        ["stop.stopped", "download.revoking", "download.forwarded", "download.fetched", "download.revoked"]
    {
        assert!(kinds.contains(&kind.to_owned()), "{kind}: {kinds:?}");
    }
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 0);
}

#[tokio::test]
async fn a_lab_gets_and_prints_nothing_of_a_download() {
    let (rig, _receiver) = rig().await;
    let order = sent(&rig, "A-1").await;
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(rig.prints(&order), 1);
    let entries = format!("{:?}", rig.lab.ledger().entries());
    assert!(
        entries.contains(&order) && !entries.contains("\"2\"") && !entries.contains("gallery"),
        "{entries}"
    );
    assert_eq!(state(&rig, &order, "2").await, "live", "no cutoff concerns it");
    let (status, told) = stop(&rig, &order, &[]).await;
    assert_eq!((status, &told["stop"]["state"]), (202, &json!("pending")), "{told}");
    rig.settle().await;
    let (_, told) = stop(&rig, &order, &[]).await;
    assert_eq!(told["stop"]["state"], "too_late");
    assert_eq!(told["verdict"]["downloads"][0]["state"], "revoking", "asked all the same");
}

#[tokio::test]
async fn without_a_word_nobody_says_revoked_and_a_late_word_counts() {
    let (rig, receiver) = rig().await;
    receiver.behaves(|_| Reply::status(500));
    let order = sent(&rig, "A-1").await;
    stop(&rig, &order, &["2"]).await;
    rig.settle().await;
    let found = download(&rig, &order, "2").await;
    assert_eq!((&found["state"], &found["answer_due_at"]), (&json!("revoking"), &json!(DUE)));
    rig.go_to("2026-11-21T20:29:59Z").await;
    assert_eq!(state(&rig, &order, "2").await, "revoking");
    assert!(receiver.count() > 4, "{}", receiver.count());
    // The last question is under way when the time is over: thinking about it takes the platform a second.
    receiver.behaves(|_| Reply { after: Duration::from_millis(800), ..answers("deactivated") });
    let asked = receiver.count();
    while receiver.count() == asked {
        let bells = &rig.running.as_ref().unwrap().bench.bells;
        rig.clock.set((rig.clock.now() + SignedDuration::from_millis(20)).min(at("2026-11-21T20:29:59.99Z")));
        bells.nudge(stoppress::work::revoke::NAME);
        crate::grpc_support::breathe(20).await;
        if rig.clock.now() >= at("2026-11-21T20:29:59.99Z") {
            break;
        }
    }
    rig.go_to(DUE).await;
    rig.settle().await;
    // Either it answered in time, or a person was called; nobody said revoked before it did.
    let (_, open) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    let waits = open["escalations"].as_array().unwrap().iter().find(|it| it["kind"] == "download").cloned();
    let found = download(&rig, &order, "2").await;
    if let Some(call) = &waits {
        assert_eq!((&found["state"], &found["evidence"]), (&json!("with_a_person"), &json!("no_answer")));
        assert_eq!(call["order"], order.as_str());
        // The platform says so by itself, at last.
        let path = format!("/v1/orders/{order}/downloads");
        let body = json!({"item": "2", "said": "deactivated", "comment": "our queue was stuck"});
        let (status, told) = rig.call(&rig.platform, Method::POST, &path, body).await;
        assert_eq!(
            (status, &told["state"], &told["evidence"]),
            (200, &json!("revoked"), &json!("platform_reported"))
        );
        let (_, open) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
        assert_eq!(open["escalations"], json!([]), "nobody has to find out any more");
    } else {
        assert_eq!(found["state"], "revoked");
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_its_time_counts() {
    let (rig, receiver) = rig().await;
    receiver.behaves(|_| Reply { after: Duration::from_millis(1_500), ..answers("already_fetched") });
    let order = sent(&rig, "A-1").await;
    stop(&rig, &order, &["3"]).await;
    receiver.has(1).await;
    // While it thinks, its time runs out.
    rig.clock.set(at(DUE));
    let mut seen = String::new();
    for _ in 0..60 {
        seen = state(&rig, &order, "3").await;
        if seen == "with_a_person" {
            break;
        }
        assert_eq!(seen, "revoking");
        rig.running.as_ref().unwrap().bench.bells.nudge(stoppress::work::revoke::NAME);
        crate::grpc_support::breathe(20).await;
    }
    assert_eq!(seen, "with_a_person");
    rig.settle().await;
    assert_eq!(state(&rig, &order, "3").await, "fetched");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_silent_platform_is_given_up_and_asked_again() {
    let (rig, receiver) = rig().await;
    // Longer than a call may take.
    receiver.behaves(|_| Reply { after: Duration::from_secs(25), ..answers("deactivated") });
    let order = sent(&rig, "A-1").await;
    stop(&rig, &order, &["2"]).await;
    receiver.has(1).await;
    receiver.behaves(|_| answers("deactivated"));
    rig.settle().await;
    assert_eq!(state(&rig, &order, "2").await, "revoking", "silence is no word");
    rig.go_to("2026-11-21T20:01:00Z").await;
    assert_eq!(state(&rig, &order, "2").await, "revoked");
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn a_gateway_that_ends_is_followed_by_one_that_asks_again() {
    let (mut rig, receiver) = rig().await;
    receiver.behaves(|_| Reply::status(503));
    let order = sent(&rig, "A-1").await;
    stop(&rig, &order, &[]).await;
    rig.settle().await;
    rig.stop().await;
    receiver.behaves(|_| answers("deactivated"));
    rig.clock.set(at("2026-11-21T20:01:00Z"));
    rig.start().await;
    rig.settle().await;
    assert_eq!(
        (state(&rig, &order, "2").await, state(&rig, &order, "3").await),
        ("revoked".into(), "revoked".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "gives tasks on other threads their turn")]
async fn two_gateways_ask_each_question_once() {
    let database = postgres::database().await;
    let rig = Rig::on(Some(&database.url), EVENING, "http", good(), json!({})).await;
    let other = rig.another(13).await;
    let receiver = Receiver::start().await;
    receiver.behaves(|_| Reply { after: Duration::from_millis(100), ..answers("deactivated") });
    callback(&rig, &receiver.url).await;
    let mut orders = Vec::new();
    for nth in 0..12 {
        let order = sent(&rig, &format!("A-{nth}")).await;
        stop(&rig, &order, &[]).await;
        other.bench.bells.nudge(stoppress::work::revoke::NAME);
        orders.push(order);
    }
    eventually("each was asked about", || receiver.count() >= 24).await;
    // Either of them may have asked, and writes what it heard.
    let decided = async {
        for order in &orders {
            while state(&rig, order, "3").await == "revoking" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(state(&rig, order, "3").await, "revoked");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), decided).await.expect("each is decided");
    rig.settle().await;
    let mut ids: Vec<String> = receiver.got().iter().map(Got::id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), receiver.count()), (24, 24), "by one of them, once");
    other.stop().await;
}

#[tokio::test]
async fn what_is_only_downloaded_is_refused_by_name() {
    let (rig, _receiver) = rig().await;
    let mut only = mixed("A-1");
    only["items"].as_array_mut().unwrap().remove(0);
    let (status, problem) = rig.call(&rig.platform, Method::POST, "/v1/orders", only.clone()).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("items")), "{problem}");
    assert!(
        problem["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("at least one item must be of kind `print`")
    );
    // Nor can an order become one in review.
    let order = sent(&rig, "A-2").await;
    rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/review"), Value::Null).await;
    let items = json!({"items": only["items"]});
    let (status, problem) =
        rig.call(&rig.platform, Method::PATCH, &format!("/v1/orders/{order}"), items).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("items")), "{problem}");
    // A report names a download.
    for (item, field) in [("1", "item"), ("9", "item")] {
        let body = json!({"item": item, "said": "fetched"});
        let path = format!("/v1/orders/{order}/downloads");
        let (status, problem) = rig.call(&rig.platform, Method::POST, &path, body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{problem}");
    }
    let body = json!({"item": "2", "said": "seen"});
    let path = format!("/v1/orders/{order}/downloads");
    assert_eq!(rig.call(&rig.platform, Method::POST, &path, body).await.0, 422);
}

#[tokio::test]
async fn the_address_is_the_platforms_own_and_its_secret_is_shown_once() {
    let (rig, receiver) = rig().await;
    let path = "/v1/platforms/acme/downloads";
    let (status, seen) = rig.call(&rig.platform, Method::GET, path, Value::Null).await;
    assert_eq!((status, &seen["url"], &seen["secret"]), (200, &json!(receiver.url), &Value::Null), "{seen}");
    // Another address and another time keep the secret.
    let body = json!({"url": receiver.url, "answers_within": "10m"});
    let (status, seen) = rig.call(&rig.platform, Method::PUT, path, body).await;
    assert_eq!(
        (status, &seen["answers_within"], &seen["secret"]),
        (200, &json!("10m"), &Value::Null),
        "{seen}"
    );
    for (body, field) in [
        (json!({"url": "ftp://x.example/"}), "url"),
        (json!({"url": "http://10.0.0.1/links"}), "url"),
        (json!({"url": "https://169.254.169.254/links"}), "url"),
        (json!({"url": receiver.url, "answers_within": "0s"}), "answers_within"),
        (json!({"url": receiver.url, "answers_within": "169h"}), "answers_within"),
        (json!({"url": receiver.url, "secret": OTHER}), "secret"),
        (json!({"url": receiver.url, "secret": "whsec_short"}), "secret"),
    ] {
        let (status, problem) = rig.call(&rig.platform, Method::PUT, path, body.clone()).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{body}: {problem}");
        assert!(!problem.to_string().contains("whsec_short"), "{problem}");
    }
    let rotate = format!("{path}/rotate-secret");
    let body = json!({"secret": OTHER, "keep_old": "1h"});
    let (status, seen) = rig.call(&rig.platform, Method::POST, &rotate, body).await;
    assert_eq!((status, &seen["secret"]), (200, &json!(OTHER)), "{seen}");
    assert_eq!(seen["old_secret_until"], "2026-11-21T21:00:00Z");
    receiver.behaves(|_| answers("deactivated"));
    let order = sent(&rig, "A-1").await;
    stop(&rig, &order, &["2"]).await;
    rig.settle().await;
    let got = receiver.got();
    assert!(got[0].is_signed_with(SECRET) && got[0].is_signed_with(OTHER));
    // Others find nothing there.
    let (_, made) =
        rig.call(&rig.ops, Method::PUT, "/v1/platforms/other", json!({"id": "other", "name": "Other"})).await;
    assert_eq!(made["id"], "other");
    let key = json!({"scope": "platform", "owner": "other", "name": "test"});
    let (_, made) = rig.call(&rig.ops, Method::POST, "/v1/keys", key).await;
    let other = made["secret"].as_str().unwrap();
    let lab = rig.lab_key("nordprint").await;
    for (key, status) in [(other, 404), (&*lab, 403)] {
        assert_eq!(rig.call(key, Method::GET, path, Value::Null).await.0, status);
        assert_eq!(rig.call(key, Method::PUT, path, json!({"url": receiver.url})).await.0, status);
        assert_eq!(rig.call(key, Method::DELETE, path, Value::Null).await.0, status);
        let said = json!({"item": "2", "said": "fetched"});
        assert_eq!(
            rig.call(key, Method::POST, &format!("/v1/orders/{order}/downloads"), said).await.0,
            status
        );
    }
    // Without it, a person is asked at once.
    assert_eq!(rig.call(&rig.platform, Method::DELETE, path, Value::Null).await.0, 204);
    assert_eq!(rig.call(&rig.platform, Method::GET, path, Value::Null).await.0, 404);
    stop(&rig, &order, &["3"]).await;
    assert_eq!(state(&rig, &order, "3").await, "with_a_person");
    assert_eq!(receiver.count(), 1);
    // Nothing of the secrets is in the log.
    let (_, log) = rig.call(&rig.ops, Method::GET, "/v1/events?limit=200", Value::Null).await;
    assert!(log.to_string().contains("platform.downloads_rotated") && !log.to_string().contains("whsec_"));
}

#[tokio::test]
async fn ops_see_each_download_and_decide_where_nobody_answers() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let mut body = plain("A-1");
    let download = json!({"id": "2", "kind": "download", "sku": "gallery-zip", "quantity": 1});
    body["items"].as_array_mut().unwrap().push(download);
    let order = bench.post("/v1/orders", &bench.shop, &body).await.is(201);
    let order = order["id"].as_str().unwrap();
    let page = format!("/ops/orders/{order}");
    let shown = ops.page(&page).await;
    assert!(shown.contains("Its downloads") && shown.contains("gallery-zip (line 2)"), "{shown}");
    assert!(shown.contains("the platform says whether it was fetched"));
    let asking = ops.page(&format!("{page}/stop")).await;
    assert!(asking.contains("Download 2: gallery-zip"), "what a stop brings for it: {asking}");
    let told = bench.post(&format!("/v1/orders/{order}/stop"), &bench.shop, &json!({})).await.is(202);
    assert_eq!(
        (&told["stop"]["state"], &told["verdict"]["downloads"][0]["state"]),
        (&json!("stopped"), &json!("with_a_person"))
    );
    let list = ops.page("/ops/escalations").await;
    for part in ["Is the download revoked?", "has given no address", "was not fetched"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let id = list.split_once("id=\"esc_").unwrap().1.split_once('"').unwrap().0;
    let act = format!("/ops/escalations/esc_{id}");
    let wrong = ops.press("/ops/escalations", &act, &[("decision", "stopped"), ("reason", "x")]).await;
    assert_eq!(wrong.status, 409, "{}", wrong.text);
    let done = ops
        .press("/ops/escalations", &act, &[("decision", "fetched"), ("reason", "their log says so")])
        .await;
    assert_eq!(done.status, 303, "{}", done.text);
    let shown = ops.page(&page).await;
    assert!(
        shown.contains("it was fetched, and cannot be revoked") && shown.contains("their log says so"),
        "{shown}"
    );
}
