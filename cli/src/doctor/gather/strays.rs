//! Looks in raw frames for what sockets do not show.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};

use ferrocal::{LogMessage, Mode};
use ferrocal_proto::{Announcement, Header, Kind, PayloadSample, Registration, split_name, topic_group};

use crate::doctor::facts::{Frames, Interface, Settings, Stray, StrayKind};
use crate::traffic::frames::{Captures, Frame};
use crate::traffic::packet::{Content, Packet, split_datagram};

/// What the network can make this program store, of each kind.
const MAX_ENTRIES: usize = 1000;
/// What eCAL's datagrams begin with.
const MAGIC: &[u8] = b"ECAL";

/// Captures until `is_over`.
pub(super) fn watch(
    mut captures: Captures,
    settings: &Settings,
    interfaces: &[Interface],
    is_over: &AtomicBool,
) -> Frames {
    let names = captures.names();
    let is_own =
        |address: Ipv4Addr| interfaces.iter().any(|one| one.addresses.iter().any(|&(own, _)| own == address));
    let mut watcher = Watcher { settings, frames: Frames::default() };
    captures.read(&|| is_over.load(Ordering::Relaxed), &mut |Frame { interface, link, bytes, .. }| {
        let Some(packet) = Packet::parse(link, bytes) else { return };
        let Content::Udp { source_port, destination_port, payload, .. } = packet.content else { return };
        if !payload.starts_with(MAGIC) {
            return;
        }
        if destination_port == settings.registration_port
            && !is_own(packet.source)
            && !packet.source.is_loopback()
            && watcher.frames.heard.len() < MAX_ENTRIES
        {
            watcher.frames.heard.insert((names[interface].clone(), packet.source));
        }
        let source = SocketAddrV4::new(packet.source, source_port);
        let destination = SocketAddrV4::new(packet.destination, destination_port);
        watcher.datagrams(source, destination, payload);
    });
    watcher.frames
}

struct Watcher<'a> {
    settings: &'a Settings,
    frames: Frames,
}

impl Watcher<'_> {
    /// With segmentation offload, a frame holds several datagrams behind each other.
    fn datagrams(&mut self, source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) {
        let mut rest = payload;
        while let Some(len) = Header::datagram_len(rest).filter(|&len| len > 0) {
            let (datagram, behind) = rest.split_at(len.min(rest.len()));
            self.datagram(source, destination, datagram);
            rest = behind;
        }
    }

    fn datagram(&mut self, source: SocketAddrV4, destination: SocketAddrV4, datagram: &[u8]) {
        let settings = self.settings;
        let usual = [settings.registration_port, settings.logging_port, settings.payload_port];
        let is_local = destination.ip().is_loopback();
        let to_group = settings.mode == Mode::Network && destination.ip().is_multicast();
        let is_usual_port = usual.contains(&destination.port());
        if is_local != (settings.mode == Mode::Local)
            || (is_usual_port && (!to_group || *destination.ip() == settings.group))
        {
            return;
        }
        let Some((header, content)) = split_datagram(datagram) else { return };
        // The beginning of payload says whose it is. Of a longer registration, all is needed.
        let message = match header.kind {
            Kind::Whole => content,
            Kind::Fragment if header.num == 0 => content,
            _ => return,
        };
        let Some((kind, sender)) = kind_of(message) else { return };
        if is_usual_port {
            // Only payload has groups of its own.
            let StrayKind::Payload(topic) = &kind else { return };
            let expected = topic_group(settings.hash_version, settings.group, settings.mask, topic);
            if expected == *destination.ip() || destination.port() != settings.payload_port {
                return;
            }
        }
        let stray = Stray {
            source: *source.ip(),
            destination: *destination.ip(),
            port: destination.port(),
            kind,
            sender,
        };
        if self.frames.strays.len() < MAX_ENTRIES && !self.frames.strays.contains(&stray) {
            self.frames.strays.push(stray);
        }
    }
}

/// What a message is, and who sent it.
fn kind_of(message: &[u8]) -> Option<(StrayKind, Option<(String, i32)>)> {
    let (name, _) = split_name(message).ok()?;
    if name == b"_log_message_" {
        let sender = LogMessage::decode(message).ok();
        let sender = sender.map(|line| (line.host_name, line.process_id));
        return Some((StrayKind::Logging, sender));
    }
    if let Some(sample) = PayloadSample::decode_prefix(message) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let host = Some(text(sample.host_name)).filter(|host| !host.is_empty());
        return Some((StrayKind::Payload(text(sample.topic_name)), host.map(|host| (host, 0))));
    }
    let registration = Registration::decode(message).ok()?;
    let sender = match registration.announcement {
        Announcement::Process(info) => (info.host_name, info.process_id),
        Announcement::Publisher(info) | Announcement::Subscriber(info) => (info.host_name, info.process_id),
        Announcement::Server(info) | Announcement::Client(info) => (info.host_name, info.process_id),
        _ => return Some((StrayKind::Registration, None)),
    };
    Some((StrayKind::Registration, Some((sender.0.to_str_lossy().into_owned(), sender.1))))
}
