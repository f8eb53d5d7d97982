//! Who may be heard.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ferrocal_proto::DropReason;
use thiserror::Error;

/// Who may be heard: everybody, unless lists say otherwise. Not in eCAL; `ferrocal.allow`.
///
/// What others send is dropped and counted, as [`SourceNotAllowed`](crate::DropReason::SourceNotAllowed) or
/// [`HostNotAllowed`](crate::DropReason::HostNotAllowed). The lists are for registrations, messages and log lines alike.
///
/// They keep out what should not be there, such as the hosts of another team. They are no protection against an attacker in
/// the same network: eCAL has no authentication, so that a source address and a host name can be forged.
///
/// A node hears programs on its own host, its own publishers included, only if the lists name that host, too. In local mode,
/// their address is 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AllowConfig {
    /// The networks and addresses that datagrams and connections may come from (`networks`). Other datagrams are dropped
    /// before they are decoded, other connections closed before anything is read or sent. A host's name leads to no other
    /// address either. Default: none, which allows all.
    pub networks: Vec<Network>,
    /// The hosts that may be heard, by the names that they register (`host_names`). What others send is dropped as soon as
    /// its host name is known, and nothing is stored of it. Default: none, which allows all.
    pub host_names: Vec<String>,
}

setters!(AllowConfig { networks: Vec<Network>, host_names: Vec<String> });

impl AllowConfig {
    pub(crate) fn allows_source(&self, address: Ipv4Addr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(address))
    }

    /// Whether a connection may come from an address. One of IPv6 is in no network, unless it stands for one of IPv4.
    pub(crate) fn allows_connection(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.allows_source(address),
            IpAddr::V6(address) if address.is_loopback() => self.allows_source(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => self.networks.is_empty(),
        }
    }

    /// Refuses what is of a host that may not be heard. Its name need not be UTF-8 on the wire.
    pub(crate) fn check_host(&self, name: &[u8]) -> Result<(), DropReason> {
        let is_allowed =
            self.host_names.is_empty() || self.host_names.iter().any(|allowed| allowed.as_bytes() == name);
        if is_allowed { Ok(()) } else { Err(DropReason::HostNotAllowed) }
    }
}

/// The addresses that have their first bits in common, such as 10.0.0.0/24, or a single one.
///
/// ```
/// let network: ferrocal::Network = "10.0.0.0/24".parse()?;
/// assert!(network.contains([10, 0, 0, 7].into()) && !network.contains([10, 0, 1, 7].into()));
/// # Ok::<(), ferrocal::ParseNetworkError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: Ipv4Addr,
    prefix_len: u8,
}

impl Network {
    /// The network of `address` whose addresses have their first `prefix_len` bits in common. `None` if these are more
    /// than 32.
    pub const fn new(address: Ipv4Addr, prefix_len: u8) -> Option<Self> {
        if prefix_len > 32 { None } else { Some(Self { address, prefix_len }) }
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let differing = self.address.to_bits() ^ address.to_bits();
        differing.leading_zeros() >= u32::from(self.prefix_len)
    }
}

impl From<Ipv4Addr> for Network {
    fn from(address: Ipv4Addr) -> Self {
        Self { address, prefix_len: 32 }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.prefix_len < 32 { write!(f, "/{}", self.prefix_len) } else { Ok(()) }
    }
}

/// A text names no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is neither an IPv4 address nor a network such as 10.0.0.0/24")]
pub struct ParseNetworkError(String);

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address, prefix_len.parse().ok()),
            None => (text, Some(32)),
        };
        let network = address.parse().ok().zip(prefix_len);
        network
            .and_then(|(address, prefix_len)| Self::new(address, prefix_len))
            .ok_or_else(|| ParseNetworkError(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_as_usual() {
        for text in ["10.0.0.0/24", "0.0.0.0/0", "10.0.0.7", "10.0.0.7/31"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.7/32".parse(), Ok(Network::from(Ipv4Addr::new(10, 0, 0, 7))));
        for text in ["", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "eth0", "10.0.0.0/24/8"]
        {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is neither")), "{error}");
        }
    }

    #[test]
    fn an_empty_list_allows_all() {
        let mut allow = AllowConfig::default();
        let (inside, outside) = (Ipv4Addr::new(10, 1, 255, 255), Ipv4Addr::new(10, 2, 0, 0));
        assert!(allow.allows_source(inside) && allow.allows_source(outside));
        assert!(allow.check_host(b"a").is_ok() && allow.check_host(b"\xff").is_ok());
        allow.networks = vec!["10.1.0.0/16".parse().unwrap(), "10.3.0.1".parse().unwrap()];
        allow.host_names = vec!["a".into()];
        assert!(allow.allows_source(inside) && allow.allows_source(Ipv4Addr::new(10, 3, 0, 1)));
        assert!(!allow.allows_source(outside) && !allow.allows_source(Ipv4Addr::new(10, 3, 0, 2)));
        let connections =
            [("::ffff:10.1.0.1", true), ("::ffff:10.2.0.0", false), ("fe80::1", false), ("::1", false)];
        for (address, is_allowed) in connections {
            assert_eq!(allow.allows_connection(address.parse().unwrap()), is_allowed, "{address}");
        }
        assert_eq!(allow.check_host(b"a"), Ok(()));
        for name in [&b"A"[..], b"", b"a\0", b"ab"] {
            assert_eq!(allow.check_host(name), Err(DropReason::HostNotAllowed));
        }
    }
}
