//! Writes a publisher's messages to its memory files.

use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_proto::{FileHead, FileLayout, LayerParameters, MemoryMessage};
use ferrocal_shm::{LockError, MemoryFile, NamedEvent, NamedLock, OpenError, lives, unlink, unlink_parts};
use ferrocal_transport::SendError;

use super::EVENT_TIMEOUT;
use super::naming::{acknowledge_name, event_name, lock_name, new_name};
use crate::layer::{Destination, Endpoint, News, Outgoing, Outlet, TooLong, Writer, Written};
use crate::outage::Outage;
use crate::{ShmConfig, lock};

/// How long a message waits for readers that have the file, as in eCAL. Whoever has it longer is dead.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// How long the file is free after a message that a reader has not come for yet. It is enough for him to wake up; systems
/// make it some longer.
const FREE: Duration = Duration::from_micros(50);
/// More than a publisher needs to grow to the longest message with some buffers. Only somebody who damages its files comes to that.
const MAX_REPLACED: usize = 256;
const LAYOUT: FileLayout = FileLayout::HOST;
/// The length of a message's head.
const HEAD_LEN: u64 = (MemoryMessage::MAX_HEAD_LEN - FileHead::MAX_LEN) as u64;
/// The longest payload that a file can hold.
const MAX_PAYLOAD_LEN: u64 = LAYOUT.max_file_len() - MemoryMessage::MAX_HEAD_LEN as u64;

pub(super) struct ShmWriter {
    config: ShmConfig,
    max_message_len: usize,
    board: Arc<Board>,
    buffers: Vec<Buffer>,
    /// The names of files that were replaced, the newest [`MAX_REPLACED`].
    replaced: Vec<String>,
    /// The buffer that the next message goes to.
    next: usize,
    /// The version of the subscribers that the buffers know.
    version: u64,
    outage: Outage,
}

/// What the writer and the registrations share.
struct Board {
    config: ShmConfig,
    state: Mutex<State>,
    /// Of events of subscribers.
    outage: Mutex<Outage>,
}

impl Board {
    fn new(config: ShmConfig) -> Self {
        Self { config, state: Mutex::default(), outage: Mutex::default() }
    }

    /// Logs that a subscriber cannot be notified, once.
    fn note(&self, connected: Result<(), ReaderError>) {
        let Err(error) = connected else {
            lock(&self.outage).worked();
            return;
        };
        if lock(&self.outage).failed() {
            log::warn!("{error}");
        }
    }
}

#[derive(Default)]
struct State {
    /// The processes of the subscribers, ascending.
    processes: Vec<u32>,
    /// Grows with each change of them.
    version: u64,
    /// As registered.
    names: Vec<String>,
    /// Made for the first subscriber, until the writer takes them.
    fresh: Vec<Buffer>,
}

/// Why a process is not notified of messages.
#[derive(Debug, thiserror::Error)]
#[error("process {process_id} gets no messages by shared memory, as its event cannot be opened: {source}")]
struct ReaderError {
    process_id: u32,
    source: OpenError,
}

impl ShmWriter {
    pub(super) fn new(outlet: &Outlet<'_>, max_message_len: usize) -> Self {
        let config = outlet.config.shm.clone();
        let board = Arc::new(Board::new(config.clone()));
        Self {
            config,
            max_message_len,
            board,
            buffers: Vec::new(),
            replaced: Vec::new(),
            next: 0,
            version: 0,
            outage: Outage::default(),
        }
    }

    /// Takes over what registrations have changed.
    fn catch_up(&mut self) {
        let mut state = lock(&self.board.state);
        self.buffers.append(&mut state.fresh);
        if state.version == self.version {
            return;
        }
        let processes = state.processes.clone();
        self.version = state.version;
        drop(state);
        for buffer in &mut self.buffers {
            let connected = buffer.connect(&processes);
            self.board.note(connected);
        }
    }

    /// The longest payload that can be sent, in bytes.
    fn max_len(&self) -> usize {
        self.max_message_len.min(usize::try_from(MAX_PAYLOAD_LEN).unwrap_or(usize::MAX))
    }

