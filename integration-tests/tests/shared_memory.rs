//! Shared memory, with the real eCAL and with ourselves: every length, growth, all settings, and peers that die or lie.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ferrocal::{Config, DropReason, LayersConfig, LocalRegistration, Node, ShmConfig};
use ferrocal_integration_tests::ecal::{self, Release};
use ferrocal_integration_tests::netns::SHARED_MEMORY;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::usage::Usage;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{example, ours, wait};

const TOPIC: &str = "memory";
/// What eCAL is started with so that it has no configuration at all: it prefers shared memory then.
const DEFAULT: &str = "--layer=default";
const SHM: &str = "--layer=shm";
const LENS: [usize; 4] = [20, 64_000, 1_000_000, 50_000_000];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test = |name: &str, needs: &'static [Need], body: fn()| tests.push(Test::new(name, needs, body));
    test("real_to_ours", &[Need::Ecal], real_to_ours);
    test("ours_to_real", &[Need::Ecal], ours_to_real);
    test("growing_real_to_ours", &[Need::Ecal], growing_real_to_ours);
    test("growing_ours_to_real", &[Need::Ecal], growing_ours_to_real);
    test("acknowledged_real_to_ours", &[Need::Ecal], acknowledged_real_to_ours);
    test("acknowledged_ours_to_real", &[Need::Ecal], acknowledged_ours_to_real);
    test("with_the_old_ecal", &[Need::OldEcal], with_the_old_ecal);
    test("one_host_by_memory_the_other_by_udp", &[Need::Ecal], one_host_by_memory_the_other_by_udp);
    test("registered_in_shared_memory", &[Need::Ecal], registered_in_shared_memory);
    test("registered_in_shared_memory_by_us", &[], registered_in_shared_memory_by_us);
    test("several_readers_in_a_process", &[], several_readers_in_a_process);
    test("a_new_subscription_gets_no_old_message", &[], a_new_subscription_gets_no_old_message);
    test("files_are_removed", &[], files_are_removed);
    test("publishers_that_left_cost_nothing", &[], publishers_that_left_cost_nothing);
    test("lies_and_damage_are_counted", &[], lies_and_damage_are_counted);
    test(
        "files_are_replaced_while_a_dead_one_has_their_event",
        &[],
        files_are_replaced_while_a_dead_one_has_their_event,
    );
    test("dead_readers_do_not_delay_for_ever", &[], dead_readers_do_not_delay_for_ever);
    test("killed_publishers", &[Need::Ecal, Need::Examples], killed_publishers);
    test("killed_subscribers", &[Need::Ecal, Need::Examples], killed_subscribers);
    suite::main(tests)
}

fn config(world: &World) -> Config {
    let mut config = ours::config(world, world.here());
    config.publisher.layers = LayersConfig::NONE.shm(true);
    config.subscriber.layers = LayersConfig::NONE.shm(true);
    config
}

fn node(world: &World) -> Node {
    Node::with_config("ours", config(world)).expect("a node opens")
}

/// Publishers that wait until all subscribers have taken each message.
fn acknowledging(world: &World, buffer_count: usize, zero_copy: bool) -> Node {
    let mut config = config(world);
    config.publisher.shm =
        ShmConfig::default().acknowledge_timeout(HANG).buffer_count(buffer_count).zero_copy(zero_copy);
    Node::with_config("ours", config).expect("a node opens")
}

fn topics() -> Vec<(String, usize)> {
    LENS.iter().map(|len| (format!("ramp_{len}"), *len)).collect()
}

fn real_to_ours() {
    let world = World::new(Mode::Local);
    let node = node(&world);
    let topics = topics();
    let names: Vec<_> = topics.iter().map(|(topic, _)| topic.as_str()).collect();
    let with_lens: Vec<_> = topics.iter().map(|(topic, len)| (topic.as_str(), *len)).collect();
    let subscriber = ours::Subscriber::new(&node, &names);
    let mut publisher =
        ecal::Publisher::start_of(Release::Current, world.there(), Mode::Local, &[DEFAULT], &with_lens);
    names.iter().for_each(|topic| drop(publisher.expect_matched(topic, 1)));
    for count in 1..=3 {
        publisher.send(1, 0.0);
        subscriber.await_received(count);
    }
    for (row, len) in subscriber.totals().iter().zip(LENS) {
        row.assert_all(3, len);
    }
}

