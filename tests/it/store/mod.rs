//! The store: what every verb promises, on both engines.

mod admit;
mod away;
mod board;
mod change;
mod claim;
mod close;
mod contradictions;
mod customer;
mod evidence;
mod forward;
mod imports;
mod log;
mod mail;
mod mistakes;
mod model;
mod races;
mod random;
mod reads;
mod registry;
mod replicas;
mod reports;
mod schema;
mod sessions;
mod settle;
mod stop;
mod unknown;

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
