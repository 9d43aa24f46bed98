//! Signed links: the right to answer one stop, for whom it was mailed to, until an instant.
//!
//! A token is URL-safe base64 of a version, the stop, the audience, the end and a print of the address,
//! with HMAC-SHA-256 over all of it under a label of its own. It needs no row: who changes the address of the
//! contact, or the key, takes back what was mailed. It says nothing about the order.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;

use super::event::hex;
use super::ids::StopId;
use super::mail::Audience;

/// What is signed is nothing else: the purpose, and its version.
const LABEL: &[u8] = b"stoppress answer link 1\0";
const PRINT_LABEL: &[u8] = b"stoppress answer address 1\0";
const VERSION: u8 = 1;
const ID: usize = 16;
const PRINT: usize = 8;
const PAYLOAD: usize = 1 + ID + 1 + 8 + PRINT;
const TAG: usize = 32;
/// How many random bytes a key has.
pub const KEY_BYTES: usize = 32;

/// The key of all links.
#[derive(Clone)]
pub struct LinkKey(Arc<SecretSlice<u8>>);

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey")
    }
}

/// What a token says, once it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The stop that it may answer.
    pub stop: StopId,
    /// Whom it was mailed to.
    pub audience: Audience,
    /// When it ends.
    pub until: Timestamp,
    print: [u8; PRINT],
}

impl LinkKey {
    /// A key of [`KEY_BYTES`] bytes in hex; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let pairs = text.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = pairs
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        bytes.filter(|bytes| bytes.len() == KEY_BYTES).map(|bytes| Self(Arc::new(bytes.into())))
    }

    pub(super) fn mac(&self, label: &[u8], bytes: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        mac.update(label);
        mac.update(bytes);
        Some(mac)
    }

    fn print(&self, address: &str) -> Option<[u8; PRINT]> {
        let sum = self.mac(PRINT_LABEL, address.as_bytes())?.finalize().into_bytes();
        sum.first_chunk().copied()
    }

    /// The token of a link; it ends on a whole second.
    #[must_use]
    pub fn sign(&self, stop: &StopId, audience: Audience, address: &str, until: Timestamp) -> Option<String> {
        let mut bytes = Vec::with_capacity(PAYLOAD + TAG);
        bytes.push(VERSION);
        let id = stop.as_str().rsplit('_').next().unwrap_or_default();
        bytes.extend(u128::from_str_radix(id, 16).ok()?.to_be_bytes());
        bytes.push(audience.code());
        bytes.extend(until.as_second().to_be_bytes());
        bytes.extend(self.print(address)?);
        let tag = self.mac(LABEL, &bytes)?.finalize().into_bytes();
        bytes.extend(tag);
        Some(BASE64.encode(bytes))
    }

    /// Reads a token; `None` if it was not signed with this key, whatever is wrong with it. Whether it has
    /// ended, and whether the address is still the lab's, is for the caller to ask.
    #[must_use]
    pub fn read(&self, token: &str) -> Option<Link> {
        // Longer texts are not looked at.
        let bytes = BASE64.decode(token.get(..token.len().min(200))?).ok()?;
        if bytes.len() != PAYLOAD + TAG {
            return None;
        }
        let (payload, tag) = bytes.split_at(PAYLOAD);
        // In constant time.
        self.mac(LABEL, payload)?.verify_slice(tag).ok()?;
        let (version, rest) = payload.split_first()?;
        let (id, rest) = rest.split_first_chunk::<ID>()?;
        let (audience, rest) = rest.split_first()?;
        let (until, print) = rest.split_first_chunk::<8>()?;
        if *version != VERSION {
            return None;
        }
        Some(Link {
            stop: StopId::parse(&format!("{}_{}", StopId::PREFIX, hex(id))).ok()?,
            audience: Audience::from_code(*audience)?,
            until: Timestamp::from_second(i64::from_be_bytes(*until)).ok()?,
            print: print.try_into().ok()?,
        })
    }

    /// Whether a link was mailed to this address.
    #[must_use]
    pub fn is_for(&self, link: &Link, address: &str) -> bool {
        self.print(address).is_some_and(|print| print == link.print)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: &str) -> LinkKey {
        LinkKey::parse(&byte.repeat(KEY_BYTES)).expect("a key")
    }

    fn stop() -> StopId {
        StopId::parse("stp_0190a1b2c3d4e5f60718293a4b5c6d7e").expect("an id")
    }

    #[test]
    fn a_token_says_what_was_signed_and_nothing_else_does() {
        let key = key("a7");
        let until: Timestamp = "2026-11-24T08:30:00Z".parse().expect("an instant");
        let token = key.sign(&stop(), Audience::Second, "m@lab.example", until).expect("a token");
        assert!(token.len() < 100 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        let link = key.read(&token).expect("it is read");
        assert_eq!((link.stop.clone(), link.audience, link.until), (stop(), Audience::Second, until));
        assert!(key.is_for(&link, "m@lab.example"));
        assert!(!key.is_for(&link, "n@lab.example"), "it was mailed to somebody else");
        // Every byte counts: no token with one other byte is read, nor a shorter or a longer one.
        let bytes = BASE64.decode(&token).expect("base64");
        for at in 0..bytes.len() {
            for flip in [1_u8, 0x80] {
                let mut other = bytes.clone();
                other[at] ^= flip;
                assert_eq!(key.read(&BASE64.encode(other)), None, "byte {at}");
            }
            assert_eq!(key.read(&BASE64.encode(&bytes[..at])), None);
        }
        assert_eq!(key.read(&format!("{token}A")), None);
        assert_eq!(key.read(""), None);
        assert_eq!(key.read(&"A".repeat(1000)), None);
        assert_eq!(super::tests::key("a8").read(&token), None, "another key");
    }

    #[test]
    fn a_key_is_thirty_two_bytes_in_hex_and_is_not_shown() {
        for text in ["", "a7", &"a7".repeat(31), &"zz".repeat(32), &"a7".repeat(33), &"é".repeat(32)] {
            assert!(LinkKey::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{:?}", key("a7")), "LinkKey");
    }
}
