//! A forked child can drop what it got of its parent's node, and the parent does not notice.
#![cfg(unix)]

#[path = "nodes/faulty.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod faulty;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use faulty::{Fate, Faulty};
use ferrocal::transport::memory::Network;
use ferrocal::{Clock, Config, LogLevel, Mode, Node};

/// Bounds a hang. The test does not take as long unless it fails.
const HANG: Duration = Duration::from_secs(60);

/// Runs `child` in a forked child. Returns whether it came to its end.
fn fork(child: impl FnOnce()) -> bool {
    // SAFETY: the child uses what this process has in memory, ends by `_exit`, and never returns from here.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let failed = catch_unwind(AssertUnwindSafe(child)).is_err();
        // SAFETY: it ends the child without running what the parent registered to run at its end.
        unsafe { libc::_exit(failed.into()) };
    }
    assert!(pid > 0, "there is no child");
    let start = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: `status` can be written to.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } {
            0 if start.elapsed() < HANG => thread::sleep(Duration::from_millis(1)),
            0 => {
                // SAFETY: it is this process's child, which has not been waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                panic!("the child hangs");
            }
            ended => {
                assert_eq!(ended, pid);
                return status == 0;
            }
        }
    }
}

#[test]
fn a_forked_child_drops_what_it_got_without_a_trace() {
    let parent = std::process::id();
    let (mut traces, child_end) = UnixStream::pair().unwrap();
    traces.set_nonblocking(true).unwrap();
    let child_end = Arc::new(child_end);
    let trace = move |what: &[u8]| {
        if std::process::id() != parent {
            (&*child_end).write_all(what).unwrap();
        }
    };
    let network = Network::new(1);
    let transport = || {
        let (trace, trace_send) = (trace.clone(), trace.clone());
        let faulty = Faulty::new(&network)
            .on_send(move |_| {
                trace_send(b"sent ");
                Fate::Send
            })
            .on_leave(move |_| trace(b"left "));
        Arc::new(faulty)
    };
    let config = Config::default().mode(Mode::Network);
    let node = Node::with_transport("parent", config.clone(), transport()).unwrap();
    let simulated =
        Node::with_transport("simulated", config.clone().clock(Clock::SimTime), transport()).unwrap();
    let other = Node::with_transport("other", config, Arc::new(network.host())).unwrap();
    let publisher = other.publisher::<str>("topic").unwrap();
    let subscriber = node.subscriber::<str>("topic").unwrap();
    let own_publisher = node.publisher::<str>("another topic").unwrap();
    let own_subscriber = node.subscriber::<str>("another topic").unwrap();
    let (entered, wait_entered) = mpsc::channel();
    let (leave, wait_leave) = mpsc::channel::<()>();
    let callback = move |_| {
        entered.send(()).unwrap();
        wait_leave.recv_timeout(HANG).unwrap();
    };
    let subscription = node.subscribe::<str>("topic", callback).unwrap();
    assert!(publisher.wait_for_subscribers(2, HANG) && own_publisher.wait_for_subscriber(HANG));
    #[cfg(feature = "tokio")]
    drop(own_publisher.send_async("starts a thread"));
    #[cfg(not(feature = "tokio"))]
    own_publisher.send("starts no thread").unwrap();
    own_subscriber.recv_timeout(HANG).unwrap();
    publisher.send("first").unwrap();
    // The child is made while the callback runs: there it will never return.
    wait_entered.recv_timeout(HANG).unwrap();
    let logs = node.logs().unwrap();
    let events = own_subscriber.events().for_each(|_| ()).unwrap();
    let mut handles =
        Some((node, simulated, logs, events, subscriber, subscription, own_publisher, own_subscriber));
    let ended = fork(|| {
        let (node, simulated, logs, events, subscriber, subscription, own_publisher, own_subscriber) =
            handles.take().unwrap();
        node.log(LogLevel::Error, "in the child");
        logs.close();
        drop((logs, events));
        subscriber.close();
        subscription.close();
        drop((subscriber, subscription, own_publisher, own_subscriber));
        drop((node, simulated));
    });
    assert!(ended, "the child failed");
    let mut text = [0; 64];
    let read = traces.read(&mut text).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::WouldBlock), "{}", String::from_utf8_lossy(&text));

    let (node, _simulated, logs, _events, subscriber, _subscription, ..) =
        handles.expect("it is the child that took them");
    node.log(LogLevel::Error, "in the parent");
    assert_eq!(logs.recv_timeout(HANG).unwrap().content, "in the parent");
    leave.send(()).unwrap();
    publisher.send("second").unwrap();
    for text in ["first", "second"] {
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, text);
    }
    wait_entered.recv_timeout(HANG).unwrap();
    leave.send(()).unwrap();
    assert_eq!(publisher.subscriber_count(), 2);
}
