//! The keys of customers' links as they are now: read again every second, because they can be rotated.
//!
//! A new key verifies at once, and signs a few seconds later: by then every gateway on the database has read it, and
//! no link is opened at one that does not know its key yet.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;

use super::Api;
use super::fresh::Fresh;
use crate::domain::batch::later;
use crate::domain::customer_link::CustomerKeys;
use crate::store::{self, Store};

/// How long a new key only verifies.
pub(super) const SIGNS_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// The keys, and which one signs from when on.
#[derive(Debug)]
pub(super) struct Ring(Fresh<Held>);

#[derive(Debug, Clone)]
struct Held {
    keys: Arc<CustomerKeys>,
    /// From when on the newest one signs, if it does not yet.
    next: Option<Timestamp>,
}

impl Ring {
    pub(super) fn new(keys: CustomerKeys) -> Self {
        Self(Fresh::new(Held { keys: Arc::new(keys), next: None }))
    }

    fn keys(&self) -> Arc<CustomerKeys> {
        Arc::clone(&self.0.get().keys)
    }

    /// Reads the keys again.
    pub(super) async fn refresh(&self, store: &dyn Store, now: Timestamp) -> store::Result<()> {
        let read = async |held: Arc<Held>| {
            let rows = store.customer_keys().await?;
            let read = CustomerKeys::parse(rows.iter().map(|(number, text)| (*number, text.expose_secret())));
            // Keys that cannot be read are those of the next start, which says so.
            Ok(read.map_or_else(|| Held::clone(&held), |read| held.with(read, now)))
        };
        self.0.renew(read).await.map(drop)
    }
}

impl Held {
    /// The same with what was read now.
    fn with(&self, read: CustomerKeys, now: Timestamp) -> Self {
        let news = read.newest() > self.keys.newest();
        let next = if news { Some(later(now, SIGNS_AFTER)) } else { self.next };
        let next = next.filter(|at| now < *at);
        // Where the one that signed is gone, the newest signs at once: there is no other way.
        let keys = if next.is_some() { read.signing(self.keys.signs()) } else { read };
        Self { keys: Arc::new(keys), next }
    }
}

impl Api {
    /// The keys of customers' links as they are now.
    pub(super) fn customer_keys(&self) -> Arc<CustomerKeys> {
        self.customer_ring.keys()
    }

    /// Reads them again, after they were rotated here.
    pub(super) async fn refresh_customer_keys(&self) -> store::Result<()> {
        self.customer_ring.refresh(&*self.store, self.clock.now()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(numbers: &[i64]) -> CustomerKeys {
        let texts: Vec<_> =
            numbers.iter().map(|number| (*number, format!("{number:02x}").repeat(32))).collect();
        CustomerKeys::parse(texts.iter().map(|(number, text)| (*number, text.as_str()))).unwrap()
    }

    /// What was read at which second, and which key signs then.
    #[test]
    fn a_new_key_signs_when_everybody_knows_it() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut held = Held { keys: Arc::new(read(&[1])), next: None };
        for (second, numbers, signs) in [
            (0, vec![1], 1),
            (1, vec![1, 2], 1),
            (2, vec![1, 2], 1),
            (5, vec![1, 2], 1),
            (6, vec![1, 2], 2),
            (7, vec![1, 2], 2),
            (8, vec![1, 2, 3], 2),
            (9, vec![1, 2, 3, 4], 2),
            (13, vec![1, 2, 3, 4], 2),
            (14, vec![1, 2, 3, 4], 4),
            // The old ones are ended.
            (15, vec![5], 5),
            (30, vec![5], 5),
        ] {
            held = held.with(read(&numbers), at(second));
            assert_eq!(i64::from(held.keys.signs()), signs, "{second}");
        }
    }
}
