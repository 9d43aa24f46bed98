//! The one HTTP client: what it proves about a call, and that it makes each call once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;
use stoppress::domain::lab::Answer;
use stoppress::lab::outbound::{Failure, Outbound, OutboundSettings, Request};

use crate::lab_ssrf::{get, table};
use crate::lab_support::{Step, clock, closed_port, lab, scripted, settings, stop_call, tools, upload};

fn outbound() -> Outbound {
    Outbound::new(settings()).unwrap()
}

fn ok(body: &str) -> Step {
    Step::Write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn post(url: &str) -> Request {
    Request { method: Method::POST, body: b"{}".to_vec(), ..get(url) }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = scripted(vec![ok("")]).await;
    for status in [301, 302, 303, 307, 308] {
        let head = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
            target.addr
        );
        let server = scripted(vec![Step::Write(head.into_bytes())]).await;
        let response = outbound().call(post(&format!("http://{}/", server.addr))).await.unwrap();
        assert_eq!(response.status, status);
    }
    assert_eq!(target.seen(), 0);
}

#[tokio::test]
async fn a_connection_that_closes_on_a_request_has_seen_it_once() {
    let server = scripted(vec![Step::Close]).await;
    let failure = outbound().call(post(&format!("http://{}/", server.addr))).await.unwrap_err();
    assert!(matches!(failure, Failure::Unclear(_)), "{failure:?}");
    assert_eq!(server.seen(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_closes_on_a_request_has_seen_it_once() {
    let server = scripted(vec![ok("1"), Step::Close]).await;
    let (outbound, url) = (outbound(), format!("http://{}/", server.addr));
    assert_eq!(outbound.call(post(&url)).await.unwrap().body, b"1");
    let failure = outbound.call(post(&url)).await.unwrap_err();
    assert!(matches!(failure, Failure::Unclear(_)), "never taken for undelivered: {failure:?}");
    assert_eq!(server.seen(), 2);
    assert_eq!(
        server.connections.load(Ordering::SeqCst),
        1,
        "the second call went over the first connection"
    );
}

#[tokio::test]
async fn even_a_get_is_not_repeated() {
    let server = scripted(vec![ok("1"), Step::Close]).await;
    let (outbound, url) = (outbound(), format!("http://{}/", server.addr));
    outbound.call(get(&url)).await.unwrap();
    outbound.call(get(&url)).await.unwrap_err();
    assert_eq!(server.seen(), 2);
}

#[tokio::test]
async fn what_was_not_delivered_is_known_for_certain() {
    let nobody = closed_port().await;
    let failure = outbound().call(post(&format!("http://{nobody}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::NotDelivered(_)), "refused: {failure:?}");
    // A server that does not speak TLS.
    let server = scripted(vec![Step::Close]).await;
    let failure = outbound().call(post(&format!("https://{}/", server.addr))).await.unwrap_err();
    assert!(!matches!(failure, Failure::Forbidden(_)), "{failure:?}");
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let failure = outbound().call(post(&format!("https://{addr}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::NotDelivered(_)), "TLS: {failure:?}");
}

#[tokio::test]
async fn a_connection_that_never_comes_about_times_out_as_not_delivered() {
    // It takes the connection and never speaks TLS.
    let server = scripted(vec![Step::Silence]).await;
    let settings = OutboundSettings { connect_timeout: Duration::from_millis(150), ..settings() };
    let outbound = Outbound::new(settings).unwrap();
    let failure = outbound.call(post(&format!("https://{}/", server.addr))).await.unwrap_err();
    assert!(matches!(failure, Failure::NotDelivered(_)), "{failure:?}");
    assert_eq!(server.seen(), 0);
}

#[tokio::test]
async fn a_silent_lab_is_given_up_in_time() {
    let server = scripted(vec![Step::Silence]).await;
    let began = Instant::now();
    let request =
        Request { timeout: Duration::from_millis(200), ..post(&format!("http://{}/", server.addr)) };
    let failure = outbound().call(request).await.unwrap_err();
    assert!(matches!(failure, Failure::Unclear(_)), "{failure:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(server.seen(), 1);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_its_head_still_counts() {
    let server = scripted(vec![ok(&"x".repeat(5000))]).await;
    let response = outbound().call(get(&format!("http://{}/", server.addr))).await.unwrap();
    assert_eq!((response.status, response.body.len()), (200, 1024));
    assert!(response.cut.unwrap().contains("1024 bytes"));

    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
    let server = scripted(vec![Step::Write(endless), Step::Silence]).await;
    let request = Request { timeout: Duration::from_millis(200), ..get(&format!("http://{}/", server.addr)) };
    let response = outbound().call(request).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"abc".as_slice()));
    assert!(response.cut.is_some());
}

#[tokio::test]
async fn causes_name_no_url() {
    let names = table(&[]);
    let outbound = Outbound::new(OutboundSettings { names, ..settings() }).unwrap();
    let failure = outbound.call(get("https://lab.example/?token=abc")).await.unwrap_err().to_string();
    assert!(!failure.contains("token"), "{failure}");
}

#[tokio::test]
async fn the_driver_says_what_the_client_proved() {
    let tools = tools(&clock());
    let (upload, order) = upload(1);
    let at = |addr| lab("http", addr, json!({ "timeouts": { "upload": "200ms", "stop": "200ms" } }), &tools);

    let refusing = at(closed_port().await);
    assert_eq!(refusing.submit(&upload).await.answer.word(), "unreachable");
    assert_eq!(refusing.stop(&stop_call(&order)).await.answer.word(), "unreachable");
    assert_eq!(refusing.look_up(&order).await.answer.word(), "unreachable");

    for step in [Step::Close, Step::Silence] {
        let server = scripted(vec![step]).await;
        assert_eq!(at(server.addr).submit(&upload).await.answer.word(), "unclear");
        assert_eq!(at(server.addr).stop(&stop_call(&order)).await.answer.word(), "unclear");
        assert_eq!(server.seen(), 2);
    }

    let busy = b"HTTP/1.1 429 Slow\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n".to_vec();
    let server = scripted(vec![Step::Write(busy)]).await;
    let reply = at(server.addr).submit(&upload).await;
    assert_eq!((reply.answer.word(), reply.retry_after), ("unclear", Some(Duration::from_secs(9))));

    let huge = "x".repeat(1_200_000);
    let server = scripted(vec![ok(&huge)]).await;
    assert_eq!(at(server.addr).submit(&upload).await.answer, Answer::Accepted { lab_reference: None });
}

#[tokio::test]
async fn an_upload_past_its_time_is_not_started() {
    for kind in ["http", "grpc"] {
        let clock = clock();
        let server = scripted(vec![Step::Close]).await;
        let lab = lab(kind, server.addr, json!({}), &tools(&clock));
        let (upload, _) = upload(1);
        clock.set(upload.not_after);
        let answer = lab.submit(&upload).await.answer;
        assert_eq!(answer.word(), "unreachable", "{kind}");
        assert_eq!(server.connections.load(Ordering::SeqCst), 0, "{kind}");
    }
}
