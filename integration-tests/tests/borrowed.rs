//! Messages that callbacks look at where they lie: in shared memory, with the real eCAL and with ourselves, and by every
//! other layer.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ferrocal::{
    Config, DropReason, LayersConfig, Node, PayloadReadError, Publisher, ShmConfig, Subscription,
};
use ferrocal_integration_tests::netns::SHARED_MEMORY;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ecal, example, ours, wait};
use ferrocal_shm::NamedLock;

const TOPIC: &str = "borrowed";
const SHM: &str = "--layer=shm";
/// With its acknowledgement, a publisher of eCAL waits for each callback.
const ACKNOWLEDGED: &str = "--acknowledge=60000";
const ZERO_COPY: &str = "--zero-copy";
const LENS: [usize; 4] = [20, 64_000, 1_000_000, 50_000_000];
/// A message that did not come in this time does not come any more: it is longer than a publisher waits for its file.
const MISSED: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test = |name: &str, needs: &'static [Need], body: fn()| tests.push(Test::new(name, needs, body));
    test("of_real_publishers", &[Need::Ecal], of_real_publishers);
    test("of_our_publishers", &[], of_our_publishers);
    test("of_a_growing_real_publisher", &[Need::Ecal], of_a_growing_real_publisher);
    test("of_a_growing_publisher_of_ours", &[], of_a_growing_publisher_of_ours);
    test(
        "a_longer_file_is_registered_before_its_message",
        &[],
        a_longer_file_is_registered_before_its_message,
    );
    test("by_all_layers", &[], by_all_layers);
    test("beside_who_wants_a_copy", &[], beside_who_wants_a_copy);
    test("two_publishers_and_one_busy_callback", &[], two_publishers_and_one_busy_callback);
    test("a_callback_that_panics_unlocks", &[], || ends_in_the_callback(true));
    test("a_callback_that_drops_its_subscription_unlocks", &[], || ends_in_the_callback(false));
    test("a_publisher_that_does_not_wait_takes_another_file", &[], a_publisher_that_does_not_wait);
    test("a_publisher_killed_meanwhile", &[Need::Examples], a_publisher_killed_meanwhile);
    test("a_file_shortened_meanwhile", &[], a_file_shortened_meanwhile);
    test("a_message_changed_meanwhile", &[], a_message_changed_meanwhile);
    suite::main(tests)
}

/// Settings for one layer.
fn config(world: &World, layers: LayersConfig) -> Config {
    let mut config = ours::config(world, world.here());
    (config.publisher.layers, config.subscriber.layers) = (layers, layers);
    config
}

/// A node on shared memory.
fn node(world: &World, shm: ShmConfig) -> Node {
    let mut config = config(world, LayersConfig::NONE.shm(true));
    config.publisher.shm = shm;
    Node::with_config("ours", config).expect("a node opens")
}

fn zero_copy() -> ShmConfig {
    ShmConfig::default().zero_copy(true)
}

/// Publishers that wait for callbacks as long as they take.
fn acknowledged() -> ShmConfig {
    zero_copy().acknowledge_timeout(HANG)
}

/// A callback that takes longer than 100 ms gets copies for a while, which a busy machine can make of any. So tests count on
/// the first message alone, and send others until one lies in place.
fn of_real_publishers() {
    let world = World::new(Mode::Local);
    let node = node(&world, ShmConfig::default());
    for (options, permits) in [(&[SHM, ACKNOWLEDGED, ZERO_COPY][..], true), (&[SHM, ACKNOWLEDGED], false)] {
        let subscriber = ours::Subscriber::borrowing(&node, &[TOPIC]);
        let mut publisher = ecal::Publisher::start_with(world.there(), Mode::Local, options, TOPIC, 50_000);
        publisher.expect_matched(TOPIC, 1);
        publisher.send(200, 0.0);
        subscriber.await_received(200);
        subscriber.totals()[0].assert_all(200, 50_000);
        assert_eq!(subscriber.in_place() > 0, permits, "{options:?}");
        println!("{options:?}: {} of 200 in place", subscriber.in_place());
    }
}

