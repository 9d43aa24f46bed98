//! `stoppress orders evidence`, and the check of what it wrote.

use std::path::Path;

use super::client::{Client, ServerArgs};
use super::{Failure, Terminal};
use crate::domain::evidence::{self, Bundle, Verified};

/// Print the evidence about an order: all that is needed to check it without the gateway
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress orders evidence ord_0199f3c2a7e07d3b8a51c0de5fa3b9c4 > evidence.json
  stoppress orders evidence @A-1001 --format text
  stoppress doctor --verify-evidence evidence.json")]
pub struct EvidenceArgs {
    /// Its id, or @ and the platform's reference (which needs the platform's key)
    #[arg(value_name = "ID|@REFERENCE")]
    order: String,
    /// How to print it: only json can be verified
    #[arg(long, value_enum, default_value_t)]
    format: EvidenceFormat,
    #[command(flatten)]
    server: ServerArgs,
}

/// How to print evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EvidenceFormat {
    /// For programs, with everything that is needed to verify it
    #[default]
    Json,
    /// For people
    Text,
}

/// Runs the command.
pub(super) async fn run(args: EvidenceArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    let value = client.get(&["v1", "orders", &args.order, "evidence"], &[]).await?;
    let bundle: Bundle = serde_json::from_value(value)
        .map_err(|error| Failure::Failed(format!("the gateway's answer is no evidence bundle: {error}")))?;
    match args.format {
        EvidenceFormat::Json => {
            let text = serde_json::to_string_pretty(&bundle)
                .map_err(|error| Failure::Failed(format!("the evidence cannot be written: {error}")))?;
            writeln!(terminal.out, "{text}")?;
        }
        EvidenceFormat::Text => write!(terminal.out, "{}", bundle.text())?,
    }
    Ok(())
}

/// Checks a bundle in a file: what agrees, or every fault.
pub(super) fn verify(file: &Path) -> Result<String, Vec<String>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| vec![format!("{}: cannot be read: {error}", file.display())])?;
    let found = evidence::verify(&text).map_err(|why| vec![format!("{}: {why}", file.display())])?;
    let Verified { entries, covered, not_computed, faults } = found;
    if !faults.is_empty() {
        return Err(faults);
    }
    let more = match not_computed {
        0 => String::new(),
        count => format!(", and of {count} more the checkpoint could not be computed here"),
    };
    Ok(format!("{entries} entries hang together; checkpoints cover {covered} of them{more}"))
}
