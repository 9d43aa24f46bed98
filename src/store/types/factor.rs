//! Second factors of keys.

use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::event::Actor;

/// A second factor to make: it replaces one that is not in force.
#[derive(Debug, Clone)]
pub struct StartFactor {
    /// The key.
    pub key: String,
    /// Its secret, in base32.
    pub secret: SecretString,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// A code that is shown.
#[derive(Debug, Clone)]
pub struct ShowCode {
    /// The key.
    pub key: String,
    /// What was typed; none: nothing.
    pub code: Option<SecretString>,
    /// Whether it is the first one, which puts the factor in force.
    pub first: bool,
    /// Now.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// What is said to a code, or to a factor that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeSaid {
    /// The key has no second factor in force, or there is no such key; of a first code: none was started.
    None,
    /// Taken; of a factor that is made: done.
    Good,
    /// One is in force already.
    InForce,
    /// There has to be a code.
    Missing,
    /// It does not fit.
    Wrong,
    /// It was taken before.
    Used,
    /// Too many were wrong: none is looked at before this instant.
    Rests(Timestamp),
}
