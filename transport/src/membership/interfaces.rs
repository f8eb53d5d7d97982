//! The machine's interfaces.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use socket2::{Domain, Socket, Type};

use super::Place;

/// An interface that is up and has an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    /// The system's name: `eth0`; on Windows the adapter's GUID in braces.
    pub(crate) name: String,
    /// The name that Windows shows its users.
    pub(crate) friendly_name: Option<String>,
    /// At least one.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// All zeros if there is none.
    pub(crate) mac: [u8; 6],
    /// Longest IPv4 packet in bytes.
    pub(crate) mtu: usize,
    pub(crate) loopback: bool,
    /// Whether it can pass packets, as far as the system knows: its cable is plugged in.
    pub(crate) has_carrier: bool,
}

/// RFC 894. Used if the system does not report it.
const ETHERNET_MTU: usize = 1500;
/// The port "discard" (RFC 863), where nobody listens.
pub(super) const NO_PORT: u16 = 9;

/// Returns the interfaces that are up and have an IPv4 address.
///
/// # Errors
/// When the system lets this program open nothing at present. `netdev` returns what it got then, or nothing.
pub(crate) fn list() -> io::Result<Vec<Interface>> {
    let mut interfaces: Vec<_> = netdev::get_interfaces()
        .into_iter()
        .filter(|interface| interface.is_up() && !interface.ipv4.is_empty())
        .map(|interface| Interface {
            index: interface.index,
            addresses: interface.ipv4.iter().map(|network| network.addr()).collect(),
            mac: interface.mac_addr.map_or([0; 6], |mac| mac.octets()),
            mtu: interface.mtu.map_or(ETHERNET_MTU, |mtu| mtu as usize),
            loopback: interface.is_loopback(),
            // On Windows, an interface without one is not up.
            has_carrier: cfg!(windows) || interface.is_running(),
            name: interface.name,
            friendly_name: interface.friendly_name,
        })
        .collect();
    interfaces.sort_by_key(|interface| interface.index);
    // It has a socket and a file open at a time.
    let open = || Socket::new(Domain::IPV4, Type::DGRAM, None);
    drop((open()?, open()?));
    Ok(interfaces)
}

/// Returns the source address that the system's routes choose for a destination. `None` if there is no route.
///
/// # Errors
/// When the system does not let this program ask.
pub(super) fn routed(destination: Ipv4Addr) -> io::Result<Option<Ipv4Addr>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    // Sends nothing.
    if socket.connect((destination, NO_PORT)).is_err() {
        return Ok(None);
    }
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) => Ok(Some(address)),
        IpAddr::V6(_) => unreachable!("the socket is an IPv4 socket"),
    }
}

impl Interface {
    pub(crate) fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address)
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.friendly_name.as_deref() == Some(name)
    }

    /// Where groups are joined on this interface.
    pub(crate) fn place(&self) -> Place {
        Place { index: self.index, address: self.addresses[0] }
    }
}

/// Returns the names and addresses of interfaces, for messages.
pub(super) fn describe(interfaces: &[Interface]) -> String {
    let texts: Vec<_> = interfaces.iter().map(Interface::to_string).collect();
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.friendly_name.as_ref().unwrap_or(&self.name);
        let addresses: Vec<_> = self.addresses.iter().map(Ipv4Addr::to_string).collect();
        write!(f, "{name} ({})", addresses.join(", "))
    }
}
