//! The machine's interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use super::Place;
use crate::config::{Config, Mode};
use crate::error::OpenError;

/// An interface that has an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    /// The system's name: `eth0`; on Windows the adapter's GUID in braces.
    pub(crate) name: String,
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// All zeros if there is none.
    pub(crate) mac: [u8; 6],
    /// Longest IPv4 packet in bytes.
    pub(crate) mtu: usize,
    pub(crate) loopback: bool,
}

/// RFC 894. Used if the system does not report it.
const ETHERNET_MTU: usize = 1500;
/// The port "discard" (RFC 863), where nobody listens.
pub(super) const NO_PORT: u16 = 9;

/// Returns the interfaces that are up and have an IPv4 address.
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

/// Returns those of `interfaces` that `config` names. `None` if it names none. Local mode needs none.
pub(crate) fn configured<'a>(config: &Config, interfaces: &'a [Interface]) -> Option<Vec<&'a Interface>> {
    if config.mode == Mode::Local || (config.interfaces.is_empty() && !config.join_all_interfaces) {
        return None;
    }
    let named = |interface: &&Interface| {
        config.join_all_interfaces || config.interfaces.iter().any(|&address| interface.has(address))
    };
    Some(interfaces.iter().filter(named).collect())
}

/// Checks that every interface exists that `config` names.
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

/// Returns where a socket joins groups.
pub(crate) fn places(config: &Config, interfaces: &[Interface]) -> Vec<Place> {
    match configured(config, interfaces) {
        Some(configured) => configured.into_iter().filter_map(Interface::place).collect(),
        // The system's routes choose. The index only shows when they choose another interface.
        None => {
            let routed = routed(config.group).ok();
            let by = |interface: &&Interface| routed.is_some_and(|address| interface.has(address));
            let index = interfaces.iter().find(by).map_or(0, |interface| interface.index);
            vec![Place { index, address: Ipv4Addr::UNSPECIFIED }]
        }
    }
}

/// Returns the source address that the system's routes choose for a destination.
pub(crate) fn routed(destination: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    // Sends nothing.
    socket.connect((destination, NO_PORT))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => unreachable!("the socket is an IPv4 socket"),
    }
}

impl Interface {
    pub(crate) fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address)
    }

    /// Where groups are joined on this interface.
    pub(crate) fn place(&self) -> Option<Place> {
        self.addresses.first().map(|&address| Place { index: self.index, address })
    }
}
