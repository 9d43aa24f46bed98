//! What several rooms of the tests share.

pub(crate) mod browser;
pub(crate) mod cable;
pub(crate) mod lab;
pub(crate) mod postgres;
pub(crate) mod world;
