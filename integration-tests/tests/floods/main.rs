//! Floods of all that a peer can send: memory stays within the limits, messages of others arrive, every drop has its reason,
//! and the node is calm afterwards.

mod services;

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header};
use ferrocal::{Backend, Config, DropReason, Mode, TopicInfo};
use ferrocal_integration_tests::bridge;
use ferrocal_integration_tests::counting::Counting;
use ferrocal_integration_tests::netns::{Host, SECOND_ADDRESS, SECOND_LINK};
use ferrocal_integration_tests::pair::{GROUP, Pair};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::victim::{OTHER, TOPIC, Victim};
use ferrocal_integration_tests::{forge, wait};
use ferrocal_proto::{
    Action, Announcement, Kind, Layer, LayerKind, LayerParameters, LogLevel, LogMessage, MethodInfo,
    ProcessInfo, Registration, ServiceInfo,
};
use ferrocal_transport::{
    Config as TransportConfig, FrameDrop, IpReassemblyLimits, NpcapTransport, SocketTransport, Transport,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for (name, needs, make) in Pair::EACH {
        let mut test = |case: &str, body: fn(&Pair)| {
            tests.push(Test::new(format!("{case}::{name}"), needs, move || body(&make())));
        };
        test("registrations", registrations);
        test("lists_of_methods", services::lists_of_methods);
        test("messages_that_never_end", messages_that_never_end);
        test("messages_of_many_publishers", messages_of_many_publishers);
        test("log_lines", log_lines);
        // Nothing bounds what waits in a network in memory, and a service is not reached by it.
        if name != "memory" {
            test("servers_of_a_service", services::servers_of_a_service);
            test("servers_while_their_thread_waits", services::servers_while_their_thread_waits);
            test("noise", noise);
        }
    }
    let mut test = |case: &str, make: fn() -> Pair| {
        let needs = &[Need::RawFrames];
        tests.push(Test::new(format!("packets_that_never_end::{case}"), needs, move || {
            packets_that_never_end(&make());
        }));
    };
    test("sockets", || Pair::on_two_hosts(|interface| Arc::new(SocketTransport::new(on(interface)))));
    test("raw_frames", || {
        Pair::on_two_hosts(|interface| -> Arc<dyn Transport> {
            Arc::new(NpcapTransport::new(on(interface)).expect("raw frames can be had"))
        })
    });
    suite::main(tests)
}

fn on(interface: Ipv4Addr) -> TransportConfig {
    TransportConfig {
        mode: Mode::Network,
        group: GROUP,
        interfaces: vec![interface.into()],
        ip_reassembly: IpReassemblyLimits { max_bytes: MIB, ..IpReassemblyLimits::default() },
        ..TransportConfig::default()
    }
}

const MIB: usize = 1 << 20;

/// Limits that a flood reaches soon.
fn config() -> Config {
    let mut config = Config::default();
    config.limits.max_registry_bytes = 4 * MIB;
    config.limits.reassembly.max_bytes = 8 * MIB;
    config.limits.reassembly.max_bytes_per_sender = 4 * MIB;
    config.limits.reassembly.max_messages_per_sender = 16;
    config.limits.reassembly.max_messages = 128;
    config.subscriber.queue_bytes = 2 * MIB;
    config.logging.queue_bytes = 2 * MIB;
    config.udp.receive_buffer_len = 8 * MIB;
    config
}

/// The bytes that a flood takes at most, beside what was there before.
struct Meter {
    before: i64,
    max: usize,
    name: &'static str,
}

impl Meter {
    /// `max` is what the limits add up to, and some for all that has none.
    fn start(name: &'static str, max: usize) -> Self {
        Self { before: Counting::start(), max: max + 2 * MIB, name }
    }

    #[track_caller]
    fn check(&self) {
        let Self { before, max, name } = self;
        let peak = Counting::peak() - before;
        println!("{name}: {} kB more at most, of {}", peak / 1000, max / 1000);
        assert!(peak < *max as i64, "{peak} bytes more than before, of {max}");
    }
}

