//! `stoppress route`: where orders go that name no lab, and why.

use std::path::PathBuf;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::input::read;
use super::records::{self, Column, Format};
use super::{Failure, Terminal};
use crate::domain::Fault;

/// Routes: explain, list, set
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap takes what is said about a command from its arguments")]
pub enum Routes {
    Explain(ExplainArgs),
    List(ListArgs),
    Set(SetArgs),
}

/// Say why an order is made where it is, or where one would go
///
/// For an order that named no lab: which rule chose the lab, and why those before it were passed over. With
/// --sku instead of an order, what would be chosen now; nothing is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress route explain ord_0199f3c2a7e07d3b8a51c0de5fa3b9c4
  stoppress route explain @A-1001 --format json
  stoppress route explain --country FI --sku print-10x15 --sku mug-11oz --platform shop")]
pub struct ExplainArgs {
    /// Its id, or @ and the platform's reference (which needs the platform's key)
    #[arg(value_name = "ID|@REFERENCE", required_unless_present = "sku", conflicts_with = "sku")]
    order: Option<String>,
    /// A product of an order that is not submitted; may be given several times
    #[arg(long)]
    sku: Vec<String>,
    /// The country that it would be for
    #[arg(long, requires = "sku")]
    country: Option<String>,
    /// Its service level, if it is not the usual one
    #[arg(long, requires = "sku")]
    service_level: Option<String>,
    /// The platform that would submit it, if the key is of scope ops
    #[arg(long, value_name = "ID", requires = "sku")]
    platform: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// List the routes of all platforms
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress route list --format json

Needs a key of scope ops.")]
pub struct ListArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Set the routes of a platform, or of all that have none of their own
///
/// Everything that is wrong with the rules is named at once, and then nothing is changed. Orders that are there
/// stay where they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress route set default routes.toml

A file:
  [[rules]]
  id = \"mugs\"
  products = [\"mug-*\"]
  to = [{ lab = \"mugworks\", region = \"pl\" }]

  [[rules]]
  id = \"nordic\"
  countries = [\"FI\", \"SE\"]
  to = [{ lab = \"nordprint\" }, { lab = \"luma\", region = \"de\" }]

Needs a key of scope ops.")]
pub struct SetArgs {
    /// The platform, or default
    #[arg(value_name = "PLATFORM|default")]
    platform: String,
    #[arg(help = "A file with [[rules]]; TOML or JSON, - for standard input")]
    file: PathBuf,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

const LISTED: &[Column] =
    &[("platform", "/id"), ("version", "/version"), ("rules", "/rules"), ("updated at", "/updated_at")];

const CHOSEN: &[Column] = &[
    ("order", "/order"),
    ("lab", "/lab"),
    ("region", "/region"),
    ("routes of", "/route/routes"),
    ("version", "/route/version"),
    ("rule", "/route/chosen/rule"),
    ("chosen by", "/route/gateway"),
];

const CONSIDERED: &[Column] = &[
    ("rule", "/rule"),
    ("lab", "/lab"),
    ("region", "/region"),
    ("outcome", "/why"),
    ("in words", "/text"),
    ("hand-over (UTC)", "/closes_at"),
];

const SKIPPED: &[Column] = &[("rule not for it", "/rule"), ("because of", "/why")];

const LINES: &[Column] =
    &[("items", "/items"), ("product", "/sku"), ("could be made by", "/lab"), ("region", "/region")];

/// Runs the command.
pub(super) async fn run(args: Routes, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match args {
        Routes::Explain(args) => explain(args, terminal).await,
        Routes::List(args) => {
            let routes = Client::new(&args.server, terminal)?.list("routes", &[], usize::MAX).await?;
            Ok(records::print(terminal.out, args.format, LISTED, &routes)?)
        }
        Routes::Set(args) => {
            let here = args.file.display().to_string();
            let rules = read(&args.file).map_err(|fault: Fault| fault.under(&here))?;
            let client = Client::new(&args.server, terminal)?;
            let (_, routes) = client.send(Method::PUT, &["v1", "routes", &args.platform], &rules).await?;
            Ok(records::print(terminal.out, args.format, LISTED, &[routes])?)
        }
    }
}

async fn explain(args: ExplainArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    let answer = if let Some(order) = &args.order {
        client.get(&["v1", "orders", order, "route"], &[]).await?
    } else {
        let items: Vec<Value> = args.sku.iter().map(|sku| json!({"sku": sku})).collect();
        let asked = json!({"country": args.country, "service_level": args.service_level, "items": items});
        client.route(args.platform.as_deref(), &asked).await?
    };
    if args.format == Format::Json {
        return Ok(writeln!(terminal.out, "{answer}")?);
    }
    // Of an order that is not submitted, the explanation is the answer.
    let (shown, route) = if args.order.is_some() {
        (answer.clone(), answer.get("route").cloned().unwrap_or_default())
    } else {
        let chosen = |field| answer.pointer(&format!("/chosen/{field}"));
        (json!({"lab": chosen("lab"), "region": chosen("region"), "route": answer}), answer.clone())
    };
    records::fields(terminal.out, CHOSEN, &shown)?;
    if route.is_null() {
        return Ok(writeln!(terminal.out, "The order named its lab.")?);
    }
    if route["chosen"].is_null() {
        writeln!(terminal.out, "No lab can take it.")?;
    } else if route["chosen"]["last_resort"] == true {
        writeln!(terminal.out, "It could not be reached just then, and nobody else could take the order.")?;
    }
    for (name, columns) in [("considered", CONSIDERED), ("skipped", SKIPPED), ("lines", LINES)] {
        let rows = route.get(name).and_then(Value::as_array).filter(|rows| !rows.is_empty());
        if let Some(rows) = rows {
            writeln!(terminal.out)?;
            records::print(terminal.out, Format::Table, columns, rows)?;
        }
    }
    Ok(())
}
