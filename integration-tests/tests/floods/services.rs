//! Servers and clients of services that register without end.

use std::net::{Ipv4Addr, TcpListener};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};

use ferrocal::{Config, DropReason, Node, Server, TopicInfo};
use ferrocal_integration_tests::pair::Pair;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::victim::{TOPIC, Victim};
use ferrocal_integration_tests::wait;
use ferrocal_proto::{Action, Announcement, MAX_METHODS, MethodInfo, Registration, ServiceInfo};

use super::{MIB, Meter, Paced, config, hostile};

/// Servers and clients with as many methods as there can be, and some with one more.
pub(crate) fn lists_of_methods(pair: &Pair) {
    const COUNT: u64 = 1000;
    let mut victim = Victim::open(pair, config());
    // Nobody takes anything out of it.
    let _waiting = victim.monitor.changes();
    // A monitor, and what waits for those who listen to it.
    let meter = Meter::start("lists of methods", 2 * 4 * MIB);
    let paced = Paced::new(&mut victim);
    let TopicInfo { host_name, .. } = hostile(1, TOPIC);
    let methods = |count: usize| -> Vec<_> {
        let method = |number: usize| MethodInfo {
            name: format!("{number}{}", "x".repeat(100)).into(),
            ..MethodInfo::default()
        };
        (0..count).map(method).collect()
    };
    let [most, more] = [MAX_METHODS, MAX_METHODS + 1].map(methods);
    for n in 0..COUNT {
        let info = ServiceInfo {
            host_name: host_name.clone(),
            process_id: 7,
            service_name: "wheel".into(),
            service_id: ferrocal_proto::EntityId::from_wire(n.to_string()),
            methods: if n % 10 == 9 { more.clone() } else { most.clone() },
            ..ServiceInfo::default()
        };
        let announcement = if n % 2 == 0 { Announcement::Server(info) } else { Announcement::Client(info) };
        paced.victim.borrow().register(&Registration { action: Action::Register, announcement }.encode());
        if n % 20 == 19 {
            paced.settle();
        }
    }
    meter.check();
    let drops = victim.node.status().drops;
    let too_long = drops.get(DropReason::TooLong);
    assert_eq!(too_long, COUNT / 10, "{drops:?}");
    assert_eq!(drops.total(), too_long + drops.get(DropReason::Truncated), "each has its reason: {drops:?}");
    assert!(victim.monitor.refused() > 100);
    victim.still_receives();
}

/// How many servers a client connects to in these tests.
const CONNECTIONS: usize = 64;

fn with_few_connections() -> Config {
    let mut config = config();
    config.limits.service.max_connections = CONNECTIONS;
    config
}

/// The registration of a server of the service `wheel`, with two long names.
fn wheel(number: u64, port: u16) -> Vec<u8> {
    let TopicInfo { host_name, .. } = hostile(1, TOPIC);
    let info = ServiceInfo {
        host_name,
        process_id: 7,
        process_name: "x".repeat(WHEEL_LEN).into(),
        unit_name: "x".repeat(WHEEL_LEN).into(),
        service_name: "wheel".into(),
        service_id: ferrocal_proto::EntityId::from_wire(number.to_string()),
        tcp_port_v1: port.into(),
        ..ServiceInfo::default()
    };
    Registration { action: Action::Register, announcement: Announcement::Server(info) }.encode()
}

const WHEEL_LEN: usize = 1000;

/// What the limits above add up to: a monitor, the servers of a client, and the registrations of those that wait.
const MAX_OF_WHEELS: usize = 4 * MIB + 2 * CONNECTIONS * 2 * (WHEEL_LEN + 1000);

fn serve(node: &Node) -> Server {
    let server = node.server("wheel").expect("a good name");
    server.method::<str, str>("turn", Ok).expect("a good name");
    server
}

