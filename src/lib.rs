//! Stoppress: between photo platforms and the labs that print their orders.

pub mod cli;
pub mod clock;
pub mod domain;
