//! The numbers that subscribers register of their messages, against the truth: what both monitors show of the real
//! subscriber and of ours.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrocal::{EventKind, LatencyInfo, Monitor, Subscriber};
use ferrocal_integration_tests::ecal::{self, Release};
use ferrocal_integration_tests::pair::Injector;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{forge, ours, snapshots, wait};
use serde_json::Value;

const OURS: &str = "ours";
const REAL: &str = "real";

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[Need::Ecal], move || body(mode)));
        };
        test("latency_is_the_age_of_the_messages", latency_is_the_age);
        test("losses_are_the_gaps_in_the_clocks", losses_are_the_gaps);
    }
    suite::main(tests)
}

/// How old messages are when they are received: this much when they are sent, and no more than `delay` beyond that. In
/// microseconds.
#[derive(Clone, Copy, Debug)]
struct Age {
    sent: f64,
    delay: f64,
}

/// The send times lie in the past by known spans, which the latency has to show. What it shows beyond them is the delay of
/// the messages, and that is below the time from before they are sent until all subscribers have them.
fn latency_is_the_age(mode: Mode) {
    // The mean is not in the middle, the latest neither the least nor the greatest.
    const SPANS_MS: [i64; 5] = [250, 750, 250, 500, 300];
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let monitor = node.monitor();
    let publisher = node.publisher::<[u8]>(OURS).expect("a good topic");
    let [of_ours, of_real] = [OURS, REAL].map(|topic| node.subscriber::<[u8]>(topic).expect("a good topic"));
    let options = ["--each"];
    let (release, there) = (Release::Current, world.there());
    let mut real_subscriber = ecal::Subscriber::start_of(release, there, mode, &options, &[OURS, REAL]);
    let mut real_publisher = ecal::Publisher::start_of(release, there, mode, &[], &[(REAL, 20)]);
    let mut real_monitor = ecal::Monitor::start(there, mode);
    real_publisher.expect_matched(REAL, 2);
    for topic in [OURS, REAL] {
        real_subscriber.expect_matched(topic, 1);
    }
    assert!(of_real.wait_for_publisher(HANG));
    wait::until_eq("subscribers", &2, || publisher.subscriber_count());

    let mut all_ages = BTreeMap::new();
    let mut send_all = |topic: &'static str, subscriber: &Subscriber<[u8]>, send: &mut dyn FnMut(i64)| {
        let ages = SPANS_MS.map(|span_ms| {
            let (before, now) = (Instant::now(), SystemTime::now());
            let time_us = us_since_epoch(now) - 1000 * span_ms;
            send(time_us);
            let real = real_subscriber.process.event("message");
            assert_eq!((&real["topic"], &real["time_us"]), (&topic.into(), &time_us.into()), "{real}");
            let received = subscriber.recv_timeout(HANG).expect("a message");
            assert_eq!(us_since_epoch(received.send_time), time_us);
            Age { sent: 1000.0 * span_ms as f64, delay: before.elapsed().as_secs_f64() * 1e6 }
        });
        all_ages.insert(topic, ages);
    };
    send_all(OURS, &of_ours, &mut |time_us| {
        let time = UNIX_EPOCH + Duration::from_micros(time_us.cast_unsigned());
        publisher.send_at(b"message", time).expect("it is sent");
    });
    send_all(REAL, &of_real, &mut |time_us| real_publisher.send_at(time_us));

    // Of two subscribers on each of both topics.
    let told = wait::until_some("both monitors show the same latency of all messages", || {
        let real = real_monitor.latencies();
        let is_complete =
            real.len() == 4 && real.values().all(|latency| latency.count == SPANS_MS.len() as u64);
        (is_complete && real == latencies(&monitor)).then_some(real)
    });
    for seen in monitor.snapshot().subscribers {
        let topic = &*seen.info.topic_name.to_str_lossy();
        assert_latency(&told[&seen.info.topic_id.to_string()], &all_ages[topic]);
    }
    for (topic, subscriber) in [(OURS, of_ours), (REAL, of_real)] {
        let latency = subscriber.stats().latency.expect("it received");
        let sum_of_squares_us2 = latency.variance_us2 * latency.count as f64;
        let (count, latest_us, mean_us) = (latency.count, latency.latest_us, latency.mean_us);
        let (min_us, max_us) = (latency.min_us, latency.max_us);
        let latency = LatencyInfo { count, latest_us, min_us, max_us, mean_us, sum_of_squares_us2 };
        assert_latency(&latency, &all_ages[topic]);
    }
}

