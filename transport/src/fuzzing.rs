//! A way for fuzz targets into the private modules; there with `--cfg fuzzing` alone.

use std::io::Cursor;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use crate::frame::{Decoder, Emit, LinkType, SavedFrame, Savefile, Udp, Unwrapped, unwrap};
use crate::{FrameDrop, IpReassemblyLimits, SavefileError};

/// Those of eCAL: registration, logging, payload.
const PORTS: [u16; 3] = [14_000, 14_001, 14_002];

pub struct FrameDecoder(Decoder);

impl FrameDecoder {
    pub fn new(limits: IpReassemblyLimits) -> Self {
        Self(Decoder::new(&PORTS, limits))
    }

    /// Returns source, destination and payload.
    pub fn decode<'a>(
        &'a mut self,
        now: Duration,
        dlt: i32,
        frame: &'a [u8],
        frame_len_on_wire: usize,
    ) -> Result<Option<(SocketAddrV4, SocketAddrV4, &'a [u8])>, FrameDrop> {
        let Unwrapped::Frame(link, packet) = unwrap(dlt, frame)? else { return Ok(None) };
        let frame_len_on_wire = frame_len_on_wire.saturating_sub(frame.len() - packet.len());
        let udp = self.0.decode(now, link, packet, frame_len_on_wire)?;
        Ok(udp.map(|Udp { source, destination, payload, .. }| (source, destination, payload)))
    }

    pub fn expire(&mut self, now: Duration) {
        self.0.expire(now);
    }

    pub fn buffered_bytes(&self) -> usize {
        self.0.buffered_bytes()
    }
}

pub fn each_datagram<'a>(payload: &'a [u8], each: impl FnMut(&'a [u8])) {
    crate::frame::each_datagram(payload, each);
}

/// The frames of a UDP datagram.
pub fn frames(
    dlt: i32,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    identification: u16,
    mtu: usize,
    payload: &[u8],
) -> Vec<Vec<u8>> {
    let Some(link) = LinkType::from_dlt(dlt) else { return Vec::new() };
    let emit = Emit {
        source_mac: [2; 6],
        destination_mac: [4; 6],
        source,
        destination,
        ttl: 1,
        identification,
        mtu,
        link,
    };
    let mut frames = Vec::new();
    emit.frames([payload, &[], &[]], &mut Vec::new(), |frame| frames.push(frame.to_vec()));
    frames
}

/// Calls `each` with the link type, the bytes, the length on the wire and the time of every frame of a capture file.
pub fn read_savefile(
    file: Vec<u8>,
    mut each: impl FnMut(i32, &[u8], usize, Duration),
) -> Result<(), SavefileError> {
    let mut file = Savefile::read(Path::new("fuzzed"), Cursor::new(file))?;
    while let Some(SavedFrame { dlt, bytes, original_len, time }) = file.next_frame()? {
        each(dlt, bytes, original_len, time.unwrap_or_default());
    }
    Ok(())
}
