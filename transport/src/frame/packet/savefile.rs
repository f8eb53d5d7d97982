//! Capture files, pcap and pcapng, read without libpcap.

mod source;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::error::SavefileError;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{
    InterfaceDescriptionBlock, OptionCode, PcapBlockOwned, PcapError, PcapHeader, create_reader, pcapng,
};
use source::Source;

/// How much of a file is in memory, in bytes. A frame with the largest snap length (262144) fits in several times.
const BUFFER_LEN: usize = 1024 * 1024;
const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// How a section of a pcapng file begins, in either byte order.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The length of a pcapng block with nothing in it, in bytes.
const EMPTY_BLOCK_LEN: u32 = 12;
/// The type of pcapng's obsolete packet block, which pcap-parser (0.17) does not read.
const OBSOLETE_PACKET: u32 = 2;
/// The most interfaces of a section: obsolete packet blocks can name no more.
const MAX_INTERFACES: usize = 1 << 16;

/// A frame of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SavedFrame<'a> {
    /// The number of the link type; see [`LinkType::from_dlt`](super::LinkType::from_dlt).
    pub(crate) dlt: i32,
    /// What was captured of the frame.
    pub(crate) bytes: &'a [u8],
    /// The frame's length on the wire, in bytes.
    pub(crate) original_len: usize,
    /// When it was captured, since the Unix epoch. `None` if the file does not say so: the frame has no time, or 0.
    pub(crate) time: Option<Duration>,
}

/// Whether a path means standard input: `-`.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// A capture file: pcap or pcapng, of either byte order, as it is or packed with gzip.
///
/// Of pcapng, enhanced, simple and obsolete packet blocks are read, in any number of sections and from any number of
/// interfaces. Blocks that hold no frames are passed over.
pub(crate) struct Savefile {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Why reading failed, which pcap-parser does not pass on.
    failures: mpsc::Receiver<io::Error>,
    /// The length of the block that was read last and is still in the reader's buffer.
    consumed: usize,
    section: Section,
    /// The last frame.
    frame: Vec<u8>,
}

impl Savefile {
    /// Opens a capture file; `-` is standard input. Waits for the first bytes of a pipe.
    ///
    /// # Errors
    /// When the file cannot be opened or is no capture file.
    pub(crate) fn open(path: &Path) -> Result<Self, SavefileError> {
        if is_standard_input(path) {
            return Self::read(path, io::stdin());
        }
        // Linux opens it, and fails only when it is read; Windows says that access is denied.
        if path.is_dir() {
            return Err(SavefileError::Directory { path: path.to_owned() });
        }
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(source) => Err(SavefileError::Open { path: path.to_owned(), source }),
        }
    }

    /// Reads a capture file from elsewhere; `path` is for errors.
    pub(crate) fn read(path: &Path, reader: impl io::Read + Send + 'static) -> Result<Self, SavefileError> {
        let path = path.to_owned();
        let (failed, failures) = mpsc::channel();
        let source = match Source::open(reader, failed) {
            Ok(source) if source.is_empty() => return Err(SavefileError::Empty { path }),
            Ok(source) => source,
            Err(source) => return Err(read_error(path, source)),
        };
        let reader = match create_reader(BUFFER_LEN, source) {
            Ok(reader) => reader,
            Err(PcapError::ReadError) => return Err(read_error(path, cause(&failures))),
            Err(_) => return Err(SavefileError::UnknownFormat { path }),
        };
        Ok(Self { path, reader, failures, consumed: 0, section: Section::default(), frame: Vec::new() })
    }

    /// Reads the next frame; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file ends within a frame, is damaged or cannot be read. No more is to be had from it then.
    pub(crate) fn next_frame(&mut self) -> Result<Option<SavedFrame<'_>>, SavefileError> {
        let path = || self.path.clone();
        loop {
            self.reader.consume(std::mem::take(&mut self.consumed));
            if self.section.is_too_short(self.reader.data()) {
                return Err(SavefileError::Damaged { path: path() });
            }
            match self.reader.next() {
                Ok((len, block)) => {
                    self.consumed = len;
                    match self.section.read(&block, &mut self.frame) {
                        Entry::Frame { dlt, original_len, time } => {
                            return Ok(Some(SavedFrame { dlt, bytes: &self.frame, original_len, time }));
                        }
                        Entry::Other => continue,
                        Entry::Damaged => return Err(SavefileError::Damaged { path: path() }),
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::UnexpectedEof) => return Err(SavefileError::Truncated { path: path() }),
                Err(PcapError::Incomplete(_)) => {}
                Err(_) => return Err(SavefileError::Damaged { path: path() }),
            }
            let available = self.reader.data().len();
            self.reader.refill().map_err(|_| read_error(path(), cause(&self.failures)))?;
            // The buffer is full and still the block has no end. pcap-parser reports that itself if it knows how much
            // is missing; this way reading ends in any case.
            if self.reader.data().len() == available && !self.reader.reader_exhausted() {
                return Err(SavefileError::Damaged { path: path() });
            }
        }
    }
}

