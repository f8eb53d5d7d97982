//! What the crate `mcap` writes to.

use std::io::{self, Seek, SeekFrom, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::behind::WriteBehind;

/// Keeps a chunk until it is complete, and hands it over as a whole: the file never holds a part of one for long.
///
/// `mcap` goes back to the head of a chunk when it knows its length and checksum, and then to the end again: the chunk
/// is complete. Without going back, it would keep the chunk in memory of its own, and copy it from there.
pub(super) struct Chunks {
    /// What was not handed over yet.
    open: Vec<u8>,
    /// Where the next byte goes in it.
    at: usize,
    /// What was handed over, in bytes.
    len: Arc<AtomicU64>,
    behind: WriteBehind,
}

impl Chunks {
    pub(super) fn new(behind: WriteBehind, len: Arc<AtomicU64>) -> Self {
        Self { open: Vec::new(), at: 0, len, behind }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let full = mem::take(&mut self.open);
        let len = full.len();
        self.at = 0;
        self.open = self.behind.write(full)?;
        self.len.fetch_add(len as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let old = &mut self.open[self.at..];
        let (over, new) = bytes.split_at(bytes.len().min(old.len()));
        old[..over.len()].copy_from_slice(over);
        self.open.extend_from_slice(new);
        self.at += bytes.len();
        Ok(bytes.len())
    }

    /// Waits until all is in the file.
    fn flush(&mut self) -> io::Result<()> {
        self.hand_over()?;
        self.behind.flush()
    }
}

impl Seek for Chunks {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let start = self.len.load(Ordering::Relaxed);
        let end = start + self.open.len() as u64;
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => end.checked_add_signed(offset),
            SeekFrom::Current(offset) => (start + self.at as u64).checked_add_signed(offset),
        };
        let position = position.filter(|position| (start..=end).contains(position));
        let position = position.ok_or_else(|| io::Error::other("what was handed over is gone"))?;
        if matches!(to, SeekFrom::End(0)) && (self.at as u64) < end - start {
            self.hand_over()?;
        } else {
            self.at = (position - start) as usize;
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_handed_over_when_its_head_was_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let len = Arc::<AtomicU64>::default();
        let behind = WriteBehind::new(file.reopen().unwrap()).unwrap();
        let mut chunks = Chunks::new(behind, len.clone());
        chunks.write_all(b"magic").unwrap();
        chunks.flush().unwrap();
        for _ in 0..2 {
            let start = chunks.stream_position().unwrap();
            chunks.write_all(b"....chunk").unwrap();
            assert_eq!(len.load(Ordering::Relaxed), 5.max(start), "it is kept");
            assert_eq!(chunks.seek(SeekFrom::Start(start)).unwrap(), start);
            chunks.write_all(b"he").unwrap();
            chunks.write_all(b"ad").unwrap();
            assert_eq!(chunks.stream_position().unwrap(), start + 4);
            assert_eq!(chunks.seek(SeekFrom::End(0)).unwrap(), start + 9);
            assert_eq!(len.load(Ordering::Relaxed), start + 9);
            assert!(chunks.seek(SeekFrom::Start(start)).is_err());
        }
        chunks.write_all(b"index").unwrap();
        chunks.flush().unwrap();
        chunks.write_all(b"a chunk that is not complete").unwrap();
        drop(chunks);
        assert_eq!(std::fs::read(file.path()).unwrap(), b"magicheadchunkheadchunkindex");
    }
}
