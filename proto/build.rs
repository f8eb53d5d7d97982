//! Compiles the eCAL protobuf schema; in Rust throughout, so no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=schema");
    let descriptors = protox::compile(["registration.proto", "log.proto"], ["schema"])?;
    prost_build::Config::new()
        .bytes([".eCAL.pb.DataTypeInformation.descriptor_information", ".eCAL.pb.Topic.tdesc"])
        .compile_fds(descriptors)?;
    Ok(())
}
