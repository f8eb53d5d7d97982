//! What is damaged, foreign or out of bounds, from the network and from the program.

use std::process::ExitCode;
use std::time::Duration;

use ferrocal::{Config, ConfigError, CreateError, DropReason, Node, NodeError, PublishError, TopicNameError};
use ferrocal_integration_tests::pair::{Injector, Pair};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Test};
use ferrocal_integration_tests::{forge, wait};
use ferrocal_proto::Kind;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for (name, needs, make) in Pair::EACH {
        let mut test = |case: &str, body: fn(&Pair)| {
            tests.push(Test::new(format!("{case}::{name}"), needs, move || body(&make())));
        };
        test("bad_datagrams_are_counted_and_passed_over", bad_datagrams);
        test("bad_payload_is_counted_and_passed_over", bad_payload);
        test("bad_registration_is_counted_and_passed_over", bad_registration);
        test("incomplete_messages_expire", incomplete_messages_expire);
        test("incomplete_messages_are_bounded", incomplete_messages_are_bounded);
        test("peers_are_bounded", peers_are_bounded);
        test("too_long_a_message_is_an_error_before_anything_leaves", too_long_a_message);
        test("bad_topic_names_are_errors", bad_topic_names);
        test("the_longest_topic_name_works", the_longest_topic_name_works);
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[], body));
    test("bad_configuration_names_its_field", bad_configuration);
    suite::main(tests)
}

const TOPIC: &str = "hello";

/// A header with something at one place changed.
fn damaged(at: usize, value: u8) -> Vec<u8> {
    let mut datagram = forge::whole(&forge::payload(TOPIC, 1, 1, b"x"));
    datagram[at] = value;
    datagram
}

/// Datagrams that no channel can use, and why.
fn datagrams() -> Vec<(&'static str, Vec<Vec<u8>>, DropReason)> {
    use DropReason as R;
    let fragments = |fragments: &[Vec<u8>]| fragments.to_vec();
    vec![
        ("an empty datagram", vec![vec![]], R::Truncated),
        ("half a header", vec![b"ECAL\x05\0\0\0\x03\0".to_vec()], R::Truncated),
        ("another protocol", vec![b"GET / HTTP/1.1\r\nHost: example\r\n".to_vec()], R::ForeignMagic),
        ("another magic", vec![damaged(3, b'M')], R::ForeignMagic),
        ("another version", vec![damaged(4, 4)], R::UnknownVersion),
        ("an unknown kind", vec![damaged(8, 9)], R::UnknownKind),
        ("kind 0", vec![damaged(8, 0)], R::UnknownKind),
        ("a length too short", vec![forge::datagram(Kind::Whole, -1, 1, 2, b"xyz")], R::LengthMismatch),
        ("a length too long", vec![forge::datagram(Kind::Whole, -1, 1, 4, b"xyz")], R::LengthMismatch),
        (
            "a length beyond all",
            vec![forge::datagram(Kind::Whole, -1, 1, u32::MAX, b"xyz")],
            R::LengthMismatch,
        ),
        ("an info with payload", vec![forge::datagram(Kind::Info, 1, 1, 3, b"xyz")], R::LengthMismatch),
        ("a fragment cut short", vec![forge::datagram(Kind::Fragment, 1, 0, 9, b"xyz")], R::LengthMismatch),
        ("no fragments", vec![forge::info(10, 0, 9)], R::FragmentNumber),
        ("an empty message", vec![forge::info(11, 1, 0)], R::Empty),
        ("an empty fragment", vec![forge::fragment(12, 0, b"")], R::Empty),
        ("more fragments than bytes", vec![forge::info(13, 10, 9)], R::Inconsistent),
        ("the highest fragment number", vec![forge::fragment(14, u32::MAX, b"x")], R::FragmentNumber),
        ("the longest message", vec![forge::info(15, 65_536, u32::MAX)], R::TooLong),
        ("absurd counts", vec![forge::info(16, u32::MAX, u32::MAX)], R::TooLong),
        (
            "a fragment beyond the last",
            fragments(&[forge::info(17, 2, 9), forge::fragment(17, 2, b"x")]),
            R::FragmentNumber,
        ),
        (
            "an info below a fragment's number",
            fragments(&[forge::fragment(18, 5, b"x"), forge::info(18, 1, 9)]),
            R::FragmentNumber,
        ),
        ("another info", fragments(&[forge::info(19, 2, 9), forge::info(19, 3, 9)]), R::Inconsistent),
        ("the same info", fragments(&[forge::info(20, 2, 9), forge::info(20, 2, 9)]), R::Duplicate),
        (
            "the same fragment",
            fragments(&[forge::info(21, 3, 9), forge::fragment(21, 1, b"x"), forge::fragment(21, 1, b"x")]),
            R::Duplicate,
        ),
        (
            "fragments longer than announced",
            fragments(&[forge::info(22, 2, 3), forge::fragment(22, 0, b"xyz")]),
            R::LengthMismatch,
        ),
        (
            "fragments shorter than announced",
            fragments(&[forge::info(23, 2, 9), forge::fragment(23, 0, b"x"), forge::fragment(23, 1, b"x")]),
            R::LengthMismatch,
        ),
    ]
}

