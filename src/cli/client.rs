//! A client of the gateway's HTTP API, for the commands that speak to a running gateway.
//!
//! The key comes from a file or from the environment, never from the command line. What the gateway
//! refuses comes back as the [`Problem`] that it sent, and is shown whole: title, detail, and each error
//! on a line of its own.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::input::secret;
use super::{Failure, Terminal};
use crate::clock::{Clock, Random};
use crate::config::variable;
use crate::domain::batch::later;
use crate::domain::event::hex;
use crate::domain::{Fault, retry};
use crate::lab::http::retry_after;
use crate::lab::outbound::{Failure as CallFailure, Outbound, Request, Response};

/// Where a gateway listens if nobody says otherwise.
const SERVER: &str = "http://127.0.0.1:8080";
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call with many orders may take.
const BULK_TIMEOUT: Duration = Duration::from_mins(2);
/// The most bytes that are read of an answer.
const BODY_MAX: usize = 64 * 1024 * 1024;
/// So often a call is made that is answered with "later".
const TRIES: i64 = 6;
/// How many objects are asked for at once.
const PAGE: usize = 200;

/// Which gateway, and with which key.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub struct ServerArgs {
    /// The gateway.
    #[arg(
        long,
        value_name = "URL",
        help = "The gateway [default: STOPPRESS_SERVER of the environment, else http://127.0.0.1:8080]"
    )]
    pub server: Option<Url>,
    /// The file with the API key.
    #[arg(
        long,
        value_name = "FILE",
        help = "The file with the API key [default: the key in STOPPRESS_KEY of the environment]"
    )]
    pub key_file: Option<PathBuf>,
}

/// A problem document, as the gateway sent it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Problem {
    /// What it means, in a few words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// The stable word.
    pub code: String,
    /// What went wrong here.
    #[serde(default)]
    pub detail: String,
    /// What the caller can do.
    #[serde(default)]
    pub advice: String,
    /// Every fault that was found, by field.
    #[serde(default)]
    pub errors: Vec<Fault>,
}

impl Problem {
    /// What went wrong, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        if self.errors.is_empty() {
            return format!("{}: {}", self.title, self.detail);
        }
        self.errors.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.title, self.status, self.code)?;
        // The detail of a faulty request repeats its errors.
        if self.errors.is_empty() && !self.detail.is_empty() {
            write!(f, "\n  {}", self.detail)?;
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        if !self.advice.is_empty() {
            write!(f, "\n  {}", self.advice)?;
        }
        Ok(())
    }
}

/// The client.
#[derive(Debug)]
pub struct Client {
    outbound: Outbound,
    server: Url,
    key: HeaderValue,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// A call.
#[derive(Debug, Clone, Default)]
pub(super) struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Vec<u8>,
    kind: &'static str,
    timeout: Duration,
}

