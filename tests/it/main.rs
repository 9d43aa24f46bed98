//! One binary with all integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod api_document;
mod api_gate;
mod api_labs;
mod api_orders;
mod calendar;
mod calendar_every_zone;
mod calendar_random;
mod cutoffs;
mod ics;
mod zones;
