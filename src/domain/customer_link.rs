//! Links for customers: the right to see one order, or to ask for its stop, until an instant.
//!
//! A token is URL-safe base64 of a version, the key's number, the order, the action, the end and the serial of
//! the order's links, with HMAC-SHA-256 over all of it under a label of its own. It needs no row: raising the
//! serial of an order takes back all of its links, deleting a key all links under that key. A link is swapped
//! for a session of a quarter of an hour, which is signed in the same way under another label, so that neither
//! can be used as the other. Neither says anything about the order.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::Mac as _;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::batch::later;
use super::event::hex;
use super::ids::OrderId;
use super::link::LinkKey;

const LINK: &[u8] = b"stoppress customer link 1\0";
const SESSION: &[u8] = b"stoppress customer session 1\0";
const FORM: &[u8] = b"stoppress customer form 1\0";
const PAGE: &[u8] = b"stoppress customer page 1\0";
const VERSION: u8 = 1;
const TAG: usize = 32;
const ID: usize = 16;
/// Version, key, order, action, end, serial.
const PAYLOAD: usize = 1 + 2 + ID + 1 + 8 + 4;
const NONCE: usize = 16;
/// Bytes of a page's name.
const PAGE_NAME: usize = 8;
/// A link lasts so long beyond the cutoff.
pub const BEYOND: SignedDuration = SignedDuration::from_hours(24);
/// No link lasts longer.
pub const LASTS_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
/// No link is believed that lasts longer from now on: more than any that was made, by so much as the clocks of
/// gateways may differ.
pub const BELIEVED_MAX: SignedDuration = SignedDuration::from_hours(30 * 24 + 1);
/// A session lasts so long after the customer's last look.
pub const SESSION_LASTS: SignedDuration = SignedDuration::from_mins(15);

/// What a link allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkAction {
    /// To see how the order stands.
    See,
    /// That, and to ask for its stop, where the platform's policy lets customers.
    #[default]
    Stop,
}

impl LinkAction {
    fn code(self) -> u8 {
        match self {
            Self::See => 1,
            Self::Stop => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::See, Self::Stop].into_iter().find(|action| action.code() == code)
    }
}

/// What a link says, once it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerLink {
    /// The order.
    pub order: OrderId,
    /// What it allows.
    pub action: LinkAction,
    /// When it ends: on a whole second.
    pub until: Timestamp,
    /// The serial of the order's links when it was made.
    pub serial: u32,
}

/// What a link was swapped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerSession {
    /// The link.
    pub link: CustomerLink,
    /// The number of the key that the link was signed with: the session is signed with it too, and ends with it.
    pub key: u16,
    /// When the session ends; never after the link.
    pub until: Timestamp,
    /// Random: what belongs to this session cannot be foretold.
    pub nonce: [u8; NONCE],
}

impl CustomerSession {
    /// The session of a link, with the number of its key, that is opened now.
    #[must_use]
    pub fn begin((link, key): (CustomerLink, u16), nonce: [u8; NONCE], now: Timestamp) -> Self {
        let until = link.until.min(later(now, SESSION_LASTS));
        Self { link, key, until, nonce }
    }

    /// The same session, from now on for its whole length again.
    #[must_use]
    pub fn renewed(&self, now: Timestamp) -> Self {
        Self::begin((self.link.clone(), self.key), self.nonce, now)
    }
}

/// When a link ends that is made now, for an order with this cutoff: a day after it, at most in thirty days.
/// Without a cutoff, in thirty days; after it, a day from now, because a lab may still be asked.
#[must_use]
pub fn link_until(cutoff: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let most = later(now, LASTS_MAX);
    let until = cutoff.map_or(most, |cutoff| later(cutoff.max(now), BEYOND)).min(most);
    Timestamp::from_second(until.as_second()).unwrap_or(until)
}

