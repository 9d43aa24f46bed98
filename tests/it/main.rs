//! One binary with all integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod calendar;
mod calendar_every_zone;
mod calendar_random;
mod common;
mod cutoffs;
mod ics;
mod store;
mod zones;