fn ours_to_real() {
    let world = World::new(Mode::Local);
    let node = node(&world);
    let topics = topics();
    let names: Vec<_> = topics.iter().map(|(topic, _)| topic.as_str()).collect();
    let with_lens: Vec<_> = topics.iter().map(|(topic, len)| (topic.as_str(), *len)).collect();
    let mut publisher = ours::Publisher::new(&node, &with_lens);
    let mut subscriber =
        ecal::Subscriber::start_of(Release::Current, world.there(), Mode::Local, &[DEFAULT], &names);
    names.iter().for_each(|topic| drop(subscriber.expect_matched(topic, 1)));
    publisher.expect_matched(1);
    for count in 1..=3 {
        publisher.send(1, 0.0);
        subscriber.totals_with("all messages", |rows| {
            rows.len() == LENS.len() && rows.iter().all(|row| row.received == count)
        });
    }
    let rows = subscriber.totals_with("all messages", |_| true);
    for len in LENS {
        let row = rows.iter().find(|row| row.lens == [len as u64]).expect("messages of each length");
        row.assert_all(3, len);
    }
}

fn growing_real_to_ours() {
    let world = World::new(Mode::Local);
    let node = node(&world);
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    let mut publisher = ecal::Publisher::start_with(world.there(), Mode::Local, &[SHM], TOPIC, 20);
    publisher.expect_matched(TOPIC, 1);
    for (index, len) in LENS.into_iter().enumerate() {
        publisher.process.send_line(&format!("size {len}"));
        publisher.send(1, 0.0);
        subscriber.await_received(index as u64 + 1);
    }
    let rows = subscriber.totals();
    assert_eq!(rows[0].lens, LENS.map(|len| len as u64));
    assert_eq!((rows[0].received, rows[0].corrupt, rows[0].dropped), (4, 0, 0));
}

fn growing_ours_to_real() {
    let world = World::new(Mode::Local);
    let node = node(&world);
    let mut publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let mut subscriber = ecal::Subscriber::start_with(world.there(), Mode::Local, &[SHM], TOPIC);
    subscriber.expect_matched(TOPIC, 1);
    wait::until("a match", || publisher.subscriber_count() == 1);
    let ramp = ferrocal_integration_tests::ramp::Table::new(LENS[3]);
    for (index, len) in (0..).zip(LENS) {
        publisher.send(ramp.message(index, len)).expect("a message is sent");
        subscriber.totals_with("a longer message", |rows| rows.iter().any(|row| row.received == index + 1));
    }
    let rows = subscriber.totals_with("all", |_| true);
    assert_eq!((rows[0].corrupt, rows[0].dropped), (0, 0), "{rows:?}");
    // A publisher of the topic that comes later has files of its own.
    let before = publisher.id();
    publisher = node.publisher(TOPIC).expect("a good name");
    assert_ne!(publisher.id(), before);
    wait::until("a match", || publisher.subscriber_count() == 1);
    publisher.send(ramp.message(0, 20)).expect("a message is sent");
    let id = publisher.id().to_string();
    subscriber.totals_with("one more", |rows| rows.iter().any(|row| row.topic_id == id));
}

/// Settings of the real publisher: with its acknowledgement nothing is lost, however fast it sends.
const ACKNOWLEDGED: [&[&str]; 3] = [
    &[SHM, "--acknowledge=60000"],
    &[SHM, "--acknowledge=60000", "--buffer-count=3"],
    &[SHM, "--acknowledge=60000", "--zero-copy"],
];

fn acknowledged_real_to_ours() {
    let world = World::new(Mode::Local);
    let node = node(&world);
    for options in ACKNOWLEDGED {
        let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
        let mut publisher = ecal::Publisher::start_with(world.there(), Mode::Local, options, TOPIC, 50_000);
        publisher.expect_matched(TOPIC, 1);
        publisher.send(1, 0.0);
        subscriber.await_received(1);
        publisher.send(199, 0.0);
        subscriber.await_received(200);
        subscriber.totals()[0].assert_all(200, 50_000);
    }
}

fn acknowledged_ours_to_real() {
    let world = World::new(Mode::Local);
    for (buffer_count, zero_copy) in [(1, false), (3, false), (1, true)] {
        let node = acknowledging(&world, buffer_count, zero_copy);
        let mut publisher = ours::Publisher::new(&node, &[(TOPIC, 50_000)]);
        let mut subscriber = ecal::Subscriber::start_with(world.there(), Mode::Local, &[SHM], TOPIC);
        subscriber.expect_matched(TOPIC, 1);
        publisher.expect_matched(1);
        publisher.send(200, 0.0);
        let rows = subscriber.totals_with("200 messages", |rows| rows.iter().any(|row| row.received == 200));
        rows[0].assert_all(200, 50_000);
    }
}

