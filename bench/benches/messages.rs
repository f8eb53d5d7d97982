//! What a message costs: to cut into datagrams, to put together again, and from publisher to subscriber on loopback.
//!
//! `cargo bench --bench messages` in this folder. Criterion reports MB/s and, as `elem/s` of the runs named `messages/s`, messages a
//! second; `match` is the time from creating a publisher and a subscriber to their match.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use ferrocal::{Config, Node};
use ferrocal_proto::{Fragments, Limits, MAX_DATAGRAM_LEN, PayloadSample, Reassembler};

const LENS: [(&str, usize); 3] = [("64 B", 64), ("64 kB", 64_000), ("1 MB", 1_000_000)];

/// Runs `once` for each message length, reported in bytes and in messages a second.
fn each_len(
    criterion: &mut Criterion,
    name: &str,
    mut run: impl FnMut(&mut BenchmarkGroup<'_, WallTime>, &str, usize),
) {
    for (unit, per_message) in [("MB/s", None), ("messages/s", Some(1))] {
        let mut group = criterion.benchmark_group(format!("{name} {unit}"));
        for (label, len) in LENS {
            group.throughput(per_message.map_or(Throughput::Bytes(len as u64), Throughput::Elements));
            run(&mut group, label, len);
        }
    }
}

fn sample(payload: &[u8]) -> PayloadSample<'_> {
    PayloadSample {
        topic_name: b"hello",
        topic_id: b"22989044687568896",
        host_name: b"host",
        clock: 1,
        time_us: 1_795_175_721_070_756,
        hash: 1 << 62,
        payload,
    }
}

fn encode(criterion: &mut Criterion) {
    each_len(criterion, "encode", |group, label, len| {
        let payload = vec![7; len];
        let mut head = Vec::new();
        group.bench_function(label, |bencher| {
            bencher.iter(|| {
                head.clear();
                sample(&payload).encode_head(&mut head);
                for datagram in Fragments::new(1, [&head, &payload], MAX_DATAGRAM_LEN).unwrap() {
                    black_box(&datagram);
                }
            });
        });
    });
}

fn reassemble(criterion: &mut Criterion) {
    each_len(criterion, "reassemble", |group, label, len| {
        let payload = vec![7; len];
        let mut head = Vec::new();
        sample(&payload).encode_head(&mut head);
        let source = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50_000);
        let mut reassembler = Reassembler::new(Limits::default());
        let mut id = 0;
        group.bench_function(label, |bencher| {
            bencher.iter_batched(
                || {
                    id += 1;
                    Fragments::new(id, [&head, &payload], MAX_DATAGRAM_LEN)
                        .unwrap()
                        .map(|datagram| [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat())
                        .collect::<Vec<_>>()
                },
                |datagrams| {
                    let mut messages = 0;
                    for datagram in &datagrams {
                        if let Some(message) = reassembler.push(Duration::ZERO, source, datagram) {
                            black_box(PayloadSample::decode(message.as_slice()).unwrap());
                            messages += 1;
                        }
                    }
                    assert_eq!(messages, 1);
                },
                criterion::BatchSize::PerIteration,
            );
        });
    });
}

/// One message at a time, each waited for.
fn end_to_end(criterion: &mut Criterion) {
    let node = Node::with_config("bench", Config::default()).unwrap();
    each_len(criterion, "publish and receive", |group, label, len| {
        let subscriber = node.subscriber::<[u8]>("bench").unwrap();
        let publisher = node.publisher::<[u8]>("bench").unwrap();
        assert!(publisher.wait_for_subscriber(Duration::from_secs(10)));
        let payload = vec![7; len];
        group.bench_function(label, |bencher| {
            bencher.iter(|| {
                publisher.send(&payload).unwrap();
                assert_eq!(subscriber.recv().unwrap().payload.len(), len);
            });
        });
    });
}

fn matching(criterion: &mut Criterion) {
    let [here, there] = ["here", "there"].map(|name| Node::with_config(name, Config::default()).unwrap());
    let mut topics = 0;
    criterion.benchmark_group("match").sample_size(10).bench_function("loopback", |bencher| {
        bencher.iter_custom(|times| {
            let mut taken = Duration::ZERO;
            for _ in 0..times {
                // A topic of its own, on which nobody of an earlier round can still be matched.
                topics += 1;
                let topic = format!("match {topics}");
                let start = Instant::now();
                let subscriber = there.subscriber::<[u8]>(&topic).unwrap();
                let publisher = here.publisher::<[u8]>(&topic).unwrap();
                assert!(publisher.wait_for_subscriber(Duration::from_secs(10)));
                assert!(subscriber.wait_for_publisher(Duration::from_secs(10)));
                taken += start.elapsed();
            }
            taken
        });
    });
}

criterion_group!(benches, encode, reassemble, end_to_end, matching);
criterion_main!(benches);
