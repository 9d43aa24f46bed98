//! `stoppress serve`: the gateway itself.

use std::io::Write;
use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use crate::api::serve::Drained;
use crate::app::{self, Ambient, Error, Greeting};
use crate::config::{Config, Flags};
use crate::telemetry;

/// Run the gateway.
///
/// The first start on an empty database prints an ops key, once.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  stoppress serve --listen 127.0.0.1:8080 --database sqlite:stoppress.db")]
pub struct Serve {
    /// The configuration file [default: stoppress.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to serve HTTP [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// sqlite:FILE or postgres://… [default: sqlite:stoppress.db].
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// The level of the log.
    #[arg(
        long,
        value_name = "LEVEL",
        help = "error, warn, info, debug, or a filter such as info,stoppress::work=debug"
    )]
    pub log_level: Option<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// Runs the gateway until it is told to end.
///
/// # Errors
/// If it cannot start.
pub async fn run(args: &Serve, out: &mut dyn Write) -> Result<(), Error> {
    let config = Config::load(&Flags {
        file: args.config.clone(),
        listen: args.listen.clone(),
        database: args.database.clone(),
        log_level: args.log_level.clone(),
        log_format: args.log_format.clone(),
    })?;
    telemetry::log(&config.log)?;
    #[cfg(debug_assertions)]
    if let Some(text) = crate::config::variable("STOPPRESS_CRASH_AT") {
        let crash = text.parse().map_err(|fault| crate::domain::Fault::new("STOPPRESS_CRASH_AT", fault))?;
        crate::points::watch(Some(crash));
    }
    let running = app::start_telling(&config, Ambient::host(), |greeting| greet(out, greeting)).await?;
    ended().await;
    tracing::info!("ending: no new work, what is under way is finished");
    match running.stop().await {
        Drained::Clean => tracing::info!("ended; every request had its answer"),
        Drained::Cut(open) => tracing::warn!(open, "ended at the deadline; connections were cut off"),
    }
    Ok(())
}

/// Whoever started it may have closed the pipe: the gateway serves all the same.
fn greet(out: &mut dyn Write, greeting: &Greeting<'_>) {
    let _ = writeln!(out, "Stoppress serves http://{} (zone data {})", greeting.addr, greeting.zones);
    if let Some(key) = greeting.ops_key {
        let _ = writeln!(
            out,
            "The first ops key, shown only now; keep it safe:\n  {}\nUse it as `Authorization: Bearer …`, or at the \
            pages. This link signs in there once, within 15 minutes:\n  http://{}/sign-in/{}",
            key.secret.expose_secret(),
            greeting.addr,
            key.link.expose_secret()
        );
    }
    let _ = out.flush();
}

/// Waits for SIGTERM or SIGINT.
async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be heard: end the process by force");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
