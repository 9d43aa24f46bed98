//! `stoppress verdict` and `stoppress stop`: can it still be stopped, and: stop it.

use std::io::{self, Write};

use hyper::Method;
use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::client::{Client, ServerArgs};
use super::records::{self, Column, Format};
use super::{Failure, Terminal};
use crate::domain::batch::later;
use crate::domain::lab::Lasting;
use crate::domain::stop::StopState;

/// How often a stop that is pending is looked at.
const EVERY: SignedDuration = SignedDuration::from_secs(1);

/// Can an order still be stopped, until when, and who decides?
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress verdict ord_0199f3c2a7e07d3b8a51c0de5fa3b9c4
  stoppress verdict @A-1001 --format json")]
pub struct VerdictArgs {
    /// Its id, or @ and the platform's reference (which needs the platform's key)
    #[arg(value_name = "ID|@REFERENCE")]
    order: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Stop an order: ask that it not be printed
///
/// The exit code is 0 only if the order, or with `--items` these lines of it, is stopped, so that `stoppress stop … && refund …` is safe;
/// it is 1 if it will be printed, or if that is not decided yet.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress stop @A-1001 --reason 'wrong size' --asked-by customer
  stoppress stop ord_0199f3c2a7e07d3b8a51c0de5fa3b9c4 --wait 10m && echo refund it
  stoppress stop @A-1001 --items 1,3 && echo refund these lines

An order has one stop: the same command again gives that one, as it stands.")]
pub struct StopArgs {
    /// Its id, or @ and the platform's reference (which needs the platform's key)
    #[arg(value_name = "ID|@REFERENCE")]
    order: String,
    /// Why, in a word or two
    #[arg(long)]
    reason: Option<String>,
    /// More
    #[arg(long)]
    comment: Option<String>,
    /// Who asks
    #[arg(long, value_name = "WHO", value_parser = ["customer", "merchant", "support", "system"])]
    asked_by: Option<String>,
    /// Who that is, by a name or an id of the platform's own
    #[arg(long, value_name = "NAME")]
    requested_by: Option<String>,
    /// Stop only these lines, by the ids of their items; the rest of the order goes on
    #[arg(long, value_name = "ITEM", value_delimiter = ',')]
    items: Vec<String>,
    /// Wait so long for the lab's answer, if it is the lab that decides, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = lasting)]
    wait: Option<Lasting>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

fn lasting(text: &str) -> Result<Lasting, String> {
    Lasting::try_from(text.to_owned()).map_err(|fault| fault.message)
}

const VERDICT: &[Column] = &[
    ("order", "/order"),
    ("because", "/reason"),
    ("decided by", "/decided_by"),
    ("until", "/until"),
    ("local", "/until_local"),
    ("ask through", "/next/channel"),
    ("e-mail", "/next/contact/email"),
    ("phone", "/next/contact/phone"),
    ("hours", "/next/contact/hours"),
    ("answer due", "/next/answer_due_at"),
    ("due local", "/next/answer_due_local"),
    ("due by", "/next/answer_due_rule"),
    ("refund", "/consequences/refund"),
    ("service fee", "/consequences/service_fee"),
    ("can change", "/can_change"),
    ("as of", "/as_of"),
];

const STOP: &[Column] = &[
    ("order", "/order"),
    ("stop", "/id"),
    ("evidence", "/evidence"),
    ("lines", "/items"),
    ("reason", "/reason"),
    ("asked by", "/asked_by"),
    ("requested by", "/requested_by"),
    ("asked at", "/asked_at"),
    ("decided at", "/decided_at"),
    ("answer due", "/answer_due_at"),
    ("answer", "/answer"),
    ("refund", "/consequences/refund"),
    ("service fee", "/consequences/service_fee"),
    ("back to stock", "/consequences/restock"),
];

/// Runs `verdict`.
pub(super) async fn verdict(args: VerdictArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    let verdict = client.get(&["v1", "orders", &args.order, "verdict"], &[]).await?;
    Ok(show_verdict(terminal.out, args.format, &verdict)?)
}

fn show_verdict(out: &mut dyn Write, format: Format, verdict: &Value) -> io::Result<()> {
    if format == Format::Json {
        return writeln!(out, "{verdict}");
    }
    let can = records::text(verdict.get("can_stop"));
    writeln!(
        out,
        "{}",
        match can.as_str() {
            "yes" => "Yes, it can be stopped: the gateway still has it.",
            "ask_lab" => "Perhaps: the lab has it, and can be asked.",
            "ask_person" => "Perhaps: the lab has it, and a person has to ask.",
            "not_yet_known" => "Not known yet: ask again in a few seconds.",
            "no" => "No.",
            other => other,
        }
    )?;
    records::fields(out, VERDICT, verdict)?;
    if let Some(odds) = verdict.get("odds").filter(|odds| odds.is_object()) {
        let number = |name| odds.get(name).and_then(Value::as_f64).unwrap_or_default();
        writeln!(
            out,
            "odds: of {} stops asked as long after the hand-over, {} were granted ({:.0} to {:.0} % of such)",
            number("asked"),
            number("stopped"),
            number("low") * 100.0,
            number("high") * 100.0,
        )?;
    }
    Ok(())
}

/// Runs `stop`.
pub(super) async fn stop(args: StopArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    let mut body = Map::new();
    for (name, value) in [
        ("reason", &args.reason),
        ("comment", &args.comment),
        ("asked_by", &args.asked_by),
        ("requested_by", &args.requested_by),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.as_str().into());
        }
    }
    if !args.items.is_empty() {
        body.insert("items".to_owned(), args.items.clone().into());
    }
    let path = ["v1", "orders", &args.order, "stop"];
    let (_, mut answer) = client.send(Method::POST, &path, &Value::Object(body)).await?;
    if let (Some(wait), None) = (args.wait, decided(&answer)) {
        let until = later(terminal.clock.now(), wait.0);
        writeln!(terminal.err, "The lab has been asked; waiting for its answer, at most {wait}.")?;
        while decided(&answer).is_none() && terminal.clock.now() < until {
            terminal.clock.sleep_until(later(terminal.clock.now(), EVERY).min(until)).await;
            answer = same(client.get(&path, &[]).await?, &answer);
        }
    }
    let state = decided(&answer);
    match args.format {
        Format::Json => writeln!(terminal.out, "{answer}")?,
        Format::Table => {
            writeln!(terminal.out, "{}", sentence(state, &answer))?;
            records::fields(terminal.out, STOP, answer.get("stop").unwrap_or(&Value::Null))?;
        }
    }
    let whole = args.items.is_empty();
    match state {
        Some(StopState::Stopped) => Ok(()),
        Some(StopState::StoppedInPart) if !whole => Ok(()),
        _ => Err(Failure::Told),
    }
}

