//! Observes this computer and the network.

mod strays;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "other.rs")]
mod system;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ferrocal::raw::{Detection, detect};
use ferrocal::{Config, Mode};

use super::facts::{
    Facts, Frames, Interface, Known, Machine, PortUse, ReversePath, Route, SelfTest, Settings,
};
use super::{self_test, wire};
use crate::session::Session;
use crate::traffic::frames::{Captures, Target};

/// The port "discard" (RFC 863), where nobody listens.
const NO_PORT: u16 = 9;

/// Observes for `duration`, and sends if `tests` are wanted.
pub(crate) fn facts(session: &Session, config: &Config, duration: Duration, tests: bool) -> Facts {
    let settings = Settings::new(config);
    let interfaces = interfaces();
    let tests: Vec<SelfTest> =
        if tests { self_test::run(session, config, &interfaces, &route(&settings)) } else { Vec::new() };
    let is_over = AtomicBool::new(false);
    let captures = Captures::open(&targets(&settings, &interfaces));
    let mut memberships = Err("Nothing was opened.".to_owned());
    let mut dropped = Vec::new();
    let (watched, frames) = thread::scope(|scope| {
        let frames = captures.map(|captures| {
            let (settings, interfaces, is_over) = (&settings, &interfaces, &is_over);
            scope.spawn(move || strays::watch(captures, settings, interfaces, is_over))
        });
        let watched = wire::watch(session, config, duration, &mut || {
            memberships = system::memberships();
            dropped.push(system::reverse_path_drops());
        });
        is_over.store(true, Ordering::Relaxed);
        let frames: Known<Frames> =
            frames.and_then(|thread| thread.join().map_err(|_| "The thread that captures ended.".to_owned()));
        (watched, frames)
    });
    let reverse_path = system::filters(&interfaces).and_then(|filters| {
        let counts: Vec<u64> = dropped.into_iter().collect::<Result<_, _>>()?;
        let dropped = counts.last().unwrap_or(&0).saturating_sub(*counts.first().unwrap_or(&0));
        Ok(ReversePath { filters, dropped })
    });
    let ports = ports(&settings, &watched.failures);
    let machine = Machine {
        host_name: gethostname::gethostname().to_string_lossy().into_owned(),
        route: route(&settings),
        memberships,
        max_memberships: system::max_memberships(),
        granted_buffer_len: watched.granted_buffer_len,
        reverse_path,
        max_fragment_bytes: system::max_fragment_bytes(),
        firewall: system::firewall(),
        ports,
        has_ipv6: system::has_ipv6(),
        container: system::container(),
        raw_frames: match detect() {
            Detection::Present(found) => Ok(found.to_string()),
            missing => Err(missing.to_string()),
        },
        ecal_processes: system::ecal_processes(),
        unused_memory: system::unused_memory(),
        interfaces,
    };
    Facts { settings, machine, wire: watched.wire, frames, tests }
}

/// All interfaces.
pub(crate) fn interfaces() -> Vec<Interface> {
    let mut interfaces: Vec<_> = netdev::get_interfaces()
        .into_iter()
        .map(|one| Interface {
            addresses: one.ipv4.iter().map(|network| (network.addr(), network.prefix_len())).collect(),
            mtu: one.mtu.unwrap_or(1500),
            is_loopback: one.is_loopback(),
            is_up: one.is_up(),
            // On Windows, an interface without one is not up.
            has_carrier: cfg!(windows) || one.is_running(),
            has_multicast: one.is_multicast(),
            name: one.name,
            friendly_name: one.friendly_name,
        })
        .collect();
    interfaces.sort_by_key(|one| (one.is_loopback, one.name.clone()));
    interfaces
}

fn route(settings: &Settings) -> Route {
    let entry = system::route_to(settings.group);
    let has_default = system::route_to(Ipv4Addr::new(1, 1, 1, 1))
        .is_ok_and(|entry| entry.is_some_and(|(to, ..)| to.is_some()));
    Route { source: routed(settings.group).map_err(|error| error.kind()), entry, has_default }
}

/// The source address that the system's routes choose for a destination.
fn routed(destination: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    // Sends nothing.
    socket.connect((destination, NO_PORT))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// The interfaces whose frames are of interest.
fn targets(settings: &Settings, interfaces: &[Interface]) -> Vec<Target> {
    let is_wanted = |one: &&Interface| one.is_up && (settings.mode == Mode::Network || one.is_loopback);
    let target = |one: &Interface| Target { name: one.name.clone(), is_loopback: one.is_loopback };
    interfaces.iter().filter(is_wanted).map(target).collect()
}

fn ports(settings: &Settings, failures: &[(u16, String)]) -> Vec<PortUse> {
    let roles = [
        (settings.registration_port, "registration"),
        (settings.logging_port, "logging"),
        (settings.payload_port, "payload"),
    ];
    let mut seen = BTreeSet::new();
    let of = |(port, role): (u16, &'static str)| {
        let failure = failures.iter().find(|(of, _)| *of == port).map(|(_, why)| why.clone());
        let holders = if failure.is_some() { system::holders(port) } else { Vec::new() };
        PortUse { port, role, failure, holders }
    };
    roles.into_iter().filter(|&(port, _)| seen.insert(port)).map(of).collect()
}