/// The keys of customers' links, by number, and which of them signs.
#[derive(Clone)]
pub struct CustomerKeys {
    all: Vec<(u16, LinkKey)>,
    signs: u16,
}

impl fmt::Debug for CustomerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(number, _)| number)).finish()
    }
}

impl CustomerKeys {
    /// The keys: numbers from 1 to 65535, and 32 bytes in hex each. The highest number signs; all verify.
    /// `None` if there is none, or one cannot be read.
    #[must_use]
    pub fn parse<'a>(keys: impl IntoIterator<Item = (i64, &'a str)>) -> Option<Self> {
        let keys: Option<Vec<_>> = keys
            .into_iter()
            .map(|(number, text)| {
                let number = u16::try_from(number).ok().filter(|number| *number > 0)?;
                Some((number, LinkKey::parse(text)?))
            })
            .collect();
        let mut keys = keys.filter(|keys| !keys.is_empty())?;
        keys.sort_by_key(|(number, _)| *number);
        let signs = keys.last().map(|(number, _)| *number)?;
        Some(Self { all: keys, signs })
    }

    /// The number of the newest key.
    #[must_use]
    pub fn newest(&self) -> u16 {
        self.all.last().map_or(0, |(number, _)| *number)
    }

    /// The number of the key that signs.
    #[must_use]
    pub fn signs(&self) -> u16 {
        self.signs
    }

    /// The same, but another one signs, if it is among them.
    #[must_use]
    pub fn signing(self, number: u16) -> Self {
        if self.key(number).is_some() { Self { signs: number, ..self } } else { self }
    }

    fn key(&self, number: u16) -> Option<&LinkKey> {
        self.all.iter().find(|(known, _)| *known == number).map(|(_, key)| key)
    }

    fn sealed(&self, label: &[u8], number: u16, mut bytes: Vec<u8>) -> Option<String> {
        let tag = self.key(number)?.mac(label, &bytes)?.finalize().into_bytes();
        bytes.extend(tag);
        Some(BASE64.encode(bytes))
    }

    fn opened(&self, label: &[u8], text: &str, length: usize) -> Option<Vec<u8>> {
        // Longer texts are not looked at.
        if text.len() > 200 {
            return None;
        }
        let mut bytes = BASE64.decode(text).ok()?;
        if bytes.len() != length + TAG || bytes.first() != Some(&VERSION) {
            return None;
        }
        let key = self.key(signed_with(&bytes)?)?;
        let tag = bytes.split_off(length);
        // In constant time.
        key.mac(label, &bytes)?.verify_slice(&tag).ok()?;
        Some(bytes)
    }

    /// The token of a link.
    #[must_use]
    pub fn link(&self, link: &CustomerLink) -> Option<String> {
        self.sealed(LINK, self.signs, written(link, self.signs)?)
    }

    /// Reads a token, and with which key it was signed; `None` if it was not made with one of these keys,
    /// whatever is wrong with it. Whether it has ended, and whether it was taken back, is for the caller to ask.
    #[must_use]
    pub fn read_link(&self, token: &str) -> Option<(CustomerLink, u16)> {
        let bytes = self.opened(LINK, token, PAYLOAD)?;
        Some((read(&bytes)?, signed_with(&bytes)?))
    }

    /// The text of a session; `None` if the key of its link is gone.
    #[must_use]
    pub fn session(&self, session: &CustomerSession) -> Option<String> {
        let mut bytes = written(&session.link, session.key)?;
        bytes.extend(session.until.as_second().to_be_bytes());
        bytes.extend(session.nonce);
        self.sealed(SESSION, session.key, bytes)
    }

    /// Reads a session, as [`Self::read_link`] reads a token.
    #[must_use]
    pub fn read_session(&self, text: &str) -> Option<CustomerSession> {
        let bytes = self.opened(SESSION, text, PAYLOAD + 8 + NONCE)?;
        let (link, rest) = bytes.split_at_checked(PAYLOAD)?;
        let (until, nonce) = rest.split_first_chunk::<8>()?;
        Some(CustomerSession {
            link: read(link)?,
            key: signed_with(link)?,
            until: Timestamp::from_second(i64::from_be_bytes(*until)).ok()?,
            nonce: nonce.try_into().ok()?,
        })
    }

    /// What a form of a session carries, so that no other page, and no page of another session, can send it.
    #[must_use]
    pub fn form(&self, session: &CustomerSession) -> Option<String> {
        let mut bytes = written(&session.link, 0)?;
        bytes.extend(session.nonce);
        let sum = self.key(session.key)?.mac(FORM, &bytes)?.finalize().into_bytes();
        sum.get(..16).map(hex)
    }

    /// By which name the pages of a session ask for their own order, in addresses and in the name of the cookie:
    /// one for each order and action. It opens nothing.
    #[must_use]
    pub fn page(&self, session: &CustomerSession) -> Option<String> {
        let mut bytes = id_bytes(&session.link.order)?.to_vec();
        bytes.push(session.link.action.code());
        let sum = self.key(session.key)?.mac(PAGE, &bytes)?.finalize().into_bytes();
        sum.get(..PAGE_NAME).map(hex)
    }

    /// Whether a form is one of this session.
    #[must_use]
    pub fn is_form(&self, session: &CustomerSession, text: &str) -> bool {
        self.form(session).is_some_and(|form| form.as_bytes().ct_eq(text.as_bytes()).into())
    }
}

