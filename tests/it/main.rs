//! One binary with all integration tests.

mod lab_classify;
mod lab_grpc;
mod lab_lane;
mod lab_outbound;
mod lab_sign;
mod lab_simulator;
mod lab_simulator_faults;
mod lab_ssrf;
mod lab_support;