fn cause(failures: &mpsc::Receiver<io::Error>) -> io::Error {
    failures.try_recv().unwrap_or_else(|_| io::ErrorKind::Other.into())
}

fn read_error(path: PathBuf, source: io::Error) -> SavefileError {
    match source.kind() {
        // Only what unpacks gzip reports an end as an error.
        io::ErrorKind::UnexpectedEof => SavefileError::Truncated { path },
        _ => SavefileError::Read { path, source },
    }
}

/// What a section of a file says of its frames; a pcap file is a section with one interface.
#[derive(Debug, Default)]
struct Section {
    is_pcapng: bool,
    is_big_endian: bool,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    dlt: i32,
    /// The most that was captured of a frame, in bytes.
    snap_len: usize,
    /// How many units of a timestamp make a second.
    units_per_second: u128,
    /// What to add to a timestamp, in seconds.
    offset: i64,
}

/// What a block of a file holds.
enum Entry {
    Frame { dlt: i32, original_len: usize, time: Option<Duration> },
    Other,
    Damaged,
}

impl Section {
    /// Tells a pcapng block that claims to be shorter than any is.
    ///
    /// pcap-parser (0.17) subtracts from that length before it looks at it, in blocks that describe a process.
    fn is_too_short(&self, block: &[u8]) -> bool {
        let [kind, len, ..] = block.as_chunks().0 else { return false };
        let len = if self.is_big_endian { u32::from_be_bytes(*len) } else { u32::from_le_bytes(*len) };
        // A new section may be of the other byte order.
        self.is_pcapng && *kind != SECTION_HEADER && len < EMPTY_BLOCK_LEN
    }

    /// Takes a block in, and copies the frame out if it holds one: the reader lends a block out only until it is
    /// asked for another, and some have to be passed over.
    fn read(&mut self, block: &PcapBlockOwned<'_>, frame: &mut Vec<u8>) -> Entry {
        let (interface, bytes, original_len, time) = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.interfaces = vec![Interface::of_pcap(header)];
                return Entry::Other;
            }
            PcapBlockOwned::NG(pcapng::Block::SectionHeader(header)) => {
                *self = Self { is_pcapng: true, is_big_endian: header.big_endian(), interfaces: Vec::new() };
                return Entry::Other;
            }
            PcapBlockOwned::NG(pcapng::Block::InterfaceDescription(description)) => {
                if self.interfaces.len() == MAX_INTERFACES {
                    return Entry::Damaged;
                }
                self.interfaces.push(Interface::of_pcapng(description, self.is_big_endian));
                return Entry::Other;
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = self.interface(0) else { return Entry::Damaged };
                let time = Duration::from_secs(packet.ts_sec.into()) + interface.time(packet.ts_usec.into());
                (interface, packet.data, packet.origlen, Some(time).filter(|time| !time.is_zero()))
            }
            PcapBlockOwned::NG(pcapng::Block::EnhancedPacket(packet)) => {
                let Some(interface) = self.interface(packet.if_id) else { return Entry::Damaged };
                let time = interface.time_of_words(packet.ts_high, packet.ts_low);
                (interface, packet.packet_data(), packet.origlen, time)
            }
            PcapBlockOwned::NG(pcapng::Block::SimplePacket(packet)) => {
                let Some(interface) = self.interface(0) else { return Entry::Damaged };
                // What is captured of it has no length of its own and no time.
                let bytes = packet.packet_data();
                (interface, bytes.get(..interface.snap_len).unwrap_or(bytes), packet.origlen, None)
            }
            PcapBlockOwned::NG(pcapng::Block::Unknown(block))
                if self.is_obsolete_packet(block.block_type) =>
            {
                let Some(packet) = ObsoletePacket::parse(block.data, self.is_big_endian) else {
                    return Entry::Damaged;
                };
                let Some(interface) = self.interface(packet.interface) else { return Entry::Damaged };
                let time = interface.time_of_words(packet.time_high, packet.time_low);
                (interface, packet.bytes, packet.original_len, time)
            }
            PcapBlockOwned::NG(_) => return Entry::Other,
        };
        frame.clear();
        frame.extend_from_slice(bytes);
        Entry::Frame { dlt: interface.dlt, original_len: original_len as usize, time }
    }

    fn interface(&self, id: u32) -> Option<Interface> {
        self.interfaces.get(usize::try_from(id).ok()?).copied()
    }

    /// Whether a block is an obsolete packet block; pcap-parser reads types in little-endian order always.
    fn is_obsolete_packet(&self, kind: u32) -> bool {
        OBSOLETE_PACKET == if self.is_big_endian { kind.swap_bytes() } else { kind }
    }
}

