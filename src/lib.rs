//! Stoppress: between photo platforms and the labs that print their orders.

pub mod clock;
pub mod domain;
