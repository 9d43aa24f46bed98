//! The parts of the page that change, each with its template.

use askama::Template;

use super::lines::Choice;
use super::view::{Line, Offer, When};
use super::words::Words;

#[derive(Template)]
#[template(path = "customer_heading.html")]
pub(super) struct HeadingPart<'a> {
    pub(super) words: &'a Words,
    /// Empty once nothing of the order is shown any more.
    pub(super) shop: &'a str,
    pub(super) order: String,
}

#[derive(Template)]
#[template(path = "customer_state.html")]
pub(super) struct StatePart<'a> {
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) word: &'a str,
    pub(super) head: &'a str,
    pub(super) text: String,
    pub(super) note: Option<String>,
    /// What has become of single lines while the rest goes on.
    pub(super) lines: Vec<String>,
    /// How each download stands.
    pub(super) downloads: Vec<String>,
}

#[derive(Template)]
#[template(path = "customer_times.html")]
pub(super) struct TimesPart<'a> {
    pub(super) words: &'a Words,
    pub(super) until: Option<When>,
    pub(super) until_says: String,
    pub(super) due: Option<When>,
    pub(super) due_says: &'a str,
}

#[derive(Template)]
#[template(path = "customer_ask.html")]
pub(super) struct AskPart<'a> {
    pub(super) words: &'a Words,
    pub(super) lang: &'static str,
    pub(super) form: &'a str,
    pub(super) of: &'a str,
    pub(super) offer: Option<Offer>,
    pub(super) offers: &'static str,
    pub(super) why_not: Option<&'a str>,
    pub(super) reasons: Vec<(String, String)>,
    /// The lines to choose from, if it need not be the whole order.
    pub(super) choices: Vec<Choice>,
}

#[derive(Template)]
#[template(path = "customer_money.html")]
pub(super) struct MoneyPart<'a> {
    pub(super) words: &'a Words,
    pub(super) lines: Vec<String>,
}

#[derive(Template)]
#[template(path = "customer_receipt.html")]
pub(super) struct ReceiptPart<'a> {
    pub(super) words: &'a Words,
    pub(super) lang: &'static str,
    pub(super) of: &'a str,
    pub(super) lines: Vec<Line>,
}
