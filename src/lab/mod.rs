//! Outward: the only room that speaks to labs.
//!
//! A [`Lab`] is one lab's endpoint behind one driver. Whatever comes back is classified here, once,
//! into [`Answer`]; nobody outside looks at status codes. A lab that no call reaches dials the gateway,
//! and is asked over that connection ([`link`]).
//!
//! # Adding a driver
//! One file with a [`Driver`] constant, and one line in [`DRIVERS`]. The file says how its settings are
//! checked, how they become a [`Lab`], and what each answer of such labs means. Everything else is there
//! already: claims and fences, lanes (rate, concurrency, a breaker), time-outs as `unclear`, take-overs,
//! deadlines to a person. What a driver must keep to:
//!
//! - One call of the trait is one attempt: nothing is repeated inside, and every call ends by itself.
//! - [`Answer::Unreachable`] only if certainly no byte has left, [`Answer::Refused`] only if the lab
//!   certainly never takes the orders under this key. All that is not known is [`Answer::Unclear`].
//! - An upload does not begin after its `not_after`, and its key goes with it wherever the lab takes one.
//!
//! A whole driver, for labs that take orders as files in a folder:
//!
//! ```
//! use std::path::PathBuf;
//! use std::sync::Arc;
//!
//! use stoppress::domain::Fault;
//! use stoppress::domain::ids::OrderId;
//! use stoppress::domain::lab::{Answer, LabSpec};
//! use stoppress::lab::{Built, Driver, Drivers, Lab, Pending, Reply, Settings, StopCall, Tools, Upload};
//!
//! pub const DRIVER: Driver = Driver { kind: "tray", manual: false, check, build };
//!
//! fn path(settings: &Settings) -> Result<PathBuf, Fault> {
//!     let path = settings.get("path").and_then(|path| path.as_str());
//!     path.map(PathBuf::from).ok_or_else(|| Fault::missing("path", "the folder that the lab watches"))
//! }
//!
//! fn check(settings: &Settings) -> Vec<Fault> {
//!     path(settings).err().into_iter().collect()
//! }
//!
//! fn build(spec: &LabSpec, _: &Tools) -> Built {
//!     Ok(Arc::new(Tray(path(&spec.driver.settings)?)))
//! }
//!
//! #[derive(Debug)]
//! struct Tray(PathBuf);
//!
//! impl Lab for Tray {
//!     fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply> {
//!         Box::pin(async move {
//!             // The key is the name: the same key again is the same file.
//!             let (part, whole) = (self.0.join("part"), self.0.join(format!("{}.json", upload.key)));
//!             if let Err(error) = std::fs::write(&part, &upload.body) {
//!                 // The lab reads whole files only: what is half written never arrives.
//!                 return Answer::Unreachable { cause: error.to_string() }.into();
//!             }
//!             match std::fs::rename(&part, &whole) {
//!                 Ok(()) => Answer::Accepted { lab_reference: None }.into(),
//!                 Err(error) => Answer::Unclear { cause: error.to_string() }.into(),
//!             }
//!         })
//!     }
//!
//!     fn stop<'a>(&'a self, _: &'a StopCall) -> Pending<'a, Reply> {
//!         Box::pin(async { Answer::Refused { reason: "a folder takes no stops".to_owned() }.into() })
//!     }
//!
//!     fn look_up<'a>(&'a self, _: &'a OrderId) -> Pending<'a, Reply> {
//!         Box::pin(async { Answer::Unclear { cause: "a folder cannot be asked".to_owned() }.into() })
//!     }
//! }
//!
//! // In the crate: a line in `DRIVERS`. From outside, as here:
//! let drivers = Drivers::default().with(DRIVER);
//! assert_eq!(drivers.find("tray")?.kind, "tray");
//! # Ok::<(), Fault>(())
//! ```

pub mod address;
pub mod download;
pub mod grpc;
mod grpc_status;
pub mod guard;
pub mod http;
pub mod lane;
pub mod link;
pub mod mail;
pub mod outbound;
pub mod person;
pub mod sign;
pub mod webhook;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::clock::{Clock, Random};
use crate::domain::batch::REQUEST_DEADLINE;
use crate::domain::ids::{OrderId, StopId, TransferId};
use crate::domain::lab::{Answer, DriverSpec, LabSpec, Lasting, SecretRef};
use crate::domain::{Fault, nearest};
pub use address::AddressCall;
use outbound::Outbound;