fn of_our_publishers() {
    let world = World::new(Mode::Local);
    for (permits, buffer_count) in [(true, 1), (true, 3), (false, 1)] {
        let node = node(&world, acknowledged().zero_copy(permits).buffer_count(buffer_count));
        let mut publisher = ours::Publisher::new(&node, &[(TOPIC, 50_000)]);
        let subscriber = ours::Subscriber::borrowing(&node, &[TOPIC]);
        publisher.expect_matched(1);
        publisher.send(200, 0.0);
        subscriber.await_received(200);
        subscriber.totals()[0].assert_all(200, 50_000);
        assert_eq!(subscriber.in_place() > 0, permits);
        println!("{buffer_count} buffers, {permits}: {} of 200 in place", subscriber.in_place());
        let stats = subscriber.stats(TOPIC);
        assert_eq!((stats.received, stats.received_bytes), (200, 200 * 50_000));
        assert!(stats.latency.is_some());
    }
}

fn of_a_growing_real_publisher() {
    let world = World::new(Mode::Local);
    let node = node(&world, ShmConfig::default());
    let subscriber = ours::Subscriber::borrowing(&node, &[TOPIC]);
    let options = [SHM, ZERO_COPY];
    let mut publisher = ecal::Publisher::start_with(world.there(), Mode::Local, &options, TOPIC, 20);
    publisher.expect_matched(TOPIC, 1);
    for (index, len) in LENS.into_iter().enumerate() {
        publisher.process.send_line(&format!("size {len}"));
        publisher.send(1, 0.0);
        subscriber.await_received(index as u64 + 1);
    }
    assert_grown(&subscriber);
    // The longest one is the first of another subscription.
    drop(subscriber);
    publisher.process.expect("no subscriber", |event| event["event"] == "unmatched" && event["peers"] == 0);
    let subscriber = ours::Subscriber::borrowing(&node, &[TOPIC]);
    publisher.expect_matched(TOPIC, 1);
    publisher.send(1, 0.0);
    subscriber.await_received(1);
    let row = &subscriber.totals()[0];
    assert_eq!((row.bytes, row.corrupt, subscriber.in_place()), (LENS[3] as u64, 0, 1));
}

fn assert_grown(subscriber: &ours::Subscriber) {
    let rows = subscriber.totals();
    assert_eq!(rows[0].lens, LENS.map(|len| len as u64));
    assert_eq!((rows[0].received, rows[0].corrupt, rows[0].dropped), (4, 0, 0));
    assert!(subscriber.in_place() > 0);
}

fn of_a_growing_publisher_of_ours() {
    let world = World::new(Mode::Local);
    let node = node(&world, zero_copy());
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let ramp = ferrocal_integration_tests::ramp::Table::new(LENS[3]);
    let subscriber = ours::Subscriber::borrowing(&node, &[TOPIC]);
    wait::until_eq("subscribers", &1, || publisher.subscriber_count());
    for (index, len) in (0..).zip(LENS) {
        publisher.send(ramp.message(index, len)).expect("a message is sent");
        subscriber.await_received(index + 1);
    }
    assert_grown(&subscriber);
    drop(subscriber);
    wait::until_eq("subscribers", &0, || publisher.subscriber_count());
    let subscriber = ours::Subscriber::borrowing(&node, &[TOPIC]);
    wait::until_eq("subscribers", &1, || publisher.subscriber_count());
    publisher.send(ramp.message(4, LENS[3])).expect("a message is sent");
    subscriber.await_received(1);
    let row = &subscriber.totals()[0];
    assert_eq!((row.bytes, row.corrupt, subscriber.in_place()), (LENS[3] as u64, 0, 1));
}

fn a_longer_file_is_registered_before_its_message() {
    const AGES: Duration = Duration::from_secs(3600);
    const LENS: [usize; 3] = [20, 64_000, 1_000_000];
    let world = World::new(Mode::Local);
    let mut config = config(&world, LayersConfig::NONE.shm(true));
    config.publisher.shm = ShmConfig::default().acknowledge_timeout(AGES);
    // A refresh would tell of the file, too.
    (config.registration.refresh, config.registration.timeout) = (AGES, 10 * AGES);
    let node = Node::with_config("ours", config).expect("a node opens");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    let (done, sent) = mpsc::channel();
    thread::spawn(move || {
        LENS.iter().for_each(|&len| publisher.send(&vec![7; len]).expect("it is sent"));
        publisher.send_batch([&[7; 20][..], &[7; 2_000_000]]).expect("they are sent");
        let _ = done.send(publisher);
    });
    sent.recv_timeout(HANG).expect("each message is acknowledged");
    for len in LENS.into_iter().chain([20, 2_000_000]) {
        assert_eq!(subscriber.recv_timeout(HANG).expect("a message").payload.len(), len);
    }
}

