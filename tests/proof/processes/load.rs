//! Clients that ask until they are answered, at whichever gateway, and note what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock};
use stoppress::lab::outbound::{Outbound, Request};

use super::gateways::Draw;
use super::pause;

/// What was answered to a stop.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) state: String,
    pub(crate) answered_at: Timestamp,
}

/// What a client was told of an order.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) reference: String,
    pub(crate) order: String,
    /// Up to when a stop was promised to succeed.
    pub(crate) closes_at: Option<Timestamp>,
    pub(crate) stop: Option<Answered>,
}

/// A caller with a key.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    urls: Vec<String>,
    key: String,
    outbound: Outbound,
}

impl Client {
    pub(crate) fn new(urls: Vec<String>, key: &str) -> Self {
        Self { urls, key: key.to_owned(), outbound: Outbound::trusted().unwrap() }
    }

    /// One call at one gateway; nothing if it did not answer.
    async fn call(&self, at: usize, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", self.key)).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let request = Request {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            url: format!("{}{path}", self.urls[at % self.urls.len()]).parse().unwrap(),
            headers,
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            timeout: Duration::from_secs(8),
            body_max: 1 << 20,
        };
        let response = self.outbound.call(request).await.ok()?;
        Some((response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null)))
    }

    /// Calls until it is done.
    pub(crate) async fn until(&self, method: &str, path: &str, body: &Value) -> Value {
        for attempt in 0..100 {
            if let Some((200..=299, answer)) = self.call(attempt, method, path, body).await {
                return answer;
            }
            pause(200).await;
        }
        panic!("{method} {path} was never done");
    }

    /// Calls at gateways that are drawn, until one says something definite.
    async fn insist(&self, draw: &mut Draw, path: &str, body: &Value) -> (u16, Value) {
        let mut last = None;
        for _ in 0..2_000 {
            let at = draw.below(self.urls.len() as u64) as usize;
            last = self.call(at, "POST", path, body).await;
            match &last {
                // Not served, busy, or a gateway that has not read the keys or the labs yet.
                Some((401 | 429 | 500..=599, _)) | None => {
                    pause(50 + draw.below(200) as i64).await;
                }
                Some((422, answer)) if answer.to_string().contains("is not a known lab") => pause(200).await,
                Some(answer) => return answer.clone(),
            }
        }
        panic!("{path} was never answered: {last:?}");
    }
}

/// A platform that submits orders one after another, and asks for stops of some of them.
pub(crate) async fn shop(client: Client, nth: u64, mut draw: Draw, over: Arc<AtomicBool>) -> Vec<Told> {
    let mut told = Vec::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let reference = format!("R{nth}-{number}");
        let lab = ["able", "able", "slow", "plain"][draw.below(4) as usize];
        let order = json!({"reference": reference, "lab": lab, "transfer": if draw.below(2) == 0 { "direct" } else { "batch" },
            "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
            "items": [{"id": "1", "sku": "print", "quantity": 1}]});
        let (status, answer) = client.insist(&mut draw, "/v1/orders", &order).await;
        assert!(matches!(status, 200 | 201), "{status} {answer}");
        let id = answer["id"].as_str().unwrap().to_owned();
        let closes_at = answer["window"]["closes_at"].as_str().map(|text| text.parse().unwrap());
        let mut one = Told { reference, order: id.clone(), closes_at, stop: None };
        if draw.below(2) == 0 {
            pause(draw.below(6_000) as i64).await;
            let body = json!({"reason": "storm", "asked_by": "merchant"});
            let (status, answer) = client.insist(&mut draw, &format!("/v1/orders/{id}/stop"), &body).await;
            assert!(matches!(status, 200..=299), "{status} {answer}");
            let state = answer["stop"]["state"].as_str().unwrap().to_owned();
            one.stop = Some(Answered { state, answered_at: HostClock.now() });
        }
        told.push(one);
        pause(draw.below(900) as i64).await;
    }
    told
}
