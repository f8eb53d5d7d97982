//! `record`, `play`, `convert` and `rec-info` with the real eCAL as the other side, and what they write read by Python's
//! `mcap`.

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod harness;
#[cfg(target_os = "linux")]
mod playing;
#[cfg(target_os = "linux")]
mod recording;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let tests = [files::tests(), recording::tests(), playing::tests()];
    ferrocal_integration_tests::suite::main(tests.into_iter().flatten().collect())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
