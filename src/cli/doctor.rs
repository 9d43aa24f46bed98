//! `stoppress doctor`: what a gateway stands on, checked before it has to stand on it.
//!
//! It changes nothing: the database is looked at, not opened, unless the event log is to be verified.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::records::{self, Column, Format};
use super::{Failure, Terminal, evidence};
use crate::config::{self, Config, Flags};
use crate::domain::lab::{Answer, LabSpec};
use crate::domain::zones::{Source, Zones};
use crate::lab::outbound::{Outbound, OutboundSettings};
use crate::lab::{self, Tools};
use crate::store::{self, Inspection, Standbys};

/// Check what a gateway stands on: configuration, zone data, clock, database, labs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress doctor
  stoppress doctor --config /etc/stoppress/stoppress.toml --labs
  stoppress doctor --database sqlite:stoppress.db --verify-events
  stoppress doctor --verify-evidence evidence.json

The exit code is 1 if a check failed; warnings alone leave it at 0.")]
pub struct DoctorArgs {
    /// The configuration file [default: stoppress.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another database than the configured one
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Call each lab that the database knows, and ask it who it is
    #[arg(long)]
    labs: bool,
    /// Check the hash chains of the event log; with SQLite, no gateway may run meanwhile
    #[arg(long)]
    verify_events: bool,
    /// Check an evidence bundle, and nothing else: neither configuration nor database is needed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "database", "labs", "verify_events"])]
    verify_evidence: Option<PathBuf>,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    Warning,
    Failed,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        }
    }
}

/// What was found, in order.
#[derive(Debug, Default)]
struct Findings(Vec<(Level, String, String)>);

impl Findings {
    fn good(&mut self, check: &str, text: impl Into<String>) {
        self.0.push((Level::Good, check.to_owned(), text.into()));
    }

    fn warning(&mut self, check: &str, text: impl Into<String>) {
        self.0.push((Level::Warning, check.to_owned(), text.into()));
    }

    fn failed(&mut self, check: &str, text: impl Into<String>) {
        self.0.push((Level::Failed, check.to_owned(), text.into()));
    }
}

const COLUMNS: &[Column] = &[("result", "/result"), ("check", "/check"), ("finding", "/finding")];

/// Runs the command.
pub(super) async fn run(args: DoctorArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut found = Findings::default();
    if let Some(file) = &args.verify_evidence {
        match evidence::verify(file) {
            Ok(said) => found.good("evidence", said),
            Err(faults) => faults.iter().for_each(|fault| found.failed("evidence", fault)),
        }
        return report(&args, &found, terminal);
    }
    let flags = Flags { file: args.config.clone(), database: args.database.clone(), ..Flags::default() };
    let config = match Config::load(&flags) {
        Ok(config) => {
            found.good("configuration", "is valid");
            config
        }
        Err(fault) => {
            found.failed("configuration", fault.to_string());
            Config { database: args.database.clone().unwrap_or_default(), ..Config::default() }
        }
    };
    let now = terminal.clock.now();
    zones(&config, now, &mut found);
    if config.database.is_empty() {
        found.failed("database", "is not checked, because the configuration does not name one");
    } else {
        match store::inspect(&config.database).await {
            Ok(seen) => {
                database(&seen, &mut found);
                standbys(&seen, &mut found);
                clock(&seen, (now, terminal.clock.now()), &mut found);
                if args.labs {
                    labs(&config, &seen, terminal, &mut found).await;
                }
            }
            Err(error) => found.failed("database", error.to_string()),
        }
        if args.verify_events {
            events(&config.database, now, &mut found).await;
        }
    }
    report(&args, &found, terminal)
}

/// Prints what was found.
fn report(args: &DoctorArgs, found: &Findings, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let rows: Vec<Value> = found
        .0
        .iter()
        .map(|(level, check, finding)| json!({ "result": level.word(), "check": check, "finding": finding }))
        .collect();
    records::print(terminal.out, args.format, COLUMNS, &rows)?;
    let bad = found.0.iter().any(|(level, ..)| *level == Level::Failed);
    if bad { Err(Failure::Told) } else { Ok(()) }
}

