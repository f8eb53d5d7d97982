//! Waiting for datagrams, and ending that.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_transport::Wait;

use super::{PORT, Stage};
use crate::process::HANG;

const MOMENT: Duration = Duration::from_millis(1);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 7);
const OTHER_GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 8);

pub(super) fn a_timeout_returns(stage: &Stage) {
    let mut listener = stage.listen();
    let start = Instant::now();
    // The second time it may poll, if it does that.
    for round in 0..2u8 {
        for busy_poll in [Duration::ZERO, Duration::MAX] {
            for timeout in [Duration::ZERO, MOMENT] {
                let wait = Wait { timeout, busy_poll };
                let result = listener.receiver.recv(wait, &mut |_| panic!("nothing was sent"));
                result.expect("waiting works");
            }
        }
        stage.send(PORT, &[&[round]]);
        assert_eq!(listener.next_bytes(), [round]);
    }
    assert!(start.elapsed() < HANG, "a time-out did not end the wait");
}

pub(super) fn a_wait_ends_on_an_interrupt(stage: &Stage) {
    let mut listener = stage.listen();
    stage.send(PORT, &[b"one"]);
    assert_eq!(listener.next_bytes(), b"one");
    let interrupter = listener.receiver.interrupter();
    let this_thread = fs::canonicalize("/proc/thread-self").expect("threads are listed").join("stat");
    let is_asleep = || fs::read_to_string(&this_thread).is_ok_and(|stat| stat.contains(") S "));
    let is_interrupted = AtomicBool::new(false);
    let start = Instant::now();
    let mut wait = |busy_poll| {
        let wait = Wait { timeout: HANG, busy_poll };
        let result = listener.receiver.recv(wait, &mut |_| panic!("nothing was sent"));
        result.expect("an interrupt is no error");
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_asleep() {
                thread::yield_now();
            }
            is_interrupted.store(true, Ordering::SeqCst);
            interrupter.interrupt();
        });
        // It may also return early.
        while !is_interrupted.load(Ordering::SeqCst) {
            wait(Duration::ZERO);
        }
    });
    wait(Duration::ZERO);
    wait(Duration::MAX);
    assert!(start.elapsed() < HANG, "nothing ended the wait");
}

pub(super) fn an_interrupted_receiver_passes_nothing_on(stage: &Stage) {
    let mut listener = stage.listen();
    let mut stays = stage.listen();
    listener.receiver.interrupter().interrupt();
    stage.send(PORT, &[b"one"]);
    assert_eq!(stays.next_bytes(), b"one", "the others are not affected");
    listener.expect_nothing();
}

pub(super) fn groups_change_while_receiving(stage: &Stage) {
    let mut listener = stage.listen();
    let membership = listener.receiver.membership();
    let (sender, received) = mpsc::channel();
    let receiver = &mut listener.receiver;
    let receive = || {
        for _ in 0..3 {
            let mut bytes = None;
            while bytes.is_none() {
                let result = receiver.recv(Wait::sleep(HANG), &mut |datagram| {
                    // On the thread that receives, and in the middle of that.
                    if datagram.bytes == b"one" {
                        membership.join(GROUP).expect("a group can be joined");
                    }
                    bytes = Some(datagram.bytes.to_vec());
                });
                result.expect("receiving works");
            }
            sender.send(bytes).expect("it is waited for");
        }
    };
    let expect =
        |bytes: &[u8]| assert_eq!(received.recv_timeout(HANG).expect("it comes").as_deref(), Some(bytes));
    thread::scope(|scope| {
        scope.spawn(receive);
        stage.send(PORT, &[b"one"]);
        expect(b"one");
        stage.send_to(GROUP, PORT, &[b"two"]);
        expect(b"two");
        // While it waits.
        stage.send_to(OTHER_GROUP, PORT, &[b"before it was joined"]);
        membership.join(OTHER_GROUP).expect("a group can be joined");
        membership.leave(GROUP).expect("a group can be left");
        stage.send_to(GROUP, PORT, &[b"after it was left"]);
        stage.send_to(OTHER_GROUP, PORT, &[b"three"]);
        expect(b"three");
    });
}
