//! Whose the bytes are: of which host and topic, and what is not of eCAL.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use ferrocal_proto::{Announcement, Header, Kind, PayloadSample, Registration, split_name};

use super::packet::{Content, Fragment, Packet, split_datagram};

/// What the network can make this program store, of each kind.
const MAX_ENTRIES: usize = 10_000;
/// A message or a packet of which nothing came for so long does not become complete any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// What eCAL's datagrams begin with.
const MAGIC: &[u8] = b"ECAL";

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    /// All frames, with their headers.
    pub(crate) bytes: u64,
    /// Those of eCAL.
    pub(crate) ecal_bytes: u64,
    /// By the address that they came from.
    pub(crate) hosts: BTreeMap<Ipv4Addr, Host>,
    /// By name and the publisher's host and id.
    pub(crate) topics: BTreeMap<TopicKey, Topic>,
    /// Fragments of messages that did not come, of all topics.
    pub(crate) fragments_lost: u64,
    /// Datagrams of which a fragment did not come.
    pub(crate) datagrams_lost: u64,
    messages: Pending<(SocketAddrV4, i32), Message>,
    packets: Pending<(Ipv4Addr, Ipv4Addr, u16), Pieces>,
}

/// Which publisher, of which topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicKey {
    pub(crate) topic: String,
    pub(crate) host: String,
    /// The publisher's id, a decimal number.
    pub(crate) id: String,
}

/// What a host sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Host {
    /// As it calls itself.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) ecal_bytes: u64,
    pub(crate) registration_bytes: u64,
    pub(crate) log_bytes: u64,
}

/// What a publisher sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Topic {
    /// With the headers of all layers.
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    pub(crate) fragments_lost: u64,
}

/// What a frame is counted for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Owner {
    Topic(TopicKey),
    Registration,
    Log,
    /// It is of eCAL, and no more is known.
    #[default]
    Ecal,
    Other,
}

/// A message in fragments.
#[derive(Debug, Default)]
struct Message {
    owner: Owner,
    /// How many fragments it has, if that is known.
    expected: Option<u32>,
    seen: u32,
}

/// A packet in fragments.
#[derive(Debug)]
struct Pieces {
    owner: Owner,
    len: Option<usize>,
    seen: usize,
}

/// What is not complete, roughly from the oldest to the newest.
#[derive(Debug)]
struct Pending<K, V> {
    entries: HashMap<K, Waiting<V>>,
    by_age: VecDeque<(Instant, K)>,
}

#[derive(Debug)]
struct Waiting<V> {
    /// What its place in the queue says.
    queued: Instant,
    /// When something came of it.
    latest: Instant,
    value: V,
}

impl<K, V> Default for Pending<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), by_age: VecDeque::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, V> Pending<K, V> {
    /// Something came of it.
    fn touch(&mut self, now: Instant, key: K, new: impl FnOnce() -> V) -> &mut V {
        let by_age = &mut self.by_age;
        let waiting = self.entries.entry(key).or_insert_with_key(|key| {
            by_age.push_back((now, key.clone()));
            Waiting { queued: now, latest: now, value: new() }
        });
        waiting.latest = now;
        &mut waiting.value
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|waiting| waiting.value)
    }

    /// Takes out one of which nothing came for `patience`, or one too many.
    fn pop(&mut self, now: Instant, patience: Duration) -> Option<V> {
        loop {
            let has_room = self.by_age.len() <= MAX_ENTRIES;
            let (since, _) = self.by_age.front()?;
            if now.saturating_duration_since(*since) < patience && has_room {
                return None;
            }
            let (since, key) = self.by_age.pop_front()?;
            // It may have been completed, and its key be that of another one.
            let Some(waiting) = self.entries.get_mut(&key).filter(|one| one.queued == since) else {
                continue;
            };
            if has_room && now.saturating_duration_since(waiting.latest) < patience {
                waiting.queued = waiting.latest;
                self.by_age.push_back((waiting.latest, key));
                continue;
            }
            return self.remove(&key);
        }
    }
}

