//! The machine's interfaces.

use std::net::Ipv4Addr;

use crate::{Config, Mode, OpenError};

/// An interface that has an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    /// The system's name: `eth0`; on Windows the adapter's GUID in braces.
    pub(crate) name: String,
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// All zeros where there is none.
    pub(crate) mac: [u8; 6],
    /// Longest IPv4 packet in bytes.
    pub(crate) mtu: usize,
    pub(crate) loopback: bool,
}

/// RFC 894; for the systems that do not tell.
const ETHERNET_MTU: usize = 1500;

/// The interfaces that are up and have an IPv4 address.
pub(crate) fn list() -> Vec<Interface> {
    let mut interfaces: Vec<_> = netdev::get_interfaces()
        .into_iter()
        .filter(|interface| interface.is_up() && !interface.ipv4.is_empty())
        .map(|interface| Interface {
            index: interface.index,
            addresses: interface.ipv4.iter().map(|network| network.addr()).collect(),
            mac: interface.mac_addr.map_or([0; 6], |mac| mac.octets()),
            mtu: interface.mtu.map_or(ETHERNET_MTU, |mtu| mtu as usize),
            loopback: interface.is_loopback(),
            name: interface.name,
        })
        .collect();
    interfaces.sort_by_key(|interface| interface.index);
    interfaces
}

/// The interfaces that `config` names, as far as they are there; `None` if it names none. Local mode needs none.
pub(crate) fn configured(config: &Config) -> Option<Vec<Interface>> {
    if config.mode == Mode::Local || (config.interfaces.is_empty() && !config.join_all_interfaces) {
        return None;
    }
    let named = |interface: &Interface| config.interfaces.iter().any(|&address| interface.has(address));
    Some(list().into_iter().filter(|interface| config.join_all_interfaces || named(interface)).collect())
}

/// Checks that all interfaces are there that `config` names.
pub(crate) fn check(config: &Config) -> Result<(), OpenError> {
    if config.mode == Mode::Local || config.interfaces.is_empty() {
        return Ok(());
    }
    let available: Vec<_> = list().into_iter().flat_map(|interface| interface.addresses).collect();
    match config.interfaces.iter().find(|address| !available.contains(address)) {
        Some(&address) => Err(OpenError::UnknownInterface { address, available }),
        None => Ok(()),
    }
}

/// The addresses on which groups are joined; 0.0.0.0 leaves the choice to the system's routes.
pub(crate) fn to_join(config: &Config) -> Result<Vec<Ipv4Addr>, OpenError> {
    check(config)?;
    Ok(match configured(config) {
        None => vec![Ipv4Addr::UNSPECIFIED],
        Some(interfaces) => {
            interfaces.iter().filter_map(|interface| interface.addresses.first().copied()).collect()
        }
    })
}

impl Interface {
    pub(crate) fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address)
    }
}
