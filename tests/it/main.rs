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
mod cli;
mod common;
mod cutoffs;
mod demo;
mod gateway;
mod grpc_gate;
mod grpc_gateway;
mod grpc_support;
mod grpc_watch;
mod hours;
mod ics;
mod lab_classify;
mod lab_driver;
mod lab_grpc;
mod lab_lane;
mod lab_outbound;
mod lab_sign;
mod lab_simulator;
mod lab_simulator_faults;
mod lab_ssrf;
mod lab_support;
mod labside_api;
mod labside_gateway;
mod labside_two_phase;
mod link_cuts;
mod link_ends;
mod link_replicas;
mod link_reports;
mod link_support;
mod link_work;
mod person_mail;
mod person_rules;
mod person_smtp;
mod person_tasks;
mod process;
mod proto_style;
mod readme;
mod rig;
mod samples;
mod sink;
mod store;
mod supervise;
mod tidy;
mod zones;