/// Zone data that is used, and zone data that others on this host use.
fn zones(config: &Config, now: Timestamp, found: &mut Findings) {
    const CHECK: &str = "zone data";
    let zones = match Zones::of_host(config.zones.dir.as_deref()) {
        Ok(zones) => zones,
        Err(fault) => return found.failed(CHECK, fault.to_string()),
    };
    let (used, bundled) = (zones.version(), Zones::bundled());
    found.good(CHECK, format!("{used}, {}; {} zones", zones.source(), zones.names().count()));
    let year = |text: &str| text.get(..4).and_then(|year| year.parse::<i32>().ok());
    let last_year = year(&now.to_string()).unwrap_or_default() - 1;
    if year(used).is_none_or(|year| year < last_year) {
        found.warning(CHECK, format!("{used} is from before {last_year}: rules change every year; update"));
    }
    for (source, release) in Zones::host_releases() {
        if Zones::is_older(&release, bundled.version()) {
            let text = format!(
                "the {source} has {release}, older than the bundled {}: other programs of this host may \
                 compute other instants for the same local times; update its tzdata",
                bundled.version()
            );
            found.warning(CHECK, text);
        }
    }
    if !matches!(zones.source(), Source::Configured(_)) && config.zones.dir.is_some() {
        found.warning(CHECK, "the configured folder is not used: other data is newer");
    }
}

fn database(seen: &Inspection, found: &mut Findings) {
    const CHECK: &str = "database";
    let Inspection { engine, place, applied, known, .. } = seen;
    let held = match &seen.holder {
        Some(holder) => format!("held by {holder}"),
        None => "no gateway works with it".to_owned(),
    };
    found.good(CHECK, format!("{engine} at {place}; {held}"));
    if applied == known {
        found.good("migrations", format!("all {} ran", known.len()));
    } else if let Some(newer) = applied.iter().find(|version| !known.contains(version)) {
        let text =
            format!("it has migration {newer}, which this program does not know: run a newer stoppress");
        found.failed("migrations", text);
    } else {
        let text =
            format!("{} of {} ran; the next start of a gateway runs the rest", applied.len(), known.len());
        found.warning("migrations", text);
    }
}

/// What a standby does not have when it takes over was answered and never happened: orders that were handed over are
/// handed over again, and those that were stopped are printed.
fn standbys(seen: &Inspection, found: &mut Findings) {
    const CHECK: &str = "standbys";
    let Some(Standbys { read_only, following, synchronous, left_out }) = &seen.standbys else { return };
    if *read_only {
        let text = "the server takes no writes: it is a standby, or set to read only; name the address that \
            leads to the primary";
        found.failed(CHECK, text);
    } else if !synchronous.is_empty() && !left_out.is_empty() {
        let text = format!(
            "commits wait for {synchronous}, and need not wait for {left_out}: if one of these is a standby and takes \
             over, what was answered last is lost; let only one take over that has everything"
        );
        found.warning(CHECK, text);
    } else if !synchronous.is_empty() {
        found.good(CHECK, format!("commits wait for {synchronous}; {following} follow the server's log"));
    } else if *following == 0 {
        found.good(CHECK, "nobody follows the server's log now");
    } else {
        let text = format!(
            "{following} follow the server's log, and no commit waits for them: what was answered last is lost \
             where one takes over, and orders are printed twice or after they were stopped; name standbys in \
             synchronous_standby_names"
        );
        found.warning(CHECK, text);
    }
}

/// A host clock that is wrong closes batches at the wrong instant. Nobody here knows the true time;
/// what can be seen is a clock behind what was already recorded, or apart from the database server's.
fn clock(seen: &Inspection, (before, after): (Timestamp, Timestamp), found: &mut Findings) {
    const CHECK: &str = "clock";
    /// Replicas may be so far apart: more, and two of them disagree visibly about a cutoff.
    const APART_MAX: SignedDuration = SignedDuration::from_secs(1);
    let bad = found.0.len();
    if let Some(newest) = seen.newest_event_at.filter(|newest| *newest > after) {
        let text =
            format!("shows {after}, but the event log has an entry of {newest}: the clock was set back");
        found.failed(CHECK, text);
    }
    if let Some(server) = seen.clock_at {
        // The server's clock was read at some instant between the two.
        let apart = if server < before {
            before.duration_since(server)
        } else {
            server.duration_since(after).max(SignedDuration::ZERO)
        };
        if apart > APART_MAX {
            found.failed(CHECK, format!("is {apart:#} apart from the database server's"));
        }
    }
    if bad == found.0.len() {
        found.good(CHECK, format!("shows {after}"));
    }
}

async fn events(url: &str, now: Timestamp, found: &mut Findings) {
    const CHECK: &str = "event log";
    let store = match store::open(url, now).await {
        Ok(store) => store,
        Err(error) => return found.failed(CHECK, error.to_string()),
    };
    match store.verify_events().await {
        Ok(seen) if seen.breaks.is_empty() => {
            found.good(CHECK, format!("{} events and {} checkpoints agree", seen.events, seen.checkpoints));
        }
        Ok(seen) => seen.breaks.iter().for_each(|text| found.failed(CHECK, text)),
        Err(error) => found.failed(CHECK, error.to_string()),
    }
    store.close().await;
}

