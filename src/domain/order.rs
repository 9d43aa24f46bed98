//! Orders: what a platform submits, how it is checked, and the states that it passes through.

mod thumbnail;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

pub use self::thumbnail::Thumbnail;
use super::batch::{BatchFacts, BatchPhase, TransferFacts, TransferPhase};
use super::extras::Extras;
use super::ids::{LabId, OrderId, PlatformId, RegionId, ServiceLevel};
pub use super::route::Need;
use super::stop::{StopFacts, StopState};
use super::{Fault, downloads};

/// The most items that one order may have.
pub const ITEMS_MAX: usize = 1_000;
/// The most bytes that the metadata of one order may take as JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
const REFERENCE: &str = "1 to 128 printable characters";
const TEXT: &str = "at most 200 characters without control characters";

/// An order as a platform submits it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The platform's own name for the order. The same reference of the same platform is the
    /// same order, for ever.
    #[schema(max_length = 128, min_length = 1, example = "A-1001")]
    pub reference: String,
    /// The lab that is to print it; left out where `need` is given instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<LabId>,
    /// The production region; may be left out where the lab has one region, or where the
    /// country of `ship_to` decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// Instead of `lab`: the routes of the platform choose lab and region. The order then has both, and keeps
    /// this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need: Option<Need>,
    /// How fast it is to be made and sent, where that is not as usual: one that the region offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_level: Option<ServiceLevel>,
    /// With the batch of the window, or at once.
    #[serde(default)]
    pub transfer: Handing,
    /// Whether it is paid for. An order that awaits payment is in no batch.
    #[serde(default)]
    pub payment: Payment,
    /// Where the parcel goes. Required where an item is printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ship_to: Option<Address>,
    /// Who pays, if that is somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill_to: Option<Address>,
    /// What is ordered: 1 to 1,000 items.
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<Item>,
    /// The customer, for the pages that the customer sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// Whatever the platform wants to find again; the gateway never reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Small pictures of items, by their ids, for the people of the lab who look for one to stop it. They are
    /// not handed over with the order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thumbnails: BTreeMap<String, Thumbnail>,
}

/// How an order is handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Handing {
    /// With the batch of its window, at the cutoff.
    #[default]
    Batch,
    /// In a window of its own that closes after the lab's grace.
    Direct,
}

/// Whether an order is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// Paid.
    #[default]
    Paid,
    /// Not yet.
    Awaiting,
}

/// A postal address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The recipient.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// More of the street.
    #[serde(default)]
    pub line2: Option<String>,
    /// Postal code.
    #[serde(default)]
    pub postal_code: Option<String>,
    /// City.
    pub city: String,
    /// State or province.
    #[serde(default)]
    pub state: Option<String>,
    /// ISO 3166-1 alpha-2, upper case.
    #[schema(pattern = "^[A-Z]{2}$", example = "FI")]
    pub country: String,
    /// E-mail.
    #[serde(default)]
    pub email: Option<String>,
    /// Telephone.
    #[serde(default)]
    pub phone: Option<String>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// Something to print and ship. An order has at least one such item.
    #[default]
    Print,
    /// A download: a link of the platform's own. It is not handed to the lab, and can be revoked until it is
    /// fetched.
    Download,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The platform's id of the line, unique within the order.
    pub id: String,
    /// What it is.
    #[serde(default)]
    pub kind: ItemKind,
    /// Product code.
    pub sku: String,
    /// Pieces, 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub quantity: u32,
    /// Made for one customer, and so without a right of withdrawal.
    #[serde(default)]
    pub personalised: bool,
    /// The images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// Options as the lab knows them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// A file of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where the lab fetches it.
    #[schema(format = "uri")]
    pub url: String,
    /// SHA-256 of the file, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The customer of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// E-mail.
    #[serde(default)]
    pub email: Option<String>,
    /// A BCP 47 language tag.
    #[serde(default)]
    pub language: Option<String>,
}

fn plain(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}

fn check_text(faults: &mut Vec<Fault>, field: String, text: &str, required: bool) {
    if required && text.trim().is_empty() {
        faults.push(Fault::not(field, text, "a text that is not empty"));
    } else if !plain(text, 200) {
        faults.push(Fault::not(field, text, TEXT));
    }
}