/// A message in a datagram.
fn message(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![forge::whole(bytes)]
}

/// A sample with a name in front.
fn sample(bytes: &[u8]) -> Vec<Vec<u8>> {
    message(&[b"\x06\0hello\0", bytes].concat())
}

/// Sends bad input with `send`, and checks after each that it was counted as it should and, with `works`, that the
/// next message is taken.
#[track_caller]
fn check_each(
    node: &Node,
    cases: Vec<(&'static str, Vec<Vec<u8>>, DropReason)>,
    send: impl Fn(&[Vec<u8>]),
    mut works: impl FnMut(&str),
) {
    let mut expected = node.status().drops;
    for (what, datagrams, reason) in cases {
        send(&datagrams);
        expected.count(reason);
        works(what);
        wait::until_eq(&format!("drops after {what}"), &expected, || node.status().drops);
    }
}

/// A way to see that registration is taken in: another peer is known, beside the node's own subscriber.
fn registration_works<'a>(node: &'a Node, injector: &'a Injector) -> impl FnMut(&str) + 'a {
    wait::until("the node hears of its own subscriber", || node.status().peers > 0);
    let mut id = 1000;
    move |what| {
        id += 1;
        let peers = node.status().peers + 1;
        let info = forge::topic_info("forged", 7, id, "elsewhere");
        injector.registration(&message(&forge::publisher(forge::on_this_host(info))));
        wait::until_eq(&format!("peers after {what}"), &peers, || node.status().peers);
    }
}

/// A way to see that payload is taken in: a message arrives.
fn payload_works<'a>(
    subscriber: &'a ferrocal::Subscriber<[u8]>,
    injector: &'a Injector,
) -> impl FnMut(&str) + 'a {
    let mut clock = 1000;
    move |what| {
        clock += 1;
        let bytes = clock.to_string().into_bytes();
        injector.payload(&message(&forge::payload(TOPIC, 77, clock, &bytes)));
        let Ok(message) = subscriber.recv_timeout(HANG) else { panic!("no message after {what}") };
        assert_eq!((message.clock, &message.payload[..]), (clock, &bytes[..]), "after {what}");
    }
}

fn bad_datagrams(pair: &Pair) {
    let (node, injector) = pair.node(Config::default());
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    check_each(&node, datagrams(), |it| injector.payload(it), payload_works(&subscriber, &injector));
    check_each(&node, datagrams(), |it| injector.registration(it), registration_works(&node, &injector));
    assert_eq!(subscriber.stats().lost, 0, "the valid messages' clocks have no gap");
}