/// Sends some, and waits until they have been taken in: what waits in a socket is not to be lost, and in memory has no bound.
struct Paced<'a> {
    victim: RefCell<&'a mut Victim>,
    empty: AtomicU64,
}

impl<'a> Paced<'a> {
    fn new(victim: &'a mut Victim) -> Self {
        Self { victim: RefCell::new(victim), empty: AtomicU64::new(0) }
    }

    /// Waits for both ports. A message of another topic arrives meanwhile.
    #[track_caller]
    fn settle(&self) {
        let mut victim = self.victim.borrow_mut();
        victim.injector.registration(&[Vec::new()]);
        victim.injector.payload(&[Vec::new()]);
        let empty = self.empty.fetch_add(2, Ordering::Relaxed) + 2;
        wait::until_eq("empty datagrams", &empty, || victim.node.status().drops.get(DropReason::Truncated));
        victim.still_receives();
    }
}

fn hostile(id: u64, topic: &str) -> TopicInfo {
    forge::on_this_host(forge::topic_info("forged", 7, id, topic))
}

/// Publishers, subscribers, processes, servers and clients, with names as long as can be, types that are long and many files.
fn registrations(pair: &Pair) {
    const COUNT: u64 = 3000;
    let mut victim = Victim::open(pair, config());
    // Nobody takes anything out of these.
    let _waiting = (victim.subscriber.events(), victim.monitor.changes());
    // The registry, a monitor, and what waits in both of the above.
    let meter = Meter::start("registrations", 4 * 4 * MIB);
    let paced = Paced::new(&mut victim);
    for n in 0..COUNT {
        let long = |len: usize| "x".repeat(len);
        let TopicInfo { host_name, .. } = hostile(n, TOPIC);
        let process_id = i32::try_from(n).expect("not that many") + 10_000;
        let service = || ServiceInfo {
            host_name: host_name.clone(),
            process_id,
            service_name: long(4000).into(),
            service_id: ferrocal_proto::EntityId::from_wire(n.to_string()),
            methods: (0..50)
                .map(|method| MethodInfo {
                    name: format!("{method}{}", long(300)).into(),
                    ..MethodInfo::default()
                })
                .collect(),
            ..ServiceInfo::default()
        };
        let typed = |topic: &str| {
            let mut info = hostile(n, topic);
            info.data_type.name = format!("demo.Type{n}");
            info.data_type.descriptor = vec![n as u8; 20_000].into();
            info
        };
        let stored = || {
            let mut info = hostile(n, &format!("stored {n}"));
            info.layers.push(Layer {
                kind: LayerKind::SharedMemory,
                version: 2,
                enabled: true,
                active: true,
                parameters: LayerParameters {
                    memory_files: (0..15).map(|file| format!("{file:02}{}", long(4090)).into()).collect(),
                    ..LayerParameters::default()
                },
            });
            info
        };
        let announcement = match n % 7 {
            // A topic's name as long as its length can say.
            0 => Announcement::Publisher(hostile(n, &format!("{n:05}{}", long(65_529)))),
            1 => Announcement::Publisher(typed(TOPIC)),
            2 => Announcement::Subscriber(typed(&format!("topic {n}"))),
            3 => Announcement::Server(service()),
            4 => Announcement::Client(service()),
            5 => Announcement::Publisher(stored()),
            _ => Announcement::Process(ProcessInfo {
                host_name: host_name.clone(),
                process_id,
                process_parameter: long(60_000).into(),
                ..ProcessInfo::default()
            }),
        };
        paced.victim.borrow().register(&Registration { action: Action::Register, announcement }.encode());
        if n % 20 == 19 {
            paced.settle();
        }
    }
    meter.check();
    let status = victim.node.status();
    assert!(status.registry_bytes <= 4 * MIB, "{status:?}");
    let full = status.drops.get(DropReason::RegistryFull);
    assert!(full > 100, "{status:?}");
    let empty = status.drops.get(DropReason::Truncated);
    assert_eq!(status.drops.total(), full + empty, "each has its reason: {status:?}");
    assert!(victim.monitor.refused() > 100);
    victim.still_receives();
}