/// A boxed future, so that labs can be kept behind `dyn`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A transfer on its way: frozen bytes under a key.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The transfer.
    pub transfer: TransferId,
    /// The idempotency key. The same key always carries the same bytes.
    pub key: String,
    /// The bytes: `{"transfer": …, "orders": […]}`. An order that a lab of two phases holds has the reference
    /// that the lab gave it then, as `import_reference`: see [`Upload::import_references`].
    pub body: Vec<u8>,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// After this instant the lab must refuse the call, and the driver must not start it.
    pub not_after: Timestamp,
}

impl Upload {
    /// What the lab called the orders that it holds, when they were sent ahead to it: for drivers of labs whose
    /// second phase names what is to be released. An order that was not sent ahead, or of which the lab's answer
    /// was lost, is not in here.
    #[must_use]
    pub fn import_references(&self) -> BTreeMap<String, String> {
        #[derive(Deserialize)]
        struct Body {
            orders: Vec<Held>,
        }
        #[derive(Deserialize)]
        struct Held {
            id: String,
            import_reference: Option<String>,
        }
        let body = serde_json::from_slice::<Body>(&self.body);
        let orders = body.map(|body| body.orders).unwrap_or_default();
        orders.into_iter().filter_map(|order| Some((order.id, order.import_reference?))).collect()
    }
}

/// An order that is sent ahead to a lab of two phases.
#[derive(Debug, Clone)]
pub struct Import {
    /// The order.
    pub order: OrderId,
    /// The bytes: `{"order": …, "hold_until": …}`.
    pub body: Vec<u8>,
    /// The cutoff of its batch: the lab holds it until it is handed over, and may forget it an hour after
    /// this instant if it was not.
    pub hold_until: Timestamp,
}

/// A stop on its way to a lab.
#[derive(Debug, Clone)]
pub struct StopCall {
    /// The stop; also the idempotency key.
    pub stop: StopId,
    /// The order.
    pub order: OrderId,
    /// Why.
    pub reason: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When the answer is due.
    pub answer_by: Timestamp,
    /// The lines that are to be taken out; none: the whole order. Only a lab whose profile says that it stops
    /// lines is asked with any.
    pub items: Vec<String>,
}

/// What came back, classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it means.
    pub answer: Answer,
    /// How long the lab asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, retry_after: None }
    }
}

/// One lab's endpoint. Every call ends by itself within its deadline, and none is repeated inside:
/// each attempt is the caller's, and recorded.
pub trait Lab: Send + Sync + std::fmt::Debug {
    /// Hands a transfer over.
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply>;
    /// Asks for a stop.
    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply>;
    /// Asks for another shipping address of an order that the lab has: [`Answer::Accepted`] if the parcel goes there,
    /// [`Answer::WillPrint`] if it goes where it was to go before.
    fn change_address<'a>(&'a self, _: &'a AddressCall) -> Pending<'a, Reply> {
        let reason = "the driver of this lab takes no changes of addresses".to_owned();
        Box::pin(std::future::ready(Answer::Refused { reason }.into()))
    }
    /// Asks whether the lab has an order: [`Answer::Accepted`], [`Answer::WillPrint`] with a stage,
    /// [`Answer::Removed`] or [`Answer::NotFound`].
    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply>;
    /// Sends an order ahead, to be held: the first phase of a lab that has two. It promises nothing, and the
    /// lab prints nothing of it; [`Lab::submit`] hands the whole order over, whatever came of this.
    fn import<'a>(&'a self, _: &'a Import) -> Pending<'a, Reply> {
        Box::pin(std::future::ready(Answer::Refused { reason: NO_FIRST_PHASE.to_owned() }.into()))
    }
    /// Says that an order that was sent ahead is not coming. Nothing depends on the answer.
    fn discard<'a>(&'a self, _: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(std::future::ready(Answer::Refused { reason: NO_FIRST_PHASE.to_owned() }.into()))
    }
    /// How often the lab says that an order was and will be printed in all; `None` if it does not tell, or has
    /// no such order. Nothing but a check of the lab needs it.
    fn prints<'a>(&'a self, _order: &'a OrderId) -> Pending<'a, Option<u64>> {
        Box::pin(std::future::ready(None))
    }
    /// Asks the lab who it is, for checks and pages: [`Answer::Accepted`] if it speaks the protocol.
    fn describe(&self) -> Pending<'_, Reply> {
        Box::pin(std::future::ready(Answer::Unclear { cause: "this lab cannot be asked".to_owned() }.into()))
    }
    /// Whether the lab says that it has a first phase ([`Lab::import`]). Nothing but a check of the lab needs it.
    fn has_first_phase(&self) -> Pending<'_, bool> {
        Box::pin(std::future::ready(false))
    }
    /// How many calls the lab itself allows at a time from this gateway now; `None` where only its profile
    /// says. 0: from here it cannot be reached, and its work is left to other gateways.
    fn window(&self) -> Option<u32> {
        None
    }
}

