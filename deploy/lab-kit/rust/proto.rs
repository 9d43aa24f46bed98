//! What `build.rs` makes of the kit's protocol files.
#![expect(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated"
)]

tonic::include_proto!("stoppress.v1");