/// Ever other servers of a service that this node calls, which register again elsewhere. Nobody is there, or says nothing.
pub(crate) fn servers_of_a_service(pair: &Pair) {
    const COUNT: u64 = 100_000;
    let mut victim = Victim::open(pair, with_few_connections());
    let answering = [pair.sending_node(), pair.sending_node()];
    let first = serve(&answering[0]);
    let mut late = None;
    let client = victim.node.client("wheel").expect("a good name");
    let turn = client.method::<str, str>("turn").expect("a good name");
    assert!(client.wait_for_server(HANG));
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let silent_port = silent.local_addr().expect("an address").port();

    let meter = Meter::start("servers of a service", MAX_OF_WHEELS);
    let paced = Paced::new(&mut victim);
    let register = |number: u64, port: u16| paced.victim.borrow().register(&wheel(number, port));
    for number in 0..COUNT {
        // Nobody listens there.
        let port = if number % 10_000 == 0 { silent_port } else { 1 + (number % 2) as u16 };
        register(number, port);
        register(number, 3);
        if number % 50 == 49 {
            paced.settle();
            assert_eq!(turn.call("left", HANG).expect("it is answered").payload, "left");
        }
        if number == COUNT / 2 {
            late = Some(serve(&answering[1]));
        }
    }
    // One that came meanwhile is reached, though all the others go on.
    wait::until("a second server", || {
        (COUNT - 3 * CONNECTIONS as u64..COUNT).for_each(|number| register(number, 3));
        paced.settle();
        client.servers().len() == 2
    });
    meter.check();
    drop(first);
    wait::until_eq("servers", &1, || client.servers().len());
    assert_eq!(turn.call("right", HANG).expect("it is answered").payload, "right");
    drop(late);
    let drops = victim.node.status().drops;
    let full = drops.get(DropReason::RegistryFull);
    assert!(full > COUNT / 2, "{drops:?}");
    assert_eq!(drops.total(), full + drops.get(DropReason::Truncated), "each has its reason: {drops:?}");
    victim.still_receives();
}

/// Keeps the thread that wakes a task, until the other side is dropped.
struct Keeps {
    began: mpsc::Sender<()>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl Wake for Keeps {
    fn wake(self: Arc<Self>) {
        let _ = self.began.send(());
        let _ = self.end.lock().expect("nobody panics with it").recv();
    }
}

/// Servers register while the thread that would connect to them is kept by the program, and wait for it within bounds.
pub(crate) fn servers_while_their_thread_waits(pair: &Pair) {
    const COUNT: u64 = 10_000;
    let mut victim = Victim::open(pair, with_few_connections());
    let answering = pair.sending_node();
    let (may_answer, is_to_answer) = mpsc::channel::<()>();
    let is_to_answer = Mutex::new(is_to_answer);
    let server = serve(&answering);
    let answer = move |text: String| {
        let _ = is_to_answer.lock().expect("nobody panics with it").recv();
        Ok(text)
    };
    server.method::<str, str>("turn later", answer).expect("a good name");
    let client = victim.node.client("wheel").expect("a good name");
    let later = client.method::<str, str>("turn later").expect("a good name");
    assert!(client.wait_for_server(HANG));
    let (began, has_begun) = mpsc::channel();
    let (end, is_over) = mpsc::channel();
    let waker = Waker::from(Arc::new(Keeps { began, end: Mutex::new(is_over) }));
    let mut call = pin!(later.call_async("left", HANG));
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    may_answer.send(()).expect("it waits");
    has_begun.recv_timeout(HANG).expect("the response comes");

    let meter = Meter::start("servers while their thread waits", MAX_OF_WHEELS);
    let paced = Paced::new(&mut victim);
    for number in 0..COUNT {
        paced.victim.borrow().register(&wheel(number, 3));
        if number % 100 == 99 {
            paced.settle();
        }
    }
    meter.check();
    let full = victim.node.status().drops.get(DropReason::RegistryFull);
    // The one that is called registers, too.
    assert!(full >= COUNT - CONNECTIONS as u64, "{full} of {COUNT}");
    drop(end);
    drop(may_answer);
    let turn = client.method::<str, str>("turn").expect("a good name");
    assert_eq!(turn.call("right", HANG).expect("it is answered").payload, "right");
    victim.still_receives();
}
