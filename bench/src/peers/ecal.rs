//! The real eCAL: a script, which takes the same options and commands as the processes of this program.

use std::path::{Path, PathBuf};
use std::process::Command;

use ferrocal_integration_tests::netns::Host;

/// Names the Python interpreter to use instead of the workspace's own environment.
const PYTHON: &str = "FERROCAL_ECAL_PYTHON";

pub(crate) fn command(host: Host) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = || folder.with_file_name(".venv").join("bin/python");
    let mut command = host.command(std::env::var_os(PYTHON).map_or_else(own, PathBuf::from));
    // -B leaves no compiled files in the source tree.
    command.arg("-B").arg(folder.join("src/peers/ecal.py"));
    command
}
