//! What an order says of people, and the order without it.
//!
//! An address is needed until the order is at an end: then it only says who had what printed. What is left is what the
//! order was: its reference, its lab, its lines; and in the log the hash of what was taken out, so that whoever still
//! has it can show that it was that.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::event::hex;

/// The fields of a submission that may say something of people.
const OF_PEOPLE: [&str; 4] = ["ship_to", "bill_to", "metadata", "thumbnails"];
/// The same of an item: links to pictures, and texts that are printed.
const OF_PEOPLE_IN_ITEMS: [&str; 2] = ["files", "options"];

/// A stored submission without addresses, the customer's e-mail, pictures, what is printed, and what the platform wanted
/// to find again; and the SHA-256 of how it was, hex. None if it is no submission.
#[must_use]
pub fn without_people(document: &str) -> Option<(String, String)> {
    let mut order: Value = serde_json::from_str(document).ok()?;
    let fields = order.as_object_mut()?;
    fields.retain(|name, _| !OF_PEOPLE.contains(&name.as_str()));
    // The language says nothing of who it is.
    if let Some(customer) = fields.get_mut("customer").and_then(Value::as_object_mut) {
        customer.retain(|name, _| name == "language");
    }
    for item in fields.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(item) = item.as_object_mut() {
            item.retain(|name, _| !OF_PEOPLE_IN_ITEMS.contains(&name.as_str()));
        }
    }
    Some((order.to_string(), hex(&Sha256::digest(document.as_bytes()))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::order::Submission;

    #[test]
    fn what_says_something_of_people_is_taken_out_and_the_rest_stays() {
        let order = json!({
            "reference": "A-1", "lab": "nord", "region": "fi", "service_level": "express", "transfer": "direct",
            "ship_to": {"name": "Aino", "line1": "Katu 1", "city": "Helsinki", "country": "FI", "email": "a@example.com"},
            "bill_to": {"name": "Aino", "line1": "Katu 2", "city": "Helsinki", "country": "FI"},
            "items": [{"id": "1", "sku": "mug", "quantity": 2, "personalised": true, "options": {"text": "For Aino"},
                "files": [{"url": "https://photos.example/aino"}]}],
            "customer": {"email": "a@example.com", "language": "fi"}, "metadata": {"note": "Aino's"},
            "thumbnails": {"1": "data:image/png;base64,iVBORw0KGgo="},
        });
        let text = order.to_string();
        let (left, hash) = without_people(&text).unwrap();
        for word in ["Aino", "Katu", "Helsinki", "example", "png"] {
            assert!(!left.contains(word), "{word}: {left}");
        }
        let read: Submission = serde_json::from_str(&left).unwrap();
        assert_eq!(
            (read.reference.as_str(), read.items[0].sku.as_str(), read.items[0].quantity),
            ("A-1", "mug", 2)
        );
        assert!(read.items[0].personalised && read.ship_to.is_none());
        assert_eq!(read.customer.unwrap().language.as_deref(), Some("fi"));
        assert_eq!(hash, hex(&Sha256::digest(text.as_bytes())));
        // Once more it is the same; and what is no submission stays what it is.
        assert_eq!(without_people(&left).unwrap().0, left);
        assert_eq!(without_people("[]"), None);
        assert_eq!(without_people("x"), None);
    }
}
