//! Signatures by the Standard Webhooks scheme: HMAC-SHA-256 over id, time and body.
//!
//! Used both ways: the gateway signs what it sends to labs and platforms, and the simulated lab
//! verifies it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::domain::Fault;

/// The header with the id of the message, the same for all its attempts.
pub const ID: &str = "webhook-id";
/// The header with the time of the attempt, in Unix seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";
/// How far the time of a message may be from the receiver's, in seconds.
pub const TOLERANCE_SECONDS: i64 = 300;

const ALLOWED: &str = "\"whsec_\" and the base64 of 24 to 64 random bytes; several, parted by blanks, while one replaces another";

/// Signs and verifies with one secret, or with several while one replaces another.
pub struct Signer(Vec<SecretSlice<u8>>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({} secrets)", self.0.len())
    }
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// The time of the message is not a time, or too far from ours.
    #[error("the time of the signature is more than five minutes from ours")]
    Time,
    /// No signature fits.
    #[error("no signature fits")]
    Signature,
}

impl Signer {
    /// Reads secrets as they are shown: `whsec_` and base64, several parted by blanks.
    ///
    /// # Errors
    /// If there is none, or one is not 24 to 64 bytes in base64. The secret is not repeated.
    pub fn new(secrets: &SecretString) -> Result<Self, Fault> {
        let keys = secrets
            .expose_secret()
            .split_whitespace()
            .map(|shown| {
                let key = STANDARD.decode(shown.strip_prefix("whsec_").unwrap_or(shown)).unwrap_or_default();
                if (24..=64).contains(&key.len()) {
                    Ok(SecretSlice::from(key))
                } else {
                    Err(Fault::new("", format!("is not {ALLOWED}")))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            Err(Fault::new("", format!("is empty; it must be {ALLOWED}")))
        } else {
            Ok(Self(keys))
        }
    }

    /// The value of the signature header: one signature a secret.
    #[must_use]
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut text = String::new();
        for key in &self.0 {
            let sum = mac(key, id, &at.as_second().to_string(), body).map(|mac| mac.finalize().into_bytes());
            let parted = if text.is_empty() { "" } else { " " };
            if let Some(sum) = sum {
                // Writing to a string cannot fail.
                let _ = write!(text, "{parted}v1,{}", STANDARD.encode(sum));
            }
        }
        text
    }

    /// Checks a message as it came: any fitting pair of secret and signature is enough.
    ///
    /// # Errors
    /// If none fits, or the message is too old or from the future.
    pub fn verify(
        &self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Unverified> {
        let seconds: i64 = timestamp.parse().map_err(|_| Unverified::Time)?;
        if now.as_second().abs_diff(seconds) > TOLERANCE_SECONDS.unsigned_abs() {
            return Err(Unverified::Time);
        }
        let mut fits = subtle::Choice::from(0);
        for key in &self.0 {
            let Some(sum) = mac(key, id, timestamp, body).map(|mac| mac.finalize().into_bytes()) else {
                continue;
            };
            for given in signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")) {
                if let Ok(given) = STANDARD.decode(given) {
                    fits |= sum.as_slice().ct_eq(&given);
                }
            }
        }
        if bool::from(fits) { Ok(()) } else { Err(Unverified::Signature) }
    }
}

fn mac(key: &SecretSlice<u8>, id: &str, timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length; the library's type allows for others that do not.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(mac)
}
