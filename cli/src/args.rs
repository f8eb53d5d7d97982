//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use ferrocal::{InterfaceSelector, Selection};

use crate::verbs::Verb;

const FIRST_STEPS: &str = "\
First steps:
  ferrocal list -t        who publishes and subscribes, and with which types
  ferrocal echo TOPIC     the messages of a topic
  ferrocal monitor        all of it, live
  ferrocal doctor         why nothing is seen
  ferrocal help VERB      the options of a verb, and the keys of its JSON

Exit codes: 0 all is well, 1 it failed, 2 the command line is wrong, 3 something was lost or a check failed, 4 nothing was \
found in time, 130 Ctrl-C before there was a result.";

/// Shows, tries and explains an eCAL network.
#[derive(Parser)]
#[command(name = "ferrocal", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub(crate) struct Command {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every verb.
#[derive(Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// How far to look: at this computer, or at the network [default: what ecal.yaml says, else local].
    #[arg(long, global = true, value_enum)]
    pub(crate) mode: Option<ModeOption>,
    /// The interface to use in network mode: its address, its network (10.0.0.0/24) or its name. Local mode uses loopback alone,
    /// and refuses one [default: the system's routes choose].
    #[arg(long, global = true)]
    pub(crate) interface: Option<InterfaceSelector>,
    /// What moves the datagrams: auto, socket, npcap, or a capture file to replay, file:PATH (file-fast:PATH as fast as it
    /// goes) [default: what FERROCAL_TRANSPORT or ecal.yaml say, else auto].
    #[arg(long, global = true)]
    pub(crate) transport: Option<Selection>,
    /// Settings from this file in place of the ecal.yaml of this computer.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Whether to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// End after this time.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<Duration>,
    /// End after this many results.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Log more: -v what happens, -vv for developers.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeOption {
    Local,
    Network,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// The longest time in seconds: it can be added to the time of any clock.
const MAX_SECONDS: f64 = 1e9;
/// The shortest time between two of what is done again and again, in seconds.
const MIN_PERIOD: f64 = 0.001;

/// Reads a time in seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    seconds_from(0.0, text)
}

/// Reads the time between two of what is done again and again, in seconds.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    seconds_from(MIN_PERIOD, text)
}

fn seconds_from(min: f64, text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (min..=MAX_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("not from {min} to {MAX_SECONDS} seconds"))
    }
}

/// Reads a rate in Hz.
pub(crate) fn hertz(text: &str) -> Result<f64, String> {
    let hertz: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let min = MAX_SECONDS.recip();
    if (min..=1e9).contains(&hertz) { Ok(hertz) } else { Err(format!("not from {min} to {}", 1e9)) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Command::command().debug_assert();
    }

    #[test]
    fn times_and_rates_have_limits() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("1e9"), Ok(Duration::from_secs(1_000_000_000)));
        assert_eq!((period("0.001"), hertz("1e-9")), (Ok(Duration::from_millis(1)), Ok(1e-9)));
        for bad in ["-1", "nan", "inf", "1e10", "soon", ""] {
            assert!(seconds(bad).is_err() && period(bad).is_err() && hertz(bad).is_err(), "{bad}");
        }
        assert_eq!(period("0"), Err("not from 0.001 to 1000000000 seconds".into()));
        assert_eq!(hertz("0"), Err("not from 0.000000001 to 1000000000".into()));
    }

    #[test]
    fn common_options_may_stand_before_and_behind_the_verb() {
        for arguments in
            ["ferrocal --json --duration 1.5 list --count 3", "ferrocal list --count 3 --json --duration 1.5"]
        {
            let Command { common, .. } = Command::try_parse_from(arguments.split(' ')).unwrap();
            assert!(common.json);
            assert_eq!((common.duration, common.count), (Some(Duration::from_millis(1500)), Some(3)));
        }
    }
}