    /// Makes the buffers that are missing, and longer ones for the next `count` messages of up to `len` bytes. Sets `is_new` if
    /// there are new ones.
    fn prepare_buffers(&mut self, len: u64, count: usize, is_new: &mut bool) -> Result<(), OpenError> {
        self.catch_up();
        while self.buffers.len() < self.config.buffer_count.max(1) {
            self.replace(self.buffers.len(), Buffer::create(&self.config, len)?);
            *is_new = true;
        }
        for step in 1..=count.min(self.buffers.len()) {
            let index = (self.next + step) % self.buffers.len();
            if !self.buffers[index].holds(len) {
                self.replace(index, Buffer::create(&self.config, len)?);
                *is_new = true;
            }
        }
        Ok(())
    }

    fn write_one(&mut self, message: &Outgoing<'_>, written: &mut Written) -> Result<(), OpenError> {
        let len = message.payload.len() as u64;
        self.prepare_buffers(len, 1, &mut written.registers_anew)?;
        self.next = (self.next + 1) % self.buffers.len();
        self.buffers[self.next].give_way();
        if self.buffers[self.next].lock.lock(LOCK_TIMEOUT).is_err() {
            // Somebody died with the lock, or damaged it.
            self.remove(self.next);
            self.replace(self.buffers.len(), Buffer::create(&self.config, len)?);
            self.next = self.buffers.len() - 1;
            written.registers_anew = true;
            // Nobody else knows it.
            let _ = self.buffers[self.next].lock.lock(LOCK_TIMEOUT);
        }
        let buffer = &mut self.buffers[self.next];
        let is_written = buffer.put(&self.config, message);
        // Without waking: a subscriber that died while it waited would stop this thread. They try again in 5 ms.
        buffer.lock.unlock();
        if !is_written {
            self.remove(self.next);
            return Err(OpenError::System(io::Error::other(
                "the memory file was shortened, or /dev/shm is full",
            )));
        }
        buffer.notify(self.config.acknowledge_timeout);
        Ok(())
    }

    fn remove(&mut self, index: usize) {
        let buffer = self.buffers.swap_remove(index);
        lock(&self.board.state).names.retain(|name| *name != buffer.name);
        self.look_after(&buffer.name);
    }

    /// Puts a new buffer in the place of one, and has it registered.
    fn replace(&mut self, index: usize, mut buffer: Buffer) {
        let mut state = lock(&self.board.state);
        let connected = buffer.connect(&state.processes);
        state.names.push(buffer.name.clone());
        if index == self.buffers.len() {
            self.buffers.push(buffer);
            drop(state);
        } else {
            let replaced = mem::replace(&mut self.buffers[index], buffer);
            state.names.retain(|name| *name != replaced.name);
            drop(state);
            self.look_after(&replaced.name);
        }
        self.board.note(connected);
    }

    /// Remembers a file that was replaced.
    fn look_after(&mut self, name: &str) {
        if self.replaced.len() == MAX_REPLACED {
            self.replaced.remove(0);
        }
        self.replaced.push(name.to_owned());
    }
}

impl Drop for ShmWriter {
    /// A reader that hears of a file late makes its events, though the file was replaced, and readers remove none.
    fn drop(&mut self) {
        let is_own = self.buffers.first().is_some_and(Buffer::is_own);
        if is_own && !self.replaced.is_empty() {
            unlink_parts(&self.replaced);
        }
    }
}

impl Writer for ShmWriter {
    /// The [endpoint](Board) hears of them earlier.
    fn connect(&mut self, _: &[Destination]) {}

    fn prepare(&mut self, len: usize, count: usize) -> bool {
        let mut is_new = false;
        if len <= self.max_len() {
            // If that fails `write` tries again, and reports it.
            let _ = self.prepare_buffers(len as u64, count, &mut is_new);
        }
        is_new
    }