impl Flows {
    /// Counts a frame. `len` is its length on the interface; None is one without IPv4.
    pub(crate) fn frame(&mut self, now: Instant, len: usize, packet: Option<&Packet<'_>>) {
        let len = len as u64;
        self.bytes += len;
        let Some(packet) = packet else { return };
        let owner = match packet.content {
            Content::Udp { source_port, payload, fragmented, .. } => {
                let source = SocketAddrV4::new(packet.source, source_port);
                let owner = self.datagrams(now, source, payload);
                if let Some(fragment) = fragmented {
                    let key = (packet.source, packet.destination, fragment.id);
                    self.piece(now, key, fragment, Some(&owner));
                }
                owner
            }
            Content::Fragment(fragment) => {
                let key = (packet.source, packet.destination, fragment.id);
                self.piece(now, key, fragment, None)
            }
            Content::Other => Owner::Other,
        };
        self.count(packet.source, owner, len);
        self.give_up(now, PATIENCE);
    }

    /// Counts as lost what is missing of messages and packets of which nothing came for `patience`.
    pub(crate) fn give_up(&mut self, now: Instant, patience: Duration) {
        while let Some(message) = self.messages.pop(now, patience) {
            self.given_up(&message);
        }
        while let Some(pieces) = self.packets.pop(now, patience) {
            self.datagrams_lost += u64::from(pieces.owner != Owner::Other);
        }
    }

    fn count(&mut self, source: Ipv4Addr, owner: Owner, len: u64) {
        let is_ecal = owner != Owner::Other;
        self.ecal_bytes += if is_ecal { len } else { 0 };
        if self.hosts.len() < MAX_ENTRIES || self.hosts.contains_key(&source) {
            let host = self.hosts.entry(source).or_default();
            host.bytes += len;
            host.ecal_bytes += if is_ecal { len } else { 0 };
            match &owner {
                Owner::Registration => host.registration_bytes += len,
                Owner::Log => host.log_bytes += len,
                Owner::Topic(key) if host.name.is_empty() => key.host.clone_into(&mut host.name),
                _ => {}
            }
        }
        if let Owner::Topic(key) = owner
            && let Some(topic) = self.topic(key)
        {
            topic.bytes += len;
        }
    }

    fn topic(&mut self, key: TopicKey) -> Option<&mut Topic> {
        let has_room = self.topics.len() < MAX_ENTRIES || self.topics.contains_key(&key);
        has_room.then(|| self.topics.entry(key).or_default())
    }

    /// Looks at the datagrams of a frame: with segmentation offload there are several. Returns whose the first one is.
    fn datagrams(&mut self, now: Instant, source: SocketAddrV4, payload: &[u8]) -> Owner {
        if !payload.starts_with(MAGIC) {
            return Owner::Other;
        }
        let mut rest = payload;
        let mut owner = None;
        while let Some(datagram_len) = Header::datagram_len(rest).filter(|&len| len > 0) {
            let (datagram, behind) = rest.split_at(datagram_len.min(rest.len()));
            let of_this = self.datagram(now, source, datagram);
            // An announcement of fragments says less than they do.
            if owner.is_none() || owner == Some(Owner::Ecal) {
                owner = Some(of_this);
            }
            rest = behind;
        }
        owner.unwrap_or(Owner::Ecal)
    }

    fn datagram(&mut self, now: Instant, source: SocketAddrV4, datagram: &[u8]) -> Owner {
        // Of the first fragment of a packet, the header tells more bytes than are there.
        let Some((header, content)) = split_datagram(datagram) else { return Owner::Ecal };
        let key = (source, header.id);
        match header.kind {
            Kind::Whole => {
                let owner = self.owner(source, content);
                self.complete(&owner);
                owner
            }
            Kind::Info => {
                let message = self.messages.touch(now, key, Message::default);
                if message.expected.is_some_and(|expected| message.seen < expected) {
                    // The number is used again.
                    let before = std::mem::take(message);
                    self.given_up(&before);
                }
                self.announced(now, key, header.num)
            }
            Kind::Fragment => {
                let owner = if header.num == 0 { self.owner(source, content) } else { Owner::Ecal };
                let message = self.messages.touch(now, key, Message::default);
                message.seen += 1;
                if owner != Owner::Ecal {
                    message.owner = owner;
                }
                self.complete_if_all(&key)
            }
        }
    }

    fn announced(&mut self, now: Instant, key: (SocketAddrV4, i32), fragments: u32) -> Owner {
        self.messages.touch(now, key, Message::default).expected = Some(fragments);
        self.complete_if_all(&key)
    }

