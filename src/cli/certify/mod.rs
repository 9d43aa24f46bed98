//! `stoppress lab certify URL`: does a lab's own endpoint keep the protocol? With `--link ADDRESS` the lab dials
//! out, as it dials a gateway, and the same checks run over its connection.
//!
//! ```text
//!  rules    what is checked, what the contract says, how to mend it
//!  way      where the lab is, and the ways in
//!  line     the end that a lab dials
//!  probe    test orders; calls through the gateway's own drivers
//!  doors uploads stops imports links end    the checks
//!  profile  what follows for the lab's definition
//!  report   for people, and as JSON
//! ```
//! A check passes on what was *seen*: an answer, and a look-up that agrees with it. Where only the lab's word
//! is to be had it is said to be believed; where something did not happen it is said to be not seen.

mod addresses;
mod doors;
mod end;
mod imports;
mod line;
mod lines;
mod links;
mod probe;
mod profile;
pub mod report;
pub mod rules;
mod stops;
mod uploads;
mod way;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use url::Url;

use super::records::Format;
use super::{Failure, Terminal};
use crate::clock::{Clock, Random};
use crate::domain::Fault;
use crate::domain::ids::OrderId;
use crate::domain::lab::{Dedupes, Lasting, SecretRef};
use crate::lab::outbound::{Outbound, OutboundSettings};
use probe::{Parcel, Probe};
use report::{Check, Finding, Report, Status};
use rules::{Group, Name, RULES};
pub use way::To;

const NO_ORDER: &str = "the lab took no order, so there was nothing to check it with";

/// Checks that others rest on; they are made whatever `--only` says.
const GROUND: [Name; 5] =
    [Name::UnknownLookUp, Name::TakesAnOrder, Name::LooksUp, Name::StopBeforePrinting, Name::CleanUp];

/// What a check gives, or why it could not even be tried.
type Made = Result<Finding, Fault>;

/// What earlier checks found out.
#[derive(Debug, Default)]
struct Facts {
    who: Option<String>,
    /// It took an order.
    takes: bool,
    /// It says "not found" of unknown orders.
    knows_absence: bool,
    /// Its look-ups can be used.
    lookup: bool,
    /// A stop was seen to work.
    stops: bool,
    /// How long it took until a stop that is answered later was seen to work.
    answered_later: Option<Duration>,
    /// So many orders in one upload.
    batch: usize,
    /// So many calls at once.
    at_once: usize,
    /// An upload to be sent again at the end, and since when it is there.
    old: Option<(Parcel, Timestamp)>,
    /// How old a key was that was still known.
    kept_for: Option<Duration>,
    /// The order that was printed as asked.
    printed: Option<OrderId>,
    /// It says that it has a first phase.
    two_phase: bool,
    /// It takes out single lines.
    stops_lines: bool,
    /// It takes other addresses.
    addresses: bool,
    /// It holds what is sent ahead.
    imports: bool,
    /// An order that was sent ahead and nothing else, and since when.
    ahead: Option<(probe::Test, Timestamp)>,
}

/// What to certify, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where the lab is.
    pub to: To,
    /// The secret that signs, the token, or the key that the lab shows when it connects.
    pub secret: Option<SecretString>,
    /// Addresses that are not public may be called, too.
    pub allow_private: bool,
    /// How long the lab says that it keeps keys.
    pub keeps_keys: Dedupes,
    /// The region of the test orders.
    pub region: String,
    /// The product of the test orders.
    pub sku: String,
    /// The country that the test orders go to.
    pub country: String,
    /// The picture of the test orders.
    pub image: String,
    /// So many orders in one upload are tried.
    pub orders_per_call: usize,
    /// So many calls at once are tried.
    pub at_once: usize,
    /// One order is left in to be printed, and watched for so long.
    pub let_print: Option<Lasting>,
    /// How long an answer that comes later is waited for.
    pub wait: Lasting,
    /// How old a key is at least that is tried again.
    pub again_after: Lasting,
    /// An answer that takes longer is worth a word: a customer waits for the answer to a stop.
    pub slow_after: Lasting,
    /// How long one call may take; the driver's own times if unset.
    pub timeout: Option<Lasting>,
    /// How long a lab that dials out is waited for at first.
    pub connect_within: Lasting,
    /// How often both sides of a link say something.
    pub beat: Lasting,
    /// Whether the lab says that it stops single lines.
    pub stops_lines: bool,
    /// Whether the lab says that it takes other addresses for orders that it has.
    pub address_changes: bool,
    /// Only these checks, and those that they rest on; all if empty.
    pub only: Vec<Name>,
}

