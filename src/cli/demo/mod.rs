//! `stoppress demo`: the main job on real input, in one process, checked against the labs' ledgers.
//!
//! A gateway, seven labs and their shops run on a clock that moves from event to event and stands still
//! while anybody is at work, so that no time-out and no deadline is distorted by the speed of the
//! play. Orders and stops go through the public HTTP API. At the end every answer that was given is
//! compared with what the labs did; a broken promise, a loss or a double print ends it with 1.

mod cast;
pub mod check;
mod csv;
mod draw;
mod file;
mod house;
mod person;
mod play;
pub mod report;
mod screen;
mod script;
mod wire;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use self::check::{Findings, Kind, Violation};
use self::file::Columns;
use self::house::{Folder, House, Plan};
use self::play::{Book, Play};
use self::report::Report;
use self::screen::Screen;
use self::script::Script;
use self::wire::Odd;
use crate::clock::{Clock as _, HostClock, ManualClock};
use crate::config::{LogConfig, LogFormat};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::zones::Zones;
use crate::{app, store, telemetry};

/// Orders that are drawn unless told.
const COUNT: u64 = 600;
/// So long before its first act a play begins.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);
/// How often a kept clock moves.
const BEAT: SignedDuration = SignedDuration::from_millis(100);

/// See it work: five days of orders and cancellations, seven labs, every answer checked
///
/// Starts a gateway on a temporary database with seven simulated labs, one of which dials out,, plays orders and stops through
/// its HTTP API on a clock of its own, and compares every answer with what the labs did.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress demo
  stoppress demo --seed 7 --count 2000 --report report.json
  stoppress demo --orders online-retail.csv
  stoppress demo --orders sales.csv --map invoice=Order,sku=Article,quantity=Qty,at=Time,customer=Buyer,country=Country --time-zone Europe/Berlin
  stoppress demo --orders orders.ndjson --keep

Files: NDJSON with an order of POST /v1/orders a line, each with an optional \"at\"; {\"at\": …, \"stop\":
REFERENCE} cancels. Or CSV with an order line a row: an invoice is an order; quantities below zero and
invoices that begin with C are cancellations, matched by customer and article.

