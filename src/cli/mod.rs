//! The commands, one file each.

pub mod cutoffs;
pub mod demo;
pub mod serve;
pub mod simulate;
