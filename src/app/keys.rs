//! The keys that the first start makes: one for ops, and the one of links.

use secrecy::{ExposeSecret as _, SecretString};

use super::Ambient;
use crate::api::auth::{self, Grant};
use crate::api::sessions;
use crate::domain::event::{Actor, hex};
use crate::domain::link::{KEY_BYTES, LinkKey};
use crate::store::{self, Scope, Store, Write, one};

/// Makes the first ops key, if there is no key at all.
pub(super) async fn first_key(store: &dyn Store, ambient: &Ambient) -> store::Result<Option<FirstKey>> {
    if !store.keys().await?.is_empty() {
        return Ok(None);
    }
    let now = ambient.clock.now();
    let grant = Grant { scope: Scope::Ops, name: "first start".to_owned(), expires_at: None };
    let (row, secret) = auth::mint(grant, now, &*ambient.random);
    let key = row.id.clone();
    let (link, offer) = sessions::link(&*ambient.random, &key, Actor::gateway(), now);
    // Both or none: a key that nobody was shown would keep the next start from making one.
    store
        .apply(vec![Write::PutKey(Box::new(row), Actor::gateway()), Write::OfferSignIn(Box::new(offer))])
        .await?;
    Ok(Some(FirstKey { secret, link }))
}

/// What the first start makes for ops. Each is shown once.
#[derive(Debug)]
pub struct FirstKey {
    /// The key.
    pub secret: SecretString,
    /// What a link carries that signs in at the pages, once.
    pub link: SecretString,
}

/// The key of the links in mails: made at the first start, the same for all gateways on the database.
pub(super) async fn link_key(store: &dyn Store, ambient: &Ambient) -> store::Result<LinkKey> {
    if store.link_key().await?.is_none() {
        let mut bytes = [0; KEY_BYTES];
        ambient.random.fill(&mut bytes);
        let secret = SecretString::from(hex(&bytes));
        one(store, Write::PutLinkKey { secret, at: ambient.clock.now() }).await?;
    }
    // Another gateway may have been first: what is stored counts.
    let stored = store.link_key().await?;
    stored.and_then(|text| LinkKey::parse(text.expose_secret())).ok_or_else(|| store::Error::Corrupt {
        table: "link_keys",
        what: "the key is not 32 bytes in hex; delete the row, and the next start makes another".to_owned(),
    })
}