fn by_all_layers() {
    let world = World::new(Mode::Local);
    let none = LayersConfig::NONE;
    for layers in [none.udp(true), none.tcp(true), none.shm(true).udp(true).tcp(true)] {
        let node = Node::with_config("ours", config(&world, layers)).expect("a node opens");
        let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
        let subscriber = Stopping::at(&node, b"nothing");
        assert!(publisher.wait_for_subscriber(HANG));
        let message = ferrocal_integration_tests::ramp::message(7, 200_000);
        // The connections of TCP come later than the match.
        wait::until("a message", || {
            publisher.send(&message).expect("a message is sent");
            subscriber.seen.try_iter().any(|seen| seen == Seen::well(&message, false))
        });
    }
}

/// Who needs a copy does not wait for a callback: then all have the copy.
fn beside_who_wants_a_copy() {
    let world = World::new(Mode::Local);
    let (one, other) = (node(&world, acknowledged()), node(&world, acknowledged()));
    let mut publisher = ours::Publisher::new(&one, &[(TOPIC, 10_000)]);
    let borrowing = [&one, &other].map(|node| ours::Subscriber::borrowing(node, &[TOPIC]));
    publisher.expect_matched(2);
    let mut sent = 0;
    let mut send_until_in_place = |publisher: &mut ours::Publisher, before: [u64; 2]| {
        wait::until("messages in place for both", || {
            publisher.send(1, 0.0);
            sent += 1;
            borrowing.iter().for_each(|subscriber| subscriber.await_received(sent));
            borrowing.iter().zip(before).all(|(subscriber, before)| subscriber.in_place() > before)
        });
        sent
    };
    let sent_before = send_until_in_place(&mut publisher, [0, 0]);
    let before = borrowing.each_ref().map(ours::Subscriber::in_place);
    let copying = ours::Subscriber::new(&other, &[TOPIC]);
    publisher.expect_matched(3);
    publisher.send(100, 0.0);
    copying.await_received(100);
    borrowing.iter().for_each(|subscriber| subscriber.await_received(sent_before + 100));
    assert_eq!(borrowing.each_ref().map(ours::Subscriber::in_place), before);
    drop(copying);
    publisher.expect_matched(2);
    let sent = 100 + send_until_in_place(&mut publisher, before);
    for subscriber in &borrowing {
        subscriber.await_received(sent);
        subscriber.totals()[0].assert_all(sent, 10_000);
    }
}

/// A callback that stops at messages which begin with `stop`, until it is let go, and reports all messages.
struct Stopping {
    /// Whether the message lies in place.
    entered: mpsc::Receiver<bool>,
    /// Dropped before the subscription, which waits for its callback.
    leave: mpsc::Sender<()>,
    seen: mpsc::Receiver<Seen>,
    subscription: Subscription<[u8]>,
}

/// A message, and what became of it until the callback ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    all: Result<Vec<u8>, PayloadReadError>,
    in_place: bool,
    intact: bool,
}

impl Seen {
    fn well(all: &[u8], in_place: bool) -> Self {
        Self { all: Ok(all.to_vec()), in_place, intact: true }
    }

    fn changed() -> Self {
        Self { all: Err(PayloadReadError::Changed), in_place: true, intact: false }
    }
}

impl Stopping {
    fn at(node: &Node, stop: &'static [u8]) -> Self {
        let (entering, entered) = mpsc::channel();
        let (leave, leaving) = mpsc::channel();
        let (report, seen) = mpsc::channel();
        let subscription = node.subscribe_borrowed(TOPIC, move |message| {
            let payload = message.payload;
            let mut start = vec![0; stop.len().min(payload.len())];
            payload.read(0, &mut start).expect("it is there at first");
            if start == stop {
                // Nobody waits for the last ones of a publisher that is killed.
                let _ = entering.send(payload.is_in_place());
                let _ = leaving.recv();
            }
            let all = payload.to_bytes().map(Vec::from);
            let (in_place, intact) = (payload.is_in_place(), payload.is_intact());
            let _ = report.send(Seen { all, in_place, intact });
        });
        Self { entered, leave, seen, subscription: subscription.expect("a good name") }
    }

    fn await_stop(&self) -> bool {
        self.entered.recv_timeout(HANG).expect("it comes to the message")
    }

