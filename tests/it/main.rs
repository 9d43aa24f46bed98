//! One binary with all integration tests.

#![expect(unreachable_pub, reason = "helpers are shared by the modules of one binary")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod api_document;
mod api_gate;
mod api_labs;
mod api_orders;
mod calendar;
mod calendar_every_zone;
mod calendar_random;
mod certify;
mod cli;
mod common;
mod cutoffs;
mod demo;
mod gateway;
mod ics;
mod lab_classify;
mod lab_grpc;
mod lab_kit;
mod lab_lane;
mod lab_outbound;
mod lab_sign;
mod lab_simulator;
mod lab_simulator_faults;
mod lab_ssrf;
mod lab_support;
mod openapi;
mod process;
mod readme;
mod rig;
mod samples;
mod store;
mod supervise;
mod tidy;
mod zones;
