//! Compiles `person.proto`, with what eCAL's tools need to decode it.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;
use prost_build::Config;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=person.proto");
    let descriptors = protox::compile(["person.proto"], ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("person.bin"), descriptors.encode_to_vec())?;
    Config::new().enable_type_names().compile_fds(descriptors)?;
    Ok(())
}