impl Target {
    /// A target with the settings that the command line has if nothing is said.
    #[must_use]
    pub fn new(to: To) -> Self {
        Self {
            to,
            secret: None,
            allow_private: false,
            keeps_keys: Dedupes::No,
            region: REGION.to_owned(),
            sku: SKU.to_owned(),
            country: COUNTRY.to_owned(),
            image: IMAGE.to_owned(),
            orders_per_call: 100,
            at_once: 8,
            let_print: None,
            wait: Lasting::seconds(10),
            again_after: Lasting::seconds(2),
            slow_after: Lasting::seconds(1),
            timeout: None,
            connect_within: Lasting::seconds(60),
            beat: Lasting::seconds(1),
            stops_lines: false,
            address_changes: false,
            only: Vec::new(),
        }
    }

    /// Whether a check is made, as far as is known.
    fn makes(&self, name: Name, two_phase: bool) -> bool {
        let only = &self.only;
        let rests = name == Name::Import && only.iter().any(|name| name.group() == Group::TwoPhase);
        let named = rests || only.contains(&name);
        let fits = match name.group() {
            Group::All => true,
            Group::TwoPhase => two_phase || named,
            Group::Link => matches!(self.to, To::Link(_)) || named,
            Group::Lines => self.stops_lines || named,
            Group::Addresses => self.address_changes || named,
        };
        fits && (only.is_empty() || named || GROUND.contains(&name))
    }

    fn outbound(&self) -> Result<Outbound, Fault> {
        if self.allow_private { Outbound::trusted() } else { Outbound::new(OutboundSettings::default()) }
    }
}

const REGION: &str = "certify";
const SKU: &str = "certify-test";
const COUNTRY: &str = "FI";
const IMAGE: &str = "https://stoppress.example/certify.jpg";

const EXAMPLES: &str = "\
Examples:
  The lab on this machine, over HTTP, signed; one test order may be printed:
    export LAB_SECRET=whsec_…
    stoppress lab certify http://127.0.0.1:9100 --allow-private --secret-env LAB_SECRET --let-print 1m
  A lab over gRPC, with a report for a colleague:
    stoppress lab certify grpcs://lab.example:8443 --secret-env LAB_TOKEN --keeps-keys forever --report lab.json
  A lab that dials out: start this, then let the lab dial http://127.0.0.1:9103 with the key:
    stoppress lab certify --link 127.0.0.1:9103 --secret-env LAB_KEY

Test orders have references that begin with CERTIFY-, go to \"CERTIFY (test, do not print)\", and are stopped
again. The exit code is 0 if nothing failed, 1 if something did, 2 if the arguments are wrong.";

/// Prove that a lab's own endpoint keeps the protocol, and derive its profile
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CertifyArgs {
    /// Where the lab is: http(s)://… with its path, or grpc://… (plain) and grpcs://… (TLS)
    #[arg(required_unless_present = "link", conflicts_with = "link")]
    url: Option<Url>,
    /// The lab dials out: wait for it at this address, without TLS
    #[arg(long, value_name = "ADDRESS")]
    link: Option<SocketAddr>,
    /// How long to wait for the lab to connect at first
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "link", value_parser = lasting)]
    connect_within: Lasting,
    /// How often both sides of the link say something
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "link", value_parser = lasting)]
    heartbeat: Lasting,
    /// An http(s) URL is that of a gRPC endpoint
    #[arg(long, conflicts_with = "link")]
    grpc: bool,
    /// The variable of the environment with the secret (HTTP: whsec_…; gRPC: the bearer token; link: the key that the lab
    /// shows)
    #[arg(long, value_name = "NAME", conflicts_with = "secret_file")]
    secret_env: Option<String>,
    /// The file with the secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Call plain http, unusual ports and addresses that are not public, too
    #[arg(long)]
    allow_private: bool,
    /// How long the lab keeps keys, by its own word: `forever`, or a duration such as 24h
    #[arg(long, value_name = "HOW LONG", value_parser = dedupes)]
    keeps_keys: Option<Dedupes>,
    /// The lab says that it stops single lines (`stops_lines` of its profile): try it
    #[arg(long)]
    stops_lines: bool,
    /// The lab says that it takes other shipping addresses (`address_changes` of its profile): try it
    #[arg(long)]
    address_changes: bool,
    /// Leave one test order in, and watch for so long whether it is printed
    #[arg(long, value_name = "DURATION", value_parser = lasting)]
    let_print: Option<Lasting>,
    /// Try so many orders in one upload
    #[arg(long, value_name = "ORDERS", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    orders_per_call: u16,
    /// Try so many calls at once
    #[arg(long, value_name = "CALLS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=256))]
    at_once: u16,
    /// The production region of the test orders
    #[arg(long, default_value = REGION)]
    region: String,
    /// The product of the test orders
    #[arg(long, default_value = SKU)]
    sku: String,
    /// The country that the test orders go to
    #[arg(long, default_value = COUNTRY)]
    country: String,
    /// The picture of the test orders
    #[arg(long, value_name = "URL", default_value = IMAGE)]
    image: Url,
    /// How long to wait for what a lab does later
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = lasting)]
    wait: Lasting,
    /// How old a key is at least that is tried again at the end
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = lasting)]
    again_after: Lasting,
    /// How long one call may take [default: upload 30s, stop 10s, look-up 5s]
    #[arg(long, value_name = "DURATION", value_parser = lasting)]
    timeout: Option<Lasting>,
    /// Make only these checks, and those that they rest on: no certificate then
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    only: Vec<Name>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the report to this file, too, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn lasting(text: &str) -> Result<Lasting, Fault> {
    Lasting::try_from(text.to_owned())
}

