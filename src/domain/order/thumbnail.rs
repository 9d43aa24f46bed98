//! Small pictures of items, carried in the order itself: pages load nothing from elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Item;
use crate::domain::Fault;

/// The most bytes that a picture has, as text.
const EACH_MAX: usize = 16 * 1024;
/// The most that those of an order have together.
const ALL_MAX: usize = 128 * 1024;
/// What a picture begins with.
const KINDS: [(&str, &str); 4] = [
    ("image/jpeg", "data:image/jpeg;base64,"),
    ("image/png", "data:image/png;base64,"),
    ("image/webp", "data:image/webp;base64,"),
    ("image/avif", "data:image/avif;base64,"),
];
const ALLOWED: &str = "a data: URI of image/jpeg, png, webp or avif in base64, at most 16384 characters";

/// A picture as a `data:` URI of `image/jpeg`, `png`, `webp` or `avif` in base64, at most 16,384 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, max_length = 16384, example = "data:image/png;base64,iVBORw0KGgo=")]
pub struct Thumbnail(pub String);

impl Thumbnail {
    /// Its media type, and its bytes in base64.
    #[must_use]
    pub fn parts(&self) -> Option<(&'static str, &str)> {
        KINDS.iter().find_map(|(kind, begin)| Some((*kind, self.0.strip_prefix(begin)?)))
    }

    fn holds(&self) -> bool {
        let bytes = self.parts().map(|(_, bytes)| bytes);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        self.0.len() <= EACH_MAX && bytes.is_some_and(|bytes| !bytes.is_empty() && bytes.bytes().all(plain))
    }
}

/// What is wrong with the pictures of an order.
pub(super) fn faults(thumbnails: &BTreeMap<String, Thumbnail>, items: &[Item]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (id, thumbnail) in thumbnails {
        let field = format!("thumbnails.{id}");
        if !items.iter().any(|item| item.id == *id) {
            faults.push(Fault::new(field, "is no item of the order; the names are the ids of items"));
        } else if !thumbnail.holds() {
            // What it begins with says what it is; all of it would fill the answer.
            let begin: String = thumbnail.0.chars().take(40).collect();
            faults.push(Fault::not(field, begin, ALLOWED));
        }
    }
    let all: usize = thumbnails.values().map(|thumbnail| thumbnail.0.len()).sum();
    if all > ALL_MAX {
        faults.push(Fault::new("thumbnails", format!("have {all} characters; 131072 are allowed")));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_pictures() {
        let long = format!("data:image/png;base64,{}", "A".repeat(EACH_MAX));
        let cases: &[(&str, bool)] = &[
            ("data:image/png;base64,iVBORw0KGgo=", true),
            ("data:image/jpeg;base64,/9j/", true),
            ("data:image/svg+xml;base64,PHN2Zz4=", false),
            ("data:text/html;base64,PHN2Zz4=", false),
            ("data:image/png,%3Csvg", false),
            ("data:image/png;base64,", false),
            ("data:image/png;base64,a\" onerror=\"x", false),
            ("https://pictures.example/a.png", false),
            ("javascript:alert(1)", false),
            ("", false),
            (&long, false),
        ];
        for (text, expected) in cases {
            assert_eq!(Thumbnail((*text).to_owned()).holds(), *expected, "{text:.60}");
        }
    }
}
