//! A store with a lab in it and a throwaway PostgreSQL, as the integration tests have them.

#[path = "../it/common/lab.rs"]
mod lab;
#[path = "../it/common/postgres.rs"]
pub(crate) mod postgres;
#[path = "../it/common/world.rs"]
pub(crate) mod world;