/// A packet block, as it was before enhanced packet blocks: draft-ietf-opsawg-pcapng, appendix A.
struct ObsoletePacket<'a> {
    interface: u32,
    time_high: u32,
    time_low: u32,
    original_len: u32,
    bytes: &'a [u8],
}

impl<'a> ObsoletePacket<'a> {
    /// Reads what is between the two lengths of a block.
    fn parse(body: &'a [u8], is_big_endian: bool) -> Option<Self> {
        let (header, rest) = body.split_first_chunk::<20>()?;
        let [ids, time_high, time_low, captured_len, original_len] = header.as_chunks().0 else {
            return None;
        };
        let word = |bytes: [u8; 4]| {
            if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let interface = [ids[0], ids[1]];
        let interface =
            if is_big_endian { u16::from_be_bytes(interface) } else { u16::from_le_bytes(interface) };
        Some(Self {
            interface: interface.into(),
            time_high: word(*time_high),
            time_low: word(*time_low),
            original_len: word(*original_len),
            bytes: rest.get(..usize::try_from(word(*captured_len)).ok()?)?,
        })
    }
}

impl Interface {
    fn of_pcap(header: &PcapHeader) -> Self {
        Self {
            // The bits above these describe check sequences behind the frames.
            dlt: header.network.0 & 0xffff,
            snap_len: usize::MAX,
            units_per_second: if header.is_nanosecond_precision() { NANOS_PER_SECOND } else { 1_000_000 },
            offset: 0,
        }
    }

    /// pcap-parser reads two options itself, but no resolution that is a power of two, and the offset in
    /// little-endian order always (0.17).
    fn of_pcapng(description: &InterfaceDescriptionBlock<'_>, is_big_endian: bool) -> Self {
        let exponent = u32::from(description.if_tsresol & 0x7f);
        let base: u128 = if description.if_tsresol & 0x80 == 0 { 10 } else { 2 };
        let offset = description.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset = offset.and_then(|option| option.value.first_chunk().copied()).unwrap_or_default();
        Self {
            dlt: description.linktype.0,
            snap_len: match description.snaplen {
                0 => usize::MAX,
                len => len as usize,
            },
            // So fine a resolution leaves nothing in 64 bits anyway.
            units_per_second: base.checked_pow(exponent).unwrap_or(u128::MAX),
            offset: if is_big_endian { i64::from_be_bytes(offset) } else { i64::from_le_bytes(offset) },
        }
    }

    /// Returns the time that a timestamp means, since the Unix epoch.
    fn time(&self, units: u64) -> Duration {
        let nanos = u128::from(units) * NANOS_PER_SECOND / self.units_per_second;
        // Less than the units, and than a second.
        let (secs, nanos) = ((nanos / NANOS_PER_SECOND) as u64, (nanos % NANOS_PER_SECOND) as u32);
        Duration::new(secs.saturating_add_signed(self.offset), nanos)
    }

    /// Returns the time that a timestamp of two words means; 0 means none.
    fn time_of_words(&self, high: u32, low: u32) -> Option<Duration> {
        let units = u64::from(high) << 32 | u64::from(low);
        (units != 0).then(|| self.time(units))
    }
}

#[cfg(test)]
mod tests;
