//! Services and TCP payload on hosts without IPv6, and between these and others.

use std::fs;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use ferrocal::{Client, LayersConfig, Node, Publisher, Server, Subscriber};
use ferrocal_integration_tests::ecal::{Calls, Release};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ours, wait, without_ipv6};
use serde_json::json;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        for (name, has_ipv6) in [("one_side", [false, true]), ("both_sides", [false, false])] {
            let body = move || exchange(&World::new(mode), has_ipv6);
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[], body));
        }
    }
    tests.push(Test::new("without_addresses", &[], without_addresses));
    tests.push(Test::new("with_the_real_ecal", &[Need::Ecal], with_the_real_ecal));
    suite::main(tests)
}

/// One of two nodes that call each other's service and publish to each other by TCP.
struct Side {
    node: Node,
    host: Host,
    has_ipv6: bool,
    server: Server,
    client: Client,
    publisher: Publisher<str>,
    subscriber: Subscriber<str>,
}

impl Side {
    fn new(world: &World, host: Host, names: [&str; 2], has_ipv6: bool) -> Self {
        let [own, other] = names;
        let mut config = ours::config(world, host);
        (config.publisher.layers, config.subscriber.layers) =
            (LayersConfig::NONE.tcp(true), LayersConfig::NONE.tcp(true));
        config.registration.refresh = Duration::from_millis(200);
        let open = || {
            let node = Node::with_config(own, config).expect("a node opens");
            let server = node.server(own).expect("it can listen");
            server.method::<str, str>("echo", Ok).expect("a good name");
            Self {
                host,
                has_ipv6,
                server,
                client: node.client(other).expect("a good name"),
                publisher: node.publisher(own).expect("a good topic"),
                subscriber: node.subscriber(other).expect("a good topic"),
                node,
            }
        };
        host.run(|| if has_ipv6 { open() } else { without_ipv6::run(open) })
    }

    /// The port of its publisher.
    fn port(&self) -> u16 {
        let monitor = self.node.monitor();
        let port = wait::until_some("a port", || {
            let publishers = monitor.snapshot().publishers;
            let own = publishers.iter().find(|seen| seen.info.topic_id == self.publisher.id())?;
            own.info.layers.iter().find_map(|layer| layer.parameters.tcp_port)
        });
        port.get()
    }

    /// Both of its ports are of IPv6 exactly if it has that.
    fn check_ports(&self) {
        for port in [self.server.port(), self.port()] {
            let families = ["tcp", "tcp6"].map(|family| listens(self.host, family, port));
            assert_eq!(families, [!self.has_ipv6, self.has_ipv6], "{port}");
        }
    }
}

/// Whether there is a socket of this family that listens on a port.
fn listens(host: Host, family: &str, port: u16) -> bool {
    let path = format!("/proc/thread-self/net/{family}");
    let table = host.run(|| fs::read_to_string(path)).unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        local.is_some_and(|local| local.ends_with(&format!(":{port:04X}"))) && state == Some("0A")
    })
}

fn exchange(world: &World, has_ipv6: [bool; 2]) {
    let sides = [
        Side::new(world, world.here(), ["one", "other"], has_ipv6[0]),
        Side::new(world, world.there(), ["other", "one"], has_ipv6[1]),
    ];
    for (from, to) in [(0, 1), (1, 0)] {
        let (publisher, subscriber) = (&sides[from].publisher, &sides[to].subscriber);
        assert!(sides[to].client.wait_for_server(HANG));
        let echo = sides[to].client.method::<str, str>("echo").expect("a good name");
        assert_eq!(echo.call("hello", HANG).expect("it is answered").payload, "hello");
        // What is sent before there is a connection reaches nobody.
        wait::until("a message", || {
            publisher.send("hello").expect("a message is sent");
            subscriber.try_recv().is_some_and(|message| message.payload == "hello")
        });
    }
    sides.iter().for_each(Side::check_ports);
}

/// Takes the addresses of IPv6 from a host, until it is dropped. Its sockets are there still.
struct WithoutAddresses(Host);

impl WithoutAddresses {
    fn new(host: Host) -> Self {
        Self::disable(host, 1);
        assert!(host.run(|| TcpListener::bind("[::1]:0").is_err()), "there is no address");
        Self(host)
    }

    fn disable(host: Host, value: u8) {
        let mut command = host.command("sh");
        command.args(["-c", "echo \"$0\" >/proc/sys/net/ipv6/conf/all/disable_ipv6", &value.to_string()]);
        assert!(command.status().expect("sh runs").success(), "IPv6 can be switched");
    }
}

impl Drop for WithoutAddresses {
    fn drop(&mut self) {
        Self::disable(self.0, 0);
    }
}

/// IPv6 is switched off as administrators do it.
fn without_addresses() {
    let world = World::new(Mode::Network);
    let _off = [world.here(), world.there()].map(WithoutAddresses::new);
    // What listens is a socket of IPv6 all the same, which takes connections of IPv4.
    exchange(&world, [true, true]);
}

/// eCAL has IPv6, and ours has not: it calls, and is called.
fn with_the_real_ecal() {
    let world = World::new(Mode::Network);
    let config = ours::config(&world, world.here());
    let (node, server, client) = without_ipv6::run(|| {
        let node = Node::with_config("ours", config).expect("a node opens");
        let server = node.server("our_service").expect("it can listen");
        server.method::<str, str>("echo", Ok).expect("a good name");
        let client = node.client("real_service").expect("a good name");
        (node, server, client)
    });
    let mut real = Calls::start(Release::Current, world.there(), world.mode(), "real_service", "our_service");
    assert!(client.wait_for_server(HANG));
    let echo = client.method::<str, str>("echo").expect("a good name");
    assert_eq!(echo.call("hello", HANG).expect("it is answered").payload, "hello");
    real.expect_connected(1);
    let executed = json!({"state": "EXECUTED", "error": "", "ret_state": 0, "response": "hello"});
    assert_eq!(real.call("echo", -1, "hello"), [executed]);
    assert!(listens(world.here(), "tcp", server.port()));
    drop(node);
}
