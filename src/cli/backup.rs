//! `stoppress backup`: a copy of the database while a gateway works on it.

use std::path::PathBuf;

use super::{Failure, Terminal};
use crate::config::{Config, Flags};
use crate::store;

/// Copy the SQLite database into a new file, while the gateway goes on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress backup stoppress-2026-11-22.db
  stoppress backup --database sqlite:/var/lib/stoppress/stoppress.db /mnt/copies/tonight.db
  stoppress doctor --database sqlite:/mnt/copies/tonight.db --verify-events

The copy stands at one commit. It holds secrets, as the database does. What happens after it is not in it: before a
gateway serves from a copy that is older than what was lost, read \"Going on from a copy\" in the documentation.
PostgreSQL brings its own tools: pg_dump --format=custom, or a base backup with its log.")]
pub struct BackupArgs {
    /// The file to make; it must not be there yet
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// The configuration file [default: stoppress.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another database than the configured one
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: BackupArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let flags = Flags { file: args.config, database: args.database, ..Flags::default() };
    let config = Config::load(&flags)?;
    let begun = terminal.clock.now();
    store::copy(&config.database, &args.to).await.map_err(|error| Failure::Failed(error.to_string()))?;
    let took = terminal.clock.now().duration_since(begun);
    let size = std::fs::metadata(&args.to)?.len();
    let place = args.to.display();
    Ok(writeln!(terminal.err, "{place}: {size} bytes, in {} ms, as of {begun}", took.as_millis())?)
}
