//! A subscriber that has left before anybody has noticed.

use std::mem;
use std::net::{Ipv4Addr, TcpListener};
use std::ptr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ferrocal::Node;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_proto::TCP_HANDSHAKE;

use super::forged::{Forger, Peer, frame, port_of};
use super::tcp_only;

/// Bounds a hang.
const HANG: Duration = Duration::from_secs(60);
const TOPIC: &str = "left";

/// Runs something on a thread of its own. Returns whether the system has sent it SIGPIPE.
///
/// Programs in Rust ignore the signal, and others end by it. From a thread that blocks it, the system keeps it in either.
fn raises_sigpipe(run: impl FnOnce() + Send) -> bool {
    let run = || {
        // SAFETY: a set of signals is plain data, for which 0 is good; the pointers are to sets that live, or null where
        // nothing is to be returned.
        let is_pending = || unsafe {
            let mut pending: libc::sigset_t = mem::zeroed();
            assert_eq!(libc::sigpending(&mut pending), 0);
            libc::sigismember(&pending, libc::SIGPIPE) == 1
        };
        // SAFETY: as above.
        unsafe {
            let mut blocked: libc::sigset_t = mem::zeroed();
            libc::sigaddset(&mut blocked, libc::SIGPIPE);
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, ptr::null_mut()), 0);
        }
        run();
        is_pending()
    };
    thread::scope(|scope| scope.spawn(run).join()).expect("it does not panic")
}

/// The next message finds the connection broken.
pub(crate) fn a_subscriber_that_leaves() {
    let world = World::new(Mode::Local);
    let mut config = tcp_only(ours::config(&world, world.here()));
    config.registration.timeout = Duration::from_secs(10_000);
    config.subscriber.inline = true;
    let node = Node::with_config("left alone", config).expect("a node opens");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    // It keeps the thread of the connections, which would notice.
    let (entered, wait_entered) = mpsc::channel();
    let (leave, wait_leave) = mpsc::channel::<()>();
    let callback = move |_| {
        let _ = entered.send(());
        let _ = wait_leave.recv_timeout(HANG);
    };
    let _subscription = node.subscribe::<[u8]>("of others", callback).expect("a good name");
    let forger = Forger::new();
    (0..2).for_each(|_| forger.subscriber(1, TOPIC));
    assert!(publisher.wait_for_subscriber(HANG));
    let mut peer = Peer::connect(port_of(&node, TOPIC));
    peer.shake_hands();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    forger.publisher(2, "of others", listener.local_addr().expect("an address").port());
    let mut other = Peer::accept(&listener);
    other.write(&TCP_HANDSHAKE);
    other.write(&frame(2, "of others", 1, b"keeps it"));
    wait_entered.recv_timeout(HANG).expect("the message comes");

    drop(peer);
    let is_raised = raises_sigpipe(|| {
        wait::until("a message that is given up", || {
            publisher.send(b"to nobody").expect("it is sent");
            publisher.stats().overwritten > 0
        });
    });
    leave.send(()).expect("the callback waits");
    assert!(!is_raised);
}
