//! `stoppress cutoffs`: what a calendar means, without a database.

use std::fmt;
use std::io::{self, Write};
use std::iter::Peekable;
use std::path::PathBuf;

use comfy_table::{Table, presets};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::input::{decode, read};
use crate::domain::calendar::{Calendar, CalendarSpec, Cutoff};
use crate::domain::ids::{GroupId, LabId, RegionId};
use crate::domain::zones::Zones;
use crate::domain::{Fault, ics, nearest};

/// How far the list goes if nobody says.
const DAYS_SHOWN: i64 = 14;

/// List the cutoffs of a calendar, or of all regions of a labs file.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress cutoffs --calendar berlin.toml
  stoppress cutoffs --calendar labs.toml --lab luma --to 2026-12-24T00:00:00Z
  stoppress cutoffs --calendar labs.toml --format ics > cutoffs.ics
  stoppress cutoffs --tzdata

A calendar:
  time_zone = \"Europe/Berlin\"
  cutoffs = [\"24:00\"]                 # the midnight that ends the day
  weekdays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]
  closed = [\"2026-12-25\", \"01-01\"]
  special = { \"2026-12-24\" = [\"10:00\"] }
  seasons = [{ name = \"peak\", from = \"10-01\", to = \"12-31\", cutoffs = [\"12:00\", \"24:00\"] }]")]
pub struct Cutoffs {
    /// The file.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "tzdata",
        help = "A calendar, or a labs file with [[labs]]; TOML or JSON"
    )]
    pub calendar: Option<PathBuf>,
    /// Only this lab of a labs file
    #[arg(long)]
    pub lab: Option<String>,
    /// Only this region of a labs file
    #[arg(long)]
    pub region: Option<String>,
    /// The first instant, included [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub from: Option<Timestamp>,
    /// The last instant, excluded [default: 14 days after the first]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub to: Option<Timestamp>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A folder of zone data, used if it is newer than the host's and the bundled
    #[arg(long, value_name = "DIR")]
    pub zones: Option<PathBuf>,
    /// Print the version and source of the zone data instead
    #[arg(long)]
    pub tzdata: bool,
}

/// How to print cutoffs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON object a line
    Ndjson,
    /// iCalendar
    Ics,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is wrong: everything that is, one a line.
    #[error("{}", lines(.0))]
    Input(Vec<Fault>),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Input(vec![fault])
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs the command.
///
/// # Errors
/// If the input is wrong or the output cannot be written.
pub fn run(args: &Cutoffs, now: Timestamp, out: &mut dyn Write) -> Result<(), Error> {
    let zones = Zones::of_host(args.zones.as_deref())
        .map_err(|fault| Fault { field: fault.field.replace("zones.dir", "--zones"), ..fault })?;
    if args.tzdata {
        return tzdata(&zones, args.format, out);
    }
    let Some(path) = &args.calendar else {
        return Err(Fault::missing("--calendar", "a file with a calendar or with labs").into());
    };
    let from = args.from.unwrap_or(now);
    let to = match args.to {
        Some(to) => to,
        None => from.saturating_add(SignedDuration::from_hours(24 * DAYS_SHOWN)).unwrap_or(Timestamp::MAX),
    };
    if to < from {
        return Err(Fault::new("--to", format!("{to} is before --from, {from}")).into());
    }

    // A fault of a whole calendar has no field of its own.
    let of_whole = |fault: Fault| if fault.field.is_empty() { fault.under("calendar") } else { fault };
    let file = read(path).map_err(|fault| fault.under(&path.display().to_string()))?;
    let is_labs = file.get("labs").is_some();
    let mut places = if is_labs { labs(file, args) } else { bare(file, args) }.map_err(of_whole)?;
    let faults: Vec<Fault> =
        places.iter_mut().flat_map(|place| place.build(&zones, from, now)).map(of_whole).collect();
    if !faults.is_empty() {
        return Err(Error::Input(faults));
    }
    let rows = merged(&places, from, to);
    match args.format {
        Format::Table => table(is_labs && (args.lab.is_none() || args.region.is_none()), rows, out),
        Format::Ndjson => ndjson(rows, out),
        Format::Ics => {
            let name = match (&args.lab, &args.region) {
                (Some(lab), Some(region)) => format!("Cutoffs of {lab}/{region}"),
                (Some(lab), None) => format!("Cutoffs of {lab}"),
                _ => "Cutoffs".to_owned(),
            };
            let revision = ics::Revision::first(now);
            let entries: Vec<_> = rows
                .map(|(place, cutoff)| ics::Entry { place: place.to_string(), cutoff, revision })
                .collect();
            let feed = ics::Feed { name: &name, time_zone: None, alarms: &ics::ALARMS };
            Ok(out.write_all(ics::calendar(feed, &entries).as_bytes())?)
        }
    }
}

/// Somewhere that has a calendar: a region of a lab, or nothing but the calendar itself.
struct Place {
    lab_region: Option<(LabId, RegionId)>,
    path: String,
    spec: CalendarSpec,
    calendar: Option<Calendar>,
}

