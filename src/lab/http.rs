//! The driver `http`: a lab that serves the four operations as JSON.
//!
//! | call | answers |
//! |---|---|
//! | `POST {base}/orders` | 2xx: the lab has them; 4xx: it never will under this key |
//! | `POST {base}/orders/{id}/stop` | 2xx with `{"answer": "removed" \| "will_print" \| "answer_later" \| "not_found"}`; 404: not found |
//! | `POST {base}/orders/{id}/address` | only to labs with `address_changes`: see [`super::address`] |
//! | `GET {base}/orders/{id}` | 2xx with `{"stage": …}`, perhaps `"prints"`; 404: not found |
//! | `GET {base}/` | 2xx: somebody is there; perhaps with `{"name": …, "contract": "stoppress/1", "two_phase": …}` |
//! | `PUT {base}/imports/{id}` | only to labs with `two_phase`: 2xx: the lab holds the order, and prints nothing |
//! | `DELETE {base}/imports/{id}` | it is not coming; nothing depends on the answer |
//!
//! A stop of lines has `"items": [ids]`, and so has its `removed`: only labs with `stops_lines` are asked so.
//!
//! An order that was sent ahead is released by the upload that carries it, and by nothing else. The upload is
//! whole: its content counts, also for a lab that holds another one, or none. What the lab called the order then
//! (`lab_reference`) is in the upload as `import_reference`.
//!
//! Every call is signed by the Standard Webhooks scheme if a secret is set.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::outbound::{Failure, LAB_BODY_MAX, Outbound, Request, Response};
use super::sign::{self, Signer};
use super::{
    AddressCall, Driver, Import, Lab, Pending, Reply, Settings, StopCall, Timeouts, Tools, Upload, address,
    some_words, words,
};
use crate::clock::{Clock, Random};
use crate::domain::Fault;
use crate::domain::ids::OrderId;
use crate::domain::lab::{Answer, LabSpec, SecretRef};
use crate::domain::order::Stage;

/// The driver.
pub const DRIVER: Driver = Driver { kind: "http", manual: false, check, build };

/// The header with the instant after which the lab must refuse an upload.
pub const NOT_AFTER: &str = "stoppress-not-after";
/// The header with the hash of an upload's body, in hex.
pub const MANIFEST_SHA256: &str = "stoppress-manifest-sha256";
/// The header with the key of a call: the same key always comes with the same bytes.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpSettings {
    base_url: Option<String>,
    secret: Option<SecretRef>,
    #[serde(default)]
    timeouts: Timeouts,
}

fn check(settings: &Settings) -> Vec<Fault> {
    match super::settings::<HttpSettings>(settings) {
        Err(fault) => vec![fault],
        Ok(settings) => {
            let mut faults = settings.timeouts.faults();
            faults.extend(super::endpoint("base_url", settings.base_url.as_deref()).err());
            faults
        }
    }
}

fn build(spec: &LabSpec, tools: &Tools) -> Result<Arc<dyn Lab>, Fault> {
    let settings: HttpSettings = super::settings(&spec.driver.settings)?;
    let base = super::endpoint("base_url", settings.base_url.as_deref())?;
    tools.outbound.guard().check(&base).map_err(|refusal| Fault::new("base_url", refusal.0))?;
    let signer = match &settings.secret {
        None => None,
        Some(named) => {
            let secret = (tools.secrets)(named).map_err(|fault| fault.under("secret"))?;
            Some(Signer::new(&secret).map_err(|fault| fault.under("secret"))?)
        }
    };
    Ok(Arc::new(HttpLab {
        base,
        signer,
        timeouts: settings.timeouts,
        outbound: tools.outbound.clone(),
        clock: Arc::clone(&tools.clock),
        random: Arc::clone(&tools.random),
    }))
}

/// A lab over HTTP.
#[derive(Debug)]
struct HttpLab {
    base: Url,
    signer: Option<Signer>,
    timeouts: Timeouts,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// One call, before it is signed.
struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    /// The key; also the id of the signed message. Calls that change nothing get a random id.
    key: Option<&'a str>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    timeout: Duration,
}

#[derive(Serialize)]
struct StopBody<'a> {
    stop: &'a str,
    order: &'a str,
    reason: &'a str,
    asked_at: Timestamp,
    answer_by: Timestamp,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    items: &'a [String],
}

