//! Datagrams and messages made by hand, good and bad ones.

use ferrocal_proto::{
    Action, Announcement, EntityId, Header, Kind, Layer, LayerKind, LayerParameters, PayloadSample,
    ProcessInfo, Registration, Text, TopicInfo,
};

/// A datagram: a header and what follows it.
pub fn datagram(kind: Kind, id: i32, num: u32, len: u32, payload: &[u8]) -> Vec<u8> {
    [&Header { kind, id, num, len }.encode(), payload].concat()
}

/// A message in one datagram.
pub fn whole(message: &[u8]) -> Vec<u8> {
    datagram(Kind::Whole, -1, 1, message.len() as u32, message)
}

/// The announcement of a message in fragments.
pub fn info(id: i32, num: u32, len: u32) -> Vec<u8> {
    datagram(Kind::Info, id, num, len, &[])
}

/// A fragment.
pub fn fragment(id: i32, number: u32, payload: &[u8]) -> Vec<u8> {
    datagram(Kind::Fragment, id, number, payload.len() as u32, payload)
}

/// A payload message, from a host of the name `forged`.
pub fn payload(topic: &str, publisher: u64, clock: i64, payload: &[u8]) -> Vec<u8> {
    payload_from(b"forged", topic, publisher, clock, payload)
}

/// A payload message of the publisher that registers with this name of its host.
pub fn payload_from(host_name: &[u8], topic: &str, publisher: u64, clock: i64, payload: &[u8]) -> Vec<u8> {
    let id = publisher.to_string();
    let sample = PayloadSample {
        topic_name: topic.as_bytes(),
        topic_id: id.as_bytes(),
        host_name,
        clock,
        time_us: 1,
        hash: clock,
        payload,
    };
    let mut message = Vec::new();
    sample.encode_head(&mut message);
    message.extend_from_slice(payload);
    message
}

/// A publisher or subscriber of `topic` that reads or writes UDP, on a host of this name.
pub fn topic_info(host_name: &str, process_id: i32, id: u64, topic: &str) -> TopicInfo {
    let udp = Layer {
        kind: LayerKind::UdpMulticast,
        version: 2,
        enabled: true,
        active: false,
        parameters: LayerParameters::default(),
    };
    TopicInfo {
        host_name: host_name.into(),
        shm_transport_domain: host_name.into(),
        process_id,
        process_name: "forged".into(),
        unit_name: "forged".into(),
        topic_id: EntityId::from_wire(id.to_string()),
        topic_name: topic.into(),
        layers: vec![udp],
        registration_clock: 1,
        ..TopicInfo::default()
    }
}

/// The same on the host of this program, which nodes in local mode listen to.
///
/// # Panics
/// When the system does not tell the host's name.
pub fn on_this_host(info: TopicInfo) -> TopicInfo {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host has a name");
    let host_name = Text::from(host_name.trim_end());
    TopicInfo { shm_transport_domain: host_name.clone(), host_name, ..info }
}

/// The registration of a publisher, as a message.
pub fn publisher(info: TopicInfo) -> Vec<u8> {
    Registration { action: Action::Register, announcement: Announcement::Publisher(info) }.encode()
}

/// The registration of a subscriber, as a message.
pub fn subscriber(info: TopicInfo) -> Vec<u8> {
    Registration { action: Action::Register, announcement: Announcement::Subscriber(info) }.encode()
}

/// The registration of a process, as a message.
pub fn process(info: ProcessInfo) -> Vec<u8> {
    Registration { action: Action::Register, announcement: Announcement::Process(info) }.encode()
}

/// The end of a subscriber, as a message.
pub fn subscriber_gone(info: TopicInfo) -> Vec<u8> {
    Registration { action: Action::Unregister, announcement: Announcement::Subscriber(info) }.encode()
}

/// The end of a publisher, as a message.
pub fn publisher_gone(info: TopicInfo) -> Vec<u8> {
    Registration { action: Action::Unregister, announcement: Announcement::Publisher(info) }.encode()
}