    fn go_on(&self) {
        self.leave.send(()).expect("it waits");
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(HANG).expect("a message")
    }

    /// Sends a message until it stops at one that lies in place.
    fn stop_in_place(&self, publisher: &Publisher<[u8]>, message: &[u8]) {
        wait::until("a message in place", || {
            publisher.send(message).expect("a message is sent");
            // Nobody waits for a subscriber that has not opened the file yet.
            match self.entered.recv_timeout(MISSED) {
                Ok(true) => return true,
                Ok(false) => self.go_on(),
                Err(_) => {}
            }
            false
        });
        // All that came before has been seen by then.
        self.seen.try_iter().for_each(drop);
    }

    /// Sends a message until one comes, in place. The next one waits for it: while a reader looks at it, the publisher would
    /// take another file.
    fn await_in_place(&self, publisher: &Publisher<[u8]>, message: &[u8]) {
        let expected = Seen::well(message, true);
        wait::until("a message in place", || {
            publisher.send(message).expect("a message is sent");
            self.seen.recv_timeout(MISSED).is_ok_and(|seen| seen == expected)
        });
    }
}

fn two_publishers_and_one_busy_callback() {
    let world = World::new(Mode::Local);
    let node = node(&world, zero_copy());
    let acknowledging = self::node(&world, acknowledged());
    let stopping = Stopping::at(&node, b"stop");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let other = acknowledging.publisher::<[u8]>(TOPIC).expect("a good name");
    assert!(publisher.wait_for_subscriber(HANG) && other.wait_for_subscriber(HANG));
    stopping.stop_in_place(&publisher, b"stop");
    // It returns when the message was taken, though the callback is with the other one.
    other.send(b"other").expect("a message is sent");
    assert!(stopping.seen.try_recv().is_err());
    stopping.go_on();
    assert_eq!(stopping.next(), Seen::well(b"stop", true));
    assert_eq!(stopping.next(), Seen::well(b"other", false));
    stopping.await_in_place(&other, b"idle");
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(SHARED_MEMORY).expect("shared memory is a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    entries.filter_map(name).filter(|name| name.starts_with("ecal_")).collect()
}

/// The memory file of the one publisher there is.
fn memory_file(others: &[String]) -> PathBuf {
    let is_it = |name: &String| !name.ends_with("_mtx") && !name.ends_with("_evt") && !others.contains(name);
    let name = wait::until_some("a memory file", || names().into_iter().find(|name| is_it(name)));
    Path::new(SHARED_MEMORY).join(name)
}

fn lock_of(file: &Path) -> NamedLock {
    let name = file.file_name().and_then(|name| name.to_str()).expect("a plain name");
    NamedLock::open(&format!("{name}_mtx")).expect("the lock is there")
}

fn ends_in_the_callback(panics: bool) {
    let world = World::new(Mode::Local);
    let others = names();
    let (node, publishing) = (node(&world, zero_copy()), self::node(&world, zero_copy()));
    let publisher = publishing.publisher::<[u8]>(TOPIC).expect("a good name");
    let own = Arc::new(Mutex::new(None::<Subscription<[u8]>>));
    let subscription = node.subscribe_borrowed(TOPIC, {
        let own = own.clone();
        move |message| {
            assert!(message.payload.is_in_place());
            if panics {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            drop(own.lock().unwrap().take());
            assert_eq!(message.payload.array(0), Ok(*b"end"), "it is there as long as the callback runs");
        }
    });
    *own.lock().unwrap() = Some(subscription.expect("a good name"));
    // In another process's place: it keeps the file.
    assert!(publisher.wait_for_subscriber(HANG));
    publisher.send(b"end").expect("a message is sent");
    wait::until_eq("subscribers", &0, || publisher.subscriber_count());
    let file = memory_file(&others);
    lock_of(&file).lock(HANG).expect("nobody has it");
    lock_of(&file).unlock();
    let again = Stopping::at(&node, b"nothing");
    assert!(publisher.wait_for_subscriber(HANG));
    again.await_in_place(&publisher, b"again");
    assert_eq!(memory_file(&others), file, "the publisher had no need of another file");
    assert!(!node.status().has_failed);
}

/// After 200 ms, it leaves the message to the callback, and takes another file.
fn a_publisher_that_does_not_wait() {
    let world = World::new(Mode::Local);
    let others = names();
    let node = node(&world, zero_copy());
    let stopping = Stopping::at(&node, b"stop");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    assert!(publisher.wait_for_subscriber(HANG));
    stopping.stop_in_place(&publisher, b"stop");
    let file = memory_file(&others);
    publisher.send(b"lost, or not").expect("a message is sent");
    assert_ne!(memory_file(&others), file);
    stopping.go_on();
    assert_eq!(stopping.next(), Seen::well(b"stop", true));
    // It took too long, so it gets copies until it was quick often enough.
    let mut copies = 0;
    wait::until("a message in place", || {
        publisher.send(b"more").expect("a message is sent");
        stopping.seen.try_iter().any(|seen| {
            assert!(seen.intact);
            copies += usize::from(seen == Seen::well(b"more", false));
            seen == Seen::well(b"more", true)
        })
    });
    assert!(copies > 10, "{copies} copies");
}

fn a_publisher_killed_meanwhile() {
    let world = World::new(Mode::Local);
    let node = node(&world, zero_copy());
    let stopping = Stopping::at(&node, b"hello world");
    let folder = std::env::temp_dir().join(format!("ferrocal-borrowed-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let settings = "publisher: { layer: { udp: { enable: false }, shm: { enable: true, zero_copy_mode: true, \
                    acknowledge_timeout_ms: 60000 } } }\n";
    fs::write(folder.join("ecal.yaml"), settings).expect("settings can be written");
    let environment = [("ECAL_DATA", folder.to_str().expect("a plain path"))];
    let arguments = format!("{TOPIC} --mode local --wait-for-subscriber 60 --rate 1000");
    let publisher = example::start_with(world.here(), "pub", &arguments, &environment);
    assert!(stopping.await_stop(), "the first one lies in place");
    publisher.kill();
    stopping.go_on();
    assert_eq!(stopping.next(), Seen::well(b"hello world 0", true));
    // The next one's messages come as before.
    let publisher = example::start_with(world.here(), "pub", &arguments, &environment);
    for _ in 0..30 {
        stopping.await_stop();
        stopping.go_on();
        let seen = stopping.next();
        assert!(seen.intact && seen.all.is_ok(), "{seen:?}");
    }
    publisher.kill();
}

fn a_file_shortened_meanwhile() {
    let world = World::new(Mode::Local);
    let others = names();
    let node = node(&world, zero_copy());
    let stopping = Stopping::at(&node, b"stop");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    assert!(publisher.wait_for_subscriber(HANG));
    let mut long = vec![7; 100_000];
    for len in [0, 50_000] {
        long[..4].copy_from_slice(b"stop");
        stopping.stop_in_place(&publisher, &long);
        let before = node.status().drops.get(DropReason::MemoryFileLost);
        OpenOptions::new().write(true).open(memory_file(&others)).unwrap().set_len(len).unwrap();
        stopping.go_on();
        assert_eq!(stopping.next(), Seen::changed());
        wait::until("a counted loss", || node.status().drops.get(DropReason::MemoryFileLost) > before);
        // The publisher takes another file, of which we have to learn.
        long[..4].copy_from_slice(b"well");
        stopping.await_in_place(&publisher, &long);
    }
    assert!(!stopping.subscription.is_finished() && !node.status().has_failed);
}

/// Where the clock of the message is in the file, and a byte of its payload.
const CLOCK_AT: u64 = 24 + 24;
const PAYLOAD_AT: u64 = 24 + 64;

fn a_message_changed_meanwhile() {
    let world = World::new(Mode::Local);
    let others = names();
    let node = node(&world, zero_copy());
    let stopping = Stopping::at(&node, b"stop");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    assert!(publisher.wait_for_subscriber(HANG));
    stopping.stop_in_place(&publisher, b"stop");
    // Somebody writes another message without the lock.
    let file = OpenOptions::new().write(true).open(memory_file(&others)).unwrap();
    file.write_all_at(&1_000_000_u64.to_le_bytes(), CLOCK_AT).unwrap();
    file.write_all_at(b"next", PAYLOAD_AT).unwrap();
    assert_eq!(node.status().drops.get(DropReason::Torn), 0);
    stopping.go_on();
    assert_eq!(stopping.next(), Seen::changed());
    wait::until_eq("a counted change", &1, || node.status().drops.get(DropReason::Torn));
    stopping.await_in_place(&publisher, b"well");
}
