//! Signed links: the keys that sign those in mails and those of customers, and how often the links of an order
//! were taken back.

use crate::store::dialect::statements;

statements! {
    /// Statements about signed links.
    Links:
    /// The key of links; the first one stays.
    link_key_insert = "insert into link_keys (id, secret, created_at) values (1, $1, $2) on conflict do nothing";
    /// The key of links.
    link_key = "select k.secret from link_keys k where k.id = 1";
    /// The first key of customers' links; the first one stays.
    customer_key_insert = "insert into customer_keys (id, secret, created_at) values (1, $1, $2) on conflict do nothing";
    /// The keys of customers' links, locked: they are rotated one after the other.
    customer_keys_lock = "select k.id from customer_keys k order by k.id {lock k}";
    /// One more.
    customer_key_add = "insert into customer_keys (id, secret, created_at) values ($1, $2, $3)";
    /// Those before one are gone, and all links under them with them.
    customer_keys_end = "delete from customer_keys where id < $1";
    /// The keys of customers' links.
    customer_keys = "select k.id, k.secret from customer_keys k order by k.id";
    /// How often an order's links were taken back.
    link_serial = "select n.serial from link_serials n where n.order_id = $1";
    /// Takes them back once more.
    link_serial_raise = "insert into link_serials (order_id, serial) values ($1, 1)
        on conflict (order_id) do update set serial = link_serials.serial + 1";
}
