//! Links to a region's calendar, for programs that subscribe to one and can send no key.
//!
//! A token is URL-safe base64 of a version, the serial of the region's links, the id of the key that asked for
//! it, the lab and the region, with HMAC-SHA-256 over all of it under a label of its own. It holds for as long as
//! that key does, and until the links of the region are taken back. It shows cutoffs, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::Mac as _;

use super::ids::{LabId, RegionId};
use super::link::LinkKey;

const LABEL: &[u8] = b"stoppress calendar link 1\0";
const VERSION: u8 = 1;
const TAG: usize = 32;
/// Longer texts are not looked at.
const TEXT_MAX: usize = 400;

/// What a link says, once it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarLink {
    /// The lab.
    pub lab: LabId,
    /// The region.
    pub region: RegionId,
    /// The id of the key that asked for it.
    pub key: String,
    /// The serial of the region's links when it was made.
    pub serial: u32,
}

impl CalendarLink {
    /// The token; `None` if a name is too long to be written.
    #[must_use]
    pub fn token(&self, key: &LinkKey) -> Option<String> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.serial.to_be_bytes());
        for part in [self.key.as_str(), self.lab.as_str(), self.region.as_str()] {
            bytes.push(u8::try_from(part.len()).ok()?);
            bytes.extend(part.as_bytes());
        }
        let tag = key.mac(LABEL, &bytes)?.finalize().into_bytes();
        bytes.extend(tag);
        Some(BASE64.encode(bytes)).filter(|text| text.len() <= TEXT_MAX)
    }

    /// Reads a token; `None` if it was not signed with this key, whatever is wrong with it. Whether it was
    /// taken back is for the caller to ask.
    #[must_use]
    pub fn read(token: &str, key: &LinkKey) -> Option<Self> {
        if token.len() > TEXT_MAX {
            return None;
        }
        let mut bytes = BASE64.decode(token).ok()?;
        let tag = bytes.split_off(bytes.len().checked_sub(TAG)?);
        // In constant time.
        key.mac(LABEL, &bytes)?.verify_slice(&tag).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (serial, mut rest) = rest.split_first_chunk::<4>()?;
        let mut part = || {
            let (length, after) = rest.split_first()?;
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            std::str::from_utf8(text).ok()
        };
        let (owner, lab, region) = (part()?, part()?, part()?);
        (*version == VERSION).then_some(Self {
            lab: LabId::parse(lab).ok()?,
            region: RegionId::parse(region).ok()?,
            key: owner.to_owned(),
            serial: u32::from_be_bytes(*serial),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_was_signed_and_nothing_else() {
        let key = |byte: &str| LinkKey::parse(&byte.repeat(32)).unwrap();
        let link = CalendarLink {
            lab: LabId::parse("nord").unwrap(),
            region: RegionId::parse("fi").unwrap(),
            key: "abcdefghijkl".to_owned(),
            serial: 7,
        };
        let token = link.token(&key("11")).unwrap();
        assert_eq!(CalendarLink::read(&token, &key("11")), Some(link));
        assert_eq!(CalendarLink::read(&token, &key("12")), None);
        for at in 0..token.len() {
            let mut other = token.clone();
            let letter = if &token[at..=at] == "A" { "B" } else { "A" };
            other.replace_range(at..=at, letter);
            // The last letter has bits that say nothing.
            let read = CalendarLink::read(&other, &key("11"));
            assert!(read.is_none() || at + 1 == token.len(), "at {at}");
        }
        for wrong in ["", "A", &token[1..], &format!("{token}A"), &"A".repeat(401)] {
            assert_eq!(CalendarLink::read(wrong, &key("11")), None, "{wrong}");
        }
    }

    /// A token of 300 bytes has 400 letters. None that is longer is made, or taken though it is signed.
    #[test]
    fn a_token_has_four_hundred_letters_at_most() {
        let key = LinkKey::parse(&"11".repeat(32)).unwrap();
        let link = |letters: usize| CalendarLink {
            lab: LabId::parse("nord").unwrap(),
            region: RegionId::parse("fi").unwrap(),
            key: "k".repeat(letters),
            serial: 7,
        };
        let own = 300 - (1 + 4 + 3 + "nord".len() + "fi".len() + TAG);
        let longest = link(own);
        let token = longest.token(&key).unwrap();
        assert_eq!((token.len(), CalendarLink::read(&token, &key)), (400, Some(longest)));
        assert_eq!(link(own + 1).token(&key), None);
        // Signed as it was, and with a letter more.
        let bytes = BASE64.decode(&token).unwrap();
        let mut longer = bytes[..bytes.len() - TAG].to_vec();
        longer[5] += 1;
        longer.insert(6, b'k');
        let tag = key.mac(LABEL, &longer).unwrap().finalize().into_bytes();
        longer.extend(tag);
        assert_eq!(CalendarLink::read(&BASE64.encode(longer), &key), None);
    }
}
