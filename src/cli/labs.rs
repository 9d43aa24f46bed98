//! `stoppress labs`: check a file of labs, import it, list what is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::input::{decode_all, read};
use super::records::{self, Column, Format};
use super::{Failure, Terminal};
use crate::domain::calendar::{Calendar, CalendarSpec};
use crate::domain::lab::{DriverSpec, Lab, LabSpec};
use crate::domain::zones::Zones;
use crate::domain::{Fault, nearest};
use crate::lab;

/// Labs: check a file, import it, list
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap takes what is said about a command from its arguments")]
pub enum Labs {
    Check(CheckArgs),
    Import(ImportArgs),
    List(ListArgs),
}

/// Check a file of labs, without a gateway
///
/// Names everything that is wrong in all labs at once, each by its path; prints the next cutoff of
/// each region if nothing is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress labs check labs.toml

The exit code is 2 if something is wrong.")]
pub struct CheckArgs {
    #[arg(help = "A file with [[labs]]; TOML or JSON, - for standard input")]
    file: PathBuf,
    /// A folder of zone data, used if it is newer than the host's and the bundled
    #[arg(long, value_name = "DIR")]
    zones: Option<PathBuf>,
    /// How to print the cutoffs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Create or replace the labs of a file in a running gateway
///
/// Nothing is sent if anything in the file is wrong. A cutoff that was promised to an order never
/// moves earlier: what the new calendar would have moved is counted as kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress labs import labs.toml

Needs a key of scope ops. The same file again changes nothing.")]
pub struct ImportArgs {
    #[arg(help = "A file with [[labs]]; TOML or JSON, - for standard input")]
    file: PathBuf,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// List the labs of a running gateway
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress labs list --format json")]
pub struct ListArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

const LISTED: &[Column] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("driver", "/driver/kind"),
    ("stops", "/profile/stops"),
    ("regions", "/regions"),
    ("version", "/version"),
    ("paused at", "/paused_at"),
    ("because", "/pause_reason"),
];

const CHECKED: &[Column] = &[
    ("lab", "/lab"),
    ("region", "/region"),
    ("next cutoff (UTC)", "/closes_at"),
    ("local", "/local"),
    ("rule", "/rule"),
    ("tzdata", "/tzdata"),
];

const IMPORTED: &[Column] =
    &[("lab", "/lab"), ("outcome", "/outcome"), ("version", "/version"), ("promises kept", "/promises_kept")];

/// Runs the command.
pub(super) async fn run(args: Labs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match args {
        Labs::Check(args) => check(&args, terminal),
        Labs::Import(args) => import(args, terminal).await,
        Labs::List(args) => {
            let labs = Client::new(&args.server, terminal)?.list("labs", &[], usize::MAX).await?;
            Ok(records::print(terminal.out, args.format, LISTED, &labs)?)
        }
    }
}

fn check(args: &CheckArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let zones = Zones::of_host(args.zones.as_deref())
        .map_err(|fault| Fault { field: fault.field.replace("zones.dir", "--zones"), ..fault })?;
    let now = terminal.clock.now();
    let mut rows = Vec::new();
    for lab in labs_of(&args.file, &zones, now)? {
        for region in &lab.places {
            let calendar = &region.calendar;
            let Some(cutoff) = calendar.next_cutoff(now) else { continue };
            rows.push(json!({
                "lab": lab.spec.id, "region": region.id, "closes_at": cutoff.at, "local": cutoff.local,
                "rule": format!("{} {}", cutoff.rule, cutoff.time), "tzdata": calendar.tzdata(),
            }));
        }
    }
    Ok(records::print(terminal.out, args.format, CHECKED, &rows)?)
}

/// Reads a file of labs.
///
/// # Errors
/// Everything that is wrong with all of them.
pub fn labs_of(file: &Path, zones: &Zones, now: Timestamp) -> Result<Vec<Lab>, Vec<Fault>> {
    let value = read(file).map_err(|fault| vec![fault.under(&file.display().to_string())])?;
    labs_in(&value, zones, now)
}

/// Reads the value of a file of labs.
///
/// # Errors
/// Everything that is wrong with all of them.
pub fn labs_in(value: &Value, zones: &Zones, now: Timestamp) -> Result<Vec<Lab>, Vec<Fault>> {
    let mut faults = Vec::new();
    for key in value.as_object().into_iter().flat_map(|file| file.keys()).filter(|key| *key != "labs") {
        let hint = nearest(key, ["labs"]).map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
        faults.push(Fault::new(key, format!("is not a known key{hint}")));
    }
    let list = match value.get("labs") {
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => {
            faults.push(Fault::new("labs", "is not a list; each lab begins with [[labs]]"));
            &[]
        }
        None => {
            faults.push(Fault::missing("labs", "a list of labs; each begins with [[labs]]"));
            &[]
        }
    };
    let mut built = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (at, value) in list.iter().enumerate() {
        let (lab, of_lab) = lab_of(value, zones, now);
        let here = format!("labs[{at}]");
        faults.extend(of_lab.into_iter().map(|fault| fault.under(&here)));
        if let Some(id) = value.get("id").and_then(Value::as_str)
            && let Some(first) = seen.insert(id.to_owned(), at)
        {
            faults.push(Fault::not(format!("{here}.id"), id, &format!("unique: labs[{first}] has it")));
        }
        built.extend(lab);
    }
    if faults.is_empty() { Ok(built) } else { Err(faults) }
}

fn lab_of(value: &Value, zones: &Zones, now: Timestamp) -> (Option<Lab>, Vec<Fault>) {
    let mut faults = Vec::new();
    if let Some(driver) =
        value.get("driver").and_then(|driver| decode_all::<DriverSpec>(driver, &mut Vec::new()))
    {
        faults.extend(lab::check(&driver).into_iter().map(|fault| fault.under("driver")));
    }
    let Some(spec) = decode_all::<LabSpec>(value, &mut faults) else {
        // What can be read of it is checked all the same.
        faults.extend(calendars(value, zones, now));
        return (None, faults);
    };
    match Lab::build(spec, zones, now) {
        Ok(lab) if faults.is_empty() => (Some(lab), faults),
        Ok(_) => (None, faults),
        Err(more) => {
            faults.extend(more);
            (None, faults)
        }
    }
}

/// The faults of the calendars of a lab that cannot be read as a whole.
fn calendars(lab: &Value, zones: &Zones, now: Timestamp) -> Vec<Fault> {
    let regions = lab.get("regions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let of_region = |(at, region): (usize, &Value)| {
        let spec = decode_all::<CalendarSpec>(region.get("calendar")?, &mut Vec::new())?;
        let faults = Calendar::build(&spec, zones, now).err()?;
        Some(faults.into_iter().map(move |fault| fault.under(&format!("regions[{at}].calendar"))))
    };
    regions.iter().enumerate().filter_map(of_region).flatten().collect()
}

async fn import(args: ImportArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let labs = labs_of(&args.file, &Zones::of_host(None)?, terminal.clock.now())?;
    let client = Client::new(&args.server, terminal)?;
    let mut rows = Vec::new();
    let mut refused = false;
    for Lab { spec, .. } in labs {
        let body = serde_json::to_value(&spec).map_err(|error| Failure::Failed(error.to_string()))?;
        let row = match client.send(Method::PUT, &["v1", "labs", spec.id.as_str()], &body).await {
            Ok((status, answer)) => json!({
                "lab": spec.id,
                "outcome": if status == 201 { "new" } else { "replaced" },
                "version": answer.get("version"),
                "promises_kept": answer.get("kept_promises").and_then(Value::as_array).map_or(0, Vec::len),
            }),
            Err(Failure::Refused(problem)) if problem.status != 401 && problem.status != 403 => {
                refused = true;
                writeln!(terminal.err, "{}: {problem}", spec.id)?;
                json!({ "lab": spec.id, "outcome": "refused" })
            }
            Err(failure) => return Err(failure),
        };
        rows.push(row);
    }
    records::print(terminal.out, args.format, IMPORTED, &rows)?;
    if refused { Err(Failure::Told) } else { Ok(()) }
}