fn dedupes(text: &str) -> Result<Dedupes, Fault> {
    Dedupes::try_from(text.to_owned())
}

impl CertifyArgs {
    fn target(&self) -> Result<Target, Fault> {
        let to = match (&self.url, self.link) {
            (_, Some(address)) => To::Link(address),
            (Some(url), None) => address(url, self.grpc)?,
            (None, None) => return Err(Fault::missing("URL", "where the lab is, or --link")),
        };
        let named = match (&self.secret_env, &self.secret_file) {
            (Some(name), _) => Some(("--secret-env", SecretRef::Env(name.clone()))),
            (None, Some(file)) => Some(("--secret-file", SecretRef::File(file.clone()))),
            (None, None) => None,
        };
        let secret = named
            .map(|(flag, named)| {
                crate::config::secret(&named).map_err(|fault| {
                    Fault::new(
                        flag,
                        fault.message.replace("the environment of the gateway", "the environment"),
                    )
                })
            })
            .transpose()?;
        Ok(Target {
            secret,
            allow_private: self.allow_private,
            keeps_keys: self.keeps_keys.unwrap_or_default(),
            region: self.region.clone(),
            sku: self.sku.clone(),
            country: self.country.clone(),
            image: self.image.to_string(),
            orders_per_call: usize::from(self.orders_per_call),
            at_once: usize::from(self.at_once),
            let_print: self.let_print,
            wait: self.wait,
            again_after: self.again_after,
            timeout: self.timeout,
            connect_within: self.connect_within,
            beat: self.heartbeat,
            stops_lines: self.stops_lines,
            address_changes: self.address_changes,
            only: self.only.clone(),
            ..Target::new(to)
        })
    }
}

/// The URL as a driver takes it.
fn address(given: &Url, grpc: bool) -> Result<To, Fault> {
    let (from, to) = match given.scheme() {
        "http" | "https" if grpc => return Ok(To::Grpc(given.clone())),
        "http" | "https" => return Ok(To::Http(given.clone())),
        "grpc" => ("grpc:", "http:"),
        "grpcs" => ("grpcs:", "https:"),
        other => {
            return Err(Fault::not("URL", other, "a URL that begins with https, http, grpcs or grpc"));
        }
    };
    let url = given.as_str().replacen(from, to, 1);
    let url = url.parse().map_err(|_| Fault::not("URL", given.as_str(), "a URL with a host"))?;
    Ok(To::Grpc(url))
}

