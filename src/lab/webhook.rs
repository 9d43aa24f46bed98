//! Messages to the endpoints of platforms: signed, sent once, and what came back in a few words.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::Method;
use jiff::Timestamp;
use url::Url;

use super::http::retry_after;
use super::outbound::{Outbound, Request, Response};
use super::sign::{ID, SIGNATURE, Signer, TIMESTAMP};
use super::{Pending, words};
use crate::clock::Clock;
use crate::domain::webhook::{ANSWER_READ, CALL_WITHIN, Posted, shown};

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Post {
    /// Where to.
    pub url: Url,
    /// Its id, the same at every attempt.
    pub id: String,
    /// What is sent, and signed.
    pub body: Arc<str>,
    /// Who signs.
    pub signer: Arc<Signer>,
}

/// Sends messages. Each call is one attempt and ends by itself.
pub trait Poster: Send + Sync + std::fmt::Debug {
    /// Sends one.
    fn post<'a>(&'a self, post: &'a Post) -> Pending<'a, Posted>;
    /// Why a URL can never be called; nothing where that has to be tried.
    fn refusal(&self, url: &Url) -> Option<String>;
}

/// A poster that can be shared.
pub type SharedPoster = Arc<dyn Poster>;

/// Sends a signed message once, and gives whatever came back; why nothing did, in words.
pub(super) async fn send(
    outbound: &Outbound,
    now: Timestamp,
    post: &Post,
    timeout: Duration,
    body_max: usize,
) -> Result<Response, String> {
    let signature = post.signer.sign(&post.id, now, post.body.as_bytes());
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let signed = [(ID, post.id.clone()), (TIMESTAMP, now.as_second().to_string()), (SIGNATURE, signature)];
    for (name, value) in signed {
        let value = HeaderValue::from_str(&value).map_err(|_| format!("{name} cannot be sent"))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let (url, body) = (post.url.clone(), post.body.as_bytes().to_vec());
    let request = Request { method: Method::POST, url, headers, body, timeout, body_max };
    outbound.call(request).await.map_err(|failure| failure.to_string())
}

/// Sends them through the one client.
#[derive(Debug)]
pub struct Webhooks {
    outbound: Outbound,
    clock: Arc<dyn Clock>,
}

impl Webhooks {
    /// Through this client, signed with this clock's time.
    #[must_use]
    pub fn new(outbound: Outbound, clock: Arc<dyn Clock>) -> Self {
        Self { outbound, clock }
    }

    async fn call(&self, post: &Post) -> Posted {
        match send(&self.outbound, self.clock.now(), post, CALL_WITHIN, ANSWER_READ).await {
            Ok(response) => {
                let asked = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let taken = (200..300).contains(&response.status);
                Posted {
                    status: response.status,
                    cause: (!taken).then(|| format!("HTTP {}", response.status)),
                    answer: shown(&response.body),
                    retry_after: asked
                        .filter(|_| !taken)
                        .and_then(|text| retry_after(text, self.clock.now())),
                }
            }
            Err(cause) => Posted { cause: Some(words(&cause, 300)), ..Posted::default() },
        }
    }
}

impl Poster for Webhooks {
    fn post<'a>(&'a self, post: &'a Post) -> Pending<'a, Posted> {
        Box::pin(self.call(post))
    }

    fn refusal(&self, url: &Url) -> Option<String> {
        self.outbound.guard().check(url).err().map(|refusal| refusal.0)
    }
}
