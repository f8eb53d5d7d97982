//! Two transports that reach each other, of every backend there is.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ferrocal::Node;
use ferrocal_transport::memory::Network;
use ferrocal_transport::{Backend, Mode, OpenError, Receiver, Sender, Transmit, Transport};

use crate::netns::{FIRST_ADDRESS, Host, SECOND_ADDRESS, SecondHost};

/// Two transports, of which the receiver gets what the sender sends, and what is known of the way between them.
pub struct Pair {
    /// Sends.
    pub sender: Arc<dyn Transport>,
    /// Receives.
    pub receiver: Arc<dyn Transport>,
    /// In local mode the destination is 127.255.255.255, in network mode a group.
    pub mode: Mode,
    /// The address that datagrams come from.
    pub source: Ipv4Addr,
    /// Where the sender is.
    sending_host: Host,
    /// Goes last.
    _second: Option<SecondHost>,
}

impl Pair {
    /// The address to send to, which the receiver has to join in network mode.
    pub const fn target(&self) -> Ipv4Addr {
        match self.mode {
            Mode::Local => Ipv4Addr::new(127, 255, 255, 255),
            Mode::Network => Ipv4Addr::new(239, 0, 0, 1),
        }
    }

    /// In-memory transports, on one host for local mode and on two for network mode.
    pub fn memory(mode: Mode) -> Self {
        let network = Network::new(1);
        let (first, second) = (network.host(), network.host());
        let receiver = match mode {
            Mode::Local => first.clone(),
            Mode::Network => second,
        };
        Self {
            sender: Arc::new(first),
            receiver: Arc::new(receiver),
            mode,
            source: Ipv4Addr::new(10, 0, 0, 1),
            sending_host: Host::first(),
            _second: None,
        }
    }

    /// One transport on loopback.
    pub fn on_loopback(transport: Arc<dyn Transport>) -> Self {
        Self {
            sender: transport.clone(),
            receiver: transport,
            mode: Mode::Local,
            source: Ipv4Addr::LOCALHOST,
            sending_host: Host::first(),
            _second: None,
        }
    }

    /// One transport, made for its interface, of a host that has a network.
    ///
    /// # Panics
    /// When there is no second host for it to be linked to.
    pub fn on_one_host(transport: fn(Ipv4Addr) -> Arc<dyn Transport>) -> Self {
        let second = SecondHost::new().unwrap_or_else(|error| panic!("{error}"));
        let transport = transport(FIRST_ADDRESS);
        Self {
            sender: transport.clone(),
            receiver: transport,
            mode: Mode::Network,
            source: FIRST_ADDRESS,
            sending_host: Host::first(),
            _second: Some(second),
        }
    }

    /// Transports of two hosts, made for their interfaces.
    ///
    /// # Panics
    /// When the second host cannot be made.
    pub fn on_two_hosts(transport: fn(Ipv4Addr) -> Arc<dyn Transport>) -> Self {
        let second = SecondHost::new().unwrap_or_else(|error| panic!("{error}"));
        let host = second.host();
        Self {
            sender: Arc::new(OnHost { host, inner: transport(SECOND_ADDRESS) }),
            receiver: transport(FIRST_ADDRESS),
            mode: Mode::Network,
            source: SECOND_ADDRESS,
            sending_host: host,
            _second: Some(second),
        }
    }

    /// A node on the sending side, whose threads belong to its host.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn sending_node(&self) -> Node {
        let config = ferrocal::Config::default().mode(self.mode);
        let open = || Node::with_transport("sender", config, self.sender.clone());
        self.sending_host.run(open).expect("a node opens")
    }

    /// A node on the receiving side, and a way to send it whatever one likes.
    ///
    /// # Panics
    /// When they cannot be opened.
    pub fn node(&self, config: ferrocal::Config) -> (Node, Injector) {
        let config = config.mode(self.mode);
        let injector = Injector {
            sender: self.sender.sender().expect("a sender opens"),
            target: self.target(),
            registration_port: match self.mode {
                Mode::Local => config.registration.local_port,
                Mode::Network => config.registration.network_port,
            },
            payload_port: config.udp.port,
        };
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
}

impl Injector {
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

    #[track_caller]
    fn send(&self, port: u16, datagrams: &[Vec<u8>]) {
        let destination = SocketAddrV4::new(self.target, port);
        let batch: Vec<_> =
            datagrams.iter().map(|datagram| Transmit { destination, parts: [datagram, &[], &[]] }).collect();
        self.sender.send(&batch).expect("datagrams are sent");
    }
}

/// A transport that opens its receivers and senders on another host.
struct OnHost {
    host: Host,
    inner: Arc<dyn Transport>,
}

impl Transport for OnHost {
    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        self.host.run(|| self.inner.receiver(port))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        self.host.run(|| self.inner.sender())
    }
}
