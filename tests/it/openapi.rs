//! Just enough of OpenAPI 3.1 to hold requests and answers against a description. A keyword that it does not
//! know is an error: nothing is passed over in silence.

use std::path::Path;

use hyper::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value};

pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn read(path: &Path) -> Self {
        Self(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(name) => self.0.pointer(&name[1..]).unwrap_or_else(|| panic!("{name} is nowhere")),
            None => value,
        }
    }

    /// The operation at a path; a part in braces stands for any.
    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object().unwrap();
        let fits = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template.iter().zip(&path).all(|(a, b)| a.starts_with('{') || a == b)
        };
        let (_, item) = paths.iter().find(|(template, _)| fits(template))?;
        item.get(method.to_lowercase())
    }

    /// Everything in a request that is not as described.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
        let Some(operation) = self.operation(method, path) else {
            return vec![format!("{method} {path} is not described")];
        };
        let mut faults = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = self.resolve(parameter);
            let name = parameter["name"].as_str().unwrap();
            let value = match parameter["in"].as_str() {
                Some("header") => headers.get(name).map(|value| value.to_str().unwrap().to_owned()),
                Some("path") => path.split('/').nth(2).map(str::to_owned),
                other => panic!("a parameter in {other:?}"),
            };
            match value {
                Some(value) => self.fits(&parameter["schema"], &Value::from(value), name, &mut faults),
                None if parameter["required"] == true => faults.push(format!("{name} is missing")),
                None => {}
            }
        }
        let described = operation.get("requestBody").map(|body| &body["content"]);
        self.body(
            described,
            headers.get("content-type").map(|kind| kind.to_str().unwrap()),
            body,
            &mut faults,
        );
        faults
    }

    /// Everything in an answer that is not as described.
    pub(crate) fn answer(
        &self,
        method: &str,
        path: &str,
        status: u16,
        kind: &str,
        body: &[u8],
    ) -> Vec<String> {
        let Some(operation) = self.operation(method, path) else {
            return vec![format!("{method} {path} is not described")];
        };
        let mut faults = Vec::new();
        match operation["responses"].get(status.to_string()) {
            Some(response) => self.body(response.get("content"), Some(kind), body, &mut faults),
            None => faults.push(format!("status {status} is not described")),
        }
        faults
    }

    fn body(&self, content: Option<&Value>, kind: Option<&str>, body: &[u8], faults: &mut Vec<String>) {
        match (content, kind) {
            (None, _) if body.is_empty() => {}
            (None, _) => faults.push("a body is not described".to_owned()),
            (Some(_), None) => faults.push("there is no content-type".to_owned()),
            (Some(content), Some(kind)) => match (content.get(kind), serde_json::from_slice::<Value>(body)) {
                (None, _) => faults.push(format!("{kind} is not described")),
                (_, Err(error)) => faults.push(format!("not JSON: {error}")),
                (Some(media), Ok(value)) => self.fits(&media["schema"], &value, "body", faults),
            },
        }
    }

    fn fits(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolve(schema).as_object().unwrap();
        for (keyword, rule) in schema {
            self.keyword(schema, keyword, rule, value, at, faults);
        }
    }

    fn keyword(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
        at: &str,
        faults: &mut Vec<String>,
    ) {
        let ok = match (keyword, value) {
            ("description" | "default" | "example", _) => true,
            ("type", _) => match rule {
                Value::Array(any) => any.iter().any(|kind| is(kind, value)),
                one => is(one, value),
            },
            ("enum", _) => rule.as_array().unwrap().contains(value),
            ("const", _) => rule == value,
            ("anyOf", _) => rule.as_array().unwrap().iter().any(|one| {
                let mut inner = Vec::new();
                self.fits(one, value, at, &mut inner);
                inner.is_empty()
            }),
            ("required", Value::Object(object)) => {
                rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }
            ("properties", Value::Object(object)) => {
                for (name, inner) in rule.as_object().unwrap() {
                    if let Some(value) = object.get(name) {
                        self.fits(inner, value, &format!("{at}.{name}"), faults);
                    }
                }
                true
            }
            ("additionalProperties", Value::Object(object)) => {
                let known = schema.get("properties").and_then(Value::as_object);
                let extra =
                    object.iter().filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)));
                match rule {
                    Value::Bool(false) => extra.count() == 0,
                    inner => {
                        extra.for_each(|(name, value)| {
                            self.fits(inner, value, &format!("{at}.{name}"), faults);
                        });
                        true
                    }
                }
            }
            ("items", Value::Array(list)) => {
                for (nth, value) in list.iter().enumerate() {
                    self.fits(rule, value, &format!("{at}[{nth}]"), faults);
                }
                true
            }
            ("minItems", Value::Array(list)) => list.len() as u64 >= rule.as_u64().unwrap(),
            ("minimum", Value::Number(number)) => number.as_i64().unwrap() >= rule.as_i64().unwrap(),
            ("maximum", Value::Number(number)) => number.as_i64().unwrap() <= rule.as_i64().unwrap(),
            ("minLength", Value::String(text)) => text.chars().count() as u64 >= rule.as_u64().unwrap(),
            ("maxLength", Value::String(text)) => text.chars().count() as u64 <= rule.as_u64().unwrap(),
            ("pattern", Value::String(text)) => matches_pattern(rule.as_str().unwrap(), text),
            ("format", Value::String(text)) => match rule.as_str().unwrap() {
                "date-time" => text.parse::<Timestamp>().is_ok(),
                "uri" => text.parse::<url::Url>().is_ok(),
                other => panic!("the format {other} is not known here"),
            },
            // A rule about another type than the value has; `type` speaks of that.
            (
                "required"
                | "properties"
                | "additionalProperties"
                | "items"
                | "minItems"
                | "minimum"
                | "maximum"
                | "minLength"
                | "maxLength"
                | "pattern"
                | "format",
                _,
            ) => true,
            (other, _) => panic!("the keyword {other} is not known here"),
        };
        if !ok {
            faults.push(format!("{at}: {value} does not fit {keyword}: {rule}"));
        }
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not known here"),
    }
}

/// The patterns that the description uses, by hand.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    match pattern {
        "^[0-9a-f]{64}$" => hex(text, 64),
        "^[A-Z]{2}$" => text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()),
        "^[0-9]+$" => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
        "^v1,[A-Za-z0-9+/=]+( v1,[A-Za-z0-9+/=]+)*$" => text.split(' ').all(|one| {
            one.strip_prefix("v1,").is_some_and(|sum| {
                !sum.is_empty() && sum.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
            })
        }),
        other => {
            let prefix = other.strip_prefix('^').and_then(|rest| rest.strip_suffix("[0-9a-f]{32}$"));
            let prefix = prefix.unwrap_or_else(|| panic!("the pattern {other} is not known here"));
            text.strip_prefix(prefix).is_some_and(|rest| hex(rest, 32))
        }
    }
}
