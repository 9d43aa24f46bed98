//! Compiles the protocol files without `protoc`; the same descriptor serves reflection.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=migrations");
    let files = ["stoppress/v1/gateway.proto", "stoppress/v1/lab.proto", "stoppress/v1/link.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("stoppress.v1.bin"), descriptors.encode_to_vec())?;
    // Sorted maps: the same message is always the same bytes, of which a fingerprint can be taken.
    // `connect` of the transport would have the name of LabLink's call.
    tonic_prost_build::configure()
        .btree_map(".stoppress")
        .build_transport(false)
        .codec_path("crate::codec::GrowingCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
