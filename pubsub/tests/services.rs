//! Servers and clients of services, and hostile ends of both. Registrations go over a network in memory, calls over TCP on
//! loopback.

#[allow(dead_code)]
#[path = "nodes/wait.rs"]
mod wait;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ferrocal::transport::memory::{Host, Network};
use ferrocal::transport::{Transmit, Transport};
use ferrocal::{
    Bytes, CallError, Client, ClientMethod, Config, DataType, DropReason, LimitsConfig, MethodError, Node,
    RegistrationConfig, Server, ServerIdentity, ServiceEventKind, ServiceInfo, ServiceLimits,
};
use ferrocal_proto::{
    Action, Announcement, EntityId, Fragments, MAX_DATAGRAM_LEN, Registration, SERVICE_HEADER_LEN,
    ServiceFrame, ServiceFrameKind, ServiceFrames, ServiceRequest, ServiceResponse,
};
use wait::{HANG, block_on, until, within_hang};

const SERVICE: &str = "arm";

/// One host, whose nodes are in local mode.
struct World {
    host: Arc<Host>,
}

/// A deadline of connections that a test waits for.
const SHORT: Duration = Duration::from_secs(1);

fn limits(change: impl FnOnce(ServiceLimits) -> ServiceLimits) -> Config {
    // Longer than any test, unless it waits for it.
    let limits = change(ServiceLimits::default().timeout(2 * HANG));
    let registration = RegistrationConfig::default().refresh(Duration::from_millis(50));
    Config::default().registration(registration).limits(LimitsConfig::default().service(limits))
}

impl World {
    fn new() -> Self {
        Self { host: Arc::new(Network::new(1).host()) }
    }

    fn node(&self) -> Node {
        self.node_with(limits(|limits| limits))
    }

    fn node_with(&self, config: Config) -> Node {
        Node::with_transport("node", config, self.host.clone()).unwrap()
    }

    /// A server and a client, on a node of their own each, that are connected.
    fn pair(&self) -> (Server, Client) {
        let server = self.node().server(SERVICE).unwrap();
        let client = self.node().client(SERVICE).unwrap();
        assert!(client.wait_for_server(HANG));
        (server, client)
    }

    /// Registers a server that does not exist, on the host of the nodes.
    fn register(&self, action: Action, port: u16) {
        self.register_as("1", action, port);
    }

    fn register_as(&self, id: &str, action: Action, port: u16) {
        let info = ServiceInfo {
            host_name: host_name(),
            process_id: 1,
            service_id: EntityId::from_wire(id),
            service_name: SERVICE.into(),
            version: 1,
            tcp_port_v1: port.into(),
            ..ServiceInfo::default()
        };
        let message = Registration { action, announcement: Announcement::Server(info) }.encode();
        let config = Config::default();
        let destination = SocketAddrV4::new(config.udp.local.group, config.registration.local_port);
        for datagram in Fragments::new(1, [&message, &[]], MAX_DATAGRAM_LEN).unwrap() {
            let parts = [&datagram.header[..], datagram.parts[0], datagram.parts[1]];
            self.host.sender().unwrap().send(&[Transmit { destination, parts }]).unwrap();
        }
    }
}

/// The name that nodes register this host by.
fn host_name() -> ferrocal::Text {
    let world = World::new();
    let node = world.node();
    let monitor = node.monitor();
    until("the node sees itself", || !monitor.snapshot().processes.is_empty());
    monitor.snapshot().processes[0].info.host_name.clone()
}

fn echo(client: &Client) -> ClientMethod<[u8], [u8]> {
    client.method("echo").unwrap()
}

fn add_echo(server: &Server) {
    server.method::<[u8], [u8]>("echo", Ok).unwrap();
}

#[test]
fn methods_of_all_types_are_called_in_every_way() {
    let world = World::new();
    let (server, client) = world.pair();
    server.method::<str, str>("upper", |text| Ok(text.to_uppercase())).unwrap();
    server.method::<str, [u8]>("double", |text| Ok(text.repeat(2).into())).unwrap();
    let upper = client.method::<str, str>("upper").unwrap();
    let response = upper.call("blocking", HANG).unwrap();
    assert_eq!((&*response.payload, response.ret_state, response.server.id), ("BLOCKING", 0, server.id()));
    assert_eq!(block_on(upper.call_async("async", HANG)).unwrap().payload, "ASYNC");
    let (sender, answers) = mpsc::channel();
    client.method::<str, [u8]>("double").unwrap().call_with("x", HANG, move |response| {
        sender.send(response.unwrap().payload).unwrap();
    });
    assert_eq!(answers.recv_timeout(HANG).unwrap(), "xx");
    assert_eq!(server.stats().calls, 3);
    assert_eq!(server.client_count(), 1);
}

