//! The calendar of a region as a program that subscribes sees it, read by a library of others: links without a
//! key, events that change and are not doubled, and answers that say that nothing changed.

use std::collections::BTreeMap;

use hyper::http::{HeaderMap, Method};
use icalendar::parser::{Component, read_calendar, unfold};
use serde_json::{Value, json};

use crate::grpc_support::key;
use crate::rig::Rig;

const PATH: &str = "/v1/labs/nordprint/regions/fi/cutoffs.ics";
const LINKS: &str = "/v1/labs/nordprint/regions/fi/cutoffs/links";

async fn rig() -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    Rig::new("2026-11-21T20:00:00Z", "http", profile, json!({})).await
}

async fn get(rig: &Rig, path: &str, headers: &[(&'static str, &str)]) -> (u16, HeaderMap, String) {
    rig.browse_with(Method::GET, path, headers, None).await
}

async fn by_key(rig: &Rig, key: &str, query: &str) -> (u16, HeaderMap, String) {
    get(rig, &format!("{PATH}{query}"), &[("authorization", &format!("Bearer {key}"))]).await
}

/// An event as a calendar program knows it: by its UID.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    start: String,
    sequence: i64,
    modified: String,
    status: String,
    alarms: Vec<String>,
}

fn of(component: &Component<'_>, name: &str) -> String {
    component.find_prop(name).unwrap_or_else(|| panic!("no {name}")).val.as_str().to_owned()
}

/// Reads a calendar; every UID is there once.
fn events(text: &str) -> BTreeMap<String, Event> {
    assert!(text.split("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')));
    let text = unfold(text);
    let calendar = read_calendar(&text).unwrap();
    let named = |name: &str| calendar.properties.iter().find(|property| property.name.as_str() == name);
    for (name, value) in [
        ("VERSION", "2.0"),
        ("X-WR-CALNAME", "Cutoffs nordprint/fi"),
        ("X-WR-TIMEZONE", "Europe/Helsinki"),
        ("REFRESH-INTERVAL", "PT1H"),
    ] {
        assert_eq!(named(name).unwrap().val.as_str(), value, "{name}");
    }
    let mut found = BTreeMap::new();
    for component in calendar.components.iter().filter(|component| component.name.as_str() == "VEVENT") {
        assert_eq!(of(component, "DTSTAMP"), of(component, "LAST-MODIFIED"));
        let alarms = component.components.iter().map(|alarm| {
            assert_eq!((alarm.name.as_str(), of(alarm, "ACTION").as_str()), ("VALARM", "DISPLAY"));
            of(alarm, "TRIGGER")
        });
        let event = Event {
            start: of(component, "DTSTART"),
            sequence: of(component, "SEQUENCE").parse().unwrap(),
            modified: of(component, "LAST-MODIFIED"),
            status: of(component, "STATUS"),
            alarms: alarms.collect(),
        };
        assert!(found.insert(of(component, "UID"), event).is_none(), "a UID twice");
    }
    found
}

async fn put(rig: &Rig, cutoff: &str) {
    let (_, lab) = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await;
    let lab = json!({"id": "nordprint", "name": "Nordprint", "driver": lab["driver"], "profile": lab["profile"],
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": [cutoff]}}]});
    let (status, said) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", lab).await;
    assert_eq!(status, 200, "{said}");
}

/// A link, as a path of the rig's gateway.
async fn link(rig: &Rig, key: &str) -> String {
    let (status, made) = rig.call(key, Method::POST, LINKS, json!({})).await;
    assert_eq!(status, 201, "{made}");
    let url = made["url"].as_str().unwrap();
    assert_eq!(url.rsplit_once('.').map(|(_, kind)| kind), Some("ics"), "{url}");
    url.strip_prefix(&rig.running.as_ref().unwrap().url()).expect("an address of this gateway").to_owned()
}

const TONIGHT: &str = "2026-11-21-2400.nordprint/fi@stoppress";
const TOMORROW: &str = "2026-11-22-2400.nordprint/fi@stoppress";

#[tokio::test]
async fn a_changed_cutoff_updates_its_event() {
    let rig = rig().await;
    let order = rig.order("A-1").await;
    let path = link(&rig, &rig.platform).await;
    let look = async || {
        let (status, headers, text) = get(&rig, &path, &[]).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(headers["content-type"], "text/calendar; charset=utf-8");
        events(&text)
    };
    let first = look().await;
    let (tonight, tomorrow) = (&first[TONIGHT], &first[TOMORROW]);
    assert_eq!((tonight.start.as_str(), tonight.status.as_str()), ("20261121T220000Z", "CONFIRMED"));
    assert_eq!(tonight.alarms, ["-PT60M", "-PT10M"]);
    assert!((60..=63).contains(&first.len()), "{}", first.len());
    assert_eq!(look().await, first);

    // Tonight is postponed: the same event, later, and nothing else changed.
    let batch = rig.read(&order).await["window"]["batch"].as_str().unwrap().to_owned();
    rig.clock.advance(std::time::Duration::from_mins(1));
    let later = json!({"until": "2026-11-22T01:30:00Z", "reason": "the press is down"});
    let postpone = format!("/v1/batches/{batch}/postpone");
    assert_eq!(rig.call(&rig.ops, Method::POST, &postpone, later).await.0, 200);
    let moved = look().await;
    assert_eq!(
        (moved[TONIGHT].start.as_str(), moved[TONIGHT].modified.as_str()),
        ("20261122T013000Z", "20261121T200100Z")
    );
    assert!(moved[TONIGHT].sequence > tonight.sequence);
    assert_eq!((moved.len(), &moved[TOMORROW]), (first.len(), tomorrow));
    let later = json!({"until": "2026-11-22T02:00:00Z", "reason": "still down"});
    assert_eq!(rig.call(&rig.ops, Method::POST, &postpone, later).await.0, 200);
    let again = look().await[TONIGHT].clone();
    assert!(again.sequence > moved[TONIGHT].sequence);

    // Another calendar: what it has no more is cancelled, what it has is new. What ops postponed stands as they said.
    put(&rig, "18:00").await;
    let changed = look().await;
    assert_eq!(
        (changed[TONIGHT].start.as_str(), changed[TONIGHT].status.as_str()),
        (again.start.as_str(), "CONFIRMED")
    );
    let gone = &changed[TOMORROW];
    assert_eq!((gone.start.as_str(), gone.status.as_str()), (tomorrow.start.as_str(), "CANCELLED"));
    assert!(gone.sequence > tomorrow.sequence && gone.modified > tomorrow.modified && gone.alarms.is_empty());
    let new = &changed["2026-11-22-1800.nordprint/fi@stoppress"];
    assert_eq!((new.start.as_str(), new.status.as_str()), ("20261122T160000Z", "CONFIRMED"));
    // And back again: the events stand as before, in a later form.
    put(&rig, "24:00").await;
    let back = look().await;
    assert_eq!(
        (back[TOMORROW].start.as_str(), back[TOMORROW].status.as_str()),
        (tomorrow.start.as_str(), "CONFIRMED")
    );
    assert!(back[TOMORROW].sequence > gone.sequence);
    // Of what was another calendar's only the window is left that still has orders.
    let closes = rig.read(&order).await["window"]["closes_at"].clone();
    let kept = &back["2026-11-22-1800.nordprint/fi@stoppress"];
    assert_eq!(
        kept.status == "CONFIRMED",
        closes == "2026-11-22T16:00:00Z",
        "{kept:?}, and it closes {closes}"
    );
}

#[tokio::test]
async fn a_program_that_knows_it_is_told_so() {
    let rig = rig().await;
    let (status, headers, text) = by_key(&rig, &rig.platform, "").await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(headers["cache-control"], "private, max-age=900");
    let tag = headers["etag"].to_str().unwrap();
    let bearer = format!("Bearer {}", rig.platform);
    let with = async |known: &str| {
        get(&rig, PATH, &[("authorization", bearer.as_str()), ("if-none-match", known)]).await
    };
    // An hour later it is still the same.
    rig.clock.advance(std::time::Duration::from_hours(1));
    for known in [tag, &format!("W/{tag}"), &format!("\"other\", {tag}"), "*"] {
        let (status, headers, text) = with(known).await;
        assert_eq!((status, headers["etag"].to_str().unwrap(), text.as_str()), (304, tag, ""), "{known}");
    }
    assert_eq!(with("\"other\"").await.0, 200);
    put(&rig, "18:00").await;
    let (status, headers, _) = with(tag).await;
    assert_eq!(status, 200);
    assert_ne!(headers["etag"].to_str().unwrap(), tag);
}

#[tokio::test]
async fn reminders_are_as_one_likes() {
    let rig = rig().await;
    for (query, alarms) in [
        ("alarm=none", vec![]),
        ("alarm=30m", vec!["-PT30M".to_owned()]),
        ("alarm=2h,0s,5m", ["-PT120M", "PT0S", "-PT5M"].map(str::to_owned).to_vec()),
    ] {
        let (status, _, text) = by_key(&rig, &rig.platform, &format!("?{query}")).await;
        assert_eq!((status, &events(&text)[TONIGHT].alarms), (200, &alarms));
        let path = format!("{}?{query}", link(&rig, &rig.platform).await);
        assert_eq!(get(&rig, &path, &[]).await.2, text);
    }
    for (query, field) in [
        ("alarm=soon", "alarm"),
        ("alarm=90s", "alarm"),
        ("alarm=169h", "alarm"),
        ("alarm=1m,2m,3m,4m,5m,6m", "alarm"),
        ("alarm=", "alarm"),
        ("from=2026-11-21T00:00:00Z&to=2028-01-01T00:00:00Z", "to"),
    ] {
        let (status, _, text) = by_key(&rig, &rig.platform, &format!("?{query}")).await;
        let said: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &said["errors"][0]["field"]), (422, &json!(field)), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_link_holds_until_it_or_its_key_is_taken_back() {
    let rig = rig().await;
    let second = key(&rig, "platform", "acme").await;
    let lab = rig.lab_key("nordprint").await;
    let (first, of_second, of_lab) =
        (link(&rig, &rig.platform).await, link(&rig, &second).await, link(&rig, &lab).await);
    for path in [&first, &of_second, &of_lab] {
        assert_eq!(get(&rig, path, &[]).await.0, 200);
    }
    // A letter of the signature, another suffix, nothing: it is not there.
    let wrong = first.replace(".ics", "A.ics");
    for path in [wrong.as_str(), "/cal/x.ics", "/cal/.ics"] {
        let (status, _, text) = get(&rig, path, &[]).await;
        assert_eq!(status, 404, "{path}: {text}");
    }
    // With its key, the links of that key alone.
    let path = format!("/v1/keys/{}", &second[3..15]);
    assert_eq!(rig.call(&rig.ops, Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(get(&rig, &of_second, &[]).await.0, 404);
    assert_eq!(get(&rig, &first, &[]).await.0, 200);
    // All of a region at once: by its lab and by ops, not by a platform.
    assert_eq!(rig.call(&rig.platform, Method::DELETE, LINKS, Value::Null).await.0, 403);
    assert_eq!(rig.call(&lab, Method::DELETE, LINKS, Value::Null).await.0, 204);
    for path in [&first, &of_lab] {
        assert_eq!(get(&rig, path, &[]).await.0, 404);
    }
    let again = link(&rig, &rig.platform).await;
    assert_eq!(get(&rig, &again, &[]).await.0, 200);
    // It is in the log of the lab, and what is not there has no links.
    let (_, log) = rig.call(&rig.ops, Method::GET, "/v1/events?limit=200", Value::Null).await;
    let revoked = |event: &&Value| event["kind"] == "lab.calendar_links_revoked";
    assert_eq!(log["events"].as_array().unwrap().iter().filter(revoked).count(), 1);
    let checked = rig.running.as_ref().unwrap().bench.store.verify_events().await.unwrap();
    assert_eq!(checked.breaks, Vec::<String>::new());
    for path in ["/v1/labs/none/regions/fi/cutoffs/links", "/v1/labs/nordprint/regions/none/cutoffs/links"] {
        assert_eq!(rig.call(&rig.ops, Method::POST, path, json!({})).await.0, 404);
        assert_eq!(rig.call(&rig.ops, Method::DELETE, path, Value::Null).await.0, 404);
    }
    let other = json!({"id": "other", "name": "Other", "driver": {"kind": "person"}, "profile": {},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}]});
    rig.call(&rig.ops, Method::PUT, "/v1/labs/other", other).await;
    let path = LINKS.replace("nordprint", "other");
    assert_eq!(rig.call(&lab, Method::POST, &path, json!({})).await.0, 404, "another lab's");
}