impl Place {
    /// A calendar is good if it is in use now or at the time that is asked for.
    fn build(&mut self, zones: &Zones, from: Timestamp, now: Timestamp) -> Vec<Fault> {
        match Calendar::build(&self.spec, zones, from).or_else(|_| Calendar::build(&self.spec, zones, now)) {
            Ok(calendar) => {
                self.calendar = Some(calendar);
                Vec::new()
            }
            Err(faults) => faults.into_iter().map(|fault| fault.under(&self.path)).collect(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.lab_region {
            Some((lab, region)) => write!(f, "{lab}/{region}"),
            None => f.write_str(&self.spec.time_zone),
        }
    }
}

/// The part of a labs file that has to do with time; the rest is not looked at.
#[derive(serde::Deserialize)]
struct Labs {
    labs: Vec<Lab>,
}

#[derive(serde::Deserialize)]
struct Lab {
    id: LabId,
    regions: Vec<Region>,
}

#[derive(serde::Deserialize)]
struct Region {
    id: RegionId,
    calendar: CalendarSpec,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(serde::Deserialize)]
struct Group {
    id: GroupId,
    calendar: CalendarSpec,
}

impl Region {
    /// Itself and its groups: each with its id, where its calendar is, and the calendar.
    fn all(self) -> Vec<(RegionId, String, CalendarSpec)> {
        let Self { id, calendar, groups } = self;
        let groups: Vec<_> = groups
            .into_iter()
            .enumerate()
            .map(|(at, group)| (id.of_group(&group.id), format!("groups[{at}].calendar"), group.calendar))
            .collect();
        std::iter::once((id, "calendar".to_owned(), calendar)).chain(groups).collect()
    }
}

fn bare(file: Value, args: &Cutoffs) -> Result<Vec<Place>, Fault> {
    for (option, chosen) in [("--lab", &args.lab), ("--region", &args.region)] {
        if chosen.is_some() {
            return Err(Fault::new(option, "chooses from a labs file, and the file is one calendar"));
        }
    }
    let spec = decode(file)?;
    Ok(vec![Place { lab_region: None, path: String::new(), spec, calendar: None }])
}

fn labs(file: Value, args: &Cutoffs) -> Result<Vec<Place>, Fault> {
    let labs = decode::<Labs>(file)?.labs;
    if let Some(lab) = &args.lab
        && !labs.iter().any(|known| known.id.as_str() == lab)
    {
        return Err(unknown("--lab", lab, labs.iter().map(|known| known.id.as_str())));
    }
    let of_lab = |lab: &Lab| args.lab.as_ref().is_none_or(|chosen| chosen == lab.id.as_str());
    let mut places = Vec::new();
    for (l, lab) in labs.into_iter().enumerate().filter(|(_, lab)| of_lab(lab)) {
        for (r, region) in lab.regions.into_iter().enumerate() {
            for (id, path, spec) in region.all() {
                let path = format!("labs[{l}].regions[{r}].{path}");
                places.push(Place { lab_region: Some((lab.id.clone(), id)), path, spec, calendar: None });
            }
        }
    }
    if let Some(region) = &args.region {
        let ids = || places.iter().filter_map(|place| Some(place.lab_region.as_ref()?.1.as_str()));
        if !ids().any(|known| known == region) {
            return Err(unknown("--region", region, ids()));
        }
        places.retain(|place| place.lab_region.as_ref().is_some_and(|(_, id)| id.as_str() == region));
    }
    Ok(places)
}

fn unknown<'a>(option: &str, got: &str, known: impl Iterator<Item = &'a str> + Clone) -> Fault {
    let allowed = match nearest(got, known.clone()) {
        Some(near) => format!("in the file; did you mean {near:?}?"),
        None => format!("in the file; there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    Fault::not(option, got, &allowed)
}

/// All cutoffs of all places, in order of their instants.
fn merged(places: &[Place], from: Timestamp, to: Timestamp) -> impl Iterator<Item = (&Place, Cutoff)> {
    let mut left: Vec<(&Place, Peekable<_>)> = places
        .iter()
        .filter_map(|place| Some((place, place.calendar.as_ref()?.cutoffs(from, to).peekable())))
        .collect();
    std::iter::from_fn(move || {
        let next = |(index, (_, cutoffs)): (usize, &mut (_, Peekable<_>))| {
            cutoffs.peek().map(|cutoff: &Cutoff| (cutoff.at, index))
        };
        let (_, index) = left.iter_mut().enumerate().filter_map(next).min()?;
        let (place, cutoffs) = &mut left[index];
        Some((*place, cutoffs.next()?))
    })
}

fn table<'a>(
    with_place: bool,
    rows: impl Iterator<Item = (&'a Place, Cutoff)>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let place_columns: &[&str] = if with_place { &["lab", "region"] } else { &[] };
    let columns = ["closes at (UTC)", "local", "date", "time", "rule", "shifted"];
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(place_columns.iter().chain(&columns));
    for (place, cutoff) in rows {
        let lab_region =
            place.lab_region.iter().flat_map(|(lab, region)| [lab.to_string(), region.to_string()]);
        let cells = [
            cutoff.at.to_string(),
            cutoff.local,
            cutoff.production_date.to_string(),
            cutoff.time,
            cutoff.rule.to_string(),
            cutoff.shifted.to_string(),
        ];
        table.add_row(lab_region.filter(|_| with_place).chain(cells));
    }
    if table.is_empty() {
        writeln!(out, "No cutoffs in this time.")?;
        return Ok(());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn ndjson<'a>(rows: impl Iterator<Item = (&'a Place, Cutoff)>, out: &mut dyn Write) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        cutoff: Cutoff,
        #[serde(skip_serializing_if = "Option::is_none")]
        lab: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        region: Option<&'a str>,
    }
    for (place, cutoff) in rows {
        let (lab, region) = place.lab_region.as_ref().map(|(l, r)| (l.as_str(), r.as_str())).unzip();
        serde_json::to_writer(&mut *out, &Row { cutoff, lab, region }).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn tzdata(zones: &Zones, format: Format, out: &mut dyn Write) -> Result<(), Error> {
    let (version, source) = (zones.version(), zones.source().to_string());
    if format == Format::Ndjson {
        writeln!(out, "{}", serde_json::json!({ "version": version, "source": source }))?;
    } else {
        writeln!(out, "version: {version}\nsource:  {source}")?;
    }
    Ok(())
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("{text:?} is not an instant such as 2026-03-28T22:00:00Z"))
}
