//! Files that people give: TOML or JSON, read so that whatever is wrong is named by its place.

use std::io;
use std::path::Path;

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::json;
use crate::domain::Fault;

/// Reads a file of TOML or JSON: by its name, else by how it begins.
pub(super) fn read(path: &Path) -> Result<Value, Fault> {
    let text =
        if path == Path::new("-") { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(path) };
    let text = text.map_err(|error| Fault::new("", format!("cannot be read: {error}")))?;
    let is_json = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => true,
        Some("toml") => false,
        _ => text.trim_start().starts_with('{'),
    };
    if is_json {
        serde_json::from_str(&text).map_err(|error| Fault::new("", format!("is not JSON: {error}")))
    } else {
        toml::from_str(&text)
            .map_err(|error| Fault::new("", format!("is not TOML: {}", error.to_string().trim_end())))
    }
}

/// Reads a value; a fault names the field, and the nearest known word.
pub(super) fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| json::fault(&error.path().to_string(), &error.inner().to_string()))
}

/// So many values that do not fit are looked for in one object.
const MISFITS_MAX: usize = 100;

/// Reads an object, and finds *all* values that do not fit, not only the first: what does not fit is
/// taken out and the rest is read again. `None` if something that must be there is missing then.
pub(super) fn decode_all<T: DeserializeOwned>(value: &Value, faults: &mut Vec<Fault>) -> Option<T> {
    let mut rest = value.clone();
    let mut out: Vec<String> = Vec::new();
    for _ in 0..MISFITS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(rest.clone()) {
            Ok(read) if out.is_empty() => return Some(read),
            Ok(_) => return None,
            Err(error) => error,
        };
        let fault = json::fault(&error.path().to_string(), &error.inner().to_string());
        // What is missing because it was taken out was named before.
        if out.contains(&fault.field) {
            return None;
        }
        let taken = take_out(&mut rest, &fault.field);
        faults.push(fault);
        match taken {
            Some(path) => out.push(path),
            None => return None,
        }
    }
    None
}

/// Takes the value at `path` (or the list that it is in) out of its object; gives what was taken.
fn take_out(value: &mut Value, path: &str) -> Option<String> {
    let mut steps: Vec<&str> = path.split(['.', '[']).map(|step| step.trim_end_matches(']')).collect();
    let mut text = path;
    // Without one element the numbers of the others would be wrong.
    while steps.last()?.parse::<usize>().is_ok() {
        steps.pop();
        text = text.rsplit_once('[').map_or("", |(list, _)| list);
    }
    let last = steps.pop()?;
    let mut parent = value;
    for step in steps {
        parent = match parent {
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            Value::Object(object) => object.get_mut(step)?,
            _ => return None,
        };
    }
    parent.as_object_mut()?.remove(last)?;
    Some(text.to_owned())
}

/// Reads a secret from a file: its only line.
pub(super) fn secret(flag: &str, path: &Path) -> Result<SecretString, Fault> {
    std::fs::read_to_string(path)
        .map(|text| SecretString::from(text.trim().to_owned()))
        .map_err(|error| Fault::new(flag, format!("{} cannot be read: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::lab::LabSpec;

    #[test]
    fn all_misfits_are_found() {
        let value = json!({
            "id": "nord", "name": "Nord", "driver": {"kind": "person"},
            "profile": {"dedupes": "never", "lookup": "yes", "stopps": "yes", "concurrency": -1},
            "regions": [{"id": "fi", "countries": "FI", "calendar": {"time_zone": "UTC", "cutoffs": ["24:00"]}}],
        });
        let mut faults = Vec::new();
        assert!(decode_all::<LabSpec>(&value, &mut faults).is_none());
        let mut fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        fields.sort_unstable();
        let expected = [
            "profile.concurrency",
            "profile.dedupes",
            "profile.lookup",
            "profile.stopps",
            "regions[0].countries",
        ];
        assert_eq!(fields, expected, "{faults:?}");
        let mut missing = Vec::new();
        assert!(decode_all::<LabSpec>(&json!({"id": 7, "name": "x"}), &mut missing).is_none());
        let fields: Vec<&str> = missing.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["id"], "what was taken out is not missing as well");
        let mut missing = Vec::new();
        assert!(decode_all::<LabSpec>(&json!({"id": "nord", "name": "x"}), &mut missing).is_none());
        assert_eq!(missing, [Fault::new("driver", "is missing")]);
    }
}
