//! Compiles the protocol files without `protoc`; the same descriptor serves reflection. Those of the lab kit are
//! compiled once more, as a lab does it, for the kit's example.

use std::path::PathBuf;

use prost::Message as _;

#[expect(dead_code, reason = "the kit's own main")]
#[path = "deploy/lab-kit/rust/build.rs"]
mod kit;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=migrations");
    kit::compile("deploy/lab-kit/proto")?;
    let files = ["stoppress/v1/gateway.proto", "stoppress/v1/lab.proto", "stoppress/v1/link.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("own");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("stoppress.v1.bin"), descriptors.encode_to_vec())?;
    // Sorted maps: the same message is always the same bytes, of which a fingerprint can be taken.
    // `connect` of the transport would have the name of LabLink's call.
    tonic_prost_build::configure()
        .out_dir(out)
        .btree_map(".stoppress")
        .build_transport(false)
        .codec_path("crate::codec::GrowingCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
