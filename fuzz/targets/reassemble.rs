//! The reassembler of messages, over sequences of operations: what was sent arrives, whatever comes between, and no
//! limit is exceeded.

#![no_main]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ferrocal_fuzz::{Input, allocated, with_peak};
use ferrocal_proto::{Fragments, HEADER_LEN, Header, Kind, Limits, Message, Reassembler};
use libfuzzer_sys::fuzz_target;

const SENDERS: u16 = 4;
const MAX_SENT: usize = 16;
const MAX_OPERATIONS: usize = 300;
const TIMEOUT: Duration = Duration::from_secs(1);

/// The room that an announced message is given however little of it came, see [`Limits`].
const ROOM: usize = 64 * 1024;
/// Nodes of tables that are nearly empty.
const SLACK: usize = 16 * 1024;

/// A message on its way.
struct Sent {
    source: SocketAddrV4,
    id: i32,
    message: Vec<u8>,
    datagrams: Vec<Vec<u8>>,
    delivered: Vec<bool>,
    last_news: Duration,
    /// Whether it must complete with its last datagram, and not before.
    is_sure: bool,
}

/// The reassembler, with every limit checked after every call.
struct Checked {
    reassembler: Reassembler,
    limits: Limits,
    now: Duration,
    /// The memory it uses, and all it was handed, in bytes.
    held: usize,
    messages_given_up: u64,
    received: usize,
    /// The memory of messages since the last expiry, and of those before, that it may keep to use again, in bytes.
    spare: [usize; 2],
}

struct Run {
    receiver: Checked,
    sent: Vec<Sent>,
    /// Whether a loss was told of, so that messages may be given up.
    lossy: bool,
    /// The messages of which something arrived that was not sent.
    tainted: BTreeSet<(SocketAddrV4, i32)>,
}

fn source(number: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, u16::from(number) % SENDERS)
}

fn limits(input: &mut Input<'_>) -> Limits {
    if input.byte() == 0 {
        return Limits {
            max_message_len: 1 << 20,
            max_bytes_per_sender: usize::MAX,
            max_bytes: usize::MAX,
            max_messages_per_sender: usize::MAX,
            max_messages: usize::MAX,
            timeout: TIMEOUT,
        };
    }
    Limits {
        max_message_len: input.word().into(),
        max_bytes_per_sender: 4 * usize::from(input.word()),
        max_bytes: 4 * usize::from(input.word()),
        max_messages_per_sender: usize::from(input.byte() % 8),
        max_messages: usize::from(input.byte() % 16),
        timeout: TIMEOUT,
    }
}

impl Checked {
    fn new(limits: Limits) -> Self {
        let before = allocated();
        let reassembler = Reassembler::new(limits);
        let held = allocated() - before;
        Self {
            reassembler,
            limits,
            now: Duration::ZERO,
            held,
            messages_given_up: 0,
            received: 0,
            spare: [0; 2],
        }
    }

    fn is_unlimited(&self) -> bool {
        self.limits.max_bytes == usize::MAX
    }

    fn push(&mut self, source: SocketAddrV4, datagram: &[u8], look: impl FnOnce(Option<&[u8]>)) {
        self.received += datagram.len();
        let (bytes_before, drops_before) = self.usage();
        let before = allocated();
        let (message, peak) = with_peak(|| self.reassembler.push(self.now, source, datagram));
        let bytes = message.as_ref().map(|message| message.as_slice());
        assert!(
            bytes.is_none_or(|bytes| bytes.len() <= self.limits.max_message_len),
            "a message is too long"
        );
        look(bytes);
        if let Some(Message::Assembled(bytes)) = &message {
            self.spare[0] += ROOM.max(2 * bytes.len());
        }
        drop(message);
        self.take_given_up();
        let (bytes, drops) = self.usage();
        // What was given up may be kept, too; this datagram may have added something meanwhile.
        if drops > drops_before {
            let added = ROOM.max(4 * datagram.len());
            self.spare[0] += (bytes_before + added).saturating_sub(bytes);
        }
        self.held = self.held + allocated() - before;
        assert!(peak <= 4 * self.received + ROOM + SLACK, "{peak} bytes for {} received", self.received);
        self.check();
    }

    fn expire(&mut self) {
        let (bytes_before, _) = self.usage();
        let before = allocated();
        self.reassembler.expire(self.now);
        self.take_given_up();
        self.held = self.held + allocated() - before;
        self.spare = [0, self.spare[0] + bytes_before - self.usage().0];
        self.check();
    }

    /// Takes the messages that were given up, each of which counts as a drop.
    fn take_given_up(&mut self) {
        self.messages_given_up += self.reassembler.take_given_up().count() as u64;
        assert!(self.messages_given_up <= self.usage().1);
    }

    /// The memory of incomplete messages, and how much was dropped.
    fn usage(&self) -> (usize, u64) {
        (self.reassembler.buffered_bytes(), self.reassembler.drops().total())
    }

    fn check(&self) {
        let Limits { max_bytes, max_bytes_per_sender, max_messages, max_messages_per_sender, .. } =
            self.limits;
        let (bytes, messages) = (self.reassembler.buffered_bytes(), self.reassembler.in_flight());
        let senders = usize::from(SENDERS);
        assert!(bytes <= max_bytes.min(max_bytes_per_sender.saturating_mul(senders)), "{bytes} bytes");
        assert!(messages <= max_messages.min(max_messages_per_sender.saturating_mul(senders)), "{messages}");
        assert_eq!(bytes == 0, messages == 0);
        // Entries of tables are charged at a flat rate.
        let expected = 3 * bytes + self.spare.iter().sum::<usize>() + SLACK;
        assert!(self.held <= expected, "{} bytes instead of {bytes}", self.held);
    }
}

