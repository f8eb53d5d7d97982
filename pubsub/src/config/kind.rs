//! Kinds of values: how each is written, and which are allowed.
//!
//! Values are read as yaml-cpp reads them for eCAL: quotes make no difference.

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use ferrocal_proto::{
    HEADER_LEN, HashVersion, LayerKind, MAX_DATAGRAM_LEN, MAX_MEMORY_FILES, MAX_NAME_LEN, is_memory_file_name,
};

use super::yaml::Node;
use crate::{
    ConsoleStream, Fragmentation, InterfaceSelector, LocalRegistration, LogLevels, Mode, Network, Selection,
    SendPath,
};

/// A kind of values.
pub(super) struct Kind<T: 'static> {
    /// What is allowed, in words.
    pub(super) expected: &'static str,
    pub(super) read: fn(&Node) -> Option<T>,
    /// Whether a value that can be read is allowed. The program may set any.
    pub(super) is_allowed: fn(&T) -> bool,
    pub(super) show: fn(&T) -> String,
}

pub(super) const TRANSPORT: Kind<Selection> = Kind {
    expected: "one of auto, socket, npcap, file:PATH, file-fast:PATH",
    read: |node| text(node)?.parse().ok(),
    is_allowed: |_| true,
    show: Selection::to_string,
};

/// For a backend that the program was built without.
pub(super) const BUILT_TRANSPORT: &str =
    "a backend of this program; it was built without the cargo feature `raw` or `replay`";

/// Words for values, which are the names of the variants in small letters.
macro_rules! words {
    ($($name:ident: $type:ident, $expected:literal, [$($variant:ident),+];)+) => {
        $(pub(super) const $name: Kind<$type> = Kind {
            expected: $expected,
            read: |node| {
                let text = text(node)?;
                [$($type::$variant),+].into_iter().find(|value| word(value) == text)
            },
            is_allowed: |_| true,
            show: word,
        };)+
    };
}

words! {
    MODE: Mode, "local or network", [Local, Network];
    HASH_VERSION: HashVersion, "v1 or v2", [V1, V2];
    SEND_PATH: SendPath, "socket or raw", [Socket, Raw];
    FRAGMENTATION: Fragmentation, "auto, large or mtu", [Auto, Large, Mtu];
    LOCAL_REGISTRATION: LocalRegistration, "udp or shm", [Udp, Shm];
    CONSOLE_STREAM: ConsoleStream, "stderr or stdout", [Stderr, Stdout];
}

pub(super) const BOOL: Kind<bool> =
    Kind { expected: "true or false", read: bool, is_allowed: |_| true, show: bool::to_string };

pub(super) const PORT: Kind<u16> = Kind {
    expected: "a port from 1 to 65535",
    read: whole,
    is_allowed: |&port| port != 0,
    show: u16::to_string,
};

pub(super) const TTL: Kind<u8> =
    Kind { expected: "a time to live from 0 to 255", read: whole, is_allowed: |_| true, show: u8::to_string };

/// A buffer of the system, whose length is a C `int` there.
pub(super) const BUFFER: Kind<usize> = Kind {
    expected: "a size in bytes from 1 to 2147483647",
    read: whole,
    is_allowed: |len| (1..=i32::MAX as usize).contains(len),
    show: usize::to_string,
};

pub(super) const DATAGRAM: Kind<usize> = Kind {
    expected: "a length in bytes from 25 to 65507",
    read: whole,
    is_allowed: |len| (HEADER_LEN + 1..=MAX_DATAGRAM_LEN).contains(len),
    show: usize::to_string,
};

/// The header of a message has 32 bits for its length (wire-format.md, section 2).
pub(super) const MESSAGE: Kind<usize> = Kind {
    expected: "a length in bytes from 1 to 4294967295",
    read: whole,
    is_allowed: |&len| len > 0 && u32::try_from(len).is_ok(),
    show: usize::to_string,
};

pub(super) const BYTES: Kind<usize> =
    Kind { expected: "a number of bytes", read: whole, is_allowed: |_| true, show: usize::to_string };

pub(super) const AT_LEAST_1: Kind<usize> =
    Kind { expected: "1 or more", read: whole, is_allowed: |&count| count > 0, show: usize::to_string };