fn us_since_epoch(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).expect("a time of our days");
    i64::try_from(since.as_micros()).expect("a time of our days")
}

/// What the subscribers registered, by their ids, as [`ecal::Monitor::latencies`].
fn latencies(monitor: &Monitor) -> BTreeMap<String, LatencyInfo> {
    let subscribers = monitor.snapshot().subscribers.into_iter();
    subscribers.filter_map(|seen| Some((seen.info.topic_id.to_string(), seen.info.latency?))).collect()
}

/// Checks each number within 2 %: a clock of the system may be adjusted meanwhile.
#[track_caller]
fn assert_latency(latency: &LatencyInfo, ages: &[Age]) {
    let count = ages.len() as f64;
    let least = || ages.iter().map(|age| age.sent);
    let most = || ages.iter().map(|age| age.sent + age.delay);
    let mean = least().sum::<f64>() / count;
    // The distance from the mean, of all together. The delays, taken as a vector, change it by their length at most.
    let spread = least().map(|age| (age - mean).powi(2)).sum::<f64>().sqrt();
    let slack = ages.iter().map(|age| age.delay.powi(2)).sum::<f64>().sqrt();
    let last = ages.last().expect("messages were sent");
    for (name, told, least, most) in [
        ("latest", latency.latest_us, last.sent, last.sent + last.delay),
        ("min", latency.min_us, least().fold(f64::INFINITY, f64::min), most().fold(f64::INFINITY, f64::min)),
        ("max", latency.max_us, least().fold(0.0, f64::max), most().fold(0.0, f64::max)),
        ("mean", latency.mean_us, mean, most().sum::<f64>() / count),
        ("spread", latency.sum_of_squares_us2.sqrt(), (spread - slack).max(0.0), spread + slack),
    ] {
        let (least, most) = (0.98 * least, 1.02 * most);
        assert!((least..=most).contains(&told), "{name} in {latency:?}: {least} to {most} by {ages:?}");
    }
}

/// Two publishers whose clocks jump: what is missing after the first message that came.
fn losses_are_the_gaps(mode: Mode) {
    const TOPIC: &str = "gaps";
    // Of both one message, then three; of the second five before, which nobody can miss.
    const CLOCKS: [(u64, &[i64]); 2] = [(77, &[1, 3, 4, 8]), (78, &[6, 8, 12])];
    const RECEIVED: u64 = 7;
    const LOST: u64 = 8;
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let monitor = node.monitor();
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let events = subscriber.events();
    let mut real_subscriber = ecal::Subscriber::start(world.there(), mode, &[TOPIC], RECEIVED);
    let mut real_monitor = ecal::Monitor::start(world.there(), mode);
    let injector = Injector::in_world(&world);
    let info = |id| forge::on_this_host(forge::topic_info("", 7, id, TOPIC));
    // Matched with the second registration, as eCAL's are.
    for (id, _) in [CLOCKS, CLOCKS].concat() {
        injector.registration(&[forge::whole(&forge::publisher(info(id)))]);
    }
    wait::until_eq("publishers", &CLOCKS.len(), || subscriber.publisher_count());
    real_subscriber.expect_matched(TOPIC, CLOCKS.len());
    for (id, clocks) in CLOCKS {
        for &clock in clocks {
            injector.payload(&[forge::whole(&forge::payload(TOPIC, id, clock, b"x"))]);
        }
    }
    real_subscriber.await_complete();

    // Of ours and of the real one, in our monitor and in the real one.
    let pids = [std::process::id(), real_subscriber.process.id()];
    wait::until_eq("received and lost", &[[(RECEIVED, LOST); 2]; 2], || {
        let ours = snapshots::rows(&monitor.snapshot());
        [ours, real_monitor.snapshot()].map(|snapshot| pids.map(|pid| received_and_lost(&snapshot, pid)))
    });
    let stats = subscriber.stats();
    assert_eq!((stats.received, stats.lost), (RECEIVED, LOST), "{stats:?}");
    let mut lost = 0;
    while lost < LOST {
        if let EventKind::Lost { messages } = events.recv_timeout(HANG).expect("an event").kind {
            lost += messages;
        }
    }
    assert_eq!(lost, LOST);
}

fn received_and_lost(snapshot: &Value, pid: u32) -> (u64, u64) {
    let mut subscribers = snapshot["subscribers"].as_array().into_iter().flatten();
    let of_process = subscribers.find(|row| row["pid"] == pid);
    let number = |key: &str| of_process.and_then(|row| row[key].as_u64()).unwrap_or_default();
    (number("data_clock"), number("message_drops"))
}