    fn write(&mut self, messages: &[Outgoing<'_>]) -> Result<Written, SendError> {
        let mut written = Written::default();
        for message in messages {
            match self.write_one(message, &mut written) {
                Ok(()) if self.outage.worked() => written.news = Some(News::ReachableAgain),
                Ok(()) => {}
                Err(error) => {
                    written.not_sent += 1;
                    if self.outage.failed() {
                        written.news = Some(News::NoMemory(error));
                    }
                }
            }
        }
        Ok(written)
    }

    fn check(&mut self, message: &Outgoing<'_>) -> Result<(), TooLong> {
        let (len, max) = (message.payload.len(), self.max_len());
        if len <= max { Ok(()) } else { Err(TooLong { len, max }) }
    }

    fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        Some(self.board.clone())
    }
}

impl Endpoint for Board {
    fn connect(&self, destinations: &[Destination]) {
        let ids = destinations.iter().filter(|one| one.local).map(|one| u32::try_from(one.process_id));
        let mut processes: Vec<u32> = ids.flatten().collect();
        processes.sort_unstable();
        processes.dedup();
        let mut state = lock(&self.state);
        if processes == state.processes {
            return;
        }
        state.version += 1;
        let mut connected = Ok(());
        if state.names.is_empty() && !processes.is_empty() {
            for _ in 0..self.config.buffer_count.max(1) {
                // If that fails the first message tries again, and reports it.
                let Ok(mut buffer) = Buffer::create(&self.config, 0) else { break };
                connected = connected.and(buffer.connect(&processes));
                state.names.push(buffer.name.clone());
                state.fresh.push(buffer);
            }
        }
        state.processes = processes;
        drop(state);
        self.note(connected);
    }

    fn parameters(&self) -> LayerParameters {
        let memory_files = lock(&self.state).names.iter().map(|name| name.as_str().into()).collect();
        LayerParameters { memory_files, ..LayerParameters::default() }
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("names", &lock(&self.state).names).finish_non_exhaustive()
    }
}

/// A memory file of this process's, with its lock and the events of its readers. Dropping it removes all of them.
struct Buffer {
    name: String,
    file: MemoryFile,
    lock: NamedLock,
    readers: Vec<Reader>,
    /// When the newest message was written.
    written: Option<Instant>,
    owner: u32,
}

/// A process that reads.
struct Reader {
    process_id: u32,
    is_connected: bool,
    event: NamedEvent,
    acknowledged: NamedEvent,
    /// Whether it did not acknowledge in time, and has not since.
    is_silent: bool,
    /// Whether its event cannot be set, as it died with it.
    is_stuck: bool,
    /// Whether somebody damaged its event: only another file has a new one.
    is_lost: bool,
}

impl Buffer {
    /// For messages of `payload_len` bytes and some more.
    fn create(config: &ShmConfig, payload_len: u64) -> Result<Self, OpenError> {
        let reserve = payload_len.saturating_mul(config.reserve_percent as u64) / 100;
        let content = HEAD_LEN.saturating_add(payload_len).saturating_add(reserve);
        let len = content.max(config.min_len as u64).saturating_add(FileHead::MAX_LEN as u64);
        let len = len.min(LAYOUT.max_file_len());
        let (name, file) = Self::create_file(len, MemoryMessage::file_len(payload_len))?;
        let buffer = match NamedLock::open(&lock_name(&name)) {
            Ok(lock) => {
                Self { name, file, lock, readers: Vec::new(), written: None, owner: std::process::id() }
            }
            Err(error) => {
                unlink(&name);
                return Err(error);
            }
        };
        let mut head = [0; MemoryMessage::MAX_HEAD_LEN];
        buffer.write_head(MemoryMessage::default().encode(LAYOUT, buffer.file.len(), &mut head));
        Ok(buffer)
    }

