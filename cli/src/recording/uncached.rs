//! Keeps what is recorded out of the system's cache.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use rustix::fs::{Advice, fadvise};

/// How many bytes are written between two pieces of advice.
const STEP: u64 = 4 * 1024 * 1024;

/// How far back each goes: what was on its way to the disk at the last one can leave the cache by then.
const REACH: u64 = 64 * 1024 * 1024;

/// A file that goes to the disk as it is written, and then leaves the system's cache.
///
/// Left alone, Linux collects a tenth of the memory first, and then writes it while new pages are taken for what comes. That
/// takes several times the processor time, and slows who writes. The advice is given by a thread of its own: where the disk is
/// too slow, it waits, while the cache goes on taking what is written.
pub(super) struct Uncached {
    file: File,
    len: u64,
    advised: u64,
    /// Takes the length to advise on. `None` if there is no such thread.
    advise: Option<SyncSender<u64>>,
}

impl Uncached {
    /// Writes to an empty file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let advised = file.try_clone()?;
        Ok(Self::with_advice(file, move |start, len| {
            // Where a file system knows no such advice, all is as without it.
            let _ = fadvise(&advised, start, NonZeroU64::new(len), Advice::DontNeed);
        }))
    }

    /// `advise` takes where what can leave the cache begins, and its length.
    fn with_advice(file: File, mut advise: impl FnMut(u64, u64) + Send + 'static) -> Self {
        let (sender, lens) = mpsc::sync_channel(1);
        let give = move || {
            for len in lens {
                let start = u64::saturating_sub(len, REACH);
                advise(start, len - start);
            }
        };
        let thread = thread::Builder::new().name("uncache".into()).spawn(give);
        Self { file, len: 0, advised: 0, advise: thread.ok().map(|_| sender) }
    }
}

impl Write for Uncached {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        if self.len - self.advised >= STEP
            && let Some(advise) = &self.advise
            && advise.try_send(self.len).is_ok()
        {
            self.advised = self.len;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn all_that_is_written_is_advised_on() {
        let (sender, advice) = mpsc::channel();
        let mut file = Uncached::with_advice(tempfile::tempfile().unwrap(), move |start, len| {
            sender.send((start, start + len)).unwrap();
        });
        file.write_all(&[0; 3 * MIB]).unwrap();
        assert!(advice.try_recv().is_err(), "short recordings stay in the cache");
        let mut end = 0;
        for _ in 0..40 {
            file.write_all(&[0; 4 * MIB]).unwrap();
            let (start, new_end) = advice.recv().unwrap();
            assert!(start <= end && end < new_end, "{end}, then {start} to {new_end}");
            end = new_end;
        }
        assert_eq!(end, file.file.metadata().unwrap().len());
    }

    #[test]
    fn a_slow_disk_stops_the_advice_alone() {
        let (go_on, wait) = mpsc::channel::<()>();
        let mut file = Uncached::with_advice(tempfile::tempfile().unwrap(), move |_, _| {
            let _ = wait.recv();
        });
        for _ in 0..16 {
            file.write_all(&[0; 4 * MIB]).unwrap();
        }
        assert_eq!(file.file.metadata().unwrap().len(), 64 * MIB as u64);
        drop(go_on);
    }
}
