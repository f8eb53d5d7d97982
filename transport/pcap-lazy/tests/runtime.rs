//! The example `probe` as a program that meets a libpcap, none, and broken ones.
//!
//! `FERROCAL_PCAP_PROBE` names another build of it. With `FERROCAL_REQUIRE_ALL=1` a test that cannot run fails.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let tests = linux::tests();
    #[cfg(not(target_os = "linux"))]
    let tests = Vec::new();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit_code()
}