/// Asks every lab who it is, with the guard and the secrets that the gateway would use here.
async fn labs(config: &Config, seen: &Inspection, terminal: &Terminal<'_>, found: &mut Findings) {
    let outbound = Outbound::new(OutboundSettings {
        allow: config.outbound.allow.clone(),
        extra_ca: config.outbound.extra_ca.clone(),
        ..OutboundSettings::default()
    });
    let outbound = match outbound {
        Ok(outbound) => outbound,
        Err(fault) => return found.failed("labs", fault.to_string()),
    };
    let tools = Tools {
        clock: Arc::clone(&terminal.clock),
        random: Arc::clone(&terminal.random),
        outbound,
        secrets: Arc::new(config::secret),
        links: crate::lab::link::Hub::default(),
    };
    if seen.labs.is_empty() {
        found.warning("labs", "there are none");
    }
    for text in &seen.labs {
        let spec: LabSpec = match serde_json::from_str(text) {
            Ok(spec) => spec,
            Err(error) => {
                found.failed("labs", format!("a stored definition cannot be read: {error}"));
                continue;
            }
        };
        let check = format!("lab {}", spec.id);
        if lab::driver(&spec.driver.kind).is_ok_and(|driver| driver.manual) {
            found.good(&check, "a person hands over; nothing to call");
            continue;
        }
        match lab::connect(&spec, &tools) {
            Ok(lab) if lab.window().is_some() => found.good(&check, "dials out; nothing to call"),
            Ok(lab) => match lab.describe().await.answer {
                Answer::Accepted { .. } => found.good(&check, "answers and speaks the protocol"),
                Answer::Unreachable { cause } | Answer::Unclear { cause } => found.failed(&check, cause),
                Answer::Refused { reason } => found.failed(&check, reason),
                other => found.failed(&check, format!("answers {}", other.word())),
            },
            Err(fault) => found.failed(&check, fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(newest: Option<&str>, server: Option<&str>) -> Inspection {
        let at = |text: &str| text.parse().unwrap();
        Inspection {
            engine: "PostgreSQL 15".into(),
            place: "db:5432".into(),
            applied: vec![1],
            known: vec![1, 2],
            holder: None,
            newest_event_at: newest.map(at),
            clock_at: server.map(at),
            standbys: None,
            labs: vec![],
        }
    }

    fn levels(found: &Findings) -> Vec<Level> {
        found.0.iter().map(|(level, ..)| *level).collect()
    }

    #[test]
    fn a_clock_that_is_wrong_is_seen() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let check = |newest, server| {
            let mut found = Findings::default();
            clock(&seen(newest, server), (now, now), &mut found);
            levels(&found)
        };
        assert_eq!(check(None, None), [Level::Good]);
        assert_eq!(check(Some("2026-11-21T11:59:59Z"), Some("2026-11-21T12:00:00.9Z")), [Level::Good]);
        assert_eq!(check(Some("2026-11-21T12:00:01Z"), None), [Level::Failed]);
        assert_eq!(check(None, Some("2026-11-21T12:00:02Z")), [Level::Failed]);
        assert_eq!(check(None, Some("2026-11-21T11:59:58Z")), [Level::Failed]);
    }

    #[test]
    fn a_standby_for_which_no_commit_waits_is_seen() {
        let check = |read_only, following, synchronous: &str, left_out: &str| {
            let (synchronous, left_out) = (synchronous.to_owned(), left_out.to_owned());
            let standbys = Some(Standbys { read_only, following, synchronous, left_out });
            let mut found = Findings::default();
            super::standbys(&Inspection { standbys, ..seen(None, None) }, &mut found);
            levels(&found)
        };
        assert_eq!(check(false, 0, "", ""), [Level::Good]);
        assert_eq!(check(false, 1, "", "b"), [Level::Warning]);
        assert_eq!(check(false, 2, "FIRST 2 (b, c)", ""), [Level::Good]);
        assert_eq!(check(false, 2, "FIRST 1 (b, c)", "c"), [Level::Warning]);
        // That none is there now is no danger: commits wait until one is.
        assert_eq!(check(false, 0, "FIRST 1 (b)", ""), [Level::Good]);
        assert_eq!(check(true, 0, "FIRST 1 (b)", ""), [Level::Failed]);
    }

    #[test]
    fn migrations_of_another_version_are_seen() {
        let mut found = Findings::default();
        database(&seen(None, None), &mut found);
        database(&Inspection { applied: vec![1, 2, 3], ..seen(None, None) }, &mut found);
        assert_eq!(levels(&found), [Level::Good, Level::Warning, Level::Good, Level::Failed]);
    }
}
