//! Texts of people in requests: reasons and comments.

use crate::domain::Fault;

/// Checks a text for people: a reason, a comment.
pub(super) fn text(field: &str, text: &str, most: usize) -> Result<(), Fault> {
    let plain = text.chars().all(|c| !c.is_control() || c == '\n');
    if plain && text.chars().count() <= most {
        return Ok(());
    }
    Err(Fault::new(field, format!("must have at most {most} characters and no control characters")))
}

/// Checks a reason that must be given.
pub(super) fn required(field: &str, value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Err(Fault::not(field, value, "a text that is not empty"));
    }
    text(field, value, 500)
}
