//! Reads JSON and query strings so that whatever is wrong is named by its field.

use serde::de::DeserializeOwned;

use super::problem::{Code, Problem};
use crate::domain::{Fault, nearest};

/// Reads a JSON text.
///
/// The fast way first; only a text that does not fit is read again, to find out where.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| why::<T>(bytes).unwrap_or_else(|| syntax(&error)))
}

fn why<T: DeserializeOwned>(bytes: &[u8]) -> Option<Problem> {
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(&mut text).err()?;
    let path = error.path().to_string();
    let inner = error.into_inner();
    if !inner.is_data() {
        // A number where a word is expected is reported as syntax, too.
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
        let other = || Fault::new(path.as_str(), "is not of the type that is taken here").into();
        return Some(if json { other() } else { syntax(&inner) });
    }
    let message = inner.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
    Some(Problem::from(fault(&path, message)))
}

fn syntax(error: &serde_json::Error) -> Problem {
    Problem::new(Code::Malformed, format!("The body is not JSON: {error}."))
}

/// Turns serde's words into a fault that names the field and suggests the nearest.
#[must_use]
pub fn fault(path: &str, message: &str) -> Fault {
    let path = if path == "." { "" } else { path };
    let mut ticked = message.split('`').skip(1).step_by(2);
    let rest = |list: Vec<&str>| list.join(", ");
    if message.starts_with("unknown field ") {
        let name = ticked.next().unwrap_or_default();
        let known: Vec<&str> = ticked.collect();
        let message = match nearest(name, known.iter().copied()) {
            Some(near) => format!("is not a known field; did you mean {near:?}?"),
            None if known.is_empty() => "is not a known field".to_owned(),
            None => format!("is not a known field; known are {}", rest(known)),
        };
        let named = path == name || path.ends_with(&format!(".{name}"));
        return if named { Fault::new(path, message) } else { Fault::new(name, message).under(path) };
    }
    if message.starts_with("missing field ") {
        return Fault::new(ticked.next().unwrap_or_default(), "is missing").under(path);
    }
    if message.starts_with("unknown variant ") {
        let word = ticked.next().unwrap_or_default();
        let known: Vec<&str> = ticked.collect();
        let hint = nearest(word, known.iter().copied());
        let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
        return Fault::new(path, format!("{word:?} is not one of {}{hint}", rest(known)));
    }
    Fault::new(path, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::order::Submission;

    fn faults(text: &str) -> Vec<(String, String)> {
        let problem = read::<Submission>(text.as_bytes()).unwrap_err();
        problem.document().errors.into_iter().map(|fault| (fault.field, fault.message)).collect()
    }

    fn one(text: &str, field: &str, message: &str) {
        assert_eq!(faults(text), [(field.to_owned(), message.to_owned())], "{text}");
    }

    #[test]
    fn the_field_is_named() {
        let lab = r#""reference":"A","lab":"nord""#;
        one(r#"{"refrence":"A"}"#, "refrence", r#"is not a known field; did you mean "reference"?"#);
        one(
            &format!(r#"{{{lab},"items":[{{"id":"1","sku":"s","quantity":1,"colour":2}}]}}"#),
            "items[0].colour",
            "is not a known field; known are id, kind, sku, quantity, personalised, files, options",
        );
        one(
            &format!(r#"{{{lab},"items":[{{"id":"1","sku":"s","quantity":"2"}}]}}"#),
            "items[0].quantity",
            r#"invalid type: string "2", expected u32"#,
        );
        one(&format!(r#"{{{lab},"items":[{{"id":"1","quantity":2}}]}}"#), "items[0].sku", "is missing");
        one(
            &format!(r#"{{{lab},"transfer":"batches","items":[]}}"#),
            "transfer",
            r#""batches" is not one of batch, direct; did you mean "batch"?"#,
        );
        one(
            r#"{"reference":"A","lab":"Nord!"}"#,
            "lab",
            r#""Nord!" is not 1 to 63 lower-case letters, digits and hyphens that do not begin with a hyphen"#,
        );
    }

    #[test]
    fn what_is_no_json_says_where() {
        let problem = read::<Submission>(b"{\"reference\": }").unwrap_err();
        assert_eq!(problem.code(), Code::Malformed);
        assert!(problem.document().detail.contains("line 1 column 15"));
        assert_eq!(read::<Submission>(b"").unwrap_err().code(), Code::Malformed);
    }
}
