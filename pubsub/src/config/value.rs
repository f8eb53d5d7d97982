//! Reads single values, as yaml-cpp does for eCAL: quotes make no difference.

use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ferrocal_proto::HashVersion;

use super::yaml::Node;
use crate::{ConsoleStream, Fragmentation, LogLevels, Mode, SendPath};

fn text(node: &Node) -> Option<&str> {
    match node {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

/// Any type that reads itself from text.
pub(super) fn parse<T: FromStr>(node: &Node) -> Option<T> {
    text(node)?.trim().parse().ok()
}

/// As [`parse`], for what may be absent.
pub(super) fn optional<T: FromStr>(node: &Node) -> Option<Option<T>> {
    parse(node).map(Some)
}

/// yaml-cpp knows these words in three spellings each: `yes`, `Yes`, `YES`.
pub(super) fn bool(node: &Node) -> Option<bool> {
    let text = text(node)?;
    let (first, rest) = text.split_at_checked(1)?;
    let is_lower = |text: &str| text.chars().all(|char| char.is_ascii_lowercase());
    let is_upper = |text: &str| text.chars().all(|char| char.is_ascii_uppercase());
    if !(is_lower(rest) || is_upper(rest) && is_upper(first)) {
        return None;
    }
    match &*text.to_ascii_lowercase() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn mode(node: &Node) -> Option<Mode> {
    match text(node)? {
        "local" => Some(Mode::Local),
        "network" => Some(Mode::Network),
        _ => None,
    }
}

pub(super) fn hash_version(node: &Node) -> Option<HashVersion> {
    match text(node)? {
        "v1" => Some(HashVersion::V1),
        "v2" => Some(HashVersion::V2),
        _ => None,
    }
}

pub(super) fn send_path(node: &Node) -> Option<SendPath> {
    match text(node)? {
        "socket" => Some(SendPath::Socket),
        "raw" => Some(SendPath::Raw),
        _ => None,
    }
}

pub(super) fn fragmentation(node: &Node) -> Option<Fragmentation> {
    match text(node)? {
        "auto" => Some(Fragmentation::Auto),
        "large" => Some(Fragmentation::Large),
        "mtu" => Some(Fragmentation::Mtu),
        _ => None,
    }
}

pub(super) fn port(node: &Node) -> Option<u16> {
    parse(node).filter(|&port| port != 0)
}

/// A buffer of the system, whose length is a C `int` there.
pub(super) fn buffer_len(node: &Node) -> Option<usize> {
    parse::<i32>(node).filter(|&len| len > 0)?.try_into().ok()
}

pub(super) fn at_least_1(node: &Node) -> Option<usize> {
    parse(node).filter(|&count| count > 0)
}

pub(super) fn rate(node: &Node) -> Option<Option<NonZeroU64>> {
    optional(node)
}

pub(super) fn priority(node: &Node) -> Option<Option<u8>> {
    parse(node).filter(|&priority| priority <= 99).map(Some)
}

pub(super) fn milliseconds(node: &Node) -> Option<Duration> {
    parse(node).filter(|&ms| ms > 0).map(Duration::from_millis)
}

pub(super) fn microseconds(node: &Node) -> Option<Duration> {
    parse(node).map(Duration::from_micros)
}

/// eCAL takes an empty name as none.
pub(super) fn domain(node: &Node) -> Option<Option<String>> {
    text(node).map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()))
}

pub(super) fn addresses(node: &Node) -> Option<Vec<Ipv4Addr>> {
    match node {
        Node::List(items) => items.iter().map(parse).collect(),
        _ => None,
    }
}

pub(super) fn log_levels(node: &Node) -> Option<LogLevels> {
    match node {
        Node::List(items) => items.iter().map(|item| LogLevels::from_name(text(item)?)).collect(),
        _ => None,
    }
}

pub(super) fn console_stream(node: &Node) -> Option<ConsoleStream> {
    match text(node)? {
        "stderr" => Some(ConsoleStream::Stderr),
        "stdout" => Some(ConsoleStream::Stdout),
        _ => None,
    }
}

/// A folder; eCAL takes an empty one as none.
pub(super) fn folder(node: &Node) -> Option<Vec<PathBuf>> {
    text(node).map(|path| Some(path).filter(|path| !path.is_empty()).map(PathBuf::from).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_spelt_as_in_yaml_cpp() {
        let is = |text: &str| bool(&Node::Text(text.to_owned()));
        for text in ["true", "True", "TRUE", "yes", "Yes", "on", "ON", "y", "Y"] {
            assert_eq!(is(text), Some(true), "{text}");
        }
        for text in ["false", "no", "No", "off", "OFF", "n"] {
            assert_eq!(is(text), Some(false), "{text}");
        }
        for text in ["", "tRUE", "YEs", "oN", "1", "0", "maybe", "ä"] {
            assert_eq!(is(text), None, "{text}");
        }
    }
}
