//! Writes a file behind the thread that makes what is written.

use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

/// How much is handed over at once, in bytes.
const BUFFER_LEN: usize = 1024 * 1024;

/// How many buffers there are at most. Together they hold more than a chunk, which comes all at once.
const BUFFERS: usize = 8;

/// Writes in a thread of its own what it copied into one of a few buffers, and waits when all of them are on their way.
///
/// The thread ends at the first error, and nothing is written behind what failed. The next call returns the error. Dropping it
/// writes what was not flushed, unless there was an error.
pub(super) struct WriteBehind {
    /// What is filled. It has room, or no memory at all.
    buffer: Vec<u8>,
    idle: Vec<Vec<u8>>,
    /// How many are on their way to the file.
    away: usize,
    written: Receiver<Vec<u8>>,
    /// `None` after an error.
    thread: Option<Thread>,
}

struct Thread {
    full: Sender<Vec<u8>>,
    handle: JoinHandle<io::Result<()>>,
}

impl WriteBehind {
    /// Writes to what has no buffer of its own.
    pub(super) fn new(mut file: impl Write + Send + 'static) -> io::Result<Self> {
        let (full, to_write) = mpsc::channel::<Vec<u8>>();
        let (back, written) = mpsc::channel();
        let write = move || {
            for mut buffer in to_write {
                file.write_all(&buffer)?;
                buffer.clear();
                // It is dropped if nobody needs it any more.
                let _ = back.send(buffer);
            }
            Ok(())
        };
        let handle = thread::Builder::new().name("write".into()).spawn(write)?;
        let thread = Some(Thread { full, handle });
        Ok(Self { buffer: Vec::new(), idle: Vec::new(), away: 0, written, thread })
    }

    /// An empty buffer, as soon as there is one.
    fn empty(&mut self) -> io::Result<Vec<u8>> {
        while let Ok(buffer) = self.written.try_recv() {
            self.take_back(buffer);
        }
        if self.idle.is_empty() && self.away == BUFFERS {
            self.wait()?;
        }
        Ok(self.idle.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_LEN)))
    }

    fn take_back(&mut self, buffer: Vec<u8>) {
        self.away -= 1;
        self.idle.push(buffer);
    }

    /// Waits until a buffer was written.
    fn wait(&mut self) -> io::Result<()> {
        let buffer = self.written.recv().map_err(|_| self.failure())?;
        self.take_back(buffer);
        Ok(())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let buffer = mem::take(&mut self.buffer);
        match &self.thread {
            Some(thread) if thread.full.send(buffer).is_ok() => {
                self.away += 1;
                Ok(())
            }
            _ => Err(self.failure()),
        }
    }

    /// Why the thread ended.
    fn failure(&mut self) -> io::Error {
        match self.thread.take().map(|thread| thread.handle.join()) {
            Some(Ok(Err(error))) => error,
            Some(_) => io::Error::other("the thread that writes panicked"),
            None => io::Error::other("nothing can be written after a failure"),
        }
    }
}