impl Client {
    /// A client for the gateway that the arguments or the environment name.
    ///
    /// # Errors
    /// If there is no key, or the gateway's URL cannot be used.
    pub fn new(args: &ServerArgs, terminal: &Terminal<'_>) -> Result<Self, Failure> {
        let server = match (&args.server, variable("STOPPRESS_SERVER")) {
            (Some(url), _) => url.clone(),
            (None, text) => {
                let text = text.as_deref().unwrap_or(SERVER);
                let field = "STOPPRESS_SERVER";
                text.parse()
                    .map_err(|_| Fault::not(field, text, "a URL such as \"http://127.0.0.1:8080\""))?
            }
        };
        if !matches!(server.scheme(), "http" | "https") || !server.has_host() {
            return Err(Fault::not("--server", server.as_str(), "an http or https URL").into());
        }
        let (field, key) = match (&args.key_file, variable("STOPPRESS_KEY")) {
            (Some(file), _) => ("--key-file", secret("--key-file", file)?),
            (None, Some(key)) => ("STOPPRESS_KEY", SecretString::from(key.trim().to_owned())),
            (None, None) => {
                let allowed = "a file with an API key, where STOPPRESS_KEY is not set";
                return Err(Fault::missing("--key-file", allowed).into());
            }
        };
        let key = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()));
        // What was there is not shown: it may be most of a key.
        let mut key =
            key.map_err(|_| Fault::new(field, "has no API key: a key is one line, sp_ID_SECRET"))?;
        key.set_sensitive(true);
        let (clock, random) = (Arc::clone(&terminal.clock), Arc::clone(&terminal.random));
        Ok(Self { outbound: Outbound::trusted()?, server, key, clock, random })
    }

    /// A path of the gateway as a whole URL.
    #[must_use]
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.server.as_str().trim_end_matches('/'))
    }

    /// Reads an object.
    ///
    /// # Errors
    /// If the gateway refuses, or does not answer.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        json(&self.call(Call { path, query, ..Call::default() }).await?)
    }

    /// Sends an object.
    ///
    /// # Errors
    /// If the gateway refuses, or does not answer.
    pub async fn send(&self, method: Method, path: &[&str], body: &Value) -> Result<(u16, Value), Failure> {
        let body = body.to_string().into_bytes();
        let call = Call { method, path, body, kind: "application/json", ..Call::default() };
        let response = self.call(call).await?;
        Ok((response.status, json(&response)?))
    }

    /// Sends an object to which nothing is answered.
    ///
    /// # Errors
    /// If the gateway refuses, or does not answer.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<(), Failure> {
        let body = body.to_string().into_bytes();
        let call = Call { method: Method::POST, path, body, kind: "application/json", ..Call::default() };
        self.call(call).await.map(drop)
    }

    /// Asks where an order would go.
    ///
    /// # Errors
    /// If the gateway refuses, or does not answer.
    pub(super) async fn route(&self, platform: Option<&str>, asked: &Value) -> Result<Value, Failure> {
        let query: Vec<(&str, &str)> = platform.map(|id| ("platform", id)).into_iter().collect();
        let call = Call {
            method: Method::POST,
            path: &["v1", "routes", "explain"],
            query: &query,
            body: asked.to_string().into_bytes(),
            kind: "application/json",
            ..Call::default()
        };
        json(&self.call(call).await?)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// If the gateway refuses, or does not answer.
    pub async fn delete(&self, path: &[&str]) -> Result<(), Failure> {
        self.call(Call { method: Method::DELETE, path, ..Call::default() }).await.map(drop)
    }

    /// Reads a list, page by page, until there is no more or `limit` is reached.
    ///
    /// # Errors
    /// If the gateway refuses, or does not answer.
    pub async fn list(
        &self,
        noun: &str,
        query: &[(&str, &str)],
        limit: usize,
    ) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        while found.len() < limit {
            let wanted = (limit - found.len()).min(PAGE).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &wanted));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(&["v1", noun], &query).await?;
            if let Some(Value::Array(objects)) = page.get_mut(noun).map(Value::take) {
                found.extend(objects);
            }
            cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Sends many orders, one a line, and gives one result a line.
    ///
    /// # Errors
    /// If the gateway refuses them all, or does not answer.
    pub(super) async fn bulk(&self, platform: Option<&str>, lines: &[u8]) -> Result<Response, Failure> {
        let query: Vec<(&str, &str)> = platform.map(|id| ("platform", id)).into_iter().collect();
        let call = Call {
            method: Method::POST,
            path: &["v1", "orders", "bulk"],
            query: &query,
            body: lines.to_vec(),
            kind: "application/x-ndjson",
            timeout: BULK_TIMEOUT,
        };
        self.call(call).await
    }

    async fn call(&self, call: Call<'_>) -> Result<Response, Failure> {
        let mut url = self.server.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let request = Request {
            url,
            headers: self.headers(&call),
            method: call.method,
            body: call.body,
            timeout: if call.timeout.is_zero() { TIMEOUT } else { call.timeout },
            body_max: BODY_MAX,
        };
        let mut attempt = 1;
        loop {
            let response =
                self.outbound.call(request.clone()).await.map_err(|failure| self.silence(failure))?;
            let later_status = matches!(response.status, 429 | 503);
            if !later_status || attempt == TRIES {
                return checked(response);
            }
            let now = self.clock.now();
            let asked = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let asked = asked.and_then(|text| retry_after(text, now));
            self.clock.sleep_until(later(now, retry::delay(attempt, asked, &*self.random))).await;
            attempt += 1;
        }
    }

    fn headers(&self, call: &Call<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.key.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if !call.kind.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(call.kind));
        }
        if call.method == Method::POST {
            // The same for every attempt of this call.
            let mut once = [0; 16];
            self.random.fill(&mut once);
            if let Ok(once) = HeaderValue::from_str(&hex(&once)) {
                headers.insert("idempotency-key", once);
            }
        }
        headers
    }

    fn silence(&self, failure: CallFailure) -> Failure {
        let server = self.server.as_str().trim_end_matches('/');
        Failure::Failed(match failure {
            CallFailure::NotDelivered(why) => format!(
                "no gateway answers at {server}: {why}\n  \
                 Start one with `stoppress serve`, or name another with --server or STOPPRESS_SERVER."
            ),
            CallFailure::Forbidden(why) => format!("{server} cannot be called: {why}"),
            CallFailure::Unclear(why) => format!(
                "the gateway at {server} broke off: {why}\n  The same command can be repeated without harm."
            ),
        })
    }
}

/// What is not an answer of success is a failure.
fn checked(response: Response) -> Result<Response, Failure> {
    if StatusCode::from_u16(response.status).is_ok_and(|status| status.is_success()) {
        return Ok(response);
    }
    if let Some(problem) = response.json::<Problem>() {
        return Err(Failure::Refused(Box::new(problem)));
    }
    Err(Failure::Failed(format!(
        "the answer has status {} and no problem document: this is not a gateway, or something stands before it",
        response.status
    )))
}

fn json(response: &Response) -> Result<Value, Failure> {
    match &response.cut {
        Some(why) => Err(Failure::Failed(format!("the gateway's answer broke off: {why}"))),
        None => response.json().ok_or_else(|| {
            Failure::Failed(
                "the answer is not JSON: this is not a gateway, or something stands before it".to_owned(),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_whole() {
        let text = r#"{"type":"/problems#invalid","title":"The request has faults","status":422,"code":"invalid",
            "detail":"lab: is missing; name: is missing","advice":"Correct them.","order":"ord_1",
            "errors":[{"field":"lab","message":"is missing"},{"field":"name","message":"is missing"}]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        let expected =
            "The request has faults (422 invalid)\n  lab: is missing\n  name: is missing\n  Correct them.";
        assert_eq!(problem.to_string(), expected);
        assert_eq!(problem.line(), "lab: is missing; name: is missing");
        let short =
            Problem { errors: vec![], advice: String::new(), detail: "It is gone.".into(), ..problem };
        assert_eq!(short.to_string(), "The request has faults (422 invalid)\n  It is gone.");
    }
}
