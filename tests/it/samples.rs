//! The samples in `deploy/` are what the program takes, and say everything that it knows.

use std::fs;
use std::path::Path;

use serde_json::Value;
use stoppress::cli::labs::labs_in;
use stoppress::config::Config;
use stoppress::domain::ids::LabId;
use stoppress::domain::lab::Lab;
use stoppress::domain::order::Submission;
use stoppress::domain::route::RouteSpec;
use stoppress::domain::zones::Zones;

fn sample(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

/// The keys of a configuration, with the table that each is in.
fn keys(config: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, value) in config.as_object().unwrap() {
        match value.as_object() {
            Some(table) => found.extend(table.keys().map(|inner| (key.clone(), inner.clone()))),
            None => found.push((String::new(), key.clone())),
        }
    }
    found
}

/// The lines of a table, without marks of comments.
fn table<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let header = format!("[{name}]");
    let mut lines = text.lines().map(|line| line.trim_start_matches("# "));
    if name.is_empty() {
        return lines.take_while(|line| !line.starts_with('[')).collect();
    }
    lines.by_ref().find(|line| *line == header).unwrap_or_else(|| panic!("there is no {header}"));
    lines.take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn the_sample_configuration_is_the_default_and_has_every_key() {
    let text = sample("stoppress.toml");
    assert_eq!(Config::parse(&text).unwrap(), Config::default());
    let keys = keys(&serde_json::to_value(Config::default()).unwrap());
    assert!(keys.len() > 10, "{keys:?}");
    for (name, key) in keys {
        let begins = format!("{key} = ");
        assert!(table(&text, &name).iter().any(|line| line.starts_with(&begins)), "[{name}] has no {key}");
    }
    // What is shown behind a mark of comment is right as well.
    let shown: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => key,
            _ => line,
        })
        .collect();
    let whole = Config::parse(&shown.join("\n")).unwrap();
    assert!(whole.zones.dir.is_some() && whole.outbound.extra_ca.is_some());
    assert!(whole.mail.server.is_some() && whole.mail.password.is_some() && whole.mail.public_url.is_some());
}

#[test]
fn the_sample_labs_can_be_built() {
    let value: Value = toml::from_str(&sample("labs.toml")).unwrap();
    let labs = labs_in(&value, &Zones::bundled(), "2026-11-21T12:00:00Z".parse().unwrap()).unwrap();
    let ids: Vec<&str> = labs.iter().map(|lab| lab.spec.id.as_str()).collect();
    assert_eq!(ids, ["nordprint", "corner-studio"]);
}

#[test]
fn the_sample_order_is_for_a_sample_lab() {
    let order: Submission = serde_json::from_str(&sample("order.json")).unwrap();
    assert_eq!(order.faults(), []);
    let value: Value = toml::from_str(&sample("labs.toml")).unwrap();
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let labs: Vec<Lab> = labs_in(&value, &Zones::bundled(), now).unwrap();
    let lab = labs.iter().find(|lab| Some(&lab.spec.id) == order.lab.as_ref()).unwrap();
    let country = order.ship_to.as_ref().map(|address| address.country.as_str());
    assert_eq!(lab.region(order.region.as_ref(), country).unwrap().0.id.as_str(), "fi");
}

#[test]
fn the_sample_routes_are_for_the_sample_labs() {
    let value: Value = toml::from_str(&sample("labs.toml")).unwrap();
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let labs: Vec<Lab> = labs_in(&value, &Zones::bundled(), now).unwrap();
    let ids: Vec<&LabId> = labs.iter().map(|lab| &lab.spec.id).collect();
    let routes: RouteSpec = toml::from_str(&sample("routes.toml")).unwrap();
    let find = |id: &LabId| labs.iter().find(|lab| lab.spec.id == *id);
    assert_eq!(routes.faults(&find, &ids), []);
    assert_eq!(routes.rules.len(), 2);
}
