//! Receivers from hell: none of them harms the gateway, and none delays another.

use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};

use crate::lab_support::eventually;
use crate::rig::Rig;
use crate::webhooks_support::{Receiver, Reply, SECRET, Trick, deliveries, endpoint, look};

const EVENING: &str = "2026-11-21T20:00:00Z";

async fn rig() -> Rig {
    Rig::new(EVENING, "http", json!({"stops": "yes"}), json!({})).await
}

#[tokio::test]
async fn whatever_is_answered_is_success_or_not_and_what_is_kept_of_it_is_short_and_without_secrets() {
    let rig = rig().await;
    let elsewhere = Receiver::start().await;
    let long = "x".repeat(200_000).into_bytes();
    let cases: Vec<(&str, Reply, bool, Option<&str>)> = vec![
        ("nothing", Reply::status(204), true, None),
        ("a long answer", Reply { body: long, ..Reply::status(200) }, true, None),
        ("an answer without end", Reply::trick(Trick::Endless), true, None),
        ("a body that breaks off", Reply::trick(Trick::BreaksOff), true, None),
        (
            "a failure that breaks off",
            Reply { trick: Trick::BreaksOff, ..Reply::status(500) },
            false,
            Some("HTTP 500"),
        ),
        ("no answer", Reply::trick(Trick::HangsUp), false, Some("no answer: ")),
        (
            "a redirect",
            Reply { head: vec![("location", elsewhere.url.clone())], ..Reply::status(302) },
            false,
            Some("HTTP 302"),
        ),
        (
            "a moved one",
            Reply { head: vec![("location", elsewhere.url.clone())], ..Reply::status(308) },
            false,
            Some("HTTP 308"),
        ),
        ("a status of no class", Reply::status(799), false, Some("HTTP 799")),
        (
            "half a character",
            Reply { body: vec![b'a', 0xF0, 0x9F], ..Reply::status(400) },
            false,
            Some("HTTP 400"),
        ),
        (
            "a credential",
            Reply {
                body: b"no: whsec_C2FVsBQIhrscChlQIMV+b5s \x1b[31m Bearer abcdef".to_vec(),
                ..Reply::status(401)
            },
            false,
            Some("HTTP 401"),
        ),
    ];
    let mut ids = Vec::new();
    for (name, reply, ..) in &cases {
        let receiver = Receiver::start().await;
        let reply = reply.clone();
        receiver.behaves(move |_| reply.clone());
        ids.push((endpoint(&rig, &receiver.url, json!({"description": name})).await, receiver));
    }
    rig.order("A-1").await;
    for ((id, _), (name, _, taken, cause)) in ids.iter().zip(&cases) {
        let mut seen = Vec::new();
        for _ in 0..200 {
            seen = deliveries(&rig, id, "").await;
            if !seen.is_empty() {
                break;
            }
            crate::grpc_support::breathe(50).await;
        }
        let one = seen.first().unwrap_or_else(|| panic!("{name}: nothing came of it"));
        assert_eq!(one["state"], if *taken { "delivered" } else { "waiting" }, "{name}: {one}");
        let told = one["cause"].as_str();
        assert!(cause.map_or(told.is_none(), |cause| told.unwrap().starts_with(cause)), "{name}: {one}");
        let answer = one["answer"].as_str().unwrap();
        assert!(
            answer.len() <= 1_030 && !answer.contains("C2FV") && !answer.contains("abcdef"),
            "{name}: {answer}"
        );
        assert!(!answer.contains('\u{1b}'), "{name}: {answer:?}");
        assert!(one["request"].as_str().unwrap().contains("order.admitted"), "{name}: {one}");
    }
    assert_eq!(elsewhere.count(), 0, "redirects are not followed");
}

#[tokio::test]
async fn a_slow_receiver_delays_nobody_else() {
    let rig = rig().await;
    let quick = Receiver::start().await;
    let mut slow = Vec::new();
    for _ in 0..12 {
        let receiver = Receiver::start().await;
        receiver.behaves(|_| Reply { after: Duration::from_secs(8), ..Reply::status(200) });
        endpoint(&rig, &receiver.url, json!({})).await;
        slow.push(receiver);
    }
    let id = endpoint(&rig, &quick.url, json!({})).await;
    for nth in 0..30 {
        rig.order(&format!("A-{nth}")).await;
    }
    // All are there while the slow ones still think about their first ones.
    eventually("all came to the quick one", || quick.count() == 30).await;
    assert!(slow.iter().all(|receiver| receiver.count() <= 8), "at most so many at once");
    rig_settled(&rig, &id, 30).await;
}

async fn rig_settled(rig: &Rig, id: &str, delivered: i64) {
    for _ in 0..200 {
        if look(rig, id).await["delivered"] == delivered {
            return;
        }
        crate::grpc_support::breathe(25).await;
    }
    panic!("{}", look(rig, id).await);
}

#[tokio::test]
async fn addresses_inside_are_never_called() {
    let mut rig = rig().await;
    for url in [
        "https://10.0.0.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[fd00::1]/hook",
        "http://192.168.1.1/hook",
        "https://user:word@hooks.example/",
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https://hooks.example/#part",
        "gopher://10.0.0.1/",
        "/relative",
        "",
    ] {
        let body = json!({"url": url, "secret": SECRET});
        let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/webhooks", body).await;
        assert_eq!((status, answer["errors"][0]["field"].as_str()), (422, Some("url")), "{url}: {answer}");
    }
    // A name that leads inside is refused when it is called, by ping and by what happens.
    rig.stop().await;
    rig.config.outbound.allow.clear();
    rig.start().await;
    let id = endpoint(&rig, "https://localhost/hook", json!({})).await;
    rig.order("A-1").await;
    rig.settle().await;
    for _ in 0..100 {
        if !deliveries(&rig, &id, "").await.is_empty() {
            break;
        }
        crate::grpc_support::breathe(20).await;
    }
    let failed = &deliveries(&rig, &id, "").await[0];
    assert!(failed["cause"].as_str().unwrap().starts_with("not allowed: "), "{failed}");
    let path = format!("/v1/webhooks/{id}/ping");
    let (status, told) = rig.call(&rig.platform, Method::POST, &path, Value::Null).await;
    assert_eq!(
        (status, told["delivered"].as_bool(), told["status"].is_null()),
        (200, Some(false), true),
        "{told}"
    );
    assert!(told["cause"].as_str().unwrap().starts_with("not allowed: "), "{told}");
}

#[tokio::test]
async fn a_ping_tells_what_came_of_it_and_is_signed() {
    let rig = rig().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&rig, &receiver.url, json!({"enabled": false})).await;
    let path = format!("/v1/webhooks/{id}/ping");
    for (reply, delivered, status) in [(Reply::status(200), true, 200), (Reply::status(418), false, 418)] {
        receiver.behaves(move |_| Reply { body: b"short and stout".to_vec(), ..reply.clone() });
        let (answered, told) = rig.call(&rig.platform, Method::POST, &path, Value::Null).await;
        assert_eq!(
            (answered, told["delivered"].as_bool(), told["status"].as_i64(), told["answer"].as_str()),
            (200, Some(delivered), Some(status), Some("short and stout")),
            "{told}"
        );
    }
    let got = receiver.got();
    assert_eq!((got.len(), got[0].kind(), got[0].path.as_str()), (2, "webhook.ping", "/hook"));
    assert!(got.iter().all(|one| one.is_signed_with(SECRET)) && got[0].id() != got[1].id());
    assert!(deliveries(&rig, &id, "").await.is_empty());
}
