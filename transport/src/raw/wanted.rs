//! Which datagrams of an interface are wanted: those that a socket would receive.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::config::Mode;
use crate::drops::ReceiveDrops;
use crate::frame::Udp;
use crate::membership::Interface;

/// What a receiver wants.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) port: u16,
    pub(super) groups: BTreeSet<Ipv4Addr>,
    pub(super) mode: Mode,
    /// Whether also what this host itself sends, in network mode.
    pub(super) loopback: bool,
}

impl Wanted {
    /// Whether a socket with these groups would receive the datagram. Counts those that another host sent in local mode.
    pub(super) fn accepts(&self, interface: &Interface, udp: &Udp<'_>, drops: &mut ReceiveDrops) -> bool {
        let to = *udp.destination.ip();
        if !(interface.has(to) || to.is_loopback() || self.groups.contains(&to)) {
            return false;
        }
        match self.mode {
            Mode::Local if !udp.source.ip().is_loopback() => {
                drops.other_host += 1;
                false
            }
            Mode::Local => true,
            // A capture sees what this host sends, whether or not it wants to receive that.
            Mode::Network => self.loopback || !interface.has(*udp.source.ip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;

    #[test]
    fn what_a_socket_would_receive_is_accepted() {
        let (group, here, there) =
            (Ipv4Addr::new(239, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let interface = Interface {
            index: 2,
            name: "eth0".into(),
            friendly_name: None,
            addresses: vec![here],
            mac: [0; 6],
            mtu: 1500,
            loopback: false,
            has_carrier: true,
        };
        let accepts = |mode, loopback, source, destination| {
            let wanted = Wanted { port: 1, groups: BTreeSet::from([group]), mode, loopback };
            let udp = Udp {
                source: SocketAddrV4::new(source, 1),
                destination: SocketAddrV4::new(destination, 1),
                payload: &[],
                identification: 0,
            };
            let mut drops = ReceiveDrops::default();
            (wanted.accepts(&interface, &udp, &mut drops), drops.other_host)
        };
        let other_group = Ipv4Addr::new(239, 0, 0, 2);
        assert_eq!(accepts(Mode::Network, true, there, group), (true, 0));
        assert_eq!(accepts(Mode::Network, true, there, here), (true, 0));
        assert_eq!(accepts(Mode::Network, true, there, other_group), (false, 0));
        assert_eq!(accepts(Mode::Network, true, here, group), (true, 0));
        assert_eq!(accepts(Mode::Network, false, here, group), (false, 0));
        assert_eq!(accepts(Mode::Local, true, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST), (true, 0));
        assert_eq!(accepts(Mode::Local, true, there, Ipv4Addr::LOCALHOST), (false, 1));
    }
}