fn with_the_old_ecal() {
    let world = World::new(Mode::Local);
    let node = acknowledging(&world, 1, false);
    let subscriber = ours::Subscriber::new(&node, &["theirs"]);
    let options = [SHM, "--acknowledge=60000"];
    let (there, mode) = (world.there(), Mode::Local);
    let mut real = ecal::Publisher::start_of(Release::Old, there, mode, &options, &[("theirs", 64_000)]);
    real.expect_matched("theirs", 1);
    real.send(1, 0.0);
    subscriber.await_received(1);
    real.send(49, 0.0);
    subscriber.await_received(50);
    subscriber.totals()[0].assert_all(50, 64_000);

    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, 64_000)]);
    let mut real = ecal::Subscriber::start_of(Release::Old, there, mode, &[SHM], &[TOPIC]);
    real.expect_matched(TOPIC, 1);
    publisher.expect_matched(1);
    publisher.send(50, 0.0);
    let rows = real.totals_with("50 messages", |rows| rows.iter().any(|row| row.received == 50));
    rows[0].assert_all(50, 64_000);
}

fn one_host_by_memory_the_other_by_udp() {
    let world = World::new(Mode::Network);
    let mut both = ours::config(&world, world.here());
    both.publisher.layers = LayersConfig::NONE.shm(true).udp(true);
    both.subscriber.layers = both.publisher.layers;
    let here = Node::with_config("here", both).expect("a node opens");
    let mut publisher = ours::Publisher::new(&here, &[(TOPIC, 200_000)]);
    let near = ours::Subscriber::new(&here, &[TOPIC]);
    let mut far = ecal::Subscriber::start_with(world.there(), Mode::Network, &["--layer=both"], TOPIC);
    let mut neighbour = ecal::Subscriber::start_with(world.here(), Mode::Network, &["--layer=both"], TOPIC);
    far.expect_matched(TOPIC, 1);
    neighbour.expect_matched(TOPIC, 1);
    publisher.expect_matched(3);
    for count in 1..=5 {
        publisher.send(1, 0.0);
        near.await_received(count);
        for real in [&mut far, &mut neighbour] {
            real.totals_with("a message", |rows| rows.iter().any(|row| row.received == count));
        }
    }
    // Its own multicast reaches it as well, and is dropped.
    let stats = near.stats(TOPIC);
    assert_eq!((stats.received, stats.lost, stats.out_of_order), (5, 0, 0), "{stats:?}");
    for real in [&mut far, &mut neighbour] {
        real.totals_with("all", |_| true)[0].assert_all(5, 200_000);
    }
    for process in [std::process::id(), neighbour.process.id()] {
        let end = format!("_{process}_evt");
        assert!(names().iter().any(|name| name.ends_with(&end)), "{process}: {:?}", names());
    }
}

/// A node that registers in shared memory alone.
fn registering(world: &World) -> Node {
    let mut config = config(world);
    config.registration.local_transport = LocalRegistration::Shm;
    Node::with_config("ours", config).expect("a node opens")
}

fn registered_in_shared_memory() {
    let world = World::new(Mode::Local);
    let node = registering(&world);
    let subscriber = ours::Subscriber::new(&node, &["theirs"]);
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, 64_000)]);
    let options = [SHM, "--registration=shm"];
    let mut real = ecal::Publisher::start_with(world.there(), Mode::Local, &options, "theirs", 20);
    real.expect_matched("theirs", 1);
    let mut real_subscriber = ecal::Subscriber::start_with(world.there(), Mode::Local, &options, TOPIC);
    real_subscriber.expect_matched(TOPIC, 1);
    publisher.expect_matched(1);
    for count in 1..=3 {
        real.send(1, 0.0);
        subscriber.await_received(count);
        publisher.send(1, 0.0);
        real_subscriber.totals_with("a message", |rows| rows.iter().any(|row| row.received == count));
    }
}

