//! What customers' links are made with: the keys of the database, and the address that customers reach.

use std::net::SocketAddr;

use secrecy::{ExposeSecret as _, SecretString};

use super::Ambient;
use crate::api::Customers;
use crate::config::Config;
use crate::domain::customer_link::CustomerKeys;
use crate::domain::event::hex;
use crate::domain::link::KEY_BYTES;
use crate::store::{self, Store, Write, one};

/// The keys, made at the first start and the same for all gateways on the database, and the address.
pub(super) async fn customers(
    store: &dyn Store,
    ambient: &Ambient,
    config: &Config,
    addr: SocketAddr,
) -> store::Result<Customers> {
    if store.customer_keys().await?.is_empty() {
        let mut bytes = [0; KEY_BYTES];
        ambient.random.fill(&mut bytes);
        let secret = SecretString::from(hex(&bytes));
        one(store, Write::PutCustomerKey { secret, at: ambient.clock.now() }).await?;
    }
    // Another gateway may have been first: what is stored counts.
    let stored = store.customer_keys().await?;
    let keys = CustomerKeys::parse(stored.iter().map(|(number, text)| (*number, text.expose_secret())));
    let keys = keys.ok_or_else(|| store::Error::Corrupt {
        table: "customer_keys",
        what: "a key is not 32 bytes in hex; delete the row, and what was signed with it is taken back"
            .to_owned(),
    })?;
    let told = config.serve.public_url.as_ref().or(config.mail.public_url.as_ref());
    // On a host by itself its own address will do; elsewhere nobody could tell what the world calls it.
    let own = || addr.ip().is_loopback().then(|| format!("http://{addr}"));
    let base = told.cloned().or_else(own).map(|text| text.trim_end_matches('/').to_owned());
    Ok(Customers { keys, base })
}
