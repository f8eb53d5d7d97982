//! UDP datagrams in frames, over sequences of operations: what was sent arrives, whatever comes between, and no limit
//! is exceeded.

#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ferrocal_fuzz::{Input, LINKS, check_merged};
use ferrocal_transport::IpReassemblyLimits;
use ferrocal_transport::fuzzing::{FrameDecoder, frames};
use libfuzzer_sys::fuzz_target;

const SENDERS: u8 = 4;
const MAX_SENT: usize = 16;
const MAX_OPERATIONS: usize = 300;
const TIMEOUT: Duration = Duration::from_millis(500);
const DESTINATION: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 1), 14_002);

/// A datagram on its way.
struct Sent {
    source: SocketAddrV4,
    dlt: i32,
    payload: Vec<u8>,
    frames: Vec<Vec<u8>>,
    /// Which frames the decoder must still have.
    delivered: Vec<bool>,
    last_news: Duration,
}

struct Run {
    decoder: FrameDecoder,
    limits: IpReassemblyLimits,
    now: Duration,
    sent: Vec<Sent>,
    /// The senders in whose name something arrived that they did not send.
    tainted: [bool; SENDERS as usize],
}

fn limits(input: &mut Input<'_>) -> IpReassemblyLimits {
    match input.byte() {
        0 => IpReassemblyLimits { max_bytes: usize::MAX / 2, max_packets: usize::MAX, timeout: TIMEOUT },
        max_packets => IpReassemblyLimits {
            max_bytes: input.word().into(),
            max_packets: usize::from(max_packets % 16),
            timeout: TIMEOUT,
        },
    }
}

fn address(sender: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, sender)
}

impl Run {
    fn is_unlimited(&self) -> bool {
        self.limits.max_packets == usize::MAX
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let identification = self.sent.len();
        if identification == MAX_SENT {
            return;
        }
        let source = SocketAddrV4::new(address(input.byte() % SENDERS), 40_000);
        let dlt = LINKS[usize::from(input.byte()) % LINKS.len()];
        let mtu = 68 + 8 * usize::from(input.byte());
        let len = mtu * usize::from(input.byte() % 24) + usize::from(input.byte());
        let payload: Vec<u8> = (0..len).map(|at| (at * 31 + 7 * identification) as u8).collect();
        let frames = frames(dlt, source, DESTINATION, identification as u16, mtu, &payload);
        let delivered = vec![false; frames.len()];
        self.sent.push(Sent { source, dlt, payload, frames, delivered, last_news: self.now });
    }

    /// Delivers a frame as it was sent.
    fn deliver(&mut self, slot: usize, index: usize) {
        let is_unlimited = self.is_unlimited();
        let sent = &mut self.sent[slot];
        if self.now - sent.last_news >= TIMEOUT {
            sent.delivered.fill(false);
        }
        if !sent.delivered[index] {
            sent.delivered[index] = true;
            sent.last_news = self.now;
        }
        let completes = !sent.delivered.contains(&false);
        if completes {
            sent.delivered.fill(false);
        }
        let is_tainted = self.tainted[usize::from(sent.source.ip().octets()[3])];
        let frame = &sent.frames[index];
        let decoded = self.decoder.decode(self.now, sent.dlt, frame, frame.len());
        if !is_tainted {
            let expected = Ok(Some((sent.source, DESTINATION, &sent.payload[..])));
            assert!(!matches!(decoded, Ok(Some(_))) || decoded == expected, "not what was sent");
            assert!(!is_unlimited || (decoded == expected) == completes, "it was complete: {completes}");
        }
        self.check();
    }

    /// Delivers what nobody sent so.
    fn inject(&mut self, dlt: i32, frame: &[u8], len_on_wire: usize) {
        for (sender, tainted) in (0..).zip(&mut self.tainted) {
            // As they stand in the IPv4 header.
            let addresses = [address(sender).octets(), DESTINATION.ip().octets()].concat();
            *tainted |= frame.windows(addresses.len()).any(|window| window == addresses);
        }
        if let Ok(Some((_, _, payload))) = self.decoder.decode(self.now, dlt, frame, len_on_wire) {
            check_merged(payload);
        }
        self.check();
    }

    fn check(&self) {
        let bytes = self.decoder.buffered_bytes();
        assert!(bytes <= self.limits.max_bytes, "{bytes} bytes");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let limits = limits(&mut input);
    let decoder = FrameDecoder::new(limits);
    let mut run =
        Run { decoder, limits, now: Duration::ZERO, sent: Vec::new(), tainted: [false; SENDERS as usize] };
    for _ in 0..MAX_OPERATIONS {
        if input.is_empty() {
            break;
        }
        let operation = input.byte() % 8;
        match (operation, run.sent.len()) {
            (0, _) | (1..=3, 0) => run.send(&mut input),
            (1, count) => {
                let slot = usize::from(input.byte()) % count;
                run.deliver(slot, usize::from(input.byte()) % run.sent[slot].frames.len());
            }
            (2, count) => {
                let slot = usize::from(input.byte()) % count;
                let indices = 0..run.sent[slot].frames.len();
                if input.byte() % 2 == 0 {
                    indices.for_each(|index| run.deliver(slot, index));
                } else {
                    indices.rev().for_each(|index| run.deliver(slot, index));
                }
            }
            (3, count) => {
                let Sent { dlt, frames, .. } = &run.sent[usize::from(input.byte()) % count];
                let mut frame = frames[usize::from(input.byte()) % frames.len()].clone();
                let (dlt, len_on_wire) = (*dlt, frame.len());
                for _ in 0..=input.byte() % 4 {
                    let at = usize::from(input.byte()) % frame.len();
                    frame[at] ^= input.byte();
                }
                frame.truncate(len_on_wire - usize::from(input.byte()) % len_on_wire);
                run.inject(dlt, &frame, len_on_wire);
            }
            (4, _) => {
                let dlt = LINKS[usize::from(input.byte()) % LINKS.len()];
                let len = input.word().into();
                let frame = input.bytes(len);
                run.inject(dlt, frame, len);
            }
            (5, _) => {
                // A fragment that fits its neighbours by chance only.
                let sender = input.byte() % SENDERS;
                let identification = input.byte() % MAX_SENT as u8;
                let [offset_low, offset_high] = [input.byte(), input.byte() & 0x3f];
                let len = usize::from(input.byte());
                let total_len = (20 + len as u16).to_be_bytes();
                let mut packet = vec![0x45, 0, total_len[0], total_len[1], 0, identification];
                packet.extend([offset_high, offset_low, 1, 17, 0, 0]);
                packet.extend(address(sender).octets());
                packet.extend(DESTINATION.ip().octets());
                packet.resize(packet.len() + len, input.byte());
                run.inject(101, &packet, packet.len());
            }
            (6, _) => run.now += Duration::from_millis(u64::from(input.byte()) * 4),
            _ => {
                run.decoder.expire(run.now);
                run.check();
            }
        }
    }
});