/// Fragments without an end: of many senders, many messages, with numbers far apart, overlapping and contradicting each other.
fn messages_that_never_end(pair: &Pair) {
    const SENDERS: usize = 40;
    const MESSAGES: i32 = 100;
    let mut victim = Victim::open(pair, config());
    let senders: Vec<_> = (0..SENDERS).map(|_| pair.injector(&config())).collect();
    // On the port of messages and that of registrations.
    let meter = Meter::start("messages that never end", 2 * 8 * MIB);
    let paced = Paced::new(&mut victim);
    let mut sent = 0;
    for id in 0..MESSAGES {
        for (at, sender) in senders.iter().enumerate() {
            let datagrams = match (id as usize + at) % 5 {
                // As much as can be announced, and nothing or one fragment of it.
                0 => vec![forge::info(id, 1_000_000, 256 << 20)],
                1 => vec![forge::info(id, 2, 256 << 20), forge::fragment(id, 0, &[0; 1400])],
                // One of 28 bytes that claims to be far behind.
                2 => vec![forge::fragment(id, 50_000_000, b"x")],
                3 => (0..8).map(|number| forge::fragment(id, number * 1000, &[0; 1400])).collect(),
                // Twice the same, once longer.
                _ => [100, 1400, 700].map(|len| forge::fragment(id, 3, &vec![0; len])).into(),
            };
            sent += datagrams.len();
            sender.payload(&datagrams);
            sender.registration(&datagrams);
            if at % 10 == 9 {
                paced.settle();
            }
        }
    }
    meter.check();
    let drops = victim.node.status().drops;
    for reason in [DropReason::OverCap, DropReason::Duplicate] {
        assert!(drops.get(reason) > 0, "{drops:?}");
    }
    assert!(drops.total() < 2 * sent as u64 + drops.get(DropReason::Truncated), "{drops:?}");
    // A message in fragments arrives all the same.
    let message = forge::payload(TOPIC, 8, 1, &[7; 100_000]);
    let mut datagrams = vec![forge::info(-5, 2, message.len() as u32)];
    datagrams
        .extend((0..).zip(message.chunks(60_000)).map(|(number, chunk)| forge::fragment(-5, number, chunk)));
    victim.injector.payload(&datagrams);
    assert_eq!(victim.subscriber.recv_timeout(HANG).expect("it arrives").payload.len(), 100_000);
    victim.still_receives();
}

/// Messages of ever other publishers, on this node's topic and on topics that nobody has, with names as long as fit in.
fn messages_of_many_publishers(pair: &Pair) {
    const COUNT: u64 = 10_000;
    let mut victim = Victim::open(pair, config());
    let meter = Meter::start("messages of many publishers", 2 * MIB);
    let paced = Paced::new(&mut victim);
    let mut elsewhere = 0;
    for n in 0..COUNT {
        let message = match n % 10 {
            0 => {
                elsewhere += 1;
                let topic = format!("{n:05}{}", "x".repeat(32_000));
                forge::payload(&topic, n, 1, b"x")
            }
            1 => forge::payload(TOPIC, n, i64::MAX, &[0; 20_000]),
            _ => forge::payload(TOPIC, n, n.cast_signed(), b"x"),
        };
        paced.victim.borrow().injector.payload(&[forge::whole(&message)]);
        if n % 50 == 49 {
            paced.settle();
        }
    }
    meter.check();
    let (status, stats) = (victim.node.status(), victim.subscriber.stats());
    assert_eq!(status.unsubscribed, elsewhere, "{status:?}");
    assert_eq!(stats.received, COUNT - elsewhere, "{stats:?}");
    assert!(stats.queue_full > 0, "nobody takes them: {stats:?}");
    assert_eq!(status.drops.total(), status.drops.get(DropReason::Truncated), "{status:?}");
    victim.still_receives();
}