impl Run {
    fn send(&mut self, input: &mut Input<'_>) {
        if self.sent.len() == MAX_SENT {
            return;
        }
        let source = source(input.byte());
        let id = self.sent.len() as i32;
        let chunk_len = 8 * (1 + usize::from(input.byte()));
        let len = chunk_len * usize::from(input.byte() % 40) + usize::from(input.byte());
        let message: Vec<u8> = (0..len).map(|at| (at * 31 + 7 * id as usize) as u8).collect();
        let (head, tail) = message.split_at(len / 3);
        let fragments = Fragments::new(id, [head, tail], HEADER_LEN + chunk_len);
        let datagrams: Vec<_> = fragments
            .expect("the lengths are within what the header can tell")
            .map(|datagram| [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat())
            .collect();
        self.sent.push(Sent {
            source,
            id,
            message,
            delivered: vec![false; datagrams.len()],
            datagrams,
            last_news: self.receiver.now,
            is_sure: self.receiver.is_unlimited() && !self.lossy,
        });
    }

    /// Delivers a datagram as it was sent.
    fn deliver(&mut self, slot: usize, index: usize) {
        let now = self.receiver.now;
        let sent = &mut self.sent[slot];
        if sent.delivered.contains(&true) && now - sent.last_news >= TIMEOUT {
            sent.is_sure = false;
        }
        if !sent.delivered[index] {
            sent.delivered[index] = true;
            sent.last_news = now;
        }
        let is_whole = sent.datagrams.len() == 1;
        let completes = !sent.delivered.contains(&false);
        if is_whole || !self.tainted.contains(&(sent.source, sent.id)) {
            self.receiver.push(sent.source, &sent.datagrams[index], |message| {
                assert!(message.is_none_or(|message| message == sent.message), "not what was sent");
                assert!(!sent.is_sure || message.is_some() == completes, "it was complete: {completes}");
            });
        } else {
            self.receiver.push(sent.source, &sent.datagrams[index], |_| {});
        }
        // What comes again later is dropped, but not for ever.
        sent.is_sure &= is_whole || !completes;
    }

    fn lose(&mut self) {
        self.receiver.reassembler.note_loss();
        self.lossy = true;
        self.sent.iter_mut().for_each(|sent| sent.is_sure = false);
    }

    /// Delivers what nobody sent so.
    fn inject(&mut self, source: SocketAddrV4, datagram: &[u8]) {
        if let Ok((Header { id, .. }, _)) = Header::parse(datagram) {
            self.tainted.insert((source, id));
        }
        self.receiver.push(source, datagram, |_| {});
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let receiver = Checked::new(limits(&mut input));
    let mut run = Run { receiver, sent: Vec::new(), lossy: false, tainted: BTreeSet::new() };
    for _ in 0..MAX_OPERATIONS {
        if input.is_empty() {
            break;
        }
        let operation = input.byte();
        match (operation % 8, run.sent.len()) {
            (0, _) | (1..=3, 0) => run.send(&mut input),
            (1, count) => {
                let slot = usize::from(input.byte()) % count;
                run.deliver(slot, usize::from(input.byte()) % run.sent[slot].datagrams.len());
            }
            (2, count) => {
                let slot = usize::from(input.byte()) % count;
                let indices = 0..run.sent[slot].datagrams.len();
                if input.byte() % 2 == 0 {
                    indices.for_each(|index| run.deliver(slot, index));
                } else {
                    indices.rev().for_each(|index| run.deliver(slot, index));
                }
            }
            (3, count) => {
                let Sent { source, datagrams, .. } = &run.sent[usize::from(input.byte()) % count];
                let mut datagram = datagrams[usize::from(input.byte()) % datagrams.len()].clone();
                let source = *source;
                let at = usize::from(input.byte()) % datagram.len();
                datagram[at] ^= input.byte();
                datagram.truncate(datagram.len() - usize::from(input.byte()).min(datagram.len()));
                run.inject(source, &datagram);
            }
            (4, _) => {
                let source = source(input.byte());
                let len = input.word().into();
                run.inject(source, input.bytes(len));
            }
            (5, _) => {
                let kind = [Kind::Info, Kind::Fragment, Kind::Whole][usize::from(input.byte() % 3)];
                let source = source(input.byte());
                let id = (input.byte() % 32).into();
                // So that numbers at either end of the range come up.
                let mut number = || i32::from(input.word() as i16) as u32;
                let (num, len) = (number(), number());
                let payload_len = if kind == Kind::Info { 0 } else { usize::from(input.byte()) };
                let len = if kind == Kind::Info { len } else { payload_len as u32 };
                let datagram = [&Header { kind, id, num, len }.encode()[..], &vec![id as u8; payload_len]];
                run.inject(source, &datagram.concat());
            }
            (6, _) => run.receiver.now += Duration::from_millis(u64::from(input.byte()) * 8),
            _ if operation < 128 => run.receiver.expire(),
            _ => run.lose(),
        }
    }
    run.receiver.now += TIMEOUT;
    run.receiver.expire();
    assert_eq!(run.receiver.reassembler.in_flight(), 0);
});