pub(super) const RATE: Kind<Option<NonZeroU64>> = Kind {
    expected: "a number of bytes in a second, 1 or more",
    read: |node| whole(node).and_then(NonZeroU64::new).map(Some),
    is_allowed: |_| true,
    show: show_option,
};

pub(super) const CPU: Kind<Option<usize>> = Kind {
    expected: "the number of a processor",
    read: |node| whole(node).map(Some),
    is_allowed: |_| true,
    show: show_option,
};

pub(super) const PRIORITY: Kind<Option<u8>> = Kind {
    expected: "a priority from 0 to 99",
    read: |node| whole(node).map(Some),
    is_allowed: |priority| priority.is_none_or(|priority| priority <= 99),
    show: show_option,
};

/// A number of 32 bits, as in eCAL. So several of them can be added to the present.
const MAX_MILLISECONDS: u128 = u32::MAX as u128;

pub(super) const MILLISECONDS: Kind<Duration> = Kind {
    expected: "a time in whole milliseconds from 1 to 4294967295",
    read: |node| whole(node).map(Duration::from_millis),
    is_allowed: |time| (1..=MAX_MILLISECONDS).contains(&time.as_millis()),
    show: |time| (time.as_secs_f64() * 1e3).to_string(),
};

/// Where 0 means not at all.
pub(super) const MILLISECONDS_OR_0: Kind<Duration> = Kind {
    expected: "a time in whole milliseconds from 0 to 4294967295",
    read: |node| whole(node).map(Duration::from_millis),
    is_allowed: |time| time.as_millis() <= MAX_MILLISECONDS,
    show: |time| (time.as_secs_f64() * 1e3).to_string(),
};

/// A single name, as eCAL has it for files in shared memory.
pub(super) const FILE_NAME: Kind<String> = Kind {
    expected: "a name of letters, digits, `_`, `-` and `.`, 200 at most",
    read: |node| text(node).map(str::to_owned),
    is_allowed: |name| is_memory_file_name(name.as_bytes()),
    show: String::clone,
};

/// As many as one registration may name.
pub(super) const BUFFERS: Kind<usize> = Kind {
    expected: "a number of memory files from 1 to 64",
    read: whole,
    is_allowed: |count| (1..=MAX_MEMORY_FILES).contains(count),
    show: usize::to_string,
};

pub(super) const PERCENT: Kind<usize> =
    Kind { expected: "a whole number of percent", read: whole, is_allowed: |_| true, show: usize::to_string };

pub(super) const MICROSECONDS: Kind<Duration> = Kind {
    expected: "a time in whole microseconds",
    read: |node| whole(node).map(Duration::from_micros),
    is_allowed: |_| true,
    show: |time| (time.as_secs_f64() * 1e6).to_string(),
};

/// eCAL takes an empty name as none.
pub(super) const DOMAIN: Kind<Option<String>> = Kind {
    expected: "a text of 4096 bytes at most",
    read: |node| text(node).map(|name| Some(name.to_owned()).filter(|name| !name.is_empty())),
    is_allowed: |name| name.as_ref().is_none_or(|name| name.len() <= MAX_NAME_LEN),
    show: show_option,
};

pub(super) const MASK: Kind<Option<Ipv4Addr>> = Kind {
    expected: "an IPv4 address",
    read: |node| address(node).map(Some),
    is_allowed: |_| true,
    show: |mask| mask.map_or_else(|| "255.255.255.240, with v1 0.0.0.15".into(), |mask| mask.to_string()),
};

pub(super) const MULTICAST: Kind<Ipv4Addr> = Kind {
    expected: "a multicast address (224.0.0.0 to 239.255.255.255)",
    read: address,
    is_allowed: Ipv4Addr::is_multicast,
    show: Ipv4Addr::to_string,
};

pub(super) const LOOPBACK: Kind<Ipv4Addr> = Kind {
    expected: "a loopback address (127.255.255.255 reaches all programs of this host)",
    read: address,
    is_allowed: Ipv4Addr::is_loopback,
    show: Ipv4Addr::to_string,
};

pub(super) const INTERFACES: Kind<Vec<InterfaceSelector>> = Kind {
    expected: "a list of addresses (10.0.0.7), networks (10.0.0.0/24) and names (eth0) of interfaces",
    read: |node| list(node)?.iter().map(|item| text(item)?.parse().ok()).collect(),
    is_allowed: |_| true,
    show: |interfaces| show_list(interfaces),
};

