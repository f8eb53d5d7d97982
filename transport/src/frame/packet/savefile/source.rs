//! The bytes of a capture file, unpacked if they are packed.

use std::io::{self, Read};
use std::sync::mpsc;

use flate2::read::MultiGzDecoder;

use super::{BUFFER_LEN, SECTION_HEADER};

/// How a gzip file begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The length of a pcap file's header in bytes.
const PCAP_HEADER_LEN: usize = 24;
/// The byte order magic of a pcapng section, in little-endian order.
const LITTLE_ENDIAN: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];

/// A capture file to read from, with its first block in memory.
///
/// pcap-parser (0.17) expects all of the first block from one call of `read`; a pipe may return less. And it loses the
/// cause of an error, which is kept here.
pub(super) struct Source {
    start: Vec<u8>,
    /// How much of `start` was read.
    read_len: usize,
    rest: Box<dyn Read + Send>,
    failures: mpsc::Sender<io::Error>,
}

impl Source {
    /// Reads the first block. What goes wrong later is sent to `failures`.
    pub(super) fn open(
        reader: impl Read + Send + 'static,
        failures: mpsc::Sender<io::Error>,
    ) -> io::Result<Self> {
        let mut source = Self { start: Vec::new(), read_len: 0, rest: Box::new(reader), failures };
        source.fill(GZIP.len())?;
        if source.start == GZIP {
            let rest = io::Cursor::new(std::mem::take(&mut source.start)).chain(source.rest);
            source.rest = Box::new(MultiGzDecoder::new(rest));
        }
        source.fill(PCAP_HEADER_LEN)?;
        if let [kind, len, order, ..] = source.start.as_chunks().0
            && *kind == SECTION_HEADER
        {
            let len =
                if *order == LITTLE_ENDIAN { u32::from_le_bytes(*len) } else { u32::from_be_bytes(*len) };
            // No more than pcap-parser takes, whatever the block claims.
            source.fill((len as usize).min(BUFFER_LEN))?;
        }
        Ok(source)
    }

    /// Reads until `start` has this length, or nothing is left.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        let missing = len.saturating_sub(self.start.len());
        (&mut self.rest).take(missing as u64).read_to_end(&mut self.start)?;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start.is_empty()
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut start = &self.start[self.read_len..];
        if !start.is_empty() {
            let len = start.read(buffer)?;
            self.read_len += len;
            return Ok(len);
        }
        loop {
            match self.rest.read(buffer) {
                Ok(len) => return Ok(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    // Whoever waits for it holds the other end.
                    let _ = self.failures.send(error);
                    return Err(kind.into());
                }
            }
        }
    }
}
