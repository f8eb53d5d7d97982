//! The command `ferrocal` as a process.

use std::path::PathBuf;
use std::process::Command;

use crate::netns::Host;

/// The path of the built command.
pub fn path() -> PathBuf {
    let mut path = std::env::current_exe().expect("the path of the test is known");
    path.pop(); // the test itself
    path.pop(); // deps
    path.push("ferrocal");
    path
}

/// The command on a host, with arguments that spaces separate. It reads no configuration of the machine's.
pub fn command(host: Host, arguments: &str) -> Command {
    let mut command = host.command(path());
    command
        .args(arguments.split_whitespace())
        .env("HOME", "/nonexistent")
        .env_remove("ECAL_DATA")
        .env_remove("TRANSPORT")
        .env_remove("FERROCAL_TRANSPORT")
        .current_dir("/");
    command
}