fn id_bytes(order: &OrderId) -> Option<[u8; ID]> {
    let id = order.as_str().rsplit('_').next().unwrap_or_default();
    Some(u128::from_str_radix(id, 16).ok()?.to_be_bytes())
}

/// The number of the key, as a payload has it.
fn signed_with(payload: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*payload.get(1)?, *payload.get(2)?]))
}

/// Whether a text may be the name of a page.
#[must_use]
pub fn may_be_page(text: &str) -> bool {
    text.len() == 2 * PAGE_NAME && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

fn written(link: &CustomerLink, number: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PAYLOAD + 8 + NONCE + TAG);
    bytes.push(VERSION);
    bytes.extend(number.to_be_bytes());
    bytes.extend(id_bytes(&link.order)?);
    bytes.push(link.action.code());
    bytes.extend(link.until.as_second().to_be_bytes());
    bytes.extend(link.serial.to_be_bytes());
    Some(bytes)
}

fn read(payload: &[u8]) -> Option<CustomerLink> {
    let rest = payload.get(3..)?;
    let (id, rest) = rest.split_first_chunk::<ID>()?;
    let (action, rest) = rest.split_first()?;
    let (until, serial) = rest.split_first_chunk::<8>()?;
    Some(CustomerLink {
        order: OrderId::parse(&format!("{}_{}", OrderId::PREFIX, hex(id))).ok()?,
        action: LinkAction::from_code(*action)?,
        until: Timestamp::from_second(i64::from_be_bytes(*until)).ok()?,
        serial: u32::from_be_bytes(serial.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &[(i64, &str)]) -> CustomerKeys {
        let texts: Vec<_> = list.iter().map(|(number, byte)| (*number, byte.repeat(32))).collect();
        CustomerKeys::parse(texts.iter().map(|(number, text)| (*number, text.as_str()))).expect("keys")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn link() -> CustomerLink {
        CustomerLink {
            order: OrderId::parse("ord_0190a1b2c3d4e5f60718293a4b5c6d7e").expect("an id"),
            action: LinkAction::Stop,
            until: at("2026-11-23T22:00:00Z"),
            serial: 3,
        }
    }

    fn session() -> CustomerSession {
        CustomerSession::begin((link(), 1), [9; NONCE], at("2026-11-22T08:00:00Z"))
    }

    /// Tokens of another program must agree with these to the letter: whoever changes them takes back all links.
    #[test]
    fn the_vectors_hold() {
        let keys = keys(&[(1, "a7")]);
        // HMAC-SHA-256, key 32 bytes a7, over "stoppress customer link 1\0" and
        // 01 0001 0190a1b2c3d4e5f60718293a4b5c6d7e 02 000000006b04b760 00000003.
        assert_eq!(keys.link(&link()).as_deref(), Some(VECTOR_LINK));
        assert_eq!(keys.session(&session()).as_deref(), Some(VECTOR_SESSION));
        assert_eq!(keys.form(&session()).as_deref(), Some(VECTOR_FORM));
    }

    const VECTOR_LINK: &str =
        "AQABAZChssPU5fYHGCk6S1xtfgIAAAAAawS3YAAAAANVr4IvXdoIU4srQ_SA3okV_Aul5uPv1bTpGYG16FYo5g";
    const VECTOR_SESSION: &str = "AQABAZChssPU5fYHGCk6S1xtfgIAAAAAawS3YAAAAAMAAAAAawKkhAkJCQkJCQkJCQkJCQkJCQlMaQ2CgLY8wRU0iOtjKL2WULsUP3K0jOmkShHp8GaMeA";
    const VECTOR_PAGE: &str = "096b2eac88b9b7d9";
    const VECTOR_FORM: &str = "4bd7c66ae67685329286b2f46a981b7d";

    #[test]
    fn a_token_says_what_was_signed_and_nothing_else_does() {
        let keys = keys(&[(1, "a7")]);
        let (token, cookie) =
            (keys.link(&link()).expect("a token"), keys.session(&session()).expect("a cookie"));
        for text in [&token, &cookie] {
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
        }
        assert_eq!(keys.read_link(&token), Some((link(), 1)));
        assert_eq!(keys.read_session(&cookie), Some(session()));
        assert_eq!(
            (keys.read_link(&cookie), keys.read_session(&token)),
            (None, None),
            "one is not the other"
        );
        for (text, session) in [(token, false), (cookie, true)] {
            let reads = |text: &str| {
                if session { keys.read_session(text).is_some() } else { keys.read_link(text).is_some() }
            };
            let bytes = BASE64.decode(&text).expect("base64");
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut other = bytes.clone();
                    other[at] ^= 1 << bit;
                    assert!(!reads(&BASE64.encode(other)), "byte {at}, bit {bit}");
                }
                assert!(!reads(&BASE64.encode(&bytes[..at])), "{at} bytes");
            }
            assert!(!reads(&format!("{text}A")) && !reads("") && !reads(&"A".repeat(1000)));
        }
    }

    /// A link that only shows an order never opens the stop, and an action that nobody knows opens nothing.
    #[test]
    fn a_link_allows_what_it_was_made_for() {
        let keys = keys(&[(1, "a7")]);
        for action in [LinkAction::See, LinkAction::Stop] {
            let link = CustomerLink { action, ..link() };
            let token = keys.link(&link).expect("a token");
            assert_eq!(keys.read_link(&token), Some((link, 1)));
        }
        for code in [0, 3, 255] {
            let mut payload = written(&link(), 1).expect("a payload");
            payload[3 + ID] = code;
            let token = keys.sealed(LINK, 1, payload).expect("a token");
            assert_eq!(keys.read_link(&token), None, "action {code}");
        }
    }

    #[test]
    fn the_highest_number_signs_and_a_key_that_is_gone_opens_nothing() {
        let (old, both, new) = (keys(&[(1, "a7")]), keys(&[(2, "b8"), (1, "a7")]), keys(&[(2, "b8")]));
        let (first, second) = (old.link(&link()).expect("a token"), both.link(&link()).expect("a token"));
        assert_ne!(first, second);
        assert_eq!((both.read_link(&first), both.read_link(&second)), (Some((link(), 1)), Some((link(), 2))));
        // A session ends with the key of the link that it was opened by, also if a newer key signs since.
        let begun =
            CustomerSession::begin(both.read_link(&first).expect("a link"), [9; NONCE], session().until);
        let cookie = both.session(&begun).expect("a cookie");
        assert_eq!(
            (old.read_session(&cookie), both.read_session(&cookie)),
            (Some(begun.clone()), Some(begun.clone()))
        );
        assert_eq!((new.read_session(&cookie), new.session(&begun), new.form(&begun)), (None, None, None));
        assert_eq!((new.read_link(&first), old.read_link(&second)), (None, None));
        assert_eq!(keys(&[(1, "b8")]).read_link(&first), None, "another key under the same number");
        assert_eq!(format!("{both:?}"), "[1, 2]", "no key is shown");
        for bad in
            [vec![], vec![(0, "a7".repeat(32))], vec![(65_536, "a7".repeat(32))], vec![(1, "a7".into())]]
        {
            assert!(
                CustomerKeys::parse(bad.iter().map(|(n, text)| (*n, text.as_str()))).is_none(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_form_belongs_to_one_session() {
        let keys = keys(&[(1, "a7")]);
        let form = keys.form(&session()).expect("a form");
        assert!(keys.is_form(&session(), &form));
        assert!(keys.is_form(&session().renewed(at("2026-11-22T08:10:00Z")), &form), "renewed: the same");
        let other = |change: fn(&mut CustomerSession)| {
            let mut session = session();
            change(&mut session);
            session
        };
        let others = [
            other(|s| s.nonce[0] ^= 1),
            other(|s| s.link.serial += 1),
            other(|s| s.link.action = LinkAction::See),
            other(|s| s.link.order = OrderId::parse(&format!("ord_{}", "0".repeat(32))).expect("an id")),
        ];
        for session in others {
            assert!(!keys.is_form(&session, &form), "{session:?}");
        }
        assert!(!keys.is_form(&session(), "") && !keys.is_form(&session(), &form[1..]));
    }

    #[test]
    fn a_page_has_a_name_for_its_order_and_action() {
        let keys = keys(&[(1, "a7")]);
        let page = keys.page(&session()).expect("a name");
        assert!(may_be_page(&page) && page == VECTOR_PAGE, "{page}");
        let mut other = session();
        (other.nonce, other.link.serial, other.link.until) = ([1; NONCE], 4, other.until);
        assert_eq!(keys.page(&other).as_ref(), Some(&page), "opened again, by a newer link: the same page");
        other.link.action = LinkAction::See;
        assert_ne!(keys.page(&other).as_ref(), Some(&page));
        let mut other = session();
        other.link.order = OrderId::parse(&format!("ord_{}", "0".repeat(32))).expect("an id");
        assert_ne!(keys.page(&other).as_ref(), Some(&page));
        for bad in ["", &page[1..], &page.to_uppercase(), &format!("{page}0"), "0123456789abcde;"] {
            assert!(!may_be_page(bad), "{bad:?}");
        }
    }

    #[test]
    fn links_and_sessions_end() {
        let now = at("2026-11-22T08:00:00.5Z");
        let cases = [
            (Some("2026-11-22T22:00:00Z"), "2026-11-23T22:00:00Z"),
            // The cutoff has passed: a lab may still be asked.
            (Some("2026-11-20T22:00:00Z"), "2026-11-23T08:00:00Z"),
            (Some("2027-03-01T22:00:00Z"), "2026-12-22T08:00:00Z"),
            (None, "2026-12-22T08:00:00Z"),
        ];
        for (cutoff, until) in cases {
            assert_eq!(link_until(cutoff.map(at), now), at(until), "{cutoff:?}");
        }
        assert_eq!(session().until, at("2026-11-22T08:15:00Z"));
        let late = session().renewed(at("2026-11-23T21:50:00Z"));
        assert_eq!(late.until, link().until, "never longer than the link");
    }
}