fn registered_in_shared_memory_by_us() {
    let world = World::new(Mode::Local);
    let mut before = names();
    before.extend(["ecal_mon", "ecal_mon_mtx"].map(str::to_owned));
    let (one, other) = (registering(&world), registering(&world));
    let mut publisher = ours::Publisher::new(&one, &[(TOPIC, 64_000)]);
    let subscriber = ours::Subscriber::new(&other, &[TOPIC]);
    publisher.expect_matched(1);
    subscriber.expect_matched(1);
    publisher.send(1, 0.0);
    subscriber.await_received(1);
    // Somebody writes what he likes to the file that all share: it is made anew. The real eCAL follows the offset that is
    // in there wherever it leads, and so is not among them.
    open(&Path::new(SHARED_MEMORY).join("ecal_mon")).write_all_at(&[0xff; 64], 32).unwrap();
    let late = ours::Subscriber::new(&registering(&world), &[TOPIC]);
    late.expect_matched(1);
    drop(late);
    publisher.expect_matched(1);
    // The file of a node grows with what it has.
    let many: Vec<_> = (0..50).map(|number| format!("topic_{number}")).collect();
    let many: Vec<_> = many.iter().map(|topic| (topic.as_str(), 1)).collect();
    let many_publishers = ours::Publisher::new(&one, &many);
    let names_of_many: Vec<_> = many.iter().map(|(topic, _)| *topic).collect();
    let all = ours::Subscriber::new(&other, &names_of_many);
    all.expect_matched(1);
    many_publishers.expect_matched(1);
    drop(all);
    many_publishers.expect_matched(0);
    // Nobody waits for a time-out: a node that leaves takes its file along.
    drop((subscriber, other));
    publisher.expect_matched(0);
    drop((publisher, many_publishers, one));
    expect_removed(&before);
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(SHARED_MEMORY).expect("shared memory is a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    entries.filter_map(name).filter(|name| name.starts_with("ecal_")).collect()
}

/// Waits until there is no file that was not there before. What another test left may go meanwhile.
#[track_caller]
fn expect_removed(before: &[String]) {
    wait::until("the end of the files", || names().iter().all(|name| before.contains(name)));
}

fn several_readers_in_a_process() {
    let world = World::new(Mode::Local);
    let (first, second) = (acknowledging(&world, 1, false), node(&world));
    let one = ours::Subscriber::new(&first, &[TOPIC]);
    let two = ours::Subscriber::new(&first, &[TOPIC]);
    let other_node = ours::Subscriber::new(&second, &[TOPIC]);
    let mut publisher = ours::Publisher::new(&first, &[(TOPIC, 10_000)]);
    publisher.expect_matched(3);
    for subscriber in [&one, &two, &other_node] {
        subscriber.expect_matched(1);
    }
    publisher.send(1, 0.0);
    [&one, &two, &other_node].iter().for_each(|subscriber| subscriber.await_received(1));
    publisher.send(299, 0.0);
    for subscriber in [&one, &two, &other_node] {
        subscriber.await_received(300);
        subscriber.totals()[0].assert_all(300, 10_000);
    }
    // The others go on.
    drop((one, other_node, second));
    publisher.expect_matched(1);
    publisher.send(10, 0.0);
    two.await_received(310);
}

/// The newest message still lies in the file.
fn a_new_subscription_gets_no_old_message() {
    let world = World::new(Mode::Local);
    let (node, publishing) = (node(&world), node(&world));
    let publisher = publishing.publisher::<[u8]>(TOPIC).expect("a good name");
    for number in 0..20_u32 {
        let (report, seen) = mpsc::channel();
        let own = Arc::new(Mutex::new(None));
        let subscription = node
            .subscribe::<[u8]>(TOPIC, {
                let own = own.clone();
                move |message| {
                    report.send(message.payload.to_vec()).expect("the test runs");
                    // It ends with the thread that reads the file in it.
                    drop(own.lock().unwrap().take());
                }
            })
            .expect("a good topic");
        assert!(publisher.wait_for_subscriber(HANG));
        wait::until("a thread that waits for a message", || readers().iter().any(|state| *state == "S"));
        *own.lock().unwrap() = Some(subscription);
        publisher.send(&number.to_le_bytes()).expect("a message is sent");
        assert_eq!(seen.recv_timeout(HANG).expect("a message comes"), number.to_le_bytes());
        wait::until_eq("subscribers", &0, || publisher.subscriber_count());
    }
}

fn files_are_removed() {
    let world = World::new(Mode::Local);
    let before = names();
    let node = node(&world);
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, 10_000)]);
    publisher.expect_matched(1);
    publisher.send(1, 0.0);
    subscriber.await_received(1);
    assert_ne!(names(), before);
    drop((publisher, subscriber, node));
    expect_removed(&before);
}

