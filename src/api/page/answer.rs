//! The page on which the people of a lab answer a stop.

use askama::Template;

use super::Shell;
use crate::domain::mail::Line;

/// The page behind the link of a mail.
#[derive(Template)]
#[template(path = "answer.html")]
pub(in crate::api) struct AnswerPage {
    /// What is around it.
    pub(in crate::api) shell: Shell,
    /// The platform's reference of the order.
    pub(in crate::api) reference: String,
    /// Whose order it is.
    pub(in crate::api) platform: String,
    /// The lab's name.
    pub(in crate::api) lab: String,
    /// The lines.
    pub(in crate::api) items: Vec<Line>,
    /// Whether only these are to be stopped, and the rest of the order is to be made.
    pub(in crate::api) part: bool,
    /// Why the stop was asked.
    pub(in crate::api) reason: String,
    /// When it was asked, on the region's clocks.
    pub(in crate::api) asked: String,
    /// When an answer is due.
    pub(in crate::api) due: String,
    /// How it stands.
    pub(in crate::api) stands: String,
    /// What came of the answer that was just given.
    pub(in crate::api) said: Option<&'static str>,
    /// Whether an answer is still wanted.
    pub(in crate::api) open: bool,
    /// The link's token, for the form.
    pub(in crate::api) token: String,
    /// Where the form goes.
    pub(in crate::api) action: &'static str,
}
