//! How a simulated lab tells the gateway a late answer.

use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;

use super::Gateway;
use super::ledger::Said;
use crate::domain::order::Stage;
use crate::lab::outbound::{Outbound, Request};

/// Posts an answer to the gateway; false if it is worth trying again.
pub(super) async fn tell(
    gateway: &Gateway,
    outbound: &Outbound,
    stop: &str,
    (said, stage): (Said, Stage),
    items: &[String],
) -> bool {
    let mut url = gateway.url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "lab", "stops", stop, "answer"]);
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = HeaderValue::from_str(&format!("Bearer {}", gateway.key.expose_secret()));
    if let (Ok(mut key), Ok(once)) = (key, HeaderValue::from_str(&format!("{stop}-answer"))) {
        key.set_sensitive(true);
        headers.insert(AUTHORIZATION, key);
        headers.insert("idempotency-key", once);
    }
    let body = match said {
        Said::WillPrint => serde_json::json!({ "answer": said, "stage": stage }),
        _ if items.is_empty() => serde_json::json!({ "answer": said }),
        _ => serde_json::json!({ "answer": said, "items": items }),
    };
    let request = Request {
        method: hyper::Method::POST,
        url,
        headers,
        body: body.to_string().into_bytes(),
        timeout: Duration::from_secs(10),
        body_max: 64 * 1024,
    };
    match outbound.call(request).await {
        Ok(response) => !matches!(response.status, 408 | 425 | 429 | 500..=599),
        Err(_) => false,
    }
}
