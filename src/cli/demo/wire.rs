//! The public API as anybody calls it: over HTTP, with a key, and the few fields that the demo reads.

use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::domain::ids::{BatchId, EscalationId, LabId, OrderId, RegionId, StopId};
use crate::domain::order::OrderState;
use crate::domain::stop::{Evidence, StopState};
use crate::domain::verdict::CanStop;
use crate::lab::outbound::{Failure, Outbound, Request};

/// A caller with its key.
#[derive(Debug, Clone)]
pub struct Caller {
    base: Url,
    key: SecretString,
    outbound: Outbound,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body; null where there is none.
    pub body: Value,
}

/// An answer that the demo did not expect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Odd {
    /// There was none.
    #[error("{call}: {cause}")]
    NoAnswer {
        /// The call.
        call: String,
        /// What happened.
        cause: Failure,
    },
    /// It says something else.
    #[error("{call} answered {status}: {text}")]
    Unexpected {
        /// The call.
        call: String,
        /// The status.
        status: u16,
        /// The body, shortened.
        text: String,
    },
}

impl Reply {
    /// Reads the body, if the status is one of success.
    ///
    /// # Errors
    /// If it is not, or the body has another shape.
    pub fn read<T: DeserializeOwned>(&self, call: &str) -> Result<T, Odd> {
        let odd = |text: String| Odd::Unexpected {
            call: call.to_owned(),
            status: self.status,
            text: text.chars().take(400).collect(),
        };
        if !(200..300).contains(&self.status) {
            return Err(odd(self.body.to_string()));
        }
        T::deserialize(&self.body).map_err(|error| odd(format!("{error}: {}", self.body)))
    }
}

impl Caller {
    /// A caller of the gateway at `base`.
    #[must_use]
    pub fn new(base: &Url, key: SecretString, outbound: &Outbound) -> Self {
        Self { base: base.clone(), key, outbound: outbound.clone() }
    }

    /// The same gateway with another key.
    #[must_use]
    pub fn with(&self, key: SecretString) -> Self {
        Self { key, ..self.clone() }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.expose_secret()
    }

    /// Makes a call. Parts of the path are encoded one by one.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Odd> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push("v1").extend(path);
        }
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {}", self.key())) {
            headers.insert(AUTHORIZATION, value);
        }
        let call = format!("{method} {}", url.path());
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let timeout = Duration::from_mins(1);
        let request = Request { method, url, headers, body, timeout, body_max: 64 << 20 };
        let response = self.outbound.call(request).await.map_err(|cause| Odd::NoAnswer { call, cause })?;
        Ok(Reply { status: response.status, body: response.json().unwrap_or(Value::Null) })
    }

    /// Reads something.
    ///
    /// # Errors
    /// If the answer is not that.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &str) -> Result<T, Odd> {
        self.call(Method::GET, path, query, None).await?.read(&format!("GET {}", path.join("/")))
    }

    /// Creates or replaces something.
    ///
    /// # Errors
    /// If the gateway refuses.
    pub async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Odd> {
        self.call(Method::PUT, path, "", Some(body)).await?.read(&format!("PUT {}", path.join("/")))
    }

    /// Posts something.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Reply, Odd> {
        self.call(Method::POST, path, "", Some(body)).await
    }

    /// Reads all pages of a list.
    ///
    /// # Errors
    /// If a page cannot be read.
    pub async fn all<T: DeserializeOwned>(
        &self,
        path: &[&str],
        list: &str,
        filter: &str,
    ) -> Result<Vec<T>, Odd> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        let call = format!("GET {}", path.join("/"));
        loop {
            let mut query = url::form_urlencoded::Serializer::new(filter.to_owned());
            query.append_pair("limit", "200");
            if let Some(cursor) = &cursor {
                query.append_pair("cursor", cursor);
            }
            let reply = self.call(Method::GET, path, &query.finish(), None).await?;
            let mut page: Value = reply.read(&call)?;
            let rows = page.get_mut(list).map(Value::take).unwrap_or_default();
            let rows = Reply { status: reply.status, body: rows }.read::<Vec<T>>(&call)?;
            all.extend(rows);
            cursor = page.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

/// A window, as an order's answer shows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Window {
    pub batch: BatchId,
    pub closes_at: Timestamp,
    pub closes_at_local: String,
}

/// A verdict.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Verdict {
    pub can_stop: CanStop,
    pub until: Option<Timestamp>,
}

/// A stop.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stop {
    pub id: StopId,
    pub order: OrderId,
    pub state: StopState,
    pub evidence: Option<Evidence>,
    pub asked_at: Timestamp,
}

/// The answer to a stop.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct StopAnswer {
    pub stop: Stop,
}

/// An order.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Order {
    pub id: OrderId,
    pub reference: String,
    pub lab: LabId,
    pub region: RegionId,
    pub state: OrderState,
    pub window: Option<Window>,
    pub verdict: Verdict,
    pub stop: Option<Stop>,
}

/// A batch in a list.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Batch {
    pub id: BatchId,
    pub lab: LabId,
    pub region: RegionId,
    pub window: Window,
    pub orders: u64,
    pub stopped: u64,
    #[serde(default)]
    pub transfers: Vec<Transfer>,
}

/// A transfer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Transfer {
    pub phase: crate::domain::batch::TransferPhase,
    pub orders: u64,
    pub attempts: u64,
}

/// An escalation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Escalation {
    pub id: EscalationId,
    pub kind: String,
    pub subject: String,
    pub order: Option<OrderId>,
    pub lab: LabId,
    pub opened_at: Timestamp,
    pub due_at: Timestamp,
}

/// An entry of the feed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    pub subject: String,
    pub kind: String,
    pub actor: String,
    pub detail: Value,
}