impl Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.thread.as_ref().is_none_or(|thread| thread.handle.is_finished()) {
            return Err(self.failure());
        }
        if self.buffer.capacity() == 0 {
            self.buffer = self.empty()?;
        }
        let len = bytes.len().min(BUFFER_LEN - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..len]);
        if self.buffer.len() == BUFFER_LEN {
            self.hand_over()?;
        }
        Ok(len)
    }

    /// Waits until all is in the file.
    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.hand_over()?;
        }
        while self.away > 0 {
            self.wait()?;
        }
        Ok(())
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        let _ = self.flush();
        if let Some(Thread { full, handle }) = self.thread.take() {
            drop(full);
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use super::*;

    /// Bounds a hang. No test takes as long unless it fails.
    const HANG: Duration = Duration::from_secs(60);

    /// A slow file, which takes an odd number of bytes at a time.
    #[derive(Clone, Default)]
    struct Slow {
        content: Arc<Mutex<Vec<u8>>>,
        /// Where the disk is full, once.
        full_at: Option<usize>,
        /// Bytes that were taken from the test so far.
        taken: Arc<AtomicUsize>,
        /// How many of them were not in the file at most.
        most_waiting: Arc<AtomicUsize>,
    }

    impl Slow {
        fn content(&self) -> Vec<u8> {
            self.content.lock().unwrap().clone()
        }
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            thread::yield_now();
            let mut content = self.content.lock().unwrap();
            let waiting = self.taken.load(Ordering::Relaxed).saturating_sub(content.len());
            self.most_waiting.fetch_max(waiting, Ordering::Relaxed);
            if self.full_at == Some(content.len()) {
                self.full_at = None;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let until_full = self.full_at.map_or(usize::MAX, |at| at - content.len());
            let len = bytes.len().min(4093).min(until_full);
            content.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Bytes that show when some are missing, twice there, or in another order.
    fn bytes(len: usize) -> Vec<u8> {
        (0..len as u32 / 4 + 1).flat_map(u32::to_le_bytes).take(len).collect()
    }

    #[test]
    fn all_bytes_arrive_in_order() {
        let file = Slow::default();
        let mut behind = WriteBehind::new(file.clone()).unwrap();
        let lens = [1, 7, BUFFER_LEN - 9, 1, 0, BUFFER_LEN - 1, 2, 3 * BUFFER_LEN + 5, 12 * BUFFER_LEN, 13];
        let all = bytes(lens.iter().sum());
        let mut rest = &all[..];
        for (n, len) in lens.into_iter().enumerate() {
            let (now, later) = rest.split_at(len);
            behind.write_all(now).unwrap();
            rest = later;
            if n % 4 == 3 {
                behind.flush().unwrap();
                assert!(file.content() == all[..all.len() - rest.len()], "after write {n}");
            }
        }
        drop(behind);
        assert!(file.content() == all, "dropping it writes the rest");
    }

    #[test]
    fn flush_waits_until_all_was_written() {
        let file = Slow::default();
        let mut behind = WriteBehind::new(file.clone()).unwrap();
        behind.write_all(&bytes(BUFFERS * BUFFER_LEN - 1)).unwrap();
        behind.flush().unwrap();
        assert_eq!(file.content().len(), BUFFERS * BUFFER_LEN - 1);
    }

    #[test]
    fn who_writes_waits_for_a_slow_file() {
        let file = Slow::default();
        let mut behind = WriteBehind::new(file.clone()).unwrap();
        for _ in 0..4 * BUFFERS {
            behind.write_all(&bytes(BUFFER_LEN)).unwrap();
            file.taken.fetch_add(BUFFER_LEN, Ordering::Relaxed);
        }
        behind.flush().unwrap();
        let most = file.most_waiting.load(Ordering::Relaxed);
        assert!(most <= BUFFERS * BUFFER_LEN, "{most} bytes waited");
    }

    #[test]
    fn behind_an_error_nothing_is_written() {
        let full_at = 2 * BUFFER_LEN + 1234;
        let all = bytes(20 * BUFFER_LEN);
        for flushed in [2 * BUFFER_LEN, 4 * BUFFER_LEN + 1, 20 * BUFFER_LEN] {
            let file = Slow { full_at: Some(full_at), ..Slow::default() };
            let mut behind = WriteBehind::new(file.clone()).unwrap();
            let (first, rest) = all.split_at(flushed);
            let result = behind.write_all(first).and_then(|()| behind.flush());
            let error = match result {
                Ok(()) => behind.write_all(rest).and_then(|()| behind.flush()).unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(behind.write(&all).is_err() && behind.flush().is_err());
            drop(behind);
            assert!(file.content() == all[..full_at], "{} bytes", file.content().len());
        }
    }

    #[test]
    fn an_error_is_returned_by_the_next_call() {
        let start = || {
            let mut behind = WriteBehind::new(Slow { full_at: Some(0), ..Slow::default() }).unwrap();
            behind.write_all(&bytes(BUFFER_LEN)).unwrap();
            let start = Instant::now();
            while !behind.thread.as_ref().unwrap().handle.is_finished() {
                assert!(start.elapsed() < HANG);
                thread::yield_now();
            }
            behind
        };
        assert_eq!(start().write(&[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(start().flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_drop_after_an_error_writes_nothing() {
        let file = Slow { full_at: Some(10), ..Slow::default() };
        let mut behind = WriteBehind::new(file.clone()).unwrap();
        behind.write_all(&bytes(3 * BUFFER_LEN + 1)).unwrap_or_default();
        drop(behind);
        assert_eq!(file.content(), bytes(10));
    }
}