#[test]
fn failures_are_told() {
    let world = World::new();
    let (server, client) = world.pair();
    server.method::<str, str>("number", |text| Ok(text.parse::<u8>()?.to_string())).unwrap();
    server.method::<str, str>("refuse", |_| Err(MethodError::new("no").ret_state(7))).unwrap();
    server.method::<str, str>("panic", |_| panic!("as the test wants it")).unwrap();
    let failure = |method: &str, request: &str| {
        let method = client.method::<str, str>(method).unwrap();
        match method.call(request, HANG) {
            Err(CallError::Failed { message, ret_state }) => (message, ret_state),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure("number", "x"), ("invalid digit found in string".to_owned(), -1));
    assert_eq!(failure("refuse", ""), ("no".to_owned(), 7));
    assert_eq!(failure("panic", ""), (format!("service `{SERVICE}`: method `panic` panicked"), -1));
    assert_eq!(failure("unknown", ""), (format!("service `{SERVICE}` has no method `unknown`"), 0));
    let bytes = client.method::<[u8], str>("number").unwrap();
    assert!(matches!(bytes.call(b"\xff", HANG), Err(CallError::Failed { .. })), "not UTF-8");
    server.method::<[u8], [u8]>("latin", |_| Ok(Bytes::from_static(b"\xff"))).unwrap();
    assert!(matches!(client.method::<str, str>("latin").unwrap().call("", HANG), Err(CallError::Decode(_))));
    assert_eq!(server.stats().failed, 5);
    assert!(server.remove_method("refuse") && !server.remove_method("refuse"));
    assert_eq!(failure("refuse", "").1, 0);
}

#[test]
fn a_call_that_takes_too_long_does_not_keep_later_ones_waiting() {
    let world = World::new();
    let (server, client) = world.pair();
    add_echo(&server);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    server
        .method::<[u8], [u8]>("slow", move |bytes| {
            let _ = released.lock().unwrap().recv();
            Ok(bytes)
        })
        .unwrap();
    let slow = client.method::<[u8], [u8]>("slow").unwrap();
    let events = client.events();
    let first = slow.call_async(b"never answered", SHORT);
    // It waits behind the other one, and then goes over another connection.
    let second = echo(&client).call_async(b"answered", HANG);
    // This one is given up while it waits.
    assert!(matches!(echo(&client).call(b"late", Duration::ZERO), Err(CallError::Timeout)));
    assert!(matches!(first.wait(), Err(CallError::Timeout)));
    assert_eq!(second.wait().unwrap().payload, "answered");
    assert_eq!(events.recv_timeout(HANG).unwrap().kind, ServiceEventKind::Connected);
    assert_eq!(events.try_recv(), None, "the server was connected all the time");
    drop(release);
}

#[test]
fn a_server_that_is_gone_is_told_and_the_next_one_is_called() {
    let world = World::new();
    let (server, client) = world.pair();
    add_echo(&server);
    let events = client.events();
    let kind = || events.recv_timeout(HANG).unwrap().kind;
    assert_eq!(kind(), ServiceEventKind::Connected);
    let (entered, wait_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    server
        .method::<str, str>("hang", move |text| {
            entered.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            Ok(text)
        })
        .unwrap();
    let running = client.method::<str, str>("hang").unwrap().call_async("", HANG);
    wait_entered.recv_timeout(HANG).unwrap();
    drop(server);
    assert!(matches!(running.wait(), Err(CallError::ConnectionLost)));
    drop(release);
    assert_eq!(kind(), ServiceEventKind::Disconnected);
    assert!(matches!(echo(&client).call(b"", HANG), Err(CallError::NoServer)));
    let server = world.node().server(SERVICE).unwrap();
    add_echo(&server);
    assert_eq!(kind(), ServiceEventKind::Connected);
    assert_eq!(echo(&client).call(b"back", HANG).unwrap().payload, "back");
    let left = server.events();
    drop(client);
    // The connection was there before the events were.
    assert_eq!(left.recv_timeout(HANG).unwrap().kind, ServiceEventKind::Disconnected);
    until("no client is connected", || server.client_count() == 0);
}

#[test]
fn one_server_of_several_is_called_or_all() {
    let world = World::new();
    let node = world.node();
    let servers: Vec<_> = (0..3)
        .map(|number| {
            let server = node.server(SERVICE).unwrap();
            server.method::<str, str>("who", move |_| Ok(number.to_string())).unwrap();
            server
        })
        .collect();
    let client = node.client(SERVICE).unwrap();
    assert!(block_on(client.wait_for_servers_async(3)));
    let who = client.method::<str, str>("who").unwrap();
    let name =
        |server: &ServerIdentity| servers.iter().position(|one| one.id() == server.id).unwrap().to_string();
    for server in client.servers() {
        let answer = who.of_server(&server).call("", HANG).unwrap();
        assert_eq!((answer.payload, answer.server), (name(&server), server));
    }
    let answers = who.call_all("", HANG).unwrap();
    assert_eq!(answers.len(), 3);
    for (server, answer) in answers {
        assert_eq!(answer.unwrap().payload, name(&server));
    }
    assert!(servers.iter().all(|server| server.stats().calls == 2));
    assert!(matches!(
        node.client("nobody").unwrap().method::<str, str>("x").unwrap().call_all("", HANG),
        Err(CallError::NoServer)
    ));
}

#[test]
fn a_hundred_calls_at_once_and_long_ones_are_answered() {
    let world = World::new();
    let (server, client) = world.pair();
    add_echo(&server);
    let echo = echo(&client);
    let numbers: Vec<[u8; 4]> = (0u32..100).map(u32::to_le_bytes).collect();
    let calls: Vec<_> = numbers.iter().map(|number| echo.call_async(number, HANG)).collect();
    for (call, number) in calls.into_iter().zip(&numbers) {
        assert_eq!(*call.wait().unwrap().payload, *number);
    }
    let long: Vec<u8> = (0..10_000_000u32).map(|at| ((at * 31) >> 3) as u8).collect();
    assert!(echo.call(&long, HANG).unwrap().payload == long);
    let too_long = vec![0; 64 * 1024 * 1024 + 1];
    assert!(matches!(echo.call(&too_long, HANG), Err(CallError::TooLong { .. })));
}

/// With all the room that there is for messages, and the longest name beside it.
#[test]
fn a_call_at_the_limits_is_answered() {
    let world = World::new();
    let config = || limits(|limits| limits.max_message_len(300_000).max_bytes(300_000));
    let server = world.node_with(config()).server(SERVICE).unwrap();
    let client = world.node_with(config()).client(SERVICE).unwrap();
    assert!(client.wait_for_server(HANG));
    for name in ["echo".to_owned(), "x".repeat(4096)] {
        server.method::<[u8], [u8]>(&name, Ok).unwrap();
        let method = client.method::<[u8], [u8]>(&name).unwrap();
        let response = method.call(&vec![1; 300_000], HANG);
        assert_eq!(response.map(|response| response.payload.len()).ok(), Some(300_000), "{}", name.len());
    }
}

#[test]
fn what_a_server_does_not_take_ends_the_connection_and_no_other() {
    let world = World::new();
    let config = limits(|limits| limits.max_message_len(1000));
    let server = world.node_with(config).server(SERVICE).unwrap();
    add_echo(&server);
    let client = world.node().client(SERVICE).unwrap();
    assert!(client.wait_for_server(HANG));
    let request = vec![0; 10_000];
    assert!(matches!(echo(&client).call(&request, HANG), Err(CallError::ConnectionLost)));
    assert!(client.wait_for_server(HANG), "it connects again");
    assert_eq!(echo(&client).call(b"short", HANG).unwrap().payload, "short");
    server.method::<[u8], [u8]>("grow", |_| Ok(vec![0; 3000].into())).unwrap();
    let grow = client.method::<[u8], [u8]>("grow").unwrap();
    assert!(matches!(grow.call(b"", HANG), Err(CallError::Failed { .. })));
    assert_eq!(server.stats().broken, 1);
}

#[test]
fn types_and_calls_are_registered() {
    let world = World::new();
    let (server, client) = world.pair();
    let monitor = world.node().monitor();
    let types = ["Ask", "Answer"].map(|name| DataType { name: name.into(), ..DataType::default() });
    let [ask, answer] = types.clone();
    server.method_with::<str, str>("say", ask, answer, Ok).unwrap();
    let [ask, answer] = types.clone();
    let say = client.method_with::<str, str>("say", ask, answer).unwrap();
    say.call("", HANG).unwrap();
    let shows = |info: &ServiceInfo| {
        info.service_name == SERVICE
            && info.version == 1
            && info.methods.iter().any(|method| {
                method.name == "say"
                    && method.call_count == 1
                    && [&method.request, &method.response] == types.each_ref()
            })
    };
    until("both are registered", || {
        let snapshot = monitor.snapshot();
        let is_ours = |info: &ServiceInfo| info.tcp_port_v1 == u32::from(server.port()) && shows(info);
        snapshot.servers.iter().any(|one| is_ours(&one.info))
            && snapshot.clients.iter().any(|one| shows(&one.info))
    });
    drop((server, client, say));
    until("both are gone", || {
        let snapshot = monitor.snapshot();
        snapshot.servers.is_empty() && snapshot.clients.is_empty()
    });
}

#[test]
fn everything_may_be_dropped_at_any_time() {
    let world = World::new();
    let (server, client) = world.pair();
    let (entered, wait_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    server
        .method::<str, str>("hang", move |text| {
            entered.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            Ok(text)
        })
        .unwrap();
    let hang = client.method::<str, str>("hang").unwrap();
    let calls = [hang.call_async("", Duration::MAX), hang.call_async("", Duration::MAX)];
    wait_entered.recv_timeout(HANG).unwrap();
    drop((hang, client));
    for call in calls {
        let ended = call.wait();
        assert!(matches!(ended, Err(CallError::Closed)), "{ended:?}");
    }
    drop(server);
    drop(release);

    let (server, client) = world.pair();
    add_echo(&server);
    let slot = Arc::new(Mutex::new(Some(client)));
    let (sender, done) = mpsc::channel();
    let echo = echo(slot.lock().unwrap().as_ref().unwrap());
    let inside = slot.clone();
    echo.clone().call_with(b"", HANG, move |response| {
        drop((inside.lock().unwrap().take(), server));
        sender.send(response.is_ok()).unwrap();
    });
    drop(echo);
    assert!(done.recv_timeout(HANG).unwrap());
}

#[test]
fn callbacks_are_called_even_if_everything_is_dropped_before_they_can_run() {
    /// As many callbacks run at once.
    const THREADS: usize = 64;
    let world = World::new();
    let client = world.node_with(limits(|limits| limits.max_message_len(10))).client(SERVICE).unwrap();
    let echo = echo(&client);
    let (sender, results) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let fail = |count| {
        for _ in 0..count {
            let (sender, released) = (sender.clone(), released.clone());
            echo.call_with(&[0; 11], HANG, move |result| {
                sender.send(result.map(drop)).unwrap();
                let _ = released.lock().unwrap().recv();
            });
        }
    };
    let failed = |count| {
        for _ in 0..count {
            assert!(matches!(results.recv_timeout(HANG).unwrap(), Err(CallError::TooLong { .. })));
        }
    };
    fail(THREADS);
    failed(THREADS);
    fail(3);
    drop((echo, client));
    drop(release);
    failed(3);
}

#[test]
fn names_are_checked() {
    let node = World::new().node();
    assert!(node.server("").is_err() && node.client(&"x".repeat(4097)).is_err());
    let (server, client) = (node.server(SERVICE).unwrap(), node.client(SERVICE).unwrap());
    assert!(server.method::<str, str>("", Ok).is_err() && client.method::<str, str>("").is_err());
    for number in 0..256 {
        server.method::<str, str>(&number.to_string(), Ok).unwrap();
    }
    assert!(server.method::<str, str>("more", Ok).is_err());
    server.method::<str, str>("255", Ok).unwrap();
}

/// A client by hand.
struct Peer(TcpStream);

impl Peer {
    fn connect(server: &Server) -> Self {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANG)).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        // The other side may have closed it already.
        let _ = self.0.write_all(bytes);
    }

    fn frame(&mut self) -> Option<ServiceFrame> {
        let mut frames = ServiceFrames::new(usize::MAX);
        let mut byte = [0];
        loop {
            match self.0.read(&mut byte) {
                Ok(1) => {}
                Ok(_) => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
            if let Some(frame) = frames.take(&mut &byte[..]).unwrap() {
                return Some(frame);
            }
        }
    }

    fn shake_hands(&mut self) {
        self.send(&ServiceFrame::handshake_request());
        assert!(self.frame().unwrap().agrees());
    }

    fn is_closed(&mut self) -> bool {
        self.frame().is_none()
    }
}

fn header(len: u32, kind: u8, header_len: u16) -> [u8; SERVICE_HEADER_LEN] {
    let mut header = [0; SERVICE_HEADER_LEN];
    header[..4].copy_from_slice(&len.to_be_bytes());
    (header[4], header[5]) = (1, kind);
    header[6..8].copy_from_slice(&header_len.to_be_bytes());
    header
}

/// Waits for nothing but the server's answers: a client that behaves is called in between.
#[test]
fn hostile_clients_are_cut_off_and_others_are_served() {
    let world = World::new();
    let (server, client) = world.pair();
    add_echo(&server);
    let echo = echo(&client);
    let hostile: [(&str, Vec<u8>, bool); 9] = [
        ("a false length at first", header(u32::MAX, 1, 16).to_vec(), false),
        ("a long handshake", header(1025, 1, 16).to_vec(), false),
        ("a request at first", ServiceRequest::encode("echo", b"").unwrap(), false),
        ("no version in common", [&header(2, 1, 16)[..], &[2, 9]].concat(), false),
        ("noise", vec![0xa5; 100], false),
        ("a false length", header(u32::MAX, 3, 16).to_vec(), true),
        ("a header without end", header(1, 3, u16::MAX).to_vec(), true),
        ("a second handshake", ServiceFrame::handshake_request(), true),
        ("a response", ServiceResponse::default().encode().unwrap(), true),
    ];
    for (number, (what, bytes, shakes_hands)) in hostile.iter().enumerate() {
        let mut peer = Peer::connect(&server);
        if *shakes_hands {
            peer.shake_hands();
        }
        peer.send(bytes);
        assert!(peer.is_closed(), "{what}");
        until("it is counted", || server.stats().broken == number as u64 + 1);
        assert_eq!(echo.call(what.as_bytes(), HANG).unwrap().payload, what.as_bytes());
    }
    let mut peer = Peer::connect(&server);
    peer.shake_hands();
    peer.send(&[&header(3, 3, 16)[..], b"\x12\x09x"].concat());
    let answer = ServiceResponse::decode(&peer.frame().unwrap().payload).unwrap();
    assert!(answer.error.starts_with(b"service `arm`: the request is damaged"), "{answer:?}");
    peer.0.shutdown(Shutdown::Both).unwrap();

    // Byte by byte, and several at once, of which each waits for the answer to the one before.
    let mut peer = Peer::connect(&server);
    let request = |text: &str| ServiceRequest::encode("echo", text.as_bytes()).unwrap();
    for byte in [ServiceFrame::handshake_request(), request("slow"), request("by")].concat() {
        peer.send(&[byte]);
    }
    peer.send(&[request("one"), request("two")].concat());
    assert!(peer.frame().unwrap().agrees());
    for text in ["slow", "by", "one", "two"] {
        let frame = peer.frame().unwrap();
        assert_eq!(frame.kind, ServiceFrameKind::Response);
        assert_eq!(ServiceResponse::decode(&frame.payload).unwrap().payload, text);
    }
}

#[test]
fn silent_clients_lose_their_connection() {
    let world = World::new();
    let config = limits(|limits| limits.timeout(SHORT).max_connections(3));
    let server = world.node_with(config).server(SERVICE).unwrap();
    add_echo(&server);
    let mut idle = Peer::connect(&server);
    idle.shake_hands();
    let mut silent = Peer::connect(&server);
    assert!(silent.is_closed(), "no handshake");
    let mut amid = Peer::connect(&server);
    amid.shake_hands();
    amid.send(&header(100, 3, 16)[..9]);
    assert!(amid.is_closed(), "half a header");
    until("both are counted", || server.stats().stalled == 2);
    // Between two requests there is no limit.
    idle.send(&ServiceRequest::encode("echo", b"still there").unwrap());
    assert_eq!(ServiceResponse::decode(&idle.frame().unwrap().payload).unwrap().payload, "still there");
}

#[test]
fn connections_and_their_memory_are_bounded() {
    let world = World::new();
    let config = limits(|limits| limits.max_connections(2).max_bytes(1_000_000));
    let server = world.node_with(config).server(SERVICE).unwrap();
    add_echo(&server);
    let mut first = Peer::connect(&server);
    first.shake_hands();
    let mut second = Peer::connect(&server);
    second.shake_hands();
    assert!(Peer::connect(&server).is_closed());
    assert_eq!(server.stats().refused, 1);
    let long = [&header(5_000_000, 3, 16)[..], &[0; 3_000_000]].concat();
    second.send(&long);
    assert!(second.is_closed());
    first.send(&ServiceRequest::encode("echo", b"fine").unwrap());
    assert_eq!(ServiceResponse::decode(&first.frame().unwrap().payload).unwrap().payload, "fine");
}

/// Those who begin long requests and do not end them keep nobody out.
#[test]
fn who_takes_most_memory_makes_room() {
    let world = World::new();
    let config = limits(|limits| limits.max_bytes(100_000));
    let server = world.node_with(config).server(SERVICE).unwrap();
    add_echo(&server);
    let client = world.node().client(SERVICE).unwrap();
    assert!(client.wait_for_server(HANG));
    let mut greedy = [(); 2].map(|()| {
        let mut peer = Peer::connect(&server);
        peer.shake_hands();
        peer.send(&[&header(60_000, 3, 16)[..], &[0; 48_000]].concat());
        peer
    });
    let request = vec![1; 10_000];
    until("one makes room", || {
        assert_eq!(echo(&client).call(&request, HANG).unwrap().payload, request);
        server.stats().broken > 0
    });
    greedy.iter().for_each(|peer| peer.0.set_nonblocking(true).unwrap());
    let is_open = |peer: &mut Peer| matches!(peer.0.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    until("it is closed", || !greedy.iter_mut().all(is_open));
}

#[test]
fn a_response_that_there_is_no_room_for_is_counted() {
    let world = World::new();
    let config = limits(|limits| limits.max_bytes(100_000));
    let server = world.node_with(config).server(SERVICE).unwrap();
    let client = world.node().client(SERVICE).unwrap();
    assert!(client.wait_for_server(HANG));
    server.method::<[u8], [u8]>("grow", |_| Ok(vec![0; 200_000].into())).unwrap();
    let grow = client.method::<[u8], [u8]>("grow").unwrap();
    assert!(matches!(grow.call(b"", HANG), Err(CallError::ConnectionLost)));
    assert_eq!(server.stats().broken, 1);
}

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        // A second panic would end the process.
        assert!(std::thread::panicking(), "as the test wants it");
    }
}

#[test]
fn the_memory_of_a_request_that_gets_no_answer_is_given_back() {
    let world = World::new();
    let config = limits(|limits| limits.max_bytes(1_000_000));
    let server = world.node_with(config).server(SERVICE).unwrap();
    let (entered, wait_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    for _ in 0..4 {
        let (entered, released, value) = (entered.clone(), released.clone(), PanicsOnDrop);
        server
            .method::<[u8], [u8]>("hang", move |bytes| {
                let _value = &value;
                entered.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
                Ok(bytes)
            })
            .unwrap();
        let mut peer = Peer::connect(&server);
        peer.shake_hands();
        peer.send(&ServiceRequest::encode("hang", &[0; 300_000]).unwrap());
        wait_entered.recv_timeout(HANG).expect("there is room");
        // It is dropped when it ends, which panics.
        assert!(server.remove_method("hang"));
        release.send(()).unwrap();
        assert!(peer.is_closed());
    }
}

#[test]
fn connections_without_a_handshake_make_room() {
    let world = World::new();
    let server = world.node_with(limits(|limits| limits.max_connections(2))).server(SERVICE).unwrap();
    let mut silent = [(); 2].map(|()| Peer::connect(&server));
    let mut peer = Peer::connect(&server);
    peer.shake_hands();
    assert!(silent[0].is_closed());
    let mut other = Peer::connect(&server);
    other.shake_hands();
    assert!(silent[1].is_closed());
    assert!(Peer::connect(&server).is_closed());
    assert_eq!(server.stats().refused, 3);
    assert_eq!(server.client_count(), 2);
}

/// What it works on for clients that are gone stays within the limits, and keeps nobody out.
#[test]
fn clients_that_give_up_leave_their_place() {
    let world = World::new();
    let config = limits(|limits| limits.max_connections(2).max_bytes(1_000_000));
    let server = world.node_with(config).server(SERVICE).unwrap();
    add_echo(&server);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    server
        .method::<[u8], [u8]>("hang", move |_| {
            let _ = released.lock().unwrap().recv();
            Ok(Bytes::new())
        })
        .unwrap();
    let hang = ServiceRequest::encode("hang", &[0; 300_000]).unwrap();
    for number in 1..=3 {
        let mut peer = Peer::connect(&server);
        peer.shake_hands();
        peer.send(&hang);
        until("it runs", || server.stats().calls == number);
        drop(peer);
        until("its connection is closed", || server.client_count() == 0);
    }
    let mut peer = Peer::connect(&server);
    peer.shake_hands();
    peer.send(&hang);
    assert!(peer.is_closed(), "there is no room for a fourth request");
    let mut peer = Peer::connect(&server);
    peer.shake_hands();
    peer.send(&ServiceRequest::encode("echo", b"fine").unwrap());
    assert_eq!(ServiceResponse::decode(&peer.frame().unwrap().payload).unwrap().payload, "fine");
    assert_eq!((server.stats().refused, server.stats().broken), (0, 1));
    for _ in 0..3 {
        release.send(()).unwrap();
    }
    // Their requests are gone, and so there is room.
    until("there is room", || {
        let mut peer = Peer::connect(&server);
        peer.shake_hands();
        release.send(()).unwrap();
        peer.send(&hang);
        !peer.is_closed()
    });
}

/// A server by hand, that a client has connected to.
struct FakeServer {
    listener: TcpListener,
    client: Client,
}

impl FakeServer {
    fn new(world: &World, config: Config) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = world.node_with(config).client(SERVICE).unwrap();
        world.register(Action::Register, listener.local_addr().unwrap().port());
        Self { listener, client }
    }

    /// The next connection of the client, which gets this answer to its handshake.
    fn accept(&self, handshake: &[u8]) -> Peer {
        let listener = self.listener.try_clone().unwrap();
        let stream = within_hang(move || listener.accept().unwrap().0);
        stream.set_read_timeout(Some(HANG)).unwrap();
        let mut peer = Peer(stream);
        assert_eq!(peer.frame().unwrap().kind, ServiceFrameKind::HandshakeRequest);
        peer.send(handshake);
        peer
    }

    fn connect(&self) -> Peer {
        let peer = self.accept(&ServiceFrame::handshake_response());
        assert!(self.client.wait_for_server(HANG));
        peer
    }
}

#[test]
fn hostile_servers_cost_their_calls_and_nothing_else() {
    let world = World::new();
    let fake = FakeServer::new(&world, limits(|limits| limits));
    let bad: [(&str, Vec<u8>); 4] = [
        ("a false length", header(u32::MAX, 4, 16).to_vec()),
        ("a request", ServiceRequest::encode("echo", b"").unwrap()),
        ("noise", vec![0xa5; 100]),
        ("a handshake", ServiceFrame::handshake_response()),
    ];
    for (what, answer) in bad {
        let mut peer = fake.connect();
        let call = echo(&fake.client).call_async(b"", HANG);
        assert_eq!(peer.frame().unwrap().kind, ServiceFrameKind::Request);
        peer.send(&answer);
        assert!(matches!(call.wait(), Err(CallError::BadResponse(_))), "{what}");
        assert!(peer.is_closed(), "{what}");
    }
    for handshake in
        [&b"\0\0\0\x01\x01\x02\0\x10\0\0\0\0\0\0\0\0\x02"[..], &ServiceResponse::default().encode().unwrap()]
    {
        assert!(fake.accept(handshake).is_closed(), "no version in common");
    }
    // A response that nobody asked for.
    let mut peer = fake.connect();
    peer.send(&ServiceResponse::default().encode().unwrap());
    assert!(peer.is_closed());
    // Damaged within a frame: the connection goes on.
    let mut peer = fake.connect();
    for answer in
        [&[&header(3, 4, 16)[..], b"\x12\x09x"].concat()[..], &ServiceResponse::default().encode().unwrap()]
    {
        let call = echo(&fake.client).call_async(b"", HANG);
        peer.frame().unwrap();
        peer.send(answer);
        assert!(matches!(call.wait(), Err(CallError::BadResponse(_))));
    }
    // It never answers: the call is given up, and the client comes again, which it does not tell.
    let events = fake.client.events();
    let call = echo(&fake.client).call_async(b"", SHORT);
    assert!(matches!(call.wait(), Err(CallError::Timeout)));
    assert!(peer.frame().is_some() && peer.is_closed());
    // Dropped, it would be told to have left.
    let _peer = fake.connect();
    assert_eq!(events.recv_timeout(HANG).unwrap().kind, ServiceEventKind::Connected);
    assert_eq!(events.try_recv(), None);
}

#[test]
fn a_server_that_answers_nothing_any_more_is_called_after_others() {
    let world = World::new();
    let frozen = FakeServer::new(&world, limits(|limits| limits));
    let mut peer = frozen.connect();
    let [server] = &frozen.client.servers()[..] else { panic!("one server") };
    let other = world.node().server(SERVICE).unwrap();
    add_echo(&other);
    assert!(frozen.client.wait_for_servers(2, HANG));
    let call = echo(&frozen.client).of_server(server).call_async(b"", SHORT);
    assert!(peer.frame().is_some());
    assert!(matches!(call.wait(), Err(CallError::Timeout)));
    let _silent = frozen.accept(b"");
    let response = echo(&frozen.client).call(b"", HANG).unwrap();
    assert_eq!(response.server.id, other.id());
}

/// The system gives a port again before the registration of the server that had it expires.
#[test]
fn a_response_of_another_server_is_none() {
    let world = World::new();
    let fake = FakeServer::new(&world, limits(|limits| limits));
    let response = |id| ServiceResponse {
        state: ferrocal_proto::CallState::Executed,
        service_id: Some(EntityId::from_wire(id)),
        ..ServiceResponse::default()
    };
    let mut peer = fake.connect();
    for (id, is_right) in [("1", true), ("2", false)] {
        let call = echo(&fake.client).call_async(b"", HANG);
        assert!(peer.frame().is_some());
        peer.send(&response(id).encode().unwrap());
        match call.wait() {
            Err(CallError::BadResponse(DropReason::UnexpectedSample)) => assert!(!is_right),
            other => assert!(other.is_ok() && is_right, "{id}: {other:?}"),
        }
    }
    assert!(peer.is_closed());
}

#[test]
fn a_response_that_nobody_asked_for_is_not_begun() {
    let world = World::new();
    let fake = FakeServer::new(&world, limits(|limits| limits));
    for begun in [&header(1_000_000, 4, 16)[..], &header(0, 4, 16)[..1]] {
        let mut peer = fake.connect();
        peer.send(begun);
        assert!(peer.is_closed());
    }
}

#[test]
fn a_server_that_does_not_agree_is_tried_again_and_forgotten_when_it_unregisters() {
    let world = World::new();
    let fake = FakeServer::new(&world, limits(|limits| limits.timeout(SHORT)));
    // No answer to the handshake.
    assert!(fake.accept(b"").is_closed());
    assert!(fake.accept(b"").is_closed());
    let mut peer = fake.connect();
    world.register(Action::Unregister, 1);
    let call = echo(&fake.client).call_async(b"", HANG);
    assert!(peer.frame().is_some(), "what is connected stays so");
    peer.send(
        &ServiceResponse { state: ferrocal_proto::CallState::Executed, ..ServiceResponse::default() }
            .encode()
            .unwrap(),
    );
    call.wait().unwrap();
    let events = fake.client.events();
    drop(peer);
    let kinds: Vec<_> = (0..2).map(|_| events.recv_timeout(HANG).unwrap().kind).collect();
    assert_eq!(kinds, [ServiceEventKind::Connected, ServiceEventKind::Disconnected]);
    assert!(matches!(echo(&fake.client).call(b"", HANG), Err(CallError::NoServer)));
    fake.listener.set_nonblocking(true).unwrap();
    world.register(Action::Register, fake.listener.local_addr().unwrap().port());
    until("it connects again", || fake.listener.accept().is_ok());
}

#[test]
fn servers_that_are_forged_make_room_for_others() {
    let world = World::new();
    let fake = FakeServer::new(&world, limits(|limits| limits.max_connections(3)));
    let mut forged = vec![fake.connect()];
    for id in ["2", "3"] {
        world.register_as(id, Action::Register, fake.listener.local_addr().unwrap().port());
        forged.push(fake.accept(&ServiceFrame::handshake_response()));
    }
    assert!(fake.client.wait_for_servers(3, HANG));
    let server = world.node().server(SERVICE).unwrap();
    until("it is connected", || fake.client.servers().iter().any(|one| one.id == server.id()));
    assert!(forged[2].is_closed(), "the newest");
    assert_eq!(fake.client.servers().len(), 3);
}

#[test]
fn methods_run_at_the_same_time() {
    let world = World::new();
    let node = world.node();
    let server = node.server(SERVICE).unwrap();
    let together = std::sync::Barrier::new(3);
    let most = Arc::new(AtomicUsize::new(0));
    let count = most.clone();
    server
        .method::<str, str>("meet", move |text| {
            together.wait();
            count.fetch_add(1, Ordering::SeqCst);
            Ok(text)
        })
        .unwrap();
    let clients: Vec<_> = (0..3).map(|_| node.client(SERVICE).unwrap()).collect();
    let calls: Vec<_> = clients
        .iter()
        .map(|client| {
            assert!(client.wait_for_server(HANG));
            client.method::<str, str>("meet").unwrap().call_async("", HANG)
        })
        .collect();
    calls.into_iter().for_each(|call| drop(call.wait().unwrap()));
    assert_eq!(most.load(Ordering::SeqCst), 3);
}