impl HttpLab {
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn call(&self, call: Call<'_>) -> Result<Response, Failure> {
        // What cannot be written as a header was certainly not sent.
        let value = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| Failure::NotDelivered("a header is not printable".to_owned()))
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(key) = call.key {
            headers.insert(HeaderName::from_static(IDEMPOTENCY_KEY), value(key)?);
        }
        for (name, text) in &call.headers {
            headers.insert(HeaderName::from_static(name), value(text)?);
        }
        if let Some(signer) = &self.signer {
            let now = self.clock.now();
            let id = call.key.map_or_else(|| fresh(&*self.random), ToOwned::to_owned);
            let mut signature = value(&signer.sign(&id, now, &call.body))?;
            signature.set_sensitive(true);
            headers.insert(HeaderName::from_static(sign::ID), value(&id)?);
            headers.insert(HeaderName::from_static(sign::TIMESTAMP), value(&now.as_second().to_string())?);
            headers.insert(HeaderName::from_static(sign::SIGNATURE), signature);
        }
        let request = Request {
            method: call.method,
            url: self.url(call.path),
            headers,
            body: call.body,
            timeout: call.timeout,
            body_max: LAB_BODY_MAX,
        };
        self.outbound.call(request).await
    }

    async fn seen(&self, order: &OrderId) -> Result<Response, Failure> {
        self.call(Call {
            method: Method::GET,
            path: &["orders", order.as_str()],
            key: None,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Timeouts::of(self.timeouts.look_up),
        })
        .await
    }

    async fn described(&self) -> Result<Response, Failure> {
        self.call(Call {
            method: Method::GET,
            path: &[""],
            key: None,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Timeouts::of(self.timeouts.look_up),
        })
        .await
    }

    fn reply(&self, outcome: Result<Response, Failure>, classify: fn(&Response) -> Answer) -> Reply {
        match outcome {
            Ok(response) => Reply {
                answer: classify(&response),
                retry_after: response
                    .headers
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|text| retry_after(text, self.clock.now())),
            },
            Err(Failure::Unclear(cause)) => Answer::Unclear { cause }.into(),
            Err(unsent @ (Failure::Forbidden(_) | Failure::NotDelivered(_))) => {
                Answer::Unreachable { cause: unsent.to_string() }.into()
            }
        }
    }
}

impl Lab for HttpLab {
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply> {
        Box::pin(async move {
            let Some(timeout) = self.timeouts.of_upload(upload, self.clock.now()) else {
                return super::too_late(upload);
            };
            let outcome = self.call(Call {
                method: Method::POST,
                path: &["orders"],
                key: Some(&upload.key),
                headers: vec![
                    (NOT_AFTER, upload.not_after.to_string()),
                    (MANIFEST_SHA256, hex(&upload.sha256)),
                ],
                body: upload.body.clone(),
                timeout,
            });
            self.reply(outcome.await, classify_submit)
        })
    }

    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let body = StopBody {
                stop: call.stop.as_str(),
                order: call.order.as_str(),
                reason: &call.reason,
                asked_at: call.asked_at,
                answer_by: call.answer_by,
                items: &call.items,
            };
            let Ok(body) = serde_json::to_vec(&body) else {
                return Answer::Unreachable { cause: "the stop cannot be written as JSON".to_owned() }.into();
            };
            let path = ["orders", call.order.as_str(), "stop"];
            let outcome = self.call(Call {
                method: Method::POST,
                path: &path,
                key: Some(call.stop.as_str()),
                headers: Vec::new(),
                body,
                timeout: Timeouts::of(self.timeouts.stop),
            });
            self.reply(outcome.await, classify_stop)
        })
    }

    fn change_address<'a>(&'a self, call: &'a AddressCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let Ok(body) = serde_json::to_vec(&address::Body::from(call)) else {
                return Answer::Unreachable { cause: "the address cannot be written as JSON".to_owned() }
                    .into();
            };
            let path = ["orders", call.order.as_str(), "address"];
            let outcome = self.call(Call {
                method: Method::POST,
                path: &path,
                key: Some(call.change.as_str()),
                headers: Vec::new(),
                body,
                timeout: Timeouts::of(self.timeouts.stop),
            });
            self.reply(outcome.await, address::classify)
        })
    }

    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(async move { self.reply(self.seen(order).await, classify_look_up) })
    }

    fn prints<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Option<u64>> {
        #[derive(Deserialize)]
        struct Seen {
            prints: Option<u64>,
        }
        Box::pin(async move {
            let seen = self.seen(order).await.ok().filter(|seen| (200..=299).contains(&seen.status))?;
            seen.json::<Seen>()?.prints
        })
    }

    fn import<'a>(&'a self, import: &'a Import) -> Pending<'a, Reply> {
        Box::pin(async move {
            let path = ["imports", import.order.as_str()];
            let outcome = self.call(Call {
                method: Method::PUT,
                path: &path,
                key: None,
                headers: Vec::new(),
                body: import.body.clone(),
                timeout: Timeouts::of(self.timeouts.stop),
            });
            self.reply(outcome.await, classify_submit)
        })
    }

    fn discard<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(async move {
            let path = ["imports", order.as_str()];
            let outcome = self.call(Call {
                method: Method::DELETE,
                path: &path,
                key: None,
                headers: Vec::new(),
                body: Vec::new(),
                timeout: Timeouts::of(self.timeouts.stop),
            });
            self.reply(outcome.await, classify_submit)
        })
    }

    fn describe(&self) -> Pending<'_, Reply> {
        Box::pin(async move { self.reply(self.described().await, classify_describe) })
    }

    fn has_first_phase(&self) -> Pending<'_, bool> {
        #[derive(Deserialize)]
        struct Who {
            #[serde(default)]
            two_phase: bool,
        }
        Box::pin(async move {
            let who = self.described().await.ok().filter(|who| (200..=299).contains(&who.status));
            who.and_then(|who| who.json::<Who>()).is_some_and(|who| who.two_phase)
        })
    }
}

