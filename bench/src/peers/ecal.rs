//! The real eCAL: a script, which takes the same options and commands as the processes of this program, and a library in C++.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ferrocal_integration_tests::ecal::Release;
use ferrocal_integration_tests::netns::Host;

/// Names the Python interpreter to use instead of the workspace's own environment.
const PYTHON: &str = "FERROCAL_ECAL_PYTHON";

/// Checks once that it can be measured.
pub(crate) fn available() -> Result<(), String> {
    Release::Current.available()?;
    library().map(drop)
}

pub(crate) fn command(host: Host) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = || folder.with_file_name(".venv").join("bin/python");
    let mut command = host.command(std::env::var_os(PYTHON).map_or_else(own, PathBuf::from));
    // -B leaves no compiled files in the source tree.
    command.arg("-B").arg(folder.join("src/peers/ecal.py"));
    command.arg("--library").arg(library().expect("it was compiled before the first measurement"));
    command
}

/// Compiles the library, beside this program.
fn library() -> Result<&'static Path, String> {
    static COMPILED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    COMPILED.get_or_init(compile).as_deref().map_err(Clone::clone)
}

fn compile() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/peers/ecal.cpp");
    let program = std::env::current_exe().map_err(|error| format!("this program has no path: {error}"))?;
    let library = program.with_file_name("libbench_ecal.so");
    // What it needs of eCAL is found when it is loaded.
    let status = Command::new("c++")
        .args(["-std=c++14", "-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status()
        .map_err(|error| format!("`c++` cannot be run: {error} (a C++ compiler has to be installed)"))?;
    if status.success() { Ok(library) } else { Err(format!("{} cannot be compiled", source.display())) }
}
