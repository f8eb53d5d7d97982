//! What only Linux shows.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::doctor::facts::{Interface, Known, Program};
use crate::doctor::firewall::Ruleset;

fn unknown<T>(what: &str) -> Known<T> {
    Err(format!("{what} can be read on Linux only."))
}

pub(super) fn memberships() -> Known<BTreeSet<(String, Ipv4Addr)>> {
    unknown("Which groups are joined")
}

pub(super) fn max_memberships() -> Known<usize> {
    unknown("How many groups may be joined")
}

pub(super) fn reverse_path_drops() -> Known<u64> {
    unknown("What rp_filter drops")
}

pub(super) fn filters(_: &[Interface]) -> Known<Vec<(String, u32)>> {
    unknown("rp_filter")
}

pub(super) fn max_fragment_bytes() -> Known<u64> {
    unknown("The room for fragments")
}

pub(super) fn firewall() -> Known<Vec<Ruleset>> {
    let command =
        if cfg!(windows) { "netsh advfirewall firewall show rule name=all" } else { "the system's settings" };
    Err(format!("The rules of the firewall can be read on Linux only; see {command}."))
}

pub(super) fn has_ipv6() -> Known<bool> {
    match std::net::UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Ok(true),
        Err(_) => Ok(false),
    }
}

pub(super) fn container() -> Known<Option<String>> {
    unknown("Whether this is a container")
}

pub(super) fn ecal_processes() -> Known<Vec<Program>> {
    unknown("Which programs have loaded eCAL")
}

pub(super) fn unused_memory() -> Known<Vec<String>> {
    // Windows removes what no program has open.
    if cfg!(windows) { Ok(Vec::new()) } else { unknown("Which files in shared memory are unused") }
}

pub(super) fn holders(_: u16) -> Vec<Program> {
    Vec::new()
}

pub(super) fn route_to(_: Ipv4Addr) -> Known<Option<(Option<String>, Ipv4Addr, u8)>> {
    unknown("The table of routes")
}
