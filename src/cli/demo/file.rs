//! A shop's own export as a script: NDJSON in the shape of the API, or CSV with one order line a row.

use std::path::Path;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::Value;

use super::cast::{self, ROLES};
use super::csv;
use super::script::{Act, Cancel, Deed, Script, Shop};
use crate::domain::ids::PlatformId;
use crate::domain::order::Submission;
use crate::domain::{Fault, nearest};

/// Orders without an instant are spread over the first day, so far apart.
const SPREAD_SECONDS: i64 = 60;
/// When a play without instants begins: 2010-12-01T09:00:00Z.
const BEGINS: Timestamp = Timestamp::constant(1_291_194_000, 0);

/// What a time of day of the file is as an instant.
pub(crate) type Local<'a> = dyn Fn(DateTime) -> Option<Timestamp> + 'a;

/// Which column holds what: `invoice=InvoiceNo,sku=StockCode,…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The invoice, and the order.
    pub invoice: String,
    /// The article.
    pub sku: String,
    /// Pieces; below zero for a cancellation.
    pub quantity: String,
    /// When.
    pub at: String,
    /// The customer.
    pub customer: String,
    /// The customer's country: its English name, or two letters.
    pub country: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            invoice: "InvoiceNo".to_owned(),
            sku: "StockCode".to_owned(),
            quantity: "Quantity".to_owned(),
            at: "InvoiceDate".to_owned(),
            customer: "CustomerID".to_owned(),
            country: "Country".to_owned(),
        }
    }
}

const FIELDS: [&str; 6] = ["invoice", "sku", "quantity", "at", "customer", "country"];

impl FromStr for Columns {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut columns = Self::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let allowed = format!("field=Column with a field of {}", FIELDS.join(", "));
            let (field, column) = pair.split_once('=').ok_or_else(|| Fault::not("--map", pair, &allowed))?;
            let place = match field.trim() {
                "invoice" => &mut columns.invoice,
                "sku" => &mut columns.sku,
                "quantity" => &mut columns.quantity,
                "at" => &mut columns.at,
                "customer" => &mut columns.customer,
                "country" => &mut columns.country,
                other => {
                    let hint = nearest(other, FIELDS).map(|near| format!("; did you mean {near:?}?"));
                    return Err(Fault::not("--map", other, &(allowed + &hint.unwrap_or_default())));
                }
            };
            column.trim().clone_into(place);
        }
        Ok(columns)
    }
}

/// Reads a file of orders.
///
/// # Errors
/// If it cannot be read, or nothing in it can be played.
pub(super) fn read(
    path: &Path,
    columns: &Columns,
    local: &Local<'_>,
    zone_name: &str,
) -> Result<Script, Fault> {
    let fault = |why: String| Fault::new("--orders", format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let text = text.trim_start_matches('\u{feff}');
    let mut script = if text.trim_start().starts_with('{') {
        ndjson(text)?
    } else {
        csv::script(text, columns, local).map_err(|why| fault(why.to_string()))?
    };
    script.sort();
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    script.origin = if text.trim_start().starts_with('{') {
        name
    } else {
        format!("{name}, times of day of {zone_name}")
    };
    if script.orders() == 0 {
        let first = script.broken.first().map(|first| format!("; {first}")).unwrap_or_default();
        return Err(fault(format!("there is no order in it{first}")));
    }
    Ok(script)
}

/// The one shop of a file.
pub(super) fn shop(name: &str) -> Result<Shop, Fault> {
    Ok(Shop { id: PlatformId::parse("shop")?, name: name.to_owned() })
}

/// NDJSON: orders as in `POST /v1/orders`, each with an optional `at`; a line `{"stop": REFERENCE}`
/// cancels.
fn ndjson(text: &str) -> Result<Script, Fault> {
    let mut script = Script { shops: vec![shop("A shop")?], ..Script::default() };
    let mut clock = BEGINS;
    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match entry(line, clock) {
            Ok((at, deed, rerouted)) => {
                if rerouted {
                    script.note(
                        "orders for labs that are not in the demo: sent to the one for their country",
                        1,
                    );
                }
                clock = at + jiff::SignedDuration::from_secs(SPREAD_SECONDS);
                script.acts.push(Act { at, shop: 0, deed });
            }
            Err(fault) => script.broken.push(format!("line {}: {fault}", nth + 1)),
        }
    }
    Ok(script)
}

fn entry(line: &str, clock: Timestamp) -> Result<(Timestamp, Deed, bool), Fault> {
    let mut value: Value =
        serde_json::from_str(line).map_err(|error| Fault::new("", format!("is not JSON: {error}")))?;
    let object = value.as_object_mut().ok_or_else(|| Fault::new("", "is not an object"))?;
    let at = match object.remove("at") {
        None => clock,
        Some(at) => at
            .as_str()
            .and_then(|at| at.parse().ok())
            .map(crate::clock::whole_micros)
            .ok_or_else(|| Fault::not("at", &at, "an instant such as \"2010-12-01T08:26:00Z\""))?,
    };
    if let Some(stop) = object.remove("stop") {
        let reference =
            stop.as_str().ok_or_else(|| Fault::not("stop", &stop, "the reference of an order"))?;
        let reason = object.remove("reason").and_then(|reason| reason.as_str().map(ToOwned::to_owned));
        let reason = reason.unwrap_or_else(|| "unspecified".to_owned());
        let cancel = Cancel { reference: reference.to_owned(), reason, racing: false };
        return Ok((at, Deed::Cancel(cancel), false));
    }
    let mut order: Submission = serde_path_to_error::deserialize(value)
        .map_err(|error| Fault::new(error.path().to_string(), error.inner().to_string()))?;
    if let Some(fault) = order.faults().into_iter().next() {
        return Err(fault);
    }
    let ours = ROLES.iter().any(|role| order.lab.as_ref().is_some_and(|lab| role.id == lab.as_str()));
    if !ours {
        let country = order.ship_to.as_ref().map_or("", |address| address.country.as_str());
        let (lab, region) = cast::route(country);
        (order.lab, order.region, order.need) = (Some(lab), Some(region), None);
    }
    Ok((at, Deed::Submit(Box::new(order)), !ours))
}

