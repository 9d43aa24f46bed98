//! The command line of `stoppress lab simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::flags::BehaviourArgs;
use super::{Gateway, Simulator, SimulatorSettings};
use crate::cli::input::secret;
use crate::clock::{HostClock, HostRandom};
use crate::domain::Fault;

const EXAMPLES: &str = "\
Examples:
  An honest lab that prints two minutes after receipt and remembers across restarts:
    stoppress lab simulate --prints-after 2m --ledger lab.ndjson
  A lab that loses every fifth answer and is slow:
    stoppress lab simulate --loses-answers 0.2 --slow 0s..2s
  A lab that is away for an hour, on a port that refuses connections:
    stoppress lab simulate --down-by refuse --down-from 2026-12-01T23:00:00Z --down-until 2026-12-02T00:00:00Z
  A lab behind a firewall, which dials the gateway itself, and reports what it makes:
    stoppress lab simulate --link http://127.0.0.1:8080 --gateway-key-file lab.key \\
        --prints-after 10m --in-production-for 5m --ships-after 20m
  While it runs, see what it really did, and make it forget keys:
    curl http://127.0.0.1:9100/_simulate/ledger
    curl http://127.0.0.1:9100/_simulate -d '{\"forgets_keys\": \"after_removal\"}'

Whoever reaches the port can change how the lab behaves: keep it on a private address.";

/// Run a lab that behaves, or misbehaves, as told: HTTP and gRPC on one port
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulateArgs {
    /// Where to listen, for HTTP and gRPC
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// A second port, if gRPC is to have one
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<SocketAddr>,
    /// Keep the ledger in this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Refuse calls that are not signed with the secret in this file (`whsec_…`)
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Post late answers to this gateway
    #[arg(long, value_name = "URL", requires = "gateway_key_file")]
    gateway: Option<Url>,
    /// Dial this gateway, take orders and stops over the link (driver `link`), and report what is made
    #[arg(long, value_name = "URL", requires = "gateway_key_file")]
    link: Option<Url>,
    /// How many calls to take at a time over the link
    #[arg(long, value_name = "CALLS", default_value_t = 8, requires = "link",
        value_parser = clap::value_parser!(u32).range(0..=256))]
    link_window: u32,
    /// The file with the API key for the gateway, of the scope of this lab
    #[arg(long, value_name = "FILE")]
    gateway_key_file: Option<PathBuf>,
    #[command(flatten)]
    behaviour: BehaviourArgs,
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// If the lab cannot be started.
pub async fn run(args: SimulateArgs) -> Result<(), Fault> {
    let known = |url: Option<Url>| -> Result<Option<Gateway>, Fault> {
        let (Some(url), Some(file)) = (url, &args.gateway_key_file) else { return Ok(None) };
        Ok(Some(Gateway { url, key: secret("--gateway-key-file", file)? }))
    };
    let (gateway, link) = (known(args.gateway)?, known(args.link)?);
    let settings = SimulatorSettings {
        listen: args.listen,
        grpc_listen: args.grpc_listen,
        ledger: args.ledger,
        secret: args.secret_file.map(|file| secret("--secret-file", &file)).transpose()?,
        gateway,
        behaviour: args.behaviour.behaviour()?,
    };
    let lab = Simulator::start(settings, Arc::new(HostClock), Arc::new(HostRandom)).await?;
    if let Some(gateway) = link {
        lab.dial(&gateway, args.link_window)?;
        lab.reports();
    }
    tracing::info!(http = %lab.http_addr, grpc = %lab.grpc_addr, "the simulated lab is open");
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| Fault::new("", format!("cannot wait for signals: {error}")))?;
    lab.shutdown().await;
    Ok(())
}
