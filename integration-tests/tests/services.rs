//! Services with the real eCAL: its client calls ours, and ours calls its server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ferrocal::{
    CallError, Client, ClientMethod, MethodError, Node, Server, ServiceEventKind, ShutdownError,
    request_shutdown,
};
use ferrocal_integration_tests::ecal::{Calls, Monitor, Release};
use ferrocal_integration_tests::netns::FIRST_ADDRESS;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ours, wait};
use ferrocal_proto::ServiceFrame;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test =
        |name: &str, needs, body: Box<dyn FnOnce() + Send>| tests.push(Test::new(name, needs, body));
    for (name, mode, release) in [
        ("calls_go_both_ways::local", Mode::Local, Release::Current),
        ("calls_go_both_ways::network", Mode::Network, Release::Current),
        ("calls_go_both_ways::6.0", Mode::Network, Release::Old),
    ] {
        let needs: &[Need] = if release == Release::Old { &[Need::OldEcal] } else { &[Need::Ecal] };
        test(name, needs, Box::new(move || calls_go_both_ways(mode, release)));
    }
    for (name, release) in
        [("both_ask_to_end::6.1", Release::Current), ("both_ask_to_end::6.0", Release::Old)]
    {
        let needs: &[Need] = if release == Release::Old { &[Need::OldEcal] } else { &[Need::Ecal] };
        test(name, needs, Box::new(move || both_ask_to_end(release)));
    }
    test("local_mode_is_for_this_host", &[], Box::new(local_mode_is_for_this_host));
    suite::main(tests)
}

/// What the real server offers, and what ours does.
const REAL: &str = "real service";
const OURS: &str = "our service";
const LEN: usize = 10_000_000;

fn start(release: Release, world: &World) -> Calls {
    let [served, called] = [REAL, OURS].map(|name| name.replace(' ', "_"));
    Calls::start(release, world.there(), world.mode(), &served, &called)
}

fn serve(node: &Node, released: Receiver<()>) -> Server {
    let server = node.server(&OURS.replace(' ', "_")).unwrap();
    server.method::<[u8], [u8]>("echo", Ok).unwrap();
    server
        .method::<str, str>("sorry", |text| Err(MethodError::new(format!("sorry: {text}")).ret_state(-5)))
        .unwrap();
    server.method::<str, str>("panic", |_| panic!("as the test wants it")).unwrap();
    let released = Mutex::new(released);
    let hang = move |bytes| {
        let _ = released.lock().unwrap().recv();
        Ok(bytes)
    };
    server.method::<[u8], [u8]>("hang", hang).unwrap();
    server
}

fn calls_go_both_ways(mode: Mode, release: Release) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let (let_go, released) = channel();
    let server = serve(&node, released);
    let client = node.client(&REAL.replace(' ', "_")).unwrap();
    let events = client.events();
    let mut monitor = Monitor::start_of(release, world.there(), mode);
    let mut real = start(release, &world);
    for round in 0..2 {
        assert!(client.wait_for_server(HANG), "round {round}");
        real.expect_connected(1);
        if round == 0 {
            ours_calls(&client, &mut real, release);
            real_calls(&mut real, &server, &let_go);
            the_monitor_shows(&mut monitor, &server);
        } else {
            assert_eq!(echo(&client).call(b"again", HANG).unwrap().payload, "again");
            assert_eq!(real.call("echo", -1, "again"), [executed("again")]);
            break;
        }
        // Killed while it calls, and is called.
        real.process.send_line("call hang -1 x");
        wait::until("its call runs", || server.stats().calls == 107);
        let running = client.method::<str, str>("hang").unwrap().call_async("killed", HANG);
        real.process.expect("its method hangs", |event| event["request"] == "killed");
        real.process.kill();
        assert!(matches!(running.wait(), Err(CallError::ConnectionLost)));
        let_go.send(()).unwrap();
        wait::until_eq("servers", &0, || client.servers().len());
        assert!(matches!(echo(&client).call(b"", HANG), Err(CallError::NoServer)));
        real = start(release, &world);
    }
    let kinds: Vec<_> = (0..3).map(|_| events.recv_timeout(HANG).unwrap().kind).collect();
    let (connected, disconnected) = (ServiceEventKind::Connected, ServiceEventKind::Disconnected);
    assert_eq!(kinds, [connected, disconnected, connected]);
    drop(server);
    real.expect_connected(0);
}

fn echo(client: &Client) -> ClientMethod<[u8], [u8]> {
    client.method("echo").unwrap()
}

