//! The conformance suite on every backend, in every setting.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use ferrocal_integration_tests::conformance::{self, Subject};
use ferrocal_integration_tests::pair::{GROUP, Pair};
use ferrocal_integration_tests::suite::{self, Need};
use ferrocal_transport::{Config, Mode, NpcapTransport, SendPath, SocketTransport, Transport};

fn main() -> ExitCode {
    let memory = |name, mode| Subject {
        name,
        needs: &[],
        mode,
        has_system_ports: false,
        make: Pair::memory,
        on_interface: None,
    };
    let socket = |name, mode, make| Subject {
        name,
        needs: &[],
        mode,
        has_system_ports: true,
        make,
        on_interface: Some(socket_on),
    };
    let raw = |name, mode, make, on_interface| Subject {
        name,
        needs: &[Need::RawFrames],
        mode,
        has_system_ports: false,
        make,
        on_interface: Some(on_interface),
    };
    let subjects = [
        memory("memory_local", Mode::Local),
        memory("memory_network", Mode::Network),
        socket("socket_local", Mode::Local, |_| {
            Pair::on_loopback(Arc::new(SocketTransport::new(Config::default())))
        }),
        socket("socket_network_one_host", Mode::Network, |_| Pair::on_one_host(socket_on)),
        socket("socket_network_two_hosts", Mode::Network, |_| Pair::on_two_hosts(socket_on)),
        Subject {
            on_interface: None,
            ..socket("socket_network_by_route", Mode::Network, |_| Pair::on_two_hosts(socket_by_route))
        },
        raw("npcap_local", Mode::Local, |_| Pair::on_loopback(npcap(Config::default())), npcap_on),
        raw("npcap_network_one_host", Mode::Network, |_| Pair::on_one_host(npcap_on), npcap_on),
        raw("npcap_network_two_hosts", Mode::Network, |_| Pair::on_two_hosts(npcap_on), npcap_on),
        raw(
            "npcap_sending_one_host",
            Mode::Network,
            |_| Pair::on_one_host(npcap_sending_on),
            npcap_sending_on,
        ),
        raw(
            "npcap_sending_two_hosts",
            Mode::Network,
            |_| Pair::on_two_hosts(npcap_sending_on),
            npcap_sending_on,
        ),
    ];
    suite::main(subjects.into_iter().flat_map(conformance::suite).collect())
}

fn on(interface: Ipv4Addr) -> Config {
    Config { mode: Mode::Network, group: GROUP, interfaces: vec![interface.into()], ..Config::default() }
}

fn socket_on(interface: Ipv4Addr) -> Arc<dyn Transport> {
    Arc::new(SocketTransport::new(on(interface)))
}

/// Leaves the interface to the host's routes.
fn socket_by_route(_: Ipv4Addr) -> Arc<dyn Transport> {
    Arc::new(SocketTransport::new(Config { interfaces: Vec::new(), ..on(Ipv4Addr::UNSPECIFIED) }))
}

fn npcap(config: Config) -> Arc<dyn Transport> {
    Arc::new(NpcapTransport::new(config).expect("raw frames can be had"))
}

fn npcap_on(interface: Ipv4Addr) -> Arc<dyn Transport> {
    npcap(on(interface))
}

fn npcap_sending_on(interface: Ipv4Addr) -> Arc<dyn Transport> {
    npcap(Config { send: SendPath::Raw, ..on(interface) })
}
