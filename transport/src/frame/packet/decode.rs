//! Frames -> UDP datagrams.

use std::net::SocketAddrV4;
use std::time::Duration;

use etherparse::err::ipv4::HeaderSliceError;
use etherparse::{Ipv4HeaderSlice, ip_number};

use super::reassembly::{Fragment, Key, Reassembler};
use super::{FrameDrop, FrameDrops, IpReassemblyLimits, LinkType, udp};

/// A UDP datagram, or several behind each other where the system merged them (see
/// [`each_datagram`](super::each_datagram)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Udp<'a> {
    /// Who sent it.
    pub(crate) source: SocketAddrV4,
    /// Where to.
    pub(crate) destination: SocketAddrV4,
    /// The UDP payload.
    pub(crate) payload: &'a [u8],
    /// The IPv4 identification; not unique where the packet may not be cut into fragments (RFC 6864).
    pub(crate) identification: u16,
}

fn contains(ports: Option<&[u16]>, port: u16) -> bool {
    ports.is_none_or(|ports| ports.contains(&port))
}

/// Takes frames apart: link header, IPv4 with its fragments, UDP.
pub(crate) struct Decoder {
    /// All, if there are none.
    ports: Option<Box<[u16]>>,
    reassembler: Reassembler,
}

impl Decoder {
    /// Returns a decoder of datagrams to these ports that waits for the missing IPv4 fragments of packets within these
    /// limits.
    #[cfg(any(feature = "raw", fuzzing, test))]
    pub(crate) fn new(ports: &[u16], limits: IpReassemblyLimits) -> Self {
        Self { ports: Some(ports.into()), reassembler: Reassembler::new(limits) }
    }

    /// Returns a decoder of datagrams to every port.
    #[cfg(feature = "replay")]
    pub(crate) fn of_every_port(limits: IpReassemblyLimits) -> Self {
        Self { ports: None, reassembler: Reassembler::new(limits) }
    }

    /// Takes one frame apart.
    ///
    /// `now` is the time since any fixed moment and must not go back. `frame_len_on_wire` is more than the length of
    /// `frame` if that was captured in part only; such a frame is taken as long as its IPv4 packet is whole. `None` is
    /// a frame of another protocol or to another port, or an IPv4 fragment that was kept or not needed.
    ///
    /// An IPv4 header's checksum is not looked at: senders leave it to their network cards, and the cards of receivers
    /// drop what is damaged.
    ///
    /// # Errors
    /// Why the frame was dropped, for the caller to count.
    pub(crate) fn decode<'a>(
        &'a mut self,
        now: Duration,
        link: LinkType,
        frame: &'a [u8],
        frame_len_on_wire: usize,
    ) -> Result<Option<Udp<'a>>, FrameDrop> {
        self.decode_captured(now, link, frame, frame_len_on_wire).map_err(|reason| match reason {
            FrameDrop::Truncated if frame.len() < frame_len_on_wire => FrameDrop::Cut,
            reason => reason,
        })
    }

    fn decode_captured<'a>(
        &'a mut self,
        now: Duration,
        link: LinkType,
        frame: &'a [u8],
        frame_len_on_wire: usize,
    ) -> Result<Option<Udp<'a>>, FrameDrop> {
        let Some(packet) = link.parse(frame)? else {
            return Ok(None);
        };
        let header = Ipv4HeaderSlice::from_slice(packet).map_err(|error| match error {
            HeaderSliceError::Len(_) => FrameDrop::Truncated,
            HeaderSliceError::Content(_) => FrameDrop::BadIpHeader,
        })?;
        if header.protocol() != ip_number::UDP {
            return Ok(None);
        }
        let header_len = header.slice().len();
        let is_fragment = header.is_fragmenting_payload();
        let packet_len = match usize::from(header.total_len()) {
            // A packet that is still to be cut up by the network card, or was put together by it.
            0 if is_fragment => return Err(FrameDrop::BadIpHeader),
            0 if frame.len() < frame_len_on_wire => return Err(FrameDrop::Truncated),
            0 => packet.len(),
            len if len < header_len => return Err(FrameDrop::BadIpHeader),
            len => len,
        };
        // What is behind the packet pads the frame to its shortest length.
        let mut payload = packet.get(header_len..packet_len).ok_or(FrameDrop::Truncated)?;
        let key = Key {
            source: header.source_addr(),
            destination: header.destination_addr(),
            identification: header.identification(),
        };
        if is_fragment {
            let offset = usize::from(header.fragments_offset().byte_offset());
            // No other fragment has the port: without this one the rest would be waited for.
            if offset == 0
                && udp::destination_port(payload).is_some_and(|port| !contains(self.ports.as_deref(), port))
            {
                self.reassembler.ignore(now, key);
                return Ok(None);
            }
            let fragment = Fragment { key, offset, more_follow: header.more_fragments(), bytes: payload };
            payload = match self.reassembler.push(now, fragment)? {
                Some(payload) => payload,
                None => return Ok(None),
            };
        }
        let (source, destination, payload) = udp::parse(key.source, key.destination, payload)?;
        let udp = Udp { source, destination, payload, identification: key.identification };
        Ok(Some(udp).filter(|udp| contains(self.ports.as_deref(), udp.destination.port())))
    }

    /// Gives up the packets whose missing fragments have not come in time.
    ///
    /// New packets give way to nothing stale anyway; calling this now and then frees memory when none come.
    #[cfg(any(feature = "raw", fuzzing, test))]
    pub(crate) fn expire(&mut self, now: Duration) {
        self.reassembler.expire(now);
    }

    /// Returns how often an incomplete packet was given up, other than by an error that
    /// [`decode`](Self::decode) returned.
    pub(crate) fn drops(&self) -> &FrameDrops {
        self.reassembler.drops()
    }

    /// Returns the memory that incomplete packets take, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.reassembler.buffered_bytes()
    }
}

#[cfg(test)]
mod tests;
