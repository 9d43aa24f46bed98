//! Who calls: API keys, kept as hashes, and the roles that routes declare.
//!
//! A key is `sp_ID_SECRET`: 12 characters to look it up by, and 256 random bits as hex. Only the
//! SHA-256 of the secret is stored: it has too much entropy to be guessed from its hash. Keys are
//! cached, read again after every change made here, and every second, so that a revocation at another
//! replica acts within that second.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::fresh::Fresh;
use super::problem::{Code, Problem};
use super::sessions::Session;
use crate::clock::Random;
use crate::domain::event::{Actor, hex};
use crate::domain::ids::{LabId, PlatformId};
use crate::store::{KeyRow, Scope, Store};

/// Length of the public part of a key.
pub const ID_LENGTH: usize = 12;
const PREFIX: &str = "sp_";

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Those who run the gateway.
    Ops,
    /// A platform, for its own orders.
    Platform,
    /// A lab, for what it was given.
    Lab,
}

impl Role {
    /// The word that is stored and documented.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ops => "ops",
            Self::Platform => "platform",
            Self::Lab => "lab",
        }
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy)]
pub enum Access {
    /// Everybody, without a key.
    Public,
    /// Keys of these roles.
    Roles(&'static [Role]),
    /// People of these roles who have signed in; see [`sessions`](super::sessions).
    Session(&'static [Role]),
}

/// Who was recognised.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What the caller may see.
    pub scope: Scope,
    /// The key's id.
    pub key: Arc<str>,
    /// What the key is for, as whoever made it said.
    pub name: String,
    /// How the changelog names the caller.
    pub actor: Actor,
    /// The owner, over all of its keys: what an Idempotency-Key is unique within.
    pub tenant: String,
}

impl Identity {
    /// The caller's role.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.scope {
            Scope::Ops => Role::Ops,
            Scope::Platform(_) => Role::Platform,
            Scope::Lab(_) => Role::Lab,
        }
    }
}

/// The caller of a request, and when its head arrived. Only the gate makes one, so that a handler
/// that names it cannot be reached around the gate.
#[derive(Debug, Clone)]
pub struct Caller {
    who: Arc<Identity>,
    /// When the head of the request arrived.
    pub at: Timestamp,
    session: Option<Arc<Session>>,
}

impl Caller {
    pub(super) fn new(who: Arc<Identity>, at: Timestamp) -> Self {
        Self { who, at, session: None }
    }

    /// Somebody at a page.
    pub(super) fn signed_in(who: Arc<Identity>, at: Timestamp, session: Session) -> Self {
        Self { who, at, session: Some(Arc::new(session)) }
    }

    /// The session of somebody at a page.
    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }
}

