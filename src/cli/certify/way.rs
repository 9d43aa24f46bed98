//! Where a lab is, and the ways in: as the gateway calls, and as nobody should.
//!
//! The drivers send the same bytes as in production. What a driver would never do (an upload that is too
//! late, a signature of ten minutes ago) it is brought to do by a clock that is wrong, or another secret.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::json;
use url::Url;

use super::Target;
use crate::clock::{Clock, Random};
use crate::domain::batch::later;
use crate::domain::lab::{LabSpec, SecretRef};
use crate::domain::{Fault, lab};
use crate::lab::link::Hub;
use crate::lab::outbound::Outbound;
use crate::lab::{Lab, Tools, connect};

/// How much the wrong clocks are wrong: more than signatures may be.
const FAR: SignedDuration = SignedDuration::from_mins(10);
/// How much the clock is behind that makes a driver send what is too late; less than signatures may be.
const BEHIND: SignedDuration = SignedDuration::from_mins(2);
/// The name of the lab that is certified.
pub(super) const LAB: &str = "certify";

/// Where the lab is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// It serves HTTP, at this base URL (`http` or `https`).
    Http(Url),
    /// It serves gRPC, at this endpoint (`http` or `https`).
    Grpc(Url),
    /// It dials out: it is waited for at this address.
    Link(SocketAddr),
}

impl To {
    /// The driver.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
            Self::Link(_) => "link",
        }
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) | Self::Grpc(url) => url.fmt(f),
            Self::Link(address) => write!(f, "http://{address}/"),
        }
    }
}

/// The ways in.
pub(super) struct Doors {
    /// As the gateway calls.
    pub(super) right: Arc<dyn Lab>,
    /// Without a secret.
    pub(super) unsigned: Arc<dyn Lab>,
    /// With another secret.
    pub(super) other_secret: Arc<dyn Lab>,
    /// Signed ten minutes ago.
    pub(super) stale: Arc<dyn Lab>,
    /// Signed in ten minutes.
    pub(super) ahead: Arc<dyn Lab>,
    /// Rightly signed, but begun too late.
    pub(super) late: Arc<dyn Lab>,
}

impl Doors {
    /// All of them; a lab that dials out is reached over the connections in `links`.
    ///
    /// # Errors
    /// If the target cannot be called.
    pub(super) fn new(
        target: &Target,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
        outbound: &Outbound,
        links: &Hub,
    ) -> Result<Self, Fault> {
        let door = |secret: Option<SecretString>, off: SignedDuration| {
            let clock: Arc<dyn Clock> =
                if off.is_zero() { Arc::clone(clock) } else { Arc::new(Wrong(Arc::clone(clock), off)) };
            let spec = spec(target, secret.is_some())?;
            let missing = || Fault::new("", "there is no secret");
            let secrets: crate::lab::Secrets = Arc::new(move |_| secret.clone().ok_or_else(missing));
            let (random, outbound, links) = (Arc::clone(random), outbound.clone(), links.clone());
            connect(&spec, &Tools { clock, random, outbound, secrets, links })
                .map_err(|fault| named(fault, target))
        };
        let right = target.secret.clone();
        Ok(Self {
            right: door(right.clone(), SignedDuration::ZERO)?,
            unsigned: door(None, SignedDuration::ZERO)?,
            other_secret: door(Some(another(target, &**random)), SignedDuration::ZERO)?,
            stale: door(right.clone(), -FAR)?,
            ahead: door(right.clone(), FAR)?,
            late: door(right, -BEHIND)?,
        })
    }
}

/// A clock that is wrong.
#[derive(Debug)]
struct Wrong(Arc<dyn Clock>, SignedDuration);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        later(self.0.now(), self.1)
    }

    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.sleep_until(later(until, -self.1))
    }
}

/// A secret that is not the lab's, and of the right form.
fn another(target: &Target, random: &dyn Random) -> SecretString {
    use base64::Engine as _;
    let mut bytes = [0; 24];
    random.fill(&mut bytes);
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    SecretString::from(if matches!(target.to, To::Http(_)) { format!("whsec_{text}") } else { text })
}

/// The lab as it would be configured.
fn spec(target: &Target, secret: bool) -> Result<LabSpec, Fault> {
    let mut driver = match &target.to {
        To::Http(url) => json!({ "kind": "http", "base_url": url.as_str() }),
        To::Grpc(url) => json!({ "kind": "grpc", "endpoint": url.as_str() }),
        To::Link(_) => json!({ "kind": "link", "heartbeat": target.beat }),
    };
    if let Some(settings) = driver.as_object_mut() {
        if secret && !matches!(target.to, To::Link(_)) {
            settings.insert("secret".to_owned(), json!(SecretRef::Env("SECRET".to_owned())));
        }
        if let Some(timeout) = target.timeout {
            let timeouts = json!({ "upload": timeout, "stop": timeout, "look_up": timeout });
            settings.insert("timeouts".to_owned(), timeouts);
        }
    }
    let spec = json!({
        "id": LAB, "name": "Certify", "driver": driver, "profile": lab::Profile::default(),
        "regions": [{ "id": "any", "calendar": { "time_zone": "UTC", "cutoffs": ["24:00"] } }],
    });
    serde_json::from_value(spec).map_err(|error| Fault::new("", error.to_string()))
}

/// The driver's fault, named as the command line names it.
fn named(fault: Fault, target: &Target) -> Fault {
    let hint = if target.allow_private || !fault.message.contains("outbound.allow") {
        ""
    } else {
        "; --allow-private lets certify call it"
    };
    let field = match fault.field.as_str() {
        "driver.secret" => "--secret-env, --secret-file",
        "driver.heartbeat" => "--heartbeat",
        field if field.starts_with("driver.timeouts") => "--timeout",
        _ => "URL",
    };
    Fault::new(field, format!("{}{hint}", fault.message))
}
