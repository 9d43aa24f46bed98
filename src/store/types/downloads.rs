//! Downloads that are revoked or fetched, and where platforms are asked.

use jiff::Timestamp;
use secrecy::SecretString;

use super::Scope;
use crate::domain::downloads::{DownloadFacts, DownloadReply, DownloadWord};
use crate::domain::event::Actor;
use crate::domain::ids::{DownloadId, OrderId, PlatformId};
use crate::domain::measures::Lasting;
use crate::domain::webhook::Secrets;

/// Where a platform is asked to deactivate links.
#[derive(Debug, Clone)]
pub struct CallbackRow {
    /// Whose it is.
    pub platform: PlatformId,
    /// Where.
    pub url: String,
    /// How long it has to answer before a person is called.
    pub answers_within: Lasting,
    /// What signs.
    pub secrets: Secrets,
    /// Counts its changes.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// A change of where a platform is asked. → [`Written::Put`](super::Written::Put); of a new one the version is 1.
#[derive(Debug, Clone)]
pub struct ChangeCallback {
    /// Whose it is.
    pub platform: PlatformId,
    /// What to do.
    pub change: CallbackChange,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum CallbackChange {
    /// Makes it, or moves it.
    Set {
        /// Where.
        url: String,
        /// How long the platform has to answer.
        answers_within: Lasting,
        /// What signs, if it is new.
        secret: SecretString,
    },
    /// Another secret; the one before signs as well until an instant.
    Rotate {
        /// The new one.
        secret: SecretString,
        /// Until when.
        keep_until: Timestamp,
    },
    /// It is forgotten.
    Delete,
}

/// Takes downloads about which platforms are to be asked.
#[derive(Debug, Clone)]
pub struct ClaimDownloads {
    /// At most so many.
    pub limit: i64,
    /// Platforms that have enough questions open: of theirs only what is beyond its time.
    pub busy: Vec<PlatformId>,
    /// Now.
    pub now: Timestamp,
    /// Until when the claim is ours.
    pub lease_until: Timestamp,
}

/// What was claimed.
#[derive(Debug, Clone)]
pub enum DownloadDue {
    /// Ask: the intent is durable.
    Ask(Box<DownloadAsk>),
    /// A person takes it: the time is over, or there is nowhere to ask.
    Person(Box<DownloadFacts>),
}

/// A question to a platform.
#[derive(Debug, Clone)]
pub struct DownloadAsk {
    /// The download.
    pub facts: DownloadFacts,
    /// The platform's reference of its order.
    pub reference: String,
    /// Where to ask.
    pub callback: CallbackRow,
}

/// What a platform answered, or that it did not.
#[derive(Debug, Clone)]
pub struct SettleDownload {
    /// The download.
    pub download: DownloadId,
    /// Which attempt it was.
    pub attempt: i64,
    /// The answer.
    pub reply: DownloadReply,
    /// Now.
    pub at: Timestamp,
    /// When to ask again, if that is what follows.
    pub next_at: Timestamp,
}

/// What somebody says of a download without being asked.
#[derive(Debug, Clone)]
pub struct ReportDownload {
    /// The order.
    pub order: OrderId,
    /// Who may see it.
    pub scope: Scope,
    /// The platform's id of the line.
    pub item: String,
    /// What is said.
    pub word: DownloadWord,
    /// In which words.
    pub comment: Option<String>,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Of what was said of a download.
#[derive(Debug, Clone)]
pub enum DownloadReported {
    /// No such order within the scope.
    NotFound,
    /// The order has no such download.
    NoSuchItem,
    /// This is how it stands now, or stood before.
    Done(Box<DownloadFacts>),
}
