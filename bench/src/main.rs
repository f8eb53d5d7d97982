//! Measures ferrocal, bare sockets and other publish/subscribe systems side by side; README.md tells how.
#![cfg(target_os = "linux")]

mod chart;
mod driver;
mod machine;
mod peers;
mod plan;
mod report;
mod role;
mod search;
mod session;
mod sys;
mod tally;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures ferrocal, bare sockets and other systems side by side")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and prints a table.
    Run(driver::Options),
    /// Lists the names of all measurements.
    List(driver::Options),
    /// One side of a measurement; `run` starts these.
    #[command(hide = true)]
    Role(role::Setup),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(options) => driver::run(&options),
        Command::List(options) => {
            driver::list(&options);
            Ok(())
        }
        Command::Role(setup) => role::run(&setup),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
