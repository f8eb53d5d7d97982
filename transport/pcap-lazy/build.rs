//! Answers the linker, which the crate `pcap` sends to look for libpcap (`-lpcap`, `wpcap.lib`), with libraries that
//! define nothing: the functions are those of this crate.

use std::path::Path;
use std::{env, fs};

#[path = "build/coff.rs"]
mod coff;

/// The beginning of every `ar` archive, and the whole of an empty one.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");

    let variable = |name: &str| env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_OS") == "macos" {
        return; // libpcap is a part of the system
    }
    let folder = variable("OUT_DIR");
    // The search path reaches whoever links, however far from here, with nothing to configure there.
    println!("cargo::rustc-link-search=native={folder}");
    let write = |name: &str, bytes: &[u8]| {
        let path = Path::new(&folder).join(name);
        if let Err(error) = fs::write(&path, bytes) {
            panic!("cannot write {}: {error}", path.display());
        }
    };
    if variable("CARGO_CFG_TARGET_ENV") == "msvc" {
        let architecture = variable("CARGO_CFG_TARGET_ARCH");
        let Some(machine) = coff::machine(&architecture) else {
            panic!("the COFF machine number of {architecture} is not known to {}", file!());
        };
        for name in ["pcap.lib", "wpcap.lib"] {
            write(name, &coff::library(machine));
        }
    } else {
        for name in ["libpcap.a", "libwpcap.a"] {
            write(name, EMPTY_ARCHIVE);
        }
    }
}