/// Certifies a lab: makes the checks one by one, and says each as it is made, with how many there are.
///
/// # Errors
/// If the target cannot be used, or did not connect: nothing was sent then.
pub async fn certify(
    target: &Target,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    said: &mut dyn FnMut(usize, &Check),
) -> Result<Report, Fault> {
    let began_at = clock.now();
    let p = Probe::new(target, clock, random).await?;
    if let Some(line) = &p.line
        && !line.ready(&**clock, target.connect_within).await
    {
        let why = format!("no lab has connected to {} within {}", target.to, target.connect_within);
        return Err(Fault::new("--link", why));
    }
    let mut facts = Facts::default();
    let mut checks = Vec::new();
    let mut left = Vec::new();
    for rule in &RULES {
        let name = rule.name;
        if !target.makes(name, facts.two_phase) {
            continue;
        }
        let made = if name == Name::CleanUp {
            let (made, orders) = end::clean_up(&p, &facts).await;
            left = orders;
            made
        } else {
            make(name, &p, &mut facts).await
        };
        let finding =
            made.unwrap_or_else(|fault| Finding::not_seen(format!("it could not be tried: {fault}")));
        let check = Check::new(name, finding, p.take_calls());
        said(RULES.iter().filter(|rule| target.makes(rule.name, facts.two_phase)).count(), &check);
        checks.push(check);
    }
    let derived = profile::derive(&p, &facts, &checks);
    Ok(Report {
        url: target.to.to_string(),
        driver: target.to.driver(),
        lab: facts.who,
        by: concat!("stoppress ", env!("CARGO_PKG_VERSION")),
        began_at,
        ended_at: clock.now(),
        certified: target.only.is_empty() && checks.iter().all(|check| check.status != Status::Failed),
        checks,
        left,
        profile_toml: derived.toml(),
        profile: derived.profile,
    })
}

async fn make(name: Name, p: &Probe<'_>, facts: &mut Facts) -> Made {
    match name {
        Name::Describes => doors::describes(p, facts).await,
        Name::UnknownLookUp => stops::unknown_look_up(p, facts).await,
        Name::UnknownStop => stops::unknown_stop(p).await,
        Name::TakesAnOrder => uploads::takes_an_order(p, facts).await,
        Name::LooksUp => stops::looks_up(p, facts).await,
        Name::StopBeforePrinting => stops::before_printing(p, facts).await,
        Name::StopLines => lines::stops_lines(p, facts).await,
        Name::ChangesAddress => addresses::changes_address(p, facts).await,
        Name::SameKey => uploads::same_key(p, facts).await,
        Name::OtherBytes => uploads::other_bytes(p, facts).await,
        Name::UploadAfterStop => uploads::upload_after_stop(p, facts).await,
        Name::NotAfter => doors::not_after(p, facts).await,
        Name::Malformed => doors::malformed(p, facts).await,
        Name::Signature => doors::signature(p, facts).await,
        Name::AtOnce => uploads::at_once(p, facts).await,
        Name::SameKeyAtOnce => uploads::same_key_at_once(p, facts).await,
        Name::Batch => uploads::batch(p, facts).await,
        Name::Import => imports::import(p, facts).await,
        Name::ImportAgain => imports::again(p, facts).await,
        Name::ImportTakenBack => imports::taken_back(p, facts).await,
        Name::UploadAfterImport => imports::handed_over(p, facts).await,
        Name::ImportNotPrinted => imports::not_printed(p, facts).await,
        Name::LinkBeats => links::beats(p).await,
        Name::LinkCut => links::cut(p, facts).await,
        Name::LinkGoodbye => links::goodbye(p, facts).await,
        Name::StopAfterPrinting => stops::after_printing(p, facts).await,
        Name::KeysKept => uploads::keys_kept(p, facts).await,
        Name::Answers | Name::CleanUp => Ok(end::answers(p)),
    }
}

/// Runs the command.
pub(super) async fn run(args: CertifyArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let target = args.target()?;
    let mut wrong = Ok(());
    let Terminal { out, err, clock, random, .. } = terminal;
    if let To::Link(_) = target.to {
        writeln!(err, "the lab has {} to connect to {} with the key", target.connect_within, target.to)?;
    }
    let mut nth = 0;
    let report = certify(&target, clock, random, &mut |of, check| {
        nth += 1;
        // What cannot be said on the way does not stop the run: test orders are out there.
        if let Err(error) = writeln!(err, "[{nth}/{of}] {}: {}", check.title, check.status.word()) {
            wrong = Err(error);
        }
    })
    .await?;
    wrong?;
    let json = serde_json::to_string_pretty(&report).map_err(io::Error::from)?;
    if let Some(file) = &args.report {
        std::fs::write(file, format!("{json}\n"))
            .map_err(|error| Failure::Failed(format!("--report: {}: {error}", file.display())))?;
    }
    match args.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(&report).map_err(io::Error::from)?)?,
        Format::Table => report.print(&mut **out)?,
    }
    if report.count(Status::Failed) == 0 { Ok(()) } else { Err(Failure::Told) }
}
