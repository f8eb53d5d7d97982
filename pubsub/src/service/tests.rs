//! Names of servers' hosts, which others choose, and the end of the thread.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ferrocal_proto::{DropReason, EntityId};

use super::pool::Pool;
use super::{Call, CallError, ClientEnd, Command, Io, ReplySender, ServerIdentity, io, run_and_report};
use crate::registry::Identity;
use crate::resolver::Resolver;
use crate::{Config, Mode, lock};

/// For what must happen.
const HANG: Duration = Duration::from_secs(60);
/// So many names are looked up at once.
const RUNNING: usize = 4;
const SERVERS: usize = 200;

/// A client whose look-ups take until the test lets them go.
struct Services {
    io: Arc<Io>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    client: Arc<ClientEnd>,
    names: mpsc::Receiver<String>,
    let_go: Option<mpsc::Sender<()>>,
}

impl Services {
    fn new(config: Config) -> Self {
        Self::with(config, Pool::default())
    }

    fn with(mut config: Config, pool: Pool) -> Self {
        config.mode = Mode::Network;
        // A server registers once.
        config.registration.timeout = Duration::from_secs(3600);
        let (asked, names) = mpsc::channel();
        let (let_go, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let resolver = Resolver::with(SERVERS, move |name, _| {
            let _ = asked.send(name.to_owned());
            let _ = lock(&released).recv();
            Vec::new()
        });
        let (io, run) = io::new(&config, b"host", resolver, pool).expect("the system has what it takes");
        let client = Arc::new(ClientEnd::new(&Identity::new("unit", &config), "service", io.clone()));
        io.submit(Command::Client(client.clone()));
        Self { io, thread: Some(thread::spawn(run)), client, names, let_go: Some(let_go) }
    }

    /// Waits until everything so far has been taken note of.
    fn settle(&self) {
        let (reply, answer) = ReplySender::new();
        let call = Call::new(Vec::new(), None, reply);
        self.io.submit(Command::Call { client: self.client.id, server: None, call });
        assert!(matches!(answer.wait(None), Err(CallError::NoServer)));
    }

    /// A server registers at a port, or unregisters, and this has been taken note of. By a loopback address, another host
    /// cannot be reached: only its name is left.
    fn register(&self, number: usize, port: u16) {
        let identity = ServerIdentity {
            host_name: format!("host{number}").into(),
            process_id: 7,
            process_name: "".into(),
            unit_name: "".into(),
            id: EntityId::from_wire(number.to_string()),
        };
        let (client, source) = (self.client.id, Ipv4Addr::LOCALHOST);
        self.io.submit(Command::Server { client, source, port, identity });
        self.settle();
    }

    fn name(&self) -> String {
        self.names.recv_timeout(HANG).expect("a name is looked up")
    }

    /// Waits until the name of a server is looked up, and checks whose are before it.
    fn look_up_until(&self, last: usize, is_expected: impl Fn(usize) -> bool) {
        loop {
            let name = self.name();
            // Those that had begun go on with their second name.
            let Some(number) = name.strip_prefix("host").and_then(|number| number.parse().ok()) else {
                continue;
            };
            if number == last {
                return;
            }
            assert!(is_expected(number), "{name}");
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.let_go = None;
        self.io.stop();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn methods_run_while_names_are_looked_up() {
    let services = Services::new(Config::default());
    (0..SERVERS).for_each(|number| services.register(number, 1));
    (0..RUNNING).for_each(|_| drop(services.name()));
    let (runs, has_run) = mpsc::channel();
    services.io.run(Box::new(move || {
        let _ = runs.send(());
    }));
    assert_eq!(has_run.recv_timeout(HANG), Ok(()));
    assert!(services.names.try_recv().is_err(), "no more than that at once");
}

#[test]
fn what_no_thread_could_be_started_for_runs_later() {
    let tries = AtomicUsize::new(0);
    let start = move |job| {
        if tries.fetch_add(1, Ordering::SeqCst) < 3 {
            return Err(ErrorKind::WouldBlock.into());
        }
        thread::spawn(job);
        Ok(())
    };
    let services = Services::with(Config::default(), Pool::with(start));
    let (runs, has_run) = mpsc::channel();
    for owner in [None, Some(1)] {
        let runs = runs.clone();
        services.io.run_for(owner, Box::new(move || runs.send(()).unwrap()));
    }
    assert_eq!([(); 2].map(|()| has_run.recv_timeout(HANG)), [Ok(()); 2]);
}

#[test]
fn names_of_servers_that_have_gone_are_not_looked_up() {
    let mut services = Services::new(Config::default());
    for number in 0..RUNNING {
        services.register(number, 1);
        assert_eq!(services.name(), format!("host{number}"));
    }
    for number in RUNNING..SERVERS {
        services.register(number, 1);
        services.register(number, 0);
    }
    services.register(SERVERS, 1);
    services.let_go = None;
    services.look_up_until(SERVERS, |number| number < RUNNING);
}

#[test]
fn a_server_that_comes_takes_the_place_of_one_whose_name_is_looked_up() {
    let mut config = Config::default();
    config.limits.service.max_connections = RUNNING;
    let mut services = Services::new(config);
    for number in 0..RUNNING {
        services.register(number, 1);
        assert_eq!(services.name(), format!("host{number}"));
    }
    (RUNNING..2 * RUNNING).for_each(|number| services.register(number, 1));
    services.let_go = None;
    services.look_up_until(2 * RUNNING - 1, |number| number >= RUNNING);
}

#[test]
fn a_thread_that_ends_too_early_has_failed() {
    let has_failed = |run: fn() -> std::io::Result<()>| {
        let mut has_failed = false;
        run_and_report(run, || has_failed = true);
        has_failed
    };
    assert!(!has_failed(|| Ok(())));
    assert!(has_failed(|| Err(std::io::ErrorKind::InvalidInput.into())));
    assert!(has_failed(|| panic!("as the test wants it")));
}

#[test]
fn names_lead_to_no_network_that_is_not_allowed() {
    const FIRST_CONNECTION: usize = 1;
    let mut config = Config::default();
    config.allow.networks = vec!["10.0.0.0/8".parse().expect("a network")];
    let services = Services::new(config);
    services.register(1, 1);
    let address = (Ipv4Addr::LOCALHOST, 1).into();
    services.io.submit(Command::Resolved { connection: FIRST_CONNECTION, addresses: vec![address] });
    services.settle();
    assert_eq!(services.io.drops().get(DropReason::SourceNotAllowed), 1);
}
