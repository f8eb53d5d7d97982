//! How settings name interfaces.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

/// Names interfaces of this machine. They need not exist yet.
///
/// ```
/// use ferrocal_transport::InterfaceSelector;
///
/// assert_eq!("10.0.0.7".parse(), Ok(InterfaceSelector::Address([10, 0, 0, 7].into())));
/// assert_eq!("eth0".parse(), Ok(InterfaceSelector::Name("eth0".into())));
/// let network = InterfaceSelector::Network { address: [10, 0, 0, 0].into(), prefix_len: 24 };
/// assert_eq!("10.0.0.0/24".parse(), Ok(network));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterfaceSelector {
    /// The interface that has this address. It stays selected if its address changes later.
    Address(Ipv4Addr),
    /// Every interface that has an address in this network.
    Network {
        /// An address in the network.
        address: Ipv4Addr,
        /// How many leading bits all its addresses share, from 0 to 32.
        prefix_len: u8,
    },
    /// The interface of this name, such as `eth0`; on Windows the adapter's name, such as `Ethernet`, or its GUID in
    /// braces. It stays selected if it is renamed later.
    Name(String),
}

impl InterfaceSelector {
    /// Whether an interface of this address is named by it.
    pub(crate) fn matches_address(&self, address: Ipv4Addr) -> bool {
        match *self {
            Self::Address(this) => this == address,
            Self::Network { address: network, prefix_len } => {
                let differing = u32::from(address) ^ u32::from(network);
                differing.leading_zeros() >= u32::from(prefix_len)
            }
            Self::Name(_) => false,
        }
    }
}

impl From<Ipv4Addr> for InterfaceSelector {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for InterfaceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Network { address, prefix_len } => write!(f, "{address}/{prefix_len}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A text names no interface.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is neither an IPv4 address, a network such as 10.0.0.0/24, nor the name of an interface")]
pub struct ParseInterfaceError(String);

impl FromStr for InterfaceSelector {
    type Err = ParseInterfaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseInterfaceError(text.into());
        if let Some((address, prefix_len)) = text.split_once('/') {
            let address = address.parse().map_err(|_| error())?;
            let prefix_len = prefix_len.parse().ok().filter(|&len| len <= 32).ok_or_else(error)?;
            return Ok(Self::Network { address, prefix_len });
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        // No system has such names; an address with a typing error looks like that.
        let is_number = text.chars().all(|char| char.is_ascii_digit() || char == '.');
        if is_number || text.contains(char::is_control) { Err(error()) } else { Ok(Self::Name(text.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_they_are_read() {
        for text in ["10.0.0.7", "10.0.0.0/24", "0.0.0.0/0", "eth0", "enx.100", "Ethernet 2", "{4D36E972}"] {
            let selector: InterfaceSelector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
        }
        for text in ["", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.0/", "/24", "eth0/24", "eth\n0"] {
            let error = text.parse::<InterfaceSelector>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is neither")), "{error}");
        }
    }

    #[test]
    fn a_network_is_compared_up_to_its_prefix() {
        let matches = |selector: &str, address: [u8; 4]| {
            selector.parse::<InterfaceSelector>().unwrap().matches_address(address.into())
        };
        assert!(matches("10.0.0.0/24", [10, 0, 0, 255]) && !matches("10.0.0.0/24", [10, 0, 1, 0]));
        assert!(matches("10.0.0.9/24", [10, 0, 0, 1]), "any address of the network names it");
        assert!(matches("0.0.0.0/0", [255; 4]));
        assert!(matches("10.0.0.1/32", [10, 0, 0, 1]) && !matches("10.0.0.1/32", [10, 0, 0, 0]));
        assert!(matches("10.0.0.1", [10, 0, 0, 1]) && !matches("eth0", [10, 0, 0, 1]));
    }
}
