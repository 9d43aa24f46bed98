//! Stoppress: between photo platforms and the labs that print their orders.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod lab;
pub mod store;
pub mod telemetry;
pub mod work;
/// The lab protocol, generated from `proto/stoppress/v1`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; documented in the proto files"
)]
pub mod proto {
    tonic::include_proto!("stoppress.v1");
    /// The descriptors of all protocol files, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stoppress.v1.bin"));
}