Exit codes: 0 nothing was found, 1 a promise was broken, an order lost or printed twice, 2 wrong input.")]
pub struct Demo {
    /// Play this file instead: NDJSON, or CSV (the columns of Online Retail are known)
    #[arg(long, value_name = "FILE")]
    pub orders: Option<PathBuf>,
    /// Which column holds what: invoice, sku, quantity, at, customer, country
    #[arg(long, value_name = "FIELD=COLUMN,…", requires = "orders")]
    pub map: Option<Columns>,
    /// The zone of a CSV file's times of day
    #[arg(long, value_name = "ZONE", default_value = "Europe/London")]
    pub time_zone: String,
    /// What is drawn is drawn from this number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Orders to draw
    #[arg(long, default_value_t = COUNT, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub count: u64,
    /// Days to draw
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub days: u8,
    /// Write the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Leave the gateway running, with its files, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Show the gateway's log: error, warn, info, debug
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Why the demo did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input.
    #[error("{0}")]
    Input(#[from] Fault),
    /// The gateway did not start.
    #[error("{0}")]
    Start(#[from] app::Error),
    /// The gateway answered what it should not.
    #[error("{0}")]
    Odd(#[from] Odd),
    /// The store.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// Something of the host.
    #[error("{0}")]
    Failed(String),
    /// The check found violations; they were printed.
    #[error("the check found {0}: they are named above")]
    Violated(String),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    fn failed(what: &dyn Display, why: &dyn Display) -> Self {
        Self::Failed(format!("{what}: {why}"))
    }
}

/// Runs the command.
///
/// # Errors
/// If it cannot be played, or the check finds a violation.
pub async fn run(args: &Demo, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let level = args.log_level.clone().unwrap_or_else(|| "off".to_owned());
    telemetry::log(&LogConfig { level, format: LogFormat::Text })?;
    let zones = Zones::of_host(None)?;
    let script = script(args, &zones)?;
    let screen = Screen::new(script.acts.len());
    let report = play(args, &script, &zones, screen, out).await?;
    let wrong: Vec<_> = Kind::ALL
        .iter()
        .map(|(kind, words)| (report.check.count(*kind), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::Violated(wrong.join(", "))) }
}

fn script(args: &Demo, zones: &Zones) -> Result<Script, Error> {
    Ok(match &args.orders {
        Some(path) => {
            let zone = zones.get(&args.time_zone).map_err(|fault| fault.under("--time-zone"))?;
            let local = |civil| zone.to_ambiguous_timestamp(civil).compatible().ok();
            file::read(path, &args.map.clone().unwrap_or_default(), &local, &args.time_zone)?
        }
        None => draw::draw(args.count, usize::from(args.days), args.seed, zones)?,
    })
}

/// Plays without a screen, and gives the report: for tests.
///
/// # Errors
/// If it cannot be played.
pub async fn quietly(args: &Demo) -> Result<Report, Error> {
    let zones = Zones::of_host(None)?;
    let script = script(args, &zones)?;
    play(args, &script, &zones, Screen::quiet(), &mut io::sink()).await
}

async fn play(
    args: &Demo,
    script: &Script,
    zones: &Zones,
    mut screen: Screen,
    out: &mut (dyn Write + Send),
) -> Result<Report, Error> {
    let began = HostClock.now();
    let folder =
        Folder::new(args.keep).map_err(|error| Error::failed(&"a folder for temporary files", &error))?;
    let first = script.acts.first().map_or(Timestamp::UNIX_EPOCH, |act| act.at);
    let plan = Plan {
        folder: &folder.path,
        seed: args.seed,
        keep: args.keep,
        start: later(first, -BEFORE),
        first: zones.get("UTC")?.to_datetime(first).date(),
        shops: &script.shops,
        zones,
    };
    let mut house = House::open(&plan).await?;
    screen.line(&format!(
        "Stoppress at {}, zone data {}. {}, {}.",
        house.gateway.url(),
        house.gateway.zones,
        screen::plural(script.orders(), "order", "orders"),
        screen::plural(script.cancels(), "cancellation", "cancellations"),
    ));
    screen.steady();
    let mut playing = Play::new(&mut house, script, args.seed, &mut screen);
    let played = playing.run().await;
    let (book, desk) = playing.end();
    screen.end();
    played?;

    let report = examine(&house, script, &book, &desk, (first, began)).await?;
    report.print(script, out)?;
    violations(&house, &report.check, out).await?;
    if let Some(path) = &args.report {
        std::fs::write(path, format!("{:#}\n", report.json()))
            .map_err(|error| Error::failed(&path.display(), &error))?;
    }
    if args.keep {
        hints(&house, &book, &folder.path, true, out)?;
        out.flush()?;
        keep(&house.clock).await;
    } else {
        hints(&house, &book, &folder.path, false, out)?;
    }
    house.close().await;
    Ok(report)
}

/// Puts together what everybody says, and checks it.
async fn examine(
    house: &House,
    script: &Script,
    book: &Book,
    desk: &person::Desk,
    (first, began): (Timestamp, Timestamp),
) -> Result<Report, Error> {
    let ledgers =
        house.labs.iter().map(|staff| (staff.role.id.to_owned(), staff.lab.ledger().verdicts())).collect();
    let mut check = check::check(&book.accounts, &ledgers);
    let verified = house.gateway.bench.store.verify_events().await?;
    let faults = book.odd.iter().chain(&verified.breaks);
    for staff in house.labs.iter().filter(|staff| staff.role.dials()) {
        check.violations.extend(check::heard(&book.accounts, &staff.lab.ledger().reached()));
    }
    check.violations.extend(faults.map(|text| Violation {
        kind: Kind::Fault,
        order: None,
        text: text.clone(),
    }));
    Ok(Report {
        origin: script.origin.clone(),
        simulated_from: screen::utc(first),
        simulated_to: screen::utc(house.now()),
        calls: book.calls,
        orders_accepted: book.accounts.len(),
        orders_refused: book.refused.clone(),
        left_out: script.notes.clone(),
        broken_lines: script.broken.clone(),
        stops_by_lab: report::stops(book),
        stops_of_unknown_orders: book.unknown,
        stops_of_clock_watchers: book.watching,
        decided_by_the_person: desk.decided.clone(),
        windows: report::windows(house).await?,
        labs: report::labs(house),
        unclear_hand_overs: report::unclear(house).await?,
        events: verified.events,
        checkpoints: verified.checkpoints,
        check,
        seconds: HostClock.now().duration_since(began).as_secs_f64(),
    })
}

/// Names what is wrong, each order with its changelog.
async fn violations(house: &House, found: &Findings, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    for violation in found.violations.iter().take(20) {
        writeln!(out, "\n  {:?}: {}", violation.kind, violation.text)?;
        let Some(order) = &violation.order else { continue };
        let log: Value = house.ops.get(&["orders", order, "changelog"], "").await.unwrap_or_default();
        for event in log["events"].as_array().into_iter().flatten() {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            writeln!(
                out,
                "    {:<28} {:<24} {:<20} {}",
                text("at"),
                text("kind"),
                text("actor"),
                event["detail"]
            )?;
        }
        for staff in &house.labs {
            let ledger = staff.lab.ledger();
            for entry in ledger.entries() {
                let line = serde_json::to_string(entry).unwrap_or_default();
                if line.contains(order.as_str()) {
                    let short: String = line.chars().take(200).collect();
                    writeln!(out, "    ledger of {}: {short}", staff.role.id)?;
                }
            }
        }
    }
    let more = found.violations.len().saturating_sub(20);
    if more > 0 {
        writeln!(out, "\n  and {more} more")?;
    }
    Ok(())
}

/// What to try next.
fn hints(house: &House, book: &Book, folder: &Path, kept: bool, out: &mut dyn Write) -> io::Result<()> {
    if !kept {
        return writeln!(
            out,
            "\nNext: `stoppress demo --keep` leaves the gateway running and prints curl commands for it;\n\
             `stoppress demo --orders FILE` plays your own orders; `stoppress serve` is the real thing."
        );
    }
    let url = house.gateway.url();
    writeln!(out, "\nThe gateway goes on running, its clock at {} and now in real time.", house.now())?;
    writeln!(out, "  export OPS='Authorization: Bearer {}'", house.ops.key())?;
    if let Some(shop) = house.shops.first() {
        writeln!(out, "  export SHOP='Authorization: Bearer {}'", shop.key())?;
    }
    let order = serde_json::json!({
        "reference": "TRY-1", "lab": "nordprint",
        "ship_to": { "name": "You", "line1": "1 Example Street", "city": "Helsinki", "country": "FI" },
        "items": [{ "id": "1", "sku": "print-10x15", "quantity": 2 }],
    });
    writeln!(out, "\nSend an order, ask until when it can be stopped, and stop it:")?;
    let json = "-H 'Content-Type: application/json'";
    writeln!(out, "  curl -s {url}/v1/orders -H \"$SHOP\" {json} -d '{order}'")?;
    writeln!(out, "  curl -s {url}/v1/orders/@TRY-1/verdict -H \"$SHOP\"")?;
    writeln!(
        out,
        "  curl -s -X POST {url}/v1/orders/@TRY-1/stop -H \"$SHOP\" {json} -d '{{\"reason\":\"wrong size\"}}'"
    )?;
    if let Some(account) =
        book.accounts.iter().find(|account| account.told.len() > 1).or(book.accounts.first())
    {
        writeln!(out, "What happened to an order of the play:")?;
        writeln!(out, "  curl -s {url}/v1/orders/{}/changelog -H \"$OPS\"", account.id)?;
    }
    writeln!(out, "What waits for a person, the batches, and what a lab really did:")?;
    writeln!(out, "  curl -s '{url}/v1/escalations?open=true' -H \"$OPS\"")?;
    writeln!(out, "  curl -s {url}/v1/batches -H \"$OPS\"")?;
    if let Some(staff) = house.labs.first() {
        writeln!(out, "  curl -s http://{}/_simulate/ledger", staff.lab.http_addr)?;
    }
    writeln!(out, "\nFiles: {} (they stay). Ctrl-C ends it.", folder.display())
}

/// Moves the clock with the host's until Ctrl-C.
async fn keep(clock: &ManualClock) {
    let ended = tokio::signal::ctrl_c();
    tokio::pin!(ended);
    let mut seen = HostClock.now();
    loop {
        tokio::select! {
            _ = &mut ended => return,
            () = HostClock.sleep_until(later(seen, BEAT)) => {}
        }
        let now = HostClock.now();
        let passed = now.duration_since(seen);
        // A host clock that was set back stands still here.
        if passed.is_positive() {
            clock.set(later(clock.now(), passed));
        }
        seen = now;
    }
}