/// The answer with the stop that was asked, among all of its order.
fn same(mut now: Value, asked: &Value) -> Value {
    let id = asked.pointer("/stop/id");
    let parts = now.get("parts").and_then(Value::as_array);
    let part = parts.and_then(|parts| parts.iter().find(|part| part.get("id") == id)).cloned();
    if let Some(part) = part {
        now["stop"] = part;
    }
    now
}

/// The final state of a stop, if a machine or a person has decided it.
fn decided(answer: &Value) -> Option<StopState> {
    let state = answer.pointer("/stop/state")?.clone();
    let state: StopState = serde_json::from_value(state).ok()?;
    (!matches!(state, StopState::Pending | StopState::WithAPerson)).then_some(state)
}

fn sentence(decided: Option<StopState>, answer: &Value) -> String {
    let shown = |at| answer.pointer(at).and_then(Value::as_str);
    match decided {
        Some(StopState::Stopped) => "Stopped: it will not be printed.".to_owned(),
        Some(StopState::StoppedInPart) => {
            "Stopped in part: these lines will not be printed, the others will.".to_owned()
        }
        Some(_) => "Too late: it is or will be printed.".to_owned(),
        None if shown("/stop/state") == Some(StopState::WithAPerson.word()) => {
            "Not decided yet: a person finds out.".to_owned()
        }
        None if shown("/stop/state").is_none() && shown("/approval/state") == Some("declined") => {
            "Not stopped: the merchant declined what the customer asked.".to_owned()
        }
        None if shown("/stop/state").is_none() && shown("/approval/state").is_some() => {
            "Not decided yet: the merchant decides about what the customer asked.".to_owned()
        }
        None => "Not decided yet: the lab has been asked.".to_owned(),
    }
}