fn bad_payload(pair: &Pair) {
    use DropReason as R;
    let (node, injector) = pair.node(Config::default());
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let registration = forge::publisher(forge::topic_info("forged", 7, 1, TOPIC));
    let cases = vec![
        ("no message", message(b""), R::Truncated),
        ("half a name's length", message(b"\x06"), R::Truncated),
        ("a name cut short", message(b"\x06\0hell"), R::Truncated),
        ("a name without its end", message(b"\x05\0hello"), R::BadSample),
        ("a name without anything", message(b"\0\0"), R::BadSample),
        ("no sample", sample(b""), R::UnexpectedSample),
        ("a registration", message(&registration), R::UnexpectedSample),
        ("an unknown command", sample(b"\x08\x63"), R::UnexpectedSample),
        ("a field cut short", sample(b"\x08\x01\x2a\x7f\x3a"), R::BadSample),
        (
            "a number without end",
            sample(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            R::BadSample,
        ),
        ("a topic that is no message", sample(b"\x08\x01\x28\x01"), R::BadSample),
        ("field 0", sample(b"\x08\x01\x00\x01"), R::BadSample),
        ("a length beyond all", sample(b"\x08\x01\x32\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), R::BadSample),
    ];
    check_each(&node, cases, |it| injector.payload(it), payload_works(&subscriber, &injector));
    // Messages of nobody's topic are no fault.
    assert_eq!(node.status().unsubscribed, 0);
    injector.payload(&message(&forge::payload("nobody's", 77, 1, b"x")));
    wait::until_eq("messages of nobody's topic", &1, || node.status().unsubscribed);
}

fn bad_registration(pair: &Pair) {
    use DropReason as R;
    let (node, injector) = pair.node(Config::default());
    let _subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let info = || forge::topic_info("forged", 7, 1, TOPIC);
    let long = "x".repeat(100_000);
    let mut long_host = info();
    long_host.host_name = long.as_str().into();
    let mut many_layers = info();
    many_layers.layers = vec![many_layers.layers[0].clone(); 1000];
    let cases = vec![
        ("no message", message(b""), R::Truncated),
        ("a name cut short", message(b"\x06\0hell"), R::Truncated),
        ("a name without its end", message(b"\x05\0hello"), R::BadSample),
        ("no sample", sample(b""), R::UnexpectedSample),
        ("a payload", message(&forge::payload(TOPIC, 1, 1, b"x")), R::UnexpectedSample),
        ("an unknown command", sample(b"\x08\x63"), R::UnexpectedSample),
        ("a publisher without a topic", sample(b"\x08\x02"), R::BadSample),
        ("a process without a process", sample(b"\x08\x04"), R::BadSample),
        ("a field cut short", sample(b"\x08\x02\x2a\x7f\x3a"), R::BadSample),
        ("a host's name too long", fragmented(1, &forge::publisher(long_host)), R::TooLong),
        ("too many layers", message(&forge::publisher(many_layers)), R::TooLong),
        ("too long a message", vec![forge::info(2, 10_000, 65 * 1024 * 1024)], R::TooLong),
    ];
    check_each(&node, cases, |it| injector.registration(it), registration_works(&node, &injector));
}

/// A message in fragments.
fn fragmented(id: i32, message: &[u8]) -> Vec<Vec<u8>> {
    let chunks: Vec<_> = message.chunks(50_000).collect();
    let info = forge::info(id, chunks.len() as u32, message.len() as u32);
    let fragments = (0..).zip(chunks).map(|(number, chunk)| forge::fragment(id, number, chunk));
    [info].into_iter().chain(fragments).collect()
}

fn incomplete_messages_expire(pair: &Pair) {
    let mut config = Config::default();
    config.limits.reassembly.timeout = Duration::from_millis(100);
    let (node, injector) = pair.node(config);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    for id in 0..10 {
        injector.payload(&[forge::info(id, 2, 9), forge::fragment(id, 0, b"x")]);
    }
    wait::until_eq("expired messages", &10, || node.status().drops.get(DropReason::Expired));
    assert_eq!(node.status().drops.total(), 10);
    payload_works(&subscriber, &injector)("expiry");
}

fn incomplete_messages_are_bounded(pair: &Pair) {
    let mut config = Config::default();
    config.limits.reassembly.max_messages_per_sender = 4;
    let (node, injector) = pair.node(config);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    for id in 0..10 {
        injector.payload(&[forge::info(id, 2, 9)]);
    }
    payload_works(&subscriber, &injector)("too many incomplete messages");
    wait::until_eq("given up", &6, || node.status().drops.get(DropReason::OverCap));
    // The newest are still there, and can be completed.
    let bytes = forge::payload(TOPIC, 78, 1, b"complete");
    injector.payload(&fragmented(100, &bytes));
    assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload, b"complete"[..]);
}

fn peers_are_bounded(pair: &Pair) {
    let mut config = Config::default();
    config.limits.max_peers = 3;
    let (node, injector) = pair.node(config);
    for id in 1..=5 {
        let info = forge::on_this_host(forge::topic_info("forged", 7, id, TOPIC));
        injector.registration(&message(&forge::publisher(info)));
    }
    wait::until_eq("peers that were refused", &2, || node.status().drops.get(DropReason::RegistryFull));
    assert_eq!(node.status().peers, 3);
}

fn too_long_a_message(pair: &Pair) {
    const MAX: usize = 1000;
    let (listener, _injector) = pair.node(Config::default());
    let subscriber = listener.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let mut config = Config::default().mode(pair.mode);
    config.limits.reassembly.max_message_len = MAX;
    let sender = Node::with_transport("sender", config, pair.sender.clone()).expect("a node opens");
    let publisher = sender.publisher::<[u8]>(TOPIC).expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));

    for len in [MAX, 100_000] {
        let error = publisher.send(&vec![0; len]).expect_err("it is too long");
        let told = error.to_string();
        let PublishError::TooLong { topic, len: message_len, max } = error else { panic!("{error}") };
        assert_eq!((topic.as_str(), max), (TOPIC, MAX));
        assert!(message_len > len, "its sample counts too");
        assert!(told.contains("max_message_len") && told.contains("1000"), "{told}");
    }
    assert_eq!(publisher.stats().published, 0);
    publisher.send(b"short").expect("a message is sent");
    let message = subscriber.recv_timeout(HANG).expect("it arrives");
    assert_eq!((message.clock, &message.payload[..]), (1, &b"short"[..]), "nothing came before it");
    assert_eq!((listener.status().drops.total(), subscriber.stats().lost), (0, 0));

    // The other way, it is dropped by the receiver.
    let small = sender.subscriber::<[u8]>("back").expect("a good topic");
    let back = listener.publisher::<[u8]>("back").expect("a good topic");
    assert!(back.wait_for_subscriber(HANG));
    back.send(&[0; 100_000]).expect("a message is sent");
    back.send(b"short").expect("a message is sent");
    let message = small.recv_timeout(HANG).expect("it arrives");
    assert_eq!((message.clock, &message.payload[..]), (2, &b"short"[..]));
    wait::until_eq("messages too long", &true, || sender.status().drops.get(DropReason::TooLong) > 0);
}