/// What a driver without a first phase says.
const NO_FIRST_PHASE: &str = "the driver of this lab has no first phase";

/// The settings of a driver, as configured.
pub type Settings = serde_json::Map<String, serde_json::Value>;

/// A lab's endpoint, or what is wrong with its settings.
pub type Built = Result<Arc<dyn Lab>, Fault>;

/// Finds the secret that a configuration names. The environment and the files are read by whoever
/// gives this function, not here.
pub type Secrets = Arc<dyn Fn(&SecretRef) -> Result<SecretString, Fault> + Send + Sync>;

/// What drivers work with.
#[derive(Clone)]
pub struct Tools {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The one HTTP client, and the guard over addresses.
    pub outbound: Outbound,
    /// The secrets.
    pub secrets: Secrets,
    /// The connections of labs that dial out.
    pub links: link::Hub,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").field("outbound", &self.outbound).finish_non_exhaustive()
    }
}

/// A way to reach labs.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    /// Its name in `driver.kind`.
    pub kind: &'static str,
    /// True where no machine can be called: a person hands over and asks.
    pub manual: bool,
    /// Checks settings; the fields are named from the driver's own table.
    pub check: fn(&Settings) -> Vec<Fault>,
    /// Makes a lab's endpoint. It connects to nothing yet.
    pub build: fn(&LabSpec, &Tools) -> Built,
}

/// All drivers.
pub const DRIVERS: [Driver; 4] = [http::DRIVER, grpc::DRIVER, link::DRIVER, person::DRIVER];

/// The drivers that a gateway knows. Built in are [`DRIVERS`]; whoever starts a gateway can add more.
#[derive(Debug, Clone)]
pub struct Drivers(Arc<[Driver]>);

impl Default for Drivers {
    fn default() -> Self {
        Self(Arc::from(DRIVERS.as_slice()))
    }
}

impl Drivers {
    /// These drivers and one more. One of the same name is replaced.
    #[must_use]
    pub fn with(&self, driver: Driver) -> Self {
        let others = self.0.iter().filter(|known| known.kind != driver.kind).copied();
        Self(others.chain([driver]).collect())
    }

    /// The driver of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, kind: &str) -> Result<&Driver, Fault> {
        self.0.iter().find(|driver| driver.kind == kind).ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(|driver| driver.kind).collect();
            let guess = nearest(kind, known.iter().copied());
            let guess = guess.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
            let known = known.join(", ");
            Fault::new("kind", format!("{kind:?} is not a driver; the drivers are {known}{guess}"))
        })
    }

    /// All faults of a driver's settings, named from the table `driver` itself.
    #[must_use]
    pub fn check(&self, spec: &DriverSpec) -> Vec<Fault> {
        match self.find(&spec.kind) {
            Ok(driver) => (driver.check)(&spec.settings),
            Err(fault) => vec![fault],
        }
    }

    /// The endpoint of a lab. It connects to nothing yet.
    ///
    /// # Errors
    /// If the settings cannot be used; the field is named from the lab's root.
    pub fn connect(&self, spec: &LabSpec, tools: &Tools) -> Built {
        let driver = self.find(&spec.driver.kind).map_err(|fault| fault.under("driver"))?;
        if let Some(fault) = (driver.check)(&spec.driver.settings).into_iter().next() {
            return Err(fault.under("driver"));
        }
        (driver.build)(spec, tools).map_err(|fault| fault.under("driver"))
    }
}

