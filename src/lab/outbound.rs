//! The one HTTP client: every call that leaves the house over HTTP goes through [`Outbound::call`].
//!
//! It never follows a redirect, never uses a proxy, keeps no cookies and repeats nothing by itself:
//! an attempt is the caller's decision, and is recorded. It speaks HTTP/1.1 only, so that what
//! happens to a connection happens to one call (no refused streams, no shared resets).
//!
//! What a failure means is decided here, by what the client library can prove:
//! - [`Failure::NotDelivered`] only if no connection for the request came about. The library marks
//!   these errors itself, and gives a request to a connection only after that; a pooled connection
//!   that dies with the request on it is never marked so, and is [`Failure::Unclear`].
//! - A request that was queued for a pooled connection which closed before taking it is handed back
//!   unsent, and goes out once, on another connection. That is not a repeat: no byte had left.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::{HeaderMap, Method};
use ipnet::IpNet;
use url::Url;

use super::guard::{Guard, Names, Reach, Refusal, SystemNames};
use crate::domain::Fault;

/// The most bytes that are read of a lab's answer.
pub const LAB_BODY_MAX: usize = 1024 * 1024;
/// How long a connection may take, with look-up and TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept. Shorter than the keep-alive of common servers (5 s and
/// more), so that an upload is not written into a connection that its server is closing.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections that are kept for one host: as many as a lab may have calls under way.
const IDLE_MAX: usize = 256;

/// Installs the TLS provider for this process; more calls do nothing.
pub fn install_tls() {
    // An error means that one is installed already: this one, unless two are compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What may be called, and whom to trust.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// Networks that may be called although they are not public: by plain http, and at any port.
    pub allow: Vec<IpNet>,
    /// The ports of public hosts.
    pub ports: Vec<u16>,
    /// A PEM file with more root certificates, beside the platform's.
    pub extra_ca: Option<PathBuf>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// Who looks names up.
    pub names: Arc<dyn Names>,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            ports: vec![443, 8443],
            extra_ca: None,
            connect_timeout: CONNECT_TIMEOUT,
            names: Arc::new(SystemNames),
        }
    }
}

/// A request, whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How long the call may take, all in all.
    pub timeout: Duration,
    /// How many bytes of the answer's body are read.
    pub body_max: usize,
}

/// An answer. Its head came whole; its body perhaps not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// Why the body is not whole, if it is not: too long, reset, or too slow.
    pub cut: Option<String>,
}

impl Response {
    /// The body, if it is whole and a JSON object of this shape. An array is none, although the
    /// library would read a struct's fields from one.
    #[must_use]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        let whole = self.cut.is_none().then_some(&self.body)?;
        let object: serde_json::Map<_, _> = serde_json::from_slice(whole).ok()?;
        serde_json::from_value(serde_json::Value::Object(object)).ok()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The guard does not allow this address; nothing was sent.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// Definitely not delivered: no byte of the request has left.
    #[error("not delivered: {0}")]
    NotDelivered(String),
    /// Nobody knows.
    #[error("no answer: {0}")]
    Unclear(String),
}

/// The client. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Outbound {
    guard: Guard,
    public: reqwest::Client,
    listed: reqwest::Client,
    extra_ca: Arc<[u8]>,
}

impl Outbound {
    /// A client that keeps to `settings`.
    ///
    /// # Errors
    /// If the file of root certificates cannot be used, or the platform has none.
    pub fn new(settings: OutboundSettings) -> Result<Self, Fault> {
        let OutboundSettings { allow, ports, extra_ca, connect_timeout, names } = settings;
        let guard = Guard::new(allow, ports, names, connect_timeout);
        let pem = match &extra_ca {
            Some(path) => read_pem("outbound.extra_ca", path)?,
            None => Vec::new(),
        };
        let client = |reach| build(&guard, reach, &pem, connect_timeout);
        let (public, listed) = (client(Reach::Public)?, client(Reach::Listed)?);
        Ok(Self { public, listed, extra_ca: pem.into(), guard })
    }

    /// A client without limits on where to: for the command line, whose user chose the URL.
    ///
    /// # Errors
    /// If the platform's root certificates cannot be used.
    pub fn trusted() -> Result<Self, Fault> {
        let everything = vec![IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        Self::new(OutboundSettings { allow: everything, ..OutboundSettings::default() })
    }

    /// The guard, for drivers that connect in another way.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The additional root certificates as PEM; empty if there are none.
    #[must_use]
    pub fn extra_ca(&self) -> &[u8] {
        &self.extra_ca
    }

    /// Makes one call.
    ///
    /// # Errors
    /// If there is no answer, with what is known about it.
    pub async fn call(&self, request: Request) -> Result<Response, Failure> {
        let reach = self.guard.check(&request.url).map_err(|refusal| Failure::Forbidden(refusal.0))?;
        let client = match reach {
            Reach::Public => &self.public,
            Reach::Listed => &self.listed,
        };
        let mut building =
            client.request(request.method, request.url).headers(request.headers).timeout(request.timeout);
        if !request.body.is_empty() {
            building = building.body(request.body);
        }
        let mut answer = building.send().await.map_err(failure)?;
        let mut response = Response {
            status: answer.status().as_u16(),
            headers: std::mem::take(answer.headers_mut()),
            body: Vec::new(),
            cut: None,
        };
        loop {
            match answer.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) => {
                    let room = request.body_max.saturating_sub(response.body.len());
                    response.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        response.cut = Some(format!("the body is longer than {} bytes", request.body_max));
                        break;
                    }
                }
                Err(error) => {
                    response.cut = Some(causes(&error.without_url()));
                    break;
                }
            }
        }
        Ok(response)
    }
}

/// Reads a file of PEM certificates.
pub(super) fn read_pem(field: &str, path: &std::path::Path) -> Result<Vec<u8>, Fault> {
    let fault = |why: String| Fault::new(field, format!("{}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(fault("is not a PEM file with at least one certificate".to_owned())),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that makes HTTP clients")]
fn build(guard: &Guard, reach: Reach, pem: &[u8], connect: Duration) -> Result<reqwest::Client, Fault> {
    install_tls();
    let unusable =
        |error: &reqwest::Error| Fault::new("outbound", format!("TLS cannot be set up: {}", causes(error)));
    let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| unusable(&error))?;
    reqwest::Client::builder()
        .user_agent(concat!("stoppress/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(connect)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_MAX)
        .tcp_nodelay(true)
        .tls_certs_merge(roots)
        .dns_resolver(Arc::new(Checked { guard: guard.clone(), reach }))
        .build()
        .map_err(|error| unusable(&error))
}

/// The resolver inside the client: it only gives out addresses that were checked.
#[derive(Debug)]
struct Checked {
    guard: Guard,
    reach: Reach,
}

impl reqwest::dns::Resolve for Checked {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (guard, reach) = (self.guard.clone(), self.reach);
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str(), reach).await?;
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    if let Some(refusal) = refusal(&error) {
        Failure::Forbidden(refusal.0.clone())
    } else if error.is_connect() || error.is_builder() {
        Failure::NotDelivered(causes(&error))
    } else {
        Failure::Unclear(causes(&error))
    }
}

/// The guard's refusal, if that is what an error goes back to.
pub(super) fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inside = inside.and_then(|inner| inner.downcast_ref::<Refusal>());
        if let Some(found) = inside.or_else(|| error.downcast_ref::<Refusal>()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error and what it goes back to, in one line.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    super::words(&text, 300)
}
