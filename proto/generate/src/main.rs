//! Generates the Rust code of eCAL's protobuf schema: `ferrocal-proto-generate SCHEMA_FOLDER OUTPUT_FILE`.
//!
//! `./ci.sh generate` runs it, and formats what it wrote. It is Rust throughout, so it needs no `protoc`.

#![forbid(unsafe_code)]

use std::error::Error;
use std::{env, fs};

use prost_build::{Config, Module};

const HEADER: &str = "// Generated from proto/schema by `./ci.sh generate`. Do not edit.\n\n";

fn main() -> Result<(), Box<dyn Error>> {
    let [schema, output] =
        env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: SCHEMA_FOLDER OUTPUT_FILE")?;
    let descriptors = protox::compile(["registration.proto", "log.proto", "sim_time.proto"], [schema])?;
    let requests = descriptors
        .file
        .into_iter()
        .map(|file| (Module::from_protobuf_package_name(file.package()), file))
        .collect();
    let modules = Config::new()
        .bytes([
            ".eCAL.pb.DataTypeInformation.descriptor_information",
            ".eCAL.pb.Topic.tdesc",
            ".eCAL.pb.Method.req_desc",
            ".eCAL.pb.Method.resp_desc",
        ])
        .generate(requests)?;
    let code: Vec<_> = modules.into_values().collect();
    let [code] = &code[..] else { return Err("the schema has one package".into()) };
    fs::write(output, format!("{HEADER}{code}"))?;
    Ok(())
}
