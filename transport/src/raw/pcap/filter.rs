//! The kernel's filter: which of an interface's traffic reaches this program.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::raw::wanted::Wanted;

/// Returns a filter in libpcap's language for an interface with these addresses (pcap-filter(7)).
///
/// Only the first fragment of an IPv4 packet has ports, so all fragments pass. The first fragment of an unwanted packet
/// passes, too: it shows that the others are not needed. `is_tagged` is for links that can carry VLAN tags.
pub(super) fn program(wanted: &Wanted, addresses: &[Ipv4Addr], is_tagged: bool) -> String {
    let mut destinations = String::new();
    for address in wanted.groups.iter().chain(addresses) {
        let _ = write!(destinations, "dst host {address} or ");
    }
    let port = wanted.port;
    let program = format!(
        "ip proto 17 and ({destinations}dst net 127.0.0.0/8) and (udp dst port {port} or ip[6:2] & 0x3fff != 0)"
    );
    if is_tagged { format!("({program}) or (vlan and ({program}))") } else { program }
}