    fn create_file(len: u64, needed: u64) -> Result<(String, MemoryFile), OpenError> {
        // Two of four billion names are rarely the same.
        const TRIES: usize = 8;
        let mut tries = 0;
        loop {
            let name = new_name();
            match MemoryFile::create(&name, len, needed) {
                Ok(file) => return Ok((name, file)),
                Err(OpenError::System(error))
                    if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES =>
                {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Not so in a forked child, which leaves the files of its parent alone.
    fn is_own(&self) -> bool {
        self.owner == std::process::id()
    }

    fn holds(&self, payload_len: u64) -> bool {
        let is_intact = self.file.is_intact() && self.readers.iter().all(|reader| !reader.is_lost);
        is_intact && MemoryMessage::file_len(payload_len) <= self.file.len()
    }

    /// Sets the processes that are notified from now on. Events of processes that do not read at present stay: the
    /// process may wait for them again.
    ///
    /// # Errors
    /// If somebody's events cannot be opened. The others are served, and he is tried again with the next change.
    fn connect(&mut self, processes: &[u32]) -> Result<(), ReaderError> {
        for reader in &mut self.readers {
            let is_connected = processes.binary_search(&reader.process_id).is_ok();
            if is_connected && !reader.is_connected {
                (reader.is_silent, reader.is_stuck) = (false, false);
            }
            reader.is_connected = is_connected;
        }
        let name = &self.name;
        self.readers.retain(|reader| {
            let is_kept = reader.is_connected || lives(reader.process_id) != Some(false);
            if !is_kept {
                reader.unlink(name);
            }
            is_kept
        });
        let mut result = Ok(());
        for &process_id in processes {
            if self.readers.iter().all(|reader| reader.process_id != process_id) {
                match Reader::new(name, process_id) {
                    Ok(reader) => self.readers.push(reader),
                    Err(source) => result = Err(ReaderError { process_id, source }),
                }
            }
        }
        result
    }

    fn write_head(&self, head: &[u8]) -> bool {
        self.file.write(0, head)
    }

    /// Writes a message. Who reads without the lock finds from its head that it is not complete, or that it changed.
    fn put(&mut self, config: &ShmConfig, message: &Outgoing<'_>) -> bool {
        let len = self.file.len();
        let content = MemoryMessage {
            payload_len: message.payload.len() as u64,
            clock: message.clock.cast_unsigned(),
            time_us: message.time_us,
            hash: message.clock.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15),
            zero_copy: config.zero_copy,
            acknowledge_timeout_ms: i64::try_from(config.acknowledge_timeout.as_millis()).unwrap_or(i64::MAX),
            payload_offset: 0,
        };
        let head_len = LAYOUT.head_len();
        let max = len - head_len as u64;
        let complete = FileHead { layout: LAYOUT, used: HEAD_LEN + content.payload_len, max };
        let incomplete = FileHead { used: HEAD_LEN, ..complete };
        let (mut head, mut file_head) = ([0; MemoryMessage::MAX_HEAD_LEN], [0; FileHead::MAX_LEN]);
        let both_len = content.encode(LAYOUT, len, &mut head).len();
        head[..head_len].copy_from_slice(incomplete.encode(&mut file_head));
        let begun = self.write_head(&head[..both_len]);
        fence(Ordering::SeqCst);
        let written = begun && self.file.write(both_len as u64, message.payload);
        fence(Ordering::SeqCst);
        written && self.write_head(complete.encode(&mut file_head))
    }

    /// Leaves the file to a reader that has not come for the newest message, which was written just now. Whoever sends
    /// without a pause would keep it locked nearly all the time, and each message that nobody reads is for nothing.
    fn give_way(&self) {
        if self.waits_for_reader() && self.written.is_some_and(|time| time.elapsed() < FREE) {
            thread::sleep(FREE);
        }
    }

    fn waits_for_reader(&self) -> bool {
        self.readers.iter().any(|reader| reader.is_connected && reader.event.is_set())
    }

    /// Has all readers know that there is a message, and waits until they have taken it, if `timeout` is not 0.
    fn notify(&mut self, timeout: Duration) {
        let waits = !timeout.is_zero();
        for reader in self.readers.iter_mut().filter(|reader| reader.is_connected) {
            if waits && reader.acknowledged.poll(Duration::ZERO) == Ok(true) {
                // Of an earlier message, but it lives.
                reader.is_silent = false;
            }
            reader.notify();
        }
        let now = Instant::now();
        self.written = Some(now);
        if waits {
            let deadline = now + timeout;
            for reader in self.readers.iter_mut().filter(|reader| reader.is_connected && !reader.is_silent) {
                let left = deadline.saturating_duration_since(Instant::now());
                reader.is_silent = reader.acknowledged.poll(left) != Ok(true);
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.is_own() {
            unlink(&self.name);
            unlink(&lock_name(&self.name));
            self.readers.iter().for_each(|reader| reader.unlink(&self.name));
        }
    }
}

impl Reader {
    fn new(file: &str, process_id: u32) -> Result<Self, OpenError> {
        Ok(Self {
            process_id,
            is_connected: true,
            event: NamedEvent::open(&event_name(file, process_id))?,
            acknowledged: NamedEvent::open(&acknowledge_name(file, process_id))?,
            is_silent: false,
            is_stuck: false,
            is_lost: false,
        })
    }

    /// Whoever died with the event's mutex is waited for once.
    fn notify(&mut self) {
        let timeout = if self.is_stuck { Duration::ZERO } else { EVENT_TIMEOUT };
        match self.event.set(timeout) {
            Ok(()) => self.is_stuck = false,
            Err(LockError::TimedOut) => self.is_stuck = true,
            Err(_) => self.is_lost = true,
        }
    }

    fn unlink(&self, file: &str) {
        unlink(&event_name(file, self.process_id));
        unlink(&acknowledge_name(file, self.process_id));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ferrocal_proto::Text;

    use super::*;

    fn writer(config: ShmConfig) -> ShmWriter {
        let board = Arc::new(Board::new(config.clone()));
        ShmWriter {
            config,
            max_message_len: 1_000_000,
            board,
            buffers: Vec::new(),
            replaced: Vec::new(),
            next: 0,
            version: 0,
            outage: Outage::default(),
        }
    }

    /// Writes to readers in this process, and the name of the file.
    pub(in super::super) fn write_to_self() -> (impl FnMut(&[u8]), Text) {
        let mut writer = writer(ShmConfig::default());
        lock(&writer.board.state).processes = vec![std::process::id()];
        assert!(writer.prepare(100, 1));
        let name = writer.buffers[0].name.as_str().into();
        let mut clock = 0;
        let write = move |payload: &[u8]| {
            clock += 1;
            writer.write(&[Outgoing { clock, time_us: 1, payload }]).unwrap();
        };
        (write, name)
    }

    /// More than there is.
    const TOO_LONG: usize = 1 << 60;

    #[test]
    fn files_that_cannot_be_made_are_not_registered_with_each_message() {
        if !ferrocal_shm::is_available() {
            return;
        }
        let mut writer = writer(ShmConfig { min_len: TOO_LONG, ..ShmConfig::default() });
        assert!(!writer.prepare(100, 1), "there is no memory");
        writer.config.min_len = 0;
        assert!(writer.prepare(100, 1) && !writer.prepare(100, 1));
    }

    #[test]
    fn a_message_that_finds_no_memory_leaves_the_files_to_the_next() {
        if !ferrocal_shm::is_available() {
            return;
        }
        let mut writer = writer(ShmConfig { buffer_count: 3, ..ShmConfig::default() });
        let mut write = |len, min_len| {
            writer.config.min_len = min_len;
            let payload = vec![0; len];
            let message = Outgoing { clock: 1, time_us: 1, payload: &payload };
            let Written { not_sent, registers_anew, .. } = writer.write(&[message]).unwrap();
            (not_sent, registers_anew, writer.board.parameters().memory_files.len())
        };
        assert_eq!(write(100, 0), (0, true, 3));
        assert_eq!(write(100_000, TOO_LONG), (1, false, 3));
        for _ in 0..3 {
            assert_eq!(write(100, TOO_LONG), (0, false, 3));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_reader_makes_for_a_replaced_file_is_removed_at_the_end() {
        if !ferrocal_shm::is_available() {
            return;
        }
        let mut writer = writer(ShmConfig::default());
        assert!(writer.prepare(100, 1));
        let name = writer.buffers[0].name.clone();
        assert!(writer.prepare(100_000, 1), "a longer file");
        let _late = NamedEvent::open(&event_name(&name, 1)).unwrap();
        let _later = NamedEvent::open(&acknowledge_name(&name, 1)).unwrap();
        let there = || {
            let entries = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name());
            entries.filter(|entry| entry.to_str().is_some_and(|entry| entry.starts_with(&name))).count()
        };
        assert_eq!(there(), 2);
        drop(writer);
        assert_eq!(there(), 0);
    }

    #[test]
    fn it_waits_for_readers_that_have_not_come() {
        // Windows does not show whether an event is set.
        if !ferrocal_shm::is_available() || cfg!(windows) {
            return;
        }
        let own = std::process::id();
        let mut buffer = Buffer::create(&ShmConfig::default(), 0).unwrap();
        buffer.connect(&[own]).unwrap();
        let event = NamedEvent::open(&event_name(&buffer.name, own)).unwrap();
        assert!(!buffer.waits_for_reader(), "there is no message");
        buffer.notify(Duration::ZERO);
        assert!(buffer.waits_for_reader());
        assert_eq!(event.poll(Duration::ZERO), Ok(true));
        assert!(!buffer.waits_for_reader(), "he has come");
        buffer.notify(Duration::ZERO);
        buffer.connect(&[]).unwrap();
        assert!(!buffer.waits_for_reader(), "he has left");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_reader_whose_event_cannot_be_opened_costs_the_others_nothing() {
        if !ferrocal_shm::is_available() {
            return;
        }
        let own = std::process::id();
        let mut writer = writer(ShmConfig::default());
        assert!(writer.prepare(100, 1));
        let name = writer.buffers[0].name.clone();
        let path = format!("/dev/shm/{}", event_name(&name, 1));
        std::fs::write(&path, [0; 40]).unwrap();
        let connect = |writer: &ShmWriter, processes: &[u32]| {
            let mut state = lock(&writer.board.state);
            (state.processes, state.version) = (processes.to_vec(), state.version + 1);
        };
        let message = [Outgoing { clock: 1, time_us: 1, payload: &[0] }];
        connect(&writer, &[1, own]);
        assert_eq!(writer.write(&message).unwrap().not_sent, 0);
        let event = NamedEvent::open_existing(&event_name(&name, own)).unwrap();
        assert_eq!(event.poll(Duration::ZERO), Ok(true));
        std::fs::remove_file(path).unwrap();
        connect(&writer, &[1]);
        assert_eq!(writer.write(&message).unwrap().not_sent, 0);
        let event = NamedEvent::open_existing(&event_name(&name, 1)).unwrap();
        assert_eq!(event.poll(Duration::ZERO), Ok(true), "it is tried again");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_whose_event_was_cut_is_replaced() {
        if !ferrocal_shm::is_available() {
            return;
        }
        let own = std::process::id();
        let mut writer = writer(ShmConfig::default());
        lock(&writer.board.state).processes = vec![own];
        let message = [Outgoing { clock: 1, time_us: 1, payload: &[0] }];
        writer.write(&message).unwrap();
        let name = writer.buffers[0].name.clone();
        let path = format!("/dev/shm/{}", event_name(&name, own));
        std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
        writer.write(&message).unwrap();
        writer.write(&message).unwrap();
        let listed = writer.board.parameters().memory_files;
        assert!(listed.len() == 1 && listed[0] != name.as_str(), "{listed:?}");
        let event = NamedEvent::open(&event_name(&writer.buffers[0].name, own)).unwrap();
        assert_eq!(event.poll(Duration::ZERO), Ok(true));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_is_not_made_without_its_memory() {
        // Without a limit, it would take all memory of the computer.
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let is_limited = |line: &str| line.contains(" /dev/shm tmpfs ") && !line.contains("size=0k");
        if !ferrocal_shm::is_available() || !mounts.lines().any(is_limited) {
            return;
        }
        match Buffer::create(&ShmConfig::default(), 1 << 40).map(|_| ()) {
            Err(OpenError::System(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
    }
}