fn ours_calls(client: &Client, real: &mut Calls, release: Release) {
    let echo = echo(client);
    assert_eq!(echo.call(b"hello", HANG).unwrap().payload, "hello");
    assert_eq!(echo.call(b"", HANG).unwrap().payload, "");
    let sorry = client.method::<str, str>("sorry").unwrap().call("x", HANG).unwrap();
    assert_eq!((&*sorry.payload, sorry.ret_state), ("sorry: x", -5));
    match client.method::<str, str>("unknown").unwrap().call("", HANG) {
        Err(CallError::Failed { message, ret_state: 0 }) => assert!(message.contains("unknown"), "{message}"),
        other => panic!("{other:?}"),
    }
    let calls: Vec<_> = (0..100).map(|n: u32| echo.call_async(n.to_string().as_bytes(), HANG)).collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.wait().unwrap().payload, n.to_string());
    }
    let long: Vec<u8> = (0..LEN).map(|at| ((at * 31) >> 3) as u8).collect();
    assert!(echo.call(&long, HANG).unwrap().payload == long);
    let hang = client.method::<str, str>("hang").unwrap();
    assert!(matches!(hang.call("late", Duration::from_millis(50)), Err(CallError::Timeout)));
    let next = || assert_eq!(echo.call(b"next", HANG).unwrap().payload, "next");
    match release {
        Release::Current => {
            // The call that takes too long does not keep the next one waiting.
            next();
            real.process.send_line("release late");
        }
        Release::Old => {
            // In eCAL 6.0, a method that runs stops each connection that shares one of its 193 strands.
            real.process.send_line("release late");
            next();
        }
    }
}

fn executed(response: &str) -> Value {
    json!({"state": "EXECUTED", "error": "", "ret_state": 0, "response": response})
}

fn real_calls(real: &mut Calls, server: &Server, let_go: &Sender<()>) {
    assert_eq!(real.call("echo", -1, "hello"), [executed("hello")]);
    let failed = |error: &str, ret_state| json!({"state": "FAILED", "error": error, "ret_state": ret_state, "response": ""});
    assert_eq!(real.call("sorry", -1, "x"), [failed("sorry: x", -5)]);
    assert_eq!(real.call("unknown", -1, "x"), [failed("service `our_service` has no method `unknown`", 0)]);
    assert_eq!(real.call("panic", -1, "x"), [failed("service `our_service`: method `panic` panicked", -1)]);
    assert_eq!(real.call_long(LEN), [json!({"whole": true})]);
    assert_eq!(real.call_many(100), (0..100).collect::<Vec<_>>());
    assert_eq!(real.call("hang", 50, "late"), [] as [Value; 0], "eCAL gives it up");
    // The next one waits behind it.
    let_go.send(()).unwrap();
    assert_eq!(real.call("echo", -1, "next"), [executed("next")]);
    let stats = server.stats();
    assert_eq!((stats.calls, stats.failed, stats.broken, stats.stalled), (106, 3, 0, 0));
}

/// eCAL's monitor shows what is registered of both servers in the same way.
fn the_monitor_shows(monitor: &mut Monitor, server: &Server) {
    let find = |snapshot: &Value, list: &str, name: &str| {
        let rows = snapshot[list].as_array().into_iter().flatten();
        rows.filter(|row| row["service"] == name).cloned().collect::<Vec<_>>()
    };
    let method = |row: &Value, name: &str| {
        let methods = row["methods"].as_array().into_iter().flatten();
        methods.clone().find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    monitor.snapshot_with("server of ours with its calls", |snapshot| {
        let rows = find(snapshot, "servers", "our_service");
        rows.len() == 1
            && rows[0]["service_id"] == server.id().to_string()
            && method(&rows[0], "echo")["calls"] == 103
            && method(&rows[0], "sorry")
                == json!({"name": "sorry", "request": "string", "response": "string", "calls": 1})
    });
    monitor.snapshot_with("client of ours with its calls", |snapshot| {
        find(snapshot, "clients", "real_service").iter().any(|row| method(row, "echo")["calls"] == 104)
    });
}

/// Another host gets nothing of a server in local mode. This one does, over any of its addresses.
fn local_mode_is_for_this_host() {
    let world = World::new(Mode::Network);
    let mut config = ours::config(&world, world.here());
    config.mode = ferrocal::Mode::Local;
    let node = Node::with_config("local", config).unwrap();
    let server = node.server("here").unwrap();
    let address = (FIRST_ADDRESS, server.port());
    let answer = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        // The other side may have closed it already.
        let _ = stream.write_all(&ServiceFrame::handshake_request());
        let mut answer = [0; 17];
        stream.read_exact(&mut answer).map(|()| answer)
    };
    // As a client of eCAL would, which resolves the host's name.
    assert_eq!(answer().unwrap()[..], ServiceFrame::handshake_response());
    world.there().run(answer).unwrap_err();
    assert_eq!(server.stats().refused_hosts, 1);
}

/// eCAL's request to a process that it ends, both ways.
fn both_ask_to_end(release: Release) {
    let world = World::new(Mode::Local);
    let node = ours::node(&world, world.here(), "ours");
    let first = node.shutdown_requested().unwrap();
    let second = node.shutdown_requested().unwrap();
    let mut real = start(release, &world);
    assert!(!first.is_requested());
    real.process.send_line(&format!("stop {}", std::process::id()));
    assert!(first.wait_timeout(HANG) && second.wait_timeout(HANG));
    drop((first, second));
    assert!(
        matches!(request_shutdown(std::process::id()), Err(ShutdownError::NotListening(_))),
        "nobody waits"
    );
    assert!(!node.shutdown_requested().unwrap().is_requested(), "that was asked before");
    real.process.send_line("stopped");
    assert_eq!(real.process.event("looking")["ok"], true);
    request_shutdown(real.process.id()).unwrap();
    real.process.event("stopped");
}
