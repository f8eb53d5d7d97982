//! The kernel's filter: what of a wire's traffic is worth looking at.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// The ports and destinations that a receive half wants.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) ports: Vec<u16>,
    pub(super) groups: BTreeSet<Ipv4Addr>,
}

impl Wanted {
    /// A filter in libpcap's language for an interface with these addresses (pcap-filter(7)).
    ///
    /// Only the first fragment of an IPv4 packet has ports, so all fragments pass: the first too, as it tells whether
    /// the others are wanted. `tagged` is for links that can carry
    /// VLAN tags.
    pub(super) fn program(&self, addresses: &[Ipv4Addr], tagged: bool) -> String {
        let ports = join(self.ports.iter().map(|port| format!("udp dst port {port}")));
        let destinations = join(
            self.groups
                .iter()
                .chain(addresses)
                .map(|address| format!("dst host {address}"))
                .chain(["dst net 127.0.0.0/8".into()]),
        );
        let program = format!("ip proto 17 and ({destinations}) and ({ports} or ip[6:2] & 0x3fff != 0)");
        if tagged { format!("({program}) or (vlan and ({program}))") } else { program }
    }
}

fn join(terms: impl Iterator<Item = String>) -> String {
    let mut all = String::new();
    for term in terms {
        let or = if all.is_empty() { "" } else { " or " };
        let _ = write!(all, "{or}{term}");
    }
    all
}
