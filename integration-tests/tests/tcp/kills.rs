//! Our own programs, killed at any moment of an exchange. The other side is ours and the real eCAL, and goes on.

use std::sync::mpsc;
use std::time::Duration;

use ferrocal_integration_tests::ecal::{self, Release};
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{example, ours, ramp, wait};

use super::{TCP, node};

const TOPIC: &str = "tcp_kills";
const LEN: usize = 100_000;

/// Publishers that send as fast as they can.
pub(crate) fn killed_publishers() {
    let world = World::new(Mode::Local);
    let node = node(&world, "survivor");
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    let mut real = ecal::Subscriber::start_of(Release::Current, world.there(), Mode::Local, TCP, &[TOPIC]);
    let settings = example::settings("tcp");
    for round in 1..=example::kills() as usize {
        let killed = example::start_with(
            world.here(),
            "pub",
            &format!("{TOPIC} --mode local --payload ramp --size {LEN} --rate 0"),
            &[("ECAL_DATA", &settings)],
        );
        subscriber.await_publishers(round, 5);
        real.totals_with("messages of the new one", |rows| {
            rows.iter().filter(|row| row.received >= 5).count() == round
        });
        killed.kill();
    }
    for row in real.totals_with("what came", |_| true) {
        assert_eq!((row.corrupt, &*row.lens), (0, &[LEN as u64][..]), "{row:?}");
    }
    wait::until_eq("connections", &Some(0), || node.status().tcp.map(|tcp| tcp.publishers));
    subscriber.expect_intact(LEN);
    assert_eq!(node.status().drops.total(), 0, "{:?}", node.status());
}

/// Subscribers that are sent messages all the time.
pub(crate) fn killed_subscribers() {
    const REAL: &str = "tcp_kills_of_ecal";
    const PERIOD: Duration = Duration::from_millis(1);
    let world = World::new(Mode::Local);
    let node = node(&world, "survivor");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let table = ramp::Table::new(LEN);
    let mut real =
        ecal::Publisher::start_of(Release::Current, world.there(), Mode::Local, TCP, &[(REAL, LEN)]);
    real.begin_sending(0, 500.0);
    let settings = example::settings("tcp");
    std::thread::scope(|scope| {
        let (ended, has_ended) = mpsc::channel::<()>();
        let (publisher, table) = (&publisher, &table);
        scope.spawn(move || {
            for number in 0.. {
                if has_ended.recv_timeout(PERIOD) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
                publisher.send(table.message(number, LEN)).expect("a message is sent");
            }
        });
        for _ in 0..example::kills() {
            let killed = [TOPIC, REAL].map(|topic| {
                let arguments = format!("{topic} --mode local");
                example::start_with(world.here(), "sub", &arguments, &[("ECAL_DATA", &settings)])
            });
            killed.iter().for_each(|one| one.await_text("received message"));
            killed.into_iter().for_each(Process::kill);
        }
        drop(ended);
    });
    wait::until_eq("connections", &Some(0), || {
        // It is seen when something is sent at the latest.
        publisher.send(table.message(0, LEN)).expect("a message is sent");
        node.status().tcp.map(|tcp| tcp.subscribers)
    });
}
