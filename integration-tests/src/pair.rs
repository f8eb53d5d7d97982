//! Two transports that reach each other, of every backend there is.

mod nodes;

use std::net::Ipv4Addr;
use std::sync::Arc;

use ferrocal_transport::memory::Network;
use ferrocal_transport::{
    Backend, Config as TransportConfig, LOOPBACK_BROADCAST, Mode, NpcapTransport, OpenError, Receiver,
    Sender, SocketTransport, Transport,
};

pub use nodes::Injector;

use crate::netns::{FIRST_ADDRESS, Host, SECOND_ADDRESS, SecondHost};
use crate::suite::Need;

/// The group of network mode.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);

/// Two transports, of which the receiver gets what the sender sends, and what is known of the route between them.
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
    second: Option<SecondHost>,
}

/// A name, what it needs, and what makes it.
pub type Each = (&'static str, &'static [Need], fn() -> Pair);

impl Pair {
    /// The address to send to, which the receiver has to join in network mode.
    pub const fn target(&self) -> Ipv4Addr {
        match self.mode {
            Mode::Local => LOOPBACK_BROADCAST,
            Mode::Network => GROUP,
        }
    }

    /// Takes the link between the hosts away and puts another one in its place. `false` if there is none.
    ///
    /// # Panics
    /// If that fails.
    pub fn replace_link(&self) -> bool {
        let second = self.second.as_ref();
        second.map(|second| second.replace_link().unwrap_or_else(|error| panic!("{error}"))).is_some()
    }

    /// Those for what all backends have to withstand: two hosts in memory, and a host with itself by sockets and raw frames.
    pub const EACH: [Each; 3] = [
        ("memory", &[], || Self::memory(Mode::Network)),
        ("sockets", &[], || Self::on_loopback(Arc::new(SocketTransport::new(TransportConfig::default())))),
        ("raw_frames", &[Need::RawFrames], || {
            let transport = NpcapTransport::new(TransportConfig::default());
            Self::on_loopback(Arc::new(transport.expect("raw frames can be had")))
        }),
    ];

    /// Where the sender is.
    pub const fn sending_host(&self) -> Host {
        self.sending_host
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
            second: None,
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
            second: None,
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
            second: Some(second),
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
            second: Some(second),
        }
    }
}

/// A transport that opens everything on another host.
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