/// What reads the files of publishers ends after them, and gets their last messages before.
fn publishers_that_left_cost_nothing() {
    const PUBLISHERS: u64 = 20;
    let world = World::new(Mode::Local);
    let (node, other) = (node(&world), node(&world));
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good name");
    let before = Usage::of(std::process::id());
    for number in 0..PUBLISHERS {
        let publisher = other.publisher::<[u8]>(TOPIC).expect("a good name");
        assert!(publisher.wait_for_subscriber(HANG));
        wait::until("a message of the new one", || {
            publisher.send(&number.to_le_bytes()).expect("a message is sent");
            subscriber.try_recv().is_some_and(|message| message.payload == number.to_le_bytes()[..])
        });
    }
    wait::until("the end of what reads their files", || {
        let now = Usage::of(std::process::id());
        // Some of the nodes' own begin with the first message.
        now.threads < before.threads + PUBLISHERS / 2 && now.descriptors < before.descriptors + PUBLISHERS / 2
    });
}

/// The memory file of the one publisher there is.
fn memory_file(others: &[String]) -> PathBuf {
    let is_it = |name: &String| !name.ends_with("_mtx") && !name.ends_with("_evt") && !others.contains(name);
    let name = wait::until_some("a memory file", || names().into_iter().find(|name| is_it(name)));
    Path::new(SHARED_MEMORY).join(name)
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("the file is there")
}

/// Where the fields of the head are: the bytes in use, those that can be used, and the length of the payload.
const FIELDS: [u64; 3] = [8, 16, 32];

/// Somebody writes to a memory file and its lock what he likes, between two messages. Each time the subscriber loses a
/// message at most, counts why, and gets what comes after that.
fn lies_and_damage_are_counted() {
    let world = World::new(Mode::Local);
    let others = names();
    let config = config(&world);
    // Its own process, so that what damages one does not damage the other.
    let node = Node::with_config("ours", config).expect("a node opens");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good name");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    assert!(publisher.wait_for_subscriber(HANG));
    let send = |what: &[u8]| publisher.send(what).expect("a message is sent");
    let get = |what: &[u8]| {
        wait::until(&format!("the message {what:?}"), || {
            subscriber.recv_timeout(HANG).expect("a message comes").payload == what
        });
    };
    send(b"first");
    get(b"first");
    let file = memory_file(&others);
    let event = format!("{}_{}_evt", file.file_name().unwrap().to_str().unwrap(), std::process::id());

    // The event comes once more, with a head that lies.
    let ring = || {
        ferrocal_shm::NamedEvent::open_existing(&event).unwrap().set(HANG).unwrap();
    };
    let counted = |reason: DropReason| node.status().drops.get(reason);
    for field in FIELDS {
        let before = counted(DropReason::BadMemoryFile) + counted(DropReason::LengthMismatch);
        let mut kept = [0; 8];
        open(&file).read_exact_at(&mut kept, field).unwrap();
        open(&file).write_all_at(&u64::MAX.to_le_bytes(), field).unwrap();
        ring();
        wait::until("a counted lie", || {
            counted(DropReason::BadMemoryFile) + counted(DropReason::LengthMismatch) > before
        });
        open(&file).write_all_at(&kept, field).unwrap();
    }
    send(b"after lies");
    get(b"after lies");

    // Somebody dies with the lock: the subscriber gives up, the publisher takes another file.
    let lock = PathBuf::from(format!("{}_mtx", file.display()));
    open(&lock).write_all_at(&[1], 88).unwrap();
    ring();
    wait::until("a counted lock", || counted(DropReason::Locked) > 0);
    send(b"with another file");
    get(b"with another file");
    let file = wait::until_some("another file", || Some(memory_file(&others)).filter(|other| *other != file));

    // The file shrinks while it is mapped, to nothing and to a part of a message.
    open(&file).set_len(0).unwrap();
    publisher.send(&[7; 3000]).expect("a message is not sent, which is counted");
    send(b"with a third file");
    get(b"with a third file");
    let file = wait::until_some("another file", || Some(memory_file(&others)).filter(|other| *other != file));
    open(&PathBuf::from(format!("{}_mtx", file.display()))).set_len(0).unwrap();
    send(b"with a fourth file");
    get(b"with a fourth file");
    assert_eq!(subscriber.stats().undecodable, 0);
}