/// Log lines of all lengths, which nobody takes.
fn log_lines(pair: &Pair) {
    const COUNT: u64 = 3000;
    let victim = Victim::open(pair, config());
    let logs = victim.node.logs().expect("log lines can be received");
    let meter = Meter::start("log lines", 2 * MIB);
    let mut good = 0;
    for n in 0..COUNT {
        let line = LogMessage {
            host_name: String::from_utf8_lossy(&hostile(1, TOPIC).host_name).into_owned(),
            process_name: "x".repeat(1000),
            content: "x".repeat(20 * n as usize % 60_000),
            time_us: i64::MIN,
            process_id: -1,
            unit_name: String::new(),
            level: LogLevel::Info,
        };
        let bytes = line.encode();
        let datagram = match n % 4 {
            0 => forge::whole(&bytes[..bytes.len() - 1]),
            1 => forge::datagram(Kind::Whole, 0, 1, u32::MAX, &bytes),
            _ => {
                good += 1;
                forge::whole(&bytes)
            }
        };
        victim.injector.log(&[datagram]);
        if n % 20 == 19 {
            wait::until_eq("lines", &(n + 1), || {
                let stats = logs.stats();
                stats.received + stats.drops.total()
            });
        }
    }
    meter.check();
    let stats = logs.stats();
    let [cut, false_len] =
        [DropReason::BadSample, DropReason::LengthMismatch].map(|reason| stats.drops.get(reason));
    assert_eq!((stats.received, cut, false_len), (good, COUNT / 4, COUNT / 4), "{stats:?}");
    assert!(stats.queue_full > 0, "{stats:?}");
}

/// IPv4 fragments of packets that never end, overlap with other content, or end where no packet can.
fn packets_that_never_end(pair: &Pair) {
    const PACKETS: u16 = 3000;
    Host::first().hurry_reassembly();
    let mut victim = Victim::open(pair, config());
    let mut link = pair.sending_host().run(|| bridge::open(SECOND_LINK));
    let meter = Meter::start("packets that never end", MIB);
    for id in 0..PACKETS {
        // Ports and the length of a UDP header, as a packet for another port is none of the node's business.
        let content = |byte: u8| [&[9, 9, 0x36, 0xb2, 0xff, 0xff, 0, 0][..], &vec![byte; 1392]].concat();
        // In units of 8 bytes.
        let frames = match id % 4 {
            0 | 1 => vec![ipv4_fragment(id, 0, true, &content(0))],
            2 => vec![ipv4_fragment(id, 0, true, &content(0)), ipv4_fragment(id, 100, true, &content(1))],
            _ => vec![ipv4_fragment(id, 0x1fff, false, &content(0)), ipv4_fragment(id, 5, true, &[7; 13])],
        };
        frames.iter().for_each(|frame| link.sendpacket(&frame[..]).expect("a frame is sent"));
        if id % 50 == 49 {
            victim.still_receives();
        }
    }
    meter.check();
    let status = victim.node.status();
    assert_eq!(status.drops.total(), 0, "none is complete: {status:?}");
    if status.backend == Backend::Npcap {
        let frames = &status.receive_drops.frames;
        for reason in [FrameDrop::OverCap, FrameDrop::FragmentOverlap, FrameDrop::BadFragment] {
            assert!(frames.get(reason) > 0, "{frames:?}");
        }
    }
    // One that comes in fragments arrives, too, once there is room.
    let datagram = forge::whole(&forge::payload(TOPIC, 8, 1, &[7; 20_000]));
    wait::until("it arrives", || {
        victim.injector.payload(std::slice::from_ref(&datagram));
        victim.subscriber.recv_timeout(Duration::from_millis(200)).is_ok()
    });
}

