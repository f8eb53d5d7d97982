//! Names of publishers' hosts, which others choose.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::num::NonZeroU16;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ferrocal_proto::{DropReason, EntityId, LayerParameters};
use socket2::{Domain, Socket, Type};

use super::addresses::Resolved;
use super::inlet::{Target, TcpInlet};
use super::source::TcpSource;
use super::{Command, Tcp};
use crate::layer::{Ended, Incoming, Inlet, Origin, Reader, RegisteredPublisher, Sink};
use crate::resolver::Resolver;
use crate::source::{Ready, Source};
use crate::{Config, Mode, lock};

/// For what must happen.
const HANG: Duration = Duration::from_secs(60);

pub(super) struct Nobody;

impl Sink for Nobody {
    fn push(&self, _: &mut dyn Iterator<Item = Incoming>, _: &mut Ready) {}
    fn lost(&self, _: &Arc<Origin>, _: i64) {}
    fn left(&self, _: &[u8], _: EntityId) {}
    fn end(&self, _: Ended) {}
}

/// A publisher registers, at a port of this host.
pub(super) fn register(inlet: &TcpInlet, id: u64, port: u16) {
    let parameters = LayerParameters { tcp_port: NonZeroU16::new(port), ..LayerParameters::default() };
    inlet.registered(&RegisteredPublisher {
        topic: "topic",
        host_name: &"host".into(),
        process_id: 7,
        id: EntityId::from_wire(id.to_string()),
        local: true,
        parameters: &parameters,
        source: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
    });
}

/// The layer of a node that reads a topic.
struct Layer {
    tcp: Tcp,
    inlet: TcpInlet,
    source: TcpSource,
    _reader: Box<dyn Reader>,
}

impl Layer {
    fn new(config: &Config, resolver: Resolver) -> Self {
        let tcp = Tcp::open(config).expect("the system has what it takes");
        let poll = lock(&tcp.poll).take().expect("it is not taken");
        let inlet = TcpInlet::new(tcp.shared.clone());
        let source = TcpSource::new(poll, tcp.shared.clone(), inlet.readers(), resolver);
        let reader = inlet.read(&"topic".into(), Arc::new(Nobody)).expect("it is read");
        Self { tcp, inlet, source, _reader: reader }
    }

    fn waiting(&self) -> usize {
        lock(&self.tcp.shared.commands).len()
    }

    fn publishers(&self) -> u64 {
        self.tcp.shared.counters.status().publishers
    }

    fn receive(&mut self) {
        self.source.receive(&mut Vec::new());
    }

    /// A publisher registers, and no connection to it can be made.
    fn register_in_vain(&mut self, id: u64, port: u16) {
        register(&self.inlet, id, port);
        assert_eq!(self.waiting(), 1, "it is to be connected to");
        while self.waiting() + usize::try_from(self.publishers()).expect("few") > 0 {
            self.receive();
        }
    }

    /// A publisher registers, whose name then has an address.
    fn resolve(&mut self, port: u16, address: IpAddr) {
        register(&self.inlet, 1, port);
        let command = lock(&self.tcp.shared.commands).pop();
        let Some(Command::Connect(target)) = command else { panic!("it is to be connected to") };
        let addresses = vec![SocketAddr::new(address, port)];
        self.tcp.shared.command(Command::Resolved(Resolved { target, addresses }));
        self.receive();
    }
}

/// Nobody listens at it, and nobody else gets it, as long as the socket is there.
fn closed_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    (socket, address.port())
}

/// Asks nobody: it reports each name, and keeps it until the sender is dropped.
fn silent(max_waiting: usize) -> (Resolver, mpsc::Receiver<String>, mpsc::Sender<()>) {
    let (asked, names) = mpsc::channel();
    let (let_go, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let resolver = Resolver::with(max_waiting, move |name, _| {
        let _ = asked.send(name.to_owned());
        let _ = lock(&released).recv();
        Vec::new()
    });
    (resolver, names, let_go)
}

#[test]
fn names_are_looked_up_within_bounds() {
    const RUNNING: u64 = 4;
    const WAITING: u64 = 10;
    const ALL: u64 = 100;
    let (_socket, port) = closed_port();
    let (resolver, names, _let_go) = silent(10);
    let mut layer = Layer::new(&Config::default().mode(Mode::Network), resolver);
    let refused = |layer: &Layer| layer.tcp.shared.counters.refused.load(Ordering::Relaxed);
    for id in 1..=RUNNING {
        layer.register_in_vain(id, port);
        assert_eq!(names.recv_timeout(HANG).as_deref(), Ok("host"));
    }
    (RUNNING + 1..=ALL).for_each(|id| layer.register_in_vain(id, port));
    assert_eq!(refused(&layer), ALL - RUNNING - WAITING);
    assert!(names.try_recv().is_err(), "no more than that at once");
    // What has gone makes room.
    layer.inlet.unregistered("topic", &"host".into(), EntityId::from_wire((RUNNING + 1).to_string()));
    layer.register_in_vain(ALL + 1, port);
    assert_eq!(refused(&layer), ALL - RUNNING - WAITING);
    // What was refused is tried again when it registers.
    layer.register_in_vain(ALL, port);
    assert_eq!(refused(&layer), ALL - RUNNING - WAITING + 1);
}

#[test]
fn two_look_ups_make_one_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut layer = Layer::new(&Config::default().mode(Mode::Network), Resolver::with(1, |_, _| Vec::new()));
    layer.resolve(port, Ipv4Addr::LOCALHOST.into());
    // It is forgotten, and registers again.
    layer.inlet.unregistered("topic", &"host".into(), EntityId::from_wire("1"));
    layer.resolve(port, Ipv4Addr::LOCALHOST.into());
    assert_eq!(layer.publishers(), 1);
}

#[test]
fn no_name_is_looked_up_in_local_mode() {
    let (_socket, port) = closed_port();
    let (resolver, names, let_go) = silent(10);
    let mut layer = Layer::new(&Config::default().mode(Mode::Local), resolver);
    // The second time, it is not being connected to any more.
    (0..2).for_each(|_| layer.register_in_vain(1, port));
    drop((layer, let_go));
    assert_eq!(names.iter().count(), 0);
}

#[test]
fn local_mode_connects_to_loopback_alone() {
    let target = |source: Ipv4Addr| Target {
        topic: "topic".into(),
        origin: Arc::new(Origin { host_name: "host".into(), id: EntityId::from_wire("1") }),
        port: NonZeroU16::MIN,
        source: source.into(),
        process_id: 7,
        is_local: true,
    };
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let elsewhere = Ipv4Addr::new(10, 9, 9, 77);
    assert_eq!(target(elsewhere).addresses(Mode::Local), [loopback]);
    assert_eq!(target(Ipv4Addr::LOCALHOST).addresses(Mode::Local), [loopback]);
    assert_eq!(target(elsewhere).addresses(Mode::Network), [(elsewhere, 1).into(), loopback]);
}

#[test]
fn names_lead_to_no_network_that_is_not_allowed() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for (allowed, publishers) in [("10.0.0.0/8", 0), ("127.0.0.0/8", 1)] {
        let mut config = Config::default().mode(Mode::Network);
        config.allow.networks = vec![allowed.parse().expect("a network")];
        let mut layer = Layer::new(&config, Resolver::with(1, |_, _| Vec::new()));
        layer.resolve(port, Ipv4Addr::LOCALHOST.into());
        let drops = layer.tcp.shared.counters.drops().get(DropReason::SourceNotAllowed);
        assert_eq!((layer.publishers(), drops), (publishers, 1 - publishers), "{allowed}");
    }
}
