//! The reassembler against a model, over random operations.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ferrocal_proto::{DropCounts, DropReason, Header, Kind, Limits, Reassembler};
use proptest::collection::vec;
use proptest::prelude::*;

const MAX_MESSAGE_LEN: usize = 60;
const TIMEOUT_MS: u64 = 100;

/// The message an operation is about: a sender and an id.
type Key = (u16, i32);

#[derive(Clone, Debug)]
enum Operation {
    Info(Key, u32, u32),
    Fragment(Key, u32, Vec<u8>),
    Garbage(Vec<u8>),
    Loss,
    Advance(u64),
    Expire,
}

/// The datagrams of one message in any order, with losses and duplicates.
fn message() -> impl Strategy<Value = Vec<Operation>> {
    let key = (0_u16..3, 0_i32..3);
    (key, vec(vec(any::<u8>(), 1..12), 1..8), any::<u64>()).prop_flat_map(|(key, fragments, _)| {
        let len: usize = fragments.iter().map(Vec::len).sum();
        let mut operations = vec![Operation::Info(key, fragments.len() as u32, len as u32)];
        for (number, fragment) in (0..).zip(fragments) {
            operations.push(Operation::Fragment(key, number, fragment));
        }
        let all = operations.clone();
        let extra = proptest::sample::subsequence(all.clone(), 0..=1);
        let lossy = proptest::sample::subsequence(all, operations.len() - 1);
        prop_oneof![
            1 => Just(operations.clone()),
            2 => Just(operations.clone()).prop_shuffle(),
            1 => lossy.prop_shuffle(),
            1 => (Just(operations), extra).prop_map(|(a, b)| [a, b].concat()).prop_shuffle(),
        ]
    })
}

/// A single operation, true to nothing.
fn noise() -> impl Strategy<Value = Vec<Operation>> {
    let key = (0_u16..3, 0_i32..3);
    let number = prop_oneof![9 => 0_u32..9, 1 => any::<u32>(), 1 => Just(u32::MAX)];
    let len = prop_oneof![9 => 0_u32..70, 1 => any::<u32>()];
    prop_oneof![
        2 => (key.clone(), number.clone(), len).prop_map(|(key, num, len)| Operation::Info(key, num, len)),
        2 => (key, number, vec(any::<u8>(), 0..30)).prop_map(|(key, n, payload)| Operation::Fragment(key, n, payload)),
        1 => vec(any::<u8>(), 0..30).prop_map(Operation::Garbage),
        2 => (0_u64..80).prop_map(Operation::Advance),
        2 => Just(Operation::Loss),
        1 => Just(Operation::Expire),
    ]
    .prop_map(|operation| vec![operation])
}

/// Messages and noise, each message's datagrams kept in their order but mixed with the others'.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let sources = vec(prop_oneof![2 => message(), 1 => noise()], 0..20);
    (sources, vec(any::<prop::sample::Index>(), 200)).prop_map(|(sources, picks)| {
        let mut sources: Vec<_> = sources.into_iter().map(Vec::into_iter).collect();
        let mut operations = Vec::new();
        for pick in picks {
            // The window keeps most messages close enough to complete.
            let window = sources.len().min(4);
            if window == 0 {
                break;
            }
            let at = pick.index(window);
            match sources[at].next() {
                Some(operation) => operations.push(operation),
                None => drop(sources.remove(at)),
            }
        }
        operations
    })
}

/// What is known of a message: all there was, or why it is over and since when.
enum State {
    Open { info: Option<(u32, usize)>, fragments: BTreeMap<u32, Vec<u8>>, last_news: u64, losses: u64 },
    Closed { reason: DropReason, since: u64 },
}

/// The reassembler without limits of memory, as plain as it can be.
#[derive(Default)]
struct Model {
    now: u64,
    states: BTreeMap<Key, State>,
    drops: DropCounts,
    /// The messages given up by the last operation: whose, why, and what there was of their start.
    given_up: Vec<(u16, DropReason, Vec<u8>)>,
    losses: u64,
    is_after_loss: bool,
}

/// The bytes of the fragments that follow each other from the first.
fn start(fragments: &BTreeMap<u32, Vec<u8>>) -> Vec<u8> {
    let in_order = (0..).zip(fragments).take_while(|(at, (number, _))| at == *number);
    in_order.flat_map(|(_, (_, bytes))| bytes).copied().collect()
}

impl Model {
    fn close(&mut self, key: Key, reason: DropReason) {
        self.states.insert(key, State::Closed { reason, since: self.now });
    }

