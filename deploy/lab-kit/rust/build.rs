//! Compiles the kit's protocol files, without `protoc`.

type Compiled = Result<(), Box<dyn std::error::Error>>;

fn main() -> Compiled {
    compile("../proto")
}

pub(crate) fn compile(kit: &str) -> Compiled {
    println!("cargo::rerun-if-changed={kit}");
    let files = protox::compile(["stoppress/v1/lab.proto", "stoppress/v1/link.proto"], [kit])?;
    // Without the transport: its `connect` would have the name of LabLink's call.
    Ok(tonic_prost_build::configure().build_transport(false).compile_fds(files)?)
}