impl Address {
    /// Checks the address.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (field, text) in [("name", &self.name), ("line1", &self.line1), ("city", &self.city)] {
            check_text(&mut faults, field.to_owned(), text, true);
        }
        let optional = [
            ("line2", &self.line2),
            ("postal_code", &self.postal_code),
            ("state", &self.state),
            ("email", &self.email),
            ("phone", &self.phone),
        ];
        for (field, text) in optional {
            check_text(&mut faults, field.to_owned(), text.as_deref().unwrap_or_default(), false);
        }
        if self.country.len() != 2 || !self.country.bytes().all(|b| b.is_ascii_uppercase()) {
            faults.push(Fault::not(
                "country",
                &self.country,
                "a country code of two capital letters (ISO 3166-1 alpha-2), such as \"FI\"",
            ));
        }
        faults
    }
}

impl Submission {
    /// Checks everything that can be checked without knowing the lab; all faults at once.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.reference.trim().is_empty() || !plain(&self.reference, 128) {
            faults.push(Fault::not("reference", &self.reference, REFERENCE));
        }
        if self.lab.is_none() && self.need.is_none() {
            faults.push(Fault::missing(
                "lab",
                "the id of a lab, where `need` does not say what the order needs",
            ));
        }
        faults.extend(self.need.iter().flat_map(Need::faults).map(|fault| fault.under("need")));
        for (name, address) in [("ship_to", &self.ship_to), ("bill_to", &self.bill_to)] {
            let inside = address.iter().flat_map(Address::faults);
            faults.extend(inside.map(|fault| fault.under(name)));
        }
        let customer = self.customer.iter().flat_map(|it| [("email", &it.email), ("language", &it.language)]);
        for (field, text) in customer {
            check_text(&mut faults, format!("customer.{field}"), text.as_deref().unwrap_or_default(), false);
        }
        if self.items.is_empty() || self.items.len() > ITEMS_MAX {
            faults
                .push(Fault::new("items", format!("has {} items; 1 to 1000 are allowed", self.items.len())));
        }
        let mut seen = BTreeSet::new();
        for (at, item) in self.items.iter().enumerate() {
            let path = |field: &str| format!("items[{at}].{field}");
            check_text(&mut faults, path("id"), &item.id, true);
            if !seen.insert(item.id.as_str()) {
                faults.push(Fault::not(path("id"), &item.id, "unique: an earlier item of this order has it"));
            }
            check_text(&mut faults, path("sku"), &item.sku, true);
            if !(1..=1_000_000).contains(&item.quantity) {
                faults.push(Fault::not(path("quantity"), item.quantity, "a whole number from 1 to 1000000"));
            }
            for (file_at, file) in item.files.iter().enumerate() {
                let path = |field: &str| format!("items[{at}].files[{file_at}].{field}");
                let web = file.url.starts_with("https://") || file.url.starts_with("http://");
                if !web || !plain(&file.url, 2_000) {
                    faults.push(Fault::not(
                        path("url"),
                        &file.url,
                        "an http or https URL of at most 2000 characters",
                    ));
                }
                let hex = |sum: &str| {
                    sum.len() == 64 && sum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                };
                if let Some(sum) = file.sha256.as_deref().filter(|sum| !hex(sum)) {
                    faults.push(Fault::not(path("sha256"), sum, "64 lower-case hex digits"));
                }
            }
            for (name, value) in &item.options {
                if !plain(name, 100) || !plain(value, 1_000) {
                    faults.push(Fault::not(
                        format!("items[{at}].options.{name}"),
                        value,
                        "at most 1000 characters under a name of at most 100",
                    ));
                }
            }
        }
        if self.ship_to.is_none() && self.items.iter().any(|item| item.kind == ItemKind::Print) {
            faults.push(Fault::missing("ship_to", "an address, because an item is to be printed"));
        }
        faults.extend(downloads::faults(&self.items));
        faults.extend(thumbnail::faults(&self.thumbnails, &self.items));
        let metadata: usize = self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if metadata > METADATA_BYTES_MAX {
            faults.push(Fault::new("metadata", format!("has {metadata} bytes; 16384 are allowed")));
        }
        faults
    }

    /// The text that is stored, and its hash: two submissions are the same order's if these agree.
    #[must_use]
    pub fn document(&self) -> (String, [u8; 32]) {
        let text = serde_json::to_string(self).unwrap_or_default();
        let hash = Sha256::digest(text.as_bytes()).into();
        (text, hash)
    }
}

/// How far the lab is with an order, by its own reports. It never goes back.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The lab has it, or nothing was reported.
    #[default]
    Received,
    /// Being made.
    InProduction,
    /// Printed.
    Printed,
    /// It has left the lab.
    Shipped,
}

impl Stage {
    /// The number that the database keeps: the rank.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        let all = [Self::Received, Self::InProduction, Self::Printed, Self::Shipped];
        all.into_iter().find(|stage| stage.code() == code)
    }
}