/// A frame for the group of the tests, with a part of a UDP packet; `offset` is in units of 8 bytes.
fn ipv4_fragment(id: u16, offset: u16, more: bool, content: &[u8]) -> Vec<u8> {
    let mut header =
        Ipv4Header::new(content.len() as u16, 3, IpNumber::UDP, SECOND_ADDRESS.octets(), GROUP.octets())
            .expect("a short packet");
    header.identification = id;
    header.dont_fragment = false;
    header.more_fragments = more;
    header.fragment_offset = offset.try_into().expect("13 bits");
    header.header_checksum = header.calc_header_checksum();
    let [_, b, c, d] = GROUP.octets();
    let mut frame = Vec::new();
    let ethernet = Ethernet2Header {
        source: [2, 0, 0, 0, 0, 9],
        destination: [1, 0, 0x5e, b & 0x7f, c, d],
        ether_type: EtherType::IPV4,
    };
    ethernet.write(&mut frame).expect("memory takes all");
    header.write(&mut frame).expect("memory takes all");
    frame.extend_from_slice(content);
    frame
}

/// Seconds of noise, if a person wants more than those of CI.
const SECONDS: &str = "FERROCAL_FLOOD_SECONDS";

/// Datagrams of 65 507 bytes at full speed on every port: noise, and noise behind a good header.
fn noise(pair: &Pair) {
    let seconds = std::env::var(SECONDS).map_or(1, |text| text.parse().expect("a number of seconds"));
    let mut victim = Victim::open(pair, config());
    let logs = victim.node.logs().expect("log lines can be received");
    let flooder = pair.injector(&config());
    let mut random = fastrand::Rng::with_seed(15);
    let datagrams: Vec<Vec<u8>> = (0..64)
        .map(|n| {
            let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(65_507).collect();
            let kind = [Kind::Info, Kind::Fragment, Kind::Whole][random.usize(..3)];
            if n % 2 == 0 {
                let len = if random.bool() { bytes.len() as u32 - 24 } else { random.u32(..) };
                let number = if random.bool() { random.u32(..100) } else { random.u32(..) };
                let header = forge::datagram(kind, random.i32(..20), number, len, &[]);
                bytes[..header.len()].copy_from_slice(&header);
            }
            bytes
        })
        .collect();
    let meter = Meter::start("noise", 8 * MIB);
    let is_over = AtomicBool::new(false);
    let (mut heard, mut sent) = (0, 0);
    let flooded = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                for some in datagrams.chunks(8) {
                    flooder.payload(some);
                    flooder.registration(some);
                    flooder.log(some);
                    count += 3 * some.len() as u64;
                }
            }
            count
        });
        let start = Instant::now();
        // Some may find no room in the socket's buffer. Each that does is heard.
        while start.elapsed() < Duration::from_secs(seconds) || heard == 0 {
            assert!(start.elapsed() < Duration::from_secs(seconds) + HANG, "nothing is heard beside noise");
            sent += 1;
            let payload = forge::payload(OTHER, 5, sent, b"on time");
            victim.injector.payload(&[forge::whole(&payload)]);
            heard += u64::from(victim.other.recv_timeout(Duration::from_millis(10)).is_ok());
        }
        is_over.store(true, Ordering::Relaxed);
        flood.join().expect("nothing is refused")
    });
    // Calm again: all that is sent arrives, and nothing more is counted.
    wait::until("a message after it arrives", || {
        sent += 1;
        victim.injector.payload(&[forge::whole(&forge::payload(OTHER, 5, sent, b"after"))]);
        let messages = std::iter::from_fn(|| victim.other.recv_timeout(Duration::from_millis(500)).ok());
        messages.map(|message| message.clock).any(|clock| clock == sent)
    });
    // Two of the three ports. Of incomplete messages, some datagrams are counted together.
    wait::until("all noise is accounted for", || {
        let status = victim.node.status();
        let accounted = status.drops.total() + status.receive_drops.buffer_full;
        accounted >= flooded * 2 / 3 / 100 * 98 && logs.stats().drops.total() > 0
    });
    meter.check();
    let (status, stats, log_stats) = (victim.node.status(), victim.other.stats(), logs.stats());
    println!(
        "{heard} of {sent} messages beside {flooded} datagrams of noise: {status:?} {stats:?} {log_stats:?}"
    );
    assert!(status.drops.get(DropReason::ForeignMagic) > 0, "{status:?}");
    assert!(!status.has_failed);
    assert!(stats.received + stats.lost <= sent.unsigned_abs() + 1, "{stats:?}");
    victim.still_hears();
}
