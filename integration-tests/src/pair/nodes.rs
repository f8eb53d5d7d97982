//! Nodes on a pair of transports.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ferrocal::{Config, Node};
use ferrocal_transport::{
    Config as TransportConfig, LOOPBACK_BROADCAST, Mode, Sender, SocketTransport, Transmit, Transport,
};

use super::Pair;
use crate::ours;
use crate::world::World;

impl Pair {
    /// A node on the sending side, whose threads belong to its host.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn sending_node(&self) -> Node {
        let config = Config::default().mode(self.mode);
        let open = || Node::with_transport("sender", config, self.sender.clone());
        self.sending_host.run(open).expect("a node opens")
    }

    /// Another sender of datagrams, with a port of its own.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn injector(&self, config: &Config) -> Injector {
        Injector::new(&*self.sender, self.target(), &config.clone().mode(self.mode))
    }

    /// A node on the receiving side, and a way to send it whatever one likes.
    ///
    /// # Panics
    /// When they cannot be opened.
    pub fn node(&self, config: Config) -> (Node, Injector) {
        let config = config.mode(self.mode);
        let injector = Injector::new(&*self.sender, self.target(), &config);
        let node = Node::with_transport("receiver", config, self.receiver.clone());
        (node.expect("a node opens"), injector)
    }
}

/// Sends datagrams made by hand to a node.
pub struct Injector {
    sender: Arc<dyn Sender>,
    target: Ipv4Addr,
    registration_port: u16,
    payload_port: u16,
    log_port: u16,
}

impl Injector {
    fn new(transport: &dyn Transport, target: Ipv4Addr, config: &Config) -> Self {
        Self {
            sender: transport.sender().expect("a sender opens"),
            target,
            registration_port: match config.mode {
                Mode::Local => config.registration.local_port,
                Mode::Network => config.registration.network_port,
            },
            payload_port: config.udp.port,
            log_port: config.logging.receiver_port,
        }
    }

    /// Sends from this program's host to all of a world.
    ///
    /// # Panics
    /// When no sender can be opened.
    pub fn in_world(world: &World) -> Self {
        let config = ours::config(world, world.here());
        let transport = SocketTransport::new(TransportConfig {
            mode: config.mode,
            interfaces: config.udp.interfaces.clone(),
            ..TransportConfig::default()
        });
        let target = match config.mode {
            Mode::Local => LOOPBACK_BROADCAST,
            Mode::Network => config.udp.network.group,
        };
        Self::new(&transport, target, &config)
    }

    /// Sends datagrams to the port of registration.
    ///
    /// # Panics
    /// When they cannot be sent.
    #[track_caller]
    pub fn registration(&self, datagrams: &[Vec<u8>]) {
        self.send(self.registration_port, datagrams);
    }

    /// Sends datagrams to the port of payload, to the group that all topics share.
    ///
    /// # Panics
    /// When they cannot be sent.
    #[track_caller]
    pub fn payload(&self, datagrams: &[Vec<u8>]) {
        self.send(self.payload_port, datagrams);
    }

    /// Sends datagrams to the port of log lines.
    ///
    /// # Panics
    /// When they cannot be sent.
    #[track_caller]
    pub fn log(&self, datagrams: &[Vec<u8>]) {
        self.send(self.log_port, datagrams);
    }

    #[track_caller]
    fn send(&self, port: u16, datagrams: &[Vec<u8>]) {
        let destination = SocketAddrV4::new(self.target, port);
        let batch: Vec<_> =
            datagrams.iter().map(|datagram| Transmit { destination, parts: [datagram, &[], &[]] }).collect();
        self.sender.send(&batch).expect("datagrams are sent");
    }
}