/// Who may be heard.
pub(super) const NETWORKS: Kind<Vec<Network>> = Kind {
    expected: "a list of IPv4 addresses (10.0.0.7) and networks (10.0.0.0/24); an empty one allows all",
    read: |node| list(node)?.iter().map(|item| text(item)?.parse().ok()).collect(),
    is_allowed: |_| true,
    show: |networks| show_list(networks),
};

pub(super) const NAMES: Kind<Vec<String>> = Kind {
    expected: "a list of names of hosts; an empty one allows all",
    read: |node| list(node)?.iter().map(|item| text(item).map(str::to_owned)).collect(),
    is_allowed: |_| true,
    show: |names| show_list(names),
};

pub(super) const LEVELS: Kind<LogLevels> = Kind {
    expected: "a list of info, warning, error, fatal, debug1, debug2, debug3, debug4, all",
    read: |node| list(node)?.iter().map(|item| LogLevels::from_name(text(item)?)).collect(),
    is_allowed: |_| true,
    show: LogLevels::to_string,
};

/// In eCAL's words.
pub(super) const LAYERS: Kind<Vec<LayerKind>> = Kind {
    expected: "a list of shm, udp, tcp",
    read: |node| {
        let layer =
            |item: &Node| text(item).and_then(|word| NAMED_LAYERS.iter().find(|(name, _)| *name == word));
        list(node)?.iter().map(|item| layer(item).map(|&(_, kind)| kind)).collect()
    },
    is_allowed: |layers| layers.iter().all(|layer| NAMED_LAYERS.iter().any(|(_, kind)| kind == layer)),
    show: |layers| {
        let name = |layer: &LayerKind| {
            NAMED_LAYERS.iter().find(|(_, kind)| kind == layer).map_or("?", |&(name, _)| name)
        };
        format!("[{}]", layers.iter().map(name).collect::<Vec<_>>().join(", "))
    },
};

const NAMED_LAYERS: [(&str, LayerKind); 3] =
    [("shm", LayerKind::SharedMemory), ("udp", LayerKind::UdpMulticast), ("tcp", LayerKind::Tcp)];

/// eCAL takes an empty path as none.
pub(super) const FOLDER: Kind<Option<PathBuf>> = Kind {
    expected: "a path",
    read: |node| Some(Some(text(node)?).filter(|path| !path.is_empty()).map(PathBuf::from)),
    is_allowed: |_| true,
    show: |folder| folder.as_ref().map_or_else(|| "\"\"".into(), |folder| folder.display().to_string()),
};

pub(super) fn text(node: &Node) -> Option<&str> {
    match node {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

pub(super) fn list(node: &Node) -> Option<&[Node]> {
    match node {
        Node::List(items) => Some(items),
        _ => None,
    }
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

/// yaml-cpp reads whole numbers as C++ does: `0x10` is 16, and `010` is 8.
pub(super) fn whole<T: TryFrom<u64>>(node: &Node) -> Option<T> {
    let text = text(node)?;
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (text, 8),
        _ => (text, 10),
    };
    let is_digits = digits.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(digits, radix).ok().filter(|_| is_digits)?.try_into().ok()
}

fn address(node: &Node) -> Option<Ipv4Addr> {
    text(node)?.parse().ok()
}

fn word<T: Debug>(value: &T) -> String {
    format!("{value:?}").to_lowercase()
}

fn show_list<T: ToString>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

fn show_option<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".into(), T::to_string)
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

    #[test]
    fn numbers_are_written_as_in_yaml_cpp() {
        let is = |text: &str| whole::<u32>(&Node::Text(text.to_owned()));
        for (text, value) in [("0", 0), ("14002", 14_002), ("+14002", 14_002), ("0x10", 16), ("010", 8)] {
            assert_eq!(is(text), Some(value), "{text}");
        }
        for text in
            ["", "-1", "1.0", "1e3", " 1", "1 ", "14_003", "14003a", "0o17", "08", "0x", "0x+1", "++1"]
        {
            assert_eq!(is(text), None, "{text}");
        }
        assert_eq!(
            (is("4294967295"), is("4294967296"), is("99999999999999999999")),
            (Some(u32::MAX), None, None)
        );
    }
}
