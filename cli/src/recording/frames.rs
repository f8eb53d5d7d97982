//! Makes a capture file of messages: UDP datagrams as eCAL sends them in network mode.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;

use anyhow::anyhow;
use etherparse::PacketBuilder;
use ferrocal::{Config, EntityId, HashVersion};
use ferrocal_proto::{
    Action, Announcement, Fragments, Layer, LayerKind, LayerParameters, PayloadSample, ProcessInfo,
    Registration, TopicInfo, topic_group,
};

use super::{Channel, Stamps};

/// The longest datagram: what an Ethernet frame has room for, so that none is cut further.
const MAX_DATAGRAM_LEN: usize = 1472;
/// How often publishers register, by the times of the messages.
const REGISTER_EVERY_NS: u64 = 1_000_000_000;
/// The process of publishers that do not name theirs. It only has to be one that no other has.
const UNKNOWN_PROCESS: i32 = i32::MAX;

/// Writes a capture file: pcap with nanoseconds, of Ethernet.
///
/// Publishers register when their first message comes, and once a second. Nothing says when they left.
pub(crate) struct Frames {
    out: BufWriter<File>,
    wire: Wire,
    publishers: Vec<Publisher>,
    numbers: HashMap<usize, usize>,
    /// The hosts by their names, with their last byte of the address.
    hosts: BTreeMap<String, u16>,
    registered_ns: Option<u64>,
    registrations: i32,
    messages: i32,
    bytes: Vec<u8>,
}

/// What of the settings says how messages travel.
struct Wire {
    group: Ipv4Addr,
    registration_port: u16,
    payload_port: u16,
    version: HashVersion,
    mask: Ipv4Addr,
    ttl: u8,
}

struct Publisher {
    channel: Channel,
    id: EntityId,
    source: (Ipv4Addr, u16),
    group: Ipv4Addr,
    last_len: usize,
    last_clock: i64,
}

impl Frames {
    /// Begins a capture file in an empty file, with the ports and groups of these settings.
    pub(crate) fn new(file: File, config: &Config) -> anyhow::Result<Self> {
        let mut out = BufWriter::with_capacity(256 * 1024, file);
        // See draft-ietf-opsawg-pcap: nanoseconds, version 2.4, no time zone, whole frames, Ethernet.
        out.write_all(&0xa1b2_3c4d_u32.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        out.write_all(&65_535_u32.to_le_bytes())?;
        out.write_all(&1_u32.to_le_bytes())?;
        let udp = &config.udp;
        let (version, mask) = (udp.hash_version, udp.mask);
        let mask = mask.unwrap_or(match version {
            HashVersion::V1 => Ipv4Addr::new(0, 0, 0, 15),
            _ => Ipv4Addr::new(255, 255, 255, 240),
        });
        let wire = Wire {
            group: udp.network.group,
            registration_port: config.registration.network_port,
            payload_port: udp.port,
            version,
            mask,
            ttl: udp.network.ttl,
        };
        Ok(Self {
            out,
            wire,
            publishers: Vec::new(),
            numbers: HashMap::new(),
            hosts: BTreeMap::new(),
            registered_ns: None,
            registrations: 0,
            messages: 0,
            bytes: Vec::new(),
        })
    }

    /// Writes a message of a publisher, which has a number of its own.
    pub(crate) fn message(
        &mut self,
        number: usize,
        channel: &Channel,
        stamps: Stamps,
        payload: &[u8],
    ) -> anyhow::Result<()> {
        let time_ns = stamps.log_ns;
        let index = match self.numbers.get(&number) {
            Some(index) => *index,
            None => {
                let index = self.add(number, channel);
                self.register(index, time_ns)?;
                index
            }
        };
        match self.registered_ns {
            Some(last) if time_ns < last.saturating_add(REGISTER_EVERY_NS) => {}
            last => {
                self.registered_ns = Some(time_ns);
                for index in (0..self.publishers.len()).filter(|_| last.is_some()) {
                    self.register(index, time_ns)?;
                }
            }
        }
        let publisher = &mut self.publishers[index];
        (publisher.last_len, publisher.last_clock) = (payload.len(), stamps.clock);
        let mut head = Vec::with_capacity(256);
        let id = publisher.id.to_string();
        self.messages = self.messages.wrapping_add(1);
        let sample = PayloadSample {
            topic_name: publisher.channel.topic.as_bytes(),
            topic_id: id.as_bytes(),
            host_name: publisher.channel.host.as_bytes(),
            clock: stamps.clock,
            time_us: i64::try_from(stamps.publish_ns / 1000).unwrap_or(i64::MAX),
            hash: self.messages.into(),
            payload,
        };
        sample.encode_head(&mut head);
        let (source, group) = (publisher.source, publisher.group);
        self.send(source, (group, self.wire.payload_port), [&head, payload], time_ns)
    }

    /// Completes the file. Returns its length.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        let file = self.out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(file.metadata()?.len())
    }

    fn add(&mut self, number: usize, channel: &Channel) -> usize {
        let hosts = self.hosts.len() as u16;
        let host = *self.hosts.entry(channel.host.clone()).or_insert(hosts);
        let [high, low] = host.wrapping_add(1).to_be_bytes();
        let index = self.publishers.len();
        // A publisher has a port of its own, as each of eCAL's sockets has.
        let source = (Ipv4Addr::new(10, 0, high, low), 49_152 + (index % 16_000) as u16);
        let Wire { version, group, mask, .. } = self.wire;
        let mut channel = channel.clone();
        channel.process_id.get_or_insert(UNKNOWN_PROCESS);
        self.publishers.push(Publisher {
            group: topic_group(version, group, mask, &channel.topic),
            id: EntityId::from_wire(channel.topic_id.unwrap_or(number as u64 + 1).to_string()),
            channel,
            source,
            last_len: 0,
            last_clock: 0,
        });
        self.numbers.insert(number, index);
        index
    }

