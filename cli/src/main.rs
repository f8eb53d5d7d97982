//! The command `ferrocal`: see, try and explain an eCAL network from the terminal.

#![forbid(unsafe_code)]

mod args;
mod columns;
mod doctor;
mod exit;
mod filter;
mod logger;
mod monitor;
mod network;
mod output;
mod path;
mod payload;
mod proto_text;
mod recording;
mod render;
mod row;
mod samples;
mod session;
mod silence;
mod stop;
mod table;
mod time;
mod traffic;
mod verbs;

use std::process::ExitCode;

use args::Command;
use clap::Parser;
use exit::Exit;
use session::Session;

fn main() -> ExitCode {
    let Command { common, verb } = Command::parse();
    logger::start(&common);
    let result = Session::start(common).and_then(|session| {
        let exit = verb.run(&session)?;
        session.out().flush()?;
        Ok(exit)
    });
    result.unwrap_or_else(|error| Exit::report(&error)).into()
}