/// A process that registered and is dead, or hangs, costs one time-out and no more.
fn files_are_replaced_while_a_dead_one_has_their_event() {
    let world = World::new(Mode::Local);
    let others = names();
    let node = node(&world);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good name");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    assert!(publisher.wait_for_subscriber(HANG));
    let exchange = |len: usize| {
        publisher.send(&vec![1; len]).expect("a message is sent");
        assert_eq!(subscriber.recv_timeout(HANG).expect("a message comes").payload.len(), len);
    };
    exchange(100);
    let before = readers().len();
    wait::until("all wait for the event", || readers().iter().all(|state| *state == "S"));
    let event = format!("{}_{}_evt", memory_file(&others).display(), std::process::id());
    // As whoever dies while he sets it leaves its mutex: locked.
    open(Path::new(&event)).write_all_at(&1_u32.to_ne_bytes(), 0).unwrap();
    // It gets another file.
    exchange(1_000_000);
    assert!(!Path::new(&event).exists(), "the file was replaced");
    // One of another test may have ended meanwhile.
    wait::until("the end of the thread that read the file before", || readers().len() <= before);
}

/// The states of the threads of this process that each read a memory file: `S` when it sleeps.
fn readers() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").expect("there are threads").flatten();
    // A thread may have ended meanwhile.
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    let state = |stat: String| Some(stat.split_once(" (ferrocal-shm) ")?.1[..1].to_owned());
    stats.filter_map(state).collect()
}

fn dead_readers_do_not_delay_for_ever() {
    let world = World::new(Mode::Local);
    let mut config = config(&world);
    config.publisher.shm = ShmConfig::default().acknowledge_timeout(Duration::from_secs(10));
    let node = Node::with_config("ours", config).expect("a node opens");
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, 1000)]);
    let alive = ours::Subscriber::new(&node, &[TOPIC]);
    let settings = example::settings("shm");
    let dead = example::start_with(
        world.here(),
        "sub",
        &format!("{TOPIC} --mode local"),
        &[("ECAL_DATA", &settings)],
    );
    publisher.expect_matched(2);
    publisher.send(1, 0.0);
    dead.await_text("received message");
    dead.kill();
    // Far longer than the test may last, if each of them waited.
    publisher.send(1000, 0.0);
    alive.await_received(1001);
}

/// From one message to the next.
const PERIOD: Duration = Duration::from_millis(1);

fn killed_publishers() {
    let world = World::new(Mode::Local);
    let node = node(&world);
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    let settings = example::settings("shm");
    let environment = [("ECAL_DATA", &*settings)];
    let mut real = ecal::Publisher::start_with(world.there(), Mode::Local, &[SHM], TOPIC, 100_000);
    for round in 0..example::kills() {
        let ours = example::start_with(
            world.here(),
            "pub",
            &format!("{TOPIC} --mode local --payload ramp --size 100000 --rate 0"),
            &environment,
        );
        real.begin_sending(0, 0.0);
        subscriber.await_publishers(2 * (round as usize + 1), 5);
        ours.kill();
        real.process.kill();
        real = ecal::Publisher::start_with(world.there(), Mode::Local, &[SHM], TOPIC, 100_000);
    }
}

fn killed_subscribers() {
    let world = World::new(Mode::Local);
    let node = node(&world);
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let ramp = ferrocal_integration_tests::ramp::Table::new(100_000);
    let settings = example::settings("shm");
    let environment = [("ECAL_DATA", &*settings)];
    std::thread::scope(|scope| {
        let (ended, has_ended) = mpsc::channel::<()>();
        let (publisher, ramp) = (&publisher, &ramp);
        scope.spawn(move || {
            let mut sent = 0;
            // A publisher that never leaves the lock of its file leaves subscribers of eCAL no time to get it.
            while has_ended.recv_timeout(PERIOD) == Err(mpsc::RecvTimeoutError::Timeout) {
                publisher.send(ramp.message(sent, 100_000)).expect("a message is sent");
                sent += u64::from(publisher.subscriber_count() > 0);
            }
        });
        for _ in 0..example::kills() {
            let ours =
                example::start_with(world.here(), "sub", &format!("{TOPIC} --mode local"), &environment);
            let mut real = ecal::Subscriber::start_with(world.there(), Mode::Local, &[SHM], TOPIC);
            real.totals_with("messages", |rows| rows.iter().any(|row| row.received >= 20));
            ours.await_text("received message");
            ours.kill();
            real.process.kill();
        }
        drop(ended);
    });
}
