//! From a capture file to datagrams.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use super::summary::Counts;
use super::timeline::Timeline;
use crate::error::SavefileError;
use crate::frame::{
    Decoder, FrameDrop, IpReassemblyLimits, SavedFrame, Savefile, Unwrapped, each_datagram, unwrap,
};

/// Reads the datagrams of a capture file.
pub(super) struct Reader {
    file: Savefile,
    decoder: Decoder,
    timeline: Timeline,
    has_time: bool,
}

/// A datagram of a capture file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'a> {
    /// The port that it was sent to.
    pub(super) port: u16,
    pub(super) source: SocketAddrV4,
    /// When it was captured, since the Unix epoch.
    pub(super) captured: Option<Duration>,
    pub(super) bytes: &'a [u8],
}

/// What a frame held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frame {
    /// Datagrams, which were passed on.
    Datagrams,
    /// Another protocol, or an IPv4 fragment that is kept.
    Other,
    /// Nothing that can be used.
    Dropped(FrameDrop),
    /// A frame of a link type that is not supported.
    Unknown(i32),
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, SavefileError> {
        Ok(Self {
            file: Savefile::open(path)?,
            decoder: Decoder::of_every_port(IpReassemblyLimits::default()),
            timeline: Timeline::default(),
            has_time: false,
        })
    }

    /// Reads a frame, and passes its datagrams to `sink`. Returns `None` at the end of the file.
    pub(super) fn read(&mut self, mut sink: impl FnMut(Read<'_>)) -> Result<Option<Frame>, SavefileError> {
        let Some(SavedFrame { dlt, bytes, original_len, time }) = self.file.next_frame()? else {
            return Ok(None);
        };
        self.has_time = time.inspect(|time| self.timeline.advance(*time)).is_some();
        let (link, packet) = match unwrap(dlt, bytes) {
            Ok(Unwrapped::Frame(link, packet)) => (link, packet),
            Ok(Unwrapped::Foreign) => return Ok(Some(Frame::Other)),
            Ok(Unwrapped::Unknown(dlt)) => return Ok(Some(Frame::Unknown(dlt))),
            Err(_) if bytes.len() < original_len => return Ok(Some(Frame::Dropped(FrameDrop::Cut))),
            Err(reason) => return Ok(Some(Frame::Dropped(reason))),
        };
        let original_len = original_len.saturating_sub(bytes.len() - packet.len());
        Ok(Some(match self.decoder.decode(self.timeline.latest(), link, packet, original_len) {
            Ok(Some(udp)) => {
                let (port, source) = (udp.destination.port(), udp.source);
                each_datagram(udp.payload, |bytes| sink(Read { port, source, captured: time, bytes }));
                Frame::Datagrams
            }
            Ok(None) => Frame::Other,
            Err(reason) => Frame::Dropped(reason),
        }))
    }

    /// Whether the latest frame has a time. Otherwise it is played with the one behind it.
    pub(super) fn has_time(&self) -> bool {
        self.has_time
    }

    /// When the latest frame that has a time is played.
    pub(super) fn latest(&self) -> Duration {
        self.timeline.latest()
    }

    /// Counts a frame that was read.
    pub(super) fn count(&self, frame: Frame, counts: &mut Counts) {
        counts.frames += 1;
        match frame {
            Frame::Datagrams => {}
            Frame::Other => counts.others += 1,
            Frame::Dropped(reason) => counts.dropped.count(reason),
            Frame::Unknown(dlt) => {
                counts.dropped.count(FrameDrop::UnknownLinkType);
                counts.add_unknown_link_type(dlt);
            }
        }
        counts.given_up.clone_from(self.decoder.drops());
        counts.shortened = self.timeline.shortened();
    }
}
