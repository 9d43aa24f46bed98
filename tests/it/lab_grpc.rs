//! The gRPC driver against servers that are not a lab.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use serde_json::json;
use stoppress::domain::lab::Answer;
use stoppress::domain::order::Stage;
use stoppress::lab::grpc::message;

use crate::lab_support::{Step, clock, closed_port, eventually, lab, scripted, stop_call, tools, upload};

#[test]
fn the_message_is_built_from_the_frozen_bytes() {
    let (upload, order) = upload(3);
    let message = message(&upload).unwrap();
    assert_eq!(
        (message.transfer.as_str(), message.key.as_str()),
        (upload.transfer.as_str(), upload.key.as_str())
    );
    assert_eq!(message.manifest_sha256, upload.sha256);
    assert_eq!(message.not_after.unwrap().seconds, upload.not_after.as_second());
    let [sent] = message.orders.as_slice() else { panic!("one order") };
    assert_eq!(
        (sent.id.as_str(), sent.platform.as_str(), sent.region.as_str()),
        (order.as_str(), "shop", "fi")
    );
    assert_eq!(sent.ship_to.as_ref().unwrap().name, "Åsa");
    let items: Vec<_> =
        sent.items.iter().map(|item| (item.sku.as_str(), item.quantity, item.download)).collect();
    assert_eq!(items, [("print-10x15", 2, false)], "no lab is handed a download");
    assert_eq!(sent.items[0].files[0].url, "https://files.example/1.jpg");
}

#[tokio::test]
async fn what_is_not_an_upload_is_not_started() {
    let lab = lab("grpc", closed_port().await, json!({}), &tools(&clock()));
    let (mut upload, _) = upload(1);
    upload.body = b"<xml/>".to_vec();
    assert!(format!("{:?}", lab.submit(&upload).await.answer).contains("not an upload"));
}

#[tokio::test]
async fn only_a_failed_connection_is_unreachable() {
    let tools = tools(&clock());
    let (upload, order) = upload(1);
    let quick = json!({ "timeouts": { "upload": "300ms", "stop": "300ms", "look_up": "300ms" } });

    let refusing = lab("grpc", closed_port().await, quick.clone(), &tools);
    for _ in 0..3 {
        let answer = refusing.submit(&upload).await.answer;
        assert_eq!(answer.word(), "unreachable", "{answer:?}");
    }
    assert_eq!(refusing.stop(&stop_call(&order)).await.answer.word(), "unreachable");

    for step in [Step::Close, Step::Silence, Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())] {
        let server = scripted(vec![step]).await;
        let lab = lab("grpc", server.addr, quick.clone(), &tools);
        for _ in 0..3 {
            let answer = lab.submit(&upload).await.answer;
            assert_eq!(answer.word(), "unclear", "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_tls_handshake_that_fails_is_unreachable() {
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let spec = crate::lab_support::spec(json!({ "kind": "grpc", "endpoint": format!("https://{addr}") }));
    let Ok(lab) = stoppress::lab::connect(&spec, &tools(&clock())) else {
        // A machine without root certificates cannot build a TLS lab at all.
        return;
    };
    let answer = lab.submit(&upload(1).0).await.answer;
    assert_eq!(answer.word(), "unreachable", "{answer:?}");
}

/// A server that answers every gRPC call with these headers, and counts.
async fn answering(headers: &[(&'static str, &'static str)]) -> (SocketAddr, Arc<AtomicUsize>) {
    let all: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let router = Router::new().fallback(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let all = all.clone();
        async move { all }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (addr, seen)
}

#[tokio::test]
async fn a_lab_cannot_crash_its_caller() {
    let (addr, seen) = answering(&[
        ("content-type", "application/grpc"),
        ("grpc-status", "3"),
        ("grpc-status-details-bin", "!!! not base64 !!!"),
    ])
    .await;
    let lab = lab("grpc", addr, json!({}), &tools(&clock()));
    let (upload, _) = upload(1);
    for _ in 0..2 {
        assert_eq!(lab.submit(&upload).await.answer.word(), "unclear");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_busy_lab_is_unclear_is_not_asked_again_and_says_when() {
    let (addr, seen) = answering(&[
        ("content-type", "application/grpc"),
        ("grpc-status", "14"),
        ("grpc-retry-pushback-ms", "2500"),
    ])
    .await;
    let lab = lab("grpc", addr, json!({}), &tools(&clock()));
    let reply = lab.submit(&upload(1).0).await;
    assert_eq!(reply.answer.word(), "unclear");
    assert_eq!(reply.retry_after, Some(std::time::Duration::from_millis(2500)));
    eventually("one call", || seen.load(Ordering::SeqCst) == 1).await;
}

/// Where a lab listens that answers whatever it is asked with this message.
async fn saying(message: &'static [u8]) -> std::net::SocketAddr {
    let router = Router::new().fallback(async move || {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/grpc".parse().unwrap());
        // Trailers-only would have no message: the status goes in the head, the message in the body.
        headers.insert("grpc-status", "0".parse().unwrap());
        let head = [0_u8, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        (headers, [&head, message].concat())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

#[tokio::test]
async fn a_lab_that_prints_says_how_far_it_is() {
    // StopOrderResponse { answer: ANSWER_WILL_PRINT, stage }.
    for (message, stage) in [
        (&[8_u8, 2][..], Stage::Received),
        (&[8, 2, 24, 1], Stage::Received),
        (&[8, 2, 24, 2], Stage::InProduction),
        (&[8, 2, 24, 3], Stage::Printed),
        (&[8, 2, 24, 4], Stage::Shipped),
        // What cannot be, or is not known, is not believed.
        (&[8, 2, 24, 5], Stage::Received),
        (&[8, 2, 24, 99], Stage::Received),
    ] {
        let lab = lab("grpc", saying(message).await, json!({}), &tools(&clock()));
        let said = lab.stop(&stop_call(&upload(1).1)).await.answer;
        assert_eq!(said, Answer::WillPrint { reason: None, stage }, "{message:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_known_is_never_ok() {
    // StopOrderResponse { answer: 77 }.
    let lab = lab("grpc", saying(&[8, 77]).await, json!({}), &tools(&clock()));
    let (_, order) = upload(1);
    let stop = lab.stop(&stop_call(&order)).await.answer;
    assert!(matches!(stop.word(), "answer_later" | "unclear"), "{stop:?}");
    let seen = lab.look_up(&order).await.answer;
    assert_eq!(seen.word(), "unclear", "{seen:?}");
}
