//! Writes a file behind the thread that makes what is written.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

/// How much memory is on its way to the file at most, in bytes, unless a single buffer takes more.
const MAX_AWAY: usize = 16 * 1024 * 1024;

/// Writes buffers to a file in a thread of its own, and waits when as many are on their way as may be.
///
/// The thread ends at the first error, and nothing is written behind what failed. The next call returns the error.
/// Dropping it waits until all was written, or could not be.
pub(super) struct WriteBehind {
    idle: Vec<Vec<u8>>,
    /// What the buffers take that are on their way. One that could not be written never comes back.
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
        let handle = thread::Builder::new().name("write".into()).spawn(write);
        let handle = handle
            .map_err(|error| io::Error::new(error.kind(), format!("a thread cannot be started: {error}")))?;
        let thread = Some(Thread { full, handle });
        Ok(Self { idle: Vec::new(), away: 0, written, thread })
    }

    /// Has a buffer written, and returns an empty one, which is one that was written if there is any.
    pub(super) fn write(&mut self, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
        while let Ok(buffer) = self.written.try_recv() {
            self.take_back(buffer);
        }
        let capacity = buffer.capacity();
        while self.away > 0 && self.away + capacity > MAX_AWAY {
            self.wait()?;
        }
        match &self.thread {
            Some(thread) if thread.full.send(buffer).is_ok() => self.away += capacity,
            _ => return Err(self.failure()),
        }
        Ok(self.idle.pop().unwrap_or_default())
    }

    /// Waits until all is in the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.away > 0 {
            self.wait()?;
        }
        Ok(())
    }

    /// Waits until a buffer was written.
    fn wait(&mut self) -> io::Result<()> {
        let buffer = self.written.recv().map_err(|_| self.failure())?;
        self.take_back(buffer);
        Ok(())
    }

    fn take_back(&mut self, buffer: Vec<u8>) {
        self.away -= buffer.capacity();
        // Exceptional messages leave exceptional buffers.
        if buffer.capacity() <= MAX_AWAY / 2 {
            self.idle.push(buffer);
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

impl Drop for WriteBehind {
    fn drop(&mut self) {
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

    const MIB: usize = 1024 * 1024;

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
        let lens = [1, 7, MIB - 9, 1, 0, 5 * MIB, 2, 2 * MAX_AWAY + 5, MIB, MIB, 3 * MIB, 4 * MIB, 13];
        let all = bytes(lens.iter().sum());
        let mut rest = &all[..];
        let mut buffer = Vec::new();
        for (n, len) in lens.into_iter().enumerate() {
            let (now, later) = rest.split_at(len);
            buffer.extend_from_slice(now);
            buffer = behind.write(buffer).unwrap();
            assert!(buffer.is_empty());
            rest = later;
            if n % 4 == 3 {
                behind.flush().unwrap();
                assert!(file.content() == all[..all.len() - rest.len()], "after write {n}");
            }
        }
        drop(behind);
        assert!(file.content() == all, "dropping it waits for the rest");
    }

    #[test]
    fn flush_waits_until_all_was_written() {
        let file = Slow::default();
        let mut behind = WriteBehind::new(file.clone()).unwrap();
        behind.write(bytes(MAX_AWAY / 2)).unwrap();
        behind.write(bytes(MAX_AWAY / 2)).unwrap();
        behind.flush().unwrap();
        assert_eq!(file.content().len(), MAX_AWAY);
    }

    #[test]
    fn who_writes_waits_for_a_slow_file() {
        let file = Slow::default();
        let mut behind = WriteBehind::new(file.clone()).unwrap();
        for _ in 0..64 {
            behind.write(bytes(MIB)).unwrap();
            file.taken.fetch_add(MIB, Ordering::Relaxed);
        }
        behind.flush().unwrap();
        let most = file.most_waiting.load(Ordering::Relaxed);
        assert!(most <= MAX_AWAY, "{most} bytes waited");
    }

    #[test]
    fn buffers_are_used_again_unless_they_are_exceptional() {
        let mut behind = WriteBehind::new(io::sink()).unwrap();
        let mut after = |capacity| {
            behind.write(Vec::with_capacity(capacity)).unwrap();
            behind.flush().unwrap();
            behind.write(Vec::new()).unwrap().capacity()
        };
        assert_eq!([after(MIB), after(MAX_AWAY)], [MIB, 0]);
    }

    #[test]
    fn behind_an_error_nothing_is_written() {
        let full_at = 2 * MIB + 1234;
        let all = bytes(40 * MIB);
        for buffer_len in [MIB, 3 * MIB + 1, all.len()] {
            let file = Slow { full_at: Some(full_at), ..Slow::default() };
            let mut behind = WriteBehind::new(file.clone()).unwrap();
            let written = all.chunks(buffer_len).try_for_each(|part| behind.write(part.to_vec()).map(drop));
            let error = written.and_then(|()| behind.flush()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(behind.write(vec![1]).is_err() && behind.flush().is_err());
            drop(behind);
            assert!(file.content() == all[..full_at], "{} bytes", file.content().len());
        }
    }

    #[test]
    fn an_error_is_returned_by_the_next_call() {
        let start = || {
            let mut behind = WriteBehind::new(Slow { full_at: Some(0), ..Slow::default() }).unwrap();
            behind.write(bytes(MIB)).unwrap();
            let start = Instant::now();
            while !behind.thread.as_ref().unwrap().handle.is_finished() {
                assert!(start.elapsed() < HANG);
                thread::yield_now();
            }
            behind
        };
        assert_eq!(start().write(vec![1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(start().flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_drop_after_an_error_writes_nothing() {
        let file = Slow { full_at: Some(10), ..Slow::default() };
        let mut behind = WriteBehind::new(file.clone()).unwrap();
        let result = behind.write(bytes(MIB)).and_then(|_| behind.write(bytes(MIB)));
        drop((result, behind));
        assert_eq!(file.content(), bytes(10));
    }
}
