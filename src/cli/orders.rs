//! `stoppress orders`: import, list, show.

use clap::Subcommand;
use serde_json::Value;

use super::client::{Client, ServerArgs};
use super::records::{self, Column, Format};
use super::{Failure, Terminal, evidence, import};

/// Orders: import, list, show, evidence
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap takes what is said about a command from its arguments")]
pub enum Orders {
    Import(import::ImportArgs),
    List(ListArgs),
    Show(ShowArgs),
    Evidence(evidence::EvidenceArgs),
}

/// List orders, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress orders list --lab nordprint --state in_batch
  stoppress orders list --reference A-1001 --format json")]
pub struct ListArgs {
    /// Only the one with this reference; needs a platform's key
    #[arg(long)]
    reference: Option<String>,
    /// Only of this lab
    #[arg(long)]
    lab: Option<String>,
    /// Only of this region
    #[arg(long)]
    region: Option<String>,
    /// Only of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    #[arg(long, help = "Only in this state, such as in_batch, at_lab, stopped")]
    state: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Show an order, or what happened to it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress orders show ord_0199f3c2a7e07d3b8a51c0de5fa3b9c4
  stoppress orders show @A-1001 --changelog")]
pub struct ShowArgs {
    /// Its id, or @ and the platform's reference (which needs the platform's key)
    #[arg(value_name = "ID|@REFERENCE")]
    order: String,
    /// Who did what when, and the evidence
    #[arg(long)]
    changelog: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

const LISTED: &[Column] = &[
    ("id", "/id"),
    ("reference", "/reference"),
    ("platform", "/platform"),
    ("lab", "/lab"),
    ("region", "/region"),
    ("state", "/state"),
    ("closes at", "/window/closes_at_local"),
    ("can stop", "/verdict/can_stop"),
];

const SHOWN: &[Column] = &[
    ("id", "/id"),
    ("reference", "/reference"),
    ("platform", "/platform"),
    ("lab", "/lab"),
    ("region", "/region"),
    ("state", "/state"),
    ("version", "/version"),
    ("admitted at", "/admitted_at"),
    ("batch", "/window/batch"),
    ("closes at", "/window/closes_at"),
    ("local", "/window/closes_at_local"),
    ("rule", "/window/rule"),
    ("items", "/items"),
    ("can stop", "/verdict/can_stop"),
    ("because", "/verdict/reason"),
    ("until", "/verdict/until_local"),
    ("stop", "/stop/state"),
    ("evidence", "/stop/evidence"),
];

const EVENTS: &[Column] =
    &[("at", "/at"), ("what", "/kind"), ("who", "/actor"), ("subject", "/subject"), ("detail", "/detail")];

/// Runs the command.
pub(super) async fn run(args: Orders, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match args {
        Orders::Import(args) => import::run(args, terminal).await,
        Orders::List(args) => list(args, terminal).await,
        Orders::Show(args) => show(args, terminal).await,
        Orders::Evidence(args) => evidence::run(args, terminal).await,
    }
}

async fn list(args: ListArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    let filters = [
        ("reference", &args.reference),
        ("lab", &args.lab),
        ("region", &args.region),
        ("batch", &args.batch),
        ("state", &args.state),
    ];
    let query: Vec<(&str, &str)> =
        filters.iter().filter_map(|(name, value)| value.as_deref().map(|value| (*name, value))).collect();
    let orders = client.list("orders", &query, args.limit).await?;
    Ok(records::print(terminal.out, args.format, LISTED, &orders)?)
}

async fn show(args: ShowArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    if args.changelog {
        let mut answer = client.get(&["v1", "orders", &args.order, "changelog"], &[]).await?;
        let events = answer.get_mut("events").map(Value::take);
        let events = events.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        return Ok(records::print(terminal.out, args.format, EVENTS, events)?);
    }
    let order = client.get(&["v1", "orders", &args.order], &[]).await?;
    match args.format {
        Format::Json => writeln!(terminal.out, "{order}")?,
        Format::Table => records::fields(terminal.out, SHOWN, &order)?,
    }
    Ok(())
}