/// The built-in driver of that name.
///
/// # Errors
/// If there is none.
pub fn driver(kind: &str) -> Result<Driver, Fault> {
    Drivers::default().find(kind).copied()
}

/// All faults of the settings of a built-in driver, named from the table `driver` itself.
#[must_use]
pub fn check(spec: &DriverSpec) -> Vec<Fault> {
    Drivers::default().check(spec)
}

/// The endpoint of a lab with a built-in driver. It connects to nothing yet.
///
/// # Errors
/// If the settings cannot be used; the field is named from the lab's root.
pub fn connect(spec: &LabSpec, tools: &Tools) -> Built {
    Drivers::default().connect(spec, tools)
}

/// Reads a driver's settings into its own type; unknown keys are refused.
fn settings<T: DeserializeOwned>(settings: &Settings) -> Result<T, Fault> {
    let value = serde_json::Value::Object(settings.clone());
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        Fault::new(field, error.into_inner().to_string())
    })
}

/// How long a lab may take to answer, by operation.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Timeouts {
    upload: Lasting,
    stop: Lasting,
    look_up: Lasting,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { upload: Lasting(REQUEST_DEADLINE), stop: Lasting::seconds(10), look_up: Lasting::seconds(5) }
    }
}

impl Timeouts {
    /// The horizon of a transfer counts on [`REQUEST_DEADLINE`]: no call may wait longer.
    fn faults(self) -> Vec<Fault> {
        [("upload", self.upload), ("stop", self.stop), ("look_up", self.look_up)]
            .into_iter()
            .filter(|(_, value)| value.0.is_zero() || value.0 > REQUEST_DEADLINE)
            .map(|(field, value)| {
                Fault::not(
                    format!("timeouts.{field}"),
                    value.to_string(),
                    "a duration of more than 0s and at most 30s",
                )
            })
            .collect()
    }

    fn of(lasting: Lasting) -> Duration {
        lasting.0.unsigned_abs()
    }

    /// How long an upload may take that starts at `now`; `None` if it must not start any more. One that starts late has
    /// its whole time: the horizon counts both, and a call that we cut ourselves leaves nothing known.
    fn of_upload(self, upload: &Upload, now: Timestamp) -> Option<Duration> {
        (now < upload.not_after).then(|| Self::of(self.upload))
    }
}

/// The URL in a setting.
fn endpoint(field: &str, text: Option<&str>) -> Result<url::Url, Fault> {
    const ALLOWED: &str =
        "an https URL without user name, query and fragment, such as \"https://lab.example/stoppress\"";
    let text = text.ok_or_else(|| Fault::missing(field, ALLOWED))?;
    url::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
        .filter(|url| url.username().is_empty() && url.password().is_none())
        .filter(|url| url.query().is_none() && url.fragment().is_none())
        .ok_or_else(|| {
            // A URL that is refused for its password is not repeated.
            let shown = if text.contains('@') { "a URL with an \"@\"" } else { text };
            Fault::not(field, shown, ALLOWED)
        })
}

/// Text from outside, fit to be kept and shown: no control characters, no direction marks, not long.
fn words(text: &str, most: usize) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.trim()
        .chars()
        .filter(|c| !turns(*c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect()
}

/// The same, `None` if nothing is left.
fn some_words(text: &str, most: usize) -> Option<String> {
    Some(words(text, most)).filter(|text| !text.is_empty())
}

/// Who a lab says it is: its name, and the contract that it keeps.
fn who(name: &str, contract: &str) -> Option<String> {
    match (some_words(name, 100), some_words(contract, 50)) {
        (name, None) => name,
        (None, Some(contract)) => Some(format!("({contract})")),
        (Some(name), Some(contract)) => Some(format!("{name} ({contract})")),
    }
}

/// The upload came too late to be started: certainly nothing has left.
fn too_late(upload: &Upload) -> Reply {
    Answer::Unreachable { cause: format!("not started: it must not begin after {}", upload.not_after) }.into()
}