impl std::ops::Deref for Caller {
    type Target = Identity;
    fn deref(&self) -> &Identity {
        &self.who
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

/// To whom a key is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What it may see.
    pub scope: Scope,
    /// What it is for.
    pub name: String,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Makes a key: the row to store, and the text that is shown once.
pub fn mint(grant: Grant, now: Timestamp, random: &dyn Random) -> (KeyRow, SecretString) {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut id = [0; ID_LENGTH];
    random.fill(&mut id);
    let id: String = id.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    let mut secret = [0; 32];
    random.fill(&mut secret);
    let secret = hex(&secret);
    let text = SecretString::from(format!("{PREFIX}{id}_{secret}"));
    let (scope, owner) = match grant.scope {
        Scope::Ops => (Role::Ops, String::new()),
        Scope::Platform(platform) => (Role::Platform, platform.into()),
        Scope::Lab(lab) => (Role::Lab, lab.into()),
    };
    let row = KeyRow {
        id,
        scope: scope.word().to_owned(),
        owner,
        name: grant.name,
        hash: hex(&Sha256::digest(secret.as_bytes())),
        created_at: now,
        expires_at: grant.expires_at,
        revoked_at: None,
        second_factor_at: None,
    };
    (row, text)
}

#[derive(Debug)]
struct Known {
    hash: String,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    second_factor: bool,
    who: Arc<Identity>,
}

impl Known {
    fn ended(&self, now: Timestamp) -> bool {
        self.revoked_at.is_some() || self.expires_at.is_some_and(|at| at <= now)
    }

    fn of(row: KeyRow) -> Option<(String, Self)> {
        let scope = match row.scope.as_str() {
            "ops" => Scope::Ops,
            "platform" => Scope::Platform(PlatformId::parse(&row.owner).ok()?),
            "lab" => Scope::Lab(LabId::parse(&row.owner).ok()?),
            _ => return None,
        };
        let (actor, tenant) = match &scope {
            Scope::Ops => (format!("ops:{}", row.id), "ops".to_owned()),
            Scope::Platform(platform) => (format!("platform:{platform}"), format!("platform:{platform}")),
            Scope::Lab(lab) => (format!("lab:{lab}"), format!("lab:{lab}")),
        };
        let (key, name) = (row.id.as_str().into(), row.name.clone());
        let who = Identity { scope, key, name, actor: Actor(actor), tenant };
        let KeyRow { id, hash, expires_at, revoked_at, second_factor_at, .. } = row;
        let second_factor = second_factor_at.is_some();
        Some((id, Self { hash, expires_at, revoked_at, second_factor, who: Arc::new(who) }))
    }
}

/// The keys, cached.
#[derive(Debug)]
pub struct Keys {
    store: Arc<dyn Store>,
    known: Fresh<HashMap<String, Known>>,
}

impl Keys {
    /// Reads the keys for the first time.
    pub async fn load(store: Arc<dyn Store>) -> crate::store::Result<Self> {
        let keys = Self { store, known: Fresh::default() };
        keys.refresh().await?;
        Ok(keys)
    }

    /// Reads the keys again.
    pub async fn refresh(&self) -> crate::store::Result<()> {
        let read = async |_| Ok(self.store.keys().await?.into_iter().filter_map(Known::of).collect());
        self.known.renew(read).await.map(drop)
    }

    /// Recognises a caller by its `Authorization` header.
    pub fn recognise(&self, headers: &HeaderMap, now: Timestamp) -> Result<Arc<Identity>, Problem> {
        let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.of_bearer(text, now)
    }

    /// Recognises a caller by the text of its `authorization`.
    pub fn of_bearer(&self, text: Option<&str>, now: Timestamp) -> Result<Arc<Identity>, Problem> {
        let text = text.and_then(|text| {
            let (scheme, text) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(text.trim())
        });
        self.of(text.ok_or_else(unauthenticated)?, now)
    }

    /// Whether the key of a caller who was recognised before still holds.
    #[must_use]
    pub fn holds(&self, key: &str, now: Timestamp) -> bool {
        self.owner(key, now).is_some()
    }

    /// Whether a key has a second factor in force.
    #[must_use]
    pub fn second_factor(&self, key: &str) -> bool {
        self.known.get().get(key).is_some_and(|key| key.second_factor)
    }

    /// Whose key it is, if it holds.
    #[must_use]
    pub fn owner(&self, key: &str, now: Timestamp) -> Option<Arc<Identity>> {
        self.known.get().get(key).filter(|key| !key.ended(now)).map(|key| Arc::clone(&key.who))
    }

    /// Recognises a caller by the text of its key.
    pub fn of(&self, text: &str, now: Timestamp) -> Result<Arc<Identity>, Problem> {
        find(&self.known.get(), text, now).ok_or_else(unauthenticated)
    }
}

fn find(known: &HashMap<String, Known>, text: &str, now: Timestamp) -> Option<Arc<Identity>> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let hash = hex(&Sha256::digest(secret.as_bytes()));
    let key = known.get(id)?;
    let same: bool = hash.as_bytes().ct_eq(key.hash.as_bytes()).into();
    (same && !key.ended(now)).then(|| Arc::clone(&key.who))
}

/// One text for every way in which a key can be wrong.
pub(super) fn unauthenticated() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "The request carries no key, or one that is unknown, expired or revoked.",
    )
    .header(header::WWW_AUTHENTICATE, "Bearer realm=\"stoppress\"")
}

/// Refuses a caller whose role the route does not name.
pub(super) fn permit(who: &Identity, roles: &[Role]) -> Result<(), Problem> {
    if roles.contains(&who.role()) {
        return Ok(());
    }
    let roles: Vec<&str> = roles.iter().map(|role| role.word()).collect();
    let text =
        format!("The key is of scope {}; this needs one of {}.", who.role().word(), roles.join(" or "));
    Err(Problem::new(Code::Forbidden, text))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::clock::SeededRandom;

    #[test]
    fn a_key_is_recognised_until_it_ends() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let scope = Scope::Platform(PlatformId::parse("shop").unwrap());
        let grant = Grant { scope: scope.clone(), name: "till".into(), expires_at: Some(at(100)) };
        let (row, text) = mint(grant, at(0), &SeededRandom::new(7));
        let text = text.expose_secret();
        assert_eq!((row.id.len(), text.len()), (ID_LENGTH, 3 + ID_LENGTH + 1 + 64));
        assert!(!text.contains(&row.hash));
        let live = HashMap::from([Known::of(row.clone()).unwrap()]);
        let who = find(&live, text, at(99)).unwrap();
        assert_eq!((&who.scope, who.tenant.as_str()), (&scope, "platform:shop"));
        assert!(find(&live, text, at(100)).is_none());
        for wrong in ["", "sp_", "sp_a_b", &text[..text.len() - 1], &text.replace(&row.id, "aaaaaaaaaaaa")] {
            assert!(find(&live, wrong, at(1)).is_none(), "{wrong}");
        }
        let revoked = HashMap::from([Known::of(KeyRow { revoked_at: Some(at(50)), ..row }).unwrap()]);
        assert!(find(&revoked, text, at(60)).is_none());
    }

    #[test]
    fn roles_are_named_in_the_refusal() {
        let who = Identity {
            scope: Scope::Ops,
            key: "k".into(),
            name: String::new(),
            actor: Actor::gateway(),
            tenant: "ops".into(),
        };
        assert!(permit(&who, &[Role::Lab, Role::Ops]).is_ok());
        let refused = permit(&who, &[Role::Lab]).unwrap_err();
        assert!(refused.document().detail.contains("needs one of lab"));
        assert!(permit(&who, &[]).is_err(), "no role: nobody");
    }
}
