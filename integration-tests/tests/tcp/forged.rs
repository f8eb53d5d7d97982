//! Peers made by hand: registrations, and what is behind their ports.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use ferrocal::{LayerKind, Node, TopicInfo};
use ferrocal_integration_tests::{forge, wait};
use ferrocal_proto::{
    EntityId, LayerParameters, TCP_HANDSHAKE, TcpFrame, TcpFrameReader, TcpFrameWriter, TcpSample,
};

/// Bounds a hang.
const HANG: Duration = Duration::from_secs(60);

/// Announces publishers and subscribers that only have TCP, on loopback.
pub(crate) struct Forger(UdpSocket);

impl Forger {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_broadcast(true).expect("broadcast");
        Self(socket)
    }

    fn send(&self, message: &[u8]) {
        let destination = (Ipv4Addr::new(127, 255, 255, 255), 14_000);
        self.0.send_to(&forge::whole(message), destination).expect("loopback carries it");
    }

    fn info(id: u64, topic: &str, tcp_port: Option<u16>) -> TopicInfo {
        let mut info = forge::on_this_host(forge::topic_info("forged", 7, id, topic));
        info.layers[0].kind = LayerKind::Tcp;
        info.layers[0].parameters =
            LayerParameters { tcp_port: tcp_port.and_then(NonZeroU16::new), ..LayerParameters::default() };
        info
    }

    pub(crate) fn subscriber(&self, id: u64, topic: &str) {
        self.send(&forge::subscriber(Self::info(id, topic, None)));
    }

    pub(crate) fn publisher(&self, id: u64, topic: &str, port: u16) {
        self.send(&forge::publisher(Self::info(id, topic, Some(port))));
    }

    pub(crate) fn publisher_gone(&self, id: u64, topic: &str, port: u16) {
        self.send(&forge::publisher_gone(Self::info(id, topic, Some(port))));
    }
}

/// The port that a publisher of the node registers.
pub(crate) fn port_of(node: &Node, topic: &str) -> SocketAddr {
    let monitor = node.monitor();
    let port = wait::until_some("a port", || {
        let publishers = monitor.snapshot().publishers;
        let of_topic = publishers.iter().filter(|seen| seen.info.topic_name == *topic);
        of_topic.flat_map(|seen| &seen.info.layers).find_map(|layer| layer.parameters.tcp_port)
    });
    (Ipv4Addr::LOCALHOST, port.get()).into()
}

/// A connection, and the frames that come by it.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    reader: TcpFrameReader,
    buffer: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).expect("the port is open"))
    }

    pub(crate) fn accept(listener: &TcpListener) -> Self {
        // So that nobody waits for ever.
        listener.set_nonblocking(true).expect("a listener");
        let stream = wait::until_some("a connection", || Some(listener.accept().ok()?.0));
        stream.set_nonblocking(false).expect("a connection");
        Self::new(stream)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANG)).expect("a time-out");
        Self { stream, reader: TcpFrameReader::new(1 << 30), buffer: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it is connected");
    }

    /// One byte in each packet.
    pub(crate) fn write_bytewise(&mut self, bytes: &[u8]) {
        self.stream.set_nodelay(true).expect("no delay");
        bytes.iter().for_each(|byte| self.write(&[*byte]));
    }

    /// The next frame, or `None` if the other side has closed the connection.
    pub(crate) fn frame(&mut self) -> Option<TcpFrame> {
        loop {
            let mut bytes = &self.buffer[..];
            let frame = self.reader.read(&mut bytes).expect("good frames");
            self.buffer = bytes.to_vec();
            if frame.is_some() {
                return frame;
            }
            let mut room = vec![0; 1 << 20];
            match self.stream.read(&mut room) {
                Ok(0) => return None,
                Ok(count) => self.buffer = room[..count].to_vec(),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    pub(crate) fn shake_hands(&mut self) {
        self.write(&TCP_HANDSHAKE);
        assert_eq!(self.frame(), Some(TcpFrame::Handshake(0)));
    }

    /// The clock and the payload of the next message.
    pub(crate) fn message(&mut self) -> Option<(i64, Vec<u8>)> {
        let Some(TcpFrame::Payload(body)) = self.frame() else { return None };
        let sample = TcpSample::decode(&body).expect("a good message");
        Some((sample.clock, body[sample.payload].to_vec()))
    }

    /// Waits until the other side has closed it.
    pub(crate) fn expect_closed(&mut self) {
        while self.frame().is_some() {}
    }
}

/// A frame with a message.
pub(crate) fn frame(id: u64, topic: &str, clock: i64, payload: &[u8]) -> Vec<u8> {
    let writer = TcpFrameWriter::new(topic.as_bytes(), EntityId::from_wire(id.to_string()));
    let mut frame = Vec::new();
    writer.put_head(&mut frame, clock, 1, clock, payload.len()).expect("a short name");
    frame.extend_from_slice(payload);
    frame
}
