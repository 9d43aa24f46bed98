//! The store: what every verb promises, on both engines.

mod addresses;
mod addresses_ends;
mod admit;
mod approvals;
mod asking;
mod away;
mod board;
mod change;
mod claim;
mod close;
mod contradictions;
mod crossing;
mod customer;
mod downloads;
mod downloads_beside;
mod edges;
mod edges_work;
mod evidence;
mod factors;
mod forward;
mod holds;
mod imports;
mod line_approvals;
mod lines;
mod lines_policy;
mod log;
mod mail;
mod mistakes;
mod model;
mod ops;
mod races;
mod random;
mod random_trade;
mod reads;
mod registry;
mod replacements;
mod replacements_join;
mod replicas;
mod reports;
mod retention;
mod routes;
mod schema;
mod sessions;
mod settle;
mod stop;
mod trade_model;
mod unknown;
mod warnings;
mod webhooks;

/// Runs tests on both engines: `name` becomes `name::sqlite` and `name::postgres`.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name($crate::common::world::World::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name($crate::common::world::World::postgres().await).await;
            }
        }
    )*};
}
use on_both;