/// Why an order that is paid for is kept out of the windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It is not.
    #[default]
    No,
    /// On hold until it is released.
    Hold,
    /// Back with the customer or the platform for new crops or images, until it is released.
    Review,
}

impl Held {
    /// The number that the database keeps.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::No, Self::Hold, Self::Review].into_iter().find(|held| held.code() == code)
    }
}

/// The state of an order, as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Not paid; in no batch.
    AwaitingPayment,
    /// Held; in no batch.
    OnHold,
    /// In review; in no batch.
    InReview,
    /// Collected in an open window.
    InBatch,
    /// Its window has closed; nothing has left the house.
    Closed,
    /// A copy may be on the wire to the lab.
    Sending,
    /// It was sent, and what came of it is not known.
    Unknown,
    /// The lab has it.
    AtLab,
    /// The lab makes it.
    InProduction,
    /// The lab has printed it.
    Printed,
    /// It has left the lab.
    Shipped,
    /// A person decides whether it was handed over.
    WithAPerson,
    /// Nobody will print it because of us.
    Stopped,
}

/// What is stored of an order: its text and everything that decides its state.
#[derive(Debug, Clone)]
pub struct OrderFacts {
    /// The gateway's id.
    pub id: OrderId,
    /// Whose it is.
    pub platform: PlatformId,
    /// Who prints it.
    pub lab: LabId,
    /// Where it is printed.
    pub region: RegionId,
    /// The platform's name for it.
    pub reference: String,
    /// The submission, as stored.
    pub document: String,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// Whether it is paid for.
    pub paid: bool,
    /// Whether it is held.
    pub held: Held,
    /// How far the lab is.
    pub stage: Stage,
    /// Counts every change that is visible from outside; it only grows.
    pub version: i64,
    /// The batch that it waits in or went with.
    pub batch: Option<BatchFacts>,
    /// The transfer that carries it.
    pub transfer: Option<TransferFacts>,
    /// The stop, if one was asked.
    pub stop: Option<StopFacts>,
    /// The lines that are stopped while the rest of it goes on.
    pub lines_out: Vec<String>,
    /// What only a few orders have.
    pub extras: Extras,
}

impl OrderFacts {
    /// Its items, as people of the lab are shown them: without what is stopped, and without downloads.
    #[must_use]
    pub fn lines(&self) -> Vec<super::mail::Line> {
        let submitted: Option<Submission> = serde_json::from_str(&self.document).ok();
        let Some(Submission { mut items, mut thumbnails, .. }) = submitted else { return Vec::new() };
        items.retain(|item| item.kind == ItemKind::Print && !self.lines_out.contains(&item.id));
        let line = |item: Item| super::mail::Line {
            quantity: i64::from(item.quantity),
            sku: item.sku,
            thumbnail: thumbnails.remove(&item.id),
            id: item.id,
        };
        items.into_iter().map(line).collect()
    }

    /// The items that a stop is about, as people of the lab are shown them.
    #[must_use]
    pub fn lines_of(&self, stop: &StopFacts) -> Vec<super::mail::Line> {
        let mut lines = Self { lines_out: Vec::new(), ..self.clone() }.lines();
        match &stop.items {
            Some(items) => lines.retain(|line| items.contains(&line.id)),
            None => lines.retain(|line| !self.lines_out.contains(&line.id)),
        }
        lines
    }

    /// The state that follows from the stored facts.
    #[must_use]
    pub fn state(&self) -> OrderState {
        if self.stop.as_ref().is_some_and(|stop| stop.state == StopState::Stopped) {
            return OrderState::Stopped;
        }
        match self.stage {
            Stage::InProduction => return OrderState::InProduction,
            Stage::Printed => return OrderState::Printed,
            Stage::Shipped => return OrderState::Shipped,
            Stage::Received => {}
        }
        if let Some(transfer) = &self.transfer {
            return match transfer.phase {
                TransferPhase::Closed | TransferPhase::Empty => OrderState::Closed,
                TransferPhase::Sending => OrderState::Sending,
                TransferPhase::Unknown => OrderState::Unknown,
                TransferPhase::AtLab => OrderState::AtLab,
                TransferPhase::WithAPerson => OrderState::WithAPerson,
            };
        }
        match &self.batch {
            Some(batch) if batch.phase == BatchPhase::Open => OrderState::InBatch,
            Some(_) => OrderState::Closed,
            None if !self.paid => OrderState::AwaitingPayment,
            None if self.held == Held::Review => OrderState::InReview,
            None => OrderState::OnHold,
        }
    }
}