/// An instant, as exports write it: with an offset, or as a time of day that `local` knows.
pub(super) fn instant(text: &str, local: &Local<'_>) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let civil = text.parse::<DateTime>().ok();
    let civil = civil.or_else(|| {
        ["%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M"].iter().find_map(|form| DateTime::strptime(form, text).ok())
    });
    local(civil?)
}

/// The countries of the Online Retail data set, and of the demo's shops.
const COUNTRIES: [(&str, &str); 41] = [
    ("Australia", "AU"),
    ("Austria", "AT"),
    ("Bahrain", "BH"),
    ("Belgium", "BE"),
    ("Brazil", "BR"),
    ("Canada", "CA"),
    ("Channel Islands", "JE"),
    ("Cyprus", "CY"),
    ("Czech Republic", "CZ"),
    ("Denmark", "DK"),
    ("EIRE", "IE"),
    ("Ireland", "IE"),
    ("Estonia", "EE"),
    ("Finland", "FI"),
    ("France", "FR"),
    ("Germany", "DE"),
    ("Greece", "GR"),
    ("Hong Kong", "HK"),
    ("Iceland", "IS"),
    ("Israel", "IL"),
    ("Italy", "IT"),
    ("Japan", "JP"),
    ("Latvia", "LV"),
    ("Lebanon", "LB"),
    ("Lithuania", "LT"),
    ("Luxembourg", "LU"),
    ("Malta", "MT"),
    ("Netherlands", "NL"),
    ("New Zealand", "NZ"),
    ("Norway", "NO"),
    ("Poland", "PL"),
    ("Portugal", "PT"),
    ("RSA", "ZA"),
    ("Saudi Arabia", "SA"),
    ("Singapore", "SG"),
    ("Spain", "ES"),
    ("Sweden", "SE"),
    ("Switzerland", "CH"),
    ("USA", "US"),
    ("United Arab Emirates", "AE"),
    ("United Kingdom", "GB"),
];

/// The code of a country that an export names.
pub(super) fn country(name: &str) -> Option<String> {
    let name = name.trim();
    if name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Some(name.to_ascii_uppercase());
    }
    COUNTRIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, code)| (*code).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_mapped_and_slips_are_named() {
        let columns: Columns = "invoice=Order,at=Time".parse().unwrap();
        assert_eq!((columns.invoice.as_str(), columns.at.as_str()), ("Order", "Time"));
        assert_eq!(columns.sku, "StockCode");
        let fault = "invoce=Order".parse::<Columns>().unwrap_err();
        assert!(fault.message.contains("did you mean \"invoice\"?"), "{fault}");
    }

    #[test]
    fn ndjson_lines_are_orders_and_stops_and_a_broken_one_is_named() {
        let text = r#"
{"at":"2010-12-01T08:00:00Z","reference":"A","lab":"thames","ship_to":{"name":"n","line1":"l","city":"c","country":"GB"},"items":[{"id":"1","sku":"p","quantity":2}]}
{"reference":"B","lab":"elsewhere","ship_to":{"name":"n","line1":"l","city":"c","country":"FI"},"items":[{"id":"1","sku":"p","quantity":2}]}
{"reference":"C","lab":"thames","items":[{"id":"1","sku":"p","quantity":0}]}
{"at":"2010-12-01T08:30:00Z","stop":"A"}
nonsense"#;
        let script = ndjson(text).unwrap();
        assert_eq!((script.orders(), script.cancels(), script.broken.len()), (2, 1, 2));
        assert!(script.broken[0].starts_with("line 4: items[0].quantity"), "{:?}", script.broken);
        assert!(script.broken[1].starts_with("line 6: is not JSON"), "{:?}", script.broken);
        let Deed::Submit(order) = &script.acts[1].deed else { panic!("an order") };
        assert_eq!(order.lab.as_ref().unwrap().as_str(), "nordprint", "there is no lab \"elsewhere\" here");
        assert_eq!(script.acts[1].at, "2010-12-01T08:01:00Z".parse().unwrap());
    }

    #[test]
    fn instants_are_local_unless_they_say_otherwise() {
        let local = |civil: DateTime| format!("{civil}+01:00").parse().ok();
        let at = |text| instant(text, &local).map(|at| at.to_string());
        assert_eq!(at("2010-12-01 08:26:00").as_deref(), Some("2010-12-01T07:26:00Z"));
        assert_eq!(at("12/1/2010 8:26").as_deref(), Some("2010-12-01T07:26:00Z"));
        assert_eq!(at("2010-12-01T08:26:00Z").as_deref(), Some("2010-12-01T08:26:00Z"));
        assert_eq!(at("yesterday"), None);
    }
}