/// What an answer to an upload means. A 2xx is the lab's word that it has the orders, whatever
/// else it says; a 4xx that speaks of this request is its word that it never will.
#[must_use]
pub fn classify_submit(response: &Response) -> Answer {
    #[derive(Deserialize)]
    struct Taken {
        lab_reference: Option<String>,
    }
    match response.status {
        200..=299 => Answer::Accepted {
            lab_reference: response
                .json::<Taken>()
                .and_then(|taken| taken.lab_reference)
                .and_then(|text| some_words(&text, 200)),
        },
        status if definite(status) => Answer::Refused { reason: said(response) },
        _ => Answer::Unclear { cause: said(response) },
    }
}

/// What an answer to a stop means. A 2xx without one of the known answers is delivery only: the
/// answer comes later.
#[must_use]
pub fn classify_stop(response: &Response) -> Answer {
    #[derive(Deserialize)]
    struct Said {
        answer: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        stage: Option<serde_json::Value>,
        #[serde(default)]
        items: Vec<String>,
    }
    match response.status {
        200..=299 => {
            let Some(said) = response.json::<Said>() else { return Answer::AnswerLater };
            let reason = said.reason.and_then(|text| some_words(&text, 300));
            match said.answer.as_str() {
                "removed" => Answer::Removed { reason, items: said.items },
                "will_print" => {
                    let stage = said.stage.and_then(|stage| serde_json::from_value(stage).ok());
                    Answer::WillPrint { reason, stage: stage.unwrap_or_default() }
                }
                "not_found" => Answer::NotFound,
                _ => Answer::AnswerLater,
            }
        }
        404 => Answer::NotFound,
        status if definite(status) => Answer::Refused { reason: said(response) },
        _ => Answer::Unclear { cause: said(response) },
    }
}

/// What an answer to a look-up means. Only a known stage counts as a sign of the order, and a
/// refusal of the look-up says nothing about it: both are unclear, never `Refused`, which could
/// be taken for a word on the upload.
#[must_use]
pub fn classify_look_up(response: &Response) -> Answer {
    #[derive(Deserialize)]
    struct Seen {
        stage: String,
    }
    match response.status {
        200..=299 => match response.json::<Seen>().as_ref().map(|seen| seen.stage.as_str()) {
            Some("received") => Answer::Accepted { lab_reference: None },
            Some("in_production") => Answer::WillPrint { reason: None, stage: Stage::InProduction },
            Some("printed") => Answer::WillPrint { reason: None, stage: Stage::Printed },
            Some("shipped") => Answer::WillPrint { reason: None, stage: Stage::Shipped },
            Some("removed") => Answer::Removed { reason: None, items: Vec::new() },
            Some(_) => {
                Answer::Unclear { cause: "the lab answered with a stage that is not known".to_owned() }
            }
            None => Answer::Unclear { cause: "the lab answered without a stage".to_owned() },
        },
        404 => Answer::NotFound,
        _ => Answer::Unclear { cause: said(response) },
    }
}

fn classify_describe(response: &Response) -> Answer {
    #[derive(Deserialize)]
    struct Who {
        #[serde(default)]
        name: String,
        #[serde(default)]
        contract: String,
    }
    match response.status {
        200..=299 => {
            let said = response.json::<Who>();
            Answer::Accepted { lab_reference: said.and_then(|said| super::who(&said.name, &said.contract)) }
        }
        404 => Answer::NotFound,
        _ => Answer::Unclear { cause: said(response) },
    }
}

/// A 4xx is the lab's definite word, but for those that servers and their edges send about
/// time-outs, conflicts, misdirection and load.
pub(super) fn definite(status: u16) -> bool {
    (400..=499).contains(&status) && !matches!(status, 408 | 409 | 421 | 425 | 429)
}

/// A status and the lab's words about it.
pub(super) fn said(response: &Response) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
        reason: Option<String>,
        title: Option<String>,
    }
    let more = response.json::<Problem>().and_then(|p| p.detail.or(p.reason).or(p.title));
    match more.and_then(|text| some_words(&text, 300)) {
        Some(text) => format!("HTTP {}: {text}", response.status),
        None => format!("HTTP {}", response.status),
    }
}

/// `Retry-After`: whole seconds, or a date.
#[must_use]
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

/// Bytes in lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
        text
    })
}

/// The id of a signed message that has no key of its own.
fn fresh(random: &dyn Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    words(&format!("get_{}", hex(&bytes)), 40)
}
