//! Registrations and payload of nodes that do not exist.

use std::net::SocketAddrV4;
use std::sync::Arc;

use ferrocal::transport::memory::Network;
use ferrocal::transport::{Sender, Transmit, Transport};
use ferrocal_proto::{
    Action, Announcement, EntityId, Fragments, Layer, LayerKind, LayerParameters, MAX_DATAGRAM_LEN,
    PayloadSample, ProcessInfo, Registration, TopicInfo,
};

/// A host whose messages are made by hand.
pub(crate) struct Forger {
    sender: Arc<dyn Sender>,
    registrations: SocketAddrV4,
    payload: SocketAddrV4,
}

impl Forger {
    pub(crate) fn new(network: &Network) -> Self {
        let udp = super::config().udp;
        Self {
            sender: network.host().sender().unwrap(),
            registrations: SocketAddrV4::new(udp.network.group, super::config().registration.network_port),
            payload: SocketAddrV4::new(udp.network.group, udp.port),
        }
    }

    fn send(&self, message: &[u8], destination: SocketAddrV4) {
        for datagram in Fragments::new(1, [message, &[]], MAX_DATAGRAM_LEN).unwrap() {
            let parts = [&datagram.header[..], datagram.parts[0], datagram.parts[1]];
            self.sender.send(&[Transmit { destination, parts }]).unwrap();
        }
    }

    pub(crate) fn register(&self, announcement: Announcement) {
        self.registration(Action::Register, announcement);
    }

    pub(crate) fn unregister(&self, announcement: Announcement) {
        self.registration(Action::Unregister, announcement);
    }

    fn registration(&self, action: Action, announcement: Announcement) {
        let registration = Registration { action, announcement };
        self.send(&registration.encode(), self.registrations);
    }

    /// Sends a message to the group that all receivers of payload join.
    pub(crate) fn payload(&self, topic: &str, host_name: &str, publisher: u64, clock: i64, payload: &[u8]) {
        let id = publisher.to_string();
        let sample = PayloadSample {
            topic_name: topic.as_bytes(),
            topic_id: id.as_bytes(),
            host_name: host_name.as_bytes(),
            clock,
            time_us: 1,
            hash: clock,
            payload,
        };
        let mut message = Vec::new();
        sample.encode_head(&mut message);
        message.extend_from_slice(payload);
        self.send(&message, self.payload);
    }
}

/// A publisher or subscriber of a process of its own.
pub(crate) fn topic(topic: &str, id: u64) -> TopicInfo {
    TopicInfo {
        host_name: "forged".into(),
        shm_transport_domain: "forged".into(),
        process_id: id as i32,
        unit_name: "forged".into(),
        topic_id: EntityId::from_wire(id.to_string()),
        topic_name: topic.into(),
        layers: vec![Layer {
            kind: LayerKind::UdpMulticast,
            version: 2,
            enabled: true,
            active: false,
            parameters: LayerParameters::default(),
        }],
        ..TopicInfo::default()
    }
}

/// The process of [`topic`].
pub(crate) fn process(id: u64, runtime_version: &str) -> Announcement {
    Announcement::Process(ProcessInfo {
        host_name: "forged".into(),
        process_id: id as i32,
        runtime_version: runtime_version.into(),
        ..ProcessInfo::default()
    })
}