    /// Counts a message if all of it came. Returns whose it is.
    fn complete_if_all(&mut self, key: &(SocketAddrV4, i32)) -> Owner {
        let Some(Waiting { value: Message { owner, expected, seen }, .. }) = self.messages.entries.get(key)
        else {
            return Owner::Ecal;
        };
        let owner = owner.clone();
        if expected.is_some_and(|expected| *seen >= expected) {
            self.messages.remove(key);
            self.complete(&owner);
        }
        owner
    }

    /// Whose a message is, by its beginning.
    fn owner(&mut self, source: SocketAddrV4, message: &[u8]) -> Owner {
        let Ok((name, _)) = split_name(message) else { return Owner::Ecal };
        if name == b"_log_message_" {
            return Owner::Log;
        }
        if let Some(sample) = PayloadSample::decode_prefix(message) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return Owner::Topic(TopicKey {
                topic: text(sample.topic_name),
                host: text(sample.host_name),
                id: text(sample.topic_id),
            });
        }
        if let Ok(Registration { announcement: Announcement::Process(info), .. }) =
            Registration::decode(message)
            && let Some(host) = self.hosts.get_mut(source.ip())
            && host.name.is_empty()
        {
            host.name = info.host_name.to_str_lossy().into_owned();
        }
        Owner::Registration
    }

    fn complete(&mut self, owner: &Owner) {
        if let Owner::Topic(key) = owner
            && let Some(topic) = self.topic(key.clone())
        {
            topic.messages += 1;
        }
    }

    fn given_up(&mut self, message: &Message) {
        // Without an announcement, the beginning was not seen.
        let lost = message.expected.map_or(0, |expected| u64::from(expected.saturating_sub(message.seen)));
        self.fragments_lost += lost;
        if let Owner::Topic(key) = &message.owner
            && let Some(topic) = self.topic(key.clone())
        {
            topic.fragments_lost += lost;
        }
    }

    /// Counts a fragment of a packet. Returns whose it is.
    fn piece(
        &mut self,
        now: Instant,
        key: (Ipv4Addr, Ipv4Addr, u16),
        fragment: Fragment,
        owner: Option<&Owner>,
    ) -> Owner {
        let pieces = self.packets.touch(now, key, || Pieces { owner: Owner::Other, len: None, seen: 0 });
        if let Some(owner) = owner {
            owner.clone_into(&mut pieces.owner);
        }
        pieces.seen += fragment.len;
        if fragment.is_last {
            pieces.len = Some(fragment.start + fragment.len);
        }
        let owner = pieces.owner.clone();
        if pieces.len.is_some_and(|len| pieces.seen >= len) {
            self.packets.remove(&key);
        }
        owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);
    const SECOND: Duration = Duration::from_secs(1);

    fn datagram(kind: Kind, num: u32, content: &[u8], len: usize) -> Vec<u8> {
        [&Header { kind, id: 7, num, len: len as u32 }.encode()[..], content].concat()
    }

    fn message(topic: &str) -> Vec<u8> {
        let sample = PayloadSample {
            topic_name: topic.as_bytes(),
            topic_id: b"1",
            host_name: b"there",
            clock: 1,
            time_us: 1,
            hash: 1,
            payload: &[],
        };
        let mut message = Vec::new();
        sample.encode_head(&mut message);
        message
    }

    fn packet(payload: &[u8], fragmented: Option<Fragment>) -> Packet<'_> {
        let content = Content::Udp { source_port: 5, destination_port: 14_002, payload, fragmented };
        Packet { source: SOURCE, destination: GROUP, content }
    }

    fn only(flows: &Flows) -> Topic {
        assert_eq!(flows.topics.len(), 1, "{flows:?}");
        *flows.topics.values().next().unwrap()
    }

    #[test]
    fn what_is_missing_of_a_message_is_counted_for_its_topic() {
        let mut flows = Flows::default();
        let start = Instant::now();
        let first = message("a");
        let fragments = |numbers: &[u32]| -> Vec<Vec<u8>> {
            numbers
                .iter()
                .map(|&number| {
                    let content: &[u8] = if number == 0 { &first } else { b"more" };
                    datagram(Kind::Fragment, number, content, content.len())
                })
                .collect()
        };
        let mut send = |datagrams: &[Vec<u8>]| {
            datagrams.iter().for_each(|one| flows.frame(start, 100, Some(&packet(one, None))));
        };
        let info = datagram(Kind::Info, 4, b"", 1000);
        send(std::slice::from_ref(&info));
        send(&fragments(&[0, 1, 2, 3]));
        // In another order.
        send(&fragments(&[1, 0]));
        send(std::slice::from_ref(&info));
        send(&fragments(&[3, 2]));
        assert_eq!(only(&flows), Topic { messages: 2, fragments_lost: 0, bytes: only(&flows).bytes });
        let mut send = |datagrams: &[Vec<u8>]| {
            datagrams.iter().for_each(|one| flows.frame(start, 100, Some(&packet(one, None))));
        };
        send(std::slice::from_ref(&info));
        send(&fragments(&[0, 2]));
        flows.give_up(start + SECOND, SECOND * 2);
        assert_eq!(flows.fragments_lost, 0, "it may come");
        flows.give_up(start + SECOND * 2, SECOND * 2);
        assert_eq!((flows.fragments_lost, only(&flows).fragments_lost), (2, 2));
        assert_eq!(flows.ecal_bytes, 1300);
    }

    #[test]
    fn a_datagram_in_packets_belongs_to_its_topic_until_all_have_come() {
        let mut flows = Flows::default();
        let start = Instant::now();
        let content = message("a");
        let whole = datagram(Kind::Whole, 1, &content, 3000);
        let piece = |start: usize, len: usize, is_last| Fragment { id: 9, start, len, is_last };
        let later =
            |fragment| Packet { source: SOURCE, destination: GROUP, content: Content::Fragment(fragment) };
        flows.frame(start, 1500, Some(&packet(&whole, Some(piece(0, 1480, false)))));
        flows.frame(start, 1500, Some(&later(piece(1480, 1480, false))));
        flows.frame(start, 100, Some(&later(piece(2960, 72, true))));
        assert_eq!(only(&flows), Topic { bytes: 3100, messages: 1, fragments_lost: 0 });
        flows.give_up(start + PATIENCE, PATIENCE);
        assert_eq!(flows.datagrams_lost, 0);
        flows.frame(start, 1500, Some(&packet(&whole, Some(piece(0, 1480, false)))));
        flows.frame(start, 100, Some(&later(piece(2960, 72, true))));
        flows.give_up(start + PATIENCE, PATIENCE);
        assert_eq!(flows.datagrams_lost, 1);
        assert_eq!(flows.hosts[&SOURCE].name, "there");
    }

    #[test]
    fn what_is_not_of_ecal_is_counted_for_the_host() {
        let mut flows = Flows::default();
        let start = Instant::now();
        flows.frame(start, 60, None);
        flows.frame(start, 100, Some(&packet(b"hello", None)));
        flows.frame(start, 100, Some(&packet(b"ECAL and then nothing", None)));
        assert_eq!((flows.bytes, flows.ecal_bytes, flows.topics.len()), (260, 100, 0));
        assert_eq!((flows.hosts[&SOURCE].bytes, flows.hosts[&SOURCE].ecal_bytes), (200, 100));
    }

    #[test]
    fn the_network_cannot_fill_the_memory() {
        let mut flows = Flows::default();
        let start = Instant::now();
        for number in 0..3 * MAX_ENTRIES as u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let info = Header { kind: Kind::Info, id: number.cast_signed(), num: 2, len: 10 }.encode();
            let from = Packet { source: Ipv4Addr::new(a, b, c, d), ..packet(&info, None) };
            flows.frame(start, 100, Some(&from));
            let fragment = Fragment { id: 1, start: 8, len: 8, is_last: false };
            flows.frame(start, 100, Some(&Packet { content: Content::Fragment(fragment), ..from }));
            let content = message(&format!("{number}"));
            let whole = datagram(Kind::Whole, 1, &content, content.len());
            flows.frame(start, 100, Some(&packet(&whole, None)));
        }
        let sizes = [
            flows.hosts.len(),
            flows.topics.len(),
            flows.messages.entries.len(),
            flows.packets.entries.len(),
        ];
        assert!(sizes.iter().all(|&len| len <= MAX_ENTRIES), "{sizes:?}");
        assert!(flows.messages.by_age.len() <= MAX_ENTRIES + 1);
    }
}
