//! Signed-in browsers.

use jiff::Timestamp;
use secrecy::SecretString;

use super::CodeSaid;
use crate::domain::event::Actor;

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// SHA-256 of what the browser keeps, hex.
    pub id: String,
    /// The key that it stands for.
    pub key: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last used, to within a minute.
    pub seen_at: Timestamp,
    /// When it ends at the latest.
    pub ends_at: Timestamp,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
    /// Whether it began with a code of a second factor.
    pub with_code: bool,
}

/// By what somebody signs in.
#[derive(Debug, Clone)]
pub enum Proof {
    /// By a key that was recognised: its id.
    Key(String),
    /// By a link that works once: the SHA-256 of what it carries, hex.
    Link(String),
}

/// A browser that signs in.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// SHA-256 of what the browser is given, hex.
    pub id: String,
    /// By what.
    pub proof: Proof,
    /// The code that was typed, if the key has a second factor.
    pub code: Option<SecretString>,
    /// Now.
    pub at: Timestamp,
    /// When the session ends at the latest.
    pub ends_at: Timestamp,
}

/// Of a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIn {
    /// The session has begun; the key that it stands for.
    Begun(String),
    /// The link does not work any more.
    Gone,
    /// The key has a second factor, and this was said to the code. A link still works.
    Code(CodeSaid),
}

/// A link that signs in once.
#[derive(Debug, Clone)]
pub struct SignInLink {
    /// SHA-256 of what it carries, hex.
    pub id: String,
    /// The key that it stands for.
    pub key: String,
    /// Now.
    pub at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// Who made it.
    pub actor: Actor,
}