    fn expire(&mut self) {
        for ((port, _), state) in &mut self.states {
            if let State::Open { last_news, fragments, .. } = state
                && self.now - *last_news >= TIMEOUT_MS
            {
                self.drops.count(DropReason::Expired);
                self.given_up.push((*port, DropReason::Expired, start(fragments)));
                *state = State::Closed { reason: DropReason::Expired, since: self.now };
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.states.values().filter(|state| matches!(state, State::Open { .. })).count()
    }

    /// Adds an info or a fragment.
    fn add(&mut self, key: Key, news: Result<(u32, usize), (u32, Vec<u8>)>) -> Option<Vec<u8>> {
        let is_after_loss = std::mem::take(&mut self.is_after_loss);
        match self.try_add(key, news, is_after_loss) {
            Ok(message) => message,
            Err(reason) => {
                self.drops.count(reason);
                None
            }
        }
    }

    fn try_add(
        &mut self,
        key: Key,
        news: Result<(u32, usize), (u32, Vec<u8>)>,
        is_after_loss: bool,
    ) -> Result<Option<Vec<u8>>, DropReason> {
        match &news {
            Ok((0, _)) | Err((u32::MAX, _)) if !matches!(&news, Err((_, f)) if f.is_empty()) => {
                return Err(DropReason::FragmentNumber);
            }
            Ok((_, 0)) => return Err(DropReason::Empty),
            Err((_, fragment)) if fragment.is_empty() => return Err(DropReason::Empty),
            Ok((num, len)) if *num as usize > *len => return Err(DropReason::Inconsistent),
            _ => {}
        }
        let (now, all_losses) = (self.now, self.losses);
        let state = self.states.entry(key).or_insert(State::Closed { reason: DropReason::Expired, since: 0 });
        match state {
            State::Closed { reason, since } if *since > 0 && now - *since < TIMEOUT_MS => {
                return Err(*reason);
            }
            State::Open { last_news, fragments, .. } if now - *last_news >= TIMEOUT_MS => {
                self.given_up.push((key.0, DropReason::Expired, start(fragments)));
                self.close(key, DropReason::Expired);
                self.drops.count(DropReason::Expired);
                return Err(DropReason::Expired);
            }
            State::Closed { .. } => {
                if is_after_loss && let Err((number, fragment)) = news {
                    let start = if number == 0 { fragment } else { Vec::new() };
                    self.given_up.push((key.0, DropReason::Lost, start));
                    self.close(key, DropReason::Lost);
                    return Err(DropReason::Lost);
                }
                *state = State::Open {
                    info: None,
                    fragments: BTreeMap::new(),
                    last_news: now,
                    losses: all_losses,
                };
            }
            State::Open { .. } => {}
        }
        let State::Open { info, fragments, last_news, losses } = state else { unreachable!() };
        let end = fragments.last_key_value().map_or(0, |(last, _)| last + 1);
        let start = start(fragments);
        let is_gap = matches!(news, Err((number, _)) if number > end);
        match news {
            Ok(new) if *info == Some(new) => return Err(DropReason::Duplicate),
            Ok(_) if info.is_some() => return Err(DropReason::Inconsistent),
            Ok(new) => *info = Some(new),
            Err((number, _)) if info.is_some_and(|(num, _)| number >= num) => {
                return Err(DropReason::FragmentNumber);
            }
            Err((number, _)) if fragments.contains_key(&number) => return Err(DropReason::Duplicate),
            Err((number, fragment)) => drop(fragments.insert(number, fragment)),
        }
        let total: usize = fragments.values().map(Vec::len).sum();
        let (num, len) = info.unwrap_or((u32::MAX, MAX_MESSAGE_LEN));
        let missing = (num as usize).saturating_sub(fragments.len());
        let flaw = if info.is_some() && len > MAX_MESSAGE_LEN || info.is_none() && total > len {
            Some(DropReason::TooLong)
        } else if fragments.keys().any(|number| *number >= num) {
            Some(DropReason::FragmentNumber)
        } else if info.is_some() && (total + missing > len || missing == 0 && total != len) {
            Some(DropReason::LengthMismatch)
        } else if is_gap && *losses < all_losses {
            Some(DropReason::Lost)
        } else {
            None
        };
        if let Some(reason) = flaw {
            self.given_up.push((key.0, reason, start));
            self.close(key, reason);
            return Err(reason);
        }
        (*last_news, *losses) = (now, all_losses);
        if info.is_some() && missing == 0 {
            let message = fragments.values().flatten().copied().collect();
            self.close(key, DropReason::Duplicate);
            return Ok(Some(message));
        }
        Ok(None)
    }
}

fn source(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn datagram(kind: Kind, id: i32, num: u32, len: u32, payload: &[u8]) -> Vec<u8> {
    [&Header { kind, id, num, len }.encode()[..], payload].concat()
}

fn given_up(reassembler: &mut Reassembler) -> Vec<(u16, DropReason, Vec<u8>)> {
    let messages = reassembler.take_given_up();
    messages.map(|message| (message.source.port(), message.reason, message.start)).collect()
}

proptest! {
    // Miri takes seconds for each.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 1000 }))]

    #[test]
    fn agrees_with_the_model(operations in operations()) {
        let limits = Limits {
            max_message_len: MAX_MESSAGE_LEN,
            timeout: Duration::from_millis(TIMEOUT_MS),
            ..Limits::default()
        };
        let mut reassembler = Reassembler::new(limits);
        let mut model = Model { now: 1, ..Model::default() };
        for operation in operations {
            let now = Duration::from_millis(model.now);
            let (key, datagram, expected) = match operation {
                Operation::Info(key, num, len) => {
                    let expected = model.add(key, Ok((num, len as usize)));
                    (key, datagram(Kind::Info, key.1, num, len, &[]), expected)
                }
                Operation::Fragment(key, number, payload) => {
                    let datagram = datagram(Kind::Fragment, key.1, number, payload.len() as u32, &payload);
                    (key, datagram, model.add(key, Err((number, payload))))
                }
                Operation::Garbage(datagram) => {
                    model.is_after_loss = false;
                    if let Err(reason) = Header::parse(&datagram) {
                        model.drops.count(reason);
                    }
                    ((0, 0), datagram, None)
                }
                Operation::Loss => {
                    model.losses += 1;
                    model.is_after_loss = true;
                    reassembler.note_loss();
                    continue;
                }
                Operation::Advance(ms) => {
                    model.now += ms;
                    continue;
                }
                Operation::Expire => {
                    model.expire();
                    reassembler.expire(now);
                    prop_assert_eq!(given_up(&mut reassembler), std::mem::take(&mut model.given_up));
                    continue;
                }
            };
            let message = reassembler.push(now, source(key.0), &datagram);
            let message = message.map(|message| message.as_slice().to_vec());
            prop_assert_eq!(message, expected);
            prop_assert_eq!(reassembler.drops(), &model.drops);
            prop_assert_eq!(given_up(&mut reassembler), std::mem::take(&mut model.given_up));
            prop_assert_eq!(reassembler.in_flight(), model.in_flight());
            prop_assert_eq!(reassembler.buffered_bytes() == 0, model.in_flight() == 0);
        }
    }

    #[test]
    fn stays_within_its_limits(
        operations in operations(),
        max_bytes in 0_usize..3000,
        max_bytes_per_sender in 0_usize..2000,
        max_messages in 0_usize..6,
        max_messages_per_sender in 0_usize..4,
    ) {
        let limits = Limits {
            max_message_len: MAX_MESSAGE_LEN,
            max_bytes,
            max_bytes_per_sender,
            max_messages,
            max_messages_per_sender,
            timeout: Duration::from_millis(TIMEOUT_MS),
        };
        let mut reassembler = Reassembler::new(limits);
        let mut now = Duration::ZERO;
        for operation in operations {
            let message = match operation {
                Operation::Info((port, id), num, len) => {
                    let datagram = datagram(Kind::Info, id, num, len, &[]);
                    reassembler.push(now, source(port), &datagram).map(|message| message.as_slice().len())
                }
                Operation::Fragment((port, id), number, payload) => {
                    let datagram = datagram(Kind::Fragment, id, number, payload.len() as u32, &payload);
                    reassembler.push(now, source(port), &datagram).map(|message| message.as_slice().len())
                }
                Operation::Garbage(datagram) => {
                    reassembler.push(now, source(0), &datagram).map(|message| message.as_slice().len())
                }
                Operation::Loss => {
                    reassembler.note_loss();
                    None
                }
                Operation::Advance(ms) => {
                    now += Duration::from_millis(ms);
                    None
                }
                Operation::Expire => {
                    reassembler.expire(now);
                    None
                }
            };
            prop_assert!(message.is_none_or(|len| len <= MAX_MESSAGE_LEN));
            prop_assert!(reassembler.buffered_bytes() <= max_bytes.min(3 * max_bytes_per_sender));
            prop_assert!(reassembler.in_flight() <= max_messages.min(3 * max_messages_per_sender));
            prop_assert_eq!(reassembler.buffered_bytes() == 0, reassembler.in_flight() == 0);
        }
        reassembler.expire(now + Duration::from_millis(TIMEOUT_MS));
        prop_assert_eq!(reassembler.buffered_bytes(), 0);
    }
}