    /// Has a publisher and its process register.
    fn register(&mut self, index: usize, time_ns: u64) -> anyhow::Result<()> {
        self.registrations = self.registrations.wrapping_add(1);
        let Publisher { channel, id, source, last_len, last_clock, .. } = &self.publishers[index];
        let process_id = channel.process_id.unwrap_or(UNKNOWN_PROCESS);
        let udp = Layer {
            kind: LayerKind::UdpMulticast,
            version: 2,
            enabled: true,
            active: true,
            parameters: LayerParameters::default(),
        };
        let process = ProcessInfo {
            host_name: channel.host.as_str().into(),
            shm_transport_domain: channel.host.as_str().into(),
            process_id,
            process_name: channel.process.as_str().into(),
            unit_name: channel.unit.as_str().into(),
            registration_clock: self.registrations,
            ..ProcessInfo::default()
        };
        let topic = TopicInfo {
            host_name: channel.host.as_str().into(),
            shm_transport_domain: channel.host.as_str().into(),
            process_id,
            process_name: channel.process.as_str().into(),
            unit_name: channel.unit.as_str().into(),
            topic_id: *id,
            topic_name: channel.topic.as_str().into(),
            data_type: channel.data_type.clone(),
            layers: vec![udp],
            registration_clock: self.registrations,
            topic_size: i32::try_from(*last_len).unwrap_or(i32::MAX),
            data_clock: *last_clock,
            ..TopicInfo::default()
        };
        let source = *source;
        for announcement in [Announcement::Process(process), Announcement::Publisher(topic)] {
            let message = Registration { action: Action::Register, announcement }.encode();
            self.send(source, (self.wire.group, self.wire.registration_port), [&message, &[]], time_ns)?;
        }
        Ok(())
    }

    /// Writes the datagrams of a message, which is there in two parts.
    fn send(
        &mut self,
        (source, source_port): (Ipv4Addr, u16),
        (group, port): (Ipv4Addr, u16),
        message: [&[u8]; 2],
        time_ns: u64,
    ) -> anyhow::Result<()> {
        let [_, a, b, c] = source.octets();
        let [_, group_a, group_b, group_c] = group.octets();
        // RFC 1112, section 6.4.
        let multicast = [0x01, 0x00, 0x5e, group_a & 0x7f, group_b, group_c];
        self.messages = self.messages.wrapping_add(1);
        let fragments = Fragments::new(self.messages, message, MAX_DATAGRAM_LEN);
        for datagram in fragments.map_err(|error| anyhow!("{error}"))? {
            let builder = PacketBuilder::ethernet2([0x02, 0, 0, a, b, c], multicast)
                .ipv4(source.octets(), group.octets(), self.wire.ttl)
                .udp(source_port, port);
            let payload = [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat();
            self.bytes.clear();
            builder.write(&mut self.bytes, &payload)?;
            let seconds = u32::try_from(time_ns / 1_000_000_000).unwrap_or(u32::MAX);
            let len = self.bytes.len() as u32;
            for word in [seconds, (time_ns % 1_000_000_000) as u32, len, len] {
                self.out.write_all(&word.to_le_bytes())?;
            }
            self.out.write_all(&self.bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ferrocal::DataType;

    use super::*;
    use crate::recording::Capture;

    #[test]
    fn what_was_written_is_read_back_with_its_types_and_times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap");
        let channel = |topic: &str, host: &str, id| Channel {
            topic: topic.into(),
            host: host.into(),
            data_type: DataType {
                name: format!("{topic}.Type"),
                encoding: "proto".into(),
                descriptor: vec![7; 5000].into(),
            },
            unit: "unit".into(),
            process: "process".into(),
            process_id: Some(4711),
            topic_id: Some(id),
        };
        let channels = [channel("a", "robot", 1), channel("a", "robot", 2), channel("ä/b", "car", 3)];
        let stamps = |n: u64| Stamps {
            log_ns: 1_700_000_000_000_000_000 + n * 700_000_001,
            publish_ns: 1_700_000_000_000_000_000 + n * 1000,
            clock: n.cast_signed() + 5,
        };
        let lens = [0, 20, 1400, 1500, 100_000, 3_000_000];
        let mut frames = Frames::new(File::create(&path).unwrap(), &Config::default()).unwrap();
        for (n, len) in lens.into_iter().enumerate() {
            let number = n % channels.len();
            frames.message(number, &channels[number], stamps(n as u64), &vec![n as u8; len]).unwrap();
        }
        assert_eq!(frames.finish().unwrap(), path.metadata().unwrap().len());

        let capture = Capture::open(&path, &Config::default()).unwrap();
        let mut n = 0;
        let each = |number: usize, channel: &Channel, read: Stamps, payload: &[u8]| {
            assert_eq!((number, channel), (n % channels.len(), &channels[n % channels.len()]));
            assert_eq!(read, stamps(n as u64));
            assert!(payload.len() == lens[n] && payload.iter().all(|&byte| byte == n as u8));
            n += 1;
            Ok(true)
        };
        capture.each(each, |damage| panic!("{damage}")).unwrap();
        assert_eq!(n, lens.len());
    }
}