fn bad_topic_names(pair: &Pair) {
    let (node, _injector) = pair.node(Config::default());
    let too_long = "t".repeat(65_535);
    for (name, expected) in [
        ("", TopicNameError::Empty),
        ("a\0b", TopicNameError::Nul(1)),
        ("\0", TopicNameError::Nul(0)),
        (too_long.as_str(), TopicNameError::TooLong(65_535)),
    ] {
        let errors = [
            node.publisher::<[u8]>(name).err(),
            node.subscriber::<[u8]>(name).err(),
            node.subscribe::<[u8]>(name, drop).err(),
        ];
        for error in errors {
            let error = error.expect("a bad name");
            assert!(error.to_string().starts_with("topic: "), "{error}");
            assert!(matches!(error, CreateError::Topic(told) if told == expected), "{error}");
        }
    }
}

fn the_longest_topic_name_works(pair: &Pair) {
    let name = "t".repeat(65_534);
    let config = Config::default().mode(pair.mode);
    let (receiver, _injector) = pair.node(config.clone());
    let sender = Node::with_transport("sender", config, pair.sender.clone()).expect("a node opens");
    let subscriber = receiver.subscriber::<[u8]>(&name).expect("a good topic");
    let publisher = sender.publisher::<[u8]>(&name).expect("a good topic");
    wait::until("a subscriber is matched, and a publisher", || {
        let status = receiver.status();
        assert_eq!(status.drops.total(), 0, "{status:?}");
        publisher.subscriber_count() == 1 && subscriber.publisher_count() == 1
    });
    publisher.send(b"long").expect("a message is sent");
    assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload, b"long"[..]);
}

fn bad_configuration() {
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 19] = [
        ("transport_layer.udp.port", |config| config.udp.port = 0),
        ("registration.local.udp.port", |config| config.registration.local_port = 0),
        ("registration.network.udp.port", |config| config.registration.network_port = 0),
        ("transport_layer.udp.network.group", |config| config.udp.network.group = [10, 0, 0, 1].into()),
        ("transport_layer.udp.local.group", |config| config.udp.local.group = [239, 0, 0, 1].into()),
        ("transport_layer.udp.send_buffer", |config| config.udp.send_buffer_len = 0),
        ("transport_layer.udp.receive_buffer", |config| config.udp.receive_buffer_len = 1 << 31),
        ("registration.registration_refresh", |config| config.registration.refresh = Duration::ZERO),
        ("registration.registration_timeout", |config| {
            config.registration.timeout = Duration::from_millis(999);
        }),
        ("ferrocal.subscriber.queue_len", |config| config.subscriber.queue_len = 0),
        ("ferrocal.limits.max_peers", |config| config.limits.max_peers = 0),
        ("ferrocal.limits.max_publishers_per_subscriber", |config| {
            config.limits.max_publishers_per_subscriber = 0
        }),
        // Longer than the wire's 32 bits can tell, or nothing at all.
        ("ferrocal.limits.reassembly.max_message_len", |config| {
            config.limits.reassembly.max_message_len = usize::MAX;
        }),
        ("ferrocal.limits.reassembly.max_message_len", |config| config.limits.reassembly.max_message_len = 0),
        ("ferrocal.limits.reassembly.max_messages", |config| config.limits.reassembly.max_messages = 0),
        ("ferrocal.limits.reassembly.max_messages_per_sender", |config| {
            config.limits.reassembly.max_messages_per_sender = 0;
        }),
        ("ferrocal.limits.reassembly.max_bytes", |config| config.limits.reassembly.max_bytes = 0),
        ("ferrocal.limits.reassembly.max_bytes_per_sender", |config| {
            config.limits.reassembly.max_bytes_per_sender = 0
        }),
        ("ferrocal.limits.reassembly.timeout_ms", |config| config.limits.reassembly.timeout = Duration::ZERO),
    ];
    let mut accepted = Vec::new();
    for (field, change) in changes {
        let mut config = Config::default();
        change(&mut config);
        match Node::with_config("bad", config) {
            Ok(_) => accepted.push(field),
            Err(NodeError::Config(ConfigError::Value { key, .. })) if key == field => {}
            Err(error) => panic!("{field}: {error}"),
        }
    }
    assert!(accepted.is_empty(), "bad values are accepted for {accepted:?}");
}
