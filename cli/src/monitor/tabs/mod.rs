//! The tabs: which rows each has, and what is known of one of them.

mod hosts;
mod log;
mod node;
mod processes;
mod services;
pub(crate) mod topics;
mod traffic;

pub(crate) use node::facts;

use ferrocal::Text;

use super::data::Data;
use super::look::{Look, Tone};
use super::sheet::{Column, Key, Row};

/// A tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tab {
    Topics,
    Processes,
    Hosts,
    Services,
    Log,
    Traffic,
    Node,
}

/// What the node of this program says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Whether it needs a look.
    pub(crate) is_bad: bool,
}

/// A line of details: a name and a value.
pub(crate) type Field = (&'static str, String);

impl Tab {
    pub(crate) const ALL: [Self; 7] =
        [Self::Topics, Self::Processes, Self::Hosts, Self::Services, Self::Log, Self::Traffic, Self::Node];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Topics => "Topics",
            Self::Processes => "Processes",
            Self::Hosts => "Hosts",
            Self::Services => "Services",
            Self::Log => "Log",
            Self::Traffic => "Traffic",
            Self::Node => "Node",
        }
    }

    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Self::Topics => topics::COLUMNS,
            Self::Processes => processes::COLUMNS,
            Self::Hosts => hosts::COLUMNS,
            Self::Services => services::COLUMNS,
            Self::Log => log::COLUMNS,
            Self::Traffic => traffic::COLUMNS,
            Self::Node => node::COLUMNS,
        }
    }

    /// The column by which rows are sorted at first.
    pub(crate) fn sort(self) -> Option<usize> {
        match self {
            // The oldest line first.
            Self::Log => None,
            _ => Some(0),
        }
    }

    pub(crate) fn rows(self, data: &Data, look: Look) -> Vec<Row> {
        match self {
            Self::Topics => topics::rows(data, look),
            Self::Processes => processes::rows(data, look),
            Self::Hosts => hosts::rows(data, look),
            Self::Services => services::rows(data, look),
            Self::Log => log::rows(data, look),
            Self::Traffic => traffic::rows(data, look),
            Self::Node => node::rows(data, look),
        }
    }

    /// All that is known of a row. Empty if it is gone.
    pub(crate) fn fields(self, data: &Data, key: &Key) -> Vec<Field> {
        match self {
            Self::Topics => Vec::new(),
            Self::Processes => processes::fields(data, key),
            Self::Hosts => hosts::fields(data, key),
            Self::Services => services::fields(data, key),
            Self::Log => log::fields(data, key),
            Self::Traffic => traffic::fields(data, key),
            Self::Node => node::fields(data, key),
        }
    }

    /// What an empty tab says.
    pub(crate) fn empty(self) -> &'static str {
        match self {
            Self::Topics => "no topic is registered yet; processes register once a second",
            Self::Processes | Self::Hosts | Self::Traffic => {
                "no process is registered yet; processes register once a second"
            }
            Self::Services => "no service is registered yet; processes register once a second",
            Self::Log => "no log line came yet",
            Self::Node => "nothing is known yet",
        }
    }
}

fn text(look: Look, text: &Text) -> String {
    look.text(&text.to_str_lossy()).into_owned()
}

fn lossy(text: &Text) -> String {
    text.to_str_lossy().into_owned()
}

fn tone(is_bad: bool) -> Tone {
    if is_bad { Tone::Bad } else { Tone::Plain }
}
